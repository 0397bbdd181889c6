//! Jobs that wait for room: who asks, who does not, and that no place is left while somebody waits for it.

mod desk;

use desk::{Desk, advert, id, receipt, sign, spec};
use ion_protocol::{
    JobId, NodeId, Verified,
    deal::{Acceptance, Order, RefusalReason},
    job::JobSpec,
    limits,
    message::Request,
};
use ion_scheduler::{
    Config, Input,
    event::RejectReason,
    input::{Answer, CallId, OwnerInput, PeerInput},
};

fn job(n: u8) -> JobId {
    JobId([n; 16])
}

fn submit(
    desk: &mut Desk,
    n: u8,
    change: impl FnOnce(&mut JobSpec),
) -> Vec<(CallId, NodeId, Verified<Order>)> {
    let mut spec = spec();
    change(&mut spec);
    desk.feed(Input::Owner(OwnerInput::Submit { job: job(n), spec, inline: Vec::new(), verify: 0 }));
    asks(desk.disk_works())
}

fn asks(desk: &Desk) -> Vec<(CallId, NodeId, Verified<Order>)> {
    let order = |(call, to, request)| match request {
        Request::Order(order) => Some((call, to, order.verify(&Config::default().network).expect("signed"))),
        _ => None,
    };
    desk.calls().into_iter().filter_map(order).collect()
}

fn who(asks: &[(CallId, NodeId, Verified<Order>)]) -> Vec<(NodeId, JobId)> {
    asks.iter().map(|(_, to, order)| (*to, order.job)).collect()
}

fn busy(desk: &mut Desk, call: CallId) {
    let reason = RefusalReason::Busy { queued: 8 };
    desk.answer(call, 2, Ok(Answer::Refused { reason, advert: None })).disk_works();
}

fn accept(desk: &mut Desk, call: CallId, order: &Order, hash: ion_protocol::DocHash) {
    let acceptance = Acceptance {
        version: limits::VERSION,
        provider: order.provider,
        requester: order.requester,
        job: order.job,
        attempt: order.attempt,
        order: hash,
        accepted: desk.now.wall,
    };
    desk.answer(call, 2, Ok(Answer::Accepted(Box::new(sign(2, acceptance))))).disk_works();
}

/// One holds a place, the second is told that there is none for more.
fn full() -> (Desk, Verified<Order>) {
    let (mut desk, order) = Desk::leased();
    let [(call, ..)] = submit(&mut desk, 1, |_| {})[..] else { panic!("{:?}", desk.effects) };
    busy(&mut desk, call);
    desk.pass(1);
    (desk, order)
}

#[test]
fn what_one_is_told_is_told_to_all_and_one_asks_for_the_place_of_each_that_is_done() {
    let (mut desk, order) = full();
    for n in [2, 3] {
        assert_eq!(who(&submit(&mut desk, n, |_| {})), [], "it would only be refused");
        desk.pass(1);
    }
    let why = desk.engine.why(&job(3), desk.now).expect("it is known");
    assert!(matches!(why.rejections[0].reason, RejectReason::Full { .. }), "{why:?}");
    // Where a new job would go is another question.
    assert_eq!(desk.engine.match_spec(&spec(), desk.now).candidates[0].provider, id(2));
    desk.deliver(2, receipt(&order), true).disk_works();
    assert_eq!(who(&asks(&desk)), [(id(2), job(1))], "the one that has waited longest");
}

#[test]
fn where_the_next_in_turn_goes_elsewhere_the_one_behind_it_takes_the_place() {
    let (mut desk, order) = full();
    assert_eq!(who(&submit(&mut desk, 2, |spec| spec.needs.region = "eu".to_owned())), []);
    let cheaper = advert(3, desk.now, |advert| {
        advert.region = "us".to_owned();
        advert.price_per_second.0 /= 100;
    });
    desk.peer(3, PeerInput::Advert(cheaper));
    desk.deliver(2, receipt(&order), true).disk_works();
    assert_eq!(who(&asks(&desk)), [(id(3), job(1)), (id(2), job(2))]);
}

#[test]
fn beyond_what_a_provider_like_this_node_would_take_one_asks_at_a_time() {
    let mut desk = Desk::requester();
    desk.offer(2, |_| {});
    let asked: Vec<_> = (1..=12).flat_map(|n| submit(&mut desk, n, |_| {})).collect();
    assert_eq!(asked.len(), 1 + Config::default().queue_max / 2);
    let mut next = Vec::new();
    for (call, _, order) in &asked {
        assert_eq!(who(&next), [], "before all have their answer");
        accept(&mut desk, *call, order, order.hash());
        next = asks(&desk);
    }
    let [(call, _, tenth)] = &next[..] else { panic!("{:?}", desk.effects) };
    accept(&mut desk, *call, tenth, tenth.hash());
    let [(call, ..)] = asks(&desk)[..] else { panic!("one more: {:?}", desk.effects) };
    busy(&mut desk, call);
    assert_eq!(who(&asks(&desk)), []);
    // Nobody hears anything: after a rest one asks again, for all.
    desk.pass(1_000).disk_works();
    assert_eq!(asks(&desk).len(), 1);
}

/// A large network has news of somebody all the time, and strangers may make some up.
#[test]
fn an_advert_that_is_of_no_use_to_a_job_that_waits_is_no_reason_to_look() {
    let mut desk = Desk::requester();
    let useless = |advert: &mut ion_protocol::advert::Advert| advert.devices[0].memory.0 = 1;
    desk.offer(2, useless);
    assert_eq!(submit(&mut desk, 1, |_| {}).len(), 0);
    desk.pass(1_000);
    let due = desk.engine.next_deadline();
    desk.offer(2, useless).offer(3, useless);
    assert_eq!(desk.engine.next_deadline(), due);
    desk.offer(4, |_| {}).disk_works();
    assert_eq!(who(&asks(&desk)), [(id(4), job(1))]);
}
