//! Owner first: what an owner takes back is theirs within a second, whoever computed there computes elsewhere, and a pause
//! outlives the node.

use anyhow::Result;
use ion_protocol::{NodeId, fault::Fault};
use ion_scheduler::event::Event;
use ion_testnet::{
    cluster::{
        Cluster, binary,
        ion::Ion,
        log::{Deadline, Mark, Said},
        network::Network,
    },
    jobs::{JOB_SECONDS, Job},
    programs::{Program, walk::Walk},
};
use serde_json::Value;
use std::time::Instant;

/// Probing a processor takes a second or two, and longer beside other tests.
const PROBE_SECONDS: u64 = 60;

fn network() -> Network {
    let ion = Ion::new(binary::for_tests().unwrap());
    let network = Network::start(ion, "ion-owner-", 2, 1, "cpu").unwrap();
    network.wait_for_offers(network.lights[0], Mark::default()).unwrap();
    network
}

fn ask(cluster: &Cluster, node: usize, args: &[&str]) -> Result<Value> {
    cluster.ion.ask(&cluster[node].spec.data_dir, args)
}

/// The first device of a node, once the machine was looked at.
fn device(cluster: &Cluster, node: usize) -> Value {
    let deadline = Deadline::seconds(PROBE_SECONDS);
    loop {
        let view = ask(cluster, node, &["devices"]).unwrap();
        if view["probed"] == true {
            return view["devices"][0].clone();
        }
        assert!(deadline.left().is_some(), "still not probed: {view}");
    }
}

/// Waits until `light` knows that `provider` offers this many devices.
fn offered(cluster: &Cluster, light: usize, provider: NodeId, count: usize) {
    let deadline = Deadline::seconds(PROBE_SECONDS);
    loop {
        let offers = cluster.ion.ask_list(&cluster[light].spec.data_dir, &["offers"]).unwrap();
        let theirs = offers.iter().find(|offer| offer["provider"] == provider.to_string());
        let devices = theirs.map_or(0, |offer| offer["devices"].as_array().map_or(0, Vec::len));
        if devices == count {
            return;
        }
        assert!(deadline.left().is_some(), "{devices} devices offered, not {count}: {offers:?}");
    }
}

#[test]
fn what_an_owner_takes_back_runs_elsewhere_and_the_pause_outlives_a_restart() {
    let mut network = network();
    let light = network.lights[0];
    let program = Program::Walk(Walk::long(12));
    let job = Job::order(&network.cluster, light, "walk", program).unwrap();
    let (at, mark) = job.runs(&network.cluster).unwrap();
    let provider = network.cluster[at].id.unwrap();

    let asked = Instant::now();
    let said = ask(&network.cluster, at, &["devices", "pause", "0", "--now"]).unwrap();
    assert_eq!((&said["device"], &said["paused"]), (&0.into(), &true.into()));
    let ended = |line: &ion_testnet::cluster::log::Line| match &line.said {
        Said::Event(Event::ReceiptSigned { job: of, fault, .. }) if line.node == at && *of == job.id => {
            Ok(Some((line.heard, fault.clone())))
        }
        Said::Event(_) | Said::Listening { .. } | Said::Other(_) | Said::Ended => Ok(None),
    };
    let ((heard, fault), _) =
        network.cluster.log.wait(mark, Deadline::seconds(JOB_SECONDS), "the receipt", ended).unwrap();
    assert_eq!(fault, Some(Fault::Withdrawn));
    let took = heard.saturating_duration_since(asked).as_millis();
    eprintln!("from the owner's word to the signed receipt of what was stopped: {took} ms");
    let paused = device(&network.cluster, at);
    assert_eq!((&paused["withheld"]["why"], &paused["job"]), (&"paused".into(), &Value::Null));
    let (program, out, _, end) = job.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
    assert_ne!(end.provider, provider);

    network.cluster[at].kill().unwrap();
    network.cluster.start_ready(at).unwrap();
    assert_eq!(device(&network.cluster, at)["withheld"]["why"], "paused");
    ask(&network.cluster, at, &["devices", "resume", "0"]).unwrap();
    assert_eq!(device(&network.cluster, at)["withheld"], Value::Null);
    offered(&network.cluster, light, provider, 1);
    let absent = ask(&network.cluster, at, &["devices", "pause", "7"]).unwrap_err().to_string();
    assert!(absent.contains("no device 7"), "{absent}");
}
