//! The memory between launches on the provider's side: signed for, held, let go.

mod desk;

use desk::{Desk, half, order, outputs, result};
use ion_protocol::{
    BlobHash, Bytes, Millis, Nanos,
    fault::Fault,
    hardware::Engine as Gpu,
    limits,
    receipt::Status,
    states::{Kept, States},
};
use ion_scheduler::{
    Config, Effect, Input,
    input::{Answer, PeerInput, WorkId, WorkReport},
};

fn report(states: States) -> Result<WorkReport, Fault> {
    Ok(WorkReport {
        outputs: outputs(),
        inline: vec![result()],
        states,
        device: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        device_time: Nanos(500_000_000),
        ran: Millis(600),
        printed: String::new(),
    })
}

/// A provider of an order for four launches that asks for the memory between them, and what its worker is told.
fn keeping() -> (Desk, WorkId) {
    let mut desk = Desk::provider();
    let order = order(desk.now, |order| {
        order.keep_states = true;
        order.spec.program.phases[0].times = 4;
    });
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Order { inbound, order: Box::new(order) }).disk_works();
    let work = desk.effects.iter().find_map(|effect| match effect {
        Effect::Work { work, keep_states: true, .. } => Some(*work),
        _ => None,
    });
    let work = work.unwrap_or_else(|| panic!("its worker is not told in {:?}", desk.effects));
    (desk, work)
}

fn kept(every: u64) -> States {
    States::Kept(Kept { every, blob: BlobHash([8; 32]), bytes: Bytes(2_000) })
}

#[test]
fn the_memory_between_launches_is_signed_for_and_held_until_the_result_is_settled_or_given_up() {
    for settled in [true, false] {
        let (mut desk, work) = keeping();
        let done = report(kept(2));
        desk.feed(Input::WorkDone { work, result: done }).disk_works();
        let (call, delivery) = desk.delivery_call();
        let receipt = delivery.receipt.verify(&Config::default().network).expect("signed");
        assert_eq!(receipt.states, kept(2));
        assert!(desk.engine.holds(&BlobHash([8; 32])), "a requester may ask for parts of it");
        // What was signed holds after a crash.
        let half = half(&desk, &receipt);
        if settled {
            desk.answer(call, 1, Ok(Answer::Countersigned(half))).disk_works();
        } else {
            desk.restart(Config { provide: true, ..Config::default() });
            assert!(desk.engine.holds(&BlobHash([8; 32])), "and again after a restart");
            desk.live_through(Config::default().deliver_max.0 + 60_000);
        }
        assert!(!desk.engine.holds(&BlobHash([8; 32])), "settled {settled}");
    }
}

#[test]
fn memory_between_launches_that_is_of_no_such_program_is_the_workers_fault() {
    for states in [kept(0), kept(4), States::EndsOnly { why: "x".repeat(limits::TEXT_BYTES_MAX + 1) }] {
        let (mut desk, work) = keeping();
        let done = report(states);
        desk.feed(Input::WorkDone { work, result: done }).disk_works();
        let receipt = desk.delivery_call().1.receipt.verify(&Config::default().network).expect("signed");
        assert!(matches!(&receipt.status, Status::Failed(Fault::WorkerProtocol { .. })), "{receipt:?}");
        assert_eq!(receipt.states, States::NotAsked);
    }
}
