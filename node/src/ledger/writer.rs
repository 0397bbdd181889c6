//! The journal's thread: takes batches, makes them durable, then tells. Never the other way round.
//!
//! It may wait for the disk and for the driver to take its word; nobody waits for it. Tests: `tests/append.rs`.

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
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
    mpsc::SyncSender,
};
use tokio::sync::{mpsc, watch};

/// How far the index may lag: it takes a journal of records in at once rather than each beside the work it tells of.
/// Whoever asks waits for the rest, some tens of milliseconds.
const INDEX_LAG_BYTES_MAX: u64 = 256 * 1024;

/// What the journal's thread works with.
pub(super) struct Writer {
    pub(super) journal: Journal,
    pub(super) queue: Arc<Queue>,
    pub(super) inputs: mpsc::Sender<Input>,
    /// Where the durable part of the journal ends; the index reads up to here.
    pub(super) durable: Arc<AtomicU64>,
    pub(super) asks: SyncSender<Ask>,
    /// Whether the index was told that more is durable, and has not begun to look.
    pub(super) told: Arc<AtomicBool>,
    /// Where the journal ended when the index was last told.
    pub(super) index_at: u64,
    /// True once nobody waits for answers any more.
    pub(super) closing: watch::Receiver<bool>,
    /// Why the journal ended, for whoever stops the node.
    pub(super) failed: watch::Sender<Option<String>>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        // Only to wait for the driver and for the end at the same time.
        let waiter = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(waiter) => waiter,
            Err(error) => return self.fail(&format!("the journal's thread can't wait: {error}")),
        };
        while let Some(batch) = self.queue.take_batch() {
            for input in self.commit(batch) {
                self.tell(&waiter, input);
            }
            let end = self.journal.end().offset;
            if end < self.index_at.saturating_add(INDEX_LAG_BYTES_MAX) {
                continue;
            }
            self.index_at = end;
            // A full queue means that the index is told already.
            // One such word at a time: more would take the places of people who ask.
            if !self.told.swap(true, Ordering::AcqRel) && self.asks.try_send(Ask::CatchUp).is_err() {
                self.told.store(false, Ordering::Release);
            }
        }
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
            false => self.journal.append(good.iter().map(|(_, body)| body.as_slice())),
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

    fn fail(&self, why: &str) {
        tracing::error!(why, "the journal takes nothing more");
        self.queue.close(why);
        self.failed.send_replace(Some(why.to_owned()));
    }

    /// Hands over a result. While the node closes nobody may be there to take it: what is durable is read at the next start.
    fn tell(&mut self, waiter: &tokio::runtime::Runtime, input: Input) {
        let Err(mpsc::error::TrySendError::Full(input)) = self.inputs.try_send(input) else { return };
        let (inputs, closing) = (&self.inputs, &mut self.closing);
        waiter.block_on(async {
            tokio::select! {
                _ = inputs.send(input) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        });
    }
}

/// A record that can't be read must not be written: the node would never start again.
fn reads_back(body: &[u8]) -> bool {
    codec::decode::<Record>(body, RECORD_BYTES_MAX).is_ok()
}
