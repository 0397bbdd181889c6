//! What this node provides in the DHT and what it searches there: shard after shard in random order until enough are
//! found. It starts queries and reads their results; whom to ask what is the loop's.

use super::{
    capability::{self, Bucket, SHARDS},
    ids::node_of,
};
use ion_protocol::{NodeId, hardware::Device, job::Needs};
use libp2p::{
    PeerId,
    kad::{self, QueryId, RecordKey, store::MemoryStore},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Providers that are enough for one search.
const ENOUGH: usize = 16;
/// Queries of one search at once.
const PARALLEL: usize = 3;
/// Searches at once; a further wish waits for the engine to repeat it.
const SEARCHES_MAX: usize = 4;

type Kad = kad::Behaviour<MemoryStore>;

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

    /// A query is over; the next shard may follow.
    pub fn ended(&mut self, kad: &mut Kad, query: QueryId) {
        let Some(bucket) = self.queries.remove(&query) else { return };
        if let Some(search) = self.searches.get_mut(&bucket) {
            search.running -= 1;
        }
        self.go_on(kad, bucket);
    }
}
