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
//! What it does not say: bytes of a buffer that a launch can write, and none of the chosen blocks did, may be changed
//! between launches unseen.
//! Limits: those of the module above, for each launch. Tests: `gpu/tests/states.rs`.

use super::{EARLIER_INSTRUCTIONS_MAX, Known, Origin, Read, Span, lock, not_checkable, replay_span, swap};
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
    job::{Program, Step},
    states::{Kept, Place, decode_row, row_at},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicBool},
};

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
    let (mut equal, mut compared, mut why) = (Vec::new(), ion_protocol::Bytes::ZERO, None);
    for (launch, blocks) in launches {
        let span = match span(job, kept, launch, read)? {
            Ok(span) => span,
            Err(why) => return Ok(Finding::Withheld { why: bounded_why(&why) }),
        };
        match replay_span(job, &span, &blocks, EARLIER_INSTRUCTIONS_MAX, limits, stop, read) {
            Ok(Finding::Equal { bytes }) => {
                compared = compared.saturating_add(bytes);
                equal.extend(blocks.into_iter().map(|block| BlockAt { launch, block }));
            }
            Ok(Finding::NotCheckable { why: reason }) => drop(why.get_or_insert(reason)),
            Ok(found @ (Finding::Differs(_) | Finding::Withheld { .. } | Finding::EqualBetween { .. })) => {
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
