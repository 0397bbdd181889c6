//! The CLI's end of the control socket.

use super::{
    ControlError, LINE_BYTES_MAX, LineError, Lines, SocketPath,
    api::{CONTROL_VERSION, ControlRequest, ControlResponse, Hello},
};
use crate::events::EventLine;
use std::{io, path::Path};
use tokio::net::UnixStream;

/// A connection to the running node; one request at a time.
#[derive(Debug)]
pub struct ControlClient {
    lines: Lines,
}

impl ControlClient {
    /// Connects to the node running on `data_dir`.
    pub async fn connect(data_dir: &Path) -> Result<Self, ControlError> {
        let not_running = || ControlError::NotRunning { data_dir: data_dir.to_owned() };
        if !data_dir.exists() {
            return Err(not_running());
        }
        let socket = SocketPath::of(data_dir)?;
        let stream = UnixStream::connect(socket.short()).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
            _ => ControlError::Io { doing: "connect to the node in", path: data_dir.to_owned(), source },
        })?;
        let mut lines = Lines::new(stream, LINE_BYTES_MAX);
        lines.write(&Hello::ours()).await?;
        let hello: Hello = lines.read().await?.ok_or(ControlError::HungUp)?;
        if hello.ion_control != CONTROL_VERSION {
            let (found, release) = (hello.ion_control, hello.release);
            return Err(ControlError::Version { found, expected: CONTROL_VERSION, release });
        }
        Ok(Self { lines })
    }

    /// Asks for one answer. What the node refuses is [`ControlError::Refused`].
    pub async fn ask(&mut self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        self.lines.write(&request).await?;
        self.response().await
    }

    /// Opens a stream of events; read it with [`Self::next_event`] until `None`.
    pub async fn watch(&mut self, request: ControlRequest) -> Result<(), ControlError> {
        debug_assert!(request.is_stream(), "only streams are watched");
        Ok(self.lines.write(&request).await?)
    }

    /// The next event of a stream; `None` when it is over. Safe to cancel.
    pub async fn next_event(&mut self) -> Result<Option<EventLine>, ControlError> {
        match self.response().await? {
            ControlResponse::Event(event) => Ok(Some(event)),
            ControlResponse::End => Ok(None),
            other => Err(ControlError::unexpected("an event", &other)),
        }
    }

    async fn response(&mut self) -> Result<ControlResponse, ControlError> {
        match self.lines.read().await {
            Ok(Some(ControlResponse::Error { message, hint })) => {
                Err(ControlError::Refused { message, hint })
            }
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(ControlError::HungUp),
            Err(LineError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Err(ControlError::HungUp),
            Err(error) => Err(error.into()),
        }
    }
}
