//! Fields of bits, bytes and halves of words.
//!
//! Owns: their translation; the meaning is that of `cpu/int.rs`, bit for bit. Where a field's place and length are
//! constants, as they nearly always are, vectors stay vectors.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val, collective::is_constant};
use crate::cpu::code::{BitOp, Code, Kernel};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I64},
};

/// Whether an operation is translated: what is laid out anew for each lane is only where the lanes have 32 bits.
pub fn translates_field(kernel: &Kernel, i: &Code, op: BitOp) -> bool {
    match op {
        BitOp::Bfe { wide, .. } => !wide || is_constant(kernel, i.b) && is_constant(kernel, i.c),
        BitOp::Bfi { wide } => !wide || is_constant(kernel, i.c) && is_constant(kernel, i.e),
        BitOp::Prmt(mode) => mode.is_none(),
        BitOp::Bfind { .. } | BitOp::Mul24 { .. } | BitOp::Mad24 { .. } => true,
        BitOp::Dp4a { .. } | BitOp::Dp2a { .. } => true,
        BitOp::MulWide { .. } | BitOp::MadWide { .. } | BitOp::Lop3(_) | BitOp::Shf { .. } => false,
        BitOp::Popc { .. } | BitOp::Clz { .. } | BitOp::Brev { .. } => false,
    }
}

/// A field: so many bits from a place on, as far as the word goes. Of both only the low byte counts.
#[derive(Clone, Copy)]
struct Field {
    from: u32,
    bits: u32,
    /// What was asked for, which may go beyond the word.
    asked: u32,
}

impl Field {
    fn of(place: u64, length: u64, width: u32) -> Field {
        let (from, asked) = (place as u32 & 255, length as u32 & 255);
        Field { from, bits: asked.min(width.saturating_sub(from)), asked }
    }

    fn mask(self) -> u64 {
        if self.bits == 0 { 0 } else { u64::MAX >> (64 - self.bits) }
    }
}

impl Ops<'_> {
    pub fn up(&mut self, v: Value, by: u32) -> Value {
        let by = self.b.ins().iconst(I32, i64::from(by));
        self.b.ins().ishl(v, by)
    }

    pub fn down(&mut self, v: Value, by: u32, signed: bool) -> Value {
        let by = self.b.ins().iconst(I32, i64::from(by));
        if signed { self.b.ins().sshr(v, by) } else { self.b.ins().ushr(v, by) }
    }

    pub fn masked(&mut self, v: Value, mask: u64) -> Value {
        let ty = self.ty(v);
        let mask = self.konst(ty, mask);
        self.b.ins().band(v, mask)
    }

    fn extract(&mut self, v: Value, field: Field, signed: bool) -> Value {
        let ty = self.ty(v);
        let width = ty.lane_bits();
        if field.asked == 0 || field.bits == 0 && !signed {
            return self.konst(ty, 0);
        }
        if field.bits == 0 {
            // Beyond the word there is nothing but its sign.
            return self.down(v, width - 1, true);
        }
        let above = self.up(v, width - field.from - field.bits);
        self.down(above, width - field.bits, signed)
    }

    fn insert(&mut self, v: Value, into: Value, field: Field) -> Value {
        if field.bits == 0 {
            return into;
        }
        let mask = field.mask() << field.from;
        let put = self.up(v, field.from);
        let put = self.masked(put, mask);
        let kept = self.masked(into, !mask);
        self.b.ins().bor(kept, put)
    }

    /// The low bits that a field of this place and length has in a word of 32 bits, and the place.
    fn field_mask(&mut self, place: Value, length: Value) -> (Value, Value) {
        let (place, length) = (self.masked(place, 255), self.masked(length, 255));
        let width = self.b.ins().iconst(I32, 32);
        let from = self.b.ins().umin(place, width);
        let room = self.b.ins().isub(width, from);
        let bits = self.b.ins().umin(length, room);
        let one = self.b.ins().iconst(I64, 1);
        let end = self.b.ins().ishl(one, bits);
        let mask = self.b.ins().iadd_imm_s(end, -1);
        (self.b.ins().ireduce(I32, mask), place)
    }

    fn extract_any(&mut self, v: &[Value], signed: bool) -> Value {
        let (mask, place) = self.field_mask(v[1], v[2]);
        let kept = self.b.ins().ushr(v[0], place);
        let kept = self.b.ins().band(kept, mask);
        if !signed {
            return kept;
        }
        let length = self.masked(v[2], 255);
        let end = self.b.ins().iadd(place, length);
        let last = self.b.ins().iconst(I32, 32);
        let end = self.b.ins().umin(end, last);
        let top = self.b.ins().iadd_imm_s(end, -1);
        let sign = self.b.ins().ushr(v[0], top);
        let sign = self.masked(sign, 1);
        let sign = self.b.ins().ineg(sign);
        let none = self.b.ins().icmp_imm_u(IntCC::Equal, length, 0);
        let zero = self.b.ins().iconst(I32, 0);
        let sign = self.b.ins().select(none, zero, sign);
        let above = self.b.ins().band_not(sign, mask);
        self.b.ins().bor(kept, above)
    }

    fn insert_any(&mut self, v: &[Value]) -> Value {
        let (mask, place) = self.field_mask(v[2], v[3]);
        let mask = self.b.ins().ishl(mask, place);
        let put = self.b.ins().ishl(v[0], place);
        let put = self.b.ins().band(put, mask);
        let kept = self.b.ins().band_not(v[1], mask);
        self.b.ins().bor(kept, put)
    }

    /// Four bytes out of eight, each picked by four bits, of which the highest asks for the byte's sign only.
    fn permute(&mut self, v: &[Value]) -> Value {
        let (low, high) = (self.b.ins().uextend(I64, v[0]), self.b.ins().uextend(I64, v[1]));
        let high = self.up(high, 32);
        let both = self.b.ins().bor(low, high);
        let mut out = self.b.ins().iconst(I32, 0);
        for n in 0..4 {
            let pick = self.down(v[2], 4 * n, false);
            let at = self.masked(pick, 7);
            let at = self.up(at, 3);
            let byte = self.b.ins().ushr(both, at);
            let byte = self.b.ins().ireduce(I32, byte);
            let top = self.up(byte, 24);
            let sign = self.down(top, 31, true);
            let asked = self.masked(pick, 8);
            let byte = self.b.ins().select(asked, sign, byte);
            let byte = self.masked(byte, 255);
            let byte = self.up(byte, 8 * n);
            out = self.b.ins().bor(out, byte);
        }
        out
    }

    /// The same of vectors, by a selector that asks for no sign.
    fn permute_all(&mut self, x: Value, y: Value, selector: u32) -> Value {
        let mut mask = [0u8; 16];
        for (at, byte) in mask.iter_mut().enumerate() {
            let pick = (selector >> (4 * (at % 4)) & 7) as u8;
            let lane = (at / 4 * 4) as u8;
            *byte = lane + if pick < 4 { pick } else { 16 + pick - 4 };
        }
        let ty = self.ty(x);
        self.shuffle(x, y, mask, ty)
    }

    /// So many bits of a word, from a place on, as a number.
    fn part(&mut self, v: Value, from: u32, bits: u32, signed: bool) -> Value {
        let v = self.up(v, 32 - from - bits);
        self.down(v, 32 - bits, signed)
    }

    fn product24(&mut self, x: Value, y: Value, signed: bool, high: bool) -> Value {
        let (x, y) = (self.part(x, 0, 24, signed), self.part(y, 0, 24, signed));
        if !high {
            return self.b.ins().imul(x, y);
        }
        self.lanewise(&[x, y], &mut |ops, v| {
            let wide = |ops: &mut Self, v| {
                if signed { ops.b.ins().sextend(I64, v) } else { ops.b.ins().uextend(I64, v) }
            };
            let (x, y) = (wide(ops, v[0]), wide(ops, v[1]));
            let product = ops.b.ins().imul(x, y);
            let product = ops.down(product, 16, false);
            ops.b.ins().ireduce(I32, product)
        })
    }

    /// The sum of `c` and the products of parts: `(place in a, bits there, place in b)`.
    fn dot(&mut self, v: &[Value], parts: &[(u32, u32, u32)], signed: [bool; 2]) -> Value {
        parts.iter().fold(v[2], |sum, (in_a, bits, in_b)| {
            let (x, y) = (self.part(v[0], *in_a, *bits, signed[0]), self.part(v[1], *in_b, 8, signed[1]));
            let product = self.b.ins().imul(x, y);
            self.b.ins().iadd(sum, product)
        })
    }

    /// The highest bit that differs from the sign: its place, or how far it is from the top. All ones if there is none.
    fn find(&mut self, v: Value, signed: bool, amount: bool) -> Value {
        let ty = self.ty(v);
        let top = ty.bits() - 1;
        let v = if signed {
            let sign = self.down(v, top, true);
            self.b.ins().bxor(v, sign)
        } else {
            v
        };
        let above = self.b.ins().clz(v);
        let (top, ones) = (self.konst(ty, top.into()), self.konst(ty, u64::MAX));
        if amount {
            let none = self.b.ins().icmp_imm_u(IntCC::Equal, v, 0);
            return self.b.ins().select(none, ones, above);
        }
        self.b.ins().isub(top, above)
    }
}

impl Emitter<'_, '_> {
    pub fn field_op(&mut self, i: &Code, op: BitOp) -> Option<Val> {
        match op {
            BitOp::Bfe { signed, wide } => Some(self.extracted(i, signed, wide)),
            BitOp::Bfi { wide } => Some(self.inserted(i, wide)),
            BitOp::Prmt(None) => Some(self.permuted(i)),
            BitOp::Bfind { signed, wide, amount } => {
                Some(self.count(i, wide, &mut |ops, v| ops.find(v, signed, amount)))
            }
            BitOp::Mul24 { signed, high } => {
                Some(self.words(i, &mut |ops, v| ops.product24(v[0], v[1], signed, high)))
            }
            BitOp::Mad24 { signed, high } => Some(self.words(i, &mut |ops, v| {
                let product = ops.product24(v[0], v[1], signed, high);
                ops.b.ins().iadd(product, v[2])
            })),
            BitOp::Dp4a { a_signed, b_signed } => {
                let parts = [0, 8, 16, 24].map(|at| (at, 8, at));
                Some(self.words(i, &mut |ops, v| ops.dot(v, &parts, [a_signed, b_signed])))
            }
            BitOp::Dp2a { a_signed, b_signed, high } => {
                let from = if high { 16 } else { 0 };
                let parts = [(0, 16, from), (16, 16, from + 8)];
                Some(self.words(i, &mut |ops, v| ops.dot(v, &parts, [a_signed, b_signed])))
            }
            BitOp::Prmt(Some(_)) | BitOp::MulWide { .. } | BitOp::MadWide { .. } => None,
            BitOp::Lop3(_) | BitOp::Shf { .. } | BitOp::Popc { .. } | BitOp::Clz { .. } => None,
            BitOp::Brev { .. } => None,
        }
    }

    /// An operation on the words of all sources.
    fn words(&mut self, i: &Code, op: &mut dyn FnMut(&mut Ops<'_>, &[Value]) -> Value) -> Val {
        let vals = self.sources(i, [false; 3]);
        let refs: Vec<&Val> = vals.iter().collect();
        self.ops.zip(false, &refs, &mut |ops, v| op(ops, v))
    }

    fn extracted(&mut self, i: &Code, signed: bool, wide: bool) -> Val {
        if let (Some(place), Some(length)) = (self.classes.constant(i.b), self.classes.constant(i.c)) {
            let field = Field::of(place, length, if wide { 64 } else { 32 });
            let v = self.read(i.a, wide);
            return self.ops.zip(wide, &[&v], &mut |ops, v| ops.extract(v[0], field, signed));
        }
        self.words(i, &mut |ops, v| ops.lanewise(v, &mut |ops, v| ops.extract_any(v, signed)))
    }

    fn inserted(&mut self, i: &Code, wide: bool) -> Val {
        let (v, into) = (self.read(i.a, wide), self.read(i.b, wide));
        if let (Some(place), Some(length)) = (self.classes.constant(i.c), self.classes.constant(i.e)) {
            let field = Field::of(place, length, if wide { 64 } else { 32 });
            return self.ops.zip(wide, &[&v, &into], &mut |ops, v| ops.insert(v[0], v[1], field));
        }
        let (place, length) = (self.read(i.c, false), self.read(i.e, false));
        self.ops.zip(false, &[&v, &into, &place, &length], &mut |ops, v| {
            ops.lanewise(v, &mut |ops, v| ops.insert_any(v))
        })
    }

    fn permuted(&mut self, i: &Code) -> Val {
        let selector = self.classes.constant(i.c).map(|bits| bits as u32).filter(|bits| bits & 0x8888 == 0);
        self.words(i, &mut |ops, v| match selector {
            Some(selector) if ops.ty(v[0]).is_vector() => ops.permute_all(v[0], v[1], selector),
            _ => ops.lanewise(v, &mut |ops, v| ops.permute(v)),
        })
    }

    /// A part of a register, `i.e` times 16 bits from its lower end; its mask if it is not half a word.
    pub fn take(&mut self, i: &Code, wide: bool) -> Val {
        let v = self.read(i.a, wide);
        let (from, mask) = (16 * i.e, if wide { i.imm as u64 } else { 0xffff });
        let out = self.ops.zip(wide, &[&v], &mut |ops, v| {
            let v = if from == 0 { v[0] } else { ops.down(v[0], from, false) };
            ops.masked(v, mask)
        });
        if wide { self.ops.narrow(&out) } else { out }
    }

    /// The register with that part replaced.
    pub fn put_part(&mut self, i: &Code, wide: bool) -> Val {
        let (old, v) = (self.read(i.d, wide), self.read(i.a, false));
        let v = if wide { self.ops.widen(&v, false) } else { v };
        let (from, mask) = (16 * i.e, if wide { i.imm as u64 } else { 0xffff });
        self.ops.zip(wide, &[&old, &v], &mut |ops, v| {
            let part = ops.masked(v[1], mask);
            let part = ops.up(part, from);
            let kept = ops.masked(v[0], !(mask << from));
            ops.b.ins().bor(kept, part)
        })
    }
}
