//! What video instructions become.

use super::{Kind, Mod, Operand, instruction::Site};
use crate::{
    cpu::{
        code::Cmp,
        video::{Lanes, Part, Then, Video, VideoMad, VideoOp},
    },
    ptx::words::Op,
};

impl Site<'_, '_, '_> {
    pub(super) fn video(&mut self) {
        let op = self.video_op();
        let set = matches!(op, VideoOp::Set(_));
        let signed = |n: usize| self.ty(n).is_signed();
        // What a comparison gives is unsigned, and it names no type for it.
        let signed = if set { [false, signed(0), signed(1)] } else { [signed(0), signed(1), signed(2)] };
        let then = match self.instruction.mods.one_of(&[Mod::AddOp, Mod::Min, Mod::Max]) {
            Some(Mod::AddOp) => Some(Then::Add),
            Some(Mod::Min) => Some(Then::Min),
            Some(_) => Some(Then::Max),
            None => None,
        };
        let lanes = match self.instruction.op.video_lanes() {
            Some(lanes @ 2..) => self.many(lanes),
            _ => Lanes::One { d: self.part(0), a: self.part(1), b: self.part(2) },
        };
        let how = Video { op, signed, saturate: self.has(Mod::Sat), then, lanes };
        self.plain(Kind::Video(how), Mod::U32);
    }

    pub(super) fn video_mad(&mut self) {
        let minus = |n: usize| matches!(self.operand(n), Operand::Minus(..));
        let how = VideoMad {
            a: self.part(1),
            b: self.part(2),
            signed: [self.ty(1).is_signed(), self.ty(2).is_signed()],
            minus_product: minus(1) != minus(2),
            minus_term: minus(3),
            plus_one: self.has(Mod::Po),
            saturate: self.has(Mod::Sat),
            shift: match self.instruction.mods.one_of(&[Mod::Shr7, Mod::Shr15]) {
                Some(Mod::Shr7) => 7,
                Some(_) => 15,
                None => 0,
            },
        };
        self.plain(Kind::VideoMad(how), Mod::U32);
    }

    fn video_op(&self) -> VideoOp {
        let wrap = self.has(Mod::Wrap);
        match self.instruction.op {
            Op::Vsub | Op::Vsub2 | Op::Vsub4 => VideoOp::Sub,
            Op::Vabsdiff | Op::Vabsdiff2 | Op::Vabsdiff4 => VideoOp::Difference,
            Op::Vavrg2 | Op::Vavrg4 => VideoOp::Average,
            Op::Vmin | Op::Vmin2 | Op::Vmin4 => VideoOp::Min,
            Op::Vmax | Op::Vmax2 | Op::Vmax4 => VideoOp::Max,
            Op::Vshl => VideoOp::Shl { wrap },
            Op::Vshr => VideoOp::Shr { wrap },
            Op::Vset | Op::Vset2 | Op::Vset4 => VideoOp::Set(self.comparison()),
            _ => VideoOp::Add,
        }
    }

    fn comparison(&self) -> Cmp {
        match self.instruction.mods.one_of(&[Mod::Ne, Mod::Lt, Mod::Le, Mod::Gt, Mod::Ge]) {
            Some(Mod::Ne) => Cmp::Ne,
            Some(Mod::Lt) => Cmp::Lt,
            Some(Mod::Le) => Cmp::Le,
            Some(Mod::Gt) => Cmp::Gt,
            Some(_) => Cmp::Ge,
            None => Cmp::Eq,
        }
    }

    /// The part of an operand of one lane: all of it where none is named.
    fn part(&self, n: usize) -> Part {
        match self.operand(n) {
            Operand::Part(_, select) | Operand::Minus(_, Some(select)) => {
                let bits = if select.halves { 16 } else { 8 };
                Part { shift: select.digits().first().map_or(0, |digit| digit * bits), bits }
            }
            _ => Part::WORD,
        }
    }

    /// Which parts of `a` and `b` go to each lane, and which lanes are set.
    fn many(&self, lanes: u8) -> Lanes {
        let picks = |n: usize, first: u8| {
            let mut picks = [0; 4];
            for (lane, pick) in picks.iter_mut().enumerate().take(lanes.into()) {
                *pick = match self.operand(n) {
                    // The highest lane is named first.
                    Operand::Part(_, select) => {
                        select.digits().iter().rev().nth(lane).copied().unwrap_or_default()
                    }
                    _ => first + lane as u8,
                };
            }
            picks
        };
        let mask = match self.operand(0) {
            Operand::Part(_, select) => select.digits().iter().fold(0, |mask, lane| mask | 1 << lane),
            _ => (1 << lanes) - 1,
        };
        Lanes::Many { bits: 32 / lanes, a: picks(1, 0), b: picks(2, lanes), mask }
    }
}
