//! Jobs that wait for room at a provider, and what makes them ask again before their rest is over.

use super::{
    Cx, Requester,
    job::{Head, Job, Seeking, State},
};
use crate::{deadline::Topic, rooms::Room};
use ion_protocol::{JobId, Millis, NodeId};

/// A job looks through the directory at most this often, however many adverts come.
const LOOK_EVERY: Millis = Millis(50);
/// A provider that says it has room and then has none is believed this often; after that its rest runs its course.
const BUSY_BELIEVED: u32 = 3;

impl Requester {
    /// What is known of a provider changed, as by a newer advert, which may say that it has room: who waits and would go
    /// there looks again, soon; no more of them than it would have room for, those first who have waited longest. To the
    /// others it is no news: where each of them looked through the directory for every advert of a large network, a node
    /// did nothing else.
    pub(crate) fn wake(&mut self, provider: NodeId, has_room: bool, cx: &mut Cx<'_>) {
        let Some(room_max) = cx.market.usual_room(&cx.out.config, &provider) else { return };
        let mut fitting = Vec::new();
        for (id, job) in &mut self.jobs {
            let State::Seeking(_) = &job.state else { continue };
            if let Some(rest) = job.head.rests.get_mut(&provider)
                && has_room
                && rest.busy
                && rest.times <= BUSY_BELIEVED
            {
                rest.until = rest.until.min(cx.now.mono);
            }
            if cx.market.may_go(&cx.out.config, &job.head.spec, &job.head.rests, &provider, cx.now) {
                fitting.push((job.head.idle_since, *id));
            }
        }
        fitting.sort_unstable();
        for (_, id) in fitting.into_iter().take(room_max) {
            let Some(Job { head, state: State::Seeking(seeking) }) = self.jobs.get_mut(&id) else { continue };
            let soonest = head.looked_at.map_or(Millis::ZERO, |at| at.saturating_add(LOOK_EVERY));
            seeking.look_at = seeking.look_at.min(soonest.max(cx.now.mono));
            cx.out.deadlines.set(Topic::Job(id), Some(seeking.look_at));
        }
    }

    /// Where there is room now, the job that has waited longest for it looks; once it has, whatever it found, this is asked
    /// again, so that no room is left while somebody waits. Where there is none, who waited for the answer looks elsewhere.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>) {
        while let Some(provider) = cx.market.rooms.news() {
            let Some(offer) = cx.market.directory.offer(&provider) else { continue };
            match cx.market.room(&cx.out.config, &offer.advert, cx.now) {
                Room::There => {
                    let next = self.waiting(provider).min_by_key(|(id, head, _)| (head.idle_since, **id));
                    if let Some((id, head, seeking)) = next {
                        head.turn_at = Some(provider);
                        if let Some(rest) = head.rests.get_mut(&provider).filter(|rest| rest.busy) {
                            // There is room, whatever was said before.
                            (rest.times, rest.until) = (0, cx.now.mono);
                        }
                        look_now(*id, seeking, cx);
                    }
                }
                Room::Full { .. } => {
                    let asked = self.waiting(provider).filter(|(.., s)| s.awaits == Some(provider));
                    asked.for_each(|(id, _, seeking)| look_now(*id, seeking, cx));
                }
                Room::Asked => {}
            }
        }
    }

    /// Jobs that would go there, but for room.
    fn waiting(&mut self, provider: NodeId) -> impl Iterator<Item = (&JobId, &mut Head, &mut Seeking)> {
        self.jobs.iter_mut().filter_map(move |(id, Job { head, state })| {
            let State::Seeking(seeking) = state else { return None };
            seeking.waits_for(&provider).then_some((id, head, seeking))
        })
    }
}

fn look_now(job: JobId, seeking: &mut Seeking, cx: &mut Cx<'_>) {
    seeking.look_at = cx.now.mono;
    cx.out.deadlines.set(Topic::Job(job), Some(cx.now.mono));
}
