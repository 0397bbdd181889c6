//! What a peer may try for its own good, and does not get, one sentence a test.

mod desk;

use desk::{Desk, JOB, WALL, advert, device, half, id, order, outputs, receipt, result, sign, spec};
use ion_protocol::{
    Attempt, Bytes, DocHash, Millis, NanoIo, Nanos, Verified,
    challenge::{Challenge, Commitment, Judgement, ROUND_TRIP_MAX, Roots, Shape, TARGET, time_bound},
    deal::{Order, RefusalReason},
    fault::Fault,
    hardware::{Device, Engine},
    limits,
    message::{Delivery, Request, Response},
    receipt::{Receipt, Status, output_root},
};
use ion_scheduler::{
    Config, Effect, Input,
    event::Event,
    input::{Answer, CallId, ChallengeId, ChallengeTarget, OwnerInput, PeerInput, WorkReport},
};

/// Twice as slow as it claims, it takes its time with the greeting as well.
#[test]
fn who_answers_a_greeting_late_gains_no_time_for_the_product() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    let target = ChallengeTarget { provider: id(2), device: 0, seed: [2; 32], opening: [9; 32] };
    desk.feed(Input::Owner(OwnerInput::Challenge { challenge: ChallengeId(1), targets: vec![target] }));
    for _ in 0..2 {
        let (call, ..) = desk.calls()[0];
        desk.pass(2_900).answer(call, 2, Ok(Answer::Adverts(Vec::new())));
    }
    let Some((call, _, Request::Challenge(challenge))) = desk.calls().pop() else { panic!("no challenge") };
    let challenge = challenge.verify(&Config::default().network).expect("signed");
    assert_eq!(challenge.round_trip, ROUND_TRIP_MAX);
    let roots = Roots { first: [1; 32], second: [2; 32] };
    let (version, provider) = (limits::VERSION, id(2));
    let commitment = Commitment { version, provider, challenge: challenge.hash(), roots };
    desk.pass(2 * TARGET.0 - 100).answer(call, 2, Ok(Answer::Committed(Box::new(sign(2, commitment)))));
    assert!(desk.has_event(|event| matches!(event, Event::Challenged { judgement: Judgement::Late, .. })));
}

/// In little memory no product takes long, and who says that it is a hundred times quicker than it is passes.
#[test]
fn a_rate_that_no_challenge_can_tell_is_not_believed() {
    let claims = |device: &mut Device, memory| {
        device.model = "a card".to_owned();
        device.memory = Bytes(memory);
        (device.power.f32_mflops, device.power.product_mops) = (90_000_000, 20_000_000);
    };
    let fits = |memory| {
        let mut desk = Desk::requester();
        desk.offer(2, |advert| claims(&mut advert.devices[0], memory));
        let mut spec = spec();
        spec.needs.f32_mflops_min = 50_000_000;
        desk.engine.match_spec(&spec, desk.now).candidates.len()
    };
    assert_eq!((fits(16 << 20), fits(1 << 30)), (0, 1));
}

/// A product that a card computes in a moment can cost the processor seconds to show rows of, as often as the budget has
/// moments.
#[test]
fn a_challenger_does_not_choose_the_product() {
    let claim = device(0);
    let right = Shape::for_claim(&claim).expect("it claims a rate");
    for (shape, taken) in [(right, true), (Shape { rows: 64, inner: 1 << 19 }, false)] {
        let mut desk = Desk::provider();
        let challenge = Challenge {
            version: limits::VERSION,
            challenger: id(1),
            provider: id(2),
            device: 0,
            advert: DocHash([0; 32]),
            seed: [1; 32],
            shape,
            round_trip: Millis(5),
            bound: time_bound(&shape, claim.power.product_mops, Millis(5)).expect("it claims a rate"),
            beside: Vec::new(),
            issued: desk.now.wall,
        };
        let (inbound, challenge) = (desk.inbound(), Box::new(sign(1, challenge)));
        desk.peer(1, PeerInput::Challenge { inbound, challenge });
        assert_eq!(desk.has(|effect| matches!(effect, Effect::Prove { .. })), taken, "{shape:?}");
    }
}

fn send(desk: &mut Desk, from: u8, order: Verified<Order>) {
    let order = Box::new(sign(from, Order { requester: id(from), ..order.body().clone() }));
    let inbound = desk.inbound();
    desk.peer(from, PeerInput::Order { inbound, order }).disk_works();
}

fn next(desk: &Desk, attempt: u32) -> Verified<Order> {
    order(desk.now, |order| order.attempt = Attempt(attempt))
}

/// A provider that is done with many small jobs forgets some before their orders are too old to be repeated.
#[test]
fn an_order_whose_lease_was_forgotten_is_not_taken_a_second_time() {
    let config = Config { finished_max: 1, provide: true, ..Config::default() };
    let mut desk = Desk::provider_with(config.clone(), 1);
    let first = next(&desk, 1);
    for attempt in 1..=6 {
        let order = next(&desk, attempt);
        send(&mut desk, 1, order.clone());
        let work = desk.effects.iter().find_map(|effect| match effect {
            Effect::Work { work, .. } => Some(*work),
            _ => None,
        });
        let (work, inbound) = (work.expect("it runs"), desk.inbound());
        desk.peer(1, PeerInput::Cancel { inbound, job: order.job, attempt: order.attempt });
        desk.feed(Input::WorkDone { work, result: Err(Fault::Cancelled) }).disk_works().pass(1);
    }
    send(&mut desk, 1, first.clone());
    assert_eq!(desk.refusal(), RefusalReason::Expired);
    // Others are not meant, nor is what the same one orders next.
    for from in [3, 1] {
        let order = next(&desk, 7);
        send(&mut desk, from, order);
        assert!(matches!(desk.response(), Response::Accepted(_)), "{from}");
    }
    desk.restart(config);
    desk.feed(Input::Addresses(vec!["/ip4/10.0.0.2/tcp/4001".to_owned()]));
    desk.feed(Input::Devices(vec![device(0)]));
    send(&mut desk, 1, first.clone());
    assert_eq!(desk.refusal(), RefusalReason::Expired);
    // Now nobody takes it any more in any case.
    desk.now.wall.0 = first.expires.0 + limits::CLOCK_SKEW_MS_MAX;
    let later = next(&desk, 8);
    send(&mut desk, 1, later);
    assert!(matches!(desk.response(), Response::Accepted(_)));
}

/// The half that a delivery is answered with counts, also where it was called off or given up in that moment.
#[test]
fn a_countersignature_that_crosses_a_cancel_or_the_end_of_patience_is_kept() {
    for cancels in [true, false] {
        let mut desk = Desk::provider();
        let order = next(&desk, 1);
        send(&mut desk, 1, order.clone());
        let work = desk.effects.iter().find_map(|effect| match effect {
            Effect::Work { work, .. } => Some(*work),
            _ => None,
        });
        let report = WorkReport {
            outputs: outputs(),
            inline: vec![result()],
            device: "NVIDIA H100".to_owned(),
            engine: Engine::Cuda,
            device_time: Nanos(5),
            ran: Millis(6),
            states: Default::default(),
            printed: String::new(),
        };
        desk.feed(Input::WorkDone { work: work.expect("it runs"), result: Ok(report) }).disk_works();
        if cancels {
            let inbound = desk.inbound();
            let (call, delivery) = desk.delivery_call();
            desk.peer(1, PeerInput::Cancel { inbound, job: order.job, attempt: order.attempt });
            answer(&mut desk, call, delivery);
        } else {
            let mut last = desk.delivery_call();
            while desk.engine.leases()[0].state == "delivered" {
                desk.live_through(100);
                if desk.has(|effect| matches!(effect, Effect::Call { .. })) {
                    last = desk.delivery_call();
                }
            }
            answer(&mut desk, last.0, last.1);
        }
        let lease = &desk.disk_works().engine.leases()[0];
        assert_eq!(lease.state, "settled", "cancels: {cancels}");
    }
}

fn answer(desk: &mut Desk, call: CallId, delivery: Delivery) {
    assert_eq!(desk.engine.leases()[0].state, "unpaid");
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    let half = half(desk, &receipt);
    desk.answer(call, 1, Ok(Answer::Countersigned(half)));
}

fn blames(desk: &mut Desk, order: &Verified<Order>) {
    let status = Status::Failed(Fault::Trap { place: Default::default() });
    let (price, device_time, output_root) = (NanoIo::ZERO, Nanos::ZERO, output_root(&[]));
    let receipt = Receipt { status, price, device_time, output_root, ..receipt(order) };
    let inbound = desk.inbound();
    let from = if order.provider == id(2) { 2 } else { 3 };
    let receipt = Box::new(sign(from, receipt));
    let said = PeerInput::Deliver { inbound, receipt, outputs: Vec::new(), inline: Vec::new() };
    desk.peer(from, said).disk_works();
}

/// Whoever asks for nothing is asked first, and could end every job by saying that its kernel traps.
#[test]
fn one_provider_alone_does_not_end_a_job_by_its_word_where_there_is_another() {
    let leased = || {
        let mut desk = Desk::requester();
        desk.offer(2, |advert| advert.price_per_second = NanoIo::ZERO).offer(3, |_| {});
        desk.submit(spec(), Vec::new()).disk_works();
        let first = desk.accepted();
        assert_eq!(first.provider, id(2));
        blames(&mut desk, &first);
        desk
    };
    let mut desk = leased();
    let second = desk.accepted();
    desk.restart(Config::default());
    blames(&mut desk, &second);
    assert_eq!(desk.engine.job(&JOB).unwrap().state, "failed", "what was said before the restart counts");

    let mut desk = leased();
    let second = desk.accepted();
    assert_eq!(second.provider, id(3));
    let reliable =
        |desk: &Desk| desk.engine.offers(desk.now).iter().find(|o| o.provider == id(2)).unwrap().failed;
    assert_eq!(reliable(&desk), 0, "it may be right");
    desk.pass(1_000).deliver(3, receipt(&second), true).disk_works();
    assert_eq!(desk.engine.job(&JOB).unwrap().state, "done");
    assert_eq!(reliable(&desk), 1, "it was not");
    desk.restart(Config::default());
    assert_eq!(desk.engine.job(&JOB).unwrap().state, "done");

    let mut desk = leased();
    let second = desk.accepted();
    blames(&mut desk, &second);
    assert_eq!(desk.engine.job(&JOB).unwrap().state, "failed", "two say so");

    // And where there is nobody else, its word has to do; that is told once it is durable.
    let (mut desk, first) = Desk::leased();
    blames(&mut desk, &first);
    let view = desk.engine.job(&JOB).unwrap();
    assert_eq!((view.state.as_str(), view.attempts.len()), ("failed", 1));
    assert!(view.receipt.is_some());
    desk.restart(Config::default());
    assert_eq!(desk.engine.job(&JOB).unwrap(), view);
}

/// Its clock was set back while it was away: what it says now has lower numbers than what is remembered of it.
#[test]
fn a_provider_whose_clock_went_back_goes_on_above_what_comes_back_to_it() {
    let mut desk = Desk::provider();
    let published = |desk: &Desk| {
        desk.effects.iter().find_map(|effect| match effect {
            Effect::Publish(advert) => Some(advert.seq),
            _ => None,
        })
    };
    let ahead = WALL + 100_000;
    let before = advert(2, desk.now, |advert| advert.seq = ahead);
    desk.peer(3, PeerInput::Advert(before.clone()));
    assert_eq!(published(&desk), None, "no sooner than any change is said");
    desk.live_through(2_000);
    assert_eq!(published(&desk), Some(ahead + 1), "and no later");
    // What its clock would exceed anyway is no reason to say anything.
    desk.peer(3, PeerInput::Advert(before));
    desk.live_through(2_000);
    assert_eq!(published(&desk), None);
}

/// Names cost nothing, and so does an order whose inputs never come.
#[test]
fn who_lets_its_inputs_be_waited_for_keeps_out_nobody_who_brings_them_along() {
    let mut desk = Desk::provider_with(Config { queue_max: 4, ..Config::default() }, 1);
    let place = |desk: &mut Desk, n: u8, attempt: u32, brings: bool| {
        let body = order(desk.now, |order| order.attempt = Attempt(attempt)).body().clone();
        let inline = if brings { body.inline.clone() } else { Vec::new() };
        let order = Box::new(sign(n, Order { requester: id(n), inline, ..body }));
        let inbound = desk.inbound();
        desk.peer(n, PeerInput::Order { inbound, order }).disk_works();
        matches!(desk.response(), Response::Accepted(_))
    };
    let waited_for: Vec<bool> =
        (0..8).map(|n| place(&mut desk, 3 + n % 4, 1 + u32::from(n / 4), false)).collect();
    assert_eq!(waited_for.iter().filter(|taken| **taken).count(), 5, "one for the device, four wait");
    assert!(!place(&mut desk, 1, 1, false), "there is no room for one more of that kind");
    // One runs at once, one is next on the GPU, and so many wait as ever may; alone, half as many.
    let brought: Vec<bool> =
        (0..8).map(|n| place(&mut desk, 7 + n % 2, 1 + u32::from(n / 2), true)).collect();
    assert!(brought[0] && desk.engine.status().running == 1);
    assert_eq!(brought.iter().filter(|taken| **taken).count(), 5, "{brought:?}");
    assert_eq!(desk.engine.status().queued, 9);
}
