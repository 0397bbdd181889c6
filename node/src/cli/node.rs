//! `ion node`

use super::{
    CliError,
    args::{Common, NodeArgs},
    block_on_all, devices,
    local::Local,
    output,
    signals::Endings,
    start, words,
};
use crate::{
    config::{NodeConfig, PRICE_PER_SECOND_DEFAULT, Role},
    control::api::DevicesView,
    events::{EventLine, GATHERED},
    owner::Rules,
};
use ion_protocol::{NanoIo, NodeId, units::measured_rate};
use serde::Serialize;
use std::path::PathBuf;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// The first line of `ion node --json`; after it comes one line an event.
#[derive(Serialize)]
struct Listening {
    event: &'static str,
    node: NodeId,
    role: Role,
    network: String,
    addresses: Vec<String>,
    data_dir: PathBuf,
}

/// Runs a node until it is told to stop.
pub fn node(common: &Common, args: NodeArgs) -> Result<(), CliError> {
    let config = settle(common, args)?;
    block_on_all(async {
        let mut endings = Endings::listen()?;
        let (role, network, data_dir) = (config.role, config.network.clone(), config.data_dir.clone());
        let (listens, price) = (!config.listen.is_empty(), config.price_per_second);
        let local = Local::start(config).await?;
        let mut events = local.events();
        let addresses = if listens { local.addresses().await } else { Vec::new() };
        let listening =
            Listening { event: "listening", node: local.id(), role, network, addresses, data_dir };
        introduce(common, &listening)?;
        let (mut asked, mut told, mut offered) = (false, Ok(()), common.json);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => {
                    let mut next = match event {
                        Ok(line) => Ok(line),
                        Err(RecvError::Lagged(missed)) => Err(TryRecvError::Lagged(missed)),
                        Err(RecvError::Closed) => break,
                    };
                    // What happens within a moment is told at once: no thread wakes for each line of a busy node.
                    tokio::time::sleep(GATHERED).await;
                    loop {
                        match next {
                            Ok(line) if told.is_ok() => told = tell(common, &line),
                            Ok(_) => {}
                            Err(TryRecvError::Lagged(missed)) => {
                                tracing::warn!(missed, "events came faster than they were told; the event log has them");
                            }
                            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                        }
                        next = events.try_recv();
                    }
                    // Whoever read it is gone (`ion node | tee log`, and Ctrl-C): no reason to leave others' jobs half done.
                    if told.is_err() && !asked {
                        asked = stop(&local, asked);
                    }
                }
                view = local.devices(), if !offered => {
                    offered = true;
                    told = told.and_then(|()| offering(&view, price));
                }
                // The node is going down; why is for `finished` to say.
                () = local.stopping() => break,
                () = endings.next() => asked = stop(&local, asked),
            }
        }
        local.finished().await?;
        told
    })
}

/// The first wish finishes what runs, the second does not.
fn stop(local: &Local, asked: bool) -> bool {
    if asked {
        output::note("stopping now");
        local.stop();
    } else {
        output::note("finishing what runs; once more to stop now");
        local.drain();
    }
    true
}

fn introduce(common: &Common, node: &Listening) -> Result<(), CliError> {
    if common.json {
        return output::json(node);
    }
    output::line(&format!(
        "node {} ({}) on network {}",
        node.node,
        node.role,
        output::printable(&node.network)
    ))?;
    for address in &node.addresses {
        output::line(&format!("listening on {address}"))?;
    }
    if node.addresses.is_empty() {
        output::line("listening nowhere: this node only dials")?;
    }
    output::line(&format!("data in {}; stop with Ctrl-C or `ion stop`", node.data_dir.display()))
}

/// What it lends from now on, at what price.
fn offering(view: &DevicesView, price: NanoIo) -> Result<(), CliError> {
    for device in &view.devices {
        let label = devices::named(&device.device);
        let rate = measured_rate(device.device.power.f32_mflops);
        let lent = match device.withheld {
            None => format!("for {price} a second"),
            Some(why) => format!("later: {why}"),
        };
        let line = format!("offers {label} with {}, {rate} GFLOP/s, {lent}", device.device.memory);
        output::line(&output::printable(&line))?;
    }
    if view.devices.is_empty() {
        output::line("offers no device; `ion doctor` says why, and what to do about it")?;
    }
    Ok(())
}

fn tell(common: &Common, line: &EventLine) -> Result<(), CliError> {
    if common.json { output::json(line) } else { output::line(&words::event_of_many(&line.event)) }
}

/// What holds, from what was typed.
fn settle(common: &Common, args: NodeArgs) -> Result<NodeConfig, CliError> {
    let role = match (args.light, args.relay) {
        (true, _) => Role::Light,
        (false, true) => Role::Relay,
        (false, false) => Role::Provider,
    };
    let mut config = NodeConfig::new(role, start::data_dir(common)?);
    if !args.listen.is_empty() {
        config.listen = args.listen;
    }
    config.bootstrap = args.join.bootstrap;
    config.network = args.join.network;
    config.price_per_second = args.price.unwrap_or(PRICE_PER_SECOND_DEFAULT);
    config.backend = args.backend.into();
    config.region = args.region.unwrap_or_default();
    config.memory_percent = args.memory_percent;
    if let Some(keep_free) = args.owner.keep_free {
        config.keep_free = keep_free;
    }
    config.rules = Rules {
        hours: args.owner.hours,
        celsius_max: args.owner.celsius_max,
        watts_max: args.owner.watts_max,
        yields: !args.owner.no_yield,
    };
    if !args.relay {
        config.challenge = args.challenge;
    }
    if let Some(quota) = args.blob_quota {
        config.blob_quota = quota;
    }
    Ok(config)
}
