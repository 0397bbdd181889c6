//! How many records a second become durable here, beside what the disk gives to a bare loop of write and sync.

use super::{Busy, LedgerError};
use crate::ledger::Ledger;
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
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Writers that may be asked for: below what the ledger's queue admits.
pub const WRITERS_MAX: usize = 1_024;

/// What was measured.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct BenchAppends {
    /// Records in flight at any time.
    pub writers: usize,
    /// Size of one record as written.
    pub record_bytes: usize,
    /// Records made durable.
    pub appends: u64,
    /// Durable records a second.
    pub appends_per_second: f64,
    /// From append to the answer, half of them.
    pub p50: Nanos,
    /// From append to the answer, 99 of 100.
    pub p99: Nanos,
    /// Write and sync of the same bytes, one after the other, in a file of their own: the disk's own pace.
    pub raw_syncs_per_second: f64,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BenchError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("cannot write in the benchmark's directory: {0}")]
    Io(#[from] io::Error),
    #[error("a record was not written: {0}")]
    Failed(String),
}

/// Appends signed receipts to a ledger in `dir` for `seconds`, `writers` at a time, then syncs a bare file as long. Blocks.
pub fn bench_appends(dir: &Path, seconds: f64, writers: usize) -> Result<BenchAppends, BenchError> {
    let writers = writers.clamp(1, WRITERS_MAX);
    let duration = Duration::from_secs_f64(seconds.clamp(0.01, 600.0));
    let key = SecretKey::from_seed(&[7; 32]);
    let network = NetworkId::named("ion bench");
    let record = sample(&network, &key);
    let record_bytes = codec::encode(&record).len();
    let (mut latencies, took) = ledger_pace(dir, &network, &key, &record, duration, writers)?;
    let raw_syncs_per_second = raw_pace(dir, record_bytes, duration)?;
    latencies.sort_unstable();
    let percentile = |p: usize| {
        let nanos = latencies.get(latencies.len() * p / 100).map_or(0, Duration::as_nanos);
        Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    Ok(BenchAppends {
        writers,
        record_bytes,
        appends: latencies.len() as u64,
        appends_per_second: latencies.len() as f64 / took.as_secs_f64(),
        p50: percentile(50),
        p99: percentile(99),
        raw_syncs_per_second,
    })
}

fn ledger_pace(
    dir: &Path,
    network: &NetworkId,
    key: &SecretKey,
    record: &Record,
    duration: Duration,
    writers: usize,
) -> Result<(Vec<Duration>, Duration), BenchError> {
    let (inputs, mut results) = mpsc::channel(2 * WRITERS_MAX);
    let (ledger, _) = Ledger::open(dir, network, &key.node_id(), inputs)?;
    let mut latencies = Vec::new();
    // Answers come in the order of appends.
    let mut started = VecDeque::new();
    let start = Instant::now();
    let mut next = 0;
    loop {
        while started.len() < writers && start.elapsed() < duration {
            ledger.append(RecordId(next), record)?;
            started.push_back(Instant::now());
            next += 1;
        }
        let Some(since) = started.pop_front() else { return Ok((latencies, start.elapsed())) };
        match results.blocking_recv() {
            Some(Input::Recorded(_)) => latencies.push(since.elapsed()),
            Some(Input::RecordFailed { why, .. }) => return Err(BenchError::Failed(why)),
            other => return Err(BenchError::Failed(format!("{other:?} instead of an answer"))),
        }
    }
}

fn raw_pace(dir: &Path, bytes: usize, duration: Duration) -> Result<f64, BenchError> {
    let path = dir.join("raw-sync");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let (block, start, mut syncs) = (vec![0x5a; bytes], Instant::now(), 0u64);
    while start.elapsed() < duration {
        file.write_all(&block)?;
        file.sync_data()?;
        syncs += 1;
    }
    let took = start.elapsed();
    std::fs::remove_file(&path)?;
    Ok(syncs as f64 / took.as_secs_f64())
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
