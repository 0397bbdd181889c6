//! The job that is next on a device: in a worker before its turn, and nowhere worse off for it.

mod desk;

use desk::{Desk, JOB, device, id, order, outputs, result, sign};
use ion_protocol::{
    Attempt, Millis, Nanos,
    deal::Order,
    fault::Fault,
    hardware::{Device, Engine as Gpu, Withheld},
    message::{LeaseState, Response},
    receipt::Status,
};
use ion_scheduler::{
    Config, Effect, Input,
    input::{OwnerInput, PeerInput, WorkId, WorkReport},
};

/// What each node's order, in turn, has begun: its work and the device.
fn orders(desk: &mut Desk, from: &[u8]) -> Vec<Option<(WorkId, u16)>> {
    let order_of = |desk: &mut Desk, n: u8| {
        let body = order(desk.now, |_| {}).body().clone();
        let order = Box::new(sign(n, Order { requester: id(n), ..body }));
        let inbound = desk.inbound();
        desk.peer(n, PeerInput::Order { inbound, order }).disk_works();
        works(desk).first().copied()
    };
    from.iter().map(|n| order_of(desk, *n)).collect()
}

fn works(desk: &Desk) -> Vec<(WorkId, u16)> {
    let work = |effect: &Effect| {
        if let Effect::Work { work, device, .. } = effect { Some((*work, *device)) } else { None }
    };
    desk.effects.iter().filter_map(work).collect()
}

fn stopped(desk: &Desk) -> Vec<WorkId> {
    let work = |effect: &Effect| if let Effect::StopWork(work) = effect { Some(*work) } else { None };
    desk.effects.iter().filter_map(work).collect()
}

fn done(desk: &mut Desk, work: WorkId) {
    let report = WorkReport {
        outputs: outputs(),
        inline: vec![result()],
        device: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        device_time: Nanos(20_000_000),
        ran: Millis(20),
        states: Default::default(),
        printed: String::new(),
    };
    desk.feed(Input::WorkDone { work, result: Ok(report) }).disk_works();
}

fn told(desk: &mut Desk, n: u8) -> LeaseState {
    let inbound = desk.inbound();
    desk.peer(n, PeerInput::Query { inbound, job: JOB, attempt: Attempt(1) });
    let Response::Lease(state) = desk.response() else { panic!("{:?}", desk.effects) };
    state
}

#[test]
fn a_busy_gpu_is_given_one_job_ahead_and_the_next_when_that_begins() {
    let mut desk = Desk::provider();
    let begun = orders(&mut desk, &[1, 3, 4]);
    let [Some((first, 0)), Some((second, 0)), None] = begun[..] else { panic!("{begun:?}") };
    let status = desk.engine.status();
    assert_eq!((status.free, status.queued, status.running), (0, 2, 1), "what is next waits all the same");
    assert_eq!(told(&mut desk, 3), LeaseState::Waiting);
    done(&mut desk, first);
    let [(third, 0)] = works(&desk)[..] else { panic!("{:?}", desk.effects) };
    assert!(matches!(told(&mut desk, 3), LeaseState::Running { .. }));
    assert_eq!(told(&mut desk, 4), LeaseState::Waiting);
    // The last may be over before it is known here that the one before it is.
    done(&mut desk, third);
    assert_eq!(told(&mut desk, 4), LeaseState::Finished);
    assert!(matches!(told(&mut desk, 3), LeaseState::Running { .. }));
    done(&mut desk, second);
    assert_eq!((desk.engine.status().free, desk.engine.status().running), (1, 0));
}

#[test]
fn a_processor_is_given_no_job_ahead() {
    let mut desk = Desk::new(2, Config { provide: true, ..Config::default() });
    desk.feed(Input::Devices(vec![Device { engine: Gpu::CpuJit, ..device(0) }]));
    let begun = orders(&mut desk, &[1, 3]);
    assert!(begun[0].is_some() && begun[1].is_none(), "{begun:?}");
}

/// The time that a job may take, and that its receipt tells, begins when the one before it is over.
#[test]
fn what_is_next_has_its_whole_time_from_its_beginning_on() {
    let mut desk = Desk::provider();
    let begun = orders(&mut desk, &[1, 3]);
    let [Some((first, _)), Some((second, _))] = begun[..] else { panic!("{begun:?}") };
    let limit = desk::spec().limits.run.0;
    desk.pass(limit);
    done(&mut desk, first);
    desk.pass(limit).disk_works();
    assert!(stopped(&desk).is_empty(), "it has a margin beside its limit");
    done(&mut desk, second);
    let (_, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert_eq!((receipt.requester, receipt.waited), (id(3), Millis(limit)));
}

#[test]
fn what_is_next_moves_to_a_device_that_is_idle_sooner() {
    let mut desk = Desk::provider_with(Config::default(), 2);
    let begun = orders(&mut desk, &[1, 3, 4]);
    let [Some((_, 0)), Some((second, 1)), Some((third, 0))] = begun[..] else { panic!("{begun:?}") };
    done(&mut desk, second);
    assert_eq!(stopped(&desk), [third]);
    let [(again, 1)] = works(&desk)[..] else { panic!("{:?}", desk.effects) };
    // The end of the copy that was stopped is nothing to the one that runs.
    desk.feed(Input::WorkDone { work: third, result: Err(Fault::Cancelled) }).disk_works();
    assert!(matches!(told(&mut desk, 4), LeaseState::Running { .. }));
    done(&mut desk, again);
    assert_eq!(told(&mut desk, 4), LeaseState::Finished);
}

#[test]
fn what_is_next_and_called_off_or_refused_leaves_its_place() {
    let mut desk = Desk::provider();
    let begun = orders(&mut desk, &[1, 3, 4]);
    let Some((second, _)) = begun[1] else { panic!("{begun:?}") };
    let inbound = desk.inbound();
    desk.peer(3, PeerInput::Cancel { inbound, job: JOB, attempt: Attempt(1) });
    assert_eq!(stopped(&desk), [second]);
    let [(third, 0)] = works(&desk)[..] else { panic!("{:?}", desk.effects) };
    // What is wrong with a program is found before its turn.
    desk.feed(Input::WorkDone { work: third, result: Err(Fault::Program { message: "no".into() }) });
    desk.disk_works();
    let (_, delivery) = desk.delivery_call();
    let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
    assert!(matches!(receipt.status, Status::Failed(Fault::Program { .. })), "{receipt:?}");
    assert_eq!(desk.engine.status().running, 1);
}

#[test]
fn what_is_next_on_a_device_that_its_owner_takes_back_runs_elsewhere() {
    let mut desk = Desk::provider_with(Config::default(), 2);
    let begun = orders(&mut desk, &[1, 3, 4]);
    let [Some((_, 0)), Some((second, 1)), Some((third, 0))] = begun[..] else { panic!("{begun:?}") };
    desk.feed(Input::Owner(OwnerInput::Withhold { device: 0, why: Some(Withheld::Paused) }));
    assert_eq!(stopped(&desk), [third]);
    let [(again, 1)] = works(&desk)[..] else { panic!("{:?}", desk.effects) };
    desk.feed(Input::WorkDone { work: third, result: Err(Fault::Cancelled) });
    done(&mut desk, second);
    assert!(matches!(told(&mut desk, 4), LeaseState::Running { .. }));
    done(&mut desk, again);
    assert_eq!(told(&mut desk, 4), LeaseState::Finished);
}

/// The disk refuses the acceptance of what is next: it leaves its worker and never was.
#[test]
fn what_is_next_without_a_durable_promise_is_forgotten() {
    let mut desk = Desk::provider();
    orders(&mut desk, &[1]);
    let body = order(desk.now, |_| {}).body().clone();
    let inbound = desk.inbound();
    let order = Box::new(sign(3, Order { requester: id(3), ..body }));
    desk.peer(3, PeerInput::Order { inbound, order });
    let (record, fetch) = (
        desk.record(),
        desk.effects
            .iter()
            .find_map(|effect| if let Effect::Fetch { fetch, .. } = effect { Some(*fetch) } else { None }),
    );
    desk.feed(Input::Fetched { fetch: fetch.expect("its inputs come"), result: Ok(()) });
    let [(second, 0)] = works(&desk)[..] else { panic!("{:?}", desk.effects) };
    desk.feed(Input::RecordFailed { record, why: "no space left".to_owned() });
    assert_eq!(stopped(&desk), [second]);
    assert_eq!(told(&mut desk, 3), LeaseState::Unknown);
}
