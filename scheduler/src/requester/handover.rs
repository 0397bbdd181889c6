//! Countersignatures, from when they are durable until their provider has acknowledged them.
//!
//! They outlive their jobs: a provider that comes back after days gets the same bytes. At most [`ARCHIVE_MAX`] are kept
//! in memory; older ones are in the journal only.

use super::Cx;
use crate::{deadline::Topic, outbox::Question};
use ion_protocol::{
    Attempt, DocHash, JobId, NodeId, message::Request, receipt::Countersignature, signed::Signed,
};
use std::collections::{BTreeMap, VecDeque};

/// Countersignatures kept: about 300 bytes each.
const ARCHIVE_MAX: usize = 10_000;
/// How often one is offered before its provider has to ask for it: about ten minutes with the usual pauses.
const TRIES_MAX: u32 = 24;

/// Our half of a receipt.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) provider: NodeId,
    pub(super) receipt: DocHash,
    pub(super) countersignature: Signed<Countersignature>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    halves: BTreeMap<(JobId, Attempt), Half>,
    order: VecDeque<(JobId, Attempt)>,
    /// Not acknowledged yet, with how often they were offered.
    open: BTreeMap<(JobId, Attempt), u32>,
}

impl Handovers {
    pub(super) fn keep(&mut self, job: JobId, attempt: Attempt, half: Half) {
        if self.halves.insert((job, attempt), half).is_none() {
            self.order.push_back((job, attempt));
        }
        if self.order.len() > ARCHIVE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.halves.remove(&oldest);
            self.open.remove(&oldest);
        }
    }

    pub(super) fn get(&self, job: JobId, attempt: Attempt) -> Option<&Half> {
        self.halves.get(&(job, attempt))
    }

    /// Offers a half to its provider until it is noted.
    pub(super) fn start(&mut self, job: JobId, attempt: Attempt, cx: &mut Cx<'_>) {
        self.open.entry((job, attempt)).or_insert(0);
        self.offer(job, attempt, cx);
    }

    /// Offers it (again); the answer comes to [`Self::answered`].
    pub(super) fn offer(&mut self, job: JobId, attempt: Attempt, cx: &mut Cx<'_>) {
        let (Some(tries), Some(half)) =
            (self.open.get_mut(&(job, attempt)), self.halves.get(&(job, attempt)))
        else {
            return;
        };
        *tries += 1;
        let tries = *tries;
        if tries > TRIES_MAX {
            self.open.remove(&(job, attempt));
            return;
        }
        let addresses = cx.market.directory.addresses(&half.provider);
        let request = Request::Countersign(half.countersignature.clone());
        cx.out.call(Question::Handover(job, attempt), half.provider, addresses, request);
        // Whatever becomes of the answer, the next try is due then.
        let pause = cx.out.config.call_timeout.saturating_add(cx.out.backoff(tries));
        cx.out.deadlines.set(Topic::Handover(job, attempt), Some(cx.now.mono.saturating_add(pause)));
    }

    /// It was noted, or will never be.
    pub(super) fn close(&mut self, job: JobId, attempt: Attempt, cx: &mut Cx<'_>) {
        self.open.remove(&(job, attempt));
        cx.out.deadlines.set(Topic::Handover(job, attempt), None);
    }

    /// The provider is here again: now is better than later.
    pub(super) fn connected(&self, provider: NodeId, cx: &mut Cx<'_>) {
        let here =
            self.open.keys().filter(|key| self.halves.get(key).is_some_and(|half| half.provider == provider));
        for (job, attempt) in here {
            cx.out.deadlines.sooner(Topic::Handover(*job, *attempt), cx.now.mono);
        }
    }
}
