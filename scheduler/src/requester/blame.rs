//! Who is at fault when a receipt is countersigned: one rule, for receipts as they come and as the journal tells of them.
//!
//! | the receipt says | the provider's record | the job |
//! |---|---|---|
//! | done | done; that of whoever blamed the job: failed | ends well |
//! | failed, by the job or one of its limits | nothing yet: it may be so | ends failed when [`BLAMERS`] say so, else elsewhere |
//! | failed, by its machine, or cancelled | failed | elsewhere |
//!
//! What never gets a countersignature is told apart in `seek`: what it does to the provider's record says [`outcome`], and
//! a false delivery counts as such. Tests: `scheduler/tests/requester.rs`.

use super::job::BLAMERS;
use crate::reputation::{Outcome, Reputation};
use ion_protocol::{
    NodeId, UnixMillis,
    fault::{Blame, Fault},
    receipt::{Receipt, Status},
    record::{JobEnd, Loss},
};
use std::collections::BTreeSet;

/// What a countersigned receipt means for its job.
pub(super) struct Judged {
    /// How the job ends by it, if it does.
    pub(super) end: Option<JobEnd>,
    /// Why the attempt came to nothing, if it did.
    pub(super) fault: Option<Fault>,
    /// Whether its provider says that the job is to blame.
    pub(super) blames_job: bool,
}

/// What an attempt that came to nothing is to its provider's record.
pub(super) fn outcome(loss: Loss) -> Option<Outcome> {
    match loss {
        Loss::Refused | Loss::Here => None,
        Loss::Silent => Some(Outcome::Lost),
        Loss::Wrong => Some(Outcome::Failed),
    }
}

/// Applies the rule; `blamed_by` are the providers that blamed the job so far.
pub(super) fn judge(
    receipt: &Receipt,
    blamed_by: &mut BTreeSet<NodeId>,
    reputation: &mut Reputation,
    at: UnixMillis,
) -> Judged {
    let provider = receipt.provider;
    match &receipt.status {
        Status::Done => {
            reputation.note(provider, Outcome::Done, at);
            // It was not the job.
            for liar in blamed_by.iter() {
                reputation.note(*liar, Outcome::Failed, at);
            }
            let end = Some(JobEnd::Done { attempt: receipt.attempt });
            Judged { end, fault: None, blames_job: false }
        }
        Status::Failed(fault) => {
            let blames_job = match fault.blame() {
                Blame::Job | Blame::Limit => {
                    blamed_by.insert(provider);
                    true
                }
                Blame::Host | Blame::Cancelled => {
                    reputation.note(provider, Outcome::Failed, at);
                    false
                }
            };
            let proven = blames_job && blamed_by.len() >= BLAMERS;
            let end = proven.then(|| JobEnd::Failed { fault: fault.clone() });
            Judged { end, fault: Some(fault.clone()), blames_job }
        }
    }
}
