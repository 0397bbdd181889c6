//! Everything the nodes of a cluster said, in the order it was heard, and the only way to wait for something.
//!
//! A line of a node's standard output is one [`Said`]. Waiting looks through what was heard since a [`Mark`] and then
//! sleeps until more comes, the node ends, or the deadline passes. Limits: [`LINES_MAX`], [`LINE_BYTES_MAX`].

use anyhow::{Result, anyhow, bail};
use ion_protocol::NodeId;
use ion_scheduler::event::Event;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Lines kept: 200 kills with a stream of jobs stay far below it; more is a node that talks without end.
const LINES_MAX: usize = 1_000_000;
/// One line at most; an event with a long list of rejected offers stays below.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Until when something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    allowed: Duration,
}

impl Deadline {
    /// From now on.
    pub fn seconds(seconds: u64) -> Self {
        let allowed = Duration::from_secs(seconds);
        Self { end: Instant::now() + allowed, allowed }
    }

    /// From now on, for short pauses.
    pub fn millis(millis: u64) -> Self {
        let allowed = Duration::from_millis(millis);
        Self { end: Instant::now() + allowed, allowed }
    }

    /// What is left; `None` when it passed.
    pub fn left(&self) -> Option<Duration> {
        self.end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// What there was at first.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is ready, and this is where.
    Listening {
        /// Who it is.
        node: NodeId,
        /// Where it can be reached, each ready to be somebody's `--bootstrap`.
        addresses: Vec<String>,
    },
    /// Something happened in its engine.
    Event(Event),
    /// A line this crate knows nothing of.
    Other(String),
    /// Its standard output was closed: it ended.
    Ended,
}

/// One line of one node.
#[derive(Clone, Debug)]
pub struct Line {
    /// Position of the node in its cluster.
    pub node: usize,
    /// Which start of the node, from 1.
    pub run: u32,
    /// When we read it.
    pub heard: Instant,
    /// When the node says it happened, in Unix milliseconds; 0 for [`Said::Ended`].
    pub at: u64,
    /// What.
    pub said: Said,
}

/// A place in the log: what came before is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub usize);

/// What all nodes of a cluster said.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Vec<Line>>,
    grew: Condvar,
}

/// One line of `ion node --json`, understood as far as this crate cares.
pub fn parse(text: &str) -> Result<(u64, Said)> {
    let value: Value = serde_json::from_str(text).map_err(|e| anyhow!("not JSON ({e}): {text}"))?;
    let at = value.get("at_unix_ms").and_then(Value::as_u64).unwrap_or(0);
    let kind = value.get("event").and_then(Value::as_str).ok_or_else(|| anyhow!("no \"event\": {text}"))?;
    if kind == "listening" {
        #[derive(serde::Deserialize)]
        struct Listening {
            node: NodeId,
            addresses: Vec<String>,
        }
        let Listening { node, addresses } = serde_json::from_value(value)?;
        return Ok((at, Said::Listening { node, addresses }));
    }
    let kind = kind.to_owned();
    let said = serde_json::from_value::<Event>(value).map_or(Said::Other(kind), Said::Event);
    Ok((at, said))
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of what was heard so far.
    pub fn mark(&self) -> Mark {
        Mark(self.lines().len())
    }

    /// Adds a line.
    pub fn push(&self, line: Line) {
        let mut lines = self.lines();
        if lines.len() < LINES_MAX {
            lines.push(line);
        }
        self.grew.notify_all();
    }

    /// Everything from `from` on.
    pub fn since(&self, from: Mark) -> Vec<Line> {
        self.lines().get(from.0..).unwrap_or_default().to_vec()
    }

    /// The first answer `want` finds after `from`, and the place behind it. `what` completes "waited for ...".
    ///
    /// `want` sees every line of every node once, in order; it may keep state. It answers `Err` for what makes further
    /// waiting pointless.
    pub fn wait<T>(
        &self,
        from: Mark,
        deadline: Deadline,
        what: &str,
        mut want: impl FnMut(&Line) -> Result<Option<T>>,
    ) -> Result<(T, Mark)> {
        let mut lines = self.lines();
        let mut next = from.0;
        loop {
            while let Some(line) = lines.get(next) {
                next += 1;
                if let Some(found) = want(line)? {
                    return Ok((found, Mark(next)));
                }
            }
            if lines.len() >= LINES_MAX {
                bail!("waited for {what}, but the nodes wrote more than {LINES_MAX} lines");
            }
            let Some(left) = deadline.left() else {
                bail!("waited {} s for {what}", deadline.allowed().as_secs());
            };
            lines = self.grew.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads a node's standard output into the log until it is closed; every line goes to `copy` as well.
    pub fn follow(self: &Arc<Self>, node: usize, run: u32, output: impl Read) {
        let mut output = BufReader::new(output);
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let read = output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut buffer);
            if !matches!(read, Ok(1..)) {
                break;
            }
            let text = String::from_utf8_lossy(&buffer);
            let heard = Instant::now();
            // A line cut off by a kill is no line.
            let Some(text) = text.strip_suffix('\n') else { break };
            let (at, said) =
                parse(text).unwrap_or_else(|e| (0, Said::Other(format!("unreadable line: {e:#}"))));
            self.push(Line { node, run, heard, at, said });
        }
        self.push(Line { node, run, heard: Instant::now(), at: 0, said: Said::Ended });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::JobId;

    #[test]
    fn lines_become_what_they_say() {
        let id = "ab".repeat(32);
        let (at, said) =
            parse(&format!(r#"{{"event":"listening","node":"{id}","addresses":["/x"],"at_unix_ms":7}}"#))
                .unwrap();
        assert_eq!(at, 7);
        assert_eq!(said, Said::Listening { node: id.parse().unwrap(), addresses: vec!["/x".to_owned()] });
        let job = JobId([1; 16]);
        let (_, said) =
            parse(&format!(r#"{{"at_unix_ms":9,"event":"job-accepted","job":"{job}"}}"#)).unwrap();
        assert_eq!(said, Said::Event(Event::JobAccepted { job }));
        assert_eq!(parse(r#"{"event":"new-thing"}"#).unwrap().1, Said::Other("new-thing".to_owned()));
        assert!(parse("hello").is_err());
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_not_heard() {
        let log = Arc::new(Log::default());
        log.follow(0, 1, "{\"event\":\"a\"}\n{\"event\":\"b\"".as_bytes());
        let said: Vec<Said> = log.since(Mark::default()).into_iter().map(|line| line.said).collect();
        assert_eq!(said, [Said::Other("a".to_owned()), Said::Ended]);
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_says_for_what() {
        let log = Log::default();
        let error = log
            .wait(Mark::default(), Deadline::seconds(0), "a sign of life", |_| Ok(None::<()>))
            .unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for a sign of life");
    }
}
