//! Measured compute power: our own kernels, run on the backend they judge, the same text on all.
//!
//! Owns the figures of [`MeasuredPower`]. Never believes a data sheet. Runs in the worker child, within a second or two.
//! Tests are at the end; on CUDA in `gpu/tests/backends.rs`.

use crate::{
    backend::{Backend, Report, RunLimits},
    challenge,
    program::{LoadedProgram, Sources, no_compiler},
};
use ion_protocol::{
    BlobHash, Bytes, Millis, Nanos,
    challenge::Shape,
    codec::{Decode, Encode, bincode_crate},
    fault::Fault,
    hardware::MeasuredPower,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
};
use serde::{Deserialize, Serialize};
use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// A launch this long is worth reading a rate from.
const MEASURED: Nanos = Nanos(60_000_000);
/// The whole of one measurement at most, on a machine that is busy with other things.
const RUN_MAX: Millis = Millis(3_000);
/// After this no further measurement of a rate begins: on such a machine what was seen stands.
const RATE_MAX: Duration = Duration::from_secs(1);
/// Threads of a block in our kernels.
const BLOCK: u32 = 256;
/// Operations of one thread in one turn of the loop: 16 fused multiply-adds of two operations each.
const OPS_PER_TURN: u64 = 32;
/// The same of pairs.
const OPS_PER_TURN_F16: u64 = 2 * OPS_PER_TURN;
/// Largest copy: well beyond any cache, well within any device.
const COPY_BYTES_MAX: u64 = 256 << 20;
/// And for a processor, which takes a thousand times as long.
const PROCESSOR_COPY_BYTES_MAX: u64 = 64 << 20;
/// What a program moves that shall move nothing: one block's copy.
const MOVED_BYTES_MIN: u64 = 4_096;
/// And one that shall: milliseconds of the quickest bus, and little of a processor's time.
const MOVED_BYTES_MAX: u64 = 64 << 20;
const LIMITS: RunLimits = RunLimits { run: RUN_MAX, memory: Bytes(4 * COPY_BYTES_MAX), fuel: None };

/// Rows of the largest product: half a GiB, some ten milliseconds of the fastest card.
const PRODUCT_ROWS_MAX: u64 = 1 << 19;

const KERNELS: &str = include_str!("power.ptx");
const F16_KERNELS: &str = include_str!("power_f16.ptx");

/// Runs the kernels once, small, and compares with what they must give.
pub fn check(backend: &mut dyn Backend) -> Result<(), Fault> {
    const BYTES: u64 = 4096;
    let first: Vec<u8> = (0..BYTES).map(|n| (n * 7 % 251) as u8).collect();
    let report = run(backend, copy(BYTES), &first)?;
    if report.outputs.first().is_none_or(|output| *output.bytes != *first) {
        return Err(Fault::Driver { message: "a test kernel gave wrong results".into() });
    }
    Ok(())
}

/// A measurement, and what it is of: it holds until any of that changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[bincode(crate = "bincode_crate")]
pub struct Measured {
    /// Device, driver, clocks, and the kernels it was measured with.
    pub of: String,
    /// What was found.
    pub power: MeasuredPower,
}

impl Measured {
    /// Whether it is worth keeping: every rate was measured that a card has, f16 apart, which old ones lack.
    pub fn is_whole(&self) -> bool {
        let MeasuredPower { f32_mflops, f16_mflops: _, memory_mbps, product_mops, .. } = self.power;
        let moved = [self.power.to_device_mbps, self.power.from_device_mbps];
        [f32_mflops, memory_mbps, product_mops].iter().chain(&moved).all(|rate| *rate > 0)
    }
}

/// What is known of this device, or else what it does now.
pub fn measured(backend: &mut dyn Backend, of: &str, known: &[Measured]) -> Measured {
    let kernels = [KERNELS, F16_KERNELS, challenge::KERNELS].concat();
    let of = format!("{of}; kernels {}", BlobHash::of(kernels.as_bytes()));
    let power = match known.iter().find(|known| known.of == of) {
        Some(known) => known.power,
        None => measure(backend),
    };
    Measured { of, power }
}

/// The rates of our kernels; zero where one can't be measured, as f16 on cards before the first that has it.
pub fn measure(backend: &mut dyn Backend) -> MeasuredPower {
    // All grow their work until it takes long enough, so that a processor and a data centre GPU are both served.
    let f32_mflops = multiply_adds(backend, KERNELS, OPS_PER_TURN);
    let f16_mflops = multiply_adds(backend, F16_KERNELS, OPS_PER_TURN_F16);
    let largest = if backend.engine().is_gpu() { COPY_BYTES_MAX } else { PROCESSOR_COPY_BYTES_MAX };
    let memory_mbps = grow(|size| {
        let bytes = (size * 4096).clamp(1 << 20, largest);
        let first = vec![1; bytes as usize];
        // The first launch may find pages that are not there yet.
        let report = run(backend, twice(copy(bytes)), &first)?;
        Ok((2 * bytes, report.launches.into_iter().min().unwrap_or(report.device_time)))
    });
    let product_mops = grow(|size| {
        // As wide as a challenge's, so that what is claimed is what is held against the device.
        let rows = (size / 4).clamp(64, PRODUCT_ROWS_MAX) as u32 / 8 * 8;
        let shape = Shape { rows, inner: 1_024 };
        let ops = u64::try_from(shape.operations()).unwrap_or(u64::MAX);
        Ok((ops, run(backend, challenge::program(&[7; 32], &shape), &[])?.device_time))
    });
    // A processor has its programs' bytes where they are: nothing moves that could be timed.
    let (to_device_mbps, from_device_mbps) = match backend.engine().is_gpu() {
        true => (moved(backend, Way::In), moved(backend, Way::Out)),
        false => (0, 0),
    };
    MeasuredPower { f32_mflops, f16_mflops, memory_mbps, product_mops, to_device_mbps, from_device_mbps }
}

fn multiply_adds(backend: &mut dyn Backend, kernels: &'static str, ops_per_turn: u64) -> u64 {
    grow(|size| {
        let (blocks, turns) = ((size / 256).clamp(4, 4096) as u32, (size / 16).clamp(16, 4096));
        let ops = u64::from(blocks) * u64::from(BLOCK) * turns * ops_per_turn;
        Ok((ops, run(backend, fma(kernels, blocks, turns), &[])?.device_time))
    })
}

/// Which way bytes move between the machine and the device.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

/// What moving a program's bytes adds to its time, whatever the engine does for it.
fn moved(backend: &mut dyn Backend, way: Way) -> u64 {
    grow(|size| {
        let bytes = (size * 65_536).min(MOVED_BYTES_MAX);
        let still = timed(backend, way, MOVED_BYTES_MIN)?;
        let time = timed(backend, way, bytes)?.0.saturating_sub(still.0);
        Ok((bytes - MOVED_BYTES_MIN, Nanos(time)))
    })
}

/// A program that does next to nothing beside moving so many bytes.
fn timed(backend: &mut dyn Backend, way: Way, bytes: u64) -> Result<Nanos, Fault> {
    let (read, written) = match way {
        Way::In => (bytes, MOVED_BYTES_MIN),
        Way::Out => (MOVED_BYTES_MIN, bytes),
    };
    let first = vec![1; read as usize];
    let loaded = load(touch(read, written), &first)?;
    let began = Instant::now();
    backend.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {})?;
    Ok(Nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)))
}

/// Calls `work` with growing sizes until it takes [`MEASURED`], three times at least where there is time, since on a busy
/// machine any one run may have stood in line; gives 10^6 units a second. What fails has grown too large: what was seen before
/// stands.
fn grow(work: impl FnMut(u64) -> Result<(u64, Nanos), Fault>) -> u64 {
    let began = Instant::now();
    grow_while(|| began.elapsed() < RATE_MAX, work)
}

fn grow_while(in_time: impl Fn() -> bool, mut work: impl FnMut(u64) -> Result<(u64, Nanos), Fault>) -> u64 {
    let mut best = 0;
    let mut size = 256;
    for round in 0..6 {
        let Ok((units, time)) = work(size) else { break };
        let rate = u128::from(units) * 1_000 / u128::from(time.0.max(1));
        best = best.max(u64::try_from(rate).unwrap_or(u64::MAX));
        if time >= MEASURED && round >= 2 || !in_time() {
            break;
        }
        // Aim at twice the time, in steps of at most 16: the first runs are slow for reasons of their own.
        size *= (2 * MEASURED.0 / time.0.max(1)).clamp(1, 16);
    }
    best
}

fn run(backend: &mut dyn Backend, program: Program, first: &[u8]) -> Result<Report, Fault> {
    let loaded = load(program, first)?;
    backend.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {})
}

fn load(program: Program, first: &[u8]) -> Result<LoadedProgram, Fault> {
    let texts = [KERNELS, F16_KERNELS, challenge::KERNELS].map(|text| (BlobHash::of(text.as_bytes()), text));
    let mut blob = |hash, _| {
        let text = texts.iter().find(|(name, _)| *name == hash);
        Ok(text.map_or(first, |(_, text)| text.as_bytes()).into())
    };
    let mut sources = Sources { blob: &mut blob, compile: &mut no_compiler };
    LoadedProgram::load(program, &LIMITS, &mut sources)
}

fn program(kernels: &str, buffers: Vec<Buffer>, launch: Launch) -> Program {
    let (blob, bytes) = (BlobHash::of(kernels.as_bytes()), Bytes(kernels.len() as u64));
    let module = Module { name: "power.ptx".into(), source: Source::Ptx, blob, bytes };
    Program {
        modules: vec![module],
        buffers,
        phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
    }
}

fn buffer(name: &str, bytes: u64, init: Init, output: bool) -> Buffer {
    let (name, element, shape) = (name.to_owned(), Element::U8, vec![bytes]);
    Buffer { name, bytes: Bytes(bytes), init, element, shape, output }
}

fn launch(kernel: &str, blocks: u32, args: Vec<Arg>) -> Launch {
    let (grid, block) = ([blocks, 1, 1], [BLOCK, 1, 1]);
    Launch { module: 0, kernel: kernel.to_owned(), grid, block, shared_bytes: 0, args }
}

fn fma(kernels: &str, blocks: u32, turns: u64) -> Program {
    let bytes = u64::from(blocks) * u64::from(BLOCK) * 4;
    let args = vec![Arg::Buffer(0), Arg::Scalar { element: Element::U32, bits: turns }];
    program(kernels, vec![buffer("out", bytes, Init::Zero, false)], launch("fma", blocks, args))
}

/// 16 bytes a thread; `bytes` is a multiple of a block's.
fn copy(bytes: u64) -> Program {
    let blocks = (bytes / 16 / u64::from(BLOCK)).max(1) as u32;
    let bytes = u64::from(blocks) * u64::from(BLOCK) * 16;
    copied(bytes, bytes, blocks)
}

fn twice(mut program: Program) -> Program {
    program.phases.iter_mut().for_each(|phase| phase.times = 2);
    program
}

/// One block's copy, from and to buffers of these sizes.
fn touch(from: u64, to: u64) -> Program {
    copied(from, to, 1)
}

fn copied(from: u64, to: u64, blocks: u32) -> Program {
    // Any name does: the bytes come from `run`. It must differ from the text's.
    let from = buffer("from", from, Init::Blob(BlobHash([0; 32])), false);
    let to = buffer("to", to, Init::Zero, true);
    program(KERNELS, vec![from, to], launch("copy", blocks, vec![Arg::Buffer(0), Arg::Buffer(1)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuBackend;

    #[test]
    fn the_processor_is_measured_quickly_and_plausibly() {
        let mut backend = CpuBackend::default();
        check(&mut backend).unwrap();
        let began = Instant::now();
        let power = measure(&mut backend);
        eprintln!("{power:?} in {:?}", began.elapsed());
        // From a slow interpreter on a loaded machine to a processor ten times the size of today's largest.
        let MeasuredPower { f32_mflops, f16_mflops, memory_mbps, product_mops, .. } = power;
        let rates = [f32_mflops, f16_mflops, memory_mbps, product_mops];
        assert!(rates.iter().all(|rate| (1..10_000_000).contains(rate)), "{power:?}");
        assert_eq!((power.to_device_mbps, power.from_device_mbps), (0, 0));
    }

    /// The rate of work that does `speed` units of size in a millisecond, and the sizes it is found with, while there is time for
    /// so many rounds.
    fn sizes(speed: u64, rounds: usize) -> (u64, Vec<u64>) {
        let sizes = std::cell::RefCell::new(Vec::new());
        let rate = grow_while(
            || sizes.borrow().len() < rounds,
            |size| {
                sizes.borrow_mut().push(size);
                Ok((size * 1_000, Nanos(size * 1_000_000 / speed)))
            },
        );
        (rate, sizes.into_inner())
    }

    #[test]
    fn a_rate_is_looked_for_until_it_is_seen_or_its_time_is_over() {
        assert_eq!(sizes(256, 9), (256, vec![256, 4096, 28672]));
        // What takes long enough is done no longer, only again.
        assert_eq!(sizes(2, 9), (2, vec![256, 256, 256]));
        assert_eq!(sizes(1 << 60, 9).1.len(), 6, "what takes no time at all");
        for rounds in 1..3 {
            assert_eq!(sizes(2, rounds).1.len(), rounds);
        }
    }

    #[test]
    fn what_moving_adds_to_a_programs_time_is_found_on_any_engine() {
        for way in [Way::In, Way::Out] {
            assert!(moved(&mut CpuBackend::default(), way) > 0);
        }
    }
}
