//! Blobs: content named by its BLAKE3 hash, verified group by group as it arrives.
//!
//! BLAKE3 is a tree, so the hash of a blob is also a commitment to the chaining values of its 256 KiB groups: a sender
//! gives those first (the [`Outline`]), the receiver checks that they merge into the hash, and then every group stands
//! by itself, in any order. (The BLAKE3 paper, section 2.1 and 5.1.)

use crate::{
    codec::{Decode, Encode},
    ids::BlobHash,
    limits::{BLOB_BYTES_MAX, BLOB_GROUP_BYTES},
};
use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

/// What a node asks on a blob stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlobRequest {
    /// Which blob.
    pub hash: BlobHash,
    /// Whether the outline is wanted; once is enough.
    pub outline: bool,
    /// First group wanted.
    pub first: u64,
    /// How many groups; may be zero.
    pub count: u64,
}

/// What comes before the groups' bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum BlobResponse {
    /// The blob's size, and the outline if it was asked for; the groups' bytes follow.
    Found {
        /// Size of the whole.
        bytes: u64,
        /// Chaining values of all groups; empty if not asked for or if there is one group only.
        outline: Vec<[u8; 32]>,
    },
    /// Not held here.
    NotFound,
    /// Too many streams at once; ask again.
    Busy,
}

/// Size of an encoded [`BlobRequest`].
pub const BLOB_REQUEST_BYTES: usize = 32 + 1 + 8 + 8;

/// Why bytes are not those of a blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Larger than any blob may be.
    #[error("a blob of {0} bytes is over the limit of {BLOB_BYTES_MAX}")]
    TooLarge(u64),
    /// The outline has another number of groups than the size implies.
    #[error("{found} chaining values; expected {expected}")]
    GroupCount {
        /// Values found.
        found: u64,
        /// Values the size implies.
        expected: u64,
    },
    /// The outline merges into another hash.
    #[error("the outline is of another blob")]
    WrongOutline,
    /// A group's bytes are not those the outline commits to.
    #[error("group {0} does not match its hash")]
    WrongGroup(u64),
    /// A group has the wrong length, or no such group exists.
    #[error("group {group} has {found} bytes; expected {expected}")]
    WrongLength {
        /// Which group.
        group: u64,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
}

/// The verified chaining values of a blob's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    hash: BlobHash,
    bytes: u64,
    groups: Vec<ChainingValue>,
}

/// Groups of a blob of `bytes` bytes; an empty blob has one empty group.
pub fn group_count(bytes: u64) -> u64 {
    bytes.div_ceil(BLOB_GROUP_BYTES).max(1)
}

impl Outline {
    /// Checks that `groups` are the chaining values of the blob `hash` of `bytes` bytes.
    pub fn verify(hash: BlobHash, bytes: u64, groups: Vec<[u8; 32]>) -> Result<Self, BlobError> {
        if bytes > BLOB_BYTES_MAX {
            return Err(BlobError::TooLarge(bytes));
        }
        let expected = if group_count(bytes) == 1 { 0 } else { group_count(bytes) };
        if groups.len() as u64 != expected {
            return Err(BlobError::GroupCount { found: groups.len() as u64, expected });
        }
        if expected > 0 && root(&groups) != hash {
            return Err(BlobError::WrongOutline);
        }
        Ok(Self { hash, bytes, groups })
    }

    /// Size of the blob.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of groups.
    pub fn group_count(&self) -> u64 {
        group_count(self.bytes)
    }

    /// The chaining values as they go on the wire.
    pub fn chaining_values(&self) -> &[ChainingValue] {
        &self.groups
    }

    /// Size of group `group`.
    pub fn group_bytes(&self, group: u64) -> u64 {
        self.bytes.saturating_sub(group.saturating_mul(BLOB_GROUP_BYTES)).min(BLOB_GROUP_BYTES)
    }

    /// Whether `bytes` are group `group`.
    pub fn check_group(&self, group: u64, bytes: &[u8]) -> Result<(), BlobError> {
        let expected = self.group_bytes(group);
        if group >= self.group_count() || bytes.len() as u64 != expected {
            return Err(BlobError::WrongLength { group, found: bytes.len() as u64, expected });
        }
        let same = match self.groups.get(group as usize) {
            Some(value) => group_value(group, bytes) == *value,
            None => BlobHash::of(bytes) == self.hash,
        };
        if same { Ok(()) } else { Err(BlobError::WrongGroup(group)) }
    }
}

/// The chaining value of one group of a blob with several.
pub fn group_value(group: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(group * BLOB_GROUP_BYTES).update(bytes).finalize_non_root()
}

/// The blob hash that two or more group values merge into.
pub fn root(groups: &[ChainingValue]) -> BlobHash {
    let split = left_len(groups.len());
    let (left, right) = groups.split_at(split);
    BlobHash(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
}

fn subtree(groups: &[ChainingValue]) -> ChainingValue {
    match groups {
        [one] => *one,
        _ => {
            let (left, right) = groups.split_at(left_len(groups.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// BLAKE3 puts the largest power of two that leaves something on the right into the left subtree. Depth is at most 17.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

/// Hashes a blob of several groups as its bytes come by: outline and hash in one pass.
#[derive(Debug, Default)]
pub struct OutlineBuilder {
    groups: Vec<ChainingValue>,
    pending: Vec<u8>,
    bytes: u64,
}

impl OutlineBuilder {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            // A full group is hashed only when more follows: a single group is hashed as a root.
            if self.pending.len() as u64 == BLOB_GROUP_BYTES {
                self.flush();
            }
            let room = (BLOB_GROUP_BYTES as usize - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
        }
    }

    fn flush(&mut self) {
        self.groups.push(group_value(self.groups.len() as u64, &self.pending));
        self.pending.clear();
    }

    /// The hash and the outline.
    pub fn finish(mut self) -> (BlobHash, Outline) {
        if self.groups.is_empty() {
            let hash = BlobHash::of(&self.pending);
            return (hash, Outline { hash, bytes: self.bytes, groups: Vec::new() });
        }
        self.flush();
        let hash = root(&self.groups);
        (hash, Outline { hash, bytes: self.bytes, groups: self.groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bytes: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(bytes as u64);
        (0..bytes).map(|_| rng.u8(..)).collect()
    }

    #[test]
    fn outline_hash_is_blake3_of_the_whole() {
        let group = BLOB_GROUP_BYTES as usize;
        for size in [0, 1, group - 1, group, group + 1, 2 * group, 3 * group, 5 * group + 17, 8 * group] {
            let bytes = sample(size);
            let mut builder = OutlineBuilder::default();
            bytes.chunks(100_003).for_each(|piece| builder.update(piece));
            let (hash, outline) = builder.finish();
            assert_eq!(hash, BlobHash::of(&bytes), "size {size}");
            let checked = Outline::verify(hash, size as u64, outline.chaining_values().to_vec()).unwrap();
            for g in 0..checked.group_count() {
                let start = (g * BLOB_GROUP_BYTES) as usize;
                let piece = &bytes[start..start + checked.group_bytes(g) as usize];
                assert_eq!(checked.check_group(g, piece), Ok(()), "size {size} group {g}");
            }
        }
    }

    #[test]
    fn wrong_bytes_are_found_in_their_group() {
        let bytes = sample(3 * BLOB_GROUP_BYTES as usize);
        let mut builder = OutlineBuilder::default();
        builder.update(&bytes);
        let (hash, outline) = builder.finish();
        let mut group = bytes[BLOB_GROUP_BYTES as usize..2 * BLOB_GROUP_BYTES as usize].to_vec();
        assert_eq!(outline.check_group(1, &group), Ok(()));
        assert_eq!(outline.check_group(2, &group), Err(BlobError::WrongGroup(2)));
        group[77] ^= 1;
        assert_eq!(outline.check_group(1, &group), Err(BlobError::WrongGroup(1)));
        assert!(matches!(outline.check_group(1, &group[1..]), Err(BlobError::WrongLength { .. })));
        assert!(matches!(outline.check_group(3, &[]), Err(BlobError::WrongLength { .. })));
        let mut values = outline.chaining_values().to_vec();
        values[0][0] ^= 1;
        assert_eq!(Outline::verify(hash, bytes.len() as u64, values), Err(BlobError::WrongOutline));
    }
}
