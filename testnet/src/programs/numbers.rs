//! Arrays of numbers in files: little-endian, as on the device.

use anyhow::{Context, Result, bail};
use std::{fmt::Debug, fs, path::Path};

/// A 32-bit number as it lies in device memory.
pub trait Word: Copy + Debug {
    /// Its bits.
    fn bits(self) -> u32;
    /// From its bits.
    fn from_bits(bits: u32) -> Self;
}

impl Word for f32 {
    fn bits(self) -> u32 {
        self.to_bits()
    }
    fn from_bits(bits: u32) -> Self {
        f32::from_bits(bits)
    }
}

impl Word for u32 {
    fn bits(self) -> u32 {
        self
    }
    fn from_bits(bits: u32) -> Self {
        bits
    }
}

/// Writes an array.
pub fn write<W: Word>(path: &Path, values: &[W]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.bits().to_le_bytes()).collect();
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Reads an array of `count`.
pub fn read<W: Word>(path: &Path, count: usize) -> Result<Vec<W>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (words, rest) = bytes.as_chunks::<4>();
    if words.len() != count || !rest.is_empty() {
        bail!("{} holds {} bytes instead of {}", path.display(), bytes.len(), count * 4);
    }
    Ok(words.iter().map(|word| W::from_bits(u32::from_le_bytes(*word))).collect())
}

/// That all bits are equal. `what` is the array's name in the message.
pub fn same<W: Word>(what: &str, found: &[W], expected: &[W]) -> Result<()> {
    if found.len() != expected.len() {
        bail!("{what} has {} values instead of {}", found.len(), expected.len());
    }
    let differs = |(found, expected): &(&W, &W)| found.bits() != expected.bits();
    let mut wrong = found.iter().zip(expected).enumerate().filter(|(_, pair)| differs(pair));
    let Some((index, (found, expected))) = wrong.next() else { return Ok(()) };
    let more = wrong.count();
    bail!("{what}[{index}] is {found:?}, and {expected:?} is right; {more} more values are wrong")
}

/// The `index`-th number of stream `stream`, evenly spread over [-1, 1): the same everywhere.
pub fn noise(stream: u32, index: u32) -> f32 {
    // The finaliser of MurmurHash3: every bit of the input moves every bit of the output.
    let mut h = index.wrapping_mul(0x9e37_79b9) ^ stream.wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (h >> 8) as f32 * (1.0 / (1 << 23) as f32) - 1.0
}

/// `16 777 216`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_is_told_with_its_place() {
        let right = [1.0f32, 2.0, 3.0];
        assert!(same("y", &right, &right).is_ok());
        let wrong = [1.0, f32::from_bits(2.0f32.to_bits() + 1), 3.0];
        let error = same("y", &wrong, &right).unwrap_err().to_string();
        assert!(error.starts_with("y[1] is 2.0000002, and 2.0 is right"), "{error}");
        assert!(same("y", &[0.0f32], &[-0.0f32]).is_err(), "a zero of the other sign is another value");
        assert!(same("y", &right[..2], &right).is_err());
    }

    #[test]
    fn noise_fills_its_range_evenly() {
        let values: Vec<f32> = (0..100_000).map(|i| noise(1, i)).collect();
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert_ne!(noise(1, 7), noise(2, 7));
    }

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!(grouped(16_777_216), "16 777 216");
        assert_eq!(grouped(999), "999");
    }
}
