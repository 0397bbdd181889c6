//! Documents that must not be believed: every way a signed document can be bad, and mutations at random.

use ion_protocol::{
    Attempt, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, NetworkId, NodeId, Signed, UnixMillis,
    advert::{Advert, AdvertError},
    check::Check,
    codec::{self, CodecError},
    fault::Fault,
    hardware::{ComputeCapability, Device, Engine, MeasuredPower},
    key::{KeyError, SecretKey},
    limits,
    receipt::{Countersignature, Receipt, ReceiptError, SettledReceipt, Status},
    signed::SignedError,
};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn network() -> NetworkId {
    NetworkId::named("documents")
}

fn advert() -> Advert {
    Advert {
        version: limits::VERSION,
        node: key(1).node_id(),
        seq: 1,
        issued: NOW,
        expires: UnixMillis(NOW.0 + 60_000),
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
        region: "eu".to_owned(),
        devices: vec![Device {
            index: 0,
            model: "Test".to_owned(),
            engine: Engine::CpuInterpreter,
            capability: ComputeCapability { major: 7, minor: 5 },
            memory: Bytes(1 << 30),
            nvrtc: true,
            power: MeasuredPower::default(),
        }],
        free: 1,
        queued: 0,
        price_per_second: NanoIo(1_000),
        run_max: Millis(60_000),
        blob_bytes_max: Bytes(1 << 30),
    }
}

fn receipt() -> Receipt {
    Receipt {
        version: limits::VERSION,
        provider: key(1).node_id(),
        requester: key(2).node_id(),
        job: JobId([9; 16]),
        attempt: Attempt(1),
        order: DocHash([8; 32]),
        input_root: [1; 32],
        output_root: [2; 32],
        states: Default::default(),
        device: "Test".to_owned(),
        engine: Engine::CpuInterpreter,
        device_time: Nanos(2_000_000_000),
        price_per_second: NanoIo(1_000),
        price: NanoIo(2_000),
        waited: Millis(0),
        moved: Millis(1),
        ran: Millis(2_000),
        finished: NOW,
        status: Status::Done,
    }
}

fn countersignature(receipt: DocHash) -> Countersignature {
    Countersignature {
        version: limits::VERSION,
        requester: key(2).node_id(),
        provider: key(1).node_id(),
        receipt,
        price: NanoIo(2_000),
        check: Check::NotAsked,
        signed: NOW,
    }
}

#[test]
fn a_good_advert_is_believed() {
    let signed = Signed::sign(advert(), &network(), &key(1)).signed().clone();
    let verified = signed.verify(&network()).expect("a good signature");
    assert_eq!(*verified.body(), advert());
    assert_eq!(verified.check(NOW), Ok(()));
}

#[test]
fn bad_bytes_are_told_apart() {
    let good = Signed::sign(advert(), &network(), &key(1)).signed().clone();
    let with_body =
        |body: Vec<u8>| Signed::<Advert>::from_parts(body, *good.signature()).verify(&network()).unwrap_err();

    let truncated = good.body_bytes()[..good.body_bytes().len() - 1].to_vec();
    assert!(matches!(with_body(truncated), SignedError::Codec(CodecError::Malformed(_))));
    let trailing = [good.body_bytes(), &[0]].concat();
    assert_eq!(with_body(trailing), SignedError::Codec(CodecError::Trailing(1)));
    let oversized = vec![0; limits::ADVERT_BYTES_MAX + 1];
    assert!(matches!(with_body(oversized), SignedError::Codec(CodecError::TooLong { .. })));
    let mut changed = good.body_bytes().to_vec();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(with_body(changed), SignedError::Key(KeyError::Mismatch));

    let mut signature = *good.signature();
    signature[0] ^= 1;
    let forged = Signed::<Advert>::from_parts(good.body_bytes().to_vec(), signature);
    assert_eq!(forged.verify(&network()).unwrap_err(), SignedError::Key(KeyError::Mismatch));

    let other_version = Advert { version: 1, ..advert() };
    let signed = Signed::sign(other_version, &network(), &key(1)).signed().clone();
    assert_eq!(
        signed.verify(&network()).unwrap_err(),
        SignedError::Version { found: 1, expected: limits::VERSION }
    );

    // The signer is whom the body names, so another's body under one's own key fails.
    let stolen = Advert { node: key(1).node_id(), ..advert() };
    let body = codec::encode(&stolen);
    let by_other = Signed::<Advert>::from_parts(body, key(2).sign(b"anything"));
    assert_eq!(by_other.verify(&network()).unwrap_err(), SignedError::Key(KeyError::Mismatch));
}

#[test]
fn an_advert_lives_in_its_own_time_only() {
    let at = |issued: u64, expires: u64| Advert {
        issued: UnixMillis(issued),
        expires: UnixMillis(expires),
        ..advert()
    };
    let now = NOW.0;
    assert_eq!(at(now - 60_000, now).check(NOW), Err(AdvertError::Expired(Millis(0))));
    let ahead = now + limits::CLOCK_SKEW_MS_MAX + 1;
    assert!(matches!(at(ahead, ahead + 1_000).check(NOW), Err(AdvertError::FromTheFuture(_))));
    assert_eq!(at(ahead - 1, ahead + 1_000).check(NOW), Ok(()));
    assert!(matches!(
        at(now, now + limits::ADVERT_LIFE_MS_MAX + 1).check(NOW),
        Err(AdvertError::Life { .. })
    ));
    assert!(matches!(at(now + 10, now + 5).check(NOW), Err(AdvertError::Life { .. })));
    let crowded = Advert { addresses: vec![String::new(); limits::ADDRESSES_MAX + 1], ..advert() };
    assert!(matches!(crowded.check(NOW), Err(AdvertError::TooMuch { what: "addresses", .. })));
}

#[test]
fn random_mutations_never_pass_and_never_panic() {
    const SEED: u64 = 20_261_122;
    let mut rng = fastrand::Rng::with_seed(SEED);
    let good = Signed::sign(receipt(), &network(), &key(1)).signed().clone();
    for round in 0..20_000 {
        let mut body = good.body_bytes().to_vec();
        match rng.u8(0..4) {
            0 => body.truncate(rng.usize(0..body.len())),
            1 => body.extend((0..rng.usize(1..64)).map(|_| rng.u8(..))),
            _ => {
                let at = rng.usize(0..body.len());
                body[at] ^= 1 << rng.u8(0..8);
            }
        }
        let verdict = Signed::<Receipt>::from_parts(body, *good.signature()).verify(&network());
        assert!(verdict.is_err(), "seed {SEED}, round {round}: a mutated receipt passed");
    }
}

#[test]
fn two_halves_prove_a_debt_only_together() {
    let half = Signed::sign(receipt(), &network(), &key(1));
    let settle = |receipt: &Signed<Receipt>, counter: Countersignature, signer: &SecretKey| {
        let counter = Signed::sign(counter, &network(), signer).signed().clone();
        SettledReceipt::verify(&network(), receipt.clone(), counter)
    };
    let good = countersignature(half.hash());
    assert!(settle(half.signed(), good.clone(), &key(2)).is_ok());

    let other_receipt = Countersignature { receipt: DocHash([0; 32]), ..good.clone() };
    assert_eq!(settle(half.signed(), other_receipt, &key(2)), Err(ReceiptError::Disagree("receipt")));
    let cheaper = Countersignature { price: NanoIo(1), ..good.clone() };
    assert_eq!(settle(half.signed(), cheaper, &key(2)), Err(ReceiptError::Disagree("price")));
    let stranger = Countersignature { requester: key(3).node_id(), ..good.clone() };
    assert_eq!(settle(half.signed(), stranger, &key(3)), Err(ReceiptError::Disagree("requester")));

    let greedy = Receipt { price: NanoIo(2_001), ..receipt() };
    let half = Signed::sign(greedy, &network(), &key(1));
    let counter = Countersignature { price: NanoIo(2_001), ..countersignature(half.hash()) };
    assert!(matches!(settle(half.signed(), counter, &key(2)), Err(ReceiptError::Price { .. })));

    let failed = Receipt { status: Status::Failed(Fault::Cancelled), ..receipt() };
    let half = Signed::sign(failed, &network(), &key(1));
    let counter = countersignature(half.hash());
    assert!(
        matches!(settle(half.signed(), counter, &key(2)), Err(ReceiptError::Price { .. })),
        "a failure costs nothing"
    );
}

#[test]
fn a_node_id_is_64_hex_digits() {
    let id = key(1).node_id();
    assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
    let error = "xyz".parse::<NodeId>().unwrap_err();
    assert_eq!(error.to_string(), "`xyz` is not a node id: expected 64 hexadecimal digits");
}
