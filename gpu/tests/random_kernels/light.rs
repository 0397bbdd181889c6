//! Programs of few registers, which machine code takes for whole warps.

use super::{BLOCK, BLOCKS, Writer};
use fastrand::Rng;
use std::fmt::Write;

/// Writes the registers out, and what the block left in shared memory.
const LIGHT_END: &str = "st.global.u32 [%mine], %r0; st.global.u32 [%mine+4], %r1; st.global.u64 [%mine+8], %d0; bar.sync 0;\n\
     shl.b32 %x, %t, 3; ld.shared.u64 %d0, [%x]; st.global.u64 [%mine+16], %d0; ret;\n}\n";

/// A program with so few registers that machine code takes whole warps at once: loads, stores and atomic operations at
/// addresses that come from data, in loops. `wild`: one thread's access goes wrong somewhere.
pub fn light_program(seed: u64, wild: bool) -> String {
    let mut w =
        Writer { rng: Rng::with_seed(seed), text: String::new(), labels: 0, depth: 0, together: true };
    let mut text = String::from(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u32 n, .param .u64 in, .param .u64 out, .param .u64 sums)\n{\n\
         .reg .pred %p, %q; .reg .b32 %r<2>; .reg .b64 %d<1>; .reg .b32 %x, %t, %e, %n; .reg .b64 %y, %in, %mine, %sums;\n\
         .shared .align 8 .b8 cells[1024];\n\
         mov.u32 %t, %tid.x; mov.u32 %e, %ctaid.x; mad.lo.u32 %e, %e, 80, %t; ld.param.u64 %in, [in];\n\
         ld.param.u64 %mine, [out]; ld.param.u64 %sums, [sums]; mad.wide.u32 %mine, %e, 168, %mine;\n\
         mad.lo.u32 %r0, %e, 2654435761, 12345; ld.param.u32 %r1, [n]; mul.wide.u32 %d0, %r0, 77; mov.u32 %n, 0;\n",
    );
    let rounds = w.rng.u32(1..5);
    let statements = w.rng.usize(4..14);
    let breaks = w.rng.usize(0..statements);
    text.push_str("bar.sync 0;\nLOOP:\n");
    for n in 0..statements {
        if wild && n == breaks {
            let (who, address) = (w.rng.u32(0..BLOCK * BLOCKS), w.pick(&["2", "1026", "65536", "-4"]));
            let how = w.pick(&[
                "red.shared.add.u32 [%x], %r1",
                "st.shared.u32 [%x], %r0",
                "ld.shared.u32 %r0, [%x]",
            ]);
            let _ = writeln!(text, "setp.eq.u32 %q, %e, {who}; selp.b32 %x, {address}, 8, %q; {how};");
        }
        text.push_str(&light_statement(&mut w));
    }
    let _ = writeln!(text, "add.u32 %n, %n, 1; setp.lt.u32 %p, %n, {rounds}; @%p bra LOOP;");
    text.push_str(LIGHT_END);
    text
}

/// A program whose threads stride through the input: its warps make way for each other in the middle of the loop, in which
/// they also write what others read.
pub fn striding_program(seed: u64) -> String {
    let mut w =
        Writer { rng: Rng::with_seed(seed), text: String::new(), labels: 0, depth: 0, together: true };
    let (from, to) = (w.pick(&["%t", "%e", "%by", "0"]), w.rng.u32(100..20_000));
    // By the same in all threads, but for some programs.
    let by = w.pick(&["%by", "%by", "%by", "%e"]);
    let mut text = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u32 n, .param .u64 in, .param .u64 out, .param .u64 sums)\n{{\n\
         .reg .pred %p, %q; .reg .b32 %r<2>; .reg .b64 %d<1>; .reg .b32 %x, %t, %e, %c, %by; .reg .b64 %y, %in, %mine, %sums;\n\
         .shared .align 8 .b8 cells[1024];\n\
         mov.u32 %t, %tid.x; mov.u32 %e, %ctaid.x; mad.lo.u32 %e, %e, 80, %t; ld.param.u64 %in, [in];\n\
         ld.param.u64 %mine, [out]; ld.param.u64 %sums, [sums]; mad.wide.u32 %mine, %e, 168, %mine;\n\
         mad.lo.u32 %r0, %e, 2654435761, 12345; ld.param.u32 %by, [n]; and.b32 %by, %by, 63; mov.u32 %r1, %by;\n\
         mul.wide.u32 %d0, %r0, 77; add.u32 %by, {by}, 17; mov.u32 %c, {from};\nLOOP:\n\
         and.b32 %x, %c, 255; mad.wide.u32 %y, %x, 4, %in; ld.global.u32 %x, [%y]; add.u32 %r0, %r0, %x;\n"
    );
    if w.rng.bool() {
        // Numbers are drawn, so that the order of all rounds of all warps shows.
        text.push_str("atom.shared.add.u32 %x, [cells], 1; mad.lo.u32 %r0, %r0, 69069, %x;\n");
    }
    for _ in 0..w.rng.usize(0..3) {
        text.push_str(&light_statement(&mut w));
    }
    let _ = writeln!(text, "add.u32 %c, %c, %by; setp.lt.u32 %p, %c, {to}; @%p bra LOOP;");
    text.push_str(LIGHT_END);
    text
}

fn light_statement(w: &mut Writer) -> String {
    let (a, b) = (w.rng.u8(0..2), w.rng.u8(0..2));
    let (space, base) = (w.pick(&["shared", "global"]), w.rng.u8(0..4) * 8);
    let op = w.pick(&[
        "add.u32", "min.u32", "max.s32", "min.s32", "and.b32", "or.b32", "xor.b32", "exch.b32", "inc.u32",
    ]);
    let wide = w.pick(&["add.u64", "min.u64", "max.s64", "xor.b64", "exch.b64"]);
    let place = |bits: u32| match space {
        "shared" => format!("and.b32 %x, %r{a}, {bits}; "),
        _ => format!("and.b32 %x, %r{a}, {}; cvt.u64.u32 %y, %x; add.u64 %y, %y, %sums; ", bits & 31),
    };
    let at = if space == "shared" { "%x" } else { "%y" };
    let who = w.rng.u32(0..2 * BLOCK * BLOCKS);
    let (by, limits) = (w.rng.u8(0..34), w.pick(&["31", "0", "0x1c03", "0x181f", "0x1007"]));
    let (how, vote) = (w.pick(&["up", "down", "bfly", "idx"]), w.pick(&["all", "any", "uni"]));
    let (members, no) = (w.pick(&["0xffffffff", "0xffff", "0xf0f0f0f0"]), w.pick(&["", "!"]));
    let (some, sign) = (w.pick(&["lt", "ge", "eq", "ne"]), w.pick(&["u", "s"]));
    let line = match w.rng.u8(0..37) {
        30 => {
            format!("setp.{some}.u32 %q, %t, {}; @%q exit;", w.pick(&["0", "1", "3", "16", "32", "64", "70"]))
        }
        31 => format!(
            "mov.u32 %x, %ctaid.x; setp.{some}.u32 %q, %x, {}; @{no}%q exit;",
            w.pick(&["1", "2", "9"])
        ),
        32 => format!("and.b32 %x, %r{a}, 63; shfl.sync.{how}.b32 %r{a}, %r{b}, %x, {limits}, 0xffffffff;"),
        33 => format!(
            "shfl.sync.{how}.b32 %r{a}|%q, %r{b}, %r{a}, %r{b}, 0xffffffff; selp.b32 %r{b}, %r{a}, %t, %q;"
        ),
        34 => format!("redux.sync.{}.{sign}32 %r{a}, %r{b}, {members};", w.pick(&["add", "min", "max"])),
        35 => format!("redux.sync.{}.b32 %r{a}, %r{b}, {members};", w.pick(&["and", "or", "xor"])),
        36 => format!(
            "activemask.b32 %x; add.u32 %r{a}, %r{a}, %x; {};",
            w.pick(&["membar.gl", "fence.acq_rel.cta"])
        ),
        28 => format!(
            "and.b32 %x, %r{a}, 28; cvt.u64.u32 %y, %x; add.u64 %y, %y, %sums; atom.add.u32 %r{b}, [%y], %r{a};"
        ),
        29 => format!("mov.u32 %x, {by}; shfl.sync.{how}.b32 %r{a}, %r{b}, %x, {limits}, 0xffffffff;"),
        26 => format!("{}red.{space}.add.f32 [{at}], %r{b};", place(1020)),
        27 => format!("{}atom.{space}.add.f64 %d0, [{at}], %d0;", place(1016)),
        22 => format!("setp.lt.u32 %q, %r{a}, %r{b}; {}@{no}%q red.{space}.{op} [{at}], %r{b};", place(1020))
            .replace("exch", "xor"),
        23 => format!(
            "setp.lt.u32 %q, %r{a}, %r{b}; {}@{no}%q atom.{space}.{op} %r{a}, [{at}], %r{b};",
            place(1020)
        ),
        24 => format!(
            "setp.lt.u32 %q, %r{a}, 1024; and.b32 %x, %r{a}, -4; cvt.u64.u32 %y, %x; add.u64 %y, %y, %in; @%q ld.global.u32 %r{b}, [%y];"
        ),
        25 => format!(
            "setp.ne.u32 %q, %r{a}, %r{b}; @{no}%q st.global.u32 [%mine+{}], %r{a}; @{no}%q ld.global.u64 %d0, [%mine+{base}];",
            24 + base
        ),
        17 => format!("shfl.sync.{how}.b32 %r{a}, %r{b}, {by}, {limits}, 0xffffffff;"),
        18 => format!(
            "shfl.sync.{how}.b32 %r{a}|%q, %r{b}, {by}, {limits}, 0xffffffff; selp.b32 %r{b}, %r{a}, %e, %q;"
        ),
        19 => format!("setp.lt.u32 %q, %r{a}, 0x80000000; vote.sync.ballot.b32 %r{b}, {no}%q, {members};"),
        20 => format!(
            "setp.ge.u32 %q, %r{a}, {by}; vote.sync.{vote}.pred %q, {no}%q, {members}; selp.b32 %r{b}, %r{b}, %r{a}, %q;"
        ),
        0 => format!("mad.lo.u32 %r{a}, %r{b}, 69069, %e;"),
        1 => format!("shf.l.wrap.b32 %r{a}, %r{a}, %r{b}, 7; xor.b32 %r{b}, %r{b}, %r{a};"),
        2 => format!("cvt.u64.u32 %y, %r{b}; add.u64 %d0, %d0, %y;"),
        3 => format!(
            "and.b32 %x, %r{a}, 1020; cvt.u64.u32 %y, %x; add.u64 %y, %y, %in; ld.global.u32 %r{b}, [%y];"
        ),
        4 => format!("st.global.u32 [%mine+{}], %r{a};", 24 + base),
        5 => format!("ld.global.u32 %r{a}, [%mine+{}];", 24 + base),
        6 => format!(
            "cvt.u64.u32 %y, %t; add.u64 %y, %y, %in; ld.global.{} %r{a}, [%y];",
            w.pick(&["u8", "s8"])
        ),
        7 => format!("mad.wide.u32 %y, %t, 2, %in; ld.global.{} %r{a}, [%y+4];", w.pick(&["u16", "s16"])),
        8 | 9 => format!("{}red.{space}.{op} [{at}], %r{b};", place(1020)).replace("exch", "xor"),
        10 | 11 => format!("{}atom.{space}.{op} %r{a}, [{at}], %r{b};", place(1020)),
        12 => format!("{}atom.{space}.cas.b32 %r{a}, [{at}], %r{b}, %r{a};", place(28)),
        13 => format!("{}atom.{space}.{wide} %d0, [{at}], %d0;", place(1016)),
        14 => format!("and.b32 %x, %r{a}, 1020; st.shared.u32 [%x], %r{b};"),
        15 => format!("and.b32 %x, %r{a}, 1016; ld.shared.u64 %d0, [%x];"),
        16 => format!("setp.eq.u32 %q, %e, {who}; @%q exit;"),
        _ => {
            let (label, than) = (w.label(), w.pick(&["0", "0x80000000", "0xfffffff0"]));
            format!(
                "setp.lt.u32 %q, %r{a}, {than}; @%q bra {label}; add.u32 %r{b}, %r{b}, 1; st.global.u32 [%mine+60], %r{b};\n{label}:"
            )
        }
    };
    line + "\n"
}
