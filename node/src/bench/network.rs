//! The yardstick of dispatch: one libp2p request-response round trip between two processes, with a message the size of a
//! small order.

use crate::net::yardstick;
use anyhow::Context as _;
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

/// About the size of an order for a small kernel, PTX inline.
const PAYLOAD_BYTES: usize = 1_024;

/// So many round trips, one after the other.
pub(super) async fn round_trips(count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut echo = Command::new(std::env::current_exe()?)
        .args(["bench", "--echo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(echo.stdout.take().context("the echo's output")?).lines();
    let address = lines.next_line().await?.context("the echo ended at once")?.parse()?;
    let times = yardstick::request_response_roundtrips(address, count, PAYLOAD_BYTES).await;
    times.map_err(anyhow::Error::msg)
}

/// The other process: says where it is and sends back what it gets, until it is killed.
pub async fn echo() -> anyhow::Result<()> {
    yardstick::echo(|address| println!("{address}")).await.map_err(anyhow::Error::msg)
}
