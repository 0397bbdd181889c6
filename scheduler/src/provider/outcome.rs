//! How an attempt ends here: the receipt, its way to the requester, and the requester's half.

use super::{
    admission::{bounded, owed},
    lease::{Delivering, Done, Head, Phase, Running, Stop},
};
use crate::{
    event::Event,
    input::{Answer, CallError, InboundId, WorkReport},
    outbox::{Fact, Question},
    requester::Cx,
};
use ion_protocol::{
    Millis, NanoIo, Nanos, Verified,
    deal::RefusalReason,
    fault::Fault,
    hardware::{Device, Engine},
    job::JobSpec,
    limits,
    message::{self, Request, Response},
    receipt::{Countersignature, Receipt, Status, output_root},
    record::Record,
    states::States,
};

/// A requester that noted a delivery fetches its outputs; it is reminded after this long.
const NOTED_PAUSE: Millis = Millis(10_000);
/// Countersignatures of one receipt that wait for the disk together.
pub(super) const INBOUND_MAX: usize = 4;

/// What ran, or did not.
struct Account {
    device: String,
    engine: Engine,
    device_time: Nanos,
    ran: Millis,
    states: States,
    status: Status,
}

/// A worker is done with a lease's program.
pub(super) fn worked(
    head: &mut Head,
    running: Running,
    result: Result<WorkReport, Fault>,
    cx: &mut Cx<'_>,
) -> Phase {
    let result = match (running.stopping, result) {
        (Some(Stop::Unwanted(why)), _) => return release(head, why, cx),
        (Some(Stop::Overrun), Err(Fault::Cancelled)) => {
            Err(Fault::RunTime { limit: head.spec.as_ref().map_or(Millis::ZERO, |spec| spec.limits.run) })
        }
        (Some(Stop::Withdrawn), Err(Fault::Cancelled)) => Err(Fault::Withdrawn),
        (None, Err(Fault::Cancelled)) => {
            return release(head, "the run was stopped on this machine".to_owned(), cx);
        }
        (Some(Stop::Overrun | Stop::Withdrawn) | None, other) => other,
    };
    let ran = cx.now.mono.saturating_sub(running.since);
    match result.and_then(|report| plausible(head, report)) {
        Ok(WorkReport { outputs, inline, states, device, engine, device_time, ran, printed: _ }) => {
            let account = Account { device, engine, device_time, ran, states, status: Status::Done };
            let done = sign(head, account, outputs, inline, running.since, cx);
            record(head, done, cx)
        }
        Err(fault) => failed(head, fault, running.since, ran, cx),
    }
}

/// The attempt failed, in a worker or before one: nothing is owed, and the requester learns why.
pub(super) fn failed(head: &mut Head, fault: Fault, started: Millis, ran: Millis, cx: &mut Cx<'_>) -> Phase {
    let device = head.device.as_ref();
    let account = Account {
        device: device.map(|device| device.model.clone()).unwrap_or_default(),
        engine: device.map_or(Engine::CpuInterpreter, |device: &Device| device.engine),
        device_time: Nanos::ZERO,
        ran,
        states: States::NotAsked,
        status: Status::Failed(fault.bounded()),
    };
    let done = sign(head, account, Vec::new(), Vec::new(), started, cx);
    record(head, done, cx)
}

/// The worker is ours, but it ran foreign code: its report is looked at once more.
fn plausible(head: &Head, report: WorkReport) -> Result<WorkReport, Fault> {
    let program = head.spec.as_ref().map(|spec| &spec.program);
    let expected = program.into_iter().flat_map(|program| {
        program.outputs().filter_map(|i| Some((i, program.buffers.get(usize::from(i))?.bytes)))
    });
    let wrong = |what: &str| {
        Err(Fault::WorkerProtocol { message: format!("its {what} are not those of the program") })
    };
    if !expected.eq(report.outputs.iter().map(|output| (output.buffer, output.bytes))) {
        return wrong("outputs");
    }
    let fit = match &report.states {
        States::NotAsked => true,
        States::EndsOnly { why } => why.len() <= limits::TEXT_BYTES_MAX,
        States::Kept(kept) => program.is_some_and(|program| kept.fits(program)),
    };
    if fit { Ok(report) } else { wrong("states") }
}

fn sign(
    head: &mut Head,
    account: Account,
    outputs: Vec<ion_protocol::receipt::Output>,
    inline: Vec<ion_protocol::deal::InlineBlob>,
    started: Millis,
    cx: &mut Cx<'_>,
) -> Done {
    let spec = head.spec.as_deref();
    let limit = spec.map_or(NanoIo::ZERO, |spec| spec.limits.price);
    let price = match account.status {
        Status::Done => owed(head.price_per_second, account.device_time, limit),
        Status::Failed(_) => NanoIo::ZERO,
    };
    let receipt = cx.out.sign(Receipt {
        version: limits::VERSION,
        provider: cx.out.me,
        requester: head.key.requester,
        job: head.key.job,
        attempt: head.key.attempt,
        order: head.order,
        input_root: spec.map_or([0; 32], JobSpec::input_root),
        output_root: output_root(&outputs),
        states: account.states,
        device: shortened(account.device),
        engine: account.engine,
        device_time: account.device_time,
        price_per_second: head.price_per_second,
        price,
        waited: started.saturating_sub(head.accepted).saturating_sub(head.moved),
        moved: head.moved,
        ran: account.ran,
        finished: cx.now.wall,
        status: account.status,
    });
    let small = inline.iter().map(|blob| blob.bytes.len()).sum::<usize>() <= limits::INLINE_BYTES_MAX;
    let inline = if small { inline } else { Vec::new() };
    // Nothing is left to run: the program need not be kept.
    head.spec = None;
    Done { receipt, outputs, inline }
}

/// A name as long as the wire takes.
fn shortened(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(limits::NAME_BYTES_MAX));
    name
}

/// Has the receipt written down, for the first time or after the disk refused it.
pub(super) fn record(head: &Head, done: Done, cx: &mut Cx<'_>) -> Phase {
    let (receipt, outputs) = (done.receipt.signed().clone(), done.outputs.clone());
    cx.out.record(Fact::Receipt(head.key), Record::ReceiptSigned { receipt, outputs });
    Phase::Recording { done, retry: None }
}

/// The receipt is durable: it is offered.
pub(super) fn recorded(head: &Head, done: Done, cx: &mut Cx<'_>) -> Phase {
    let fault = match &done.receipt.status {
        Status::Done => None,
        Status::Failed(fault) => Some(fault.clone()),
    };
    cx.out.event(Event::ReceiptSigned {
        job: head.key.job,
        attempt: head.key.attempt,
        requester: head.key.requester,
        price: done.receipt.price,
        fault,
    });
    let delivering =
        Delivering { done, since: cx.now.mono, again_at: cx.now.mono, tries: 0, offered_at: None };
    offer(head, delivering, cx)
}

/// Offers the result, for the first time or again.
pub(super) fn offer(head: &Head, mut delivering: Delivering, cx: &mut Cx<'_>) -> Phase {
    let to = head.key.requester;
    let delivery = message::Delivery {
        receipt: delivering.done.receipt.signed().clone(),
        outputs: delivering.done.outputs.clone(),
        inline: delivering.done.inline.clone(),
    };
    let addresses = cx.market.directory.addresses(&to);
    cx.out.call(Question::Deliver(head.key), to, addresses, Request::Deliver(delivery));
    delivering.offered_at = Some(cx.now.mono);
    delivering.tries = delivering.tries.saturating_add(1);
    let pause = cx.out.config.call_timeout.saturating_add(cx.out.backoff(delivering.tries));
    delivering.again_at = cx.now.mono.saturating_add(pause);
    Phase::Delivering(delivering)
}

/// The requester's answer to a delivery.
pub(super) fn answered(
    head: &Head,
    mut delivering: Delivering,
    result: Result<Answer, CallError>,
    cx: &mut Cx<'_>,
) -> Phase {
    match result {
        Ok(Answer::Countersigned(countersignature)) => {
            if matches(&delivering.done.receipt, &countersignature) {
                return settle(head, delivering.done, *countersignature, Vec::new(), cx);
            }
        }
        Ok(Answer::Noted) => {
            delivering.again_at = cx.now.mono.saturating_add(NOTED_PAUSE);
        }
        Ok(Answer::Refused { reason, .. }) => match reason {
            RefusalReason::UnknownJob
            | RefusalReason::Superseded
            | RefusalReason::Delivery { .. }
            | RefusalReason::NotForMe
            | RefusalReason::Conflict => return unpaid(head, delivering.done, &reason.to_string(), cx),
            RefusalReason::Busy { .. }
            | RefusalReason::Draining
            | RefusalReason::Withheld { .. }
            | RefusalReason::NotAProvider
            | RefusalReason::Expired
            | RefusalReason::Price { .. }
            | RefusalReason::Unmet { .. }
            | RefusalReason::NoSuchDevice { .. }
            | RefusalReason::RunTime { .. }
            | RefusalReason::Room { .. }
            | RefusalReason::Spec { .. }
            | RefusalReason::Challenge { .. }
            | RefusalReason::Overloaded => {}
        },
        Ok(
            Answer::Accepted(_)
            | Answer::Lease(_)
            | Answer::Adverts(_)
            | Answer::Committed(_)
            | Answer::Shown(_),
        )
        | Err(CallError::Protocol(_)) => {}
        Err(CallError::Unreachable(_) | CallError::TimedOut | CallError::Busy) => {
            let pause = cx.out.backoff(delivering.tries);
            delivering.again_at = cx.now.mono.saturating_add(pause);
        }
    }
    Phase::Delivering(delivering)
}

/// Whether this is the other half of that receipt.
pub(super) fn matches(receipt: &Verified<Receipt>, half: &Verified<Countersignature>) -> bool {
    half.receipt == receipt.hash()
        && half.requester == receipt.requester
        && half.provider == receipt.provider
        && half.price == receipt.price
}

/// Has the requester's half written down; only then it counts.
pub(super) fn settle(
    head: &Head,
    done: Done,
    countersignature: Verified<Countersignature>,
    inbound: Vec<InboundId>,
    cx: &mut Cx<'_>,
) -> Phase {
    let body = Record::ReceiptSettled {
        receipt: done.receipt.hash(),
        countersignature: countersignature.signed().clone(),
    };
    cx.out.record(Fact::Settled(head.key), body);
    Phase::Settling { done, countersignature, inbound }
}

/// Both halves are durable.
pub(super) fn settled(head: &Head, done: Done, inbound: Vec<InboundId>, cx: &mut Cx<'_>) -> Phase {
    for inbound in inbound {
        cx.out.answer(inbound, Response::Noted);
    }
    cx.out.event(Event::ReceiptSettled {
        job: head.key.job,
        attempt: head.key.attempt,
        requester: head.key.requester,
        price: done.receipt.price,
    });
    Phase::Settled { receipt: done.receipt }
}

/// Nobody takes the result: outputs may go, the receipt stays.
pub(super) fn unpaid(head: &Head, mut done: Done, why: &str, cx: &mut Cx<'_>) -> Phase {
    done.inline = Vec::new();
    note_release(head, why, cx);
    Phase::Unpaid { done, why: bounded(why) }
}

/// Ends a lease that has no receipt.
pub(super) fn release(head: &mut Head, why: String, cx: &mut Cx<'_>) -> Phase {
    head.spec = None;
    note_release(head, &why, cx);
    Phase::Released { why: bounded(&why) }
}

fn note_release(head: &Head, why: &str, cx: &mut Cx<'_>) {
    let (requester, job, attempt) = (head.key.requester, head.key.job, head.key.attempt);
    let why = bounded(why);
    let record = Record::LeaseReleased { requester, job, attempt, why: why.clone() };
    cx.out.record(Fact::Quiet, record);
    cx.out.event(Event::LeaseReleased { job, attempt, requester, why });
}
