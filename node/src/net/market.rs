//! Adverts on their way: ours into gossip and DHT, others' to the engine, and questions for more where gossip does not
//! reach: light nodes ask serving peers, everybody asks a new serving peer once, a search asks whom it found.

use super::{
    behaviour::Behaviour,
    calls::Origin,
    conduct::Verdict,
    gossip,
    intake::{Freshness, Offence, Unwanted},
    peers::scope,
    swarm_loop::SwarmLoop,
};
use ion_protocol::{
    Millis, NetworkId, NodeId, Signed, UnixMillis, Verified, advert::Advert, codec, job::Needs,
    limits::ADVERTS_PER_ANSWER_MAX, message::Request,
};
use ion_scheduler::input::{Answer, CallError, PeerInput};
use libp2p::{
    PeerId, Swarm,
    gossipsub::{self, IdentTopic, MessageAcceptance, PublishError},
};
use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// A light node asks again so long after it met the network: a provider that came, or measured itself, a little later is
/// soon known.
const FIRST_ASKS: [Duration; 8] = [
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1200),
    Duration::from_millis(2000),
    Duration::from_millis(3000),
    Duration::from_millis(4500),
    Duration::from_millis(6500),
    Duration::from_millis(9500),
];
/// And from then on so often.
const ASK_EVERY: Duration = Duration::from_secs(15);
/// Serving peers asked each time.
const ASKED_AT_ONCE: usize = 3;
/// How long an answer to such a question is waited for.
const ASK_WITHIN: Millis = Millis(10_000);

/// Our advert, and whom we are asking for theirs.
#[derive(Debug)]
pub(super) struct Market {
    topic: IdentTopic,
    own: Option<Verified<Advert>>,
    /// Nobody was there to hear our advert yet.
    unheard: bool,
    asking: BTreeSet<NodeId>,
    planned: VecDeque<Instant>,
}

impl Market {
    pub fn new(network: &NetworkId) -> Self {
        Self {
            topic: gossip::topic(network),
            own: None,
            unheard: false,
            asking: BTreeSet::new(),
            planned: VecDeque::new(),
        }
    }

    /// When a light node asks around next.
    pub fn next_due(&self) -> Option<Instant> {
        self.planned.front().copied()
    }

    /// Says our advert to the network.
    fn say(&mut self, swarm: &mut Swarm<Behaviour>, wall: UnixMillis) {
        let (Some(own), Some(gossip)) = (&self.own, swarm.behaviour_mut().gossip.as_mut()) else { return };
        if own.expires <= wall {
            return;
        }
        match gossip.publish(self.topic.hash(), codec::encode(own.signed())) {
            Ok(_) | Err(PublishError::Duplicate) => self.unheard = false,
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                self.unheard = true
            }
            Err(error) => tracing::warn!("our advert cannot be gossiped: {error}"),
        }
    }
}

impl SwarmLoop {
    /// Our own advert is new.
    pub(super) fn publish(&mut self, advert: Signed<Advert>) {
        // Ours and signed by us; verified so that nothing wrong ever leaves.
        match self.door.advert(advert) {
            Ok(advert) if advert.node == self.own => {
                self.dht.provide(&mut self.swarm.behaviour_mut().kad, &self.own, &advert.devices);
                self.market.own = Some(advert);
                self.say_advert();
            }
            Ok(advert) => tracing::error!("asked to publish an advert of {}", advert.node.short()),
            Err(why) => tracing::error!("our own advert does not pass the door: {why:?}"),
        }
    }

    fn say_advert(&mut self) {
        self.market.say(&mut self.swarm, (self.door.clock)());
    }

    /// Somebody can hear us now.
    pub(super) fn on_subscribed(&mut self) {
        if self.market.unheard {
            self.say_advert();
        }
    }

    /// A gossip message is judged once and passed on only if it is good and new.
    pub(super) fn on_gossip(
        &mut self,
        source: PeerId,
        id: gossipsub::MessageId,
        message: &gossipsub::Message,
    ) {
        let (acceptance, offence) = match self.door.gossip(&message.data) {
            Ok(advert) => (self.take_advert(advert), None),
            Err(Unwanted::Untimely) => (MessageAcceptance::Ignore, None),
            Err(Unwanted::Offence(offence)) => (MessageAcceptance::Reject, Some(offence)),
        };
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            gossip.report_message_validation_result(&id, &source, acceptance);
        }
        if let (Some(offence), Some(node)) = (offence, super::ids::node_of(&source)) {
            self.offended(node, &offence);
        }
    }

    fn take_advert(&mut self, advert: Verified<Advert>) -> MessageAcceptance {
        let own = advert.node == self.own;
        match self.hear(advert.node, advert) {
            true if !own => MessageAcceptance::Accept,
            true | false => MessageAcceptance::Ignore,
        }
    }

    /// Whether an advert that somebody told of is new. An own one is: how far a node had come that was away, only others know.
    fn hear(&mut self, from: NodeId, advert: Verified<Advert>) -> bool {
        let new = self.replays.see(&advert, Instant::now()) == Freshness::New;
        if new && advert.node != self.own {
            self.heard_of(&advert);
        }
        if new {
            self.tell_said(from, PeerInput::Advert(advert));
        }
        new
    }

    /// A provider is worth remembering before it was met: the node that told of it may be gone after a restart.
    fn heard_of(&mut self, advert: &Advert) {
        let addresses = advert.addresses.iter().filter_map(|text| text.parse().ok());
        let addresses = addresses.filter(|address| scope(address).is_some()).collect();
        self.cache.heard_of(advert.node, addresses);
    }

    /// Adverts somebody answered with, for the engine's directory.
    pub(super) fn on_adverts(&mut self, from: NodeId, result: Result<Answer, CallError>) {
        self.market.asking.remove(&from);
        match result {
            Ok(Answer::Adverts(adverts)) => {
                for advert in adverts {
                    self.hear(from, advert);
                }
            }
            Ok(
                Answer::Accepted(_)
                | Answer::Refused { .. }
                | Answer::Lease(_)
                | Answer::Countersigned(_)
                | Answer::Noted
                | Answer::Committed(_)
                | Answer::Shown(_),
            ) => {}
            Err(error) => tracing::debug!("{} gave no adverts: it {error}", from.short()),
        }
    }

    /// Looks for providers: a few serving peers now, the DHT meanwhile.
    pub(super) fn discover(&mut self, needs: &Needs) {
        self.ask_some();
        self.dht.search(&mut self.swarm.behaviour_mut().kad, needs);
    }

    /// A serving peer introduced itself: it may know what was said before we came.
    pub(super) fn met_serving(&mut self, node: NodeId) {
        let first = self.peers.get_mut(&node).is_some_and(|peer| !std::mem::replace(&mut peer.asked, true));
        if first {
            self.ask_for_adverts(node);
        }
        if !self.role.serves() && self.market.planned.is_empty() {
            let now = Instant::now();
            self.market.planned.extend(FIRST_ASKS.map(|after| now + after));
        }
    }

    pub(super) fn ask_around_when_due(&mut self, now: Instant) {
        while self.market.planned.front().is_some_and(|due| *due <= now) {
            self.market.planned.pop_front();
            if self.market.planned.is_empty() {
                self.market.planned.push_back(now + ASK_EVERY);
            }
            self.ask_some();
        }
    }

    fn ask_some(&mut self) {
        let mut serving: Vec<_> = self.peers.serving().copied().collect();
        fastrand::shuffle(&mut serving);
        for node in serving.into_iter().take(ASKED_AT_ONCE) {
            self.ask_for_adverts(node);
        }
    }

    /// Asks one node for what it knows, unless it is being asked.
    pub(super) fn ask_for_adverts(&mut self, node: NodeId) {
        if node != self.own && self.market.asking.insert(node) {
            let request = Request::Adverts { max: ADVERTS_PER_ANSWER_MAX as u16 };
            self.ask(Origin::Adverts, node, Vec::new(), request, ASK_WITHIN);
        }
    }

    /// Counts an offence; over the threshold the peer is shut out.
    pub(super) fn offended(&mut self, node: NodeId, offence: &Offence) {
        tracing::debug!("{}: {offence}", node.short());
        match self.conduct.offend(node, offence, Instant::now()) {
            Verdict::Tolerated => {}
            Verdict::ShutOut { displaced } => {
                tracing::info!("{} is shut out for a while: {offence}", node.short());
                self.block(node, displaced);
            }
        }
    }

    /// Closes the door to `node`, and opens it again for whom it displaced from the list.
    pub(super) fn block(&mut self, node: NodeId, displaced: Option<NodeId>) {
        displaced.into_iter().for_each(|displaced| self.unblock(displaced));
        if let Some(peer) = super::ids::peer_of(&node) {
            self.swarm.behaviour_mut().blocked.block_peer(peer);
        }
    }

    pub(super) fn unblock(&mut self, node: NodeId) {
        if let Some(peer) = super::ids::peer_of(&node) {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        }
    }
}
