//! The journal's thread: has what hurries made durable, then tells. It may wait for the disk and for the driver to take
//! its word; nobody waits for it. Tests: `tests/append.rs`.

use super::{commit::Committer, queue::Queue};
use ion_scheduler::Input;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// What the journal's thread works with.
pub(super) struct Writer {
    pub(super) committer: Arc<Mutex<Committer>>,
    pub(super) queue: Arc<Queue>,
    pub(super) inputs: mpsc::Sender<Input>,
    /// True once nobody waits for answers any more.
    pub(super) closing: watch::Receiver<bool>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let committer = self.committer.clone();
        // Only to wait for the driver and for the end at the same time.
        let waiter = tokio::runtime::Builder::new_current_thread().build();
        while self.queue.wait() {
            let (mut committer, waiter) = match (committer.lock(), &waiter) {
                (Ok(committer), Ok(waiter)) => (committer, waiter),
                (Ok(committer), Err(error)) => {
                    return committer.fail(&format!("the journal's thread can't wait: {error}"));
                }
                (Err(held), _) => return held.into_inner().fail("its writer panicked"),
            };
            // Still held: what becomes durable next must not be told first.
            for input in committer.commit_next() {
                self.tell(waiter, input);
            }
        }
    }

    /// Hands over a result. While the node closes nobody may be there to take it: what is durable is read at the next start.
    fn tell(&mut self, waiter: &tokio::runtime::Runtime, input: Input) {
        let Err(mpsc::error::TrySendError::Full(input)) = self.inputs.try_send(input) else { return };
        let (inputs, closing) = (&self.inputs, &mut self.closing);
        waiter.block_on(async {
            tokio::select! {
                _ = inputs.send(input) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        });
    }
}
