//! Between holding a delivery and countersigning it: some of its blocks are run again here, and their bytes decide.
//!
//! Which blocks is drawn only when the provider's signature on the outputs is held, from the engine's own chance, so
//! that nobody can falsify those that are not looked at. Nothing is written down before there is a result: after a crash the
//! provider delivers the same bytes again, and other blocks are drawn.

use super::{
    Cx,
    delivery::{self, Delivery, Settled},
    job::{Drawn, Head, Live, State, Verifying},
    seek::{self, Lost},
};
use crate::{
    effect::Between,
    event::Event,
    input::{CheckId, InboundId},
};
use ion_protocol::{
    BlobHash, Bytes, Millis, Verified,
    check::{BlockAt, Check, Finding, bounded_why},
    deal::RefusalReason,
    fault::Fault,
    message::Response,
    receipt::{Output, Receipt, Status},
    states::{Kept, States},
};

/// How much later than its limit a check may be told of.
const TOLD_BY: Millis = Millis(10_000);

/// The memory between launches, to be brought here with the outputs: where so many checks are made first that its
/// provider may have let it go by its turn.
pub(super) fn brought(head: &Head, receipt: &Receipt, cx: &Cx<'_>) -> Option<(BlobHash, Bytes)> {
    let States::Kept(kept) = receipt.states else { return None };
    let config = &cx.out.config;
    let each = config.check_max.saturating_add(TOLD_BY);
    // Half of its time: some of it has passed, and some is for the way here.
    let line_max = config.deliver_max.0 / 2 / each.0.max(1);
    (head.verify > 0 && cx.out.checks() as u64 >= line_max).then_some((kept.blob, kept.bytes))
}

/// All outputs are here: has blocks run again, or countersigns at once.
pub(super) fn begin(
    head: &Head,
    live: Live,
    receipt: Verified<Receipt>,
    outputs: Vec<Output>,
    inbound: Option<InboundId>,
    cx: &mut Cx<'_>,
) -> State {
    let of = head.spec.program.last_blocks();
    let count = usize::from(head.verify);
    if count == 0 || of == 0 || receipt.status != Status::Done {
        let settled = Settled { receipt, outputs, check: Check::NotAsked };
        return delivery::countersign(head, live, settled, inbound.into_iter().collect(), cx);
    }
    let blocks = cx.out.draw(count, of, cx.now.wall);
    let between = draw_between(head, &receipt, count, cx);
    let (attempt, provider) = (live.attempt(), live.provider());
    let shown_of = between.as_ref().map(|(_, drawn)| (drawn.blocks.len(), drawn.of));
    let (count, all) = shown_of.unwrap_or((blocks.len(), of));
    cx.out.event(Event::Checking { job: head.id, attempt, provider, blocks: count as u32, of: all });
    let shown = between.as_ref().map(|(kept, drawn)| Between {
        from: provider,
        addresses: cx.market.directory.addresses(&provider),
        kept: *kept,
        blocks: drawn.blocks.clone(),
    });
    let between = between.map(|(_, drawn)| drawn);
    let spec = Box::new(head.spec.clone());
    let check = cx.out.check(head.id, spec, outputs.clone(), blocks.clone(), shown, cx.now.mono);
    // Half the time that the provider waits for an answer: most checks end sooner, and save it a question.
    let note_at = cx.now.mono.saturating_add(Millis(cx.out.config.call_timeout.0 / 2));
    let overdue_at = overdue_at(check, cx);
    State::Verifying(Verifying {
        inbound,
        live,
        receipt,
        outputs,
        check,
        blocks,
        of,
        between,
        note_at,
        overdue_at,
    })
}

/// When a check has had its time, which does not pass before its turn.
fn overdue_at(check: CheckId, cx: &Cx<'_>) -> Millis {
    let since = cx.out.checking_since(check).unwrap_or(cx.now.mono);
    since.saturating_add(cx.out.config.check_max).saturating_add(TOLD_BY)
}

/// Blocks of all launches, where the receipt commits to the memory between them.
fn draw_between(head: &Head, receipt: &Receipt, count: usize, cx: &mut Cx<'_>) -> Option<(Kept, Drawn)> {
    let States::Kept(kept) = receipt.states else { return None };
    let program = &head.spec.program;
    let (launches, of) = kept.extent(program);
    let blocks = kept.locate(program, &cx.out.draw(count, of, cx.now.wall));
    Some((kept, Drawn { launches, of, blocks }))
}

/// A delivery again, while blocks are run.
pub(super) fn repeat(verifying: Verifying, delivery: Delivery, cx: &mut Cx<'_>) -> State {
    if verifying.receipt.hash() == delivery.receipt.hash() {
        cx.out.answer(delivery.inbound, Response::Noted);
    } else {
        cx.out.refuse(delivery.inbound, RefusalReason::Conflict);
    }
    State::Verifying(verifying)
}

/// Time passes.
pub(super) fn on_due(head: &mut Head, mut verifying: Verifying, cx: &mut Cx<'_>) -> State {
    verifying.overdue_at = overdue_at(verifying.check, cx);
    if verifying.overdue_at <= cx.now.mono {
        cx.out.stop_check(verifying.check, cx.now.mono);
        return found(head, verifying, Err(Fault::RunTime { limit: cx.out.config.check_max }), cx);
    }
    if verifying.note_at <= cx.now.mono {
        delivery::noted(verifying.inbound.take(), cx);
    }
    State::Verifying(verifying)
}

/// What running the blocks showed. What can't be told is said, and the delivery accepted: honest kernels must not be
/// refused because they talk across blocks, nor because this machine is short of something.
pub(super) fn found(
    head: &mut Head,
    verifying: Verifying,
    result: Result<Finding, Fault>,
    cx: &mut Cx<'_>,
) -> State {
    let Verifying { inbound, live, receipt, outputs, blocks, of, between, .. } = verifying;
    let check = match result {
        Ok(Finding::Equal { bytes }) => Check::Equal { blocks, of, bytes },
        Ok(Finding::EqualBetween { blocks, bytes }) => equal_between(blocks, bytes, between),
        Ok(Finding::Withheld { why }) => {
            let why = format!("it does not show the memory between launches that it signed for: {why}");
            return wrong(head, live, inbound, Lost::wrong(why), cx);
        }
        // A job that faults is paid to nobody, whether its provider says so or only commits to it.
        Ok(Finding::Faulted { launch, fault }) => {
            let why = format!("in the memory that it committed to, launch {launch} faults: {fault}");
            let lost = Lost { fault: Some(fault), ..Lost::wrong(why) };
            return wrong(head, live, inbound, lost, cx);
        }
        Ok(Finding::NotCheckable { why }) => {
            let between = match &receipt.states {
                States::EndsOnly { why } => format!("; between launches: {why}"),
                States::NotAsked | States::Kept(_) => String::new(),
            };
            Check::NotCheckable { why: bounded_why(&format!("{why}{between}")) }
        }
        Err(fault) => {
            Check::NotCheckable { why: bounded_why(&format!("running blocks here came to nothing: {fault}")) }
        }
        Ok(Finding::Differs(difference)) => {
            if let Some(inbound) = inbound {
                let message = difference.to_string();
                cx.out.refuse(inbound, RefusalReason::Delivery { message });
            } else {
                seek::call_off(head.id, live.attempt(), live.provider(), cx);
            }
            return seek::falsified(head, live, &receipt, difference, cx);
        }
    };
    let (attempt, provider) = (live.attempt(), live.provider());
    cx.out.event(Event::Checked { job: head.id, attempt, provider, check: check.clone() });
    let settled = Settled { receipt, outputs, check };
    delivery::countersign(head, live, settled, inbound.into_iter().collect(), cx)
}

/// Refuses a delivery that nothing proves to be false, and goes elsewhere.
fn wrong(head: &mut Head, live: Live, inbound: Option<InboundId>, lost: Lost, cx: &mut Cx<'_>) -> State {
    match inbound {
        Some(inbound) => {
            cx.out.refuse(inbound, RefusalReason::Delivery { message: bounded_why(&lost.why) });
        }
        None => seek::call_off(head.id, live.attempt(), live.provider(), cx),
    }
    seek::lose(head, live, lost, cx)
}

/// What is written down of blocks between launches that were found equal.
fn equal_between(mut blocks: Vec<BlockAt>, bytes: Bytes, drawn: Option<Drawn>) -> Check {
    let Some(Drawn { launches, of, blocks: drawn }) = drawn else {
        return Check::NotCheckable { why: "what was found was not asked for".to_owned() };
    };
    blocks.retain(|block| drawn.contains(block));
    let passed = drawn.len().saturating_sub(blocks.len()) as u64;
    Check::EqualBetween { blocks, of, launches, bytes, passed }
}
