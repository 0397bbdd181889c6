//! What the CLI and the running node say to each other: a closed set of requests and responses, one JSON object a
//! line. Field names are stable: programs read them. A quantity's name says its unit, and a qualifier comes last: `ran_ms`,
//! `memory_bytes_min`, `submitted_unix_ms`, `price_nano_io_per_second`; an id is named after what it is of (`job`, `receipt`).
//!
//! A connection opens with a [`Hello`] from each side. Then requests follow one after the other. A plain request gets
//! one response; [`ControlRequest::Watch`] and [`ControlRequest::Events`] get any number of
//! [`ControlResponse::Event`] and then [`ControlResponse::End`].

use crate::{config::Role, events::EventLine, owner::Facts, show::TranscriptFile};
use ion_gpu::worker::isolation::Isolation;
use ion_protocol::{
    BlobHash, Bytes, DocHash, JobId, Millis, NanoIo, NetworkId, NodeId,
    hardware::{Device, Withheld},
    job::JobSpec,
    receipt::{Countersignature, Receipt},
};
pub use ion_scheduler::view::{ClaimView, Explanation, JobView, OfferView, Standing};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of this language. Both ends are usually one binary; after an update the old node is still running.
pub const CONTROL_VERSION: u32 = 6;

/// The first line of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`CONTROL_VERSION`] of the speaker.
    pub ion_control: u32,
    /// Its release, for people.
    pub release: String,
}

impl Hello {
    /// This binary's.
    pub fn ours() -> Self {
        Self { ion_control: CONTROL_VERSION, release: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What can be asked of a running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum ControlRequest {
    /// How is the node? Answered by [`ControlResponse::Status`].
    Status,
    /// Which devices has it? Answered by [`ControlResponse::Devices`].
    Devices,
    /// Lend a device no more, over restarts too. Answered by [`ControlResponse::Noted`] once that is durable; it holds at
    /// once. Where there is no such device: [`ControlResponse::NoDevice`].
    Pause {
        /// Its index.
        device: u16,
        /// Stop what runs, rather than finish it.
        now: bool,
    },
    /// Lend it again. Answered like [`ControlRequest::Pause`].
    Resume {
        /// Its index.
        device: u16,
    },
    /// Whose offers does it know? Answered by [`ControlResponse::Offers`].
    Offers,
    /// Run this. Answered by [`ControlResponse::Submitted`] once the job is durable, and where `watch` is wished by what
    /// [`ControlRequest::Watch`] is answered by behind it. A repeat with the same job id is answered like the first time.
    Submit {
        /// Drawn at random by the asker.
        job: JobId,
        /// What to run.
        spec: Box<JobSpec>,
        /// Where on this machine the blobs lie that the specification names.
        files: Vec<FileRef>,
        /// How many blocks of what is delivered to run again before it is accepted; 0 for none.
        verify: u16,
        /// Tell how it goes on, on the same connection.
        #[serde(default)]
        watch: bool,
    },
    /// Which jobs of this node's owner are known? Answered by [`ControlResponse::Jobs`].
    Jobs,
    /// How is one? Answered by [`ControlResponse::Job`].
    Job {
        /// Which.
        job: JobId,
    },
    /// Events of one job, those so far first, until it ends.
    Watch {
        /// Which.
        job: JobId,
    },
    /// All events from now on.
    Events,
    /// Stop a job. Answered by [`ControlResponse::Job`], as it was when this came; one that has ended is left alone. Its end is
    /// an event.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// Why is it where it is, and why not elsewhere? Answered by [`ControlResponse::Explanation`].
    Why {
        /// Which.
        job: JobId,
    },
    /// Who would run this, at what price? Nothing is sent to anybody. Answered by [`ControlResponse::Explanation`].
    DryRun {
        /// What would run.
        spec: Box<JobSpec>,
    },
    /// Answered by [`ControlResponse::Receipts`].
    Receipts {
        /// Which.
        filter: ReceiptFilter,
    },
    /// One receipt with both signatures. Answered by [`ControlResponse::Receipt`].
    Receipt {
        /// The first digits of its id, or of its job's.
        prefix: String,
    },
    /// What a finished job left here. Answered by [`ControlResponse::Outputs`].
    Outputs {
        /// Which.
        job: JobId,
    },
    /// Challenge these devices at the same moment. Answered by [`ControlResponse::Challenged`] when all are over.
    Challenge {
        /// At most [`ion_protocol::challenge::BESIDE_MAX`].
        targets: Vec<ChallengeRef>,
    },
    /// Take no new work, finish what runs, then stop. Answered by [`ControlResponse::Noted`] at once.
    Drain,
    /// Stop now; what runs is resumed or re-run after a restart. Answered by [`ControlResponse::Noted`] at once.
    Stop,
}

impl ControlRequest {
    /// Whether the answer is a stream of events.
    pub fn is_stream(&self) -> bool {
        match self {
            ControlRequest::Watch { .. } | ControlRequest::Events => true,
            ControlRequest::Submit { watch, .. } => *watch,
            ControlRequest::Status
            | ControlRequest::Devices
            | ControlRequest::Pause { .. }
            | ControlRequest::Resume { .. }
            | ControlRequest::Offers
            | ControlRequest::Jobs
            | ControlRequest::Job { .. }
            | ControlRequest::Cancel { .. }
            | ControlRequest::Why { .. }
            | ControlRequest::DryRun { .. }
            | ControlRequest::Receipts { .. }
            | ControlRequest::Receipt { .. }
            | ControlRequest::Outputs { .. }
            | ControlRequest::Challenge { .. }
            | ControlRequest::Drain
            | ControlRequest::Stop => false,
        }
    }
}

/// A device of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeRef {
    /// Whose.
    pub provider: NodeId,
    /// Its index.
    pub device: u16,
}

/// What came of challenging one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengedView {
    /// Which.
    #[serde(flatten)]
    pub target: ChallengeRef,
    /// All that was said; `None` where it took no challenge.
    pub transcript: Option<TranscriptFile>,
    /// Why it took none; empty where it did.
    pub refused: String,
}

/// A blob on this machine's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its content.
    pub hash: BlobHash,
    /// Where it lies; absolute.
    pub path: PathBuf,
    /// Its size.
    pub bytes: Bytes,
}

/// Which receipts are wanted. Empty wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFilter {
    /// Of this job.
    pub job: Option<JobId>,
    /// On this side.
    pub side: Option<Side>,
    /// At most this many, newest first; 0 for as many as one answer holds.
    pub limit: u32,
}

/// Which part this node played in a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// It ran the job.
    Provider,
    /// It ordered the job.
    Requester,
}

/// What a running node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "response", content = "body")]
pub enum ControlResponse {
    /// To [`ControlRequest::Status`].
    Status(Box<StatusView>),
    /// To [`ControlRequest::Devices`].
    Devices(Box<DevicesView>),
    /// To [`ControlRequest::Offers`].
    Offers(Vec<OfferView>),
    /// To [`ControlRequest::Submit`]: the job is durable and will end.
    Submitted {
        /// Which.
        job: JobId,
    },
    /// To [`ControlRequest::Jobs`], in no particular order.
    Jobs(Vec<JobView>),
    /// To [`ControlRequest::Job`].
    Job(Box<JobView>),
    /// To [`ControlRequest::Watch`] and [`ControlRequest::Events`].
    Event(EventLine),
    /// The stream of events is over.
    End,
    /// Understood.
    Noted,
    /// To [`ControlRequest::Why`] and [`ControlRequest::DryRun`].
    Explanation(Box<Explanation>),
    /// To [`ControlRequest::Receipts`], newest first.
    Receipts(Vec<ReceiptView>),
    /// To [`ControlRequest::Receipt`].
    Receipt(Box<SignedReceiptView>),
    /// To [`ControlRequest::Outputs`].
    Outputs(Vec<OutputView>),
    /// To [`ControlRequest::Challenge`], in its order.
    Challenged(Vec<ChallengedView>),
    /// To [`ControlRequest::Pause`] and [`ControlRequest::Resume`]: it names none.
    NoDevice {
        /// Those there are.
        known: Vec<Device>,
    },
    /// To [`ControlRequest::Receipt`]: it names none, or more than one.
    NoReceipt {
        /// Why.
        message: String,
    },
    /// It can't be done.
    Error {
        /// Why.
        message: String,
        /// The way out; may be empty.
        hint: String,
    },
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Who it is.
    pub node: NodeId,
    /// Its release.
    pub release: String,
    /// What it does.
    pub role: Role,
    /// Name of its network.
    pub network: String,
    /// The network's id.
    pub network_id: NetworkId,
    /// Its directory.
    pub data_dir: PathBuf,
    /// Since its start.
    #[serde(rename = "uptime_ms")]
    pub uptime: Millis,
    /// Where it can be reached, with its id, ready to be somebody's `--bootstrap`.
    pub addresses: Vec<String>,
    /// Connected peers.
    pub peers: u32,
    /// Offers in its directory.
    pub offers: u32,
    /// What challenges showed of the devices in them.
    pub claims: ClaimCounts,
    /// How often, on average, it looks for a claim to check; `None` if only when told to.
    #[serde(rename = "challenge_every_ms")]
    pub challenge_every: Option<Millis>,
    /// What it has to offer.
    pub devices: Vec<DeviceView>,
    /// How well the children that run foreign kernels are shut in, once the devices are probed.
    pub isolation: Option<Isolation>,
    /// Its price of one second of device time.
    #[serde(rename = "price_nano_io_per_second")]
    pub price_per_second: NanoIo,
    /// Own jobs that have not ended.
    pub jobs_open: u32,
    /// Others' jobs accepted and not ended.
    pub leases_open: u32,
    /// Bytes in the blob store.
    pub blob_bytes: Bytes,
    /// Whether it takes no new work.
    pub draining: bool,
}

/// How many devices of others stand how with this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCounts {
    /// Their claims held.
    pub held: u32,
    /// They did not.
    pub failed: u32,
    /// Nobody here has looked.
    pub unchecked: u32,
    /// They took no challenge, or failed one a while ago.
    pub shy: u32,
}

impl ClaimCounts {
    /// Of all devices in these offers.
    pub fn of(offers: &[OfferView]) -> Self {
        let mut counts = Self::default();
        for claim in offers.iter().flat_map(|offer| &offer.claims) {
            *match claim.standing {
                Standing::Held => &mut counts.held,
                Standing::Failed => &mut counts.failed,
                Standing::Unchecked => &mut counts.unchecked,
                Standing::Shy => &mut counts.shy,
            } += 1;
        }
        counts
    }
}

/// What this node has to offer, and what it does not offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesView {
    /// Whether the machine was looked at already.
    pub probed: bool,
    /// The devices, lent now or not.
    pub devices: Vec<DeviceView>,
    /// What else there is or could be.
    pub not_offered: Vec<NotOffered>,
    /// How well the children that run foreign kernels are shut in.
    pub isolation: Option<Isolation>,
}

/// Something that is no device here, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotOffered {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

/// A device of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// What it is and what was measured of it.
    #[serde(flatten)]
    pub device: Device,
    /// The driver's own name for it, that of a part of a card beginning with `MIG-`; empty for the processor.
    pub uuid: String,
    /// What runs on it now.
    pub job: Option<JobId>,
    /// Why it is not lent now; `None` if it is.
    pub withheld: Option<Withheld>,
    /// What is known of it now, where NVIDIA's management library tells.
    pub facts: Facts,
}

/// One receipt in a list. An id is named after what it is of, so that lists can be joined: this one is the `receipt` of
/// [`JobView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    /// Its id: its hash.
    pub receipt: DocHash,
    /// This node's part in it.
    pub side: Side,
    /// What it says.
    #[serde(flatten)]
    pub body: Receipt,
    /// The requester's half, where it is held.
    pub countersignature: Option<Countersignature>,
}

/// A receipt as it was signed, to be exported and verified anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceiptView {
    /// Name of the network it was signed for.
    pub network: String,
    /// The provider's half.
    pub receipt: SignedParts,
    /// The requester's half, where it is held.
    pub countersignature: Option<SignedParts>,
}

/// A signed document's exact bytes, in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedParts {
    /// What was signed, apart from tag and network.
    pub body: String,
    /// 64 bytes.
    pub signature: String,
}

/// One buffer that a finished job left here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// The buffer's name.
    pub buffer: String,
    /// Its content.
    pub hash: BlobHash,
    /// Its size.
    pub bytes: Bytes,
    /// Where it lies now; to be read, not changed or moved.
    pub path: PathBuf,
}
