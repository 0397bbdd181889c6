//! A check in the child: blocks of a delivered program run again, with what is needed of its blobs asked from the node.
//!
//! Never: holds a blob whole but for modules, nor runs a program for its result. Tests: `node/tests/check.rs`.

use super::{
    frame::{Ask, Between, FromWorker, NEED_BYTES_MAX},
    serve::{Frames, Out, broken, room, say},
};
use crate::{
    backend::RunLimits,
    program::{LoadedProgram, Sources, no_compiler},
    replay::{Origin, replay, replay_either},
};
use ion_protocol::{
    BlobHash, Bytes,
    check::Finding,
    fault::Fault,
    job::{Init, Source},
};
use std::{collections::VecDeque, sync::atomic::AtomicBool};

/// What is asked for at once of a blob that the node holds, since what is needed next is mostly near.
const WINDOW_BYTES: u64 = 64 * 1024;
/// Windows kept: 4 MiB.
const WINDOWS_MAX: usize = 64;

/// The node's store, as far as it shows it.
struct Store<'a> {
    frames: &'a mut Frames,
    out: &'a Out,
    /// What was asked for last: of which blob, from where on, and the bytes.
    windows: VecDeque<(BlobHash, u64, Vec<u8>)>,
}

impl Store<'_> {
    /// Reads of a blob of `bytes` bytes that the node holds.
    fn read_near(&mut self, blob: BlobHash, bytes: u64, from: u64, into: &mut [u8]) -> Result<(), Fault> {
        let start = from / WINDOW_BYTES * WINDOW_BYTES;
        let end = from.saturating_add(into.len() as u64);
        if end > start + WINDOW_BYTES || end > bytes {
            return self.read(blob, from, into);
        }
        let held = |(of, at, _): &(BlobHash, u64, Vec<u8>)| (*of, *at) == (blob, start);
        if !self.windows.iter().any(held) {
            let mut window = vec![0; (bytes - start).min(WINDOW_BYTES) as usize];
            self.read(blob, start, &mut window)?;
            self.windows.truncate(WINDOWS_MAX - 1);
            self.windows.push_front((blob, start, window));
        }
        if let Some((_, _, window)) = self.windows.iter().find(|window| held(window)) {
            let skip = (from - start) as usize;
            into.copy_from_slice(&window[skip..skip + into.len()]);
        }
        Ok(())
    }

    fn read(&mut self, blob: BlobHash, from: u64, into: &mut [u8]) -> Result<(), Fault> {
        let bytes = into.len() as u64;
        if bytes > NEED_BYTES_MAX {
            return Err(broken(&format!("{} are needed at once", Bytes(bytes))));
        }
        say(self.out, &FromWorker::Need { blob, from, bytes })?;
        self.frames.fill(into)
    }
}

/// Runs the blocks.
pub(super) fn check(ask: &Ask, memory: Bytes, frames: &mut Frames, out: &Out) -> Result<Finding, Fault> {
    let program = &ask.spec.program;
    ask.spec.check().map_err(|error| Fault::Program { message: error.to_string() })?;
    let declared = program.outputs().map(|n| (n, program.buffers[usize::from(n)].bytes));
    if !declared.eq(ask.outputs.iter().map(|output| (output.buffer, output.bytes))) {
        return Err(Fault::Program { message: "the outputs are not those of the program".to_owned() });
    }
    // Two compilers of different age give different PTX for one text, and both are right.
    if let Some(module) = program.modules.iter().find(|module| module.source == Source::CudaC) {
        let why =
            format!("module `{}` is CUDA C, which each machine compiles its own way; give PTX", module.name);
        return Ok(Finding::NotCheckable { why });
    }
    let mut store = Store { frames, out, windows: VecDeque::new() };
    let mut module = |blob, bytes: Bytes| {
        let mut text = room(bytes.min(Bytes(NEED_BYTES_MAX)))?;
        store.read(blob, 0, &mut text).map(|()| text)
    };
    let mut sources = Sources { blob: &mut module, compile: &mut no_compiler };
    // Only what is touched is held, so the size of the whole is no matter here.
    let whole = RunLimits { run: ask.limit, memory: Bytes(u64::MAX), fuel: None };
    let loaded = LoadedProgram::load_code(program.clone(), &whole, &mut sources)?;
    let mut read = |origin, from: u64, into: &mut [u8]| {
        let held = |buffer: u16| program.buffers.get(usize::from(buffer));
        let blob = match origin {
            Origin::Input(buffer) => match held(buffer).map(|buffer| (buffer.init, buffer.bytes)) {
                Some((Init::Blob(blob), bytes)) => Some((blob, bytes)),
                Some((Init::Zero, _)) | None => None,
            },
            Origin::Output(buffer) => {
                ask.outputs.iter().find(|o| o.buffer == buffer).map(|output| (output.hash, output.bytes))
            }
            // Another node shows it: no more is asked of it than is needed.
            Origin::States => match &ask.between {
                Some(between) => return store.read(between.kept.blob, from, into),
                None => None,
            },
        };
        let (blob, bytes) = blob.ok_or_else(|| broken("a buffer that is no blob is needed"))?;
        store.read_near(blob, bytes.0, from, into)
    };
    let (limits, cancel) = (RunLimits { memory, ..whole }, AtomicBool::new(false));
    match &ask.between {
        Some(Between { kept, blocks }) => {
            replay_either(&loaded, &ask.blocks, (kept, blocks), &limits, &cancel, &mut read)
        }
        None => replay(&loaded, &ask.blocks, &limits, &cancel, &mut read),
    }
}
