//! A provider that lies, in a network of real processes: it is found out before it is paid, and the job ends elsewhere
//! with the truth.

use anyhow::bail;
use ion_protocol::{JobId, NodeId, check::Difference, record::JobEnd};
use ion_scheduler::event::Event;
use ion_testnet::{
    adversary::liar::{self, Lie},
    cluster::{binary, ion::Ion, log::Deadline, log::Mark, network::Network, node::Role},
    jobs::{JOB_SECONDS, Job},
    programs::{Program, matmul::Matmul, walk::Walk},
};
use std::{collections::BTreeSet, path::Path};

const TESTNET: &str = env!("CARGO_BIN_EXE_ion-testnet");

/// A light node and a provider that lies, whose offer it has seen.
fn with_liar(lie: Lie) -> (Network, usize, NodeId) {
    let ion = Ion::new(binary::for_tests().unwrap());
    let mut network = Network::start(ion, "ion-liar-", 0, 1, "cpu").unwrap();
    let liar = add(&mut network, "liar");
    let mark = liar::start(&mut network.cluster, liar, Path::new(TESTNET), lie).unwrap();
    network.cluster.ready(liar, mark).unwrap();
    let id = network.cluster[liar].id.unwrap();
    network.wait_for_offers_of(network.lights[0], Mark::default(), BTreeSet::from([id])).unwrap();
    (network, liar, id)
}

fn add(network: &mut Network, name: &str) -> usize {
    let known = [network.cluster[network.hub].addresses[0].clone()];
    network.cluster.add(name, Role::Provider, "cpu", &known)
}

/// What the light node found wrong in what this provider delivered.
fn lie_found(network: &Network, job: &Job, liar: NodeId) -> Difference {
    let found = job.wait(
        &network.cluster,
        job.since,
        Deadline::seconds(JOB_SECONDS),
        "the lie to be found",
        |_, event| match event {
            Event::DeliveryFalse { provider, difference, .. } if *provider == liar => {
                Ok(Some(difference.clone()))
            }
            Event::JobEnded { end, .. } => bail!("the lie passed: {end:?}"),
            _ => Ok(None),
        },
    );
    found.unwrap().0
}

/// An honest provider comes and ends the job, rightly.
fn ends_with_the_truth(network: &mut Network, job: Job) -> JobId {
    let honest = add(network, "honest");
    network.cluster.start_ready(honest).unwrap();
    let (program, out, id, ended) = job.finish(&network.cluster).unwrap();
    program.check(&out).unwrap();
    assert_eq!(Some(ended.provider), network.cluster[honest].id);
    id
}

#[test]
fn a_liar_is_found_out_is_not_paid_and_the_job_ends_elsewhere_with_the_truth() {
    let (mut network, liar, liar_id) = with_liar(Lie::Outputs);
    let light = network.lights[0];

    // 64 blocks, of which four are run again unless the owner says otherwise.
    let program = Program::Matmul(Matmul { n: 128 });
    let job = Job::order(&network.cluster, light, "matmul", program).unwrap();
    let difference = lie_found(&network, &job, liar_id);
    assert_eq!((difference.kernel.as_str(), difference.buffer.as_str()), ("matmul", "c"));
    assert_eq!(difference.found, difference.expected ^ 1, "as the liar does it");
    let block = difference.block.expect("of one block");

    let id = ends_with_the_truth(&mut network, job);

    let (cluster, dir) = (&network.cluster, &network.cluster[light].spec.data_dir);
    let job = id.to_string();
    let view = cluster.ion.ask(dir, &["jobs", &job]).unwrap();
    assert_eq!((&view["check"]["check"], &view["check"]["of"]), (&"equal".into(), &64.into()), "{view}");
    assert_eq!(view["check"]["blocks"].as_array().map(Vec::len), Some(4));
    let first = &view["attempts"][0];
    let named = format!("block {},{},{} of kernel `matmul` gave ", block[0], block[1], block[2]);
    assert_eq!(first["state"], "false");
    assert!(first["why"].as_str().unwrap().contains(&named), "{first}");
    let why = cluster.ion.ask(dir, &["why", &job]).unwrap();
    assert!(why["attempts"][0]["why"].as_str().unwrap().contains(&named), "{why}");
    let offers = cluster.ion.ask_list(dir, &["offers"]).unwrap();
    let falsified = |id: &str| offers.iter().find(|offer| offer["provider"] == id).map(|o| &o["falsified"]);
    assert_eq!(falsified(&liar_id.to_string()), Some(&1.into()), "{offers:?}");

    // Both halves say what was checked, and hold without any node.
    let receipt = view["receipt"].as_str().unwrap();
    let file = cluster.dir().join("receipt.json");
    let name = file.to_str().unwrap();
    cluster.ion.ask(dir, &["receipts", "export", receipt, "--out", name]).unwrap();
    let proof = cluster.ion.ask(dir, &["receipts", "verify", name]).unwrap();
    assert_eq!(proof["countersignature"]["check"], view["check"], "{proof}");
    assert_eq!(proof["receipt"], view["receipt"], "{proof}");
    let theirs = cluster.ion.ask_list(&network.cluster[liar].spec.data_dir, &["receipts", "list"]).unwrap();
    assert!(
        theirs.iter().all(|receipt| receipt["countersignature"].is_null()),
        "a liar was paid: {theirs:?}"
    );
    assert!(!theirs.is_empty(), "and it did sign");
}

/// Whoever does not ask for a check is not told the truth: what the check is worth.
#[test]
fn without_a_check_the_lie_is_accepted_and_the_receipt_says_that_nobody_looked() {
    let (network, ..) = with_liar(Lie::Outputs);
    let light = network.lights[0];
    let program = Program::Matmul(Matmul { n: 64 });
    let job = Job::order_with(&network.cluster, light, "matmul", program, &["--verify", "0"]).unwrap();
    let (program, out, id, _) = job.finish(&network.cluster).unwrap();
    assert!(program.check(&out).is_err(), "the liar did not lie");
    let dir = &network.cluster[light].spec.data_dir;
    let view = network.cluster.ion.ask(dir, &["jobs", &id.to_string()]).unwrap();
    assert_eq!(view["check"]["check"], "not-asked", "{view}");
    assert!(matches!(serde_json::from_value(view["end"].clone()), Ok(JobEnd::Done { .. })), "{view}");
}

/// One launch of eight is false, and all that is delivered follows from it: only the memory that the provider committed to
/// between the launches shows it.
#[test]
fn a_lie_in_the_middle_is_found_by_the_memory_between_launches() {
    let (mut network, _, liar_id) = with_liar(Lie::Middle);
    let light = network.lights[0];

    // Eight blocks in each launch, all of which are run again; too long for the requester to go there from the inputs.
    let walk = Walk { threads: 8 * 256, steps: 20_000, launches: 8, seed: 3 };
    let more = ["--verify", "64"];
    let job = Job::order_with(&network.cluster, light, "walk", Program::Walk(walk), &more).unwrap();
    let difference = lie_found(&network, &job, liar_id);
    assert_eq!((difference.launch, difference.kernel.as_str()), (4, "walk"), "{difference}");

    let id = ends_with_the_truth(&mut network, job);
    let (cluster, dir) = (&network.cluster, &network.cluster[light].spec.data_dir);
    let view = cluster.ion.ask(dir, &["jobs", &id.to_string()]).unwrap();
    let check = &view["check"];
    assert_eq!(check["check"], "equal-between", "{view}");
    let numbers = ["of", "launches", "passed"].map(|name| check[name].as_u64());
    assert_eq!(numbers, [Some(64), Some(8), Some(0)], "{check}");
    assert_eq!(check["blocks"].as_array().map(Vec::len), Some(64));

    // The receipt says what was committed to, in words too.
    let receipt = view["receipt"].as_str().unwrap();
    let file = cluster.dir().join("walk-receipt.json");
    let name = file.to_str().unwrap();
    cluster.ion.ask(dir, &["receipts", "export", receipt, "--out", name]).unwrap();
    let proof = cluster.ion.ask(dir, &["receipts", "verify", name]).unwrap();
    assert_eq!(proof["states"]["states"], "kept", "{proof}");
    assert_eq!(proof["states"]["every"], 1);
    assert_eq!(proof["countersignature"]["check"], *check);
}
