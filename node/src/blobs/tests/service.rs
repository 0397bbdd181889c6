//! The service: order, limits, and several fetches at once.

use super::*;
use ion_protocol::deal::InlineBlob;
use std::collections::BTreeSet;

#[tokio::test]
async fn what_is_kept_is_there_for_the_fetch_that_follows() {
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(|_| {}));
    let contents: Vec<_> = (0..4).map(|n| content(n, 1_000)).collect();
    let blobs: Vec<_> = contents.iter().map(|bytes| (BlobHash::of(bytes), bytes.len())).collect();
    fetcher.blobs.keep(contents.into_iter().map(|bytes| InlineBlob { bytes }).collect()).unwrap();
    assert_eq!(fetcher.fetch(&blobs).await, Ok(()));
    assert_eq!(road.opened(), 0);
}

#[tokio::test]
async fn a_blob_that_many_want_comes_once() {
    let holder = Holder::new();
    let bytes = 20 * GROUP;
    let blob = (holder.store.put(&content(1, bytes)).unwrap(), bytes);
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    (0..10).for_each(|id| fetcher.start(id, &[blob, blob]));
    for _ in 0..10 {
        let (id, result) = fetcher.answer().await;
        assert_eq!(result, Ok(()), "{id:?}");
    }
    assert!((bytes as u64..bytes as u64 + GROUP as u64).contains(&road.received()), "{}", road.received());
}

#[tokio::test]
async fn if_the_one_who_fetches_fails_the_next_one_does_it() {
    let holder = Holder::new();
    let bytes = 4 * GROUP;
    let blob = (holder.store.put(&content(2, bytes)).unwrap(), bytes);
    let road = Road::new(&[Pipe::Flip(GROUP as u64), Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    (0..2).for_each(|id| fetcher.start(id, &[blob]));
    let results = [fetcher.answer().await.1.is_ok(), fetcher.answer().await.1.is_ok()];
    assert_eq!(results, [false, true]);
}

#[tokio::test]
async fn a_fetch_that_waits_for_this_node_says_that_it_is_alive() {
    let holder = Holder::new();
    let bytes = 4 * GROUP;
    let blob = (holder.store.put(&content(5, bytes)).unwrap(), bytes);
    let road = Road::new(&[Pipe::Stall(GROUP as u64), Pipe::Whole]);
    let mut fetcher = Fetcher::impatient(road.opener(holder.accept()));
    (1..=2).for_each(|id| fetcher.start(id, &[blob]));
    // One of them brings the blob from a peer that stalls; the other waits its turn, and is heard of meanwhile.
    let mut heard = BTreeSet::new();
    while heard.len() < 2 {
        match tokio::time::timeout(Duration::from_secs(60), fetcher.inputs.recv()).await {
            Ok(Some(Input::FetchProgress { fetch, .. })) => _ = heard.insert(fetch),
            other => panic!("{other:?} before both were heard of"),
        }
    }
    for _ in 0..2 {
        assert_eq!(fetcher.answer().await.1, Ok(()));
    }
}

#[tokio::test]
async fn a_burst_of_deliveries_is_taken() {
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(|_| {}));
    let bytes = content(6, 100);
    let blob = (BlobHash::of(&bytes), bytes.len());
    for id in 0..1_000 {
        fetcher.blobs.keep(vec![InlineBlob { bytes: bytes.clone() }]).unwrap();
        fetcher.start(id, &[blob]);
    }
    for _ in 0..1_000 {
        assert_eq!(fetcher.answer().await.1, Ok(()));
    }
}

#[tokio::test]
async fn a_stopped_fetch_is_not_answered_and_what_it_brought_stays() {
    let holder = Holder::new();
    let bytes = 10 * GROUP;
    let blob = (holder.store.put(&content(3, bytes)).unwrap(), bytes);
    let road = Road::new(&[Pipe::Stall(6 * GROUP as u64), Pipe::Stall(2 * GROUP as u64), Pipe::Whole]);
    let mut fetcher = Fetcher::impatient(road.opener(holder.accept()));
    fetcher.start(1, &[blob]);
    // What the first stream brought is written before there is a second: stop when that one moves.
    let moves = |input| matches!(input, Some(Input::FetchProgress { done, .. }) if done > 0);
    while !moves(fetcher.inputs.recv().await) || road.opened() < 2 {}
    fetcher.blobs.stop(FetchId(1));
    fetcher.blobs.stop(FetchId(1));
    fetcher.start(2, &[blob]);
    assert_eq!(fetcher.answer().await, (FetchId(2), Ok(())));
    assert!(road.received() < bytes as u64 + 6 * GROUP as u64, "{}", road.received());
    assert!(fetcher.inputs.try_recv().is_err());
}

#[tokio::test]
async fn beyond_the_limit_a_peer_is_told_that_we_are_busy() {
    let holder = Holder::new();
    let bytes = content(4, 10);
    let hash = holder.store.put(&bytes).unwrap();
    let request = wire::frame(&BlobRequest { hash, outline: false, first: 0, count: 0, slices: false });
    let stall = Duration::from_secs(60);
    let mut streams: Vec<ByteStream> = Vec::new();
    let mut responses = Vec::new();
    for _ in 0..10 {
        let (near, far) = duplex(PIPE_BYTES);
        holder.blobs.serve(node(1), Box::pin(far));
        let mut stream: ByteStream = Box::pin(near);
        wire::write_all(&mut stream, &request, stall).await.unwrap();
        responses.push(wire::read_frame::<BlobResponse>(&mut stream, 1024, stall).await.unwrap().unwrap());
        streams.push(stream);
    }
    let found = BlobResponse::Found { bytes: 10, outline: Vec::new() };
    assert_eq!(responses, [vec![found; 8], vec![BlobResponse::Busy; 2]].concat());
}

/// A few strangers take all places there are, each asking once and then for nothing.
#[tokio::test]
async fn who_holds_places_and_asks_for_nothing_keeps_nobody_out() {
    let holder = Holder::new();
    let blob = (holder.store.put(b"wanted").unwrap(), 6);
    let hash = blob.0;
    let request = wire::frame(&BlobRequest { hash, outline: false, first: 0, count: 0, slices: false });
    let stall = Duration::from_secs(60);
    let mut held: Vec<ByteStream> = Vec::new();
    for peer in 0..8 {
        for _ in 0..8 {
            let (near, far) = duplex(PIPE_BYTES);
            holder.blobs.serve(node(100 + peer), Box::pin(far));
            let mut stream: ByteStream = Box::pin(near);
            wire::write_all(&mut stream, &request, stall).await.unwrap();
            let response = wire::read_frame::<BlobResponse>(&mut stream, 1024, stall).await.unwrap();
            assert!(matches!(response, Some(BlobResponse::Found { .. })), "{response:?}");
            held.push(stream);
        }
    }
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    assert_eq!(fetcher.fetch(&[blob]).await, Ok(()));
    // The one that made room is closed, the others are answered as before.
    let first = wire::read_frame::<BlobResponse>(&mut held[0], 1024, stall).await.unwrap();
    assert_eq!(first, None);
    for stream in &mut held[1..] {
        wire::write_all(stream, &request, stall).await.unwrap();
        assert!(wire::read_frame::<BlobResponse>(stream, 1024, stall).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_busy_peer_is_asked_again_and_then_given_up() {
    let holder = Holder::new();
    let blob = (holder.store.put(b"wanted").unwrap(), 6);
    let mut taken: Vec<_> = (0..8)
        .map(|_| {
            let (near, far) = duplex(64);
            holder.blobs.serve(node(1), Box::pin(far));
            near
        })
        .collect();
    let road = Road::new(&[Pipe::Whole]);
    let mut fetcher = Fetcher::new(road.opener(holder.accept()));
    let error = fetcher.fetch(&[blob]).await.unwrap_err();
    assert!(!error.starts_with("here: ") && error.contains("serves too many transfers"), "{error}");
    assert_eq!(road.opened(), 4, "once and three more times");
    taken.clear();
    assert_eq!(fetcher.fetch(&[blob]).await, Ok(()));
}

#[tokio::test]
async fn a_full_store_ends_a_fetch_with_the_way_out() {
    let holder = Holder::new();
    let bytes = 4 * GROUP;
    let blobs: Vec<_> = (0..2).map(|n| (holder.store.put(&content(n, bytes)).unwrap(), bytes)).collect();
    let road = Road::new(&[Pipe::Whole]);
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Bytes(6 * GROUP as u64)).unwrap();
    let mut fetcher = Fetcher::with_store(dir, store, road.opener(holder.accept()));
    let error = fetcher.fetch(&blobs).await.unwrap_err();
    assert!(
        error.starts_with("here: ") && error.contains("--blob-quota"),
        "the first blob of a fetch is not evicted for its second: {error}"
    );
    assert_eq!(fetcher.fetch(&blobs[1..]).await, Ok(()), "but a later fetch may take its place");
    assert!(!fetcher.store.contains(&blobs[0].0));
}

#[tokio::test]
async fn too_many_fetches_are_refused_at_once() {
    let hang: Opener = Arc::new(|_, _| Box::pin(std::future::pending()));
    let fetcher = Fetcher::new(hang);
    let fetch =
        |id| fetcher.blobs.fetch(FetchId(id), node(1), Vec::new(), vec![(BlobHash([1; 32]), Bytes(1))], true);
    let taken = (0..100_000).take_while(|id| fetch(*id).is_ok()).count();
    assert!((1_000..=12_288).contains(&taken), "{taken}");
    (0..taken as u64).for_each(|id| fetcher.blobs.stop(FetchId(id)));
    fetcher.blobs.shutdown();
}
