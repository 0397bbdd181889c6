//! Two nodes for a benchmark: a provider that is a process of its own, a light node in this one, and jobs from it.

use crate::{
    config::{Backend, NodeConfig, Role},
    control::{
        ControlClient,
        api::{ControlRequest, ControlResponse, FileRef},
    },
    driver::Node,
};
use anyhow::{Context as _, bail};
use ion_protocol::{
    BlobHash, Bytes, JobId, Millis, NanoIo, Nanos,
    job::{Arg, Buffer, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step},
    record::JobEnd,
};
use ion_scheduler::event::Event;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// What the nodes of the benchmark call their network.
const NETWORK: &str = "bench";
/// A whole stage takes seconds; beyond this something is broken, and says so.
pub(super) const STAGE_MAX: Duration = Duration::from_secs(60);

/// An `ion node` of its own; killed when dropped.
pub(super) struct NodeProcess {
    child: Child,
    pub data_dir: PathBuf,
    pub address: Option<String>,
}

impl NodeProcess {
    /// Starts one; returns once it listens.
    pub async fn start(
        dir: &Path,
        name: &str,
        flags: &[&str],
        bootstrap: Option<&str>,
    ) -> anyhow::Result<Self> {
        let data_dir = dir.join(name);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["node", "--json", "--listen", "/ip4/127.0.0.1/tcp/0", "--challenge", "off"])
            .args(["--network", NETWORK])
            .args(flags);
        command.arg("--data-dir").arg(&data_dir);
        bootstrap.iter().for_each(|address| {
            command.args(["--bootstrap", address]);
        });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("the node's output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(STAGE_MAX, lines.next_line()).await.context("the node did not start")??;
        let first = first.with_context(|| format!("the {name} node ended at once"))?;
        let line: serde_json::Value = serde_json::from_str(&first)?;
        let address = line["addresses"][0].as_str().map(str::to_owned);
        // Its later lines are not needed, but its pipe must not fill.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, data_dir, address })
    }

    /// Starts one that offers what `backend` is; returns once it knows what it has, so that nothing later waits for that.
    pub async fn provider(dir: &Path, backend: Backend) -> anyhow::Result<Self> {
        let provider = Self::start(dir, "provider", &["--backend", &backend.to_string()], None).await?;
        let offered = timeout(STAGE_MAX, provider.devices_offered()).await;
        offered.context("the provider found no device; `ion doctor` says why")??;
        Ok(provider)
    }

    async fn devices_offered(&self) -> anyhow::Result<()> {
        let mut client = ControlClient::connect(&self.data_dir).await?;
        loop {
            match client.ask(ControlRequest::Devices).await? {
                ControlResponse::Devices(view) if !view.devices.is_empty() => return Ok(()),
                ControlResponse::Devices(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                other => bail!("unexpected answer {other:?}"),
            }
        }
    }

    /// A light node that knows it, in this process as that of `ion run` is; returns once it knows of a device with room.
    pub async fn light(&self, dir: &Path) -> anyhow::Result<Node> {
        let mut config = NodeConfig::new(Role::Light, dir.join("submitter"));
        (config.network, config.bootstrap) = (NETWORK.to_owned(), self.address.clone().into_iter().collect());
        let light = Node::start(config).await?;
        offered(&mut light.control()).await?;
        Ok(light)
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let pid = self.child.id().context("the node has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

/// Asks the node until it knows a device with room.
pub(super) async fn offered(client: &mut ControlClient) -> anyhow::Result<()> {
    timeout(STAGE_MAX, first_offer(client)).await.context("no offer arrived")?
}

async fn first_offer(client: &mut ControlClient) -> anyhow::Result<()> {
    loop {
        match client.ask(ControlRequest::Offers).await? {
            ControlResponse::Offers(offers) if offers.iter().any(|offer| offer.free > 0) => return Ok(()),
            ControlResponse::Offers(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => bail!("unexpected answer {other:?}"),
        }
    }
}

/// A job of one kernel without inputs, to be submitted again and again.
#[derive(Clone)]
pub(super) struct Job {
    spec: JobSpec,
    file: FileRef,
}

impl Job {
    /// One launch of one warp of the kernel `name`; its text is kept in `dir`.
    pub fn of(
        dir: &Path,
        name: &str,
        ptx: &str,
        buffers: Vec<Buffer>,
        args: Vec<Arg>,
    ) -> anyhow::Result<Self> {
        let path = dir.join(format!("{name}.ptx"));
        std::fs::write(&path, ptx)?;
        let (hash, bytes) = (BlobHash::of(ptx.as_bytes()), Bytes(ptx.len() as u64));
        let launch = Launch {
            module: 0,
            kernel: name.to_owned(),
            grid: [1, 1, 1],
            block: [32, 1, 1],
            shared_bytes: 0,
            args,
        };
        let spec = JobSpec {
            name: name.to_owned(),
            needs: Needs::default(),
            limits: JobLimits { run: Millis(10_000), memory: Bytes(1 << 20), price: NanoIo(1_000_000_000) },
            program: Program {
                modules: vec![Module { name: format!("{name}.ptx"), source: Source::Ptx, blob: hash, bytes }],
                buffers,
                phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
            },
        };
        Ok(Self { spec, file: FileRef { hash, path, bytes } })
    }

    /// Submits it and waits for its receipt signed by both; gives the device's time.
    pub async fn run(&self, client: &mut ControlClient) -> anyhow::Result<Nanos> {
        timeout(STAGE_MAX, self.until_done(client)).await.context("a job did not end")?
    }

    async fn until_done(&self, client: &mut ControlClient) -> anyhow::Result<Nanos> {
        let (job, spec) = (JobId(fastrand::u128(..).to_le_bytes()), Box::new(self.spec.clone()));
        let files = vec![self.file.clone()];
        match client.ask(ControlRequest::Submit { job, spec, files, verify: 0, watch: true }).await? {
            ControlResponse::Submitted { .. } => {}
            other => bail!("the job was not taken on: {other:?}"),
        }
        let mut ended = None;
        while let Some(line) = client.next_event().await? {
            if let Event::JobEnded { end, device_time, .. } = line.event {
                ended = Some((end, device_time));
            }
        }
        match ended {
            Some((JobEnd::Done { .. }, device_time)) => Ok(device_time),
            other => bail!("the job `{}` ended with {other:?}", self.spec.name),
        }
    }
}
