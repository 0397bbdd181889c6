//! `ion run`

use super::{
    CliError,
    args::{Common, RunArgs},
    block_on_all, jobs,
    local::Local,
    output,
    progress::Progress,
    signals::Endings,
    start, why, words,
};
use crate::{
    control::{
        ControlClient, ControlError,
        api::{ControlRequest, ControlResponse, Explanation, FileRef, JobView, OutputView},
    },
    events::EventLine,
    manifest::{self, Job},
    show,
};
use ion_protocol::{
    BlobHash, Bytes, JobId,
    fault::{Blame, Fault},
    job::JobSpec,
    record::JobEnd,
};
use ion_scheduler::event::Event;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long a dry run with a node of its own waits for the first offer.
const OFFERS_WAIT: Duration = Duration::from_secs(5);

/// How long it waits for a better one, once one fits.
const OFFERS_QUIET: Duration = Duration::from_millis(500);

/// A result on the disk.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The buffer's name.
    pub buffer: String,
    /// The file.
    pub path: PathBuf,
    /// Size of the buffer.
    pub bytes: Bytes,
    /// Content of the buffer.
    pub hash: BlobHash,
}

impl Written {
    /// For people.
    pub fn line(&self) -> String {
        format!("wrote     {} ({})", self.path.display(), self.bytes)
    }
}

/// The first line of `ion run --json`; then come the job's events, and last a [`RunJson`].
#[derive(Serialize)]
struct Submitted<'a> {
    event: &'static str,
    job: JobId,
    name: &'a str,
}

#[derive(Serialize)]
struct RunJson<'a> {
    event: &'static str,
    #[serde(flatten)]
    job: &'a JobView,
    /// `CUDA: NVIDIA H100`, `CPU: ptx jit`
    device: Option<String>,
    files: &'a [Written],
}

#[derive(Serialize)]
struct DryRunJson<'a> {
    checked: bool,
    spec: &'a JobSpec,
    files: &'a [FileRef],
    explanation: Option<&'a Explanation>,
}

/// Runs a job somewhere in the network and writes its results.
pub fn run(common: &Common, args: RunArgs) -> Result<(), CliError> {
    let job = manifest::load(&args.manifest)?;
    block_on_all(async {
        // Before there is a node to take down, or an order to cancel.
        let mut endings = Endings::listen()?;
        if args.dry_run {
            return dry_run(common, &args, &job, &mut endings).await;
        }
        start::prepare(&args.out, &job)?;
        let (client, local) = if args.no_start || args.detach {
            (start::connect(common).await?, None)
        } else {
            start::connect_or_start(common, &args.join).await?
        };
        let mut at_once = false;
        let result =
            submit_and_follow(common, &args, &job, client, local.is_some(), (&mut endings, &mut at_once))
                .await;
        end(local, at_once).await?;
        result
    })
}

async fn end(local: Option<Local>, at_once: bool) -> Result<(), CliError> {
    match local {
        Some(local) => local.end(at_once).await,
        None => Ok(()),
    }
}

async fn submit_and_follow(
    common: &Common,
    args: &RunArgs,
    job: &Job,
    mut client: ControlClient,
    alone: bool,
    (endings, at_once): (&mut Endings, &mut bool),
) -> Result<(), CliError> {
    let id = draw()?;
    let request = ControlRequest::Submit {
        job: id,
        spec: Box::new(job.spec.clone()),
        files: job.files.clone(),
        verify: args.verify,
        watch: false,
    };
    match client.ask(request).await? {
        ControlResponse::Submitted { .. } => {}
        other => return Err(ControlError::unexpected("a submitted job", &other).into()),
    }
    let mut progress = Progress::new(common.quiet || common.json);
    if common.json {
        output::json(&Submitted { event: "submitted", job: id, name: &job.spec.name })?;
    }
    if args.detach {
        let id = if common.json { return Ok(()) } else { id };
        return output::line(&format!(
            "job {id}; `ion jobs {0}` says how it goes, `ion fetch {0}` writes its results",
            id.short()
        ));
    }
    progress.say(&format!("job {id} ({})", output::printable(&job.spec.name)));
    let view = follow(common, id, &mut client, &mut progress, endings, at_once).await?;
    progress.clear();
    let mut files = Vec::new();
    if matches!(view.end, Some(JobEnd::Done { .. })) {
        let outputs = outputs(&mut client, id).await?;
        files = write_outputs(args, job, &outputs)?;
    }
    report(common, &view, &files, alone)
}

fn draw() -> Result<JobId, CliError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| {
        CliError::node(format!("the system gives no random numbers: {e}"), super::error::SYSTEM_HINT)
    })?;
    Ok(JobId(id))
}

/// Shows how the job comes along until it ends. The first Ctrl-C, or another [`Endings`], cancels it; the second leaves.
async fn follow(
    common: &Common,
    job: JobId,
    client: &mut ControlClient,
    progress: &mut Progress,
    endings: &mut Endings,
    at_once: &mut bool,
) -> Result<JobView, CliError> {
    let mut cancelled = false;
    loop {
        // Events have a connection of their own, so that a cancel can be sent meanwhile.
        let mut watcher = start::connect(common).await?;
        watcher.watch(ControlRequest::Watch { job }).await?;
        let mut seen = false;
        loop {
            tokio::select! {
                event = watcher.next_event() => match event {
                    Ok(Some(line)) => {
                        seen = true;
                        progress.event(&line.event);
                        if common.json {
                            output::json(&line)?;
                        }
                    }
                    Ok(None) => break,
                    // More events than were read: begin again, nothing is lost.
                    Err(ControlError::Refused { message, .. }) if seen => {
                        tracing::debug!(%message, "watching again");
                        break;
                    }
                    Err(error) => return Err(error.into()),
                },
                () = endings.next() => {
                    if cancelled {
                        *at_once = true;
                        return Err(left(job));
                    }
                    cancelled = true;
                    progress.say("cancelling the job; Ctrl-C once more leaves at once");
                    tokio::select! {
                        noted = client.ask(ControlRequest::Cancel { job }) => drop(noted?),
                        // The node does not answer, or not soon.
                        () = endings.next() => {
                            *at_once = true;
                            return Err(left(job));
                        }
                    }
                }
            }
        }
        let view = jobs::view(client, job).await?;
        if view.end.is_some() {
            return Ok(view);
        }
    }
}

fn left(job: JobId) -> CliError {
    let hint = format!("`ion jobs {}` says how it ended", job.short());
    CliError::failed(format!("left while job {job} is being cancelled"), hint)
}

/// Where the results of a job that is done lie.
pub async fn outputs(client: &mut ControlClient, job: JobId) -> Result<Vec<OutputView>, CliError> {
    match client.ask(ControlRequest::Outputs { job }).await? {
        ControlResponse::Outputs(outputs) => Ok(outputs),
        other => Err(ControlError::unexpected("outputs", &other).into()),
    }
}

fn write_outputs(args: &RunArgs, job: &Job, outputs: &[OutputView]) -> Result<Vec<Written>, CliError> {
    let mut files = Vec::new();
    for wanted in &job.outputs {
        let buffer = &job.spec.program.buffers[usize::from(wanted.buffer)];
        let found = outputs.iter().find(|o| o.buffer == buffer.name).ok_or_else(|| {
            let message =
                format!("the node has no output \"{}\" of the job", output::printable(&buffer.name));
            CliError::node(message, "see `ion jobs`; this is a fault of the node, please report it")
        })?;
        let path = show::write(&args.out, &wanted.file, buffer.element, &buffer.shape, &found.path)?;
        files.push(Written { buffer: buffer.name.clone(), path, bytes: found.bytes, hash: found.hash });
    }
    Ok(files)
}

/// How it ended. A node that was started for this job alone has left nothing but its journal.
fn report(common: &Common, view: &JobView, files: &[Written], alone: bool) -> Result<(), CliError> {
    if common.json {
        output::json(&RunJson { event: "result", job: view, device: jobs::device(view), files })?;
    } else if matches!(view.end, Some(JobEnd::Done { .. })) {
        output::line(&jobs::text(view))?;
        for file in files {
            output::line(&file.line())?;
        }
    }
    let name = view.job.short();
    match &view.end {
        Some(JobEnd::Done { .. }) => Ok(()),
        Some(JobEnd::Failed { fault }) => {
            let message = format!("job {name} failed: {}", output::printable(&fault.to_string()));
            let hint = match fault.blame() {
                Blame::Host if alone && !matches!(fault, Fault::Results { .. }) => {
                    format!("`ion why {name}` says who was tried, `ion run --dry-run` who would run it now")
                }
                Blame::Host | Blame::Job | Blame::Limit | Blame::Cancelled => {
                    words::fault_hint(fault).to_owned()
                }
            };
            Err(CliError::failed(message, hint))
        }
        Some(JobEnd::Cancelled) => {
            Err(CliError::failed(format!("job {name} was cancelled"), "run it again when you like"))
        }
        None => Err(CliError::node(format!("job {name} has not ended"), "`ion jobs` says how it goes on")),
    }
}

async fn dry_run(common: &Common, args: &RunArgs, job: &Job, endings: &mut Endings) -> Result<(), CliError> {
    let running = start::connect_if_running(common).await?;
    let explanation = match running {
        Some(mut client) => Some(explain(&mut client, &job.spec).await?),
        None if args.join.bootstrap.is_empty() => None,
        None => {
            let (mut client, local) = start::connect_or_start(common, &args.join).await?;
            let explained = tokio::select! {
                explained = first_offers(common, &mut client, &job.spec) => explained,
                () = endings.next() => Err(CliError::failed("left while offers were awaited", "nothing was sent")),
            };
            end(local, true).await?;
            Some(explained?)
        }
    };
    if common.json {
        let explanation = explanation.as_ref();
        return output::json(&DryRunJson { checked: true, spec: &job.spec, files: &job.files, explanation });
    }
    output::line(&summary(&job.spec))?;
    match explanation {
        Some(explanation) => output::line(&why::text(&explanation, None, why::NOBODY_FITS)),
        None => output::line(
            "nobody was asked who would run it: no node is running here and no --bootstrap was given",
        ),
    }
}

async fn explain(client: &mut ControlClient, spec: &JobSpec) -> Result<Explanation, CliError> {
    match client.ask(ControlRequest::DryRun { spec: Box::new(spec.clone()) }).await? {
        ControlResponse::Explanation(explanation) => Ok(*explanation),
        other => Err(ControlError::unexpected("an explanation", &other).into()),
    }
}

/// A node that has just started knows nobody: asks again with every offer it sees, until somebody fits and no other offer
/// came for a while, or time is up.
async fn first_offers(
    common: &Common,
    client: &mut ControlClient,
    spec: &JobSpec,
) -> Result<Explanation, CliError> {
    let mut deadline = Instant::now() + OFFERS_WAIT;
    let mut watcher = start::connect(common).await?;
    watcher.watch(ControlRequest::Events).await?;
    loop {
        let explanation = explain(client, spec).await?;
        if !explanation.candidates.is_empty() {
            deadline = deadline.min(Instant::now() + OFFERS_QUIET);
        }
        loop {
            match timeout_at(deadline, watcher.next_event()).await {
                Err(_) | Ok(Ok(None)) => return Ok(explanation),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(Some(EventLine { event: Event::OfferSeen { .. }, .. }))) => break,
                Ok(Ok(Some(_))) => {}
            }
        }
    }
}

/// A checked specification in one paragraph.
fn summary(spec: &JobSpec) -> String {
    let p = &spec.program;
    let outputs = match p.buffers.iter().filter(|buffer| buffer.output).count() {
        0 => "none with an `output`: nothing is delivered".to_owned(),
        some => format!("{some} delivered"),
    };
    format!(
        "{}: the manifest and its files are right: {} module(s), {} buffer(s) of {} together ({outputs}), {} \
         launch(es); at most {} of run time, {} of memory and {}",
        output::printable(&spec.name),
        p.modules.len(),
        p.buffers.len(),
        p.memory(),
        p.launches(),
        spec.limits.run,
        spec.limits.memory,
        spec.limits.price
    )
}
