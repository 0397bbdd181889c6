//! Programs that do not end, and barriers at which somebody is always missing.

use super::{Case, Ends, SHORT, kernel, many, module};
use crate::cpu_bench::{Bench, LIMITS};
use ion_gpu::backend::RunLimits;
use ion_protocol::job::{Phase, Step};

/// Name, body, blocks and threads.
const LOOPS: &[(&str, &str, u32, u32)] = &[
    ("a loop of nothing", "L: bra L;", 3, 96),
    ("a loop around a barrier", "L: bar.sync 0; bra L;", 3, 96),
    ("a loop of one lane", "setp.ne.u32 %p0, %r0, 17; @%p0 ret; L: bra L;", 1, 32),
    (
        "a loop while another warp waits",
        "setp.ge.u32 %p0, %r0, 32; @%p0 bra W; L: bra L; W: bar.sync 0;",
        1,
        64,
    ),
    (
        "a loop of branches that part",
        "L: xor.b32 %r0, %r0, 1; and.b32 %r1, %r0, 1; setp.eq.u32 %p0, %r1, 0; @%p0 bra L; bra L;",
        2,
        32,
    ),
    ("a loop of atomics on one place", "L: atom.global.add.u32 %r1, [%d0], 1; bra L;", 4, 256),
    ("a loop of stores", "L: st.global.u32 [%d0], %r0; bra L;", 4, 256),
    ("a loop of votes", "L: setp.eq.u32 %p0, %r0, 3; vote.sync.ballot.b32 %r1, %p0, -1; bra L;", 1, 32),
    (
        "a barrier object for which nobody comes",
        ".shared .b64 s; mbarrier.init.shared.b64 [s], 1000; L: mbarrier.try_wait.parity.shared.b64 %p0, [s], 0; @!%p0 bra L;",
        4,
        64,
    ),
    ("a loop of fences", "L: membar.sys; bra L;", 2, 64),
    ("a sleeper", "L: nanosleep.u32 4294967295; bra L;", 2, 64),
    // A lane takes the lock and then waits for the lanes that try to.
    (
        "a spin lock inside a warp",
        "L: atom.global.cas.b32 %r1, [%d0], 0, 1; setp.ne.u32 %p0, %r1, 0; @%p0 bra L;",
        1,
        32,
    ),
    (
        "a flag that nobody sets",
        "L: ld.volatile.global.u32 %r1, [%d0]; setp.eq.u32 %p0, %r1, 0; @%p0 bra L;",
        8,
        64,
    ),
    // The last blocks begin when the first have ended, which wait for the last.
    (
        "a barrier of the whole grid",
        "atom.global.add.u32 %r1, [%d0], 1;\nL: ld.volatile.global.u32 %r1, [%d0]; setp.lt.u32 %p0, %r1, 100000; @%p0 bra L;",
        100_000,
        1,
    ),
    (
        "a ping-pong without a ball",
        "and.b32 %r1, %r0, 32; L: ld.volatile.global.u32 %r2, [%d0]; setp.ne.u32 %p0, %r2, %r1; @!%p0 bra L; bra L;",
        1,
        64,
    ),
    (
        "matrices without end",
        "L: wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}, \
         {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, \
         {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}; bra L;",
        4,
        128,
    ),
    (
        "matrices of bits without end",
        "L: mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, \
         {%r5, %r6}, {%r1, %r2, %r3, %r4}; bra L;",
        4,
        128,
    ),
    ("arrivals that nobody awaits", "L: bar.arrive 1, 64; bra L;", 1, 32),
    (
        "a subnormal flood",
        "mov.f32 %f0, 0f00000001; L: mul.rn.f32 %f1, %f0, 0f3F000001; add.rn.f32 %f0, %f1, %f0; fma.rn.f32 %f2, %f1, %f0, %f1; bra L;",
        2,
        256,
    ),
    (
        "a flood of double subnormals",
        "mov.f64 %g0, 0d0000000000000001; L: div.rn.f64 %g1, %g0, 0d3FF0000000000001; sqrt.rn.f64 %g2, %g1; mul.rn.f64 %g0, %g1, 0d3FF8000000000000; bra L;",
        2,
        256,
    ),
    (
        "a NaN flood",
        "mov.f32 %f0, 0f7FFFFFFF; L: fma.rn.f32 %f0, %f0, %f0, %f0; div.rn.f32 %f1, %f0, %f0; sqrt.rn.f32 %f2, %f1; min.f32 %f0, %f1, %f2; bra L;",
        2,
        256,
    ),
    (
        "a flood of divisions by zero",
        "mov.u32 %r1, 0; mov.u64 %d1, 0; L: div.u32 %r2, %r0, %r1; rem.s32 %r3, %r0, %r1; div.s64 %d2, %d0, %d1; rem.u64 %d3, %d0, %d1; bra L;",
        2,
        256,
    ),
];

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = LOOPS
        .iter()
        .flat_map(|(name, body, blocks, threads)| {
            Case::endless(name, &kernel(body), [*blocks, 1, 1], [*threads, 1, 1])
        })
        .collect();
    let called = module(".func spin()\n{\nL: bra L;\n}\n", "call spin;");
    cases.extend(Case::endless("a function that does not return", &called, [1; 3], [32, 1, 1]));
    // Nothing but blocks: no memory may be taken for each.
    for grid in [[i32::MAX as u32, 1, 1], [i32::MAX as u32, 65_535, 65_535]] {
        cases.extend(Case::endless("a giant grid of nothing", &kernel(""), grid, [1; 3]));
    }
    cases.extend(Case::endless(
        "a giant grid of full blocks",
        &kernel(""),
        [i32::MAX as u32, 1, 1],
        [1024, 1, 1],
    ));
    // Each block does nothing, after its large state was cleared: slow work that no budget of instructions sees.
    let state =
        format!("bra END;\n.reg .b64 %x<60000>;\n{}END:", many(60_000, |n| format!("mov.u64 %x{n}, 0;\n")));
    let [by_time, _] =
        Case::endless("a giant grid of large blocks", &kernel(&state), [i32::MAX as u32, 1, 1], [32, 1, 1]);
    cases.push(by_time);
    cases.extend(programs());
    cases
}

/// Endless by repetition: a million launches, and swaps alone.
fn programs() -> Vec<Case> {
    let mut bench = Bench::new(&kernel(""), "k").buffer(vec![0; 64]);
    bench.limits = RunLimits { run: SHORT, ..LIMITS };
    bench.grid = [1000, 1, 1];
    let mut many = bench.program();
    many.phases[0].times = 1_000_000;
    let mut swaps = bench.program();
    let swap = Phase { times: u32::MAX, steps: vec![Step::Swap { a: 0, b: 0 }; 256] };
    swaps.phases = vec![swap; 256];
    [("a million launches", many), ("swaps without end", swaps)]
        .map(|(name, program)| {
            let mut again = Bench::new(&bench.text, "k").buffer(vec![0; 64]);
            again.limits = bench.limits;
            Case { program: Some(program), ..Case::new(name, again, Ends::RunTime) }
        })
        .into()
}

/// Name, body and threads of one block.
const BARRIERS: &[(&str, &str, u32)] = &[
    (
        "half a warp at each of two",
        "setp.lt.u32 %p0, %r0, 16; @%p0 bra A; bar.sync 1; ret; A: bar.sync 2;",
        32,
    ),
    ("one lane that passes by", "setp.eq.u32 %p0, %r0, 31; @%p0 bra A; bar.sync 0; A: mov.u32 %r1, 1;", 32),
    ("a guard that holds for some", "setp.lt.u32 %p0, %r0, 5; @%p0 bar.sync 0;", 32),
    ("a warp at each of two", "setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 1; @!%p0 bar.sync 2;", 64),
    ("more threads than there are", "bar.sync 0, 2048;", 64),
    ("more threads than can be counted", "bar.sync 0, 4294967295;", 64),
    ("as many, from a register", "mov.u32 %r1, -1; mov.u32 %r2, -1; bar.sync %r1, %r2;", 64),
    (
        "arrivals that are too few",
        "setp.lt.u32 %p0, %r0, 32; @%p0 bra A; bar.arrive 3, 128; ret; A: bar.sync 3, 128;",
        64,
    ),
    (
        "a reduction that misses a warp",
        "setp.lt.u32 %p0, %r0, 32; @%p0 bra A; bar.sync 1; ret; A: bar.red.popc.u32 %r1, 0, 64, %p0;",
        64,
    ),
    (
        "a barrier in a loop of uneven turns",
        "and.b32 %r1, %r0, 1; L: bar.sync 0; setp.eq.u32 %p0, %r1, 0; sub.u32 %r1, %r1, 1; @!%p0 bra L;",
        32,
    ),
];

pub fn barriers() -> Vec<Case> {
    let case = |(name, body, threads): &(&str, &str, u32)| {
        let bench = Bench::new(&kernel(body), "k").buffer(vec![0; 64]).grid([2, 1, 1], [*threads, 1, 1]);
        Case::new(*name, bench, Ends::Divergent)
    };
    BARRIERS.iter().map(case).collect()
}
