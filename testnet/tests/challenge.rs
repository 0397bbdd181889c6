//! Challenges in a network of real processes: who claims no more than it has passes, a processor that claims a card's rate
//! does not, and neither do two providers that have one device between them.

use ion_protocol::{NodeId, challenge::Judgement};
use ion_scheduler::event::Event;
use ion_testnet::{
    adversary::liar::{self, Lie},
    cluster::{
        Cluster, binary,
        ion::Ion,
        log::{Deadline, Mark, Said},
        network::Network,
        node::Role,
    },
};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

/// Two products, one after the other, and what starting takes.
const CHALLENGE_SECONDS: u64 = 60;

fn network(lies: &[Lie]) -> (Network, Vec<String>) {
    let ion = Ion::new(binary::for_tests().unwrap());
    let mut network = Network::start(ion, "ion-challenge-", 0, 1, "cpu").unwrap();
    let known = [network.cluster[network.hub].addresses[0].clone()];
    let testnet = Path::new(env!("CARGO_BIN_EXE_ion-testnet"));
    let mut ids = Vec::new();
    for (n, lie) in lies.iter().enumerate() {
        let provider = network.cluster.add(&format!("provider-{n}"), Role::Provider, "cpu", &known);
        let mark = liar::start(&mut network.cluster, provider, testnet, *lie).unwrap();
        network.cluster.ready(provider, mark).unwrap();
        ids.push(network.cluster[provider].id.unwrap());
    }
    let wanted: BTreeSet<_> = ids.iter().copied().collect();
    network.wait_for_offers_of(network.lights[0], Mark::default(), wanted).unwrap();
    (network, ids.iter().map(ToString::to_string).collect())
}

/// `ion challenge` of these, as the light node: its exit code, and a row for each.
fn challenge(cluster: &Cluster, light: usize, peers: &[&str], out: &str) -> (Option<i32>, Vec<Value>) {
    let args = [&["challenge"], peers, &["--out", out]].concat();
    let running = cluster.ion.start(&cluster[light].spec.data_dir, args).unwrap();
    let finished = running.finish(Deadline::seconds(CHALLENGE_SECONDS)).unwrap();
    match finished.said.as_slice() {
        [Value::Array(rows)] => (finished.code, rows.clone()),
        other => panic!("{other:?}: {}", finished.errors),
    }
}

fn judgements(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["judgement"].as_str().unwrap_or_else(|| panic!("{row}"))).collect()
}

#[test]
fn one_device_sold_as_two_passes_alone_and_fails_beside_itself() {
    let (network, ids) = network(&[Lie::Shared; 3]);
    let (cluster, light) = (&network.cluster, network.lights[0]);
    let file = cluster.dir().join("alone.json");
    let name = file.to_str().unwrap();
    // Each is asked once: a challenge takes about half of what a device gives to them in an hour.
    let (code, rows) = challenge(cluster, light, &[&ids[2]], name);
    assert_eq!((code, judgements(&rows)), (Some(0), vec!["passed"]), "{rows:?}");

    // Anybody can check what was said, and nobody can change it.
    let dir = &cluster[light].spec.data_dir;
    let proof = cluster.ion.ask(dir, &["challenge", "verify", name]).unwrap();
    assert_eq!((&proof["verified"], &proof["verdict"]["provider"]), (&true.into(), &ids[2].as_str().into()));
    let said = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, said.replace("\"passed\"", "\"late\"")).unwrap();
    let edited = cluster.ion.finish(dir, ["challenge", "verify", name]).unwrap();
    assert_eq!(edited.code, Some(1));
    assert!(edited.errors.contains("the file was edited"), "{}", edited.errors);

    let (code, rows) = challenge(cluster, light, &[&ids[0], &ids[1]], name);
    assert_eq!(code, Some(1), "{rows:?}");
    // Whoever had the device second is late, whatever the machine was doing: two products take longer than the bound.
    assert!(judgements(&rows).contains(&"late"), "{rows:?}");
    let offers = cluster.ion.ask_list(dir, &["offers"]).unwrap();
    assert!(offers.iter().any(|offer| offer["claim_held"] == false), "{offers:?}");
}

#[test]
fn a_processor_that_claims_a_cards_rate_is_late() {
    let (network, ids) = network(&[Lie::Overclaim]);
    let (cluster, light) = (&network.cluster, network.lights[0]);
    let file = cluster.dir().join("late.json");
    let (code, rows) = challenge(cluster, light, &[&ids[0]], file.to_str().unwrap());
    assert_eq!((code, judgements(&rows)), (Some(1), vec!["late"]), "{rows:?}");
    let claim = rows[0]["claim_mops"].as_u64().unwrap();
    assert!(claim > 1_000_000, "a processor does not do {claim} million operations a second");
    let dir = &cluster[light].spec.data_dir;
    let proof = cluster.ion.ask(dir, &["challenge", "verify", file.to_str().unwrap()]).unwrap();
    assert_eq!(proof["verdict"]["judgement"]["judgement"], "late", "{proof}");
    let offers = cluster.ion.ask_list(dir, &["offers"]).unwrap();
    assert_eq!(offers[0]["claim_held"], false, "{offers:?}");
}

#[test]
fn a_liar_is_found_without_anybody_asking() {
    let (mut network, ids) = network(&[Lie::Overclaim]);
    let known = [network.cluster[network.hub].addresses[0].clone()];
    let light = network.cluster.add("watchful", Role::Light, "cpu", &known);
    network.cluster[light].spec.challenge = "1 s".to_owned();
    let from = network.cluster.start(light).unwrap();
    network.cluster.ready(light, from).unwrap();
    let liar: NodeId = ids[0].parse().unwrap();
    let deadline = Deadline::seconds(CHALLENGE_SECONDS);
    let judged = network.cluster.log.wait(from, deadline, "a verdict nobody asked for", |line| {
        Ok(match &line.said {
            Said::Event(Event::Challenged { provider, judgement, .. }) if line.node == light => {
                Some((*provider, judgement.clone()))
            }
            Said::Event(_) | Said::Listening { .. } | Said::Other(_) | Said::Ended => None,
        })
    });
    assert_eq!(judged.unwrap().0, (liar, Judgement::Late));
    let dir = &network.cluster[light].spec.data_dir;
    let offers = network.cluster.ion.ask_list(dir, &["offers"]).unwrap();
    assert_eq!(offers[0]["claims"][0]["standing"], "failed", "{offers:?}");
    let status = network.cluster.ion.ask(dir, &["status"]).unwrap();
    assert_eq!((&status["claims"]["failed"], &status["challenge_every_ms"]), (&1.into(), &1_000.into()));
    // The other light node looks at nobody unless it is told to.
    let idle = &network.cluster[network.lights[0]].spec.data_dir;
    let offers = network.cluster.ion.ask_list(idle, &["offers"]).unwrap();
    assert_eq!(offers[0]["claims"][0]["standing"], "unchecked", "{offers:?}");
}
