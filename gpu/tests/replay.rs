//! Block replay: true deliveries pass, false ones are caught as often as they must be, and nobody is accused where
//! running blocks alone means nothing.

mod cpu_bench;

use cpu_bench::{Bench, LIMITS, by_value, bytes_of_f32, bytes_of_u32, f32_arg, u32_arg, u32s, u64_arg};
use ion_gpu::{
    backend::{Backend, RunLimits},
    cpu::CpuBackend,
    replay::{Origin, replay},
};
use ion_protocol::{
    Bytes, Millis,
    check::{Difference, Finding},
    fault::Fault,
    job::{Phase, Program, Step},
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

const MATMUL: &str = include_str!("../kernels/matmul.ptx");
const SAXPY: &str = include_str!("../kernels/saxpy.ptx");
const HISTOGRAM: &str = include_str!("../kernels/histogram.ptx");
const HOSTILE: &str = include_str!("../kernels/hostile.ptx");

/// Everything delivered by an honest provider, by buffer; empty where it is no output.
fn honest(bench: &Bench, program: &Program) -> Vec<Vec<u8>> {
    let report = bench.run_program(program.clone()).unwrap();
    let mut delivered = vec![Vec::new(); program.buffers.len()];
    report
        .outputs
        .into_iter()
        .for_each(|output| delivered[usize::from(output.buffer)] = output.bytes.to_vec());
    delivered
}

fn ask(
    bench: &Bench,
    program: &Program,
    delivered: &[Vec<u8>],
    blocks: &[u64],
    limits: &RunLimits,
) -> Result<Finding, Fault> {
    let loaded = bench.load(program.clone())?;
    let mut read = |origin, from: u64, into: &mut [u8]| {
        let all: &[u8] = match origin {
            Origin::Input(buffer) => &bench.buffers[usize::from(buffer)],
            Origin::Output(buffer) => &delivered[usize::from(buffer)],
            Origin::States => panic!("there are none"),
        };
        into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
        Ok(())
    };
    replay(&loaded, blocks, limits, &AtomicBool::new(false), &mut read)
}

fn found(bench: &Bench, program: &Program, delivered: &[Vec<u8>], blocks: &[u64]) -> Finding {
    ask(bench, program, delivered, blocks, &LIMITS).unwrap()
}

fn why(finding: Finding) -> String {
    match finding {
        Finding::NotCheckable { why } => why,
        other => panic!("expected that it is not checkable, found {other:?}"),
    }
}

/// A kernel of `body` over 8 blocks of 32 threads with the buffers `x` (256 words) and `y` (256 words of zeros); `%i` is the
/// thread's number, `%x` and `%y` are the addresses of its words, `%b` the block.
fn small(body: &str) -> (Bench, Program) {
    let text = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.global .align 4 .u32 g[4];\n\
         .visible .entry k(.param .u64 px, .param .u64 py)\n{{\n\
         .reg .b64 %x, %y, %x0, %y0, %at; .reg .b32 %i, %b, %t, %u, %v; .reg .pred %p; .reg .f32 %f;\n\
         mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mad.lo.u32 %i, %b, 32, %t;\n\
         ld.param.u64 %x0, [px]; ld.param.u64 %y0, [py];\n\
         mad.wide.u32 %x, %i, 4, %x0; mad.wide.u32 %y, %i, 4, %y0;\n{body}\nret;\n}}\n"
    );
    let x: Vec<u32> = (0..256).map(|n| n * 7 + 1).collect();
    let bench = Bench::new(&text, "k").grid([8, 1, 1], [32, 1, 1]);
    let bench = bench.buffer(bytes_of_u32(&x)).buffer(vec![0; 1024]);
    let mut program = bench.program();
    program.buffers[0].output = false;
    (bench, program)
}

fn matmul(n: u32) -> (Bench, Program) {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut floats = || bytes_of_f32(&(0..n * n).map(|_| rng.f32() - 0.5).collect::<Vec<_>>());
    let (a, b) = (floats(), floats());
    let bench = Bench::new(MATMUL, "matmul").grid([n / 16, n / 16, 1], [16, 16, 1]);
    let bench = bench.arg(u32_arg(n)).buffer(a).buffer(b).buffer(vec![0; (n * n * 4) as usize]);
    let mut program = bench.program();
    (program.buffers[0].output, program.buffers[1].output) = (false, false);
    (bench, program)
}

#[test]
fn a_true_delivery_is_equal_in_what_the_blocks_wrote() {
    let (bench, program) = matmul(64);
    let delivered = honest(&bench, &program);
    assert_eq!(found(&bench, &program, &delivered, &[0, 5, 15]), Finding::Equal { bytes: Bytes(3 * 1024) });
    // In place: what a block reads and then writes itself is its own.
    let n = 1000;
    let (x, y) = (vec![1.5f32; n], vec![0.25f32; n]);
    let bench =
        Bench::new(SAXPY, "saxpy").grid([4, 1, 1], [256, 1, 1]).arg(u32_arg(n as u32)).arg(f32_arg(2.0));
    let bench = bench.buffer(bytes_of_f32(&x)).buffer(bytes_of_f32(&y));
    let program = bench.program();
    let delivered = honest(&bench, &program);
    let all = Finding::Equal { bytes: Bytes(8 * n as u64) };
    assert_eq!(found(&bench, &program, &delivered, &[0, 1, 2, 3]), all, "x is an output that nobody changes");
}

/// A buffer whose address is a field of a struct is written like any other.
#[test]
fn what_is_written_through_a_struct_is_checked() {
    let bench = by_value(&[1.5; 256], 0);
    let mut program = bench.program();
    program.buffers[0].output = false;
    let mut delivered = honest(&bench, &program);
    assert_eq!(found(&bench, &program, &delivered, &[1, 3]), Finding::Equal { bytes: Bytes(2 * 256) });
    delivered[1][300] ^= 1;
    assert!(matches!(
        found(&bench, &program, &delivered, &[1]),
        Finding::Differs(Difference { offset: 300, .. })
    ));
}

#[test]
fn a_wrong_byte_is_named() {
    let (bench, program) = matmul(64);
    let mut delivered = honest(&bench, &program);
    let expected = delivered[2][64 * 4 * 17 + 4 * 33 + 2];
    delivered[2][64 * 4 * 17 + 4 * 33 + 2] ^= 1;
    let (kernel, buffer) = ("matmul".to_owned(), "b2".to_owned());
    let (block, offset) = (Some([2, 1, 0]), 64 * 4 * 17 + 4 * 33 + 2);
    let difference = Difference { launch: 0, kernel, block, buffer, offset, expected, found: expected ^ 1 };
    assert_eq!(found(&bench, &program, &delivered, &[1, 6, 9]), Finding::Differs(difference.clone()));
    assert_eq!(
        difference.to_string(),
        format!(
            "block 2,1,0 of kernel `matmul` gave {expected:#04x} at byte {offset} of `b2` in launch 0, where {:#04x} was signed for",
            expected ^ 1
        )
    );
    // The others know nothing of it.
    assert!(matches!(found(&bench, &program, &delivered, &[0, 1, 15]), Finding::Equal { .. }));
}

/// What every device has of its own accuses nobody; what is false beside it is found.
#[test]
fn nobody_is_accused_of_a_devices_own_bits() {
    let pointers = "setp.ge.u32 %p, %i, 128; @%p ret; mad.wide.u32 %at, %i, 8, %y0; st.global.u64 [%at], %x;";
    let (bench, program) = small(pointers);
    let mut delivered = honest(&bench, &program);
    assert!(matches!(found(&bench, &program, &delivered, &[1, 2]), Finding::Equal { .. }));
    // A card has its buffers elsewhere.
    delivered[1].chunks_exact_mut(8).for_each(|word| word[5] ^= 0x40);
    assert!(why(found(&bench, &program, &delivered, &[1, 2])).contains("may write addresses"));
    let (bench, program) = small(
        ".reg .f64 %g; and.b32 %u, %i, 1; shr.u32 %v, %i, 1; mad.wide.u32 %at, %v, 8, %y0; setp.eq.u32 %p, %u, 1;\n\
         @%p ret; and.b32 %u, %i, 2; setp.eq.u32 %p, %u, 0; mov.f64 %g, 0d7FF0000000000000; sub.rn.f64 %g, %g, %g;\n\
         selp.f64 %g, %g, 0d3FF0000000000000, %p; st.global.f64 [%at], %g;",
    );
    let mut delivered = honest(&bench, &program);
    assert!(matches!(found(&bench, &program, &delivered, &[1, 2]), Finding::Equal { .. }));
    for word in delivered[1].chunks_exact_mut(16) {
        let [.., sign, _, _, _, _, _, _, _, _] = word else { panic!("two numbers") };
        // The NaN that NVIDIA's headers have.
        *sign ^= 0x80;
    }
    assert!(why(found(&bench, &program, &delivered, &[1, 2])).contains("NaNs of f64"));
    delivered[1][256 + 8] ^= 1;
    assert!(matches!(
        found(&bench, &program, &delivered, &[2]),
        Finding::Differs(Difference { offset: 264, .. })
    ));
    // What is narrower than an address is none, wherever addresses were kept besides.
    let spilled = ".local .align 8 .b8 spill[16]; st.local.u64 [spill], %y; st.local.u32 [spill+8], %i; ld.local.u64 %y, [spill];\n\
                   ld.local.u32 %v, [spill+8]; st.global.u32 [%y], %v;";
    let (bench, program) = small(spilled);
    let mut delivered = honest(&bench, &program);
    assert!(matches!(found(&bench, &program, &delivered, &[1]), Finding::Equal { .. }));
    delivered[1][128] ^= 1;
    assert!(matches!(found(&bench, &program, &delivered, &[1]), Finding::Differs(_)));
    // Where nothing is a number of f64, bits are bits.
    let (bench, program) = small("mov.b32 %v, -5; st.global.u32 [%y], %v;");
    let mut delivered = honest(&bench, &program);
    delivered[1][128] ^= 1;
    assert!(matches!(found(&bench, &program, &delivered, &[1]), Finding::Differs(_)));
}

#[test]
fn only_what_is_touched_is_read() {
    let (bench, program) = matmul(512);
    let loaded = bench.load(program.clone()).unwrap();
    let asked = AtomicUsize::new(0);
    let mut read = |_, _, into: &mut [u8]| {
        asked.fetch_add(into.len(), Relaxed);
        Ok(())
    };
    let limits = RunLimits { memory: Bytes(8 << 20), ..LIMITS };
    let finding = replay(&loaded, &[3], &limits, &AtomicBool::new(false), &mut read).unwrap();
    assert_eq!(finding, Finding::Equal { bytes: Bytes(1024) }, "zeros times zeros are zeros");
    // One block of rows of the first matrix, all rows of the second, and of what was delivered a block of rows.
    let asked = asked.load(Relaxed);
    assert!(asked <= (1 << 20) + 4 * (64 << 10), "{asked} bytes");
    let limits = RunLimits { memory: Bytes(1 << 20), ..LIMITS };
    let found = replay(&loaded, &[3], &limits, &AtomicBool::new(false), &mut read);
    assert!(matches!(found, Err(Fault::Memory { .. })), "{found:?}");
}

/// What was found, and all that was read for it.
type Asked = (Finding, BTreeSet<(bool, u64, usize)>);

fn asked(bench: &Bench, program: &Program, delivered: &[Vec<u8>], blocks: &[u64]) -> Asked {
    let loaded = bench.load(program.clone()).unwrap();
    let mut asked = BTreeSet::new();
    let mut read = |origin, from: u64, into: &mut [u8]| {
        asked.insert((matches!(origin, Origin::Output(_)), from, into.len()));
        let all = match origin {
            Origin::Input(buffer) => &bench.buffers[usize::from(buffer)],
            Origin::Output(buffer) => &delivered[usize::from(buffer)],
            Origin::States => panic!("there are none"),
        };
        into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
        Ok(())
    };
    let found = replay(&loaded, blocks, &LIMITS, &AtomicBool::new(false), &mut read).unwrap();
    (found, asked)
}

/// Where a kernel was translated before, its blocks are run again as machine code. What is found is the same, of true and
/// of false deliveries, and so is what is read for it.
#[test]
fn machine_code_is_watched_as_the_interpreter_is() {
    let pages = 6 << 12;
    let bodies = [
        "ld.global.u32 %v, [%x]; add.u32 %v, %v, %i; st.global.u32 [%y], %v;",
        "ld.global.u32 %v, [%y]; mad.lo.u32 %v, %v, 3, %i; st.global.u32 [%y], %v; ld.global.u32 %u, [%y]; st.global.u32 [%y], %u;",
        "st.global.u32 [%y], %i; sub.u32 %t, %i, 32; mad.wide.u32 %at, %t, 4, %y0; setp.lt.u32 %p, %i, 32;\n\
         @%p ret; ld.global.u32 %v, [%at]; add.u32 %v, %v, 1; st.global.u32 [%y], %v;",
        "ld.global.u32 %v, [%y0]; st.global.u32 [%y], %v;",
        "ld.global.u32 %v, [%y0+1020]; ld.global.u32 %u, [%x0+70000]; add.u32 %v, %v, %u; st.global.u32 [%y], %v;",
        "st.global.u32 [g], %i; ld.global.u32 %v, [g+4]; st.global.u32 [%y], %v;",
        "ld.global.u32 %v, [%x]; and.b32 %v, %v, 4095; mad.wide.u32 %at, %v, 20, %x0; ld.global.u32 %v, [%at]; st.global.u32 [%y], %v;",
        "st.global.u32 [%y], %b; setp.lt.u32 %p, %i, 255; @%p st.global.u32 [%y+4], %b;",
        "st.global.u32 [%y0], %b;",
        "ld.global.u32 %v, [%y]; ld.global.u32 %u, [%y0+1020]; add.u32 %v, %v, %u; add.u32 %v, %v, 1; st.global.u32 [%y], %v;",
        "mov.u32 %v, 0; mov.u32 %u, %i;\nL: mad.wide.u32 %at, %u, 4, %x0; ld.global.u32 %t, [%at]; add.u32 %v, %v, %t;\n\
         add.u32 %u, %u, 1500; setp.lt.u32 %p, %u, 24000; @%p bra L; st.global.u32 [%y], %v;",
        "mad.wide.u32 %at, %t, 4, %x0; ld.global.v2.u32 {%v, %u}, [%x0+16376]; ld.global.u32 %t, [%at+16320];\n\
         add.u32 %v, %v, %u; add.u32 %v, %v, %t; st.global.u32 [%y], %v;",
        "mad.wide.u32 %at, %t, 4, %x0; ld.global.u32 %v, [%at+98200]; st.global.u32 [%y], %v;",
        "ld.global.u8 %v, [%y+1]; st.global.u8 [%y+2], %v; ld.global.u16 %v, [%y+2]; st.global.u32 [%y], %v;",
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let (mut bench, _) = small(body);
        // A name of its own, so that nobody else has had it translated.
        bench.kernel = format!("watched_{n}");
        bench.text = bench.text.replace("entry k(", &format!("entry {}(", bench.kernel));
        bench.buffers[0] =
            (0..pages).flat_map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut program = bench.program();
        program.buffers[0].output = false;
        let ran = CpuBackend::with_cores(1).interpreting().run(
            bench.load(program.clone()).unwrap(),
            &LIMITS,
            &AtomicBool::new(false),
            &mut |_| {},
        );
        let truth = ran.map_or(vec![7; 1024], |report| report.outputs[0].bytes.to_vec());
        let mut lie = truth.clone();
        lie[3 * 128 + 9] ^= 4;
        let cases = [truth, lie].map(|delivered| [Vec::new(), delivered]);
        let all = || {
            let of = |delivered| {
                [&[3][..], &[0, 7], &[2, 3, 4]].map(|blocks| asked(&bench, &program, delivered, blocks))
            };
            [of(&cases[0]), of(&cases[1])]
        };
        let interpreted = all();
        let _ = CpuBackend::with_cores(1).translating_at_once().run(
            bench.load(program.clone()).unwrap(),
            &LIMITS,
            &AtomicBool::new(false),
            &mut |_| {},
        );
        assert_eq!(all(), interpreted, "{body}");
    }
}

/// The share of falsified deliveries that are caught is 1 - (1 - share)^s, within three standard deviations.
#[test]
fn the_catch_rate_is_what_it_must_be() {
    const TRIALS: u32 = 600;
    // Always the same: three deviations are left by chance alone once in 370 times.
    let seed = 4;
    let mut rng = fastrand::Rng::with_seed(seed);
    let body = "ld.global.u32 %v, [%x]; mad.lo.u32 %v, %v, %v, %i; st.global.u32 [%y], %v;";
    let (mut bench, _) = small(body);
    let blocks = 64u64;
    bench.grid = [blocks as u32, 1, 1];
    bench.buffers = vec![
        (0..blocks * 32).flat_map(|n| (n as u32).to_le_bytes()).collect(),
        vec![0; blocks as usize * 128],
    ];
    let mut program = bench.program();
    program.buffers[0].output = false;
    let truth = honest(&bench, &program);
    for (share, samples) in [(0.05, 1), (0.1, 4), (0.5, 1), (0.5, 4), (1.0, 1), (0.02, 16)] {
        let mut caught = 0;
        for _ in 0..TRIALS {
            let mut delivered = truth.clone();
            for block in 0..blocks as usize {
                if rng.f64() < share {
                    delivered[1][block * 128 + rng.usize(0..128)] ^= 1 << rng.u8(0..8);
                }
            }
            let mut all: Vec<u64> = (0..blocks).collect();
            rng.shuffle(&mut all);
            match found(&bench, &program, &delivered, &all[..samples]) {
                Finding::Differs(_) => caught += 1,
                Finding::Equal { bytes } => assert_eq!(bytes, Bytes(samples as u64 * 128)),
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        let expected = 1.0 - (1.0 - share).powi(samples as i32);
        let deviation = (expected * (1.0 - expected) / f64::from(TRIALS)).sqrt();
        let rate = f64::from(caught) / f64::from(TRIALS);
        eprintln!("share {share}, {samples} blocks: caught {rate:.3}, expected {expected:.3} (seed {seed})");
        assert!(
            (rate - expected).abs() <= 3.0 * deviation + 1e-9,
            "share {share}, {samples} blocks, seed {seed}"
        );
    }
}

#[test]
fn what_another_block_wrote_is_told_and_nobody_is_accused() {
    // Each block reads what the block before it wrote, in whatever order that was on the device.
    let body = "st.global.u32 [%y], %i; sub.u32 %t, %i, 32; mad.wide.u32 %at, %t, 4, %y0; setp.lt.u32 %p, %i, 32;\n\
                @%p ret; ld.global.u32 %v, [%at]; add.u32 %v, %v, 1; st.global.u32 [%y], %v;";
    let (bench, program) = small(body);
    let delivered = honest(&bench, &program);
    let reason = why(found(&bench, &program, &delivered, &[5]));
    assert_eq!(reason, "kernel `k` reads byte 512 of `b1`, which another block wrote, by what was delivered");
    // What is near to what the block reads of its own is another's all the same.
    let body = "ld.global.u32 %v, [%y]; ld.global.u32 %u, [%y0+1020]; add.u32 %v, %v, %i; add.u32 %v, %v, %u;\n\
                st.global.u32 [%y], %v;";
    let (near, own) = small(body);
    let reason = why(found(&near, &own, &honest(&near, &own), &[2]));
    assert_eq!(
        reason,
        "kernel `k` reads byte 1020 of `b1`, which another block wrote, by what was delivered"
    );
    // The same through scratch that is not delivered.
    let mut scratch = program.clone();
    (scratch.buffers[0].output, scratch.buffers[1].output) = (true, false);
    let delivered = honest(&bench, &scratch);
    let reason = why(found(&bench, &scratch, &delivered, &[5]));
    assert_eq!(reason, "kernel `k` reads byte 512 of `b1`, which another block may write");
    // And through a variable of the module.
    let (bench, program) = small("st.global.u32 [g], %i; ld.global.u32 %v, [g+4]; st.global.u32 [%y], %v;");
    let delivered = honest(&bench, &program);
    let reason = why(found(&bench, &program, &delivered, &[5]));
    assert_eq!(reason, "kernel `k` reads byte 4 of a variable of the module, which another block may write");
}

#[test]
fn blocks_that_write_to_one_place_are_not_checkable() {
    let (bench, program) = small("st.global.u32 [%y0], %b;");
    let mut delivered = honest(&bench, &program);
    delivered[1][0] = 3;
    // Two chosen ones meet; one alone differs, and its neighbours show why that means nothing.
    for blocks in [&[3, 5][..], &[5], &[0]] {
        let reason = why(found(&bench, &program, &delivered, blocks));
        assert_eq!(reason, "blocks of kernel `k` share byte 0 of `b1`, and one writes it", "{blocks:?}");
    }
    // A halo: every block writes one word of its neighbour's.
    let (bench, program) =
        small("st.global.u32 [%y], %b; setp.lt.u32 %p, %i, 255; @%p st.global.u32 [%y+4], %b;");
    let mut delivered = honest(&bench, &program);
    delivered[1][4 * 32..4 * 33].fill(0);
    let reason = why(found(&bench, &program, &delivered, &[1]));
    assert!(reason.starts_with("blocks of kernel `k` share byte"), "{reason}");
}

#[test]
fn kernels_that_are_not_exact_are_not_checkable() {
    for (body, expected) in [
        ("red.global.add.u32 [%y0], 1;", "blocks meet in integer atomics"),
        ("ex2.approx.f32 %f, 0f3F800000; st.global.f32 [%y], %f;", "approximate: `ex2`"),
        ("mov.u32 %v, %clock; st.global.u32 [%y], %v;", "it reads a clock"),
        ("ld.volatile.global.u32 %v, [%x]; st.global.u32 [%y], %v;", "it waits for what other blocks write"),
    ] {
        let (bench, program) = small(body);
        let delivered = vec![Vec::new(), vec![0; 1024]];
        let reason = why(found(&bench, &program, &delivered, &[1]));
        assert!(reason.starts_with("kernel `k`: ") && reason.contains(expected), "{reason}");
    }
}

/// Two launches and swaps: the first is run whole, the last block by block, and outputs are found under their names.
#[test]
fn launches_before_the_last_are_run_whole() {
    let (bench, mut program) =
        small("ld.global.u32 %v, [%x]; mad.lo.u32 %v, %v, 3, %i; st.global.u32 [%y], %v;");
    let launch = program.phases[0].steps[0].clone();
    program.phases = vec![Phase { times: 4, steps: vec![launch, Step::Swap { a: 0, b: 1 }] }];
    (program.buffers[0].output, program.buffers[1].output) = (true, true);
    let delivered = honest(&bench, &program);
    let good = found(&bench, &program, &delivered, &[2, 7]);
    // Two blocks of the last launch, and all that the third launch gave: the fourth only reads it.
    assert_eq!(good, Finding::Equal { bytes: Bytes(2 * 128 + 1024) });
    let mut wrong = delivered.clone();
    wrong[0][2 * 128 + 9] ^= 4;
    match found(&bench, &program, &wrong, &[2, 7]) {
        Finding::Differs(d) => {
            assert_eq!((d.block, d.buffer.as_str(), d.offset), (Some([2, 0, 0]), "b0", 265))
        }
        other => panic!("{other:?}"),
    }
    let mut wrong = delivered;
    wrong[1][999] ^= 4;
    match found(&bench, &program, &wrong, &[2, 7]) {
        Finding::Differs(d) => assert_eq!((d.block, d.buffer.as_str(), d.offset), (None, "b1", 999)),
        other => panic!("{other:?}"),
    }
    // A histogram before it: integer sums are the same in any order.
    let data: Vec<u8> = (0..5000u32).map(|n| (n * n % 251) as u8).collect();
    let bench = Bench::new(HISTOGRAM, "histogram").grid([20, 1, 1], [256, 1, 1]);
    let bench = bench.arg(u32_arg(data.len() as u32)).buffer(data).buffer(vec![0; 1024]);
    let program = bench.program();
    assert_eq!(u32s(&honest(&bench, &program)[1]).iter().sum::<u32>(), 5000);
    assert!(why(found(&bench, &program, &honest(&bench, &program), &[1])).contains("integer atomics"));
}

#[test]
fn dear_launches_before_the_last_are_told_and_not_run() {
    let body = "mov.u32 %v, 0;\nL: add.u32 %v, %v, 1; setp.lt.u32 %p, %v, 40000; @%p bra L;\nst.global.u32 [%y], %v;";
    let (mut bench, _) = small(body);
    bench.buffers[1] = vec![0; 128 * 180];
    bench.grid = [180, 1, 1];
    let mut program = bench.program();
    program.phases[0].times = 2;
    let delivered = vec![bench.buffers[0].clone(), Vec::new()];
    let reason = why(found(&bench, &program, &delivered, &[1]));
    assert_eq!(reason, "the 1 launches before the last take more than 20000000 instructions");
}

#[test]
fn faults_here_accuse_nobody_and_bounds_hold() {
    for kernel in ["out_of_bounds", "misaligned", "divergent_barrier"] {
        let mut bench = Bench::new(HOSTILE, kernel).grid([1; 3], [64, 1, 1]);
        if kernel != "divergent_barrier" {
            bench = bench.buffer(vec![0; 64]);
        }
        if kernel == "out_of_bounds" {
            bench = bench.arg(u64_arg(1 << 40));
        }
        let program = bench.program();
        let reason = why(found(&bench, &program, &[vec![0; 64]], &[0]));
        assert!(reason.starts_with("run here it faults: "), "{kernel}: {reason}");
    }
    let bench = Bench::new(HOSTILE, "loop_forever");
    let limits = RunLimits { run: Millis(30), ..LIMITS };
    let found = ask(&bench, &bench.program(), &[], &[0], &limits);
    assert_eq!(found, Err(Fault::RunTime { limit: Millis(30) }));
    // Blocks that there are not, and a source that gives out.
    let (bench, program) = small("ld.global.u32 %v, [%x]; st.global.u32 [%y], %v;");
    let nothing = ask(&bench, &program, &honest(&bench, &program), &[8, u64::MAX], &LIMITS);
    assert_eq!(nothing, Ok(Finding::Equal { bytes: Bytes(0) }));
    let broken = || Fault::Inputs { message: "gone".into() };
    let loaded = bench.load(program).unwrap();
    let found = replay(&loaded, &[0], &LIMITS, &AtomicBool::new(false), &mut |_, _, _| Err(broken()));
    assert_eq!(found, Err(broken()));
}

/// Whatever is delivered and whichever blocks are chosen, nothing panics and only false bytes are called false.
#[test]
fn random_deliveries_never_accuse_the_truth() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let bodies = [
        "ld.global.u32 %v, [%x]; st.global.u32 [%y], %v;",
        "ld.global.u32 %v, [%y]; add.u32 %v, %v, %i; st.global.u32 [%y], %v;",
        "ld.global.u32 %v, [%y0]; add.u32 %v, %v, %i; setp.ne.u32 %p, %i, 0; @%p st.global.u32 [%y], %v;",
        "st.global.u32 [g], %i; st.u32 [%y], %i;",
        "and.b32 %t, %i, 63; mad.wide.u32 %at, %t, 4, %y0; st.global.u32 [%at], %b;",
    ];
    for round in 0..200 {
        let (mut bench, program) = small(bodies[round % bodies.len()]);
        bench.racy = true;
        let truth = honest(&bench, &program);
        let mut delivered = truth.clone();
        for _ in 0..rng.usize(0..3) {
            delivered[1][rng.usize(0..1024)] ^= 1 << rng.u8(0..8);
        }
        let blocks: Vec<u64> = (0..rng.usize(0..6)).map(|_| rng.u64(0..10)).collect();
        if let Finding::Differs(d) = found(&bench, &program, &delivered, &blocks) {
            let at = d.offset as usize;
            assert_ne!(truth[1][at], delivered[1][at], "round {round}, seed {seed}: {d}");
        }
    }
}
