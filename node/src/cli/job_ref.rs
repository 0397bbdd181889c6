//! Jobs as people name them: by the first digits of their id.

use super::CliError;
use crate::control::{
    ControlClient, ControlError,
    api::{ControlRequest, ControlResponse, JobView},
};
use ion_protocol::JobId;

/// All jobs of the node, newest first.
pub async fn all(client: &mut ControlClient) -> Result<Vec<JobView>, CliError> {
    match client.ask(ControlRequest::Jobs).await? {
        ControlResponse::Jobs(mut jobs) => {
            jobs.sort_by_key(|j| std::cmp::Reverse((j.submitted, j.job)));
            Ok(jobs)
        }
        other => Err(ControlError::unexpected("jobs", &other).into()),
    }
}

/// The one job whose id begins so.
pub async fn find(client: &mut ControlClient, prefix: &str) -> Result<JobId, CliError> {
    if let Ok(job) = prefix.parse() {
        return Ok(job);
    }
    let digits = prefix.to_lowercase();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let shown: String = prefix.chars().take(40).collect();
        return Err(CliError::usage(
            format!("`{shown}` is no job: expected the first hexadecimal digits of its id"),
            "`ion jobs` lists them",
        ));
    }
    let jobs = all(client).await?;
    let found: Vec<JobId> =
        jobs.iter().map(|j| j.job).filter(|j| j.to_string().starts_with(&digits)).collect();
    match found[..] {
        [job] => Ok(job),
        [] => Err(CliError::usage(format!("no job begins with `{digits}`"), "`ion jobs` lists them")),
        _ => {
            let some: Vec<String> = found.iter().take(4).map(JobId::to_string).collect();
            Err(CliError::usage(
                format!("{} jobs begin with `{digits}`: {}", found.len(), some.join(", ")),
                "give more digits",
            ))
        }
    }
}
