//! A node that does not run, as its journal tells of it: what its owner can still ask. Nothing is changed, nothing is sent,
//! nothing is signed. Tests: `node/tests/cli/at_rest.rs`.

use super::control::{no_job, receipt, receipts};
use crate::{
    clock::Clock,
    config::NETWORK_DEFAULT,
    control::{
        self, CALLS_CAPACITY, ControlClient,
        api::{ControlRequest, ControlResponse, Explanation, JobView},
    },
    ledger::{AtRest, JournalError, LedgerError},
};
use ion_protocol::{NetworkId, key::SecretKey};
use ion_scheduler::{Config, Engine, Past};
use std::path::Path;
use tokio::sync::mpsc;

/// Answers from the journal in `dir`, while the runtime lives that this is called on; `None` where no node ever wrote one.
pub fn at_rest(dir: &Path) -> Result<Option<ControlClient>, LedgerError> {
    let Some(ledger) = AtRest::open(dir)? else { return Ok(None) };
    let (calls, mut asked) = mpsc::channel::<control::ControlCall>(CALLS_CAPACITY);
    tokio::spawn(async move {
        while let Some(call) = asked.recv().await {
            // An asker who left is not missed.
            let _ = call.reply.try_send(answer(&ledger, call.request));
        }
    });
    Ok(Some(ControlClient::here(calls)))
}

fn answer(ledger: &AtRest, request: ControlRequest) -> ControlResponse {
    match request {
        ControlRequest::Jobs => with_engine(ledger, |engine| {
            ControlResponse::Jobs(engine.jobs().into_iter().map(alone).collect())
        }),
        ControlRequest::Job { job } => with_engine(ledger, |engine| match engine.job(&job) {
            Some(view) => ControlResponse::Job(Box::new(alone(view))),
            None => no_job(&job),
        }),
        ControlRequest::Why { job } => with_engine(ledger, |engine| match engine.job(&job) {
            Some(view) => ControlResponse::Explanation(Box::new(Explanation {
                job: Some(job),
                state: view.state,
                attempts: view.attempts,
                // What would be done next is decided by who is there then.
                ..Explanation::default()
            })),
            None => no_job(&job),
        }),
        ControlRequest::Receipts { filter } => receipts(ledger.receipts(&filter)),
        ControlRequest::Receipt { prefix } => {
            // The journal knows its network by hash only, and a receipt that travels tells the name.
            if ledger.network() != NetworkId::named(NETWORK_DEFAULT) {
                let message = "this node is of a network whose name its journal does not hold";
                return control::refusal(message, "start it with `ion node --network NAME`, and ask again");
            }
            receipt(ledger.receipt(&prefix), NETWORK_DEFAULT.to_owned())
        }
        ControlRequest::Status
        | ControlRequest::Devices
        | ControlRequest::Pause { .. }
        | ControlRequest::Resume { .. }
        | ControlRequest::Offers
        | ControlRequest::Submit { .. }
        | ControlRequest::Watch { .. }
        | ControlRequest::Events
        | ControlRequest::Cancel { .. }
        | ControlRequest::DryRun { .. }
        | ControlRequest::Outputs { .. }
        | ControlRequest::Challenge { .. }
        | ControlRequest::Drain
        | ControlRequest::Stop => control::refusal("no node runs here", "start one with `ion node`"),
    }
}

/// What a provider said last is not in the journal.
fn alone(view: JobView) -> JobView {
    JobView { lease: None, ..view }
}

/// An engine that was told everything and is asked to do nothing. Its key is nobody's: it could sign nothing that counts.
fn with_engine(ledger: &AtRest, ask: impl FnOnce(&Engine) -> ControlResponse) -> ControlResponse {
    let config = Config { network: ledger.network(), ..Config::default() };
    let mut engine = Engine::new(config, SecretKey::from_seed(&[0; 32]), 0);
    let (clock, mut past) = (Clock::start(), Past::default());
    match ledger.read(|record| engine.recall(&mut past, &record, clock.now())) {
        Ok(()) => {
            let _not_carried_out = engine.carry_on(past, clock.now());
            ask(&engine)
        }
        Err(error) => unreadable(&error),
    }
}

fn unreadable(error: &JournalError) -> ControlResponse {
    control::refusal(
        error.to_string(),
        "keep the damaged file; receipts exported before prove themselves with `ion receipts verify`",
    )
}
