//! What a node writes down before it says it: the body of the journal's entries.
//!
//! The engine asks for a record, waits until it is durable, and only then tells a peer. Read in order, the records
//! rebuild the engine after a crash.

use crate::{
    challenge::Verdict,
    check::Difference,
    codec::{Decode, Encode},
    deal::{Acceptance, Order},
    fault::Fault,
    ids::{Attempt, DocHash, JobId, NodeId},
    job::JobSpec,
    receipt::{Countersignature, Output, Receipt},
    signed::Signed,
    units::{Millis, NanoIo, UnixMillis},
};

/// One durable fact.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// Requester: a job was taken on; it will end, whatever is killed.
    JobSubmitted {
        /// The job.
        job: JobId,
        /// What to run.
        spec: JobSpec,
        /// How many blocks of what is delivered to run again before it is accepted.
        verify: u16,
        /// When.
        at: UnixMillis,
    },
    /// Requester: an order was signed. Nothing else may be signed for this job and attempt.
    OrderSigned {
        /// The order.
        order: Signed<Order>,
    },
    /// Requester: an attempt came to nothing.
    AttemptLost {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Through whom.
        loss: Loss,
        /// Why, for people.
        why: String,
        /// When.
        at: UnixMillis,
    },
    /// Requester: a delivery was found false; the attempt came to nothing. The provider's signature is kept beside what
    /// its bytes should have been.
    DeliveryFalse {
        /// The provider's half.
        receipt: Signed<Receipt>,
        /// The first wrong byte that was found.
        difference: Difference,
        /// When.
        at: UnixMillis,
    },
    /// Requester: outputs are held and checked, and the receipt is countersigned.
    Countersigned {
        /// The provider's half.
        receipt: Signed<Receipt>,
        /// This node's half.
        countersignature: Signed<Countersignature>,
        /// What was delivered.
        outputs: Vec<Output>,
    },
    /// Requester: the job is over.
    JobEnded {
        /// The job.
        job: JobId,
        /// How.
        end: JobEnd,
        /// When.
        at: UnixMillis,
    },
    /// Provider: an order was accepted. Of the order, only what is needed when the lease is rebuilt: whoever orders
    /// decides how long an order is, and must not decide what this disk holds.
    LeaseTaken {
        /// The order, by hash.
        order: DocHash,
        /// Until when it could be repeated.
        order_expires: UnixMillis,
        /// Agreed price of one second.
        price_per_second: NanoIo,
        /// The job's name, for people.
        name: String,
        /// This node's promise.
        acceptance: Signed<Acceptance>,
    },
    /// Provider: an attempt ended and its receipt was signed. Nothing else may be signed for it.
    ReceiptSigned {
        /// This node's half.
        receipt: Signed<Receipt>,
        /// What came out.
        outputs: Vec<Output>,
    },
    /// Provider: the requester's half arrived.
    ReceiptSettled {
        /// The receipt, by hash.
        receipt: DocHash,
        /// The requester's half.
        countersignature: Signed<Countersignature>,
    },
    /// Provider: a lease ended without a receipt, or its receipt was refused.
    LeaseReleased {
        /// For whom; job ids are drawn by requesters, so two may use the same.
        requester: NodeId,
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Why, for people.
        why: String,
    },
    /// A provider was challenged, and this came of it.
    Challenged {
        /// Which of its devices.
        device: u16,
        /// What that claimed, in 10^6 operations a second: another claim is not judged by it.
        claim_mops: u64,
        /// This node's own.
        verdict: Signed<Verdict>,
    },
    /// A provider was challenged and took it not, or let go of it.
    ChallengeDeclined {
        /// Who.
        provider: NodeId,
        /// Which of its devices.
        device: u16,
        /// Whether it may well have had good reasons.
        slight: bool,
        /// How long it said that it takes none, if it did.
        wait: Option<Millis>,
        /// When.
        at: UnixMillis,
    },
}

/// How an attempt came to nothing, where no receipt tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Loss {
    /// It did not begin: its order was refused, or never arrived.
    Refused,
    /// Its provider fell silent.
    Silent,
    /// Its provider broke the protocol, or delivered what was not ordered.
    Wrong,
    /// This node could not take its results in.
    Here,
}

/// How a job ended for its requester.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub enum JobEnd {
    /// Outputs are held; the receipt is countersigned.
    Done {
        /// The attempt that succeeded.
        attempt: Attempt,
    },
    /// It fails everywhere, or no more attempts are allowed.
    Failed {
        /// The last fault.
        fault: Fault,
    },
    /// Its owner asked for it.
    Cancelled,
}

/// Size of an encoded record at most.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;
