//! A network of real `ion` processes on loopback, each with its own key and data directory.
//!
//! Owns the processes and the temporary directory they live in: both go when the cluster is dropped, unless
//! [`Cluster::keep`] was called. Never looks into a node: what is known of one is what it printed ([`log`]) and what its
//! command line answers ([`ion`]).

pub mod binary;
pub mod cleanup;
pub mod ion;
pub mod log;
pub mod network;
pub mod node;
pub mod script;

use anyhow::{Context, Result};
use ion::Ion;
use log::{Deadline, Log, Mark};
use node::{LISTEN_ANYWHERE, Node, NodeSpec, Role};
use std::{
    fs,
    ops::{Index, IndexMut},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A start of a node: key, journal, probing in a child, on a machine that does ten other things.
pub const START_SECONDS: u64 = 60;

/// Several nodes and the place they live in.
#[derive(Debug)]
pub struct Cluster {
    /// The program under test.
    pub ion: Ion,
    /// What all nodes said.
    pub log: Arc<Log>,
    nodes: Vec<Node>,
    dir: PathBuf,
    keep: bool,
}

impl Cluster {
    /// An empty cluster in a fresh temporary directory whose name starts with `name`.
    pub fn new(ion: Ion, name: &str) -> Result<Self> {
        // Sockets live in it and their paths are bounded to about 100 bytes, so it lies as high as possible.
        let dir = tempfile::Builder::new().prefix(name).tempdir().context("a temporary directory")?.keep();
        cleanup::register_dir(&dir);
        Ok(Self { ion, log: Arc::default(), nodes: Vec::new(), dir, keep: false })
    }

    /// Where everything lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the directory in place at the end.
    pub fn keep(&mut self) {
        self.keep = true;
        cleanup::forget_dir(&self.dir);
    }

    /// A fresh directory in ours.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    /// Adds a node that is not started yet. It will know of the others what `bootstrap` says.
    pub fn add(&mut self, name: &str, role: Role, backend: &str, bootstrap: &[String]) -> usize {
        let spec = NodeSpec {
            name: name.to_owned(),
            role,
            data_dir: self.dir.join(name),
            // A light node listens nowhere, as behind a NAT.
            listen: match role {
                Role::Network | Role::Provider => LISTEN_ANYWHERE.map(str::to_owned).to_vec(),
                Role::Light => Vec::new(),
            },
            bootstrap: bootstrap.to_vec(),
            backend: backend.to_owned(),
            challenge: "off".to_owned(),
            extra: Vec::new(),
        };
        let position = self.nodes.len();
        self.nodes.push(Node::new(position, spec, self.log.clone()));
        position
    }

    /// Starts a node; [`Cluster::ready`] waits for it.
    pub fn start(&mut self, node: usize) -> Result<Mark> {
        let ion = self.ion.path().to_owned();
        self.nodes[node].start(&ion)
    }

    /// Waits until a node listens.
    pub fn ready(&mut self, node: usize, from: Mark) -> Result<()> {
        self.nodes[node].ready(from, Deadline::seconds(START_SECONDS))
    }

    /// Starts a node and waits until it listens.
    pub fn start_ready(&mut self, node: usize) -> Result<()> {
        let mark = self.start(node)?;
        self.ready(node, mark)
    }

    /// All nodes, in the order they were added.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Positions of the nodes of one role.
    pub fn of_role(&self, role: Role) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].spec.role == role).collect()
    }

    /// What is called so by its id, for people: `provider-2`, or the start of a stranger's id.
    pub fn name_of(&self, id: &ion_protocol::NodeId) -> String {
        let known = self.nodes.iter().find(|node| node.id.as_ref() == Some(id));
        known.map_or_else(|| id.short(), |node| node.name().to_owned())
    }
}

impl Index<usize> for Cluster {
    type Output = Node;
    fn index(&self, node: usize) -> &Node {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, node: usize) -> &mut Node {
        &mut self.nodes[node]
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Processes first: they write into the directory.
        self.nodes.clear();
        cleanup::forget_dir(&self.dir);
        if std::thread::panicking() {
            eprintln!("keys, journals, jobs and logs are kept in {}", self.dir.display());
        } else if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            eprintln!("could not remove {}: {error}", self.dir.display());
        }
    }
}
