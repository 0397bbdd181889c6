//! What must hold after every step, whatever happens.

use ion_protocol::{
    Attempt, JobId, NodeId,
    codec::{self, Decode, Encode},
    deal::{Acceptance, Order},
    message::{Request, Response},
    receipt::{Countersignature, Receipt},
    record::{JobEnd, Record},
    signed::{Document, Signed},
};
use ion_scheduler::{Effect, event::Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    hash::{DefaultHasher, Hasher},
};

/// Effects of one turn: a bound on how much one input can make a node of five do.
const EFFECTS_MAX: usize = 300;

/// See the module.
#[derive(Default)]
pub struct Rules {
    /// Per node: bodies of signed documents whose record is durable.
    durable: BTreeMap<usize, BTreeSet<Vec<u8>>>,
    /// Signed documents that were seen to leave, by what there may be only one of.
    said: BTreeMap<String, Vec<u8>>,
    settled: BTreeSet<(usize, NodeId, JobId, Attempt)>,
    ended: BTreeSet<JobId>,
    pub accepted: BTreeSet<JobId>,
    pub failed: usize,
    /// Lies that were found.
    pub lies: usize,
    log: Log,
}

/// A running hash of all effects.
#[derive(Default)]
struct Log(DefaultHasher);

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn body<T: Document + Encode + Decode<()>>(signed: &Signed<T>) -> T {
    codec::decode(signed.body_bytes(), T::BYTES_MAX).expect("engines sign what decodes")
}

impl Rules {
    /// The same seed must give the same.
    pub fn log_hash(&self) -> u64 {
        self.log.0.finish()
    }

    /// A record is confirmed, or was found on the disk.
    pub fn durable(&mut self, node: usize, record: &Record) {
        let durable = self.durable.entry(node).or_default();
        match record {
            Record::OrderSigned { order } => drop(durable.insert(order.body_bytes().to_vec())),
            Record::LeaseTaken { acceptance, .. } => drop(durable.insert(acceptance.body_bytes().to_vec())),
            Record::ReceiptSigned { receipt, .. } => drop(durable.insert(receipt.body_bytes().to_vec())),
            Record::Countersigned { countersignature, .. } => {
                durable.insert(countersignature.body_bytes().to_vec());
            }
            Record::JobSubmitted { .. }
            | Record::AttemptLost { .. }
            | Record::DeliveryFalse { .. }
            | Record::JobEnded { .. }
            | Record::ReceiptSettled { .. }
            | Record::LeaseReleased { .. }
            | Record::Challenged { .. }
            | Record::ChallengeDeclined { .. } => {}
        }
    }

    /// What was confirmed before a crash is read back after it; nothing else may be said.
    pub fn crashed(&mut self, node: usize) {
        self.durable.remove(&node);
    }

    /// Looks at the effects of one turn.
    pub fn effects(&mut self, node: usize, effects: &[Effect]) {
        assert!(effects.len() <= EFFECTS_MAX, "{} effects at once", effects.len());
        for effect in effects {
            write!(self.log, "{node} {effect:?}").expect("a hash takes everything");
            match effect {
                Effect::Call { request, .. } => self.request(node, request),
                Effect::Answer { response, .. } => self.response(node, response),
                Effect::Event(event) => self.event(node, event),
                Effect::Notice { .. }
                | Effect::Publish(_)
                | Effect::Discover(_)
                | Effect::Record { .. }
                | Effect::Keep(_)
                | Effect::Fetch { .. }
                | Effect::StopFetch(_)
                | Effect::Work { .. }
                | Effect::StopWork(_)
                | Effect::Check { .. }
                | Effect::StopCheck(_)
                | Effect::Prove { .. }
                | Effect::Commit { .. }
                | Effect::OpenRows { .. }
                | Effect::Judge { .. }
                | Effect::Challenged { .. } => {}
            }
        }
    }

    fn request(&mut self, node: usize, request: &Request) {
        match request {
            Request::Order(order) => {
                let b: Order = body(order);
                self.leaves(node, format!("order {:?} {} {}", b.requester, b.job, b.attempt), order);
            }
            Request::Deliver(delivery) => {
                let b: Receipt = body(&delivery.receipt);
                let what = format!("receipt {:?} {:?} {} {}", b.provider, b.requester, b.job, b.attempt);
                self.leaves(node, what, &delivery.receipt);
            }
            Request::Countersign(half) => self.half(node, half),
            Request::Adverts { .. }
            | Request::Query { .. }
            | Request::Cancel { .. }
            | Request::Challenge(_)
            | Request::Open(_) => {}
        }
    }

    fn response(&mut self, node: usize, response: &Response) {
        match response {
            Response::Accepted(acceptance) => {
                let b: Acceptance = body(acceptance);
                let what = format!("acceptance {:?} {:?} {} {}", b.provider, b.requester, b.job, b.attempt);
                self.leaves(node, what, acceptance);
            }
            Response::Countersigned(half) => self.half(node, half),
            Response::Adverts(_)
            | Response::Refused(_)
            | Response::Lease(_)
            | Response::Noted
            | Response::Committed(_)
            | Response::Shown(_) => {}
        }
    }

    fn half(&mut self, node: usize, half: &Signed<Countersignature>) {
        let b: Countersignature = body(half);
        self.leaves(node, format!("half {:?} {}", b.requester, b.receipt), half);
    }

    /// A signed document leaves: it is durable, and it is the only one of its kind.
    fn leaves<T>(&mut self, node: usize, what: String, signed: &Signed<T>)
    where
        T: Document,
    {
        let bytes = signed.body_bytes().to_vec();
        let durable = self.durable.get(&node).is_some_and(|durable| durable.contains(&bytes));
        assert!(durable, "node {node} says {what} before it is durable");
        let before = self.said.entry(what.clone()).or_insert_with(|| bytes.clone());
        assert_eq!(*before, bytes, "node {node} says two different things: {what}");
    }

    fn event(&mut self, node: usize, event: &Event) {
        if let Event::ReceiptSettled { job, attempt, requester, .. } = event {
            let first = self.settled.insert((node, *requester, *job, *attempt));
            assert!(first, "node {node} is paid twice for attempt {attempt} of {job}");
        }
        if let Event::JobEnded { job, end, .. } = event {
            assert!(self.ended.insert(*job), "{job} ends twice");
            self.failed += usize::from(matches!(end, JobEnd::Failed { .. }));
        }
        self.lies += usize::from(matches!(event, Event::DeliveryFalse { .. }));
        if let Event::JobAccepted { job } = event {
            self.accepted.insert(*job);
        }
    }
}
