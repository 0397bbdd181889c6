//! Quantities as types, so that a millisecond is never added to a byte. Arithmetic is checked or saturating by name.

use crate::codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The quantity nothing.
            pub const ZERO: Self = Self(0);

            /// The sum, or `None` where it does not fit 64 bits.
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// The sum, or the largest quantity where it does not fit.
            pub fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, or zero where `other` is larger.
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
    };
}

unit! {
    /// An amount of the IO token in billionths: 1 IO = 10^9 nano-IO.
    NanoIo
}
unit! {
    /// A duration, or a point of the monotonic clock, in milliseconds.
    Millis
}
unit! {
    /// A duration in nanoseconds; metered device time.
    Nanos
}
unit! {
    /// A size in bytes.
    Bytes
}
unit! {
    /// A point in time: milliseconds since 1970-01-01T00:00:00Z by the node's own wall clock.
    UnixMillis
}

/// The two clocks, read once by the driver and handed to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: for waiting.
    pub mono: Millis,
    /// Wall: only against signed expiries, with [`crate::limits::CLOCK_SKEW_MS_MAX`].
    pub wall: UnixMillis,
}

impl NanoIo {
    /// What `time` on a device costs at `self` nano-IO a second, rounded up, so that no work is free by rounding.
    pub fn price_of(self, time: Nanos) -> NanoIo {
        const NANOS_PER_SECOND: u128 = 1_000_000_000;
        let cost = (u128::from(self.0) * u128::from(time.0)).div_ceil(NANOS_PER_SECOND);
        NanoIo(u64::try_from(cost).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for NanoIo {
    /// Whole tokens and billionths without trailing zeros: `0.0025 IO`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if part == 0 {
            return write!(f, "{whole} IO");
        }
        let digits = format!("{part:09}");
        write!(f, "{whole}.{} IO", digits.trim_end_matches('0'))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {}", UNITS[unit]) }
    }
}

/// `1.5 µs`, `20 ms`, `3.2 s`: three digits, the unit a person would choose.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} ns", self.0),
            1_000..1_000_000 => write!(f, "{:.1} µs", n / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", n / 1e6),
            _ => write!(f, "{:.2} s", n / 1e9),
        }
    }
}

impl fmt::Display for Millis {
    /// As exactly as people care: `250 ms`, `3.02 s`, `60 s`, `12 min 5 s`, `3 h 20 min`, `5 d 3 h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000;
        let (large, unit, small, part) = match seconds {
            0 => return write!(f, "{} ms", self.0),
            1..600 if self.0.is_multiple_of(1_000) => return write!(f, "{seconds} s"),
            1..600 => return write!(f, "{:.2} s", self.0 as f64 / 1e3),
            600..7_200 => (seconds / 60, "min", seconds % 60, "s"),
            7_200..172_800 => (seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
            _ => (seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
        };
        if small == 0 { write!(f, "{large} {unit}") } else { write!(f, "{large} {unit} {small} {part}") }
    }
}

/// A measured figure for people: three digits are all that a measurement is worth, and no more than three are behind the point.
pub fn measured(value: f64) -> String {
    let behind = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.behind$}")
}

/// A measured rate, held in thousandths of what people read it in; `-` where nothing was measured.
pub fn measured_rate(thousandths: u64) -> String {
    if thousandths == 0 { "-".to_owned() } else { measured(thousandths as f64 / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_people_care() {
        let shown = [
            (999, "999 ms"),
            (1_000, "1 s"),
            (3_020, "3.02 s"),
            (60_000, "60 s"),
            (599_999, "600.00 s"),
            (600_000, "10 min"),
            (725_900, "12 min 5 s"),
            (12_000_000, "3 h 20 min"),
            (442_800_000, "5 d 3 h"),
        ];
        for (ms, text) in shown {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn price_rounds_up_and_saturates() {
        assert_eq!(NanoIo(3).price_of(Nanos(1)), NanoIo(1));
        assert_eq!(NanoIo(2_000_000_000).price_of(Nanos(1_500_000_000)), NanoIo(3_000_000_000));
        assert_eq!(NanoIo(0).price_of(Nanos(u64::MAX)), NanoIo(0));
        assert_eq!(NanoIo(u64::MAX).price_of(Nanos(u64::MAX)), NanoIo(u64::MAX));
    }

    #[test]
    fn measured_figures_have_three_digits() {
        let rates = [0, 1, 70, 999, 1_234, 12_345, 123_456, 51_000_400];
        let shown = ["-", "0.001", "0.070", "0.999", "1.23", "12.3", "123", "51000"];
        assert_eq!(rates.map(measured_rate), shown);
        assert_eq!([0.0, -1.5].map(measured), ["0.000", "-1.50"]);
    }

    #[test]
    fn tokens_print_without_trailing_zeros() {
        assert_eq!(NanoIo(2_500_000).to_string(), "0.0025 IO");
        assert_eq!(NanoIo(7_000_000_000).to_string(), "7 IO");
        assert_eq!(NanoIo(1).to_string(), "0.000000001 IO");
    }
}
