//! A node in this process: the one place where the CLI meets the driver.

use super::{CliError, signals::on};
use crate::{
    config::NodeConfig,
    control::{ControlClient, api::DevicesView},
    driver::Node,
    events::EventLine,
};
use ion_protocol::NodeId;
use rustix::process::Signal;
use tokio::{signal::unix::SignalKind, sync::broadcast};

/// A node that lives as long as this verb.
#[derive(Debug)]
pub struct Local(Node);

impl Local {
    /// Starts it; returns once it listens and can be asked.
    pub async fn start(config: NodeConfig) -> Result<Self, CliError> {
        // Handled, the signal ends nobody: a write beyond a limit on files (`ulimit -f`) fails as on a full disk, and is told.
        let _handled = on(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        let node = Node::start(config).await?;
        node.stop_on_panic();
        Ok(Self(node))
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.0.id()
    }

    /// Where it can be reached; waits until it listens somewhere.
    pub async fn addresses(&self) -> Vec<String> {
        self.0.addresses().await
    }

    /// Its devices, once it looked at them.
    pub async fn devices(&self) -> DevicesView {
        self.0.devices().await
    }

    /// Asks and tells it.
    pub fn control(&self) -> ControlClient {
        self.0.control()
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<EventLine> {
        self.0.events()
    }

    /// Resolves when the node goes down.
    pub async fn stopping(&self) {
        self.0.stopping().await;
    }

    /// Takes no new work, finishes what runs, then stops.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// Stops now.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Waits until it is down; `Err` says what broke.
    pub async fn finished(self) -> Result<(), CliError> {
        Ok(self.0.finished().await?)
    }

    /// Takes it down, at once or when what runs is done.
    pub async fn end(self, at_once: bool) -> Result<(), CliError> {
        if at_once {
            self.stop()
        } else {
            self.drain()
        }
        self.finished().await
    }
}
