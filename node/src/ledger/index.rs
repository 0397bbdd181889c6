//! The index of receipts: where to find one by hash, by job and by age. Rebuilt from the journal whenever it is missing,
//! behind another journal, damaged, or caught in an untruth; every value is verified when it is read.
//!
//! Keys: `m` -> where in the journal the index stands; `r hash side` -> the receipt; `s age side hash` -> nothing;
//! `j job age side hash` -> nothing. `age` counts down from the newest (`u64::MAX - record number`), so that keys in
//! order are newest first. Runs on its own thread, see [`super::Ledger`]. Tests: `tests/index.rs`.

use super::{
    frame::{Chain, Record},
    journal::{JournalError, Place, Reader},
    receipts::{ReceiptFilter, Side, StoredReceipt, verify_alone},
    store::{self, Kv, KvError},
};
use crate::tasks::in_the_background;
use ion_protocol::{
    DocHash, JobId, NetworkId, Signed,
    codec::{self, Decode, Encode},
    receipt::{Countersignature, Output, Receipt, SettledReceipt},
    record::RECORD_BYTES_MAX,
    signed::Document as _,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// Receipts in one answer, so that no question makes the node hold its whole history in memory.
pub const RECEIPTS_PER_ANSWER_MAX: usize = 1_000;
/// Records after which the index is made durable; a crash costs reading as many again.
const FLUSH_RECORDS: u64 = 4_096;
/// What becomes durable within this is taken in together, so that sled's writes do not delay the journal's. Whoever asks
/// hears of all that is durable.
const LINGER: Duration = Duration::from_millis(200);
/// Rebuilds of one index before it is given up: the second one would fail for the reason of the first.
const REBUILDS_MAX: u32 = 2;
/// Keys read at once.
const PAGE_KEYS: usize = 256;

/// Why a question about receipts has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LookupError {
    #[error("no receipt here has a hash or job id that begins with `{prefix}`")]
    NotFound { prefix: String },
    #[error("{found} receipts or jobs begin with `{prefix}`; give more digits")]
    Ambiguous { prefix: String, found: usize },
    #[error(
        "`{prefix}` is no beginning of a receipt's hash or a job's id: expected 1 to 64 hexadecimal digits"
    )]
    NotHex { prefix: String },
    #[error(
        "the receipt index is out of order ({0}); the receipts are safe in the journal, restart the node to rebuild it"
    )]
    Broken(String),
    #[error("the node is too busy to look up receipts; ask again")]
    Busy,
}

/// What the index's thread is asked.
pub(super) enum Ask {
    /// More is durable than before.
    CatchUp,
    /// Which receipts are held?
    Receipts(ReceiptFilter, oneshot::Sender<Result<Vec<StoredReceipt>, LookupError>>),
    /// Which one begins with these digits?
    Receipt(String, oneshot::Sender<Result<StoredReceipt, LookupError>>),
    /// The journal ends here.
    Close,
}

/// Answers until told to close.
pub(super) fn run(mut index: Index, asks: mpsc::Receiver<Ask>, durable: &AtomicU64, told: &AtomicBool) {
    in_the_background();
    let mut due: Option<Instant> = None;
    loop {
        let ask = match due {
            None => asks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => asks.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        if matches!(ask, Err(RecvTimeoutError::Timeout)) {
            due = None;
            told.store(false, Ordering::Release);
        }
        let end = durable.load(Ordering::Acquire);
        // Whoever asked may be gone; then nobody minds.
        match ask {
            Ok(Ask::CatchUp) => due = due.or_else(|| Some(Instant::now() + LINGER)),
            Ok(Ask::Receipts(filter, reply)) => drop(reply.send(index.receipts(end, &filter))),
            Ok(Ask::Receipt(prefix, reply)) => drop(reply.send(index.receipt(end, &prefix))),
            // What is not indexed yet is read at the next start.
            Ok(Ask::Close) => return index.close(),
            Err(RecvTimeoutError::Timeout) => drop(index.catch_up(end)),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Why the index must be rebuilt, or can't be.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("a wrong value under {0}")]
    Wrong(String),
    #[error("{0}")]
    Journal(#[from] JournalError),
}

/// Where the index stands in the journal.
#[derive(Encode, Decode)]
#[bincode(crate = "ion_protocol::codec::bincode_crate")]
struct Position {
    last: u64,
    offset: u64,
    records: u64,
    chain: Chain,
    receipts: u64,
}

#[derive(Encode, Decode)]
#[bincode(crate = "ion_protocol::codec::bincode_crate")]
struct Entry {
    number: u64,
    receipt: Signed<Receipt>,
    outputs: Vec<Output>,
    countersignature: Option<Signed<Countersignature>>,
}

/// The index and its own reader of the journal.
pub(super) struct Index {
    dir: PathBuf,
    network: NetworkId,
    kv: Option<Kv>,
    reader: Reader,
    start: Reader,
    last: u64,
    receipts: u64,
    unflushed: u64,
    broken: Option<String>,
    /// Whether it was found damaged: from then on everything is verified before it is taken in.
    doubting: bool,
    /// True once the node stops: then nothing is worth waiting for.
    closing: watch::Receiver<bool>,
}

impl Index {
    /// The index in `dir` of the journal that `reader` reads. Nothing is opened yet.
    pub(super) fn new(
        dir: &Path,
        network: &NetworkId,
        reader: Reader,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let (start, last) = (reader.again(), 0);
        let (dir, network) = (dir.to_owned(), *network);
        Self {
            dir,
            network,
            kv: None,
            reader,
            start,
            last,
            receipts: 0,
            unflushed: 0,
            broken: None,
            doubting: false,
            closing,
        }
    }

    /// Takes in what is in the journal up to `end`.
    pub(super) fn catch_up(&mut self, end: u64) -> Result<(), LookupError> {
        self.with_rebuilds(end, |_| Ok(()))
    }

    /// The receipts that `filter` wants, newest first.
    pub(super) fn receipts(
        &mut self,
        end: u64,
        filter: &ReceiptFilter,
    ) -> Result<Vec<StoredReceipt>, LookupError> {
        self.with_rebuilds(end, |index| index.list(filter))
    }

    /// The one receipt whose hash, or the newest whose job's id, begins with these digits.
    pub(super) fn receipt(&mut self, end: u64, prefix: &str) -> Result<StoredReceipt, LookupError> {
        let digits = prefix.to_ascii_lowercase();
        if !(1..=64).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(LookupError::NotHex { prefix: prefix.chars().take(80).collect() });
        }
        self.with_rebuilds(end, |index| index.find(&digits))?
    }

    /// Makes the index durable, before the node ends.
    pub(super) fn close(&mut self) {
        let Some(mut kv) = self.kv.take() else { return };
        if let Err(error) = kv.flush() {
            tracing::warn!(%error, "the receipt index was not flushed; it will be rebuilt");
        }
        kv.close();
    }

    /// Does `act` on an index that stands at `end`; where that shows it to be damaged, rebuilds it and does it again.
    fn with_rebuilds<T>(
        &mut self,
        end: u64,
        mut act: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, LookupError> {
        if let Some(why) = &self.broken {
            return Err(LookupError::Broken(why.clone()));
        }
        let mut rebuilds = 0;
        loop {
            let fault = match self.follow(end).and_then(|()| act(self)) {
                Ok(_) if *self.closing.borrow() => {
                    return Err(LookupError::Broken("the node stops".to_owned()));
                }
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            if let Some(kv) = self.kv.take() {
                kv.close();
            }
            // Another index does not help when the journal itself can't be read.
            let hopeless = matches!(fault, Fault::Journal(_)) || rebuilds == REBUILDS_MAX;
            if let Some(error) = if hopeless { None } else { Some(store::remove(&self.dir)) } {
                rebuilds += 1;
                self.doubting = true;
                tracing::warn!(%fault, "the receipt index is damaged; rebuilding it from the journal");
                if error.is_ok() {
                    continue;
                }
            }
            tracing::error!(%fault, "the receipt index can't be rebuilt");
            self.broken = Some(fault.to_string());
            return Err(LookupError::Broken(fault.to_string()));
        }
    }

    fn follow(&mut self, end: u64) -> Result<(), Fault> {
        if self.kv.is_none() {
            self.kv = Some(Kv::open(&self.dir)?);
            self.resume(end)?;
        }
        loop {
            let at = self.reader.place().offset;
            let Some(record) = self.reader.next_before(end)? else { break };
            self.last = at;
            self.take(record)?;
            if self.kv().is_full() {
                self.write_out()?;
            }
            if *self.closing.borrow() {
                return Ok(());
            }
        }
        self.reader.rest();
        if !self.kv().is_written() || self.unflushed >= FLUSH_RECORDS {
            self.write_out()?;
        }
        if self.unflushed >= FLUSH_RECORDS {
            self.unflushed = 0;
            self.kv().flush()?;
        }
        Ok(())
    }

    /// Goes to where the opened index stands, or empties it if that is not a place in this journal.
    fn resume(&mut self, end: u64) -> Result<(), Fault> {
        self.reader = self.start.again();
        (self.receipts, self.unflushed) = (0, 0);
        let Some(bytes) = self.kv().get(b"m")? else {
            return match self.kv().list(b"", None, 1)?.is_empty() {
                true => Ok(()),
                false => Err(Fault::Wrong("entries without a position".to_owned())),
            };
        };
        let position: Position =
            codec::decode(&bytes, 1024).map_err(|_| Fault::Wrong("the position".to_owned()))?;
        let place = Place { offset: position.offset, records: position.records, chain: position.chain };
        if !self.reader.seek(position.last, place, end)? {
            return Err(Fault::Wrong("the position: it is of another journal".to_owned()));
        }
        let mut counted = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.kv().list(b"s", after.as_deref(), PAGE_KEYS)?;
            counted += page.len() as u64;
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        if counted != position.receipts {
            return Err(Fault::Wrong(format!("the count: {counted} of {} receipts", position.receipts)));
        }
        self.receipts = position.receipts;
        Ok(())
    }

    fn take(&mut self, record: Record) -> Result<(), Fault> {
        let number = self.reader.place().records;
        match record {
            Record::Countersigned { receipt, countersignature, outputs } => {
                let entry = Entry { number, receipt, outputs, countersignature: Some(countersignature) };
                self.put(Side::Requester, entry)?
            }
            Record::ReceiptSigned { receipt, outputs } => {
                let entry = Entry { number, receipt, outputs, countersignature: None };
                self.put(Side::Provider, entry)?
            }
            Record::ReceiptSettled { receipt, countersignature } => {
                let key = receipt_key(&receipt, Side::Provider);
                match self.kv().get(&key)? {
                    Some(bytes) => {
                        let mut entry = decode_entry(&key, &bytes)?;
                        entry.countersignature = Some(countersignature);
                        self.put(Side::Provider, entry)?
                    }
                    None => {
                        tracing::error!(%receipt, "the journal settles a receipt it does not hold");
                    }
                }
            }
            Record::JobSubmitted { .. }
            | Record::OrderSigned { .. }
            | Record::AttemptLost { .. }
            | Record::DeliveryFalse { .. }
            | Record::JobEnded { .. }
            | Record::LeaseTaken { .. }
            | Record::LeaseReleased { .. }
            | Record::Challenged { .. }
            | Record::ChallengeDeclined { .. } => {}
        }
        self.unflushed += 1;
        Ok(())
    }

    /// Writes what was taken in, and how far that goes.
    fn write_out(&mut self) -> Result<(), Fault> {
        let place = self.reader.place();
        let (last, receipts) = (self.last, self.receipts);
        let position =
            Position { last, offset: place.offset, records: place.records, chain: place.chain, receipts };
        self.kv().put(b"m", &codec::encode(&position));
        Ok(self.kv().write()?)
    }

    /// Puts an entry under its keys. What is in the journal was signed or verified by the engine; where that was found not
    /// to be so, it is our bug, and what proves nothing is left out.
    fn put(&mut self, side: Side, mut entry: Entry) -> Result<(), Fault> {
        if self.doubting && !self.proves(&mut entry) {
            return Ok(());
        }
        let Ok(receipt) = codec::decode::<Receipt>(entry.receipt.body_bytes(), Receipt::BYTES_MAX) else {
            tracing::error!(number = entry.number, "the journal holds a receipt that is none");
            return Ok(());
        };
        let hash = entry.receipt.hash(&self.network);
        let key = receipt_key(&hash, side);
        match self.kv().get(&key)? {
            // A repeat keeps its place in the order of age.
            Some(bytes) => entry.number = decode_entry(&key, &bytes)?.number,
            None => self.receipts += 1,
        }
        let tail = [&(u64::MAX - entry.number).to_be_bytes(), [side_byte(side)].as_slice(), &hash.0].concat();
        self.kv().put(&key, &codec::encode(&entry));
        self.kv().put(&[b"s", tail.as_slice()].concat(), &[]);
        self.kv().put(&[b"j", receipt.job.0.as_slice(), &tail].concat(), &[]);
        Ok(())
    }

    /// Whether its receipt is one; a countersignature that is none is taken away.
    fn proves(&self, entry: &mut Entry) -> bool {
        let receipt = match verify_alone(&self.network, entry.receipt.clone()) {
            Ok(receipt) => receipt,
            Err(error) => {
                tracing::error!(number = entry.number, %error, "the journal holds a receipt that proves nothing");
                return false;
            }
        };
        if let Some(half) = entry.countersignature.clone()
            && let Err(error) = SettledReceipt::join(&self.network, receipt, half)
        {
            tracing::error!(number = entry.number, %error, "the journal holds a countersignature that proves nothing");
            entry.countersignature = None;
        }
        true
    }

    fn list(&mut self, filter: &ReceiptFilter) -> Result<Vec<StoredReceipt>, Fault> {
        let prefix = match filter.job {
            Some(job) => [b"j", job.0.as_slice()].concat(),
            None => b"s".to_vec(),
        };
        let max = match filter.limit as usize {
            0 => RECEIPTS_PER_ANSWER_MAX,
            limit => limit.min(RECEIPTS_PER_ANSWER_MAX),
        };
        let mut found = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        while found.len() < max {
            let page = self.kv().list(&prefix, after.as_deref(), PAGE_KEYS)?;
            let Some((newest, _)) = page.last() else { break };
            after = Some(newest.clone());
            for (key, _) in &page {
                let (side, hash) = tail_of(key)?;
                if found.len() < max && filter.side.is_none_or(|wanted| wanted == side) {
                    found.push(self.read(&hash, side)?);
                }
            }
        }
        Ok(found)
    }

    fn find(&mut self, digits: &str) -> Result<Result<StoredReceipt, LookupError>, Fault> {
        let hashes = self.matching(b"r", digits, 32)?;
        let jobs = self.matching(b"j", digits, 16)?;
        match (hashes.as_slice(), jobs.as_slice()) {
            ([hash], []) => {
                let mut key = DocHash([0; 32]);
                key.0.copy_from_slice(hash);
                // Where one node played both parts, its requester's half has both signatures for certain.
                match self.kv().get(&receipt_key(&key, Side::Requester))? {
                    Some(_) => self.read(&key, Side::Requester).map(Ok),
                    None => self.read(&key, Side::Provider).map(Ok),
                }
            }
            ([], [job]) => {
                let mut id = JobId([0; 16]);
                id.0.copy_from_slice(job);
                let filter = ReceiptFilter { job: Some(id), side: None, limit: 1 };
                let newest = self.list(&filter)?.pop();
                newest.map(Ok).ok_or_else(|| Fault::Wrong(format!("job {id}")))
            }
            ([], []) => Ok(Err(LookupError::NotFound { prefix: digits.to_owned() })),
            (hashes, jobs) => {
                let found = hashes.len() + jobs.len();
                Ok(Err(LookupError::Ambiguous { prefix: digits.to_owned(), found }))
            }
        }
    }

    /// The distinct ids of `id_bytes` bytes under `kind` that begin with `digits`; at most a page of keys is looked at.
    fn matching(&mut self, kind: &[u8], digits: &str, id_bytes: usize) -> Result<Vec<Vec<u8>>, Fault> {
        if digits.len() > id_bytes * 2 {
            return Ok(Vec::new());
        }
        let whole = hex::decode(&digits[..digits.len() / 2 * 2]).unwrap_or_default();
        let prefix = [kind, &whole].concat();
        let mut ids = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.kv().list(&prefix, after.as_deref(), PAGE_KEYS)?;
            let Some((last, _)) = page.last() else { return Ok(ids) };
            after = Some(last.clone());
            for (key, _) in &page {
                let id = key.get(1..1 + id_bytes).ok_or_else(|| wrong(key))?.to_vec();
                if hex::encode(&id).starts_with(digits) && ids.last() != Some(&id) {
                    ids.push(id);
                }
            }
            if ids.len() > PAGE_KEYS {
                return Ok(ids);
            }
        }
    }

    fn read(&mut self, hash: &DocHash, side: Side) -> Result<StoredReceipt, Fault> {
        let key = receipt_key(hash, side);
        let bytes = self.kv().get(&key)?.ok_or_else(|| wrong(&key))?;
        let entry = decode_entry(&key, &bytes)?;
        let (receipt, countersignature) = match entry.countersignature {
            Some(half) => {
                let settled =
                    SettledReceipt::verify(&self.network, entry.receipt, half).map_err(|_| wrong(&key))?;
                (settled.receipt, Some(settled.countersignature))
            }
            None => (verify_alone(&self.network, entry.receipt).map_err(|_| wrong(&key))?, None),
        };
        if receipt.hash() != *hash {
            return Err(wrong(&key));
        }
        Ok(StoredReceipt { side, receipt, countersignature, outputs: entry.outputs })
    }

    fn kv(&mut self) -> &mut Kv {
        self.kv.as_mut().expect("opened by `follow`, before any use")
    }
}

fn decode_entry(key: &[u8], bytes: &[u8]) -> Result<Entry, Fault> {
    codec::decode(bytes, RECORD_BYTES_MAX).map_err(|_| wrong(key))
}

fn wrong(key: &[u8]) -> Fault {
    Fault::Wrong(hex::encode(key))
}

fn receipt_key(hash: &DocHash, side: Side) -> Vec<u8> {
    [b"r", hash.0.as_slice(), &[side_byte(side)]].concat()
}

fn side_byte(side: Side) -> u8 {
    match side {
        Side::Requester => 0,
        Side::Provider => 1,
    }
}

/// The side and hash that end a key of `s` or `j`.
fn tail_of(key: &[u8]) -> Result<(Side, DocHash), Fault> {
    let at = key.len().checked_sub(33).ok_or_else(|| wrong(key))?;
    let side = match key[at] {
        0 => Side::Requester,
        1 => Side::Provider,
        _ => return Err(wrong(key)),
    };
    let mut hash = DocHash([0; 32]);
    hash.0.copy_from_slice(&key[at + 1..]);
    Ok((side, hash))
}
