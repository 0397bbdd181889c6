//! What happened, for people and programs that watch: a typed catalogue, one line each in the event log.

use ion_protocol::{
    Attempt, JobId, Millis, NanoIo, Nanos, NodeId,
    challenge::Judgement,
    check::{Check, Difference},
    deal::RefusalReason,
    fault::Fault,
    hardware::Engine,
    job::Unmet,
    message::LeaseState,
    record::JobEnd,
};
use serde::{Deserialize, Serialize};

/// One thing worth telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub enum Event {
    /// Requester: a job is durable and will end.
    JobAccepted { job: JobId },
    /// Requester: a job was not taken on.
    JobRefused { job: JobId, why: String },
    /// Requester: looked at the directory; nobody fits yet.
    NobodyFits { job: JobId, rejected: Vec<Rejection> },
    /// Requester: this provider was chosen.
    Chosen { job: JobId, attempt: Attempt, provider: NodeId, model: String, engine: Engine, candidates: u32 },
    /// Requester: it took the order.
    OrderAccepted { job: JobId, attempt: Attempt, provider: NodeId },
    /// Requester: it did not.
    OrderRefused { job: JobId, attempt: Attempt, provider: NodeId, reason: RefusalReason },
    /// Requester: it works.
    Progress { job: JobId, attempt: Attempt, provider: NodeId, state: LeaseState },
    /// Requester: it fell silent, or its answer was no use; the job goes elsewhere.
    AttemptLost {
        job: JobId,
        attempt: Attempt,
        provider: NodeId,
        #[serde(rename = "silent_ms")]
        silent: Millis,
        why: String,
    },
    /// Requester: outputs are announced and being fetched.
    Delivering { job: JobId, attempt: Attempt, provider: NodeId },
    /// Requester: this node can't take them in; they wait at their provider.
    NoRoom { job: JobId, attempt: Attempt, provider: NodeId, why: String },
    /// Requester: outputs are here, and this many of so many blocks are being run again.
    Checking { job: JobId, attempt: Attempt, provider: NodeId, blocks: u32, of: u64 },
    /// Requester: they showed nothing wrong.
    Checked { job: JobId, attempt: Attempt, provider: NodeId, check: Check },
    /// Requester: they showed that the delivery is false; the job goes elsewhere.
    DeliveryFalse { job: JobId, attempt: Attempt, provider: NodeId, difference: Difference },
    /// Requester: the job is over.
    JobEnded {
        job: JobId,
        end: JobEnd,
        provider: Option<NodeId>,
        model: String,
        engine: Option<Engine>,
        #[serde(rename = "device_time_ns")]
        device_time: Nanos,
        #[serde(rename = "waited_ms")]
        waited: Millis,
        #[serde(rename = "moved_ms")]
        moved: Millis,
        #[serde(rename = "ran_ms")]
        ran: Millis,
        #[serde(rename = "price_nano_io")]
        price: NanoIo,
    },
    /// Provider: an order was accepted.
    LeaseTaken { job: JobId, attempt: Attempt, requester: NodeId },
    /// Provider: an order was refused.
    LeaseRefused { job: JobId, attempt: Attempt, requester: NodeId, reason: RefusalReason },
    /// Provider: an attempt's receipt is signed and durable.
    ReceiptSigned {
        job: JobId,
        attempt: Attempt,
        requester: NodeId,
        #[serde(rename = "price_nano_io")]
        price: NanoIo,
        fault: Option<Fault>,
    },
    /// Provider: the requester's half is durable.
    ReceiptSettled {
        job: JobId,
        attempt: Attempt,
        requester: NodeId,
        #[serde(rename = "price_nano_io")]
        price: NanoIo,
    },
    /// Provider: a lease ended without pay.
    LeaseReleased { job: JobId, attempt: Attempt, requester: NodeId, why: String },
    /// This node challenges a device, and so many others at the same moment.
    Challenging {
        provider: NodeId,
        device: u16,
        beside: u32,
        #[serde(rename = "bound_ms")]
        bound: Millis,
    },
    /// It took no challenge, or let it go: that is no verdict.
    ChallengeDeclined { provider: NodeId, device: u16, why: String },
    /// This node challenged a device.
    Challenged {
        provider: NodeId,
        device: u16,
        judgement: Judgement,
        #[serde(rename = "took_ms")]
        took: Millis,
        #[serde(rename = "bound_ms")]
        bound: Millis,
    },
    /// Provider: a device computes what a peer challenged it to.
    ChallengeTaken { challenger: NodeId, device: u16 },
    /// Provider: it made way for a job, or for the owner.
    ChallengeLetGo { challenger: NodeId, device: u16 },
    /// A directory entry is new, or its node came back.
    OfferSeen { provider: NodeId, devices: u32 },
    /// A fact could not be written; what it covers was not said.
    RecordFailed { why: String },
    /// After a drain: nothing runs any more.
    Drained,
}

/// Why a provider was not considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rejection {
    pub provider: NodeId,
    pub reason: RejectReason,
}

/// The first filter an offer failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RejectReason {
    #[error("its advert expired")]
    Expired,
    #[error("it delivered a false result of this job")]
    FalseResult,
    #[error("it failed or refused this job and is given {wait} of rest")]
    Resting {
        #[serde(rename = "wait_ms")]
        wait: Millis,
    },
    #[error(
        "it has no room for more jobs of ours; it is asked again in {wait}, or when one of them is done there"
    )]
    Full {
        #[serde(rename = "wait_ms")]
        wait: Millis,
    },
    #[error("none of its devices has the {unmet} that is asked for")]
    Unmet { unmet: Unmet },
    #[error("it is in region \"{region}\"")]
    Region { region: String },
    #[error("its round trip of {found} is over {limit}")]
    Latency {
        #[serde(rename = "found_ms")]
        found: Millis,
        #[serde(rename = "limit_ms")]
        limit: Millis,
    },
    #[error("its round trip is not measured yet")]
    LatencyUnknown,
    #[error("it takes jobs of at most {limit}")]
    RunTime {
        #[serde(rename = "limit_ms")]
        limit: Millis,
    },
    #[error("its price of {price_per_second} a second buys less than a millisecond under the job's limit")]
    Price {
        #[serde(rename = "price_nano_io_per_second")]
        price_per_second: NanoIo,
    },
    #[error("it takes less data than the job has")]
    Room,
    #[error("it offers no devices at the moment")]
    NoDevices,
}
