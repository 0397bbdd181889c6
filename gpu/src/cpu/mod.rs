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
//! int, float, convert, compare, transfer, collective: the instructions; soft: exact rounding; memory: the addresses
//! ```
//!
//! Never: runs text that was not checked, nor lets a kernel touch anything but its own buffers.
//! Limits: `ptx::limits`, and `decode::EXPANDED_MAX` for calls.
//! Tests: `gpu/tests/cpu_*.rs`.

mod backend;
mod block;
mod code;
mod collective;
mod compare;
mod convert;
mod decode;
mod float;
mod grid;
mod int;
mod lanes;
mod memory;
mod soft;
mod transfer;
mod warp;

pub use backend::CpuBackend;
