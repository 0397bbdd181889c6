//! Which connection of a peer carries what: direct before relayed, older before newer.

use super::handler::{BlobReply, FromHandler, Handler, TalkId, ToHandler};
use crate::{
    blobs::ByteStream,
    net::{
        error::OpenError,
        ids::node_of,
        intake::{Door, Question},
    },
};
use ion_protocol::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
        ToSwarm, behaviour::ConnectionEstablished,
    },
};
use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot};

/// Something a peer said.
#[derive(Debug)]
pub(in crate::net) struct Event {
    pub peer: NodeId,
    pub connection: ConnectionId,
    pub said: FromHandler,
}

/// Who waits for a blob stream.
pub(in crate::net) type OpenReply = oneshot::Sender<Result<ByteStream, OpenError>>;

/// A key no node of ours has.
#[derive(Debug, thiserror::Error)]
#[error("the peer's identity is no ed25519 key")]
struct NotANode;

#[derive(Clone, Copy)]
struct Conn {
    id: ConnectionId,
    relayed: bool,
}

/// See the module.
pub(in crate::net) struct Behaviour {
    door: Door,
    accepted: mpsc::Sender<(NodeId, ByteStream)>,
    connections: HashMap<PeerId, Vec<Conn>>,
    /// Bounded by what the loop asks for in one turn and by what handlers say: both are taken out before the next.
    pending: VecDeque<ToSwarm<Event, ToHandler>>,
}

impl Behaviour {
    pub fn new(door: Door, accepted: mpsc::Sender<(NodeId, ByteStream)>) -> Self {
        Self { door, accepted, connections: HashMap::new(), pending: VecDeque::new() }
    }

    /// Asks on the peer's best connection and says which that is.
    pub fn ask(
        &mut self,
        peer: PeerId,
        id: u64,
        question: Question,
        framed: Vec<u8>,
    ) -> Result<ConnectionId, Vec<u8>> {
        match self.best(&peer) {
            Some(conn) => {
                self.notify(peer, conn.id, ToHandler::Ask { id, question, framed });
                Ok(conn.id)
            }
            None => Err(framed),
        }
    }

    /// Stops waiting for an answer.
    pub fn forget(&mut self, peer: PeerId, connection: ConnectionId, id: u64) {
        self.notify(peer, connection, ToHandler::Forget { id });
    }

    /// Answers a question where it was asked.
    pub fn answer(&mut self, peer: PeerId, connection: ConnectionId, talk: TalkId, id: u64, framed: Vec<u8>) {
        self.notify(peer, connection, ToHandler::Answer { talk, id, framed });
    }

    /// Tells the peer, if it is connected.
    pub fn tell(&mut self, peer: PeerId, framed: Vec<u8>) {
        if let Some(conn) = self.best(&peer) {
            self.notify(peer, conn.id, ToHandler::Tell { framed });
        }
    }

    /// Opens a blob stream on a direct connection, or gives the reply back where there is none.
    pub fn open_blob(&mut self, peer: PeerId, reply: OpenReply) -> Result<(), OpenReply> {
        match self.best(&peer) {
            Some(conn) if !conn.relayed => {
                self.notify(peer, conn.id, ToHandler::OpenBlob(BlobReply(reply)));
                Ok(())
            }
            Some(_) | None => Err(reply),
        }
    }

    fn best(&self, peer: &PeerId) -> Option<Conn> {
        self.connections.get(peer)?.iter().min_by_key(|conn| conn.relayed).copied()
    }

    fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: ToHandler) {
        self.pending.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event,
        });
    }

    fn handler(&self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        let node = node_of(peer).ok_or_else(|| ConnectionDenied::new(NotANode))?;
        Ok(Handler::new(node, self.door, self.accepted.clone()))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let address = endpoint.get_remote_address();
                let relayed = address.iter().any(|part| part == Protocol::P2pCircuit);
                self.connections.entry(peer_id).or_default().push(Conn { id: connection_id, relayed });
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(conns) = self.connections.get_mut(&peer_id) {
                    conns.retain(|conn| conn.id != connection_id);
                    if conns.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            // Dials, listeners and addresses are the loop's.
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer_id: PeerId, connection: ConnectionId, said: FromHandler) {
        // Checked when the handler was made.
        if let Some(peer) = node_of(&peer_id) {
            self.pending.push_back(ToSwarm::GenerateEvent(Event { peer, connection, said }));
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, ToHandler>> {
        // Filled only by calls of the loop and of the swarm, both of which poll again: no waker is needed.
        self.pending.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
