//! Streams: a thread each that does one thing after the other, as a device does beside its host.
//!
//! Owns what can be queued ([`Work`]), events, and what kernels' faults are in the driver's codes. After a fault everything
//! that is queued is passed over, and every call of the device's answers with its code.

use super::{
    ASSERT, Code, ILLEGAL_ADDRESS, INVALID_PTX, LAUNCH_FAILED, LAUNCH_OUT_OF_RESOURCES, MISALIGNED_ADDRESS,
    UNKNOWN,
    device::{Device, Function, lock},
};
use ion_protocol::fault::Fault;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Instant,
};

/// What a stream does.
#[derive(Clone)]
pub enum Work {
    /// Addresses of the host, checked before.
    Fill {
        to: usize,
        value: u8,
        bytes: usize,
    },
    Copy {
        from: usize,
        to: usize,
        bytes: usize,
        /// Its place among all copies of the device.
        number: u64,
    },
    Launch(Arc<Launch>),
    /// The event's nth mark.
    Record(Arc<Event>, u64),
    /// Until the event's nth mark is passed.
    Wait(Arc<Event>, u64),
    Graph(Arc<Vec<Work>>),
}

/// A kernel on its way.
pub struct Launch {
    pub function: &'static Function,
    pub extents: [[u32; 3]; 2],
    pub shared: u32,
    pub params: Vec<u8>,
    /// Copies that had been queued before it.
    pub copies_before: u64,
}

/// A mark in a stream, again and again.
#[derive(Default)]
pub struct Event {
    state: Mutex<Marks>,
    passed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Marks {
    made: u64,
    passed: u64,
    at: Option<Instant>,
}

impl Event {
    /// Makes the next mark.
    pub fn mark(&self) -> u64 {
        let mut marks = lock(&self.state);
        marks.made += 1;
        marks.made
    }

    /// The newest mark.
    pub fn newest(&self) -> u64 {
        lock(&self.state).made
    }

    /// When the newest mark was passed, if it was made and passed at all.
    pub fn at(&self) -> Option<Instant> {
        let marks = *lock(&self.state);
        marks.at.filter(|_| marks.passed == marks.made)
    }

    /// Whether nothing is to be waited for.
    pub fn is_passed(&self) -> bool {
        let marks = lock(&self.state);
        marks.passed == marks.made
    }

    fn pass(&self, mark: u64) {
        let mut marks = lock(&self.state);
        (marks.passed, marks.at) = (mark, Some(Instant::now()));
        self.passed.notify_all();
    }

    fn wait(&self, mark: u64) {
        let marks = lock(&self.state);
        drop(self.passed.wait_while(marks, |marks| marks.passed < mark));
    }
}

/// See the module.
pub struct Stream {
    pub device: &'static Device,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    busy: bool,
    /// What is taken down instead of being done.
    captured: Option<Vec<Work>>,
}

impl Stream {
    pub fn start(device: &'static Device) -> Arc<Self> {
        let stream = Arc::new(Stream { device, queue: Mutex::default(), changed: Condvar::new() });
        let own = stream.clone();
        thread::spawn(move || own.go_on());
        lock(&device.streams).push(stream.clone());
        stream
    }

    pub fn push(&self, work: Work) {
        let mut queue = lock(&self.queue);
        match &mut queue.captured {
            Some(captured) => captured.push(work),
            None => queue.waiting.push_back(work),
        }
        self.changed.notify_all();
    }

    pub fn is_captured(&self) -> bool {
        lock(&self.queue).captured.is_some()
    }

    pub fn begin_capture(&self) {
        lock(&self.queue).captured = Some(Vec::new());
    }

    pub fn end_capture(&self) -> Option<Vec<Work>> {
        lock(&self.queue).captured.take()
    }

    /// Waits until everything is done.
    pub fn drain(&self) {
        let queue = lock(&self.queue);
        drop(self.changed.wait_while(queue, |queue| queue.busy || !queue.waiting.is_empty()));
    }

    fn go_on(&self) {
        loop {
            let queue = lock(&self.queue);
            let waited = self.changed.wait_while(queue, |queue| queue.waiting.is_empty());
            let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
            queue.busy = true;
            let work = queue.waiting.pop_front();
            drop(queue);
            if let Some(work) = work {
                self.do_one(&work);
            }
            lock(&self.queue).busy = false;
            self.changed.notify_all();
        }
    }

    fn do_one(&self, work: &Work) {
        let alive = self.device.alive().is_ok();
        match work {
            // Whoever waits for an event asks for the device's state first.
            Work::Record(event, mark) => event.pass(*mark),
            Work::Wait(event, mark) => event.wait(*mark),
            Work::Graph(all) => all.iter().for_each(|work| self.do_one(work)),
            Work::Fill { to, value, bytes } if alive => {
                // SAFETY: the range was checked when this was queued, and freeing waits for the streams.
                unsafe { std::ptr::write_bytes(*to as *mut u8, *value, *bytes) };
            }
            Work::Copy { from, to, bytes, number } if alive => {
                // SAFETY: as above for the device's side; the caller keeps the host's until the stream has passed this.
                unsafe { std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes) };
                self.device.end_copy(*number);
            }
            Work::Launch(launch) if alive => match launch.run(self.device) {
                Ok(()) => self.device.err(),
                Err(code) => self.device.break_down(code),
            },
            Work::Fill { .. } | Work::Copy { .. } | Work::Launch(_) => {}
        }
    }
}

impl Launch {
    fn run(&self, device: &Device) -> Result<(), Code> {
        match &device.settings.at {
            Some((kernel, 0)) if *kernel == self.function.name => loop {
                thread::park();
            },
            Some((kernel, code)) if *kernel == self.function.name => return Err(*code),
            Some(_) | None => {}
        }
        let windows = device.windows();
        // SAFETY: freeing waits for the streams; copies of other streams are the program's own race, as on a card.
        let ran = unsafe { self.function.kernel.launch(&windows, self.extents, self.shared, &self.params) };
        if device.settings.meet.as_ref() == Some(&self.function.name) {
            device.await_copy_after(self.copies_before);
        }
        // A driver prints by itself.
        ran.map(|text| print!("{text}")).map_err(|fault| code(&fault))
    }
}

/// What a driver would say of a kernel's fault.
fn code(fault: &Fault) -> Code {
    match fault {
        Fault::OutOfBounds { .. } => ILLEGAL_ADDRESS,
        Fault::Misaligned { .. } => MISALIGNED_ADDRESS,
        Fault::Assert { .. } => ASSERT,
        Fault::Memory { .. } | Fault::Room { .. } => LAUNCH_OUT_OF_RESOURCES,
        Fault::Ptx { .. } => INVALID_PTX,
        // A barrier that is never complete hangs a card or ends like this.
        Fault::Trap { .. } | Fault::DivergentBarrier { .. } => LAUNCH_FAILED,
        // No launch ends so. One that does shall not hang those that wait for its stream.
        Fault::Program { .. }
        | Fault::Device { .. }
        | Fault::RunTime { .. }
        | Fault::Fuel { .. }
        | Fault::Output { .. }
        | Fault::WorkerCrashed { .. }
        | Fault::WorkerHung { .. }
        | Fault::WorkerProtocol { .. }
        | Fault::Driver { .. }
        | Fault::NoDevice { .. }
        | Fault::Inputs { .. }
        | Fault::Cancelled
        | Fault::Withdrawn
        | Fault::Results { .. } => UNKNOWN,
    }
}
