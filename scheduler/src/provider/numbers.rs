//! The provider as its owner sees it: read only.

use super::{
    Provider,
    lease::{Lease, Phase},
};
use crate::view::{LeaseView, StatusView};
use ion_protocol::BlobHash;

impl Provider {
    pub(crate) fn views(&self) -> Vec<LeaseView> {
        let mut leases: Vec<&Lease> = self.leases.values().collect();
        leases.sort_by_key(|lease| lease.head.turn);
        leases.into_iter().map(Lease::view).collect()
    }

    pub(crate) fn holds(&self, hash: &BlobHash) -> bool {
        self.leases.values().any(|lease| lease.holds(hash))
    }

    pub(crate) fn numbers(&self, status: &mut StatusView) {
        status.draining = self.drain.is_some();
        status.addresses = self.advertiser.addresses().to_vec();
        status.devices = self.devices.clone();
        (status.free, status.queued) = (self.free(), self.queued());
        status.running = self.running.len() as u16;
        status.leases_live = self.leases.len().saturating_sub(self.over.len()) as u32;
        let open =
            |lease: &&Lease| lease.phase.done().is_some() && !matches!(lease.phase, Phase::Recording { .. });
        status.receipts_open = self.leases.values().filter(open).count() as u32;
        (status.receipts_settled, status.earned) = (self.settled, self.earned);
    }

    /// Devices nobody uses or waits for.
    pub(super) fn free(&self) -> u16 {
        self.devices.len().saturating_sub(self.occupied()).saturating_sub(self.waiting.len()) as u16
    }

    /// Accepted jobs beyond what idle devices will take.
    pub(super) fn queued(&self) -> u16 {
        u16::try_from(self.queued_of(|_| true)).unwrap_or(u16::MAX)
    }

    /// The same, of some.
    pub(super) fn queued_of(&self, counts: impl Fn(&Lease) -> bool) -> usize {
        let idle = self.devices.len().saturating_sub(self.occupied());
        let waiting = self.waiting.values().filter_map(|key| self.leases.get(key));
        waiting.filter(|lease| counts(lease)).count().saturating_sub(idle)
    }
}
