//! What a requester made sure of by running some blocks of a job again, bit for bit, before it countersigned.
//!
//! Blocks of a launch are numbered in the order of its grid, x fastest; launches in order of execution, from 0.

use crate::{
    codec::{Decode, Encode},
    fault::Fault,
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
    /// These blocks of all launches, run from the memory that the receipt commits to before each, gave what it commits
    /// to after.
    EqualBetween {
        /// Which, in rising order.
        blocks: Vec<BlockAt>,
        /// Blocks of all launches that were drawn from.
        of: u64,
        /// How many launches these are.
        launches: u64,
        /// Bytes that were compared.
        bytes: Bytes,
        /// Blocks drawn besides, of which nothing can be told.
        passed: u64,
    },
    /// Running blocks again proves nothing here, or could not be done.
    NotCheckable {
        /// Why, for people.
        why: String,
    },
}

/// One block of one launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub struct BlockAt {
    /// Which launch of the program, in order of execution, from 0.
    pub launch: u64,
    /// Which block of its grid.
    pub block: u64,
}

/// What running blocks again showed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Finding {
    /// The delivered bytes.
    Equal {
        /// How many were compared.
        bytes: Bytes,
    },
    /// These blocks gave what the receipt commits to after their launches.
    EqualBetween {
        /// Which of those drawn; of the others nothing can be told.
        blocks: Vec<BlockAt>,
        /// Bytes that were compared.
        bytes: Bytes,
    },
    /// Nothing: the provider does not show what its receipt commits to.
    Withheld {
        /// Why, for people.
        why: String,
    },
    /// Other bytes: the delivery is false.
    Differs(Difference),
    /// A fault, in memory that the receipt commits to: the program did not end well as was signed, or not from there.
    Faulted {
        /// The first launch that was found to fault, in order of execution, from 0.
        launch: u64,
        /// How.
        fault: Fault,
    },
    /// Nothing.
    NotCheckable {
        /// Why, for people.
        why: String,
    },
}

/// The first byte that is not what the program gives.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Difference {
    /// Which launch gives it, in order of execution, from 0.
    pub launch: u64,
    /// Entry name of the launch.
    pub kernel: String,
    /// The block in x, y, z; `None` where launches before the last were run whole and gave it.
    pub block: Option<[u32; 3]>,
    /// Name of the buffer.
    pub buffer: String,
    /// Which byte of it.
    pub offset: u64,
    /// What the program gives.
    pub expected: u8,
    /// What was delivered, or is committed to.
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
            Check::Equal { .. } | Check::EqualBetween { .. } => true,
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
            Check::EqualBetween { blocks, of, launches, bytes, passed } => {
                let count = blocks.len();
                write!(f, "{count} of {of} blocks of {launches} launches run again, equal in {bytes}")?;
                if *passed > 0 { write!(f, "; {passed} more drawn, not block-checkable") } else { Ok(()) }
            }
            Check::NotCheckable { why } => write!(f, "not block-checkable: {why}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { launch, kernel, block, buffer, offset, expected, found } = self;
        match block {
            Some([x, y, z]) => write!(f, "block {x},{y},{z} of kernel `{kernel}`")?,
            None => write!(f, "the launches before `{kernel}`")?,
        }
        write!(f, " gave {expected:#04x} at byte {offset} of `{buffer}` in launch {launch}, ")?;
        write!(f, "where {found:#04x} was signed for")
    }
}
