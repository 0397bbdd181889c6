//! A launch: the blocks of a grid, dealt to the processor's cores.
//!
//! Owns: the dealing (an atomic counter, so a free core takes the next few blocks), the instruction budget and the stop.
//! Never: lets chance into the result. Blocks meet in atomic operations only; the fault that is reported is that of the
//! first block, in the order of the grid, that has one; the budget is spent or not whatever the cores do.
//! Tests: `gpu/tests/cpu_faults.rs`.

use super::{
    block::{Block, Extents, Halt, NoRoom},
    code::Kernel,
    jit::Tier,
    memory::Global,
    print::Printed,
    warp::Broken,
};
use crate::backend::Stop;
use ion_protocol::{
    Bytes,
    fault::{Fault, Place},
};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Instructions between two looks at the clock on one core.
const CLOCK_EVERY: u64 = 4096;

/// Bytes of a block's state that are cleared in the time of one instruction: clearing counts as work before the next
/// look at the clock, or else large blocks that do nothing would run long past it.
const CLEARED_PER_INSTRUCTION: u64 = 128;
/// Registers, shared and local memory of all blocks that run at once: half of what a worker has beside the program's
/// own memory. Fewer cores work on a kernel of which more would not fit.
const STATE_BYTES_MAX: u64 = 256 << 20;

/// Times that each core is dealt blocks, about: often enough for all to be done at the same time.
const DEALS: u64 = 16;
/// Blocks that follow each other and are dealt at once, at most: they often use neighbouring memory, which cores would
/// take from each other, and which comes faster in long runs: a vector addition of 16384 blocks takes a tenth less time
/// than with an eighth of this.
const DEALT_MAX: u64 = 512;

/// One launch, ready to go.
pub struct Launch<'a, 'g> {
    pub kernel: &'a Kernel,
    /// How the kernel comes to its machine code; without it, all is interpreted.
    pub tier: Option<&'a Tier>,
    pub global: &'a Global<'g>,
    pub extents: Extents,
    pub params: &'a [u8],
    pub stop: Stop<'a>,
    pub cores: usize,
    /// Instructions executed by the program so far, and how many it may.
    pub spent: &'a AtomicU64,
    pub fuel: Option<u64>,
    /// Those of them that were interpreted.
    pub interpreted: &'a AtomicU64,
    pub printed: &'a Mutex<Printed>,
}

/// The fault of the first block that has one; faults from outside count as before all blocks.
struct Failure {
    first: AtomicU64,
    fault: Mutex<Option<(u64, Fault)>>,
}

impl Failure {
    fn note(&self, block: u64, fault: Fault) {
        let mut held = match self.fault.lock() {
            Ok(held) => held,
            Err(poisoned) => poisoned.into_inner(),
        };
        if held.as_ref().is_none_or(|(earlier, _)| block < *earlier) {
            self.first.fetch_min(block, Relaxed);
            *held = Some((block, fault));
        }
    }
}

impl Launch<'_, '_> {
    /// Runs all blocks. `beat` is called now and then, on the calling thread.
    pub fn run(&self, beat: &mut dyn FnMut()) -> Result<(), Fault> {
        let next = AtomicU64::new(0);
        let failure = Failure { first: AtomicU64::new(u64::MAX), fault: Mutex::new(None) };
        let helpers = self.at_once()? - 1;
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                // A core that cannot be had is done without.
                let work = || self.work(&next, &failure, &mut || {});
                let _ = std::thread::Builder::new().name("ion-cpu".into()).spawn_scoped(scope, work);
            }
            self.work(&next, &failure, beat);
        });
        let held = failure.fault.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        match held {
            Some((_, fault)) => Err(fault),
            None => self.budget(),
        }
    }

    /// Blocks that run at the same time: as many as there are cores for, blocks to run, and room.
    fn at_once(&self) -> Result<u64, Fault> {
        let needed = Block::bytes(self.kernel, &self.extents);
        if needed > STATE_BYTES_MAX {
            return Err(Fault::Memory { needed: Bytes(needed), limit: Bytes(STATE_BYTES_MAX) });
        }
        let room = STATE_BYTES_MAX / needed.max(1);
        Ok(room.min(self.cores as u64).min(self.extents.blocks()).max(1))
    }

    /// Blocks that a core takes at a time.
    fn dealt(&self) -> u64 {
        (self.extents.blocks() / (DEALS * self.cores as u64)).clamp(1, DEALT_MAX)
    }

    fn budget(&self) -> Result<(), Fault> {
        match self.fuel {
            Some(limit) if self.spent.load(Relaxed) > limit => Err(Fault::Fuel { limit }),
            _ => Ok(()),
        }
    }

    fn work(&self, next: &AtomicU64, failure: &Failure, beat: &mut dyn FnMut()) {
        let mut block = match Block::new(self.kernel, self.global, self.tier, self.extents, self.params) {
            Ok(block) => block,
            Err(NoRoom { bytes }) => {
                let message = format!("a block needs {} of shared and local memory", Bytes(bytes));
                return failure.note(0, Fault::Room { message });
            }
        };
        let clearing = Block::bytes(self.kernel, &self.extents) / CLEARED_PER_INSTRUCTION;
        let mut since_clock = CLOCK_EVERY;
        // Counted here, and added to what all cores have spent now and then, since they would wait for each other. What
        // a block that broke has spent is not missed: nothing runs after it.
        let mut unreported = 0;
        let (mut number, mut end) = (0, 0);
        loop {
            if number == end {
                number = next.fetch_add(self.dealt(), Relaxed);
                end = number + self.dealt();
            }
            if number >= self.extents.blocks() || number > failure.first.load(Relaxed) {
                self.spent.fetch_add(unreported, Relaxed);
                self.interpreted.fetch_add(block.take_interpreted(), Relaxed);
                return;
            }
            since_clock += clearing;
            let on = |executed: u64| {
                unreported += executed;
                since_clock += executed + 1;
                if since_clock >= CLOCK_EVERY {
                    since_clock = 0;
                    self.spent.fetch_add(std::mem::take(&mut unreported), Relaxed);
                    beat();
                    if let Err(fault) = self.stop.check().and_then(|()| self.budget()) {
                        failure.note(0, fault);
                        return false;
                    }
                }
                number <= failure.first.load(Relaxed)
            };
            let ended = block.run(number, on);
            if block.has_printed() {
                since_clock = CLOCK_EVERY;
            }
            let text = block.take_printed();
            if !text.is_empty() {
                self.printed.lock().unwrap_or_else(PoisonError::into_inner).add(number, text);
            }
            match ended {
                Ok(()) => {}
                Err(Halt::Stopped) => return,
                Err(Halt::Broke(breakage)) => {
                    let place = Place {
                        kernel: self.kernel.name.clone(),
                        line: breakage.line,
                        block: self.extents.block_at(number),
                        thread: self.extents.thread_at(breakage.thread),
                    };
                    failure.note(number, fault(breakage.broken, place, block.assertion()));
                    return;
                }
            }
            number += 1;
        }
    }
}

/// What a kernel did wrong, in the protocol's words.
pub fn fault(broken: Broken, place: Place, assertion: &str) -> Fault {
    match broken {
        Broken::Access(bad) => {
            let space = bad.area.text().to_string();
            if bad.misaligned {
                Fault::Misaligned { space, address: bad.address, place }
            } else {
                Fault::OutOfBounds { space, address: bad.address, place }
            }
        }
        Broken::Trap { .. } => Fault::Trap { place },
        Broken::Assert { .. } => Fault::Assert { message: assertion.to_string(), place }.bounded(),
        Broken::Divergent { .. } => Fault::DivergentBarrier { place },
    }
}
