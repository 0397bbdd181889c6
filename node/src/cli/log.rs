//! Log lines on stderr: warnings unless asked for more or less.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging. Our own crates speak one level more than their dependencies, which talk a lot.
pub fn start(verbose: u8, quiet: bool) {
    const LEVELS: [LevelFilter; 5] =
        [LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    let ours = if quiet { 0 } else { (1 + usize::from(verbose)).min(LEVELS.len() - 1) };
    let theirs = ours.saturating_sub(1);
    let filter = Targets::new()
        .with_default(LEVELS[theirs])
        .with_target("ion", LEVELS[ours])
        .with_target("ion_node", LEVELS[ours])
        .with_target("ion_gpu", LEVELS[ours])
        .with_target("ion_scheduler", LEVELS[ours]);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A second start (in tests) keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
