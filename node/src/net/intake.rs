//! The door. Everything a peer says passes here once: size, encoding, version, network, signature, signer, expiry and
//! sequence are judged at once, and only verified values go on. What the words mean is for the engine.
//!
//! It holds no connection and blocks on nothing; it runs in the task of the connection that causes the work. Bytes from
//! a peer never make it panic, wait or grow. Tests: `intake/tests.rs`.

use super::recent::Recent;
use ion_protocol::{
    Attempt, JobId, Millis, NetworkId, NodeId, Signed, UnixMillis, Verified,
    advert::{Advert, AdvertError},
    challenge::{BESIDE_MAX, Challenge, OPENED_ROWS, Opening, Unchallenged},
    codec::{self, CodecError},
    deal::{InlineBlob, Order, RefusalReason},
    limits,
    message::{Delivery, Notice, Request, Response},
    receipt::{Countersignature, Output, Receipt},
    signed::{Document, SignedError},
};
use ion_scheduler::input::{Answer, InboundId, PeerInput};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Nodes whose newest advert number is remembered against replays.
const REPLAY_NODES_MAX: usize = 8192;
/// Adverts of one node that are taken in a row: what an honest one says in a quarter of a minute, if all of it was held up.
const ADVERTS_AT_ONCE: u32 = 8;
/// And from then on one so often, by our clock: what it says of its own may be anything, and a clock may be set. Honest
/// nodes change theirs every two seconds at most; each one taken is passed on by the whole network.
const ADVERT_EVERY: Duration = Duration::from_millis(500);

/// Something no honest node says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Offence {
    /// Not the one encoding of a message.
    #[error("it sent an unreadable message: {0}")]
    Unreadable(CodecError),
    /// A document that proves nothing.
    #[error("it sent a document that is not to be believed: {0}")]
    Unbelievable(SignedError),
    /// A document of somebody else's where its own was due.
    #[error("it sent a document signed by another node")]
    WrongSigner,
    /// An answer to another question.
    #[error("it answered {question} with {answer}")]
    WrongAnswer {
        /// What was asked.
        question: &'static str,
        /// What came.
        answer: &'static str,
    },
    /// An answer nobody waits for.
    #[error("it answered a question nobody asked")]
    Unasked,
    /// The number of an open question, again.
    #[error("it used the number of an open question again")]
    SameNumber,
    /// A list, text or order over its cap.
    #[error("it sent {what}: {found}; expected at most {expected}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// Found.
        found: usize,
        /// Allowed.
        expected: usize,
    },
    /// An advert that breaks its own rules.
    #[error("it sent an advert that {0}")]
    BadAdvert(AdvertError),
    /// Asks faster than it takes the answers.
    #[error("it does not read what it asks for")]
    DoesNotRead,
}

impl Offence {
    /// How much it weighs; see [`super::conduct`].
    pub fn points(&self) -> u32 {
        match self {
            Offence::Unreadable(_) | Offence::SameNumber | Offence::TooMuch { .. } => 34,
            Offence::Unbelievable(_) | Offence::WrongSigner | Offence::WrongAnswer { .. } => 25,
            Offence::BadAdvert(_) | Offence::DoesNotRead => 10,
            // A late answer looks the same when we have forgotten the question.
            Offence::Unasked => 2,
        }
    }
}

/// Why a question goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// No fault of the peer's; it is told.
    Refused(RefusalReason),
    /// Its fault; counted, and it is told.
    Offence(Offence),
}

impl From<Offence> for Turned {
    fn from(offence: Offence) -> Self {
        Turned::Offence(offence)
    }
}

/// Why an advert goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// Too late, too early or seen; may happen to honest nodes.
    Untimely,
    /// Nobody honest passes it on.
    Offence(Offence),
}

/// What was asked, to know the answer when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Adverts,
    Order,
    Query,
    Deliver,
    Countersign,
    Cancel,
    Challenge,
    Open,
}

impl Question {
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Adverts { .. } => Question::Adverts,
            Request::Order(_) => Question::Order,
            Request::Query { .. } => Question::Query,
            Request::Deliver(_) => Question::Deliver,
            Request::Countersign(_) => Question::Countersign,
            Request::Cancel { .. } => Question::Cancel,
            Request::Challenge(_) => Question::Challenge,
            Request::Open(_) => Question::Open,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Question::Adverts => "a question for adverts",
            Question::Order => "an order",
            Question::Query => "a question after a job",
            Question::Deliver => "a delivery",
            Question::Countersign => "a countersignature",
            Question::Cancel => "a cancellation",
            Question::Challenge => "a challenge",
            Question::Open => "a question for rows",
        }
    }

    /// Whether `response` answers it. Anything may be refused.
    fn admits(self, response: &Response) -> bool {
        match response {
            Response::Refused(_) => true,
            Response::Adverts(_) => self == Question::Adverts,
            Response::Accepted(_) => self == Question::Order,
            Response::Lease(_) => matches!(self, Question::Order | Question::Query | Question::Cancel),
            Response::Countersigned(_) => self == Question::Deliver,
            Response::Noted => matches!(self, Question::Deliver | Question::Countersign),
            Response::Committed(_) => self == Question::Challenge,
            Response::Shown(_) => self == Question::Open,
        }
    }
}

fn answer_name(response: &Response) -> &'static str {
    match response {
        Response::Adverts(_) => "adverts",
        Response::Accepted(_) => "an acceptance",
        Response::Refused(_) => "a refusal",
        Response::Lease(_) => "the state of a lease",
        Response::Countersigned(_) => "a countersignature",
        Response::Noted => "a note",
        Response::Committed(_) => "a commitment",
        Response::Shown(_) => "rows",
    }
}

/// A question that passed; becomes an input once it has a number.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Adverts { max: u16 },
    Order(Box<Verified<Order>>),
    Query { job: JobId, attempt: Attempt },
    Cancel { job: JobId, attempt: Attempt },
    Deliver { receipt: Box<Verified<Receipt>>, outputs: Vec<Output>, inline: Vec<InlineBlob> },
    Countersign(Box<Verified<Countersignature>>),
    Challenge(Box<Verified<Challenge>>),
    Open(Verified<Opening>),
}

impl Asked {
    pub fn into_input(self, inbound: InboundId) -> PeerInput {
        match self {
            Asked::Adverts { max } => PeerInput::AdvertsAsked { inbound, max },
            Asked::Order(order) => PeerInput::Order { inbound, order },
            Asked::Query { job, attempt } => PeerInput::Query { inbound, job, attempt },
            Asked::Cancel { job, attempt } => PeerInput::Cancel { inbound, job, attempt },
            Asked::Deliver { receipt, outputs, inline } => {
                PeerInput::Deliver { inbound, receipt, outputs, inline }
            }
            Asked::Countersign(countersignature) => PeerInput::Countersign { inbound, countersignature },
            Asked::Challenge(challenge) => PeerInput::Challenge { inbound, challenge },
            Asked::Open(opening) => PeerInput::Open { inbound, opening },
        }
    }
}

/// The part of the door that remembers nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub own: NodeId,
    pub network: NetworkId,
    pub clock: fn() -> UnixMillis,
}

impl Door {
    /// Judges a question of `from`, proven by its connection.
    pub fn question(&self, from: NodeId, request: Request) -> Result<Asked, Turned> {
        match request {
            Request::Adverts { max } => {
                Ok(Asked::Adverts { max: max.min(limits::ADVERTS_PER_ANSWER_MAX as u16) })
            }
            Request::Order(order) => self.order(from, order),
            Request::Query { job, attempt } => Ok(Asked::Query { job, attempt }),
            Request::Cancel { job, attempt } => Ok(Asked::Cancel { job, attempt }),
            Request::Deliver(Delivery { receipt, outputs, inline }) => {
                check_count("outputs", outputs.len(), limits::BUFFERS_MAX)?;
                check_inline(&inline)?;
                let receipt = self.own(from, receipt)?;
                Ok(Asked::Deliver { receipt: Box::new(receipt), outputs, inline })
            }
            Request::Countersign(countersignature) => {
                Ok(Asked::Countersign(Box::new(self.own(from, countersignature)?)))
            }
            Request::Challenge(challenge) => self.challenge(from, challenge),
            Request::Open(opening) => Ok(Asked::Open(self.own(from, opening)?)),
        }
    }

    fn order(&self, from: NodeId, order: Signed<Order>) -> Result<Asked, Turned> {
        let order = self.own(from, order)?;
        check_inline(&order.inline)?;
        let wall = (self.clock)();
        // The requester's clock may be behind ours by as much as it may be ahead.
        if order.expires.0.saturating_add(limits::CLOCK_SKEW_MS_MAX) <= wall.0 {
            return Err(Turned::Refused(RefusalReason::Expired));
        }
        let ahead = order.expires.0.saturating_sub(wall.0);
        if ahead > limits::ORDER_LIFE_MS_MAX + limits::CLOCK_SKEW_MS_MAX {
            let message = format!(
                "the order may be accepted for {}; expected at most {}; a clock may be wrong",
                Millis(ahead),
                Millis(limits::ORDER_LIFE_MS_MAX)
            );
            return Err(Turned::Refused(RefusalReason::Spec { message }));
        }
        Ok(Asked::Order(Box::new(order)))
    }

    fn challenge(&self, from: NodeId, challenge: Signed<Challenge>) -> Result<Asked, Turned> {
        let challenge = self.own(from, challenge)?;
        check_count("providers challenged at once", challenge.beside.len(), BESIDE_MAX)?;
        let (issued, wall) = (challenge.issued.0, (self.clock)().0);
        let life = limits::CHALLENGE_LIFE_MS_MAX + limits::CLOCK_SKEW_MS_MAX;
        if issued.saturating_add(life) <= wall || issued > wall.saturating_add(limits::CLOCK_SKEW_MS_MAX) {
            return Err(Turned::Refused(RefusalReason::Expired));
        }
        Ok(Asked::Challenge(Box::new(challenge)))
    }

    /// Judges an answer of `from` to `question`. Adverts out of their time are left out, not held against it.
    pub fn answer(&self, from: NodeId, question: Question, response: Response) -> Result<Answer, Offence> {
        if !question.admits(&response) {
            return Err(Offence::WrongAnswer { question: question.name(), answer: answer_name(&response) });
        }
        match response {
            Response::Adverts(adverts) => {
                check_count("adverts", adverts.len(), limits::ADVERTS_PER_ANSWER_MAX)?;
                let mut good = Vec::with_capacity(adverts.len());
                for advert in adverts {
                    match self.advert(advert) {
                        Ok(advert) => good.push(advert),
                        Err(Unwanted::Untimely) => {}
                        Err(Unwanted::Offence(offence)) => return Err(offence),
                    }
                }
                Ok(Answer::Adverts(good))
            }
            Response::Accepted(acceptance) => Ok(Answer::Accepted(Box::new(self.own(from, acceptance)?))),
            Response::Refused(refusal) => {
                check_refusal(&refusal.reason)?;
                let advert = match refusal.advert.map(|advert| self.advert(advert)) {
                    Some(Ok(advert)) if advert.node == from => Some(Box::new(advert)),
                    Some(Ok(_)) => return Err(Offence::WrongSigner),
                    Some(Err(Unwanted::Offence(offence))) => return Err(offence),
                    Some(Err(Unwanted::Untimely)) | None => None,
                };
                Ok(Answer::Refused { reason: refusal.reason, advert })
            }
            Response::Lease(state) => Ok(Answer::Lease(state)),
            Response::Countersigned(signed) => Ok(Answer::Countersigned(Box::new(self.own(from, signed)?))),
            Response::Noted => Ok(Answer::Noted),
            Response::Committed(commitment) => Ok(Answer::Committed(Box::new(self.own(from, commitment)?))),
            Response::Shown(answer) => {
                let answer = self.own(from, answer)?;
                check_count("rows", answer.rows.len(), OPENED_ROWS)?;
                Ok(Answer::Shown(Box::new(answer)))
            }
        }
    }

    /// A word nobody answers.
    pub fn notice(&self, notice: Notice) -> PeerInput {
        match notice {
            Notice::Progress { job, attempt, state } => PeerInput::Progress { job, attempt, state },
        }
    }

    /// Judges a gossip message.
    pub fn gossip(&self, data: &[u8]) -> Result<Verified<Advert>, Unwanted> {
        let signed: Signed<Advert> = codec::decode(data, limits::GOSSIP_BYTES_MAX)
            .map_err(|error| Unwanted::Offence(Offence::Unreadable(error)))?;
        self.advert(signed)
    }

    /// Judges an advert from anybody.
    pub fn advert(&self, advert: Signed<Advert>) -> Result<Verified<Advert>, Unwanted> {
        let advert =
            advert.verify(&self.network).map_err(|error| Unwanted::Offence(Offence::Unbelievable(error)))?;
        match advert.check((self.clock)()) {
            Ok(()) => Ok(advert),
            // Ours, of before: its number counts, whatever our clock says now.
            Err(AdvertError::Expired(_) | AdvertError::FromTheFuture(_)) if advert.node == self.own => {
                Ok(advert)
            }
            Err(AdvertError::Expired(_) | AdvertError::FromTheFuture(_)) => Err(Unwanted::Untimely),
            Err(error @ (AdvertError::Life { .. } | AdvertError::TooMuch { .. })) => {
                Err(Unwanted::Offence(Offence::BadAdvert(error)))
            }
        }
    }

    /// A document that must be signed by the peer itself.
    fn own<T: Document>(&self, from: NodeId, signed: Signed<T>) -> Result<Verified<T>, Offence> {
        let document = signed.verify(&self.network).map_err(Offence::Unbelievable)?;
        if document.signer() != from {
            return Err(Offence::WrongSigner);
        }
        Ok(document)
    }
}

fn check_count(what: &'static str, found: usize, expected: usize) -> Result<(), Offence> {
    if found > expected { Err(Offence::TooMuch { what, found, expected }) } else { Ok(()) }
}

fn check_inline(inline: &[InlineBlob]) -> Result<(), Offence> {
    check_count("small blobs", inline.len(), limits::BUFFERS_MAX + limits::MODULES_MAX)?;
    let bytes = inline.iter().map(|blob| blob.bytes.len()).sum();
    check_count("bytes in small blobs", bytes, limits::INLINE_BYTES_MAX)
}

fn check_refusal(reason: &RefusalReason) -> Result<(), Offence> {
    let text = match reason {
        RefusalReason::Spec { message }
        | RefusalReason::Delivery { message }
        | RefusalReason::Challenge { why: Unchallenged::Failed { message } } => message.len(),
        RefusalReason::Challenge { why: Unchallenged::Claim { what } } => what.len(),
        RefusalReason::Busy { .. }
        | RefusalReason::Draining
        | RefusalReason::Withheld { .. }
        | RefusalReason::NotAProvider
        | RefusalReason::NotForMe
        | RefusalReason::Expired
        | RefusalReason::Price { .. }
        | RefusalReason::Unmet { .. }
        | RefusalReason::NoSuchDevice { .. }
        | RefusalReason::RunTime { .. }
        | RefusalReason::Room { .. }
        | RefusalReason::Conflict
        | RefusalReason::UnknownJob
        | RefusalReason::Superseded
        | RefusalReason::Challenge {
            why:
                Unchallenged::InUse
                | Unchallenged::Withdrawn
                | Unchallenged::Budget { .. }
                | Unchallenged::Unknown,
        }
        | RefusalReason::Overloaded => 0,
    };
    check_count("bytes of text in a refusal", text, limits::TEXT_BYTES_MAX)
}

/// The part of the door that remembers: the newest advert of each node.
#[derive(Debug)]
pub(super) struct Replays {
    newest: Recent<NodeId, Newest>,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    seq: u64,
    /// Until when its adverts would be used up, were one to come every [`ADVERT_EVERY`].
    spent: Instant,
    /// It offered nothing.
    withdrawn: bool,
}

/// An advert beside the newest seen of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    New,
    Same,
    /// Of a lower number, or too soon after others.
    Old,
}

impl Replays {
    pub fn new() -> Self {
        Self { newest: Recent::new(REPLAY_NODES_MAX) }
    }

    /// Compares, and remembers a new one.
    pub fn see(&mut self, advert: &Advert, now: Instant) -> Freshness {
        let withdrawn = advert.devices.is_empty();
        let newest = self.newest.get(&advert.node);
        match newest {
            Some(newest) if advert.seq < newest.seq => return Freshness::Old,
            Some(newest) if advert.seq == newest.seq => return Freshness::Same,
            Some(_) | None => {}
        }
        let before = newest.map_or(now, |newest| newest.spent.max(now));
        // Who stops offering says so at once, whenever it last said that it offers.
        let free = withdrawn && newest.is_some_and(|newest| !newest.withdrawn);
        let spent = if free { before } else { before + ADVERT_EVERY };
        if spent > now + ADVERT_EVERY * ADVERTS_AT_ONCE {
            return Freshness::Old;
        }
        self.newest.put(advert.node, Newest { seq: advert.seq, spent, withdrawn });
        Freshness::New
    }
}
