//! What only a card shows of a node's workers: how soon a job starts, how soon a device is back after a fault, and how busy it
//! is kept. Where there is no card this says so by name; `scripts/gpu-check` runs it where there is one.

mod workers {
    pub mod programs;
    pub mod rig;
}

use ion_node::workers::{BackendChoice, Patience};
use ion_protocol::{Millis, fault::Fault};
use std::time::{Duration, Instant};
use workers::{
    programs::{empty, endless, out_of_bounds, walk},
    rig::{ION, Rig},
};

/// An empty job in a worker that is ready, from its order to its result.
const START_MAX: Duration = Duration::from_millis(5);
/// From a fault to the result of the next job.
const BACK_MAX: Duration = Duration::from_secs(3);
/// Share of the time in which a device works while jobs of 20 ms wait for it.
const BUSY_MIN: f64 = 0.95;
const JOB: Duration = Duration::from_millis(20);
const JOBS: u32 = 12;

/// Says a figure and what it is to be, and holds a card to it; an imitation of one is not judged.
fn judge(rig: &Rig, what: &str, reached: bool) {
    let real = !rig.report.devices[0].model.starts_with("imitation");
    eprintln!(
        "{what}: {}",
        if !real {
            "imitation: not judged"
        } else if reached {
            "reached"
        } else {
            "MISSED"
        }
    );
    assert!(reached || !real, "{what}");
}

/// One after the other: they share the card.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_ready_soon_again_and_kept_busy() {
    let mut rig = Rig::start_with(ION, BackendChoice::Cuda, Patience::default()).await;
    if rig.report.devices.is_empty() {
        return eprintln!("skipped: CUDA ({})", rig.report.cuda);
    }
    eprintln!("device: {}", rig.report.devices[0].label());
    rig.expect_good().await;

    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        rig.run(empty(&rig.blobs)).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let start = times[times.len() / 2];
    let text = format!("an empty job in a ready worker, median of 21: {start:.2?} (at most {START_MAX:?})");
    judge(&rig, &text, start < START_MAX);

    // A fault poisons its process, and one that never ends must be killed; the next job has a fresh one.
    let mut stuck = endless(&rig.blobs);
    stuck.limits.run = Millis(1000);
    for spec in [out_of_bounds(&rig.blobs), stuck] {
        let fault = rig.run(spec).await.unwrap_err();
        assert!(matches!(fault, Fault::Device { .. } | Fault::RunTime { .. }), "{fault:?}");
        let began = Instant::now();
        rig.expect_good().await;
        let back = began.elapsed();
        let text = format!("from `{fault}` to the next result: {back:.2?} (at most {BACK_MAX:?})");
        judge(&rig, &text, back < BACK_MAX);
    }

    let probe = rig.run(walk(&rig.blobs, 100_000, 1)).await.unwrap().device_time;
    let steps = (100_000 * JOB.as_nanos() / u128::from(probe.0.max(1))).clamp(1, u128::from(u32::MAX)) as u32;
    let job = walk(&rig.blobs, steps, 1);
    rig.run(job.clone()).await.unwrap();
    let began = Instant::now();
    let works: Vec<_> = (0..JOBS).map(|_| rig.begin(job.clone())).collect();
    let mut busy = Duration::ZERO;
    for work in works {
        busy += Duration::from_nanos(rig.end(work).await.unwrap().device_time.0);
    }
    let (wall, each) = (began.elapsed(), busy / JOBS);
    let share = busy.as_secs_f64() / wall.as_secs_f64();
    let text = format!(
        "{JOBS} jobs of {each:.1?} that wait: the device works {:.1} % of the time (at least {:.0} %)",
        share * 100.0,
        BUSY_MIN * 100.0
    );
    judge(&rig, &text, share >= BUSY_MIN);
}
