//! Block replay: some blocks of a finished program run again from its inputs, and their bytes held against what was
//! delivered.
//!
//! Owns: [`replay`], and by it [`replay_between`], which checks blocks of any launch where the memory between launches is
//! committed to. A block of a kernel whose profile is exact is a function of the memory it reads, so one that reads
//! only what no other block of its launch writes must write the delivered bytes. The chosen blocks of the **last**
//! launch are run in memory of which only what they touch exists (`cpu/sparse.rs`): as machine code where the process has
//! that of the kernel, or has interpreted so much of it that making it pays. Launches before it are run whole if that
//! costs little ([`EARLIER_INSTRUCTIONS_MAX`]; less where there is another way, see [`replay_either`]).
//!
//! What the answers mean:
//! * `Equal`: every byte that a chosen block wrote to an output is the delivered one. A provider that falsified a share
//!   of the blocks, and did not know the choice when it delivered, passes s of them with a chance of (1 - share)^s.
//! * `Differs`: a byte is wrong. Not said where the chosen blocks share a byte, that one of them writes, among themselves
//!   or with another; neighbours first, others are run for that as far as [`WITNESS_INSTRUCTIONS_MAX`] reaches. A race
//!   with blocks beyond is not seen; CUDA promises nothing to a program that has one. Nor is it said for bits that every
//!   device has of its own: where a kernel may have stored an address, or one NaN of f64 stands for another.
//! * `NotCheckable`: the kernel is not exact; or a chosen block reads what another may have written (a byte of scratch
//!   that the launch can write, or an output's byte that was delivered changed though the block left it alone), shares
//!   bytes with another, or faults or does not end here, from the inputs; what differs may be the device's own; or what
//!   goes before costs too much.
//! * `Faulted`: of blocks that begin in memory that the provider committed to; see `between`.
//!
//! What they do not mean: bytes that no chosen block writes are not looked at (but all that launches before the last
//! touched and the last cannot change are). A provider can bring about `NotCheckable` for kernels that read outputs
//! beyond what they write, by falsifying these; never `Equal` for a chosen block that is false.
//!
//! Never: runs a program for its result, or trusts one: instructions, time and memory are bounded, and no program or
//! claim makes it panic. Limits: [`RunLimits`] for time and memory, [`EARLIER_INSTRUCTIONS_MAX`],
//! [`BLOCKS_INSTRUCTIONS_MAX`], [`WITNESS_INSTRUCTIONS_MAX`]. Tests: `gpu/tests/replay.rs`.

mod between;
mod looked;
mod stage;

pub use between::replay_between;

use crate::{
    backend::{RunLimits, Stop},
    cpu::{
        block::Extents,
        pieces::shows_addresses,
        reach::Pieces,
        sparse::{Sparse, Touched},
    },
    program::LoadedProgram,
    ptx::{Profile, has_doubles, profile},
};
use ion_protocol::{
    Bytes,
    check::{BlockAt, Difference, Finding, bounded_why},
    fault::Fault,
    job::{Buffer, Init, Launch, Program, Step},
    states::Kept,
};
use looked::{Broke, Looked, Most};
use stage::{Ended, Stage};
use std::{
    collections::BTreeSet,
    ops::{ControlFlow, Range},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

/// Warp instructions that launches before the last may take: about half a second of one core.
pub const EARLIER_INSTRUCTIONS_MAX: u64 = 20_000_000;
/// The same where the memory between launches is committed to, so that there is a cheaper way: a twentieth of a second.
pub const EARLIER_INSTRUCTIONS_BESIDE_STATES_MAX: u64 = 2_500_000;
/// Warp instructions that the chosen blocks and their neighbours may take together.
pub const BLOCKS_INSTRUCTIONS_MAX: u64 = 1_000_000_000;
/// Warp instructions of other blocks that are run before a provider is accused.
pub const WITNESS_INSTRUCTIONS_MAX: u64 = 50_000_000;

/// What bytes are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// What this buffer begins with; asked only of buffers that begin as a blob.
    Input(u16),
    /// What was delivered of this buffer; asked only of outputs.
    Output(u16),
    /// The blob of the memory between launches.
    States,
}

/// Reads bytes: from what, from where on.
pub type Read<'a> = &'a mut (dyn FnMut(Origin, u64, &mut [u8]) -> Result<(), Fault> + Send);

/// What is known of a buffer's content at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Zeros,
    At(Origin, u64),
}

impl Known {
    /// The content from an offset on, into zeros, which are also what is not known.
    fn read(self, read: &Mutex<Read<'_>>, from: u64, into: &mut [u8]) -> Result<(), Fault> {
        match self {
            Known::Nothing | Known::Zeros => Ok(()),
            Known::At(what, start) => lock(read)(what, start + from, into),
        }
    }
}

/// Launches in a row, with what is known of the memory before and after them, by the names of buffers.
struct Span {
    launches: Range<u64>,
    before: Vec<Known>,
    after: Vec<Known>,
}

impl Span {
    fn whole(program: &Program) -> Self {
        let (before, after) = (Span::inputs(program), Span::outputs(program));
        Span { launches: 0..program.launches(), before, after }
    }

    /// What is known of buffers before the first launch.
    fn inputs(program: &Program) -> Vec<Known> {
        let known = |(n, buffer): (usize, &Buffer)| match buffer.init {
            Init::Zero => Known::Zeros,
            Init::Blob(_) => Known::At(Origin::Input(n as u16), 0),
        };
        program.buffers.iter().enumerate().map(known).collect()
    }

    /// What is known of them after the last.
    fn outputs(program: &Program) -> Vec<Known> {
        let known = |(n, buffer): (usize, &Buffer)| match buffer.output {
            true => Known::At(Origin::Output(n as u16), 0),
            false => Known::Nothing,
        };
        program.buffers.iter().enumerate().map(known).collect()
    }

    /// The steps up to the last launch, that launch, and the steps that belong behind it.
    fn steps<'a>(&self, job: &'a LoadedProgram) -> Option<(Vec<&'a Step>, &'a Launch, Vec<&'a Step>)> {
        let mut launched = 0;
        let mut own: Vec<&Step> = Vec::new();
        for step in job.steps() {
            let before = launched;
            launched += u64::from(matches!(step, Step::Launch(_)));
            // Swaps before the program's first launch are its, all others belong to the launch before them.
            let first = self.launches.start == 0 && launched == 0;
            let within = launched > self.launches.start && launched <= self.launches.end;
            if first || within {
                own.push(step);
            } else if before >= self.launches.end {
                break;
            }
        }
        let at = own.iter().rposition(|step| matches!(step, Step::Launch(_)))?;
        let after = own.split_off(at + 1);
        match own.pop() {
            Some(Step::Launch(last)) => Some((own, last, after)),
            Some(Step::Swap { .. }) | None => None,
        }
    }
}

fn lock<'m, 'a>(read: &'m Mutex<Read<'a>>) -> MutexGuard<'m, Read<'a>> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_checkable(why: impl AsRef<str>) -> Finding {
    Finding::NotCheckable { why: bounded_why(why.as_ref()) }
}

/// Runs blocks of the last launch again, from the inputs; where that is not possible and the memory between launches is
/// committed to, blocks of any launch. As for the two.
pub fn replay_either(
    job: &LoadedProgram,
    blocks: &[u64],
    (kept, picks): (&Kept, &[BlockAt]),
    limits: &RunLimits,
    cancel: &AtomicBool,
    read: Read<'_>,
) -> Result<Finding, Fault> {
    let (span, stop) = (Span::whole(job.program()), Stop::new(cancel, limits.run));
    let most = Most::with(EARLIER_INSTRUCTIONS_BESIDE_STATES_MAX);
    let read = Mutex::new(read);
    match replay_span(job, &span, blocks, most, limits, stop, &read)?.blameless() {
        // From the inputs alone nothing is needed that the provider says of the way there.
        Finding::NotCheckable { .. } => between::check(job, kept, picks, limits, stop, &read),
        found @ (Finding::Equal { .. }
        | Finding::EqualBetween { .. }
        | Finding::Withheld { .. }
        | Finding::Faulted { .. }
        | Finding::Differs(_)) => Ok(found),
    }
}

/// Runs the blocks of these numbers of the last launch again, from the inputs. An `Err` is trouble of this machine, or
/// that a limit of `limits` was met: nothing is known then.
pub fn replay(
    job: &LoadedProgram,
    blocks: &[u64],
    limits: &RunLimits,
    cancel: &AtomicBool,
    read: Read<'_>,
) -> Result<Finding, Fault> {
    let (span, stop) = (Span::whole(job.program()), Stop::new(cancel, limits.run));
    let most = Most::with(EARLIER_INSTRUCTIONS_MAX);
    Ok(replay_span(job, &span, blocks, most, limits, stop, &Mutex::new(read))?.blameless())
}

fn replay_span(
    job: &LoadedProgram,
    span: &Span,
    blocks: &[u64],
    most: Most,
    limits: &RunLimits,
    stop: Stop<'_>,
    read: &Mutex<Read<'_>>,
) -> Result<Looked, Fault> {
    let Some((earlier, last, after)) = span.steps(job) else {
        return Ok(Looked::Found(not_checkable("the program has no launch")));
    };
    if let Some(why) = unfit(job, &earlier, last)? {
        return Ok(Looked::Found(not_checkable(why)));
    }
    let mut source =
        |piece, from, into: &mut [u8]| stage::content(job, &span.before, read, piece, from, into);
    let Some(mut stage) = Stage::new(job, limits, stop, &mut source) else {
        return Ok(Looked::Found(not_checkable(
            "the program has more pieces of memory than can be told apart",
        )));
    };
    if let Some(broke) = run_earlier(&mut stage, &earlier, most.earlier)? {
        return Ok(Looked::Broke(broke));
    }
    let mut held = stage.held.clone();
    for step in after {
        swap(&mut held, step);
    }
    let claims = Claims::new(job, &held, &span.after, read);
    let (writes, launch) = (stage.writes(last)?, span.launches.end - 1);
    let launches = distinct(&earlier, last);
    let mut doubles = false;
    for launch in &launches {
        doubles |= has_doubles(&job.modules()[usize::from(launch.module)].module, job.kernel(launch)?);
    }
    let check = Check { claims, writes, last, launch, launches, doubles, bytes: 0, nans: false };
    check.sample(&mut stage, blocks, most.blocks)
}

/// A launch of each kernel.
fn distinct<'a>(earlier: &[&'a Step], last: &'a Launch) -> Vec<&'a Launch> {
    let launches = earlier.iter().filter_map(|step| match step {
        Step::Launch(launch) => Some(launch),
        Step::Swap { .. } => None,
    });
    let mut found: Vec<&Launch> = Vec::new();
    for launch in launches.chain([last]) {
        if !found.iter().any(|known| (known.module, &known.kernel) == (launch.module, &launch.kernel)) {
            found.push(launch);
        }
    }
    found
}

fn swap(held: &mut [u16], step: &Step) {
    if let Step::Swap { a, b } = step {
        held.swap(usize::from(*a), usize::from(*b));
    }
}

/// What of the kernels' instructions stands against running them again.
fn unfit(job: &LoadedProgram, earlier: &[&Step], last: &Launch) -> Result<Option<String>, Fault> {
    for launch in distinct(earlier, last) {
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
fn run_earlier<'a>(stage: &mut Stage<'a>, earlier: &[&'a Step], max: u64) -> Result<Option<Broke>, Fault> {
    let mut left = max;
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
                Ended::Faulted(fault) => ControlFlow::Break(Broke::faulted(fault)),
                Ended::Spent => ControlFlow::Break(Broke::spent(format!(
                    "the {count} launches before the last take more than {max} instructions"
                ))),
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

/// What was delivered or committed to, by the piece of memory that it is the content of.
struct Claims<'r, 'a> {
    job: &'r LoadedProgram,
    /// The buffer that each piece is at the end, and what is known of it.
    known: Vec<Option<(u16, Known)>>,
    read: &'r Mutex<Read<'a>>,
}

impl<'r, 'a> Claims<'r, 'a> {
    fn new(job: &'r LoadedProgram, held: &[u16], after: &[Known], read: &'r Mutex<Read<'a>>) -> Self {
        let mut known = vec![None; held.len()];
        for ((name, piece), after) in held.iter().enumerate().zip(after) {
            known[usize::from(*piece)] = Some((name as u16, *after));
        }
        Claims { job, known, read }
    }

    /// The buffer that a piece is, with its bytes from an offset on, where they are known.
    fn part(&self, piece: u16, from: u64, len: usize) -> Result<Option<(u16, Vec<u8>)>, Fault> {
        let Some((buffer, known)) = self.known.get(usize::from(piece)).copied().flatten() else {
            return Ok(None);
        };
        if known == Known::Nothing {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        known.read(self.read, from, &mut bytes)?;
        Ok(Some((buffer, bytes)))
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
    /// Its number in the program.
    launch: u64,
    /// It and those before it that were run, each kernel once.
    launches: Vec<&'r Launch>,
    /// Whether one of these computes with f64.
    doubles: bool,
    /// Bytes found equal.
    bytes: u64,
    /// One NaN of f64 was found in place of another.
    nans: bool,
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
    fn sample<'s>(mut self, stage: &mut Stage<'s>, blocks: &[u64], max: u64) -> Result<Looked, Fault>
    where
        'r: 's,
    {
        let total = extents(self.last).blocks();
        let (last, mut left, mut differs) = (self.last, max, None);
        let chosen: BTreeSet<u64> = blocks.iter().copied().filter(|n| *n < total).collect();
        let ended =
            stage.run(last, chosen.iter().copied(), &mut left, |sparse, number, ended| match ended {
                Ended::Well => self.one(sparse, number, &mut differs).map(|on| on.map_break(Looked::Found)),
                Ended::Faulted(fault) => Ok(ControlFlow::Break(Looked::Broke(Broke::faulted(fault)))),
                Ended::Spent => {
                    let why = format!("the chosen blocks take more than {max} instructions");
                    Ok(ControlFlow::Break(Looked::Broke(Broke::spent(why))))
                }
            })?;
        if let Some(looked) = ended {
            return Ok(looked);
        }
        if let Some((number, difference)) = differs {
            let overlap = self.overlap(stage, number, &chosen);
            return Ok(Looked::Found(overlap.unwrap_or_else(|| self.accused(difference))));
        }
        if let Some(difference) = self.settled(&stage.sparse)? {
            return Ok(Looked::Found(self.accused(difference)));
        }
        Ok(Looked::Found(match self.nans {
            true => not_checkable(format!(
                "kernel `{}` gives NaNs of f64, of which every device has its own",
                last.kernel
            )),
            false => Finding::Equal { bytes: Bytes(self.bytes) },
        }))
    }

    /// What a difference means: nothing where it may be that of two devices' addresses.
    fn accused(&self, difference: Difference) -> Finding {
        match self.launches.iter().find(|launch| shows_addresses(self.claims.job, launch)) {
            Some(Launch { kernel, .. }) => not_checkable(format!(
                "kernel `{kernel}` may write addresses, of which every device has its own"
            )),
            None => Finding::Differs(difference),
        }
    }

    /// Whether both bytes are part of a NaN of f64, where there may be some: which one it is is no matter of right or wrong.
    fn are_nans(&mut self, expected: &[u8], found: &[u8], at: usize) -> bool {
        let is_nan = |bytes: &[u8]| {
            let word = bytes.get(at & !7..).and_then(|rest| rest.first_chunk());
            word.is_some_and(|word| f64::from_le_bytes(*word).is_nan())
        };
        let nans = self.doubles && is_nan(expected) && is_nan(found);
        self.nans |= nans;
        nans
    }

    /// Judges one chosen block that ended well. A difference is noted, and the blocks after it are run all the same: they may show that
    /// it means nothing.
    fn one(
        &mut self,
        sparse: &Sparse<'_>,
        number: u64,
        differs: &mut Option<(u64, Difference)>,
    ) -> Result<ControlFlow<Finding>, Fault> {
        let at = extents(self.last).block_at(number);
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
            if expected != found && !self.are_nans(page.bytes, &claimed, at) {
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
        let (launch, kernel) = (self.launch, self.last.kernel.clone());
        Difference { launch, kernel, block, buffer, offset, expected, found }
    }

    /// What is known of outputs that the last launch cannot change.
    fn settled(&mut self, sparse: &Sparse<'_>) -> Result<Option<Difference>, Fault> {
        let mut differs = None;
        sparse.each_page(|piece, start, bytes| {
            if differs.is_some() || self.can_write(piece) {
                return Ok(());
            }
            let Some((output, claimed)) = self.claims.part(piece, start, bytes.len())? else { return Ok(()) };
            let differs_at = |at: &usize| bytes[*at] != claimed[*at] && !self.are_nans(bytes, &claimed, *at);
            match (0..bytes.len()).find(differs_at) {
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
