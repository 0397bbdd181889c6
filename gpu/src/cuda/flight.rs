//! What is on its way on the stream of kernels: each thing between two events, and the times of what is over.
//!
//! Never: waits, nor calls the driver. Tests: `gpu/tests/backends.rs`.

use super::{driver::Event, repeat::Round};
use crate::backend::Progress;
use ion_protocol::Nanos;
use std::{collections::VecDeque, rc::Rc};

pub(super) struct Flight<'a> {
    under_way: VecDeque<Queued>,
    /// Launches queued so far.
    pub queued: u64,
    /// The time of each launch that is over, and of all.
    pub times: Vec<Nanos>,
    pub device_time: Nanos,
    progress: &'a mut dyn FnMut(Progress),
    launches_total: u64,
}

/// What was queued between two events.
pub(super) struct Queued {
    pub start: Event,
    pub end: Event,
    pub what: What,
    /// Launches queued before it and with it.
    upto: u64,
}

pub(super) enum What {
    Launch(String),
    Graph(Rc<Round>),
}

impl<'a> Flight<'a> {
    pub fn new(progress: &'a mut dyn FnMut(Progress), launches_total: u64) -> Self {
        let (under_way, times) = (VecDeque::new(), Vec::new());
        Self { under_way, queued: 0, times, device_time: Nanos::ZERO, progress, launches_total }
    }

    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The one that will be over first.
    pub fn oldest(&self) -> Option<&Queued> {
        self.under_way.front()
    }

    /// The end of the launch of that number, if it may still run.
    pub fn end_of(&self, launch: u64) -> Option<&Event> {
        self.under_way.iter().find(|queued| queued.upto >= launch).map(|queued| &queued.end)
    }

    /// Takes down what was queued last.
    pub fn push(&mut self, start: Event, end: Event, what: What) {
        self.queued += what.launches();
        self.under_way.push_back(Queued { start, end, what, upto: self.queued });
    }

    /// Takes down that the oldest is over after `time`, and gives its events back.
    pub fn end_oldest(&mut self, time: Nanos) -> Option<[Event; 2]> {
        let Queued { start, end, what, .. } = self.under_way.pop_front()?;
        match what {
            What::Launch(_) => self.times.push(time),
            What::Graph(round) => round.share(time, &mut self.times),
        }
        self.device_time = self.device_time.saturating_add(time);
        (self.progress)(Progress {
            launches_done: self.times.len() as u64,
            launches_total: self.launches_total,
            device_time: self.device_time,
        });
        Some([start, end])
    }

    /// Names the kernels that may be running.
    pub fn names(&self) -> String {
        self.names_with(None)
    }

    /// Likewise, `next` among them.
    pub fn names_with(&self, next: Option<&What>) -> String {
        let all = self.under_way.iter().map(|queued| &queued.what).chain(next);
        let mut names: Vec<&str> = all.flat_map(What::names).collect();
        names.sort_unstable();
        names.dedup();
        match names[..] {
            [] => "the program".to_owned(),
            [one] => format!("kernel `{one}`"),
            _ => format!("one of the kernels `{}`", names.join("`, `")),
        }
    }
}

impl What {
    fn launches(&self) -> u64 {
        match self {
            What::Launch(_) => 1,
            What::Graph(round) => round.launches(),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            What::Launch(kernel) => vec![kernel],
            What::Graph(round) => round.kernels().collect(),
        }
    }
}
