//! Binding the listen addresses, with errors that say what to do.

use super::{asking::innermost, error::NetError, swarm_loop::SwarmLoop};
use libp2p::{Multiaddr, core::transport::ListenerId, multiaddr::Protocol};
use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

/// A bound listener says its address within this.
const BIND_WITHIN: Duration = Duration::from_secs(5);

/// Listens on all of them, one after the other; a UDP port of 0 takes the number TCP got on the same address, if free.
pub(super) async fn listen(swarm: &mut SwarmLoop, addresses: &[Multiaddr]) -> Result<(), NetError> {
    let mut tcp_ports: Vec<(IpAddr, u16)> = Vec::new();
    for address in addresses {
        let Some((ip, protocol, port)) = parts(address) else { continue };
        if protocol == Transport::Tcp {
            let bound = listen_on(swarm, address).await?;
            tcp_ports.push((ip, bound));
            continue;
        }
        let same = tcp_ports.iter().find(|(at, _)| port == 0 && *at == ip).map(|(_, port)| *port);
        let twin = same.map(|port| Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1));
        let taken = match twin {
            Some(twin) => listen_on(swarm, &twin).await.is_ok(),
            None => false,
        };
        if !taken {
            listen_on(swarm, address).await?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Quic,
}

fn parts(address: &Multiaddr) -> Option<(IpAddr, Transport, u16)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some((ip, Transport::Tcp, port)),
        Protocol::Udp(port) => Some((ip, Transport::Quic, port)),
        _ => None,
    }
}

/// The port it got.
async fn listen_on(swarm: &mut SwarmLoop, address: &Multiaddr) -> Result<u16, NetError> {
    probe(address)?;
    let id = swarm.listen_on(address.clone()).map_err(|error| trouble(address, &error))?;
    let bound = tokio::time::timeout(BIND_WITHIN, bound(swarm, id)).await;
    match bound {
        Ok(Ok(bound)) => Ok(parts(&bound).map_or(0, |(_, _, port)| port)),
        Ok(Err(why)) => Err(NetError::Listen { address: address.to_string(), why }),
        Err(_) => {
            let why = "the machine named no address in time".to_owned();
            Err(NetError::Listen { address: address.to_string(), why })
        }
    }
}

async fn bound(swarm: &mut SwarmLoop, id: ListenerId) -> Result<Multiaddr, String> {
    loop {
        if let Some(outcome) = swarm.bound(id) {
            return outcome;
        }
        swarm.step().await;
    }
}

/// Whether a listen address, as text, could be had now. A port of 0 always can.
pub fn can_bind(address: &str) -> Result<(), NetError> {
    let parsed = address.parse().map_err(|error: libp2p::multiaddr::Error| NetError::Listen {
        address: address.to_owned(),
        why: error.to_string(),
    })?;
    probe(&parsed)
}

/// libp2p listens with `SO_REUSEPORT`, so two nodes of one user would share a port and each get half of the connections.
/// Binding without it first tells; and QUIC's own error hides its kind.
fn probe(address: &Multiaddr) -> Result<(), NetError> {
    match parts(address) {
        Some((ip, Transport::Tcp, port)) if port != 0 => {
            TcpListener::bind(SocketAddr::new(ip, port)).map(drop)
        }
        Some((ip, Transport::Quic, port)) if port != 0 => {
            UdpSocket::bind(SocketAddr::new(ip, port)).map(drop)
        }
        _ => Ok(()),
    }
    .map_err(|error| trouble(address, &error))
}

fn trouble(address: &Multiaddr, error: &(dyn Error + 'static)) -> NetError {
    let port = parts(address).map_or(0, |(_, _, port)| port);
    match io_kind(error) {
        Some(io::ErrorKind::AddrInUse) => NetError::PortInUse { port, address: address.to_string() },
        _ => NetError::Listen { address: address.to_string(), why: innermost(error) },
    }
}

/// The kind of the innermost I/O error; the transports wrap them in each other.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let inner = match error.downcast_ref::<io::Error>() {
        Some(io) => match io.get_ref() {
            Some(inner) => io_kind(inner),
            None => return Some(io.kind()),
        },
        None => None,
    };
    inner.or_else(|| error.source().and_then(io_kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_kind_is_found() {
        let error = io::Error::other(io::Error::other(io::Error::from(io::ErrorKind::AddrInUse)));
        assert_eq!(io_kind(&error), Some(io::ErrorKind::AddrInUse));
        let address: Multiaddr = "/ip4/127.0.0.1/udp/4001/quic-v1".parse().unwrap();
        assert_eq!(
            trouble(&address, &error).to_string(),
            "port 4001 is in use (`/ip4/127.0.0.1/udp/4001/quic-v1`); choose another with `--listen`"
        );
    }

    #[test]
    fn a_taken_port_is_seen_although_it_could_be_shared() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        assert!(matches!(probe(&address), Err(NetError::PortInUse { port: found, .. }) if found == port));
        drop(taken);
        assert!(probe(&address).is_ok());
    }
}
