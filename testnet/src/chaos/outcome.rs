//! What the kill harness shows at its end.

use super::facts::Facts;
use crate::table::{Align, Table};
use ion_protocol::{Millis, record::JobEnd};
use serde::Serialize;
use std::time::Duration;

/// Everything that was counted.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Draws the same kills again.
    pub seed: u64,
    /// Kills of the network node.
    pub network_kills: u32,
    /// Kills of providers.
    pub provider_kills: u32,
    /// Kills of the light node.
    pub light_kills: u32,
    /// Jobs the light node acknowledged; each of them ended.
    pub accepted: u32,
    /// Done, by events; one that ended at the moment of a kill may be missing here.
    pub done: u32,
    /// Given up after too many lost tries.
    pub failed: u32,
    /// Tries that came to nothing.
    pub tries_lost: u32,
    /// Results compared with what must come out.
    pub results_checked: u32,
    /// Receipts providers said they signed.
    pub receipts_signed: u32,
    /// Receipts with both signatures, verified offline; each counts on both sides.
    pub receipts_verified: u32,
    /// All of it.
    #[serde(rename = "took_ms")]
    pub took: Millis,
}

impl Outcome {
    pub(super) fn new(
        seed: u64,
        [network_kills, provider_kills, light_kills]: [u32; 3],
        facts: &Facts,
        results_checked: u32,
        receipts_verified: u32,
        took: Duration,
    ) -> Self {
        let done = facts.ended.values().filter(|end| matches!(end, JobEnd::Done { .. })).count();
        let failed = facts.ended.values().filter(|end| matches!(end, JobEnd::Failed { .. })).count();
        Self {
            seed,
            network_kills,
            provider_kills,
            light_kills,
            accepted: facts.accepted.len() as u32,
            done: done as u32,
            failed: failed as u32,
            tries_lost: facts.lost,
            results_checked,
            receipts_signed: facts.signed.len() as u32,
            receipts_verified,
            took: Millis(took.as_millis() as u64),
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut table = Table::new(&[("what", Align::Left), ("how many", Align::Right)]);
        for (what, count) in [
            ("kills of the network node", self.network_kills),
            ("kills of providers", self.provider_kills),
            ("kills of the light node", self.light_kills),
            ("jobs accepted, and none lost", self.accepted),
            ("  said to be done", self.done),
            ("  given up after too many lost tries", self.failed),
            ("tries lost and made again", self.tries_lost),
            ("results compared, and all right", self.results_checked),
            ("receipts signed, and none lost or signed twice", self.receipts_signed),
            ("receipts verified offline, on either side", self.receipts_verified),
        ] {
            table.row(vec![what.to_owned(), count.to_string()]);
        }
        let mut lines = vec![String::new()];
        lines.extend(table.lines());
        lines.push(String::new());
        lines.push(format!("nothing acknowledged was lost, in {} (seed {})", self.took, self.seed));
        lines
    }
}
