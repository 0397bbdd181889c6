//! Short ways that some lanes of a warp take and the others skip.
//!
//! Owns: a branch over one block, on which lanes differ, in a wide region. The block is translated once more, for those
//! that do not skip it, and where it ends all are together again, as the interpreter has it.
//! Never: leaves a register that is one for all lanes different in some, or settles while lanes are apart; at a branch where
//! that would be so, or that skips more, the region ends.
//! Limits: [`DETOUR_CODES_MAX`]. Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        effects::Reg,
        emit::{Pass, Val},
    },
    Builder,
};
use crate::cpu::code::{Code, Kind, NONE};
use cranelift_codegen::ir::InstBuilder;

/// Instructions of a way that some lanes skip: it is translated twice, and most are short.
const DETOUR_CODES_MAX: u32 = 32;

impl Builder<'_, '_> {
    /// Where lanes differ on a branch: takes the detour, if it is one. Else the region ends at the branch; but in passes of
    /// a few lanes, of which others may agree, it bails.
    pub(super) fn part(&mut self, b: usize, branch: &Code, target: u32) -> Option<()> {
        if let Some((way, changed)) = self.detour(b, target) {
            self.take(way, branch, &changed)?;
            let join = self.edge(way, target, false)?;
            self.e.ops.b.ins().jump(join, &[]);
        } else if self.plan.wide {
            self.leave_at_end(b);
        } else {
            self.e.ops.b.ins().jump(self.e.bail, &[]);
        }
        Some(())
    }

    /// The one block that a branch skips, and the registers it changes for what comes after, if that can be done for some
    /// lanes only.
    fn detour(&self, b: usize, target: u32) -> Option<(usize, Vec<Reg>)> {
        let flow = self.e.flow;
        let way = flow.at(flow.blocks[b].end)?;
        let block = &flow.blocks[way];
        if !self.plan.wide
            || !self.plan.has(way)
            || block.joint
            // Others may wait before the way, to go it together.
            || !self.waits(flow.blocks[b].end - 1, block.start).is_empty()
            || block.end != target
            || block.end - block.start > DETOUR_CODES_MAX
        {
            return None;
        }
        let codes = &self.e.kernel.codes[block.start as usize..block.end as usize];
        let ways = |i: &Code| matches!(i.kind, Kind::Branch(_) | Kind::Exit);
        // Stores are the last of a block.
        let stores = &self.e.kernel.codes[block.stores as usize..block.end as usize];
        if codes.iter().any(ways) || stores.len() > 1 && stores.iter().any(|i| i.guard != NONE) {
            return None;
        }
        let live = flow.live_at(way, block.end);
        let written = (block.start..block.end).flat_map(|n| &flow.effects[n as usize].writes);
        let mut changed: Vec<Reg> = written.map(|(reg, _)| *reg).filter(|reg| live.has(*reg)).collect();
        changed.sort_unstable();
        changed.dedup();
        let vectors = |reg: &Reg| self.varying(*reg) && self.e.classes.stride(*reg).is_none();
        changed.iter().all(vectors).then_some((way, changed))
    }

    /// Takes the lanes through that do not skip the way; leaves all together at its end.
    fn take(&mut self, way: usize, branch: &Code, changed: &[Reg]) -> Option<()> {
        let skipping = self.e.guard_bits(branch);
        let active = self.e.pass().bits;
        let taking = self.e.ops.b.ins().band_not(active, skipping);
        let (flow, kernel) = (self.e.flow, self.e.kernel);
        let block = &flow.blocks[way];
        let len = block.end - block.start;
        let count = self.e.ops.b.use_var(self.shared.count);
        let count = self.e.ops.b.ins().iadd_imm_u(count, i64::from(len));
        self.e.ops.b.def_var(self.shared.count, count);
        let before: Vec<Val> = changed.iter().map(|reg| self.e.get(*reg)).collect();
        let whole = self.e.pass.clone();
        self.e.only(taking);
        let [start, stores, end] = [block.start, block.stores, block.end].map(|n| n as usize);
        let stores = match &kernel.codes[stores..end] {
            several @ [_, _, ..] => several,
            _ => &[],
        };
        for i in &kernel.codes[start..end - stores.len()] {
            self.e.instruction(i)?;
        }
        self.e.store_all(stores);
        let some = std::mem::replace(&mut self.e.pass, whole);
        let taking = some.map(|pass: Pass| pass.active)?;
        for (reg, before) in changed.iter().zip(&before) {
            let after = self.e.get(*reg);
            let joined = self.e.choose(&taking, &after, before, !self.is_pred(*reg) && self.wide(*reg));
            self.e.put(*reg, &joined);
        }
        if block.stores < block.end && self.goes_on(way) {
            self.settle(way, block.end, len);
        }
        Some(())
    }
}
