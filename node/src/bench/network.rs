//! The yardstick of dispatch: one libp2p request-response round trip with a message the size of a small order.

use super::quantile;
use crate::net::yardstick;
use std::time::Duration;

/// Round trips measured.
const ROUND_TRIPS: usize = 2_000;
/// About the size of an order for a small kernel, PTX inline.
const PAYLOAD_BYTES: usize = 1_024;

pub(super) async fn request_response_p50() -> anyhow::Result<Duration> {
    let mut times = yardstick::request_response_roundtrips(ROUND_TRIPS, PAYLOAD_BYTES)
        .await
        .map_err(anyhow::Error::msg)?;
    times.sort();
    Ok(quantile(&times, 0.5))
}
