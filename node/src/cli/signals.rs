//! Signals by which a person, a terminal that closes or a supervisor wants this process to end: SIGINT, SIGHUP, SIGTERM.
//! All three mean the same. Where whoever started us has SIGHUP ignored, as `nohup` does, it stays ignored.

use super::{CliError, error::SYSTEM_HINT};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Wishes to end, from [`Endings::listen`] on; none is lost between two looks.
#[derive(Debug)]
pub struct Endings {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Endings {
    /// Listens from now on: the signals do nothing by themselves any more.
    pub fn listen() -> Result<Self, CliError> {
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: if outlives_its_terminal() { None } else { Some(on(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next wish.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { self.hangup.as_mut()?.recv().await } => {}
        }
    }
}

/// Signals of this kind from now on: what they do by themselves, they do no more.
pub fn on(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|e| CliError::node(format!("signals can't be awaited: {e}"), SYSTEM_HINT))
}

/// Whether whoever started this process, as `nohup` does, has it ignore the end of its terminal.
fn outlives_its_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
