//! The driver's calls as we use them: nothing panics, every code has a meaning, every handle is freed once.

use crate::backend::Stop;
use cudarc::driver::{result, sys};
use ion_protocol::{Bytes, Nanos, fault::Fault};
use std::{
    ffi::{CStr, CString, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};
use sys::CUresult as Code;

/// How long a wait spins before it sleeps: a short kernel's end is seen at once.
const SPIN: Duration = Duration::from_micros(200);
/// How often a long wait looks.
const POLL_EVERY: Duration = Duration::from_micros(100);

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The driver answered with a code.
    Code(Code),
    /// The library, or a symbol in it, is missing.
    Library(String),
}

impl From<result::DriverError> for Trouble {
    fn from(error: result::DriverError) -> Self {
        Trouble::Code(error.0)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Code(code) => write!(f, "{code:?}"),
            Trouble::Library(why) => f.write_str(why),
        }
    }
}

/// Why a wait ended too soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The device failed.
    Device(Trouble),
    /// The run shall stop.
    Stop(Fault),
}

impl From<Trouble> for Cut {
    fn from(trouble: Trouble) -> Self {
        Cut::Device(trouble)
    }
}

impl Cut {
    /// Whose fault it is; `kernels` names what was running.
    pub fn fault(self, kernels: &str) -> Fault {
        match self {
            Cut::Device(trouble) => fault(trouble, kernels),
            Cut::Stop(fault) => fault,
        }
    }
}

/// Makes calls into the driver; a panic of cudarc's (a missing library or symbol) comes back as an error.
pub fn call<T>(calls: impl FnOnce() -> Result<T, result::DriverError>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(calls)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = crate::worker::panic_text(&*panic);
            Err(Trouble::Library(text.chars().take(300).collect()))
        }
    }
}

/// Whose fault a code is, and what it means in words. `kernels` names what was running.
pub fn fault(trouble: Trouble, kernels: &str) -> Fault {
    let code = match trouble {
        Trouble::Code(code) => code,
        Trouble::Library(message) => return Fault::Driver { message },
    };
    let meaning = match code {
        Code::CUDA_ERROR_ILLEGAL_ADDRESS => "read or wrote outside every buffer",
        Code::CUDA_ERROR_MISALIGNED_ADDRESS => "used an address that is no multiple of the access's size",
        Code::CUDA_ERROR_INVALID_ADDRESS_SPACE => "used an address of another state space",
        Code::CUDA_ERROR_ILLEGAL_INSTRUCTION => "executed `trap` or an illegal instruction",
        Code::CUDA_ERROR_LAUNCH_FAILED => "was stopped by an exception on the device, such as `trap`",
        Code::CUDA_ERROR_INVALID_PC => "jumped to no instruction",
        Code::CUDA_ERROR_HARDWARE_STACK_ERROR => "overflowed its stack",
        Code::CUDA_ERROR_ASSERT => "failed an assertion",
        Code::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => {
            "needs more registers or shared memory for a block than the device has: use smaller blocks"
        }
        Code::CUDA_ERROR_OUT_OF_MEMORY => {
            let message = format!("the device has no memory left ({code:?})");
            return Fault::Room { message };
        }
        Code::CUDA_ERROR_LAUNCH_TIMEOUT => {
            let message =
                format!("{kernels} ran longer than this device allows, which has a display ({code:?})");
            return Fault::NoDevice { message };
        }
        // Everything else comes from no doing of a kernel.
        _ => return Fault::Driver { message: format!("{code:?}") },
    };
    Fault::Device { code: format!("{code:?}"), message: format!("{kernels} {meaning}") }
}

/// A device's context, current on the thread that opened it, released when dropped.
pub struct Context {
    pub device: sys::CUdevice,
    context: sys::CUcontext,
    /// What runs on it may never end, and letting go of it would wait for that.
    abandoned: bool,
}

impl Context {
    pub fn open(ordinal: u32) -> Result<Self, Trouble> {
        call(|| {
            result::init()?;
            let device = result::device::get(ordinal as i32)?;
            // SAFETY: `device` comes from `device::get`.
            let context = unsafe { result::primary_ctx::retain(device)? };
            let context = Self { device, context, abandoned: false };
            // SAFETY: the context was just retained and lives as long as `self`.
            unsafe { result::ctx::set_current(context.context)? };
            Ok(context)
        })
    }

    pub fn make_current(&self) -> Result<(), Trouble> {
        // SAFETY: the context is retained until `self` is dropped.
        call(|| unsafe { result::ctx::set_current(self.context) })
    }

    /// Leaves it to the end of the process.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    pub fn attribute(&self, attribute: sys::CUdevice_attribute) -> Result<i32, Trouble> {
        // SAFETY: `device` comes from `device::get`.
        call(|| unsafe { result::device::get_attribute(self.device, attribute) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        // SAFETY: retained once in `open`, released once here. An error leaves nothing to do.
        let _ = call(|| unsafe { result::primary_ctx::release(self.device) });
    }
}

/// A stream that does not wait for the default one.
pub struct Stream(pub sys::CUstream);

impl Stream {
    pub fn create() -> Result<Self, Trouble> {
        call(|| result::stream::create(result::stream::StreamKind::NonBlocking)).map(Self)
    }

    /// What is queued here from now on waits until the device has passed the event.
    pub fn wait_for(&self, event: &Event) -> Result<(), Trouble> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: stream and event live.
        call(|| unsafe { result::stream::wait_event(self.0, event.0, flags) })
    }

    /// Takes down what `launches` queues here instead of running it.
    pub fn capture(&self, launches: impl FnOnce() -> Result<(), Trouble>) -> Result<Graph, Trouble> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives.
        call(|| unsafe { result::stream::begin_capture(self.0, mode) })?;
        let queued = launches();
        // SAFETY: a capture was begun; it is ended whatever came of it, or the stream would be of no more use.
        let graph = call(|| unsafe { result::stream::end_capture(self.0) })?;
        let made = queued.and_then(|()| Graph::of(graph));
        // SAFETY: the graph was just made; what was instantiated of it stands for itself.
        let _ = call(|| unsafe { result::graph::destroy(graph) });
        made
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created in `create`, destroyed once; destroying does not wait for the stream's work.
        let _ = call(|| unsafe { result::stream::destroy(self.0) });
    }
}

/// A point in a stream, with the time it was passed. It may be marked again and again.
pub struct Event(sys::CUevent);

impl Event {
    pub fn create() -> Result<Self, Trouble> {
        call(|| result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)).map(Self)
    }

    /// Marks the current end of the stream.
    pub fn record(&self, stream: &Stream) -> Result<(), Trouble> {
        // SAFETY: event and stream live.
        call(|| unsafe { result::event::record(self.0, stream.0) })
    }

    /// Whether the device has passed it.
    pub fn passed(&self) -> Result<bool, Trouble> {
        // SAFETY: the event lives.
        match call(|| unsafe { result::event::query(self.0) }) {
            Ok(()) => Ok(true),
            Err(Trouble::Code(Code::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// Device time from `start` to here; both have been passed.
    pub fn since(&self, start: &Event) -> Result<Nanos, Trouble> {
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> Code;
        let ms = call(|| {
            let mut ms = 0.0f32;
            // cudarc calls `cuEventElapsedTime_v2`, which drivers before CUDA 12.8 lack; the first version is in all.
            // SAFETY: the symbol's type is that of the driver's header; both events live.
            unsafe {
                let elapsed = sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0");
                let elapsed = elapsed.unwrap_or_else(|error| panic!("{error}"));
                elapsed(&mut ms, start.0, self.0).result()?;
            }
            Ok(ms)
        })?;
        Ok(Nanos((f64::from(ms) * 1e6) as u64))
    }
}

impl Event {
    /// Polls until the event is passed or the run shall stop: there is no way to stop a kernel but to end the process.
    pub fn wait(&self, stop: &Stop<'_>) -> Result<(), Cut> {
        let began = Instant::now();
        loop {
            if self.passed()? {
                return Ok(());
            }
            stop.check().map_err(Cut::Stop)?;
            if began.elapsed() > SPIN {
                thread::park_timeout(POLL_EVERY);
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `create`, destroyed once; the driver keeps what is still needed.
        let _ = call(|| unsafe { result::event::destroy(self.0) });
    }
}

/// Launches that are queued by one call.
pub struct Graph(sys::CUgraphExec);

impl Graph {
    fn of(graph: sys::CUgraph) -> Result<Self, Trouble> {
        // SAFETY: the graph lives.
        call(|| unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) }).map(Self)
    }

    pub fn launch(&self, stream: &Stream) -> Result<(), Trouble> {
        // SAFETY: graph and stream live.
        call(|| unsafe { result::graph::launch(self.0, stream.0) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated in `of`, destroyed once; the driver keeps what is still running.
        let _ = call(|| unsafe { result::graph::exec_destroy(self.0) });
    }
}

/// Memory of the host that the device copies from and to by itself, beside what the host does.
pub struct Pinned {
    start: *mut u8,
    bytes: usize,
}

impl Pinned {
    pub fn alloc(bytes: usize) -> Result<Self, Trouble> {
        // SAFETY: plain memory; what it holds at first is never read.
        let start = call(|| unsafe { result::malloc_host(bytes, 0) })?.cast::<u8>();
        // SAFETY: `bytes` bytes from `start` on were just allocated.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { start, bytes })
    }

    /// Only while no copy from or to it is on its way.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: allocated and zeroed in `alloc`; the caller knows that the device is done with it.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// Likewise.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated in `alloc`, freed once; the driver waits for copies that use it.
        let _ = call(|| unsafe { result::free_host(self.start.cast()) });
    }
}

/// Device memory. Freeing waits for the device: a run that was given up leaks it, and the process ends.
pub struct Memory {
    pub address: sys::CUdeviceptr,
    pub bytes: usize,
}

impl Memory {
    pub fn alloc(bytes: usize) -> Result<Self, Trouble> {
        // SAFETY: what the memory holds is overwritten, by `zero` or by `fill`, before a kernel sees it.
        call(|| unsafe { result::malloc_sync(bytes) }).map(|address| Self { address, bytes })
    }

    pub fn zero(&self, stream: &Stream) -> Result<(), Trouble> {
        // SAFETY: the range is ours and the stream lives.
        call(|| unsafe { result::memset_d8_async(self.address, 0, self.bytes, stream.0) })
    }

    /// Copies the first `bytes` of `from` in at `at`; `from` is in use until the stream has passed this point.
    pub fn fill(&self, at: usize, from: &Pinned, bytes: usize, stream: &Stream) -> Result<(), Trouble> {
        assert!(at + bytes <= self.bytes && bytes <= from.bytes, "a copy stays inside its buffers");
        let to = self.address + at as u64;
        // SAFETY: both ranges are ours (checked above); pinned memory outlives the copy, since freeing it waits.
        call(|| unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.start.cast(), bytes, stream.0).result() })
    }

    /// Copies `bytes` from `at` on out, to the beginning of `into`, which is in use until the stream has passed this point.
    pub fn read(&self, at: usize, into: &mut Pinned, bytes: usize, stream: &Stream) -> Result<(), Trouble> {
        assert!(at + bytes <= self.bytes && bytes <= into.bytes, "a copy stays inside its buffers");
        let from = self.address + at as u64;
        // SAFETY: as above.
        call(|| unsafe { sys::cuMemcpyDtoHAsync_v2(into.start.cast(), from, bytes, stream.0).result() })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `alloc`, freed once, after the work that uses it.
        let _ = call(|| unsafe { result::free_sync(self.address) });
    }
}

/// Text of the driver's compiler that is kept of a refused module.
const JIT_LOG_BYTES: usize = 2048;

/// A module compiled for the current device. Nothing is left in its variables when it is unloaded.
pub struct Module {
    module: sys::CUmodule,
    /// Where each of its variables is, and how many bytes it has.
    variables: Vec<(sys::CUdeviceptr, usize)>,
}

impl Module {
    /// Compiles canonical PTX with variables of these names; `Err` holds what the driver's compiler said.
    pub fn compile(ptx: &CString, variables: &[CString]) -> Result<Self, (Trouble, String)> {
        let mut log = vec![0u8; JIT_LOG_BYTES];
        let mut module = std::ptr::null_mut();
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // The driver takes option values as pointers or, for numbers, as the pointer's bits.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(JIT_LOG_BYTES)];
        let loaded = call(|| {
            let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
            // SAFETY: the text ends in NUL; both arrays have two elements; the log outlives the call.
            unsafe { sys::cuModuleLoadDataEx(&mut module, ptx.as_ptr().cast(), 2, options, values).result() }
        });
        if let Err(trouble) = loaded {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            return Err((trouble, String::from_utf8_lossy(&log[..end]).trim().to_owned()));
        }
        let mut compiled = Self { module, variables: Vec::new() };
        for name in variables {
            // SAFETY: the module was just loaded.
            let found = call(|| unsafe { result::module::get_global(module, name.clone()) });
            let place = found.map_err(|trouble| (trouble, format!("where is {name:?}?")))?;
            compiled.variables.push(place);
        }
        Ok(compiled)
    }

    /// A kernel of the module, which must live as long as the kernel is used.
    pub fn kernel(&self, name: &CStr) -> Result<sys::CUfunction, Trouble> {
        // SAFETY: the module is loaded.
        call(|| unsafe { result::module::get_function(self.module, name.to_owned()) })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if !self.variables.is_empty() {
            // It fails on a device that is of no more use.
            let _ = wipe(self.variables.iter().copied());
        }
        // SAFETY: loaded in `compile`, unloaded once.
        let _ = call(|| unsafe { result::module::unload(self.module) });
    }
}

/// Clears memory for its next owner, whatever the driver does. All that is under way on the device ends before.
pub fn wipe(pieces: impl Iterator<Item = (sys::CUdeviceptr, usize)>) -> Result<(), Trouble> {
    call(result::ctx::synchronize)?;
    for (address, bytes) in pieces {
        // SAFETY: the range is the caller's, who frees it next.
        call(|| unsafe { result::memset_d8_sync(address, 0, bytes) })?;
    }
    call(result::ctx::synchronize)
}

/// Free memory of the current device.
pub fn memory_free() -> Result<Bytes, Trouble> {
    call(result::mem_get_info).map(|(free, _)| Bytes(free as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::fault::Blame;

    #[test]
    fn codes_blame_who_did_it() {
        let blame = |code| fault(Trouble::Code(code), "kernel `k`").blame();
        for job in [Code::CUDA_ERROR_ILLEGAL_ADDRESS, Code::CUDA_ERROR_ASSERT, Code::CUDA_ERROR_LAUNCH_FAILED]
        {
            assert_eq!(blame(job), Blame::Job, "{job:?}");
        }
        for host in [
            Code::CUDA_ERROR_ECC_UNCORRECTABLE,
            Code::CUDA_ERROR_UNKNOWN,
            Code::CUDA_ERROR_OUT_OF_MEMORY,
            // Another device has no display to keep alive.
            Code::CUDA_ERROR_LAUNCH_TIMEOUT,
        ] {
            assert_eq!(blame(host), Blame::Host, "{host:?}");
        }
        assert_eq!(
            fault(Trouble::Code(Code::CUDA_ERROR_ILLEGAL_ADDRESS), "kernel `k`").to_string(),
            "the device reported CUDA_ERROR_ILLEGAL_ADDRESS: kernel `k` read or wrote outside every buffer"
        );
    }

    #[test]
    fn a_missing_library_is_an_error_and_no_panic() {
        // SAFETY: looking for a library loads it, which runs the initialisers of NVIDIA's own driver at most.
        if unsafe { sys::is_culib_present() } {
            eprintln!("skipped: a CUDA driver is installed here");
            return;
        }
        assert!(matches!(Context::open(0), Err(Trouble::Library(_))));
    }
}
