//! Who is connected, and where others were last seen. Facts only; nothing here dials.

use super::{config::Role, handle::PeerView, recent::Recent};
use ion_protocol::{Millis, NodeId, limits::ADDRESSES_MAX};
use libp2p::{Multiaddr, multiaddr::Protocol, swarm::ConnectionId};
use std::{collections::BTreeMap, time::Instant};

/// Nodes whose addresses are remembered beyond their connection.
const KNOWN_MAX: usize = 2048;

/// From how far an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Loopback,
    Private,
    Global,
}

/// The scope of an address; `None` where it leads nowhere for others.
pub(super) fn scope(address: &Multiaddr) -> Option<Scope> {
    match address.iter().next()? {
        Protocol::Ip4(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() => None,
        Protocol::Ip4(ip) if ip.is_loopback() => Some(Scope::Loopback),
        Protocol::Ip4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0b1100_0000 == 64;
            let near = ip.is_private() || ip.is_link_local() || shared;
            Some(if near { Scope::Private } else { Scope::Global })
        }
        Protocol::Ip6(ip) if ip.is_unspecified() || ip.is_multicast() => None,
        Protocol::Ip6(ip) if ip.is_loopback() => Some(Scope::Loopback),
        // A link-local address means another machine on every link.
        Protocol::Ip6(ip) if ip.is_unicast_link_local() => None,
        Protocol::Ip6(ip) => Some(if ip.is_unique_local() { Scope::Private } else { Scope::Global }),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => Some(Scope::Global),
        _ => None,
    }
}

/// Those of a peer's addresses that make sense to somebody who is connected to it at `seen_at`: its private and loopback
/// addresses are ours to use only if we meet it on such.
pub(super) fn usable(
    addresses: impl IntoIterator<Item = Multiaddr>,
    seen_at: Option<&Multiaddr>,
) -> Vec<Multiaddr> {
    let nearest = seen_at.and_then(scope).unwrap_or(Scope::Global);
    let mut usable: Vec<_> =
        addresses.into_iter().filter(|a| scope(a).is_some_and(|s| s >= nearest)).collect();
    usable.sort_by_key(|address| std::cmp::Reverse(scope(address)));
    usable.dedup();
    usable.truncate(ADDRESSES_MAX);
    usable
}

/// A connected peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub connections: BTreeMap<ConnectionId, Multiaddr>,
    pub agent: String,
    pub role: Option<Role>,
    /// Serves the DHT, by the protocols it lists.
    pub serves: bool,
    pub round_trip: Option<Millis>,
    /// Whether it was asked for adverts since it connected.
    pub asked: bool,
    /// When it connected, or something was last said to or by it on a talk.
    pub used: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Peers {
    connected: BTreeMap<NodeId, Peer>,
    known: Recent<NodeId, Vec<Multiaddr>>,
}

impl Peers {
    pub fn new() -> Self {
        Self { connected: BTreeMap::new(), known: Recent::new(KNOWN_MAX) }
    }

    /// Says whether it is the peer's first.
    pub fn opened(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        address: Multiaddr,
        now: Instant,
    ) -> bool {
        let peer = self.connected.entry(node).or_default();
        peer.used = Some(now);
        peer.connections.insert(connection, address);
        peer.connections.len() == 1
    }

    /// Says whether it was the peer's last.
    pub fn closed(&mut self, node: &NodeId, connection: ConnectionId) -> bool {
        let Some(peer) = self.connected.get_mut(node) else { return false };
        peer.connections.remove(&connection);
        let last = peer.connections.is_empty();
        if last {
            self.connected.remove(node);
        }
        last
    }

    pub fn get_mut(&mut self, node: &NodeId) -> Option<&mut Peer> {
        self.connected.get_mut(node)
    }

    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.connected.contains_key(node)
    }

    /// Connected peers that serve the network.
    pub fn serving(&self) -> impl Iterator<Item = &NodeId> {
        self.connected.iter().filter(|(_, peer)| peer.serves).map(|(node, _)| node)
    }

    /// Something is said to or by a peer.
    pub fn touch(&mut self, node: &NodeId, now: Instant) {
        if let Some(peer) = self.connected.get_mut(node) {
            peer.used = Some(now);
        }
    }

    /// How many are connected, and which of them nothing was said to or by since `since`.
    pub fn unused(&self, since: Instant) -> (usize, Vec<NodeId>) {
        let unused = self.connected.iter().filter(|(_, peer)| peer.used.is_none_or(|used| used < since));
        (self.connected.len(), unused.map(|(node, _)| *node).collect())
    }

    /// Remembers where a node can be dialled.
    pub fn learn(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        if !addresses.is_empty() {
            self.known.put(node, addresses);
        }
    }

    /// Remembers one more address of a node.
    pub fn learn_one(&mut self, node: NodeId, address: Multiaddr) {
        let mut addresses = self.known.get(&node).cloned().unwrap_or_default();
        if !addresses.contains(&address) && scope(&address).is_some() {
            addresses.insert(0, address);
            addresses.truncate(ADDRESSES_MAX);
            self.known.put(node, addresses);
        }
    }

    /// Where a node was last seen.
    pub fn addresses(&self, node: &NodeId) -> Vec<Multiaddr> {
        self.known.get(node).cloned().unwrap_or_default()
    }

    /// For people.
    pub fn views(&self) -> Vec<PeerView> {
        let view = |(node, peer): (&NodeId, &Peer)| PeerView {
            node: *node,
            addresses: peer.connections.values().map(Multiaddr::to_string).collect(),
            role: peer.role,
            agent: peer.agent.clone(),
            round_trip: peer.round_trip,
        };
        self.connected.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn scopes() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Some(Scope::Loopback)),
            ("/ip6/::1/tcp/1", Some(Scope::Loopback)),
            ("/ip4/192.168.1.2/tcp/1", Some(Scope::Private)),
            ("/ip4/100.64.0.1/tcp/1", Some(Scope::Private)),
            ("/ip6/fd00::1/tcp/1", Some(Scope::Private)),
            ("/ip4/8.8.8.8/udp/1/quic-v1", Some(Scope::Global)),
            ("/dns4/a.example/tcp/1", Some(Scope::Global)),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/ip6/fe80::1/tcp/1", None),
            ("/memory/1", None),
        ] {
            assert_eq!(scope(&at(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_strangers_inner_addresses_are_not_for_us() {
        let all = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"].map(at);
        let count = |seen: &str| usable(all.clone(), Some(&at(seen))).len();
        assert_eq!(count("/ip4/9.9.9.9/tcp/1"), 1);
        assert_eq!(count("/ip4/10.0.0.7/tcp/1"), 2);
        assert_eq!(count("/ip4/127.0.0.1/tcp/1"), 3);
        assert_eq!(usable(all, Some(&at("/ip4/127.0.0.1/tcp/1")))[0], at("/ip4/8.8.8.8/tcp/1"));
    }

    #[test]
    fn first_and_last_are_told_once() {
        let (mut peers, node) = (Peers::new(), NodeId([1; 32]));
        let (a, b) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(1);
        assert!(peers.opened(node, a, at("/ip4/1.1.1.1/tcp/1"), start));
        assert!(!peers.opened(node, b, at("/ip4/1.1.1.1/udp/1/quic-v1"), start));
        assert_eq!(peers.unused(start), (1, vec![]));
        assert_eq!(peers.unused(later), (1, vec![node]));
        peers.touch(&node, later);
        assert_eq!(peers.unused(later), (1, vec![]));
        assert!(!peers.closed(&node, a));
        assert!(!peers.closed(&node, a), "a repeat is no news");
        assert!(peers.closed(&node, b));
        assert!(!peers.closed(&node, b));
    }
}
