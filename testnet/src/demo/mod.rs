//! The demo: a network of five processes, four jobs and their proof, and a fifth that survives the death of its provider.
//!
//! Each stage is a line on standard error; the table at the end is the caller's to print ([`Outcome`]). Whatever fails,
//! fails the demo, with the timeline of all nodes.

mod outcome;

pub use outcome::{Death, JobLine, NodeLine, Outcome};

use crate::{
    cluster::{
        ion::Ion,
        log::{Deadline, Mark},
        network::Network,
        node::Role,
    },
    jobs::{Ended, JOB_SECONDS, Job},
    programs::{Program, mandelbrot::Mandelbrot, matmul::Matmul, saxpy::Saxpy, walk::Walk},
    receipts,
    report::Timeline,
};
use anyhow::{Context, Result, bail};
use ion_protocol::{
    Attempt, JobId, Millis, Nanos, NodeId, hardware::Device, message::LeaseState, units::measured_rate,
};
use ion_scheduler::event::Event;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Providers in the demo: one dies, and the others still compete.
const PROVIDERS: usize = 3;
/// How long the job shall run whose provider is killed.
const WALK_SECONDS: u64 = 5;
/// Its launches; progress is told between them.
const WALK_LAUNCHES: u32 = 200;
/// About how long the walk before it runs, which tells how fast the devices are: long enough that translating its kernel,
/// which comes once, does not count for much.
const SHORT_WALK_MS: u64 = 1_000;
/// Its launches.
const SHORT_WALK_LAUNCHES: u32 = 50;

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Smaller jobs.
    pub small: bool,
    /// Leave everything in place.
    pub keep: bool,
    /// Where the picture goes.
    pub out: Option<PathBuf>,
    /// Which devices providers offer.
    pub backend: String,
}

/// Progress for people, with the time since the start.
struct Stages {
    started: Instant,
}

impl Stages {
    fn say(&self, text: &str) {
        eprintln!("[{:>5.1} s] {text}", self.started.elapsed().as_secs_f64());
    }
}

/// Runs the demo.
pub fn run(ion: Ion, options: &Options) -> Result<Outcome> {
    let stages = Stages { started: Instant::now() };
    stages.say(
        "starting five processes: a network node, three providers, a light node; each knows one address",
    );
    let mut network = Network::start(ion, "ion-demo-", PROVIDERS, 1, &options.backend)?;
    if options.keep {
        network.cluster.keep();
    }
    let outcome = play(&mut network, options, &stages);
    if outcome.is_err() {
        network.cluster.keep();
        let mut timeline = Timeline::default();
        timeline.add_cluster(&network.cluster);
        timeline.show(network.cluster.dir())?;
        eprintln!("\nkeys, journals, jobs and logs are kept in {}", network.cluster.dir().display());
    }
    outcome
}

fn play(network: &mut Network, options: &Options, stages: &Stages) -> Result<Outcome> {
    let light = network.lights[0];
    network.wait_for_offers(light, Mark::default())?;
    let offers = offers(network, light)?;
    stages.say("the light node has found all providers through the network node:");
    for offer in &offers {
        stages.say(&format!("  {}", offer.line(network)));
    }

    let mut jobs = Vec::new();
    let mandelbrot = programs(options.small).2;
    jobs.extend(three_jobs(network, light, options, stages)?);
    let short = short_walk(&offers);
    let job = Job::order(&network.cluster, light, "short-walk", Program::Walk(short.clone()))?;
    stages.say(&format!("ordered {} (job {}), to size the next", job.program.title(), job.id.short()));
    let measured = finish(network, job, stages)?;
    let long = long_walk(&short, measured.ended.device_time);
    jobs.push(measured);
    let (walk, death, fallen) = walk_through_death(network, light, long, stages)?;
    jobs.push(walk);

    stages.say(&format!(
        "restarting {} on its own data directory: what it signed must still be there",
        network.cluster[fallen].name()
    ));
    network.cluster.start_ready(fallen)?;

    stages.say("verifying every receipt offline, as the light node and as the provider exported it");
    let lines = jobs.iter().map(|done| prove(network, light, done)).collect::<Result<Vec<_>>>()?;
    let picture = save_picture(&mandelbrot, &jobs, options)?;
    let took = Millis(stages.started.elapsed().as_millis() as u64);
    let nodes = network.cluster.nodes().iter().map(|node| NodeLine {
        name: node.name().to_owned(),
        role: node.spec.role.to_string(),
        id: node.id.map(|id| id.to_string()).unwrap_or_default(),
    });
    let kept = options.keep.then(|| network.cluster.dir().to_owned());
    Ok(Outcome { took, nodes: nodes.collect(), jobs: lines, death, picture, kept })
}

/// A job with its checked result.
struct Done {
    program: Program,
    out: PathBuf,
    job: JobId,
    ended: Ended,
    checked: String,
}

fn programs(small: bool) -> (Saxpy, Matmul, Mandelbrot) {
    if small {
        (Saxpy { elements: 1 << 18 }, Matmul { n: 128 }, Mandelbrot { width: 240, height: 160, limit: 100 })
    } else {
        (Saxpy { elements: 1 << 24 }, Matmul { n: 1024 }, Mandelbrot { width: 1200, height: 800, limit: 400 })
    }
}

fn three_jobs(network: &Network, light: usize, options: &Options, stages: &Stages) -> Result<Vec<Done>> {
    let (saxpy, matmul, mandelbrot) = programs(options.small);
    let programs = [
        ("saxpy", Program::Saxpy(saxpy)),
        ("matmul", Program::Matmul(matmul)),
        ("mandelbrot", Program::Mandelbrot(mandelbrot)),
    ];
    let mut jobs = Vec::new();
    for (name, program) in programs {
        let title = program.title();
        let job = Job::order(&network.cluster, light, name, program)?;
        stages.say(&format!("ordered {title} (job {})", job.id.short()));
        jobs.push(job);
    }
    jobs.into_iter().map(|job| finish(network, job, stages)).collect()
}

/// Waits for a job's end and checks its result.
fn finish(network: &Network, job: Job, stages: &Stages) -> Result<Done> {
    let title = job.program.title();
    let (program, out, id, ended) = job.finish(&network.cluster).with_context(|| title.clone())?;
    let checked = program.check(&out).with_context(|| format!("the result of {title} is wrong"))?;
    let engine = ended.engine.label(&ended.model);
    let provider = network.cluster.name_of(&ended.provider);
    stages.say(&format!("done: {title} on {provider} ({engine}), ran {}; {checked}", ended.ran));
    Ok(Done { program, out, job: id, ended, checked })
}

/// A walk that tells how fast the devices are; too short to matter on any.
fn short_walk(offers: &[Offer]) -> Walk {
    // Four instructions a step; the measured rate counts two operations for each.
    const OPERATIONS_PER_STEP: u64 = 8;
    let fastest = offers.iter().flat_map(|offer| &offer.devices).max_by_key(|d| d.power.f32_mflops);
    // Walkers enough to fill the device.
    let threads: u32 = if fastest.is_some_and(|d| d.engine.is_gpu()) { 1 << 18 } else { 1 << 12 };
    let rate = fastest.map_or(0, |d| d.power.f32_mflops).max(100).saturating_mul(1_000_000);
    let all = rate.saturating_mul(SHORT_WALK_MS) / 1_000 / OPERATIONS_PER_STEP;
    let steps = (all / u64::from(SHORT_WALK_LAUNCHES) / u64::from(threads)).clamp(1, u32::MAX.into());
    Walk { threads, steps: steps as u32, launches: SHORT_WALK_LAUNCHES, seed: 5 }
}

/// A walk of about [`WALK_SECONDS`] on a device that took the short one so fast.
fn long_walk(short: &Walk, took: Nanos) -> Walk {
    let steps = u128::from(short.steps) * u128::from(short.launches);
    let all = steps * u128::from(WALK_SECONDS) * 1_000_000_000 / u128::from(took.0.max(1));
    let steps = (all / u128::from(WALK_LAUNCHES)).clamp(1, u32::MAX.into());
    Walk { threads: short.threads, steps: steps as u32, launches: WALK_LAUNCHES, seed: 7 }
}

/// Orders a long job, kills its provider while it runs, and sees it done elsewhere. Answers who was killed, too.
fn walk_through_death(
    network: &mut Network,
    light: usize,
    walk: Walk,
    stages: &Stages,
) -> Result<(Done, Death, usize)> {
    let program = Program::Walk(walk);
    let title = program.title();
    let job = Job::order(&network.cluster, light, "walk", program)?;
    stages
        .say(&format!("ordered {title} (job {}); its provider will be killed while it runs", job.id.short()));
    let deadline = Deadline::seconds(JOB_SECONDS);
    let ((victim, first, done, total), mark) =
        job.wait(&network.cluster, job.since, deadline, "the first launches", |_, event| match event {
            Event::Progress {
                provider,
                attempt,
                state: LeaseState::Running { done: done @ 1.., total },
                ..
            } => Ok(Some((*provider, *attempt, *done, *total))),
            Event::JobEnded { .. } => bail!("it ended before its provider could be killed"),
            _ => Ok(None),
        })?;
    let fallen = position(network, &victim)?;
    let name = network.cluster[fallen].name().to_owned();
    let killed = network.cluster[fallen].kill()?;
    stages.say(&format!("killed {name} with kill -9, {done} of {total} launches done"));

    let ((noticed, why), mark) =
        job.wait(&network.cluster, mark, deadline, "the loss", |line, event| match event {
            Event::AttemptLost { attempt, why, .. } if *attempt == first => {
                Ok(Some((line.heard, why.clone())))
            }
            Event::JobEnded { .. } => bail!("it ended, and nobody noticed the death"),
            _ => Ok(None),
        })?;
    let noticed = millis(noticed.saturating_duration_since(killed));
    stages.say(&format!("the light node noticed after {noticed} ({why}) and looks elsewhere"));
    let ((second, heir), _) =
        job.wait(&network.cluster, mark, deadline, "the next try", |_, event| match event {
            Event::OrderAccepted { attempt, provider, .. } if *attempt > first => {
                Ok(Some((*attempt, *provider)))
            }
            _ => Ok(None),
        })?;
    stages.say(&format!(
        "all {total} launches run again on {} (attempt {second})",
        network.cluster.name_of(&heir)
    ));
    let done_walk = finish(network, job, stages)?;
    let rerun_on = network.cluster.name_of(&done_walk.ended.provider);
    let recovered = millis(killed.elapsed());
    Ok((
        done_walk,
        Death { provider: name, job: title, done, total, noticed, why, rerun_on, recovered },
        fallen,
    ))
}

fn millis(duration: Duration) -> Millis {
    Millis(duration.as_millis() as u64)
}

fn position(network: &Network, id: &NodeId) -> Result<usize> {
    let known = network.cluster.nodes().iter().position(|node| node.id.as_ref() == Some(id));
    known.with_context(|| format!("{} is none of ours", id.short()))
}

/// Verifies a job's receipt on both sides, and that the two are one.
fn prove(network: &Network, light: usize, done: &Done) -> Result<JobLine> {
    let dir = network.cluster.subdir("receipts")?;
    let Ended { attempt, provider, model, engine, device_time, waited, moved, ran, price } = &done.ended;
    let provider = position(network, provider)?;
    let title = done.program.title();
    let hash = |node: usize, attempt: Attempt| -> Result<_> {
        receipts::prove(&network.cluster, node, &done.job, attempt, &dir)
            .with_context(|| format!("the receipt of {title} at {}", network.cluster[node].name()))
    };
    let (ordered, ran_it) = (hash(light, *attempt)?, hash(provider, *attempt)?);
    if ordered != ran_it {
        bail!(
            "{title}: the light node's receipt is {} and the provider's {}",
            ordered.short(),
            ran_it.short()
        );
    }
    Ok(JobLine {
        title,
        job: done.job.to_string(),
        attempt: attempt.0,
        provider: network.cluster[provider].name().to_owned(),
        device: model.clone(),
        engine: engine.label(model),
        waiting: *waited,
        moving: *moved,
        running: *ran,
        device_time: *device_time,
        price: *price,
        checked: done.checked.clone(),
        receipt: ordered.to_string(),
    })
}

/// The picture outlives the demo's own directory.
fn save_picture(mandelbrot: &Mandelbrot, jobs: &[Done], options: &Options) -> Result<PathBuf> {
    let drawn = Program::Mandelbrot(mandelbrot.clone());
    let done = jobs.iter().find(|done| done.program == drawn).context("the picture's job")?;
    let dir = options.out.clone().unwrap_or_else(|| std::env::temp_dir().join("ion-demo"));
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    mandelbrot.picture(&done.out, &std::path::absolute(dir)?.join("mandelbrot.png"))
}

/// A provider as `ion offers` shows it.
#[derive(Clone, Debug, Deserialize)]
struct Offer {
    provider: NodeId,
    devices: Vec<Device>,
    #[serde(rename = "price_nano_io_per_second")]
    price_per_second: ion_protocol::NanoIo,
}

impl Offer {
    fn line(&self, network: &Network) -> String {
        let devices: Vec<String> = self
            .devices
            .iter()
            .map(|d| format!("{} ({}, {} GFLOP/s)", d.label(), d.model, measured_rate(d.power.f32_mflops)))
            .collect();
        let name = network.cluster.name_of(&self.provider);
        format!("{name}: {} at {} a second", devices.join(", "), self.price_per_second)
    }
}

fn offers(network: &Network, light: usize) -> Result<Vec<Offer>> {
    debug_assert_eq!(network.cluster[light].spec.role, Role::Light, "the demo orders at the light node");
    let data_dir: &Path = &network.cluster[light].spec.data_dir;
    let offers = network.cluster.ion.ask_list(data_dir, &["offers"])?;
    offers.into_iter().map(|offer| serde_json::from_value(offer).context("`ion offers --json`")).collect()
}
