//! The child process in which foreign kernels run: `ion worker`, one tenant at a time.
//!
//! Owns the child's side: its limits on itself ([`sandbox`]), the frames ([`frame`]), the job ([`serve()`]). It holds no
//! key, opens no socket and no file of the node's, and knows no peer or price. The node's `workers` module starts,
//! watches and kills it. Tests: `gpu/tests/sandbox.rs`; with the real binary `node/tests/workers.rs`.

pub mod calls;
mod check;
mod files;
pub mod frame;
mod heartbeat;
pub mod isolation;
pub mod sandbox;
mod serve;

use crate::{
    backend::Backend,
    cpu::CpuBackend,
    cuda::{self, CudaBackend},
    nvml, probe,
};
use ion_protocol::{Bytes, fault::Fault};
use std::process::ExitCode;

pub(crate) use serve::panic_text;
pub use serve::serve;

/// The exit code of a worker that was started wrongly.
pub const EXIT_USAGE: u8 = 2;
/// The exit code of a worker after a job's fault: its device may be in any state.
pub const EXIT_FAULT: u8 = 3;

/// What runs the kernels of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The processor.
    Cpu,
    /// A GPU by the driver's number.
    Cuda {
        /// As the driver counts.
        ordinal: u32,
    },
}

/// What a worker is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Say what the machine has.
    Probe(probe::Question),
    /// Say how the cards are, again and again.
    Watch,
    /// Run jobs.
    Serve {
        /// On what.
        engine: EngineChoice,
        /// Memory one job may use.
        memory: Bytes,
    },
}

impl Task {
    /// The arguments after `ion worker`.
    pub fn to_args(self) -> Vec<String> {
        let words = match self {
            Task::Probe(probe::Question::Cuda) => "--probe cuda".to_owned(),
            Task::Probe(probe::Question::Cpu { memory }) => format!("--probe cpu --memory {}", memory.0),
            Task::Watch => "--watch cards".to_owned(),
            Task::Serve { engine: EngineChoice::Cpu, memory } => {
                format!("--engine cpu --memory {}", memory.0)
            }
            Task::Serve { engine: EngineChoice::Cuda { ordinal }, memory } => {
                format!("--engine cuda --device {ordinal} --memory {}", memory.0)
            }
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// The task that `args` name; `None` for anything [`Task::to_args`] does not write.
    pub fn parse(args: &[String]) -> Option<Self> {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let memory = |text: &str| text.parse().ok().map(Bytes);
        Some(match words[..] {
            ["--probe", "cuda"] => Task::Probe(probe::Question::Cuda),
            ["--probe", "cpu", "--memory", m] => Task::Probe(probe::Question::Cpu { memory: memory(m)? }),
            ["--watch", "cards"] => Task::Watch,
            ["--engine", "cpu", "--memory", m] => {
                Task::Serve { engine: EngineChoice::Cpu, memory: memory(m)? }
            }
            ["--engine", "cuda", "--device", n, "--memory", m] => {
                Task::Serve { engine: EngineChoice::Cuda { ordinal: n.parse().ok()? }, memory: memory(m)? }
            }
            _ => return None,
        })
    }
}

/// The child's `main`: `args` are those after `worker`. Started by a node, not by people.
pub fn main(args: &[String]) -> ExitCode {
    let Some(task) = Task::parse(args) else {
        eprintln!("`ion worker` is started by a node, which speaks frames with it; it is of no use by hand");
        return ExitCode::from(EXIT_USAGE);
    };
    let frames = match sandbox::enter() {
        Ok(frames) => frames,
        Err(error) => {
            eprintln!("the worker could not limit itself: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match task {
        Task::Probe(question) => probe::answer(question, std::io::stdin(), frames),
        Task::Watch => nvml::watch(frames),
        Task::Serve { engine, memory } => {
            let backend = open(engine).and_then(|backend| {
                let message = |error| format!("the worker could not limit itself: {error}");
                sandbox::close_in(engine, memory).map_err(|e| Fault::Driver { message: message(e) })?;
                Ok(backend)
            });
            serve(std::io::stdin(), frames, backend, memory)
        }
    }
}

fn open(engine: EngineChoice) -> Result<Box<dyn Backend>, Fault> {
    // A job may be CUDA C++, and soon no library can be opened.
    cuda::load_compiler();
    Ok(match engine {
        EngineChoice::Cpu => Box::new(CpuBackend::default()),
        EngineChoice::Cuda { ordinal } => Box::new(CudaBackend::open(ordinal)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_survive_their_arguments() {
        let cuda = EngineChoice::Cuda { ordinal: 3 };
        for task in [
            Task::Probe(probe::Question::Cuda),
            Task::Probe(probe::Question::Cpu { memory: Bytes(7) }),
            Task::Watch,
            Task::Serve { engine: EngineChoice::Cpu, memory: Bytes(1 << 30) },
            Task::Serve { engine: cuda, memory: Bytes(0) },
        ] {
            assert_eq!(Task::parse(&task.to_args()), Some(task));
        }
        for wrong in ["", "--probe", "--engine cpu", "--engine cpu --memory x", "--probe cuda --memory 1 2"] {
            let args: Vec<String> = wrong.split(' ').map(str::to_owned).collect();
            assert_eq!(Task::parse(&args), None, "{wrong}");
        }
    }
}
