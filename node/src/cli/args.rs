//! What can be typed.

use super::examples;
use crate::{
    config::{self, KeepFree, quantity},
    owner::Hours,
};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, ValueHint};
use ion_protocol::{Bytes, NanoIo, limits};
use std::path::PathBuf;

/// Heading of the options that every verb takes.
const EVERYWHERE: &str = "Options of every command";

const LONG_ABOUT: &str = "\
Ion lends and borrows GPUs between peers: no server, no chain.

A node offers its devices (`ion node`), or only submits jobs (`ion node --light`). A job is a TOML manifest \
beside its files (`ion run JOB.toml`). Every job ends with a receipt that both sides signed.";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the job failed, 2 usage or a mistake in a manifest, 3 trouble with the node.
The data directory is --data-dir, else $ION_DATA_DIR, else $XDG_DATA_HOME/ion, else ~/.local/share/ion.";

/// Lend and borrow GPUs between peers.
#[derive(Debug, Parser)]
#[command(name = "ion", version, long_about = LONG_ABOUT, after_help = EXIT_CODES, max_term_width = 110)]
#[command(arg_required_else_help = true, subcommand_required = true, infer_subcommands = false)]
pub struct Args {
    /// For every verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Clone, Debug, ClapArgs)]
pub struct Common {
    /// Where the node's key, journal and blobs are
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Print JSON with stable field names
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Say more on stderr; repeat for still more, or set $RUST_LOG (`ion_node::net=debug`)
    #[arg(short, long, global = true, help_heading = EVERYWHERE, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say less on stderr: errors only
    #[arg(short, long, global = true, help_heading = EVERYWHERE, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a node until it is told to stop
    Node(NodeArgs),
    /// How the running node is
    #[command(after_help = examples::STATUS)]
    Status,
    /// The running node's devices: what is offered, what not, and why; pause and resume them
    Devices(DevicesArgs),
    /// What this machine lacks for lending its devices, and what to do about it
    Doctor(DoctorArgs),
    /// The offers of others that the running node knows
    #[command(after_help = examples::OFFERS)]
    Offers,
    /// Run a job somewhere in the network and fetch its results
    Run(RunArgs),
    /// Write the results of a job that is done
    Fetch(FetchArgs),
    /// This node's jobs, or one of them
    Jobs(JobsArgs),
    /// Stop a job
    Cancel(JobArgs),
    /// Hold a provider's device to the rate it claims, or check a challenge that somebody made
    Challenge(ChallengeArgs),
    /// Why a job is where it is, and not elsewhere
    Why(JobArgs),
    /// What happens on the running node, as it happens
    #[command(after_help = examples::EVENTS)]
    Events,
    /// Receipts of this node, and proofs of anybody's
    Receipts(ReceiptsArgs),
    /// This node's key
    Key(KeyArgs),
    /// Run a job on this machine, without any network
    Exec(ExecArgs),
    /// Check or print a PTX file as this network's devices read it
    Ptx(PtxArgs),
    /// Measure this machine and this build, against yardsticks of the same run
    Bench(BenchArgs),
    /// Stop the running node
    Stop(StopArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// `ion node`
#[derive(Debug, ClapArgs)]
#[command(after_help = examples::NODE)]
pub struct NodeArgs {
    /// Submit jobs only: offer no devices, serve nobody
    #[arg(long, conflicts_with = "relay")]
    pub light: bool,
    /// Help others find each other: offer no devices
    #[arg(long)]
    pub relay: bool,
    /// Where to listen, as a multiaddress; may be repeated [default: any free port]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// How to join.
    #[command(flatten)]
    pub join: JoinArgs,
    /// Price of one second of device time [default: 0.0005 IO]
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::price, conflicts_with_all = ["light", "relay"])]
    pub price: Option<NanoIo>,
    /// Which devices to offer
    #[arg(long, value_enum, default_value_t = Backend::Auto, conflicts_with_all = ["light", "relay"])]
    pub backend: Backend,
    /// Where this node is, for jobs that care (`eu-west`)
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Most bytes of inputs and results to keep [default: 32 GiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes)]
    pub blob_quota: Option<Bytes>,
    /// Share of the machine's memory for jobs on the processor, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = config::MEMORY_PERCENT_DEFAULT,
          value_parser = quantity::memory_percent)]
    pub memory_percent: u8,
    /// Whether to challenge others' devices unasked, to see whether they are what they claim: off, auto (every 2 min or so)
    /// or a time; one challenge at a time, never while own jobs are under way
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = quantity::challenge, conflicts_with = "relay")]
    pub challenge: config::Challenge,
    /// What stays yours.
    #[command(flatten)]
    pub owner: OwnerArgs,
}

/// What an owner keeps, and when; for nodes that offer devices.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Owner first")]
pub struct OwnerArgs {
    /// Memory of each device that no job gets: a share, or a size (`20%`, `2 GiB`) [default: none]
    #[arg(long, value_name = "SHARE", value_parser = quantity::keep_free, conflicts_with_all = ["light", "relay"])]
    pub keep_free: Option<KeepFree>,
    /// When devices are lent, in UTC (`22:00-07:00`); what runs at the end is finished [default: always]
    #[arg(long, value_name = "FROM-TO", value_parser = Hours::parse, conflicts_with_all = ["light", "relay"])]
    pub hours: Option<Hours>,
    /// Warmest at which a GPU works for others, in degrees Celsius; needs NVIDIA's management library
    /// [default: any]
    #[arg(long, value_name = "DEGREES", value_parser = clap::value_parser!(u16).range(30..=120), conflicts_with_all = ["light", "relay"])]
    pub celsius_max: Option<u16>,
    /// Draw above which a GPU takes no more jobs, in watts; needs NVIDIA's management library [default: any]
    #[arg(long, value_name = "WATTS", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["light", "relay"])]
    pub watts_max: Option<u32>,
    /// Go on when other programs compute on a GPU too
    #[arg(long, conflicts_with_all = ["light", "relay"])]
    pub no_yield: bool,
}

/// How a node joins.
#[derive(Clone, Debug, ClapArgs)]
pub struct JoinArgs {
    /// A node to join through, as a multiaddress ending in /p2p/..; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub bootstrap: Vec<String>,
    /// The network to join; part of every signature
    #[arg(long, value_name = "NAME", default_value = config::NETWORK_DEFAULT, value_parser = quantity::network)]
    pub network: String,
}

/// Backends as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// CUDA devices where there are any, else the processor
    Auto,
    /// CUDA devices only
    Cuda,
    /// The processor only
    Cpu,
}

impl From<Backend> for config::Backend {
    fn from(typed: Backend) -> Self {
        match typed {
            Backend::Auto => config::Backend::Auto,
            Backend::Cuda => config::Backend::Cuda,
            Backend::Cpu => config::Backend::Cpu,
        }
    }
}

/// `ion doctor`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::DOCTOR
)]
pub struct DoctorArgs {
    /// Which devices would be offered
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub backend: Backend,
    /// Where the node would listen, as a multiaddress; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
}

/// `ion devices`
#[derive(Debug, ClapArgs)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = examples::DEVICES
)]
pub struct DevicesArgs {
    /// What to do with one.
    #[command(subcommand)]
    pub verb: Option<DevicesVerb>,
}

/// What an owner can do with a device.
#[derive(Debug, Subcommand)]
pub enum DevicesVerb {
    /// Lend a device no more
    #[command(after_help = examples::PAUSE)]
    Pause {
        /// Its number in `ion devices`
        #[arg(value_name = "DEVICE", value_parser = quantity::device)]
        device: u16,
        /// Stop what runs, rather than finish it
        #[arg(long)]
        now: bool,
    },
    /// Lend a device again
    #[command(after_help = examples::RESUME)]
    Resume {
        /// Its number in `ion devices`
        #[arg(value_name = "DEVICE", value_parser = quantity::device)]
        device: u16,
    },
}

/// A provider that makes up half of its blocks passes once in 16 jobs, one that makes up all never; and four blocks of
/// a grid of thousands cost next to nothing.
const VERIFY_DEFAULT: u16 = 4;

/// `ion run`
#[derive(Debug, ClapArgs)]
#[command(after_help = examples::RUN)]
pub struct RunArgs {
    /// The job's manifest
    #[arg(value_name = "JOB.toml", value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
    /// Where results are written
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Check everything and say who would run it; send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Blocks to run again on this machine, bit for bit, before the result is accepted and owed; 0 for none. They are drawn
    /// from the last launch, or from all where what goes before it is long and the provider keeps the memory in between
    #[arg(long, value_name = "COUNT", default_value_t = VERIFY_DEFAULT,
          value_parser = clap::value_parser!(u16).range(0..=limits::CHECK_BLOCKS_MAX as i64))]
    pub verify: u16,
    /// Leave the job to the running node once it is durable there; `ion fetch` writes its results later
    #[arg(long, conflicts_with_all = ["bootstrap", "dry_run"])]
    pub detach: bool,
    /// Fail rather than start a node, if none is running
    #[arg(long, conflicts_with = "bootstrap")]
    pub no_start: bool,
    /// How to join, if no node runs.
    #[command(flatten)]
    pub join: JoinArgs,
}

/// `ion fetch`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::FETCH
)]
pub struct FetchArgs {
    /// The job's id, or its first digits
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Where results are written
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
}

/// A verb about one job.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::JOB
)]
pub struct JobArgs {
    /// The job's id, or its first digits
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// `ion jobs`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::JOBS
)]
pub struct JobsArgs {
    /// One job's id, or its first digits, to see all of it
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
}

/// `ion receipts`
#[derive(Debug, ClapArgs)]
#[command(after_help = examples::RECEIPTS)]
pub struct ReceiptsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub verb: ReceiptsVerb,
}

/// What can be done with receipts.
#[derive(Debug, Subcommand)]
pub enum ReceiptsVerb {
    /// List this node's receipts, newest first
    #[command(after_help = examples::RECEIPTS_LIST)]
    List {
        /// Of this job: its id, or its first digits
        #[arg(long, value_name = "JOB")]
        job: Option<String>,
        /// Where this node was the provider or the requester
        #[arg(long, value_enum)]
        side: Option<Side>,
        /// At most this many; 0 for all
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        limit: u32,
    },
    /// Show one receipt of this node
    #[command(after_help = examples::RECEIPTS_SHOW)]
    Show {
        /// The receipt's id or its job's, or the first digits of one
        #[arg(value_name = "RECEIPT")]
        prefix: String,
    },
    /// Prove an exported receipt, offline
    #[command(after_help = examples::RECEIPTS_VERIFY)]
    Verify {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Write one receipt of this node to a file that anybody can verify
    #[command(after_help = examples::RECEIPTS_EXPORT)]
    Export {
        /// The receipt's id or its job's, or the first digits of one
        #[arg(value_name = "RECEIPT")]
        prefix: String,
        /// Where to; stdout unless given
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
}

/// `ion challenge`
#[derive(Debug, ClapArgs)]
#[command(after_help = examples::CHALLENGE, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct ChallengeArgs {
    /// Check, rather than challenge.
    #[command(subcommand)]
    pub verb: Option<ChallengeVerb>,
    /// The providers, by the first digits of their ids; all are challenged at the same moment
    #[arg(value_name = "PEER")]
    pub peers: Vec<String>,
    /// Which device of each
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = quantity::device)]
    pub device: u16,
    /// Where to write what was said; with several peers, the start of each id is added to the name
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

/// What else can be done with challenges.
#[derive(Debug, Subcommand)]
pub enum ChallengeVerb {
    /// Check a challenge that was written to a file, offline: signatures, rows, and the verdict
    #[command(after_help = examples::CHALLENGE_VERIFY)]
    Verify {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// Sides as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// It ran the job
    Provider,
    /// It ordered the job
    Requester,
}

/// `ion key`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::KEY
)]
pub struct KeyArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: KeyVerb,
}

/// What can be done with the key.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Show who this node is
    Show,
    /// Draw a key where there is none yet
    New,
}

/// `ion exec`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::EXEC
)]
pub struct ExecArgs {
    /// The job's manifest
    #[arg(value_name = "JOB.toml", value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
    /// On what
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub backend: Backend,
    /// Where results are written
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
}

/// `ion ptx`
#[derive(Debug, ClapArgs)]
#[command(after_help = examples::PTX)]
pub struct PtxArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: PtxVerb,
}

/// What can be done with a PTX file.
#[derive(Debug, Subcommand)]
pub enum PtxVerb {
    /// Read it, and say what its kernels take and need
    #[command(after_help = examples::PTX_CHECK)]
    Check {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Print its canonical form: the text that devices see
    #[command(after_help = examples::PTX_PRINT)]
    Print {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// `ion bench`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::BENCH
)]
pub struct BenchArgs {
    /// Empty jobs to dispatch one at a time, and again with several in flight
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(8..=100_000))]
    pub jobs: u32,
    /// Size of the blob to transfer
    #[arg(long, value_name = "SIZE", default_value = "1 GiB", value_parser = quantity::bytes)]
    pub transfer: Bytes,
    /// How long to write the journal, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub journal_seconds: u64,
    /// On what a device is kept busy
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub backend: Backend,
    /// Only look how busy a device is kept while jobs of 20 ms wait for it
    #[arg(long)]
    pub busy: bool,
    /// Be the other process of the round trips: print an address and send back what comes
    #[arg(long, hide = true)]
    pub echo: bool,
}

/// `ion stop`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = examples::STOP
)]
pub struct StopArgs {
    /// Do not wait for what runs
    #[arg(long)]
    pub now: bool,
}

/// `ion completions`
#[derive(Debug, ClapArgs)]
#[command(after_help = examples::COMPLETIONS)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
