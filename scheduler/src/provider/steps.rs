//! What a lease does in each state, step by step: the leaves under the table of contents in [`super`].

use super::{
    lease::{Delivering, Head, Lease, Phase, Promise, Running, Staging, Stop},
    outcome,
};
use crate::{effect::Effect, event::Event, input::InboundId, outbox::FetchFor, requester::Cx};
use ion_protocol::{
    BlobHash, Bytes, Millis, Verified,
    deal::{InlineBlob, Order, RefusalReason},
    fault::Fault,
    job::JobSpec,
    message::{LeaseState, Response},
    receipt::Countersignature,
};
use std::collections::BTreeSet;

/// Whether a result was not offered a moment ago: a peer that asks and asks does not make us talk as often.
pub(super) fn rested(delivering: &Delivering, now: Millis) -> bool {
    const OFFER_EVERY: Millis = Millis(500);
    delivering.offered_at.is_none_or(|at| now >= at.saturating_add(OFFER_EVERY))
}

pub(super) fn repeat_order(lease: &mut Lease, inbound: InboundId, order: &Verified<Order>, cx: &mut Cx<'_>) {
    if lease.head.order != order.hash() {
        return cx.out.refuse(inbound, RefusalReason::Conflict);
    }
    match &mut lease.head.promise {
        Promise::Writing(asked) | Promise::Durable(asked) if asked.len() < outcome::INBOUND_MAX => {
            asked.push(inbound);
        }
        Promise::Writing(_) | Promise::Durable(_) | Promise::Broken => {
            cx.out.refuse(inbound, RefusalReason::Overloaded)
        }
        Promise::Given => {
            cx.out.answer(inbound, Response::Accepted(lease.head.acceptance.signed().clone()));
        }
    }
}

/// The promise is durable: it is given. A receipt that is about to be durable as well says more, and goes first.
pub(super) fn taken(head: &mut Head, phase: &Phase, cx: &mut Cx<'_>) {
    let (job, attempt, requester) = (head.key.job, head.key.attempt, head.key.requester);
    cx.out.event(Event::LeaseTaken { job, attempt, requester });
    if matches!(phase, Phase::Recording { retry: None, .. }) {
        head.promise = Promise::Durable(asked(head, Promise::Given));
    } else {
        give(head, cx);
    }
}

/// No result goes first any more.
pub(super) fn give_if_durable(head: &mut Head, cx: &mut Cx<'_>) {
    if matches!(head.promise, Promise::Durable(_)) {
        give(head, cx);
    }
}

/// Gives the durable promise to those who asked.
fn give(head: &mut Head, cx: &mut Cx<'_>) {
    for inbound in asked(head, Promise::Given) {
        cx.out.answer(inbound, Response::Accepted(head.acceptance.signed().clone()));
    }
}

/// The result is on its way to those who asked, and says all that the promise would.
pub(super) fn kept(head: &mut Head, cx: &mut Cx<'_>) {
    for inbound in asked(head, Promise::Given) {
        cx.out.answer(inbound, Response::Lease(LeaseState::Finished));
    }
}

/// The disk refused the promise: what was begun ends, and is forgotten as soon as no worker has it.
pub(super) fn unwritten(head: &mut Head, phase: Phase, cx: &mut Cx<'_>) -> Option<Phase> {
    for inbound in asked(head, Promise::Broken) {
        cx.out.refuse(inbound, RefusalReason::Overloaded);
    }
    match phase {
        Phase::Staging(staging) => {
            cx.out.stop_fetch(staging.fetch);
            None
        }
        Phase::Running(running) => {
            let why = "its acceptance could not be written down".to_owned();
            Some(Phase::Running(unwanted(running, why, cx)))
        }
        Phase::Next(next) => {
            cx.out.push(Effect::StopWork(next.work));
            None
        }
        Phase::Ready | Phase::Recording { .. } | Phase::Released { .. } => None,
        // These come after a later record was written, which no earlier one fails after.
        Phase::Delivering(_) | Phase::Settling { .. } | Phase::Settled { .. } | Phase::Unpaid { .. } => {
            Some(phase)
        }
    }
}

/// Who waits for the promise, of which this is known now.
fn asked(head: &mut Head, promise: Promise) -> Vec<InboundId> {
    match std::mem::replace(&mut head.promise, promise) {
        Promise::Writing(asked) | Promise::Durable(asked) => asked,
        Promise::Given | Promise::Broken => Vec::new(),
    }
}

/// Whether some of a job's inputs and modules do not come with its order.
pub(super) fn is_awaited(spec: &JobSpec, inline: &[InlineBlob]) -> bool {
    let held: BTreeSet<BlobHash> = inline.iter().map(InlineBlob::hash).collect();
    !spec.program.blobs().iter().all(|(hash, _)| held.contains(hash))
}

/// Begins to bring the inputs here. The promise need not be durable for that: nobody is told anything.
pub(super) fn stage(head: &mut Head, inline: Vec<InlineBlob>, cx: &mut Cx<'_>) -> Phase {
    let requester = head.key.requester;
    let awaited = head.spec.as_ref().is_some_and(|spec| is_awaited(spec, &inline));
    let blobs = head.spec.as_ref().map(|spec| spec.program.blobs()).unwrap_or_default();
    let held: Vec<BlobHash> = inline.iter().map(InlineBlob::hash).collect();
    let wanted: Vec<_> = inline
        .into_iter()
        .zip(&held)
        .filter(|(blob, hash)| blobs.contains(&(**hash, Bytes(blob.bytes.len() as u64))))
        .map(|(blob, _)| blob)
        .collect();
    if !wanted.is_empty() {
        cx.out.push(Effect::Keep(wanted));
    }
    let total = blobs.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(bytes.0));
    let addresses = cx.market.directory.addresses(&requester);
    let fetch = cx.out.fetch(FetchFor::Lease(head.key), requester, addresses, blobs);
    Phase::Staging(Staging { fetch, since: cx.now.mono, moved_at: cx.now.mono, done: 0, total, awaited })
}

pub(super) fn cancelled(head: &mut Head, phase: Phase, cx: &mut Cx<'_>) -> Phase {
    let why = || "its requester called it off".to_owned();
    give_if_durable(head, cx);
    match phase {
        Phase::Staging(staging) => {
            cx.out.stop_fetch(staging.fetch);
            outcome::release(head, why(), cx)
        }
        Phase::Ready => outcome::release(head, why(), cx),
        Phase::Next(next) => {
            cx.out.push(Effect::StopWork(next.work));
            outcome::release(head, why(), cx)
        }
        Phase::Running(running) => Phase::Running(unwanted(running, why(), cx)),
        Phase::Recording { done, .. } => outcome::unpaid(head, done, &why(), cx),
        Phase::Delivering(delivering) => outcome::unpaid(head, delivering.done, &why(), cx),
        Phase::Settling { .. } | Phase::Settled { .. } | Phase::Unpaid { .. } | Phase::Released { .. } => {
            phase
        }
    }
}

/// Stops a program that nobody wants. The device stays taken until its worker is gone.
fn unwanted(mut running: Running, why: String, cx: &mut Cx<'_>) -> Running {
    if running.stopping.is_none() {
        cx.out.push(Effect::StopWork(running.work));
    }
    if !matches!(running.stopping, Some(Stop::Unwanted(_))) {
        running.stopping = Some(Stop::Unwanted(why));
    }
    running
}

pub(super) fn countersigned(
    head: &Head,
    phase: Phase,
    inbound: InboundId,
    half: Verified<Countersignature>,
    cx: &mut Cx<'_>,
) -> Phase {
    let fits = phase.receipt().is_some_and(|receipt| outcome::matches(receipt, &half));
    if !fits {
        let message = "the countersignature is not of this receipt and price".to_owned();
        cx.out.refuse(inbound, RefusalReason::Delivery { message });
        return phase;
    }
    match phase {
        Phase::Delivering(Delivering { done, .. }) | Phase::Unpaid { done, .. } => {
            outcome::settle(head, done, half, vec![inbound], cx)
        }
        Phase::Settling { done, countersignature, inbound: mut waiting } => {
            if waiting.len() >= outcome::INBOUND_MAX {
                cx.out.refuse(inbound, RefusalReason::Overloaded);
            } else {
                waiting.push(inbound);
            }
            Phase::Settling { done, countersignature, inbound: waiting }
        }
        Phase::Settled { .. } => {
            cx.out.answer(inbound, Response::Noted);
            phase
        }
        // A half of a receipt that never left: nothing of ours.
        Phase::Staging(_)
        | Phase::Ready
        | Phase::Next(_)
        | Phase::Running(_)
        | Phase::Recording { .. }
        | Phase::Released { .. } => {
            cx.out.refuse(inbound, RefusalReason::UnknownJob);
            phase
        }
    }
}

pub(super) fn on_due(head: &mut Head, phase: Phase, cx: &mut Cx<'_>) -> Phase {
    let now = cx.now.mono;
    if phase.deadline(head, &cx.out.config).is_none_or(|at| at > now) {
        return phase;
    }
    match phase {
        Phase::Staging(staging) => {
            cx.out.stop_fetch(staging.fetch);
            head.moved = now.saturating_sub(staging.since);
            let message = "they stopped coming".to_owned();
            outcome::failed(head, Fault::Inputs { message }, now, Millis::ZERO, cx)
        }
        Phase::Running(mut running) => {
            cx.out.push(Effect::StopWork(running.work));
            running.stopping = Some(Stop::Overrun);
            Phase::Running(running)
        }
        Phase::Recording { done, .. } => outcome::record(head, done, cx),
        Phase::Delivering(delivering) => {
            if delivering.since.saturating_add(cx.out.config.deliver_max) <= now {
                outcome::unpaid(head, delivering.done, "its requester never took the result", cx)
            } else {
                outcome::offer(head, delivering, cx)
            }
        }
        Phase::Ready
        | Phase::Next(_)
        | Phase::Settling { .. }
        | Phase::Settled { .. }
        | Phase::Unpaid { .. }
        | Phase::Released { .. } => phase,
    }
}
