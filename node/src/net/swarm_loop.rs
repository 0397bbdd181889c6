//! THE swarm loop. It owns the swarm and everything that is known of peers; it decides nothing about jobs: commands become
//! messages, messages become inputs.
//!
//! No cycle of waiting: the driver never waits for this loop; this loop waits for the driver by not polling the swarm
//! until what peers said is delivered, so that a busy driver slows sockets and never fills memory. What happened is
//! handled in `events.rs`, calls and blob streams in `asking.rs`, adverts in `market.rs`. Tests: `net/tests/`.

use super::{
    behaviour::{self, Behaviour},
    bootstrap::Bootstraps,
    calls::{Owes, Waits},
    conduct::Conduct,
    config::{Bootstrap, NetConfig, Role},
    dht::Dht,
    handle::Command,
    ids::peer_of,
    intake::{Door, Replays},
    market::Market,
    peer_cache::{self, PeerCache},
    peers::{Peers, Scope, scope},
};
use futures::StreamExt;
use ion_protocol::{NodeId, limits};
use ion_scheduler::{
    Input,
    input::{Answer, CallError, CallId, PeerInput},
};
use libp2p::{Multiaddr, PeerId, Swarm, core::transport::ListenerId, core::transport::TransportError};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    path::PathBuf,
    pin::Pin,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Sleep,
};

/// Inputs waiting for the driver at which commands wait too. One event makes at most a few dozen.
const OUTBOX_MAX: usize = 256;
/// How often small things are looked after: the cache, the shut out, questions nobody answered.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How often the peer cache is written, if it changed.
const CACHE_EVERY: Duration = Duration::from_secs(60);
/// Cached peers dialled at once, at the start and whenever no serving peer is left.
const CACHED_DIALS: usize = 8;
/// A peer nothing was said to or by for so long can be let go.
const UNUSED_FOR: Duration = Duration::from_secs(60);
/// What is on its way gets so long to leave at shutdown.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Connections get so long to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How a listener came out.
pub(super) type Bound = Result<Multiaddr, String>;

/// See the module.
pub(super) struct SwarmLoop {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) own: NodeId,
    pub(super) role: Role,
    pub(super) network_name: String,
    pub(super) door: Door,
    inputs: mpsc::Sender<Input>,
    outbox: VecDeque<Input>,
    commands: mpsc::Receiver<Command>,
    pub(super) waits: Waits,
    pub(super) owes: Owes,
    pub(super) peers: Peers,
    pub(super) conduct: Conduct,
    pub(super) replays: Replays,
    pub(super) bootstraps: Bootstraps,
    resolving: JoinSet<(usize, Bootstrap, Result<Vec<Multiaddr>, String>)>,
    pub(super) dht: Dht,
    pub(super) market: Market,
    pub(super) cache: PeerCache,
    cache_path: PathBuf,
    external: Vec<Multiaddr>,
    pub(super) listening: BTreeSet<Multiaddr>,
    pub(super) bound: HashMap<ListenerId, Bound>,
    told_addresses: Vec<String>,
    timer: Pin<Box<Sleep>>,
    timer_due: Instant,
    housekeeping_due: Instant,
    cache_due: Instant,
    running: bool,
    driver_gone: bool,
}

/// Whether the loop goes on.
enum Flow {
    On,
    Stop(Option<oneshot::Sender<()>>),
}

impl SwarmLoop {
    #[expect(clippy::too_many_arguments, reason = "called once, by `start`")]
    pub fn new(
        config: &NetConfig,
        swarm: Swarm<Behaviour>,
        door: Door,
        bootstraps: Vec<Bootstrap>,
        external: Vec<Multiaddr>,
        cache: PeerCache,
        inputs: mpsc::Sender<Input>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let now = Instant::now();
        Self {
            swarm,
            own: config.key.node_id(),
            role: config.role,
            network_name: behaviour::network_name(&config.network),
            door,
            inputs,
            outbox: VecDeque::new(),
            commands,
            waits: Waits::default(),
            owes: Owes::default(),
            peers: Peers::new(),
            conduct: Conduct::new(),
            replays: Replays::new(),
            bootstraps: Bootstraps::new(bootstraps, now),
            resolving: JoinSet::new(),
            dht: Dht::default(),
            market: Market::new(&config.network),
            cache,
            cache_path: config.peer_cache.clone(),
            external,
            listening: BTreeSet::new(),
            bound: HashMap::new(),
            told_addresses: Vec::new(),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            timer_due: now,
            housekeeping_due: now + HOUSEKEEPING,
            cache_due: now + CACHE_EVERY,
            running: false,
            driver_gone: false,
        }
    }

    /// Runs until it is told to stop, or nobody listens any more.
    pub async fn run(mut self) -> Result<(), String> {
        for address in self.external.clone() {
            self.swarm.add_external_address(address);
        }
        // Not before: while listeners bind, the list is not whole.
        self.running = true;
        self.tell_addresses();
        self.dial_cached();
        while !self.driver_gone {
            self.set_timer();
            tokio::select! {
                command = self.commands.recv(), if self.outbox.len() < OUTBOX_MAX => {
                    if let Flow::Stop(done) = self.on_command(command) {
                        self.close().await;
                        done.map(|done| done.send(()));
                        return Ok(());
                    }
                }
                permit = self.inputs.clone().reserve_owned(), if !self.outbox.is_empty() => self.on_room(permit.ok()),
                event = self.swarm.select_next_some(), if self.outbox.is_empty() => self.on_event(event),
                Some(resolved) = self.resolving.join_next() => self.on_resolved(resolved.ok()),
                () = self.timer.as_mut() => self.on_time(Instant::now()),
            }
        }
        self.close().await;
        Ok(())
    }

    /// One turn of the swarm alone, while the listeners bind.
    pub async fn step(&mut self) {
        let event = self.swarm.select_next_some().await;
        self.on_event(event);
    }

    pub fn listen_on(&mut self, address: Multiaddr) -> Result<ListenerId, TransportError<io::Error>> {
        self.swarm.listen_on(address)
    }

    /// How this listener came out, once.
    pub fn bound(&mut self, id: ListenerId) -> Option<Bound> {
        self.bound.remove(&id)
    }

    fn on_command(&mut self, command: Option<Command>) -> Flow {
        match command {
            None => return Flow::Stop(None),
            Some(Command::Shutdown(done)) => return Flow::Stop(Some(done)),
            Some(Command::Call { call, to, addresses, request, timeout }) => {
                self.call(call, to, addresses, request, timeout);
            }
            Some(Command::Answer { inbound, response }) => self.answer(inbound, response),
            Some(Command::Notice { to, notice }) => self.notice(to, notice),
            Some(Command::Publish(advert)) => self.publish(advert),
            Some(Command::Discover(needs)) => self.discover(&needs),
            Some(Command::OpenBlob { to, addresses, reply }) => self.open_blob(to, addresses, reply),
            Some(Command::Peers(reply)) => drop(reply.send(self.peers.views())),
        }
        Flow::On
    }

    fn on_room(&mut self, permit: Option<mpsc::OwnedPermit<Input>>) {
        match (permit, self.outbox.pop_front()) {
            (Some(permit), Some(input)) => drop(permit.send(input)),
            (Some(_), None) => {}
            (None, _) => self.driver_gone = true,
        }
    }

    fn on_resolved(&mut self, resolved: Option<(usize, Bootstrap, Result<Vec<Multiaddr>, String>)>) {
        let Some((at, bootstrap, result)) = resolved else { return };
        match result {
            Ok(addresses) => self.dial_bootstrap(at, &bootstrap, addresses),
            Err(why) => self.bootstraps.failed(at, &why, Instant::now()),
        }
    }

    fn on_time(&mut self, now: Instant) {
        self.expire_waits(now);
        for (at, bootstrap) in self.bootstraps.due(now) {
            self.resolving.spawn(async move {
                let found = super::bootstrap::resolve(bootstrap.address.clone()).await;
                (at, bootstrap, found)
            });
        }
        self.ask_around_when_due(now);
        if self.housekeeping_due <= now {
            self.housekeeping_due = now + HOUSEKEEPING;
            self.keep_house(now);
        }
    }

    fn keep_house(&mut self, now: Instant) {
        for node in self.conduct.forgiven(now) {
            self.unblock(node);
        }
        self.give_up_owed(now);
        self.make_room(now);
        if self.peers.serving().next().is_none() {
            self.dial_cached();
        }
        if self.cache_due <= now {
            self.cache_due = now + CACHE_EVERY;
            if let Some(text) = self.cache.take_changed() {
                let path = self.cache_path.clone();
                tokio::task::spawn_blocking(move || write_cache(&path, &text));
            }
        }
    }

    /// Gossip keeps every connection open, so a large network would fill the places newcomers need: above the mark,
    /// peers that nothing was said to for a while and that the gossip mesh does not need are let go.
    fn make_room(&mut self, now: Instant) {
        let places = behaviour::connections_max(self.role).1 as usize;
        let Some(since) = now.checked_sub(UNUSED_FOR) else { return };
        let (connected, mut unused) = self.peers.unused(since);
        if connected <= places / 8 * 7 {
            return;
        }
        let mesh: BTreeSet<_> = match self.swarm.behaviour().gossip.as_ref() {
            Some(gossip) => gossip.all_mesh_peers().copied().collect(),
            None => BTreeSet::new(),
        };
        fastrand::shuffle(&mut unused);
        let peers = unused.iter().filter_map(peer_of).filter(|peer| !mesh.contains(peer));
        for peer in peers.take(connected - places / 4 * 3) {
            // It may have left in this moment.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn set_timer(&mut self) {
        let dues = [self.waits.next_deadline(), self.bootstraps.next_due(), self.market.next_due()];
        let due = dues.into_iter().flatten().fold(self.housekeeping_due, Instant::min);
        if due != self.timer_due || self.timer.is_elapsed() {
            self.timer_due = due;
            self.timer.as_mut().reset(due.into());
        }
    }

    fn dial_cached(&mut self) {
        for (node, addresses) in self.cache.latest(CACHED_DIALS) {
            self.peers.learn(node, addresses);
            self.dial(&node, Vec::new());
        }
    }

    /// Hands an input to the driver now, or as soon as it has room.
    pub(super) fn tell(&mut self, input: Input) {
        if !self.outbox.is_empty() {
            return self.outbox.push_back(input);
        }
        match self.inputs.try_send(input) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(input)) => self.outbox.push_back(input),
            Err(mpsc::error::TrySendError::Closed(_)) => self.driver_gone = true,
        }
    }

    pub(super) fn tell_said(&mut self, from: NodeId, said: PeerInput) {
        self.tell(Input::Peer { from, said });
    }

    pub(super) fn tell_answer(&mut self, call: CallId, from: NodeId, result: Result<Answer, CallError>) {
        self.tell(Input::Answer { call, from, result });
    }

    /// Where others reach us: what the operator says first, then from far to near.
    pub(super) fn tell_addresses(&mut self) {
        let mut near_last: Vec<_> =
            self.listening.iter().filter(|address| scope(address).is_some()).collect();
        near_last.sort_by_key(|address| std::cmp::Reverse(scope(address)));
        let mut addresses: Vec<_> = self.external.iter().chain(near_last).map(Multiaddr::to_string).collect();
        addresses.retain(|address| address.len() <= limits::ADDRESS_BYTES_MAX);
        addresses.truncate(limits::ADDRESSES_MAX);
        if self.running && addresses != self.told_addresses {
            self.told_addresses.clone_from(&addresses);
            self.tell(Input::Addresses(addresses));
        }
    }

    /// Announces our listen addresses through the DHT: loopback ones only if we have no others.
    pub(super) fn announce_addresses(&mut self) {
        let farther = self.listening.iter().any(|address| scope(address) > Some(Scope::Loopback));
        for address in self.listening.clone() {
            match scope(&address) {
                Some(Scope::Loopback) if farther => self.swarm.remove_external_address(&address),
                Some(_) => self.swarm.add_external_address(address),
                None => {}
            }
        }
    }

    pub(super) fn own_peer(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    async fn close(&mut self) {
        // What was said last still leaves.
        let _ = tokio::time::timeout(LAST_WORDS, async {
            loop {
                self.swarm.select_next_some().await;
            }
        })
        .await;
        self.fail_all_waits();
        if let Some(text) = self.cache.take_changed() {
            let path = self.cache_path.clone();
            let _ = tokio::task::spawn_blocking(move || write_cache(&path, &text)).await;
        }
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let _ = tokio::time::timeout(CLOSE_WITHIN, async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        })
        .await;
        tracing::debug!(offences = self.conduct.counted(), "the network side has ended");
    }
}

fn write_cache(path: &std::path::Path, text: &str) {
    if let Err(error) = peer_cache::write(path, text) {
        tracing::warn!("the peer cache `{}` cannot be written: {error}", path.display());
    }
}

/// The door of a node.
pub(super) fn door(config: &NetConfig) -> Door {
    Door { own: config.key.node_id(), network: config.network, clock: crate::clock::wall }
}
