//! Taking a job on: its files go into the blob store on a blocking thread, then the engine hears of it.

use super::{Chore, Driver, control::Reply};
use crate::{
    blobs::{BlobStore, BlobStoreError, Hold},
    control::api::FileRef,
};
use ion_protocol::{BlobHash, Bytes, JobId, deal::InlineBlob, job::JobSpec, limits::INLINE_BYTES_MAX};
use ion_scheduler::{Input, input::OwnerInput};

/// The engine's name for a job whose first record is not on disk yet.
const RECORDING: &str = "recording";

/// The way out where not the job's files are to blame.
pub(super) const NOT_TAKEN: &str = "nothing was taken on; put that right, then submit again";

/// Somebody who wants a job taken on.
pub(super) struct Submitter {
    pub(super) reply: Reply,
    /// Wants to be told how it goes on, too.
    pub(super) watch: bool,
}

/// A job whose files are held, or why they are not.
pub(super) struct Imported {
    job: JobId,
    spec: Box<JobSpec>,
    verify: u16,
    submitter: Submitter,
    result: Result<Vec<InlineBlob>, ImportError>,
    /// Keeps the files in the store until the engine knows that it needs them.
    held: Hold,
}

/// Why a job's files could not be taken over.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{file} could not be read into the blob store: {source}")]
    Store { file: String, source: BlobStoreError },
    #[error("{file} changed while it was submitted")]
    Changed { file: String },
    #[error("the job's files could not be made durable: {0}")]
    Durable(BlobStoreError),
    #[error("the job names the blob {hash}, but no file with that content was given")]
    Missing { hash: String },
}

impl ImportError {
    fn hint(&self) -> &'static str {
        match self {
            Self::Store { source: BlobStoreError::DiskFull { .. } | BlobStoreError::Full { .. }, .. }
            | Self::Durable(_) => NOT_TAKEN,
            Self::Store { .. } | Self::Changed { .. } | Self::Missing { .. } => {
                "check the file, then submit again"
            }
        }
    }
}

impl Driver {
    /// Begins to take a job on; answers once it is durable.
    pub(super) fn on_submit(
        &mut self,
        job: JobId,
        spec: Box<JobSpec>,
        files: Vec<FileRef>,
        verify: u16,
        submitter: Submitter,
    ) {
        let Some(submitter) = self.unless_known(job, submitter) else { return };
        if let Err(error) = spec.check() {
            return submitter
                .reply
                .error(error.to_string(), "check the job with `ion run JOB.toml --dry-run`");
        }
        let (store, chores) = (self.store.clone(), self.chores.clone());
        if let Some(inline) = at_hand(&store, &spec) {
            let held = store.hold(spec.program.blobs().into_iter().map(|(hash, _)| hash));
            return self.on_imported(Imported { job, spec, verify, submitter, result: Ok(inline), held });
        }
        tokio::task::spawn_blocking(move || {
            let held = store.hold(spec.program.blobs().into_iter().map(|(hash, _)| hash));
            let result = import(&store, &spec, &files);
            let _ = chores.blocking_send(Chore::Imported(Imported {
                job,
                spec,
                verify,
                submitter,
                result,
                held,
            }));
        });
    }

    /// Hands an imported job to the engine.
    pub(super) fn on_imported(&mut self, imported: Imported) {
        let Imported { job, spec, verify, submitter, result, held } = imported;
        let inline = match result {
            Ok(inline) => inline,
            Err(error) => {
                return submitter.reply.error(error.to_string(), error.hint());
            }
        };
        // The same job may have been submitted again while the files of both were taken over.
        let Some(submitter) = self.unless_known(job, submitter) else { return };
        self.submissions.entry(job).or_default().push(submitter);
        self.feed(Input::Owner(OwnerInput::Submit { job, spec: *spec, inline, verify }));
        drop(held);
    }

    /// Answers for a job the engine has: at once where it is durable, else as soon as it is. Gives the submitter back where
    /// the engine has no such job.
    fn unless_known(&mut self, job: JobId, submitter: Submitter) -> Option<Submitter> {
        let Some(view) = self.engine.job(&job) else { return Some(submitter) };
        if view.state == RECORDING {
            self.submissions.entry(job).or_default().push(submitter);
            return None;
        }
        submitter.reply.submitted(job);
        if submitter.watch {
            self.watch(job, submitter.reply);
        }
        None
    }
}

/// The small blobs of a job whose files are all here and durable, where that can be told without the disk.
fn at_hand(store: &BlobStore, spec: &JobSpec) -> Option<Vec<InlineBlob>> {
    let ready = spec.program.blobs().iter().all(|(hash, bytes)| store.is_ready(hash, *bytes, true));
    if ready { inline(spec, |hash| Some(store.at_hand(hash)?.to_vec())) } else { None }
}

/// The blobs that travel in the order itself, the first that fit; `None` where one of them can't be had.
fn inline(spec: &JobSpec, content: impl Fn(&BlobHash) -> Option<Vec<u8>>) -> Option<Vec<InlineBlob>> {
    let mut room = INLINE_BYTES_MAX;
    let mut inline = Vec::new();
    for (hash, bytes) in spec.program.blobs() {
        if usize::try_from(bytes.0).is_ok_and(|bytes| bytes <= room) {
            let bytes = content(&hash)?;
            room = room.saturating_sub(bytes.len());
            inline.push(InlineBlob { bytes });
        }
    }
    Some(inline)
}

fn import(store: &BlobStore, spec: &JobSpec, files: &[FileRef]) -> Result<Vec<InlineBlob>, ImportError> {
    let blobs = spec.program.blobs();
    for (hash, bytes) in &blobs {
        if !store.contains(hash) {
            let file = files.iter().find(|file| file.hash == *hash);
            let file = file.ok_or_else(|| ImportError::Missing { hash: hash.to_string() })?;
            take(store, file, *bytes)?;
        }
    }
    // The job is acknowledged next, and must find its files again after a loss of power.
    let hashes: Vec<_> = blobs.into_iter().map(|(hash, _)| hash).collect();
    store.make_durable(&hashes).map_err(ImportError::Durable)?;
    // What does not travel in the order is fetched.
    Ok(inline(spec, |hash| store.read(hash).ok()).unwrap_or_default())
}

fn take(store: &BlobStore, file: &FileRef, declared: Bytes) -> Result<(), ImportError> {
    let name = file.path.display().to_string();
    let (hash, bytes) = store
        .import(&file.path, declared)
        .map_err(|source| ImportError::Store { file: name.clone(), source })?;
    if (hash, bytes) != (file.hash, declared) {
        return Err(ImportError::Changed { file: name });
    }
    Ok(())
}
