//! `ion events`

use super::{CliError, args::Common, block_on, output, start, words};
use crate::control::api::ControlRequest;

/// What happens on the running node, until it stops or the reader leaves.
pub fn events(common: &Common) -> Result<(), CliError> {
    block_on(async {
        let mut client = start::connect(common).await?;
        client.watch(ControlRequest::Events).await?;
        while let Some(line) = client.next_event().await? {
            if common.json {
                output::json(&line)?;
            } else {
                output::line(&words::event_of_many(&line.event))?;
            }
        }
        Ok(())
    })
}
