//! What the tests of the ledger share: receipts to write, a ledger to write them to, and the words to ask for results.

mod append;
mod bytes;
mod crash;
mod index;

use super::*;
use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, Signed, UnixMillis, Verified,
    check::Check,
    hardware::Engine,
    key::SecretKey,
    limits,
    receipt::{Countersignature, Output, Receipt, Status, output_root},
};
use ion_scheduler::input::RecordId;

pub(super) fn network() -> NetworkId {
    NetworkId::named("ledger tests")
}

pub(super) fn provider() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub(super) fn requester() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

pub(super) fn job(number: u64) -> JobId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    JobId(id)
}

pub(super) fn outputs() -> Vec<Output> {
    vec![Output { buffer: 2, bytes: Bytes(64), hash: BlobHash::of(b"output") }]
}

pub(super) fn receipt(number: u64) -> Receipt {
    Receipt {
        version: limits::VERSION,
        provider: provider().node_id(),
        requester: requester().node_id(),
        job: job(number),
        attempt: Attempt(1),
        order: DocHash([9; 32]),
        input_root: [8; 32],
        output_root: output_root(&outputs()),
        states: Default::default(),
        device: "test".to_owned(),
        engine: Engine::CpuInterpreter,
        device_time: Nanos(2_000_000_000),
        price_per_second: NanoIo(500),
        price: NanoIo(1_000),
        waited: Millis(1),
        moved: Millis(2),
        ran: Millis(3),
        finished: UnixMillis(1_000 + number),
        status: Status::Done,
    }
}

pub(super) fn signed(number: u64) -> Verified<Receipt> {
    Signed::sign(receipt(number), &network(), &provider())
}

pub(super) fn countersigned(receipt: &Verified<Receipt>) -> Verified<Countersignature> {
    let body = Countersignature {
        version: limits::VERSION,
        requester: receipt.requester,
        provider: receipt.provider,
        receipt: receipt.hash(),
        price: receipt.price,
        check: Check::NotAsked,
        signed: UnixMillis(5_000),
    };
    Signed::sign(body, &network(), &requester())
}

pub(super) fn signed_record(number: u64) -> Record {
    Record::ReceiptSigned { receipt: signed(number).signed().clone(), outputs: outputs() }
}

pub(super) fn settled_record(number: u64) -> Record {
    let receipt = signed(number);
    let countersignature = countersigned(&receipt).signed().clone();
    Record::ReceiptSettled { receipt: receipt.hash(), countersignature }
}

/// A record that is no receipt.
pub(super) fn note(number: u64) -> Record {
    Record::LeaseReleased {
        requester: requester().node_id(),
        job: job(number),
        attempt: Attempt(1),
        why: format!("note {number}"),
    }
}

/// An open ledger and the other end of its results.
pub(super) struct Bench {
    pub ledger: Ledger,
    pub results: mpsc::Receiver<Input>,
    next: u64,
}

/// Answers that may wait to be looked at.
const RESULTS: usize = 10_000;

pub(super) fn open(dir: &Path) -> Result<(Bench, Vec<Record>), LedgerError> {
    let (inputs, results) = mpsc::channel(RESULTS);
    let mut records = Vec::new();
    let ledger = Ledger::open(dir, &network(), &provider().node_id(), inputs, |record| records.push(record))?;
    Ok((Bench { ledger, results, next: 0 }, records))
}

impl Bench {
    /// Appends records, each after the one before is durable, so that each is a batch of its own.
    pub fn record_all(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            assert_eq!(self.record(&record), Ok(()));
        }
    }

    /// Appends a record that hurries.
    pub fn append(&self, number: u64, record: &Record, calm: bool) -> Vec<Input> {
        let write = ToWrite { record: RecordId(number), body: Box::new(record.clone()), hurry: true };
        self.ledger.append_all(&[write], calm)
    }

    /// Has it take the disk for a quick one, or a slow one.
    pub fn take_disk_for(&self, quick: bool) {
        self.ledger.committer.lock().unwrap().quick_syncs = if quick { u32::MAX / 2 } else { 0 };
    }

    /// Appends a record and waits for its result.
    pub fn record(&mut self, record: &Record) -> Result<(), String> {
        let id = RecordId(self.next);
        self.next += 1;
        let known = self.append(id.0, record, false).pop();
        match known.or_else(|| self.results.blocking_recv()) {
            Some(Input::Recorded(recorded)) if recorded == id => Ok(()),
            Some(Input::RecordFailed { record, why }) if record == id => Err(why),
            other => panic!("{other:?} instead of the result of {id:?}"),
        }
    }
}

/// A runtime for the questions.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
