//! What challenges showed of each device's claim, and what a claim is worth after that.
//!
//! Own experience only, as in [`crate::reputation`]: a verdict rests on its challenger's clock. It is of one claim: whoever
//! claims more than was checked has not been checked. A failure counts for an hour, twice as long with each further one in a
//! row, and for no claim that was lowered since; then the claim is believed by half until it holds. So no hiccup is held
//! against anybody for ever, and nobody gets away with failing. Who takes no challenge fails none; but a claim that stays
//! unchecked although this node asked again and again is believed by half. That the device has given what time it has for
//! challenges is next to nothing to hold against it, nor that it is in use where its advert says so: many may challenge, and
//! many may want it. What beats its model's data sheet by far counts as not measured, challenged or not, and what no challenge
//! can tell is not believed. Verdicts and
//! refusals are rebuilt from the journal. Tests: at the end, and `tests/patrol.rs`.

use crate::view::{ClaimView, Standing};
use ion_protocol::{
    Millis, NodeId, UnixMillis,
    challenge::Shape,
    hardware::{Device, MeasuredPower},
    sheet,
};
use std::collections::BTreeMap;

/// Devices remembered; the one not asked for longest goes first.
const DEVICES_MAX: usize = 16_384;
/// Blemishes since the last verdict from which a claim counts as shy: three plain ones, or what slight ones add up to in a day.
const SHY: u32 = 3 * Blemish::Plain as u32;
/// How far above what was checked a claim may be, in percent: no two measurements are the same.
const SAME_CLAIM_PERCENT: u64 = 110;
/// How long a claim that held needs no other look, and how long it counts.
const HELD_FOR: Millis = Millis(12 * 3_600_000);
const HELD_MAX: Millis = Millis(7 * 24 * 3_600_000);
/// How long a first failure counts; twice as long with each that follows.
const FAILED_FOR: Millis = Millis(3_600_000);
/// After a first failure, a second look; then twice as long. Sooner would take the looks of others: a device gives two an hour.
const RETRY_AFTER: Millis = FAILED_FOR;
/// After a challenge that came to nothing; then twice as long.
const ASK_AGAIN_AFTER: Millis = Millis(60_000);
/// What doubles does so this often at most: three weeks of failure, a day to a further look, an hour to ask again.
const DOUBLINGS_MAX: u32 = 9;
const PAUSE_DOUBLINGS_MAX: u32 = 6;

/// What a challenge that came to nothing says of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blemish {
    /// It has good reasons, as far as anybody can tell.
    Slight = 1,
    /// It got out of it.
    Plain = 8,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    of: BTreeMap<(NodeId, u16), Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    verdict: Option<Verdict>,
    /// In a row.
    failures: u32,
    /// Since the last verdict.
    declined: u32,
    blemishes: u32,
    asked: UnixMillis,
    again: UnixMillis,
}

#[derive(Clone, Copy, Debug)]
struct Verdict {
    held: bool,
    claim_mops: u64,
    at: UnixMillis,
}

impl Seen {
    /// The verdict, where it is of this claim and not too old.
    fn counts(&self, claim_mops: u64, wall: UnixMillis) -> Option<Verdict> {
        self.verdict.filter(|verdict| {
            let (other, lasts) = match verdict.held {
                true => (above(claim_mops, verdict.claim_mops), HELD_MAX),
                false => (
                    above(verdict.claim_mops, claim_mops),
                    doubled(FAILED_FOR, self.failures.saturating_sub(1), DOUBLINGS_MAX),
                ),
            };
            !other && verdict.at.0.saturating_add(lasts.0) > wall.0
        })
    }

    fn standing(&self, claim_mops: u64, wall: UnixMillis) -> Standing {
        match self.counts(claim_mops, wall) {
            Some(Verdict { held: true, .. }) => Standing::Held,
            Some(Verdict { held: false, .. }) => Standing::Failed,
            None if self.failures > 0 || self.blemishes >= SHY => Standing::Shy,
            None => Standing::Unchecked,
        }
    }
}

fn above(claim: u64, checked: u64) -> bool {
    u128::from(claim) * 100 > u128::from(checked) * u128::from(SAME_CLAIM_PERCENT)
}

impl Claims {
    /// A challenge of a device that claimed so much ended with a verdict.
    pub(crate) fn judged(
        &mut self,
        (provider, device): (NodeId, u16),
        claim_mops: u64,
        held: bool,
        at: UnixMillis,
    ) {
        let seen = self.of.entry((provider, device)).or_default();
        seen.failures = if held { 0 } else { seen.failures.saturating_add(1) };
        let pause = match held {
            true => HELD_FOR,
            false => doubled(RETRY_AFTER, seen.failures.saturating_sub(1), PAUSE_DOUBLINGS_MAX),
        };
        seen.verdict = Some(Verdict { held, claim_mops, at });
        (seen.declined, seen.blemishes) = (0, 0);
        (seen.asked, seen.again) = (at, UnixMillis(at.0.saturating_add(pause.0)));
        self.bound();
    }

    /// It took none, or let go of it; `wait` is how long it says it will not.
    pub(crate) fn declined(
        &mut self,
        (provider, device): (NodeId, u16),
        blemish: Blemish,
        wait: Option<Millis>,
        at: UnixMillis,
    ) {
        let seen = self.of.entry((provider, device)).or_default();
        let pause = doubled(ASK_AGAIN_AFTER, seen.declined, PAUSE_DOUBLINGS_MAX);
        // A wait is its word: no longer than our own longest.
        let wait = wait.map_or(pause, |wait| wait.clamp(ASK_AGAIN_AFTER, longest(ASK_AGAIN_AFTER)));
        seen.declined = seen.declined.saturating_add(1);
        seen.blemishes = seen.blemishes.saturating_add(blemish as u32);
        (seen.asked, seen.again) = (at, UnixMillis(at.0.saturating_add(wait.0)));
        self.bound();
    }

    fn bound(&mut self) {
        if self.of.len() > DEVICES_MAX
            && let Some(oldest) =
                self.of.iter().min_by_key(|(id, seen)| (seen.asked, **id)).map(|(id, _)| *id)
        {
            self.of.remove(&oldest);
        }
    }

    /// What a device's claim is worth.
    pub(crate) fn standing(&self, provider: NodeId, device: &Device, wall: UnixMillis) -> Standing {
        let seen = self.of.get(&(provider, device.index));
        seen.map_or(Standing::Unchecked, |seen| seen.standing(device.power.product_mops, wall))
    }

    /// What of its claim is believed; `None` where it counts as not measured.
    pub(crate) fn believed(
        &self,
        provider: NodeId,
        device: &Device,
        wall: UnixMillis,
    ) -> Option<MeasuredPower> {
        let possible = sheet::beaten(device).is_none();
        let power = tellable(device);
        match self.standing(provider, device, wall) {
            Standing::Held | Standing::Unchecked => possible.then_some(power),
            Standing::Shy => possible.then(|| half(power)),
            Standing::Failed => None,
        }
    }

    /// Whether this node has asked, and when it may again: at once where what was checked is another claim.
    pub(crate) fn due(&self, provider: NodeId, device: &Device, wall: UnixMillis) -> (bool, UnixMillis) {
        let Some(seen) = self.of.get(&(provider, device.index)) else { return (false, UnixMillis(0)) };
        let other = seen.declined == 0 && seen.counts(device.power.product_mops, wall).is_none();
        (true, if other { UnixMillis(seen.asked.0.saturating_add(ASK_AGAIN_AFTER.0)) } else { seen.again })
    }

    /// For people.
    pub(crate) fn view(&self, provider: NodeId, device: &Device, wall: UnixMillis) -> ClaimView {
        let seen = self.of.get(&(provider, device.index)).copied().unwrap_or_default();
        let verdict = seen.counts(device.power.product_mops, wall);
        ClaimView {
            device: device.index,
            standing: seen.standing(device.power.product_mops, wall),
            checked: verdict.map(|verdict| verdict.at),
            declined: seen.declined,
            doubt: sheet::beaten(device).map_or(String::new(), |beaten| beaten.to_string()),
        }
    }
}

/// What a device claims, as far as a challenge can tell whether it is so.
pub(crate) fn tellable(device: &Device) -> MeasuredPower {
    let product_mops = device.power.product_mops.min(Shape::rate_held(device));
    MeasuredPower { product_mops, ..device.power }
}

fn half(power: MeasuredPower) -> MeasuredPower {
    MeasuredPower {
        f32_mflops: power.f32_mflops / 2,
        f16_mflops: power.f16_mflops / 2,
        memory_mbps: power.memory_mbps / 2,
        product_mops: power.product_mops / 2,
        ..power
    }
}

fn doubled(first: Millis, times: u32, times_max: u32) -> Millis {
    Millis(first.0 << times.min(times_max))
}

fn longest(first: Millis) -> Millis {
    doubled(first, PAUSE_DOUBLINGS_MAX, PAUSE_DOUBLINGS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::{
        Bytes,
        hardware::{ComputeCapability, Engine},
    };

    const WHO: NodeId = NodeId([1; 32]);
    const HOUR: u64 = 3_600_000;

    fn device(product_mops: u64) -> Device {
        Device {
            index: 0,
            model: String::new(),
            engine: Engine::Cuda,
            capability: ComputeCapability { major: 9, minor: 0 },
            memory: Bytes(1 << 30),
            nvrtc: false,
            power: MeasuredPower { product_mops, ..MeasuredPower::default() },
        }
    }

    fn standing(claims: &Claims, claim: u64, at: u64) -> Standing {
        claims.standing(WHO, &device(claim), UnixMillis(at))
    }

    #[test]
    fn a_verdict_is_of_the_claim_that_was_checked() {
        let mut claims = Claims::default();
        claims.judged((WHO, 0), 1_000, true, UnixMillis(0));
        assert_eq!(standing(&claims, 1_000, 1), Standing::Held);
        assert_eq!(standing(&claims, 1_100, 1), Standing::Held, "measured once more");
        assert_eq!(standing(&claims, 1_101, 1), Standing::Unchecked, "it claims more than it showed");
        assert_eq!(standing(&claims, 10, 1), Standing::Held);
        assert_eq!(claims.due(WHO, &device(2_000), UnixMillis(1)), (true, UnixMillis(ASK_AGAIN_AFTER.0)));

        claims.judged((WHO, 0), 1_000, false, UnixMillis(0));
        assert_eq!(standing(&claims, 1_000, 1), Standing::Failed);
        assert_eq!(standing(&claims, 5_000, 1), Standing::Failed, "more is no better");
        assert_eq!(standing(&claims, 900, 1), Standing::Shy, "it claims less now, and has yet to show it");
        let other = Device { index: 1, ..device(1_000) };
        assert_eq!(claims.standing(WHO, &other, UnixMillis(1)), Standing::Unchecked);
    }

    #[test]
    fn a_failure_fades_more_slowly_each_time_and_a_pass_ends_it() {
        let mut claims = Claims::default();
        for hours in [1, 2, 4] {
            claims.judged((WHO, 0), 1_000, false, UnixMillis(0));
            assert_eq!(standing(&claims, 1_000, hours * HOUR - 1), Standing::Failed);
            assert_eq!(standing(&claims, 1_000, hours * HOUR), Standing::Shy);
        }
        claims.judged((WHO, 0), 1_000, true, UnixMillis(0));
        assert_eq!(standing(&claims, 1_000, HELD_MAX.0 - 1), Standing::Held);
        assert_eq!(standing(&claims, 1_000, HELD_MAX.0), Standing::Unchecked);
        claims.judged((WHO, 0), 1_000, false, UnixMillis(0));
        assert_eq!(standing(&claims, 1_000, HOUR), Standing::Shy, "the first again");
        for _ in 0..10_000 {
            claims.judged((WHO, 0), 1_000, false, UnixMillis(0));
        }
        assert_eq!(standing(&claims, 1_000, HOUR << DOUBLINGS_MAX), Standing::Shy);
    }

    #[test]
    fn who_never_takes_a_challenge_is_believed_by_half() {
        let mut claims = Claims::default();
        for _ in 0..2 {
            claims.declined((WHO, 0), Blemish::Plain, None, UnixMillis(0));
            assert_eq!(standing(&claims, 1_000, 1), Standing::Unchecked);
        }
        claims.declined((WHO, 0), Blemish::Plain, Some(Millis(u64::MAX)), UnixMillis(0));
        assert_eq!(standing(&claims, 1_000, 1), Standing::Shy);
        let due = claims.due(WHO, &device(1_000), UnixMillis(1)).1;
        assert_eq!(due, UnixMillis(longest(ASK_AGAIN_AFTER).0), "its word is not taken for ever");
        let power = claims.believed(WHO, &device(1_000), UnixMillis(1));
        assert_eq!(power.map(|power| power.product_mops), Some(500));
        claims.judged((WHO, 0), 1_000, true, UnixMillis(0));
        assert_eq!(standing(&claims, 1_000, 1), Standing::Held);
    }

    #[test]
    fn a_device_without_time_for_challenges_is_left_its_name_for_a_day() {
        let mut claims = Claims::default();
        let hours = (1..).find(|hour| {
            claims.declined((WHO, 0), Blemish::Slight, Some(Millis(HOUR)), UnixMillis(hour * HOUR));
            standing(&claims, 1_000, hour * HOUR) == Standing::Shy
        });
        assert_eq!(hours, Some(24));
    }

    #[test]
    fn memory_is_bounded_and_the_longest_unasked_goes() {
        let mut claims = Claims::default();
        for n in 0..=DEVICES_MAX as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            claims.judged((NodeId(id), 0), 1_000, true, UnixMillis(n));
        }
        assert_eq!(claims.of.len(), DEVICES_MAX);
        assert!(!claims.of.contains_key(&(NodeId([0; 32]), 0)));
    }
}
