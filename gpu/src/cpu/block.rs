//! One block of threads: its warps, its barriers, its memory.
//!
//! Owns: turns (each warp runs some thousand instructions, then the next, so that warps may wait for each other in
//! loops; in loops that stride through memory they keep abreast, `decode/strides.rs`) and barriers. A barrier at which some threads wait for ever, because the others wait elsewhere, is found when
//! no warp can run. Warps that stand at the same machine code run it together (`block/together.rs`).
//! Never: knows other blocks.
//! Tests: `gpu/tests/cpu_integer.rs`, `gpu/tests/hostile`.

mod together;

use super::{
    code::{Barrier, Fill, Kernel, ReduceOp},
    jit::{Context, Room, Seat, Tier, Unit},
    lanes::LANES,
    memory::{Global, Private},
    warp::{Broken, Machine, State, Surroundings, Warp},
};
use crate::{pages::AlignedBytes, ptx::words::Special};

/// Instructions of a warp's turn: long enough to forget the cost of switching, short enough to see a stop at once.
const TURN: u32 = 4096;
/// The same at the head of a loop that strides through memory (`decode/strides.rs`), where the block has other warps: some
/// eighteen rounds of a short loop. What they fetch beside what they need mostly stays cached for the next warp, even where
/// all of it shares two sets of eight places; a sum takes as long with a third less, and a twentieth longer with half more.
const STRIDING_TURN: u32 = 128;
/// Barriers of a block.
const BARRIERS: usize = 16;

/// The extents of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
}

impl Extents {
    pub fn threads(&self) -> usize {
        self.block.iter().map(|n| *n as usize).product()
    }

    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|n| u64::from(*n)).product()
    }

    /// Position of block number `n`: x runs fastest.
    pub fn block_at(&self, n: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [(n % x) as u32, (n / x % y) as u32, (n / x / y) as u32]
    }

    pub fn thread_at(&self, n: usize) -> [u32; 3] {
        let [x, y, _] = self.block.map(|n| n as usize);
        [(n % x) as u32, (n / x % y) as u32, (n / x / y) as u32]
    }
}

/// Where a block broke.
#[derive(Debug, Clone, Copy)]
pub struct Breakage {
    pub broken: Broken,
    pub line: u32,
    /// Index in the block.
    pub thread: usize,
}

/// Why a block did not end.
#[derive(Debug, Clone, Copy)]
pub enum Halt {
    Broke(Breakage),
    /// Somebody said stop.
    Stopped,
}

fn shared_bytes(kernel: &Kernel, extents: &Extents) -> u64 {
    kernel.shared_bytes + u64::from(extents.dynamic_shared)
}

/// Local memory of a thread, in whole units of the largest access.
fn local_stride(kernel: &Kernel) -> u64 {
    kernel.local_bytes.next_multiple_of(16)
}

/// A place to run blocks in, one after the other.
pub struct Block<'a, 'g> {
    kernel: &'a Kernel,
    global: &'a Global<'g>,
    extents: Extents,
    private: Private,
    warps: Vec<Warp>,
    executed: u64,
    interpreted: u64,
    /// What a turn has left when it may end at the head of a loop that strides.
    makes_way: u32,
    /// How much of that `on` was told of.
    reported: u64,
    tier: Option<&'a Tier>,
    room: Room,
    /// Threads that arrived at each barrier without waiting.
    arrived: [u32; BARRIERS],
    /// Warps that have not left, those of them that wait, and whether any barrier was for some of them only.
    running: usize,
    waiting: usize,
    counted: bool,
    /// Where in the grid the block is, and the slots of frames that tell.
    at: [u32; 3],
    numbers: Vec<(u32, u8)>,
    /// The warps that machine code takes at once, and whether these are all of them with all their lanes.
    seats: Vec<Seat>,
    all_seated: bool,
}

/// The machine has not the memory for one block.
#[derive(Debug, Clone, Copy)]
pub struct NoRoom {
    pub bytes: u64,
}

impl<'a, 'g> Block<'a, 'g> {
    /// Memory that a block of this launch takes: registers, shared and local memory.
    pub fn bytes(kernel: &Kernel, extents: &Extents) -> u64 {
        // Lanes beyond the last thread of a partly filled warp are never active, but have their place.
        let warps = extents.threads().div_ceil(LANES) as u64;
        let lane = u64::from(kernel.slots - kernel.renamed) * size_of::<u32>() as u64 + local_stride(kernel);
        let predicates = u64::from(kernel.preds) * size_of::<u32>() as u64;
        warps * (lane * LANES as u64 + predicates) + shared_bytes(kernel, extents)
    }

    pub fn new(
        kernel: &'a Kernel,
        global: &'a Global<'g>,
        tier: Option<&'a Tier>,
        extents: Extents,
        params: &[u8],
    ) -> Result<Self, NoRoom> {
        let threads = extents.threads();
        let shared = shared_bytes(kernel, &extents);
        let stride = local_stride(kernel);
        let lanes = threads.div_ceil(LANES) * LANES;
        let local = stride * lanes as u64;
        let zeros = |bytes: u64| {
            usize::try_from(bytes).ok().and_then(AlignedBytes::zeros).ok_or(NoRoom { bytes: shared + local })
        };
        // Machine code takes it that all parameters are there.
        let mut block = zeros(u64::from(kernel.param_bytes).max(params.len() as u64))?;
        block[..params.len()].copy_from_slice(params);
        let private = Private {
            shared: zeros(shared)?,
            local: zeros(local)?,
            local_stride: stride as usize,
            params: block,
            printed: Vec::new(),
            print_work: 0,
            assertion: String::new(),
        };
        let mut warps: Vec<Warp> = (0..lanes / LANES).map(|w| Warp::new(kernel, w * LANES)).collect();
        for warp in &mut warps {
            fill(kernel, warp, &extents);
        }
        Ok(Block {
            kernel,
            global,
            extents,
            private,
            makes_way: if warps.len() > 1 { TURN - STRIDING_TURN } else { 0 },
            warps,
            executed: 0,
            interpreted: 0,
            reported: 0,
            tier,
            room: Room::default(),
            arrived: [0; BARRIERS],
            running: 0,
            waiting: 0,
            counted: false,
            at: [0; 3],
            numbers: kernel.fills.iter().filter_map(block_number).collect(),
            seats: Vec::new(),
            all_seated: false,
        })
    }

    /// Runs block number `number`. `on` is asked after each turn, with the instructions of that turn, whether to go on.
    pub fn run(&mut self, number: u64, mut on: impl FnMut(u64) -> bool) -> Result<(), Halt> {
        let mut unit = self.unit();
        self.start(number, unit);
        let mut context = self.context();
        let mut n = match unit {
            None => 0,
            Some(unit) => match self.in_step(unit, &mut context, &mut on)? {
                Some(next) => next,
                None => return Ok(()),
            },
        };
        let mut ran = n > 0;
        loop {
            while n < self.warps.len() {
                if self.warps[n].state != State::Ready {
                    n += 1;
                    continue;
                }
                ran = true;
                let before = self.executed;
                let turned = self.turns(n, unit, &mut context);
                n = self.after(turned, &mut on)?;
                if let Some(tier) = self.tier.filter(|_| unit.is_none()) {
                    tier.warm(self.kernel, self.executed - before);
                    unit = self.unit();
                    context = self.context();
                }
            }
            if !std::mem::take(&mut ran) {
                break;
            }
            n = 0;
        }
        let stuck = self.warps.iter().position(|w| matches!(w.state, State::Waiting(_)));
        match stuck {
            None => Ok(()),
            Some(n) => {
                let lane = self.warps[n].live.trailing_zeros() as usize;
                // The barrier is the instruction before the one to go on with.
                self.warps[n].pc -= 1;
                Err(Halt::Broke(self.breakage(n, Broken::Divergent { lane })))
            }
        }
    }

    /// A turn for warp `n`, and, as far as machine code takes several at once, for those after it. Gives the first one
    /// that had none, or the one that broke.
    fn turns(
        &mut self,
        n: usize,
        unit: Option<&Unit>,
        context: &mut Context,
    ) -> Result<usize, (usize, Broken)> {
        let (next, left) = match unit.and_then(|unit| unit.at(self.warps[n].pc)) {
            Some(native) => self.together(n, native, context),
            None => (n + 1, TURN),
        };
        self.rest(next, left, unit, context)
    }

    /// What is left of the turn of the warp before `next`.
    fn rest(
        &mut self,
        next: usize,
        left: u32,
        unit: Option<&Unit>,
        context: &mut Context,
    ) -> Result<usize, (usize, Broken)> {
        if left > 0 {
            let n = next - 1;
            self.place(n);
            let mut s = Surroundings {
                kernel: self.kernel,
                global: self.global,
                private: &mut self.private,
                executed: &mut self.executed,
                interpreted: &mut self.interpreted,
                makes_way: self.makes_way,
                native: unit.map(|unit| Machine { unit, context }),
            };
            self.warps[n].run(&mut s, left).map_err(|broken| (n, broken))?;
            self.stopped(n);
        }
        Ok(next)
    }

    /// After turns: tells of what they executed, and sees whether to go on.
    fn after<T>(
        &mut self,
        turned: Result<T, (usize, Broken)>,
        on: &mut impl FnMut(u64) -> bool,
    ) -> Result<T, Halt> {
        let executed = self.executed - std::mem::replace(&mut self.reported, self.executed);
        let more = on(executed);
        match turned {
            Err((n, broken)) => Err(Halt::Broke(self.breakage(n, broken))),
            Ok(_) if !more => Err(Halt::Stopped),
            Ok(next) => Ok(next),
        }
    }

    /// A warp's turn is over.
    fn stopped(&mut self, n: usize) {
        match self.warps[n].state {
            State::Ready => return,
            State::Waiting(wait) => {
                self.waiting += 1;
                self.counted |= wait.threads > 0 || wait.what == Barrier::Arrive;
            }
            State::Done => self.running -= 1,
        }
        // Nearly all barriers are for all warps: as long as one of these is elsewhere there is nothing to look for.
        if self.counted || (self.waiting > 0 && self.waiting == self.running) {
            self.release(n);
        }
    }

    fn context(&mut self) -> Context {
        Context::of(self.global, &mut self.private, &mut self.room, self.at)
    }

    /// Tells a warp's frame which block it is in. Machine code does not look there.
    fn place(&mut self, n: usize) {
        let warp = &mut self.warps[n];
        if std::mem::replace(&mut warp.placed, true) {
            return;
        }
        for (slot, part) in &self.numbers {
            warp.frame.fill(*slot, self.at[usize::from(*part)].into(), false);
        }
    }

    /// What the last block printed; leaves nothing.
    pub fn take_printed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.private.printed)
    }

    /// Instructions of the blocks so far that were not machine code; begins anew.
    pub fn take_interpreted(&mut self) -> u64 {
        std::mem::take(&mut self.interpreted)
    }

    /// Whether the last block printed, which takes time that its instructions do not show.
    pub fn has_printed(&self) -> bool {
        self.private.print_work > 0
    }

    /// The words of the assertion that broke the last block.
    pub fn assertion(&self) -> &str {
        &self.private.assertion
    }

    /// The machine code, if there is some by now, with room for its results.
    fn unit(&mut self) -> Option<&'a Unit> {
        let unit = self.tier?.unit()?;
        self.room.fit(unit.shadow, unit.sites);
        Some(unit)
    }

    fn start(&mut self, number: u64, unit: Option<&Unit>) {
        for memory in [&mut self.private.shared, &mut self.private.local] {
            if !memory.is_empty() {
                memory.fill(0);
            }
        }
        (self.executed, self.reported) = (0, 0);
        self.private.print_work = 0;
        self.at = self.extents.block_at(number);
        match unit {
            // Machine code takes all warps from the start, so they are set up once they come apart.
            Some(unit) if unit.is_early() => {
                let frames = self.warps.iter_mut().map(|warp| &mut warp.frame);
                frames.for_each(|frame| frame.clear_some(&unit.early_slots, unit.early_preds));
            }
            Some(_) => {}
            None => {
                let registers = self.kernel.registers as usize;
                self.warps.iter_mut().for_each(|warp| warp.frame.clear(registers));
                self.set_up(0);
            }
        }
    }

    /// Puts all warps with all their lanes to an instruction.
    fn set_up(&mut self, pc: u32) {
        self.arrived = [0; BARRIERS];
        (self.running, self.waiting, self.counted) = (self.warps.len(), 0, false);
        let threads = self.extents.threads();
        self.warps.iter_mut().for_each(|warp| warp.start(pc, lanes(threads, warp.first_thread)));
    }

    fn breakage(&self, warp: usize, broken: Broken) -> Breakage {
        let w = &self.warps[warp];
        let lane = match broken {
            Broken::Access(bad) => bad.lane,
            Broken::Trap { lane } | Broken::Assert { lane } | Broken::Divergent { lane } => lane,
        };
        let line = self.kernel.codes.get(w.pc as usize).map_or(0, |i| i.line);
        Breakage { broken, line, thread: w.first_thread + lane }
    }

    /// Lets go the warps at every barrier that all its threads have reached, after warp `changed` stopped running.
    fn release(&mut self, changed: usize) {
        // A warp that arrived changes one barrier; one that left may have been the last that any was waiting for.
        let barriers = match self.warps[changed].state {
            State::Waiting(wait) if wait.what == Barrier::Arrive => {
                let arrived = &mut self.arrived[wait.barrier as usize];
                *arrived = arrived.saturating_add(LANES as u32);
                self.warps[changed].state = State::Ready;
                self.waiting -= 1;
                wait.barrier..wait.barrier + 1
            }
            State::Waiting(wait) => wait.barrier..wait.barrier + 1,
            State::Ready | State::Done
                if self.warps.iter().all(|w| !matches!(w.state, State::Waiting(_))) =>
            {
                return;
            }
            State::Ready | State::Done => 0..BARRIERS as u32,
        };
        for barrier in barriers {
            let here = |w: &Warp| match w.state {
                State::Waiting(wait) if wait.barrier == barrier => Some(wait),
                _ => None,
            };
            let Some(first) = self.warps.iter().find_map(here) else { continue };
            let waiting = self.warps.iter().filter(|w| here(w).is_some()).count();
            let full = if first.threads == 0 {
                waiting == self.warps.iter().filter(|w| w.state != State::Done).count()
            } else {
                // Threads are counted in whole warps.
                let expected = u64::from(first.threads).next_multiple_of(LANES as u64);
                (waiting * LANES) as u64 + u64::from(self.arrived[barrier as usize]) >= expected
            };
            if full {
                self.arrived[barrier as usize] = 0;
                let waits = || self.warps.iter().filter_map(here);
                let held = waits().map(|w| w.votes.count_ones()).sum();
                let threads = waits().map(|w| w.mask.count_ones()).sum();
                self.waiting -= waiting;
                for warp in self.warps.iter_mut().filter(|w| here(w).is_some()) {
                    finish(warp, held, threads);
                    warp.state = State::Ready;
                }
            }
        }
    }
}

/// The lanes of a warp that are threads of the block.
fn lanes(threads: usize, first_thread: usize) -> u32 {
    u32::MAX >> (LANES - (threads - first_thread).min(LANES))
}

/// The slot that tells a part of the block's place in the grid, and which.
fn block_number((slot, what): &(u32, Fill)) -> Option<(u32, u8)> {
    match what {
        Fill::Special(Special::Ctaid, part) => Some((*slot, *part)),
        Fill::Special(..) | Fill::Word(_) | Fill::Wide(_) => None,
    }
}

/// Gives a reducing barrier's result: how many predicates held, of how many threads.
fn finish(warp: &mut Warp, held: u32, threads: u32) {
    let State::Waiting(wait) = warp.state else { return };
    let Barrier::Reduce(op) = wait.what else { return };
    warp.frame.mask = wait.mask;
    match op {
        ReduceOp::Popc => super::lanes::store::<u32>(&mut warp.frame, wait.into, &[held; LANES]),
        ReduceOp::And => warp.frame.set_pred(wait.into, if held == threads { u32::MAX } else { 0 }),
        ReduceOp::Or => warp.frame.set_pred(wait.into, if held > 0 { u32::MAX } else { 0 }),
    }
}

/// Constants and those special registers that stay the same from block to block.
fn fill(kernel: &Kernel, warp: &mut Warp, extents: &Extents) {
    for (slot, what) in &kernel.fills {
        let (special, part) = match what {
            Fill::Word(value) => {
                warp.frame.fill(*slot, (*value).into(), false);
                continue;
            }
            Fill::Wide(value) => {
                warp.frame.fill(*slot, *value, true);
                continue;
            }
            Fill::Special(special, part) => (*special, usize::from(*part)),
        };
        let warps = extents.threads().div_ceil(LANES) as u32;
        let first = warp.first_thread;
        let each = |f: &dyn Fn(u32) -> u32| -> [u32; LANES] { std::array::from_fn(|n| f(n as u32)) };
        let out = match special {
            Special::Tid => each(&|n| extents.thread_at(first + n as usize)[part]),
            Special::Ntid => [extents.block[part]; LANES],
            Special::Nctaid => [extents.grid[part]; LANES],
            Special::Laneid => each(&|n| n),
            Special::Warpid => [(first / LANES) as u32; LANES],
            Special::Nwarpid => [warps; LANES],
            Special::LanemaskEq => each(&|n| 1 << n),
            Special::LanemaskLt => each(&|n| (1 << n) - 1),
            Special::LanemaskLe => each(&|n| u32::MAX >> (31 - n)),
            Special::LanemaskGe => each(&|n| u32::MAX << n),
            Special::LanemaskGt => each(&|n| !(u32::MAX >> (31 - n))),
            Special::Nsmid => [1; LANES],
            Special::DynamicSmemSize => [extents.dynamic_shared; LANES],
            Special::TotalSmemSize => [kernel.shared_bytes as u32 + extents.dynamic_shared; LANES],
            Special::WarpSize => [LANES as u32; LANES],
            // Clocks are read by instructions, and others are constants (`decode`); the rest counts from zero on the one
            // device there is.
            Special::Ctaid
            | Special::Clock
            | Special::Clock64
            | Special::ClockHi
            | Special::Smid
            | Special::Gridid
            | Special::Globaltimer
            | Special::GlobaltimerLo
            | Special::GlobaltimerHi
            | Special::GraphExec
            | Special::Envreg
            | Special::AggrSmemSize
            | Special::ReservedSmemBegin
            | Special::ReservedSmemEnd
            | Special::ReservedSmemCap
            | Special::ReservedSmem0
            | Special::ReservedSmem1
            | Special::Clusterid
            | Special::Nclusterid
            | Special::ClusterCtaid
            | Special::ClusterNctaid
            | Special::ClusterCtarank
            | Special::ClusterNctarank
            | Special::ExplicitCluster => [0; LANES],
        };
        *warp.frame.words_mut(*slot) = out;
    }
}
