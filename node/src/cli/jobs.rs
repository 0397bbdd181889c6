//! `ion jobs`

use super::{
    CliError,
    args::{Common, JobsArgs},
    block_on, job_ref, output, start, words,
};
use crate::control::{
    ControlClient, ControlError,
    api::{ControlRequest, ControlResponse, JobView},
};
use ion_protocol::{JobId, message::LeaseState};
use ion_scheduler::view::AttemptView;

/// All jobs, or one.
pub fn jobs(common: &Common, args: JobsArgs) -> Result<(), CliError> {
    block_on(async {
        let mut source = start::connect_or_read(common).await?;
        let Some(prefix) = args.job else {
            let jobs = job_ref::all(&mut source.client).await?;
            return if common.json { output::json(&source.told_all(&jobs)) } else { list(&jobs) };
        };
        let job = job_ref::find(&mut source.client, &prefix).await?;
        let view = view(&mut source.client, job).await?;
        if common.json { output::json(&source.told(&view)) } else { output::line(&text(&view)) }
    })
}

/// One job as the node sees it.
pub async fn view(client: &mut ControlClient, job: JobId) -> Result<JobView, CliError> {
    match client.ask(ControlRequest::Job { job }).await? {
        ControlResponse::Job(view) => Ok(*view),
        other => Err(ControlError::unexpected("a job", &other).into()),
    }
}

fn list(jobs: &[JobView]) -> Result<(), CliError> {
    if jobs.is_empty() {
        return output::line(
            "no jobs of yours yet; `ion run JOB.toml` runs one, and `ion status` says how many run here for others",
        );
    }
    let mut table =
        output::Table::new(&["JOB", "NAME", "STATE", "AGE", "TRY", "PROVIDER", "DEVICE", "RAN", "PRICE"]);
    for job in jobs {
        table.row([
            job.job.short(),
            job.name.clone(),
            short_state(job),
            output::age(job.submitted),
            job.attempt.map_or("-".to_owned(), |a| a.to_string()),
            job.provider.map_or("-".to_owned(), |p| p.short()),
            device(job).unwrap_or("-".to_owned()),
            job.ran.to_string(),
            job.price.to_string(),
        ]);
    }
    table.print()
}

/// Where a job stands, as far as a table has room.
fn short_state(job: &JobView) -> String {
    match job.lease.as_ref().filter(|_| job.end.is_none()) {
        Some(LeaseState::Running { done, total }) => format!("running {}", percent(*done, *total)),
        Some(LeaseState::Staging { done, total }) => format!("fetching {}", percent(*done, *total)),
        Some(LeaseState::Waiting) => "waiting".to_owned(),
        Some(LeaseState::Unknown | LeaseState::Finished | LeaseState::Released) | None => job.state.clone(),
    }
}

fn percent(done: u64, total: u64) -> String {
    format!("{} %", u128::from(done) * 100 / u128::from(total.max(1)))
}

/// Engine and model of the last try.
pub fn device(job: &JobView) -> Option<String> {
    job.engine.map(|engine| engine.label(job.model.as_deref().unwrap_or("unknown model")))
}

/// Everything about a job, for people.
pub fn text(job: &JobView) -> String {
    let mut lines = vec![format!("job       {}", job.job), format!("name      {}", job.name)];
    let state = match (&job.end, &job.lease) {
        (Some(end), _) => words::end_of_job(end),
        (None, Some(lease)) => format!("{}: its provider {}", job.state, words::lease(lease)),
        (None, None) => job.state.clone(),
    };
    lines.push(format!("state     {state}"));
    lines.extend(job.provider.map(|p| format!("provider  {p}")));
    lines.extend(device(job).map(|d| format!("device    {d}")));
    lines.push(format!(
        "times     waited {}, moved data {}, ran {} ({} on the device)",
        job.waited, job.moved, job.ran, job.device_time
    ));
    lines.push(format!("price     {}", job.price));
    lines.extend(job.receipt.map(|r| format!("receipt   {r}")));
    lines.extend(job.check.as_ref().map(|check| format!("checked   {check}")));
    for output in &job.outputs {
        lines.push(format!(
            "output    {}: {} {:?}, {}",
            output.name, output.element, output.shape, output.bytes
        ));
    }
    lines.extend(job.attempts.iter().map(attempt));
    lines.iter().map(|l| output::printable(l)).collect::<Vec<_>>().join("\n")
}

/// One try of a job, for people. What device it was on is not known after a restart, if it gave no receipt.
pub fn attempt(tried: &AttemptView) -> String {
    let model = if tried.model.is_empty() { String::new() } else { format!(" ({})", tried.model) };
    let why = if tried.why.is_empty() { String::new() } else { format!(": {}", tried.why) };
    let done = tried.state == "done";
    let when = tried.ended.filter(|_| !done).map_or(String::new(), |at| format!(" {} ago", output::age(at)));
    format!("try {}     {}{model} {}{when}{why}", tried.attempt, tried.provider.short(), tried.state)
}
