//! `ion devices`

use super::{CliError, args::Common, block_on, output, start};
use crate::control::{
    ControlError,
    api::{ControlRequest, ControlResponse},
};

/// The running node's devices.
pub fn devices(common: &Common) -> Result<(), CliError> {
    let devices = block_on(async {
        match start::connect(common).await?.ask(ControlRequest::Devices).await? {
            ControlResponse::Devices(devices) => Ok(devices),
            other => Err(ControlError::unexpected("devices", &other).into()),
        }
    })?;
    if common.json {
        return output::json(&devices);
    }
    if devices.is_empty() {
        return output::line("no devices: this node offers none, or they are still being probed");
    }
    let mut table = output::Table::new(&[
        "DEVICE",
        "ENGINE",
        "CAPABILITY",
        "MEMORY",
        "F32 GFLOPS",
        "MEMORY GB/s",
        "DOES",
    ]);
    for view in &devices {
        let d = &view.device;
        table.row([
            format!("{} {}", d.index, d.model),
            d.label(),
            d.capability.to_string(),
            d.memory.to_string(),
            tenths(d.power.f32_mflops),
            tenths(d.power.memory_mbps),
            view.job.map_or("free".to_owned(), |job| format!("job {}", job.short())),
        ]);
    }
    table.print()
}

/// Thousandths as tenths; `-` where nothing was measured.
pub fn tenths(thousandths: u64) -> String {
    if thousandths == 0 { "-".to_owned() } else { format!("{:.1}", thousandths as f64 / 1e3) }
}
