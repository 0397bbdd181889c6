//! One engine on a desk: inputs go in by hand, effects are looked for by kind, time moves when told.

#![allow(dead_code, reason = "each test program uses its own part")]

use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, NodeId, Now, UnixMillis, Verified,
    advert::Advert,
    check::Check,
    deal::{Acceptance, InlineBlob, Order, RefusalReason},
    hardware::{ComputeCapability, Device, Engine as Gpu, MeasuredPower},
    job::{
        Arg, Buffer, Element, Init, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step,
    },
    key::SecretKey,
    limits,
    message::{Request, Response},
    receipt::{Countersignature, Output, Receipt, Status, output_root},
    record::Record,
    signed::{Document, Signed},
};
use ion_scheduler::{
    Config, Effect, Engine, Input,
    event::Event,
    input::{Answer, CallError, CallId, InboundId, OwnerInput, PeerInput, RecordId},
};

pub const WALL: u64 = 1_767_225_600_000;
pub const JOB: JobId = JobId([9; 16]);

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub fn id(n: u8) -> NodeId {
    key(n).node_id()
}

pub fn sign<T: Document>(n: u8, body: T) -> Verified<T> {
    Signed::sign(body, &Config::default().network, &key(n))
}

/// An engine, its clock, its disk and what it did last.
pub struct Desk {
    pub engine: Engine,
    pub now: Now,
    pub effects: Vec<Effect>,
    pub journal: Vec<Record>,
    pub me: u8,
    inbound: u64,
}

impl Desk {
    pub fn new(me: u8, config: Config) -> Self {
        let engine = Engine::new(config, key(me), 1);
        let now = Now { mono: Millis(1_000), wall: UnixMillis(WALL) };
        Self { engine, now, effects: Vec::new(), journal: Vec::new(), me, inbound: 0 }
    }

    pub fn requester() -> Self {
        Self::new(1, Config::default())
    }

    /// With one device and an address, and the advert out.
    pub fn provider() -> Self {
        Self::provider_with(Config::default(), 1)
    }

    pub fn provider_with(config: Config, devices: u16) -> Self {
        let mut desk = Self::new(2, Config { provide: true, ..config });
        desk.feed(Input::Addresses(vec!["/ip4/10.0.0.2/tcp/4001".to_owned()]));
        desk.feed(Input::Devices((0..devices).map(device).collect()));
        desk
    }

    /// Feeds one input; its effects replace the last ones.
    pub fn feed(&mut self, input: Input) -> &mut Self {
        self.effects = self.engine.handle(input, self.now);
        self
    }

    pub fn peer(&mut self, from: u8, said: PeerInput) -> &mut Self {
        self.feed(Input::Peer { from: id(from), said })
    }

    /// With this many blocks to run again.
    pub fn submit_verified(&mut self, spec: JobSpec, verify: u16) -> &mut Self {
        self.feed(Input::Owner(OwnerInput::Submit { job: JOB, spec, inline: Vec::new(), verify }))
    }

    pub fn submit(&mut self, spec: JobSpec, inline: Vec<InlineBlob>) -> &mut Self {
        self.feed(Input::Owner(OwnerInput::Submit { job: JOB, spec, inline, verify: 0 }))
    }

    /// Confirms what is to be written, journal and small blobs, and what follows from it, until nothing is left to
    /// write. What did not come along is not fetched.
    pub fn disk_works(&mut self) -> &mut Self {
        let mut all = std::mem::take(&mut self.effects);
        let mut next = 0;
        while next < all.len() {
            if let Effect::Record { record, body, .. } = all[next].clone() {
                self.journal.push(*body);
                all.remove(next);
                all.extend(self.engine.handle(Input::Recorded(record), self.now));
            } else if let Effect::Fetch { fetch, blobs, .. } = all[next].clone()
                && blobs.iter().all(|(hash, _)| kept(&all).contains(hash))
            {
                all.remove(next);
                all.extend(self.engine.handle(Input::Fetched { fetch, result: Ok(()) }, self.now));
            } else {
                next += 1;
            }
        }
        self.effects = all;
        self
    }

    pub fn disk_fails(&mut self) -> &mut Self {
        let record = self.record();
        self.feed(Input::RecordFailed { record, why: "no space left".to_owned() })
    }

    pub fn pass(&mut self, time: u64) -> &mut Self {
        self.now.mono.0 += time;
        self.now.wall.0 += time;
        self.feed(Input::Tick)
    }

    /// Stops at every deadline on the way; all effects are kept.
    pub fn live_through(&mut self, time: u64) -> &mut Self {
        let (end, mut all) = (self.now.mono.0 + time, Vec::new());
        while self.now.mono.0 < end {
            let next = self.engine.next_deadline().map_or(end, |at| at.0.clamp(self.now.mono.0 + 1, end));
            self.pass(next - self.now.mono.0).disk_works();
            all.append(&mut self.effects);
        }
        self.effects = all;
        self
    }

    /// A crash now, and back with what the disk confirmed.
    pub fn restart(&mut self, config: Config) -> &mut Self {
        self.engine = Engine::new(config, key(self.me), 2);
        self.effects = self.engine.restore(self.journal.clone(), self.now);
        self
    }

    pub fn inbound(&mut self) -> InboundId {
        self.inbound += 1;
        InboundId(self.inbound)
    }

    /// What is to be written.
    pub fn records(&self) -> Vec<(RecordId, Record)> {
        let record = |effect: &Effect| {
            if let Effect::Record { record, body, .. } = effect {
                Some((*record, (**body).clone()))
            } else {
                None
            }
        };
        self.effects.iter().filter_map(record).collect()
    }

    pub fn record(&self) -> RecordId {
        let [(record, _), ..] = self.records()[..] else {
            panic!("nothing is written in {:?}", self.effects)
        };
        record
    }

    pub fn calls(&self) -> Vec<(CallId, NodeId, Request)> {
        let call = |effect: &Effect| {
            if let Effect::Call { call, to, request, .. } = effect {
                Some((*call, *to, request.clone()))
            } else {
                None
            }
        };
        self.effects.iter().filter_map(call).collect()
    }

    pub fn order_call(&self) -> (CallId, NodeId, Signed<Order>) {
        let order = self.calls().into_iter().find_map(|(call, to, request)| {
            if let Request::Order(order) = request { Some((call, to, order)) } else { None }
        });
        order.unwrap_or_else(|| panic!("no order leaves in {:?}", self.effects))
    }

    pub fn delivery_call(&self) -> (CallId, ion_protocol::message::Delivery) {
        let delivery = self.calls().into_iter().find_map(|(call, _, request)| {
            if let Request::Deliver(delivery) = request { Some((call, delivery)) } else { None }
        });
        delivery.unwrap_or_else(|| panic!("nothing is delivered in {:?}", self.effects))
    }

    pub fn says_nothing_signed(&self) -> bool {
        !self.effects.iter().any(|effect| matches!(effect, Effect::Call { .. } | Effect::Answer { .. }))
    }

    pub fn response(&self) -> Response {
        let response = self.effects.iter().find_map(|effect| {
            if let Effect::Answer { response, .. } = effect { Some(response.clone()) } else { None }
        });
        response.unwrap_or_else(|| panic!("nothing is answered in {:?}", self.effects))
    }

    pub fn refusal(&self) -> RefusalReason {
        match self.response() {
            Response::Refused(refusal) => refusal.reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn answer(&mut self, call: CallId, from: u8, result: Result<Answer, CallError>) -> &mut Self {
        self.feed(Input::Answer { call, from: id(from), result })
    }

    pub fn has_event(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Event(event) if wanted(event)))
    }

    pub fn has(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.effects.iter().any(wanted)
    }

    /// An offer arrives from its provider.
    pub fn offer(&mut self, from: u8, change: impl FnOnce(&mut Advert)) -> &mut Self {
        let advert = advert(from, self.now, change);
        self.peer(from, PeerInput::Advert(advert))
    }

    /// A requester with a job that provider 2 has accepted.
    pub fn leased() -> (Self, Verified<Order>) {
        Self::leased_with(|_| {})
    }

    pub fn leased_with(change: impl FnOnce(&mut JobSpec)) -> (Self, Verified<Order>) {
        let (mut desk, mut spec) = (Self::requester(), spec());
        change(&mut spec);
        desk.offer(2, |_| {});
        desk.submit(spec, Vec::new()).disk_works();
        let order = desk.accepted();
        (desk, order)
    }

    /// The provider that is ordered from accepts.
    pub fn accepted(&mut self) -> Verified<Order> {
        let (call, to, order) = self.order_call();
        let order = order.verify(&Config::default().network).expect("signed");
        let n = (2..9).find(|n| id(*n) == to).expect("a known provider");
        let acceptance = sign(
            n,
            Acceptance {
                version: limits::VERSION,
                provider: to,
                requester: order.requester,
                job: order.job,
                attempt: order.attempt,
                order: order.hash(),
                accepted: self.now.wall,
            },
        );
        self.answer(call, n, Ok(Answer::Accepted(Box::new(acceptance))));
        assert!(self.has_event(|event| matches!(event, Event::OrderAccepted { .. })));
        order
    }

    pub fn deliver(&mut self, from: u8, receipt: Receipt, inline: bool) -> &mut Self {
        let inbound = self.inbound();
        let receipt = Box::new(sign(from, receipt));
        let inline = if inline { vec![result()] } else { Vec::new() };
        self.peer(from, PeerInput::Deliver { inbound, receipt, outputs: outputs(), inline })
    }
}

pub fn device(index: u16) -> Device {
    Device {
        index,
        model: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        capability: ComputeCapability { major: 9, minor: 0 },
        memory: Bytes(1 << 30),
        nvrtc: false,
        power: MeasuredPower {
            f32_mflops: 10_000_000,
            memory_mbps: 500_000,
            product_mops: 5_000_000,
            ..MeasuredPower::default()
        },
    }
}

pub fn advert(from: u8, now: Now, change: impl FnOnce(&mut Advert)) -> Verified<Advert> {
    let mut advert = Advert {
        version: limits::VERSION,
        node: id(from),
        seq: now.wall.0,
        issued: now.wall,
        expires: UnixMillis(now.wall.0 + 180_000),
        addresses: vec![format!("/ip4/10.0.0.{from}/tcp/4001")],
        region: "eu-west".to_owned(),
        devices: vec![device(0)],
        free: 1,
        queued: 0,
        price_per_second: NanoIo(500_000),
        run_max: Millis(3_600_000),
        blob_bytes_max: Bytes(1 << 30),
    };
    change(&mut advert);
    sign(from, advert)
}

fn text() -> InlineBlob {
    InlineBlob { bytes: b".version 8.0".to_vec() }
}

pub fn inputs() -> Vec<InlineBlob> {
    vec![text()]
}

pub fn result() -> InlineBlob {
    InlineBlob { bytes: vec![5; 32] }
}

pub fn outputs() -> Vec<Output> {
    vec![Output { buffer: 0, bytes: Bytes(32), hash: result().hash() }]
}

pub fn spec() -> JobSpec {
    let module = Module {
        name: "k.ptx".to_owned(),
        source: Source::Ptx,
        blob: text().hash(),
        bytes: Bytes(text().bytes.len() as u64),
    };
    let buffer = Buffer {
        name: "y".to_owned(),
        bytes: Bytes(32),
        init: Init::Zero,
        element: Element::F32,
        shape: vec![8],
        output: true,
    };
    let launch = Launch {
        module: 0,
        kernel: "k".to_owned(),
        grid: [1, 1, 1],
        block: [8, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(0)],
    };
    JobSpec {
        name: "desk".to_owned(),
        needs: Needs::default(),
        limits: JobLimits { run: Millis(8_000), memory: Bytes(1 << 20), price: NanoIo(1_000_000) },
        program: Program {
            modules: vec![module],
            buffers: vec![buffer],
            phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
        },
    }
}

/// An order by node 1 on node 2.
pub fn order(now: Now, change: impl FnOnce(&mut Order)) -> Verified<Order> {
    let mut order = Order {
        version: limits::VERSION,
        requester: id(1),
        provider: id(2),
        job: JOB,
        attempt: Attempt(1),
        advert: DocHash([0; 32]),
        device: 0,
        price_per_second: NanoIo(500_000),
        expires: UnixMillis(now.wall.0 + 30_000),
        spec: spec(),
        keep_states: false,
        inline: inputs(),
    };
    change(&mut order);
    sign(1, order)
}

/// What a provider writes for `order` after half a second on its device.
pub fn receipt(order: &Verified<Order>) -> Receipt {
    let device_time = Nanos(500_000_000);
    Receipt {
        version: limits::VERSION,
        provider: order.provider,
        requester: order.requester,
        job: order.job,
        attempt: order.attempt,
        order: order.hash(),
        input_root: order.spec.input_root(),
        output_root: output_root(&outputs()),
        states: Default::default(),
        device: "NVIDIA H100".to_owned(),
        engine: Gpu::Cuda,
        device_time,
        price_per_second: order.price_per_second,
        price: order.price_per_second.price_of(device_time),
        waited: Millis(1),
        moved: Millis(2),
        ran: Millis(600),
        finished: UnixMillis(WALL + 2_000),
        status: Status::Done,
    }
}

/// The blobs that these effects put into the store.
fn kept(effects: &[Effect]) -> Vec<BlobHash> {
    let blobs = effects.iter().filter_map(|e| if let Effect::Keep(blobs) = e { Some(blobs) } else { None });
    blobs.flatten().map(InlineBlob::hash).collect()
}

/// The requester's half of a receipt of provider 2, unchecked.
pub fn half(desk: &Desk, receipt: &Verified<Receipt>) -> Box<Verified<Countersignature>> {
    let half = Countersignature {
        version: limits::VERSION,
        requester: id(1),
        provider: id(2),
        receipt: receipt.hash(),
        price: receipt.price,
        check: Check::NotAsked,
        signed: desk.now.wall,
    };
    Box::new(sign(1, half))
}
