//! Where a pass leaves its results.
//!
//! Owns: slots, which go into the frame, or into the shadow as long as the region may bail; and what is kept of uniform
//! registers and predicates until the last pass has left its own.
//! Never: writes lanes that take no part. Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        context::Field,
        effects::Reg,
        emit::{Val, own},
    },
    Builder,
};
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use cranelift_frontend::Variable;

impl Builder<'_, '_> {
    pub(super) fn write_back(&mut self, n: usize) {
        let due = self.due(n);
        for reg in &due {
            if let Some(var) = self.left.get(reg).copied() {
                let value = self.outcome(*reg, var);
                self.e.ops.b.def_var(var, value);
            }
        }
        let slots: Vec<Reg> = due.into_iter().filter(|reg| !self.left.contains_key(reg)).collect();
        self.write_slots(&slots);
    }

    /// Writes slots of the pass's lanes to where they wait.
    pub(super) fn write_slots(&mut self, slots: &[Reg]) {
        if slots.is_empty() {
            return;
        }
        let values: Vec<(Reg, Vec<Value>)> = slots
            .iter()
            .map(|reg| {
                let wide = self.wide(*reg);
                let val = self.e.read(*reg, wide);
                (*reg, self.e.ops.many(&val, wide))
            })
            .collect();
        let bits = self.e.pass().bits;
        let every = self.e.ops.all_lanes();
        let full = self.e.ops.b.ins().icmp(IntCC::Equal, bits, every);
        let (all, some, done) =
            (self.e.ops.b.create_block(), self.e.ops.b.create_block(), self.e.ops.b.create_block());
        self.e.ops.b.ins().brif(full, all, &[], some, &[]);
        for (block, blend) in [(all, false), (some, true)] {
            self.e.ops.b.switch_to_block(block);
            for (reg, values) in &values {
                self.store_slot(*reg, values, blend);
            }
            self.e.ops.b.ins().jump(done, &[]);
        }
        self.e.ops.b.switch_to_block(done);
    }

    /// What the pass leaves in a uniform register or a predicate.
    fn outcome(&mut self, reg: Reg, var: Variable) -> Value {
        let val = if self.is_pred(reg) { self.e.get(reg) } else { self.e.read(reg, self.wide(reg)) };
        match val {
            Val::One(one) => one,
            Val::Many(masks) => {
                // Bits of this pass's lanes, joined with those of the passes before.
                let mut bits = self.e.ops.b.use_var(var);
                let own = self.e.ops.bits_of(masks);
                let number = self.e.pass().number;
                let lanes = self.e.ops.lanes() as i64;
                let lanes = self.e.ops.b.ins().imul_imm_u(number, lanes);
                let own = self.e.ops.b.ins().ishl(own, lanes);
                bits = self.e.ops.b.ins().bor(bits, own);
                bits
            }
        }
    }

    pub(super) fn store_slot(&mut self, reg: Reg, values: &[Value], blend: bool) {
        let wide = self.wide(reg);
        let mut values = values.to_vec();
        if blend {
            let masks = self.e.pass().active.clone();
            let masks = self.e.ops.masks(&masks);
            let masks = if wide { self.e.ops.widen_all(&masks, true) } else { masks };
            let old = self.e.frame(reg, wide);
            for ((value, old), mask) in values.iter_mut().zip(old).zip(masks) {
                *value = self.e.ops.b.ins().bitselect(mask, *value, old);
            }
        }
        let (slot, to) = self.place(reg, wide);
        for (n, value) in values.into_iter().enumerate() {
            self.e.ops.b.ins().store(own(), value, to, slot as i32 * 128 + n as i32 * 16);
        }
    }

    /// Where this pass's lanes of a result go: slot, and its base in the frame or in the shadow.
    pub(super) fn place(&mut self, reg: Reg, wide: bool) -> (u32, Value) {
        let to = if wide { self.e.pass().wides } else { self.e.pass().words };
        match self.shadows.get(&reg).copied() {
            None => (reg, to),
            Some(slot) => {
                let (frame, shadow) = (self.e.field(Field::Slots), self.e.field(Field::Shadow));
                let skip = self.e.ops.b.ins().isub(to, frame);
                (slot, self.e.ops.b.ins().iadd(shadow, skip))
            }
        }
    }
}
