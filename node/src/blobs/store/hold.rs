//! Blobs that somebody needs: never evicted while held.

use super::BlobStore;
use ion_protocol::BlobHash;

/// Keeps blobs from being evicted while it lives, whether they are here yet or not.
#[must_use]
pub struct Hold {
    store: BlobStore,
    hashes: Vec<BlobHash>,
}

impl BlobStore {
    /// Keeps these blobs, once they are here, until the result is dropped.
    pub fn hold(&self, hashes: impl IntoIterator<Item = BlobHash>) -> Hold {
        let hashes: Vec<_> = hashes.into_iter().collect();
        let mut state = self.lock();
        hashes.iter().for_each(|hash| *state.holds.entry(*hash).or_default() += 1);
        drop(state);
        Hold { store: self.clone(), hashes }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        for hash in &self.hashes {
            if let Some(holds) = state.holds.get_mut(hash) {
                *holds -= 1;
                if *holds == 0 {
                    state.holds.remove(hash);
                }
            }
        }
    }
}
