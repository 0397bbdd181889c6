//! The provider's rules, one sentence a test, on plain `handle` calls.

mod desk;

use desk::{Desk, JOB, advert, device, half, id, inputs, order, outputs, result, sign};
use ion_protocol::{
    Attempt, Bytes, Millis, NanoIo, Nanos, UnixMillis, Verified, codec,
    deal::{Order, RefusalReason},
    fault::Fault,
    hardware::Engine as Gpu,
    limits,
    message::{LeaseState, Notice, Request, Response},
    receipt::{Countersignature, Receipt, Status},
};
use ion_scheduler::{
    Config, Effect, Input,
    event::Event,
    input::{Answer, CallError, CallId, FetchId, OwnerInput, PeerInput, RecordId, WorkId, WorkReport},
};

fn send(desk: &mut Desk, order: Verified<Order>) {
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Order { inbound, order: Box::new(order) });
}

/// A provider that runs the one order it was given.
fn running() -> (Desk, WorkId) {
    let mut desk = Desk::provider();
    let order = order(desk.now, |_| {});
    send(&mut desk, order);
    desk.disk_works();
    let work = work(&desk);
    (desk, work)
}

fn work(desk: &Desk) -> WorkId {
    let work = desk
        .effects
        .iter()
        .find_map(|effect| if let Effect::Work { work, .. } = effect { Some(*work) } else { None });
    work.unwrap_or_else(|| panic!("nothing runs in {:?}", desk.effects))
}

fn fetch(desk: &Desk) -> FetchId {
    let fetch = desk
        .effects
        .iter()
        .find_map(|effect| if let Effect::Fetch { fetch, .. } = effect { Some(*fetch) } else { None });
    fetch.unwrap_or_else(|| panic!("nothing is fetched in {:?}", desk.effects))
}

fn report(device_time: Nanos) -> Result<WorkReport, Fault> {
    Ok(WorkReport {
        outputs: outputs(),
        inline: vec![result()],
        device: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        device_time,
        ran: Millis(600),
        states: Default::default(),
        printed: String::new(),
    })
}

/// One that has finished and delivers.
fn delivering() -> (Desk, CallId, Verified<Receipt>) {
    let (mut desk, work) = running();
    desk.feed(Input::WorkDone { work, result: report(Nanos(500_000_000)) }).disk_works();
    let (call, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    (desk, call, receipt)
}

fn query(desk: &mut Desk, from: u8) -> Response {
    let inbound = desk.inbound();
    desk.peer(from, PeerInput::Query { inbound, job: JOB, attempt: Attempt(1) });
    desk.response()
}

#[test]
fn an_order_is_accepted_once_that_is_durable_and_runs_at_once_where_its_inputs_came_along() {
    let mut desk = Desk::provider();
    let order = order(desk.now, |_| {});
    send(&mut desk, order);
    assert!(desk.says_nothing_signed(), "{:?}", desk.effects);
    desk.disk_works();
    assert!(matches!(desk.response(), Response::Accepted(_)));
    assert!(desk.has(|effect| matches!(effect, Effect::Keep(blobs) if *blobs == inputs())));
    work(&desk);
    assert!(desk.engine.holds(&inputs()[0].hash()));
}

#[test]
fn inputs_that_did_not_come_along_are_fetched_first() {
    let mut desk = Desk::provider();
    let order = order(desk.now, |order| order.inline.clear());
    send(&mut desk, order);
    desk.disk_works();
    let fetch = desk.effects.iter().find_map(|effect| {
        if let Effect::Fetch { fetch, from, .. } = effect
            && *from == id(1)
        {
            Some(*fetch)
        } else {
            None
        }
    });
    assert!(matches!(query(&mut desk, 1), Response::Lease(LeaseState::Staging { .. })));
    desk.feed(Input::Fetched { fetch: fetch.expect("a fetch"), result: Ok(()) });
    work(&desk);
}

#[test]
fn a_repeated_order_gets_the_same_bytes_also_after_a_restart_and_another_one_is_refused() {
    let mut desk = Desk::provider();
    let order_1 = order(desk.now, |_| {});
    send(&mut desk, order_1.clone());
    desk.disk_works();
    let first = desk.response();
    desk.pass(3_000);
    send(&mut desk, order_1.clone());
    assert_eq!(desk.response(), first);
    let other = order(desk.now, |order| order.device = 7);
    send(&mut desk, other);
    assert_eq!(desk.refusal(), RefusalReason::Conflict);
    desk.restart(Config { provide: true, ..Config::default() });
    send(&mut desk, order_1);
    assert_eq!(desk.response(), first);
    let (shown, bytes) = (&desk.engine.leases()[0], codec::encode(&desk.journal[0]).len());
    assert_eq!((shown.name.as_str(), shown.state.as_str()), ("desk", "released"));
    assert!(bytes < 600, "{bytes} bytes are kept of an order, however long it is");
}

#[test]
fn an_acceptance_the_disk_refused_is_not_given_and_a_repeat_gets_the_same_one() {
    let mut desk = Desk::provider();
    let order = order(desk.now, |_| {});
    send(&mut desk, order.clone());
    let written = |desk: &Desk| {
        let body = desk.effects.iter().find_map(|effect| {
            if let Effect::Record { body, .. } = effect { Some(body.clone()) } else { None }
        });
        body.expect("it is written down")
    };
    let first = written(&desk);
    desk.disk_fails();
    assert_eq!(desk.refusal(), RefusalReason::Overloaded);
    assert_eq!((desk.engine.status().free, desk.engine.status().running), (1, 0));
    desk.pass(100);
    send(&mut desk, order);
    assert_eq!(written(&desk), first);
}

/// A job whose acceptance and receipt are both being written.
fn done_before_anything_is_durable() -> (Desk, RecordId, RecordId) {
    let mut desk = Desk::provider();
    let order = order(desk.now, |_| {});
    send(&mut desk, order);
    let (taken, fetch) = (desk.record(), fetch(&desk));
    desk.feed(Input::Fetched { fetch, result: Ok(()) });
    let work = work(&desk);
    desk.pass(5_000);
    assert!(desk.says_nothing_signed() && !desk.has(|effect| matches!(effect, Effect::Notice { .. })));
    desk.feed(Input::WorkDone { work, result: report(Nanos(500_000_000)) });
    let receipt = desk.record();
    assert!(desk.says_nothing_signed());
    (desk, taken, receipt)
}

#[test]
fn work_does_not_wait_for_the_acceptance_to_be_durable_and_nobody_hears_of_it_before() {
    let (mut desk, taken, receipt) = done_before_anything_is_durable();
    desk.feed(Input::Recorded(taken));
    assert!(desk.says_nothing_signed(), "what the requester waits for goes first");
    desk.feed(Input::Recorded(receipt));
    desk.delivery_call();
    assert_eq!(desk.response(), Response::Lease(LeaseState::Finished), "it says all that the promise would");
}

#[test]
fn a_durable_acceptance_is_given_though_the_disk_refuses_the_receipt() {
    let (mut desk, taken, receipt) = done_before_anything_is_durable();
    desk.feed(Input::Recorded(taken));
    desk.feed(Input::RecordFailed { record: receipt, why: "no space left".to_owned() });
    assert!(matches!(desk.response(), Response::Accepted(_)) && desk.calls().is_empty());
}

#[test]
fn an_acceptance_is_not_given_while_it_is_not_durable_though_the_disk_refuses_the_receipt() {
    let (mut desk, taken, receipt) = done_before_anything_is_durable();
    // A full queue refuses at once what comes later.
    desk.feed(Input::RecordFailed { record: receipt, why: "too much waits".to_owned() });
    assert!(desk.says_nothing_signed());
    desk.feed(Input::Recorded(taken));
    assert!(matches!(desk.response(), Response::Accepted(_)));
}

#[test]
fn who_calls_off_a_job_whose_result_is_being_written_hears_of_its_acceptance() {
    let (mut desk, taken, _) = done_before_anything_is_durable();
    desk.feed(Input::Recorded(taken));
    assert!(desk.says_nothing_signed());
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Cancel { inbound, job: JOB, attempt: Attempt(1) });
    assert!(desk.has(|effect| matches!(effect, Effect::Answer { response: Response::Accepted(_), .. })));
}

#[test]
fn work_begun_under_an_acceptance_the_disk_refused_is_stopped_and_forgotten() {
    let mut desk = Desk::provider();
    let order = order(desk.now, |_| {});
    send(&mut desk, order.clone());
    let (records, fetch) = (desk.records(), fetch(&desk));
    let [(taken, first)] = &records[..] else { panic!("one record: {records:?}") };
    desk.feed(Input::Fetched { fetch, result: Ok(()) });
    let stopped = work(&desk);
    desk.feed(Input::RecordFailed { record: *taken, why: "no space left".to_owned() });
    assert_eq!(desk.refusal(), RefusalReason::Overloaded);
    assert!(desk.has(|effect| matches!(effect, Effect::StopWork(work) if *work == stopped)));
    send(&mut desk, order.clone());
    assert_eq!(desk.refusal(), RefusalReason::Overloaded, "the worker is not gone yet");
    assert!(matches!(query(&mut desk, 1), Response::Lease(LeaseState::Unknown)));
    desk.feed(Input::WorkDone { work: stopped, result: Err(Fault::Cancelled) });
    assert!(desk.records().is_empty() && desk.engine.leases().is_empty(), "{:?}", desk.effects);
    assert_eq!((desk.engine.status().free, desk.engine.status().running), (1, 0));
    send(&mut desk, order);
    assert_eq!(desk.records()[0].1, *first, "the same acceptance");
}

#[test]
fn every_reason_to_refuse_is_told_as_what_it_is() {
    type Change = fn(&mut Order);
    let cases: [(Change, RefusalReason); 9] = [
        (|o| o.provider = id(3), RefusalReason::NotForMe),
        (|o| o.expires = UnixMillis(desk::WALL - limits::CLOCK_SKEW_MS_MAX), RefusalReason::Expired),
        (|o| o.expires.0 += 3_600_000, RefusalReason::Expired),
        (|o| o.price_per_second = NanoIo(1), RefusalReason::Price { price_per_second: NanoIo(500_000) }),
        (|o| o.spec.limits.price = NanoIo(499), RefusalReason::Price { price_per_second: NanoIo(500_000) }),
        (|o| o.device = 1, RefusalReason::NoSuchDevice { device: 1 }),
        (
            |o| o.spec.needs.memory_min = Bytes(1 << 40),
            RefusalReason::Unmet { unmet: ion_protocol::job::Unmet::Memory },
        ),
        (
            |o| o.spec.limits.run = Millis(3_600_001),
            RefusalReason::RunTime { asked: Millis(3_600_001), limit: Millis(3_600_000) },
        ),
        (
            |o| o.spec.program.modules[0].bytes = Bytes(u64::MAX),
            RefusalReason::Spec {
                message: "module \"k.ptx\": 18446744073709551615 bytes of text; expected at most 8388608"
                    .to_owned(),
            },
        ),
    ];
    for (change, reason) in cases {
        let mut desk = Desk::provider();
        let order = order(desk.now, change);
        send(&mut desk, order);
        assert_eq!(desk.refusal(), reason);
        let Response::Refused(refusal) = desk.response() else { panic!("{:?}", desk.effects) };
        assert!(refusal.advert.is_some(), "with what holds now");
    }
    let mut desk = Desk::new(2, Config::default());
    let order_ = order(desk.now, |_| {});
    send(&mut desk, order_.clone());
    assert_eq!(desk.refusal(), RefusalReason::NotAProvider);
    let mut desk = Desk::provider();
    let inbound = desk.inbound();
    desk.peer(3, PeerInput::Order { inbound, order: Box::new(order_) });
    assert_eq!(desk.refusal(), RefusalReason::NotForMe, "orders are not passed on");
}

#[test]
fn the_queue_is_bounded_and_one_program_runs_a_device_and_one_is_next() {
    let mut desk = Desk::provider_with(Config { queue_max: 2, ..Config::default() }, 1);
    for n in [1, 3, 4, 5] {
        order_from(&mut desk, n, 1);
        match n {
            1 | 3 => drop(work(&desk)),
            5 => assert_eq!(desk.refusal(), RefusalReason::Busy { queued: 2 }),
            _ => assert!(!desk.has(|effect| matches!(effect, Effect::Work { .. }))),
        }
    }
    let status = desk.engine.status();
    assert_eq!((status.free, status.queued, status.running), (0, 2, 1));
}

/// Node `n` orders for its attempt `attempt`.
fn order_from(desk: &mut Desk, n: u8, attempt: u32) {
    let body = order(desk.now, |order| order.attempt = Attempt(attempt)).body().clone();
    let order = Box::new(sign(n, Order { requester: id(n), ..body }));
    let inbound = desk.inbound();
    desk.peer(n, PeerInput::Order { inbound, order }).disk_works();
}

#[test]
fn one_requester_alone_does_not_fill_the_queue() {
    let mut desk = Desk::provider_with(Config { queue_max: 4, ..Config::default() }, 1);
    for attempt in 1..=3 {
        order_from(&mut desk, 1, attempt);
        assert!(matches!(desk.response(), Response::Accepted(_)), "{attempt}");
    }
    order_from(&mut desk, 1, 4);
    assert_eq!(desk.refusal(), RefusalReason::Busy { queued: 2 });
    order_from(&mut desk, 3, 1);
    assert!(matches!(desk.response(), Response::Accepted(_)));
}

#[test]
fn a_requester_that_orders_and_cancels_is_refused_for_a_while_and_others_are_not() {
    let mut desk = Desk::provider();
    for attempt in 1..=64 {
        order_from(&mut desk, 3, attempt);
        assert!(matches!(desk.response(), Response::Accepted(_)), "{attempt}");
        let work = work(&desk);
        let inbound = desk.inbound();
        desk.peer(3, PeerInput::Cancel { inbound, job: JOB, attempt: Attempt(attempt) });
        desk.feed(Input::WorkDone { work, result: Err(Fault::Cancelled) }).disk_works();
    }
    order_from(&mut desk, 3, 65);
    assert_eq!(desk.refusal(), RefusalReason::Overloaded);
    order_from(&mut desk, 1, 1);
    assert!(matches!(desk.response(), Response::Accepted(_)));
    desk.live_through(60_000);
    order_from(&mut desk, 3, 66);
    assert!(matches!(desk.response(), Response::Accepted(_)));
}

#[test]
fn inputs_that_trickle_are_given_up_though_they_never_stand_still() {
    let mut desk = Desk::provider();
    let order = order(desk.now, |order| order.inline.clear());
    send(&mut desk, order);
    desk.disk_works();
    let fetch = desk
        .effects
        .iter()
        .find_map(|effect| if let Effect::Fetch { fetch, .. } = effect { Some(*fetch) } else { None });
    let fetch = fetch.expect("a fetch");
    for done in 1..=2 {
        desk.live_through(14_900).feed(Input::FetchProgress { fetch, done, total: 11 });
        assert!(!desk.has(|effect| matches!(effect, Effect::StopFetch(_))));
    }
    desk.live_through(300);
    assert!(desk.has(|effect| matches!(effect, Effect::StopFetch(f) if *f == fetch)));
}

#[test]
fn a_second_device_alike_takes_the_second_job() {
    let mut desk = Desk::provider_with(Config::default(), 2);
    for attempt in 1..=2 {
        let order = order(desk.now, |order| order.attempt = Attempt(attempt));
        send(&mut desk, order);
        desk.disk_works();
        let device = attempt as u16 - 1;
        assert!(desk.has(|effect| matches!(effect, Effect::Work { device: d, .. } if *d == device)));
    }
}

#[test]
fn a_receipt_leaves_once_it_is_durable_and_settles_once_the_other_half_is() {
    let (mut desk, work) = running();
    desk.feed(Input::WorkDone { work, result: report(Nanos(500_000_000)) });
    assert!(desk.says_nothing_signed(), "{:?}", desk.effects);
    desk.disk_fails();
    assert!(desk.says_nothing_signed());
    desk.pass(1_000).disk_works();
    let (call, delivery) = desk.delivery_call();
    assert_eq!(delivery.inline, [result()]);
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert_eq!((receipt.price, receipt.status.clone()), (NanoIo(250_000), Status::Done));
    let half = half(&desk, &receipt);
    desk.answer(call, 1, Ok(Answer::Countersigned(half)));
    assert!(!desk.has_event(|_| true), "not before it is durable");
    desk.disk_works();
    assert!(desk.has_event(|event| matches!(event, Event::ReceiptSettled { .. })));
    assert_eq!(desk.engine.status().earned, NanoIo(250_000));
}

#[test]
fn the_price_stays_under_the_orders_limit_and_a_failure_costs_nothing() {
    let (mut desk, work) = running();
    desk.feed(Input::WorkDone { work, result: report(Nanos(7_000_000_000)) }).disk_works();
    let (_, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert_eq!(receipt.price, NanoIo(1_000_000));

    let (mut desk, work) = running();
    let fault = Fault::WorkerCrashed { how: "signal 11".to_owned() };
    desk.feed(Input::WorkDone { work, result: Err(fault.clone()) }).disk_works();
    let (_, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert_eq!((receipt.price, receipt.status.clone()), (NanoIo(0), Status::Failed(fault)));
}

#[test]
fn a_noted_delivery_waits_for_the_countersignature_and_a_repeat_of_it_is_noted_again() {
    let (mut desk, call, receipt) = delivering();
    desk.answer(call, 1, Ok(Answer::Noted));
    let half = half(&desk, &receipt);
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Countersign { inbound, countersignature: half.clone() });
    assert!(desk.says_nothing_signed());
    desk.disk_works();
    assert_eq!(desk.response(), Response::Noted);
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Countersign { inbound, countersignature: half });
    assert_eq!(desk.response(), Response::Noted);
    assert!(!desk.has(|effect| matches!(effect, Effect::Record { .. })), "paid once");
}

#[test]
fn a_countersignature_over_another_price_is_no_payment() {
    let (mut desk, call, receipt) = delivering();
    let cheaper = Countersignature { price: NanoIo(1), ..half(&desk, &receipt).body().clone() };
    let inbound = desk.inbound();
    let countersignature = Box::new(sign(1, cheaper));
    desk.peer(1, PeerInput::Countersign { inbound, countersignature: countersignature.clone() });
    assert!(matches!(desk.refusal(), RefusalReason::Delivery { .. }));
    desk.answer(call, 1, Ok(Answer::Countersigned(countersignature)));
    assert!(!desk.has(|effect| matches!(effect, Effect::Record { .. })));
}

#[test]
fn a_result_is_offered_again_until_it_is_taken_and_let_go_after_ten_minutes() {
    let (mut desk, call, _) = delivering();
    desk.answer(call, 1, Err(CallError::Unreachable("no route".to_owned())));
    desk.peer(1, PeerInput::Connected);
    let (call, _) = desk.delivery_call();
    desk.answer(call, 1, Err(CallError::TimedOut)).live_through(590_000);
    let offers = desk.calls().len();
    assert!((15..60).contains(&offers), "{offers}");
    assert!(desk.engine.holds(&outputs()[0].hash));
    desk.live_through(20_000);
    assert!(desk.has_event(|event| matches!(event, Event::LeaseReleased { .. })));
    assert_eq!(desk.engine.leases()[0].state, "unpaid");
    assert!(!desk.engine.holds(&outputs()[0].hash));
}

#[test]
fn a_refused_result_is_not_offered_again() {
    let (mut desk, call, _) = delivering();
    desk.answer(call, 1, Ok(Answer::Refused { reason: RefusalReason::Superseded, advert: None }));
    desk.live_through(30_000);
    assert!(desk.calls().is_empty());
}

#[test]
fn only_its_requester_can_stop_a_job_and_the_device_is_free_once_the_worker_is_gone() {
    let (mut desk, work) = running();
    let inbound = desk.inbound();
    desk.peer(3, PeerInput::Cancel { inbound, job: JOB, attempt: Attempt(1) });
    assert_eq!(desk.response(), Response::Lease(LeaseState::Unknown));
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Cancel { inbound, job: JOB, attempt: Attempt(1) });
    assert_eq!(desk.response(), Response::Lease(LeaseState::Released));
    assert!(desk.has(|effect| matches!(effect, Effect::StopWork(w) if *w == work)));
    assert_eq!(desk.engine.status().free, 0);
    desk.feed(Input::WorkDone { work, result: Err(Fault::Cancelled) });
    assert!(desk.has_event(|event| matches!(event, Event::LeaseReleased { .. })));
    assert_eq!(desk.engine.status().free, 1);
    assert_eq!(query(&mut desk, 1), Response::Lease(LeaseState::Released));
}

#[test]
fn a_program_over_its_time_is_stopped_and_the_requester_is_told_why() {
    let (mut desk, work) = running();
    // The worker may have to start twice and load first: three minutes, and ten seconds of margin.
    desk.live_through(197_900);
    assert!(!desk.has(|effect| matches!(effect, Effect::StopWork(_))));
    desk.live_through(200);
    assert!(desk.has(|effect| matches!(effect, Effect::StopWork(w) if *w == work)));
    desk.feed(Input::WorkDone { work, result: Err(Fault::Cancelled) }).disk_works();
    let (_, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert_eq!(receipt.status, Status::Failed(Fault::RunTime { limit: Millis(8_000) }));
}

#[test]
fn every_requester_hears_once_a_second_that_its_provider_lives() {
    let (mut desk, _) = running();
    desk.live_through(5_000);
    let told = desk.effects.iter().filter(|effect| {
        matches!(
            effect,
            Effect::Notice { notice: Notice::Progress { state: LeaseState::Running { .. }, .. }, .. }
        )
    });
    assert_eq!(told.count(), 5);
}

#[test]
fn after_a_restart_what_ran_is_released_and_what_was_signed_is_offered_again() {
    let config = || Config { provide: true, ..Config::default() };
    let (mut desk, _) = running();
    desk.restart(config());
    assert!(desk.has_event(|event| matches!(event, Event::LeaseReleased { .. })));
    assert_eq!(query(&mut desk, 1), Response::Lease(LeaseState::Released));

    let (mut desk, _, receipt) = delivering();
    desk.restart(config());
    desk.peer(1, PeerInput::Connected);
    let (call, delivery) = desk.delivery_call();
    assert_eq!(delivery.receipt, *receipt.signed(), "the same bytes");
    let half = half(&desk, &receipt);
    desk.answer(call, 1, Ok(Answer::Countersigned(half))).disk_works();
    assert!(desk.has_event(|event| matches!(event, Event::ReceiptSettled { .. })));
    desk.restart(config()).live_through(60_000);
    assert!(desk.calls().is_empty(), "settled for good");
    assert_eq!(desk.engine.status().earned, NanoIo(250_000));
}

#[test]
fn a_query_after_a_finished_job_brings_the_delivery_again() {
    let (mut desk, ..) = delivering();
    desk.pass(600);
    assert_eq!(query(&mut desk, 1), Response::Lease(LeaseState::Finished));
    desk.delivery_call();
    assert_eq!(query(&mut desk, 1), Response::Lease(LeaseState::Finished));
    assert!(desk.calls().is_empty(), "but not as often as somebody asks");
}

#[test]
fn a_job_whose_device_vanished_fails_so_that_it_runs_elsewhere() {
    let mut desk = Desk::provider();
    for attempt in 1..=2 {
        let order = order(desk.now, |order| order.attempt = Attempt(attempt));
        send(&mut desk, order);
        desk.disk_works();
    }
    let mut other = device(0);
    other.model = "NVIDIA L4".to_owned();
    desk.feed(Input::Devices(vec![other])).disk_works();
    let (_, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert!(matches!(receipt.status, Status::Failed(Fault::NoDevice { .. })));
    assert_eq!(receipt.attempt, Attempt(2));
}

fn published(desk: &Desk) -> Vec<Verified<ion_protocol::advert::Advert>> {
    let advert =
        |effect: &Effect| if let Effect::Publish(advert) = effect { Some(advert.clone()) } else { None };
    desk.effects.iter().filter_map(advert).collect()
}

#[test]
fn the_advert_is_said_when_there_is_something_to_say_and_seldom() {
    let mut desk = Desk::new(2, Config { provide: true, ..Config::default() });
    desk.feed(Input::Devices(vec![device(0)]));
    assert!(published(&desk).is_empty(), "nobody could reach it");
    desk.feed(Input::Addresses(vec!["/ip4/10.0.0.2/tcp/4001".to_owned()]));
    let first = published(&desk);
    assert_eq!((first.len(), first[0].free), (1, 1));
    let order = order(desk.now, |_| {});
    send(&mut desk, order);
    desk.disk_works();
    assert!(published(&desk).is_empty(), "too soon after the last");
    desk.live_through(2_000);
    let second = published(&desk);
    assert_eq!((second.len(), second[0].free), (1, 0));
    assert!(second[0].seq > first[0].seq);
    desk.live_through(600_000);
    let regular = published(&desk);
    assert!((8..=13).contains(&regular.len()), "{}", regular.len());
    assert!(regular.windows(2).all(|pair| pair[1].expires > pair[0].expires));
}

#[test]
fn who_asks_for_adverts_gets_the_own_one_first_and_no_more_than_asked() {
    let mut desk = Desk::provider();
    for n in 3..9 {
        let advert = advert(n, desk.now, |advert| advert.issued.0 -= u64::from(n));
        desk.peer(n, PeerInput::Advert(advert));
    }
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::AdvertsAsked { inbound, max: 3 });
    let Response::Adverts(adverts) = desk.response() else { panic!("{:?}", desk.effects) };
    let network = Config::default().network;
    let nodes: Vec<_> = adverts.into_iter().map(|a| a.verify(&network).expect("signed").node).collect();
    assert_eq!(nodes, [id(2), id(3), id(4)]);
}

#[test]
fn a_draining_provider_withdraws_refuses_and_says_when_it_is_done() {
    let (mut desk, work) = running();
    desk.feed(Input::Owner(OwnerInput::Drain));
    assert!(published(&desk)[0].devices.is_empty());
    let order = order(desk.now, |order| order.attempt = Attempt(2));
    send(&mut desk, order);
    assert_eq!(desk.refusal(), RefusalReason::Draining);
    desk.feed(Input::WorkDone { work, result: report(Nanos(1)) }).disk_works();
    assert!(!desk.has_event(|event| *event == Event::Drained), "the result is not delivered yet");
    let (call, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    let half = half(&desk, &receipt);
    desk.answer(call, 1, Ok(Answer::Countersigned(half))).disk_works();
    assert!(desk.has_event(|event| *event == Event::Drained));
    assert!(!desk.calls().iter().any(|(.., request)| matches!(request, Request::Deliver(_))));
}
