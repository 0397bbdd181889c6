//! One program on this machine, through the same child that runs foreign jobs, with all its figures.

use super::{
    Blobs, Patience, WorkersConfig,
    child::{Spawner, millis},
    job::{Host, Start},
    probe,
    turn::Turn,
};
use ion_gpu::worker::{Task, frame::Summary};
use ion_protocol::{
    Bytes, Millis, deal::InlineBlob, fault::Fault, hardware::Device, job::JobSpec, receipt::Output,
};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// What a program did here.
#[derive(Clone, Debug)]
pub struct ExecReport {
    /// On what.
    pub device: Device,
    /// What came out; in the blob store.
    pub outputs: Vec<Output>,
    /// The small ones once more.
    pub inline: Vec<InlineBlob>,
    /// Device time, and the time of each kernel.
    pub summary: Summary,
    /// Modules and inputs moved into the child.
    pub bytes_in: Bytes,
    /// Outputs moved out of it.
    pub bytes_out: Bytes,
    /// From the start of the process until its device was open.
    pub starting: Millis,
    /// Moving modules and inputs.
    pub feeding: Millis,
    /// From the job's first frame to the last byte of output.
    pub ran: Millis,
}

/// Runs `spec` on the first device that `config` allows. `progress` hears launches done and in all; `stop` ends it.
pub async fn exec(
    config: WorkersConfig,
    blobs: Arc<dyn Blobs>,
    spec: JobSpec,
    stop: CancellationToken,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<ExecReport, Fault> {
    let patience = Patience::default();
    let spawner = Spawner::start(config.exe.clone());
    let (report, ways) = probe::probe(&spawner, &config, patience).await;
    let (Some(device), Some(way)) = (report.devices.first(), ways.first()) else {
        let why = report.cpu_trouble.unwrap_or_else(|| report.cuda.to_string());
        return Err(Fault::NoDevice { message: format!("no device: {why}") });
    };
    let task = Task::Serve { engine: way.engine, memory: device.memory };
    let spawner = spawner.showing(way.shown.clone());
    let host = Host { spawner, task, device: device.clone(), blobs, patience };
    let began = Instant::now();
    let mut child = host.ready_child().await?;
    let starting = millis(began.elapsed());
    let spec = Arc::new(spec);
    let start = Start { turn: std::future::ready(Turn::only()), fill: true };
    let ran = host.run(&mut child, &spec, false, start, &stop, progress).await;
    let finished = ran.map_err(|ended| ended.fault)?;
    child.end().await;
    let bytes_in =
        spec.program.blobs().iter().fold(Bytes::ZERO, |sum, (_, bytes)| sum.saturating_add(*bytes));
    Ok(ExecReport {
        device: host.device,
        bytes_in,
        bytes_out: finished.bytes_out(),
        starting,
        feeding: millis(finished.fed),
        ran: finished.ran,
        outputs: finished.outputs,
        inline: finished.inline,
        summary: finished.summary,
    })
}
