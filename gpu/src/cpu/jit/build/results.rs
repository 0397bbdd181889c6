//! Where a pass leaves its results.
//!
//! Owns: slots, which go into the frame, or into the shadow as long as the region may bail; and what is kept of uniform
//! registers and predicates until the last pass has left its own.
//! Never: writes lanes that take no part. Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        context::Field,
        effects::Reg,
        emit::{Val, own, scalar, vector},
    },
    Builder,
};
use crate::cpu::lanes::Slot;
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I64};
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
        self.e.ops.b.switch_to_block(all);
        for (reg, values) in &values {
            self.store_slot(*reg, values, false);
        }
        self.e.ops.b.ins().jump(done, &[]);
        self.e.ops.b.switch_to_block(some);
        self.e.ops.b.set_cold_block(some);
        if self.plan.wide {
            self.blend_rows(&values);
        } else {
            for (reg, values) in &values {
                self.store_slot(*reg, values, true);
            }
        }
        self.e.ops.b.ins().jump(done, &[]);
        self.e.ops.b.switch_to_block(done);
    }

    /// Writes active lanes of a wide region's values, by way of the shadow and in loops over the frame's vectors: this is
    /// rare, and is to take neither registers from what is not, nor much code.
    fn blend_rows(&mut self, values: &[(Reg, Vec<Value>)]) {
        let shadow = self.e.field(Field::Shadow);
        let mut rows = Vec::new();
        let mut at = 0;
        for (reg, values) in values {
            rows.push((*reg, at));
            for value in values {
                self.e.ops.b.ins().store(own(), *value, shadow, at);
                at += 16;
            }
        }
        self.shadow = self.shadow.max((at as u32).div_ceil(size_of::<Slot>() as u32));
        for wide in [false, true] {
            let rows: Vec<(Reg, i32)> =
                rows.iter().copied().filter(|(reg, _)| self.wide(*reg) == wide).collect();
            if !rows.is_empty() {
                self.blend(&rows, wide);
            }
        }
    }

    /// The same of registers of one width, which stand in the shadow.
    fn blend(&mut self, rows: &[(Reg, i32)], wide: bool) {
        let (ty, bytes) = (scalar(wide), 16 * self.e.ops.parts(wide) as i64);
        let lanes = 16 / i64::from(ty.bytes());
        let (each, done) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
        let skip = self.e.ops.b.append_block_param(each, I64);
        let bits = self.e.ops.b.append_block_param(each, ty);
        let active = self.e.pass().bits;
        let active = if wide { self.e.ops.b.ins().uextend(I64, active) } else { active };
        let start = self.e.ops.b.ins().iconst(I64, 0);
        self.e.ops.b.ins().jump(each, &[start.into(), active.into()]);
        self.e.ops.b.switch_to_block(each);
        self.e.ops.b.set_cold_block(each);
        let lane_bits: Vec<u8> =
            (0..lanes).flat_map(|n| (1u64 << n).to_le_bytes()[..ty.bytes() as usize].to_vec()).collect();
        let lane_bits = self.e.ops.b.func.dfg.constants.insert(lane_bits.into());
        let lane_bits = self.e.ops.b.ins().vconst(vector(wide), lane_bits);
        let own_bits = self.e.ops.b.ins().splat(vector(wide), bits);
        let own_bits = self.e.ops.b.ins().band(own_bits, lane_bits);
        let mask = self.e.ops.b.ins().icmp(IntCC::Equal, own_bits, lane_bits);
        let (frame, shadow) = (self.e.field(Field::Slots), self.e.field(Field::Shadow));
        let frame = self.e.ops.b.ins().iadd(frame, skip);
        let shadow = self.e.ops.b.ins().iadd(shadow, skip);
        for (reg, at) in rows {
            let slot = *reg as i32 * size_of::<Slot>() as i32;
            let new = self.e.ops.b.ins().load(vector(wide), own(), shadow, *at);
            let old = self.e.ops.b.ins().load(vector(wide), own(), frame, slot);
            let value = self.e.ops.b.ins().bitselect(mask, new, old);
            self.e.ops.b.ins().store(own(), value, frame, slot);
        }
        let skip = self.e.ops.b.ins().iadd_imm_u(skip, 16);
        let bits = self.e.ops.b.ins().ushr_imm_u(bits, lanes);
        let more = self.e.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, skip, bytes);
        self.e.ops.b.ins().brif(more, each, &[skip.into(), bits.into()], done, &[]);
        self.e.ops.b.switch_to_block(done);
        self.e.ops.b.set_cold_block(done);
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
