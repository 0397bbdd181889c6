//! Who holds a place among the streams that are served: so many in all, so many a peer. Where all are taken, the stream
//! that has asked for nothing the longest makes room, so that nobody is kept out by peers that hold places and use none.
//!
//! Decides nothing about content. Limits: [`STREAMS_MAX`], [`STREAMS_PER_PEER_MAX`]. Tests: `tests/service.rs`.

use ion_protocol::NodeId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Streams served at once: a few megabytes of buffers each.
const STREAMS_MAX: usize = 64;
/// Streams served at once for one peer.
const STREAMS_PER_PEER_MAX: usize = 8;

#[derive(Default)]
struct State {
    next: u64,
    taken: BTreeMap<u64, Holder>,
}

struct Holder {
    peer: NodeId,
    /// Since when it asks for nothing; none while it is being answered.
    idle_since: Option<Instant>,
    leave: CancellationToken,
}

/// All places; clones share them.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<State>>);

impl Places {
    /// A place for one more stream of this peer, if it may have one. One that was idle for `rest` may lose its own for
    /// that.
    pub(super) fn take(&self, peer: NodeId, rest: Duration) -> Option<Place> {
        let (mut state, now) = (self.lock(), Instant::now());
        if state.taken.values().filter(|holder| holder.peer == peer).count() >= STREAMS_PER_PEER_MAX {
            return None;
        }
        if state.taken.len() >= STREAMS_MAX {
            let idle = state.taken.iter().filter_map(|(number, holder)| Some((holder.idle_since?, *number)));
            let (_, number) = idle.min().filter(|(since, _)| now.duration_since(*since) >= rest)?;
            state.taken.remove(&number)?.leave.cancel();
        }
        state.next += 1;
        let (number, leave) = (state.next, CancellationToken::new());
        let holder = Holder { peer, idle_since: Some(now), leave: leave.clone() };
        state.taken.insert(number, holder);
        Some(Place { places: self.clone(), number, peer, leave })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the map whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A served stream's place among the others; given back when dropped.
pub(super) struct Place {
    places: Places,
    number: u64,
    pub(super) peer: NodeId,
    leave: CancellationToken,
}

impl Place {
    /// Its peer asks for something, or waits for nothing any more.
    pub(super) fn asks(&self, asks: bool) {
        if let Some(holder) = self.places.lock().taken.get_mut(&self.number) {
            holder.idle_since = (!asks).then(Instant::now);
        }
    }

    /// Ends when somebody else has the place.
    pub(super) async fn lost(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken.remove(&self.number);
    }
}
