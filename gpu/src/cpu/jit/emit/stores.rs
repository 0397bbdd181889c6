//! Stores.
//!
//! Owns: the store phase of a narrow region, after everything before it is done for the whole warp: instruction by
//! instruction, lanes in their order, from the registers in the frame; and the stores of a wide region, which are done
//! where they stand. Several lanes that store to one place therefore leave what the interpreter leaves there.
//! Never: stores for a pass whose lanes were not all checked.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Pass, Val, memory::Places, scalar, vector};
use crate::cpu::{
    code::{Code, Kind, NONE, Part},
    jit::context::Field,
    lanes::LANES,
    memory::Area,
};
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Value,
    condcodes::IntCC,
    types::{I32, I64},
};

impl Emitter<'_, '_> {
    /// Executes one store for all passes. If a lane's address is wrong, goes to the bail block with this store undone
    /// in the faulting pass; doing it again from the start gives the same memory.
    pub fn store(&mut self, i: &Code) -> Option<()> {
        let Kind::Store { area, bits } = i.kind else { return None };
        let count = (LANES / self.ops.lanes()) as i64;
        let number = self.ops.b.declare_var(I32);
        let zero = self.ops.b.ins().iconst(I32, 0);
        self.ops.b.def_var(number, zero);
        let (head, work, next, done) = (
            self.ops.b.create_block(),
            self.ops.b.create_block(),
            self.ops.b.create_block(),
            self.ops.b.create_block(),
        );
        self.ops.b.ins().jump(head, &[]);
        self.ops.b.switch_to_block(head);
        let now = self.ops.b.use_var(number);
        self.begin_pass(now);
        let mut active = self.pass().bits;
        if i.guard != NONE {
            active = self.guard_in_frame(i, active);
        }
        self.ops.b.ins().brif(active, work, &[], next, &[]);
        self.ops.b.switch_to_block(work);
        if i.guard != NONE {
            self.only(active);
        }
        let step = i32::from(bits / 8);
        let size = i64::from(step) * i64::from(i.e);
        let stored = self.kernel.parts[i.d as usize..(i.d + i.e) as usize].to_vec();
        let places = self.store_places(i, area, size);
        for (n, part) in stored.iter().enumerate() {
            let values = self.frame(part.slot, part.bits == 64);
            self.store_part(&places, part, &values, bits, n as i32 * step);
        }
        self.ops.b.ins().jump(next, &[]);
        self.ops.b.switch_to_block(next);
        let one = self.ops.b.ins().iconst(I32, 1);
        let after = self.ops.b.ins().iadd(now, one);
        self.ops.b.def_var(number, after);
        let more = self.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, after, count);
        self.ops.b.ins().brif(more, head, &[], done, &[]);
        self.ops.b.switch_to_block(done);
        Some(())
    }

    /// Those of the active lanes in which the guard holds, as it stands in the frame.
    fn guard_in_frame(&mut self, i: &Code, active: Value) -> Value {
        let preds = self.field(Field::Preds);
        let held = self.ops.b.ins().load(I32, super::own(), preds, i.guard as i32 * 4);
        let (number, lanes) = (self.pass().number, self.ops.lanes() as i64);
        let lanes = self.ops.b.ins().imul_imm_u(number, lanes);
        let held = self.ops.b.ins().ushr(held, lanes);
        if i.negated { self.ops.b.ins().band_not(active, held) } else { self.ops.b.ins().band(active, held) }
    }

    /// Sets out on a pass: where its lanes are and which are active.
    pub fn begin_pass(&mut self, number: Value) {
        let slots = self.field(Field::Slots);
        let mask = self.field(Field::Mask);
        let lanes = self.ops.lanes() as i64;
        let lanes = self.ops.b.ins().imul_imm_u(number, lanes);
        let bits = self.ops.b.ins().ushr(mask, lanes);
        let all = self.ops.all_lanes();
        let bits = self.ops.b.ins().band(bits, all);
        let wide_lanes = self.ops.b.ins().uextend(I64, lanes);
        let words = self.ops.b.ins().imul_imm_u(wide_lanes, 4);
        let wides = self.ops.b.ins().imul_imm_u(wide_lanes, 8);
        let words = self.ops.b.ins().iadd(slots, words);
        let wides = self.ops.b.ins().iadd(slots, wides);
        let active = self.lane_masks(bits);
        self.pass = Some(Pass { number, words, wides, bits, active: Val::Many(active) });
    }

    /// Bits, one a lane, as masks.
    pub fn lane_masks(&mut self, bits: Value) -> Vec<Value> {
        let ty = vector(false);
        let all = self.ops.b.ins().splat(ty, bits);
        let zero = self.ops.konst(ty, 0);
        (0..self.ops.units)
            .map(|unit| {
                let each: Vec<u8> =
                    (0..4).flat_map(|lane| (1u32 << (4 * unit + lane)).to_le_bytes()).collect();
                let each = self.ops.b.func.dfg.constants.insert(each.into());
                let each = self.ops.b.ins().vconst(ty, each);
                let found = self.ops.b.ins().band(all, each);
                self.ops.b.ins().icmp(IntCC::NotEqual, found, zero)
            })
            .collect()
    }

    /// A slot of the frame for the lanes of this pass.
    pub fn frame(&mut self, slot: u32, wide: bool) -> Vec<Value> {
        if self.classes.fixed(slot) {
            let value = self.raw(slot, wide);
            return self.ops.many(&value, wide);
        }
        let from = if wide { self.pass().wides } else { self.pass().words };
        let at = |n: usize| slot as i32 * 128 + n as i32 * 16;
        (0..self.ops.parts(wide))
            .map(|n| self.ops.b.ins().load(vector(wide), super::own(), from, at(n)))
            .collect()
    }

    /// Where the lanes of a pass store, checked.
    fn store_places(&mut self, i: &Code, area: Area, size: i64) -> Places {
        if let Some(stride) = self.even_stride(i, area, size) {
            let narrow = i.c == 1;
            let base = self.frame_base(i.a, !narrow, stride);
            let first = self.with_offset(base, i, narrow);
            let at = self.check_even(area, first, stride, size, true);
            return Places::even(at, stride);
        }
        let addresses = self.frame_addresses(i);
        let masks = self.pass().active.clone();
        self.check(area, addresses, size, true, &masks)
    }

    fn frame_addresses(&mut self, i: &Code) -> Val {
        if i.a == NONE {
            return Val::Many(vec![self.ops.konst(vector(true), i.imm as u64); self.ops.parts(true)]);
        }
        let narrow = i.c == 1;
        let base = Val::Many(self.frame(i.a, !narrow));
        let sum = self.ops.zip(!narrow, &[&base], &mut |ops, v| {
            let ty = ops.ty(v[0]);
            let offset = ops.konst(ty, i.imm as u64);
            ops.b.ins().iadd(v[0], offset)
        });
        if narrow { self.ops.widen(&sum, false) } else { sum }
    }

    /// Executes one store of a pass over a whole warp at once, from the registers as they are.
    pub fn store_now(&mut self, i: &Code, area: Area, bits: u8) {
        let places = self.places_of_store(i, area, bits);
        self.store_at(i, &places, bits);
    }

    /// The same for stores that follow each other: all are checked before the first is done, so that they bail, if they do,
    /// with nothing stored.
    pub fn store_all(&mut self, stores: &[Code]) {
        let mut places = Vec::new();
        for i in stores {
            if let Kind::Store { area, bits } = i.kind {
                places.push((i, self.places_of_store(i, area, bits), bits));
            }
        }
        for (i, places, bits) in places {
            self.store_at(i, &places, bits);
        }
    }

    fn places_of_store(&mut self, i: &Code, area: Area, bits: u8) -> Places {
        self.places(i, area, i64::from(bits / 8) * i64::from(i.e), true)
    }

    fn store_at(&mut self, i: &Code, places: &Places, bits: u8) {
        let step = i32::from(bits / 8);
        let stored = self.kernel.parts[i.d as usize..(i.d + i.e) as usize].to_vec();
        for (n, part) in stored.iter().enumerate() {
            let wide = part.bits == 64;
            let values = self.read(part.slot, wide);
            let values = self.ops.many(&values, wide);
            self.store_part(places, part, &values, bits, n as i32 * step);
        }
    }

    fn store_part(&mut self, places: &Places, part: &Part, values: &[Value], bits: u8, skip: i32) {
        let wide = part.bits == 64;
        let lanes = if wide { 2 } else { 4 };
        let active = self.pass().bits;
        let every = self.ops.all_lanes();
        let full = self.ops.b.ins().icmp(IntCC::Equal, active, every);
        let (all, some, done) =
            (self.ops.b.create_block(), self.ops.b.create_block(), self.ops.b.create_block());
        self.ops.b.ins().brif(full, all, &[], some, &[]);
        self.ops.b.switch_to_block(all);
        let packed =
            places.stride == Some(i64::from(bits / 8)) && u32::from(bits) == vector(wide).lane_bits();
        if packed {
            for (n, value) in values.iter().enumerate() {
                let flags = MemFlagsData::new().with_notrap();
                self.ops.b.ins().store(flags, *value, places.start, skip + 16 * n as i32);
            }
        } else {
            for lane in 0..self.ops.lanes() {
                let value = self.ops.b.ins().extractlane(values[lane / lanes], (lane % lanes) as u8);
                let at = places.of(&mut self.ops, lane);
                self.store_one(at, value, wide, bits, skip);
            }
        }
        self.ops.b.ins().jump(done, &[]);
        self.ops.b.switch_to_block(some);
        self.ops.b.set_cold_block(some);
        let values = self.items(1, &Val::Many(values.to_vec()), wide);
        self.each_lane(places, |this, lane, at| {
            let value = this.item(values, lane);
            this.store_one(at, value, wide, bits, skip);
        });
        self.ops.b.ins().jump(done, &[]);
        self.ops.b.switch_to_block(done);
    }

    fn store_one(&mut self, at: Value, value: Value, wide: bool, bits: u8, skip: i32) {
        let flags = MemFlagsData::trusted();
        match bits {
            8 => self.ops.b.ins().istore8(flags, value, at, skip),
            16 => self.ops.b.ins().istore16(flags, value, at, skip),
            32 if wide => self.ops.b.ins().istore32(flags, value, at, skip),
            32 => self.ops.b.ins().store(flags, value, at, skip),
            _ if wide => self.ops.b.ins().store(flags, value, at, skip),
            _ => {
                let value = self.ops.b.ins().uextend(scalar(true), value);
                self.ops.b.ins().store(flags, value, at, skip)
            }
        };
    }
}
