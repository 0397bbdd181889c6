//! A module for people: what `ion ptx check` shows.
//!
//! Owns: [`Inspection`] and its words. Never: reads files.
//! Tests: `gpu/tests/ptx_hostile.rs`.

use super::{Module, Refusal, Resources, canonical, ir::Class, parse, resources};
use ion_protocol::{BlobHash, Bytes};
use std::fmt;

/// What can be said of a module that is not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub version: (u32, u32),
    pub target: u32,
    /// The canonical text's hash, by which a module is known.
    pub hash: BlobHash,
    pub kernels: Vec<KernelSummary>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSummary {
    pub name: String,
    /// The parameters' types, in order: `u64`, `b8[16]`.
    pub params: Vec<String>,
    pub resources: Resources,
}

/// Reads and checks a text, and says what is in it. A refusal can be rendered with [`Refusal::render`].
pub fn inspect(text: &str) -> Result<Inspection, Refusal> {
    let module = parse(text)?;
    let kernels = module.kernels().map(|k| summary(&module, k)).collect();
    Ok(Inspection { version: module.version, target: module.target, hash: canonical(&module).hash, kernels })
}

fn summary(module: &Module, kernel: &super::Function) -> KernelSummary {
    let params = kernel.params.iter().map(|p| {
        let count = p.count.map_or(String::new(), |n| format!("[{n}]"));
        format!("{}{count}", p.element.text())
    });
    KernelSummary {
        name: kernel.name.clone(),
        params: params.collect(),
        resources: resources(module, kernel),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version;
        writeln!(f, "PTX {major}.{minor} for sm_{}, {}", self.target, self.hash)?;
        for kernel in &self.kernels {
            writeln!(f, "kernel {}({})", kernel.name, kernel.params.join(", "))?;
            let r = &kernel.resources;
            let counts = Class::ALL.iter().zip(r.registers).filter(|(_, n)| *n > 0);
            let registers: Vec<String> = counts.map(|(c, n)| format!("{n} {}", c.type_text())).collect();
            writeln!(f, "  {} instructions; registers: {}", r.instructions, registers.join(", "))?;
            let dynamic = if r.dynamic_shared { " and what the launch adds" } else { "" };
            writeln!(f, "  {} of shared memory a block{dynamic}", Bytes(r.shared_bytes))?;
            writeln!(f, "  {} of local memory a thread", Bytes(r.local_bytes))?;
            if let Some(profile) = &r.profile {
                writeln!(f, "  {profile}")?;
            }
        }
        Ok(())
    }
}
