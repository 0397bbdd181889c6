//! Results: is it what was ordered, are the bytes here, and then the other half of the receipt.

use super::{
    Cx,
    job::{Countersigning, Delivering, Head, Live, State},
    seek::{self, Lost},
    verify,
};
use crate::{
    effect::Effect,
    event::Event,
    input::{FetchFault, FetchId, InboundId},
    outbox::{Fact, FetchFor},
};
use ion_protocol::{
    BlobHash, Bytes, Millis, NanoIo, Nanos, NodeId, Verified,
    check::Check,
    deal::{InlineBlob, RefusalReason},
    limits,
    message::Response,
    receipt::{Countersignature, Output, Receipt, Status, output_root},
    record::Record,
    states::States,
};
use std::collections::{BTreeMap, BTreeSet};

/// Requests for one countersignature that wait for the disk together.
const INBOUND_MAX: usize = 4;
/// What metered device time may exceed our own watch or the job's limit by: clocks differ.
const WATCH_MARGIN: Millis = Millis(1_000);

/// A delivery as it came.
pub(super) struct Delivery {
    pub(super) inbound: InboundId,
    pub(super) receipt: Verified<Receipt>,
    pub(super) outputs: Vec<Output>,
    pub(super) inline: Vec<InlineBlob>,
}

/// The first delivery of the attempt that counts.
pub(super) fn accept(head: &mut Head, live: Live, delivery: Delivery, cx: &mut Cx<'_>) -> State {
    // Its device is another's by now, however long the outputs are fetched and checked here.
    cx.market.rooms.left(live.provider(), head.id);
    if let Err(why) = check(head, &live, &delivery, cx) {
        let message: String = why.chars().take(limits::TEXT_BYTES_MAX / 4).collect();
        cx.out.refuse(delivery.inbound, RefusalReason::Delivery { message });
        return seek::lose(head, live, Lost::wrong(format!("its delivery is wrong: {why}")), cx);
    }
    let Delivery { inbound, receipt, outputs, inline } = delivery;
    cx.market.directory.done(&live.provider(), live.advert_seq, receipt.finished);
    let (kept, missing) = sort_out(&outputs, inline);
    if !kept.is_empty() {
        cx.out.push(Effect::Keep(kept));
    }
    if outputs.is_empty() {
        return countersign(
            head,
            live,
            Settled { receipt, outputs, check: Check::NotAsked },
            vec![inbound],
            cx,
        );
    }
    let states = verify::brought(head, &receipt, cx);
    let inbound = if missing.is_empty() && states.is_none() {
        Some(inbound)
    } else {
        cx.out.answer(inbound, Response::Noted);
        None
    };
    let provider = live.provider();
    cx.out.event(Event::Delivering { job: head.id, attempt: live.attempt(), provider });
    let fetch = bring(head, provider, &outputs, states, cx);
    let (since, moved_at) = (cx.now.mono, cx.now.mono);
    let (done, stuck) = (0, None);
    State::Delivering(Delivering { inbound, live, receipt, outputs, fetch, since, moved_at, done, stuck })
}

fn bring(
    head: &Head,
    provider: NodeId,
    outputs: &[Output],
    states: Option<(BlobHash, Bytes)>,
    cx: &mut Cx<'_>,
) -> FetchId {
    let addresses = cx.market.directory.addresses(&provider);
    let wanted = outputs.iter().map(|output| (output.hash, output.bytes)).chain(states).collect();
    cx.out.fetch(FetchFor::Job(head.id), provider, addresses, wanted)
}

/// There may be room here by now.
pub(super) fn fetch_again(head: &Head, mut delivering: Delivering, cx: &mut Cx<'_>) -> State {
    let states = verify::brought(head, &delivering.receipt, cx);
    delivering.fetch = bring(head, delivering.live.provider(), &delivering.outputs, states, cx);
    if let Some((_, at)) = &mut delivering.stuck {
        *at = Millis(u64::MAX);
    }
    State::Delivering(delivering)
}

/// A delivery again, while its outputs are fetched.
pub(super) fn repeat_fetching(delivering: Delivering, delivery: Delivery, cx: &mut Cx<'_>) -> State {
    if delivering.receipt.hash() == delivery.receipt.hash() {
        cx.out.answer(delivery.inbound, Response::Noted);
    } else {
        cx.out.refuse(delivery.inbound, RefusalReason::Conflict);
    }
    State::Delivering(delivering)
}

/// A delivery again, while the disk works.
pub(super) fn repeat_signing(mut signing: Countersigning, delivery: Delivery, cx: &mut Cx<'_>) -> State {
    if signing.receipt.hash() != delivery.receipt.hash() {
        cx.out.refuse(delivery.inbound, RefusalReason::Conflict);
    } else if signing.inbound.len() >= INBOUND_MAX || signing.retry.is_some() {
        cx.out.refuse(delivery.inbound, RefusalReason::Overloaded);
    } else {
        signing.inbound.push(delivery.inbound);
    }
    State::Countersigning(signing)
}

/// All outputs are here, or can't be had.
pub(super) fn fetched(
    head: &mut Head,
    mut delivering: Delivering,
    result: Result<(), FetchFault>,
    cx: &mut Cx<'_>,
) -> State {
    match result {
        Ok(()) => {
            let Delivering { inbound, live, receipt, outputs, .. } = delivering;
            verify::begin(head, live, receipt, outputs, inbound, cx)
        }
        Err(FetchFault::Here(why)) => {
            // Its provider keeps them meanwhile, and hears that they are on their way.
            noted(delivering.inbound.take(), cx);
            if delivering.stuck.is_none() {
                let (attempt, provider) = (delivering.live.attempt(), delivering.live.provider());
                cx.out.event(Event::NoRoom { job: head.id, attempt, provider, why: why.clone() });
            }
            delivering.stuck = Some((why, cx.now.mono.saturating_add(seek::RECORD_PAUSE)));
            State::Delivering(delivering)
        }
        Err(FetchFault::Source(why)) => {
            let Delivering { inbound, live, moved_at, .. } = delivering;
            noted(inbound, cx);
            let silent = cx.now.mono.saturating_sub(moved_at);
            let why = format!("its outputs could not be fetched: {why}");
            seek::lose(head, live, Lost::silent(silent, why), cx)
        }
    }
}

/// Answers a delivery that will not be countersigned now.
pub(super) fn noted(inbound: Option<InboundId>, cx: &mut Cx<'_>) {
    if let Some(inbound) = inbound {
        cx.out.answer(inbound, Response::Noted);
    }
}

/// The fetch has had its time, or its source is gone.
pub(super) fn give_up(head: &mut Head, delivering: Delivering, why: &str, cx: &mut Cx<'_>) -> State {
    cx.out.stop_fetch(delivering.fetch);
    noted(delivering.inbound, cx);
    let silent = cx.now.mono.saturating_sub(delivering.moved_at);
    let lost = delivering.stuck.map_or_else(|| Lost::silent(silent, why), |(why, _)| Lost::here(why));
    seek::lose(head, delivering.live, lost, cx)
}

/// A delivery as it is accepted.
pub(super) struct Settled {
    pub(super) receipt: Verified<Receipt>,
    pub(super) outputs: Vec<Output>,
    pub(super) check: Check,
}

pub(super) fn countersign(
    head: &Head,
    live: Live,
    settled: Settled,
    inbound: Vec<InboundId>,
    cx: &mut Cx<'_>,
) -> State {
    let Settled { receipt, outputs, check } = settled;
    let countersignature = cx.out.sign(Countersignature {
        version: limits::VERSION,
        requester: cx.out.me,
        provider: receipt.provider,
        receipt: receipt.hash(),
        price: receipt.price,
        check,
        signed: cx.now.wall,
    });
    record(head, Countersigning { live, receipt, countersignature, outputs, inbound, retry: None }, cx)
}

/// Has our half written down, for the first time or after the disk refused it.
pub(super) fn record(head: &Head, mut signing: Countersigning, cx: &mut Cx<'_>) -> State {
    let body = Record::Countersigned {
        receipt: signing.receipt.signed().clone(),
        countersignature: signing.countersignature.signed().clone(),
        outputs: signing.outputs.clone(),
    };
    cx.out.record(Fact::Countersigned(head.id, signing.live.attempt()), body);
    signing.retry = None;
    State::Countersigning(signing)
}

/// What came along and belongs, and what is still missing. Hashes are computed, not believed.
fn sort_out(outputs: &[Output], inline: Vec<InlineBlob>) -> (Vec<InlineBlob>, Vec<(BlobHash, Bytes)>) {
    let wanted: BTreeMap<BlobHash, Bytes> = outputs.iter().map(|o| (o.hash, o.bytes)).collect();
    let mut held = BTreeSet::new();
    let kept = inline
        .into_iter()
        .filter(|blob| {
            let hash = blob.hash();
            wanted.get(&hash) == Some(&Bytes(blob.bytes.len() as u64)) && held.insert(hash)
        })
        .collect();
    let missing = wanted.into_iter().filter(|(hash, _)| !held.contains(hash)).collect();
    (kept, missing)
}

fn check(head: &Head, live: &Live, delivery: &Delivery, cx: &Cx<'_>) -> Result<(), String> {
    let (receipt, order, spec) = (&delivery.receipt, &live.order, &head.spec);
    let same = [
        ("order", receipt.order == order.hash()),
        ("provider", receipt.provider == order.provider),
        ("requester", receipt.requester == order.requester),
        ("input root", receipt.input_root == spec.input_root()),
        ("output root", receipt.output_root == output_root(&delivery.outputs)),
        ("price of a second", receipt.price_per_second == order.price_per_second),
    ];
    if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
        return Err(format!("the receipt has another {what}"));
    }
    receipt.check_price().map_err(|error| error.to_string())?;
    if receipt.price > spec.limits.price {
        return Err(format!("a price of {} is over the limit of {}", receipt.price, spec.limits.price));
    }
    if receipt.device.len() > limits::NAME_BYTES_MAX {
        return Err("the device's name is too long".to_owned());
    }
    let watched = live.observed(cx.now).min(spec.limits.run).saturating_add(WATCH_MARGIN);
    if receipt.device_time > Nanos(watched.0.saturating_mul(1_000_000)) {
        let time = receipt.device_time;
        return Err(format!("{time} of device time, where the wait and the limit leave {watched}"));
    }
    let inline = delivery.inline.iter().fold(0usize, |sum, blob| sum.saturating_add(blob.bytes.len()));
    if inline > limits::INLINE_BYTES_MAX {
        return Err(format!("{inline} bytes of inline outputs"));
    }
    let states = match &receipt.states {
        States::NotAsked => true,
        States::EndsOnly { why } => why.len() <= limits::TEXT_BYTES_MAX,
        States::Kept(kept) => receipt.status == Status::Done && kept.fits(&spec.program),
    };
    if !states {
        return Err("what it says of the memory between launches is not of the program".to_owned());
    }
    match &receipt.status {
        Status::Done if spec.needs.engine.is_some_and(|engine| !engine.admits(receipt.engine)) => {
            Err("it did not run on the engine that was asked for".to_owned())
        }
        Status::Done => check_outputs(head, &delivery.outputs),
        Status::Failed(_) if !delivery.outputs.is_empty() => Err("outputs of a failed run".to_owned()),
        Status::Failed(_) if receipt.price != NanoIo::ZERO => Err("a price for a failed run".to_owned()),
        Status::Failed(_) => Ok(()),
    }
}

fn check_outputs(head: &Head, outputs: &[Output]) -> Result<(), String> {
    let program = &head.spec.program;
    let expected = program.outputs().filter_map(|i| Some((i, program.buffers.get(usize::from(i))?.bytes)));
    let found = outputs.iter().map(|output| (output.buffer, output.bytes));
    if expected.eq(found) { Ok(()) } else { Err("the outputs are not those of the program".to_owned()) }
}
