//! Calls, answers, notices and blob streams, as far as the loop carries them: to a connection, or to a dial and then a
//! connection, and their outcome back.

use super::{
    calls::{Origin, Stage, Wait},
    config::{Bootstrap, split_peer},
    error::OpenError,
    ids::peer_of,
    intake::Question,
    peers::scope,
    streams::framed,
    swarm_loop::SwarmLoop,
};
use crate::blobs::ByteStream;
use ion_protocol::{
    Millis, NodeId,
    deal::{Refusal, RefusalReason},
    limits::ADDRESSES_MAX,
    message::{Frame, Notice, Request, Response},
};
use ion_scheduler::input::{Answer, CallError, CallId, InboundId};
use libp2p::{
    Multiaddr,
    core::transport::TransportError,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{collections::BTreeSet, io, time::Instant};
use tokio::sync::oneshot;

/// How long a blob stream may take to open, dialling included.
const OPEN_WITHIN: Millis = Millis(20_000);

/// What came of trying to dial.
enum Dialed {
    /// An outcome will come.
    UnderWay,
    /// None will.
    Failed(String),
}

impl SwarmLoop {
    pub(super) fn call(
        &mut self,
        call: CallId,
        to: NodeId,
        addresses: Vec<String>,
        request: Request,
        timeout: Millis,
    ) {
        self.ask(Origin::Engine(call), to, parse(&addresses), request, timeout);
    }

    /// Asks a peer on behalf of the engine or of the loop itself.
    pub(super) fn ask(
        &mut self,
        origin: Origin,
        to: NodeId,
        addresses: Vec<Multiaddr>,
        request: Request,
        timeout: Millis,
    ) {
        if self.waits.is_full() {
            return self.outcome(origin, to, Err(CallError::Busy));
        }
        let Some(peer) = peer_of(&to) else {
            let why = "its id is no valid key".to_owned();
            return self.outcome(origin, to, Err(CallError::Unreachable(why)));
        };
        let id = self.waits.draw();
        let question = Question::of(&request);
        let framed = match framed(&Frame::Request { id, request }) {
            Ok(framed) => framed,
            Err(error) => return self.outcome(origin, to, Err(CallError::Protocol(error.to_string()))),
        };
        let stage = match self.swarm.behaviour_mut().streams.ask(peer, id, question, framed) {
            Ok(connection) => Stage::Asked(connection),
            Err(framed) => Stage::Dialing { framed, addresses },
        };
        let dials = matches!(stage, Stage::Dialing { .. });
        self.waits.insert(id, to, Instant::now(), timeout, Wait::Call { origin, question, stage });
        if dials {
            self.dial_for(&to);
        }
    }

    pub(super) fn open_blob(
        &mut self,
        to: NodeId,
        addresses: Vec<String>,
        reply: oneshot::Sender<Result<ByteStream, OpenError>>,
    ) {
        if self.waits.is_full() {
            return drop(reply.send(Err(OpenError::Busy)));
        }
        let Some(peer) = peer_of(&to) else {
            return drop(reply.send(Err(OpenError::Unreachable("its id is no valid key".into()))));
        };
        if let Err(reply) = self.swarm.behaviour_mut().streams.open_blob(peer, reply) {
            let id = self.waits.draw();
            let wait = Wait::Open { reply, addresses: parse(&addresses) };
            self.waits.insert(id, to, Instant::now(), OPEN_WITHIN, wait);
            self.dial_for(&to);
        }
    }

    pub(super) fn answer(&mut self, inbound: InboundId, response: Response) {
        let Some(owed) = self.owes.take(inbound) else { return };
        let Some(peer) = peer_of(&owed.to) else { return };
        let bytes = framed(&Frame::Response { id: owed.id, response }).or_else(|error| {
            tracing::error!("an answer is too large for the wire: {error}");
            let refusal = Refusal { reason: RefusalReason::Overloaded, advert: None };
            framed(&Frame::Response { id: owed.id, response: Response::Refused(refusal) })
        });
        if let Ok(bytes) = bytes {
            let streams = &mut self.swarm.behaviour_mut().streams;
            streams.answer(peer, owed.connection, owed.talk, owed.id, bytes);
        }
    }

    pub(super) fn notice(&mut self, to: NodeId, notice: Notice) {
        self.peers.touch(&to, Instant::now());
        if let (Some(peer), Ok(bytes)) = (peer_of(&to), framed(&Frame::Notice(notice))) {
            self.swarm.behaviour_mut().streams.tell(peer, bytes);
        }
    }

    /// Tells whoever asked.
    pub(super) fn outcome(&mut self, origin: Origin, from: NodeId, result: Result<Answer, CallError>) {
        match origin {
            Origin::Engine(call) => self.tell_answer(call, from, result),
            Origin::Adverts => self.on_adverts(from, result),
        }
    }

    pub(super) fn answered(&mut self, id: u64, from: NodeId, result: Result<Answer, CallError>) {
        match self.waits.take(id) {
            Some((to, Wait::Call { origin, .. })) if to == from => self.outcome(origin, from, result),
            Some(_) | None => {}
        }
    }

    /// A connection to `node` stands: what waited for it goes.
    pub(super) fn on_reachable(&mut self, node: NodeId) {
        let Some(peer) = peer_of(&node) else { return };
        for id in self.waits.dialing(&node) {
            if let Some((question, framed)) = self.waits.framed(id) {
                match self.swarm.behaviour_mut().streams.ask(peer, id, question, framed) {
                    Ok(connection) => self.waits.asked(id, connection),
                    Err(_) => self.fail_wait(id, "the connection broke at once"),
                }
            } else if let Some((_, Wait::Open { reply, .. })) = self.waits.take(id)
                && let Err(reply) = self.swarm.behaviour_mut().streams.open_blob(peer, reply)
            {
                let why = "only through a relay, which carries no bulk data".to_owned();
                drop(reply.send(Err(OpenError::Unreachable(why))));
            }
        }
    }

    /// A dial to `node` failed: addresses that were not tried get their turn, then its waits are over.
    pub(super) fn on_unreachable(&mut self, node: NodeId, why: &str) {
        if self.peers.is_connected(&node) || self.waits.dialing(&node).is_empty() {
            return;
        }
        let untried = self.waits.untried(&node);
        if !untried.is_empty()
            && let Dialed::UnderWay = self.try_dial(&node, untried)
        {
            return;
        }
        for id in self.waits.dialing(&node) {
            self.fail_wait(id, why);
        }
    }

    /// What was asked on a connection that is gone stays unanswered.
    pub(super) fn on_connection_lost(&mut self, connection: ConnectionId) {
        self.owes.lost(connection);
        for id in self.waits.lost(connection) {
            self.fail_wait(id, "the connection broke before the answer came");
        }
    }

    fn fail_wait(&mut self, id: u64, why: &str) {
        if let Some((to, wait)) = self.waits.take(id) {
            self.end_wait(to, wait, CallError::Unreachable(why.to_owned()));
        }
    }

    fn end_wait(&mut self, to: NodeId, wait: Wait, error: CallError) {
        match wait {
            Wait::Call { origin, .. } => self.outcome(origin, to, Err(error)),
            Wait::Open { reply, .. } => drop(reply.send(Err(match error {
                CallError::TimedOut => OpenError::TimedOut,
                CallError::Busy => OpenError::Busy,
                CallError::Unreachable(why) | CallError::Protocol(why) => OpenError::Unreachable(why),
            }))),
        }
    }

    pub(super) fn expire_waits(&mut self, now: Instant) {
        while let Some((id, to, wait)) = self.waits.overdue(now) {
            let error = match &wait {
                Wait::Call { stage: Stage::Asked(connection), .. } => {
                    if let Some(peer) = peer_of(&to) {
                        self.swarm.behaviour_mut().streams.forget(peer, *connection, id);
                    }
                    CallError::TimedOut
                }
                Wait::Call { stage: Stage::Dialing { .. }, .. } => {
                    CallError::Unreachable("no connection came about in time".into())
                }
                Wait::Open { .. } => CallError::TimedOut,
            };
            self.end_wait(to, wait, error);
        }
    }

    /// Questions the engine has not answered for too long are refused for it.
    pub(super) fn give_up_owed(&mut self, now: Instant) {
        for owed in self.owes.overdue(now) {
            tracing::error!("a question of {} was not answered by this node in time", owed.to.short());
            let refusal = Refusal { reason: RefusalReason::Overloaded, advert: None };
            let bytes = framed(&Frame::Response { id: owed.id, response: Response::Refused(refusal) });
            if let (Some(peer), Ok(bytes)) = (peer_of(&owed.to), bytes) {
                let streams = &mut self.swarm.behaviour_mut().streams;
                streams.answer(peer, owed.connection, owed.talk, owed.id, bytes);
            }
        }
    }

    pub(super) fn fail_all_waits(&mut self) {
        for (to, wait) in self.waits.drain() {
            self.end_wait(to, wait, CallError::Unreachable("this node is shutting down".into()));
        }
    }

    /// Dials for what waits for `node`.
    fn dial_for(&mut self, node: &NodeId) {
        let addresses = self.waits.untried(node);
        if let Dialed::Failed(why) = self.try_dial(node, addresses) {
            for id in self.waits.dialing(node) {
                self.fail_wait(id, &why);
            }
        }
    }

    /// Dials a node that nobody waits for yet.
    pub(super) fn dial(&mut self, node: &NodeId, addresses: Vec<Multiaddr>) {
        if let Dialed::Failed(why) = self.try_dial(node, addresses) {
            tracing::debug!("{} is not dialled: {why}", node.short());
        }
    }

    fn try_dial(&mut self, node: &NodeId, mut addresses: Vec<Multiaddr>) -> Dialed {
        let Some(peer) = peer_of(node).filter(|peer| *peer != self.own_peer()) else {
            return Dialed::Failed("its id is this node's own, or no valid key".into());
        };
        addresses.extend(self.peers.addresses(node));
        let mut seen = BTreeSet::new();
        addresses.retain(|address| scope(address).is_some() && seen.insert(address.clone()));
        addresses.truncate(2 * ADDRESSES_MAX);
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        match self.swarm.dial(opts) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => Dialed::UnderWay,
            Err(error) => Dialed::Failed(dial_error(&error)),
        }
    }

    pub(super) fn dial_bootstrap(&mut self, at: usize, bootstrap: &Bootstrap, mut addresses: Vec<Multiaddr>) {
        let opts = match bootstrap.peer {
            Some(peer) if self.swarm.is_connected(&peer) => {
                return self.bootstraps.connected(peer, ConnectionId::new_unchecked(usize::MAX));
            }
            Some(peer) if peer == self.own_peer() => return self.bootstraps.ourselves(at),
            Some(peer) => {
                DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).addresses(addresses).build()
            }
            None if addresses.is_empty() => return,
            None => {
                let turn = self.bootstraps.turn(at) % addresses.len();
                DialOpts::unknown_peer_id().address(addresses.swap_remove(turn)).build()
            }
        };
        let connection = opts.connection_id();
        self.bootstraps.dialing(at, connection);
        if let Err(error) = self.swarm.dial(opts) {
            self.bootstraps.failed(at, &dial_cause(&error), Instant::now());
        }
    }
}

fn parse(addresses: &[String]) -> Vec<Multiaddr> {
    addresses
        .iter()
        .take(ADDRESSES_MAX)
        .filter_map(|text| text.parse().ok())
        .map(|a| split_peer(a).0)
        .collect()
}

/// A failed dial in one short line.
pub(super) fn dial_error(error: &DialError) -> String {
    dial_line(error, |address, why| format!("{address}: {why}"))
}

/// The same of one address that is told beside it.
pub(super) fn dial_cause(error: &DialError) -> String {
    dial_line(error, |_, why| why)
}

fn dial_line(error: &DialError, at: impl Fn(&Multiaddr, String) -> String) -> String {
    match error {
        DialError::LocalPeerId { .. } => "that is this node itself".into(),
        DialError::NoAddresses => "no address of it is known".into(),
        DialError::WrongPeerId { obtained, address } => {
            format!("another node, {obtained}, answers at {address}")
        }
        DialError::Transport(errors) => {
            let brief =
                |(address, error): &(Multiaddr, TransportError<io::Error>)| at(address, innermost(error));
            let mut text = errors.iter().take(2).map(brief).collect::<Vec<_>>().join("; ");
            if errors.len() > 2 {
                text.push_str(&format!("; and {} more addresses", errors.len() - 2));
            }
            text
        }
        DialError::Denied { cause } => innermost(cause),
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => error.to_string(),
    }
}

/// What lies under all the wrapping: the part a person can do something about.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
