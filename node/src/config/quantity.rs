//! Sizes, durations, prices and compute capabilities as people write them: `16 GiB`, `50 ms`, `0.01 IO`, `8.0`.
//! Durations and prices are exact; sizes round down to a byte. Tests: below.

use super::{Challenge, KeepFree};
use ion_protocol::{Bytes, Millis, NanoIo, hardware::ComputeCapability};

/// A text that is no quantity of the kind expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`; expected {expected}")]
pub struct QuantityError {
    /// What was written, shortened.
    pub found: String,
    /// What may be written.
    pub expected: &'static str,
}

const KIB: u64 = 1024;
const BYTES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", KIB),
    ("MiB", KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("TiB", KIB * KIB * KIB * KIB),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const MILLIS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const TOKENS: &[(&str, u64)] = &[("IO", 1_000_000_000), ("nIO", 1)];

/// What [`bytes`] takes.
pub const BYTES_EXPECTED: &str = "a size with its unit, like \"16 GiB\" or \"512 MiB\"";
/// What [`keep_free`] takes.
pub const KEEP_FREE_EXPECTED: &str = "a share up to 95% or a size, like \"20%\" or \"2 GiB\"";
/// What [`memory_percent`] takes.
pub const MEMORY_PERCENT_EXPECTED: &str = "a share from 1 to 95, in percent";
/// What [`network`] takes.
pub const NETWORK_EXPECTED: &str = "a name, like \"ion\"";
/// What [`device`] takes.
pub const DEVICE_EXPECTED: &str = "a device's number in `ion devices`, like 0";
/// What [`challenge`] takes.
pub const CHALLENGE_EXPECTED: &str = "`off`, `auto` or a time from \"1 s\" to \"1 d\"";
/// What [`millis`] takes.
pub const MILLIS_EXPECTED: &str = "a duration with its unit, like \"50 ms\", \"60 s\" or \"2 h\"";
/// What [`price`] takes.
pub const PRICE_EXPECTED: &str =
    "an amount like \"0.01 IO\" or \"500 nIO\", in whole nIO (1 IO = 1000000000 nIO)";
/// What [`capability`] takes.
pub const CAPABILITY_EXPECTED: &str = "a compute capability like \"8.0\"";

/// `16 GiB`, `1.5 GB`, `4096 B`.
pub fn bytes(text: &str) -> Result<Bytes, QuantityError> {
    quantity(text, BYTES, false).map(Bytes).ok_or_else(|| not(text, BYTES_EXPECTED))
}

/// `20%`, or a size.
pub fn keep_free(text: &str) -> Result<KeepFree, QuantityError> {
    let wrong = || not(text, KEEP_FREE_EXPECTED);
    match text.trim().strip_suffix('%') {
        Some(percent) => digits(percent.trim()).filter(|p| *p <= 95).map(KeepFree::Percent).ok_or_else(wrong),
        None => bytes(text).map(KeepFree::Bytes).map_err(|_| wrong()),
    }
}

/// `50`, `50%`.
pub fn memory_percent(text: &str) -> Result<u8, QuantityError> {
    let number = text.trim().trim_end_matches('%').trim_end();
    digits(number).filter(|p| (1..=95).contains(p)).ok_or_else(|| not(text, MEMORY_PERCENT_EXPECTED))
}

/// A network's name.
pub fn network(text: &str) -> Result<String, QuantityError> {
    let fits = !text.trim().is_empty() && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| not(text, NETWORK_EXPECTED))
}

/// A device's number.
pub fn device(text: &str) -> Result<u16, QuantityError> {
    text.parse().map_err(|_| not(text, DEVICE_EXPECTED))
}

/// `off`, `auto`, or the mean time between two looks.
pub fn challenge(text: &str) -> Result<Challenge, QuantityError> {
    let sensible = 1_000..=86_400_000;
    match text.trim() {
        "off" => Ok(Challenge::Off),
        "auto" => Ok(Challenge::AUTO),
        time => quantity(time, MILLIS, true)
            .filter(|time| sensible.contains(time))
            .map(|time| Challenge::Every(Millis(time)))
            .ok_or_else(|| not(text, CHALLENGE_EXPECTED)),
    }
}

/// `50 ms`, `1.5 s`, `2 h`.
pub fn millis(text: &str) -> Result<Millis, QuantityError> {
    quantity(text, MILLIS, true).map(Millis).ok_or_else(|| not(text, MILLIS_EXPECTED))
}

/// `0.01 IO`, `500 nIO`.
pub fn price(text: &str) -> Result<NanoIo, QuantityError> {
    quantity(text, TOKENS, true).map(NanoIo).ok_or_else(|| not(text, PRICE_EXPECTED))
}

/// `8.0`, `9.0`.
pub fn capability(text: &str) -> Result<ComputeCapability, QuantityError> {
    text.split_once('.')
        .and_then(|(major, minor)| Some(ComputeCapability { major: digits(major)?, minor: digits(minor)? }))
        .ok_or_else(|| not(text, CAPABILITY_EXPECTED))
}

fn digits(text: &str) -> Option<u8> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn not(text: &str, expected: &'static str) -> QuantityError {
    QuantityError { found: text.chars().take(60).collect(), expected }
}

/// A decimal number and a unit, in the smallest unit; `None` where it does not fit or, if `exact`, is no whole number.
fn quantity(text: &str, units: &[(&str, u64)], exact: bool) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))?;
    let (number, unit) = (text[..split].replace('_', ""), text[split..].trim());
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(part) || part.len() > 18 || (number.contains('.') && part.is_empty()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*scale)?;
    let ten = 10u128.pow(part.len() as u32);
    let part = part.parse::<u128>().unwrap_or(0) * u128::from(*scale);
    if exact && !part.is_multiple_of(ten) {
        return None;
    }
    whole.checked_add(u64::try_from(part / ten).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        assert_eq!(bytes("16 GiB"), Ok(Bytes(16 << 30)));
        assert_eq!(bytes("1.5GiB"), Ok(Bytes(3 << 29)));
        assert_eq!(bytes("2 MB"), Ok(Bytes(2_000_000)));
        assert_eq!(bytes("0.1 KiB"), Ok(Bytes(102)));
        assert_eq!(millis("0.5 s"), Ok(Millis(500)));
        assert_eq!(millis("2 min"), Ok(Millis(120_000)));
        assert_eq!(price("0.000000001 IO"), Ok(NanoIo(1)));
        assert_eq!(price("18.4 IO"), Ok(NanoIo(18_400_000_000)));
        assert_eq!(price("500 nIO"), Ok(NanoIo(500)));
        assert_eq!(capability("9.0"), Ok(ComputeCapability { major: 9, minor: 0 }));
    }

    #[test]
    fn what_is_kept_free_is_a_share_or_a_size() {
        let memory = Bytes(1_000_000);
        let left = |text: &str| keep_free(text).map(|keep| keep.of(memory).0);
        assert_eq!(left("20%"), Ok(800_000));
        assert_eq!(left("0 %"), Ok(1_000_000));
        assert_eq!(left("100 kB"), Ok(900_000));
        assert_eq!(left("2 GiB"), Ok(0));
        for text in ["", "%", "96%", "-1%", "20", "half", "1.5%"] {
            assert_eq!(keep_free(text).unwrap_err().expected, KEEP_FREE_EXPECTED, "{text}");
        }
    }

    #[test]
    fn shares_names_and_numbers_say_what_they_take() {
        assert_eq!((memory_percent("50"), memory_percent("50 %")), (Ok(50), Ok(50)));
        for text in ["0", "96", "half", "-1", ""] {
            assert_eq!(memory_percent(text).unwrap_err().expected, MEMORY_PERCENT_EXPECTED, "{text}");
        }
        assert_eq!(network("ion"), Ok("ion".to_owned()));
        for text in ["", " ", "a\nb"] {
            assert_eq!(network(text).unwrap_err().expected, NETWORK_EXPECTED, "{text:?}");
        }
        assert_eq!(device("7"), Ok(7));
        for text in ["a", "-1", "70000"] {
            assert_eq!(device(text).unwrap_err().expected, DEVICE_EXPECTED, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_says_what_would_be() {
        for text in ["", "16", "GiB", "16 gigs", "-1 GiB", "1. GiB", ".5 GiB", "99999999999 TiB", "1..5 GiB"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["0.0000000001 IO", "0.5 nIO", "1 BTC", "1e3 IO"] {
            assert!(price(text).is_err(), "{text}");
        }
        for text in ["0.0001 s", "60", "-1 s", "1 week"] {
            assert!(millis(text).is_err(), "{text}");
        }
        for text in ["8", "8.", ".0", "sm_80", "8.0.1", "+8.0", "999.0"] {
            assert!(capability(text).is_err(), "{text}");
        }
        assert_eq!(
            bytes("16 gigs").unwrap_err().to_string(),
            "found `16 gigs`; expected a size with its unit, like \"16 GiB\" or \"512 MiB\""
        );
    }
}
