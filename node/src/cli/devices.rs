//! `ion devices`

use super::{
    CliError,
    args::{Common, DevicesArgs, DevicesVerb},
    block_on, output, start,
};
use crate::control::{
    ControlClient, ControlError,
    api::{ControlRequest, ControlResponse, DeviceView, DevicesView},
};
use ion_protocol::{
    hardware::Device,
    sheet::{self, Sheet},
    units::measured_rate,
};
use serde::Serialize;

/// The running node's devices, or what the owner wants of one.
pub fn devices(common: &Common, args: DevicesArgs) -> Result<(), CliError> {
    match args.verb {
        None => list(common),
        Some(DevicesVerb::Pause { device, now }) => {
            let said = if now {
                "paused; what ran on it is stopped, and runs elsewhere"
            } else {
                "paused; what runs on it is finished"
            };
            change(common, ControlRequest::Pause { device, now }, Changed { device, paused: true }, said)
        }
        Some(DevicesVerb::Resume { device }) => {
            let said = "lent again, as far as other rules allow";
            change(common, ControlRequest::Resume { device }, Changed { device, paused: false }, said)
        }
    }
}

/// What `--json` prints of a pause or its end.
#[derive(Serialize)]
struct Changed {
    device: u16,
    paused: bool,
}

fn change(common: &Common, request: ControlRequest, to: Changed, said: &str) -> Result<(), CliError> {
    block_on(async {
        let mut client = start::connect(common).await?;
        match client.ask(request).await? {
            ControlResponse::Noted if common.json => output::json(&to),
            ControlResponse::NoDevice { known } => Err(no_device(to.device, &known)),
            ControlResponse::Noted => output::line(&format!("device {} is {said}", to.device)),
            other => Err(ControlError::unexpected("a note", &other).into()),
        }
    })
}

async fn view(client: &mut ControlClient) -> Result<DevicesView, CliError> {
    match client.ask(ControlRequest::Devices).await? {
        ControlResponse::Devices(view) => Ok(*view),
        other => Err(ControlError::unexpected("devices", &other).into()),
    }
}

/// A number that is no device's was mistyped.
fn no_device(device: u16, known: &[Device]) -> CliError {
    let hint = match known.is_empty() {
        true => "`ion devices` says why, and what to do about it",
        false => "give one of these numbers",
    };
    CliError::usage(format!("this node has no device {device}; it has {}", numbered(known)), hint)
}

/// Devices with their numbers, in one line.
pub fn numbered(devices: &[Device]) -> String {
    let each: Vec<String> = devices.iter().map(|d| format!("{} ({})", d.index, named(d))).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

fn list(common: &Common) -> Result<(), CliError> {
    let view = block_on(async { view(&mut start::connect(common).await?).await })?;
    if common.json {
        return output::json(&view);
    }
    if view.devices.is_empty() {
        output::line(if view.probed {
            "no devices: this machine has none that can be lent"
        } else {
            "no devices: this node offers none (--light, --relay), or still looks at what the machine has"
        })?;
    } else {
        table(&view.devices)?;
    }
    notes(&view).iter().try_for_each(|line| output::line(&output::printable(line)))
}

/// Engine and model, each once.
pub fn named(device: &Device) -> String {
    if device.engine.is_gpu() { device.label() } else { format!("{} ({})", device.label(), device.model) }
}

/// Whether modules in CUDA C run on it.
pub fn compiles(device: &Device) -> &'static str {
    if device.nvrtc { "NVRTC" } else { "-" }
}

fn table(devices: &[DeviceView]) -> Result<(), CliError> {
    let mut table = output::Table::new(&[
        "DEVICE",
        "CAP",
        "MEMORY",
        "GFLOPS F32, F16",
        "GOPS",
        "GB/S",
        "IN, OUT",
        "CUDA C",
        "DOES",
    ]);
    for view in devices {
        let d = &view.device;
        table.row([
            format!("{} {}", d.index, named(d)),
            d.capability.to_string(),
            d.memory.to_string(),
            format!("{}, {}", measured_rate(d.power.f32_mflops), measured_rate(d.power.f16_mflops)),
            measured_rate(d.power.product_mops),
            measured_rate(d.power.memory_mbps),
            format!("{}, {}", measured_rate(d.power.to_device_mbps), measured_rate(d.power.from_device_mbps)),
            compiles(d).to_owned(),
            doing(view),
        ]);
    }
    table.print()
}

/// What a device does, and why it takes no more.
pub fn doing(view: &DeviceView) -> String {
    let job = view.job.map(|job| format!("job {}", job.short()));
    match (job, view.withheld) {
        (None, None) => "free".to_owned(),
        (Some(job), None) => job,
        (None, Some(why)) => format!("not lent: {why}"),
        (Some(job), Some(why)) => format!("{job}, then not lent: {why}"),
    }
}

/// What was measured, beside what the maker says, where that is known.
fn of_sheet(view: &DeviceView) -> Option<String> {
    let device = &view.device;
    let ratios = Sheet::of(&device.model)?.ratios(&device.power).to_string();
    let doubt = sheet::beaten(device).map_or(String::new(), |beaten| format!("; doubtful: {beaten}"));
    (!ratios.is_empty()).then(|| format!("device {}: of the data sheet {ratios}{doubt}", device.index))
}

/// How a GPU is at this moment.
fn now(view: &DeviceView) -> Option<String> {
    if !view.device.engine.is_gpu() {
        return None;
    }
    let (r, mut known) = (&view.facts.readings, Vec::new());
    let of = |now: Option<u32>, max: Option<u32>, unit: &str| match (now, max) {
        (Some(now), Some(max)) => Some(format!("{now} of {max} {unit}")),
        (Some(now), None) => Some(format!("{now} {unit}")),
        (None, Some(_) | None) => None,
    };
    known.extend(of(r.celsius.map(u32::from), r.celsius_max.map(u32::from), "degrees"));
    known.extend(of(r.watts, r.watts_max, "W"));
    known.extend(of(r.sm_mhz, r.sm_mhz_max, "MHz"));
    known.extend(of(r.memory_mhz, r.memory_mhz_max, "MHz memory"));
    known.extend(r.busy_percent.map(|percent| format!("{percent} % busy")));
    known.extend(r.memory_used.zip(r.memory).map(|(used, all)| format!("{used} of {all} in use")));
    known.extend(r.ecc.map(|on| if on { "ECC on".to_owned() } else { "ECC off".to_owned() }));
    known.extend(
        r.ecc_errors.filter(|errors| *errors > 0).map(|errors| format!("{errors} uncorrected errors")),
    );
    known.extend(view.facts.others.map(|others| format!("{others} other programs compute on it")));
    let name = match view.uuid.is_empty() {
        true => format!("device {}", view.device.index),
        false => format!("device {} ({})", view.device.index, view.uuid),
    };
    Some(match known.is_empty() {
        true => format!(
            "{name}: temperature, draw and other programs are not known, so rules about them have no effect"
        ),
        false => format!("{name}: {}", known.join(", ")),
    })
}

/// What is not in the table.
fn notes(view: &DevicesView) -> Vec<String> {
    let mut lines: Vec<String> =
        view.devices.iter().flat_map(|view| [of_sheet(view), now(view)]).flatten().collect();
    for missing in &view.not_offered {
        lines.push(format!("not offered: {}: {}", missing.what, missing.why));
        if !missing.hint.is_empty() {
            lines.push(format!("  hint: {}", missing.hint));
        }
    }
    if let Some(isolation) = &view.isolation {
        lines.push(format!("isolation: {isolation}"));
        lines.extend(isolation.hint().map(|hint| format!("  hint: {hint}")));
    }
    lines
}
