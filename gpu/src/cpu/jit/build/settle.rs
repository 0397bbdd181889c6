//! What a wide region does when something has been written that cannot be undone.
//!
//! Owns: settling. What the region has come to goes into the frame, and whoever bails from then on leads the warp back to
//! there, with as many instructions counted.
//! Never: settles before it must: only where something that may bail, or another block, comes after.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        context::Field,
        effects::Reg,
        emit::{Val, may_be_large, may_wrap, own},
    },
    Builder,
};
use crate::cpu::code::{Code, Kind};
use cranelift_codegen::ir::{InstBuilder, Value, types::I32};

impl Builder<'_, '_> {
    /// Whether an instruction of a wide region may lead back to where it was last settled.
    pub(super) fn bails(&self, i: &Code) -> bool {
        match i.kind {
            Kind::Load { .. } | Kind::Store { .. } | Kind::Atomic { .. } => true,
            Kind::Redux { .. } => true,
            _ => may_be_large(i) || may_wrap(i),
        }
    }

    pub(super) fn goes_on(&self, b: usize) -> bool {
        self.e.flow.blocks[b].next.iter().any(|pc| self.e.flow.at(*pc).is_some_and(|to| self.plan.has(to)))
    }

    /// Something was written that cannot be undone, so what the region has come to goes into the frame, and undoing leads
    /// back to instruction `n` of block `b`, of which `len` instructions are counted already.
    pub(super) fn settle(&mut self, b: usize, n: u32, len: u32) {
        let block = &self.e.flow.blocks[b];
        let live = self.e.flow.live_at(b, n);
        let due: Vec<Reg> = self.written.iter().copied().filter(|reg| live.has(*reg)).collect();
        self.write_now(&due);
        let ahead = i64::from(block.start + len) - i64::from(n);
        let count = self.e.ops.b.use_var(self.shared.count);
        let executed = self.e.ops.b.ins().iadd_imm_s(count, -ahead);
        let resume = self.e.ops.b.ins().iconst(I32, i64::from(n));
        self.settle_at(resume, executed);
    }

    pub(super) fn settle_at(&mut self, resume: Value, executed: Value) {
        let [at, so_far] = self.shared.settled;
        self.e.ops.b.def_var(at, resume);
        self.e.ops.b.def_var(so_far, executed);
    }

    /// Writes registers of all lanes into the frame.
    pub(super) fn write_now(&mut self, due: &[Reg]) {
        let (preds, slots): (Vec<Reg>, Vec<Reg>) = due.iter().copied().partition(|reg| self.is_pred(*reg));
        self.write_slots(&slots);
        for reg in preds {
            let bits = match self.e.get(reg) {
                Val::One(one) => self.e.ops.b.ins().bmask(I32, one),
                Val::Many(masks) => self.e.ops.bits_of(masks),
            };
            self.write_pred(reg, bits);
        }
    }

    /// Writes a predicate's bits into the frame.
    pub(super) fn write_pred(&mut self, reg: Reg, bits: Value) {
        let mask = self.e.field(Field::Mask);
        let preds = self.e.field(Field::Preds);
        let at = (reg - self.e.kernel.slots) as i32 * 4;
        let old = self.e.ops.b.ins().load(I32, own(), preds, at);
        let new = self.e.ops.b.ins().bitselect(mask, bits, old);
        self.e.ops.b.ins().store(own(), new, preds, at);
    }
}
