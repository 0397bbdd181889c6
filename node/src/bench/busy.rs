//! How busy a device is kept while jobs of one light node wait for it, two processes apart.

use super::{
    Figure,
    nodes::{Job, NodeProcess},
};
use crate::{config::Backend, driver::Node};
use anyhow::Context as _;
use ion_protocol::{
    Bytes, Nanos,
    job::{Arg, Buffer, Element, Init},
};
use std::{path::Path, time::Instant};
use tokio::task::JoinSet;

/// What the device is to do for each job.
const JOB: Nanos = Nanos(20_000_000);
/// Jobs that are submitted at once: no more than a node lets be watched.
const JOBS: usize = 60;
/// As many of them, those that end first, are not counted: connections, workers and caches are warm after them.
const WARM_UP: usize = 10;
/// Steps of the first job whose time says how many the next needs. It may be slow for reasons of its own.
const PROBE_STEPS: u32 = 100_000;
/// So many jobs come nearer to [`JOB`], one after the other.
const PROBES: usize = 4;
/// Each step waits for the one before, so that one warp takes long.
const STEPS_PTX: &str = ".version 6.5\n.target sm_75\n.address_size 64\n\
    .visible .entry steps(.param .u64 out, .param .u32 count)\n{\n\
    .reg .pred %p; .reg .b32 %v, %n; .reg .b64 %d;\nld.param.u64 %d, [out]; ld.param.u32 %n, [count]; mov.u32 %v, %tid.x;\n\
    L: mad.lo.u32 %v, %v, 3, 1; sub.u32 %n, %n, 1; setp.ne.u32 %p, %n, 0; @%p bra L;\nst.global.u32 [%d], %v; ret;\n}\n";

/// The share of the time in which the provider's device works, while there are jobs that wait for it.
pub(super) async fn figure(dir: &Path, backend: Backend) -> anyhow::Result<Figure> {
    std::fs::create_dir(dir)?;
    let provider = NodeProcess::provider(dir, backend).await?;
    let light = provider.light(dir).await?;
    let figure = keep_busy(dir, &light).await?;
    light.stop();
    light.finished().await?;
    Ok(figure)
}

async fn keep_busy(dir: &Path, light: &Node) -> anyhow::Result<Figure> {
    let mut steps = PROBE_STEPS;
    for _ in 0..PROBES {
        let time = job(dir, steps)?.run(&mut light.control()).await?;
        let wanted = u128::from(steps) * u128::from(JOB.0) / u128::from(time.0.max(1));
        steps = u32::try_from(wanted).unwrap_or(u32::MAX).max(1);
    }
    let job = job(dir, steps)?;
    let mut jobs = JoinSet::new();
    for _ in 0..JOBS {
        let (job, mut client) = (job.clone(), light.control());
        jobs.spawn(async move { anyhow::Ok((job.run(&mut client).await?, Instant::now())) });
    }
    let mut ended = Vec::new();
    while let Some(one) = jobs.join_next().await {
        ended.push(one??);
    }
    ended.sort_by_key(|(_, at)| *at);
    let (warm, counted) = ended.split_at(WARM_UP);
    let (_, begun) = warm.last().context("some jobs to warm up")?;
    let (_, end) = counted.last().context("some jobs that count")?;
    let busy: u64 = counted.iter().map(|(time, _)| time.0).sum();
    let each = busy as f64 / counted.len() as f64 / 1e6;
    let name = format!("busy: device of the provider, while jobs of {each:.1} ms wait for it");
    let share = busy as f64 / (*end - *begun).as_nanos() as f64;
    Ok(Figure::new(name, share * 100.0, "%").target("at least 95 %"))
}

fn job(dir: &Path, steps: u32) -> anyhow::Result<Job> {
    let buffer = Buffer {
        name: "out".to_owned(),
        bytes: Bytes(4),
        init: Init::Zero,
        element: Element::U32,
        shape: vec![1],
        output: false,
    };
    let args = vec![Arg::Buffer(0), Arg::Scalar { element: Element::U32, bits: steps.into() }];
    Job::of(dir, "steps", STEPS_PTX, vec![buffer], args)
}
