//! Short ways that some lanes of a warp take and the others skip, or leave for another.
//!
//! Owns: a branch over one block, or between two that lead to the same, on which lanes differ, in a wide region. Each block is
//! translated once more, for those that take it, and where it ends all are together again, as the interpreter has it.
//! Never: leaves a register that is one for all lanes different in some, or settles while lanes are apart; at a branch where
//! that would be so, or that skips more, the region ends.
//! Limits: `flow::DETOUR_CODES_MAX`. Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        context::Field,
        effects::Reg,
        emit::{Pass, Val},
    },
    Builder,
};
use crate::cpu::code::{Code, Kind, NONE};
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use std::collections::BTreeSet;

/// One block that only some lanes go through.
struct Way {
    block: usize,
    /// Whether it is for those that take the branch.
    taken: bool,
    /// Registers that it changes for what comes after.
    changed: Vec<Reg>,
}

impl Builder<'_, '_> {
    /// Where lanes differ on a branch: takes the detour, if it is one. Else the region ends at the branch; but in passes of
    /// a few lanes, of which others may agree, it bails.
    pub(super) fn part(&mut self, b: usize, branch: &Code) -> Option<()> {
        if !self.plan.wide {
            self.e.ops.b.ins().jump(self.e.bail, &[]);
            return Some(());
        }
        let Some(ways) = self.detour(b) else {
            self.leave_at_end(b);
            return Some(());
        };
        let last = ways.last()?.block;
        let start = self.e.flow.blocks[last].start;
        if !self.waits(self.e.flow.blocks[b].end - 1, start).is_empty() {
            // Others that wait for a way go it together with those that take it.
            let join = self.e.field(Field::Join);
            let wait = self.e.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, join, i64::from(start));
            self.leave_at_end_if(b, wait);
        }
        let active = self.e.pass().bits;
        let taking = self.e.guard_bits(branch);
        let staying = self.e.ops.b.ins().band_not(active, taking);
        for way in &ways {
            self.take(way, if way.taken { taking } else { staying })?;
        }
        let end = self.e.flow.blocks[last].end;
        if self.e.flow.blocks[last].stores < end && self.goes_on(last) {
            self.settle(last, end, end - start);
        }
        let join = self.edge(last, end, false)?;
        self.e.ops.b.ins().jump(join, &[]);
        Some(())
    }

    /// The blocks between a branch and where all lanes come together again, if they can be gone through by some lanes only.
    fn detour(&self, b: usize) -> Option<Vec<Way>> {
        let flow = self.e.flow;
        let ways = flow.detour(b)?;
        let last = *ways.last()?;
        let live: Vec<_> = ways.iter().map(|way| flow.live_at(*way, flow.blocks[*way].start)).collect();
        let after = flow.live_at(last, flow.blocks[last].end);
        let way = |(n, block): (usize, &usize)| {
            let (at, range) = (&flow.blocks[*block], flow.blocks[*block].start..flow.blocks[*block].end);
            let codes = &self.e.kernel.codes[range.start as usize..range.end as usize];
            // Stores are the last of a block, and so never in a way that ends with a branch.
            let stores = &self.e.kernel.codes[at.stores as usize..at.end as usize];
            let exits = codes.iter().any(|i| matches!(i.kind, Kind::Exit));
            let guarded = stores.len() > 1 && stores.iter().any(|i| i.guard != NONE);
            if !self.plan.has(*block) || at.joint || exits || guarded {
                return None;
            }
            let written = range.flat_map(|n| &flow.effects[n as usize].writes).map(|(reg, _)| *reg);
            let seen = |reg: &Reg| after.has(*reg) || live[n + 1..].iter().any(|live| live.has(*reg));
            let changed: Vec<Reg> = written.filter(seen).collect::<BTreeSet<Reg>>().into_iter().collect();
            let vectors = |reg: &Reg| self.varying(*reg) && self.e.classes.stride(*reg).is_none();
            changed.iter().all(vectors).then_some(Way { block: *block, taken: n == 1, changed })
        };
        ways.iter().enumerate().map(way).collect()
    }

    /// Takes some lanes through a way.
    fn take(&mut self, way: &Way, taking: Value) -> Option<()> {
        let (flow, kernel) = (self.e.flow, self.e.kernel);
        let block = &flow.blocks[way.block];
        let count = self.e.ops.b.use_var(self.shared.count);
        let count = self.e.ops.b.ins().iadd_imm_u(count, i64::from(block.end - block.start));
        self.e.ops.b.def_var(self.shared.count, count);
        let before: Vec<Val> = way.changed.iter().map(|reg| self.e.get(*reg)).collect();
        let whole = self.e.pass.clone();
        self.e.only(taking);
        let [start, stores, end] = [block.start, block.stores, block.end].map(|n| n as usize);
        let stores = match &kernel.codes[stores..end] {
            several @ [_, _, ..] => several,
            _ => &[],
        };
        for i in &kernel.codes[start..end - stores.len()] {
            if !matches!(i.kind, Kind::Branch(_)) {
                self.e.instruction(i)?;
            }
        }
        self.e.store_all(stores);
        let some = std::mem::replace(&mut self.e.pass, whole);
        let taking = some.map(|pass: Pass| pass.active)?;
        for (reg, before) in way.changed.iter().zip(&before) {
            let after = self.e.get(*reg);
            let joined = self.e.choose(&taking, &after, before, !self.is_pred(*reg) && self.wide(*reg));
            self.e.put(*reg, &joined);
        }
        Some(())
    }
}
