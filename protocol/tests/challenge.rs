//! How large a challenge is, what time it leaves, and that its parts hold together in a file.

use ion_protocol::{
    Bytes, Millis, NanoIo, NetworkId, NodeId, Signed, UnixMillis,
    advert::Advert,
    challenge::*,
    codec,
    hardware::{ComputeCapability, Device, Engine, MeasuredPower},
    key::SecretKey,
    limits,
    signed::Document,
};

fn device(memory: Bytes, product_mops: u64) -> Device {
    Device {
        index: 3,
        model: "a device".into(),
        engine: Engine::Cuda,
        capability: ComputeCapability { major: 9, minor: 0 },
        memory,
        nvrtc: false,
        power: MeasuredPower { f32_mflops: 1, memory_mbps: 1, product_mops, ..MeasuredPower::default() },
    }
}

const GIB: u64 = 1 << 30;

#[test]
fn a_product_takes_its_time_and_fits_whatever_is_claimed() {
    for memory in [GIB / 4, GIB, 24 * GIB, 80 * GIB, 1 << 44] {
        for mops in [1, 100, 20_000, 1_000_000, 20_000_000, 1 << 40, u64::MAX] {
            let device = device(Bytes(memory), mops);
            let shape = Shape::for_claim(&device).unwrap();
            shape.check().unwrap();
            assert!(shape.memory() <= device.memory, "{shape:?} for {memory} and {mops}");
            let time = shape.time_at(mops).unwrap();
            // The smallest product is too large for a claim of nearly nothing, and B has to fit as well.
            assert!(mops < 100 || time.0 <= 5_100, "{shape:?} for {memory} and {mops}: {time}");
            let bound = time_bound(&shape, mops, Millis(70)).unwrap();
            assert_eq!(bound, Millis(time.0.saturating_mul(125) / 100).saturating_add(Millis(1_070)));
        }
    }
    assert_eq!(Shape::for_claim(&device(Bytes(GIB), 0)), None);
}

#[test]
fn a_card_is_filled_and_a_processor_has_no_time_to_fill_its_memory() {
    let share = |memory: u64, mops| {
        let shape = Shape::for_claim(&device(Bytes(memory), mops)).unwrap();
        shape.memory().0 * 100 / memory
    };
    assert!((70..=95).contains(&share(79 * GIB, 20_000_000)), "{}", share(79 * GIB, 20_000_000));
    assert!((70..=95).contains(&share(16 * GIB, 10_000_000)), "{}", share(16 * GIB, 10_000_000));
    assert!(share(4 * GIB, 20_000) < 10);
    for (memory, mops) in [(79, 20_000_000), (16, 10_000_000), (4, 20_000)] {
        let shape = Shape::for_claim(&device(Bytes(memory * GIB), mops)).unwrap();
        let time = shape.time_at(mops).unwrap();
        assert!((4_800..=5_000).contains(&time.0), "{shape:?}: {time}");
    }
}

#[test]
fn shapes_beyond_the_limits_are_refused_by_name() {
    let good = Shape { rows: 64, inner: 32 };
    assert_eq!(good.check(), Ok(()));
    for (wrong, named) in [
        (Shape { rows: 0, ..good }, "rows of 0; expected a multiple of 8 from 64 to 67108864"),
        (Shape { rows: 68, ..good }, "rows of 68; "),
        (Shape { rows: u32::MAX, ..good }, "rows of 4294967295; "),
        (Shape { inner: 0, ..good }, "inner columns of 0; expected a multiple of 32 from 32 to 1048576"),
        (Shape { inner: 1 << 21, ..good }, "inner columns of 2097152; "),
    ] {
        let error = wrong.check().unwrap_err().to_string();
        assert!(error.starts_with(named), "{error}");
    }
}

#[test]
fn an_opening_asks_for_different_rows_in_rising_order() {
    let shape = Shape { rows: 1 << 26, inner: 32 };
    let rows = opened_rows(&[1; 32], &shape);
    assert_eq!(rows.len(), OPENED_ROWS);
    assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|row| *row < shape.rows));
    assert_ne!(rows, opened_rows(&[2; 32], &shape));
}

#[test]
fn the_largest_answer_fits() {
    let row = OpenedRow { words: vec![0; ROW_BYTES], first: vec![[0; 32]; 26], second: vec![[0; 32]; 26] };
    let (node, hash) = (NodeId([1; 32]), ion_protocol::DocHash([0; 32]));
    let answer =
        Answer { version: limits::VERSION, provider: node, opening: hash, rows: vec![row; OPENED_ROWS] };
    let bytes = codec::encode(&answer).len();
    assert!(bytes <= Answer::BYTES_MAX && bytes > Answer::BYTES_MAX / 2, "{bytes}");
}

fn keys() -> [SecretKey; 2] {
    [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]))
}

fn network() -> NetworkId {
    NetworkId::named("test")
}

/// A whole transcript, with `change` made to the challenge before it is signed.
fn transcript(change: impl FnOnce(&mut Challenge)) -> Transcript {
    let [challenger, provider] = keys();
    let advert = Advert {
        version: limits::VERSION,
        node: provider.node_id(),
        seq: 1,
        issued: UnixMillis(0),
        expires: UnixMillis(1_000),
        addresses: Vec::new(),
        region: String::new(),
        devices: vec![device(Bytes(GIB), 20_000)],
        free: 1,
        queued: 0,
        price_per_second: NanoIo(1),
        run_max: Millis(1),
        blob_bytes_max: Bytes(1),
    };
    let advert = Signed::sign(advert, &network(), &provider);
    let shape = Shape { rows: 64, inner: 32 };
    let mut challenge = Challenge {
        version: limits::VERSION,
        challenger: challenger.node_id(),
        provider: provider.node_id(),
        device: 3,
        advert: advert.hash(),
        seed: [1; 32],
        shape,
        round_trip: Millis(20),
        bound: time_bound(&shape, 20_000, Millis(20)).unwrap(),
        beside: Vec::new(),
        issued: UnixMillis(5),
    };
    change(&mut challenge);
    let challenge = Signed::sign(challenge, &network(), &challenger);
    let (version, node) = (limits::VERSION, provider.node_id());
    let roots = Roots { first: [1; 32], second: [2; 32] };
    let commitment = Commitment { version, provider: node, challenge: challenge.hash(), roots };
    let commitment = Signed::sign(commitment, &network(), &provider);
    let (asker, opened) = (challenger.node_id(), commitment.hash());
    let opening = Opening { version, challenger: asker, commitment: opened, seed: [9; 32] };
    let opening = Signed::sign(opening, &network(), &challenger);
    let answer = Answer { version, provider: node, opening: opening.hash(), rows: Vec::new() };
    let answer = Signed::sign(answer, &network(), &provider);
    let verdict = Verdict {
        version,
        challenger: asker,
        provider: node,
        challenge: challenge.hash(),
        took: Millis(7),
        judgement: Judgement::Passed,
        signed: UnixMillis(6),
    };
    Transcript {
        advert: advert.signed().clone(),
        challenge: challenge.signed().clone(),
        commitment: Some(commitment.signed().clone()),
        opening: Some(opening.signed().clone()),
        answer: Some(answer.signed().clone()),
        verdict: Signed::sign(verdict, &network(), &challenger).signed().clone(),
    }
}

#[test]
fn a_transcript_holds_together_or_says_where_it_does_not() {
    let whole = transcript(|_| {});
    assert!(whole.clone().verify(&network()).is_ok());
    let short = Transcript { commitment: None, opening: None, answer: None, ..whole.clone() };
    assert!(short.clone().verify(&network()).is_ok(), "silence is a transcript too");

    let other = transcript(|challenge| challenge.seed = [2; 32]);
    let wrong = |transcript: Transcript| transcript.verify(&network()).unwrap_err().to_string();
    let taken = |from: &Transcript| from.clone();
    assert_eq!(
        wrong(Transcript { commitment: taken(&other).commitment, ..whole.clone() }),
        "the commitment does not belong to the challenge"
    );
    assert_eq!(
        wrong(Transcript { opening: taken(&other).opening, ..whole.clone() }),
        "the opening does not belong to the commitment"
    );
    assert_eq!(
        wrong(Transcript { answer: taken(&other).answer, ..whole.clone() }),
        "the answer does not belong to the opening"
    );
    assert_eq!(
        wrong(Transcript { verdict: other.verdict, ..whole.clone() }),
        "the verdict does not belong to the challenge"
    );
    assert_eq!(
        wrong(Transcript { answer: whole.answer.clone(), ..short.clone() }),
        "there is an answer without what it answers"
    );
    assert_eq!(
        wrong(Transcript { opening: whole.opening.clone(), ..short }),
        "there is an opening without what it answers"
    );
    assert_eq!(wrong(transcript(|c| c.device = 0)), "the advert claims no rate for device 0");
    assert_eq!(wrong(transcript(|c| c.bound = Millis(1))), "the bound is 1 ms; the claim gives 1.02 s");
    assert!(wrong(transcript(|c| c.shape.rows = 1)).starts_with("rows of 1;"));
    assert!(matches!(
        whole.verify(&NetworkId::named("other")),
        Err(TranscriptError::Part { part: "advert", .. })
    ));
}
