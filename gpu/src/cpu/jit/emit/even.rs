//! Accesses whose addresses grow evenly from lane to lane.
//!
//! Owns: their check, one for a whole pass: of its first and its last lane. In global memory it begins with the piece
//! that the same instruction found last ([`Known`]), so that as a rule nothing is looked up.
//! Never: loads or stores. Tests: `gpu/tests/cpu_engines.rs`, `gpu/tests/replay.rs`.

use super::{Emitter, Val, memory::is_global, own};
use crate::cpu::{
    code::{Code, NONE},
    jit::context::{Field, KNOWN, Known},
    memory::Area,
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I64},
};

/// Addresses of a pass: of its first lane, and from each lane to the next, for accesses of `size` bytes.
struct Row {
    first: Value,
    stride: i64,
    size: i64,
    write: bool,
}

impl Emitter<'_, '_> {
    /// The address of the pass's first lane in 64 bits, and by how much it grows from lane to lane, if it does so evenly.
    pub fn even_address(&mut self, i: &Code, area: Area, size: i64) -> Option<(Value, i64)> {
        let narrow = i.c == 1;
        let stride = self.even_stride(i, area, size)?;
        let (base, _) = self.base(i.a, !narrow)?;
        Some((self.with_offset(base, i, narrow), stride))
    }

    /// By how much the addresses of an access grow from lane to lane, if evenly and in steps of its size.
    pub fn even_stride(&self, i: &Code, area: Area, size: i64) -> Option<i64> {
        if i.a == NONE || area == Area::Local || !self.classes.varying(i.a) {
            return None;
        }
        self.classes.stride(i.a).filter(|by| *by >= 0 && by % size == 0)
    }

    pub fn with_offset(&mut self, base: Value, i: &Code, narrow: bool) -> Value {
        let ty = self.ops.ty(base);
        let offset = self.ops.konst(ty, i.imm as u64);
        let sum = self.ops.b.ins().iadd(base, offset);
        if narrow { self.ops.b.ins().uextend(I64, sum) } else { sum }
    }

    /// Where the first lane's bytes are of a pass whose addresses grow evenly, in steps of its size. Where the check of
    /// global memory fails, sparse memory may have them all the same.
    pub fn check_even(&mut self, area: Area, first: Value, stride: i64, size: i64, write: bool) -> Value {
        let row = Row { first, stride, size, write };
        if !is_global(area) {
            return self.within(area, &row, None);
        }
        if let Some(skip) = self.skip {
            return self.ops.b.ins().iadd(first, skip);
        }
        let (look, missed, done) =
            (self.ops.b.create_block(), self.ops.b.create_block(), self.ops.b.create_block());
        let at = self.ops.b.append_block_param(done, I64);
        let site = self.site();
        let (inside, known) = self.in_known(&row, site);
        self.ops.b.ins().brif(inside, done, &[known.into()], look, &[]);
        self.ops.b.switch_to_block(look);
        self.ops.b.set_cold_block(look);
        let bail = std::mem::replace(&mut self.bail, missed);
        let found = self.within(area, &row, Some(site));
        self.bail = bail;
        self.ops.b.ins().jump(done, &[found.into()]);
        self.ops.b.switch_to_block(missed);
        self.ops.b.set_cold_block(missed);
        let [stride, span] = [stride, self.most(&row) + size].map(|n| self.ops.b.ins().iconst(I64, n));
        let how = self.ops.b.ins().iconst(I32, size * 2 + i64::from(write));
        let bits = self.pass().bits;
        self.ops.b.ins().call(self.reach, &[self.context, first, stride, span, how, bits]);
        let found = self.ops.b.ins().load(I64, own(), self.context, Field::Reached.offset());
        self.ops.b.ins().brif(found, done, &[found.into()], bail, &[]);
        self.ops.b.switch_to_block(done);
        at
    }

    /// From the first lane's address to the last one's.
    fn most(&self, row: &Row) -> i64 {
        row.stride * (self.ops.lanes() as i64 - 1)
    }

    /// Room to remember a piece in: where it begins in that of all instructions.
    fn site(&mut self) -> i32 {
        *self.sites += 1;
        (*self.sites as i32 - 1) * size_of::<Known>() as i32
    }

    /// Whether a row lies in the piece that was found here last, and where it is then.
    fn in_known(&mut self, row: &Row, site: i32) -> (Value, Value) {
        let all = self.field(Field::Known);
        let base = self.ops.b.ins().load(I64, own(), all, site + KNOWN.base);
        let offset = self.ops.b.ins().isub(row.first, base);
        // What is not aligned has its low bits at the top, and is beyond everything.
        let number = self.ops.b.ins().rotr_imm_u(offset, i64::from(row.size.trailing_zeros()));
        let count = self.ops.b.ins().load(I64, own(), all, site + KNOWN.count);
        let inside = self.ops.b.ins().icmp(IntCC::UnsignedLessThan, number, count);
        let skip = self.ops.b.ins().load(I64, own(), all, site + KNOWN.skip);
        (inside, self.ops.b.ins().iadd(row.first, skip))
    }

    /// Checks the first and the last lane of a pass whose addresses grow evenly: then all are within the piece, aligned,
    /// and none has wrapped around. Remembers the piece of global memory.
    fn within(&mut self, area: Area, row: &Row, site: Option<i32>) -> Value {
        let piece = self.piece(area, &Val::One(row.first), row.write);
        let size = self.ops.konst(I64, row.size as u64);
        let room = self.ops.b.ins().isub(piece.len, size);
        let offset = self.ops.b.ins().isub(row.first, piece.base);
        let most = self.ops.konst(I64, self.most(row) as u64);
        let last = self.ops.b.ins().iadd(offset, most);
        let left = self.ops.b.ins().isub(room, last);
        let over = self.ops.b.ins().bor(offset, last);
        let over = self.ops.b.ins().bor(over, left);
        let zero = self.ops.konst(I64, 0);
        let out = self.ops.b.ins().icmp(IntCC::SignedLessThan, over, zero);
        self.bail_if(out);
        if row.size > 1 {
            let within = self.ops.konst(I64, row.size as u64 - 1);
            let crooked = self.ops.b.ins().band(offset, within);
            self.bail_if(crooked);
        }
        if let Some(site) = site {
            let room = self.ops.b.ins().isub(room, most);
            let numbers = self.ops.b.ins().ushr_imm_u(room, i64::from(row.size.trailing_zeros()));
            let count = self.ops.b.ins().iadd_imm_u(numbers, 1);
            let remembers = self.field_here(Field::Remembers);
            let count = self.ops.b.ins().band(count, remembers);
            let skip = self.ops.b.ins().isub(piece.start, piece.base);
            let all = self.field(Field::Known);
            for (value, at) in [(piece.base, KNOWN.base), (count, KNOWN.count), (skip, KNOWN.skip)] {
                self.ops.b.ins().store(own(), value, all, site + at);
            }
        }
        self.ops.b.ins().iadd(piece.start, offset)
    }
}
