//! The ledger of a node that does not run: its journal is read, and nothing in its data directory is changed.
//!
//! While this lives no node starts on the directory. Questions about receipts get an index of their own, in a temporary
//! directory, made from the journal: that of the node may be behind, and is the node's to change. Tests:
//! `node/tests/cli/at_rest.rs`.

use super::{
    LOCK_FILE, LedgerError, LookupError, ReceiptFilter, StoredReceipt, in_use,
    index::Index,
    journal::{JournalError, Rest},
    take,
};
use ion_protocol::{NetworkId, record::Record};
use std::{
    fs::{self, File},
    io,
    path::Path,
};
use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub struct AtRest {
    journal: Rest,
    /// Shared with others who read; there is none where the directory is a copy.
    _lock: Option<File>,
}

impl AtRest {
    /// The ledger in `dir`; `None` where no node ever wrote one.
    pub fn open(dir: &Path) -> Result<Option<Self>, LedgerError> {
        let lock = shared(dir)?;
        Ok(Rest::open(dir)?.map(|journal| Self { journal, _lock: lock }))
    }

    /// Hands every record to `each`, oldest first.
    pub fn read(&self, each: impl FnMut(Record)) -> Result<(), JournalError> {
        self.journal.read(each).map(drop)
    }

    /// The network all its documents are of.
    pub fn network(&self) -> NetworkId {
        self.journal.header.network
    }

    /// As [`super::Ledger::receipts`].
    pub fn receipts(&self, filter: &ReceiptFilter) -> Result<Vec<StoredReceipt>, LookupError> {
        self.ask(|index, end| index.receipts(end, filter))
    }

    /// As [`super::Ledger::receipt`].
    pub fn receipt(&self, prefix: &str) -> Result<StoredReceipt, LookupError> {
        self.ask(|index, end| index.receipt(end, prefix))
    }

    fn ask<T>(&self, act: impl FnOnce(&mut Index, u64) -> Result<T, LookupError>) -> Result<T, LookupError> {
        let end = self.journal.read(drop).map_err(|error| LookupError::Broken(error.to_string()))?;
        let dir = tempfile::Builder::new().prefix("ion-receipts-").tempdir();
        let dir = dir.map_err(|error| LookupError::Broken(format!("no temporary directory: {error}")))?;
        // Nothing makes it stop.
        let (_, closing) = watch::channel(false);
        let reader = self.journal.reader.again();
        let mut index = Index::new(&dir.path().join("index"), &self.network(), reader, closing);
        let found = act(&mut index, end);
        index.close();
        found
    }
}

/// The lock of `dir`, as one of those who only read.
fn shared(dir: &Path) -> Result<Option<File>, LedgerError> {
    let fail = |source| LedgerError::Io { action: "take the lock", dir: dir.to_owned(), source };
    let file = match File::open(dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    match take(&file, File::try_lock_shared) {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(in_use(dir, file)),
        Err(fs::TryLockError::Error(source)) => Err(fail(source)),
    }
}
