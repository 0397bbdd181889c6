//! The engine: one value that is fed every input and answers with effects.

use crate::{
    config::Config,
    effect::Effect,
    input::Input,
    view::{Explanation, JobView, LeaseView, OfferView, StatusView},
};
use ion_protocol::{BlobHash, JobId, Millis, NanoIo, Now, job::JobSpec, key::SecretKey, record::Record};

/// Everything a node decides, as a function of its inputs.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    key: SecretKey,
}

impl Engine {
    /// An engine that knows nothing yet; `seed` is all the chance it gets.
    pub fn new(config: Config, key: SecretKey, seed: u64) -> Self {
        let _ = seed;
        Self { config, key }
    }

    /// Rebuilds from the journal, in order; what to carry on with comes back as effects. A repeat changes nothing.
    pub fn restore(&mut self, records: impl IntoIterator<Item = Record>, now: Now) -> Vec<Effect> {
        let _ = (records.into_iter().count(), now);
        Vec::new()
    }

    /// Takes one input; what to do comes back, in order.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let _ = (input, now);
        Vec::new()
    }

    /// When [`Input::Tick`] is due, by the monotonic clock.
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }

    /// This node's jobs, oldest first.
    pub fn jobs(&self) -> Vec<JobView> {
        Vec::new()
    }

    /// One of them.
    pub fn job(&self, job: &JobId) -> Option<JobView> {
        let _ = job;
        None
    }

    /// The directory.
    pub fn offers(&self, now: Now) -> Vec<OfferView> {
        let _ = now;
        Vec::new()
    }

    /// Why a job is where it is.
    pub fn why(&self, job: &JobId, now: Now) -> Option<Explanation> {
        let _ = (job, now);
        None
    }

    /// Where a job would go; the same code as for a real one, and no messages.
    pub fn match_spec(&self, spec: &JobSpec, now: Now) -> Explanation {
        let _ = (spec, now);
        Explanation {
            job: None,
            state: String::new(),
            candidates: Vec::new(),
            rejections: Vec::new(),
            attempts: Vec::new(),
            would_change: Vec::new(),
        }
    }

    /// The leases this node holds as a provider.
    pub fn leases(&self) -> Vec<LeaseView> {
        Vec::new()
    }

    /// The node in numbers.
    pub fn status(&self) -> StatusView {
        StatusView {
            node: self.key.node_id(),
            provides: self.config.provide,
            draining: false,
            addresses: Vec::new(),
            devices: Vec::new(),
            free: 0,
            queued: 0,
            running: 0,
            price_per_second: self.config.price_per_second,
            offers: 0,
            jobs_live: 0,
            jobs_done: 0,
            jobs_failed: 0,
            jobs_cancelled: 0,
            leases_live: 0,
            receipts_open: 0,
            receipts_settled: 0,
            earned: NanoIo::ZERO,
            spent: NanoIo::ZERO,
        }
    }

    /// Whether a blob is needed by a live job, a lease or an undelivered output, so that it must not be evicted.
    pub fn holds(&self, hash: &BlobHash) -> bool {
        let _ = hash;
        false
    }
}
