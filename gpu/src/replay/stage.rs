//! A program's memory and kernels, set up for running single blocks of single launches.
//!
//! Owns: which piece of sparse memory is what (buffers first, then each module's global and constant variables), where
//! first contents come from, and how far a block got. Never: judges.

use super::{Known, Read};
use crate::{
    backend::{RunLimits, Stop},
    cpu::{
        block::{Block, Extents, Halt, NoRoom},
        code::Kernel,
        decode::{self, Addresses, layout},
        grid,
        jit::{self, Ready, Rows},
        memory::{Access, Global},
        pieces::{addresses, decoded, pieces, pointers},
        reach::{Pieces, writes},
        sparse::{Source, Sparse},
    },
    program::{LoadedModule, LoadedProgram, param_block},
    ptx::ir::Space,
};
use ion_protocol::{
    Bytes,
    fault::{Fault, Place},
    job::Launch,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    ops::ControlFlow,
    sync::Mutex,
};

/// Instructions between two looks at the clock.
const CLOCK_EVERY: u64 = 50_000;

/// How a block ended.
pub enum Ended {
    Well,
    /// The kernel did something wrong.
    Faulted(Fault),
    /// The instructions ran out.
    Spent,
}

/// See the module.
pub struct Stage<'a> {
    job: &'a LoadedProgram,
    pub sparse: Sparse<'a>,
    /// The piece that each buffer is now: swaps exchange them.
    pub held: Vec<u16>,
    kernels: HashMap<(u16, &'a str), Ready>,
    stop: Stop<'a>,
}

/// What stands in a piece before the span's first launch.
pub fn content(
    job: &LoadedProgram,
    before: &[Known],
    read: &Mutex<Read<'_>>,
    piece: u16,
    from: u64,
    into: &mut [u8],
) -> Result<(), Fault> {
    if let Some(known) = before.get(usize::from(piece)) {
        return known.read(read, from, into);
    }
    let n = usize::from(piece) - before.len();
    if let Some(module) = job.modules().get(n / 2) {
        let addresses = addresses(before.len(), (n / 2) as u16);
        let space = if n.is_multiple_of(2) { Space::Global } else { Space::Const };
        variables(module, space, addresses, from, into);
    }
    Ok(())
}

/// The part of a module's variables of one space that begins at `from`.
fn variables(module: &LoadedModule, space: Space, addresses: Addresses, from: u64, into: &mut [u8]) {
    let (offsets, _) = layout(&module.module, space);
    let to = from + into.len() as u64;
    let mut put = |offset: u64, bytes: &[u8]| {
        let (start, end) = (offset.max(from), (offset + bytes.len() as u64).min(to));
        if start < end {
            into[(start - from) as usize..(end - from) as usize]
                .copy_from_slice(&bytes[(start - offset) as usize..(end - offset) as usize]);
        }
    };
    for (variable, offset) in module.module.variables.iter().zip(offsets) {
        if let Some(offset) = offset {
            put(offset, &variable.init);
        }
    }
    for (offset, address) in decode::pointers(&module.module, space, addresses) {
        put(offset, &address);
    }
}

impl<'a> Stage<'a> {
    /// `None` if the program has more pieces of memory than can be told apart.
    pub fn new(
        job: &'a LoadedProgram,
        limits: &RunLimits,
        stop: Stop<'a>,
        source: Source<'a>,
    ) -> Option<Self> {
        let sparse = Sparse::new(pieces(job)?, limits.memory.0, source);
        let held = (0..job.program().buffers.len() as u16).collect();
        Some(Stage { job, sparse, held, kernels: HashMap::new(), stop })
    }

    fn make_ready(&mut self, launch: &'a Launch) -> Result<(), Fault> {
        let ready = match self.kernels.entry((launch.module, launch.kernel.as_str())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Ready::new(decoded(self.job, launch)?, jit::engine())),
        };
        ready.prepare(Rows::of(launch.block), false);
        Ok(())
    }

    fn ready(&self, launch: &'a Launch) -> &Ready {
        &self.kernels[&(launch.module, launch.kernel.as_str())]
    }

    /// The pieces that a launch can write.
    pub fn writes(&mut self, launch: &'a Launch) -> Result<Pieces, Fault> {
        self.make_ready(launch)?;
        let held = |n: u16| self.held.get(usize::from(n)).copied();
        Ok(writes(&self.ready(launch).kernel, &pointers(self.job, launch, held)?))
    }

    /// Runs blocks of a launch one after the other, by number, and shows each as it ends until `after` has enough.
    /// `left` is how many instructions they may execute.
    pub fn run<T>(
        &mut self,
        launch: &'a Launch,
        numbers: impl IntoIterator<Item = u64>,
        left: &mut u64,
        mut after: impl FnMut(&Sparse<'a>, u64, Ended) -> Result<ControlFlow<T>, Fault>,
    ) -> Result<Option<T>, Fault> {
        let watched = self.writes(launch)?;
        let (ready, rows) = (self.ready(launch), Rows::of(launch.block));
        let kernel = &ready.kernel;
        let address = |n: u16| self.held.get(usize::from(n)).map_or(0, |piece| Sparse::address(*piece));
        let params = param_block(self.job.kernel(launch)?, launch, address);
        let extents = Extents { grid: launch.grid, block: launch.block, dynamic_shared: launch.shared_bytes };
        let lookup = |access: &Access<'_>| self.sparse.places(access);
        let pieces = 0..self.sparse.pieces();
        let global = Global::sparse(&lookup, pieces.map(|piece| watched >> piece & 1 == 1));
        let mut block =
            Block::new(kernel, &global, ready.tier(rows), extents, &params).map_err(|NoRoom { bytes }| {
                Fault::Room { message: format!("a block needs {} of shared and local memory", Bytes(bytes)) }
            })?;
        for number in numbers {
            let ended = self.block(&mut block, kernel, &extents, number, left)?;
            if let ControlFlow::Break(found) = after(&self.sparse, number, ended)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn block(
        &self,
        block: &mut Block<'_, '_>,
        kernel: &Kernel,
        extents: &Extents,
        number: u64,
        left: &mut u64,
    ) -> Result<Ended, Fault> {
        self.stop.check()?;
        let (mut since_clock, mut stopped) = (0, None);
        let halt = block.run(number, |executed| {
            since_clock += executed;
            *left = left.saturating_sub(executed);
            if since_clock >= CLOCK_EVERY {
                since_clock = 0;
                stopped = self.stop.check().err();
            }
            stopped.is_none() && *left > 0
        });
        match halt {
            Ok(()) => Ok(Ended::Well),
            Err(Halt::Stopped) => stopped.map_or(Ok(Ended::Spent), Err),
            Err(Halt::Broke(breakage)) => {
                if let Some(fault) = self.sparse.trouble() {
                    return Err(fault);
                }
                let place = Place {
                    kernel: kernel.name.clone(),
                    line: breakage.line,
                    block: extents.block_at(number),
                    thread: extents.thread_at(breakage.thread),
                };
                Ok(Ended::Faulted(grid::fault(breakage.broken, place, block.assertion())))
            }
        }
    }
}
