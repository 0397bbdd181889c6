//! Faults and awkward numbers by the thousand: the first fault is told, and odd numbers are numbers.

use super::{Case, Ends, kernel, module};
use crate::cpu_bench::Bench;

const ASSERT: &str = ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);\n";

/// Everything that divides or rounds, on the worst of numbers, a thousand times in every thread.
const NUMBERS: &str = "mov.u32 %r2, 0; mov.u32 %r3, 0x80000000; mov.u32 %r4, -1; mov.u64 %d2, 0x8000000000000000; mov.u64 %d3, -1;
    mov.f32 %f0, 0f7FC12345; mov.f32 %f1, 0f00000001; mov.f32 %f2, 0fFF800000; mov.f64 %g0, 0d7FF8000000000001; mov.f64 %g1, 0d0000000000000001;
    mov.u32 %r1, 0;
    L: div.u32 %r5, %r0, %r2; rem.u32 %r5, %r0, %r2; div.s32 %r5, %r3, %r4; rem.s32 %r5, %r3, %r4; div.s64 %d4, %d2, %d3; rem.s64 %d4, %d2, %d3;
    div.rn.f32 %f3, %f1, 0f00000000; div.rz.ftz.f32 %f3, %f1, %f0; sqrt.rp.f32 %f3, %f2; rcp.rm.f32 %f3, %f1; fma.rz.f32 %f3, %f2, %f1, %f0;
    add.rp.sat.f32 %f3, %f0, %f1; div.rp.f64 %g2, %g1, %g0; sqrt.rm.f64 %g2, %g1; rcp.rn.f64 %g2, %g1; fma.rp.f64 %g2, %g1, %g1, %g1;
    cvt.rzi.s32.f32 %r5, %f0; cvt.rni.u64.f64 %d4, %g0; cvt.rmi.sat.u8.f32 %h0, %f2; cvt.rz.f32.f64 %f3, %g1; shl.b32 %r5, %r4, %r4; shr.s64 %d4, %d2, %r4;
    bfe.s32 %r5, %r3, %r4, %r4; bfi.b64 %d4, %d2, %d3, %r4, %r4; prmt.b32 %r5, %r3, %r4, %r4; shf.l.wrap.b32 %r5, %r3, %r4, %r4; bfind.s32 %r5, %r4;
    add.u32 %r1, %r1, 1; setp.lt.u32 %p0, %r1, 1000; @%p0 bra L;";

/// Declares what is printed, and prints it in a loop.
fn printing(format: &str, arguments: &str, lasts: bool) -> String {
    let bytes: Vec<String> = format.bytes().map(|b| b.to_string()).collect();
    let declared = format!(
        ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n\
         .global .align 8 .b8 word[4096] = {{{}120}};\n.global .align 8 .b8 format[] = {{{},0}};\n\
         .global .align 8 .u64 arguments[] = {{{}word}};",
        "120,".repeat(4095),
        bytes.join(","),
        "word,".repeat(1100)
    );
    let print = "{ .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], %d1; st.param.b64 [a], %d2; \
                 call (r), vprintf, (f, a); }";
    let again = if lasts { "bra L;" } else { "" };
    module(&declared, &format!("cvta.global.u64 %d1, format; {arguments}\nL: {print} {again}"))
}

/// Whatever is printed, time and memory are bounded.
fn prints() -> Vec<Case> {
    let given = "cvta.global.u64 %d2, arguments;";
    let long = "%.0s".repeat(1000);
    let forever = [
        ("a word without end", printing("%p said\n", given, true)),
        ("the longest texts", printing(&"%s".repeat(1000), given, true)),
        ("long texts of which nothing is shown", printing(&long, given, true)),
        ("wide fields", printing(&"%2147483647d%.2147483647f".repeat(100), given, true)),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (name, text) in forever {
        let [by_time, _] = Case::endless(name, &text, [1000, 1, 1], [256, 1, 1]);
        cases.push(by_time);
    }
    let [by_time, _] = Case::endless(
        "a text from every block",
        &printing(&long, given, false),
        [i32::MAX as u32, 1, 1],
        [32, 1, 1],
    );
    cases.push(by_time);
    for (name, arguments) in [
        ("arguments at the end of all addresses", "mov.u64 %d2, -3;"),
        ("arguments nowhere", "mov.u64 %d2, 0;"),
    ] {
        let bench = Bench::new(&printing("%d", arguments, false), "k").buffer(vec![0; 64]);
        cases.push(Case::new(name, bench, Ends::OutOfBounds("")));
    }
    cases
}

pub fn cases() -> Vec<Case> {
    let case = |name: &str, text: String, ends| {
        Case::new(name, Bench::new(&text, "k").buffer(vec![0; 64]).grid([1000, 1, 1], [256, 1, 1]), ends)
    };
    let assert = "{ .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e; call __assertfail, (a, b, c, d, e); }";
    let mut numbers = case("every odd number", kernel(NUMBERS), Ends::Well);
    numbers.bench.grid = [4, 1, 1];
    let mut cases = prints();
    cases.extend([
        numbers,
        case("a trap in every thread", kernel("trap;"), Ends::Trap),
        case(
            "a trap in the last thread of each block",
            kernel("setp.eq.u32 %p0, %r0, 255; @%p0 trap;"),
            Ends::Trap,
        ),
        case(
            "a trap while others wait",
            kernel("setp.eq.u32 %p0, %r0, 200; @%p0 trap; bar.sync 0;"),
            Ends::Trap,
        ),
        case("an assertion in every thread", module(ASSERT, assert), Ends::Assert),
        case(
            "a fault in every block",
            kernel("mov.u64 %d1, 8; st.global.u64 [%d1], %d1;"),
            Ends::OutOfBounds("global"),
        ),
    ]);
    cases
}
