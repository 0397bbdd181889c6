//! What instructions on matrices and asynchronous copies become.

use super::{Base, Class, Kind, Mod, NONE, Operand, Part, instruction::Site};
use crate::{
    cpu::{
        code::{Entry, IntOp, IntTy, Matrix, Mma, Spread},
        memory::Area,
    },
    ptx::{
        tensor::{self, Role},
        words::Op,
    },
};

fn entry(ty: Mod) -> Entry {
    match ty {
        Mod::F16 => Entry::F16,
        Mod::Bf16 => Entry::Bf16,
        Mod::Tf32 => Entry::Tf32,
        Mod::F32 => Entry::F32,
        Mod::F64 => Entry::F64,
        other => Entry::Int { bits: other.bits() as u8, signed: other.is_signed() },
    }
}

impl Site<'_, '_, '_> {
    /// The registers of a vector operand, in the parts table.
    fn vector(&mut self, n: usize) -> (u32, u32) {
        let start = self.decoder.kernel.parts.len() as u32;
        let parts = self.function.parts(self.operand(n));
        for part in parts {
            let bits = self.class(part).map_or(32, |c| c.bits()) as u8;
            let slot = match part {
                Operand::Register(r) => self.register(*r),
                _ => NONE,
            };
            self.decoder.kernel.parts.push(Part { slot, bits });
        }
        (start, parts.len() as u32)
    }

    /// A slot that holds the whole address of operand `n`, in 64 bits.
    pub(super) fn effective(&mut self, n: usize) -> u32 {
        let (base, offset, narrow) = self.place_of(n);
        if base == NONE {
            return self.decoder.constant(offset as u64, true);
        }
        let mut at = base;
        if offset != 0 {
            let by = self.decoder.constant(offset as u64, !narrow);
            let sum = self.decoder.fresh(2);
            let code = self.push(Kind::Int(IntOp::Add, if narrow { IntTy::U32 } else { IntTy::U64 }));
            (code.d, code.a, code.b) = (sum, at, by);
            at = sum;
        }
        if narrow {
            let wide = self.decoder.fresh(2);
            self.widen(wide, at);
            at = wide;
        }
        at
    }

    fn space(&self) -> Area {
        self.named_area().unwrap_or(Area::Generic)
    }

    pub(super) fn mma(&mut self) {
        let mods = self.instruction.mods;
        let op = self.instruction.op;
        let ty = |role| tensor::fragment(op, &mods, role).map_or(Mod::F32, |f| f.element);
        let shape = tensor::shape(&mods).unwrap_or([8, 8, 4]).map(|n| n as u16);
        let layouts = mods.as_slice().iter().filter(|m| matches!(m, Mod::Row | Mod::Col));
        let rows: Vec<bool> = layouts.map(|m| *m == Mod::Row).collect();
        let spread = match (op, shape, ty(Role::A)) {
            (Op::Wmma, ..) => Spread::Wmma,
            (_, [8, 8, 4], Mod::F16) => {
                Spread::Quads { a_rows: rows.first() == Some(&true), b_rows: rows.get(1) == Some(&true) }
            }
            _ => Spread::Mma,
        };
        let what = Mma {
            shape,
            a: entry(ty(Role::A)),
            b: entry(ty(Role::B)),
            c: entry(ty(Role::C)),
            d: entry(ty(Role::D)),
            spread,
            mode: self.mode(),
            saturate: self.has(Mod::Satfinite),
            both: self.has(Mod::And),
        };
        let [(d, _), (a, _), (b, _), (c, _)] = [0, 1, 2, 3].map(|n| self.vector(n));
        let code = self.push(Kind::Mma(what));
        (code.d, code.a, code.b, code.c) = (d, a, b, c);
    }

    /// `wmma.load` and `wmma.store`.
    pub(super) fn matrix(&mut self) {
        let mods = self.instruction.mods;
        let role = tensor::moved(&mods);
        let [m, n, k] = tensor::shape(&mods).unwrap_or([8, 8, 4]).map(|n| n as u16);
        let (rows, columns) = match role {
            Role::A => (m, k),
            Role::B => (k, n),
            Role::C | Role::D => (m, n),
        };
        let row_major = self.has(Mod::Row);
        let matrix =
            Matrix { rows, columns, bits: self.ty(0).bits() as u8, row_major, by_columns: role == Role::B };
        let load = self.has(Mod::Load);
        let (memory, registers) = if load { (1, 0) } else { (0, 1) };
        let (start, count) = self.vector(registers);
        let a = self.effective(memory);
        let b = if self.count() > 2 {
            self.src(2, Mod::U32)
        } else {
            // Left out, the rows or columns lie next to each other.
            self.decoder.constant(u64::from(if row_major { columns } else { rows }), false)
        };
        let area = self.space();
        let code = self.push(if load {
            Kind::MatrixLoad { area, matrix }
        } else {
            Kind::MatrixStore { area, matrix }
        });
        (code.d, code.e, code.a, code.b) = (start, count, a, b);
    }

    pub(super) fn tiles(&mut self) {
        let load = self.instruction.op == Op::Ldmatrix;
        let (memory, registers) = if load { (1, 0) } else { (0, 1) };
        let (start, count) = self.vector(registers);
        let a = self.effective(memory);
        let (area, transpose) = (self.space(), self.has(Mod::Trans));
        let kind =
            if load { Kind::TilesLoad { area, transpose } } else { Kind::TilesStore { area, transpose } };
        let code = self.push(kind);
        (code.d, code.e, code.a) = (start, count, a);
    }

    /// `cp.async`: the copy is made at once, so that there is nothing left to wait for.
    pub(super) fn copy_async(&mut self) {
        if self.instruction.mods.one_of(&[Mod::CommitGroup, Mod::WaitGroup, Mod::WaitAll]).is_some() {
            self.push(Kind::Nothing);
            return;
        }
        let (to, from) = (self.effective(0), self.effective(1));
        let Operand::Int(bytes) = *self.operand(2) else { return };
        let hinted = self.has(Mod::L2CacheHint);
        let size = if self.count() - usize::from(hinted) > 3 { self.copied_bytes(bytes) } else { NONE };
        let code = self.push(Kind::Copy { bytes: bytes as u8 });
        (code.a, code.b, code.c) = (to, from, size);
    }

    /// How many of the bytes are read: as many as is said, or none where the predicate holds.
    fn copied_bytes(&mut self, bytes: i64) -> u32 {
        let register = self.class(self.operand(3));
        if register != Some(Class::Pred) && !matches!(self.operand(3), Operand::Not(_)) {
            return self.src(3, Mod::U32);
        }
        let (c, negate) = self.predicate(3);
        let [none, all] = [0, bytes as u64].map(|n| self.decoder.constant(n, false));
        let size = self.decoder.fresh(1);
        let code = self.push(Kind::Selp { wide: false, negate });
        (code.d, code.a, code.b, code.c) = (size, none, all, c);
        size
    }

    /// Base slot, offset and whether the base has 32 bits.
    fn place_of(&mut self, n: usize) -> (u32, i64, bool) {
        let Operand::Address(base, offset) = self.operand(n) else { return (NONE, 0, false) };
        match base {
            Base::Absolute => (NONE, *offset, false),
            Base::Register(r) => {
                let narrow = self.function.registers[*r as usize].bits() == 32;
                (self.register(*r), *offset, narrow)
            }
            Base::Symbol(s) => {
                let address = self.decoder.symbol(self.function, self.unit, *s);
                (NONE, (address as i64).wrapping_add(*offset), false)
            }
        }
    }
}
