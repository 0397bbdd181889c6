//! The device's side of a challenge, and the check that any light node makes: [`ion_protocol::challenge`] is what is said.
//!
//! **Product.** C = A B modulo 2^32, with `rows` x `inner` words of A and `inner` x 256 words of B, all made from the seed
//! by [`mix`], which the kernels compute too. Words wrap as the hardware's do, so every device gives the same bits in
//! whatever order it adds. All 32 bits count, so units for short integers (tensor cores) need ten products of bytes for
//! one of words. Only the device computes it, by [`program`]: an ordinary program, run by an ordinary worker.
//!
//! **Commitment.** The device hashes the rows of C into a tree, and then again under that tree's root as key into a second.
//! The second cannot be begun before the first is done, so whoever does not keep C, somewhere as quick as the device,
//! computes it twice; with the share f of it kept, the time is 2 - f times the honest one, and the bound forgives a
//! quarter.
//!
//! **Check.** The rows that an opening asks for must be under both roots, and pass Freivalds' test (R. Freivalds,
//! *Probabilistic machines can use less running time*, IFIP 1977): for a vector r drawn after the commitment, row . r must
//! be (row of A) . (B r). B r is computed once, for sixteen vectors at 16 x `inner` x 256 multiplications; a row then costs
//! 16 x (`inner` + 256): n^2 where the product is n^3, and independent of how many rows C has. Words are a ring, not a field,
//! so a false row passes one vector with probability 2^(v - 32), where 2^v is the largest power of two that divides every
//! word of its error: 2^-16 for all vectors where only top bits are wrong, 2^-512 where lowest bits are. Of a product with
//! the share p of its rows false, none is opened with probability (1 - p)^32.
//!
//! The answer holds no C r for all rows: A (B r) costs its maker n^2 without C, so it would prove nothing.
//!
//! What it proves: somebody who answers under the provider's key did that work in that time, and held C. Not that the device
//! is where it says, is its own, or is a card; nor anything to a third party if challenger and provider are in league:
//! seeds and times are the challenger's word. Tests: `gpu/tests/challenge.rs`.

mod check;
mod commit;
mod program;

pub use check::check;
pub use commit::{Nodes, NodesError, open_rows};
pub use program::{KERNELS, blob, program};

use ion_protocol::challenge::{MATRIX_WIDTH, Shape};

/// A word of a matrix: two keys and a counter, mixed. Quick on any device; nobody needs to be unable to predict it, only to
/// find no structure that saves multiplications.
pub fn mix(key0: u32, key1: u32, counter: u32) -> u32 {
    let x = counter.wrapping_mul(0x9E37_79B9) ^ key0;
    let x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B).wrapping_add(key1);
    let x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}

/// The words of a seed: four for A, four for B.
fn seed_words(seed: &[u8; 32]) -> [u32; 8] {
    std::array::from_fn(|n| {
        u32::from_le_bytes([seed[4 * n], seed[4 * n + 1], seed[4 * n + 2], seed[4 * n + 3]])
    })
}

/// A matrix, a row at a time.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    keys: [u32; 4],
    columns: u32,
}

impl Matrix {
    fn a(seed: &[u8; 32], shape: &Shape) -> Self {
        let [k0, k1, k2, k3, ..] = seed_words(seed);
        Self { keys: [k0, k1, k2, k3], columns: shape.inner }
    }

    fn b(seed: &[u8; 32]) -> Self {
        let [.., k0, k1, k2, k3] = seed_words(seed);
        Self { keys: [k0, k1, k2, k3], columns: MATRIX_WIDTH }
    }

    /// Each row has keys of its own, so that no two are alike where counters meet.
    fn row(self, row: u32) -> impl Iterator<Item = u32> {
        let [k0, k1, k2, k3] = self.keys;
        let (key0, key1) = (mix(k0, k1, row), mix(k2, k3, row));
        (0..self.columns).map(move |column| mix(key0, key1, column))
    }
}

/// Rows of C, computed here: a few of them, where the tree below a node is made again.
fn rows_of_c(
    seed: &[u8; 32],
    shape: &Shape,
    rows: std::ops::Range<u32>,
) -> Vec<[u32; MATRIX_WIDTH as usize]> {
    let (a, b) = (Matrix::a(seed, shape), Matrix::b(seed));
    let left: Vec<Vec<u32>> = rows.map(|row| a.row(row).collect()).collect();
    let mut c = vec![[0u32; MATRIX_WIDTH as usize]; left.len()];
    for k in 0..shape.inner {
        let right: Vec<u32> = b.row(k).collect();
        for (left, c) in left.iter().zip(&mut c) {
            let factor = left[k as usize];
            c.iter_mut().zip(&right).for_each(|(c, b)| *c = c.wrapping_add(factor.wrapping_mul(*b)));
        }
    }
    c
}

fn bytes_of(row: &[u32]) -> Vec<u8> {
    row.iter().flat_map(|word| word.to_le_bytes()).collect()
}
