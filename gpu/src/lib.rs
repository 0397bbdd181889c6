//! GPU programs on CUDA devices and on the CPU, in a child process.

pub mod backend;
pub mod program;
pub mod ptx;
