//! Whether this machine can do what was asked of it, before any node is started.
//!
//! Tests: `testnet/tests/usage.rs`.

use crate::cluster::ion::Ion;
use anyhow::{Context, Result, bail};
use std::fmt;

/// This machine cannot do what was asked. Ends the program with exit code 3.
#[derive(Debug)]
pub struct Unfit {
    what: String,
    /// The way out.
    pub hint: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Unfit {}

/// Providers that are to offer GPUs alone need one: asks `ion doctor`, whose first problem is ours.
pub fn lends(ion: &Ion, backend: &str) -> Result<()> {
    if backend != "cuda" {
        return Ok(());
    }
    let dir = tempfile::tempdir().context("a temporary directory")?;
    let seen = ion.finish(dir.path(), ["doctor", "--backend", backend])?;
    if seen.code == Some(0) {
        return Ok(());
    }
    let findings = seen.said.first().and_then(|all| all["findings"].as_array());
    let problem = findings.into_iter().flatten().find(|one| one["verdict"] == "problem");
    let Some([found, hint]) = problem.map(|one| [&one["found"], &one["hint"]].map(|text| text.as_str()))
    else {
        bail!("`ion doctor` ended with {:?}: {}", seen.code, seen.errors.trim());
    };
    let (found, hint) = (found.unwrap_or_default(), hint.unwrap_or_default());
    let what = format!("no provider here could offer a GPU: {found}");
    let hint = format!("{hint}; or leave out `--backend cuda`, and the processor runs the same kernels");
    Err(Unfit { what, hint }.into())
}
