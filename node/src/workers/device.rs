//! One device: a job at a time, one tenant a child, the next child started while a job runs.
//!
//! A child that ended a job well serves the next of the same requester, which saves small jobs the start of a process.
//! Another requester gets a child that never held anything, and only once the old one is gone; after a fault everybody
//! does. While the owner has the device, no child holds anything of it.

use super::{
    Ask, Stops, Work,
    child::Child,
    job::{Finished, Host},
};
use ion_protocol::{NodeId, fault::Fault, job::JobSpec};
use ion_scheduler::input::{Input, WorkReport};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinHandle};

/// A child that is being made ready ahead of its job.
type Spare = JoinHandle<Result<Child, Fault>>;

/// What is run.
struct Job {
    spec: Arc<JobSpec>,
    keep_states: bool,
}

/// Runs the jobs that come for a device until nobody can send more.
pub async fn supervise(host: Host, mut asks: mpsc::Receiver<Ask>, stops: Stops, inputs: mpsc::Sender<Input>) {
    let host = Arc::new(host);
    let mut spare = Some(make_spare(&host));
    let mut kept: Option<(NodeId, Child)> = None;
    while let Some(ask) = asks.recv().await {
        let Work { work, tenant, spec, keep_states, stop } = match ask {
            Ask::Run(work) => work,
            Ask::Rest => {
                if let Some(spare) = spare.take() {
                    // Its child is dropped with it, which kills it.
                    spare.abort();
                }
                if let Some((_, child)) = kept.take() {
                    child.end().await;
                }
                continue;
            }
            Ask::Wake => {
                spare.get_or_insert_with(|| make_spare(&host));
                continue;
            }
        };
        let known = match kept.take() {
            Some((whose, child)) if whose == tenant && child.is_idle() => Some(child),
            Some((_, child)) => {
                child.end().await;
                None
            }
            None => None,
        };
        let job = Job { spec: Arc::from(spec), keep_states };
        let mut tell = |done, total| {
            // Progress is news only while it is new: where the driver is busy, the next word replaces this one.
            let _ = inputs.try_send(Input::WorkProgress { work, done, total });
        };
        let (used, result) = run(&host, known, &mut spare, &job, &stop, &mut tell).await;
        stops.lock().remove(&work);
        let good = result.is_ok();
        let result = result.map(|finished| report(&host, finished));
        if inputs.send(Input::WorkDone { work, result }).await.is_err() {
            return;
        }
        match used {
            Some(child) if good && child.stdin.is_some() => kept = Some((tenant, child)),
            Some(child) => child.end().await,
            None => {}
        }
    }
}

fn make_spare(host: &Arc<Host>) -> Spare {
    let host = host.clone();
    tokio::spawn(async move { host.ready_child().await })
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

/// Runs a job in the child its tenant knows, else in the spare one, and makes the next ready meanwhile. A child that died
/// before it had the job died of something else (it waited idle), so the job gets another, once.
async fn run(
    host: &Arc<Host>,
    mut known: Option<Child>,
    spare: &mut Option<Spare>,
    job: &Job,
    stop: &tokio_util::sync::CancellationToken,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> (Option<Child>, Result<Finished, Fault>) {
    // A known child and the spare may both have died while they waited; a new one has no such excuse.
    let mut excuses = if known.is_some() { 2 } else { 1 };
    let mut again = move || {
        let more = excuses > 0;
        excuses -= u32::from(more);
        more
    };
    loop {
        if stop.is_cancelled() {
            return (None, Err(Fault::Cancelled));
        }
        let ready = match known.take() {
            Some(child) => Ok(Ok(child)),
            None => {
                let taken = spare.replace(make_spare(host)).unwrap_or_else(|| make_spare(host));
                tokio::select! {
                    ready = taken => ready,
                    () = stop.cancelled() => return (None, Err(Fault::Cancelled)),
                }
            }
        };
        let mut child = match ready {
            Ok(Ok(child)) => child,
            Ok(Err(_)) if again() => continue,
            Ok(Err(fault)) => return (None, Err(fault)),
            Err(error) => {
                let how = format!("making it ready ended: {error}");
                return (None, Err(Fault::WorkerCrashed { how }.bounded()));
            }
        };
        if !child.is_idle() && again() {
            continue;
        }
        match host.run(&mut child, &job.spec, job.keep_states, stop, progress).await {
            Ok(finished) => return (Some(child), Ok(finished)),
            Err(ended) if !ended.begun && dead(&ended.fault) && again() => {}
            Err(ended) => return (Some(child), Err(ended.fault)),
        }
    }
}

fn dead(fault: &Fault) -> bool {
    matches!(fault, Fault::WorkerCrashed { .. })
}
