//! A program's memory in pieces: buffers first, then the global and the constant variables of each module.
//!
//! Owns: their numbers and where they are, kernels decoded for that, which pieces a launch can write, and what it shows.
//! Never: holds memory. Tests: `gpu/tests/replay.rs`, `gpu/tests/states.rs`.

use super::{
    code::Kernel,
    decode::{Addresses, decode, layout},
    reach::{self, ANYWHERE, PIECES_MAX, Pieces, Pointer, writes},
    sparse::{Piece, Sparse},
};
use crate::{
    program::{LoadedProgram, values},
    ptx::ir::Space,
};
use ion_protocol::{
    fault::Fault,
    job::{Arg, Launch},
};
use std::collections::HashMap;

/// Lengths of all pieces; `None` if there are more than can be told apart.
pub fn pieces(job: &LoadedProgram) -> Option<Vec<Piece>> {
    let buffers = job.program().buffers.iter().map(|b| Piece { len: b.bytes.0, writable: true });
    let variables = job.modules().iter().flat_map(|m| {
        [Space::Global, Space::Const]
            .map(|space| Piece { len: layout(&m.module, space).1, writable: space == Space::Global })
    });
    let all: Vec<Piece> = buffers.chain(variables).collect();
    (all.len() <= PIECES_MAX).then_some(all)
}

/// Where the variables of module `module` are, behind so many buffers.
pub fn addresses(buffers: usize, module: u16) -> Addresses {
    let first = buffers as u16 + 2 * module;
    Addresses { global: Sparse::address(first), constant: Sparse::address(first + 1) }
}

/// The kernel of a launch, its variables where they are.
pub fn decoded(job: &LoadedProgram, launch: &Launch) -> Result<Kernel, Fault> {
    let module = &job.modules()[usize::from(launch.module)];
    let addresses = addresses(job.program().buffers.len(), launch.module);
    decode(&module.module, job.kernel(launch)?, addresses).map_err(|refused| refused.fault(&module.name))
}

/// Where in its parameters a launch is given which pieces; `piece` tells which one a buffer's name stands for.
pub fn pointers(
    job: &LoadedProgram,
    launch: &Launch,
    piece: impl Fn(u16) -> Option<u16>,
) -> Result<Vec<Pointer>, Fault> {
    let pointers = values(job.kernel(launch)?, launch).filter_map(|(offset, arg)| match arg {
        Arg::Buffer(n) => Some(Pointer { offset, piece: piece(n)? }),
        Arg::Scalar { .. } | Arg::Struct { .. } => None,
    });
    Ok(pointers.collect())
}

/// Whether a launch may write what it was not given: it stores through addresses that it finds in memory.
pub fn writes_anywhere(job: &LoadedProgram, launch: &Launch) -> bool {
    with_pointers(job, launch, |kernel, pointers| writes(kernel, pointers) == ANYWHERE)
}

/// Whether a launch may write an address where others see it.
pub fn shows_addresses(job: &LoadedProgram, launch: &Launch) -> bool {
    with_pointers(job, launch, reach::shows_addresses)
}

/// What is found of a launch; a kernel that can't be read may do anything.
fn with_pointers(job: &LoadedProgram, launch: &Launch, find: impl Fn(&Kernel, &[Pointer]) -> bool) -> bool {
    let read = decoded(job, launch).and_then(|kernel| Ok((kernel, pointers(job, launch, Some)?)));
    read.map_or(true, |(kernel, pointers)| find(&kernel, &pointers))
}

/// What launches can write, by the names of buffers, found once for launches that are alike.
pub struct Reaches<'a> {
    job: &'a LoadedProgram,
    known: HashMap<(u16, &'a str, Vec<Pointer>), Pieces>,
    variables: Pieces,
}

impl<'a> Reaches<'a> {
    /// `None` if the program has more pieces than can be told apart.
    pub fn new(job: &'a LoadedProgram) -> Option<Self> {
        let all = pieces(job)?;
        let is_variable = |(n, piece): &(usize, &Piece)| {
            *n >= job.program().buffers.len() && piece.writable && piece.len > 0
        };
        let variables = all.iter().enumerate().filter(is_variable).fold(0, |set, (n, _)| set | 1 << n);
        Some(Reaches { job, known: HashMap::new(), variables })
    }

    /// The pieces that are variables of modules.
    pub fn variables(&self) -> Pieces {
        self.variables
    }

    /// What a launch can write.
    pub fn of(&mut self, launch: &'a Launch) -> Result<Pieces, Fault> {
        let key = (launch.module, launch.kernel.as_str(), pointers(self.job, launch, Some)?);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let found = writes(&decoded(self.job, launch)?, &key.2);
        self.known.insert(key, found);
        Ok(found)
    }
}
