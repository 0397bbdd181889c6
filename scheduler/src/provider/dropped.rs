//! Who lets leases come to nothing: each costs this node a signature and two records, and its requester next to
//! nothing.
//!
//! Counts, of each requester, the leases of the last minute that ended without a settled receipt; decides nothing. At
//! most [`REQUESTERS_MAX`] are remembered. Tests: `tests/provider.rs` of the crate.

use ion_protocol::{Millis, NodeId};
use std::collections::{BTreeMap, VecDeque};

/// Leases a requester may let come to nothing in [`WINDOW`]; then its orders are refused until some are older.
const DROPPED_MAX: usize = 64;
/// How long one is remembered.
const WINDOW: Millis = Millis(60_000);
/// Requesters remembered at once; who dropped one longest ago is forgotten first.
const REQUESTERS_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// When, oldest first; never empty.
    ends: BTreeMap<NodeId, VecDeque<Millis>>,
}

impl Dropped {
    /// One more lease of this requester's came to nothing.
    pub(super) fn note(&mut self, requester: NodeId, now: Millis) {
        let ends = self.ends.entry(requester).or_default();
        ends.push_back(now);
        if ends.len() > DROPPED_MAX {
            ends.pop_front();
        }
        if self.ends.len() > REQUESTERS_MAX {
            let longest_ago =
                self.ends.iter().min_by_key(|(id, ends)| (ends.back(), **id)).map(|(id, _)| *id);
            longest_ago.and_then(|id| self.ends.remove(&id));
        }
    }

    /// Whether this requester has used up what it may drop.
    pub(super) fn too_many(&self, requester: &NodeId, now: Millis) -> bool {
        let ends = self.ends.get(requester).filter(|ends| ends.len() >= DROPPED_MAX);
        ends.and_then(VecDeque::front).is_some_and(|oldest| oldest.saturating_add(WINDOW) > now)
    }
}
