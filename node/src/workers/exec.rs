//! One program on this machine, through the same child that runs foreign jobs, with all its figures.

use super::{
    Blobs, Patience, ProbeReport, WorkersConfig,
    child::{Spawner, millis},
    job::{Host, Start},
    probe,
    turn::Turn,
};
use ion_gpu::worker::{Task, frame::Summary};
use ion_protocol::{Bytes, Millis, fault::Fault, hardware::Device, job::JobSpec, receipt::Output};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The device of this machine that a program gets which goes to no network.
pub struct Here {
    host: Host,
}

/// What a program did here.
#[derive(Clone, Debug)]
pub struct ExecReport {
    /// What came out; in the blob store.
    pub outputs: Vec<Output>,
    /// Device time, the time of each kernel, and what was executed.
    pub summary: Summary,
    /// Modules and inputs moved into the child.
    pub bytes_in: Bytes,
    /// Outputs moved out of it.
    pub bytes_out: Bytes,
    /// From the start of the process until its device was open.
    pub starting: Millis,
    /// Moving modules and inputs.
    pub feeding: Duration,
    /// Moving outputs.
    pub sending: Duration,
    /// From when the child had all inputs to the last byte of output.
    pub ran: Millis,
}

impl Here {
    /// The first device that `config` allows; else what was found instead.
    pub async fn find(config: &WorkersConfig, blobs: Arc<dyn Blobs>) -> Result<Self, Box<ProbeReport>> {
        let patience = Patience::default();
        let spawner = Spawner::start(config.exe.clone());
        let (report, ways) = probe::probe(&spawner, config, patience).await;
        let (Some(device), Some(way)) = (report.devices.first(), ways.first()) else {
            return Err(Box::new(report));
        };
        let task = Task::Serve { engine: way.engine, memory: device.memory };
        let spawner = spawner.showing(way.shown.clone());
        Ok(Self { host: Host { spawner, task, device: device.clone(), blobs, patience } })
    }

    /// What was found.
    pub fn device(&self) -> &Device {
        &self.host.device
    }

    /// Runs a program. `progress` hears launches done and in all; `stop` ends it.
    pub async fn run(
        self,
        spec: JobSpec,
        stop: CancellationToken,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<ExecReport, Fault> {
        let began = Instant::now();
        let mut child = self.host.ready_child().await?;
        let starting = millis(began.elapsed());
        let spec = Arc::new(spec);
        let start = Start { turn: std::future::ready(Turn::only()), fill: true };
        let ran = self.host.run(&mut child, &spec, false, start, &stop, progress).await;
        let finished = ran.map_err(|ended| ended.fault)?;
        child.end().await;
        let blobs = spec.program.blobs();
        Ok(ExecReport {
            bytes_in: blobs.iter().fold(Bytes::ZERO, |sum, (_, bytes)| sum.saturating_add(*bytes)),
            bytes_out: finished.bytes_out(),
            starting,
            feeding: finished.fed,
            sending: finished.sent,
            ran: finished.ran,
            outputs: finished.outputs,
            summary: finished.summary,
        })
    }
}
