//! `ion doctor`

use super::{
    CliError,
    args::{Common, DoctorArgs},
    block_on_all,
    error::SYSTEM_HINT,
    output, start,
};
use crate::{
    config::{KeepFree, MEMORY_PERCENT_DEFAULT, memory_share},
    doctor::{Asked, Examination, Facts, Verdict},
    workers::{self, WorkersConfig},
};

/// Looks at everything an owner may have wrong, and says what to do.
pub fn doctor(common: &Common, args: DoctorArgs) -> Result<(), CliError> {
    let asked =
        Asked { data_dir: start::data_dir(common)?, listen: args.listen, backend: args.backend.into() };
    let exe = std::env::current_exe().map_err(|error| {
        CliError::node(format!("this program's own file can't be found: {error}"), SYSTEM_HINT)
    })?;
    let memory_max = memory_share(MEMORY_PERCENT_DEFAULT);
    let config = WorkersConfig {
        exe,
        backend: asked.backend,
        memory_max,
        keep_free: KeepFree::NOTHING,
        measured: None,
    };
    let seen = block_on_all(async {
        let (facts, probed) = tokio::join!(Facts::gather(&asked), workers::look(config));
        Ok(Examination::of(&facts, &probed))
    })?;
    if common.json {
        output::json(&seen)?
    } else {
        output::line(&text(&seen))?
    }
    match seen.problems() {
        0 => Ok(()),
        1 => Err(unfit("one problem keeps")),
        more => Err(unfit(&format!("{more} problems keep"))),
    }
}

fn unfit(what: &str) -> CliError {
    CliError::node(format!("{what} this machine from providing"), "what to do stands under each problem")
}

fn text(seen: &Examination) -> String {
    let mut lines = Vec::new();
    for finding in &seen.findings {
        let mark = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Problem => "PROBLEM",
        };
        lines.push(format!("{mark:<8} {:<13} {}", finding.check, output::printable(&finding.found)));
        if !finding.hint.is_empty() {
            lines.push(format!("{:22} hint: {}", "", output::printable(&finding.hint)));
        }
    }
    lines.join("\n")
}
