//! What a requester made sure of by running some blocks of a job again, bit for bit, before it countersigned.
//!
//! Blocks are numbered in the order of the grid of the program's last launch, x fastest.

use crate::{
    codec::{Decode, Encode},
    limits,
    units::Bytes,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a countersignature says of the check that went before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "check")]
pub enum Check {
    /// Nothing was run again.
    #[default]
    NotAsked,
    /// These blocks gave the delivered bytes.
    Equal {
        /// Which, at most [`limits::CHECK_BLOCKS_MAX`], in rising order.
        blocks: Vec<u64>,
        /// Blocks of the launch.
        of: u64,
        /// Delivered bytes that were compared.
        bytes: Bytes,
    },
    /// Running blocks again proves nothing here, or could not be done.
    NotCheckable {
        /// Why, for people.
        why: String,
    },
}

/// What running blocks again showed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Finding {
    /// The delivered bytes.
    Equal {
        /// How many were compared.
        bytes: Bytes,
    },
    /// Other bytes: the delivery is false.
    Differs(Difference),
    /// Nothing.
    NotCheckable {
        /// Why, for people.
        why: String,
    },
}

/// The first byte that is not what the program gives.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Difference {
    /// Entry name of the launch that gives it.
    pub kernel: String,
    /// The block in x, y, z; `None` where launches before the last were run whole and gave it.
    pub block: Option<[u32; 3]>,
    /// Name of the output.
    pub buffer: String,
    /// Which byte of it.
    pub offset: u64,
    /// What the program gives.
    pub expected: u8,
    /// What was delivered.
    pub found: u8,
}

/// As much of a reason as the wire takes.
pub fn bounded_why(why: &str) -> String {
    why[..why.floor_char_boundary(limits::TEXT_BYTES_MAX)].to_owned()
}

impl Check {
    /// Whether delivered bytes were held against the program and found right.
    pub fn is_equal(&self) -> bool {
        match self {
            Check::Equal { .. } => true,
            Check::NotAsked | Check::NotCheckable { .. } => false,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::NotAsked => write!(f, "no block was run again"),
            Check::Equal { blocks, of, bytes } => {
                write!(f, "{} of {of} blocks run again, equal in {bytes}", blocks.len())
            }
            Check::NotCheckable { why } => write!(f, "not block-checkable: {why}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { kernel, block, buffer, offset, expected, found } = self;
        match block {
            Some([x, y, z]) => write!(f, "block {x},{y},{z} of kernel `{kernel}`")?,
            None => write!(f, "the launches before `{kernel}`")?,
        }
        write!(f, " gave {expected:#04x} at byte {offset} of `{buffer}`, where {found:#04x} was delivered")
    }
}
