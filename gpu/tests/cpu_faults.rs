//! Where kernels end badly: each fault tells its line, block and thread. That they end, whatever they do, is held by
//! `gpu/tests/hostile`.

mod cpu_bench;

use cpu_bench::{Bench, LIMITS, u32_arg, u64_arg};
use ion_protocol::{Bytes, fault::Fault};

const HOSTILE: &str = include_str!("../kernels/hostile.ptx");

fn fault(bench: &Bench) -> Fault {
    bench.run().expect_err("the kernel is made to fail")
}

#[test]
fn a_stop_from_outside_ends_an_endless_loop() {
    use ion_gpu::{backend::Backend, cpu::CpuBackend};
    let bench = Bench::new(HOSTILE, "loop_forever");
    for mut backend in [CpuBackend::default(), CpuBackend::default().interpreting()] {
        let loaded = bench.load(bench.program()).unwrap();
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let mut beats = 0;
        let found = backend.run(loaded, &LIMITS, &cancel, &mut |_| {
            beats += 1;
            cancel.store(beats == 3, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(found, Err(Fault::Cancelled));
    }
}

/// Whether an access just past a buffer, far from it, or just before it is caught, with its line and place.
#[test]
fn wild_global_addresses_are_out_of_bounds() {
    for index in [16i64, 17, -1, 1 << 32, -(1 << 40), i64::MAX, 1 << 34] {
        let bench = Bench::new(HOSTILE, "out_of_bounds").buffer(vec![0; 64]).arg(u64_arg(index as u64));
        let bench = bench.grid([2, 1, 1], [4, 2, 1]);
        let start = HOSTILE.lines().position(|l| l.contains("entry out_of_bounds")).unwrap();
        let line = start + HOSTILE.lines().skip(start).position(|l| l.contains("st.global")).unwrap() + 1;
        match fault(&bench) {
            Fault::OutOfBounds { space, place, .. } => {
                assert_eq!((space.as_str(), place.kernel.as_str()), ("global", "out_of_bounds"), "{index}");
                assert_eq!((place.line, place.block, place.thread), (line as u32, [0; 3], [0; 3]), "{index}");
            }
            other => panic!("index {index}: {other}"),
        }
    }
    let bench = Bench::new(HOSTILE, "out_of_bounds").buffer(vec![0; 64]).arg(u64_arg(15));
    assert_eq!(bench.outputs()[0][60..], [7, 0, 0, 0]);
}

#[test]
fn traps_and_barriers_tell_the_thread() {
    match fault(&Bench::new(HOSTILE, "trap_now")) {
        Fault::Trap { place } => assert_eq!(place.thread, [5, 0, 0]),
        other => panic!("{other}"),
    }
    match fault(&Bench::new(HOSTILE, "divergent_barrier")) {
        Fault::DivergentBarrier { place } => assert_eq!(place.kernel, "divergent_barrier"),
        other => panic!("{other}"),
    }
    // Warps that wait at different barriers.
    let text = ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry k() {\n.reg .pred %p; .reg .b32 %r;\n\
                mov.u32 %r, %tid.x;\nsetp.lt.u32 %p, %r, 32;\n@%p bar.sync 1;\n@!%p bar.sync 2;\nret; }";
    let bench = Bench::new(text, "k").grid([1; 3], [64, 1, 1]);
    assert!(matches!(fault(&bench), Fault::DivergentBarrier { place } if place.line == 8));
}

/// The fault of the first block in the order of the grid, on any number of cores.
#[test]
fn the_first_fault_is_told_every_time() {
    let text = ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry k() {\n.reg .pred %p; .reg .b32 %r;\n\
                mov.u32 %r, %ctaid.x;\nsetp.lt.u32 %p, %r, 7;\n@%p ret;\ntrap;\n}";
    for cores in [1, 2, 5, 16] {
        for _ in 0..20 {
            let mut bench = Bench::new(text, "k").grid([200, 1, 1], [32, 1, 1]);
            bench.cores = Some(cores);
            match fault(&bench) {
                Fault::Trap { place } => assert_eq!(place.block, [7, 0, 0], "{cores} cores"),
                other => panic!("{other}"),
            }
        }
    }
}

/// A program that faults and also overspends its budget ends with what came first as if its blocks ran one after the other:
/// on both engines, on any number of cores, whatever blocks behind the fault have spent meanwhile.
#[test]
fn what_comes_first_of_a_fault_and_the_budget_is_told() {
    // Block n runs n * 2654435761 mod 1024 rounds, so that later blocks are often done before earlier ones.
    let text = ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry k(.param .u32 who) {\n\
                .reg .pred %p; .reg .b32 %b, %n, %who;\n\
                mov.u32 %b, %ctaid.x; ld.param.u32 %who, [who]; mul.lo.u32 %n, %b, 2654435761; shr.u32 %n, %n, 22;\n\
                LOOP: setp.eq.u32 %p, %n, 0; @%p bra END; sub.u32 %n, %n, 1; bra LOOP;\n\
                END: setp.eq.u32 %p, %b, %who; @%p trap; ret;\n}";
    let run = |who: u32, blocks: u32, fuel: Option<u64>, cores: usize| {
        let mut bench = Bench::new(text, "k").grid([blocks, 1, 1], [32, 1, 1]).arg(u32_arg(who));
        (bench.limits.fuel, bench.cores) = (fuel, Some(cores));
        bench.run().map(|report| report.instructions.expect("they are counted"))
    };
    for who in [0, 1, 7, 30, 99] {
        // Without the exit of the last block.
        let before = run(u32::MAX, who + 1, None, 1).expect("nobody faults") - 1;
        let mut rng = fastrand::Rng::with_seed(who.into());
        let budgets = (0..20).map(|_| rng.u64(1..2 * before)).chain([before - 1, before, before + 1]);
        for (fuel, cores) in budgets.flat_map(|fuel| [1, 2, 5].map(|cores| (fuel, cores))) {
            match run(who, 100, Some(fuel), cores) {
                Err(Fault::Trap { place }) => {
                    assert!(
                        fuel >= before && place.block == [who, 0, 0],
                        "{fuel} of {before}, {cores} cores"
                    );
                }
                Err(Fault::Fuel { limit }) => {
                    assert!(fuel < before && limit == fuel, "{fuel} of {before}, {cores} cores");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Threads access a row of elements, of which the last are beyond the end of the buffer, or before its beginning: the first
/// of these threads is told, whatever the size, the distance and the memory.
#[test]
fn rows_that_leave_their_memory_tell_the_first_thread_outside() {
    for (size, kind) in
        [(1, "u8 %x"), (2, "u16 %x"), (4, "u32 %x"), (8, "v2.u32 {%x, %y}"), (16, "v4.u32 {%x, %y, %x, %y}")]
    {
        let store = kind.replace("%x, %y, %x", "%x, %y, %y");
        let [(load_kind, load_to), (store_kind, store_from)] =
            [kind, &store].map(|kind| kind.split_once(' ').expect("two words"));
        for (space, apart, writes) in ["global", "shared"]
            .iter()
            .flat_map(|s| [(s, 1, true), (s, 1, false), (s, 3, true), (s, 2, false)])
        {
            let access = if writes {
                format!("st.{space}.{store_kind} [%a], {store_from}")
            } else {
                format!("ld.{space}.{load_kind} {load_to}, [%a]")
                    .replace("{%x, %y, %x, %y}", "{%x, %y, %z, %w}")
            };
            let text = format!(
                ".version 7.8\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 cells[];\n\
                 .visible .entry k(.param .u32 first, .param .u64 in, .param .u64 out)\n{{\n\
                 .reg .b32 %t, %i, %first, %x, %y, %z, %w; .reg .b64 %a, %in, %o;\n\
                 mov.u32 %t, %tid.x; ld.param.u32 %first, [first]; mov.u32 %x, 1; mov.u32 %y, 1;\n\
                 mad.lo.u32 %i, %t, {apart}, %first; {}\n\
                 mad.wide.s32 %a, %i, {size}, %in;\n{access};\n\
                 ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 4, %o; st.global.u32 [%o], %x; ret;\n}}\n",
                if *space == "global" { "ld.param.u64 %in, [in];" } else { "mov.u64 %in, cells;" }
            );
            for threads in [32u32, 40, 5] {
                for outside in [0, 1, 3, 4, 7, 8, 12, 15, 16, 31, 33, 39]
                    .into_iter()
                    .filter(|n| *n < threads)
                    .chain([threads])
                {
                    // A buffer is not empty: at 0 it is the first thread alone that is outside, before the beginning.
                    let elements = if outside == 0 { threads * apart } else { outside * apart } as usize;
                    let first = if outside == 0 { u32::MAX } else { 0 };
                    let mut bench = Bench::new(&text, "k").grid([1; 3], [threads, 1, 1]).arg(u32_arg(first));
                    bench.shared = (elements * size) as u32;
                    let bench = bench.buffer(vec![1; elements * size]).buffer(vec![0; 160]);
                    let what = format!("{access}, {apart} apart, {threads} threads, {outside} inside");
                    match bench.run() {
                        Ok(_) => assert!(outside == threads, "{what}"),
                        Err(Fault::OutOfBounds { place, .. }) => {
                            assert!(
                                outside < threads && place.thread == [outside, 0, 0],
                                "{what}: {place:?}"
                            );
                        }
                        Err(other) => panic!("{what}: {other}"),
                    }
                }
            }
        }
    }
}

#[test]
fn too_much_memory_is_refused_before_anything_runs() {
    let mut bench = Bench::new(HOSTILE, "misaligned").buffer(vec![0; 64]);
    bench.limits.memory = Bytes(63);
    assert_eq!(fault(&bench), Fault::Memory { needed: Bytes(64), limit: Bytes(63) });
}

#[test]
fn wrong_launches_are_refused_with_what_is_expected() {
    let message = |bench: &Bench| match fault(bench) {
        Fault::Program { message } => message,
        other => panic!("{other}"),
    };
    let said = message(&Bench::new(HOSTILE, "no_such_kernel"));
    assert!(said.contains("has no kernel `no_such_kernel`; it has divergent_barrier"), "{said}");
    let said = message(&Bench::new(HOSTILE, "misaligned"));
    assert!(said.contains("0 arguments; expected 1"), "{said}");
    let said = message(&Bench::new(HOSTILE, "misaligned").arg(cpu_bench::f32_arg(1.0)));
    assert!(
        said.contains("argument 0 is a number of type f32; expected a buffer or a number (.u64)"),
        "{said}"
    );
    let said = message(&Bench::new(HOSTILE, "trap_now").grid([1; 3], [1025, 1, 1]));
    assert!(said.contains("block 1025 x 1 x 1; expected 1 to 1024 threads"), "{said}");
    let mut bench = Bench::new(HOSTILE, "trap_now");
    bench.shared = 300_000;
    assert!(message(&bench).contains("300000 bytes of shared memory"));
}
