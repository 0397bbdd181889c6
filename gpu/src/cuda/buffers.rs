//! A program's buffers on the device: what each is to hold before it is first used, and by which launch it was used last.
//!
//! Never: knows kernels, nor who is to blame for what fails. Tests: `gpu/tests/backends.rs`.

use super::{
    backend::Desk,
    copies::Way,
    driver::{self, Cut, Event, Memory, Stream, Trouble, fault},
};
use crate::{
    backend::{Output, RunLimits, Stop},
    pages::AlignedBytes,
    program::LoadedProgram,
};
use cudarc::driver::sys;
use ion_protocol::{Bytes, fault::Fault};

/// All of them; none before they are allocated. Nothing is left in them when they are freed; after a fault they are not, and
/// the process ends.
#[derive(Default)]
pub(super) struct Buffers {
    held: Vec<Held>,
    cleared: bool,
}

/// A buffer on the device.
struct Held {
    memory: Memory,
    first: First,
    /// How many launches had been queued when it was last used.
    used: u64,
}

/// What a buffer is to hold before it is first used.
enum First {
    Zeros,
    Bytes(AlignedBytes),
    /// It holds that, or what came after.
    Held,
}

impl Buffers {
    /// Allocates them all; they hold anything yet.
    pub fn alloc(job: &mut LoadedProgram, limits: &RunLimits) -> Result<Self, Fault> {
        let failed = |trouble| fault(trouble, "the program");
        let (needed, free) = (job.program().memory(), driver::memory_free().map_err(failed)?);
        if needed > free {
            let message = format!("the device has {free} free where {needed} are needed");
            return Err(if needed > limits.memory {
                Fault::Memory { needed, limit: limits.memory }
            } else {
                Fault::Room { message }
            });
        }
        let sizes = job.program().buffers.iter().map(|buffer| buffer.bytes.0 as usize);
        let allocated: Result<Vec<Memory>, Trouble> = sizes.map(Memory::alloc).collect();
        let held = allocated.map_err(failed)?.into_iter().enumerate().map(|(n, memory)| {
            let first = job.take_content(n as u16).map_or(First::Zeros, First::Bytes);
            Held { memory, first, used: 0 }
        });
        Ok(Self { held: held.collect(), cleared: false })
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Where a buffer is.
    pub fn address(&self, n: u16) -> sys::CUdeviceptr {
        self.held[usize::from(n)].memory.address
    }

    /// Clears those that begin with zeros.
    pub fn clear(&mut self, stream: &Stream) -> Result<(), Trouble> {
        for held in self.held.iter_mut().filter(|held| matches!(held.first, First::Zeros)) {
            held.memory.zero(stream)?;
            held.first = First::Held;
        }
        Ok(())
    }

    /// Clears them all, for the last time.
    pub fn zero(&mut self, stream: &Stream) -> Result<(), Trouble> {
        self.held.iter().try_for_each(|held| held.memory.zero(stream))?;
        self.cleared = true;
        Ok(())
    }

    /// Has a buffer's first content on its way before whatever kernel is queued next.
    pub fn fill(&mut self, n: u16, desk: &mut Desk, stop: &Stop<'_>) -> Result<(), Cut> {
        let held = &mut self.held[usize::from(n)];
        let First::Bytes(content) = &mut held.first else { return Ok(()) };
        let content = std::mem::take(content);
        held.first = First::Held;
        desk.staging.upload(&content, &held.memory, Way { stream: &desk.copies, stop })?;
        let filled = desk.event()?;
        filled.record(&desk.copies)?;
        desk.kernels.wait_for(&filled)?;
        // Whoever waits has taken this mark down, so the event may be marked anew.
        desk.events.push(filled);
        Ok(())
    }

    /// What a buffer holds once `last` is passed, which its last launch ends with if that may still run.
    pub fn read(
        &self,
        n: u16,
        last: Option<&Event>,
        desk: &mut Desk,
        stop: &Stop<'_>,
    ) -> Result<Output, Cut> {
        if let Some(last) = last {
            desk.copies.wait_for(last)?;
        }
        let memory = &self.held[usize::from(n)].memory;
        let Some(mut bytes) = AlignedBytes::zeros(memory.bytes) else {
            let message = format!("no memory to read back {}", Bytes(memory.bytes as u64));
            return Err(Cut::Stop(Fault::Room { message }));
        };
        desk.staging.download(memory, &mut bytes, Way { stream: &desk.copies, stop })?;
        Ok(Output { buffer: n, bytes })
    }

    /// How many launches had been queued when a buffer was last used.
    pub fn used(&self, n: u16) -> u64 {
        self.held[usize::from(n)].used
    }

    /// Says that the launch of that number uses a buffer.
    pub fn use_in(&mut self, n: u16, launch: u64) {
        self.held[usize::from(n)].used = launch;
    }

    /// Says that the launch of that number uses any of them.
    pub fn use_all_in(&mut self, launch: u64) {
        self.held.iter_mut().for_each(|held| held.used = launch);
    }

    /// Has two buffers exchange what they hold.
    pub fn swap(&mut self, a: u16, b: u16) {
        self.held.swap(usize::from(a), usize::from(b));
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // They were made ready for a run that never came.
        if !self.cleared && !self.held.is_empty() {
            // It fails on a device that is of no more use.
            let _ = driver::wipe(self.held.iter().map(|Held { memory, .. }| (memory.address, memory.bytes)));
        }
    }
}
