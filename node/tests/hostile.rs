//! The hostile programs of the CPU engine through the whole of the CUDA path: a worker child each that fails, on an imitation of
//! the driver, and on a card where there is one (`scripts/gpu-check`). Each ends in the fault that is its own and in time,
//! the node lives, and the next job is done well.
//!
//! The list and how each ends on the processor: `gpu/tests/hostile/list`. What a card may do differently is said here.

#[path = "../../gpu/tests/cpu_bench/mod.rs"]
mod cpu_bench;
#[path = "../../gpu/tests/hostile/list/mod.rs"]
mod list;
mod workers {
    pub mod programs;
    pub mod rig;
}

use ion_node::workers::BackendChoice;
use ion_protocol::{
    NanoIo,
    fault::{Blame, Fault},
    job::{JobLimits, JobSpec, Needs},
};
use ion_scheduler::input::WorkReport;
use list::{Case, Ends};
use std::time::{Duration, Instant};
use workers::rig::{ION, Imitation, Rig, unhurried};

/// Wall time in which a program ends and a good one after it, children started afresh included, on a machine that does other
/// things as well.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_harmless_on_an_imitation_of_the_driver() {
    let imitation = Imitation::new("");
    let rig = Rig::start_with(imitation.program.path(), BackendChoice::Cuda, unhurried()).await;
    run_all(rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_harmless_on_a_card() {
    let rig = Rig::start_with(ION, BackendChoice::Cuda, unhurried()).await;
    if rig.report.devices.is_empty() {
        return eprintln!("skipped: CUDA ({})", rig.report.cuda);
    }
    run_all(rig).await;
}

async fn run_all(mut rig: Rig) {
    let real = !rig.report.devices[0].model.starts_with("imitation");
    // No instruction is counted on a card: what ends by budget elsewhere is there by time, in this same list.
    let cases = list::all().into_iter().filter(|case| !matches!(case.ends, Ends::Fuel));
    let (mut ran, mut refused, mut elsewhere) = (0, 0, 0);
    for case in cases {
        let spec = spec(&rig, &case);
        // A form that no program may have is refused with its order, and comes to no worker.
        if spec.check().is_err() {
            refused += 1;
            continue;
        }
        let began = Instant::now();
        match rig.run(spec).await {
            Err(Fault::NoDevice { message }) if real => {
                eprintln!("not on this card: {}: {message}", case.name);
                elsewhere += 1;
            }
            found => {
                assert!(as_said(case.ends, &found, real), "{}: {found:?}", case.name);
                ran += 1;
            }
        }
        rig.expect_good().await;
        assert!(began.elapsed() < DEADLINE, "{}: {:?}", case.name, began.elapsed());
    }
    let label = rig.report.devices[0].label();
    eprintln!(
        "{label}: {ran} hostile programs ended as they should, {refused} are refused before, {elsewhere} are for \
         newer cards"
    );
    assert!(ran > 0);
}

fn spec(rig: &Rig, case: &Case) -> JobSpec {
    let program = case.program.clone().unwrap_or_else(|| case.bench.program());
    let contents = case.bench.buffers.iter().map(Vec::as_slice).chain([case.bench.text.as_bytes()]);
    contents.for_each(|content| _ = rig.blobs.put(content));
    let (run, memory) = (case.bench.limits.run, case.bench.limits.memory);
    let limits = JobLimits { run, memory, price: NanoIo(0) };
    JobSpec { name: "hostile".into(), needs: Needs::default(), limits, program }
}

/// Whether a program ended as the list says, in the words of a driver.
fn as_said(ends: Ends, found: &Result<WorkReport, Fault>, real: bool) -> bool {
    let device = |codes: &[&str]| {
        matches!(found, Err(fault @ Fault::Device { code, .. })
            if codes.iter().any(|end| code.ends_with(end)) && fault.blame() == Blame::Job)
    };
    // A card looks at pages and not at bytes, may wait at a barrier without end or find it open, and its compiler has other
    // limits than ours: there these may end well, or by any fault that is the program's own.
    let harmless = real && found.as_ref().err().is_none_or(|fault| fault.blame() == Blame::Job);
    match ends {
        Ends::Well => found.is_ok(),
        Ends::Refused(words) => {
            harmless || matches!(found, Err(Fault::Ptx { message, .. }) if message.contains(words))
        }
        Ends::Program(words) => {
            matches!(found, Err(Fault::Program { message }) if message.contains(words))
        }
        Ends::OutOfBounds(_) => harmless || device(&["ILLEGAL_ADDRESS"]),
        Ends::Misaligned(_) => device(&["MISALIGNED_ADDRESS"]),
        Ends::Trap => device(&["LAUNCH_FAILED", "ILLEGAL_INSTRUCTION"]),
        Ends::Assert => device(&["ASSERT"]),
        Ends::Divergent => harmless || device(&["LAUNCH_FAILED"]),
        Ends::RunTime => matches!(found, Err(Fault::RunTime { .. })),
        Ends::Fuel => unreachable!("left out above"),
        Ends::Memory => {
            harmless || matches!(found, Err(Fault::Memory { .. })) || device(&["LAUNCH_OUT_OF_RESOURCES"])
        }
    }
}
