//! How many records a second become durable here, beside what the disk gives to a bare loop of write and sync.

use super::{Ledger, LedgerError, ToWrite};
use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, NetworkId, Signed, UnixMillis, codec,
    hardware::Engine,
    key::SecretKey,
    limits,
    receipt::{Output, Receipt, Status, output_root},
    record::Record,
};
use ion_scheduler::{Input, input::RecordId};
use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Writers that may be asked for: below what the ledger's queue admits.
pub const WRITERS_MAX: usize = 1_024;

/// Turns of the ledger and of the bare loop.
const TURNS: u32 = 8;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchAppends {
    /// Records in flight at any time.
    pub writers: usize,
    /// Size of one record as written.
    pub record_bytes: usize,
    /// Durable records a second.
    pub appends_per_second: f64,
    /// From append to the answer, of each record made durable, shortest first.
    pub latencies: Vec<Duration>,
    /// Write and sync of as many bytes, one after the other, at the end of a file of their own: the disk's own pace.
    pub raw_syncs_per_second: f64,
    /// What each of these took, shortest first.
    pub raw_latencies: Vec<Duration>,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BenchError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write in the benchmark's directory: {0}")]
    Io(#[from] io::Error),
    #[error("a record was not written: {0}")]
    Failed(String),
}

/// Appends signed receipts to a ledger in `dir` for `seconds`, `writers` at a time, and syncs a bare file as long, by turns.
/// A lone writer is as calm as a driver with nothing else to do. Blocks.
pub fn bench_appends(dir: &Path, seconds: f64, writers: usize) -> Result<BenchAppends, BenchError> {
    let writers = writers.clamp(1, WRITERS_MAX);
    let duration = Duration::from_secs_f64(seconds.clamp(0.01, 600.0));
    let key = SecretKey::from_seed(&[7; 32]);
    let network = NetworkId::named("ion bench");
    let record = sample(&network, &key);
    let record_bytes = codec::encode(&record).len();
    let (inputs, results) = mpsc::channel(2 * WRITERS_MAX);
    let ledger = Ledger::open(dir, &network, &key.node_id(), inputs, drop)?;
    let mut pace = LedgerPace {
        ledger,
        results,
        known: VecDeque::new(),
        next: 0,
        latencies: Vec::new(),
        took: Duration::ZERO,
    };
    let mut raw = RawPace { sync: RawSync::new(dir)?, latencies: Vec::new(), took: Duration::ZERO };
    // By turns, so that both meet the same disk on the same day.
    for _ in 0..TURNS {
        pace.run(&record, duration / TURNS, writers)?;
        raw.run(record_bytes, duration / TURNS)?;
    }
    let (mut latencies, took) = (pace.latencies, pace.took);
    let (mut raw_latencies, raw_took) = (raw.latencies, raw.took);
    latencies.sort_unstable();
    raw_latencies.sort_unstable();
    Ok(BenchAppends {
        writers,
        record_bytes,
        appends_per_second: latencies.len() as f64 / took.as_secs_f64(),
        latencies,
        raw_syncs_per_second: raw_latencies.len() as f64 / raw_took.as_secs_f64(),
        raw_latencies,
    })
}

struct LedgerPace {
    ledger: Ledger,
    results: mpsc::Receiver<Input>,
    /// Results that were known at once.
    known: VecDeque<Input>,
    next: u64,
    latencies: Vec<Duration>,
    took: Duration,
}

impl LedgerPace {
    fn run(&mut self, record: &Record, duration: Duration, writers: usize) -> Result<(), BenchError> {
        // Answers come in the order of appends.
        let (mut started, start) = (VecDeque::new(), Instant::now());
        loop {
            while started.len() < writers && start.elapsed() < duration {
                let body = Box::new(record.clone());
                started.push_back(Instant::now());
                let write = ToWrite { record: RecordId(self.next), body, hurry: true };
                self.known.extend(self.ledger.append_all(&[write], writers == 1));
                self.next += 1;
            }
            let Some(since) = started.pop_front() else {
                self.took += start.elapsed();
                return Ok(());
            };
            match self.known.pop_front().or_else(|| self.results.blocking_recv()) {
                Some(Input::Recorded(_)) => self.latencies.push(since.elapsed()),
                Some(Input::RecordFailed { why, .. }) => return Err(BenchError::Failed(why)),
                other => return Err(BenchError::Failed(format!("{other:?} instead of an answer"))),
            }
        }
    }
}

/// A file that grows by a write and a sync at a time: what any append-only file costs on this disk. Removed when dropped.
#[derive(Debug)]
pub struct RawSync {
    file: File,
    path: PathBuf,
}

impl RawSync {
    /// In `dir`.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join("raw-sync");
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        Ok(Self { file, path })
    }

    /// The time of one. Blocks.
    pub fn once(&mut self, bytes: usize) -> io::Result<Duration> {
        let (block, begun) = (vec![0x5a; bytes], Instant::now());
        self.file.write_all(&block)?;
        self.file.sync_data()?;
        Ok(begun.elapsed())
    }
}

impl Drop for RawSync {
    fn drop(&mut self) {
        // It lies in a directory that goes away as well.
        let _ = std::fs::remove_file(&self.path);
    }
}

struct RawPace {
    sync: RawSync,
    latencies: Vec<Duration>,
    took: Duration,
}

impl RawPace {
    fn run(&mut self, bytes: usize, duration: Duration) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < duration {
            self.latencies.push(self.sync.once(bytes)?);
        }
        self.took += start.elapsed();
        Ok(())
    }
}

/// A signed receipt like any other.
pub(super) fn sample(network: &NetworkId, key: &SecretKey) -> Record {
    let outputs = vec![Output { buffer: 0, bytes: Bytes(4096), hash: BlobHash([3; 32]) }];
    let receipt = Receipt {
        version: limits::VERSION,
        provider: key.node_id(),
        requester: key.node_id(),
        job: JobId([1; 16]),
        attempt: Attempt(1),
        order: DocHash([2; 32]),
        input_root: [4; 32],
        output_root: output_root(&outputs),
        states: Default::default(),
        device: "bench".to_owned(),
        engine: Engine::CpuInterpreter,
        device_time: Nanos(1_000_000),
        price_per_second: NanoIo(500_000),
        price: NanoIo(500),
        waited: Millis(1),
        moved: Millis(1),
        ran: Millis(1),
        finished: UnixMillis(1),
        status: Status::Done,
    };
    Record::ReceiptSigned { receipt: Signed::sign(receipt, network, key).signed().clone(), outputs }
}
