//! The cores that run a launch's blocks.
//!
//! Owns: the threads beside the calling one. They stay from launch to launch: to start them takes as long as a short launch.
//! Never: has more threads than cores, or any before several cores have something to do.
//! Tests: `gpu/tests/cpu_programs.rs`.

use rayon_core::{ThreadPool, ThreadPoolBuilder};
use std::sync::OnceLock;

/// See the module.
#[derive(Debug)]
pub struct Crew {
    cores: usize,
    /// `None` where no thread can be had.
    others: OnceLock<Option<ThreadPool>>,
}

impl Crew {
    /// So many cores, the calling one among them; at least that.
    pub fn new(cores: usize) -> Self {
        Crew { cores: cores.max(1), others: OnceLock::new() }
    }

    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Does `mine` here and `work` on so many others, and returns when all are done. A core that cannot be had is done
    /// without.
    pub fn run(&self, others: usize, work: impl Fn() + Sync, mine: impl FnOnce()) {
        let pool =
            (others > 0).then(|| self.others.get_or_init(|| threads(self.cores - 1)).as_ref()).flatten();
        let Some(pool) = pool else { return mine() };
        pool.in_place_scope(|scope| {
            for _ in 0..others.min(pool.current_num_threads()) {
                scope.spawn(|_| work());
            }
            mine();
        });
    }
}

/// As many as can be had.
fn threads(most: usize) -> Option<ThreadPool> {
    let pool = |count| ThreadPoolBuilder::new().num_threads(count).thread_name(|_| "ion-cpu".into()).build();
    (1..=most).rev().find_map(|count| pool(count).ok())
}
