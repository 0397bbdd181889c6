//! The closed set of what nodes say to each other.
//!
//! On a negotiation stream each frame is a 4-byte little-endian length and one [`Frame`], at most
//! [`limits::MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX) long. Both sides may ask; an answer carries the
//! asker's number. Every message of a job is keyed by job and attempt: a repeat gets the same answer.

use crate::{
    advert::Advert,
    challenge::{self, Challenge, Commitment, Opening},
    codec::{Decode, Encode},
    deal::{Acceptance, InlineBlob, Order, Refusal},
    ids::{Attempt, JobId},
    receipt::{Countersignature, Output, Receipt},
    signed::Signed,
};
use serde::{Deserialize, Serialize};

/// Everything that travels on a negotiation stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Frame {
    /// A question.
    Request {
        /// Chosen by the asker, unique on the stream.
        id: u64,
        /// What is asked.
        request: Request,
    },
    /// Its answer.
    Response {
        /// The question's number.
        id: u64,
        /// What is answered.
        response: Response,
    },
    /// Something nobody answers.
    Notice(Notice),
}

/// Questions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Whom do you know? Answered by [`Response::Adverts`]; a light node fills its directory so.
    Adverts {
        /// At most this many.
        max: u16,
    },
    /// Will you run this? Answered by [`Response::Accepted`], by [`Response::Lease`] where the result is on its way
    /// already, or by [`Response::Refused`].
    Order(Signed<Order>),
    /// What of my job? Answered by [`Response::Lease`]; asked after silence or a restart.
    Query {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
    },
    /// Here is your result. Answered by [`Response::Countersigned`], or [`Response::Noted`] where outputs must be
    /// fetched first, or [`Response::Refused`].
    Deliver(Delivery),
    /// I hold and accept your outputs. Answered by [`Response::Noted`] once it is durable.
    Countersign(Signed<Countersignature>),
    /// Stop my job. Answered by [`Response::Lease`].
    Cancel {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
    },
    /// Show what your device can do. Answered by [`Response::Committed`] when it is done, or by [`Response::Refused`] at
    /// once.
    Challenge(Signed<Challenge>),
    /// Show these rows of it. Answered by [`Response::Shown`].
    Open(Signed<Opening>),
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// To [`Request::Adverts`].
    Adverts(Vec<Signed<Advert>>),
    /// To [`Request::Order`].
    Accepted(Signed<Acceptance>),
    /// No, and why.
    Refused(Refusal),
    /// To [`Request::Query`], [`Request::Cancel`], and an [`Request::Order`] that was carried out at once.
    Lease(LeaseState),
    /// To [`Request::Deliver`].
    Countersigned(Signed<Countersignature>),
    /// Understood.
    Noted,
    /// To [`Request::Challenge`].
    Committed(Signed<Commitment>),
    /// To [`Request::Open`].
    Shown(Signed<challenge::Answer>),
}

/// A finished attempt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Delivery {
    /// The provider's half of the receipt.
    pub receipt: Signed<Receipt>,
    /// What came out; the receipt's output root commits to this list.
    pub outputs: Vec<Output>,
    /// Small outputs, so that they need not be fetched.
    pub inline: Vec<InlineBlob>,
}

/// One-way messages.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Notice {
    /// The provider is alive and working; at least every second while it holds a lease.
    Progress {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// What it is doing.
        state: LeaseState,
    },
}

/// Where a provider stands with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum LeaseState {
    /// Never heard of it, or long forgotten.
    Unknown,
    /// Accepted; waits for a device.
    Waiting,
    /// Fetching inputs.
    Staging {
        /// Bytes held.
        #[serde(rename = "bytes_done")]
        done: u64,
        /// Bytes needed.
        #[serde(rename = "bytes_total")]
        total: u64,
    },
    /// Launching kernels.
    Running {
        /// Launches finished.
        done: u64,
        /// Launches in all.
        total: u64,
    },
    /// Finished; a delivery follows or was made.
    Finished,
    /// Stopped at the requester's wish.
    Released,
}
