//! The CLI's end of the control API: of the socket, or of a node in the same process.

use super::{
    ControlCall, ControlError, LINE_BYTES_MAX, LineError, Lines, REPLIES_CAPACITY, SocketPath,
    api::{CONTROL_VERSION, ControlRequest, ControlResponse, Hello},
    unanswered,
};
use crate::events::EventLine;
use std::{io, path::Path};
use tokio::{net::UnixStream, sync::mpsc};

/// A connection to the running node; one request at a time.
#[derive(Debug)]
pub struct ControlClient(Link);

#[derive(Debug)]
enum Link {
    Socket(Lines),
    /// No socket and no JSON between a program and its own node.
    Here {
        calls: mpsc::Sender<ControlCall>,
        replies: mpsc::Receiver<ControlResponse>,
        streams: bool,
    },
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
        Ok(Self(Link::Socket(lines)))
    }

    /// Of a node in this process, which takes `calls`.
    pub(crate) fn here(calls: mpsc::Sender<ControlCall>) -> Self {
        let (_, replies) = mpsc::channel(1);
        Self(Link::Here { calls, replies, streams: false })
    }

    /// Asks for one answer. What the node refuses is [`ControlError::Refused`].
    pub async fn ask(&mut self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        self.send(request).await?;
        self.response().await
    }

    /// Opens a stream of events; read it with [`Self::next_event`] until `None`.
    pub async fn watch(&mut self, request: ControlRequest) -> Result<(), ControlError> {
        debug_assert!(request.is_stream(), "only streams are watched");
        self.send(request).await
    }

    /// The next event of a stream; `None` when it is over. Safe to cancel.
    pub async fn next_event(&mut self) -> Result<Option<EventLine>, ControlError> {
        match self.response().await? {
            ControlResponse::Event(event) => Ok(Some(event)),
            ControlResponse::End => Ok(None),
            other => Err(ControlError::unexpected("an event", &other)),
        }
    }

    async fn send(&mut self, request: ControlRequest) -> Result<(), ControlError> {
        match &mut self.0 {
            Link::Socket(lines) => Ok(lines.write(&request).await?),
            Link::Here { calls, replies, streams } => {
                let (reply, answers) = mpsc::channel(REPLIES_CAPACITY);
                (*replies, *streams) = (answers, request.is_stream());
                calls.send(ControlCall { request, reply }).await.map_err(|_| ControlError::HungUp)
            }
        }
    }

    async fn response(&mut self) -> Result<ControlResponse, ControlError> {
        let response = match &mut self.0 {
            Link::Socket(lines) => match lines.read().await {
                Err(LineError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => None,
                read => read?,
            },
            Link::Here { replies, streams, .. } => {
                Some(replies.recv().await.unwrap_or_else(|| unanswered(*streams)))
            }
        };
        match response {
            Some(ControlResponse::Error { message, hint }) => Err(ControlError::Refused { message, hint }),
            Some(response) => Ok(response),
            None => Err(ControlError::HungUp),
        }
    }
}
