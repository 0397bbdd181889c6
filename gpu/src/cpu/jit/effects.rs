//! What each instruction reads and writes.
//!
//! Owns: [`effects`], the one place that says for every instruction, translated or not, which registers it touches and
//! how wide they are. One that may or may not write a register is said to read it as well.
//! Never: says what an instruction means.
//! Tests: `gpu/tests/cpu_engines.rs`.

use crate::cpu::{
    code::{
        AtomOp, AtomTy, Barrier, BitOp, CarryOp, CmpTy, Code, FloatTy, IntOp, IntTy, Kernel, Kind, NONE,
        ReduceOp, VoteOp,
    },
    object::ObjectOp,
};

/// Registers of a thread that hold one matrix, at most: `wmma` has eight of them, `mma` fewer.
const FRAGMENT_MAX: usize = 16;

/// A register: slots come first, predicates after them.
pub type Reg = u32;

/// Registers that an instruction reads or writes, with the slots that each takes (0 for predicates).
#[derive(Debug, Default)]
pub struct Effects {
    pub reads: Vec<(Reg, u8)>,
    pub writes: Vec<(Reg, u8)>,
}

impl Effects {
    fn read(&mut self, slot: u32, wide: bool) {
        if slot != NONE {
            self.reads.push((slot, 1 + u8::from(wide)));
        }
    }

    fn write(&mut self, slot: u32, wide: bool) {
        if slot != NONE {
            self.writes.push((slot, 1 + u8::from(wide)));
        }
    }

    /// Registers of a matrix, from this place in the parts table on: as many as the largest has.
    fn fragment(kernel: &Kernel, first: u32) -> impl Iterator<Item = (Reg, u8)> {
        let rest = kernel.parts.get(first as usize..).unwrap_or_default();
        let held = rest.iter().take(FRAGMENT_MAX).filter(|part| part.slot != NONE);
        held.map(|part| (part.slot, 1 + u8::from(part.bits == 64)))
    }

    fn read_fragment(&mut self, kernel: &Kernel, first: u32) {
        self.reads.extend(Self::fragment(kernel, first));
    }

    /// Some of these may not be written, so all are as good as read.
    fn write_fragment(&mut self, kernel: &Kernel, first: u32) {
        self.read_fragment(kernel, first);
        self.writes.extend(Self::fragment(kernel, first));
    }

    /// The usual: sources `a`, `b`, `c`, as many as there are, and the result `d`.
    fn typed(&mut self, i: &Code, wide: [bool; 3], result: bool) {
        for (slot, wide) in [i.a, i.b, i.c].into_iter().zip(wide) {
            self.read(slot, wide);
        }
        self.write(i.d, result);
    }
}

/// The register that a predicate is.
pub fn pred(kernel: &Kernel, p: u32) -> Reg {
    kernel.slots + p
}

pub fn wide_int(ty: IntTy) -> bool {
    matches!(ty, IntTy::U64 | IntTy::S64)
}

fn wide_cmp(ty: CmpTy) -> bool {
    match ty {
        CmpTy::Int(ty) => wide_int(ty),
        CmpTy::Float(ty) => ty == FloatTy::F64,
    }
}

/// Whether the sources and the result of a bit operation have 64 bits.
fn bit_widths(op: BitOp) -> ([bool; 3], bool) {
    match op {
        BitOp::MulWide { from, .. } => ([false; 3], from == 32),
        BitOp::MadWide { from, .. } => ([false, false, from == 32], from == 32),
        BitOp::Bfe { wide, .. } => ([wide, false, false], wide),
        BitOp::Bfi { wide } => ([wide, wide, false], wide),
        BitOp::Popc { wide } | BitOp::Clz { wide } | BitOp::Bfind { wide, .. } => ([wide; 3], false),
        BitOp::Brev { wide } => ([wide; 3], wide),
        BitOp::Mul24 { .. }
        | BitOp::Mad24 { .. }
        | BitOp::Prmt(_)
        | BitOp::Lop3(_)
        | BitOp::Shf { .. }
        | BitOp::Dp4a { .. }
        | BitOp::Dp2a { .. } => ([false; 3], false),
    }
}

/// The effects of one instruction, its guard among what it reads. What a guarded instruction writes it also reads,
/// for the lanes that keep the old value.
pub fn effects(kernel: &Kernel, i: &Code) -> Effects {
    let mut out = Effects::default();
    operands(kernel, i, &mut out);
    if i.guard != NONE {
        let kept = out.writes.clone();
        out.reads.extend(kept);
        out.reads.push((pred(kernel, i.guard), 0));
    }
    out
}

fn operands(kernel: &Kernel, i: &Code, out: &mut Effects) {
    let with_pred = |out: &mut Effects, p: u32| {
        if p != NONE {
            out.reads.push((pred(kernel, p), 0));
        }
    };
    let set_pred = |out: &mut Effects, p: u32| {
        if p != NONE {
            out.writes.push((pred(kernel, p), 0));
        }
    };
    match i.kind {
        Kind::Int(IntOp::Shl | IntOp::Shr, ty) => out.typed(i, [wide_int(ty), false, false], wide_int(ty)),
        Kind::Int(_, ty) => out.typed(i, [wide_int(ty); 3], wide_int(ty)),
        Kind::Carry(op, ty) => {
            let (CarryOp::Add { with } | CarryOp::Sub { with } | CarryOp::Mad { with, .. }) = op;
            out.typed(i, [wide_int(ty); 3], wide_int(ty));
            if with {
                with_pred(out, i.imm as u32);
            }
            if i.e == 1 {
                set_pred(out, i.imm as u32);
            }
        }
        Kind::Bits(op) => {
            let (sources, result) = bit_widths(op);
            out.typed(i, sources, result);
            if matches!(op, BitOp::Bfi { .. }) {
                out.read(i.e, false);
            }
        }
        Kind::Float(_, ty, _) => out.typed(i, [ty == FloatTy::F64; 3], ty == FloatTy::F64),
        Kind::Setp { ty, .. } => {
            out.read(i.a, wide_cmp(ty));
            out.read(i.b, wide_cmp(ty));
            with_pred(out, i.c);
            set_pred(out, i.d);
            set_pred(out, i.e);
        }
        Kind::Set { ty, .. } => {
            out.read(i.a, wide_cmp(ty));
            out.read(i.b, wide_cmp(ty));
            with_pred(out, i.c);
            out.write(i.d, false);
        }
        Kind::Testp { wide, .. } => {
            out.read(i.a, wide);
            set_pred(out, i.d);
        }
        Kind::Selp { wide, .. } => {
            out.read(i.a, wide);
            out.read(i.b, wide);
            with_pred(out, i.c);
            out.write(i.d, wide);
        }
        Kind::Slct { wide, .. } => out.typed(i, [wide, wide, false], wide),
        Kind::Move { wide } => out.typed(i, [wide; 3], wide),
        Kind::TakeHalf => out.typed(i, [false; 3], false),
        Kind::PutHalf => {
            out.read(i.d, false);
            out.typed(i, [false; 3], false);
        }
        Kind::TakeWord => out.typed(i, [true; 3], false),
        Kind::PutWord => {
            out.read(i.d, true);
            out.typed(i, [false; 3], true);
        }
        Kind::Convert(how) => out.typed(i, [i.e == 1, false, false], how.register == 64),
        Kind::ConvertPair { .. } => out.typed(i, [false; 3], false),
        Kind::PredMove | Kind::PredNot => {
            with_pred(out, i.a);
            set_pred(out, i.d);
        }
        Kind::PredConst(_) => set_pred(out, i.d),
        Kind::PredLogic(_) => {
            with_pred(out, i.a);
            with_pred(out, i.b);
            set_pred(out, i.d);
        }
        Kind::Clock { wide } => out.write(i.d, wide),
        Kind::Tag(_) | Kind::Untag(_) => out.typed(i, [true; 3], true),
        Kind::InSpace(_) => {
            out.read(i.a, true);
            set_pred(out, i.d);
        }
        Kind::Load { .. } => {
            out.read(i.a, i.c != 1);
            for part in &kernel.parts[i.d as usize..(i.d + i.e) as usize] {
                out.write(part.slot, part.bits == 64);
            }
        }
        Kind::Store { .. } => {
            out.read(i.a, i.c != 1);
            for part in &kernel.parts[i.d as usize..(i.d + i.e) as usize] {
                out.read(part.slot, part.bits == 64);
            }
        }
        Kind::Atomic { op, ty, .. } => {
            let wide = matches!(ty, AtomTy::U64 | AtomTy::S64 | AtomTy::F64 | AtomTy::B128);
            out.read(i.a, i.c != 1);
            let halves = if ty == AtomTy::B128 { &[0, 2][..] } else { &[0] };
            for half in halves {
                out.read(i.b.saturating_add(*half), wide);
                if op == AtomOp::Cas {
                    out.read(i.e.saturating_add(*half), wide);
                }
                out.write(i.d.saturating_add(*half), wide);
            }
        }
        Kind::Shuffle(_) => {
            out.typed(i, [false; 3], false);
            set_pred(out, i.e);
        }
        Kind::Vote { op, .. } => {
            with_pred(out, i.a);
            out.read(i.b, false);
            match op {
                VoteOp::Ballot => out.write(i.d, false),
                VoteOp::All | VoteOp::Any | VoteOp::Uni => set_pred(out, i.d),
            }
        }
        Kind::Match { wide, .. } => {
            out.typed(i, [wide, false, false], false);
            set_pred(out, i.e);
        }
        Kind::Redux { .. } => out.typed(i, [false; 3], false),
        Kind::Activemask => out.write(i.d, false),
        Kind::Barrier { what, .. } => {
            out.read(i.a, false);
            out.read(i.b, false);
            with_pred(out, i.c);
            match what {
                Barrier::Sync | Barrier::Arrive => {}
                Barrier::Reduce(ReduceOp::Popc) => out.write(i.d, false),
                Barrier::Reduce(ReduceOp::And | ReduceOp::Or) => set_pred(out, i.d),
            }
        }
        Kind::Word(_)
        | Kind::Narrow(_)
        | Kind::Tiny(_)
        | Kind::Video(_)
        | Kind::VideoMad(_)
        | Kind::TileTranspose => out.typed(i, [false; 3], false),
        Kind::Alloca { wide, .. } => out.typed(i, [wide, false, false], false),
        Kind::XorSign { ty, .. } => out.typed(i, [ty == FloatTy::F64; 3], ty == FloatTy::F64),
        Kind::SetHalf { ty, .. } => {
            out.read(i.a, wide_cmp(ty));
            out.read(i.b, wide_cmp(ty));
            with_pred(out, i.c);
            out.write(i.d, false);
        }
        Kind::Elect => {
            out.typed(i, [false; 3], false);
            set_pred(out, i.e);
        }
        Kind::WarpSync => out.read(i.b, false),
        Kind::Mma(_) => {
            for first in [i.a, i.b, i.c] {
                out.read_fragment(kernel, first);
            }
            out.write_fragment(kernel, i.d);
        }
        Kind::MatrixLoad { .. } | Kind::TilesLoad { .. } => {
            out.read(i.a, true);
            out.read(i.b, false);
            for part in &kernel.parts[i.d as usize..(i.d + i.e) as usize] {
                out.write(part.slot, part.bits == 64);
            }
        }
        Kind::MatrixStore { .. } | Kind::TilesStore { .. } => {
            out.read(i.a, true);
            out.read(i.b, false);
            for part in &kernel.parts[i.d as usize..(i.d + i.e) as usize] {
                out.read(part.slot, part.bits == 64);
            }
        }
        Kind::Copy { .. } => out.typed(i, [true, true, false], false),
        Kind::Object { op, .. } => {
            out.read(i.a, i.c != 1);
            out.read(i.b, op == ObjectOp::Test { parity: false });
            if op.is_test() { set_pred(out, i.d) } else { out.write(i.d, true) }
        }
        Kind::Print => out.typed(i, [true, true, false], false),
        Kind::Astray => out.read(i.a, true),
        Kind::Assert => {
            out.read(i.a, true);
            out.read(i.b, true);
            out.read(i.c, false);
            out.read(i.d, true);
        }
        Kind::Branch(_) | Kind::Exit | Kind::Trap | Kind::Fence | Kind::Nothing => {}
    }
}
