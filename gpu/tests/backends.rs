//! One body for all engines: each kernel is held against independent Rust on every engine this machine has, and where
//! both run, their bits must be equal. A machine without a GPU says so by name; there and elsewhere all of it also runs on
//! an imitation of the driver, in a child that has it in the driver's place.

mod cpu_bench;

use cpu_bench::{Bench, by_value, bytes_of_f32, bytes_of_u32, f32_arg, f32s, u32_arg, u32s};
use ion_gpu::{
    backend::{Backend, Output},
    cpu::CpuBackend,
    cuda::{CudaBackend, Found, survey},
    power,
    program::LoadedProgram,
    states::Recorded,
};
use ion_protocol::{
    Bytes, Millis,
    fault::Fault,
    hardware::Engine,
    job::{Arg, Init, Launch, Phase, Program, Step},
    sheet::{self, Sheet},
};
use std::{
    env,
    process::Command,
    sync::{Mutex, OnceLock, atomic::AtomicBool, mpsc},
    thread,
    time::Duration,
};

const SAXPY: &str = include_str!("../kernels/saxpy.ptx");
const MATMUL: &str = include_str!("../kernels/matmul.ptx");
const MANDELBROT: &str = include_str!("../kernels/mandelbrot.ptx");

/// Set in the child that runs on the imitation.
const INSIDE: &str = "ION_INSIDE_IMITATION";

/// A device at a time: the tests of this file run side by side.
static DEVICE: Mutex<()> = Mutex::new(());

/// What there is of devices, measured once.
fn found() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| survey(&[]))
}

/// Every engine of this machine.
fn engines() -> Vec<Box<dyn Backend>> {
    let mut engines: Vec<Box<dyn Backend>> =
        vec![Box::new(CpuBackend::default()), Box::new(CpuBackend::default().interpreting())];
    let found = found();
    match found.devices.first() {
        Some((ordinal, _)) => engines.push(Box::new(CudaBackend::open(*ordinal).unwrap())),
        None => eprintln!("skipped: CUDA ({})", found.state),
    }
    engines
}

/// Runs a program on every engine and gives the outputs, which must be the same on all.
fn outputs_everywhere(bench: &Bench, program: Program) -> Vec<Vec<u8>> {
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut first: Option<(String, Vec<Vec<u8>>)> = None;
    for mut engine in engines() {
        let loaded = bench.load(program.clone()).unwrap();
        let launches = program.launches();
        let mut heard = Vec::new();
        let report = engine
            .run(loaded, &bench.limits, &AtomicBool::new(false), &mut |p| heard.push(p))
            .unwrap_or_else(|fault| panic!("{}: {fault}", engine.label()));
        assert_eq!((report.engine, &report.label), (engine.engine(), &engine.label()));
        assert_eq!(report.launches.len() as u64, launches, "{}", report.label);
        assert_eq!(report.device_time.0, report.launches.iter().map(|time| time.0).sum::<u64>());
        let last = heard.last().unwrap();
        assert_eq!((last.launches_done, last.launches_total), (launches, launches), "{}", report.label);
        let outputs: Vec<Vec<u8>> = report.outputs.into_iter().map(|output| output.bytes.to_vec()).collect();
        match &first {
            None => first = Some((report.label, outputs)),
            Some((label, bits)) => assert!(*bits == outputs, "{label} and {} differ", report.label),
        }
    }
    first.expect("the CPU engine is always there").1
}

fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| rng.f32() * 2.0 - 1.0).collect()
}

fn saxpy_bench(x: &[f32], y: &[f32]) -> Bench {
    let n = x.len() as u32;
    let bench = Bench::new(SAXPY, "saxpy").grid([n.div_ceil(256), 1, 1], [256, 1, 1]);
    bench.arg(u32_arg(n)).arg(f32_arg(2.5)).buffer(bytes_of_f32(x)).buffer(bytes_of_f32(y))
}

#[test]
fn saxpy() {
    let (x, y) = (floats(1, 70_001), floats(2, 70_001));
    let bench = saxpy_bench(&x, &y);
    let out = f32s(&outputs_everywhere(&bench, bench.program())[1]);
    for n in 0..x.len() {
        assert_eq!(out[n].to_bits(), 2.5f32.mul_add(x[n], y[n]).to_bits(), "element {n}");
    }
}

#[test]
fn saxpy_again_and_again_with_swaps() {
    const TIMES: u32 = 50;
    let (mut x, mut y) = (floats(3, 5000), floats(4, 5000));
    let bench = saxpy_bench(&x, &y);
    let mut program = bench.program();
    let [Phase { steps, .. }] = &program.phases[..] else { panic!("one phase") };
    let steps = vec![steps[0].clone(), Step::Swap { a: 0, b: 1 }];
    program.phases = vec![Phase { times: TIMES, steps }];
    let out = outputs_everywhere(&bench, program);
    for _ in 0..TIMES {
        for n in 0..x.len() {
            y[n] = 2.5f32.mul_add(x[n], y[n]);
        }
        std::mem::swap(&mut x, &mut y);
    }
    assert_eq!(out, [bytes_of_f32(&x), bytes_of_f32(&y)]);
}

/// What is committed to between launches is the same wherever they run, or an honest GPU would be called a liar.
#[test]
fn the_memory_between_launches_is_the_same_on_every_engine() {
    let bench = saxpy_bench(&floats(8, 5000), &floats(9, 5000));
    let mut program = bench.program();
    let steps = vec![program.phases[0].steps[0].clone(), Step::Swap { a: 0, b: 1 }];
    program.phases = vec![Phase { times: 20, steps }];
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut first = None;
    for mut engine in engines() {
        let mut loaded = bench.load(program.clone()).unwrap();
        loaded.keep_states();
        let report = engine.run(loaded, &bench.limits, &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert!(matches!(&report.states, Recorded::Kept { every: 1, .. }), "{}", report.label);
        // A table of 19 rows, and in each what one launch wrote.
        assert_eq!(report.states.bytes(), Bytes(19 * 2 * 8 + 19 * 20_000), "{}", report.label);
        let same = *first.get_or_insert_with(|| report.states.clone()) == report.states;
        assert!(same, "{} commits to other bytes than the first engine", report.label);
    }
}

#[test]
fn a_struct_by_value() {
    let x = floats(7, 1000);
    let bench = by_value(&x, 3);
    let out = f32s(&outputs_everywhere(&bench, bench.program())[1]);
    for n in 0..x.len() {
        let expected = if n < 3 { 0.0 } else { 2.5f32.mul_add(x[n], 0.125 + 7.0) };
        assert_eq!(out[n].to_bits(), expected.to_bits(), "element {n}");
    }
}

#[test]
fn matmul() {
    let (n, size) = (64u32, 64usize);
    let (a, b) = (floats(5, size * size), floats(6, size * size));
    let bench = Bench::new(MATMUL, "matmul").grid([n / 16, n / 16, 1], [16, 16, 1]);
    let bench = bench.arg(u32_arg(n)).buffer(bytes_of_f32(&a)).buffer(bytes_of_f32(&b));
    let bench = bench.buffer(vec![0; size * size * 4]);
    let out = f32s(&outputs_everywhere(&bench, bench.program())[2]);
    for row in 0..size {
        for column in 0..size {
            let sum = (0..size).fold(0.0f32, |s, k| a[row * size + k].mul_add(b[k * size + column], s));
            assert_eq!(out[row * size + column].to_bits(), sum.to_bits(), "row {row}, column {column}");
        }
    }
}

fn escape(x: f32, y: f32, limit: u32) -> u32 {
    let (mut re, mut im) = (0.0f32, 0.0f32);
    for n in 0..limit {
        let (r, i) = (re * re, im * im);
        if r + i > 4.0 {
            return n;
        }
        let both = re * im;
        re = r - i + x;
        im = both.mul_add(2.0, y);
    }
    limit
}

#[test]
fn mandelbrot() {
    let (width, height, limit) = (97u32, 61u32, 200u32);
    let (x0, y0, step) = (-2.0f32, -1.0f32, 0.03f32);
    let bench =
        Bench::new(MANDELBROT, "mandelbrot").grid([width.div_ceil(16), height.div_ceil(8), 1], [16, 8, 1]);
    let bench = bench.arg(u32_arg(width)).arg(u32_arg(height));
    let bench = bench.arg(f32_arg(x0)).arg(f32_arg(y0)).arg(f32_arg(step)).arg(u32_arg(limit));
    let bench = bench.buffer(vec![0; (width * height * 4) as usize]);
    let out = u32s(&outputs_everywhere(&bench, bench.program())[0]);
    for y in 0..height {
        for x in 0..width {
            let (cx, cy) = ((x as f32).mul_add(step, x0), (y as f32).mul_add(step, y0));
            assert_eq!(out[(y * width + x) as usize], escape(cx, cy, limit), "at {x}, {y}");
        }
    }
}

/// Dynamic shared memory beyond what a block gets unasked: each thread writes its number to the end, backwards.
const SHARED: &str = "
.version 7.8
.target sm_70
.address_size 64
.extern .shared .align 4 .b8 room[];
.visible .entry backwards(.param .u32 last, .param .u64 out)
{
    .reg .b32 %r<8>;
    .reg .b64 %rd<4>;
    ld.param.u32 %r1, [last];
    ld.param.u64 %rd1, [out];
    mov.u32 %r2, %tid.x;
    shl.b32 %r3, %r2, 2;
    mov.u32 %r4, room;
    add.u32 %r5, %r4, %r1;
    sub.u32 %r5, %r5, %r3;
    st.shared.u32 [%r5], %r2;
    bar.sync 0;
    sub.u32 %r6, %r1, 124;
    add.u32 %r6, %r6, %r4;
    add.u32 %r6, %r6, %r3;
    ld.shared.u32 %r7, [%r6];
    mul.wide.u32 %rd2, %r2, 4;
    add.u64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r7;
    ret;
}
";

#[test]
fn more_shared_memory_than_a_block_gets_unasked() {
    const BYTES: u32 = 60 * 1024;
    let mut bench = Bench::new(SHARED, "backwards").arg(u32_arg(BYTES - 4)).buffer(vec![0; 128]);
    bench.shared = BYTES;
    let expected: Vec<u32> = (0..32).rev().collect();
    assert_eq!(outputs_everywhere(&bench, bench.program()), [bytes_of_u32(&expected)]);
}

#[test]
fn limits_hold_before_anything_runs() {
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bench = saxpy_bench(&[1.0], &[2.0]);
    for mut engine in engines() {
        let cancelled = engine.run(
            bench.load(bench.program()).unwrap(),
            &bench.limits,
            &AtomicBool::new(true),
            &mut |_| {},
        );
        // A launch this short may be over before anybody looks.
        assert!(matches!(cancelled, Err(Fault::Cancelled) | Ok(_)), "{}", engine.label());
        power::check(&mut *engine).unwrap();
    }
    let mut program = bench.program();
    let Step::Launch(launch) = &mut program.phases[0].steps[0] else { panic!("a launch") };
    launch.args[2] = Arg::Buffer(9);
    assert!(matches!(bench.load(program), Err(Fault::Program { .. })));
}

#[test]
fn a_gpu_is_measured_and_named() {
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let found = found();
    if found.devices.is_empty() {
        eprintln!("skipped: CUDA ({})", found.state);
        assert!(found.state.hint().is_some(), "{:?}", found.state);
        return;
    }
    for (_, device) in &found.devices {
        assert_eq!(device.engine, Engine::Cuda);
        let power = device.power;
        let rates = [power.f32_mflops, power.memory_mbps, power.product_mops];
        assert!(rates.iter().all(|rate| *rate > 0), "{device:?}");
        assert!(power.to_device_mbps > 0 && power.from_device_mbps > 0, "{device:?}");
        assert!(device.label().starts_with("CUDA: "), "{device:?}");
        assert_eq!(sheet::beaten(device), None, "no card does more than its maker says");
        let ratios = Sheet::of(&device.model).map(|sheet| sheet.ratios(&power).to_string());
        eprintln!("{device:?}; of the data sheet: {}", ratios.unwrap_or("unknown model".to_owned()));
    }
}

/// Whatever the driver does with it, the next owner of a program's memory finds zeros there: the imitation counts.
#[test]
fn memory_is_cleared_before_it_is_given_back() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let bench = saxpy_bench(&floats(10, 3000), &floats(11, 3000));
    let outputs = outputs_everywhere(&bench, bench.program());
    assert!(outputs[1].iter().any(|byte| *byte != 0), "there is something to clear");
    assert_eq!(imitation_says(b"imitation_residue\0"), 0, "bytes of programs that were left in freed memory");
}

/// A kernel with variables of every lasting kind, and one with none that it could change.
const VARIABLES: [&str; 2] = [
    ".version 7.8\n.target sm_70\n.address_size 64\n.global .align 4 .u32 blank[3];\n\
    .global .align 4 .u32 given[2] = {5, 6};\n.const .align 8 .u64 at[2] = {7, generic(given)};\n\
    .visible .entry keeps(.param .u64 out)\n{\n.global .align 1 .b8 inner[5] = {1, 2};\n\
    .reg .b32 %a, %b; .reg .b64 %d;\nld.const.u64 %d, [at+8]; ld.u32 %a, [%d+4]; ld.global.u8 %b, [inner+1];\n\
    add.u32 %a, %a, %b; st.global.u32 [blank+8], %a; st.global.u8 [inner+4], %a;\n\
    ld.param.u64 %d, [out]; st.global.u32 [%d], %a; ret;\n}\n",
    ".version 7.8\n.target sm_70\n.address_size 64\n.const .align 4 .u32 table[3] = {7, 8, 9};\n\
    .visible .entry keeps(.param .u64 out)\n{\n.reg .b32 %a; .reg .b64 %d;\n\
    ld.const.u32 %a, [table+4]; ld.param.u64 %d, [out]; st.global.u32 [%d], %a; ret;\n}\n",
];

/// Likewise what is in a module's variables, and what was made ready for a run that never came, whenever the device is let go.
#[test]
fn variables_and_what_never_ran_are_cleared_before_they_are_given_back() {
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for text in VARIABLES {
        let bench = Bench::new(text, "keeps").grid([1; 3], [1; 3]).buffer(bytes_of_u32(&[1, 2, 3]));
        let load = || bench.load(bench.program()).unwrap();
        for mut engine in engines() {
            for _ in 0..2 {
                assert_eq!(*outputs_of(&mut *engine, load(), &bench)[0].bytes, bytes_of_u32(&[8, 2, 3]));
            }
            engine.prepare(&mut load(), &bench.limits, true).unwrap();
        }
        if env::var_os(INSIDE).is_some() {
            assert_eq!(imitation_says(b"imitation_residue\0"), 0, "bytes that were left on the device");
        }
    }
}

/// A kernel that counts its launches in a variable of its module.
const COUNTS: &str = ".version 7.8\n.target sm_70\n.address_size 64\n.global .align 4 .u32 launches;\n\
    .visible .entry counts(.param .u64 out)\n{\n.reg .b32 %a; .reg .b64 %d;\n\
    ld.global.u32 %a, [launches]; add.u32 %a, %a, 1; st.global.u32 [launches], %a;\n\
    ld.param.u64 %d, [out]; st.global.u32 [%d], %a; ret;\n}\n";

/// A module is compiled once for all jobs of a worker, unless it has variables: each job finds those as they were written.
#[test]
fn modules_are_kept_for_the_next_job_and_their_variables_are_not() {
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let plain = saxpy_bench(&floats(14, 100), &floats(15, 100));
    let counting = Bench::new(COUNTS, "counts").grid([1; 3], [1; 3]).buffer(vec![0; 4]);
    for mut engine in engines() {
        for (bench, compiled_once) in [(&plain, true), (&counting, false)] {
            let mut run = || {
                let loaded = bench.load(bench.program()).unwrap();
                engine.run(loaded, &bench.limits, &AtomicBool::new(false), &mut |_| {}).unwrap().outputs
            };
            let first = run();
            let before = env::var_os(INSIDE).map(|_| imitation_says(b"imitation_compiled\0"));
            let outputs = [run(), run()];
            assert!(
                outputs.iter().all(|found| *found == first),
                "each job is the first of its module's variables"
            );
            if let (Some(before), Engine::Cuda) = (before, engine.engine()) {
                let compiled = imitation_says(b"imitation_compiled\0") - before;
                assert_eq!(compiled, if compiled_once { 0 } else { 2 });
            }
        }
    }
}

/// A kernel that adds to what it is given; on the imitation it ends only once a copy has ended that was queued after it.
const MEETS: &str = ".version 7.8\n.target sm_70\n.address_size 64\n\
    .visible .entry meets(.param .u64 x)\n{\n.reg .b32 %a; .reg .b64 %d;\n\
    ld.param.u64 %d, [x]; ld.global.u32 %a, [%d]; add.u32 %a, %a, 1; st.global.u32 [%d], %a; ret;\n}\n";

/// Two buffers, each with one launch of that kernel or its like, in turn.
fn two_that_meet(last: u32) -> (Bench, Program) {
    let mut bench = Bench::new(MEETS, "meets").grid([1; 3], [1; 3]);
    bench.limits.run = Millis(20_000);
    bench.text += &MEETS[MEETS.find(".visible").unwrap()..].replace("meets", "plain");
    bench.buffers = vec![bytes_of_u32(&[10]), bytes_of_u32(&[last])];
    bench.args = vec![Arg::Buffer(0)];
    let mut program = bench.program();
    let Step::Launch(first) = program.phases[0].steps[0].clone() else { panic!("a launch") };
    program.phases[0].steps.push(Step::Launch(Launch { args: vec![Arg::Buffer(1)], ..first }));
    (bench, program)
}

/// What a later launch needs is copied in while an earlier one runs, and what an earlier one made is copied out while the last
/// one does: else the kernel that waits for a copy beside it would not end in time.
#[test]
fn copies_go_beside_the_kernels() {
    for waits in [0, 1] {
        let (bench, mut program) = two_that_meet(20);
        let Step::Launch(other) = &mut program.phases[0].steps[1 - waits] else { panic!("a launch") };
        other.kernel = "plain".into();
        assert_eq!(outputs_everywhere(&bench, program), [bytes_of_u32(&[11]), bytes_of_u32(&[21])]);
    }
}

/// A program is brought to the device while another one's kernel runs there, which ends only with that; and it takes nothing of
/// the device's processors before its own turn: no launch, no clearing.
#[test]
fn the_next_program_is_copied_beside_the_kernel_of_the_one_before() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let computed = || imitation_says(b"imitation_computed\0");
    let (ordinal, _) = found().devices[0];
    let (bench, mut next) = two_that_meet(30);
    let mut first = next.clone();
    first.phases[0].steps.truncate(1);
    first.buffers.truncate(1);
    next.phases[0].steps.remove(0);
    let outputs = std::thread::scope(|scope| {
        let before = computed();
        let running = scope.spawn(|| {
            let mut backend = CudaBackend::open(ordinal).unwrap();
            outputs_of(&mut backend, bench.load(first).unwrap(), &bench)
        });
        let mut backend = CudaBackend::open(ordinal).unwrap();
        // Both were opened with a launch each; the next is the program's.
        while computed() < before + 3 && !running.is_finished() {
            std::thread::yield_now();
        }
        backend.prepare(&mut bench.load(next.clone()).unwrap(), &bench.limits, true).unwrap();
        running.join().unwrap()
    });
    assert_eq!(*outputs[0].bytes, bytes_of_u32(&[11]));
    let mut backend = CudaBackend::open(ordinal).unwrap();
    let before = computed();
    backend.prepare(&mut bench.load(next).unwrap(), &bench.limits, true).unwrap();
    assert_eq!(computed(), before);
}

/// A kernel that leaves an address in memory, and one that finds it there and writes to it, late.
const LEAVES: &str = ".version 7.8\n.target sm_70\n.address_size 64\n\
    .visible .entry leaves(.param .u64 x, .param .u64 y)\n{\n.reg .b64 %d, %e;\n\
    ld.param.u64 %d, [x]; ld.param.u64 %e, [y]; st.global.u64 [%d], %e; ret;\n}\n\
    .visible .entry finds(.param .u64 x)\n{\n.reg .b32 %n; .reg .b64 %d; .reg .pred %p;\n\
    mov.u32 %n, 0;\nAGAIN: add.u32 %n, %n, 1; setp.lt.u32 %p, %n, 100000; @%p bra AGAIN;\n\
    ld.param.u64 %d, [x]; ld.global.u64 %d, [%d]; st.global.u32 [%d], %n; ret;\n}\n";

/// A buffer is read back once the last launch is over that may write it, be it given to that launch or not.
#[test]
fn what_is_written_through_an_address_from_memory_is_delivered() {
    let bench = Bench::new(LEAVES, "leaves").grid([1; 3], [1; 3]).buffer(vec![0; 8]).buffer(vec![0; 4]);
    let mut program = bench.program();
    let Step::Launch(first) = program.phases[0].steps[0].clone() else { panic!("a launch") };
    let args = vec![Arg::Buffer(0)];
    program.phases[0].steps.push(Step::Launch(Launch { kernel: "finds".into(), args, ..first }));
    program.buffers[0].output = false;
    assert_eq!(outputs_everywhere(&bench, program), [bytes_of_u32(&[100_000])]);
}

/// What begins with zeros has them, whatever was there before.
#[test]
fn memory_is_cleared_before_a_kernel_sees_it() {
    let bench = Bench::new(COUNTS, "counts").grid([1; 3], [1; 3]).buffer(vec![0; 4096]);
    let mut program = bench.program();
    program.buffers[0].init = Init::Zero;
    let out = u32s(&outputs_everywhere(&bench, program)[0]);
    assert_eq!((out[0], out[1..].iter().max()), (1, Some(&0)));
}

/// What is done for a program before its turn is not done in it, and changes nothing of what comes out.
#[test]
fn a_program_is_prepared_before_its_turn() {
    let _alone = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut bench = saxpy_bench(&floats(16, 300), &floats(17, 300));
    bench.args[1] = f32_arg(1.5);
    let mut program = bench.program();
    program.phases[0].steps.insert(0, Step::Swap { a: 0, b: 1 });
    let expected = outputs_of(&mut CpuBackend::default(), bench.load(program.clone()).unwrap(), &bench);
    for mut engine in engines() {
        for fill in [false, true, true] {
            let mut loaded = bench.load(program.clone()).unwrap();
            engine.prepare(&mut loaded, &bench.limits, fill).unwrap();
            let before = env::var_os(INSIDE).map(|_| imitation_says(b"imitation_compiled\0"));
            assert_eq!(outputs_of(&mut *engine, loaded, &bench), expected, "{}", engine.label());
            let after = env::var_os(INSIDE).map(|_| imitation_says(b"imitation_compiled\0"));
            assert_eq!(before, after, "nothing was left to compile");
        }
        // What was prepared for one program is nothing of the next.
        let plain = saxpy_bench(&floats(18, 300), &floats(19, 300));
        let outputs = outputs_of(&mut *engine, plain.load(plain.program()).unwrap(), &plain);
        let right = outputs_of(&mut CpuBackend::default(), plain.load(plain.program()).unwrap(), &plain);
        assert_eq!(outputs, right);
    }
}

fn outputs_of(engine: &mut dyn Backend, loaded: LoadedProgram, bench: &Bench) -> Vec<Output> {
    engine.run(loaded, &bench.limits, &AtomicBool::new(false), &mut |_| {}).unwrap().outputs
}

/// A number that the imitation counts.
fn imitation_says(what: &[u8]) -> u64 {
    // SAFETY: the library is loaded already; the call takes nothing and gives a number.
    unsafe {
        let library = libloading::Library::new("libcuda.so").unwrap();
        library.get::<extern "C" fn() -> u64>(what).unwrap()()
    }
}

/// Rounds that are queued as graphs give what they give one by one, and each launch its time.
#[test]
fn many_short_rounds_are_one_graph_each_and_give_the_same() {
    const TIMES: u32 = 1001;
    let (mut x, mut y) = (floats(12, 60), floats(13, 60));
    let mut bench = saxpy_bench(&x, &y);
    bench.args[1] = f32_arg(-0.5);
    let mut program = bench.program();
    let steps = vec![program.phases[0].steps[0].clone(), Step::Swap { a: 0, b: 1 }];
    program.phases = vec![Phase { times: TIMES, steps }];
    let out = outputs_everywhere(&bench, program);
    for _ in 0..TIMES {
        (0..x.len()).for_each(|n| y[n] = (-0.5f32).mul_add(x[n], y[n]));
        std::mem::swap(&mut x, &mut y);
    }
    assert_eq!(out, [bytes_of_f32(&x), bytes_of_f32(&y)]);
    if let Some(settings) = env::var_os(INSIDE) {
        let graphs = imitation_says(b"imitation_graphs\0");
        assert_eq!(graphs > 0, settings != "graphs=0", "{graphs} graphs with {settings:?}");
    }
}

/// Copies go in pieces through pinned memory beside the kernels: what is more than all pieces, what ends within one, what a
/// later launch needs, what no launch needs, and what nobody wants back.
#[test]
fn what_is_copied_beside_the_kernels_arrives() {
    let sizes = [(9 << 20) + 4, (17 << 20) + 12, 1024, 4096];
    let content = |n: usize| {
        (0..sizes[n] / 4).flat_map(|i| (i as u32 * 7 + n as u32).to_le_bytes()).collect::<Vec<u8>>()
    };
    let mut bench =
        Bench::new(SAXPY, "saxpy").grid([1, 1, 1], [256, 1, 1]).arg(u32_arg(256)).arg(f32_arg(1.0));
    (0..4).for_each(|n| bench.buffers.push(content(n)));
    let mut program = bench.program();
    let Step::Launch(first) = program.phases[0].steps.remove(0) else { panic!("a launch") };
    let with = |x, y| {
        let args = [&first.args[..], &[Arg::Buffer(x), Arg::Buffer(y)]].concat();
        Step::Launch(Launch { args, ..first.clone() })
    };
    // The second is long, the third named by no launch, the fourth not delivered.
    program.phases[0].steps = vec![with(3, 0), with(0, 1)];
    program.buffers[3].output = false;
    let out = outputs_everywhere(&bench, program);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| f32s(&content(n)));
    let sum = |x: &[f32], y: &[f32]| -> Vec<f32> {
        y.iter().enumerate().map(|(n, y)| if n < 256 { 1.0f32.mul_add(x[n], *y) } else { *y }).collect()
    };
    let a = sum(&d, &a);
    let b = sum(&a, &b);
    let bytes = [bytes_of_f32(&a), bytes_of_f32(&b), bytes_of_f32(&c)];
    assert!(out == bytes, "bytes got lost on the way");
}

/// A device whose first kernel never ends is said to be such, rather than waited for.
#[test]
fn a_device_that_never_ends_its_first_kernel_is_left_out() {
    if let Some(settings) = env::var_os(INSIDE) {
        if settings == "stuck" {
            let (tell, told) = mpsc::channel();
            thread::spawn(move || tell.send(survey(&[]).state.to_string()));
            let found = told.recv_timeout(Duration::from_secs(60)).expect("it ends");
            assert!(found.contains("an empty kernel did not end"), "{found}");
        }
        return;
    }
    inside("a_device_that_never_ends_its_first_kernel_is_left_out", "stuck", "at=warm:0");
}

/// Everything above once more, in a child that finds the imitation where the driver would be.
#[test]
fn on_an_imitation_of_the_driver() {
    if env::var_os(INSIDE).is_some() {
        let found = found();
        let names: Vec<&str> = found.devices.iter().map(|(_, device)| &device.model[..]).collect();
        assert_eq!(names, ["imitation"], "{}", found.state);
        return;
    }
    inside("", "", "meet=meets");
}

/// Runs the tests of that name in a child that finds the imitation where the driver would be.
fn inside(name: &str, how: &str, settings: &str) {
    let folder = tempfile::tempdir().unwrap();
    cuda_imitation::install(folder.path()).unwrap();
    let inside = Command::new(env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads", "1", name])
        .env(INSIDE, how)
        .env(cuda_imitation::VARIABLE, settings)
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .unwrap();
    let said =
        [inside.stdout, inside.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(inside.status.success() && !said.contains("skipped:"), "{said}");
}
