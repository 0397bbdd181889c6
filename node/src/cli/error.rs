//! How a verb can end, and what is said then.

use super::output::{self, printable};
use crate::{
    control::ControlError,
    driver::NodeError,
    files,
    identity::IdentityError,
    ledger::{JournalError, LedgerError},
    manifest::{ManifestError, Mistake},
    net::NetError,
    show::{ReceiptFileError, ShowError, TranscriptFileError},
};
use serde::Serialize;
use std::{io, process::ExitCode};

/// Exit codes; scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Done = 0,
    /// The job failed or was cancelled; or a proof did not hold.
    Failed = 1,
    /// The command line, a manifest or another file given is wrong.
    Usage = 2,
    /// The node or this machine is in trouble.
    Node = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The way out where the machine itself refuses.
pub const SYSTEM_HINT: &str =
    "the system is out of memory, threads or descriptors; close something and try again";

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    message: String,
    hint: String,
    mistakes: Vec<Mistake>,
    closed_pipe: bool,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    error: &'a str,
    hint: &'a str,
    exit: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<MistakeJson<'a>>,
}

#[derive(Serialize)]
struct MistakeJson<'a> {
    #[serde(flatten)]
    mistake: &'a Mistake,
    hint: String,
}

impl CliError {
    /// Of this kind, with the way out.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { exit, message, hint, mistakes: Vec::new(), closed_pipe: false }
    }

    /// What was typed is wrong.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, hint)
    }

    /// The node or the machine is in trouble.
    pub fn node(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Node, message, hint)
    }

    /// The job did not succeed.
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message, hint)
    }

    /// Whether stdout's reader left (`ion jobs | head`): no error at all.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// Tells it: in words, or as JSON, on stderr.
    pub fn print(&self, json: bool) {
        if json {
            let (error, hint, exit) = (self.message.as_str(), self.hint.as_str(), self.exit as u8);
            let mistakes = self.mistakes.iter().map(|mistake| MistakeJson { mistake, hint: mistake.hint() });
            let line = ErrorJson { error, hint, exit, mistakes: mistakes.collect() };
            return output::note(&serde_json::to_string(&line).unwrap_or_else(|_| self.message.clone()));
        }
        output::note(&self.text());
    }

    /// In words. What strangers wrote (a file to be checked, a peer's reason) may stand in them.
    fn text(&self) -> String {
        let start = if self.mistakes.is_empty() { "error: " } else { "" };
        let hint = if self.hint.is_empty() { String::new() } else { format!("\n\nhint: {}", self.hint) };
        let text = format!("{start}{}{hint}", self.message);
        text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
    }
}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        let hint = match &error {
            ControlError::NotRunning { .. } => {
                "start one with `ion node`, or name its directory with `--data-dir`"
            }
            ControlError::AlreadyRunning { .. } => "see it with `ion status`, stop it with `ion stop`",
            ControlError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "only the node's owner may speak with it; be that user, or choose another `--data-dir`"
            }
            ControlError::Io { .. } | ControlError::Line(_) => {
                "see whether the disk is full and the node still runs"
            }
            ControlError::PathTooLong { .. } => "choose a shorter directory with `--data-dir`",
            ControlError::Version { .. } | ControlError::Unexpected { .. } => {
                "stop the running node with its own release, then start this one"
            }
            ControlError::HungUp => "start it again with `ion node`; nothing acknowledged is lost",
            ControlError::Refused { hint, .. } => return Self::node(error.to_string(), hint.clone()),
        };
        Self::node(error.to_string(), hint)
    }
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Identity(error) => error.into(),
            NodeError::Control(error) => error.into(),
            NodeError::Net(error) => error.into(),
            NodeError::Ledger(LedgerError::InUse { .. }) => {
                Self::node(error.to_string(), "see it with `ion status`, stop it with `ion stop`")
            }
            NodeError::Ledger(LedgerError::Journal(JournalError::OtherNetwork { .. })) => Self::node(
                error.to_string(),
                "name the network it was made for with `--network` (unless told otherwise, `ion`)",
            ),
            NodeError::Ledger(LedgerError::Journal(JournalError::Gone { .. })) => Self::node(
                error.to_string(),
                "the index of receipts can be made again from the journal, the journal from nothing",
            ),
            NodeError::Ledger(LedgerError::Journal(_)) => Self::node(
                error.to_string(),
                "keep the damaged file; receipts exported before prove themselves with `ion receipts verify`",
            ),
            // These messages say the way out themselves.
            NodeError::DataDir { .. } | NodeError::Ledger(_) | NodeError::Blobs(_) => Self::node(
                error.to_string(),
                "see whether the disk is full, and whose the directory is; `--data-dir` chooses another",
            ),
            NodeError::OwnProgram(_) => Self::node(error.to_string(), SYSTEM_HINT),
            NodeError::Broke(_) => {
                Self::node(error.to_string(), "start it again; nothing acknowledged is lost. `-v` says more")
            }
        }
    }
}

impl From<NetError> for CliError {
    fn from(error: NetError) -> Self {
        let message = error.to_string();
        match error {
            NetError::BadAddress { .. } | NetError::TooManyAddresses { .. } => Self::usage(
                message,
                "addresses are like `/ip4/0.0.0.0/tcp/4001` to listen on, and end in `/p2p/ID` for a peer",
            ),
            NetError::PortInUse { .. } => {
                Self::node(message, "`ion status` says whether it is a node of yours that listens there")
            }
            NetError::Listen { .. } | NetError::Transport(_) => {
                Self::node(message, "`ion doctor` says what it finds of this machine")
            }
        }
    }
}

impl From<ManifestError> for CliError {
    fn from(error: ManifestError) -> Self {
        let message = error.to_string();
        match error {
            ManifestError::Mistakes(mistakes) => {
                let what = if mistakes.len() == 1 { "the mistake" } else { "the mistakes" };
                let hint = format!("correct {what} above; nothing was run");
                Self { mistakes, ..Self::usage(message, hint) }
            }
            ManifestError::Unreadable { .. } => {
                Self::usage(message, "give the path of a job's manifest, like `job.toml`")
            }
            ManifestError::NotText { .. } => {
                Self::usage(message, "a job is a TOML text; `node/jobs` in the repository has examples")
            }
        }
    }
}

impl From<IdentityError> for CliError {
    fn from(error: IdentityError) -> Self {
        // These messages say the way out themselves.
        let hint = match &error {
            IdentityError::Exists { .. } => "`ion key show` says whose it is",
            IdentityError::Io { source, .. } if files::is_full(source) => {
                "make room on its disk, or choose another directory with `--data-dir`"
            }
            IdentityError::Io { .. } => "choose another directory with `--data-dir`",
            IdentityError::Loose { .. }
            | IdentityError::LooseDir { .. }
            | IdentityError::Damaged { .. }
            | IdentityError::Random(_) => "who can read the key file is this node",
        };
        Self::node(error.to_string(), hint)
    }
}

impl From<ShowError> for CliError {
    fn from(error: ShowError) -> Self {
        Self::node(error.to_string(), "choose another directory with `--out`; the results stay with the node")
    }
}

impl From<ReceiptFileError> for CliError {
    fn from(error: ReceiptFileError) -> Self {
        match &error {
            ReceiptFileError::Unreadable { .. }
            | ReceiptFileError::TooLarge { .. }
            | ReceiptFileError::Json(_) => {
                Self::usage(error.to_string(), "give a file written by `ion receipts export`")
            }
            ReceiptFileError::Version { .. } => {
                Self::usage(error.to_string(), "use the release that wrote the file")
            }
            ReceiptFileError::Hex { .. }
            | ReceiptFileError::Unproven { .. }
            | ReceiptFileError::Shown { .. } => Self::failed(
                format!("the receipt proves nothing: {error}"),
                "ask whoever gave it to you for the original",
            ),
        }
    }
}

impl From<TranscriptFileError> for CliError {
    fn from(error: TranscriptFileError) -> Self {
        match &error {
            TranscriptFileError::Unreadable { .. }
            | TranscriptFileError::TooLarge { .. }
            | TranscriptFileError::Json(_) => {
                Self::usage(error.to_string(), "give a file written by `ion challenge PEER --out FILE`")
            }
            TranscriptFileError::Version { .. } => {
                Self::usage(error.to_string(), "use the release that wrote the file")
            }
            TranscriptFileError::Hex(_)
            | TranscriptFileError::Transcript(_)
            | TranscriptFileError::Shown
            | TranscriptFileError::Verdict { .. } => Self::failed(
                format!("the transcript proves nothing: {error}"),
                "ask whoever gave it to you for the original, or challenge the provider yourself",
            ),
        }
    }
}

/// Writing to stdout failed.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            closed_pipe,
            ..Self::node(format!("could not write the output: {error}"), "see whether the disk is full")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::ReceiptFile;

    #[test]
    fn a_strangers_file_does_not_speak_to_the_terminal() {
        let json = r#"{"ion_receipt":2,"\u001b]0;mine\u0007":1}"#;
        let error = serde_json::from_str::<ReceiptFile>(json).unwrap_err();
        let text = CliError::from(ReceiptFileError::from(error)).text();
        assert!(
            text.starts_with("error: this is no exported receipt: unknown field") && text.contains("hint: ")
        );
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(CliError::usage("two\nlines", "").text(), "error: two\nlines");
    }
}
