//! What a journal makes of bytes that are not what was written.

use super::*;
use crate::ledger::{
    frame::{self, HEADER_BYTES, Header},
    journal::{Journal, MARK_FILE},
};
use std::fs;

/// Opens the journal alone, without index or threads.
fn journal(dir: &Path) -> Result<(Journal, Vec<Record>, Recovery), JournalError> {
    let mut records = Vec::new();
    let (journal, recovery) =
        Journal::open(dir, &network(), &provider().node_id(), |record| records.push(record))?;
    Ok((journal, records, recovery))
}

/// A journal as it lay on the disk after each of its batches.
struct Written {
    dir: tempfile::TempDir,
    records: Vec<Record>,
    /// File and mark after so many batches.
    states: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Written {
    /// Each number is a batch of so many records.
    fn new(batches: &[u64]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = journal(dir.path()).unwrap();
        let mut written = Self { dir, records: Vec::new(), states: Vec::new() };
        written.states.push(written.on_disk(&journal));
        for count in batches {
            let batch: Vec<_> = (0..*count).map(|n| note(n + 100 * written.states.len() as u64)).collect();
            let bodies: Vec<_> = batch.iter().map(ion_protocol::codec::encode).collect();
            journal.append(bodies.iter().map(Vec::as_slice)).unwrap();
            written.records.extend(batch);
            written.states.push(written.on_disk(&journal));
        }
        written
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(JOURNAL_FILE)
    }

    fn mark(&self) -> PathBuf {
        self.dir.path().join(MARK_FILE)
    }

    /// Without the room at the end.
    fn on_disk(&self, journal: &Journal) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = fs::read(self.path()).unwrap();
        let room = bytes.split_off(journal.end().offset as usize);
        assert!(room.iter().all(|byte| *byte == 0));
        (bytes, fs::read(self.mark()).unwrap())
    }

    /// Opens `bytes` as the journal, with the mark as it was after `marked` batches, or none.
    fn open(&self, bytes: &[u8], marked: Option<usize>) -> Result<(Vec<Record>, Recovery), JournalError> {
        fs::write(self.path(), bytes).unwrap();
        match marked {
            Some(batches) => fs::write(self.mark(), &self.states[batches].1).unwrap(),
            None => drop(fs::remove_file(self.mark())),
        }
        let (mut journal, records, recovery) = journal(self.dir.path())?;
        // Whatever was found, it goes on from there.
        journal.append([ion_protocol::codec::encode(&note(7)).as_slice()]).unwrap();
        let (_, again, _) = self::journal(self.dir.path()).unwrap();
        assert_eq!(again, [records.clone(), vec![note(7)]].concat());
        Ok((records, recovery))
    }

    fn whole(&self) -> &[u8] {
        &self.states.last().unwrap().0
    }

    /// Where the last record ends after so many batches.
    fn end(&self, batches: usize) -> usize {
        self.states[batches].0.len()
    }
}

#[test]
fn the_layout_is_what_the_module_says() {
    let header = Header { salt: [0xaa; 16], network: NetworkId([0xbb; 32]), node: NodeId([0xcc; 32]) };
    let bytes = header.encode();
    assert_eq!(hex::encode(&bytes[..12]), "494f4e2d4a524e4c05000000");
    assert_eq!(bytes[12..16], crc32fast::hash(&bytes[16..]).to_le_bytes());
    assert_eq!(
        (&bytes[16..32], &bytes[32..64], &bytes[64..]),
        (&[0xaa; 16][..], &[0xbb; 32][..], &[0xcc; 32][..])
    );
    assert_eq!(Header::decode(&bytes), Ok(header));

    let genesis = frame::genesis(&header.network, &header.node);
    let (mut chain, mut out) = (genesis, Vec::new());
    frame::push(&mut out, &header.salt, 96, &mut chain, b"body");
    assert_eq!(chain, *blake3::hash(&[&genesis[..], b"body"].concat()).as_bytes());
    let checked = [&[0xaa; 16][..], &[4, 0, 0, 0], &[96, 0, 0, 0, 0, 0, 0, 0], &chain, b"body"].concat();
    let crc = crc32fast::hash(&checked).to_le_bytes();
    assert_eq!(out, [&[4, 0, 0, 0], &crc[..], &[96, 0, 0, 0, 0, 0, 0, 0], &chain, b"body"].concat());
}

#[test]
fn a_write_cut_short_at_any_byte_is_cut_off() {
    let written = Written::new(&[1, 1, 1]);
    for length in written.end(2) + 1..written.end(3) {
        let cut = &written.whole()[..length];
        let used = cut.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let cut_bytes = used.saturating_sub(written.end(2)) as u64;
        // In the room that was made before, and where there was none.
        for bytes in [cut.to_vec(), [cut, &[0; 5_000]].concat()] {
            let (records, recovery) = written.open(&bytes, Some(2)).unwrap();
            assert_eq!(records, written.records[..2], "cut at {length}");
            assert_eq!(recovery, Recovery { records: 2, cut_bytes });
        }
    }
}

#[test]
fn an_end_of_garbage_is_cut_off() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let written = Written::new(&[1, 2]);
    for _ in 0..60 {
        let mut garbage = vec![0; rng.usize(1..3_000)];
        match rng.u8(..3) {
            0 => {}
            1 => rng.fill(&mut garbage),
            // Bytes as records have them: a torn write of this journal.
            _ => garbage.iter_mut().zip(&written.whole()[written.end(1) + 60..]).for_each(|(g, b)| *g = *b),
        }
        let marked = rng.bool().then_some(2);
        let cut_bytes = garbage.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let bytes = [written.whole(), &garbage].concat();
        let (records, recovery) = written.open(&bytes, marked).unwrap();
        assert_eq!((records, recovery.cut_bytes), (written.records.clone(), cut_bytes), "seed {seed}");
    }
}

#[test]
fn half_of_the_last_batch_is_no_hole() {
    // A loss of power may keep a later page of a write and lose an earlier one; nobody was told of either.
    let written = Written::new(&[1, 5]);
    let mut bytes = written.whole().to_vec();
    bytes[written.end(1) + 60] ^= 1;
    let (records, _) = written.open(&bytes, Some(1)).unwrap();
    assert_eq!(records, written.records[..1]);
}

#[test]
fn what_was_durable_is_never_cut_off_in_silence() {
    let written = Written::new(&[1, 1, 1]);
    for length in HEADER_BYTES..written.end(3) {
        let error = written.open(&written.whole()[..length], Some(3)).unwrap_err();
        assert!(matches!(error, JournalError::Lost { .. }), "{length}: {error}");
        assert!(error.to_string().contains(MARK_FILE), "{error}");
    }
    // The way out that the error names.
    let (records, _) = written.open(&written.whole()[..written.end(3) - 1], None).unwrap();
    assert_eq!(records, written.records[..2]);
}

#[test]
fn room_is_made_used_up_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut records) = (dir.path().join(JOURNAL_FILE), Vec::new());
    let mut lengths = std::collections::BTreeSet::new();
    // Opened again by turns, so that room is found as well as remembered.
    for _ in 0..4 {
        let (mut journal, found, recovery) = journal(dir.path()).unwrap();
        assert_eq!((found, recovery.cut_bytes), (records.clone(), 0));
        for _ in 0..1_500 {
            let (note, before) = (note(records.len() as u64), journal.end().offset);
            journal.append([ion_protocol::codec::encode(&note).as_slice()]).unwrap();
            records.push(note);
            lengths.insert(fs::metadata(&path).unwrap().len());
            assert!(before < journal.end().offset && journal.end().offset <= *lengths.last().unwrap());
        }
    }
    assert!((2..10).contains(&lengths.len()), "the file grows in steps, not with each record: {lengths:?}");
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let written = Written::new(&[1, 2, 1]);
    for at in 0..written.whole().len() {
        let mut bytes = written.whole().to_vec();
        bytes[at] ^= 1 << rng.u8(..8);
        assert!(written.open(&bytes, Some(3)).is_err(), "seed {seed}: byte {at}, with the mark");
        match written.open(&bytes, None) {
            Ok((records, _)) => {
                // Without a mark a bad last record looks like a write cut short.
                assert!(at >= written.end(2), "seed {seed}: byte {at}");
                assert_eq!(records, written.records[..3], "seed {seed}: byte {at}");
            }
            Err(error) => assert!(at < written.end(2), "seed {seed}: byte {at}: {error}"),
        }
    }
}

#[test]
fn a_hole_in_the_middle_is_told_with_its_place() {
    let written = Written::new(&[1, 1, 1]);
    let mut bytes = written.whole().to_vec();
    bytes[written.end(1)..written.end(2)].fill(0);
    match written.open(&bytes, None).unwrap_err() {
        JournalError::Damaged { offset, records: 1, next, .. } => {
            assert_eq!((offset as usize, next as usize), (written.end(1), written.end(2)));
        }
        error => panic!("{error}"),
    }
    assert_eq!(fs::read(written.path()).unwrap(), bytes, "and nothing is changed");
}

#[test]
fn good_frames_in_the_wrong_order_are_found() {
    let written = Written::new(&[1, 1, 1]);
    let whole = written.whole();
    let (first, second) = (&whole[written.end(0)..written.end(1)], &whole[written.end(1)..written.end(2)]);
    let header = &whole[..HEADER_BYTES];
    for bytes in [[header, first, first].concat(), [header, first, second, first].concat()] {
        let error = written.open(&bytes, None).unwrap_err();
        assert!(matches!(error, JournalError::Unchained { .. }), "{error}");
    }
}

#[test]
fn a_record_can_not_pretend_to_be_a_frame() {
    // A torn record whose text is a whole frame of a later batch, made by somebody who knows all but the salt.
    let written = Written::new(&[1]);
    let mut forged = Vec::new();
    let offset = written.end(1) as u64;
    frame::push(&mut forged, &[0; 16], offset + 1, &mut [0; 32], b"forged");
    let header = Header::decode(written.whole()).unwrap();
    let (mut torn, mut chain) = (Vec::new(), [0; 32]);
    frame::push(&mut torn, &header.salt, offset, &mut chain, &[forged, vec![1; 100]].concat());
    torn.truncate(torn.len() - 1);
    let (records, recovery) = written.open(&[written.whole(), &torn].concat(), Some(1)).unwrap();
    assert_eq!((records, recovery.cut_bytes), (written.records.clone(), torn.len() as u64));
}

#[test]
fn a_whole_record_that_is_not_understood_is_no_damage() {
    let written = Written::new(&[1]);
    let header = Header::decode(written.whole()).unwrap();
    let end = written.end(1) as u64;
    let mut chain = frame::genesis(&header.network, &header.node);
    chain = frame::link(&chain, &ion_protocol::codec::encode(&written.records[0]));
    let mut bytes = written.whole().to_vec();
    frame::push(&mut bytes, &header.salt, end, &mut chain, &[0xff; 40]);
    let error = written.open(&bytes, None).unwrap_err();
    assert!(matches!(error, JournalError::NotUnderstood { number: 2, .. }), "{error}");
}

#[test]
fn what_is_no_journal_is_told() {
    let written = Written::new(&[1]);
    let mut newer = written.whole().to_vec();
    newer[8] += 1;
    // Attempts that came to nothing said no kind: taken for one of this program, such a record would be misread.
    let mut older = written.whole().to_vec();
    older[8] -= 1;
    let cases = [
        (Vec::new(), HeaderFault::NotAJournal),
        (b"hello".to_vec(), HeaderFault::NotAJournal),
        (written.whole()[..HEADER_BYTES - 1].to_vec(), HeaderFault::NotAJournal),
        (newer, HeaderFault::Version { found: 6 }),
        (older, HeaderFault::Version { found: 4 }),
    ];
    for (bytes, expected) in cases {
        match written.open(&bytes, None).unwrap_err() {
            JournalError::Header { fault, .. } => assert_eq!(fault, expected),
            error => panic!("{error}"),
        }
    }
}

/// A node that has signed must not begin again with nothing: it would sign a second time.
#[test]
fn a_journal_that_is_gone_is_missed_and_a_first_start_and_a_lost_index_are_not() {
    let written = Written::new(&[2]);
    fs::remove_file(written.path()).unwrap();
    for _ in 0..2 {
        let error = journal(written.dir.path()).unwrap_err();
        assert!(matches!(error, JournalError::Gone { .. }), "{error}");
        assert!(error.to_string().contains(&format!("remove {}", written.mark().display())), "{error}");
        assert!(!written.path().exists(), "nothing is put in its place");
    }
    fs::remove_file(written.mark()).unwrap();
    let (_, records, _) = journal(written.dir.path()).unwrap();
    assert_eq!(records, [], "who follows the message starts with an empty one");
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, _) = open(dir.path()).unwrap();
    bench.record_all([note(1)]);
    assert_eq!(
        block_on(bench.ledger.receipts(ReceiptFilter::default())),
        Ok(Vec::new()),
        "there is an index"
    );
    drop(bench);
    fs::remove_dir_all(dir.path().join(INDEX_DIR)).unwrap();
    assert_eq!(open(dir.path()).unwrap().1, [note(1)]);
}
