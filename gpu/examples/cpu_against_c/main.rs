//! How fast the CPU engine is on this machine, against itself interpreting and against C:
//! `cargo run --release -p ion-gpu --example cpu_against_c`, followed by the names of some kernels if only those are wanted.
//!
//! Times of one core are the processor time of the thread that runs it, so that they hold on a busy machine; those of
//! all cores are wall time. The first result is wall time from the text of a kernel never seen to its outputs. A C
//! compiler that is not installed is skipped by name, and so is PoCL, whose times are wall time (`opencl.rs`).

mod opencl;

use ion_gpu::{
    backend::{Backend, RunLimits},
    cpu::CpuBackend,
    pages::AlignedBytes,
    program::{LoadedProgram, Sources, no_compiler},
};
use ion_protocol::{
    BlobHash, Bytes, Millis,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::HashMap, process::Command, sync::atomic::AtomicBool, time::Instant};

/// Launches in one run; the first translates, the least time counts.
const ROUNDS: u32 = 5;
const LIMITS: RunLimits = RunLimits { run: Millis(600_000), memory: Bytes(4 << 30), fuel: None };
const KERNELS: &str = include_str!("kernels.ptx");
const COMPILERS: [&str; 3] = ["gcc", "clang", "clang-14"];

/// A kernel with its launch; buffers are bytes, filled or zero.
struct Case {
    name: &'static str,
    text: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    args: Vec<Arg>,
    buffers: Vec<Vec<u8>>,
}

fn floats(count: usize, value: impl Fn(usize) -> f32) -> Vec<u8> {
    (0..count).flat_map(|n| value(n).to_le_bytes()).collect()
}

fn word(v: u32) -> Arg {
    Arg::Scalar { element: Element::U32, bits: v.into() }
}

fn real(v: f32) -> Arg {
    Arg::Scalar { element: Element::F32, bits: v.to_bits().into() }
}

/// The sizes are those of `reference.c`.
fn cases() -> Vec<Case> {
    let buffers = |count: u16| (0..count).map(Arg::Buffer);
    let with = |first: Arg, count| [first].into_iter().chain(buffers(count)).collect();
    let n = 1 << 22;
    let numbers = |period: usize| floats(n, move |i| (i % period) as f32 / period as f32);
    let side = 512u32;
    let matrix = |period: usize| floats((side * side) as usize, move |i| (i % period) as f32 / period as f32);
    let case = |name, text, grid, block, args, buffers| Case { name, text, grid, block, args, buffers };
    let bodies = floats(8192, |i| (i * 7919 % 1000) as f32 / 1000.0);
    let words = (0..n as u32).flat_map(u32::to_le_bytes).collect();
    let bytes = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut points: Vec<Arg> =
        vec![word(side), word(side), real(-2.0), real(-1.25), real(2.5 / side as f32), word(256)];
    points.push(Arg::Buffer(0));
    let histogram = include_str!("../../kernels/histogram.ptx");
    let matmul = include_str!("../../kernels/matmul.ptx");
    let mandelbrot = include_str!("../../kernels/mandelbrot.ptx");
    vec![
        case(
            "vector_add",
            KERNELS,
            [(n / 256) as u32, 1, 1],
            [256, 1, 1],
            with(word(n as u32), 3),
            vec![numbers(1000), numbers(777), vec![0; 4 * n]],
        ),
        case("nbody", KERNELS, [16, 1, 1], [128, 1, 1], with(word(2048), 2), vec![bodies, vec![0; 32_768]]),
        case("sum", KERNELS, [64, 1, 1], [256, 1, 1], with(word(n as u32), 2), vec![words, vec![0; 256]]),
        case(
            "histogram",
            histogram,
            [64, 1, 1],
            [256, 1, 1],
            with(word(n as u32), 2),
            vec![bytes, vec![0; 1024]],
        ),
        case(
            "matmul",
            matmul,
            [32, 32, 1],
            [16, 16, 1],
            with(word(side), 3),
            vec![matrix(1000), matrix(777), vec![0; (4 * side * side) as usize]],
        ),
        case(
            "mandelbrot",
            mandelbrot,
            [32, 64, 1],
            [16, 8, 1],
            points,
            vec![vec![0; (4 * side * side) as usize]],
        ),
    ]
}

fn program(case: &Case, times: u32) -> Program {
    let buffer = |content: &Vec<u8>| Buffer {
        name: "buffer".into(),
        bytes: Bytes(content.len() as u64),
        init: Init::Blob(BlobHash::of(content)),
        element: Element::U8,
        shape: vec![content.len() as u64],
        output: true,
    };
    let launch = Launch {
        module: 0,
        kernel: case.name.into(),
        grid: case.grid,
        block: case.block,
        shared_bytes: 0,
        args: case.args.clone(),
    };
    let text = case.text.as_bytes();
    Program {
        modules: vec![Module {
            name: case.name.into(),
            source: Source::Ptx,
            blob: BlobHash::of(text),
            bytes: Bytes(text.len() as u64),
        }],
        buffers: case.buffers.iter().map(buffer).collect(),
        phases: vec![Phase { times, steps: vec![Step::Launch(launch)] }],
    }
}

/// What a program is made of, by its hash.
fn blobs(case: &Case) -> HashMap<BlobHash, AlignedBytes> {
    let received = |content: &[u8]| (BlobHash::of(content), content.into());
    case.buffers.iter().map(Vec::as_slice).chain([case.text.as_bytes()]).map(received).collect()
}

fn load(program: Program, blobs: &mut HashMap<BlobHash, AlignedBytes>) -> LoadedProgram {
    let mut blob = |hash, _| Ok(blobs.remove(&hash).expect("all blobs are there"));
    let sources = &mut Sources { blob: &mut blob, compile: &mut no_compiler };
    LoadedProgram::load(program, &LIMITS, sources).expect("the example's programs are well formed")
}

/// Processor time of this thread, in nanoseconds.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The least time of several launches, in milliseconds: processor time on one core, wall time on several.
fn time(case: &Case, mut backend: CpuBackend, alone: bool) -> f64 {
    let loaded = load(program(case, ROUNDS), &mut blobs(case));
    let (mut least, mut done) = (f64::INFINITY, 0);
    let mut before = processor_time();
    let report = backend.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |progress| {
        if alone && progress.launches_done > done {
            done = progress.launches_done;
            let now = processor_time();
            least = least.min((now - before) as f64 / 1e6);
            before = now;
        }
    });
    let launches = report.expect("the example's programs end well").launches;
    if least.is_finite() {
        return least;
    }
    launches.iter().map(|time| time.0 as f64 / 1e6).fold(f64::INFINITY, f64::min)
}

/// Milliseconds of each case in C, by this compiler; `None` where it is not installed.
fn in_c(compiler: &str) -> Option<HashMap<String, f64>> {
    let folder = std::env::temp_dir().join(format!("cpu_against_c-{}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    let (source, binary) = (folder.join("reference.c"), folder.join(compiler));
    std::fs::write(&source, include_str!("reference.c")).ok()?;
    let built = Command::new(compiler)
        .args(["-O3", "-march=native", "-o"])
        .arg(&binary)
        .arg(&source)
        .args(["-lm", "-lpthread"])
        .status();
    let output =
        built.ok().filter(|status| status.success()).and_then(|_| Command::new(&binary).output().ok());
    let _ = std::fs::remove_dir_all(&folder);
    rows(&output?.stdout)
}

/// Names and nanoseconds, one a line, in milliseconds.
fn rows(printed: &[u8]) -> Option<HashMap<String, f64>> {
    let row = |line: &str| {
        let (name, nanos) = line.split_once(' ')?;
        Some((name.to_owned(), nanos.parse::<f64>().ok()? / 1e6))
    };
    std::str::from_utf8(printed).ok()?.lines().map(row).collect()
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let references: Vec<(&str, HashMap<String, f64>)> = COMPILERS
        .into_iter()
        .filter_map(|compiler| {
            let found = in_c(compiler);
            if found.is_none() {
                println!("skipped: {compiler}");
            }
            Some((compiler, found?))
        })
        .collect();
    let opencl = opencl::times();
    if opencl.is_none() {
        println!("skipped: PoCL");
    }
    print!("milliseconds  first  {cores} cores  one core  interpreter");
    references.iter().for_each(|(compiler, _)| print!("  {compiler:>9}"));
    print!("   (of one core: interpreter/jit, jit/C; what {cores} cores gain: jit, C on two threads)");
    println!("{}", if opencl.is_some() { "  PoCL on all, on one core (jit/PoCL of each)" } else { "" });
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for case in cases().into_iter().filter(|case| wanted.is_empty() || wanted.iter().any(|w| w == case.name))
    {
        let (program, mut blobs) = (program(&case, 1), blobs(&case));
        let started = Instant::now();
        let first = load(program, &mut blobs);
        let mut backend = CpuBackend::default();
        backend
            .run(first, &LIMITS, &AtomicBool::new(false), &mut |_| {})
            .expect("the example's programs end well");
        let first = started.elapsed().as_secs_f64() * 1e3;
        let all = time(&case, CpuBackend::default(), false);
        let one = time(&case, CpuBackend::with_cores(1), true);
        let interpreted = time(&case, CpuBackend::with_cores(1).interpreting(), true);
        print!("{:12} {first:6.1} {all:8.2} {one:9.2} {interpreted:12.2}", case.name);
        references.iter().for_each(|(_, times)| print!("  {:9.2}", times[case.name]));
        print!("   {:.1}", interpreted / one);
        references.iter().for_each(|(_, times)| print!(" {:.2}", one / times[case.name]));
        print!("   {:.2}", one / all);
        for (_, times) in &references {
            if let Some(two) = times.get(&format!("{}_2", case.name)) {
                print!(" {:.2}", times[case.name] / two);
            }
        }
        if let Some(opencl) = &opencl {
            let (pocl_all, pocl_one) = (opencl.all[case.name], opencl.one[case.name]);
            print!("  {pocl_all:8.2} {pocl_one:8.2} ({:.2} {:.2})", all / pocl_all, one / pocl_one);
        }
        println!();
    }
}
