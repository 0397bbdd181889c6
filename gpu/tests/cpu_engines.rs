//! The interpreter and the machine code must not be told apart: random programs on both, all bytes and all faults.
//!
//! Programs are those of `random_kernels`. A failure prints the program's seed. For a night of them there is
//! `cargo run -p ion-gpu --example engines_fuzz -- --seconds 30000 --seed 7`.

mod cpu_bench;
mod random_kernels;

use cpu_bench::{Bench, bytes_of_u32, u32_arg, u32s, u64_arg, u64s};
use fastrand::Rng;
use ion_gpu::replay::{Origin, replay};
use ion_protocol::{Millis, check::Finding, hardware::Engine, job::Step};
use random_kernels::{BLOCKS, bench, light_program, parting_case, program, result, same, striding_program};
use std::sync::atomic::AtomicBool;

/// Programs that one test tries.
const PROGRAMS: u64 = 60;

/// Both engines must agree to the byte, to the instruction, and to the word of a fault.
fn agree(bench: &Bench, what: &str) {
    if let Err(differs) = same(bench) {
        panic!("{what}: {differs}\n{}", bench.text);
    }
}

/// Replay, which finds the machine code that was made, runs a kernel whole to what the interpreter delivered, or to its
/// fault: a launch after it, that does nothing, is the one that is checked. Atomic operations are left out, since kernels
/// that use what these return are not run again, and what devices differ on: approximate instructions, and which threads
/// run together.
fn agree_in_sparse_memory(bench: &Bench, what: &str) {
    let left_out = ["atom.", "red.", ".approx", "activemask"];
    let lines = bench.text.lines().filter(|line| !left_out.iter().any(|word| line.contains(word)));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let bench = &Bench { text: text + ".visible .entry nothing()\n{\nret;\n}\n", ..bench.clone() };
    let delivered = result(bench, Engine::CpuInterpreter).map(|(outputs, _)| outputs);
    let native = result(bench, Engine::CpuJit).map(|(outputs, _)| outputs);
    assert!(delivered == native, "{what}\n{}", bench.text);
    let mut program = bench.program();
    let Step::Launch(mut last) = program.phases[0].steps[0].clone() else { panic!("a launch") };
    (last.kernel, last.args) = ("nothing".to_owned(), Vec::new());
    program.phases[0].steps.push(Step::Launch(last));
    let loaded = bench.load(program).unwrap_or_else(|fault| panic!("{fault}\n{}", bench.text));
    let expected = delivered.clone().map(|_| ());
    let delivered = delivered.unwrap_or_default();
    let mut read = |origin, from: u64, into: &mut [u8]| {
        let all = match origin {
            Origin::Input(buffer) => &bench.buffers[usize::from(buffer)],
            Origin::Output(buffer) => &delivered[usize::from(buffer)],
            Origin::States => panic!("there are none"),
        };
        into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
        Ok(())
    };
    let found = replay(&loaded, &[0], &bench.limits, &AtomicBool::new(false), &mut read);
    match (&found, &expected) {
        (Ok(Finding::Equal { .. }), Ok(())) => {}
        (Ok(Finding::NotCheckable { why }), Err(fault)) if *why == format!("run here it faults: {fault}") => {
        }
        _ => panic!("{what}: {found:?} in sparse memory is not {expected:?}\n{}", bench.text),
    }
}

#[test]
fn programs_agree_in_sparse_memory() {
    for seed in 5000..5000 + PROGRAMS {
        let text = match seed % 3 {
            0 => program(seed),
            wild => light_program(seed, wild == 1),
        };
        agree_in_sparse_memory(&bench(&text, seed), &format!("seed {seed}"));
    }
}

#[test]
fn random_programs_agree() {
    for seed in 0..PROGRAMS {
        agree(&bench(&program(seed), seed), &format!("seed {seed}"));
    }
}

/// Threads leave a loop a few at a time, the last of a warp as well: what they did before is done once, those that are left
/// see what they held then, and alone go to memory that has room for no others.
#[test]
fn threads_that_leave_do_nothing_twice_and_nothing_more() {
    for tell in ["mov.u32 %x, %l;", "xor.b32 %x, %l, 0;"] {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u64 in, .param .u64 out, .param .u64 sums)\n{{\n\
             .reg .pred %p; .reg .b32 %l, %b, %x, %c, %n, %r, %s, %m, %v; .reg .b64 %at, %in, %out, %sums;\n\
             ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; ld.param.u64 %sums, [sums]; mov.u32 %l, %laneid;\n\
             mov.u32 %b, %ctaid.x; mov.u32 %c, 0; mov.u32 %n, 5;\n\
             LOOP: mad.lo.u32 %r, %c, 1000, %l; red.global.add.u32 [%sums], 1; {tell} setp.lt.u32 %p, %x, %n;\n\
             @%p exit;\nadd.u32 %n, %n, 5; add.u32 %c, %c, 1; setp.lt.u32 %p, %c, 3; @%p bra LOOP;\n\
             bar.sync 0; redux.sync.add.u32 %s, %l, -1; activemask.b32 %m; and.b32 %x, %l, 15;\n\
             shfl.sync.idx.b32 %r, %r, %x, 31, -1; sub.u32 %x, %l, 15; mad.wide.s32 %at, %x, 4, %in;\n\
             ld.global.u32 %v, [%at]; mad.lo.u32 %b, %b, 17, %x; mad.wide.u32 %at, %b, 16, %out;\n\
             st.global.v4.u32 [%at], {{%s, %m, %r, %v}}; ret;\n}}\n"
        );
        let input: Vec<u32> = (0..17).map(|n| 7 * n).collect();
        let bench = Bench::new(&text, "k").grid([4, 1, 1], [40, 1, 1]).buffer(bytes_of_u32(&input));
        let bench = bench.buffer(vec![0; 4 * 17 * 16]).buffer(vec![0; 4]);
        agree(&bench, tell);
        let found = result(&bench, Engine::CpuJit).unwrap().0;
        let left = (15..32u32).flat_map(|lane| {
            let source = lane & 15;
            [(15..32).sum(), 0xffff_8000, (source / 5).min(2) * 1000 + source, 7 * (lane - 15)]
        });
        assert_eq!(u32s(&found[1]), left.collect::<Vec<_>>().repeat(4), "{tell}");
        let times = (0..40u32).map(|thread| (thread % 32 / 5 + 1).min(3)).sum::<u32>();
        assert_eq!(u32s(&found[2]), [4 * times], "{tell}");
    }
}

/// Warps of which threads are missing, from the start or since these left, and blocks whose rows end within a warp.
#[test]
fn warps_with_threads_missing_agree() {
    const SHAPES: [[u32; 3]; 8] =
        [[1, 1, 1], [7, 1, 1], [31, 1, 1], [33, 1, 1], [100, 1, 1], [8, 9, 1], [3, 5, 2], [40, 1, 2]];
    for seed in 10_000..10_000 + 4 * PROGRAMS {
        let text = match seed % 4 {
            0 => program(seed),
            1 => striding_program(seed),
            wild => light_program(seed, wild == 3),
        };
        let block = SHAPES[(seed / 4) as usize % SHAPES.len()];
        agree(&bench(&text, seed).grid([BLOCKS, 1, 1], block), &format!("seed {seed}, {block:?}"));
    }
}

/// The same with memory accesses that go wrong for some thread.
#[test]
fn random_faults_agree() {
    for seed in 1000..1000 + PROGRAMS / 3 {
        let mut rng = Rng::with_seed(seed);
        let mut text = program(seed);
        let wild = match rng.u8(0..4) {
            0 => "setp.eq.u32 %q, %e, 133; selp.b64 %in, 7, %in, %q; ld.global.u8 %r0, [%in];",
            1 => "mad.wide.u32 %y, %e, 64, %in; ld.global.u64 %d0, [%y];",
            2 => "mul.lo.u32 %x, %t, 20; ld.shared.u32 %r0, [%x]; st.shared.u32 [%x], %r1;",
            _ => "and.b32 %x, %e, 127; setp.eq.u32 %q, %x, 77; @%q trap;",
        };
        let at = text.match_indices("READY:\nbar.sync 0;\n").next().map_or(0, |(n, s)| n + s.len());
        text.insert_str(at, &format!("{wild}\n"));
        agree(&bench(&text, seed), &format!("seed {seed}"));
    }
}

#[test]
fn light_programs_agree() {
    for seed in 3000..3000 + 2 * PROGRAMS {
        agree(&bench(&light_program(seed, false), seed), &format!("seed {seed}"));
    }
}

#[test]
fn striding_programs_agree() {
    for seed in 6000..6000 + 2 * PROGRAMS {
        agree(&bench(&striding_program(seed), seed), &format!("seed {seed}"));
    }
}

#[test]
fn lanes_that_part_in_loops_agree() {
    let mut well = 0;
    for seed in 20_000..20_000 + 4 * PROGRAMS {
        let bench = parting_case(seed);
        let ended = same(&bench);
        let ended = ended.unwrap_or_else(|differs| panic!("seed {seed}: {differs}\n{}", bench.text));
        well += u64::from(ended.is_ok());
    }
    assert!((2 * PROGRAMS..7 * PROGRAMS / 2).contains(&well), "{well} end well");
}

/// Warps that stride through memory keep abreast: the first has not drawn all its numbers before the second draws one.
#[test]
fn warps_that_stride_make_way() {
    let text = ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u32 by, .param .u64 in, .param .u64 out)\n{\n\
         .reg .pred %p; .reg .b32 %x, %t, %c, %by; .reg .b64 %y, %in, %out; .shared .align 4 .u32 next;\n\
         mov.u32 %t, %tid.x; ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; ld.param.u32 %by, [by]; mov.u32 %c, 0;\n\
         LOOP: mad.wide.u32 %y, %c, 4, %in; ld.global.u32 %x, [%y]; atom.shared.add.u32 %x, [next], 1;\n\
         add.u32 %c, %c, %by; setp.lt.u32 %p, %c, 200; @%p bra LOOP;\n\
         mad.wide.u32 %y, %t, 4, %out; st.global.u32 [%y], %x; ret;\n}\n";
    let bench = Bench::new(text, "k").grid([1; 3], [64, 1, 1]).arg(u32_arg(1)).buffer(vec![0; 800]);
    let last = u32s(&bench.buffer(vec![0; 256]).outputs()[1]);
    assert!(last[0] > 32 * 200 && last[32] > last[0], "{last:?}");
}

#[test]
fn faults_of_light_programs_agree() {
    for seed in 4000..4000 + PROGRAMS {
        agree(&bench(&light_program(seed, true), seed), &format!("seed {seed}"));
    }
}

/// A budget is spent after the same instruction, whatever executes it.
#[test]
fn budgets_end_alike() {
    for seed in 2000..2010 {
        let text = match seed % 3 {
            0 => program(seed),
            1 => light_program(seed, false),
            _ => striding_program(seed),
        };
        let mut bench = bench(&text, seed);
        let Ok((_, Some(count))) = result(&bench, Engine::CpuInterpreter) else { continue };
        for fuel in [count - 1, count, count + 1] {
            bench.limits.fuel = Some(fuel);
            bench.limits.run = Millis(60_000);
            agree(&bench, &format!("seed {seed}, fuel {fuel}"));
        }
    }
}

/// What nobody wrote is zero in every thread of every block, though a block may leave something there for the next.
#[test]
fn registers_begin_at_zero_in_every_block() {
    let text = ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 x)\n{\n\
                .reg .b16 %h; .reg .b32 %r<2>; .reg .b64 %d<3>;\nld.param.u64 %d0, [x];\n\
                cvt.sat.s16.s64 %h, %d1;\nmov.u64 %d1, 195592;\n\
                mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mad.lo.u32 %r0, %r1, 40, %r0;\n\
                mad.wide.u32 %d2, %r0, 8, %d0;\nst.global.u16 [%d2], %h; cvt.u32.u64 %r1, %d1; st.global.u32 [%d2+4], %r1;\nret;\n}\n";
    let bench = Bench::new(text, "k").grid([3, 1, 1], [40, 1, 1]).buffer(vec![7; 960]);
    let expected: Vec<u32> = [0x0707_0000, 195_592].repeat(120);
    assert_eq!(u32s(&bench.outputs()[0]), expected);
}

/// Numbers of 32 bits that grow from thread to thread, and wrap around on the way, before they become addresses.
#[test]
fn threads_that_wrap_around_agree() {
    for (from, extend) in [("0xfffffffb", "u"), ("0x7ffffffc", "s"), ("0xfffffffb", "s"), ("3", "u")] {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 n, .param .u64 in, .param .u64 out, .param .u64 sums)\n{{\n\
             .reg .b32 %t, %x, %v; .reg .b64 %d<4>, %in, %out; .shared .align 4 .b8 cells[1024];\n\
             ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; add.u32 %x, %t, {from};\n\
             cvt.{extend}64.{extend}32 %d0, %x; mul.wide.{extend}32 %d1, %x, 4; mul.wide.u32 %d2, %t, 24;\n\
             add.u64 %d3, %out, %d2; st.global.u64 [%d3], %d0; st.global.u64 [%d3+8], %d1;\n\
             mad.wide.u32 %d0, %t, 4, %in; ld.global.u32 %v, [%d0]; st.global.u32 [%d3+16], %v;\n\
             sub.u32 %x, %x, {from}; shl.b32 %x, %x, 2; st.shared.u32 [%x], %t; ld.shared.u32 %v, [%x];\n\
             st.global.u32 [%d3+20], %v; ret;\n}}\n"
        );
        agree(&bench(&text, 7), &format!("from {from}, {extend}"));
        let ends = result(&bench(&text, 7), Engine::CpuJit).expect("all accesses are within bounds");
        let first = u64::from_le_bytes(ends.0[1][24 * 6..24 * 6 + 8].try_into().unwrap());
        let sixth = u32::from_str_radix(from.trim_start_matches("0x"), 16).unwrap().wrapping_add(6);
        assert_eq!(first, if extend == "u" { sixth.into() } else { i64::from(sixth as i32) as u64 });
    }
}

/// A generic address of local memory is the same in all threads, and what each of them loads there is its own.
#[test]
fn threads_that_load_from_one_place_of_their_own_memory_agree() {
    let text = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .b32 %t, %x, %y; .reg .b64 %own, %out; .local .align 4 .b8 room[4];\n\
         ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mad.wide.u32 %out, %t, 8, %out; mov.u32 %y, 0;\n\
         st.local.u32 [room], %t; cvta.local.u64 %own, room; ld.u32 %x, [%own];\n{}\
         bar.sync 0; mul.lo.u32 %x, %x, 3; st.global.v2.u32 [%out], {{%x, %y}}; ret;\n}}\n",
        // Until machine code, which leaves the load to the interpreter, is tried again.
        "add.u32 %y, %y, %t;\n".repeat(100)
    );
    let found = Bench::new(&text, "k").grid([1; 3], [64, 1, 1]).buffer(vec![0; 512]).outputs();
    assert_eq!(u32s(&found[0]), (0..64).flat_map(|n| [3 * n, 100 * n]).collect::<Vec<_>>());
}

/// Numbers of 64 bits that grow from thread to thread by a constant which 32 bits do not hold.
/// Of a parameter that every launch has nothing is checked; one that is not there, or crooked, is found out.
#[test]
fn parameters_agree_wherever_they_are() {
    let there = [("u32", "a"), ("u64", "a+8"), ("u32", "a+12"), ("u16", "a+14"), ("u8", "a+15")];
    let not_there = [("u64", "a+4"), ("u64", "a+12"), ("u64", "a+16"), ("u8", "a+16"), ("u32", "a+4096")];
    let both = there.map(|load| (load, true)).into_iter().chain(not_there.map(|load| (load, false)));
    for ((ty, at), good) in both {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u32 a, .param .u64 out)\n{{\n\
             .reg .b32 %t; .reg .b64 %d, %out;\nld.param.u64 %out, [out]; mov.u32 %t, %tid.x;\n\
             ld.param.{ty} %d, [{at}];\nmad.wide.u32 %out, %t, 8, %out; st.global.u64 [%out], %d; ret;\n}}\n"
        );
        let bench = Bench::new(&text, "k").grid([4, 1, 1], [40, 1, 1]).arg(u32_arg(0x1234_5678));
        let bench = bench.buffer(vec![0; 40 * 8]);
        agree(&bench, &format!("{ty} {at}"));
        assert_eq!(result(&bench, Engine::CpuJit).is_ok(), good, "{ty} {at}");
    }
}

/// Warps keep their places from block to block as long as they keep step, and find them again after one where they do not.
#[test]
fn blocks_that_come_apart_leave_the_next_as_they_were() {
    for [first, last] in [["bar.sync 0;", ""], ["", "bar.sync 0;"]] {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
             .reg .pred %p, %q; .reg .b32 %t, %b, %i, %m, %n, %s; .reg .b64 %out;\n\
             ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mad.lo.u32 %i, %b, 50, %t;\n\
             mad.wide.u32 %out, %i, 4, %out; mov.u32 %s, 0; rem.u32 %m, %b, 3; setp.ne.u32 %p, %m, 1; {first}\n\
             @%p bra STEP;\nand.b32 %n, %t, 3;\n\
             LOOP: add.u32 %s, %s, %t; setp.eq.u32 %q, %n, 0; sub.u32 %n, %n, 1; @!%q bra LOOP;\n\
             STEP: {last} add.u32 %s, %s, %i; st.global.u32 [%out], %s; ret;\n}}\n"
        );
        let bench = Bench::new(&text, "k").grid([40, 1, 1], [50, 1, 1]).buffer(vec![0; 40 * 50 * 4]);
        agree(&bench, "every third block");
        let sums = (0..2000u32).map(|i| i + if i / 50 % 3 == 1 { (i % 50) * (i % 50 % 4 + 1) } else { 0 });
        assert_eq!(u32s(&result(&bench, Engine::CpuJit).unwrap().0[0]), sums.collect::<Vec<u32>>());
    }
}

#[test]
fn threads_that_grow_by_wide_constants_agree() {
    for by in [0x1_0000_0001, 1 << 32, 0x1_8000_0000, 1 << 63, u64::MAX, 3] {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
             .reg .b32 %t; .reg .b64 %d<4>, %out;\nld.param.u64 %out, [out]; mov.u32 %t, %tid.x; cvt.u64.u32 %d0, %t;\n\
             mul.lo.u64 %d1, %d0, {by}; mad.lo.s64 %d2, %d0, {by}, %d0; mad.lo.u64 %d3, %d0, 16, %out;\n\
             st.global.v2.u64 [%d3], {{%d1, %d2}}; ret;\n}}\n"
        );
        let found = Bench::new(&text, "k").grid([1; 3], [64, 1, 1]).buffer(vec![0; 1024]).outputs();
        let expected = (0..64u64).flat_map(|n| [n.wrapping_mul(by), n.wrapping_mul(by).wrapping_add(n)]);
        assert_eq!(u64s(&found[0]), expected.collect::<Vec<_>>(), "by {by:#x}");
    }
}

/// An access that has found its bytes in one buffer goes on in another, and then outside, or where it is not aligned.
#[test]
fn accesses_that_change_their_piece_agree() {
    let text = ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u32 round, .param .u64 by, .param .u64 x, .param .u64 y, .param .u64 out)\n{\n\
         .reg .pred %p; .reg .b32 %t, %c, %n, %u, %v, %s; .reg .b64 %at, %b, %by, %x, %y, %o;\n\
         mov.u32 %t, %tid.x; ld.param.u32 %n, [round]; ld.param.u64 %by, [by]; ld.param.u64 %x, [x];\n\
         ld.param.u64 %y, [y]; mov.u32 %c, 0; mov.u32 %s, 0;\n\
         LOOP: and.b32 %u, %c, 2; setp.eq.u32 %p, %u, 0; selp.b64 %b, %x, %y, %p;\n\
         setp.eq.u32 %p, %c, %n; selp.b64 %o, %by, 0, %p; add.u64 %b, %b, %o;\n\
         mad.wide.u32 %at, %t, 4, %b; ld.global.u32 %v, [%at]; add.u32 %s, %s, %v; st.global.u32 [%at], %s;\n\
         add.u32 %c, %c, 1; setp.lt.u32 %p, %c, 7; @%p bra LOOP;\n\
         ld.param.u64 %o, [out]; mad.wide.u32 %at, %t, 4, %o; st.global.u32 [%at], %s; ret;\n}\n";
    for (by, within) in [(0, true), (4, false), (2, false), (4u64.wrapping_neg(), false), (1 << 40, false)] {
        for round in [0, 1, 3, 6] {
            let [x, y] = [3, 5].map(|by| bytes_of_u32(&(0..64).map(|n| n * by).collect::<Vec<_>>()));
            let bench = Bench::new(text, "k").grid([1; 3], [64, 1, 1]).arg(u32_arg(round)).arg(u64_arg(by));
            let bench = bench.buffer(x).buffer(y).buffer(vec![0; 256]);
            agree(&bench, &format!("{by} bytes further in round {round}"));
            assert_eq!(result(&bench, Engine::CpuJit).is_ok(), within, "{by} bytes further in round {round}");
        }
    }
}

/// Loops whose threads count from different numbers up to one bound, or down, some of them past where numbers wrap around.
#[test]
fn loops_agree_however_they_count() {
    for seed in 8000..8000 + 4 * PROGRAMS {
        let mut rng = Rng::with_seed(seed);
        let (cmp, ty) = (["lt", "le", "gt", "ge"][rng.usize(0..4)], ["u32", "s32"][rng.usize(0..2)]);
        let first = ["add.u32 %i, %from, %t;", "sub.u32 %i, %from, %t;", "mad.lo.u32 %i, %t, 3, %from;"]
            [rng.usize(0..3)];
        let sides = if rng.bool() { "%i, %bound" } else { "%bound, %i" };
        let not = if rng.bool() { "!" } else { "" };
        let edge = [0, 1 << 31, u32::MAX, 3 << 29][rng.usize(0..4)];
        let from = edge.wrapping_add(rng.u32(0..96)).wrapping_sub(48);
        let by = [rng.u32(..) | 1, rng.u32(1..40), rng.u32(1..40).wrapping_neg()][rng.usize(0..3)];
        let bound = from.wrapping_add(by.wrapping_mul(rng.u32(1..6))).wrapping_add(rng.u32(0..40));
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 from, .param .u32 bound, .param .u64 out)\n{{\n\
             .reg .pred %p; .reg .b32 %t, %i, %c, %from, %bound; .reg .b64 %o;\n\
             mov.u32 %t, %tid.x; ld.param.u32 %from, [from]; ld.param.u32 %bound, [bound]; ld.param.u64 %o, [out];\n\
             {first} mov.u32 %c, 0;\n\
             LOOP: add.u32 %c, %c, 1; add.u32 %i, %i, {by}; setp.{cmp}.{ty} %p, {sides}; @{not}%p bra LOOP;\n\
             mad.wide.u32 %o, %t, 8, %o; st.global.v2.u32 [%o], {{%c, %i}}; ret;\n}}\n"
        );
        let bench = Bench::new(&text, "k").grid([1; 3], [64, 1, 1]).arg(u32_arg(from)).arg(u32_arg(bound));
        let mut bench = bench.buffer(vec![0; 512]);
        bench.limits.fuel = Some(100_000);
        agree(&bench, &format!("seed {seed}"));
    }
}

/// Some threads of a warp skip a few instructions, and are with the others again where these end.
#[test]
fn warps_that_part_for_a_short_way_agree() {
    const STEPS: [&str; 13] = [
        "add.u32 %v, %v, 3;",
        "setp.gt.u32 %q, %v, 0x80000000;",
        "mad.wide.u32 %a, %t, 4, %in; ld.global.u32 %x, [%a]; add.u32 %v, %v, %x;",
        "shl.b32 %s, %t, 2; ld.shared.u32 %x, [%s]; add.u32 %x, %x, %v; st.shared.u32 [%s], %x;",
        // Lanes that go to two buffers are left to the interpreter.
        "selp.b64 %b, %in, %out, %q; ld.global.u32 %x, [%b]; add.u32 %v, %v, %x;",
        "selp.b64 %b, %in, %out, %q; shl.b32 %s, %t, 2; ld.shared.u32 %x, [%s]; add.u32 %x, %x, %v; st.shared.u32 [%s], %x; st.global.u32 [%b], %v;",
        "xor.b32 %s, %t, 9; shl.b32 %s, %s, 2; ld.shared.u32 %x, [%s]; add.u32 %v, %v, %x;",
        "mad.wide.u32 %a, %n, 24, %out; st.global.u32 [%a], %v;",
        "shl.b32 %u, %c, 2; add.u32 %v, %v, %u;",
        "add.u32 %k, %k, 1;",
        "add.u32 %m, %m, 8;",
        "cvt.rn.f32.u32 %g, %v; mul.f32 %f, %f, %g; sub.f32 %f, %f, %f;",
        "mul.wide.u32 %d, %v, 5; add.u64 %e, %e, %d;",
    ];
    for seed in 9000..9000 + 2 * PROGRAMS {
        let mut rng = Rng::with_seed(seed);
        // With what the last steps need, regions are rarely for whole warps.
        let (kinds, more) = if seed % 4 == 0 {
            (13, "st.global.f32 [%a+8], %f; st.global.u64 [%a+16], %e;")
        } else {
            (11, "")
        };
        let mut steps = || -> String { (0..rng.usize(1..5)).map(|_| STEPS[rng.usize(0..kinds)]).collect() };
        let (skipped, after) = match seed % 6 {
            0 | 3 => (steps(), "bar.sync 0;".to_owned()),
            1 => (STEPS[3].to_owned(), STEPS[4].to_owned()),
            _ => (steps(), steps()),
        };
        let (cmp, not) = (["lt", "le", "gt", "ge"][rng.usize(0..4)], if rng.bool() { "!" } else { "" });
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 from, .param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p, %q; .reg .b32 %t, %n, %c, %v, %x, %s, %u, %k, %m; .reg .f32 %f, %g;\n\
             .reg .b64 %in, %out, %a, %b, %d, %e; .shared .align 4 .b8 cells[1024];\n\
             mov.u32 %t, %tid.x; mov.u32 %n, %ctaid.x; mad.lo.u32 %n, %n, 80, %t;\n\
             ld.param.u32 %c, [from]; ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n\
             mad.wide.u32 %a, %t, 4, %in; ld.global.u32 %v, [%a]; mov.u64 %e, 0; mov.f32 %f, 0f3f800000;\n\
             mov.u32 %k, 0; mov.u32 %m, %t; setp.ne.u32 %q, %t, 0;\n\
             LOOP: setp.{cmp}.u32 %p, %t, %c; @{not}%p bra NEXT;\n{skipped}\nNEXT: {after}\n\
             shr.u32 %c, %c, 1; setp.ne.u32 %p, %c, 0; @%p bra LOOP;\n\
             shl.b32 %s, %t, 2; ld.shared.u32 %x, [%s]; add.u32 %v, %v, %x; add.u32 %m, %m, %k; mad.wide.u32 %a, %n, 24, %out;\n\
             st.global.u32 [%a+4], %v; st.global.u32 [%a+12], %m; {more} ret;\n}}\n"
        );
        let from = rng.u32(1..if seed % 2 == 0 { 100 } else { 32 });
        let input: Vec<u32> = (0..256).map(|_| rng.u32(..)).collect();
        let bench = Bench::new(&text, "k").grid([2, 1, 1], [80, 1, 1]).arg(u32_arg(from));
        agree(&bench.buffer(bytes_of_u32(&input)).buffer(vec![0; 160 * 24]), &format!("seed {seed}"));
    }
}

/// Threads of a warp choose between two short ways in every round, some come to one of them from elsewhere and wait there, and
/// some leave the loop before others; what a way changes is seen after it, in the other way, or not at all.
#[test]
fn warps_that_choose_between_two_ways_agree() {
    const STEPS: [&str; 13] = [
        "add.u32 %v, %v, 3;",
        "mul.lo.u32 %w, %v, 5;",
        "add.u32 %v, %v, %w;",
        "xor.b32 %w, %w, %t;",
        "mad.wide.u32 %a, %t, 4, %in; ld.global.u32 %x, [%a]; add.u32 %v, %v, %x;",
        "xor.b32 %x, %v, %w;",
        "add.u32 %w, %w, %x;",
        "setp.gt.u32 %r, %v, %w;",
        "@%r add.u32 %v, %v, 7;",
        "shl.b32 %s, %t, 2; ld.shared.u32 %x, [%s]; add.u32 %w, %w, %x;",
        // Lanes that go to two buffers are left to the interpreter.
        "selp.b64 %a, %in, %out, %r; ld.global.u32 %x, [%a]; add.u32 %w, %w, %x;",
        // One for all lanes as long as they stay together, and one that grows from lane to lane.
        "add.u32 %k, %k, 1;",
        "add.u32 %m, %t, 8;",
    ];
    const STORES: [&str; 4] = [
        "",
        "st.shared.u32 [%s], %v;",
        "st.shared.u32 [%s], %w; st.shared.u32 [%s+640], %v;",
        // Past the end for some, after others have stored.
        "st.shared.u32 [%s], %w; st.global.u32 [%o], %v;",
    ];
    let mut faults = 0;
    for seed in 11_000..11_000 + 4 * PROGRAMS {
        let mut rng = Rng::with_seed(seed);
        let kinds = if rng.u8(0..3) == 0 { STEPS.len() } else { 11 };
        let mut steps = || -> String { (0..rng.usize(1..4)).map(|_| STEPS[rng.usize(0..kinds)]).collect() };
        let (first, second, after) = (steps(), steps(), steps());
        let stores = [(); 2].map(|()| STORES[rng.usize(0..STORES.len()).saturating_sub(rng.usize(0..2))]);
        let bits = [(); 3].map(|()| rng.u8(0..24));
        let early = match ["", "ELSE", "FIRST"][rng.usize(0..3)] {
            "" => String::new(),
            to => format!("and.b32 %x, %y, 6; setp.eq.u32 %p, %x, 2; @%p bra {to};"),
        };
        let ends =
            ["setp.lt.u32 %p, %c, 9;", "and.b32 %x, %v, 127; setp.gt.u32 %p, %x, %c;"][rng.usize(0..2)];
        // One way, or the other.
        let other = match rng.u8(0..4) {
            0 => "ELSE:".to_owned(),
            _ => format!("bra NEXT;\nELSE: {second} {}", stores[1]),
        };
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p, %r; .reg .b32 %t, %n, %c, %v, %w, %x, %y, %s, %k, %m; .reg .b64 %in, %out, %a, %o;\n\
             .shared .align 4 .b8 cells[1280];\n\
             mov.u32 %t, %tid.x; mov.u32 %n, %ctaid.x; mad.lo.u32 %n, %n, 80, %t; ld.param.u64 %in, [in];\n\
             ld.param.u64 %out, [out]; mad.wide.u32 %a, %n, 4, %in; ld.global.u32 %v, [%a]; mov.u32 %w, %v;\n\
             mov.u32 %x, 0; mov.u32 %k, 0; mov.u32 %m, 0; mov.u32 %c, 0; setp.lt.u32 %r, %t, 3; shl.b32 %s, %t, 2;\n\
             mad.wide.u32 %o, %n, 4, %out;\n\
             LOOP: shr.u32 %y, %v, {}; {early} shr.u32 %y, %v, {}; and.b32 %y, %y, 1; setp.ne.u32 %p, %y, 0; @%p bra ELSE;\n\
             FIRST: {first} {}\n{other}\nNEXT: {after}\n\
             add.u32 %c, %c, 1; shr.u32 %y, %w, {}; {ends} @%p bra LOOP;\n\
             add.u32 %w, %w, %k; add.u32 %w, %w, %m; selp.u32 %x, %x, %c, %r; xor.b32 %w, %w, %x;\n\
             mad.wide.u32 %a, %n, 8, %out; st.global.v2.u32 [%a+640], {{%v, %w}}; ret;\n}}\n",
            bits[0], bits[1], stores[0], bits[2]
        );
        let input: Vec<u32> = (0..160).map(|_| rng.u32(..)).collect();
        let short = if rng.u8(0..4) == 0 { rng.usize(0..300) * 4 } else { 0 };
        let mut bench = Bench::new(&text, "k").grid([2, 1, 1], [80, 1, 1]).buffer(bytes_of_u32(&input));
        bench = bench.buffer(vec![0; 640 + 160 * 8 - short]);
        bench.limits.fuel = Some(50_000);
        agree(&bench, &format!("seed {seed}"));
        faults += u64::from(result(&bench, Engine::CpuJit).is_err());
    }
    assert!(faults > PROGRAMS / 4 && faults < 3 * PROGRAMS, "{faults}");
}
