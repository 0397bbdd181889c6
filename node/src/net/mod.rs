//! The network side of a node: one swarm, one loop. It decides nothing: it translates, verifies at the door, and passes
//! typed facts. libp2p is named only in this folder.
//!
//! ```text
//! driver --Command (bounded, never waits)--> [swarm_loop] <--> swarm: tcp, quic; talk, blob, kad, gossip, identify, ping
//! driver <--Input (waits by not polling)---- [swarm_loop] <--- streams: a task a connection, with the door in it
//! ```
//! Owns: connections, who is connected, the peer cache, what is in the DHT of us. Never: opens a file but the peer cache,
//! signs, knows a job's state, waits for the driver with something in hand that grows.
//! Limits: the constants of `behaviour.rs`, `streams/mod.rs`, `calls.rs` and `handle.rs`.
//! Tests: beside the code, and real swarms on loopback in `net/tests/`.

mod asking;
mod behaviour;
mod bootstrap;
mod calls;
mod capability;
mod conduct;
mod config;
mod crowd;
mod dht;
mod error;
mod events;
mod gossip;
mod handle;
mod ids;
mod intake;
mod listen;
mod market;
mod peer_cache;
mod peers;
mod recent;
mod streams;
mod swarm_loop;
#[cfg(test)]
mod tests;
pub mod yardstick;

pub use crate::blobs::ByteStream;
pub use config::{NetConfig, Role};
pub use error::{Busy, NetError, OpenError};
pub use handle::{NetHandle, PeerView};
pub use ids::full_address;
pub use listen::can_bind;
pub use streams::{ANSWERS_MAX, BLOBS_PER_PEER_MAX, QUESTIONS_MAX};

use handle::COMMANDS_MAX;
use ion_protocol::NodeId;
use ion_scheduler::Input;
use peer_cache::PeerCache;
use swarm_loop::SwarmLoop;
use tokio::{sync::mpsc, task::JoinHandle};

/// Blob streams opened by peers and not yet taken; when full, the next is told so and refused.
pub const BLOB_ACCEPT_MAX: usize = 64;

/// The running network side.
pub struct Net {
    /// To command it.
    pub handle: NetHandle,
    /// Blob streams that peers open.
    pub blob_streams: mpsc::Receiver<(NodeId, ByteStream)>,
    /// Ends after [`NetHandle::shutdown`], or with the reason why it could not go on.
    pub task: JoinHandle<Result<(), String>>,
}

/// Starts listening, dialling and serving. Returns once every listen address is bound; never waits for a peer.
pub async fn start(config: NetConfig, inputs: mpsc::Sender<Input>) -> Result<Net, NetError> {
    let addresses = config.addresses()?;
    let path = config.peer_cache.clone();
    let cache = tokio::task::spawn_blocking(move || PeerCache::load(&path))
        .await
        .map_err(|error| NetError::Transport(format!("the peer cache could not be read: {error}")))?;
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let (accepted, blob_streams) = mpsc::channel(BLOB_ACCEPT_MAX);
    let door = swarm_loop::door(&config);
    let swarm = behaviour::swarm(&config, door, accepted)?;
    let mut swarm_loop = SwarmLoop::new(
        &config,
        swarm,
        door,
        addresses.bootstrap,
        addresses.external,
        cache,
        inputs,
        received,
    );
    listen::listen(&mut swarm_loop, &addresses.listen).await?;
    let task = tokio::spawn(swarm_loop.run());
    Ok(Net { handle: NetHandle { commands }, blob_streams, task })
}
