//! The index of receipts: what it finds, and that it can be damaged in any way without harm.

use super::*;
use std::fs;

/// A ledger in which receipts 0 to 9 are signed and the even ones settled, with an index that holds them.
fn filled(dir: &Path) -> Bench {
    let (mut bench, _) = open(dir).unwrap();
    for number in 0..10 {
        bench.record_all([note(number), signed_record(number)]);
    }
    bench.record_all((0..10).step_by(2).map(settled_record));
    all(&bench);
    bench
}

fn all(bench: &Bench) -> Vec<StoredReceipt> {
    block_on(bench.ledger.receipts(ReceiptFilter::default())).unwrap()
}

fn check(bench: &Bench, context: &str) {
    let found = all(bench);
    let numbers: Vec<_> = found.iter().map(|r| r.receipt.finished.0 - 1_000).collect();
    assert_eq!(numbers, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "newest first; {context}");
    for (stored, number) in found.iter().zip(numbers) {
        assert_eq!(stored.receipt, signed(number), "{context}");
        assert_eq!(stored.countersignature.is_some(), number % 2 == 0, "{context}");
        assert_eq!((stored.side, &stored.outputs), (Side::Provider, &outputs()), "{context}");
    }
}

#[test]
fn receipts_are_found_by_age_job_side_hash_and_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = filled(dir.path());
    check(&bench, "as written");
    let ask = |filter| block_on(bench.ledger.receipts(filter)).unwrap();
    assert_eq!(ask(ReceiptFilter { limit: 3, ..Default::default() }).len(), 3);
    assert_eq!(ask(ReceiptFilter { job: Some(job(4)), ..Default::default() })[0].receipt, signed(4));
    assert_eq!(ask(ReceiptFilter { job: Some(job(77)), ..Default::default() }), []);
    assert_eq!(ask(ReceiptFilter { side: Some(Side::Requester), ..Default::default() }), []);

    let find = |prefix: &str| block_on(bench.ledger.receipt(prefix));
    let hash = signed(3).hash().to_string();
    for prefix in [hash.as_str(), &hash[..33], &hash.to_uppercase()[..20]] {
        assert_eq!(find(prefix).unwrap().receipt, signed(3));
    }
    assert_eq!(find(&job(6).to_string()).unwrap().receipt, signed(6));
    assert_eq!(find(&job(6).to_string()[..3]).unwrap().receipt, signed(6));
    assert!(matches!(find("0"), Err(LookupError::Ambiguous { found: 10.., .. })), "{:?}", find("0"));
    let absent = job(0xabab).to_string();
    assert_eq!(find(&absent), Err(LookupError::NotFound { prefix: absent.clone() }));
    for bad in ["", "xyz", &"0".repeat(65), "é"] {
        assert!(matches!(find(bad), Err(LookupError::NotHex { .. })), "{bad}");
    }
    // The same node as requester: another side of another receipt.
    let receipt = signed(20);
    let countersignature = countersigned(&receipt).signed().clone();
    bench.record_all([Record::Countersigned {
        receipt: receipt.signed().clone(),
        countersignature,
        outputs: outputs(),
    }]);
    let found = all(&bench);
    assert_eq!((found.len(), found[0].side), (11, Side::Requester));
    assert!(found[0].countersignature.is_some());
}

#[test]
fn a_repeated_record_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = filled(dir.path());
    bench.record_all((0..10).map(signed_record).chain((0..10).step_by(2).map(settled_record)));
    check(&bench, "after repeats");
}

#[test]
fn what_proves_nothing_is_left_out_of_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = filled(dir.path());
    let body = signed(30).signed().body_bytes().to_vec();
    let receipt = Signed::from_parts(body, [7; 64]);
    let half = countersigned(&signed(1));
    let countersignature = Signed::from_parts(half.signed().body_bytes().to_vec(), [7; 64]);
    bench.record_all([
        Record::ReceiptSigned { receipt, outputs: outputs() },
        Record::ReceiptSettled { receipt: signed(1).hash(), countersignature },
    ]);
    check(&bench, "with a receipt and half a receipt that nobody signed");
    bench.record_all([signed_record(3)]);
    check(&bench, "and after that");
    drop(bench);
    let (bench, _) = open(dir.path()).unwrap();
    check(&bench, "reopened");
}

#[test]
fn the_index_goes_on_where_it_was_and_is_made_again_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let (bench, _) = open(dir.path()).unwrap();
    check(&bench, "reopened");
    drop(bench);
    let index = dir.path().join(INDEX_DIR);
    fs::remove_dir_all(&index).unwrap();
    let (bench, _) = open(dir.path()).unwrap();
    check(&bench, "removed");
    drop(bench);
    fs::write(index.join("snap.0000000000000001.generating"), b"half").unwrap();
    let (bench, _) = open(dir.path()).unwrap();
    check(&bench, "beside a snapshot that was being written");
    drop(bench);
    fs::write(index.with_extension("opening"), b"").unwrap();
    let (bench, _) = open(dir.path()).unwrap();
    check(&bench, "after an opening that did not end");
}

#[test]
fn an_index_of_another_journal_is_made_again() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(filled(dir.path()));
    let (mut bench, _) = open(other.path()).unwrap();
    bench.record_all((50..90).map(signed_record));
    all(&bench);
    drop(bench);
    let index = dir.path().join(INDEX_DIR);
    fs::remove_dir_all(&index).unwrap();
    fs::rename(other.path().join(INDEX_DIR), &index).unwrap();
    let (bench, _) = open(dir.path()).unwrap();
    check(&bench, "with another's index");
}

#[test]
fn an_index_damaged_anywhere_is_made_again() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let index = dir.path().join(INDEX_DIR);
    for round in 0..40 {
        let files: Vec<_> = fs::read_dir(&index)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0)
            .collect();
        let path = &files[rng.usize(..files.len())];
        let mut bytes = fs::read(path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let damage = rng.u8(..4);
        match damage {
            0 => bytes.truncate(rng.usize(..bytes.len())),
            1 => (0..rng.usize(1..20)).for_each(|_| bytes[rng.usize(..used)] ^= 1 << rng.u8(..8)),
            2 => {
                let start = rng.usize(..used);
                let end = (start + rng.usize(1..5_000)).min(bytes.len());
                rng.fill(&mut bytes[start..end]);
            }
            _ => bytes.clear(),
        }
        fs::write(path, &bytes).unwrap();
        let (bench, _) = open(dir.path()).unwrap();
        check(&bench, &format!("seed {seed}, round {round}: damage {damage} to {}", path.display()));
    }
}
