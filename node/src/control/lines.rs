//! JSON lines over a Unix stream, each of bounded length; the socket's path, however long its directory's is.

use super::{ControlError, SOCKET_NAME};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Why a line could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The socket failed.
    #[error("the control connection failed: {0}")]
    Io(#[from] io::Error),
    /// Nobody's business is that long.
    #[error("a line of {found} bytes or more; expected at most {limit}")]
    TooLong {
        /// Bytes seen.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not what is spoken here.
    #[error("a line that is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// A stream cut into lines.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    limit: usize,
    /// What was read of a line that is not complete yet; kept here so that a cancelled read loses nothing.
    partial: Vec<u8>,
    /// Lines that are put and not flushed.
    outgoing: Vec<u8>,
}

impl Lines {
    /// Lines of at most `limit` bytes over `stream`.
    pub fn new(stream: UnixStream, limit: usize) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, limit, partial: Vec::new(), outgoing: Vec::new() }
    }

    /// The next line; `None` at the end of the stream. Safe to cancel.
    pub async fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LineError> {
        loop {
            let (used, complete) = {
                let piece = self.reader.fill_buf().await?;
                if piece.is_empty() {
                    return match self.partial.is_empty() {
                        true => Ok(None),
                        false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    };
                }
                let end = piece.iter().position(|&b| b == b'\n');
                let used = end.map_or(piece.len(), |i| i + 1);
                self.partial.extend_from_slice(&piece[..used]);
                (used, end.is_some())
            };
            self.reader.consume(used);
            if self.partial.len() > self.limit {
                return Err(LineError::TooLong { found: self.partial.len(), limit: self.limit });
            }
            if complete {
                let value = serde_json::from_slice(&self.partial);
                self.partial.clear();
                return Ok(Some(value?));
            }
        }
    }

    /// Writes one line; nothing of it where it is too long.
    pub async fn write<T: Serialize>(&mut self, value: &T) -> Result<(), LineError> {
        self.put(value)?;
        self.flush().await
    }

    /// Adds a line to what the next flush writes; nothing of it where it is too long.
    pub fn put<T: Serialize>(&mut self, value: &T) -> Result<(), LineError> {
        let line = serde_json::to_vec(value)?;
        let found = line.len() + 1;
        if found > self.limit {
            return Err(LineError::TooLong { found, limit: self.limit });
        }
        self.outgoing.extend_from_slice(&line);
        self.outgoing.push(b'\n');
        Ok(())
    }

    /// Bytes that wait for a flush.
    pub fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    /// Writes what was put.
    pub async fn flush(&mut self) -> Result<(), LineError> {
        let written = self.writer.write_all(&self.outgoing).await;
        self.outgoing.clear();
        Ok(written?)
    }

    /// Returns when the other side closes. Bytes that arrive early stay for the next read.
    pub async fn hung_up(&mut self) {
        match self.reader.fill_buf().await {
            Ok([]) | Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }
}

/// Where the control socket is. A socket's address holds some hundred bytes; a longer path is reached through an open
/// descriptor of its directory.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    short: PathBuf,
    _dir: Option<OwnedFd>,
}

/// `sun_path` holds 108 bytes on Linux and 104 elsewhere, one of them the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 103;

impl SocketPath {
    /// Of the node in `data_dir`, which exists.
    pub fn of(data_dir: &Path) -> Result<Self, ControlError> {
        let path = data_dir.join(SOCKET_NAME);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { short: path.clone(), path, _dir: None });
        }
        if !cfg!(target_os = "linux") {
            return Err(ControlError::PathTooLong { path, limit: SOCKET_PATH_BYTES_MAX });
        }
        let dir = std::fs::File::open(data_dir).map_err(|source| ControlError::Io {
            doing: "open",
            path: data_dir.to_owned(),
            source,
        })?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd()));
        Ok(Self { path, short, _dir: Some(dir.into()) })
    }

    /// Its place on the disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same place, short enough for a socket's address for as long as `self` lives.
    pub fn short(&self) -> &Path {
        &self.short
    }
}
