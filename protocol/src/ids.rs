//! Names of things: fixed-size byte strings that print as lower-case hex.

use crate::codec::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A string that is not the hex form of an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {what}: expected {expected} hexadecimal digits")]
pub struct ParseIdError {
    found: String,
    what: &'static str,
    expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The first eight hex digits: enough to recognise, not enough to trust.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError {
                    found: text.chars().take(80).collect(),
                    what: $what,
                    expected: $len * 2,
                })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A node: its ed25519 public key (RFC 8032).
    NodeId, 32, "a node id"
}
id! {
    /// A job, drawn at random by its requester.
    JobId, 16, "a job id"
}
id! {
    /// Content: the BLAKE3 hash of the bytes.
    BlobHash, 32, "a blob hash"
}
id! {
    /// A signed document: SHA-256 of its signing preimage (see [`crate::signed`]).
    DocHash, 32, "a document hash"
}
id! {
    /// A network: the hash of its genesis; part of every signature, so that no document crosses networks.
    NetworkId, 32, "a network id"
}

/// A root that has no name of its own, as text like all others.
pub(crate) mod hex_root {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(root: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(root))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        /// Files of before have a list of numbers.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            List([u8; 32]),
        }
        let mut root = [0; 32];
        match Form::deserialize(deserializer)? {
            Form::Text(text) => hex::decode_to_slice(text, &mut root).map_err(serde::de::Error::custom)?,
            Form::List(list) => root = list,
        }
        Ok(root)
    }
}

impl BlobHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl NetworkId {
    /// The network named `name`, for as long as no genesis file exists: `blake3-derive-key("ion network 1", name)`.
    pub fn named(name: &str) -> Self {
        Self(blake3::derive_key("ion network 1", name.as_bytes()))
    }
}

/// Which try of a job, from 1. Every message of a job carries it, so that a late answer finds its own try.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
