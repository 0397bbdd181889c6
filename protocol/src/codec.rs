//! The one door to bincode: fixed-width little-endian integers, no trailing bytes, one encoding per value.
//!
//! A value is decoded only after its length is checked, under a memory limit of four times the wire cap, and only if
//! encoding it again gives the same bytes: otherwise two byte strings would mean one value and a signature would cover
//! neither. Types on the wire hold no maps, floats, zero-sized collections or recursion.

pub use ::bincode::{Decode, Encode};
use std::fmt;

/// For `#[bincode(crate = "ion_protocol::codec::bincode_crate")]` on the types of other crates that are framed or journaled with this codec.
pub use ::bincode as bincode_crate;

/// Bytes that are not the one encoding of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than the type allows; nothing was decoded.
    #[error("{found} bytes, more than the {limit} allowed")]
    TooLong {
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Ends early, or holds a value the type does not have.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Bytes follow the value.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// The value has another, canonical encoding.
    #[error("not the canonical encoding")]
    NotCanonical,
}

const BASE: bincode::config::Configuration<bincode::config::LittleEndian, bincode::config::Fixint> =
    bincode::config::standard().with_fixed_int_encoding();

/// The encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    // Encoding to a growing vector fails only for types the wire does not have (a poisoned lock, a non-UTF-8 path).
    bincode::encode_to_vec(value, BASE).expect("wire types always encode")
}

/// The value `bytes` encode, where they are at most `bytes_max` long.
pub fn decode<T: Encode + Decode<()>>(bytes: &[u8], bytes_max: usize) -> Result<T, CodecError> {
    const KIB: usize = 1024;
    if bytes.len() > bytes_max {
        return Err(CodecError::TooLong { found: bytes.len(), limit: bytes_max });
    }
    // The limit is a type parameter of bincode's configuration, hence the steps.
    let (value, used) = match bytes.len() {
        0..=1_024 => bincode::decode_from_slice::<T, _>(bytes, BASE.with_limit::<{ 16 * KIB }>()),
        1_025..=16_384 => bincode::decode_from_slice(bytes, BASE.with_limit::<{ 64 * KIB }>()),
        16_385..=262_144 => bincode::decode_from_slice(bytes, BASE.with_limit::<{ 1024 * KIB }>()),
        262_145..=16_777_216 => bincode::decode_from_slice(bytes, BASE.with_limit::<{ 64 * 1024 * KIB }>()),
        _ => bincode::decode_from_slice(bytes, BASE.with_limit::<{ 1024 * 1024 * KIB }>()),
    }
    .map_err(|error| CodecError::Malformed(brief(&error)))?;
    if used != bytes.len() {
        return Err(CodecError::Trailing(bytes.len() - used));
    }
    if encode(&value) != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

fn brief(error: &dyn fmt::Debug) -> String {
    format!("{error:?}").chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_encoding() {
        let bytes = encode(&(7u32, vec![1u8, 2, 3]));
        assert_eq!(hex::encode(&bytes), "070000000300000000000000010203");
        assert_eq!(decode::<(u32, Vec<u8>)>(&bytes, 64), Ok((7, vec![1, 2, 3])));
    }

    #[test]
    fn bad_lengths_are_told_apart() {
        let bytes = encode(&vec![9u8; 10]);
        assert_eq!(decode::<Vec<u8>>(&bytes, 10), Err(CodecError::TooLong { found: 18, limit: 10 }));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode::<Vec<u8>>(&longer, 64), Err(CodecError::Trailing(1)));
        assert!(matches!(decode::<Vec<u8>>(&bytes[..17], 64), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn a_length_prefix_cannot_make_us_allocate() {
        let claim = encode(&u64::MAX);
        assert!(matches!(decode::<Vec<u8>>(&claim, 64), Err(CodecError::Malformed(_))));
        let claim = encode(&(1u64 << 40));
        assert!(matches!(decode::<Vec<u64>>(&claim, 64), Err(CodecError::Malformed(_))));
    }
}
