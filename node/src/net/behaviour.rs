//! The one swarm of a node: which protocols it speaks, over what, within which limits.

use super::{
    config::{NetConfig, Role},
    crowd,
    error::NetError,
    gossip,
    ids::keypair,
    intake::Door,
    streams,
};
use crate::blobs::ByteStream;
use ion_protocol::{NetworkId, NodeId};
use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder, allow_block_list, connection_limits, identify,
    kad::{self, store::MemoryStore},
    noise, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use std::time::Duration;
use tokio::sync::mpsc;

/// Our DHT, apart from all others.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/ion/kad/1");
/// An idle connection is closed after this.
const IDLE: Duration = Duration::from_secs(60);
/// A dial or handshake that takes longer has failed.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Round trips are measured at once on a new connection, then this often.
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// A peer that answers no ping for so long is gone.
const PING_WITHIN: Duration = Duration::from_secs(10);
/// How long others list us as a provider: the storing node decides, so it is part of the protocol.
const PROVIDER_LIFE: Duration = Duration::from_secs(30 * 60);
/// How often we say it again.
const PROVIDE_EVERY: Duration = Duration::from_secs(10 * 60);
/// Providers listed under one key.
const PROVIDERS_PER_KEY_MAX: usize = 64;
/// Keys listed; the protocol knows 256.
const KEYS_MAX: usize = 1024;
/// Handshakes under way, theirs and ours.
const PENDING_IN_MAX: u32 = 64;
const PENDING_OUT_MAX: u32 = 32;
/// Connections of one peer: TCP and QUIC dialled at once from both sides.
const PER_PEER_MAX: u32 = 3;

/// So many places of strangers have to be there before newcomers find no room.
const PLACES: usize = 4;

/// Connections by role: all together, and opened by others. What is left is for us to dial.
pub(super) fn connections_max(role: Role) -> (u32, u32) {
    match role {
        Role::Full => (128, 96),
        Role::Light => (24, 8),
        Role::Relay => (512, 448),
    }
}

/// Everything spoken on a connection.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(super) struct Behaviour {
    pub limits: connection_limits::Behaviour,
    pub crowd: crowd::Behaviour,
    pub blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub streams: streams::Behaviour,
    pub ping: ping::Behaviour,
    pub identify: identify::Behaviour,
    pub kad: kad::Behaviour<MemoryStore>,
    pub gossip: Toggle<gossip::Behaviour>,
}

/// What a node calls the network it is in, when it introduces itself.
pub(super) fn network_name(network: &NetworkId) -> String {
    format!("/ion/1/{}", network.short())
}

/// The program's name, version and role.
pub(super) fn agent(role: Role) -> String {
    format!("ion/{} {role}", env!("CARGO_PKG_VERSION"))
}

/// The role in an agent's name, where it says one.
pub(super) fn role_in(agent: &str) -> Option<Role> {
    agent.strip_prefix("ion/")?.split(' ').nth(1)?.parse().ok()
}

fn kademlia(peer: PeerId, role: Role) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(Duration::from_secs(20))
        .set_substreams_timeout(CONNECT_WITHIN)
        .set_provider_record_ttl(Some(PROVIDER_LIFE))
        .set_provider_publication_interval(Some(PROVIDE_EVERY))
        .set_record_ttl(Some(Duration::from_secs(3600)))
        .set_record_filtering(kad::StoreInserts::FilterBoth);
    let store = kad::store::MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: PROVIDERS_PER_KEY_MAX,
        max_provided_keys: KEYS_MAX,
    };
    let mut behaviour = kad::Behaviour::with_config(peer, MemoryStore::with_config(peer, store), config);
    // Said, not guessed: an address behind a relay would make a home node serve the DHT.
    behaviour.set_mode(Some(if role.serves() { kad::Mode::Server } else { kad::Mode::Client }));
    behaviour
}

/// TCP as the node uses it: small messages leave at once.
pub(super) fn transport_settings() -> tcp::Config {
    tcp::Config::default().nodelay(true)
}

/// Builds the swarm; it listens and dials nowhere yet.
pub(super) fn swarm(
    config: &NetConfig,
    door: Door,
    accepted: mpsc::Sender<(NodeId, ByteStream)>,
) -> Result<Swarm<Behaviour>, NetError> {
    let trouble = |error: &dyn std::fmt::Display| NetError::Transport(error.to_string());
    let keypair = keypair(&config.key).map_err(|error| trouble(&error))?;
    let peer = keypair.public().to_peer_id();
    let (all, theirs) = connections_max(config.role);
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_IN_MAX))
        .with_max_pending_outgoing(Some(PENDING_OUT_MAX))
        .with_max_established(Some(all))
        .with_max_established_incoming(Some(theirs))
        .with_max_established_per_peer(Some(PER_PEER_MAX));
    let gossip = match config.role.serves() {
        true => Some(gossip::behaviour(&config.network).map_err(|error| trouble(&error))?),
        false => None,
    };
    let introduction = identify::Config::new(network_name(&config.network), keypair.public())
        .with_agent_version(agent(config.role))
        .with_push_listen_addr_updates(true);
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        crowd: crowd::Behaviour::new(theirs as usize / PLACES),
        blocked: allow_block_list::Behaviour::default(),
        streams: streams::Behaviour::new(door, accepted),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_WITHIN)),
        identify: identify::Behaviour::new(introduction),
        kad: kademlia(peer, config.role),
        gossip: gossip.into(),
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(transport_settings(), noise::Config::new, yamux::Config::default)
        .map_err(|error| trouble(&error))?
        .with_quic()
        .with_behaviour(|_| behaviour)
        .map_err(|error| trouble(&error))?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(IDLE).with_per_connection_event_buffer_size(16)
        })
        .with_connection_timeout(CONNECT_WITHIN)
        .build();
    Ok(swarm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_from_an_agent() {
        for role in [Role::Full, Role::Light, Role::Relay] {
            assert_eq!(role_in(&agent(role)), Some(role));
        }
        assert_eq!(role_in("ion/9.9.9 giant"), None);
        assert_eq!(role_in("rust-libp2p/0.1"), None);
        assert_eq!(role_in(""), None);
    }
}
