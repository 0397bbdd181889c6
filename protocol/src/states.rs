//! What a receipt commits to of the memory between a program's launches, and which blocks that makes checkable.
//!
//! The buffers as they are after every `every`-th launch but the last are one blob, whose BLAKE3 hash the receipt holds:
//! BLAKE3 is a Merkle tree, so a part of the blob is proven by the chaining values beside it, as in every transfer (see
//! [`crate::blob`]), and no second kind of tree is needed. What was before the first launch is committed to by the
//! input root and what is after the last by the output root, so neither is in the blob: the chain begins and ends in
//! what was ordered and delivered.
//!
//! ```text
//! 8 bytes for each buffer of each row  where its content begins in this blob, little-endian; 2^64 - 1 - b: it is what
//!                                      buffer b held before the first launch. Row n is what the buffers hold, by name,
//!                                      when launch (n + 1) * every begins, launches counted from 0.
//! contents                             each of the buffer's size; rows that share one name the same place
//! ```
//! Never: knows kernels. `ion_gpu::states` writes such a blob, `ion_gpu::replay` reads it. Tests are at the end.

use crate::{
    check::BlockAt,
    codec::{Decode, Encode},
    ids::BlobHash,
    job::{Buffer, Launch, Program, Step},
    limits::STATES_BYTES_MAX,
    units::Bytes,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Size of one place in the table.
pub const PLACE_BYTES: u64 = 8;
/// Where the content of a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What this buffer held before the first launch.
    Initial(u16),
    /// In the blob, from here on.
    At(u64),
}

/// What a receipt says of the memory between launches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "states")]
pub enum States {
    /// The order did not ask for it.
    #[default]
    NotAsked,
    /// Only inputs and outputs are committed to.
    EndsOnly {
        /// Why, for people.
        why: String,
    },
    /// The memory after every some launches is.
    Kept(Kept),
}

/// The blob of the memory between launches, served by the provider until its result is countersigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Kept {
    /// Launches from one row to the next.
    pub every: u64,
    /// Which blob.
    pub blob: BlobHash,
    /// Its size.
    pub bytes: Bytes,
}

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            States::NotAsked => write!(f, "not asked for"),
            States::EndsOnly { why } => write!(f, "only inputs and outputs are committed to: {why}"),
            States::Kept(Kept { every: 1, bytes, .. }) => write!(f, "{bytes}, after every launch"),
            States::Kept(Kept { every, bytes, .. }) => write!(f, "{bytes}, after every {every} launches"),
        }
    }
}

/// Rows of states `every` so many launches: none after the last.
pub fn rows(program: &Program, every: u64) -> u64 {
    program.launches().saturating_sub(1) / every.max(1)
}

/// Size of the table.
pub fn table_bytes(program: &Program, every: u64) -> u64 {
    rows(program, every).saturating_mul(program.buffers.len() as u64).saturating_mul(PLACE_BYTES)
}

/// Where one row of the table is, and how long it is.
pub fn row_at(program: &Program, row: u64) -> (u64, u64) {
    let len = program.buffers.len() as u64 * PLACE_BYTES;
    (row.saturating_mul(len), len)
}

/// A row as it stands in the table.
pub fn encode_row(places: &[Place]) -> Vec<u8> {
    let number = |place: &Place| match place {
        Place::Initial(buffer) => u64::MAX - u64::from(*buffer),
        Place::At(at) => *at,
    };
    places.iter().flat_map(|place| number(place).to_le_bytes()).collect()
}

/// The places in a row, each with room for its buffer in a blob of `bytes` bytes; `Err` names the buffer of which this
/// is not so.
pub fn decode_row(program: &Program, row: &[u8], bytes: Bytes) -> Result<Vec<Place>, String> {
    let (places, _) = row.as_chunks::<{ PLACE_BYTES as usize }>();
    let place = |(buffer, place): (&Buffer, &[u8; PLACE_BYTES as usize])| {
        let place = u64::from_le_bytes(*place);
        let initial = u16::try_from(u64::MAX - place).ok();
        let first = initial.and_then(|n| program.buffers.get(usize::from(n)));
        match (initial, first) {
            (Some(n), Some(first)) if first.bytes == buffer.bytes => Ok(Place::Initial(n)),
            _ if place.checked_add(buffer.bytes.0).is_some_and(|end| end <= bytes.0) => Ok(Place::At(place)),
            _ => Err(format!("buffer `{}` at {place} of {bytes}", buffer.name)),
        }
    };
    if places.len() != program.buffers.len() {
        return Err(format!("a row of {} places for {} buffers", places.len(), program.buffers.len()));
    }
    program.buffers.iter().zip(places).map(place).collect()
}

impl Kept {
    /// Whether a blob like this can hold the states of `program` at all.
    pub fn fits(&self, program: &Program) -> bool {
        self.every > 0
            && rows(program, self.every) > 0
            && (table_bytes(program, self.every)..=STATES_BYTES_MAX).contains(&self.bytes.0)
    }

    /// Launches whose memory is committed to before and after, or where they begin or end the program, in order:
    /// number, from 0, and blocks.
    fn checkable(self, program: &Program) -> impl Iterator<Item = (u64, u64)> + '_ {
        let last = program.launches().saturating_sub(1);
        let every = self.every.max(1);
        let numbered = (0u64..).zip(program.launched());
        numbered
            .filter(move |(n, _)| (n + 1).is_multiple_of(every) || *n == last)
            .map(|(n, launch)| (n, launch.blocks()))
    }

    /// How many launches are checkable, and how many blocks they have together.
    pub fn extent(self, program: &Program) -> (u64, u64) {
        self.checkable(program)
            .fold((0, 0), |(launches, all), (_, blocks)| (launches + 1, u64::saturating_add(all, blocks)))
    }

    /// The blocks of these numbers, which count all blocks of checkable launches in order and are in rising order.
    pub fn locate(self, program: &Program, numbers: &[u64]) -> Vec<BlockAt> {
        let (mut found, mut numbers) = (Vec::new(), numbers.iter().copied().peekable());
        let mut before = 0u64;
        for (launch, blocks) in self.checkable(program) {
            let end = before.saturating_add(blocks);
            while let Some(number) = numbers.next_if(|number| *number < end) {
                found.push(BlockAt { launch, block: number.saturating_sub(before) });
            }
            before = end;
        }
        found
    }
}

impl Program {
    /// All launches in order, repeats counted out.
    pub fn launched(&self) -> impl Iterator<Item = &Launch> {
        let steps = self.phases.iter().flat_map(|p| (0..p.times).flat_map(|_| &p.steps));
        steps.filter_map(|step| match step {
            Step::Launch(launch) => Some(launch),
            Step::Swap { .. } => None,
        })
    }
}

impl Launch {
    /// Blocks of its grid.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().fold(1, |blocks: u64, n| blocks.saturating_mul(u64::from(*n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Element, Init, Phase};

    /// Grids of 3 and 5 blocks in turn, three times over, on buffers of 16 and 8 bytes.
    fn program() -> Program {
        let launch = |blocks| {
            let (kernel, grid, block) = ("k".to_owned(), [blocks, 1, 1], [1; 3]);
            Step::Launch(Launch { module: 0, kernel, grid, block, shared_bytes: 0, args: Vec::new() })
        };
        let buffer = |bytes| Buffer {
            name: format!("b{bytes}"),
            bytes: Bytes(bytes),
            init: Init::Zero,
            element: Element::U8,
            shape: vec![bytes],
            output: false,
        };
        Program {
            modules: Vec::new(),
            buffers: vec![buffer(16), buffer(8)],
            phases: vec![Phase { times: 3, steps: vec![launch(3), Step::Swap { a: 0, b: 0 }, launch(5)] }],
        }
    }

    fn kept(every: u64) -> Kept {
        Kept { every, blob: BlobHash([0; 32]), bytes: Bytes(200) }
    }

    #[test]
    fn blocks_are_counted_through_the_launches_that_are_committed_to() {
        let program = program();
        assert_eq!(kept(1).extent(&program), (6, 24));
        let all: Vec<u64> = (0..24).collect();
        let places: Vec<(u64, u64)> =
            kept(1).locate(&program, &all).iter().map(|at| (at.launch, at.block)).collect();
        assert_eq!(places[..4], [(0, 0), (0, 1), (0, 2), (1, 0)]);
        assert_eq!((places.len(), places[23]), (24, (5, 4)));
        // Every four launches: after the fourth, and the last.
        assert_eq!(kept(4).extent(&program), (2, 10));
        let found = kept(4).locate(&program, &[4, 5, 10]);
        assert_eq!(found, [BlockAt { launch: 3, block: 4 }, BlockAt { launch: 5, block: 0 }]);
        assert_eq!(
            (rows(&program, 1), rows(&program, 4), rows(&program, 5), rows(&program, 6)),
            (5, 1, 1, 0)
        );
    }

    #[test]
    fn a_row_is_these_bytes_and_its_places_lie_in_the_blob() {
        let program = program();
        let row = encode_row(&[Place::At(0x1c0), Place::Initial(1)]);
        assert_eq!(hex::encode(&row), "c001000000000000feffffffffffffff");
        assert_eq!(row_at(&program, 3), (48, 16));
        assert_eq!(decode_row(&program, &row, Bytes(0x1d0)), Ok(vec![Place::At(0x1c0), Place::Initial(1)]));
        assert_eq!(decode_row(&program, &row, Bytes(0x1cf)), Err("buffer `b16` at 448 of 463 B".to_owned()));
        // Past the end however large the blob, no buffer, and one of another size.
        for wild in [Place::At(u64::MAX - 8), Place::Initial(2), Place::Initial(1)] {
            let row = encode_row(&[wild, Place::Initial(1)]);
            assert!(decode_row(&program, &row, Bytes(u64::MAX)).is_err(), "{wild:?}");
        }
        assert!(decode_row(&program, &row[..8], Bytes(0x1d0)).is_err());
    }

    #[test]
    fn a_blob_that_can_hold_no_states_does_not_fit() {
        let program = program();
        assert!(kept(1).fits(&program));
        for wrong in [kept(0), kept(6), kept(u64::MAX), Kept { bytes: Bytes(79), ..kept(1) }] {
            assert!(!wrong.fits(&program), "{wrong:?}");
        }
        assert!(!Kept { bytes: Bytes(STATES_BYTES_MAX + 1), ..kept(1) }.fits(&program));
    }
}
