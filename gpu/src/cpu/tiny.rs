//! `cvt` to and from floats of eight bits, two at a time.
//!
//! Owns: the two formats and their rounding: to nearest, ties to even, what is too large to the greatest number. A NaN is
//! the one whose bits are all set.
//! Tests: `gpu/tests/cpu_further.rs`.

use super::{
    code::Code,
    lanes::{Frame, store},
    soft::{self, F16, F32, F64, Mode},
};

/// A format of a sign, an exponent and a fraction in eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Bits of the fraction.
    fraction: u32,
    /// Exponent of the least normal number.
    lowest: i32,
    /// The greatest number.
    greatest: u8,
    /// Whether the next after it is infinity.
    infinite: bool,
}

pub const E4M3: Format = Format { fraction: 3, lowest: -6, greatest: 0x7e, infinite: false };
pub const E5M2: Format = Format { fraction: 2, lowest: -14, greatest: 0x7b, infinite: true };

const SIGN: u8 = 0x80;
const NAN: u8 = 0x7f;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The f32 in `a` to the upper, that in `b` to the lower byte.
    FromSingles,
    FromHalves,
    ToHalves,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiny {
    pub format: Format,
    pub way: Way,
    /// Zero in place of what is below.
    pub relu: bool,
}

impl Format {
    /// A number of this format, whose values all are ones of f64.
    fn value(self, bits: u8) -> f64 {
        let size = bits & !SIGN;
        let field = i32::from(size >> self.fraction);
        let fraction = f64::from(size & ((1 << self.fraction) - 1)) / f64::from(1 << self.fraction);
        let value = match size {
            _ if size <= self.greatest && field == 0 => fraction * 2f64.powi(self.lowest),
            _ if size <= self.greatest => (1.0 + fraction) * 2f64.powi(self.lowest + field - 1),
            _ if self.infinite && size == self.greatest + 1 => f64::INFINITY,
            _ => f64::NAN,
        };
        if bits & SIGN == 0 { value } else { -value }
    }

    fn nearest(self, value: f64) -> u8 {
        if value.is_nan() {
            return NAN;
        }
        let sign = if value.is_sign_negative() { SIGN } else { 0 };
        let size = value.abs().min(self.value(self.greatest));
        let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(self.lowest);
        // In units of the last place, which is exact; a carry goes into the exponent by itself.
        let units = (size * 2f64.powi(self.fraction as i32 - exponent)).round_ties_even() as u8;
        sign | ((((exponent - self.lowest) as u8) << self.fraction) + units)
    }
}

impl Tiny {
    fn narrow(self, value: f64) -> u32 {
        if self.relu && value <= 0.0 { 0 } else { self.format.nearest(value).into() }
    }

    fn widen(self, bits: u8) -> u32 {
        let value = self.format.value(bits);
        if self.relu && value <= 0.0 { 0 } else { soft::convert(F64, F16, value.to_bits(), Mode::Rn) as u32 }
    }
}

pub fn convert(f: &mut Frame, i: &Code, how: Tiny) {
    let a = *f.words(i.a);
    let single = |bits: u32| f64::from_bits(soft::convert(F32, F64, bits.into(), Mode::Rn));
    let half = |bits: u32| f64::from_bits(soft::convert(F16, F64, (bits & 0xffff).into(), Mode::Rn));
    let out = match how.way {
        Way::FromSingles => {
            let b = *f.words(i.b);
            std::array::from_fn(|n| how.narrow(single(a[n])) << 8 | how.narrow(single(b[n])))
        }
        Way::FromHalves => a.map(|v| how.narrow(half(v >> 16)) << 8 | how.narrow(half(v))),
        Way::ToHalves => a.map(|v| how.widen((v >> 8) as u8) << 16 | how.widen(v as u8)),
    };
    store::<u32>(f, i.d, &out);
}
