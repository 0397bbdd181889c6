//! Real processes: how soon an offer is usable, what an idle node holds, and how fast warm jobs go.

use super::{Figure, micros, network, quantile};
use crate::{
    config::{NodeConfig, Role},
    control::{
        ControlClient,
        api::{ControlRequest, ControlResponse, FileRef},
    },
    driver::Node,
    ledger::bench_appends,
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

/// Turns of the yardsticks and of jobs, so that all meet the same machine at the same time.
const TURNS: u32 = 5;
/// Round trips in a turn.
const ROUND_TRIPS: usize = 400;
/// Seconds of appends in a turn.
const APPEND_SECONDS: f64 = 0.2;

pub(super) async fn figures(dir: &Path, jobs: u32) -> anyhow::Result<Vec<Figure>> {
    let provider = NodeProcess::start(dir, "provider", &["--backend", "cpu"], None).await?;
    timeout(STAGE_MAX, devices_offered(&provider)).await.context("the provider found no device")??;
    let start = Instant::now();
    let light = NodeProcess::start(dir, "light", &["--light"], provider.address.as_deref()).await?;
    offered(&mut ControlClient::connect(&light.data_dir).await?).await?;
    let offer = start.elapsed();
    let idle = (resident(&provider)?, resident(&light)?);
    drop(light);

    // Two processes take part in a job: its light node is in this one, as that of `ion run` is.
    let data_dir = dir.join("submitter");
    let mut config = NodeConfig::new(Role::Light, data_dir.clone());
    (config.network, config.bootstrap) = (NETWORK.to_owned(), provider.address.clone().into_iter().collect());
    let light = Node::start(config).await?;
    let mut client = light.control();
    offered(&mut client).await?;
    std::fs::write(dir.join("empty.ptx"), EMPTY_PTX)?;
    let (mut round_trips, mut appends, mut syncs, mut jobs_done) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TURNS {
        round_trips.extend(network::round_trips(ROUND_TRIPS).await?);
        let ledger = dir.join(format!("appends-{turn}"));
        let appended =
            tokio::task::spawn_blocking(move || bench_appends(&ledger, APPEND_SECONDS, 1)).await??;
        appends.push(Duration::from_nanos(appended.p50.0));
        syncs.push(Duration::from_nanos(appended.raw_p50.0));
        for number in 0..jobs / TURNS + WARM_UP {
            let begun = Instant::now();
            timeout(STAGE_MAX, one_job(&mut client, dir)).await.context("a job did not end")??;
            if number >= WARM_UP {
                jobs_done.push(begun.elapsed());
            }
        }
    }
    round_trips.sort();
    appends.sort();
    syncs.sort();
    let (round_trip, sync) = (quantile(&round_trips, 0.5), quantile(&syncs, 0.5));
    let append = quantile(&appends, 0.5);
    let one_by_one: Duration = jobs_done.iter().sum();
    jobs_done.sort();
    let (p50, p99) = (quantile(&jobs_done, 0.5), quantile(&jobs_done, 0.99));
    let begun = Instant::now();
    let mut lanes = Vec::new();
    for _ in 0..PIPELINED {
        let (mut client, dir) = (light.control(), dir.to_owned());
        let share = jobs / PIPELINED as u32;
        lanes.push(tokio::spawn(async move {
            for _ in 0..share {
                timeout(STAGE_MAX, one_job(&mut client, &dir))
                    .await
                    .context("a pipelined job did not end")??;
            }
            anyhow::Ok(share)
        }));
    }
    let mut pipelined = 0;
    for lane in lanes {
        pipelined += lane.await??;
    }
    let pipelined_seconds = begun.elapsed().as_secs_f64();
    drop(client);
    light.stop();
    light.finished().await?;

    let floor = 3.0 * micros(round_trip) + f64::from(SYNCS_PER_JOB) * micros(sync);
    Ok(vec![
        Figure::new(
            "offer: from start of a light node to its first usable offer, provider ready",
            offer.as_secs_f64(),
            "s",
        )
        .target("at most 2 s"),
        Figure::new("memory: idle provider, resident", idle.0, "MiB"),
        Figure::new("memory: idle light node, resident", idle.1, "MiB").target("at most 40 MB"),
        Figure::new("dispatch: raw libp2p request-response round trip, p50", micros(round_trip), "µs"),
        Figure::new("dispatch: raw write and sync, p50", micros(sync), "µs"),
        Figure::new("dispatch: one durable append, p50", micros(append), "µs")
            .against("raw write and sync", micros(sync)),
        Figure::new("dispatch: empty kernel, submit to countersigned, p50", micros(p50), "µs")
            .against("raw round trip", micros(round_trip)),
        Figure::new("dispatch: the same p50", micros(p50), "µs")
            .against("3 round trips and 3 raw syncs", floor)
            .target("at most 1"),
        Figure::new("dispatch: empty kernel, p99", micros(p99), "µs")
            .against("raw round trip", micros(round_trip)),
        Figure::new("dispatch: jobs one at a time", jobs_done.len() as f64 / one_by_one.as_secs_f64(), "1/s"),
        Figure::new(
            format!("dispatch: jobs, {PIPELINED} in flight"),
            f64::from(pipelined) / pipelined_seconds,
            "1/s",
        ),
    ])
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

async fn one_job(client: &mut ControlClient, dir: &Path) -> anyhow::Result<()> {
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
