//! Challenges by peers: when a device takes one, and what it then owes.
//!
//! `running -> committing -> committed -> opening -> shown`. A device takes one while nothing runs on it or waits, and gives
//! all of them together at most [`BUDGET`] in a [`BUDGET_WINDOW`]. It lets one go as soon as a job needs it or its owner
//! takes it back: the challenger is told so, and makes of it what it likes. A challenge that comes again gets the same
//! commitment. Never computes anything itself. Tests: `tests/challenge.rs` of the crate.

use super::Provider;
use crate::{
    deadline::Topic,
    effect::Effect,
    event::Event,
    input::{InboundId, WorkId, WorkReport},
    requester::Cx,
};
use ion_protocol::{
    DocHash, Millis, NodeId, Verified,
    challenge::{
        self, ALLOWANCE, BUDGET, BUDGET_WINDOW, Challenge, Commitment, OpenedRow, Opening, Roots, SHOWN_FOR,
        Shape, TARGET, Unchallenged, time_bound,
    },
    deal::RefusalReason,
    fault::Fault,
    limits,
    message::Response,
    receipt::Output,
};
use std::collections::{BTreeMap, VecDeque};

/// Longer than this a product does not take, by the device's own claim.
const EXPECTED_MAX: Millis = Millis(TARGET.0 + 1_000);

/// What is computed, or was, for challengers.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    of: BTreeMap<WorkId, Proof>,
    /// When a device gave how much time.
    given: VecDeque<(Millis, u16, Millis)>,
}

#[derive(Debug)]
struct Proof {
    challenge: Box<Verified<Challenge>>,
    since: Millis,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Running {
        inbound: InboundId,
        let_go: bool,
    },
    Committing(InboundId, Vec<Output>),
    Committed(Box<Verified<Commitment>>, Vec<Output>),
    Opening {
        inbound: InboundId,
        opening: DocHash,
        commitment: Box<Verified<Commitment>>,
    },
    Shown {
        opening: DocHash,
        answer: Box<Verified<challenge::Answer>>,
        commitment: Box<Verified<Commitment>>,
    },
}

impl Proof {
    fn computes(&self) -> bool {
        matches!(self.step, Step::Running { .. })
    }

    fn commitment(&self) -> Option<&Verified<Commitment>> {
        match &self.step {
            Step::Committed(commitment, _)
            | Step::Opening { commitment, .. }
            | Step::Shown { commitment, .. } => Some(commitment),
            Step::Running { .. } | Step::Committing(..) => None,
        }
    }
}

impl Proofs {
    /// Whether a device computes for a challenger.
    pub(super) fn occupies(&self, device: u16) -> bool {
        self.of.values().any(|proof| proof.computes() && proof.challenge.device == device)
    }

    /// The device is wanted for something better; a repeat changes nothing. It stays taken until its worker is gone.
    pub(super) fn let_go(&mut self, device: u16, cx: &mut Cx<'_>) {
        for (work, proof) in self.of.iter_mut().filter(|(_, proof)| proof.challenge.device == device) {
            if let Step::Running { let_go, .. } = &mut proof.step
                && !std::mem::replace(let_go, true)
            {
                cx.out.push(Effect::StopWork(*work));
                cx.out.event(Event::ChallengeLetGo { challenger: proof.challenge.challenger, device });
            }
        }
    }

    /// What was committed to for this very challenge.
    fn repeat(&self, challenge: &Verified<Challenge>) -> Option<&Verified<Commitment>> {
        let same = self.of.values().find(|proof| proof.challenge.hash() == challenge.hash());
        same.and_then(Proof::commitment)
    }

    /// How long until a device has so much time for challenges again.
    fn wait(&self, device: u16, time: Millis, now: Millis) -> Option<Millis> {
        let given = self
            .given
            .iter()
            .filter(|(at, whose, _)| *whose == device && at.saturating_add(BUDGET_WINDOW) > now);
        let mut sum = given.clone().fold(time, |sum, (.., time)| sum.saturating_add(*time));
        let mut until = Millis::ZERO;
        for (at, _, time) in given {
            if sum <= BUDGET {
                break;
            }
            sum = sum.saturating_sub(*time);
            until = at.saturating_add(BUDGET_WINDOW);
        }
        (until > now).then(|| until.saturating_sub(now))
    }

    fn gave(&mut self, device: u16, time: Millis, now: Millis) {
        self.given.retain(|(at, ..)| at.saturating_add(BUDGET_WINDOW) > now);
        self.given.push_back((now, device, time));
    }
}

impl Provider {
    /// A peer challenges a device.
    pub(crate) fn challenged(
        &mut self,
        from: NodeId,
        inbound: InboundId,
        challenge: Box<Verified<Challenge>>,
        cx: &mut Cx<'_>,
    ) {
        if let Some(commitment) = self.proofs.repeat(&challenge) {
            return cx.out.answer(inbound, Response::Committed(commitment.signed().clone()));
        }
        match self.takes(from, &challenge, cx) {
            Ok(()) => {
                let device = challenge.device;
                // Late is for the challenger to say; a second later nobody waits any more.
                let limit = challenge.bound.saturating_add(ALLOWANCE);
                let work = cx.out.prove(device, Box::new(challenge.body().clone()), limit);
                let proof =
                    Proof { challenge, since: cx.now.mono, step: Step::Running { inbound, let_go: false } };
                self.proofs.of.insert(work, proof);
                cx.out.event(Event::ChallengeTaken { challenger: from, device });
            }
            Err(reason) => cx.out.refuse(inbound, reason),
        }
    }

    fn takes(&self, from: NodeId, challenge: &Challenge, cx: &Cx<'_>) -> Result<(), RefusalReason> {
        let no = |why| RefusalReason::Challenge { why };
        if challenge.provider != cx.out.me || challenge.challenger != from {
            return Err(RefusalReason::NotForMe);
        }
        if self.drain.is_some() {
            return Err(RefusalReason::Draining);
        }
        let index = challenge.device;
        let device = self.devices.iter().find(|device| device.index == index);
        let device = device.ok_or(RefusalReason::NoSuchDevice { device: index })?;
        let (claim, shape) = (device.power.product_mops, challenge.shape);
        let expected = shape.time_at(claim).filter(|time| *time <= EXPECTED_MAX);
        // Any other may take a device a moment, and the processor long to show rows of.
        let fits = Shape::for_claim(device) == Some(shape) && shape.memory() <= device.memory;
        if !fits || time_bound(&shape, claim, challenge.round_trip) != Some(challenge.bound) {
            let what = "the product does not follow from its newest advert".to_owned();
            return Err(no(Unchallenged::Claim { what }));
        }
        let Some(expected) = expected else {
            let what = format!("the product takes longer than {EXPECTED_MAX}");
            return Err(no(Unchallenged::Claim { what }));
        };
        if self.running.contains_key(&index) || !self.waiting.is_empty() {
            return Err(no(Unchallenged::InUse));
        }
        // Its advert calls it free all the same, for jobs.
        if self.proofs.occupies(index) {
            return Err(no(Unchallenged::Budget { wait: EXPECTED_MAX }));
        }
        match self.proofs.wait(index, expected, cx.now.mono) {
            Some(wait) => Err(no(Unchallenged::Budget { wait })),
            None => Ok(()),
        }
    }

    /// The device is done, if this is of a challenge.
    pub(crate) fn proved(&mut self, work: WorkId, result: Result<WorkReport, Fault>, cx: &mut Cx<'_>) {
        let Some(proof) = self.proofs.of.get_mut(&work) else { return };
        let Step::Running { inbound, let_go } = proof.step else { return };
        let (device, took) = (proof.challenge.device, cx.now.mono.saturating_sub(proof.since));
        match result {
            // Also where it was let go too late to be stopped.
            Ok(report) => {
                let challenge = Box::new(proof.challenge.body().clone());
                cx.out.push(Effect::Commit { work, challenge, outputs: report.outputs.clone() });
                proof.step = Step::Committing(inbound, report.outputs);
            }
            Err(_) if let_go => self.end(work, inbound, Unchallenged::Withdrawn, cx),
            Err(fault) => self.give_up(work, inbound, &fault.to_string(), cx),
        }
        self.proofs.gave(device, took, cx.now.mono);
    }

    fn give_up(&mut self, work: WorkId, inbound: InboundId, why: &str, cx: &mut Cx<'_>) {
        self.end(work, inbound, Unchallenged::Failed { message: super::admission::bounded(why) }, cx);
    }

    fn end(&mut self, work: WorkId, inbound: InboundId, why: Unchallenged, cx: &mut Cx<'_>) {
        self.proofs.of.remove(&work);
        cx.out.refuse(inbound, RefusalReason::Challenge { why });
    }

    /// Both roots are known.
    pub(crate) fn committed(&mut self, work: WorkId, result: Result<Roots, String>, cx: &mut Cx<'_>) {
        let Some(proof) = self.proofs.of.get_mut(&work) else { return };
        let Step::Committing(inbound, outputs) = &mut proof.step else { return };
        let (inbound, outputs) = (*inbound, std::mem::take(outputs));
        match result {
            Ok(roots) => {
                let (version, provider) = (limits::VERSION, cx.out.me);
                let challenge = proof.challenge.hash();
                let commitment = cx.out.sign(Commitment { version, provider, challenge, roots });
                cx.out.answer(inbound, Response::Committed(commitment.signed().clone()));
                proof.step = Step::Committed(Box::new(commitment), outputs);
                cx.out.deadlines.sooner(Topic::Proofs, cx.now.mono.saturating_add(SHOWN_FOR));
            }
            Err(why) => self.give_up(work, inbound, &why, cx),
        }
    }

    /// The challenger wants to see rows: once, and the same again as often as it asks.
    pub(crate) fn open(
        &mut self,
        from: NodeId,
        inbound: InboundId,
        opening: &Verified<Opening>,
        cx: &mut Cx<'_>,
    ) {
        let unknown = RefusalReason::Challenge { why: Unchallenged::Unknown };
        let asked = self.proofs.of.iter_mut().find(|(_, proof)| {
            let known = match &proof.step {
                Step::Committed(commitment, _) => commitment.hash() == opening.commitment,
                Step::Shown { opening: shown, .. } => *shown == opening.hash(),
                Step::Running { .. } | Step::Committing(..) | Step::Opening { .. } => false,
            };
            known && proof.challenge.challenger == from && opening.challenger == from
        });
        let Some((work, proof)) = asked else { return cx.out.refuse(inbound, unknown) };
        match &mut proof.step {
            Step::Committed(commitment, outputs) => {
                let (challenge, outputs) =
                    (Box::new(proof.challenge.body().clone()), std::mem::take(outputs));
                cx.out.push(Effect::OpenRows { work: *work, challenge, outputs, opening: opening.seed });
                let (opening, commitment) = (opening.hash(), commitment.clone());
                proof.step = Step::Opening { inbound, opening, commitment };
            }
            Step::Shown { answer, .. } => cx.out.answer(inbound, Response::Shown(answer.signed().clone())),
            Step::Running { .. } | Step::Committing(..) | Step::Opening { .. } => {
                cx.out.refuse(inbound, unknown);
            }
        }
    }

    /// The rows are here.
    pub(crate) fn rows_opened(
        &mut self,
        work: WorkId,
        result: Result<Vec<OpenedRow>, String>,
        cx: &mut Cx<'_>,
    ) {
        let Some(proof) = self.proofs.of.get_mut(&work) else { return };
        let Step::Opening { inbound, opening, commitment } = &proof.step else { return };
        let (inbound, opening, commitment) = (*inbound, *opening, commitment.clone());
        match result {
            Ok(rows) => {
                let (version, provider) = (limits::VERSION, cx.out.me);
                let answer = cx.out.sign(challenge::Answer { version, provider, opening, rows });
                cx.out.answer(inbound, Response::Shown(answer.signed().clone()));
                proof.step = Step::Shown { opening, answer: Box::new(answer), commitment };
            }
            Err(why) => self.give_up(work, inbound, &why, cx),
        }
    }

    /// Forgets what nobody asked for in time.
    pub(crate) fn forget_proofs(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let until = |proof: &Proof| {
            let bound = proof.challenge.bound.saturating_add(SHOWN_FOR).saturating_add(ALLOWANCE);
            proof.since.saturating_add(bound)
        };
        self.proofs.of.retain(|_, proof| proof.computes() || until(proof) > now);
        let next = self.proofs.of.values().filter(|proof| !proof.computes()).map(until).min();
        cx.out.deadlines.set(Topic::Proofs, next);
    }
}
