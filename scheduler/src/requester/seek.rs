//! Looking for a provider, ordering, and giving an attempt up.

use super::{
    Cx, blame,
    job::{Head, Live, Ordered, Seeking, State, Summary},
};
use crate::{
    effect::Effect,
    event::{Event, RejectReason, Rejection},
    matching::{Rest, position},
    outbox::{Fact, Question},
    reputation::Outcome,
    rooms::Room,
};
use ion_protocol::{
    Attempt, DocHash, Millis, NanoIo, NodeId, UnixMillis, Verified,
    check::Difference,
    deal::{Order, RefusalReason},
    fault::Fault,
    hardware::Engine,
    limits,
    message::Request,
    receipt::Receipt,
    record::{JobEnd, Loss, Record},
};
use std::collections::BTreeMap;

/// How long an order may be accepted after it was signed.
const ORDER_LIFE_MS: u64 = limits::ORDER_LIFE_MS_MAX / 2;
/// A search of the network for providers, and telling that nobody fits, at most this often.
const DISCOVER_EVERY: Millis = Millis(5_000);
/// Changed reasons are told at most this often.
const TELL_EVERY: Millis = Millis(1_000);
/// Rejections told in one event.
const TOLD_MAX: usize = 64;
/// Providers asked in one look for nothing but to measure the way to them.
const MEASURED_MAX: usize = 4;
/// Doublings a provider's first rest starts from: after a plain refusal, after silence, and where it never will.
const REST_REFUSED: u32 = 0;
const REST_LOST: u32 = 4;
const REST_NEVER: u32 = 7;
/// Providers that rest at once for one job; the first to wake is forgotten first.
const RESTS_MAX: usize = 1_024;
/// Full providers of which one job waits to hear; of any others it hears when it looks again.
const FULL_MAX: usize = 16;
/// Our own queue is full: wait this long.
pub(super) const BUSY_PAUSE: Millis = Millis(250);
/// The disk refused a record: try again after this long.
pub(super) const RECORD_PAUSE: Millis = Millis(1_000);

/// What an order needs to know of the best offer.
struct Choice {
    provider: NodeId,
    advert: DocHash,
    price_per_second: NanoIo,
    device: u16,
    model: String,
    engine: Engine,
    candidates: u32,
    room: Room,
}

/// Orders from the best provider, if there is one.
pub(super) fn order_at_once(head: &mut Head, cx: &mut Cx<'_>) -> Option<State> {
    let choice = choose(head, cx).ok()?;
    (choice.room == Room::There).then(|| order(head, choice, cx))
}

/// Orders from the best provider, or says why there is none.
pub(super) fn look(head: &mut Head, cx: &mut Cx<'_>) -> State {
    let now = cx.now.mono;
    if let Some(provider) = head.turn_at.take() {
        cx.market.rooms.looked(provider);
    }
    let rejections = match choose(head, cx) {
        Ok(choice) if choice.room == Room::There => return order(head, choice, cx),
        Ok(choice) => {
            let look_at = now.saturating_add(cx.out.config.call_timeout);
            return State::Seeking(Seeking { awaits: Some(choice.provider), ..Seeking::at(look_at) });
        }
        Err(rejections) => rejections,
    };
    let full = |rejection: &&Rejection| matches!(rejection.reason, RejectReason::Full { .. });
    let full: Vec<NodeId> = rejections.iter().filter(full).map(|r| r.provider).take(FULL_MAX).collect();
    if !full.is_empty() {
        // Somebody who has no room now is proof that there is somebody: the search starts over, bounded by the wait.
        head.sought_since = now;
    }
    let ends = head
        .sought_since
        .saturating_add(cx.out.config.seek_max)
        .min(head.idle_since.saturating_add(cx.out.config.wait_max));
    if now >= ends {
        let fault = Fault::NoDevice { message: summary(&rejections) }.bounded();
        return end(head, JobEnd::Failed { fault }, cx);
    }
    if now >= head.discover_at {
        head.discover_at = now.saturating_add(DISCOVER_EVERY);
        cx.out.push(Effect::Discover(head.spec.needs.clone()));
        measure(&rejections, cx);
    }
    let rested = rejections.iter().filter_map(|rejection| resting(&rejection.reason)).min();
    let rested = rested.map_or(head.discover_at, |wait| now.saturating_add(wait));
    let look_at = rested.min(head.discover_at).min(ends).max(now.saturating_add(Millis(1)));
    tell(head, rejections, cx);
    State::Seeking(Seeking { look_at, awaits: None, full })
}

/// The best provider of the directory, or why each is none.
fn choose(head: &mut Head, cx: &Cx<'_>) -> Result<Choice, Vec<Rejection>> {
    head.looked_at = Some(cx.now.mono);
    let ranking = cx.market.rank(&cx.out.config, &head.id, &head.spec, Some(&head.rests), cx.now);
    let choice = ranking.candidates.first().map(|best| Choice {
        provider: best.offer.advert.node,
        advert: best.offer.advert.hash(),
        price_per_second: best.offer.advert.price_per_second,
        device: position(best.offer, best.device),
        model: best.device.model.clone(),
        engine: best.device.engine,
        candidates: ranking.candidates.len() as u32,
        room: cx.market.room(&cx.out.config, &best.offer.advert, cx.now),
    });
    choice.ok_or(ranking.rejections)
}

fn resting(reason: &RejectReason) -> Option<Millis> {
    match reason {
        RejectReason::Resting { wait } | RejectReason::Full { wait } => Some(*wait),
        RejectReason::Expired
        | RejectReason::Unmet { .. }
        | RejectReason::Region { .. }
        | RejectReason::Latency { .. }
        | RejectReason::LatencyUnknown
        | RejectReason::RunTime { .. }
        | RejectReason::Price { .. }
        | RejectReason::Room
        | RejectReason::FalseResult
        | RejectReason::NoDevices => None,
    }
}

/// Signs the next attempt's order and has it written down.
fn order(head: &mut Head, choice: Choice, cx: &mut Cx<'_>) -> State {
    let attempt = Attempt(head.last_attempt.0.saturating_add(1));
    let order = cx.out.sign(Order {
        version: limits::VERSION,
        requester: cx.out.me,
        provider: choice.provider,
        job: head.id,
        attempt,
        advert: choice.advert,
        device: choice.device,
        price_per_second: choice.price_per_second,
        expires: UnixMillis(cx.now.wall.0.saturating_add(ORDER_LIFE_MS)),
        spec: head.spec.clone(),
        keep_states: head.verify > 0 && head.spec.program.launches() > 1,
        inline: head.inline.clone(),
    });
    head.begin(attempt, choice.provider, choice.model.clone());
    let chosen = Box::new(Event::Chosen {
        job: head.id,
        attempt,
        provider: choice.provider,
        model: choice.model,
        engine: choice.engine,
        candidates: choice.candidates,
    });
    let record = Record::OrderSigned { order: order.signed().clone() };
    cx.out.record(Fact::Ordered(head.id, attempt), record);
    let advert_seq = cx.market.directory.ordered(&choice.provider);
    cx.market.rooms.asked(choice.provider, head.id, cx.now.mono);
    let engine = Some(choice.engine);
    let live = Live { order, engine, signed: cx.now, resumed: false, advert_seq };
    State::Signing { live, chosen, retry: None }
}

/// The disk refused the order: the same bytes again while they hold, else a new attempt.
pub(super) fn record_again(head: &mut Head, live: Live, chosen: Box<Event>, cx: &mut Cx<'_>) -> State {
    if live.order.expires <= cx.now.wall {
        live.over(cx.market);
        head.close(live.attempt(), "refused", "the order could not be written down in time", cx.now.wall);
        return State::Seeking(Seeking::at(cx.now.mono));
    }
    let record = Record::OrderSigned { order: live.order.signed().clone() };
    cx.out.record(Fact::Ordered(head.id, live.attempt()), record);
    State::Signing { live, chosen, retry: None }
}

/// The order is durable: out with it.
pub(super) fn send(head: &Head, live: Live, cx: &mut Cx<'_>) -> State {
    call(head, &live, cx);
    let answer_by = answer_by(cx);
    State::Ordered(Ordered { live, resent: false, again_at: None, answer_by })
}

/// The answer to the order is unknown, or could not be asked for: the same bytes once more.
pub(super) fn resend(head: &Head, mut ordered: Ordered, cx: &mut Cx<'_>) -> State {
    call(head, &ordered.live, cx);
    (ordered.again_at, ordered.answer_by) = (None, answer_by(cx));
    State::Ordered(ordered)
}

/// A little after the driver must have answered; only a lost answer gets so far.
fn answer_by(cx: &Cx<'_>) -> Millis {
    const GRACE: Millis = Millis(500);
    cx.now.mono.saturating_add(cx.out.config.call_timeout).saturating_add(GRACE)
}

fn call(head: &Head, live: &Live, cx: &mut Cx<'_>) {
    let to = live.provider();
    let addresses = cx.market.directory.addresses(&to);
    let request = Request::Order(live.order.signed().clone());
    cx.out.call(Question::Order(head.id, live.attempt()), to, addresses, request);
}

/// Asks the provider where it stands.
pub(super) fn query(head: &Head, live: &Live, cx: &mut Cx<'_>) {
    let to = live.provider();
    let addresses = cx.market.directory.addresses(&to);
    let request = Request::Query { job: head.id, attempt: live.attempt() };
    cx.out.call(Question::Query(head.id, live.attempt()), to, addresses, request);
}

/// Tells a provider that nobody wants an attempt any more.
pub(super) fn call_off(job: ion_protocol::JobId, attempt: Attempt, provider: NodeId, cx: &mut Cx<'_>) {
    let addresses = cx.market.directory.addresses(&provider);
    cx.out.call(Question::Courtesy, provider, addresses, Request::Cancel { job, attempt });
}

/// It was not taken: this provider rests, and another is looked for at once.
pub(super) fn refused(head: &mut Head, live: Live, reason: RefusalReason, cx: &mut Cx<'_>) -> State {
    let (busy, rest) = match &reason {
        RefusalReason::Busy { .. } | RefusalReason::Overloaded => (true, REST_REFUSED),
        RefusalReason::Expired
        | RefusalReason::Price { .. }
        | RefusalReason::NoSuchDevice { .. }
        | RefusalReason::Conflict => (false, REST_REFUSED),
        RefusalReason::Draining
        | RefusalReason::Withheld { .. }
        | RefusalReason::NotAProvider
        | RefusalReason::NotForMe
        | RefusalReason::Unmet { .. }
        | RefusalReason::RunTime { .. }
        | RefusalReason::Room { .. }
        | RefusalReason::Spec { .. }
        | RefusalReason::UnknownJob
        | RefusalReason::Superseded
        | RefusalReason::Challenge { .. }
        | RefusalReason::Delivery { .. } => (false, REST_NEVER),
    };
    let (provider, attempt) = (live.provider(), live.attempt());
    pause(head, provider, rest, busy, cx);
    let why = reason.to_string();
    cx.out.event(Event::OrderRefused { job: head.id, attempt, provider, reason });
    let state = not_begun(head, live, why, cx);
    if busy {
        cx.market.rooms.full(provider, cx.now.mono, cx.out);
    }
    state
}

/// It certainly never got the order: as if it had refused.
pub(super) fn unreachable(head: &mut Head, live: Live, why: &str, cx: &mut Cx<'_>) -> State {
    pause(head, live.provider(), 2, false, cx);
    cx.out.event(Event::AttemptLost {
        job: head.id,
        attempt: live.attempt(),
        provider: live.provider(),
        silent: Millis::ZERO,
        why: why.to_owned(),
    });
    not_begun(head, live, why.to_owned(), cx)
}

/// After a restart: the order never arrived, or its provider forgot it too.
pub(super) fn never_held(head: &mut Head, live: Live, cx: &mut Cx<'_>) -> State {
    head.sought_since = cx.now.mono;
    not_begun(head, live, "it does not know the job".to_owned(), cx)
}

/// The attempt is over without having begun: written down, so that it is not asked for after a restart.
fn not_begun(head: &mut Head, live: Live, why: String, cx: &mut Cx<'_>) -> State {
    live.over(cx.market);
    let (attempt, why) = (live.attempt(), bounded(why));
    head.close(attempt, "refused", &why, cx.now.wall);
    note_loss(head, attempt, Loss::Refused, why, cx);
    State::Seeking(Seeking::at(cx.now.mono))
}

fn note_loss(head: &Head, attempt: Attempt, loss: Loss, why: String, cx: &mut Cx<'_>) {
    let record = Record::AttemptLost { job: head.id, attempt, loss, why, at: cx.now.wall };
    cx.out.record(Fact::Quiet, record);
}

/// It was or may have been taken and comes to nothing: written down, called off, and elsewhere with it.
pub(super) fn lose(head: &mut Head, live: Live, lost: Lost, cx: &mut Cx<'_>) -> State {
    let (provider, attempt) = (live.provider(), live.attempt());
    live.over(cx.market);
    if let Some(outcome) = blame::outcome(lost.loss) {
        cx.market.reputation.note(provider, outcome, cx.now.wall);
    }
    pause(head, provider, REST_LOST, false, cx);
    let why = bounded(lost.why);
    head.close(attempt, "lost", &why, cx.now.wall);
    head.last_fault = Some(lost.fault.unwrap_or_else(|| Fault::WorkerCrashed { how: why.clone() }));
    let event = Event::AttemptLost { job: head.id, attempt, provider, silent: lost.silent, why: why.clone() };
    cx.out.event(event);
    note_loss(head, attempt, lost.loss, why, cx);
    call_off(head.id, attempt, provider, cx);
    elsewhere(head, cx)
}

/// It signed for bytes that the program does not give: written down with its signature, and elsewhere with the job, which
/// never goes there again.
pub(super) fn falsified(
    head: &mut Head,
    live: Live,
    receipt: &Verified<Receipt>,
    difference: Difference,
    cx: &mut Cx<'_>,
) -> State {
    let (provider, attempt) = (live.provider(), live.attempt());
    live.over(cx.market);
    cx.market.reputation.note(provider, Outcome::False, cx.now.wall);
    head.rests.insert(provider, Rest::FOR_EVER);
    let why = false_result(&difference);
    head.close(attempt, "false", &why, cx.now.wall);
    head.last_fault = Some(Fault::WorkerCrashed { how: why });
    cx.out.event(Event::DeliveryFalse { job: head.id, attempt, provider, difference: difference.clone() });
    let record = Record::DeliveryFalse { receipt: receipt.signed().clone(), difference, at: cx.now.wall };
    cx.out.record(Fact::Quiet, record);
    elsewhere(head, cx)
}

/// A difference as the reason of an attempt that came to nothing.
pub(super) fn false_result(difference: &Difference) -> String {
    bounded(format!("its result is false: {difference}"))
}

/// Counts a try that came to nothing; the next, or the end.
pub(super) fn elsewhere(head: &mut Head, cx: &mut Cx<'_>) -> State {
    head.lost = head.lost.saturating_add(1);
    head.idle_since = cx.now.mono;
    head.sought_since = cx.now.mono;
    if head.cancelled {
        return end(head, JobEnd::Cancelled, cx);
    }
    if head.lost >= cx.out.config.attempts_max {
        let message = format!("{} attempts came to nothing", head.lost);
        let fault = head.last_fault.clone().unwrap_or(Fault::NoDevice { message });
        return end(head, JobEnd::Failed { fault: fault.bounded() }, cx);
    }
    State::Seeking(Seeking::at(cx.now.mono))
}

/// Why an attempt came to nothing.
pub(super) struct Lost {
    pub(super) why: String,
    pub(super) silent: Millis,
    pub(super) loss: Loss,
    pub(super) fault: Option<Fault>,
}

impl Lost {
    pub(super) fn silent(silent: Millis, why: impl Into<String>) -> Self {
        Self { why: why.into(), silent, loss: Loss::Silent, fault: None }
    }

    pub(super) fn wrong(why: impl Into<String>) -> Self {
        Self { why: why.into(), silent: Millis::ZERO, loss: Loss::Wrong, fault: None }
    }

    /// It waited as long as it does, and this node never had room.
    pub(super) fn here(message: String) -> Self {
        let fault = Fault::Results { message };
        let why = fault.to_string();
        Self { why, silent: Millis::ZERO, loss: Loss::Here, fault: Some(fault) }
    }
}

/// Has the end written down; it is told once it is durable.
pub(super) fn end(head: &Head, end: JobEnd, cx: &mut Cx<'_>) -> State {
    end_with(head, end, Box::default(), cx)
}

/// The same, with what there is to tell of it.
pub(super) fn end_with(head: &Head, end: JobEnd, summary: Box<Summary>, cx: &mut Cx<'_>) -> State {
    let body = Record::JobEnded { job: head.id, end: end.clone(), at: cx.now.wall };
    cx.out.record(Fact::Ended(head.id), body);
    State::Ending { end, retry: None, summary }
}

/// Whether somebody could take the job now.
pub(super) fn is_wanted(head: &mut Head, cx: &Cx<'_>) -> bool {
    choose(head, cx).is_ok()
}

fn pause(head: &mut Head, provider: NodeId, from: u32, busy: bool, cx: &mut Cx<'_>) {
    let times = head.rests.get(&provider).map_or(from, |rest| rest.times.max(from));
    let until = cx.now.mono.saturating_add(cx.out.backoff(times));
    head.rests.insert(provider, Rest { until, times: times.saturating_add(1), busy });
    if head.rests.len() > RESTS_MAX
        && let Some(first) = head.rests.iter().min_by_key(|(id, rest)| (rest.until, **id)).map(|(id, _)| *id)
    {
        head.rests.remove(&first);
    }
}

/// Its machine failed the job: others first.
pub(super) fn rest_failed(head: &mut Head, provider: NodeId, cx: &mut Cx<'_>) {
    pause(head, provider, REST_LOST, false, cx);
}

/// When an order was signed, as far as it says.
pub(super) fn signed_at(order: &Order) -> UnixMillis {
    UnixMillis(order.expires.0.saturating_sub(ORDER_LIFE_MS))
}

/// The round trip to providers that would fit but for not knowing it: a question makes a connection, and that a ping.
fn measure(rejections: &[Rejection], cx: &mut Cx<'_>) {
    let unknown = rejections.iter().filter(|r| r.reason == RejectReason::LatencyUnknown);
    for rejection in unknown.take(MEASURED_MAX) {
        let addresses = cx.market.directory.addresses(&rejection.provider);
        cx.out.call(Question::Courtesy, rejection.provider, addresses, Request::Adverts { max: 8 });
    }
}

/// Says that nobody fits, when that is news or has not been said for a while.
fn tell(head: &mut Head, rejections: Vec<Rejection>, cx: &mut Cx<'_>) {
    let now = cx.now.mono;
    let kinds: Vec<Rejection> = rejections
        .iter()
        .take(TOLD_MAX)
        .map(|rejection| Rejection { provider: rejection.provider, reason: rejection.reason.kind() })
        .collect();
    let due = match &head.told {
        None => true,
        Some((told, at)) if *told == kinds => now >= at.saturating_add(DISCOVER_EVERY),
        Some((_, at)) => now >= at.saturating_add(TELL_EVERY),
    };
    if due {
        head.told = Some((kinds, now));
        let rejected = rejections.into_iter().take(TOLD_MAX).collect();
        cx.out.event(Event::NobodyFits { job: head.id, rejected });
    }
}

fn summary(rejections: &[Rejection]) -> String {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for rejection in rejections {
        *counts.entry(rejection.reason.kind_text()).or_default() += 1;
    }
    if counts.is_empty() {
        return "no provider was found; is a bootstrap address reachable?".to_owned();
    }
    let parts: Vec<String> = counts.into_iter().map(|(reason, n)| format!("{n} x {reason}")).collect();
    format!("none of {} providers fits: {}", rejections.len(), parts.join("; "))
}

fn bounded(text: String) -> String {
    text.chars().take(limits::TEXT_BYTES_MAX / 4).collect()
}
