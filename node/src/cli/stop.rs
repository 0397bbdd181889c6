//! `ion stop`

use super::{
    CliError,
    args::{Common, StopArgs},
    block_on, output, start,
};
use crate::control::{
    ControlError,
    api::{ControlRequest, ControlResponse},
};

/// Stops the running node.
pub fn stop(common: &Common, args: StopArgs) -> Result<(), CliError> {
    let (request, said) = match args.now {
        true => (ControlRequest::Stop, "the node stops now"),
        false => (ControlRequest::Drain, "the node takes no new work, finishes what runs, and stops"),
    };
    block_on(async {
        match start::connect(common).await?.ask(request).await? {
            ControlResponse::Noted if common.json => {
                output::json(&serde_json::json!({ "stopping": true, "now": args.now }))
            }
            ControlResponse::Noted => output::line(said),
            other => Err(ControlError::unexpected("a note", &other).into()),
        }
    })
}
