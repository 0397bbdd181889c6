//! A world of one requester and one provider: many jobs at once, nobody else to ask, nothing goes wrong.

use super::{Later, NONE, World};
use ion_protocol::record::Record;
use std::collections::BTreeMap;

/// Who asks.
const REQUESTER: usize = 0;
/// When the jobs come: both nodes are up, and the offer was told, and told again.
const SUBMITTED_AT: u64 = 70_000;

/// Nothing takes so long.
const LIMIT: u64 = 600_000;

/// What is looked at in a burst.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Nobody cancels a job.
    pub(super) patient: bool,
    /// What programs took together.
    took: u64,
    /// What devices lay idle between two programs.
    idle: u64,
    ended: BTreeMap<u16, u64>,
}

impl Watch {
    /// A program runs.
    pub(super) fn begun(&mut self, device: u16, now: u64) {
        self.idle += self.ended.get(&device).map_or(0, |ended| now - ended);
    }

    /// One that took so long has ended.
    pub(super) fn ended(&mut self, device: u16, time: u64, now: u64) {
        self.took += time;
        self.ended.insert(device, now);
    }
}

/// What a burst came to.
#[derive(Debug)]
pub struct Burst {
    /// Orders that were signed and written down.
    pub orders: usize,
    /// Of the time from a device's first program to its last, what it worked, in thousandths.
    pub busy: u64,
}

impl World {
    /// So many jobs at `provider`, of which none is cancelled, until all are done.
    pub fn burst(seed: u64, provider: usize, jobs: usize) -> Burst {
        let mut world = World::new(seed, NONE, 0);
        let here = [REQUESTER, provider];
        world.later.retain(|_, what| !matches!(what, Later::Start { node } if !here.contains(node)));
        world.watch.patient = true;
        for _ in 0..jobs {
            world.at(SUBMITTED_AT, Later::Submit { node: REQUESTER });
        }
        let done = |world: &World| {
            world.nodes[REQUESTER].engine.as_ref().map_or(0, |engine| engine.status().jobs_done as usize)
        };
        while done(&world) < jobs {
            assert!(world.time < LIMIT, "seed {seed}: {} of {jobs} jobs done", done(&world));
            world.run_until(world.time + 10);
        }
        let journal = &world.nodes[REQUESTER].journal;
        let orders = journal.iter().filter(|record| matches!(record, Record::OrderSigned { .. })).count();
        let Watch { took, idle, .. } = world.watch;
        Burst { orders, busy: took * 1_000 / (took + idle) }
    }
}
