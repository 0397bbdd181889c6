//! The just-in-time compiler of the CPU engine: decoded instructions to machine code, through Cranelift.
//!
//! Owns: which parts of a kernel become machine code, and the promise that nobody can tell. The interpreter stays in
//! charge: it schedules warps, splits and joins their lanes, and executes whatever is not translated. Where a warp comes
//! to the first instruction of a translated *region*, the region's function takes all active lanes through it at once,
//! four threads a vector register, then those of the warps after it that stand there too, works on the interpreter's own frame, counts instructions as the interpreter does,
//! and gives the warp back at the region's end. Memory is checked at every access; a check that fails undoes the region,
//! or, in one that has written to memory, what came after that, and the interpreter executes the same instructions
//! again, to serve an access that is unusual and to name one that is wrong. Where memory is brought piece by piece and
//! watched, a check that fails asks whoever keeps it ([`context::reach`]) before that. Bits, faults, counts and the order of
//! everything visible are therefore those of the interpreter.
//!
//! ```text
//! effects  what each instruction reads and writes      flow     blocks, liveness
//! fold     constants out of registers                  rename   a register for each value of the beginning
//! class    uniform registers, NaNs left for later      stride   registers that grow evenly from lane to lane
//! region   what becomes one function
//! build    a region's function, pass by pass, and (`build/finish`) what it does once after all of them, or
//!          (`build/settle`) on the way
//! emit/    instructions, one by one                    context  what generated code sees of a warp
//! unit     a kernel's machine code                     tier     when it is made;  cache  kept for the process
//! ```
//!
//! A region assumes that the registers it keeps as scalars are the same in all active lanes. That follows from how they
//! are computed as long as a warp's lanes have stayed together; once they have split, it is checked at each entry.
//!
//! Machine code is written to pages that are then made executable and no longer writable; nothing is ever both.
//! Never: changes a result. An instruction that is not translated costs time, nothing else.
//! Limits: [`flow::CODES_MAX`], [`region::REGION_CODES_MAX`], [`unit::UNIT_CODES_MAX`],
//! [`unit::UNIT_SIZE_MAX`], [`cache::UNITS_MAX`].
//! Tests: `gpu/tests/cpu_engines.rs`, and all of `gpu/tests/cpu_*.rs` on both engines.

mod build;
mod cache;
mod class;
mod context;
mod effects;
mod emit;
mod flow;
mod fold;
mod region;
mod rename;
mod stride;
mod tier;
mod unit;

pub use context::{Context, Room, Seat};
pub use region::{BAILED, Region};
pub use stride::Rows;
pub use tier::{Ready, Tier};
pub use unit::{Native, Unit};

use ion_protocol::hardware::Engine;

/// What this processor runs kernels with: machine code, if it can be made for it.
pub fn engine() -> Engine {
    if unit::isa().is_some() { Engine::CpuJit } else { Engine::CpuInterpreter }
}
