//! Blobs: the content-addressed store and the transfer of its content between peers.

pub mod stream;

pub use stream::{BoxFuture, ByteIo, ByteStream, Opener};
