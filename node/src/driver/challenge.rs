//! Challenges, as far as the node's services do something for them: the worker computes, blocking threads put together and
//! check, and the owner is told the end.

use super::{Driver, control::Reply};
use crate::{
    blobs::BlobStore,
    control::api::{ChallengeRef, ChallengedView, ControlResponse},
    show::TranscriptFile,
};
use ion_gpu::challenge::{self, Nodes};
use ion_protocol::{
    Millis, NanoIo,
    challenge::{BESIDE_MAX, Challenge, OpenedRow, Roots, Shape},
    fault::Fault,
    job::{JobLimits, JobSpec, Needs},
    receipt::Output,
};
use ion_scheduler::{
    Input,
    effect::ChallengeReport,
    input::{ChallengeId, ChallengeTarget, OwnerInput, WorkId},
};

impl Driver {
    /// The owner wants devices challenged; answered when all are over.
    pub(super) fn on_challenge(&mut self, targets: Vec<ChallengeRef>, reply: Reply) {
        if targets.is_empty() || targets.len() > BESIDE_MAX {
            let message = format!("{} devices to challenge; expected 1 to {BESIDE_MAX}", targets.len());
            return reply.error(message, "name fewer of them");
        }
        let drawn = targets.iter().map(draw).collect::<Result<Vec<_>, _>>();
        let drawn = drawn.and_then(|targets| getrandom::u64().map(|id| (targets, ChallengeId(id))));
        let (targets, challenge) = match drawn {
            Ok(drawn) => drawn,
            Err(error) => return reply.error(format!("no random seeds are to be had: {error}"), ""),
        };
        self.challenges.insert(challenge, reply);
        self.feed(Input::Owner(OwnerInput::Challenge { challenge, targets }));
    }

    pub(super) fn on_challenged(&mut self, challenge: ChallengeId, reports: Vec<ChallengeReport>) {
        let Some(reply) = self.challenges.remove(&challenge) else { return };
        let view = |report: ChallengeReport| {
            let target = ChallengeRef { provider: report.provider, device: report.device };
            let (transcript, refused) = match report.result {
                Ok(transcript) => (TranscriptFile::of(&self.config.network, &transcript), String::new()),
                Err(why) => (None, why),
            };
            ChallengedView { target, transcript, refused }
        };
        reply.send(ControlResponse::Challenged(reports.into_iter().map(view).collect()));
    }

    pub(super) fn prove(
        &self,
        work: WorkId,
        device: u16,
        challenge: &Challenge,
        limit: Millis,
    ) -> Result<(), Fault> {
        let Some(workers) = &self.workers else {
            return Err(Fault::NoDevice { message: "this node's devices are not probed yet".to_owned() });
        };
        let spec = JobSpec {
            name: "challenge".to_owned(),
            needs: Needs::default(),
            limits: JobLimits { run: limit, memory: challenge.shape.memory(), price: NanoIo::ZERO },
            program: challenge::program(&challenge.seed, &challenge.shape),
        };
        workers.run(work, self.id, device, Box::new(spec), false)
    }

    pub(super) fn commit(&self, work: WorkId, challenge: Box<Challenge>, outputs: Vec<Output>) {
        let store = self.store.clone();
        self.aside(move || {
            let result = nodes(&store, &challenge.shape, &outputs).map(|nodes| nodes.roots());
            Input::Committed { work, result }
        });
    }

    pub(super) fn open_rows(
        &self,
        work: WorkId,
        challenge: Box<Challenge>,
        outputs: Vec<Output>,
        opening: [u8; 32],
    ) {
        let store = self.store.clone();
        self.aside(move || {
            let Challenge { seed, shape, .. } = &*challenge;
            let nodes = nodes(&store, shape, &outputs);
            let result = nodes.map(|nodes| challenge::open_rows(seed, shape, &nodes, &opening));
            Input::RowsOpened { work, result }
        });
    }

    pub(super) fn judge(
        &self,
        (challenge, target): (ChallengeId, u16),
        asked: Box<Challenge>,
        roots: Roots,
        opening: [u8; 32],
        rows: Vec<OpenedRow>,
    ) {
        self.aside(move || {
            let result = challenge::check(&asked.seed, &asked.shape, &roots, &opening, &rows);
            Input::Judged { challenge, target, result }
        });
    }

    /// Does something that takes a while on a thread of its own, and tells the engine what came of it.
    fn aside(&self, work: impl FnOnce() -> Input + Send + 'static) {
        let local = self.local.clone();
        tokio::task::spawn_blocking(move || {
            // The driver is gone only when the node is going down.
            let _ = local.blocking_send(work());
        });
    }
}

fn draw(target: &ChallengeRef) -> Result<ChallengeTarget, getrandom::Error> {
    let mut seeds = [[0; 32]; 2];
    seeds.iter_mut().try_for_each(|seed| getrandom::fill(seed))?;
    let [seed, opening] = seeds;
    Ok(ChallengeTarget { provider: target.provider, device: target.device, seed, opening })
}

/// What left the device, from the store.
fn nodes(store: &BlobStore, shape: &Shape, outputs: &[Output]) -> Result<Nodes, String> {
    let [first, second] = outputs else { return Err(format!("{} outputs; expected 2", outputs.len())) };
    let read = |output: &Output| store.read(&output.hash).map_err(|error| error.to_string());
    Nodes::of(shape, &read(first)?, &read(second)?).map_err(|error| error.to_string())
}
