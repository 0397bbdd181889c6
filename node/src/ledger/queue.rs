//! What waits to become durable: bounded in records and in bytes, filled without ever waiting, emptied in batches. What nobody
//! waits for wakes nobody: it goes with what somebody waits for, or when it is told to.
//!
//! Tests: below, and `tests/append.rs`.

use ion_protocol::{
    codec,
    record::{RECORD_BYTES_MAX, Record},
};
use ion_scheduler::input::RecordId;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Records that may wait: what a busy node signs in a second, at a hundred syncs a second ten times over.
const WAITING_RECORDS_MAX: usize = 4_096;
/// Bytes that may wait: orders carry their inputs, so the count alone would allow a gigabyte.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one batch, unless a single record is larger: keeps one sync short.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes before a batch is no small one: what a disk takes in one go, and far less than a batch holds.
const SMALL_BYTES: usize = 64 * 1024;
/// Why a record was not taken on. Nothing of it will be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Too much waits already.
    #[error("{records} records of {bytes} bytes wait for the disk already; try again")]
    Full {
        /// Records waiting.
        records: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// Larger than any record may be.
    #[error("a record of {found} bytes is over the limit of {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// The journal takes nothing more.
    #[error("the ledger is closed: {0}")]
    Closed(String),
}

/// A record that shall become durable.
#[derive(Debug)]
pub struct ToWrite {
    /// To recognise it.
    pub record: RecordId,
    /// What.
    pub body: Box<Record>,
    /// Whether something waits for it; else it waits for one that does, or for [`super::Ledger::hurry`].
    pub hurry: bool,
}

/// A record on its way: its number and its encoding.
pub(super) type Waiting = (RecordId, Vec<u8>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    bytes: usize,
    /// Whether somebody waits for one of them.
    hurry: bool,
    closed: Option<String>,
}

impl State {
    fn take(&mut self, id: RecordId, body: Vec<u8>) -> Result<(), Busy> {
        if body.len() > RECORD_BYTES_MAX {
            return Err(Busy::TooLarge { found: body.len() });
        }
        if let Some(why) = &self.closed {
            return Err(Busy::Closed(why.clone()));
        }
        let (records, bytes) = (self.waiting.len(), self.bytes);
        if records >= WAITING_RECORDS_MAX || bytes + body.len() > WAITING_BYTES_MAX {
            return Err(Busy::Full { records, bytes });
        }
        self.bytes += body.len();
        self.waiting.push((id, body));
        Ok(())
    }
}

/// The queue between the driver and the journal's thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

impl Queue {
    /// Takes records on so that one batch holds them, as far as its size allows; gives back what was refused. `wake`:
    /// the journal's thread shall write them if one hurries.
    pub(super) fn push_all<'a>(
        &self,
        records: impl IntoIterator<Item = (RecordId, &'a Record, bool)>,
        wake: bool,
    ) -> Vec<(RecordId, Busy)> {
        let mut hurry = false;
        let mut encode = |(id, record, hurries): (_, &Record, _)| {
            hurry |= hurries;
            (id, codec::encode(record))
        };
        let encoded: Vec<Waiting> = records.into_iter().map(&mut encode).collect();
        if encoded.is_empty() {
            return Vec::new();
        }
        let mut state = self.lock();
        let refused = encoded.into_iter().filter_map(|(id, body)| Some((id, state.take(id, body).err()?)));
        let refused = refused.collect();
        if hurry && wake {
            self.go(state);
        }
        refused
    }

    /// Whether what waits is written in one batch, in no time to speak of.
    pub(super) fn is_small(&self) -> bool {
        self.lock().bytes <= SMALL_BYTES
    }

    /// Has what waits written now.
    pub(super) fn hurry(&self) {
        self.go(self.lock());
    }

    fn go(&self, mut state: MutexGuard<'_, State>) {
        state.hurry = !state.waiting.is_empty();
        // Waking costs, even where nobody sleeps.
        if state.hurry {
            self.filled.notify_one();
        }
    }

    /// Waits for a record that hurries, or for the end of the queue; `false` once it is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.lock();
        while !state.hurry && state.closed.is_none() {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.waiting.is_empty()
    }

    /// Takes a batch of what waits, whether it hurries or not.
    pub(super) fn take_batch(&self) -> Vec<Waiting> {
        let mut state = self.lock();
        let mut bytes = 0;
        let fitting = state.waiting.iter().take_while(|(_, body)| {
            bytes += body.len();
            bytes <= BATCH_BYTES_MAX
        });
        let count = fitting.count().max(1).min(state.waiting.len());
        let batch: Vec<_> = state.waiting.drain(..count).collect();
        state.bytes -= batch.iter().map(|(_, body)| body.len()).sum::<usize>();
        // What is over goes next.
        self.go(state);
        batch
    }

    /// Admits nothing more; what waits stays to be taken. The first reason is kept.
    pub(super) fn close(&self, why: &str) {
        self.lock().closed.get_or_insert_with(|| why.to_owned());
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::{Attempt, JobId, NodeId};

    fn record(text_bytes: usize) -> Record {
        Record::LeaseReleased {
            requester: NodeId([2; 32]),
            job: JobId([1; 16]),
            attempt: Attempt(1),
            why: "x".repeat(text_bytes),
        }
    }

    impl Queue {
        fn push(&self, id: RecordId, record: &Record) -> Result<(), Busy> {
            self.push_all([(id, record, true)], true).pop().map_or(Ok(()), |(_, busy)| Err(busy))
        }
    }

    #[test]
    fn what_waits_is_bounded_in_records_and_bytes() {
        let queue = Queue::default();
        for n in 0..WAITING_RECORDS_MAX as u64 {
            queue.push(RecordId(n), &record(1)).unwrap();
        }
        assert!(matches!(queue.push(RecordId(0), &record(1)), Err(Busy::Full { .. })));
        assert_eq!(queue.take_batch().len(), WAITING_RECORDS_MAX);

        let large = record(RECORD_BYTES_MAX - 100);
        let fit = (0..).find(|n| queue.push(RecordId(*n), &large).is_err()).unwrap() as usize;
        assert_eq!(fit, WAITING_BYTES_MAX / (RECORD_BYTES_MAX - 68));
        assert!(queue.take_batch().len() < fit, "a batch is bounded as well");
        queue.push(RecordId(0), &large).unwrap();
        let found = codec::encode(&record(RECORD_BYTES_MAX)).len();
        assert_eq!(queue.push(RecordId(0), &record(RECORD_BYTES_MAX)), Err(Busy::TooLarge { found }));
    }

    #[test]
    fn what_does_not_hurry_shares_the_batch_of_what_does() {
        let (queue, note) = (Queue::default(), record(1));
        assert!(queue.push_all([(RecordId(1), &note, false)], true).is_empty());
        assert!(queue.push_all([(RecordId(2), &note, true)], true).is_empty());
        assert_eq!(queue.take_batch().len(), 2);
        assert!(queue.push_all([(RecordId(3), &note, false)], true).is_empty());
        queue.hurry();
        assert_eq!(queue.take_batch().len(), 1);
        // Nothing waits, so nothing hurries.
        queue.hurry();
        assert!(queue.push_all([(RecordId(4), &note, false)], true).is_empty());
        queue.close("the node stops");
        assert_eq!(queue.take_batch().len(), 1);
        assert!(!queue.wait());
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        queue.push(RecordId(7), &record(1)).unwrap();
        queue.close("the node stops");
        queue.close("something later");
        assert_eq!(queue.push(RecordId(8), &record(1)), Err(Busy::Closed("the node stops".to_owned())));
        assert_eq!(queue.take_batch()[0].0, RecordId(7));
        assert!(!queue.wait());
    }
}
