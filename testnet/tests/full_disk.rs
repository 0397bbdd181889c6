//! Nodes whose disk is full: what could not be written is acknowledged to nobody, what was acknowledged stays, and with
//! room they go on. A limit on the size of files stands for the disk: every write of the process beyond it fails.

use anyhow::bail;
use ion_protocol::JobId;
use ion_scheduler::event::Event;
use ion_testnet::{
    cluster::{
        Cluster, binary,
        ion::Ion,
        log::{Deadline, Mark, Said},
        network::Network,
        node::Role,
        script,
    },
    jobs::{JOB_SECONDS, Job},
    programs::{Program, walk::Walk},
    receipts,
};
use std::collections::BTreeSet;

/// No file may grow, and none be written anew.
const FULL: Option<u64> = Some(0);
/// Exit code of `ion` when the node itself is in trouble.
const NODE_TROUBLE: i32 = 3;

fn ion() -> Ion {
    Ion::new(binary::for_tests().unwrap())
}

fn network() -> Network {
    let network = Network::start(ion(), "ion-full-", 1, 1, "cpu").unwrap();
    network.wait_for_offers(network.lights[0], Mark::default()).unwrap();
    network
}

fn walk(seed: u32) -> Program {
    Program::Walk(Walk { threads: 256, steps: 10, launches: 1, seed })
}

/// Runs a job to its end; its receipt is then acknowledged on both sides.
fn done(network: &Network, name: &str, program: Program) -> JobId {
    finish(network, Job::order(&network.cluster, network.lights[0], name, program).unwrap())
}

fn finish(network: &Network, job: Job) -> JobId {
    let (program, out, id, _) = job.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
    id
}

/// The jobs of the receipts `node` holds.
fn receipted(network: &Network, node: usize) -> BTreeSet<JobId> {
    receipts::list(&network.cluster, node).unwrap().iter().map(|receipt| receipt.body.job).collect()
}

/// Waits until `node` tells that its journal, or the results of a job, found no room.
fn tells_of_its_disk(network: &Network, node: usize, from: Mark) {
    let (cluster, deadline) = (&network.cluster, Deadline::seconds(JOB_SECONDS));
    let waited = cluster.log.wait(from, deadline, "a word of the full disk", |line| match &line.said {
        Said::Event(Event::RecordFailed { why } | Event::NoRoom { why, .. }) if line.node == node => {
            Ok(Some(why.clone()))
        }
        Said::Ended if line.node == node => bail!("it ended: {}", cluster[node].tail()),
        Said::Event(_) | Said::Listening { .. } | Said::Other(_) | Said::Ended => Ok(None),
    });
    let (why, _) = waited.unwrap();
    assert!(why.contains("is full") && why.contains("make room"), "{why}");
}

/// That `node` has said nothing of the kind since `from`.
fn never_said(network: &Network, node: usize, from: Mark, kind: impl Fn(&Event) -> bool) {
    for line in network.cluster.log.since(from).iter().filter(|line| line.node == node) {
        assert!(!matches!(&line.said, Said::Event(event) if kind(event)), "{:?}", line.said);
    }
}

fn restart(network: &mut Network, node: usize) {
    network.cluster[node].kill().unwrap();
    let mark = network.cluster.log.mark();
    network.cluster.start_ready(node).unwrap();
    if node == network.lights[0] {
        network.wait_for_offers(node, mark).unwrap();
    }
}

#[test]
fn a_light_node_takes_no_job_on_that_it_cannot_write_down() {
    let mut network = network();
    let light = network.lights[0];
    let first = done(&network, "first", walk(1));
    let mark = network.cluster.log.mark();
    network.cluster[light].limit_files(FULL).unwrap();
    // A job with a new file, for which the blob store has no room; and one whose files it has, for whose record the journal has none.
    for (name, seed) in [("new", 2), ("known", 1)] {
        let manifest = walk(seed).write(&network.cluster.subdir(name).unwrap()).unwrap();
        let out = manifest.with_file_name("out");
        let args =
            ["run".as_ref(), manifest.as_os_str(), "--no-start".as_ref(), "--out".as_ref(), out.as_os_str()];
        let ended = network.cluster.ion.finish(&network.cluster[light].spec.data_dir, args).unwrap();
        assert_eq!(ended.code, Some(NODE_TROUBLE), "{name}: {}", ended.errors);
        for part in ["is full", "make room", "put that right, then submit again"] {
            assert!(ended.errors.contains(part), "{name}: no `{part}` in {}", ended.errors);
        }
    }
    never_said(&network, light, mark, |event| matches!(event, Event::JobAccepted { .. }));
    assert_eq!(receipted(&network, light), [first].into(), "it can be asked");
    network.cluster[light].limit_files(None).unwrap();
    let second = done(&network, "second", walk(3));
    restart(&mut network, light);
    let third = done(&network, "third", walk(4));
    assert_eq!(receipted(&network, light), [first, second, third].into());
}

#[test]
fn a_light_node_ends_no_job_whose_results_it_cannot_keep() {
    let mut network = network();
    let light = network.lights[0];
    let job = Job::order(&network.cluster, light, "long", Program::Walk(Walk::long(2))).unwrap();
    let (_, mark) = job.runs(&network.cluster).unwrap();
    network.cluster[light].limit_files(FULL).unwrap();
    tells_of_its_disk(&network, light, mark);
    never_said(&network, light, mark, |event| {
        matches!(event, Event::JobEnded { .. } | Event::AttemptLost { .. } | Event::ReceiptSettled { .. })
    });
    network.cluster[light].limit_files(None).unwrap();
    let id = finish(&network, job);
    restart(&mut network, light);
    assert_eq!(receipted(&network, light), [id].into());
}

#[test]
fn a_provider_signs_nothing_that_it_cannot_write_down() {
    let mut network = network();
    let (light, provider) = (network.lights[0], network.providers[0]);
    let first = done(&network, "first", walk(1));
    let job = Job::order(&network.cluster, light, "long", Program::Walk(Walk::long(2))).unwrap();
    let (_, mark) = job.runs(&network.cluster).unwrap();
    network.cluster[provider].limit_files(FULL).unwrap();
    tells_of_its_disk(&network, provider, mark);
    never_said(&network, provider, mark, |event| matches!(event, Event::ReceiptSigned { .. }));
    never_said(&network, light, mark, |event| matches!(event, Event::Delivering { .. }));
    // Room again comes with the restart.
    restart(&mut network, provider);
    assert_eq!(receipted(&network, provider), [first].into());
    let second = finish(&network, job);
    assert_eq!(receipted(&network, provider), [first, second].into());
}

#[test]
fn a_first_start_without_room_says_so_and_leaves_nothing_that_the_next_stumbles_over() {
    let mut cluster = Cluster::new(ion(), "ion-full-").unwrap();
    let script = cluster.dir().join("ion-on-a-full-disk");
    let program = cluster.ion.path().display();
    script::write(&script, &format!("#!/bin/sh\nulimit -f 0\nexec '{program}' \"$@\"\n")).unwrap();
    let node = cluster.add("node", Role::Light, "cpu", &[]);
    let ended = Ion::new(script).finish(&cluster[node].spec.data_dir, ["node", "--light"]).unwrap();
    assert_eq!(ended.code, Some(NODE_TROUBLE), "{ended:?}");
    assert!(ended.errors.contains("make room"), "{}", ended.errors);
    cluster.start_ready(node).unwrap();
}
