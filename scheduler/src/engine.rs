//! The engine: one value that is fed every input and answers with effects. This file is a table of contents; the rules
//! are in [`crate::requester`], [`crate::provider`] and [`crate::matching`].
//!
//! The same seed and inputs give the same effects, byte for byte. Tests: `tests/requester.rs` and `tests/provider.rs` for every
//! rule by itself, `tests/monkey.rs` for all of them together under faults.

use crate::{
    challenger::Challenger,
    config::Config,
    deadline::Topic,
    directory::{SWEEP_EVERY, Taken},
    effect::Effect,
    event::Event,
    input::{
        Answer, CallError, CallId, CheckId, FetchFault, FetchId, Input, OwnerInput, PeerInput, RecordId,
        WorkId, WorkReport,
    },
    matching::{Market, Rests},
    outbox::{FetchFor, Outbox, Question},
    provider::{self, LeaseKey, Provider},
    requester::{self, Cx, Requester},
    view::{Explanation, JobView, LeaseView, OfferView, StatusView},
};
use ion_protocol::{
    BlobHash, JobId, Millis, NanoIo, NodeId, Now, Verified, advert::Advert, check::Finding, fault::Fault,
    job::JobSpec, key::SecretKey, message::Response, record::Record,
};

/// Rounds of deadlines worked off in one turn; what is due after that makes the next deadline now.
const DUE_ROUNDS_MAX: usize = 2;

/// What the journal says, while it is read: of what is over long ago, nothing.
#[derive(Debug, Default)]
pub struct Past {
    jobs: requester::Replay,
    leases: provider::Replay,
}

/// Everything a node decides, as a function of its inputs.
#[derive(Debug)]
pub struct Engine {
    out: Outbox,
    market: Market,
    requester: Requester,
    provider: Provider,
    challenger: Challenger,
    /// The time of the last turn, for views that are asked without one.
    last: Millis,
}

/// The parts, lent to one call.
macro_rules! with {
    ($engine:ident, $now:ident, $part:ident, $cx:ident => $call:expr) => {{
        let $cx = &mut Cx { now: $now, out: &mut $engine.out, market: &mut $engine.market };
        let $part = &mut $engine.$part;
        $call
    }};
}

impl Engine {
    /// An engine that knows nothing yet; `seed` is all the chance it gets.
    pub fn new(config: Config, key: SecretKey, seed: u64) -> Self {
        Self {
            out: Outbox::new(config, key, seed),
            market: Market::default(),
            requester: Requester::default(),
            provider: Provider::default(),
            challenger: Challenger::default(),
            last: Millis::ZERO,
        }
    }

    /// Rebuilds from the journal, in order; what to carry on with comes back as effects. A repeat changes nothing.
    pub fn restore(&mut self, records: impl IntoIterator<Item = Record>, now: Now) -> Vec<Effect> {
        let mut past = Past::default();
        records.into_iter().for_each(|record| self.recall(&mut past, &record, now));
        self.carry_on(past, now)
    }

    /// The next record of the journal.
    pub fn recall(&mut self, past: &mut Past, record: &Record, now: Now) {
        with!(self, now, requester, cx => past.jobs.apply(requester, record, cx));
        with!(self, now, provider, cx => past.leases.apply(provider, record, cx));
        Challenger::restore(record, &mut Cx { now, out: &mut self.out, market: &mut self.market });
    }

    /// That was the last: puts in place what is not over, and says what to carry on with.
    pub fn carry_on(&mut self, past: Past, now: Now) -> Vec<Effect> {
        with!(self, now, requester, cx => past.jobs.finish(requester, cx));
        with!(self, now, provider, cx => past.leases.finish(provider, cx));
        self.out.take()
    }

    /// Takes one input; what to do comes back, in order.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        self.last = now.mono;
        match input {
            Input::Tick => {}
            Input::Devices(devices) => with!(self, now, provider, cx => provider.devices_are(devices, cx)),
            Input::Addresses(addresses) => self.provider.reachable_at(addresses),
            Input::Owner(wish) => self.on_owner(wish, now),
            Input::Peer { from, said } => self.on_peer(from, said, now),
            Input::Answer { call, from, result } => self.on_answer(call, from, result, now),
            Input::Recorded(record) => self.on_recorded(record, now),
            Input::RecordFailed { record, why } => self.on_record_failed(record, why, now),
            Input::FetchProgress { fetch, done, total } => self.on_fetch_progress(fetch, done, total, now),
            Input::Fetched { fetch, result } => self.on_fetched(fetch, result, now),
            Input::WorkProgress { work, done, total } => self.on_work_progress(work, done, total, now),
            Input::Checked { check, result } => self.on_checked(check, result, now),
            Input::Committed { work, result } => {
                with!(self, now, provider, cx => provider.committed(work, result, cx));
            }
            Input::RowsOpened { work, result } => {
                with!(self, now, provider, cx => provider.rows_opened(work, result, cx));
            }
            Input::Judged { challenge, target, result } => {
                with!(self, now, challenger, cx => challenger.judged((challenge, target), result, cx));
            }
            Input::WorkDone { work, result } => self.on_work_done(work, result, now),
        }
        for _ in 0..DUE_ROUNDS_MAX {
            self.on_due(now);
        }
        with!(self, now, provider, cx => provider.settle_turn(cx));
        self.out.take()
    }

    fn on_owner(&mut self, wish: OwnerInput, now: Now) {
        match wish {
            OwnerInput::Submit { job, spec, inline, verify } => {
                with!(self, now, requester, cx => requester.submit(job, spec, inline, verify, cx));
            }
            OwnerInput::Cancel { job } => with!(self, now, requester, cx => requester.cancel(job, cx)),
            OwnerInput::Challenge { challenge, targets } => {
                with!(self, now, challenger, cx => challenger.begin(challenge, targets, cx));
            }
            OwnerInput::Drain => self.provider.drain(),
            OwnerInput::Withhold { device, why } => {
                with!(self, now, provider, cx => provider.withhold(device, why, cx));
            }
            OwnerInput::Evict { device } => with!(self, now, provider, cx => provider.evict(device, cx)),
        }
    }

    fn on_peer(&mut self, from: NodeId, said: PeerInput, now: Now) {
        let lease = |job, attempt| LeaseKey { requester: from, job, attempt };
        match said {
            PeerInput::Connected => self.on_connected(from, now),
            PeerInput::Disconnected => self.on_disconnected(from, now),
            PeerInput::RoundTrip(time) => self.on_round_trip(from, time, now),
            PeerInput::Advert(advert) => self.on_advert(advert, now),
            PeerInput::AdvertsAsked { inbound, max } => {
                let own = self.provider.newest_advert(now);
                let adverts = self.market.directory.answer(own, max, now.wall);
                self.out.answer(inbound, Response::Adverts(adverts));
            }
            PeerInput::Order { inbound, order } => {
                with!(self, now, provider, cx => provider.order(from, inbound, *order, cx));
            }
            PeerInput::Query { inbound, job, attempt } => {
                with!(self, now, provider, cx => provider.query(inbound, lease(job, attempt), cx));
            }
            PeerInput::Cancel { inbound, job, attempt } => {
                with!(self, now, provider, cx => provider.cancel(inbound, lease(job, attempt), cx));
            }
            PeerInput::Deliver { inbound, receipt, outputs, inline } => {
                with!(self, now, requester, cx => {
                    requester.deliver(from, inbound, *receipt, outputs, inline, cx);
                });
            }
            PeerInput::Countersign { inbound, countersignature } => {
                with!(self, now, provider, cx => provider.countersign(from, inbound, *countersignature, cx));
            }
            PeerInput::Challenge { inbound, challenge } => {
                with!(self, now, provider, cx => provider.challenged(from, inbound, challenge, cx));
            }
            PeerInput::Open { inbound, opening } => {
                with!(self, now, provider, cx => provider.open(from, inbound, &opening, cx));
            }
            PeerInput::Progress { job, attempt, state } => {
                with!(self, now, requester, cx => requester.progress((job, attempt), from, state, cx));
            }
        }
    }

    fn on_connected(&mut self, peer: NodeId, now: Now) {
        self.market.directory.connected(peer, true);
        with!(self, now, requester, cx => requester.connected(peer, cx));
        with!(self, now, provider, cx => provider.connected(peer, cx));
    }

    fn on_disconnected(&mut self, peer: NodeId, now: Now) {
        self.market.directory.connected(peer, false);
        with!(self, now, requester, cx => requester.disconnected(peer, cx));
    }

    fn on_round_trip(&mut self, peer: NodeId, time: Millis, now: Now) {
        let news = self.market.directory.peer(&peer).round_trip.is_none();
        self.market.directory.round_trip(peer, time);
        if news {
            with!(self, now, requester, cx => requester.wake(peer, false, cx));
        }
    }

    fn on_advert(&mut self, advert: Verified<Advert>, now: Now) {
        if advert.node == self.out.me {
            return self.provider.seen(advert.seq, now);
        }
        let (provider, devices, free) = (advert.node, advert.devices.len() as u32, advert.free);
        match self.market.directory.take(&self.out.me, advert, now) {
            Taken::Ignored => return,
            Taken::Newer => {}
            Taken::New => self.out.event(Event::OfferSeen { provider, devices }),
        }
        self.out.deadlines.sooner(Topic::Directory, now.mono.saturating_add(SWEEP_EVERY));
        Challenger::await_patrol(&mut Cx { now, out: &mut self.out, market: &mut self.market });
        if free > 0 {
            self.market.rooms.says_free(provider, usize::from(free));
        }
        with!(self, now, requester, cx => requester.wake(provider, free > 0, cx));
    }

    fn on_answer(&mut self, call: CallId, from: NodeId, mut result: Result<Answer, CallError>, now: Now) {
        match &mut result {
            Ok(Answer::Adverts(adverts)) => {
                std::mem::take(adverts).into_iter().for_each(|advert| self.on_advert(advert, now));
            }
            // A refusal carries the offer that holds now.
            Ok(Answer::Refused { advert, .. }) => {
                if let Some(advert) = advert.take().filter(|advert| advert.node == from) {
                    self.on_advert(*advert, now);
                }
            }
            Ok(
                Answer::Accepted(_)
                | Answer::Lease(_)
                | Answer::Countersigned(_)
                | Answer::Noted
                | Answer::Committed(_)
                | Answer::Shown(_),
            )
            | Err(_) => {}
        }
        match self.out.answered(call) {
            Some(Question::Order(job, attempt)) => {
                with!(self, now, requester, cx => requester.order_answered((job, attempt), from, result, cx));
            }
            Some(Question::Query(job, attempt)) => {
                with!(self, now, requester, cx => requester.query_answered((job, attempt), from, result, cx));
            }
            Some(Question::Handover(job, attempt)) => {
                with!(self, now, requester, cx => requester.handed_over((job, attempt), result, cx));
            }
            Some(Question::Deliver(lease)) => {
                with!(self, now, provider, cx => provider.delivered(lease, result, cx));
            }
            Some(Question::Challenge(challenge, target)) => {
                with!(self, now, challenger, cx => challenger.answered((challenge, target), result, cx));
            }
            Some(Question::Courtesy) | None => {}
        }
    }

    fn on_recorded(&mut self, record: RecordId, now: Now) {
        if let Some(fact) = self.out.recorded(record) {
            with!(self, now, requester, cx => requester.recorded(fact, cx));
            with!(self, now, provider, cx => provider.recorded(fact, cx));
        }
    }

    fn on_record_failed(&mut self, record: RecordId, why: String, now: Now) {
        if let Some(fact) = self.out.recorded(record) {
            with!(self, now, requester, cx => requester.record_failed(fact, &why, cx));
            with!(self, now, provider, cx => provider.record_failed(fact, cx));
            self.out.event(Event::RecordFailed { why });
        }
    }

    fn on_fetch_progress(&mut self, fetch: FetchId, done: u64, total: u64, now: Now) {
        match self.out.fetching(fetch) {
            Some(FetchFor::Job(job)) => {
                with!(self, now, requester, cx => requester.fetch_progress(job, done, cx));
            }
            Some(FetchFor::Lease(lease)) => {
                with!(self, now, provider, cx => provider.fetch_progress(lease, done, total, cx));
            }
            None => {}
        }
    }

    fn on_fetched(&mut self, fetch: FetchId, result: Result<(), FetchFault>, now: Now) {
        match self.out.fetched(fetch) {
            Some(FetchFor::Job(job)) => {
                with!(self, now, requester, cx => requester.fetched(job, fetch, result, cx));
            }
            Some(FetchFor::Lease(lease)) => {
                with!(self, now, provider, cx => provider.fetched(lease, fetch, result, cx));
            }
            None => {}
        }
    }

    fn on_checked(&mut self, check: CheckId, result: Result<Finding, Fault>, now: Now) {
        if let Some(job) = self.out.checked(check, now.mono) {
            with!(self, now, requester, cx => requester.checked(job, check, result, cx));
        }
    }

    fn on_work_progress(&mut self, work: WorkId, done: u64, total: u64, now: Now) {
        if let Some(lease) = self.out.working(work) {
            with!(self, now, provider, cx => provider.work_progress(lease, done, total, cx));
        }
    }

    fn on_work_done(&mut self, work: WorkId, result: Result<WorkReport, Fault>, now: Now) {
        match self.out.worked(work) {
            Some(lease) => with!(self, now, provider, cx => provider.worked(lease, work, result, cx)),
            None => with!(self, now, provider, cx => provider.proved(work, result, cx)),
        }
    }

    fn on_due(&mut self, now: Now) {
        for topic in self.out.deadlines.take_due(now.mono) {
            match topic {
                Topic::Job(job) => with!(self, now, requester, cx => requester.due(job, cx)),
                Topic::Handover(job, attempt) => {
                    with!(self, now, requester, cx => requester.offer(job, attempt, cx));
                }
                Topic::Lease(lease) => with!(self, now, provider, cx => provider.due(lease, cx)),
                Topic::Progress => with!(self, now, provider, cx => provider.tell_progress(cx)),
                // Looked at in every turn anyway.
                Topic::Advert => {}
                Topic::Directory => self.sweep(now),
                Topic::Patrol => {
                    let busy = self.requester.live() > 0 || self.provider.is_draining();
                    with!(self, now, challenger, cx => challenger.patrol(busy, cx));
                }
                Topic::Proofs => with!(self, now, provider, cx => provider.forget_proofs(cx)),
            }
        }
    }

    fn sweep(&mut self, now: Now) {
        self.market.directory.sweep(now.wall);
        if self.market.directory.len() > 0 {
            self.out.deadlines.set(Topic::Directory, Some(now.mono.saturating_add(SWEEP_EVERY)));
        }
    }

    /// When [`Input::Tick`] is due, by the monotonic clock.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.out.deadlines.next()
    }

    /// This node's jobs, oldest first.
    pub fn jobs(&self) -> Vec<JobView> {
        self.requester.views()
    }

    /// One of them.
    pub fn job(&self, job: &JobId) -> Option<JobView> {
        self.requester.view(job)
    }

    /// The directory, by node id.
    pub fn offers(&self, now: Now) -> Vec<OfferView> {
        self.market.offers(now)
    }

    /// Why a job is where it is.
    pub fn why(&self, job: &JobId, now: Now) -> Option<Explanation> {
        let view = self.requester.view(job)?;
        let mut explanation = match self.requester.head(job) {
            Some(head) => self.explain(job, &head.spec, Some(&head.rests), now),
            None => Explanation::default(),
        };
        explanation.job = Some(*job);
        explanation.state = view.state;
        explanation.attempts = view.attempts;
        Some(explanation)
    }

    /// Where a job would go; the same code as for a real one, and no messages.
    pub fn match_spec(&self, spec: &JobSpec, now: Now) -> Explanation {
        self.explain(&JobId([0; 16]), spec, None, now)
    }

    fn explain(&self, job: &JobId, spec: &JobSpec, rests: Option<&Rests>, now: Now) -> Explanation {
        let ranking = self.market.rank(&self.out.config, job, spec, rests, now);
        Explanation {
            job: None,
            state: "dry-run".to_owned(),
            candidates: ranking.views(),
            would_change: ranking.would_change(spec),
            rejections: ranking.rejections,
            attempts: Vec::new(),
        }
    }

    /// The leases this node holds or held as a provider, oldest first.
    pub fn leases(&self) -> Vec<LeaseView> {
        self.provider.views()
    }

    /// The node in numbers.
    pub fn status(&self) -> StatusView {
        let counts = self.requester.counts;
        let mut status = StatusView {
            node: self.out.me,
            provides: self.out.config.provide,
            draining: false,
            addresses: Vec::new(),
            devices: Vec::new(),
            free: 0,
            queued: 0,
            running: 0,
            price_per_second: self.out.config.price_per_second,
            offers: self.market.directory.len() as u32,
            jobs_live: self.requester.live() as u32,
            jobs_done: counts.done,
            jobs_failed: counts.failed,
            jobs_cancelled: counts.cancelled,
            leases_live: 0,
            receipts_open: 0,
            receipts_settled: 0,
            earned: NanoIo::ZERO,
            spent: counts.spent,
        };
        self.provider.numbers(&mut status);
        status
    }

    /// Whether a blob is needed by a live job, a lease, an undelivered output, or a result that ended moments ago, so
    /// that it must not be evicted.
    pub fn holds(&self, hash: &BlobHash) -> bool {
        self.requester.holds(hash, self.last) || self.provider.holds(hash)
    }
}
