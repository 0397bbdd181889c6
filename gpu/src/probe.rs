//! What this machine can compute on, found out by a child process so that a broken driver breaks nothing else.
//!
//! Owns the typed answers and their words; [`crate::worker`] asks the driver, the node's `workers` module sets the
//! deadline. Every way a driver can be absent or broken has its own answer with what to do about it. Tests:
//! `node/tests/workers.rs` (stub library, hanging and crashing probes).

use ion_protocol::{
    Millis,
    codec::{Decode, Encode, bincode_crate},
    hardware::Device,
};
use serde::Serialize;
use std::fmt;

/// What was found, and the devices that can be offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// How it stands with CUDA.
    pub cuda: CudaState,
    /// Whether CUDA C can be compiled here.
    pub nvrtc: bool,
    /// Devices to offer, in order of their index.
    pub devices: Vec<Device>,
}

/// How it stands with CUDA on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[bincode(crate = "bincode_crate")]
#[serde(rename_all = "kebab-case", tag = "state")]
#[allow(missing_docs, reason = "the words are in `Display`")]
pub enum CudaState {
    /// The owner chose the processor.
    NotAsked,
    /// The driver is installed and at least one device ran a kernel.
    Works {
        /// Highest CUDA version of the driver: 13000 is 13.0.
        driver: u32,
        /// What is wrong with devices that were left out.
        left_out: Vec<String>,
    },
    /// No library of the driver's name can be loaded.
    NoLibrary,
    /// A library of that name exists, and it is no driver.
    StubLibrary { why: String },
    /// The driver does not start.
    InitFailed { code: String },
    /// The driver starts and has no device.
    NoDevice,
    /// Devices exist, and none runs a kernel.
    KernelFailed { why: String },
    /// The child that asked the driver died.
    ProbeCrashed { how: String },
    /// The child that asked the driver did not come back.
    ProbeHung { after: Millis },
    /// The child said something that is no answer.
    ProbeBabbled { what: String },
}

impl CudaState {
    /// What the owner of a GPU can do about it; `None` where all is well.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CudaState::NotAsked | CudaState::Works { .. } => None,
            CudaState::NoLibrary => Some(
                "install NVIDIA's driver, or put the folder of libcuda.so.1 into LD_LIBRARY_PATH; in a container, \
                 start it with `--gpus all`",
            ),
            CudaState::StubLibrary { .. } => Some(
                "a stub libcuda (as in a toolkit's `stubs` folder or a build image) comes before the driver's own: \
                 take its folder out of LD_LIBRARY_PATH, or start the container with `--gpus all`",
            ),
            CudaState::InitFailed { .. } => Some(
                "`nvidia-smi` should say the same; usual causes are a driver updated without a restart, and \
                 /dev/nvidia* this user cannot open",
            ),
            CudaState::NoDevice => {
                Some("check `nvidia-smi -L`, and that CUDA_VISIBLE_DEVICES does not hide the device")
            }
            CudaState::KernelFailed { .. } => Some(
                "check `nvidia-smi -q` for memory errors and for a process that holds the device exclusively",
            ),
            CudaState::ProbeCrashed { .. } | CudaState::ProbeHung { .. } | CudaState::ProbeBabbled { .. } => {
                Some(
                    "the driver is broken or busy: see whether `nvidia-smi` works; restart the node after repairing it, \
                 or start it with `--backend cpu`",
                )
            }
        }
    }
}

impl fmt::Display for CudaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CudaState::NotAsked => f.write_str("not looked for"),
            CudaState::Works { driver, left_out } => {
                write!(f, "driver for CUDA {}.{}", driver / 1000, driver % 1000 / 10)?;
                left_out.iter().try_for_each(|what| write!(f, "; left out: {what}"))
            }
            CudaState::NoLibrary => f.write_str("no NVIDIA driver is installed (libcuda.so.1 is not found)"),
            CudaState::StubLibrary { why } => write!(f, "libcuda is present and is not a driver ({why})"),
            CudaState::InitFailed { code } => write!(f, "the NVIDIA driver does not start ({code})"),
            CudaState::NoDevice => f.write_str("the NVIDIA driver works and sees no GPU"),
            CudaState::KernelFailed { why } => write!(f, "no GPU could run a test kernel ({why})"),
            CudaState::ProbeCrashed { how } => {
                write!(f, "asking the NVIDIA driver crashed the child ({how})")
            }
            CudaState::ProbeHung { after } => write!(f, "the NVIDIA driver did not answer within {after}"),
            CudaState::ProbeBabbled { what } => {
                write!(f, "the probe did not answer in its protocol ({what})")
            }
        }
    }
}
