//! Challenges of this node's own: devices of peers are held to what their adverts claim.
//!
//! A round has one or more targets. Each is greeted first, which brings a connection and its newest advert, and then asked
//! once more, which measures a round trip. When all are ready, all challenges leave in the same turn, so that a device sold
//! under two names has to do both at once. What is asked and judged is in [`ion_protocol::challenge`].
//!
//! A verdict falls only on who took a challenge and kept it: who refuses at once, lets go for a job, or can't be reached, was
//! not challenged, nor was who is late beside another on what may be the same processor; how often that happened is
//! remembered in [`crate::claims`]. A round is the owner's, or of [`patrol`]. Never computes or checks a product itself. Tests: `tests/challenge.rs` and `tests/patrol.rs` of the crate.

mod patrol;

use crate::{
    claims::Blemish,
    effect::{ChallengeReport, Effect},
    event::Event,
    input::{Answer, CallError, ChallengeId, ChallengeTarget},
    outbox::{Fact, Question},
    requester::Cx,
};
use ion_protocol::{
    Millis, NodeId, Verified,
    advert::Advert,
    challenge::{
        self, BESIDE_MAX, Challenge, Commitment, Flaw, Judgement, Opening, REFUSE_WITHIN, ROUND_TRIP_MAX,
        Shape, Transcript, Unchallenged, Verdict, time_bound,
    },
    codec,
    deal::RefusalReason,
    hardware::Device,
    limits,
    message::Request,
    record::Record,
    signed::{Document, Signed},
};
use patrol::{Patrol, share_processor};
use std::collections::BTreeMap;

/// How long a provider may take to show rows: it computes some of them again.
const SHOW_WITHIN: Millis = Millis(30_000);
/// Rounds at once: an owner waits for each.
const ROUNDS_MAX: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Challenger {
    rounds: BTreeMap<ChallengeId, Vec<Target>>,
    patrol: Patrol,
}

#[derive(Debug)]
struct Target {
    who: ChallengeTarget,
    state: State,
}

#[derive(Debug)]
enum State {
    /// For a connection and its newest advert.
    Greeting,
    /// How long a question takes.
    Measuring(Millis),
    /// All others are waited for.
    Ready {
        round_trip: Millis,
    },
    /// For its commitment.
    Computing(Said),
    /// For its rows.
    Showing(Said),
    /// Whether they are right.
    Judging(Said),
    Over(Result<Box<Transcript>, Declined>),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Declined {
    #[error("{0}")]
    Refused(RefusalReason),
    #[error("it {0}")]
    Silent(CallError),
    #[error("it answered something else")]
    Answered,
    #[error("it offers nothing")]
    NoOffer,
    #[error("it offers no device {0} with a measured rate")]
    NoClaim(u16),
    #[error("it was late beside another that may have the same processor; challenge it alone")]
    Shared,
    #[error("it did not end")]
    Unfinished,
}

/// What was said so far.
#[derive(Debug)]
struct Said {
    advert: Box<Verified<Advert>>,
    /// Another that was asked at the same moment may have the same processor.
    neighbour: bool,
    challenge: Box<Verified<Challenge>>,
    since: Millis,
    took: Millis,
    commitment: Option<Box<Verified<Commitment>>>,
    opening: Option<Box<Verified<Opening>>>,
    answer: Option<Box<Verified<challenge::Answer>>>,
}

impl Challenger {
    /// The owner wants devices challenged, at the same moment.
    pub(crate) fn begin(&mut self, id: ChallengeId, targets: Vec<ChallengeTarget>, cx: &mut Cx<'_>) {
        let refuse = |why: &str| {
            let report = |who: &ChallengeTarget| ChallengeReport {
                provider: who.provider,
                device: who.device,
                result: Err(why.to_owned()),
            };
            Effect::Challenged { challenge: id, reports: targets.iter().map(report).collect() }
        };
        if self.rounds.len() >= ROUNDS_MAX || targets.len() > BESIDE_MAX {
            return cx.out.push(refuse("too many challenges at once"));
        }
        for (at, who) in targets.iter().enumerate() {
            greet(id, at as u16, who, cx);
        }
        let target = |who| Target { who, state: State::Greeting };
        self.rounds.insert(id, targets.into_iter().map(target).collect());
        self.settle(id, cx);
    }

    /// The answer to a question of a round.
    pub(crate) fn answered(
        &mut self,
        (id, at): (ChallengeId, u16),
        result: Result<Answer, CallError>,
        cx: &mut Cx<'_>,
    ) {
        self.turn((id, at), cx, |who, state, cx| match state {
            State::Greeting => match result {
                Ok(_) => {
                    greet(id, at, who, cx);
                    State::Measuring(cx.now.mono)
                }
                Err(error) => declined(who, Declined::Silent(error), cx),
            },
            State::Measuring(since) => match result {
                // It decides how long that takes, and gains no time by it.
                Ok(_) => State::Ready { round_trip: cx.now.mono.saturating_sub(since).min(ROUND_TRIP_MAX) },
                Err(error) => declined(who, Declined::Silent(error), cx),
            },
            State::Computing(said) => computed((id, at), who, said, result, cx),
            State::Showing(said) => shown((id, at), said, result, cx),
            state @ (State::Ready { .. } | State::Judging(_) | State::Over(_)) => state,
        });
        self.settle(id, cx);
    }

    /// Rows were checked.
    pub(crate) fn judged(&mut self, (id, at): (ChallengeId, u16), result: Result<(), Flaw>, cx: &mut Cx<'_>) {
        self.turn((id, at), cx, |_, state, cx| match state {
            State::Judging(said) => match result {
                Ok(()) => over(said, Judgement::Passed, cx),
                Err(flaw) => over(said, Judgement::False(flaw), cx),
            },
            state @ (State::Greeting
            | State::Measuring(_)
            | State::Ready { .. }
            | State::Computing(_)
            | State::Showing(_)
            | State::Over(_)) => state,
        });
        self.settle(id, cx);
    }

    /// What the journal says of a challenge.
    pub(crate) fn restore(record: &Record, cx: &mut Cx<'_>) {
        match record {
            Record::Challenged { device, claim_mops, verdict } => {
                if let Ok(verdict) = codec::decode::<Verdict>(verdict.body_bytes(), Verdict::BYTES_MAX) {
                    let (who, held) = ((verdict.provider, *device), verdict.judgement.is_passed());
                    cx.market.claims.judged(who, *claim_mops, held, verdict.signed);
                }
            }
            Record::ChallengeDeclined { provider, device, slight, wait, at } => {
                let blemish = if *slight { Blemish::Slight } else { Blemish::Plain };
                cx.market.claims.declined((*provider, *device), blemish, *wait, *at);
            }
            Record::JobSubmitted { .. }
            | Record::OrderSigned { .. }
            | Record::AttemptLost { .. }
            | Record::DeliveryFalse { .. }
            | Record::Countersigned { .. }
            | Record::JobEnded { .. }
            | Record::LeaseTaken { .. }
            | Record::ReceiptSigned { .. }
            | Record::ReceiptSettled { .. }
            | Record::LeaseReleased { .. } => {}
        }
    }

    fn turn(
        &mut self,
        (id, at): (ChallengeId, u16),
        cx: &mut Cx<'_>,
        step: impl FnOnce(&ChallengeTarget, State, &mut Cx<'_>) -> State,
    ) {
        let target = self.rounds.get_mut(&id).and_then(|targets| targets.get_mut(usize::from(at)));
        if let Some(Target { who, state }) = target {
            let before = std::mem::replace(state, State::Greeting);
            *state = step(who, before, cx);
        }
    }

    /// Challenges all once all are ready; reports once all are over.
    fn settle(&mut self, id: ChallengeId, cx: &mut Cx<'_>) {
        let Some(targets) = self.rounds.get_mut(&id) else { return };
        let settled = |target: &Target| matches!(target.state, State::Ready { .. } | State::Over(_));
        if targets.iter().all(settled) {
            let ready = |target: &&Target| matches!(target.state, State::Ready { .. });
            let all: Vec<NodeId> = targets.iter().filter(ready).map(|target| target.who.provider).collect();
            for (at, target) in targets.iter_mut().enumerate() {
                if let State::Ready { round_trip } = target.state {
                    let beside = all.iter().filter(|node| **node != target.who.provider).copied().collect();
                    target.state = ask((id, at as u16), &target.who, round_trip, beside, cx);
                }
            }
            note_neighbours(targets);
        }
        if targets.iter().all(|target| matches!(target.state, State::Over(_)))
            && let Some(targets) = self.rounds.remove(&id)
        {
            if self.patrol.round == Some(id) {
                self.patrol.round = None;
                return;
            }
            let reports = targets.into_iter().map(Target::report).collect();
            cx.out.push(Effect::Challenged { challenge: id, reports });
        }
    }
}

impl Target {
    fn report(self) -> ChallengeReport {
        let result = match self.state {
            State::Over(result) => result,
            State::Greeting
            | State::Measuring(_)
            | State::Ready { .. }
            | State::Computing(_)
            | State::Showing(_)
            | State::Judging(_) => Err(Declined::Unfinished),
        };
        let result = result.map_err(|why| why.to_string());
        ChallengeReport { provider: self.who.provider, device: self.who.device, result }
    }
}

/// Finds those that were asked at the same moment and may have one processor.
fn note_neighbours(targets: &mut [Target]) {
    fn asked(target: &Target) -> Option<(&Advert, &Device)> {
        let State::Computing(said) = &target.state else { return None };
        let device = said.advert.devices.iter().find(|device| device.index == target.who.device)?;
        Some((said.advert.body(), device))
    }
    let all: Vec<Option<(&Advert, &Device)>> = targets.iter().map(asked).collect();
    let shares = |n: usize| {
        let others = all.iter().enumerate().filter(|(m, _)| *m != n).filter_map(|(_, other)| *other);
        all[n].is_some_and(|one| others.into_iter().any(|other| share_processor(one, other)))
    };
    let found: Vec<bool> = (0..all.len()).map(shares).collect();
    for (target, shares) in targets.iter_mut().zip(found) {
        if let State::Computing(said) = &mut target.state {
            said.neighbour = shares;
        }
    }
}

/// A small question: its answer brings the provider's own advert first.
fn greet(id: ChallengeId, at: u16, who: &ChallengeTarget, cx: &mut Cx<'_>) {
    let addresses = cx.market.directory.addresses(&who.provider);
    cx.out.call(Question::Challenge(id, at), who.provider, addresses, Request::Adverts { max: 1 });
}

/// Sends the challenge that follows from the target's newest advert.
fn ask(
    (id, at): (ChallengeId, u16),
    who: &ChallengeTarget,
    round_trip: Millis,
    beside: Vec<NodeId>,
    cx: &mut Cx<'_>,
) -> State {
    let offer = cx.market.directory.offers().find(|offer| offer.advert.node == who.provider);
    let Some(advert) = offer.map(|offer| Box::new(offer.advert.clone())) else {
        return declined(who, Declined::NoOffer, cx);
    };
    let device = advert.devices.iter().find(|device| device.index == who.device);
    let claimed = device.and_then(|device| Some((Shape::for_claim(device)?, device.power.product_mops)));
    let bound = claimed.and_then(|(shape, claim)| Some((shape, time_bound(&shape, claim, round_trip)?)));
    let Some((shape, bound)) = bound else {
        return declined(who, Declined::NoClaim(who.device), cx);
    };
    let challenge = cx.out.sign(Challenge {
        version: limits::VERSION,
        challenger: cx.out.me,
        provider: who.provider,
        device: who.device,
        advert: advert.hash(),
        seed: who.seed,
        shape,
        round_trip,
        bound,
        beside,
        issued: cx.now.wall,
    });
    let beside = challenge.beside.len() as u32;
    cx.out.event(Event::Challenging { provider: who.provider, device: who.device, beside, bound });
    let request = Request::Challenge(challenge.signed().clone());
    let addresses = advert.addresses.clone();
    cx.out.call_within(bound, Question::Challenge(id, at), who.provider, addresses, request);
    State::Computing(Said {
        advert,
        neighbour: false,
        challenge: Box::new(challenge),
        since: cx.now.mono,
        took: Millis::ZERO,
        commitment: None,
        opening: None,
        answer: None,
    })
}

/// No verdict; remembered, as far as it was the provider's doing.
fn declined(who: &ChallengeTarget, why: Declined, cx: &mut Cx<'_>) -> State {
    let (provider, device) = (who.provider, who.device);
    let mut advert = cx.market.directory.offers().filter(|offer| offer.advert.node == provider);
    let says_busy = advert.any(|offer| offer.advert.free == 0);
    let blemish = match &why {
        // As far as it goes, and it may go on for long where many challenge.
        Declined::Refused(RefusalReason::Challenge { why: Unchallenged::Budget { wait } }) => {
            Some((Blemish::Slight, Some(*wait)))
        }
        Declined::Refused(RefusalReason::Challenge { why: Unchallenged::InUse }) if says_busy => {
            Some((Blemish::Slight, None))
        }
        Declined::Refused(_)
        | Declined::Silent(CallError::Unreachable(_) | CallError::TimedOut | CallError::Protocol(_))
        | Declined::Answered
        | Declined::Shared => Some((Blemish::Plain, None)),
        Declined::Silent(CallError::Busy)
        | Declined::NoOffer
        | Declined::NoClaim(_)
        | Declined::Unfinished => None,
    };
    if let Some((blemish, wait)) = blemish {
        let (slight, at) = (blemish == Blemish::Slight, cx.now.wall);
        cx.market.claims.declined((provider, device), blemish, wait, at);
        cx.out.record(Fact::Quiet, Record::ChallengeDeclined { provider, device, slight, wait, at });
    }
    cx.out.event(Event::ChallengeDeclined { provider, device, why: why.to_string() });
    State::Over(Err(why))
}

/// A commitment came, or none.
fn computed(
    (id, at): (ChallengeId, u16),
    who: &ChallengeTarget,
    mut said: Said,
    result: Result<Answer, CallError>,
    cx: &mut Cx<'_>,
) -> State {
    said.took = cx.now.mono.saturating_sub(said.since);
    let late = said.took > said.challenge.bound;
    match result {
        Ok(Answer::Committed(commitment)) if commitment.challenge == said.challenge.hash() => {
            let opened = commitment.hash();
            said.commitment = Some(commitment);
            if late {
                return too_late(who, said, cx);
            }
            let (version, challenger) = (limits::VERSION, cx.out.me);
            let opening = cx.out.sign(Opening { version, challenger, commitment: opened, seed: who.opening });
            let request = Request::Open(opening.signed().clone());
            let (to, addresses) = (who.provider, said.advert.addresses.clone());
            cx.out.call_within(SHOW_WITHIN, Question::Challenge(id, at), to, addresses, request);
            said.opening = Some(Box::new(opening));
            State::Showing(said)
        }
        Ok(Answer::Refused { reason, .. }) => {
            let at_once = REFUSE_WITHIN.saturating_add(said.challenge.round_trip);
            match reason {
                RefusalReason::Challenge { why: Unchallenged::Failed { message } } => {
                    over(said, Judgement::GaveUp { why: message }, cx)
                }
                // Whoever sees that it will be late must not get out of it so.
                RefusalReason::Challenge { why: Unchallenged::Withdrawn } if late => too_late(who, said, cx),
                reason @ RefusalReason::Challenge { why: Unchallenged::Withdrawn } => {
                    declined(who, Declined::Refused(reason), cx)
                }
                reason if said.took > at_once => {
                    let why = format!("it refused after {}: {reason}", said.took);
                    over(said, Judgement::GaveUp { why }, cx)
                }
                reason => declined(who, Declined::Refused(reason), cx),
            }
        }
        Err(CallError::TimedOut) => too_late(who, said, cx),
        Ok(_) => declined(who, Declined::Answered, cx),
        Err(error) => declined(who, Declined::Silent(error), cx),
    }
}

/// It had its time. Of two that share a processor, as far as anybody can tell, none is judged by what both did at once.
fn too_late(who: &ChallengeTarget, said: Said, cx: &mut Cx<'_>) -> State {
    if said.neighbour {
        return declined(who, Declined::Shared, cx);
    }
    over(said, Judgement::Late, cx)
}

/// Rows came, or none.
fn shown(
    (id, at): (ChallengeId, u16),
    mut said: Said,
    result: Result<Answer, CallError>,
    cx: &mut Cx<'_>,
) -> State {
    let asked = said.opening.as_ref().zip(said.commitment.as_ref());
    let why = match (result, asked) {
        (Ok(Answer::Shown(answer)), Some((opening, commitment))) if answer.opening == opening.hash() => {
            cx.out.push(Effect::Judge {
                challenge: id,
                target: at,
                asked: Box::new(said.challenge.body().clone()),
                roots: commitment.roots,
                opening: opening.seed,
                rows: answer.rows.clone(),
            });
            said.answer = Some(answer);
            return State::Judging(said);
        }
        (Ok(Answer::Refused { reason, .. }), _) => reason.to_string(),
        (Ok(_), _) => "it answered something else".to_owned(),
        (Err(error), _) => format!("it {error}"),
    };
    over(said, Judgement::NotShown { why }, cx)
}

/// The verdict: signed, written down, and remembered.
fn over(said: Said, judgement: Judgement, cx: &mut Cx<'_>) -> State {
    let (provider, device) = (said.challenge.provider, said.challenge.device);
    let (took, bound, held) = (said.took, said.challenge.bound, judgement.is_passed());
    let verdict = cx.out.sign(Verdict {
        version: limits::VERSION,
        challenger: cx.out.me,
        provider,
        challenge: said.challenge.hash(),
        took,
        judgement: judgement.clone(),
        signed: cx.now.wall,
    });
    let claimed = said.advert.devices.iter().find(|found| found.index == device);
    let claim_mops = claimed.map_or(0, |device| device.power.product_mops);
    let verdict_bytes = verdict.signed().clone();
    cx.out.record(Fact::Quiet, Record::Challenged { device, claim_mops, verdict: verdict_bytes });
    cx.out.event(Event::Challenged { provider, device, judgement, took, bound });
    cx.market.claims.judged((provider, device), claim_mops, held, cx.now.wall);
    fn bytes<T: Document>(document: &Verified<T>) -> Signed<T> {
        document.signed().clone()
    }
    State::Over(Ok(Box::new(Transcript {
        advert: bytes(&said.advert),
        challenge: bytes(&said.challenge),
        commitment: said.commitment.as_deref().map(bytes),
        opening: said.opening.as_deref().map(bytes),
        answer: said.answer.as_deref().map(bytes),
        verdict: bytes(&verdict),
    })))
}
