//! Ways from block to block: back to the heads of loops, and on.
//!
//! Owns: what is looked at before another round: whether the turn has room for it, and whether it is time to make way.
//! Where nothing is in the way a loop goes back at once, by one branch at the end of its block.
//! Never: begins a round that may end beyond the turn.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{context::Field, emit::Val, region::Exit},
    Builder,
};
use crate::cpu::code::Code;
use cranelift_codegen::ir::{Block, InstBuilder, Value, condcodes::IntCC};

/// From a block to one at or before it.
pub struct WayBack {
    check: Block,
    to: usize,
    /// Whether it closes a loop that strides through memory.
    strides: bool,
}

impl Builder<'_, '_> {
    /// Where the way from block `from` to an instruction leads; `strides` as in [`WayBack`].
    pub(super) fn edge(&mut self, from: usize, pc: u32, strides: bool) -> Option<Block> {
        let to = self.e.flow.at(pc)?;
        let inside = self.plan.has(to);
        let back = self.e.flow.blocks[to].start <= self.e.flow.blocks[from].start;
        if back && inside || strides {
            let check = self.e.ops.b.create_block();
            self.checks.push(WayBack { check, to, strides });
            return Some(check);
        }
        if !inside {
            return Some(self.exit(Exit::to(pc, to)));
        }
        if self.waits(self.e.flow.blocks[from].end - 1, pc).is_empty() {
            return Some(self.body(to));
        }
        let gate = self.e.ops.b.create_block();
        self.gates.push((gate, to));
        Some(gate)
    }

    /// Where other lanes may wait behind one instruction and not behind another.
    pub(super) fn waits(&self, behind: u32, until: u32) -> &[u32] {
        let waits = &self.e.flow.waits;
        let [from, to] = [behind, until].map(|pc| waits.partition_point(|wait| *wait <= pc));
        &waits[from..to.max(from)]
    }

    /// On a way on: leaves where other lanes wait, or if they wait before that.
    pub(super) fn check_join(&mut self, gate: Block, to: usize) {
        let start = self.e.flow.blocks[to].start;
        self.e.ops.b.switch_to_block(gate);
        let join = self.e.field(Field::Join);
        let waits = self.e.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, join, i64::from(start));
        let (leave, on) = (self.exit(Exit::to(start, to)), self.body(to));
        self.e.ops.b.ins().brif(waits, leave, &[], on, &[]);
    }

    /// On a way back: leaves if another round might take more than the turn has left, or if it is time to make way.
    pub(super) fn check_turn(&mut self, way: &WayBack) {
        let WayBack { check, to, strides } = *way;
        let leave = Exit::to(self.e.flow.blocks[to].start, to);
        self.e.ops.b.switch_to_block(check);
        let count = self.e.ops.b.use_var(self.shared.count);
        if strides {
            let stretch = self.e.field(Field::Stretch);
            let over = self.e.ops.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, count, stretch);
            let (make_way, on) = (self.exit(Exit { makes_way: true, ..leave }), self.e.ops.b.create_block());
            self.e.ops.b.ins().brif(over, make_way, &[], on, &[]);
            self.e.ops.b.switch_to_block(on);
        }
        if !self.plan.has(to) {
            let leave = self.exit(leave);
            self.e.ops.b.ins().jump(leave, &[]);
            return;
        }
        let most = self.e.ops.b.ins().iadd_imm_u(count, i64::from(self.plan.total));
        let budget = self.e.field(Field::Budget);
        let over = self.e.ops.b.ins().icmp(IntCC::UnsignedGreaterThan, most, budget);
        let leave = self.exit(leave);
        let on = self.body(to);
        self.e.ops.b.ins().brif(over, leave, &[], on, &[]);
    }

    /// Goes back to the head of a loop at once, where nothing is in the way; goes on with what is to be looked at where
    /// something may be.
    ///
    /// This uses what a round computes at the end of its block. Cranelift moves what has no effect to where it is used, and
    /// would else carry both what goes into a sum and the sum that it replaces past all that is looked at.
    pub(super) fn back_at_once(&mut self, from: usize, branch: &Code, target: u32) {
        let Some(to) = self.e.flow.at(target).filter(|to| self.plan.has(*to)) else { return };
        if target > self.e.flow.blocks[from].start {
            return;
        }
        let Some(agreed) = self.agreed(branch) else { return };
        let count = self.e.ops.b.use_var(self.shared.count);
        let rounds_until = self.rounds_until(from, branch);
        let short = self.e.ops.b.ins().icmp(IntCC::UnsignedLessThan, count, rounds_until);
        let free = self.e.ops.b.ins().band(agreed, short);
        if self.repeats(from) {
            self.look_ahead(from, branch, free, rounds_until);
        }
        let (body, look) = (self.body(to), self.e.ops.b.create_block());
        self.e.ops.b.ins().brif(free, body, &[], look, &[]);
        self.e.ops.b.switch_to_block(look);
        self.e.ops.b.set_cold_block(look);
    }

    /// The count of instructions from which on there may be no other round.
    fn rounds_until(&mut self, from: usize, branch: &Code) -> Value {
        // A region is entered only if one way through it fits, so this is not below zero.
        let budget = self.e.field(Field::Budget);
        let mut spare = self.e.ops.b.ins().iadd_imm_s(budget, 1 - i64::from(self.plan.total));
        if let Some(stop) = self.stop(from) {
            spare = self.e.ops.b.ins().umin(spare, stop);
        }
        if !branch.strides() {
            return spare;
        }
        let stretch = self.e.field(Field::Stretch);
        self.e.ops.b.ins().umin(spare, stretch)
    }

    /// Whether all active lanes take a branch, where that is quickly seen.
    fn agreed(&mut self, branch: &Code) -> Option<Value> {
        if let Val::One(held) = self.e.read_pred(branch.guard) {
            return Some(if branch.negated { self.e.ops.opposite(held) } else { held });
        }
        let ends = self.e.ends.get(&(self.e.kernel.slots + branch.guard)).copied()?;
        Some(ends.all(&mut self.e.ops, !branch.negated))
    }
}
