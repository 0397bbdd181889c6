//! What a job is expected to cost at a device: money, and time at what the requester says time is worth.
//!
//! One unit (nano-IO), so weights mean something and explanations read as sums. Integers only: no float orders anything.
//! A first honest score: the run time is a guess from the job's limit and the device's measured rates until receipts
//! teach better; a late quote does not exist yet. Tests: `tests/requester.rs`.

use crate::{config::Config, directory::Peer, reputation::MILLION, view::ScoreTerms};
use ion_protocol::{Bytes, Millis, NanoIo, Nanos, advert::Advert, hardware::MeasuredPower, job::JobSpec};

/// Share of its run limit a job is expected to use on the reference device: people ask for a generous limit.
const RUN_LIMIT_SHARE: u64 = 8;
/// The reference device: 10 TFLOP/s and 500 GB/s, a middling card.
const REFERENCE_F32_MFLOPS: u64 = 10_000_000;
const REFERENCE_MEMORY_MBPS: u64 = 500_000;
/// What a path between strangers carries until it is measured: 100 Mbit/s.
const BYTES_PER_MS: u64 = 12_500;
/// A round trip nobody has measured yet.
const ROUND_TRIP_UNKNOWN: Millis = Millis(100);
/// Order and delivery.
const ROUND_TRIPS: u64 = 2;

/// The expected cost of `spec` on a device of `advert` with so much power.
pub(crate) fn score(
    config: &Config,
    spec: &JobSpec,
    advert: &Advert,
    power: MeasuredPower,
    ahead: u64,
    peer: Peer,
    reliability_ppm: u64,
) -> ScoreTerms {
    let at_value = |time: Millis| value(config.value_of_time_per_second, time);
    let run = expected_run(spec, power);
    let wait = expected_wait(advert, ahead, run);
    let bytes = spec.program.blobs().iter().fold(Bytes::ZERO, |sum, (_, b)| sum.saturating_add(*b));
    let transfer = Millis(bytes.0 / BYTES_PER_MS);
    let round_trip = peer.round_trip.unwrap_or(ROUND_TRIP_UNKNOWN);
    let latency = Millis(round_trip.0.saturating_mul(ROUND_TRIPS));
    let money = value(advert.price_per_second, run).min(spec.limits.price);
    // A failure loses half the run on average, and the silence until it is noticed; a failed run is not billed.
    let loss = at_value(Millis(run.0 / 2).saturating_add(config.silence).saturating_add(transfer));
    let failure = scaled(loss, MILLION - reliability_ppm.min(MILLION), reliability_ppm.max(1));
    let mut terms = ScoreTerms {
        total: NanoIo::ZERO,
        money,
        running: at_value(run),
        queue: at_value(wait),
        transfer: at_value(transfer),
        latency: at_value(latency),
        failure,
        run,
        wait,
    };
    terms.total = [terms.money, terms.running, terms.queue, terms.transfer, terms.latency, terms.failure]
        .into_iter()
        .fold(NanoIo::ZERO, NanoIo::saturating_add);
    terms
}

/// The reference run stretched by what the device was measured at, half by arithmetic and half by memory; an unmeasured
/// device is taken to need the whole limit.
fn expected_run(spec: &JobSpec, power: MeasuredPower) -> Millis {
    let reference = u128::from(spec.limits.run.0 / RUN_LIMIT_SHARE).max(1);
    let stretch = |reference_rate: u64, rate: u64| {
        (rate > 0).then(|| reference * u128::from(reference_rate) / u128::from(rate))
    };
    let arithmetic = stretch(REFERENCE_F32_MFLOPS, power.f32_believed());
    let memory = stretch(REFERENCE_MEMORY_MBPS, power.memory_mbps);
    let run = match (arithmetic, memory) {
        (Some(a), Some(m)) => (a + m) / 2,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => u128::from(spec.limits.run.0),
    };
    Millis(run.clamp(1, u128::from(spec.limits.run.0.max(1))) as u64)
}

/// Jobs ahead of this one, taken to be like it, shared by the node's devices.
fn expected_wait(advert: &Advert, ahead: u64, run: Millis) -> Millis {
    let devices = advert.devices.len().max(1) as u64;
    let waiting = ahead.saturating_add(1).saturating_sub(devices);
    Millis(run.0.saturating_mul(waiting) / devices)
}

fn value(per_second: NanoIo, time: Millis) -> NanoIo {
    per_second.price_of(Nanos(time.0.saturating_mul(1_000_000)))
}

fn scaled(amount: NanoIo, by: u64, of: u64) -> NanoIo {
    NanoIo(u64::try_from(u128::from(amount.0) * u128::from(by) / u128::from(of)).unwrap_or(u64::MAX))
}
