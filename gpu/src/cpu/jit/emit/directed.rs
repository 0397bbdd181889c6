//! Sums and products of f32 that are not rounded to nearest.
//!
//! Owns: their translation, by way of f64: the product of two is exact there, and a sum is rounded to odd, so that it lies on
//! the same side of every f32 as the exact one. The nearest f32 is then a step too far, or right.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val};
use crate::cpu::{
    code::{Code, Finish, FloatOp},
    soft::Mode,
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::{FloatCC, IntCC},
};

pub fn translates_directed(op: FloatOp) -> bool {
    matches!(op, FloatOp::Add | FloatOp::Sub | FloatOp::Mul | FloatOp::Fma)
}

impl Ops<'_> {
    /// The result in f64, of operands in f64.
    fn exact(&mut self, op: FloatOp, mode: Mode, v: &[Value]) -> Value {
        let ty = self.ty(v[0]);
        let sign = self.konst(ty, 1 << 63);
        let (first, added) = match op {
            FloatOp::Sub => (v[0], self.b.ins().bxor(v[1], sign)),
            FloatOp::Mul | FloatOp::Fma => {
                let (x, y) = (self.float(v[0]), self.float(v[1]));
                let product = self.b.ins().fmul(x, y);
                let product = self.bits(product);
                match v.get(2) {
                    Some(added) => (product, *added),
                    None => return product,
                }
            }
            _ => (v[0], v[1]),
        };
        let sum = self.sum_to_odd(first, added);
        if mode != Mode::Rm {
            return sum;
        }
        // Downwards, a sum of zero is below zero unless both terms are above.
        let zero = self.konst(ty, 0);
        let is_zero = self.fcmp(FloatCC::Equal, sum, zero);
        let signs = self.b.ins().bor(first, added);
        let signs = self.b.ins().band(signs, sign);
        self.select(is_zero, signs, sum)
    }

    /// Whether the nearest number is a step too far.
    fn is_beyond(&mut self, mode: Mode, near: Value, exact: Value) -> Value {
        let (mut near, mut exact) = (near, exact);
        if mode == Mode::Rz {
            (near, exact) = (self.masked(near, u64::MAX >> 1), self.masked(exact, u64::MAX >> 1));
        }
        let cc = if mode == Mode::Rp { FloatCC::LessThan } else { FloatCC::GreaterThan };
        self.fcmp(cc, near, exact)
    }

    /// The number a step back.
    fn step_back(&mut self, mode: Mode, near: Value) -> Value {
        let ty = self.ty(near);
        let one = self.konst(ty, 1);
        if mode == Mode::Rz {
            return self.b.ins().isub(near, one);
        }
        // Beyond zero the other zero's neighbour is next.
        let (from, to) = if mode == Mode::Rm { (0, 1 << 31) } else { (1 << 31, 0) };
        let (from, to) = (self.konst(ty, from), self.konst(ty, to));
        let is_zero = self.b.ins().icmp(IntCC::Equal, near, from);
        let near = self.select(is_zero, to, near);
        // One, or minus one below zero.
        let sign = self.down(near, 31, true);
        let outward = self.b.ins().bor(sign, one);
        if mode == Mode::Rm { self.b.ins().isub(near, outward) } else { self.b.ins().iadd(near, outward) }
    }
}

impl Emitter<'_, '_> {
    pub fn directed(&mut self, i: &Code, op: FloatOp, how: Finish) -> Val {
        let vals: Vec<Val> = self
            .raw_sources(i, false)
            .iter()
            .map(|v| {
                let v = self.ops.zip(false, &[v], &mut |ops, v| if how.ftz { ops.flush(v[0]) } else { v[0] });
                self.promote(&v)
            })
            .collect();
        let refs: Vec<&Val> = vals.iter().collect();
        let exact = self.ops.zip(true, &refs, &mut |ops, v| ops.exact(op, how.mode, v));
        let near = self.demote(&exact);
        let back = self.promote(&near);
        let beyond = self.ops.zip(true, &[&back, &exact], &mut |ops, v| ops.is_beyond(how.mode, v[0], v[1]));
        let beyond = match beyond {
            Val::Many(all) => Val::Many(self.ops.narrow_all(&all)),
            one => one,
        };
        self.ops.zip(false, &[&near, &beyond], &mut |ops, v| {
            let stepped = ops.step_back(how.mode, v[0]);
            let out = ops.select(v[1], stepped, v[0]);
            ops.finish_float(how, out, op)
        })
    }
}
