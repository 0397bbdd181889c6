//! How a job is agreed: an order quotes an advert; the provider accepts or says why not.

use crate::{
    advert::Advert,
    challenge::Unchallenged,
    codec::{Decode, Encode},
    hardware::Withheld,
    ids::{Attempt, BlobHash, DocHash, JobId, NodeId},
    job::{JobSpec, Unmet},
    limits,
    signed::{Document, Signed, tag},
    units::{Bytes, Millis, NanoIo, UnixMillis},
};
use serde::{Deserialize, Serialize};

/// A requester's signed order on a provider's advert.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who orders, signs and pays.
    pub requester: NodeId,
    /// Who shall run it.
    pub provider: NodeId,
    /// The job.
    pub job: JobId,
    /// Which try of it.
    pub attempt: Attempt,
    /// The advert whose price is quoted.
    pub advert: DocHash,
    /// Position of the chosen device in that advert.
    pub device: u16,
    /// The advert's price of one second, repeated so that the order stands alone.
    pub price_per_second: NanoIo,
    /// Until when it may be accepted.
    pub expires: UnixMillis,
    /// What to run.
    pub spec: JobSpec,
    /// Whether the memory between launches is to be committed to, so that blocks of all launches can be checked.
    pub keep_states: bool,
    /// Small inputs, so that they need not be fetched.
    pub inline: Vec<InlineBlob>,
}

/// A blob inside a message.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct InlineBlob {
    /// The bytes; their hash is computed, not believed.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for InlineBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InlineBlob({} bytes)", self.bytes.len())
    }
}

impl InlineBlob {
    /// The content's name.
    pub fn hash(&self) -> BlobHash {
        BlobHash::of(&self.bytes)
    }
}

impl Document for Order {
    const TAG: [u8; 12] = tag("ORDER");
    const BYTES_MAX: usize = limits::ORDER_BYTES_MAX;
    fn signer(&self) -> NodeId {
        self.requester
    }
    fn version(&self) -> u16 {
        self.version
    }
}

/// A provider's signed promise to run an order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Acceptance {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who promises and signs.
    pub provider: NodeId,
    /// To whom.
    pub requester: NodeId,
    /// The job.
    pub job: JobId,
    /// Which try of it.
    pub attempt: Attempt,
    /// The order, by hash.
    pub order: DocHash,
    /// When it was accepted.
    pub accepted: UnixMillis,
}

impl Document for Acceptance {
    const TAG: [u8; 12] = tag("ACCEPT");
    const BYTES_MAX: usize = limits::DEAL_BYTES_MAX;
    fn signer(&self) -> NodeId {
        self.provider
    }
    fn version(&self) -> u16 {
        self.version
    }
}

/// No, with the reason and the offer that holds now.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// The provider's newest advert, where it has one.
    pub advert: Option<Signed<Advert>>,
}

/// Why a provider does not take an order, or a requester a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RefusalReason {
    #[error("all devices are busy and {queued} jobs wait")]
    Busy { queued: u16 },
    #[error("it is shutting down")]
    Draining,
    #[error("it offers no devices")]
    NotAProvider,
    #[error("the order is for another node")]
    NotForMe,
    #[error("the order expired before it arrived")]
    Expired,
    #[error("the price is now {price_per_second} a second")]
    Price {
        #[serde(rename = "price_nano_io_per_second")]
        price_per_second: NanoIo,
    },
    #[error("the ordered device does not meet the job's need of {unmet}")]
    Unmet { unmet: Unmet },
    #[error("it has no device {device}")]
    NoSuchDevice { device: u16 },
    #[error("a run time of {asked} is over its limit of {limit}")]
    RunTime {
        #[serde(rename = "asked_ms")]
        asked: Millis,
        #[serde(rename = "limit_ms")]
        limit: Millis,
    },
    #[error("{asked} of inputs and outputs are over its limit of {limit}")]
    Room {
        #[serde(rename = "asked_bytes")]
        asked: Bytes,
        #[serde(rename = "limit_bytes")]
        limit: Bytes,
    },
    #[error("the specification is wrong: {message}")]
    Spec { message: String },
    #[error("another order has this job and attempt already")]
    Conflict,
    #[error("the job is not known here")]
    UnknownJob,
    #[error("the attempt was given up")]
    Superseded,
    #[error("the delivery is wrong: {message}")]
    Delivery { message: String },
    #[error("too many requests at once")]
    Overloaded,
    #[error("the ordered device takes no jobs for now: {why}")]
    Withheld { why: Withheld },
    #[error("it takes no challenge: {why}")]
    Challenge { why: Unchallenged },
}
