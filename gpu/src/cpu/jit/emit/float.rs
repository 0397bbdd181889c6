//! Floating-point instructions.
//!
//! Owns: their translation; the meaning is that of `cpu/float.rs`, bit for bit. Only rounding to
//! nearest has instructions; for what rounds otherwise see `directed.rs`.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val, approx::is_approximate, directed::translates_directed, half};
use crate::cpu::{
    code::{Code, Finish, FloatOp, FloatTy},
    soft::{F32, F64, Mode},
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::FloatCC,
    types::{F32 as F32T, F64 as F64T, I32},
};

pub fn translates_float(op: FloatOp, ty: FloatTy, how: Finish, fused: bool) -> bool {
    if matches!(ty, FloatTy::Half { .. }) {
        return half::translates_half(op, how);
    }
    if how.mode != Mode::Rn {
        return ty == FloatTy::F32 && translates_directed(op);
    }
    match op {
        FloatOp::Fma => fused,
        FloatOp::Add | FloatOp::Sub | FloatOp::Mul | FloatOp::Div | FloatOp::Sqrt | FloatOp::Rcp => true,
        FloatOp::Min | FloatOp::Max | FloatOp::Abs | FloatOp::Neg | FloatOp::Copysign | FloatOp::Rsqrt => {
            true
        }
        FloatOp::Sin | FloatOp::Cos | FloatOp::Ex2 | FloatOp::Lg2 | FloatOp::Tanh => ty == FloatTy::F32,
    }
}

impl Ops<'_> {
    pub fn float_op(&mut self, op: FloatOp, how: Finish, v: &[Value]) -> Option<Value> {
        let ty = self.ty(v[0]);
        let double = ty.lane_bits() == 64;
        let taken: Vec<Value> =
            v.iter().map(|v| if how.ftz && op != FloatOp::Copysign { self.flush(*v) } else { *v }).collect();
        let x = taken[0];
        let y = taken.get(1).copied().unwrap_or(x);
        let z = taken.get(2).copied().unwrap_or(x);
        let (fx, fy, fz) = (self.float(x), self.float(y), self.float(z));
        let out = match op {
            FloatOp::Add => self.b.ins().fadd(fx, fy),
            FloatOp::Sub => self.b.ins().fsub(fx, fy),
            FloatOp::Mul => self.b.ins().fmul(fx, fy),
            FloatOp::Fma => self.b.ins().fma(fx, fy, fz),
            FloatOp::Div => self.b.ins().fdiv(fx, fy),
            FloatOp::Sqrt => self.b.ins().sqrt(fx),
            FloatOp::Rcp => {
                let one = self.one(ty);
                self.b.ins().fdiv(one, fx)
            }
            FloatOp::Rsqrt if double => self.inverse_root(fx),
            FloatOp::Rsqrt => return Some(self.finish_float(how, x, FloatOp::Rsqrt)),
            FloatOp::Min | FloatOp::Max => {
                let out = self.extreme(x, y, op == FloatOp::Max, how.nan);
                return Some(self.finish_float(how, out, op));
            }
            FloatOp::Abs => self.b.ins().fabs(fx),
            FloatOp::Neg => self.b.ins().fneg(fx),
            FloatOp::Copysign => {
                let sign = self.konst(ty, if double { 1 << 63 } else { 1 << 31 });
                let sign_of_x = self.b.ins().band(x, sign);
                let rest = self.b.ins().band_not(y, sign);
                let out = self.b.ins().bor(sign_of_x, rest);
                return Some(out);
            }
            FloatOp::Sin | FloatOp::Cos | FloatOp::Ex2 | FloatOp::Lg2 | FloatOp::Tanh => return None,
        };
        let out = self.bits(out);
        Some(self.finish_float(how, out, op))
    }

    /// Flushing and saturation of a result. The root of a 32-bit number is computed here, with 64 bits.
    pub fn finish_float(&mut self, how: Finish, v: Value, op: FloatOp) -> Value {
        let ty = self.ty(v);
        let mut out = v;
        if op == FloatOp::Rsqrt && ty.lane_bits() == 32 {
            let float = self.float(v);
            let root = if ty == I32 {
                let wide = self.b.ins().fpromote(F64T, float);
                let root = self.inverse_root(wide);
                self.b.ins().fdemote(F32T, root)
            } else {
                let upper = self.upper(float);
                let halves = [float, upper].map(|half| {
                    let wide = self.b.ins().fvpromote_low(half);
                    let root = self.inverse_root(wide);
                    self.b.ins().fvdemote(root)
                });
                self.low_pairs(halves[0], halves[1])
            };
            out = self.bits(root);
        }
        if how.ftz {
            out = self.flush(out);
        }
        if how.sat { self.saturate(out) } else { out }
    }

    fn one(&mut self, ty: cranelift_codegen::ir::Type) -> Value {
        let one = self.konst(ty, if ty.lane_bits() == 64 { 1f64.to_bits() } else { 1f32.to_bits().into() });
        self.float(one)
    }

    fn inverse_root(&mut self, v: Value) -> Value {
        let root = self.b.ins().sqrt(v);
        let bits = self.bits(root);
        let ty = self.ty(bits);
        let one = self.one(ty);
        self.b.ins().fdiv(one, root)
    }

    /// The smaller or larger: the number if only one is NaN, and -0 below +0.
    fn extreme(&mut self, x: Value, y: Value, larger: bool, nan: bool) -> Value {
        let cc = if larger { FloatCC::GreaterThan } else { FloatCC::LessThan };
        let first = self.fcmp(cc, x, y);
        let y_is_nan = self.fcmp(FloatCC::Unordered, y, y);
        let take_x = self.b.ins().bor(first, y_is_nan);
        let out = self.select(take_x, x, y);
        // Equal numbers differ in nothing but the sign of zero.
        let both = if larger { self.b.ins().band(x, y) } else { self.b.ins().bor(x, y) };
        let equal = self.fcmp(FloatCC::Equal, x, y);
        let out = self.select(equal, both, out);
        if !nan {
            return out;
        }
        let ty = self.ty(x);
        let none = self.konst(ty, if ty.lane_bits() == 64 { F64.nan } else { F32.nan });
        let either = self.fcmp(FloatCC::Unordered, x, y);
        self.select(either, none, out)
    }
}

impl Emitter<'_, '_> {
    /// Gives bits that are canonical but for NaNs.
    pub fn float(&mut self, i: &Code, op: FloatOp, ty: FloatTy, how: Finish) -> Option<Val> {
        if let FloatTy::Half { pair, brain } = ty {
            return self.half(i, op, pair, brain, how);
        }
        if how.mode != Mode::Rn && ty == FloatTy::F32 && translates_directed(op) {
            return Some(self.directed(i, op, how));
        }
        if is_approximate(op) {
            return Some(self.approximate(i, op, how));
        }
        let wide = ty == FloatTy::F64;
        // What keeps the bits of its operand needs them as they are to be seen.
        let vals =
            if op == FloatOp::Copysign { self.sources(i, [wide; 3]) } else { self.raw_sources(i, wide) };
        let refs: Vec<&Val> = vals.iter().collect();
        let mut failed = false;
        let out = self.ops.zip(wide, &refs, &mut |ops, v| {
            ops.float_op(op, how, v).unwrap_or_else(|| {
                failed = true;
                v[0]
            })
        });
        (!failed).then_some(out)
    }

    pub fn promote(&mut self, v: &Val) -> Val {
        match v {
            Val::One(v) => {
                let float = self.ops.float(*v);
                let out = self.ops.b.ins().fpromote(F64T, float);
                Val::One(self.ops.bits(out))
            }
            Val::Many(all) => {
                let mut out = Vec::new();
                for v in all {
                    let float = self.ops.float(*v);
                    let upper = self.ops.upper(float);
                    for half in [float, upper] {
                        let wide = self.ops.b.ins().fvpromote_low(half);
                        out.push(self.ops.bits(wide));
                    }
                }
                Val::Many(out)
            }
        }
    }

    pub fn demote(&mut self, v: &Val) -> Val {
        match v {
            Val::One(v) => {
                let float = self.ops.float(*v);
                let out = self.ops.b.ins().fdemote(F32T, float);
                Val::One(self.ops.bits(out))
            }
            Val::Many(all) => {
                let mut out = Vec::new();
                for pair in all.chunks(2) {
                    let halves = [pair[0], pair[1]].map(|v| {
                        let float = self.ops.float(v);
                        self.ops.b.ins().fvdemote(float)
                    });
                    let joined = self.ops.low_pairs(halves[0], halves[1]);
                    out.push(self.ops.bits(joined));
                }
                Val::Many(out)
            }
        }
    }
}
