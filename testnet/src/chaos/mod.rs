//! The kill harness: nodes of every role die by `kill -9` at random moments under a stream of jobs and come back on the
//! same data directory. Then all are healed, every accepted job must end, and nothing that either side acknowledged may
//! be missing, changed or signed twice ([`facts`]).
//!
//! All chance comes from one seed, which is printed. Kills fall a random number of printed lines or milliseconds after
//! the one before, whichever comes first, so that they hit busy moments on fast and slow machines alike.

mod facts;
mod outcome;

pub use outcome::Outcome;

use crate::{
    cluster::{
        ion::{Ion, Running},
        log::{Deadline, Mark, Said},
        network::Network,
        node::Role,
    },
    programs::{Program, walk::Walk},
    report::{Timeline, unix_ms},
};
use anyhow::{Context, Result, bail};
use facts::Facts;
use fastrand::Rng;
use std::{ffi::OsString, path::PathBuf, time::Instant};

const PROVIDERS: usize = 3;
/// Orders under way at once.
const IN_FLIGHT: usize = 3;
/// Longest time between two kills.
const PAUSE_MS_MAX: u64 = 700;
/// Most lines heard between two kills.
const PAUSE_LINES_MAX: usize = 40;
/// One kill in this many is preceded by a look at the victim's receipts.
const LOOK_ONE_IN: u32 = 4;
/// From the last kill until every accepted job has ended: silence, rests and re-runs add up.
const HEAL_SECONDS: u64 = 180;
/// An order that was under way when its node died ends within this.
const ORDER_SECONDS: u64 = 120;
/// Kills between two lines of progress.
const PROGRESS_EVERY: u32 = 20;

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often a node is killed.
    pub kills: u32,
    /// Draws all chance.
    pub seed: u64,
    /// Leave everything in place.
    pub keep: bool,
}

/// An order under way.
struct Order {
    command: Running,
    program: Program,
    out: PathBuf,
}

struct Harness {
    network: Network,
    rng: Rng,
    timeline: Timeline,
    facts: Facts,
    orders: Vec<Order>,
    ordered: u32,
    /// Orders whose command saw the end and whose result was right.
    checked: u32,
    kills: [u32; 3],
    turn: Turn,
    looked: Mark,
}

/// Whose turn it is to die: in each round every node once, in a random order, so that no role is left out by chance.
#[derive(Debug, Default)]
struct Turn(Vec<usize>);

impl Turn {
    fn next(&mut self, nodes: usize, rng: &mut Rng) -> Option<usize> {
        if self.0.is_empty() {
            self.0.extend(0..nodes);
            rng.shuffle(&mut self.0);
        }
        self.0.pop()
    }
}

/// Runs the harness.
pub fn run(ion: Ion, options: &Options) -> Result<Outcome> {
    let started = Instant::now();
    eprintln!("seed {}: `--seed {0}` draws the same kills again", options.seed);
    let network = Network::start(ion, "ion-chaos-", PROVIDERS, 1, "cpu")?;
    let mut harness = Harness {
        network,
        rng: Rng::with_seed(options.seed),
        timeline: Timeline::default(),
        facts: Facts::default(),
        orders: Vec::new(),
        ordered: 0,
        checked: 0,
        kills: [0; 3],
        turn: Turn::default(),
        looked: Mark::default(),
    };
    if options.keep {
        harness.network.cluster.keep();
    }
    let outcome = harness.play(options, started);
    if outcome.is_err() {
        let cluster = &mut harness.network.cluster;
        cluster.keep();
        harness.timeline.add_cluster(cluster);
        harness.timeline.show(cluster.dir())?;
        eprintln!("\nkeys, journals, jobs and logs are kept in {}", cluster.dir().display());
    }
    outcome.with_context(|| format!("seed {}", options.seed))
}

impl Harness {
    fn play(&mut self, options: &Options, started: Instant) -> Result<Outcome> {
        let light = self.network.lights[0];
        self.network.wait_for_offers(light, Mark::default())?;
        self.pin_hub();
        for kill in 0..options.kills {
            self.order_more()?;
            self.pause()?;
            self.kill_one()?;
            if (kill + 1) % PROGRESS_EVERY == 0 {
                self.facts.hear(&self.network);
                eprintln!("{} of {} kills; {}", kill + 1, options.kills, self.facts.summary());
            }
        }
        self.heal()?;
        let verified = self.facts.settle_up(&self.network, Deadline::seconds(HEAL_SECONDS))?;
        Ok(Outcome::new(options.seed, self.kills, &self.facts, self.checked, verified, started.elapsed()))
    }

    /// The one address everybody knows stays the same over restarts, as an operator would see to.
    fn pin_hub(&mut self) {
        let hub = &mut self.network.cluster[self.network.hub];
        let plain = |address: &String| address.split("/p2p/").next().unwrap_or_default().to_owned();
        hub.spec.listen = hub.addresses.iter().map(plain).collect();
    }

    /// Keeps orders coming as long as the light node can take them.
    fn order_more(&mut self) -> Result<()> {
        self.collect_orders(false)?;
        let light = self.network.lights[0];
        while self.orders.len() < IN_FLIGHT && self.is_ready(light) {
            self.ordered += 1;
            let program = Program::Walk(Walk {
                threads: 256,
                steps: self.rng.u32(1_000..150_000),
                launches: self.rng.u32(1..30),
                seed: self.ordered,
            });
            let dir = self.network.cluster.subdir("jobs")?.join(self.ordered.to_string());
            let manifest = program.write(&dir)?;
            let out = dir.join("out");
            // Without `--no-start` an order at a node that just died would start a node of its own on the same directory.
            let args: [OsString; 5] =
                ["run".into(), manifest.into(), "--out".into(), out.clone().into(), "--no-start".into()];
            let data_dir = &self.network.cluster[light].spec.data_dir;
            let command = self.network.cluster.ion.start(data_dir, args)?;
            self.orders.push(Order { command, program, out });
        }
        Ok(())
    }

    /// Checks the results of orders that are over; with `all`, of every order.
    fn collect_orders(&mut self, all: bool) -> Result<()> {
        for mut order in std::mem::take(&mut self.orders) {
            if !all && !order.command.is_over()? {
                self.orders.push(order);
                continue;
            }
            let finished = order.command.finish(Deadline::seconds(ORDER_SECONDS))?;
            // Other codes are for orders whose node died under them; their jobs are accounted for by events.
            if finished.code == Some(0) {
                order.program.check(&order.out)?;
                self.checked += 1;
            }
        }
        Ok(())
    }

    fn is_ready(&self, node: usize) -> bool {
        let run = self.network.cluster[node].runs;
        self.network
            .cluster
            .log
            .since(self.looked)
            .iter()
            .any(|line| line.node == node && line.run == run && matches!(line.said, Said::Listening { .. }))
            || (run == 1)
    }

    /// Lets a random amount happen.
    fn pause(&mut self) -> Result<()> {
        let mut lines = self.rng.usize(0..PAUSE_LINES_MAX);
        let pause = Deadline::millis(self.rng.u64(0..PAUSE_MS_MAX));
        let mark = self.network.cluster.log.mark();
        // That the time passes first is as good.
        let _ = self.network.cluster.log.wait(mark, pause, "a random moment", |_| {
            lines = lines.saturating_sub(1);
            Ok((lines == 0).then_some(()))
        });
        self.nobody_else_died()
    }

    /// A node that ends without being killed has failed.
    fn nobody_else_died(&self) -> Result<()> {
        for line in self.network.cluster.log.since(self.looked) {
            let node = &self.network.cluster[line.node];
            if line.said == Said::Ended && node.is_up() && node.runs == line.run {
                bail!("{} ended by itself; its log ends:\n{}", node.name(), node.tail());
            }
        }
        Ok(())
    }

    fn kill_one(&mut self) -> Result<()> {
        let nodes = self.network.cluster.nodes().len();
        let victim = self.turn.next(nodes, &mut self.rng).context("a network has nodes")?;
        if self.rng.u32(0..LOOK_ONE_IN) == 0 && self.is_ready(victim) {
            self.facts.look(&self.network, victim)?;
        }
        let name = self.network.cluster[victim].name().to_owned();
        self.timeline.note(unix_ms(), "(harness)", &format!("kill -9 {name}"));
        self.network.cluster[victim].kill()?;
        self.kills[role_index(self.network.cluster[victim].spec.role)] += 1;
        self.timeline.note(unix_ms(), "(harness)", &format!("restart {name}"));
        self.network.cluster.start(victim)?;
        Ok(())
    }

    /// Waits until everybody is back and every accepted job has ended.
    fn heal(&mut self) -> Result<()> {
        self.timeline.note(unix_ms(), "(harness)", "no more kills");
        for node in 0..self.network.cluster.nodes().len() {
            self.network.cluster.ready(node, Mark::default())?;
        }
        self.facts.all_jobs_end(&self.network, Deadline::seconds(HEAL_SECONDS))?;
        self.collect_orders(true)?;
        self.nobody_else_died()?;
        self.facts.hear(&self.network);
        Ok(())
    }
}

fn role_index(role: Role) -> usize {
    match role {
        Role::Network => 0,
        Role::Provider => 1,
        Role::Light => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_dies_as_often_as_any_other_and_in_no_fixed_order() {
        let (mut turn, mut rng) = (Turn::default(), Rng::with_seed(7));
        let rounds: Vec<Vec<usize>> =
            (0..40).map(|_| (0..5).filter_map(|_| turn.next(5, &mut rng)).collect()).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(rounds.iter().any(|round| *round != rounds[0]), "{:?}", rounds[0]);
    }
}
