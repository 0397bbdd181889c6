//! Integer instructions held against Rust, and memory, control and collectives against their definitions.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_u32, hold, samples, u32s};

const EDGES: [u64; 10] =
    [0, 1, 2, 31, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000];

fn inputs() -> Vec<[u64; 3]> {
    let mut edges = EDGES.to_vec();
    edges.push(u64::MAX);
    samples(21, &edges, 300)
}

macro_rules! arithmetic {
    ($($ty:ty, $class:literal, $name:literal, $wide:ty);*) => {$({
        let cut = |v: u64| v as $ty;
        // Results are zero-extended from the register's width.
        let out = |v: $ty| { let bits = <$ty>::BITS; if bits == 64 { v as u64 } else { v as u64 & ((1 << bits) - 1) } };
        let rows = inputs();
        let binary = |op: &str, f: &dyn Fn($ty, $ty) -> $ty| {
            hold(&format!("{op}.{} d, a, b;", $name), [$class; 3], $class, &rows, |[a, b, _]| out(f(cut(a), cut(b))));
        };
        binary("add", &|a, b| a.wrapping_add(b));
        binary("sub", &|a, b| a.wrapping_sub(b));
        binary("mul.lo", &|a, b| a.wrapping_mul(b));
        binary("mul.hi", &|a, b| ((a as $wide).wrapping_mul(b as $wide) >> <$ty>::BITS) as $ty);
        binary("div", &|a, b| if b == 0 { !0 } else { a.wrapping_div(b) });
        binary("rem", &|a, b| if b == 0 { a } else { a.wrapping_rem(b) });
        binary("min", &|a, b| a.min(b));
        binary("max", &|a, b| a.max(b));
        hold(&format!("mad.lo.{} d, a, b, c;", $name), [$class; 3], $class, &rows, |[a, b, c]| {
            out(cut(a).wrapping_mul(cut(b)).wrapping_add(cut(c)))
        });
        hold(&format!("sad.{} d, a, b, c;", $name), [$class; 3], $class, &rows, |[a, b, c]| {
            let (a, b) = (cut(a), cut(b));
            out((if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) }).wrapping_add(cut(c)))
        });
        hold(&format!("shr.{} d, a, b;", $name), [$class, "b32", $class], $class, &rows, |[a, b, _]| {
            let by = b as u32;
            let most = cut(a) >> (<$ty>::BITS - 1);
            out(if by >= <$ty>::BITS { if <$ty>::MIN < 0 as $ty { most } else { 0 } } else { cut(a) >> by })
        });
        for (cmp, f) in [
            ("eq", (|a, b| a == b) as fn($ty, $ty) -> bool), ("ne", |a, b| a != b), ("lt", |a, b| a < b),
            ("le", |a, b| a <= b), ("gt", |a, b| a > b), ("ge", |a, b| a >= b),
        ] {
            hold(&format!("setp.{cmp}.{} d, a, b;", $name), [$class; 3], "pred", &rows, |[a, b, _]| f(cut(a), cut(b)).into());
            hold(&format!("set.{cmp}.u32.{} d, a, b;", $name), [$class; 3], "b32", &rows, |[a, b, _]| {
                if f(cut(a), cut(b)) { 0xffff_ffff } else { 0 }
            });
        }
    })*};
}

#[test]
fn arithmetic_of_every_width() {
    arithmetic! {
        u16, "b16", "u16", u32; u32, "b32", "u32", u64; u64, "b64", "u64", u128;
        i16, "b16", "s16", i32; i32, "b32", "s32", i64; i64, "b64", "s64", i128
    }
    let rows = inputs();
    hold("abs.s32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| u64::from((a as i32).wrapping_abs() as u32));
    hold("neg.s64 d, a;", ["b64"; 3], "b64", &rows, |[a, ..]| (a as i64).wrapping_neg() as u64);
    hold("add.sat.s32 d, a, b;", ["b32"; 3], "b32", &rows, |[a, b, _]| {
        u64::from((a as i32).saturating_add(b as i32) as u32)
    });
    hold("mul.wide.s32 d, a, b;", ["b32"; 3], "b64", &rows, |[a, b, _]| {
        (i64::from(a as i32) * i64::from(b as i32)) as u64
    });
    hold("mul.wide.u16 d, a, b;", ["b16"; 3], "b32", &rows, |[a, b, _]| (a & 0xffff) * (b & 0xffff));
    hold("mad.wide.u32 d, a, b, c;", ["b32", "b32", "b64"], "b64", &rows, |[a, b, c]| {
        (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c)
    });
    hold("mul24.lo.s32 d, a, b;", ["b32"; 3], "b32", &rows, |[a, b, _]| {
        let cut = |v: u64| i64::from((v as i32) << 8 >> 8);
        (cut(a) * cut(b)) as u64 & 0xffff_ffff
    });
}

#[test]
fn carries_run_through_two_words() {
    let rows = inputs();
    let halves = |op: &str| {
        format!(
            "{{ .reg .b32 al, ah, bl, bh; mov.b64 {{al, ah}}, a; mov.b64 {{bl, bh}}, b;\n\
             {op}.cc.u32 al, al, bl; {op}c.u32 ah, ah, bh; mov.b64 d, {{al, ah}}; }}"
        )
    };
    hold(&halves("add"), ["b64"; 3], "b64", &rows, |[a, b, _]| a.wrapping_add(b));
    hold(&halves("sub"), ["b64"; 3], "b64", &rows, |[a, b, _]| a.wrapping_sub(b));
    // A 32 x 32 product added to 64 bits, by mad with carry.
    let mad = "{ .reg .b32 cl, ch; mov.b64 {cl, ch}, c; mad.lo.cc.u32 cl, a, b, cl; madc.hi.u32 ch, a, b, ch;\n\
               mov.b64 d, {cl, ch}; }";
    hold(mad, ["b32", "b32", "b64"], "b64", &rows, |[a, b, c]| {
        (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c)
    });
}

#[test]
fn bits_are_moved_where_the_manual_says() {
    let rows = inputs();
    hold("and.b64 d, a, b;", ["b64"; 3], "b64", &rows, |[a, b, _]| a & b);
    hold("or.b16 d, a, b;", ["b16"; 3], "b16", &rows, |[a, b, _]| (a | b) & 0xffff);
    hold("xor.b32 d, a, b;", ["b32"; 3], "b32", &rows, |[a, b, _]| (a ^ b) & 0xffff_ffff);
    hold("not.b16 d, a;", ["b16"; 3], "b16", &rows, |[a, ..]| !a & 0xffff);
    hold("cnot.b32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| (a as u32 == 0).into());
    hold("shl.b32 d, a, b;", ["b32"; 3], "b32", &rows, |[a, b, _]| {
        (a as u32).checked_shl(b as u32).unwrap_or(0).into()
    });
    hold("shl.b64 d, a, b;", ["b64", "b32", "b32"], "b64", &rows, |[a, b, _]| {
        a.checked_shl(b as u32).unwrap_or(0)
    });
    hold("popc.b64 d, a;", ["b64"; 3], "b32", &rows, |[a, ..]| a.count_ones().into());
    hold("clz.b32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| (a as u32).leading_zeros().into());
    hold("brev.b32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| (a as u32).reverse_bits().into());
    hold("bfind.u32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| {
        (a as u32).checked_ilog2().map_or(0xffff_ffff, u64::from)
    });
    hold("bfind.shiftamt.s64 d, a;", ["b64"; 3], "b32", &rows, |[a, ..]| {
        let v = if (a as i64) < 0 { !a } else { a };
        if v == 0 { 0xffff_ffff } else { v.leading_zeros().into() }
    });
    hold("bfe.u32 d, a, b, c;", ["b32"; 3], "b32", &rows, |[a, b, c]| {
        let (position, length) = (b & 255, c & 255);
        (0..length.min(32))
            .filter(|n| position + n < 32 && a >> (position + n) & 1 != 0)
            .fold(0, |v, n| v | 1 << n)
    });
    hold("bfe.s64 d, a, b, c;", ["b64", "b32", "b32"], "b64", &rows, |[a, b, c]| {
        let (position, length) = (b & 255, c & 255);
        let sign = if length == 0 { 0 } else { a >> (position + length - 1).min(63) & 1 };
        let bit = |n: u64| if n < length && position + n < 64 { a >> (position + n) & 1 } else { sign };
        (0..64).fold(0, |v, n| v | bit(n) << n)
    });
    hold("bfi.b32 d, a, b, c, 5;", ["b32"; 3], "b32", &rows, |[a, b, c]| {
        let position = c & 255;
        let take = |n: u64| if n >= position && n < position + 5 { a >> (n - position) } else { b >> n };
        (0..32).fold(0, |v, n| v | (take(n) & 1) << n)
    });
    hold("lop3.b32 d, a, b, c, 0xca;", ["b32"; 3], "b32", &rows, |[a, b, c]| {
        ((a & b) | (!a & c)) & 0xffff_ffff
    });
    hold("prmt.b32 d, a, b, 0xc610;", ["b32"; 3], "b32", &rows, |[a, b, _]| {
        // Bytes 0 and 1 of a, byte 2 of b, and the sign of byte 0 of b.
        let sign = if b & 0x80 != 0 { 0xff } else { 0 };
        (a & 0xffff) | (b & 0xff_0000) | sign << 24
    });
    hold("shf.l.wrap.b32 d, a, b, c;", ["b32"; 3], "b32", &rows, |[a, b, c]| {
        let both = u64::from(b as u32) << 32 | u64::from(a as u32);
        both << (c & 31) >> 32
    });
    hold("shf.r.clamp.b32 d, a, b, c;", ["b32"; 3], "b32", &rows, |[a, b, c]| {
        let both = u64::from(b as u32) << 32 | u64::from(a as u32);
        both >> (c as u32).min(32) & 0xffff_ffff
    });
    hold("dp4a.u32.s32 d, a, b, c;", ["b32"; 3], "b32", &rows, |[a, b, c]| {
        let sum: i64 =
            (0..4).map(|n| i64::from((a >> (8 * n)) as u8) * i64::from((b >> (8 * n)) as i8)).sum();
        (c as u32).wrapping_add(sum as u32).into()
    });
    hold(
        "slct.b64.s32 d, a, b, c;",
        ["b64", "b64", "b32"],
        "b64",
        &rows,
        |[a, b, c]| if c as i32 >= 0 { a } else { b },
    );
    hold(
        "{ .reg .pred p; setp.ne.b32 p, c, 0; selp.b16 d, a, b, p; }",
        ["b16", "b16", "b32"],
        "b16",
        &rows,
        |[a, b, c]| (if c as u32 != 0 { a } else { b }) & 0xffff,
    );
}

#[test]
fn whole_numbers_convert_with_their_signs() {
    let rows = inputs();
    hold("cvt.s64.s32 d, a;", ["b32"; 3], "b64", &rows, |[a, ..]| i64::from(a as i32) as u64);
    hold("cvt.u64.u32 d, a;", ["b32"; 3], "b64", &rows, |[a, ..]| u64::from(a as u32));
    hold("cvt.u64.u32 d, a;", ["b64"; 3], "b64", &rows, |[a, ..]| u64::from(a as u32));
    hold("cvt.s32.s8 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| u64::from(i32::from(a as i8) as u32));
    hold("cvt.u32.s16 d, a;", ["b16"; 3], "b32", &rows, |[a, ..]| u64::from(i32::from(a as i16) as u32));
    hold("cvt.s8.s32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| u64::from(i32::from(a as i8) as u32));
    hold("cvt.sat.u8.s32 d, a;", ["b32"; 3], "b32", &rows, |[a, ..]| (a as i32).clamp(0, 255) as u64);
    hold("cvt.sat.s16.s64 d, a;", ["b64"; 3], "b16", &rows, |[a, ..]| {
        ((a as i64).clamp(-32768, 32767) as u64) & 0xffff
    });
}

const HEAD: &str = ".version 7.0\n.target sm_70\n.address_size 64\n";

/// Runs a body that leaves each thread's result in `%d`, and gives the results of one block.
fn block(threads: u32, body: &str) -> Vec<u32> {
    let text = format!(
        "{HEAD}.extern .shared .align 16 .b8 dyn[];\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .b32 %t, %d, %e, %f; .reg .b64 %o, %w, %z; .reg .pred %p, %q; .reg .b16 %h;\n\
         mov.u32 %t, %tid.x; ld.param.u64 %o, [out];\n{body}\n\
         STORE: mad.wide.u32 %o, %t, 4, %o; st.global.u32 [%o], %d; ret;\n}}"
    );
    let mut bench =
        Bench::new(&text, "k").grid([1; 3], [threads, 1, 1]).buffer(vec![0; threads as usize * 4]);
    bench.shared = 4096;
    u32s(&bench.outputs()[0])
}

fn each(threads: u32, f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..threads).map(f).collect()
}

#[test]
fn divergent_lanes_meet_again() {
    // Each lane loops as often as its number says; then all vote.
    let body = "mov.u32 %d, 0; LOOP: setp.ge.u32 %p, %d, %t; @%p bra OUT; add.u32 %d, %d, 1; bra LOOP;\n\
                OUT: activemask.b32 %e; add.u32 %d, %d, %e;";
    assert_eq!(block(32, body), each(32, |t| t.wrapping_sub(1)));
    // Early exits leave the others running.
    let body = "mov.u32 %d, 7; and.b32 %e, %t, 1; setp.eq.u32 %p, %e, 1; @%p exit; activemask.b32 %d;";
    assert_eq!(block(32, body), each(32, |t| if t & 1 == 1 { 0 } else { 0x5555_5555 }));
}

#[test]
fn lanes_see_each_other() {
    assert_eq!(block(32, "shfl.sync.bfly.b32 %d, %t, 5, 31, -1;"), each(32, |t| t ^ 5));
    assert_eq!(block(32, "shfl.sync.idx.b32 %d, %t, 9, 31, -1;"), each(32, |_| 9));
    assert_eq!(block(32, "shfl.sync.up.b32 %d, %t, 3, 0, -1;"), each(32, |t| if t < 3 { t } else { t - 3 }));
    let body = "shfl.sync.down.b32 %e|%p, %t, 4, 0x181f, -1; selp.u32 %d, 100, 0, %p; add.u32 %d, %d, %e;";
    // Segments of 8: the mask 0x18 keeps the upper bits of the lane.
    assert_eq!(block(32, body), each(32, |t| if t % 8 + 4 < 8 { t + 104 } else { t }));
    assert_eq!(block(32, "setp.lt.u32 %p, %t, 10; vote.sync.ballot.b32 %d, %p, -1;"), each(32, |_| 0x3ff));
    let body = "setp.lt.u32 %p, %t, 40; vote.sync.all.pred %q, %p, -1; selp.u32 %d, 1, 0, %q;";
    assert_eq!(block(64, body), each(64, |t| (t < 32).into()));
    assert_eq!(
        block(32, "and.b32 %e, %t, 3; match.any.sync.b32 %d, %e, -1;"),
        each(32, |t| 0x1111_1111 << (t & 3))
    );
    assert_eq!(block(32, "redux.sync.add.u32 %d, %t, -1;"), each(32, |_| 496));
    assert_eq!(block(32, "redux.sync.max.s32 %d, %t, 0xff;"), each(32, |_| 7));
}

#[test]
fn warps_meet_at_barriers() {
    let body = ".shared .u32 cell[256]; mov.u32 %e, cell; mad.lo.u32 %e, %t, 4, %e; st.shared.u32 [%e], %t; bar.sync 0;\n\
                xor.b32 %f, %t, 255; mov.u32 %e, cell; mad.lo.u32 %e, %f, 4, %e; ld.shared.u32 %d, [%e];";
    assert_eq!(block(256, body), each(256, |t| t ^ 255));
    let body = "setp.lt.u32 %p, %t, 100; bar.red.popc.u32 %d, 0, %p;";
    assert_eq!(block(256, body), each(256, |_| 100));
    let body = "setp.lt.u32 %p, %t, 300; bar.red.and.pred %q, 0, %p; selp.u32 %d, 5, 6, %q;";
    assert_eq!(block(256, body), each(256, |_| 5));
    // A producer arrives, a consumer waits: one warp each.
    let body = ".shared .u32 cell; mov.u32 %d, 0; setp.ge.u32 %p, %t, 32; @%p bra WAIT;\n\
                st.shared.u32 [cell], 77; bar.arrive 3, 64; bra STORE; WAIT: bar.sync 3, 64; ld.shared.u32 %d, [cell];";
    assert_eq!(block(64, body), each(64, |t| if t < 32 { 0 } else { 77 }));
}

#[test]
fn memory_has_its_spaces() {
    // Local memory is each thread's own; generic addresses reach every space.
    let body = ".local .align 8 .b8 mine[16]; .shared .u32 ours[32]; st.local.u32 [mine+8], %t; mov.u64 %w, mine;\n\
                cvta.local.u64 %w, %w; ld.u32 %d, [%w+8]; isspacep.local %p, %w; selp.u32 %e, 1000, 0, %p;\n\
                add.u32 %d, %d, %e; mov.u64 %z, ours; cvta.shared.u64 %z, %z; mad.wide.u32 %z, %t, 4, %z;\n\
                st.u32 [%z], %d; mov.u32 %e, ours; mad.lo.u32 %e, %t, 4, %e; ld.shared.u32 %d, [%e];";
    assert_eq!(block(32, body), each(32, |t| t + 1000));
    // Half of a generic access in shared, half in global memory.
    let body = "st.shared.u32 [dyn], 5; mov.u64 %w, dyn; cvta.shared.u64 %w, %w; st.global.u32 [%o], 9;\n\
                setp.lt.u32 %p, %t, 16; selp.b64 %w, %w, %o, %p; ld.u32 %d, [%w]; bar.sync 0;";
    assert_eq!(block(32, body), each(32, |t| if t < 16 { 5 } else { 9 }));
    let body = "st.shared.v2.u16 [dyn], {1, 65535}; ld.shared.s16 %d, [dyn+2]; ld.shared.u8 %e, [dyn+3];\n\
                add.u32 %d, %d, %e; ld.shared.s8 %h, [dyn+3]; cvt.u32.u16 %e, %h; add.u32 %d, %d, %e;";
    assert_eq!(block(32, body), each(32, |_| 255u32.wrapping_sub(1) + 65535));
    let text = format!(
        "{HEAD}.const .align 4 .u32 table[4] = {{10, 20, 30}};\n.global .u32 counter = 5;\n\
         .visible .entry k(.param .u64 out)\n{{ .reg .b32 %a, %b; .reg .b64 %o, %c;\n\
         ld.param.u64 %o, [out]; ld.const.u32 %a, [table+8]; atom.global.add.u32 %b, [counter], 1;\n\
         mov.u64 %c, table; ld.const.u32 %b, [%c+4]; add.u32 %a, %a, %b; ld.global.u32 %b, [counter];\n\
         add.u32 %a, %a, %b; st.global.u32 [%o], %a; ret; }}"
    );
    let bench = Bench::new(&text, "k").grid([1; 3], [1, 1, 1]).buffer(vec![0; 4]);
    assert_eq!(u32s(&bench.outputs()[0]), [56]);
}

#[test]
fn atomics_join_all_threads_of_all_blocks() {
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 out)\n{{ .reg .b32 %t, %c, %n, %d; .reg .b64 %o;\n\
         mov.u32 %t, %tid.x; mov.u32 %c, %ctaid.x; mov.u32 %n, %ntid.x; mad.lo.u32 %t, %c, %n, %t;\n\
         ld.param.u64 %o, [out]; red.global.add.u32 [%o], %t; red.global.max.s32 [%o+4], %t;\n\
         red.global.or.b32 [%o+8], %t; atom.global.inc.u32 %d, [%o+12], 99; red.global.add.u64 [%o+16], 3;\n\
         red.global.min.s32 [%o+24], %t; atom.global.exch.b32 %d, [%o+28], 4; ret; }}"
    );
    let bench =
        Bench::new(&text, "k").grid([40, 1, 1], [250, 1, 1]).buffer(bytes_of_u32(&[0, 0, 0, 0, 0, 0, 77, 1]));
    let out = u32s(&bench.outputs()[0]);
    assert_eq!(out, [49_995_000, 9999, 16383, 0, 30_000, 0, 0, 4]);
    // A lock-free sum by compare and swap, which loses nothing.
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 out)\n{{ .reg .b32 %a, %b, %c; .reg .b64 %o; .reg .pred %p;\n\
         ld.param.u64 %o, [out]; ld.global.u32 %a, [%o]; L: add.u32 %b, %a, 3; atom.global.cas.b32 %c, [%o], %a, %b;\n\
         setp.ne.u32 %p, %a, %c; mov.u32 %a, %c; @%p bra L; ret; }}"
    );
    let bench = Bench::new(&text, "k").grid([10, 1, 1], [64, 1, 1]).buffer(vec![0; 4]);
    assert_eq!(u32s(&bench.outputs()[0]), [1920]);
}

#[test]
fn calls_return_what_they_computed() {
    let text = format!(
        "{HEAD}.func (.param .b32 r) square(.param .b32 x)\n{{ .reg .b32 %a; ld.param.u32 %a, [x];\n\
         mul.lo.u32 %a, %a, %a; st.param.b32 [r], %a; ret; }}\n\
         .func (.param .b32 r) plus(.param .b32 x, .param .b32 y)\n{{ .reg .b32 %a, %b; .reg .pred %p;\n\
         ld.param.u32 %a, [x]; ld.param.u32 %b, [y]; setp.eq.u32 %p, %b, 4; @%p bra SHORT;\n\
         {{ .param .b32 i; .param .b32 o; st.param.b32 [i], %a; call.uni (o), square, (i); ld.param.b32 %a, [o]; }}\n\
         add.u32 %a, %a, %b; SHORT: st.param.b32 [r], %a; ret; }}\n\
         .visible .entry k(.param .u64 out)\n{{ .reg .b32 %t, %d; .reg .b64 %o; .reg .pred %p;\n\
         mov.u32 %t, %tid.x; ld.param.u64 %o, [out]; mov.u32 %d, 1; setp.gt.u32 %p, %t, 2;\n\
         {{ .param .b32 i; .param .b32 j; .param .b32 o; st.param.b32 [i], %t; st.param.b32 [j], %t;\n\
         st.param.b32 [o], 0; @%p call (o), plus, (i, j); ld.param.b32 %d, [o]; }}\n\
         mad.wide.u32 %o, %t, 4, %o; st.global.u32 [%o], %d; ret; }}"
    );
    let bench = Bench::new(&text, "k").grid([1; 3], [32, 1, 1]).buffer(vec![0; 128]);
    let expected = each(32, |t| {
        if t <= 2 {
            0
        } else if t == 4 {
            4
        } else {
            t * t + t
        }
    });
    assert_eq!(u32s(&bench.outputs()[0]), expected);
}
