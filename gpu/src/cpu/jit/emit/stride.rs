//! Registers that grow evenly from lane to lane, as one number a pass.
//!
//! Owns: their *bases*: what such a register holds, or would hold, in the first lane of the pass. They are kept beside
//! the vectors, which Cranelift drops where nobody needs them.
//! Never: trusts a lane that takes no part: a base read from the frame is computed back from the first active lane.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Val, own, scalar, vector};
use crate::cpu::{
    code::{BitOp, Code, IntOp, IntTy, Kind, NONE, Number},
    jit::effects::Reg,
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I64},
};

/// Whether computing the base of this instruction's result may show that lanes wrapped around.
pub fn may_wrap(i: &Code) -> bool {
    matches!(i.kind, Kind::Convert(_) | Kind::Bits(BitOp::MulWide { .. } | BitOp::MadWide { .. }))
}

impl Emitter<'_, '_> {
    /// The base of a register as it stands in the frame.
    pub fn frame_base(&mut self, slot: Reg, wide: bool, stride: i64) -> Value {
        let bits = self.pass().bits;
        let from = if wide { self.pass().wides } else { self.pass().words };
        let lane = self.ops.b.ins().ctz(bits);
        let far = self.ops.b.ins().uextend(I64, lane);
        let skip = self.ops.b.ins().imul_imm_u(far, if wide { 8 } else { 4 });
        let at = self.ops.b.ins().iadd(from, skip);
        let value = self.ops.b.ins().load(scalar(wide), own(), at, slot as i32 * 128);
        let lane = if wide { far } else { lane };
        let by = self.ops.konst(scalar(wide), stride as u64);
        let grown = self.ops.b.ins().imul(lane, by);
        self.ops.b.ins().isub(value, grown)
    }

    /// A register's base and stride, if it has one.
    pub fn base(&mut self, slot: u32, wide: bool) -> Option<(Value, i64)> {
        if slot == NONE {
            return None;
        }
        if !self.classes.varying(slot) {
            let Val::One(one) = self.read(slot, wide) else { return None };
            return Some((one, 0));
        }
        let stride = self.classes.stride(slot)?;
        if self.classes.fixed(slot) {
            return Some((self.frame_base(slot, wide, stride), stride));
        }
        let var = self.base_variable(slot);
        Some((self.ops.b.use_var(var), stride))
    }

    /// The vectors of a register, made of its base.
    pub fn grown(&mut self, reg: Reg, stride: i64) -> Val {
        let wide = self.flow.widths[reg as usize] == 2;
        let (ty, lanes) = (vector(wide), if wide { 2 } else { 4 });
        let var = self.base_variable(reg);
        let base = self.ops.b.use_var(var);
        let first = self.ops.b.ins().splat(ty, base);
        let each = |n: usize| -> Vec<u8> {
            let numbers = (0..lanes).map(|lane| (n * lanes + lane) as i64 * stride);
            if wide {
                numbers.flat_map(i64::to_le_bytes).collect()
            } else {
                numbers.flat_map(|by| (by as i32).to_le_bytes()).collect()
            }
        };
        let vectors = (0..self.ops.parts(wide)).map(|n| {
            let each = self.ops.b.func.dfg.constants.insert(each(n).into());
            let each = self.ops.b.ins().vconst(ty, each);
            self.ops.b.ins().iadd(first, each)
        });
        Val::Many(vectors.collect())
    }

    pub fn base_variable(&mut self, slot: Reg) -> cranelift_frontend::Variable {
        if let Some(var) = self.bases.get(&slot) {
            return *var;
        }
        let ty = scalar(self.flow.widths[slot as usize] == 2);
        let var = self.ops.b.declare_var(ty);
        self.bases.insert(slot, var);
        var
    }

    /// The base of what an instruction computes; to be called before its result is written.
    pub fn result_base(&mut self, i: &Code) -> Option<Value> {
        let wide = |ty| matches!(ty, IntTy::U64 | IntTy::S64);
        match i.kind {
            Kind::Int(op, ty) => {
                let (x, _) = self.base(i.a, wide(ty))?;
                if op == IntOp::Shl {
                    let (by, _) = self.base(i.b, false)?;
                    return Some(self.ops.shift(x, by, true, false));
                }
                let (y, _) = self.base(i.b, wide(ty))?;
                Some(match op {
                    IntOp::Add => self.ops.b.ins().iadd(x, y),
                    IntOp::Sub => self.ops.b.ins().isub(x, y),
                    IntOp::MulLo => self.ops.b.ins().imul(x, y),
                    IntOp::MadLo => {
                        let (z, _) = self.base(i.c, wide(ty))?;
                        let product = self.ops.b.ins().imul(x, y);
                        self.ops.b.ins().iadd(product, z)
                    }
                    _ => return None,
                })
            }
            Kind::Bits(BitOp::MulWide { signed, .. }) => self.base_product(i, signed),
            Kind::Bits(BitOp::MadWide { signed, .. }) => {
                let product = self.base_product(i, signed)?;
                let (z, _) = self.base(i.c, true)?;
                Some(self.ops.b.ins().iadd(product, z))
            }
            Kind::Convert(how) => {
                let Number::Int { signed, .. } = how.from else { return None };
                let (x, stride) = self.base(i.a, false)?;
                Some(self.extended(x, stride, signed))
            }
            Kind::Move { wide } => Some(self.base(i.a, wide)?.0),
            // The tags of the spaces in question are zero: setting or taking them off changes nothing.
            Kind::Tag(_) | Kind::Untag(_) => Some(self.base(i.a, true)?.0),
            _ => None,
        }
    }

    fn base_product(&mut self, i: &Code, signed: bool) -> Option<Value> {
        let (x, x_stride) = self.base(i.a, false)?;
        let (y, y_stride) = self.base(i.b, false)?;
        let (x, y) = (self.extended(x, x_stride, signed), self.extended(y, y_stride, signed));
        Some(self.ops.b.ins().imul(x, y))
    }

    /// A base of 32 bits in 64, after seeing that no lane of the pass wraps around.
    fn extended(&mut self, x: Value, stride: i64, signed: bool) -> Value {
        let wide = if signed { self.ops.b.ins().sextend(I64, x) } else { self.ops.b.ins().uextend(I64, x) };
        if stride == 0 || self.unwrapped {
            return wide;
        }
        // The first lane's number must leave room for what the others add, or take away.
        let most = stride * (self.ops.lanes() as i64 - 1);
        let (least, greatest) =
            if signed { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (0, i64::from(u32::MAX)) };
        let (cc, limit) = match (most > 0, signed) {
            (true, true) => (IntCC::SignedGreaterThan, greatest - most),
            (true, false) => (IntCC::UnsignedGreaterThan, greatest - most),
            (false, true) => (IntCC::SignedLessThan, least - most),
            (false, false) => (IntCC::UnsignedLessThan, least - most),
        };
        let limit = self.ops.konst(I32, limit as u64);
        let wrapped = self.ops.b.ins().icmp(cc, x, limit);
        self.bail_if(wrapped);
        wide
    }
}
