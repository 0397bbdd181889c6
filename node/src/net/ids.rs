//! A node's id as libp2p writes it, and back. Both are the same ed25519 key in other clothes.

use ion_protocol::{NodeId, key::SecretKey};
use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, ed25519},
};

/// The node behind a peer id; `None` where it is no ed25519 key, which no node of ours has.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    let hash = peer.as_ref();
    const IDENTITY: u64 = 0;
    if hash.code() != IDENTITY {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(NodeId(key.to_bytes()))
}

/// The peer id of a node; `None` where the id is no point of the curve, so nobody can be it.
pub(super) fn peer_of(node: &NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// `address` with the node's `/p2p/..` behind it: what others are told to join through.
pub fn full_address(node: &NodeId, address: &str) -> String {
    match peer_of(node) {
        Some(peer) if !address.contains("/p2p/") => format!("{address}/p2p/{peer}"),
        Some(_) | None => address.to_owned(),
    }
}

/// The transport's copy of our key.
pub(super) fn keypair(key: &SecretKey) -> Result<Keypair, String> {
    Keypair::ed25519_from_bytes(key.seed()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_there_and_back() {
        let key = SecretKey::from_seed(&[7; 32]);
        let peer = keypair(&key).unwrap().public().to_peer_id();
        assert_eq!(node_of(&peer), Some(key.node_id()));
        assert_eq!(peer_of(&key.node_id()), Some(peer));
    }

    #[test]
    fn what_is_no_key_is_no_node() {
        // About half of all byte strings are no point of the curve.
        let ids = (0..=255).map(|byte| NodeId([byte; 32]));
        let (points, others): (Vec<_>, Vec<_>) = ids.partition(|id| peer_of(id).is_some());
        assert!(points.len() > 64 && others.len() > 64);
        for id in points {
            assert_eq!(peer_of(&id).as_ref().and_then(node_of), Some(id));
        }
        // A random peer id is a hash of nothing we know.
        assert_eq!(node_of(&PeerId::random()), None);
    }
}
