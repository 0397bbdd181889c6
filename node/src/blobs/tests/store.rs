//! The store: what it keeps, what it lets go, and what it does not believe.

use super::*;
use crate::files;
use std::{fs, path::Path};

fn file_of(dir: &Path, hash: &BlobHash) -> std::path::PathBuf {
    let name = hash.to_string();
    dir.join(BLOBS_DIR).join(&name[..2]).join(name)
}

#[test]
fn what_is_put_is_read_back_also_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP + 5];
    let contents: Vec<_> = sizes.iter().map(|bytes| content(1, *bytes)).collect();
    let first = store(&dir);
    for bytes in &contents {
        let hash = first.put(bytes).unwrap();
        assert_eq!((hash, first.put(bytes).unwrap()), (BlobHash::of(bytes), hash));
        assert_eq!(files::mode(&first.path(&hash).unwrap()).unwrap(), 0o600);
    }
    assert_eq!(files::mode(&dir.path().join(BLOBS_DIR)).unwrap(), 0o700);
    let used = first.used();
    assert_eq!(used, Bytes(sizes.iter().sum::<usize>() as u64));
    let second = store(&dir);
    assert_eq!(second.used(), used);
    for bytes in &contents {
        let hash = BlobHash::of(bytes);
        assert!(second.contains(&hash));
        assert_eq!(second.read(&hash).unwrap(), *bytes);
        assert_eq!(second.outline(&hash).unwrap().bytes(), bytes.len() as u64);
        second.make_durable(&[hash]).unwrap();
    }
}

#[test]
fn a_file_is_copied_in_and_stays_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = (store(&dir), content(2, 2 * GROUP + 3));
    let file = dir.path().join("input");
    fs::write(&file, &bytes).unwrap();
    let (hash, size) = store.import(&file, Bytes(bytes.len() as u64)).unwrap();
    assert_eq!((hash, size), (BlobHash::of(&bytes), Bytes(bytes.len() as u64)));
    assert_eq!(store.import(&file, size).unwrap().0, hash, "a repeat changes nothing");
    assert_eq!(store.used(), size);
    fs::write(&file, b"changed").unwrap();
    assert_eq!(store.read(&hash).unwrap(), bytes);
    let error = store.import(&dir.path().join("absent"), size).unwrap_err();
    assert!(matches!(error, BlobStoreError::Io { .. }), "{error}");
}

/// Whoever owns the node names the files of a job, and what they are may change before they are read.
#[test]
fn what_has_no_end_or_is_no_file_is_not_copied_in() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = (store(&dir), content(2, GROUP));
    let other = store.put(&bytes).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [Path::new("/dev/zero"), dir.path(), &fifo] {
        let error = store.import(path, Bytes(10)).unwrap_err();
        assert!(matches!(error, BlobStoreError::Io { .. }), "{error}");
    }
    let file = dir.path().join("input");
    fs::write(&file, &bytes).unwrap();
    let error = store.import(&file, Bytes(bytes.len() as u64 - 1)).unwrap_err();
    assert!(error.to_string().contains("is longer than"), "{error}");
    assert!(store.contains(&other), "nothing made room for it");
    assert_eq!(store.used(), Bytes(bytes.len() as u64));
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let mut writer = store.writer().unwrap();
    writer.write(&content(3, GROUP)).unwrap();
    assert_eq!(store.used(), Bytes(GROUP as u64));
    drop(writer);
    assert_eq!(store.used(), Bytes(0));
    assert_eq!(fs::read_dir(dir.path().join("blobs/draft")).unwrap().count(), 0);
    fs::write(dir.path().join("blobs/draft/left"), b"by a killed node").unwrap();
    let store = BlobStore::open(dir.path(), Bytes(1)).unwrap();
    assert_eq!((fs::read_dir(dir.path().join("blobs/draft")).unwrap().count(), store.used()), (0, Bytes(0)));
}

#[test]
fn decayed_blobs_are_found_out_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(4, GROUP + 9);
    let hash = store(&dir).put(&bytes).unwrap();
    let path = file_of(dir.path(), &hash);
    for damage in [&bytes[..GROUP], &[&bytes[..], b"x"].concat(), b""] {
        fs::write(&path, damage).unwrap();
        let store = store(&dir);
        assert!(store.contains(&hash));
        let error = store.read(&hash).unwrap_err();
        assert!(matches!(error, BlobStoreError::Decayed(_)), "{error}");
        assert!(!store.contains(&hash) && !path.exists());
        assert_eq!(store.used(), Bytes(0));
        assert_eq!(store.put(&bytes).unwrap(), hash);
        assert_eq!(store.read(&hash).unwrap(), bytes);
    }
}

#[test]
fn an_outline_that_is_lost_or_wrong_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = (store(&dir), content(5, 3 * GROUP));
    let hash = store.put(&bytes).unwrap();
    let outline = store.outline(&hash).unwrap();
    let path = file_of(dir.path(), &hash).with_extension("outline");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for damage in [Some(&good[..64]), Some(&flipped), Some(b"".as_slice()), None] {
        match damage {
            Some(damage) => fs::write(&path, damage).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(store.outline(&hash).unwrap(), outline);
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn the_blob_used_longest_ago_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Bytes(3_000)).unwrap();
    let hashes: Vec<_> = (0..3).map(|n| store.put(&content(n, 1_000)).unwrap()).collect();
    store.path(&hashes[0]).unwrap();
    let fourth = store.put(&content(9, 1_000)).unwrap();
    let held = |hash| store.contains(hash);
    assert_eq!(hashes.iter().map(held).collect::<Vec<_>>(), [true, false, true]);
    assert!(held(&fourth) && !file_of(dir.path(), &hashes[1]).exists());
    assert_eq!(store.used(), Bytes(3_000));
}

#[test]
fn no_more_is_asked_after_than_room_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Bytes(3_000)).unwrap();
    let hashes: Vec<_> = (0..30).map(|n| store.put(&content(n, 100)).unwrap()).collect();
    let (asked, used) = (Arc::new(AtomicU64::new(0)), hashes[1]);
    let asking = asked.clone();
    store.keep_while(Arc::new(move |hash| {
        asking.fetch_add(1, Ordering::SeqCst);
        *hash == used
    }));
    store.put(&content(40, 200)).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3, "the oldest, the one in use, and the next");
    assert_eq!(hashes.iter().filter(|hash| !store.contains(hash)).count(), 2);
    assert!(store.contains(&used));
}

#[test]
fn what_is_in_use_or_held_is_never_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Bytes(3_000)).unwrap();
    let hashes: Vec<_> = (0..3).map(|n| store.put(&content(n, 1_000)).unwrap()).collect();
    let (used, asking) = (hashes[0], store.clone());
    // The answer may look at the store itself.
    store.keep_while(Arc::new(move |hash| asking.contains(hash) && *hash == used));
    let hold = store.hold([hashes[1]]);
    store.put(&content(10, 900)).unwrap();
    assert_eq!(hashes.iter().map(|h| store.contains(h)).collect::<Vec<_>>(), [true, true, false]);
    let error = store.put(&content(11, 1_001)).unwrap_err();
    assert!(matches!(error, BlobStoreError::Full { .. }), "{error}");
    for part in ["2.8 KiB of 2.9 KiB", "1001 B", "--blob-quota"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(store.contains(&BlobHash::of(&content(10, 900))), "nothing is evicted in vain");
    drop(hold);
    store.put(&content(11, 1_001)).unwrap();
    assert!(store.contains(&hashes[0]) && !store.contains(&hashes[1]));
    assert!(store.used() <= store.quota());
}

#[test]
fn random_use_never_exceeds_the_quota_nor_loses_count() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut store = BlobStore::open(dir.path(), Bytes(20_000)).unwrap();
    let mut holds = Vec::new();
    for step in 0..400 {
        let bytes = content(rng.u64(..30), rng.usize(..4_000));
        match rng.u8(..10) {
            0 => holds.clear(),
            1 => holds.push(store.hold([BlobHash::of(&bytes)])),
            2 if holds.is_empty() => store = BlobStore::open(dir.path(), Bytes(20_000)).unwrap(),
            _ => match store.put(&bytes) {
                Ok(hash) => assert_eq!(store.read(&hash).unwrap(), bytes, "seed {seed} step {step}"),
                Err(error) => assert!(matches!(error, BlobStoreError::Full { .. }), "seed {seed}: {error}"),
            },
        }
        assert!(store.used() <= store.quota(), "seed {seed} step {step}");
    }
    let reopened = BlobStore::open(dir.path(), Bytes(20_000)).unwrap();
    assert_eq!(reopened.used(), store.used(), "seed {seed}");
}

#[test]
fn small_blobs_are_at_hand_and_take_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let small = ion_protocol::limits::INLINE_BYTES_MAX;
    let first = store(&dir);
    let hashes: Vec<_> = (0..200).map(|number| first.put(&content(number, small)).unwrap()).collect();
    let large = first.put(&content(1, small + 1)).unwrap();
    let at_hand = |store: &BlobStore| hashes.iter().filter(|hash| store.at_hand(hash).is_some()).count();
    assert_eq!(at_hand(&first) * small, 4 * 1024 * 1024);
    assert_eq!(first.at_hand(&hashes[199]).as_deref(), Some(&content(199, small)[..]));
    assert!(first.at_hand(&hashes[0]).is_none() && first.at_hand(&large).is_none());

    let second = store(&dir);
    let bytes = Bytes(small as u64);
    assert!(second.at_hand(&hashes[7]).is_none() && !second.is_ready(&hashes[7], bytes, false));
    second.read(&hashes[7]).unwrap();
    assert!(second.at_hand(&hashes[7]).is_some() && second.is_ready(&hashes[7], bytes, false));
    assert!(!second.is_ready(&hashes[7], bytes, true) && !second.is_ready(&hashes[7], Bytes(1), false));
    second.make_durable(&[hashes[7]]).unwrap();
    assert!(second.is_ready(&hashes[7], bytes, true));
}

#[test]
fn what_is_no_blob_in_its_directory_keeps_no_node_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(6, GROUP);
    let hash = store(&dir).put(&bytes).unwrap();
    let blobs = dir.path().join(BLOBS_DIR);
    fs::write(blobs.join("ab"), b"a file where a directory is expected").unwrap();
    let dangling = file_of(dir.path(), &hash).with_file_name("0".repeat(64));
    std::os::unix::fs::symlink("/nowhere", dangling).unwrap();
    fs::create_dir(blobs.join("draft/directory")).unwrap();
    let store = store(&dir);
    assert_eq!((store.read(&hash).unwrap(), store.used()), (bytes, Bytes(GROUP as u64)));
}
