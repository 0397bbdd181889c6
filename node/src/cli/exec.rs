//! `ion exec`: one program on this machine, through the same children that run foreign jobs, and no network.

use super::{
    CliError,
    args::{Common, ExecArgs},
    block_on_all, output,
    progress::Progress,
    run::Written,
    signals::Endings,
    start, words,
};
use crate::{
    manifest::{self, Job},
    show,
    workers::{self, KeepFree, NewBlob, WorkersConfig, WorkersHandle},
};
use ion_protocol::{
    BlobHash, Bytes, Millis, Nanos, NodeId,
    fault::{Blame, Fault},
    hardware::{Device, Engine},
    message::LeaseState,
};
use ion_scheduler::input::{Input, WorkId, WorkReport};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::mpsc;

/// The one tenant of this process: its owner, who needs no key for it.
const OWNER: NodeId = NodeId([0; 32]);

/// Words of the one worker that may wait to be shown.
const INPUTS_CAPACITY: usize = 256;
/// The only program there is.
const WORK: WorkId = WorkId(1);

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
    printed: &'a str,
    files: &'a [Written],
}

/// Runs a job here.
pub fn exec(common: &Common, args: ExecArgs) -> Result<(), CliError> {
    let job = manifest::load(&args.manifest)?;
    start::prepare(&args.out, &job)?;
    let blobs = LocalBlobs::of(&job).map_err(no_room)?;
    let results = blobs.dir.path().to_owned();
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
        let (tell, inputs) = mpsc::channel(INPUTS_CAPACITY);
        let (workers, report) = workers::start(config, Arc::new(blobs), tell).await;
        let device = report.devices.first().ok_or_else(|| {
            let hint = report
                .cuda
                .hint()
                .unwrap_or("the processor should always do; please report this with `ion exec -vv`");
            CliError::node(format!("no device to run it on (CUDA: {})", report.cuda), hint)
        })?;
        let mut progress = Progress::new(common.quiet || common.json);
        compilable(&job, device)?;
        progress.say(&format!("running {} on {}", output::printable(&job.spec.name), device.label()));
        note_unmet(&job, device, &mut progress);
        workers.run(WORK, OWNER, device.index, Box::new(job.spec.clone()), false).map_err(failed)?;
        let done = follow(&workers, inputs, endings, &mut progress).await;
        progress.clear();
        let done = done?;
        let files = write(&args.out, &job, &done, &results)?;
        tell_result(common, &job, &done, &files)
    })
}

fn no_room(error: io::Error) -> CliError {
    CliError::node(format!("no temporary directory: {error}"), "set $TMPDIR to a directory with room")
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
    workers: &WorkersHandle,
    mut inputs: mpsc::Receiver<Input>,
    mut endings: Endings,
    progress: &mut Progress,
) -> Result<WorkReport, CliError> {
    let mut cancelled = false;
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                Some(Input::WorkProgress { done, total, .. }) => {
                    progress.state(&LeaseState::Running { done, total });
                }
                Some(Input::WorkDone { result, .. }) => return result.map_err(failed),
                Some(_) => {}
                None => return Err(CliError::node("the worker is gone", "this is a fault of the program, please report it")),
            },
            () = endings.next() => {
                if cancelled {
                    return Err(CliError::failed("left while the program was being stopped", "nothing was written"));
                }
                cancelled = true;
                workers.stop(WORK);
            }
        }
    }
}

fn write(out: &Path, job: &Job, done: &WorkReport, results: &Path) -> Result<Vec<Written>, CliError> {
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

fn tell_result(common: &Common, job: &Job, done: &WorkReport, files: &[Written]) -> Result<(), CliError> {
    let device = done.engine.label(&done.device);
    if common.json {
        return output::json(&ExecJson {
            state: "done",
            name: &job.spec.name,
            device,
            model: &done.device,
            engine: done.engine,
            device_time: done.device_time,
            ran: done.ran,
            printed: &done.printed,
            files,
        });
    }
    output::line(&format!("name      {}", output::printable(&job.spec.name)))?;
    output::line(&format!("device    {}", output::printable(&device)))?;
    output::line(&format!("times     ran {} ({} on the device)", done.ran, done.device_time))?;
    for line in done.printed.lines() {
        output::line(&format!("printed   {}", output::printable(line)))?;
    }
    files.iter().try_for_each(|f| output::line(&format!("wrote     {} ({})", f.path.display(), f.bytes)))
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
