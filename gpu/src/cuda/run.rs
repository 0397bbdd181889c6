//! One program on one device.
//!
//! Kernels follow each other on one stream, copies on another. A buffer is filled when the first launch that names it is
//! next, so that what later launches need is copied while earlier ones run; outputs are read in the order in which they were
//! last used, each from the moment its last launch is over. What never is used is never copied.

use super::{
    backend::Desk,
    copies::Way,
    driver::{self, Event, Memory, Module, Stream, Trouble, fault},
    repeat::{Plan, Round},
};
use crate::{
    backend::{Output, Progress, RunLimits, Stop},
    program::{LoadedProgram, param_block},
    states::{Recorded, Recorder},
};
use cudarc::driver::{result, sys};
use ion_protocol::{
    Bytes, Nanos,
    fault::Fault,
    job::{Arg, Launch, Phase, Step},
};
use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CString, c_void},
    rc::Rc,
};

/// Launches queued on the device at once: enough to keep it busy, few enough that a fault names few kernels.
const IN_FLIGHT_MAX: usize = 32;
/// Shared memory a block gets without asking for more.
const SHARED_BYTES_PLAIN: u64 = 48 * 1024;

/// What was queued between two events.
pub(super) struct Queued {
    start: Event,
    end: Event,
    what: What,
    /// Launches queued before it and with it.
    upto: u64,
}

pub(super) enum What {
    Launch(String),
    Graph(Rc<Round>),
}

/// A buffer on the device.
pub(super) struct Held {
    memory: Memory,
    first: First,
    /// How many launches had been queued when it was last used.
    used: u64,
}

/// What a buffer is to hold before it is first used.
enum First {
    Zeros,
    Bytes(Vec<u8>),
    /// It holds that, or what came after.
    Held,
}

/// What is ready before a program's turn on the device.
#[derive(Default)]
pub(super) struct Ahead {
    pub modules: Vec<Rc<Module>>,
    /// All of them, or none where there was no room yet.
    pub buffers: Vec<Held>,
}

/// A launch as the driver takes it.
pub(super) struct Prepared {
    kernel: Kernel,
    extents: [[u32; 3]; 2],
    shared: u32,
    params: Vec<u8>,
    offsets: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Kernel {
    function: sys::CUfunction,
    /// Dynamic shared memory it was allowed so far.
    shared: u64,
    shared_static: u64,
}

pub(super) struct Run<'a> {
    // Fields are dropped in this order: events and memory before the modules and the streams.
    in_flight: VecDeque<Queued>,
    buffers: Vec<Held>,
    kernels: BTreeMap<(u16, String), Kernel>,
    modules: Vec<Rc<Module>>,
    desk: Desk,
    stop: Stop<'a>,
    /// Launches queued so far.
    queued: u64,
    times: Vec<Nanos>,
    device_time: Nanos,
    progress: &'a mut dyn FnMut(Progress),
    launches_total: u64,
}

impl<'a> Run<'a> {
    pub fn new(
        desk: Desk,
        Ahead { modules, buffers }: Ahead,
        stop: Stop<'a>,
        progress: &'a mut dyn FnMut(Progress),
        launches_total: u64,
    ) -> Self {
        let (in_flight, kernels) = (VecDeque::new(), BTreeMap::new());
        let (queued, times, device_time) = (0, Vec::new(), Nanos::ZERO);
        Self {
            in_flight,
            buffers,
            kernels,
            modules,
            desk,
            stop,
            queued,
            times,
            device_time,
            progress,
            launches_total,
        }
    }

    /// What it was lent, and the time of each launch and of all, once [`Self::all`] went well.
    pub fn finish(self) -> (Desk, Vec<Nanos>, Nanos) {
        (self.desk, self.times, self.device_time)
    }

    /// Runs the program and leaves only zeros on the device.
    pub fn all(
        &mut self,
        mut job: LoadedProgram,
        limits: &RunLimits,
    ) -> Result<(Vec<Output>, Recorded), Fault> {
        if self.buffers.is_empty() {
            self.alloc(&mut job, limits)?;
        }
        self.clear()?;
        let mut recorder = Recorder::new(&job);
        for phase in &job.program().phases {
            self.phase(&job, phase, &mut recorder)?;
        }
        let states = recorder.map_or(Recorded::NotAsked, Recorder::finish);
        let outputs = self.outputs(&job)?;
        while !self.in_flight.is_empty() {
            self.finish_one()?;
        }
        // The next owner of this memory finds zeros, whatever the driver does.
        self.on_device(|run| run.buffers.iter().try_for_each(|held| held.memory.zero(&run.desk.kernels)))?;
        let cleared = self.mark()?;
        self.wait(&cleared)?;
        self.desk.events.push(cleared);
        Ok((outputs, states))
    }

    fn phase<'j>(
        &mut self,
        job: &'j LoadedProgram,
        phase: &'j Phase,
        recorder: &mut Option<Recorder<'j>>,
    ) -> Result<(), Fault> {
        let mut rounds = |run: &mut Self, count| {
            (0..count).try_for_each(|_| phase.steps.iter().try_for_each(|step| run.step(job, step, recorder)))
        };
        // What is between launches is wanted, or the rounds are too few: each launch is queued by itself.
        let Some(plan) = Plan::of(phase, job).filter(|_| !job.keeps_states()) else {
            return rounds(self, phase.times);
        };
        rounds(self, plan.timed())?;
        let repeated = self.repeat(job, phase, &plan)?;
        rounds(self, phase.times - plan.timed() - repeated)
    }

    fn step<'j>(
        &mut self,
        job: &'j LoadedProgram,
        step: &'j Step,
        recorder: &mut Option<Recorder<'j>>,
    ) -> Result<(), Fault> {
        match step {
            Step::Launch(launch) => {
                if let Some(recorder) = recorder {
                    recorder.launch(launch, |n| self.read(n).map(|output| output.bytes))?;
                }
                let prepared = self.prepare(job, launch)?;
                self.queue(IN_FLIGHT_MAX, What::Launch(launch.kernel.clone()), |stream| {
                    prepared.launch(stream)
                })
            }
            Step::Swap { a, b } => {
                self.swap(*a, *b);
                if let Some(recorder) = recorder {
                    recorder.swap(*a, *b);
                }
                Ok(())
            }
        }
    }

    /// Has all buffers that launches name on the device before the program's turn, and gives them back with the desk. Nothing
    /// is cleared yet: that would take the device's processors.
    pub fn ahead(mut self, job: &mut LoadedProgram, limits: &RunLimits) -> Result<(Desk, Vec<Held>), Fault> {
        match self.alloc(job, limits) {
            Ok(()) => {}
            // Whoever has it will have given it back by then.
            Err(Fault::Room { .. }) => return Ok((self.desk, Vec::new())),
            Err(other) => return Err(other),
        }
        let steps = job.program().phases.iter().flat_map(|phase| &phase.steps);
        for step in steps {
            if let Step::Launch(launch) = step {
                self.fill_for(launch)?;
            }
        }
        Ok((self.desk, self.buffers))
    }

    /// Allocates all buffers.
    fn alloc(&mut self, job: &mut LoadedProgram, limits: &RunLimits) -> Result<(), Fault> {
        let (needed, free) = (job.program().memory(), self.on_device(|_| driver::memory_free())?);
        if needed > free {
            let message = format!("the device has {free} free where {needed} are needed");
            return Err(if needed > limits.memory {
                Fault::Memory { needed, limit: limits.memory }
            } else {
                Fault::Room { message }
            });
        }
        let sizes = job.program().buffers.iter().map(|buffer| buffer.bytes.0 as usize);
        let allocated = sizes.map(|bytes| self.on_device(|_| Memory::alloc(bytes)));
        let allocated: Vec<Memory> = allocated.collect::<Result<_, Fault>>()?;
        for (n, memory) in allocated.into_iter().enumerate() {
            let first = job.take_content(n as u16).map_or(First::Zeros, First::Bytes);
            self.buffers.push(Held { memory, first, used: 0 });
        }
        Ok(())
    }

    /// Clears all buffers that begin with zeros, before whatever is queued next.
    fn clear(&mut self) -> Result<(), Fault> {
        for n in 0..self.buffers.len() {
            if let First::Zeros = self.buffers[n].first {
                self.on_device(|run| run.buffers[n].memory.zero(&run.desk.kernels))?;
                self.buffers[n].first = First::Held;
            }
        }
        let cleared = self.mark()?;
        self.on_device(|run| run.desk.copies.wait_for(&cleared))?;
        self.desk.events.push(cleared);
        Ok(())
    }

    /// Has a buffer's first content on its way before whatever is queued next.
    fn fill(&mut self, buffer: u16) -> Result<(), Fault> {
        let held = &mut self.buffers[usize::from(buffer)];
        let First::Bytes(content) = &mut held.first else { return Ok(()) };
        let content = std::mem::take(content);
        held.first = First::Held;
        let way = Way { stream: &self.desk.copies, stop: &self.stop };
        let copied = self.desk.staging.upload(&content, &held.memory, way);
        copied.map_err(|cut| cut.fault(&self.flying()))?;
        let desk = &mut self.desk;
        let ordered = desk.event().and_then(|filled| {
            filled.record(&desk.copies)?;
            desk.kernels.wait_for(&filled)?;
            // Whoever waits has taken this mark down, so the event may be marked anew.
            desk.events.push(filled);
            Ok(())
        });
        ordered.map_err(|trouble| fault(trouble, &self.flying()))
    }

    /// Has all on its way that a launch is given.
    fn fill_for(&mut self, launch: &Launch) -> Result<(), Fault> {
        buffers(launch).try_for_each(|n| self.fill(n))
    }

    /// All that a launch needs on the device, and what is given to its kernel.
    pub fn prepare(&mut self, job: &LoadedProgram, launch: &Launch) -> Result<Prepared, Fault> {
        self.fill_for(launch)?;
        for n in buffers(launch) {
            self.buffers[usize::from(n)].used = self.queued + 1;
        }
        let function = job.kernel(launch)?;
        Ok(Prepared {
            kernel: self.kernel(launch)?,
            extents: [launch.grid, launch.block],
            shared: launch.shared_bytes,
            params: param_block(function, launch, |n| self.buffers[usize::from(n)].memory.address),
            offsets: function.params.iter().map(|param| param.offset as usize).collect(),
        })
    }

    /// Queues one thing between two events, once fewer than `max` are in flight.
    pub fn queue(
        &mut self,
        max: usize,
        what: What,
        launch: impl FnOnce(&Stream) -> Result<(), Trouble>,
    ) -> Result<(), Fault> {
        while self.in_flight.len() >= max {
            self.finish_one()?;
        }
        let desk = &mut self.desk;
        let between = desk.event().and_then(|start| {
            let end = desk.event()?;
            start.record(&desk.kernels)?;
            launch(&desk.kernels)?;
            end.record(&desk.kernels)?;
            Ok((start, end))
        });
        // An earlier launch may have failed meanwhile; the driver tells at the next call, whatever it is.
        let (start, end) = between.map_err(|trouble| fault(trouble, &self.flying_or(Some(&what))))?;
        self.queued += what.launches();
        self.in_flight.push_back(Queued { start, end, what, upto: self.queued });
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

    /// Waits for the oldest that is in flight and takes down its time.
    pub fn finish_one(&mut self) -> Result<(), Fault> {
        let Some(oldest) = self.in_flight.front() else { return Ok(()) };
        self.wait(&oldest.end)?;
        let time = oldest.end.since(&oldest.start).map_err(|trouble| fault(trouble, &self.flying()))?;
        let Some(Queued { start, end, what, .. }) = self.in_flight.pop_front() else { return Ok(()) };
        self.desk.events.extend([start, end]);
        match what {
            What::Launch(_) => self.times.push(time),
            What::Graph(round) => round.share(time, &mut self.times),
        }
        self.device_time = self.device_time.saturating_add(time);
        (self.progress)(Progress {
            launches_done: self.times.len() as u64,
            launches_total: self.launches_total,
            device_time: self.device_time,
        });
        Ok(())
    }

    /// The times of the last `count` launches that are over.
    pub fn last_times(&self, count: usize) -> &[Nanos] {
        &self.times[self.times.len().saturating_sub(count)..]
    }

    /// Whether anything is on its way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Says that all buffers are used until so many launches more are queued.
    pub fn use_all(&mut self, launches: u64) {
        self.buffers.iter_mut().for_each(|held| held.used = self.queued + launches);
    }

    /// Has two buffers exchange what they hold.
    pub fn swap(&mut self, a: u16, b: u16) {
        self.buffers.swap(usize::from(a), usize::from(b));
    }

    /// What the stream of kernels runs on.
    pub fn kernels(&self) -> &Stream {
        &self.desk.kernels
    }

    /// What is delivered, in the order of the program; read in the order in which it is ready.
    fn outputs(&mut self, job: &LoadedProgram) -> Result<Vec<Output>, Fault> {
        let mut order: Vec<u16> = job.program().outputs().collect();
        order.sort_by_key(|n| self.buffers[usize::from(*n)].used);
        let read: Result<Vec<Output>, Fault> = order.into_iter().map(|n| self.read(n)).collect();
        read.map(|mut outputs| {
            outputs.sort_by_key(|output| output.buffer);
            outputs
        })
    }

    /// What a buffer holds once its last launch is over.
    fn read(&mut self, buffer: u16) -> Result<Output, Fault> {
        self.fill(buffer)?;
        let held = &self.buffers[usize::from(buffer)];
        if let Some(last) = self.in_flight.iter().find(|queued| queued.upto >= held.used) {
            self.on_device(|run| run.desk.copies.wait_for(&last.end))?;
        }
        let (size, mut bytes) = (held.memory.bytes, Vec::new());
        if bytes.try_reserve_exact(size).is_err() {
            return Err(Fault::Room { message: format!("no memory to read back {}", Bytes(size as u64)) });
        }
        let way = Way { stream: &self.desk.copies, stop: &self.stop };
        let copied = self.desk.staging.download(&held.memory, &mut bytes, way);
        copied.map_err(|cut| cut.fault(&self.flying()))?;
        Ok(Output { buffer, bytes })
    }

    fn on_device<T>(&self, calls: impl FnOnce(&Self) -> Result<T, Trouble>) -> Result<T, Fault> {
        calls(self).map_err(|trouble| fault(trouble, &self.flying()))
    }

    /// An event at the current end of the kernels.
    fn mark(&mut self) -> Result<Event, Fault> {
        let marked = self.desk.event().and_then(|event| event.record(&self.desk.kernels).map(|()| event));
        marked.map_err(|trouble| fault(trouble, &self.flying()))
    }

    fn wait(&self, event: &Event) -> Result<(), Fault> {
        event.wait(&self.stop).map_err(|cut| cut.fault(&self.flying()))
    }

    fn flying(&self) -> String {
        self.flying_or(None)
    }

    /// Names the kernels that may be running, `next` among them.
    fn flying_or(&self, next: Option<&What>) -> String {
        let mut names: Vec<&str> =
            self.in_flight.iter().map(|queued| &queued.what).chain(next).flat_map(What::names).collect();
        names.sort_unstable();
        names.dedup();
        match names[..] {
            [] => "the program".to_owned(),
            [one] => format!("kernel `{one}`"),
            _ => format!("one of the kernels `{}`", names.join("`, `")),
        }
    }
}

/// The buffers that a launch names.
fn buffers(launch: &Launch) -> impl Iterator<Item = u16> {
    launch.args.iter().filter_map(|arg| match arg {
        Arg::Buffer(n) => Some(*n),
        Arg::Scalar { .. } | Arg::Struct { .. } => None,
    })
}

impl What {
    fn launches(&self) -> u64 {
        match self {
            What::Launch(_) => 1,
            What::Graph(round) => round.launches(),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            What::Launch(kernel) => vec![kernel],
            What::Graph(round) => round.kernels().collect(),
        }
    }
}

impl Prepared {
    /// Queues it.
    pub fn launch(&self, stream: &Stream) -> Result<(), Trouble> {
        let [[gx, gy, gz], [bx, by, bz]] = self.extents;
        // The driver knows each parameter's size and reads that much from where its pointer points.
        let at = |at: &usize| self.params[*at..].as_ptr().cast_mut().cast::<c_void>();
        let mut params: Vec<*mut c_void> = self.offsets.iter().map(at).collect();
        // SAFETY: the function's module is loaded; `params` has one pointer a parameter into the block, which the driver
        // reads, and copies before it returns. What the kernel does is its process's risk alone.
        driver::call(|| unsafe {
            result::launch_kernel(
                self.kernel.function,
                (gx, gy, gz),
                (bx, by, bz),
                self.shared,
                stream.0,
                &mut params,
            )
        })
    }
}
