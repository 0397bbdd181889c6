//! How a job comes along, on stderr: a bar on a terminal, plain lines in a pipe.

use super::{output, words};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ion_protocol::message::LeaseState;
use ion_scheduler::event::Event;
use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

/// In a pipe, one line for each such part of the way.
const PLAIN_STEP_PERCENT: u64 = 25;

/// Shows one job.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: String,
    last_step: Option<(bool, u64)>,
}

impl Progress {
    /// Says nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet, last: String::new(), last_step: None }
    }

    /// A sentence.
    pub fn say(&mut self, text: &str) {
        if self.quiet || self.last == text {
            return;
        }
        self.last = text.to_owned();
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::note(text),
        }
    }

    /// Something happened to the job.
    pub fn event(&mut self, event: &Event) {
        if let Event::Progress { state, .. } = event {
            self.state(state);
        } else if matches!(event, Event::JobEnded { .. }) {
            self.clear();
        } else {
            self.say(&words::event(event));
        }
    }

    /// Where the provider, or this machine, stands.
    pub fn state(&mut self, state: &LeaseState) {
        match state {
            LeaseState::Running { done, total } => self.way(state, true, *done, *total),
            LeaseState::Staging { done, total } => self.way(state, false, *done, *total),
            LeaseState::Waiting => self.say("waiting for a device"),
            LeaseState::Unknown | LeaseState::Finished | LeaseState::Released => {}
        }
    }

    /// So much of launches, or of bytes, is done.
    fn way(&mut self, state: &LeaseState, launches: bool, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(if launches { launches_style() } else { bytes_style() });
                bar.set_length(total);
                bar.set_position(done);
            }
            None => {
                let percent = (u128::from(done) * 100 / u128::from(total.max(1))) as u64;
                let step = Some((launches, percent / PLAIN_STEP_PERCENT));
                if step != self.last_step {
                    self.last_step = step;
                    self.say(&words::state(state));
                }
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is ours")
}

fn spinner() -> ProgressStyle {
    style("{spinner} {elapsed}")
}

fn launches_style() -> ProgressStyle {
    style("{spinner} running  [{bar:30}] {pos}/{len} launches  {elapsed}")
}

fn bytes_style() -> ProgressStyle {
    style("{spinner} fetching [{bar:30}] {bytes}/{total_bytes}  {elapsed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        let _ = (spinner(), launches_style(), bytes_style());
    }
}
