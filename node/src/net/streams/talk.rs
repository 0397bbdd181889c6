//! One negotiation stream: frames in, frames out. A 4-byte little-endian length, then one encoded
//! [`Frame`](ion_protocol::message::Frame).

use super::WRITE_BYTES_MAX;
use crate::net::intake::Offence;
use futures::{AsyncRead, AsyncWrite};
use ion_protocol::{
    codec::{self, CodecError},
    limits::MESSAGE_BYTES_MAX,
    message::Frame,
};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Before each frame.
const HEADER_BYTES: usize = 4;
/// What one read asks for at least: most messages fit.
const READ_BYTES: usize = 16 * 1024;
/// An idle buffer above this is given back.
const KEEP_BYTES: usize = 64 * 1024;

/// Why a talk is over.
#[derive(Debug)]
pub(super) enum End {
    /// The peer is gone, or ended it.
    Broken(String),
    /// The peer broke the rules.
    Offence(Offence),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Broken(error.to_string())
    }
}

/// A frame with its length before it, ready to be written.
pub(in crate::net) fn framed(frame: &Frame) -> Result<Vec<u8>, CodecError> {
    let body = codec::encode(frame);
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLong { found: body.len(), limit: MESSAGE_BYTES_MAX });
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Talk<S> {
    stream: S,
    read: Vec<u8>,
    filled: usize,
    taken: usize,
    write: VecDeque<Vec<u8>>,
    written: usize,
    queued_bytes: usize,
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read: Vec::new(),
            filled: 0,
            taken: 0,
            write: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            unflushed: false,
        }
    }

    /// Queues a framed message; gives it back when too much waits already.
    pub fn queue(&mut self, framed: Vec<u8>) -> Result<(), Vec<u8>> {
        if self.queued_bytes + framed.len() > WRITE_BYTES_MAX {
            return Err(framed);
        }
        self.queued_bytes += framed.len();
        self.write.push_back(framed);
        Ok(())
    }

    /// Writes as much as the stream takes now.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Some(front) = self.write.front() {
            match Pin::new(&mut self.stream).poll_write(cx, &front[self.written..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(End::Broken("the stream takes no more".into())),
                Poll::Ready(Ok(wrote)) => {
                    self.unflushed = true;
                    self.written += wrote;
                    if self.written == front.len() {
                        self.queued_bytes -= self.written;
                        self.written = 0;
                        self.write.pop_front();
                    }
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    /// The next frame. Memory grows with the bytes that came, never with the length they claim.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, End>> {
        loop {
            if let Some(frame) = self.buffered().map_err(End::Offence)? {
                return Poll::Ready(Ok(frame));
            }
            self.make_room();
            let free = &mut self.read[self.filled..];
            match ready!(Pin::new(&mut self.stream).poll_read(cx, free)) {
                Ok(0) if self.filled == 0 => {
                    return Poll::Ready(Err(End::Broken("the peer ended it".into())));
                }
                Ok(0) => return Poll::Ready(Err(End::Broken("the peer ended it within a message".into()))),
                Ok(got) => self.filled += got,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Frame>, Offence> {
        let bytes = &self.read[self.taken..self.filled];
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(Offence::Unreadable(CodecError::TooLong { found: length, limit: MESSAGE_BYTES_MAX }));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let frame = codec::decode::<Frame>(body, MESSAGE_BYTES_MAX).map_err(Offence::Unreadable)?;
        self.taken += HEADER_BYTES + length;
        Ok(Some(frame))
    }

    fn make_room(&mut self) {
        if self.taken > 0 {
            self.read.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.filled == 0 && self.read.len() > KEEP_BYTES {
            self.read = Vec::new();
        }
        if self.read.len() - self.filled < READ_BYTES {
            self.read.resize(self.filled + READ_BYTES, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::poll_fn;
    use ion_protocol::message::{Request, Response};
    use tokio::io::AsyncWriteExt;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    fn question(id: u64) -> Frame {
        Frame::Request { id, request: Request::Adverts { max: 7 } }
    }

    async fn next<S: AsyncRead + AsyncWrite + Unpin>(talk: &mut Talk<S>) -> Result<Frame, End> {
        poll_fn(|cx| talk.poll_frame(cx)).await
    }

    #[tokio::test]
    async fn frames_cross_in_any_pieces() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut talk = Talk::new(near.compat());
        let bytes = [framed(&question(1)).unwrap(), framed(&question(2)).unwrap()].concat();
        for piece in bytes.chunks(5) {
            far.write_all(piece).await.unwrap();
        }
        assert_eq!(next(&mut talk).await.unwrap(), question(1));
        assert_eq!(next(&mut talk).await.unwrap(), question(2));
        drop(far);
        assert!(matches!(next(&mut talk).await, Err(End::Broken(_))));
    }

    #[tokio::test]
    async fn both_directions_at_once() {
        let (left, right) = tokio::io::duplex(1024);
        let (mut left, mut right) = (Talk::new(left.compat()), Talk::new(right.compat()));
        left.queue(framed(&question(3)).unwrap()).unwrap();
        right.queue(framed(&Frame::Response { id: 9, response: Response::Noted }).unwrap()).unwrap();
        poll_fn(|cx| Poll::Ready(left.poll_write(cx))).await.unwrap();
        poll_fn(|cx| Poll::Ready(right.poll_write(cx))).await.unwrap();
        assert_eq!(next(&mut right).await.unwrap(), question(3));
        assert_eq!(next(&mut left).await.unwrap(), Frame::Response { id: 9, response: Response::Noted });
    }

    #[tokio::test]
    async fn bad_bytes_end_the_talk() {
        let good = framed(&question(1)).unwrap();
        let mut trailing = good.clone();
        trailing[0] += 1;
        trailing.push(0);
        let mut unknown = good.clone();
        unknown[HEADER_BYTES] = 99;
        let oversized = ((MESSAGE_BYTES_MAX + 1) as u32).to_le_bytes().to_vec();
        let empty = 0u32.to_le_bytes().to_vec();
        for (name, bytes) in
            [("trailing", trailing), ("unknown", unknown), ("oversized", oversized), ("empty", empty)]
        {
            let (mut far, near) = tokio::io::duplex(1024);
            far.write_all(&bytes).await.unwrap();
            let end = next(&mut Talk::new(near.compat())).await;
            assert!(matches!(end, Err(End::Offence(Offence::Unreadable(_)))), "{name}: {end:?}");
        }
        // Truncated: the peer leaves within a message.
        let (mut far, near) = tokio::io::duplex(1024);
        far.write_all(&good[..good.len() - 1]).await.unwrap();
        drop(far);
        assert!(matches!(next(&mut Talk::new(near.compat())).await, Err(End::Broken(_))));
    }

    #[tokio::test]
    async fn a_claimed_length_allocates_nothing() {
        let (mut far, near) = tokio::io::duplex(1024);
        far.write_all(&(MESSAGE_BYTES_MAX as u32).to_le_bytes()).await.unwrap();
        let mut talk = Talk::new(near.compat());
        let waits = poll_fn(|cx| Poll::Ready(talk.poll_frame(cx).is_pending())).await;
        assert!(waits);
        assert!(talk.read.len() <= 2 * READ_BYTES);
    }

    #[test]
    fn what_a_peer_does_not_read_is_bounded() {
        let (near, _far) = tokio::io::duplex(1);
        let mut talk = Talk::new(near.compat());
        let message = vec![0; MESSAGE_BYTES_MAX];
        for _ in 0..WRITE_BYTES_MAX / MESSAGE_BYTES_MAX {
            talk.queue(message.clone()).unwrap();
        }
        assert!(talk.queue(message).is_err());
    }
}
