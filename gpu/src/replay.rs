//! Block replay: some blocks of a finished program run again from its inputs, and their bytes held against what was
//! delivered.
//!
//! Owns: [`replay`]. A block of a kernel whose profile is exact is a function of the memory it reads, so one that reads
//! only what no other block of its launch writes must write the delivered bytes. The interpreter runs the chosen
//! blocks of the **last** launch in memory of which only what they touch exists; launches before it are run whole if
//! that costs little ([`EARLIER_INSTRUCTIONS_MAX`]).
//!
//! What the answers mean:
//! * `Equal`: every byte that a chosen block wrote to an output is the delivered one. A provider that falsified a share
//!   of the blocks, and did not know the choice when it delivered, passes s of them with a chance of (1 - share)^s.
//! * `Differs`: a byte is wrong. Not said where the chosen blocks share a byte, that one of them writes, among themselves
//!   or with another; neighbours first, others are run for that as far as [`WITNESS_INSTRUCTIONS_MAX`] reaches. A race
//!   with blocks beyond is not seen; CUDA promises nothing to a program that has one.
//! * `NotCheckable`: the kernel is not exact; or a chosen block reads what another may have written (a byte of scratch
//!   that the launch can write, or an output's byte that was delivered changed though the block left it alone), shares
//!   bytes with another, or faults here; or what goes before costs too much.
//!
//! What they do not mean: bytes that no chosen block writes are not looked at (but all that launches before the last
//! touched and the last cannot change are). A provider can bring about `NotCheckable` for kernels that read outputs
//! beyond what they write, by falsifying these; never `Equal` for a chosen block that is false.
//!
//! Never: runs a program for its result, or trusts one: instructions, time and memory are bounded, and no program or
//! claim makes it panic. Limits: [`RunLimits`] for time and memory, [`EARLIER_INSTRUCTIONS_MAX`],
//! [`BLOCKS_INSTRUCTIONS_MAX`], [`WITNESS_INSTRUCTIONS_MAX`]. Tests: `gpu/tests/replay.rs`.

mod stage;

use crate::{
    backend::{RunLimits, Stop},
    cpu::{
        block::Extents,
        reach::Pieces,
        sparse::{Sparse, Touched},
    },
    program::LoadedProgram,
    ptx::{Profile, profile},
};
use ion_protocol::{
    Bytes,
    check::{Difference, Finding, bounded_why},
    fault::Fault,
    job::{Launch, Step},
};
use stage::{Ended, Stage};
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

/// Warp instructions that launches before the last may take: about half a second of one core.
pub const EARLIER_INSTRUCTIONS_MAX: u64 = 20_000_000;
/// Warp instructions that the chosen blocks and their neighbours may take together.
pub const BLOCKS_INSTRUCTIONS_MAX: u64 = 1_000_000_000;
/// Warp instructions of other blocks that are run before a provider is accused.
pub const WITNESS_INSTRUCTIONS_MAX: u64 = 50_000_000;

/// Which content of a buffer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before the first launch; asked only of buffers that begin as a blob.
    Before,
    /// As delivered; asked only of outputs.
    Claimed,
}

/// Reads part of a buffer: which side, which buffer, from where on.
pub type Read<'a> = &'a mut (dyn FnMut(Side, u16, u64, &mut [u8]) -> Result<(), Fault> + Send);

fn lock<'m, 'a>(read: &'m Mutex<Read<'a>>) -> MutexGuard<'m, Read<'a>> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_checkable(why: impl AsRef<str>) -> Finding {
    Finding::NotCheckable { why: bounded_why(why.as_ref()) }
}

/// Runs the blocks of these numbers of the last launch again. An `Err` is trouble of this machine, or that a limit of
/// `limits` was met: nothing is known then.
pub fn replay(
    job: &LoadedProgram,
    blocks: &[u64],
    limits: &RunLimits,
    cancel: &AtomicBool,
    read: Read<'_>,
) -> Result<Finding, Fault> {
    let steps: Vec<&Step> = job.steps().collect();
    let launch = |step: &Step| matches!(step, Step::Launch(_));
    let Some(at) = steps.iter().rposition(|step| launch(step)) else {
        return Ok(not_checkable("the program has no launch"));
    };
    let (earlier, rest) = steps.split_at(at);
    let Some((Step::Launch(last), after)) = rest.split_first() else {
        return Ok(not_checkable("the program has no launch"));
    };
    if let Some(why) = unfit(job, earlier, last)? {
        return Ok(not_checkable(why));
    }
    let read = Mutex::new(read);
    let mut source = |piece, from, into: &mut [u8]| stage::content(job, &read, piece, from, into);
    let stop = Stop::new(cancel, limits.run);
    let Some(mut stage) = Stage::new(job, limits, stop, &mut source) else {
        return Ok(not_checkable("the program has more pieces of memory than can be told apart"));
    };
    if let Some(why) = run_earlier(&mut stage, earlier)? {
        return Ok(not_checkable(why));
    }
    let mut held = stage.held.clone();
    for step in after {
        swap(&mut held, step);
    }
    let claims = Claims::new(job, &held, &read);
    let writes = stage.writes(last)?;
    Check { claims, writes, last, bytes: 0 }.sample(&mut stage, blocks)
}

fn swap(held: &mut [u16], step: &Step) {
    if let Step::Swap { a, b } = step {
        held.swap(usize::from(*a), usize::from(*b));
    }
}

/// What of the kernels' instructions stands against running them again.
fn unfit(job: &LoadedProgram, earlier: &[&Step], last: &Launch) -> Result<Option<String>, Fault> {
    let mut known: Vec<(u16, &str)> = Vec::new();
    for step in earlier {
        let Step::Launch(launch) = step else { continue };
        let key = (launch.module, launch.kernel.as_str());
        if known.contains(&key) {
            continue;
        }
        known.push(key);
        match of_launch(job, launch)? {
            // Run whole, in any order: the sum is the same.
            Profile::Exact | Profile::IntegerAtomics { .. } => {}
            other @ (Profile::Approximate { .. } | Profile::NotCheckable { .. }) => {
                return Ok(Some(format!("kernel `{}`: {other}", launch.kernel)));
            }
        }
    }
    Ok(match of_launch(job, last)? {
        Profile::Exact => None,
        other => Some(format!("kernel `{}`: {other}", last.kernel)),
    })
}

fn of_launch(job: &LoadedProgram, launch: &Launch) -> Result<Profile, Fault> {
    Ok(profile(&job.modules()[usize::from(launch.module)].module, job.kernel(launch)?))
}

/// Runs what goes before the last launch; `Some` is why that is not done.
fn run_earlier<'a>(stage: &mut Stage<'a>, earlier: &[&'a Step]) -> Result<Option<String>, Fault> {
    let mut left = EARLIER_INSTRUCTIONS_MAX;
    let count = earlier.iter().filter(|step| matches!(step, Step::Launch(_))).count();
    for step in earlier {
        let Step::Launch(launch) = step else {
            swap(&mut stage.held, step);
            continue;
        };
        let all = 0..extents(launch).blocks();
        let failed = stage.run(launch, all, &mut left, |sparse, _, ended| {
            sparse.keep();
            Ok(match ended {
                Ended::Well => ControlFlow::Continue(()),
                Ended::Faulted(fault) => ControlFlow::Break(format!("run here it faults: {fault}")),
                Ended::Spent => ControlFlow::Break(format!(
                    "the {count} launches before the last take more than {EARLIER_INSTRUCTIONS_MAX} instructions"
                )),
            })
        })?;
        if failed.is_some() {
            return Ok(failed);
        }
    }
    Ok(None)
}

fn extents(launch: &Launch) -> Extents {
    Extents { grid: launch.grid, block: launch.block, dynamic_shared: launch.shared_bytes }
}

/// What was delivered, by the piece of memory that it is the content of.
struct Claims<'r, 'a> {
    job: &'r LoadedProgram,
    /// The output that each piece is at the end.
    outputs: Vec<Option<u16>>,
    read: &'r Mutex<Read<'a>>,
}

impl<'r, 'a> Claims<'r, 'a> {
    fn new(job: &'r LoadedProgram, held: &[u16], read: &'r Mutex<Read<'a>>) -> Self {
        let mut outputs = vec![None; held.len()];
        for (name, piece) in held.iter().enumerate() {
            if job.program().buffers[name].output {
                outputs[usize::from(*piece)] = Some(name as u16);
            }
        }
        Claims { job, outputs, read }
    }

    /// The output that a piece is, with its bytes from an offset on.
    fn part(&self, piece: u16, from: u64, len: usize) -> Result<Option<(u16, Vec<u8>)>, Fault> {
        let Some(output) = self.outputs.get(usize::from(piece)).copied().flatten() else { return Ok(None) };
        let mut bytes = vec![0; len];
        lock(self.read)(Side::Claimed, output, from, &mut bytes)?;
        Ok(Some((output, bytes)))
    }

    /// A buffer or the variables of a module, for people.
    fn name(&self, piece: u16) -> String {
        let held = self.job.program().buffers.get(usize::from(piece));
        held.map_or("a variable of the module".to_owned(), |buffer| format!("`{}`", buffer.name))
    }
}

/// One check under way.
struct Check<'r, 'a> {
    claims: Claims<'r, 'a>,
    /// Pieces that the last launch can write.
    writes: Pieces,
    last: &'r Launch,
    /// Bytes found equal.
    bytes: u64,
}

/// Why the pages of a block are not looked through to the end.
enum Halt {
    Found(Finding),
    Trouble(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Trouble(fault)
    }
}

impl<'r> Check<'r, '_> {
    fn sample<'s>(mut self, stage: &mut Stage<'s>, blocks: &[u64]) -> Result<Finding, Fault>
    where
        'r: 's,
    {
        let total = extents(self.last).blocks();
        let (last, mut left, mut differs) = (self.last, BLOCKS_INSTRUCTIONS_MAX, None);
        let chosen: BTreeSet<u64> = blocks.iter().copied().filter(|n| *n < total).collect();
        let ended = stage.run(last, chosen.iter().copied(), &mut left, |sparse, number, ended| {
            self.one(sparse, number, ended, &mut differs)
        })?;
        if let Some(finding) = ended {
            return Ok(finding);
        }
        if let Some((number, difference)) = differs {
            return Ok(self.overlap(stage, number, &chosen).unwrap_or(Finding::Differs(difference)));
        }
        if let Some(difference) = self.settled(&stage.sparse)? {
            return Ok(Finding::Differs(difference));
        }
        Ok(Finding::Equal { bytes: Bytes(self.bytes) })
    }

    /// Judges one chosen block. A difference is noted, and the blocks after it are run all the same: they may show that
    /// it means nothing.
    fn one(
        &mut self,
        sparse: &Sparse<'_>,
        number: u64,
        ended: Ended,
        differs: &mut Option<(u64, Difference)>,
    ) -> Result<ControlFlow<Finding>, Fault> {
        let at = extents(self.last).block_at(number);
        match ended {
            Ended::Well => {}
            Ended::Faulted(fault) => {
                return Ok(ControlFlow::Break(not_checkable(format!("run here it faults: {fault}"))));
            }
            Ended::Spent => {
                let why = format!("the chosen blocks take more than {BLOCKS_INSTRUCTIONS_MAX} instructions");
                return Ok(ControlFlow::Break(not_checkable(why)));
            }
        }
        let looked = sparse.each_touched(|page| self.page(page, at));
        match looked {
            Ok(()) => {}
            Err(Halt::Trouble(fault)) => return Err(fault),
            Err(Halt::Found(Finding::Differs(difference))) => {
                differs.get_or_insert((number, difference));
            }
            Err(Halt::Found(finding)) => return Ok(ControlFlow::Break(finding)),
        }
        Ok(match sparse.undo() {
            Some(shared) => ControlFlow::Break(self.shared(shared)),
            None => ControlFlow::Continue(()),
        })
    }

    /// Before anybody is accused: whether some other block shares bytes with those that were chosen, so that what differs
    /// may be its doing. The nearest are looked at first, and as many as [`WITNESS_INSTRUCTIONS_MAX`] reaches.
    fn overlap<'s>(&self, stage: &mut Stage<'s>, number: u64, chosen: &BTreeSet<u64>) -> Option<Finding>
    where
        'r: 's,
    {
        let mut left = WITNESS_INSTRUCTIONS_MAX;
        let near = neighbours(self.last, number);
        let others = (0..extents(self.last).blocks()).filter(|n| !near.contains(n));
        let witnesses = near.iter().copied().chain(others).filter(|n| !chosen.contains(n));
        let ended = stage.run(self.last, witnesses, &mut left, |sparse, _, ended| {
            Ok(match (sparse.undo(), ended) {
                (Some(shared), _) => ControlFlow::Break(Some(self.shared(shared))),
                (None, Ended::Spent) => ControlFlow::Break(None),
                (None, Ended::Well | Ended::Faulted(_)) => ControlFlow::Continue(()),
            })
        });
        // Where time or memory end it, the difference stands on what was seen until then.
        ended.ok().flatten().flatten()
    }

    fn shared(&self, (piece, offset): (u16, u64)) -> Finding {
        let (kernel, name) = (&self.last.kernel, self.claims.name(piece));
        not_checkable(format!("blocks of kernel `{kernel}` share byte {offset} of {name}, and one writes it"))
    }

    fn can_write(&self, piece: u16) -> bool {
        self.writes >> piece & 1 == 1
    }

    fn page(&mut self, page: &Touched<'_>, block: [u32; 3]) -> Result<(), Halt> {
        let writable = self.can_write(page.piece);
        if !writable && page.written().next().is_none() {
            return Ok(());
        }
        let claim = self.claims.part(page.piece, page.start, page.bytes.len())?;
        let Some((output, claimed)) = claim else {
            return match page.read().next() {
                Some(at) if writable => Err(Halt::Found(self.foreign(page, at, "may write"))),
                _ => Ok(()),
            };
        };
        if let Some(at) = page.only_read().find(|at| claimed[*at] != page.bytes[*at]) {
            return Err(Halt::Found(self.foreign(page, at, "wrote, by what was delivered")));
        }
        let mut count = 0;
        for at in page.written() {
            let (expected, found) = (page.bytes[at], claimed[at]);
            if expected != found {
                let difference =
                    self.difference(Some(block), output, page.start + at as u64, expected, found);
                return Err(Halt::Found(Finding::Differs(difference)));
            }
            count += 1;
        }
        self.bytes += count;
        Ok(())
    }

    fn foreign(&self, page: &Touched<'_>, at: usize, how: &str) -> Finding {
        let (kernel, name) = (&self.last.kernel, self.claims.name(page.piece));
        let offset = page.start + at as u64;
        not_checkable(format!("kernel `{kernel}` reads byte {offset} of {name}, which another block {how}"))
    }

    fn difference(
        &self,
        block: Option<[u32; 3]>,
        output: u16,
        offset: u64,
        expected: u8,
        found: u8,
    ) -> Difference {
        let buffer = self.claims.job.program().buffers[usize::from(output)].name.clone();
        Difference { kernel: self.last.kernel.clone(), block, buffer, offset, expected, found }
    }

    /// What is known of outputs that the last launch cannot change.
    fn settled(&mut self, sparse: &Sparse<'_>) -> Result<Option<Difference>, Fault> {
        let mut differs = None;
        sparse.each_page(|piece, start, bytes| {
            if differs.is_some() || self.can_write(piece) {
                return Ok(());
            }
            let Some((output, claimed)) = self.claims.part(piece, start, bytes.len())? else { return Ok(()) };
            match bytes.iter().zip(&claimed).position(|(expected, found)| expected != found) {
                Some(at) => {
                    let offset = start + at as u64;
                    differs = Some(self.difference(None, output, offset, bytes[at], claimed[at]));
                }
                None => self.bytes += bytes.len() as u64,
            }
            Ok::<(), Fault>(())
        })?;
        Ok(differs)
    }
}

/// Blocks next to one in each direction, as far as there are any.
fn neighbours(launch: &Launch, number: u64) -> BTreeSet<u64> {
    let [x, y, _] = launch.grid.map(u64::from);
    let total = extents(launch).blocks();
    let near = [1, x, x.saturating_mul(y)]
        .into_iter()
        .flat_map(|step| [number.checked_sub(step), number.checked_add(step)]);
    near.flatten().filter(|n| *n < total).collect()
}
