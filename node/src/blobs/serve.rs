//! Answers one peer's questions on one stream, as long as it asks. Holds the blob it serves, reads ahead while it sends.
//!
//! Tests: `tests/transfer.rs`.

use super::{
    places::Place,
    service::Patience,
    store::{BlobStore, Hold},
    stream::ByteStream,
    wire::{self, StreamError},
};
use ion_protocol::{
    BlobHash,
    blob::{BLOB_REQUEST_BYTES, BlobRequest, BlobResponse, group_count, slice_values, slices_in_group},
    limits::BLOB_GROUP_BYTES,
};
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc, time::Duration};
use tokio::{task::spawn_blocking, time::timeout};

/// Groups read from the disk at once, while those before are on their way.
const READ_GROUPS: u64 = 4;

/// How long a peer may take for what is read at once, a mebibyte at most: what the engines of both sides give a fetch
/// beside its pace. One that takes less has a place that others need.
const SLOWEST: Duration = Duration::from_secs(30);

/// The blob that was asked for last.
struct Served {
    hash: BlobHash,
    file: Arc<File>,
    bytes: u64,
    _hold: Hold,
}

/// Answers until the peer is done or breaks the protocol.
pub(super) async fn serve(
    store: &BlobStore,
    stream: &mut ByteStream,
    place: &Place,
    patience: &Patience,
) -> Result<(), StreamError> {
    let mut served = None;
    while let Some(request) =
        wire::read_frame::<BlobRequest>(stream, BLOB_REQUEST_BYTES, patience.idle).await?
    {
        place.asks(true);
        answer(store, stream, request, &mut served, patience).await?;
        wire::flush(stream, patience.stall).await?;
        place.asks(false);
    }
    Ok(())
}

/// Answers the first question with "too many".
pub(super) async fn refuse(stream: &mut ByteStream, patience: &Patience) -> Result<(), StreamError> {
    wire::read_frame::<BlobRequest>(stream, BLOB_REQUEST_BYTES, patience.stall).await?;
    wire::write_all(stream, &wire::frame(&BlobResponse::Busy), patience.stall).await?;
    wire::flush(stream, patience.stall).await?;
    // Closing over unread questions could reset the stream before the answer is read.
    while wire::read_frame::<BlobRequest>(stream, BLOB_REQUEST_BYTES, patience.stall).await?.is_some() {}
    Ok(())
}

async fn answer(
    store: &BlobStore,
    stream: &mut ByteStream,
    request: BlobRequest,
    served: &mut Option<Served>,
    patience: &Patience,
) -> Result<(), StreamError> {
    if served.as_ref().is_none_or(|served| served.hash != request.hash) {
        *served = find(store, request.hash).await?;
    }
    let Some(blob) = served else {
        return wire::write_all(stream, &wire::frame(&BlobResponse::NotFound), patience.stall).await;
    };
    let absent = || io::Error::other("groups or slices were asked for that the blob does not have");
    let outline = match request.outline {
        true => outline(store, request.hash).await?,
        false => Vec::new(),
    };
    if request.slices {
        let place = slices_in_group(blob.bytes, request.first, request.count).ok_or_else(absent)?;
        return send_slices(blob, stream, outline, place, patience).await;
    }
    let end = request.first.checked_add(request.count).filter(|end| *end <= group_count(blob.bytes));
    let end = end.ok_or_else(absent)?;
    let response = BlobResponse::Found { bytes: blob.bytes, outline };
    wire::write_all(stream, &wire::frame(&response), patience.stall).await?;
    send_groups(blob, stream, request.first, end, patience).await
}

async fn find(store: &BlobStore, hash: BlobHash) -> Result<Option<Served>, StreamError> {
    if !store.contains(&hash) {
        return Ok(None);
    }
    let store = store.clone();
    let found = spawn_blocking(move || {
        let hold = store.hold([hash]);
        let file = Arc::new(store.file(&hash)?);
        let bytes = store.size(&hash).map_or(0, |bytes| bytes.0);
        Ok::<_, super::BlobStoreError>(Served { hash, file, bytes, _hold: hold })
    });
    match found.await.map_err(io::Error::other)? {
        Ok(served) => Ok(Some(served)),
        Err(error) => {
            tracing::debug!(%hash, %error, "a blob that was asked for can't be served");
            Ok(None)
        }
    }
}

async fn outline(store: &BlobStore, hash: BlobHash) -> Result<Vec<[u8; 32]>, StreamError> {
    let store = store.clone();
    let outline = spawn_blocking(move || store.outline(&hash)).await.map_err(io::Error::other)?;
    Ok(outline.map_err(io::Error::other)?.chaining_values().to_vec())
}

/// Sends a part of a group, with the values that prove it.
async fn send_slices(
    blob: &Served,
    stream: &mut ByteStream,
    outline: Vec<[u8; 32]>,
    (group, part): (u64, Range<usize>),
    patience: &Patience,
) -> Result<(), StreamError> {
    let (file, size) = (blob.file.clone(), blob.bytes);
    let read = spawn_blocking(move || {
        let start = group * BLOB_GROUP_BYTES;
        let mut content = vec![0; (size - start).min(BLOB_GROUP_BYTES) as usize];
        file.read_exact_at(&mut content, start)?;
        let values = slice_values(size, group, &content);
        Ok::<_, io::Error>((values, content))
    });
    let (values, content) = read.await.map_err(io::Error::other)??;
    let response = BlobResponse::Slices { bytes: blob.bytes, outline, values };
    wire::write_all(stream, &wire::frame(&response), patience.stall).await?;
    wire::write_all(stream, &content[part], patience.stall).await
}

async fn send_groups(
    blob: &Served,
    stream: &mut ByteStream,
    first: u64,
    end: u64,
    patience: &Patience,
) -> Result<(), StreamError> {
    let read = |group: u64| {
        let (file, last) = (blob.file.clone(), (group + READ_GROUPS).min(end));
        let offset = group * BLOB_GROUP_BYTES;
        let bytes = (last * BLOB_GROUP_BYTES).min(blob.bytes).saturating_sub(offset);
        (group < end).then(|| {
            spawn_blocking(move || {
                let mut buffer = vec![0; bytes as usize];
                file.read_exact_at(&mut buffer, offset).map(|()| buffer)
            })
        })
    };
    let (mut group, mut reading) = (first, read(first));
    while let Some(current) = reading {
        let buffer = current.await.map_err(io::Error::other)??;
        group += READ_GROUPS;
        reading = read(group);
        let writing = wire::write_all(stream, &buffer, patience.stall);
        timeout(SLOWEST, writing).await.map_err(|_| StreamError::Stalled(SLOWEST))??;
    }
    Ok(())
}
