//! Programs on this machine's processor.
//!
//! Owns: [`CpuBackend`]: buffers in memory, steps in order, one report.
//! Never: trusts a kernel. Every access is checked, every loop is bounded by time and budget.
//! Tests: `gpu/tests/cpu_programs.rs`.

use super::{
    bare,
    block::Extents,
    crew::Crew,
    decode::{Addresses, EXPANDED_MAX, decode},
    grid,
    jit::{self, Ready, Rows},
    memory::Global,
    print::Printed,
};
use crate::{
    backend::{Backend, Output, Progress, Report, RunLimits, Stop},
    pages::AlignedBytes,
    program::{LoadedProgram, param_block},
    states::{Recorded, Recorder},
};
use ion_protocol::{
    Bytes, Nanos,
    fault::Fault,
    hardware::Engine,
    job::{Launch, Step},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

/// Instructions of the kernels that are kept translated between launches. A program with more of them has some
/// translated again, rather than have its thousand kernels of a million instructions each fill the memory.
const CODES_KEPT_MAX: usize = 2 * EXPANDED_MAX;

/// Runs programs on all cores: as machine code where the processor is one it can be made for.
#[derive(Debug, Clone)]
pub struct CpuBackend {
    crew: Arc<Crew>,
    engine: Engine,
    at_once: bool,
}

impl Default for CpuBackend {
    fn default() -> Self {
        let engine = jit::engine();
        CpuBackend {
            crew: Arc::new(Crew::new(std::thread::available_parallelism().map_or(1, usize::from))),
            engine,
            at_once: false,
        }
    }
}

impl CpuBackend {
    /// With this many cores, at least one.
    pub fn with_cores(cores: usize) -> Self {
        CpuBackend { crew: Arc::new(Crew::new(cores)), ..CpuBackend::default() }
    }

    /// Translating every kernel before its first instruction, however little it does: for tests, and for measuring.
    pub fn translating_at_once(self) -> Self {
        CpuBackend { at_once: true, ..self }
    }

    /// Only interpreting: the reference, which gives the same results and takes longer.
    pub fn interpreting(self) -> Self {
        CpuBackend { engine: Engine::CpuInterpreter, ..self }
    }
}

/// Memory of a running program.
struct Device {
    /// What each buffer of the program holds.
    buffers: Vec<AlignedBytes>,
    /// Global and constant variables of each module, laid out one after the other.
    variables: Vec<[AlignedBytes; 2]>,
}

fn room(bytes: u64) -> Result<AlignedBytes, Fault> {
    usize::try_from(bytes).ok().and_then(AlignedBytes::zeros).ok_or_else(|| no_room(bytes))
}

fn no_room(bytes: u64) -> Fault {
    Fault::Room { message: format!("{} of memory are not to be had", Bytes(bytes)) }
}

impl Device {
    fn new(job: &mut LoadedProgram) -> Result<Self, Fault> {
        let mut buffers = Vec::new();
        for n in 0..job.program().buffers.len() {
            let bytes = job.program().buffers[n].bytes.0;
            buffers.push(match job.take_content(n as u16) {
                Some(content) => content,
                None => room(bytes)?,
            });
        }
        let mut variables = Vec::new();
        for module in job.modules() {
            let [globals, constants] = bare::variable_bytes(&module.module);
            variables.push([room(globals)?, room(constants)?]);
        }
        let mut device = Device { buffers, variables };
        device.give_first_values(job)?;
        Ok(device)
    }

    /// What a buffer holds.
    fn copy(&self, buffer: u16) -> Result<AlignedBytes, Fault> {
        let held = &self.buffers[usize::from(buffer)];
        AlignedBytes::of(held).ok_or_else(|| {
            let message = format!("no memory to copy {}", Bytes(held.len() as u64));
            Fault::Room { message }
        })
    }

    /// Opens a window on everything: the addresses of all buffers and of each module's variables, the same every time.
    fn open(&mut self) -> Result<(Global<'_>, Vec<u64>, Vec<Addresses>), Fault> {
        let too_many =
            || Fault::Program { message: "more buffers and modules than windows of memory".into() };
        let mut global = Global::new();
        let mut bases = Vec::new();
        for buffer in &mut self.buffers {
            bases.push(global.open(buffer, true).ok_or_else(too_many)?);
        }
        let mut addresses = Vec::new();
        for [globals, constants] in &mut self.variables {
            addresses.push(Addresses {
                global: global.open(globals, true).ok_or_else(too_many)?,
                constant: global.open(constants, false).ok_or_else(too_many)?,
            });
        }
        Ok((global, bases, addresses))
    }

    /// Gives the variables what they hold at first, addresses included.
    fn give_first_values(&mut self, job: &LoadedProgram) -> Result<(), Fault> {
        let (_, _, addresses) = self.open()?;
        for ((module, both), at) in job.modules().iter().zip(&mut self.variables).zip(addresses) {
            let into = both.each_mut().map(|bytes| &mut **bytes);
            bare::first_values(&module.module, [at.global, at.constant], into);
        }
        Ok(())
    }
}

/// One run: what stays the same from launch to launch.
struct Run<'a> {
    job: &'a LoadedProgram,
    device: Device,
    kernels: HashMap<(u16, &'a str), Ready>,
    limits: &'a RunLimits,
    stop: Stop<'a>,
    crew: &'a Crew,
    engine: Engine,
    at_once: bool,
    /// Instructions of all launches so far, and those of them that were interpreted.
    spent: u64,
    interpreted: AtomicU64,
    report: Vec<Nanos>,
    device_time: Nanos,
    printed: String,
}

impl<'a> Run<'a> {
    fn launch(&mut self, launch: &'a Launch, progress: &mut dyn FnMut(Progress)) -> Result<(), Fault> {
        let job = self.job;
        let function = job.kernel(launch)?;
        let (global, bases, addresses) = self.device.open()?;
        let key = (launch.module, launch.kernel.as_str());
        let rows = Rows::of(launch.block);
        if !self.kernels.contains_key(&key) {
            let module = &job.modules()[usize::from(launch.module)];
            let kernel = decode(&module.module, function, addresses[usize::from(launch.module)])
                .map_err(|refused| refused.fault(&module.name))?;
            let ready = Ready::new(kernel, self.engine);
            let held: usize = self.kernels.values().map(|ready| ready.kernel.codes.len()).sum();
            if held + ready.kernel.codes.len() > CODES_KEPT_MAX {
                self.kernels.clear();
            }
            self.kernels.insert(key, ready);
        }
        if let Some(ready) = self.kernels.get_mut(&key) {
            ready.prepare(rows, self.at_once);
        }
        let ready = &self.kernels[&key];
        let params = param_block(function, launch, |n| bases.get(usize::from(n)).copied().unwrap_or(0));
        let total = job.program().launches();
        let done = self.report.len() as u64;
        let before = self.device_time;
        // Decoding a kernel is not paid for, so the clock starts after it.
        let started = Instant::now();
        let mut beat = || {
            let so_far = Nanos(before.0 + started.elapsed().as_nanos() as u64);
            progress(Progress { launches_done: done, launches_total: total, device_time: so_far });
        };
        let printed = Mutex::new(Printed::default());
        let grid = grid::Launch {
            kernel: &ready.kernel,
            tier: ready.tier(rows),
            global: &global,
            extents: Extents { grid: launch.grid, block: launch.block, dynamic_shared: launch.shared_bytes },
            params: &params,
            stop: self.stop,
            crew: self.crew,
            spent: self.spent,
            interpreted: &self.interpreted,
            fuel: self.limits.fuel,
            printed: &printed,
        };
        self.spent = grid.run(&mut beat)?;
        printed.into_inner().unwrap_or_else(PoisonError::into_inner).append_to(&mut self.printed);
        let took = Nanos(started.elapsed().as_nanos() as u64);
        self.report.push(took);
        self.device_time = self.device_time.saturating_add(took);
        progress(Progress { launches_done: done + 1, launches_total: total, device_time: self.device_time });
        Ok(())
    }
}

impl Backend for CpuBackend {
    fn engine(&self) -> Engine {
        self.engine
    }

    fn label(&self) -> String {
        self.engine.label("")
    }

    /// Nothing: whatever it did would take the processor from the program that runs.
    fn prepare(&mut self, _: &mut LoadedProgram, _: &RunLimits, _: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn run(
        &mut self,
        mut job: LoadedProgram,
        limits: &RunLimits,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Fault> {
        let stop = Stop::new(cancel, limits.run);
        let device = Device::new(&mut job)?;
        let mut run = Run {
            job: &job,
            device,
            kernels: HashMap::new(),
            limits,
            stop,
            crew: &self.crew,
            engine: self.engine,
            at_once: self.at_once,
            spent: 0,
            interpreted: AtomicU64::new(0),
            report: Vec::new(),
            device_time: Nanos::ZERO,
            printed: String::new(),
        };
        let mut recorder = Recorder::new(&job);
        for step in job.steps() {
            stop.check()?;
            match step {
                Step::Launch(launch) => {
                    if let Some(recorder) = &mut recorder {
                        recorder.launch(launch, |n| run.device.copy(n))?;
                    }
                    run.launch(launch, progress)?;
                }
                Step::Swap { a, b } => {
                    run.device.buffers.swap(usize::from(*a), usize::from(*b));
                    if let Some(recorder) = &mut recorder {
                        recorder.swap(*a, *b);
                    }
                }
            }
        }
        let buffers = &mut run.device.buffers;
        let outputs = job.program().outputs();
        let outputs = outputs
            .map(|n| Output { buffer: n, bytes: std::mem::take(&mut buffers[usize::from(n)]) })
            .collect();
        Ok(Report {
            outputs,
            launches: run.report,
            device_time: run.device_time,
            instructions: Some(run.spent),
            interpreted: Some(run.interpreted.into_inner()),
            printed: run.printed,
            states: recorder.map_or(Recorded::NotAsked, Recorder::finish),
            engine: self.engine,
            label: self.label(),
        })
    }
}
