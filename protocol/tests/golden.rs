//! The bytes of the wire, in hex with comments. A change here is a change of protocol: raise `limits::VERSION`.

use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, Millis, NanoIo, NetworkId, NodeId, Signed, UnixMillis,
    challenge::{
        Answer, Challenge, Commitment, Flaw, Judgement, OpenedRow, Opening, Roots, Shape, Unchallenged,
        Verdict,
    },
    check::{BlockAt, Check},
    codec,
    deal::{Acceptance, Refusal, RefusalReason},
    hardware::{ComputeCapability, Device, Engine, MeasuredPower},
    job::{Arg, Element},
    key::SecretKey,
    limits,
    message::{Frame, LeaseState, Notice, Request, Response},
    receipt::Countersignature,
    signed::Document,
    states::{Kept, States},
};
use sha2::{Digest, Sha256};

/// Joins the hex digits of lines, dropping what follows a `;`.
fn bytes(commented: &str) -> Vec<u8> {
    let digits: String = commented
        .lines()
        .flat_map(|line| line.split(';').next().unwrap_or("").chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    hex::decode(digits).expect("hex digits")
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

#[test]
fn a_progress_notice() {
    let frame = Frame::Notice(Notice::Progress {
        job: JobId([0xab; 16]),
        attempt: Attempt(2),
        state: LeaseState::Running { done: 3, total: 10 },
    });
    let golden = bytes(
        "02000000                          ; Frame::Notice
         00000000                          ; Notice::Progress
         abababababababababababababababab  ; job
         02000000                          ; attempt
         03000000                          ; LeaseState::Running
         0300000000000000                  ; done
         0a00000000000000                  ; total",
    );
    assert_eq!(hex::encode(codec::encode(&frame)), hex::encode(&golden));
    assert_eq!(codec::decode::<Frame>(&golden, 64), Ok(frame));
}

#[test]
fn a_query_and_its_answer() {
    let query =
        Frame::Request { id: 5, request: Request::Query { job: JobId([1; 16]), attempt: Attempt(1) } };
    let golden = bytes(
        "00000000                          ; Frame::Request
         0500000000000000                  ; id
         02000000                          ; Request::Query
         01010101010101010101010101010101  ; job
         01000000                          ; attempt",
    );
    assert_eq!(hex::encode(codec::encode(&query)), hex::encode(golden));
    let answer = Frame::Response { id: 5, response: Response::Lease(LeaseState::Unknown) };
    let golden = bytes(
        "01000000                          ; Frame::Response
         0500000000000000                  ; id
         03000000                          ; Response::Lease
         00000000                          ; LeaseState::Unknown",
    );
    assert_eq!(hex::encode(codec::encode(&answer)), hex::encode(golden));
}

#[test]
fn arguments_with_a_struct_among_them() {
    let args = vec![
        Arg::Struct { fields: 2 },
        Arg::Buffer(3),
        Arg::Scalar { element: Element::F32, bits: 0x4000_0000 },
        Arg::Buffer(1),
    ];
    let golden = bytes(
        "0400000000000000                  ; so many arguments
         02000000 0200                     ; Arg::Struct, fields: the next two
         00000000 0300                     ; Arg::Buffer
         01000000 08000000                 ; Arg::Scalar, Element::F32
         0000004000000000                  ; bits
         00000000 0100                     ; Arg::Buffer, behind the struct",
    );
    assert_eq!(hex::encode(codec::encode(&args)), hex::encode(&golden));
    assert_eq!(codec::decode::<Vec<Arg>>(&golden, 64), Ok(args));
}

#[test]
fn a_countersignature_and_what_is_signed() {
    let body = Countersignature {
        version: limits::VERSION,
        requester: key().node_id(),
        provider: NodeId([2; 32]),
        receipt: DocHash([3; 32]),
        price: NanoIo(1_000),
        check: Check::Equal { blocks: vec![3, 258], of: 1_024, bytes: Bytes(2_048) },
        signed: UnixMillis(1_700_000_000_000),
    };
    let signed = Signed::sign(body, &NetworkId::named("golden"), &key());
    let golden = bytes(
        "0500                                                              ; version
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c  ; requester
         0202020202020202020202020202020202020202020202020202020202020202  ; provider
         0303030303030303030303030303030303030303030303030303030303030303  ; receipt
         e803000000000000                                                  ; price, nano-IO
         01000000                                                          ; Check::Equal
         0200000000000000                                                  ; blocks, how many
         0300000000000000 0201000000000000                                 ; which
         0004000000000000                                                  ; blocks of the launch
         0008000000000000                                                  ; bytes compared
         0068e5cf8b010000                                                  ; signed, ms since 1970",
    );
    assert_eq!(hex::encode(signed.signed().body_bytes()), hex::encode(golden));
    let network = NetworkId::named("golden").0;
    let preimage = [b"ION1COUNTERSIGN\0".as_slice(), &network, signed.signed().body_bytes()].concat();
    assert_eq!(signed.hash().0, <[u8; 32]>::from(Sha256::digest(&preimage)));
    assert_eq!(signed.hash().to_string(), GOLDEN_HASH);
    assert_eq!(*signed.signed().signature(), key().sign(&preimage));
}

#[test]
fn what_is_committed_to_and_checked_between_launches() {
    let kept = Kept { every: 4, blob: BlobHash([6; 32]), bytes: Bytes(4_096) };
    let golden = bytes(
        "02000000                                                          ; States::Kept
         0400000000000000                                                  ; a row every so many launches
         0606060606060606060606060606060606060606060606060606060606060606  ; blob
         0010000000000000                                                  ; its size",
    );
    assert_eq!(hex::encode(codec::encode(&States::Kept(kept))), hex::encode(golden));
    let check = Check::EqualBetween {
        blocks: vec![BlockAt { launch: 3, block: 258 }],
        of: 1_024,
        launches: 16,
        bytes: Bytes(512),
        passed: 2,
    };
    let golden = bytes(
        "02000000                                                          ; Check::EqualBetween
         0100000000000000                                                  ; blocks, how many
         0300000000000000 0201000000000000                                 ; launch, and which of its blocks
         0004000000000000                                                  ; blocks drawn from
         1000000000000000                                                  ; of so many launches
         0002000000000000                                                  ; bytes compared
         0200000000000000                                                  ; drawn, and nothing to be told",
    );
    assert_eq!(hex::encode(codec::encode(&check)), hex::encode(golden));
}

/// SHA-256 of `"ION1" || "COUNTERSIGN\0" || network || body`.
const GOLDEN_HASH: &str = "e3a2494b3daabe4653fa12b2ac5203c3727a574d32c8a6e4e074a9f3076b2327";

#[test]
fn a_signature_is_of_one_network_and_one_kind_of_document() {
    let body = Acceptance {
        version: limits::VERSION,
        provider: key().node_id(),
        requester: NodeId([2; 32]),
        job: JobId([1; 16]),
        attempt: Attempt(1),
        order: DocHash([4; 32]),
        accepted: UnixMillis(0),
    };
    let here = NetworkId::named("here");
    let signed = Signed::sign(body, &here, &key());
    assert!(signed.signed().clone().verify(&here).is_ok());
    assert!(signed.signed().clone().verify(&NetworkId::named("there")).is_err());
}

#[test]
fn engines_are_numbered_in_order_of_appearance() {
    for (engine, golden) in
        [(Engine::Cuda, "00000000"), (Engine::CpuInterpreter, "01000000"), (Engine::CpuJit, "02000000")]
    {
        assert_eq!(hex::encode(codec::encode(&engine)), golden, "{engine}");
    }
}

#[test]
fn a_device_and_what_was_measured_of_it() {
    let device = Device {
        index: 1,
        model: "X".to_owned(),
        engine: Engine::Cuda,
        capability: ComputeCapability { major: 9, minor: 0 },
        memory: Bytes(4_096),
        nvrtc: true,
        power: MeasuredPower {
            f32_mflops: 1,
            f16_mflops: 2,
            memory_mbps: 3,
            product_mops: 4,
            to_device_mbps: 5,
            from_device_mbps: 6,
        },
    };
    let golden = bytes(
        "0100                              ; index
         0100000000000000 58               ; model
         00000000                          ; Engine::Cuda
         09 00                             ; capability
         0010000000000000                  ; memory
         01                                ; an NVRTC was found
         0100000000000000                  ; f32, 10^6 a second
         0200000000000000                  ; f16
         0300000000000000                  ; its memory
         0400000000000000                  ; product of a challenge
         0500000000000000                  ; to the device
         0600000000000000                  ; and back",
    );
    assert_eq!(hex::encode(codec::encode(&device)), hex::encode(&golden));
    assert_eq!(codec::decode::<Device>(&golden, 128), Ok(device));
}

/// A document of a challenge: its bytes, its way back, and its name, SHA-256 of tag, network and body.
fn golden_document<T>(body: T, tag: &[u8; 12], hash: &str, commented: &str)
where
    T: Document + codec::Encode + codec::Decode<()> + Clone + PartialEq + std::fmt::Debug,
{
    let golden = bytes(commented);
    assert_eq!(hex::encode(codec::encode(&body)), hex::encode(&golden));
    assert_eq!(codec::decode::<T>(&golden, T::BYTES_MAX).as_ref(), Ok(&body));
    assert_eq!(T::TAG, *tag);
    let network = NetworkId::named("golden");
    let signed = Signed::sign(body, &network, &key());
    let preimage = [b"ION1".as_slice(), tag, &network.0, &golden].concat();
    assert_eq!(signed.hash().0, <[u8; 32]>::from(Sha256::digest(preimage)));
    assert_eq!(signed.hash().to_string(), hash);
}

#[test]
fn a_challenge_and_its_commitment() {
    let challenge = Challenge {
        version: limits::VERSION,
        challenger: key().node_id(),
        provider: NodeId([2; 32]),
        device: 1,
        advert: DocHash([3; 32]),
        seed: [4; 32],
        shape: Shape { rows: 64, inner: 32 },
        round_trip: Millis(20),
        bound: Millis(1_020),
        beside: vec![NodeId([5; 32])],
        issued: UnixMillis(1_700_000_000_000),
    };
    golden_document(
        challenge,
        b"CHALLENGE\0\0\0",
        "d015c12ac065587d8a86f7483e88e474d3c02de2eb88706e71cf0b42783eed9e",
        "0500                                                              ; version
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c  ; challenger
         0202020202020202020202020202020202020202020202020202020202020202  ; provider
         0100                                                              ; device
         0303030303030303030303030303030303030303030303030303030303030303  ; advert
         0404040404040404040404040404040404040404040404040404040404040404  ; seed
         40000000 20000000                                                 ; rows, inner
         1400000000000000                                                  ; round trip, ms
         fc03000000000000                                                  ; bound
         0100000000000000                                                  ; beside, how many
         0505050505050505050505050505050505050505050505050505050505050505  ; who
         0068e5cf8b010000                                                  ; issued",
    );
    let commitment = Commitment {
        version: limits::VERSION,
        provider: key().node_id(),
        challenge: DocHash([6; 32]),
        roots: Roots { first: [7; 32], second: [8; 32] },
    };
    golden_document(
        commitment,
        b"COMMITMENT\0\0",
        "2ac56ab69824fb1ea1e9839c6bc805567a79b2738ad86962532ab38afd5e9194",
        "0500                                                              ; version
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c  ; provider
         0606060606060606060606060606060606060606060606060606060606060606  ; challenge
         0707070707070707070707070707070707070707070707070707070707070707  ; first root
         0808080808080808080808080808080808080808080808080808080808080808  ; second root",
    );
}

#[test]
fn an_opening_and_its_answer() {
    let opening = Opening {
        version: limits::VERSION,
        challenger: key().node_id(),
        commitment: DocHash([6; 32]),
        seed: [7; 32],
    };
    golden_document(
        opening,
        b"OPENING\0\0\0\0\0",
        "f7dccbfda1e1ff6f433b96b6fe90595ff0f671bdbf79ddab6926244248a3b740",
        "0500                                                              ; version
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c  ; challenger
         0606060606060606060606060606060606060606060606060606060606060606  ; commitment
         0707070707070707070707070707070707070707070707070707070707070707  ; seed",
    );
    let row = OpenedRow { words: vec![1, 2], first: vec![[9; 32]], second: Vec::new() };
    let answer = Answer {
        version: limits::VERSION,
        provider: key().node_id(),
        opening: DocHash([6; 32]),
        rows: vec![row],
    };
    golden_document(
        answer,
        b"CH-ANSWER\0\0\0",
        "e464942cb631e8770442bf70f8488ee4d524690821462f86bd4f54b50d14e463",
        "0500                                                              ; version
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c  ; provider
         0606060606060606060606060606060606060606060606060606060606060606  ; opening
         0100000000000000                                                  ; rows, how many
         0200000000000000 0102                                             ; its words
         0100000000000000                                                  ; hashes to the first root
         0909090909090909090909090909090909090909090909090909090909090909
         0000000000000000                                                  ; and to the second",
    );
}

#[test]
fn a_verdict_and_every_judgement() {
    let verdict = Verdict {
        version: limits::VERSION,
        challenger: key().node_id(),
        provider: NodeId([2; 32]),
        challenge: DocHash([6; 32]),
        took: Millis(5_000),
        judgement: Judgement::False(Flaw::Product { row: 8 }),
        signed: UnixMillis(1_700_000_000_000),
    };
    golden_document(
        verdict,
        b"VERDICT\0\0\0\0\0",
        "a4a0f81f52cda7c5a0475c029f3bcb026921299e10f467ace817e079b4603076",
        "0500                                                              ; version
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c  ; challenger
         0202020202020202020202020202020202020202020202020202020202020202  ; provider
         0606060606060606060606060606060606060606060606060606060606060606  ; challenge
         8813000000000000                                                  ; took, ms
         04000000 04000000 08000000                                        ; Judgement::False, Flaw::Product, row
         0068e5cf8b010000                                                  ; signed",
    );
    let why = || "no".to_owned();
    for (judgement, golden) in [
        (Judgement::Passed, "00000000"),
        (Judgement::Late, "01000000"),
        (Judgement::GaveUp { why: why() }, "02000000 0200000000000000 6e6f"),
        (Judgement::NotShown { why: why() }, "03000000 0200000000000000 6e6f"),
        (Judgement::False(Flaw::Count { found: 1, expected: 2 }), "04000000 00000000 01000000 02000000"),
        (Judgement::False(Flaw::Length { row: 1, found: 2 }), "04000000 01000000 01000000 02000000"),
        (Judgement::False(Flaw::FirstRoot { row: 1 }), "04000000 02000000 01000000"),
        (Judgement::False(Flaw::SecondRoot { row: 1 }), "04000000 03000000 01000000"),
    ] {
        assert_eq!(hex::encode(codec::encode(&judgement)), hex::encode(bytes(golden)), "{judgement}");
    }
}

#[test]
fn a_challenge_and_a_refusal_of_it_on_the_wire() {
    let body = Opening {
        version: limits::VERSION,
        challenger: key().node_id(),
        commitment: DocHash([6; 32]),
        seed: [7; 32],
    };
    let signed = Signed::sign(body, &NetworkId::named("golden"), &key());
    let frame = Frame::Request { id: 5, request: Request::Open(signed.signed().clone()) };
    let head = bytes(
        "00000000                          ; Frame::Request
         0500000000000000                  ; id
         07000000                          ; Request::Open
         6200000000000000                  ; a signed body, how long",
    );
    let expected =
        [head, signed.signed().body_bytes().to_vec(), signed.signed().signature().to_vec()].concat();
    assert_eq!(hex::encode(codec::encode(&frame)), hex::encode(&expected));
    assert_eq!(codec::decode::<Frame>(&expected, limits::MESSAGE_BYTES_MAX), Ok(frame));

    let refused = |why| Frame::Response {
        id: 5,
        response: Response::Refused(Refusal { reason: RefusalReason::Challenge { why }, advert: None }),
    };
    for (why, golden) in [
        (Unchallenged::InUse, "00000000"),
        (Unchallenged::Withdrawn, "01000000"),
        (Unchallenged::Budget { wait: Millis(9) }, "02000000 0900000000000000"),
        (Unchallenged::Claim { what: "no".to_owned() }, "03000000 0200000000000000 6e6f"),
        (Unchallenged::Unknown, "04000000"),
        (Unchallenged::Failed { message: "no".to_owned() }, "05000000 0200000000000000 6e6f"),
    ] {
        let commented = format!(
            "01000000                      ; Frame::Response
             0500000000000000              ; id
             02000000                      ; Response::Refused
             11000000                          ; RefusalReason::Challenge
             {golden}                      ; why
             00                            ; no advert"
        );
        assert_eq!(
            hex::encode(codec::encode(&refused(why.clone()))),
            hex::encode(bytes(&commented)),
            "{why}"
        );
    }
}
