//! Blobs: content named by its BLAKE3 hash, verified group by group as it arrives.
//!
//! BLAKE3 is a tree, so the hash of a blob is also a commitment to the chaining values of its 256 KiB groups: a sender
//! gives those first (the [`Outline`]), the receiver checks that they merge into the hash, and then every group stands
//! by itself, in any order. Of a group, slices of 16 KiB are proven in the same way, by the chaining values of them all,
//! for whoever needs some bytes of a blob and not the rest. (The BLAKE3 paper, section 2.1 and 5.1.)

use crate::{
    codec::{Decode, Encode},
    ids::BlobHash,
    limits::{BLOB_BYTES_MAX, BLOB_GROUP_BYTES, BLOB_SLICE_BYTES},
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
    /// Whether the two count slices instead: of one group, and at least one.
    pub slices: bool,
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
    /// As above, for slices; their bytes follow.
    Slices {
        /// Size of the whole.
        bytes: u64,
        /// As above.
        outline: Vec<[u8; 32]>,
        /// Chaining values of all slices of the group; empty if the blob is one slice.
        values: Vec<[u8; 32]>,
    },
    /// Not held here.
    NotFound,
    /// Too many streams at once; ask again.
    Busy,
}

/// Size of an encoded [`BlobRequest`].
pub const BLOB_REQUEST_BYTES: usize = 32 + 1 + 8 + 8 + 1;

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

    /// Whether `bytes` are `count` slices from `first` on, given the values of all slices of their group.
    pub fn check_slices(
        &self,
        first: u64,
        count: u64,
        values: &[ChainingValue],
        bytes: &[u8],
    ) -> Result<(), BlobError> {
        let group = first / SLICES_PER_GROUP;
        let place = slices_in_group(self.bytes, first, count).map(|(_, place)| place.len());
        let expected = place.unwrap_or(0) as u64;
        if expected == 0 || bytes.len() as u64 != expected {
            return Err(BlobError::WrongLength { group, found: bytes.len() as u64, expected });
        }
        if self.bytes <= BLOB_SLICE_BYTES {
            return self.check_group(group, bytes);
        }
        let all = self.group_bytes(group).div_ceil(BLOB_SLICE_BYTES);
        if values.len() as u64 != all {
            return Err(BlobError::GroupCount { found: values.len() as u64, expected: all });
        }
        let of_group = match self.groups.get(group as usize) {
            Some(value) => subtree(values) == *value,
            None => root(values) == self.hash,
        };
        let from = (first % SLICES_PER_GROUP) as usize;
        let mut slices = (first..).zip(bytes.chunks(BLOB_SLICE_BYTES as usize)).zip(&values[from..]);
        let same = slices.all(|((n, slice), value)| slice_value(n, slice) == *value);
        if of_group && same { Ok(()) } else { Err(BlobError::WrongGroup(group)) }
    }
}

/// Slices of a group.
pub const SLICES_PER_GROUP: u64 = BLOB_GROUP_BYTES / BLOB_SLICE_BYTES;

/// The slices of these numbers, where they are of one group of a blob of `bytes` bytes: the group, and where in it they
/// begin and end.
pub fn slices_in_group(bytes: u64, first: u64, count: u64) -> Option<(u64, std::ops::Range<usize>)> {
    let group = first / SLICES_PER_GROUP;
    let start = group.checked_mul(BLOB_GROUP_BYTES)?;
    let len = bytes.checked_sub(start)?.min(BLOB_GROUP_BYTES);
    let from = first % SLICES_PER_GROUP;
    let to = from.checked_add(count)?;
    let within = count > 0 && to <= len.div_ceil(BLOB_SLICE_BYTES);
    let at = |slice: u64| (slice * BLOB_SLICE_BYTES).min(len) as usize;
    within.then(|| (group, at(from)..at(to)))
}

/// The chaining values of the slices of a group, as they go on the wire; none where the blob of `bytes` bytes is one slice.
pub fn slice_values(bytes: u64, group: u64, content: &[u8]) -> Vec<ChainingValue> {
    if bytes <= BLOB_SLICE_BYTES {
        return Vec::new();
    }
    let first = group * SLICES_PER_GROUP;
    (first..).zip(content.chunks(BLOB_SLICE_BYTES as usize)).map(|(n, slice)| slice_value(n, slice)).collect()
}

fn slice_value(slice: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(slice * BLOB_SLICE_BYTES).update(bytes).finalize_non_root()
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

    /// Every slice of blobs of all shapes is proven, and nothing else passes for it.
    #[test]
    fn slices_are_proven_by_the_values_beside_them() {
        let (group, slice) = (BLOB_GROUP_BYTES as usize, BLOB_SLICE_BYTES as usize);
        let sizes = [1, slice, slice + 1, 3 * slice, group, group + 1, group + 5 * slice + 9, 3 * group];
        for size in sizes {
            let bytes = sample(size);
            let mut builder = OutlineBuilder::default();
            builder.update(&bytes);
            let (_, outline) = builder.finish();
            for first in 0..size.div_ceil(slice) as u64 {
                let of = first / SLICES_PER_GROUP;
                let start = of as usize * group;
                let content = &bytes[start..size.min(start + group)];
                let values = slice_values(size as u64, of, content);
                for count in 1..=3 {
                    let Some((found, place)) = slices_in_group(size as u64, first, count) else {
                        assert!(outline.check_slices(first, count, &values, content).is_err());
                        continue;
                    };
                    assert_eq!(found, of);
                    let mut part = content[place].to_vec();
                    let context = format!("size {size}, {count} from {first}");
                    assert_eq!(outline.check_slices(first, count, &values, &part), Ok(()), "{context}");
                    assert!(outline.check_slices(first + 1, count, &values, &part).is_err(), "{context}");
                    let mut other = values.clone();
                    if let Some(value) = other.last_mut() {
                        value[7] ^= 1;
                        assert!(outline.check_slices(first, count, &other, &part).is_err(), "{context}");
                    }
                    part[0] ^= 1;
                    assert!(outline.check_slices(first, count, &values, &part).is_err(), "{context}");
                }
            }
        }
        for (first, count) in [(0, 0), (15, 2), (u64::MAX, 1), (0, u64::MAX), (16, 1)] {
            assert_eq!(slices_in_group(BLOB_GROUP_BYTES, first, count), None, "{count} from {first}");
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
