//! How nodes find each other and each other's adverts.

use super::{samples::*, *};
use crate::clock::wall;
use ion_protocol::{UnixMillis, job::Needs, message::LeaseState};

#[tokio::test]
async fn an_advert_reaches_everybody_through_gossip() {
    let relay = node(1).role(Role::Relay).start().await;
    let mut provider = node(2).boot(&relay).start().await;
    let mut other = node(3).boot(&relay).start().await;
    let relay = relay.drive();
    provider.connected(relay.id).await;
    let advert = Signed::sign(advert(2, 1), &network(), &key(2));
    provider.net.handle.publish(advert.signed().clone()).unwrap();
    let provider_id = provider.id;
    let _provider = provider.drive();
    assert_eq!(other.advert_of(provider_id).await, 1);
}

#[tokio::test]
async fn a_light_node_gets_adverts_without_gossip() {
    let relay = node(1).role(Role::Relay).start().await;
    let mut provider = node(2).boot(&relay).start().await;
    let light = node(3).role(Role::Light).listen(&[]).boot(&relay);
    let relay = relay.drive();
    provider.connected(relay.id).await;
    let advert = Signed::sign(advert(2, 7), &network(), &key(2));
    provider.net.handle.publish(advert.signed().clone()).unwrap();
    let provider_id = provider.id;
    let _provider = provider.drive();
    let mut light = light.start().await;
    assert_eq!(light.advert_of(provider_id).await, 7);
    // It may have introduced itself after it asked.
    let introduced = tokio::time::timeout(DEADLINE, async {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        while !relay.handle.peers().await.iter().any(|peer| peer.role == Some(Role::Light)) {
            again.tick().await;
        }
    });
    introduced.await.expect("the relay knows that it is light");
}

/// Its number is what a node needs whose clock was set back while it was away.
#[tokio::test]
async fn a_node_that_comes_back_is_told_of_its_own_advert() {
    let relay = node(1).role(Role::Relay).start().await;
    let mut provider = node(2).boot(&relay).start().await;
    let (again, mut other) = (node(2).boot(&relay), node(3).boot(&relay).start().await);
    let relay = relay.drive();
    provider.connected(relay.id).await;
    let ahead = UnixMillis(wall().0 + 25_000);
    let advert = Signed::sign(advert_at(2, ahead.0, ahead), &network(), &key(2));
    provider.net.handle.publish(advert.signed().clone()).unwrap();
    let provider_id = provider.id;
    let before = provider.drive();
    other.advert_of(provider_id).await;
    before.handle.shutdown().await;
    let mut again = again.start().await;
    assert_eq!(again.advert_of(provider_id).await, ahead.0);
}

#[tokio::test]
async fn the_dht_finds_a_provider_nobody_talks_of() {
    let mut relay = node(1).role(Role::Relay);
    relay.shares = false;
    let relay = relay.start().await;
    let mut provider = node(2).boot(&relay).start().await;
    let light = node(3).role(Role::Light).listen(&[]).boot(&relay);
    let relay = relay.drive();
    provider.connected(relay.id).await;
    let advert = Signed::sign(advert(2, 3), &network(), &key(2));
    provider.heard.insert(provider.id, advert.signed().clone());
    provider.net.handle.publish(advert.signed().clone()).unwrap();
    let provider_id = provider.id;
    let _provider = provider.drive();
    let mut light = light.start().await;
    light.connected(relay.id).await;
    // The engine repeats a search until somebody is found; so does this test.
    let found = tokio::time::timeout(DEADLINE, async {
        let mut repeat = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                seq = light.advert_of(provider_id) => return seq,
                _ = repeat.tick() => {}
            }
            light.net.handle.discover(Needs::default()).unwrap();
        }
    });
    assert_eq!(found.await.expect("the provider is found"), 3);
}

#[tokio::test]
async fn a_restarted_node_finds_the_network_without_its_bootstrap() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("peers");
    let bootstrap = node(1).role(Role::Relay).start().await;
    let other = node(2).boot(&bootstrap).start().await.drive();
    let mut first = node(3).boot(&bootstrap);
    first.cache = Some(cache.clone());
    let bootstrap_address = bootstrap.addresses[0].clone();
    let mut first = first.start().await;
    // It hears of the other through the DHT, or is called by it.
    let call = first.call(other.id, &other.addresses, Request::Adverts { max: 1 }, 60_000);
    assert!(first.answer_to(call).await.is_ok());
    let known = tokio::time::timeout(DEADLINE, async {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        loop {
            again.tick().await;
            let peers = first.net.handle.peers().await;
            if peers.iter().any(|peer| peer.node == other.id && peer.role.is_some()) {
                return;
            }
        }
    });
    known.await.expect("the other introduces itself");
    first.stop().await;
    bootstrap.stop().await;

    let mut again = node(3);
    again.cache = Some(cache);
    again.bootstrap = vec![bootstrap_address];
    let mut again = again.start().await;
    again.connected(other.id).await;
    let call = again.call(other.id, &[], Request::Adverts { max: 1 }, 60_000);
    assert!(again.answer_to(call).await.is_ok());
}

#[tokio::test]
async fn a_bootstrap_that_does_not_answer_delays_nothing() {
    // One takes a connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = node(1);
    setup.bootstrap = vec![
        NOBODY.into(),
        format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port()),
        "/ip4/192.0.2.1/tcp/4001".into(),
        "/dns4/nobody.invalid/tcp/4001".into(),
    ];
    let mut a = setup.start().await;
    let (called, _) = tokio::time::timeout(DEADLINE, silent.accept()).await.unwrap().unwrap();
    called.readable().await.unwrap();
    let mut heard = [0; 1024];
    while let Ok(bytes) = called.try_read(&mut heard) {
        assert_ne!(bytes, 0, "its start waited until this call was given up");
    }
    // It is a full node meanwhile.
    let mut b = node(2).boot(&a).start().await;
    b.connected(a.id).await;
    a.connected(b.id).await;
    let call = b.call(a.id, &[], Request::Query { job: JOB, attempt: ion_protocol::Attempt(1) }, 60_000);
    let inbound = a.query(b.id).await;
    a.net.handle.answer(inbound, Response::Lease(LeaseState::Unknown)).unwrap();
    assert!(b.answer_to(call).await.is_ok());
}

#[tokio::test]
async fn a_bootstrap_that_comes_late_is_found() {
    // Bound, the port is given to nobody else; whoever names it can listen there all the same.
    let kept = tokio::net::TcpSocket::new_v4().unwrap();
    kept.set_reuseaddr(true).unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", kept.local_addr().unwrap().port());
    let mut early = node(1);
    early.bootstrap = vec![address.clone()];
    let mut early = early.start().await;
    let late = node(2).listen(&[&address]).start().await;
    early.connected(late.id).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let a = node(1).listen(&["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]).start().await;
    let ports: Vec<u16> =
        a.addresses.iter().filter_map(|address| address.split('/').nth(4)?.parse().ok()).collect();
    assert_eq!(ports.len(), 2, "{:?}", a.addresses);
    assert_eq!(ports[0], ports[1], "QUIC takes the port TCP got");
    for address in &a.addresses {
        let mut setup = node(2);
        setup.listen = vec![address.clone()];
        let (sender, _inputs) = mpsc::channel(INPUTS);
        match start(setup.config(PathBuf::from("peers")), sender).await.err() {
            Some(error @ NetError::PortInUse { port, .. }) => {
                assert_eq!(port, ports[0]);
                assert!(error.to_string().contains("--listen"));
            }
            other => panic!("{address}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn another_network_is_left() {
    let mut a = node(1).start().await;
    let mut stranger = node(2).boot(&a);
    stranger.network = "elsewhere";
    let mut stranger = stranger.start().await;
    stranger.connected(a.id).await;
    stranger.disconnected(a.id).await;
    a.disconnected(stranger.id).await;
}
