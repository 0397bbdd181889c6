//! The bytes of the journal: one header, then frames. Pure: no file is touched here.
//!
//! ```text
//! header  "ION-JRNL"  version u32  crc u32  salt [16]  network [32]  node [32]                        96 bytes
//! frame   length u32  crc u32  batch u64  chain [32]  body [length]                           48 bytes + body
//! ```
//! All integers are little-endian. `chain` is BLAKE3 of the previous chain value and the body; the first follows
//! [`genesis`]. `batch` is the offset at which the frame's group commit began: nothing of a later batch is written
//! before an earlier one is durable, so a bad frame with a later batch behind it is damage, and one without is a write
//! that was cut short. The checksum covers the salt, length, batch, chain and body; the salt is drawn at random for each
//! journal, so that nobody can smuggle bytes into a body that look like a frame.
//! Tests: `tests/bytes.rs`.

use ion_protocol::{NetworkId, NodeId, codec, codec::CodecError, record};
pub use record::Record;

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 96;
/// Bytes of a frame before its body.
pub const FRAME_HEAD_BYTES: usize = 48;

const MAGIC: &[u8; 8] = b"ION-JRNL";
const VERSION: u32 = 5;

/// Names everything before it: BLAKE3 over all records so far.
pub type Chain = [u8; 32];

/// What separates this journal's checksums from all others'.
pub type Salt = [u8; 16];

/// The chain value before the first record.
pub fn genesis(network: &NetworkId, node: &NodeId) -> Chain {
    blake3::derive_key("ion journal 1", &[network.0, node.0].concat())
}

/// The chain value after a record with this body.
pub fn link(previous: &Chain, body: &[u8]) -> Chain {
    *blake3::Hasher::new().update(previous).update(body).finalize().as_bytes()
}

/// What a journal says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// See [`Salt`].
    pub salt: Salt,
    /// The network all its documents are of.
    pub network: NetworkId,
    /// Whose journal it is.
    pub node: NodeId,
}

/// Why a file is no journal this program can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum HeaderFault {
    #[error("it does not begin like a journal")]
    NotAJournal,
    #[error("it has format {found}, this program knows {VERSION}; use the program that wrote it")]
    Version { found: u32 },
    #[error("its header is damaged")]
    Checksum,
}

impl Header {
    /// The bytes a journal begins with.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.salt);
        bytes[32..64].copy_from_slice(&self.network.0);
        bytes[64..96].copy_from_slice(&self.node.0);
        let crc = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what [`Header::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < HEADER_BYTES || &bytes[0..8] != MAGIC {
            return Err(HeaderFault::NotAJournal);
        }
        let found = u32_at(bytes, 8);
        if found != VERSION {
            return Err(HeaderFault::Version { found });
        }
        if u32_at(bytes, 12) != crc32fast::hash(&bytes[16..HEADER_BYTES]) {
            return Err(HeaderFault::Checksum);
        }
        Ok(Self {
            salt: array_at(bytes, 16),
            network: NetworkId(array_at(bytes, 32)),
            node: NodeId(array_at(bytes, 64)),
        })
    }
}

/// One frame whose checksum holds. Whether it continues the chain is for the caller to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where its group commit began.
    pub batch: u64,
    /// The chain value after it.
    pub chain: Chain,
    /// The record's encoding.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Size in the file.
    pub fn bytes(&self) -> u64 {
        (FRAME_HEAD_BYTES + self.body.len()) as u64
    }

    /// What it holds.
    pub fn record(&self) -> Result<Record, CodecError> {
        codec::decode(self.body, record::RECORD_BYTES_MAX)
    }
}

/// Adds a frame to `out` and moves the chain on.
pub fn push(out: &mut Vec<u8>, salt: &Salt, batch: u64, chain: &mut Chain, body: &[u8]) {
    *chain = link(chain, body);
    let length = (body.len() as u32).to_le_bytes();
    let batch = batch.to_le_bytes();
    let crc = checksum(salt, [&length, &batch, chain, body]);
    for part in [length.as_slice(), &crc.to_le_bytes(), &batch, chain, body] {
        out.extend_from_slice(part);
    }
}

/// How long the frame is that begins `head`, if its head is plausible at `offset`.
pub fn announced_bytes(head: &[u8], offset: u64) -> Option<usize> {
    if head.len() < FRAME_HEAD_BYTES {
        return None;
    }
    let length = u32_at(head, 0) as usize;
    let batch = u64::from_le_bytes(array_at(head, 8));
    let plausible =
        (1..=record::RECORD_BYTES_MAX).contains(&length) && (HEADER_BYTES as u64..=offset).contains(&batch);
    plausible.then_some(FRAME_HEAD_BYTES + length)
}

/// The frame that begins `bytes` at `offset`, if it is whole and its checksum holds.
pub fn parse<'a>(bytes: &'a [u8], salt: &Salt, offset: u64) -> Option<Frame<'a>> {
    let bytes = bytes.get(..announced_bytes(bytes, offset)?)?;
    let (head, body) = bytes.split_at(FRAME_HEAD_BYTES);
    let crc = checksum(salt, [&head[0..4], &head[8..16], &head[16..48], body]);
    (crc == u32_at(head, 4)).then(|| Frame {
        batch: u64::from_le_bytes(array_at(head, 8)),
        chain: array_at(head, 16),
        body,
    })
}

fn checksum(salt: &Salt, parts: [&[u8]; 4]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(salt);
    parts.iter().for_each(|part| crc.update(part));
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
