//! What is true on the wire and on paper: ids, units, limits, keys, signed documents and the closed set of messages.
//!
//! Owns every byte layout two nodes must agree on. Never does I/O, reads a clock or draws a random number: time and
//! chance are arguments. Layouts are fixed-width little-endian (see [`codec`]) and kept by golden vectors in
//! `tests/golden.rs`.

pub mod advert;
pub mod blob;
pub mod challenge;
pub mod check;
pub mod codec;
pub mod deal;
pub mod fault;
pub mod hardware;
pub mod ids;
pub mod job;
pub mod key;
pub mod limits;
pub mod message;
pub mod receipt;
pub mod record;
pub mod sheet;
pub mod signed;
pub mod states;
pub mod units;

pub use ids::{Attempt, BlobHash, DocHash, JobId, NetworkId, NodeId};
pub use signed::{Signed, Verified};
pub use units::{Bytes, Millis, NanoIo, Nanos, Now, UnixMillis};
