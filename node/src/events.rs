//! The node's event log: one JSON object a line in `<data-dir>/events.jsonl`, and live for whoever watches.
//!
//! Written by a thread of its own, so that a slow disk never holds up the driver; when its queue is full, lines are
//! dropped, and the node's own messages say how many. It is a report, not the truth: that is the journal's.

use crate::tasks::in_the_background;
use ion_protocol::{JobId, UnixMillis};
use ion_scheduler::event::Event;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::broadcast;

/// Lines that may wait for the disk.
const QUEUE_CAPACITY: usize = 4_096;
/// Events a slow watcher may lag behind before it is told that it missed some.
const WATCH_CAPACITY: usize = 1_024;
/// The log starts afresh beyond this; one older file is kept beside it.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// What happens within this time is written together: neither a log nor a screen needs a thread awake for each line.
pub const GATHERED: Duration = Duration::from_millis(20);
/// Jobs whose events are kept for late watchers.
const HISTORY_JOBS_MAX: usize = 256;
/// Events kept of each of them.
const HISTORY_EVENTS_MAX: usize = 256;

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// By this node's wall clock.
    #[serde(rename = "at_unix_ms")]
    pub at: UnixMillis,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Where events go.
#[derive(Debug)]
pub struct Events {
    live: broadcast::Sender<EventLine>,
    log: Option<SyncSender<EventLine>>,
    writer: Option<JoinHandle<()>>,
    dropped: u64,
    history: BTreeMap<JobId, VecDeque<EventLine>>,
    order: VecDeque<JobId>,
}

impl Events {
    /// Opens the log of `data_dir`.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("events.jsonl");
        let file = open_log(&path)?;
        let (log, lines) = sync_channel(QUEUE_CAPACITY);
        let writer = std::thread::Builder::new()
            .name("event log".to_owned())
            .spawn(move || write_lines(&path, file, &lines))?;
        let (live, _) = broadcast::channel(WATCH_CAPACITY);
        Ok(Self {
            live,
            log: Some(log),
            writer: Some(writer),
            dropped: 0,
            history: BTreeMap::new(),
            order: VecDeque::new(),
        })
    }

    /// Tells everybody.
    pub fn tell(&mut self, line: EventLine) {
        if let Some(job) = job_of(&line.event) {
            self.remember(job, line.clone());
        }
        if let Some(log) = &self.log {
            match log.try_send(line.clone()) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.dropped += 1;
                    if self.dropped.is_power_of_two() {
                        tracing::warn!(
                            dropped = self.dropped,
                            "the disk is too slow for the event log; lines are missing"
                        );
                    }
                }
            }
        }
        // An error means that nobody watches.
        let _ = self.live.send(line);
    }

    /// All events from now on.
    pub fn watch(&self) -> broadcast::Receiver<EventLine> {
        self.live.subscribe()
    }

    /// Where everybody subscribes.
    pub fn live(&self) -> broadcast::Sender<EventLine> {
        self.live.clone()
    }

    /// The events of one job so far, oldest first.
    pub fn of_job(&self, job: &JobId) -> Vec<EventLine> {
        self.history.get(job).map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }

    fn remember(&mut self, job: JobId, line: EventLine) {
        if !self.history.contains_key(&job) {
            if self.order.len() == HISTORY_JOBS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.history.remove(&oldest);
            }
            self.order.push_back(job);
        }
        let lines = self.history.entry(job).or_default();
        if lines.len() == HISTORY_EVENTS_MAX {
            // The first tell how the job began; progress in the middle is what nobody misses.
            lines.remove(HISTORY_EVENTS_MAX / 2);
        }
        lines.push_back(line);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.log = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn write_lines(path: &PathBuf, file: File, lines: &Receiver<EventLine>) {
    let mut bytes = file.metadata().map(|m| m.len()).unwrap_or(0);
    let mut out = BufWriter::new(file);
    in_the_background();
    while let Ok(first) = lines.recv() {
        std::thread::sleep(GATHERED);
        let written = std::iter::once(first).chain(lines.try_iter()).try_for_each(|line| {
            let mut text = serde_json::to_vec(&line)?;
            text.push(b'\n');
            bytes += text.len() as u64;
            out.write_all(&text)
        });
        if let Err(error) = written.and_then(|()| out.flush()) {
            tracing::warn!(%error, "the event log could not be written");
        }
        if bytes > LOG_BYTES_MAX {
            let rotated =
                std::fs::rename(path, path.with_extension("jsonl.old")).and_then(|()| open_log(path));
            match rotated {
                Ok(file) => (out, bytes) = (BufWriter::new(file), 0),
                Err(error) => tracing::warn!(%error, "the event log could not be rotated"),
            }
        }
    }
}

/// The own job an event is about: what `Watch` shows. Events of leases are the provider's, not a job's owner's.
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
        | Event::JobEnded { job, .. } => Some(*job),
        Event::LeaseTaken { .. }
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
        | Event::RecordFailed { .. }
        | Event::Drained => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_reach_the_log_the_watchers_and_the_history() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(dir.path()).unwrap();
        let mut watcher = events.watch();
        let job = JobId([1; 16]);
        events.tell(EventLine { at: UnixMillis(5), event: Event::JobAccepted { job } });
        events.tell(EventLine { at: UnixMillis(6), event: Event::Drained });
        assert_eq!(watcher.try_recv().unwrap().event, Event::JobAccepted { job });
        assert_eq!(events.of_job(&job).len(), 1);
        drop(events);
        let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let lines: Vec<EventLine> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], EventLine { at: UnixMillis(5), event: Event::JobAccepted { job } });
        assert!(log.contains(r#"{"at_unix_ms":6,"event":"drained"}"#));
    }

    #[test]
    fn history_is_bounded_and_keeps_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(dir.path()).unwrap();
        let job = JobId([2; 16]);
        for at in 0..1_000 {
            events.tell(EventLine { at: UnixMillis(at), event: Event::JobAccepted { job } });
        }
        let lines = events.of_job(&job);
        assert_eq!(lines.len(), HISTORY_EVENTS_MAX);
        assert_eq!((lines[0].at, lines[HISTORY_EVENTS_MAX - 1].at), (UnixMillis(0), UnixMillis(999)));
    }
}
