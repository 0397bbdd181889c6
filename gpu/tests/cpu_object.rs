//! Barrier objects (`mbarrier`): held against a model one operation at a time, and in the ways programs use them.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_u32, u32s};
use ion_gpu::ptx;

/// A barrier object as the PTX manual describes it.
#[derive(Debug, Clone, Copy)]
struct Model {
    phase: u32,
    pending: i64,
    expected: i64,
    bytes: i64,
}

impl Model {
    fn arrive(&mut self, threads: i64) {
        self.pending -= threads;
        self.end_of_phase();
    }

    fn end_of_phase(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            (self.phase, self.pending) = (self.phase + 1, self.expected);
        }
    }
}

fn kernel(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .b64 o, i, s, t, at; .reg .b32 r, n, v, w, x, a; .reg .pred p, q, z;\n\
         .shared .align 8 .b64 object[4]; .shared .align 16 .b8 room[4096];\n\
         ld.param.u64 o, [out]; mov.u32 r, %tid.x;\n{body}\nret;\n}}\n"
    )
}

/// An operation on the object, among those that the model's state allows, as text and as what it does.
fn step(rng: &mut fastrand::Rng, model: &mut Model) -> String {
    // A phase whose threads are all here ends with its bytes, so at least one is kept for last.
    let some = |rng: &mut fastrand::Rng, most: i64| rng.i64(1..=most.max(1));
    match rng.u8(0..8) {
        0 if model.bytes < 1000 => {
            let n = some(rng, 400);
            model.bytes += n;
            format!("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [object], {n};")
        }
        1 if model.bytes > 0 => {
            let n = some(rng, model.bytes);
            model.bytes -= n;
            model.end_of_phase();
            format!("mbarrier.complete_tx.shared::cluster.b64 [object], {n};")
        }
        2 if model.pending > 0 && model.expected > 1 => {
            let n = some(rng, model.pending.min(model.expected - 1));
            model.expected -= n;
            model.arrive(n);
            format!("mbarrier.arrive_drop.release.cta.shared.b64 s, [object], {n};")
        }
        3 if model.pending > 1 => {
            let n = some(rng, model.pending - 1);
            model.pending -= n;
            format!("mbarrier.arrive.noComplete.shared.b64 s, [object], {n};")
        }
        4 if model.pending > 0 => {
            let n = some(rng, 50);
            model.bytes += n;
            model.arrive(1);
            format!("cvta.shared.u64 at, object; mbarrier.arrive.expect_tx.b64 s, [at], {n};")
        }
        5 if model.pending > 0 => {
            // One more to wait for, who arrives at once.
            model.pending += 1;
            model.arrive(1);
            "cp.async.mbarrier.arrive.shared.b64 [object];".into()
        }
        6 if model.pending > 0 => {
            model.arrive(1);
            "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [object];".into()
        }
        _ if model.pending > 0 => {
            let n = some(rng, model.pending);
            model.arrive(n);
            format!("mov.u32 n, {n}; mov.u32 a, object; mbarrier.arrive.shared::cta.b64 s, [a], n;")
        }
        _ => {
            // Only bytes are missing.
            let n = model.bytes;
            model.bytes = 0;
            model.end_of_phase();
            format!("mbarrier.complete_tx.relaxed.cluster.shared.b64 [object], {n};")
        }
    }
}

#[test]
fn operations_follow_the_model() {
    const STEPS: usize = 40;
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.i64(1..200);
        let mut model = Model { phase: 0, pending: count, expected: count, bytes: 0 };
        let mut text = format!("mbarrier.init.shared.b64 [object], {count};\n");
        let mut expected = Vec::new();
        for n in 0..STEPS {
            let before = model;
            // The state is that of the moment before: a join would see it, so the test asks right after.
            text.push_str(&format!(
                "mbarrier.arrive.shared.b64 t, [object], 0;\n{}\n",
                step(&mut rng, &mut model)
            ));
            text.push_str(&format!(
                "mbarrier.pending_count.b64 n, t; mbarrier.test_wait.shared.b64 p, [object], t; selp.u32 v, 1, 0, p;\n\
                 mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 q, [object], 0, 20; selp.u32 w, 2, 0, q;\n\
                 mbarrier.test_wait.parity.relaxed.cluster.shared::cta.b64 q, [object], 1; selp.u32 x, 4, 0, q;\n\
                 or.b32 v, v, w; or.b32 v, v, x; st.global.v2.u32 [o+{}], {{n, v}};\n",
                8 * n
            ));
            let over = u32::from(model.phase != before.phase);
            let odd = model.phase & 1;
            expected.extend([before.pending as u32, over | odd << 1 | (1 - odd) << 2]);
        }
        let bench = Bench::new(&kernel(&text), "k").buffer(vec![0; 8 * STEPS]).grid([1; 3], [1, 1, 1]);
        assert_eq!(u32s(&bench.outputs()[0]), expected, "seed {seed}");
    }
}

/// Every thread of the block arrives and waits by the state it was given, round after round, and then reads what its
/// neighbour wrote.
#[test]
fn a_block_meets_at_an_object_as_at_a_barrier() {
    let text = kernel(
        "mov.u32 x, %ntid.x; setp.ne.u32 p, r, 0; @!p mbarrier.init.shared.b64 [object], x; bar.sync 0;\n\
         mov.u32 n, 0; mov.u32 v, r; shl.b32 a, r, 2; mov.u32 w, room; add.u32 a, a, w;\n\
         ROUND: st.shared.u32 [a], v; mbarrier.arrive.shared.b64 s, [object];\n\
         WAIT: mbarrier.test_wait.shared.b64 p, [object], s; @!p bra WAIT;\n\
         add.u32 w, r, 1; setp.eq.u32 p, w, x; selp.u32 w, 0, w, p; shl.b32 w, w, 2; mov.u32 v, room; add.u32 w, w, v;\n\
         ld.shared.u32 v, [w]; mbarrier.arrive.shared.b64 s, [object];\n\
         AGAIN: mbarrier.try_wait.shared.b64 p, [object], s; @!p bra AGAIN;\n\
         add.u32 n, n, 1; setp.lt.u32 p, n, 5; @p bra ROUND;\n\
         mad.wide.u32 at, r, 4, o; st.global.u32 [at], v;",
    );
    for threads in [1, 32, 200] {
        let bench = Bench::new(&text, "k").buffer(vec![0; 4 * threads]).grid([1; 3], [threads as u32, 1, 1]);
        let expected: Vec<u32> = (0..threads).map(|n| ((n + 5) % threads) as u32).collect();
        assert_eq!(u32s(&bench.outputs()[0]), expected, "{threads} threads");
    }
}

/// One warp copies ahead into two rooms, another sums what is in them; each waits for the other by parity.
#[test]
fn copies_are_waited_for_by_who_did_not_begin_them() {
    let text = kernel(
        "setp.ne.u32 p, r, 0; @p bra READY; mbarrier.init.shared.b64 [object], 32; mbarrier.init.shared.b64 [object+8], 32;\n\
         mbarrier.init.shared.b64 [object+16], 32; mbarrier.init.shared.b64 [object+24], 32;\n\
         fence.mbarrier_init.release.cluster;\nREADY: bar.sync 0;\n\
         mov.u32 n, 0; mov.u32 v, 0; and.b32 x, r, 31; setp.ge.u32 z, r, 32; @z bra CONSUMER;\n\
         PRODUCER: and.b32 w, n, 1; shl.b32 a, w, 3; mov.u32 r, object; add.u32 a, a, r; shr.u32 r, n, 1; xor.b32 r, r, 1; and.b32 r, r, 1;\n\
         FREE: mbarrier.try_wait.parity.shared.b64 p, [a+16], r; @!p bra FREE;\n\
         shl.b32 w, w, 7; mad.lo.u32 w, x, 4, w; mov.u32 r, room; add.u32 w, w, r; mad.lo.u32 r, n, 32, x; mad.wide.u32 at, r, 4, o;\n\
         cp.async.ca.shared.global [w], [at], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [a];\n\
         add.u32 n, n, 1; setp.lt.u32 p, n, 16; @p bra PRODUCER; ret;\n\
         CONSUMER: and.b32 w, n, 1; shl.b32 a, w, 3; mov.u32 r, object; add.u32 a, a, r; shr.u32 r, n, 1; and.b32 r, r, 1;\n\
         FULL: mbarrier.try_wait.parity.shared.b64 p, [a], r; @!p bra FULL;\n\
         shl.b32 w, w, 7; mad.lo.u32 w, x, 4, w; mov.u32 r, room; add.u32 w, w, r; ld.shared.u32 r, [w]; mad.lo.u32 v, v, 3, r;\n\
         mbarrier.arrive.shared.b64 s, [a+16];\n\
         add.u32 n, n, 1; setp.lt.u32 p, n, 16; @p bra CONSUMER;\n\
         mad.wide.u32 at, x, 4, o; st.global.u32 [at+2048], v;",
    );
    let input: Vec<u32> = (0..512u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
    let mut content = bytes_of_u32(&input);
    content.extend([0; 128]);
    let bench = Bench::new(&text, "k").buffer(content).grid([1; 3], [64, 1, 1]);
    let found = u32s(&bench.outputs()[0])[512..].to_vec();
    let sum = |lane: usize| (0..16).fold(0u32, |v, n| v.wrapping_mul(3).wrapping_add(input[n * 32 + lane]));
    assert_eq!(found, (0..32).map(sum).collect::<Vec<u32>>());
}

/// A state tells how many threads were still missing, which depends on the order of warps: a test of it does not.
#[test]
fn states_that_are_only_tested_leave_a_kernel_exact() {
    let profile = |rest: &str| {
        let text = kernel(&format!("mbarrier.arrive.shared.b64 s, [object];\n{rest}"));
        let module = ptx::parse(&text).unwrap_or_else(|refusal| panic!("{}", refusal.render(&text)));
        let kernel = module.kernels().next().unwrap();
        ptx::profile(&module, kernel).to_string()
    };
    assert_eq!(profile("mbarrier.test_wait.shared.b64 p, [object], s;"), "exact");
    for rest in ["st.global.u64 [o], s;", "mbarrier.pending_count.b64 n, s;", "mov.b64 {n, v}, s;"] {
        assert!(profile(rest).starts_with("not checkable block by block: it looks into"), "{rest}");
    }
}
