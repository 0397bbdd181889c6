//! What this machine can compute on, found out by a child process so that a broken driver breaks nothing else.
//!
//! Owns the typed answers and their words; [`crate::worker`] asks the driver, the node's `workers` module sets the
//! deadline. Every way a driver can be absent or broken has its own answer with what to do about it. Tests:
//! `node/tests/workers.rs` (stub library, hanging and crashing probes).

use crate::{
    backend::Backend,
    cpu::CpuBackend,
    cuda,
    nvml::Card,
    power::{self, Measured},
    worker::{
        EngineChoice,
        frame::{Frame, read_frame, write_message},
        isolation::Isolation,
        sandbox,
    },
};
use ion_protocol::{
    Bytes, Millis,
    codec::{Decode, Encode, bincode_crate},
    hardware::{ComputeCapability, Device},
    limits,
};
use std::{fmt, fs::File, io::Read, process::ExitCode};

/// What a probing child is asked. The processor is asked separately, so that a crashing driver takes nothing else along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The driver and its devices.
    Cuda,
    /// The processor.
    Cpu {
        /// Memory one job may use.
        memory: Bytes,
    },
}

/// What a probing child answers, as its only frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub struct Answer {
    /// How it stands with CUDA; `NotAsked` where the processor was asked.
    pub cuda: CudaState,
    /// Whether CUDA C++ can be compiled here: it was tried.
    pub nvrtc: bool,
    /// Devices with the driver's number for each; the processor is number 0 of its own.
    pub devices: Vec<(u32, Device)>,
    /// The driver's own name for each of these, as its management library has it; empty where it is not known.
    pub uuids: Vec<String>,
    /// What the management library says of all cards; `None` without it, or where the processor was asked.
    pub cards: Option<Vec<Card>>,
    /// What was measured of the cards, now or before.
    pub measured: Vec<Measured>,
    /// How well a worker of this engine is shut in; `None` where no child was asked.
    pub isolation: Option<Isolation>,
}

/// What was found, and the devices that can be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// How it stands with CUDA.
    pub cuda: CudaState,
    /// Why the processor, where it was asked for, can't be offered.
    pub cpu_trouble: Option<String>,
    /// Whether CUDA C++ can be compiled here.
    pub nvrtc: bool,
    /// Devices to offer, in order of their index.
    pub devices: Vec<Device>,
    /// The driver's own name for each; empty for the processor.
    pub uuids: Vec<String>,
    /// What the management library says of all cards; `None` without it.
    pub cards: Option<Vec<Card>>,
    /// How well their workers are shut in; `None` where no child came to say so.
    pub isolation: Option<Isolation>,
}

/// The child's side: finds out, says so in one frame, ends. On its standard input comes what is known of the cards; a
/// processor is measured each time, since it does what others on the machine leave it to do.
pub fn answer(question: Question, mut known: impl Read, mut frames: File) -> ExitCode {
    let (engine, found) = match question {
        Question::Cuda => {
            // What can't be read is not known.
            let known = match read_frame::<Vec<Measured>>(&mut known) {
                Ok(Some(Frame::Message(known))) => known,
                Ok(Some(Frame::Bytes(_)) | None) | Err(_) => Vec::new(),
            };
            (EngineChoice::Cuda { ordinal: 0 }, cuda::survey(&known))
        }
        Question::Cpu { memory } => {
            let (devices, uuids) = (vec![(0, cpu(memory))], vec![String::new()]);
            let (state, measured) = (CudaState::NotAsked, Vec::new());
            (EngineChoice::Cpu, cuda::Found { state, devices, uuids, cards: None, measured })
        }
    };
    let cuda::Found { state: cuda, mut devices, uuids, cards, measured } = found;
    let nvrtc = cuda::nvrtc_works();
    devices.iter_mut().for_each(|(_, device)| device.nvrtc = nvrtc && cuda::compiled_for(device.capability));
    // Last: afterwards nothing can be looked at any more.
    let told = sandbox::measure(engine).and_then(|isolation| {
        let isolation = Some(isolation);
        write_message(&mut frames, &Answer { cuda, nvrtc, devices, uuids, cards, measured, isolation })
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The processor as a device. Its rates are measured like a GPU's.
fn cpu(memory: Bytes) -> Device {
    let mut backend = CpuBackend::default();
    let engine = backend.engine();
    let power = power::measure(&mut backend);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor_name(&info).unwrap_or(std::env::consts::ARCH).to_owned();
    Device { index: 0, model, engine, capability: CPU_CAPABILITY, memory, nvrtc: false, power }
}

/// The capability whose instructions the CPU engine has: what PTX without tensor cores or newer copies needs.
pub const CPU_CAPABILITY: ComputeCapability = ComputeCapability { major: 7, minor: 5 };

/// The processor's name in `/proc/cpuinfo` (`model name` on x86-64; some others have `Processor`).
fn processor_name(cpuinfo: &str) -> Option<&str> {
    let value = |line: &'static str| {
        move |text: &'_ str| text.strip_prefix(line).is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    let line = cpuinfo.lines().find(|l| value("model name")(l) || value("Processor")(l))?;
    let (_, name) = line.split_once(':')?;
    let name = name.trim();
    let end = name.floor_char_boundary(limits::NAME_BYTES_MAX);
    Some(&name[..end]).filter(|name| !name.is_empty())
}

/// How it stands with CUDA on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
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
    /// The driver is older than what we ask of it.
    OldDriver {
        /// Its CUDA version.
        driver: u32,
    },
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
            CudaState::OldDriver { .. } => Some(
                "install a newer NVIDIA driver, one for CUDA 11.0 or later; where the card is too old for any, start the \
                 node with `--backend cpu`",
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
            CudaState::OldDriver { driver } => {
                write!(f, "the NVIDIA driver is too old: for CUDA {}.{}", driver / 1000, driver % 1000 / 10)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_found_by_name() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2.00GHz\nflags: fma\n";
        assert_eq!(processor_name(text), Some("Some CPU @ 2.00GHz"));
        assert_eq!(processor_name("model name :\n"), None);
        assert_eq!(processor_name(""), None);
    }

    #[test]
    fn every_trouble_comes_with_a_way_out() {
        let text = || "x".to_owned();
        for state in [
            CudaState::NoLibrary,
            CudaState::StubLibrary { why: text() },
            CudaState::InitFailed { code: text() },
            CudaState::OldDriver { driver: 10_020 },
            CudaState::NoDevice,
            CudaState::KernelFailed { why: text() },
            CudaState::ProbeCrashed { how: text() },
            CudaState::ProbeHung { after: Millis(5) },
            CudaState::ProbeBabbled { what: text() },
        ] {
            assert!(state.hint().is_some_and(|hint| hint.len() > 40), "{state}");
        }
    }
}
