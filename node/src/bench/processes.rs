//! Real processes: how soon an offer is usable, what an idle node holds, and how fast warm jobs go.

use super::{Figure, micros, network, quantile};
use crate::{
    config::{NodeConfig, Role},
    control::{
        ControlClient,
        api::{ControlRequest, ControlResponse, FileRef},
    },
    driver::Node,
    ledger::RawSync,
};
use anyhow::{Context as _, bail};
use ion_protocol::{
    BlobHash, Bytes, JobId, Millis, NanoIo,
    job::{JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step},
    record::JobEnd,
};
use ion_scheduler::event::Event;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

/// What the nodes of the benchmark call their network.
const NETWORK: &str = "bench";
/// A whole stage takes seconds; beyond this something is broken, and says so.
const STAGE_MAX: Duration = Duration::from_secs(60);
/// Jobs in flight in the pipelined round.
const PIPELINED: usize = 8;
/// Does nothing: what is measured is everything else.
const EMPTY_PTX: &str =
    ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry empty()\n{\n\tret;\n}\n";
/// Syncs that a job waits for, one after the other: of the job and its order, of the acceptance and the receipt, of the
/// countersignature.
const SYNCS_PER_JOB: u32 = 3;

/// Bytes of a raw sync: about what a job writes with each of its own.
const SYNC_BYTES: usize = 1_024;
/// Turns of jobs and yardsticks.
const TURNS: u32 = 5;
/// Chains of a round trip and a sync, as many of each as [`SYNCS_PER_JOB`], in a turn.
const CHAINS: usize = 60;

pub(super) async fn figures(dir: &Path, jobs: u32) -> anyhow::Result<Vec<Figure>> {
    let provider = NodeProcess::start(dir, "provider", &["--backend", "cpu"], None).await?;
    timeout(STAGE_MAX, devices_offered(&provider)).await.context("the provider found no device")??;
    let mut figures = first_offer_and_memory(dir, &provider).await?;

    // Two processes take part in a job: its light node is in this one, as that of `ion run` is.
    let mut config = NodeConfig::new(Role::Light, dir.join("submitter"));
    (config.network, config.bootstrap) = (NETWORK.to_owned(), provider.address.clone().into_iter().collect());
    let light = Node::start(config).await?;
    offered(&mut light.control()).await?;
    std::fs::write(dir.join("empty.ptx"), EMPTY_PTX)?;
    figures.extend(one_at_a_time(&light, dir, jobs).await?);
    let rate = pipelined(&light, dir, jobs).await?;
    figures.push(Figure::new(format!("dispatch: jobs, {PIPELINED} in flight"), rate, "1/s"));
    light.stop();
    light.finished().await?;
    Ok(figures)
}

async fn first_offer_and_memory(dir: &Path, provider: &NodeProcess) -> anyhow::Result<Vec<Figure>> {
    let start = Instant::now();
    let light = NodeProcess::start(dir, "light", &["--light"], provider.address.as_deref()).await?;
    offered(&mut ControlClient::connect(&light.data_dir).await?).await?;
    let offer = start.elapsed().as_secs_f64();
    let name = "offer: from start of a light node to its first usable offer, provider ready";
    Ok(vec![
        Figure::new(name, offer, "s").target("at most 2 s"),
        Figure::new("memory: idle provider, resident", resident(provider)?, "MiB"),
        Figure::new("memory: idle light node, resident", resident(&light)?, "MiB").target("at most 40 MB"),
    ])
}

/// Jobs and what they are measured against take turns, so that all meet the same machine. A job begins as soon as the
/// last one is done for its owner, while that is still being settled at its provider.
async fn one_at_a_time(light: &Node, dir: &Path, jobs: u32) -> anyhow::Result<Vec<Figure>> {
    let (mut client, mut echo, mut raw) =
        (light.control(), network::Echo::start().await?, RawSync::new(dir)?);
    let (mut round_trips, mut syncs, mut chains, mut jobs_done) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for _ in 0..CHAINS {
            let begun = Instant::now();
            for _ in 0..SYNCS_PER_JOB {
                round_trips.push(echo.round_trip().await?);
                syncs.push(raw.once(SYNC_BYTES)?);
            }
            chains.push(begun.elapsed());
        }
        for number in 0..jobs / TURNS + WARM_UP {
            let took = one_job(&mut client, dir).await?;
            if number >= WARM_UP {
                jobs_done.push(took);
            }
        }
    }
    let rate = jobs_done.len() as f64 / jobs_done.iter().sum::<Duration>().as_secs_f64();
    let (round_trip, sync) = (median(&mut round_trips), median(&mut syncs));
    let (p50, chain) = (median(&mut jobs_done), median(&mut chains));
    Ok(vec![
        Figure::new("dispatch: raw libp2p request-response round trip, p50", round_trip, "µs"),
        Figure::new("dispatch: raw write and sync, p50", sync, "µs"),
        Figure::new("dispatch: empty kernel, submit to countersigned, p50", p50, "µs")
            .against("raw round trip", round_trip),
        Figure::new("dispatch: the same p50", p50, "µs")
            .against("3 round trips, a raw sync after each", chain)
            .target("at most 1"),
        Figure::new("dispatch: empty kernel, p99", micros(quantile(&jobs_done, 0.99)), "µs")
            .against("raw round trip", round_trip),
        Figure::new("dispatch: jobs one at a time", rate, "1/s"),
    ])
}

/// Sorts, and gives the middle in microseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    micros(quantile(times, 0.5))
}

/// Jobs a second with several in flight.
async fn pipelined(light: &Node, dir: &Path, jobs: u32) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let share = jobs / PIPELINED as u32;
    let mut lanes = JoinSet::new();
    for _ in 0..PIPELINED {
        let (mut client, dir) = (light.control(), dir.to_owned());
        lanes.spawn(async move {
            for _ in 0..share {
                one_job(&mut client, &dir).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(f64::from(share) * PIPELINED as f64 / begun.elapsed().as_secs_f64())
}

/// Jobs before the clock starts: connections, workers and caches are warm after them.
const WARM_UP: u32 = 10;

/// An `ion node` of its own; killed when dropped.
struct NodeProcess {
    child: Child,
    data_dir: PathBuf,
    address: Option<String>,
}

impl NodeProcess {
    async fn start(dir: &Path, name: &str, flags: &[&str], bootstrap: Option<&str>) -> anyhow::Result<Self> {
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
}

/// Resident memory in MiB.
fn resident(node: &NodeProcess) -> anyhow::Result<f64> {
    let pid = node.child.id().context("the node has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Waits until the provider knows what it has: measuring its devices is not what a light node waits for.
async fn devices_offered(provider: &NodeProcess) -> anyhow::Result<()> {
    let mut client = ControlClient::connect(&provider.data_dir).await?;
    loop {
        match client.ask(ControlRequest::Devices).await? {
            ControlResponse::Devices(view) if !view.devices.is_empty() => return Ok(()),
            ControlResponse::Devices(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => bail!("unexpected answer {other:?}"),
        }
    }
}

/// Asks the node until it knows a device with room.
async fn offered(client: &mut ControlClient) -> anyhow::Result<()> {
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

/// The time of one job, from its submission to its receipt signed by both.
async fn one_job(client: &mut ControlClient, dir: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    timeout(STAGE_MAX, job(client, dir)).await.context("a job did not end")??;
    Ok(begun.elapsed())
}

async fn job(client: &mut ControlClient, dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("empty.ptx");
    let (hash, bytes) = (BlobHash::of(EMPTY_PTX.as_bytes()), Bytes(EMPTY_PTX.len() as u64));
    let job = JobId(fastrand::u128(..).to_le_bytes());
    let files = vec![FileRef { hash, path, bytes }];
    let spec = Box::new(empty_job(hash, bytes));
    match client.ask(ControlRequest::Submit { job, spec, files, verify: 0, watch: true }).await? {
        ControlResponse::Submitted { .. } => {}
        other => bail!("the job was not taken on: {other:?}"),
    }
    let mut end = None;
    while let Some(line) = client.next_event().await? {
        if let Event::JobEnded { end: how, .. } = line.event {
            end = Some(how);
        }
    }
    match end {
        Some(JobEnd::Done { .. }) => Ok(()),
        other => bail!("the empty job ended with {other:?}"),
    }
}

fn empty_job(hash: BlobHash, bytes: Bytes) -> JobSpec {
    let launch = Launch {
        module: 0,
        kernel: "empty".to_owned(),
        grid: [1, 1, 1],
        block: [1, 1, 1],
        shared_bytes: 0,
        args: Vec::new(),
    };
    let module = Module { name: "empty.ptx".to_owned(), source: Source::Ptx, blob: hash, bytes };
    JobSpec {
        name: "empty".to_owned(),
        needs: Needs::default(),
        limits: JobLimits { run: Millis(10_000), memory: Bytes(1 << 20), price: NanoIo(1_000_000_000) },
        program: Program {
            modules: vec![module],
            buffers: Vec::new(),
            phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
        },
    }
}
