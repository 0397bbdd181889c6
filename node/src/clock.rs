//! The one place where a node reads clocks.

use ion_protocol::{Millis, Now, UnixMillis};
use std::{
    future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Time since the node's start, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { mono: self.uptime(), wall: wall() }
    }

    /// Since the start.
    pub fn uptime(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Resolves at `deadline`; never, if there is none.
    pub async fn reached(&self, deadline: Option<Millis>) {
        match deadline {
            // The engine compares whole milliseconds: waking a fraction early would only spin.
            Some(at) => {
                let at = self.start + Duration::from_millis(at.0);
                tokio::time::sleep_until(at.into()).await;
            }
            None => future::pending().await,
        }
    }
}

/// The wall clock; 1970 where it stands before that.
pub fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
