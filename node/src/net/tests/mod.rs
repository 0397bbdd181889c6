//! Real swarms on loopback, in one process. A test waits for typed inputs under one deadline and never sleeps.

mod asking;
mod finding;
mod routing;
pub(super) mod samples;

use super::*;
use ion_protocol::{
    Millis, NetworkId, Signed,
    advert::Advert,
    limits::ADVERTS_PER_ANSWER_MAX,
    message::{Request, Response},
};
use ion_scheduler::input::{Answer, CallError, CallId, InboundId, PeerInput};
use samples::key;
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

/// Everything a test waits for happens within this, or the test fails.
const DEADLINE: Duration = Duration::from_secs(90);
/// Where nobody listens: no port of a user's, and never given out.
const NOBODY: &str = "/ip4/127.0.0.1/tcp/1";
/// Inputs between the net and a test's driver: small, so that waiting for room happens.
const INPUTS: usize = 8;

/// How a test node is started.
struct Setup {
    seed: u8,
    role: Role,
    listen: Vec<String>,
    bootstrap: Vec<String>,
    cache: Option<PathBuf>,
    network: &'static str,
    /// Whether its driver answers questions for adverts with what it heard.
    shares: bool,
}

fn node(seed: u8) -> Setup {
    Setup {
        seed,
        role: Role::Full,
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        bootstrap: Vec::new(),
        cache: None,
        network: "test",
        shares: true,
    }
}

impl Setup {
    fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    fn listen(mut self, addresses: &[&str]) -> Self {
        self.listen = addresses.iter().map(|&a| a.to_owned()).collect();
        self
    }

    fn boot(mut self, node: &TestNode) -> Self {
        self.bootstrap.push(node.addresses[0].clone());
        self
    }

    fn config(&self, cache: PathBuf) -> NetConfig {
        NetConfig {
            key: key(self.seed),
            network: NetworkId::named(self.network),
            role: self.role,
            listen: self.listen.clone(),
            bootstrap: self.bootstrap.clone(),
            peer_cache: cache,
            external: Vec::new(),
        }
    }

    async fn start(self) -> TestNode {
        let dir = tempfile::tempdir().unwrap();
        let cache = self.cache.clone().unwrap_or_else(|| dir.path().join("peers"));
        let (sender, inputs) = mpsc::channel(INPUTS);
        let net = start(self.config(cache), sender).await.unwrap();
        let mut node = TestNode {
            id: key(self.seed).node_id(),
            net,
            inputs,
            kept: VecDeque::new(),
            heard: BTreeMap::new(),
            shares: self.shares,
            addresses: Vec::new(),
            calls: 0,
            _dir: dir,
        };
        if !self.listen.is_empty() {
            node.addresses = node
                .wait("its addresses", |input| match input {
                    Input::Addresses(addresses) => Some(addresses.clone()),
                    _ => None,
                })
                .await;
        }
        node
    }
}

/// A node with a driver that keeps what it hears.
struct TestNode {
    id: NodeId,
    net: Net,
    inputs: mpsc::Receiver<Input>,
    kept: VecDeque<Input>,
    heard: BTreeMap<NodeId, Signed<Advert>>,
    shares: bool,
    addresses: Vec<String>,
    calls: u64,
    _dir: tempfile::TempDir,
}

impl TestNode {
    /// The next input `pick` wants, kept ones first; others are kept for later.
    async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Input) -> Option<T>) -> T {
        if let Some(at) = self.kept.iter().position(|input| pick(input).is_some()) {
            let input = self.kept.remove(at).unwrap();
            return pick(&input).unwrap();
        }
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                let input = self.inputs.recv().await.expect("the network side goes on");
                if let Some(found) = pick(&input) {
                    self.note(&input);
                    return found;
                }
                if !self.note(&input) {
                    self.kept.push_back(input);
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{} waited for {what}; it heard {:#?}", self.id.short(), self.kept),
        }
    }

    /// What a driver does by itself: remembers adverts and answers questions for them.
    fn note(&mut self, input: &Input) -> bool {
        match input {
            Input::Peer { said: PeerInput::Advert(advert), .. } => {
                self.heard.insert(advert.node, advert.signed().clone());
                false
            }
            Input::Peer { said: PeerInput::AdvertsAsked { inbound, max }, .. } => {
                let most = usize::from(*max).min(ADVERTS_PER_ANSWER_MAX);
                let known = self.heard.values().filter(|_| self.shares).take(most).cloned().collect();
                self.net.handle.answer(*inbound, Response::Adverts(known)).unwrap();
                true
            }
            _ => false,
        }
    }

    /// Lives on in the background, as a node does whose driver works.
    fn drive(mut self) -> Driven {
        let (id, addresses, handle) = (self.id, self.addresses.clone(), self.net.handle.clone());
        let task = tokio::spawn(async move {
            while let Some(input) = self.inputs.recv().await {
                self.note(&input);
            }
            drop(self);
        });
        Driven { id, addresses, handle, _task: task }
    }

    fn call(&mut self, to: NodeId, addresses: &[String], request: Request, timeout: u64) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        self.net.handle.call(call, to, addresses.to_vec(), request, Millis(timeout)).unwrap();
        call
    }

    async fn answer_to(&mut self, call: CallId) -> Result<Answer, CallError> {
        self.wait("an answer", |input| match input {
            Input::Answer { call: found, result, .. } if *found == call => Some(result.clone()),
            _ => None,
        })
        .await
    }

    async fn connected(&mut self, to: NodeId) {
        self.wait("a connection", |input| {
            matches!(input, Input::Peer { from, said: PeerInput::Connected } if *from == to).then_some(())
        })
        .await;
    }

    async fn disconnected(&mut self, from_whom: NodeId) {
        self.wait("the end of a connection", |input| {
            matches!(input, Input::Peer { from, said: PeerInput::Disconnected } if *from == from_whom)
                .then_some(())
        })
        .await;
    }

    /// A question after a job, as the driver sees it.
    async fn query(&mut self, of: NodeId) -> InboundId {
        self.wait("a question after a job", |input| match input {
            Input::Peer { from, said: PeerInput::Query { inbound, .. } } if *from == of => Some(*inbound),
            _ => None,
        })
        .await
    }

    async fn advert_of(&mut self, provider: NodeId) -> u64 {
        self.wait("an advert", |input| match input {
            Input::Peer { said: PeerInput::Advert(advert), .. } if advert.node == provider => {
                Some(advert.seq)
            }
            _ => None,
        })
        .await
    }

    async fn stop(mut self) {
        let handle = self.net.handle.clone();
        let (_, ended) = tokio::join!(handle.shutdown(), &mut self.net.task);
        assert_eq!(ended.unwrap(), Ok(()));
    }
}

/// A node whose driver runs by itself.
struct Driven {
    id: NodeId,
    addresses: Vec<String>,
    handle: NetHandle,
    _task: JoinHandle<()>,
}
