//! The ledger: what this node must never forget, and the receipts in it.
//!
//! The journal is the truth: appended, synced, then told (`writer`). The index of receipts is a convenience rebuilt from
//! it at will (`index`). Each has its own thread. The driver waits for neither, but syncs itself where nothing else is to
//! do and the disk is known to answer within a millisecond: handing a record over and back costs two wake-ups, as much
//! as such a sync.
//!
//! ```text
//! append -> [queue] -> journal thread, or the driver -- write, sync --> Input::Recorded
//!                             '---------> index thread (reads the journal) --> receipts, receipt
//! ```
//! One node owns a data directory: `lock` in it says which. Tests: `tests/`.

mod at_rest;
mod bench;
mod commit;
mod frame;
mod index;
mod journal;
mod queue;
mod receipts;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use at_rest::AtRest;
pub use bench::{BenchAppends, BenchError, RawSync, bench_appends};
pub use frame::HeaderFault;
pub use index::{LookupError, RECEIPTS_PER_ANSWER_MAX};
pub use journal::{JOURNAL_FILE, JournalError, MARK_FILE, Recovery};
pub use queue::{Busy, ToWrite};
pub use receipts::{ReceiptFilter, Side, StoredReceipt};

use crate::files;
use commit::Committer;
use index::{Ask, Index};
use ion_protocol::{NetworkId, NodeId, record::Record};
use ion_scheduler::Input;
use journal::Journal;
use queue::Queue;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, TryLockError,
        atomic::{AtomicBool, AtomicU64},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use writer::Writer;

/// Name of the lock file in the data directory.
pub const LOCK_FILE: &str = "lock";
/// Name of the directory with the index of receipts; it may be removed while no node runs.
pub const INDEX_DIR: &str = "receipt-index";
/// Questions about receipts that may wait: people ask, and each answer takes milliseconds.
const ASKS_MAX: usize = 32;

/// How often, and how long apart, the lock is asked for: a node that was just killed, or a child that has not yet become
/// another program, may hold it a moment longer.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LedgerError {
    #[error(
        "another node{holder} uses the data directory {dir}; stop it, or choose another with `--data-dir`"
    )]
    InUse { dir: PathBuf, holder: String },
    #[error("cannot {action} in the data directory {dir}: {source}")]
    Io { action: &'static str, dir: PathBuf, source: io::Error },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The open ledger of this node. Dropping it waits until everything taken on is durable.
#[derive(Debug)]
pub struct Ledger {
    queue: Arc<Queue>,
    committer: Arc<Mutex<Committer>>,
    asks: SyncSender<Ask>,
    closing: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    ended: watch::Receiver<bool>,
    threads: Option<JoinHandle<()>>,
    recovery: Recovery,
}

impl Ledger {
    /// Opens the ledger in the data directory `dir`, makes it if there is none, and hands every record in it to `each`,
    /// oldest first: all of them together would be too much to hold. The results of appends go to `inputs`.
    pub fn open(
        dir: &Path,
        network: &NetworkId,
        node: &NodeId,
        inputs: mpsc::Sender<Input>,
        each: impl FnMut(Record),
    ) -> Result<Self, LedgerError> {
        let fail = |action| move |source| LedgerError::Io { action, dir: dir.to_owned(), source };
        files::create_private_dir(dir).map_err(fail("create the ledger"))?;
        let lock = lock(dir)?;
        let (journal, recovery) = Journal::open(dir, network, node, each)?;
        if recovery.cut_bytes > 0 {
            let (bytes, records) = (recovery.cut_bytes, recovery.records);
            tracing::warn!(
                bytes,
                records,
                "cut off a write that a crash left unfinished; nobody was told of it"
            );
        }
        let queue = Arc::new(Queue::default());
        let durable = Arc::new(AtomicU64::new(journal.end().offset));
        let (asks, asked) = sync_channel(ASKS_MAX);
        let told = Arc::new(AtomicBool::new(false));
        let (closing, closing_seen) = watch::channel(false);
        let (failed_tx, failed) = watch::channel(None);
        let (ended_tx, ended) = watch::channel(false);
        let index =
            Index::new(&dir.join(INDEX_DIR), network, journal.reader(network, node), closing_seen.clone());
        let index_at = journal.end().offset;
        let committer = Arc::new(Mutex::new(Committer {
            journal,
            queue: queue.clone(),
            durable: durable.clone(),
            asks: asks.clone(),
            told: told.clone(),
            index_at,
            quick_syncs: 0,
            failed: failed_tx,
        }));
        let writer =
            Writer { committer: committer.clone(), queue: queue.clone(), inputs, closing: closing_seen };
        let index_thread = thread::Builder::new()
            .name("ion-index".to_owned())
            .spawn(move || index::run(index, asked, &durable, &told))
            .map_err(fail("start the index's thread"))?;
        let to_index = asks.clone();
        let threads = thread::Builder::new()
            .name("ion-journal".to_owned())
            .spawn(move || {
                writer.run();
                // Fails only if the index's thread is gone, which join tells.
                let _ = to_index.send(Ask::Close);
                if index_thread.join().is_err() {
                    tracing::error!("the index's thread panicked; the index will be rebuilt");
                }
                drop(lock);
                ended_tx.send_replace(true);
            })
            .map_err(fail("start the journal's thread"))?;
        let threads = Some(threads);
        // The index opens while the node starts, not when somebody asks.
        let _ = asks.try_send(Ask::CatchUp);
        Ok(Self { queue, committer, asks, closing, failed, ended, threads, recovery })
    }

    /// Makes records durable, with one sync as far as possible. Each comes back as [`Input::Recorded`] or
    /// [`Input::RecordFailed`]: what is known at once is returned, and is later than all that was told before. `calm`:
    /// the caller has nothing else to do, and may be kept for one sync where the disk is quick; else this never waits.
    pub fn append_all(&self, records: &[ToWrite], calm: bool) -> Vec<Input> {
        let hurry = records.iter().any(|record| record.hurry);
        let committer = match (calm && hurry).then(|| self.committer.try_lock()) {
            Some(Ok(committer)) => Some(committer).filter(|committer| committer.is_quick()),
            Some(Err(TryLockError::Poisoned(held))) => {
                held.into_inner().fail("its writer panicked");
                None
            }
            Some(Err(TryLockError::WouldBlock)) | None => None,
        };
        let records = records.iter().map(|write| (write.record, &*write.body, write.hurry));
        let refused = self.queue.push_all(records, committer.is_none()).into_iter();
        let refused = refused.map(|(record, busy)| Input::RecordFailed { record, why: busy.to_string() });
        let known = match committer {
            Some(mut committer) if self.queue.is_small() => committer.commit_next(),
            Some(_) => {
                self.queue.hurry();
                Vec::new()
            }
            None => Vec::new(),
        };
        refused.chain(known).collect()
    }

    /// Has records that do not hurry written now, if any wait.
    pub fn hurry(&self) {
        self.queue.hurry();
    }

    /// What opening found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The receipts that `filter` wants, newest first, at most [`RECEIPTS_PER_ANSWER_MAX`]. Sees all that is recorded.
    pub async fn receipts(&self, filter: ReceiptFilter) -> Result<Vec<StoredReceipt>, LookupError> {
        self.ask(|reply| Ask::Receipts(filter, reply)).await
    }

    /// The one receipt whose hash begins with these digits, or the newest of the one job whose id does.
    pub async fn receipt(&self, prefix: &str) -> Result<StoredReceipt, LookupError> {
        self.ask(|reply| Ask::Receipt(prefix.to_owned(), reply)).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, LookupError>>) -> Ask,
    ) -> Result<T, LookupError> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(ask(reply)).map_err(|error| match error {
            TrySendError::Full(_) => LookupError::Busy,
            TrySendError::Disconnected(_) => index_gone(),
        })?;
        answer.await.unwrap_or_else(|_| Err(index_gone()))
    }

    /// Waits until the journal has failed for good, and says why: the node must stop then. Never ends otherwise.
    pub async fn failed(&self) -> String {
        let (mut failed, mut ended) = (self.failed.clone(), self.ended.clone());
        let why = tokio::select! {
            biased;
            why = async { failed.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()) } => why,
            () = async { drop(ended.wait_for(|ended| *ended).await) } => None,
        };
        match why {
            Some(why) => why,
            None if *self.closing.borrow() => std::future::pending().await,
            None => "the journal's thread ended unasked".to_owned(),
        }
    }

    /// Takes nothing more on, makes durable what was taken on, and lets the data directory go.
    pub async fn shutdown(&self) {
        self.close();
        // The thread tells, or is gone.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    fn close(&self) {
        self.closing.send_replace(true);
        self.queue.close("the node stops");
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
        if self.threads.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn index_gone() -> LookupError {
    LookupError::Broken("its thread ended".to_owned())
}

/// Asks for the lock a few times, see [`LOCK_TRIES`].
fn take(file: &File, ask: fn(&File) -> Result<(), fs::TryLockError>) -> Result<(), fs::TryLockError> {
    for _ in 0..LOCK_TRIES {
        match ask(file) {
            Err(fs::TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            told => return told,
        }
    }
    ask(file)
}

/// Holds `dir` for this process, until dropped.
fn lock(dir: &Path) -> Result<File, LedgerError> {
    let fail = |source| LedgerError::Io { action: "take the lock", dir: dir.to_owned(), source };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(files::FILE_MODE);
    let mut file = options.open(dir.join(LOCK_FILE)).map_err(fail)?;
    let taken = take(&file, File::try_lock);
    match taken {
        Ok(()) => {
            // For people; a full disk must not keep the node from starting.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => Err(in_use(dir, file)),
        Err(fs::TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn in_use(dir: &Path, lock: File) -> LedgerError {
    let mut text = String::new();
    let _ = lock.take(20).read_to_string(&mut text);
    let holder = text.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
    LedgerError::InUse { dir: dir.to_owned(), holder }
}
