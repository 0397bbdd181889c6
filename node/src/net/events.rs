//! What the swarm tells, each kind in a function of its own.

use super::{
    asking::{dial_cause, dial_error, innermost},
    behaviour::{BehaviourEvent, KAD_PROTOCOL, role_in},
    capability,
    config::split_peer,
    dht,
    ids::node_of,
    peers::{scope, usable},
    streams::{self, FromHandler},
    swarm_loop::SwarmLoop,
};
use ion_protocol::{Millis, limits::ADDRESSES_MAX};
use ion_scheduler::input::PeerInput;
use libp2p::{
    Multiaddr, PeerId,
    core::transport::ListenerId,
    gossipsub, identify, kad, ping,
    swarm::{ConnectionId, DialError, SwarmEvent},
};
use std::time::{Duration, Instant};

/// Of a peer's program name, so much is kept.
const AGENT_CHARS_MAX: usize = 64;

impl SwarmLoop {
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let dialed = endpoint.is_dialer();
                self.on_opened(peer_id, connection_id, endpoint.get_remote_address().clone(), dialed);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.on_closed(peer_id, connection_id)
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.on_listening(listener_id, address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_not_listening([address]),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                let why = reason.err().map_or_else(|| "it was closed".to_owned(), |error| innermost(&error));
                tracing::warn!("a listener has ended: {why}");
                self.bound.insert(listener_id, Err(why));
                self.on_not_listening(addresses);
            }
            SwarmEvent::NewExternalAddrOfPeer { peer_id, address } => self.on_address_of(peer_id, address),
            // Handshakes under way, errors of single connections: nothing to tell anybody.
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(event) => self.on_streams(event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Gossip(event) => self.on_gossip_event(event),
            BehaviourEvent::Limits(never) => match never {},
            BehaviourEvent::Crowd(never) => match never {},
            BehaviourEvent::Blocked(never) => match never {},
        }
    }

    fn on_opened(&mut self, peer: PeerId, connection: ConnectionId, address: Multiaddr, dialed: bool) {
        let Some(node) = node_of(&peer) else { return };
        let (address, _) = split_peer(address);
        if dialed {
            self.peers.learn_one(node, address.clone());
        }
        self.bootstraps.connected(peer, connection);
        if self.peers.opened(node, connection, address, Instant::now()) {
            self.tell_said(node, PeerInput::Connected);
        }
        self.on_reachable(node);
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(node) = node_of(&peer) else { return };
        self.on_connection_lost(connection);
        if self.peers.closed(&node, connection) {
            self.bootstraps.lost(&peer, Instant::now());
            self.tell_said(node, PeerInput::Disconnected);
        }
    }

    fn on_dial_failed(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        let why = dial_error(error);
        if let Some(at) = self.bootstraps.of_dial(connection) {
            match error {
                DialError::LocalPeerId { .. } => self.bootstraps.ourselves(at),
                DialError::NoAddresses
                | DialError::DialPeerConditionFalse(_)
                | DialError::Aborted
                | DialError::WrongPeerId { .. }
                | DialError::Denied { .. }
                | DialError::Transport(_) => {
                    self.bootstraps.failed(at, &dial_cause(error), Instant::now());
                }
            }
        }
        if let Some(node) = peer.as_ref().and_then(node_of) {
            self.on_unreachable(node, &why);
        }
    }

    fn on_listening(&mut self, listener: ListenerId, address: Multiaddr) {
        tracing::info!("listening on {address}");
        self.bound.insert(listener, Ok(address.clone()));
        self.listening.insert(address);
        self.announce_addresses();
        self.tell_addresses();
    }

    fn on_not_listening(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        for address in addresses {
            self.listening.remove(&address);
            self.swarm.remove_external_address(&address);
        }
        self.announce_addresses();
        self.tell_addresses();
    }

    fn on_address_of(&mut self, peer: PeerId, address: Multiaddr) {
        let (address, named) = split_peer(address);
        if let Some(node) = node_of(&peer).filter(|_| named.is_none_or(|named| named == peer)) {
            self.peers.learn_one(node, address);
        }
    }

    fn on_streams(&mut self, event: streams::Event) {
        let streams::Event { peer, connection, said } = event;
        self.peers.touch(&peer, Instant::now());
        match said {
            FromHandler::Asked { talk, id, asked } => {
                let inbound = self.owes.insert(peer, connection, talk, id, Instant::now());
                self.tell_said(peer, asked.into_input(inbound));
            }
            FromHandler::Answered { id, result } => self.answered(id, peer, result),
            FromHandler::Told(said) => self.tell_said(peer, *said),
            FromHandler::Offended(offence) => self.offended(peer, &offence),
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(node) = node_of(&event.peer) else { return };
        match event.result {
            Ok(round_trip) => {
                // A measured round trip is never nothing.
                let millis = Millis((round_trip + Duration::from_micros(999)).as_millis().max(1) as u64);
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.round_trip = Some(millis);
                    self.tell_said(node, PeerInput::RoundTrip(millis));
                }
            }
            Err(ping::Failure::Timeout) => {
                tracing::debug!("{} answers no ping", node.short());
                self.swarm.close_connection(event.connection);
            }
            Err(ping::Failure::Unsupported | ping::Failure::Other { .. }) => {}
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        match event {
            identify::Event::Received { connection_id, peer_id, info } => {
                self.on_introduced(connection_id, peer_id, info);
            }
            identify::Event::Sent { .. } | identify::Event::Pushed { .. } => {}
            identify::Event::Error { peer_id, error, .. } => {
                tracing::debug!("{peer_id} did not introduce itself: {error}");
            }
        }
    }

    fn on_introduced(&mut self, connection: ConnectionId, peer_id: PeerId, info: identify::Info) {
        let Some(node) = node_of(&peer_id) else { return };
        if info.protocol_version != self.network_name {
            let theirs: String = info.protocol_version.chars().take(AGENT_CHARS_MAX).collect();
            tracing::info!("{} is of another network (`{theirs}`); leaving it", node.short());
            let displaced = self.conduct.shut_out(node, Instant::now());
            return self.block(node, displaced);
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.agent = info.agent_version.chars().filter(|c| !c.is_control()).take(AGENT_CHARS_MAX).collect();
        peer.role = role_in(&peer.agent);
        peer.serves = info.protocols.contains(&KAD_PROTOCOL);
        let serves = peer.serves;
        let seen_at = peer.connections.get(&connection).cloned();
        let addresses = usable(info.listen_addrs.into_iter().map(|a| split_peer(a).0), seen_at.as_ref());
        self.peers.learn(node, addresses.clone());
        if !serves {
            return;
        }
        dht::learn(&mut self.swarm.behaviour_mut().kad, &peer_id, &addresses);
        self.cache.remember(node, (self.door.clock)(), addresses);
        self.met_serving(node);
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.on_query(id, result, step.last);
            }
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            } => self.on_provider(record),
            // Value records are no part of the protocol: none is stored.
            kad::Event::InboundRequest { .. }
            | kad::Event::RoutingUpdated { .. }
            | kad::Event::UnroutablePeer { .. }
            | kad::Event::RoutablePeer { .. }
            | kad::Event::PendingRoutablePeer { .. }
            | kad::Event::ModeChanged { .. } => {}
        }
    }

    fn on_query(&mut self, id: kad::QueryId, result: kad::QueryResult, last: bool) {
        match result {
            kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
                for node in self.dht.found(id, providers) {
                    self.ask_for_adverts(node);
                }
            }
            kad::QueryResult::Bootstrap(_) if last => {
                self.dht.provide_again_if_unheard(&mut self.swarm.behaviour_mut().kad);
            }
            // Ends of searches are below; the rest repeats by itself.
            _ => {}
        }
        if last {
            self.dht.ended(&mut self.swarm.behaviour_mut().kad, id);
        }
    }

    /// kad has checked that the sender is the provider; what it may claim is bounded here. Keys that are not for
    /// it are not kept: the store has room for so many, and they would shut out those that providers stand under.
    fn on_provider(&mut self, mut record: kad::ProviderRecord) {
        let key = record.key.as_ref();
        if !node_of(&record.provider).is_some_and(|node| capability::may_stand_under(&node, key)) {
            return;
        }
        record.addresses.retain(|address| scope(address).is_some());
        record.addresses.truncate(ADDRESSES_MAX);
        let store = self.swarm.behaviour_mut().kad.store_mut();
        if let Err(error) = kad::store::RecordStore::add_provider(store, record) {
            tracing::debug!("a provider is not listed: {error}");
        }
    }

    fn on_gossip_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_gossip(propagation_source, message_id, &message);
            }
            gossipsub::Event::Subscribed { .. } => self.on_subscribed(),
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                // Its score falls by itself; the mesh drops it then.
                tracing::debug!("{peer_id} is slow to take gossip");
            }
            gossipsub::Event::Unsubscribed { .. } | gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }
}
