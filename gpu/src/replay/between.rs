//! Blocks of any launch of a program, from the memory that a receipt commits to before it, held against what it commits
//! to after it.
//!
//! Owns: [`replay_between`]. What is read of the committed memory is what the chosen blocks touch, and the rows of its
//! table beside their launches (see `ion_protocol::states`).
//!
//! What it adds to the answers of [`super::replay`]: a provider that falsified a share of the blocks of all these
//! launches, and did not know the choice when it signed, passes s of them with a chance of (1 - share)^s, however
//! consistently it went on from what it had falsified. `Withheld`: the committed memory is none, or changes a buffer
//! that no launch in between can write.
//! `Faulted`: a chosen block faults in memory that the provider committed to, and the program by itself is not seen to
//! fault so. Whoever signed that the program ended well signed for what does not happen, so that a block that faults
//! shows as much as one that is false, and is in the share above. It is no proof against the provider, since the program
//! may be to blame, so the draw goes on in the launches before (see `search`): the first launch that faults is sought by
//! halving, with as many blocks of each launch on the way as were drawn, and where the launch before it is false in a
//! share of them it passes with a chance of (1 - share)^s again, and else is found out: `Differs`. Where a launch
//! faults from the inputs, or with all before it run from them, the program is to blame, and that is `NotCheckable`.
//! A block that does not end here may end elsewhere: it begins the same search, but is `NotCheckable` where that finds
//! nothing.
//! What it does not say: bytes of a buffer that a launch can write, and none of the chosen blocks did, may be changed
//! between launches unseen.
//! Limits: those of the module above, for each launch. Tests: `gpu/tests/states.rs`.

use super::{
    BLOCKS_INSTRUCTIONS_MAX, Broke, EARLIER_INSTRUCTIONS_MAX, Known, Looked, Most, Origin, Read, Span, lock,
    not_checkable, replay_span, swap,
};
use crate::{
    backend::{RunLimits, Stop},
    cpu::{
        pieces::Reaches,
        reach::{PIECES_MAX, Pieces},
    },
    program::LoadedProgram,
};
use ion_protocol::{
    check::{BlockAt, Finding, bounded_why},
    fault::Fault,
    job::{Launch, Program, Step},
    states::{Kept, Place, decode_row, row_at},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicBool},
};

/// The chosen blocks of each launch that is looked at in a search: with one for each halving no more than are allowed
/// for a launch.
const SEARCH: Most =
    Most { earlier: EARLIER_INSTRUCTIONS_MAX, blocks: BLOCKS_INSTRUCTIONS_MAX / u32::BITS as u64 };

/// Those of a launch, before any search.
const SOON: Most = Most { earlier: EARLIER_INSTRUCTIONS_MAX, blocks: BLOCKS_INSTRUCTIONS_MAX / 8 };

/// Where each buffer's content is.
type Row = Vec<Place>;

/// Runs these blocks again; see the module. An `Err` is trouble of this machine, or that a limit was met before anything
/// was known.
pub fn replay_between(
    job: &LoadedProgram,
    kept: &Kept,
    blocks: &[BlockAt],
    limits: &RunLimits,
    cancel: &AtomicBool,
    read: Read<'_>,
) -> Result<Finding, Fault> {
    check(job, kept, blocks, limits, Stop::new(cancel, limits.run), &Mutex::new(read))
}

pub(super) fn check(
    job: &LoadedProgram,
    kept: &Kept,
    blocks: &[BlockAt],
    limits: &RunLimits,
    stop: Stop<'_>,
    read: &Mutex<Read<'_>>,
) -> Result<Finding, Fault> {
    let mut launches: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for at in blocks.iter().filter(|at| at.launch < job.program().launches()) {
        launches.entry(at.launch).or_default().push(at.block);
    }
    let replay = Replay { job, kept, limits, stop, read };
    let (mut equal, mut compared, mut why) = (Vec::new(), ion_protocol::Bytes::ZERO, None);
    for (launch, numbers) in launches {
        match replay.judge(launch, &numbers, blocks) {
            Ok(Finding::Equal { bytes }) => {
                compared = compared.saturating_add(bytes);
                equal.extend(numbers.into_iter().map(|block| BlockAt { launch, block }));
            }
            Ok(Finding::NotCheckable { why: reason }) => drop(why.get_or_insert(reason)),
            Ok(
                found @ (Finding::Differs(_)
                | Finding::Withheld { .. }
                | Finding::Faulted { .. }
                | Finding::EqualBetween { .. }),
            ) => {
                return Ok(found);
            }
            // What was found until then holds.
            Err(Fault::RunTime { .. }) if !equal.is_empty() => break,
            Err(fault) => return Err(fault),
        }
    }
    Ok(match why {
        Some(why) if equal.is_empty() => Finding::NotCheckable { why },
        None if equal.is_empty() => not_checkable("no block of a launch was drawn"),
        Some(_) | None => Finding::EqualBetween { blocks: equal, bytes: compared },
    })
}

/// What all blocks of a check have in common.
struct Replay<'r, 'a> {
    job: &'r LoadedProgram,
    kept: &'r Kept,
    limits: &'r RunLimits,
    stop: Stop<'r>,
    read: &'r Mutex<Read<'a>>,
}

impl Replay<'_, '_> {
    /// Blocks of one launch, by number.
    fn launch(&self, launch: u64, numbers: &[u64], most: Most) -> Result<Looked, Fault> {
        Ok(match span(self.job, self.kept, launch, self.read)? {
            Ok(span) => self.span(&span, numbers, most)?,
            Err(why) => Looked::Found(Finding::Withheld { why: bounded_why(&why) }),
        })
    }

    fn span(&self, span: &Span, numbers: &[u64], most: Most) -> Result<Looked, Fault> {
        replay_span(self.job, span, numbers, most, self.limits, self.stop, self.read)
    }

    /// The chosen blocks of one launch. Those that do not end soon are run on only when a search has found nothing: its
    /// time would be theirs.
    fn judge(&self, launch: u64, numbers: &[u64], drawn: &[BlockAt]) -> Result<Finding, Fault> {
        let mut why = String::new();
        for most in [SOON, Most::with(EARLIER_INSTRUCTIONS_MAX)] {
            let broke = match self.launch(launch, numbers, most)? {
                Looked::Found(found) => return Ok(found),
                Looked::Broke(broke) => broke,
            };
            let faulted = broke.fault.is_some();
            match self.search(launch, broke, drawn)? {
                Finding::NotCheckable { why: reason } if !faulted => why = reason,
                found => return Ok(found),
            }
        }
        Ok(Finding::NotCheckable { why })
    }

    /// A chosen block of a launch did not come to its end: who is to blame? See the module. Which blocks are looked at
    /// follows from those that were drawn, which the provider did not know.
    fn search(&self, launch: u64, mut broke: Broke, drawn: &[BlockAt]) -> Result<Finding, Fault> {
        let (program, every) = (self.job.program(), self.kept.every);
        // Launches by which row of the memory ends them.
        let number = |row: u64| ((row + 1) * every).min(program.launches()) - 1;
        let numbers = |launch: u64| -> Vec<u64> {
            let blocks = program.launched().nth(launch as usize).map_or(1, Launch::blocks).max(1);
            drawn.iter().map(|at| at.block % blocks).collect()
        };
        let (mut well, mut broken) = (0, launch / every);
        while well < broken {
            let middle = well + (broken - well) / 2;
            match self.launch(number(middle), &numbers(number(middle)), SEARCH) {
                // That one takes long says nothing of one that faults.
                Ok(Looked::Broke(earlier)) if earlier.fault.is_some() || broke.fault.is_none() => {
                    (broken, broke) = (middle, earlier);
                }
                Ok(Looked::Found(found @ (Finding::Differs(_) | Finding::Withheld { .. }))) => {
                    return Ok(found);
                }
                Ok(
                    Looked::Found(
                        Finding::Equal { .. }
                        | Finding::EqualBetween { .. }
                        | Finding::Faulted { .. }
                        | Finding::NotCheckable { .. },
                    )
                    | Looked::Broke(_),
                ) => well = middle + 1,
                // There is no time to look for more.
                Err(Fault::RunTime { .. }) => break,
                Err(fault) => return Err(fault),
            }
        }
        if broken == 0 {
            return Ok(not_checkable(broke.why));
        }
        let first = number(broken);
        if well == broken
            && let Ok(Ok(span)) = span(self.job, self.kept, first, self.read)
        {
            let span = Span { launches: 0..first + 1, before: Span::inputs(program), ..span };
            match self.span(&span, &numbers(first), SEARCH) {
                Ok(Looked::Found(found @ Finding::Differs(_))) => return Ok(found),
                // With what goes before run whole: no provider had a part in it.
                Ok(Looked::Broke(Broke { fault: Some(_), why })) => return Ok(not_checkable(why)),
                Ok(Looked::Found(_) | Looked::Broke(Broke { fault: None, .. })) => {}
                Err(Fault::RunTime { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(match broke.fault {
            Some(fault) => Finding::Faulted { launch: first, fault: fault.bounded() },
            None => not_checkable(broke.why),
        })
    }
}

/// The launches up to one after which the memory is known, from the last such before; `Err` is why the committed memory is
/// none.
fn span(
    job: &LoadedProgram,
    kept: &Kept,
    launch: u64,
    read: &Mutex<Read<'_>>,
) -> Result<Result<Span, String>, Fault> {
    let program = job.program();
    if !kept.fits(program) {
        return Ok(Err("it is not of this program".to_owned()));
    }
    let (start, end) = (launch / kept.every * kept.every, launch + 1);
    let first = (0..program.buffers.len() as u16).map(Place::Initial).collect();
    let row = |n: u64| row(program, kept, n, read);
    let before = match start / kept.every {
        0 => Ok(first),
        n => row(n - 1)?,
    };
    let after = match end.is_multiple_of(kept.every) && end < program.launches() {
        true => Some(row(end / kept.every - 1)?),
        false => None,
    };
    let rows = before.and_then(|before| Ok((before, after.transpose()?)));
    let (before, after) = match rows {
        Ok(rows) => rows,
        Err(why) => return Ok(Err(format!("its table is wrong: {why}"))),
    };
    let inputs = Span::inputs(program);
    let place = |place: &Place| match place {
        Place::Initial(buffer) => inputs.get(usize::from(*buffer)).copied().unwrap_or(Known::Nothing),
        Place::At(at) => Known::At(Origin::States, *at),
    };
    let known = |row: &Row| row.iter().map(place).collect();
    let span = Span {
        launches: start..end,
        before: known(&before),
        after: after.as_ref().map_or_else(|| Span::outputs(program), known),
    };
    let changed = match &after {
        Some(after) => untouched(job, &span, &before, after)?,
        None => None,
    };
    Ok(match changed {
        Some(name) => Err(format!("it changes `{name}`, which launch {launch} cannot write")),
        None => Ok(span),
    })
}

fn row(program: &Program, kept: &Kept, n: u64, read: &Mutex<Read<'_>>) -> Result<Result<Row, String>, Fault> {
    let (from, len) = row_at(program, n);
    let mut bytes = vec![0; len as usize];
    lock(read)(Origin::States, from, &mut bytes)?;
    Ok(decode_row(program, &bytes, kept.bytes))
}

/// A buffer that no launch of a span can write, and that is in another place after it all the same.
fn untouched<'a>(
    job: &'a LoadedProgram,
    span: &Span,
    before: &Row,
    after: &Row,
) -> Result<Option<&'a str>, Fault> {
    let Some((earlier, last, behind)) = span.steps(job) else { return Ok(None) };
    let Some(mut reaches) = Reaches::new(job) else { return Ok(None) };
    // By name: which buffer's memory it has now, and which memories were written.
    let mut held: Vec<u16> = (0..before.len() as u16).collect();
    let mut written: Pieces = 0;
    let mut launch = |launch, held: &[u16]| {
        let names: Pieces = reaches.of(launch)?;
        let pieces = held.iter().enumerate().filter(|(name, _)| names >> name & 1 == 1);
        written = pieces.fold(written, |all, (_, piece)| all | 1 << piece);
        Ok::<(), Fault>(())
    };
    for step in earlier {
        match step {
            Step::Launch(earlier) => launch(earlier, &held)?,
            Step::Swap { .. } => swap(&mut held, step),
        }
    }
    launch(last, &held)?;
    behind.into_iter().for_each(|step| swap(&mut held, step));
    debug_assert!(held.len() <= PIECES_MAX, "checked where pieces are counted");
    let moved = held
        .iter()
        .enumerate()
        .find(|(name, piece)| written >> **piece & 1 == 0 && before[usize::from(**piece)] != after[*name]);
    Ok(moved.map(|(name, _)| job.program().buffers[name].name.as_str()))
}
