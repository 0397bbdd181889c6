//! Floating-point instructions held against Rust: all edges with all edges, and random bits.

mod cpu_bench;

use cpu_bench::{hold, samples};

const NAN32: u64 = 0x7fff_ffff;
const NAN64: u64 = 0x7ff8_0000_0000_0000;

/// Zeros, the least and greatest of each kind, ones, infinities, NaNs; of either sign.
fn edges32() -> Vec<u64> {
    let half =
        [0u32, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x3fc0_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0001];
    half.iter().flat_map(|v| [u64::from(*v), u64::from(v | 1 << 31)]).collect()
}

fn edges64() -> Vec<u64> {
    let half = [
        0u64,
        1,
        (1 << 52) - 1,
        1 << 52,
        0x3ff0 << 48,
        0x4000_0000_0000_0001,
        0x7fef << 48,
        0x7ff0 << 48,
        0x7ff8 << 48,
    ];
    half.iter().flat_map(|v| [*v, v | 1 << 63]).collect()
}

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

fn g(v: u64) -> f64 {
    f64::from_bits(v)
}

fn out32(v: f32) -> u64 {
    if v.is_nan() { NAN32 } else { v.to_bits().into() }
}

fn out64(v: f64) -> u64 {
    if v.is_nan() { NAN64 } else { v.to_bits() }
}

fn ftz(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

#[test]
fn arithmetic_is_ieee_with_one_nan() {
    let rows = samples(31, &edges32(), 500);
    let f32s = |op: &str, r: &dyn Fn(f32, f32, f32) -> f32| {
        hold(op, ["f32"; 3], "f32", &rows, |[a, b, c]| out32(r(f(a), f(b), f(c))));
    };
    f32s("add.f32 d, a, b;", &|a, b, _| a + b);
    f32s("sub.rn.f32 d, a, b;", &|a, b, _| a - b);
    f32s("mul.f32 d, a, b;", &|a, b, _| a * b);
    f32s("fma.rn.f32 d, a, b, c;", &|a, b, c| a.mul_add(b, c));
    f32s("mad.rn.f32 d, a, b, c;", &|a, b, c| a.mul_add(b, c));
    f32s("div.rn.f32 d, a, b;", &|a, b, _| a / b);
    f32s("rcp.rn.f32 d, a;", &|a, _, _| 1.0 / a);
    f32s("sqrt.rn.f32 d, a;", &|a, _, _| a.sqrt());
    f32s("abs.f32 d, a;", &|a, _, _| a.abs());
    f32s("neg.f32 d, a;", &|a, _, _| -a);
    f32s("add.ftz.f32 d, a, b;", &|a, b, _| ftz(ftz(a) + ftz(b)));
    f32s("fma.rn.ftz.f32 d, a, b, c;", &|a, b, c| ftz(ftz(a).mul_add(ftz(b), ftz(c))));
    let sat = |v: f32| if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) + 0.0 };
    f32s("mul.sat.f32 d, a, b;", &|a, b, _| sat(a * b));
    // Bits are moved, whatever they mean.
    hold("copysign.f32 d, a, b;", ["f32"; 3], "f32", &rows, |[a, b, _]| {
        (b & 0x7fff_ffff) | (a & 0x8000_0000)
    });
    let rows = samples(32, &edges64(), 500);
    let f64s = |op: &str, r: &dyn Fn(f64, f64, f64) -> f64| {
        hold(op, ["f64"; 3], "f64", &rows, |[a, b, c]| out64(r(g(a), g(b), g(c))));
    };
    f64s("add.f64 d, a, b;", &|a, b, _| a + b);
    f64s("mul.rn.f64 d, a, b;", &|a, b, _| a * b);
    f64s("fma.rn.f64 d, a, b, c;", &|a, b, c| a.mul_add(b, c));
    f64s("div.rn.f64 d, a, b;", &|a, b, _| a / b);
    f64s("sqrt.rn.f64 d, a;", &|a, _, _| a.sqrt());
}

/// Directed rounding against bounds from f64, in which sums and products of f32 have room.
#[test]
fn directed_rounding_goes_its_way() {
    let rows = samples(33, &edges32(), 500);
    for (op, exact) in [("mul", (|a, b| a * b) as fn(f64, f64) -> f64), ("add", |a, b| a + b)] {
        let run =
            |mode: &str| cpu_bench::rows(&format!("{op}.{mode}.f32 d, a, b;"), ["f32"; 3], "f32", &rows);
        let (down, up, zero) = (run("rm"), run("rp"), run("rz"));
        for (n, [a, b, _]) in rows.iter().enumerate() {
            let exact = exact(f(*a).into(), f(*b).into());
            let (down, up, zero) = (f(down[n]), f(up[n]), f(zero[n]));
            if exact.is_nan() {
                assert!(down.is_nan() && up.is_nan() && zero.is_nan());
                continue;
            }
            assert!(
                f64::from(down) <= exact && exact <= f64::from(up),
                "{op} {a:#x} {b:#x}: {down} {exact} {up}"
            );
            assert!(f64::from(zero).abs() <= exact.abs(), "{op} {a:#x} {b:#x}");
            assert!(up == down || up == down.next_up(), "{op} {a:#x} {b:#x}: {down} {up}");
        }
    }
}

#[test]
fn smallest_and_greatest_know_nan_and_zero() {
    let rows = samples(34, &edges32(), 300);
    let least = |a: f32, b: f32| match (a.is_nan(), b.is_nan()) {
        (true, true) => f32::NAN,
        (true, false) => b,
        (false, true) => a,
        // Ordered by sign first, so that -0 is less than +0.
        _ => {
            if a < b || (a == b && a.is_sign_negative()) {
                a
            } else {
                b
            }
        }
    };
    hold("min.f32 d, a, b;", ["f32"; 3], "f32", &rows, |[a, b, _]| out32(least(f(a), f(b))));
    hold("max.f32 d, a, b;", ["f32"; 3], "f32", &rows, |[a, b, _]| out32(-least(-f(a), -f(b))));
    hold("min.NaN.f32 d, a, b;", ["f32"; 3], "f32", &rows, |[a, b, _]| {
        if f(a).is_nan() || f(b).is_nan() { NAN32 } else { out32(least(f(a), f(b))) }
    });
    hold("max.ftz.f32 d, a, b;", ["f32"; 3], "f32", &rows, |[a, b, _]| out32(-least(-ftz(f(a)), -ftz(f(b)))));
}

type Test = fn(f32, f32) -> bool;
type ClassTest = fn(f32) -> bool;

#[test]
#[allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "an unordered comparison is the opposite of an ordered one"
)]
fn comparisons_know_nan() {
    let rows = samples(35, &edges32(), 300);
    let cases: [(&str, Test); 14] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| !a.is_nan() && !b.is_nan() && a != b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a == b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| !(a >= b)),
        ("leu", |a, b| !(a > b)),
        ("gtu", |a, b| !(a <= b)),
        ("geu", |a, b| !(a < b)),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, test) in cases {
        hold(&format!("setp.{name}.f32 d, a, b;"), ["f32"; 3], "pred", &rows, |[a, b, _]| {
            test(f(a), f(b)).into()
        });
        hold(&format!("set.{name}.f32.f32 d, a, b;"), ["f32"; 3], "f32", &rows, |[a, b, _]| {
            out32(if test(f(a), f(b)) { 1.0 } else { 0.0 })
        });
        let joined =
            format!("{{ .reg .pred p, q; setp.ne.b32 p, c, 0; setp.{name}.and.f32 q|d, a, b, !p; }}");
        hold(&joined, ["f32", "f32", "b32"], "pred", &rows, |[a, b, c]| {
            (!test(f(a), f(b)) && c as u32 == 0).into()
        });
    }
    let class: [(&str, ClassTest); 6] = [
        ("finite", f32::is_finite),
        ("infinite", f32::is_infinite),
        ("number", |v| !v.is_nan()),
        ("notanumber", f32::is_nan),
        ("normal", |v| v.is_normal() || v == 0.0),
        ("subnormal", f32::is_subnormal),
    ];
    for (name, test) in class {
        hold(&format!("testp.{name}.f32 d, a;"), ["f32"; 3], "pred", &rows, |[a, ..]| test(f(a)).into());
    }
}

#[test]
fn numbers_convert_and_clamp() {
    let rows = samples(36, &edges32(), 500);
    hold("cvt.rzi.s32.f32 d, a;", ["f32"; 3], "b32", &rows, |[a, ..]| u64::from(f(a) as i32 as u32));
    hold("cvt.rni.u32.f32 d, a;", ["f32"; 3], "b32", &rows, |[a, ..]| {
        u64::from(f(a).round_ties_even() as u32)
    });
    hold("cvt.rmi.s64.f32 d, a;", ["f32"; 3], "b64", &rows, |[a, ..]| {
        if f(a).is_nan() { 1 << 63 } else { f(a).floor() as i64 as u64 }
    });
    hold("cvt.rpi.u16.f32 d, a;", ["f32"; 3], "b16", &rows, |[a, ..]| u64::from(f(a).ceil() as u16));
    hold("cvt.rni.f32.f32 d, a;", ["f32"; 3], "f32", &rows, |[a, ..]| out32(f(a).round_ties_even()));
    hold("cvt.f64.f32 d, a;", ["f32"; 3], "f64", &rows, |[a, ..]| out64(f(a).into()));
    hold("cvt.ftz.f64.f32 d, a;", ["f32"; 3], "f64", &rows, |[a, ..]| out64(ftz(f(a)).into()));
    hold("cvt.sat.f32.f32 d, a;", ["f32"; 3], "f32", &rows, |[a, ..]| {
        out32(if f(a).is_nan() { 0.0 } else { f(a).clamp(0.0, 1.0) + 0.0 })
    });
    let rows = samples(37, &edges64(), 500);
    hold("cvt.rn.f32.f64 d, a;", ["f64"; 3], "f32", &rows, |[a, ..]| out32(g(a) as f32));
    hold("cvt.rzi.s32.f64 d, a;", ["f64"; 3], "b32", &rows, |[a, ..]| {
        if g(a).is_nan() { 1 << 31 } else { u64::from(g(a) as i32 as u32) }
    });
    hold("cvt.rn.f32.u64 d, a;", ["b64"; 3], "f32", &rows, |[a, ..]| out32(a as f32));
    hold("cvt.rn.f64.s64 d, a;", ["b64"; 3], "f64", &rows, |[a, ..]| out64(a as i64 as f64));
    hold("cvt.rn.f32.s32 d, a;", ["b32"; 3], "f32", &rows, |[a, ..]| out32(a as i32 as f32));
    hold("cvt.rn.f32.u32 d, a;", ["b32"; 3], "f32", &rows, |[a, ..]| out32(a as u32 as f32));
    hold("cvt.rn.f32.s8 d, a;", ["b32"; 3], "f32", &rows, |[a, ..]| out32(f32::from(a as i8)));
    hold("cvt.rz.f32.u32 d, a;", ["b32"; 3], "f32", &rows, |[a, ..]| {
        // Towards zero: the highest 24 bits.
        let v = a as u32;
        let drop = (32 - v.leading_zeros()).saturating_sub(24);
        out32((v >> drop << drop) as f32)
    });
}

/// A 16-bit float as f64, by its definition.
fn half(bits: u64) -> f64 {
    let sign = if bits & 0x8000 != 0 { -1.0 } else { 1.0 };
    let (exponent, fraction) = ((bits >> 10 & 31) as i32, (bits & 0x3ff) as f64);
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 => {
            if fraction == 0.0 {
                sign * f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => sign * (1024.0 + fraction) * 2f64.powi(e - 25),
    }
}

/// The 16-bit float nearest to an exact value, found by looking at all of them in order.
fn nearest(value: f64) -> u64 {
    if value.is_nan() {
        return 0x7fff;
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    let (mut low, mut high) = (0u64, 0x7c00);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if half(middle) <= size { low = middle } else { high = middle }
    }
    // Beyond the greatest number, half a step further is infinity.
    let above = if high == 0x7c00 { 65536.0 } else { half(high) };
    let (down, up) = (size - half(low), above - size);
    sign | if down < up || (down == up && low & 1 == 0) { low } else { high }
}

#[test]
fn half_precision_rounds_once() {
    let edges: Vec<u64> = [0u64, 1, 0x3ff, 0x400, 0x3c00, 0x3c01, 0x7bff, 0x7c00, 0x7e01]
        .iter()
        .flat_map(|v| [*v, v | 0x8000])
        .collect();
    let mut rows = samples(38, &edges, 0);
    let mut rng = fastrand::Rng::with_seed(38);
    rows.extend((0..2000).map(|_| [(); 3].map(|()| u64::from(rng.u16(..)))));
    let b16 = ["b16"; 3];
    hold("add.f16 d, a, b;", b16, "b16", &rows, |[a, b, _]| nearest(half(a) + half(b)));
    hold("sub.rn.f16 d, a, b;", b16, "b16", &rows, |[a, b, _]| nearest(half(a) - half(b)));
    hold("mul.f16 d, a, b;", b16, "b16", &rows, |[a, b, _]| nearest(half(a) * half(b)));
    hold("cvt.f32.f16 d, a;", b16, "f32", &rows, |[a, ..]| out32(half(a) as f32));
    hold("cvt.rn.f16.f32 d, a;", ["f32"; 3], "b16", &samples(39, &edges32(), 500), |[a, ..]| {
        nearest(f(a).into())
    });
    let packed =
        "{ .reg .b32 p, q; mov.b32 p, {a, b}; mov.b32 q, {b, c}; add.f16x2 p, p, q; mov.b32 {d, _}, p; }";
    hold(packed, b16, "b16", &rows, |[a, b, _]| nearest(half(a) + half(b)));
    hold("cvt.f32.bf16 d, a;", b16, "f32", &rows, |[a, ..]| out32(f(a << 16)));
    hold("setp.lt.f16 d, a, b;", b16, "pred", &rows, |[a, b, _]| (half(a) < half(b)).into());
}

/// Approximate instructions stay within the error that PTX states for them, and keep its exact cases.
#[test]
fn approximations_are_close() {
    let rows: Vec<[u64; 3]> = (-200..200).map(|n| [u64::from((n as f32 * 0.37).to_bits()), 0, 0]).collect();
    let close = |op: &str, r: fn(f64) -> f64| {
        let found = cpu_bench::rows(&format!("{op} d, a;"), ["f32"; 3], "f32", &rows);
        for ([a, ..], found) in rows.iter().zip(found) {
            let (expected, found) = (r(f(*a).into()), f64::from(f(found)));
            let same = (expected.is_nan() && found.is_nan()) || expected as f32 == found as f32;
            assert!(
                same || (found - expected).abs() <= expected.abs() * 2e-7 + 1e-7,
                "{op} {}: {found}",
                f(*a)
            );
        }
    };
    close("ex2.approx.f32", f64::exp2);
    close("lg2.approx.f32", f64::log2);
    close("sin.approx.f32", f64::sin);
    close("cos.approx.f32", f64::cos);
    close("rsqrt.approx.f32", |v| 1.0 / v.sqrt());
    close("rcp.approx.f32", |v| 1.0 / v);
    close("sqrt.approx.f32", f64::sqrt);
    close("tanh.approx.f32", f64::tanh);
    let edges = [
        [u64::from(f32::NEG_INFINITY.to_bits()), 0, 0],
        [u64::from(f32::INFINITY.to_bits()), 0, 0],
        [0, 0, 0],
    ];
    hold("ex2.approx.f32 d, a;", ["f32"; 3], "f32", &edges, |[a, ..]| out32(f(a).exp2()));
    hold("lg2.approx.f32 d, a;", ["f32"; 3], "f32", &edges, |[a, ..]| out32(f(a).log2()));
}
