//! `ion cancel`

use super::{
    CliError,
    args::{Common, JobArgs},
    block_on, job_ref, output, start,
};
use crate::control::{
    ControlError,
    api::{ControlRequest, ControlResponse},
};
use serde::Serialize;

#[derive(Serialize)]
struct Cancelled {
    job: ion_protocol::JobId,
    asked: bool,
}

/// Asks the node to stop a job.
pub fn cancel(common: &Common, args: JobArgs) -> Result<(), CliError> {
    block_on(async {
        let mut client = start::connect(common).await?;
        let job = job_ref::find(&mut client, &args.job).await?;
        let view = match client.ask(ControlRequest::Cancel { job }).await? {
            ControlResponse::Job(view) => view,
            other => return Err(ControlError::unexpected("a job", &other).into()),
        };
        let name = job.short();
        if view.end.is_some() {
            let message = format!("job {name} is over: {}", view.state);
            return Err(CliError::failed(message, format!("`ion jobs {name}` says how it ended")));
        }
        if common.json {
            return output::json(&Cancelled { job, asked: true });
        }
        output::line(&format!("job {job} is being cancelled; `ion jobs {name}` says when it is"))
    })
}
