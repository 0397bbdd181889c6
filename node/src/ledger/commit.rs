//! Group commit: what waits becomes durable with one sync, then its tellers know. Never the other way round.
//!
//! Held by one at a time: by the journal's thread, or by the driver where the disk answers sooner than a thread wakes.
//! Tests: `tests/append.rs`.

use super::{
    index::Ask,
    journal::{AppendFault, Journal},
    queue::{Queue, Waiting},
};
use ion_protocol::{
    codec,
    record::{RECORD_BYTES_MAX, Record},
};
use ion_scheduler::Input;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How far the index may lag: it takes a journal of records in at once rather than each beside the work it tells of.
/// Whoever asks waits for the rest, some tens of milliseconds.
const INDEX_LAG_BYTES_MAX: u64 = 256 * 1024;
/// What a solid-state disk takes for a sync, five times over. A spinning one takes ten milliseconds.
const QUICK_SYNC: Duration = Duration::from_millis(1);
/// So many in a row are taken for the disk's habit; one that was slow ends it.
const QUICK_SYNCS: u32 = 8;

/// The journal, and whom to tell of it.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) journal: Journal,
    pub(super) queue: Arc<Queue>,
    /// Where the durable part of the journal ends; the index reads up to here.
    pub(super) durable: Arc<AtomicU64>,
    pub(super) asks: SyncSender<Ask>,
    /// Whether the index was told that more is durable, and has not begun to look.
    pub(super) told: Arc<AtomicBool>,
    /// Where the journal ended when the index was last told.
    pub(super) index_at: u64,
    /// Syncs in a row that were quick.
    pub(super) quick_syncs: u32,
    /// Why the journal ended, for whoever stops the node.
    pub(super) failed: watch::Sender<Option<String>>,
}

impl Committer {
    /// Makes the next batch durable, if anything waits. What it returns is to be told in this order.
    pub(super) fn commit_next(&mut self) -> Vec<Input> {
        let inputs = self.commit(self.queue.take_batch());
        let end = self.journal.end().offset;
        if end >= self.index_at.saturating_add(INDEX_LAG_BYTES_MAX) {
            self.index_at = end;
            // A full queue means that the index is told already.
            // One such word at a time: more would take the places of people who ask.
            if !self.told.swap(true, Ordering::AcqRel) && self.asks.try_send(Ask::CatchUp).is_err() {
                self.told.store(false, Ordering::Release);
            }
        }
        inputs
    }

    /// Whether a sync is likely over before a thread would be awake to wait for it.
    pub(super) fn is_quick(&self) -> bool {
        self.quick_syncs >= QUICK_SYNCS
    }

    fn commit(&mut self, batch: Vec<Waiting>) -> Vec<Input> {
        let (good, strange): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, body)| reads_back(body));
        let strange = strange.into_iter().map(|(record, _)| {
            let why = "the record would not read back".to_owned();
            Input::RecordFailed { record, why }
        });
        let mut inputs: Vec<_> = strange.collect();
        let result = match good.is_empty() {
            true => Ok(()),
            false => self.append(&good),
        };
        match result {
            Ok(()) => {
                self.durable.store(self.journal.end().offset, Ordering::Release);
                inputs.extend(good.into_iter().map(|(record, _)| Input::Recorded(record)));
            }
            Err(fault) => {
                let why = fault.to_string();
                match fault {
                    AppendFault::Full { .. } => tracing::warn!(%why, "records were not written"),
                    AppendFault::Broken { .. } => self.fail(&why),
                }
                let failed = |(record, _)| Input::RecordFailed { record, why: why.clone() };
                inputs.extend(good.into_iter().map(failed));
            }
        }
        inputs
    }

    fn append(&mut self, batch: &[Waiting]) -> Result<(), AppendFault> {
        let begun = Instant::now();
        self.journal.append(batch.iter().map(|(_, body)| body.as_slice()))?;
        self.quick_syncs = if begun.elapsed() <= QUICK_SYNC { self.quick_syncs.saturating_add(1) } else { 0 };
        Ok(())
    }

    pub(super) fn fail(&self, why: &str) {
        tracing::error!(why, "the journal takes nothing more");
        self.queue.close(why);
        self.failed.send_replace(Some(why.to_owned()));
    }
}

/// A record that can't be read must not be written: the node would never start again.
fn reads_back(body: &[u8]) -> bool {
    codec::decode::<Record>(body, RECORD_BYTES_MAX).is_ok()
}
