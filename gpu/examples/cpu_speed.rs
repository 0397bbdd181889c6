//! How fast the CPU engine is on this machine: `cargo run --release -p ion-gpu --example cpu_speed`.

use ion_gpu::{
    backend::{Backend, RunLimits},
    cpu::CpuBackend,
    program::{LoadedProgram, Sources, no_compiler},
    replay::{Origin, replay, replay_between},
    states::Recorded,
};
use ion_protocol::{
    BlobHash, Bytes, Millis,
    check::Finding,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
    states::Kept,
};
use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// 64 multiply-adds in a row, a thousand times over: the cost of an instruction and little else.
fn arithmetic() -> String {
    let mut text = String::from(
        ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry arithmetic(.param .u64 x)\n{\n\
         .reg .pred %p<1>; .reg .b32 %r<2>; .reg .f32 %f<4>; .reg .b64 %rd<2>;\n\
         mov.f32 %f0, 0f3F000000; mov.f32 %f1, 0f3F7FF000; mov.u32 %r0, 0;\nL:\n",
    );
    text.push_str(&"fma.rn.f32 %f0, %f0, %f1, %f1;\n".repeat(64));
    text.push_str(
        "add.u32 %r0, %r0, 1; setp.lt.u32 %p0, %r0, 1000; @%p0 bra L;\n\
         ld.param.u64 %rd0, [x]; st.global.f32 [%rd0], %f0; ret;\n}\n",
    );
    text
}

fn program(
    name: &str,
    text: &str,
    grid: [u32; 3],
    block: [u32; 3],
    args: Vec<Arg>,
    buffers: &[u64],
) -> Program {
    let hash = BlobHash::of(text.as_bytes());
    let buffer = |bytes: &u64| Buffer {
        name: "buffer".into(),
        bytes: Bytes(*bytes),
        init: Init::Zero,
        element: Element::U8,
        shape: vec![*bytes],
        output: false,
    };
    let launch = Launch { module: 0, kernel: name.into(), grid, block, shared_bytes: 0, args };
    Program {
        modules: vec![Module {
            name: name.into(),
            source: Source::Ptx,
            blob: hash,
            bytes: Bytes(text.len() as u64),
        }],
        buffers: buffers.iter().map(buffer).collect(),
        phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
    }
}

fn run(name: &str, text: &str, grid: [u32; 3], block: [u32; 3], args: Vec<Arg>, buffers: &[u64]) {
    let program = program(name, text, grid, block, args, buffers);
    let limits = RunLimits { run: Millis(600_000), memory: Bytes(4 << 30), fuel: None };
    let mut blob = |_, _| Ok(text.as_bytes().into());
    let sources = &mut Sources { blob: &mut blob, compile: &mut no_compiler };
    let loaded =
        LoadedProgram::load(program, &limits, sources).expect("the example's programs are well formed");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let report = CpuBackend::default()
        .run(loaded, &limits, &AtomicBool::new(false), &mut |_| {})
        .expect("the example's programs end well");
    let seconds = started.elapsed().as_secs_f64();
    let count = report.instructions.unwrap_or(0);
    let each = seconds * 1e9 * cores as f64 / count as f64;
    println!(
        "{name:12} {seconds:7.3} s  {count:12} warp instructions  {each:6.1} ns each on each of {cores} cores"
    );
}

/// One block of a matrix product of 1024 blocks run again, from reading the module to the verdict, against the whole on
/// all cores: with the machine code that the whole was run with, and before there was any.
fn replay_speed(text: &str) {
    let n = 512u64;
    let args = vec![scalar(Element::U32, n), Arg::Buffer(0), Arg::Buffer(1), Arg::Buffer(2)];
    let mut program = program("matmul", text, [32, 32, 1], [16, 16, 1], args, &[n * n * 4; 3]);
    let mut rng = fastrand::Rng::with_seed(1);
    let inputs: Vec<Vec<u8>> =
        (0..2).map(|_| (0..n * n).flat_map(|_| (rng.f32() - 0.5).to_le_bytes()).collect()).collect();
    for (buffer, content) in program.buffers.iter_mut().zip(&inputs) {
        buffer.init = Init::Blob(BlobHash::of(content));
    }
    program.buffers[2].output = true;
    let limits = RunLimits { run: Millis(600_000), memory: Bytes(4 << 30), fuel: None };
    let hashes: Vec<BlobHash> = inputs.iter().map(|input| BlobHash::of(input)).collect();
    let mut blob = |hash, _| {
        let input = hashes.iter().position(|of| *of == hash);
        Ok(input.map_or(text.as_bytes(), |n| &inputs[n]).into())
    };
    let cancel = AtomicBool::new(false);
    let mut whole = |mut backend: CpuBackend| {
        let sources = &mut Sources { blob: &mut blob, compile: &mut no_compiler };
        let loaded =
            LoadedProgram::load(program.clone(), &limits, sources).expect("the example is well formed");
        let started = Instant::now();
        let report = backend.run(loaded, &limits, &cancel, &mut |_| {}).expect("it ends well");
        (started.elapsed(), report)
    };
    let (_, report) = whole(CpuBackend::default().interpreting());
    let replayed = || {
        let mut read = |origin, from: u64, into: &mut [u8]| {
            let all: &[u8] = match origin {
                Origin::Input(buffer) => &inputs[usize::from(buffer)],
                Origin::Output(_) => &report.outputs[0].bytes,
                Origin::States => &[],
            };
            into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
            Ok(())
        };
        let mut times: Vec<_> = (0..15)
            .map(|round| {
                let started = Instant::now();
                let sources =
                    &mut Sources { blob: &mut |_, _| Ok(text.as_bytes().into()), compile: &mut no_compiler };
                let loaded = LoadedProgram::load_code(program.clone(), &limits, sources)
                    .expect("the example is well formed");
                let found = replay(&loaded, &[round * 67], &limits, &cancel, &mut read);
                assert!(matches!(found, Ok(Finding::Equal { .. })), "{found:?}");
                started.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let interpreted = replayed();
    // The first translates.
    whole(CpuBackend::default());
    let (whole, _) = whole(CpuBackend::default());
    let one = replayed();
    let share = |time: Duration| time.as_secs_f64() / whole.as_secs_f64() * 100.0;
    println!(
        "replay of 1 of 1024 blocks of a {n} x {n} matrix product: {one:.2?} of {whole:.2?} for the whole on all cores, \
         {:.2} % ({interpreted:.2?}, {:.2} %, where the kernel was not translated before)",
        share(one),
        share(interpreted)
    );
}

/// Each thread goes some steps on from its own word, launch after launch.
fn walk() -> String {
    ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry walk(.param .u64 x, .param .u32 steps)\n{\n\
     .reg .pred %p; .reg .b32 %a, %b, %c, %v, %n; .reg .b64 %d, %e;\n\
     mov.u32 %a, %ctaid.x; mov.u32 %b, %ntid.x; mov.u32 %c, %tid.x; mad.lo.u32 %a, %a, %b, %c;\n\
     ld.param.u64 %d, [x]; mul.wide.u32 %e, %a, 4; add.u64 %d, %d, %e;\n\
     ld.global.u32 %v, [%d]; ld.param.u32 %n, [steps];\n\
     L: mad.lo.u32 %v, %v, 1664525, 1013904223; sub.u32 %n, %n, 1; setp.ne.u32 %p, %n, 0; @%p bra L;\n\
     st.global.u32 [%d], %v; ret;\n}\n"
        .to_owned()
}

/// Four blocks of a program of 200 launches run again from the memory between them, against the whole on all cores, and
/// what it costs to take that down.
fn between_speed() {
    let (blocks, launches, text) = (64u32, 200u32, walk());
    let bytes = u64::from(blocks) * 256 * 4;
    let args = vec![Arg::Buffer(0), scalar(Element::U32, 5_000)];
    let mut program = program("walk", &text, [blocks, 1, 1], [256, 1, 1], args, &[bytes]);
    program.phases[0].times = launches;
    program.buffers[0].output = true;
    let limits = RunLimits { run: Millis(600_000), memory: Bytes(4 << 30), fuel: None };
    let load = || {
        let mut blob = |_, _| Ok(text.as_bytes().into());
        let sources = &mut Sources { blob: &mut blob, compile: &mut no_compiler };
        LoadedProgram::load(program.clone(), &limits, sources).expect("the example is well formed")
    };
    let cancel = AtomicBool::new(false);
    let timed = |keep: bool| {
        let mut loaded = load();
        if keep {
            loaded.keep_states();
        }
        let started = Instant::now();
        let report = CpuBackend::default().run(loaded, &limits, &cancel, &mut |_| {}).expect("it ends well");
        (started.elapsed(), report)
    };
    let (whole, _) = timed(false);
    let (keeping, report) = timed(true);
    let Recorded::Kept { every, parts } = &report.states else { panic!("{:?}", report.states) };
    let memory: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    let kept = Kept { every: *every, blob: BlobHash::of(&memory), bytes: Bytes(memory.len() as u64) };
    let (checkable, of) = kept.extent(&program);
    let picks = kept.locate(&program, &[of / 7, of / 3, of / 2, of - 5]);
    let mut brought = 0;
    let mut read = |origin, from: u64, into: &mut [u8]| {
        let all: &[u8] = match origin {
            Origin::Input(_) => &[],
            Origin::Output(_) => &report.outputs[0].bytes,
            Origin::States => {
                brought += into.len() as u64;
                &memory
            }
        };
        into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
        Ok(())
    };
    let loaded = load();
    let started = Instant::now();
    let found = replay_between(&loaded, &kept, &picks, &limits, &cancel, &mut read);
    let took = started.elapsed();
    assert!(matches!(found, Ok(Finding::EqualBetween { .. })), "{found:?}");
    println!(
        "replay of 4 of {of} blocks of {checkable} launches, every {every}: {took:.2?} of {whole:.2?} for the whole on all \
         cores ({keeping:.2?} where the memory is taken down), with {} of {} of it",
        Bytes(brought),
        kept.bytes
    );
}

fn scalar(element: Element, bits: u64) -> Arg {
    Arg::Scalar { element, bits }
}

fn main() {
    let u32_arg = |v: u64| scalar(Element::U32, v);
    let f32_arg = |v: f32| scalar(Element::F32, v.to_bits().into());
    run("arithmetic", &arithmetic(), [16, 1, 1], [256, 1, 1], vec![Arg::Buffer(0)], &[64]);
    let n = 16u64 << 20;
    let args = vec![u32_arg(n), f32_arg(2.0), Arg::Buffer(0), Arg::Buffer(1)];
    let saxpy = include_str!("../kernels/saxpy.ptx");
    run("saxpy", saxpy, [(n / 256) as u32, 1, 1], [256, 1, 1], args, &[n * 4, n * 4]);
    let matmul = include_str!("../kernels/matmul.ptx");
    replay_speed(matmul);
    let n = 1024u64;
    let args = vec![u32_arg(n), Arg::Buffer(0), Arg::Buffer(1), Arg::Buffer(2)];
    run("matmul", matmul, [64, 64, 1], [16, 16, 1], args, &[n * n * 4; 3]);
    between_speed();
    let side = 512u64;
    let args = vec![
        u32_arg(side),
        u32_arg(side),
        f32_arg(-2.0),
        f32_arg(-1.25),
        f32_arg(2.5 / side as f32),
        u32_arg(256),
        Arg::Buffer(0),
    ];
    let mandelbrot = include_str!("../kernels/mandelbrot.ptx");
    run("mandelbrot", mandelbrot, [32, 64, 1], [16, 8, 1], args, &[side * side * 4]);
}
