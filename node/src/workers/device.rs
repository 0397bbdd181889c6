//! One device: its jobs in the order in which they come, one at a time.
//!
//! A GPU's next job is loaded into a child of its own while one runs, and begins when that is over: what a job needs beside
//! its kernels keeps no device waiting. On a processor it is not, since loading would take the running job's time.
//! Who has the device is for [`Turns`] to say, and which child a job gets for [`Children`].

use super::{
    Ask, Stops, Work,
    child::Child,
    children::Children,
    job::{Finished, Host, Start},
    turn::{Turn, Turns},
};
use futures::{StreamExt, stream::FuturesUnordered};
use ion_protocol::{NodeId, fault::Fault, hardware::Engine, job::JobSpec};
use ion_scheduler::input::{Input, WorkId, WorkReport};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What every job of a device needs.
struct Supervisor {
    children: Children,
    turns: Turns,
    stops: Stops,
    inputs: mpsc::Sender<Input>,
}

/// What is run.
struct Job {
    work: WorkId,
    tenant: NodeId,
    spec: Arc<JobSpec>,
    keep_states: bool,
    stop: CancellationToken,
}

/// Runs the jobs that come for a device until nobody can send more.
pub async fn supervise(host: Host, mut asks: mpsc::Receiver<Ask>, stops: Stops, inputs: mpsc::Sender<Input>) {
    let jobs_max = jobs_max(host.device.engine);
    let (children, turns) = (Children::of(host), Turns::default());
    let device = Supervisor { children, turns, stops, inputs };
    let (mut jobs, mut open) = (FuturesUnordered::new(), true);
    while open || !jobs.is_empty() {
        tokio::select! {
            // A job asks for its turn before the next one is looked at.
            biased;
            Some(()) = jobs.next() => {}
            ask = asks.recv(), if open && jobs.len() < jobs_max => match ask {
                Some(Ask::Run(work)) => jobs.push(device.serve(work)),
                Some(Ask::Rest) => device.children.rest().await,
                Some(Ask::Wake) => device.children.wake(),
                None => open = false,
            }
        }
    }
}

/// Jobs in children at once.
fn jobs_max(engine: Engine) -> usize {
    match engine {
        Engine::Cuda => 2,
        Engine::CpuInterpreter | Engine::CpuJit => 1,
    }
}

impl Supervisor {
    /// Runs a job and tells its end.
    async fn serve(&self, work: Work) {
        let Work { work, tenant, spec, keep_states, stop } = work;
        let job = Job { work, tenant, spec: Arc::from(spec), keep_states, stop };
        let (child, result, turn) = self.run(&job).await;
        self.stops.lock().remove(&work);
        let good = result.is_ok();
        let result = result.map(|finished| report(&self.children.host, finished));
        // Where nobody hears it any more, nobody sends jobs either.
        let _ = self.inputs.send(Input::WorkDone { work, result }).await;
        let child = match child {
            Some(child) if good && child.stdin.is_some() => Some(child),
            Some(child) => {
                child.end().await;
                None
            }
            None => None,
        };
        self.children.end(work, tenant, child).await;
        self.turns.over(work);
        drop(turn);
    }

    /// Runs a job in the child its tenant knows, else in one that never had any. A child that died before it had the job died
    /// of something else (it waited idle), so the job gets another, once. The turn comes back with a job that ended badly:
    /// the device is not the next one's before the child is gone.
    async fn run(&self, job: &Job) -> (Option<Child>, Result<Finished, Fault>, Option<Turn>) {
        let (mut known, fits) = self.children.begin(job.work, job.tenant, &job.spec);
        // A known child and the spare may both have died while they waited; a new one has no such excuse.
        let mut excuses = if known.is_some() { 2 } else { 1 };
        let mut again = move || {
            let more = excuses > 0;
            excuses -= u32::from(more);
            more
        };
        let mut progress = |done, total| {
            // Progress is news only while it is new: where the driver is busy, the next word replaces this one.
            let _ = self.inputs.try_send(Input::WorkProgress { work: job.work, done, total });
        };
        loop {
            if job.stop.is_cancelled() {
                return (None, Err(Fault::Cancelled), None);
            }
            let ready = match known.take() {
                Some(child) => Ok(Ok(child)),
                None => tokio::select! {
                    ready = self.children.pristine() => ready,
                    () = job.stop.cancelled() => return (None, Err(Fault::Cancelled), None),
                },
            };
            let mut child = match ready {
                Ok(Ok(child)) => child,
                Ok(Err(_)) if again() => continue,
                Ok(Err(fault)) => return (None, Err(fault), None),
                Err(error) => {
                    let how = format!("making it ready ended: {error}");
                    return (None, Err(Fault::WorkerCrashed { how }.bounded()), None);
                }
            };
            if !child.is_idle() && again() {
                continue;
            }
            let start = Start { turn: self.turn(job), fill: fits };
            let (spec, keep_states) = (&job.spec, job.keep_states);
            match self.children.host.run(&mut child, spec, keep_states, start, &job.stop, &mut progress).await
            {
                Ok(finished) => return (Some(child), Ok(finished), None),
                Err(ended) if !ended.begun && dead(&ended.fault) && again() => {}
                Err(ended) => return (Some(child), Err(ended.fault), ended.turn),
            }
        }
    }

    /// A job's turn: the device is its own, and none of its children is another tenant's.
    async fn turn(&self, job: &Job) -> Turn {
        let turn = self.turns.take(job.work, job.tenant).await;
        self.children.end_others(job.tenant).await;
        turn
    }
}

fn report(host: &Host, finished: Finished) -> WorkReport {
    WorkReport {
        outputs: finished.outputs,
        inline: finished.inline,
        states: finished.states,
        device: host.device.model.clone(),
        engine: host.device.engine,
        device_time: finished.summary.device_time,
        ran: finished.ran,
        printed: finished.summary.printed,
    }
}

fn dead(fault: &Fault) -> bool {
    matches!(fault, Fault::WorkerCrashed { .. })
}
