//! The requester: a machine for every job of this node's.
//!
//! `Seeking -> Signing -> Ordered -> Leased -> Delivering -> Verifying -> Countersigning -> done`, with every failure leading back to
//! `Seeking` or to an end. Owns the jobs and the countersignatures; never fetches, signs twice or speaks of what is not
//! durable. Tests: `tests/requester.rs` and `tests/monkey.rs` of the crate.

mod blame;
mod delivery;
mod handover;
pub(crate) mod job;
mod replay;
mod room;
mod seek;
mod steps;
mod verify;
mod views;

use crate::{
    deadline::Topic,
    event::Event,
    input::{Answer, CallError, CheckId, FetchFault, FetchId, InboundId},
    matching::Market,
    outbox::{Fact, Outbox},
    view::JobView,
};
use delivery::{Delivery, Settled};
use handover::{Half, Handovers};
use ion_protocol::{
    Attempt, JobId, Millis, NanoIo, NodeId, Now, Verified,
    check::Finding,
    deal::{InlineBlob, RefusalReason},
    fault::Fault,
    job::JobSpec,
    limits,
    message::{LeaseState, Response},
    receipt::{Output, Receipt},
    record::{JobEnd, Record},
};
use job::{Countersigning, Head, Job, Leased, Ordered, State};
pub(crate) use replay::Replay;
use seek::Lost;
use std::collections::{BTreeMap, VecDeque};

/// Jobs taken on at once.
pub(crate) const JOBS_LIVE_MAX: usize = 10_000;
/// Attempts nobody wants are called off at most this often, so that a peer cannot make us talk.
const STRAY_EVERY: Millis = Millis(20);
/// How long an ended job's outputs must not be evicted: time to copy them out.
const OUTPUTS_KEPT: Millis = Millis(600_000);

/// What a step may use besides its job.
pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut Outbox,
    pub(crate) market: &'a mut Market,
}

/// A job that is over.
#[derive(Debug)]
struct Ended {
    view: JobView,
    at: Millis,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Requester {
    jobs: BTreeMap<JobId, Job>,
    ended: BTreeMap<JobId, Ended>,
    ended_order: VecDeque<JobId>,
    handovers: Handovers,
    stray_at: Millis,
    pub(crate) counts: Counts,
}

/// Since the journal began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) spent: NanoIo,
}

impl Requester {
    /// Takes a job on. A repeat is no news.
    pub(crate) fn submit(
        &mut self,
        job: JobId,
        spec: JobSpec,
        inline: Vec<InlineBlob>,
        verify: u16,
        cx: &mut Cx<'_>,
    ) {
        if self.jobs.contains_key(&job) || self.ended.contains_key(&job) {
            return;
        }
        if let Err(why) = self.admissible(&spec, &inline) {
            cx.out.event(Event::JobRefused { job, why });
            return;
        }
        let verify = verify.min(limits::CHECK_BLOCKS_MAX as u16);
        let record = Record::JobSubmitted { job, spec: spec.clone(), verify, at: cx.now.wall };
        cx.out.record(Fact::Submitted(job), record);
        let mut head = Head::new(job, spec, inline, verify, cx.now);
        // Where a provider is known, job and order are written down together: one sync for both.
        let state = seek::order_at_once(&mut head, cx).unwrap_or(State::Recording);
        self.jobs.insert(job, Job { head, state });
    }

    fn admissible(&self, spec: &JobSpec, inline: &[InlineBlob]) -> Result<(), String> {
        spec.check().map_err(|error| error.to_string())?;
        let bytes = inline.iter().fold(0usize, |sum, blob| sum.saturating_add(blob.bytes.len()));
        if bytes > limits::INLINE_BYTES_MAX {
            return Err(format!("{bytes} bytes of inline inputs; at most {} fit", limits::INLINE_BYTES_MAX));
        }
        if self.jobs.len() >= JOBS_LIVE_MAX {
            return Err(format!("{JOBS_LIVE_MAX} jobs are under way already; wait for some to end"));
        }
        Ok(())
    }

    /// The owner wants it stopped. Once both halves of a receipt are signed it is too late.
    pub(crate) fn cancel(&mut self, job: JobId, cx: &mut Cx<'_>) {
        self.turn(job, cx, |head, state, cx| {
            head.cancelled = true;
            match state {
                State::Recording | State::Countersigning(_) | State::Ending { .. } | State::Ended(..) => {
                    state
                }
                State::Seeking(_) => seek::end(head, JobEnd::Cancelled, cx),
                // Not sent, but perhaps on the disk: nothing to call off.
                State::Signing { live, .. } => steps::stop(head, &live, false, cx),
                State::Ordered(Ordered { live, .. }) | State::Leased(Leased { live, .. }) => {
                    steps::stop(head, &live, true, cx)
                }
                State::Delivering(delivering) => {
                    cx.out.stop_fetch(delivering.fetch);
                    delivery::noted(delivering.inbound, cx);
                    steps::stop(head, &delivering.live, true, cx)
                }
                State::Verifying(verifying) => {
                    cx.out.stop_check(verifying.check, cx.now.mono);
                    delivery::noted(verifying.inbound, cx);
                    steps::stop(head, &verifying.live, true, cx)
                }
            }
        });
    }

    /// The answer to an order.
    pub(crate) fn order_answered(
        &mut self,
        (job, attempt): (JobId, Attempt),
        from: NodeId,
        result: Result<Answer, CallError>,
        cx: &mut Cx<'_>,
    ) {
        let mut late = matches!(result, Ok(Answer::Accepted(_)));
        self.turn(job, cx, |head, state, cx| match state {
            State::Ordered(ordered) if steps::is_live(&ordered.live, attempt, from) => {
                late = false;
                steps::on_order_answer(head, ordered, result, cx)
            }
            other => {
                late &= !other.live().is_some_and(|live| steps::is_live(live, attempt, from));
                other
            }
        });
        if late {
            self.stray(job, attempt, from, cx);
        }
    }

    /// The answer to a question after a lease.
    pub(crate) fn query_answered(
        &mut self,
        (job, attempt): (JobId, Attempt),
        from: NodeId,
        result: Result<Answer, CallError>,
        cx: &mut Cx<'_>,
    ) {
        self.turn(job, cx, |head, state, cx| match (state, result) {
            (State::Leased(leased), Ok(Answer::Lease(lease)))
                if steps::is_live(&leased.live, attempt, from) =>
            {
                steps::on_lease(head, leased, lease, cx)
            }
            (State::Leased(leased), Err(CallError::Unreachable(why)))
                if steps::is_live(&leased.live, attempt, from) && !leased.live.resumed =>
            {
                let silent = cx.now.mono.saturating_sub(leased.heard);
                seek::lose(head, leased.live, Lost::silent(silent, why), cx)
            }
            // After a restart the way to it may have to be found first: ask again until silence ends it.
            (State::Leased(mut leased), Err(_)) if steps::is_live(&leased.live, attempt, from) => {
                leased.ask_at = cx.now.mono.saturating_add(Millis(1_000));
                State::Leased(leased)
            }
            (State::Delivering(delivering), Err(CallError::Unreachable(why)))
                if steps::is_live(&delivering.live, attempt, from) =>
            {
                delivery::give_up(head, delivering, &why, cx)
            }
            (
                State::Delivering(delivering),
                Ok(Answer::Lease(LeaseState::Unknown | LeaseState::Released)),
            ) if steps::is_live(&delivering.live, attempt, from) => {
                delivery::give_up(head, delivering, "it let the outputs go", cx)
            }
            (state, _) => state,
        });
    }

    /// A provider says where it stands.
    pub(crate) fn progress(
        &mut self,
        (job, attempt): (JobId, Attempt),
        from: NodeId,
        lease: LeaseState,
        cx: &mut Cx<'_>,
    ) {
        let mut stray = true;
        self.turn(job, cx, |head, state, cx| {
            stray = !state.live().is_some_and(|live| steps::is_live(live, attempt, from));
            match state {
                State::Leased(leased) if !stray => steps::on_lease(head, leased, lease, cx),
                // It works, so it took the order; the answer got lost or comes later.
                State::Ordered(ordered) if !stray => {
                    let leased = steps::leased(head, ordered.live, cx);
                    steps::on_lease(head, leased, lease, cx)
                }
                other => other,
            }
        });
        let over = matches!(lease, LeaseState::Released | LeaseState::Finished | LeaseState::Unknown);
        if stray && !over {
            self.stray(job, attempt, from, cx);
        }
    }

    /// A provider works for an attempt that does not count: it is told, unless it is one that succeeded and the word
    /// of it came late.
    fn stray(&mut self, job: JobId, attempt: Attempt, from: NodeId, cx: &mut Cx<'_>) {
        let settled = self.handovers.get(job, attempt).is_some();
        if !settled && cx.now.mono >= self.stray_at {
            self.stray_at = cx.now.mono.saturating_add(STRAY_EVERY);
            seek::call_off(job, attempt, from, cx);
        }
    }

    /// A provider delivers.
    pub(crate) fn deliver(
        &mut self,
        from: NodeId,
        inbound: InboundId,
        receipt: Verified<Receipt>,
        outputs: Vec<Output>,
        inline: Vec<InlineBlob>,
        cx: &mut Cx<'_>,
    ) {
        let (job, attempt) = (receipt.job, receipt.attempt);
        if receipt.provider != from || receipt.requester != cx.out.me {
            return cx.out.refuse(inbound, RefusalReason::NotForMe);
        }
        if let Some(half) = self.handovers.get(job, attempt) {
            if half.receipt == receipt.hash() {
                let half = half.countersignature.clone();
                return cx.out.answer(inbound, Response::Countersigned(half));
            }
            return cx.out.refuse(inbound, RefusalReason::Conflict);
        }
        if !self.jobs.contains_key(&job) {
            let known = self.ended.contains_key(&job);
            let reason = if known { RefusalReason::Superseded } else { RefusalReason::UnknownJob };
            return cx.out.refuse(inbound, reason);
        }
        let delivery = Delivery { inbound, receipt, outputs, inline };
        self.turn(job, cx, |head, state, cx| match state {
            State::Ordered(Ordered { live, .. }) | State::Leased(Leased { live, .. })
                if steps::is_live(&live, attempt, from) =>
            {
                delivery::accept(head, live, delivery, cx)
            }
            State::Delivering(delivering) if steps::is_live(&delivering.live, attempt, from) => {
                delivery::repeat_fetching(delivering, delivery, cx)
            }
            State::Verifying(verifying) if steps::is_live(&verifying.live, attempt, from) => {
                verify::repeat(verifying, delivery, cx)
            }
            State::Countersigning(signing) if steps::is_live(&signing.live, attempt, from) => {
                delivery::repeat_signing(signing, delivery, cx)
            }
            other => {
                cx.out.refuse(inbound, RefusalReason::Superseded);
                other
            }
        });
    }

    /// The answer to a countersignature.
    pub(crate) fn handed_over(
        &mut self,
        (job, attempt): (JobId, Attempt),
        result: Result<Answer, CallError>,
        cx: &mut Cx<'_>,
    ) {
        match result {
            Ok(Answer::Noted) => self.handovers.close(job, attempt, cx),
            Ok(Answer::Refused { reason: RefusalReason::UnknownJob, .. }) => {
                self.handovers.close(job, attempt, cx);
            }
            // The next try is due already.
            Ok(
                Answer::Refused { .. }
                | Answer::Accepted(_)
                | Answer::Lease(_)
                | Answer::Countersigned(_)
                | Answer::Adverts(_)
                | Answer::Committed(_)
                | Answer::Shown(_),
            )
            | Err(_) => {}
        }
    }

    pub(crate) fn fetch_progress(&mut self, job: JobId, done: u64, cx: &mut Cx<'_>) {
        self.turn(job, cx, |_, state, cx| match state {
            State::Delivering(mut delivering) => {
                // A report says that the fetch is alive, even where it waits for this node and nothing moves.
                (delivering.done, delivering.moved_at) = (done.max(delivering.done), cx.now.mono);
                State::Delivering(delivering)
            }
            other => other,
        });
    }

    pub(crate) fn fetched(
        &mut self,
        job: JobId,
        fetch: FetchId,
        result: Result<(), FetchFault>,
        cx: &mut Cx<'_>,
    ) {
        self.turn(job, cx, |head, state, cx| match state {
            State::Delivering(delivering) if delivering.fetch == fetch => {
                delivery::fetched(head, delivering, result, cx)
            }
            other => other,
        });
    }

    /// Blocks were run again.
    pub(crate) fn checked(
        &mut self,
        job: JobId,
        check: CheckId,
        result: Result<Finding, Fault>,
        cx: &mut Cx<'_>,
    ) {
        self.turn(job, cx, |head, state, cx| match state {
            State::Verifying(verifying) if verifying.check == check => {
                verify::found(head, verifying, result, cx)
            }
            other => other,
        });
    }

    /// A record is durable.
    pub(crate) fn recorded(&mut self, fact: Fact, cx: &mut Cx<'_>) {
        match fact {
            Fact::Submitted(job) => self.turn(job, cx, |head, state, cx| {
                head.durable = true;
                cx.out.event(Event::JobAccepted { job });
                match state {
                    State::Recording if head.cancelled => seek::end(head, JobEnd::Cancelled, cx),
                    State::Recording => seek::look(head, cx),
                    other => other,
                }
            }),
            Fact::Ordered(job, attempt) => self.turn(job, cx, |head, state, cx| match state {
                State::Signing { live, chosen, .. } if live.attempt() == attempt => {
                    cx.out.event(*chosen);
                    seek::send(head, live, cx)
                }
                other => other,
            }),
            Fact::Countersigned(job, attempt) => self.countersigned(job, attempt, cx),
            Fact::Ended(job) => self.turn(job, cx, |head, state, cx| match state {
                State::Ending { end, summary, .. } => {
                    cx.out.event(steps::ended_event(head, &end, summary.receipt.as_ref()));
                    State::Ended(end, summary)
                }
                other => other,
            }),
            Fact::Taken(_) | Fact::Receipt(_) | Fact::Settled(_) | Fact::Quiet => {}
        }
    }

    /// A record is not durable: what it covers is not said, and tried again.
    pub(crate) fn record_failed(&mut self, fact: Fact, why: &str, cx: &mut Cx<'_>) {
        let retry = Some(cx.now.mono.saturating_add(seek::RECORD_PAUSE));
        match fact {
            Fact::Submitted(job) => self.refuse(job, why, cx),
            Fact::Ordered(job, attempt) => self.turn(job, cx, |_, state, _| match state {
                State::Signing { live, chosen, .. } if live.attempt() == attempt => {
                    State::Signing { live, chosen, retry }
                }
                other => other,
            }),
            Fact::Countersigned(job, attempt) => self.turn(job, cx, |_, state, cx| match state {
                State::Countersigning(mut signing) if signing.live.attempt() == attempt => {
                    for inbound in signing.inbound.drain(..) {
                        cx.out.refuse(inbound, RefusalReason::Overloaded);
                    }
                    signing.retry = retry;
                    State::Countersigning(signing)
                }
                other => other,
            }),
            Fact::Ended(job) => self.turn(job, cx, |_, state, _| match state {
                State::Ending { end, summary, .. } => State::Ending { end, retry, summary },
                other => other,
            }),
            Fact::Taken(_) | Fact::Receipt(_) | Fact::Settled(_) | Fact::Quiet => {}
        }
    }

    /// The disk does not take a job on, so this node does not either. Its order, if there is one, never left.
    fn refuse(&mut self, job: JobId, why: &str, cx: &mut Cx<'_>) {
        let Some(Job { state, .. }) = self.jobs.remove(&job) else { return };
        if let Some(live) = state.live() {
            live.over(cx.market);
        }
        cx.out.deadlines.set(Topic::Job(job), None);
        cx.out.event(Event::JobRefused { job, why: why.to_owned() });
        self.follow(cx);
    }

    /// Our half is durable: it may leave now, and the job moves on.
    fn countersigned(&mut self, job: JobId, attempt: Attempt, cx: &mut Cx<'_>) {
        let mut half = None;
        self.turn(job, cx, |head, state, cx| match state {
            State::Countersigning(signing) if signing.live.attempt() == attempt => {
                let Countersigning { live, receipt, countersignature, outputs, inbound, .. } = signing;
                half = Some((
                    Half {
                        provider: receipt.provider,
                        receipt: receipt.hash(),
                        countersignature: countersignature.signed().clone(),
                    },
                    inbound.is_empty(),
                    receipt.price,
                ));
                for inbound in inbound {
                    let countersignature = countersignature.signed().clone();
                    cx.out.answer(inbound, Response::Countersigned(countersignature));
                }
                live.over(cx.market);
                let check = countersignature.check.clone();
                steps::judged(head, attempt, Settled { receipt, outputs, check }, cx)
            }
            other => other,
        });
        if let Some((half, unasked, price)) = half {
            self.handovers.keep(job, attempt, half);
            self.counts.spent = self.counts.spent.saturating_add(price);
            if unasked {
                self.handovers.start(job, attempt, cx);
            }
        }
    }

    /// A connection stands.
    pub(crate) fn connected(&mut self, peer: NodeId, cx: &mut Cx<'_>) {
        self.handovers.connected(peer, cx);
    }

    /// The last connection is gone: is the peer?
    pub(crate) fn disconnected(&mut self, peer: NodeId, cx: &mut Cx<'_>) {
        for job in self.jobs.values() {
            match &job.state {
                State::Leased(Leased { live, .. }) | State::Delivering(job::Delivering { live, .. })
                    if live.provider() == peer =>
                {
                    seek::query(&job.head, live, cx);
                }
                State::Recording
                | State::Seeking(_)
                | State::Signing { .. }
                | State::Ordered(_)
                | State::Leased(_)
                | State::Delivering(_)
                | State::Verifying(_)
                | State::Countersigning(_)
                | State::Ending { .. }
                | State::Ended(..) => {}
            }
        }
    }

    /// A job's deadline is over.
    pub(crate) fn due(&mut self, job: JobId, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        self.turn(job, cx, |head, state, cx| match state {
            State::Seeking(seeking) if seeking.look_at <= now => seek::look(head, cx),
            State::Signing { live, chosen, retry: Some(at) } if at <= now => {
                seek::record_again(head, live, chosen, cx)
            }
            State::Ordered(ordered) => steps::on_order_due(head, ordered, cx),
            State::Leased(leased) => steps::on_lease_due(head, leased, cx),
            State::Delivering(delivering) if delivering.overdue_at(&cx.out.config) <= now => {
                delivery::give_up(head, delivering, "its outputs stopped coming", cx)
            }
            State::Delivering(delivering) if delivering.again_at().is_some_and(|at| at <= now) => {
                delivery::fetch_again(head, delivering, cx)
            }
            State::Verifying(verifying) => verify::on_due(head, verifying, cx),
            State::Countersigning(signing) if signing.retry.is_some_and(|at| at <= now) => {
                delivery::record(head, signing, cx)
            }
            State::Ending { end, retry: Some(at), summary } if at <= now => {
                seek::end_with(head, end, summary, cx)
            }
            other => other,
        });
    }

    /// A countersignature is to be offered again.
    pub(crate) fn offer(&mut self, job: JobId, attempt: Attempt, cx: &mut Cx<'_>) {
        self.handovers.offer(job, attempt, cx);
    }

    /// Runs one step of a job, and files it away when it ended.
    fn turn(
        &mut self,
        id: JobId,
        cx: &mut Cx<'_>,
        step: impl FnOnce(&mut Head, State, &mut Cx<'_>) -> State,
    ) {
        let Some(Job { mut head, state }) = self.jobs.remove(&id) else { return };
        let state = step(&mut head, state, cx);
        cx.out.deadlines.set(Topic::Job(id), state.deadline(&head, &cx.out.config));
        let job = Job { head, state };
        match &job.state {
            State::Ended(end, _) => {
                self.count(end);
                self.file(job.view(), cx.now.mono, cx.out.config.finished_max);
            }
            State::Recording
            | State::Seeking(_)
            | State::Signing { .. }
            | State::Ordered(_)
            | State::Leased(_)
            | State::Delivering(_)
            | State::Verifying(_)
            | State::Countersigning(_)
            | State::Ending { .. } => drop(self.jobs.insert(id, job)),
        }
        self.follow(cx);
    }

    fn count(&mut self, end: &JobEnd) {
        match end {
            JobEnd::Done { .. } => self.counts.done += 1,
            JobEnd::Failed { .. } => self.counts.failed += 1,
            JobEnd::Cancelled => self.counts.cancelled += 1,
        }
    }

    fn file(&mut self, view: JobView, at: Millis, finished_max: usize) {
        let id = view.job;
        if self.ended.insert(id, Ended { view, at }).is_none() {
            self.ended_order.push_back(id);
        }
        if self.ended_order.len() > finished_max
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}
