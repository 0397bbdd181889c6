//! Supervision of the children that run foreign kernels: each an `ion worker` for one device, a fresh process per tenant.
//!
//! Owns the children: starts them ahead of need, feeds them a job and its blobs, watches them, kills them (deadline,
//! silence, a broken protocol, the engine's wish) and says how each ended. Never loads a driver or parses PTX: a child
//! does. Blobs are read from and written to the store it is given; a blob whose bytes are not its hash never runs.
//!
//! ```text
//! handle -> [device: one job's turn at a time] -> job -> child process
//!                       |                   feed: store -> stdin     outputs: stdout -> store
//!                       spawner: the thread that starts children
//! checker -> child process: blocks of others' results run again
//! ```
//! Limits: the named constants here, in [`Patience`] and in [`ion_gpu::worker::frame`]. Tests with real children:
//! `node/tests/workers.rs`.

mod check;
mod child;
mod children;
mod device;
mod exec;
mod feed;
mod job;
pub mod measured;
mod outputs;
mod probe;
mod turn;
mod watch;

pub use crate::config::{Backend as BackendChoice, KeepFree};
pub use check::{CheckerHandle, Shown, start_checker};
pub use exec::{ExecReport, Here};
pub use ion_gpu::probe::{CudaState, ProbeReport};
pub use watch::Sights;

use child::Spawner;
use ion_gpu::worker::Task;
use ion_protocol::{BlobHash, Bytes, NodeId, fault::Fault, job::JobSpec};
use ion_scheduler::input::{Input, WorkId};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Jobs that may wait for one device: the engine sends the next when one ends, so a few are plenty.
pub const DEVICE_QUEUE_MAX: usize = 16;

/// Where blobs are read from and written to. Called from blocking threads, unless a method says otherwise.
pub trait Blobs: Send + Sync + 'static {
    /// The bytes of a blob, from the start; the caller checks their hash.
    fn open(&self, hash: &BlobHash) -> io::Result<File>;

    /// The right bytes of a blob, where nothing is to be waited for; may be called from anywhere.
    fn at_hand(&self, _: &BlobHash) -> Option<Arc<[u8]>> {
        None
    }

    /// Room for a new blob of `bytes` bytes.
    fn create(&self, bytes: Bytes) -> io::Result<Box<dyn NewBlob>>;
}

/// A blob under construction; dropped unfinished, it leaves nothing behind.
pub trait NewBlob: Write + Send {
    /// Keeps it and tells its hash.
    fn finish(self: Box<Self>) -> io::Result<BlobHash>;
}

/// How workers are run.
#[derive(Clone, Debug)]
pub struct WorkersConfig {
    /// The program whose verb `worker` is the child: this one.
    pub exe: PathBuf,
    /// Which devices are used.
    pub backend: BackendChoice,
    /// Most memory the worker of the CPU device may use, half of it for a job's buffers (what comes out is held twice
    /// while it is delivered); zero for half of what the machine has.
    pub memory_max: Bytes,
    /// Memory of each GPU that no job gets.
    pub keep_free: KeepFree,
    /// Where it is kept what was measured of the cards; `None` to measure and forget.
    pub measured: Option<PathBuf>,
}

/// How long a child may take for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a driver to say what there is, its measurement included. Those of machines with many GPUs take seconds to start.
    pub driver: Duration,
    /// For the processor to be measured, by a program of ours that hangs on nothing but may stand in line.
    pub processor: Duration,
    /// From the start of the process until the device is open.
    pub start: Duration,
    /// Between two words of a worker with a job; it speaks every [`ion_gpu::worker::frame::PROGRESS_EVERY`].
    pub silence: Duration,
    /// For reading and checking a job, beside the time its bytes take to move.
    pub load: Duration,
    /// Beyond a job's own limit: the worker ends it itself and says so; after this it is killed.
    pub grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            driver: Duration::from_secs(30),
            processor: Duration::from_secs(120),
            start: Duration::from_secs(60),
            silence: Duration::from_secs(5),
            load: Duration::from_secs(60),
            grace: Duration::from_millis(500),
        }
    }
}

/// A job on its way to a device.
struct Work {
    work: WorkId,
    tenant: NodeId,
    spec: Box<JobSpec>,
    keep_states: bool,
    stop: CancellationToken,
}

/// What a device is asked.
enum Ask {
    Run(Work),
    /// Hold nothing of the device any more, once what runs has ended.
    Rest,
    /// Be ready for a job.
    Wake,
}

/// The jobs that are queued or running, with what stops each.
#[derive(Clone, Debug, Default)]
struct Stops(Arc<Mutex<BTreeMap<WorkId, CancellationToken>>>);

impl Stops {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkId, CancellationToken>> {
        // Nothing that can panic happens under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives work to the devices. Clones share the devices; when the last is gone the children end.
#[derive(Clone, Debug)]
pub struct WorkersHandle {
    devices: Vec<mpsc::Sender<Ask>>,
    stops: Stops,
    spawner: Spawner,
}

impl WorkersHandle {
    /// Runs `spec` of `tenant` on a device, and keeps the memory between its launches where
    /// that is wanted; the end comes back as [`Input::WorkDone`]. Never waits: where it can't be taken on, the
    /// fault is returned and nothing comes back.
    pub fn run(
        &self,
        work: WorkId,
        tenant: NodeId,
        device: u16,
        spec: Box<JobSpec>,
        keep_states: bool,
    ) -> Result<(), Fault> {
        let queue = self.devices.get(usize::from(device)).ok_or_else(|| Fault::NoDevice {
            message: format!("this node has no device {device}; it has {}", self.devices.len()),
        })?;
        let stop = CancellationToken::new();
        self.stops.lock().insert(work, stop.clone());
        queue.try_send(Ask::Run(Work { work, tenant, spec, keep_states, stop })).map_err(|error| {
            self.stops.lock().remove(&work);
            let message = match error {
                mpsc::error::TrySendError::Full(_) => {
                    format!("device {device} has {DEVICE_QUEUE_MAX} jobs waiting already")
                }
                mpsc::error::TrySendError::Closed(_) => format!("device {device} is shut down"),
            };
            Fault::NoDevice { message }
        })
    }

    /// Tells how the cards of these names are, device by device, until nobody listens or there is no library to ask.
    pub fn watch(&self, uuids: Vec<String>, to: mpsc::Sender<Sights>) {
        tokio::spawn(watch::watch(self.spawner.clone(), uuids, to));
    }

    /// Ends the idle children of a device, so that its owner has all of it; one at work is let be.
    pub fn rest(&self, device: u16) {
        self.ask(device, Ask::Rest);
    }

    /// Has a child made ready again.
    pub fn wake(&self, device: u16) {
        self.ask(device, Ask::Wake);
    }

    fn ask(&self, device: u16, ask: Ask) {
        if let Some(queue) = self.devices.get(usize::from(device)) {
            // A queue full of jobs has no idle child, and what it holds ends soon: the owner's jobs come through the engine.
            let _ = queue.try_send(ask);
        }
    }

    /// Kills a job; it ends with [`Fault::Cancelled`]. One that has ended is let be.
    pub fn stop(&self, work: WorkId) {
        if let Some(stop) = self.stops.lock().get(&work) {
            stop.cancel();
        }
    }
}

/// Finds out what the machine has and starts one supervisor per device.
pub async fn start(
    config: WorkersConfig,
    blobs: Arc<dyn Blobs>,
    inputs: mpsc::Sender<Input>,
) -> (WorkersHandle, ProbeReport) {
    start_with(config, Patience::default(), blobs, inputs).await
}

/// Finds out what the machine has, and starts nothing.
pub async fn look(config: WorkersConfig) -> ProbeReport {
    let spawner = Spawner::start(config.exe.clone());
    probe::probe(&spawner, &config, Patience::default()).await.0
}

/// [`start`], with other patience.
pub async fn start_with(
    config: WorkersConfig,
    patience: Patience,
    blobs: Arc<dyn Blobs>,
    inputs: mpsc::Sender<Input>,
) -> (WorkersHandle, ProbeReport) {
    let spawner = Spawner::start(config.exe.clone());
    let (report, ways) = probe::probe(&spawner, &config, patience).await;
    let stops = Stops::default();
    let devices = report
        .devices
        .iter()
        .zip(ways)
        .map(|(device, way)| {
            let (to, jobs) = mpsc::channel(DEVICE_QUEUE_MAX);
            let task = Task::Serve { engine: way.engine, memory: device.memory };
            let host = job::Host {
                spawner: spawner.showing(way.shown),
                task,
                device: device.clone(),
                blobs: blobs.clone(),
                patience,
            };
            tokio::spawn(device::supervise(host, jobs, stops.clone(), inputs.clone()));
            to
        })
        .collect();
    (WorkersHandle { devices, stops, spawner }, report)
}

/// Memory a job may use on the CPU device.
fn job_memory(config: &WorkersConfig) -> Bytes {
    match config.memory_max {
        Bytes::ZERO => crate::config::memory_share(25),
        limit => Bytes(limit.0 / 2),
    }
}
