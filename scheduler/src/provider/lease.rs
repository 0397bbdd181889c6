//! One lease: an order this node promised to run, and where it stands. States carry their data; a transition consumes
//! the state.

use crate::{
    config::{Config, start_margin},
    input::{FetchId, InboundId, WorkId},
    view::LeaseView,
};
use ion_protocol::{
    Attempt, BlobHash, DocHash, JobId, Millis, NanoIo, NodeId, UnixMillis, Verified,
    deal::{Acceptance, InlineBlob},
    hardware::Device,
    job::JobSpec,
    message::LeaseState,
    receipt::{Countersignature, Output, Receipt, Status},
    states::States,
};

/// A fetch of inputs that stands still this long is given up.
const STAGING_STALL: Millis = Millis(20_000);
/// Slowest pace at which inputs may come, so that nobody holds a place by a trickle: 250 bytes a millisecond.
const STAGING_BYTES_PER_MS: u64 = 250;
/// How long staging may take beyond that.
const STAGING_MARGIN: Millis = Millis(30_000);
/// What a worker may take beyond its start and the job's limit before it is stopped from here; its own watch comes
/// first.
const RUN_MARGIN: Millis = Millis(10_000);

/// Whose job, and which try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseKey {
    pub(crate) requester: NodeId,
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
}

/// A lease and its state.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) head: Head,
    pub(crate) phase: Phase,
}

/// What outlives the states.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) key: LeaseKey,
    /// The order, by hash: tells a repeat from a conflict.
    pub(crate) order: DocHash,
    pub(crate) order_expires: UnixMillis,
    pub(crate) price_per_second: NanoIo,
    pub(crate) acceptance: Verified<Acceptance>,
    pub(crate) promise: Promise,
    pub(crate) name: String,
    /// The device that was ordered; one like it may run the job.
    pub(crate) device: Option<Device>,
    /// The order of acceptance.
    pub(crate) turn: u64,
    pub(crate) accepted: Millis,
    /// Spent fetching.
    pub(crate) moved: Millis,
    /// The requester wants the memory between launches kept.
    pub(crate) keep_states: bool,
    /// `None` once nothing is left to run.
    pub(crate) spec: Option<Box<JobSpec>>,
}

/// Whether a lease may be spoken of. Its work does not wait for that: it tells nobody anything.
#[derive(Debug)]
pub(crate) enum Promise {
    /// The acceptance is not durable yet; who asked for it waits.
    Writing(Vec<InboundId>),
    /// It is, and nobody was told yet: the result is about to be durable as well, and says more.
    Durable(Vec<InboundId>),
    /// It is.
    Given,
    /// The disk refused it: what is under way is being stopped, and then the lease never was.
    Broken,
}

/// Where a lease stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Inputs are on their way.
    Staging(Staging),
    /// All there; waits for a device.
    Ready,
    /// In a worker already, which begins with it when the job before it on that device is over.
    Next(Next),
    /// In a worker.
    Running(Running),
    /// The receipt is signed, but not durable; `retry` where the disk refused it.
    Recording { done: Done, retry: Option<Millis> },
    /// The receipt is durable and offered.
    Delivering(Delivering),
    /// The requester's half is here, but not durable.
    Settling { done: Done, countersignature: Verified<Countersignature>, inbound: Vec<InboundId> },
    /// Both halves are durable.
    Settled { receipt: Verified<Receipt> },
    /// Nobody took the result; the receipt stays.
    Unpaid { done: Done, why: String },
    /// Ended without a receipt.
    Released { why: String },
}

/// Inputs on their way.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) fetch: FetchId,
    pub(crate) since: Millis,
    pub(crate) moved_at: Millis,
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Whether some of them did not come with the order.
    pub(crate) awaited: bool,
}

/// A program that a worker holds and does not run yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) work: WorkId,
    /// Its index on this node.
    pub(crate) device: u16,
}

/// A program in a worker.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) work: WorkId,
    /// Its index on this node.
    pub(crate) device: u16,
    pub(crate) since: Millis,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) stopping: Option<Stop>,
}

/// Why a program is being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nobody wants it.
    Unwanted(String),
    /// It had its time.
    Overrun,
    /// The owner wants the device now.
    Withdrawn,
}

/// A finished attempt.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) receipt: Verified<Receipt>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) inline: Vec<InlineBlob>,
}

/// A result on offer.
#[derive(Debug)]
pub(crate) struct Delivering {
    pub(crate) done: Done,
    pub(crate) since: Millis,
    /// When it is offered again.
    pub(crate) again_at: Millis,
    pub(crate) tries: u32,
    /// When it was last offered, if it was.
    pub(crate) offered_at: Option<Millis>,
}

impl Phase {
    /// When to look at the lease again.
    pub(crate) fn deadline(&self, head: &Head, config: &Config) -> Option<Millis> {
        match self {
            Phase::Staging(staging) => Some(staging.overdue_at()),
            Phase::Running(running) if running.stopping.is_some() => None,
            Phase::Running(running) => Some(running.overrun_at(head)),
            Phase::Recording { retry, .. } => *retry,
            Phase::Delivering(delivering) => {
                Some(delivering.again_at.min(delivering.since.saturating_add(config.deliver_max)))
            }
            Phase::Ready
            | Phase::Next(_)
            | Phase::Settling { .. }
            | Phase::Settled { .. }
            | Phase::Unpaid { .. }
            | Phase::Released { .. } => None,
        }
    }

    /// Without an outcome, which somebody waits for.
    fn is_unfinished(&self) -> bool {
        match self {
            Phase::Staging(_) | Phase::Ready | Phase::Next(_) | Phase::Recording { .. } => true,
            Phase::Running(running) => !matches!(running.stopping, Some(Stop::Unwanted(_))),
            Phase::Delivering(_)
            | Phase::Settling { .. }
            | Phase::Settled { .. }
            | Phase::Unpaid { .. }
            | Phase::Released { .. } => false,
        }
    }

    /// The device that is taken with it, now or next.
    pub(crate) fn device(&self) -> Option<u16> {
        match self {
            Phase::Next(next) => Some(next.device),
            Phase::Running(running) => Some(running.device),
            Phase::Staging(_)
            | Phase::Ready
            | Phase::Recording { .. }
            | Phase::Delivering(_)
            | Phase::Settling { .. }
            | Phase::Settled { .. }
            | Phase::Unpaid { .. }
            | Phase::Released { .. } => None,
        }
    }

    /// Nothing more happens by itself.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Phase::Settled { .. } | Phase::Unpaid { .. } | Phase::Released { .. })
    }

    /// Accepted, and not run yet.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Phase::Staging(_) | Phase::Ready | Phase::Next(_))
    }

    /// What the requester is told.
    pub(crate) fn told(&self) -> LeaseState {
        match self {
            Phase::Ready | Phase::Next(_) => LeaseState::Waiting,
            Phase::Staging(staging) => LeaseState::Staging { done: staging.done, total: staging.total },
            Phase::Running(Running { stopping: Some(Stop::Unwanted(_)), .. }) => LeaseState::Released,
            Phase::Running(running) => LeaseState::Running { done: running.done, total: running.total },
            Phase::Recording { .. }
            | Phase::Delivering(_)
            | Phase::Settling { .. }
            | Phase::Settled { .. } => LeaseState::Finished,
            Phase::Unpaid { .. } | Phase::Released { .. } => LeaseState::Released,
        }
    }

    pub(crate) fn done(&self) -> Option<&Done> {
        match self {
            Phase::Recording { done, .. } | Phase::Settling { done, .. } | Phase::Unpaid { done, .. } => {
                Some(done)
            }
            Phase::Delivering(delivering) => Some(&delivering.done),
            Phase::Staging(_)
            | Phase::Ready
            | Phase::Next(_)
            | Phase::Running(_)
            | Phase::Settled { .. }
            | Phase::Released { .. } => None,
        }
    }

    /// The receipt, once there is one: what a countersignature finds its lease by.
    pub(crate) fn receipt(&self) -> Option<&Verified<Receipt>> {
        match self {
            Phase::Settled { receipt } => Some(receipt),
            Phase::Staging(_)
            | Phase::Ready
            | Phase::Next(_)
            | Phase::Running(_)
            | Phase::Recording { .. }
            | Phase::Delivering(_)
            | Phase::Settling { .. }
            | Phase::Unpaid { .. }
            | Phase::Released { .. } => self.done().map(|done| &done.receipt),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Phase::Staging(_) => "staging",
            Phase::Ready | Phase::Next(_) => "waiting",
            Phase::Running(Running { stopping: Some(Stop::Unwanted(_)), .. }) => "released",
            Phase::Running(_) => "running",
            Phase::Recording { .. } => "recorded",
            Phase::Delivering(Delivering { done, .. }) => match done.receipt.status {
                Status::Done => "delivered",
                Status::Failed(_) => "faulted",
            },
            Phase::Settling { .. } => "delivered",
            Phase::Settled { .. } => "settled",
            Phase::Unpaid { .. } => "unpaid",
            Phase::Released { .. } => "released",
        }
    }
}

impl Staging {
    /// When the fetch has had its time: it stands still, or is too slow on the whole.
    fn overdue_at(&self) -> Millis {
        let whole = STAGING_MARGIN.saturating_add(Millis(self.total / STAGING_BYTES_PER_MS));
        self.moved_at.saturating_add(STAGING_STALL).min(self.since.saturating_add(whole))
    }
}

impl Next {
    /// The device is its own from now on.
    pub(crate) fn begins(self, now: Millis, head: &Head) -> Running {
        let total = head.spec.as_ref().map_or(0, |spec| spec.program.launches());
        Running { work: self.work, device: self.device, since: now, done: 0, total, stopping: None }
    }
}

impl Running {
    /// When the worker has had its time. The job's own clock begins once its program is loaded, so that comes on top.
    fn overrun_at(&self, head: &Head) -> Millis {
        let time = |spec: &JobSpec| spec.limits.run.saturating_add(start_margin(&spec.program));
        let time = head.spec.as_deref().map_or(Millis::ZERO, time);
        self.since.saturating_add(time).saturating_add(RUN_MARGIN)
    }
}

impl Lease {
    pub(crate) fn is_promised(&self) -> bool {
        matches!(self.head.promise, Promise::Given)
    }

    /// Whether it waits for what its requester has yet to send.
    pub(crate) fn awaits_inputs(&self) -> bool {
        matches!(self.phase, Phase::Staging(Staging { awaited: true, .. }))
    }

    /// What its requester is told when it asks.
    pub(crate) fn told(&self) -> LeaseState {
        match self.head.promise {
            Promise::Given => self.phase.told(),
            Promise::Writing(_) | Promise::Durable(_) => LeaseState::Waiting,
            Promise::Broken => LeaseState::Unknown,
        }
    }

    /// Its requester is told unasked that we live.
    pub(crate) fn is_spoken_of(&self) -> bool {
        self.is_promised() && self.phase.is_unfinished()
    }

    pub(crate) fn view(&self) -> LeaseView {
        let receipt = self.phase.receipt();
        LeaseView {
            requester: self.head.key.requester,
            job: self.head.key.job,
            attempt: self.head.key.attempt,
            name: self.head.name.clone(),
            device: self
                .phase
                .device()
                .or(self.head.device.as_ref().map(|device| device.index))
                .unwrap_or_default(),
            state: if self.is_promised() { self.phase.name() } else { "held" }.to_owned(),
            progress: self.told(),
            receipt: receipt.map(Verified::hash),
            price: receipt.map_or(NanoIo::ZERO, |receipt| receipt.price),
            why: match &self.phase {
                Phase::Unpaid { why, .. } | Phase::Released { why } => why.clone(),
                Phase::Staging(_)
                | Phase::Ready
                | Phase::Next(_)
                | Phase::Running(_)
                | Phase::Recording { .. }
                | Phase::Delivering(_)
                | Phase::Settling { .. }
                | Phase::Settled { .. } => String::new(),
            },
        }
    }

    /// Whether a blob is still needed here: inputs until the run is over, outputs and the memory between launches until
    /// somebody has them or nobody wants them any more.
    pub(crate) fn holds(&self, hash: &BlobHash) -> bool {
        let input = self
            .head
            .spec
            .as_ref()
            .is_some_and(|spec| spec.program.blobs().iter().any(|(blob, _)| blob == hash));
        let on_offer = match &self.phase {
            Phase::Recording { done, .. } | Phase::Settling { done, .. } => Some(done),
            Phase::Delivering(delivering) => Some(&delivering.done),
            Phase::Staging(_)
            | Phase::Ready
            | Phase::Next(_)
            | Phase::Running(_)
            | Phase::Settled { .. }
            | Phase::Unpaid { .. }
            | Phase::Released { .. } => None,
        };
        let shown = |done: &Done| match &done.receipt.states {
            States::Kept(kept) => kept.blob == *hash,
            States::NotAsked | States::EndsOnly { .. } => false,
        };
        let output = |done: &Done| done.outputs.iter().any(|output| output.hash == *hash);
        input || on_offer.is_some_and(|done| output(done) || shown(done))
    }
}
