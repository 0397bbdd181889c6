//! When to look again: at most one deadline a topic, in order of time.

use crate::provider::LeaseKey;
use ion_protocol::{Attempt, JobId, Millis};
use std::collections::{BTreeMap, BTreeSet};

/// What may have to be looked at when time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// A job of ours.
    Job(JobId),
    /// A countersignature its provider has not acknowledged.
    Handover(JobId, Attempt),
    /// A lease we hold.
    Lease(LeaseKey),
    /// Telling requesters that we are alive.
    Progress,
    /// The own advert.
    Advert,
    /// Old offers.
    Directory,
    /// Claims of others that are worth a look.
    Patrol,
    /// What this node computed for challengers, and can show no longer.
    Proofs,
}

/// Deadlines by time and by topic.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Millis, Topic)>,
    of: BTreeMap<Topic, Millis>,
}

impl Deadlines {
    /// Looks at `topic` at `at`, or never; replaces what was set before.
    pub(crate) fn set(&mut self, topic: Topic, at: Option<Millis>) {
        if let Some(before) = self.of.remove(&topic) {
            self.by_time.remove(&(before, topic));
        }
        if let Some(at) = at {
            self.of.insert(topic, at);
            self.by_time.insert((at, topic));
        }
    }

    /// As [`Self::set`], unless the topic is due sooner already.
    pub(crate) fn sooner(&mut self, topic: Topic, at: Millis) {
        if self.of.get(&topic).is_none_or(|before| at < *before) {
            self.set(topic, Some(at));
        }
    }

    /// As [`Self::set`], unless the topic has a deadline already.
    pub(crate) fn unless_set(&mut self, topic: Topic, at: Millis) {
        if !self.of.contains_key(&topic) {
            self.set(topic, Some(at));
        }
    }

    /// The next one.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out all that are due.
    pub(crate) fn take_due(&mut self, now: Millis) -> Vec<Topic> {
        let mut due = Vec::new();
        while let Some((at, topic)) = self.by_time.first().copied().filter(|(at, _)| *at <= now) {
            self.by_time.remove(&(at, topic));
            self.of.remove(&topic);
            due.push(topic);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_one_deadline_and_the_soonest_comes_first() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Topic::Advert, Some(Millis(9)));
        deadlines.set(Topic::Progress, Some(Millis(5)));
        deadlines.set(Topic::Advert, Some(Millis(3)));
        assert_eq!(deadlines.next(), Some(Millis(3)));
        deadlines.sooner(Topic::Progress, Millis(7));
        assert_eq!(deadlines.take_due(Millis(4)), vec![Topic::Advert]);
        assert_eq!(deadlines.take_due(Millis(5)), vec![Topic::Progress]);
        assert_eq!(deadlines.next(), None);
    }
}
