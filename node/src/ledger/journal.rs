//! The journal: an append-only file of records, each durable before anybody is told, each chained to all before it.
//!
//! Owns the file. A batch is one write and one `sync_data`. A write that found no room is taken back and the journal
//! goes on; a failed sync ends it, because after one the kernel may report success for pages it has dropped. Opening
//! reads everything, cuts off what a crash left half written, and refuses to go on past damage, or with an empty journal
//! where there was one. It never drops a record that has a later batch behind it. Zeros at the end are room for more: bytes that replace others are durable a third
//! sooner than bytes that make a file longer, since where they lie is written down already.
//! Tests: `tests/bytes.rs` (damage), `tests/append.rs` (a failed sync), `tests/crash.rs` (kill -9, full disk).

use super::frame::{self, Chain, HEADER_BYTES, Header, HeaderFault, Record, Salt};
use crate::files;
use ion_protocol::{NetworkId, NodeId, codec::CodecError, record::RECORD_BYTES_MAX};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the journal in the data directory.
pub const JOURNAL_FILE: &str = "journal";
/// Name of the file that says how far the journal is known to be durable.
pub const MARK_FILE: &str = "journal.durable";
/// What a journal is read by: a few frames of the largest kind, or thousands of the usual.
const WINDOW_BYTES: usize = 1024 * 1024;
/// Room made at a time: for some hundred records, and written in half a millisecond.
const ROOM_BYTES: usize = 256 * 1024;

/// Why the journal can't be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum JournalError {
    #[error("cannot {action} the journal {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{path} is no journal: {fault}; restore it from a copy, or move it and `journal.durable` away to start with an empty one"
    )]
    Header { path: PathBuf, fault: HeaderFault },
    #[error(
        "the journal {path} is gone, and this node has written one: {mark} is of it; restore it from a copy, or remove \
         {mark} to start with an empty one (its receipts are then lost to this node, and jobs it had may be signed anew)"
    )]
    Gone { path: PathBuf, mark: PathBuf },
    #[error(
        "the journal {path} is of another network ({}, not {}); choose another `--data-dir` for this network",
        .found.short(), .expected.short()
    )]
    OtherNetwork { path: PathBuf, found: NetworkId, expected: NetworkId },
    #[error(
        "the journal {path} is of node {found}, but the key is of {expected}; restore that node's key, or move the journal and `journal.durable` away"
    )]
    OtherNode { path: PathBuf, found: NodeId, expected: NodeId },
    #[error(
        "the journal {path} is damaged at byte {offset}, after {records} good records, and later records follow at \
         byte {next}; restore it from a copy, or move it and `journal.durable` away to start with an empty one (its receipts are then lost \
         to this node)"
    )]
    Damaged { path: PathBuf, offset: u64, records: u64, next: u64 },
    #[error(
        "the journal {path} lost records that were durable: it is good up to byte {offset}, {records} records, and was \
         durable up to byte {durable}; restore it from a copy, or remove {mark} to go on without them"
    )]
    Lost { path: PathBuf, offset: u64, records: u64, durable: u64, mark: PathBuf },
    #[error(
        "record {number} of the journal {path} does not follow from those before it: the file was edited or put \
         together from several; restore it from a copy, or move it and `journal.durable` away to start with an empty one"
    )]
    Unchained { path: PathBuf, number: u64 },
    #[error(
        "record {number} of the journal {path} is whole but not understood ({fault}); use the program that wrote it"
    )]
    NotUnderstood { path: PathBuf, number: u64, fault: CodecError },
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Why a batch is not durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendFault {
    /// Nothing of it remains; the journal goes on.
    #[error("the disk under {path} is full ({source}); make room and try again")]
    Full {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody knows what of it is on the disk; the journal takes nothing more until it is opened again.
    #[error("the journal {path} failed for good: {why}; check the disk, then start the node again")]
    Broken {
        /// The journal.
        path: PathBuf,
        /// What failed.
        why: String,
    },
}

/// What opening found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records read.
    pub records: u64,
    /// Bytes cut off the end, up to the last that is not zero: a write that never became durable, so nobody was told of
    /// it.
    pub cut_bytes: u64,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the next frame begins.
    pub offset: u64,
    /// Records before it.
    pub records: u64,
    /// Chain value before it.
    pub chain: Chain,
}

/// The open journal. One writer; readers have their own [`Reader`].
#[derive(Debug)]
pub struct Journal {
    file: Arc<File>,
    path: PathBuf,
    salt: Salt,
    mark: Mark,
    end: Place,
    /// Where the file ends: zeros lie between the last record and here.
    room: u64,
    broken: Option<String>,
}

impl Journal {
    /// Opens or makes the journal in `dir`, and hands every record in it to `each`, oldest first.
    pub fn open(
        dir: &Path,
        network: &NetworkId,
        node: &NodeId,
        mut each: impl FnMut(Record),
    ) -> Result<(Self, Recovery), JournalError> {
        let path = dir.join(JOURNAL_FILE);
        let fail = |action| io_error(action, &path);
        if !path.try_exists().map_err(fail("look for"))? {
            let mark = dir.join(MARK_FILE);
            // The mark is made after the journal: where it is, there was one, and this is no first start.
            if mark.try_exists().map_err(fail("look for the mark of"))? {
                return Err(JournalError::Gone { path, mark });
            }
            create(dir, &path, network, node)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(fail("open"))?;
        let file = Arc::new(file);
        let header = read_header(&file, &path)?;
        if header.network != *network {
            return Err(JournalError::OtherNetwork { path, found: header.network, expected: *network });
        }
        if header.node != *node {
            return Err(JournalError::OtherNode { path, found: header.node, expected: *node });
        }
        let mark = Mark::open(dir).map_err(fail("open the mark of"))?;
        let reader = Reader::new(file.clone(), &path, &header);
        let Seen { end, last_batch, cut_bytes, length } = read_all(reader, dir, Some(&mark), &mut each)?;
        if cut_bytes > 0 {
            file.set_len(end.offset).map_err(fail("cut the end off"))?;
        }
        let room = if cut_bytes > 0 { end.offset } else { length };
        let journal = Self { file, path, salt: header.salt, mark, end, room, broken: None };
        journal.write_again(last_batch).map_err(io_error("sync", &journal.path))?;
        journal.mark.write(&journal.salt, end.offset);
        Ok((journal, Recovery { records: end.records, cut_bytes }))
    }

    /// Makes durable what was read. The last batch is written once more: were its sync the one that failed, its pages
    /// would look clean without being on the disk.
    fn write_again(&self, from: u64) -> io::Result<()> {
        let mut bytes = vec![0; (self.end.offset - from) as usize];
        self.file.read_exact_at(&mut bytes, from)?;
        self.file.write_all_at(&bytes, from)?;
        self.file.sync_data()
    }

    /// Where the next record goes.
    pub fn end(&self) -> Place {
        self.end
    }

    /// A reader from the beginning.
    pub fn reader(&self, network: &NetworkId, node: &NodeId) -> Reader {
        let header = Header { salt: self.salt, network: *network, node: *node };
        Reader::new(self.file.clone(), &self.path, &header)
    }

    /// Makes records durable, all or none. `bodies` are encoded records.
    pub fn append<'a>(&mut self, bodies: impl IntoIterator<Item = &'a [u8]>) -> Result<(), AppendFault> {
        if let Some(why) = &self.broken {
            return Err(AppendFault::Broken { path: self.path.clone(), why: why.clone() });
        }
        let mut bytes = Vec::new();
        let mut end = self.end;
        for body in bodies {
            assert!(!body.is_empty() && body.len() <= RECORD_BYTES_MAX, "the queue admits no other records");
            frame::push(&mut bytes, &self.salt, self.end.offset, &mut end.chain, body);
            end.records += 1;
        }
        end.offset += bytes.len() as u64;
        match self.write(bytes) {
            Ok(()) => {}
            Err(source) if files::is_full(&source) => return Err(self.take_back(source)),
            Err(source) => return Err(self.break_down(format!("writing: {source}"))),
        }
        if let Err(source) = self.file.sync_data() {
            return Err(self.break_down(format!("syncing: {source}")));
        }
        self.end = end;
        self.mark.write(&self.salt, end.offset);
        Ok(())
    }

    /// Writes a batch at the end; what the room does not hold goes with new room behind it, where the disk has any.
    fn write(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        let (start, used) = (self.end.offset, bytes.len());
        if start + used as u64 > self.room {
            bytes.resize(used + ROOM_BYTES, 0);
            match self.file.write_all_at(&bytes, start) {
                Err(source) if files::is_full(&source) => self.file.set_len(start)?,
                result => {
                    self.room = start + bytes.len() as u64;
                    return result;
                }
            }
            bytes.truncate(used);
            self.room = start + used as u64;
        }
        self.file.write_all_at(&bytes, start)
    }

    /// Puts another file in the journal's place, to see what happens when it fails.
    #[cfg(test)]
    pub(super) fn on(mut self, file: File) -> Self {
        self.file = Arc::new(file);
        self
    }

    fn take_back(&mut self, source: io::Error) -> AppendFault {
        self.room = self.end.offset;
        match self.file.set_len(self.room) {
            Ok(()) => AppendFault::Full { path: self.path.clone(), source },
            Err(error) => self.break_down(format!("taking back half a write: {error}")),
        }
    }

    fn break_down(&mut self, why: String) -> AppendFault {
        self.broken = Some(why.clone());
        AppendFault::Broken { path: self.path.clone(), why }
    }
}

/// How far the journal is known to be durable, written after each sync and itself not synced: it may lag after a loss
/// of power, and never leads. With it a damaged end is told from an unfinished write.
#[derive(Debug)]
struct Mark(File);

const MARK_BYTES: usize = 28;

impl Mark {
    fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(files::FILE_MODE);
        options.open(dir.join(MARK_FILE)).map(Self)
    }

    /// Zero where there is no mark, half of one, or another journal's.
    fn read(&self, salt: &Salt) -> io::Result<u64> {
        let mut bytes = Vec::new();
        read_at(&self.0, 0, MARK_BYTES, &mut bytes)?;
        let offset = bytes.get(16..24).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        Ok(if bytes == Self::encode(salt, offset) { offset } else { 0 })
    }

    /// A mark that can't be written proves less, and harms nothing.
    fn write(&self, salt: &Salt, offset: u64) {
        if let Err(error) = self.0.write_all_at(&Self::encode(salt, offset), 0) {
            tracing::debug!(%error, "the journal's mark could not be written");
        }
    }

    fn encode(salt: &Salt, offset: u64) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..16].copy_from_slice(salt);
        bytes[16..24].copy_from_slice(&offset.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn create(dir: &Path, path: &Path, network: &NetworkId, node: &NodeId) -> Result<(), JournalError> {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).map_err(JournalError::Random)?;
    let draft = path.with_extension("new");
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(files::FILE_MODE).open(&draft)?;
        file.write_all(&Header { salt, network: *network, node: *node }.encode())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        files::sync_dir(dir)
    };
    write().map_err(io_error("create", path))
}

fn read_header(file: &File, path: &Path) -> Result<Header, JournalError> {
    let mut bytes = Vec::new();
    read_at(file, 0, HEADER_BYTES, &mut bytes).map_err(io_error("read", path))?;
    Header::decode(&bytes).map_err(|fault| JournalError::Header { path: path.to_owned(), fault })
}

/// What is in a journal.
struct Seen {
    end: Place,
    last_batch: u64,
    cut_bytes: u64,
    length: u64,
}

/// Hands every record to `each`, oldest first, and sees that none is missing that was durable.
fn read_all(
    mut reader: Reader,
    dir: &Path,
    mark: Option<&Mark>,
    each: &mut impl FnMut(Record),
) -> Result<Seen, JournalError> {
    let (file, path) = (reader.file.clone(), reader.path.clone());
    let fail = |action| io_error(action, &path);
    let mut last_batch = HEADER_BYTES as u64;
    let length = file.metadata().map_err(fail("read"))?.len();
    while let Some((record, batch)) = reader.next_in(length)? {
        last_batch = batch;
        each(record);
    }
    let end = reader.place();
    let used = last_used(&file, end.offset, length).map_err(fail("read"))?;
    let cut_bytes = used - end.offset;
    let durable = match mark {
        Some(mark) => mark.read(&reader.salt).map_err(fail("read the mark of"))?,
        None => 0,
    };
    // Up to the end of the file: a frame may end in zeros.
    if cut_bytes > 0
        && let Some(next) = reader.later_batch(length).map_err(fail("read"))?
    {
        return Err(JournalError::Damaged { path, offset: end.offset, records: end.records, next });
    }
    if durable > end.offset {
        let (offset, records, mark) = (end.offset, end.records, dir.join(MARK_FILE));
        return Err(JournalError::Lost { path, offset, records, durable, mark });
    }
    Ok(Seen { end, last_batch, cut_bytes, length })
}

/// A journal that nobody writes, with all that is in it looked at; nothing is changed.
#[derive(Debug)]
pub struct Rest {
    /// What it says of itself.
    pub header: Header,
    /// From the beginning.
    pub reader: Reader,
    dir: PathBuf,
    mark: Option<Mark>,
}

impl Rest {
    /// The journal in `dir`; `None` where no node ever wrote one.
    pub fn open(dir: &Path) -> Result<Option<Self>, JournalError> {
        let (path, mark) = (dir.join(JOURNAL_FILE), dir.join(MARK_FILE));
        let there = |path: &Path, file: io::Result<File>| match file {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", path)(error)),
        };
        let mark = there(&mark, File::open(&mark))?.map(Mark);
        let Some(file) = there(&path, File::open(&path))? else {
            return match mark {
                Some(_) => Err(JournalError::Gone { path, mark: dir.join(MARK_FILE) }),
                None => Ok(None),
            };
        };
        let header = read_header(&file, &path)?;
        let reader = Reader::new(Arc::new(file), &path, &header);
        Ok(Some(Self { header, reader, dir: dir.to_owned(), mark }))
    }

    /// Hands every record to `each`, oldest first; returns where the last ends.
    pub fn read(&self, mut each: impl FnMut(Record)) -> Result<u64, JournalError> {
        Ok(read_all(self.reader.again(), &self.dir, self.mark.as_ref(), &mut each)?.end.offset)
    }
}

/// Reads records in order and checks the chain. May run beside the writer, up to what is durable.
#[derive(Debug)]
pub struct Reader {
    file: Arc<File>,
    path: PathBuf,
    salt: Salt,
    place: Place,
    window: Vec<u8>,
    window_offset: u64,
}

impl Reader {
    fn new(file: Arc<File>, path: &Path, header: &Header) -> Self {
        let chain = frame::genesis(&header.network, &header.node);
        let place = Place { offset: HEADER_BYTES as u64, records: 0, chain };
        Self { file, path: path.to_owned(), salt: header.salt, place, window: Vec::new(), window_offset: 0 }
    }

    /// Another reader, at the same place.
    pub fn again(&self) -> Self {
        let (file, path, salt, place) = (self.file.clone(), self.path.clone(), self.salt, self.place);
        Self { file, path, salt, place, window: Vec::new(), window_offset: 0 }
    }

    /// Before the next record.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next record before `end`; `None` at `end` or at a frame that is not whole or breaks the chain.
    pub fn next_before(&mut self, end: u64) -> Result<Option<Record>, JournalError> {
        Ok(self.next_in(end)?.map(|(record, _)| record))
    }

    fn next_in(&mut self, end: u64) -> Result<Option<(Record, u64)>, JournalError> {
        let (salt, place, path) = (self.salt, self.place, self.path.clone());
        let window = self.load(place.offset, end).map_err(io_error("read", &path))?;
        let Some(frame) = frame::parse(window, &salt, place.offset) else { return Ok(None) };
        let number = place.records + 1;
        // A write cut short can't have a good checksum, so this is no torn end.
        if frame.chain != frame::link(&place.chain, frame.body) {
            return Err(JournalError::Unchained { path, number });
        }
        let (next, batch, chain) = (place.offset + frame.bytes(), frame.batch, frame.chain);
        let record = frame.record().map_err(|fault| JournalError::NotUnderstood { path, number, fault })?;
        self.place = Place { offset: next, records: number, chain };
        Ok(Some((record, batch)))
    }

    /// Goes to `place` if a record ends there with that chain value; `last` is where that record begins.
    pub fn seek(&mut self, last: u64, place: Place, end: u64) -> Result<bool, JournalError> {
        if place.offset > end || last >= place.offset {
            return Ok(false);
        }
        let (salt, fail) = (self.salt, io_error("read", &self.path));
        let window = self.load(last, end).map_err(fail)?;
        let found = frame::parse(window, &salt, last)
            .is_some_and(|frame| frame.chain == place.chain && last + frame.bytes() == place.offset);
        if found {
            self.place = place;
        }
        Ok(found)
    }

    /// Where, after the bad frame at the current place, a frame of a later batch stands: proof that the bad one was
    /// durable once.
    fn later_batch(&mut self, end: u64) -> io::Result<Option<u64>> {
        let (salt, bad) = (self.salt, self.place.offset);
        for offset in bad + 1..end {
            let window = self.load(offset, end)?;
            if frame::parse(window, &salt, offset).is_some_and(|frame| frame.batch > bad) {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// The bytes from `offset` on: at least the whole frame that begins there, if it lies before `end`.
    fn load(&mut self, offset: u64, end: u64) -> io::Result<&[u8]> {
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = frame::FRAME_HEAD_BYTES.min(left);
        self.cover(offset, wanted, left)?;
        if let Some(bytes) = frame::announced_bytes(self.covered(offset, left), offset) {
            self.cover(offset, bytes.min(left), left)?;
        }
        Ok(self.covered(offset, left))
    }

    fn covered(&self, offset: u64, left: usize) -> &[u8] {
        let start = offset.checked_sub(self.window_offset).and_then(|n| usize::try_from(n).ok());
        let bytes = start.and_then(|start| self.window.get(start..)).unwrap_or_default();
        &bytes[..bytes.len().min(left)]
    }

    fn cover(&mut self, offset: u64, wanted: usize, left: usize) -> io::Result<()> {
        if self.covered(offset, left).len() < wanted {
            read_at(&self.file, offset, left.min(WINDOW_BYTES), &mut self.window)?;
            self.window_offset = offset;
        }
        Ok(())
    }

    /// Gives back the memory of reading; the next read starts afresh.
    pub fn rest(&mut self) {
        self.window = Vec::new();
    }
}

/// The end of the last byte from `from` to `end` that is not zero; `from` where all are.
fn last_used(file: &File, from: u64, end: u64) -> io::Result<u64> {
    let (mut window, mut at, mut used) = (Vec::new(), from, from);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        read_at(file, at, wanted, &mut window)?;
        if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
            used = at + last as u64 + 1;
        }
        at += wanted as u64;
    }
    Ok(used)
}

/// Fills `out` with up to `wanted` bytes from `offset`; fewer at the end of the file.
fn read_at(file: &File, offset: u64, wanted: usize, out: &mut Vec<u8>) -> io::Result<()> {
    out.resize(wanted, 0);
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(&mut out[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.truncate(filled);
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path: path.clone(), source }
}
