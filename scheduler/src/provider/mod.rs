//! The provider: leases, the capacity they use, and the advert.
//!
//! `staging -> waiting (-> next) -> running -> recorded -> delivered -> settled`, or released, faulted, unpaid; nobody hears of one
//! before its acceptance is durable (`held`). One program
//! a device at a time: `running` is a map by device, so capacity cannot go below zero (`devices`). Owns leases and the own advert;
//! never fetches or runs anything itself. Tests: `tests/provider.rs` and `tests/monkey.rs` of the crate.

mod admission;
mod advertiser;
mod devices;
mod dropped;
mod forgotten;
mod lease;
mod numbers;
mod outcome;
mod proof;
mod replay;
mod steps;
mod withhold;

use crate::{
    deadline::Topic,
    effect::Effect,
    event::Event,
    input::{Answer, CallError, FetchFault, FetchId, InboundId, WorkId, WorkReport},
    outbox::Fact,
    requester::Cx,
};
use admission::Room;
use advertiser::{Advertiser, Offering};
use dropped::Dropped;
use forgotten::{Forgotten, repeatable};
use ion_protocol::{
    DocHash, Millis, NanoIo, NodeId, Now, Verified,
    advert::Advert,
    deal::{Acceptance, Order, Refusal, RefusalReason},
    fault::Fault,
    hardware::{Device, Withheld},
    limits,
    message::{LeaseState, Notice, Response},
    receipt::Countersignature,
    record::Record,
};
pub(crate) use lease::LeaseKey;
use lease::{Delivering, Head, Lease, Phase, Promise, Running};
use proof::Proofs;
pub(crate) use replay::Replay;
use std::collections::{BTreeMap, VecDeque};

/// Acceptances the disk refused, kept so that a repeated order gets the same bytes.
const UNWRITTEN_MAX: usize = 64;
/// After a drain begins, a finished result has this long to reach its requester.
const DRAIN_DELIVERS: Millis = Millis(10_000);
/// A drain is looked at this often.
const DRAIN_EVERY: Millis = Millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    /// What the machine has.
    owned: Vec<Device>,
    /// What of it is lent now.
    devices: Vec<Device>,
    /// Why the rest is not.
    withheld: BTreeMap<u16, Withheld>,
    leases: BTreeMap<LeaseKey, Lease>,
    /// Accepted and not in a worker, in order of acceptance.
    waiting: BTreeMap<u64, LeaseKey>,
    /// Who is on which device.
    running: BTreeMap<u16, LeaseKey>,
    /// Who is next on it, in a worker already.
    next: BTreeMap<u16, LeaseKey>,
    /// To find a lease by what its requester countersigns.
    receipts: BTreeMap<DocHash, LeaseKey>,
    /// Oldest first; forgotten beyond the configured count.
    over: VecDeque<LeaseKey>,
    unwritten: VecDeque<(LeaseKey, DocHash, Verified<Acceptance>)>,
    dropped: Dropped,
    forgotten: Forgotten,
    turns: u64,
    advertiser: Advertiser,
    proofs: Proofs,
    drain: Option<Drain>,
    settled: u64,
    earned: NanoIo,
}

/// No new orders any more.
#[derive(Debug)]
struct Drain {
    told: bool,
}

impl Provider {
    pub(crate) fn reachable_at(&mut self, addresses: Vec<String>) {
        self.advertiser.reachable_at(addresses);
    }

    pub(crate) fn drain(&mut self) {
        if self.drain.is_none() {
            self.drain = Some(Drain { told: false });
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// A peer orders. A repeat gets the same answer; another order for the same attempt is refused.
    pub(crate) fn order(
        &mut self,
        from: NodeId,
        inbound: InboundId,
        order: Verified<Order>,
        cx: &mut Cx<'_>,
    ) {
        if order.requester != from {
            return cx.out.refuse(inbound, RefusalReason::NotForMe);
        }
        let key = LeaseKey { requester: from, job: order.job, attempt: order.attempt };
        if let Some(lease) = self.leases.get_mut(&key) {
            return steps::repeat_order(lease, inbound, &order, cx);
        }
        match self.admit(&order, cx) {
            Ok(device) => self.accept(key, inbound, order, device, cx),
            Err(reason) => {
                let (job, attempt) = (order.job, order.attempt);
                let event = Event::LeaseRefused { job, attempt, requester: from, reason: reason.clone() };
                cx.out.event(event);
                let advert = self.current_advert(cx).map(|advert| advert.signed().clone());
                cx.out.answer(inbound, Response::Refused(Refusal { reason, advert }));
            }
        }
    }

    fn current_advert(&mut self, cx: &mut Cx<'_>) -> Option<Verified<Advert>> {
        let offering = self.offering();
        self.advertiser.current(&offering, cx.now, cx.out)
    }

    fn admit(&self, order: &Order, cx: &Cx<'_>) -> Result<Device, RefusalReason> {
        // Whoever lets its inputs be waited for keeps out nobody who brings them along: names cost nothing, and inputs that
        // never come neither.
        let awaited = steps::is_awaited(&order.spec, &order.inline);
        let before = |lease: &Lease| awaited || !lease.awaits_inputs();
        let room = Room {
            config: &cx.out.config,
            me: cx.out.me,
            draining: self.drain.is_some(),
            devices: &self.devices,
            withheld: self.withheld.values().next().copied(),
            asked: self.advertiser.has_asked(order.price_per_second, cx.now.wall),
            queued: self.queued_of(before),
            queued_by_asker: self
                .queued_of(|lease| before(lease) && lease.head.key.requester == order.requester),
            idle: usize::from(self.free()),
            drops: self.dropped.too_many(&order.requester, cx.now.mono),
            forgotten: self.forgotten.may_be(&order.requester, order.expires),
            unfinished: self.leases.len().saturating_sub(self.over.len()),
        };
        admission::admit(order, &room, cx.now)
    }

    fn accept(
        &mut self,
        key: LeaseKey,
        inbound: InboundId,
        order: Verified<Order>,
        device: Device,
        cx: &mut Cx<'_>,
    ) {
        let before = self.unwritten.iter().find(|(k, hash, _)| *k == key && *hash == order.hash());
        let acceptance = match before {
            Some((.., acceptance)) => acceptance.clone(),
            None => cx.out.sign(Acceptance {
                version: limits::VERSION,
                provider: cx.out.me,
                requester: key.requester,
                job: key.job,
                attempt: key.attempt,
                order: order.hash(),
                accepted: cx.now.wall,
            }),
        };
        let record = Record::LeaseTaken {
            order: order.hash(),
            order_expires: order.expires,
            price_per_second: order.price_per_second,
            name: order.spec.name.clone(),
            acceptance: acceptance.signed().clone(),
        };
        cx.out.record(Fact::Taken(key), record);
        let mut head = Head {
            key,
            order: order.hash(),
            order_expires: order.expires,
            price_per_second: order.price_per_second,
            acceptance,
            promise: Promise::Writing(vec![inbound]),
            name: order.spec.name.clone(),
            device: Some(device),
            turn: self.next_turn(),
            accepted: cx.now.mono,
            moved: Millis::ZERO,
            keep_states: order.keep_states,
            spec: Some(Box::new(order.spec.clone())),
        };
        self.waiting.insert(head.turn, key);
        let phase = steps::stage(&mut head, order.inline.clone(), cx);
        self.file(Lease { head, phase }, false, cx);
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Where we stand with a job of its asker's; a result it does not have yet follows.
    pub(crate) fn query(&mut self, inbound: InboundId, key: LeaseKey, cx: &mut Cx<'_>) {
        let told = self.leases.get(&key).map_or(LeaseState::Unknown, Lease::told);
        cx.out.answer(inbound, Response::Lease(told));
        self.turn(key, cx, |head, phase, cx| match phase {
            Phase::Delivering(delivering) if steps::rested(&delivering, cx.now.mono) => {
                Some(outcome::offer(head, delivering, cx))
            }
            other => Some(other),
        });
    }

    /// Its requester does not want it any more.
    pub(crate) fn cancel(&mut self, inbound: InboundId, key: LeaseKey, cx: &mut Cx<'_>) {
        self.turn(key, cx, |head, phase, cx| Some(steps::cancelled(head, phase, cx)));
        let told = self.leases.get(&key).map_or(LeaseState::Unknown, |lease| lease.phase.told());
        cx.out.answer(inbound, Response::Lease(told));
    }

    /// The other half of a receipt comes by itself.
    pub(crate) fn countersign(
        &mut self,
        from: NodeId,
        inbound: InboundId,
        half: Verified<Countersignature>,
        cx: &mut Cx<'_>,
    ) {
        let key = self.receipts.get(&half.receipt).copied().filter(|key| key.requester == from);
        let Some(key) = key.filter(|key| self.leases.contains_key(key)) else {
            return cx.out.refuse(inbound, RefusalReason::UnknownJob);
        };
        self.turn(key, cx, |head, phase, cx| Some(steps::countersigned(head, phase, inbound, half, cx)));
    }

    /// The answer to a delivery.
    pub(crate) fn delivered(&mut self, key: LeaseKey, result: Result<Answer, CallError>, cx: &mut Cx<'_>) {
        self.turn(key, cx, |head, phase, cx| match phase {
            Phase::Delivering(delivering) => Some(outcome::answered(head, delivering, result, cx)),
            // It was called off, or given up, while the other half was on its way.
            Phase::Unpaid { done, why } => {
                if let Ok(Answer::Countersigned(half)) = result
                    && outcome::matches(&done.receipt, &half)
                {
                    return Some(outcome::settle(head, done, *half, Vec::new(), cx));
                }
                Some(Phase::Unpaid { done, why })
            }
            other => Some(other),
        });
    }

    /// A requester is here again: results it lacks are offered at once.
    pub(crate) fn connected(&mut self, peer: NodeId, cx: &mut Cx<'_>) {
        for (key, lease) in &mut self.leases {
            if let Phase::Delivering(delivering) = &mut lease.phase
                && key.requester == peer
            {
                delivering.again_at = cx.now.mono;
                cx.out.deadlines.sooner(Topic::Lease(*key), cx.now.mono);
            }
        }
    }

    pub(crate) fn fetch_progress(&mut self, key: LeaseKey, done: u64, total: u64, cx: &mut Cx<'_>) {
        self.turn(key, cx, |_, phase, cx| match phase {
            Phase::Staging(mut staging) => {
                // A report says that the fetch is alive, even where it waits for this node and nothing moves.
                (staging.done, staging.total, staging.moved_at) = (done, total, cx.now.mono);
                Some(Phase::Staging(staging))
            }
            other => Some(other),
        });
    }

    pub(crate) fn fetched(
        &mut self,
        key: LeaseKey,
        fetch: FetchId,
        result: Result<(), FetchFault>,
        cx: &mut Cx<'_>,
    ) {
        self.turn(key, cx, |head, phase, cx| match phase {
            Phase::Staging(staging) if staging.fetch == fetch => {
                head.moved = cx.now.mono.saturating_sub(staging.since);
                Some(match result {
                    Ok(()) => Phase::Ready,
                    Err(why) => {
                        let fault = match why {
                            FetchFault::Source(message) => Fault::Inputs { message },
                            FetchFault::Here(message) => Fault::Room { message },
                        };
                        outcome::failed(head, fault, cx.now.mono, Millis::ZERO, cx)
                    }
                })
            }
            other => Some(other),
        });
    }

    pub(crate) fn work_progress(&mut self, key: LeaseKey, done: u64, total: u64, cx: &mut Cx<'_>) {
        self.turn(key, cx, |_, phase, _| match phase {
            Phase::Running(running) => Some(Phase::Running(Running { done, total, ..running })),
            other => Some(other),
        });
    }

    pub(crate) fn worked(
        &mut self,
        key: LeaseKey,
        work: WorkId,
        result: Result<WorkReport, Fault>,
        cx: &mut Cx<'_>,
    ) {
        self.turn(key, cx, |head, phase, cx| {
            let running = match phase {
                Phase::Running(running) if running.work == work => running,
                // It was over before we heard that the job before it is, or it did not come so far.
                Phase::Next(next) if next.work == work => next.begins(cx.now.mono, head),
                other => return Some(other),
            };
            match head.promise {
                Promise::Broken => None,
                Promise::Writing(_) | Promise::Durable(_) | Promise::Given => {
                    Some(outcome::worked(head, running, result, cx))
                }
            }
        });
    }

    /// A record is durable.
    pub(crate) fn recorded(&mut self, fact: Fact, cx: &mut Cx<'_>) {
        match fact {
            Fact::Taken(key) => self.turn(key, cx, |head, phase, cx| {
                steps::taken(head, &phase, cx);
                Some(phase)
            }),
            Fact::Receipt(key) => self.turn(key, cx, |head, phase, cx| match phase {
                Phase::Recording { done, .. } => {
                    let phase = outcome::recorded(head, done, cx);
                    // No later record is durable without the earlier.
                    steps::kept(head, cx);
                    Some(phase)
                }
                other => Some(other),
            }),
            Fact::Settled(key) => {
                let mut price = None;
                self.turn(key, cx, |head, phase, cx| match phase {
                    Phase::Settling { done, inbound, .. } => {
                        price = Some(done.receipt.price);
                        Some(outcome::settled(head, done, inbound, cx))
                    }
                    other => Some(other),
                });
                if let Some(price) = price {
                    self.count(price);
                }
            }
            Fact::Submitted(_)
            | Fact::Ordered(..)
            | Fact::Countersigned(..)
            | Fact::Ended(_)
            | Fact::Quiet => {}
        }
    }

    /// A record is not durable: what it covers is not said.
    pub(crate) fn record_failed(&mut self, fact: Fact, cx: &mut Cx<'_>) {
        const RETRY_AFTER: Millis = Millis(1_000);
        match fact {
            Fact::Taken(key) => {
                let mut unwritten = None;
                self.turn(key, cx, |head, phase, cx| {
                    unwritten = Some((head.key, head.order, head.acceptance.clone()));
                    steps::unwritten(head, phase, cx)
                });
                self.unwritten.retain(|(before, ..)| *before != key);
                self.unwritten.extend(unwritten);
                if self.unwritten.len() > UNWRITTEN_MAX {
                    self.unwritten.pop_front();
                }
            }
            Fact::Receipt(key) => self.turn(key, cx, |head, phase, cx| match phase {
                Phase::Recording { done, .. } => {
                    steps::give_if_durable(head, cx);
                    let retry = Some(cx.now.mono.saturating_add(RETRY_AFTER));
                    Some(Phase::Recording { done, retry })
                }
                other => Some(other),
            }),
            Fact::Settled(key) => self.turn(key, cx, |_, phase, cx| match phase {
                Phase::Settling { done, inbound, .. } => {
                    for inbound in inbound {
                        cx.out.refuse(inbound, RefusalReason::Overloaded);
                    }
                    let (since, again_at) = (cx.now.mono, cx.now.mono.saturating_add(RETRY_AFTER));
                    Some(Phase::Delivering(Delivering { done, since, again_at, tries: 1, offered_at: None }))
                }
                other => Some(other),
            }),
            Fact::Submitted(_)
            | Fact::Ordered(..)
            | Fact::Countersigned(..)
            | Fact::Ended(_)
            | Fact::Quiet => {}
        }
    }

    /// A lease's deadline is over.
    pub(crate) fn due(&mut self, key: LeaseKey, cx: &mut Cx<'_>) {
        self.turn(key, cx, |head, phase, cx| Some(steps::on_due(head, phase, cx)));
    }

    /// Tells every requester with a lease here that it is alive.
    pub(crate) fn tell_progress(&mut self, cx: &mut Cx<'_>) {
        let mut any = false;
        for (key, lease) in self.leases.iter().filter(|(_, lease)| lease.is_spoken_of()) {
            any = true;
            let state = lease.phase.told();
            let notice = Notice::Progress { job: key.job, attempt: key.attempt, state };
            cx.out.push(Effect::Notice { to: key.requester, notice });
        }
        if any {
            let at = cx.now.mono.saturating_add(cx.out.config.progress_every);
            cx.out.deadlines.set(Topic::Progress, Some(at));
        }
    }

    /// At the end of every turn: free devices get work, the advert is kept true, a drain is told when it is done.
    pub(crate) fn settle_turn(&mut self, cx: &mut Cx<'_>) {
        self.fill(cx);
        let offering = self.offering();
        self.advertiser.advertise(&offering, cx.now, cx.out);
        self.look_at_drain(cx);
    }

    fn look_at_drain(&mut self, cx: &mut Cx<'_>) {
        let Some(drain) = self.drain.as_mut().filter(|drain| !drain.told) else { return };
        let now = cx.now.mono;
        let busy = self.leases.values().any(|lease| match &lease.phase {
            Phase::Staging(_)
            | Phase::Ready
            | Phase::Next(_)
            | Phase::Running(_)
            | Phase::Recording { .. }
            | Phase::Settling { .. } => true,
            Phase::Delivering(delivering) => delivering.since.saturating_add(DRAIN_DELIVERS) > now,
            Phase::Settled { .. } | Phase::Unpaid { .. } | Phase::Released { .. } => false,
        });
        if busy {
            cx.out.deadlines.sooner(Topic::Progress, now.saturating_add(DRAIN_EVERY));
        } else {
            drain.told = true;
            cx.out.event(Event::Drained);
        }
    }

    /// Runs one step of a lease and keeps the indexes true; `None` forgets the lease.
    fn turn(
        &mut self,
        key: LeaseKey,
        cx: &mut Cx<'_>,
        step: impl FnOnce(&mut Head, Phase, &mut Cx<'_>) -> Option<Phase>,
    ) {
        let Some(Lease { mut head, phase }) = self.leases.remove(&key) else { return };
        let was_over = phase.is_over();
        match step(&mut head, phase, cx) {
            Some(phase) => {
                if !was_over && matches!(phase, Phase::Released { .. } | Phase::Unpaid { .. }) {
                    self.dropped.note(key.requester, cx.now.mono);
                }
                self.file(Lease { head, phase }, was_over, cx);
            }
            None => {
                self.waiting.remove(&head.turn);
                self.running.retain(|_, holder| *holder != key);
                self.next.retain(|_, holder| *holder != key);
                self.receipts.retain(|_, holder| *holder != key);
                self.over.retain(|over| *over != key);
                cx.out.deadlines.set(Topic::Lease(key), None);
            }
        }
    }

    fn file(&mut self, lease: Lease, was_over: bool, cx: &mut Cx<'_>) {
        let key = lease.head.key;
        self.keep_devices_true(&lease);
        if !lease.phase.is_waiting() {
            self.waiting.remove(&lease.head.turn);
        }
        if let Some(receipt) = lease.phase.receipt() {
            self.receipts.insert(receipt.hash(), key);
        }
        let deadline = lease.phase.deadline(&lease.head, &cx.out.config);
        cx.out.deadlines.set(Topic::Lease(key), deadline);
        if lease.is_spoken_of() {
            let at = cx.now.mono.saturating_add(cx.out.config.progress_every);
            cx.out.deadlines.sooner(Topic::Progress, at);
        }
        match (was_over, lease.phase.is_over()) {
            (false, true) => self.over.push_back(key),
            (true, false) => self.over.retain(|before| *before != key),
            (false, false) | (true, true) => {}
        }
        self.leases.insert(key, lease);
        self.forget_oldest(cx);
    }

    /// A lease that is over is remembered as long as its order could be repeated, unless there are too many.
    fn forget_oldest(&mut self, cx: &Cx<'_>) {
        if self.over.len() <= cx.out.config.finished_max {
            return;
        }
        let Some(oldest) = self.over.front().copied() else { return };
        let ends = self.leases.get(&oldest).map(|lease| lease.head.order_expires);
        let repeatable = ends.is_some_and(|ends| repeatable(ends, cx.now.wall));
        if !repeatable || self.over.len() > cx.out.config.finished_max.saturating_mul(4) {
            self.over.pop_front();
            let Some(lease) = self.leases.remove(&oldest) else { return };
            self.forgotten.note(oldest.requester, lease.head.order_expires, cx.now.wall);
            if let Some(receipt) = lease.phase.receipt() {
                self.receipts.remove(&receipt.hash());
            }
        }
    }

    /// A lease rebuilt from the journal.
    fn put_back(&mut self, lease: Lease, cx: &mut Cx<'_>) {
        self.file(lease, false, cx);
    }

    fn count(&mut self, price: NanoIo) {
        self.settled += 1;
        self.earned = self.earned.saturating_add(price);
    }

    fn offering(&self) -> Offering {
        if self.drain.is_some() {
            return Offering::default();
        }
        Offering { devices: self.devices.clone(), free: self.free(), queued: self.queued() }
    }

    /// An own advert came back from the network.
    pub(crate) fn seen(&mut self, seq: u64, now: Now) {
        self.advertiser.seen(seq, now.wall);
    }

    pub(crate) fn newest_advert(&self, now: Now) -> Option<&Verified<Advert>> {
        self.advertiser.newest(now.wall)
    }
}
