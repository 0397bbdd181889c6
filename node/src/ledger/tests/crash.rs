//! The journal under real blows: a child process that is killed while it writes, and a disk that fills up.
//!
//! The child is this test program, started again to run the test [`child`] with a task in its environment.

use super::*;
use crate::ledger::journal::Journal;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

const TASK: &str = "ION_LEDGER_TEST_TASK";
const DIR: &str = "ION_LEDGER_TEST_DIR";
/// Kills in all.
const KILLS: usize = 220;
/// Kills of one ledger, before the next one begins with an empty directory.
const KILLS_PER_LEDGER: usize = 20;
/// Records the child has in flight.
const IN_FLIGHT: u64 = 24;

/// Does what the parent asks; nothing where there is no parent.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    match task.as_str() {
        "write" => write_until_killed(&dir),
        "fill" => fill_the_disk(&dir),
        task => panic!("no task is called {task}"),
    }
}

fn start(task: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::tests::crash::child", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .env(DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The record with this number: receipts are signed and settled by turns.
fn record(number: u64) -> Record {
    match number % 2 {
        0 => signed_record(number),
        _ => settled_record(number - 1),
    }
}

fn write_until_killed(dir: &Path) {
    let (mut bench, found) = open(dir).unwrap();
    let mut out = std::io::stdout();
    let mut next = found.len() as u64;
    let mut acknowledged = next;
    let mut told = std::collections::VecDeque::new();
    bench.take_disk_for(true);
    loop {
        while next < acknowledged + IN_FLIGHT {
            // By turns the journal's thread syncs and this one does.
            let known = bench.append(next, &record(next), next.is_multiple_of(3));
            if !known.is_empty() {
                told.extend(std::iter::from_fn(|| bench.results.try_recv().ok()));
            }
            told.extend(known);
            next += 1;
        }
        match told.pop_front().or_else(|| bench.results.blocking_recv()) {
            Some(Input::Recorded(RecordId(number))) => {
                assert_eq!(number, acknowledged);
                // The line break first: the test runner leaves its own line open.
                writeln!(out, "\nack {number}").and_then(|()| out.flush()).unwrap();
                acknowledged += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn two_hundred_kills_lose_no_acknowledged_record() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut written = Vec::new();
    let mut kills = 0;
    let mut most = 0;
    while kills < KILLS {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for _ in 0..KILLS_PER_LEDGER {
            let patience = rng.u64(..60);
            acknowledged = acknowledged.max(kill_after(start("write", dir.path()), patience));
            kills += 1;
            let mut found = Vec::new();
            Journal::open(dir.path(), &network(), &provider().node_id(), |record| found.push(record))
                .unwrap_or_else(|error| panic!("seed {seed}, kill {kills}: {error}"));
            let count = found.len() as u64;
            assert!(
                count >= acknowledged,
                "seed {seed}, kill {kills}: {acknowledged} acknowledged, {count} found"
            );
            (written.len() as u64..count).for_each(|number| written.push(record(number)));
            assert!(
                found == written[..found.len()],
                "seed {seed}, kill {kills}: other records than were written"
            );
            most = most.max(count);
        }
        // The index, too, survived whatever happened to it, or was made again.
        let (bench, found) = open(dir.path()).unwrap();
        let receipts = block_on(bench.ledger.receipts(ReceiptFilter::default())).unwrap();
        assert_eq!(receipts.len(), found.len().div_ceil(2).min(RECEIPTS_PER_ANSWER_MAX), "seed {seed}");
        let settled = receipts.iter().filter(|receipt| receipt.countersignature.is_some()).count();
        assert!(receipts.len() - settled <= 1, "seed {seed}: {settled} of {} settled", receipts.len());
    }
    assert!(most > IN_FLIGHT, "the children were killed before they wrote anything");
}

/// Kills the child after so many acknowledgements, at once for 0, and returns how many records it acknowledged in all
/// its lives: the last number it told, and one.
fn kill_after(mut child: Child, acknowledgements: u64) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = 0;
    let (mut seen, mut killed) = (0, false);
    loop {
        if seen >= acknowledgements && !killed {
            child.kill().unwrap();
            killed = true;
        }
        // What was told before the kill is in the pipe.
        match lines.next() {
            Some(line) => {
                if let Some(number) = line.unwrap().strip_prefix("ack ") {
                    told = number.parse::<u64>().unwrap() + 1;
                    seen += 1;
                }
            }
            None => break,
        }
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself: {status}");
    told
}

/// Bytes left on the disk, more than one record and less than many.
const ROOM_BYTES: u64 = 20_000;

/// A limit on the size of files behaves like a disk that fills up: a write is cut short, the next one fails.
fn fill_the_disk(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let entered = runtime.enter();
    // Handled, the signal for the limit does not end the process, and writes fail instead.
    let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(25)).unwrap();
    drop(entered);
    let (mut bench, _) = open(dir).unwrap();
    // Larger than the index's files, so that the limit meets the journal alone.
    let text = "x".repeat(100_000);
    let large = |number| Record::LeaseReleased {
        requester: NodeId([1; 32]),
        job: job(number),
        attempt: Attempt(1),
        why: text.clone(),
    };
    let mut expected = Vec::new();
    for number in 0..30 {
        bench.record_all([large(number)]);
        expected.push(large(number));
    }
    assert_eq!(block_on(bench.ledger.receipts(ReceiptFilter::default())), Ok(Vec::new()));
    let before = getrlimit(Resource::Fsize);
    // Of the records, without the room behind them, which the limit takes away.
    let journal = std::fs::read(dir.join(JOURNAL_FILE)).unwrap();
    let length = journal.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    setrlimit(Resource::Fsize, Rlimit { current: Some(length + ROOM_BYTES), maximum: before.maximum })
        .unwrap();
    let why = bench.record(&large(99)).unwrap_err();
    assert!(why.contains("is full") && why.contains("make room"), "{why}");
    assert_eq!(
        std::fs::metadata(dir.join(JOURNAL_FILE)).unwrap().len(),
        length,
        "half a write is taken back"
    );
    // A small one still fits; then many, until none does.
    bench.record_all([note(1)]);
    expected.push(note(1));
    let small = |number| Record::LeaseReleased {
        requester: NodeId([1; 32]),
        job: job(number),
        attempt: Attempt(1),
        why: "y".repeat(900),
    };
    let fitting = (100..).take_while(|number| bench.record(&small(*number)).is_ok()).count() as u64;
    assert!((5..ROOM_BYTES / 900).contains(&fitting), "{fitting}");
    expected.extend((100..100 + fitting).map(small));
    assert!(bench.record(&small(98)).is_err());
    // Room again: it goes on.
    setrlimit(Resource::Fsize, before).unwrap();
    bench.record_all([large(97), note(2)]);
    expected.extend([large(97), note(2)]);
    drop(bench);
    let (_, found) = open(dir).unwrap();
    assert!(found == expected, "{} records instead of {}", found.len(), expected.len());
    drop(signal);
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let output = start("fill", dir.path()).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
