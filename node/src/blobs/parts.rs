//! Parts of a blob that a peer holds, each verified against the blob's hash, without bringing the rest here.
//!
//! Owns one blob's outline and slices that were asked for, in memory. Never: writes to the store, or asks again
//! for what did not match: then the peer holds another blob than it says.
//! Limits: [`SLICES_HELD`]. Tests: `tests/parts.rs`.

use super::{
    fetch::{FetchError, RESPONSE_HEAD_BYTES},
    service::Patience,
    stream::{ByteStream, Opener},
    wire::{self, StreamError},
};
use ion_protocol::{
    BlobHash, Bytes, NodeId,
    blob::{BlobRequest, BlobResponse, Outline, SLICES_PER_GROUP, group_count, slices_in_group},
    limits::{BLOB_GROUP_BYTES, BLOB_SLICE_BYTES},
};
use std::{collections::BTreeMap, ops::Range};
use tokio::time::sleep;

/// Slices kept for the next question: 16 MiB, what some blocks of a kernel touch.
const SLICES_HELD: usize = 1024;

/// A blob at a peer.
pub struct Parts {
    opener: Opener,
    peer: NodeId,
    addresses: Vec<String>,
    patience: Patience,
    hash: BlobHash,
    bytes: Bytes,
    stream: Option<ByteStream>,
    outline: Option<Outline>,
    slices: BTreeMap<u64, Vec<u8>>,
}

impl Parts {
    pub(super) fn new(
        opener: Opener,
        (peer, addresses): (NodeId, Vec<String>),
        patience: Patience,
        (hash, bytes): (BlobHash, Bytes),
    ) -> Self {
        let (stream, outline, slices) = (None, None, BTreeMap::new());
        Self { opener, peer, addresses, patience, hash, bytes, stream, outline, slices }
    }

    /// The bytes from `from` on, as far as the blob goes.
    pub async fn read(&mut self, from: u64, bytes: u64) -> Result<Vec<u8>, FetchError> {
        let end = from.saturating_add(bytes).min(self.bytes.0);
        let mut part = Vec::new();
        let mut at = from;
        while at < end {
            // Of one group at a time, all slices that are not here with one question.
            let group_end = (at / BLOB_GROUP_BYTES + 1) * BLOB_GROUP_BYTES;
            let until = end.min(group_end);
            let wanted = at / BLOB_SLICE_BYTES..until.div_ceil(BLOB_SLICE_BYTES);
            self.bring(wanted.clone()).await?;
            for slice in wanted {
                let start = slice * BLOB_SLICE_BYTES;
                let (low, high) = (at.max(start), until.min(start + BLOB_SLICE_BYTES));
                let held = self.slices.get(&slice).map_or(&[][..], Vec::as_slice);
                part.extend_from_slice(&held[(low - start) as usize..(high - start) as usize]);
            }
            at = until;
        }
        Ok(part)
    }

    /// Brings those of some slices of one group that are not here, and what lies between them.
    async fn bring(&mut self, wanted: Range<u64>) -> Result<(), FetchError> {
        let absent = |slice: &u64| !self.slices.contains_key(slice);
        let (Some(first), Some(last)) = (wanted.clone().find(absent), wanted.clone().rev().find(absent))
        else {
            return Ok(());
        };
        let (mut failures, mut busy) = (0, 0);
        let bytes = loop {
            match self.ask(first, last + 1 - first).await {
                Ok(bytes) => break bytes,
                Err(FetchError::Stream { .. } | FetchError::Unreachable { .. })
                    if failures < self.patience.retries =>
                {
                    failures += 1;
                    self.stream = None;
                }
                // Many may ask at once: that is no refusal to show it.
                Err(FetchError::Busy { .. }) if busy < self.patience.busy_tries => {
                    busy += 1;
                    sleep(self.patience.busy_wait).await;
                }
                Err(error) => return Err(error),
            }
        };
        while self.slices.len() >= SLICES_HELD
            && let Some(other) = self.slices.keys().find(|held| !wanted.contains(held)).copied()
        {
            self.slices.remove(&other);
        }
        let pieces = bytes.chunks(BLOB_SLICE_BYTES as usize).map(<[u8]>::to_vec);
        self.slices.extend((first..).zip(pieces));
        Ok(())
    }

    async fn ask(&mut self, first: u64, count: u64) -> Result<Vec<u8>, FetchError> {
        let (peer, hash, declared, stall) = (self.peer, self.hash, self.bytes, self.patience.stall);
        let broken = |source: StreamError| FetchError::Stream { peer, source };
        let wrong = |source| FetchError::WrongBytes { peer, hash, source };
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => (self.opener)(peer, self.addresses.clone())
                .await
                .map_err(|why| FetchError::Unreachable { peer, why })?,
        };
        let request = BlobRequest { hash, outline: self.outline.is_none(), first, count, slices: true };
        wire::write_all(&mut stream, &wire::frame(&request), stall).await.map_err(broken)?;
        wire::flush(&mut stream, stall).await.map_err(broken)?;
        let values_max = group_count(declared.0) + SLICES_PER_GROUP;
        let bytes_max = RESPONSE_HEAD_BYTES + 32 * values_max as usize;
        let (groups, values) = match wire::read_frame(&mut stream, bytes_max, stall).await.map_err(broken)? {
            Some(BlobResponse::Slices { bytes, outline, values }) if bytes == declared.0 => (outline, values),
            Some(BlobResponse::Slices { bytes, .. }) => {
                return Err(FetchError::WrongSize { peer, hash, found: Bytes(bytes), declared });
            }
            Some(BlobResponse::Found { .. }) => return Err(broken(StreamError::Unasked)),
            Some(BlobResponse::NotFound) => return Err(FetchError::NotFound { peer, hash }),
            Some(BlobResponse::Busy) => return Err(FetchError::Busy { peer }),
            None => return Err(broken(StreamError::Ended)),
        };
        let outline = match self.outline.take() {
            Some(outline) => outline,
            None => Outline::verify(hash, declared.0, groups).map_err(wrong)?,
        };
        let outline = self.outline.insert(outline);
        let len = slices_in_group(declared.0, first, count).map_or(0, |(_, place)| place.len());
        let mut bytes = vec![0; len];
        wire::read_exact(&mut stream, &mut bytes, stall).await.map_err(broken)?;
        outline.check_slices(first, count, &values, &bytes).map_err(wrong)?;
        self.stream = Some(stream);
        Ok(bytes)
    }
}
