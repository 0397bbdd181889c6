//! `ion bench`

use super::{
    CliError,
    args::{BenchArgs, Common},
    block_on_all, output,
};
use crate::bench::{self, BenchOptions};
use ion_protocol::units::measured;
use std::time::Duration;

/// Measures this machine and this build, each figure against a yardstick of the same run.
pub fn bench(common: &Common, args: BenchArgs) -> Result<(), CliError> {
    let options = BenchOptions {
        jobs: args.jobs,
        transfer_bytes: args.transfer.0,
        journal: Duration::from_secs(args.journal_seconds),
        backend: args.backend.into(),
        busy: args.busy,
    };
    let quiet = common.quiet;
    let stage = move |name: &str| {
        if !quiet {
            output::note(name);
        }
    };
    let trouble = |error: anyhow::Error| {
        CliError::node(format!("{error:#}"), "`-v` says more; free some memory and disk, then try again")
    };
    if args.echo {
        return block_on_all(async { bench::echo().await.map_err(trouble) });
    }
    // As a task: the runtime's own threads hear the sockets, and a further thread to wake would be measured with them.
    let report = block_on_all(async {
        let measured = tokio::spawn(bench::run(options, stage)).await;
        measured.map_err(anyhow::Error::from).flatten().map_err(trouble)
    })?;
    if common.json {
        return output::json(&report);
    }
    output::line(&format!("{}; {} build", report.machine, report.build))?;
    let mut table = output::Table::new(&["FIGURE", "VALUE", "RATIO TO", "RATIO", "TARGET"]);
    for figure in &report.figures {
        table.row([
            figure.name.clone(),
            format!("{} {}", measured(figure.value), figure.unit),
            figure.yardstick.clone().unwrap_or_default(),
            figure.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            figure.target.unwrap_or_default().to_owned(),
        ]);
    }
    table.print()
}
