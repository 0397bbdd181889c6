//! One job in one child, from the first frame to the last byte of output or the reason why there is none.

use super::{
    Blobs, Patience,
    child::{Child, Spawner, flood, millis},
    feed::{Fed, feed},
    outputs::Outputs,
};
use ion_gpu::worker::{
    Task,
    frame::{Frame, FromWorker, PROGRESS_EVERY, Summary},
};
use ion_protocol::{
    Bytes, Millis, deal::InlineBlob, fault::Fault, hardware::Device, job::JobSpec, receipt::Output,
    states::States,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    process::ChildStdin,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Slowest that bytes may move into and out of a child before it counts as stuck.
const BYTES_PER_SECOND_MIN: u64 = 20_000_000;
/// Progress frames beyond those a steady child sends, before it counts as flooding.
const PROGRESS_SPARE: u128 = 64;

/// What every job of a device needs.
pub struct Host {
    pub spawner: Spawner,
    pub task: Task,
    pub device: Device,
    pub blobs: Arc<dyn Blobs>,
    pub patience: Patience,
}

/// A job that ended well.
#[derive(Debug)]
pub struct Finished {
    pub outputs: Vec<Output>,
    pub inline: Vec<InlineBlob>,
    pub states: States,
    pub summary: Summary,
    /// From the first frame to the last.
    pub ran: Millis,
    /// Until the child had all inputs.
    pub fed: Duration,
}

/// A job that did not, and whether the child had it at all: one that died before may have died of something else.
#[derive(Debug)]
pub struct Ended {
    pub fault: Fault,
    pub begun: bool,
}

impl Host {
    /// A child that is ready for a job.
    pub async fn ready_child(&self) -> Result<Child, Fault> {
        let started = self.spawner.child(self.task).await;
        let mut child = started.map_err(|error| {
            let how = format!("it could not be started: {error}");
            Fault::WorkerCrashed { how }.bounded()
        })?;
        child.ready(self.patience.start).await?;
        Ok(child)
    }

    /// Runs a job in `child`, which can take another only if this one ended well.
    pub async fn run(
        &self,
        child: &mut Child,
        spec: &Arc<JobSpec>,
        keep_states: bool,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Finished, Ended> {
        let Some(stdin) = child.stdin.take() else {
            let how = "its pipe is in use".to_owned();
            return Err(Ended { fault: Fault::WorkerCrashed { how }, begun: false });
        };
        let mut watch = Watch {
            outputs: Outputs::of(spec, keep_states, self.blobs.clone()),
            spec,
            patience: self.patience,
            began: Instant::now(),
            phase: Phase::Waiting,
            silent_since: Instant::now(),
            progress_frames: 0,
            fed: Duration::ZERO,
        };
        let feeding = feed(stdin, spec.clone(), keep_states, self.blobs.clone());
        match watch.until_done(child, feeding, stop, progress).await {
            Ok((summary, pipe)) => {
                child.stdin = pipe;
                watch.finish(summary)
            }
            Err(fault) => Err(Ended { fault, begun: watch.phase != Phase::Waiting }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came back yet.
    Waiting,
    /// It has the job and reads it.
    Loading,
    /// Its first launch was next at this time.
    Running(Instant),
}

struct Watch<'a> {
    spec: &'a JobSpec,
    patience: Patience,
    outputs: Outputs,
    began: Instant,
    phase: Phase,
    silent_since: Instant,
    progress_frames: u128,
    fed: Duration,
}

impl Watch<'_> {
    async fn until_done(
        &mut self,
        child: &mut Child,
        feeding: impl Future<Output = Fed>,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(Summary, Option<ChildStdin>), Fault> {
        tokio::pin!(feeding);
        let mut fed = None;
        loop {
            let (limit, overdue) = self.deadline();
            tokio::select! {
                () = stop.cancelled() => return Err(Fault::Cancelled),
                () = child.flooded.cancelled() => return Err(flood()),
                frame = child.frames.recv() => {
                    self.silent_since = Instant::now();
                    match frame {
                        Some(Ok(frame)) => {
                            if let Some(summary) = self.on_frame(frame, progress).await? {
                                // It has all it was told, so feeding is over or about to be.
                                let fed = match fed {
                                    Some(fed) => fed,
                                    None => timeout(self.patience.silence, feeding).await.unwrap_or(Fed::ChildGone),
                                };
                                return Ok((summary, fed.pipe()));
                            }
                        }
                        Some(Err(error)) => return Err(child.broke(error).await),
                        None => return Err(child.died().await),
                    }
                }
                end = &mut feeding, if fed.is_none() => {
                    self.fed = self.began.elapsed();
                    if let Fed::Failed(fault) = end {
                        return Err(fault);
                    }
                    fed = Some(end);
                }
                () = sleep_until(self.silent_since + self.patience.silence) => {
                    return Err(Fault::WorkerHung { silent: millis(self.silent_since.elapsed()) });
                }
                () = sleep_until(overdue) => return Err(Fault::RunTime { limit }),
            }
        }
    }

    /// What the job may take where it stands, and when that is over.
    fn deadline(&self) -> (Millis, Instant) {
        match self.phase {
            Phase::Waiting | Phase::Loading => {
                let bytes: u64 = self.spec.program.blobs().iter().map(|(_, bytes)| bytes.0).sum();
                let moving = Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
                let limit = self.patience.load.saturating_add(moving);
                (millis(limit), self.began + limit)
            }
            Phase::Running(since) => {
                let limit = self.spec.limits.run;
                (limit, since + Duration::from_millis(limit.0) + self.patience.grace)
            }
        }
    }

    async fn on_frame(
        &mut self,
        frame: Frame<FromWorker>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Option<Summary>, Fault> {
        let message = match frame {
            Frame::Bytes(piece) => return self.outputs.piece(piece).await.map(|()| None),
            Frame::Message(message) => message,
        };
        match message {
            FromWorker::Ready => Err(Fault::WorkerProtocol { message: "it was ready twice".into() }),
            FromWorker::Progress { done, total } => {
                self.on_progress()?;
                progress(done.min(total), total);
                Ok(None)
            }
            FromWorker::Started => match self.phase {
                Phase::Waiting | Phase::Loading => {
                    self.phase = Phase::Running(Instant::now());
                    Ok(None)
                }
                Phase::Running(_) => Err(Fault::WorkerProtocol { message: "it started twice".into() }),
            },
            FromWorker::Output { buffer, bytes } => self.outputs.begin(buffer, bytes).map(|()| None),
            FromWorker::States { every, bytes } => self.outputs.begin_states(every, bytes).map(|()| None),
            FromWorker::Done(summary) => Ok(Some(summary)),
            FromWorker::Need { .. } | FromWorker::Found(_) => {
                Err(Fault::WorkerProtocol { message: "it checks where nobody asked for a check".into() })
            }
            FromWorker::Failed(fault) => {
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Loading;
                }
                Err(fault.bounded())
            }
        }
    }

    fn on_progress(&mut self) -> Result<(), Fault> {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Loading;
        }
        self.progress_frames += 1;
        let expected = self.began.elapsed().as_millis() / PROGRESS_EVERY.as_millis();
        if self.progress_frames > 2 * expected + PROGRESS_SPARE {
            let message = format!("a flood of {} progress frames", self.progress_frames);
            return Err(Fault::WorkerProtocol { message });
        }
        Ok(())
    }

    fn finish(self, summary: Summary) -> Result<Finished, Ended> {
        let ran = millis(self.began.elapsed());
        let all = self.outputs.all(&summary.states_missing);
        let (outputs, inline, states) = all.map_err(|fault| Ended { fault, begun: true })?;
        Ok(Finished { outputs, inline, states, summary, ran, fed: self.fed })
    }
}

impl Finished {
    /// Bytes that came out.
    pub fn bytes_out(&self) -> Bytes {
        self.outputs.iter().fold(Bytes::ZERO, |sum, output| sum.saturating_add(output.bytes))
    }
}
