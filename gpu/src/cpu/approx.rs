//! `ex2`, `lg2`, `sin`, `cos`, `tanh`, `rsqrt`: what `.approx` means on a processor.
//!
//! Owns: one definition for all machines: additions, multiplications, divisions and roots of f64 in a fixed order, no
//! fused operation, no table of the system's library. The result, rounded to f32, is within 2^-23 of the true value
//! (relative; for `sin` and `cos`, absolute), which is inside every bound that the PTX manual gives. A GPU computes other
//! last bits; `ptx::exact` writes these same definitions in PTX, for jobs that ask for the same bits everywhere.
//! Never: calls a mathematical function of the system.
//! Limits: arguments are f32, f16 or bf16, widened; f64 is taken by [`rsqrt`] alone.
//! Tests: `gpu/tests/cpu_approx.rs`, a part of all f32; all of them: `cargo run --release -p ion-gpu --example approx_error`.

/// Adding this to a small number leaves the nearest whole number in the low bits of the sum.
pub(super) const WHOLE: f64 = 6_755_399_441_055_744.0;

/// `ln(2)^n / n!`, highest power first.
pub(super) const EXP2: [f64; 10] = [
    f64::from_bits(0x3E7B_5253_D395_E7C4),
    f64::from_bits(0x3EB6_2C02_23A5_C824),
    f64::from_bits(0x3EEF_FCBF_C588_B0C7),
    f64::from_bits(0x3F24_3091_2F86_C787),
    f64::from_bits(0x3F55_D87F_E78A_6731),
    f64::from_bits(0x3F83_B2AB_6FBA_4E77),
    f64::from_bits(0x3FAC_6B08_D704_A0C0),
    f64::from_bits(0x3FCE_BFBD_FF82_C58F),
    f64::from_bits(0x3FE6_2E42_FEFA_39EF),
    1.0,
];

/// `1 / (2n + 1)`, highest first: the series of the logarithm.
pub(super) const LOG2: [f64; 8] =
    [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];

/// The series of the sine and of the cosine in the square of the angle, highest first.
pub(super) const SIN: [f64; 6] =
    [-1.0 / 39_916_800.0, 1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0];
pub(super) const COS: [f64; 7] =
    [1.0 / 479_001_600.0, -1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -1.0 / 2.0, 1.0];

pub(super) const TWO_OVER_PI: f64 = f64::from_bits(0x3FE4_5F30_6DC9_C883);
/// Half of pi in two parts; the first has 33 bits, so that its product with a number below 2^20 is exact.
pub(super) const HALF_PI: [f64; 2] =
    [f64::from_bits(0x3FF9_21FB_5440_0000), f64::from_bits(0x3DD0_B461_1A62_6331)];
/// The angle that 2^-64 of a turn is.
const TURN: f64 = f64::from_bits(0x3C19_21FB_5444_2D18);
/// Angles from here on are reduced in integers.
pub(super) const LARGE: f64 = 1_048_576.0;
/// 2 / pi after the binary point, behind 32 zeros.
const TWO_OVER_PI_BITS: [u32; 7] =
    [0, 0xa2f9_836e, 0x4e44_1529, 0xfc27_57d1, 0xf534_ddc0, 0xdb62_9599, 0x3c43_9041];

pub(super) const TWO_OVER_LN2: f64 = f64::from_bits(0x4007_1547_652B_82FE);
/// The high half of the square root of 1/2: mantissas are taken from here to twice this.
pub(super) const ROOT_HALF: u64 = 0x3FE6_A09E_0000_0000;

#[inline(always)]
fn polynomial<const N: usize>(terms: &[f64; N], x: f64) -> f64 {
    let mut sum = terms[0];
    for term in &terms[1..] {
        sum = sum * x + term;
    }
    sum
}

/// Two to the `x`. Beyond 200 of either sign the result is that of 200: every format this is rounded to ends before.
#[inline(always)]
pub fn exp2(x: f64) -> f64 {
    let x = if x < -200.0 { -200.0 } else { x };
    let x = if x > 200.0 { 200.0 } else { x };
    let shifted = x + WHOLE;
    let rest = x - (shifted - WHOLE);
    // The whole part becomes the exponent.
    let scale = (shifted.to_bits() << 52).wrapping_add(0x3ff0 << 48);
    polynomial(&EXP2, rest) * f64::from_bits(scale)
}

/// The logarithm to base 2 of a number that is no subnormal of f64.
#[inline(always)]
pub fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits.wrapping_sub(ROOT_HALF) as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << 52));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let found = exponent as f64 + s * TWO_OVER_LN2 * polynomial(&LOG2, s * s);
    if x > 0.0 && x < f64::INFINITY {
        found
    } else if x == 0.0 {
        f64::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f64::NAN
    }
}

/// An angle within an eighth of a turn, and the quarter turns that were taken off; of the angle without its sign.
#[inline(always)]
fn reduce(x: f64) -> (f64, u64) {
    if x < LARGE {
        let shifted = x * TWO_OVER_PI + WHOLE;
        let quarters = shifted - WHOLE;
        return ((x - quarters * HALF_PI[0]) - quarters * HALF_PI[1], shifted.to_bits());
    }
    reduce_large(x)
}

/// The same in integers: the turns' fraction to 64 bits, of which 40 are exact.
#[inline(never)]
fn reduce_large(x: f64) -> (f64, u64) {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as usize;
    // Numbers of f32 have 24 bits and end at 2^128; infinity and NaN have no angle.
    if exponent > 1023 + 127 {
        return (f64::NAN, 0);
    }
    let mantissa = (bits & ((1 << 52) - 1) | 1 << 52) >> 29;
    // The bits of a turn, which is four quarters, at the weight of the mantissa's last bit.
    let start = exponent + 32 - (1023 + 23 + 2);
    let [high, middle, low] = [0, 1, 2].map(|n| u128::from(TWO_OVER_PI_BITS[start / 32 + n]));
    let window = (high << 64 | middle << 32 | low) >> (32 - start % 32);
    let turn = mantissa.wrapping_mul(window as u64);
    let quarters = turn.wrapping_add(1 << 61) >> 62;
    let rest = turn.wrapping_sub(quarters << 62) as i64;
    (rest as f64 * TURN, quarters)
}

/// The sine of `x`, or that of `x` and a quarter turn.
#[inline(always)]
fn wave(x: f64, quarter: u64) -> f64 {
    let (angle, quarters) = reduce(x.abs());
    let square = angle * angle;
    let quarters = quarters.wrapping_add(quarter);
    let odd = quarters & 1 != 0;
    let size = if odd { polynomial(&COS, square) } else { angle * polynomial(&SIN, square) };
    if quarters & 2 != 0 { -size } else { size }
}

#[inline(always)]
pub fn sin(x: f64) -> f64 {
    let size = wave(x, 0);
    if x.is_sign_negative() { -size } else { size }
}

#[inline(always)]
pub fn cos(x: f64) -> f64 {
    wave(x, 1)
}

#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let size = x.abs();
    let value = if size < 1.0 / 64.0 {
        let square = size * size;
        size * (1.0 + square * (square * (2.0 / 15.0) - 1.0 / 3.0))
    } else {
        // From 20 on the result is 1 in every format.
        let size = if size > 20.0 { 20.0 } else { size };
        let power = exp2(size * TWO_OVER_LN2);
        (power - 1.0) / (power + 1.0)
    };
    if x.is_sign_negative() { -value } else { value }
}

#[inline(always)]
pub fn rsqrt(x: f64) -> f64 {
    1.0 / x.sqrt()
}
