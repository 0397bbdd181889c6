//! Floating-point arithmetic by integers: exact, then rounded once, in any of PTX's modes and formats.
//!
//! Owns: what the processor has no instruction for: directed rounding and 16-bit formats. The common case, rounding
//! to nearest in f32 and f64, is done by the processor; tests hold the two against each other.
//! Never: looks at the processor's rounding state, so results are the same everywhere.
//! Tests: at the end of this file.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To nearest, ties to even.
    Rn,
    /// Towards zero.
    Rz,
    /// Towards minus infinity.
    Rm,
    /// Towards plus infinity.
    Rp,
}

/// An IEEE 754 binary format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Bits of the fraction.
    pub fraction: u32,
    /// Bits of the exponent.
    pub exponent: u32,
    /// The one NaN that arithmetic gives.
    pub nan: u64,
}

pub const F16: Format = Format { fraction: 10, exponent: 5, nan: 0x7fff };
pub const BF16: Format = Format { fraction: 7, exponent: 8, nan: 0x7fff };
pub const F32: Format = Format { fraction: 23, exponent: 8, nan: 0x7fff_ffff };
pub const F64: Format = Format { fraction: 52, exponent: 11, nan: 0x7ff8_0000_0000_0000 };

/// A number taken apart. A finite one is `(-1)^negative * mantissa * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Nan,
    Infinite { negative: bool },
    Finite { negative: bool, mantissa: u128, exponent: i32 },
}

/// Where the leading bit of an operand goes before an addition: high enough that no bit of a 106-bit product is lost
/// unless the other operand is far larger, low enough that a sum does not overflow.
const LEAD: u32 = 124;

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    fn sign_bit(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    fn apart(self, bits: u64) -> Number {
        let negative = bits & self.sign_bit() != 0;
        let fraction = bits & ((1 << self.fraction) - 1);
        let exponent = (bits >> self.fraction) & ((1 << self.exponent) - 1);
        let lowest = 1 - self.bias() - self.fraction as i32;
        match exponent {
            0 => Number::Finite { negative, mantissa: fraction.into(), exponent: lowest },
            e if e == (1 << self.exponent) - 1 && fraction == 0 => Number::Infinite { negative },
            e if e == (1 << self.exponent) - 1 => Number::Nan,
            e => {
                let mantissa = u128::from(fraction | 1 << self.fraction);
                Number::Finite { negative, mantissa, exponent: lowest + e as i32 - 1 }
            }
        }
    }

    /// The nearest number of this format in the given direction. The lowest bit of a mantissa of 64 bits or more may
    /// stand for "and something more" (a sticky bit).
    fn round(self, number: Number, mode: Mode) -> u64 {
        let (negative, mantissa, exponent) = match number {
            Number::Nan => return self.nan,
            Number::Infinite { negative } => {
                return self.infinity() | if negative { self.sign_bit() } else { 0 };
            }
            Number::Finite { negative, mantissa, exponent } => (negative, mantissa, exponent),
        };
        let sign = if negative { self.sign_bit() } else { 0 };
        if mantissa == 0 {
            return sign;
        }
        let lowest = 1 - self.bias() - self.fraction as i32;
        let top = exponent + 127 - mantissa.leading_zeros() as i32;
        // The exponent of the last place: that of the leading bit less the fraction, but never below the subnormals'.
        let place = (top - self.fraction as i32).max(lowest);
        let shift = place - exponent;
        let (mut kept, half, rest) = match shift {
            s if s <= 0 => (mantissa << (-s).min(127), false, false),
            s if s > 128 => (0, false, true),
            128 => (0, mantissa >> 127 != 0, mantissa << 1 != 0),
            s => {
                let half = mantissa >> (s - 1) & 1 != 0;
                (mantissa >> s, half, mantissa & ((1 << (s - 1)) - 1) != 0)
            }
        };
        let up = match mode {
            Mode::Rn => half && (rest || kept & 1 != 0),
            Mode::Rz => false,
            Mode::Rm => negative && (half || rest),
            Mode::Rp => !negative && (half || rest),
        };
        kept += u128::from(up);
        // Rounding up may carry into the next power of two; adding the fraction to the exponent field does just that.
        let field = (place - lowest) as u64;
        let bits =
            if kept >> self.fraction == 0 { kept as u64 } else { (field << self.fraction) + kept as u64 };
        if bits >= self.infinity() {
            let away = match mode {
                Mode::Rn => true,
                Mode::Rz => false,
                Mode::Rm => negative,
                Mode::Rp => !negative,
            };
            return sign | if away { self.infinity() } else { self.infinity() - 1 };
        }
        sign | bits
    }
}

fn product(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Nan, _) | (_, Number::Nan) => Number::Nan,
        (Number::Infinite { negative: x }, Number::Infinite { negative: y }) => {
            Number::Infinite { negative: x != y }
        }
        (Number::Infinite { negative: x }, Number::Finite { negative: y, mantissa, .. })
        | (Number::Finite { negative: y, mantissa, .. }, Number::Infinite { negative: x }) => {
            if mantissa == 0 { Number::Nan } else { Number::Infinite { negative: x != y } }
        }
        (
            Number::Finite { negative: x, mantissa: m, exponent: e },
            Number::Finite { negative: y, mantissa: n, exponent: g },
        ) => Number::Finite { negative: x != y, mantissa: m * n, exponent: e + g },
    }
}

/// Moves the leading bit to [`LEAD`].
fn normal(mantissa: u128, exponent: i32) -> (u128, i32) {
    let shift = mantissa.leading_zeros() as i32 - (127 - LEAD as i32);
    (mantissa << shift, exponent - shift)
}

/// Shifts right and keeps "something was lost" in the lowest bit.
fn jam(mantissa: u128, shift: i32) -> u128 {
    match shift {
        0 => mantissa,
        s if s > 127 => u128::from(mantissa != 0),
        s => mantissa >> s | u128::from(mantissa & ((1 << s) - 1) != 0),
    }
}

fn sum(a: Number, b: Number, mode: Mode) -> Number {
    let (x, m, e, y, n, g) = match (a, b) {
        (Number::Nan, _) | (_, Number::Nan) => return Number::Nan,
        (Number::Infinite { negative: x }, Number::Infinite { negative: y }) => {
            return if x == y { a } else { Number::Nan };
        }
        (Number::Infinite { .. }, Number::Finite { .. }) => return a,
        (Number::Finite { .. }, Number::Infinite { .. }) => return b,
        (
            Number::Finite { negative: x, mantissa: m, exponent: e },
            Number::Finite { negative: y, mantissa: n, exponent: g },
        ) => (x, m, e, y, n, g),
    };
    // A sum of opposite equals is +0, but -0 when rounding down.
    let zero =
        Number::Finite { negative: if x == y { x } else { mode == Mode::Rm }, mantissa: 0, exponent: 0 };
    match (m, n) {
        (0, 0) => return zero,
        (0, _) => return b,
        (_, 0) => return a,
        _ => {}
    }
    let ((m, e), (n, g)) = (normal(m, e), normal(n, g));
    let (m, n, e) = if e >= g { (m, jam(n, e - g), e) } else { (jam(m, g - e), n, g) };
    if x == y {
        return Number::Finite { negative: x, mantissa: m + n, exponent: e };
    }
    match m.cmp(&n) {
        std::cmp::Ordering::Equal => zero,
        std::cmp::Ordering::Greater => Number::Finite { negative: x, mantissa: m - n, exponent: e },
        std::cmp::Ordering::Less => Number::Finite { negative: y, mantissa: n - m, exponent: e },
    }
}

pub fn add(format: Format, a: u64, b: u64, mode: Mode) -> u64 {
    format.round(sum(format.apart(a), format.apart(b), mode), mode)
}

pub fn mul(format: Format, a: u64, b: u64, mode: Mode) -> u64 {
    format.round(product(format.apart(a), format.apart(b)), mode)
}

pub fn fma(format: Format, a: u64, b: u64, c: u64, mode: Mode) -> u64 {
    let both = product(format.apart(a), format.apart(b));
    format.round(sum(both, format.apart(c), mode), mode)
}

pub fn div(format: Format, a: u64, b: u64, mode: Mode) -> u64 {
    let quotient = match (format.apart(a), format.apart(b)) {
        (Number::Nan, _) | (_, Number::Nan) => Number::Nan,
        (Number::Infinite { .. }, Number::Infinite { .. }) => Number::Nan,
        (Number::Infinite { negative: x }, Number::Finite { negative: y, .. }) => {
            Number::Infinite { negative: x != y }
        }
        (Number::Finite { negative: x, .. }, Number::Infinite { negative: y }) => {
            Number::Finite { negative: x != y, mantissa: 0, exponent: 0 }
        }
        (Number::Finite { mantissa: 0, .. }, Number::Finite { mantissa: 0, .. }) => Number::Nan,
        (Number::Finite { negative: x, .. }, Number::Finite { negative: y, mantissa: 0, .. }) => {
            Number::Infinite { negative: x != y }
        }
        (Number::Finite { negative: x, mantissa: 0, .. }, Number::Finite { negative: y, .. }) => {
            Number::Finite { negative: x != y, mantissa: 0, exponent: 0 }
        }
        (
            Number::Finite { negative: x, mantissa: m, exponent: e },
            Number::Finite { negative: y, mantissa: n, exponent: g },
        ) => {
            let (m, e) = normal(m, e);
            // At least 124 - 53 bits of quotient, and one for "something is left".
            let mantissa = (m / n) << 1 | u128::from(m % n != 0);
            Number::Finite { negative: x != y, mantissa, exponent: e - g - 1 }
        }
    };
    format.round(quotient, mode)
}

pub fn sqrt(format: Format, a: u64, mode: Mode) -> u64 {
    let root = match format.apart(a) {
        Number::Nan => Number::Nan,
        Number::Finite { mantissa: 0, .. } => return a,
        Number::Infinite { negative: true } | Number::Finite { negative: true, .. } => Number::Nan,
        Number::Infinite { negative: false } => format.apart(a),
        Number::Finite { mantissa, exponent, .. } => {
            let (mut m, mut e) = normal(mantissa, exponent);
            if e % 2 != 0 {
                m <<= 1;
                e -= 1;
            }
            let r = m.isqrt();
            Number::Finite { negative: false, mantissa: r << 1 | u128::from(r * r != m), exponent: e / 2 - 1 }
        }
    };
    format.round(root, mode)
}

/// One format to another. A NaN becomes the other format's.
pub fn convert(from: Format, to: Format, bits: u64, mode: Mode) -> u64 {
    to.round(from.apart(bits), mode)
}

/// An f16 as the f32 of the same value: what `convert` gives, without its detour, as every product of halves needs it.
pub fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits) >> 10 & 31, u32::from(bits) & 0x3ff);
    match (exponent, fraction) {
        (31, 0) => f32::from_bits(sign | 0x7f80_0000),
        (31, _) => f32::from_bits(F32.nan as u32),
        // The unit of the subnormals is 2^-24, and such small numbers of it are exact in f32.
        (0, _) => f32::from_bits(sign | (fraction as f32 * f32::from_bits(0x3380_0000)).to_bits()),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// An integer of 64 bits and a sign.
pub fn from_integer(to: Format, magnitude: u64, negative: bool, mode: Mode) -> u64 {
    to.round(
        Number::Finite { negative: negative && magnitude != 0, mantissa: magnitude.into(), exponent: 0 },
        mode,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: usize = 200_000;

    /// Bit patterns with many special and extreme values among them.
    fn sample32(rng: &mut fastrand::Rng) -> u32 {
        let edge = [0, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000];
        match rng.u8(0..6) {
            0 => edge[rng.usize(0..edge.len())] | (u32::from(rng.bool()) << 31),
            1 => rng.u32(..) & 0x80ff_ffff,
            2 => (rng.u32(..) & 0x83ff_ffff) | 0x3c00_0000,
            _ => rng.u32(..),
        }
    }

    fn sample64(rng: &mut fastrand::Rng) -> u64 {
        let edge = [
            0,
            1,
            0x000f_ffff_ffff_ffff,
            0x0010_0000_0000_0000,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
        ];
        match rng.u8(0..6) {
            0 => edge[rng.usize(0..edge.len())] | (u64::from(rng.bool()) << 63),
            1 => rng.u64(..) & 0x801f_ffff_ffff_ffff,
            2 => (rng.u64(..) & 0x803f_ffff_ffff_ffff) | 0x3fc0_0000_0000_0000,
            _ => rng.u64(..),
        }
    }

    fn same32(soft: u64, hard: f32, what: &str) {
        let hard = if hard.is_nan() { F32.nan as u32 } else { hard.to_bits() };
        assert_eq!(soft as u32, hard, "{what}");
    }

    fn same64(soft: u64, hard: f64, what: &str) {
        assert_eq!(soft, if hard.is_nan() { F64.nan } else { hard.to_bits() }, "{what}");
    }

    #[test]
    fn to_nearest_agrees_with_the_processor() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..ROUNDS {
            let [x, y, z] = [(); 3].map(|()| sample32(&mut rng));
            let [a, b, c] = [x, y, z].map(f32::from_bits);
            let [i, j, k] = [x, y, z].map(u64::from);
            let what = format!("seed 1, round {round}: {x:#x} {y:#x} {z:#x}");
            same32(add(F32, i, j, Mode::Rn), a + b, &what);
            same32(mul(F32, i, j, Mode::Rn), a * b, &what);
            same32(div(F32, i, j, Mode::Rn), a / b, &what);
            same32(fma(F32, i, j, k, Mode::Rn), a.mul_add(b, c), &what);
            same32(sqrt(F32, i, Mode::Rn), a.sqrt(), &what);
            let [x, y, z] = [(); 3].map(|()| sample64(&mut rng));
            let [a, b, c] = [x, y, z].map(f64::from_bits);
            let what = format!("seed 1, round {round}: {x:#x} {y:#x} {z:#x}");
            same64(add(F64, x, y, Mode::Rn), a + b, &what);
            same64(mul(F64, x, y, Mode::Rn), a * b, &what);
            same64(div(F64, x, y, Mode::Rn), a / b, &what);
            same64(fma(F64, x, y, z, Mode::Rn), a.mul_add(b, c), &what);
            same64(sqrt(F64, x, Mode::Rn), a.sqrt(), &what);
            same32(convert(F64, F32, x, Mode::Rn), a as f32, &what);
            same32(from_integer(F32, x, false, Mode::Rn), x as f32, &what);
            same64(from_integer(F64, x, false, Mode::Rn), x as f64, &what);
        }
    }

    /// Directed results enclose the exact one: they are neighbours (or equal), on the right sides of each other, and
    /// the nearest is one of them.
    #[test]
    fn directed_results_enclose_the_exact_one() {
        let mut rng = fastrand::Rng::with_seed(2);
        let ordered = |bits: u64| {
            let bits = bits as u32 as i32;
            if bits < 0 { i64::from(i32::MIN) - i64::from(bits) } else { i64::from(bits) }
        };
        for round in 0..ROUNDS {
            let [i, j, k] = [(); 3].map(|()| u64::from(sample32(&mut rng)));
            let what = format!("seed 2, round {round}: {i:#x} {j:#x} {k:#x}");
            let runs: [&dyn Fn(Mode) -> u64; 5] = [
                &|m| add(F32, i, j, m),
                &|m| mul(F32, i, j, m),
                &|m| div(F32, i, j, m),
                &|m| fma(F32, i, j, k, m),
                &|m| sqrt(F32, i, m),
            ];
            for run in runs {
                let [near, zero, down, up] = [Mode::Rn, Mode::Rz, Mode::Rm, Mode::Rp].map(run);
                if near == F32.nan {
                    assert_eq!([zero, down, up], [near; 3], "{what}");
                    continue;
                }
                assert!(ordered(up) - ordered(down) <= 1 && ordered(down) <= ordered(up), "{what}");
                assert!(near == up || near == down, "{what}");
                let inward = if ordered(down) >= 0 && down >> 31 == 0 { down } else { up };
                assert!(zero == inward || down == up || zero << 1 == inward << 1, "{what}");
            }
        }
    }

    #[test]
    fn directed_f32_agrees_with_exact_f64() {
        // The f64 product of two f32 is exact, and its residue against the rounded one has the right sign.
        let mut rng = fastrand::Rng::with_seed(3);
        for round in 0..ROUNDS {
            let [i, j] = [(); 2].map(|()| sample32(&mut rng));
            let exact = f64::from(f32::from_bits(i)) * f64::from(f32::from_bits(j));
            if !exact.is_finite() {
                continue;
            }
            let down = f32::from_bits(mul(F32, i.into(), j.into(), Mode::Rm) as u32);
            let up = f32::from_bits(mul(F32, i.into(), j.into(), Mode::Rp) as u32);
            assert!(
                f64::from(down) <= exact && exact <= f64::from(up),
                "seed 3, round {round}: {i:#x} {j:#x}"
            );
        }
    }

    #[test]
    fn halves_go_there_and_back() {
        for bits in 0..=u16::MAX {
            let wide = convert(F16, F32, bits.into(), Mode::Rn);
            assert_eq!(u64::from(half_to_f32(bits).to_bits()), wide, "{bits:#x}");
            let back = convert(F32, F16, wide, Mode::Rn);
            let nan = bits & 0x7fff > 0x7c00;
            assert_eq!(back, if nan { F16.nan } else { bits.into() }, "{bits:#x}");
            let wide = convert(BF16, F32, bits.into(), Mode::Rz);
            assert!(bits & 0x7fff > 0x7f80 || wide == u64::from(bits) << 16, "{bits:#x}");
        }
    }
}
