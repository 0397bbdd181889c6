//! Owner first, carried out: what changed about a device goes to the engine and its workers at once.

use super::{Driver, control::Reply};
use crate::{
    clock,
    control::api::{ControlResponse, DeviceView, DevicesView, NotOffered},
    owner::{Change, rules},
    workers::Sights,
};
use ion_gpu::probe::CudaState;
use ion_scheduler::{Input, input::OwnerInput};
use std::time::Duration;

/// How often the owner's rules are held against the clock: a span of the day is exact to this.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Driver {
    /// Holds the owner's rules against what is known now, and carries out what changed.
    pub(super) fn look_at_owner(&mut self) {
        let devices = self.devices.as_ref().map_or(0, |report| report.devices.len());
        let devices = 0..u16::try_from(devices).unwrap_or(u16::MAX);
        for change in self.owner.look(devices, clock::wall()) {
            self.lend(change);
        }
    }

    /// News of the cards.
    pub(super) fn on_sights(&mut self, sights: Sights) {
        for (device, facts) in sights {
            self.owner.learn(device, facts);
        }
        self.look_at_owner();
    }

    fn lend(&mut self, Change { device, why }: Change) {
        self.feed(Input::Owner(OwnerInput::Withhold { device, why }));
        match why {
            Some(why) => {
                tracing::info!(device, %why, "a device is not lent");
                if rules::evicts(why) {
                    self.feed(Input::Owner(OwnerInput::Evict { device }));
                }
            }
            None => tracing::info!(device, "a device is lent"),
        }
        match (&self.workers, why) {
            (Some(workers), Some(_)) => workers.rest(device),
            (Some(workers), None) => workers.wake(device),
            (None, _) => {}
        }
    }

    /// The owner pauses or resumes a device. It holds at once; the answer waits until it is durable.
    pub(super) fn on_pause(&mut self, device: u16, paused: bool, now: bool, reply: Reply) {
        let Some(report) = &self.devices else {
            return match self.config.role.provides() {
                true => reply.error("the devices are still being probed", "try again in a moment"),
                false => reply.error("this node offers no devices", "`ion status` says what it does"),
            };
        };
        if usize::from(device) >= report.devices.len() {
            return reply.send(ControlResponse::NoDevice { known: report.devices.clone() });
        }
        self.owner.paused.set(device, paused);
        self.look_at_owner();
        if now {
            self.feed(Input::Owner(OwnerInput::Evict { device }));
        }
        let saved = self.owner.paused.clone();
        tokio::task::spawn_blocking(move || match saved.save() {
            Ok(()) => reply.send(ControlResponse::Noted),
            Err(error) => {
                let message =
                    format!("it holds until the node stops, but could not be written down: {error}");
                reply.error(message, "see whether the disk is full, and say it again");
            }
        });
    }

    pub(super) fn device_views(&self) -> Vec<DeviceView> {
        let leases = self.engine.leases();
        let running =
            |index: u16| leases.iter().find(|l| l.device == index && l.state == "running").map(|l| l.job);
        let devices = self.devices.iter().flat_map(|report| report.devices.iter().zip(&report.uuids));
        devices
            .map(|(device, uuid)| DeviceView {
                device: device.clone(),
                uuid: uuid.clone(),
                job: running(device.index),
                withheld: self.owner.why(device.index),
                facts: self.owner.facts(device.index),
            })
            .collect()
    }

    pub(super) fn devices_view(&self) -> DevicesView {
        let Some(report) = &self.devices else { return DevicesView::default() };
        let no = |what: &str, why: String, hint: &str| NotOffered {
            what: what.to_owned(),
            why,
            hint: hint.to_owned(),
        };
        let mut not_offered = match &report.cuda {
            CudaState::NotAsked => {
                vec![no("CUDA devices", "not looked for".to_owned(), "leave out `--backend cpu`")]
            }
            CudaState::Works { left_out, .. } => left_out
                .iter()
                .map(|why| no("a CUDA device", why.clone(), "`nvidia-smi -q` says more of its state"))
                .collect(),
            state @ (CudaState::NoLibrary
            | CudaState::StubLibrary { .. }
            | CudaState::InitFailed { .. }
            | CudaState::OldDriver { .. }
            | CudaState::NoDevice
            | CudaState::KernelFailed { .. }
            | CudaState::ProbeCrashed { .. }
            | CudaState::ProbeHung { .. }
            | CudaState::ProbeBabbled { .. }) => {
                vec![no("CUDA devices", state.to_string(), state.hint().unwrap_or_default())]
            }
        };
        not_offered.extend(report.cpu_trouble.iter().map(|why| no("the processor", why.clone(), "")));
        DevicesView {
            probed: true,
            devices: self.device_views(),
            not_offered,
            isolation: report.isolation.clone(),
        }
    }
}
