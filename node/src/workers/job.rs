//! One job in one child, from the first frame to the last byte of output or the reason why there is none.

use super::{
    Blobs, Patience,
    child::{Child, Spawner, flood, millis},
    feed::{Fed, feed},
    outputs::Outputs,
    turn::Turn,
};
use ion_gpu::worker::{
    Task,
    frame::{Frame, FromWorker, PROGRESS_EVERY, Summary},
};
use ion_protocol::{
    Bytes, Millis, deal::InlineBlob, fault::Fault, hardware::Device, job::JobSpec, limits::STATES_BYTES_MAX,
    receipt::Output, states::States,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    process::ChildStdin,
    time::{Instant, sleep_until},
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
    /// From its turn, or the first frame if that is later, to the last frame.
    pub ran: Millis,
    /// Until the child had all inputs.
    pub fed: Duration,
    /// From the first byte of output to the end.
    pub sent: Duration,
}

/// A job that did not, and whether the child had it at all: one that died before may have died of something else.
#[derive(Debug)]
pub struct Ended {
    pub fault: Fault,
    pub begun: bool,
    /// Where it had its turn: it may still run.
    pub turn: Option<Turn>,
}

/// When a job starts.
pub struct Start<F: Future<Output = Turn>> {
    /// Its turn, once it comes.
    pub turn: F,
    /// Whether the device has room for it before that.
    pub fill: bool,
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
        start: Start<impl Future<Output = Turn>>,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Finished, Ended> {
        let Some(stdin) = child.stdin.take() else {
            let how = "its pipe is in use".to_owned();
            return Err(Ended { fault: Fault::WorkerCrashed { how }, begun: false, turn: None });
        };
        let mut watch = Watch {
            outputs: Outputs::of(spec, keep_states, self.blobs.clone()),
            spec,
            patience: self.patience,
            first: Instant::now(),
            began: Instant::now(),
            turn: None,
            phase: Phase::Waiting,
            silent_since: Instant::now(),
            progress_frames: 0,
            fed: Duration::ZERO,
        };
        let feeding = feed(stdin, spec.clone(), keep_states, self.blobs.clone(), start);
        match watch.until_done(child, feeding, stop, progress).await {
            Ok((summary, pipe)) => {
                child.stdin = pipe;
                watch.finish(summary)
            }
            Err(fault) => Err(Ended { fault, begun: watch.phase != Phase::Waiting, turn: watch.turn.take() }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came back yet.
    Waiting,
    /// It has the job and reads it.
    Loading,
    /// It has read it, and another has the device.
    Held,
    /// Its first launch was next at this time.
    Running(Instant),
    /// Its last launch was over, and the first output came, at this time.
    Sending(Instant),
}

struct Watch<'a> {
    spec: &'a JobSpec,
    patience: Patience,
    outputs: Outputs,
    /// When the first frame was sent.
    first: Instant,
    /// The same, or when it was the job's turn.
    began: Instant,
    /// As long as it has the device.
    turn: Option<Turn>,
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
        let (mut feeds, mut pipe) = (true, None);
        loop {
            let deadline = self.deadline();
            let overdue = async {
                match deadline {
                    Some((limit, at)) => {
                        sleep_until(at).await;
                        limit
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Err(Fault::Cancelled),
                () = child.flooded.cancelled() => return Err(flood()),
                frame = child.frames.recv() => {
                    let summary = match frame {
                        Some(Ok(frame)) => self.on_frame(frame, progress).await?,
                        Some(Err(error)) => return Err(child.broke(error).await),
                        None => return Err(child.died().await),
                    };
                    // While a disk was slow to take what it sent, nobody listened to it.
                    self.silent_since = Instant::now();
                    if let Some(summary) = summary {
                        return Ok((summary, pipe));
                    }
                }
                end = &mut feeding, if feeds => {
                    feeds = false;
                    match end {
                        Fed::All(all, turn) => {
                            self.on_start(turn);
                            pipe = Some(all);
                        }
                        Fed::ChildGone => {}
                        Fed::Failed(fault) => return Err(fault),
                    }
                }
                () = sleep_until(self.silent_since + self.patience.silence) => {
                    return Err(Fault::WorkerHung { silent: millis(self.silent_since.elapsed()) });
                }
                limit = overdue => return Err(Fault::RunTime { limit }),
            }
        }
    }

    /// The child was told to start: what the job may take counts from here.
    fn on_start(&mut self, turn: Turn) {
        (self.fed, self.began, self.turn) = (self.first.elapsed(), Instant::now(), Some(turn));
        if self.phase == Phase::Held {
            self.phase = Phase::Loading;
        }
    }

    /// What the job may take where it stands, and when that is over; `None` where it waits for others.
    fn deadline(&self) -> Option<(Millis, Instant)> {
        match self.phase {
            Phase::Waiting | Phase::Loading => {
                let bytes = self.spec.program.blobs().iter().map(|(_, bytes)| bytes.0).sum();
                Some(self.moving(bytes, self.began))
            }
            Phase::Held => None,
            Phase::Running(since) => {
                let limit = self.spec.limits.run;
                Some((limit, since + Duration::from_millis(limit.0) + self.patience.grace))
            }
            Phase::Sending(since) => {
                let program = &self.spec.program;
                let outputs: u64 = program.outputs().map(|n| program.buffers[usize::from(n)].bytes.0).sum();
                Some(self.moving(outputs.saturating_add(STATES_BYTES_MAX), since))
            }
        }
    }

    /// What so many bytes may take on their way to the child or from it, and when that is over.
    fn moving(&self, bytes: u64, since: Instant) -> (Millis, Instant) {
        let moving = Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        let limit = self.patience.load.saturating_add(moving);
        (millis(limit), since + limit)
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
            FromWorker::Loaded => match self.phase {
                // It may be its turn already.
                Phase::Waiting | Phase::Loading if self.turn.is_some() => Ok(None),
                Phase::Waiting | Phase::Loading => {
                    self.phase = Phase::Held;
                    Ok(None)
                }
                Phase::Held | Phase::Running(_) | Phase::Sending(_) => {
                    Err(Fault::WorkerProtocol { message: "it was loaded twice".into() })
                }
            },
            FromWorker::Started => match self.phase {
                Phase::Waiting | Phase::Loading => {
                    self.phase = Phase::Running(Instant::now());
                    Ok(None)
                }
                Phase::Held => Err(Fault::WorkerProtocol { message: "it started before its turn".into() }),
                Phase::Running(_) | Phase::Sending(_) => {
                    Err(Fault::WorkerProtocol { message: "it started twice".into() })
                }
            },
            FromWorker::Output { buffer, bytes } => {
                // It has nothing to do on the device any more, and nothing there but zeros.
                self.turn = None;
                if let Phase::Running(_) = self.phase {
                    self.phase = Phase::Sending(Instant::now());
                }
                self.outputs.begin(buffer, bytes).map(|()| None)
            }
            FromWorker::States { every, bytes } => {
                self.turn = None;
                self.outputs.begin_states(every, bytes).map(|()| None)
            }
            FromWorker::Done(summary) => {
                self.turn = None;
                Ok(Some(summary))
            }
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
        let expected = self.first.elapsed().as_millis() / PROGRESS_EVERY.as_millis();
        if self.progress_frames > 2 * expected + PROGRESS_SPARE {
            let message = format!("a flood of {} progress frames", self.progress_frames);
            return Err(Fault::WorkerProtocol { message });
        }
        Ok(())
    }

    fn finish(self, summary: Summary) -> Result<Finished, Ended> {
        let ran = millis(self.began.elapsed());
        let sent = match self.phase {
            Phase::Sending(since) => since.elapsed(),
            _ => Duration::ZERO,
        };
        let all = self.outputs.all(&summary.states_missing);
        let (outputs, inline, states) = all.map_err(|fault| Ended { fault, begun: true, turn: None })?;
        Ok(Finished { outputs, inline, states, summary, ran, fed: self.fed, sent })
    }
}

impl Finished {
    /// Bytes that came out.
    pub fn bytes_out(&self) -> Bytes {
        self.outputs.iter().fold(Bytes::ZERO, |sum, output| sum.saturating_add(output.bytes))
    }
}
