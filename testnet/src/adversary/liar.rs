//! A provider whose worker falsifies every result.
//!
//! A node's worker is its own program started again, so a liar is started from a copy of `ion` that is replaced, as soon
//! as it runs, by a program that stands between the node and a real worker and changes what comes out. What the node then
//! signs is false, and it does not know.

use crate::cluster::{Cluster, log::Mark};
use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// The verb of `ion-testnet` under which it is the program in between.
pub const VERB: &str = "lying-worker";
/// Length and kind: the header of a worker's frame.
const HEADER_BYTES: usize = 5;
/// The kind of frames that hold outputs.
const BYTES: u8 = 1;
/// A worker's largest frame is far smaller.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// Starts a provider that was added to the cluster, as a liar.
pub fn start(cluster: &mut Cluster, node: usize, testnet: &Path) -> Result<Mark> {
    let ion = cluster.ion.path().to_owned();
    let dir = cluster.subdir("liar")?;
    let copy = dir.join("ion");
    fs::copy(&ion, &copy).context("a copy of ion")?;
    let script = format!("#!/bin/sh\nexec '{}' {VERB} '{}' \"$@\"\n", testnet.display(), ion.display());
    // The system calls a running program whose file was replaced by another name, so both must be the liar's.
    let names = [copy.clone(), dir.join("ion (deleted)")];
    let drafts = names.each_ref().map(|name| name.with_extension("draft"));
    for draft in &drafts {
        fs::write(draft, &script)?;
        fs::set_permissions(draft, fs::Permissions::from_mode(0o755))?;
    }
    fs::rename(&drafts[1], &names[1])?;
    let mark = cluster[node].start(&copy)?;
    fs::rename(&drafts[0], &names[0])?;
    Ok(mark)
}

/// This program, where it is `ion-testnet` itself.
pub fn own_program() -> Result<PathBuf> {
    env::current_exe().context("this program's own path")
}

/// The program in between: `ion worker ..` with every byte of output changed. Answers of probes are not.
pub fn run(ion: &Path, args: &[OsString]) -> Result<ExitCode> {
    let mut command = Command::new(ion);
    command.args(args);
    if !args.iter().any(|arg| arg == "--engine") {
        return Err(command.exec()).context("starting ion");
    }
    let mut worker = command.stdout(Stdio::piped()).spawn().context("starting ion")?;
    let mut from = worker.stdout.take().context("standard output is a pipe")?;
    let mut to = io::stdout().lock();
    while falsify(&mut from, &mut to)? {}
    let code = worker.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Passes one frame on; whether there was one.
fn falsify(from: &mut impl Read, to: &mut impl Write) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    if let Err(error) = from.read_exact(&mut header) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error.into()) };
    }
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    if length == 0 || length > FRAME_BYTES_MAX {
        bail!("a frame of {length} bytes");
    }
    let mut payload = vec![0; length as usize - 1];
    from.read_exact(&mut payload)?;
    if header[4] == BYTES {
        payload.iter_mut().for_each(|byte| *byte ^= 1);
    }
    to.write_all(&header)?;
    to.write_all(&payload)?;
    to.flush()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_changed_and_messages_are_not() {
        let message = [3, 0, 0, 0, 0, 7, 9];
        let output = [4, 0, 0, 0, BYTES, 0, 1, 255];
        let mut told = Vec::new();
        let mut from = &[message.as_slice(), &output].concat()[..];
        while falsify(&mut from, &mut told).unwrap() {}
        assert_eq!(told, [message.as_slice(), &[4, 0, 0, 0, BYTES, 1, 0, 254]].concat());
        assert!(falsify(&mut &[0xff; 9][..], &mut told).is_err());
    }
}
