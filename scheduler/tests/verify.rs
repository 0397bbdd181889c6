//! What a requester does between holding a delivery and countersigning it, one sentence a test.

mod desk;

use desk::{Desk, JOB, id, outputs, receipt, spec};
use ion_protocol::{
    BlobHash, Bytes, JobId, Millis, Verified,
    check::{BlockAt, Check, Difference, Finding},
    codec,
    deal::{Order, RefusalReason},
    fault::Fault,
    job::{JobSpec, Step},
    limits,
    message::{Request, Response},
    receipt::Countersignature,
    receipt::Receipt,
    record::{JobEnd, Record},
    signed::{Document, Signed},
    states::{Kept, States},
};
use ion_scheduler::{
    Config, Effect, Input,
    effect::Between,
    event::{Event, RejectReason},
    input::{CheckId, OwnerInput},
};
use std::collections::BTreeSet;

/// The desk's job with a grid of this many blocks.
fn wide(blocks: u32) -> JobSpec {
    let mut spec = spec();
    for step in &mut spec.program.phases[0].steps {
        if let Step::Launch(launch) = step {
            launch.grid = [blocks, 1, 1];
        }
    }
    spec
}

/// A requester whose job of so many blocks provider 2 (and after it 3) has accepted.
fn leased(blocks: u32, verify: u16) -> (Desk, Verified<Order>) {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.price_per_second.0 /= 2).offer(3, |_| {});
    desk.submit_verified(wide(blocks), verify).disk_works();
    let order = desk.accepted();
    assert_eq!(order.provider, id(2));
    (desk, order)
}

/// Provider 2 delivers, and the check that then begins.
fn delivered(desk: &mut Desk, order: &Verified<Order>) -> (CheckId, Vec<u64>) {
    desk.pass(1_000).deliver(2, receipt(order), true).disk_works();
    let check = desk.effects.iter().find_map(|effect| {
        if let Effect::Check { check, blocks, .. } = effect { Some((*check, blocks.clone())) } else { None }
    });
    check.unwrap_or_else(|| panic!("nothing is run again in {:?}", desk.effects))
}

fn body(half: &Signed<Countersignature>) -> Countersignature {
    codec::decode(half.body_bytes(), Countersignature::BYTES_MAX).expect("signed here")
}

fn difference() -> Difference {
    let (kernel, buffer) = ("k".to_owned(), "y".to_owned());
    Difference { launch: 0, kernel, block: Some([7, 0, 0]), buffer, offset: 9, expected: 1, found: 2 }
}

fn differs() -> Result<Finding, Fault> {
    Ok(Finding::Differs(difference()))
}

#[test]
fn blocks_are_drawn_once_the_claim_is_held_and_nothing_is_signed_before_they_are_run() {
    let (mut desk, order) = leased(1_024, 4);
    assert!(!desk.has(|effect| matches!(effect, Effect::Check { .. })));
    let (check, blocks) = delivered(&mut desk, &order);
    assert!(
        blocks.len() == 4 && blocks.is_sorted() && blocks.iter().all(|block| *block < 1_024),
        "{blocks:?}"
    );
    assert!(desk.has_event(|event| matches!(event, Event::Checking { blocks: 4, of: 1_024, .. })));
    assert!(desk.says_nothing_signed(), "{:?}", desk.effects);
    assert_eq!(desk.engine.job(&JOB).expect("known").state, "verifying");
    assert!(desk.engine.holds(&outputs()[0].hash), "what is run again is not evicted");
    desk.feed(Input::Checked { check, result: Ok(Finding::Equal { bytes: Bytes(32) }) }).disk_works();
    let Response::Countersigned(half) = desk.response() else { panic!("{:?}", desk.effects) };
    let checked = Check::Equal { blocks, of: 1_024, bytes: Bytes(32) };
    assert_eq!(body(&half).check, checked);
    let view = desk.engine.job(&JOB).expect("known");
    assert_eq!((view.state.as_str(), view.check), ("done", Some(checked.clone())));
    desk.restart(Config::default());
    assert_eq!(desk.engine.job(&JOB).expect("known").check, Some(checked));
}

#[test]
fn all_blocks_are_run_where_there_are_few() {
    let (mut desk, order) = leased(3, limits::CHECK_BLOCKS_MAX as u16 + 100);
    assert_eq!(delivered(&mut desk, &order).1, [0, 1, 2]);
    let (mut desk, order) = leased(100, limits::CHECK_BLOCKS_MAX as u16 + 100);
    let drawn: BTreeSet<u64> = delivered(&mut desk, &order).1.into_iter().collect();
    assert_eq!(drawn.len(), limits::CHECK_BLOCKS_MAX, "no more than the limit, each once");
}

#[test]
fn nothing_is_run_again_unless_asked_for_nor_for_a_failed_run() {
    let (mut desk, order) = leased(16, 0);
    desk.pass(1_000).deliver(2, receipt(&order), true).disk_works();
    let Response::Countersigned(half) = desk.response() else { panic!("{:?}", desk.effects) };
    assert_eq!(body(&half).check, Check::NotAsked);
}

#[test]
fn a_false_delivery_is_refused_and_its_provider_never_asked_again() {
    let (mut desk, order) = leased(16, 4);
    let (check, _) = delivered(&mut desk, &order);
    desk.feed(Input::Checked { check, result: differs() });
    match desk.refusal() {
        RefusalReason::Delivery { message } => assert_eq!(
            message,
            "block 7,0,0 of kernel `k` gave 0x01 at byte 9 of `y` in launch 0, where 0x02 was signed for"
        ),
        other => panic!("{other:?}"),
    }
    assert!(desk.has_event(|event| matches!(event, Event::DeliveryFalse { .. })));
    desk.disk_works();
    let (_, to, _) = desk.order_call();
    assert_eq!(to, id(3), "the job goes elsewhere");
    assert!(!desk.journal.iter().any(|record| matches!(record, Record::Countersigned { .. })));
    let reliability = |desk: &Desk, n: u8| {
        let offers = desk.engine.offers(desk.now);
        let offer = offers.into_iter().find(|offer| offer.provider == id(n)).expect("known");
        (offer.reliability_ppm, offer.falsified)
    };
    assert!(reliability(&desk, 2).0 < 100_000 && reliability(&desk, 2).1 == 1);
    assert!(reliability(&desk, 3).0 > 300_000);
    let why = desk.engine.why(&JOB, desk.now).expect("known");
    let rejected =
        why.rejections.iter().find(|rejection| rejection.provider == id(2)).expect("not a candidate");
    assert_eq!(rejected.reason, RejectReason::FalseResult);
    assert_eq!(why.attempts[0].state, "false");
    assert!(why.attempts[0].why.starts_with("its result is false: block 7,0,0 of kernel `k`"), "{why:?}");
    // A kill -9 later all of it holds.
    desk.restart(Config::default());
    desk.offer(2, |advert| advert.price_per_second.0 /= 2).offer(3, |_| {});
    assert!(reliability(&desk, 2).0 < 100_000 && reliability(&desk, 2).1 == 1);
    let why = desk.engine.why(&JOB, desk.now).expect("known");
    assert_eq!(why.attempts[0].state, "false");
    assert!(why.rejections.iter().any(|rejection| rejection.reason == RejectReason::FalseResult), "{why:?}");
}

#[test]
fn with_nobody_else_a_job_ends_and_its_liar_is_not_paid() {
    let (mut desk, order) = leased(16, 4);
    let (check, _) = delivered(&mut desk, &order);
    let advert = |desk: &mut Desk| desk.offer(3, |advert| advert.devices.clear()).effects.len();
    advert(&mut desk);
    desk.feed(Input::Checked { check, result: differs() }).disk_works();
    desk.live_through(70_000);
    let view = desk.engine.job(&JOB).expect("known");
    assert!(matches!(view.end, Some(JobEnd::Failed { .. })), "{view:?}");
    assert_eq!(view.price.0, 0);
}

#[test]
fn what_cannot_be_checked_is_said_and_accepted() {
    let why = "kernel `k`: exact; blocks meet in integer atomics (line 7)".to_owned();
    for (result, expected) in [
        (Ok(Finding::NotCheckable { why: why.clone() }), why),
        (
            Err(Fault::RunTime { limit: Millis(20_000) }),
            "running blocks here came to nothing: ran longer than its limit of 20 s".to_owned(),
        ),
    ] {
        let (mut desk, order) = leased(16, 4);
        let (check, _) = delivered(&mut desk, &order);
        desk.feed(Input::Checked { check, result }).disk_works();
        let Response::Countersigned(half) = desk.response() else { panic!("{:?}", desk.effects) };
        assert_eq!(body(&half).check, Check::NotCheckable { why: expected });
    }
}

#[test]
fn a_long_check_is_told_to_the_provider_which_gets_its_half_when_it_ends() {
    let (mut desk, order) = leased(16, 4);
    let (check, _) = delivered(&mut desk, &order);
    desk.pass(1_500);
    assert_eq!(desk.response(), Response::Noted);
    // It asks again, and hears the same.
    desk.deliver(2, receipt(&order), true);
    assert_eq!(desk.response(), Response::Noted);
    desk.feed(Input::Checked { check, result: Ok(Finding::Equal { bytes: Bytes(32) }) }).disk_works();
    let handed =
        |(_, to, request): &(_, _, Request)| *to == id(2) && matches!(request, Request::Countersign(_));
    assert!(desk.calls().iter().any(handed), "{:?}", desk.effects);
}

#[test]
fn a_check_that_never_ends_counts_as_none_and_one_of_a_cancelled_job_is_stopped() {
    let (mut desk, order) = leased(16, 4);
    let (check, _) = delivered(&mut desk, &order);
    desk.live_through(31_000);
    assert!(desk.has(|effect| matches!(effect, Effect::StopCheck(stopped) if *stopped == check)));
    let view = desk.engine.job(&JOB).expect("known");
    assert!(matches!(view.check, Some(Check::NotCheckable { .. })), "{view:?}");
    // Its word comes too late to mean anything.
    desk.feed(Input::Checked { check, result: differs() });
    assert!(desk.effects.is_empty(), "{:?}", desk.effects);

    let (mut desk, order) = leased(16, 4);
    let (check, _) = delivered(&mut desk, &order);
    desk.feed(Input::Owner(OwnerInput::Cancel { job: JOB }));
    assert!(desk.has(|effect| matches!(effect, Effect::StopCheck(stopped) if *stopped == check)));
    assert_eq!(desk.response(), Response::Noted);
}

/// A check that takes its time, as a provider can see to that shows its memory slowly, is no way past the next one.
#[test]
fn checks_wait_for_each_other_and_none_of_their_time_passes_meanwhile() {
    const OTHER: JobId = JobId([8; 16]);
    let (mut desk, order) = leased(16, 4);
    desk.feed(Input::Owner(OwnerInput::Submit { job: OTHER, spec: wide(16), inline: Vec::new(), verify: 4 }));
    let second = desk.disk_works().accepted();
    let (check, _) = delivered(&mut desk, &order);
    let from = if second.provider == id(2) { 2 } else { 3 };
    desk.deliver(from, receipt(&second), true).disk_works();
    let checks = |desk: &Desk| desk.effects.iter().filter(|e| matches!(e, Effect::Check { .. })).count();
    assert_eq!(checks(&desk), 0, "one at a time");
    desk.live_through(29_000);
    assert_eq!(checks(&desk), 0);
    desk.feed(Input::Checked { check, result: Ok(Finding::Equal { bytes: Bytes(32) }) });
    assert_eq!(checks(&desk), 1, "{:?}", desk.effects);
    desk.live_through(29_000);
    assert_eq!(desk.engine.job(&OTHER).expect("known").state, "verifying");
    desk.live_through(1_100);
    let view = desk.engine.job(&OTHER).expect("known");
    assert!(matches!(view.check, Some(Check::NotCheckable { .. })), "it had its time: {view:?}");

    // One that nobody wants any more keeps nobody, before its turn or in it.
    let (mut desk, order) = leased(16, 4);
    desk.feed(Input::Owner(OwnerInput::Submit { job: OTHER, spec: wide(16), inline: Vec::new(), verify: 4 }));
    let second = desk.disk_works().accepted();
    delivered(&mut desk, &order);
    desk.deliver(from, receipt(&second), true).disk_works();
    desk.feed(Input::Owner(OwnerInput::Cancel { job: OTHER }));
    assert!(!desk.has(|effect| matches!(effect, Effect::StopCheck(_))), "it did not begin");
    desk.feed(Input::Owner(OwnerInput::Cancel { job: JOB }));
    assert!(desk.has(|effect| matches!(effect, Effect::StopCheck(_))) && checks(&desk) == 0);
}

/// Every countersignature tells which were drawn; what is drawn next must not follow from that.
#[test]
fn blocks_are_drawn_from_a_secret_and_not_from_chance_alone() {
    let drawn = |me: u8| {
        let mut desk = Desk::new(me, Config::default());
        desk.offer(2, |_| {}).submit_verified(wide(1 << 20), 4).disk_works();
        let order = desk.accepted();
        delivered(&mut desk, &order).1
    };
    assert_ne!(drawn(1), drawn(7), "the same seed, another key");
}

#[test]
fn after_a_crash_the_same_delivery_is_checked_anew() {
    let (mut desk, order) = leased(1_024, 4);
    let (_, first) = delivered(&mut desk, &order);
    desk.restart(Config::default());
    let (check, second) = delivered(&mut desk, &order);
    assert_ne!(first, second, "other blocks are drawn");
    desk.feed(Input::Checked { check, result: Ok(Finding::Equal { bytes: Bytes(32) }) }).disk_works();
    assert!(matches!(desk.response(), Response::Countersigned(_)), "{:?}", desk.effects);
}

/// The desk's job of 16 blocks, launched so many times.
fn repeated(times: u32) -> JobSpec {
    let mut spec = wide(16);
    spec.program.phases[0].times = times;
    spec
}

/// A requester whose job of ten launches provider 2 has accepted.
fn leased_repeated(verify: u16) -> (Desk, Verified<Order>) {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.price_per_second.0 /= 2).offer(3, |_| {});
    desk.submit_verified(repeated(10), verify).disk_works();
    let order = desk.accepted();
    assert_eq!(order.provider, id(2));
    (desk, order)
}

fn with_states(order: &Verified<Order>, every: u64) -> Receipt {
    let kept = Kept { every, blob: BlobHash([5; 32]), bytes: Bytes(4_096) };
    Receipt { states: States::Kept(kept), ..receipt(order) }
}

fn between(desk: &Desk) -> (CheckId, Between) {
    let check = desk.effects.iter().find_map(|effect| match effect {
        Effect::Check { check, between: Some(between), .. } => Some((*check, Between::clone(between))),
        _ => None,
    });
    check.unwrap_or_else(|| panic!("no launch is checked by itself in {:?}", desk.effects))
}

#[test]
fn the_memory_between_launches_is_asked_for_where_it_will_be_used() {
    let kept = |spec: JobSpec, verify| {
        let mut desk = Desk::requester();
        desk.offer(2, |_| {}).submit_verified(spec, verify).disk_works();
        desk.order_call().2.verify(&Config::default().network).expect("signed").keep_states
    };
    assert!(kept(repeated(2), 1));
    assert!(!kept(repeated(1), 1), "one launch has nothing between");
    assert!(!kept(repeated(2), 0), "nobody will look");
}

#[test]
fn blocks_of_all_launches_are_drawn_from_those_that_are_committed_to() {
    let (mut desk, order) = leased_repeated(64);
    desk.pass(1_000).deliver(2, with_states(&order, 4), true).disk_works();
    let (check, between) = between(&desk);
    assert_eq!((between.from, between.kept.every), (id(2), 4));
    // After the fourth and the eighth launch, and the last: all of their 48 blocks.
    let all: Vec<BlockAt> = [3, 7, 9]
        .into_iter()
        .flat_map(|launch| (0..16).map(move |block| BlockAt { launch, block }))
        .collect();
    assert_eq!(between.blocks, all);
    // Some are found equal, and one that nobody drew is not written down.
    let blocks = vec![all[0], all[20], BlockAt { launch: 4, block: 1 }];
    let found = Finding::EqualBetween { blocks, bytes: Bytes(256) };
    desk.feed(Input::Checked { check, result: Ok(found) }).disk_works();
    let Response::Countersigned(half) = desk.response() else { panic!("{:?}", desk.effects) };
    let checked = Check::EqualBetween {
        blocks: vec![all[0], all[20]],
        of: 48,
        launches: 3,
        bytes: Bytes(256),
        passed: 46,
    };
    assert_eq!(body(&half).check, checked);
    assert_eq!(
        checked.to_string(),
        "2 of 48 blocks of 3 launches run again, equal in 256 B; 46 more drawn, not block-checkable"
    );
    desk.restart(Config::default());
    assert_eq!(desk.engine.job(&JOB).expect("known").check, Some(checked));
}

#[test]
fn who_does_not_show_what_it_committed_to_or_commits_to_faults_is_not_paid_and_the_job_goes_elsewhere() {
    let withheld = Finding::Withheld { why: "it does not hold it".to_owned() };
    let fault = Fault::Trap { place: Default::default() };
    let faulted = Finding::Faulted { launch: 4, fault };
    for (finding, end) in [(withheld, "it does not hold it"), (faulted, "launch 4 faults: trap in kernel ``")]
    {
        let (mut desk, order) = leased_repeated(4);
        desk.pass(1_000).deliver(2, with_states(&order, 1), true).disk_works();
        let (check, _) = between(&desk);
        desk.feed(Input::Checked { check, result: Ok(finding) });
        match desk.refusal() {
            RefusalReason::Delivery { message } => assert!(message.ends_with(end), "{message}"),
            other => panic!("{other:?}"),
        }
        desk.disk_works();
        assert_eq!(desk.order_call().1, id(3));
        assert!(!desk.journal.iter().any(|record| matches!(record, Record::Countersigned { .. })));
        assert!(
            !desk.journal.iter().any(|record| matches!(record, Record::DeliveryFalse { .. })),
            "nothing is proven"
        );
    }
}

#[test]
fn a_receipt_without_that_memory_is_as_good_and_one_with_memory_of_no_program_is_not() {
    let ends_only = States::EndsOnly { why: "too short".to_owned() };
    for (states, said) in [(States::NotAsked, ""), (ends_only, "; between launches: too short")] {
        let (mut desk, order) = leased_repeated(4);
        desk.pass(1_000).deliver(2, Receipt { states, ..receipt(&order) }, true).disk_works();
        let check = desk.effects.iter().find_map(|effect| match effect {
            Effect::Check { check, between: None, .. } => Some(*check),
            _ => None,
        });
        let check = check.unwrap_or_else(|| panic!("{:?}", desk.effects));
        let finding = Finding::NotCheckable { why: "what goes before is long".to_owned() };
        desk.feed(Input::Checked { check, result: Ok(finding) }).disk_works();
        let Response::Countersigned(half) = desk.response() else { panic!("{:?}", desk.effects) };
        let why = format!("what goes before is long{said}");
        assert_eq!(body(&half).check, Check::NotCheckable { why });
    }
    for every in [0, 10] {
        let (mut desk, order) = leased_repeated(4);
        desk.pass(1_000).deliver(2, with_states(&order, every), true);
        assert!(matches!(desk.refusal(), RefusalReason::Delivery { .. }), "every {every}");
    }
}

/// Its provider keeps it for ten minutes, and so many checks may take as long.
#[test]
fn where_the_line_is_long_the_memory_between_launches_is_brought_here_before_its_turn() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    let brought = |desk: &Desk| {
        desk.effects.iter().any(|effect| match effect {
            Effect::Fetch { from, blobs, .. } => {
                *from == id(2) && blobs.contains(&(BlobHash([5; 32]), Bytes(4_096)))
            }
            _ => false,
        })
    };
    let mut answers = Vec::new();
    for n in 0..11 {
        let (job, spec) = (JobId([n; 16]), repeated(10));
        desk.feed(Input::Owner(OwnerInput::Submit { job, spec, inline: Vec::new(), verify: 4 }));
        let order = desk.disk_works().accepted();
        desk.pass(1_000).deliver(2, with_states(&order, 1), true).disk_works();
        answers.push(brought(&desk));
    }
    assert_eq!(answers, [vec![false; 10], vec![true]].concat());
    assert_eq!(desk.response(), Response::Noted, "it is not kept waiting");
}
