//! What can be asked of the requester without changing anything.

use super::{
    OUTPUTS_KEPT, Requester,
    job::{Head, Job, State},
};
use crate::view::JobView;
use ion_protocol::{BlobHash, JobId, Millis};

impl Requester {
    pub(crate) fn live(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn views(&self) -> Vec<JobView> {
        let ended = self.ended.values().map(|ended| ended.view.clone());
        let mut views: Vec<_> = ended.chain(self.jobs.values().map(Job::view)).collect();
        views.sort_by_key(|view| (view.submitted, view.job));
        views
    }

    pub(crate) fn view(&self, job: &JobId) -> Option<JobView> {
        let live = self.jobs.get(job).map(Job::view);
        live.or_else(|| self.ended.get(job).map(|ended| ended.view.clone()))
    }

    /// The head of a job that is not over.
    pub(crate) fn head(&self, job: &JobId) -> Option<&Head> {
        self.jobs.get(job).map(|job| &job.head)
    }

    pub(crate) fn holds(&self, hash: &BlobHash, now: Millis) -> bool {
        let outputs_of = |state: &State| match state {
            State::Delivering(delivering) => delivering.outputs.iter().any(|o| o.hash == *hash),
            State::Verifying(verifying) => verifying.outputs.iter().any(|o| o.hash == *hash),
            State::Countersigning(signing) => signing.outputs.iter().any(|o| o.hash == *hash),
            State::Recording
            | State::Seeking(_)
            | State::Signing { .. }
            | State::Ordered(_)
            | State::Leased(_)
            | State::Ending { .. }
            | State::Ended(..) => false,
        };
        self.jobs.values().any(|job| {
            job.head.spec.program.blobs().iter().any(|(blob, _)| blob == hash) || outputs_of(&job.state)
        }) || self.ended.values().any(|ended| {
            now.saturating_sub(ended.at) < OUTPUTS_KEPT && ended.view.outputs.iter().any(|o| o.hash == *hash)
        })
    }
}
