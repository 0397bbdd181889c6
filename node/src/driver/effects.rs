//! The table of effects: each handed to the service that carries it out. No service is waited for; one that is full is
//! told to the engine as busy.

use super::{Driver, LOCAL_CAPACITY, Queues};
use crate::{
    blobs::{Begun, BoxFuture, Parts},
    ledger::ToWrite,
    workers::Shown,
};
use ion_gpu::worker::frame::{Ask, Between};
use ion_protocol::{Millis, fault::Fault};
use ion_scheduler::{
    Effect, Input, effect,
    input::{CallError, FetchFault},
};

/// How long a record that does not hurry waits for one whose sync it can share: what a short job takes on its device.
const LINGER: Millis = Millis(2);

impl Driver {
    /// Carries effects out in order; the records of one turn go to the disk together, so that one sync covers them.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let refused = self.carry_out(effect);
            self.undelivered.extend(refused);
        }
    }

    /// Hands the records of this turn to the ledger. What is known at once is fed in the next, after what was told before.
    pub(super) fn write(&mut self, queues: &mut Queues, calm: bool) {
        let records = std::mem::take(&mut self.to_write);
        if records.iter().any(|record| record.hurry) {
            self.write_by = None;
        } else if records.is_empty() {
            return;
        } else {
            self.write_by.get_or_insert(self.clock.now().mono.saturating_add(LINGER));
        }
        let known =
            self.ledger.append_all(&records, calm && queues.are_empty() && self.undelivered.is_empty());
        if !known.is_empty() {
            self.undelivered.extend(std::iter::from_fn(|| queues.local.try_recv().ok()).take(LOCAL_CAPACITY));
            self.undelivered.extend(known);
        }
    }

    /// `Some` is what the engine must hear instead of the result. Records are collected for [`Self::write`].
    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Call { call, to, addresses, request, timeout } => {
                let busy = self.net.call(call, to, addresses, request, timeout).err()?;
                tracing::debug!(%busy, "a call was not made");
                Some(Input::Answer { call, from: to, result: Err(CallError::Busy) })
            }
            Effect::Answer { inbound, response } => {
                // An asker who hears nothing asks again.
                self.net
                    .answer(inbound, response)
                    .err()
                    .inspect(|busy| tracing::debug!(%busy, "an answer was not sent"));
                None
            }
            Effect::Notice { to, notice } => {
                self.net
                    .notice(to, notice)
                    .err()
                    .inspect(|busy| tracing::debug!(%busy, "a notice was not sent"));
                None
            }
            Effect::Publish(advert) => {
                let sent = self.net.publish(advert.signed().clone());
                sent.err().inspect(|busy| tracing::debug!(%busy, "an advert was not published"));
                None
            }
            Effect::Discover(needs) => {
                self.net
                    .discover(needs)
                    .err()
                    .inspect(|busy| tracing::debug!(%busy, "discovery was not begun"));
                None
            }
            Effect::Record { record, body, hurry } => {
                self.to_write.push(ToWrite { record, body, hurry });
                None
            }
            Effect::Keep(blobs) => {
                // What is not kept is fetched.
                self.blobs
                    .keep(blobs)
                    .err()
                    .inspect(|busy| tracing::debug!(%busy, "small blobs were not kept"));
                None
            }
            Effect::Fetch { fetch, from, addresses, blobs, durable } => {
                let result = match self.blobs.fetch(fetch, from, addresses, blobs, durable) {
                    Ok(Begun::UnderWay) => return None,
                    Ok(Begun::AllHere) => Ok(()),
                    Err(busy) => Err(FetchFault::Here(busy.to_string())),
                };
                Some(Input::Fetched { fetch, result })
            }
            Effect::StopFetch(fetch) => {
                self.blobs.stop(fetch);
                None
            }
            Effect::Work { work, tenant, device, spec, keep_states } => {
                let fault = match &self.workers {
                    Some(workers) => workers.run(work, tenant, device, spec, keep_states).err()?,
                    None => Fault::NoDevice { message: "this node's devices are not probed yet".to_owned() },
                };
                Some(Input::WorkDone { work, result: Err(fault) })
            }
            Effect::StopWork(work) => {
                if let Some(workers) = &self.workers {
                    workers.stop(work);
                }
                None
            }
            Effect::Check { check, spec, outputs, blocks, between, limit } => {
                let shown = between.as_ref().and_then(|between| self.show(between));
                let between = between.map(|between| Between { kept: between.kept, blocks: between.blocks });
                let ask = Ask { spec: *spec, outputs, blocks, between, limit };
                let fault = self.checker.check(check, Box::new(ask), shown).err()?;
                Some(Input::Checked { check, result: Err(fault) })
            }
            Effect::StopCheck(check) => {
                self.checker.stop(check);
                None
            }
            Effect::Prove { work, device, challenge, limit } => {
                let fault = self.prove(work, device, &challenge, limit).err()?;
                Some(Input::WorkDone { work, result: Err(fault) })
            }
            Effect::Commit { work, challenge, outputs } => {
                self.commit(work, challenge, outputs);
                None
            }
            Effect::OpenRows { work, challenge, outputs, opening } => {
                self.open_rows(work, challenge, outputs, opening);
                None
            }
            Effect::Judge { challenge, target, asked, roots, opening, rows } => {
                self.judge((challenge, target), asked, roots, opening, rows);
                None
            }
            Effect::Challenged { challenge, reports } => {
                self.on_challenged(challenge, reports);
                None
            }
            Effect::Event(event) => {
                self.tell(event);
                None
            }
        }
    }

    /// The memory between launches at the provider that committed to it; `None` where it is here.
    fn show(&self, between: &effect::Between) -> Option<Box<dyn Shown>> {
        let (from, addresses, kept) = (between.from, between.addresses.clone(), between.kept);
        let parts = self.blobs.parts(from, addresses, kept.blob, kept.bytes)?;
        Some(Box::new(AtProvider(parts)))
    }
}

/// A blob that a provider shows parts of.
struct AtProvider(Parts);

impl Shown for AtProvider {
    fn read(&mut self, from: u64, bytes: u64) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move { self.0.read(from, bytes).await.map_err(|error| error.to_string()) })
    }
}
