//! Jobs rebuilt from the journal: which are over, which go on, and with which attempt.

use super::{
    Cx, Half, Requester,
    blame::{self, Judged},
    job::{Head, Job, Leased, Live, Seeking, State, Summary},
    seek,
};
use crate::{deadline::Topic, matching::Rest, reputation::Outcome, view::AttemptView};
use ion_protocol::{
    Attempt, JobId, NodeId, Now, UnixMillis,
    check::{Check, Difference},
    codec,
    deal::Order,
    fault::Fault,
    job::JobSpec,
    receipt::{Countersignature, Output, Receipt},
    record::{JobEnd, Loss, Record},
    signed::{Document, Signed},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the journal says of one job.
#[derive(Debug)]
struct Past {
    spec: JobSpec,
    verify: u16,
    at: UnixMillis,
    /// The newest order, while nothing says that it came to nothing.
    live: Option<(Order, Signed<Order>)>,
    attempts: Vec<AttemptView>,
    lost: u32,
    last_fault: Option<Fault>,
    settled: Option<(Signed<Receipt>, Vec<Output>, Option<Check>)>,
    /// Who said that the job itself is wrong.
    blamed_by: BTreeSet<NodeId>,
    /// Who delivered a false result.
    falsifiers: Vec<NodeId>,
    end: Option<JobEnd>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    jobs: BTreeMap<JobId, Past>,
    order: Vec<JobId>,
    ended: VecDeque<JobId>,
}

impl Replay {
    /// Takes one record in; those of the provider's side mean nothing here.
    pub(crate) fn apply(&mut self, requester: &mut Requester, record: &Record, cx: &mut Cx<'_>) {
        match record {
            Record::JobSubmitted { job, spec, verify, at } => {
                let past = Past {
                    spec: spec.clone(),
                    verify: *verify,
                    at: *at,
                    live: None,
                    attempts: Vec::new(),
                    lost: 0,
                    last_fault: None,
                    settled: None,
                    blamed_by: BTreeSet::new(),
                    falsifiers: Vec::new(),
                    end: None,
                };
                if !self.jobs.contains_key(job) && requester.view(job).is_none() {
                    self.jobs.insert(*job, past);
                    self.order.push(*job);
                }
            }
            Record::OrderSigned { order: signed } => self.ordered(signed),
            Record::AttemptLost { job, attempt, loss: Loss::Refused, why, at } => {
                self.refused((*job, *attempt), why, *at);
            }
            Record::AttemptLost { job, attempt, loss, why, at } => {
                self.lost((*job, *attempt), why, "lost", blame::outcome(*loss), *at, cx);
            }
            Record::DeliveryFalse { receipt, difference, at } => {
                self.falsified(receipt, difference, *at, cx);
            }
            Record::Countersigned { receipt, countersignature, outputs } => {
                self.countersigned(requester, receipt, countersignature, outputs, cx);
            }
            Record::JobEnded { job, end, at } => {
                if let (Some(past), JobEnd::Cancelled) = (self.jobs.get_mut(job), end)
                    && let Some(tried) = past.attempts.last_mut().filter(|tried| tried.ended.is_none())
                {
                    (tried.state, tried.ended) = ("cancelled".to_owned(), Some(*at));
                }
                self.end(*job, end.clone(), cx);
            }
            Record::LeaseTaken { .. }
            | Record::ReceiptSigned { .. }
            | Record::ReceiptSettled { .. }
            | Record::LeaseReleased { .. }
            | Record::Challenged { .. }
            | Record::ChallengeDeclined { .. } => {}
        }
    }

    fn ordered(&mut self, signed: &Signed<Order>) {
        let Ok(order) = codec::decode::<Order>(signed.body_bytes(), Order::BYTES_MAX) else { return };
        let Some(past) = self.jobs.get_mut(&order.job) else { return };
        if past.attempts.last().is_none_or(|last| last.attempt < order.attempt) {
            if let Some(last) = past.attempts.last_mut().filter(|last| last.ended.is_none()) {
                // The disk did not take it down; that there is another order is proof of it.
                (last.state, last.ended) = ("lost".to_owned(), Some(seek::signed_at(&order)));
            }
            past.attempts.push(AttemptView {
                attempt: order.attempt,
                provider: order.provider,
                // A receipt says it.
                model: String::new(),
                state: "live".to_owned(),
                why: String::new(),
                ended: None,
            });
            past.live = Some((order, signed.clone()));
            past.settled = None;
        }
    }

    fn falsified(
        &mut self,
        signed: &Signed<Receipt>,
        difference: &Difference,
        at: UnixMillis,
        cx: &mut Cx<'_>,
    ) {
        let Ok(receipt) = codec::decode::<Receipt>(signed.body_bytes(), Receipt::BYTES_MAX) else { return };
        let why = seek::false_result(difference);
        self.lost((receipt.job, receipt.attempt), &why, "false", Some(Outcome::False), at, cx);
        if let Some(past) = self.jobs.get_mut(&receipt.job) {
            past.falsifiers.push(receipt.provider);
        }
    }

    /// It did not begin, so it counts for nothing.
    fn refused(&mut self, (job, attempt): (JobId, Attempt), why: &str, at: UnixMillis) {
        let Some(past) = self.jobs.get_mut(&job) else { return };
        past.live.take_if(|(order, _)| order.attempt == attempt);
        if let Some(shown) = past.attempts.iter_mut().find(|shown| shown.attempt == attempt) {
            (shown.state, shown.why, shown.ended) = ("refused".to_owned(), why.to_owned(), Some(at));
        }
    }

    fn lost(
        &mut self,
        (job, attempt): (JobId, Attempt),
        why: &str,
        state: &'static str,
        outcome: Option<Outcome>,
        at: UnixMillis,
        cx: &mut Cx<'_>,
    ) {
        let Some(past) = self.jobs.get_mut(&job) else { return };
        past.live.take_if(|(order, _)| order.attempt == attempt);
        past.lost += 1;
        past.last_fault = Some(Fault::WorkerCrashed { how: why.to_owned() });
        if let Some(shown) = past.attempts.iter_mut().find(|shown| shown.attempt == attempt) {
            (shown.state, shown.why, shown.ended) = (state.to_owned(), why.to_owned(), Some(at));
            if let Some(outcome) = outcome {
                cx.market.reputation.note(shown.provider, outcome, at);
            }
        }
    }

    fn countersigned(
        &mut self,
        requester: &mut Requester,
        signed: &Signed<Receipt>,
        countersignature: &Signed<Countersignature>,
        outputs: &[Output],
        cx: &mut Cx<'_>,
    ) {
        let Ok(receipt) = codec::decode::<Receipt>(signed.body_bytes(), Receipt::BYTES_MAX) else { return };
        if requester.handovers.get(receipt.job, receipt.attempt).is_none() {
            let half = Half {
                provider: receipt.provider,
                receipt: signed.hash(&cx.out.config.network),
                countersignature: countersignature.clone(),
            };
            requester.handovers.keep(receipt.job, receipt.attempt, half);
            requester.counts.spent = requester.counts.spent.saturating_add(receipt.price);
        }
        let Some(past) = self.jobs.get_mut(&receipt.job) else { return };
        past.live.take_if(|(order, _)| order.attempt == receipt.attempt);
        let body = countersignature.body_bytes();
        let half = codec::decode::<Countersignature>(body, Countersignature::BYTES_MAX).ok();
        let Judged { end, fault, .. } =
            blame::judge(&receipt, &mut past.blamed_by, &mut cx.market.reputation, receipt.finished);
        if let Some(tried) = past.attempts.iter_mut().find(|tried| tried.attempt == receipt.attempt) {
            let shown = if fault.is_some() { "failed" } else { "done" };
            (tried.state, tried.model) = (shown.to_owned(), receipt.device.clone());
            tried.ended = half.as_ref().map(|half| half.signed);
            if let Some(fault) = &fault {
                tried.why = fault.to_string();
            }
        }
        if fault.is_some() {
            past.lost += 1;
            past.last_fault = fault;
        }
        past.settled = Some((signed.clone(), outputs.to_vec(), half.map(|half| half.check)));
        if let Some(end) = end {
            self.end(receipt.job, end, cx);
        }
    }

    fn end(&mut self, job: JobId, end: JobEnd, cx: &Cx<'_>) {
        let Some(past) = self.jobs.get_mut(&job) else { return };
        // A countersignature came first and says more; its own end follows it in the journal.
        if past.end.is_some() {
            return;
        }
        past.end = Some(end);
        self.ended.push_back(job);
        if self.ended.len() > cx.out.config.finished_max
            && let Some(oldest) = self.ended.pop_front()
        {
            self.jobs.remove(&oldest);
        }
    }

    /// Puts the jobs in place and carries on with those that are not over.
    pub(crate) fn finish(mut self, requester: &mut Requester, cx: &mut Cx<'_>) {
        for id in std::mem::take(&mut self.order) {
            let Some(mut past) = self.jobs.remove(&id) else { continue };
            let mut head =
                Head::new(id, past.spec, Vec::new(), past.verify, Now { mono: cx.now.mono, wall: past.at });
            let never = past.falsifiers.iter().map(|provider| (*provider, Rest::FOR_EVER));
            head.rests.extend(never);
            for tried in std::mem::take(&mut past.attempts) {
                head.begin(tried.attempt, tried.provider, tried.model);
                if let Some(at) = tried.ended {
                    head.close(tried.attempt, &tried.state, &tried.why, at);
                }
            }
            (head.durable, head.lost, head.last_fault) = (true, past.lost, past.last_fault);
            head.blamed_by = past.blamed_by;
            if let Some(end) = past.end {
                let outputs = past.settled.as_ref().map(|(_, outputs, _)| head.output_views(outputs));
                let check = past.settled.as_ref().and_then(|(_, _, check)| check.clone());
                let receipt =
                    past.settled.and_then(|(signed, ..)| signed.verify(&cx.out.config.network).ok());
                let summary = Summary { receipt, check, outputs: outputs.unwrap_or_default() };
                requester.count(&end);
                let job = Job { head, state: State::Ended(end, Box::new(summary)) };
                requester.file(job.view(), cx.now.mono, cx.out.config.finished_max);
                continue;
            }
            let state = carry_on(&mut head, past.live, cx);
            cx.out.deadlines.set(Topic::Job(id), state.deadline(&head, &cx.out.config));
            requester.jobs.insert(id, Job { head, state });
        }
    }
}

/// With an order out, its provider is asked; else the search goes on.
fn carry_on(head: &mut Head, live: Option<(Order, Signed<Order>)>, cx: &mut Cx<'_>) -> State {
    let live = live.and_then(|(_, signed)| signed.verify(&cx.out.config.network).ok());
    let Some(order) = live else {
        if head.lost >= cx.out.config.attempts_max {
            let fault = head.last_fault.clone().unwrap_or(Fault::Cancelled);
            return seek::end(head, JobEnd::Failed { fault }, cx);
        }
        return State::Seeking(Seeking::at(cx.now.mono));
    };
    head.inline = order.inline.clone();
    let signed = Now { mono: cx.now.mono, wall: seek::signed_at(&order) };
    let live = Live { order, engine: None, signed, resumed: true, advert_seq: 0 };
    cx.market.rooms.asked(live.provider(), head.id, cx.now.mono);
    cx.market.rooms.taken(live.provider(), head.id, cx.now.mono);
    seek::query(head, &live, cx);
    State::Leased(Leased::new(live, &cx.out.config, cx.now.mono))
}
