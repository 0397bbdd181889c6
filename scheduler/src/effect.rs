//! Everything a node can do. No effect returns a value: results come back as inputs with the id they left with.
//! The driver carries effects out in the order given.

use crate::{
    event::Event,
    input::{CallId, ChallengeId, CheckId, FetchId, InboundId, RecordId, WorkId},
};
use ion_protocol::{
    BlobHash, Bytes, Millis, NodeId, Verified,
    advert::Advert,
    challenge::{Challenge, OpenedRow, Roots, Transcript},
    check::BlockAt,
    deal::InlineBlob,
    job::{JobSpec, Needs},
    message::{Notice, Request, Response},
    receipt::Output,
    record::Record,
    states::Kept,
};

/// Blocks of all launches, and the memory between them that a provider has committed to and shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Between {
    /// Who holds it.
    pub from: NodeId,
    /// Where it may be reached if it is not connected.
    pub addresses: Vec<String>,
    /// The commitment.
    pub kept: Kept,
    /// Which blocks.
    pub blocks: Vec<BlockAt>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask a peer; the outcome comes back as [`crate::Input::Answer`], after `timeout` at the latest.
    Call {
        /// To recognise the answer.
        call: CallId,
        /// Whom.
        to: NodeId,
        /// Where it may be reached if it is not connected, as multiaddress text.
        addresses: Vec<String>,
        /// What.
        request: Request,
        /// How long to wait, dialling included.
        timeout: Millis,
    },
    /// Answer a peer's question; exactly once for each.
    Answer {
        /// Which question.
        inbound: InboundId,
        /// What.
        response: Response,
    },
    /// Tell a peer, if it is connected; nothing comes back.
    Notice {
        /// Whom.
        to: NodeId,
        /// What.
        notice: Notice,
    },
    /// Say this to the whole network, and under the DHT's capability keys.
    Publish(Verified<Advert>),
    /// Find providers the directory does not know: ask peers for adverts and walk the DHT.
    Discover(Needs),
    /// Make a fact durable; comes back as [`crate::Input::Recorded`] or [`crate::Input::RecordFailed`].
    Record {
        /// To recognise it.
        record: RecordId,
        /// What.
        body: Box<Record>,
        /// Whether something waits for it; else it may share the sync of one that comes soon.
        hurry: bool,
    },
    /// Put small blobs into the store; precedes the fetch that covers them, whose answer says that they are there.
    Keep(Vec<InlineBlob>),
    /// Bring these blobs here, as far as they are not; comes back as [`crate::Input::Fetched`].
    Fetch {
        /// To recognise it.
        fetch: FetchId,
        /// From whom.
        from: NodeId,
        /// Where it may be reached if it is not connected.
        addresses: Vec<String>,
        /// What, and how large.
        blobs: Vec<(BlobHash, Bytes)>,
        /// Whether they must survive a loss of power before the answer.
        durable: bool,
    },
    /// Stop a fetch; nothing comes back for it. What was verified stays.
    StopFetch(FetchId),
    /// Run a program whose blobs are all here; comes back as [`crate::Input::WorkDone`].
    Work {
        /// To recognise it.
        work: WorkId,
        /// Whose it is: nobody else's may follow it in the same process.
        tenant: NodeId,
        /// On which device.
        device: u16,
        /// What.
        spec: Box<JobSpec>,
        /// Whether the memory between its launches is to be kept.
        keep_states: bool,
    },
    /// Kill a program; comes back as `WorkDone` with [`ion_protocol::fault::Fault::Cancelled`].
    StopWork(WorkId),
    /// Run blocks of a delivered program again, from its inputs, and hold them against its outputs; all blobs are here.
    /// Comes back as [`crate::Input::Checked`], after `limit` at the latest.
    Check {
        /// To recognise it.
        check: CheckId,
        /// What was run.
        spec: Box<JobSpec>,
        /// What was delivered.
        outputs: Vec<Output>,
        /// Blocks of the last launch, by number.
        blocks: Vec<u64>,
        /// What to do where these cannot be checked from the inputs alone.
        between: Option<Box<Between>>,
        /// How long it may take.
        limit: Millis,
    },
    /// Stop a check; nothing comes back for it.
    StopCheck(CheckId),
    /// Compute a challenge's product; comes back as [`crate::Input::WorkDone`].
    Prove {
        /// To recognise it.
        work: WorkId,
        /// On which device.
        device: u16,
        /// What.
        challenge: Box<Challenge>,
        /// How long it may take.
        limit: Millis,
    },
    /// Put together what it computed; comes back as [`crate::Input::Committed`].
    Commit {
        /// To recognise it.
        work: WorkId,
        /// What was asked.
        challenge: Box<Challenge>,
        /// What came out; in the blob store.
        outputs: Vec<Output>,
    },
    /// Make the rows ready that are asked for; comes back as [`crate::Input::RowsOpened`].
    OpenRows {
        /// To recognise it.
        work: WorkId,
        /// What was asked.
        challenge: Box<Challenge>,
        /// What came out; in the blob store.
        outputs: Vec<Output>,
        /// From which the rows follow.
        opening: [u8; 32],
    },
    /// Check rows that a provider showed; comes back as [`crate::Input::Judged`].
    Judge {
        /// To recognise it.
        challenge: ChallengeId,
        /// Which target.
        target: u16,
        /// What was asked.
        asked: Box<Challenge>,
        /// What was committed to.
        roots: Roots,
        /// From which the rows follow.
        opening: [u8; 32],
        /// What was shown.
        rows: Vec<OpenedRow>,
    },
    /// A challenge of the owner's is over.
    Challenged {
        /// Which.
        challenge: ChallengeId,
        /// What came of it, target by target.
        reports: Vec<ChallengeReport>,
    },
    /// Tell people and programs that watch.
    Event(Event),
}

/// What came of challenging one device.
#[derive(Clone, Debug)]
pub struct ChallengeReport {
    /// Whose.
    pub provider: NodeId,
    /// Its index.
    pub device: u16,
    /// All that was said, or why nothing was: it refused at once, or can't be reached.
    pub result: Result<Box<Transcript>, String>,
}
