//! The CUDA engine: programs on NVIDIA's driver, loaded at run time through cudarc. The one door to cudarc.
//!
//! Owns: [`CudaBackend`] (`run.rs`), what the driver says about itself (`survey.rs`), CUDA C to PTX (`compile.rs`), and
//! the mapping of the driver's codes to faults (`driver.rs`).
//! Never: shows the driver foreign text. Modules reach it as the canonical print of a checked module, as PTX text, never
//! as a binary. Never waits for a device without looking at the deadline. Must only be used in a child process: a driver
//! can crash or hang, and after a kernel's fault every later call of the process fails. cudarc panics where a library or
//! symbol is missing; every call is made inside [`driver::call`], which turns that into an error.
//! Limits: drivers from CUDA 11 on; one device, one context, one stream.
//! Tests: `gpu/tests/backends.rs`, which says by name when there is no device to run them on.

mod compile;
mod driver;
mod run;
mod survey;

pub use compile::{compile, load_compiler, nvrtc_present};
pub use run::CudaBackend;
pub use survey::{Found, survey};
