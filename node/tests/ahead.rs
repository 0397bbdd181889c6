//! Jobs that are in a card's worker before their turn, on an imitation of the driver: what they may not do, and what they are
//! not made to pay for. That the device is kept busy so is a figure: `node/tests/card.rs`.

mod workers {
    pub mod programs;
    pub mod rig;
}

use ion_node::workers::BackendChoice;
use ion_protocol::{Bytes, Millis, NodeId, fault::Fault, job::JobSpec};
use ion_scheduler::input::WorkId;
use workers::{
    programs::{empty, endless, out_of_bounds, scale, text, walk, zeros},
    rig::{Imitation, Rig, unhurried},
};

const OTHER: NodeId = NodeId([2; 32]);
/// Words of progress, each a fifth of a second, in which what shall wait would have ended long ago.
const WORDS: usize = 5;

async fn rig() -> (Rig, Imitation) {
    let imitation = Imitation::new("");
    let rig = Rig::start_with(imitation.program.path(), BackendChoice::Cuda, unhurried()).await;
    (rig, imitation)
}

/// An endless job that runs, and another of `tenant` behind it that had time enough.
async fn behind_an_endless_one(rig: &mut Rig, tenant: NodeId, spec: JobSpec) -> (WorkId, WorkId) {
    let first = rig.begin(endless(&rig.blobs));
    rig.progress(first).await;
    rig.tenant = tenant;
    let second = rig.begin(spec);
    for _ in 0..WORDS {
        rig.progress(first).await;
    }
    assert!(!rig.has_ended(second), "it runs while another has the device");
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kernel_runs_before_its_turn_and_waiting_costs_a_job_nothing() {
    for tenant in [NodeId([1; 32]), OTHER] {
        let (mut rig, _imitation) = rig().await;
        // A limit that is long over when its turn comes.
        let (mut spec, expected) = scale(&rig.blobs, 300);
        spec.limits.run = Millis(700);
        let (first, second) = behind_an_endless_one(&mut rig, tenant, spec).await;
        rig.handle.stop(first);
        assert_eq!(rig.end(first).await.unwrap_err(), Fault::Cancelled);
        let report = rig.end(second).await.unwrap();
        assert_eq!(report.inline[0].bytes, expected);
        assert!(report.ran < Millis(700) && report.device_time.0 < 700_000_000, "{report:?}");
        rig.expect_good().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_harms_nobody_who_waits_behind_it() {
    let (mut rig, _imitation) = rig().await;
    let (spec, expected) = scale(&rig.blobs, 300);
    let works: Vec<(WorkId, bool)> = (0..6)
        .map(|n| match n % 3 {
            0 => (rig.begin(out_of_bounds(&rig.blobs)), false),
            1 => (rig.begin(text(&rig.blobs, "this is not PTX", "k")), false),
            _ => (rig.begin(spec.clone()), true),
        })
        .collect();
    for (work, good) in works {
        match rig.end(work).await {
            Ok(report) => assert!(good && report.inline[0].bytes == expected, "{report:?}"),
            Err(fault) => assert!(!good, "{fault:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_stopped_like_anybody() {
    let (mut rig, _imitation) = rig().await;
    let waiting = empty(&rig.blobs);
    let (first, second) = behind_an_endless_one(&mut rig, OTHER, waiting).await;
    rig.handle.stop(second);
    assert_eq!(rig.end(second).await.unwrap_err(), Fault::Cancelled);
    let (spec, expected) = scale(&rig.blobs, 300);
    let third = rig.begin(spec);
    rig.progress(first).await;
    rig.handle.stop(first);
    assert_eq!(rig.end(first).await.unwrap_err(), Fault::Cancelled);
    assert_eq!(rig.end(third).await.unwrap().inline[0].bytes, expected);
}

/// Two programs that do not fit together run one after the other, and each has all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_too_large_to_be_there_together_follow_each_other() {
    let (mut rig, _imitation) = rig().await;
    let most = rig.report.devices[0].memory.0 / 3 * 2;
    let mut spec = zeros(&rig.blobs, most);
    spec.limits.memory = Bytes(most);
    let works: Vec<WorkId> = (0..3).map(|_| rig.begin(spec.clone())).collect();
    for work in works {
        rig.end(work).await.unwrap();
    }
}

/// However the jobs of two requesters follow each other, the device is soon back to the two children it has at rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requesters_that_take_turns_find_the_device_as_before() {
    let (mut rig, _imitation) = rig().await;
    let job = walk(&rig.blobs, 2_000, 1);
    let expected = rig.run(job.clone()).await.unwrap().outputs;
    for _ in 0..3 {
        let works = [1, 1, 2, 1, 2, 2].map(|n| {
            rig.tenant = NodeId([n; 32]);
            rig.begin(job.clone())
        });
        for work in works {
            assert_eq!(rig.end(work).await.unwrap().outputs, expected);
        }
        rig.both_children().await;
    }
}
