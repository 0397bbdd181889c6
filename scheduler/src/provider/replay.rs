//! Leases rebuilt from the journal. What ran when the node stopped died with it; what was signed is offered again.

use super::{
    Provider,
    lease::{Delivering, Done, Head, Lease, LeaseKey, Phase, Promise},
    outcome,
};
use crate::requester::Cx;
use ion_protocol::{
    DocHash, NanoIo, UnixMillis, codec,
    deal::Acceptance,
    receipt::{Output, Receipt},
    record::Record,
    signed::{Document, Signed},
};
use std::collections::{BTreeMap, VecDeque};

/// What the journal says of one lease.
#[derive(Debug)]
struct Past {
    order: DocHash,
    order_expires: UnixMillis,
    price_per_second: NanoIo,
    name: String,
    acceptance: Signed<Acceptance>,
    receipt: Option<(Signed<Receipt>, Vec<Output>)>,
    settled: bool,
    released: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    leases: BTreeMap<LeaseKey, Past>,
    order: Vec<LeaseKey>,
    receipts: BTreeMap<DocHash, LeaseKey>,
    over: VecDeque<LeaseKey>,
}

impl Replay {
    /// Takes one record in; those of the requester's side mean nothing here.
    pub(crate) fn apply(&mut self, provider: &mut Provider, record: &Record, cx: &mut Cx<'_>) {
        match record {
            Record::LeaseTaken { order, order_expires, price_per_second, name, acceptance } => {
                let past = Past {
                    order: *order,
                    order_expires: *order_expires,
                    price_per_second: *price_per_second,
                    name: name.clone(),
                    acceptance: acceptance.clone(),
                    receipt: None,
                    settled: false,
                    released: None,
                };
                self.taken(provider, past);
            }
            Record::ReceiptSigned { receipt, outputs } => self.receipt(receipt, outputs, cx),
            Record::ReceiptSettled { receipt, .. } => {
                let key = self.receipts.get(receipt).copied();
                if let Some(past) = key.and_then(|key| self.leases.get_mut(&key)).filter(|p| !p.settled) {
                    past.settled = true;
                    let signed = past.receipt.as_ref().map(|(signed, _)| signed);
                    let body = signed.and_then(|s| codec::decode(s.body_bytes(), Receipt::BYTES_MAX).ok());
                    provider.count(body.map_or(NanoIo::ZERO, |receipt: Receipt| receipt.price));
                    self.close(provider, key, cx);
                }
            }
            Record::LeaseReleased { requester, job, attempt, why } => {
                let key = LeaseKey { requester: *requester, job: *job, attempt: *attempt };
                if let Some(past) = self.leases.get_mut(&key).filter(|past| past.released.is_none()) {
                    past.released = Some(why.clone());
                    self.close(provider, Some(key), cx);
                }
            }
            Record::JobSubmitted { .. }
            | Record::OrderSigned { .. }
            | Record::AttemptLost { .. }
            | Record::DeliveryFalse { .. }
            | Record::Countersigned { .. }
            | Record::JobEnded { .. }
            | Record::Challenged { .. }
            | Record::ChallengeDeclined { .. } => {}
        }
    }

    fn taken(&mut self, provider: &Provider, past: Past) {
        let body = codec::decode::<Acceptance>(past.acceptance.body_bytes(), Acceptance::BYTES_MAX);
        let Ok(Acceptance { requester, job, attempt, .. }) = body else { return };
        let key = LeaseKey { requester, job, attempt };
        if !self.leases.contains_key(&key) && !provider.leases.contains_key(&key) {
            self.leases.insert(key, past);
            self.order.push(key);
        }
    }

    fn receipt(&mut self, signed: &Signed<Receipt>, outputs: &[Output], cx: &Cx<'_>) {
        let Ok(receipt) = codec::decode::<Receipt>(signed.body_bytes(), Receipt::BYTES_MAX) else { return };
        let key = LeaseKey { requester: receipt.requester, job: receipt.job, attempt: receipt.attempt };
        if let Some(past) = self.leases.get_mut(&key).filter(|past| past.receipt.is_none()) {
            past.receipt = Some((signed.clone(), outputs.to_vec()));
            self.receipts.insert(signed.hash(&cx.out.config.network), key);
        }
    }

    fn close(&mut self, provider: &mut Provider, key: Option<LeaseKey>, cx: &Cx<'_>) {
        self.over.extend(key);
        if self.over.len() > cx.out.config.finished_max
            && let Some(oldest) = self.over.pop_front()
            && let Some(past) = self.leases.remove(&oldest)
        {
            provider.forgotten.note(oldest.requester, past.order_expires, cx.now.wall);
            if let Some((signed, _)) = &past.receipt {
                self.receipts.remove(&signed.hash(&cx.out.config.network));
            }
        }
    }

    /// Puts the leases in place and carries on with those that are not over.
    pub(crate) fn finish(mut self, provider: &mut Provider, cx: &mut Cx<'_>) {
        for key in std::mem::take(&mut self.order) {
            let Some(past) = self.leases.remove(&key) else { continue };
            let Ok(acceptance) = past.acceptance.verify(&cx.out.config.network) else { continue };
            let mut head = Head {
                key,
                order: past.order,
                order_expires: past.order_expires,
                price_per_second: past.price_per_second,
                acceptance,
                promise: Promise::Given,
                name: past.name,
                device: None,
                turn: provider.next_turn(),
                accepted: cx.now.mono,
                moved: ion_protocol::Millis::ZERO,
                keep_states: false,
                spec: None,
            };
            let receipt = past.receipt.and_then(|(signed, outputs)| {
                let receipt = signed.verify(&cx.out.config.network).ok()?;
                Some(Done { receipt, outputs, inline: Vec::new() })
            });
            let phase = match (receipt, past.settled, past.released) {
                (Some(done), true, _) => Phase::Settled { receipt: done.receipt },
                (Some(done), false, Some(why)) => Phase::Unpaid { done, why },
                (Some(done), false, None) => offered_again(done, cx),
                (None, _, Some(why)) => Phase::Released { why },
                (None, _, None) => {
                    outcome::release(&mut head, "the node stopped while it had the job".to_owned(), cx)
                }
            };
            provider.put_back(Lease { head, phase }, cx);
        }
    }
}

fn offered_again(done: Done, cx: &mut Cx<'_>) -> Phase {
    let again_at = cx.now.mono.saturating_add(cx.out.backoff(2));
    Phase::Delivering(Delivering { done, since: cx.now.mono, again_at, tries: 0, offered_at: None })
}
