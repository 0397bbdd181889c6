//! Where a verb finds its node: the running one of the data directory, or one started for the purpose.

use super::{
    CliError,
    args::{Common, JoinArgs},
    local::Local,
    output,
};
use crate::{
    config::{NodeConfig, Role},
    control::{ControlClient, ControlError},
    driver::{NodeError, at_rest},
    ledger::LedgerError,
    manifest::Job,
    show,
};
use serde::Serialize;
use std::{
    env,
    path::{Path, PathBuf},
};

/// What was typed, else the environment, else the place the system has for it.
pub fn data_dir(common: &Common) -> Result<PathBuf, CliError> {
    if let Some(dir) = &common.data_dir {
        return Ok(dir.clone());
    }
    let of = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = of("ION_DATA_DIR")
        // The XDG specification says to ignore relative paths.
        .or_else(|| of("XDG_DATA_HOME").filter(|p| p.is_absolute()).map(|p| p.join("ion")))
        .or_else(|| of("HOME").map(|home| home.join(".local/share/ion")));
    dir.ok_or_else(|| {
        CliError::usage(
            "no data directory: neither $ION_DATA_DIR nor $HOME is set",
            "name one with `--data-dir DIR`",
        )
    })
}

/// The running node.
pub async fn connect(common: &Common) -> Result<ControlClient, CliError> {
    Ok(ControlClient::connect(&data_dir(common)?).await?)
}

/// The running node, if there is one.
pub async fn connect_if_running(common: &Common) -> Result<Option<ControlClient>, CliError> {
    match ControlClient::connect(&data_dir(common)?).await {
        Ok(client) => Ok(Some(client)),
        Err(ControlError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who answers a verb that can do without a running node.
#[derive(Debug)]
pub struct Source {
    /// Asks it.
    pub client: ControlClient,
    /// Whether it is the running node; else it is what the journal of one that stopped holds.
    pub node_runs: bool,
}

/// What it answered, as JSON.
#[derive(Serialize)]
pub struct Told<'a, T> {
    #[serde(flatten)]
    body: &'a T,
    node_runs: bool,
}

impl Source {
    /// One document.
    pub fn told<'a, T>(&self, body: &'a T) -> Told<'a, T> {
        Told { body, node_runs: self.node_runs }
    }

    /// A list of them.
    pub fn told_all<'a, T>(&self, bodies: &'a [T]) -> Vec<Told<'a, T>> {
        bodies.iter().map(|body| self.told(body)).collect()
    }
}

/// The running node; or, if there is none, its journal.
pub async fn connect_or_read(common: &Common) -> Result<Source, CliError> {
    if let Some(client) = connect_if_running(common).await? {
        return Ok(Source { client, node_runs: true });
    }
    let dir = data_dir(common)?;
    let client = at_rest(&dir).map_err(|error| match error {
        LedgerError::InUse { .. } => CliError::node(
            format!("{} is in use, and no node answers there: one is starting or stopping", dir.display()),
            "ask again in a moment",
        ),
        other => NodeError::from(other).into(),
    })?;
    let client = client.ok_or(ControlError::NotRunning { data_dir: dir.clone() })?;
    if !common.quiet && !common.json {
        let dir = dir.display();
        output::note(&format!("note: no node is running on {dir}; this is what its journal holds"));
    }
    Ok(Source { client, node_runs: false })
}

/// The file in the data directory where the node remembers peers it met.
const PEER_CACHE: &str = "peers";

/// The running node; or, if there is none, a light one in this process that joins as `join` says.
pub async fn connect_or_start(
    common: &Common,
    join: &JoinArgs,
) -> Result<(ControlClient, Option<Local>), CliError> {
    let dir = data_dir(common)?;
    if let Some(client) = connect_if_running(common).await? {
        if !join.bootstrap.is_empty() && !common.quiet {
            output::note(&format!(
                "note: a node runs on {} already, and joined its own way; `--bootstrap` is not used",
                dir.display()
            ));
        }
        return Ok((client, None));
    }
    if join.bootstrap.is_empty() && !dir.join(PEER_CACHE).exists() {
        return Err(CliError::node(
            format!("no node is running on {}, and a new one knows nobody to join through", dir.display()),
            "name a peer with `--bootstrap ADDRESS`, or start a node with `ion node`",
        ));
    }
    let mut config = NodeConfig::new(Role::Light, dir);
    config.bootstrap.clone_from(&join.bootstrap);
    config.network.clone_from(&join.network);
    let local = Local::start(config).await?;
    Ok((local.control(), Some(local)))
}

/// The way out where results can't be written.
pub const OUT_HINT: &str = "choose another directory with `--out`";

/// Makes sure that results can be written to `out`, before anything runs or is paid for.
pub fn prepare(out: &Path, job: &Job) -> Result<(), CliError> {
    if job.outputs.is_empty() {
        return Ok(());
    }
    let ready = show::ready(out, job.outputs.iter().map(|wanted| wanted.file.as_str()));
    ready.map_err(|error| CliError::node(error.to_string(), OUT_HINT))
}
