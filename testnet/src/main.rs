//! The program `ion-testnet`: local Ion networks of real processes.

use anyhow::Result;
use clap::{Parser, Subcommand, builder::TypedValueParser};
use ion_testnet::{
    adversary::liar, chaos, cluster::binary, cluster::cleanup, cluster::ion::Ion, demo, fit, up,
};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 something failed or was lost, 2 usage, 3 this machine can't do it, 128 and the signal's number when interrupted (`up` is meant to be: 0)";
/// As `ion node --backend` takes them.
const BACKENDS: [&str; 3] = ["auto", "cuda", "cpu"];
/// Exit code of [`fit::Unfit`].
const UNFIT: u8 = 3;

/// Starts Ion networks of real processes on this machine: to see one, to use one, to break one.
#[derive(Debug, Parser)]
#[command(name = "ion-testnet", version, after_help = EXIT_CODES)]
struct Cli {
    /// The `ion` program to start; by default the one of the same build.
    #[arg(long, global = true, value_name = "PATH")]
    ion: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows a network at work: five nodes, five jobs, one death, and receipts on both sides.
    Demo {
        /// Smaller jobs, for slow machines and builds without optimisation.
        #[arg(long)]
        small: bool,
        /// Leaves keys, journals, jobs and logs in place at the end.
        #[arg(long)]
        keep: bool,
        /// Prints the outcome as one JSON object on standard output.
        #[arg(long)]
        json: bool,
        /// Where the picture goes; by default a directory among the temporary files.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Which devices providers offer.
        #[arg(long, default_value = "auto", value_parser = BACKENDS)]
        backend: String,
    },
    /// Kills nodes at random under load, then proves that nothing acknowledged was lost.
    Chaos {
        /// How often a node is killed.
        #[arg(long, value_name = "COUNT", default_value_t = 200)]
        kills: u32,
        /// Draws all chance; by default the clock chooses, and it is printed.
        #[arg(long)]
        seed: Option<u64>,
        /// Leaves keys, journals, jobs and logs in place at the end.
        #[arg(long)]
        keep: bool,
        /// Prints the outcome as one JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Stands between a provider and its worker and falsifies what comes out or goes in.
    #[command(name = liar::VERB, hide = true)]
    LyingWorker {
        /// What is false: outputs, middle, overclaim or shared.
        lie: liar::Lie,
        /// The real `ion`.
        program: PathBuf,
        /// What the provider asks of its worker.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Starts a network and leaves it running until Ctrl-C.
    Up {
        /// Nodes that offer their devices.
        #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = at_most_nodes())]
        providers: usize,
        /// Nodes that only order.
        #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = at_most_nodes())]
        light: usize,
        /// Which devices providers offer.
        #[arg(long, default_value = "auto", value_parser = BACKENDS)]
        backend: String,
    },
}

/// A machine has room for some dozens.
fn at_most_nodes() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u8).range(0..=64).map(usize::from)
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nfailed: {error:#}");
            match error.downcast_ref::<fit::Unfit>() {
                Some(unfit) => {
                    eprintln!("hint: {}", unfit.hint);
                    UNFIT.into()
                }
                None => {
                    eprintln!(
                        "hint: the nodes' own logs say more; `--keep` of `demo` and `chaos` leaves them in place"
                    );
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    if let Verb::LyingWorker { lie, program, args } = &cli.verb {
        return liar::run(*lie, program, args);
    }
    // Ctrl-C is how `up` is meant to end.
    cleanup::on_interrupt(matches!(cli.verb, Verb::Up { .. }))?;
    let ion = Ion::new(binary::find(cli.ion)?);
    match cli.verb {
        Verb::Demo { small, keep, json, out, backend } => {
            fit::lends(&ion, &backend)?;
            let outcome = demo::run(ion, &demo::Options { small, keep, out, backend })?;
            print(json, &outcome, demo::Outcome::lines)?;
        }
        Verb::Chaos { kills, seed, keep, json } => {
            let seed = seed.unwrap_or_else(ion_testnet::report::unix_ms);
            let outcome = chaos::run(ion, &chaos::Options { kills, seed, keep })?;
            print(json, &outcome, chaos::Outcome::lines)?;
        }
        Verb::Up { providers, light, backend } => {
            fit::lends(&ion, &backend)?;
            up::run(ion, providers, light, &backend)?;
        }
        Verb::LyingWorker { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn print<T: serde::Serialize>(json: bool, outcome: &T, lines: impl Fn(&T) -> Vec<String>) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(outcome)?);
    } else {
        lines(outcome).iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
