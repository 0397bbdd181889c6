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
