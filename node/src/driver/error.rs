//! Why a node does not start, or stopped.

use crate::{
    blobs::BlobStoreError, control::ControlError, identity::IdentityError, ledger::LedgerError, net::NetError,
};
use std::{io, path::PathBuf};

/// Why a node does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its directory can't be used.
    #[error("the data directory {} can't be used: {source}; choose another with `--data-dir`", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its journal or index.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its blobs.
    #[error(transparent)]
    Blobs(#[from] BlobStoreError),
    /// Its control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Its network side.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Workers are this program again.
    #[error("this program's own file can't be found, so no worker can be started: {0}")]
    OwnProgram(io::Error),
    /// A task ended that must not.
    #[error("the node stopped: {0}")]
    Broke(String),
}
