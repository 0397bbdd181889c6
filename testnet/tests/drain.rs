//! Ctrl-C on a provider: what runs is finished and paid for, nothing new is taken, and a second one ends it at once.

use ion_scheduler::event::Event;
use ion_testnet::{
    cluster::{
        binary,
        ion::Ion,
        log::{Deadline, Mark, Said},
        network::Network,
    },
    jobs::{JOB_SECONDS, Job},
    programs::{Program, walk::Walk},
    receipts,
};

fn network() -> Network {
    let network = Network::start(Ion::new(binary::for_tests().unwrap()), "ion-drain-", 1, 1, "cpu").unwrap();
    network.wait_for_offers(network.lights[0], Mark::default()).unwrap();
    network
}

/// Presses Ctrl-C once, and waits until the node takes no new work.
fn drains(network: &Network, node: usize) {
    let (cluster, deadline) = (&network.cluster, Deadline::seconds(JOB_SECONDS));
    cluster[node].interrupt().unwrap();
    loop {
        let status = cluster.ion.ask(&cluster[node].spec.data_dir, &["status"]).unwrap();
        if status["draining"] == true {
            return;
        }
        assert!(deadline.left().is_some(), "it does not drain: {status}");
    }
}

/// Some seconds of work.
fn long(seed: u32) -> Program {
    Program::Walk(Walk::long(seed))
}

#[test]
fn the_first_ctrl_c_finishes_what_runs_and_takes_nothing_new() {
    let mut network = network();
    let (light, provider) = (network.lights[0], network.providers[0]);
    let first = Job::order(&network.cluster, light, "first", long(1)).unwrap();
    let (at, mark) = first.runs(&network.cluster).unwrap();
    assert_eq!(at, provider);
    drains(&network, provider);
    let short = Program::Walk(Walk { threads: 256, steps: 10, launches: 1, seed: 2 });
    let second = Job::order(&network.cluster, light, "second", short).unwrap();
    let (program, out, id, end) = first.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
    assert_eq!((Some(end.provider), end.attempt.0), (network.cluster[provider].id, 1));
    assert_eq!(network.cluster[provider].ended(Deadline::seconds(JOB_SECONDS)).unwrap(), Some(0));
    // It is stopped, and its journal tells that it is paid.
    let held = receipts::list(&network.cluster, provider).unwrap();
    assert!(held.len() == 1 && held[0].is_settled() && held[0].body.job == id, "{held:?}");
    for line in network.cluster.log.since(mark).iter().filter(|line| line.node == provider) {
        assert!(!matches!(&line.said, Said::Event(Event::LeaseTaken { .. })), "{:?}", line.said);
    }
    network.cluster.start_ready(provider).unwrap();
    let (program, out, ..) = second.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
}

#[test]
fn the_second_ctrl_c_stops_at_once_and_the_job_is_run_again() {
    let mut network = network();
    let (light, provider) = (network.lights[0], network.providers[0]);
    let job = Job::order(&network.cluster, light, "long", long(1)).unwrap();
    job.runs(&network.cluster).unwrap();
    drains(&network, provider);
    assert_eq!(network.cluster[provider].stop(Deadline::seconds(JOB_SECONDS)).unwrap(), Some(0));
    assert_eq!(receipts::list(&network.cluster, provider).unwrap().len(), 0, "it was not finished");
    network.cluster.start_ready(provider).unwrap();
    let (program, out, _, end) = job.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
    assert!(end.attempt.0 > 1);
}
