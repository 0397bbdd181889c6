//! An imitation of NVIDIA's driver for tests: the calls that `ion_gpu::cuda` makes, answered by the CPU engine's interpreter.
//!
//! It is no card and says so: each of its devices is named `imitation`. Nothing ships it, and nothing finds it by itself: its
//! file has another name than the driver's, and tests lay a link of that name into a directory of their own, which their
//! children have in `LD_LIBRARY_PATH` ([`install`]). So all of the CUDA engine but the card itself is run: loading, parameters,
//! launches, streams, events, graphs, errors. What it shows of speed means nothing.
//!
//! Owns: the driver's calls (here), memory and modules (`device`), what runs beside the host (`stream`), and what is to go
//! wrong (`settings`). Its types and numbers are those of the driver's header. Handles are pointers of ours, trusted as a
//! driver trusts them; addresses are checked. It does what the header promises and no more: copies really are made later, a
//! copy to memory that is not pinned waits for the stream, freeing waits for the device.
//! Tests: it has none of its own; `gpu/tests/backends.rs` and `node/tests/cuda.rs` run on it.

#![allow(non_snake_case, reason = "the driver's names")]
#![allow(clippy::missing_safety_doc, reason = "the driver's header says what each call asks for")]

mod device;
mod settings;
mod stream;

use device::{Device, Function, Module, SHARED_MAX, SHARED_PLAIN, lock};
use settings::Settings;
pub use settings::VARIABLE;
use std::{
    cell::Cell,
    ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use stream::{Event, Launch, Stream, Work};

/// A number of the header's `CUresult`.
type Code = u32;
const INVALID_VALUE: Code = 1;
const OUT_OF_MEMORY: Code = 2;
const NO_DEVICE: Code = 100;
const INVALID_DEVICE: Code = 101;
const INVALID_CONTEXT: Code = 201;
const NO_BINARY_FOR_GPU: Code = 209;
const INVALID_PTX: Code = 218;
const UNSUPPORTED_PTX_VERSION: Code = 222;
const INVALID_HANDLE: Code = 400;
const NOT_FOUND: Code = 500;
const NOT_READY: Code = 600;
const ILLEGAL_ADDRESS: Code = 700;
const LAUNCH_OUT_OF_RESOURCES: Code = 701;
const CONTEXT_IS_DESTROYED: Code = 709;
const ASSERT: Code = 710;
const MISALIGNED_ADDRESS: Code = 716;
const LAUNCH_FAILED: Code = 719;
const NOT_SUPPORTED: Code = 801;
const STREAM_CAPTURE_UNSUPPORTED: Code = 900;
const UNKNOWN: Code = 999;

/// Lays the library into `folder` under the driver's name: `folder` in `LD_LIBRARY_PATH` makes it the driver of a child. The
/// library is beside the program that calls this, a test of a crate that depends on this one.
pub fn install(folder: &Path) -> std::io::Result<()> {
    let program = std::env::current_exe()?;
    let library = program.with_file_name("libcuda_imitation.so");
    library.try_exists()?.then_some(()).ok_or_else(|| {
        std::io::Error::other(format!("{} is not there: it is built with this test", library.display()))
    })?;
    std::os::unix::fs::symlink(library, folder.join("libcuda.so"))
}

struct Driver {
    settings: Arc<Settings>,
    devices: Vec<Device>,
    /// Pinned memory of the host: where it begins, and how much.
    pinned: Mutex<Vec<(usize, usize)>>,
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let settings = Arc::new(Settings::read());
        let devices = (0..settings.devices).map(|n| Device::new(n, settings.clone())).collect();
        Driver { settings, devices, pinned: Mutex::default() }
    })
}

thread_local! {
    /// The device whose context is current on this thread.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

fn device(ordinal: c_int) -> Result<&'static Device, Code> {
    usize::try_from(ordinal).ok().and_then(|n| driver().devices.get(n)).ok_or(INVALID_DEVICE)
}

/// The current device, if nothing broke it.
fn current() -> Result<&'static Device, Code> {
    let device = CURRENT.get().and_then(|n| driver().devices.get(n)).ok_or(INVALID_CONTEXT)?;
    device.alive().map(|()| device)
}

fn put<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's pointer, for one value of the header's type.
    unsafe { to.write(value) };
    Ok(())
}

fn put_text(to: *mut c_char, room: usize, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(room.saturating_sub(1))];
    for (n, byte) in bytes.iter().chain([&0]).enumerate().take(room) {
        // SAFETY: the caller has `room` characters there.
        unsafe { to.add(n).write(*byte as c_char) };
    }
}

/// A handle as what it was made from; it lives as long as the process, or until it is destroyed.
fn held<T>(handle: *const c_void) -> Result<&'static T, Code> {
    // SAFETY: a handle that the caller was given for this type, as the header asks.
    unsafe { handle.cast::<T>().as_ref() }.ok_or(INVALID_HANDLE)
}

fn shared_of<T: 'static>(handle: *const c_void) -> Result<Arc<T>, Code> {
    held::<Arc<T>>(handle).cloned()
}

fn give<T>(to: *mut *mut c_void, value: T) -> Result<(), Code> {
    put(to, Box::into_raw(Box::new(value)).cast())
}

fn take_back<T: 'static>(handle: *mut c_void) -> Result<T, Code> {
    held::<T>(handle)?;
    // SAFETY: made by `give`, and given back once, as the header asks.
    Ok(*unsafe { Box::from_raw(handle.cast::<T>()) })
}

/// The driver's calls: each gives a code.
macro_rules! calls {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> Code {
            let answer = move || -> Result<(), Code> { $body };
            answer().err().unwrap_or(0)
        }
    )*};
}

calls! {
    fn cuInit(_flags: c_uint) {
        match driver().settings.init {
            0 if driver().devices.is_empty() => Err(NO_DEVICE),
            0 => Ok(()),
            code => Err(code),
        }
    }

    fn cuDriverGetVersion(version: *mut c_int) {
        put(version, driver().settings.driver as c_int)
    }

    fn cuDeviceGetCount(count: *mut c_int) {
        put(count, driver().devices.len() as c_int)
    }

    fn cuDeviceGet(to: *mut c_int, ordinal: c_int) {
        device(ordinal)?;
        put(to, ordinal)
    }

    fn cuDeviceGetName(to: *mut c_char, room: c_int, ordinal: c_int) {
        device(ordinal)?;
        let part = match *driver().settings {
            Settings { mig: 1, first, .. } => format!(" MIG {first}g.{first}0gb"),
            _ => String::new(),
        };
        put_text(to, room as usize, &format!("imitation{part}"));
        Ok(())
    }

    fn cuDeviceGetUuid_v2(to: *mut [u8; 16], ordinal: c_int) {
        device(ordinal)?;
        let mut uuid = [0; 16];
        uuid[15] = driver().settings.first + ordinal as u8;
        put(to, uuid)
    }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, ordinal: c_int) {
        device(ordinal)?;
        put(bytes, driver().settings.memory)
    }

    fn cuDeviceGetAttribute(to: *mut c_int, attribute: c_int, ordinal: c_int) {
        device(ordinal)?;
        let capability = driver().settings.capability as c_int;
        match attribute {
            13 => put(to, driver().settings.clock as c_int),
            75 => put(to, capability / 10),
            76 => put(to, capability % 10),
            _ => Err(INVALID_VALUE),
        }
    }

    fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, ordinal: c_int) {
        device(ordinal)?.retain()?;
        put(context, std::ptr::without_provenance_mut(ordinal as usize + 1))
    }

    fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) {
        device(ordinal)?.release()
    }

    fn cuCtxSynchronize() {
        current()?.drain();
        current().map(|_| ())
    }

    fn cuCtxSetCurrent(context: *mut c_void) {
        CURRENT.set(context.addr().checked_sub(1));
        Ok(())
    }

    fn cuCtxSetLimit(_limit: c_int, _value: usize) {
        current().map(|_| ())
    }

    fn cuStreamCreate(to: *mut *mut c_void, _flags: c_uint) {
        give(to, Stream::start(current()?))
    }

    fn cuStreamDestroy_v2(stream: *mut c_void) {
        // Its thread waits for nothing more, as long as the process lives.
        take_back::<Arc<Stream>>(stream).map(|_| ())
    }

    fn cuStreamSynchronize(stream: *mut c_void) {
        current()?;
        shared_of::<Stream>(stream)?.drain();
        current().map(|_| ())
    }

    fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) {
        current()?;
        let event = shared_of::<Event>(event)?;
        let mark = event.newest();
        shared_of::<Stream>(stream)?.push(Work::Wait(event, mark));
        Ok(())
    }

    fn cuEventCreate(to: *mut *mut c_void, _flags: c_uint) {
        current()?;
        give(to, Arc::new(Event::default()))
    }

    fn cuEventRecord(event: *mut c_void, stream: *mut c_void) {
        current()?;
        let (event, stream) = (shared_of::<Event>(event)?, shared_of::<Stream>(stream)?);
        if stream.is_captured() {
            return Err(STREAM_CAPTURE_UNSUPPORTED);
        }
        let mark = event.mark();
        stream.push(Work::Record(event, mark));
        Ok(())
    }

    fn cuEventQuery(event: *mut c_void) {
        let passed = held::<Arc<Event>>(event)?.is_passed();
        current()?;
        if passed { Ok(()) } else { Err(NOT_READY) }
    }

    fn cuEventElapsedTime(ms: *mut f32, start: *mut c_void, end: *mut c_void) {
        current()?;
        let at = |event| held::<Arc<Event>>(event)?.at().ok_or(NOT_READY);
        let (start, end) = (at(start)?, at(end)?);
        put(ms, end.saturating_duration_since(start).as_secs_f32() * 1e3)
    }

    fn cuEventDestroy_v2(event: *mut c_void) {
        take_back::<Arc<Event>>(event).map(|_| ())
    }

    fn cuMemAlloc_v2(to: *mut u64, bytes: usize) {
        put(to, current()?.alloc(bytes)?)
    }

    fn cuMemFree_v2(address: u64) {
        current()?.free(address)
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        put(free, current()?.free_bytes())?;
        put(total, driver().settings.memory)
    }

    fn cuMemHostAlloc(to: *mut *mut c_void, bytes: usize, _flags: c_uint) {
        current()?;
        let memory = Box::leak(vec![0u8; bytes].into_boxed_slice());
        lock(&driver().pinned).push((memory.as_ptr() as usize, bytes));
        put(to, memory.as_mut_ptr().cast())
    }

    fn cuMemFreeHost(memory: *mut c_void) {
        // What it held may still be on its way, so it stays.
        lock(&driver().pinned).retain(|(start, _)| *start != memory.addr());
        Ok(())
    }

    fn cuMemsetD8Async(address: u64, value: u8, bytes: usize, stream: *mut c_void) {
        let to = current()?.range(address, bytes)?;
        COMPUTED.fetch_add(1, Ordering::SeqCst);
        shared_of::<Stream>(stream)?.push(Work::Fill { to, value, bytes });
        Ok(())
    }

    fn cuMemsetD8_v2(address: u64, value: u8, bytes: usize) {
        let to = current()?.range(address, bytes)?;
        COMPUTED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the range was just checked; nothing that is queued for it is the caller's to race with.
        unsafe { std::ptr::write_bytes(to as *mut u8, value, bytes) };
        Ok(())
    }

    fn cuMemcpyHtoDAsync_v2(address: u64, from: *const c_void, bytes: usize, stream: *mut c_void) {
        let device = current()?;
        let to = device.range(address, bytes)?;
        let number = device.queue_copy();
        shared_of::<Stream>(stream)?.push(Work::Copy { from: from as usize, to, bytes, number });
        Ok(())
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, address: u64, bytes: usize, stream: *mut c_void) {
        let device = current()?;
        let from = device.range(address, bytes)?;
        let stream = shared_of::<Stream>(stream)?;
        stream.push(Work::Copy { from, to: to as usize, bytes, number: device.queue_copy() });
        let within = |(start, len): &(usize, usize)| (*start..=start + len - bytes.min(*len)).contains(&to.addr());
        if !lock(&driver().pinned).iter().any(within) {
            stream.drain();
        }
        Ok(())
    }

    fn cuModuleLoadDataEx(
        to: *mut *mut c_void,
        image: *const c_void,
        options: c_uint,
        names: *const c_int,
        values: *const *mut c_void,
    ) {
        // SAFETY: text that ends in NUL is the one form that is taken here.
        let text = unsafe { CStr::from_ptr(image.cast()) }.to_str().map_err(|_| INVALID_PTX)?;
        COMPILED.fetch_add(1, Ordering::SeqCst);
        match Module::load(current()?, text) {
            Ok(module) => give(to, module),
            Err((code, why)) => {
                // SAFETY: the caller has as many options as it says.
                let option = |n| unsafe { (*names.add(n), *values.add(n)) };
                let all: Vec<_> = (0..options as usize).map(option).collect();
                let value = |name| all.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
                // The header's CU_JIT_ERROR_LOG_BUFFER and its size.
                if let (Some(log), Some(room)) = (value(5), value(6)) {
                    put_text(log.cast(), room.addr(), &why);
                }
                Err(code)
            }
        }
    }

    fn cuModuleUnload(module: *mut c_void) {
        take_back::<Module>(module)?.unload()
    }

    fn cuModuleGetFunction(to: *mut *mut c_void, module: *mut c_void, name: *const c_char) {
        // SAFETY: a name that ends in NUL, as the header asks.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| NOT_FOUND)?;
        let function = held::<Module>(module)?.function(name)?;
        put(to, std::ptr::from_ref(function).cast_mut().cast())
    }

    fn cuModuleGetGlobal_v2(to: *mut u64, bytes: *mut usize, module: *mut c_void, name: *const c_char) {
        // SAFETY: a name that ends in NUL, as the header asks.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| NOT_FOUND)?;
        let (place, size) = held::<Module>(module)?.variable(name)?;
        put(to, place)?;
        put(bytes, size)
    }

    fn cuFuncGetAttribute(to: *mut c_int, attribute: c_int, function: *mut c_void) {
        let function = held::<Function>(function)?;
        match attribute {
            1 => put(to, function.shared as c_int),
            _ => Err(INVALID_VALUE),
        }
    }

    fn cuFuncSetAttribute(function: *mut c_void, attribute: c_int, value: c_int) {
        let function = held::<Function>(function)?;
        let value = u32::try_from(value).map_err(|_| INVALID_VALUE)?;
        if attribute != 8 || function.shared + value > SHARED_MAX {
            return Err(INVALID_VALUE);
        }
        function.shared_allowed.store(value, Ordering::SeqCst);
        Ok(())
    }

    fn cuLaunchKernel(
        function: *mut c_void,
        gx: c_uint, gy: c_uint, gz: c_uint,
        bx: c_uint, by: c_uint, bz: c_uint,
        shared: c_uint,
        stream: *mut c_void,
        params: *const *const u8,
        _extra: *mut *mut c_void,
    ) {
        let device = current()?;
        let (function, stream) = (held::<Function>(function)?, shared_of::<Stream>(stream)?);
        if !std::ptr::eq(function.device, device) || !std::ptr::eq(stream.device, device) {
            return Err(INVALID_HANDLE);
        }
        let threads = u64::from(bx) * u64::from(by) * u64::from(bz);
        let blocks = u64::from(gx) * u64::from(gy) * u64::from(gz);
        let allowed = function.shared_allowed.load(Ordering::SeqCst);
        let plain = function.shared + shared <= SHARED_PLAIN;
        if threads == 0 || threads > 1024 || blocks == 0 || (!plain && shared > allowed) {
            return Err(INVALID_VALUE);
        }
        let mut block = vec![0u8; function.param_bytes];
        for (n, (at, bytes)) in function.params.iter().enumerate() {
            // SAFETY: there is a pointer a parameter, each to as many bytes as the parameter has.
            unsafe { std::ptr::copy_nonoverlapping(*params.add(n), block[*at..].as_mut_ptr(), *bytes) };
        }
        let extents = [[gx, gy, gz], [bx, by, bz]];
        COMPUTED.fetch_add(1, Ordering::SeqCst);
        let copies_before = device.copies_queued();
        let launch = Launch { function, extents, shared, params: block, copies_before };
        stream.push(Work::Launch(Arc::new(launch)));
        Ok(())
    }

    fn cuStreamBeginCapture_v2(stream: *mut c_void, _mode: c_int) {
        if current()?.settings.graphs == 0 {
            return Err(NOT_SUPPORTED);
        }
        shared_of::<Stream>(stream)?.begin_capture();
        Ok(())
    }

    fn cuStreamEndCapture(stream: *mut c_void, graph: *mut *mut c_void) {
        current()?;
        let captured = shared_of::<Stream>(stream)?.end_capture().ok_or(INVALID_VALUE)?;
        give(graph, Arc::new(captured))
    }

    fn cuGraphInstantiateWithFlags(to: *mut *mut c_void, graph: *mut c_void, _flags: c_ulonglong) {
        current()?;
        give(to, shared_of::<Vec<Work>>(graph)?)
    }

    fn cuGraphLaunch(graph: *mut c_void, stream: *mut c_void) {
        current()?;
        GRAPHS.fetch_add(1, Ordering::SeqCst);
        shared_of::<Stream>(stream)?.push(Work::Graph(shared_of::<Vec<Work>>(graph)?));
        Ok(())
    }

    fn cuGraphExecDestroy(graph: *mut c_void) {
        take_back::<Arc<Vec<Work>>>(graph).map(|_| ())
    }

    fn cuGraphDestroy(graph: *mut c_void) {
        take_back::<Arc<Vec<Work>>>(graph).map(|_| ())
    }
}

/// Modules that were compiled.
static COMPILED: AtomicU64 = AtomicU64::new(0);

/// How many modules were compiled: no call of the driver's, but a test's.
#[unsafe(no_mangle)]
pub extern "C" fn imitation_compiled() -> u64 {
    COMPILED.load(Ordering::SeqCst)
}

/// What was queued for a device's processors: launches, and memory to be filled.
static COMPUTED: AtomicU64 = AtomicU64::new(0);

/// How much of that there was: no call of the driver's, but a test's.
#[unsafe(no_mangle)]
pub extern "C" fn imitation_computed() -> u64 {
    COMPUTED.load(Ordering::SeqCst)
}

/// Graphs that were launched.
static GRAPHS: AtomicU64 = AtomicU64::new(0);

/// How many graphs were launched: no call of the driver's, but a test's.
#[unsafe(no_mangle)]
pub extern "C" fn imitation_graphs() -> u64 {
    GRAPHS.load(Ordering::SeqCst)
}

/// Bytes of all devices that were given back without having been cleared: no call of the driver's, but a test's.
#[unsafe(no_mangle)]
pub extern "C" fn imitation_residue() -> u64 {
    driver().devices.iter().map(|device| device.residue.load(Ordering::SeqCst)).sum()
}
