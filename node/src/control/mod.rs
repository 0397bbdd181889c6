//! The local control API: how the CLI speaks to the running node, over a Unix socket that only its owner can open.
//!
//! Owns the language ([`api`]), the node's end ([`server`]) and the CLI's end ([`client`]). Decides nothing: every
//! request becomes a [`ControlCall`] for the driver. Limits: [`LINE_BYTES_MAX`], [`CONNECTIONS_MAX`],
//! [`CALLS_CAPACITY`], [`REPLIES_CAPACITY`]. Tests: `tests.rs` beside this file.

pub mod api;
mod client;
mod lines;
mod server;
#[cfg(test)]
mod tests;

pub use client::ControlClient;
pub use lines::LineError;
pub use server::ControlServer;

use lines::{Lines, SocketPath};
use std::{io, path::PathBuf};
use tokio::sync::mpsc;

/// One line of JSON at most: a job of the largest specification, or a few thousand receipts.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections at once; a person has a handful of terminals, a test harness some dozens.
pub const CONNECTIONS_MAX: usize = 64;
/// Calls that may wait for the driver; each connection has one at a time.
pub const CALLS_CAPACITY: usize = CONNECTIONS_MAX;
/// Replies that may wait for a slow reader of events. The driver never waits: it drops a watcher that falls further
/// behind, and the server says so.
pub const REPLIES_CAPACITY: usize = 1024;
/// Name of the socket inside the data directory.
pub const SOCKET_NAME: &str = "control.sock";

/// A request on its way to the driver. The driver answers with `try_send`; dropping `reply` without an answer, or
/// before [`api::ControlResponse::End`] of a stream, tells the asker that the node could not.
#[derive(Debug)]
pub struct ControlCall {
    /// What is asked.
    pub request: api::ControlRequest,
    /// Where the answer goes; of capacity [`REPLIES_CAPACITY`].
    pub reply: mpsc::Sender<api::ControlResponse>,
}

/// An answer that it can't be done, and the way out.
pub(crate) fn refusal(message: impl Into<String>, hint: impl Into<String>) -> api::ControlResponse {
    api::ControlResponse::Error { message: message.into(), hint: hint.into() }
}

/// What an asker is told whose call was dropped.
fn unanswered(streams: bool) -> api::ControlResponse {
    if streams {
        refusal(
            "the node stopped, or events came faster than they were read",
            "ask again; nothing is lost on disk",
        )
    } else {
        refusal("the node gave no answer", "see whether it is stopping: `ion status`")
    }
}

/// Why the node and the CLI do not talk.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens there.
    #[error("no node is running on {}", data_dir.display())]
    NotRunning {
        /// Where one was sought.
        data_dir: PathBuf,
    },
    /// Somebody listens there.
    #[error("a node is running on {} already; stop it, or choose another directory with `--data-dir`", data_dir.display())]
    AlreadyRunning {
        /// Its directory.
        data_dir: PathBuf,
    },
    /// The file system or the socket refused.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// How it was refused.
        source: io::Error,
    },
    /// No socket fits there.
    #[error("{} is longer than the {limit} bytes of a socket's address; choose a shorter directory with `--data-dir`", path.display())]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
        /// Bytes allowed.
        limit: usize,
    },
    /// Another release runs.
    #[error(
        "the running node is release {release} and speaks control version {found}, this binary speaks {expected}; restart the node"
    )]
    Version {
        /// Version of the node.
        found: u32,
        /// Version of this binary.
        expected: u32,
        /// Release of the node.
        release: String,
    },
    /// The connection broke.
    #[error("the node hung up; see its own messages for the reason")]
    HungUp,
    /// A line could not be read or written.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The node said no.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// The way out; may be empty.
        hint: String,
    },
    /// The node answered something else.
    #[error("the node answered {found} where {expected} was expected; is it another release?")]
    Unexpected {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        found: String,
    },
}

impl ControlError {
    /// An answer to another question.
    pub fn unexpected(expected: &'static str, found: &api::ControlResponse) -> Self {
        Self::Unexpected { expected, found: format!("{found:?}").chars().take(80).collect() }
    }
}
