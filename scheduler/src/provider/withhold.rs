//! What the owner lends and what not: devices of the machine less those that are withheld. Decides nothing itself: the
//! reasons come from outside.

use super::{
    LeaseKey, Provider, admission,
    lease::{Phase, Stop},
    outcome,
};
use crate::{effect::Effect, requester::Cx};
use ion_protocol::{
    Millis,
    fault::Fault,
    hardware::{Device, Withheld},
    limits,
};

impl Provider {
    /// The machine has these devices now. Leases that no device of theirs is left for fail, so that they run elsewhere.
    pub(crate) fn devices_are(&mut self, devices: Vec<Device>, cx: &mut Cx<'_>) {
        self.owned = devices.into_iter().take(limits::DEVICES_MAX).collect();
        self.lend(cx);
    }

    /// A device is lent no more, or again. A repeat changes nothing.
    pub(crate) fn withhold(&mut self, device: u16, why: Option<Withheld>, cx: &mut Cx<'_>) {
        match why {
            Some(why) => self.withheld.insert(device, why),
            None => self.withheld.remove(&device),
        };
        self.lend(cx);
    }

    /// Stops what runs on a device. The device stays taken until its worker is gone.
    pub(crate) fn evict(&mut self, device: u16, cx: &mut Cx<'_>) {
        self.proofs.let_go(device, cx);
        self.withdraw_next(device, cx);
        let Some(key) = self.running.get(&device).copied() else { return };
        self.turn(key, cx, |_, phase, cx| match phase {
            Phase::Running(mut running) if running.stopping.is_none() => {
                cx.out.push(Effect::StopWork(running.work));
                running.stopping = Some(Stop::Withdrawn);
                Some(Phase::Running(running))
            }
            other => Some(other),
        });
    }

    fn lend(&mut self, cx: &mut Cx<'_>) {
        let lent = self.owned.iter().filter(|device| !self.withheld.contains_key(&device.index));
        self.devices = lent.cloned().collect();
        let lent = |device: u16| self.devices.iter().any(|lent| lent.index == device);
        let lost: Vec<u16> = self.next.keys().copied().filter(|device| !lent(*device)).collect();
        lost.into_iter().for_each(|device| self.withdraw_next(device, cx));
        let withheld = !self.withheld.is_empty();
        let fault = move || match withheld {
            true => Fault::Withdrawn,
            false => Fault::NoDevice { message: "the ordered device is gone".to_owned() },
        };
        let stranded: Vec<LeaseKey> =
            self.waiting.values().filter(|key| self.is_stranded(key)).copied().collect();
        for key in stranded {
            self.turn(key, cx, |head, phase, cx| match phase {
                Phase::Staging(staging) => {
                    cx.out.stop_fetch(staging.fetch);
                    Some(outcome::failed(head, fault(), cx.now.mono, Millis::ZERO, cx))
                }
                Phase::Next(next) => {
                    cx.out.push(Effect::StopWork(next.work));
                    Some(outcome::failed(head, fault(), cx.now.mono, Millis::ZERO, cx))
                }
                Phase::Ready => Some(outcome::failed(head, fault(), cx.now.mono, Millis::ZERO, cx)),
                other => Some(other),
            });
        }
    }

    fn is_stranded(&self, key: &LeaseKey) -> bool {
        let wanted = self.leases.get(key).and_then(|lease| lease.head.device.as_ref());
        wanted.is_some_and(|wanted| !self.devices.iter().any(|device| admission::alike(wanted, device)))
    }

    /// Lent devices on which a job runs; what still ends on a withheld one is not counted, nor a challenge, since it makes
    /// way for a job at once.
    pub(super) fn occupied(&self) -> usize {
        self.devices.iter().filter(|device| self.running.contains_key(&device.index)).count()
    }
}
