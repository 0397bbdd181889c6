//! Jobs that wait for room at a provider, and what makes them ask again before their rest is over.

use super::{Cx, Requester, job::State};
use crate::deadline::Topic;
use ion_protocol::{Millis, NodeId};

/// A job looks through the directory at most this often, however many adverts come.
const LOOK_EVERY: Millis = Millis(50);
/// A provider that says it has room and then has none is believed this often; after that its rest runs its course.
const BUSY_BELIEVED: u32 = 3;

impl Requester {
    /// The directory or a round trip changed: whoever waits looks again, soon.
    pub(crate) fn wake(&mut self, room_at: Option<NodeId>, cx: &mut Cx<'_>) {
        for (id, job) in &mut self.jobs {
            let State::Seeking(seeking) = &mut job.state else { continue };
            if let Some(provider) = room_at
                && let Some(rest) = job.head.rests.get_mut(&provider)
                && rest.busy
                && rest.times <= BUSY_BELIEVED
            {
                rest.until = rest.until.min(cx.now.mono);
            }
            let soonest = job.head.looked_at.map_or(Millis::ZERO, |at| at.saturating_add(LOOK_EVERY));
            seeking.look_at = seeking.look_at.min(soonest.max(cx.now.mono));
            cx.out.deadlines.set(Topic::Job(*id), Some(seeking.look_at));
        }
    }

    /// A job of ours is done there, and has left its place to another: the one that has waited longest for want of room there
    /// asks at once. Each that is done makes one ask, so that a long queue of ours keeps a device busy and asks for no more
    /// than it gets.
    pub(super) fn follow(&mut self, provider: NodeId, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let waiting = self.jobs.iter_mut().filter_map(|(id, job)| {
            let State::Seeking(seeking) = &mut job.state else { return None };
            let rest = job.head.rests.get_mut(&provider).filter(|rest| rest.busy && rest.until > now)?;
            Some((job.head.idle_since, *id, seeking, rest))
        });
        if let Some((_, job, seeking, rest)) = waiting.min_by_key(|(since, id, ..)| (*since, *id)) {
            // A place is free there, whatever was said before.
            (rest.times, rest.until, seeking.look_at) = (0, now, now);
            cx.out.deadlines.set(Topic::Job(job), Some(now));
        }
    }
}
