//! What this node provides in the DHT and what it searches there: shard after shard in random order until enough are
//! found. It starts queries and reads their results; whom to ask what is the loop's.

use super::{
    capability::{self, Bucket, SHARDS},
    ids::node_of,
};
use ion_protocol::{NodeId, hardware::Device, job::Needs, limits::ADDRESSES_MAX};
use libp2p::{
    Multiaddr, PeerId,
    kad::{self, QueryId, RecordKey, store::MemoryStore},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Providers that are enough for one search.
const ENOUGH: usize = 16;
/// Queries of one search at once.
const PARALLEL: usize = 3;
/// Searches at once; a further wish waits for the engine to repeat it.
const SEARCHES_MAX: usize = 4;

/// Addresses kept of one peer for routing: all it may list, before and after it moved.
const ROUTES_MAX: usize = 2 * ADDRESSES_MAX;

type Kad = kad::Behaviour<MemoryStore>;

/// Where queries reach a peer. kad keeps all that it is told, and a peer introduces itself as often as it likes: what is
/// new takes the place of what was told first.
pub(super) fn learn(kad: &mut Kad, peer: &PeerId, addresses: &[Multiaddr]) {
    if routes(kad, peer).is_empty() {
        // It may wait for room there, which can't be seen.
        kad.remove_peer(peer);
    }
    for address in addresses {
        kad.add_address(peer, address.clone());
    }
    let held = routes(kad, peer);
    for old in &held[..held.len().saturating_sub(ROUTES_MAX)] {
        kad.remove_address(peer, old);
    }
}

fn routes(kad: &mut Kad, peer: &PeerId) -> Vec<Multiaddr> {
    let bucket = kad.kbucket(*peer);
    let entry = bucket.iter().flat_map(|bucket| bucket.iter()).find(|e| e.node.key.preimage() == peer);
    entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
}

#[derive(Debug)]
struct Search {
    shards: Vec<u8>,
    running: usize,
    found: BTreeSet<NodeId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Dht {
    provided: BTreeSet<[u8; 32]>,
    /// Whether nobody was there to tell when we last said what we provide.
    unheard: bool,
    searches: BTreeMap<Bucket, Search>,
    queries: HashMap<QueryId, Bucket>,
}

impl Dht {
    /// Stands under the keys of these devices, and no longer under others.
    pub fn provide(&mut self, kad: &mut Kad, node: &NodeId, devices: &[Device]) {
        let keys = capability::offered(node, devices);
        for gone in self.provided.difference(&keys) {
            kad.stop_providing(&RecordKey::new(gone));
        }
        let new: Vec<_> = keys.difference(&self.provided).copied().collect();
        self.provided = keys;
        self.say(kad, &new);
    }

    /// Says it again once there is somebody to hear it.
    pub fn provide_again_if_unheard(&mut self, kad: &mut Kad) {
        if self.unheard {
            let all: Vec<_> = self.provided.iter().copied().collect();
            self.say(kad, &all);
        }
    }

    fn say(&mut self, kad: &mut Kad, keys: &[[u8; 32]]) {
        if keys.is_empty() {
            return;
        }
        self.unheard = kad.kbuckets().all(|bucket| bucket.is_empty());
        for key in keys {
            if let Err(error) = kad.start_providing(RecordKey::new(key)) {
                tracing::warn!("cannot provide in the DHT: {error}");
            }
        }
    }

    /// Begins to search, unless the same search is on.
    pub fn search(&mut self, kad: &mut Kad, needs: &Needs) {
        for bucket in capability::wanted(needs) {
            if self.searches.len() >= SEARCHES_MAX || self.searches.contains_key(&bucket) {
                continue;
            }
            let mut shards: Vec<_> = (0..SHARDS).collect();
            fastrand::shuffle(&mut shards);
            self.searches.insert(bucket, Search { shards, running: 0, found: BTreeSet::new() });
            self.go_on(kad, bucket);
        }
    }

    fn go_on(&mut self, kad: &mut Kad, bucket: Bucket) {
        let Some(search) = self.searches.get_mut(&bucket) else { return };
        while search.running < PARALLEL && search.found.len() < ENOUGH {
            let Some(shard) = search.shards.pop() else { break };
            let query = kad.get_providers(RecordKey::new(&bucket.key(shard)));
            self.queries.insert(query, bucket);
            search.running += 1;
        }
        if search.running == 0 {
            self.searches.remove(&bucket);
        }
    }

    /// Providers a query found, as far as they are new to its search.
    pub fn found(&mut self, query: QueryId, providers: impl IntoIterator<Item = PeerId>) -> Vec<NodeId> {
        let Some(search) = self.queries.get(&query).and_then(|bucket| self.searches.get_mut(bucket)) else {
            return Vec::new();
        };
        let nodes = providers.into_iter().filter_map(|peer| node_of(&peer));
        nodes.filter(|node| search.found.len() < 2 * ENOUGH && search.found.insert(*node)).collect()
    }

    /// Whether a search is on.
    #[cfg(test)]
    pub fn is_searching(&self) -> bool {
        !self.searches.is_empty()
    }

    /// A query is over; the next shard may follow.
    pub fn ended(&mut self, kad: &mut Kad, query: QueryId) {
        let Some(bucket) = self.queries.remove(&query) else { return };
        if let Some(search) = self.searches.get_mut(&bucket) {
            search.running -= 1;
        }
        self.go_on(kad, bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_lists_ever_new_addresses_does_not_grow_the_routing_table() {
        let own = PeerId::random();
        let config = kad::Config::new(super::super::behaviour::KAD_PROTOCOL);
        let (mut kad, peer) = (Kad::with_config(own, MemoryStore::new(own), config), PeerId::random());
        let address = |port: u16| -> Multiaddr { format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap() };
        for times in 0..100 {
            let listed: Vec<_> = (0..8).map(|n| address(1 + 8 * times + n)).collect();
            learn(&mut kad, &peer, &listed);
        }
        let held = routes(&mut kad, &peer);
        assert_eq!(held.len(), ROUTES_MAX);
        assert_eq!(held.last(), Some(&address(800).with_p2p(peer).unwrap()), "the newest are kept");
        learn(&mut kad, &peer, &[address(800)]);
        assert_eq!(routes(&mut kad, &peer), held, "a repeat is no news");
    }
}
