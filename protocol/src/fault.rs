//! How a program can end other than well: each told as what it is, with whose fault it was.

use crate::{
    codec::{Decode, Encode},
    units::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where in a kernel something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Place {
    /// Entry name.
    pub kernel: String,
    /// Line of the module's text, from 1; 0 where unknown.
    pub line: u32,
    /// Block in x, y, z.
    pub block: [u32; 3],
    /// Thread in x, y, z.
    pub thread: [u32; 3],
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}`", self.kernel)?;
        if self.line > 0 {
            write!(f, ", line {}, block {:?}, thread {:?}", self.line, self.block, self.thread)?;
        }
        Ok(())
    }
}

/// Why a program did not finish.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Fault {
    /// A module is not PTX this node runs.
    #[error("module `{module}`, line {line}:{column}: {message}")]
    Ptx { module: String, line: u32, column: u32, message: String },
    /// The program does not fit its modules (absent kernel, wrong arguments).
    #[error("{message}")]
    Program { message: String },
    /// An access outside every buffer of its state space.
    #[error("out-of-bounds {space} access at address {address:#x} in {place}")]
    OutOfBounds { space: String, address: u64, place: Place },
    /// An access whose address is no multiple of its size.
    #[error("misaligned {space} access at address {address:#x} in {place}")]
    Misaligned { space: String, address: u64, place: Place },
    /// The kernel executed `trap`.
    #[error("trap in {place}")]
    Trap { place: Place },
    /// A device-side assertion failed.
    #[error("assertion failed in {place}: {message}")]
    Assert { message: String, place: Place },
    /// Threads of one block wait at different barriers, or some left.
    #[error("divergent barrier in {place}: threads of one block wait for each other for ever")]
    DivergentBarrier { place: Place },
    /// The driver reported an error of the job's own doing.
    #[error("the device reported {code}: {message}")]
    Device { code: String, message: String },
    /// Ran longer than the job's limit.
    #[error("ran longer than its limit of {limit}")]
    RunTime {
        #[serde(rename = "limit_ms", alias = "limit")]
        limit: Millis,
    },
    /// Executed more instructions than its budget.
    #[error("executed more than its budget of {limit} warp instructions")]
    Fuel {
        #[serde(rename = "limit_warp_instructions", alias = "limit")]
        limit: u64,
    },
    /// Needs more memory than allowed.
    #[error("needs {needed} of memory where {limit} are allowed")]
    Memory {
        #[serde(rename = "needed_bytes", alias = "needed")]
        needed: Bytes,
        #[serde(rename = "limit_bytes", alias = "limit")]
        limit: Bytes,
    },
    /// Printed more than allowed.
    #[error("printed more than {limit}")]
    Output {
        #[serde(rename = "limit_bytes", alias = "limit")]
        limit: Bytes,
    },
    /// The worker process died.
    #[error("the worker process died ({how})")]
    WorkerCrashed { how: String },
    /// The worker process said nothing for too long and was killed.
    #[error("the worker process was silent for {silent} and was killed")]
    WorkerHung {
        #[serde(rename = "silent_ms", alias = "silent")]
        silent: Millis,
    },
    /// The worker process sent something that is not a worker's frame.
    #[error("the worker process broke its protocol: {message}")]
    WorkerProtocol { message: String },
    /// The driver or device failed through no doing of the job.
    #[error("the device or its driver failed: {message}")]
    Driver { message: String },
    /// No device can run it here.
    #[error("{message}")]
    NoDevice { message: String },
    /// Inputs could not be fetched.
    #[error("inputs could not be fetched: {message}")]
    Inputs { message: String },
    /// The node's disk or memory gave out.
    #[error("the provider ran out of room: {message}")]
    Room { message: String },
    /// Somebody asked for it to stop.
    #[error("cancelled")]
    Cancelled,
    /// The provider's owner took the device back.
    #[error("cancelled by the provider's owner, who took the device back")]
    Withdrawn,
    /// Results were delivered, and whoever ordered them had no room for them.
    #[error("its results could not be taken in here: {message}")]
    Results { message: String },
}

/// Whose fault a fault is: decides whether the job is tried elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The program is wrong: it fails everywhere.
    Job,
    /// A limit the requester set.
    Limit,
    /// This machine: another may do better.
    Host,
    /// Nobody's.
    Cancelled,
}

impl Fault {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Fault::Ptx { .. }
            | Fault::Program { .. }
            | Fault::OutOfBounds { .. }
            | Fault::Misaligned { .. }
            | Fault::Trap { .. }
            | Fault::Assert { .. }
            | Fault::DivergentBarrier { .. }
            | Fault::Device { .. } => Blame::Job,
            Fault::RunTime { .. } | Fault::Fuel { .. } | Fault::Memory { .. } | Fault::Output { .. } => {
                Blame::Limit
            }
            Fault::WorkerCrashed { .. }
            | Fault::WorkerHung { .. }
            | Fault::WorkerProtocol { .. }
            | Fault::Driver { .. }
            | Fault::NoDevice { .. }
            | Fault::Inputs { .. }
            | Fault::Room { .. }
            | Fault::Withdrawn
            | Fault::Results { .. } => Blame::Host,
            Fault::Cancelled => Blame::Cancelled,
        }
    }

    /// Shortens free text to what the wire takes.
    pub fn bounded(mut self) -> Self {
        let text = match &mut self {
            Fault::Ptx { message, .. }
            | Fault::Program { message }
            | Fault::Assert { message, .. }
            | Fault::Device { message, .. }
            | Fault::WorkerProtocol { message }
            | Fault::Driver { message }
            | Fault::NoDevice { message }
            | Fault::Inputs { message }
            | Fault::Room { message }
            | Fault::Results { message } => message,
            Fault::WorkerCrashed { how } => how,
            Fault::OutOfBounds { .. }
            | Fault::Misaligned { .. }
            | Fault::Trap { .. }
            | Fault::DivergentBarrier { .. }
            | Fault::RunTime { .. }
            | Fault::Fuel { .. }
            | Fault::Memory { .. }
            | Fault::Output { .. }
            | Fault::WorkerHung { .. }
            | Fault::Cancelled
            | Fault::Withdrawn => return self,
        };
        let end = text.floor_char_boundary(crate::limits::TEXT_BYTES_MAX);
        text.truncate(end);
        self
    }
}
