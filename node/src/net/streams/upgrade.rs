//! How our two protocols begin on a new stream. A blob stream begins with one byte from the side that was called: ready,
//! or busy; so a full queue is told, not left to be guessed.

use super::{BLOB_PROTOCOL, TALK_PROTOCOL};
use crate::{
    blobs::ByteStream,
    net::{asking::innermost, error::OpenError},
};
use futures::{AsyncReadExt, AsyncWriteExt, future::BoxFuture};
use ion_protocol::NodeId;
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

const READY: u8 = 1;
const BUSY: u8 = 0;

/// What a peer may open.
#[derive(Clone, Debug)]
pub(in crate::net) struct Inbound {
    pub peer: NodeId,
    /// Blob streams of this peer still free.
    pub slots: Arc<Semaphore>,
    /// Where accepted blob streams go.
    pub accepted: mpsc::Sender<(NodeId, ByteStream)>,
}

/// What came of it.
pub(in crate::net) enum Accepted {
    Talk(Stream),
    /// Handed on already, or refused with a word.
    Blob,
}

impl UpgradeInfo for Inbound {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 2];
    fn protocol_info(&self) -> Self::InfoIter {
        [TALK_PROTOCOL, BLOB_PROTOCOL]
    }
}

impl InboundUpgrade<Stream> for Inbound {
    type Output = Accepted;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Accepted, io::Error>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        Box::pin(async move {
            if protocol == TALK_PROTOCOL {
                Ok(Accepted::Talk(stream))
            } else {
                self.accept_blob(stream).await
            }
        })
    }
}

impl Inbound {
    async fn accept_blob(self, mut stream: Stream) -> Result<Accepted, io::Error> {
        let (Ok(slot), Ok(place)) = (self.slots.try_acquire_owned(), self.accepted.try_reserve()) else {
            stream.write_all(&[BUSY]).await?;
            stream.close().await?;
            return Ok(Accepted::Blob);
        };
        stream.write_all(&[READY]).await?;
        stream.flush().await?;
        place.send((self.peer, Box::pin(BlobStream { stream: stream.compat(), _slot: Some(slot) })));
        Ok(Accepted::Blob)
    }
}

/// What we open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Outbound {
    Talk,
    Blob,
}

/// What came of it.
pub(in crate::net) enum Opened {
    Talk(Stream),
    Blob(ByteStream),
}

impl UpgradeInfo for Outbound {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 1];
    fn protocol_info(&self) -> Self::InfoIter {
        match self {
            Outbound::Talk => [TALK_PROTOCOL],
            Outbound::Blob => [BLOB_PROTOCOL],
        }
    }
}

impl OutboundUpgrade<Stream> for Outbound {
    type Output = Opened;
    type Error = OpenError;
    type Future = BoxFuture<'static, Result<Opened, OpenError>>;

    fn upgrade_outbound(self, mut stream: Stream, _: StreamProtocol) -> Self::Future {
        Box::pin(async move {
            match self {
                Outbound::Talk => return Ok(Opened::Talk(stream)),
                Outbound::Blob => {}
            }
            let mut word = [0];
            stream.read_exact(&mut word).await.map_err(|error| OpenError::Failed(innermost(&error)))?;
            match word[0] {
                READY => Ok(Opened::Blob(Box::pin(BlobStream { stream: stream.compat(), _slot: None }))),
                BUSY => Err(OpenError::PeerBusy),
                other => Err(OpenError::Failed(format!("it began with the byte {other}"))),
            }
        })
    }
}

/// A blob stream; gives its slot back when dropped.
struct BlobStream {
    stream: Compat<Stream>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for BlobStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BlobStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
