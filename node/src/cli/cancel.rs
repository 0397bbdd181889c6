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
        match client.ask(ControlRequest::Cancel { job }).await? {
            ControlResponse::Noted if common.json => output::json(&Cancelled { job, asked: true }),
            ControlResponse::Noted => output::line(&format!(
                "job {} is being cancelled; `ion jobs {}` says when it is",
                job,
                job.short()
            )),
            other => Err(ControlError::unexpected("a note", &other).into()),
        }
    })
}
