//! What one program leaves, the next does not find: not in buffers, module variables, shared or local memory.
//!
//! Both run on one backend in one process, which is more than tenants ever share: each has a child of its own
//! (`node/tests/workers.rs`). The reader runs first as well, so that what it finds later can only come from the writer.

mod cpu_bench;

use cpu_bench::{Bench, LIMITS, u32s};
use ion_gpu::{
    backend::{Backend, Report},
    cpu::CpuBackend,
};
use ion_protocol::job::Init;
use std::sync::atomic::AtomicBool;

/// Threads of a block; each has a word of every kind of memory to itself.
const THREADS: u32 = 64;
const BLOCKS: u32 = 8;

/// A kernel of one thread a word, with `each` in its middle: `%v` is the thread's word, `%a` to `%e` its places.
fn kernel(each: &str) -> String {
    format!(
        ".version 6.5\n.target sm_75\n.address_size 64\n.extern .shared .align 4 .b8 dynamic[];\n\
         .global .align 4 .b8 variable[{bytes}];\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .b64 %a, %e; .reg .b32 %b, %c, %d, %t, %n, %v, %w;\n\
         .shared .align 4 .b8 fixed[{block_bytes}]; .local .align 4 .b8 own[16];\n\
         mov.u32 %t, %tid.x; mov.u32 %n, %ctaid.x; mad.lo.u32 %n, %n, {THREADS}, %t;\n\
         ld.param.u64 %a, [out]; mad.wide.u32 %a, %n, 4, %a;\n\
         mov.u64 %e, variable; mad.wide.u32 %e, %n, 4, %e;\n\
         shl.b32 %d, %t, 2; mov.u32 %b, fixed; add.u32 %b, %b, %d; mov.u32 %c, dynamic; add.u32 %c, %c, %d;\n\
         mov.u32 %v, 0;\n{each}\nst.global.u32 [%a], %v; ret;\n}}\n",
        bytes = THREADS * BLOCKS * 4,
        block_bytes = THREADS * 4,
    )
}

/// Fills every kind of memory with ones.
const WRITE: &str = "mov.u32 %v, -1; st.shared.u32 [%b], %v; st.shared.u32 [%c], %v; st.global.u32 [%e], %v;\n\
    st.local.u32 [own], %v; st.local.u32 [own+4], %v; st.local.u32 [own+8], %v; st.local.u32 [own+12], %v;";

/// Joins all that is found in memory nobody wrote to, one kind at a time.
fn reads() -> [(&'static str, String); 5] {
    let read = |load: &str| format!("{load} or.b32 %v, %v, %w;");
    let local = ["own", "own+4", "own+8", "own+12"].map(|at| read(&format!("ld.local.u32 %w, [{at}];")));
    [
        ("buffer", read("ld.global.u32 %w, [%a];")),
        ("module variable", read("ld.global.u32 %w, [%e];")),
        ("shared memory", read("ld.shared.u32 %w, [%b];")),
        ("dynamic shared memory", read("ld.shared.u32 %w, [%c];")),
        ("local memory", local.concat()),
    ]
}

fn run(backend: &mut CpuBackend, each: &str) -> Vec<u32> {
    let mut bench = Bench::new(&kernel(each), "k").grid([BLOCKS, 1, 1], [THREADS, 1, 1]);
    bench.shared = THREADS * 4;
    let bench = bench.buffer(vec![0; (BLOCKS * THREADS * 4) as usize]);
    let mut program = bench.program();
    program.buffers[0].init = Init::Zero;
    let loaded = bench.load(program).expect("a good program");
    let report: Report =
        backend.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {}).expect("a good run");
    u32s(&report.outputs[0].bytes)
}

#[test]
fn a_second_program_finds_zeros_only() {
    let all = |word: u32| vec![word; (BLOCKS * THREADS) as usize];
    for cores in [1, 4] {
        let mut backend = CpuBackend::with_cores(cores);
        for (what, each) in reads() {
            assert_eq!(run(&mut backend, &each), all(0), "{what}, before anybody wrote");
            assert_eq!(run(&mut backend, WRITE), all(u32::MAX), "the writer writes");
            assert_eq!(run(&mut backend, &each), all(0), "{what} of the program before, on {cores} cores");
        }
    }
}

/// That the readers would find what is there: a program that writes first and then reads its own.
#[test]
fn the_readers_see_what_is_written() {
    let mut backend = CpuBackend::with_cores(2);
    for (what, each) in reads() {
        let own = format!("{WRITE} st.global.u32 [%a], %v; mov.u32 %v, 0; {each}");
        assert!(run(&mut backend, &own).iter().all(|word| *word == u32::MAX), "{what}");
    }
}

/// Blocks of one launch that follow each other on a core share nothing but global memory.
#[test]
fn a_block_finds_nothing_of_the_block_before() {
    let mut backend = CpuBackend::with_cores(1);
    for (what, each) in reads().into_iter().skip(2) {
        // Every thread reads what is there first and fills it afterwards, so that only the next block could find it.
        let read_then_write = format!("{each} mov.u32 %n, %v; {WRITE} mov.u32 %v, %n;");
        assert!(run(&mut backend, &read_then_write).iter().all(|word| *word == 0), "{what}");
    }
}
