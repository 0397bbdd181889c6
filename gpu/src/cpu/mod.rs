//! The CPU engine: PTX executed by an interpreter, 32 lanes at a time.
//!
//! It is the reference that devices are held against: small, checked at every access, bounded in instructions and
//! time, and giving the same bits on every machine for kernels whose profile is exact. It is also what a machine
//! without a GPU runs jobs on.
//!
//! ```text
//! backend  a program: buffers, steps, report        decode   checked PTX -> Code, once a kernel
//! grid     a launch: blocks dealt to cores          block    warps, barriers, shared and local memory
//! warp     32 lanes, divergence                     lanes    registers and loops over lanes
//! crew     the cores that run blocks
//! sparse   memory of which only what is touched exists, for replay
//! reach    what a launch can write at all            pieces   what of a program's memory is where, for that and replay
//! bare     a launch on memory that somebody else keeps
//! int, float, approx, convert, tiny, compare, transfer, matrix, tensor, collective, object, video, print: the instructions
//! soft: exact rounding; memory: the addresses
//! ```
//!
//! Never: runs text that was not checked, nor lets a kernel touch anything but its own buffers.
//! Limits: `ptx::limits`, and `decode::EXPANDED_MAX` for calls.
//! Tests: `gpu/tests/cpu_*.rs`.

pub mod approx;
mod backend;
pub mod bare;
pub(crate) mod block;
pub(crate) mod code;
pub(crate) mod collective;
mod compare;
mod convert;
mod crew;
pub(crate) mod decode;
mod float;
pub(crate) mod grid;
mod half;
mod int;
pub(crate) mod jit;
mod lanes;
mod matrix;
pub(crate) mod memory;
mod object;
pub(crate) mod pieces;
mod print;
pub(crate) mod reach;
mod soft;
pub(crate) mod sparse;
mod tensor;
mod tiny;
mod transfer;
mod video;
pub(crate) mod warp;

pub use backend::CpuBackend;
pub use print::PRINTED_BYTES_MAX;
