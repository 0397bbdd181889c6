//! A program that is a script, to be started in place of another.

use anyhow::{Context, Result, ensure};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Puts a script there, which its owner may run.
///
/// Another process writes it: whatever this one starts meanwhile would hold it open a moment longer, and the system starts
/// nothing that is open for writing.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).with_context(|| draft.display().to_string())?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o700))?;
    copy(&draft, path)?;
    fs::remove_file(draft).map_err(Into::into)
}

/// Copies a program, by another process for the same reason.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-p").arg(from).arg(to).status().context("cp")?;
    ensure!(copied.success(), "a copy of {}: {copied}", from.display());
    Ok(())
}
