//! The jobs of the demo and the kill harness: each writes its manifest, kernel and inputs into a directory, and checks
//! what came back against an independent computation in plain Rust.
//!
//! Every comparison is bit by bit: the kernels name their rounding and their order, so there is one right answer.

pub mod mandelbrot;
pub mod matmul;
pub mod numbers;
pub mod saxpy;
pub mod walk;

use anyhow::Result;
use std::path::{Path, PathBuf};

/// A job this crate can write and check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// y := a x + y.
    Saxpy(saxpy::Saxpy),
    /// A matrix product.
    Matmul(matmul::Matmul),
    /// A picture.
    Mandelbrot(mandelbrot::Mandelbrot),
    /// Work of a chosen length.
    Walk(walk::Walk),
}

impl Program {
    /// For people.
    pub fn title(&self) -> String {
        match self {
            Program::Saxpy(p) => format!("saxpy over {} elements", numbers::grouped(p.elements.into())),
            Program::Matmul(p) => format!("matrix product {0} x {0}", p.n),
            Program::Mandelbrot(p) => format!("Mandelbrot picture {} x {}", p.width, p.height),
            Program::Walk(p) => format!("walk of {} launches", p.launches),
        }
    }

    /// Writes everything the job needs into `dir`; answers its manifest.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(dir)?;
        let (kernel, text, manifest) = match self {
            Program::Saxpy(p) => ("saxpy.ptx", saxpy::KERNEL, p.write(dir)?),
            Program::Matmul(p) => ("matmul.ptx", matmul::KERNEL, p.write(dir)?),
            Program::Mandelbrot(p) => ("mandelbrot.ptx", mandelbrot::KERNEL, p.manifest()),
            Program::Walk(p) => ("walk.ptx", walk::KERNEL, p.write(dir)?),
        };
        std::fs::write(dir.join(kernel), text)?;
        let path = dir.join("job.toml");
        std::fs::write(&path, manifest)?;
        Ok(path)
    }

    /// Compares what the job left in `out` with what must be there. Answers what was compared, for people.
    pub fn check(&self, out: &Path) -> Result<String> {
        match self {
            Program::Saxpy(p) => p.check(out),
            Program::Matmul(p) => p.check(out),
            Program::Mandelbrot(p) => p.check(out),
            Program::Walk(p) => p.check(out),
        }
    }
}
