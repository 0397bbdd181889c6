//! What a node's owner can ask while it does not run: its journal answers, and nothing in its directory changes.

use super::{example, ion, signed_halves};
use ion_node::{
    ledger::{JOURNAL_FILE, Ledger, MARK_FILE, ToWrite},
    manifest,
};
use ion_protocol::{
    Attempt, JobId, NetworkId, NodeId, Signed, UnixMillis,
    deal::Order,
    key::SecretKey,
    limits,
    record::{JobEnd, Loss, Record},
};
use ion_scheduler::input::RecordId;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
};
use tokio::sync::mpsc;

const OPEN: JobId = JobId([0xaa; 16]);
const PROVIDER: NodeId = NodeId([0xcd; 32]);

/// A node's journal, as if it had stopped after these.
fn journal(dir: &Path, network: &str, records: Vec<Record>) {
    let network = NetworkId::named(network);
    let (inputs, _results) = mpsc::channel(64);
    let ledger = Ledger::open(dir, &network, &NodeId([1; 32]), inputs, drop).unwrap();
    let write = |(number, record)| ToWrite { record: RecordId(number), body: Box::new(record), hurry: true };
    let records: Vec<ToWrite> = (0..).zip(records).map(write).collect();
    assert!(ledger.append_all(&records, false).is_empty(), "nothing is refused");
}

fn submitted(job: JobId, at: u64) -> Record {
    let spec = manifest::load(example("saxpy").as_ref()).unwrap().spec;
    Record::JobSubmitted { job, spec, verify: 4, at: UnixMillis(at) }
}

fn ordered(job: JobId) -> Record {
    let key = SecretKey::from_seed(&[2; 32]);
    let order = Order {
        version: limits::VERSION,
        requester: key.node_id(),
        provider: PROVIDER,
        job,
        attempt: Attempt(1),
        advert: ion_protocol::DocHash([4; 32]),
        device: 0,
        price_per_second: ion_protocol::NanoIo(500_000),
        expires: UnixMillis(30_000),
        spec: manifest::load(example("saxpy").as_ref()).unwrap().spec,
        keep_states: false,
        inline: Vec::new(),
    };
    let order = Signed::sign(order, &NetworkId::named("ion"), &key);
    Record::OrderSigned { order: order.signed().clone() }
}

/// One job that is done and one that is open, whose provider fell silent.
fn history() -> Vec<Record> {
    let (receipt, half) = signed_halves();
    let done = receipt.job;
    let (receipt, countersignature) = (receipt.signed().clone(), half.signed().clone());
    vec![
        submitted(done, 1),
        Record::Countersigned { receipt, countersignature, outputs: Vec::new() },
        Record::JobEnded { job: done, end: JobEnd::Done { attempt: Attempt(1) }, at: UnixMillis(2) },
        submitted(OPEN, 3),
        ordered(OPEN),
        Record::AttemptLost {
            job: OPEN,
            attempt: Attempt(1),
            loss: Loss::Silent,
            why: "did not answer in time".to_owned(),
            at: UnixMillis(4),
        },
    ]
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn a_stopped_nodes_jobs_and_receipts_are_told_and_nothing_is_changed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    journal(&dir, "ion", history());
    let before = files(&dir);
    let note = format!("note: no node is running on {}; this is what its journal holds\n", dir.display());

    let jobs = ion(&dir, &["jobs"]);
    assert_eq!((jobs.code, jobs.err.as_str()), (0, note.as_str()), "{}", jobs.out);
    assert!(jobs.out.contains("seeking") && jobs.out.contains("done"), "{}", jobs.out);
    assert_eq!(ion(&dir, &["jobs", "--quiet"]).err, "");
    let list = &ion(&dir, &["jobs", "--json"]).json()[0];
    assert_eq!((list[0]["job"].as_str(), &list[0]["node_runs"]), (Some(&*OPEN.to_string()), &false.into()));
    let one = ion(&dir, &["jobs", "0303", "--json"]);
    assert_eq!((one.code, one.err.as_str()), (0, ""));
    assert_eq!((&one.json()[0]["state"], &one.json()[0]["node_runs"]), (&"done".into(), &false.into()));

    let why = ion(&dir, &["why", "aa"]);
    // It was lost in 1970.
    let lost = why.out.lines().find(|line| line.starts_with("try 1     cdcdcdcd lost ")).expect("a try");
    assert!(lost.ends_with(" d ago: did not answer in time"), "{lost}");
    assert!(why.out.contains("nobody looks for a provider while no node runs"), "{}", why.out);
    assert!(!why.out.contains("nobody known fits"), "{}", why.out);
    assert_eq!(ion(&dir, &["why", "aa", "--json"]).json()[0]["node_runs"], false);
    ion(&dir, &["why", &"bb".repeat(16)]).failed(3, "is known here");

    let list = ion(&dir, &["receipts", "list"]);
    assert!(list.out.contains("owed 0.0005 IO") && list.err == note, "{} {}", list.out, list.err);
    assert_eq!(ion(&dir, &["receipts", "list", "--json"]).json()[0][0]["node_runs"], false);
    assert_eq!(ion(&dir, &["receipts", "list", "--side", "provider", "--json"]).out, "[]\n");
    assert!(ion(&dir, &["receipts", "show", "0303"]).out.contains("both signatures hold"));
    ion(&dir, &["receipts", "show", "ffff"]).failed(2, "no receipt here");
    let file = root.path().join("r.json");
    let exported = ion(&dir, &["receipts", "export", "0303", "--out", file.to_str().unwrap(), "--json"]);
    assert_eq!(exported.json()[0]["node_runs"], false);
    assert_eq!(ion(&dir, &["receipts", "verify", file.to_str().unwrap()]).code, 0);

    // What needs a node says so as before.
    ion(&dir, &["cancel", "aa"]).failed(3, "no node is running on");
    assert_eq!(files(&dir), before);
}

#[test]
fn a_directory_that_is_held_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), "ion", history());
    let lock = File::open(dir.path().join("lock")).unwrap();
    // Waited for: a child of another test may hold it until it becomes another program.
    lock.lock().unwrap();
    for verb in [&["jobs"][..], &["why", "aa"], &["receipts", "list"]] {
        ion(dir.path(), verb).failed(3, "is in use, and no node answers there");
    }
    // Others may read at the same time.
    lock.unlock().unwrap();
    lock.lock_shared().unwrap();
    assert_eq!(ion(dir.path(), &["jobs"]).code, 0);
}

#[test]
fn a_torn_end_was_told_to_nobody_and_damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), "ion", history());
    let path = dir.path().join(JOURNAL_FILE);
    let good = fs::read(&path).unwrap();
    let mark = fs::read(dir.path().join(MARK_FILE)).unwrap();
    let used = u64::from_le_bytes(mark[16..24].try_into().unwrap()) as usize;
    let torn = [&good[..used], &[7; 40]].concat();
    fs::write(&path, &torn).unwrap();
    assert_eq!(ion(dir.path(), &["jobs", "--json"]).json()[0].as_array().unwrap().len(), 2);
    assert_eq!(fs::read(&path).unwrap(), torn, "only a node cuts it off");
    fs::write(&path, &good[..used - 40]).unwrap();
    for verb in [&["jobs"][..], &["receipts", "list"]] {
        ion(dir.path(), verb).failed(3, "lost records that were durable");
    }
    fs::remove_file(&path).unwrap();
    ion(dir.path(), &["jobs"]).failed(3, "is gone, and this node has written one");
}

#[test]
fn where_no_node_ever_was_there_is_nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    ion(dir.path(), &["receipts", "list"]).failed(3, "no node is running on");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // A receipt names its network, which the journal knows by hash alone.
    journal(dir.path(), "elsewhere", vec![submitted(OPEN, 1)]);
    assert_eq!(ion(dir.path(), &["jobs"]).code, 0);
    ion(dir.path(), &["receipts", "show", "aa"]).failed(3, "whose name its journal does not hold");
}
