//! A device's memory, modules and state.
//!
//! An allocation is host memory with a made-up address: that of a window of the CPU engine's address space, so that what a
//! kernel is given as a pointer is passed on as it is, and an access outside every window is seen for what it is. Fresh
//! memory holds junk, as a card's holds what its last owner left; what is given back before it was cleared is counted, be it
//! freed, a variable of a module that is unloaded, or left behind in a context that ends.

use super::{
    CONTEXT_IS_DESTROYED, Code, INVALID_CONTEXT, INVALID_HANDLE, INVALID_PTX, INVALID_VALUE,
    NO_BINARY_FOR_GPU, NOT_FOUND, OUT_OF_MEMORY, UNSUPPORTED_PTX_VERSION, settings::Settings, stream::Stream,
};
use ion_gpu::{
    cpu::bare::{Bare, WINDOW_BITS, Window, first_values, places, variable_bytes},
    program::shared_bytes,
    ptx,
};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// What fresh memory holds.
const JUNK: u8 = 0xa5;
/// Windows of the CPU engine's address space.
const WINDOWS_MAX: usize = 4095;
/// Dynamic shared memory that a block can be allowed: that of an H100.
pub const SHARED_MAX: u32 = 227 * 1024;
/// Shared memory that a block has unasked.
pub const SHARED_PLAIN: u32 = 48 * 1024;

/// See the module.
pub struct Device {
    pub ordinal: usize,
    pub settings: Arc<Settings>,
    memory: Mutex<Vec<Piece>>,
    pub streams: Mutex<Vec<Arc<Stream>>>,
    /// The code that every call answers with since a kernel's fault; 0 while all is well.
    broken: AtomicU32,
    /// How often its context was retained and not released.
    retained: AtomicU64,
    /// Bytes that were given back without having been cleared.
    pub residue: AtomicU64,
    /// Copies that were queued on any stream, and the latest of these that has ended.
    copies: Mutex<[u64; 2]>,
    copied: Condvar,
}

/// An allocation; its position is its window. One that was freed is empty.
struct Piece {
    bytes: Box<[u128]>,
    len: usize,
    writable: bool,
}

/// Locks what no panic can have left half done.
pub fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub fn new(ordinal: usize, settings: Arc<Settings>) -> Self {
        Self {
            ordinal,
            settings,
            memory: Mutex::default(),
            streams: Mutex::default(),
            broken: AtomicU32::new(0),
            retained: AtomicU64::new(0),
            residue: AtomicU64::new(0),
            copies: Mutex::default(),
            copied: Condvar::new(),
        }
    }

    /// The number of a copy that is queued now.
    pub fn queue_copy(&self) -> u64 {
        let [queued, _] = &mut *lock(&self.copies);
        *queued += 1;
        *queued
    }

    /// How many copies have been queued.
    pub fn copies_queued(&self) -> u64 {
        lock(&self.copies)[0]
    }

    pub fn end_copy(&self, number: u64) {
        let [_, ended] = &mut *lock(&self.copies);
        *ended = number.max(*ended);
        self.copied.notify_all();
    }

    /// Waits until a copy with a higher number has ended.
    pub fn await_copy_after(&self, number: u64) {
        let copies = lock(&self.copies);
        drop(self.copied.wait_while(copies, |[_, ended]| *ended <= number));
    }

    /// Nothing works any more after a kernel's fault, nor without a context.
    pub fn alive(&self) -> Result<(), Code> {
        match self.broken.load(Ordering::SeqCst) {
            0 if self.retained.load(Ordering::SeqCst) == 0 => Err(CONTEXT_IS_DESTROYED),
            0 => Ok(()),
            code => Err(code),
        }
    }

    pub fn retain(&self) -> Result<(), Code> {
        self.retained.fetch_add(1, Ordering::SeqCst);
        self.alive()
    }

    /// The last release ends the context, with all that is left in it.
    pub fn release(&self) -> Result<(), Code> {
        let less = |retained: u64| retained.checked_sub(1);
        let before = self.retained.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if before.map_err(|_| INVALID_CONTEXT)? == 1 {
            self.drain();
            lock(&self.memory).drain(..).for_each(|piece| self.give_back(&piece));
        }
        Ok(())
    }

    /// Waits until everything is done.
    pub fn drain(&self) {
        lock(&self.streams).iter().for_each(|stream| stream.drain());
    }

    pub fn break_down(&self, code: Code) {
        self.broken.store(code, Ordering::SeqCst);
    }

    pub fn free_bytes(&self) -> usize {
        let used: usize = lock(&self.memory).iter().map(|piece| piece.len).sum();
        self.settings.memory.saturating_sub(used)
    }

    /// Memory full of junk, and where it is.
    pub fn alloc(&self, len: usize) -> Result<u64, Code> {
        if len == 0 {
            return Err(INVALID_VALUE);
        }
        if len > self.free_bytes() || len > self.settings.alloc {
            return Err(OUT_OF_MEMORY);
        }
        self.place(len, JUNK, true)
    }

    fn place(&self, len: usize, value: u8, writable: bool) -> Result<u64, Code> {
        let bytes = vec![u128::from_ne_bytes([value; 16]); len.div_ceil(16)].into_boxed_slice();
        let mut pieces = lock(&self.memory);
        let piece = Piece { bytes, len, writable };
        let at = match pieces.iter().position(|piece| piece.len == 0) {
            Some(free) => {
                pieces[free] = piece;
                free
            }
            None if pieces.len() == WINDOWS_MAX => return Err(OUT_OF_MEMORY),
            None => {
                pieces.push(piece);
                pieces.len() - 1
            }
        };
        Ok((at as u64 + 1) << WINDOW_BITS)
    }

    /// Frees memory, once nothing uses it.
    pub fn free(&self, address: u64) -> Result<(), Code> {
        self.drain();
        let mut pieces = lock(&self.memory);
        let at = (address >> WINDOW_BITS).checked_sub(1).ok_or(INVALID_VALUE)? as usize;
        let piece = pieces.get_mut(at).filter(|piece| piece.len > 0).ok_or(INVALID_VALUE)?;
        let piece = std::mem::replace(piece, Piece { bytes: Box::default(), len: 0, writable: false });
        self.give_back(&piece);
        Ok(())
    }

    fn give_back(&self, piece: &Piece) {
        let left =
            piece.bytes.iter().flat_map(|word| word.to_ne_bytes()).take(piece.len).filter(|byte| *byte != 0);
        self.residue.fetch_add(left.count() as u64, Ordering::SeqCst);
    }

    /// Where `len` bytes from `address` on are on the host.
    pub fn range(&self, address: u64, len: usize) -> Result<usize, Code> {
        let mut pieces = lock(&self.memory);
        let at = (address >> WINDOW_BITS).checked_sub(1).ok_or(INVALID_VALUE)? as usize;
        let piece = pieces.get_mut(at).ok_or(INVALID_VALUE)?;
        let offset = (address & ((1 << WINDOW_BITS) - 1)) as usize;
        let inside = offset.checked_add(len).is_some_and(|end| end <= piece.len);
        if inside { Ok(piece.bytes.as_mut_ptr() as usize + offset) } else { Err(INVALID_VALUE) }
    }

    /// All memory, as the CPU engine takes it.
    pub fn windows(&self) -> Vec<Window> {
        let mut pieces = lock(&self.memory);
        let window = |piece: &mut Piece| Window {
            start: piece.bytes.as_mut_ptr().cast(),
            len: piece.len as u64,
            writable: piece.writable,
        };
        pieces.iter_mut().map(window).collect()
    }

    /// Flips a bit of what was allocated last, where this device is the one that computes wrongly.
    pub fn err(&self) {
        if self.settings.wrong == Some(self.ordinal)
            && let Some(piece) = lock(&self.memory).iter_mut().rfind(|piece| piece.len > 0 && piece.writable)
        {
            piece.bytes[0] ^= 1;
        }
    }
}

/// A loaded module.
pub struct Module {
    pub device: &'static Device,
    /// Where its global and its constant variables begin; 0 where there are none.
    variables: [u64; 2],
    /// Name, place and size of each variable that is visible from outside.
    visible: Vec<(String, u64, usize)>,
    functions: Vec<&'static Function>,
}

/// A kernel of a loaded module.
pub struct Function {
    pub device: &'static Device,
    pub name: String,
    pub kernel: Bare,
    /// Offset and size of each parameter, and the size of all.
    pub params: Vec<(usize, usize)>,
    pub param_bytes: usize,
    pub shared: u32,
    pub shared_allowed: AtomicU32,
}

impl Module {
    /// Compiles PTX; `Err` holds what a driver's compiler would say as well.
    pub fn load(device: &'static Device, text: &str) -> Result<Self, (Code, String)> {
        let said =
            |refusal: ptx::Refusal| (INVALID_PTX, format!("line {}: {}", refusal.at.line, refusal.what));
        let parsed = ptx::parse(text).map_err(said)?;
        let (major, minor) = parsed.version;
        // CUDA 11.0 came with PTX 7.0, and so on.
        let driver = device.settings.driver;
        if (major, minor) > ((driver / 1000).saturating_sub(4), driver % 1000 / 10) {
            return Err((UNSUPPORTED_PTX_VERSION, format!("PTX {major}.{minor} is too new")));
        }
        if parsed.target > device.settings.capability {
            return Err((NO_BINARY_FOR_GPU, format!("it is for sm_{}", parsed.target)));
        }
        let sizes = variable_bytes(&parsed).map(|bytes| bytes as usize);
        let mut variables = [0; 2];
        for ((address, bytes), writable) in variables.iter_mut().zip(sizes).zip([true, false]) {
            if bytes > 0 {
                *address = device.place(bytes, 0, writable).map_err(|code| (code, String::new()))?;
            }
        }
        let mut values = sizes.map(|bytes| vec![0; bytes]);
        first_values(&parsed, variables, values.each_mut().map(Vec::as_mut_slice));
        for (address, values) in variables.iter().zip(values).filter(|(_, values)| !values.is_empty()) {
            let to = device.range(*address, values.len()).map_err(|code| (code, String::new()))?;
            // SAFETY: the range was just allocated, and nothing else knows of it.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to as *mut u8, values.len()) };
        }
        let visible = visible(text, &parsed, variables);
        let mut module = Self { device, variables, visible, functions: Vec::new() };
        // What its compiler cannot do shows now, as a driver's does.
        match parsed.kernels().map(|kernel| Function::of(device, &parsed, kernel, variables)).collect() {
            Ok(functions) => {
                module.functions = functions;
                Ok(module)
            }
            Err(refused) => {
                module.unload().map_err(|code| (code, String::new()))?;
                Err(refused)
            }
        }
    }

    /// A kernel by name; the same one each time.
    pub fn function(&self, name: &str) -> Result<&'static Function, Code> {
        self.functions.iter().find(|function| function.name == name).copied().ok_or(NOT_FOUND)
    }

    /// Where a variable is, and how many bytes it has.
    pub fn variable(&self, name: &str) -> Result<(u64, usize), Code> {
        let found = self.visible.iter().find(|(visible, ..)| visible == name);
        found.map(|(_, place, bytes)| (*place, *bytes)).ok_or(NOT_FOUND)
    }

    /// Frees the variables.
    pub fn unload(&self) -> Result<(), Code> {
        self.variables.iter().filter(|at| **at > 0).try_for_each(|at| self.device.free(*at))
    }
}

/// Name, place and size of each variable that the text, which is canonical, shows to the outside.
fn visible(text: &str, parsed: &ptx::Module, variables: [u64; 2]) -> Vec<(String, u64, usize)> {
    let is_visible = |name: &str| {
        let declared = |line: &str| line.split(['[', ' ']).any(|word| word == name);
        text.lines().any(|line| line.starts_with(".visible .") && declared(line))
    };
    let placed = ptx::lasting_variables(parsed).zip(places(parsed, variables));
    let all = placed.map(|((name, variable), place)| (name, place, variable.bytes() as usize));
    all.filter(|(name, ..)| is_visible(name)).collect()
}

impl Function {
    /// It is never freed: launches on their way may outlive the module.
    fn of(
        device: &'static Device,
        parsed: &ptx::Module,
        kernel: &ptx::Function,
        variables: [u64; 2],
    ) -> Result<&'static Self, (Code, String)> {
        let bare = Bare::new(parsed, kernel, variables).map_err(|fault| (INVALID_PTX, fault.to_string()))?;
        let shared = shared_bytes(parsed, &ptx::reachable(parsed, kernel));
        let function = Function {
            device,
            name: kernel.name.clone(),
            kernel: bare,
            params: kernel.params.iter().map(|p| (p.offset as usize, p.bytes() as usize)).collect(),
            param_bytes: kernel.param_bytes() as usize,
            shared: u32::try_from(shared).map_err(|_| (INVALID_HANDLE, String::new()))?,
            shared_allowed: AtomicU32::new(0),
        };
        Ok(Box::leak(Box::new(function)))
    }
}
