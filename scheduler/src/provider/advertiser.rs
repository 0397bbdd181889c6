//! The own advert: when it is signed, and when it is said.

use crate::{deadline::Topic, effect::Effect, outbox::Outbox};
use ion_protocol::{Millis, NanoIo, Now, UnixMillis, Verified, advert::Advert, hardware::Device, limits};
use std::collections::VecDeque;

/// A changed advert is said at most this often; meanwhile refusals carry the newest.
const CHANGE_EVERY: Millis = Millis(2_000);
/// A newer advert is signed for refusals at most this often.
const SIGN_EVERY: Millis = Millis(250);
/// Prices asked of late and remembered until their adverts expire.
const ASKED_MAX: usize = 256;

/// What is on offer now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offering {
    pub(super) devices: Vec<Device>,
    pub(super) free: u16,
    pub(super) queued: u16,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Advertiser {
    addresses: Vec<String>,
    seq: u64,
    newest: Option<Verified<Advert>>,
    signed_at: Millis,
    published: Option<(Verified<Advert>, Millis)>,
    regular_at: Millis,
    asked: VecDeque<(NanoIo, UnixMillis)>,
}

impl Advertiser {
    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(super) fn reachable_at(&mut self, addresses: Vec<String>) {
        let fits = |address: &String| address.len() <= limits::ADDRESS_BYTES_MAX;
        self.addresses = addresses.into_iter().filter(fits).take(limits::ADDRESSES_MAX).collect();
    }

    /// An advert of ours came back with a number we do not remember: go on above it. Where the clock does not take us
    /// there, it went back, and what we said since is old to all others: it is said again.
    pub(super) fn seen(&mut self, seq: u64, wall: UnixMillis) {
        if let Some((_, at)) = self.published.as_ref().filter(|_| seq > self.seq.max(wall.0)) {
            self.regular_at = self.regular_at.min(at.saturating_add(CHANGE_EVERY));
        }
        self.seq = self.seq.max(seq);
    }

    /// Whether this price was asked in an advert that still holds.
    pub(super) fn has_asked(&self, price: NanoIo, wall: UnixMillis) -> bool {
        self.asked.iter().any(|(asked, expires)| {
            *asked == price && expires.0.saturating_add(limits::CLOCK_SKEW_MS_MAX) > wall.0
        })
    }

    /// The newest advert, as long as it holds.
    pub(super) fn newest(&self, wall: UnixMillis) -> Option<&Verified<Advert>> {
        self.newest.as_ref().filter(|advert| advert.expires > wall)
    }

    /// For a refusal: what holds now, signed anew where it changed.
    pub(super) fn current(
        &mut self,
        offering: &Offering,
        now: Now,
        out: &mut Outbox,
    ) -> Option<Verified<Advert>> {
        let stale = self.newest(now.wall).is_none_or(|advert| self.differs(advert, offering));
        let rested = now.mono >= self.signed_at.saturating_add(SIGN_EVERY);
        if self.published.is_some() && stale && rested {
            self.sign(offering, now, out);
        }
        self.newest(now.wall).cloned()
    }

    /// Says the advert when it is time to; called at the end of every turn.
    pub(super) fn advertise(&mut self, offering: &Offering, now: Now, out: &mut Outbox) {
        let nothing_to_say = offering.devices.is_empty() && self.published.is_none();
        if !out.config.provide || self.addresses.is_empty() || nothing_to_say {
            return;
        }
        let (changed, withdrawn, change_at) = match &self.published {
            None => (true, true, Millis::ZERO),
            Some((advert, at)) => (
                self.differs(advert, offering),
                offering.devices.len() < advert.devices.len(),
                at.saturating_add(CHANGE_EVERY),
            ),
        };
        if withdrawn || now.mono >= self.regular_at || (changed && now.mono >= change_at) {
            let advert = self.sign(offering, now, out);
            self.published = Some((advert.clone(), now.mono));
            let every = out.config.advert_every.min(Millis(out.config.advert_life.0 / 2));
            self.regular_at = now.mono.saturating_add(out.jittered(every));
            out.push(Effect::Publish(advert));
            out.deadlines.set(Topic::Advert, Some(self.regular_at));
        } else {
            let at = if changed { change_at.min(self.regular_at) } else { self.regular_at };
            out.deadlines.set(Topic::Advert, Some(at));
        }
    }

    fn differs(&self, advert: &Advert, offering: &Offering) -> bool {
        advert.devices != offering.devices
            || (advert.free, advert.queued) != (offering.free, offering.queued)
            || advert.addresses != self.addresses
    }

    fn sign(&mut self, offering: &Offering, now: Now, out: &mut Outbox) -> Verified<Advert> {
        self.seq = self.seq.saturating_add(1).max(now.wall.0);
        let life = out.config.advert_life.0.clamp(1, limits::ADVERT_LIFE_MS_MAX);
        let advert = out.sign(Advert {
            version: limits::VERSION,
            node: out.me,
            seq: self.seq,
            issued: now.wall,
            expires: UnixMillis(now.wall.0.saturating_add(life)),
            addresses: self.addresses.clone(),
            region: out.config.region.chars().take(limits::NAME_BYTES_MAX / 4).collect(),
            devices: offering.devices.clone(),
            free: offering.free,
            queued: offering.queued,
            price_per_second: out.config.price_per_second,
            run_max: out.config.run_max,
            blob_bytes_max: out.config.blob_bytes_max,
        });
        self.asked.retain(|(price, expires)| *price != advert.price_per_second && *expires > now.wall);
        if self.asked.len() < ASKED_MAX {
            self.asked.push_back((advert.price_per_second, advert.expires));
        }
        (self.newest, self.signed_at) = (Some(advert.clone()), now.mono);
        advert
    }
}
