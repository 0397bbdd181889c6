//! Atomic operations in shared and in global memory.
//!
//! Owns: their translation, lane by lane in order. Shared memory belongs to one block, and a block to one core, so there
//! a plain load and store will do; global memory takes the processor's own atomic operations.
//! Never: is part of a pass over less than a warp.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val, memory::Places, scalar, vector};
use crate::cpu::{
    code::{AtomOp, AtomTy, Code, NONE},
    memory::Area,
};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Value, condcodes::IntCC};

pub fn translates_atomic(area: Area, op: AtomOp, ty: AtomTy) -> bool {
    let whole = match ty {
        AtomTy::U32 | AtomTy::S32 | AtomTy::U64 | AtomTy::S64 => true,
        AtomTy::F32 | AtomTy::F64 => op == AtomOp::Add,
        AtomTy::B16 | AtomTy::B128 | AtomTy::Half { .. } => false,
    };
    let known = match op {
        AtomOp::And | AtomOp::Or | AtomOp::Xor | AtomOp::Exch | AtomOp::Cas => true,
        AtomOp::Add | AtomOp::Min | AtomOp::Max => true,
        AtomOp::Inc | AtomOp::Dec => false,
    };
    whole && known && matches!(area, Area::Shared | Area::Global | Area::Generic)
}

/// What one lane does.
struct Change {
    area: Area,
    op: AtomOp,
    signed: bool,
    wide: bool,
    float: bool,
}

impl Ops<'_> {
    /// One lane of a value.
    fn lane(&mut self, v: &Val, lane: usize, wide: bool) -> Value {
        let lanes = if wide { 2 } else { 4 };
        match v {
            Val::One(one) => *one,
            Val::Many(all) => self.b.ins().extractlane(all[lane / lanes], (lane % lanes) as u8),
        }
    }

    /// Changes what is at a place, and gives what was there. `stored` is for `cas`.
    fn change(&mut self, how: &Change, at: Value, given: Value, stored: Value) -> Value {
        let flags = MemFlagsData::trusted();
        if how.area != Area::Shared && how.float {
            return self.add_at_once(how, at, given);
        }
        if how.area != Area::Shared {
            if how.op == AtomOp::Cas {
                return self.b.ins().atomic_cas(flags, at, given, stored);
            }
            return self.b.ins().atomic_rmw(scalar(how.wide), flags, rmw(how.op, how.signed), at, given);
        }
        let old = self.b.ins().load(scalar(how.wide), flags, at, 0);
        let new = match how.op {
            AtomOp::Add if how.float => self.float_sum(old, given),
            AtomOp::Cas => {
                let same = self.b.ins().icmp(IntCC::Equal, old, given);
                self.b.ins().select(same, stored, old)
            }
            AtomOp::And | AtomOp::Or | AtomOp::Xor | AtomOp::Add | AtomOp::Min | AtomOp::Max => {
                self.combined(how.op, how.signed, old, given)
            }
            AtomOp::Exch | AtomOp::Inc | AtomOp::Dec => given,
        };
        self.b.ins().store(flags, new, at, 0);
        old
    }
}

impl Ops<'_> {
    /// What an operation makes of two integers, or of vectors of them.
    pub fn combined(&mut self, op: AtomOp, signed: bool, x: Value, y: Value) -> Value {
        match op {
            AtomOp::And => self.b.ins().band(x, y),
            AtomOp::Or => self.b.ins().bor(x, y),
            AtomOp::Xor => self.b.ins().bxor(x, y),
            AtomOp::Add => self.b.ins().iadd(x, y),
            AtomOp::Min if signed => self.b.ins().smin(x, y),
            AtomOp::Min => self.b.ins().umin(x, y),
            AtomOp::Max if signed => self.b.ins().smax(x, y),
            AtomOp::Max => self.b.ins().umax(x, y),
            AtomOp::Exch | AtomOp::Cas | AtomOp::Inc | AtomOp::Dec => y,
        }
    }

    fn float_sum(&mut self, x: Value, y: Value) -> Value {
        let (x, y) = (self.float(x), self.float(y));
        let sum = self.b.ins().fadd(x, y);
        let sum = self.bits(sum);
        self.canonical(sum)
    }

    /// Adds a number to one in global memory: again, as long as others change it meanwhile.
    fn add_at_once(&mut self, how: &Change, at: Value, given: Value) -> Value {
        let flags = MemFlagsData::trusted();
        let (again, done) = (self.b.create_block(), self.b.create_block());
        let old = self.b.append_block_param(again, scalar(how.wide));
        let first = self.b.ins().load(scalar(how.wide), flags, at, 0);
        self.b.ins().jump(again, &[first.into()]);
        self.b.switch_to_block(again);
        let sum = self.float_sum(old, given);
        let found = self.b.ins().atomic_cas(flags, at, old, sum);
        let same = self.b.ins().icmp(IntCC::Equal, found, old);
        self.b.ins().brif(same, done, &[], again, &[found.into()]);
        self.b.switch_to_block(done);
        old
    }
}

fn rmw(op: AtomOp, signed: bool) -> AtomicRmwOp {
    match op {
        AtomOp::And => AtomicRmwOp::And,
        AtomOp::Or => AtomicRmwOp::Or,
        AtomOp::Xor => AtomicRmwOp::Xor,
        AtomOp::Add => AtomicRmwOp::Add,
        AtomOp::Min if signed => AtomicRmwOp::Smin,
        AtomOp::Min => AtomicRmwOp::Umin,
        AtomOp::Max if signed => AtomicRmwOp::Smax,
        AtomOp::Max => AtomicRmwOp::Umax,
        AtomOp::Exch | AtomOp::Cas | AtomOp::Inc | AtomOp::Dec => AtomicRmwOp::Xchg,
    }
}

impl Emitter<'_, '_> {
    pub fn atomic(&mut self, i: &Code, area: Area, op: AtomOp, ty: AtomTy) {
        let wide = matches!(ty, AtomTy::U64 | AtomTy::S64 | AtomTy::F64);
        let float = matches!(ty, AtomTy::F32 | AtomTy::F64);
        let how = Change { area, op, signed: matches!(ty, AtomTy::S32 | AtomTy::S64), wide, float };
        let given = self.read(i.b, wide);
        let stored = if op == AtomOp::Cas { self.read(i.e, wide) } else { given.clone() };
        let places = self.places(i, area, if wide { 8 } else { 4 }, true);
        let bits = self.pass().bits;
        let every = self.ops.all_lanes();
        let full = self.ops.b.ins().icmp(IntCC::Equal, bits, every);
        let (all, some, done) =
            (self.ops.b.create_block(), self.ops.b.create_block(), self.ops.b.create_block());
        self.ops.b.ins().brif(full, all, &[], some, &[]);
        self.ops.b.switch_to_block(all);
        let old = (0..self.ops.lanes()).map(|lane| self.change_lane(&how, &places, lane, &given, &stored));
        let old: Vec<Value> = old.collect();
        if i.d != NONE {
            let found = self.ops.gathered(&old, wide);
            self.write(i, found, wide);
        }
        self.ops.b.ins().jump(done, &[]);
        self.ops.b.switch_to_block(some);
        self.ops.b.set_cold_block(some);
        let stored = self.items(2, &stored, wide);
        let given = if i.d == NONE { given } else { Val::Many(self.ops.many(&given, wide)) };
        let given = self.items(1, &given, wide);
        self.each_lane(&places, |this, lane, at| {
            let [mine, stored] = [given, stored].map(|items| this.item(items, lane));
            let found = this.ops.change(&how, at, mine, stored);
            if i.d != NONE {
                this.set_item(given, lane, found);
            }
        });
        if i.d != NONE {
            let found = self.joined_items(given, wide);
            self.write(i, found, wide);
        }
        self.ops.b.ins().jump(done, &[]);
        self.ops.b.switch_to_block(done);
    }

    fn change_lane(
        &mut self,
        how: &Change,
        places: &Places,
        lane: usize,
        given: &Val,
        stored: &Val,
    ) -> Value {
        let at = places.of(&mut self.ops, lane);
        let given = self.ops.lane(given, lane, how.wide);
        let stored = self.ops.lane(stored, lane, how.wide);
        self.ops.change(how, at, given, stored)
    }
}

impl Ops<'_> {
    /// Lanes joined to vectors.
    fn gathered(&mut self, lanes: &[Value], wide: bool) -> Val {
        let vectors = lanes.chunks(if wide { 2 } else { 4 }).map(|lanes| {
            let mut joined = self.b.ins().scalar_to_vector(vector(wide), lanes[0]);
            for (n, lane) in lanes.iter().enumerate().skip(1) {
                joined = self.b.ins().insertlane(joined, *lane, n as u8);
            }
            joined
        });
        Val::Many(vectors.collect())
    }
}
