//! Integer and bit instructions.
//!
//! Owns: their translation; the meaning is that of `cpu/int.rs`, bit for bit.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val, fields::translates_field, scalar};
use crate::cpu::code::{BitOp, Code, IntOp, IntTy, Kernel};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I64},
};

fn signed(ty: IntTy) -> bool {
    matches!(ty, IntTy::S16 | IntTy::S32 | IntTy::S64)
}

fn wide(ty: IntTy) -> bool {
    matches!(ty, IntTy::U64 | IntTy::S64)
}

fn half(ty: IntTy) -> bool {
    matches!(ty, IntTy::U16 | IntTy::S16)
}

pub fn translates_int(op: IntOp) -> bool {
    !matches!(op, IntOp::AddSat | IntOp::SubSat | IntOp::MadHiSat)
}

pub fn translates_bits(kernel: &Kernel, i: &Code, op: BitOp) -> bool {
    match op {
        BitOp::MulWide { .. } | BitOp::MadWide { .. } | BitOp::Lop3(_) => true,
        BitOp::Popc { .. } | BitOp::Clz { .. } | BitOp::Brev { .. } => true,
        BitOp::Shf { .. } => true,
        BitOp::Mul24 { .. } | BitOp::Mad24 { .. } | BitOp::Dp4a { .. } | BitOp::Dp2a { .. } => {
            translates_field(kernel, i, op)
        }
        BitOp::Bfe { .. } | BitOp::Bfi { .. } | BitOp::Bfind { .. } | BitOp::Prmt(_) => {
            translates_field(kernel, i, op)
        }
    }
}

/// The unsigned or signed comparison.
pub fn less(signed: bool) -> IntCC {
    if signed { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan }
}

impl Ops<'_> {
    /// A 16-bit number, kept in 32 bits with its upper half at zero, as a number of 32 bits.
    fn half_as_word(&mut self, v: Value, signed: bool) -> Value {
        if !signed {
            return v;
        }
        let by = self.b.ins().iconst(I32, 16);
        let up = self.b.ins().ishl(v, by);
        self.b.ins().sshr(up, by)
    }

    fn cut_to_half(&mut self, v: Value) -> Value {
        let ty = self.ty(v);
        let mask = self.konst(ty, 0xffff);
        self.b.ins().band(v, mask)
    }

    fn divide(&mut self, x: Value, y: Value, signed: bool, rest: bool) -> Value {
        let ty = self.ty(x);
        let (zero, one, ones) = (self.konst(ty, 0), self.konst(ty, 1), self.konst(ty, u64::MAX));
        let by_zero = self.b.ins().icmp(IntCC::Equal, y, zero);
        // The processor traps for these two divisors.
        let mut safe = self.b.ins().select(by_zero, one, y);
        let minus = self.b.ins().icmp(IntCC::Equal, y, ones);
        if signed {
            safe = self.b.ins().select(minus, one, safe);
        }
        if rest {
            let rest = if signed { self.b.ins().srem(x, safe) } else { self.b.ins().urem(x, safe) };
            return self.b.ins().select(by_zero, x, rest);
        }
        let mut out = if signed { self.b.ins().sdiv(x, safe) } else { self.b.ins().udiv(x, safe) };
        if signed {
            let negative = self.b.ins().ineg(x);
            out = self.b.ins().select(minus, negative, out);
        }
        self.b.ins().select(by_zero, ones, out)
    }

    pub fn mul_high(&mut self, x: Value, y: Value, signed: bool) -> Value {
        if self.ty(x) == I64 {
            return if signed { self.b.ins().smulhi(x, y) } else { self.b.ins().umulhi(x, y) };
        }
        let extend = |ops: &mut Self, v| {
            if signed { ops.b.ins().sextend(I64, v) } else { ops.b.ins().uextend(I64, v) }
        };
        let (x, y) = (extend(self, x), extend(self, y));
        let product = self.b.ins().imul(x, y);
        let by = self.b.ins().iconst(I32, 32);
        let high = self.b.ins().ushr(product, by);
        self.b.ins().ireduce(I32, high)
    }

    /// Shifts by an amount that may be the width or more.
    pub fn shift(&mut self, v: Value, by: Value, left: bool, signed: bool) -> Value {
        let ty = self.ty(v);
        let bits = self.b.ins().iconst(I32, i64::from(ty.lane_bits()));
        if !left && signed {
            let most = self.b.ins().iconst(I32, i64::from(ty.lane_bits()) - 1);
            let by = self.b.ins().umin(by, most);
            return self.b.ins().sshr(v, by);
        }
        let out = if left { self.b.ins().ishl(v, by) } else { self.b.ins().ushr(v, by) };
        let zero = self.konst(ty, 0);
        let within = self.b.ins().icmp(IntCC::UnsignedLessThan, by, bits);
        self.b.ins().select(within, out, zero)
    }

    fn int(&mut self, op: IntOp, ty: IntTy, v: &[Value]) -> Option<Value> {
        let signed = signed(ty);
        let x = v[0];
        let y = v.get(1).copied().unwrap_or(x);
        let z = v.get(2).copied().unwrap_or(x);
        let shape = self.ty(x);
        Some(match op {
            IntOp::Add => self.b.ins().iadd(x, y),
            IntOp::Sub => self.b.ins().isub(x, y),
            IntOp::MulLo => self.b.ins().imul(x, y),
            IntOp::MadLo => {
                let product = self.b.ins().imul(x, y);
                self.b.ins().iadd(product, z)
            }
            IntOp::MulHi if half(ty) => {
                let product = self.b.ins().imul(x, y);
                let by = self.b.ins().iconst(I32, 16);
                self.b.ins().ushr(product, by)
            }
            IntOp::MulHi => self.lanewise(&[x, y], &mut |ops, v| ops.mul_high(v[0], v[1], signed)),
            IntOp::MadHi => {
                let high = self.int(IntOp::MulHi, ty, &[x, y])?;
                self.b.ins().iadd(high, z)
            }
            IntOp::Div => self.lanewise(&[x, y], &mut |ops, v| ops.divide(v[0], v[1], signed, false)),
            IntOp::Rem => self.lanewise(&[x, y], &mut |ops, v| ops.divide(v[0], v[1], signed, true)),
            IntOp::Min => {
                let smaller = self.icmp(less(signed), y, x);
                self.select(smaller, y, x)
            }
            IntOp::Max => {
                let larger = self.icmp(less(signed), x, y);
                self.select(larger, y, x)
            }
            IntOp::Abs => {
                let zero = self.konst(shape, 0);
                let negative = self.b.ins().isub(zero, x);
                let below = self.icmp(IntCC::SignedLessThan, x, zero);
                if signed { self.select(below, negative, x) } else { x }
            }
            IntOp::Neg => {
                let zero = self.konst(shape, 0);
                self.b.ins().isub(zero, x)
            }
            IntOp::Sad => {
                let below = self.icmp(less(signed), x, y);
                let (up, down) = (self.b.ins().isub(y, x), self.b.ins().isub(x, y));
                let distance = self.select(below, up, down);
                self.b.ins().iadd(z, distance)
            }
            IntOp::And => self.b.ins().band(x, y),
            IntOp::Or => self.b.ins().bor(x, y),
            IntOp::Xor => self.b.ins().bxor(x, y),
            IntOp::Not => self.b.ins().bnot(x),
            IntOp::Cnot => {
                let (zero, one) = (self.konst(shape, 0), self.konst(shape, 1));
                let is_zero = self.icmp(IntCC::Equal, x, zero);
                self.select(is_zero, one, zero)
            }
            IntOp::Shl | IntOp::Shr | IntOp::AddSat | IntOp::SubSat | IntOp::MadHiSat => return None,
        })
    }

    fn lop3(&mut self, v: &[Value], table: u8) -> Value {
        let shape = self.ty(v[0]);
        let opposite: Vec<Value> = v.iter().map(|x| self.b.ins().bnot(*x)).collect();
        let mut out = self.konst(shape, 0);
        for n in 0..8u8 {
            if table >> n & 1 != 0 {
                let pick = |bit: u8, k: usize| if n & bit != 0 { v[k] } else { opposite[k] };
                let two = self.b.ins().band(pick(4, 0), pick(2, 1));
                let three = self.b.ins().band(two, pick(1, 2));
                out = self.b.ins().bor(out, three);
            }
        }
        out
    }

    fn funnel(&mut self, low: Value, high: Value, by: Value, left: bool, wrap: bool) -> Value {
        let limit = self.b.ins().iconst(I32, if wrap { 31 } else { 32 });
        let by = if wrap { self.b.ins().band(by, limit) } else { self.b.ins().umin(by, limit) };
        let (low, high) = (self.b.ins().uextend(I64, low), self.b.ins().uextend(I64, high));
        let word = self.b.ins().iconst(I32, 32);
        let high = self.b.ins().ishl(high, word);
        let both = self.b.ins().bor(high, low);
        let out = if left {
            let up = self.b.ins().ishl(both, by);
            self.b.ins().ushr(up, word)
        } else {
            self.b.ins().ushr(both, by)
        };
        self.b.ins().ireduce(I32, out)
    }
}

impl Emitter<'_, '_> {
    pub fn int(&mut self, i: &Code, op: IntOp, ty: IntTy) -> Option<Val> {
        if matches!(op, IntOp::Shl | IntOp::Shr) {
            return Some(self.shift(i, op == IntOp::Shl, ty));
        }
        let vals = self.sources(i, [wide(ty); 3]);
        let refs: Vec<&Val> = vals.iter().collect();
        let mut failed = false;
        let out = self.ops.zip(wide(ty), &refs, &mut |ops, v| {
            let taken: Vec<Value> = if half(ty) {
                v.iter().map(|v| ops.half_as_word(*v, signed(ty))).collect()
            } else {
                v.to_vec()
            };
            let out = ops.int(op, ty, &taken).unwrap_or_else(|| {
                failed = true;
                taken[0]
            });
            if half(ty) { ops.cut_to_half(out) } else { out }
        });
        (!failed).then_some(out)
    }

    fn shift(&mut self, i: &Code, left: bool, ty: IntTy) -> Val {
        let v = self.read(i.a, wide(ty));
        let by = self.read(i.b, false);
        let sign = signed(ty);
        let finish = |ops: &mut Ops<'_>, v: Value, by: Value| {
            let v = if half(ty) { ops.half_as_word(v, sign) } else { v };
            let out = ops.shift(v, by, left, sign);
            if half(ty) { ops.cut_to_half(out) } else { out }
        };
        match (&v, &by) {
            (Val::One(v), Val::One(by)) => Val::One(finish(&mut self.ops, *v, *by)),
            (Val::Many(all), Val::One(by)) => {
                Val::Many(all.iter().map(|v| finish(&mut self.ops, *v, *by)).collect())
            }
            (_, Val::Many(_)) => {
                // Lanes with amounts of their own go one by one.
                let (values, amounts) = (self.ops.many(&v, wide(ty)), self.ops.many(&by, false));
                let lanes = if wide(ty) { 2 } else { 4 };
                let out = values.iter().enumerate().map(|(n, v)| {
                    let mut lane = 0;
                    self.ops.lanewise(&[*v], &mut |ops, v| {
                        let at = n * lanes + lane;
                        lane += 1;
                        let by = ops.b.ins().extractlane(amounts[at / 4], (at % 4) as u8);
                        finish(ops, v[0], by)
                    })
                });
                Val::Many(out.collect())
            }
        }
    }

    pub fn bits(&mut self, i: &Code, op: BitOp) -> Option<Val> {
        Some(match op {
            BitOp::MulWide { signed, from } => self.mul_wide(i, signed, from),
            BitOp::MadWide { signed, from } => {
                let product = self.mul_wide(i, signed, from);
                let sum = self.read(i.c, from == 32);
                self.ops.zip(from == 32, &[&product, &sum], &mut |ops, v| ops.b.ins().iadd(v[0], v[1]))
            }
            BitOp::Lop3(table) => {
                let vals = self.sources(i, [false; 3]);
                let refs: Vec<&Val> = vals.iter().collect();
                self.ops.zip(false, &refs, &mut |ops, v| ops.lop3(v, table))
            }
            BitOp::Shf { left, wrap } => {
                let vals = self.sources(i, [false; 3]);
                let refs: Vec<&Val> = vals.iter().collect();
                self.ops.zip(false, &refs, &mut |ops, v| {
                    ops.lanewise(v, &mut |ops, v| ops.funnel(v[0], v[1], v[2], left, wrap))
                })
            }
            BitOp::Brev { wide } => {
                let v = self.read(i.a, wide);
                self.ops
                    .zip(wide, &[&v], &mut |ops, v| ops.lanewise(v, &mut |ops, v| ops.b.ins().bitrev(v[0])))
            }
            BitOp::Popc { wide } => self.count(i, wide, &mut |ops, v| ops.b.ins().popcnt(v)),
            BitOp::Clz { wide } => self.count(i, wide, &mut |ops, v| ops.b.ins().clz(v)),
            BitOp::Mul24 { .. }
            | BitOp::Mad24 { .. }
            | BitOp::Bfe { .. }
            | BitOp::Bfi { .. }
            | BitOp::Bfind { .. }
            | BitOp::Prmt(_)
            | BitOp::Dp4a { .. }
            | BitOp::Dp2a { .. } => return self.field_op(i, op),
        })
    }

    /// A count of bits, which has 32 bits whatever it counts in.
    pub fn count(&mut self, i: &Code, wide: bool, op: &mut dyn FnMut(&mut Ops<'_>, Value) -> Value) -> Val {
        let v = self.read(i.a, wide);
        let out = self.ops.zip(wide, &[&v], &mut |ops, v| ops.lanewise(v, &mut |ops, v| op(ops, v[0])));
        if wide { self.ops.narrow(&out) } else { out }
    }

    fn mul_wide(&mut self, i: &Code, signed: bool, from: u8) -> Val {
        let (x, y) = (self.read(i.a, false), self.read(i.b, false));
        if from != 32 {
            return self.ops.zip(false, &[&x, &y], &mut |ops, v| {
                let (x, y) = (ops.half_as_word(v[0], signed), ops.half_as_word(v[1], signed));
                ops.b.ins().imul(x, y)
            });
        }
        // Widened at the multiplication, which has an instruction of its own.
        let both = x.is_one() && y.is_one();
        let mut widened = |v: &Val| {
            if both {
                return self.ops.widen(v, signed);
            }
            let all = self.ops.many(v, false);
            Val::Many(self.ops.widen_all(&all, signed))
        };
        let (x, y) = (widened(&x), widened(&y));
        debug_assert_eq!(scalar(true), I64);
        self.ops.zip(true, &[&x, &y], &mut |ops, v| ops.b.ins().imul(v[0], v[1]))
    }
}
