//! Named tasks and the one way down: whatever fails or panics stops the whole node, with the reason.
//!
//! A node that half works is worse than one that stops: it would accept what it cannot finish.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How far a thread that nobody waits for steps back before those that a job waits for; of 19.
const BACKGROUND_NICENESS: i32 = 10;

/// Makes this thread, and those it starts, give way to all others. Where the system refuses, nothing is lost but time.
pub fn in_the_background() {
    // On Linux a niceness is one thread's own.
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), BACKGROUND_NICENESS) {
        tracing::debug!(%error, "a thread could not step back");
    }
}

/// The node's stop signal, and why it was given.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    failure: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// Stops the node because somebody wished it.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Stops the node because something broke; the first reason is kept.
    pub fn fail(&self, reason: String) {
        let _ = self.failure.set(reason);
        self.token.cancel();
    }

    /// Resolves when the node shall stop.
    pub async fn wanted(&self) {
        self.token.cancelled().await;
    }

    /// For services that take a token.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// What broke, if anything did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// The tasks of one node.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
}

impl Tasks {
    /// Tasks that stop with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), shutdown }
    }

    /// Runs `work`; if it panics or ends in an error, the node stops and says so.
    pub fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let running = tokio::spawn(work);
        self.tracker.spawn(async move {
            match running.await {
                Ok(Ok(())) => tracing::debug!(task = name, "ended"),
                Ok(Err(reason)) => shutdown.fail(format!("{name}: {reason}")),
                Err(error) if error.is_panic() => {
                    shutdown.fail(format!("{name} panicked: {}", panic_text(error)))
                }
                Err(_) => tracing::debug!(task = name, "cancelled"),
            }
        });
    }

    /// Waits until every task is over.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let payload = error.into_panic();
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_any_task_stops_the_node_with_the_reason() {
        let shutdown = Shutdown::default();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("test task", async { panic!("it broke") });
        shutdown.wanted().await;
        assert_eq!(shutdown.failure(), Some("test task panicked: it broke"));
        tasks.finished().await;
    }

    #[tokio::test]
    async fn the_first_reason_is_kept() {
        let shutdown = Shutdown::default();
        shutdown.fail("first".to_owned());
        shutdown.fail("second".to_owned());
        assert_eq!(shutdown.failure(), Some("first"));
    }
}
