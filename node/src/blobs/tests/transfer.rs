//! Transfers over pipes that behave, break, lie and stall.

use super::*;

/// What a transfer costs beside its content: outline, heads.
const OVERHEAD: u64 = 64 * 1024;

#[tokio::test]
async fn blobs_of_all_sizes_arrive_and_what_is_held_is_not_sent_again() {
    let holder = Holder::new();
    let sizes = [0, 1, GROUP - 1, GROUP, GROUP + 1, 9 * GROUP, 40 * GROUP + 7];
    let blobs: Vec<_> = sizes.iter().map(|b| (holder.store.put(&content(1, *b)).unwrap(), *b)).collect();
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    assert_eq!(fetcher.fetch(&blobs).await, Ok(()));
    for (hash, bytes) in &blobs {
        assert_eq!(fetcher.store.read(hash).unwrap(), content(1, *bytes));
    }
    assert_eq!(road.opened(), 1, "one stream serves all");
    assert_eq!(fetcher.store.used(), holder.store.used());
    let received = road.received();
    assert_eq!(fetcher.fetch(&blobs).await, Ok(()));
    assert_eq!((road.opened(), road.received()), (1, received));
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_was() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let holder = Holder::new();
    let bytes = 30 * GROUP + 11;
    let blob = (holder.store.put(&content(2, bytes)).unwrap(), bytes);
    for _ in 0..8 {
        let cut = rng.u64(..bytes as u64);
        let road = Road::new(&[Pipe::Cut(cut), Pipe::Whole]);
        let mut fetcher = Fetcher::new(road.opener(holder.accept()));
        assert_eq!(fetcher.fetch(&[blob]).await, Ok(()), "seed {seed}");
        assert_eq!(road.opened(), 2, "seed {seed}");
        assert_eq!(fetcher.store.read(&blob.0).unwrap(), content(2, bytes), "seed {seed}");
        let again = road.received() - bytes as u64;
        assert!(
            again < GROUP as u64 + OVERHEAD,
            "seed {seed}: {again} bytes came twice after a cut at {cut}"
        );
    }
}

#[tokio::test]
async fn a_transfer_goes_on_after_a_restart_and_trusts_no_byte_unchecked() {
    let holder = Holder::new();
    let bytes = 20 * GROUP;
    let blob = (holder.store.put(&content(3, bytes)).unwrap(), bytes);
    // Two failures without progress in between end a fetch; what came before stays.
    let road = Road::new(&[Pipe::Cut(10 * GROUP as u64), Pipe::Cut(0)]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    let error = fetcher.fetch(&[blob]).await.unwrap_err();
    assert!(error.contains("failed twice without progress"), "{error}");
    let used = fetcher.store.used().0;
    assert!((8 * GROUP as u64..10 * GROUP as u64).contains(&used), "{used}");
    let Fetcher { dir, .. } = fetcher;
    let path = dir.path().join("blobs/partial").join(blob.0.to_string());
    let mut partial = std::fs::read(&path).unwrap();
    assert_eq!(partial.len() as u64, used);
    partial[3 * GROUP + 77] ^= 1;
    std::fs::write(&path, &partial).unwrap();

    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::in_dir(dir, road.opener(holder.accept()));
    assert_eq!(fetcher.store.used().0, used);
    assert_eq!(fetcher.fetch(&[blob]).await, Ok(()));
    assert_eq!(fetcher.store.read(&blob.0).unwrap(), content(3, bytes));
    let missing = bytes as u64 - used + GROUP as u64;
    assert!((missing..missing + OVERHEAD).contains(&road.received()), "{} for {missing}", road.received());
    assert_eq!(fetcher.store.used().0, bytes as u64);
    assert!(!path.exists());
}

#[tokio::test]
async fn wrong_bytes_are_found_in_their_group_and_not_kept() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let holder = Holder::new();
    let bytes = 12 * GROUP;
    let blob = (holder.store.put(&content(4, bytes)).unwrap(), bytes);
    for _ in 0..8 {
        let flip = rng.u64(OVERHEAD..bytes as u64);
        let road = Road::new(&[Pipe::Flip(flip), Pipe::Whole]);
        let mut fetcher = Fetcher::new(road.opener(holder.accept()));
        let error = fetcher.fetch(&[blob]).await.unwrap_err();
        assert!(error.contains("sent wrong bytes"), "seed {seed}: {error}");
        assert!(error.contains("does not match"), "seed {seed}: {error}");
        assert_eq!(road.opened(), 1, "seed {seed}: a liar is not asked again");
        assert!(!fetcher.store.contains(&blob.0));
        assert_eq!(fetcher.fetch(&[blob]).await, Ok(()), "seed {seed}");
        assert_eq!(fetcher.store.read(&blob.0).unwrap(), content(4, bytes), "seed {seed}");
    }
}

#[tokio::test]
async fn a_stalled_stream_is_given_up_and_opened_once_more() {
    let holder = Holder::new();
    let bytes = 6 * GROUP;
    let blob = (holder.store.put(&content(5, bytes)).unwrap(), bytes);
    let road = Road::new(&[Pipe::Stall(2 * GROUP as u64), Pipe::Whole]);
    let mut fetcher = Fetcher::impatient(road.opener(holder.accept()));
    assert_eq!(fetcher.fetch(&[blob]).await, Ok(()));
    assert_eq!(road.opened(), 2);

    let road = Road::new(&[Pipe::Stall(0)]);
    let mut fetcher = Fetcher::impatient(road.opener(holder.accept()));
    let error = fetcher.fetch(&[blob]).await.unwrap_err();
    assert!(error.contains("no byte moved for 1.5 s"), "{error}");
    assert_eq!(road.opened(), 2);
    assert_eq!(fetcher.store.used(), Bytes(0));
}

#[tokio::test]
async fn a_peer_that_is_not_there_or_does_not_hold_it_is_told() {
    let holder = Holder::new();
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    let hash = BlobHash::of(b"nobody has this");
    let error = fetcher.fetch(&[(hash, 15)]).await.unwrap_err();
    assert!(error.contains(&format!("does not hold blob {hash}")), "{error}");

    let nobody: Opener = Arc::new(|_, _| Box::pin(async { Err("no route".to_owned()) }));
    let mut fetcher = Fetcher::new(nobody);
    let error = fetcher.fetch(&[(hash, 15)]).await.unwrap_err();
    assert!(error.contains("could not be reached") && error.contains("no route"), "{error}");
}

/// A peer that answers every request with `response`, then `bytes`.
fn liar(response: BlobResponse, bytes: Vec<u8>) -> impl Fn(DuplexStream) + Send + Sync + Clone + 'static {
    move |stream| {
        let (response, bytes) = (response.clone(), bytes.clone());
        tokio::spawn(async move {
            let mut stream: ByteStream = Box::pin(stream);
            let stall = Duration::from_secs(60);
            while let Ok(Some(_)) = wire::read_frame::<BlobRequest>(&mut stream, 1024, stall).await {
                wire::write_all(&mut stream, &wire::frame(&response), stall).await?;
                wire::write_all(&mut stream, &bytes, stall).await?;
            }
            Ok::<_, StreamError>(())
        });
    }
}

#[tokio::test]
async fn lies_about_size_and_outline_are_found_out() {
    let bytes = content(6, 3 * GROUP);
    let mut builder = OutlineBuilder::default();
    builder.update(&bytes);
    let (hash, outline) = builder.finish();
    let values = outline.chaining_values().to_vec();
    let mut wrong = values.clone();
    wrong[1][5] ^= 1;
    let found = |bytes: u64, outline: &[[u8; 32]]| BlobResponse::Found { bytes, outline: outline.to_vec() };
    let whole = bytes.len() as u64;
    let cases = [
        (found(whole + 1, &values), "not 768.0 KiB"),
        (found(whole - 1, &values), "not 768.0 KiB"),
        (found(whole, &wrong), "the outline is of another blob"),
        (found(whole, &values[..2]), "2 chaining values; expected 3"),
        (found(whole, &[]), "0 chaining values; expected 3"),
    ];
    for (response, expected) in cases {
        let road = Road::new(&[Pipe::Whole]);
        let mut fetcher = Fetcher::new(road.opener(liar(response.clone(), bytes.clone())));
        let error = fetcher.fetch(&[(hash, bytes.len())]).await.unwrap_err();
        assert!(!error.starts_with("here: ") && error.contains(expected), "{response:?}: {error}");
        assert_eq!(fetcher.store.used(), Bytes(0), "{response:?}");
    }
    // The truth, for comparison, and a declared size that is not the blob's.
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(liar(found(whole, &values), bytes.clone())));
    assert_eq!(fetcher.fetch(&[(hash, bytes.len())]).await, Ok(()));
    let error = fetcher.fetch(&[(hash, bytes.len() - 1)]).await.unwrap_err();
    assert!(!error.starts_with("here: ") && error.contains("768.0 KiB"), "{error}");
    assert!(error.contains("declared"), "{error}");
}

#[tokio::test]
async fn a_frame_that_is_too_long_or_garbage_ends_the_stream() {
    for garbage in [vec![0xff; 64], [&8u32.to_le_bytes()[..], &[9; 8]].concat()] {
        let accept = move |mut stream: DuplexStream| {
            let garbage = garbage.clone();
            tokio::spawn(async move {
                let _ = stream.write_all(&garbage).await;
                // Held open, so that the end is not what is noticed.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        };
        let road = Road::new(&[Pipe::Whole]);
        let mut fetcher = Fetcher::new(road.opener(accept));
        let error = fetcher.fetch(&[(BlobHash([1; 32]), GROUP)]).await.unwrap_err();
        assert!(error.contains("a frame"), "{error}");
    }
}

/// A loss of power cuts files that were written, a person or a bad disk takes them away: none of that is the job's.
#[tokio::test]
async fn a_blob_whose_file_was_cut_or_is_gone_is_fetched_again() {
    let holder = Holder::new();
    let bytes = content(30, 3 * GROUP);
    let blob = (holder.store.put(&bytes).unwrap(), bytes.len());
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    fetcher.fetch(&[blob]).await.unwrap();
    for left in [0, GROUP, 3 * GROUP + 1] {
        let path = fetcher.store.path(&blob.0).unwrap();
        std::fs::write(path, vec![7; left]).unwrap();
        fetcher = Fetcher::in_dir(fetcher.dir, road.opener(holder.accept()));
        assert_eq!(fetcher.fetch(&[blob]).await, Ok(()), "{left}");
        assert_eq!(fetcher.store.read(&blob.0).unwrap(), bytes);
        assert_eq!(fetcher.store.used(), Bytes(bytes.len() as u64));
    }
    let lie = (blob.0, blob.1 - 1);
    assert!(fetcher.fetch(&[lie]).await.unwrap_err().contains("declared"));
    // Taken away while the node runs: whoever finds out fails, and the next has it brought again.
    std::fs::remove_dir_all(fetcher.store.path(&blob.0).unwrap().parent().unwrap()).unwrap();
    let error = fetcher.store.file(&blob.0).unwrap_err();
    assert!(matches!(error, BlobStoreError::NotHeld(_)), "{error}");
    assert_eq!(fetcher.store.used(), Bytes(0));
    assert_eq!(fetcher.fetch(&[blob]).await, Ok(()));
    assert_eq!(fetcher.store.read(&blob.0).unwrap(), bytes);
}

#[tokio::test]
async fn what_is_left_of_a_transfer_and_too_long_ends_where_the_blob_does() {
    let holder = Holder::new();
    let bytes = content(31, 3 * GROUP + 5);
    let blob = (holder.store.put(&bytes).unwrap(), bytes.len());
    let road = Road::new(&[Pipe::Cut(2 * GROUP as u64), Pipe::Cut(0), Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    fetcher.fetch(&[blob]).await.unwrap_err();
    let partial = fetcher.dir.path().join(BLOBS_DIR).join("partial").join(blob.0.to_string());
    let longer = [std::fs::read(&partial).unwrap(), vec![7; 3 * GROUP]].concat();
    std::fs::write(&partial, longer).unwrap();
    let mut fetcher = Fetcher::in_dir(fetcher.dir, road.opener(holder.accept()));
    assert_eq!(fetcher.fetch(&[blob]).await, Ok(()));
    assert_eq!(fetcher.store.used(), Bytes(bytes.len() as u64));
    assert_eq!(std::fs::read(fetcher.store.path(&blob.0).unwrap()).unwrap(), bytes);
}
