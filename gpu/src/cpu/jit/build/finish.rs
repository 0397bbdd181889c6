//! What a region does once, after all passes.
//!
//! Owns: the end of a region's function: results out of the shadow, uniform registers and predicates into the frame,
//! the stores, and where the warp goes on.
//! Never: bails; what fails here is a store, and the warp goes on at that store.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        effects::Reg,
        emit::{Val, own, vector},
        region::Exit,
    },
    Builder,
};
use crate::cpu::lanes::LANES;
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I32};

impl Builder<'_, '_> {
    /// After all passes: what had to wait, the stores, and the return.
    pub(super) fn finish(&mut self, n: usize) -> Option<()> {
        let (exit, _, after) = self.exits[n];
        self.e.ops.b.switch_to_block(after);
        if self.plan.wide {
            let executed = self.e.ops.b.use_var(self.shared.executed);
            self.leave_for(exit, executed);
            return Some(());
        }
        let due = self.due(n);
        let shadowed: Vec<Reg> = due.iter().copied().filter(|reg| self.shadows.contains_key(reg)).collect();
        if !shadowed.is_empty() {
            self.rounds(|this, number| {
                this.e.begin_pass(number);
                let bits = this.e.pass().bits;
                let (copy, on) = (this.e.ops.b.create_block(), this.e.ops.b.create_block());
                this.e.ops.b.ins().brif(bits, copy, &[], on, &[]);
                this.e.ops.b.switch_to_block(copy);
                for reg in &shadowed {
                    this.copy_shadow(*reg);
                }
                this.e.ops.b.ins().jump(on, &[]);
                this.e.ops.b.switch_to_block(on);
            });
        }
        let preds: Vec<Reg> = due.iter().copied().filter(|reg| self.is_pred(*reg)).collect();
        for reg in preds {
            let value = self.e.ops.b.use_var(self.left[&reg]);
            let bits = if self.varying(reg) { value } else { self.e.ops.b.ins().bmask(I32, value) };
            self.write_pred(reg, bits);
        }
        let uniform: Vec<Reg> =
            due.iter().copied().filter(|reg| !self.is_pred(*reg) && !self.varying(*reg)).collect();
        if !uniform.is_empty() {
            let values: Vec<(Reg, Value)> =
                uniform.iter().map(|reg| (*reg, self.e.ops.b.use_var(self.left[reg]))).collect();
            self.rounds(|this, number| {
                this.e.begin_pass(number);
                for (reg, value) in &values {
                    let wide = this.wide(*reg);
                    let all = this.e.ops.many(&Val::One(*value), wide);
                    this.store_slot(*reg, &all, true);
                }
            });
        }
        let executed = self.e.ops.b.use_var(self.shared.executed);
        if !exit.stores {
            self.leave_for(exit, executed);
            return Some(());
        }
        let block = &self.e.flow.blocks[exit.block];
        for n in block.stores..block.end {
            let undone = self.e.ops.b.create_block();
            let bail = std::mem::replace(&mut self.e.bail, undone);
            let so_far = self.e.ops.b.ins().iadd_imm_u(executed, i64::from(n - block.stores));
            self.e.store(&self.e.kernel.codes[n as usize])?;
            let on = self.e.ops.b.create_block();
            self.e.ops.b.ins().jump(on, &[]);
            self.e.ops.b.switch_to_block(undone);
            self.come_to(so_far, n);
            self.e.ops.b.switch_to_block(on);
            self.e.bail = bail;
        }
        let total = self.e.ops.b.ins().iadd_imm_u(executed, i64::from(block.end - block.stores));
        self.come_to(total, block.end);
        Some(())
    }

    fn leave_for(&mut self, exit: Exit, executed: Value) {
        if exit.makes_way { self.make_way(executed, exit.pc) } else { self.come_to(executed, exit.pc) }
    }

    fn copy_shadow(&mut self, reg: Reg) {
        let wide = self.wide(reg);
        let (slot, from) = self.place(reg, wide);
        let to = if wide { self.e.pass().wides } else { self.e.pass().words };
        for n in 0..self.e.ops.parts(wide) as i32 {
            let value = self.e.ops.b.ins().load(vector(wide), own(), from, slot as i32 * 128 + n * 16);
            self.e.ops.b.ins().store(own(), value, to, reg as i32 * 128 + n * 16);
        }
    }

    /// A loop over all passes.
    fn rounds(&mut self, round: impl FnOnce(&mut Self, Value)) {
        let count = LANES / self.e.ops.lanes();
        let number = self.e.ops.b.declare_var(I32);
        let zero = self.e.ops.b.ins().iconst(I32, 0);
        self.e.ops.b.def_var(number, zero);
        let (head, done) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
        self.e.ops.b.ins().jump(head, &[]);
        self.e.ops.b.switch_to_block(head);
        let now = self.e.ops.b.use_var(number);
        round(self, now);
        let after = self.e.ops.b.ins().iadd_imm_u(now, 1);
        self.e.ops.b.def_var(number, after);
        let more = self.e.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, after, count as i64);
        self.e.ops.b.ins().brif(more, head, &[], done, &[]);
        self.e.ops.b.switch_to_block(done);
    }
}
