//! A challenge: a peer holds a provider's device to the rate its advert claims, and what came of it is a file that anybody
//! can check.
//!
//! ```text
//! challenger  Challenge    a seed, how large a product, by when                 (quotes the advert's claim)
//! provider    Commitment   two Merkle roots over the product                    within the bound, or it is late
//! challenger  Opening      which rows to show: a seed drawn after that
//! provider    Answer       those rows of the product, with their paths
//! challenger  Verdict      how long it took, and what the checks showed
//! ```
//! The product is C = A B of words modulo 2^32, A and B made from the seed; only the device computes it. The first root
//! commits to all rows of C, the second to the same rows hashed again under the first root as key: who did not keep C has
//! to compute it twice, and is late. What is checked and what it is worth: `ion_gpu::challenge`.
//!
//! Owns the documents, how large a product is, and the time bound. Never computes a product. Tests: `tests/challenge.rs`.

mod shape;
pub mod tree;

pub use shape::{MATRIX_WIDTH, ROW_BYTES, Shape, ShapeError};

use crate::{
    advert::Advert,
    codec::{Decode, Encode},
    ids::{DocHash, NetworkId, NodeId},
    limits,
    signed::{Document, Signed, SignedError, Verified, tag},
    units::{Millis, UnixMillis},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};
use tree::Hash;

/// How long a product should take at the claimed rate: far above any round trip.
pub const TARGET: Millis = Millis(5_000);
/// Of the time the claim gives, what may be used, in percent.
const PATIENCE_PERCENT: u64 = 125;
/// Beside it and the round trip, for what is no part of the product: handing the job to a worker, translating the
/// kernels, reading the roots back.
pub const ALLOWANCE: Millis = Millis(1_000);
/// Of a measured round trip, what counts at most: twice the longest way around the earth and back. The provider can draw
/// it out, and the challenger says what it likes.
pub const ROUND_TRIP_MAX: Millis = Millis(1_000);
/// Rows that are opened. Whoever left out a fifth of the rows, to be as much faster as the bound forgives, is found out
/// in all but 1 of 1 200 challenges.
pub const OPENED_ROWS: usize = 32;
/// What a device gives to challenges at most, in each [`BUDGET_WINDOW`]: 0.3 % of its time.
pub const BUDGET: Millis = Millis(BUDGET_WINDOW.0 * 3 / 1_000);
/// See [`BUDGET`].
pub const BUDGET_WINDOW: Millis = Millis(3_600_000);
/// A provider that does not take a challenge says so within this and a round trip; later, it has tried and failed.
pub const REFUSE_WITHIN: Millis = Millis(2_000);
/// How long a provider can show rows of what it committed to.
pub const SHOWN_FOR: Millis = Millis(60_000);
/// Providers challenged at the same time.
pub const BESIDE_MAX: usize = 16;

/// Compute this, by then.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Challenge {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who asks and signs.
    pub challenger: NodeId,
    /// Who shall compute.
    pub provider: NodeId,
    /// On which of its devices, by the index in its advert.
    pub device: u16,
    /// The advert whose claim is held against it.
    pub advert: DocHash,
    /// What A and B are made from; nobody knew it before.
    #[serde(with = "crate::ids::hex_root")]
    pub seed: [u8; 32],
    /// How large the product is.
    pub shape: Shape,
    /// A round trip to the provider, measured just before.
    #[serde(rename = "round_trip_ms")]
    pub round_trip: Millis,
    /// From sending this to holding the commitment: [`time_bound`].
    #[serde(rename = "bound_ms")]
    pub bound: Millis,
    /// Who else is challenged at the same moment, at most [`BESIDE_MAX`]: one device sold twice has to do both.
    pub beside: Vec<NodeId>,
    /// When it was signed.
    #[serde(rename = "issued_unix_ms")]
    pub issued: UnixMillis,
}

/// The provider's word before it knows which rows are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Commitment {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who computed and signs.
    pub provider: NodeId,
    /// The challenge, by hash.
    pub challenge: DocHash,
    /// What it computed.
    pub roots: Roots,
}

/// Both roots over the rows of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Roots {
    /// Over their hashes.
    pub first: Hash,
    /// Over their hashes under the first as key.
    pub second: Hash,
}

/// Show these rows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Opening {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who asks and signs.
    pub challenger: NodeId,
    /// The commitment, by hash.
    pub commitment: DocHash,
    /// From it follow the rows and the vectors they are checked with.
    #[serde(with = "crate::ids::hex_root")]
    pub seed: [u8; 32],
}

/// The rows asked for, in rising order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Answer {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who answers and signs.
    pub provider: NodeId,
    /// The opening, by hash.
    pub opening: DocHash,
    /// One for each row of [`opened_rows`].
    pub rows: Vec<OpenedRow>,
}

/// One row of C, and why it is what was committed to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct OpenedRow {
    /// Its words, little-endian: [`ROW_BYTES`].
    pub words: Vec<u8>,
    /// From its hash to the first root, lowest first.
    pub first: Vec<Hash>,
    /// From its keyed hash to the second root.
    pub second: Vec<Hash>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Verdict {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who judges and signs.
    pub challenger: NodeId,
    /// Who was judged.
    pub provider: NodeId,
    /// The challenge, by hash.
    pub challenge: DocHash,
    /// From sending it to holding the commitment, or to giving up; by the challenger's clock.
    #[serde(rename = "took_ms", alias = "took")]
    pub took: Millis,
    /// What was found.
    pub judgement: Judgement,
    /// When it was signed.
    #[serde(rename = "signed_unix_ms", alias = "signed")]
    pub signed: UnixMillis,
}

/// How a challenge ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "judgement")]
pub enum Judgement {
    /// The device did in time what its advert claims.
    Passed,
    /// No commitment came within the bound.
    Late,
    /// It began, and said that it could not finish.
    GaveUp {
        /// Its words, or that it refused later than it may.
        why: String,
    },
    /// It committed, and showed no rows.
    NotShown {
        /// Why, for people.
        why: String,
    },
    /// What it showed is not the product it committed to.
    False(Flaw),
}

/// The first thing that is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "flaw")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Flaw {
    #[error("{found} rows were shown where {expected} were asked for")]
    Count { found: u32, expected: u32 },
    #[error("row {row} has {found} bytes; expected {expected}", expected = ROW_BYTES)]
    Length { row: u32, found: u32 },
    #[error("row {row} is not the one under the first root")]
    FirstRoot { row: u32 },
    #[error("row {row} is not the one under the second root: C was not kept")]
    SecondRoot { row: u32 },
    #[error("row {row} is no row of the product")]
    Product { row: u32 },
}

/// Why a provider does not take a challenge. All but [`Self::Withdrawn`] and [`Self::Failed`] are said at once, before anything
/// is computed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Unchallenged {
    #[error("the device is in use")]
    InUse,
    #[error("a job came, or its owner wanted the device: the challenge was let go")]
    Withdrawn,
    #[error("the device has given challenges what time it has for them; ask again in {wait}")]
    Budget {
        #[serde(rename = "wait_ms")]
        wait: Millis,
    },
    #[error("it is not what this device claims: {what}")]
    Claim { what: String },
    #[error("nothing is to be shown for that commitment")]
    Unknown,
    #[error("{message}")]
    Failed { message: String },
}

macro_rules! document {
    ($name:ident, $tag:literal, $signer:ident, $bytes:expr) => {
        impl Document for $name {
            const TAG: [u8; 12] = tag($tag);
            const BYTES_MAX: usize = $bytes;
            fn signer(&self) -> NodeId {
                self.$signer
            }
            fn version(&self) -> u16 {
                self.version
            }
        }
    };
}

document!(Challenge, "CHALLENGE", challenger, limits::DEAL_BYTES_MAX);
document!(Commitment, "COMMITMENT", provider, limits::DEAL_BYTES_MAX);
document!(Opening, "OPENING", challenger, limits::DEAL_BYTES_MAX);
document!(Answer, "CH-ANSWER", provider, limits::CHALLENGE_ANSWER_BYTES_MAX);
document!(Verdict, "VERDICT", challenger, limits::DEAL_BYTES_MAX);

/// How long the commitment may take to come: a quarter more than the claimed rate gives, the round trip up to
/// [`ROUND_TRIP_MAX`], and [`ALLOWANCE`]. `product_mops` is the claim; `None` where there is none.
pub fn time_bound(shape: &Shape, product_mops: u64, round_trip: Millis) -> Option<Millis> {
    let reference = shape.time_at(product_mops)?;
    let patient = Millis(reference.0.saturating_mul(PATIENCE_PERCENT) / 100);
    Some(patient.saturating_add(round_trip.min(ROUND_TRIP_MAX)).saturating_add(ALLOWANCE))
}

/// The rows an opening of this seed asks for, in rising order.
pub fn opened_rows(seed: &[u8; 32], shape: &Shape) -> Vec<u32> {
    let wanted = OPENED_ROWS.min(shape.rows as usize);
    let mut rows = BTreeSet::new();
    let mut words = Words::new("ion challenge opened rows 1", seed);
    while rows.len() < wanted {
        rows.insert(words.next() % shape.rows.max(1));
    }
    rows.into_iter().collect()
}

/// Words that nobody can tell from chance who does not know the seed.
pub struct Words(blake3::OutputReader);

impl Words {
    /// For one purpose.
    pub fn new(purpose: &str, seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_derive_key(purpose).update(seed).finalize_xof())
    }

    /// The next.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }
}

/// Everything that was said, as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The claim.
    pub advert: Signed<Advert>,
    /// What was asked.
    pub challenge: Signed<Challenge>,
    /// Where one came.
    pub commitment: Option<Signed<Commitment>>,
    /// Where one was asked for.
    pub opening: Option<Signed<Opening>>,
    /// Where one came.
    pub answer: Option<Signed<Answer>>,
    /// What the challenger made of it.
    pub verdict: Signed<Verdict>,
}

/// A transcript whose signatures hold and whose parts belong together. Whether the rows are the product's is not said.
#[derive(Clone, Debug)]
pub struct VerifiedTranscript {
    /// The claim.
    pub advert: Verified<Advert>,
    /// What was asked.
    pub challenge: Verified<Challenge>,
    /// What was committed to.
    pub commitment: Option<Verified<Commitment>>,
    /// What was to be shown of it; never without the commitment.
    pub opening: Option<Verified<Opening>>,
    /// What was shown; never without the opening.
    pub answer: Option<Verified<Answer>>,
    /// What the challenger made of it.
    pub verdict: Verified<Verdict>,
}

/// Why a transcript proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// A part fails by itself.
    #[error("the {part}: {error}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        error: SignedError,
    },
    /// Parts that are not of one challenge.
    #[error("the {part} does not belong to the {to}")]
    Stranger {
        /// Which.
        part: &'static str,
        /// To what it should.
        to: &'static str,
    },
    /// A part without the one it answers.
    #[error("there is an {0} without what it answers")]
    Gap(&'static str),
    /// The device is not in the advert, or claims no rate.
    #[error("the advert claims no rate for device {0}")]
    NoClaim(u16),
    /// No product a challenge may ask for.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Not what the claim and the round trip give.
    #[error("the bound is {found}; the claim gives {expected}")]
    Bound {
        /// In the challenge.
        found: Millis,
        /// By the rule.
        expected: Millis,
    },
}

impl Transcript {
    /// Checks signatures, that each part answers the one before, and that the bound follows from the claim. Needs no
    /// node, no network access and no clock.
    pub fn verify(self, network: &NetworkId) -> Result<VerifiedTranscript, TranscriptError> {
        fn part<T: Document>(
            part: &'static str,
            signed: Signed<T>,
            network: &NetworkId,
        ) -> Result<Verified<T>, TranscriptError> {
            signed.verify(network).map_err(|error| TranscriptError::Part { part, error })
        }
        let belongs = |fits: bool, part, to| match fits {
            true => Ok(()),
            false => Err(TranscriptError::Stranger { part, to }),
        };
        let advert = part("advert", self.advert, network)?;
        let challenge = part("challenge", self.challenge, network)?;
        belongs(
            challenge.advert == advert.hash() && challenge.provider == advert.node,
            "challenge",
            "advert",
        )?;
        let claim = advert.devices.iter().find(|device| device.index == challenge.device);
        let claim = claim.ok_or(TranscriptError::NoClaim(challenge.device))?.power.product_mops;
        challenge.shape.check()?;
        let expected = time_bound(&challenge.shape, claim, challenge.round_trip);
        let expected = expected.ok_or(TranscriptError::NoClaim(challenge.device))?;
        if challenge.bound != expected {
            return Err(TranscriptError::Bound { found: challenge.bound, expected });
        }
        let verdict = part("verdict", self.verdict, network)?;
        let same = verdict.challenger == challenge.challenger && verdict.provider == challenge.provider;
        belongs(same && verdict.challenge == challenge.hash(), "verdict", "challenge")?;
        if self.opening.is_some() && self.commitment.is_none() {
            return Err(TranscriptError::Gap("opening"));
        }
        if self.answer.is_some() && self.opening.is_none() {
            return Err(TranscriptError::Gap("answer"));
        }
        let commitment = self.commitment.map(|signed| part("commitment", signed, network)).transpose()?;
        if let Some(commitment) = &commitment {
            let fits = commitment.challenge == challenge.hash() && commitment.provider == challenge.provider;
            belongs(fits, "commitment", "challenge")?;
        }
        let opening = self.opening.map(|signed| part("opening", signed, network)).transpose()?;
        if let (Some(opening), Some(commitment)) = (&opening, &commitment) {
            let fits = opening.commitment == commitment.hash() && opening.challenger == challenge.challenger;
            belongs(fits, "opening", "commitment")?;
        }
        let answer = self.answer.map(|signed| part("answer", signed, network)).transpose()?;
        if let (Some(answer), Some(opening)) = (&answer, &opening) {
            let fits = answer.opening == opening.hash() && answer.provider == challenge.provider;
            belongs(fits, "answer", "opening")?;
        }
        Ok(VerifiedTranscript { advert, challenge, commitment, opening, answer, verdict })
    }
}

impl Judgement {
    /// Whether the claim held.
    pub fn is_passed(&self) -> bool {
        match self {
            Judgement::Passed => true,
            Judgement::Late | Judgement::GaveUp { .. } | Judgement::NotShown { .. } | Judgement::False(_) => {
                false
            }
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Judgement::Passed => write!(f, "passed"),
            Judgement::Late => write!(f, "failed: no commitment came in time"),
            Judgement::GaveUp { why } => write!(f, "failed: it could not compute the product ({why})"),
            Judgement::NotShown { why } => write!(f, "failed: it committed and showed no rows ({why})"),
            Judgement::False(flaw) => write!(f, "failed: {flaw}"),
        }
    }
}
