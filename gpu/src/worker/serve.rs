//! A worker's jobs, one after the other, until the node closes the pipe.
//!
//! Threads: this one reads frames and runs the job; one waits for the pipe's end, so that a node that dies is noticed in the
//! middle of a launch; one tells progress. A job that ends in a fault ends the process: after some faults a device is of no more use, and the
//! next tenant shall not depend on which.

use super::{
    EXIT_FAULT,
    frame::{CHUNK_BYTES_MAX, Frame, FromWorker, Summary, ToWorker, message_frame, read_frame, write_chunk},
    heartbeat::Heartbeat,
    sandbox,
};
use crate::{
    backend::{Backend, Output, RunLimits},
    cuda, meter,
    pages::AlignedBytes,
    program::{LoadedProgram, Sources},
    states::Recorded,
};
use ion_protocol::{BlobHash, Bytes, Millis, Nanos, fault::Fault, job::JobSpec};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// The way to the node, shared by the job and its heartbeat.
#[derive(Clone)]
pub(super) struct Out(Arc<Mutex<Pipe>>);

struct Pipe {
    file: File,
    /// What goes out with the next word.
    held: Vec<u8>,
}

impl Out {
    fn to(file: File) -> Self {
        Self(Arc::new(Mutex::new(Pipe { file, held: Vec::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Pipe> {
        // A panic while writing leaves at worst half a frame, which the node tells from a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, message: &FromWorker) -> io::Result<()> {
        let Pipe { file, held } = &mut *self.lock();
        held.extend_from_slice(&message_frame(message));
        let said = file.write_all(held);
        held.clear();
        said
    }

    /// Says it with the next word, which comes within a heartbeat: a short job wakes its node once less.
    fn say_with_next(&self, message: &FromWorker) {
        self.lock().held.extend_from_slice(&message_frame(message));
    }

    fn chunk(&self, bytes: &[u8]) -> io::Result<()> {
        write_chunk(&mut self.lock().file, bytes)
    }
}

/// What the node says.
pub(super) struct Frames(Box<dyn Read + Send>);

impl Frames {
    /// The next frame; `None` where the pipe ended, or what came is no frame.
    pub(super) fn next(&mut self) -> Option<Frame<ToWorker>> {
        read_frame(&mut self.0).ok().flatten()
    }

    /// The next bytes of a blob, in as many pieces as they come.
    pub(super) fn fill(&mut self, mut into: &mut [u8]) -> Result<(), Fault> {
        while !into.is_empty() {
            let piece = match self.next() {
                Some(Frame::Bytes(piece)) if !piece.is_empty() && piece.len() <= into.len() => piece,
                Some(Frame::Bytes(_)) => return Err(broken("a piece of a blob has the wrong size")),
                Some(Frame::Message(_)) => return Err(broken("a message came in the middle of a blob")),
                None => return Err(broken("the pipe ended in the middle of a blob")),
            };
            let (here, behind) = into.split_at_mut(piece.len());
            here.copy_from_slice(&piece);
            into = behind;
        }
        Ok(())
    }
}

/// Whether the node is still there, as two threads see it.
#[derive(Default)]
struct Tie {
    busy: AtomicBool,
    cut: AtomicBool,
}

/// Runs the jobs that come on `input` and tells their ends on `output`. A backend that could not be opened is told as
/// the end of the first job.
pub fn serve(
    input: impl Read + AsFd + Send + 'static,
    output: File,
    backend: Result<Box<dyn Backend>, Fault>,
    memory: Bytes,
) -> ExitCode {
    let out = Out::to(output);
    let mut backend = match backend {
        Ok(backend) => backend,
        Err(fault) => {
            let _ = out.say(&FromWorker::Failed(fault.bounded()));
            return ExitCode::from(EXIT_FAULT);
        }
    };
    let tie = Arc::new(Tie::default());
    // Without it a node that dies is noticed when the job is done.
    if let Ok(pipe) = input.as_fd().try_clone_to_owned() {
        let tie = tie.clone();
        thread::spawn(move || await_end(&pipe, &tie));
    }
    let mut frames = Frames(Box::new(input));
    if out.say(&FromWorker::Ready).is_err() {
        return ExitCode::SUCCESS;
    }
    let heartbeat = Heartbeat::start(out.clone());
    while let Some(frame) = frames.next() {
        tie.busy.store(true, Ordering::SeqCst);
        if tie.cut.load(Ordering::SeqCst) {
            break;
        }
        let end = match frame {
            Frame::Message(ToWorker::Job { spec, keep_states }) => {
                told(&heartbeat, spec.program.launches(), |done| {
                    let job = Job { spec: &spec, keep_states, memory };
                    job.run(&mut *backend, &mut frames, &out, done).map(FromWorker::Done)
                })
            }
            Frame::Message(ToWorker::Check(ask)) => told(&heartbeat, 0, |_| {
                super::check::check(&ask, memory, &mut frames, &out).map(FromWorker::Found)
            }),
            Frame::Message(ToWorker::Start | ToWorker::Hold { .. }) | Frame::Bytes(_) => {
                FromWorker::Failed(broken("no job was given before"))
            }
        };
        let good = matches!(end, FromWorker::Done(_) | FromWorker::Found(_));
        if out.say(&end).is_err() || !good {
            return ExitCode::from(EXIT_FAULT);
        }
        tie.busy.store(false, Ordering::SeqCst);
    }
    ExitCode::SUCCESS
}

/// Waits until the node closes the pipe. In the middle of a job nobody wants its result any more: the process ends at once.
fn await_end(pipe: &OwnedFd, tie: &Tie) {
    // With no event asked for, only the end is told.
    let mut end = [PollFd::new(pipe, PollFlags::empty())];
    while matches!(poll(&mut end, None), Ok(0) | Err(rustix::io::Errno::INTR)) {}
    tie.cut.store(true, Ordering::SeqCst);
    if tie.busy.load(Ordering::SeqCst) {
        sandbox::die();
    }
}

/// Does one thing under its heartbeat and makes a fault of a panic: a panic is our bug, told as such.
fn told(
    heartbeat: &Heartbeat,
    launches: u64,
    work: impl FnOnce(&AtomicU64) -> Result<FromWorker, Fault>,
) -> FromWorker {
    let done = Arc::new(AtomicU64::new(0));
    let beating = heartbeat.begin(done.clone(), launches);
    let result = catch_unwind(AssertUnwindSafe(|| work(&done)));
    drop(beating);
    match result {
        Ok(Ok(end)) => end,
        Ok(Err(fault)) => FromWorker::Failed(fault.bounded()),
        Err(panic) => {
            let how = format!("it panicked: {}", panic_text(&*panic));
            FromWorker::Failed(Fault::WorkerCrashed { how }.bounded())
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

/// A job as it is given.
struct Job<'a> {
    spec: &'a JobSpec,
    keep_states: bool,
    memory: Bytes,
}

impl Job<'_> {
    fn run(
        &self,
        backend: &mut dyn Backend,
        frames: &mut Frames,
        out: &Out,
        done: &AtomicU64,
    ) -> Result<Summary, Fault> {
        let spec = self.spec;
        spec.check().map_err(|error| Fault::Program { message: error.to_string() })?;
        let limits =
            RunLimits { run: spec.limits.run, memory: spec.limits.memory.min(self.memory), fuel: None };
        let began = Instant::now();
        let mut incoming = Incoming::new(spec, frames);
        let mut blob = |hash, bytes| incoming.take(hash, bytes);
        let mut sources = Sources { blob: &mut blob, compile: &mut cuda::compile };
        let mut program = LoadedProgram::load(spec.program.clone(), &limits, &mut sources)?;
        if self.keep_states {
            program.keep_states();
        }
        let load = self.await_start(backend, &mut program, &limits, frames, out, began)?;
        out.say_with_next(&FromWorker::Started);
        let cancel = AtomicBool::new(false);
        let began = Instant::now();
        let report = backend.run(program, &limits, &cancel, &mut |progress| {
            done.store(progress.launches_done, Ordering::Relaxed)
        })?;
        let ran = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        done.store(report.launches.len() as u64, Ordering::Relaxed);
        let kernels = meter::per_kernel(&spec.program, &report.launches);
        for output in report.outputs {
            send(output, out)?;
        }
        let states_missing = send_states(report.states, out)?;
        Ok(Summary {
            device_time: report.device_time,
            ran,
            load,
            instructions: report.instructions,
            interpreted: report.interpreted,
            kernels,
            states_missing,
            printed: report.printed,
        })
    }
}

impl Job<'_> {
    /// Waits for the job's turn, and says how long it took to load until then.
    fn await_start(
        &self,
        backend: &mut dyn Backend,
        program: &mut LoadedProgram,
        limits: &RunLimits,
        frames: &mut Frames,
        out: &Out,
        began: Instant,
    ) -> Result<Nanos, Fault> {
        let mut load = nanos(began);
        let mut word = frames.next();
        if let Some(Frame::Message(ToWorker::Hold { fill })) = word {
            backend.prepare(program, limits, fill)?;
            load = nanos(began);
            say(out, &FromWorker::Loaded)?;
            word = frames.next();
        }
        match word {
            Some(Frame::Message(ToWorker::Start)) => Ok(load),
            Some(
                Frame::Message(ToWorker::Job { .. } | ToWorker::Check(_) | ToWorker::Hold { .. })
                | Frame::Bytes(_),
            )
            | None => Err(broken("expected the start of the job")),
        }
    }
}

pub(super) fn broken(message: &str) -> Fault {
    Fault::WorkerProtocol { message: message.to_owned() }
}

fn nanos(since: Instant) -> Nanos {
    Nanos(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn say(out: &Out, message: &FromWorker) -> Result<(), Fault> {
    out.say(message).map_err(hung_up)
}

fn send(output: Output, out: &Out) -> Result<(), Fault> {
    let bytes = Bytes(output.bytes.len() as u64);
    say(out, &FromWorker::Output { buffer: output.buffer, bytes })?;
    send_bytes(&output.bytes, out)
}

/// Sends the memory between launches, or says why there is none.
fn send_states(recorded: Recorded, out: &Out) -> Result<String, Fault> {
    let bytes = recorded.bytes();
    match recorded {
        Recorded::NotAsked => Ok(String::new()),
        Recorded::EndsOnly(why) => Ok(why),
        Recorded::Kept { every, parts } => {
            say(out, &FromWorker::States { every, bytes })?;
            parts.into_iter().try_for_each(|part| send_bytes(&part, out))?;
            Ok(String::new())
        }
    }
}

fn send_bytes(bytes: &[u8], out: &Out) -> Result<(), Fault> {
    bytes.chunks(CHUNK_BYTES_MAX).try_for_each(|chunk| out.chunk(chunk).map_err(hung_up))
}

/// Memory for an input.
pub(super) fn room(bytes: Bytes) -> Result<AlignedBytes, Fault> {
    let room = usize::try_from(bytes.0).ok().and_then(AlignedBytes::zeros);
    room.ok_or_else(|| Fault::Room { message: format!("no memory for an input of {bytes}") })
}

fn hung_up(error: io::Error) -> Fault {
    broken(&format!("the node hung up: {error}"))
}

/// The blobs of a job as they come: each once, in order of first use; what is used again is kept.
struct Incoming<'a> {
    frames: &'a mut Frames,
    coming: VecDeque<(BlobHash, Bytes)>,
    uses: BTreeMap<BlobHash, u32>,
    kept: BTreeMap<BlobHash, AlignedBytes>,
}

impl<'a> Incoming<'a> {
    fn new(spec: &JobSpec, frames: &'a mut Frames) -> Self {
        let mut uses = BTreeMap::new();
        let modules = spec.program.modules.iter().map(|module| module.blob);
        let buffers = spec.program.buffers.iter().filter_map(|buffer| match buffer.init {
            ion_protocol::job::Init::Blob(hash) => Some(hash),
            ion_protocol::job::Init::Zero => None,
        });
        modules.chain(buffers).for_each(|hash| *uses.entry(hash).or_default() += 1);
        Self { frames, coming: spec.program.blobs().into(), uses, kept: BTreeMap::new() }
    }

    fn take(&mut self, hash: BlobHash, bytes: Bytes) -> Result<AlignedBytes, Fault> {
        let left = self.uses.get_mut(&hash).map_or(0, |left| {
            *left = left.saturating_sub(1);
            *left
        });
        let content = match self.kept.remove(&hash) {
            Some(content) => content,
            None => self.receive(hash, bytes)?,
        };
        if left > 0 {
            self.kept.insert(hash, content.clone());
        }
        Ok(content)
    }

    fn receive(&mut self, hash: BlobHash, bytes: Bytes) -> Result<AlignedBytes, Fault> {
        if self.coming.pop_front() != Some((hash, bytes)) {
            return Err(broken("blobs are used in another order than they come"));
        }
        let mut content = room(bytes)?;
        self.frames.fill(&mut content)?;
        Ok(content)
    }
}
