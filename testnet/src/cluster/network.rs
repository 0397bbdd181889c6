//! A whole network: one node that only helps others meet, providers, and light nodes. They are told one address.

use super::{
    Cluster,
    ion::Ion,
    log::{Deadline, Mark, Said},
    node::Role,
};
use anyhow::{Context, Result};
use ion_protocol::NodeId;
use ion_scheduler::event::Event;
use std::collections::BTreeSet;

/// From a node's start until it knows all offers: a few round trips, on a machine that starts ten other processes.
pub const MEET_SECONDS: u64 = 30;

/// A cluster with the positions of its nodes.
#[derive(Debug)]
pub struct Network {
    /// The processes.
    pub cluster: Cluster,
    /// The node all others are told of.
    pub hub: usize,
    /// Who offers devices.
    pub providers: Vec<usize>,
    /// Who orders.
    pub lights: Vec<usize>,
}

impl Network {
    /// Starts all nodes and waits until each listens.
    pub fn start(ion: Ion, name: &str, providers: usize, lights: usize, backend: &str) -> Result<Self> {
        let mut cluster = Cluster::new(ion, name)?;
        let hub = cluster.add("network", Role::Network, backend, &[]);
        cluster.start_ready(hub)?;
        let known = [cluster[hub].addresses.first().context("the network node listens nowhere")?.clone()];
        let providers: Vec<usize> = (1..=providers)
            .map(|n| cluster.add(&format!("provider-{n}"), Role::Provider, backend, &known))
            .collect();
        let lights: Vec<usize> = (1..=lights)
            .map(|n| {
                let name = if lights == 1 { "light".to_owned() } else { format!("light-{n}") };
                cluster.add(&name, Role::Light, backend, &known)
            })
            .collect();
        let started: Vec<(usize, Mark)> = providers
            .iter()
            .chain(&lights)
            .map(|node| cluster.start(*node).map(|mark| (*node, mark)))
            .collect::<Result<_>>()?;
        for (node, mark) in started {
            cluster.ready(node, mark)?;
        }
        Ok(Self { cluster, hub, providers, lights })
    }

    /// Waits until `node` has seen an offer of every provider that runs, since `from`.
    pub fn wait_for_offers(&self, node: usize, from: Mark) -> Result<()> {
        let up = self.providers.iter().filter(|p| self.cluster[**p].is_up());
        let wanted: BTreeSet<NodeId> = up.filter_map(|p| self.cluster[*p].id).collect();
        self.wait_for_offers_of(node, from, wanted)
    }

    /// Waits until `node` has seen an offer of each of `wanted`, since `from`.
    pub fn wait_for_offers_of(&self, node: usize, from: Mark, mut wanted: BTreeSet<NodeId>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::seconds(MEET_SECONDS);
        let what = format!("{} to see {} offers", self.cluster[node].name(), wanted.len());
        self.cluster.log.wait(from, deadline, &what, |line| {
            if let Said::Event(Event::OfferSeen { provider, .. }) = &line.said
                && line.node == node
            {
                wanted.remove(provider);
            }
            Ok(wanted.is_empty().then_some(()))
        })?;
        Ok(())
    }
}
