//! A launch: the blocks of a grid, dealt to the processor's cores.
//!
//! Owns: the dealing (a free core takes the next few blocks), the instruction budget and the stop.
//! Never: lets chance into the result. Blocks meet in atomic operations only, and a launch ends as if they ran one after
//! the other, in the order of the grid: with the fault of the first block that has one, unless more than the budget was
//! executed by then, that block's instructions up to and with the one that faults included; then the budget is what it ends
//! with, as where no block faults and all of them together executed more.
//! Tests: `gpu/tests/cpu_faults.rs`.

use super::{
    block::{Block, Breakage, Extents, Halt, NoRoom},
    code::Kernel,
    crew::Crew,
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
use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Instructions between two looks at the clock, and at the budget, on one core.
const CLOCK_EVERY: u64 = 4096;

/// Bytes of a block's state that are cleared in the time of one instruction: clearing counts as work before the next
/// look at the clock, or else large blocks that do nothing would run long past it.
const CLEARED_PER_INSTRUCTION: u64 = 128;
/// Registers, shared and local memory of all blocks that run at once: half of what a worker has beside the program's
/// own memory. Fewer cores work on a kernel of which more would not fit.
const STATE_BYTES_MAX: u64 = 256 << 20;

/// Times that each core is dealt blocks, about: often enough for all to be done at the same time.
const DEALS: u64 = 16;
/// Deals to each core that what is left makes at least, until they are of one block.
const LAST_DEALS: u64 = 4;
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
    pub crew: &'a Crew,
    /// Instructions executed by the program before, and how many it may.
    pub spent: u64,
    pub fuel: Option<u64>,
    /// Those of the program, so far, that were interpreted.
    pub interpreted: &'a AtomicU64,
    pub printed: &'a Mutex<Printed>,
}

/// How far the cores have come.
struct Tally {
    /// The block that is dealt next.
    next: u64,
    /// Instructions of the program before, and of all deals that have ended.
    spent: u64,
    /// Those that have not, one a core.
    running: Vec<Running>,
    failed: Option<Failed>,
}

/// A deal that has not ended.
struct Running {
    deal: u64,
    /// Instructions of the program before, and of the deals that come before in the grid, as far as these have ended.
    before: u64,
}

/// The first block that failed. What happens outside counts as before all blocks, and has spent nothing.
struct Failed {
    block: u64,
    deal: u64,
    /// Instructions up to where it did, in the order of the grid, as far as the deals before have ended.
    spent: u64,
    fault: Fault,
}

/// What the cores share.
struct Shared {
    tally: Mutex<Tally>,
    /// The first block that failed: those after it need not run.
    failed: AtomicU64,
}

impl Shared {
    fn new(spent: u64) -> Self {
        let tally = Tally { next: 0, spent, running: Vec::new(), failed: None };
        Shared { tally: Mutex::new(tally), failed: AtomicU64::new(u64::MAX) }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deals a core the next blocks, so that all before them have been dealt: `many` of those from the given one on.
    fn deal(&self, many: impl FnOnce(u64) -> u64) -> Range<u64> {
        let mut tally = self.tally();
        let (deal, before) = (tally.next, tally.spent);
        tally.next += many(deal);
        tally.running.push(Running { deal, before });
        deal..tally.next
    }

    /// All blocks of a deal have ended.
    fn end(&self, deal: u64, executed: u64) {
        let mut tally = self.tally();
        tally.spent += executed;
        tally.running.retain(|other| other.deal != deal);
        let later = tally.running.iter_mut().filter(|other| other.deal > deal);
        later.for_each(|other| other.before += executed);
        if let Some(failed) = tally.failed.as_mut().filter(|failed| failed.deal > deal) {
            failed.spent += executed;
        }
    }

    fn fail(&self, failed: Failed) {
        let mut tally = self.tally();
        let before = tally.before(failed.deal);
        if tally.failed.as_ref().is_none_or(|earlier| failed.block < earlier.block) {
            self.failed.store(failed.block, Relaxed);
            tally.failed = Some(Failed { spent: before + failed.spent, ..failed });
        }
    }

    fn fail_outside(&self, fault: Fault) {
        self.fail(Failed { block: 0, deal: 0, spent: 0, fault });
    }
}

impl Tally {
    /// Instructions before a deal, in the order of the grid: at least so many.
    fn before(&self, deal: u64) -> u64 {
        self.running.iter().find(|other| other.deal == deal).map_or(0, |other| other.before)
    }
}

impl Launch<'_, '_> {
    /// Runs all blocks, and gives what the program has executed with them. `beat` is called now and then, on the calling
    /// thread.
    pub fn run(&self, beat: &mut dyn FnMut()) -> Result<u64, Fault> {
        let shared = Shared::new(self.spent);
        let others = self.at_once()? - 1;
        self.crew.run(others as usize, || self.work(&shared, &mut || {}), || self.work(&shared, beat));
        let tally = shared.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        match tally.failed {
            Some(failed) => self.budget(failed.spent).and(Err(failed.fault)),
            None => self.budget(tally.spent).map(|()| tally.spent),
        }
    }

    /// Blocks that run at the same time: as many as there are cores for, blocks to run, and room.
    fn at_once(&self) -> Result<u64, Fault> {
        let needed = Block::bytes(self.kernel, &self.extents);
        if needed > STATE_BYTES_MAX {
            return Err(Fault::Memory { needed: Bytes(needed), limit: Bytes(STATE_BYTES_MAX) });
        }
        let room = STATE_BYTES_MAX / needed.max(1);
        Ok(room.min(self.crew.cores() as u64).min(self.extents.blocks()).max(1))
    }

    /// Blocks that a core takes at a time, from block `next` on: fewer and fewer in the end, so that no core has many left when
    /// the others have none.
    fn dealt(&self, next: u64) -> u64 {
        let (blocks, cores) = (self.extents.blocks(), self.crew.cores() as u64);
        let left = blocks.saturating_sub(next) / (LAST_DEALS * cores);
        (blocks / (DEALS * cores)).min(left).clamp(1, DEALT_MAX)
    }

    fn budget(&self, spent: u64) -> Result<(), Fault> {
        match self.fuel {
            Some(limit) if spent > limit => Err(Fault::Fuel { limit }),
            _ => Ok(()),
        }
    }

    fn work(&self, shared: &Shared, beat: &mut dyn FnMut()) {
        let mut block = match Block::new(self.kernel, self.global, self.tier, self.extents, self.params) {
            Ok(block) => block,
            Err(NoRoom { bytes }) => {
                let message = format!("a block needs {} of shared and local memory", Bytes(bytes));
                return shared.fail_outside(Fault::Room { message });
            }
        };
        let clearing = Block::bytes(self.kernel, &self.extents) / CLEARED_PER_INSTRUCTION;
        let mut since_clock = CLOCK_EVERY;
        loop {
            let blocks = shared.deal(|next| self.dealt(next));
            let deal = blocks.start;
            // Counted here, and told when all have ended, since cores would wait for each other.
            let mut executed = 0;
            for number in blocks {
                if number >= self.extents.blocks() || number > shared.failed.load(Relaxed) {
                    self.interpreted.fetch_add(block.take_interpreted(), Relaxed);
                    return shared.end(deal, executed);
                }
                since_clock += clearing;
                let on = |more: u64| {
                    executed += more;
                    since_clock += more + 1;
                    if since_clock >= CLOCK_EVERY {
                        since_clock = 0;
                        beat();
                        if let Err(fault) = self.stop.check() {
                            shared.fail_outside(fault);
                            return false;
                        }
                        let spent = || shared.tally().before(deal) + executed;
                        if self.fuel.is_some()
                            && let Err(fault) = self.budget(spent())
                        {
                            shared.fail(Failed { block: number, deal, spent: executed, fault });
                            return false;
                        }
                    }
                    number <= shared.failed.load(Relaxed)
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
                        let fault = fault(breakage.broken, self.place(number, &breakage), block.assertion());
                        return shared.fail(Failed { block: number, deal, spent: executed, fault });
                    }
                }
            }
            shared.end(deal, executed);
        }
    }

    fn place(&self, block: u64, breakage: &Breakage) -> Place {
        Place {
            kernel: self.kernel.name.clone(),
            line: breakage.line,
            block: self.extents.block_at(block),
            thread: self.extents.thread_at(breakage.thread),
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
