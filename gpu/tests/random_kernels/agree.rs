//! Random programs with what they are launched with, and whether the engines agree on them.

use super::{BLOCK, BLOCKS, light_program, parting_case, program, striding_program};
use crate::cpu_bench::{Bench, bytes_of_u32, u32_arg};
use fastrand::Rng;
use ion_gpu::{backend::Backend, cpu::CpuBackend};
use ion_protocol::hardware::Engine;
use std::sync::atomic::AtomicBool;

/// What a program does: its buffers and instructions, or its fault.
pub type Ended = Result<(Vec<Vec<u8>>, Option<u64>), String>;

/// Runs a program on an engine, on one core.
pub fn result(bench: &Bench, engine: Engine) -> Ended {
    let mut backend = CpuBackend::with_cores(1).translating_at_once();
    if engine == Engine::CpuInterpreter {
        backend = backend.interpreting();
    }
    assert_eq!(backend.engine(), engine);
    let loaded = bench.load(bench.program()).unwrap_or_else(|fault| panic!("{fault}\n{}", bench.text));
    let report = backend
        .run(loaded, &bench.limits, &AtomicBool::new(false), &mut |_| {})
        .map_err(|f| f.to_string())?;
    Ok((report.outputs.into_iter().map(|output| output.bytes.to_vec()).collect(), report.instructions))
}

/// How a program ends, if it ends alike to the byte, to the instruction, and to the word of a fault; else where it does not.
pub fn same(bench: &Bench) -> Result<Ended, String> {
    let reference = result(bench, Engine::CpuInterpreter);
    let native = result(bench, Engine::CpuJit);
    if reference == native {
        return Ok(native);
    }
    let (Ok((left, count)), Ok((right, native_count))) = (&reference, &native) else {
        let [reference, native] = [reference, native].map(|ended| ended.map(|(_, count)| count));
        return Err(format!("{reference:?} is not {native:?}"));
    };
    for (n, (left, right)) in left.iter().zip(right).enumerate() {
        if let Some(at) = left.iter().zip(right).position(|(left, right)| left != right) {
            return Err(format!("buffer {n} differs at byte {at}"));
        }
    }
    Err(format!("{count:?} instructions are not {native_count:?}"))
}

/// A launch of one of the programs that take `n`, `in`, `out` and `sums`.
pub fn bench(text: &str, seed: u64) -> Bench {
    let mut rng = Rng::with_seed(seed);
    let input: Vec<u32> = (0..256).map(|_| rng.u32(..)).collect();
    // Blocks of another shape have more threads in a row.
    let threads = (BLOCK * BLOCKS + 20) as usize;
    Bench::new(text, "k")
        .grid([BLOCKS, 1, 1], [BLOCK, 1, 1])
        .arg(u32_arg(rng.u32(..)))
        .buffer(bytes_of_u32(&input))
        .buffer(vec![0; threads * 168])
        .buffer(vec![0; 32])
}

/// A program of any kind.
pub fn case(seed: u64) -> Bench {
    let text = match seed % 8 {
        0 => program(seed),
        1 => light_program(seed, false),
        2 => light_program(seed, true),
        3 => striding_program(seed),
        _ => return parting_case(seed),
    };
    let mut rng = Rng::with_seed(seed);
    let mut bench = bench(&text, seed).grid([BLOCKS, 1, 1], [rng.u32(1..=BLOCK), 1, 1]);
    bench.limits.fuel = (rng.u8(0..4) == 0).then(|| rng.u64(1..20_000));
    bench
}
