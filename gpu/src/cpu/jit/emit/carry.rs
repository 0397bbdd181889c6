//! Sums, differences and products that take a carry, or leave one.
//!
//! Owns: their translation; the meaning is that of `cpu/int.rs`, bit for bit. The carry is a predicate.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Val, scalar};
use crate::cpu::{
    code::{CarryOp, Code, IntTy},
    jit::effects::wide_int,
};
use cranelift_codegen::ir::{InstBuilder, condcodes::IntCC};

impl Emitter<'_, '_> {
    pub fn carry(&mut self, i: &Code, op: CarryOp, ty: IntTy) {
        let wide = wide_int(ty);
        let vals = self.sources(i, [wide; 3]);
        let (with, start, added) = match op {
            CarryOp::Add { with } | CarryOp::Sub { with } => (with, vals[0].clone(), vals[1].clone()),
            CarryOp::Mad { with, high } => {
                let signed = matches!(ty, IntTy::S32 | IntTy::S64);
                let product = self.ops.zip(wide, &[&vals[0], &vals[1]], &mut |ops, v| {
                    if high {
                        ops.lanewise(v, &mut |ops, v| ops.mul_high(v[0], v[1], signed))
                    } else {
                        ops.b.ins().imul(v[0], v[1])
                    }
                });
                (with, product, vals[2].clone())
            }
        };
        let down = matches!(op, CarryOp::Sub { .. });
        let mut out = self.stepped(&start, &added, down, wide);
        let mut carry =
            if down { self.is_below(&start, &added, wide) } else { self.is_below(&out, &start, wide) };
        if with {
            // All ones where there was one: to be taken off a sum, or added to a difference.
            let before = self.carry_mask(i, wide);
            let after = self.stepped(&out, &before, !down, wide);
            let wrapped =
                if down { self.is_below(&out, &after, wide) } else { self.is_below(&after, &out, wide) };
            carry = self.ops.zip(wide, &[&carry, &wrapped], &mut |ops, v| ops.b.ins().bor(v[0], v[1]));
            out = after;
        }
        self.write(i, out, wide);
        if i.e == 1 {
            let carry = match carry {
                Val::One(mask) => Val::One(self.ops.b.ins().icmp_imm_u(IntCC::NotEqual, mask, 0)),
                Val::Many(all) if wide => Val::Many(self.ops.narrow_all(&all)),
                Val::Many(all) => Val::Many(all),
            };
            self.write_pred(i, i.imm as u32, carry);
        }
    }

    /// The sum, or the difference.
    fn stepped(&mut self, x: &Val, y: &Val, down: bool, wide: bool) -> Val {
        self.ops.zip(wide, &[x, y], &mut |ops, v| {
            if down { ops.b.ins().isub(v[0], v[1]) } else { ops.b.ins().iadd(v[0], v[1]) }
        })
    }

    /// All ones where the first of two unsigned numbers is the lesser.
    fn is_below(&mut self, x: &Val, y: &Val, wide: bool) -> Val {
        self.ops.zip(wide, &[x, y], &mut |ops, v| {
            let below = ops.icmp(IntCC::UnsignedLessThan, v[0], v[1]);
            if ops.ty(v[0]).is_vector() { below } else { ops.b.ins().bmask(scalar(wide), below) }
        })
    }

    fn carry_mask(&mut self, i: &Code, wide: bool) -> Val {
        match self.read_pred(i.imm as u32) {
            Val::One(held) => Val::One(self.ops.b.ins().bmask(scalar(wide), held)),
            Val::Many(masks) if wide => Val::Many(self.ops.widen_all(&masks, true)),
            Val::Many(masks) => Val::Many(masks),
        }
    }
}
