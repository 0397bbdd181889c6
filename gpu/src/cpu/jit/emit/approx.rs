//! `ex2`, `lg2`, `sin`, `cos`, `tanh`.
//!
//! Owns: their translation: the steps of `cpu/approx.rs` in f64, two lanes a vector, bit for bit. Angles from 2^20 on,
//! which are reduced in integers there, are left to the interpreter.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val};
use crate::cpu::{
    approx::{COS, EXP2, HALF_PI, LARGE, LOG2, ROOT_HALF, SIN, TWO_OVER_LN2, TWO_OVER_PI, WHOLE},
    code::{Code, Finish, FloatOp, Kind},
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::{FloatCC, IntCC},
    types::I32,
};

pub fn is_approximate(op: FloatOp) -> bool {
    matches!(op, FloatOp::Ex2 | FloatOp::Lg2 | FloatOp::Sin | FloatOp::Cos | FloatOp::Tanh)
}

/// Whether an angle may be too large for machine code.
pub fn may_be_large(i: &Code) -> bool {
    matches!(i.kind, Kind::Float(FloatOp::Sin | FloatOp::Cos, ..))
}

/// Values here are the bits of f64, of one lane or of two.
impl Ops<'_> {
    fn number(&mut self, like: Value, v: f64) -> Value {
        let ty = self.ty(like);
        self.konst(ty, v.to_bits())
    }

    fn add(&mut self, x: Value, y: Value) -> Value {
        let (x, y) = (self.float(x), self.float(y));
        let out = self.b.ins().fadd(x, y);
        self.bits(out)
    }

    fn less(&mut self, x: Value, y: Value) -> Value {
        let (x, y) = (self.float(x), self.float(y));
        let out = self.b.ins().fsub(x, y);
        self.bits(out)
    }

    fn times(&mut self, x: Value, y: Value) -> Value {
        let (x, y) = (self.float(x), self.float(y));
        let out = self.b.ins().fmul(x, y);
        self.bits(out)
    }

    fn over(&mut self, x: Value, y: Value) -> Value {
        let (x, y) = (self.float(x), self.float(y));
        let out = self.b.ins().fdiv(x, y);
        self.bits(out)
    }

    fn polynomial(&mut self, terms: &[f64], x: Value) -> Value {
        let first = self.number(x, terms[0]);
        terms[1..].iter().fold(first, |sum, term| {
            let product = self.times(sum, x);
            let term = self.number(x, *term);
            self.add(product, term)
        })
    }

    fn exp2(&mut self, x: Value) -> Value {
        let (least, most) = (self.number(x, -200.0), self.number(x, 200.0));
        let below = self.fcmp(FloatCC::LessThan, x, least);
        let x = self.select(below, least, x);
        let above = self.fcmp(FloatCC::GreaterThan, x, most);
        let x = self.select(above, most, x);
        let (shifted, rest) = self.parts_of(x);
        let exponent = self.up(shifted, 52);
        let one = self.number(x, 1.0);
        let scale = self.b.ins().iadd(exponent, one);
        let power = self.polynomial(&EXP2, rest);
        self.times(power, scale)
    }

    /// A number with the nearest whole one in its low bits, and what is left of it.
    fn parts_of(&mut self, x: Value) -> (Value, Value) {
        let whole = self.number(x, WHOLE);
        let shifted = self.add(x, whole);
        let near = self.less(shifted, whole);
        (shifted, self.less(x, near))
    }

    fn log2(&mut self, x: Value) -> Value {
        let ty = self.ty(x);
        let root = self.konst(ty, ROOT_HALF);
        let above = self.b.ins().isub(x, root);
        let exponent = self.down(above, 52, true);
        let moved = self.up(exponent, 52);
        let mantissa = self.b.ins().isub(x, moved);
        let one = self.number(x, 1.0);
        let (less, more) = (self.less(mantissa, one), self.add(mantissa, one));
        let s = self.over(less, more);
        // A small whole number in the low bits of a large one.
        let whole = self.number(x, WHOLE);
        let exponent = self.b.ins().iadd(exponent, whole);
        let exponent = self.less(exponent, whole);
        let square = self.times(s, s);
        let series = self.polynomial(&LOG2, square);
        let scale = self.number(x, TWO_OVER_LN2);
        let scaled = self.times(s, scale);
        let series = self.times(scaled, series);
        let found = self.add(exponent, series);
        let [zero, infinity, lowest, none] =
            [0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(|v| self.number(x, v));
        let positive = self.fcmp(FloatCC::GreaterThan, x, zero);
        let infinite = self.fcmp(FloatCC::Equal, x, infinity);
        let is_zero = self.fcmp(FloatCC::Equal, x, zero);
        let out = self.select(positive, found, none);
        let out = self.select(infinite, x, out);
        self.select(is_zero, lowest, out)
    }

    /// The sine of the number without its sign, or that of it and a quarter turn. No number gives none.
    fn wave(&mut self, x: Value, quarter: u64) -> Value {
        let size = self.masked(x, u64::MAX >> 1);
        let turns = self.number(x, TWO_OVER_PI);
        let scaled = self.times(size, turns);
        let whole = self.number(x, WHOLE);
        let shifted = self.add(scaled, whole);
        let quarters = self.less(shifted, whole);
        let mut angle = size;
        for part in HALF_PI {
            let part = self.number(x, part);
            let taken = self.times(quarters, part);
            angle = self.less(angle, taken);
        }
        let ty = self.ty(x);
        let quarter = self.konst(ty, quarter);
        let quarters = self.b.ins().iadd(shifted, quarter);
        let square = self.times(angle, angle);
        let cosine = self.polynomial(&COS, square);
        let sine = self.polynomial(&SIN, square);
        let sine = self.times(angle, sine);
        let odd = self.masked(quarters, 1);
        let one = self.konst(ty, 1);
        let odd = self.b.ins().icmp(IntCC::Equal, odd, one);
        let size = self.select(odd, cosine, sine);
        let sign = self.masked(quarters, 2);
        let sign = self.up(sign, 62);
        self.b.ins().bxor(size, sign)
    }

    fn tanh(&mut self, x: Value) -> Value {
        let size = self.masked(x, u64::MAX >> 1);
        let square = self.times(size, size);
        let [one, fifth, third] = [1.0, 2.0 / 15.0, 1.0 / 3.0].map(|v| self.number(x, v));
        let term = self.times(square, fifth);
        let term = self.less(term, third);
        let term = self.times(square, term);
        let term = self.add(one, term);
        let small = self.times(size, term);
        let most = self.number(x, 20.0);
        let beyond = self.fcmp(FloatCC::GreaterThan, size, most);
        let capped = self.select(beyond, most, size);
        let scale = self.number(x, TWO_OVER_LN2);
        let exponent = self.times(capped, scale);
        let power = self.exp2(exponent);
        let (less, more) = (self.less(power, one), self.add(power, one));
        let large = self.over(less, more);
        let limit = self.number(x, 1.0 / 64.0);
        let is_small = self.fcmp(FloatCC::LessThan, size, limit);
        let out = self.select(is_small, small, large);
        self.with_sign_of(out, x)
    }

    /// The opposite, where a number is negative.
    fn with_sign_of(&mut self, v: Value, of: Value) -> Value {
        let sign = self.masked(of, 1 << 63);
        self.b.ins().bxor(v, sign)
    }
}

impl Emitter<'_, '_> {
    /// The function of numbers in f64. Sines and cosines are of small angles only.
    pub fn approximated(&mut self, op: FloatOp, x: &Val) -> Val {
        self.ops.zip(true, &[x], &mut |ops, v| match op {
            FloatOp::Lg2 => ops.log2(v[0]),
            FloatOp::Sin => {
                let out = ops.wave(v[0], 0);
                ops.with_sign_of(out, v[0])
            }
            FloatOp::Cos => ops.wave(v[0], 1),
            FloatOp::Tanh => ops.tanh(v[0]),
            _ => ops.exp2(v[0]),
        })
    }

    /// An approximate instruction of f32.
    pub fn approximate(&mut self, i: &Code, op: FloatOp, how: Finish) -> Val {
        let x = self.raw(i.a, false);
        let x = if how.ftz { self.ops.zip(false, &[&x], &mut |ops, v| ops.flush(v[0])) } else { x };
        if may_be_large(i) {
            self.bail_if_large(&x);
        }
        let wide = self.promote(&x);
        let found = self.approximated(op, &wide);
        let out = self.demote(&found);
        self.ops.zip(false, &[&out], &mut |ops, v| ops.finish_float(how, v[0], op))
    }

    /// Leaves numbers from [`LARGE`] on to the interpreter, but for infinity, which has no angle.
    fn bail_if_large(&mut self, x: &Val) {
        let large = self.ops.zip(false, &[x], &mut |ops, v| {
            let ty = ops.ty(v[0]);
            let size = ops.masked(v[0], 0x7fff_ffff);
            let (from, to) = (ops.konst(ty, (LARGE as f32).to_bits().into()), ops.konst(ty, 0x7f80_0000));
            let large = ops.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, size, from);
            let finite = ops.b.ins().icmp(IntCC::SignedLessThan, size, to);
            ops.b.ins().band(large, finite)
        });
        match large {
            Val::One(large) => self.bail_if(large),
            Val::Many(masks) => {
                let bits = self.ops.bits_of(masks);
                let active = self.pass().bits;
                let large = self.ops.b.ins().band(bits, active);
                debug_assert_eq!(self.ops.ty(large), I32);
                self.bail_if(large);
            }
        }
    }
}
