//! Jobs as a developer orders them: `ion run`, watched through what the light node prints.

use crate::{
    cluster::{
        Cluster,
        ion::Running,
        log::{Deadline, Line, Mark, Said},
    },
    programs::Program,
};
use anyhow::{Context, Result, bail};
use ion_protocol::{
    Attempt, JobId, Millis, NanoIo, Nanos, NodeId, hardware::Engine, message::LeaseState, record::JobEnd,
};
use ion_scheduler::event::Event;
use std::{ffi::OsString, path::PathBuf};

/// From an order to its end at most; the largest job takes some seconds on a slow machine.
pub const JOB_SECONDS: u64 = 120;

/// Between two looks at whether `ion run` has failed meanwhile.
const ACCEPTANCE_LOOK_MS: u64 = 200;

/// A job under way.
#[derive(Debug)]
pub struct Job {
    /// What it computes.
    pub program: Program,
    /// Its number in the network.
    pub id: JobId,
    /// Where its results go.
    pub out: PathBuf,
    /// Who ordered it.
    pub light: usize,
    /// What the light node said before it was ordered is of no interest.
    pub since: Mark,
    command: Running,
}

/// How a job ended well.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The try that succeeded.
    pub attempt: Attempt,
    /// Who ran it.
    pub provider: NodeId,
    /// On what.
    pub model: String,
    /// By what.
    pub engine: Engine,
    /// Metered in kernels.
    pub device_time: Nanos,
    /// From the order to the first byte moved.
    pub waited: Millis,
    /// Inputs and outputs.
    pub moved: Millis,
    /// In the provider's worker.
    pub ran: Millis,
    /// Owed.
    pub price: NanoIo,
}

impl Job {
    /// Writes the job's files and orders it at the light node.
    pub fn order(cluster: &Cluster, light: usize, name: &str, program: Program) -> Result<Self> {
        Self::order_with(cluster, light, name, program, &[])
    }

    /// As [`Job::order`], with more arguments of `ion run`.
    pub fn order_with(
        cluster: &Cluster,
        light: usize,
        name: &str,
        program: Program,
        more: &[&str],
    ) -> Result<Self> {
        let dir = cluster.subdir("jobs")?.join(name);
        let manifest = program.write(&dir)?;
        let out = dir.join("out");
        let since = cluster.log.mark();
        let data_dir = &cluster[light].spec.data_dir;
        let args: [OsString; 4] = ["run".into(), manifest.into(), "--out".into(), out.clone().into()];
        let args = args.into_iter().chain(more.iter().map(OsString::from));
        let mut command = cluster.ion.start(data_dir, args)?;
        let deadline = Deadline::seconds(JOB_SECONDS);
        loop {
            if let Ok((id, _)) = accepted(cluster, light, since) {
                return Ok(Self { program, id, out, light, since, command });
            }
            if command.is_over()? || deadline.left().is_none() {
                let finished = command.finish(deadline)?;
                bail!("`ion run` of {name} ended with {:?}: {}", finished.code, finished.errors.trim());
            }
        }
    }

    /// Waits for something the light node says of this job.
    pub fn wait<T>(
        &self,
        cluster: &Cluster,
        from: Mark,
        deadline: Deadline,
        what: &str,
        mut want: impl FnMut(&Line, &Event) -> Result<Option<T>>,
    ) -> Result<(T, Mark)> {
        let what = format!("{what} of {}", self.program.title());
        cluster.log.wait(from, deadline, &what, |line| match &line.said {
            Said::Event(event) if line.node == self.light && job_of(event) == Some(self.id) => {
                want(line, event)
            }
            Said::Ended if line.node == self.light => {
                bail!("the node that ordered it ended; its log ends:\n{}", cluster[self.light].tail())
            }
            Said::Event(_) | Said::Listening { .. } | Said::Other(_) | Said::Ended => Ok(None),
        })
    }

    /// Waits until the job runs; answers its provider's position and how far the log was read.
    pub fn runs(&self, cluster: &Cluster) -> Result<(usize, Mark)> {
        let deadline = Deadline::seconds(JOB_SECONDS);
        let (provider, mark) =
            self.wait(cluster, self.since, deadline, "the first launches", |_, event| match event {
                Event::Progress { provider, state: LeaseState::Running { done: 1.., .. }, .. } => {
                    Ok(Some(*provider))
                }
                Event::JobEnded { .. } => bail!("it ended too soon"),
                _ => Ok(None),
            })?;
        let position = cluster.nodes().iter().position(|node| node.id == Some(provider));
        Ok((position.context("it runs outside this network")?, mark))
    }

    /// Waits until the job ended well and its results are here.
    pub fn finish(self, cluster: &Cluster) -> Result<(Program, PathBuf, JobId, Ended)> {
        let deadline = Deadline::seconds(JOB_SECONDS);
        let (ended, _) = self.wait(cluster, self.since, deadline, "the end", |_, event| match event {
            Event::JobEnded {
                end, provider, model, engine, device_time, waited, moved, ran, price, ..
            } => {
                let JobEnd::Done { attempt } = end else { bail!("it ended as {end:?}") };
                Ok(Some(Ended {
                    attempt: *attempt,
                    provider: provider.context("a done job names its provider")?,
                    model: model.clone(),
                    engine: engine.context("a done job names its engine")?,
                    device_time: *device_time,
                    waited: *waited,
                    moved: *moved,
                    ran: *ran,
                    price: *price,
                }))
            }
            _ => Ok(None),
        })?;
        let finished = self.command.finish(deadline)?;
        if finished.code != Some(0) {
            bail!("`ion run` ended with {:?}: {}", finished.code, finished.errors.trim());
        }
        Ok((self.program, self.out, self.id, ended))
    }
}

/// The next job the light node takes on; waits for a moment only. Orders are made one after the other, so it is the one
/// that was ordered.
fn accepted(cluster: &Cluster, light: usize, since: Mark) -> Result<(JobId, Mark)> {
    let moment = Deadline::millis(ACCEPTANCE_LOOK_MS);
    cluster.log.wait(since, moment, "the job to be accepted", |line| match &line.said {
        Said::Event(Event::JobAccepted { job }) if line.node == light => Ok(Some(*job)),
        Said::Event(_) | Said::Listening { .. } | Said::Other(_) | Said::Ended => Ok(None),
    })
}

/// Of which job an event tells.
pub fn job_of(event: &Event) -> Option<JobId> {
    match event {
        Event::JobAccepted { job }
        | Event::JobRefused { job, .. }
        | Event::NobodyFits { job, .. }
        | Event::Chosen { job, .. }
        | Event::OrderAccepted { job, .. }
        | Event::OrderRefused { job, .. }
        | Event::Progress { job, .. }
        | Event::AttemptLost { job, .. }
        | Event::Delivering { job, .. }
        | Event::NoRoom { job, .. }
        | Event::Checking { job, .. }
        | Event::Checked { job, .. }
        | Event::DeliveryFalse { job, .. }
        | Event::JobEnded { job, .. }
        | Event::LeaseTaken { job, .. }
        | Event::LeaseRefused { job, .. }
        | Event::ReceiptSigned { job, .. }
        | Event::ReceiptSettled { job, .. }
        | Event::LeaseReleased { job, .. } => Some(*job),
        Event::OfferSeen { .. }
        | Event::Challenged { .. }
        | Event::ChallengeTaken { .. }
        | Event::ChallengeLetGo { .. }
        | Event::Challenging { .. }
        | Event::ChallengeDeclined { .. }
        | Event::RecordFailed { .. }
        | Event::Drained => None,
    }
}
