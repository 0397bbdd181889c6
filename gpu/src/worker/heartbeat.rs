//! A worker's signs of life while it has a job: launches done and in all.
//!
//! Owns one thread for all jobs of the process, which sleeps between them. Never: a word after the end of a job.
//! Tests: `node/tests/workers.rs`.

use super::{
    frame::{FromWorker, PROGRESS_EVERY},
    serve::Out,
};
use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// See the module.
pub(super) struct Heartbeat {
    out: Out,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    begun: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    /// The thread looks again by itself, so nobody needs to wake it.
    ticking: bool,
}

struct Job {
    done: Arc<AtomicU64>,
    total: u64,
}

impl Heartbeat {
    pub(super) fn start(out: Out) -> Self {
        let shared = Arc::new(Shared::default());
        let (to, watched) = (out.clone(), shared.clone());
        thread::spawn(move || watched.beat(&to));
        Self { out, shared }
    }

    /// Says the first word of a job at once, and further ones every [`PROGRESS_EVERY`] until the answer is dropped.
    pub(super) fn begin(&self, done: Arc<AtomicU64>, total: u64) -> Beating<'_> {
        // The main thread sees a broken pipe again when it tells the job's end.
        let _ = self.out.say(&FromWorker::Progress { done: done.load(Ordering::Relaxed), total });
        let mut state = self.shared.lock();
        state.job = Some(Job { done, total });
        if !state.ticking {
            self.shared.begun.notify_one();
        }
        Beating(&self.shared)
    }
}

/// A job under way.
pub(super) struct Beating<'a>(&'a Shared);

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        // Words are said under the lock, so none follows.
        self.0.lock().job = None;
    }
}

impl Shared {
    fn beat(&self, out: &Out) {
        let mut state = self.lock();
        loop {
            state.ticking = state.job.is_some();
            if !state.ticking {
                state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.begun.wait_timeout(state, PROGRESS_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.job.as_ref().is_some_and(|job| job.say(out).is_err()) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn say(&self, out: &Out) -> io::Result<()> {
        out.say(&FromWorker::Progress { done: self.done.load(Ordering::Relaxed), total: self.total })
    }
}
