//! The command line: one verb a file. What was typed ([`args`]) and what holds ([`crate::config`]) are two types.
//!
//! Words for people: data goes to stdout, everything else to stderr, and every error ends with a way out. With `--json`
//! stdout holds JSON only, with stable field names, and an error is one JSON object on stderr. Exit codes are those of
//! [`Exit`]. Nothing here decides what a node does: verbs ask the running node over [`crate::control`]; what only looks back
//! is answered from the journal where none runs.
//! Tests: `node/tests/cli/`, with the real binary.

mod args;
mod bench;
mod cancel;
mod challenge;
mod completions;
mod devices;
mod doctor;
mod error;
mod events;
mod examples;
mod exec;
mod fetch;
mod job_ref;
mod jobs;
mod key;
mod local;
mod log;
mod node;
mod offers;
mod output;
mod progress;
mod ptx;
mod receipts;
mod run;
mod signals;
mod start;
mod status;
mod stop;
mod why;
mod words;

pub use args::Args;
pub use error::{CliError, Exit};

use crate::manifest::nearest;
use args::Verb;
use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::process::ExitCode;

/// Parses the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(error),
    };
    log::start(args.common.verbose, args.common.quiet);
    let json = args.common.json;
    match dispatch(args) {
        Ok(()) => Exit::Done.into(),
        Err(error) if error.is_closed_pipe() => Exit::Done.into(),
        Err(error) => {
            error.print(json);
            error.exit.into()
        }
    }
}

fn dispatch(args: Args) -> Result<(), CliError> {
    let common = &args.common;
    match args.verb {
        Verb::Node(args) => node::node(common, args),
        Verb::Status => status::status(common),
        Verb::Devices(args) => devices::devices(common, args),
        Verb::Doctor(args) => doctor::doctor(common, args),
        Verb::Offers => offers::offers(common),
        Verb::Run(args) => run::run(common, args),
        Verb::Fetch(args) => fetch::fetch(common, args),
        Verb::Jobs(args) => jobs::jobs(common, args),
        Verb::Cancel(args) => cancel::cancel(common, args),
        Verb::Challenge(args) => challenge::challenge(common, args),
        Verb::Why(args) => why::why(common, args),
        Verb::Events => events::events(common),
        Verb::Receipts(args) => receipts::receipts(common, args),
        Verb::Key(args) => key::key(common, args),
        Verb::Exec(args) => exec::exec(common, args),
        Verb::Ptx(args) => ptx::ptx(common, args),
        Verb::Bench(args) => bench::bench(common, args),
        Verb::Stop(args) => stop::stop(common, args),
        Verb::Completions(args) => completions::completions(args, &mut Args::command()),
    }
}

/// Flags that are near what was typed are told, however short they are: of `--otu` the parser itself makes nothing.
fn suggest(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else { return error };
    let known = error.get(ContextKind::SuggestedArg).is_some();
    if error.kind() != ErrorKind::UnknownArgument || known || !typed.starts_with("--") {
        return error;
    }
    let mut command = Args::command();
    command.build();
    let verb = std::env::args_os().skip(1).fold(&command, |at, word| at.find_subcommand(&word).unwrap_or(at));
    let flags = verb.get_arguments().filter_map(|arg| arg.get_long());
    if let Some(meant) = nearest(typed.trim_start_matches('-'), flags) {
        let meant = ContextValue::String(format!("--{meant}"));
        error.insert(ContextKind::SuggestedArg, meant);
        error.remove(ContextKind::Suggested);
    }
    error
}

/// Help and version go to stdout and are no error; the rest is told with a way out.
fn usage(error: clap::Error) -> ExitCode {
    let error = suggest(error);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return Exit::Done.into();
        }
        _ => {}
    }
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::note(&format!("{text}\nhint: choose a command from the list above"));
        return Exit::Usage.into();
    }
    let (message, _) = text.split_once("\nFor more information").unwrap_or((&text, ""));
    let message = message.trim_start_matches("error: ").trim_end();
    // Nothing was parsed, so the wish for JSON is looked for in what was typed.
    let json = std::env::args_os().any(|arg| arg == "--json");
    CliError::usage(message, "`--help` after a command explains it, with examples").print(json);
    Exit::Usage.into()
}

/// Runs `future` on a runtime of this thread: enough for a verb that asks a question.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|e| CliError::node(format!("no runtime could be started: {e}"), error::SYSTEM_HINT))?
        .block_on(future)
}

/// Runs `future` on a thread for every second core: for a whole node. The other cores are for what a node never does on
/// these: wait for a slow disk, hash blobs, run kernels.
fn block_on_all<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime
        .map_err(|e| CliError::node(format!("no runtime could be started: {e}"), error::SYSTEM_HINT))?
        .block_on(future)
}
