//! `setp`, `set`, `testp`, `selp`, `slct`: comparing and choosing.
//!
//! Owns: the ordered and unordered comparisons. Ordered ones are false, unordered ones true, if an operand is NaN.
//! Tests: `gpu/tests/cpu_float.rs`.

use super::{
    code::{BoolOp, Cmp, CmpTy, Code, FloatTy, IntTy, Kind, NONE},
    float::Float,
    half,
    lanes::{ALL, Frame, LANES, Lane, select, store, test2, versions},
};
use crate::ptx::words::Mod;

#[inline(always)]
fn ordered<T: Lane + PartialOrd>(f: &Frame, a: u32, b: u32, cmp: Cmp, take: impl Fn(T) -> T) -> u32 {
    // The unordered ones are the opposites of the ordered opposites.
    let flip = match cmp {
        Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Le | Cmp::Gt | Cmp::Ge | Cmp::Num => 0,
        Cmp::Equ | Cmp::Neu | Cmp::Ltu | Cmp::Leu | Cmp::Gtu | Cmp::Geu | Cmp::Nan => ALL,
    };
    let found = match cmp {
        Cmp::Eq | Cmp::Neu => test2(f, a, b, |x: T, y: T| take(x) == take(y)),
        #[allow(clippy::double_comparisons, reason = "`!=` would be true for NaN")]
        Cmp::Ne | Cmp::Equ => test2(f, a, b, |x: T, y: T| {
            let (x, y) = (take(x), take(y));
            x < y || x > y
        }),
        Cmp::Lt | Cmp::Geu => test2(f, a, b, |x: T, y: T| take(x) < take(y)),
        Cmp::Le | Cmp::Gtu => test2(f, a, b, |x: T, y: T| take(x) <= take(y)),
        Cmp::Gt | Cmp::Leu => test2(f, a, b, |x: T, y: T| take(x) > take(y)),
        Cmp::Ge | Cmp::Ltu => test2(f, a, b, |x: T, y: T| take(x) >= take(y)),
        Cmp::Num | Cmp::Nan => number::<T>(f, a, b),
    };
    found ^ flip
}

/// Lanes where both operands are numbers. A NaN is what does not equal itself.
#[inline(always)]
fn number<T: Lane + PartialOrd>(f: &Frame, a: u32, b: u32) -> u32 {
    #[allow(clippy::eq_op, reason = "that is the test for NaN")]
    test2(f, a, b, |x: T, y: T| x == x && y == y)
}

#[inline(always)]
fn compare(f: &mut Frame, i: &Code, cmp: Cmp, ty: CmpTy, ftz: bool) -> u32 {
    let (a, b) = (i.a, i.b);
    match ty {
        CmpTy::Int(IntTy::U16) => ordered(f, a, b, cmp, |v: u16| v),
        CmpTy::Int(IntTy::S16) => ordered(f, a, b, cmp, |v: i16| v),
        CmpTy::Int(IntTy::U32) => ordered(f, a, b, cmp, |v: u32| v),
        CmpTy::Int(IntTy::S32) => ordered(f, a, b, cmp, |v: i32| v),
        CmpTy::Int(IntTy::U64) => ordered(f, a, b, cmp, |v: u64| v),
        CmpTy::Int(IntTy::S64) => ordered(f, a, b, cmp, |v: i64| v),
        CmpTy::Float(FloatTy::F32) if ftz => ordered(f, a, b, cmp, |v: f32| v.flush()),
        CmpTy::Float(FloatTy::F32) => ordered(f, a, b, cmp, |v: f32| v),
        CmpTy::Float(FloatTy::F64) => ordered(f, a, b, cmp, |v: f64| v),
        CmpTy::Float(FloatTy::Half { brain, .. }) => halves(f, i, cmp, brain, ftz, 0),
    }
}

/// Compares the 16-bit numbers at `shift` by their exact f32 values.
fn halves(f: &Frame, i: &Code, cmp: Cmp, brain: bool, ftz: bool, shift: u32) -> u32 {
    let mut wide = Frame::new(2, 0);
    for (slot, from) in [(0, i.a), (1, i.b)] {
        let words = f.words(from);
        for (n, place) in wide.words_mut(slot).iter_mut().enumerate() {
            let bits = words[n] >> shift & 0xffff;
            *place = half::wide(if ftz { half::flush(bits, brain) } else { bits }, brain).to_bits();
        }
    }
    ordered(&wide, 0, 1, cmp, |v: f32| v)
}

fn join(op: Option<BoolOp>, x: u32, y: u32) -> u32 {
    match op {
        None => x,
        Some(BoolOp::And) => x & y,
        Some(BoolOp::Or) => x | y,
        Some(BoolOp::Xor) => x ^ y,
    }
}

versions! {
    /// `setp` and `set`.
    pub fn set(f: &mut Frame, i: &Code) {
        match i.kind {
            Kind::Setp { cmp, ty, join: op, negate, ftz } => {
                let found = compare(f, i, cmp, ty, ftz);
                let other = if i.c == NONE { 0 } else { f.preds[i.c as usize] };
                let other = if negate { !other } else { other };
                // Two halves are compared into two predicates.
                if let CmpTy::Float(FloatTy::Half { pair: true, brain }) = ty {
                    let upper = halves(f, i, cmp, brain, ftz, 16);
                    if i.d != NONE { f.set_pred(i.d, join(op, found, other)); }
                    if i.e != NONE { f.set_pred(i.e, join(op, upper, other)); }
                    return;
                }
                if i.d != NONE { f.set_pred(i.d, join(op, found, other)); }
                if i.e != NONE { f.set_pred(i.e, join(op, !found, other)); }
            }
            Kind::Set { cmp, ty, join: op, negate, ftz, float } => {
                let found = compare(f, i, cmp, ty, ftz);
                let other = if i.c == NONE { 0 } else { f.preds[i.c as usize] };
                let found = join(op, found, if negate { !other } else { other });
                let yes = if float { 1.0f32.to_bits() } else { u32::MAX };
                let mut out = [0; LANES];
                for (n, out) in out.iter_mut().enumerate() {
                    *out = if found >> n & 1 != 0 { yes } else { 0 };
                }
                store::<u32>(f, i.d, &out);
            }
            Kind::SetHalf { cmp, ty, join: op, negate, ftz, yes, pair } => {
                let other = if i.c == NONE { 0 } else { f.preds[i.c as usize] };
                let other = if negate { !other } else { other };
                let lower = join(op, compare(f, i, cmp, ty, ftz), other);
                let upper = match ty {
                    CmpTy::Float(FloatTy::Half { brain, .. }) if pair => {
                        join(op, halves(f, i, cmp, brain, ftz, 16), other)
                    }
                    _ => 0,
                };
                let mut out = [0; LANES];
                for (n, out) in out.iter_mut().enumerate() {
                    let part = |mask: u32| if mask >> n & 1 != 0 { u32::from(yes) } else { 0 };
                    *out = part(upper) << 16 | part(lower);
                }
                store::<u32>(f, i.d, &out);
            }
            _ => {}
        }
    }
}

pub fn test(f: &mut Frame, i: &Code, what: Mod, wide: bool) {
    let class = |c: std::num::FpCategory| {
        use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
        match (what, c) {
            (Mod::Finite, Normal | Subnormal | Zero) => true,
            (Mod::Infinite, Infinite) | (Mod::Notanumber, Nan) | (Mod::Subnormal, Subnormal) => true,
            // PTX counts zeros as normal.
            (Mod::Normal, Normal | Zero) => true,
            (Mod::Number, Normal | Subnormal | Zero | Infinite) => true,
            _ => false,
        }
    };
    let found = if wide {
        test2(f, i.a, i.a, |x: f64, _| class(x.classify()))
    } else {
        test2(f, i.a, i.a, |x: f32, _| class(x.classify()))
    };
    f.set_pred(i.d, found);
}

versions! {
    pub fn choose(f: &mut Frame, i: &Code) {
        let (chosen, wide) = match i.kind {
            Kind::Selp { wide, negate } => {
                let p = f.preds[i.c as usize];
                (if negate { !p } else { p }, wide)
            }
            Kind::Slct { wide, float: true, ftz } => {
                // -0 is at least zero, NaN is not; a negative subnormal is zero when flushed.
                let found = test2(f, i.c, i.c, |x: f32, _| if ftz { x.flush() >= 0.0 } else { x >= 0.0 });
                (found, wide)
            }
            Kind::Slct { wide, .. } => (test2(f, i.c, i.c, |x: i32, _| x >= 0), wide),
            _ => return,
        };
        if wide {
            select::<u64>(f, i.d, i.a, i.b, chosen);
        } else {
            select::<u32>(f, i.d, i.a, i.b, chosen);
        }
    }
}
