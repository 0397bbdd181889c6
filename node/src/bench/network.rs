//! The yardstick of dispatch: one libp2p request-response round trip between two processes, with a message the size of a
//! small order.

use crate::net::yardstick;
use anyhow::Context as _;
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// About the size of an order for a small kernel, PTX inline.
const PAYLOAD_BYTES: usize = 1_024;

/// The other process, connected; killed when dropped.
pub(super) struct Echo {
    asker: yardstick::Asker,
    _process: Child,
}

impl Echo {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["bench", "--echo"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("the echo's output")?).lines();
        let address = lines.next_line().await?.context("the echo ended at once")?.parse()?;
        let asker = yardstick::Asker::connect(address).await.map_err(anyhow::Error::msg)?;
        Ok(Self { asker, _process: process })
    }

    /// The time of one round trip.
    pub(super) async fn round_trip(&mut self) -> anyhow::Result<Duration> {
        self.asker.round_trip(PAYLOAD_BYTES).await.map_err(anyhow::Error::msg)
    }
}

/// The other process: says where it is and sends back what it gets, until it is killed.
pub async fn echo() -> anyhow::Result<()> {
    yardstick::echo(|address| println!("{address}")).await.map_err(anyhow::Error::msg)
}
