//! What the check costs, counted.

use super::{VECTORS, check};
use crate::challenge::{Nodes, open_rows};
use ion_protocol::challenge::{Shape, opened_rows};
use std::cell::Cell;

thread_local! {
    static WORDS: Cell<u64> = const { Cell::new(0) };
}

/// A word of a row was multiplied with all vectors.
pub(in crate::challenge) fn count() {
    WORDS.set(WORDS.get() + 1);
}

/// What one check multiplies.
fn cost(shape: Shape) -> u64 {
    let (seed, opening) = ([3; 32], [4; 32]);
    let zeros = vec![0; shape.nodes() as usize * 32];
    let nodes = Nodes::of(&shape, &zeros, &zeros).unwrap();
    let rows = open_rows(&seed, &shape, &nodes, &opening);
    WORDS.set(0);
    let test = super::Freivalds::new(&seed, &shape, &opening);
    let wanted = opened_rows(&opening, &shape);
    assert!(wanted.into_iter().zip(&rows).all(|(row, shown)| test.passes(row, &shown.words)));
    let cost = WORDS.get();
    assert!(check(&seed, &shape, &nodes.roots(), &opening, &rows).is_err(), "the trees are of zeros");
    cost
}

#[test]
fn a_check_costs_the_square_of_what_a_product_costs_the_cube_of() {
    let expected = |inner: u64| inner * 256 + 32 * (inner + 256);
    for inner in [64, 128, 1024] {
        // However many rows the product has.
        for rows in [64, 4096] {
            assert_eq!(cost(Shape { rows, inner }), expected(inner.into()), "{rows} rows");
        }
    }
    let device = Shape { rows: 1 << 24, inner: 4096 };
    let checked = u128::from(2 * VECTORS as u64 * expected(4096));
    assert!(device.operations() > 750_000 * checked, "{checked} for {}", device.operations());
}
