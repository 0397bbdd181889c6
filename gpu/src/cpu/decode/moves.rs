//! What `mov` becomes: between registers, from constants, and between vectors and what they are packed into; and how an
//! address of 32 bits becomes one of 64.

use super::{Kind, Mod, Operand, instruction::Site};
use crate::cpu::{
    code::{BitOp, Convert, Number},
    soft::Mode,
};

impl<'a> Site<'_, 'a, '_> {
    pub(super) fn mov(&mut self) {
        let ty = self.ty(0);
        let (to, from) = (self.operand(0), self.operand(1));
        if ty == Mod::Pred {
            let (d, (a, negated)) = (self.dst(0), self.predicate(1));
            let code = self.push(if negated { Kind::PredNot } else { Kind::PredMove });
            (code.d, code.a) = (d, a);
            return;
        }
        if self.instruction.mods.one_of(&[Mod::V2, Mod::V4]).is_some() {
            return self.move_vector();
        }
        let wide = ty.bits() == 64;
        if matches!(to, Operand::Vector(..)) {
            return self.unpack(to, from, ty);
        }
        let d = self.dst(0);
        if matches!(from, Operand::Vector(..)) {
            return self.pack(d, from, ty);
        }
        if ty == Mod::B128 {
            let a = self.src(1, ty);
            for half in [0, 2] {
                let code = self.push(Kind::Move { wide: true });
                (code.d, code.a) = (d + half, a + half);
            }
            return;
        }
        let a = self.src(1, ty);
        if matches!(from, Operand::Special(..)) && ty.bits() == 16 {
            let code = self.push(Kind::TakeHalf);
            (code.d, code.a, code.e) = (d, a, 0);
            return;
        }
        let code = self.push(Kind::Move { wide });
        (code.d, code.a) = (d, a);
    }

    /// Parts into a register, each at its place: in units of 16 bits and with its mask, or bytes one by one.
    fn pack(&mut self, d: u32, from: &'a Operand, ty: Mod) {
        let parts = self.function.parts(from);
        let bits = ty.bits() / parts.len() as u32;
        let part_ty = match bits {
            8 | 16 => Mod::B16,
            32 => Mod::B32,
            _ => Mod::B64,
        };
        for (n, part) in parts.iter().enumerate() {
            let (a, first) = (self.value(part, part_ty), n as u32 * bits);
            if bits == 8 {
                let (place, len) = (self.bits_constant(first), self.bits_constant(bits));
                let code = self.push(Kind::Bits(BitOp::Bfi { wide: false }));
                (code.d, code.a, code.b, code.c, code.e) = (d, a, d, place, len);
                continue;
            }
            // One of 128 bits is two of 64.
            let code = self.push(match (bits, ty.bits()) {
                (64, _) => Kind::Move { wide: true },
                (_, 64 | 128) => Kind::PutWord,
                _ => Kind::PutHalf,
            });
            (code.d, code.a) = (d + first / 64 * 2, a);
            if bits < 64 {
                (code.e, code.imm) = (first % 64 / 16, (1i64 << bits) - 1);
            }
        }
    }

    fn bits_constant(&mut self, bits: u32) -> u32 {
        self.decoder.constant(bits.into(), false)
    }

    fn unpack(&mut self, to: &'a Operand, from: &Operand, ty: Mod) {
        let parts = self.function.parts(to);
        let bits = ty.bits() / parts.len() as u32;
        let a = self.value(from, ty);
        for (n, part) in parts.iter().enumerate() {
            let Operand::Register(r) = part else { continue };
            let (d, first) = (self.register(*r), n as u32 * bits);
            if bits == 8 {
                let (place, len) = (self.bits_constant(first), self.bits_constant(bits));
                let code = self.push(Kind::Bits(BitOp::Bfe { signed: false, wide: false }));
                (code.d, code.a, code.b, code.c) = (d, a, place, len);
                continue;
            }
            let code = self.push(match (bits, ty.bits()) {
                (64, _) => Kind::Move { wide: true },
                (_, 64 | 128) => Kind::TakeWord,
                _ => Kind::TakeHalf,
            });
            (code.d, code.a) = (d, a + first / 64 * 2);
            if bits < 64 {
                (code.e, code.imm) = (first % 64 / 16, (1i64 << bits) - 1);
            }
        }
    }

    /// A vector to a vector: all parts are read before one is written.
    fn move_vector(&mut self) {
        let ty = self.ty(0);
        let wide = ty.bits() == 64;
        let to = self.function.parts(self.operand(0));
        let from = self.function.parts(self.operand(1));
        let held: Vec<u32> = from
            .iter()
            .map(|part| {
                let (a, slot) = (self.value(part, ty), self.decoder.fresh(1 + u32::from(wide)));
                let code = self.push(Kind::Move { wide });
                (code.d, code.a) = (slot, a);
                slot
            })
            .collect();
        for (part, a) in to.iter().zip(held) {
            let Operand::Register(r) = part else { continue };
            let d = self.register(*r);
            let code = self.push(Kind::Move { wide });
            (code.d, code.a) = (d, a);
        }
    }

    /// The 32 bits in `a` as a number of 64.
    pub(super) fn widen(&mut self, d: u32, a: u32) {
        let number = |bits| Number::Int { bits, signed: false };
        let code = self.push(Kind::Convert(Convert {
            from: number(32),
            to: number(64),
            mode: Mode::Rn,
            whole: false,
            ftz: false,
            sat: false,
            relu: false,
            register: 64,
        }));
        (code.d, code.a, code.e) = (d, a, 0);
    }
}
