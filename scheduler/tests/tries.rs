//! What is known of tries that came to nothing: the same before a restart and after it.

mod desk;

use desk::{Desk, JOB, id, receipt, spec};
use ion_protocol::{Attempt, deal::RefusalReason, message::LeaseState};
use ion_scheduler::{
    Config, Effect,
    event::Event,
    input::{Answer, CallError, FetchFault, FetchId, Input, OwnerInput, PeerInput},
    view::AttemptView,
};

/// The tries of the job and what counts against provider 2: now, and after a restart.
fn before_and_after(desk: &mut Desk) -> [(Vec<AttemptView>, u32, u32); 2] {
    let seen = |desk: &mut Desk| {
        let mut tries = desk.engine.job(&JOB).expect("known").attempts;
        // A receipt says the model, an order does not.
        tries.iter_mut().for_each(|tried| tried.model.clear());
        // A rebuilt directory is empty: the offer brings the record of its provider along.
        desk.offer(2, |advert| advert.seq += 1);
        let offers = desk.engine.offers(desk.now);
        let offer = offers.iter().find(|offer| offer.provider == id(2)).expect("known");
        (tries, offer.lost, offer.failed)
    };
    let before = seen(desk);
    desk.pass(10_000).restart(Config::default());
    let asked = desk.calls();
    assert!(asked.is_empty(), "a try that is over is not asked for: {asked:?}");
    [before, seen(desk)]
}

#[test]
fn a_refusal_is_remembered_with_its_reason_and_time_and_counts_against_nobody() {
    let refused = Ok(Answer::Refused { reason: RefusalReason::Draining, advert: None });
    let unreachable = Err(CallError::Unreachable("no route".to_owned()));
    let answers = [(refused, "it is shutting down"), (unreachable, "could not be reached (no route)")];
    for (answer, why) in answers {
        let mut desk = Desk::requester();
        desk.offer(2, |_| {});
        desk.submit(spec(), Vec::new()).disk_works();
        let (call, ..) = desk.order_call();
        let at = desk.now.wall;
        desk.answer(call, 2, answer).disk_works();
        let [before, after] = before_and_after(&mut desk);
        assert_eq!(before, after);
        let ([tried], lost, failed) = (&before.0[..], before.1, before.2) else { panic!("{before:?}") };
        assert_eq!((tried.state.as_str(), tried.ended), ("refused", Some(at)));
        assert!(tried.why.contains(why), "{}", tried.why);
        assert_eq!((lost, failed), (0, 0));
    }
}

#[test]
fn silence_and_a_broken_protocol_are_told_apart_also_after_a_restart() {
    for (silent, lost, failed) in [(true, 1, 0), (false, 0, 1)] {
        let (mut desk, order) = Desk::leased();
        if silent {
            desk.pass(5_000).disk_works();
        } else {
            let mut wrong = receipt(&order);
            wrong.input_root = [0; 32];
            desk.pass(600).deliver(2, wrong, true).disk_works();
        }
        let [before, after] = before_and_after(&mut desk);
        assert_eq!(before, after);
        assert_eq!((before.1, before.2), (lost, failed));
        assert_eq!(before.0[0].state, "lost");
    }
}

fn no_room() -> Result<(), FetchFault> {
    Err(FetchFault::Here("the disk is full".to_owned()))
}

fn fetches(desk: &Desk) -> Vec<FetchId> {
    let fetch = |e: &Effect| if let Effect::Fetch { fetch, .. } = e { Some(*fetch) } else { None };
    desk.effects.iter().filter_map(fetch).collect()
}

#[test]
fn results_that_this_node_has_no_room_for_are_asked_for_again_once_it_has() {
    let (mut desk, order) = Desk::leased();
    desk.pass(600).deliver(2, receipt(&order), false);
    let fetch = fetches(&desk)[0];
    desk.feed(Input::Fetched { fetch, result: no_room() });
    assert!(desk.has_event(|event| matches!(event, Event::NoRoom { .. })));
    assert_eq!(desk.engine.job(&JOB).expect("known").state, "delivering");
    desk.pass(1_000);
    let [again] = fetches(&desk)[..] else { panic!("{:?}", desk.effects) };
    assert_ne!(again, fetch);
    desk.feed(Input::Fetched { fetch: again, result: Ok(()) }).disk_works();
    assert_eq!(desk.engine.job(&JOB).expect("known").state, "done");
}

#[test]
fn who_waits_for_our_disk_in_vain_is_not_to_blame() {
    let (mut desk, order) = Desk::leased();
    desk.pass(600).deliver(2, receipt(&order), false);
    // Ten minutes of a provider's patience, and a look every second.
    let (mut asked, mut told) = (0, 0);
    for _ in 0..2_000 {
        told += usize::from(desk.has_event(|event| matches!(event, Event::NoRoom { .. })));
        match fetches(&desk).pop() {
            Some(fetch) => desk.feed(Input::Fetched { fetch, result: no_room() }),
            None => desk.pass(500).disk_works(),
        };
        asked += fetches(&desk).len();
        if desk.has_event(|event| matches!(event, Event::AttemptLost { .. })) {
            break;
        }
    }
    assert!((550..=600).contains(&asked), "{asked}");
    assert_eq!(told, 1, "once is enough");
    desk.disk_works();
    let [before, after] = before_and_after(&mut desk);
    assert_eq!(before, after);
    let ([tried], lost, failed) = (&before.0[..], before.1, before.2) else { panic!("{before:?}") };
    assert_eq!((tried.state.as_str(), lost, failed), ("lost", 0, 0));
    assert!(tried.why.contains("could not be taken in here: the disk is full"), "{}", tried.why);
}

#[test]
fn the_try_of_a_cancelled_job_is_cancelled_also_after_a_restart() {
    let (mut desk, _) = Desk::leased();
    desk.feed(Input::Owner(OwnerInput::Cancel { job: JOB })).disk_works();
    let [before, after] = before_and_after(&mut desk);
    assert_eq!(before, after);
    assert_eq!(before.0[0].state, "cancelled");
}

#[test]
fn a_try_that_is_live_is_live_after_a_restart_too() {
    let (mut desk, _) = Desk::leased();
    desk.peer(2, PeerInput::Progress { job: JOB, attempt: Attempt(1), state: LeaseState::Waiting });
    desk.restart(Config::default());
    let tried = desk.engine.job(&JOB).expect("known").attempts.remove(0);
    assert_eq!((tried.state.as_str(), tried.ended), ("live", None));
}
