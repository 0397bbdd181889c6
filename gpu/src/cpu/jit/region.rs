//! Regions: the pieces of a kernel that are translated, each into one function.
//!
//! Owns: which blocks make a region. A region takes a warp from its first
//! instruction to one of its exits, or, when something is not as it should be, leaves everything as it was (*bails*), and
//! the interpreter takes over. A *narrow* region works in passes of a few lanes each; a pass runs through all of the
//! region's blocks with its values in machine registers. That is sound because nothing in a pass can be seen by another:
//! stores come last, and everything by which lanes see each other stands between regions. A *wide* region takes all lanes
//! in one pass, so they may see each other in it, and may store and go on: what is written is then *settled*, and undoing leads back to there, no further.
//!
//! Never: takes a branch on which lanes differ, but a short one ([`Flow::detour`]); one on which they may well differ ends a
//! region as a rule ([`ends_apart`]). Nor an exit: lanes leave between regions.
//! Limits: [`REGION_CODES_MAX`].
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{class::Classes, flow::Flow, stride::Rows};
use crate::cpu::code::{Kernel, Kind, NONE};
use std::collections::BTreeSet;

/// Instructions of one region: enough for any inner loop, and well below a warp's turn.
pub const REGION_CODES_MAX: u32 = 1024;
/// Registers of a wide region that need vectors at the same time. There are 16 vector registers and each of these takes
/// eight, but with few of them loads and stores through the stack cost less than four passes.
const LIGHT_MAX: usize = 4;
/// What a region returns when it bailed.
pub const BAILED: u32 = u32::MAX;

/// Which blocks a region has.
#[derive(Debug)]
pub struct Plan {
    pub entry: usize,
    /// Whether one pass takes all lanes.
    pub wide: bool,
    /// Whether it follows a loop that lanes leave when they will.
    pub parts: bool,
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
    /// Whether the warp makes way there.
    pub makes_way: bool,
}

impl Exit {
    /// On to an instruction of a block, with nothing more to do.
    pub fn to(pc: u32, block: usize) -> Exit {
        Exit { pc, block, stores: false, makes_way: false }
    }
}

/// What the caller of a region must know.
#[derive(Debug)]
pub struct Region {
    pub total: u32,
    /// Lanes of a pass.
    pub pass: usize,
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
    /// The region that suits what begins with this block. `classes` are those for narrow and for wide regions.
    pub fn choose(
        kernel: &Kernel,
        flow: &Flow,
        classes: &[Classes; 2],
        rows: Rows,
        entry: usize,
    ) -> Option<Plan> {
        let [narrow, wide] = classes;
        let joint = flow.blocks[entry].joint;
        let plan = Plan::grow(kernel, flow, wide, entry, true)
            .filter(|plan| plan.parts || (joint || rows == Rows::Warps) && plan.is_light(kernel, flow, wide));
        if plan.is_some() || !joint {
            return plan.or_else(|| Plan::grow(kernel, flow, narrow, entry, false));
        }
        let (pc, last) = (flow.blocks[entry].start, flow.blocks[entry].end - 1);
        Some(Plan { entry, wide: true, parts: false, blocks: vec![entry], total: last + 1 - pc, last })
    }

    /// The region that begins with this block; `None` if there is nothing to translate.
    pub fn grow(kernel: &Kernel, flow: &Flow, classes: &Classes, entry: usize, wide: bool) -> Option<Plan> {
        let first = &flow.blocks[entry];
        let only_branch = diverges(kernel, classes, first.start) || is_exit(kernel, first.start);
        let ends = |b: usize| flow.blocks[b].stop || flow.blocks[b].joint && !wide;
        if ends(entry) || only_branch || first.end - first.start > REGION_CODES_MAX {
            return None;
        }
        let mut plan = Plan { entry, wide, parts: false, blocks: Vec::new(), total: 0, last: 0 };
        let mut seen = BTreeSet::from([entry]);
        let mut open = vec![entry];
        while let Some(b) = open.pop() {
            let block = &flow.blocks[b];
            let len = block.end - block.start;
            if ends(b) || plan.total + len > REGION_CODES_MAX {
                continue;
            }
            plan.blocks.push(b);
            plan.total += len;
            plan.last = plan.last.max(block.end - 1);
            let acts = block.stores < block.end && !wide;
            if acts || ends_apart(kernel, flow, classes, wide, b) {
                continue;
            }
            let leaves = diverges(kernel, classes, block.end - 1) && flow.leaves_loop(b);
            plan.parts |= leaves;
            let stays = |pc: &u32| !leaves || flow.stays_in_loop(b, *pc);
            let next = block.next.iter().copied().filter(stays).filter_map(|pc| flow.at(pc));
            open.extend(next.filter(|n| seen.insert(*n)));
        }
        plan.blocks.sort_unstable();
        Some(plan)
    }

    /// Whether so few registers need vectors at the same time that those of a whole warp are held as well as a few.
    pub fn is_light(&self, kernel: &Kernel, flow: &Flow, classes: &Classes) -> bool {
        let vectors = |reg: u32| reg < kernel.slots && classes.varying(reg) && classes.stride(reg).is_none();
        let touched: BTreeSet<u32> =
            self.blocks.iter().flat_map(|b| flow.touched(*b)).filter(|reg| vectors(*reg)).collect();
        self.blocks.iter().all(|b| {
            let block = &flow.blocks[*b];
            (block.start..block.end).all(|pc| {
                let live = flow.live_at(*b, pc);
                touched.iter().filter(|reg| live.has(**reg) && !classes.fixed(**reg)).count() <= LIGHT_MAX
            })
        })
    }

    pub fn has(&self, b: usize) -> bool {
        self.blocks.binary_search(&b).is_ok()
    }

    /// Instructions that passes execute: all but the stores that wait for the end.
    pub fn codes<'a>(&'a self, flow: &'a Flow) -> impl Iterator<Item = u32> + 'a {
        self.blocks.iter().flat_map(|b| {
            let block = &flow.blocks[*b];
            block.start..if self.wide { block.end } else { block.stores }
        })
    }
}

/// Whether an instruction is a branch or an exit that some lanes may well take and others not. One on which they nearly
/// always agree is followed; should they not, the region bails, or ends there.
pub fn diverges(kernel: &Kernel, classes: &Classes, pc: u32) -> bool {
    let i = &kernel.codes[pc as usize];
    is_varying(kernel, classes, pc) && !classes.agreeable(kernel.slots + i.guard)
}

/// Whether a region ends with a block because lanes may well differ on its branch. A wide one goes on where some leave a loop,
/// as long as none does, and where all are together again after a short way.
pub fn ends_apart(kernel: &Kernel, flow: &Flow, classes: &Classes, wide: bool, b: usize) -> bool {
    let followed = wide && (flow.leaves_loop(b) || flow.detour(b).is_some());
    !followed && diverges(kernel, classes, flow.blocks[b].end - 1)
}

/// Whether an instruction is a branch or an exit whose condition may differ from lane to lane.
pub fn is_varying(kernel: &Kernel, classes: &Classes, pc: u32) -> bool {
    let i = &kernel.codes[pc as usize];
    let parts = matches!(i.kind, Kind::Branch(_) | Kind::Exit);
    parts && i.guard != NONE && classes.varying(kernel.slots + i.guard)
}

/// Where lanes may wait for others of their warp. Those at the lower instruction run first, so at the later end of a branch
/// on which they differ, and where those go that leap over others.
pub fn waits(kernel: &Kernel, classes: &[Classes; 2]) -> Vec<u32> {
    let parts = |pc: u32| classes.iter().any(|classes| is_varying(kernel, classes, pc));
    let mut waits = BTreeSet::new();
    for (pc, i) in (0..).zip(&kernel.codes) {
        let Kind::Branch(target) = i.kind else { continue };
        if parts(pc) {
            waits.insert(target.max(pc + 1));
        } else if target > pc && waits.range(pc + 1..target).next().is_some() {
            waits.insert(target);
        }
    }
    waits.into_iter().collect()
}

/// Whether an instruction is an exit: no region begins with one, for it would end where it begins.
fn is_exit(kernel: &Kernel, pc: u32) -> bool {
    kernel.codes[pc as usize].kind == Kind::Exit
}
