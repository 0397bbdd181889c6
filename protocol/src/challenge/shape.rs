//! How large a challenge's product is: chosen so that it fills what memory the claimed rate has time for.

use super::{ALLOWANCE, TARGET, tree::Hash};
use crate::{
    codec::{Decode, Encode},
    hardware::Device,
    units::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};

/// Columns of B and C: a row of C is one chunk of BLAKE3.
pub const MATRIX_WIDTH: u32 = 256;
/// Bytes of a row of B or C.
pub const ROW_BYTES: usize = 4 * MATRIX_WIDTH as usize;
/// Rows are computed so many at a time.
pub const ROWS_STEP: u32 = 8;
/// Columns of A are made so many at a time.
pub const INNER_STEP: u32 = 32;
/// Fewest rows: twice what is opened.
const ROWS_MIN: u32 = 64;
/// Most rows: 64 GiB of C.
const ROWS_MAX: u32 = 1 << 26;
/// Columns of A at least: hashing C twice is then less than a tenth of the work.
const INNER_MIN: u32 = 1_024;
/// Columns of A at most: B stays below 1 GiB.
const INNER_MAX: u32 = 1 << 20;
/// Nodes of a tree that leave the device, at most: 8 MiB. Those below are made again where a row is opened.
const NODES_MAX: u32 = 1 << 18;
/// Of the memory that a device lends, what a product fills at most, in percent.
const MEMORY_PERCENT: u64 = 85;
/// And what B takes at most.
const B_PERCENT: u64 = 10;
/// 10^6 operations a second, for so many milliseconds.
const OPS_PER_MOPS_MILLI: u128 = 1_000;

/// C has `rows` rows and [`MATRIX_WIDTH`] columns, A has `rows` rows and `inner` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Shape {
    /// Rows of A and C; a multiple of 8.
    pub rows: u32,
    /// Columns of A, rows of B; a multiple of 32.
    pub inner: u32,
}

/// Why there is no such product.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {found}; expected a multiple of {step} from {min} to {max}")]
pub struct ShapeError {
    what: &'static str,
    found: u32,
    step: u32,
    min: u32,
    max: u32,
}

impl Shape {
    /// The product that takes `device` about [`TARGET`] by its own claim, over most of its memory where the rate gives
    /// time for that; `None` where it claims no rate.
    pub fn for_claim(device: &Device) -> Option<Self> {
        let ops = u128::from(device.power.product_mops) * u128::from(TARGET.0) * OPS_PER_MOPS_MILLI;
        if ops == 0 {
            return None;
        }
        let cells = ops / (2 * u128::from(MATRIX_WIDTH));
        let by_time = cells / u128::from(INNER_MIN);
        let by_memory = rows_within(device.memory);
        let rows = u32::try_from(by_time.min(by_memory.into())).unwrap_or(ROWS_MAX);
        let rows = (rows / ROWS_STEP * ROWS_STEP).clamp(ROWS_MIN, ROWS_MAX);
        let inner = u32::try_from(cells / u128::from(rows)).unwrap_or(INNER_MAX);
        // A claim so high that B would not fit gets a product that takes less than it has time for.
        let room = u32::try_from(device.memory.0 / 100 * B_PERCENT / ROW_BYTES as u64).unwrap_or(INNER_MAX);
        let inner = (inner.min(room) / INNER_STEP * INNER_STEP).clamp(INNER_STEP, INNER_MAX);
        Some(Self { rows, inner })
    }

    /// The highest rate, in 10^6 operations a second, that a challenge can hold `device` to: that of the product which takes
    /// as long as [`ALLOWANCE`] gives for all else. In little memory no product takes longer, and whoever claims more than
    /// that passes without it.
    pub fn rate_held(device: &Device) -> u64 {
        let operations = Self::for_claim(device).map_or(0, |shape| shape.operations());
        let rate = operations / (u128::from(ALLOWANCE.0) * OPS_PER_MOPS_MILLI);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Whether it is one that a challenge may ask for.
    pub fn check(&self) -> Result<(), ShapeError> {
        let held = |what, found: u32, step, min, max| {
            let good = found.is_multiple_of(step) && (min..=max).contains(&found);
            if good { Ok(()) } else { Err(ShapeError { what, found, step, min, max }) }
        };
        held("rows", self.rows, ROWS_STEP, ROWS_MIN, ROWS_MAX)?;
        held("inner columns", self.inner, INNER_STEP, INNER_STEP, INNER_MAX)
    }

    /// Multiplications and additions of words.
    pub fn operations(&self) -> u128 {
        2 * u128::from(self.rows) * u128::from(self.inner) * u128::from(MATRIX_WIDTH)
    }

    /// How long it takes at a rate in 10^6 operations a second, rounded up; `None` for none.
    pub fn time_at(&self, product_mops: u64) -> Option<Millis> {
        let a_milli = u128::from(product_mops) * OPS_PER_MOPS_MILLI;
        (a_milli > 0).then(|| {
            let millis = self.operations().div_ceil(a_milli);
            Millis(u64::try_from(millis).unwrap_or(u64::MAX))
        })
    }

    /// Places of the lowest level of its trees.
    pub fn leaves(&self) -> u32 {
        self.rows.next_power_of_two()
    }

    /// Levels of the trees that stay on the device: of those above, all nodes leave it.
    pub fn folded(&self) -> u32 {
        (self.leaves() / NODES_MAX).max(1).trailing_zeros()
    }

    /// Nodes of each tree that leave the device.
    pub fn nodes(&self) -> u32 {
        self.leaves() >> self.folded()
    }

    /// What it holds on the device: B, C, and the trees.
    pub fn memory(&self) -> Bytes {
        let rows = (u64::from(self.rows) + u64::from(self.inner)) * ROW_BYTES as u64;
        let leaves = u64::from(self.leaves()) * size_of::<Hash>() as u64;
        // Two for the levels in between, two for what leaves the device, and the key.
        Bytes(rows + 2 * leaves + 2 * u64::from(self.nodes()) * size_of::<Hash>() as u64 + 32)
    }
}

/// Rows of which C and its trees fit so much memory beside a small B.
fn rows_within(memory: Bytes) -> u32 {
    // A row, and up to two places in each of four levels of hashes.
    const BYTES_PER_ROW: u64 = ROW_BYTES as u64 + 8 * size_of::<Hash>() as u64;
    let room = (memory.0 / 100).saturating_mul(MEMORY_PERCENT);
    u32::try_from(room / BYTES_PER_ROW).unwrap_or(ROWS_MAX)
}
