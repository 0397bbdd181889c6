//! The bytes of the wire, in hex with comments. A change here is a change of protocol: raise `limits::VERSION`.

use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, NanoIo, NetworkId, NodeId, Signed, UnixMillis,
    check::{BlockAt, Check},
    codec,
    deal::Acceptance,
    hardware::Engine,
    job::{Arg, Element},
    key::SecretKey,
    limits,
    message::{Frame, LeaseState, Notice, Request, Response},
    receipt::Countersignature,
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
        "0300                                                              ; version
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
const GOLDEN_HASH: &str = "32c565a98ee856ac347a5f99f02b35db0ad52afa1b3056b6ca05743f8b9bcd4e";

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
