//! What holds for a running node, after flags, environment and defaults are settled. What was typed is
//! [`crate::cli`]'s; nothing here parses a command line.

pub mod quantity;

use crate::owner::Rules;
use ion_protocol::{Bytes, Millis, NanoIo};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// Everything a node is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// What it does for the network.
    pub role: Role,
    /// Key, journal, blobs, socket and event log live here; one node at a time.
    pub data_dir: PathBuf,
    /// Where it listens, as multiaddress text; empty for nodes that only dial.
    pub listen: Vec<String>,
    /// Nodes to join through, as multiaddress text ending in `/p2p/..`; may be empty where the peer cache knows some.
    pub bootstrap: Vec<String>,
    /// Price of one second of device time.
    pub price_per_second: NanoIo,
    /// Which devices are offered.
    pub backend: Backend,
    /// Where the operator says the node is; empty if unsaid.
    pub region: String,
    /// The network's name; part of every signature.
    pub network: String,
    /// Most bytes the blob store holds before it forgets what nobody needs.
    pub blob_quota: Bytes,
    /// Share of the machine's memory that jobs on the CPU engine may use, in percent.
    pub memory_percent: u8,
    /// Memory of each device that no job gets.
    pub keep_free: KeepFree,
    /// When and how devices are lent.
    pub rules: Rules,
    /// Whether it checks what others claim, without being told to.
    pub challenge: Challenge,
}

/// How often a node looks for a claim to check by a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Only when its owner says so.
    Off,
    /// As often as this, on average, at random.
    Every(Millis),
}

impl Challenge {
    /// What suits a node that runs on: whoever is new is looked at within minutes, and traffic stays below 2 KB a second.
    pub const AUTO: Self = Challenge::Every(Millis(120_000));

    /// The time, if any.
    pub fn every(self) -> Option<Millis> {
        match self {
            Challenge::Off => None,
            Challenge::Every(time) => Some(time),
        }
    }
}

/// Memory that stays the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepFree {
    /// A share of the device's.
    Percent(u8),
    /// So much.
    Bytes(Bytes),
}

impl KeepFree {
    /// All of it is for jobs.
    pub const NOTHING: Self = KeepFree::Percent(0);

    /// What of `memory` is left for jobs.
    pub fn of(self, memory: Bytes) -> Bytes {
        let kept = match self {
            KeepFree::Percent(percent) => {
                Bytes(u64::try_from(u128::from(memory.0) * u128::from(percent) / 100).unwrap_or(u64::MAX))
            }
            KeepFree::Bytes(bytes) => bytes,
        };
        memory.saturating_sub(kept)
    }
}

/// Network that a node joins unless told otherwise.
pub const NETWORK_DEFAULT: &str = "ion";
/// Price asked by default: 0.0005 IO a second of device time.
pub const PRICE_PER_SECOND_DEFAULT: NanoIo = NanoIo(500_000);
/// Blob store size by default: room for a few of the largest jobs a node takes on by default.
pub const BLOB_QUOTA_DEFAULT: Bytes = Bytes(32 << 30);
/// Memory share by default: the machine stays usable for its owner.
pub const MEMORY_PERCENT_DEFAULT: u8 = 50;
/// Where providers and relays listen by default: every interface, a port the system chooses.
pub const LISTEN_DEFAULT: [&str; 2] = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// `percent` of the machine's memory.
pub fn memory_share(percent: u8) -> Bytes {
    let info = rustix::system::sysinfo();
    let total = u128::from(info.totalram) * u128::from(info.mem_unit);
    Bytes(u64::try_from(total * u128::from(percent) / 100).unwrap_or(u64::MAX))
}

impl NodeConfig {
    /// A node of `role` on `data_dir` with every default.
    pub fn new(role: Role, data_dir: PathBuf) -> Self {
        let listen = match role {
            Role::Provider | Role::Relay => LISTEN_DEFAULT.map(str::to_owned).to_vec(),
            Role::Light => Vec::new(),
        };
        Self {
            role,
            data_dir,
            listen,
            bootstrap: Vec::new(),
            price_per_second: PRICE_PER_SECOND_DEFAULT,
            backend: Backend::Auto,
            region: String::new(),
            network: NETWORK_DEFAULT.to_owned(),
            blob_quota: BLOB_QUOTA_DEFAULT,
            memory_percent: MEMORY_PERCENT_DEFAULT,
            keep_free: KeepFree::NOTHING,
            rules: Rules::default(),
            challenge: Challenge::Off,
        }
    }
}

/// What a node does for the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Offers devices, serves the DHT, submits jobs.
    Provider,
    /// Submits jobs only; asks others, serves nothing.
    Light,
    /// Serves the DHT and adverts, so that others find each other; offers no devices.
    Relay,
}

impl Role {
    /// Whether devices are probed and offered.
    pub fn provides(self) -> bool {
        match self {
            Role::Provider => true,
            Role::Light | Role::Relay => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Provider => "provider",
            Role::Light => "light",
            Role::Relay => "relay",
        })
    }
}

/// Which devices are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// CUDA devices where there are any, else the CPU engine.
    Auto,
    /// CUDA devices only.
    Cuda,
    /// The CPU engine only.
    Cpu,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Auto => "auto",
            Backend::Cuda => "cuda",
            Backend::Cpu => "cpu",
        })
    }
}
