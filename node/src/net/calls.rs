//! What this node waits for: answers to its questions, blob streams on connections still being dialled, and the questions
//! of others it owes an answer. Every entry has an end: an outcome or a deadline.

use super::{intake::Question, streams::TalkId};
use crate::{blobs::ByteStream, net::error::OpenError};
use ion_protocol::{Millis, NodeId};
use ion_scheduler::input::{CallId, InboundId};
use libp2p::{Multiaddr, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Things waited for at once; more are refused as busy.
pub(super) const WAITS_MAX: usize = 2048;
/// Longest an answer is waited for, whatever the engine says.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// A question of a peer's that the engine has not answered after this is given up.
pub(super) const OWED_FOR: Duration = Duration::from_secs(120);

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The engine.
    Engine(CallId),
    /// The loop itself, filling the directory.
    Adverts,
}

/// Where a question stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// For a connection.
    Dialing { framed: Vec<u8>, addresses: Vec<Multiaddr> },
    /// Asked on this one.
    Asked(ConnectionId),
}

/// One thing waited for.
pub(super) enum Wait {
    Call { origin: Origin, question: Question, stage: Stage },
    Open { reply: oneshot::Sender<Result<ByteStream, OpenError>>, addresses: Vec<Multiaddr> },
}

struct Entry {
    to: NodeId,
    deadline: Instant,
    wait: Wait,
}

/// Our waits, by the number that is also the question's on the wire.
#[derive(Default)]
pub(super) struct Waits {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    deadlines: BTreeSet<(Instant, u64)>,
}

impl Waits {
    pub fn is_full(&self) -> bool {
        self.entries.len() >= WAITS_MAX
    }

    /// The number the next entry gets.
    pub fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn insert(&mut self, id: u64, to: NodeId, now: Instant, timeout: Millis, wait: Wait) {
        let deadline = now + Duration::from_millis(timeout.0).min(WAIT_MAX);
        self.entries.insert(id, Entry { to, deadline, wait });
        self.deadlines.insert((deadline, id));
    }

    pub fn take(&mut self, id: u64) -> Option<(NodeId, Wait)> {
        let entry = self.entries.remove(&id)?;
        self.deadlines.remove(&(entry.deadline, id));
        Some((entry.to, entry.wait))
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The first whose time is over.
    pub fn overdue(&mut self, now: Instant) -> Option<(u64, NodeId, Wait)> {
        let &(deadline, id) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.take(id).map(|(to, wait)| (id, to, wait))
    }

    /// What waits for a connection to `node`.
    pub fn dialing(&self, node: &NodeId) -> Vec<u64> {
        let waits = |entry: &Entry| match &entry.wait {
            Wait::Call { stage: Stage::Dialing { .. }, .. } | Wait::Open { .. } => entry.to == *node,
            Wait::Call { stage: Stage::Asked(_), .. } => false,
        };
        self.entries.iter().filter(|(_, entry)| waits(entry)).map(|(id, _)| *id).collect()
    }

    /// Takes the addresses that were not dialled yet for `node`.
    pub fn untried(&mut self, node: &NodeId) -> Vec<Multiaddr> {
        let mut untried = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| entry.to == *node) {
            match &mut entry.wait {
                Wait::Call { stage: Stage::Dialing { addresses, .. }, .. } | Wait::Open { addresses, .. } => {
                    untried.append(addresses);
                }
                Wait::Call { stage: Stage::Asked(_), .. } => {}
            }
        }
        untried.sort();
        untried.dedup();
        untried
    }

    /// Notes that a question is asked now.
    pub fn asked(&mut self, id: u64, connection: ConnectionId) {
        if let Some(Entry { wait: Wait::Call { stage, .. }, .. }) = self.entries.get_mut(&id) {
            *stage = Stage::Asked(connection);
        }
    }

    /// The bytes of a question that waits for its connection.
    pub fn framed(&mut self, id: u64) -> Option<(Question, Vec<u8>)> {
        match &mut self.entries.get_mut(&id)?.wait {
            Wait::Call { question, stage: Stage::Dialing { framed, .. }, .. } => {
                Some((*question, std::mem::take(framed)))
            }
            Wait::Call { stage: Stage::Asked(_), .. } | Wait::Open { .. } => None,
        }
    }

    /// Questions asked on a connection that is gone.
    pub fn lost(&self, connection: ConnectionId) -> Vec<u64> {
        let on = |entry: &Entry| matches!(&entry.wait, Wait::Call { stage: Stage::Asked(at), .. } if *at == connection);
        self.entries.iter().filter(|(_, entry)| on(entry)).map(|(id, _)| *id).collect()
    }

    /// Everything, at the end.
    pub fn drain(&mut self) -> Vec<(NodeId, Wait)> {
        self.deadlines.clear();
        std::mem::take(&mut self.entries).into_values().map(|entry| (entry.to, entry.wait)).collect()
    }
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub to: NodeId,
    pub connection: ConnectionId,
    pub talk: TalkId,
    pub id: u64,
    since: Instant,
}

/// Questions of others. Bounded by [`super::streams::ANSWERS_MAX`] a connection.
#[derive(Debug, Default)]
pub(super) struct Owes {
    next: u64,
    entries: BTreeMap<InboundId, Owed>,
}

impl Owes {
    pub fn insert(
        &mut self,
        to: NodeId,
        connection: ConnectionId,
        talk: TalkId,
        id: u64,
        now: Instant,
    ) -> InboundId {
        self.next += 1;
        let inbound = InboundId(self.next);
        self.entries.insert(inbound, Owed { to, connection, talk, id, since: now });
        inbound
    }

    pub fn take(&mut self, inbound: InboundId) -> Option<Owed> {
        self.entries.remove(&inbound)
    }

    /// The peer left: nobody waits for these any more.
    pub fn lost(&mut self, connection: ConnectionId) {
        self.entries.retain(|_, owed| owed.connection != connection);
    }

    /// Takes those the engine has not answered in time.
    pub fn overdue(&mut self, now: Instant) -> Vec<Owed> {
        let over: Vec<_> =
            self.entries.iter().filter(|(_, o)| now >= o.since + OWED_FOR).map(|(i, _)| *i).collect();
        over.into_iter().filter_map(|inbound| self.take(inbound)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Wait {
        let stage =
            Stage::Dialing { framed: vec![1], addresses: vec!["/ip4/1.2.3.4/tcp/1".parse().unwrap()] };
        Wait::Call { origin: Origin::Engine(CallId(1)), question: Question::Query, stage }
    }

    #[test]
    fn a_wait_ends_once() {
        let (mut waits, node, now) = (Waits::default(), NodeId([1; 32]), Instant::now());
        let (a, b) = (waits.draw(), waits.draw());
        waits.insert(a, node, now, Millis(50), call());
        waits.insert(b, node, now, Millis(10), call());
        assert_eq!(waits.dialing(&node), [a, b]);
        assert_eq!(waits.untried(&node).len(), 1);
        assert!(waits.untried(&node).is_empty());
        assert_eq!(waits.framed(a).unwrap().1, [1]);
        let connection = ConnectionId::new_unchecked(3);
        waits.asked(a, connection);
        assert_eq!(waits.dialing(&node), [b]);
        assert_eq!(waits.lost(connection), [a]);
        assert!(waits.overdue(now).is_none());
        assert_eq!(waits.overdue(now + Duration::from_millis(20)).unwrap().0, b);
        assert!(waits.take(b).is_none());
        assert!(waits.take(a).is_some());
        assert_eq!(waits.next_deadline(), None);
    }
}
