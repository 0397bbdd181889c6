//! Read-only views for the command line: plain data with stable field names. Nothing here decides anything.

use crate::event::{RejectReason, Rejection};
use ion_protocol::{
    Attempt, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, NodeId, UnixMillis,
    check::Check,
    hardware::{Device, Engine},
    job::Element,
    message::LeaseState,
    record::JobEnd,
};
use serde::{Deserialize, Serialize};

/// A job of this node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct JobView {
    pub job: JobId,
    pub name: String,
    /// `recording`, `seeking`, `ordered`, `leased`, `delivering`, `verifying`, `countersigning`, `ending`, `done`, `failed` or
    /// `cancelled`.
    pub state: String,
    #[serde(rename = "submitted_unix_ms")]
    pub submitted: UnixMillis,
    /// The try that is under way or was the last.
    pub attempt: Option<Attempt>,
    pub provider: Option<NodeId>,
    pub model: Option<String>,
    pub engine: Option<Engine>,
    /// What the provider said last.
    pub lease: Option<LeaseState>,
    pub end: Option<JobEnd>,
    /// The last countersigned receipt, by hash.
    pub receipt: Option<DocHash>,
    #[serde(rename = "price_nano_io")]
    pub price: NanoIo,
    #[serde(rename = "device_time_ns")]
    pub device_time: Nanos,
    #[serde(rename = "waited_ms")]
    pub waited: Millis,
    #[serde(rename = "moved_ms")]
    pub moved: Millis,
    #[serde(rename = "ran_ms")]
    pub ran: Millis,
    /// What running blocks again showed; `None` until the receipt is countersigned.
    pub check: Option<Check>,
    /// What was delivered; empty until the job is done.
    pub outputs: Vec<OutputView>,
    pub attempts: Vec<AttemptView>,
}

/// A delivered buffer, with what is needed to show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct OutputView {
    pub buffer: u16,
    pub name: String,
    pub bytes: Bytes,
    pub hash: ion_protocol::BlobHash,
    pub element: Element,
    pub shape: Vec<u64>,
}

/// One try of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct AttemptView {
    pub attempt: Attempt,
    pub provider: NodeId,
    pub model: String,
    /// `live`, `refused`, `lost`, `false`, `failed`, `done` or `cancelled`.
    pub state: String,
    /// Why it is over; empty while it is not.
    pub why: String,
    /// Since when it is over; `None` while it is not.
    #[serde(rename = "ended_unix_ms")]
    pub ended: Option<UnixMillis>,
}

/// One provider in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct OfferView {
    pub provider: NodeId,
    pub addresses: Vec<String>,
    pub region: String,
    pub devices: Vec<Device>,
    #[serde(rename = "price_nano_io_per_second")]
    pub price_per_second: NanoIo,
    pub free: u16,
    pub queued: u16,
    #[serde(rename = "run_ms_max")]
    pub run_max: Millis,
    pub blob_bytes_max: Bytes,
    pub connected: bool,
    /// Measured; `None` until it is.
    #[serde(rename = "round_trip_ms")]
    pub round_trip: Option<Millis>,
    /// Since the advert was signed.
    #[serde(rename = "age_ms")]
    pub age: Millis,
    #[serde(rename = "expires_in_ms")]
    pub expires_in: Millis,
    /// How often an attempt is expected to succeed, at the pessimistic end of what experience allows, in millionths.
    pub reliability_ppm: u32,
    pub done: u32,
    pub failed: u32,
    pub lost: u32,
    /// False results that running blocks again showed.
    pub falsified: u32,
    /// Whether its claims held when this node challenged it last: `false` if one of its devices failed, and what did not
    /// hold counts as not measured; `None` if none was checked.
    pub claim_held: Option<bool>,
    /// The same of each device.
    pub claims: Vec<ClaimView>,
}

/// What challenges by this node showed of a device's claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct ClaimView {
    pub device: u16,
    pub standing: Standing,
    /// When it was; `None` while there is no verdict that counts.
    #[serde(rename = "checked_unix_ms")]
    pub checked: Option<UnixMillis>,
    /// Challenges since then, or ever, that it did not take or let go of.
    pub declined: u32,
    /// What cannot be true of such a model, so that the claim counts as not measured; empty otherwise.
    pub doubt: String,
}

/// What a claim is worth to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nobody here looked, or what was looked at was another claim: it is believed.
    Unchecked,
    /// It held.
    Held,
    /// It did not: it counts as not measured.
    Failed,
    /// The device takes no challenge that this node offers, or failed one a while ago: it is believed by half.
    Shy,
}

/// Why a job is where it is, or would go where it would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct Explanation {
    pub job: Option<JobId>,
    pub state: String,
    /// Best first; the first is chosen.
    pub candidates: Vec<CandidateView>,
    pub rejections: Vec<Rejection>,
    pub attempts: Vec<AttemptView>,
    /// Sentences.
    pub would_change: Vec<String>,
}

/// A provider that fits, with what it is expected to cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct CandidateView {
    pub provider: NodeId,
    pub device: u16,
    pub model: String,
    pub engine: Engine,
    #[serde(rename = "price_nano_io_per_second")]
    pub price_per_second: NanoIo,
    pub terms: ScoreTerms,
}

/// The expected cost of a job at one device, in parts that add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct ScoreTerms {
    /// All below but the times.
    #[serde(rename = "total_nano_io")]
    pub total: NanoIo,
    /// Price of the expected run.
    #[serde(rename = "money_nano_io")]
    pub money: NanoIo,
    /// Expected run, at the value of time.
    #[serde(rename = "running_nano_io")]
    pub running: NanoIo,
    /// Waiting for a device, at the value of time.
    #[serde(rename = "queue_nano_io")]
    pub queue: NanoIo,
    /// Moving inputs, at the value of time.
    #[serde(rename = "transfer_nano_io")]
    pub transfer: NanoIo,
    /// Round trips, at the value of time.
    #[serde(rename = "latency_nano_io")]
    pub latency: NanoIo,
    /// What a failure would cost, times its chance.
    #[serde(rename = "failure_nano_io")]
    pub failure: NanoIo,
    /// The expected run time the terms rest on.
    #[serde(rename = "run_ms")]
    pub run: Millis,
    /// The expected wait.
    #[serde(rename = "wait_ms")]
    pub wait: Millis,
}

/// A lease this node holds or held as a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct LeaseView {
    pub requester: NodeId,
    pub job: JobId,
    pub attempt: Attempt,
    pub name: String,
    pub device: u16,
    /// `held`, `staging`, `waiting`, `running`, `recorded`, `delivered`, `settled`, `released`, `faulted` or `unpaid`.
    pub state: String,
    pub progress: LeaseState,
    pub receipt: Option<DocHash>,
    #[serde(rename = "price_nano_io")]
    pub price: NanoIo,
    /// Why it ended without pay; empty otherwise.
    pub why: String,
}

/// The node in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are named as in the documents they come from")]
pub struct StatusView {
    pub node: NodeId,
    pub provides: bool,
    pub draining: bool,
    pub addresses: Vec<String>,
    pub devices: Vec<Device>,
    pub free: u16,
    pub queued: u16,
    pub running: u16,
    #[serde(rename = "price_nano_io_per_second")]
    pub price_per_second: NanoIo,
    /// Providers in the directory.
    pub offers: u32,
    pub jobs_live: u32,
    pub jobs_done: u64,
    pub jobs_failed: u64,
    pub jobs_cancelled: u64,
    pub leases_live: u32,
    pub receipts_open: u32,
    pub receipts_settled: u64,
    /// By settled receipts, since the journal began.
    #[serde(rename = "earned_nano_io")]
    pub earned: NanoIo,
    /// By countersigned receipts, since the journal began.
    #[serde(rename = "spent_nano_io")]
    pub spent: NanoIo,
}

impl Rejection {
    /// The same for people: who, and why not.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.provider.short(), self.reason)
    }
}

impl RejectReason {
    /// For a count of alike reasons: without what differs between providers.
    pub(crate) fn kind_text(&self) -> String {
        match self {
            RejectReason::Resting { .. } => "it failed or refused this job a moment ago".to_owned(),
            RejectReason::Full { .. } => "it has no room for more jobs of ours".to_owned(),
            RejectReason::Latency { limit, .. } => format!("its round trip is over {limit}"),
            RejectReason::Expired
            | RejectReason::Unmet { .. }
            | RejectReason::Region { .. }
            | RejectReason::LatencyUnknown
            | RejectReason::RunTime { .. }
            | RejectReason::Price { .. }
            | RejectReason::Room
            | RejectReason::FalseResult
            | RejectReason::NoDevices => self.to_string(),
        }
    }

    /// The reason without what changes by itself as time passes, to tell news from repetition.
    pub(crate) fn kind(&self) -> RejectReason {
        match self {
            RejectReason::Resting { .. } => RejectReason::Resting { wait: Millis::ZERO },
            RejectReason::Full { .. } => RejectReason::Full { wait: Millis::ZERO },
            RejectReason::Latency { limit, .. } => {
                RejectReason::Latency { found: Millis::ZERO, limit: *limit }
            }
            RejectReason::Expired
            | RejectReason::Unmet { .. }
            | RejectReason::Region { .. }
            | RejectReason::LatencyUnknown
            | RejectReason::RunTime { .. }
            | RejectReason::Price { .. }
            | RejectReason::Room
            | RejectReason::FalseResult
            | RejectReason::NoDevices => self.clone(),
        }
    }
}
