//! `ion bench`: what this machine and this build do, each figure against a yardstick measured in the same run.
//!
//! Absolute times drift with load; the ratios are what to compare. Nothing here is a test: tests never time anything.

mod busy;
mod codec;
mod network;
mod nodes;
mod processes;
mod transfer;

pub use network::echo;

use crate::{config::Backend, ledger};
use serde::Serialize;
use std::{path::Path, time::Duration};

/// What to measure, and how long.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Jobs dispatched one at a time, and again pipelined.
    pub jobs: u32,
    /// Size of the blob that is moved.
    pub transfer_bytes: u64,
    /// How long the journal is written.
    pub journal: Duration,
    /// On what a device is kept busy.
    pub backend: Backend,
    /// Only that.
    pub busy: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            jobs: 300,
            transfer_bytes: 1 << 30,
            journal: Duration::from_secs(2),
            backend: Backend::Auto,
            busy: false,
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it is compared with, measured in the same run.
    pub yardstick: Option<String>,
    /// Value over yardstick.
    pub ratio: Option<f64>,
    /// What the project aims at, where it does.
    pub target: Option<&'static str>,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, yardstick: None, ratio: None, target: None }
    }

    fn against(mut self, yardstick: impl Into<String>, measured: f64) -> Self {
        self.yardstick = Some(yardstick.into());
        self.ratio = (measured > 0.0).then(|| self.value / measured);
        self
    }

    fn target(mut self, target: &'static str) -> Self {
        self.target = Some(target);
        self
    }
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Processor model and cores.
    pub machine: String,
    /// `release` or `debug`: figures of a debug build mean nothing.
    pub build: &'static str,
    /// In the order measured.
    pub figures: Vec<Figure>,
}

/// Measures all, one after the other; `stage` is told what is being measured.
pub async fn run(options: BenchOptions, mut stage: impl FnMut(&str) + Send) -> anyhow::Result<BenchReport> {
    let dir = tempfile::tempdir()?;
    let mut figures = Vec::new();
    if !options.busy {
        figures.extend(all_but_busy(&options, dir.path(), &mut stage).await?);
    }
    stage("busy: jobs of 20 ms that wait for a device between two processes");
    figures.push(busy::figure(&dir.path().join("busy"), options.backend).await?);
    Ok(BenchReport {
        machine: machine(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        figures,
    })
}

async fn all_but_busy(
    options: &BenchOptions,
    dir: &Path,
    stage: &mut (impl FnMut(&str) + Send),
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    stage("codec: encoding, decoding and verifying an order");
    figures.extend(codec::figures());
    stage("journal: durable appends");
    let journal_dir = dir.join("journal");
    let seconds = options.journal.as_secs_f64();
    let journal = tokio::task::spawn_blocking(move || journal_figures(&journal_dir, seconds)).await??;
    figures.extend(journal);
    stage("transfer: a blob between two nodes, a raw stream, and TCP");
    figures.extend(transfer::figures(dir, options.transfer_bytes).await?);
    stage("dispatch: an empty kernel between two processes");
    figures.extend(processes::figures(dir, options.jobs).await?);
    Ok(figures)
}

fn journal_figures(dir: &Path, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    const WRITERS: usize = 64;
    let many = ledger::bench_appends(&dir.join("many"), seconds, WRITERS)?;
    let one = ledger::bench_appends(&dir.join("one"), seconds, 1)?;
    let raw = one.raw_syncs_per_second;
    let name = |writers: usize| format!("journal: durable appends a second, {writers} in flight");
    Ok(vec![
        Figure::new(name(WRITERS), many.appends_per_second, "1/s").against("raw synced writes a second", raw),
        Figure::new(name(1), one.appends_per_second, "1/s").against("raw synced writes a second", raw),
        Figure::new("journal: one append, p50", micros(quantile(&one.latencies, 0.5)), "µs")
            .against("raw write and sync, p50", micros(quantile(&one.raw_latencies, 0.5))),
        Figure::new("journal: one append, p99", micros(quantile(&one.latencies, 0.99)), "µs"),
    ])
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value that `part` of a sorted list lie below.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.trim_start_matches([' ', '\t', ':']))
}
