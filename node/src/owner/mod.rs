//! Owner first: which devices are lent now, and why the others are not.
//!
//! Owns the pauses ([`Paused`], which last), the rules of the command line ([`Rules`]) and what is known of the devices.
//! Decides by one pure function ([`rules::withheld`]) and tells what changed; the driver passes that to the engine and the
//! workers. Never touches a device or another's process.

mod paused;
pub mod rules;

pub use paused::Paused;
pub use rules::{Facts, Hours, Rules};

use ion_protocol::{UnixMillis, hardware::Withheld};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub struct Owner {
    /// What was typed.
    pub rules: Rules,
    /// What was paused.
    pub paused: Paused,
    facts: BTreeMap<u16, Facts>,
    withheld: BTreeMap<u16, Withheld>,
}

/// What is different about a device since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its index.
    pub device: u16,
    /// Why it is not lent; `None` where it is again.
    pub why: Option<Withheld>,
}

impl Owner {
    /// Nothing is known of any device yet.
    pub fn new(rules: Rules, paused: Paused) -> Self {
        Self { rules, paused, facts: BTreeMap::new(), withheld: BTreeMap::new() }
    }

    /// What is known of a device now.
    pub fn learn(&mut self, device: u16, facts: Facts) {
        self.facts.insert(device, facts);
    }

    /// What was learned of a device last.
    pub fn facts(&self, device: u16) -> Facts {
        self.facts.get(&device).copied().unwrap_or_default()
    }

    /// Why a device is not lent, as of the last look.
    pub fn why(&self, device: u16) -> Option<Withheld> {
        self.withheld.get(&device).copied()
    }

    /// Looks at the devices of these numbers, and tells what changed.
    pub fn look(&mut self, devices: impl Iterator<Item = u16>, wall: UnixMillis) -> Vec<Change> {
        let mut changes = Vec::new();
        for device in devices {
            let before = self.why(device);
            let facts = self.facts(device);
            let why = rules::withheld(self.paused.holds(device), &self.rules, &facts, before, wall);
            // A degree more is no news.
            let why = why.map(|why| before.filter(|before| same_kind(before, &why)).unwrap_or(why));
            match why {
                Some(why) => self.withheld.insert(device, why),
                None => self.withheld.remove(&device),
            };
            if why != before {
                changes.push(Change { device, why });
            }
        }
        changes
    }
}

fn same_kind(one: &Withheld, other: &Withheld) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_gpu::nvml::Readings;

    #[test]
    fn only_changes_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut owner = Owner::new(Rules::default(), Paused::open(dir.path()).unwrap());
        let wall = UnixMillis(0);
        assert_eq!(owner.look(0..2, wall), []);
        owner.paused.set(1, true);
        owner.learn(0, Facts { others: Some(1), ..Facts::default() });
        let both = [
            Change { device: 0, why: Some(Withheld::InUse) },
            Change { device: 1, why: Some(Withheld::Paused) },
        ];
        assert_eq!(owner.look(0..2, wall), both);
        assert_eq!(owner.look(0..2, wall), []);
        assert_eq!((owner.why(0), owner.why(1)), (Some(Withheld::InUse), Some(Withheld::Paused)));
        owner.learn(0, Facts::default());
        assert_eq!(owner.look(0..2, wall), [Change { device: 0, why: None }]);
        owner.rules.celsius_max = Some(80);
        let hot = |celsius| {
            let readings = Readings { celsius: Some(celsius), ..Readings::default() };
            Facts { readings, others: None }
        };
        owner.learn(0, hot(90));
        assert_eq!(owner.look(0..2, wall).len(), 1);
        owner.learn(0, hot(91));
        assert_eq!(owner.look(0..2, wall), [], "a degree more is no news");
    }
}
