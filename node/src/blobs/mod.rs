//! Blobs: the content-addressed store and the transfer of its content between peers.
//!
//! `store` owns the files and the quota; `partial` and `writer` are the two ways in. `fetch` asks a peer for groups and
//! verifies each as it arrives; `serve` answers such questions. `service` ties them to the driver: bounded numbers of
//! both, and results as inputs. `parts` reads slices of a blob that stays with its holder. Bulk bytes never pass through
//! the engine. Whoever knows a blob's hash may have it.
//!
//! On a stream: `length u32 LE, BlobRequest` one way; `length u32 LE, BlobResponse`, then the bytes of the groups or slices
//! asked for the other way, in the order of the requests, which need not wait for each other. Tests: `tests/`.

mod fetch;
mod partial;
mod parts;
mod places;
mod serve;
mod service;
mod store;
pub mod stream;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

pub use fetch::FetchError;
pub use parts::Parts;
pub use service::{Begun, Blobs, BlobsBusy, BlobsHandle};
pub use store::{BLOBS_DIR, BlobStore, BlobStoreError, Hold, InUse};
pub use stream::{BoxFuture, ByteIo, ByteStream, Opener};
pub use writer::BlobWriter;
