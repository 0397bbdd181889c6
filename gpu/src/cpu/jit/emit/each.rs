//! Accesses of some lanes of a pass, one lane after the other.
//!
//! Owns: the loop over active lanes, in their order. What differs between them goes through the stack: this is rare, and
//! is to take neither registers from what is not, nor much code.
//! Never: goes to places that were not checked. Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Val, memory::Places, own, scalar, vector};
use cranelift_codegen::ir::{
    InstBuilder, StackSlot, StackSlotData, StackSlotKind, Type, Value,
    types::{I32, I64},
};

/// Rows on the stack: of offsets, and of two registers.
pub type Scratch = [StackSlot; 3];

/// What lanes have of something: all the same, or each its part of a row.
#[derive(Clone, Copy)]
pub enum Items {
    Same(Value),
    Row(Value, Type),
}

impl Emitter<'_, '_> {
    /// Acts for each active lane, with its number and its place.
    pub fn each_lane(&mut self, places: &Places, act: impl FnOnce(&mut Self, Value, Value)) {
        let offsets = places.offsets().map(|(all, ty)| self.row(0, all, ty));
        let (each, done) = (self.ops.b.create_block(), self.ops.b.create_block());
        let left = self.ops.b.append_block_param(each, I32);
        let active = self.pass().bits;
        self.ops.b.ins().jump(each, &[active.into()]);
        self.ops.b.switch_to_block(each);
        self.ops.b.set_cold_block(each);
        let lane = self.ops.b.ins().ctz(left);
        let lane = self.ops.b.ins().uextend(I64, lane);
        let (first, offset) = match offsets {
            Some(offsets) => (places.start, self.item(offsets, lane)),
            None => {
                let grown = self.ops.b.ins().imul_imm_s(lane, places.stride.unwrap_or(0));
                (places.of(&mut self.ops, 0), grown)
            }
        };
        let narrow = self.ops.ty(offset) == I32;
        let offset = if narrow { self.ops.b.ins().uextend(I64, offset) } else { offset };
        let at = self.ops.b.ins().iadd(first, offset);
        act(self, lane, at);
        let but_one = self.ops.b.ins().iadd_imm_s(left, -1);
        let left = self.ops.b.ins().band(left, but_one);
        self.ops.b.ins().brif(left, each, &[left.into()], done, &[]);
        self.ops.b.switch_to_block(done);
        self.ops.b.set_cold_block(done);
    }

    /// A register for lanes one by one; vectors go into row `n`.
    pub fn items(&mut self, n: usize, val: &Val, wide: bool) -> Items {
        match val {
            Val::One(one) => Items::Same(*one),
            Val::Many(all) => self.row(n, all, scalar(wide)),
        }
    }

    fn row(&mut self, n: usize, values: &[Value], ty: Type) -> Items {
        let bytes = 16 * self.ops.parts(true) as u32;
        let b = &mut self.ops.b;
        let slot = |()| b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4));
        let scratch = *self.scratch.get_or_insert_with(|| [(); 3].map(slot));
        let row = self.ops.b.ins().stack_addr(I64, scratch[n], 0);
        for (n, value) in values.iter().enumerate() {
            self.ops.b.ins().store(own(), *value, row, 16 * n as i32);
        }
        Items::Row(row, ty)
    }

    pub fn item(&mut self, items: Items, lane: Value) -> Value {
        match items {
            Items::Same(value) => value,
            Items::Row(row, ty) => {
                let at = self.item_at(row, ty, lane);
                self.ops.b.ins().load(ty, own(), at, 0)
            }
        }
    }

    fn item_at(&mut self, row: Value, ty: Type, lane: Value) -> Value {
        let by = self.ops.b.ins().imul_imm_u(lane, i64::from(ty.bytes()));
        self.ops.b.ins().iadd(row, by)
    }

    /// Gives a lane another number in a row.
    pub fn set_item(&mut self, items: Items, lane: Value, value: Value) {
        if let Items::Row(row, ty) = items {
            let at = self.item_at(row, ty, lane);
            self.ops.b.ins().store(own(), value, at, 0);
        }
    }

    /// The register that a row holds.
    pub fn joined_items(&mut self, items: Items, wide: bool) -> Val {
        match items {
            Items::Same(value) => Val::One(value),
            Items::Row(row, _) => {
                let parts = 0..self.ops.parts(wide) as i32;
                Val::Many(parts.map(|n| self.ops.b.ins().load(vector(wide), own(), row, 16 * n)).collect())
            }
        }
    }
}
