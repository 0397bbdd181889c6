//! The CUDA engine: programs on NVIDIA's driver, loaded at run time through cudarc. The one door to cudarc.
//!
//! Owns: [`CudaBackend`] (`backend.rs`) and what a program does on it (`run.rs`): its kernels (`kernels.rs`), what of them is
//! on its way (`flight.rs`), rounds that repeat (`repeat.rs`), its buffers (`buffers.rs`), copies (`copies.rs`). Also what the driver says about itself (`survey.rs`), CUDA C to PTX
//! (`compile.rs`) and what is known of it before (`source.rs`), what a card does without us (`bare.rs`), and the mapping of the driver's codes to faults (`driver.rs`).
//! Never: shows the driver foreign text. Modules reach it as the canonical print of a checked module, as PTX text, never
//! as a binary. Never waits for a device without looking at the deadline. Must only be used in a child process: a driver
//! can crash or hang, and after a kernel's fault every later call of the process fails. cudarc panics where a library or
//! symbol is missing; every call is made inside [`driver::call`], which turns that into an error.
//! Limits: drivers from CUDA 11 on; one device, one context, a stream for kernels and one for copies. Graphs, which older
//! drivers lack, are done without there.
//! Tests: `gpu/tests/backends.rs` and `node/tests/cuda.rs`, on an imitation of the driver; `scripts/gpu-check` on a card.

mod backend;
pub mod bare;
mod buffers;
mod compile;
mod copies;
mod driver;
mod flight;
mod kernels;
mod repeat;
mod run;
pub mod source;
mod survey;

pub use backend::CudaBackend;
pub use compile::{compile, compiled_for, load_compiler, nvrtc_present, nvrtc_works};
pub use survey::{Found, survey};
