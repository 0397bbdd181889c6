//! One CUDA device as an engine: opened once, with all made ready that a job would else have to pay for.

use super::{
    copies::Staging,
    driver::{self, Context, Event, Module, Stream, Trouble, fault},
    run::{Ahead, Run},
};
use crate::{
    backend::{Backend, Progress, Report, RunLimits, Stop},
    program::{LoadedModule, LoadedProgram},
    ptx::{self, ir::Space},
};
use cudarc::driver::{result, sys};
use ion_protocol::{
    Bytes, Millis,
    fault::Fault,
    hardware::{ComputeCapability, Engine},
};
use std::{ffi::CString, rc::Rc, sync::atomic::AtomicBool};

/// Device memory the driver sets aside for what kernels print, of which no more than that is kept.
const PRINTF_BYTES: usize = 64 * 1024;
/// How long a device may take for its first, empty kernel.
const WARM_MAX: Millis = Millis(20_000);
/// The first kernel of a context: it brings the driver's compiler into the process, and wakes the card.
const WARM: &str = ".version 6.0\n.target sm_52\n.address_size 64\n.visible .entry warm() { ret; }\n";

/// Compiled modules that are kept for the tenant's next job.
const KEPT_MAX: usize = 8;

/// One CUDA device.
pub struct CudaBackend {
    // Fields are dropped in this order: all that is on the device before the context.
    /// Modules without variables that a kernel could have changed, and their text; the newest last. Compiling one takes a
    /// driver longer than small jobs run.
    kept: Vec<(String, Rc<Module>)>,
    /// What was made ready for the next run.
    ahead: Option<Ahead>,
    /// Lent to the program that runs; gone after one that ended in a fault.
    desk: Option<Desk>,
    context: Context,
    model: String,
    capability: ComputeCapability,
    memory: Bytes,
}

/// What programs run with, made once: none of it holds anything of theirs but what the next copy overwrites.
pub(super) struct Desk {
    pub events: Vec<Event>,
    pub staging: Staging,
    /// Kernels, one after the other.
    pub kernels: Stream,
    /// Copies, beside them.
    pub copies: Stream,
}

impl Desk {
    fn make() -> Result<Self, Trouble> {
        let (kernels, copies) = (Stream::create()?, Stream::create()?);
        Ok(Self { events: Vec::new(), staging: Staging::alloc()?, kernels, copies })
    }

    /// An event nobody uses.
    pub fn event(&mut self) -> Result<Event, Trouble> {
        self.events.pop().map_or_else(Event::create, Ok)
    }
}

impl CudaBackend {
    /// Opens the driver's device number `ordinal`. Only in a child process: a broken driver may crash or hang here.
    pub fn open(ordinal: u32) -> Result<Self, Fault> {
        let backend = Self::try_open(ordinal).map_err(|trouble| fault(trouble, "opening the device"))?;
        match backend.warm() {
            Ok(()) => Ok(backend),
            Err(fault) => {
                // Letting go of it would wait for a kernel that may never end. Others are still looked at; then the process ends.
                std::mem::forget(backend);
                Err(fault)
            }
        }
    }

    fn try_open(ordinal: u32) -> Result<Self, Trouble> {
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
        let desk = Some(Desk::make()?);
        let (memory, kept, ahead) = (Bytes(memory as u64), Vec::new(), None);
        Ok(Self { kept, ahead, desk, context, model, capability, memory })
    }

    /// Runs an empty kernel.
    fn warm(&self) -> Result<(), Fault> {
        let text =
            CString::new(WARM).map_err(|_| Fault::Driver { message: "a NUL in our own text".into() })?;
        let module =
            Module::compile(&text, &[]).map_err(|(trouble, log)| refused(trouble, "warm.ptx", &log))?;
        let Some(desk) = &self.desk else { return Ok(()) };
        let launched = module.kernel(c"warm").and_then(|warm| {
            // SAFETY: the module is loaded, and its kernel takes nothing.
            driver::call(|| unsafe {
                result::launch_kernel(warm, (1, 1, 1), (1, 1, 1), 0, desk.kernels.0, &mut [])
            })?;
            let end = Event::create()?;
            end.record(&desk.kernels)?;
            Ok(end)
        });
        let end = launched.map_err(|trouble| fault(trouble, "the first kernel"))?;
        let never = AtomicBool::new(false);
        match end.wait(&Stop::new(&never, WARM_MAX)) {
            Ok(()) => Ok(()),
            Err(cut) => {
                // Unloading would wait for it.
                std::mem::forget(module);
                Err(match cut.fault("the first kernel") {
                    Fault::RunTime { limit } => {
                        Fault::Driver { message: format!("an empty kernel did not end within {limit}") }
                    }
                    other => other,
                })
            }
        }
    }

    /// The driver's name for it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The 16 bytes that the driver tells it from all others by; `None` where it tells none.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        let found = driver::call(|| result::device::get_uuid(self.context.device));
        found.ok().map(|uuid| uuid.bytes.map(|byte| byte as u8))
    }

    /// Its highest clocks, of the processors and of the memory, in kHz; zero where the driver does not tell.
    pub fn clocks(&self) -> [i32; 2] {
        use sys::CUdevice_attribute as Attribute;
        let clocks =
            [Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE, Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE];
        clocks.map(|clock| self.context.attribute(clock).unwrap_or_default())
    }

    /// Its compute capability.
    pub fn capability(&self) -> ComputeCapability {
        self.capability
    }

    /// All its memory.
    pub fn memory(&self) -> Bytes {
        self.memory
    }

    fn take_desk(&mut self) -> Result<Desk, Fault> {
        match self.desk.take() {
            Some(desk) => Ok(desk),
            None => Desk::make().map_err(|trouble| fault(trouble, "the device")),
        }
    }

    /// All of a program's modules, on the current device.
    fn modules(&mut self, job: &LoadedProgram) -> Result<Vec<Rc<Module>>, Fault> {
        self.context.make_current().map_err(|trouble| fault(trouble, "the device"))?;
        job.modules().iter().map(|module| self.compile(module)).collect()
    }

    fn compile(&mut self, module: &LoadedModule) -> Result<Rc<Module>, Fault> {
        let has = u32::from(self.capability.major) * 10 + u32::from(self.capability.minor);
        if module.module.target > has {
            let (name, needs) = (&module.name, module.module.target);
            let message =
                format!("module `{name}` is for sm_{needs}, {} has {}", self.model, self.capability);
            return Err(Fault::NoDevice { message });
        }
        let text = ptx::canonical(&module.module).text;
        if let Some(at) = self.kept.iter().position(|(of, _)| *of == text) {
            let found = self.kept.remove(at);
            let compiled = found.1.clone();
            self.kept.push(found);
            return Ok(compiled);
        }
        // The only text a driver sees: our own print of what our own parser read.
        let plain = |text: &str| {
            let message = format!("the print of module `{}` holds a NUL", module.name);
            CString::new(text).map_err(|_| Fault::Driver { message })
        };
        let variables: Result<Vec<CString>, Fault> =
            ptx::lasting_variables(&module.module).map(|(name, _)| plain(&name)).collect();
        let compiled = Module::compile(&plain(&text)?, &variables?);
        let compiled = Rc::new(compiled.map_err(|(trouble, log)| refused(trouble, &module.name, &log))?);
        if !module.module.variables.iter().any(|variable| variable.space == Space::Global) {
            self.kept.push((text, compiled.clone()));
            let over = self.kept.len().saturating_sub(KEPT_MAX);
            self.kept.drain(..over);
        }
        Ok(compiled)
    }
}

impl Backend for CudaBackend {
    fn engine(&self) -> Engine {
        Engine::Cuda
    }

    fn label(&self) -> String {
        Engine::Cuda.label(&self.model)
    }

    fn prepare(&mut self, job: &mut LoadedProgram, limits: &RunLimits, fill: bool) -> Result<(), Fault> {
        let mut ahead = Ahead { modules: self.modules(job)?, ..Ahead::default() };
        if fill {
            let (never, launches) = (AtomicBool::new(false), job.program().launches());
            // The time of the run has not begun; whoever waits for this ends the process when it is too long.
            let stop = Stop::new(&never, Millis(u64::MAX));
            let mut unheard = |_| {};
            let run = Run::new(self.take_desk()?, Ahead::default(), stop, &mut unheard, launches);
            let (desk, buffers) = run.ahead(job, limits)?;
            (self.desk, ahead.buffers) = (Some(desk), buffers);
        }
        self.ahead = Some(ahead);
        Ok(())
    }

    fn run(
        &mut self,
        job: LoadedProgram,
        limits: &RunLimits,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Fault> {
        let stop = Stop::new(cancel, limits.run);
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => Ahead { modules: self.modules(&job)?, ..Ahead::default() },
        };
        let desk = self.take_desk()?;
        let mut run = Run::new(desk, ahead, stop, progress, job.program().launches());
        match run.all(job, limits) {
            Ok((outputs, states)) => {
                let (desk, launches, device_time) = run.finish();
                self.desk = Some(desk);
                Ok(Report {
                    states,
                    // A driver prints by itself.
                    printed: String::new(),
                    outputs,
                    launches,
                    device_time,
                    instructions: None,
                    interpreted: None,
                    engine: Engine::Cuda,
                    label: self.label(),
                })
            }
            Err(fault) => {
                // The device may still run: freeing would wait for it without end. The process ends after a fault.
                std::mem::forget((run, std::mem::take(&mut self.kept)));
                self.context.abandon();
                Err(fault)
            }
        }
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
