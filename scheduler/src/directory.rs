//! Who offers what: the newest advert of each provider, as far as it is fresh.
//!
//! Adverts come in verified; here their meaning is checked again, since time passes between the door and here. The
//! highest sequence number of a node wins; the rest is silently a repeat. At most [`OFFERS_MAX`] are kept; a full
//! directory lets the one go that ends first, those of connected peers last.

use ion_protocol::{Millis, NodeId, Now, UnixMillis, Verified, advert::Advert, limits, signed::Signed};
use std::collections::BTreeMap;

/// Offers kept: at 1 to 2 KiB each a few MiB.
pub(crate) const OFFERS_MAX: usize = 4_096;
/// Peers without an offer whose connection and round trip are remembered.
const PEERS_MAX: usize = 4_096;
/// How long an expired offer is remembered, so that an older advert of the same node cannot take its place.
const AFTERLIFE_MS: u64 = 60_000;
/// How often old offers are swept out.
pub(crate) const SWEEP_EVERY: Millis = Millis(10_000);

/// A provider's newest advert and what this node knows besides.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) advert: Verified<Advert>,
    /// Orders of this node's that the advert cannot know of yet.
    pub(crate) unseen_orders: u16,
    /// Jobs of this node's that the advert counts, and that were done there after it was signed.
    pub(crate) done_since: u16,
}

impl Offer {
    /// Jobs before one that comes now, on devices and waiting, as far as the advert and this node's own jobs tell.
    pub(crate) fn ahead(&self) -> u64 {
        let busy = self.advert.devices.len().saturating_sub(usize::from(self.advert.free)) as u64;
        let told = busy.saturating_add(self.advert.queued.into()).saturating_add(self.unseen_orders.into());
        told.saturating_sub(self.done_since.into())
    }
}

/// What a connection told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) round_trip: Option<Millis>,
}

/// What became of an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The node is new, or back.
    New,
    /// It replaces an older one.
    Newer,
    /// It says nothing new, or is no good.
    Ignored,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    offers: BTreeMap<NodeId, Offer>,
    peers: BTreeMap<NodeId, Peer>,
}

impl Directory {
    /// Takes an advert in if it is the node's newest and holds now.
    pub(crate) fn take(&mut self, me: &NodeId, advert: Verified<Advert>, now: Now) -> Taken {
        if advert.node == *me || advert.check(now.wall).is_err() {
            return Taken::Ignored;
        }
        let known = self.offers.get(&advert.node);
        if known.is_some_and(|offer| offer.advert.seq >= advert.seq) {
            return Taken::Ignored;
        }
        let taken = match known {
            Some(offer) if offer.advert.expires > now.wall => Taken::Newer,
            Some(_) | None => Taken::New,
        };
        if known.is_none() && self.offers.len() >= OFFERS_MAX {
            let worth = |advert: &Advert| (self.peer(&advert.node).connected, advert.expires);
            let first = self.offers.values().map(|o| o.advert.body()).min_by_key(|a| (worth(a), a.node));
            match first.map(|first| (first.node, worth(first))) {
                Some((_, kept)) if kept >= worth(&advert) => return Taken::Ignored,
                Some((node, _)) => drop(self.offers.remove(&node)),
                None => {}
            }
        }
        self.offers.insert(advert.node, Offer { advert, unseen_orders: 0, done_since: 0 });
        taken
    }

    pub(crate) fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values()
    }

    pub(crate) fn offer(&self, node: &NodeId) -> Option<&Offer> {
        self.offers.get(node)
    }

    pub(crate) fn len(&self) -> usize {
        self.offers.len()
    }

    pub(crate) fn peer(&self, node: &NodeId) -> Peer {
        self.peers.get(node).copied().unwrap_or_default()
    }

    /// Addresses to reach a node at; empty where only the network layer may know some.
    pub(crate) fn addresses(&self, node: &NodeId) -> Vec<String> {
        self.offers.get(node).map(|offer| offer.advert.addresses.clone()).unwrap_or_default()
    }

    /// One more order of ours is on its way to `node`; the answer is the advert it is counted against.
    pub(crate) fn ordered(&mut self, node: &NodeId) -> u64 {
        self.offers.get_mut(node).map_or(0, |offer| {
            offer.unseen_orders = offer.unseen_orders.saturating_add(1);
            offer.advert.seq
        })
    }

    /// An order of ours is over, one way or the other.
    pub(crate) fn over(&mut self, node: &NodeId, counted_against: u64) {
        if let Some(offer) = self.offers.get_mut(node).filter(|offer| offer.advert.seq == counted_against) {
            offer.unseen_orders = offer.unseen_orders.saturating_sub(1);
        }
    }

    /// A job of ours was done there at that time by the provider's clock, as its adverts are signed by it.
    pub(crate) fn done(&mut self, node: &NodeId, counted_against: u64, finished: UnixMillis) {
        let counts =
            |offer: &&mut Offer| offer.advert.seq != counted_against && offer.advert.issued < finished;
        if let Some(offer) = self.offers.get_mut(node).filter(counts) {
            offer.done_since = offer.done_since.saturating_add(1);
        }
    }

    pub(crate) fn connected(&mut self, node: NodeId, connected: bool) {
        if connected {
            self.peers.entry(node).or_default().connected = true;
        } else if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = false;
        }
        self.bound_peers();
    }

    pub(crate) fn round_trip(&mut self, node: NodeId, round_trip: Millis) {
        self.peers.entry(node).or_default().round_trip = Some(round_trip);
        self.bound_peers();
    }

    fn bound_peers(&mut self) {
        if self.peers.len() > PEERS_MAX {
            let spare = self.peers.iter().find(|(id, peer)| !peer.connected && !self.offers.contains_key(id));
            let spare = spare.or_else(|| self.peers.first_key_value()).map(|(id, _)| *id);
            spare.and_then(|id| self.peers.remove(&id));
        }
    }

    /// Forgets what ended long ago.
    pub(crate) fn sweep(&mut self, wall: UnixMillis) {
        self.offers.retain(|_, offer| offer.advert.expires.0.saturating_add(AFTERLIFE_MS) > wall.0);
    }

    /// For a peer that asks: `own` first, then the freshest, at most `max` and what one message holds.
    pub(crate) fn answer(
        &self,
        own: Option<&Verified<Advert>>,
        max: u16,
        wall: UnixMillis,
    ) -> Vec<Signed<Advert>> {
        /// What surrounds the adverts in a message.
        const FRAME_BYTES: usize = 1_024;
        /// What surrounds an advert's body.
        const SIGNED_BYTES: usize = 8 + 64;
        let mut freshest: Vec<_> =
            self.offers().map(|offer| &offer.advert).filter(|advert| advert.expires > wall).collect();
        freshest.sort_by_key(|advert| (std::cmp::Reverse(advert.issued), advert.node));
        let mut room = limits::MESSAGE_BYTES_MAX - FRAME_BYTES;
        own.filter(|advert| advert.expires > wall)
            .into_iter()
            .chain(freshest)
            .take(usize::from(max).min(limits::ADVERTS_PER_ANSWER_MAX))
            .map(|advert| advert.signed().clone())
            .take_while(|signed| {
                let bytes = signed.body_bytes().len() + SIGNED_BYTES;
                let fits = bytes <= room;
                room = room.saturating_sub(bytes);
                fits
            })
            .collect()
    }
}
