//! Challenges nobody asked for: a node that runs on checks, one round at a time, the claims of those it may give work to.
//!
//! *When*: gaps are drawn at random about [`Config::patrol_every`], so that nobody can tell when the next comes; a round is
//! left out while own jobs are under way, while the node drains, and beyond [`TARGETS_PER_HOUR`]. *Whom*: a device that is
//! due by [`crate::claims`], drawn by weight: those nobody has looked at first, then the failed and the shy, last those that
//! held long ago. Devices that are alike and due are challenged at the same moment, those of one host first: one device sold
//! under several names has to do them all at once. Processors of one host are not: honest neighbours would fail together, and
//! alone each shows what it can do. Seeds come from the node's key, so that nobody else can know them.
//!
//! [`Config::patrol_every`]: crate::Config::patrol_every

use super::Challenger;
use crate::{
    claims::Claims,
    deadline::Topic,
    directory::Offer,
    input::{ChallengeId, ChallengeTarget},
    matching::Market,
    outbox::Outbox,
    requester::Cx,
    view::Standing,
};
use ion_protocol::{Millis, NodeId, UnixMillis, advert::Advert, challenge::Shape, hardware::Device};
use std::collections::VecDeque;

/// Devices challenged at the same moment.
const TOGETHER_MAX: usize = 4;
/// Devices challenged in an hour: at 100 KB of rows each, less than 2 KB a second.
const TARGETS_PER_HOUR: usize = 60;
const HOUR: Millis = Millis(3_600_000);
/// A gap is made of slots, each of which may be the last: so many on average, and at most eight times as many.
const SLOTS: u64 = 16;

/// Who was challenged of late, and whether a round is under way.
#[derive(Debug, Default)]
pub(super) struct Patrol {
    pub(super) round: Option<ChallengeId>,
    targets: VecDeque<Millis>,
}

/// A device that may be challenged now.
struct Due<'a> {
    advert: &'a Advert,
    device: &'a Device,
    weight: u64,
}

impl Challenger {
    /// There are offers: looks at them in a while, if this node is to.
    pub(crate) fn await_patrol(cx: &mut Cx<'_>) {
        if let Some(every) = cx.out.config.patrol_every {
            let gap = gap(every, cx.out);
            cx.out.deadlines.unless_set(Topic::Patrol, cx.now.mono.saturating_add(gap));
        }
    }

    /// The gap is over. `busy`: the node has better to do.
    pub(crate) fn patrol(&mut self, busy: bool, cx: &mut Cx<'_>) {
        if cx.market.directory.len() == 0 {
            return;
        }
        Self::await_patrol(cx);
        self.patrol.targets.retain(|at| at.saturating_add(HOUR) > cx.now.mono);
        let room = TARGETS_PER_HOUR.saturating_sub(self.patrol.targets.len()).min(TOGETHER_MAX);
        if busy || !self.rounds.is_empty() || room == 0 {
            return;
        }
        let chosen = choose(room, cx.market, cx.now.wall, cx.out);
        if chosen.is_empty() {
            return;
        }
        let targets: Vec<_> = chosen.into_iter().map(|who| target(who, cx)).collect();
        self.patrol.targets.extend(targets.iter().map(|_| cx.now.mono));
        let id = ChallengeId(cx.out.id());
        self.patrol.round = Some(id);
        self.begin(id, targets, cx);
    }
}

/// A length of time of which nobody can tell, however much of it has passed, how much is left; about `every` long.
fn gap(every: Millis, out: &mut Outbox) -> Millis {
    let slot = every.0 / SLOTS;
    let mut slots = 0;
    while slots < 8 * SLOTS && out.below(SLOTS) > 0 {
        slots += 1;
    }
    Millis(slots * slot + out.below(slot.max(1)) + 1)
}

/// A device, and those that may be the same one under other names.
fn choose(room: usize, market: &Market, wall: UnixMillis, out: &mut Outbox) -> Vec<(NodeId, u16)> {
    let due: Vec<Due<'_>> =
        market.directory.offers().flat_map(|offer| due(offer, &market.claims, wall)).collect();
    let mut drawn = out.below(due.iter().map(|due| due.weight).sum());
    let first = due.iter().find(|due| match drawn.checked_sub(due.weight) {
        Some(left) => {
            drawn = left;
            false
        }
        None => true,
    });
    let Some(first) = first else { return Vec::new() };
    let mut others: Vec<(bool, u64, NodeId, u16)> = Vec::new();
    for other in &due {
        let together = same_host(first.advert, other.advert);
        let same = first.device.engine == other.device.engine && first.device.model == other.device.model;
        if (together || same) && !share_processor((first.advert, first.device), (other.advert, other.device))
        {
            others.push((!together, out.below(u64::MAX), other.advert.node, other.device.index));
        }
    }
    others.sort_unstable();
    // One device of a provider: it may well have two that are alike.
    let mut chosen = vec![(first.advert.node, first.device.index)];
    for (.., node, device) in others {
        if chosen.len() < room && chosen.iter().all(|(known, _)| *known != node) {
            chosen.push((node, device));
        }
    }
    chosen
}

/// Its devices that can and may be challenged now.
fn due<'a>(offer: &'a Offer, claims: &Claims, wall: UnixMillis) -> Vec<Due<'a>> {
    let advert = offer.advert.body();
    let weigh = |device: &'a Device| {
        let (asked, at) = claims.due(advert.node, device, wall);
        let weight = match (asked, claims.standing(advert.node, device, wall)) {
            (false, _) => 16,
            (true, Standing::Unchecked | Standing::Failed | Standing::Shy) => 4,
            (true, Standing::Held) => 1,
        };
        let can = Shape::for_claim(device).is_some() && at <= wall && advert.expires > wall;
        // What is in use would say so; who always says that it is gets asked all the same, now and then.
        can.then_some(Due { advert, device, weight: if advert.free > 0 { 4 * weight } else { weight } })
    };
    advert.devices.iter().filter_map(weigh).collect()
}

/// Whether both may well be the processor of one host, which no more than one of them has at a time.
pub(super) fn share_processor(one: (&Advert, &Device), other: (&Advert, &Device)) -> bool {
    let are_processors = !one.1.engine.is_gpu() && !other.1.engine.is_gpu();
    are_processors && same_host(one.0, other.0)
}

/// Whether both say that they are reached at one host.
fn same_host(one: &Advert, other: &Advert) -> bool {
    let mut theirs = other.addresses.iter().filter_map(|address| host(address));
    theirs.any(|host_of| one.addresses.iter().any(|address| host(address) == Some(host_of)))
}

fn host(address: &str) -> Option<&str> {
    address.split('/').nth(2)
}

fn target((provider, device): (NodeId, u16), cx: &mut Cx<'_>) -> ChallengeTarget {
    let wall = cx.now.wall;
    ChallengeTarget { provider, device, seed: cx.out.secret(wall), opening: cx.out.secret(wall) }
}
