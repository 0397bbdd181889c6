//! Examples in the help of every verb, and what else stands under them. Each is parsed by a test, so that none goes stale.

pub const STATUS: &str = "\
Examples:
  ion status
  ion status --json | jq -r '.addresses[0]'     what others join through";

pub const OFFERS: &str = "\
Examples:
  ion offers
  ion offers --json | jq '.[].price_nano_io_per_second'

GFLOPS as measured, and what that is of the maker's figure. FREE devices, and jobs that wait. DONE of the jobs that this \
node gave it. CLAIM: whether its rate held when it was challenged.";

pub const EVENTS: &str = "\
Examples:
  ion events
  ion events --json | jq 'select(.event == \"job-ended\")'

Earlier ones are in events.jsonl in the data directory.";

pub const NODE: &str = "\
Examples:
  ion node                                     offer this machine's devices
  ion node --price '0.002 IO' --region eu-west
  ion node --light --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW..
  ion node --json | jq .                       every event as a line of JSON

Ctrl-C finishes what runs and stops; a second Ctrl-C stops at once.";

pub const RUN: &str = "\
Examples:
  ion run job.toml --out results
  ion run job.toml --verify 16      check 16 random blocks of the result, not 4
  ion run job.toml --dry-run        check the manifest, and say who would run it at what price
  ion run job.toml --detach         leave it to the running node: see `ion jobs`, then `ion fetch`
  ion run job.toml --json           every event as a line of JSON, then the outcome

Without a running node a light one is started for this job; it joins through --bootstrap or through the peers that \
an earlier run met. Ctrl-C cancels the job; a second Ctrl-C leaves at once, and the job goes on when a node runs.";

pub const RECEIPTS: &str = "\
Examples:
  ion receipts list --side provider
  ion receipts show 5c1d
  ion receipts export 5c1d --out receipt.json
  ion receipts verify receipt.json          needs no node and no network

Where no node runs, its journal is read.";

pub const RECEIPTS_LIST: &str = "\
Examples:
  ion receipts list --side provider     what you earned
  ion receipts list --job 3fa9 --json";

pub const RECEIPTS_SHOW: &str = "\
Example:
  ion receipts show 5c1d";

pub const RECEIPTS_VERIFY: &str = "\
Example:
  ion receipts verify receipt.json";

pub const RECEIPTS_EXPORT: &str = "\
Examples:
  ion receipts export 5c1d --out receipt.json
  ion receipts export 5c1d > receipt.json";

pub const CHALLENGE: &str = "\
Examples:
  ion challenge 3f9a                     device 0 of the provider whose id begins so
  ion challenge 3f9a 77c0                both at the same moment: is one device sold twice?
  ion challenge 3f9a --out proof.json    everything that was said, for anybody to check
  ion challenge verify proof.json

The device computes a product that takes it about five seconds by its own claim, and shows rows of it.

A provider takes a challenge while the device is idle, and gives them 0.3 % of its time.";

pub const CHALLENGE_VERIFY: &str = "\
Example:
  ion challenge verify proof.json";

pub const DOCTOR: &str = "\
Examples:
  ion doctor
  ion doctor --backend cuda --listen /ip4/0.0.0.0/tcp/4001
  ion doctor --json | jq '.findings[] | select(.verdict == \"problem\")'

Exit code 0 if a node started so would offer a device, 3 if not. Nothing is changed.";

pub const DEVICES: &str = "\
Examples:
  ion devices
  ion devices pause 0           what runs is finished
  ion devices pause 0 --now     what runs is stopped, and runs elsewhere
  ion devices resume 0

A pause holds until it is taken back, over restarts too.

CAP is the compute capability, GOPS are whole words (what challenges measure), GB/S of its memory, IN and OUT GB/s to and from it.

What a GPU does is measured once for its driver and clocks, and again after a week; without measured.json in the data directory, at the next start.";

pub const PAUSE: &str = "\
Examples:
  ion devices pause 0
  ion devices pause 0 --now     what runs is stopped, and runs elsewhere";

pub const RESUME: &str = "\
Example:
  ion devices resume 0";

pub const FETCH: &str = "\
Examples:
  ion run job.toml --detach
  ion fetch 3fa9 --out results

Each buffer that is delivered becomes BUFFER.npy (.bin where numpy knows no such type). Results stay with the node until room is needed (--blob-quota).";

pub const JOB: &str = "\
Examples:
  ion jobs
  ion why 3fa9
  ion cancel 3fa9

A job is named by its id, or by enough of its first digits. Where no node runs, `ion jobs` and `ion why` read its journal.";

pub const JOBS: &str = "\
Examples:
  ion jobs
  ion jobs 3fa9
  ion jobs --json | jq '.[] | select(.state == \"failed\")'

Where no node runs, its journal is read: what it knew when it stopped.";

pub const KEY: &str = "\
Examples:
  ion key show
  ion key new --data-dir /srv/ion

The secret never leaves its file; only its public half, the node id, is shown.";

pub const EXEC: &str = "\
Examples:
  ion exec job.toml --backend cpu --out results
  ion exec job.toml --backend cuda --json

The program runs in a child process, exactly as a provider would run it.";

pub const PTX: &str = "\
Examples:
  ion ptx check kernels.ptx
  ion ptx print kernels.ptx > canonical.ptx";

pub const PTX_CHECK: &str = "\
Examples:
  ion ptx check kernels.ptx
  ion ptx check kernels.ptx --json";

pub const PTX_PRINT: &str = "\
Example:
  ion ptx print kernels.ptx > canonical.ptx";

pub const BENCH: &str = "\
Examples:
  ion bench
  ion bench --transfer '256 MiB' --jobs 100 --json
  ion bench --busy --backend cuda

Two nodes are started on this machine's loopback for it, in a directory of their own.";

pub const STOP: &str = "\
Examples:
  ion stop          take no new work, finish what runs, then stop
  ion stop --now";

pub const COMPLETIONS: &str = "\
Example:
  ion completions bash > ~/.local/share/bash-completion/completions/ion";

#[cfg(test)]
mod tests {
    use super::super::Args;
    use clap::{Command, CommandFactory, Parser};

    /// A shell's words up to a comment (two spaces), a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => {
                    words.extend(word.take());
                    if matches!(rest.peek(), Some(' ' | '|' | '>') | None) {
                        break;
                    }
                }
                _ => word.get_or_insert_default().push(c),
            }
        }
        assert!(!quoted, "an open quote in {line}");
        words.extend(word);
        words
    }

    /// Every command below this one, with the way to it.
    fn all<'c>(way: &str, command: &'c Command, found: &mut Vec<(String, &'c Command)>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let way = format!("{way} {}", verb.get_name());
            all(&way, verb, found);
            found.push((way, verb));
        }
    }

    #[test]
    fn whatever_takes_arguments_shows_an_example_and_each_is_understood() {
        let mut root = Args::command();
        root.build();
        let mut verbs = Vec::new();
        all("ion", &root, &mut verbs);
        let mut parsed = 0;
        for (way, verb) in &verbs {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let own = |arg: &&clap::Arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help";
            let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ion ")).collect();
            let takes = verb.get_arguments().any(|arg| own(&arg));
            assert!(!takes || !examples.is_empty(), "no example in the help of `{way}`");
            // What it shows is of itself, as of others.
            let shown = examples.iter().any(|example| format!("ion {example}").starts_with(way.as_str()));
            assert!(examples.is_empty() || shown, "none of `{way}` among its examples");
            for example in examples {
                let typed = [vec!["ion".to_owned()], words(example)].concat();
                if let Err(error) = Args::try_parse_from(&typed) {
                    panic!("{way}: {typed:?}: {error}");
                }
                parsed += 1;
            }
        }
        assert!(verbs.len() > 25 && parsed > 40, "{} verbs, {parsed} examples", verbs.len());
    }
}
