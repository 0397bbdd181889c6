//! Regions: the pieces of a kernel that are translated, each into one function.
//!
//! Owns: which blocks make a region. A region takes a warp from its first
//! instruction to one of its exits, or, when something is not as it should be, leaves everything as it was (*bails*), and
//! the interpreter takes over. It works in passes of a few lanes each; a pass runs through all of the region's blocks
//! with its values in machine registers. That is sound because nothing in a pass can be seen by another: stores come
//! last, and everything by which lanes see each other stands between regions.
//!
//! Never: takes a branch on which lanes differ; one on which they may well differ ends a region.
//! Limits: [`REGION_CODES_MAX`].
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{class::Classes, flow::Flow};
use crate::cpu::code::{Kernel, Kind, NONE};
use std::collections::BTreeSet;

/// Instructions of one region: enough for any inner loop, and well below a warp's turn.
pub const REGION_CODES_MAX: u32 = 1024;
/// What a region returns when it bailed.
pub const BAILED: u32 = u32::MAX;

/// Which blocks a region has.
#[derive(Debug)]
pub struct Plan {
    pub entry: usize,
    pub blocks: Vec<usize>,
    /// Instructions of all blocks: what one way through takes at most.
    pub total: u32,
    /// The last instruction of any block.
    pub last: u32,
}

/// Where a region can be left: the instruction to go on with, and the block whose stores come before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exit {
    pub pc: u32,
    pub block: usize,
    pub stores: bool,
}

/// What the caller of a region must know.
#[derive(Debug)]
pub struct Region {
    pub total: u32,
    pub last: u32,
    /// Registers that must be the same in all active lanes: slot and width, and predicates.
    pub uniform_slots: Vec<(u32, bool)>,
    pub uniform_preds: Vec<u32>,
    /// Registers that must grow by so much from lane to lane of a pass, as far as lanes are active.
    pub even_slots: Vec<(u32, bool, i64)>,
    /// Slots of shadow it needs.
    pub shadow: u32,
    /// Where it may be left, as entries for further regions.
    pub exits: Vec<u32>,
}

impl Plan {
    /// The region that begins with this block; `None` if there is nothing to translate.
    pub fn grow(kernel: &Kernel, flow: &Flow, classes: &Classes, entry: usize) -> Option<Plan> {
        let first = &flow.blocks[entry];
        let only_branch = diverges(kernel, classes, first.start);
        if first.stop || only_branch || first.end - first.start > REGION_CODES_MAX {
            return None;
        }
        let mut plan = Plan { entry, blocks: Vec::new(), total: 0, last: 0 };
        let mut seen = BTreeSet::from([entry]);
        let mut open = vec![entry];
        while let Some(b) = open.pop() {
            let block = &flow.blocks[b];
            let len = block.end - block.start;
            if block.stop || plan.total + len > REGION_CODES_MAX {
                continue;
            }
            plan.blocks.push(b);
            plan.total += len;
            plan.last = plan.last.max(block.end - 1);
            if block.stores < block.end || diverges(kernel, classes, block.end - 1) {
                continue;
            }
            let next = block.next.iter().filter_map(|pc| flow.at(*pc));
            open.extend(next.filter(|n| seen.insert(*n)));
        }
        plan.blocks.sort_unstable();
        Some(plan)
    }

    pub fn has(&self, b: usize) -> bool {
        self.blocks.binary_search(&b).is_ok()
    }

    /// Instructions that passes execute: all but the stores.
    pub fn codes<'a>(&'a self, flow: &'a Flow) -> impl Iterator<Item = u32> + 'a {
        self.blocks.iter().flat_map(|b| flow.blocks[*b].start..flow.blocks[*b].stores)
    }
}

/// Whether an instruction is a branch that some lanes may well take and others not. One on which they nearly always
/// agree is followed; should they not, the region bails.
pub fn diverges(kernel: &Kernel, classes: &Classes, pc: u32) -> bool {
    let i = &kernel.codes[pc as usize];
    is_varying(kernel, classes, pc) && !classes.agreeable(kernel.slots + i.guard)
}

/// Whether an instruction is a branch whose condition may differ from lane to lane.
pub fn is_varying(kernel: &Kernel, classes: &Classes, pc: u32) -> bool {
    let i = &kernel.codes[pc as usize];
    matches!(i.kind, Kind::Branch(_)) && i.guard != NONE && classes.varying(kernel.slots + i.guard)
}
