//! The children of one device: those that are ready for anybody, and those that a requester knows.
//!
//! A child that ended a job well serves the next of the same requester, which saves small jobs the start of a process.
//! Another requester gets a child that never held anything; after a fault everybody does. While the owner has the device, no
//! idle child holds anything of it. No more than [`HELD_MAX`] hold a device at once, but while one takes another's place.

use super::{child::Child, job::Host};
use ion_protocol::{Bytes, NodeId, fault::Fault, job::JobSpec};
use ion_scheduler::input::WorkId;
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::JoinHandle;

/// Children of a device at once: the one at work, and the next one beside it. Each takes memory of a card for its context.
const HELD_MAX: usize = 2;

/// A child that is being made ready ahead of its job.
pub type Spare = JoinHandle<Result<Child, Fault>>;

/// See the module.
pub struct Children {
    pub host: Arc<Host>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    spare: Option<Spare>,
    /// Idle, and whose they are; the newest last.
    kept: Vec<(NodeId, Child)>,
    /// Jobs that have a child, or wait for one, and the memory of their programs.
    at_work: Vec<(WorkId, Bytes)>,
    /// The owner has the device.
    resting: bool,
}

impl Children {
    /// Has a first one made ready.
    pub fn of(host: Host) -> Self {
        let children = Self { host: Arc::new(host), state: Mutex::default() };
        children.wake();
        children
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job begins to need a child: the one its tenant knows, if there is one, and whether the device has room for its
    /// program beside what is there.
    pub fn begin(&self, work: WorkId, tenant: NodeId, spec: &JobSpec) -> (Option<Child>, bool) {
        let state = &mut *self.lock();
        state.resting = false;
        state.at_work.push((work, spec.program.memory()));
        let known = state.kept.iter().rposition(|(whose, child)| *whose == tenant && child.is_idle());
        let known = known.map(|at| state.kept.remove(at).1);
        let memory = state.at_work.iter().fold(Bytes::ZERO, |sum, (_, bytes)| sum.saturating_add(*bytes));
        (known, memory <= self.host.device.memory)
    }

    /// A child that never had a job.
    pub fn pristine(&self) -> Spare {
        let mut state = self.lock();
        let spare = state.spare.take().unwrap_or_else(|| self.make());
        self.make_room_used(&mut state);
        spare
    }

    /// Ends the idle children that others know.
    pub async fn end_others(&self, tenant: NodeId) {
        let others = {
            let state = &mut *self.lock();
            state.kept.extract_if(.., |(whose, _)| *whose != tenant).map(|(_, child)| child).collect()
        };
        self.end_all(others).await;
    }

    /// Ends children and uses the room they leave.
    async fn end_all(&self, children: Vec<Child>) {
        for child in children {
            child.end().await;
        }
        self.make_room_used(&mut self.lock());
    }

    /// A job is over, and its child is good for another of the same tenant or gone.
    pub async fn end(&self, work: WorkId, tenant: NodeId, child: Option<Child>) {
        let over = {
            let state = &mut *self.lock();
            state.at_work.retain(|(other, _)| *other != work);
            state.kept.extend(child.map(|child| (tenant, child)));
            // Where nobody is at work the next job wants one of them, if it is of the same tenant.
            let keep = match (state.resting, state.at_work.is_empty()) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => HELD_MAX,
            };
            let over = state.kept.len().saturating_sub(keep);
            state.kept.drain(..over).map(|(_, child)| child).collect()
        };
        self.end_all(over).await;
    }

    /// Holds nothing of the device any more, once what runs has ended.
    pub async fn rest(&self) {
        let kept = {
            let state = &mut *self.lock();
            state.resting = true;
            if let Some(spare) = state.spare.take() {
                // Its child is dropped with it, which kills it.
                spare.abort();
            }
            mem::take(&mut state.kept).into_iter().map(|(_, child)| child).collect()
        };
        self.end_all(kept).await;
    }

    /// Has a child made ready again.
    pub fn wake(&self) {
        let state = &mut *self.lock();
        state.resting = false;
        self.make_room_used(state);
    }

    /// Has the next child made ready where there is room for one.
    fn make_room_used(&self, state: &mut State) {
        let held = state.at_work.len() + state.kept.len();
        if state.spare.is_none() && !state.resting && held < HELD_MAX {
            state.spare = Some(self.make());
        }
    }

    fn make(&self) -> Spare {
        let host = self.host.clone();
        tokio::spawn(async move { host.ready_child().await })
    }
}
