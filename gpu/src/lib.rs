//! GPU programs on CUDA devices and on the CPU, in a child process.
//!
//! The node never calls a driver: it starts `ion worker`, a child of the same binary, and speaks frames with it
//! ([`worker::frame`]). What the machine has is found out by such a child too ([`probe`]).

pub mod backend;
pub mod challenge;
pub mod cpu;
pub mod cuda;
pub mod meter;
pub mod nvml;
pub mod pages;
pub mod power;
pub mod probe;
pub mod program;
pub mod ptx;
pub mod replay;
pub mod states;
pub mod worker;
