//! Owner first: what is withheld is not on offer, what runs on it ends, and who ordered learns why.

mod desk;

use desk::{Desk, order, outputs, result};
use ion_protocol::{
    Attempt, Millis, Nanos, Verified,
    advert::Advert,
    deal::{Order, RefusalReason},
    fault::{Blame, Fault},
    hardware::{Engine as Gpu, Withheld},
    receipt::Status,
};
use ion_scheduler::{
    Config, Effect, Input,
    input::{OwnerInput, PeerInput, WorkId, WorkReport},
};

fn send(desk: &mut Desk, order: Verified<Order>) {
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Order { inbound, order: Box::new(order) });
}

fn withhold(desk: &mut Desk, device: u16, why: Option<Withheld>) {
    desk.feed(Input::Owner(OwnerInput::Withhold { device, why }));
}

fn published(desk: &Desk) -> Option<Verified<Advert>> {
    desk.effects
        .iter()
        .find_map(|effect| if let Effect::Publish(advert) = effect { Some(advert.clone()) } else { None })
}

fn work(desk: &Desk) -> Option<(WorkId, u16)> {
    desk.effects.iter().find_map(|effect| {
        if let Effect::Work { work, device, .. } = effect { Some((*work, *device)) } else { None }
    })
}

/// A provider of so many devices, with an order running on the first.
fn running(devices: u16) -> (Desk, WorkId) {
    let mut desk = Desk::provider_with(Config::default(), devices);
    let order = order(desk.now, |_| {});
    send(&mut desk, order);
    desk.disk_works();
    let (work, device) = work(&desk).expect("it runs");
    assert_eq!(device, 0);
    (desk, work)
}

fn done() -> Result<WorkReport, Fault> {
    Ok(WorkReport {
        outputs: outputs(),
        inline: vec![result()],
        device: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        device_time: Nanos(1),
        ran: Millis(1),
        states: Default::default(),
        printed: String::new(),
    })
}

fn delivered(desk: &Desk) -> Status {
    let (_, delivery) = desk.delivery_call();
    delivery.receipt.verify(&Config::default().network).expect("signed").status.clone()
}

#[test]
fn a_paused_device_leaves_the_advert_at_once_and_what_runs_is_finished() {
    let (mut desk, work) = running(1);
    withhold(&mut desk, 0, Some(Withheld::Paused));
    assert!(published(&desk).expect("it is said at once").devices.is_empty());
    assert!(!desk.has(|effect| matches!(effect, Effect::StopWork(_))), "what runs goes on");
    let next = order(desk.now, |order| order.attempt = Attempt(2));
    send(&mut desk, next);
    assert_eq!(desk.refusal(), RefusalReason::Withheld { why: Withheld::Paused });
    desk.feed(Input::WorkDone { work, result: done() }).disk_works();
    assert_eq!(delivered(&desk), Status::Done);
    assert_eq!((desk.engine.status().free, desk.engine.status().running), (0, 0));
}

#[test]
fn a_resumed_device_is_on_offer_again() {
    let mut desk = Desk::provider();
    withhold(&mut desk, 0, Some(Withheld::Hours));
    withhold(&mut desk, 0, Some(Withheld::Hours));
    let wanted = order(desk.now, |_| {});
    send(&mut desk, wanted.clone());
    assert_eq!(desk.refusal(), RefusalReason::Withheld { why: Withheld::Hours });
    withhold(&mut desk, 0, None);
    desk.pass(2_000);
    desk.feed(Input::Tick);
    send(&mut desk, wanted);
    desk.disk_works();
    assert!(work(&desk).is_some());
}

#[test]
fn what_is_evicted_is_stopped_and_its_requester_learns_that_another_may_do_better() {
    let (mut desk, running) = running(1);
    withhold(&mut desk, 0, Some(Withheld::InUse));
    desk.feed(Input::Owner(OwnerInput::Evict { device: 0 }));
    assert!(desk.has(|effect| matches!(effect, Effect::StopWork(work) if *work == running)));
    desk.feed(Input::Owner(OwnerInput::Evict { device: 0 }));
    assert!(!desk.has(|effect| matches!(effect, Effect::StopWork(_))), "once is enough");
    desk.feed(Input::WorkDone { work: running, result: Err(Fault::Cancelled) }).disk_works();
    assert_eq!(delivered(&desk), Status::Failed(Fault::Withdrawn));
    assert_eq!(Fault::Withdrawn.blame(), Blame::Host);
}

#[test]
fn a_program_that_ends_before_it_is_stopped_has_ended_well() {
    let (mut desk, work) = running(1);
    desk.feed(Input::Owner(OwnerInput::Evict { device: 0 }));
    desk.feed(Input::WorkDone { work, result: done() }).disk_works();
    assert_eq!(delivered(&desk), Status::Done);
}

#[test]
fn what_waits_for_a_withheld_device_runs_elsewhere() {
    let (mut desk, _) = running(1);
    let waiting = order(desk.now, |order| order.attempt = Attempt(2));
    send(&mut desk, waiting);
    desk.disk_works();
    withhold(&mut desk, 0, Some(Withheld::Paused));
    desk.disk_works();
    assert_eq!(delivered(&desk), Status::Failed(Fault::Withdrawn));
}

#[test]
fn an_order_whose_inputs_are_on_their_way_while_the_owner_pauses_runs_elsewhere() {
    let mut desk = Desk::provider();
    let wanted = order(desk.now, |order| order.inline.clear());
    send(&mut desk, wanted);
    let record = desk.record();
    withhold(&mut desk, 0, Some(Withheld::Paused));
    assert!(desk.has(|effect| matches!(effect, Effect::StopFetch(_))));
    let receipt = desk.record();
    desk.feed(Input::Recorded(record));
    assert!(desk.calls().is_empty(), "the receipt is not durable yet");
    desk.feed(Input::Recorded(receipt));
    assert_eq!(delivered(&desk), Status::Failed(Fault::Withdrawn));
}

#[test]
fn the_other_devices_work_on() {
    let (mut desk, _) = running(2);
    withhold(&mut desk, 0, Some(Withheld::Hot { celsius: 90, limit: 80 }));
    let advert = published(&desk).expect("one less is said at once");
    assert_eq!((advert.devices.len(), advert.devices[0].index, advert.free), (1, 1, 1));
    assert_eq!(desk.engine.status().free, 1, "what ends on the withheld one takes nothing of the other");
    let next = order(desk.now, |order| order.attempt = Attempt(2));
    send(&mut desk, next);
    desk.disk_works();
    assert_eq!(work(&desk).map(|(_, device)| device), Some(1));
}
