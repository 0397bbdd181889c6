//! Appending, reading back, and who may open.

use super::*;
use ion_protocol::record::RECORD_BYTES_MAX;

#[test]
fn what_is_recorded_is_read_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..20).map(note).chain((0..5).map(signed_record)).collect();
    let (mut bench, found) = open(dir.path()).unwrap();
    assert_eq!(found, []);
    bench.record_all(records.clone());
    drop(bench);
    let (mut bench, found) = open(dir.path()).unwrap();
    assert_eq!(found, records);
    bench.record_all([note(99)]);
    drop(bench);
    let (bench, found) = open(dir.path()).unwrap();
    assert_eq!(found.len(), 26);
    assert_eq!(bench.ledger.recovery(), Recovery { records: 26, cut_bytes: 0 });
    assert_eq!(files::mode(&dir.path().join(JOURNAL_FILE)).unwrap(), 0o600);
}

#[test]
fn many_appends_share_a_sync_and_are_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, _) = open(dir.path()).unwrap();
    for number in 0..1_000 {
        assert!(bench.append(number, &note(number), false).is_empty());
    }
    for number in 0..1_000 {
        let result = bench.results.blocking_recv();
        assert!(matches!(result, Some(Input::Recorded(id)) if id == RecordId(number)), "{result:?}");
    }
    block_on(bench.ledger.shutdown());
    match bench.append(0, &note(0), true).as_slice() {
        [Input::RecordFailed { record: RecordId(0), why }] => {
            assert!(why.contains("the node stops"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!(found, (0..1_000).map(note).collect::<Vec<_>>());
}

#[test]
fn a_calm_caller_syncs_itself_where_the_disk_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, _) = open(dir.path()).unwrap();
    let unhurried = |number| ToWrite { record: RecordId(number), body: Box::new(note(number)), hurry: false };
    let numbers = |known: Vec<Input>| -> Vec<u64> {
        let number = |input| match input {
            Input::Recorded(RecordId(number)) => number,
            other => panic!("{other:?}"),
        };
        known.into_iter().map(number).collect()
    };
    // What nobody waits for is no reason to sync; it goes first with what is.
    bench.take_disk_for(true);
    assert_eq!(numbers(bench.ledger.append_all(&[unhurried(0)], true)), [0; 0]);
    assert_eq!(numbers(bench.append(1, &note(1), true)), [0, 1]);
    // Nobody is kept by a slow disk, nor with other things to do, nor while the journal's thread syncs.
    bench.take_disk_for(false);
    assert_eq!(numbers(bench.append(2, &note(2), true)), [0; 0]);
    assert!(matches!(bench.results.blocking_recv(), Some(Input::Recorded(RecordId(2)))));
    bench.take_disk_for(true);
    assert_eq!(numbers(bench.append(3, &note(3), false)), [0; 0]);
    assert!(matches!(bench.results.blocking_recv(), Some(Input::Recorded(RecordId(3)))));
    let syncing = bench.ledger.committer.lock().unwrap();
    assert_eq!(numbers(bench.append(4, &note(4), true)), [0; 0]);
    drop(syncing);
    assert!(matches!(bench.results.blocking_recv(), Some(Input::Recorded(RecordId(4)))));
    drop(bench);
    assert_eq!(open(dir.path()).unwrap().1, (0..5).map(note).collect::<Vec<_>>());
}

#[test]
fn shutdown_ends_while_nobody_takes_results() {
    let dir = tempfile::tempdir().unwrap();
    let (inputs, results) = mpsc::channel(1);
    let ledger = Ledger::open(dir.path(), &network(), &provider().node_id(), inputs, drop).unwrap();
    for number in 0..50 {
        let write = ToWrite { record: RecordId(number), body: Box::new(note(number)), hurry: true };
        assert!(ledger.append_all(&[write], false).is_empty());
    }
    block_on(ledger.shutdown());
    drop(results);
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!(found.len(), 50, "all that was taken on is durable");
}

/// What nobody waits for, and more of it than one batch holds, is not left behind, though nobody takes results any more.
#[test]
fn what_still_waits_is_written_when_the_node_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (inputs, _results) = mpsc::channel(1);
    let ledger = Ledger::open(dir.path(), &network(), &provider().node_id(), inputs, drop).unwrap();
    let long = |number| Record::LeaseReleased {
        requester: requester().node_id(),
        job: job(number),
        attempt: Attempt(1),
        why: "x".repeat(RECORD_BYTES_MAX / 2),
    };
    let records: Vec<Record> = (0..40).map(long).chain([note(40)]).collect();
    let unhurried =
        |body: &Record| ToWrite { record: RecordId(0), body: Box::new(body.clone()), hurry: false };
    // As long as this is held nothing is written.
    let syncing = ledger.committer.lock().unwrap();
    assert!(ledger.append_all(&records.iter().map(unhurried).collect::<Vec<_>>(), true).is_empty());
    ledger.close();
    drop(syncing);
    block_on(ledger.shutdown());
    assert!(open(dir.path()).unwrap().1 == records);
}

#[test]
fn a_second_node_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (bench, _) = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, LedgerError::InUse { .. }), "{text}");
    for part in [&dir.path().display().to_string(), "--data-dir", &std::process::id().to_string()] {
        assert!(text.contains(part), "{text}");
    }
    drop(bench);
    open(dir.path()).unwrap();
}

#[test]
fn another_nodes_or_networks_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let (inputs, _results) = mpsc::channel(1);
    let open = |network, node| Ledger::open(dir.path(), &network, &node, inputs.clone(), drop).err().unwrap();
    let error = open(NetworkId::named("elsewhere"), provider().node_id());
    assert!(matches!(error, LedgerError::Journal(JournalError::OtherNetwork { .. })), "{error}");
    let error = open(network(), requester().node_id());
    assert!(matches!(error, LedgerError::Journal(JournalError::OtherNode { .. })), "{error}");
}

/// Appends to a journal on a file on which every write succeeds and no sync does.
fn unsyncable(dir: &Path) -> Journal {
    let (journal, _) = Journal::open(dir, &network(), &provider().node_id(), |_| {}).unwrap();
    journal.on(OpenOptions::new().read(true).write(true).open("/dev/null").unwrap())
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = unsyncable(dir.path());
    let body = ion_protocol::codec::encode(&note(1));
    for _ in 0..2 {
        let fault = journal.append([body.as_slice()]).unwrap_err();
        let text = fault.to_string();
        assert!(matches!(fault, journal::AppendFault::Broken { .. }), "{text}");
        assert!(text.contains("syncing") && text.contains("start the node again"), "{text}");
    }
    // A file that would sync again does not change that: what the failed sync left is unknown.
    let mut journal = journal.on(tempfile::tempfile().unwrap());
    assert!(matches!(journal.append([body.as_slice()]), Err(journal::AppendFault::Broken { .. })));
}

#[test]
fn a_journal_that_failed_is_told_to_all() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(Queue::default());
    let (inputs, mut results) = mpsc::channel(10);
    let (asks, _asked) = sync_channel(1);
    let (_closing, closing) = watch::channel(false);
    let (failed, why) = watch::channel(None);
    let (journal, durable) = (unsyncable(dir.path()), Arc::default());
    let committer = Committer {
        journal,
        queue: queue.clone(),
        durable,
        asks,
        told: Arc::default(),
        index_at: 0,
        quick_syncs: 0,
        failed,
    };
    let committer = Arc::new(Mutex::new(committer));
    let writer = Writer { committer, queue: queue.clone(), inputs, closing };
    let push = |number| queue.push_all([(RecordId(number), &note(number), true)], true).pop();
    assert!((0..3).all(|number| push(number).is_none()));
    // Ends by itself: a closed queue is emptied, and nothing new comes.
    writer.run();
    for number in 0..3 {
        match results.blocking_recv() {
            Some(Input::RecordFailed { record: RecordId(told), why }) if told == number => {
                assert!(why.contains("syncing"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(push(9), Some((RecordId(9), Busy::Closed(_)))));
    assert!(why.borrow().as_ref().is_some_and(|why| why.contains("failed for good")));
}

#[test]
fn the_benchmark_gives_figures() {
    let dir = tempfile::tempdir().unwrap();
    let figures = bench_appends(dir.path(), 0.2, 16).unwrap();
    assert!(
        !figures.latencies.is_empty() && figures.raw_syncs_per_second > 0.0 && figures.latencies.is_sorted(),
        "{figures:?}"
    );
}
