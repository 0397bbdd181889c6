//! One program on one device.
//!
//! Kernels follow each other on one stream, copies on another. A buffer is filled when the first launch that names it is
//! next, so that what later launches need is copied while earlier ones run; outputs are read in the order in which they were
//! last used, each from the moment its last launch is over. What never is used is never copied.

use super::{
    backend::Desk,
    buffers::Buffers,
    driver::{Cut, Event, Module, Stream, Trouble, fault},
    flight::{Flight, What},
    kernels::{Kernels, Prepared},
    repeat::Plan,
};
use crate::{
    backend::{Output, Progress, RunLimits, Stop},
    program::LoadedProgram,
    states::{Recorded, Recorder},
};
use ion_protocol::{
    Nanos,
    fault::Fault,
    job::{Arg, Launch, Phase, Step},
};
use std::rc::Rc;

/// Launches queued on the device at once: enough to keep it busy, few enough that a fault names few kernels.
const IN_FLIGHT_MAX: usize = 32;

/// What is ready before a program's turn on the device.
#[derive(Default)]
pub(super) struct Ahead {
    pub modules: Vec<Rc<Module>>,
    /// All of them, or none where there was no room yet.
    pub buffers: Buffers,
}

pub(super) struct Run<'a> {
    // Fields are dropped in this order: events and memory before the modules and the streams.
    flight: Flight<'a>,
    buffers: Buffers,
    kernels: Kernels,
    desk: Desk,
    stop: Stop<'a>,
}

impl<'a> Run<'a> {
    pub fn new(
        desk: Desk,
        Ahead { modules, buffers }: Ahead,
        stop: Stop<'a>,
        progress: &'a mut dyn FnMut(Progress),
        launches_total: u64,
    ) -> Self {
        let (flight, kernels) = (Flight::new(progress, launches_total), Kernels::of(modules));
        Self { flight, buffers, kernels, desk, stop }
    }

    /// What it was lent, and the time of each launch and of all, once [`Self::all`] went well.
    pub fn finish(self) -> (Desk, Vec<Nanos>, Nanos) {
        (self.desk, self.flight.times, self.flight.device_time)
    }

    /// Runs the program and leaves only zeros on the device.
    pub fn all(
        &mut self,
        mut job: LoadedProgram,
        limits: &RunLimits,
    ) -> Result<(Vec<Output>, Recorded), Fault> {
        if self.buffers.is_empty() {
            self.buffers = Buffers::alloc(&mut job, limits)?;
        }
        self.clear()?;
        let mut recorder = Recorder::new(&job);
        for phase in &job.program().phases {
            self.phase(&job, phase, &mut recorder)?;
        }
        let states = recorder.map_or(Recorded::NotAsked, Recorder::finish);
        let outputs = self.outputs(&job)?;
        while !self.is_idle() {
            self.finish_one()?;
        }
        // The next owner of this memory finds zeros, whatever the driver does.
        self.on_device(|run| run.buffers.zero(&run.desk.kernels))?;
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
    pub fn ahead(mut self, job: &mut LoadedProgram, limits: &RunLimits) -> Result<(Desk, Buffers), Fault> {
        match Buffers::alloc(job, limits) {
            Ok(buffers) => self.buffers = buffers,
            // Whoever has it will have given it back by then.
            Err(Fault::Room { .. }) => return Ok((self.desk, self.buffers)),
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

    /// Clears all buffers that begin with zeros, before whatever is queued next.
    fn clear(&mut self) -> Result<(), Fault> {
        self.on_device(|run| run.buffers.clear(&run.desk.kernels))?;
        let cleared = self.mark()?;
        self.on_device(|run| run.desk.copies.wait_for(&cleared))?;
        self.desk.events.push(cleared);
        Ok(())
    }

    /// Has all on its way that a launch is given.
    fn fill_for(&mut self, launch: &Launch) -> Result<(), Fault> {
        buffers(launch).try_for_each(|n| self.fill(n))
    }

    fn fill(&mut self, buffer: u16) -> Result<(), Fault> {
        let filled = self.buffers.fill(buffer, &mut self.desk, &self.stop);
        filled.map_err(|cut| self.cut(cut))
    }

    /// All that a launch needs on the device, and what is given to its kernel.
    pub fn prepare(&mut self, job: &LoadedProgram, launch: &Launch) -> Result<Prepared, Fault> {
        self.fill_for(launch)?;
        for n in buffers(launch) {
            self.buffers.use_in(n, self.flight.queued + 1);
        }
        let prepared = self.kernels.prepare(job, launch, |n| self.buffers.address(n))?;
        if prepared.writes_anywhere() {
            self.use_all(1);
        }
        Ok(prepared)
    }

    /// Queues one thing between two events, once fewer than `max` are in flight.
    pub fn queue(
        &mut self,
        max: usize,
        what: What,
        launch: impl FnOnce(&Stream) -> Result<(), Trouble>,
    ) -> Result<(), Fault> {
        while self.flight.len() >= max {
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
        let named = |trouble| fault(trouble, &self.flight.names_with(Some(&what)));
        let (start, end) = between.map_err(named)?;
        self.flight.push(start, end, what);
        Ok(())
    }

    /// Waits for the oldest that is in flight and takes down its time.
    pub fn finish_one(&mut self) -> Result<(), Fault> {
        let Some(oldest) = self.flight.oldest() else { return Ok(()) };
        self.wait(&oldest.end)?;
        let time = oldest.end.since(&oldest.start).map_err(|trouble| self.fault(trouble))?;
        self.desk.events.extend(self.flight.end_oldest(time).into_iter().flatten());
        Ok(())
    }

    /// The times of the last `count` launches that are over.
    pub fn last_times(&self, count: usize) -> &[Nanos] {
        let times = &self.flight.times;
        &times[times.len().saturating_sub(count)..]
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.flight.len() == 0
    }

    /// Says that all buffers are used until so many launches more are queued.
    pub fn use_all(&mut self, launches: u64) {
        self.buffers.use_all_in(self.flight.queued + launches);
    }

    /// Has two buffers exchange what they hold.
    pub fn swap(&mut self, a: u16, b: u16) {
        self.buffers.swap(a, b);
    }

    /// What the stream of kernels runs on.
    pub fn kernels(&self) -> &Stream {
        &self.desk.kernels
    }

    /// What is delivered, in the order of the program; read in the order in which it is ready.
    fn outputs(&mut self, job: &LoadedProgram) -> Result<Vec<Output>, Fault> {
        let mut order: Vec<u16> = job.program().outputs().collect();
        order.sort_by_key(|n| self.buffers.used(*n));
        let read: Result<Vec<Output>, Fault> = order.into_iter().map(|n| self.read(n)).collect();
        read.map(|mut outputs| {
            outputs.sort_by_key(|output| output.buffer);
            outputs
        })
    }

    /// What a buffer holds once its last launch is over.
    fn read(&mut self, buffer: u16) -> Result<Output, Fault> {
        self.fill(buffer)?;
        let last = self.flight.end_of(self.buffers.used(buffer));
        let read = self.buffers.read(buffer, last, &mut self.desk, &self.stop);
        read.map_err(|cut| self.cut(cut))
    }

    /// An event at the current end of the kernels.
    fn mark(&mut self) -> Result<Event, Fault> {
        let marked = self.desk.event().and_then(|event| event.record(&self.desk.kernels).map(|()| event));
        marked.map_err(|trouble| self.fault(trouble))
    }

    fn wait(&self, event: &Event) -> Result<(), Fault> {
        event.wait(&self.stop).map_err(|cut| self.cut(cut))
    }

    fn on_device(&mut self, calls: impl FnOnce(&mut Self) -> Result<(), Trouble>) -> Result<(), Fault> {
        calls(self).map_err(|trouble| self.fault(trouble))
    }

    /// Whose fault it is while these kernels run.
    fn fault(&self, trouble: Trouble) -> Fault {
        self.cut(Cut::Device(trouble))
    }

    fn cut(&self, cut: Cut) -> Fault {
        cut.fault(&self.flight.names())
    }
}

/// The buffers that a launch names.
fn buffers(launch: &Launch) -> impl Iterator<Item = u16> {
    launch.args.iter().filter_map(|arg| match arg {
        Arg::Buffer(n) => Some(*n),
        Arg::Scalar { .. } | Arg::Struct { .. } => None,
    })
}
