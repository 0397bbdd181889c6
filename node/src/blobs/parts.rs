//! Parts of a blob that a peer holds, each verified against the blob's hash, without bringing the rest here.
//!
//! Owns one blob's outline and the groups that were asked for last, in memory. Never: writes to the store, or asks again
//! for what did not match: then the peer holds another blob than it says.
//! Limits: [`GROUPS_HELD`]. Tests: `tests/parts.rs`.

use super::{
    fetch::{FetchError, RESPONSE_HEAD_BYTES},
    service::Patience,
    stream::{ByteStream, Opener},
    wire::{self, StreamError},
};
use ion_protocol::{
    BlobHash, Bytes, NodeId,
    blob::{BlobRequest, BlobResponse, Outline, group_count},
    limits::BLOB_GROUP_BYTES,
};
use std::collections::BTreeMap;

/// Groups kept for the next question: 16 MiB, what some blocks of a kernel touch.
const GROUPS_HELD: usize = 64;

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
    groups: BTreeMap<u64, Vec<u8>>,
}

impl Parts {
    pub(super) fn new(
        opener: Opener,
        (peer, addresses): (NodeId, Vec<String>),
        patience: Patience,
        (hash, bytes): (BlobHash, Bytes),
    ) -> Self {
        let (stream, outline, groups) = (None, None, BTreeMap::new());
        Self { opener, peer, addresses, patience, hash, bytes, stream, outline, groups }
    }

    /// The bytes from `from` on; they must lie within the blob.
    pub async fn read(&mut self, from: u64, bytes: u64) -> Result<Vec<u8>, FetchError> {
        let end = from.saturating_add(bytes).min(self.bytes.0);
        let mut part = Vec::new();
        let mut at = from;
        while at < end {
            let group = at / BLOB_GROUP_BYTES;
            let start = group * BLOB_GROUP_BYTES;
            let until = end.min(start + BLOB_GROUP_BYTES);
            let held = self.group(group).await?;
            part.extend_from_slice(&held[(at - start) as usize..(until - start) as usize]);
            at = until;
        }
        Ok(part)
    }

    async fn group(&mut self, group: u64) -> Result<&[u8], FetchError> {
        if !self.groups.contains_key(&group) {
            let mut failures = 0;
            let bytes = loop {
                match self.ask(group).await {
                    Ok(bytes) => break bytes,
                    Err(FetchError::Stream { .. } | FetchError::Unreachable { .. })
                        if failures < self.patience.retries =>
                    {
                        failures += 1;
                        self.stream = None;
                    }
                    Err(error) => return Err(error),
                }
            };
            if self.groups.len() >= GROUPS_HELD {
                self.groups.pop_first();
            }
            self.groups.insert(group, bytes);
        }
        Ok(self.groups.get(&group).map_or(&[], Vec::as_slice))
    }

    async fn ask(&mut self, group: u64) -> Result<Vec<u8>, FetchError> {
        let (peer, hash, declared, stall) = (self.peer, self.hash, self.bytes, self.patience.stall);
        let broken = |source: StreamError| FetchError::Stream { peer, source };
        let wrong = |source| FetchError::WrongBytes { peer, hash, source };
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => (self.opener)(peer, self.addresses.clone())
                .await
                .map_err(|why| FetchError::Unreachable { peer, why })?,
        };
        let request = BlobRequest { hash, outline: self.outline.is_none(), first: group, count: 1 };
        wire::write_all(&mut stream, &wire::frame(&request), stall).await.map_err(broken)?;
        wire::flush(&mut stream, stall).await.map_err(broken)?;
        let bytes_max = RESPONSE_HEAD_BYTES + 32 * group_count(declared.0) as usize;
        let values = match wire::read_frame(&mut stream, bytes_max, stall).await.map_err(broken)? {
            Some(BlobResponse::Found { bytes, outline }) if bytes == declared.0 => outline,
            Some(BlobResponse::Found { bytes, .. }) => {
                return Err(FetchError::WrongSize { peer, hash, found: Bytes(bytes), declared });
            }
            Some(BlobResponse::NotFound) => return Err(FetchError::NotFound { peer, hash }),
            Some(BlobResponse::Busy) => return Err(FetchError::Busy { peer }),
            None => return Err(broken(StreamError::Ended)),
        };
        let outline = match self.outline.take() {
            Some(outline) => outline,
            None => Outline::verify(hash, declared.0, values).map_err(wrong)?,
        };
        let mut bytes = vec![0; outline.group_bytes(group) as usize];
        let outline = self.outline.insert(outline);
        wire::read_exact(&mut stream, &mut bytes, stall).await.map_err(broken)?;
        outline.check_group(group, &bytes).map_err(wrong)?;
        self.stream = Some(stream);
        Ok(bytes)
    }
}
