//! Machine code kept for the process.
//!
//! Owns: the units of kernels translated before, found by the whole decoded kernel, so that equal kernels share one and
//! unequal ones never do. All units are for this processor: its features do not change while a process lives.
//! Never: keeps more than [`UNITS_MAX`] units of [`CODES_MAX`] instructions; the one used longest ago goes first.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Rows, Unit, flow};
use crate::cpu::code::Kernel;
use std::sync::{Arc, Mutex, PoisonError};

/// A process runs one job, which has a few dozen kernels at most; beyond that, translating again is cheap.
pub const UNITS_MAX: usize = 64;
/// Instructions of their kernels together: some 20 MB.
const CODES_MAX: usize = 1 << 18;

/// A kernel, what threads lie in one row of the block, and its machine code; `None` where nothing of it can be translated.
type Known = ((Kernel, Rows), Option<Arc<Unit>>);

/// The units, the one used last at the end.
static UNITS: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// What is known of a kernel, if it was translated before.
pub fn find(kernel: &Kernel, rows: Rows) -> Option<Option<Arc<Unit>>> {
    let mut units = UNITS.lock().unwrap_or_else(PoisonError::into_inner);
    let at = units.iter().position(|((known, known_rows), _)| *known_rows == rows && known == kernel)?;
    let found = units.remove(at);
    let unit = found.1.clone();
    units.push(found);
    Some(unit)
}

/// Keeps what was made of a kernel; what is too large to be translated is not worth keeping.
pub fn keep(kernel: &Kernel, rows: Rows, unit: Option<Arc<Unit>>) {
    if kernel.codes.len() > flow::CODES_MAX {
        return;
    }
    let mut units = UNITS.lock().unwrap_or_else(PoisonError::into_inner);
    let codes = |units: &[Known]| units.iter().map(|((known, _), _)| known.codes.len()).sum::<usize>();
    while units.len() >= UNITS_MAX || codes(&units) + kernel.codes.len() > CODES_MAX {
        units.remove(0);
    }
    units.push(((kernel.clone(), rows), unit));
}
