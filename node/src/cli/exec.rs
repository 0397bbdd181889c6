//! `ion exec`: one program on this machine, through the same children that run foreign jobs, and no network.

use super::{
    CliError,
    args::{Common, ExecArgs},
    block_on_all,
    output::{self, Table},
    progress::Progress,
    run::Written,
    signals::Endings,
    start, words,
};
use crate::{
    manifest::{self, Job},
    show,
    workers::{self, ExecReport, Here, KeepFree, NewBlob, WorkersConfig},
};
use ion_gpu::{meter::KernelTime, probe::ProbeReport};
use ion_protocol::{
    BlobHash, Bytes, Millis, Nanos,
    fault::{Blame, Fault},
    hardware::{Device, Engine},
    job::JobSpec,
    message::LeaseState,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::{NamedTempFile, TempDir};
use tokio_util::sync::CancellationToken;

#[derive(Serialize)]
struct ExecJson<'a> {
    state: &'static str,
    name: &'a str,
    device: String,
    model: &'a str,
    engine: Engine,
    #[serde(rename = "device_time_ns")]
    device_time: Nanos,
    #[serde(rename = "ran_ms")]
    ran: Millis,
    #[serde(rename = "starting_ms")]
    starting: Millis,
    #[serde(rename = "loading_ns")]
    loading: Nanos,
    #[serde(rename = "moving_in_ns")]
    moving_in: Nanos,
    #[serde(rename = "moving_out_ns")]
    moving_out: Nanos,
    moved_in_bytes: Bytes,
    moved_out_bytes: Bytes,
    warp_instructions: Option<u64>,
    interpreted_warp_instructions: Option<u64>,
    kernels: Vec<KernelJson<'a>>,
    printed: &'a str,
    files: &'a [Written],
}

#[derive(Serialize)]
struct KernelJson<'a> {
    kernel: &'a str,
    launches: u64,
    #[serde(rename = "total_ns")]
    total: Nanos,
    #[serde(rename = "shortest_ns")]
    shortest: Nanos,
    #[serde(rename = "longest_ns")]
    longest: Nanos,
}

/// Runs a job here.
pub fn exec(common: &Common, args: ExecArgs) -> Result<(), CliError> {
    let job = manifest::load(&args.manifest)?;
    start::prepare(&args.out, &job)?;
    // Held until the results are written from it.
    let blobs = Arc::new(LocalBlobs::of(&job).map_err(no_room)?);
    block_on_all(async {
        // Before there are children that a signal would leave behind.
        let endings = Endings::listen()?;
        let exe = std::env::current_exe().map_err(|e| {
            CliError::node(
                format!("this program's own file can't be found: {e}"),
                "start it by its full path",
            )
        })?;
        let config = WorkersConfig {
            exe,
            backend: args.backend.into(),
            memory_max: Bytes::ZERO,
            keep_free: KeepFree::NOTHING,
            measured: None,
        };
        let here = Here::find(&config, blobs.clone()).await.map_err(|report| no_device(&report))?;
        let device = here.device().clone();
        let mut progress = Progress::new(common.quiet || common.json);
        compilable(&job, &device)?;
        progress.say(&format!("running {} on {}", output::printable(&job.spec.name), device.label()));
        note_unmet(&job, &device, &mut progress);
        let done = follow(here, job.spec.clone(), endings, &mut progress).await;
        progress.clear();
        let done = done?;
        let files = write(&args.out, &job, &done, blobs.dir.path())?;
        tell_result(common, &job, &device, &done, &files)
    })
}

fn no_room(error: io::Error) -> CliError {
    CliError::node(format!("no temporary directory: {error}"), "set $TMPDIR to a directory with room")
}

fn no_device(report: &ProbeReport) -> CliError {
    let hint = report.cuda.hint();
    let hint = hint.unwrap_or("the processor should always do; please report this with `ion exec -vv`");
    CliError::node(format!("no device to run it on (CUDA: {})", report.cuda), hint)
}

/// CUDA C needs more of this machine than a device.
fn compilable(job: &Job, device: &Device) -> Result<(), CliError> {
    match job.spec.program.cuda_c().filter(|_| !device.nvrtc) {
        None => Ok(()),
        Some(module) => Err(CliError::node(
            format!(
                "module `{}` is CUDA C, and there is no NVRTC for it here",
                output::printable(&module.name)
            ),
            "make PTX of it (`nvcc -ptx -arch=compute_75`), or install CUDA's NVRTC and put the folder of libnvrtc.so \
             into LD_LIBRARY_PATH; `ion doctor` says whether it is found",
        )),
    }
}

fn failed(fault: Fault) -> CliError {
    let message = output::printable(&fault.to_string());
    match fault.blame() {
        Blame::Job => CliError::failed(message, "correct the program; it would fail so everywhere"),
        Blame::Host => {
            CliError::node(message, "this machine can't run it now; `ion doctor` says what it lacks")
        }
        Blame::Limit | Blame::Cancelled => CliError::failed(message, words::fault_hint(&fault)),
    }
}

/// Needs choose among providers; on this machine they are only worth a word.
fn note_unmet(job: &Job, device: &Device, progress: &mut Progress) {
    if let Some(unmet) = job.spec.first_unmet(device) {
        progress.say(&format!(
            "note: this device would not be chosen in a network: it has not the {unmet} that is asked for"
        ));
    }
}

async fn follow(
    here: Here,
    spec: JobSpec,
    mut endings: Endings,
    progress: &mut Progress,
) -> Result<ExecReport, CliError> {
    let stop = CancellationToken::new();
    let mut tell = |done, total| progress.state(&LeaseState::Running { done, total });
    let run = here.run(spec, stop.clone(), &mut tell);
    tokio::pin!(run);
    loop {
        tokio::select! {
            result = &mut run => return result.map_err(failed),
            () = endings.next() => {
                if stop.is_cancelled() {
                    return Err(CliError::failed("left while the program was being stopped", "nothing was written"));
                }
                stop.cancel();
            }
        }
    }
}

fn write(out: &Path, job: &Job, done: &ExecReport, results: &Path) -> Result<Vec<Written>, CliError> {
    let mut files = Vec::new();
    for wanted in &job.outputs {
        let buffer = &job.spec.program.buffers[usize::from(wanted.buffer)];
        let found = done.outputs.iter().find(|o| o.buffer == wanted.buffer).ok_or_else(|| {
            CliError::node(
                format!("the worker gave no \"{}\"", buffer.name),
                "this is a fault of the program, please report it",
            )
        })?;
        let source = results.join(found.hash.to_string());
        let written = show::write(out, &wanted.file, buffer.element, &buffer.shape, &source);
        let path = written.map_err(|error| CliError::node(error.to_string(), start::OUT_HINT))?;
        files.push(Written { buffer: buffer.name.clone(), path, bytes: found.bytes, hash: found.hash });
    }
    Ok(files)
}

fn tell_result(
    common: &Common,
    job: &Job,
    device: &Device,
    done: &ExecReport,
    files: &[Written],
) -> Result<(), CliError> {
    let summary = &done.summary;
    if common.json {
        return output::json(&ExecJson {
            state: "done",
            name: &job.spec.name,
            device: device.label(),
            model: &device.model,
            engine: device.engine,
            device_time: summary.device_time,
            ran: done.ran,
            starting: done.starting,
            loading: summary.load,
            moving_in: nanos(done.feeding),
            moving_out: nanos(done.sending),
            moved_in_bytes: done.bytes_in,
            moved_out_bytes: done.bytes_out,
            warp_instructions: summary.instructions,
            interpreted_warp_instructions: summary.interpreted,
            kernels: summary.kernels.iter().map(KernelJson::of).collect(),
            printed: &summary.printed,
            files,
        });
    }
    output::line(&format!("name      {}", output::printable(&job.spec.name)))?;
    output::line(&format!("device    {}", output::printable(&device.label())))?;
    output::line(&format!(
        "times     ran {} ({} on the device, {} loading); its process started in {}",
        done.ran, summary.device_time, summary.load, done.starting
    ))?;
    output::line(&format!(
        "moved     {} in{}, {} out{}",
        done.bytes_in,
        rate(done.bytes_in, done.feeding),
        done.bytes_out,
        rate(done.bytes_out, done.sending)
    ))?;
    if let (Some(all), Some(interpreted)) = (summary.instructions, summary.interpreted) {
        let per_second = all as f64 / Duration::from_nanos(summary.device_time.0).as_secs_f64().max(1e-9);
        output::line(&format!(
            "code      {all} warp instructions, {:.1} million a second, {:.1} % of them interpreted",
            per_second / 1e6,
            100.0 * interpreted as f64 / all.max(1) as f64
        ))?;
    }
    for line in summary.printed.lines() {
        output::line(&format!("printed   {}", output::printable(line)))?;
    }
    files.iter().try_for_each(|f| output::line(&format!("wrote     {} ({})", f.path.display(), f.bytes)))?;
    let mut table = Table::new(&["KERNEL", "LAUNCHES", "TOTAL", "SHORTEST", "MEAN", "LONGEST"]);
    for row in &summary.kernels {
        let mean = Nanos(row.total.0 / row.launches.max(1));
        let times = [row.total, row.shortest, mean, row.longest].map(|time| time.to_string());
        table.row([row.kernel.clone(), row.launches.to_string()].into_iter().chain(times));
    }
    table.print()
}

impl<'a> KernelJson<'a> {
    fn of(row: &'a KernelTime) -> Self {
        let KernelTime { kernel, launches, total, shortest, longest } = row;
        Self { kernel, launches: *launches, total: *total, shortest: *shortest, longest: *longest }
    }
}

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// How fast bytes moved; nothing where there were none.
fn rate(bytes: Bytes, time: Duration) -> String {
    if bytes == Bytes::ZERO {
        return String::new();
    }
    let per_second = bytes.0 as f64 / time.as_secs_f64().max(1e-9);
    format!(" ({}/s)", Bytes(per_second as u64))
}

/// The job's own files, and a temporary directory for what comes out.
struct LocalBlobs {
    files: BTreeMap<BlobHash, PathBuf>,
    dir: TempDir,
}

impl LocalBlobs {
    fn of(job: &Job) -> io::Result<Self> {
        let files = job.files.iter().map(|f| (f.hash, f.path.clone())).collect();
        Ok(Self { files, dir: tempfile::Builder::new().prefix("ion-exec-").tempdir()? })
    }
}

impl workers::Blobs for LocalBlobs {
    fn open(&self, hash: &BlobHash) -> io::Result<File> {
        let result = self.dir.path().join(hash.to_string());
        File::open(self.files.get(hash).unwrap_or(&result))
    }

    fn create(&self, _bytes: Bytes) -> io::Result<Box<dyn NewBlob>> {
        let file = NamedTempFile::new_in(self.dir.path())?;
        Ok(Box::new(NewFile { file, hasher: blake3::Hasher::new(), dir: self.dir.path().to_owned() }))
    }
}

struct NewFile {
    file: NamedTempFile,
    hasher: blake3::Hasher,
    dir: PathBuf,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewBlob for NewFile {
    fn finish(self: Box<Self>) -> io::Result<BlobHash> {
        let hash = BlobHash(*self.hasher.finalize().as_bytes());
        self.file.persist(self.dir.join(hash.to_string()))?;
        Ok(hash)
    }
}
