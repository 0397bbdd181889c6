//! The driver's end of the network: a cloneable sender of commands. Nothing here waits for the swarm loop, except
//! [`NetHandle::peers`] and [`NetHandle::shutdown`], which only people ask for. A full channel is told as [`Busy`] at once.

use super::{
    config::Role,
    error::{Busy, OpenError},
};
use crate::blobs::ByteStream;
use futures::future::BoxFuture;
use ion_protocol::{
    Millis, NodeId, Signed,
    advert::Advert,
    job::Needs,
    message::{Notice, Request, Response},
};
use ion_scheduler::input::{CallId, InboundId};
use tokio::sync::{mpsc, oneshot};

/// Commands on their way to the swarm loop: a few turns of a busy engine.
pub const COMMANDS_MAX: usize = 1024;

/// A connected peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub node: NodeId,
    /// Where it is connected from or to.
    pub addresses: Vec<String>,
    /// What it says it is; unknown until it has introduced itself.
    pub role: Option<Role>,
    /// Its program, as it says (`ion/0.1.0 full`).
    pub agent: String,
    /// The last measured round trip.
    pub round_trip: Option<Millis>,
}

/// One thing for the swarm loop to do.
pub(super) enum Command {
    Call { call: CallId, to: NodeId, addresses: Vec<String>, request: Request, timeout: Millis },
    Answer { inbound: InboundId, response: Response },
    Notice { to: NodeId, notice: Notice },
    Publish(Signed<Advert>),
    Discover(Needs),
    OpenBlob { to: NodeId, addresses: Vec<String>, reply: oneshot::Sender<Result<ByteStream, OpenError>> },
    Peers(oneshot::Sender<Vec<PeerView>>),
    Shutdown(oneshot::Sender<()>),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct NetHandle {
    pub(super) commands: mpsc::Sender<Command>,
}

impl NetHandle {
    /// Asks a peer; the outcome comes back as [`ion_scheduler::Input::Answer`], after `timeout` at the latest.
    pub fn call(
        &self,
        call: CallId,
        to: NodeId,
        addresses: Vec<String>,
        request: Request,
        timeout: Millis,
    ) -> Result<(), Busy> {
        self.send(Command::Call { call, to, addresses, request, timeout })
    }

    /// Answers a peer's question. One that is no longer open (the peer left) is answered into the void.
    pub fn answer(&self, inbound: InboundId, response: Response) -> Result<(), Busy> {
        self.send(Command::Answer { inbound, response })
    }

    /// Tells a peer, if it is connected.
    pub fn notice(&self, to: NodeId, notice: Notice) -> Result<(), Busy> {
        self.send(Command::Notice { to, notice })
    }

    /// Says an advert of ours to the whole network and under the DHT's capability keys.
    pub fn publish(&self, advert: Signed<Advert>) -> Result<(), Busy> {
        self.send(Command::Publish(advert))
    }

    /// Looks for providers; what is found comes as [`ion_scheduler::input::PeerInput::Advert`].
    pub fn discover(&self, needs: Needs) -> Result<(), Busy> {
        self.send(Command::Discover(needs))
    }

    /// Opens a bulk stream over a direct connection, dialling where there is none.
    pub fn open_blob_stream(
        &self,
        to: NodeId,
        addresses: Vec<String>,
    ) -> BoxFuture<'static, Result<ByteStream, OpenError>> {
        let (reply, opened) = oneshot::channel();
        let sent = self.send(Command::OpenBlob { to, addresses, reply });
        Box::pin(async move {
            sent.map_err(|Busy| OpenError::Busy)?;
            opened.await.unwrap_or_else(|_| Err(OpenError::Failed("the network side has ended".into())))
        })
    }

    /// Who is connected.
    pub async fn peers(&self) -> Vec<PeerView> {
        let (reply, peers) = oneshot::channel();
        match self.commands.send(Command::Peers(reply)).await {
            Ok(()) => peers.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Writes the peer cache and closes all connections; returns when that is done.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    fn send(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| Busy)
    }
}
