//! What goes wrong with nodes and links, and how it is put right again.

use super::{Later, NODES, NONE, World, jobs::devices};
use ion_scheduler::{Engine, Input, input::CallId};

impl World {
    /// No more faults: links join, nodes come back, workers work.
    pub fn heal(&mut self) {
        self.faults = NONE;
        for (a, b) in std::mem::take(&mut self.cut) {
            self.after(1, Later::JoinLink { a, b });
        }
        for node in 0..NODES {
            if self.nodes[node].engine.is_none() {
                self.after(10, Later::Start { node });
            }
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        if self.faults.crash_every_ms > 0 {
            let (delay, next) = (self.rng.u64(1..2 * self.faults.crash_every_ms), self.rng.usize(0..NODES));
            self.after(delay, Later::Crash { node: next });
            let back = self.rng.u64(100..15_000);
            self.after(back, Later::Start { node });
        }
        if self.faults.crash_every_ms == 0 || self.nodes[node].engine.take().is_none() {
            return;
        }
        let n = &mut self.nodes[node];
        n.life += 1;
        (n.working, n.fetches, n.checks) = Default::default();
        (n.calls, n.inbound) = Default::default();
        self.rules.crashed(node);
        for peer in (0..NODES).filter(|peer| *peer != node) {
            // Sometimes nobody says goodbye.
            if !self.chance(300) {
                self.announce_one(peer, node, false);
            }
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].engine.is_some() {
            return;
        }
        let seed = self.rng.u64(..);
        let n = &mut self.nodes[node];
        n.started = self.time.saturating_sub(seed % 1_000);
        n.disk_free_at = self.time;
        let mut engine = Engine::new(n.config.clone(), n.key.clone(), seed);
        let journal = n.journal.clone();
        for record in &journal {
            self.rules.durable(node, record);
        }
        let now = self.now(node);
        let mut effects = engine.restore(journal.clone(), now);
        assert!(engine.restore(journal, now).is_empty(), "restoring twice changes nothing");
        effects.extend(engine.handle(Input::Addresses(vec![format!("/memory/{node}")]), now));
        effects.extend(engine.handle(Input::Devices(devices(node)), now));
        self.nodes[node].engine = Some(engine);
        self.carry_out(node, effects);
        for peer in (0..NODES).filter(|peer| *peer != node) {
            self.announce(node, peer, true);
        }
    }

    pub(super) fn announce(&mut self, a: usize, b: usize, up: bool) {
        self.announce_one(a, b, up);
        self.announce_one(b, a, up);
    }

    pub(super) fn announce_one(&mut self, to: usize, peer: usize, up: bool) {
        let delay = self.rng.u64(1..500);
        self.after(delay, Later::Link { to, peer, up });
    }

    pub(super) fn cut_link(&mut self) {
        if self.faults.cut_every_ms == 0 {
            return;
        }
        let (a, b) = (self.rng.usize(0..NODES), self.rng.usize(0..NODES));
        if a != b {
            self.cut.insert((a.min(b), a.max(b)));
            self.announce(a, b, false);
            let delay = self.rng.u64(50..10_000);
            self.after(delay, Later::JoinLink { a, b });
        }
        let delay = self.rng.u64(1..2 * self.faults.cut_every_ms);
        self.after(delay, Later::CutLink);
    }

    /// The blob store makes room, but for what the engine holds.
    pub(super) fn evict(&mut self, node: usize) {
        if self.faults.cut_every_ms == 0 {
            return;
        }
        if let Some(engine) = &self.nodes[node].engine {
            let kept = self.nodes[node].blobs.iter().filter(|hash| engine.holds(hash)).copied().collect();
            self.nodes[node].blobs = kept;
        }
        self.after(3_000, Later::Evict { node: (node + 1) % NODES });
    }

    /// Something that was asked before, however long ago, is asked again; nobody waits for the answer.
    pub(super) fn replay(&mut self) {
        if self.faults.cut_every_ms == 0 {
            return;
        }
        if !self.asked.is_empty() {
            let (from, to, request) = self.asked[self.rng.usize(0..self.asked.len())].clone();
            if self.nodes[to].engine.is_some() {
                let gone = self.nodes[from].life.wrapping_sub(1);
                self.asked(to, from, gone, CallId(0), request);
            }
        }
        let delay = self.rng.u64(1..200);
        self.after(delay, Later::Replay);
    }
}
