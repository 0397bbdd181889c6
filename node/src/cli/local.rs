//! A node in this process: the one place where the CLI meets the driver.

use super::CliError;
use crate::config::NodeConfig;
use ion_protocol::NodeId;
use std::convert::Infallible;

/// A node that lives as long as this verb.
#[derive(Debug)]
pub struct Local(Infallible);

impl Local {
    /// Starts it; returns once it listens and can be asked.
    pub async fn start(config: NodeConfig) -> Result<Self, CliError> {
        let what = format!("a {} node cannot be started by this build: it has no driver yet", config.role);
        Err(CliError::node(what, "use a build that has one"))
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        match self.0 {}
    }

    /// Where it can be reached.
    pub async fn addresses(&self) -> Vec<String> {
        match self.0 {}
    }

    /// Takes no new work, finishes what runs, then stops.
    pub fn drain(&self) {
        match self.0 {}
    }

    /// Stops now.
    pub fn stop(&self) {
        match self.0 {}
    }

    /// Waits until it is down; `Err` says what broke.
    pub async fn finished(self) -> Result<(), CliError> {
        match self.0 {}
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
