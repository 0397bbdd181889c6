//! A small world for engines: five nodes, a network, disks, workers and blob stores in virtual time, all from one seed.
//!
//! Owns what the driver and the network would be. Faults are on or off; everything may be lost, doubled, late or out of
//! order, links break, nodes crash and come back with what their disks had confirmed, and perhaps a little more. The
//! invariants are in [`rules`].

mod burst;
mod faults;
mod jobs;
pub mod rules;
mod workers;

use ion_protocol::{
    Attempt, BlobHash, Bytes, JobId, Millis, NanoIo, NodeId, Now, UnixMillis,
    check::Finding,
    deal::InlineBlob,
    fault::Fault,
    job::JobSpec,
    key::SecretKey,
    message::{Notice, Request, Response},
    record::Record,
};
use ion_scheduler::{
    Config, Effect, Engine, Input,
    input::{
        Answer, CallError, CallId, CheckId, FetchFault, FetchId, InboundId, OwnerInput, PeerInput, RecordId,
        WorkId, WorkReport,
    },
};
use jobs::{devices, spec};
use rules::Rules;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Nodes 0 and 1 only ask; 2 to 4 provide, with 1, 1 and 2 devices.
pub const NODES: usize = 5;
const REQUESTERS: usize = 2;
/// 2026-01-01.
const WALL_START: u64 = 1_767_225_600_000;

/// How bad the world is, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: u64,
    pub double: u64,
    pub disk: u64,
    pub work: u64,
    /// Of the results of node 2, how many are false.
    pub lie: u64,
    pub crash_every_ms: u64,
    pub cut_every_ms: u64,
    pub delay_ms_max: u64,
}

pub const NONE: Faults = Faults {
    loss: 0,
    double: 0,
    disk: 0,
    work: 0,
    lie: 0,
    crash_every_ms: 0,
    cut_every_ms: 0,
    delay_ms_max: 20,
};

/// Something that will happen.
#[derive(Clone, Debug)]
enum Later {
    Ask { to: usize, from: usize, from_life: u32, call: CallId, request: Request },
    Reply { to: usize, life: u32, call: CallId, from: usize, response: Response },
    NoAnswer { to: usize, life: u32, call: CallId, from: usize, error: CallError },
    Tell { to: usize, from: usize, said: Notice },
    Gossip { to: usize, from: usize, advert: Box<ion_protocol::signed::Signed<ion_protocol::advert::Advert>> },
    Link { to: usize, peer: usize, up: bool },
    Write { node: usize, life: u32, record: RecordId, body: Box<Record>, outcome: Disk },
    WriteAck { node: usize, life: u32, record: RecordId, body: Box<Record>, ok: bool },
    Fetched { node: usize, life: u32, fetch: FetchId, from: usize, blobs: Vec<(BlobHash, Bytes)> },
    Worked { node: usize, life: u32, work: WorkId, result: Result<WorkReport, Fault> },
    Checked { node: usize, life: u32, check: CheckId, result: Result<Finding, Fault> },
    Submit { node: usize },
    Cancel { node: usize, job: JobId },
    Crash { node: usize },
    Start { node: usize },
    CutLink,
    JoinLink { a: usize, b: usize },
    Evict { node: usize },
    Replay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Fine,
    Fails,
    /// Reported as failed, but the bytes are there after all.
    FailsYetWritten,
}

pub struct Node {
    pub key: SecretKey,
    pub engine: Option<Engine>,
    pub config: Config,
    pub journal: Vec<Record>,
    life: u32,
    started: u64,
    skew: u64,
    disk_free_at: u64,
    blobs: BTreeSet<BlobHash>,
    calls: BTreeSet<CallId>,
    inbound: BTreeMap<InboundId, (usize, u32, CallId)>,
    next_inbound: u64,
    /// On each device, the one that runs first.
    pub working: BTreeMap<u16, VecDeque<workers::Working>>,
    fetches: BTreeSet<FetchId>,
    checks: BTreeSet<CheckId>,
}

pub struct World {
    pub time: u64,
    pub nodes: Vec<Node>,
    pub rules: Rules,
    pub faults: Faults,
    pub steps: u64,
    rng: fastrand::Rng,
    later: BTreeMap<(u64, u64), Later>,
    order: u64,
    cut: BTreeSet<(usize, usize)>,
    submitted: Vec<(usize, JobId)>,
    watch: burst::Watch,
    specs: BTreeMap<JobId, JobSpec>,
    /// From whom, to whom, what.
    asked: Vec<(usize, usize, Request)>,
}

impl World {
    pub fn new(seed: u64, faults: Faults, jobs: usize) -> Self {
        let mut world = Self {
            time: 0,
            nodes: Vec::new(),
            rules: Rules::default(),
            faults,
            steps: 0,
            rng: fastrand::Rng::with_seed(seed),
            later: BTreeMap::new(),
            order: 0,
            cut: BTreeSet::new(),
            submitted: Vec::new(),
            watch: burst::Watch::default(),
            specs: BTreeMap::new(),
            asked: Vec::new(),
        };
        for i in 0..NODES {
            let node = world.node(i);
            world.nodes.push(node);
            let at = world.rng.u64(0..500);
            world.at(at, Later::Start { node: i });
        }
        for _ in 0..jobs {
            let (at, node) = (world.rng.u64(0..40_000), world.rng.usize(0..REQUESTERS));
            world.at(at, Later::Submit { node });
        }
        if faults.crash_every_ms > 0 {
            let (at, node) = (world.rng.u64(0..2 * faults.crash_every_ms), world.rng.usize(0..NODES));
            world.at(at, Later::Crash { node });
        }
        if faults.cut_every_ms > 0 {
            let at = world.rng.u64(0..2 * faults.cut_every_ms);
            world.at(at, Later::CutLink);
            world.at(at, Later::Evict { node: 0 });
            world.at(at, Later::Replay);
        }
        world
    }

    fn node(&mut self, i: usize) -> Node {
        let mut seed = [7; 32];
        seed[0] = i as u8;
        let price = NanoIo(self.rng.u64(1..1_000_000));
        Node {
            key: SecretKey::from_seed(&seed),
            engine: None,
            config: Config { provide: i >= REQUESTERS, price_per_second: price, ..Config::default() },
            journal: Vec::new(),
            life: 0,
            started: 0,
            skew: self.rng.u64(0..5_000),
            disk_free_at: 0,
            blobs: BTreeSet::new(),
            calls: BTreeSet::new(),
            inbound: BTreeMap::new(),
            next_inbound: 0,
            working: BTreeMap::new(),
            fetches: BTreeSet::new(),
            checks: BTreeSet::new(),
        }
    }

    fn at(&mut self, time: u64, what: Later) {
        self.order += 1;
        self.later.insert((time, self.order), what);
    }

    fn after(&mut self, delay: u64, what: Later) {
        self.at(self.time + delay, what);
    }

    fn chance(&mut self, thousandths: u64) -> bool {
        thousandths > 0 && self.rng.u64(0..1_000) < thousandths
    }

    fn delay(&mut self) -> u64 {
        let long = self.chance(self.faults.loss);
        self.rng.u64(1..=self.faults.delay_ms_max) + if long { self.rng.u64(0..4_000) } else { 0 }
    }

    fn now(&self, node: usize) -> Now {
        let n = &self.nodes[node];
        Now { mono: Millis(self.time - n.started), wall: UnixMillis(WALL_START + self.time + n.skew) }
    }

    fn id(&self, node: usize) -> NodeId {
        self.nodes[node].key.node_id()
    }

    fn index(&self, id: &NodeId) -> usize {
        (0..NODES).find(|i| self.id(*i) == *id).expect("only nodes of this world are named")
    }

    fn joined(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b))) && self.nodes[b].engine.is_some()
    }

    /// Runs until `end`.
    pub fn run_until(&mut self, end: u64) {
        while self.time < end {
            let happening = self.later.first_key_value().map(|((at, _), _)| *at);
            let deadline = (0..NODES)
                .filter_map(|i| {
                    let node = &self.nodes[i];
                    let at = node.engine.as_ref()?.next_deadline()?.0 + node.started;
                    Some((at.max(self.time), i))
                })
                .min();
            match (happening, deadline) {
                (Some(at), Some((tick, _))) if at <= tick => self.happen(at, end),
                (_, Some((tick, node))) if tick <= end => {
                    // A driver is never exactly on time.
                    self.time = tick + self.rng.u64(0..3);
                    self.feed(node, Input::Tick);
                }
                (Some(at), _) => self.happen(at, end),
                (None, _) => self.time = end,
            }
        }
    }

    fn happen(&mut self, at: u64, end: u64) {
        if at > end {
            self.time = end;
            return;
        }
        self.time = self.time.max(at);
        if let Some((_, what)) = self.later.pop_first() {
            self.step(what);
        }
    }

    fn alive(&self, node: usize, life: u32) -> bool {
        self.nodes[node].engine.is_some() && self.nodes[node].life == life
    }

    fn step(&mut self, what: Later) {
        match what {
            Later::Ask { to, from, from_life, call, request } => {
                self.asked(to, from, from_life, call, request)
            }
            Later::Reply { to, life, call, from, response } => self.replied(to, life, call, from, response),
            Later::NoAnswer { to, life, call, from, error } => {
                self.answer(to, life, call, from, Err(error));
            }
            Later::Tell { to, from, said } => {
                let Notice::Progress { job, attempt, state } = said;
                if self.joined(from, to) {
                    self.peer(to, from, PeerInput::Progress { job, attempt, state });
                }
            }
            Later::Gossip { to, from, advert } => {
                if self.joined(from, to) {
                    let advert = advert.verify(&self.nodes[to].config.network).expect("signed here");
                    self.peer(to, from, PeerInput::Advert(advert));
                }
            }
            Later::Link { to, peer, up } => {
                if up == self.joined(to, peer) {
                    let said = if up { PeerInput::Connected } else { PeerInput::Disconnected };
                    self.peer(to, peer, said);
                    if up {
                        self.peer(to, peer, PeerInput::RoundTrip(Millis(2)));
                    }
                }
            }
            Later::Write { node, life, record, body, outcome } => {
                if self.alive(node, life) {
                    if outcome != Disk::Fails {
                        self.nodes[node].journal.push((*body).clone());
                    }
                    let (ok, delay) = (outcome == Disk::Fine, self.rng.u64(0..4));
                    self.after(delay, Later::WriteAck { node, life, record, body, ok });
                }
            }
            Later::WriteAck { node, life, record, body, ok } => {
                if self.alive(node, life) && ok {
                    self.rules.durable(node, &body);
                    self.feed(node, Input::Recorded(record));
                } else if self.alive(node, life) {
                    self.feed(node, Input::RecordFailed { record, why: "no space left".to_owned() });
                }
            }
            Later::Fetched { node, life, fetch, from, blobs } => {
                self.fetched(node, life, fetch, from, &blobs)
            }
            Later::Worked { node, life, work, result } => self.worked(node, life, work, result),
            Later::Checked { node, life, check, result } => self.checked(node, life, check, result),
            Later::Submit { node } => self.submit(node),
            Later::Cancel { node, job } => self.feed(node, Input::Owner(OwnerInput::Cancel { job })),
            Later::Crash { node } => self.crash(node),
            Later::Start { node } => self.start(node),
            Later::CutLink => self.cut_link(),
            Later::JoinLink { a, b } => {
                self.cut.remove(&(a.min(b), a.max(b)));
                self.announce(a, b, true);
            }
            Later::Evict { node } => self.evict(node),
            Later::Replay => self.replay(),
        }
    }

    fn peer(&mut self, to: usize, from: usize, said: PeerInput) {
        let from = self.id(from);
        self.feed(to, Input::Peer { from, said });
    }

    /// Feeds one input and carries the effects out, under the rules.
    fn feed(&mut self, node: usize, input: Input) {
        let now = self.now(node);
        let Some(engine) = self.nodes[node].engine.as_mut() else { return };
        self.steps += 1;
        let effects = engine.handle(input, now);
        self.carry_out(node, effects);
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        self.rules.effects(node, &effects);
        for effect in effects {
            self.effect(node, effect);
        }
        let (devices, status) = match &self.nodes[node].engine {
            Some(engine) => (devices(node).len(), engine.status()),
            None => return,
        };
        assert!(usize::from(status.running) <= devices, "more programs than devices");
        assert!(usize::from(status.free) <= devices - usize::from(status.running), "more free than idle");
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        let life = self.nodes[node].life;
        match effect {
            Effect::Prove { .. }
            | Effect::Commit { .. }
            | Effect::OpenRows { .. }
            | Effect::Judge { .. }
            | Effect::Challenged { .. } => panic!("nobody is challenged in this world"),
            Effect::Call { call, to, request, timeout, .. } => {
                let to = self.index(&to);
                self.nodes[node].calls.insert(call);
                let none = Later::NoAnswer { to: node, life, call, from: to, error: CallError::TimedOut };
                self.after(timeout.0, none);
                self.ask(node, to, call, request);
            }
            Effect::Answer { inbound, response } => {
                let asked = self.nodes[node].inbound.remove(&inbound);
                let (to, life, call) = asked.expect("every question is answered once");
                if !self.chance(self.faults.loss) {
                    let delay = self.delay();
                    self.after(delay, Later::Reply { to, life, call, from: node, response });
                }
            }
            Effect::Notice { to, notice } => {
                let to = self.index(&to);
                self.send(Later::Tell { to, from: node, said: notice });
            }
            Effect::Publish(advert) => {
                for to in (0..NODES).filter(|to| *to != node) {
                    self.send(Later::Gossip { to, from: node, advert: Box::new(advert.signed().clone()) });
                }
            }
            Effect::Discover(_) | Effect::Event(_) => {}
            Effect::Record { record, body, .. } => self.write(node, record, body),
            Effect::Keep(blobs) => self.nodes[node].blobs.extend(blobs.iter().map(InlineBlob::hash)),
            Effect::Fetch { fetch, from, blobs, .. } => {
                let (from, delay) = (self.index(&from), self.delay());
                self.nodes[node].fetches.insert(fetch);
                self.after(delay * 3, Later::Fetched { node, life, fetch, from, blobs });
            }
            Effect::StopFetch(fetch) => drop(self.nodes[node].fetches.remove(&fetch)),
            Effect::Work { work, device, spec, .. } => self.work(node, work, device, &spec),
            Effect::Check { check, spec, outputs, blocks, .. } => {
                self.check(node, check, &spec, &outputs, &blocks);
            }
            Effect::StopCheck(check) => drop(self.nodes[node].checks.remove(&check)),
            Effect::StopWork(work) => self.stop_work(node, work),
        }
    }

    /// One-way: lost, doubled or late.
    fn send(&mut self, what: Later) {
        let copies = u64::from(!self.chance(self.faults.loss)) + u64::from(self.chance(self.faults.double));
        for _ in 0..copies {
            let delay = self.delay();
            self.after(delay, what.clone());
        }
    }

    fn ask(&mut self, from: usize, to: usize, call: CallId, request: Request) {
        self.asked.push((from, to, request.clone()));
        let from_life = self.nodes[from].life;
        if !self.joined(from, to) {
            let error = CallError::Unreachable("no route".to_owned());
            let delay = self.rng.u64(1..200);
            self.after(delay, Later::NoAnswer { to: from, life: from_life, call, from: to, error });
            return;
        }
        if self.chance(self.faults.disk) {
            self.after(
                0,
                Later::NoAnswer { to: from, life: from_life, call, from: to, error: CallError::Busy },
            );
            return;
        }
        self.send(Later::Ask { to, from, from_life, call, request });
    }

    fn asked(&mut self, to: usize, from: usize, from_life: u32, call: CallId, request: Request) {
        if !self.joined(from, to) {
            return;
        }
        let network = self.nodes[to].config.network;
        let node = &mut self.nodes[to];
        node.next_inbound += 1;
        let inbound = InboundId(node.next_inbound);
        node.inbound.insert(inbound, (from, from_life, call));
        let said = match request {
            Request::Challenge(_) | Request::Open(_) => panic!("nobody is challenged in this world"),
            Request::Adverts { max } => PeerInput::AdvertsAsked { inbound, max },
            Request::Order(order) => {
                PeerInput::Order { inbound, order: Box::new(order.verify(&network).expect("signed")) }
            }
            Request::Query { job, attempt } => PeerInput::Query { inbound, job, attempt },
            Request::Cancel { job, attempt } => PeerInput::Cancel { inbound, job, attempt },
            Request::Deliver(delivery) => PeerInput::Deliver {
                inbound,
                receipt: Box::new(delivery.receipt.verify(&network).expect("signed")),
                outputs: delivery.outputs,
                inline: delivery.inline,
            },
            Request::Countersign(half) => PeerInput::Countersign {
                inbound,
                countersignature: Box::new(half.verify(&network).expect("signed")),
            },
        };
        self.peer(to, from, said);
    }

    fn replied(&mut self, to: usize, life: u32, call: CallId, from: usize, response: Response) {
        let network = self.nodes[to].config.network;
        let answer = match response {
            Response::Committed(_) | Response::Shown(_) => panic!("nobody is challenged in this world"),
            Response::Adverts(adverts) => {
                Answer::Adverts(adverts.into_iter().filter_map(|a| a.verify(&network).ok()).collect())
            }
            Response::Accepted(acceptance) => {
                Answer::Accepted(Box::new(acceptance.verify(&network).expect("signed")))
            }
            Response::Refused(refusal) => Answer::Refused {
                reason: refusal.reason,
                advert: refusal.advert.and_then(|a| a.verify(&network).ok()).map(Box::new),
            },
            Response::Lease(state) => Answer::Lease(state),
            Response::Countersigned(half) => {
                Answer::Countersigned(Box::new(half.verify(&network).expect("signed")))
            }
            Response::Noted => Answer::Noted,
        };
        if self.joined(from, to) {
            self.answer(to, life, call, from, Ok(answer));
        }
    }

    /// The first answer to a call counts; the driver drops the rest.
    fn answer(&mut self, to: usize, life: u32, call: CallId, from: usize, result: Result<Answer, CallError>) {
        if self.alive(to, life) && self.nodes[to].calls.remove(&call) {
            let from = self.id(from);
            self.feed(to, Input::Answer { call, from, result });
        }
    }

    fn write(&mut self, node: usize, record: RecordId, body: Box<Record>) {
        let outcome = match (self.chance(self.faults.disk), self.rng.bool()) {
            (false, _) => Disk::Fine,
            (true, true) => Disk::Fails,
            (true, false) => Disk::FailsYetWritten,
        };
        // A disk writes in order.
        let at = self.nodes[node].disk_free_at.max(self.time) + self.rng.u64(0..6);
        self.nodes[node].disk_free_at = at;
        let life = self.nodes[node].life;
        self.at(at, Later::Write { node, life, record, body, outcome });
    }

    fn fetched(&mut self, node: usize, life: u32, fetch: FetchId, from: usize, blobs: &[(BlobHash, Bytes)]) {
        if !self.alive(node, life) || !self.nodes[node].fetches.remove(&fetch) {
            return;
        }
        let missing: Vec<BlobHash> = blobs
            .iter()
            .map(|(hash, _)| *hash)
            .filter(|hash| !self.nodes[node].blobs.contains(hash))
            .collect();
        let there = missing.iter().all(|hash| self.nodes[from].blobs.contains(hash));
        let gone = !there || !self.joined(node, from);
        let fails = !missing.is_empty() && (gone || self.chance(self.faults.loss));
        let whose = if gone { FetchFault::Source } else { FetchFault::Here };
        let result = if fails { Err(whose("it does not come".to_owned())) } else { Ok(()) };
        if !fails {
            self.nodes[node].blobs.extend(missing);
        }
        self.feed(node, Input::Fetched { fetch, result });
    }

    fn submit(&mut self, node: usize) {
        if self.nodes[node].engine.is_none() {
            return;
        }
        let mut job = JobId([0; 16]);
        self.rng.fill(&mut job.0);
        let inline = self.rng.bool();
        let (spec, blobs) = spec(&mut self.rng);
        self.nodes[node].blobs.extend(blobs.iter().map(InlineBlob::hash));
        self.submitted.push((node, job));
        self.specs.insert(job, spec.clone());
        let inline = if inline { blobs } else { Vec::new() };
        let verify = self.rng.u16(0..3);
        let times = 1 + u64::from(self.chance(100));
        for _ in 0..times {
            let (spec, inline) = (spec.clone(), inline.clone());
            self.feed(node, Input::Owner(OwnerInput::Submit { job, spec, inline, verify }));
        }
        if !self.watch.patient && self.chance(100) {
            let delay = self.rng.u64(0..8_000);
            self.after(delay, Later::Cancel { node, job });
        }
    }

    /// What became of the jobs: ended well, ended otherwise, and those that should have ended and have not.
    pub fn results(&self) -> (usize, usize, Vec<String>) {
        let (mut done, mut other, mut stuck) = (0, 0, Vec::new());
        for (node, job) in &self.submitted {
            let view = self.nodes[*node].engine.as_ref().and_then(|engine| engine.job(job));
            let Some(view) = view else {
                // Crashed before it was durable: nobody was told that it would run.
                assert!(!self.rules.accepted.contains(job), "{job} was accepted and is forgotten");
                continue;
            };
            match view.state.as_str() {
                "done" => {
                    done += 1;
                    self.check_true(&view);
                    self.check_paid(&view);
                }
                "failed" | "cancelled" => other += 1,
                _ => stuck.push(format!("{view:?}")),
            }
        }
        (done, other, stuck)
    }

    fn check_paid(&self, view: &ion_scheduler::view::JobView) {
        let provider = self.index(&view.provider.expect("a done job has a provider"));
        let engine = self.nodes[provider].engine.as_ref().expect("all nodes are up");
        let attempt = view.attempt.unwrap_or(Attempt(0));
        let lease = engine.leases().into_iter().find(|l| (l.job, l.attempt) == (view.job, attempt));
        let lease = lease.expect("the provider remembers what it did");
        assert_eq!((lease.state.as_str(), lease.receipt), ("settled", view.receipt), "{view:?} {lease:?}");
    }

    /// Nobody is kept waiting for ever by a node that is up.
    pub fn unanswered(&self) -> usize {
        self.nodes.iter().map(|node| node.inbound.len()).sum()
    }
}
