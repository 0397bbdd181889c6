//! `ion completions`

use super::{CliError, args::CompletionsArgs, output};

/// Completions for a shell, on stdout.
pub fn completions(args: CompletionsArgs, command: &mut clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "ion", &mut script);
    output::raw(&script)
}
