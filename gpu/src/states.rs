//! The memory between a program's launches, taken down while it runs, so that any launch can be checked by itself later.
//!
//! Owns: [`Recorder`], which an engine tells of each launch and swap, and gives the content of the buffers it asks for.
//! Only what a launch can write (see `cpu::reach`) is taken down again; the rest shares what was taken before. It begins
//! with every launch; where that takes more room or time than it may, it forgets every other row and goes on at half
//! the pace, so that it ends with as many as it can afford.
//! The cost is a copy of what changed, beside the metered device time, and sending it to the node: what is copied may
//! take one part in [`SHARE`] of the time that the program runs, but for [`FREE_BYTES`], a few milliseconds.
//! What a launch can write decides which places of the blob rows share, and whoever checks it looks at that: a change of
//! what `cpu::reach` finds is a change of protocol.
//! Never: judges or hashes. A run does not fail for it: where it cannot go on it says why.
//! Limits: [`STATES_BYTES_MAX`]. The layout of what it gives is `ion_protocol::states`. Tests: `gpu/tests/states.rs`.

use crate::{
    cpu::{pieces::Reaches, reach::Pieces},
    pages::AlignedBytes,
    program::LoadedProgram,
    ptx::{Profile, profile},
};
use ion_protocol::{
    Bytes,
    fault::Fault,
    job::{Launch, Source, Step},
    limits::STATES_BYTES_MAX,
    states::{Place, encode_row, rows, table_bytes},
};
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// What may be copied of a program however short it is.
pub const FREE_BYTES: u64 = 1 << 20;
/// Copies may take one part in so many of the run's time.
pub const SHARE: u64 = 20;
/// Bytes that are copied, sent to the node, hashed and written in a millisecond.
const BYTES_PER_MS: u64 = 250_000;
/// What a row costs beside its bytes, in the time of so many: 50 us, in which a GPU waits for the copy to be asked for.
const ROW_BYTES: u64 = BYTES_PER_MS / 20;
/// The table takes at most one part in so many of the room.
const TABLE_SHARE: u64 = 8;

/// What was taken down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recorded {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// Nothing, and why.
    EndsOnly(String),
    /// A blob in parts, one behind the other, with a row every so many launches.
    Kept { every: u64, parts: Vec<Content> },
}

/// What a buffer held.
pub type Content = Arc<AlignedBytes>;

/// What a buffer holds between two launches.
#[derive(Clone)]
enum Held {
    /// What this buffer held before the first.
    Initial(u16),
    Taken(Content),
}

/// What buffers hold, by name.
type Row = Vec<Held>;

impl Recorded {
    /// Size of the blob.
    pub fn bytes(&self) -> Bytes {
        match self {
            Recorded::NotAsked | Recorded::EndsOnly(_) => Bytes::ZERO,
            Recorded::Kept { parts, .. } => Bytes(parts.iter().map(|part| part.len() as u64).sum()),
        }
    }
}

/// See the module.
pub struct Recorder<'a> {
    job: &'a LoadedProgram,
    reaches: Option<Reaches<'a>>,
    /// Why nothing is taken down any more.
    given_up: Option<String>,
    every: u64,
    launched: u64,
    began: Instant,
    /// What was last taken down of each buffer, by name now: swaps exchange these too.
    now: Row,
    /// Which buffers may have changed since, likewise.
    changed: Vec<bool>,
    rows: Vec<Row>,
}

impl<'a> Recorder<'a> {
    /// For a run of `job` that begins now; `None` where nobody asked.
    pub fn new(job: &'a LoadedProgram) -> Option<Self> {
        if !job.keeps_states() {
            return None;
        }
        let (program, reaches) = (job.program(), Reaches::new(job));
        let mut every = 1;
        while table_bytes(program, every) > STATES_BYTES_MAX / TABLE_SHARE {
            every *= 2;
        }
        let too_many = || "the program has more pieces of memory than can be told apart".to_owned();
        Some(Recorder {
            given_up: unfit(job).or_else(|| reaches.is_none().then(too_many)),
            reaches,
            every,
            launched: 0,
            began: Instant::now(),
            now: (0..program.buffers.len() as u16).map(Held::Initial).collect(),
            changed: vec![false; program.buffers.len()],
            rows: Vec::new(),
            job,
        })
    }

    /// A launch is next; `read` gives what a buffer holds.
    pub fn launch(
        &mut self,
        launch: &'a Launch,
        read: impl FnMut(u16) -> Result<AlignedBytes, Fault>,
    ) -> Result<(), Fault> {
        let Some(reaches) = self.reaches.as_mut().filter(|_| self.given_up.is_none()) else { return Ok(()) };
        let (names, variables) = (reaches.of(launch)?, reaches.variables());
        if names & variables != 0 {
            self.give_up(format!("kernel `{}` may write variables of its module", launch.kernel));
            return Ok(());
        }
        if self.launched > 0 {
            self.row(read)?;
        }
        self.launched += 1;
        self.mark(names);
        Ok(())
    }

    /// Two buffers exchange what they hold.
    pub fn swap(&mut self, a: u16, b: u16) {
        self.now.swap(usize::from(a), usize::from(b));
        self.changed.swap(usize::from(a), usize::from(b));
    }

    fn mark(&mut self, names: Pieces) {
        let written = self.changed.iter_mut().enumerate().filter(|(name, _)| names >> name & 1 == 1);
        written.for_each(|(_, changed)| *changed = true);
    }

    fn give_up(&mut self, why: String) {
        self.given_up = Some(why);
        self.rows = Vec::new();
    }

    /// Takes a row down, if one is due and can be afforded.
    fn row(&mut self, mut read: impl FnMut(u16) -> Result<AlignedBytes, Fault>) -> Result<(), Fault> {
        let buffers = &self.job.program().buffers;
        let due: Vec<usize> = (0..buffers.len()).filter(|name| self.changed[*name]).collect();
        let cost = due.iter().fold(0u64, |sum, name| sum.saturating_add(buffers[*name].bytes.0));
        while self.launched.is_multiple_of(self.every) && !self.affords(cost) {
            self.slow_down();
        }
        if !self.launched.is_multiple_of(self.every) {
            return Ok(());
        }
        for name in due {
            match read(name as u16) {
                Ok(content) => self.now[name] = Held::Taken(Arc::new(content)),
                Err(Fault::Room { message }) => {
                    self.give_up(message);
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
            self.changed[name] = false;
        }
        self.rows.push(self.now.clone());
        Ok(())
    }

    /// Whether there is room and time for as many bytes more.
    fn affords(&self, cost: u64) -> bool {
        let program = self.job.program();
        // What the whole run will take, if all launches are as those were that are over.
        let ran = self.began.elapsed().as_millis() * u128::from(program.launches())
            / u128::from(self.launched.max(1));
        let allowed = u128::from(FREE_BYTES) + ran * u128::from(BYTES_PER_MS / SHARE);
        let all = u128::from(rows(program, self.every)) * u128::from(cost.saturating_add(ROW_BYTES));
        let table = table_bytes(program, self.every);
        let held = contents(&self.rows).iter().fold(table, |sum, content| sum + content.len() as u64);
        all <= allowed && held.saturating_add(cost) <= STATES_BYTES_MAX
    }

    /// From now on every other row.
    fn slow_down(&mut self) {
        self.every = self.every.saturating_mul(2);
        let mut n = 0;
        self.rows.retain(|_| {
            n += 1;
            n % 2 == 0
        });
    }

    /// All of it.
    pub fn finish(self) -> Recorded {
        if let Some(why) = self.given_up {
            return Recorded::EndsOnly(why);
        }
        if self.rows.is_empty() {
            let why = "the launches are too short for the memory that they change to be kept between them";
            return Recorded::EndsOnly(why.to_owned());
        }
        let contents = contents(&self.rows);
        let mut at = table_bytes(self.job.program(), self.every);
        let mut places = std::collections::HashMap::new();
        for content in &contents {
            places.insert(Arc::as_ptr(content), at);
            at += content.len() as u64;
        }
        let place = |held: &Held| match held {
            Held::Initial(buffer) => Place::Initial(*buffer),
            Held::Taken(content) => Place::At(places[&Arc::as_ptr(content)]),
        };
        let encoded = |row: &Row| encode_row(&row.iter().map(place).collect::<Vec<_>>());
        let table: Vec<u8> = self.rows.iter().flat_map(encoded).collect();
        let parts = std::iter::once(Arc::new(AlignedBytes::from(&*table))).chain(contents).collect();
        Recorded::Kept { every: self.every, parts }
    }
}

/// What rows hold, each once, in order of first appearance.
fn contents(rows: &[Row]) -> Vec<Content> {
    let mut seen = BTreeSet::new();
    let all = rows.iter().flatten().filter_map(|held| match held {
        Held::Initial(_) => None,
        Held::Taken(content) => Some(content),
    });
    all.filter(|content| seen.insert(Arc::as_ptr(content))).cloned().collect()
}

/// Why no launch of a program could be checked by itself, whatever is taken down.
fn unfit(job: &LoadedProgram) -> Option<String> {
    let program = job.program();
    if let Some(module) = program.modules.iter().find(|module| module.source == Source::CudaC) {
        return Some(format!("module `{}` is CUDA C, which each machine compiles its own way", module.name));
    }
    let steps = program.phases.iter().flat_map(|phase| &phase.steps);
    let exact = |step: &Step| match step {
        Step::Launch(launch) => job.kernel(launch).is_ok_and(|kernel| {
            profile(&job.modules()[usize::from(launch.module)].module, kernel) == Profile::Exact
        }),
        Step::Swap { .. } => false,
    };
    let none = !steps.into_iter().any(exact);
    none.then(|| "none of the kernels gives the same bits block by block on every machine".to_owned())
}
