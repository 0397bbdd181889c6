//! The addresses to begin with: each is dialled until it answers, with growing pauses, for ever, and again when its peer
//! is lost. None of them delays the start.

use super::config::Bootstrap;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// First pause after a failure; doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a name may take to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const RESOLVED_MAX: usize = 8;

#[derive(Debug)]
enum State {
    Waiting(Instant),
    Resolving,
    Dialing(ConnectionId),
    Connected(PeerId),
    /// It is this node.
    Ourselves,
}

#[derive(Debug)]
struct Entry {
    bootstrap: Bootstrap,
    state: State,
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bootstraps(Vec<Entry>);

impl Bootstraps {
    pub fn new(list: Vec<Bootstrap>, now: Instant) -> Self {
        let entry = |bootstrap| Entry { bootstrap, state: State::Waiting(now), failures: 0 };
        Self(list.into_iter().map(entry).collect())
    }

    /// When one is to be tried next.
    pub fn next_due(&self) -> Option<Instant> {
        let due = |entry: &Entry| match entry.state {
            State::Waiting(until) => Some(until),
            State::Resolving | State::Dialing(_) | State::Connected(_) | State::Ourselves => None,
        };
        self.0.iter().filter_map(due).min()
    }

    /// Takes those to be tried now; each is told an outcome.
    pub fn due(&mut self, now: Instant) -> Vec<(usize, Bootstrap)> {
        let mut due = Vec::new();
        for (at, entry) in self.0.iter_mut().enumerate() {
            if matches!(entry.state, State::Waiting(until) if until <= now) {
                entry.state = State::Resolving;
                due.push((at, entry.bootstrap.clone()));
            }
        }
        due
    }

    /// Which of a name's addresses to dial: another each time.
    pub fn turn(&self, at: usize) -> usize {
        self.0[at].failures as usize
    }

    pub fn dialing(&mut self, at: usize, connection: ConnectionId) {
        self.0[at].state = State::Dialing(connection);
    }

    /// Connected, by this dial or by another way.
    pub fn connected(&mut self, peer: PeerId, connection: ConnectionId) {
        for entry in &mut self.0 {
            let ours = matches!(entry.state, State::Dialing(dialed) if dialed == connection);
            if ours || entry.bootstrap.peer == Some(peer) {
                entry.state = State::Connected(peer);
                entry.failures = 0;
            }
        }
    }

    /// The last connection to a peer is gone.
    pub fn lost(&mut self, peer: &PeerId, now: Instant) {
        for entry in &mut self.0 {
            if matches!(&entry.state, State::Connected(connected) if connected == peer) {
                entry.state = State::Waiting(now + PAUSE);
            }
        }
    }

    /// The one that this dial was for.
    pub fn of_dial(&self, connection: ConnectionId) -> Option<usize> {
        self.0.iter().position(|entry| matches!(entry.state, State::Dialing(dialed) if dialed == connection))
    }

    /// A try failed. People are told the first time.
    pub fn failed(&mut self, at: usize, why: &str, now: Instant) {
        let entry = &mut self.0[at];
        entry.failures = entry.failures.saturating_add(1);
        let pause = PAUSE.saturating_mul(1 << entry.failures.min(8)).min(PAUSE_MAX);
        entry.state = State::Waiting(now + pause);
        let text = &entry.bootstrap.text;
        if entry.failures == 1 {
            tracing::warn!(
                "bootstrap {text} does not answer ({why}); trying again, at least every {} s; \
                 check the address given with `--bootstrap` and that the node there runs",
                PAUSE_MAX.as_secs()
            );
        } else {
            tracing::debug!("bootstrap {text} does not answer ({why})");
        }
    }

    /// The address leads to this node itself.
    pub fn ourselves(&mut self, at: usize) {
        tracing::info!("bootstrap {} is this node itself", self.0[at].bootstrap.text);
        self.0[at].state = State::Ourselves;
    }
}

/// The addresses behind a name; the address itself where it has none.
pub(super) async fn resolve(address: Multiaddr) -> Result<Vec<Multiaddr>, String> {
    let mut parts = address.iter();
    let (name, wanted): (String, fn(&IpAddr) -> bool) = match parts.next() {
        Some(Protocol::Dns(name)) => (name.into_owned(), |_| true),
        Some(Protocol::Dns4(name)) => (name.into_owned(), IpAddr::is_ipv4),
        Some(Protocol::Dns6(name)) => (name.into_owned(), IpAddr::is_ipv6),
        _ => return Ok(vec![address]),
    };
    let rest: Multiaddr = parts.collect();
    let lookup = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name.as_str(), 0)));
    let found = lookup
        .await
        .map_err(|_| format!("the name `{name}` was not resolved within {} s", RESOLVE_WITHIN.as_secs()))?
        .map_err(|error| format!("the name `{name}` does not resolve: {error}"))?;
    let with_rest = |ip: IpAddr| Multiaddr::from(ip).into_iter().chain(&rest).collect::<Multiaddr>();
    let mut addresses: Vec<_> = found.map(|socket| socket.ip()).filter(wanted).map(with_rest).collect();
    addresses.dedup();
    addresses.truncate(RESOLVED_MAX);
    if addresses.is_empty() { Err(format!("the name `{name}` has no such address")) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_resolve_and_addresses_stay() {
        let plain: Multiaddr = "/ip4/1.2.3.4/tcp/5".parse().unwrap();
        assert_eq!(resolve(plain.clone()).await, Ok(vec![plain]));
        let local = resolve("/dns4/localhost/udp/7/quic-v1".parse().unwrap()).await;
        assert_eq!(local, Ok(vec!["/ip4/127.0.0.1/udp/7/quic-v1".parse().unwrap()]));
        assert!(resolve("/dns4/name.invalid/tcp/1".parse().unwrap()).await.is_err());
    }

    #[test]
    fn it_is_tried_for_ever_with_growing_pauses() {
        let start = Instant::now();
        let text = "/ip4/127.0.0.1/tcp/9".to_owned();
        let bootstrap = Bootstrap { address: text.parse().unwrap(), text, peer: None };
        let mut all = Bootstraps::new(vec![bootstrap], start);
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..12 {
            assert_eq!(all.due(now).len(), 1);
            assert!(all.due(now).is_empty(), "one try at a time");
            all.failed(0, "refused", now);
            let next = all.next_due().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses[0], 2 * PAUSE);
        assert!(pauses.is_sorted());
        assert_eq!(*pauses.last().unwrap(), PAUSE_MAX);

        all.due(now);
        let (connection, peer) = (ConnectionId::new_unchecked(1), PeerId::random());
        all.dialing(0, connection);
        assert_eq!(all.of_dial(connection), Some(0));
        all.connected(peer, connection);
        assert_eq!(all.next_due(), None);
        all.lost(&peer, now);
        assert_eq!(all.next_due(), Some(now + PAUSE));
    }
}
