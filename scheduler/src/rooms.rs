//! What room each provider has for jobs of this node: how many of ours it holds, and what it said when it had none left.
//!
//! A provider's room is its own word. This keeps jobs only from asking for what was refused to another job a moment ago: as
//! many as it held then may be there again, and beyond them one asks at a time, at once where the last was taken, after a
//! rest where it was not. What is heard of nobody is forgotten. Tests: `tests/room.rs`, and `tests/monkey.rs` for a burst.

use crate::outbox::Outbox;
use ion_protocol::{JobId, Millis, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// How long after its end a rest for want of room still tells how much there is.
const REMEMBERED: Millis = Millis(60_000);
/// A provider whose adverts say that it has room, and that then has none, is believed this often in a row.
const BELIEVED: u32 = 3;

/// Whether a job of ours may be ordered from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Yes.
    There,
    /// Another job asks beyond what it is known to have room for: its answer is this one's too.
    Asked,
    /// It has none; it is asked again then, or when a job of ours is done there.
    Full { until: Millis },
}

/// What is known of one provider.
#[derive(Debug, Default)]
struct Known {
    /// Our jobs there, and whether it has answered to the order.
    held: BTreeMap<JobId, bool>,
    /// How many of ours it had room for when it last had none for more.
    room: Option<usize>,
    /// How often in a row it had none.
    times: u32,
    /// Until when it rests.
    until: Millis,
}

/// See the module. No larger than the jobs that are under way, and the providers that refused one of late.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    known: BTreeMap<NodeId, Known>,
    /// Where something happened that jobs may wait for.
    news: BTreeSet<NodeId>,
}

impl Known {
    fn is_old(&self, now: Millis) -> bool {
        self.until.saturating_add(REMEMBERED) <= now
    }
}

impl Rooms {
    /// How it stands at `provider`, which is taken to have room for `usual` of our jobs until it says otherwise.
    pub(crate) fn of(&self, provider: &NodeId, usual: usize, now: Millis) -> Room {
        let Some(known) = self.known.get(provider) else { return Room::There };
        let room = known.room.filter(|_| !known.is_old(now)).unwrap_or(usual);
        if known.held.len() < room {
            Room::There
        } else if known.until > now {
            Room::Full { until: known.until }
        } else if known.held.values().any(|answered| !answered) {
            Room::Asked
        } else {
            Room::There
        }
    }

    /// An order of ours is signed. A repeat is no news.
    pub(crate) fn asked(&mut self, provider: NodeId, job: JobId, now: Millis) {
        if !self.known.contains_key(&provider) {
            self.known.retain(|_, known| !known.held.is_empty() || !known.is_old(now));
        }
        let known = self.known.entry(provider).or_default();
        if known.is_old(now) {
            (known.room, known.times) = (None, 0);
        }
        known.held.insert(job, false);
        self.news.insert(provider);
    }

    /// It took the order. A repeat is no news.
    pub(crate) fn taken(&mut self, provider: NodeId, job: JobId, now: Millis) {
        let Some(known) = self.known.get_mut(&provider) else { return };
        let (held, Some(answered)) = (known.held.len(), known.held.get_mut(&job)) else { return };
        if std::mem::replace(answered, true) {
            return;
        }
        if known.room.is_some_and(|room| held > room) {
            // One of ours may just be on its way back: that is no reason to ask more often from now on.
            (known.room, known.until) = (Some(held), now);
        }
        self.news.insert(provider);
    }

    /// A job of ours is done there, or never came.
    pub(crate) fn left(&mut self, provider: NodeId, job: JobId) {
        if let Some(known) = self.known.get_mut(&provider)
            && known.held.remove(&job).is_some()
        {
            self.news.insert(provider);
        }
    }

    /// It has no room for more than it holds of ours.
    pub(crate) fn full(&mut self, provider: NodeId, now: Millis, out: &mut Outbox) {
        let known = self.known.entry(provider).or_default();
        known.room = Some(known.held.len());
        // The refusals of one burst are one word.
        if known.until <= now {
            known.until = now.saturating_add(out.backoff(known.times));
            known.times = known.times.saturating_add(1);
        }
        self.news.insert(provider);
    }

    /// Its newest advert says that so many devices are free.
    pub(crate) fn says_free(&mut self, provider: NodeId, free: usize) {
        if let Some(known) = self.known.get_mut(&provider)
            && let Some(room) = known.room.filter(|_| known.times <= BELIEVED)
        {
            known.room = Some(room.max(known.held.len().saturating_add(free)));
        }
    }

    /// A job that waited for it has looked: if it went elsewhere, there is still room.
    pub(crate) fn looked(&mut self, provider: NodeId) {
        self.news.insert(provider);
    }

    /// The next provider with news.
    pub(crate) fn news(&mut self) -> Option<NodeId> {
        self.news.pop_first()
    }
}
