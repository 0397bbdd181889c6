//! `alloca`, `stacksave` and `stackrestore`: memory that a thread asks for while it runs.

mod cpu_bench;

use cpu_bench::{Bench, u32_arg, u32s};
use ion_gpu::ptx::{self, Profile, limits::STACK_BYTES};
use ion_protocol::fault::Fault;

fn module(body: &str) -> String {
    format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .func (.reg .b32 r) filled (.reg .b32 n) {{ .reg .b32 a, b; alloca.u32 a, 16; st.local.u32 [a+12], n; \
         alloca.u32 b, n; st.local.u32 [b], 5; ld.local.u32 r, [a+12]; ret; }}\n\
         .visible .entry k(.param .u32 n, .param .u64 out)\n{{\n\
         .reg .b32 %r<8>, %n, %t; .reg .b64 %d<8>, %out; .reg .pred %p; .reg .f32 %f;\n\
         .local .align 4 .b8 own[20];\n\
         ld.param.u32 %n, [n]; ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mad.wide.u32 %out, %t, 8, %out;\n\
         {body}\nret;\n}}\n"
    )
}

/// 40 threads, each with `n`; what each leaves in its two words.
fn bench(body: &str, n: u32) -> Bench {
    Bench::new(&module(body), "k").grid([1; 3], [40, 1, 1]).arg(u32_arg(n)).buffer(vec![0; 320])
}

#[track_caller]
fn each(body: &str, n: u32, expected: impl Fn(u32) -> [u32; 2]) {
    let found = u32s(&bench(body, n).outputs()[0]);
    for (thread, found) in found.chunks_exact(2).enumerate() {
        assert_eq!(found, expected(thread as u32), "thread {thread}: {body}");
    }
}

#[test]
fn each_thread_has_what_it_asked_for() {
    // Two pieces of as many bytes as the thread's number, and one in between, which keeps what is stored there.
    let body = "add.u32 %r0, %t, 4; alloca.u32 %r1, %r0; alloca.u32 %r2, 8; cvt.u64.u32 %d0, %r0; alloca.u64 %d1, %d0;\n\
                st.local.u32 [%r1], %t; st.local.v2.u32 [%r2], {%t, %n}; st.local.u32 [%d1], 77;\n\
                ld.local.u32 %r3, [%r1]; ld.local.u32 %r4, [%r2+4]; add.u32 %r4, %r4, %r3; ld.local.u32 %r5, [%d1];\n\
                st.global.v2.u32 [%out], {%r4, %r5};";
    each(body, 100, |thread| [100 + thread, 77]);
    // The address is a local one, which `cvta` makes generic.
    let body = "alloca.u64 %d0, 8; cvta.local.u64 %d1, %d0; st.u32 [%d1+4], %t; ld.local.u32 %r0, [%d0+4];\n\
                isspacep.local %p, %d1; selp.u32 %r1, 1, 0, %p; st.global.v2.u32 [%out], {%r0, %r1};";
    each(body, 0, |thread| [thread, 1]);
}

#[test]
fn pieces_are_apart_aligned_and_below_what_came_before() {
    let body = "stacksave.u32 %r0; alloca.u32 %r1, 5; sub.u32 %r2, %r0, %r1; alloca.u32 %r3, 1, 1; sub.u32 %r4, %r1, %r3;\n\
                st.global.v2.u32 [%out], {%r2, %r4};";
    each(body, 0, |_| [8, 8]);
    let body = "alloca.u32 %r0, 5; alloca.u32 %r1, 20, 128; and.b32 %r2, %r1, 127; sub.u32 %r3, %r0, %r1;\n\
                setp.ge.u32 %p, %r3, 20; selp.u32 %r3, 1, 0, %p; st.global.v2.u32 [%out], {%r2, %r3};";
    each(body, 0, |_| [0, 1]);
    // All of it, to the last byte, and none of the variables.
    let body = format!(
        "st.local.u32 [own+16], 9; alloca.u32 %r0, {STACK_BYTES}; st.local.u32 [%r0], %t; st.local.u32 [%r0+{}], 3;\n\
         ld.local.u32 %r1, [own+16]; ld.local.u32 %r2, [%r0]; st.global.v2.u32 [%out], {{%r1, %r2}};",
        STACK_BYTES - 4
    );
    each(&body, 0, |thread| [9, thread]);
}

#[test]
fn what_is_given_back_is_given_again() {
    // A thousand times all but a little.
    let body = "mov.u32 %r7, 0;\nROUND: stacksave.u64 %d0; alloca.u64 %d1, 1000; st.local.u32 [%d1], %r7; stackrestore.u64 %d0;\n\
                add.u32 %r7, %r7, 1; setp.lt.u32 %p, %r7, 1000; @%p bra ROUND;\n\
                alloca.u32 %r0, 1000; ld.local.u32 %r1, [%r0]; stacksave.u32 %r2; setp.eq.u32 %p, %r0, %r2;\n\
                selp.u32 %r2, 1, 0, %p; st.global.v2.u32 [%out], {%r1, %r2};";
    each(body, 0, |_| [999, 1]);
    // A function's memory goes when it returns, however often.
    let body = "stacksave.u32 %r0; mov.u32 %r7, 0;\nROUND: call (%r1), filled, (%n); add.u32 %r7, %r7, 1;\n\
                setp.lt.u32 %p, %r7, 300; @%p bra ROUND; stacksave.u32 %r2; sub.u32 %r2, %r0, %r2;\n\
                st.global.v2.u32 [%out], {%r1, %r2};";
    each(body, 500, |_| [500, 0]);
    // Lanes that do not take part keep their stack.
    let body = "stacksave.u32 %r0; setp.lt.u32 %p, %t, 7; @%p alloca.u32 %r1, 64; stacksave.u32 %r2; sub.u32 %r3, %r0, %r2;\n\
                @!%p stackrestore.u32 %r2; @%p stackrestore.u32 %r0; stacksave.u32 %r4; sub.u32 %r4, %r0, %r4;\n\
                st.global.v2.u32 [%out], {%r3, %r4};";
    each(body, 0, |thread| [if thread < 7 { 64 } else { 0 }, 0]);
}

/// A block finds nothing of what the one before it left in its stack.
#[test]
fn nothing_is_left_for_the_next_block() {
    let body = "alloca.u32 %r0, 64; ld.local.u32 %r1, [%r0+60]; st.local.u32 [%r0+60], 42; red.global.max.u32 [%out], %r1;";
    let mut bench = bench(body, 0).grid([9, 1, 1], [40, 1, 1]);
    bench.cores = Some(1);
    assert!(bench.outputs()[0].iter().all(|byte| *byte == 0));
}

#[test]
fn what_does_not_fit_is_out_of_bounds() {
    for wrong in [
        "alloca.u32 %r0, 1025;",
        "alloca.u32 %r0, -1;",
        "alloca.u32 %r0, %n;",
        "alloca.u64 %d0, -8;",
        "alloca.u64 %d0, 0x100000000;",
        "alloca.u64 %d0, 0x8000000000000000;",
        "alloca.u32 %r0, 8, 8388608;",
        "alloca.u32 %r0, 1000; alloca.u32 %r1, 25;",
        "ROUND: alloca.u32 %r0, 8; bra ROUND;",
        // From where it was set to nothing can be had, and what lies there is none of anyone else's.
        "stackrestore.u32 %n; alloca.u32 %r0, 8;",
        "stackrestore.u32 %t; alloca.u32 %r0, 0;",
        "mov.u64 %d0, 0xfffffffffffffff0; stackrestore.u64 %d0; alloca.u32 %r0, 16; st.local.u32 [%r0], 1;",
        "alloca.u32 %r0, 16; st.local.u32 [%r0+16], 1;",
        "alloca.u32 %r0, 16; st.local.u32 [%r0+-2000], 1;",
    ] {
        let found = bench(wrong, 0xffff_fff0).run().expect_err(wrong);
        match &found {
            Fault::OutOfBounds { space, place, .. } => {
                assert_eq!((space.as_str(), place.thread), ("local", [0; 3]), "{wrong}: {found}")
            }
            _ => panic!("{wrong}: {found}"),
        }
    }
    // To set it anywhere is no fault as long as nothing is asked for.
    each("stackrestore.u32 %n; stacksave.u32 %r0; st.global.v2.u32 [%out], {%r0, %r0};", 0xffff_fff0, |_| {
        [0xffff_fff0; 2]
    });
}

#[test]
fn a_kernel_says_what_it_takes() {
    let takes = |body: &str| ptx::inspect(&module(body)).unwrap().kernels[0].resources.clone();
    assert_eq!(takes("").local_bytes, 20);
    let resources = takes("alloca.u32 %r0, 4;");
    assert_eq!((resources.local_bytes, resources.profile), (32 + STACK_BYTES, Some(Profile::Exact)));
}

#[test]
fn what_an_assembler_refuses_is_refused() {
    for (wrong, expected) in [
        ("alloca.u32 %r0, 64, 3;", "expected a power of two, at most 8388608"),
        ("alloca.u32 %r0, 64, 0;", "expected a power of two"),
        ("alloca.u32 %r0, 64, -8;", "expected a power of two"),
        ("alloca.u32 %r0, 64, 16777216;", "expected a power of two"),
        ("alloca.u32 %r0, 64, %r1;", "expected a power of two"),
        ("alloca.b32 %r0, 64;", "does not take `.b32`"),
        ("alloca.s32 %r0, 64;", "does not take `.s32`"),
        ("alloca %r0, 64;", "expected .u32 .u64"),
        ("alloca.u64 %r0, 64;", "expected a .u64 register"),
        ("alloca.u32 %r0, %d0;", "expected a .u32 value"),
        ("alloca.u64 %d0, %r0;", "expected a .u64 value"),
        ("alloca.u32 %f, 64;", "expected a .u32 register"),
        ("alloca.u32 _, 64;", "expected a .u32 register"),
        ("stacksave.u32 %f;", "expected a .u32 register"),
        ("stacksave.u32 _;", "expected a .u32 register"),
        ("stacksave.b64 %d0;", "does not take `.b64`"),
        ("stackrestore.u32 5;", "expected a .u32 register"),
        ("stackrestore.u32 %d0;", "expected a .u32 register"),
        ("stackrestore.b32 %r0;", "does not take `.b32`"),
    ] {
        let text = module(wrong);
        let found = ptx::parse(&text).expect_err(wrong).render(&text);
        assert!(found.contains(expected), "{wrong}\n{found}");
    }
}
