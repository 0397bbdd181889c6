//! May this device take jobs now, and if not, why? A function of the owner's rules, what is known of the device, and time.
//!
//! Reads no clock and asks nobody. Where a fact is not known the rule about it does not hold a device back: a node works
//! without NVIDIA's management library, and says that these rules have no effect. Tests: below.

use ion_gpu::nvml::Readings;
use ion_protocol::{UnixMillis, hardware::Withheld};
use serde::{Deserialize, Serialize};
use std::fmt;

const MINUTES_OF_DAY: u16 = 24 * 60;
/// A device that was too hot is lent again once it is this much cooler: without it, it would come and go.
const COOLER_BY: u16 = 5;

/// What the owner wants of every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// When devices are lent; `None` for always.
    pub hours: Option<Hours>,
    /// Warmest at which a device is lent.
    pub celsius_max: Option<u16>,
    /// Highest draw at which it takes another job.
    pub watts_max: Option<u32>,
    /// Whether other programs on a device end what runs on it for others.
    pub yields: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { hours: None, celsius_max: None, watts_max: None, yields: true }
    }
}

/// What is known of a device at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How it is: temperature, draw, clocks and so on.
    #[serde(flatten)]
    pub readings: Readings,
    /// How many programs that are none of ours compute on it.
    pub others: Option<u32>,
}

/// A span of the day in UTC; it may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Hours {
    /// Reads `22:00-07:00`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no span of the day; expected one in UTC like `22:00-07:00`");
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let minute = |text: &str| -> Option<u16> {
            let (hour, minute) = text.trim().split_once(':')?;
            let two_digits = |text: &str, below: u16| {
                let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|n: &u16| fits && *n < below)
            };
            Some(two_digits(hour, 24)? * 60 + two_digits(minute, 60)?)
        };
        let hours = Hours { from: minute(from).ok_or_else(wrong)?, to: minute(to).ok_or_else(wrong)? };
        if hours.from == hours.to {
            return Err(format!("`{text}` begins where it ends; leave it out to lend all day"));
        }
        Ok(hours)
    }

    fn includes(self, wall: UnixMillis) -> bool {
        let minute = (wall.0 / 60_000 % u64::from(MINUTES_OF_DAY)) as u16;
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hours { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02} UTC", from / 60, from % 60, to / 60, to % 60)
    }
}

/// Why a device is not lent now; `None` if it is. `before` is what this said the last time.
pub fn withheld(
    paused: bool,
    rules: &Rules,
    facts: &Facts,
    before: Option<Withheld>,
    wall: UnixMillis,
) -> Option<Withheld> {
    if paused {
        return Some(Withheld::Paused);
    }
    if rules.yields && facts.others.is_some_and(|others| others > 0) {
        return Some(Withheld::InUse);
    }
    if rules.hours.is_some_and(|hours| !hours.includes(wall)) {
        return Some(Withheld::Hours);
    }
    if let (Some(limit), Some(celsius)) = (rules.celsius_max, facts.readings.celsius) {
        let was_hot = matches!(before, Some(Withheld::Hot { .. }));
        let allowed = if was_hot { limit.saturating_sub(COOLER_BY) } else { limit };
        if celsius > allowed {
            return Some(Withheld::Hot { celsius, limit });
        }
    }
    if let (Some(limit), Some(watts)) = (rules.watts_max, facts.readings.watts)
        && watts > limit
    {
        return Some(Withheld::Power { watts, limit });
    }
    None
}

/// Whether what runs on a device is stopped for this reason, rather than finished.
pub fn evicts(why: Withheld) -> bool {
    match why {
        // The owner waits, or the card suffers.
        Withheld::InUse | Withheld::Hot { .. } => true,
        Withheld::Paused | Withheld::Hours | Withheld::Power { .. } => false,
    }
}

/// How many of the processes on a device are none of ours. `None` where that can't be told: until a worker of ours was seen
/// in such a list, the list may speak of processes in other numbers, as inside a container, and ours would look foreign.
pub fn others(listed: &[u32], ours: &[u32], ours_were_seen: bool) -> Option<u32> {
    if !ours_were_seen {
        return None;
    }
    let foreign = listed.iter().filter(|pid| !ours.contains(pid)).count();
    u32::try_from(foreign).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64, minute: u64) -> UnixMillis {
        // A day in 2026.
        UnixMillis(1_774_224_000_000 + (hour * 60 + minute) * 60_000)
    }

    fn facts(celsius: u16, watts: u32, others: u32) -> Facts {
        let readings = Readings { celsius: Some(celsius), watts: Some(watts), ..Readings::default() };
        Facts { readings, others: Some(others) }
    }

    fn rules() -> Rules {
        let hours = Some(Hours::parse("22:00-07:00").unwrap());
        Rules { hours, celsius_max: Some(80), watts_max: Some(300), yields: true }
    }

    #[test]
    fn a_device_is_lent_when_no_rule_says_otherwise() {
        assert_eq!(withheld(false, &Rules::default(), &Facts::default(), None, at(12, 0)), None);
        let quiet = facts(80, 300, 0);
        assert_eq!(withheld(false, &rules(), &quiet, None, at(23, 0)), None);
    }

    #[test]
    fn each_rule_has_its_reason_and_the_owner_comes_first() {
        let (night, day) = (at(23, 0), at(12, 0));
        let hot = facts(81, 301, 2);
        let mut facts = hot;
        let says = |paused, facts: &Facts, wall| withheld(paused, &rules(), facts, None, wall);
        assert_eq!(says(true, &facts, day), Some(Withheld::Paused));
        assert_eq!(says(false, &facts, day), Some(Withheld::InUse));
        facts.others = Some(0);
        assert_eq!(says(false, &facts, day), Some(Withheld::Hours));
        assert_eq!(says(false, &facts, night), Some(Withheld::Hot { celsius: 81, limit: 80 }));
        facts.readings.celsius = None;
        assert_eq!(says(false, &facts, night), Some(Withheld::Power { watts: 301, limit: 300 }));
        facts.readings.watts = None;
        assert_eq!(says(false, &facts, night), None);
        let shares = Rules { yields: false, ..Rules::default() };
        assert_eq!(withheld(false, &shares, &hot, None, day), None);
    }

    #[test]
    fn a_hot_device_comes_back_when_it_is_clearly_cooler() {
        let rules = Rules { celsius_max: Some(80), ..Rules::default() };
        let mut before = None;
        let mut lent = Vec::new();
        for celsius in [79, 80, 81, 80, 76, 75, 80, 81] {
            let facts = facts(celsius, 0, 0);
            before = withheld(false, &rules, &facts, before, at(0, 0));
            lent.push(before.is_none());
        }
        assert_eq!(lent, [true, true, false, false, false, true, true, false]);
    }

    #[test]
    fn hours_may_pass_midnight() {
        let night = Hours::parse("22:00-07:30").unwrap();
        for (hour, minute, lent) in
            [(22, 0, true), (21, 59, false), (0, 0, true), (7, 29, true), (7, 30, false), (12, 0, false)]
        {
            assert_eq!(night.includes(at(hour, minute)), lent, "{hour}:{minute}");
        }
        let day = Hours::parse("09:15-17:00").unwrap();
        for (hour, minute, lent) in [(9, 14, false), (9, 15, true), (16, 59, true), (17, 0, false)] {
            assert_eq!(day.includes(at(hour, minute)), lent, "{hour}:{minute}");
        }
        assert_eq!(night.to_string(), "22:00-07:30 UTC");
    }

    #[test]
    fn what_is_no_span_is_refused_with_an_example() {
        for text in [
            "",
            "22:00",
            "22-07",
            "24:00-07:00",
            "22:60-07:00",
            "2:00-07:00",
            "22:00-07:00-08:00",
            "+2:00-07:00",
        ] {
            assert!(Hours::parse(text).unwrap_err().contains("like `22:00-07:00`"), "{text}");
        }
        assert!(Hours::parse("07:00-07:00").unwrap_err().contains("leave it out"));
    }

    #[test]
    fn what_evicts_is_what_cannot_wait() {
        assert!(evicts(Withheld::InUse) && evicts(Withheld::Hot { celsius: 90, limit: 80 }));
        assert!(!evicts(Withheld::Paused) && !evicts(Withheld::Hours));
        assert!(!evicts(Withheld::Power { watts: 2, limit: 1 }));
    }

    #[test]
    fn own_workers_are_nobody_else() {
        assert_eq!(others(&[10, 11], &[10, 11, 12], true), Some(0));
        assert_eq!(others(&[10, 99], &[10, 11], true), Some(1));
        assert_eq!(others(&[99], &[10], true), Some(1), "no worker of ours has the device now");
        assert_eq!(others(&[], &[10], true), Some(0));
        assert_eq!(others(&[99], &[10], false), None, "a container numbers processes otherwise");
    }
}
