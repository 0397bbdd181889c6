//! How control and values flow through a kernel.
//!
//! Owns: basic blocks, and which registers are live where. A block ends where others may jump to, at branches and exits, around
//! instructions that are left to the interpreter or need a whole warp, and after stores: no load follows a store within
//! a block.
//! Never: generates code.
//! Limits: [`CODES_MAX`], [`LIVENESS_BITS_MAX`], [`ROUNDS_MAX`]; what exceeds them is interpreted.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    effects::{Effects, Reg, effects},
    emit::translates,
};
use crate::cpu::code::{Code, Kernel, Kind, NONE};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Instructions of a kernel that is translated; larger ones would take seconds and are mostly cold.
pub const CODES_MAX: usize = 1 << 15;
/// Bits of all liveness sets together: 32 MiB.
const LIVENESS_BITS_MAX: usize = 1 << 28;
/// Times that a kernel is read through until nothing new is found: compilers' code settles after as many as its loops lie
/// in each other, while code written against its own order takes one for each instruction.
const ROUNDS_MAX: usize = 64;
/// Instructions of a way that some lanes skip: it is translated twice, and most are short.
const DETOUR_CODES_MAX: u32 = 32;
/// A register that is used with 32 and with 64 bits.
const MIXED: u8 = 3;

/// A straight run of instructions `start..end`.
#[derive(Debug)]
pub struct Block {
    pub start: u32,
    pub end: u32,
    /// A single instruction that the interpreter executes.
    pub stop: bool,
    /// A single instruction that only a pass over a whole warp can execute.
    pub joint: bool,
    /// Where its stores begin; `end` if it has none.
    pub stores: u32,
    pub next: Vec<u32>,
}

/// A set of registers.
#[derive(Debug, Clone, PartialEq)]
pub struct Set(Vec<u64>);

impl Set {
    pub fn new(len: usize) -> Self {
        Set(vec![0; len.div_ceil(64)])
    }

    pub fn has(&self, reg: Reg) -> bool {
        self.0[reg as usize / 64] >> (reg % 64) & 1 != 0
    }

    pub fn add(&mut self, reg: Reg) {
        self.0[reg as usize / 64] |= 1 << (reg % 64);
    }

    fn remove(&mut self, reg: Reg) {
        self.0[reg as usize / 64] &= !(1 << (reg % 64));
    }

    fn join(&mut self, other: &Set) -> bool {
        let mut grew = false;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            grew |= *theirs & !*mine != 0;
            *mine |= theirs;
        }
        grew
    }
}

#[derive(Debug)]
pub struct Flow {
    pub blocks: Vec<Block>,
    /// The block that begins at an instruction, or [`NONE`].
    begins: Vec<u32>,
    pub effects: Vec<Effects>,
    /// Slots that each register takes; 0 for predicates and unused ones.
    pub widths: Vec<u8>,
    /// Live at the start of each block.
    live: Vec<Set>,
    /// Read by other lanes at any time, so never allowed to be out of date.
    pinned: Set,
    /// Where lanes may wait for others of their warp: behind each branch on which they may differ. In order.
    pub waits: Vec<u32>,
    /// The innermost loop around each block: from its head to behind the last branch back there.
    around: Vec<Option<Range<u32>>>,
}

impl Flow {
    /// `None` if the kernel is too large to be worth it.
    pub fn of(kernel: &Kernel) -> Option<Flow> {
        if kernel.codes.len() > CODES_MAX {
            return None;
        }
        let registers = (kernel.slots + kernel.preds) as usize;
        let effects: Vec<Effects> = kernel.codes.iter().map(|i| effects(kernel, i)).collect();
        let widths = widths(kernel, &effects);
        let native: Vec<bool> =
            kernel.codes.iter().zip(&effects).map(|(i, e)| is_native(kernel, i, e, &widths)).collect();
        let (blocks, begins) = blocks(&kernel.codes, &native);
        if blocks.len().saturating_mul(registers) > LIVENESS_BITS_MAX {
            return None;
        }
        let mut pinned = Set::new(registers);
        for i in kernel.codes.iter().filter(|i| matches!(i.kind, Kind::Shuffle(_))) {
            pinned.add(i.a);
        }
        let live = vec![pinned.clone(); blocks.len()];
        let waits = Vec::new();
        let around = around(&kernel.codes, &blocks);
        let mut flow = Flow { blocks, begins, effects, widths, live, pinned, waits, around };
        settle(|| flow.find_live())?;
        Some(flow)
    }

    /// The block that begins at this instruction.
    pub fn at(&self, pc: u32) -> Option<usize> {
        self.begins.get(pc as usize).filter(|b| **b != NONE).map(|b| *b as usize)
    }

    /// One round of: what a block reads, or leaves to those after it, is live at its start.
    fn find_live(&mut self) -> bool {
        let mut changed = false;
        for b in (0..self.blocks.len()).rev() {
            let set = self.live_at(b, self.blocks[b].start);
            changed |= self.live[b].join(&set);
        }
        changed
    }

    /// What is live before instruction `pc` of block `b`.
    pub fn live_at(&self, b: usize, pc: u32) -> Set {
        let block = &self.blocks[b];
        let mut set = self.pinned.clone();
        for next in &block.next {
            if let Some(n) = self.at(*next) {
                set.join(&self.live[n]);
            }
        }
        for n in (pc..block.end).rev() {
            let effects = &self.effects[n as usize];
            for (reg, _) in &effects.writes {
                if !self.pinned.has(*reg) {
                    set.remove(*reg);
                }
            }
            for (reg, _) in &effects.reads {
                set.add(*reg);
            }
        }
        set
    }

    /// Whether a block ends with a branch out of the innermost loop around it, or on within.
    pub fn leaves_loop(&self, b: usize) -> bool {
        let next = &self.blocks[b].next;
        let staying = next.iter().filter(|pc| self.stays_in_loop(b, **pc)).count();
        next.len() == 2 && staying == 1
    }

    /// The one short block that the branch at the end of a block skips, or the two between which it chooses, after which all
    /// lanes are at the same place.
    pub fn detour(&self, b: usize) -> Option<Vec<usize>> {
        let &[target, on] = &self.blocks[b].next[..] else { return None };
        let short = |pc: u32| {
            let way = self.at(pc)?;
            let block = &self.blocks[way];
            (!block.stop && block.end - block.start <= DETOUR_CODES_MAX).then_some((way, block))
        };
        let (way, first) = short(on)?;
        let &[after] = &first.next[..] else { return None };
        if first.end != target {
            return None;
        }
        if after == target {
            return Some(vec![way]);
        }
        let (other, second) = short(target)?;
        (second.next[..] == [second.end] && after == second.end).then(|| vec![way, other])
    }

    /// Whether the innermost loop around a block goes on with an instruction.
    pub fn stays_in_loop(&self, b: usize, pc: u32) -> bool {
        self.around[b].as_ref().is_some_and(|around| around.contains(&pc))
    }

    /// Registers that a block reads or writes.
    pub fn touched(&self, b: usize) -> impl Iterator<Item = Reg> + '_ {
        let effects = self.blocks[b].start..self.blocks[b].end;
        effects.flat_map(|n| {
            let effects = &self.effects[n as usize];
            effects.reads.iter().chain(&effects.writes).map(|(reg, _)| *reg)
        })
    }

    /// Registers that a thread may read before it has written them.
    pub fn live_at_start(&self) -> &Set {
        &self.live[0]
    }
}

/// Goes round until nothing changes; `None` if that takes more than [`ROUNDS_MAX`].
pub fn settle(mut round: impl FnMut() -> bool) -> Option<()> {
    (0..ROUNDS_MAX).any(|_| !round()).then_some(())
}

/// The slots of each register, [`MIXED`] where uses disagree.
fn widths(kernel: &Kernel, effects: &[Effects]) -> Vec<u8> {
    let mut widths = vec![0u8; (kernel.slots + kernel.preds) as usize];
    for (reg, slots) in effects.iter().flat_map(|e| e.reads.iter().chain(&e.writes)) {
        let width = &mut widths[*reg as usize];
        *width = if *width == 0 || *width == *slots { *slots } else { MIXED };
    }
    for reg in 0..kernel.slots as usize {
        // The second slot of a pair is no register of its own.
        if widths[reg] == 2 && widths.get(reg + 1).is_some_and(|w| *w != 0) && reg + 1 < kernel.slots as usize
        {
            (widths[reg], widths[reg + 1]) = (MIXED, MIXED);
        }
    }
    widths
}

fn is_native(kernel: &Kernel, i: &Code, effects: &Effects, widths: &[u8]) -> bool {
    let plain = |(reg, _): &(Reg, u8)| widths[*reg as usize] != MIXED;
    effects.reads.iter().chain(&effects.writes).all(plain) && translates(kernel, i)
}

/// The shortest loop around each block.
fn around(codes: &[Code], blocks: &[Block]) -> Vec<Option<Range<u32>>> {
    let mut ends = BTreeMap::new();
    for (pc, i) in (0..).zip(codes) {
        if let Kind::Branch(head) = i.kind
            && head <= pc
        {
            ends.insert(head, pc + 1);
        }
    }
    // Those around the block that is looked at, shortest first.
    let mut open = BTreeSet::new();
    let around = blocks.iter().map(|block| {
        open.extend(ends.get(&block.start).map(|end| (end - block.start, *end)));
        while open.first().is_some_and(|(_, end)| *end <= block.start) {
            open.pop_first();
        }
        open.first().map(|(len, end)| end - len..*end)
    });
    around.collect()
}

fn is_joint(i: &Code) -> bool {
    matches!(i.kind, Kind::Atomic { .. } | Kind::Shuffle(_) | Kind::Vote { .. } | Kind::Redux { .. })
}

fn blocks(codes: &[Code], native: &[bool]) -> (Vec<Block>, Vec<u32>) {
    let mut leads = vec![false; codes.len() + 1];
    leads[0] = true;
    for (n, i) in codes.iter().enumerate() {
        let store = |i: &Code| matches!(i.kind, Kind::Store { .. });
        match i.kind {
            Kind::Branch(target) => {
                leads[target as usize] = true;
                leads[n + 1] = true;
            }
            _ if !native[n] || is_joint(i) => {
                leads[n] = true;
                leads[n + 1] = true;
            }
            Kind::Exit => leads[n + 1] = true,
            _ if store(i) && codes.get(n + 1).is_some_and(|next| !store(next)) => leads[n + 1] = true,
            _ => {}
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut begins = vec![NONE; codes.len()];
    let mut start = 0;
    let ends = leads.iter().enumerate().skip(1).filter(|(n, lead)| **lead || *n == codes.len());
    for (end, _) in ends {
        begins[start] = blocks.len() as u32;
        blocks.push(block(codes, native, start, end));
        start = end;
    }
    (blocks, begins)
}

fn block(codes: &[Code], native: &[bool], start: usize, end: usize) -> Block {
    let last = &codes[end - 1];
    let on = end as u32;
    let next = match last.kind {
        Kind::Branch(target) if last.guard == NONE => vec![target],
        Kind::Branch(target) => vec![target, on],
        Kind::Exit if last.guard == NONE => Vec::new(),
        _ => vec![on],
    };
    let stores = (start..end).find(|n| matches!(codes[*n].kind, Kind::Store { .. })).unwrap_or(end);
    let joint = native[start] && is_joint(&codes[start]);
    Block { start: start as u32, end: on, stop: !native[start], joint, stores: stores as u32, next }
}
