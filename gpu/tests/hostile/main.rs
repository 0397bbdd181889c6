//! Programs that nobody wrote in good faith, on every engine that runs without a device: each ends as its line says,
//! in time, and the next job on the same engine ends well.
//!
//! Owns: the one body that runs the programs of [`list`] here. Never: knows how an engine works. The same programs go
//! through the workers of a CUDA device in `node/tests/hostile.rs`.
//! Texts that the reader alone deals with are in `gpu/tests/ptx_hostile.rs`, places of faults in `cpu_faults.rs`, and
//! the same through a worker process in `node/tests/workers.rs`.

#[path = "../cpu_bench/mod.rs"]
mod cpu_bench;

mod list;

use cpu_bench::{Bench, LIMITS, bytes_of_u32, u32_arg};
use ion_gpu::{
    backend::{Backend, RunLimits},
    cpu::CpuBackend,
};
use ion_protocol::fault::Fault;
use list::{Case, Ends, addresses, bombs, endless, floods, kernel};
use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// Wall time in which everything here ends, loading included, on a machine that does other things as well.
const DEADLINE: Duration = Duration::from_secs(60);

/// The engines under test: the second is the first again where no machine code can be made.
fn engines() -> Vec<Box<dyn Backend>> {
    let native = CpuBackend::default().translating_at_once();
    vec![Box::new(CpuBackend::default().interpreting()), Box::new(native)]
}

fn as_said(ends: Ends, found: &Result<ion_gpu::backend::Report, Fault>, limits: &RunLimits) -> bool {
    match (ends, found) {
        (Ends::Well, Ok(_)) => true,
        (Ends::Refused(words), Err(Fault::Ptx { message, .. })) => message.contains(words),
        (Ends::Program(words), Err(Fault::Program { message })) => message.contains(words),
        (Ends::OutOfBounds(area), Err(Fault::OutOfBounds { space, .. }))
        | (Ends::Misaligned(area), Err(Fault::Misaligned { space, .. })) => area.is_empty() || space == area,
        (Ends::RunTime, Err(Fault::RunTime { limit })) => *limit == limits.run,
        (Ends::Fuel, Err(Fault::Fuel { limit })) => Some(*limit) == limits.fuel,
        (Ends::Trap, Err(Fault::Trap { .. }))
        | (Ends::Assert, Err(Fault::Assert { .. }))
        | (Ends::Divergent, Err(Fault::DivergentBarrier { .. }))
        | (Ends::Memory, Err(Fault::Memory { .. })) => true,
        _ => false,
    }
}

/// `x[i] = 3 i`: a job that any healthy engine does.
fn expect_good(engine: &mut dyn Backend, after: &str) {
    let text = kernel("mul.lo.u32 %r1, %r0, 3;\nmad.wide.u32 %d1, %r0, 4, %d0;\nst.global.u32 [%d1], %r1;");
    let bench = Bench::new(&text, "k").buffer(vec![0; 256]).grid([1; 3], [64, 1, 1]);
    let loaded = bench.load(bench.program()).unwrap();
    let report = engine.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {});
    let report = report.unwrap_or_else(|fault| panic!("{} after {after}: {fault}", engine.label()));
    let expected: Vec<u32> = (0..64).map(|n| 3 * n).collect();
    assert_eq!(*report.outputs[0].bytes, bytes_of_u32(&expected), "{} after {after}", engine.label());
}

fn run(cases: Vec<Case>) {
    for mut engine in engines() {
        for case in &cases {
            let began = Instant::now();
            let program = case.program.clone().unwrap_or_else(|| case.bench.program());
            let limits = &case.bench.limits;
            let loaded = case.bench.load(program);
            let found = loaded.and_then(|job| engine.run(job, limits, &AtomicBool::new(false), &mut |_| {}));
            let (took, label) = (began.elapsed(), engine.label());
            let shown = found.as_ref().map(|report| report.device_time);
            assert!(as_said(case.ends, &found, limits), "{label}: {}: {shown:?}", case.name);
            assert!(took < DEADLINE, "{label}: {}: took {took:?}", case.name);
            expect_good(&mut *engine, &case.name);
        }
    }
}

#[test]
fn loops_without_end() {
    run(endless::cases());
}

#[test]
fn barriers_that_never_open() {
    run(endless::barriers());
}

#[test]
fn addresses_out_of_reach() {
    run(addresses::cases());
}

#[test]
fn texts_that_grow() {
    run(bombs::cases());
}

#[test]
fn programs_that_grow() {
    run(bombs::programs());
}

#[test]
fn floods_of_numbers_and_faults() {
    run(floods::cases());
}

/// The wrong launch is told before anything runs, so the argument is of use to nobody.
#[test]
fn the_good_job_is_one() {
    let text = kernel("");
    let found = Bench::new(&text, "k").arg(u32_arg(1)).run();
    assert!(matches!(found, Err(Fault::Program { .. })), "{found:?}");
    engines().iter_mut().for_each(|engine| expect_good(&mut **engine, "nothing"));
}
