//! Passes of a narrow region that part in a loop: they begin again, and leave together where they parted.
//!
//! Owns: what a pass remembers of the loops that lanes may leave one before the other, and the second try of a region whose
//! passes do not agree, or one of which bails. It stops at the last branch of such a loop that all have come to, for the
//! interpreter to execute, rather than undo all rounds of it.
//! Never: tries a third time. Tests: `gpu/tests/cpu_engines.rs`.

use super::{super::context::Turn, Builder};
use cranelift_codegen::ir::{
    Block, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value,
    condcodes::IntCC,
    types::{I32, I64},
};
use cranelift_frontend::Variable;

/// Where the two counts of instructions are kept: as of the last such branch that this pass has come to, and of the pass
/// that has come least far.
const LAST: i32 = 0;
const LEAST: i32 = 4;

#[derive(Clone, Copy)]
pub(super) struct Again {
    counts: StackSlot,
    /// The count at which to leave.
    stop: Variable,
    start: Block,
}

impl Builder<'_, '_> {
    /// Before the passes: where they may begin again.
    pub(super) fn begin(&mut self) {
        if self.plan.wide || self.joins.is_empty() {
            return;
        }
        let (stop, start) = (self.e.ops.b.declare_var(I32), self.e.ops.b.create_block());
        let counts = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 2);
        let counts = self.e.ops.b.create_sized_stack_slot(counts);
        let never = self.e.ops.b.ins().iconst(I32, -1);
        self.e.ops.b.def_var(stop, never);
        self.e.ops.b.ins().jump(start, &[]);
        self.e.ops.b.switch_to_block(start);
        self.e.ops.b.ins().stack_store(I64, never, counts, LEAST);
        self.again = Some(Again { counts, stop, start });
    }

    /// The start of a pass.
    pub(super) fn begin_counts(&mut self) {
        if let Some(Again { counts, .. }) = self.again {
            let none = self.e.ops.b.ins().iconst(I32, 0);
            self.e.ops.b.ins().stack_store(I64, none, counts, LAST);
        }
    }

    /// The end of one.
    pub(super) fn end_counts(&mut self) {
        if let Some(Again { counts, .. }) = self.again {
            let least = self.least(counts);
            self.e.ops.b.ins().stack_store(I64, least, counts, LEAST);
        }
    }

    fn least(&mut self, counts: StackSlot) -> Value {
        let [last, least] = [LAST, LEAST].map(|at| self.e.ops.b.ins().stack_load(I64, I32, counts, at));
        self.e.ops.b.ins().umin(last, least)
    }

    /// Whether block `b` closes a loop of the region that lanes may leave one before the other.
    pub(super) fn parts(&self, b: usize) -> bool {
        self.joins.contains(&self.e.flow.blocks[b].end)
    }

    /// Remembers that the pass has come to the branch that ends a block.
    pub(super) fn count_branch(&mut self, b: usize) {
        if let Some(Again { counts, .. }) = self.again
            && self.parts(b)
        {
            let count = self.e.ops.b.use_var(self.shared.count);
            self.e.ops.b.ins().stack_store(I64, count, counts, LAST);
        }
    }

    /// Leaves at the branch that ends a block, where the region is to stop there.
    pub(super) fn stop_at_branch(&mut self, b: usize) {
        let Some(stop) = self.stop(b) else { return };
        let count = self.e.ops.b.use_var(self.shared.count);
        let here = self.e.ops.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, count, stop);
        self.leave_at_end_if(b, here);
    }

    /// The count at which to stop at the branch that ends a block, if that may be.
    pub(super) fn stop(&mut self, b: usize) -> Option<Value> {
        let Again { stop, .. } = self.again.filter(|_| self.parts(b))?;
        Some(self.e.ops.b.use_var(stop))
    }

    /// Where the region bails: leads all passes to where they came together, at the first time, or gives the warp back.
    pub(super) fn bailed(&mut self) {
        if let Some(Again { counts, stop, start }) = self.again {
            let least = self.least(counts);
            let before = self.e.ops.b.use_var(stop);
            let first = self.e.ops.b.ins().icmp_imm_s(IntCC::Equal, before, -1);
            let never = self.e.ops.b.ins().iconst(I32, 0);
            let to = self.e.ops.b.ins().select(first, least, never);
            let (again, give) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
            self.e.ops.b.ins().brif(to, again, &[], give, &[]);
            self.e.ops.b.switch_to_block(again);
            self.e.ops.b.def_var(stop, to);
            self.e.ops.b.ins().jump(start, &[]);
            self.e.ops.b.switch_to_block(give);
        }
        let [resume, executed] = self.shared.settled.map(|var| self.e.ops.b.use_var(var));
        self.give(executed, resume, Turn::On);
    }
}
