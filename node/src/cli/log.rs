//! Log lines on stderr: warnings unless asked for more or less, by flags or, where there are none, by `$RUST_LOG`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// <https://no-color.org>
fn no_color_is_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty())
}

/// Starts logging. Our own crates speak one level more than their dependencies, which talk a lot.
pub fn start(verbose: u8, quiet: bool) {
    const LEVELS: [LevelFilter; 5] =
        [LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    let ours = if quiet { 0 } else { (1 + usize::from(verbose)).min(LEVELS.len() - 1) };
    let theirs = ours.saturating_sub(1);
    let asked = std::env::var("RUST_LOG").ok().filter(|_| verbose == 0 && !quiet);
    let ours_and_theirs = Targets::new()
        .with_default(LEVELS[theirs])
        .with_target("ion", LEVELS[ours])
        .with_target("ion_node", LEVELS[ours])
        .with_target("ion_gpu", LEVELS[ours])
        .with_target("ion_scheduler", LEVELS[ours]);
    let filter = asked.as_deref().and_then(|asked| asked.parse().ok()).unwrap_or(ours_and_theirs);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal && no_color_is_unset());
    // A second start (in tests) keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
