//! What NVIDIA's management library says of the cards, in a child process: temperature, draw, and who computes on them.
//!
//! Owns its few calls, loaded at run time; a machine without the library is told as such. Reads only: no setting of a card
//! is ever changed. Never used in the node's own process: the library is the driver's, and may hang or crash with it.
//! What it says is for the owner's rules alone, never for offers: a library can be replaced. Tests: `node/tests/workers.rs`,
//! with a library written for the purpose; on a card it has not run yet.

use crate::worker::frame::write_message;
use ion_protocol::{
    codec::{Decode, Encode, bincode_crate},
    limits,
};
use libloading::{Library, Symbol};
use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void},
    fs::File,
    process::ExitCode,
    thread,
    time::Duration,
};

/// How often the cards are looked at: twice within the second in which an owner shall have theirs back.
pub const LOOK_EVERY: Duration = Duration::from_millis(400);
/// The library's name.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// Processes of one card that are told: one is enough to know that there are others.
const PROCESSES_MAX: usize = 64;
/// The library's header: the size of a buffer for a card's name of its own.
const UUID_BYTES: usize = 96;
/// The library's header: the sensor on the chip.
const SENSOR_GPU: c_int = 0;

/// One look at all cards.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub enum Look {
    /// There is no such library here.
    NoLibrary,
    /// What it said.
    Cards(Vec<Card>),
}

/// One card; what it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub struct Card {
    /// `GPU-` and 32 hexadecimal digits in groups, as the driver names it too.
    pub uuid: String,
    /// On the chip.
    pub celsius: Option<u16>,
    /// What it draws.
    pub watts: Option<u32>,
    /// Processes that compute on it, as the host numbers them.
    pub processes: Option<Vec<u32>>,
}

type Handle = *mut c_void;

/// The header's `nvmlProcessInfo_t`, from driver 510 on.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProcessInfo {
    pid: c_uint,
    used_memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

struct Nvml(Library);

impl Nvml {
    fn open() -> Option<Self> {
        // SAFETY: loading runs the library's initialisers; the process is a child that may crash.
        let nvml = Nvml(unsafe { Library::new(LIBRARY) }.ok()?);
        // SAFETY: the header's type.
        let init = unsafe { nvml.call::<unsafe extern "C" fn() -> c_int>(b"nvmlInit_v2\0") };
        // SAFETY: it takes nothing.
        let started = init.is_some_and(|init| unsafe { init() } == 0);
        started.then_some(nvml)
    }

    /// # Safety
    /// `T` must be the type of that name in the library's header.
    unsafe fn call<T>(&self, name: &[u8]) -> Option<Symbol<'_, T>> {
        // SAFETY: the caller's promise.
        unsafe { self.0.get(name) }.ok()
    }

    fn cards(&self) -> Vec<Card> {
        let mut count: c_uint = 0;
        // SAFETY: the header's types; `count` outlives the call.
        let counted = unsafe {
            self.call::<unsafe extern "C" fn(*mut c_uint) -> c_int>(b"nvmlDeviceGetCount_v2\0")
                .is_some_and(|get| get(&mut count) == 0)
        };
        let count = if counted { count.min(limits::DEVICES_MAX as c_uint) } else { 0 };
        (0..count).filter_map(|index| self.card(index)).collect()
    }

    fn card(&self, index: c_uint) -> Option<Card> {
        let mut handle: Handle = std::ptr::null_mut();
        let mut uuid = [0 as c_char; UUID_BYTES];
        // SAFETY: the header's types; what is written to outlives the calls and has the size that is said.
        unsafe {
            let by_index = self.call::<unsafe extern "C" fn(c_uint, *mut Handle) -> c_int>(
                b"nvmlDeviceGetHandleByIndex_v2\0",
            )?;
            (by_index(index, &mut handle) == 0).then_some(())?;
            let name = self
                .call::<unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> c_int>(b"nvmlDeviceGetUUID\0")?;
            (name(handle, uuid.as_mut_ptr(), UUID_BYTES as c_uint) == 0).then_some(())?;
        }
        uuid[UUID_BYTES - 1] = 0;
        // SAFETY: the last byte is zero.
        let uuid = unsafe { CStr::from_ptr(uuid.as_ptr()) }.to_string_lossy().into_owned();
        let milliwatts = self.number(handle, b"nvmlDeviceGetPowerUsage\0");
        Some(Card {
            uuid,
            celsius: self.celsius(handle),
            watts: milliwatts.map(|mw| mw / 1000),
            processes: self.processes(handle),
        })
    }

    /// A call that gives one number of a card.
    fn number(&self, handle: Handle, name: &[u8]) -> Option<u32> {
        let mut value: c_uint = 0;
        // SAFETY: the header's types; `value` outlives the call.
        unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, *mut c_uint) -> c_int>(name)?;
            (get(handle, &mut value) == 0).then_some(value)
        }
    }

    fn celsius(&self, handle: Handle) -> Option<u16> {
        let mut value: c_uint = 0;
        // SAFETY: the header's types; `value` outlives the call.
        let known = unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, c_int, *mut c_uint) -> c_int>(
                b"nvmlDeviceGetTemperature\0",
            )?;
            get(handle, SENSOR_GPU, &mut value) == 0
        };
        u16::try_from(value).ok().filter(|_| known)
    }

    fn processes(&self, handle: Handle) -> Option<Vec<u32>> {
        let mut found = [ProcessInfo::default(); PROCESSES_MAX];
        let mut count = PROCESSES_MAX as c_uint;
        // SAFETY: the header's types; there is room for as many as `count` says.
        let known = unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, *mut c_uint, *mut ProcessInfo) -> c_int>(
                b"nvmlDeviceGetComputeRunningProcesses_v3\0",
            )?;
            get(handle, &mut count, found.as_mut_ptr()) == 0
        };
        let count = usize::try_from(count).map_or(0, |count| count.min(PROCESSES_MAX));
        known.then(|| found[..count].iter().map(|process| process.pid).collect())
    }
}

/// The child's side: looks at the cards and says so, until nobody listens.
pub fn watch(mut frames: File) -> ExitCode {
    let Some(nvml) = Nvml::open() else {
        // Nobody listens any more, or was told: both end here.
        let _ = write_message(&mut frames, &Look::NoLibrary);
        return ExitCode::SUCCESS;
    };
    while write_message(&mut frames, &Look::Cards(nvml.cards())).is_ok() {
        thread::park_timeout(LOOK_EVERY);
    }
    ExitCode::SUCCESS
}

/// A card's name of its own in the library's words, from its 16 bytes.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_one_name() {
        let bytes = std::array::from_fn(|n| n as u8);
        assert_eq!(uuid_text(bytes), "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
