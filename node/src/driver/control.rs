//! Answers to the owner: each request of the control API, from what the engine and the services know.

use super::{
    Driver,
    submit::{NOT_TAKEN, Submitter},
};
use crate::{
    blobs::BlobStore,
    clock,
    control::{
        self, ControlCall,
        api::{
            ClaimCounts, ControlRequest, ControlResponse, OutputView, ReceiptView, SignedParts,
            SignedReceiptView, StatusView,
        },
    },
    events::{EventLine, job_of},
    ledger::{LookupError, StoredReceipt},
};
use ion_protocol::JobId;
use ion_scheduler::{Input, event::Event, input::OwnerInput, view};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Watchers of events at once; each is a connection of the owner's.
const WATCHERS_MAX: usize = 64;

/// Where one answer goes.
#[derive(Debug)]
pub(super) struct Reply(mpsc::Sender<ControlResponse>);

impl Reply {
    /// Answers; an asker who left is not missed.
    pub(super) fn send(&self, response: ControlResponse) {
        let _ = self.0.try_send(response);
    }

    /// Answers that a job is durable.
    pub(super) fn submitted(&self, job: JobId) {
        self.send(ControlResponse::Submitted { job });
    }

    /// Answers that it can't be done.
    pub(super) fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.send(control::refusal(message, hint));
    }
}

/// Somebody who wants events as they come.
#[derive(Debug)]
pub(super) struct Watcher {
    job: Option<JobId>,
    reply: Reply,
}

/// The way out where receipts can't be looked up.
const INDEX_HINT: &str = "ask again; a restart of the node rebuilds the index";

impl Driver {
    /// Answers, or begins to.
    pub(super) fn on_control(&mut self, call: ControlCall) {
        let reply = Reply(call.reply);
        match call.request {
            ControlRequest::Status => self.answer_status(reply),
            ControlRequest::Devices => reply.send(ControlResponse::Devices(Box::new(self.devices_view()))),
            ControlRequest::Pause { device, now } => self.on_pause(device, true, now, reply),
            ControlRequest::Resume { device } => self.on_pause(device, false, false, reply),
            ControlRequest::Offers => {
                reply.send(ControlResponse::Offers(self.engine.offers(self.clock.now())));
            }
            ControlRequest::Submit { job, spec, files, verify, watch } => {
                self.on_submit(job, spec, files, verify, Submitter { reply, watch });
            }
            ControlRequest::Jobs => reply.send(ControlResponse::Jobs(self.engine.jobs())),
            ControlRequest::Job { job } => {
                self.with_job(job, reply, |view| ControlResponse::Job(Box::new(view)))
            }
            ControlRequest::Watch { job } => self.watch(job, reply),
            ControlRequest::Events => self.add_watcher(Watcher { job: None, reply }),
            ControlRequest::Cancel { job } => {
                self.with_job(job, reply, |view| ControlResponse::Job(Box::new(view)));
                self.feed(Input::Owner(OwnerInput::Cancel { job }));
            }
            ControlRequest::Why { job } => match self.engine.why(&job, self.clock.now()) {
                Some(explanation) => reply.send(ControlResponse::Explanation(Box::new(explanation))),
                None => unknown_job(&reply, &job),
            },
            ControlRequest::DryRun { spec } => {
                let explanation = self.engine.match_spec(&spec, self.clock.now());
                reply.send(ControlResponse::Explanation(Box::new(explanation)));
            }
            ControlRequest::Receipts { filter } => {
                let ledger = self.ledger.clone();
                tokio::spawn(async move {
                    reply.send(receipts(ledger.receipts(filter).await));
                });
            }
            ControlRequest::Receipt { prefix } => {
                let (ledger, network) = (self.ledger.clone(), self.config.network.clone());
                tokio::spawn(async move { reply.send(receipt(ledger.receipt(&prefix).await, network)) });
            }
            ControlRequest::Outputs { job } => match self.engine.job(&job) {
                Some(view) => {
                    let store = self.store.clone();
                    // A blob of an earlier run is hashed before it is given out, which may take a while.
                    tokio::task::spawn_blocking(move || reply.send(outputs(&store, &view.outputs)));
                }
                None => unknown_job(&reply, &job),
            },
            ControlRequest::Challenge { targets } => self.on_challenge(targets, reply),
            ControlRequest::Drain => {
                reply.send(ControlResponse::Noted);
                self.feed(Input::Owner(OwnerInput::Drain));
            }
            ControlRequest::Stop => {
                reply.send(ControlResponse::Noted);
                self.shutdown.stop();
            }
        }
    }

    /// Tells everybody who should know: the log, watchers, and those who wait for a job to be durable. A node that is
    /// drained stops.
    pub(super) fn tell(&mut self, event: Event) {
        match &event {
            Event::JobAccepted { job } => {
                for waiting in self.submissions.remove(job).unwrap_or_default() {
                    waiting.reply.submitted(*job);
                    if waiting.watch {
                        self.add_watcher(Watcher { job: Some(*job), reply: waiting.reply });
                    }
                }
            }
            Event::JobRefused { job, why } => {
                let waiting = self.submissions.remove(job).unwrap_or_default();
                for waiting in waiting {
                    waiting.reply.error(format!("the job was not taken on: {why}"), NOT_TAKEN);
                }
            }
            Event::RecordFailed { why } => {
                tracing::error!(%why, "the journal could not be written");
            }
            Event::NobodyFits { .. }
            | Event::Chosen { .. }
            | Event::Checking { .. }
            | Event::Checked { .. }
            | Event::DeliveryFalse { .. }
            | Event::OrderAccepted { .. }
            | Event::OrderRefused { .. }
            | Event::Progress { .. }
            | Event::AttemptLost { .. }
            | Event::Delivering { .. }
            | Event::NoRoom { .. }
            | Event::JobEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseRefused { .. }
            | Event::ReceiptSigned { .. }
            | Event::ReceiptSettled { .. }
            | Event::LeaseReleased { .. }
            | Event::OfferSeen { .. }
            | Event::Challenged { .. }
            | Event::ChallengeTaken { .. }
            | Event::ChallengeLetGo { .. }
            | Event::Challenging { .. }
            | Event::ChallengeDeclined { .. }
            | Event::Drained => {}
        }
        let drained = event == Event::Drained;
        let line = EventLine { at: clock::wall(), event };
        self.watchers.retain(|watcher| watcher.take(&line));
        self.events.tell(line);
        if drained {
            self.shutdown.stop();
        }
    }

    fn with_job(&self, job: JobId, reply: Reply, answer: impl FnOnce(view::JobView) -> ControlResponse) {
        match self.engine.job(&job) {
            Some(view) => reply.send(answer(view)),
            None => unknown_job(&reply, &job),
        }
    }

    pub(super) fn watch(&mut self, job: JobId, reply: Reply) {
        let Some(view) = self.engine.job(&job) else { return unknown_job(&reply, &job) };
        let watcher = Watcher { job: Some(job), reply };
        let past = self.events.of_job(&job);
        if past.iter().any(|line| !watcher.take(line)) {
            return;
        }
        if view.end.is_some() {
            // It ended before this node's last start, so the event itself is gone.
            return watcher.reply.send(ControlResponse::End);
        }
        self.add_watcher(watcher);
    }

    fn add_watcher(&mut self, watcher: Watcher) {
        if self.watchers.len() >= WATCHERS_MAX {
            self.watchers.retain(|watcher| !watcher.reply.0.is_closed());
        }
        if self.watchers.len() >= WATCHERS_MAX {
            return watcher.reply.error(format!("{WATCHERS_MAX} programs watch already"), "stop one of them");
        }
        self.watchers.push(watcher);
    }

    fn answer_status(&self, reply: Reply) {
        let seen = self.engine.status();
        let mut status = StatusView {
            node: self.id,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            role: self.config.role,
            network: self.config.network.clone(),
            network_id: self.network,
            data_dir: absolute(&self.config.data_dir),
            uptime: self.clock.uptime(),
            addresses: self.addresses.borrow().clone(),
            peers: 0,
            offers: seen.offers,
            claims: ClaimCounts::of(&self.engine.offers(self.clock.now())),
            challenge_every: self.config.challenge.every(),
            devices: self.device_views(),
            isolation: self.devices.as_ref().and_then(|report| report.isolation.clone()),
            price_per_second: seen.price_per_second,
            jobs_open: seen.jobs_live,
            leases_open: seen.leases_live,
            blob_bytes: self.store.used(),
            draining: seen.draining,
        };
        let net = self.net.clone();
        tokio::spawn(async move {
            status.peers = u32::try_from(net.peers().await.len()).unwrap_or(u32::MAX);
            reply.send(ControlResponse::Status(Box::new(status)));
        });
    }
}

fn unknown_job(reply: &Reply, job: &JobId) {
    reply.send(no_job(job));
}

pub(super) fn no_job(job: &JobId) -> ControlResponse {
    control::refusal(format!("no job {job} is known here"), "list them with `ion jobs`")
}

pub(super) fn receipts(found: Result<Vec<StoredReceipt>, LookupError>) -> ControlResponse {
    match found {
        Ok(receipts) => ControlResponse::Receipts(receipts.iter().map(receipt_view).collect()),
        Err(error) => control::refusal(error.to_string(), INDEX_HINT),
    }
}

pub(super) fn receipt(found: Result<StoredReceipt, LookupError>, network: String) -> ControlResponse {
    match found {
        Ok(stored) => ControlResponse::Receipt(Box::new(signed_view(&stored, network))),
        Err(
            error @ (LookupError::NotFound { .. }
            | LookupError::Ambiguous { .. }
            | LookupError::NotHex { .. }),
        ) => ControlResponse::NoReceipt { message: error.to_string() },
        Err(error @ (LookupError::Broken(_) | LookupError::Busy)) => {
            control::refusal(error.to_string(), INDEX_HINT)
        }
    }
}

fn outputs(store: &BlobStore, outputs: &[view::OutputView]) -> ControlResponse {
    let mut found = Vec::new();
    for output in outputs {
        match store.path(&output.hash) {
            Ok(path) => {
                let path = absolute(&path);
                let (buffer, hash, bytes) = (output.name.clone(), output.hash, output.bytes);
                found.push(OutputView { buffer, hash, bytes, path });
            }
            Err(error) => {
                let message = format!("buffer \"{}\" can't be had: {error}", output.name);
                return control::refusal(message, "run the job again");
            }
        }
    }
    ControlResponse::Outputs(found)
}

/// A path that holds for whoever asks, wherever they are.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.to_owned())
}

fn receipt_view(stored: &StoredReceipt) -> ReceiptView {
    ReceiptView {
        receipt: stored.hash(),
        side: stored.side,
        body: stored.receipt.body().clone(),
        countersignature: stored.countersignature.as_ref().map(|half| half.body().clone()),
    }
}

fn signed_view(stored: &StoredReceipt, network: String) -> SignedReceiptView {
    SignedReceiptView {
        network,
        receipt: SignedParts::of(stored.receipt.signed()),
        countersignature: stored.countersignature.as_ref().map(|half| SignedParts::of(half.signed())),
    }
}

impl Watcher {
    /// Passes an event on; `false` once nothing more will come of it.
    fn take(&self, line: &EventLine) -> bool {
        if self.job.is_some() && job_of(&line.event) != self.job {
            return !self.reply.0.is_closed();
        }
        if self.reply.0.try_send(ControlResponse::Event(line.clone())).is_err() {
            return false;
        }
        let last = self.job.is_some() && matches!(line.event, Event::JobEnded { .. });
        if last {
            self.reply.send(ControlResponse::End);
        }
        !last
    }
}
