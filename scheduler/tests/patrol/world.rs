//! Engines that challenge each other in virtual time: a network, devices of which each takes as long as it truly does, and
//! nodes that lie about theirs.

use ion_protocol::{
    Bytes, Millis, Nanos, NodeId, Now, UnixMillis, Verified,
    advert::Advert,
    challenge::{Challenge, Roots, Unchallenged},
    deal::{Refusal, RefusalReason},
    fault::Fault,
    hardware::{ComputeCapability, Device, Engine as Gpu, MeasuredPower},
    key::SecretKey,
    message::{Request, Response},
};
use ion_scheduler::{
    Config, Effect, Engine, Input,
    event::Event,
    input::{Answer, CallError, CallId, InboundId, PeerInput, WorkId, WorkReport},
    view::{OfferView, Standing},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
};

/// 2026-01-01.
const WALL: u64 = 1_767_225_600_000;
/// What every device truly does, in 10^6 operations a second.
const TRUE_MOPS: u64 = 5_000_000;
/// How much too much a liar claims.
const OVERCLAIM: u64 = 20;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Offers nothing, and looks at what others claim.
    Light,
    /// Claims what its device does.
    Honest,
    /// The same, but whatever its device does first takes three times as long.
    Hiccup,
    /// Claims [`OVERCLAIM`] times as much.
    Liar,
    /// One device between all that are so.
    Twin,
    /// The same as [`Kind::Liar`], and takes no challenge, for this reason.
    Dodger,
    /// The same, and says that it has given what it may.
    Spent,
    /// The same, and lets go of every challenge a second after it took it.
    Quitter,
}

enum Later {
    Ask { to: usize, from: usize, call: CallId, request: Request },
    Reply { to: usize, from: usize, call: CallId, response: Response },
    TimedOut { to: usize, from: usize, call: CallId },
    Gossip { to: usize, advert: Box<Verified<Advert>> },
    Done { node: usize, work: WorkId, result: Result<WorkReport, Fault> },
    Feed { node: usize, input: Box<Input> },
}

struct Node {
    kind: Kind,
    engine: Engine,
    id: NodeId,
    calls: BTreeSet<CallId>,
    inbound: BTreeMap<InboundId, (usize, CallId)>,
    works: BTreeSet<WorkId>,
    began: BTreeMap<WorkId, u64>,
    done: u32,
}

/// See the module.
pub struct World {
    pub time: u64,
    pub kinds: Vec<Kind>,
    nodes: Vec<Node>,
    later: BTreeMap<(u64, u64), Later>,
    order: u64,
    inbounds: u64,
    rng: fastrand::Rng,
    /// When the device that twins share is free again.
    shared_until: u64,
    /// Of each node, from when to when its device computed for others.
    pub given: Vec<Vec<(u64, u64)>>,
    /// Of each node, when it challenged whom.
    pub asked: Vec<Vec<(u64, usize)>>,
    /// Who judged whom, and whether it passed.
    pub verdicts: Vec<(usize, usize, bool)>,
    log: DefaultHasher,
}

impl World {
    pub fn new(seed: u64, every: Millis, kinds: &[Kind]) -> Self {
        let mut world = Self {
            time: 0,
            kinds: kinds.to_vec(),
            nodes: Vec::new(),
            later: BTreeMap::new(),
            order: 0,
            inbounds: 0,
            rng: fastrand::Rng::with_seed(seed),
            shared_until: 0,
            given: vec![Vec::new(); kinds.len()],
            asked: vec![Vec::new(); kinds.len()],
            verdicts: Vec::new(),
            log: DefaultHasher::new(),
        };
        for (n, kind) in kinds.iter().enumerate() {
            let mut secret = [9; 32];
            secret[0] = n as u8;
            let key = SecretKey::from_seed(&secret);
            let config = Config {
                provide: *kind != Kind::Light,
                patrol_every: Some(every),
                advert_every: Millis(120_000),
                ..Config::default()
            };
            let (id, seed) = (key.node_id(), world.rng.u64(..));
            let engine = Engine::new(config, key, seed);
            let (calls, inbound, works, began) = Default::default();
            world.nodes.push(Node { kind: *kind, engine, id, calls, inbound, works, began, done: 0 });
            if *kind != Kind::Light {
                // Twins are on one machine, all others on their own.
                let host = if *kind == Kind::Twin { 250 } else { n };
                let addresses = Input::Addresses(vec![format!("/ip4/10.0.0.{host}/tcp/{}", 4_000 + n)]);
                let at = world.rng.u64(0..5_000);
                world.at(at, Later::Feed { node: n, input: Box::new(addresses) });
                world.at(at, Later::Feed { node: n, input: Box::new(Input::Devices(vec![device(*kind)])) });
            }
        }
        world
    }

    pub fn run_until(&mut self, end: u64) {
        while self.time < end {
            let next = self.later.first_key_value().map_or(end, |((at, _), _)| *at);
            let tick = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(n, node)| Some((node.engine.next_deadline()?.0.max(self.time), n)))
                .min()
                .filter(|(at, _)| *at < next);
            match tick {
                Some((at, node)) if at < end => {
                    self.time = at;
                    self.feed(node, Input::Tick);
                }
                Some(_) => return,
                None if next < end => {
                    self.time = next;
                    if let Some((_, later)) = self.later.pop_first() {
                        self.happens(later);
                    }
                }
                None => return,
            }
        }
    }

    /// What `node` thinks of each device it knows, by the kind of its owner.
    pub fn standings(&self, node: usize) -> Vec<(Kind, Standing)> {
        let kind = |offer: &OfferView| self.kinds[self.index(&offer.provider)];
        let offers = self.nodes[node].engine.offers(self.now());
        offers.iter().map(|offer| (kind(offer), offer.claims[0].standing)).collect()
    }

    /// How many nodes see a device of this kind so.
    pub fn seen(&self, kind: Kind, standing: Standing) -> usize {
        let all = (0..self.nodes.len()).flat_map(|node| self.standings(node));
        all.filter(|found| *found == (kind, standing)).count()
    }

    pub fn log_hash(&self) -> u64 {
        self.log.finish()
    }

    fn now(&self) -> Now {
        Now { mono: Millis(self.time), wall: UnixMillis(WALL + self.time) }
    }

    fn index(&self, id: &NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == *id).expect("only nodes of this world are named")
    }

    fn at(&mut self, time: u64, what: Later) {
        self.order += 1;
        self.later.insert((time, self.order), what);
    }

    fn soon(&mut self, what: Later) {
        let delay = self.rng.u64(5..60);
        self.at(self.time + delay, what);
    }

    fn happens(&mut self, what: Later) {
        match what {
            Later::Ask { to, from, call, request } => self.asked(to, from, call, request),
            Later::Reply { to, from, call, response } => {
                let answer = self.answer(response);
                self.replied(to, from, call, Ok(answer));
            }
            Later::TimedOut { to, from, call } => self.replied(to, from, call, Err(CallError::TimedOut)),
            Later::Gossip { to, advert } => {
                let said = PeerInput::Advert(*advert.clone());
                self.feed(to, Input::Peer { from: advert.node, said });
            }
            Later::Done { node, work, result } => self.done(node, work, result),
            Later::Feed { node, input } => self.feed(node, *input),
        }
    }

    fn feed(&mut self, node: usize, input: Input) {
        let now = self.now();
        for effect in self.nodes[node].engine.handle(input, now) {
            self.effect(node, effect);
        }
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Call { call, to, request, timeout, .. } => {
                let to = self.index(&to);
                self.nodes[node].calls.insert(call);
                self.at(self.time + timeout.0, Later::TimedOut { to: node, from: to, call });
                self.soon(Later::Ask { to, from: node, call, request });
            }
            Effect::Answer { inbound, response } => {
                let (to, call) = self.nodes[node].inbound.remove(&inbound).expect("answered once");
                self.soon(Later::Reply { to, from: node, call, response });
            }
            Effect::Publish(advert) => {
                for to in (0..self.nodes.len()).filter(|to| *to != node) {
                    self.soon(Later::Gossip { to, advert: Box::new(advert.clone()) });
                }
            }
            Effect::Record { record, .. } => {
                self.soon(Later::Feed { node, input: Box::new(Input::Recorded(record)) });
            }
            Effect::Prove { work, challenge, limit, .. } => self.prove(node, work, &challenge, limit),
            Effect::StopWork(work) => {
                self.soon(Later::Done { node, work, result: Err(Fault::Cancelled) });
            }
            Effect::Commit { work, .. } => {
                let result = Ok(Roots { first: [1; 32], second: [2; 32] });
                self.soon(Later::Feed { node, input: Box::new(Input::Committed { work, result }) });
            }
            Effect::OpenRows { work, .. } => {
                let input = Input::RowsOpened { work, result: Ok(Vec::new()) };
                self.soon(Later::Feed { node, input: Box::new(input) });
            }
            Effect::Judge { challenge, target, .. } => {
                let input = Input::Judged { challenge, target, result: Ok(()) };
                self.soon(Later::Feed { node, input: Box::new(input) });
            }
            Effect::Event(event) => self.event(node, &event),
            Effect::Notice { .. }
            | Effect::Discover(_)
            | Effect::Keep(_)
            | Effect::Fetch { .. }
            | Effect::StopFetch(_)
            | Effect::Work { .. }
            | Effect::Check { .. }
            | Effect::StopCheck(_)
            | Effect::Challenged { .. } => panic!("no owner wants anything in this world: {effect:?}"),
        }
    }

    fn event(&mut self, node: usize, event: &Event) {
        self.log.write(format!("{} {node} {event:?}", self.time).as_bytes());
        if let Event::Challenging { provider, .. } = event {
            let whom = self.index(provider);
            self.asked[node].push((self.time, whom));
        }
        if let Event::Challenged { provider, judgement, .. } = event {
            self.verdicts.push((node, self.index(provider), judgement.is_passed()));
        }
    }

    /// The device takes as long as it takes, whatever was claimed.
    fn prove(&mut self, node: usize, work: WorkId, challenge: &Challenge, limit: Millis) {
        let time = challenge.shape.time_at(TRUE_MOPS).expect("a rate").0;
        let node_kind = self.nodes[node].kind;
        let (begins, time) = match node_kind {
            Kind::Twin => (self.time.max(self.shared_until), time),
            Kind::Hiccup if self.nodes[node].done == 0 => (self.time, 3 * time),
            Kind::Light
            | Kind::Honest
            | Kind::Hiccup
            | Kind::Liar
            | Kind::Dodger
            | Kind::Spent
            | Kind::Quitter => (self.time, time),
        };
        let ends = (begins + time).min(self.time + limit.0);
        if node_kind == Kind::Twin {
            self.shared_until = ends;
        }
        let result = if begins + time <= ends { Ok(report(time)) } else { Err(Fault::RunTime { limit }) };
        self.nodes[node].works.insert(work);
        self.nodes[node].began.insert(work, self.time);
        self.at(ends, Later::Done { node, work, result });
        if node_kind == Kind::Quitter {
            let evict = Input::Owner(ion_scheduler::input::OwnerInput::Evict { device: 0 });
            self.at(self.time + 1_000, Later::Feed { node, input: Box::new(evict) });
        }
    }

    fn done(&mut self, node: usize, work: WorkId, result: Result<WorkReport, Fault>) {
        if self.nodes[node].works.remove(&work) {
            let began = self.nodes[node].began.remove(&work).unwrap_or(self.time);
            self.given[node].push((began, self.time));
            self.nodes[node].done += 1;
            self.feed(node, Input::WorkDone { work, result });
        }
    }

    fn asked(&mut self, to: usize, from: usize, call: CallId, request: Request) {
        let network = Config::default().network;
        self.inbounds += 1;
        let inbound = InboundId(self.inbounds);
        let dodge = |why| {
            let reason = RefusalReason::Challenge { why };
            Response::Refused(Refusal { reason, advert: None })
        };
        let said = match (request, self.nodes[to].kind) {
            (Request::Challenge(_), Kind::Dodger) => {
                let response = dodge(Unchallenged::InUse);
                return self.soon(Later::Reply { to: from, from: to, call, response });
            }
            (Request::Challenge(_), Kind::Spent) => {
                let response = dodge(Unchallenged::Budget { wait: Millis(3_600_000) });
                return self.soon(Later::Reply { to: from, from: to, call, response });
            }
            (Request::Challenge(challenge), _) => {
                let challenge = Box::new(challenge.verify(&network).expect("signed"));
                PeerInput::Challenge { inbound, challenge }
            }
            (Request::Open(opening), _) => {
                PeerInput::Open { inbound, opening: opening.verify(&network).expect("signed") }
            }
            (Request::Adverts { max }, _) => PeerInput::AdvertsAsked { inbound, max },
            (other, _) => panic!("nobody orders in this world: {other:?}"),
        };
        self.nodes[to].inbound.insert(inbound, (from, call));
        let from = self.nodes[from].id;
        self.feed(to, Input::Peer { from, said });
    }

    fn answer(&self, response: Response) -> Answer {
        let network = Config::default().network;
        match response {
            Response::Adverts(adverts) => {
                Answer::Adverts(adverts.into_iter().filter_map(|a| a.verify(&network).ok()).collect())
            }
            Response::Refused(refusal) => Answer::Refused { reason: refusal.reason, advert: None },
            Response::Committed(signed) => {
                Answer::Committed(Box::new(signed.verify(&network).expect("signed")))
            }
            Response::Shown(signed) => Answer::Shown(Box::new(signed.verify(&network).expect("signed"))),
            other => panic!("nobody orders in this world: {other:?}"),
        }
    }

    /// The first answer to a call counts.
    fn replied(&mut self, to: usize, from: usize, call: CallId, result: Result<Answer, CallError>) {
        if self.nodes[to].calls.remove(&call) {
            let from = self.nodes[from].id;
            self.feed(to, Input::Answer { call, from, result });
        }
    }
}

fn device(kind: Kind) -> Device {
    let claim = match kind {
        Kind::Light | Kind::Honest | Kind::Hiccup | Kind::Twin => TRUE_MOPS,
        Kind::Liar | Kind::Dodger | Kind::Spent | Kind::Quitter => OVERCLAIM * TRUE_MOPS,
    };
    let power = MeasuredPower {
        f32_mflops: 2 * claim,
        memory_mbps: 500_000,
        product_mops: claim,
        ..MeasuredPower::default()
    };
    let (model, memory) = ("NVIDIA H100".to_owned(), Bytes(80 << 30));
    let capability = ComputeCapability { major: 9, minor: 0 };
    Device { index: 0, model, engine: Gpu::Cuda, capability, memory, nvrtc: false, power }
}

fn report(time: u64) -> WorkReport {
    WorkReport {
        outputs: Vec::new(),
        inline: Vec::new(),
        device: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        device_time: Nanos(time * 1_000_000),
        ran: Millis(time),
        printed: String::new(),
        states: Default::default(),
    }
}
