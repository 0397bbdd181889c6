//! The check of an answer: both paths of every row, and Freivalds' test.

use super::Matrix;
use ion_protocol::challenge::{
    Flaw, MATRIX_WIDTH, OpenedRow, ROW_BYTES, Roots, Shape, Words, opened_rows, tree,
};

/// Vectors a row is tested with.
pub(super) const VECTORS: usize = 16;

/// As many words as there are vectors.
type Lanes = [u32; VECTORS];

/// Whether `rows` are what `opening` asks for of the product that `roots` commit to.
pub fn check(
    seed: &[u8; 32],
    shape: &Shape,
    roots: &Roots,
    opening: &[u8; 32],
    rows: &[OpenedRow],
) -> Result<(), Flaw> {
    let wanted = opened_rows(opening, shape);
    if rows.len() != wanted.len() {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        return Err(Flaw::Count { found: count(rows.len()), expected: count(wanted.len()) });
    }
    let test = Freivalds::new(seed, shape, opening);
    wanted.into_iter().zip(rows).try_for_each(|(row, shown)| {
        let found = shown.words.len();
        if found != ROW_BYTES {
            return Err(Flaw::Length { row, found: u32::try_from(found).unwrap_or(u32::MAX) });
        }
        let levels = shape.leaves().trailing_zeros() as usize;
        let leads =
            |path: &[tree::Hash], leaf, root| path.len() == levels && tree::climb(leaf, row, path) == root;
        if !leads(&shown.first, tree::leaf(&shown.words), roots.first) {
            return Err(Flaw::FirstRoot { row });
        }
        if !leads(&shown.second, tree::keyed_leaf(&roots.first, &shown.words), roots.second) {
            return Err(Flaw::SecondRoot { row });
        }
        if test.passes(row, &shown.words) { Ok(()) } else { Err(Flaw::Product { row }) }
    })
}

/// Vectors r, and B r.
struct Freivalds {
    a: Matrix,
    vectors: Vec<Lanes>,
    images: Vec<Lanes>,
}

impl Freivalds {
    fn new(seed: &[u8; 32], shape: &Shape, opening: &[u8; 32]) -> Self {
        let mut words = Words::new("ion challenge vectors 1", opening);
        let mut draw = || std::array::from_fn(|_| words.next());
        let vectors: Vec<Lanes> = (0..MATRIX_WIDTH).map(|_| draw()).collect();
        let b = Matrix::b(seed);
        let images = (0..shape.inner).map(|k| dot(b.row(k), &vectors)).collect();
        Self { a: Matrix::a(seed, shape), vectors, images }
    }

    fn passes(&self, row: u32, words: &[u8]) -> bool {
        let (words, _) = words.as_chunks();
        let shown = words.iter().map(|word| u32::from_le_bytes(*word));
        dot(shown, &self.vectors) == dot(self.a.row(row), &self.images)
    }
}

/// A row times each of the vectors.
fn dot(row: impl Iterator<Item = u32>, vectors: &[Lanes]) -> Lanes {
    let mut sums = [0u32; VECTORS];
    for (word, lanes) in row.zip(vectors) {
        #[cfg(test)]
        tests::count();
        sums.iter_mut().zip(lanes).for_each(|(sum, lane)| *sum = sum.wrapping_add(word.wrapping_mul(*lane)));
    }
    sums
}

#[cfg(test)]
pub(super) mod tests;
