//! `ion why`

use super::{
    CliError,
    args::{Common, JobArgs},
    block_on, job_ref, jobs, output, start, words,
};
use crate::control::{
    ControlError,
    api::{ControlRequest, ControlResponse, Explanation},
};
use ion_protocol::record::JobEnd;

/// What is said where there is no candidate: by a node that looked, and by one that does not run.
pub const NOBODY_FITS: &str = "nobody known fits";
const NOBODY_LOOKS: &str =
    "nobody looks for a provider while no node runs; `ion node --light` goes on with it";

/// Why a job is where it is.
pub fn why(common: &Common, args: JobArgs) -> Result<(), CliError> {
    block_on(async {
        let mut source = start::connect_or_read(common).await?;
        let job = job_ref::find(&mut source.client, &args.job).await?;
        match source.client.ask(ControlRequest::Why { job }).await? {
            ControlResponse::Explanation(view) if common.json => output::json(&source.told(&*view)),
            ControlResponse::Explanation(view) => {
                let end = jobs::view(&mut source.client, job).await?.end;
                let nobody = if source.node_runs { NOBODY_FITS } else { NOBODY_LOOKS };
                output::line(&text(&view, end.as_ref(), nobody))
            }
            other => Err(ControlError::unexpected("an explanation", &other).into()),
        }
    })
}

/// An explanation for people, of a job that may be over; `nobody` is said where there is no candidate.
pub fn text(view: &Explanation, end: Option<&JobEnd>, nobody: &str) -> String {
    let mut lines = Vec::new();
    let state = end.map_or(view.state.clone(), words::end_of_job);
    lines.extend(view.job.map(|job| format!("job {job} is {state}")));
    for (place, c) in view.candidates.iter().enumerate() {
        let t = &c.terms;
        lines.push(format!(
            "{}. {} ({}), {} a second: may run {} after waiting {}",
            place + 1,
            c.provider.short(),
            c.engine.label(&c.model),
            c.price_per_second,
            t.run,
            t.wait
        ));
        lines.push(format!(
            "   counts as {}: money {}, running {}, queue {}, transfer {}, latency {}, risk {}",
            t.total, t.money, t.running, t.queue, t.transfer, t.latency, t.failure
        ));
    }
    if view.candidates.is_empty() && end.is_none() {
        lines.push(nobody.to_owned());
    }
    lines.extend(view.rejections.iter().map(|r| format!("not {}", r.sentence())));
    lines.extend(view.attempts.iter().map(jobs::attempt));
    lines.extend(view.would_change.iter().map(|s| format!("would change it: {s}")));
    lines.iter().map(|l| output::printable(l)).collect::<Vec<_>>().join("\n")
}
