//! What the network side of a node is told at birth, and the addresses in it as values instead of text.

use super::error::NetError;
use ion_protocol::{NetworkId, key::SecretKey};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::{fmt, path::PathBuf, str::FromStr};

/// Bootstrap addresses a node can be given; more help nobody and each is dialled for ever.
pub const BOOTSTRAPS_MAX: usize = 64;
/// Listen or external addresses a node can be given.
pub const LISTENS_MAX: usize = 16;

/// What a node is to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Serves the DHT, carries gossip; providers are this.
    Full,
    /// Asks and orders; serves nothing, carries nothing.
    Light,
    /// A network node: as full, but there only for others to meet; it takes more connections.
    Relay,
}

impl Role {
    /// Whether the node serves the DHT and carries gossip.
    pub fn serves(self) -> bool {
        match self {
            Role::Full | Role::Relay => true,
            Role::Light => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Full => "full",
            Role::Light => "light",
            Role::Relay => "relay",
        })
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "full" => Ok(Role::Full),
            "light" => Ok(Role::Light),
            "relay" => Ok(Role::Relay),
            _ => Err(()),
        }
    }
}

/// How to start. Addresses are multiaddress text, as typed.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Who we are.
    pub key: SecretKey,
    /// Which network; nodes of another are left at once.
    pub network: NetworkId,
    /// What we are to it.
    pub role: Role,
    /// Where to listen (`/ip4/0.0.0.0/tcp/4001`, `/ip4/0.0.0.0/udp/4001/quic-v1`); nothing: nobody can call us first.
    pub listen: Vec<String>,
    /// Whom to dial first (`/dns4/boot.example/tcp/4001/p2p/12D3..`), again and again until it answers.
    pub bootstrap: Vec<String>,
    /// Where good peers are remembered across restarts.
    pub peer_cache: PathBuf,
    /// Addresses others reach us at, where the operator knows them (a forwarded port); announced before all others.
    pub external: Vec<String>,
}

/// The addresses of a [`NetConfig`], parsed.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pub listen: Vec<Multiaddr>,
    pub bootstrap: Vec<Bootstrap>,
    pub external: Vec<Multiaddr>,
}

/// One address to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bootstrap {
    /// As typed, for people.
    pub text: String,
    /// Without `/p2p`.
    pub address: Multiaddr,
    /// Who should answer, where said.
    pub peer: Option<PeerId>,
}

impl NetConfig {
    pub(super) fn addresses(&self) -> Result<Addresses, NetError> {
        let parse = |flag, texts: &[String], max: usize| {
            if texts.len() > max {
                return Err(NetError::TooManyAddresses { flag, found: texts.len(), expected: max });
            }
            texts.iter().map(|text| parse_address(flag, text)).collect::<Result<Vec<_>, _>>()
        };
        let listen = parse("--listen", &self.listen, LISTENS_MAX)?;
        for (address, text) in listen.iter().zip(&self.listen) {
            check_listen(address, text)?;
        }
        let bootstrap = parse("--bootstrap", &self.bootstrap, BOOTSTRAPS_MAX)?;
        let bootstrap = bootstrap
            .into_iter()
            .zip(&self.bootstrap)
            .map(|(address, text)| {
                let (address, peer) = split_peer(address);
                Bootstrap { text: text.clone(), address, peer }
            })
            .collect();
        let external = parse("--external", &self.external, LISTENS_MAX)?;
        Ok(Addresses { listen, bootstrap, external: external.into_iter().map(|a| split_peer(a).0).collect() })
    }
}

/// The address without its last `/p2p/..`, and that.
pub(super) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

fn parse_address(flag: &'static str, text: &str) -> Result<Multiaddr, NetError> {
    let bad = |why: String| NetError::BadAddress { flag, text: text.chars().take(200).collect(), why };
    let address: Multiaddr =
        text.parse().map_err(|error: libp2p::multiaddr::Error| bad(error.to_string()))?;
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    if !host {
        return Err(bad("it starts with no host; expected /ip4, /ip6, /dns, /dns4 or /dns6".into()));
    }
    let transport = match parts.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => matches!(parts.next(), Some(Protocol::QuicV1)),
        _ => false,
    };
    if !transport {
        return Err(bad("no transport this node speaks; expected /tcp/PORT or /udp/PORT/quic-v1".into()));
    }
    match parts.next() {
        None => Ok(address),
        Some(Protocol::P2p(_)) if parts.next().is_none() => Ok(address),
        Some(other) => Err(bad(format!("`{other}` is not understood here"))),
    }
}

fn check_listen(address: &Multiaddr, text: &str) -> Result<(), NetError> {
    let why = match (address.iter().next(), address.iter().last()) {
        (Some(Protocol::Ip4(_) | Protocol::Ip6(_)), Some(Protocol::P2p(_))) => {
            "a listen address names no peer"
        }
        (Some(Protocol::Ip4(_) | Protocol::Ip6(_)), _) => return Ok(()),
        _ => "a node listens on an /ip4 or /ip6 address of its own machine",
    };
    Err(NetError::BadAddress { flag: "--listen", text: text.to_owned(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[&str], bootstrap: &[&str]) -> NetConfig {
        NetConfig {
            key: SecretKey::from_seed(&[1; 32]),
            network: NetworkId::named("test"),
            role: Role::Full,
            listen: listen.iter().map(|&s| s.to_owned()).collect(),
            bootstrap: bootstrap.iter().map(|&s| s.to_owned()).collect(),
            peer_cache: PathBuf::new(),
            external: Vec::new(),
        }
    }

    #[test]
    fn good_addresses_parse() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let boot = format!("/dns4/boot.example/udp/4001/quic-v1/p2p/{peer}");
        let parsed = config(&["/ip4/0.0.0.0/tcp/0", "/ip6/::/udp/0/quic-v1"], &[&boot]).addresses().unwrap();
        assert_eq!(parsed.listen.len(), 2);
        assert_eq!(parsed.bootstrap[0].peer.unwrap().to_string(), peer);
        assert_eq!(parsed.bootstrap[0].address.to_string(), "/dns4/boot.example/udp/4001/quic-v1");
    }

    #[test]
    fn bad_addresses_name_their_flag() {
        for (listen, bootstrap, flag) in [
            (vec!["127.0.0.1:4001"], vec![], "--listen"),
            (vec!["/ip4/127.0.0.1"], vec![], "--listen"),
            (vec!["/ip4/127.0.0.1/udp/4001"], vec![], "--listen"),
            (vec!["/dns4/localhost/tcp/1"], vec![], "--listen"),
            (vec!["/ip4/1.2.3.4/tcp/70000"], vec![], "--listen"),
            (vec![], vec!["/unix/tmp"], "--bootstrap"),
            (vec![], vec!["/ip4/1.2.3.4/tcp/4001/ws"], "--bootstrap"),
            (vec![], vec!["/ip4/1.2.3.4/tcp/4001/p2p/xyz"], "--bootstrap"),
        ] {
            match config(&listen, &bootstrap).addresses() {
                Err(NetError::BadAddress { flag: found, .. }) => assert_eq!(found, flag),
                other => panic!("{listen:?} {bootstrap:?}: {other:?}"),
            }
        }
        let many = vec!["/ip4/1.2.3.4/tcp/4001"; BOOTSTRAPS_MAX + 1];
        assert!(matches!(config(&[], &many).addresses(), Err(NetError::TooManyAddresses { .. })));
    }
}
