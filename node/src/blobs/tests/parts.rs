//! Parts of blobs that stay where they are.

use super::{
    super::{serve, service::Patience},
    *,
};

async fn parts(road: &Road, holder: &Holder, bytes: usize, patience: Patience) -> (Parts, Vec<u8>) {
    let content = content(7, bytes);
    let hash = holder.store.put(&content).unwrap();
    let opener = road.opener(holder.accept());
    (Parts::new(opener, (node(1), Vec::new()), patience, (hash, Bytes(bytes as u64))), content)
}

#[tokio::test]
async fn only_the_slices_that_are_asked_for_come_and_each_once() {
    let slice = BLOB_SLICE_BYTES as usize;
    let holder = Holder::new();
    let road = Road::new(&[Pipe::Whole]);
    let bytes = 40 * GROUP + 7;
    let (mut parts, content) = parts(&road, &holder, bytes, patience()).await;
    // The first slice; one on both sides of the border of two groups; the last, which is short; and again.
    for (from, len) in [(0, 10), (5 * GROUP - 3, 6), (bytes - 7, 7), (5 * GROUP + 9, 100), (3, 1)] {
        let part = parts.read(from as u64, len as u64).await.unwrap();
        assert_eq!(part, content[from..from + len], "{len} bytes from {from}");
    }
    let least = 3 * slice as u64 + 7;
    let received = road.received();
    // With the values of 41 groups and, four times, of a group's slices.
    assert!((least..least + 4_096).contains(&received), "{received}");
    let all = parts.read(7 * GROUP as u64 - 5, 2 * GROUP as u64).await.unwrap();
    assert!(all == content[7 * GROUP - 5..9 * GROUP - 5]);
    assert_eq!(road.opened(), 1);
    assert_eq!(parts.read(bytes as u64 - 1, 50).await.unwrap().len(), 1, "no more than there is");
}

#[tokio::test]
async fn blobs_of_all_sizes_are_read_in_parts() {
    let slice = BLOB_SLICE_BYTES as usize;
    for bytes in [1, slice, slice + 1, GROUP, GROUP + 1, 2 * GROUP + 3 * slice + 5] {
        let holder = Holder::new();
        let (mut parts, content) = parts(&Road::new(&[Pipe::Whole]), &holder, bytes, patience()).await;
        for from in [0, bytes / 3, bytes - 1] {
            assert!(
                parts.read(from as u64, 40_000).await.unwrap() == content[from..bytes.min(from + 40_000)]
            );
        }
        assert!(parts.read(0, bytes as u64).await.unwrap() == content, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_cut_is_mended_and_a_lie_a_silence_and_an_absence_are_told() {
    let holder = Holder::new();
    let (mut cut, content) =
        parts(&Road::new(&[Pipe::Cut(GROUP as u64 / 2), Pipe::Whole]), &holder, 2 * GROUP, patience()).await;
    assert_eq!(cut.read(0, 2 * GROUP as u64).await.unwrap(), content);
    let (mut lie, _) = parts(&Road::new(&[Pipe::Flip(5_000)]), &holder, 2 * GROUP, patience()).await;
    let error = lie.read(9, 1).await.unwrap_err();
    assert!(matches!(error, FetchError::WrongBytes { .. }), "{error}");
    let (mut silent, _) = parts(&Road::new(&[Pipe::Stall(5_000)]), &holder, 2 * GROUP, impatience()).await;
    let error = silent.read(9, 1).await.unwrap_err();
    assert!(matches!(error, FetchError::Stream { .. }), "{error}");
    let road = Road::new(&[Pipe::Whole]);
    let absent = (BlobHash([9; 32]), Bytes(10));
    let mut absent = Parts::new(road.opener(holder.accept()), (node(1), Vec::new()), patience(), absent);
    assert!(matches!(absent.read(0, 1).await.unwrap_err(), FetchError::NotFound { .. }));
}

#[tokio::test]
async fn a_peer_that_is_busy_is_asked_again_for_a_while() {
    let holder = Holder::new();
    let bytes = content(8, 100);
    let blob = (holder.store.put(&bytes).unwrap(), Bytes(100));
    for (refusals, expected) in [(2, true), (u64::MAX, false)] {
        let (asked, accept) = (Arc::new(AtomicU64::new(0)), holder.accept());
        let accept = move |stream: DuplexStream| {
            if asked.fetch_add(1, Ordering::SeqCst) >= refusals {
                return accept(stream);
            }
            tokio::spawn(async move {
                let mut stream: ByteStream = Box::pin(stream);
                serve::refuse(&mut stream, &patience()).await
            });
        };
        let opener = Road::new(&[Pipe::Whole]).opener(accept);
        let mut parts = Parts::new(opener, (node(1), Vec::new()), patience(), blob);
        match parts.read(0, 100).await {
            Ok(found) => assert!(expected && found == bytes),
            Err(error) => assert!(!expected && matches!(error, FetchError::Busy { .. }), "{error}"),
        }
    }
}

/// A hash is of one content: whoever names a blob that is here with another size has to show it, and cannot.
#[tokio::test]
async fn a_blob_of_another_size_is_not_the_one_that_is_here() {
    let holder = Holder::new();
    let fetcher = Fetcher::new(Road::new(&[Pipe::Whole]).opener(holder.accept()));
    let hash = fetcher.store.put(&content(3, 100)).unwrap();
    let parts = |bytes| fetcher.blobs.parts(node(1), Vec::new(), hash, Bytes(bytes));
    assert!(parts(100).is_none());
    for bytes in [99, 101] {
        let error = parts(bytes).expect("it is not here").read(0, 1).await.unwrap_err();
        assert!(matches!(error, FetchError::NotFound { .. }), "{error}");
    }
}
