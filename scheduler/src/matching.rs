//! Who may run a job, in which order, and who may not and why: the same code for a real choice, for `why` and for a
//! dry run.

use crate::{
    claims::{Claims, tellable},
    config::Config,
    directory::{Directory, Offer},
    event::{RejectReason, Rejection},
    outbox::rendezvous,
    reputation::Reputation,
    rooms::{Room, Rooms},
    score::score,
    view::{CandidateView, ClaimView, OfferView, ScoreTerms, Standing},
};
use ion_protocol::{
    Bytes, DocHash, JobId, Millis, NanoIo, NodeId, Now,
    advert::Advert,
    hardware::Device,
    job::{JobSpec, Unmet},
    limits,
};
use std::{cmp::Reverse, collections::BTreeMap};

/// Totals within this share of the best count as equal, so that requesters with one view spread.
const TIE_SHARE: u64 = 50;

/// What this node knows of others.
#[derive(Debug, Default)]
pub(crate) struct Market {
    pub(crate) directory: Directory,
    pub(crate) reputation: Reputation,
    pub(crate) claims: Claims,
    pub(crate) rooms: Rooms,
}

/// How long a provider is left alone by a job, and how often it had to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) until: Millis,
    pub(crate) times: u32,
    /// Only for want of room: a newer advert with a free device shortens it, and a job of ours that is done there.
    pub(crate) busy: bool,
}

impl Rest {
    /// Of a provider that this job never goes to again.
    pub(crate) const FOR_EVER: Rest = Rest { until: Millis(u64::MAX), times: 0, busy: false };
}

/// Rests of one job.
pub(crate) type Rests = BTreeMap<NodeId, Rest>;

/// A device that fits.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) offer: &'a Offer,
    pub(crate) device: &'a Device,
    pub(crate) terms: ScoreTerms,
}

/// Everybody, in order or with a reason.
#[derive(Debug, Default)]
pub(crate) struct Ranking<'a> {
    /// Best first.
    pub(crate) candidates: Vec<Candidate<'a>>,
    /// By node id.
    pub(crate) rejections: Vec<Rejection>,
}

impl Market {
    /// How it stands with the room for one more job of ours at a provider. Until it says otherwise, as much is taken for
    /// granted as one like this node would have: its devices, and what one requester may have waiting.
    pub(crate) fn room(&self, config: &Config, advert: &Advert, now: Now) -> Room {
        self.rooms.of(&advert.node, usual_room(config, advert), now.mono)
    }

    /// What is taken for granted of a provider of the directory.
    pub(crate) fn usual_room(&self, config: &Config, provider: &NodeId) -> Option<usize> {
        self.directory.offer(provider).map(|offer| usual_room(config, &offer.advert))
    }

    /// Whether a job may be ordered from this provider now.
    pub(crate) fn may_go(
        &self,
        config: &Config,
        spec: &JobSpec,
        rests: &Rests,
        provider: &NodeId,
        now: Now,
    ) -> bool {
        self.directory.offer(provider).is_some_and(|offer| {
            self.room(config, &offer.advert, now) == Room::There
                && self.judge(config, spec, offer, Some(rests), now).is_ok()
        })
    }

    /// Ranks the directory for `spec`. At most one device a provider: its cheapest that fits. Without `rests`, as for a job
    /// that is not there yet: whom it would go to, if need be after waiting for room.
    pub(crate) fn rank(
        &self,
        config: &Config,
        job: &JobId,
        spec: &JobSpec,
        rests: Option<&Rests>,
        now: Now,
    ) -> Ranking<'_> {
        let mut ranking = Ranking::default();
        for offer in self.directory.offers() {
            match self.judge(config, spec, offer, rests, now) {
                Ok(candidate) => ranking.candidates.push(candidate),
                Err(reason) => {
                    ranking.rejections.push(Rejection { provider: offer.advert.node, reason });
                }
            }
        }
        let best = ranking.candidates.iter().map(|c| c.terms.total).min().unwrap_or_default();
        let tie = NanoIo(best.0.saturating_add(best.0 / TIE_SHARE));
        ranking.candidates.sort_by_cached_key(|c| -> (NanoIo, Reverse<DocHash>) {
            let equal = c.terms.total <= tie;
            (if equal { best } else { c.terms.total }, Reverse(rendezvous(job, &c.offer.advert.node)))
        });
        ranking
    }

    /// The directory for people.
    pub(crate) fn offers(&self, now: Now) -> Vec<OfferView> {
        let view = |offer: &Offer| {
            let advert = offer.advert.body();
            let (peer, seen) = (self.directory.peer(&advert.node), self.reputation.of(&advert.node));
            let claims: Vec<ClaimView> =
                advert.devices.iter().map(|d| self.claims.view(advert.node, d, now.wall)).collect();
            let any = |standing| claims.iter().any(|claim| claim.standing == standing);
            OfferView {
                provider: advert.node,
                addresses: advert.addresses.clone(),
                region: advert.region.clone(),
                devices: advert.devices.clone(),
                price_per_second: advert.price_per_second,
                free: advert.free,
                queued: advert.queued,
                run_max: advert.run_max,
                blob_bytes_max: advert.blob_bytes_max,
                connected: peer.connected,
                round_trip: peer.round_trip,
                age: Millis(now.wall.0.saturating_sub(advert.issued.0)),
                expires_in: Millis(advert.expires.0.saturating_sub(now.wall.0)),
                reliability_ppm: self.reputation.reliability_ppm(&advert.node) as u32,
                done: seen.done,
                failed: seen.failed,
                lost: seen.lost,
                falsified: seen.falsified,
                claim_held: match (any(Standing::Failed), any(Standing::Held)) {
                    (true, _) => Some(false),
                    (false, true) => Some(true),
                    (false, false) => None,
                },
                claims,
            }
        };
        self.directory.offers().map(view).collect()
    }

    fn judge<'a>(
        &self,
        config: &Config,
        spec: &JobSpec,
        offer: &'a Offer,
        rests: Option<&Rests>,
        now: Now,
    ) -> Result<Candidate<'a>, RejectReason> {
        let advert = offer.advert.body();
        let peer = self.directory.peer(&advert.node);
        if advert.expires <= now.wall {
            return Err(RejectReason::Expired);
        }
        if advert.devices.is_empty() {
            return Err(RejectReason::NoDevices);
        }
        if let Some(rests) = rests {
            self.check_rest(config, advert, rests, now)?;
        }
        let believed = |device: &Device| self.claims.believed(advert.node, device, now.wall);
        let power = |device: &Device| believed(device).unwrap_or_default();
        let unmet = |device: &Device| match believed(device).map(|_| tellable(device)).unwrap_or_default() {
            power if power == device.power => spec.first_unmet(device),
            power => spec.first_unmet(&Device { power, ..device.clone() }),
        };
        let fitting: Vec<&Device> = advert.devices.iter().filter(|device| unmet(device).is_none()).collect();
        if fitting.is_empty() {
            // The device that came furthest says most.
            let unmet = advert.devices.iter().filter_map(unmet).max();
            return Err(unmet.map_or(RejectReason::NoDevices, |unmet| RejectReason::Unmet { unmet }));
        }
        if !advert.region.starts_with(&spec.needs.region) {
            return Err(RejectReason::Region { region: advert.region.clone() });
        }
        check_latency(spec.needs.latency_max, peer.round_trip)?;
        if spec.limits.run > advert.run_max {
            return Err(RejectReason::RunTime { limit: advert.run_max });
        }
        if job_bytes(spec) > advert.blob_bytes_max {
            return Err(RejectReason::Room);
        }
        if !buys_a_millisecond(spec.limits.price, advert.price_per_second) {
            return Err(RejectReason::Price { price_per_second: advert.price_per_second });
        }
        let reliability = self.reputation.reliability_ppm(&advert.node);
        let scored = |device| score(config, spec, advert, power(device), offer.ahead(), peer, reliability);
        let cheapest = fitting.into_iter().map(|device| (scored(device), device));
        match cheapest.min_by_key(|(terms, device)| (terms.total, device.index)) {
            Some((terms, device)) => Ok(Candidate { offer, device, terms }),
            None => Err(RejectReason::NoDevices),
        }
    }

    /// Whether this job may ask the provider now.
    fn check_rest(
        &self,
        config: &Config,
        advert: &Advert,
        rests: &Rests,
        now: Now,
    ) -> Result<(), RejectReason> {
        if let Some(rest) = rests.get(&advert.node).filter(|rest| rest.until > now.mono) {
            let wait = rest.until.saturating_sub(now.mono);
            return Err(match rest.busy {
                _ if *rest == Rest::FOR_EVER => RejectReason::FalseResult,
                true => RejectReason::Full { wait },
                false => RejectReason::Resting { wait },
            });
        }
        match self.room(config, advert, now) {
            Room::Full { until } => Err(RejectReason::Full { wait: until.saturating_sub(now.mono) }),
            Room::There | Room::Asked => Ok(()),
        }
    }
}

fn usual_room(config: &Config, advert: &Advert) -> usize {
    advert.devices.len().saturating_add((config.queue_max / 2).max(1))
}

/// Whether a price limit buys anything: a thousandth of the price of a second, rounded down. Both sides ask it.
pub(crate) fn buys_a_millisecond(limit: NanoIo, price_per_second: NanoIo) -> bool {
    limit >= NanoIo(price_per_second.0 / 1_000)
}

fn check_latency(limit: Millis, found: Option<Millis>) -> Result<(), RejectReason> {
    match found {
        _ if limit == Millis::ZERO => Ok(()),
        None => Err(RejectReason::LatencyUnknown),
        Some(found) if found > limit => Err(RejectReason::Latency { found, limit }),
        Some(_) => Ok(()),
    }
}

/// Inputs, modules and outputs together: what a provider must have room for.
pub(crate) fn job_bytes(spec: &JobSpec) -> Bytes {
    let inputs = spec.program.blobs().into_iter().map(|(_, bytes)| bytes);
    let outputs = spec.program.buffers.iter().filter(|b| b.output).map(|b| b.bytes);
    inputs.chain(outputs).fold(Bytes::ZERO, Bytes::saturating_add)
}

impl Ranking<'_> {
    /// For people.
    pub(crate) fn views(&self) -> Vec<CandidateView> {
        let view = |c: &Candidate<'_>| CandidateView {
            provider: c.offer.advert.node,
            device: c.device.index,
            model: c.device.model.clone(),
            engine: c.device.engine,
            price_per_second: c.offer.advert.price_per_second,
            terms: c.terms,
        };
        self.candidates.iter().map(view).collect()
    }

    /// What would make the outcome another one, in sentences.
    pub(crate) fn would_change(&self, spec: &JobSpec) -> Vec<String> {
        let mut said = Vec::new();
        if let [first, second, ..] = self.candidates.as_slice() {
            let gap = second.terms.total.saturating_sub(first.terms.total);
            let per_second = u128::from(gap.0) * 1_000 / u128::from(first.terms.run.0.max(1));
            let price = u128::from(first.offer.advert.price_per_second.0) + per_second;
            said.push(format!(
                "{} would be chosen if {} asked more than about {} a second",
                second.offer.advert.node.short(),
                first.offer.advert.node.short(),
                NanoIo(u64::try_from(price).unwrap_or(u64::MAX)),
            ));
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for rejection in &self.rejections {
            *counts.entry(remedy(&rejection.reason, spec)).or_default() += 1;
        }
        said.extend(counts.into_iter().map(|(remedy, n)| format!("{remedy} ({n} providers)")));
        if self.candidates.is_empty() && self.rejections.is_empty() {
            said.push("no provider is known yet; discovery is under way".to_owned());
        }
        said
    }
}

fn remedy(reason: &RejectReason, spec: &JobSpec) -> String {
    match reason {
        RejectReason::Expired => "a newer advert from a provider whose last one expired".to_owned(),
        RejectReason::Resting { .. } => {
            "patience: a provider that failed or refused rests a while".to_owned()
        }
        RejectReason::Full { .. } => "patience: a provider has no room for more jobs of ours".to_owned(),
        RejectReason::Unmet { unmet: Unmet::Nvrtc } => {
            "PTX in place of CUDA C (`nvcc -ptx -arch=compute_75`), which no NVRTC has to compile".to_owned()
        }
        RejectReason::Unmet { unmet } => format!("another demand on the device's {unmet}"),
        RejectReason::Region { .. } => format!("a wider region than \"{}\"", spec.needs.region),
        RejectReason::Latency { .. } => {
            format!("a higher bound on the round trip than {}", spec.needs.latency_max)
        }
        RejectReason::LatencyUnknown => "a measured round trip, which takes a connection".to_owned(),
        RejectReason::RunTime { limit } => format!("a run time limit of at most {limit}"),
        RejectReason::Price { .. } => format!("a higher price limit than {}", spec.limits.price),
        RejectReason::Room => format!("less data than {}", job_bytes(spec)),
        RejectReason::FalseResult => "another provider: this one's result was false".to_owned(),
        RejectReason::NoDevices => "a device at a provider that offers none now".to_owned(),
    }
}

/// The device an order names: its position in the advert.
pub(crate) fn position(offer: &Offer, device: &Device) -> u16 {
    let position = offer.advert.devices.iter().position(|d| std::ptr::eq(d, device)).unwrap_or(0);
    position.min(limits::DEVICES_MAX) as u16
}
