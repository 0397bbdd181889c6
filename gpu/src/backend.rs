//! What runs a program: one trait, two engines.
//!
//! Owns: [`Backend`] and the words both engines speak: [`RunLimits`], [`Progress`], [`Report`].
//! Never: knows how an engine works. `cpu::CpuBackend` runs on the processor; the CUDA backend drives a card. Both take the same
//! [`LoadedProgram`], report in the same words and name faults by the same [`Fault`].
//! Tests: `gpu/tests/cpu_programs.rs`.

use crate::{pages::AlignedBytes, program::LoadedProgram, states::Recorded};
use ion_protocol::{Bytes, Millis, Nanos, fault::Fault, hardware::Engine};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a run may use; exceeding one ends it with the fault of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Wall time from the start of the run.
    pub run: Millis,
    /// Device memory: all buffers and module variables together.
    pub memory: Bytes,
    /// Warp instructions, where the engine counts them; `None` for no budget beside the time.
    pub fuel: Option<u64>,
}

/// How far a run is; told after every launch, and by the CPU engine also within long ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub launches_done: u64,
    pub launches_total: u64,
    pub device_time: Nanos,
}

/// The content of one output buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Position in the program.
    pub buffer: u16,
    pub bytes: AlignedBytes,
}

/// What a run that ended well gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of the program's buffers.
    pub outputs: Vec<Output>,
    /// In order of execution, repeats counted out.
    pub launches: Vec<Nanos>,
    /// Their sum.
    pub device_time: Nanos,
    /// Warp instructions executed; only the CPU engine counts them.
    pub instructions: Option<u64>,
    /// Those of them that no machine code executed: the interpreter did, one by one.
    pub interpreted: Option<u64>,
    /// What the kernels printed, bounded by `cpu::PRINTED_BYTES_MAX`; only the CPU engine hears it, a driver prints by
    /// itself.
    pub printed: String,
    /// The memory between launches, where that was asked for.
    pub states: Recorded,
    pub engine: Engine,
    /// `CUDA: NVIDIA H100`, `CPU: ptx jit`.
    pub label: String,
}

/// Something that runs programs.
pub trait Backend {
    fn engine(&self) -> Engine;

    /// The engine and device in one line, for people.
    fn label(&self) -> String;

    /// Does ahead of the run what takes nothing from a program that another process runs on the device meanwhile: none of it
    /// uses its processors. Memory is taken only with `fill`. The program that is run next must be this one.
    fn prepare(&mut self, job: &mut LoadedProgram, limits: &RunLimits, fill: bool) -> Result<(), Fault>;

    /// Runs the program to its end, a fault, a limit, or until `cancel` is set, which is looked at often.
    fn run(
        &mut self,
        job: LoadedProgram,
        limits: &RunLimits,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Fault>;
}

/// The two reasons from outside to stop a run.
#[derive(Debug, Clone, Copy)]
pub struct Stop<'a> {
    cancel: &'a AtomicBool,
    started: Instant,
    limit: Millis,
}

impl<'a> Stop<'a> {
    /// The time begins now.
    pub fn new(cancel: &'a AtomicBool, limit: Millis) -> Self {
        Stop { cancel, started: Instant::now(), limit }
    }

    /// The fault to end with, if the run should end.
    pub fn check(&self) -> Result<(), Fault> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Fault::Cancelled);
        }
        if self.started.elapsed().as_millis() >= u128::from(self.limit.0) {
            return Err(Fault::RunTime { limit: self.limit });
        }
        Ok(())
    }
}
