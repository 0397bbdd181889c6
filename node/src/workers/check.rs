//! Checks of what others delivered: some blocks run again in a child, one check at a time.
//!
//! Owns one child at most, started when the first check comes and kept for the next while it behaves: all checks are of
//! this node's own jobs. What the child needs of a job's blobs it asks for, and gets from the store; anything else it
//! does not get. Of the memory between launches, which stays with the provider that committed to it, it gets the parts
//! that the provider shows ([`Shown`]); one that does not show them is told as such.
//! Limits: [`CHECKS_AHEAD`], [`SHOWN_SHARE`], the time the engine gives each check, [`NEED_BYTES_MAX`]. Tests: `node/tests/check.rs`.

use super::{
    Blobs, Patience,
    child::{Child, Spawner, flood},
};
use crate::blobs::BoxFuture;
use ion_gpu::worker::{
    EngineChoice, Task,
    frame::{Ask, CHUNK_BYTES_MAX, Frame, FromWorker, Kind, NEED_BYTES_MAX, ToWorker, header, message_frame},
};
use ion_protocol::{
    BlobHash, Bytes,
    check::{Finding, bounded_why},
    fault::Fault,
};
use ion_scheduler::input::{CheckId, Input};
use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    process::ChildStdin,
    sync::mpsc,
    task,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Checks that may wait; one beyond is not made, which its receipt says.
pub const CHECKS_AHEAD: usize = 64;

/// A provider has one part in so many of a check's time to show what it committed to, all in all: one that is slow has
/// not shown it, and there is time left to run the blocks.
pub const SHOWN_SHARE: u64 = 2;

/// A blob that another node shows parts of.
pub trait Shown: Send {
    /// The bytes from `from` on; `Err` is told to people.
    fn read(&mut self, from: u64, bytes: u64) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// A check that waits.
struct Waiting {
    check: CheckId,
    ask: Box<Ask>,
    shown: Option<Box<dyn Shown>>,
    stop: CancellationToken,
}

type Stops = Arc<Mutex<BTreeMap<CheckId, CancellationToken>>>;

fn lock(stops: &Stops) -> MutexGuard<'_, BTreeMap<CheckId, CancellationToken>> {
    // Nothing that can panic happens under the lock.
    stops.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives checks to the child. When the last clone is gone the child ends.
#[derive(Clone, Debug)]
pub struct CheckerHandle {
    waiting: mpsc::Sender<Waiting>,
    stops: Stops,
}

impl CheckerHandle {
    /// Runs blocks again; what they show comes back as [`Input::Checked`]. The memory between launches is read from
    /// `shown`, or from the store where there is none. Never waits: where there is no room the fault is
    /// returned and nothing comes back.
    pub fn check(&self, check: CheckId, ask: Box<Ask>, shown: Option<Box<dyn Shown>>) -> Result<(), Fault> {
        let stop = CancellationToken::new();
        lock(&self.stops).insert(check, stop.clone());
        self.waiting.try_send(Waiting { check, ask, shown, stop }).map_err(|_| {
            lock(&self.stops).remove(&check);
            Fault::NoDevice { message: format!("{CHECKS_AHEAD} checks wait already") }
        })
    }

    /// Ends a check; nothing comes back for it.
    pub fn stop(&self, check: CheckId) {
        if let Some(stop) = lock(&self.stops).remove(&check) {
            stop.cancel();
        }
    }
}

/// Begins to take checks; children are `exe worker` and hold at most `memory` of what blocks touch.
pub fn start_checker(
    exe: PathBuf,
    memory: Bytes,
    blobs: Arc<dyn Blobs>,
    inputs: mpsc::Sender<Input>,
) -> CheckerHandle {
    let (to, waiting) = mpsc::channel(CHECKS_AHEAD);
    let stops = Stops::default();
    let checker = Checker { exe, memory, blobs, spawner: None, kept: None };
    tokio::spawn(checker.run(waiting, stops.clone(), inputs));
    CheckerHandle { waiting: to, stops }
}

struct Checker {
    exe: PathBuf,
    memory: Bytes,
    blobs: Arc<dyn Blobs>,
    spawner: Option<Spawner>,
    kept: Option<Child>,
}

impl Checker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>, stops: Stops, inputs: mpsc::Sender<Input>) {
        while let Some(Waiting { check, ask, shown, stop }) = waiting.recv().await {
            let stopped = stop.clone();
            let result = tokio::select! {
                result = self.one(*ask, shown) => result,
                () = stopped.cancelled() => Err(Fault::Cancelled),
            };
            // Taken out by whoever stops it.
            let wanted = lock(&stops).remove(&check).is_some();
            if wanted && inputs.send(Input::Checked { check, result }).await.is_err() {
                return;
            }
        }
    }

    /// The child is kept only where it ended well; dropped half way, it is killed.
    async fn one(&mut self, ask: Ask, shown: Option<Box<dyn Shown>>) -> Result<Finding, Fault> {
        let deadline = Instant::now() + Duration::from_millis(ask.limit.0) + Patience::default().grace;
        let limit = ask.limit;
        if let Some(why) = contradiction(&ask) {
            return Ok(Finding::Withheld { why });
        }
        let mut child = self.child().await?;
        let Some(stdin) = child.stdin.take() else {
            return Err(Fault::WorkerCrashed { how: "its pipe is in use".to_owned() });
        };
        let flooded = child.flooded.clone();
        let mut memory = Memory::of(&ask, self.blobs.clone(), shown);
        let result = tokio::select! {
            result = talk(&mut child, stdin, ask, &mut memory) => result,
            () = flooded.cancelled() => Err(flood()),
            () = sleep_until(deadline) => Err(Fault::RunTime { limit }),
        };
        match result {
            Ok((finding, stdin)) => {
                child.stdin = Some(stdin);
                self.kept = Some(child);
                Ok(finding)
            }
            Err(fault) => {
                child.end().await;
                // The child still waits for what is not shown, and is of no more use.
                memory.withheld.map_or(Err(fault), |why| Ok(Finding::Withheld { why: bounded_why(&why) }))
            }
        }
    }

    async fn child(&mut self) -> Result<Child, Fault> {
        if let Some(child) = self.kept.take().filter(Child::is_idle) {
            return Ok(child);
        }
        let spawner = self.spawner.get_or_insert_with(|| Spawner::start(self.exe.clone()));
        let task = Task::Serve { engine: EngineChoice::Cpu, memory: self.memory };
        let mut child = spawner.child(task).await.map_err(|error| {
            Fault::WorkerCrashed { how: format!("it could not be started: {error}") }.bounded()
        })?;
        child.ready(Patience::default().start).await?;
        Ok(child)
    }
}

/// The job's blobs and what was delivered, with their sizes.
fn own_blobs(ask: &Ask) -> impl Iterator<Item = (BlobHash, Bytes)> {
    let outputs = ask.outputs.iter().map(|output| (output.hash, output.bytes));
    ask.spec.program.blobs().into_iter().chain(outputs)
}

/// Why the memory between launches is not what its provider signed for, where that is seen without it: a hash is of one
/// content, which has one size.
fn contradiction(ask: &Ask) -> Option<String> {
    let kept = ask.between.as_ref()?.kept;
    let (_, bytes) = own_blobs(ask).find(|(hash, bytes)| *hash == kept.blob && *bytes != kept.bytes)?;
    Some(format!("the blob that it names has {bytes} and not {}", kept.bytes))
}

/// What a check may read: blobs of the job, what was delivered, and the memory between launches.
struct Memory {
    sizes: BTreeMap<BlobHash, Bytes>,
    blobs: Arc<dyn Blobs>,
    /// The blob that its provider shows, and how long that may still take.
    shown: Option<(BlobHash, Box<dyn Shown>, Duration)>,
    /// Why it was not shown.
    withheld: Option<String>,
}

impl Memory {
    fn of(ask: &Ask, blobs: Arc<dyn Blobs>, shown: Option<Box<dyn Shown>>) -> Self {
        let kept = ask.between.as_ref().map(|between| (between.kept.blob, between.kept.bytes));
        let sizes = own_blobs(ask).chain(kept).collect();
        let within = Duration::from_millis(ask.limit.0 / SHOWN_SHARE);
        let shown = kept.zip(shown).map(|((blob, _), shown)| (blob, shown, within));
        Memory { sizes, blobs, shown, withheld: None }
    }

    async fn read(&mut self, blob: BlobHash, from: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        let size = self.sizes.get(&blob).map_or(0, |size| size.0);
        let fits = from.checked_add(bytes).is_some_and(|end| end <= size);
        if !fits || !(1..=NEED_BYTES_MAX).contains(&bytes) {
            return Err(broken("it needs what is no part of the job"));
        }
        match &mut self.shown {
            Some((of, shown, left)) if *of == blob => {
                let began = Instant::now();
                let part = match timeout(*left, shown.read(from, bytes)).await {
                    Ok(part) => part,
                    Err(_) => Err("not in time".to_owned()),
                };
                *left = left.saturating_sub(began.elapsed());
                part.map_err(|why| {
                    self.withheld = Some(why.clone());
                    Fault::Inputs { message: why }.bounded()
                })
            }
            Some(_) | None => stored(self.blobs.clone(), blob, from, bytes).await,
        }
    }
}

/// Asks, gives what is needed, and hears what was found.
async fn talk(
    child: &mut Child,
    mut stdin: ChildStdin,
    ask: Ask,
    memory: &mut Memory,
) -> Result<(Finding, ChildStdin), Fault> {
    let mut gone = stdin.write_all(&message_frame(&ToWorker::Check(Box::new(ask)))).await.is_err();
    loop {
        let message = match child.frames.recv().await {
            Some(Ok(Frame::Message(message))) => message,
            Some(Ok(Frame::Bytes(_))) => return Err(broken("it sent bytes where none are expected")),
            Some(Err(error)) => return Err(child.broke(error).await),
            None => return Err(child.died().await),
        };
        match message {
            FromWorker::Progress { .. } => {}
            FromWorker::Need { blob, from, bytes } if !gone => {
                let part = memory.read(blob, from, bytes).await?;
                gone = give(&mut stdin, &part).await.is_err();
            }
            FromWorker::Found(finding) => return Ok((finding, stdin)),
            FromWorker::Failed(fault) => return Err(fault.bounded()),
            FromWorker::Need { .. }
            | FromWorker::Ready
            | FromWorker::Loaded
            | FromWorker::Started
            | FromWorker::Output { .. }
            | FromWorker::States { .. }
            | FromWorker::Done(_) => return Err(broken("it said what belongs to no check")),
        }
    }
}

fn broken(message: &str) -> Fault {
    Fault::WorkerProtocol { message: message.to_owned() }
}

async fn stored(blobs: Arc<dyn Blobs>, blob: BlobHash, from: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
    let reading = task::spawn_blocking(move || {
        let mut part = vec![0; bytes as usize];
        blobs.open(&blob)?.read_exact_at(&mut part, from).map(|()| part)
    });
    let read = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let named = |error| format!("blob {} can't be read: {error}", blob.short());
    read.map_err(|error| Fault::Inputs { message: named(error) }.bounded())
}

async fn give(stdin: &mut ChildStdin, part: &[u8]) -> io::Result<()> {
    for piece in part.chunks(CHUNK_BYTES_MAX) {
        stdin.write_all(&header(Kind::Bytes, piece.len())).await?;
        stdin.write_all(piece).await?;
    }
    Ok(())
}
