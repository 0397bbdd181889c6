//! Frames between the node and its worker, over the child's stdin and stdout.
//!
//! A frame is a 4-byte little-endian length of what follows, one kind byte, and the payload: either one message
//! ([`ToWorker`] or [`FromWorker`], encoded with `ion_protocol::codec`) or a piece of a blob's bytes, raw, so that a buffer
//! of 16 GiB is many small frames between which other messages pass. A conversation:
//!
//! ```text
//! worker  Ready
//! node    Job(..)  bytes of program.blobs(), one blob after the other, in pieces of at most CHUNK_BYTES_MAX
//! node    Start    at once; or, where another job still has the device, Hold, and Start when it is over
//! worker  Loaded   after Hold: all is ready that can be
//! worker  Progress   at once and then every PROGRESS_EVERY, from a thread of its own
//! worker  Started    modules are loaded, the first launch is next: the run time counts from here; with the next word
//! worker  Output(buffer, bytes): the device is done, and holds only zeros of the job's; and the bytes in pieces, for each output buffer in order
//! worker  States(every, bytes) and the bytes in pieces, where they were wanted and there are any
//! worker  Done       or, at any point after Job, Failed(fault)
//!
//! node    Check(ask)
//! worker  Progress   as above
//! worker  Need(a part of a blob)    node  its bytes, in pieces    as often as it takes
//! worker  Found(finding)            or Failed(fault)
//! ```
//! Bytes from the other side are never trusted: lengths are checked before anything is allocated. Tests are at the end.

use crate::meter::KernelTime;
use ion_protocol::{
    BlobHash, Bytes, Millis, Nanos,
    check::{BlockAt, Finding},
    codec::{self, CodecError, Decode, Encode, bincode_crate},
    fault::Fault,
    job::JobSpec,
    limits,
    receipt::Output,
    states::Kept,
};
use std::{
    io::{self, Read, Write},
    time::Duration,
};

/// Length and kind.
pub const HEADER_BYTES: usize = 5;
/// One message: a specification, or a summary with its kernel times and printed text.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// One piece of a blob: large enough that system calls do not count, small enough to pass progress between.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// What may be needed at once: a whole module.
pub const NEED_BYTES_MAX: u64 = limits::MODULE_BYTES_MAX as u64;
/// How often a working child speaks; silence of many times this is a hang.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(200);

const _: () = assert!(crate::cpu::PRINTED_BYTES_MAX * 2 <= MESSAGE_BYTES_MAX, "printed text fits a summary");
const _: () = assert!(limits::SPEC_BYTES_MAX + 1024 <= MESSAGE_BYTES_MAX, "a job fits a frame");

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub enum ToWorker {
    /// Run this; its blobs' bytes follow.
    Job {
        /// What.
        spec: Box<JobSpec>,
        /// Whether the memory between launches is wanted too.
        keep_states: bool,
    },
    /// All bytes were sent, and their hashes are right: run it.
    Start,
    /// Run blocks of this again; what is needed of its blobs is asked for.
    Check(Box<Ask>),
    /// All bytes of a job were sent, and are right, but another job has the device: be ready for the start.
    Hold {
        /// Whether the device's memory has room for both.
        fill: bool,
    },
}

/// A delivery, and which of its blocks to run again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub struct Ask {
    /// What was run.
    pub spec: JobSpec,
    /// What was delivered.
    pub outputs: Vec<Output>,
    /// Blocks of the last launch, by number.
    pub blocks: Vec<u64>,
    /// What to do where these cannot be checked from the inputs alone.
    pub between: Option<Between>,
    /// How long it may take.
    pub limit: Millis,
}

/// The committed memory between launches, and which blocks of them to run again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub struct Between {
    /// The commitment.
    pub kept: Kept,
    /// Which blocks.
    pub blocks: Vec<BlockAt>,
}

/// What the worker says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub enum FromWorker {
    /// The device is open; a job may come.
    Ready,
    /// Alive, and this far.
    Progress {
        /// Launches finished.
        done: u64,
        /// Launches in all.
        total: u64,
    },
    /// Modules are loaded and buffers filled; the first launch is next.
    Started,
    /// The bytes of this output buffer follow.
    Output {
        /// Position in the program.
        buffer: u16,
        /// How many.
        bytes: Bytes,
    },
    /// All outputs were sent.
    Done(Summary),
    /// The program did not finish.
    Failed(Fault),
    /// These bytes of a blob are needed.
    Need {
        /// Which: one of the job's, or an output.
        blob: BlobHash,
        /// From where on.
        from: u64,
        /// How many, at most [`NEED_BYTES_MAX`].
        bytes: u64,
    },
    /// What running blocks again showed.
    Found(Finding),
    /// The bytes of the memory between launches follow, behind the outputs.
    States {
        /// Launches from one row to the next.
        every: u64,
        /// How many.
        bytes: Bytes,
    },
    /// It is held, and ready to start.
    Loaded,
}

/// What a finished program amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub struct Summary {
    /// Metered in kernels.
    pub device_time: Nanos,
    /// From the first launch to the end of the last, on the wall.
    pub ran: Millis,
    /// Parsing, checking, compiling and filling buffers.
    pub load: Nanos,
    /// Warp instructions, where the engine counts them.
    pub instructions: Option<u64>,
    /// Those of them that were interpreted, not translated to machine code.
    pub interpreted: Option<u64>,
    /// One row a kernel.
    pub kernels: Vec<KernelTime>,
    /// Why there is no memory between launches, where it was wanted; else empty.
    pub states_missing: String,
    /// What the kernels printed, at most [`crate::cpu::PRINTED_BYTES_MAX`] and a line.
    pub printed: String,
}

/// A received frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame<T> {
    /// A message.
    Message(T),
    /// A piece of the blob that is under way.
    Bytes(Vec<u8>),
}

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An encoded message.
    Message,
    /// Raw bytes.
    Bytes,
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe broke.
    #[error("the pipe broke: {0}")]
    Io(#[from] io::Error),
    /// The pipe ended inside a frame.
    #[error("the pipe ended inside a frame")]
    Cut,
    /// The length is over its limit or the kind is none.
    #[error("{0:02x?} is no frame header")]
    Header([u8; HEADER_BYTES]),
    /// The payload is no message.
    #[error("a message is {0}")]
    Message(#[from] CodecError),
}

/// The header of a frame with `len` bytes of payload.
pub fn header(kind: Kind, len: usize) -> [u8; HEADER_BYTES] {
    let max = match kind {
        Kind::Message => MESSAGE_BYTES_MAX,
        Kind::Bytes => CHUNK_BYTES_MAX,
    };
    assert!(len <= max, "{kind:?} frames are cut to size by their writers");
    let [a, b, c, d] = (len as u32 + 1).to_le_bytes();
    [a, b, c, d, matches!(kind, Kind::Bytes).into()]
}

/// Kind and payload length of a header.
pub fn parse_header(header: [u8; HEADER_BYTES]) -> Result<(Kind, usize), FrameError> {
    let [a, b, c, d, kind] = header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    match kind {
        0 if (1..=MESSAGE_BYTES_MAX + 1).contains(&len) => Ok((Kind::Message, len - 1)),
        1 if (1..=CHUNK_BYTES_MAX + 1).contains(&len) => Ok((Kind::Bytes, len - 1)),
        _ => Err(FrameError::Header(header)),
    }
}

/// A frame from its parsed header's kind and its payload.
pub fn parse_payload<T: Encode + Decode<()>>(kind: Kind, payload: Vec<u8>) -> Result<Frame<T>, FrameError> {
    Ok(match kind {
        Kind::Message => Frame::Message(codec::decode(&payload, MESSAGE_BYTES_MAX)?),
        Kind::Bytes => Frame::Bytes(payload),
    })
}

/// A message as a whole frame.
pub fn message_frame<T: Encode>(message: &T) -> Vec<u8> {
    let payload = codec::encode(message);
    let mut frame = header(Kind::Message, payload.len()).to_vec();
    frame.extend_from_slice(&payload);
    frame
}

/// Writes one message and flushes it.
pub fn write_message<T: Encode>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&message_frame(message))?;
    to.flush()
}

/// Writes `bytes` as one frame; they are at most [`CHUNK_BYTES_MAX`].
pub fn write_chunk(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&header(Kind::Bytes, bytes.len()))?;
    to.write_all(bytes)?;
    to.flush()
}

/// The next frame; `None` where the pipe ends between two.
pub fn read_frame<T: Encode + Decode<()>>(from: &mut impl Read) -> Result<Option<Frame<T>>, FrameError> {
    let mut head = [0; HEADER_BYTES];
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match from.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::Cut),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (kind, len) = parse_header(head)?;
    let mut payload = vec![0; len];
    from.read_exact(&mut payload).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Cut,
        _ => FrameError::Io(error),
    })?;
    parse_payload(kind, payload).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The testnet's liar sits on this pipe, and knows words by how they begin.
    #[test]
    fn words_that_others_know_keep_their_numbers() {
        let output = codec::encode(&FromWorker::Output { buffer: 4, bytes: Bytes(1) });
        assert_eq!(output[..6], [3, 0, 0, 0, 4, 0]);
        assert_eq!(codec::encode(&ToWorker::Start), [1, 0, 0, 0]);
    }

    #[test]
    fn a_message_is_these_bytes() {
        let frame = message_frame(&FromWorker::Progress { done: 2, total: 258 });
        let expected = [
            &[21, 0, 0, 0][..],        // length: kind and payload
            &[0],                      // kind: message
            &[1, 0, 0, 0],             // Progress
            &[2, 0, 0, 0, 0, 0, 0, 0], // done
            &[2, 1, 0, 0, 0, 0, 0, 0], // total
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn frames_come_back_in_order() {
        let mut pipe = Vec::new();
        write_message(&mut pipe, &FromWorker::Output { buffer: 3, bytes: Bytes(4) }).unwrap();
        write_chunk(&mut pipe, &[1, 2, 3, 4]).unwrap();
        write_message(&mut pipe, &FromWorker::Failed(Fault::Cancelled)).unwrap();
        let mut pipe = &pipe[..];
        let mut next = || read_frame::<FromWorker>(&mut pipe).unwrap();
        assert!(matches!(next(), Some(Frame::Message(FromWorker::Output { buffer: 3, .. }))));
        assert!(matches!(next(), Some(Frame::Bytes(bytes)) if bytes == [1, 2, 3, 4]));
        assert!(matches!(next(), Some(Frame::Message(FromWorker::Failed(Fault::Cancelled)))));
        assert!(next().is_none());
    }

    #[test]
    fn what_is_no_frame_is_told_before_anything_is_allocated() {
        for bytes in [&[0xff; 5][..], &[0, 0, 0, 0, 0], &[2, 0, 0, 0, 7], b"hello world", &[1, 0, 8, 0, 1]] {
            let mut from = bytes;
            assert!(matches!(read_frame::<FromWorker>(&mut from), Err(FrameError::Header(_))), "{bytes:?}");
        }
        let whole = message_frame(&FromWorker::Ready);
        for cut in 1..whole.len() {
            let mut from = &whole[..cut];
            assert!(matches!(read_frame::<FromWorker>(&mut from), Err(FrameError::Cut)), "cut at {cut}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..rng.usize(0..64)).map(|_| rng.u8(..)).collect();
            if bytes.len() > 5 {
                let payload = bytes.len() - 5;
                bytes[..5].copy_from_slice(&header(Kind::Message, payload));
            }
            let mut from = &bytes[..];
            if let Ok(Some(Frame::Message(message))) = read_frame::<FromWorker>(&mut from) {
                assert_eq!(message_frame(&message), bytes[..bytes.len() - from.len()], "seed {seed}");
            }
        }
    }
}
