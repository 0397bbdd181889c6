//! Real processes: how soon an offer is usable, what an idle node holds, and how fast warm jobs go.

use super::{
    Figure, micros, network,
    nodes::{Job, NodeProcess, offered},
    quantile,
};
use crate::{config::Backend, control::ControlClient, driver::Node, ledger::RawSync};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

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
    let provider = NodeProcess::provider(dir, Backend::Cpu).await?;
    let mut figures = first_offer_and_memory(dir, &provider).await?;
    // Two processes take part in a job.
    let light = provider.light(dir).await?;
    let job = Job::of(dir, "empty", EMPTY_PTX, Vec::new(), Vec::new())?;
    figures.extend(one_at_a_time(&light, dir, &job, jobs).await?);
    let rate = pipelined(&light, &job, jobs).await?;
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
        Figure::new("memory: idle provider, resident", provider.resident()?, "MiB"),
        Figure::new("memory: idle light node, resident", light.resident()?, "MiB").target("at most 40 MB"),
    ])
}

/// Jobs and what they are measured against take turns, so that all meet the same machine. A job begins as soon as the
/// last one is done for its owner, while that is still being settled at its provider.
async fn one_at_a_time(light: &Node, dir: &Path, job: &Job, jobs: u32) -> anyhow::Result<Vec<Figure>> {
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
            let took = timed(job, &mut client).await?;
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
async fn pipelined(light: &Node, job: &Job, jobs: u32) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let share = jobs / PIPELINED as u32;
    let mut lanes = JoinSet::new();
    for _ in 0..PIPELINED {
        let (mut client, job) = (light.control(), job.clone());
        lanes.spawn(async move {
            for _ in 0..share {
                job.run(&mut client).await?;
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

/// The time of one job, from its submission to its receipt signed by both.
async fn timed(job: &Job, client: &mut ControlClient) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    job.run(client).await?;
    Ok(begun.elapsed())
}
