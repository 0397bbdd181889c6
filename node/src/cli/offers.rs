//! `ion offers`

use super::{CliError, args::Common, block_on, devices::compiles, output, start};
use crate::control::{
    ControlError,
    api::{ClaimView, ControlRequest, ControlResponse, Standing},
};
use ion_protocol::{hardware::Device, sheet::Sheet, units::measured_rate};

/// The offers the running node knows: one row a device.
pub fn offers(common: &Common) -> Result<(), CliError> {
    let offers = block_on(async {
        match start::connect(common).await?.ask(ControlRequest::Offers).await? {
            ControlResponse::Offers(offers) => Ok(offers),
            other => Err(ControlError::unexpected("offers", &other).into()),
        }
    })?;
    if common.json {
        return output::json(&offers);
    }
    if offers.is_empty() {
        return output::line("no offers are known yet; `ion status` says whether the node has peers");
    }
    let headings = [
        "PROVIDER", "DEVICE", "MEMORY", "GFLOPS", "CUDA C", "A SECOND", "FREE", "REGION", "RTT", "DONE",
        "CLAIM",
    ];
    let mut table = output::Table::new(&headings);
    for offer in &offers {
        for device in &offer.devices {
            table.row([
                offer.provider.short(),
                device.label(),
                device.memory.to_string(),
                of_sheet(device),
                compiles(device).to_owned(),
                offer.price_per_second.to_string(),
                match offer.queued {
                    0 => offer.free.to_string(),
                    queued => format!("{}, {queued} wait", offer.free),
                },
                if offer.region.is_empty() { "-".to_owned() } else { offer.region.clone() },
                offer.round_trip.map_or("-".to_owned(), |t| t.to_string()),
                format!("{} of {}", offer.done, offer.done + offer.failed + offer.lost),
                offer.claims.iter().find(|claim| claim.device == device.index).map_or("-".to_owned(), claim),
            ]);
        }
    }
    table.print()?;
    for offer in &offers {
        for claim in offer.claims.iter().filter(|claim| !claim.doubt.is_empty()) {
            let line =
                format!("doubtful: device {} of {}: {}", claim.device, offer.provider.short(), claim.doubt);
            output::line(&output::printable(&line))?;
        }
    }
    Ok(())
}

/// Its rate, and what that is of the maker's figure.
fn of_sheet(device: &Device) -> String {
    let rate = measured_rate(device.power.f32_mflops);
    let percent = Sheet::of(&device.model).and_then(|sheet| sheet.ratios(&device.power).f32_percent);
    percent.map_or(rate.clone(), |percent| format!("{rate} ({percent} %)"))
}

/// What challenges showed of a device's claim, and when; first what cannot be true.
fn claim(claim: &ClaimView) -> String {
    if !claim.doubt.is_empty() {
        return "doubtful".to_owned();
    }
    let word = match claim.standing {
        Standing::Held => "held",
        Standing::Failed => "failed",
        Standing::Unchecked => "unchecked",
        Standing::Shy => "shy",
    };
    match claim.checked {
        Some(at) => format!("{word} {} ago", output::age(at)),
        None if claim.declined > 0 => format!("{word}, asked {} times", claim.declined),
        None => word.to_owned(),
    }
}
