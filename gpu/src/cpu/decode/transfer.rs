//! What instructions that touch memory, wait at barriers or call functions become.

use super::{
    Base, Class, Kind, Mod, NONE, Operand, Part, Refused, Space, Symbol, held_bits, instruction::Site,
};
use crate::{
    cpu::{
        code::{AtomOp, AtomTy, Barrier, Cmp, CmpTy, IntTy, ReduceOp},
        memory::Area,
    },
    ptx::{
        calls::Callee,
        ir::{Function, Param},
        words::Op,
    },
};

/// Parts of the longest vector that is stored.
const VECTOR_PARTS_MAX: usize = 8;

fn area_of(m: Mod) -> Option<Area> {
    Some(match m {
        Mod::Global => Area::Global,
        Mod::Shared | Mod::SharedCta | Mod::SharedCluster => Area::Shared,
        Mod::Local => Area::Local,
        Mod::Const => Area::Const,
        Mod::Param | Mod::ParamEntry | Mod::ParamFunc => Area::Param,
        _ => return None,
    })
}

impl Site<'_, '_, '_> {
    /// The state space that the instruction names. Parameters of functions are in local memory.
    pub(super) fn named_area(&self) -> Option<Area> {
        let area = self.mods().iter().copied().find_map(area_of);
        if area == Some(Area::Param) && !self.function.kernel { Some(Area::Local) } else { area }
    }

    /// Area, base slot, offset and whether the base has 32 bits.
    pub(super) fn address(&mut self, n: usize) -> (Area, u32, i64, bool) {
        let mut area = self.named_area().unwrap_or(Area::Generic);
        let Operand::Address(base, offset) = self.operand(n) else { return (area, NONE, 0, false) };
        match base {
            Base::Absolute => (area, NONE, *offset, false),
            Base::Register(r) => {
                let narrow = self.function.registers[*r as usize] == Class::B32;
                (area, self.register(*r), *offset, narrow)
            }
            Base::Symbol(s) => {
                // Parameters of a call are variables of the caller.
                if let Symbol::Local(v) = s
                    && self.function.variables[*v as usize].space == Space::Param
                {
                    area = Area::Local;
                }
                let address = self.decoder.symbol(self.function, self.unit, *s);
                (area, NONE, (address as i64).wrapping_add(*offset), false)
            }
        }
    }

    /// Ordering beyond that of plain accesses is had by fences.
    fn ordered(&self, sems: &[Mod]) -> bool {
        self.instruction.mods.one_of(sems).is_some()
    }

    pub(super) fn load(&mut self) {
        let ty = self.ty(0);
        let (area, a, imm, narrow) = self.address(1);
        let parts = self.function.parts(self.operand(0));
        let start = self.decoder.kernel.parts.len() as u32;
        for part in parts {
            let (slot, bits) = match (part, self.class(part)) {
                (Operand::Register(r), Some(Class::B128)) => {
                    let slot = self.register(*r);
                    self.decoder.kernel.parts.push(Part { slot, bits: 64 });
                    (slot + 2, 64)
                }
                (Operand::Register(r), Some(class)) => (self.register(*r), held_bits(class)),
                _ => (NONE, 32),
            };
            self.decoder.kernel.parts.push(Part { slot, bits });
        }
        let count = self.decoder.kernel.parts.len() as u32 - start;
        let bits = self.access_bits();
        let code = self.push(Kind::Load { area, bits, signed: ty.is_signed() });
        (code.d, code.e, code.a, code.c, code.imm) = (start, count, a, u32::from(narrow), imm);
        if self.ordered(&[Mod::Acquire]) {
            self.push(Kind::Fence);
        }
    }

    pub(super) fn store(&mut self) {
        let ty = self.ty(0);
        if self.ordered(&[Mod::Release]) {
            self.push(Kind::Fence);
        }
        let (area, a, imm, narrow) = self.address(0);
        let parts = self.function.parts(self.operand(1));
        let mut found = [Part { slot: NONE, bits: 32 }; VECTOR_PARTS_MAX];
        for (place, part) in found.iter_mut().zip(parts) {
            let slot = self.value(part, ty);
            let bits = match self.class(part) {
                Some(class) => held_bits(class).min(64),
                None => ty.bits().max(32) as u8,
            };
            *place = Part { slot, bits };
        }
        let mut count = parts.len().min(VECTOR_PARTS_MAX);
        if ty == Mod::B128 {
            // Its upper half is a register of its own.
            (found[1], count) = (Part { slot: found[0].slot + 2, bits: 64 }, 2);
        }
        let start = self.decoder.kernel.parts.len() as u32;
        self.decoder.kernel.parts.extend_from_slice(&found[..count]);
        let bits = self.access_bits();
        let code = self.push(Kind::Store { area, bits });
        (code.d, code.e, code.a, code.c, code.imm) = (start, count as u32, a, u32::from(narrow), imm);
    }

    /// Bits of each part of an access. One of 128 bits that others may meet is one part; else it is two.
    fn access_bits(&self) -> u8 {
        let met = [Mod::Volatile, Mod::Relaxed, Mod::Acquire, Mod::Release];
        match self.ty(0) {
            Mod::B128 if self.instruction.mods.one_of(&met).is_none() => 64,
            ty => ty.bits() as u8,
        }
    }

    pub(super) fn atom_op(&self) -> AtomOp {
        let pick = |m: &Mod| {
            Some(match m {
                Mod::And => AtomOp::And,
                Mod::Or => AtomOp::Or,
                Mod::Xor => AtomOp::Xor,
                Mod::Exch => AtomOp::Exch,
                Mod::Cas => AtomOp::Cas,
                Mod::AddOp => AtomOp::Add,
                Mod::Inc => AtomOp::Inc,
                Mod::Dec => AtomOp::Dec,
                Mod::Min => AtomOp::Min,
                Mod::Max => AtomOp::Max,
                _ => return None,
            })
        };
        self.mods().iter().find_map(pick).unwrap_or(AtomOp::Add)
    }

    pub(super) fn atomic(&mut self) {
        let first = usize::from(self.instruction.op == Op::Atom);
        let b = self.src(first + 1, self.ty(0));
        let d = if first == 1 { self.dst(0) } else { NONE };
        self.atomic_part(first, d, b, 0);
    }

    /// One atomic on the address in operand `first`, `skip` bytes further on.
    pub(super) fn atomic_part(&mut self, first: usize, d: u32, b: u32, skip: i64) {
        let ty = self.ty(0);
        let atom_ty = match ty {
            Mod::S32 => AtomTy::S32,
            Mod::S64 => AtomTy::S64,
            Mod::U64 | Mod::B64 => AtomTy::U64,
            Mod::B16 => AtomTy::B16,
            Mod::B128 => AtomTy::B128,
            Mod::F32 => AtomTy::F32,
            Mod::F64 => AtomTy::F64,
            Mod::F16 | Mod::F16x2 | Mod::Bf16 | Mod::Bf16x2 => AtomTy::Half {
                pair: matches!(ty, Mod::F16x2 | Mod::Bf16x2),
                brain: matches!(ty, Mod::Bf16 | Mod::Bf16x2),
            },
            _ => AtomTy::U32,
        };
        let op = self.atom_op();
        if self.ordered(&[Mod::Release, Mod::AcqRel]) {
            self.push(Kind::Fence);
        }
        let (area, a, imm, narrow) = self.address(first);
        let e = if op == AtomOp::Cas { self.src(first + 2, ty) } else { NONE };
        let code = self.push(Kind::Atomic { area, op, ty: atom_ty });
        let imm = imm.wrapping_add(skip);
        (code.d, code.e, code.a, code.b, code.c, code.imm) = (d, e, a, b, u32::from(narrow), imm);
        if self.ordered(&[Mod::Acquire, Mod::AcqRel]) {
            self.push(Kind::Fence);
        }
    }

    pub(super) fn barrier(&mut self) {
        let reduce = self.has(Mod::Red);
        let what = match (reduce, self.has(Mod::Arrive)) {
            (true, _) if self.has(Mod::Popc) => Barrier::Reduce(ReduceOp::Popc),
            (true, _) if self.has(Mod::And) => Barrier::Reduce(ReduceOp::And),
            (true, _) => Barrier::Reduce(ReduceOp::Or),
            (false, true) => Barrier::Arrive,
            (false, false) => Barrier::Sync,
        };
        let first = usize::from(reduce);
        let last = self.count() - usize::from(reduce);
        let a = self.src(first, Mod::U32);
        let b = if first + 1 < last { self.src(first + 1, Mod::U32) } else { NONE };
        let (c, negate) = if reduce { self.predicate(last) } else { (NONE, false) };
        let d = if reduce { self.dst(0) } else { NONE };
        let code = self.push(Kind::Barrier { what, negate });
        (code.d, code.a, code.b, code.c) = (d, a, b, c);
    }

    /// A branch by which lanes that take no part go round what follows, and which is to be aimed at its end.
    fn go_round(&mut self) -> Option<usize> {
        (self.decoder.guard != NONE).then(|| {
            self.decoder.negated = !self.decoder.negated;
            self.push(Kind::Branch(0));
            self.decoder.guard = NONE;
            self.decoder.kernel.codes.len() - 1
        })
    }

    fn come_together(&mut self, around: Option<usize>) {
        let end = self.decoder.kernel.codes.len() as u32;
        if let Some(around) = around {
            self.decoder.kernel.codes[around].kind = Kind::Branch(end);
        }
    }

    /// A branch to a label, or to the end of the function.
    pub(super) fn branch(&mut self, label: Option<u32>) {
        self.push(Kind::Branch(0));
        let code = self.decoder.kernel.codes.len() - 1;
        self.decoder.aims.push((code, label));
    }

    /// `brx.idx`: the index is compared with each number that has a label; one that has none stops the kernel.
    pub(super) fn branch_of_many(&mut self) {
        let Operand::Table(table) = self.operand(1) else { return };
        let around = self.go_round();
        let index = self.src(0, Mod::U32);
        let chosen = self.decoder.fresh_predicate();
        for (n, label) in self.function.tables[*table as usize].iter().enumerate() {
            let number = self.decoder.constant(n as u64, false);
            let ty = CmpTy::Int(IntTy::U32);
            let code = self.push(Kind::Setp { cmp: Cmp::Eq, ty, join: None, negate: false, ftz: false });
            (code.d, code.a, code.b) = (chosen, index, number);
            (self.decoder.guard, self.decoder.negated) = (chosen, false);
            self.branch(Some(*label));
            self.decoder.guard = NONE;
        }
        self.push(Kind::Trap);
        self.come_together(around);
    }

    /// Writes out the callee; where the call is by address, each function that it may be of, behind a comparison.
    pub(super) fn call(&mut self) -> Result<(), Refused> {
        let index = match self.operand(1) {
            Operand::Function(index) => *index as usize,
            Operand::Register(r) => return self.call_by_address(*r),
            _ => return Ok(()),
        };
        let module = self.decoder.module;
        let target = &module.functions[index];
        if target.external {
            let given: Vec<Operand> = self.function.parts(self.operand(2)).to_vec();
            let returned: Vec<Operand> = self.function.parts(self.operand(0)).to_vec();
            return self.external(target, &given, &returned);
        }
        let around = self.go_round();
        self.write_out(index)?;
        self.come_together(around);
        Ok(())
    }

    fn call_by_address(&mut self, register: u32) -> Result<(), Refused> {
        let module = self.decoder.module;
        let callee = module.calls.callee(self.index, self.function, self.instruction);
        let Some(Callee::Group(group)) = callee else {
            return Ok(());
        };
        let around = self.go_round();
        let (address, other) = (self.register(register), self.decoder.fresh_predicate());
        let mut done = Vec::new();
        for callee in module.calls.members(group) {
            let it = self.decoder.constant(super::function_address(*callee), true);
            let ty = CmpTy::Int(IntTy::U64);
            let code = self.push(Kind::Setp { cmp: Cmp::Ne, ty, join: None, negate: false, ftz: false });
            (code.d, code.a, code.b) = (other, address, it);
            (self.decoder.guard, self.decoder.negated) = (other, false);
            self.push(Kind::Branch(0));
            let next = self.decoder.kernel.codes.len() - 1;
            self.decoder.guard = NONE;
            self.write_out(*callee as usize)?;
            self.push(Kind::Branch(0));
            done.push(self.decoder.kernel.codes.len() - 1);
            self.come_together(Some(next));
        }
        self.push(Kind::Astray).a = address;
        done.into_iter().for_each(|branch| self.come_together(Some(branch)));
        self.come_together(around);
        Ok(())
    }

    /// Copies the arguments, writes out the callee's body, and copies the results.
    fn write_out(&mut self, index: usize) -> Result<(), Refused> {
        let (returned, given) = (self.operand(0), self.operand(2));
        let module = self.decoder.module;
        let target = &module.functions[index];
        let unit = std::rc::Rc::clone(&self.decoder.units[&index]);
        let line = self.decoder.line;
        for (part, param) in self.function.parts(given).iter().zip(&target.params) {
            let from = self.variable(part);
            self.copy(from, unit.params + u64::from(param.offset), param);
        }
        let kept = self.decoder.keep_stack(target);
        self.decoder.body(index)?;
        self.decoder.line = line;
        self.decoder.restore_stack(kept);
        for (part, param) in self.function.parts(returned).iter().zip(&target.returns) {
            let to = self.variable(part);
            self.copy(unit.returns + u64::from(param.offset), to, param);
        }
        Ok(())
    }

    /// A call of what every device brings along.
    fn external(
        &mut self,
        target: &Function,
        given: &[Operand],
        returned: &[Operand],
    ) -> Result<(), Refused> {
        let slots: Vec<u32> =
            given.iter().zip(&target.params).map(|(part, p)| self.argument(part, p.element)).collect();
        match slots[..] {
            [message, file, line, function, _] => {
                let code = self.push(Kind::Assert);
                (code.a, code.b, code.c, code.d) = (message, file, line, function);
            }
            [format, arguments] => {
                let result = self.decoder.fresh(1);
                let code = self.push(Kind::Print);
                (code.d, code.a, code.b) = (result, format, arguments);
                if let Some(to) = returned.first().map(|part| self.variable(part)) {
                    let start = self.decoder.kernel.parts.len() as u32;
                    self.decoder.kernel.parts.push(Part { slot: result, bits: 32 });
                    let store = self.push(Kind::Store { area: Area::Local, bits: 32 });
                    (store.d, store.e, store.imm) = (start, 1, to as i64);
                }
            }
            _ => return self.decoder.refuse("an external function of another kind; leave it out"),
        }
        Ok(())
    }

    /// A call's argument, loaded from where it was stored.
    fn argument(&mut self, part: &Operand, element: Mod) -> u32 {
        let from = self.variable(part);
        let slot = self.decoder.fresh(2);
        let bits = element.bits() as u8;
        let start = self.decoder.kernel.parts.len() as u32;
        self.decoder.kernel.parts.push(Part { slot, bits: bits.max(32) });
        let load = self.push(Kind::Load { area: Area::Local, bits, signed: false });
        (load.d, load.e, load.imm) = (start, 1, from as i64);
        slot
    }

    /// Where a call's argument or result is in local memory.
    fn variable(&self, part: &Operand) -> u64 {
        match part {
            Operand::Symbol(s, _) => self.decoder.symbol(self.function, self.unit, *s),
            _ => 0,
        }
    }

    fn copy(&mut self, from: u64, to: u64, param: &Param) {
        let bits = param.element.bits().min(64) as u8;
        let step = u64::from(bits / 8);
        let slot = self.decoder.scratch;
        let start = self.decoder.kernel.parts.len() as u32;
        self.decoder.kernel.parts.push(Part { slot, bits: 64 });
        for n in 0..u64::from(param.bytes()) / step {
            let load = self.push(Kind::Load { area: Area::Local, bits, signed: false });
            (load.d, load.e, load.imm) = (start, 1, (from + n * step) as i64);
            let store = self.push(Kind::Store { area: Area::Local, bits });
            (store.d, store.e, store.imm) = (start, 1, (to + n * step) as i64);
        }
    }
}
