//! What challenges may look like at the door: every kind of bad bytes, and numbers that nobody means.

use super::*;
use ion_protocol::challenge::{Answer as Rows, Commitment, OpenedRow, Roots, Shape};

const NONE: DocHash = DocHash([0; 32]);

fn challenge() -> Challenge {
    Challenge {
        version: limits::VERSION,
        challenger: id(PEER),
        provider: id(US),
        device: 0,
        advert: NONE,
        seed: [1; 32],
        shape: Shape { rows: 64, inner: 32 },
        round_trip: Millis(20),
        bound: Millis(1_020),
        beside: Vec::new(),
        issued: WALL,
    }
}

fn opening() -> Opening {
    Opening { version: limits::VERSION, challenger: id(PEER), commitment: NONE, seed: [1; 32] }
}

fn commitment() -> Commitment {
    let roots = Roots { first: [1; 32], second: [2; 32] };
    Commitment { version: limits::VERSION, provider: id(PEER), challenge: NONE, roots }
}

fn rows(count: usize) -> Rows {
    let row = OpenedRow { words: vec![7; 1_024], first: vec![[1; 32]; 26], second: vec![[2; 32]; 26] };
    Rows { version: limits::VERSION, provider: id(PEER), opening: NONE, rows: vec![row; count] }
}

/// What the door says of a document that a peer brings.
type Brought<T> = fn(Signed<T>) -> Result<(), Offence>;

fn ask(request: Request) -> Result<(), Offence> {
    match door().question(id(PEER), request) {
        Ok(_) => Ok(()),
        Err(Turned::Offence(offence)) => Err(offence),
        Err(Turned::Refused(reason)) => panic!("no fault of the peer's: {reason}"),
    }
}

fn answer(question: Question, response: Response) -> Result<(), Offence> {
    door().answer(id(PEER), question, response).map(drop)
}

/// Every way its bytes or its signature can be bad.
fn is_judged<T: Document + codec::Encode + codec::Decode<()> + Clone>(
    body: T,
    other_version: T,
    bring: Brought<T>,
) {
    let good = signed(body.clone(), PEER);
    assert_eq!(bring(good.clone()), Ok(()));
    let with = |body: Vec<u8>| bring(Signed::from_parts(body, *good.signature())).unwrap_err();
    let bytes = good.body_bytes();
    let step = (bytes.len() / 97).max(1);
    for cut in (0..bytes.len()).step_by(step) {
        let found = with(bytes[..cut].to_vec());
        assert!(matches!(found, Offence::Unbelievable(SignedError::Codec(_))), "{cut}: {found}");
    }
    for at in (0..bytes.len()).step_by(step) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(matches!(with(changed), Offence::Unbelievable(_)), "byte {at}");
    }
    let trailing = Offence::Unbelievable(SignedError::Codec(CodecError::Trailing(1)));
    assert_eq!(with([bytes, &[0]].concat()), trailing);
    let found = with(vec![0; T::BYTES_MAX + 1]);
    assert!(matches!(found, Offence::Unbelievable(SignedError::Codec(CodecError::TooLong { .. }))));

    let (found, expected) = (limits::VERSION + 1, limits::VERSION);
    let offence = Offence::Unbelievable(SignedError::Version { found, expected });
    assert_eq!(bring(signed(other_version, PEER)), Err(offence));
    let forged = Signed::from_parts(bytes.to_vec(), key(US).sign(bytes));
    assert!(matches!(bring(forged), Err(Offence::Unbelievable(SignedError::Key(_)))));
    let elsewhere = Signed::sign(body, &NetworkId::named("elsewhere"), &key(PEER));
    let found = bring(elsewhere.signed().clone());
    assert!(matches!(found, Err(Offence::Unbelievable(SignedError::Key(_)))));
}

#[test]
fn bad_bytes_of_every_document_are_an_offence() {
    let version = limits::VERSION + 1;
    is_judged(challenge(), Challenge { version, ..challenge() }, |signed| ask(Request::Challenge(signed)));
    is_judged(opening(), Opening { version, ..opening() }, |signed| ask(Request::Open(signed)));
    is_judged(commitment(), Commitment { version, ..commitment() }, |signed| {
        answer(Question::Challenge, Response::Committed(signed))
    });
    is_judged(rows(OPENED_ROWS), Rows { version, ..rows(1) }, |signed| {
        answer(Question::Open, Response::Shown(signed))
    });
}

#[test]
fn nobody_brings_what_another_signed() {
    let another = 3;
    let challenge = signed(Challenge { challenger: id(another), ..challenge() }, another);
    assert_eq!(ask(Request::Challenge(challenge)), Err(Offence::WrongSigner));
    let opening = signed(Opening { challenger: id(another), ..opening() }, another);
    assert_eq!(ask(Request::Open(opening)), Err(Offence::WrongSigner));
    let commitment = signed(Commitment { provider: id(another), ..commitment() }, another);
    assert_eq!(answer(Question::Challenge, Response::Committed(commitment)), Err(Offence::WrongSigner));
    let rows = signed(Rows { provider: id(another), ..rows(1) }, another);
    assert_eq!(answer(Question::Open, Response::Shown(rows)), Err(Offence::WrongSigner));
}

#[test]
fn an_old_challenge_is_a_replay_and_one_of_the_future_a_wrong_clock() {
    let ask = |issued| {
        let challenge = signed(Challenge { issued, ..challenge() }, PEER);
        door().question(id(PEER), Request::Challenge(challenge)).map(drop)
    };
    let (life, skew) = (limits::CHALLENGE_LIFE_MS_MAX as i64, limits::CLOCK_SKEW_MS_MAX as i64);
    assert_eq!(ask(shifted(1 - life - skew)), Ok(()));
    assert_eq!(ask(shifted(skew)), Ok(()));
    for out_of_time in [shifted(-life - skew), shifted(skew + 1), UnixMillis(0), UnixMillis(u64::MAX)] {
        assert_eq!(ask(out_of_time), Err(Turned::Refused(RefusalReason::Expired)), "{out_of_time:?}");
    }
}

#[test]
fn lists_beyond_their_caps_are_an_offence() {
    let beside = vec![id(3); BESIDE_MAX + 1];
    let crowded = signed(Challenge { beside, ..challenge() }, PEER);
    assert!(matches!(ask(Request::Challenge(crowded)), Err(Offence::TooMuch { .. })));
    let empty = OpenedRow { words: Vec::new(), first: Vec::new(), second: Vec::new() };
    let many = signed(Rows { rows: vec![empty; OPENED_ROWS + 1], ..rows(0) }, PEER);
    assert!(matches!(answer(Question::Open, Response::Shown(many)), Err(Offence::TooMuch { .. })));
    let message = "x".repeat(limits::TEXT_BYTES_MAX + 1);
    for why in [Unchallenged::Failed { message: message.clone() }, Unchallenged::Claim { what: message }] {
        let refusal = Refusal { reason: RefusalReason::Challenge { why }, advert: None };
        let found = answer(Question::Challenge, Response::Refused(refusal));
        assert!(matches!(found, Err(Offence::TooMuch { .. })));
    }
}

/// Numbers are meaning, which is the engine's: the door passes them on and does not stumble.
#[test]
fn absurd_numbers_pass_unharmed() {
    for (number, time) in [(0, Millis(0)), (u32::MAX, Millis(u64::MAX))] {
        let absurd = Challenge {
            device: u16::MAX,
            shape: Shape { rows: number, inner: number },
            round_trip: time,
            bound: time,
            ..challenge()
        };
        assert_eq!(ask(Request::Challenge(signed(absurd, PEER))), Ok(()));
    }
    let empty = OpenedRow { words: Vec::new(), first: Vec::new(), second: Vec::new() };
    let none = signed(Rows { rows: vec![empty], ..rows(0) }, PEER);
    assert_eq!(answer(Question::Open, Response::Shown(none)), Ok(()));
}

#[test]
fn each_answer_fits_its_question_only() {
    let rows = || Response::Shown(signed(rows(1), PEER));
    let commitment = || Response::Committed(signed(commitment(), PEER));
    for (question, response) in [
        (Question::Challenge, rows()),
        (Question::Open, commitment()),
        (Question::Order, commitment()),
        (Question::Challenge, Response::Noted),
    ] {
        assert!(matches!(answer(question, response), Err(Offence::WrongAnswer { .. })), "{question:?}");
    }
}
