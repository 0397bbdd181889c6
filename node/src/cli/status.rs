//! `ion status`

use super::{CliError, args::Common, block_on, devices::doing, output, start};
use crate::control::{
    ControlError,
    api::{ClaimCounts, ControlRequest, ControlResponse, StatusView},
};

/// How the running node is.
pub fn status(common: &Common) -> Result<(), CliError> {
    let view = block_on(async {
        match start::connect(common).await?.ask(ControlRequest::Status).await? {
            ControlResponse::Status(view) => Ok(*view),
            other => Err(ControlError::unexpected("the status", &other).into()),
        }
    })?;
    if common.json { output::json(&view) } else { output::line(&text(&view)) }
}

fn text(view: &StatusView) -> String {
    let mut lines = vec![
        format!("node       {} ({}{})", view.node, view.role, if view.draining { ", draining" } else { "" }),
        format!("network    {}", output::printable(&view.network)),
        format!("release    {}, up for {}", view.release, view.uptime),
        format!("data       {} ({} of blobs)", view.data_dir.display(), view.blob_bytes),
    ];
    lines.extend(view.addresses.iter().map(|a| format!("reachable  {}", output::printable(a))));
    lines.push(format!("peers      {} connected, {} offers known", view.peers, view.offers));
    lines.push(claims(view));
    for device in &view.devices {
        let doing = doing(device);
        let label = output::printable(&device.device.label());
        lines.push(format!("device {}   {label}, {}, {doing}", device.device.index, device.device.memory));
    }
    lines.extend(view.isolation.iter().map(|found| format!("isolation  {found}")));
    if view.role.provides() {
        lines.push(format!("price      {} a second", view.price_per_second));
    }
    lines.push(format!("jobs       {} own under way, {} for others", view.jobs_open, view.leases_open));
    lines.join("\n")
}

/// What is known of others' claims, and how it comes to be known.
fn claims(view: &StatusView) -> String {
    let ClaimCounts { held, failed, unchecked, shy } = view.claims;
    let how = match view.challenge_every {
        Some(every) => format!("one is challenged every {every} or so"),
        None => "checked when you say `ion challenge`".to_owned(),
    };
    format!("claims     {held} held, {failed} failed, {unchecked} unchecked, {shy} shy of challenges; {how}")
}
