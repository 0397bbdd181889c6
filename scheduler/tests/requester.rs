//! The requester's rules, one sentence a test, on plain `handle` calls.

mod desk;

use desk::{Desk, JOB, id, inputs, key, outputs, receipt, spec};
use ion_protocol::{
    Attempt, Bytes, Millis, NanoIo, Nanos,
    advert::Advert,
    deal::RefusalReason,
    fault::{Fault, Place},
    hardware::Engine as Gpu,
    job::{EngineNeed, Unmet},
    key::SecretKey,
    message::{LeaseState, Request, Response},
    receipt::{Receipt, Status},
    record::JobEnd,
    signed::Signed,
};
use ion_scheduler::{
    Config, Effect, Input,
    event::{Event, RejectReason},
    input::{Answer, CallError, FetchFault, FetchId, OwnerInput, PeerInput},
};

fn refused(reason: RefusalReason) -> Result<Answer, CallError> {
    Ok(Answer::Refused { reason, advert: None })
}

#[test]
fn a_job_is_accepted_once_it_is_durable_and_a_repeat_is_no_news() {
    let mut desk = Desk::requester();
    desk.submit(spec(), inputs());
    assert!(!desk.has_event(|_| true));
    desk.disk_works();
    assert!(desk.has_event(|event| matches!(event, Event::JobAccepted { job } if *job == JOB)));
    desk.submit(spec(), inputs());
    assert!(desk.effects.is_empty(), "{:?}", desk.effects);
}

#[test]
fn a_wrong_specification_is_refused_before_anything_is_written() {
    let mut desk = Desk::requester();
    let mut wrong = spec();
    wrong.limits.run = Millis::ZERO;
    desk.submit(wrong, Vec::new());
    assert!(desk.has_event(|event| matches!(event, Event::JobRefused { .. })));
    assert!(desk.says_nothing_signed() && !desk.has(|e| matches!(e, Effect::Record { .. })));
}

#[test]
fn an_order_leaves_only_once_it_is_durable_and_after_a_failed_write_with_the_same_bytes() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    desk.submit(spec(), inputs());
    let records = desk.records();
    let [(job, _), (order, first)] = &records[..] else { panic!("job and order are written together") };
    assert!(desk.says_nothing_signed(), "{:?}", desk.effects);
    desk.feed(Input::Recorded(*job));
    assert!(desk.says_nothing_signed() && desk.has_event(|event| matches!(event, Event::JobAccepted { .. })));
    desk.feed(Input::RecordFailed { record: *order, why: "no space left".to_owned() });
    assert!(desk.says_nothing_signed());
    assert!(desk.has_event(|event| matches!(event, Event::RecordFailed { .. })));
    desk.pass(1_000);
    assert!(desk.has(|effect| matches!(effect, Effect::Record { body, .. } if **body == *first)));
    desk.disk_works();
    let (_, to, order) = desk.order_call();
    assert_eq!(to, id(2));
    assert_eq!(*first, ion_protocol::record::Record::OrderSigned { order });
}

#[test]
fn a_job_the_disk_refuses_is_not_ordered_and_leaves_nothing_behind() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    desk.submit(spec(), inputs());
    let [(job, _), (order, _)] = desk.records()[..] else { panic!("job and order are written together") };
    desk.feed(Input::RecordFailed { record: job, why: "no space left".to_owned() });
    assert!(desk.has_event(|event| matches!(event, Event::JobRefused { .. })));
    desk.feed(Input::Recorded(order));
    assert!(desk.effects.is_empty() && desk.engine.job(&JOB).is_none(), "{:?}", desk.effects);
    desk.submit(spec(), inputs()).disk_works();
    assert_eq!(desk.order_call().1, id(2), "the same job can come again, and the provider has its place");
}

#[test]
fn the_cheaper_of_two_equal_providers_is_chosen_and_after_a_refusal_the_other() {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.price_per_second = NanoIo(900_000));
    desk.offer(3, |advert| advert.price_per_second = NanoIo(100_000));
    desk.submit(spec(), Vec::new()).disk_works();
    let (call, to, _) = desk.order_call();
    assert_eq!(to, id(3));
    desk.answer(call, 3, refused(RefusalReason::Busy { queued: 16 })).disk_works();
    assert!(desk.has_event(|event| matches!(event, Event::OrderRefused { attempt: Attempt(1), .. })));
    let (_, to, order) = desk.order_call();
    assert_eq!(to, id(2));
    assert_eq!(order.verify(&Config::default().network).expect("signed").attempt, Attempt(2));
}

#[test]
fn a_timed_out_order_is_sent_again_with_the_same_bytes_and_then_called_off_and_given_elsewhere() {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.price_per_second = NanoIo(1));
    desk.offer(3, |_| {});
    desk.submit(spec(), Vec::new()).disk_works();
    let (call, _, first) = desk.order_call();
    desk.answer(call, 2, Err(CallError::TimedOut)).disk_works();
    let (call, _, second) = desk.order_call();
    assert_eq!(first, second);
    desk.answer(call, 2, Err(CallError::TimedOut)).disk_works();
    let (_, to, _) = desk.order_call();
    assert_eq!(to, id(3));
    let cancel = Request::Cancel { job: JOB, attempt: Attempt(1) };
    assert!(desk.calls().iter().any(|(_, to, request)| *to == id(2) && *request == cancel));
}

#[test]
fn an_order_answered_by_where_it_stands_was_taken_or_is_given_elsewhere() {
    for (state, taken) in
        [(LeaseState::Finished, true), (LeaseState::Waiting, true), (LeaseState::Unknown, false)]
    {
        let mut desk = Desk::requester();
        desk.offer(2, |_| {});
        desk.submit(spec(), Vec::new()).disk_works();
        let (call, ..) = desk.order_call();
        desk.answer(call, 2, Ok(Answer::Lease(state)));
        assert!(desk.has_event(|event| matches!(event, Event::OrderAccepted { .. })));
        assert_eq!(desk.has_event(|event| matches!(event, Event::AttemptLost { .. })), !taken, "{state:?}");
    }
}

#[test]
fn a_silent_provider_is_asked_at_half_time_and_lost_after_five_seconds() {
    let (mut desk, _) = Desk::leased();
    desk.pass(2_500);
    assert!(matches!(desk.calls()[..], [(_, _, Request::Query { .. })]), "{:?}", desk.effects);
    desk.pass(2_499);
    assert!(!desk.has_event(|_| true));
    desk.pass(1);
    assert!(desk.has_event(|event| {
        matches!(event, Event::AttemptLost { provider, silent: Millis(5_000), .. } if *provider == id(2))
    }));
}

#[test]
fn progress_keeps_a_provider_and_an_unreachable_one_is_lost_at_once() {
    let (mut desk, _) = Desk::leased();
    for done in 0..20 {
        desk.pass(1_000);
        let state = LeaseState::Running { done: done.min(3), total: 9 };
        desk.peer(2, PeerInput::Progress { job: JOB, attempt: Attempt(1), state });
    }
    assert_eq!(desk.engine.job(&JOB).expect("known").state, "leased");
    desk.peer(2, PeerInput::Disconnected);
    let (call, ..) = desk.calls()[0];
    desk.answer(call, 2, Err(CallError::Unreachable("connection refused".to_owned())));
    assert!(desk.has_event(|event| matches!(event, Event::AttemptLost { .. })));
}

#[test]
fn a_provider_that_talks_but_never_finishes_is_lost_after_the_run_limit() {
    let (mut desk, _) = Desk::leased();
    let mut lost_after = None;
    for second in 0..240 {
        desk.pass(1_000);
        let lost = desk.has_event(|event| matches!(event, Event::AttemptLost { .. }));
        lost_after = lost_after.or(lost.then_some(second));
        let state = LeaseState::Running { done: second, total: 99 };
        desk.peer(2, PeerInput::Progress { job: JOB, attempt: Attempt(1), state });
    }
    // Eight seconds of limit, 180 for the worker's start, 20 of margin, from the first word of running.
    assert_eq!(lost_after, Some(209 - 1));
}

#[test]
fn a_delivery_is_answered_once_the_countersignature_is_durable_and_a_repeat_gets_the_same_bytes() {
    let (mut desk, order) = Desk::leased();
    desk.pass(600).deliver(2, receipt(&order), true);
    assert!(desk.says_nothing_signed(), "{:?}", desk.effects);
    assert!(desk.has(|effect| matches!(effect, Effect::Keep(_))));
    desk.disk_works();
    let first = desk.response();
    assert!(matches!(first, Response::Countersigned(_)));
    assert!(desk.has_event(|e| matches!(e, Event::JobEnded { end: JobEnd::Done { .. }, .. })));
    desk.deliver(2, receipt(&order), true);
    assert_eq!(desk.response(), first);
    let mut dearer = receipt(&order);
    dearer.price = NanoIo(1);
    desk.deliver(2, dearer, true);
    assert_eq!(desk.refusal(), RefusalReason::Conflict);
    assert_eq!(desk.engine.status().spent, NanoIo(250_000));
    assert!(desk.engine.holds(&outputs()[0].hash));
    desk.restart(Config::default()).deliver(2, receipt(&order), true);
    assert_eq!(desk.response(), first, "also after a restart");
    assert_eq!(desk.engine.job(&JOB).expect("known").state, "done");
}

#[test]
fn outputs_that_did_not_come_along_are_fetched_before_anything_is_signed() {
    let (mut desk, order) = Desk::leased();
    desk.pass(600).deliver(2, receipt(&order), false);
    assert_eq!(desk.response(), Response::Noted);
    let fetch = desk.effects.iter().find_map(|effect| {
        if let Effect::Fetch { fetch, blobs, .. } = effect { Some((*fetch, blobs.clone())) } else { None }
    });
    let (fetch, blobs) = fetch.expect("a fetch");
    assert_eq!(blobs, [(outputs()[0].hash, Bytes(32))]);
    desk.feed(Input::Fetched { fetch, result: Ok(()) }).disk_works();
    let [(call, _, Request::Countersign(half))] = &desk.calls()[..] else { panic!("{:?}", desk.effects) };
    let (call, half) = (*call, half.clone());
    desk.answer(call, 2, Err(CallError::TimedOut));
    desk.live_through(8_000);
    let again = desk.calls();
    assert!(again.iter().any(|(.., request)| *request == Request::Countersign(half.clone())), "{again:?}");
    desk.answer(again[0].0, 2, Ok(Answer::Noted)).live_through(60_000);
    assert!(desk.calls().is_empty(), "once noted it is not offered any more");
}

#[test]
fn a_failed_fetch_and_a_failed_write_are_told_apart() {
    let (mut desk, order) = Desk::leased();
    desk.pass(600).deliver(2, receipt(&order), true);
    let fetch = fetch_of(&desk);
    desk.feed(Input::Fetched { fetch, result: Ok(()) }).disk_fails();
    assert_eq!(desk.refusal(), RefusalReason::Overloaded);
    desk.pass(1_000).disk_works();
    assert!(desk.has_event(|e| matches!(e, Event::JobEnded { end: JobEnd::Done { .. }, .. })));

    let (mut desk, order) = Desk::leased();
    desk.pass(600).deliver(2, receipt(&order), false);
    let fetch = fetch_of(&desk);
    desk.feed(Input::Fetched { fetch, result: Err(FetchFault::Source("connection reset".to_owned())) });
    assert!(desk.has_event(|event| matches!(event, Event::AttemptLost { .. })));
}

fn fetch_of(desk: &Desk) -> FetchId {
    let fetch = desk
        .effects
        .iter()
        .find_map(|e| if let Effect::Fetch { fetch, .. } = e { Some(*fetch) } else { None });
    fetch.expect("a fetch")
}

#[test]
fn a_wrong_delivery_is_refused_with_the_reason_and_the_job_goes_elsewhere() {
    type Change = fn(&mut Receipt);
    let wrong: [(&str, Change); 8] = [
        ("order", |r| r.order.0[0] ^= 1),
        ("input root", |r| r.input_root[0] ^= 1),
        ("output root", |r| r.output_root[0] ^= 1),
        ("price of a second", |r| r.price_per_second = NanoIo(1)),
        ("does not follow", |r| r.price = NanoIo(999_999)),
        ("device time", |r| {
            r.device_time = Nanos(1_900_000_000);
            r.price = NanoIo(1);
        }),
        ("the engine that was asked for", |r| r.engine = Gpu::CpuInterpreter),
        ("outputs of a failed run", |r| {
            r.status = Status::Failed(Fault::Cancelled);
            r.price = NanoIo(0);
        }),
    ];
    for (expected, change) in wrong {
        let (mut desk, order) = Desk::leased_with(|spec| spec.needs.engine = Some(EngineNeed::Cuda));
        let mut receipt = receipt(&order);
        change(&mut receipt);
        desk.pass(600).deliver(2, receipt, true);
        let RefusalReason::Delivery { message } = desk.refusal() else { panic!("{expected}") };
        assert!(message.contains(expected), "{message}");
        assert!(desk.has_event(|event| matches!(event, Event::AttemptLost { .. })), "{expected}");
    }
}

#[test]
fn device_time_is_within_the_limit_however_long_the_job_was_away() {
    let (mut desk, order) = Desk::leased();
    let mut dear = receipt(&order);
    dear.device_time = Nanos(9_100_000_000);
    for _ in 0..20 {
        desk.pass(1_000);
        let state = LeaseState::Running { done: 1, total: 9 };
        desk.peer(2, PeerInput::Progress { job: JOB, attempt: Attempt(1), state });
    }
    desk.deliver(2, dear, true);
    let RefusalReason::Delivery { message } = desk.refusal() else { panic!("{:?}", desk.effects) };
    assert!(message.contains("the limit leave"), "{message}");
}

#[test]
fn a_provider_that_says_it_has_room_and_refuses_is_asked_less_and_less_often() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {}).submit(spec(), Vec::new()).disk_works();
    let mut orders = 0;
    for tenth in 0..600u64 {
        if desk.calls().iter().any(|(.., request)| matches!(request, Request::Order(_))) {
            orders += 1;
            let (call, ..) = desk.order_call();
            desk.answer(call, 2, refused(RefusalReason::Busy { queued: 1 })).disk_works();
        }
        desk.offer(2, |advert| advert.seq += tenth).disk_works();
        if !desk.calls().iter().any(|(.., request)| matches!(request, Request::Order(_))) {
            desk.pass(100).disk_works();
        }
    }
    assert!((5..=12).contains(&orders), "{orders} orders in a minute");
}

/// An advert that is signed while a job runs says that the device is busy; its end is known here before the next advert.
#[test]
fn nobody_is_told_to_wait_for_a_job_of_ours_that_is_done() {
    let (mut desk, order) = Desk::leased();
    desk.pass(1_000);
    desk.offer(2, |advert| advert.free = 0);
    let wait = |desk: &Desk| desk.engine.match_spec(&spec(), desk.now).candidates[0].terms.wait;
    assert!(wait(&desk) > Millis::ZERO, "it is behind the one that runs");
    desk.pass(1_000);
    desk.deliver(2, Receipt { finished: desk.now.wall, ..receipt(&order) }, true).disk_works();
    assert_eq!(wait(&desk), Millis::ZERO);
    // The next advert is the provider's word again.
    desk.pass(1_000).offer(2, |advert| (advert.free, advert.queued) = (0, 1));
    assert!(wait(&desk) > Millis::ZERO);
}

#[test]
fn a_fault_of_the_job_ends_it_and_a_fault_of_the_machine_does_not() {
    for (fault, ends) in [
        (Fault::Trap { place: Place::default() }, true),
        (Fault::RunTime { limit: Millis(8_000) }, true),
        (Fault::WorkerCrashed { how: "signal 9".to_owned() }, false),
    ] {
        let (mut desk, order) = Desk::leased();
        let mut failed = receipt(&order);
        (failed.price, failed.device_time) = (NanoIo(0), Nanos(0));
        failed.status = Status::Failed(fault.clone());
        failed.output_root = ion_protocol::receipt::output_root(&[]);
        let inbound = desk.inbound();
        let receipt = Box::new(desk::sign(2, failed));
        desk.peer(2, PeerInput::Deliver { inbound, receipt, outputs: vec![], inline: vec![] }).disk_works();
        assert!(matches!(desk.response(), Response::Countersigned(_)), "a receipt over nothing is still one");
        let ended = desk.has_event(|event| matches!(event, Event::JobEnded { .. }));
        assert_eq!(ended, ends, "{fault}");
        assert_eq!(desk.has_event(|event| matches!(event, Event::AttemptLost { .. })), !ends);
        let told = desk.engine.job(&JOB).expect("known").attempts;
        assert_eq!((told[0].state.as_str(), told[0].why.clone()), ("failed", fault.to_string()));
        desk.restart(Config::default());
        assert_eq!(desk.engine.job(&JOB).expect("known").attempts, told, "as before");
    }
}

#[test]
fn a_job_is_to_blame_when_two_say_so_and_not_before() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {}).offer(3, |_| {}).offer(4, |_| {});
    desk.submit(spec(), Vec::new()).disk_works();
    for ends in [false, true] {
        let order = desk.accepted();
        let by = (2..5).find(|n| id(*n) == order.provider).expect("one of three");
        let mut failed = receipt(&order);
        (failed.price, failed.device_time) = (NanoIo(0), Nanos(0));
        failed.status = Status::Failed(Fault::Trap { place: Place::default() });
        failed.output_root = ion_protocol::receipt::output_root(&[]);
        let inbound = desk.inbound();
        let receipt = Box::new(desk::sign(by, failed));
        desk.peer(by, PeerInput::Deliver { inbound, receipt, outputs: vec![], inline: vec![] }).disk_works();
        assert_eq!(desk.engine.job(&JOB).expect("known").end.is_some(), ends, "with others there");
    }
    desk.restart(Config::default());
    let end = desk.engine.job(&JOB).expect("known").end;
    assert!(matches!(end, Some(JobEnd::Failed { fault: Fault::Trap { .. } })), "{end:?}");
}

#[test]
fn attempts_are_bounded_and_the_last_fault_is_told() {
    let (mut desk, _) = Desk::leased();
    for _ in 0..200 {
        if desk.engine.job(&JOB).is_some_and(|job| job.end.is_some()) {
            break;
        }
        desk.offer(2, |_| {}).disk_works();
        desk.live_through(1_000);
        if desk.calls().iter().any(|(.., request)| matches!(request, Request::Order(_))) {
            desk.accepted();
        }
    }
    let job = desk.engine.job(&JOB).expect("known");
    assert_eq!((job.state.as_str(), job.attempts.len()), ("failed", 5), "{job:?}");
}

#[test]
fn a_cancelled_job_calls_its_provider_off_and_late_words_change_nothing() {
    let (mut desk, order) = Desk::leased();
    desk.feed(Input::Owner(OwnerInput::Cancel { job: JOB })).disk_works();
    assert!(matches!(desk.calls()[..], [(_, _, Request::Cancel { .. })]));
    assert!(desk.has_event(|e| matches!(e, Event::JobEnded { end: JobEnd::Cancelled, .. })));
    desk.pass(600).deliver(2, receipt(&order), true);
    assert_eq!(desk.refusal(), RefusalReason::Superseded);
    let state = LeaseState::Running { done: 1, total: 2 };
    desk.peer(2, PeerInput::Progress { job: JOB, attempt: Attempt(1), state });
    assert!(matches!(desk.calls()[..], [(_, _, Request::Cancel { .. })]), "who works on is told again");
}

#[test]
fn with_nobody_to_ask_the_network_is_searched_at_intervals_and_the_job_ends_with_the_reasons() {
    let mut desk = Desk::requester();
    let mut needy = spec();
    needy.needs.models = vec!["B200".to_owned()];
    desk.offer(2, |advert| advert.expires.0 += 100_000);
    desk.submit(needy, Vec::new()).disk_works();
    assert!(desk.has(|effect| matches!(effect, Effect::Discover(_))));
    assert!(
        desk.has_event(|event| matches!(event, Event::NobodyFits { rejected, .. } if rejected.len() == 1))
    );
    desk.live_through(61_000);
    let searches = desk.effects.iter().filter(|effect| matches!(effect, Effect::Discover(_))).count();
    assert!((10..=12).contains(&searches), "{searches}");
    let job = desk.engine.job(&JOB).expect("known");
    let Some(JobEnd::Failed { fault: Fault::NoDevice { message } }) = job.end else { panic!("{job:?}") };
    assert!(message.contains("has the model that is asked for"), "{message}");
}

#[test]
fn after_a_restart_the_provider_is_asked_and_where_it_knows_nothing_a_new_attempt_is_made() {
    let (mut desk, _) = Desk::leased();
    desk.restart(Config::default());
    let [(call, to, Request::Query { .. })] = desk.calls()[..] else { panic!("{:?}", desk.effects) };
    assert_eq!(to, id(2));
    assert!(desk.engine.restore(desk.journal.clone(), desk.now).is_empty(), "twice changes nothing");
    desk.answer(call, 2, Ok(Answer::Lease(LeaseState::Unknown)));
    // It looks again soon, not at every word.
    desk.offer(3, |_| {}).pass(50).disk_works();
    let (.., order) = desk.order_call();
    assert_eq!(order.verify(&Config::default().network).expect("signed").attempt, Attempt(2));
}

#[test]
fn every_filter_gives_its_reason() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    let reason = |change: fn(&mut ion_protocol::job::JobSpec)| {
        let mut wanted = spec();
        change(&mut wanted);
        let explanation = desk.engine.match_spec(&wanted, desk.now);
        explanation.rejections.first().map(|rejection| rejection.reason.clone())
    };
    let unmet = |unmet| Some(RejectReason::Unmet { unmet });
    assert_eq!(reason(|_| {}), None);
    assert_eq!(reason(|s| s.needs.engine = Some(EngineNeed::Cpu)), unmet(Unmet::Engine));
    assert_eq!(reason(|s| s.needs.memory_min = Bytes(1 << 40)), unmet(Unmet::Memory));
    assert_eq!(reason(|s| s.needs.f32_mflops_min = u64::MAX), unmet(Unmet::Power));
    assert!(matches!(reason(|s| s.needs.region = "us".to_owned()), Some(RejectReason::Region { .. })));
    assert_eq!(reason(|s| s.needs.latency_max = Millis(5)), Some(RejectReason::LatencyUnknown));
    assert!(matches!(reason(|s| s.limits.run = Millis(3_600_001)), Some(RejectReason::RunTime { .. })));
    assert!(matches!(reason(|s| s.limits.price = NanoIo(1)), Some(RejectReason::Price { .. })));
    desk.peer(2, PeerInput::RoundTrip(Millis(40)));
    let mut near = spec();
    near.needs.latency_max = Millis(5);
    let rejected = desk.engine.match_spec(&near, desk.now).rejections;
    assert_eq!(rejected[0].reason, RejectReason::Latency { found: Millis(40), limit: Millis(5) });
    desk.now.wall.0 += 180_000;
    assert_eq!(desk.engine.match_spec(&spec(), desk.now).rejections[0].reason, RejectReason::Expired);
}

#[test]
fn an_explanation_adds_up_and_says_what_would_change_it() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    desk.offer(3, |advert| (advert.free, advert.queued) = (0, 4));
    let explanation = desk.engine.match_spec(&spec(), desk.now);
    let [first, second] = &explanation.candidates[..] else { panic!("{explanation:?}") };
    assert_eq!((first.provider, second.provider), (id(2), id(3)));
    let t = second.terms;
    let parts = [t.money, t.running, t.queue, t.transfer, t.latency, t.failure];
    assert_eq!(t.total.0, parts.iter().map(|part| part.0).sum::<u64>());
    assert!(t.queue > first.terms.queue);
    assert!(explanation.would_change[0].contains(&id(3).short()), "{:?}", explanation.would_change);
}

#[test]
fn an_older_or_own_advert_is_ignored_in_silence() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    assert!(desk.has_event(|event| matches!(event, Event::OfferSeen { .. })));
    desk.offer(2, |advert| (advert.seq, advert.price_per_second) = (advert.seq - 1, NanoIo(1)));
    assert!(desk.effects.is_empty());
    assert_eq!(desk.engine.offers(desk.now)[0].price_per_second, NanoIo(500_000));
    desk.offer(1, |_| {});
    assert_eq!(desk.engine.offers(desk.now).len(), 1);
    assert_eq!(desk.engine.status().node, key(1).node_id());
}

#[test]
fn a_flood_of_offers_does_not_push_out_those_of_connected_peers() {
    let mut desk = Desk::requester();
    desk.peer(2, PeerInput::Connected).offer(2, |advert| advert.expires.0 -= 60_000);
    desk.offer(3, |advert| advert.expires.0 -= 60_000);
    for n in 0..4_100u32 {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&n.to_le_bytes());
        let key = SecretKey::from_seed(&seed);
        let stranger = Advert { node: key.node_id(), ..desk::advert(4, desk.now, |_| {}).body().clone() };
        let advert = Signed::sign(stranger, &Config::default().network, &key);
        desk.feed(Input::Peer { from: key.node_id(), said: PeerInput::Advert(advert) });
    }
    let known: Vec<_> = desk.engine.offers(desk.now).into_iter().map(|offer| offer.provider).collect();
    assert_eq!(known.len(), 4_096);
    assert!(known.contains(&id(2)) && !known.contains(&id(3)));
}

#[test]
fn an_order_that_never_left_before_a_crash_counts_against_nobody() {
    let (mut desk, _) = Desk::leased();
    desk.restart(Config::default());
    let (call, ..) = desk.calls()[0];
    desk.offer(2, |_| {});
    desk.answer(call, 2, Ok(Answer::Lease(LeaseState::Unknown)));
    assert!(!desk.has_event(|event| matches!(event, Event::AttemptLost { .. })));
    let offer = &desk.engine.offers(desk.now)[0];
    assert_eq!((offer.lost, offer.failed), (0, 0));
}
