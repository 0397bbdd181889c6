//! One kernel on memory that somebody else keeps: what a driver does for a program, launch by launch.
//!
//! Owns: [`Bare`], a kernel made ready, and the first values of a module's variables. For whoever plays a driver, as the
//! imitation of one does that the CUDA engine is tested on (`gpu/imitation`); programs run in `backend`, on memory of its own.
//! Never: keeps memory, nor knows what a kernel was meant to touch: all that is shown to it is.
//! Tests: `gpu/tests/backends.rs`, on that imitation.

use super::{
    block::Extents,
    code::Kernel,
    crew::Crew,
    decode::{self, Addresses, decode},
    grid,
    memory::Global,
    print::Printed,
};
use crate::{
    backend::Stop,
    ptx::{Function, Module, ir::Space},
};
use ion_protocol::{Millis, fault::Fault};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64},
};

pub use super::memory::{WINDOW_BITS, Window};

/// Sizes of a module's global and constant variables.
pub fn variable_bytes(module: &Module) -> [u64; 2] {
    [Space::Global, Space::Const].map(|space| decode::layout(module, space).1)
}

/// Where each lasting variable is, in the order of [`ptx::lasting_variables`], `addresses` being where the two begin.
pub fn places(module: &Module, addresses: [u64; 2]) -> Vec<u64> {
    let [globals, constants] = [Space::Global, Space::Const].map(|space| decode::layout(module, space).0);
    let place = |(global, constant): (Option<u64>, Option<u64>)| {
        global.map(|offset| addresses[0] + offset).or(constant.map(|offset| addresses[1] + offset))
    };
    globals.into_iter().zip(constants).filter_map(place).collect()
}

/// What they hold at first, `addresses` being where the two begin.
pub fn first_values(module: &Module, addresses: [u64; 2], into: [&mut [u8]; 2]) {
    let addresses = Addresses { global: addresses[0], constant: addresses[1] };
    for (space, bytes) in [Space::Global, Space::Const].into_iter().zip(into) {
        let (layout, _) = decode::layout(module, space);
        for (variable, offset) in module.variables.iter().zip(layout) {
            if let Some(start) = offset.map(|offset| offset as usize) {
                bytes[start..start + variable.init.len()].copy_from_slice(&variable.init);
            }
        }
        for (at, address) in decode::pointers(module, space, addresses) {
            bytes[at as usize..at as usize + 8].copy_from_slice(&address);
        }
    }
}

/// A kernel ready to be launched.
pub struct Bare {
    kernel: Kernel,
    crew: Crew,
}

impl Bare {
    /// A kernel of `module`, whose variables begin at `addresses`.
    pub fn new(module: &Module, function: &Function, addresses: [u64; 2]) -> Result<Self, Fault> {
        let addresses = Addresses { global: addresses[0], constant: addresses[1] };
        let kernel = decode(module, function, addresses).map_err(|refused| refused.fault("module"))?;
        Ok(Bare { kernel, crew: Crew::new(std::thread::available_parallelism().map_or(1, usize::from)) })
    }

    /// Runs all blocks of `[grid, block]`, and gives what they printed. A window's address is its position, from 1, times
    /// 2^[`WINDOW_BITS`].
    ///
    /// # Safety
    /// Every window must stay valid until this returns, and be touched meanwhile by nothing else.
    pub unsafe fn launch(
        &self,
        windows: &[Window],
        [grid, block]: [[u32; 3]; 2],
        dynamic_shared: u32,
        params: &[u8],
    ) -> Result<String, Fault> {
        let cancel = AtomicBool::new(false);
        let (interpreted, printed) = (AtomicU64::new(0), Mutex::new(Printed::default()));
        let launch = grid::Launch {
            kernel: &self.kernel,
            tier: None,
            // SAFETY: the caller's promise.
            global: &unsafe { Global::of(windows) },
            extents: Extents { grid, block, dynamic_shared },
            params,
            stop: Stop::new(&cancel, Millis(u64::MAX)),
            crew: &self.crew,
            spent: 0,
            interpreted: &interpreted,
            fuel: None,
            printed: &printed,
        };
        launch.run(&mut || {})?;
        let mut text = String::new();
        printed.into_inner().unwrap_or_else(PoisonError::into_inner).append_to(&mut text);
        Ok(text)
    }
}
