//! What this node has seen of each provider, and how often an attempt there is expected to succeed.
//!
//! Own experience only: what others say costs nothing to invent. Rebuilt from the journal. All integers.

use ion_protocol::{NodeId, UnixMillis};
use std::collections::BTreeMap;

/// Providers remembered; the one not seen for longest goes first.
const PROVIDERS_MAX: usize = 8_192;
/// One, in millionths.
pub(crate) const MILLION: u64 = 1_000_000;
/// What a stranger is assumed to have done well and badly: enough trust to be tried, too little to be preferred.
const PRIOR_GOOD: u64 = 4;
const PRIOR_BAD: u64 = 1;
/// How many good results one false one outweighs: it was no accident, and a machine whose bits flip is no better.
const FALSE_WEIGHT: u64 = 100;
/// Counts are halved beyond this, so that the past fades.
const COUNT_MAX: u32 = 256;

/// How attempts at a provider ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Experience {
    /// Delivered what was ordered.
    pub(crate) done: u32,
    /// Faults of the machine, wrong deliveries, broken protocol.
    pub(crate) failed: u32,
    /// Fell silent.
    pub(crate) lost: u32,
    /// Signed for bytes that the program does not give.
    pub(crate) falsified: u32,
    /// When it was last seen to do anything.
    pub(crate) last: UnixMillis,
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As ordered.
    Done,
    /// Badly.
    Failed,
    /// In silence.
    Lost,
    /// With false bytes.
    False,
}

/// Experience with all providers.
#[derive(Debug, Default)]
pub(crate) struct Reputation {
    of: BTreeMap<NodeId, Experience>,
}

impl Reputation {
    pub(crate) fn note(&mut self, provider: NodeId, outcome: Outcome, at: UnixMillis) {
        let seen = self.of.entry(provider).or_default();
        match outcome {
            Outcome::Done => seen.done += 1,
            Outcome::Failed => seen.failed += 1,
            Outcome::Lost => seen.lost += 1,
            Outcome::False => seen.falsified += 1,
        }
        seen.last = seen.last.max(at);
        if seen.done.max(seen.failed).max(seen.lost).max(seen.falsified) > COUNT_MAX {
            (seen.done, seen.failed, seen.lost) = (seen.done / 2, seen.failed / 2, seen.lost / 2);
            seen.falsified = seen.falsified.div_ceil(2);
        }
        if self.of.len() > PROVIDERS_MAX
            && let Some(oldest) = self.of.iter().min_by_key(|(id, seen)| (seen.last, **id)).map(|(id, _)| *id)
        {
            self.of.remove(&oldest);
        }
    }

    pub(crate) fn of(&self, provider: &NodeId) -> Experience {
        self.of.get(provider).copied().unwrap_or_default()
    }

    /// Chance of success in millionths: mean of a Beta posterior less one standard deviation, at least one in a
    /// hundred, so that nobody is shut out for ever by a number.
    pub(crate) fn reliability_ppm(&self, provider: &NodeId) -> u64 {
        let seen = self.of(provider);
        let good = PRIOR_GOOD + u64::from(seen.done);
        // Silence costs the most time, so it weighs twice.
        let bad =
            u64::from(seen.failed) + 2 * u64::from(seen.lost) + FALSE_WEIGHT * u64::from(seen.falsified);
        let all = good + PRIOR_BAD + bad;
        let mean = good * MILLION / all;
        let deviation = (mean * (MILLION - mean) / (all + 1)).isqrt();
        mean.saturating_sub(deviation).max(MILLION / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(outcomes: &[(Outcome, u32)]) -> u64 {
        let (mut reputation, node) = (Reputation::default(), NodeId([1; 32]));
        for (outcome, times) in outcomes {
            (0..*times).for_each(|i| reputation.note(node, *outcome, UnixMillis(i.into())));
        }
        reputation.reliability_ppm(&node)
    }

    #[test]
    fn a_stranger_is_trusted_less_than_one_who_delivered_and_more_than_one_who_vanished() {
        let stranger = after(&[]);
        assert!(after(&[(Outcome::Done, 10)]) > stranger);
        assert!(after(&[(Outcome::Done, 100)]) > after(&[(Outcome::Done, 10)]));
        assert!(after(&[(Outcome::Failed, 1)]) < stranger);
        assert!(after(&[(Outcome::Lost, 1)]) < after(&[(Outcome::Failed, 1)]));
        assert!(after(&[(Outcome::Done, 90), (Outcome::False, 1)]) < stranger);
        assert!(after(&[(Outcome::Lost, 10_000)]) >= MILLION / 100);
    }
}
