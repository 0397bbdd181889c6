//! Our own streams on a connection: `/ion/talk/1`, held open, where both sides ask and answer; and `/ion/blob/2`, one
//! stream per transfer, for bulk bytes.
//!
//! Stock request-response negotiates a stream for every question, which costs three times the round trip; stock streams
//! pick any connection of a peer, which may be a relayed one. Here questions share a held stream, bulk goes over direct
//! connections only, and a peer that has too many streams is told so by one byte instead of silence.
//!
//! Limits: see the constants. The handler lives in the connection's own task, where frames are decoded and signatures
//! checked, so that the work a peer causes delays its own connection first. Tests: `talk.rs`, and `net/tests/`.

mod behaviour;
mod handler;
mod talk;
mod upgrade;

pub(super) use behaviour::{Behaviour, Event};
pub(super) use handler::{FromHandler, TalkId};
pub(super) use talk::framed;

use libp2p::StreamProtocol;

/// Negotiation.
pub(super) const TALK_PROTOCOL: StreamProtocol = StreamProtocol::new("/ion/talk/1");
/// Bulk bytes.
pub(super) const BLOB_PROTOCOL: StreamProtocol = StreamProtocol::new("/ion/blob/2");

/// Questions of a peer on one connection that wait for our answer; more are refused as overload.
pub const ANSWERS_MAX: usize = 32;
/// Questions of ours on one connection that wait for an answer; more are told [`ion_scheduler::input::CallError::Busy`].
pub const QUESTIONS_MAX: usize = 256;
/// Bytes waiting to be written to one talk stream: four of the largest messages. A peer that lets more pile up does not
/// read.
pub const WRITE_BYTES_MAX: usize = 4 * ion_protocol::limits::MESSAGE_BYTES_MAX;
/// Blob streams a peer may hold open on one connection.
pub const BLOBS_PER_PEER_MAX: usize = 16;
