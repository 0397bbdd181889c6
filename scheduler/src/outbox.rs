//! What the engine is about to do, and what it waits for: effects of this turn, ids, and whose answer is whose.
//!
//! Owns the key, the configuration and the seeded chance. Never decides anything.

use crate::{
    config::Config,
    deadline::Deadlines,
    effect::{Between, Effect},
    event::Event,
    input::{CallId, ChallengeId, CheckId, FetchId, InboundId, RecordId, WorkId},
    provider::LeaseKey,
};
use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, Millis, NodeId, UnixMillis, Verified,
    challenge::{Challenge, Words},
    deal::{Refusal, RefusalReason},
    job::JobSpec,
    key::SecretKey,
    message::{Request, Response},
    receipt::Output,
    record::Record,
    signed::{Document, Signed},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Open questions remembered; an answer to an older one is dropped, and its asker's own deadline goes on.
const CALLS_MAX: usize = 65_536;
/// Begins what is signed to draw a secret; no document begins so.
const SECRET_TAG: &[u8] = b"ion secret 1";
/// First and longest pause before a peer is tried again.
const BACKOFF_MS_MIN: u64 = 250;
const BACKOFF_MS_MAX: u64 = 30_000;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// A job, with its order.
    Order(JobId, Attempt),
    /// A job, after its lease.
    Query(JobId, Attempt),
    /// A countersignature on its way.
    Handover(JobId, Attempt),
    /// A lease, with its result.
    Deliver(LeaseKey),
    /// A challenge, to one of its targets.
    Challenge(ChallengeId, u16),
    /// Nobody waits for this one.
    Courtesy,
}

/// What a record makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A job.
    Submitted(JobId),
    /// An order.
    Ordered(JobId, Attempt),
    /// A countersignature.
    Countersigned(JobId, Attempt),
    /// A job's end.
    Ended(JobId),
    /// An acceptance.
    Taken(LeaseKey),
    /// A receipt.
    Receipt(LeaseKey),
    /// The requester's half of a receipt.
    Settled(LeaseKey),
    /// Nothing is said because of it.
    Quiet,
}

impl Fact {
    /// Whether somebody waits for it. Nobody waits for an acceptance, since the work has begun, nor for the answer to a
    /// countersignature.
    fn hurries(self) -> bool {
        match self {
            Fact::Submitted(_)
            | Fact::Ordered(..)
            | Fact::Countersigned(..)
            | Fact::Ended(_)
            | Fact::Receipt(_) => true,
            Fact::Taken(_) | Fact::Settled(_) | Fact::Quiet => false,
        }
    }
}

/// Whose fetch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchFor {
    /// A job's outputs.
    Job(JobId),
    /// A lease's inputs.
    Lease(LeaseKey),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) config: Config,
    pub(crate) me: NodeId,
    pub(crate) deadlines: Deadlines,
    key: SecretKey,
    chance: fastrand::Rng,
    next_id: u64,
    effects: Vec<Effect>,
    calls: BTreeMap<CallId, Question>,
    records: BTreeMap<RecordId, Fact>,
    fetches: BTreeMap<FetchId, FetchFor>,
    works: BTreeMap<WorkId, LeaseKey>,
    checks: BTreeMap<CheckId, JobId>,
    /// The one that is being made, and since when.
    checking: Option<(CheckId, Millis)>,
    /// Those that wait for it, oldest first: as many as jobs under way at most.
    to_check: VecDeque<(CheckId, Effect)>,
}

impl Outbox {
    pub(crate) fn new(config: Config, key: SecretKey, seed: u64) -> Self {
        Self {
            me: key.node_id(),
            config,
            key,
            deadlines: Deadlines::default(),
            chance: fastrand::Rng::with_seed(seed),
            next_id: 0,
            effects: Vec::new(),
            calls: BTreeMap::new(),
            records: BTreeMap::new(),
            fetches: BTreeMap::new(),
            works: BTreeMap::new(),
            checks: BTreeMap::new(),
            checking: None,
            to_check: VecDeque::new(),
        }
    }

    /// The effects of this turn.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    pub(crate) fn sign<T: Document>(&self, body: T) -> Verified<T> {
        Signed::sign(body, &self.config.network, &self.key)
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn call(&mut self, question: Question, to: NodeId, addresses: Vec<String>, request: Request) {
        self.call_within(self.config.call_timeout, question, to, addresses, request);
    }

    /// As [`Self::call`], with this much patience.
    pub(crate) fn call_within(
        &mut self,
        timeout: Millis,
        question: Question,
        to: NodeId,
        addresses: Vec<String>,
        request: Request,
    ) {
        let call = CallId(self.id());
        self.calls.insert(call, question);
        if self.calls.len() > CALLS_MAX {
            self.calls.pop_first();
        }
        self.push(Effect::Call { call, to, addresses, request, timeout });
    }

    pub(crate) fn answer(&mut self, inbound: InboundId, response: Response) {
        self.push(Effect::Answer { inbound, response });
    }

    pub(crate) fn refuse(&mut self, inbound: InboundId, reason: RefusalReason) {
        self.answer(inbound, Response::Refused(Refusal { reason, advert: None }));
    }

    pub(crate) fn record(&mut self, fact: Fact, body: Record) {
        let record = RecordId(self.id());
        self.records.insert(record, fact);
        self.push(Effect::Record { record, body: Box::new(body), hurry: fact.hurries() });
    }

    pub(crate) fn fetch(
        &mut self,
        whose: FetchFor,
        from: NodeId,
        addresses: Vec<String>,
        blobs: Vec<(BlobHash, Bytes)>,
    ) -> FetchId {
        let fetch = FetchId(self.id());
        self.fetches.insert(fetch, whose);
        // Results are acknowledged to their provider; inputs can be had again from their requester.
        let durable = match whose {
            FetchFor::Job(_) => true,
            FetchFor::Lease(_) => false,
        };
        self.push(Effect::Fetch { fetch, from, addresses, blobs, durable });
        fetch
    }

    pub(crate) fn stop_fetch(&mut self, fetch: FetchId) {
        if self.fetches.remove(&fetch).is_some() {
            self.push(Effect::StopFetch(fetch));
        }
    }

    pub(crate) fn work(
        &mut self,
        lease: LeaseKey,
        device: u16,
        spec: Box<JobSpec>,
        keep_states: bool,
    ) -> WorkId {
        let work = WorkId(self.id());
        self.works.insert(work, lease);
        self.push(Effect::Work { work, tenant: lease.requester, device, spec, keep_states });
        work
    }

    /// A challenge's product on a device of ours.
    pub(crate) fn prove(&mut self, device: u16, challenge: Box<Challenge>, limit: Millis) -> WorkId {
        let work = WorkId(self.id());
        self.push(Effect::Prove { work, device, challenge, limit });
        work
    }

    /// Has blocks run again, once all checks before are over: what one takes is not taken from the next.
    pub(crate) fn check(
        &mut self,
        job: JobId,
        spec: Box<JobSpec>,
        outputs: Vec<Output>,
        blocks: Vec<u64>,
        between: Option<Between>,
        now: Millis,
    ) -> CheckId {
        let check = CheckId(self.id());
        self.checks.insert(check, job);
        let limit = self.config.check_max;
        let between = between.map(Box::new);
        self.to_check.push_back((check, Effect::Check { check, spec, outputs, blocks, between, limit }));
        self.next_check(now);
        check
    }

    /// Checks that are made or wait.
    pub(crate) fn checks(&self) -> usize {
        self.checks.len()
    }

    fn next_check(&mut self, now: Millis) {
        if self.checking.is_none()
            && let Some((check, effect)) = self.to_check.pop_front()
        {
            self.checking = Some((check, now));
            self.push(effect);
        }
    }

    /// Since when a check is being made; `None` before its turn.
    pub(crate) fn checking_since(&self, check: CheckId) -> Option<Millis> {
        self.checking.filter(|(made, _)| *made == check).map(|(_, since)| since)
    }

    pub(crate) fn stop_check(&mut self, check: CheckId, now: Millis) {
        if self.checking_since(check).is_some() {
            self.push(Effect::StopCheck(check));
        }
        self.checked(check, now);
    }

    /// `count` different numbers below `of`, or all of them, in rising order. Nobody can know them from those drawn
    /// before.
    pub(crate) fn draw(&mut self, count: usize, of: u64, wall: UnixMillis) -> Vec<u64> {
        if of <= count as u64 {
            return (0..of).collect();
        }
        let mut words = Words::new("ion check blocks 1", &self.secret(wall));
        let mut drawn = BTreeSet::new();
        while drawn.len() < count {
            let wide = u64::from(words.next()) << 32 | u64::from(words.next());
            drawn.insert(wide % of);
        }
        drawn.into_iter().collect()
    }

    /// A number below `of`, at random; 0 where there is none.
    pub(crate) fn below(&mut self, of: u64) -> u64 {
        if of == 0 { 0 } else { self.chance.u64(0..of) }
    }

    /// Bytes that nobody can know who does not hold the key, not even from those drawn before; never the same twice.
    pub(crate) fn secret(&mut self, wall: UnixMillis) -> [u8; 32] {
        let [id, chance] = [self.id(), self.chance.u64(..)].map(u64::to_le_bytes);
        let text = [SECRET_TAG, &id, &chance, &wall.0.to_le_bytes()].concat();
        BlobHash::of(&self.key.sign(&text)).0
    }

    /// Whose answer this is; once.
    pub(crate) fn answered(&mut self, call: CallId) -> Option<Question> {
        self.calls.remove(&call)
    }

    /// What is durable now, or failed to be; once.
    pub(crate) fn recorded(&mut self, record: RecordId) -> Option<Fact> {
        self.records.remove(&record)
    }

    pub(crate) fn fetching(&self, fetch: FetchId) -> Option<FetchFor> {
        self.fetches.get(&fetch).copied()
    }

    pub(crate) fn fetched(&mut self, fetch: FetchId) -> Option<FetchFor> {
        self.fetches.remove(&fetch)
    }

    pub(crate) fn working(&self, work: WorkId) -> Option<LeaseKey> {
        self.works.get(&work).copied()
    }

    pub(crate) fn worked(&mut self, work: WorkId) -> Option<LeaseKey> {
        self.works.remove(&work)
    }

    /// A check is over, or not wanted any more: the next one's turn.
    pub(crate) fn checked(&mut self, check: CheckId, now: Millis) -> Option<JobId> {
        let job = self.checks.remove(&check)?;
        self.to_check.retain(|(waiting, _)| *waiting != check);
        self.checking.take_if(|(made, _)| *made == check);
        self.next_check(now);
        Some(job)
    }

    /// A pause that doubles with every time, with half of it left to chance so that peers spread.
    pub(crate) fn backoff(&mut self, times: u32) -> Millis {
        let pause = (BACKOFF_MS_MIN << times.min(7)).min(BACKOFF_MS_MAX);
        Millis(pause / 2 + self.chance.u64(0..=pause / 2))
    }

    /// `every`, give or take a tenth.
    pub(crate) fn jittered(&mut self, every: Millis) -> Millis {
        let tenth = every.0 / 10;
        Millis(every.0.saturating_sub(tenth) + self.chance.u64(0..=2 * tenth))
    }
}

/// Which of several equals is taken: differs between jobs, so that requesters with the same view spread
/// (rendezvous hashing).
pub(crate) fn rendezvous(job: &JobId, provider: &NodeId) -> DocHash {
    DocHash(BlobHash::of(&[job.0.as_slice(), &provider.0].concat()).0)
}
