//! One program on one CUDA device.

use super::driver::{self, Context, Event, Memory, Module, Stream, Trouble, fault};
use crate::{
    backend::{Backend, Output, Progress, Report, RunLimits, Stop},
    program::{LoadedProgram, param_block},
    states::{Recorded, Recorder},
};
use cudarc::driver::{result, sys};
use ion_protocol::{
    Bytes, Nanos,
    fault::Fault,
    hardware::{ComputeCapability, Engine},
    job::{Launch, Step},
};
use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CString, c_void},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

/// Launches queued on the device at once: enough to keep it busy, few enough that a fault names few kernels.
const IN_FLIGHT_MAX: usize = 32;
/// How long a wait spins before it sleeps: a short kernel's end is seen at once.
const SPIN: Duration = Duration::from_micros(200);
/// How often a long wait looks.
const POLL_EVERY: Duration = Duration::from_micros(100);
/// What one copy moves, between looks at the deadline.
const COPY_BYTES: usize = 64 << 20;
/// Shared memory a block gets without asking for more.
const SHARED_BYTES_PLAIN: u64 = 48 * 1024;
/// Device memory the driver sets aside for `printf`, which no checked program calls.
const PRINTF_BYTES: usize = 64 * 1024;

/// One CUDA device.
pub struct CudaBackend {
    context: Context,
    model: String,
    capability: ComputeCapability,
    memory: Bytes,
}

impl CudaBackend {
    /// Opens the driver's device number `ordinal`. Only in a child process: a broken driver may crash or hang here.
    pub fn open(ordinal: u32) -> Result<Self, Fault> {
        Self::try_open(ordinal).map_err(|trouble| fault(trouble, "opening the device"))
    }

    pub(super) fn try_open(ordinal: u32) -> Result<Self, Trouble> {
        use sys::CUdevice_attribute as Attribute;
        let context = Context::open(ordinal)?;
        let model = driver::call(|| result::device::get_name(context.device))?;
        // SAFETY: the device comes from `device::get`.
        let memory = driver::call(|| unsafe { result::device::total_mem(context.device) })?;
        let number =
            |attribute| context.attribute(attribute).map(|found| u8::try_from(found).unwrap_or(u8::MAX));
        let capability = ComputeCapability {
            major: number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            minor: number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        };
        // Refused by some devices, which then keep their defaults.
        let _ =
            driver::call(|| result::ctx::set_limit(sys::CUlimit::CU_LIMIT_PRINTF_FIFO_SIZE, PRINTF_BYTES));
        Ok(Self { context, model, capability, memory: Bytes(memory as u64) })
    }

    /// The driver's name for it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The driver's own name for it; empty where it tells none.
    pub fn uuid(&self) -> String {
        let found = driver::call(|| result::device::get_uuid(self.context.device));
        found.map_or(String::new(), |uuid| crate::nvml::uuid_text(uuid.bytes.map(|byte| byte as u8)))
    }

    /// Its compute capability.
    pub fn capability(&self) -> ComputeCapability {
        self.capability
    }

    /// All its memory.
    pub fn memory(&self) -> Bytes {
        self.memory
    }
}

impl Backend for CudaBackend {
    fn engine(&self) -> Engine {
        Engine::Cuda
    }

    fn label(&self) -> String {
        Engine::Cuda.label(&self.model)
    }

    fn run(
        &mut self,
        job: LoadedProgram,
        limits: &RunLimits,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Fault> {
        let stop = Stop::new(cancel, limits.run);
        self.context.make_current().map_err(|trouble| fault(trouble, "the device"))?;
        let mut run = Run {
            stream: Stream::create().map_err(|trouble| fault(trouble, "the device"))?,
            stop,
            modules: self.compile(&job)?,
            kernels: BTreeMap::new(),
            buffers: Vec::new(),
            in_flight: VecDeque::new(),
            times: Vec::new(),
            device_time: Nanos::ZERO,
            progress,
            launches_total: job.program().launches(),
        };
        match run.all(job, limits) {
            Ok((outputs, states)) => Ok(Report {
                states,
                printed: String::new(),
                outputs,
                launches: std::mem::take(&mut run.times),
                device_time: run.device_time,
                instructions: None,
                engine: Engine::Cuda,
                label: self.label(),
            }),
            Err(fault) => {
                // The device may still run: freeing would wait for it without end. The process ends after a fault.
                std::mem::forget(run);
                Err(fault)
            }
        }
    }
}

impl CudaBackend {
    fn compile(&self, job: &LoadedProgram) -> Result<Vec<Module>, Fault> {
        let has = u32::from(self.capability.major) * 10 + u32::from(self.capability.minor);
        job.modules()
            .iter()
            .map(|module| {
                if module.module.target > has {
                    let (name, needs) = (&module.name, module.module.target);
                    let message =
                        format!("module `{name}` is for sm_{needs}, {} has {}", self.model, self.capability);
                    return Err(Fault::NoDevice { message });
                }
                // The only text a driver sees: our own print of what our own parser read.
                let text = CString::new(module.canonical.text.as_str()).map_err(|_| Fault::Driver {
                    message: format!("the print of module `{}` holds a NUL", module.name),
                })?;
                Module::compile(&text).map_err(|(trouble, log)| refused(trouble, &module.name, &log))
            })
            .collect()
    }
}

/// What it means that the driver's compiler does not take a module that our parser took.
fn refused(trouble: Trouble, module: &str, log: &str) -> Fault {
    match trouble {
        Trouble::Code(sys::CUresult::CUDA_ERROR_INVALID_PTX) => {
            let message = format!("the driver's compiler refuses it: {log}");
            Fault::Ptx { module: module.to_owned(), line: 0, column: 0, message }.bounded()
        }
        Trouble::Code(sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION) => {
            let message = format!("the PTX version of module `{module}` is newer than this driver: {log}");
            Fault::NoDevice { message }.bounded()
        }
        Trouble::Code(sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU) => {
            Fault::NoDevice { message: format!("module `{module}` is not for this device: {log}") }.bounded()
        }
        Trouble::Code(_) | Trouble::Library(_) => {
            Fault::Driver { message: format!("compiling module `{module}`: {trouble}; {log}") }.bounded()
        }
    }
}

/// A launch on its way.
struct Launched {
    start: Event,
    end: Event,
    kernel: String,
}

struct Run<'a> {
    // Fields are dropped in this order: events and memory before the modules and the stream.
    in_flight: VecDeque<Launched>,
    buffers: Vec<Memory>,
    kernels: BTreeMap<(u16, String), Kernel>,
    modules: Vec<Module>,
    stream: Stream,
    stop: Stop<'a>,
    times: Vec<Nanos>,
    device_time: Nanos,
    progress: &'a mut dyn FnMut(Progress),
    launches_total: u64,
}

#[derive(Clone, Copy)]
struct Kernel {
    function: sys::CUfunction,
    /// Dynamic shared memory it was allowed so far.
    shared: u64,
    shared_static: u64,
}

impl Run<'_> {
    fn all(&mut self, mut job: LoadedProgram, limits: &RunLimits) -> Result<(Vec<Output>, Recorded), Fault> {
        self.fill(&mut job, limits)?;
        let mut recorder = Recorder::new(&job);
        for step in job.steps() {
            match step {
                Step::Launch(launch) => {
                    if self.in_flight.len() == IN_FLIGHT_MAX {
                        self.finish_one()?;
                    }
                    if let Some(recorder) = &mut recorder {
                        // Copies wait on the stream for the launches before.
                        recorder.launch(launch, |n| self.read(n).map(|output| output.bytes))?;
                    }
                    self.launch(&job, launch)?;
                }
                Step::Swap { a, b } => {
                    self.buffers.swap(usize::from(*a), usize::from(*b));
                    if let Some(recorder) = &mut recorder {
                        recorder.swap(*a, *b);
                    }
                }
            }
        }
        while !self.in_flight.is_empty() {
            self.finish_one()?;
        }
        let states = recorder.map_or(Recorded::NotAsked, Recorder::finish);
        let outputs = job.program().outputs().map(|n| self.read(n)).collect::<Result<_, _>>()?;
        // The next owner of this memory finds zeros, whatever the driver does.
        self.on_device(|run| run.buffers.iter().try_for_each(|buffer| buffer.zero(&run.stream)))?;
        self.wait_here()?;
        Ok((outputs, states))
    }

    /// Allocates all buffers and gives them their first content.
    fn fill(&mut self, job: &mut LoadedProgram, limits: &RunLimits) -> Result<(), Fault> {
        let (needed, free) = (job.program().memory(), self.on_device(|_| driver::memory_free())?);
        if needed > free {
            let message = format!("the device has {free} free where {needed} are needed");
            return Err(if needed > limits.memory {
                Fault::Memory { needed, limit: limits.memory }
            } else {
                Fault::Room { message }
            });
        }
        for (n, buffer) in job.program().clone().buffers.iter().enumerate() {
            let bytes = buffer.bytes.0 as usize;
            let memory = self.on_device(|_| Memory::alloc(bytes))?;
            match job.take_content(n as u16) {
                None => self.on_device(|run| memory.zero(&run.stream))?,
                Some(content) => {
                    let copied = self.copy_in(&memory, &content);
                    if copied.is_err() {
                        // The driver may still read it; the process ends soon.
                        std::mem::forget(content);
                        std::mem::forget(memory);
                        return copied;
                    }
                }
            }
            self.buffers.push(memory);
        }
        self.wait_here()
    }

    fn copy_in(&mut self, memory: &Memory, content: &[u8]) -> Result<(), Fault> {
        for (n, piece) in content.chunks(COPY_BYTES).enumerate() {
            self.on_device(|run| memory.fill(n * COPY_BYTES, piece, &run.stream))?;
            self.wait_here()?;
        }
        Ok(())
    }

    fn launch(&mut self, job: &LoadedProgram, launch: &Launch) -> Result<(), Fault> {
        let function = job.kernel(launch)?;
        let kernel = self.kernel(launch)?;
        let mut block = param_block(function, launch, |n| self.buffers[usize::from(n)].address);
        // The driver knows each parameter's size and reads that much from where its pointer points.
        let offsets = function.params.iter().map(|param| param.offset as usize);
        let mut params: Vec<*mut c_void> = offsets.map(|at| block[at..].as_mut_ptr().cast()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        let name = format!("kernel `{}`", launch.kernel);
        let started = (|| {
            let start = Event::record(&self.stream)?;
            driver::call(|| {
                let (stream, shared) = (self.stream.0, launch.shared_bytes);
                // SAFETY: the function's module is loaded; `params` has one pointer a parameter into `block`, which
                // the driver copies before it returns. What the kernel does is its process's risk alone.
                unsafe {
                    result::launch_kernel(
                        kernel.function,
                        (gx, gy, gz),
                        (bx, by, bz),
                        shared,
                        stream,
                        &mut params,
                    )
                }
            })?;
            Ok(Launched { start, end: Event::record(&self.stream)?, kernel: launch.kernel.clone() })
        })();
        let launched = started.map_err(|trouble| match self.in_flight.is_empty() {
            true => fault(trouble, &name),
            // An earlier launch may have failed meanwhile; the driver tells at the next call, whatever it is.
            false => fault(trouble, &format!("{}, or {name},", self.flying())),
        })?;
        self.in_flight.push_back(launched);
        Ok(())
    }

    /// The handle of a kernel, allowed the shared memory the launch asks for.
    fn kernel(&mut self, launch: &Launch) -> Result<Kernel, Fault> {
        let key = (launch.module, launch.kernel.clone());
        let mut kernel = match self.kernels.get(&key) {
            Some(kernel) => *kernel,
            None => self.look_up(launch)?,
        };
        let asked = u64::from(launch.shared_bytes);
        if kernel.shared_static + asked > SHARED_BYTES_PLAIN && asked > kernel.shared {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function's module is loaded.
            driver::call(|| unsafe {
                result::function::set_function_attribute(
                    kernel.function,
                    attribute,
                    launch.shared_bytes as i32,
                )
            })
            .map_err(|trouble| match trouble {
                Trouble::Code(sys::CUresult::CUDA_ERROR_INVALID_VALUE) => Fault::NoDevice {
                    message: format!("the device has less than {asked} bytes of shared memory for a block"),
                },
                other => fault(other, &format!("kernel `{}`", launch.kernel)),
            })?;
            kernel.shared = asked;
        }
        self.kernels.insert(key, kernel);
        Ok(kernel)
    }

    fn look_up(&self, launch: &Launch) -> Result<Kernel, Fault> {
        let absent = || Fault::Program { message: format!("no kernel `{}`", launch.kernel) };
        let module = self.modules.get(usize::from(launch.module)).ok_or_else(absent)?;
        let name = CString::new(launch.kernel.as_str()).map_err(|_| absent())?;
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        let found = module.kernel(&name).and_then(|function| {
            // SAFETY: the function's module is loaded.
            let bytes =
                driver::call(|| unsafe { result::function::get_function_attribute(function, attribute) })?;
            Ok(Kernel { function, shared: 0, shared_static: u64::try_from(bytes).unwrap_or(0) })
        });
        found.map_err(|trouble| fault(trouble, &format!("kernel `{}`", launch.kernel)))
    }

    /// Waits for the oldest launch and takes down its time.
    fn finish_one(&mut self) -> Result<(), Fault> {
        let Some(oldest) = self.in_flight.front() else { return Ok(()) };
        self.wait(&oldest.end)?;
        let time = oldest.end.since(&oldest.start).map_err(|trouble| fault(trouble, &self.flying()))?;
        self.in_flight.pop_front();
        self.times.push(time);
        self.device_time = self.device_time.saturating_add(time);
        (self.progress)(Progress {
            launches_done: self.times.len() as u64,
            launches_total: self.launches_total,
            device_time: self.device_time,
        });
        Ok(())
    }

    fn read(&mut self, buffer: u16) -> Result<Output, Fault> {
        let size = self.buffers[usize::from(buffer)].bytes;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(size).is_err() {
            return Err(Fault::Room { message: format!("no memory to read back {}", Bytes(size as u64)) });
        }
        bytes.resize(size, 0);
        for (n, piece) in bytes.chunks_mut(COPY_BYTES).enumerate() {
            let memory = &self.buffers[usize::from(buffer)];
            let copied = memory.read(n * COPY_BYTES, piece, &self.stream);
            let waited = copied.map_err(|t| fault(t, "reading back")).and_then(|()| self.wait_here());
            if waited.is_err() {
                // The driver may still write into it; the process ends soon.
                std::mem::forget(bytes);
                return Err(waited.expect_err("it was just seen to be one"));
            }
        }
        Ok(Output { buffer, bytes })
    }

    fn on_device<T>(&self, calls: impl FnOnce(&Self) -> Result<T, Trouble>) -> Result<T, Fault> {
        calls(self).map_err(|trouble| fault(trouble, "the program"))
    }

    fn wait_here(&self) -> Result<(), Fault> {
        let here = self.on_device(|run| Event::record(&run.stream))?;
        self.wait(&here)
    }

    /// Polls until the event is passed or the run shall stop: there is no way to stop a kernel but to end the process.
    fn wait(&self, event: &Event) -> Result<(), Fault> {
        let began = Instant::now();
        loop {
            if event.passed().map_err(|trouble| fault(trouble, &self.flying()))? {
                return Ok(());
            }
            self.stop.check()?;
            if began.elapsed() > SPIN {
                thread::park_timeout(POLL_EVERY);
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Names the kernels that may be running.
    fn flying(&self) -> String {
        let mut names: Vec<&str> = self.in_flight.iter().map(|launched| launched.kernel.as_str()).collect();
        names.dedup();
        match names[..] {
            [] => "the program".to_owned(),
            [one] => format!("kernel `{one}`"),
            _ => format!("one of the kernels `{}`", names.join("`, `")),
        }
    }
}
