//! Instructions that become several codes, or one of the kinds beyond plain arithmetic.

use super::{Kind, Mod, NONE, Operand, instruction::Site};
use crate::{
    cpu::{
        code::{
            BoolOp, Cmp, CmpTy, Convert, FloatOp, FloatTy, IntOp, IntTy, Narrow, NarrowTo, Number, PairOp,
            WordOp,
        },
        soft::Mode,
        tiny::{self, Tiny, Way},
    },
    ptx::words::Op,
};

impl Site<'_, '_, '_> {
    pub(super) fn word(&mut self, op: WordOp) {
        self.plain(Kind::Word(op), Mod::U32);
    }

    /// Whether `min` or `max` is one of those that are not plain.
    pub(super) fn is_special_extreme(&self) -> bool {
        let float = self.ty(0).is_float();
        matches!(self.ty(0), Mod::U16x2 | Mod::S16x2)
            || self.has(Mod::XorSign)
            || (self.has(Mod::Relu) && !float)
    }

    pub(super) fn extreme(&mut self, max: bool) {
        let ty = self.ty(0);
        let relu = self.has(Mod::Relu);
        if matches!(ty, Mod::U16x2 | Mod::S16x2) {
            let op = if max { PairOp::Max } else { PairOp::Min };
            self.word(WordOp::Pair { op, signed: ty == Mod::S16x2, relu });
        } else if self.has(Mod::XorSign) {
            let float = super::instruction::float_ty(ty).unwrap_or(FloatTy::F32);
            let how = self.finish();
            self.plain(Kind::XorSign { max, ty: float, how }, ty);
        } else {
            self.plain(Kind::Int(if max { IntOp::Max } else { IntOp::Min }, IntTy::S32), Mod::S32);
            let (d, zero) = (self.dst(0), self.decoder.constant(0, false));
            let code = self.push(Kind::Int(IntOp::Max, IntTy::S32));
            (code.d, code.a, code.b) = (d, d, zero);
        }
    }

    /// The table's result; with a boolean operation, also whether it is not zero, joined with a predicate.
    pub(super) fn lop3(&mut self, table: u8) {
        let d = match self.dst(0) {
            NONE => self.decoder.fresh(1),
            d => d,
        };
        let [a, b, c] = [1, 2, 3].map(|n| self.src(n, Mod::U32));
        let code = self.push(Kind::Bits(crate::cpu::code::BitOp::Lop3(table)));
        (code.d, code.a, code.b, code.c) = (d, a, b, c);
        if self.count() < 6 {
            return;
        }
        let join = Some(if self.has(Mod::Or) { BoolOp::Or } else { BoolOp::And });
        let zero = self.decoder.constant(0, false);
        let (p, (c, negate)) = (self.second_dst(0), self.predicate(5));
        let ty = CmpTy::Int(IntTy::U32);
        let code = self.push(Kind::Setp { cmp: Cmp::Ne, ty, join, negate, ftz: false });
        (code.d, code.a, code.b, code.c) = (p, d, zero, c);
    }

    /// `cvt` to f16, bf16 or tf32 in the ways that only these have.
    pub(super) fn narrow(&mut self) {
        let to = match self.ty(0) {
            Mod::Tf32 => NarrowTo::Tf32,
            Mod::F16 | Mod::F16x2 => NarrowTo::F16,
            _ => NarrowTo::Bf16,
        };
        let how = Narrow {
            to,
            mode: self.mode(),
            away: self.has(Mod::Rna),
            relu: self.has(Mod::Relu),
            finite: self.has(Mod::Satfinite),
            pair: self.count() > 2,
        };
        self.plain(Kind::Narrow(how), Mod::F32);
    }

    /// `cvt` to and from two floats of eight bits.
    pub(super) fn tiny(&mut self) {
        let (to, from) = (self.ty(0), self.ty(1));
        let way = match (to, self.count()) {
            (Mod::F16x2, _) => Way::ToHalves,
            (_, 2) => Way::FromHalves,
            _ => Way::FromSingles,
        };
        let format = if to == Mod::E4m3x2 || from == Mod::E4m3x2 { tiny::E4M3 } else { tiny::E5M2 };
        self.plain(Kind::Tiny(Tiny { format, way, relu: self.has(Mod::Relu) }), from);
    }

    /// A vector of atomics is one for each element, as PTX has it.
    pub(super) fn atomics(&mut self) {
        if self.instruction.mods.one_of(&[Mod::V2, Mod::V4, Mod::V8]).is_none() {
            return self.atomic();
        }
        let ty = self.ty(0);
        let first = usize::from(self.instruction.op == Op::Atom);
        let parts = self.function.parts(self.operand(first + 1));
        // What is joined in is read before any old value is written: they may be the same registers.
        let given: Vec<u32> = parts.iter().map(|part| self.value(part, ty)).collect();
        let given: Vec<u32> = given
            .into_iter()
            .map(|from| {
                let slot = self.decoder.fresh(1);
                let code = self.push(Kind::Move { wide: false });
                (code.d, code.a) = (slot, from);
                slot
            })
            .collect();
        let results = if first == 1 { self.function.parts(self.operand(0)) } else { &[] };
        let step = i64::from(ty.bits() / 8);
        for (n, b) in given.into_iter().enumerate() {
            let d = match results.get(n) {
                Some(Operand::Register(r)) => self.register(*r),
                _ => NONE,
            };
            self.atomic_part(first, d, b, n as i64 * step);
        }
    }

    /// `add`, `sub`, `mul` and `fma` on two f32 in 64 bits: each on its own.
    pub(super) fn two_singles(&mut self) {
        let op = match self.instruction.op {
            Op::Add => FloatOp::Add,
            Op::Sub => FloatOp::Sub,
            Op::Mul => FloatOp::Mul,
            _ => FloatOp::Fma,
        };
        let (d, how) = (self.dst(0), self.finish());
        let sources: Vec<u32> = (1..self.count()).map(|n| self.src(n, Mod::B64)).collect();
        let results = [0, 2].map(|place| {
            let taken: Vec<u32> = sources.iter().map(|a| self.half_of(Kind::TakeWord, *a, place)).collect();
            let result = self.decoder.fresh(1);
            let code = self.push(Kind::Float(op, FloatTy::F32, how));
            (code.d, code.a, code.b) = (result, taken[0], taken[1]);
            code.c = taken.get(2).copied().unwrap_or(NONE);
            result
        });
        for (result, place) in results.into_iter().zip([0, 2]) {
            let code = self.push(Kind::PutWord);
            (code.d, code.a, code.e, code.imm) = (d, result, place, u32::MAX.into());
        }
    }

    /// A part of 32 bits of a wide register, `place` times 16 bits from its lower end, in a slot of its own.
    fn half_of(&mut self, kind: Kind, a: u32, place: u32) -> u32 {
        let slot = self.decoder.fresh(1);
        let code = self.push(kind);
        (code.d, code.a, code.e, code.imm) = (slot, a, place, u32::MAX.into());
        slot
    }

    /// `add`, `sub` and `fma` of f32 whose factors, or first term, are halves: exact as f32.
    pub(super) fn mixed(&mut self) {
        let op = match self.instruction.op {
            Op::Add => FloatOp::Add,
            Op::Sub => FloatOp::Sub,
            _ => FloatOp::Fma,
        };
        let (d, how) = (self.dst(0), self.finish());
        let halves = if op == FloatOp::Fma { 2 } else { 1 };
        let mut slots = [NONE; 3];
        for (n, slot) in slots.iter_mut().enumerate().take(self.count() - 1) {
            *slot = if n < halves { self.as_single(n + 1) } else { self.src(n + 1, Mod::F32) };
        }
        let code = self.push(Kind::Float(op, FloatTy::F32, how));
        code.d = d;
        [code.a, code.b, code.c] = slots;
    }

    /// The half in operand `n` as f32, in a slot of its own.
    fn as_single(&mut self, n: usize) -> u32 {
        let from = if self.ty(1) == Mod::Bf16 { Number::Bf16 } else { Number::F16 };
        let (a, slot) = (self.src(n, self.ty(1)), self.decoder.fresh(1));
        let plain = Convert {
            from,
            to: Number::F32,
            mode: Mode::Rn,
            whole: false,
            ftz: false,
            sat: false,
            relu: false,
            register: 32,
        };
        let code = self.push(Kind::Convert(plain));
        (code.d, code.a, code.e) = (slot, a, 0);
        slot
    }

    /// The least or greatest of three f32, by magnitude if so asked.
    pub(super) fn extreme_of_three(&mut self) {
        let op = if self.instruction.op == Op::Max { FloatOp::Max } else { FloatOp::Min };
        let (d, how) = (self.dst(0), self.finish());
        let taken = [1, 2, 3].map(|n| {
            let from = self.src(n, Mod::F32);
            let slot = self.decoder.fresh(1);
            let abs = self.has(Mod::AbsMod);
            let code = self.push(if abs {
                Kind::Float(FloatOp::Abs, FloatTy::F32, how)
            } else {
                Kind::Move { wide: false }
            });
            (code.d, code.a) = (slot, from);
            slot
        });
        let so_far = self.decoder.fresh(1);
        for (to, a, b) in [(so_far, taken[0], taken[1]), (d, so_far, taken[2])] {
            let code = self.push(Kind::Float(op, FloatTy::F32, how));
            (code.d, code.a, code.b) = (to, a, b);
        }
    }
}
