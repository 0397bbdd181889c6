//! What a lease does in each state, step by step: the leaves under the table of contents in [`super`].

use super::{
    lease::{Delivering, Head, Lease, Phase, Staging, Stop},
    outcome,
};
use crate::{effect::Effect, event::Event, input::InboundId, outbox::FetchFor, requester::Cx};
use ion_protocol::{
    BlobHash, Bytes, Millis, Verified,
    deal::{InlineBlob, Order, RefusalReason},
    fault::Fault,
    message::Response,
    receipt::Countersignature,
};

/// Whether a result was not offered a moment ago: a peer that asks and asks does not make us talk as often.
pub(super) fn rested(delivering: &Delivering, now: Millis) -> bool {
    const OFFER_EVERY: Millis = Millis(500);
    delivering.offered_at.is_none_or(|at| now >= at.saturating_add(OFFER_EVERY))
}

pub(super) fn repeat_order(lease: &mut Lease, inbound: InboundId, order: &Verified<Order>, cx: &mut Cx<'_>) {
    if lease.head.order != order.hash() {
        return cx.out.refuse(inbound, RefusalReason::Conflict);
    }
    if let Phase::Taking { inbound: waiting, .. } = &mut lease.phase {
        if waiting.len() >= outcome::INBOUND_MAX {
            return cx.out.refuse(inbound, RefusalReason::Overloaded);
        }
        return waiting.push(inbound);
    }
    cx.out.answer(inbound, Response::Accepted(lease.head.acceptance.signed().clone()));
}

/// The promise is durable: it is given, and inputs are fetched.
pub(super) fn taken(head: &mut Head, phase: Phase, cx: &mut Cx<'_>) -> Phase {
    let Phase::Taking { inbound, inline, cancelled } = phase else { return phase };
    for inbound in inbound {
        cx.out.answer(inbound, Response::Accepted(head.acceptance.signed().clone()));
    }
    let (job, attempt, requester) = (head.key.job, head.key.attempt, head.key.requester);
    cx.out.event(Event::LeaseTaken { job, attempt, requester });
    if cancelled {
        return outcome::release(head, "its requester called it off".to_owned(), cx);
    }
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
    Phase::Staging(Staging { fetch, since: cx.now.mono, moved_at: cx.now.mono, done: 0, total })
}

pub(super) fn cancelled(head: &mut Head, phase: Phase, cx: &mut Cx<'_>) -> Phase {
    let why = || "its requester called it off".to_owned();
    match phase {
        Phase::Taking { inbound, inline, .. } => Phase::Taking { inbound, inline, cancelled: true },
        Phase::Staging(staging) => {
            cx.out.stop_fetch(staging.fetch);
            outcome::release(head, why(), cx)
        }
        Phase::Ready => outcome::release(head, why(), cx),
        Phase::Running(mut running) => {
            if !matches!(running.stopping, Some(Stop::Unwanted(_))) {
                if running.stopping.is_none() {
                    cx.out.push(Effect::StopWork(running.work));
                }
                running.stopping = Some(Stop::Unwanted(why()));
            }
            // The device stays taken until its worker is gone.
            Phase::Running(running)
        }
        Phase::Recording { done, .. } => outcome::unpaid(head, done, &why(), cx),
        Phase::Delivering(delivering) => outcome::unpaid(head, delivering.done, &why(), cx),
        Phase::Settling { .. } | Phase::Settled { .. } | Phase::Unpaid { .. } | Phase::Released { .. } => {
            phase
        }
    }
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
        Phase::Taking { .. }
        | Phase::Staging(_)
        | Phase::Ready
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
        Phase::Taking { .. }
        | Phase::Ready
        | Phase::Settling { .. }
        | Phase::Settled { .. }
        | Phase::Unpaid { .. }
        | Phase::Released { .. } => phase,
    }
}

pub(super) fn stranded_lease(head: &mut Head, cx: &mut Cx<'_>) -> Phase {
    let fault = Fault::NoDevice { message: "the ordered device is gone".to_owned() };
    outcome::failed(head, fault, cx.now.mono, Millis::ZERO, cx)
}
