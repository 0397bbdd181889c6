//! One job of ours: what it is, and where it stands. States carry their data; a transition consumes the state.

use crate::{
    config::{Config, start_margin},
    event::{Event, Rejection},
    input::{CheckId, FetchId, InboundId},
    matching::{Market, Rests},
    view::{AttemptView, JobView, OutputView},
};
use ion_protocol::{
    Attempt, JobId, Millis, NanoIo, Nanos, NodeId, Now, UnixMillis, Verified,
    check::{BlockAt, Check},
    deal::{InlineBlob, Order},
    fault::Fault,
    hardware::Engine,
    job::JobSpec,
    limits,
    message::LeaseState,
    receipt::{Countersignature, Output, Receipt},
    record::JobEnd,
};
use std::collections::BTreeSet;

/// So many providers have to say that a job is wrong before it is; one alone may be lying, where there is another.
pub(crate) const BLAMERS: usize = 2;
/// Tries shown for one job; the oldest are forgotten first.
pub(crate) const ATTEMPTS_SHOWN_MAX: usize = 32;
/// What a provider's clock and ours may disagree about a run, and its last bytes may take: more than the provider
/// gives its worker.
const RUN_MARGIN: Millis = Millis(20_000);
/// A fetch that stands still this long is given up.
const FETCH_STALL: Millis = Millis(15_000);
/// Slowest pace at which outputs may come, so that nobody is kept by a trickle: 64 bytes a millisecond.
const FETCH_BYTES_PER_MS: u64 = 64;
/// How long a fetch may take beyond that.
const FETCH_MARGIN_MS: u64 = 30_000;

/// A job and its state.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) head: Head,
    pub(crate) state: State,
}

/// What outlives the states.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) id: JobId,
    pub(crate) spec: JobSpec,
    pub(crate) inline: Vec<InlineBlob>,
    /// Blocks of a delivery to run again before it is accepted.
    pub(crate) verify: u16,
    pub(crate) submitted: UnixMillis,
    /// Since when nobody works on it, on and off: bounds the wait for busy providers.
    pub(crate) idle_since: Millis,
    /// Since when no provider is found that has room or could have had.
    pub(crate) sought_since: Millis,
    /// When the network is searched next.
    pub(crate) discover_at: Millis,
    /// When the directory was last looked through.
    pub(crate) looked_at: Option<Millis>,
    /// What was last said about nobody fitting, and when.
    pub(crate) told: Option<(Vec<Rejection>, Millis)>,
    /// The last attempt number used.
    pub(crate) last_attempt: Attempt,
    /// Attempts that were or may have been accepted and came to nothing.
    pub(crate) lost: u32,
    pub(crate) last_fault: Option<Fault>,
    /// Who said that the job itself is wrong.
    pub(crate) blamed_by: BTreeSet<NodeId>,
    pub(crate) rests: Rests,
    /// It was the next in turn for room there, and has not looked since.
    pub(crate) turn_at: Option<NodeId>,
    pub(crate) attempts: Vec<AttemptView>,
    /// The owner wants it stopped.
    pub(crate) cancelled: bool,
    /// The job is written down: it may be spoken of.
    pub(crate) durable: bool,
}

/// Where a job stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Not durable yet.
    Recording,
    /// Needs a provider.
    Seeking(Seeking),
    /// An order is signed, but not durable, so `chosen` is not told yet; `retry` where the disk refused it.
    Signing { live: Live, chosen: Box<Event>, retry: Option<Millis> },
    /// The order is out.
    Ordered(Ordered),
    /// A provider holds it.
    Leased(Leased),
    /// Outputs are on their way.
    Delivering(Delivering),
    /// Outputs are here, and blocks are being run again.
    Verifying(Verifying),
    /// The countersignature is signed, but not durable; `retry` where the disk refused it.
    Countersigning(Countersigning),
    /// The end is not durable yet; `retry` where the disk refused it.
    Ending { end: JobEnd, retry: Option<Millis>, summary: Box<Summary> },
    /// Over: its view is all that is left of it.
    Ended(JobEnd, Box<Summary>),
}

/// Looking for a provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seeking {
    /// When to look through the directory.
    pub(crate) look_at: Millis,
    /// The best one, that has to answer another job of ours first.
    pub(crate) awaits: Option<NodeId>,
    /// Those that fit but for want of room.
    pub(crate) full: Vec<NodeId>,
}

/// The one attempt that counts.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) order: Verified<Order>,
    pub(crate) engine: Option<Engine>,
    /// When the order was signed; after a restart, as far as it says.
    pub(crate) signed: Now,
    /// Rebuilt from the journal: what the provider made of it is unknown.
    pub(crate) resumed: bool,
    /// The advert the order was counted against.
    pub(crate) advert_seq: u64,
}

/// Waiting for yes or no.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) live: Live,
    /// The same bytes went out a second time.
    pub(crate) resent: bool,
    /// When to send the bytes again, after our own queue was full.
    pub(crate) again_at: Option<Millis>,
    /// When no answer counts as none.
    pub(crate) answer_by: Millis,
}

/// A provider holds the job.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) live: Live,
    /// Last sign of life.
    pub(crate) heard: Millis,
    /// When it is asked, unless it speaks first.
    pub(crate) ask_at: Millis,
    pub(crate) since: Millis,
    pub(crate) running_since: Option<Millis>,
    pub(crate) lease: LeaseState,
    pub(crate) told_at: Millis,
}

/// Outputs are being fetched.
#[derive(Debug)]
pub(crate) struct Delivering {
    /// A delivery that carried everything, not answered yet: the countersignature will be its answer.
    pub(crate) inbound: Option<InboundId>,
    pub(crate) live: Live,
    pub(crate) receipt: Verified<Receipt>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) fetch: FetchId,
    pub(crate) since: Millis,
    pub(crate) moved_at: Millis,
    pub(crate) done: u64,
    /// Why this node could not take them in, and when it tries again.
    pub(crate) stuck: Option<(String, Millis)>,
}

/// Blocks of a delivery are being run again.
#[derive(Debug)]
pub(crate) struct Verifying {
    /// A delivery that is not answered yet.
    pub(crate) inbound: Option<InboundId>,
    pub(crate) live: Live,
    pub(crate) receipt: Verified<Receipt>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) check: CheckId,
    /// Which blocks, of how many.
    pub(crate) blocks: Vec<u64>,
    pub(crate) of: u64,
    /// Those of all launches, where the receipt commits to the memory between them.
    pub(crate) between: Option<Drawn>,
    /// When its provider is told that it takes longer.
    pub(crate) note_at: Millis,
    /// When no finding counts as none.
    pub(crate) overdue_at: Millis,
}

/// Blocks drawn from all launches that can be checked one by one.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// How many launches these are.
    pub(crate) launches: u64,
    /// How many blocks they have together.
    pub(crate) of: u64,
    /// Which are drawn.
    pub(crate) blocks: Vec<BlockAt>,
}

/// Both halves exist; the disk has not confirmed ours.
#[derive(Debug)]
pub(crate) struct Countersigning {
    pub(crate) live: Live,
    pub(crate) receipt: Verified<Receipt>,
    pub(crate) countersignature: Verified<Countersignature>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) inbound: Vec<InboundId>,
    pub(crate) retry: Option<Millis>,
}

/// What is told of a job that ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) receipt: Option<Verified<Receipt>>,
    pub(crate) check: Option<Check>,
    pub(crate) outputs: Vec<OutputView>,
}

impl Seeking {
    /// From then on.
    pub(crate) fn at(look_at: Millis) -> Self {
        Self { look_at, ..Self::default() }
    }

    pub(crate) fn waits_for(&self, provider: &NodeId) -> bool {
        self.awaits.as_ref() == Some(provider) || self.full.contains(provider)
    }
}

impl Live {
    /// It is over, one way or the other.
    pub(crate) fn over(&self, market: &mut Market) {
        market.directory.over(&self.provider(), self.advert_seq);
        market.rooms.left(self.provider(), self.order.job);
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.order.attempt
    }

    pub(crate) fn provider(&self) -> NodeId {
        self.order.provider
    }

    /// How long a provider can have worked on it at most.
    pub(crate) fn observed(&self, now: Now) -> Millis {
        let wall = Millis(now.wall.0.saturating_sub(self.signed.wall.0));
        if self.resumed { wall } else { wall.max(now.mono.saturating_sub(self.signed.mono)) }
    }
}

impl Leased {
    pub(crate) fn new(live: Live, config: &Config, now: Millis) -> Self {
        Self {
            live,
            heard: now,
            ask_at: now.saturating_add(Millis(config.silence.0 / 2)),
            since: now,
            running_since: None,
            lease: LeaseState::Waiting,
            told_at: Millis::ZERO,
        }
    }

    /// A sign of life; whether it is news.
    pub(crate) fn hear(&mut self, lease: LeaseState, config: &Config, now: Millis) -> bool {
        self.heard = now;
        self.ask_at = now.saturating_add(Millis(config.silence.0 / 2));
        let started = matches!(lease, LeaseState::Running { .. } | LeaseState::Finished);
        if started && self.running_since.is_none() {
            self.running_since = Some(now);
        }
        let news = std::mem::discriminant(&lease) != std::mem::discriminant(&self.lease);
        let moved = lease != self.lease && now.saturating_sub(self.told_at) >= Millis(200);
        self.lease = lease;
        if news || moved {
            self.told_at = now;
        }
        news || moved
    }

    /// When even a provider that talks has had its time.
    pub(crate) fn overdue_at(&self, spec: &JobSpec, config: &Config) -> Millis {
        match self.running_since {
            Some(started) => {
                let run = spec.limits.run.saturating_add(start_margin(&spec.program));
                started.saturating_add(run).saturating_add(RUN_MARGIN)
            }
            None => self.since.saturating_add(config.wait_max),
        }
    }
}

impl Delivering {
    /// When this node tries again to take them in.
    pub(crate) fn again_at(&self) -> Option<Millis> {
        self.stuck.as_ref().map(|(_, at)| *at)
    }

    /// When the fetch has had its time; where this node has no room, its provider's patience is what counts.
    pub(crate) fn overdue_at(&self, config: &Config) -> Millis {
        if self.stuck.is_some() {
            return self.since.saturating_add(config.deliver_max);
        }
        let bytes = self.outputs.iter().fold(0u64, |sum, output| sum.saturating_add(output.bytes.0));
        let whole =
            self.since.saturating_add(Millis(FETCH_MARGIN_MS.saturating_add(bytes / FETCH_BYTES_PER_MS)));
        self.moved_at.saturating_add(FETCH_STALL).min(whole)
    }
}

impl State {
    /// When to look at the job again.
    pub(crate) fn deadline(&self, head: &Head, config: &Config) -> Option<Millis> {
        match self {
            State::Recording | State::Ended(..) => None,
            State::Seeking(seeking) => Some(seeking.look_at),
            State::Signing { retry, .. } | State::Ending { retry, .. } => *retry,
            State::Ordered(ordered) => {
                Some(ordered.again_at.map_or(ordered.answer_by, |again| again.min(ordered.answer_by)))
            }
            State::Leased(leased) => {
                let silent_at = leased.heard.saturating_add(config.silence);
                Some(silent_at.min(leased.ask_at).min(leased.overdue_at(&head.spec, config)))
            }
            State::Delivering(delivering) => {
                let overdue_at = delivering.overdue_at(config);
                Some(delivering.again_at().map_or(overdue_at, |again| again.min(overdue_at)))
            }
            State::Verifying(verifying) => Some(match verifying.inbound {
                Some(_) => verifying.note_at.min(verifying.overdue_at),
                None => verifying.overdue_at,
            }),
            State::Countersigning(countersigning) => countersigning.retry,
        }
    }

    /// The attempt that counts now.
    pub(crate) fn live(&self) -> Option<&Live> {
        match self {
            State::Signing { live, .. }
            | State::Ordered(Ordered { live, .. })
            | State::Leased(Leased { live, .. })
            | State::Delivering(Delivering { live, .. })
            | State::Verifying(Verifying { live, .. })
            | State::Countersigning(Countersigning { live, .. }) => Some(live),
            State::Recording | State::Seeking(_) | State::Ending { .. } | State::Ended(..) => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            State::Recording => "recording",
            State::Seeking(_) | State::Signing { .. } => "seeking",
            State::Ordered(_) => "ordered",
            State::Leased(_) => "leased",
            State::Delivering(_) => "delivering",
            State::Verifying(_) => "verifying",
            State::Countersigning(_) => "countersigning",
            State::Ending { .. } => "ending",
            State::Ended(end, _) => end_name(end),
        }
    }
}

fn end_name(end: &JobEnd) -> &'static str {
    match end {
        JobEnd::Done { .. } => "done",
        JobEnd::Failed { .. } => "failed",
        JobEnd::Cancelled => "cancelled",
    }
}

impl Head {
    pub(crate) fn new(id: JobId, spec: JobSpec, inline: Vec<InlineBlob>, verify: u16, now: Now) -> Self {
        Self {
            id,
            spec,
            inline,
            verify,
            submitted: now.wall,
            idle_since: now.mono,
            sought_since: now.mono,
            discover_at: now.mono,
            looked_at: None,
            told: None,
            last_attempt: Attempt(0),
            lost: 0,
            last_fault: None,
            blamed_by: BTreeSet::new(),
            rests: Rests::new(),
            turn_at: None,
            attempts: Vec::new(),
            cancelled: false,
            durable: false,
        }
    }

    pub(crate) fn begin(&mut self, attempt: Attempt, provider: NodeId, model: String) {
        if self.attempts.len() >= ATTEMPTS_SHOWN_MAX {
            self.attempts.remove(0);
        }
        self.last_attempt = attempt;
        let state = "live".to_owned();
        self.attempts.push(AttemptView { attempt, provider, model, state, why: String::new(), ended: None });
    }

    pub(crate) fn close(&mut self, attempt: Attempt, state: &str, why: &str, at: UnixMillis) {
        if let Some(shown) = self.attempts.iter_mut().rfind(|shown| shown.attempt == attempt) {
            shown.state = state.to_owned();
            shown.why = why.chars().take(limits::TEXT_BYTES_MAX / 4).collect();
            shown.ended = Some(at);
        }
    }

    /// Names and shapes for what was delivered.
    pub(crate) fn output_views(&self, outputs: &[Output]) -> Vec<OutputView> {
        let view = |output: &Output| {
            let buffer = self.spec.program.buffers.get(usize::from(output.buffer))?;
            Some(OutputView {
                buffer: output.buffer,
                name: buffer.name.clone(),
                bytes: output.bytes,
                hash: output.hash,
                element: buffer.element,
                shape: buffer.shape.clone(),
            })
        };
        outputs.iter().filter_map(view).collect()
    }
}

impl Job {
    pub(crate) fn view(&self) -> JobView {
        let (head, live) = (&self.head, self.state.live());
        let (summary, end) = match &self.state {
            State::Ended(end, summary) => (Some(summary), Some(end.clone())),
            State::Recording
            | State::Seeking(_)
            | State::Signing { .. }
            | State::Ordered(_)
            | State::Leased(_)
            | State::Delivering(_)
            | State::Verifying(_)
            | State::Countersigning(_)
            | State::Ending { .. } => (None, None),
        };
        let receipt = match &self.state {
            State::Delivering(delivering) => Some(&delivering.receipt),
            State::Verifying(verifying) => Some(&verifying.receipt),
            State::Countersigning(countersigning) => Some(&countersigning.receipt),
            State::Recording
            | State::Seeking(_)
            | State::Signing { .. }
            | State::Ordered(_)
            | State::Leased(_)
            | State::Ending { .. }
            | State::Ended(..) => summary.and_then(|summary| summary.receipt.as_ref()),
        };
        let shown = head.attempts.last();
        JobView {
            job: head.id,
            name: head.spec.name.clone(),
            state: if head.durable { self.state.name() } else { State::Recording.name() }.to_owned(),
            submitted: head.submitted,
            attempt: shown.map(|shown| shown.attempt),
            provider: shown.map(|shown| shown.provider),
            model: receipt
                .map(|r| r.device.clone())
                .or_else(|| shown.map(|s| s.model.clone()).filter(|model| !model.is_empty())),
            engine: receipt.map(|r| r.engine).or(live.and_then(|live| live.engine)),
            lease: match &self.state {
                State::Leased(leased) => Some(leased.lease),
                State::Delivering(_) | State::Verifying(_) | State::Countersigning(_) => {
                    Some(LeaseState::Finished)
                }
                State::Recording
                | State::Seeking(_)
                | State::Signing { .. }
                | State::Ordered(_)
                | State::Ending { .. }
                | State::Ended(..) => None,
            },
            end,
            receipt: receipt.map(Verified::hash),
            price: receipt.map_or(NanoIo::ZERO, |r| r.price),
            device_time: receipt.map_or(Nanos::ZERO, |r| r.device_time),
            waited: receipt.map_or(Millis::ZERO, |r| r.waited),
            moved: receipt.map_or(Millis::ZERO, |r| r.moved),
            ran: receipt.map_or(Millis::ZERO, |r| r.ran),
            check: summary.and_then(|summary| summary.check.clone()),
            outputs: summary.map(|summary| summary.outputs.clone()).unwrap_or_default(),
            attempts: head.attempts.clone(),
        }
    }
}
