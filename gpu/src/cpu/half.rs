//! Arithmetic on 16-bit numbers, through f32 and f64.
//!
//! Owns: f16 and bf16 to and from f32, and every operation on them but the approximate ones' definitions. A sum, a
//! difference or a product of two is rounded to f32 and then again, which is harmless, since f32 has more than twice the
//! bits; for a product and a sum at once it is not, so that is rounded *to odd* first: where bits were lost, the last one
//! is set, and rounding again sees them.
//! Never: looks at the processor's rounding state. `jit/emit/half.rs` makes machine code of the same steps.
//! Tests: at the end of this file, against `soft.rs`; `gpu/tests/cpu_float.rs`.

use super::{
    code::{Code, Finish, FloatOp},
    float::{Float, approximate, maximum, minimum, operands},
    lanes::{Frame, LANES, store, versions},
    soft::{BF16, F16, Format},
};

/// 2^112: what is between the exponents of f16 and f32.
pub const SCALE: u32 = 0x7780_0000;
/// The f32 of the least exponent of f16, and that from which on f16 has infinity.
pub const LEAST: u32 = 0x3880_0000;
pub const BEYOND: u32 = 0x477f_f000;
/// The bits of one half, whose last place is that of the least f16.
pub const HALF: u32 = 0x3f00_0000;
/// The one NaN of both formats.
pub const NAN: u32 = 0x7fff;

pub fn format(brain: bool) -> Format {
    if brain { BF16 } else { F16 }
}

/// The bits of a number without its sign, from which on it is none.
fn infinity(brain: bool) -> u32 {
    if brain { 0x7f80 } else { 0x7c00 }
}

/// A half as f32, exactly.
#[inline(always)]
pub fn wide(bits: u32, brain: bool) -> f32 {
    if brain {
        return f32::from_bits(bits << 16);
    }
    let size = (bits & 0x7fff) << 13;
    let scaled = f32::from_bits(size) * f32::from_bits(SCALE);
    let special = if size >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
}

/// To nearest, ties to even; every NaN is the one NaN.
#[inline(always)]
pub fn narrow(value: f32, brain: bool) -> u32 {
    let bits = value.to_bits();
    if brain {
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16;
        return if value.is_nan() { NAN } else { rounded };
    }
    let size = bits & 0x7fff_ffff;
    let normal = (size.wrapping_add(0xfff + (size >> 13 & 1)).wrapping_sub(112 << 23)) >> 13;
    let tiny = (f32::from_bits(size) + f32::from_bits(HALF)).to_bits().wrapping_sub(HALF);
    let finite = if size < LEAST { tiny } else { normal };
    let out = if size >= BEYOND { 0x7c00 } else { finite };
    if value.is_nan() { NAN } else { out | bits >> 16 & 0x8000 }
}

/// The same of f64, of which every bit counts.
#[inline(always)]
pub fn narrow_all(value: f64, brain: bool) -> u32 {
    narrow(to_odd(value), brain)
}

/// f32, rounded to odd.
#[inline(always)]
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    let inward = u32::from(back.abs() > value.abs());
    f32::from_bits(near.to_bits().wrapping_sub(inward) | u32::from(back != value))
}

macro_rules! sum_to_odd {
    ($name:ident, $ty:ty, $bits:ty) => {
        /// A sum, rounded to odd: what rounding to nearest has lost is known exactly.
        #[inline(always)]
        fn $name(x: $ty, y: $ty) -> $ty {
            let sum = x + y;
            let of_y = sum - x;
            let lost = (x - (sum - of_y)) + (y - of_y);
            // Where the sum is no number, neither is this.
            let (below, above) = (lost < 0.0, lost > 0.0);
            let inward = (below | above) & (below != (sum < 0.0));
            <$ty>::from_bits(sum.to_bits().wrapping_sub(inward.into()) | <$bits>::from(below | above))
        }
    };
}

sum_to_odd!(sum_to_odd, f32, u32);
sum_to_odd!(wide_sum_to_odd, f64, u64);

/// A product of two halves is exact as f32, but for bf16, whose product may be as f64 only.
#[inline(always)]
fn fused(x: f32, y: f32, z: f32, brain: bool) -> f32 {
    if brain { to_odd(wide_sum_to_odd(f64::from(x) * f64::from(y), z.into())) } else { sum_to_odd(x * y, z) }
}

/// Subnormal numbers become zeros of their sign.
#[inline(always)]
pub fn flush(bits: u32, brain: bool) -> u32 {
    if bits & infinity(brain) == 0 { bits & 0x8000 } else { bits }
}

/// One operation: exact, then rounded once.
#[inline(always)]
pub fn half(op: FloatOp, brain: bool, how: Finish, given: [u32; 3]) -> u32 {
    let [i, j, k] = given.map(|v| if how.ftz { flush(v, brain) } else { v });
    let [x, y, z] = [i, j, k].map(|v| wide(v, brain));
    let out = match op {
        FloatOp::Add => narrow(x + y, brain),
        FloatOp::Sub => narrow(x - y, brain),
        FloatOp::Mul => narrow(x * y, brain),
        FloatOp::Fma => narrow(fused(x, y, z, brain), brain),
        FloatOp::Div => narrow(x / y, brain),
        FloatOp::Sqrt => narrow(x.sqrt(), brain),
        FloatOp::Min | FloatOp::Max if how.nan && (x.is_nan() || y.is_nan()) => NAN,
        FloatOp::Min => narrow(minimum(x, y), brain),
        FloatOp::Max => narrow(maximum(x, y), brain),
        FloatOp::Abs => i & 0x7fff,
        FloatOp::Neg => i ^ 0x8000,
        FloatOp::Copysign => (j & 0x7fff) | (i & 0x8000),
        FloatOp::Rcp
        | FloatOp::Rsqrt
        | FloatOp::Sin
        | FloatOp::Cos
        | FloatOp::Ex2
        | FloatOp::Lg2
        | FloatOp::Tanh => narrow_all(approximate(op, x.into()), brain),
    };
    let out = if out & 0x7fff > infinity(brain) { NAN } else { out };
    let out = if how.ftz { flush(out, brain) } else { out };
    if how.sat {
        return narrow(wide(out, brain).saturate(), brain);
    }
    if how.relu && wide(out, brain) <= 0.0 { 0 } else { out }
}

#[inline(always)]
fn each(f: &mut Frame, i: &Code, pair: bool, op: impl Fn([u32; 3]) -> u32) {
    let [a, b, c] = operands(i).map(|slot| f.words(slot));
    let mut out = [0; LANES];
    for n in 0..LANES {
        let low = op([a[n], b[n], c[n]].map(|v| v & 0xffff));
        out[n] = if pair { low | op([a[n], b[n], c[n]].map(|v| v >> 16)) << 16 } else { low };
    }
    store::<u32>(f, i.d, &out);
}

versions! {
    pub fn halves(f: &mut Frame, i: &Code, op: FloatOp, pair: bool, brain: bool, how: Finish) {
        // The frequent ones apart, so that each is a loop of its own, which vectorises.
        macro_rules! apart {
            ($($op:ident),*) => {
                match (op, brain) {
                    $((FloatOp::$op, false) => each(f, i, pair, |v| half(FloatOp::$op, false, how, v)),
                    (FloatOp::$op, true) => each(f, i, pair, |v| half(FloatOp::$op, true, how, v)),)*
                    _ => each(f, i, pair, |v| half(op, brain, how, v)),
                }
            };
        }
        apart!(Add, Sub, Mul, Fma, Min, Max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::soft::{self, F32, F64, Mode};

    const PLAIN: Finish = Finish { mode: Mode::Rn, ftz: false, sat: false, nan: false, relu: false };
    /// Random operands of each operation and format.
    const TRIED: usize = 300_000;

    #[test]
    fn every_half_is_itself_as_f32() {
        for (bits, brain) in (0..=0xffffu32).flat_map(|bits| [(bits, false), (bits, true)]) {
            let expected = soft::convert(format(brain), F32, bits.into(), Mode::Rn) as u32;
            let found = wide(bits, brain);
            assert!(found.is_nan() && f32::from_bits(expected).is_nan() || found.to_bits() == expected);
            let back = soft::convert(F32, format(brain), expected.into(), Mode::Rn) as u32;
            assert_eq!(narrow(found, brain), back, "{bits:#x} {brain}");
        }
    }

    #[test]
    fn rounding_is_to_nearest() {
        let mut rng = fastrand::Rng::with_seed(31);
        for _ in 0..TRIED {
            // Ties, what is next to them, and anything else.
            let near = rng.u32(..) & !0x1fff | 0x1000 & rng.u32(..);
            for bits in
                [near, near.wrapping_add(1), near.wrapping_sub(1), near & !0xffff | 0x8000, rng.u32(..)]
            {
                for brain in [false, true] {
                    let expected = soft::convert(F32, format(brain), bits.into(), Mode::Rn) as u32;
                    assert_eq!(narrow(f32::from_bits(bits), brain), expected, "{bits:#x} {brain}");
                    let value =
                        f64::from(f32::from_bits(bits)) * (1.0 + f64::EPSILON * f64::from(rng.u8(0..3)));
                    let expected = soft::convert(F64, format(brain), value.to_bits(), Mode::Rn) as u32;
                    assert_eq!(narrow_all(value, brain), expected, "{value:e} {brain}");
                }
            }
        }
    }

    #[test]
    fn arithmetic_is_rounded_once() {
        let mut rng = fastrand::Rng::with_seed(32);
        for n in 0..TRIED {
            let brain = n % 2 == 0;
            let format = format(brain);
            let mut given = [(); 3].map(|()| u32::from(rng.u16(..)));
            if n % 3 == 0 {
                // Exponents that meet: the third near the product of the first two.
                let (one, fraction) =
                    (0x3f80u32 >> if brain { 0 } else { 3 } << if brain { 0 } else { 3 }, 10);
                given = given.map(|v| v & 0x83ff | (if brain { one } else { 15 << fraction }));
                given[2] ^= rng.u32(0..24) << format.fraction;
            }
            let [x, y, z] = given.map(u64::from);
            let sign = 0x8000;
            for (op, expected) in [
                (FloatOp::Add, soft::add(format, x, y, Mode::Rn)),
                (FloatOp::Sub, soft::add(format, x, y ^ sign, Mode::Rn)),
                (FloatOp::Mul, soft::mul(format, x, y, Mode::Rn)),
                (FloatOp::Div, soft::div(format, x, y, Mode::Rn)),
                (FloatOp::Sqrt, soft::sqrt(format, x, Mode::Rn)),
                (FloatOp::Fma, soft::fma(format, x, y, z, Mode::Rn)),
            ] {
                let nan = expected & 0x7fff > u64::from(infinity(brain));
                let expected = if nan { NAN } else { expected as u32 };
                assert_eq!(half(op, brain, PLAIN, given), expected, "{op:?} {brain} {given:x?}");
            }
        }
    }
}
