//! What the driver says about itself and its devices, step by step, so that each way of failing has its own answer.

use super::{CudaBackend, driver::Trouble};
use crate::{
    nvml::{self, Card},
    power::{self, Measured},
    probe::CudaState,
    worker::panic_text,
};
use cudarc::driver::{result, sys};
use ion_protocol::{
    Bytes,
    fault::Fault,
    hardware::{Device, Engine},
};
use std::{
    any::Any,
    ffi::{c_int, c_uint},
    thread,
};

/// Calls without which nothing runs; a stub or a foreign library of the driver's name lacks some.
const NEEDED: [&str; 10] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDevicePrimaryCtxRetain",
    "cuModuleLoadDataEx",
    "cuMemAlloc_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuLaunchKernel",
    "cuEventQuery",
    "cuEventElapsedTime",
];
/// The driver's header: what `cuInit` of the toolkit's stub library returns.
const STUB_LIBRARY: c_int = 34;
/// The driver's header: no CUDA device is detected.
const NO_DEVICE: c_int = 100;

/// The oldest driver that has all calls we make: that of CUDA 11.0.
const DRIVER_MIN: u32 = 11_000;

/// Devices that ran a kernel, with the driver's number for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What to tell.
    pub state: CudaState,
    /// What to offer.
    pub devices: Vec<(u32, Device)>,
    /// The driver's own name for each of these.
    pub uuids: Vec<String>,
    /// What the management library says of all cards; `None` without it.
    pub cards: Option<Vec<Card>>,
    /// What was measured of each, or had been before.
    pub measured: Vec<Measured>,
}

/// Asks the driver everything and runs a kernel on each device; measures those that are not among `known`. Only in a child
/// process.
pub fn survey(known: &[Measured]) -> Found {
    let cards = nvml::look();
    let all = cards.as_deref().unwrap_or_default();
    let Devices { state, devices, uuids, measured } = match driver_version() {
        Ok(driver) if driver < DRIVER_MIN => none(CudaState::OldDriver { driver }),
        Ok(driver) => devices(driver, all, known),
        Err(state) => none(state),
    };
    Found { state, devices, uuids, cards, measured }
}

/// How it stands, and the devices with their names and what was measured of them.
struct Devices {
    state: CudaState,
    devices: Vec<(u32, Device)>,
    uuids: Vec<String>,
    measured: Vec<Measured>,
}

fn none(state: CudaState) -> Devices {
    Devices { state, devices: Vec::new(), uuids: Vec::new(), measured: Vec::new() }
}

/// Starts the driver through our own look-ups: a foreign library may return numbers that are no code of the driver's,
/// which cudarc's types cannot hold.
fn driver_version() -> Result<u32, CudaState> {
    let library = open_library()?;
    for name in NEEDED {
        // SAFETY: the symbol is looked at and not called.
        if unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err() {
            return Err(CudaState::StubLibrary { why: format!("it lacks `{name}`") });
        }
    }
    let mut version: c_int = 0;
    // SAFETY: both are calls of the driver's header, with its types; the process is a child that may crash.
    let code = unsafe {
        let init = library.get::<unsafe extern "C" fn(c_uint) -> c_int>(b"cuInit\0");
        let get = library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cuDriverGetVersion\0");
        match (init, get) {
            (Ok(init), Ok(get)) => match init(0) {
                0 => get(&mut version),
                code => code,
            },
            (Err(error), _) | (_, Err(error)) => {
                return Err(CudaState::StubLibrary { why: error.to_string() });
            }
        }
    };
    // cudarc opens the library again by the same name; it must not be unloaded in between.
    std::mem::forget(library);
    match code {
        0 => Ok(u32::try_from(version).unwrap_or(0)),
        STUB_LIBRARY => {
            Err(CudaState::StubLibrary { why: "it says so itself: CUDA_ERROR_STUB_LIBRARY".into() })
        }
        NO_DEVICE => Err(CudaState::NoDevice),
        code => Err(CudaState::InitFailed { code: format!("cuInit returned {code}") }),
    }
}

/// Opens the library that cudarc will open: the first of its names that loads.
fn open_library() -> Result<libloading::Library, CudaState> {
    let mut broken = None;
    for name in cudarc::get_lib_name_candidates("cuda") {
        // SAFETY: loading runs the library's initialisers; the process is a child that may crash.
        match unsafe { libloading::Library::new(&name) } {
            Ok(library) => return Ok(library),
            Err(error) => {
                let text = why_not(&error);
                if !text.contains("No such file") {
                    broken.get_or_insert(text);
                }
            }
        }
    }
    Err(broken.map_or(CudaState::NoLibrary, |why| CudaState::StubLibrary { why }))
}

fn why_not(error: &libloading::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn devices(driver: u32, cards: &[Card], known: &[Measured]) -> Devices {
    let count = match super::driver::call(result::device::get_count) {
        Ok(count) => u32::try_from(count).unwrap_or(0),
        Err(Trouble::Code(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        Err(trouble) => {
            return none(CudaState::InitFailed { code: format!("cuDeviceGetCount: {trouble}") });
        }
    };
    if count == 0 {
        return none(CudaState::NoDevice);
    }
    let count = count.min(ion_protocol::limits::DEVICES_MAX as u32);
    let release = release(driver);
    let (mut devices, mut uuids, mut measured, mut left_out) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (ordinal, found) in all_at_once(count, cards, &release, known) {
        match found {
            Ok((device, uuid, found)) => {
                devices.push((ordinal, Device { index: devices.len() as u16, ..device }));
                uuids.push(uuid);
                measured.push(found);
            }
            Err(fault) => left_out.push(format!("device {ordinal}: {fault}")),
        }
    }
    let state = if devices.is_empty() {
        CudaState::KernelFailed { why: left_out.join("; ").chars().take(600).collect() }
    } else {
        CudaState::Works { driver, left_out }
    };
    Devices { state, devices, uuids, measured }
}

/// The driver's release, as far as it tells: CUDA's version stays the same over many.
fn release(driver: u32) -> String {
    let told = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let first: String = told.lines().next().unwrap_or_default().chars().take(RELEASE_CHARS_MAX).collect();
    format!("CUDA {driver}, {first}")
}

/// Every device is opened and measured by a thread of its own: one after the other, those of a large machine would take longer
/// than a node waits, and what they share they share at work too.
fn all_at_once(count: u32, cards: &[Card], release: &str, known: &[Measured]) -> Vec<(u32, Looked)> {
    thread::scope(|scope| {
        let spawn = |ordinal| (ordinal, scope.spawn(move || device(ordinal, cards, release, known)));
        let threads: Vec<_> = (0..count).map(spawn).collect();
        let panicked = |panic: Box<dyn Any + Send>| {
            Err(Fault::Driver { message: format!("looking at it panicked: {}", panic_text(&*panic)) })
        };
        threads
            .into_iter()
            .map(|(ordinal, thread)| (ordinal, thread.join().unwrap_or_else(panicked)))
            .collect()
    })
}

/// A device with its name and what was measured of it, or why it is left out.
type Looked = Result<(Device, String, Measured), Fault>;

fn device(ordinal: u32, cards: &[Card], release: &str, known: &[Measured]) -> Looked {
    let mut backend = CudaBackend::open(ordinal)?;
    let uuid = backend.uuid().map_or(String::new(), |uuid| nvml::uuid_text(uuid, cards));
    if cards.iter().any(|card| card.partitioned && card.uuid == uuid) {
        return Err(Fault::NoDevice { message: "it is partitioned, so that only its parts are lent".into() });
    }
    let memory = backend.memory().saturating_sub(RESERVED);
    if memory == Bytes::ZERO {
        let message = format!("of its {} nothing is left for jobs", backend.memory());
        return Err(Fault::NoDevice { message });
    }
    // A device that computes wrongly is left out here; one that can't be measured is offered without figures.
    power::check(&mut backend)?;
    let (model, capability) = (backend.model().to_owned(), backend.capability());
    let [clock, memory_clock] = backend.clocks();
    let of = format!("{model}, {uuid}; {release}; {clock} kHz, memory {memory_clock} kHz");
    let found = power::measured(&mut backend, &of, known);
    let power = found.power;
    Ok((
        Device { index: 0, model, engine: Engine::Cuda, capability, memory, nvrtc: false, power },
        uuid,
        found,
    ))
}

/// Of what a driver tells of its release, as much as is looked at.
const RELEASE_CHARS_MAX: usize = 128;
/// Memory of a device that jobs do not get: the contexts of the worker at work and of the next one, ready beside it.
const RESERVED: Bytes = Bytes(1 << 30);
