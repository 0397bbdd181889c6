//! The node: starts the services, runs THE domain loop, and takes everything down again.
//!
//! Owns the engine, the one clock and the table of effects. Decides nothing the engine decides; never waits for a
//! service: one that is full is told to the engine as busy at once. The one exception is a sync where nothing else is to
//! do and the disk is known to be quick (`ledger`). Tests: `driver/tests.rs` (who is heard first, what is durable at the end), and
//! `testnet/tests`, with real nodes.

mod at_rest;
mod challenge;
mod control;
mod effects;
mod error;
mod owner;
mod stores;
mod submit;
#[cfg(test)]
mod tests;

pub use at_rest::at_rest;
pub use error::NodeError;

use crate::{
    blobs::{BlobStore, Blobs, BlobsHandle, InUse},
    clock::Clock,
    config::{NodeConfig, Role, memory_share},
    control::api::DevicesView,
    control::{CALLS_CAPACITY, ControlCall, ControlClient, ControlServer},
    events::{EventLine, Events},
    identity,
    ledger::{Ledger, ToWrite},
    net::{self, Net, NetConfig, NetHandle},
    owner::{Owner, Paused},
    tasks::{Shutdown, Tasks},
    workers::{self, CheckerHandle, Sights, WorkersConfig, WorkersHandle},
};
use ion_gpu::probe::ProbeReport;
use ion_protocol::{BlobHash, Bytes, JobId, Millis, NetworkId, NodeId};
use ion_scheduler::{
    Config, Engine, Input, Past,
    input::{ChallengeId, OwnerInput, PeerInput},
};
use std::{
    collections::{BTreeMap, VecDeque},
    future,
    sync::Arc,
};
use tokio::sync::{broadcast, mpsc, watch};

/// Results of the node's own services that may wait for the driver: a few per job in flight.
const LOCAL_CAPACITY: usize = 1_024;
/// Verified words of peers that may wait; beyond, the sockets are read more slowly.
const PEERS_CAPACITY: usize = 256;
/// Finished side jobs (imports, probes) that may wait.
const CHORES_CAPACITY: usize = 64;
/// What running others' blocks again may hold of what they touch: 8 000 pages, and within a tenth of a small machine.
const CHECK_MEMORY_MAX: Bytes = Bytes(1 << 30);
/// And as a share of the machine's memory, in percent.
const CHECK_MEMORY_PERCENT: u8 = 10;
/// Inputs handled before the loop looks at everything else again.
const TURN_MAX: usize = 64;

/// A running node.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    shutdown: Shutdown,
    tasks: Tasks,
    wishes: mpsc::Sender<Wish>,
    calls: mpsc::Sender<ControlCall>,
    addresses: watch::Receiver<Vec<String>>,
    devices: watch::Receiver<DevicesView>,
    events: broadcast::Sender<EventLine>,
}

/// What the process around the node wants of it.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Drain,
}

impl Node {
    /// Starts a node on `config.data_dir`. Returns once its key, journal, socket and listeners stand; devices are probed
    /// and peers are found after that.
    pub async fn start(config: NodeConfig) -> Result<Node, NodeError> {
        crate::files::create_private_dir(&config.data_dir)
            .map_err(|source| NodeError::DataDir { path: config.data_dir.clone(), source })?;
        let key = identity::load_or_create(&config.data_dir)?;
        let network = NetworkId::named(&config.network);
        let (local_tx, local) = mpsc::channel(LOCAL_CAPACITY);
        let (peers_tx, peers) = mpsc::channel(PEERS_CAPACITY);
        let (chores_tx, chores) = mpsc::channel(CHORES_CAPACITY);
        let (control_tx, control) = mpsc::channel(CALLS_CAPACITY);

        // The ledger first: it holds the lock of the data directory.
        tracing::info!("starting: opening the journal");
        let id = key.node_id();
        let mut engine = Engine::new(engine_config(&config, network), key.clone(), random_seed());
        let (clock, mut past) = (Clock::start(), Past::default());
        let recall = |record| engine.recall(&mut past, &record, clock.now());
        let ledger = Arc::new(Ledger::open(&config.data_dir, &network, &id, local_tx.clone(), recall)?);
        let server = ControlServer::bind(&config.data_dir)?;
        let events = Events::open(&config.data_dir)
            .map_err(|source| NodeError::DataDir { path: config.data_dir.clone(), source })?;
        let paused = Paused::open(&config.data_dir)
            .map_err(|source| NodeError::DataDir { path: config.data_dir.clone(), source })?;
        tracing::info!("starting: opening the blob store");
        let store = BlobStore::open(&config.data_dir, config.blob_quota)?;
        store.keep_while(ask_engine(chores_tx.clone()));
        tracing::info!("starting: listening");
        let Net { handle: net, blob_streams, task: swarm } =
            net::start(net_config(&config, key, network), peers_tx).await?;
        tracing::info!("starting: carrying on where it was, with {} records", ledger.recovery().records);
        let opener = net.clone();
        let blobs = Blobs::start(
            store.clone(),
            Arc::new(move |peer, addresses| {
                let opened = opener.open_blob_stream(peer, addresses);
                Box::pin(async move { opened.await.map(|s| s as _).map_err(|e| e.to_string()) })
            }),
            local_tx.clone(),
        );

        let shutdown = Shutdown::default();
        let tasks = Tasks::new(shutdown.clone());
        let first = engine.carry_on(past, clock.now());

        let (wishes_tx, wishes) = mpsc::channel(1);
        let (addresses_tx, addresses) = watch::channel(Vec::new());
        let (devices_tx, devices) = watch::channel(DevicesView::default());
        let live = events.live();
        let workers = worker_config(&config)?;
        let memory = memory_share(CHECK_MEMORY_PERCENT).min(CHECK_MEMORY_MAX);
        let checker =
            workers::start_checker(workers.exe.clone(), memory, Arc::new(store.clone()), local_tx.clone());
        let results = local_tx.clone();
        if config.role.provides() {
            tasks.spawn("device probe", probe(workers, store.clone(), local_tx, chores_tx.clone()));
        }
        tasks.spawn("control socket", {
            let (stop, control_tx) = (shutdown.token(), control_tx.clone());
            async move {
                server.run(control_tx, stop).await;
                Ok(())
            }
        });
        tasks.spawn("blob streams", accept_blob_streams(blob_streams, blobs.clone(), shutdown.clone()));
        tasks.spawn("journal", watch_journal(ledger.clone(), shutdown.clone()));
        tasks.spawn("blob service", watch_blobs(blobs.clone(), shutdown.clone()));
        tasks.spawn("swarm", async move { swarm.await.map_err(|error| error.to_string())? });
        let (sights_tx, sights) = mpsc::channel(1);
        let looks = tokio::time::interval(owner::LOOK_EVERY);
        let driver = Driver {
            network,
            id,
            engine,
            clock,
            net,
            ledger,
            blobs,
            store,
            owner: Owner::new(config.rules, paused),
            config,
            workers: None,
            checker,
            devices: None,
            probed: devices_tx,
            events,
            addresses: addresses_tx,
            to_write: Vec::new(),
            write_by: None,
            undelivered: VecDeque::new(),
            submissions: BTreeMap::new(),
            watchers: Vec::new(),
            challenges: BTreeMap::new(),
            local: results,
            chores: chores_tx,
            sights: sights_tx,
            shutdown: shutdown.clone(),
        };
        let queues = Queues { local, peers, chores, control, wishes, looks, sights };
        tasks.spawn("driver", driver.run(first, queues));
        Ok(Node {
            id,
            shutdown,
            tasks,
            wishes: wishes_tx,
            calls: control_tx,
            addresses,
            devices,
            events: live,
        })
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where it can be reached, as multiaddress text ending in `/p2p/..`; waits until it listens somewhere, if it was
    /// told to.
    pub async fn addresses(&self) -> Vec<String> {
        let mut addresses = self.addresses.clone();
        match addresses.wait_for(|known| !known.is_empty()).await {
            Ok(known) => known.clone(),
            Err(_) => Vec::new(),
        }
    }

    /// What was found of its devices; waits until the machine was looked at. Never resolves for a node that offers none.
    pub async fn devices(&self) -> DevicesView {
        let mut devices = self.devices.clone();
        match devices.wait_for(|view| view.probed).await {
            Ok(view) => view.clone(),
            Err(_) => std::future::pending().await,
        }
    }

    /// What its owner may ask and tell it, without its socket.
    pub fn control(&self) -> ControlClient {
        ControlClient::here(self.calls.clone())
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<EventLine> {
        self.events.subscribe()
    }

    /// Resolves when it goes down, by wish or because something broke.
    pub async fn stopping(&self) {
        self.shutdown.wanted().await;
    }

    /// Makes a panic anywhere in this process stop the node, with the reason. The receipt index is the exception: it
    /// catches its store's panics and rebuilds itself.
    pub fn stop_on_panic(&self) {
        let (shutdown, before) = (self.shutdown.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a nameless thread");
            if !name.starts_with("ion-index") && !name.starts_with("sled") {
                shutdown.fail(format!("{name} panicked: {panic}"));
            }
        }));
    }

    /// Takes no new work, finishes what runs, then stops.
    pub fn drain(&self) {
        // A full channel holds the same wish already.
        let _ = self.wishes.try_send(Wish::Drain);
    }

    /// Stops now. What was acknowledged is on disk.
    pub fn stop(&self) {
        self.shutdown.stop();
    }

    /// Waits until the node is down; `Err` says what broke.
    pub async fn finished(self) -> Result<(), NodeError> {
        self.tasks.finished().await;
        match self.shutdown.failure() {
            Some(reason) => Err(NodeError::Broke(reason.to_owned())),
            None => Ok(()),
        }
    }
}

fn net_config(config: &NodeConfig, key: ion_protocol::key::SecretKey, network: NetworkId) -> NetConfig {
    NetConfig {
        key,
        network,
        role: match config.role {
            Role::Provider => net::Role::Full,
            Role::Light => net::Role::Light,
            Role::Relay => net::Role::Relay,
        },
        listen: config.listen.clone(),
        bootstrap: config.bootstrap.clone(),
        peer_cache: config.data_dir.join("peers"),
        external: Vec::new(),
    }
}

fn engine_config(config: &NodeConfig, network: NetworkId) -> Config {
    Config {
        network,
        provide: config.role.provides(),
        price_per_second: config.price_per_second,
        region: config.region.clone(),
        // Inputs and outputs of one job must fit the store with something else beside them.
        blob_bytes_max: Bytes(config.blob_quota.0 / 2),
        patrol_every: config.challenge.every(),
        ..Config::default()
    }
}

fn worker_config(config: &NodeConfig) -> Result<WorkersConfig, NodeError> {
    let exe = std::env::current_exe().map_err(NodeError::OwnProgram)?;
    let memory_max = memory_share(config.memory_percent).min(config.keep_free.of(memory_share(100)));
    let measured = Some(config.data_dir.join(workers::measured::FILE));
    Ok(WorkersConfig { exe, backend: config.backend, memory_max, keep_free: config.keep_free, measured })
}

fn random_seed() -> u64 {
    // Only spreads retries and names jobs apart; keys are drawn by `identity`.
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}

/// Asks the driver whether a job needs a blob, from a blocking thread. No answer means that the node is going down:
/// then nothing is forgotten.
fn ask_engine(chores: mpsc::Sender<Chore>) -> InUse {
    Arc::new(move |hash| {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        chores.blocking_send(Chore::Needed(*hash, reply)).is_err() || answer.recv().unwrap_or(true)
    })
}

async fn probe(
    config: WorkersConfig,
    store: BlobStore,
    inputs: mpsc::Sender<Input>,
    chores: mpsc::Sender<Chore>,
) -> Result<(), String> {
    let (handle, report) = workers::start(config, Arc::new(store), inputs).await;
    // The driver is gone only when the node is going down.
    let _ = chores.send(Chore::Probed(handle, Box::new(report))).await;
    Ok(())
}

/// A journal that can't be written any more ends the node: nothing could be acknowledged.
async fn watch_journal(ledger: Arc<Ledger>, shutdown: Shutdown) -> Result<(), String> {
    tokio::select! {
        () = shutdown.wanted() => Ok(()),
        why = ledger.failed() => Err(why),
    }
}

/// Without its blob service a node could neither take inputs nor give results.
async fn watch_blobs(blobs: BlobsHandle, shutdown: Shutdown) -> Result<(), String> {
    tokio::select! {
        () = shutdown.wanted() => Ok(()),
        why = blobs.failed() => Err(why),
    }
}

async fn accept_blob_streams(
    mut streams: mpsc::Receiver<(NodeId, net::ByteStream)>,
    blobs: BlobsHandle,
    shutdown: Shutdown,
) -> Result<(), String> {
    loop {
        tokio::select! {
            () = shutdown.wanted() => return Ok(()),
            next = streams.recv() => match next {
                Some((peer, stream)) => blobs.serve(peer, stream),
                None => return Ok(()),
            },
        }
    }
}

/// A side job of the driver's that is done.
enum Chore {
    Probed(WorkersHandle, Box<ProbeReport>),
    /// The blob store wants room and asks whether a job needs this one.
    Needed(BlobHash, std::sync::mpsc::SyncSender<bool>),
    Imported(submit::Imported),
}

/// Where the driver's inputs come from.
struct Queues {
    local: mpsc::Receiver<Input>,
    peers: mpsc::Receiver<Input>,
    chores: mpsc::Receiver<Chore>,
    control: mpsc::Receiver<ControlCall>,
    wishes: mpsc::Receiver<Wish>,
    looks: tokio::time::Interval,
    sights: mpsc::Receiver<Sights>,
}

impl Queues {
    /// Whether nothing that others wait for is here.
    fn are_empty(&self) -> bool {
        self.local.is_empty() && self.peers.is_empty() && self.control.is_empty() && self.chores.is_empty()
    }
}

struct Driver {
    config: NodeConfig,
    network: NetworkId,
    id: NodeId,
    engine: Engine,
    clock: Clock,
    net: NetHandle,
    ledger: Arc<Ledger>,
    blobs: BlobsHandle,
    store: BlobStore,
    owner: Owner,
    workers: Option<WorkersHandle>,
    checker: CheckerHandle,
    devices: Option<Box<ProbeReport>>,
    /// Tells the process around the node what was found.
    probed: watch::Sender<DevicesView>,
    events: Events,
    addresses: watch::Sender<Vec<String>>,
    /// Records of this turn.
    to_write: Vec<ToWrite>,
    /// When records that do not hurry are written at the latest, where some wait.
    write_by: Option<Millis>,
    /// Answers to effects that were known at once, as where no service could take one; handled before anything new.
    undelivered: VecDeque<Input>,
    /// Askers who wait until their job is durable.
    submissions: BTreeMap<JobId, Vec<submit::Submitter>>,
    watchers: Vec<control::Watcher>,
    /// Owners who wait for the end of a challenge.
    challenges: BTreeMap<ChallengeId, control::Reply>,
    /// Where results of the node's own services come in.
    local: mpsc::Sender<Input>,
    chores: mpsc::Sender<Chore>,
    /// Where news of the cards comes in; the newest is all that counts.
    sights: mpsc::Sender<Sights>,
    shutdown: Shutdown,
}

impl Driver {
    async fn run(mut self, first: Vec<ion_scheduler::Effect>, mut queues: Queues) -> Result<(), String> {
        self.perform(first);
        self.settle();
        self.write(&mut queues, true);
        loop {
            let deadline = [self.engine.next_deadline(), self.write_by].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = self.shutdown.wanted() => break,
                Some(wish) = queues.wishes.recv() => self.on_wish(wish),
                Some(input) = queues.local.recv(), if self.undelivered.is_empty() => {
                    self.feed(input);
                    self.take_more(&mut queues.local);
                }
                Some(chore) = queues.chores.recv() => self.on_chore(chore),
                Some(call) = queues.control.recv() => self.on_control(call),
                Some(sights) = queues.sights.recv() => self.on_sights(sights),
                _ = queues.looks.tick(), if self.owner.rules.hours.is_some() => self.look_at_owner(),
                Some(input) = queues.peers.recv() => self.feed(input),
                // One turn of settling was not enough: the next follows at once, after a look at everything above.
                () = future::ready(()), if !self.undelivered.is_empty() => {}
                () = self.clock.reached(deadline) => self.on_time(),
            }
            self.settle();
            if self.to_write.iter().any(|record| record.hurry) {
                self.gather(&mut queues).await;
            }
            self.write(&mut queues, true);
        }
        self.write(&mut queues, false);
        // Who asks now hears that the node stops.
        drop(queues);
        self.down().await;
        Ok(())
    }

    fn on_time(&mut self) {
        if self.write_by.take_if(|by| *by <= self.clock.now().mono).is_some() {
            self.ledger.hurry();
        }
        self.feed(Input::Tick);
    }

    fn on_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Drain => self.feed(Input::Owner(OwnerInput::Drain)),
        }
    }

    /// What has come here already: taken in the same turn, but not without end.
    fn take_more(&mut self, from: &mut mpsc::Receiver<Input>) {
        for _ in 1..TURN_MAX {
            let Ok(input) = from.try_recv() else { return };
            self.feed(input);
        }
    }

    fn on_chore(&mut self, chore: Chore) {
        match chore {
            Chore::Probed(handle, report) => {
                let devices = report.devices.clone();
                if report.uuids.iter().any(|uuid| !uuid.is_empty()) {
                    handle.watch(report.uuids.clone(), self.sights.clone());
                }
                self.workers = Some(handle);
                self.devices = Some(report);
                // What is not lent is never on offer, not even for a moment.
                self.look_at_owner();
                self.probed.send_replace(self.devices_view());
                self.feed(Input::Devices(devices));
            }
            Chore::Needed(hash, reply) => {
                let _ = reply.try_send(self.engine.holds(&hash));
            }
            Chore::Imported(imported) => self.on_imported(imported),
        }
    }

    fn feed(&mut self, input: Input) {
        if let Input::Addresses(addresses) = &input {
            let full = addresses.iter().map(|address| net::full_address(&self.id, address));
            self.addresses.send_replace(full.collect());
        }
        if let Input::Peer { from, said: PeerInput::Connected } = &input {
            tracing::debug!(peer = %from.short(), "connected");
        }
        let effects = self.engine.handle(input, self.clock.now());
        self.perform(effects);
    }

    /// Tells the engine what was known at once; what is left after one turn is told in the next.
    fn settle(&mut self) {
        for _ in 0..TURN_MAX {
            let Some(input) = self.undelivered.pop_front() else { return };
            self.feed(input);
        }
    }

    /// Before the disk is waited for: lets out what was said, and takes in what came meanwhile, so that one sync covers
    /// its records as well.
    async fn gather(&mut self, queues: &mut Queues) {
        tokio::task::yield_now().await;
        // What was known before goes first, however much it is.
        if self.undelivered.is_empty() {
            self.take_more(&mut queues.local);
            self.take_more(&mut queues.peers);
        }
        self.settle();
    }

    async fn down(self) {
        let Driver { net, ledger, events, watchers, .. } = self;
        // Streams of events end here; their last lines are on the way.
        drop(watchers);
        net.shutdown().await;
        ledger.shutdown().await;
        // Waits for the log's thread, which may still have lines to write.
        let _ = tokio::task::spawn_blocking(move || drop(events)).await;
    }
}
