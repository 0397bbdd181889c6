//! Up to when the orders of forgotten leases could be repeated: what is repeated then is refused, for nothing else may be
//! signed for its attempt.
//!
//! A provider of many small jobs forgets leases within the life of their orders. A requester signs its orders one after
//! the other, so a new one ends later than any that was forgotten. At most [`REQUESTERS_MAX`] are told apart. Decides
//! nothing. Tests: `tests/hostile.rs` of the crate.

use ion_protocol::{NodeId, UnixMillis, limits};
use std::collections::BTreeMap;

/// Requesters told apart; then those of all others count for each, which costs an honest one another try.
const REQUESTERS_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    until: BTreeMap<NodeId, UnixMillis>,
    of_anybody: UnixMillis,
}

impl Forgotten {
    /// A lease of this requester's is forgotten whose order ends then.
    pub(super) fn note(&mut self, requester: NodeId, order_expires: UnixMillis, wall: UnixMillis) {
        let until = self.until.entry(requester).or_default();
        *until = order_expires.max(*until);
        if self.until.len() > REQUESTERS_MAX {
            self.until.retain(|_, until| repeatable(*until, wall));
        }
        if self.until.len() > REQUESTERS_MAX {
            let all = std::mem::take(&mut self.until).into_values();
            self.of_anybody = all.fold(self.of_anybody, UnixMillis::max);
        }
    }

    /// Whether an order that ends then may be of a lease that is forgotten.
    pub(super) fn may_be(&self, requester: &NodeId, order_expires: UnixMillis) -> bool {
        let until = self.until.get(requester).copied().unwrap_or_default();
        order_expires <= until.max(self.of_anybody)
    }
}

/// Whether an order that ends then could still be taken.
pub(super) fn repeatable(order_expires: UnixMillis, wall: UnixMillis) -> bool {
    order_expires.0.saturating_add(limits::CLOCK_SKEW_MS_MAX) > wall.0
}
