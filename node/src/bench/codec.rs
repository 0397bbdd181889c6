//! What encoding, decoding and checking a signature cost.

use super::Figure;
use ion_protocol::{
    Attempt, Bytes, DocHash, JobId, Millis, NanoIo, NetworkId, NodeId, Signed, UnixMillis, codec,
    deal::Order,
    job::{
        Arg, Buffer, Element, Init, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step,
    },
    key::SecretKey,
    message::{Frame, LeaseState, Notice},
};
use std::{hint::black_box, time::Instant};

/// Repeats of a cheap operation.
const CHEAP: u32 = 100_000;
/// Repeats of a signature.
const DEAR: u32 = 2_000;

pub(super) fn figures() -> Vec<Figure> {
    let notice = Frame::Notice(Notice::Progress {
        job: JobId([1; 16]),
        attempt: Attempt(1),
        state: LeaseState::Running { done: 1, total: 2 },
    });
    let notice_bytes = codec::encode(&notice);
    let network = NetworkId::named("bench");
    let key = SecretKey::from_seed(&[1; 32]);
    let order = Signed::sign(order(&key), &network, &key);
    let size = order.signed().body_bytes().len();
    let verify = nanos(DEAR, || {
        drop(black_box(order.signed().clone().verify(&network)));
    });
    vec![
        Figure::new(
            "codec: encode a progress notice",
            nanos(CHEAP, || drop(black_box(codec::encode(&notice)))),
            "ns",
        ),
        Figure::new(
            "codec: decode it, canonical form checked",
            nanos(CHEAP, || drop(black_box(codec::decode::<Frame>(&notice_bytes, 4_096)))),
            "ns",
        ),
        Figure::new(
            format!("codec: decode an order of {size} bytes"),
            nanos(CHEAP / 10, || {
                drop(black_box(codec::decode::<Order>(order.signed().body_bytes(), 65_536)))
            }),
            "ns",
        ),
        Figure::new("codec: decode and verify a signed order", verify, "ns"),
    ]
}

fn nanos(times: u32, mut work: impl FnMut()) -> f64 {
    (0..times / 10).for_each(|_| work());
    let start = Instant::now();
    (0..times).for_each(|_| work());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

fn order(key: &SecretKey) -> Order {
    let buffer = |name: &str| Buffer {
        name: name.to_owned(),
        bytes: Bytes(4_096),
        init: Init::Zero,
        element: Element::F32,
        shape: vec![1_024],
        output: true,
    };
    let launch = Launch {
        module: 0,
        kernel: "saxpy".to_owned(),
        grid: [4, 1, 1],
        block: [256, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(0), Arg::Buffer(1), Arg::Scalar { element: Element::U32, bits: 1_024 }],
    };
    Order {
        version: ion_protocol::limits::VERSION,
        requester: key.node_id(),
        provider: NodeId([2; 32]),
        job: JobId([3; 16]),
        attempt: Attempt(1),
        advert: DocHash([4; 32]),
        device: 0,
        price_per_second: NanoIo(1_000),
        expires: UnixMillis(1_700_000_000_000),
        spec: JobSpec {
            name: "bench".to_owned(),
            needs: Needs::default(),
            limits: JobLimits { run: Millis(1_000), memory: Bytes(1 << 20), price: NanoIo(1_000) },
            program: Program {
                modules: vec![Module {
                    name: "saxpy.ptx".to_owned(),
                    source: Source::Ptx,
                    blob: ion_protocol::BlobHash([5; 32]),
                    bytes: Bytes(900),
                }],
                buffers: vec![buffer("x"), buffer("y")],
                phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
            },
        },
        keep_states: false,
        inline: Vec::new(),
    }
}
