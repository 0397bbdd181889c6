//! One timeline from the event logs of all nodes, with what we did to them in between: what a person reads first when
//! a run went wrong.
//!
//! Reads `events.jsonl` in each data directory, the file a node keeps for its owner. Clocks are those of one machine,
//! so times compare; lines of one node keep their order even where its clock did not. Limit: [`LINES_SHOWN_MAX`].

use crate::cluster::Cluster;
use anyhow::Result;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Lines printed at most, the last ones; the file holds all.
const LINES_SHOWN_MAX: usize = 300;
/// Name of a node's event log.
const EVENT_LOG: &str = "events.jsonl";
/// Ids are shortened to this many digits: enough to recognise.
const ID_DIGITS: usize = 8;

/// What happened, by time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    who: String,
    what: String,
}

/// Now, in Unix milliseconds.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Timeline {
    /// Adds something we did.
    pub fn note(&mut self, at: u64, who: &str, what: &str) {
        self.entries.push(Entry { at, who: who.to_owned(), what: what.to_owned() });
    }

    /// Adds a node's event log. Lines that are no events (the last of a killed node may be cut off) are left out.
    pub fn add_log(&mut self, who: &str, text: &str) {
        let mut latest = 0;
        for line in text.lines() {
            let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else { continue };
            let at = fields.get("at_unix_ms").and_then(Value::as_u64).unwrap_or(latest);
            latest = latest.max(at);
            let kind = fields.get("event").and_then(Value::as_str).unwrap_or("?");
            let others = fields.iter().filter(|(key, _)| !["at_unix_ms", "event"].contains(&key.as_str()));
            let words = others.map(|(key, value)| format!(" {key}={}", short(value)));
            self.note(latest, who, &words.fold(kind.to_owned(), |line, word| line + &word));
        }
    }

    /// Adds the event logs of all nodes of a cluster.
    pub fn add_cluster(&mut self, cluster: &Cluster) {
        for node in cluster.nodes() {
            match fs::read_to_string(node.spec.data_dir.join(EVENT_LOG)) {
                Ok(text) => self.add_log(node.name(), &text),
                Err(error) => self.note(0, node.name(), &format!("(no event log: {error})")),
            }
        }
    }

    /// All lines by time, seconds counted from the first.
    pub fn lines(&self) -> Vec<String> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        // Stable: what happened in the same millisecond stays in the order it was added.
        entries.sort_by_key(|entry| entry.at);
        let start = entries.iter().map(|entry| entry.at).find(|at| *at > 0).unwrap_or(0);
        let wide = entries.iter().map(|entry| entry.who.len()).max().unwrap_or(0);
        let line = |entry: &&Entry| {
            let seconds = entry.at.saturating_sub(start) as f64 / 1e3;
            format!("{seconds:>9.3} s  {:wide$}  {}", entry.who, entry.what)
        };
        entries.iter().map(line).collect()
    }

    /// Writes all lines to a file in `dir` and the last ones to standard error.
    pub fn show(&self, dir: &Path) -> Result<PathBuf> {
        let lines = self.lines();
        let path = dir.join("timeline.txt");
        fs::write(&path, lines.join("\n") + "\n")?;
        let hidden = lines.len().saturating_sub(LINES_SHOWN_MAX);
        if hidden > 0 {
            eprintln!("({hidden} earlier lines are in {})", path.display());
        }
        lines[hidden..].iter().for_each(|line| eprintln!("{line}"));
        Ok(path)
    }
}

/// A value on one line, ids shortened.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            text[..ID_DIGITS].to_owned()
        }
        Value::Object(fields) => {
            let words: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}={}", short(value))).collect();
            format!("{{{}}}", words.join(" "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(short).collect::<Vec<_>>().join(", ")),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_merged_by_time_and_ids_shortened() {
        let job = "0123456789abcdef".repeat(2);
        let mut timeline = Timeline::default();
        timeline.add_log(
            "light",
            &format!(
                "{{\"at_unix_ms\":1000,\"event\":\"job-accepted\",\"job\":\"{job}\"}}\n\
                 {{\"at_unix_ms\":3000,\"event\":\"job-ended\",\"end\":{{\"end\":\"done\",\"attempt\":1}}}}\n{{\"at_unix_ms\":31"
            ),
        );
        timeline.add_log(
            "provider-1",
            "{\"at_unix_ms\":2500,\"event\":\"receipt-signed\",\"price_nano_io\":7}\n",
        );
        timeline.note(2000, "(test)", "killed provider-2");
        assert_eq!(
            timeline.lines(),
            [
                "    0.000 s  light       job-accepted job=01234567",
                "    1.000 s  (test)      killed provider-2",
                "    1.500 s  provider-1  receipt-signed price_nano_io=7",
                "    2.000 s  light       job-ended end={attempt=1 end=\"done\"}",
            ]
        );
    }

    #[test]
    fn a_node_whose_clock_jumps_back_keeps_its_order() {
        let mut timeline = Timeline::default();
        timeline.add_log(
            "a",
            "{\"at_unix_ms\":5,\"event\":\"first\"}\n{\"at_unix_ms\":3,\"event\":\"second\"}\n",
        );
        let lines = timeline.lines();
        assert!(lines[0].ends_with("first") && lines[1].ends_with("second"), "{lines:?}");
    }
}
