//! Frames on a blob stream, read and written with patience but not for ever.

use super::stream::ByteStream;
use ion_protocol::codec::{self, CodecError, Decode, Encode};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// Why a stream is of no more use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StreamError {
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("the stream ended early")]
    Ended,
    #[error("no byte moved for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    #[error("an answer to another question")]
    Unasked,
    #[error("a frame of {found} bytes; expected at most {limit}")]
    TooLong { found: usize, limit: usize },
    #[error("a frame that is {0}")]
    Codec(#[from] CodecError),
}

/// Fills `buffer`; gives up where no byte comes for `stall`.
pub(super) async fn read_exact(
    stream: &mut ByteStream,
    buffer: &mut [u8],
    stall: Duration,
) -> Result<(), StreamError> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = timeout(stall, stream.read(&mut buffer[filled..])).await;
        match read.map_err(|_| StreamError::Stalled(stall))?? {
            0 => return Err(StreamError::Ended),
            n => filled += n,
        }
    }
    Ok(())
}

/// Writes `bytes`; gives up where the peer takes none for `stall`.
pub(super) async fn write_all(
    stream: &mut ByteStream,
    mut bytes: &[u8],
    stall: Duration,
) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let written = timeout(stall, stream.write(bytes)).await;
        match written.map_err(|_| StreamError::Stalled(stall))?? {
            0 => return Err(StreamError::Ended),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

/// Sends what was written.
pub(super) async fn flush(stream: &mut ByteStream, stall: Duration) -> Result<(), StreamError> {
    timeout(stall, stream.flush()).await.map_err(|_| StreamError::Stalled(stall))??;
    Ok(())
}

/// A value as a frame.
pub(super) fn frame<T: Encode>(value: &T) -> Vec<u8> {
    let body = codec::encode(value);
    [&(body.len() as u32).to_le_bytes(), body.as_slice()].concat()
}

/// Reads a frame of at most `bytes_max`; `None` where the stream ends before it.
pub(super) async fn read_frame<T: Encode + Decode<()>>(
    stream: &mut ByteStream,
    bytes_max: usize,
    stall: Duration,
) -> Result<Option<T>, StreamError> {
    let mut length = [0; 4];
    let first = timeout(stall, stream.read(&mut length[..1])).await;
    if first.map_err(|_| StreamError::Stalled(stall))?? == 0 {
        return Ok(None);
    }
    read_exact(stream, &mut length[1..], stall).await?;
    let found = u32::from_le_bytes(length) as usize;
    if found > bytes_max {
        return Err(StreamError::TooLong { found, limit: bytes_max });
    }
    let mut body = vec![0; found];
    read_exact(stream, &mut body, stall).await?;
    Ok(Some(codec::decode(&body, bytes_max)?))
}
