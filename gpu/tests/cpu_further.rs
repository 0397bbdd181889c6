//! The rarer instructions held against Rust: integer helpers, pairs of 16-bit numbers, comparisons and conversions of
//! halves, atomics on vectors, members of a warp.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_f32, f32s, hold, rows, samples, u32s};

const B32: [&str; 3] = ["b32"; 3];
const B16: [&str; 3] = ["b16"; 3];

fn edges() -> Vec<u64> {
    vec![0, 1, 2, 15, 16, 31, 32, 33, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
}

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

#[test]
fn masks_and_extensions() {
    let rows = samples(51, &edges(), 300);
    let mask = |a: u32, b: u32, clamp: bool| -> u32 {
        // Bits from `a` on, `b` of them, as far as the word goes.
        let (a, b) = if clamp { (a, b) } else { (a & 31, b & 31) };
        (0..32u32)
            .filter(|n| *n >= a && u64::from(*n) < u64::from(a) + u64::from(b))
            .fold(0, |m, n| m | 1 << n)
    };
    hold("bmsk.clamp.b32 d, a, b;", B32, "b32", &rows, |[a, b, _]| mask(a as u32, b as u32, true).into());
    hold("bmsk.wrap.b32 d, a, b;", B32, "b32", &rows, |[a, b, _]| mask(a as u32, b as u32, false).into());
    let extend = |a: u32, width: u32, signed: bool| match width {
        0 => 0,
        32.. => a,
        w if signed => ((a << (32 - w)) as i32 >> (32 - w)) as u32,
        w => a << (32 - w) >> (32 - w),
    };
    hold("szext.clamp.s32 d, a, b;", B32, "b32", &rows, |[a, b, _]| {
        extend(a as u32, (b as u32).min(32), true).into()
    });
    hold("szext.wrap.s32 d, a, b;", B32, "b32", &rows, |[a, b, _]| {
        extend(a as u32, b as u32 & 31, true).into()
    });
    hold("szext.wrap.u32 d, a, b;", B32, "b32", &rows, |[a, b, _]| {
        extend(a as u32, b as u32 & 31, false).into()
    });
    let nth = |mask: u32, base: u32, offset: i32| -> u32 {
        let set = |n: u32| mask >> n & 1 != 0;
        match offset {
            0 => {
                if base < 32 && set(base) {
                    base
                } else {
                    u32::MAX
                }
            }
            1.. => (base..32).filter(|n| set(*n)).nth(offset as usize - 1).unwrap_or(u32::MAX),
            _ if base > 31 => u32::MAX,
            _ => (0..=base)
                .rev()
                .filter(|n| set(*n))
                .nth(offset.unsigned_abs() as usize - 1)
                .unwrap_or(u32::MAX),
        }
    };
    let narrow: Vec<[u64; 3]> = rows
        .iter()
        .flat_map(|[a, b, c]| [[*a, b % 40, c % 7], [*a, b % 32, (c % 7).wrapping_neg()]])
        .collect();
    hold("fns.b32 d, a, b, c;", B32, "b32", &narrow, |[a, b, c]| nth(a as u32, b as u32, c as i32).into());
    let joined =
        "{ .reg .pred p, q; .reg .b32 t; setp.ne.b32 q, c, 0; lop3.and.b32 t|d, a, b, c, 0x80, !q; }";
    hold(joined, B32, "pred", &rows, |[a, b, c]| (a & b & c & 0xffff_ffff != 0 && c as u32 == 0).into());
}

#[test]
fn pairs_of_integers() {
    let rows = samples(52, &edges(), 300);
    let each = |a: u64, b: u64, op: fn(u16, u16) -> u16| {
        let low = op(a as u16, b as u16);
        u64::from(low) | u64::from(op((a >> 16) as u16, (b >> 16) as u16)) << 16
    };
    let signed = |op: &str, r: fn(u16, u16) -> u16| {
        hold(&format!("{op} d, a, b;"), B32, "b32", &rows, |[a, b, _]| each(a, b, r));
    };
    signed("add.u16x2", u16::wrapping_add);
    signed("add.s16x2", u16::wrapping_add);
    signed("min.u16x2", u16::min);
    signed("max.u16x2", u16::max);
    signed("min.s16x2", |a, b| (a as i16).min(b as i16) as u16);
    signed("max.s16x2", |a, b| (a as i16).max(b as i16) as u16);
    signed("max.relu.s16x2", |a, b| (a as i16).max(b as i16).max(0) as u16);
    hold("min.relu.s32 d, a, b;", B32, "b32", &rows, |[a, b, _]| (a as i32).min(b as i32).max(0) as u64);
    hold("mad24.hi.sat.s32 d, a, b, c;", B32, "b32", &rows, |[a, b, c]| {
        let part = |v: u64| i64::from((v as i32) << 8 >> 8);
        u64::from((((part(a) * part(b)) >> 16) as i32).saturating_add(c as i32) as u32)
    });
    let pack = |a: u64, bits: u32, signed: bool| {
        let (low, high) =
            if signed { (-(1i64 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        (i64::from(a as i32).clamp(low, high) as u64) & ((1 << bits) - 1)
    };
    hold("cvt.pack.sat.s16.s32 d, a, b;", B32, "b32", &rows, |[a, b, _]| {
        pack(a, 16, true) << 16 | pack(b, 16, true)
    });
    hold("cvt.pack.sat.u16.s32 d, a, b;", B32, "b32", &rows, |[a, b, _]| {
        pack(a, 16, false) << 16 | pack(b, 16, false)
    });
    hold("cvt.pack.sat.u8.s32.b32 d, a, b, c;", B32, "b32", &rows, |[a, b, c]| {
        c << 16 & 0xffff_ffff | pack(a, 8, false) << 8 | pack(b, 8, false)
    });
    hold("cvt.pack.sat.s4.s32.b32 d, a, b, c;", B32, "b32", &rows, |[a, b, c]| {
        c << 8 & 0xffff_ffff | pack(a, 4, true) << 4 | pack(b, 4, true)
    });
}

/// Bits of halves: zeros, ones, the least, the greatest, infinities, NaN, of either sign.
fn halves() -> Vec<[u64; 3]> {
    let half = [0u64, 1, 0x3ff, 0x400, 0x3c00, 0x3f80, 0x7bff, 0x7c00, 0x7f7f, 0x7f80, 0x7fc1];
    samples(53, &half.iter().flat_map(|v| [*v, v | 0x8000]).collect::<Vec<_>>(), 200)
}

/// The value of a half, through a conversion that other tests hold against its definition.
fn widened(ty: &str, rows: &[[u64; 3]], operand: &str) -> Vec<f32> {
    cpu_bench::rows(&format!("cvt.f32.{ty} d, {operand};"), B16, "f32", rows).into_iter().map(f).collect()
}

#[test]
fn halves_compare_into_predicates_masks_and_numbers() {
    let rows = halves();
    for (ty, one) in [("f16", 0x3c00u64), ("bf16", 0x3f80)] {
        let (x, y) = (widened(ty, &rows, "a"), widened(ty, &rows, "b"));
        let check = |instruction: &str, out: &str, yes: u64, test: &dyn Fn(f32, f32) -> bool| {
            let found = cpu_bench::rows(instruction, B16, out, &rows);
            for n in 0..rows.len() {
                let expected = if test(x[n], y[n]) { yes } else { 0 };
                assert_eq!(found[n], expected, "`{instruction}` of {:x?}", rows[n]);
            }
        };
        let unordered = |x: f32, y: f32| x.is_nan() || y.is_nan();
        check(&format!("setp.lt.{ty} d, a, b;"), "pred", 1, &|x, y| x < y);
        check(&format!("setp.geu.{ty} d, a, b;"), "pred", 1, &|x, y| x >= y || unordered(x, y));
        check(&format!("set.gt.{ty}.{ty} d, a, b;"), "b16", one, &|x, y| x > y);
        check(&format!("set.neu.u16.{ty} d, a, b;"), "b16", 0xffff, &|x, y| x != y);
        check(&format!("set.eq.s32.{ty} d, a, b;"), "b32", 0xffff_ffff, &|x, y| x == y);
        let joined = format!("{{ .reg .pred p; setp.ne.b16 p, c, 0; setp.le.and.{ty} d, a, b, !p; }}");
        let found = cpu_bench::rows(&joined, B16, "pred", &rows);
        for n in 0..rows.len() {
            assert_eq!(found[n] != 0, x[n] <= y[n] && rows[n][2] as u16 == 0, "{ty} {:x?}", rows[n]);
        }
        // Pairs: the lower halves are a and b, the upper ones b and a.
        let pair = |op: &str| {
            format!("{{ .reg .b32 p, q; mov.b32 p, {{a, b}}; mov.b32 q, {{b, a}}; {op} d, p, q; }}")
        };
        for (op, yes) in [(format!("set.lt.{ty}x2.{ty}x2"), one), (format!("set.lt.u32.{ty}x2"), 0xffff)] {
            let found = cpu_bench::rows(&pair(&op), B16, "b32", &rows);
            for n in 0..rows.len() {
                let part = |holds: bool| if holds { yes } else { 0 };
                assert_eq!(found[n], part(x[n] < y[n]) | part(y[n] < x[n]) << 16, "{op} {:x?}", rows[n]);
            }
        }
        let both = format!(
            "{{ .reg .b32 p, q; .reg .pred r, s, t; mov.b32 p, {{a, b}}; mov.b32 q, {{b, a}}; \
             setp.ne.b16 t, c, 0; setp.lt.or.{ty}x2 r|s, p, q, t; selp.b32 p, 1, 0, r; selp.b32 q, 2, 0, s; \
             or.b32 d, p, q; }}"
        );
        let found = cpu_bench::rows(&both, B16, "b32", &rows);
        for n in 0..rows.len() {
            let joined = rows[n][2] as u16 != 0;
            let expected = u64::from(x[n] < y[n] || joined) | u64::from(y[n] < x[n] || joined) << 1;
            assert_eq!(found[n], expected, "{ty} {:x?}", rows[n]);
        }
    }
}

#[test]
fn extremes_by_magnitude_and_with_nan() {
    let rows = halves();
    for ty in ["f16", "bf16"] {
        let (x, y) = (widened(ty, &rows, "a"), widened(ty, &rows, "b"));
        let run = |op: &str| {
            let text = format!("{{ .reg .b16 h; {op}.{ty} h, a, b; cvt.f32.{ty} d, h; }}");
            cpu_bench::rows(&text, B16, "f32", &rows).into_iter().map(f).collect::<Vec<f32>>()
        };
        let (least, strict, magnitude) = (run("min"), run("max.NaN"), run("max.xorsign.abs"));
        for n in 0..rows.len() {
            let (x, y) = (x[n], y[n]);
            let same = |found: f32, expected: f32| found == expected || (found.is_nan() && expected.is_nan());
            assert!(same(least[n], x.min(y)), "{ty} {x} {y}");
            let expected = if x.is_nan() || y.is_nan() { f32::NAN } else { x.max(y) };
            assert!(same(strict[n], expected), "{ty} {x} {y}");
            let size = x.abs().max(y.abs());
            let sign = (rows[n][0] ^ rows[n][1]) & 0x8000 != 0;
            assert!(same(magnitude[n], if sign { -size } else { size }), "{ty} {x} {y}: {}", magnitude[n]);
        }
    }
    let rows = samples(54, &[0, 1 << 31, 0x3f80_0000, 0xbf80_0000, 0x7f80_0000, 0x7fc0_0000], 200);
    hold("min.xorsign.abs.f32 d, a, b;", ["f32"; 3], "f32", &rows, |[a, b, _]| {
        let size = f(a).abs().min(f(b).abs());
        let sign = (a ^ b) & 0x8000_0000;
        if size.is_nan() { 0x7fff_ffff } else { u64::from(size.to_bits()) | sign }
    });
}

/// Arithmetic of bf16 by way of f64, in which a product and a sum of two have room.
#[test]
fn bf16_rounds_once() {
    let rows = halves();
    let value = |bits: u64| f64::from(f32::from_bits((bits as u32 & 0xffff) << 16));
    // To nearest, ties to even, by the neighbours.
    let nearest = |v: f64| -> u64 {
        if v.is_nan() {
            return 0x7fff;
        }
        let sign = u64::from(v.is_sign_negative()) << 15;
        let size = v.abs();
        let below = (0..0x7f80u64).rev().find(|b| value(*b) <= size).unwrap_or(0);
        let next = if below == 0x7f7f { 2f64.powi(128) } else { value(below + 1) };
        let (down, up) = (size - value(below), next - size);
        sign | if size.is_infinite() || up < down || (up == down && below & 1 != 0) {
            if size.is_infinite() { 0x7f80 } else { below + 1 }
        } else {
            below
        }
    };
    let rows = &rows[..300];
    hold("add.bf16 d, a, b;", B16, "b16", rows, |[a, b, _]| nearest(value(a) + value(b)));
    hold("mul.rn.bf16 d, a, b;", B16, "b16", rows, |[a, b, _]| nearest(value(a) * value(b)));
    hold(
        "cvt.rn.bf16.f32 d, a;",
        ["f32"; 3],
        "b16",
        &samples(55, &[0x3f80_8000, 0x3f81_8000], 100),
        |[a, ..]| nearest(f(a).into()),
    );
    hold("cvt.rzi.s32.bf16 d, a;", B16, "b32", rows, |[a, ..]| u64::from(value(a) as i32 as u32));
    hold("cvt.rn.bf16.s32 d, a;", B32, "b16", &samples(56, &edges(), 100), |[a, ..]| {
        nearest(f64::from(a as i32))
    });
    hold(
        "neg.bf16 d, a;",
        B16,
        "b16",
        rows,
        |[a, ..]| if value(a).is_nan() { 0x7fff } else { a & 0xffff ^ 0x8000 },
    );
}

#[test]
fn narrow_conversions_saturate_and_round_away() {
    let specials =
        [0x7f7f_ffff, 0xff7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x3f80_1000, 0x477f_f000];
    let rows = samples(57, &specials, 300);
    hold("cvt.rna.tf32.f32 d, a;", ["f32"; 3], "b32", &rows, |[a, ..]| {
        if f(a).is_nan() { 0x7fff_ffff } else { ((a & 0xffff_ffff) + 0x1000) & 0xffff_e000 }
    });
    hold("cvt.rz.tf32.f32 d, a;", ["f32"; 3], "b32", &rows, |[a, ..]| {
        if f(a).is_nan() { 0x7fff_ffff } else { a & 0xffff_e000 }
    });
    hold("cvt.rn.satfinite.f16.f32 d, a;", ["f32"; 3], "b16", &rows, |[a, ..]| {
        let plain = cpu_bench::rows("cvt.rn.f16.f32 d, a;", ["f32"; 3], "b16", &[[a, 0, 0]])[0];
        if plain & 0x7fff == 0x7c00 { plain - 1 } else { plain }
    });
    hold("cvt.rn.relu.bf16x2.f32 d, a, b;", ["f32"; 3], "b32", &rows, |[a, b, _]| {
        let one = |v: u64| {
            let plain = cpu_bench::rows("cvt.rn.bf16.f32 d, a;", ["f32"; 3], "b16", &[[v, 0, 0]])[0];
            if f(v) <= 0.0 { 0 } else { plain }
        };
        one(a) << 16 | one(b)
    });
}

/// Each element is added on its own; the old ones come back, into the very registers that were added.
#[test]
fn atomics_on_vectors() {
    let text = "
.version 8.1
.target sm_90
.address_size 64
.visible .entry k(.param .u64 x, .param .u64 h)
{
    .reg .f32 %f<6>; .reg .b64 %d<3>; .reg .b32 %r<4>; .reg .b16 %h<4>;
    ld.param.u64 %d0, [x];
    ld.param.u64 %d1, [h];
    mov.f32 %f0, 0f3F800000;
    mov.f32 %f1, 0f40000000;
    atom.global.add.v2.f32 {%f1, %f0}, [%d0], {%f0, %f1};
    st.global.v2.f32 [%d0+16], {%f1, %f0};
    red.global.add.v4.f32 [%d0+32], {%f1, %f1, %f0, %f0};
    mov.b32 %r0, 0x3C003C00;
    red.global.add.noftz.v2.f16x2 [%d1], {%r0, %r0};
    mov.b32 {%h0, %h1}, %r0;
    red.global.max.noftz.v2.f16 [%d1+8], {%h0, %h1};
    atom.global.min.noftz.v2.bf16x2 {%r1, %r2}, [%d1+16], {%r0, %r0};
    st.global.v2.b32 [%d1+24], {%r1, %r2};
    ret;
}
";
    let x: Vec<f32> = (10..22).map(|n| n as f32).collect();
    let h = [0x3c00u32, 0xbc00_4000, 0x4000_3800, 0, 0x4000_3f80, 0x3c00_3c00, 0, 0];
    let bench = Bench::new(text, "k").grid([1; 3], [1, 1, 1]).buffer(bytes_of_f32(&x));
    let out = bench.buffer(cpu_bench::bytes_of_u32(&h)).outputs();
    let found = f32s(&out[0]);
    assert_eq!(found[..2], [11.0, 13.0]);
    assert_eq!(found[4..6], [10.0, 11.0]);
    assert_eq!(found[8..], [28.0, 29.0, 31.0, 32.0]);
    let found = u32s(&out[1]);
    // 1 and 0 and 1 each; 2 and -1 and 1 each; the greater of 0.5 and 1, and of 2 and 1.
    assert_eq!(found[..3], [0x3c00_4000, 0x0000_4200, 0x4000_3c00]);
    assert_eq!(found[4..8], [0x3c00_3c00, 0x3c00_3c00, 0x4000_3f80, 0x3c00_3c00]);
}

#[test]
fn members_of_a_warp() {
    let text = "
.version 8.0
.target sm_90
.address_size 64
.visible .entry k(.param .u64 x)
{
    .reg .b32 %r<6>; .reg .b64 %d; .reg .pred %p, %q;
    ld.param.u64 %d, [x];
    mov.u32 %r0, %laneid;
    mad.wide.u32 %d, %r0, 12, %d;
    elect.sync %r1|%p, 0xfffffff0;
    selp.b32 %r2, 1, 0, %p;
    bar.warp.sync 0xffffffff;
    setp.gt.u32 %q, %r0, 20;
    vote.ballot.sync.b32 %r3, %q, 0xffffffff;
    st.global.u32 [%d], %r1;
    st.global.u32 [%d+4], %r2;
    st.global.u32 [%d+8], %r3;
    ret;
}
";
    let found = u32s(&Bench::new(text, "k").buffer(vec![0; 384]).outputs()[0]);
    for lane in 0..32usize {
        assert_eq!(found[lane * 3..lane * 3 + 3], [4, u32::from(lane == 4), 0xffe0_0000], "lane {lane}");
    }
    // Before there were masks.
    let old = rows(
        "{ .reg .pred p; setp.ne.b32 p, a, 0; vote.ballot.b32 d, p; }",
        B32,
        "b32",
        &[[1, 0, 0], [0, 0, 0]],
    );
    assert_eq!(old, [1, 1]);
    let old = rows("shfl.down.b32 d, a, 1, 31;", B32, "b32", &[[7, 0, 0], [8, 0, 0], [9, 0, 0]]);
    assert_eq!(old[..2], [8, 9]);
}

/// The numbers of an 8-bit format by its manual: bias, bits of the fraction, the greatest, and what is beyond it.
fn bytes(fraction: u32, bias: i32, greatest: u8, beyond: f64) -> Vec<(u8, f64)> {
    let value = |size: u8| {
        let (field, low) = (i32::from(size >> fraction), f64::from(size % (1 << fraction)));
        let one = f64::from(1 << fraction);
        if field == 0 { low / one * 2f64.powi(1 - bias) } else { (1.0 + low / one) * 2f64.powi(field - bias) }
    };
    let size = |n: u8| match n & 0x7f {
        n if n <= greatest => value(n),
        n if n == greatest + 1 => beyond,
        _ => f64::NAN,
    };
    (0..=255).map(|n: u8| (n, if n > 0x7f { -size(n) } else { size(n) })).collect()
}

/// The nearest of all finite numbers, the even one of two as near, by trying them all.
fn nearest(all: &[(u8, f64)], value: f64, relu: bool) -> u64 {
    if value.is_nan() {
        return 0x7f;
    }
    if relu && value <= 0.0 {
        return 0;
    }
    let finite = all.iter().filter(|(n, v)| v.is_finite() && (*n > 0x7f) == value.is_sign_negative());
    let distance = |v: f64| (v - value.clamp(-1e9, 1e9)).abs();
    let best =
        finite.min_by(|(m, a), (n, b)| distance(*a).total_cmp(&distance(*b)).then((m & 1).cmp(&(n & 1))));
    best.map_or(0, |(n, _)| (*n).into())
}

#[test]
fn numbers_of_eight_bits_come_in_pairs() {
    let formats = [("e4m3x2", bytes(3, 7, 0x7e, f64::NAN)), ("e5m2x2", bytes(2, 15, 0x7b, f64::INFINITY))];
    let half = |v: f64| match v {
        v if v.is_nan() => 0x7fff,
        v => u64::from(f16_bits(v)),
    };
    for (name, all) in &formats {
        let rows: Vec<[u64; 3]> = (0..256u64).map(|n| [n | (n * 37 % 256) << 8, 0, 0]).collect();
        for relu in [false, true] {
            let to = if relu { "cvt.rn.relu.f16x2" } else { "cvt.rn.f16x2" };
            hold(&format!("{to}.{name} d, a;"), B16, "b32", &rows, |[a, ..]| {
                let one = |n: u64| {
                    let v = all[n as usize & 255].1;
                    if relu && v <= 0.0 { 0 } else { half(v) }
                };
                one(a) | one(a >> 8) << 16
            });
        }
        // All numbers, the middles between them and what is next to these, infinities and NaN.
        let mut values: Vec<f32> = all.iter().map(|(_, v)| *v as f32).collect();
        for pair in all.windows(2) {
            let middle = ((pair[0].1 + pair[1].1) / 2.0) as f32;
            values.extend([
                middle,
                f32::from_bits(middle.to_bits() + 1),
                f32::from_bits(middle.to_bits().wrapping_sub(1)),
            ]);
        }
        values.extend([
            464.0,
            464.1,
            -500.0,
            57344.0,
            61440.0,
            61441.0,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e-30,
        ]);
        values.extend([f32::NAN, -f32::NAN, f32::from_bits(1), -0.0, 0.0]);
        let shifted = values.iter().cycle().skip(7);
        let rows: Vec<[u64; 3]> =
            values.iter().zip(shifted).map(|(a, b)| [a.to_bits().into(), b.to_bits().into(), 0]).collect();
        for relu in ["", ".relu"] {
            let on = !relu.is_empty();
            hold(
                &format!("cvt.rn.satfinite{relu}.{name}.f32 d, a, b;"),
                ["f32"; 3],
                "b16",
                &rows,
                |[a, b, _]| nearest(all, f(a).into(), on) << 8 | nearest(all, f(b).into(), on),
            );
        }
        let rows: Vec<[u64; 3]> =
            (0..0x1_0000u64).step_by(13).map(|n| [n | (0xffff - n) << 16, 0, 0]).collect();
        hold(&format!("cvt.rn.satfinite.{name}.f16x2 d, a;"), B32, "b16", &rows, |[a, ..]| {
            nearest(all, half_value(a as u16), false) | nearest(all, half_value((a >> 16) as u16), false) << 8
        });
    }
}

/// The bits of a number that f16 has.
fn f16_bits(v: f64) -> u16 {
    (0..0x7c01u16).find(|n| half_value(*n) == v.abs()).expect("a half")
        | u16::from(v.is_sign_negative()) << 15
}

fn half_value(bits: u16) -> f64 {
    let (field, low) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff) / 1024.0);
    let size = match field {
        0 => low * 2f64.powi(-14),
        31 if low == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + low) * 2f64.powi(field - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}
