//! Bad situations of the whole: each must be told as what it is, or survived.

use anyhow::{Result, bail};
use ion_protocol::{JobId, record::JobEnd};
use ion_scheduler::event::Event;
use ion_testnet::{
    cluster::{
        Cluster, binary,
        ion::Ion,
        log::{Deadline, Mark},
        network::Network,
        node::Role,
        script,
    },
    jobs::{JOB_SECONDS, Job},
    programs::{Program, walk::Walk},
};
use std::{fs, net::TcpListener};

/// Exit code of `ion` when the node itself is in trouble.
const NODE_TROUBLE: i32 = 3;
/// A node that can't start says so soon.
const GIVE_UP_SECONDS: u64 = 30;

fn ion() -> Ion {
    Ion::new(binary::for_tests().unwrap())
}

fn network(providers: usize) -> Network {
    let network = Network::start(ion(), "ion-bad-", providers, 1, "cpu").unwrap();
    network.wait_for_offers(network.lights[0], Mark::default()).unwrap();
    network
}

#[test]
fn a_second_node_on_the_same_data_directory_is_refused() {
    let mut cluster = Cluster::new(ion(), "ion-bad-").unwrap();
    let first = cluster.add("first", Role::Light, "cpu", &[]);
    cluster.start_ready(first).unwrap();
    let second = cluster.add("second", Role::Light, "cpu", &[]);
    cluster[second].spec.data_dir = cluster[first].spec.data_dir.clone();
    cluster.start(second).unwrap();
    let code = cluster[second].ended(Deadline::seconds(GIVE_UP_SECONDS)).unwrap();
    assert_eq!(code, Some(NODE_TROUBLE), "{}", cluster[second].tail());
    assert!(cluster[second].tail().contains("--data-dir"), "no way out named: {}", cluster[second].tail());
    let status = cluster.ion.ask(&cluster[first].spec.data_dir, &["status"]).unwrap();
    assert_eq!(status["node"], cluster[first].id.unwrap().to_string(), "the first node goes on");
}

#[test]
fn a_node_whose_journal_is_gone_says_so_and_how_to_go_on() {
    let mut cluster = Cluster::new(ion(), "ion-bad-").unwrap();
    let node = cluster.add("node", Role::Light, "cpu", &[]);
    cluster.start_ready(node).unwrap();
    cluster[node].kill().unwrap();
    let dir = cluster[node].spec.data_dir.clone();
    fs::remove_file(dir.join("journal")).unwrap();
    cluster.start(node).unwrap();
    let code = cluster[node].ended(Deadline::seconds(GIVE_UP_SECONDS)).unwrap();
    let (told, mark) = (cluster[node].tail(), dir.join("journal.durable"));
    assert_eq!(code, Some(NODE_TROUBLE), "{told}");
    assert!(told.contains(&format!("remove {}", mark.display())), "{told}");
    fs::remove_file(mark).unwrap();
    cluster.start_ready(node).unwrap();
}

/// A node that says where it is, and then nothing more.
const HANGS: &str = "#!/bin/sh\necho 'starting: opening the journal' >&2\nexec 9> \"$(dirname \"$0\")/told\"\nexec tail -f /dev/null\n";

#[test]
fn a_start_that_hangs_is_told_with_its_stage_and_where_its_process_waits() {
    let files = tempfile::tempdir().unwrap();
    let (script, told) = (files.path().join("ion"), files.path().join("told"));
    script::write(&script, HANGS).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &told, rustix::fs::Mode::RWXU).unwrap();
    let mut cluster = Cluster::new(Ion::new(script), "ion-bad-").unwrap();
    let node = cluster.add("silent", Role::Light, "cpu", &[]);
    let from = cluster.start(node).unwrap();
    // Opens once the script has spoken.
    let _told = fs::File::open(&told).unwrap();
    let error = format!("{:#}", cluster[node].ready(from, Deadline::millis(50)).unwrap_err());
    for part in ["silent did not start", "has the threads", "starting: opening the journal"] {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
}

#[test]
fn a_port_in_use_is_told_with_the_flag_that_helps() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut cluster = Cluster::new(ion(), "ion-bad-").unwrap();
    let node = cluster.add("node", Role::Network, "cpu", &[]);
    cluster[node].spec.listen = vec![format!("/ip4/127.0.0.1/tcp/{port}")];
    cluster.start(node).unwrap();
    let code = cluster[node].ended(Deadline::seconds(GIVE_UP_SECONDS)).unwrap();
    let told = cluster[node].tail();
    assert_eq!(code, Some(NODE_TROUBLE), "{told}");
    assert!(told.contains(&port.to_string()) && told.contains("--listen"), "{told}");
}

#[test]
fn bootstraps_that_do_not_answer_do_not_keep_a_node_from_the_one_that_does() {
    let mut network = network(1);
    // One takes connections and says nothing; nobody listens at the other, which is no port of a user's.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = [silent.local_addr().unwrap().port(), 1].map(|port| format!("/ip4/127.0.0.1/tcp/{port}"));
    let cluster = &mut network.cluster;
    let lonely = cluster.add("lonely", Role::Light, "cpu", &dead);
    cluster.start_ready(lonely).unwrap();
    let offers = cluster.ion.ask_list(&cluster[lonely].spec.data_dir, &["offers"]).unwrap();
    assert!(offers.is_empty(), "it runs and knows nobody: {offers:?}");
    let mut known = dead.to_vec();
    known.push(cluster[network.hub].addresses[0].clone());
    let lucky = cluster.add("lucky", Role::Light, "cpu", &known);
    cluster.start_ready(lucky).unwrap();
    network.wait_for_offers(lucky, Mark::default()).unwrap();
}

#[test]
fn a_restarted_node_finds_the_network_without_its_bootstrap() {
    let mut network = network(1);
    let light = network.lights[0];
    let hub = network.hub;
    // Whoever worked for it is remembered.
    let program = Program::Walk(Walk { threads: 256, steps: 10, launches: 1, seed: 3 });
    Job::order(&network.cluster, light, "walk", program).unwrap().finish(&network.cluster).unwrap();
    network.cluster[light].stop(Deadline::seconds(GIVE_UP_SECONDS)).unwrap();
    network.cluster[hub].kill().unwrap();
    network.cluster[light].spec.bootstrap.clear();
    let mark = network.cluster.log.mark();
    network.cluster.start_ready(light).unwrap();
    network.wait_for_offers(light, mark).unwrap();
}

/// That it is missed after five seconds of silence is told on virtual time, in the scheduler's `tests/requester.rs`.
#[test]
fn a_provider_that_falls_silent_is_lost_and_the_job_ends_elsewhere() {
    let network = network(2);
    let light = network.lights[0];
    let job = Job::order(&network.cluster, light, "walk", Program::Walk(Walk::long(11))).unwrap();
    let (provider, mark) = job.runs(&network.cluster).unwrap();
    network.cluster[provider].freeze().unwrap();
    let (lost, _) = job
        .wait(&network.cluster, mark, Deadline::seconds(JOB_SECONDS), "the loss", |_, event| match event {
            Event::AttemptLost { provider, .. } => Ok(Some(*provider)),
            Event::JobEnded { .. } => bail!("it ended before its provider was missed"),
            _ => Ok(None),
        })
        .unwrap();
    assert_eq!(Some(lost), network.cluster[provider].id);
    let (program, out, _, ended) = job.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
    assert_ne!(Some(ended.provider), network.cluster[provider].id);
    network.cluster[provider].thaw().unwrap();
}

#[test]
fn a_job_outlives_the_death_of_the_node_that_ordered_it() {
    let mut network = network(2);
    let light = network.lights[0];
    let job = Job::order(&network.cluster, light, "walk", Program::Walk(Walk::long(11))).unwrap();
    let id = job.id;
    job.runs(&network.cluster).unwrap();
    network.cluster[light].kill().unwrap();
    drop(job);
    let mark = network.cluster.log.mark();
    network.cluster.start_ready(light).unwrap();
    let end = end_of(&network.cluster, mark, id).unwrap();
    assert!(matches!(end, JobEnd::Done { .. }), "{end:?}");
}

fn end_of(cluster: &Cluster, from: Mark, id: JobId) -> Result<JobEnd> {
    use ion_testnet::cluster::log::Said;
    let (end, _) =
        cluster.log.wait(from, Deadline::seconds(JOB_SECONDS), "the job's end", |line| match &line.said {
            Said::Event(Event::JobEnded { job, end, .. }) if *job == id => Ok(Some(end.clone())),
            Said::Event(_) | Said::Listening { .. } | Said::Other(_) | Said::Ended => Ok(None),
        })?;
    Ok(end)
}
