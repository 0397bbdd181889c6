//! Documents to say over the wire.

use crate::clock::wall;
use ion_protocol::key::SecretKey;
use ion_protocol::{
    Attempt, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, NetworkId, NodeId, UnixMillis,
    advert::Advert,
    check::Check,
    deal::{Acceptance, Order},
    hardware::{ComputeCapability, Device, Engine, MeasuredPower},
    job::{JobLimits, JobSpec, Needs, Program},
    limits,
    receipt::{Countersignature, Receipt, Status},
};

pub const JOB: JobId = JobId([9; 16]);

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn network() -> NetworkId {
    NetworkId::named("test")
}

pub fn id(seed: u8) -> NodeId {
    key(seed).node_id()
}

pub fn device() -> Device {
    Device {
        index: 0,
        model: "NVIDIA H100".into(),
        engine: Engine::Cuda,
        capability: ComputeCapability { major: 9, minor: 0 },
        memory: Bytes(79 << 30),
        nvrtc: true,
        power: MeasuredPower::default(),
    }
}

pub fn advert_at(seed: u8, seq: u64, issued: UnixMillis) -> Advert {
    Advert {
        version: limits::VERSION,
        node: id(seed),
        seq,
        issued,
        expires: UnixMillis(issued.0 + 60_000),
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        region: "eu".into(),
        devices: vec![device()],
        free: 1,
        queued: 0,
        price_per_second: NanoIo(1),
        run_max: Millis(1000),
        blob_bytes_max: Bytes(1 << 20),
    }
}

pub fn advert(seed: u8, seq: u64) -> Advert {
    advert_at(seed, seq, wall())
}

pub fn order_at(requester: u8, provider: NodeId, expires: UnixMillis) -> Order {
    Order {
        version: limits::VERSION,
        requester: id(requester),
        provider,
        job: JOB,
        attempt: Attempt(1),
        advert: DocHash([1; 32]),
        device: 0,
        price_per_second: NanoIo(1),
        expires,
        spec: JobSpec {
            name: "sample".into(),
            needs: Needs::default(),
            limits: JobLimits { run: Millis(1000), memory: Bytes(1), price: NanoIo(1) },
            program: Program { modules: Vec::new(), buffers: Vec::new(), phases: Vec::new() },
        },
        keep_states: false,
        inline: Vec::new(),
    }
}

pub fn order(requester: u8, provider: NodeId) -> Order {
    order_at(requester, provider, UnixMillis(wall().0 + 10_000))
}

pub fn acceptance(provider: u8, requester: NodeId, order: DocHash) -> Acceptance {
    Acceptance {
        version: limits::VERSION,
        provider: id(provider),
        requester,
        job: JOB,
        attempt: Attempt(1),
        order,
        accepted: wall(),
    }
}

pub fn receipt(provider: u8, requester: NodeId) -> Receipt {
    Receipt {
        version: limits::VERSION,
        provider: id(provider),
        requester,
        job: JOB,
        attempt: Attempt(1),
        order: DocHash([1; 32]),
        input_root: [0; 32],
        output_root: [0; 32],
        states: Default::default(),
        device: "NVIDIA H100".into(),
        engine: Engine::Cuda,
        device_time: Nanos(1),
        price_per_second: NanoIo(1),
        price: NanoIo(1),
        waited: Millis(0),
        moved: Millis(0),
        ran: Millis(1),
        finished: wall(),
        status: Status::Done,
    }
}

pub fn countersignature(requester: u8, provider: NodeId) -> Countersignature {
    Countersignature {
        version: limits::VERSION,
        requester: id(requester),
        provider,
        receipt: DocHash([2; 32]),
        price: NanoIo(1),
        check: Check::NotAsked,
        signed: wall(),
    }
}
