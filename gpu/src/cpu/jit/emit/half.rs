//! Numbers of 16 bits.
//!
//! Owns: their translation: the steps of `cpu/half.rs` for all lanes of a pass, bit for bit.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val};
use crate::cpu::{
    code::{Code, Finish, FloatOp},
    half::{BEYOND, HALF, LEAST, NAN, SCALE},
    soft::Mode,
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::{FloatCC, IntCC},
    types::I32,
};

pub fn translates_half(op: FloatOp, how: Finish) -> bool {
    let known = match op {
        FloatOp::Add | FloatOp::Sub | FloatOp::Mul | FloatOp::Fma | FloatOp::Min | FloatOp::Max => true,
        FloatOp::Abs | FloatOp::Neg | FloatOp::Ex2 | FloatOp::Tanh => true,
        FloatOp::Div | FloatOp::Sqrt | FloatOp::Rcp | FloatOp::Rsqrt | FloatOp::Copysign => false,
        FloatOp::Sin | FloatOp::Cos | FloatOp::Lg2 => false,
    };
    known && how.mode == Mode::Rn
}

impl Ops<'_> {
    /// A half as the bits of an f32, exactly.
    pub fn half_wide(&mut self, v: Value, brain: bool) -> Value {
        if brain {
            return self.up(v, 16);
        }
        let size = self.masked(v, 0x7fff);
        let size = self.up(size, 13);
        let ty = self.ty(v);
        let scale = self.konst(ty, SCALE.into());
        let (number, scale) = (self.float(size), self.float(scale));
        let scaled = self.b.ins().fmul(number, scale);
        let scaled = self.bits(scaled);
        let (least, infinity, zero) =
            (self.konst(ty, 0x7c00 << 13), self.konst(ty, 0x7f80_0000), self.konst(ty, 0));
        let special = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, size, least);
        let special = self.select(special, infinity, zero);
        let sign = self.masked(v, 0x8000);
        let sign = self.up(sign, 16);
        let out = self.b.ins().bor(scaled, special);
        self.b.ins().bor(out, sign)
    }

    /// An f32 as a half: to nearest, every NaN the one NaN.
    pub fn half_narrow(&mut self, v: Value, brain: bool) -> Value {
        let ty = self.ty(v);
        let none = self.fcmp(FloatCC::Unordered, v, v);
        let nan = self.konst(ty, NAN.into());
        let cut = if brain { 16 } else { 13 };
        let size = if brain { v } else { self.masked(v, 0x7fff_ffff) };
        let odd = self.down(size, cut, false);
        let odd = self.masked(odd, 1);
        let below = self.konst(ty, (1 << (cut - 1)) - 1);
        let rounded = self.b.ins().iadd(size, below);
        let rounded = self.b.ins().iadd(rounded, odd);
        if brain {
            let rounded = self.down(rounded, cut, false);
            return self.select(none, nan, rounded);
        }
        let bias = self.konst(ty, 112 << 23);
        let normal = self.b.ins().isub(rounded, bias);
        let normal = self.down(normal, cut, false);
        let half = self.konst(ty, HALF.into());
        let (number, one_half) = (self.float(size), self.float(half));
        let tiny = self.b.ins().fadd(number, one_half);
        let tiny = self.bits(tiny);
        let tiny = self.b.ins().isub(tiny, half);
        let (least, beyond) = (self.konst(ty, LEAST.into()), self.konst(ty, BEYOND.into()));
        let is_tiny = self.b.ins().icmp(IntCC::SignedLessThan, size, least);
        let out = self.select(is_tiny, tiny, normal);
        let infinity = self.konst(ty, 0x7c00);
        let is_beyond = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, size, beyond);
        let out = self.select(is_beyond, infinity, out);
        let sign = self.down(v, 16, false);
        let sign = self.masked(sign, 0x8000);
        let out = self.b.ins().bor(out, sign);
        self.select(none, nan, out)
    }

    /// Subnormal halves become zeros of their sign.
    pub fn half_flush(&mut self, v: Value, brain: bool) -> Value {
        let ty = self.ty(v);
        let exponent = self.masked(v, if brain { 0x7f80 } else { 0x7c00 });
        let zero = self.konst(ty, 0);
        let tiny = self.b.ins().icmp(IntCC::Equal, exponent, zero);
        let sign = self.masked(v, 0x8000);
        self.select(tiny, sign, v)
    }

    /// A half as it is compared: as f32.
    pub fn half_compared(&mut self, v: Value, brain: bool, ftz: bool) -> Value {
        let bits = self.masked(v, 0xffff);
        let bits = if ftz { self.half_flush(bits, brain) } else { bits };
        self.half_wide(bits, brain)
    }

    /// A sum, rounded to odd.
    pub fn sum_to_odd(&mut self, x: Value, y: Value) -> Value {
        let ty = self.ty(x);
        let (x, y) = (self.float(x), self.float(y));
        let sum = self.b.ins().fadd(x, y);
        let of_y = self.b.ins().fsub(sum, x);
        let of_x = self.b.ins().fsub(sum, of_y);
        let (of_x, of_y) = (self.b.ins().fsub(x, of_x), self.b.ins().fsub(y, of_y));
        let lost = self.b.ins().fadd(of_x, of_y);
        let (sum, lost, zero) = (self.bits(sum), self.bits(lost), self.konst(ty, 0));
        let below = self.fcmp(FloatCC::LessThan, lost, zero);
        let above = self.fcmp(FloatCC::GreaterThan, lost, zero);
        let negative = self.fcmp(FloatCC::LessThan, sum, zero);
        let any = self.b.ins().bor(below, above);
        let inward = self.b.ins().bxor(below, negative);
        let inward = self.b.ins().band(any, inward);
        self.odd(sum, inward, any)
    }

    /// Bits that rounding has made of others: a step inward where it went outward, and the last one set where any were
    /// lost.
    fn odd(&mut self, bits: Value, outward: Value, lost: Value) -> Value {
        let ty = self.ty(bits);
        let mask = |ops: &mut Self, v: Value| if ty.is_vector() { v } else { ops.b.ins().bmask(ty, v) };
        let (outward, lost) = (mask(self, outward), mask(self, lost));
        let lost = self.masked(lost, 1);
        let cut = self.b.ins().iadd(bits, outward);
        self.b.ins().bor(cut, lost)
    }
}

impl Emitter<'_, '_> {
    /// One half, or two in a word.
    pub fn half(&mut self, i: &Code, op: FloatOp, pair: bool, brain: bool, how: Finish) -> Option<Val> {
        let given = self.sources(i, [false; 3]);
        let low = self.half_part(&given, 0, op, brain, how)?;
        if !pair {
            return Some(low);
        }
        let high = self.half_part(&given, 16, op, brain, how)?;
        Some(self.joined_halves(&low, &high))
    }

    fn joined_halves(&mut self, low: &Val, high: &Val) -> Val {
        self.ops.zip(false, &[low, high], &mut |ops, v| {
            let high = ops.up(v[1], 16);
            ops.b.ins().bor(v[0], high)
        })
    }

    fn half_part(&mut self, given: &[Val], at: u32, op: FloatOp, brain: bool, how: Finish) -> Option<Val> {
        let taken: Vec<Val> = given
            .iter()
            .map(|v| {
                self.ops.zip(false, &[v], &mut |ops, v| {
                    let bits = if at == 0 { ops.masked(v[0], 0xffff) } else { ops.down(v[0], at, false) };
                    if how.ftz { ops.half_flush(bits, brain) } else { bits }
                })
            })
            .collect();
        if matches!(op, FloatOp::Abs | FloatOp::Neg) {
            return Some(self.ops.zip(false, &[&taken[0]], &mut |ops, v| {
                let ty = ops.ty(v[0]);
                let sign = ops.konst(ty, 0x8000);
                let out = if op == FloatOp::Abs {
                    ops.b.ins().band_not(v[0], sign)
                } else {
                    ops.b.ins().bxor(v[0], sign)
                };
                ops.half_finish(out, brain, how)
            }));
        }
        let singles: Vec<Val> = taken
            .iter()
            .map(|v| self.ops.zip(false, &[v], &mut |ops, v| ops.half_wide(v[0], brain)))
            .collect();
        let out = match op {
            FloatOp::Ex2 | FloatOp::Tanh => {
                let wide = self.promote(&singles[0]);
                let found = self.approximated(op, &wide);
                self.demote_to_odd(&found)
            }
            FloatOp::Fma => self.half_fused(&singles, brain),
            _ => {
                let refs: Vec<&Val> = singles.iter().collect();
                let plain = Finish { ftz: false, sat: false, relu: false, ..how };
                let mut failed = false;
                let out = self.ops.zip(false, &refs, &mut |ops, v| {
                    ops.float_op(op, plain, v).unwrap_or_else(|| {
                        failed = true;
                        v[0]
                    })
                });
                (!failed).then_some(out)?
            }
        };
        Some(self.ops.zip(false, &[&out], &mut |ops, v| {
            let bits = ops.half_narrow(v[0], brain);
            ops.half_finish(bits, brain, how)
        }))
    }

    /// `x * y + z`, rounded to odd.
    fn half_fused(&mut self, given: &[Val], brain: bool) -> Val {
        let product = |ops: &mut Ops<'_>, v: &[Value]| {
            let (x, y) = (ops.float(v[0]), ops.float(v[1]));
            let product = ops.b.ins().fmul(x, y);
            let product = ops.bits(product);
            ops.sum_to_odd(product, v[2])
        };
        if !brain {
            let refs: Vec<&Val> = given.iter().collect();
            return self.ops.zip(false, &refs, &mut |ops, v| product(ops, v));
        }
        let wide: Vec<Val> = given.iter().map(|v| self.promote(v)).collect();
        let refs: Vec<&Val> = wide.iter().collect();
        let sum = self.ops.zip(true, &refs, &mut |ops, v| product(ops, v));
        self.demote_to_odd(&sum)
    }

    /// f64 to f32, rounded to odd.
    pub fn demote_to_odd(&mut self, v: &Val) -> Val {
        let near = self.demote(v);
        let back = self.promote(&near);
        let outward = self.ops.zip(true, &[&back, v], &mut |ops, v| {
            let (x, y) = (ops.masked(v[0], u64::MAX >> 1), ops.masked(v[1], u64::MAX >> 1));
            ops.fcmp(FloatCC::GreaterThan, x, y)
        });
        let lost = self.ops.zip(true, &[&back, v], &mut |ops, v| ops.fcmp(FloatCC::NotEqual, v[0], v[1]));
        let narrow = |ops: &mut Ops<'_>, v: Val| match v {
            Val::Many(all) => Val::Many(ops.narrow_all(&all)),
            one => one,
        };
        let (outward, lost) = (narrow(&mut self.ops, outward), narrow(&mut self.ops, lost));
        self.ops.zip(false, &[&near, &outward, &lost], &mut |ops, v| ops.odd(v[0], v[1], v[2]))
    }

    /// `cvt` of a half to f32, and to a half.
    pub fn half_to_single(&mut self, i: &Code, brain: bool) -> Val {
        let v = self.read(i.a, false);
        self.ops.zip(false, &[&v], &mut |ops, v| {
            let bits = ops.masked(v[0], 0xffff);
            let out = ops.half_wide(bits, brain);
            ops.canonical(out)
        })
    }

    pub fn single_to_half(&mut self, i: &Code, brain: bool) -> Val {
        let v = self.raw(i.a, false);
        self.ops.zip(false, &[&v], &mut |ops, v| ops.half_narrow(v[0], brain))
    }

    /// Two f32 to halves of a word, the first to the upper one.
    pub fn single_pair(&mut self, i: &Code, brain: bool, relu: bool) -> Val {
        let [high, low] = [i.a, i.b].map(|slot| {
            let v = self.raw(slot, false);
            self.ops.zip(false, &[&v], &mut |ops, v| {
                let out = ops.half_narrow(v[0], brain);
                if relu { ops.half_relu(v[0], out) } else { out }
            })
        });
        self.joined_halves(&low, &high)
    }
}

impl Ops<'_> {
    /// The half, or zero where the f32 is not above zero; NaN stays.
    fn half_relu(&mut self, single: Value, half: Value) -> Value {
        let ty = self.ty(half);
        let zero = self.konst(ty, 0);
        let below = self.fcmp(FloatCC::LessThanOrEqual, single, zero);
        self.select(below, zero, half)
    }

    fn half_finish(&mut self, v: Value, brain: bool, how: Finish) -> Value {
        let ty = self.ty(v);
        debug_assert_eq!(ty.lane_type(), I32);
        let size = self.masked(v, 0x7fff);
        let (infinity, nan) =
            (self.konst(ty, if brain { 0x7f80 } else { 0x7c00 }), self.konst(ty, NAN.into()));
        let none = self.b.ins().icmp(IntCC::SignedGreaterThan, size, infinity);
        let mut out = self.select(none, nan, v);
        if how.ftz {
            out = self.half_flush(out, brain);
        }
        if how.sat {
            let single = self.half_wide(out, brain);
            let single = self.saturate(single);
            return self.half_narrow(single, brain);
        }
        if how.relu {
            let single = self.half_wide(out, brain);
            return self.half_relu(single, out);
        }
        out
    }
}
