//! What the DHT holds, as a peer sees it that asks over the wire.

use super::{samples::*, *};
use crate::net::{
    behaviour::{self, Behaviour, BehaviourEvent},
    capability::offered,
    config::Role,
    dht::{self, Dht},
    ids::{node_of, peer_of},
    swarm_loop::door,
};
use futures::StreamExt;
use ion_protocol::job::Needs;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    kad::{self, QueryResult, store::RecordStore},
    swarm::SwarmEvent,
};
use std::collections::BTreeSet;

/// Three times as many as one answer to a question for one key may list.
const PROVIDERS: u8 = 60;
/// A search ends with as many as are enough, and takes its shards in a random order: that one of 16 is in none of so many is
/// less likely than one in 10^10.
const SEARCHES: usize = 100;

/// A swarm that nobody but the test drives.
fn bare(seed: u8, role: Role) -> Swarm<Behaviour> {
    let config = node(seed).role(role).config(PathBuf::from("none"));
    let (accepted, _) = mpsc::channel(1);
    behaviour::swarm(&config, door(&config), accepted).unwrap()
}

async fn kad_event(swarm: &mut Swarm<Behaviour>) -> (kad::QueryId, QueryResult, bool) {
    loop {
        if let SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
            id,
            result,
            step,
            ..
        })) = swarm.select_next_some().await
        {
            return (id, result, step.last);
        }
    }
}

#[tokio::test]
async fn more_providers_than_one_key_lists_are_all_found() {
    let mut server = bare(1, Role::Relay);
    server.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            break address;
        }
    };
    let all: BTreeSet<NodeId> = (100..100 + PROVIDERS).map(id).collect();
    for node in &all {
        for key in offered(node, &[device()]) {
            let address = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
            let record = kad::ProviderRecord::new(key.to_vec(), peer_of(node).unwrap(), vec![address]);
            server.behaviour_mut().kad.store_mut().add_provider(record).unwrap();
        }
    }
    let server_id = *server.local_peer_id();
    let task = tokio::spawn(async move {
        loop {
            server.select_next_some().await;
        }
    });
    let mut seeker = bare(2, Role::Light);
    dht::learn(&mut seeker.behaviour_mut().kad, &server_id, &[address]);
    let (mut search, mut found) = (Dht::default(), BTreeSet::new());
    for _ in 0..SEARCHES {
        search.search(&mut seeker.behaviour_mut().kad, &Needs::default());
        while search.is_searching() && found.len() < all.len() {
            let (query, result, last) = tokio::time::timeout(DEADLINE, kad_event(&mut seeker)).await.unwrap();
            if let QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) =
                result
            {
                found.extend(search.found(query, providers));
            }
            if last {
                search.ended(&mut seeker.behaviour_mut().kad, query);
            }
        }
    }
    task.abort();
    assert_eq!(found.len(), all.len());
    assert_eq!(found, all);
}

/// A light node comes and goes, and others can seldom call it: who sent questions there would wait in vain.
#[tokio::test]
async fn a_light_node_is_in_nobodys_routing_table() {
    let relay = node(1).role(Role::Relay).start().await;
    let mut full = node(2).boot(&relay).start().await;
    // It listens, so that only its role keeps it out.
    let mut light = node(3).role(Role::Light).boot(&relay).start().await;
    let relay_address: Multiaddr = relay.addresses[0].parse().unwrap();
    full.connected(relay.id).await;
    light.connected(relay.id).await;
    let (relay, full, light) = (relay.drive(), full.drive(), light.drive());
    let met = tokio::time::timeout(DEADLINE, async {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        loop {
            again.tick().await;
            let peers = relay.handle.peers().await;
            if [full.id, light.id].iter().all(|id| peers.iter().any(|p| p.node == *id && p.role.is_some())) {
                return;
            }
        }
    });
    met.await.expect("both introduce themselves");
    let mut seeker = bare(4, Role::Light);
    let relay_id: PeerId = peer_of(&relay.id).unwrap();
    dht::learn(&mut seeker.behaviour_mut().kad, &relay_id, &[relay_address]);
    let mut held = BTreeSet::new();
    for wanted in [full.id, light.id] {
        seeker.behaviour_mut().kad.get_closest_peers(peer_of(&wanted).unwrap());
        let closest = tokio::time::timeout(DEADLINE, async {
            loop {
                if let (_, QueryResult::GetClosestPeers(result), true) = kad_event(&mut seeker).await {
                    return result.unwrap().peers;
                }
            }
        });
        held.extend(closest.await.unwrap().iter().filter_map(|peer| node_of(&peer.peer_id)));
    }
    assert_eq!(held, [relay.id, full.id].into());
}
