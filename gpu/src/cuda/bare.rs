//! What a card does without us: launches and copies in plain loops of the driver's calls, for `scripts/gpu-check` to compare.
//!
//! Never used by a worker. Nothing here looks at a deadline.

use super::driver::{self, Context, Memory, Module, Pinned, Stream, Trouble, fault};
use cudarc::driver::result;
use ion_protocol::fault::Fault;
use std::{
    ffi::{CString, c_void},
    time::{Duration, Instant},
};

/// A kernel that takes a buffer and a number, launched again and again.
#[derive(Clone, Copy, Debug)]
pub struct Loop<'a> {
    pub ptx: &'a str,
    pub kernel: &'a str,
    pub grid: u32,
    pub block: u32,
    pub bytes: usize,
    pub number: u32,
    pub times: u32,
}

/// Of which memory of the host a copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Any, as a program's bytes are.
    Plain,
    /// Pinned, from which the device copies by itself.
    Pinned,
}

/// Copies are made so often.
const ROUNDS: usize = 3;

fn wait(stream: &Stream) -> Result<(), Trouble> {
    // SAFETY: the stream lives.
    driver::call(|| unsafe { result::stream::synchronize(stream.0) })
}

/// The time of a loop with all that its program needs: the module, the memory, the launches, the result.
pub fn launches(ordinal: u32, of: &Loop<'_>) -> Result<Duration, Fault> {
    let name = |text: &str| CString::new(text).map_err(|_| Fault::Program { message: "a NUL".into() });
    let (ptx, kernel) = (name(of.ptx)?, name(of.kernel)?);
    let timed = || -> Result<Duration, Trouble> {
        let _context = Context::open(ordinal)?;
        let (stream, mut back) = (Stream::create()?, Pinned::alloc(of.bytes)?);
        let began = Instant::now();
        let module = Module::compile(&ptx, &[]).map_err(|(trouble, _)| trouble)?;
        let function = module.kernel(&kernel)?;
        let memory = Memory::alloc(of.bytes)?;
        memory.zero(&stream)?;
        let (mut address, mut number) = (memory.address, of.number);
        let mut params = [(&raw mut address).cast::<c_void>(), (&raw mut number).cast::<c_void>()];
        for _ in 0..of.times {
            let (grid, block) = ((of.grid, 1, 1), (of.block, 1, 1));
            // SAFETY: the module is loaded; there is a pointer a parameter, to as much as it takes.
            driver::call(|| unsafe {
                result::launch_kernel(function, grid, block, 0, stream.0, &mut params)
            })?;
        }
        memory.read(0, &mut back, of.bytes, &stream)?;
        wait(&stream)?;
        Ok(began.elapsed())
    };
    timed().map_err(|trouble| fault(trouble, "the bare loop"))
}

/// The quickest of some copies of so many bytes: to the device, and from it.
pub fn copies(ordinal: u32, bytes: usize, host: Host) -> Result<[Duration; 2], Fault> {
    let timed = || -> Result<[Duration; 2], Trouble> {
        let _context = Context::open(ordinal)?;
        let (stream, memory) = (Stream::create()?, Memory::alloc(bytes)?);
        let mut pinned = Pinned::alloc(if host == Host::Pinned { bytes } else { 1 })?;
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            // What a program is given was written before, and what it gives is new.
            let given = vec![1u8; if host == Host::Plain { bytes } else { 0 }];
            let began = Instant::now();
            match host {
                Host::Plain => {
                    // SAFETY: both ranges have that size, and stay until the stream was waited for.
                    driver::call(|| unsafe { result::memcpy_htod_async(memory.address, &given, stream.0) })?;
                }
                Host::Pinned => memory.fill(0, &pinned, bytes, &stream)?,
            }
            wait(&stream)?;
            best[0] = best[0].min(began.elapsed());
            let began = Instant::now();
            let mut got = Vec::<u8>::new();
            match host {
                Host::Plain => {
                    got.resize(bytes, 0);
                    // SAFETY: as above.
                    driver::call(|| unsafe {
                        result::memcpy_dtoh_async(&mut got, memory.address, stream.0)
                    })?;
                }
                Host::Pinned => memory.read(0, &mut pinned, bytes, &stream)?,
            }
            wait(&stream)?;
            best[1] = best[1].min(began.elapsed());
        }
        memory.zero(&stream)?;
        wait(&stream)?;
        Ok(best)
    };
    timed().map_err(|trouble| fault(trouble, "the bare copy"))
}
