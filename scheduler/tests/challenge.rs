//! Challenges, one sentence a test: what a challenger makes of each answer, and when a provider takes one.

mod desk;

use desk::{Desk, device, id, order, outputs, sign};
use ion_protocol::{
    Millis, Nanos, NodeId, Verified,
    advert::Advert,
    challenge::{self, *},
    deal::RefusalReason,
    fault::Fault,
    hardware::Engine,
    limits,
    message::{Request, Response},
    record::Record,
};
use ion_scheduler::{
    Config, Effect, Input,
    effect::ChallengeReport,
    event::Event,
    input::{
        Answer, CallError, CallId, ChallengeId, ChallengeTarget, InboundId, OwnerInput, PeerInput, WorkId,
        WorkReport,
    },
    view::Standing,
};

const ROUND: ChallengeId = ChallengeId(1);
const ROOTS: Roots = Roots { first: [1; 32], second: [2; 32] };
const ROUND_TRIP: u64 = 40;

fn target(provider: u8) -> ChallengeTarget {
    ChallengeTarget { provider: id(provider), device: 0, seed: [provider; 32], opening: [9; 32] }
}

/// The calls that went out last: to whom, and what.
fn calls(desk: &Desk) -> Vec<(CallId, NodeId, Request, Millis)> {
    let call = |effect: &Effect| match effect {
        Effect::Call { call, to, request, timeout, .. } => Some((*call, *to, request.clone(), *timeout)),
        _ => None,
    };
    desk.effects.iter().filter_map(call).collect()
}

fn number(provider: NodeId) -> u8 {
    (1..9).find(|n| id(*n) == provider).expect("a known provider")
}

/// A requester whose round with these providers has come to the challenges, which left all at once.
fn asked(providers: &[u8]) -> (Desk, Vec<(CallId, Verified<Challenge>)>) {
    asked_who_offer(providers, |_| {})
}

/// The same, of such offers.
fn asked_who_offer(
    providers: &[u8],
    offer: impl Fn(&mut Advert),
) -> (Desk, Vec<(CallId, Verified<Challenge>)>) {
    let mut desk = Desk::requester();
    providers.iter().for_each(|provider| _ = desk.offer(*provider, &offer));
    let targets = providers.iter().map(|provider| target(*provider)).collect();
    desk.feed(Input::Owner(OwnerInput::Challenge { challenge: ROUND, targets }));
    // A greeting, and a second one whose answer is timed.
    for _ in 0..2 {
        let greetings = calls(&desk);
        assert!(greetings.iter().all(|(_, _, request, _)| *request == Request::Adverts { max: 1 }));
        desk.pass(ROUND_TRIP);
        let mut effects = Vec::new();
        for (call, to, ..) in greetings {
            desk.answer(call, number(to), Ok(Answer::Adverts(Vec::new())));
            effects.append(&mut desk.effects);
        }
        desk.effects = effects;
    }
    let challenge = |(call, _, request, timeout): (CallId, NodeId, Request, Millis)| {
        let Request::Challenge(challenge) = request else { panic!("{request:?}") };
        let challenge = challenge.verify(&Config::default().network).expect("signed");
        assert_eq!((challenge.bound, challenge.round_trip), (timeout, Millis(ROUND_TRIP)));
        (call, challenge)
    };
    let challenges: Vec<_> = calls(&desk).into_iter().map(challenge).collect();
    assert_eq!(challenges.len(), providers.len());
    (desk, challenges)
}

fn commitment(challenge: &Verified<Challenge>) -> Answer {
    let (version, provider) = (limits::VERSION, challenge.provider);
    let commitment = Commitment { version, provider, challenge: challenge.hash(), roots: ROOTS };
    Answer::Committed(Box::new(sign(number(provider), commitment)))
}

/// The provider shows rows, which go to be checked.
fn show(desk: &mut Desk) {
    let (call, to, request, _) = calls(desk).pop().expect("an opening");
    let Request::Open(opening) = request else { panic!("{request:?}") };
    let opening = opening.verify(&Config::default().network).expect("signed");
    let rows = vec![OpenedRow { words: vec![7], first: Vec::new(), second: Vec::new() }];
    let answer = challenge::Answer { version: limits::VERSION, provider: to, opening: opening.hash(), rows };
    desk.answer(call, number(to), Ok(Answer::Shown(Box::new(sign(number(to), answer)))));
    let judge = desk.effects.iter().any(|effect| {
        matches!(effect, Effect::Judge { challenge, target: 0, roots, opening, rows, .. }
            if *challenge == ROUND && *roots == ROOTS && *opening == [9; 32] && rows.len() == 1)
    });
    assert!(judge, "{:?}", desk.effects);
}

fn reports(desk: &Desk) -> Vec<ChallengeReport> {
    let reports = desk.effects.iter().find_map(|effect| match effect {
        Effect::Challenged { challenge, reports } if *challenge == ROUND => Some(reports.clone()),
        _ => None,
    });
    reports.unwrap_or_else(|| panic!("not over: {:?}", desk.effects))
}

/// The verdicts of a round that is over, each from a transcript that holds together.
fn verdicts(desk: &Desk) -> Vec<Verdict> {
    let verdict = |report: ChallengeReport| {
        let verified = report.result.expect("a transcript").verify(&Config::default().network);
        verified.expect("a whole transcript").verdict.body().clone()
    };
    reports(desk).into_iter().map(verdict).collect()
}

fn claim_held(desk: &Desk, provider: u8) -> Option<bool> {
    let offers = desk.engine.offers(desk.now);
    offers.iter().find(|offer| offer.provider == id(provider)).expect("an offer").claim_held
}

#[test]
fn who_computes_in_time_and_shows_right_rows_passes() {
    let (mut desk, challenges) = asked(&[2]);
    let (call, challenge) = &challenges[0];
    assert_eq!((challenge.seed, challenge.beside.len()), ([2; 32], 0));
    assert!(!format!("{:?}", desk.effects).contains("Open("), "nothing of the opening is said before");
    desk.pass(challenge.bound.0).answer(*call, 2, Ok(commitment(challenge)));
    show(&mut desk);
    desk.feed(Input::Judged { challenge: ROUND, target: 0, result: Ok(()) });
    let verdict = &verdicts(&desk)[0];
    assert_eq!((verdict.judgement.clone(), verdict.took), (Judgement::Passed, challenge.bound));
    assert_eq!(claim_held(&desk, 2), Some(true));
    assert!(desk.has_event(|event| matches!(event, Event::Challenged { judgement: Judgement::Passed, .. })));
}

#[test]
fn a_millisecond_beyond_the_bound_is_late_whatever_was_computed() {
    let (mut desk, challenges) = asked(&[2]);
    let (call, challenge) = &challenges[0];
    desk.pass(challenge.bound.0 + 1).answer(*call, 2, Ok(commitment(challenge)));
    assert_eq!(verdicts(&desk)[0].judgement, Judgement::Late);
    assert_eq!(claim_held(&desk, 2), Some(false));

    let (mut desk, challenges) = asked(&[2]);
    desk.pass(challenges[0].1.bound.0).answer(challenges[0].0, 2, Err(CallError::TimedOut));
    assert_eq!(verdicts(&desk)[0].judgement, Judgement::Late, "nothing came at all");
}

/// One device under two names computes one product after the other, each in exactly the time it claims.
#[test]
fn one_device_sold_as_two_passes_alone_and_fails_beside_itself() {
    for provider in [2, 3] {
        let (mut desk, challenges) = asked(&[provider]);
        let (call, challenge) = &challenges[0];
        let time = challenge.shape.time_at(device(0).power.product_mops).unwrap();
        desk.pass(time.0 + ROUND_TRIP).answer(*call, provider, Ok(commitment(challenge)));
        show(&mut desk);
        desk.feed(Input::Judged { challenge: ROUND, target: 0, result: Ok(()) });
        assert_eq!(verdicts(&desk)[0].judgement, Judgement::Passed);
    }

    let (mut desk, challenges) = asked(&[2, 3]);
    let [(first, one), (second, other)] = &challenges[..] else { panic!("two challenges") };
    assert_eq!((&one.beside, &other.beside), (&vec![id(3)], &vec![id(2)]), "both say so");
    let time = one.shape.time_at(device(0).power.product_mops).unwrap();
    desk.pass(time.0 + ROUND_TRIP).answer(*first, 2, Ok(commitment(one)));
    show(&mut desk);
    desk.feed(Input::Judged { challenge: ROUND, target: 0, result: Ok(()) });
    desk.pass(time.0).answer(*second, 3, Ok(commitment(other)));
    let judgements: Vec<_> = verdicts(&desk).into_iter().map(|verdict| verdict.judgement).collect();
    assert_eq!(judgements, [Judgement::Passed, Judgement::Late]);
}

/// Honest neighbours on one machine have one processor, and would fail together what each can do.
#[test]
fn processors_of_one_host_that_are_late_together_get_a_second_date_and_alone_none() {
    let on_one_host = |advert: &mut Advert| {
        advert.devices[0].engine = Engine::CpuJit;
        advert.addresses = vec!["/ip4/10.0.0.9/tcp/4001".to_owned()];
    };
    let (mut desk, challenges) = asked_who_offer(&[2, 3], on_one_host);
    let [(first, one), (second, _)] = &challenges[..] else { panic!("two challenges") };
    desk.pass(one.bound.0 + 1).answer(*first, 2, Ok(commitment(one)));
    assert!(desk.has_event(|event| matches!(event, Event::ChallengeDeclined { .. })));
    desk.answer(*second, 3, Err(CallError::TimedOut));
    for report in reports(&desk) {
        let why = report.result.unwrap_err();
        assert!(why.contains("challenge it alone"), "{why}");
    }
    assert_eq!([2, 3].map(|provider| claim_held(&desk, provider)), [None; 2]);

    // Alone, on hosts of their own, and as cards of one host there is nothing to share.
    let own_host = |advert: &mut Advert| advert.devices[0].engine = Engine::CpuJit;
    let cards = |advert: &mut Advert| advert.addresses = vec!["/ip4/10.0.0.9/tcp/4001".to_owned()];
    let all_are_late = |providers: &[u8], offer: &dyn Fn(&mut Advert)| {
        let (mut desk, challenges) = asked_who_offer(providers, offer);
        for ((call, challenge), provider) in challenges.iter().zip(providers) {
            desk.pass(challenge.bound.0 + 1).answer(*call, *provider, Err(CallError::TimedOut));
        }
        verdicts(&desk).iter().all(|verdict| verdict.judgement == Judgement::Late)
    };
    let alone = all_are_late(&[2], &on_one_host);
    assert!(alone && all_are_late(&[2, 3], &own_host) && all_are_late(&[2, 3], &cards));
}

#[test]
fn false_rows_no_rows_and_giving_up_fail_and_each_says_why() {
    let (mut desk, challenges) = asked(&[2]);
    let (call, challenge) = &challenges[0];
    desk.pass(4_000).answer(*call, 2, Ok(commitment(challenge)));
    show(&mut desk);
    let flaw = Flaw::Product { row: 8 };
    desk.feed(Input::Judged { challenge: ROUND, target: 0, result: Err(flaw) });
    assert_eq!(verdicts(&desk)[0].judgement, Judgement::False(flaw));

    let (mut desk, challenges) = asked(&[2]);
    desk.pass(4_000).answer(challenges[0].0, 2, Ok(commitment(&challenges[0].1)));
    let (call, ..) = calls(&desk)[0];
    desk.answer(call, 2, Err(CallError::TimedOut));
    assert_eq!(
        verdicts(&desk)[0].judgement,
        Judgement::NotShown { why: "it did not answer in time".to_owned() }
    );

    let (mut desk, challenges) = asked(&[2]);
    let failed = RefusalReason::Challenge { why: Unchallenged::Failed { message: "no memory".to_owned() } };
    desk.answer(challenges[0].0, 2, Ok(Answer::Refused { reason: failed, advert: None }));
    assert_eq!(verdicts(&desk)[0].judgement, Judgement::GaveUp { why: "no memory".to_owned() });
}

#[test]
fn a_refusal_is_no_failure_unless_it_comes_late() {
    let busy = || RefusalReason::Challenge { why: Unchallenged::InUse };
    let refused = || Ok(Answer::Refused { reason: busy(), advert: None });
    let (mut desk, challenges) = asked(&[2]);
    desk.pass(500).answer(challenges[0].0, 2, refused());
    assert_eq!(reports(&desk)[0].result.as_ref().unwrap_err(), "it takes no challenge: the device is in use");
    assert_eq!(claim_held(&desk, 2), None);

    let (mut desk, challenges) = asked(&[2]);
    desk.pass(REFUSE_WITHIN.0 + ROUND_TRIP + 1).answer(challenges[0].0, 2, refused());
    assert!(matches!(verdicts(&desk)[0].judgement, Judgement::GaveUp { .. }));

    let (mut desk, challenges) = asked(&[2]);
    desk.pass(3_000).answer(challenges[0].0, 2, Err(CallError::Unreachable("cut".to_owned())));
    assert_eq!(reports(&desk)[0].result.as_ref().unwrap_err(), "it could not be reached (cut)");
}

fn withdrawn() -> Result<Answer, CallError> {
    let why = Unchallenged::Withdrawn;
    Ok(Answer::Refused { reason: RefusalReason::Challenge { why }, advert: None })
}

#[test]
fn letting_go_for_a_job_is_no_failure_unless_it_was_late_by_then() {
    let (mut desk, challenges) = asked(&[2]);
    desk.pass(4_000).answer(challenges[0].0, 2, withdrawn());
    let why = reports(&desk)[0].result.as_ref().unwrap_err().clone();
    assert!(why.contains("the challenge was let go"), "{why}");
    assert_eq!(claim_held(&desk, 2), None);
    assert!(desk.has_event(|event| matches!(event, Event::ChallengeDeclined { .. })));

    let (mut desk, challenges) = asked(&[2]);
    desk.pass(challenges[0].1.bound.0 + 1).answer(challenges[0].0, 2, withdrawn());
    assert_eq!(verdicts(&desk)[0].judgement, Judgement::Late, "whoever is late does not get out of it");
}

/// Each round as it goes where the provider lets go of every challenge.
fn lets_go(desk: &mut Desk, round: u64) {
    let targets = vec![target(2)];
    desk.feed(Input::Owner(OwnerInput::Challenge { challenge: ChallengeId(round), targets }));
    for _ in 0..2 {
        let (call, ..) = calls(desk)[0];
        desk.answer(call, 2, Ok(Answer::Adverts(Vec::new())));
    }
    let (call, ..) = calls(desk)[0];
    desk.answer(call, 2, withdrawn()).disk_works();
}

#[test]
fn who_lets_go_again_and_again_is_worth_less_than_who_was_checked_and_no_less_than_who_failed() {
    let mut desk = Desk::requester();
    // It offers more for the same money than the honest one.
    desk.offer(2, |advert| advert.devices[0].power.f32_mflops = 15_000_000);
    desk.offer(3, |_| {});
    let best = |desk: &Desk| desk.engine.match_spec(&desk::spec(), desk.now).candidates[0].provider;
    for round in 1..=3 {
        assert_eq!(best(&desk), id(2));
        lets_go(&mut desk, round);
    }
    assert_eq!(best(&desk), id(3));
    let offers = desk.engine.offers(desk.now);
    let claim = offers.iter().find(|offer| offer.provider == id(2)).unwrap().claims[0].clone();
    assert_eq!((claim.standing, claim.declined, claim.checked), (Standing::Shy, 3, None));
    let mut spec = desk::spec();
    spec.needs.f32_mflops_min = 12_000_000;
    assert_eq!(best_of(&desk, &spec), Some(id(2)), "it may still be what it says");
    // And a restart makes nobody forget it.
    let mut again = Desk::requester();
    again.engine.restore(desk.journal.clone(), again.now);
    again.offer(2, |_| {});
    let claim = again.engine.offers(again.now)[0].claims[0].clone();
    assert_eq!((claim.standing, claim.declined), (Standing::Shy, 3));
}

fn best_of(desk: &Desk, spec: &ion_protocol::job::JobSpec) -> Option<NodeId> {
    desk.engine.match_spec(spec, desk.now).candidates.first().map(|candidate| candidate.provider)
}

#[test]
fn a_claim_that_did_not_hold_counts_as_none_until_it_does_and_over_a_restart() {
    let (mut desk, challenges) = asked(&[2]);
    // The liar offers more for the same money, and everything goes there first.
    desk.offer(3, |advert| advert.devices[0].power.f32_mflops /= 2);
    let best = |desk: &Desk| desk.engine.match_spec(&desk::spec(), desk.now).candidates[0].provider;
    assert_eq!(best(&desk), id(2));
    desk.pass(challenges[0].1.bound.0).answer(challenges[0].0, 2, Err(CallError::TimedOut)).disk_works();
    assert_eq!(best(&desk), id(3));
    let mut spec = desk::spec();
    spec.needs.f32_mflops_min = 1;
    assert_eq!(desk.engine.match_spec(&spec, desk.now).candidates.len(), 1, "nor does it meet a demand");

    let journal = desk.journal.clone();
    assert!(matches!(journal[..], [Record::Challenged { .. }]), "{journal:?}");
    let mut again = Desk::requester();
    again.engine.restore(journal, again.now);
    again.offer(2, |_| {});
    assert_eq!(claim_held(&again, 2), Some(false));
}

#[test]
fn what_beats_its_data_sheet_counts_as_not_measured() {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| {
        advert.devices[0].model = "NVIDIA GeForce RTX 4090".to_owned();
        advert.devices[0].power.f32_mflops = 400_000_000;
        advert.devices[0].power.product_mops = 40_000_000;
    });
    desk.offer(3, |_| {});
    assert_eq!(best_of(&desk, &desk::spec()), Some(id(3)));
    let mut spec = desk::spec();
    spec.needs.f32_mflops_min = 50_000_000;
    assert_eq!(best_of(&desk, &spec), None, "nor does it meet a demand");
    let offers = desk.engine.offers(desk.now);
    let doubt = &offers.iter().find(|offer| offer.provider == id(2)).unwrap().claims[0].doubt;
    assert_eq!(doubt, "it claims f32 arithmetic at 484 % of what the maker says of such a device");
}

#[test]
fn who_offers_nothing_or_claims_nothing_is_not_challenged() {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.devices[0].power.product_mops = 0);
    let targets = vec![target(2), target(3)];
    desk.feed(Input::Owner(OwnerInput::Challenge { challenge: ROUND, targets }));
    for _ in 0..2 {
        let mut effects = Vec::new();
        for (call, to, ..) in calls(&desk) {
            desk.answer(call, number(to), Ok(Answer::Adverts(Vec::new())));
            effects.append(&mut desk.effects);
        }
        desk.effects = effects;
    }
    let whys: Vec<String> = reports(&desk).into_iter().map(|report| report.result.unwrap_err()).collect();
    assert_eq!(whys, ["it offers no device 0 with a measured rate", "it offers nothing"]);
}

/// A challenge by node 1 of device 0 of the desk's provider, as it follows from its claim.
fn challenge(desk: &Desk, change: impl FnOnce(&mut Challenge)) -> Box<Verified<Challenge>> {
    let device = device(0);
    let shape = Shape::for_claim(&device).unwrap();
    let mut challenge = Challenge {
        version: limits::VERSION,
        challenger: id(1),
        provider: id(2),
        device: 0,
        advert: ion_protocol::DocHash([0; 32]),
        seed: [1; 32],
        shape,
        round_trip: Millis(5),
        bound: time_bound(&shape, device.power.product_mops, Millis(5)).unwrap(),
        beside: Vec::new(),
        issued: desk.now.wall,
    };
    change(&mut challenge);
    Box::new(sign(1, challenge))
}

fn challenged(desk: &mut Desk, change: impl FnOnce(&mut Challenge)) -> (InboundId, Box<Verified<Challenge>>) {
    let (inbound, challenge) = (desk.inbound(), challenge(desk, change));
    desk.peer(1, PeerInput::Challenge { inbound, challenge: challenge.clone() });
    (inbound, challenge)
}

fn proving(desk: &Desk) -> Option<WorkId> {
    desk.effects.iter().find_map(|effect| match effect {
        Effect::Prove { work, device: 0, .. } => Some(*work),
        _ => None,
    })
}

fn response(desk: &Desk, to: InboundId) -> Option<Response> {
    desk.effects.iter().find_map(|effect| match effect {
        Effect::Answer { inbound, response } if *inbound == to => Some(response.clone()),
        _ => None,
    })
}

fn why_not(desk: &Desk, to: InboundId) -> Unchallenged {
    match response(desk, to) {
        Some(Response::Refused(refusal)) => match refusal.reason {
            RefusalReason::Challenge { why } => why,
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

fn report() -> WorkReport {
    WorkReport {
        outputs: outputs(),
        inline: Vec::new(),
        device: "NVIDIA H100".to_owned(),
        engine: Engine::Cuda,
        device_time: Nanos(5_000_000_000),
        ran: Millis(5_000),
        printed: String::new(),
        states: Default::default(),
    }
}

/// Takes a challenge to its commitment, after so long.
fn commit(desk: &mut Desk, took: u64) -> (Box<Verified<Challenge>>, WorkId, Commitment) {
    let (inbound, challenge) = challenged(desk, |_| {});
    let work = proving(desk).unwrap_or_else(|| panic!("not taken: {:?}", desk.effects));
    desk.pass(took).feed(Input::WorkDone { work, result: Ok(report()) });
    assert!(
        desk.effects.iter().any(|effect| matches!(effect, Effect::Commit { work: of, .. } if *of == work))
    );
    desk.feed(Input::Committed { work, result: Ok(ROOTS) });
    let Some(Response::Committed(signed)) = response(desk, inbound) else { panic!("{:?}", desk.effects) };
    (challenge, work, signed.verify(&Config::default().network).unwrap().body().clone())
}

#[test]
fn a_provider_computes_commits_and_shows_rows_once() {
    let mut desk = Desk::provider();
    let (challenge, work, committed) = commit(&mut desk, 5_000);
    assert_eq!((committed.challenge, committed.roots), (challenge.hash(), ROOTS));
    let opening = |seed: u8, from: u8| {
        let commitment = sign(2, committed.clone()).hash();
        sign(from, Opening { version: limits::VERSION, challenger: id(from), commitment, seed: [seed; 32] })
    };
    let open = |desk: &mut Desk, from: u8, opening: Verified<Opening>| {
        let inbound = desk.inbound();
        desk.peer(from, PeerInput::Open { inbound, opening });
        inbound
    };
    let stranger = open(&mut desk, 3, opening(1, 3));
    assert_eq!(why_not(&desk, stranger), Unchallenged::Unknown, "it is the challenger's alone");
    let inbound = open(&mut desk, 1, opening(1, 1));
    assert!(
        desk.effects.iter().any(|e| matches!(e, Effect::OpenRows { opening, .. } if *opening == [1; 32]))
    );
    desk.feed(Input::RowsOpened { work, result: Ok(Vec::new()) });
    let first = response(&desk, inbound);
    assert!(matches!(first, Some(Response::Shown(_))), "{first:?}");
    let again = open(&mut desk, 1, opening(1, 1));
    assert_eq!(response(&desk, again), first, "a repeat gets the same bytes");
    let other = open(&mut desk, 1, opening(2, 1));
    assert_eq!(why_not(&desk, other), Unchallenged::Unknown, "and nobody sees other rows");
    desk.pass(SHOWN_FOR.0 + ALLOWANCE.0 + challenge.bound.0).feed(Input::Tick);
    let late = open(&mut desk, 1, opening(1, 1));
    assert_eq!(why_not(&desk, late), Unchallenged::Unknown);
}

#[test]
fn challenges_never_take_more_than_their_share_of_a_devices_time() {
    let mut desk = Desk::provider();
    let mut given = 0;
    for _ in 0..2 {
        commit(&mut desk, 5_000);
        given += 5_000;
    }
    assert!(given <= BUDGET.0 && BUDGET.0 * 1_000 <= BUDGET_WINDOW.0 * 3);
    let (inbound, _) = challenged(&mut desk, |_| {});
    let Unchallenged::Budget { wait } = why_not(&desk, inbound) else { panic!("no budget") };
    desk.pass(wait.0 - 1);
    let (inbound, _) = challenged(&mut desk, |_| {});
    assert!(matches!(why_not(&desk, inbound), Unchallenged::Budget { wait: Millis(1) }));
    desk.pass(1);
    challenged(&mut desk, |_| {});
    assert!(proving(&desk).is_some());
}

#[test]
fn a_device_takes_no_challenge_that_it_is_not_idle_for_or_that_does_not_follow_from_its_claim() {
    let mut desk = Desk::provider();
    challenged(&mut desk, |_| {});
    assert!(proving(&desk).is_some());
    let (inbound, _) = challenged(&mut desk, |challenge| challenge.seed = [2; 32]);
    assert!(matches!(why_not(&desk, inbound), Unchallenged::Budget { .. }), "one challenge at a time");
    let mut desk = Desk::provider();
    let (ordered, order) = (desk.inbound(), order(desk.now, |_| {}));
    desk.peer(1, PeerInput::Order { inbound: ordered, order: Box::new(order) }).disk_works();
    let (inbound, _) = challenged(&mut desk, |_| {});
    assert_eq!(why_not(&desk, inbound), Unchallenged::InUse);

    for change in [
        (|challenge| challenge.shape.inner *= 2) as fn(&mut Challenge),
        |challenge| challenge.shape.rows = u32::MAX,
        |challenge| challenge.bound = Millis(u64::MAX),
        |challenge| (challenge.round_trip, challenge.bound) = (Millis(u64::MAX), Millis(u64::MAX)),
    ] {
        let mut desk = Desk::provider();
        let (inbound, _) = challenged(&mut desk, change);
        assert!(matches!(why_not(&desk, inbound), Unchallenged::Claim { .. }));
    }
    let mut desk = Desk::provider();
    let (inbound, _) = challenged(&mut desk, |challenge| challenge.device = 7);
    let Some(Response::Refused(refusal)) = response(&desk, inbound) else { panic!("taken") };
    assert_eq!(refusal.reason, RefusalReason::NoSuchDevice { device: 7 });
}

fn stops(desk: &Desk, work: WorkId) -> bool {
    desk.effects.iter().any(|effect| matches!(effect, Effect::StopWork(of) if *of == work))
}

fn runs(desk: &Desk) -> bool {
    desk.effects.iter().any(|effect| matches!(effect, Effect::Work { .. }))
}

#[test]
fn a_job_ends_a_challenge_at_once_and_its_challenger_is_told() {
    let mut desk = Desk::provider();
    let (asked, _) = challenged(&mut desk, |_| {});
    let work = proving(&desk).unwrap();
    assert_eq!(desk.engine.status().free, 1, "it is free for jobs");
    let (inbound, order) = (desk.inbound(), order(desk.now, |_| {}));
    desk.peer(1, PeerInput::Order { inbound, order: Box::new(order) }).disk_works();
    assert!(matches!(response(&desk, inbound), Some(Response::Accepted(_))));
    assert!(stops(&desk, work) && !runs(&desk), "one program a device");
    assert!(desk.has_event(|event| matches!(event, Event::ChallengeLetGo { device: 0, .. })));
    desk.feed(Input::Tick);
    assert!(!stops(&desk, work), "it is told once");
    desk.pass(3).feed(Input::WorkDone { work, result: Err(Fault::Cancelled) });
    assert!(runs(&desk), "{:?}", desk.effects);
    assert_eq!(why_not(&desk, asked), Unchallenged::Withdrawn);
}

#[test]
fn a_job_takes_an_idle_device_before_one_that_computes_for_a_challenge() {
    let mut desk = Desk::provider_with(Config::default(), 2);
    challenged(&mut desk, |_| {});
    let work = proving(&desk).unwrap();
    let (inbound, order) = (desk.inbound(), order(desk.now, |_| {}));
    desk.peer(1, PeerInput::Order { inbound, order: Box::new(order) }).disk_works();
    assert!(runs(&desk) && !stops(&desk, work), "{:?}", desk.effects);
}

#[test]
fn a_challenge_that_comes_again_gets_the_same_commitment() {
    let mut desk = Desk::provider();
    let (challenge, _, committed) = commit(&mut desk, 5_000);
    let inbound = desk.inbound();
    desk.peer(1, PeerInput::Challenge { inbound, challenge });
    let Some(Response::Committed(again)) = response(&desk, inbound) else { panic!("{:?}", desk.effects) };
    assert_eq!(*again.verify(&Config::default().network).unwrap().body(), committed);
    assert!(proving(&desk).is_none(), "nothing is computed twice");
}

#[test]
fn a_device_that_fails_says_so_and_is_free_again() {
    let mut desk = Desk::provider();
    let (inbound, _) = challenged(&mut desk, |_| {});
    let work = proving(&desk).unwrap();
    let fault = Fault::RunTime { limit: Millis(7_000) };
    desk.pass(100).feed(Input::WorkDone { work, result: Err(fault.clone()) });
    assert_eq!(why_not(&desk, inbound), Unchallenged::Failed { message: fault.to_string() });
    challenged(&mut desk, |_| {});
    assert!(proving(&desk).is_some());
}

#[test]
fn the_owner_takes_a_device_back_from_a_challenge_and_its_challenger_is_told() {
    let mut desk = Desk::provider();
    let (inbound, _) = challenged(&mut desk, |_| {});
    let work = proving(&desk).unwrap();
    desk.feed(Input::Owner(OwnerInput::Evict { device: 0 }));
    assert!(stops(&desk, work));
    desk.feed(Input::WorkDone { work, result: Err(Fault::Cancelled) });
    assert_eq!(why_not(&desk, inbound), Unchallenged::Withdrawn);
}
