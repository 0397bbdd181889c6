//! The live market: signed adverts by gossipsub. Messages are anonymous on the wire; the advert's own signature is checked
//! once for each message at the door, before it is passed on.

use ion_protocol::{NetworkId, limits::GOSSIP_BYTES_MAX};
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use std::{collections::HashSet, time::Duration};

pub(super) type Behaviour = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// Nodes of one address before they weigh on each other: a testnet or a data centre has many.
const SAME_ADDRESS_MAX: f64 = 256.0;
/// How long a message is known as seen; longer than any repeat on the way.
const SEEN_FOR: Duration = Duration::from_secs(120);
/// The first heartbeat builds the mesh, so it is soon.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(100);

/// The one topic. Networks do not hear each other.
pub(super) fn topic(network: &NetworkId) -> IdentTopic {
    IdentTopic::new(format!("ion/adverts/1/{}", network.short()))
}

fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.topic.as_str().as_bytes()).update(&message.data);
    MessageId::new(&hasher.finalize().as_bytes()[..20])
}

/// A subscribed node of the market.
pub(super) fn behaviour(network: &NetworkId) -> Result<Behaviour, String> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .flood_publish(false)
        .mesh_n_low(4)
        .mesh_n(6)
        .mesh_n_high(10)
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        .history_length(12)
        .duplicate_cache_time(SEEN_FOR)
        .max_transmit_size(GOSSIP_BYTES_MAX)
        .build()
        .map_err(|error| error.to_string())?;
    let topic = topic(network);
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let mut behaviour =
        Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)?;
    // Adverts are rare: a peer that delivers few is no bad peer (P3 off). Bad ones still weigh (P4).
    let quiet = TopicScoreParams {
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        ..TopicScoreParams::default()
    };
    let score = PeerScoreParams {
        topics: [(topic.hash(), quiet)].into(),
        ip_colocation_factor_threshold: SAME_ADDRESS_MAX,
        ..PeerScoreParams::default()
    };
    behaviour.with_peer_score(score, PeerScoreThresholds::default())?;
    behaviour.subscribe(&topic).map_err(|error| error.to_string())?;
    Ok(behaviour)
}
