//! What NVIDIA's management library says of the cards, in a child process: what they are, how they are, and who computes on
//! them.
//!
//! Owns its few calls, loaded at run time; a machine without the library is told as such. Reads only: no setting of a card
//! is ever changed. Never used in the node's own process: the library is the driver's, and may hang or crash with it.
//! What it says is for the owner alone, never for offers: a library can be replaced. A card that is partitioned (MIG) is told
//! as its parts, each with its own name and memory, and with its card's temperature, draw and clocks, which no part has of
//! its own. Tests: `node/tests/workers.rs`, with a library written for the purpose; on a card it has not run yet.

use crate::worker::frame::write_message;
use ion_protocol::{
    Bytes,
    codec::{Decode, Encode, bincode_crate},
    limits,
};
use libloading::{Library, Symbol};
use serde::{Deserialize, Serialize};
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
/// The library's header: the size of a buffer for a card's name, of its own or of its kind.
const NAME_BYTES: usize = 96;
/// The library's header: the sensor on the chip, and the temperature at which the card slows itself down.
const SENSOR_GPU: c_int = 0;
const THRESHOLD_SLOWDOWN: c_int = 1;
/// The library's header: the clocks of the multiprocessors and of the memory.
const CLOCK_SM: c_int = 1;
const CLOCK_MEMORY: c_int = 2;
/// The library's header: errors that could not be corrected, since the driver was loaded.
const ERRORS_UNCORRECTED: c_int = 1;
const ERRORS_VOLATILE: c_int = 0;
/// Parts of one card that are told; the hardware has at most seven.
const PARTS_MAX: c_uint = 8;

/// One look at all cards.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub enum Look {
    /// There is no such library here.
    NoLibrary,
    /// What it said.
    Cards(Vec<Card>),
}

/// One card or part of one; what it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "bincode_crate")]
pub struct Card {
    /// `GPU-`, or for a part `MIG-`, and 32 hexadecimal digits in groups.
    pub uuid: String,
    /// What it is; of a part, what its card is.
    pub model: String,
    /// The card that this is a part of, by its own name.
    pub part_of: Option<String>,
    /// Whether it is partitioned: then it computes nothing by itself, and its parts stand behind it.
    pub partitioned: bool,
    /// How it is.
    pub readings: Readings,
    /// Processes that compute on it, as the host numbers them.
    pub processes: Option<Vec<u32>>,
}

/// How a card is at this moment; what it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[bincode(crate = "bincode_crate")]
pub struct Readings {
    /// On the chip.
    pub celsius: Option<u16>,
    /// Where it slows itself down.
    pub celsius_max: Option<u16>,
    /// What it draws.
    pub watts: Option<u32>,
    /// What it may draw.
    pub watts_max: Option<u32>,
    /// Clock of its multiprocessors.
    pub sm_mhz: Option<u32>,
    /// The highest it may have.
    pub sm_mhz_max: Option<u32>,
    /// Clock of its memory.
    pub memory_mhz: Option<u32>,
    /// The highest it may have.
    pub memory_mhz_max: Option<u32>,
    /// All its memory.
    #[serde(rename = "memory_bytes")]
    pub memory: Option<Bytes>,
    /// What of it is in use, by whomever.
    #[serde(rename = "memory_bytes_used")]
    pub memory_used: Option<Bytes>,
    /// Of the time, in which a kernel ran.
    pub busy_percent: Option<u32>,
    /// Of the time, in which memory was read or written.
    pub memory_busy_percent: Option<u32>,
    /// Whether its memory corrects errors.
    pub ecc: Option<bool>,
    /// Errors that could not be corrected, since the driver was loaded.
    pub ecc_errors: Option<u64>,
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
        (0..count).flat_map(|index| self.card(index)).collect()
    }

    /// A card, and its parts behind it.
    fn card(&self, index: c_uint) -> Vec<Card> {
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the header's types; `handle` outlives the call.
        let found = unsafe {
            self.call::<unsafe extern "C" fn(c_uint, *mut Handle) -> c_int>(
                b"nvmlDeviceGetHandleByIndex_v2\0",
            )
            .is_some_and(|get| get(index, &mut handle) == 0)
        };
        let Some(uuid) = found.then(|| self.text(handle, b"nvmlDeviceGetUUID\0")).flatten() else {
            return Vec::new();
        };
        let card = Card {
            model: self.text(handle, b"nvmlDeviceGetName\0").unwrap_or_default(),
            part_of: None,
            partitioned: self.pair(handle, b"nvmlDeviceGetMigMode\0").is_some_and(|(now, _)| now == 1),
            readings: self.readings(handle),
            processes: self.processes(handle),
            uuid,
        };
        let parts = if card.partitioned { self.parts(handle, &card) } else { Vec::new() };
        std::iter::once(card).chain(parts).collect()
    }

    fn parts(&self, handle: Handle, card: &Card) -> Vec<Card> {
        let count = self.number(handle, b"nvmlDeviceGetMaxMigDeviceCount\0").unwrap_or(0).min(PARTS_MAX);
        let part = |index: c_uint| {
            let mut part: Handle = std::ptr::null_mut();
            // SAFETY: the header's types; `part` outlives the call.
            let found = unsafe {
                let get = self.call::<unsafe extern "C" fn(Handle, c_uint, *mut Handle) -> c_int>(
                    b"nvmlDeviceGetMigDeviceHandleByIndex\0",
                )?;
                get(handle, index, &mut part) == 0
            };
            let (memory, memory_used) = found.then(|| self.memory(part))?;
            let readings = Readings {
                memory,
                memory_used,
                busy_percent: None,
                memory_busy_percent: None,
                ..card.readings
            };
            Some(Card {
                uuid: self.text(part, b"nvmlDeviceGetUUID\0")?,
                model: card.model.clone(),
                part_of: Some(card.uuid.clone()),
                partitioned: false,
                readings,
                processes: self.processes(part),
            })
        };
        (0..count).filter_map(part).collect()
    }

    fn readings(&self, handle: Handle) -> Readings {
        let watts = |name| self.number(handle, name).map(|milliwatts| milliwatts / 1000);
        let of = |name, what| self.number_of(handle, name, what);
        let degrees = |name, what| of(name, what).and_then(|found| u16::try_from(found).ok());
        let clock = |what| (of(b"nvmlDeviceGetClockInfo\0", what), of(b"nvmlDeviceGetMaxClockInfo\0", what));
        let ((sm_mhz, sm_mhz_max), (memory_mhz, memory_mhz_max)) = (clock(CLOCK_SM), clock(CLOCK_MEMORY));
        let (memory, memory_used) = self.memory(handle);
        let busy = self.utilisation(handle);
        Readings {
            celsius: degrees(b"nvmlDeviceGetTemperature\0", SENSOR_GPU),
            celsius_max: degrees(b"nvmlDeviceGetTemperatureThreshold\0", THRESHOLD_SLOWDOWN),
            watts: watts(b"nvmlDeviceGetPowerUsage\0"),
            watts_max: watts(b"nvmlDeviceGetEnforcedPowerLimit\0"),
            sm_mhz,
            sm_mhz_max,
            memory_mhz,
            memory_mhz_max,
            memory,
            memory_used,
            busy_percent: busy.map(|[gpu, _]| gpu),
            memory_busy_percent: busy.map(|[_, memory]| memory),
            ecc: self.pair(handle, b"nvmlDeviceGetEccMode\0").map(|(now, _)| now == 1),
            ecc_errors: self.ecc_errors(handle),
        }
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

    /// A call that gives a number for one of several things a card has.
    fn number_of(&self, handle: Handle, name: &[u8], what: c_int) -> Option<u32> {
        let mut value: c_uint = 0;
        // SAFETY: the header's types; `value` outlives the call.
        unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, c_int, *mut c_uint) -> c_int>(name)?;
            (get(handle, what, &mut value) == 0).then_some(value)
        }
    }

    /// A call that gives what is so now, and what after a restart.
    fn pair(&self, handle: Handle, name: &[u8]) -> Option<(u32, u32)> {
        let (mut now, mut then): (c_uint, c_uint) = (0, 0);
        // SAFETY: the header's types; both outlive the call.
        unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, *mut c_uint, *mut c_uint) -> c_int>(name)?;
            (get(handle, &mut now, &mut then) == 0).then_some((now, then))
        }
    }

    fn text(&self, handle: Handle, name: &[u8]) -> Option<String> {
        let mut text = [0 as c_char; NAME_BYTES];
        // SAFETY: the header's types; there is room for as much as is said.
        let known = unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> c_int>(name)?;
            get(handle, text.as_mut_ptr(), NAME_BYTES as c_uint) == 0
        };
        text[NAME_BYTES - 1] = 0;
        // SAFETY: the last byte is zero.
        known.then(|| unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// All memory, and what of it is in use.
    fn memory(&self, handle: Handle) -> (Option<Bytes>, Option<Bytes>) {
        /// The header's `nvmlMemory_t`: all, free, in use.
        type Memory = [c_ulonglong; 3];
        let mut memory: Memory = [0; 3];
        // SAFETY: the header's types; `memory` outlives the call.
        let known = unsafe {
            self.call::<unsafe extern "C" fn(Handle, *mut Memory) -> c_int>(b"nvmlDeviceGetMemoryInfo\0")
                .is_some_and(|get| get(handle, &mut memory) == 0)
        };
        (known.then_some(Bytes(memory[0])), known.then_some(Bytes(memory[2])))
    }

    /// The header's `nvmlUtilization_t`: of the time, with a kernel and with memory at work.
    fn utilisation(&self, handle: Handle) -> Option<[u32; 2]> {
        let mut percent: [c_uint; 2] = [0; 2];
        // SAFETY: the header's types; `percent` outlives the call.
        unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, *mut [c_uint; 2]) -> c_int>(
                b"nvmlDeviceGetUtilizationRates\0",
            )?;
            (get(handle, &mut percent) == 0).then_some(percent)
        }
    }

    fn ecc_errors(&self, handle: Handle) -> Option<u64> {
        let mut count: c_ulonglong = 0;
        // SAFETY: the header's types; `count` outlives the call.
        unsafe {
            let get = self.call::<unsafe extern "C" fn(Handle, c_int, c_int, *mut c_ulonglong) -> c_int>(
                b"nvmlDeviceGetTotalEccErrors\0",
            )?;
            (get(handle, ERRORS_UNCORRECTED, ERRORS_VOLATILE, &mut count) == 0).then_some(count)
        }
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

/// One look, in a child that asks the driver as well; `None` without the library.
pub fn look() -> Option<Vec<Card>> {
    Nvml::open().map(|nvml| nvml.cards())
}

/// A card's name of its own in the library's words, from the 16 bytes by which the driver names it; what is a part of a card
/// is told by the library alone.
pub fn uuid_text(bytes: [u8; 16], cards: &[Card]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    let part = format!("MIG-{digits}");
    if cards.iter().any(|card| card.uuid == part) { part } else { format!("GPU-{digits}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_one_name_and_a_part_its_own() {
        let bytes = std::array::from_fn(|n| n as u8);
        assert_eq!(uuid_text(bytes, &[]), "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f");
        let part = "MIG-00010203-0405-0607-0809-0a0b0c0d0e0f";
        let card = Card { uuid: part.to_owned(), ..Card::default() };
        assert_eq!(uuid_text(bytes, &[card]), part);
    }
}
