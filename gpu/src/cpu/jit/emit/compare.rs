//! Comparing, choosing, predicates.
//!
//! Owns: their translation; the meaning is that of `cpu/compare.rs`, bit for bit.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val, int::less};
use crate::cpu::code::{BoolOp, Cmp, CmpTy, Code, FloatTy, IntTy, Kind, NONE};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::{FloatCC, IntCC},
    types::{I8, I32, I64},
};

pub fn translates_compare(cmp: Cmp, ty: CmpTy) -> bool {
    match ty {
        CmpTy::Int(_) => int_condition(cmp, false).is_some(),
        // Two halves are compared into two predicates.
        CmpTy::Float(ty) => !matches!(ty, FloatTy::Half { pair: true, .. }),
    }
}

fn int_condition(cmp: Cmp, signed: bool) -> Option<IntCC> {
    Some(match cmp {
        Cmp::Eq => IntCC::Equal,
        Cmp::Ne => IntCC::NotEqual,
        Cmp::Lt => less(signed),
        Cmp::Le if signed => IntCC::SignedLessThanOrEqual,
        Cmp::Le => IntCC::UnsignedLessThanOrEqual,
        Cmp::Gt if signed => IntCC::SignedGreaterThan,
        Cmp::Gt => IntCC::UnsignedGreaterThan,
        Cmp::Ge if signed => IntCC::SignedGreaterThanOrEqual,
        Cmp::Ge => IntCC::UnsignedGreaterThanOrEqual,
        Cmp::Equ | Cmp::Neu | Cmp::Ltu | Cmp::Leu | Cmp::Gtu | Cmp::Geu | Cmp::Num | Cmp::Nan => return None,
    })
}

fn float_condition(cmp: Cmp) -> FloatCC {
    match cmp {
        Cmp::Eq => FloatCC::Equal,
        Cmp::Ne => FloatCC::OrderedNotEqual,
        Cmp::Lt => FloatCC::LessThan,
        Cmp::Le => FloatCC::LessThanOrEqual,
        Cmp::Gt => FloatCC::GreaterThan,
        Cmp::Ge => FloatCC::GreaterThanOrEqual,
        Cmp::Equ => FloatCC::UnorderedOrEqual,
        Cmp::Neu => FloatCC::NotEqual,
        Cmp::Ltu => FloatCC::UnorderedOrLessThan,
        Cmp::Leu => FloatCC::UnorderedOrLessThanOrEqual,
        Cmp::Gtu => FloatCC::UnorderedOrGreaterThan,
        Cmp::Geu => FloatCC::UnorderedOrGreaterThanOrEqual,
        Cmp::Num => FloatCC::Ordered,
        Cmp::Nan => FloatCC::Unordered,
    }
}

/// A predicate that changes at most once from lane to lane, unless numbers wrap around: in the first and the last lane.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub first: Value,
    pub last: Value,
    pub wraps: Value,
    /// What it is in the last lane only if it is the same in all, and no number wraps around: numbers that grow and are
    /// still below a bound that is one of theirs.
    telling: bool,
}

impl Ends {
    /// Whether it is known to be this in all lanes of the pass.
    pub fn all(&self, ops: &mut Ops<'_>, held: bool) -> Value {
        let mut is = |end: Value| if held { end } else { ops.opposite(end) };
        let (first, last) = (is(self.first), is(self.last));
        if held == self.telling {
            return last;
        }
        let both = ops.b.ins().band(first, last);
        let even = ops.opposite(self.wraps);
        ops.b.ins().band(both, even)
    }
}

impl Emitter<'_, '_> {
    fn compare(&mut self, i: &Code, cmp: Cmp, ty: CmpTy, ftz: bool) -> Option<Val> {
        let wide = match ty {
            CmpTy::Int(ty) => matches!(ty, IntTy::U64 | IntTy::S64),
            CmpTy::Float(ty) => ty == FloatTy::F64,
        };
        let signed = matches!(ty, CmpTy::Int(IntTy::S16 | IntTy::S32 | IntTy::S64));
        let half = matches!(ty, CmpTy::Int(IntTy::S16));
        let is_float = matches!(ty, CmpTy::Float(_));
        let (x, y) = if is_float {
            (self.raw(i.a, wide), self.raw(i.b, wide))
        } else {
            (self.read(i.a, wide), self.read(i.b, wide))
        };
        let condition = int_condition(cmp, signed);
        if !is_float && condition.is_none() {
            return None;
        }
        let found = self.ops.zip(wide, &[&x, &y], &mut |ops, v| {
            let (mut x, mut y) = (v[0], v[1]);
            if is_float {
                if let CmpTy::Float(FloatTy::Half { brain, .. }) = ty {
                    (x, y) = (ops.half_compared(x, brain, ftz), ops.half_compared(y, brain, ftz));
                } else if ftz && !wide {
                    (x, y) = (ops.flush(x), ops.flush(y));
                }
                let mask = ops.fcmp(float_condition(cmp), x, y);
                return mask;
            }
            if half {
                let by = ops.b.ins().iconst(I32, 16);
                (x, y) = (ops.b.ins().ishl(x, by), ops.b.ins().ishl(y, by));
            }
            ops.icmp(condition.unwrap_or(IntCC::Equal), x, y)
        });
        Some(match found {
            Val::Many(all) if wide => Val::Many(self.ops.narrow_all(&all)),
            other => other,
        })
    }

    /// What an order between a number that grows evenly and one that is the same in all lanes is in the first and in the
    /// last lane, and whether lanes wrap around between these. If they do not, and the two agree, all lanes agree.
    fn ends(&mut self, i: &Code, cmp: Cmp, ty: CmpTy) -> Option<Ends> {
        let CmpTy::Int(ty @ (IntTy::U32 | IntTy::S32)) = ty else { return None };
        let signed = ty == IntTy::S32;
        if matches!(cmp, Cmp::Eq | Cmp::Ne) {
            return None;
        }
        // In 64 bits all of these are signed numbers.
        let cc = int_condition(cmp, true)?;
        let ((x, x_by), (y, y_by)) = (self.base(i.a, false)?, self.base(i.b, false)?);
        if x_by != 0 && y_by != 0 {
            return None;
        }
        let ends = |ops: &mut Ops<'_>, x: Value, by: i64| {
            let extend = |ops: &mut Ops<'_>, v: Value| {
                if signed { ops.b.ins().sextend(I64, v) } else { ops.b.ins().uextend(I64, v) }
            };
            let first = extend(ops, x);
            let most = by * (ops.lanes() as i64 - 1);
            let last = ops.b.ins().iadd_imm_s(first, most);
            let cut = ops.b.ins().ireduce(I32, last);
            let back = extend(ops, cut);
            (first, last, ops.b.ins().icmp(IntCC::NotEqual, back, last))
        };
        let (x_first, x_last, x_wraps) = ends(&mut self.ops, x, x_by);
        let (y_first, y_last, y_wraps) = ends(&mut self.ops, y, y_by);
        let first = self.ops.b.ins().icmp(cc, x_first, y_first);
        let last = self.ops.b.ins().icmp(cc, x_last, y_last);
        let wraps = if x_by != 0 { x_wraps } else { y_wraps };
        let grows = if x_by != 0 { x_by > 0 } else { y_by < 0 };
        let telling = grows == matches!(cmp, Cmp::Lt | Cmp::Le);
        Some(Ends { first, last, wraps, telling })
    }

    fn join(&mut self, op: Option<BoolOp>, x: &Val, y: Option<&Val>) -> Val {
        let (Some(op), Some(y)) = (op, y) else { return x.clone() };
        self.conditions(&[x, y], &mut |ops, v| match op {
            BoolOp::And => ops.b.ins().band(v[0], v[1]),
            BoolOp::Or => ops.b.ins().bor(v[0], v[1]),
            BoolOp::Xor => ops.b.ins().bxor(v[0], v[1]),
        })
    }

    fn negated(&mut self, v: &Val) -> Val {
        self.conditions(&[v], &mut |ops, v| ops.opposite(v[0]))
    }

    fn joined_with(&mut self, p: u32, negate: bool) -> Option<Val> {
        if p == NONE {
            return None;
        }
        let v = self.read_pred(p);
        Some(if negate { self.negated(&v) } else { v })
    }

    pub fn setp(&mut self, i: &Code) -> Option<()> {
        let Kind::Setp { cmp, ty, join, negate, ftz } = i.kind else { return None };
        let found = self.compare(i, cmp, ty, ftz)?;
        let other = self.joined_with(i.c, negate);
        let opposite = self.negated(&found);
        // Both results are made of what was there before.
        let first = self.join(join, &found, other.as_ref());
        let second = self.join(join, &opposite, other.as_ref());
        if i.d != NONE {
            self.write_pred(i, i.d, first);
        }
        if i.e != NONE {
            self.write_pred(i, i.e, second);
        } else if i.d != NONE
            && self.classes.agreeable(self.kernel.slots + i.d)
            && let Some(ends) = self.ends(i, cmp, ty)
        {
            self.ends.insert(self.kernel.slots + i.d, ends);
        }
        Some(())
    }

    pub fn set(&mut self, i: &Code) -> Option<Val> {
        let Kind::Set { cmp, ty, join, negate, ftz, float } = i.kind else { return None };
        let found = self.compare(i, cmp, ty, ftz)?;
        let other = self.joined_with(i.c, negate);
        let found = self.join(join, &found, other.as_ref());
        let yes = if float { 1f32.to_bits() } else { u32::MAX };
        let (yes, no) = (self.ops.konst(I32, yes.into()), self.ops.konst(I32, 0));
        Some(self.choose(&found, &Val::One(yes), &Val::One(no), false))
    }

    pub fn selp(&mut self, i: &Code, wide: bool, negate: bool) -> Val {
        let cond = self.read_pred(i.c);
        // Bits are moved, so lazy ones stay so where the result is lazy as well.
        let lazy = self.classes.lazy(i.d);
        let (x, y) = if lazy {
            (self.raw(i.a, wide), self.raw(i.b, wide))
        } else {
            (self.read(i.a, wide), self.read(i.b, wide))
        };
        if negate { self.choose(&cond, &y, &x, wide) } else { self.choose(&cond, &x, &y, wide) }
    }

    /// `x` in the lanes where the condition holds, else `y`.
    pub fn choose(&mut self, cond: &Val, x: &Val, y: &Val, wide: bool) -> Val {
        match cond {
            Val::One(c) => {
                let c = *c;
                self.ops.zip(wide, &[x, y], &mut |ops, v| ops.b.ins().select(c, v[0], v[1]))
            }
            Val::Many(masks) => {
                let masks = if wide { self.ops.widen_all(masks, true) } else { masks.clone() };
                let (x, y) = (self.ops.many(x, wide), self.ops.many(y, wide));
                let out = masks.iter().zip(x.iter().zip(&y));
                Val::Many(out.map(|(m, (x, y))| self.ops.b.ins().bitselect(*m, *x, *y)).collect())
            }
        }
    }

    /// Joins conditions: as bits if all are the same for all lanes, else as masks.
    fn conditions(
        &mut self,
        vals: &[&Val],
        op: &mut dyn FnMut(
            &mut super::Ops<'_>,
            &[cranelift_codegen::ir::Value],
        ) -> cranelift_codegen::ir::Value,
    ) -> Val {
        if vals.iter().all(|v| v.is_one()) {
            return self.ops.zip(false, vals, op);
        }
        let masks: Vec<Val> = vals.iter().map(|v| Val::Many(self.ops.masks(v))).collect();
        let refs: Vec<&Val> = masks.iter().collect();
        self.ops.zip(false, &refs, op)
    }

    pub fn pred_const(&mut self, value: bool) -> Val {
        Val::One(self.ops.b.ins().iconst(I8, i64::from(value)))
    }

    pub fn pred_not(&mut self, p: u32) -> Val {
        let v = self.read_pred(p);
        self.negated(&v)
    }

    pub fn pred_logic(&mut self, i: &Code, op: BoolOp) -> Val {
        let (x, y) = (self.read_pred(i.a), self.read_pred(i.b));
        self.join(Some(op), &x, Some(&y))
    }

    /// Old values stay in the lanes whose guard does not hold.
    pub fn guarded(&mut self, i: &Code, new: Val, old: Val, wide: bool) -> Val {
        if i.guard == NONE {
            return new;
        }
        let guard = self.read_pred(i.guard);
        let (x, y) = if i.negated { (&old, &new) } else { (&new, &old) };
        self.choose(&guard, x, y, wide)
    }

    pub fn guarded_pred(&mut self, i: &Code, new: Val, old: Val) -> Val {
        if i.guard == NONE {
            return new;
        }
        let guard = self.read_pred(i.guard);
        let (x, y) = if i.negated { (old, new) } else { (new, old) };
        self.conditions(&[&guard, &x, &y], &mut |ops, v| {
            if ops.ty(v[0]) == I8 {
                ops.b.ins().select(v[0], v[1], v[2])
            } else {
                ops.b.ins().bitselect(v[0], v[1], v[2])
            }
        })
    }
}
