//! Everything that can happen to a node. Peers' words arrive here only after the door has checked size, encoding and
//! signature; the engine checks meaning.

use ion_protocol::{
    Attempt, JobId, Millis, Nanos, NodeId, Verified,
    advert::Advert,
    challenge::{self, Challenge, Commitment, Flaw, OpenedRow, Opening, Roots},
    check::Finding,
    deal::{Acceptance, InlineBlob, Order, RefusalReason},
    fault::Fault,
    hardware::{Device, Engine, Withheld},
    job::JobSpec,
    message::LeaseState,
    receipt::{Countersignature, Output, Receipt},
    states::States,
};

/// A question of ours, until it is answered. Drawn by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A question of a peer's that we owe an answer. Drawn by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundId(pub u64);

/// A record on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// Blobs on their way to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Why blobs did not come; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// Whoever holds them did not give them, or the way there is broken.
    #[error("{0}")]
    Source(String),
    /// This node could not take them in: its disk is full, or its own services are.
    #[error("{0}")]
    Here(String),
}

/// A program in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId(pub u64);

/// Blocks that are being run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// A challenge of ours, to one or more providers. Drawn by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChallengeId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; some deadline may be over.
    Tick,
    /// The owner's machine has these devices now (after probing, or after one was lost).
    Devices(Vec<Device>),
    /// Where this node can be reached, as multiaddress text.
    Addresses(Vec<String>),
    /// The owner's wish.
    Owner(OwnerInput),
    /// A peer's word.
    Peer {
        /// Whose, proven by the connection.
        from: NodeId,
        /// What.
        said: PeerInput,
    },
    /// The answer to [`crate::Effect::Call`], or that none came.
    Answer {
        /// To which question.
        call: CallId,
        /// From whom.
        from: NodeId,
        /// What.
        result: Result<Answer, CallError>,
    },
    /// A record is durable: what it covers may be said now.
    Recorded(RecordId),
    /// A record could not be written: what it covers must not be said.
    RecordFailed {
        /// Which.
        record: RecordId,
        /// Why, for people (`no space left on device`).
        why: String,
    },
    /// Blobs moved a bit.
    FetchProgress {
        /// Which fetch.
        fetch: FetchId,
        /// Bytes held.
        done: u64,
        /// Bytes needed.
        total: u64,
    },
    /// All blobs are held, or can't be had.
    Fetched {
        /// Which fetch.
        fetch: FetchId,
        /// Whether they are.
        result: Result<(), FetchFault>,
    },
    /// A worker finished some launches.
    WorkProgress {
        /// Which program.
        work: WorkId,
        /// Launches finished.
        done: u64,
        /// Launches in all.
        total: u64,
    },
    /// Blocks were run again, or could not be.
    Checked {
        /// Which check.
        check: CheckId,
        /// What they showed.
        result: Result<Finding, Fault>,
    },
    /// What a challenged device computed was put together, or could not be.
    Committed {
        /// In which program.
        work: WorkId,
        /// Both roots; `Err` is told to the challenger.
        result: Result<Roots, String>,
    },
    /// Rows of it were made ready to be shown, or could not be.
    RowsOpened {
        /// Of which program.
        work: WorkId,
        /// `Err` is told to the challenger.
        result: Result<Vec<OpenedRow>, String>,
    },
    /// The rows that a provider showed were checked.
    Judged {
        /// In which challenge.
        challenge: ChallengeId,
        /// Which of its targets.
        target: u16,
        /// What is wrong with them.
        result: Result<(), Flaw>,
    },
    /// A worker finished a program, or the program ended otherwise. Outputs are in the blob store already.
    WorkDone {
        /// Which program.
        work: WorkId,
        /// How it ended.
        result: Result<WorkReport, Fault>,
    },
}

/// What the owner wants.
#[derive(Clone, Debug)]
pub enum OwnerInput {
    /// Run this. Modules and inputs are in the blob store already; `inline` repeats the small ones.
    Submit {
        /// Drawn at random by the driver; a repeat is answered like the first time.
        job: JobId,
        /// What.
        spec: JobSpec,
        /// Small blobs to carry in the order, at most [`ion_protocol::limits::INLINE_BYTES_MAX`] together.
        inline: Vec<InlineBlob>,
        /// How many blocks of what is delivered to run again before it is accepted; 0 for none, at most
        /// [`ion_protocol::limits::CHECK_BLOCKS_MAX`].
        verify: u16,
    },
    /// Stop this job.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// Challenge these devices, all at the same moment; ends with [`crate::Effect::Challenged`].
    Challenge {
        /// Drawn by the driver.
        challenge: ChallengeId,
        /// At most [`ion_protocol::challenge::BESIDE_MAX`].
        targets: Vec<ChallengeTarget>,
    },
    /// Take no new orders, finish what runs, then say [`crate::event::Event::Drained`].
    Drain,
    /// Lend a device no more, for this reason, or again where there is none. What runs on it is finished; its advert goes
    /// at once.
    Withhold {
        /// Its index.
        device: u16,
        /// `None`: it is lent again.
        why: Option<Withheld>,
    },
    /// Stop what runs on a device; it ends with [`Fault::Withdrawn`].
    Evict {
        /// Its index.
        device: u16,
    },
}

/// A device to be challenged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeTarget {
    /// Whose.
    pub provider: NodeId,
    /// Its index.
    pub device: u16,
    /// For the product; unpredictable.
    pub seed: [u8; 32],
    /// For the rows that are opened; unpredictable, and told to nobody before there is a commitment.
    pub opening: [u8; 32],
}

/// What a peer can say unasked.
#[derive(Clone, Debug)]
pub enum PeerInput {
    /// A connection stands.
    Connected,
    /// The last connection is gone.
    Disconnected,
    /// A measured round trip.
    RoundTrip(Millis),
    /// An advert, its own or one it passes on; checked against the clock at the door.
    Advert(Verified<Advert>),
    /// It wants adverts.
    AdvertsAsked {
        /// To answer.
        inbound: InboundId,
        /// At most this many.
        max: u16,
    },
    /// It orders.
    Order {
        /// To answer.
        inbound: InboundId,
        /// What.
        order: Box<Verified<Order>>,
    },
    /// It asks after a job.
    Query {
        /// To answer.
        inbound: InboundId,
        /// Which job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
    },
    /// It wants a job stopped.
    Cancel {
        /// To answer.
        inbound: InboundId,
        /// Which job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
    },
    /// It delivers.
    Deliver {
        /// To answer.
        inbound: InboundId,
        /// Its half of the receipt.
        receipt: Box<Verified<Receipt>>,
        /// What came out.
        outputs: Vec<Output>,
        /// Small outputs.
        inline: Vec<InlineBlob>,
    },
    /// It accepts what we delivered.
    Countersign {
        /// To answer.
        inbound: InboundId,
        /// Its half of the receipt.
        countersignature: Box<Verified<Countersignature>>,
    },
    /// It challenges one of our devices.
    Challenge {
        /// To answer.
        inbound: InboundId,
        /// What.
        challenge: Box<Verified<Challenge>>,
    },
    /// It wants to see rows of what we committed to.
    Open {
        /// To answer.
        inbound: InboundId,
        /// Which.
        opening: Verified<Opening>,
    },
    /// It works for us.
    Progress {
        /// Which job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Where it stands.
        state: LeaseState,
    },
}

/// What a peer answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It will run the order.
    Accepted(Box<Verified<Acceptance>>),
    /// No.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// Its newest advert.
        advert: Option<Box<Verified<Advert>>>,
    },
    /// Where it stands with a job.
    Lease(LeaseState),
    /// It accepts what we delivered.
    Countersigned(Box<Verified<Countersignature>>),
    /// Understood.
    Noted,
    /// It computed what it was challenged to.
    Committed(Box<Verified<Commitment>>),
    /// Rows of it.
    Shown(Box<Verified<challenge::Answer>>),
    /// Adverts it knows.
    Adverts(Vec<Verified<Advert>>),
}

/// Why there is no answer. Whether the peer acted on the question is unknown: ask again with the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection could be made.
    #[error("could not be reached ({0})")]
    Unreachable(String),
    /// Connected, but no answer came in time.
    #[error("did not answer in time")]
    TimedOut,
    /// Answered with something that is no answer to the question, or not signed by it.
    #[error("broke the protocol ({0})")]
    Protocol(String),
    /// Our own queue is full.
    #[error("this node is too busy to ask")]
    Busy,
}

/// What a finished program amounted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkReport {
    /// What came out.
    pub outputs: Vec<Output>,
    /// The small ones of them, at most [`ion_protocol::limits::INLINE_BYTES_MAX`] together.
    pub inline: Vec<InlineBlob>,
    /// The memory between launches: in the blob store, where it was wanted and could be kept.
    pub states: States,
    /// Device model.
    pub device: String,
    /// What executed the kernels.
    pub engine: Engine,
    /// Metered in kernels.
    pub device_time: Nanos,
    /// Wall time in the worker.
    pub ran: Millis,
    /// What the kernels printed: for whoever runs the job on their own machine, no part of a delivery.
    pub printed: String,
}
