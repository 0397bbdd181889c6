//! Scalar arguments: a TOML number as the bits of an element type, exactly or not at all (floats round to nearest even,
//! as every compiler does with a literal).

use ion_protocol::job::Element;
use toml::de::DeValue;

/// The bits of `value` as `element`; `None` where the type can't hold it.
pub fn bits(element: Element, value: &DeValue<'_>) -> Option<u64> {
    match element {
        Element::U8 | Element::U16 | Element::U32 | Element::U64 => {
            let max = u64::MAX >> (64 - 8 * element.size());
            integer(value).and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= max)
        }
        Element::I8 | Element::I16 | Element::I32 | Element::I64 => {
            let width = 8 * element.size() as u32;
            let (min, max) = (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1);
            let mask = u64::MAX >> (64 - width);
            integer(value).filter(|n| (min..=max).contains(n)).map(|n| n as u64 & mask)
        }
        Element::F64 => number(value).map(f64::to_bits),
        Element::F32 => {
            let wide = number(value)?;
            let narrow = wide as f32;
            (narrow.is_finite() || !wide.is_finite()).then_some(narrow.to_bits().into())
        }
        Element::F16 => small_float(number(value)?, 5, 10),
        Element::Bf16 => small_float(number(value)?, 8, 7),
    }
}

/// The values `element` takes, for messages.
pub fn range(element: Element) -> String {
    let width = 8 * element.size() as u32;
    match element {
        Element::U8 | Element::U16 | Element::U32 | Element::U64 => {
            format!("a whole number from 0 to {} ({element})", u64::MAX >> (64 - width))
        }
        Element::I8 | Element::I16 | Element::I32 | Element::I64 => {
            let half = 1i128 << (width - 1);
            format!("a whole number from -{half} to {} ({element})", half - 1)
        }
        Element::F16 => "a number within 65504 of zero (f16)".to_owned(),
        Element::Bf16 | Element::F32 => format!("a number within 3.4e38 of zero ({element})"),
        Element::F64 => "a number (f64)".to_owned(),
    }
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    let n = value.as_integer()?;
    i128::from_str_radix(n.as_str(), n.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(float) => {
            let n: f64 = float.as_str().parse().ok()?;
            // A literal that overflows parses as infinity; only `inf` means it.
            (n.is_finite() || n.is_nan() || float.as_str().contains("inf")).then_some(n)
        }
        None => integer(value).map(|n| n as f64),
    }
}

/// `value` as an IEEE 754 binary format of these field widths, rounded once; `None` where a finite value overflows.
fn small_float(value: f64, exponent_bits: u32, fraction_bits: u32) -> Option<u64> {
    let sign = (value.to_bits() >> 63) << (exponent_bits + fraction_bits);
    let infinity = ((1u64 << exponent_bits) - 1) << fraction_bits;
    if value.is_nan() {
        return Some(infinity | 1 << (fraction_bits - 1));
    }
    if value.is_infinite() {
        return Some(sign | infinity);
    }
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    // Spacing of the format's numbers around the value: normal, or that of its subnormals.
    let quantum = exponent.max(1 - bias) - fraction_bits as i32;
    // Powers of two in this range are exact in f64, and so are the division and the rounding.
    let steps = (value.abs() / 2f64.powi(quantum)).round_ties_even() as u64;
    let hidden = 1u64 << fraction_bits;
    let field = if steps < hidden { 0 } else { (exponent.max(1 - bias) + bias) as u64 };
    // A rounding that carries over (steps of 2 * hidden) lands in the next exponent by itself.
    let magnitude = if field == 0 { steps } else { (field << fraction_bits) + (steps - hidden) };
    (magnitude < infinity).then_some(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(element: Element, text: &str) -> Option<u64> {
        let value = DeValue::parse(text).unwrap();
        bits(element, value.get_ref())
    }

    #[test]
    fn integers_keep_to_their_range() {
        assert_eq!(of(Element::U8, "255"), Some(255));
        assert_eq!(of(Element::U8, "256"), None);
        assert_eq!(of(Element::U32, "-1"), None);
        assert_eq!(of(Element::I8, "-128"), Some(0x80));
        assert_eq!(of(Element::I8, "-129"), None);
        assert_eq!(of(Element::I64, "-1"), Some(u64::MAX));
        assert_eq!(of(Element::U64, "0xffff_ffff_ffff_ffff"), Some(u64::MAX));
        assert_eq!(of(Element::U32, "1.0"), None);
        assert_eq!(of(Element::U32, "\"1\""), None);
    }

    #[test]
    fn floats_round_once_and_do_not_overflow() {
        assert_eq!(of(Element::F32, "2"), Some(0x4000_0000));
        assert_eq!(of(Element::F32, "0.1"), Some(0x3dcc_cccd));
        assert_eq!(of(Element::F32, "1e39"), None);
        assert_eq!(of(Element::F32, "inf"), Some(0x7f80_0000));
        assert_eq!(of(Element::F64, "1e400"), None);
        for (text, expected) in [
            ("1.0", 0x3c00),
            ("-2.0", 0xc000),
            ("65504", 0x7bff),
            ("5.960464477539063e-8", 0x0001),
            ("2.9e-8", 0x0000),
            ("6.1035e-5", 0x0400),
            ("0.1", 0x2e66),
            ("2049", 0x6800),
            ("nan", 0x7e00),
        ] {
            assert_eq!(of(Element::F16, text), Some(expected), "{text}");
        }
        assert_eq!(of(Element::F16, "65520"), None);
        for (text, expected) in [("1.0", 0x3f80), ("3.14159", 0x4049), ("-0.0", 0x8000), ("1e38", 0x7e96)] {
            assert_eq!(of(Element::Bf16, text), Some(expected), "{text}");
        }
    }
}
