//! What `mov` becomes: between registers, from constants, and between vectors and what they are packed into.

use super::{Kind, Mod, Operand, instruction::Site};

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
            let parts = self.function.parts(from);
            let bits = ty.bits() / parts.len() as u32;
            let part_ty = if bits == 16 { Mod::B16 } else { Mod::B32 };
            for (n, part) in parts.iter().enumerate() {
                let a = self.value(part, part_ty);
                let code = self.push(if wide { Kind::PutWord } else { Kind::PutHalf });
                (code.d, code.a) = (d, a);
                // The place in units of 16 bits, and the part's mask.
                code.e = n as u32 * bits / 16;
                code.imm = (1i64 << bits) - 1;
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

    fn unpack(&mut self, to: &'a Operand, from: &Operand, ty: Mod) {
        let parts = self.function.parts(to);
        let bits = ty.bits() / parts.len() as u32;
        let a = self.value(from, ty);
        for (n, part) in parts.iter().enumerate() {
            let Operand::Register(r) = part else { continue };
            let d = self.register(*r);
            let code = self.push(if ty.bits() == 64 { Kind::TakeWord } else { Kind::TakeHalf });
            (code.d, code.a) = (d, a);
            code.e = n as u32 * bits / 16;
            code.imm = (1i64 << bits) - 1;
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
}
