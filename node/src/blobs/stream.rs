//! A stream of bytes to one peer, whatever carries it: libp2p in a node, an in-memory pipe in tests.

use ion_protocol::NodeId;
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a blob stream can do.
pub trait ByteIo: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> ByteIo for T {}

/// A blob stream.
pub type ByteStream = Pin<Box<dyn ByteIo>>;

/// A future that was boxed.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens a blob stream to a peer, dialling these addresses if it is not connected. `Err` is told to people.
pub type Opener =
    Arc<dyn Fn(NodeId, Vec<String>) -> BoxFuture<'static, Result<ByteStream, String>> + Send + Sync>;
