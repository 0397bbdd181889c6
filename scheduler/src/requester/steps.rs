//! What a job does in each state, step by step: the leaves under the table of contents in [`super`].

use super::{
    Cx,
    blame::{self, Judged},
    delivery::Settled,
    job::{Head, Leased, Live, Ordered, State, Summary},
    seek::{self, Lost},
};
use crate::{
    event::Event,
    input::{Answer, CallError},
    outbox::Fact,
};
use ion_protocol::{
    Attempt, Millis, NodeId, Verified,
    fault::Fault,
    message::LeaseState,
    receipt::Receipt,
    record::{JobEnd, Record},
};

pub(super) fn is_live(live: &Live, attempt: Attempt, provider: NodeId) -> bool {
    live.attempt() == attempt && live.provider() == provider
}

pub(super) fn stop(head: &mut Head, live: &Live, sent: bool, cx: &mut Cx<'_>) -> State {
    live.over(cx.market);
    head.close(live.attempt(), "cancelled", "", cx.now.wall);
    if sent {
        seek::call_off(head.id, live.attempt(), live.provider(), cx);
    }
    seek::end(head, JobEnd::Cancelled, cx)
}

pub(super) fn leased(head: &mut Head, live: Live, cx: &mut Cx<'_>) -> Leased {
    let (attempt, provider) = (live.attempt(), live.provider());
    cx.out.event(Event::OrderAccepted { job: head.id, attempt, provider });
    head.rests.remove(&provider);
    cx.market.rooms.taken(provider, head.id, cx.now.mono);
    Leased::new(live, &cx.out.config, cx.now.mono)
}

pub(super) fn on_order_answer(
    head: &mut Head,
    mut ordered: Ordered,
    result: Result<Answer, CallError>,
    cx: &mut Cx<'_>,
) -> State {
    match result {
        Ok(Answer::Accepted(acceptance)) => {
            let order = &ordered.live.order;
            let fits = acceptance.order == order.hash()
                && acceptance.provider == order.provider
                && acceptance.requester == order.requester
                && (acceptance.job, acceptance.attempt) == (order.job, order.attempt);
            if fits {
                return State::Leased(leased(head, ordered.live, cx));
            }
            seek::lose(head, ordered.live, Lost::wrong("its acceptance is of another order"), cx)
        }
        Ok(Answer::Refused { reason, .. }) => seek::refused(head, ordered.live, reason, cx),
        // It says where it stands, so it took the order.
        Ok(Answer::Lease(lease)) => {
            let leased = leased(head, ordered.live, cx);
            on_lease(head, leased, lease, cx)
        }
        Ok(
            Answer::Countersigned(_)
            | Answer::Noted
            | Answer::Adverts(_)
            | Answer::Committed(_)
            | Answer::Shown(_),
        ) => seek::lose(head, ordered.live, Lost::wrong("its answer is no answer to an order"), cx),
        Err(CallError::Unreachable(why)) if !ordered.resent => {
            seek::unreachable(head, ordered.live, &format!("could not be reached ({why})"), cx)
        }
        Err(CallError::Busy) => {
            ordered.again_at = Some(cx.now.mono.saturating_add(seek::BUSY_PAUSE));
            // The queue is ours: the provider is not to blame, as long as the order holds.
            if cx.now.wall < ordered.live.order.expires {
                ordered.answer_by = cx.now.mono.saturating_add(cx.out.config.call_timeout);
            }
            State::Ordered(ordered)
        }
        Err(CallError::TimedOut) => unanswered(head, ordered, "did not answer in time", cx),
        Err(error @ CallError::Unreachable(_)) => unanswered(head, ordered, &error.to_string(), cx),
        Err(error @ CallError::Protocol(_)) => {
            seek::lose(head, ordered.live, Lost::wrong(error.to_string()), cx)
        }
    }
}

/// Whether the order arrived is unknown: the same bytes once more, then elsewhere.
pub(super) fn unanswered(head: &mut Head, mut ordered: Ordered, why: &str, cx: &mut Cx<'_>) -> State {
    if !ordered.resent && cx.now.wall < ordered.live.order.expires {
        ordered.resent = true;
        return seek::resend(head, ordered, cx);
    }
    let silent = Millis(cx.now.mono.0.saturating_sub(ordered.live.signed.mono.0));
    seek::lose(head, ordered.live, Lost::silent(silent, why), cx)
}

pub(super) fn on_order_due(head: &mut Head, ordered: Ordered, cx: &mut Cx<'_>) -> State {
    if ordered.answer_by <= cx.now.mono {
        return unanswered(head, ordered, "did not answer in time", cx);
    }
    if ordered.again_at.is_some_and(|at| at <= cx.now.mono) {
        return seek::resend(head, ordered, cx);
    }
    State::Ordered(ordered)
}

/// The provider of the attempt that counts says where it stands.
pub(super) fn on_lease(head: &mut Head, mut leased: Leased, lease: LeaseState, cx: &mut Cx<'_>) -> State {
    match lease {
        // We were away, and the order may never have left: nobody is to blame, and nothing counts.
        LeaseState::Unknown if leased.live.resumed => seek::never_held(head, leased.live, cx),
        LeaseState::Unknown | LeaseState::Released => {
            let silent = cx.now.mono.saturating_sub(leased.heard);
            seek::lose(head, leased.live, Lost::silent(silent, "it does not hold the job any more"), cx)
        }
        LeaseState::Waiting
        | LeaseState::Staging { .. }
        | LeaseState::Running { .. }
        | LeaseState::Finished => {
            leased.live.resumed = false;
            if leased.hear(lease, &cx.out.config, cx.now.mono) {
                let (attempt, provider) = (leased.live.attempt(), leased.live.provider());
                cx.out.event(Event::Progress { job: head.id, attempt, provider, state: lease });
            }
            State::Leased(leased)
        }
    }
}

pub(super) fn on_lease_due(head: &mut Head, mut leased: Leased, cx: &mut Cx<'_>) -> State {
    let (now, config) = (cx.now.mono, &cx.out.config);
    let silent = now.saturating_sub(leased.heard);
    if silent >= config.silence {
        return seek::lose(head, leased.live, Lost::silent(silent, "fell silent"), cx);
    }
    if leased.overdue_at(&head.spec, config) <= now {
        let limit = head.spec.limits.run;
        let fault = Some(Fault::RunTime { limit });
        let lost = Lost { fault, ..Lost::silent(silent, "had the job for too long") };
        return seek::lose(head, leased.live, lost, cx);
    }
    if leased.ask_at <= now {
        leased.ask_at = leased.heard.saturating_add(cx.out.config.silence).max(now.saturating_add(Millis(1)));
        seek::query(head, &leased.live, cx);
    }
    State::Leased(leased)
}

/// A receipt is countersigned: is the job over?
pub(super) fn judged(head: &mut Head, attempt: Attempt, settled: Settled, cx: &mut Cx<'_>) -> State {
    let Settled { receipt, outputs, check } = settled;
    let Judged { end, fault, blames_job } =
        blame::judge(&receipt, &mut head.blamed_by, &mut cx.market.reputation, cx.now.wall);
    head.last_fault = fault.or(head.last_fault.take());
    let Some(end) = end else {
        let why = head.last_fault.as_ref().map(Fault::to_string).unwrap_or_default();
        head.close(attempt, "failed", &why, cx.now.wall);
        seek::rest_failed(head, receipt.provider, cx);
        if let Some(fault) = head.last_fault.clone().filter(|_| blames_job && !seek::is_wanted(head, cx)) {
            // Nobody else is there to say whether that is so. This end does not follow from the countersignature.
            let outputs = head.output_views(&outputs);
            let summary = Summary { receipt: Some(receipt), check: Some(check), outputs };
            return seek::end_with(head, JobEnd::Failed { fault }, Box::new(summary), cx);
        }
        let (provider, silent) = (receipt.provider, Millis::ZERO);
        cx.out.event(Event::AttemptLost { job: head.id, attempt, provider, silent, why });
        return seek::elsewhere(head, cx);
    };
    head.close(attempt, end_word(&end), &end_why(&end), cx.now.wall);
    let record = Record::JobEnded { job: head.id, end: end.clone(), at: cx.now.wall };
    // The countersignature implies the end, so nothing waits for this record.
    cx.out.record(Fact::Quiet, record);
    cx.out.event(ended_event(head, &end, Some(&receipt)));
    let outputs = head.output_views(&outputs);
    State::Ended(end, Box::new(Summary { receipt: Some(receipt), check: Some(check), outputs }))
}

pub(super) fn end_word(end: &JobEnd) -> &'static str {
    match end {
        JobEnd::Done { .. } => "done",
        JobEnd::Failed { .. } => "failed",
        JobEnd::Cancelled => "cancelled",
    }
}

pub(super) fn end_why(end: &JobEnd) -> String {
    match end {
        JobEnd::Failed { fault } => fault.to_string(),
        JobEnd::Done { .. } | JobEnd::Cancelled => String::new(),
    }
}

pub(super) fn ended_event(head: &Head, end: &JobEnd, receipt: Option<&Verified<Receipt>>) -> Event {
    Event::JobEnded {
        job: head.id,
        end: end.clone(),
        provider: receipt.map(|r| r.provider).or(head.attempts.last().map(|shown| shown.provider)),
        model: receipt.map(|r| r.device.clone()).unwrap_or_default(),
        engine: receipt.map(|r| r.engine),
        device_time: receipt.map(|r| r.device_time).unwrap_or_default(),
        waited: receipt.map(|r| r.waited).unwrap_or_default(),
        moved: receipt.map(|r| r.moved).unwrap_or_default(),
        ran: receipt.map(|r| r.ran).unwrap_or_default(),
        price: receipt.map(|r| r.price).unwrap_or_default(),
    }
}
