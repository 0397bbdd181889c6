//! Whether an order is taken: every reason not to, in the order they are checked.

use super::forgotten::repeatable;
use crate::{
    config::Config,
    matching::{buys_a_millisecond, job_bytes},
};
use ion_protocol::{
    Millis, NanoIo, NodeId, Now,
    deal::{Order, RefusalReason},
    hardware::{Device, Withheld},
    limits,
};

/// What an order is held against.
pub(super) struct Room<'a> {
    pub(super) config: &'a Config,
    pub(super) me: NodeId,
    pub(super) draining: bool,
    /// As in the own advert, in its order.
    pub(super) devices: &'a [Device],
    /// Why devices are not among these, if some are withheld.
    pub(super) withheld: Option<Withheld>,
    /// Whether a price was asked in an advert that still holds.
    pub(super) asked: bool,
    /// Accepted jobs that no device is free for, as far as they are before this one.
    pub(super) queued: usize,
    /// Of these, how many are the asker's.
    pub(super) queued_by_asker: usize,
    /// Devices nobody uses or waits for.
    pub(super) idle: usize,
    /// Whether too many of the asker's leases came to nothing of late.
    pub(super) drops: bool,
    /// Whether the order may be one that was taken before and is forgotten.
    pub(super) forgotten: bool,
    /// Leases without an outcome.
    pub(super) unfinished: usize,
}

/// Results nobody fetched pile up to this many; then no new orders.
pub(super) const LEASES_LIVE_MAX: usize = 4_096;

/// The ordered device, or why not.
pub(super) fn admit(order: &Order, room: &Room<'_>, now: Now) -> Result<Device, RefusalReason> {
    let config = room.config;
    if order.provider != room.me {
        return Err(RefusalReason::NotForMe);
    }
    let latest = now.wall.0.saturating_add(limits::ORDER_LIFE_MS_MAX + limits::CLOCK_SKEW_MS_MAX);
    if !repeatable(order.expires, now.wall) || order.expires.0 > latest || room.forgotten {
        return Err(RefusalReason::Expired);
    }
    if !config.provide {
        return Err(RefusalReason::NotAProvider);
    }
    if room.draining {
        return Err(RefusalReason::Draining);
    }
    if order.price_per_second != config.price_per_second && !room.asked {
        return Err(RefusalReason::Price { price_per_second: config.price_per_second });
    }
    let no_device = || match room.withheld {
        Some(why) => RefusalReason::Withheld { why },
        None => RefusalReason::NoSuchDevice { device: order.device },
    };
    let device = room.devices.get(usize::from(order.device)).ok_or_else(no_device)?;
    let spec = &order.spec;
    spec.check().map_err(|error| RefusalReason::Spec { message: bounded(&error.to_string()) })?;
    if let Some(unmet) = spec.first_unmet(device) {
        return Err(RefusalReason::Unmet { unmet });
    }
    if !buys_a_millisecond(spec.limits.price, order.price_per_second) {
        return Err(RefusalReason::Price { price_per_second: order.price_per_second });
    }
    check_size(config, spec.limits.run, order)?;
    if room.unfinished >= LEASES_LIVE_MAX || room.drops {
        return Err(RefusalReason::Overloaded);
    }
    // One requester alone does not fill the queue.
    let full = room.queued >= config.queue_max || room.queued_by_asker >= (config.queue_max / 2).max(1);
    if room.idle == 0 && full {
        return Err(RefusalReason::Busy { queued: u16::try_from(room.queued).unwrap_or(u16::MAX) });
    }
    Ok(device.clone())
}

fn check_size(config: &Config, asked: Millis, order: &Order) -> Result<(), RefusalReason> {
    if asked > config.run_max {
        return Err(RefusalReason::RunTime { asked, limit: config.run_max });
    }
    let bytes = job_bytes(&order.spec);
    if bytes > config.blob_bytes_max {
        return Err(RefusalReason::Room { asked: bytes, limit: config.blob_bytes_max });
    }
    let inline = order.inline.iter().fold(0usize, |sum, blob| sum.saturating_add(blob.bytes.len()));
    if inline > limits::INLINE_BYTES_MAX {
        return Err(RefusalReason::Spec { message: format!("{inline} bytes of inline inputs") });
    }
    Ok(())
}

/// Whether `other` may run what was ordered on `device`: the same kind in all a job can ask for.
pub(super) fn alike(device: &Device, other: &Device) -> bool {
    device.model == other.model
        && device.engine == other.engine
        && device.capability == other.capability
        && device.memory <= other.memory
}

/// What is owed for `time` under the order's limit.
pub(super) fn owed(price_per_second: NanoIo, time: ion_protocol::Nanos, limit: NanoIo) -> NanoIo {
    price_per_second.price_of(time).min(limit)
}

pub(super) fn bounded(text: &str) -> String {
    text.chars().take(limits::TEXT_BYTES_MAX / 4).collect()
}
