//! What was acknowledged, as heard and as shown by the command line, and that it stays so.

use crate::{
    cluster::{
        log::{Deadline, Mark, Said},
        network::Network,
    },
    receipts::{self, Listed},
};
use anyhow::{Context, Result, bail};
use ion_protocol::{Attempt, DocHash, JobId, NodeId, fault::Blame, record::JobEnd};
use ion_scheduler::event::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A try of a job for a requester.
type Try = (JobId, Attempt, NodeId);
/// Words with which `ion jobs` says that a job is over.
const OVER: [&str; 3] = ["done", "failed", "cancelled"];
/// Receipts that are verified by starting `ion receipts verify`; all are verified by their bytes.
const BY_COMMAND_MAX: usize = 20;
/// Between two questions to a node that may still be at work.
const ASK_EVERY_MS: u64 = 1000;

/// What is known so far.
#[derive(Debug, Default)]
pub struct Facts {
    heard: Mark,
    /// Jobs the light node acknowledged.
    pub accepted: BTreeSet<JobId>,
    /// Jobs it said are over.
    pub ended: BTreeMap<JobId, JobEnd>,
    /// Tries it said were lost.
    pub lost: u32,
    /// By node: tries it said it signed a receipt for.
    pub signed: BTreeSet<(usize, Try)>,
    /// By node: tries it said are countersigned.
    pub settled: BTreeSet<(usize, Try)>,
    /// By node: receipts its list showed once, and whether both had signed.
    shown: BTreeMap<(usize, Try), (DocHash, bool)>,
}

impl Facts {
    /// Takes in what was said since the last time.
    pub fn hear(&mut self, network: &Network) {
        let lines = network.cluster.log.since(self.heard);
        self.heard = Mark(self.heard.0 + lines.len());
        for line in lines {
            let Said::Event(event) = line.said else { continue };
            match event {
                Event::JobAccepted { job } => _ = self.accepted.insert(job),
                Event::JobEnded { job, end, .. } => {
                    // The word of its acceptance may have died with the node; its end says as much.
                    self.accepted.insert(job);
                    self.ended.insert(job, end);
                }
                Event::AttemptLost { .. } => self.lost += 1,
                Event::ReceiptSigned { job, attempt, requester, .. } => {
                    self.signed.insert((line.node, (job, attempt, requester)));
                }
                Event::ReceiptSettled { job, attempt, requester, .. } => {
                    self.settled.insert((line.node, (job, attempt, requester)));
                }
                _ => {}
            }
        }
    }

    /// One line of progress.
    pub fn summary(&self) -> String {
        let (accepted, ended) = (self.accepted.len(), self.ended.len());
        format!(
            "{accepted} jobs accepted, {ended} ended, {} tries lost, {} receipts signed",
            self.lost,
            self.signed.len()
        )
    }

    /// Looks at a node's receipts: nothing seen before may be missing, changed or unsigned again.
    pub fn look(&mut self, network: &Network, node: usize) -> Result<Vec<Listed>> {
        let listed = receipts::list(&network.cluster, node)?;
        self.compare(node, network.cluster[node].name(), &listed)?;
        Ok(listed)
    }

    fn compare(&mut self, node: usize, name: &str, listed: &[Listed]) -> Result<()> {
        let mut now: BTreeMap<Try, (DocHash, bool)> = BTreeMap::new();
        for receipt in listed {
            let (job, attempt, _) = receipt.about();
            if let Some((other, _)) = now.insert(receipt.about(), (receipt.receipt, receipt.is_settled())) {
                let (job, a, b) = (job.short(), other.short(), receipt.receipt.short());
                bail!("{name} signed twice for job {job} attempt {attempt}: {a} and {b}");
            }
        }
        for ((_, about), (hash, settled)) in
            self.shown.range((node, MIN)..).take_while(|((n, _), _)| *n == node)
        {
            let place = format!("job {} attempt {} at {name}", about.0.short(), about.1);
            match now.get(about) {
                None => bail!("the receipt of {place} was there and is lost"),
                Some((other, _)) if other != hash => {
                    bail!("the receipt of {place} was {} and is {}", hash.short(), other.short())
                }
                Some((_, false)) if *settled => bail!("the receipt of {place} lost its countersignature"),
                Some(_) => {}
            }
        }
        self.shown.extend(now.into_iter().map(|(about, state)| ((node, about), state)));
        Ok(())
    }

    /// Waits until the light node shows every job it accepted as over.
    pub fn all_jobs_end(&mut self, network: &Network, deadline: Deadline) -> Result<()> {
        let light = network.lights[0];
        loop {
            let mark = network.cluster.log.mark();
            self.hear(network);
            let answer = network.cluster.ion.ask_list(&network.cluster[light].spec.data_dir, &["jobs"])?;
            let states = states(&answer)?;
            if let Some(job) = self.accepted.iter().find(|job| !states.contains_key(job)) {
                bail!("job {} was accepted and is lost: `ion jobs` does not know it", job.short());
            }
            let open: Vec<&JobId> = states.iter().filter(|(_, over)| !**over).map(|(job, _)| job).collect();
            if open.is_empty() {
                return Ok(());
            }
            if deadline.left().is_none() {
                let ids: Vec<String> = open.iter().map(|job| job.short()).collect();
                bail!(
                    "{} s after the last kill these jobs have not ended: {}",
                    deadline.allowed().as_secs(),
                    ids.join(", ")
                );
            }
            wait_for_news(network, mark);
        }
    }

    /// Compares both sides' receipts with each other and with all that was acknowledged, and verifies each offline.
    /// Answers how many were verified.
    pub fn settle_up(&mut self, network: &Network, deadline: Deadline) -> Result<u32> {
        let light = network.lights[0];
        let ordered = self.look(network, light)?;
        self.acknowledged_is_there(network, light, &ordered)?;
        loop {
            let mark = network.cluster.log.mark();
            match self.sides_agree(network, &ordered)? {
                None => break,
                Some(missing) if deadline.left().is_none() => bail!("{missing}"),
                Some(_) => wait_for_news(network, mark),
            }
        }
        self.hear(network);
        for provider in &network.providers {
            let listed = self.look(network, *provider)?;
            for (node, about) in &self.signed {
                if node == provider && !listed.iter().any(|receipt| receipt.about() == *about) {
                    bail!(
                        "{} said it signed for job {} attempt {} and holds no such receipt",
                        network.cluster[*node].name(),
                        about.0.short(),
                        about.1
                    );
                }
            }
            for (node, about) in &self.settled {
                if node == provider && !listed.iter().any(|r| r.about() == *about && r.is_settled()) {
                    bail!(
                        "{} said job {} attempt {} is settled and holds no countersignature",
                        network.cluster[*node].name(),
                        about.0.short(),
                        about.1
                    );
                }
            }
        }
        self.verify_all(network)
    }

    /// The light node holds a countersigned receipt for every job it said is done.
    fn acknowledged_is_there(&self, network: &Network, light: usize, ordered: &[Listed]) -> Result<()> {
        let us = network.cluster[light].id.context("the light node's id")?;
        for (job, end) in &self.ended {
            match end {
                JobEnd::Done { attempt } => {
                    let about = (*job, *attempt, us);
                    if !ordered.iter().any(|receipt| receipt.about() == about && receipt.is_settled()) {
                        bail!(
                            "job {} was said to be done by attempt {attempt}, and there is no receipt for it",
                            job.short()
                        );
                    }
                }
                JobEnd::Failed { fault } if fault.blame() == Blame::Host => {}
                JobEnd::Failed { fault } => bail!("job {} failed by its own fault: {fault}", job.short()),
                JobEnd::Cancelled => bail!("job {} was cancelled, by nobody", job.short()),
            }
        }
        Ok(())
    }

    /// Whether every receipt the light node countersigned is at its provider with both signatures. Answers what is
    /// still missing.
    fn sides_agree(&mut self, network: &Network, ordered: &[Listed]) -> Result<Option<String>> {
        let mut held = Vec::new();
        for provider in &network.providers {
            held.extend(self.look(network, *provider)?);
        }
        agree(ordered, &held, |id| network.cluster.name_of(id))
    }

    fn verify_all(&self, network: &Network) -> Result<u32> {
        let dir = network.cluster.subdir("receipts")?;
        let mut verified = 0;
        for ((node, about), (hash, settled)) in &self.shown {
            if !settled {
                continue;
            }
            let file = receipts::export(&network.cluster, *node, hash, &dir)?;
            let proven = receipts::verify(&file).with_context(|| {
                format!("the receipt of job {} at {}", about.0.short(), network.cluster[*node].name())
            })?;
            if proven.receipt.hash() != *hash {
                bail!("{} exported another receipt than it lists", network.cluster[*node].name());
            }
            if (verified as usize) < BY_COMMAND_MAX {
                receipts::verify_by_command(&network.cluster, &file)?;
            }
            verified += 1;
        }
        Ok(verified)
    }
}

/// That each receipt countersigned in `ordered` is in `held`, the same and with both signatures. Answers what is still
/// on its way; what differs is an error.
fn agree(ordered: &[Listed], held: &[Listed], name_of: impl Fn(&NodeId) -> String) -> Result<Option<String>> {
    let held: BTreeMap<_, _> =
        held.iter().map(|theirs| ((theirs.body.provider, theirs.about()), theirs)).collect();
    for ours in ordered.iter().filter(|receipt| receipt.is_settled()) {
        let (job, attempt, _) = ours.about();
        let provider = name_of(&ours.body.provider);
        let place = format!("job {} attempt {attempt}", job.short());
        match held.get(&(ours.body.provider, ours.about())) {
            None => bail!("the light node countersigned {place}, and {provider} does not hold its receipt"),
            Some(theirs) if theirs.receipt != ours.receipt => bail!(
                "{place}: the light node holds receipt {}, {provider} holds {}",
                ours.receipt.short(),
                theirs.receipt.short()
            ),
            Some(theirs) if !theirs.is_settled() => {
                return Ok(Some(format!("{provider} never got the countersignature of {place}")));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Before every other try.
const MIN: Try = (JobId([0; 16]), Attempt(0), NodeId([0; 32]));

/// Every job with whether it is over.
fn states(jobs: &[Value]) -> Result<BTreeMap<JobId, bool>> {
    let state = |job: &Value| -> Option<(JobId, bool)> {
        let id = job.get("job")?.as_str()?.parse().ok()?;
        Some((id, OVER.contains(&job.get("state")?.as_str()?)))
    };
    jobs.iter().map(|job| state(job).with_context(|| format!("a job without id or state: {job}"))).collect()
}

/// Until somebody says something that may change the answer, or for a while.
fn wait_for_news(network: &Network, mark: Mark) {
    let pause = Deadline::millis(ASK_EVERY_MS);
    // That nothing was said is as good.
    let _ = network.cluster.log.wait(mark, pause, "news", |line| {
        let news = matches!(line.said, Said::Event(Event::JobEnded { .. } | Event::ReceiptSettled { .. }));
        Ok(news.then_some(()))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::{
        Millis, NanoIo, Nanos, UnixMillis,
        hardware::Engine,
        receipt::{Receipt, Status},
    };

    fn listed(job: u8, hash: u8, settled: bool) -> Listed {
        let body = Receipt {
            version: ion_protocol::limits::VERSION,
            provider: NodeId([1; 32]),
            requester: NodeId([2; 32]),
            job: JobId([job; 16]),
            attempt: Attempt(1),
            order: DocHash([0; 32]),
            input_root: [0; 32],
            output_root: [0; 32],
            states: Default::default(),
            device: String::new(),
            engine: Engine::CpuInterpreter,
            device_time: Nanos(1),
            price_per_second: NanoIo(1),
            price: NanoIo(1),
            waited: Millis(1),
            moved: Millis(1),
            ran: Millis(1),
            finished: UnixMillis(1),
            status: Status::Done,
        };
        let countersignature = settled.then_some(Value::Bool(true));
        let (receipt, side) = (DocHash([hash; 32]), "provider".to_owned());
        Listed { receipt, side, body, countersignature }
    }

    fn after(first: &[Listed], second: &[Listed]) -> Result<()> {
        let mut facts = Facts::default();
        facts.compare(0, "p", first)?;
        facts.compare(1, "q", &[])?;
        facts.compare(0, "p", second)
    }

    #[test]
    fn what_was_shown_once_must_stay() {
        let told = |first: &[Listed], second: &[Listed]| after(first, second).unwrap_err().to_string();
        let (a, b) = ([listed(1, 1, false)], [listed(2, 2, true)]);
        let both = [listed(1, 1, false), listed(2, 2, true)];
        assert!(after(&a, &both).is_ok(), "more is welcome");
        assert!(after(&a, &[listed(1, 1, true)]).is_ok(), "a countersignature may arrive");
        assert_eq!(told(&both, &b), "the receipt of job 01010101 attempt 1 at p was there and is lost");
        let changed = "the receipt of job 01010101 attempt 1 at p was 01010101 and is 09090909";
        assert_eq!(told(&a, &[listed(1, 9, false)]), changed);
        assert!(told(&b, &[listed(2, 2, false)]).ends_with("lost its countersignature"));
        let twice = told(&[], &[listed(1, 1, false), listed(1, 9, false)]);
        assert!(twice.starts_with("p signed twice for job 01010101"), "{twice}");
    }

    #[test]
    fn both_sides_must_hold_the_same() {
        let name = |_: &NodeId| "p".to_owned();
        let ours = [listed(1, 1, true), listed(2, 2, false)];
        assert_eq!(agree(&ours, &[listed(1, 1, true)], name).unwrap(), None);
        assert!(agree(&ours, &[listed(1, 1, false)], name).unwrap().is_some(), "still on its way");
        assert!(agree(&ours, &[listed(1, 3, true)], name).is_err());
        assert!(agree(&ours, &[], name).is_err());
    }

    #[test]
    fn jobs_are_over_or_not() {
        let job = "01".repeat(16);
        let jobs: Value = serde_json::from_str(&format!(r#"[{{"job":"{job}","state":"leased"}}]"#)).unwrap();
        assert!(!states(jobs.as_array().unwrap()).unwrap()[&JobId([1; 16])]);
        assert!(states(&[Value::Null]).is_err());
    }
}
