//! What each instruction becomes.

use super::{Class, Code, Decoder, Function, Kind, Mod, NONE, Operand, Refused, Unit, held_bits, immediate};
use crate::{
    cpu::{
        code::{
            BitOp, BoolOp, CarryOp, Cmp, CmpTy, Convert, Finish, FloatOp, FloatTy, IntOp, IntTy, Number,
            PairOp, ShuffleOp, VoteOp, WordOp,
        },
        memory::Area,
        soft::Mode,
    },
    ptx::{
        ir::{Instruction, SINK},
        words::Op,
    },
};

/// One instruction at its place.
pub(super) struct Site<'d, 'a, 'u> {
    pub decoder: &'d mut Decoder<'a>,
    /// Of the module's functions, this one.
    pub index: usize,
    pub function: &'a Function,
    pub unit: &'u Unit,
    pub instruction: &'a Instruction,
}

fn int_ty(ty: Mod) -> IntTy {
    match (ty.bits(), ty.is_signed()) {
        (64, true) => IntTy::S64,
        (64, false) => IntTy::U64,
        (32, true) => IntTy::S32,
        (32, false) => IntTy::U32,
        (_, true) => IntTy::S16,
        (_, false) => IntTy::U16,
    }
}

pub(super) fn float_ty(ty: Mod) -> Option<FloatTy> {
    Some(match ty {
        Mod::F32 => FloatTy::F32,
        Mod::F64 => FloatTy::F64,
        Mod::F16 => FloatTy::Half { pair: false, brain: false },
        Mod::F16x2 => FloatTy::Half { pair: true, brain: false },
        Mod::Bf16 => FloatTy::Half { pair: false, brain: true },
        Mod::Bf16x2 => FloatTy::Half { pair: true, brain: true },
        _ => return None,
    })
}

fn number(ty: Mod) -> Number {
    match ty {
        Mod::F16 => Number::F16,
        Mod::Bf16 => Number::Bf16,
        Mod::F32 => Number::F32,
        Mod::F64 => Number::F64,
        other => Number::Int { bits: other.bits() as u8, signed: other.is_signed() },
    }
}

impl<'a> Site<'_, 'a, '_> {
    pub(super) fn has(&self, m: Mod) -> bool {
        self.instruction.mods.has(m)
    }

    pub(super) fn mods(&self) -> &'a [Mod] {
        self.instruction.mods.as_slice()
    }

    pub(super) fn ty(&self, n: usize) -> Mod {
        self.instruction.mods.ty(n).unwrap_or(Mod::B32)
    }

    pub(super) fn operand(&self, n: usize) -> &'a Operand {
        self.function.operands_of(self.instruction).get(n).unwrap_or(&Operand::Sink)
    }

    pub(super) fn count(&self) -> usize {
        self.instruction.count.into()
    }

    pub(super) fn push(&mut self, kind: Kind) -> &mut Code {
        self.decoder.push(kind)
    }

    pub(super) fn class(&self, operand: &Operand) -> Option<Class> {
        match operand {
            Operand::Register(r) => self.function.registers.get(*r as usize).copied(),
            _ => None,
        }
    }

    /// The slot of a register; [`NONE`] for the sink.
    pub(super) fn register(&self, r: u32) -> u32 {
        if r == SINK { NONE } else { self.unit.registers[r as usize] }
    }

    pub(super) fn dst(&self, n: usize) -> u32 {
        match self.operand(n) {
            Operand::Register(r) | Operand::Part(r, _) | Operand::Pair(r, _) => self.register(*r),
            _ => NONE,
        }
    }

    pub(super) fn second_dst(&self, n: usize) -> u32 {
        match self.operand(n) {
            Operand::Pair(_, p) => self.register(*p),
            _ => NONE,
        }
    }

    pub(super) fn value(&mut self, operand: &Operand, ty: Mod) -> u32 {
        match operand {
            Operand::Register(r) | Operand::Part(r, _) | Operand::Minus(r, _) => self.register(*r),
            Operand::Special(s, part) => self.decoder.special(*s, *part),
            Operand::Symbol(s, offset) => {
                let address = self.decoder.symbol(self.function, self.unit, *s).wrapping_add(*offset as u64);
                self.decoder.constant(address, ty.bits() == 64)
            }
            Operand::Function(n) => self.decoder.constant(super::function_address(*n), true),
            other => self.decoder.constant(immediate(other, ty), ty.bits() == 64),
        }
    }

    pub(super) fn src(&mut self, n: usize, ty: Mod) -> u32 {
        self.value(self.operand(n), ty)
    }

    /// A predicate to read, and whether it is negated. One that is not there is [`NONE`].
    pub(super) fn predicate(&mut self, n: usize) -> (u32, bool) {
        let value = match self.operand(n) {
            Operand::Register(r) => return (self.register(*r), false),
            Operand::Not(r) => return (self.register(*r), true),
            Operand::Int(v) => *v != 0,
            Operand::Special(..) => false,
            _ => return (NONE, false),
        };
        let d = self.decoder.fresh_predicate();
        self.push(Kind::PredConst(value)).d = d;
        (d, false)
    }

    /// A predicate to read, as it is used.
    pub(super) fn plain_predicate(&mut self, n: usize) -> u32 {
        let (a, negated) = self.predicate(n);
        if !negated {
            return a;
        }
        let d = self.decoder.fresh_predicate();
        let code = self.push(Kind::PredNot);
        (code.d, code.a) = (d, a);
        d
    }

    /// `d, a, b, c` with sources of one type, as many as there are operands.
    pub(super) fn plain(&mut self, kind: Kind, ty: Mod) {
        let types = [ty; 3];
        self.typed(kind, types);
    }

    fn typed(&mut self, kind: Kind, types: [Mod; 3]) {
        let mut slots = [NONE; 3];
        for (n, ty) in types.into_iter().enumerate().take(self.count().saturating_sub(1)) {
            slots[n] = self.src(n + 1, ty);
        }
        let d = self.dst(0);
        let code = self.push(kind);
        code.d = d;
        [code.a, code.b, code.c] = slots;
    }

    pub(super) fn mode(&self) -> Mode {
        let pick = |m: &Mod| match m {
            Mod::Rn | Mod::Rni => Some(Mode::Rn),
            Mod::Rz | Mod::Rzi => Some(Mode::Rz),
            Mod::Rm | Mod::Rmi => Some(Mode::Rm),
            Mod::Rp | Mod::Rpi => Some(Mode::Rp),
            _ => None,
        };
        self.mods().iter().find_map(pick).unwrap_or(Mode::Rn)
    }

    pub(super) fn finish(&self) -> Finish {
        Finish {
            mode: self.mode(),
            ftz: self.has(Mod::Ftz),
            sat: self.has(Mod::Sat),
            nan: self.has(Mod::Nan),
            relu: self.has(Mod::Relu),
        }
    }

    /// An operation on numbers: the integer one or the floating-point one, as the type says.
    fn arithmetic(&mut self, int: IntOp, float: FloatOp) {
        let ty = self.ty(0);
        let kind = match float_ty(ty) {
            Some(float_ty) => Kind::Float(float, float_ty, self.finish()),
            None => Kind::Int(int, int_ty(ty)),
        };
        self.plain(kind, ty);
    }

    fn float(&mut self, op: FloatOp) {
        let ty = self.ty(0);
        let how = self.finish();
        self.plain(Kind::Float(op, float_ty(ty).unwrap_or(FloatTy::F32), how), ty);
    }

    fn carry(&mut self, op: CarryOp) {
        let ty = self.ty(0);
        let (set, flag) = (self.has(Mod::Cc), self.decoder.carry());
        self.plain(Kind::Carry(op, int_ty(ty)), ty);
        let last = self.decoder.kernel.codes.len() - 1;
        let code = &mut self.decoder.kernel.codes[last];
        (code.e, code.imm) = (u32::from(set), flag.into());
    }

    /// Decodes the instruction.
    pub fn decode(&mut self) -> Result<(), Refused> {
        let ty = self.ty(0);
        let signed = ty.is_signed();
        let wide = ty.bits() == 64;
        match self.instruction.op {
            Op::Mov => self.mov(),
            Op::Add if self.has(Mod::Cc) => self.carry(CarryOp::Add { with: false }),
            Op::Addc => self.carry(CarryOp::Add { with: true }),
            Op::Sub if self.has(Mod::Cc) => self.carry(CarryOp::Sub { with: false }),
            Op::Subc => self.carry(CarryOp::Sub { with: true }),
            Op::Mad if self.has(Mod::Cc) => self.carry(CarryOp::Mad { with: false, high: self.has(Mod::Hi) }),
            Op::Madc => self.carry(CarryOp::Mad { with: true, high: self.has(Mod::Hi) }),
            Op::Add | Op::Sub | Op::Mul | Op::Fma if ty == Mod::F32x2 => self.two_singles(),
            Op::Add | Op::Sub | Op::Fma if ty == Mod::F32 && self.ty(1).bits() == 16 => self.mixed(),
            Op::Min | Op::Max if ty == Mod::F32 && self.count() > 3 => self.extreme_of_three(),
            Op::Add if ty == Mod::U16x2 || ty == Mod::S16x2 => {
                self.word(WordOp::Pair { op: PairOp::Add, signed, relu: false });
            }
            Op::Add => {
                self.arithmetic(if self.has(Mod::Sat) { IntOp::AddSat } else { IntOp::Add }, FloatOp::Add)
            }
            Op::Sub => {
                self.arithmetic(if self.has(Mod::Sat) { IntOp::SubSat } else { IntOp::Sub }, FloatOp::Sub)
            }
            Op::Mul if self.has(Mod::Wide) => {
                self.plain(Kind::Bits(BitOp::MulWide { signed, from: ty.bits() as u8 }), ty);
            }
            Op::Mul => {
                self.arithmetic(if self.has(Mod::Hi) { IntOp::MulHi } else { IntOp::MulLo }, FloatOp::Mul)
            }
            Op::Mad if self.has(Mod::Wide) => {
                let sum = if ty.bits() == 32 { Mod::U64 } else { Mod::U32 };
                self.typed(Kind::Bits(BitOp::MadWide { signed, from: ty.bits() as u8 }), [ty, ty, sum]);
            }
            Op::Mad => {
                let int = match (self.has(Mod::Hi), self.has(Mod::Sat)) {
                    (true, true) => IntOp::MadHiSat,
                    (true, false) => IntOp::MadHi,
                    (false, _) => IntOp::MadLo,
                };
                self.arithmetic(int, FloatOp::Fma);
            }
            Op::Fma => self.float(FloatOp::Fma),
            Op::Mul24 => self.plain(Kind::Bits(BitOp::Mul24 { signed, high: self.has(Mod::Hi) }), ty),
            Op::Mad24 if self.has(Mod::Sat) => self.word(WordOp::Mad24HiSat),
            Op::Mad24 => self.plain(Kind::Bits(BitOp::Mad24 { signed, high: self.has(Mod::Hi) }), ty),
            Op::Sad => self.plain(Kind::Int(IntOp::Sad, int_ty(ty)), ty),
            Op::Div => self.arithmetic(IntOp::Div, FloatOp::Div),
            Op::Rem => self.plain(Kind::Int(IntOp::Rem, int_ty(ty)), ty),
            Op::Abs => self.arithmetic(IntOp::Abs, FloatOp::Abs),
            Op::Neg => self.arithmetic(IntOp::Neg, FloatOp::Neg),
            Op::Min | Op::Max if self.is_special_extreme() => self.extreme(self.instruction.op == Op::Max),
            Op::Min => self.arithmetic(IntOp::Min, FloatOp::Min),
            Op::Max => self.arithmetic(IntOp::Max, FloatOp::Max),
            Op::Rcp => self.float(FloatOp::Rcp),
            Op::Sqrt => self.float(FloatOp::Sqrt),
            Op::Rsqrt => self.float(FloatOp::Rsqrt),
            Op::Sin => self.float(FloatOp::Sin),
            Op::Cos => self.float(FloatOp::Cos),
            Op::Lg2 => self.float(FloatOp::Lg2),
            Op::Ex2 => self.float(FloatOp::Ex2),
            Op::Tanh => self.float(FloatOp::Tanh),
            Op::Copysign => self.float(FloatOp::Copysign),
            Op::Testp => {
                let what = self.mods().first().copied().unwrap_or(Mod::Finite);
                self.plain(Kind::Testp { what, wide }, ty);
            }
            Op::And => self.logic(IntOp::And, BoolOp::And),
            Op::Or => self.logic(IntOp::Or, BoolOp::Or),
            Op::Xor => self.logic(IntOp::Xor, BoolOp::Xor),
            Op::Not if ty == Mod::Pred => {
                let (d, a) = (self.dst(0), self.plain_predicate(1));
                let code = self.push(Kind::PredNot);
                (code.d, code.a) = (d, a);
            }
            Op::Not => self.plain(Kind::Int(IntOp::Not, int_ty(ty)), ty),
            Op::Cnot => self.plain(Kind::Int(IntOp::Cnot, int_ty(ty)), ty),
            Op::Shl => self.typed(Kind::Int(IntOp::Shl, int_ty(ty)), [ty, Mod::U32, Mod::U32]),
            Op::Shr => self.typed(Kind::Int(IntOp::Shr, int_ty(ty)), [ty, Mod::U32, Mod::U32]),
            Op::Shf => {
                let op = BitOp::Shf { left: self.has(Mod::L), wrap: self.has(Mod::Wrap) };
                self.plain(Kind::Bits(op), Mod::U32);
            }
            Op::Bfe => self.typed(Kind::Bits(BitOp::Bfe { signed, wide }), [ty, Mod::U32, Mod::U32]),
            Op::Bfi => {
                self.typed(Kind::Bits(BitOp::Bfi { wide }), [ty, ty, Mod::U32]);
                let length = self.src(4, Mod::U32);
                let last = self.decoder.kernel.codes.len() - 1;
                self.decoder.kernel.codes[last].e = length;
            }
            Op::Bfind => {
                self.plain(Kind::Bits(BitOp::Bfind { signed, wide, amount: self.has(Mod::Shiftamt) }), ty)
            }
            Op::Brev => self.plain(Kind::Bits(BitOp::Brev { wide }), ty),
            Op::Popc => self.plain(Kind::Bits(BitOp::Popc { wide }), ty),
            Op::Clz => self.plain(Kind::Bits(BitOp::Clz { wide }), ty),
            Op::Prmt => {
                let mode = self.mods().iter().copied().find(|m| *m != Mod::B32);
                self.plain(Kind::Bits(BitOp::Prmt(mode)), Mod::U32);
            }
            Op::Lop3 => {
                let table = match self.operand(4) {
                    Operand::Int(v) => *v as u8,
                    _ => 0,
                };
                self.lop3(table);
            }
            Op::Bmsk => self.word(WordOp::Bmsk { wrap: self.has(Mod::Wrap) }),
            Op::Szext => self.word(WordOp::Szext { signed, wrap: self.has(Mod::Wrap) }),
            Op::Fns => self.word(WordOp::Fns),
            Op::Dp4a => {
                let (a_signed, b_signed) = (self.ty(0).is_signed(), self.ty(1).is_signed());
                self.plain(Kind::Bits(BitOp::Dp4a { a_signed, b_signed }), Mod::U32);
            }
            Op::Dp2a => {
                let (a_signed, b_signed) = (self.ty(0).is_signed(), self.ty(1).is_signed());
                let high = self.has(Mod::Hi);
                self.plain(Kind::Bits(BitOp::Dp2a { a_signed, b_signed, high }), Mod::U32);
            }
            Op::Setp | Op::Set => self.set(),
            Op::Selp => {
                let (a, b) = (self.src(1, ty), self.src(2, ty));
                let (c, negate) = self.predicate(3);
                let d = self.dst(0);
                let code = self.push(Kind::Selp { wide, negate });
                (code.d, code.a, code.b, code.c) = (d, a, b, c);
            }
            Op::Slct => {
                let by = self.ty(1);
                let kind = Kind::Slct { wide, float: by == Mod::F32, ftz: self.has(Mod::Ftz) };
                self.typed(kind, [ty, ty, by]);
            }
            Op::Cvt if self.has(Mod::Pack) => {
                let bits = ty.bits() as u8;
                self.word(WordOp::Pack { bits, signed, join: self.count() > 3 });
            }
            Op::Cvt if self.mods().iter().any(|m| matches!(m, Mod::E4m3x2 | Mod::E5m2x2)) => self.tiny(),
            Op::Cvt if ty == Mod::Tf32 || self.has(Mod::Satfinite) => self.narrow(),
            Op::Cvt => self.cvt(),
            Op::Cvta => {
                let area = self.named_area().unwrap_or(Area::Global);
                let kind = if self.has(Mod::To) { Kind::Untag(area) } else { Kind::Tag(area) };
                self.plain(kind, Mod::U64);
            }
            Op::Isspacep => {
                let area = self.named_area().unwrap_or(Area::Global);
                self.plain(Kind::InSpace(area), Mod::U64);
            }
            Op::Ld | Op::Ldu => self.load(),
            Op::St => self.store(),
            Op::Atom | Op::Red => self.atomics(),
            Op::Alloca | Op::Stacksave | Op::Stackrestore => self.stack(),
            // A launch begins when the one before it has ended, so there is nothing to wait for.
            Op::Prefetch
            | Op::Prefetchu
            | Op::Applypriority
            | Op::Discard
            | Op::Nanosleep
            | Op::Griddepcontrol => {
                self.push(Kind::Nothing);
            }
            // There is one cache policy, and it has no effect.
            Op::Createpolicy => {
                let (d, a) = (self.dst(0), self.decoder.constant(0, true));
                let code = self.push(Kind::Move { wide: true });
                (code.d, code.a) = (d, a);
            }
            Op::Membar | Op::Fence => {
                self.push(Kind::Fence);
            }
            Op::Bra => {
                if let Operand::Label(label) = self.operand(0) {
                    self.branch(Some(*label));
                }
            }
            Op::Brx => self.branch_of_many(),
            Op::Ret if !self.function.kernel => self.branch(None),
            Op::Ret | Op::Exit => {
                self.push(Kind::Exit);
            }
            Op::Trap => {
                self.push(Kind::Trap);
            }
            Op::Bar if self.has(Mod::Warp) => {
                let b = self.src(0, Mod::U32);
                self.push(Kind::WarpSync).b = b;
            }
            Op::Bar | Op::Barrier => self.barrier(),
            Op::Mbarrier => self.object(),
            Op::Cp if self.has(Mod::MbarrierMod) => self.object(),
            Op::Cp => self.copy_async(),
            Op::Ldmatrix | Op::Stmatrix => self.tiles(),
            Op::Movmatrix => self.plain(Kind::TileTranspose, Mod::U32),
            Op::Wmma if !self.has(Mod::MmaOp) => self.matrix(),
            Op::Mma | Op::Wmma => self.mma(),
            Op::Elect => {
                let (d, e, b) = (self.dst(0), self.second_dst(0), self.src(1, Mod::U32));
                let code = self.push(Kind::Elect);
                (code.d, code.e, code.b) = (d, e, b);
            }
            Op::Call => self.call()?,
            Op::Shfl => {
                let op = match self.instruction.mods.one_of(&[Mod::Up, Mod::Down, Mod::Bfly]) {
                    Some(Mod::Up) => ShuffleOp::Up,
                    Some(Mod::Down) => ShuffleOp::Down,
                    Some(_) => ShuffleOp::Bfly,
                    None => ShuffleOp::Idx,
                };
                self.plain(Kind::Shuffle(op), Mod::U32);
                let p = self.second_dst(0);
                let last = self.decoder.kernel.codes.len() - 1;
                self.decoder.kernel.codes[last].e = p;
            }
            Op::Vadd
            | Op::Vadd2
            | Op::Vadd4
            | Op::Vsub
            | Op::Vsub2
            | Op::Vsub4
            | Op::Vabsdiff
            | Op::Vabsdiff2
            | Op::Vabsdiff4
            | Op::Vavrg2
            | Op::Vavrg4
            | Op::Vmin
            | Op::Vmin2
            | Op::Vmin4
            | Op::Vmax
            | Op::Vmax2
            | Op::Vmax4
            | Op::Vset
            | Op::Vset2
            | Op::Vset4
            | Op::Vshl
            | Op::Vshr => self.video(),
            Op::Vmad => self.video_mad(),
            Op::Vote => {
                let op = match self.instruction.mods.one_of(&[Mod::All, Mod::Any, Mod::Uni]) {
                    Some(Mod::All) => VoteOp::All,
                    Some(Mod::Any) => VoteOp::Any,
                    Some(_) => VoteOp::Uni,
                    None => VoteOp::Ballot,
                };
                let (a, negate) = self.predicate(1);
                // Without `.sync` all lanes that are there are members.
                let all = self.decoder.constant(u32::MAX.into(), false);
                let b = if self.count() > 2 { self.src(2, Mod::U32) } else { all };
                let d = self.dst(0);
                let code = self.push(Kind::Vote { op, negate });
                (code.d, code.a, code.b) = (d, a, b);
            }
            Op::Match => {
                let (d, e) = (self.dst(0), self.second_dst(0));
                let (a, b) = (self.src(1, ty), self.src(2, Mod::U32));
                let code = self.push(Kind::Match { wide, all: self.instruction.mods.has(Mod::All) });
                (code.d, code.e, code.a, code.b) = (d, e, a, b);
            }
            Op::Redux => {
                let op = self.atom_op();
                self.plain(Kind::Redux { op, signed }, Mod::U32);
            }
            Op::Activemask => {
                let d = self.dst(0);
                self.push(Kind::Activemask).d = d;
            }
        }
        Ok(())
    }

    fn logic(&mut self, int: IntOp, bool_op: BoolOp) {
        let ty = self.ty(0);
        if ty != Mod::Pred {
            return self.plain(Kind::Int(int, int_ty(ty)), ty);
        }
        let (d, a, b) = (self.dst(0), self.plain_predicate(1), self.plain_predicate(2));
        let code = self.push(Kind::PredLogic(bool_op));
        (code.d, code.a, code.b) = (d, a, b);
    }

    fn set(&mut self) {
        let is_set = self.instruction.op == Op::Set;
        let ty = self.ty(usize::from(is_set));
        let pick = |m: &Mod| {
            Some(match m {
                Mod::Eq => Cmp::Eq,
                Mod::Ne => Cmp::Ne,
                Mod::Lt | Mod::Lo => Cmp::Lt,
                Mod::Le | Mod::Ls => Cmp::Le,
                Mod::Gt | Mod::Hi => Cmp::Gt,
                Mod::Ge | Mod::Hs => Cmp::Ge,
                Mod::Equ => Cmp::Equ,
                Mod::Neu => Cmp::Neu,
                Mod::Ltu => Cmp::Ltu,
                Mod::Leu => Cmp::Leu,
                Mod::Gtu => Cmp::Gtu,
                Mod::Geu => Cmp::Geu,
                Mod::Num => Cmp::Num,
                Mod::NanCmp => Cmp::Nan,
                _ => return None,
            })
        };
        let cmp = self.mods().iter().find_map(pick).unwrap_or(Cmp::Eq);
        let join = match self.instruction.mods.one_of(&[Mod::And, Mod::Or, Mod::Xor]) {
            Some(Mod::And) => Some(BoolOp::And),
            Some(Mod::Or) => Some(BoolOp::Or),
            Some(_) => Some(BoolOp::Xor),
            None => None,
        };
        let cmp_ty = float_ty(ty).map_or(CmpTy::Int(int_ty(ty)), CmpTy::Float);
        let (a, b) = (self.src(1, ty), self.src(2, ty));
        let (c, negate) = self.predicate(3);
        let ftz = self.has(Mod::Ftz);
        let (d, e) = (self.dst(0), self.second_dst(0));
        let out = self.ty(0);
        let pair = matches!(cmp_ty, CmpTy::Float(FloatTy::Half { pair: true, .. }));
        let kind = if is_set && (pair || out.bits() == 16) {
            let yes = match out {
                Mod::F16 | Mod::F16x2 => 0x3c00,
                Mod::Bf16 | Mod::Bf16x2 => 0x3f80,
                _ => 0xffff,
            };
            Kind::SetHalf { cmp, ty: cmp_ty, join, negate, ftz, yes, pair }
        } else if is_set {
            Kind::Set { cmp, ty: cmp_ty, join, negate, ftz, float: self.ty(0) == Mod::F32 }
        } else {
            Kind::Setp { cmp, ty: cmp_ty, join, negate, ftz }
        };
        let code = self.push(kind);
        (code.d, code.e, code.a, code.b, code.c) = (d, e, a, b, c);
    }

    fn cvt(&mut self) {
        let (to, from) = (self.ty(0), self.ty(1));
        let mode = self.mode();
        let relu = self.has(Mod::Relu);
        if matches!(to, Mod::F16x2 | Mod::Bf16x2) {
            return self.plain(Kind::ConvertPair { mode, brain: to == Mod::Bf16x2, relu }, Mod::F32);
        }
        let to_whole = self.instruction.mods.one_of(&[Mod::Rni, Mod::Rzi, Mod::Rmi, Mod::Rpi]).is_some();
        let how = Convert {
            from: number(from),
            to: number(to),
            mode,
            whole: to_whole && to.is_float(),
            ftz: self.has(Mod::Ftz),
            sat: self.has(Mod::Sat),
            relu,
            register: self.class(self.operand(0)).map_or(32, held_bits),
        };
        let wide = match self.class(self.operand(1)) {
            Some(class) => class.bits() == 64,
            None => from.bits() == 64,
        };
        let (d, a) = (self.dst(0), self.src(1, from));
        let code = self.push(Kind::Convert(how));
        (code.d, code.a, code.e) = (d, a, u32::from(wide));
    }
}
