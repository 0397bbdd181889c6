//! What peers did wrong, and when it is enough. Points fade with time; over the threshold a peer is shut out for a while.

use super::{intake::Offence, recent::Recent};
use ion_protocol::NodeId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Points at which a peer is shut out.
pub(super) const POINTS_MAX: u32 = 100;
/// How fast one point is forgiven.
const FORGIVEN_EVERY: Duration = Duration::from_secs(2);
/// How long a peer stays out.
pub(super) const SHUT_OUT: Duration = Duration::from_secs(600);
/// Offenders remembered.
const OFFENDERS_MAX: usize = 1024;
/// Peers shut out at once; the one that comes back soonest makes room.
const SHUT_OUT_MAX: usize = 1024;

/// What becomes of an offender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Tolerated,
    /// `displaced` comes back early to make room; whoever acts on the verdict lets it in again.
    ShutOut {
        displaced: Option<NodeId>,
    },
}

/// The record of all peers.
#[derive(Debug)]
pub(super) struct Conduct {
    points: Recent<NodeId, (u32, Instant)>,
    out: BTreeMap<NodeId, Instant>,
    counted: u64,
}

impl Conduct {
    pub fn new() -> Self {
        Self { points: Recent::new(OFFENDERS_MAX), out: BTreeMap::new(), counted: 0 }
    }

    /// Adds an offence.
    pub fn offend(&mut self, node: NodeId, offence: &Offence, now: Instant) -> Verdict {
        self.counted += 1;
        let points = self.points_of(&node, now).saturating_add(offence.points());
        if points < POINTS_MAX {
            self.points.put(node, (points, now));
            return Verdict::Tolerated;
        }
        self.points.remove(&node);
        Verdict::ShutOut { displaced: self.shut_out(node, now) }
    }

    /// Shuts a peer out whatever its points. Where the list is full, gives the peer that must be let in again for it.
    #[must_use = "the displaced peer is to be let in again"]
    pub fn shut_out(&mut self, node: NodeId, now: Instant) -> Option<NodeId> {
        let full = self.out.len() >= SHUT_OUT_MAX && !self.out.contains_key(&node);
        let soonest = || self.out.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node);
        let displaced = if full { soonest() } else { None };
        if let Some(displaced) = &displaced {
            self.out.remove(displaced);
        }
        self.out.insert(node, now + SHUT_OUT);
        displaced
    }

    /// Peers whose time out is over; told once.
    pub fn forgiven(&mut self, now: Instant) -> Vec<NodeId> {
        let over: Vec<_> =
            self.out.iter().filter(|(_, until)| **until <= now).map(|(node, _)| *node).collect();
        for node in &over {
            self.out.remove(node);
        }
        over
    }

    /// Offences since the start.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    fn points_of(&self, node: &NodeId, now: Instant) -> u32 {
        let Some((points, at)) = self.points.get(node) else { return 0 };
        let forgiven = now.saturating_duration_since(*at).as_secs() / FORGIVEN_EVERY.as_secs();
        points.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offences_add_up_fade_and_end() {
        let (mut conduct, node, start) = (Conduct::new(), NodeId([1; 32]), Instant::now());
        let offence = Offence::WrongSigner;
        let needed = POINTS_MAX.div_ceil(offence.points());
        for _ in 1..needed {
            assert_eq!(conduct.offend(node, &offence, start), Verdict::Tolerated);
        }
        // A long time later all is forgiven.
        let later = start + FORGIVEN_EVERY * POINTS_MAX;
        assert_eq!(conduct.offend(node, &offence, later), Verdict::Tolerated);
        for _ in 2..needed {
            assert_eq!(conduct.offend(node, &offence, later), Verdict::Tolerated);
        }
        assert_eq!(conduct.offend(node, &offence, later), Verdict::ShutOut { displaced: None });
        assert!(conduct.forgiven(later + SHUT_OUT / 2).is_empty());
        assert_eq!(conduct.forgiven(later + SHUT_OUT), [node]);
        assert!(conduct.forgiven(later + SHUT_OUT).is_empty());
        assert_eq!(conduct.counted(), 2 * u64::from(needed) - 1);
    }

    #[test]
    fn strangers_cannot_make_it_grow() {
        let (mut conduct, now) = (Conduct::new(), Instant::now());
        for i in 0..(SHUT_OUT_MAX as u32 + 50) {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&i.to_le_bytes());
            let displaced = conduct.shut_out(NodeId(id), now + Duration::from_millis(i.into()));
            // Whoever comes back soonest makes room, and is named.
            let first = i.checked_sub(SHUT_OUT_MAX as u32).map(|first| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&first.to_le_bytes());
                NodeId(id)
            });
            assert_eq!(displaced, first);
            assert_eq!(conduct.shut_out(NodeId(id), now + Duration::from_millis(i.into())), None);
        }
        assert_eq!(conduct.out.len(), SHUT_OUT_MAX);
    }
}
