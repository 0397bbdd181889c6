//! Every kind of bad bytes at the door, and that good ones pass.

use super::*;
use crate::net::tests::samples::*;
use ion_protocol::{
    DocHash,
    deal::{Acceptance, InlineBlob, Refusal},
    message::LeaseState,
};

mod challenge;

const WALL: UnixMillis = UnixMillis(1_800_000_000_000);
const PEER: u8 = 1;
const US: u8 = 2;

fn door() -> Door {
    Door { own: id(US), network: network(), clock: || WALL }
}

fn shifted(by: i64) -> UnixMillis {
    UnixMillis(WALL.0.checked_add_signed(by).unwrap())
}

fn signed<T: Document>(body: T, seed: u8) -> Signed<T> {
    Signed::sign(body, &network(), &key(seed)).signed().clone()
}

fn gossiped(advert: Advert, seed: u8) -> Vec<u8> {
    codec::encode(&signed(advert, seed))
}

fn offence<T>(result: Result<T, Unwanted>) -> Offence {
    match result {
        Err(Unwanted::Offence(offence)) => offence,
        Err(Unwanted::Untimely) => panic!("untimely, no offence"),
        Ok(_) => panic!("it passed"),
    }
}

#[test]
fn a_good_advert_passes() {
    let advert = door().gossip(&gossiped(advert_at(PEER, 5, WALL), PEER)).unwrap();
    assert_eq!((advert.node, advert.seq), (id(PEER), 5));
}

#[test]
fn truncated_trailing_and_oversized_gossip_is_an_offence() {
    let good = gossiped(advert_at(PEER, 1, WALL), PEER);
    for cut in 0..good.len() {
        let offence = offence(door().gossip(&good[..cut]));
        assert!(
            matches!(offence, Offence::Unreadable(_) | Offence::Unbelievable(SignedError::Codec(_))),
            "{cut}: {offence}"
        );
    }
    let mut trailing = good.clone();
    trailing.push(0);
    assert_eq!(offence(door().gossip(&trailing)), Offence::Unreadable(CodecError::Trailing(1)));
    let oversized = vec![0; limits::GOSSIP_BYTES_MAX + 1];
    assert!(matches!(offence(door().gossip(&oversized)), Offence::Unreadable(CodecError::TooLong { .. })));
    let body = vec![0; limits::ADVERT_BYTES_MAX + 1];
    let too_long: Signed<Advert> = Signed::from_parts(body, [0; 64]);
    let offence = offence(door().advert(too_long));
    assert!(matches!(offence, Offence::Unbelievable(SignedError::Codec(CodecError::TooLong { .. }))));
}

#[test]
fn every_flipped_bit_of_an_advert_is_noticed() {
    let good = gossiped(advert_at(PEER, 1, WALL), PEER);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(door().gossip(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn random_bytes_never_pass_or_panic() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..rng.usize(..600)).map(|_| rng.u8(..)).collect();
        assert!(door().gossip(&bytes).is_err(), "seed {seed}");
    }
}

#[test]
fn wrong_version_signature_and_network_are_told_apart() {
    let newer = Advert { version: limits::VERSION + 1, ..advert_at(PEER, 1, WALL) };
    let found = offence(door().advert(signed(newer, PEER)));
    let (newer, ours) = (limits::VERSION + 1, limits::VERSION);
    assert_eq!(found, Offence::Unbelievable(SignedError::Version { found: newer, expected: ours }));

    let good = signed(advert_at(PEER, 1, WALL), PEER);
    let forged = Signed::from_parts(good.body_bytes().to_vec(), [1; 64]);
    assert!(matches!(offence(door().advert(forged)), Offence::Unbelievable(SignedError::Key(_))));

    let elsewhere = Signed::sign(advert_at(PEER, 1, WALL), &NetworkId::named("elsewhere"), &key(PEER));
    let found = offence(door().advert(elsewhere.signed().clone()));
    assert!(matches!(found, Offence::Unbelievable(SignedError::Key(_))));
}

#[test]
fn adverts_out_of_their_time_are_left_out() {
    let skew = limits::CLOCK_SKEW_MS_MAX as i64;
    for (name, issued) in [("future", skew + 1_000), ("expired", -60_001)] {
        let advert = advert_at(PEER, 1, shifted(issued));
        assert_eq!(door().advert(signed(advert, PEER)).err(), Some(Unwanted::Untimely), "{name}");
    }
    for issued in [skew - 1_000, -59_000] {
        assert!(door().advert(signed(advert_at(PEER, 1, shifted(issued)), PEER)).is_ok());
    }
    let immortal =
        Advert { expires: shifted(limits::ADVERT_LIFE_MS_MAX as i64 + 1), ..advert_at(PEER, 1, WALL) };
    assert!(matches!(offence(door().advert(signed(immortal, PEER))), Offence::BadAdvert(_)));
    let crowded = Advert { addresses: vec![String::new(); 9], ..advert_at(PEER, 1, WALL) };
    assert!(matches!(offence(door().advert(signed(crowded, PEER))), Offence::BadAdvert(_)));
}

#[test]
fn an_own_advert_comes_back_whatever_the_clock_says_now() {
    for issued in [-600_000, 600_000] {
        let own = signed(advert_at(US, 1, shifted(issued)), US);
        assert!(door().advert(own).is_ok(), "{issued}");
        let other = signed(advert_at(PEER, 1, shifted(issued)), PEER);
        assert_eq!(door().advert(other).err(), Some(Unwanted::Untimely), "{issued}");
    }
}

#[test]
fn a_replayed_advert_is_known() {
    let (mut replays, now) = (Replays::new(), Instant::now());
    for (seq, expected) in [
        (5, Freshness::New),
        (5, Freshness::Same),
        (4, Freshness::Old),
        (6, Freshness::New),
        (5, Freshness::Old),
        (u64::MAX, Freshness::New),
        (6, Freshness::Old),
    ] {
        assert_eq!(replays.see(&advert_at(PEER, seq, WALL), now), expected, "{seq}");
    }
    assert_eq!(replays.see(&advert_at(US, 1, WALL), now), Freshness::New);
}

#[test]
fn adverts_of_one_node_that_come_too_fast_are_old_whenever_they_say_they_were_signed() {
    let (mut replays, start) = (Replays::new(), Instant::now());
    let mut seq = 0;
    let mut see = |issued: i64, at: Duration, devices: bool| {
        seq += 1;
        let advert = advert_at(PEER, seq, shifted(issued));
        let advert = if devices { advert } else { Advert { devices: Vec::new(), ..advert } };
        replays.see(&advert, start + at) == Freshness::New
    };
    // As if signed over minutes; a third of them back in time, as by a clock that was set.
    let burst = (0..400).filter(|n| see((n % 3 - 1) * 20_000 + n, Duration::ZERO, true)).count();
    assert_eq!(burst, ADVERTS_AT_ONCE as usize);
    assert!(!see(0, ADVERT_EVERY - Duration::from_millis(1), true));
    assert!(see(-20_000, ADVERT_EVERY, true), "a clock that went back is no reason");
    assert!(!see(20_000, ADVERT_EVERY, true));
    // A withdrawal is not held up, but once said it is an advert like any other.
    assert!(see(0, ADVERT_EVERY, false));
    assert!(!see(0, ADVERT_EVERY, false));
    assert!(!see(0, ADVERT_EVERY, true));
    let rested = ADVERT_EVERY * 100;
    assert_eq!((0..400).filter(|_| see(0, rested, true)).count(), ADVERTS_AT_ONCE as usize);
}

#[test]
fn only_its_own_documents_are_taken_from_a_peer() {
    let door = door();
    let (peer, us) = (id(PEER), id(US));
    let later = shifted(10_000);
    assert!(door.question(peer, Request::Order(signed(order_at(PEER, us, later), PEER))).is_ok());
    assert!(door.question(peer, Request::Countersign(signed(countersignature(PEER, us), PEER))).is_ok());
    let delivery = |seed| {
        let receipt = signed(receipt(seed, us), seed);
        Request::Deliver(Delivery { receipt, outputs: Vec::new(), inline: Vec::new() })
    };
    assert!(door.question(peer, delivery(PEER)).is_ok());

    let another = 3;
    for request in [
        Request::Order(signed(order_at(another, us, later), another)),
        Request::Countersign(signed(countersignature(another, us), another)),
        delivery(another),
    ] {
        assert_eq!(door.question(peer, request).err(), Some(Turned::Offence(Offence::WrongSigner)));
    }
    let own_of_another = signed(acceptance(another, us, DocHash([0; 32])), another);
    let answer = door.answer(peer, Question::Order, Response::Accepted(own_of_another));
    assert_eq!(answer.err(), Some(Offence::WrongSigner));
    let forged: Signed<Acceptance> = Signed::from_parts(vec![1, 2, 3], [0; 64]);
    let answer = door.answer(peer, Question::Order, Response::Accepted(forged));
    assert!(matches!(answer.err(), Some(Offence::Unbelievable(_))));
}

#[test]
fn orders_out_of_their_time_are_refused_and_no_offence() {
    let (peer, us) = (id(PEER), id(US));
    let ask = |expires| door().question(peer, Request::Order(signed(order_at(PEER, us, expires), PEER)));
    // A clock behind ours is no fault, as far as clocks may differ.
    let skew = limits::CLOCK_SKEW_MS_MAX as i64;
    assert!(ask(shifted(1 - skew)).is_ok());
    assert!(ask(WALL).is_ok());
    assert_eq!(ask(shifted(-skew)).err(), Some(Turned::Refused(RefusalReason::Expired)));
    assert_eq!(ask(UnixMillis(0)).err(), Some(Turned::Refused(RefusalReason::Expired)));
    let life = (limits::ORDER_LIFE_MS_MAX + limits::CLOCK_SKEW_MS_MAX) as i64;
    assert!(ask(shifted(life)).is_ok());
    assert!(matches!(ask(shifted(life + 1)).err(), Some(Turned::Refused(RefusalReason::Spec { .. }))));
    assert!(matches!(ask(UnixMillis(u64::MAX)).err(), Some(Turned::Refused(RefusalReason::Spec { .. }))));
}

#[test]
fn too_much_is_an_offence() {
    let (peer, us) = (id(PEER), id(US));
    let inline = vec![InlineBlob { bytes: vec![0; limits::INLINE_BYTES_MAX + 1] }];
    let order = Order { inline: inline.clone(), ..order_at(PEER, us, shifted(1_000)) };
    let found = door().question(peer, Request::Order(signed(order, PEER)));
    assert!(matches!(found.err(), Some(Turned::Offence(Offence::TooMuch { .. }))));
    let delivery = Delivery { receipt: signed(receipt(PEER, us), PEER), outputs: Vec::new(), inline };
    let found = door().question(peer, Request::Deliver(delivery));
    assert!(matches!(found.err(), Some(Turned::Offence(Offence::TooMuch { .. }))));

    let adverts = vec![signed(advert_at(PEER, 1, WALL), PEER); limits::ADVERTS_PER_ANSWER_MAX + 1];
    let found = door().answer(peer, Question::Adverts, Response::Adverts(adverts));
    assert!(matches!(found.err(), Some(Offence::TooMuch { .. })));
    let message = "x".repeat(limits::TEXT_BYTES_MAX + 1);
    let refusal = Refusal { reason: RefusalReason::Spec { message }, advert: None };
    let found = door().answer(peer, Question::Order, Response::Refused(refusal));
    assert!(matches!(found.err(), Some(Offence::TooMuch { .. })));
    match door().question(peer, Request::Adverts { max: u16::MAX }) {
        Ok(Asked::Adverts { max }) => assert_eq!(usize::from(max), limits::ADVERTS_PER_ANSWER_MAX),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_fits_its_question() {
    let (peer, us) = (id(PEER), id(US));
    let answers = || {
        [
            Response::Adverts(Vec::new()),
            Response::Accepted(signed(acceptance(PEER, us, DocHash([0; 32])), PEER)),
            Response::Lease(LeaseState::Unknown),
            Response::Countersigned(signed(countersignature(PEER, us), PEER)),
            Response::Noted,
            Response::Refused(Refusal { reason: RefusalReason::Overloaded, advert: None }),
        ]
    };
    for (question, fits) in [
        (Question::Adverts, [true, false, false, false, false, true]),
        (Question::Order, [false, true, true, false, false, true]),
        (Question::Query, [false, false, true, false, false, true]),
        (Question::Cancel, [false, false, true, false, false, true]),
        (Question::Deliver, [false, false, false, true, true, true]),
        (Question::Countersign, [false, false, false, false, true, true]),
    ] {
        for (answer, fits) in answers().into_iter().zip(fits) {
            let name = answer_name(&answer);
            let taken = door().answer(peer, question, answer);
            let refused = matches!(taken, Err(Offence::WrongAnswer { .. }));
            assert_eq!(taken.is_ok(), fits, "{question:?} {name}");
            assert_eq!(refused, !fits, "{question:?} {name}");
        }
    }
}

#[test]
fn a_refusals_advert_is_the_refusers_own() {
    let peer = id(PEER);
    let refuse = |seed, issued| {
        let advert = signed(advert_at(seed, 1, shifted(issued)), seed);
        let refusal = Refusal { reason: RefusalReason::Draining, advert: Some(advert) };
        door().answer(peer, Question::Order, Response::Refused(refusal))
    };
    assert!(matches!(refuse(PEER, 0), Ok(Answer::Refused { advert: Some(_), .. })));
    assert!(matches!(refuse(PEER, -100_000), Ok(Answer::Refused { advert: None, .. })));
    assert_eq!(refuse(3, 0).err(), Some(Offence::WrongSigner));
}

#[test]
fn one_stale_advert_does_not_spoil_an_answer() {
    let adverts = vec![
        signed(advert_at(PEER, 1, shifted(-100_000)), PEER),
        signed(advert_at(3, 9, WALL), 3),
        signed(advert_at(US, 2, WALL), US),
    ];
    match door().answer(id(PEER), Question::Adverts, Response::Adverts(adverts)) {
        Ok(Answer::Adverts(good)) => assert_eq!(good.len(), 2),
        other => panic!("{other:?}"),
    }
    let mut forged = vec![signed(advert_at(3, 9, WALL), 3)];
    forged.push(Signed::from_parts(forged[0].body_bytes().to_vec(), [3; 64]));
    let found = door().answer(id(PEER), Question::Adverts, Response::Adverts(forged));
    assert!(matches!(found.err(), Some(Offence::Unbelievable(_))));
}
