//! From what left the device to the roots, and to the rows that are asked for.

use super::{bytes_of, rows_of_c};
use ion_protocol::challenge::{
    OpenedRow, Roots, Shape, opened_rows,
    tree::{self, Hash},
};

/// The levels of both trees that left the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    first: Vec<Hash>,
    second: Vec<Hash>,
}

/// The program's outputs are not of this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an output of {found} bytes; expected {expected}")]
pub struct NodesError {
    found: usize,
    expected: usize,
}

impl Nodes {
    /// From the program's outputs, in their order.
    pub fn of(shape: &Shape, first: &[u8], second: &[u8]) -> Result<Self, NodesError> {
        let hashes = |bytes: &[u8]| {
            let (found, expected) = (bytes.len(), shape.nodes() as usize * size_of::<Hash>());
            let (hashes, rest) = bytes.as_chunks();
            if found == expected && rest.is_empty() {
                Ok(hashes.to_vec())
            } else {
                Err(NodesError { found, expected })
            }
        };
        Ok(Self { first: hashes(first)?, second: hashes(second)? })
    }

    /// What to commit to.
    pub fn roots(&self) -> Roots {
        let root = |nodes: &[Hash]| tree::levels(nodes.to_vec()).last().map_or([0; 32], |top| top[0]);
        Roots { first: root(&self.first), second: root(&self.second) }
    }
}

/// The rows that an opening asks for, with their paths. What is below the nodes is computed again: a row, or the few rows
/// of one node where the device holds many.
pub fn open_rows(seed: &[u8; 32], shape: &Shape, nodes: &Nodes, opening: &[u8; 32]) -> Vec<OpenedRow> {
    let key = nodes.roots().first;
    let above = [&nodes.first, &nodes.second].map(|level| tree::levels(level.clone()));
    let rows_of_node = 1 << shape.folded();
    let open = |row: u32| {
        let (node, at) = (row / rows_of_node, (row % rows_of_node) as usize);
        let from = node * rows_of_node;
        let until = from.saturating_add(rows_of_node).min(shape.rows);
        let c: Vec<Vec<u8>> = rows_of_c(seed, shape, from..until).iter().map(|row| bytes_of(row)).collect();
        let path = |above: &[Vec<Hash>], leaf: &dyn Fn(&[u8]) -> Hash| {
            let mut leaves: Vec<Hash> = c.iter().map(|row| leaf(row)).collect();
            leaves.resize(rows_of_node as usize, [0; 32]);
            let mut path = tree::path(&tree::levels(leaves), at);
            path.extend(tree::path(above, node as usize));
            path
        };
        let first = path(&above[0], &tree::leaf);
        let second = path(&above[1], &|row| tree::keyed_leaf(&key, row));
        OpenedRow { first, second, words: c[at].clone() }
    };
    opened_rows(opening, shape).into_iter().map(open).collect()
}
