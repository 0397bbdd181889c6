//! Registers of 128 bits and of one byte: packed, unpacked, moved, loaded, stored and exchanged, by values written down
//! here.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_u64, u64s};
use ion_gpu::ptx::{self, Profile};
use ion_protocol::fault::Fault;

const A: u64 = 0x0123_4567_89ab_cdef;
const B: u64 = 0xfedc_ba98_7654_3210;
const C: u64 = 0x1111_2222_3333_4444;
const D: u64 = 0x5555_6666_7777_8888;

fn module(body: &str) -> String {
    format!(
        ".version 8.3\n.target sm_90\n.address_size 64\n\
         .global .b128 twelve = 12;\n.global .align 16 .b128 pair[2] = {{1, -1}};\n\
         .func (.reg .b128 r) turned (.reg .b128 a) {{ .reg .b64 l, h; mov.b128 {{l, h}}, a; mov.b128 r, {{h, l}}; ret; }}\n\
         .func (.reg .b32 r) low (.reg .b8 a) {{ cvt.u32.u8 r, a; ret; }}\n\
         .visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .b128 %q<4>; .reg .b64 %d<4>, %in, %out; .reg .b32 %r<5>; .reg .b16 %h<3>; .reg .b8 %y<4>; .reg .u8 %u<4>;\n\
         .reg .f64 %g<2>; .reg .f32 %f<4>; .reg .pred %p; .reg .v4 .b8 %v;\n\
         .shared .b128 cell; .local .b128 own[2];\n\
         ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n{body}\nret;\n}}\n"
    )
}

/// One thread's kernel over the four words above: what it leaves in two more, and in those.
fn bench(body: &str) -> Bench {
    Bench::new(&module(body), "k")
        .grid([1; 3], [1, 1, 1])
        .buffer(bytes_of_u64(&[A, B, C, D]))
        .buffer(vec![0; 16])
}

#[track_caller]
fn gives(body: &str, expected: [u64; 2]) {
    let found = u64s(&bench(body).outputs()[1]);
    assert_eq!(found, expected, "{body}: {found:#x?}");
}

const OUT: &str = "st.global.b128 [%out], %q0;";

#[test]
fn parts_go_to_their_places() {
    let load = "ld.global.v2.u64 {%d0, %d1}, [%in];";
    gives(&format!("{load} mov.b128 %q0, {{%d0, %d1}}; {OUT}"), [A, B]);
    gives(&format!("{load} mov.b128 %q0, {{%d1, 7}}; {OUT}"), [B, 7]);
    gives(&format!("{load} mov.b128 %q1, {{%d1, %d0}}; mov.b128 %q0, %q1; {OUT}"), [B, A]);
    let words = "ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%in];";
    let turned = [B.rotate_right(32), A.rotate_right(32)];
    gives(&format!("{words} mov.b128 %q0, {{%r3, %r2, %r1, %r0}}; {OUT}"), turned);
    gives(
        "ld.global.b128 %q1, [%in]; mov.b128 {%r0, %f1, %r2, %r3}, %q1; mov.b128 %q0, {%r3, %r2, %f1, %r0}; \
         st.global.b128 [%out], %q0;",
        turned,
    );
    gives("ld.global.b128 %q1, [%in+16]; mov.b128 {_, %g0}, %q1; st.global.f64 [%out], %g0;", [D, 0]);
    gives("ld.global.b128 %q1, [%in+16]; mov.b128 {%d0, _}, %q1; st.global.u64 [%out+8], %d0;", [0, C]);
}

#[test]
fn every_space_holds_128_bits() {
    for through in [
        "st.shared.b128 [cell], %q1; ld.shared.b128 %q0, [cell];",
        "st.volatile.shared.b128 [cell], %q1; ld.relaxed.cta.shared.b128 %q0, [cell];",
        "st.local.b128 [own+16], %q1; ld.local.b128 %q0, [own+16];",
        "st.weak.global.b128 [%in], %q1; ld.global.nc.b128 %q0, [%in];",
        "st.release.gpu.b128 [%in], %q1; ld.acquire.gpu.global.b128 %q0, [%in];",
        "{ .param .b128 x; st.param.b128 [x], %q1; ld.param.b128 %q0, [x]; }",
    ] {
        gives(&format!("ld.global.b128 %q1, [%in+16]; {through} {OUT}"), [C, D]);
    }
    gives("ld.global.b128 %q0, [twelve]; st.global.b128 [%out], %q0;", [12, 0]);
    gives("ld.global.b128 %q0, [pair+16]; st.global.b128 [%out], %q0;", [u64::MAX, 0]);
    // A guard that does not hold leaves both halves as they are.
    gives(
        "ld.global.b128 %q0, [%in]; setp.eq.u64 %p, %in, 0; @%p ld.global.b128 %q0, [%in+16]; @%p mov.b128 %q0, %q1; \
         st.global.b128 [%out], %q0;",
        [A, B],
    );
    gives("ld.global.b128 %q1, [%in]; call (%q0), turned, (%q1); st.global.b128 [%out], %q0;", [B, A]);
}

#[test]
fn exchanges_take_all_or_nothing() {
    for at in ["[%in]", "[cell]"] {
        let space = if at == "[cell]" { ".shared" } else { ".global" };
        let set =
            format!("ld.global.b128 %q1, [%in]; ld.global.b128 %q2, [%in+16]; st{space}.b128 {at}, %q1;");
        let show = format!("ld{space}.b128 %q3, {at};");
        gives(&format!("{set} atom{space}.exch.b128 %q0, {at}, %q2; {OUT}"), [A, B]);
        gives(&format!("{set} atom{space}.exch.b128 _, {at}, %q2; {show} mov.b128 %q0, %q3; {OUT}"), [C, D]);
        let cas = |with: &str| format!("{set} atom.acq_rel.gpu{space}.cas.b128 %q0, {at}, {with}, %q2;");
        gives(&format!("{} {OUT}", cas("%q1")), [A, B]);
        gives(&format!("{} {show} mov.b128 %q0, %q3; {OUT}", cas("%q1")), [C, D]);
        // One half that is alike is not enough.
        let half = "mov.b128 {%d0, %d1}, %q1; mov.b128 %q3, {%d0, %d0};";
        let almost = cas("%q3").replace("atom", &format!("{half} atom"));
        gives(&format!("{almost} {show} mov.b128 %q0, %q3; {OUT}"), [A, B]);
    }
}

/// Many threads on both cores take turns: whoever finds the two halves unlike has seen half an exchange.
#[test]
fn no_exchange_is_seen_half_done() {
    let body = ".reg .b32 %n, %i; mov.u32 %i, %tid.x; mov.u32 %n, %ctaid.x; mad.lo.u32 %i, %n, 64, %i;\n\
                cvt.u64.u32 %d0, %i; mov.u32 %n, 0;\n\
                ROUND: mov.b128 %q1, {%d0, %d0}; atom.global.exch.b128 %q0, [%in], %q1;\n\
                mov.b128 {%d1, %d2}, %q0; setp.ne.u64 %p, %d1, %d2; @%p st.global.u64 [%out], 1;\n\
                ld.relaxed.gpu.global.b128 %q0, [%in];\n\
                mov.b128 {%d1, %d2}, %q0; setp.ne.u64 %p, %d1, %d2; @%p st.global.u64 [%out+8], 1;\n\
                add.u64 %d0, %d0, 1; add.u32 %n, %n, 1; setp.lt.u32 %p, %n, 50; @%p bra ROUND;";
    let bench =
        Bench::new(&module(body), "k").grid([8, 1, 1], [64, 1, 1]).buffer(vec![0; 16]).buffer(vec![0; 16]);
    let loaded = bench.load(bench.program()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut backend = ion_gpu::cpu::CpuBackend::with_cores(2);
    let ran = ion_gpu::backend::Backend::run(&mut backend, loaded, &cpu_bench::LIMITS, &stop, &mut |_| {});
    assert_eq!(u64s(&ran.unwrap().outputs[1].bytes), [0, 0]);
}

#[test]
fn bytes_are_packed_and_taken_apart() {
    gives(
        "ld.global.v4.u8 {%y0, %y1, %y2, %y3}, [%in]; mov.b32 %r0, {%y0, %y1, %y2, %y3}; mov.b32 %r1, {%y3, 300, %y1, -1}; \
         st.global.v2.b32 [%out], {%r0, %r1};",
        [(0xff00_0000 | 0xcd << 16 | 0x2c << 8 | 0x89) << 32 | 0x89ab_cdef, 0],
    );
    gives(
        "ld.global.b32 %r0, [%in]; mov.b32 {%y0, _, %y2, %u3}, %r0; cvt.u32.u8 %r1, %y0; cvt.s32.s8 %r2, %y2; \
         st.global.v2.b32 [%out], {%r1, %r2}; st.global.u8 [%out+9], %u3;",
        [0xffff_ffab << 32 | 0xef, 0x8900],
    );
    gives(
        "ld.global.u16 %h0, [%in]; mov.b16 {%y0, %y1}, %h0; mov.b16 %h1, {%y1, %y0}; mov.b16 %h2, {5, 6}; \
         st.global.v2.b16 [%out], {%h1, %h2};",
        [0x0605_efcd, 0],
    );
    gives(
        "ld.global.b32 %f0, [%in]; mov.b32 %v, %f0; mov.b32 %f1, {%v.w, %v.z, %v.y, %v.x}; mov.b32 %r0, %v; \
         st.global.b32 [%out], %f1; st.global.b32 [%out+4], %r0;",
        [0x89ab_cdef_efcd_ab89, 0],
    );
    gives(
        "cvt.u8.u64 %y0, %in; ld.global.s8 %y1, [%in+1]; call (%r0), low, (%y1); st.global.b32 [%out], %r0;",
        [0xcd, 0],
    );
}

#[test]
fn a_launch_gives_128_bits_as_a_struct() {
    let text = ".version 8.3\n.target sm_90\n.address_size 64\n.visible .entry k(.param .b128 x, .param .u64 out)\n\
                { .reg .b128 %q; .reg .b64 %d; ld.param.b128 %q, [x]; ld.param.u64 %d, [out]; st.global.b128 [%d], %q; ret; }";
    let bench = Bench::new(text, "k").grid([1; 3], [1, 1, 1]);
    let bench = bench.fields(&[cpu_bench::u64_arg(A), cpu_bench::u64_arg(B)]).buffer(vec![0; 16]);
    assert_eq!(u64s(&bench.outputs()[0]), [A, B]);
    let text = module("");
    assert_eq!(ptx::inspect(&text).unwrap().kernels[0].resources.profile, Some(Profile::Exact));
}

#[test]
fn an_address_must_be_a_multiple_of_16() {
    for access in [
        "ld.global.b128 %q0, [%in+8];",
        "st.volatile.global.b128 [%in+8], %q0;",
        "atom.exch.b128 %q0, [%in+8], %q0;",
    ] {
        let found = bench(access).run().unwrap_err();
        assert!(matches!(found, Fault::Misaligned { .. }), "{access}: {found}");
    }
    for access in ["ld.relaxed.gpu.b128 %q0, [%in+32];", "atom.global.cas.b128 %q0, [%in+-16], %q0, %q0;"] {
        let found = bench(access).run().unwrap_err();
        assert!(matches!(found, Fault::OutOfBounds { .. }), "{access}: {found}");
    }
}

#[test]
fn what_an_assembler_refuses_is_refused() {
    for (wrong, expected) in [
        ("mov.b128 %q0, 5;", "expected a .b128 register, or a vector"),
        ("mov.b128 %q0, twelve;", "expected a .b128 register, or a vector"),
        ("mov.b128 %q0, %d0;", "a .b64 register"),
        ("mov.b128 %d0, %q0;", "a .b64 register"),
        ("mov.b64 %d0, %q0;", "a .b128 register"),
        ("mov.b128 %q0, {%r0, %r1};", "expected 2 or 4 parts of together 128 bits"),
        ("mov.b128 {_, _}, %q0;", "expected at least one register"),
        ("mov.b128 {%d0, %d1}, {%d1, %d0};", "expected one register"),
        ("mov.b32 {%h0, %h1}, {%h1, %h0};", "expected one register"),
        ("mov.u128 %q0, %q1;", "does not take `.u128`"),
        ("mov.v2.b128 {%q0, %q1}, {%q1, %q0};", "does not take `.b128`"),
        ("ld.global.v2.b128 {%q0, %q1}, [%in];", "at most 128 bits"),
        ("st.global.v2.b128 [%in], {%q0, %q1};", "at most 128 bits"),
        ("ld.global.b128 %d0, [%in];", "expected a .b128 register"),
        ("st.global.b128 [%in], %d0;", "expected a .b128 register"),
        ("st.global.b128 [%in], 5;", "expected a .b128 value"),
        ("atom.global.cas.L2::cache_hint.b128 %q0, [%in], %q1, %q2, %d0;", "does not take `.L2::cache_hint`"),
        ("atom.global.and.b128 %q0, [%in], %q1;", "does not take `.b128`"),
        ("atom.local.exch.b128 %q0, [own], %q1;", "does not take `.local`"),
        ("red.global.exch.b128 [%in], %q1;", "does not take `.exch`"),
        ("selp.b128 %q0, %q1, %q2, %p;", "does not take `.b128`"),
        ("{ .reg .v2 .b128 x; }", "expected a register type"),
        ("{ .shared .v2 .b128 x; }", "expected a type of at most 64 bits for a vector"),
        ("mov.b32 %r0, {%h0, %h1, %h2, %h0};", "expected 2 or 4 parts of together 32 bits"),
        ("mov.b32 %r0, {%y0, %y1};", "expected 2 or 4 parts of together 32 bits"),
        ("mov.b64 %d0, {%y0, %y1, %y2, %y3};", "expected 2 or 4 parts of together 64 bits"),
        ("mov.b16 %h0, {1, 2, 3, 4};", "expected 2 or 4 parts of together 16 bits"),
        ("mov.u32 %r0, {%y0, %y1, %y2, %y3};", "expected 2 or 4 parts"),
        ("mov.b8 %y0, %y1;", "does not take `.b8`"),
        ("mov.b16 %h0, %y0;", "a .b8 register"),
        ("add.u16 %h0, %y0, %h1;", "a .b8 register"),
        ("ld.global.u16 %y0, [%in];", "expected a .u16 register"),
        ("cvt.u32.u16 %r0, %y0;", "a .b8 register"),
        ("call (%r0), low, (%h0);", "another kind of parameters"),
    ] {
        let text = module(wrong);
        let found = ptx::parse(&text).expect_err(wrong).render(&text);
        assert!(found.contains(expected), "{wrong}\n{found}");
    }
}
