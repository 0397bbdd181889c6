//! When a kernel is translated.
//!
//! Owns: [`Ready`], and [`Tier`]: a kernel is interpreted until it has executed so much that translating it pays, then translated by
//! whichever core notices first, while the others go on interpreting; each takes the machine code up at its next turn.
//! Kernels translated before start with it. Nothing but the time taken depends on when that happens.
//! Never: waits for a translation.
//! Limits: [`WARM`].
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Rows, Unit, cache, fold::fold, rename::rename};
use crate::cpu::code::Kernel;
use ion_protocol::hardware::Engine;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Instructions to interpret first. At some 30 ns each they take about as long as translating a kernel of middling
/// size, so a kernel takes at most twice as long as if it had been known how much it would execute.
const WARM: u64 = 100_000;

/// A kernel as it is executed.
pub struct Ready {
    pub kernel: Kernel,
    engine: Engine,
    /// By [`Rows`]; made when first needed.
    tiers: [Option<Tier>; 3],
}

impl Ready {
    pub fn new(mut kernel: Kernel, engine: Engine) -> Ready {
        if engine == Engine::CpuJit {
            fold(&mut kernel);
            rename(&mut kernel);
        }
        Ready { kernel, engine, tiers: [None, None, None] }
    }

    /// Sees to it that there is a way to machine code for such blocks, if this engine makes any; see [`Tier::of`].
    pub fn prepare(&mut self, rows: Rows, at_once: bool) {
        if self.engine == Engine::CpuJit && self.tiers[rows as usize].is_none() {
            self.tiers[rows as usize] = Some(Tier::of(&self.kernel, rows, at_once));
        }
    }

    pub fn tier(&self, rows: Rows) -> Option<&Tier> {
        self.tiers[rows as usize].as_ref()
    }
}

/// How a kernel comes to its machine code.
#[derive(Debug)]
pub struct Tier {
    rows: Rows,
    unit: OnceLock<Option<Arc<Unit>>>,
    executed: AtomicU64,
}

impl Tier {
    /// Takes what the process has of this kernel; `at_once` translates it now if there is nothing.
    pub fn of(kernel: &Kernel, rows: Rows, at_once: bool) -> Tier {
        let tier = Tier { rows, unit: OnceLock::new(), executed: AtomicU64::new(0) };
        if let Some(known) = cache::find(kernel, rows) {
            let _ = tier.unit.set(known);
        } else if at_once {
            tier.translate(kernel);
        }
        tier
    }

    /// The machine code, if it is there.
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.get()?.as_deref()
    }

    /// Counts instructions that were interpreted, and translates the kernel when they are enough.
    pub fn warm(&self, kernel: &Kernel, executed: u64) {
        let before = self.executed.fetch_add(executed, Relaxed);
        if before < WARM && before + executed >= WARM {
            self.translate(kernel);
        }
    }

    fn translate(&self, kernel: &Kernel) {
        let unit = Unit::translate(kernel, self.rows).map(Arc::new);
        cache::keep(kernel, self.rows, unit.clone());
        let _ = self.unit.set(unit);
    }
}
