//! What can be told of blobs without the disk, and the small ones in memory too, so that what small jobs carry again and
//! again waits for no disk. Tests: `tests/store.rs`.

use super::BlobStore;
use ion_protocol::{BlobHash, Bytes, limits::INLINE_BYTES_MAX};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// All of them together: the kernels and arguments of hundreds of jobs, a fraction of an idle node.
const AT_HAND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The small blobs used last, the oldest first to go.
#[derive(Default)]
pub(super) struct AtHand {
    blobs: HashMap<BlobHash, Arc<[u8]>>,
    order: VecDeque<BlobHash>,
    bytes: usize,
}

impl AtHand {
    fn put(&mut self, hash: BlobHash, bytes: &[u8]) {
        if bytes.len() > INLINE_BYTES_MAX || self.blobs.contains_key(&hash) {
            return;
        }
        self.bytes += bytes.len();
        self.blobs.insert(hash, bytes.into());
        self.order.push_back(hash);
        while self.bytes > AT_HAND_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.blobs.remove(&oldest).map_or(0, |bytes| bytes.len());
        }
    }
}

impl BlobStore {
    /// Whether a blob of this size is here and was looked at by this run, so that it can be used at once; where that is
    /// asked, also whether it survives a loss of power. Counts as a use, and touches no disk.
    pub fn is_ready(&self, hash: &BlobHash, bytes: Bytes, durable: bool) -> bool {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let Some(whole) = state.whole.get_mut(hash) else { return false };
        whole.used_at = clock;
        whole.bytes == bytes.0 && whole.verified && (whole.synced || !durable)
    }

    /// A blob's bytes, where no disk is needed for them.
    pub fn at_hand(&self, hash: &BlobHash) -> Option<Arc<[u8]>> {
        self.lock().at_hand.blobs.get(hash).cloned()
    }

    /// Keeps the bytes of a small blob at hand. The caller has hashed them.
    pub(in crate::blobs) fn keep_at_hand(&self, hash: BlobHash, bytes: &[u8]) {
        self.lock().at_hand.put(hash, bytes);
    }
}
