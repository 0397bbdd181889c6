//! Which job runs on which device, and which is next on it.
//!
//! First come, first served; who still fetches holds nobody up. A GPU is given its next job while one runs, so that a worker
//! has it loaded when that ends: the worker begins by itself, and here the job runs from the end of the one before. It
//! waits there as it would here, and moves to any device that is idle sooner. A processor gets no job ahead: loading it would
//! take the time of the one that runs. Tests: `tests/provider.rs` and `tests/withhold.rs` of the crate.

use super::{
    LeaseKey, Provider, admission,
    lease::{Head, Lease, Next, Phase},
};
use crate::{effect::Effect, requester::Cx};
use ion_protocol::{Millis, hardware::Device};
use std::collections::BTreeSet;

impl Provider {
    /// Gives free devices what is ready, and busy ones their next.
    pub(super) fn fill(&mut self, cx: &mut Cx<'_>) {
        self.begin_next(cx);
        let mut clearing = BTreeSet::new();
        for key in self.ready() {
            if let Some(device) = self.device_for(&key, |d| self.is_idle(d) && !self.proofs.occupies(d)) {
                self.start(key, device, cx);
                continue;
            }
            // Where a challenge computes, one job waits for it to end, which is a moment.
            let clears = |d| self.is_idle(d) && !clearing.contains(&d);
            if let Some(device) = self.device_for(&key, clears) {
                clearing.insert(device);
                self.proofs.let_go(device, cx);
                continue;
            }
            self.line_up(key, cx);
        }
    }

    /// Whose inputs are all here and who does not run, in order of acceptance.
    fn ready(&self) -> Vec<LeaseKey> {
        let is_ready = |key: &&LeaseKey| {
            self.leases.get(key).is_some_and(|lease| matches!(lease.phase, Phase::Ready | Phase::Next(_)))
        };
        self.waiting.values().filter(is_ready).copied().collect()
    }

    /// Whether no job has a device, now or next.
    fn is_idle(&self, device: u16) -> bool {
        !self.running.contains_key(&device) && !self.next.contains_key(&device)
    }

    /// A usable device of the ordered kind, best the ordered one itself.
    fn device_for(&self, key: &LeaseKey, usable: impl Fn(u16) -> bool) -> Option<u16> {
        let head = &self.leases.get(key)?.head;
        let (wanted, spec) = (head.device.as_ref()?, head.spec.as_ref()?);
        let fits = |device: &&Device| {
            usable(device.index) && admission::alike(wanted, device) && spec.first_unmet(device).is_none()
        };
        let fit: Vec<&Device> = self.devices.iter().filter(fits).collect();
        let ordered = fit.iter().find(|device| device.index == wanted.index);
        ordered.or(fit.first()).map(|device| device.index)
    }

    /// Runs a job on an idle device, wherever else it was next.
    fn start(&mut self, key: LeaseKey, device: u16, cx: &mut Cx<'_>) {
        self.withdraw(key, cx);
        self.running.insert(device, key);
        self.hand_over(key, device, cx, |next, head, now| Phase::Running(next.begins(now, head)));
    }

    /// Makes a job the next of a GPU that is busy.
    fn line_up(&mut self, key: LeaseKey, cx: &mut Cx<'_>) {
        let is_gpu = |d| self.devices.iter().any(|device| device.index == d && device.engine.is_gpu());
        let usable = |d| self.running.contains_key(&d) && !self.next.contains_key(&d) && is_gpu(d);
        let Some(device) = self.device_for(&key, usable) else { return };
        self.hand_over(key, device, cx, |next, _, _| Phase::Next(next));
    }

    /// Gives a ready job to a device's worker.
    fn hand_over(
        &mut self,
        key: LeaseKey,
        device: u16,
        cx: &mut Cx<'_>,
        stands: impl FnOnce(Next, &mut Head, Millis) -> Phase,
    ) {
        self.turn(key, cx, |head, phase, cx| match (phase, head.spec.clone()) {
            (Phase::Ready, Some(spec)) => {
                let work = cx.out.work(key, device, spec, head.keep_states);
                Some(stands(Next { work, device }, head, cx.now.mono))
            }
            (other, _) => Some(other),
        });
    }

    /// What was next on a device is on it once the job before is over: its worker began then.
    fn begin_next(&mut self, cx: &mut Cx<'_>) {
        let free = |device: &&u16| !self.running.contains_key(device);
        let begun: Vec<u16> = self.next.keys().filter(free).copied().collect();
        for device in begun {
            let Some(key) = self.next.get(&device).copied() else { continue };
            self.running.insert(device, key);
            self.turn(key, cx, |head, phase, cx| match phase {
                Phase::Next(next) => Some(Phase::Running(next.begins(cx.now.mono, head))),
                other => Some(other),
            });
        }
    }

    /// Takes a job that is next somewhere back out of the worker.
    fn withdraw(&mut self, key: LeaseKey, cx: &mut Cx<'_>) {
        self.turn(key, cx, |_, phase, cx| match phase {
            Phase::Next(next) => {
                cx.out.push(Effect::StopWork(next.work));
                Some(Phase::Ready)
            }
            other => Some(other),
        });
    }

    /// The same, of whatever is next on a device.
    pub(super) fn withdraw_next(&mut self, device: u16, cx: &mut Cx<'_>) {
        if let Some(key) = self.next.get(&device).copied() {
            self.withdraw(key, cx);
        }
    }

    /// Keeps true who is on which device when a lease is filed.
    pub(super) fn keep_devices_true(&mut self, lease: &Lease) {
        let key = lease.head.key;
        let device = lease.phase.device();
        let (now, next) = if matches!(lease.phase, Phase::Next(_)) { (None, device) } else { (device, None) };
        self.running.retain(|device, holder| *holder != key || Some(*device) == now);
        self.next.retain(|device, holder| *holder != key || Some(*device) == next);
        if let Some(device) = next {
            self.next.insert(device, key);
        }
    }
}
