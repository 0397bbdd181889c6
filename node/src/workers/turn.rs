//! Whose turn it is on a device: one job's at a time, in the order in which they came.
//!
//! A job has the device from before its first kernel until it holds nothing there but zeros, or its process is gone. The
//! next may be in its own process meanwhile, and be loaded; no kernel of it runs. One of another requester waits for more:
//! until no process is left that had a job of somebody else's. Tests: `node/tests/workers.rs` and `node/tests/cuda.rs`.

use ion_protocol::NodeId;
use ion_scheduler::input::WorkId;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// A device's turns.
#[derive(Debug, Default)]
pub struct Turns {
    device: Arc<Mutex<()>>,
    /// Jobs that have had their turn, and whose processes still have them.
    had: watch::Sender<Vec<(WorkId, NodeId)>>,
}

/// The device is one job's until this is dropped.
#[derive(Debug)]
pub struct Turn {
    _device: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// Of a device that nobody else uses.
    pub fn only() -> Self {
        Self { _device: None }
    }
}

impl Turns {
    /// The turn of a job, once it comes; whoever asks first has it first.
    pub async fn take(&self, work: WorkId, tenant: NodeId) -> Turn {
        let device = self.device.clone().lock_owned().await;
        let mut had = self.had.subscribe();
        // The sender lives as long as `self`.
        let _ = had.wait_for(|had| had.iter().all(|(_, whose)| *whose == tenant)).await;
        self.had.send_modify(|had| had.push((work, tenant)));
        Turn { _device: Some(device) }
    }

    /// No process has this job any more.
    pub fn over(&self, work: WorkId) {
        self.had.send_modify(|had| had.retain(|(other, _)| *other != work));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const US: NodeId = NodeId([1; 32]);
    const THEM: NodeId = NodeId([2; 32]);

    #[tokio::test]
    async fn who_asks_first_has_it_first() {
        let turns = Turns::default();
        let first = turns.take(WorkId(1), US).await;
        let (second, third) = (turns.take(WorkId(2), US), turns.take(WorkId(3), US));
        tokio::pin!(second, third);
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        // The first is still in its process, which is no other requester's.
        drop(second.now_or_never().expect("it is its turn"));
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn another_requester_waits_for_the_processes_of_the_one_before() {
        let turns = Turns::default();
        drop(turns.take(WorkId(1), US).await);
        drop(turns.take(WorkId(2), US).await);
        let theirs = turns.take(WorkId(3), THEM);
        tokio::pin!(theirs);
        for ended in [2, 1] {
            assert!(theirs.as_mut().now_or_never().is_none(), "a process of another's is there");
            turns.over(WorkId(ended));
        }
        assert!(theirs.now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_that_is_given_up_while_it_waits_leaves_the_others_what_they_wait_for() {
        let turns = Turns::default();
        drop(turns.take(WorkId(1), US).await);
        assert!(turns.take(WorkId(2), THEM).now_or_never().is_none());
        let next = turns.take(WorkId(3), THEM);
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none(), "the first one's process is there");
        turns.over(WorkId(1));
        assert!(next.now_or_never().is_some());
    }
}
