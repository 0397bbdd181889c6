//! What the engine hears first, and what the disk still gets: a driver whose services are real and have nobody to talk to.

use super::*;
use ion_protocol::{
    Attempt,
    record::{RECORD_BYTES_MAX, Record},
};
use ion_scheduler::{Effect, input::RecordId};
use std::path::Path;

/// A light node's driver that listens nowhere, and what leads to it.
async fn driver(dir: &Path) -> (Driver, Queues) {
    let mut config = NodeConfig::new(Role::Light, dir.to_owned());
    config.listen.clear();
    let key = identity::load_or_create(dir).unwrap();
    let (network, id) = (NetworkId::named("driver tests"), key.node_id());
    let (local_tx, local) = mpsc::channel(LOCAL_CAPACITY);
    let (peers_tx, peers) = mpsc::channel(PEERS_CAPACITY);
    let (chores_tx, chores) = mpsc::channel(CHORES_CAPACITY);
    let (_, control) = mpsc::channel(CALLS_CAPACITY);
    let (_, wishes) = mpsc::channel(1);
    let (sights_tx, sights) = mpsc::channel(1);
    let ledger = Ledger::open(dir, &network, &id, local_tx.clone(), drop).unwrap();
    let events = Events::open(dir).unwrap();
    let store = BlobStore::open(dir, config.blob_quota).unwrap();
    let Net { handle: net, task: _, blob_streams: _ } =
        net::start(net_config(&config, key.clone(), network), peers_tx).await.unwrap();
    let nobody = Arc::new(|_, _| -> crate::blobs::BoxFuture<'static, _> {
        Box::pin(future::ready(Err("nobody is there".to_owned())))
    });
    let blobs = Blobs::start(store.clone(), nobody, local_tx.clone());
    let exe = std::env::current_exe().unwrap();
    let checker = workers::start_checker(exe, CHECK_MEMORY_MAX, Arc::new(store.clone()), local_tx.clone());
    let driver = Driver {
        network,
        id,
        engine: Engine::new(engine_config(&config, network), key, 1),
        clock: Clock::start(),
        net,
        ledger: Arc::new(ledger),
        blobs,
        store,
        owner: Owner::new(config.rules, Paused::open(dir).unwrap()),
        config,
        workers: None,
        checker,
        devices: None,
        probed: watch::channel(Default::default()).0,
        events,
        addresses: watch::channel(Vec::new()).0,
        to_write: Vec::new(),
        write_by: None,
        undelivered: VecDeque::new(),
        submissions: BTreeMap::new(),
        watchers: Vec::new(),
        challenges: BTreeMap::new(),
        local: local_tx,
        chores: chores_tx,
        sights: sights_tx,
        shutdown: Shutdown::default(),
    };
    let looks = tokio::time::interval(owner::LOOK_EVERY);
    (driver, Queues { local, peers, chores, control, wishes, looks, sights })
}

fn note(why: &str) -> Box<Record> {
    let (requester, job) = (NodeId([2; 32]), JobId([1; 16]));
    Box::new(Record::LeaseReleased { requester, job, attempt: Attempt(1), why: why.to_owned() })
}

fn heard(inputs: impl IntoIterator<Item = Input>) -> Vec<u64> {
    let number = |input| match input {
        Input::Recorded(RecordId(number)) | Input::RecordFailed { record: RecordId(number), .. } => number,
        other => panic!("{other:?}"),
    };
    inputs.into_iter().map(number).collect()
}

/// A record that is refused at once was not refused before those that the journal's thread has told of.
#[tokio::test]
async fn what_is_known_at_once_is_heard_after_what_was_told_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, mut queues) = driver(dir.path()).await;
    for number in [1, 2] {
        driver.local.try_send(Input::Recorded(RecordId(number))).unwrap();
    }
    driver.undelivered.push_back(Input::Recorded(RecordId(0)));
    let body = note(&"x".repeat(RECORD_BYTES_MAX));
    driver.to_write.push(ToWrite { record: RecordId(3), body, hurry: true });
    driver.write(&mut queues, true);
    assert_eq!(heard(std::mem::take(&mut driver.undelivered)), [0, 1, 2, 3]);
}

/// While the engine has not heard all that was known, the journal's thread does not get ahead of it.
#[tokio::test]
async fn what_is_told_waits_for_what_was_known_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, mut queues) = driver(dir.path()).await;
    let known = TURN_MAX as u64 + 1;
    driver.undelivered.extend((0..known).map(|number| Input::Recorded(RecordId(number))));
    driver.local.try_send(Input::Recorded(RecordId(known))).unwrap();
    driver.gather(&mut queues).await;
    // A turn took as much as it may.
    assert_eq!((heard(driver.undelivered.drain(..)), queues.local.len()), (vec![known - 1], 1));
    driver.gather(&mut queues).await;
    assert!(queues.local.is_empty(), "nothing is before it any more");
}

/// What the last turn recorded is durable once the node is down, though it hurried for nobody.
#[tokio::test]
async fn what_was_recorded_is_durable_once_the_node_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let (driver, queues) = driver(dir.path()).await;
    let (network, id) = (driver.network, driver.id);
    let record = |number| Effect::Record { record: RecordId(number), body: note("late"), hurry: false };
    driver.shutdown.stop();
    driver.run(vec![record(0), record(1)], queues).await.unwrap();
    let mut found = Vec::new();
    let inputs = mpsc::channel(1).0;
    Ledger::open(dir.path(), &network, &id, inputs, |record| found.push(record)).unwrap();
    assert_eq!(found, [*note("late"), *note("late")]);
}
