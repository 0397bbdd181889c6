//! The Merkle trees of a challenge: of rows of one size, made on the device, level by level, by its `hash` kernel.
//!
//! A leaf is the BLAKE3 hash of a row, a node that of its two children's 64 bytes: one compression each. No prefix tells
//! leaves from nodes, since a row has [`ROW_BYTES`](super::ROW_BYTES) and the number of levels follows from the shape: no
//! node can be shown as a row. Places beyond the last row hold zeros. Tests are at the end.

/// What a tree is made of.
pub type Hash = [u8; 32];

/// The hash of a row: the first tree's leaf.
pub fn leaf(row: &[u8]) -> Hash {
    *blake3::hash(row).as_bytes()
}

/// The hash of a row under the first root: the second tree's leaf.
pub fn keyed_leaf(root: &Hash, row: &[u8]) -> Hash {
    *blake3::keyed_hash(root, row).as_bytes()
}

/// The node above two.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    *blake3::hash(&both).as_bytes()
}

/// All levels above `leaves`, whose number is a power of two, the given one first and the root last.
pub fn levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let above = below.chunks(2).map(|two| parent(&two[0], two.last().unwrap_or(&two[0]))).collect();
        levels.push(above);
    }
    levels
}

/// The neighbours on the way from place `at` of the lowest level to the root.
pub fn path(levels: &[Vec<Hash>], mut at: usize) -> Vec<Hash> {
    let below = levels.iter().take_while(|level| level.len() > 1);
    below
        .map(|level| {
            let neighbour = level[(at ^ 1).min(level.len() - 1)];
            at /= 2;
            neighbour
        })
        .collect()
}

/// The root that `path` leads to from `leaf` at place `at`.
pub fn climb(leaf: Hash, at: u32, path: &[Hash]) -> Hash {
    path.iter().enumerate().fold(leaf, |node, (level, neighbour)| {
        // A path is bounded by the shape; beyond 31 levels every place is on the left.
        match at.checked_shr(level as u32).unwrap_or(0) & 1 {
            0 => parent(&node, neighbour),
            _ => parent(neighbour, &node),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_climbs_to_the_root_and_no_other_does() {
        let leaves: Vec<Hash> = (0..16u8).map(|n| leaf(&[n; 1024])).collect();
        let tree = levels(leaves.clone());
        let root = tree[4][0];
        assert_eq!(tree.iter().map(Vec::len).collect::<Vec<_>>(), [16, 8, 4, 2, 1]);
        for (at, leaf) in leaves.iter().enumerate() {
            let path = path(&tree, at);
            assert_eq!(path.len(), 4);
            assert_eq!(climb(*leaf, at as u32, &path), root);
            assert_ne!(climb(*leaf, at as u32 ^ 1, &path), root);
            assert_ne!(climb(leaves[at ^ 1], at as u32, &path), root);
        }
        assert_eq!(levels(vec![[7; 32]]), [[[7; 32]]]);
    }
}
