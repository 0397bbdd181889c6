//! Connections from one place. Keys cost nothing, addresses do: whoever opens connections under as many names as there is
//! room for does so from a machine or a few, and must not keep out everybody else.
//!
//! Counts what others open, by address (of IPv6, by the network of 64 bits that one customer has); those of the owner's
//! own networks are not counted. Dials nobody and closes nothing. Tests: at the end.

use super::peers::{Scope, scope};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent,
        ToSwarm, behaviour::ConnectionEstablished, dummy,
    },
};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

/// A stranger's place.
type Place = [u8; 8];

/// Too many of one place.
#[derive(Debug, thiserror::Error)]
#[error("{0} connections from this address are open already")]
struct Crowded(usize);

/// See the module.
#[derive(Debug)]
pub(super) struct Behaviour {
    most: usize,
    open: HashMap<ConnectionId, Place>,
}

impl Behaviour {
    /// At most so many from one place.
    pub fn new(most: usize) -> Self {
        Self { most, open: HashMap::new() }
    }

    fn admit(&self, from: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(place) = place(from) else { return Ok(()) };
        let found = self.open.values().filter(|open| **open == place).count();
        if found >= self.most { Err(ConnectionDenied::new(Crowded(found))) } else { Ok(()) }
    }
}

fn place(address: &Multiaddr) -> Option<Place> {
    let ip = match address.iter().next().filter(|_| scope(address) == Some(Scope::Global))? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => ip.to_canonical(),
        _ => return None,
    };
    match ip {
        IpAddr::V4(ip) => Some(u64::from(ip.to_bits()).to_be_bytes()),
        IpAddr::V6(ip) => ip.octets().first_chunk().copied(),
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.admit(from)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        self.admit(from).map(|()| dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, endpoint, .. })
                if endpoint.is_listener() =>
            {
                self.open.extend(place(endpoint.get_remote_address()).map(|place| (connection_id, place)));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.open.remove(&connection_id);
            }
            // Dials, listeners and addresses are the loop's.
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, never: Infallible) {
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::core::ConnectedPoint;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn opened(crowd: &mut Behaviour, number: usize, from: &str) {
        let (local_addr, send_back_addr) = (at("/ip4/1.1.1.1/tcp/1"), at(from));
        crowd.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: PeerId::random(),
            connection_id: ConnectionId::new_unchecked(number),
            endpoint: &ConnectedPoint::Listener { local_addr, send_back_addr },
            failed_addresses: &[],
            other_established: 0,
        }));
    }

    #[test]
    fn one_place_has_its_share_whatever_it_calls_itself_and_others_have_theirs() {
        let mut crowd = Behaviour::new(2);
        for (first, second, third, other) in [
            ("/ip4/9.9.9.9/tcp/1", "/ip4/9.9.9.9/udp/7/quic-v1", "/ip4/9.9.9.9/tcp/3", "/ip4/9.9.9.8/tcp/1"),
            (
                "/ip6/::ffff:9.9.9.7/tcp/1",
                "/ip4/9.9.9.7/tcp/2",
                "/ip4/9.9.9.7/tcp/3",
                "/ip6/::ffff:9.9.9.6/tcp/1",
            ),
            ("/ip6/2a00::1/tcp/1", "/ip6/2a00::2/tcp/1", "/ip6/2a00::3:1/tcp/1", "/ip6/2a00:0:0:1::1/tcp/1"),
        ] {
            assert!(crowd.admit(&at(first)).is_ok());
            opened(&mut crowd, 1, first);
            assert!(crowd.admit(&at(second)).is_ok());
            opened(&mut crowd, 2, second);
            assert!(crowd.admit(&at(third)).is_err(), "{third}");
            assert!(crowd.admit(&at(other)).is_ok(), "{other}");
            crowd.open.remove(&ConnectionId::new_unchecked(1));
            assert!(crowd.admit(&at(third)).is_ok(), "one left");
        }
        for own in ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.0.4/tcp/1", "/ip6/fd00::1/tcp/1", "/memory/7"] {
            (10..20).for_each(|number| opened(&mut crowd, number, own));
            assert!(crowd.admit(&at(own)).is_ok(), "{own}");
        }
    }
}
