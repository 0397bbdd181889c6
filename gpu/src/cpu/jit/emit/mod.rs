//! Instructions to Cranelift's intermediate form.
//!
//! Owns: [`Emitter`], which holds the registers of a region as variables, and [`translates`], which says what it can
//! do. Every instruction is translated for all lanes of a pass at once: values that are the same for all lanes stay
//! scalars, the others are vectors of four threads.
//! Never: leaves out a check or a rule of the interpreter's; what it can't keep it doesn't translate.
//! Tests: `gpu/tests/cpu_engines.rs`.

mod approx;
mod atomic;
mod carry;
mod collective;
mod compare;
mod convert;
mod directed;
mod each;
mod even;
mod fields;
mod float;
mod half;
mod int;
mod memory;
mod ops;
mod stores;
mod stride;

pub use approx::may_be_large;
pub use memory::is_global;
pub use ops::{NARROW, Ops, Val, WIDE, scalar, vector};
pub use stride::may_wrap;

use self::compare::Ends;
use super::{class::Classes, context::Field, effects::Reg, flow::Flow};
use crate::cpu::{
    code::{Code, FloatOp, FloatTy, Kernel, Kind, NONE},
    memory::Area,
    soft::Mode,
};
use cranelift_codegen::ir::{
    Block, FuncRef, InstBuilder, MemFlagsData, Value,
    types::{I8, I32, I32X4, I64},
};
use cranelift_frontend::Variable;
use std::collections::HashMap;

/// Whether the processor has fused multiply-add; without it Cranelift would call a library, lane by lane.
fn fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        true
    }
}

/// Whether [`Emitter::instruction`] has a translation; everything else is left to the interpreter.
pub fn translates(kernel: &Kernel, i: &Code) -> bool {
    match i.kind {
        Kind::Int(op, _) => int::translates_int(op),
        Kind::Bits(op) => int::translates_bits(kernel, i, op),
        Kind::Float(op, ty, how) => float::translates_float(op, ty, how, fused()),
        Kind::Setp { cmp, ty, join, .. } | Kind::Set { cmp, ty, join, .. } => {
            compare::translates_compare(cmp, ty) && join.is_some() == (i.c != NONE)
        }
        Kind::Selp { .. } | Kind::Move { .. } | Kind::PredMove | Kind::PredConst(_) | Kind::PredLogic(_) => {
            true
        }
        Kind::TakeHalf | Kind::PutHalf | Kind::TakeWord | Kind::PutWord => true,
        Kind::Carry(..) => true,
        // Lanes of one region are in step, and stores come after loads or are done where they stand.
        Kind::PredNot | Kind::Tag(_) | Kind::Untag(_) | Kind::Nothing | Kind::WarpSync => true,
        Kind::Fence => true,
        Kind::Convert(how) => convert::how_converted(how).is_some(),
        Kind::ConvertPair { mode, .. } => mode == Mode::Rn,
        Kind::Load { bits: 128, .. } | Kind::Store { bits: 128, .. } => false,
        Kind::Load { area, .. } | Kind::Store { area, .. } => {
            let parts = &kernel.parts[i.d as usize..(i.d + i.e) as usize];
            let stored = matches!(i.kind, Kind::Load { .. }) || parts.iter().all(|part| part.slot != NONE);
            let writable = matches!(i.kind, Kind::Load { .. }) || !matches!(area, Area::Param | Area::Const);
            stored && writable
        }
        // A branch ends a region, or is followed within it; an exit is gone past where nobody takes it.
        Kind::Branch(_) => true,
        Kind::Exit => i.guard != NONE,
        Kind::Shuffle(_) | Kind::Vote { .. } | Kind::Redux { .. } | Kind::Activemask => {
            collective::translates_collective(kernel, i)
        }
        Kind::Atomic { area, op, ty } => atomic::translates_atomic(area, op, ty),
        Kind::Slct { .. }
        | Kind::Testp { .. }
        | Kind::Clock { .. }
        | Kind::InSpace(_)
        | Kind::Match { .. }
        | Kind::Barrier { .. }
        | Kind::Trap
        | Kind::Astray
        | Kind::Assert
        | Kind::Word(_)
        | Kind::Narrow(_)
        | Kind::Tiny(_)
        | Kind::Video(_)
        | Kind::VideoMad(_)
        | Kind::Alloca { .. }
        | Kind::XorSign { .. }
        | Kind::SetHalf { .. }
        | Kind::Elect
        | Kind::Mma(_)
        | Kind::MatrixLoad { .. }
        | Kind::MatrixStore { .. }
        | Kind::TilesLoad { .. }
        | Kind::TilesStore { .. }
        | Kind::TileTranspose
        | Kind::Copy { .. }
        | Kind::Object { .. }
        | Kind::Print => false,
    }
}

/// Values that hold during one pass over some lanes.
#[derive(Clone)]
pub struct Pass {
    /// Number of the pass.
    pub number: Value,
    /// The pass's lanes in slots of 32 and of 64 bits.
    pub words: Value,
    pub wides: Value,
    /// Active lanes: as bits, and as masks.
    pub bits: Value,
    pub active: Val,
}

pub struct Emitter<'a, 'f> {
    pub ops: Ops<'f>,
    pub kernel: &'a Kernel,
    pub flow: &'a Flow,
    pub classes: &'a Classes,
    pub context: Value,
    /// The warp's.
    pub seat: Value,
    pub vars: HashMap<Reg, Vec<Variable>>,
    /// Of predicates of this block that were made from these.
    pub ends: HashMap<Reg, Ends>,
    /// Of registers that grow evenly from lane to lane.
    pub bases: HashMap<Reg, Variable>,
    pub pass: Option<Pass>,
    /// Where to go when the interpreter has to do it.
    pub bail: Block,
    /// Asks sparse memory; see `super::context::reach`.
    pub reach: FuncRef,
    /// Room on the stack, once it is needed.
    pub scratch: Option<each::Scratch>,
    /// What leads from the addresses of the access at hand to the bytes, if it is known beforehand that they are there.
    pub skip: Option<Value>,
    /// Whether it is known beforehand that no lane wraps around in the instruction at hand.
    pub unwrapped: bool,
    /// Accesses of the unit so far that remember where they found their bytes.
    pub sites: &'a mut u32,
}

/// Frame and context, which nothing but the region itself touches.
pub fn own() -> MemFlagsData {
    MemFlagsData::trusted()
}

/// The same, not written while a region runs for a warp.
pub fn fixed() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

impl Emitter<'_, '_> {
    pub fn field(&mut self, field: Field) -> Value {
        self.field_by(field, fixed())
    }

    /// The same, read there and then: what is read once for all warps keeps a register from what they use more often.
    pub fn field_here(&mut self, field: Field) -> Value {
        self.field_by(field, own().with_readonly())
    }

    fn field_by(&mut self, field: Field, flags: MemFlagsData) -> Value {
        let ty = if field.is_wide() { I64 } else { I32 };
        let of = if field.is_of_seat() { self.seat } else { self.context };
        self.ops.b.ins().load(ty, flags, of, field.offset())
    }

    /// The variables of a register, declared at first use.
    pub fn variables(&mut self, reg: Reg) -> Vec<Variable> {
        if let Some(found) = self.vars.get(&reg) {
            return found.clone();
        }
        let is_pred = reg >= self.kernel.slots;
        let wide = self.flow.widths[reg as usize] == 2;
        let made: Vec<Variable> = if !self.classes.varying(reg) {
            vec![self.ops.b.declare_var(if is_pred { I8 } else { scalar(wide) })]
        } else if is_pred {
            (0..self.ops.units).map(|_| self.ops.b.declare_var(I32X4)).collect()
        } else {
            (0..self.ops.parts(wide)).map(|_| self.ops.b.declare_var(vector(wide))).collect()
        };
        self.vars.insert(reg, made.clone());
        made
    }

    pub fn get(&mut self, reg: Reg) -> Val {
        if let Some(stride) = self.classes.stride(reg) {
            return self.grown(reg, stride);
        }
        let vars = self.variables(reg);
        if !self.classes.varying(reg) {
            return Val::One(self.ops.b.use_var(vars[0]));
        }
        Val::Many(vars.into_iter().map(|v| self.ops.b.use_var(v)).collect())
    }

    pub fn put(&mut self, reg: Reg, val: &Val) {
        let vars = self.variables(reg);
        let values = match val {
            Val::One(one) if vars.len() == 1 && !self.classes.varying(reg) => vec![*one],
            _ if reg >= self.kernel.slots => self.ops.masks(val),
            _ => self.ops.many(val, self.flow.widths[reg as usize] == 2),
        };
        for (var, value) in vars.into_iter().zip(values) {
            self.ops.b.def_var(var, value);
        }
    }

    /// A register as bits that may be any NaN where one is: for arithmetic.
    pub fn raw(&mut self, slot: u32, wide: bool) -> Val {
        if let Some(bits) = self.classes.constant(slot) {
            return Val::One(self.ops.konst(scalar(wide), bits));
        }
        if self.classes.fixed(slot) { self.special(slot) } else { self.get(slot) }
    }

    /// A register's bits.
    pub fn read(&mut self, slot: u32, wide: bool) -> Val {
        let val = self.raw(slot, wide);
        if self.classes.fixed(slot) || !self.classes.lazy(slot) {
            return val;
        }
        self.ops.zip(wide, &[&val], &mut |ops, v| ops.canonical(v[0]))
    }

    /// A special register: filled before the kernel began, never written.
    fn special(&mut self, slot: u32) -> Val {
        let at = slot as i32 * 128;
        if let Some(part) = self.classes.block_number(slot) {
            let at = Field::Block.offset() + 4 * i32::from(part);
            return Val::One(self.ops.b.ins().load(I32, fixed(), self.context, at));
        }
        if !self.classes.varying(slot) {
            let slots = self.field(Field::Slots);
            return Val::One(self.ops.b.ins().load(I32, fixed(), slots, at));
        }
        let words = self.pass().words;
        Val::Many(
            (0..self.ops.units as i32)
                .map(|n| self.ops.b.ins().load(I32X4, fixed(), words, at + n * 16))
                .collect(),
        )
    }

    pub fn pass(&self) -> &Pass {
        self.pass.as_ref().expect("instructions are emitted within a pass")
    }

    pub fn read_pred(&mut self, p: u32) -> Val {
        self.get(self.kernel.slots + p)
    }

    /// The sources `a`, `b`, `c`, as many as there are.
    pub fn sources(&mut self, i: &Code, wide: [bool; 3]) -> Vec<Val> {
        let slots = [i.a, i.b, i.c].into_iter().zip(wide).filter(|(slot, _)| *slot != NONE);
        let slots: Vec<(u32, bool)> = slots.collect();
        slots.into_iter().map(|(slot, wide)| self.read(slot, wide)).collect()
    }

    pub fn raw_sources(&mut self, i: &Code, wide: bool) -> Vec<Val> {
        let slots: Vec<u32> = [i.a, i.b, i.c].into_iter().filter(|slot| *slot != NONE).collect();
        slots.into_iter().map(|slot| self.raw(slot, wide)).collect()
    }

    fn write(&mut self, i: &Code, val: Val, wide: bool) {
        let val = if i.guard == NONE {
            val
        } else {
            let old = self.get(i.d);
            self.guarded(i, val, old, wide)
        };
        self.put(i.d, &val);
    }

    fn write_pred(&mut self, i: &Code, p: u32, val: Val) {
        let reg = self.kernel.slots + p;
        let old = if i.guard == NONE { val.clone() } else { self.get(reg) };
        let val = self.guarded_pred(i, val, old);
        self.ends.remove(&reg);
        self.put(reg, &val);
    }

    /// Translates one instruction that is neither branch nor exit; `None` if that is not possible. Stores and atomic operations are
    /// for passes over a whole warp only.
    pub fn instruction(&mut self, i: &Code) -> Option<()> {
        // Of registers that grow evenly only the base is kept; vectors are made of it where somebody needs them.
        if self.has_slot_result(i) && i.d < self.kernel.slots && self.classes.stride(i.d).is_some() {
            let base = self.result_base(i)?;
            let var = self.base_variable(i.d);
            self.ops.b.def_var(var, base);
            return Some(());
        }
        self.translate(i)
    }

    /// Whether `d` is a slot, rather than a predicate or a place in the table of parts.
    fn has_slot_result(&self, i: &Code) -> bool {
        matches!(
            i.kind,
            Kind::Int(..)
                | Kind::Bits(_)
                | Kind::Convert(_)
                | Kind::Move { .. }
                | Kind::Tag(_)
                | Kind::Untag(_)
        )
    }

    fn translate(&mut self, i: &Code) -> Option<()> {
        match i.kind {
            Kind::Int(op, ty) => {
                let out = self.int(i, op, ty)?;
                self.write(i, out, super::effects::wide_int(ty));
            }
            Kind::Bits(op) => {
                let out = self.bits(i, op)?;
                self.write(i, out, self.flow.widths[i.d as usize] == 2);
            }
            Kind::Carry(op, ty) => self.carry(i, op, ty),
            Kind::Float(op, ty, how) => {
                let wide = ty == FloatTy::F64;
                let mut out = self.float(i, op, ty, how)?;
                let number = matches!(ty, FloatTy::F32 | FloatTy::F64);
                if number && op != FloatOp::Copysign && !self.classes.lazy(i.d) {
                    out = self.ops.zip(wide, &[&out], &mut |ops, v| ops.canonical(v[0]));
                }
                self.write(i, out, wide);
            }
            Kind::Setp { .. } => self.setp(i)?,
            Kind::Set { .. } => {
                let out = self.set(i)?;
                self.write(i, out, false);
            }
            Kind::Selp { wide, negate } => {
                let out = self.selp(i, wide, negate);
                self.write(i, out, wide);
            }
            Kind::Move { wide } => {
                let out = if self.classes.lazy(i.d) { self.raw(i.a, wide) } else { self.read(i.a, wide) };
                self.write(i, out, wide);
            }
            Kind::PredMove => {
                let out = self.read_pred(i.a);
                self.write_pred(i, i.d, out);
            }
            Kind::PredConst(value) => {
                let out = self.pred_const(value);
                self.write_pred(i, i.d, out);
            }
            Kind::PredNot => {
                let out = self.pred_not(i.a);
                self.write_pred(i, i.d, out);
            }
            Kind::PredLogic(op) => {
                let out = self.pred_logic(i, op);
                self.write_pred(i, i.d, out);
            }
            Kind::Tag(area) | Kind::Untag(area) => {
                let tag = crate::cpu::warp::tag(area);
                let untag = matches!(i.kind, Kind::Untag(_));
                let v = self.read(i.a, true);
                let out = self.ops.zip(true, &[&v], &mut |ops, v| {
                    let ty = ops.ty(v[0]);
                    let tag = ops.konst(ty, if untag { !tag } else { tag });
                    if untag { ops.b.ins().band(v[0], tag) } else { ops.b.ins().bor(v[0], tag) }
                });
                self.write(i, out, true);
            }
            Kind::TakeHalf | Kind::TakeWord => {
                let out = self.take(i, i.kind == Kind::TakeWord);
                self.write(i, out, false);
            }
            Kind::PutHalf | Kind::PutWord => {
                let wide = i.kind == Kind::PutWord;
                let out = self.put_part(i, wide);
                self.write(i, out, wide);
            }
            Kind::Convert(how) => {
                let out = self.convert(i, how)?;
                self.write(i, out, how.register == 64);
            }
            Kind::ConvertPair { brain, relu, .. } => {
                let out = self.single_pair(i, brain, relu);
                self.write(i, out, false);
            }
            Kind::Load { area, bits, signed } => {
                self.under_guard(i, |this| this.load(i, area, bits, signed));
            }
            Kind::Store { area, bits } => self.under_guard(i, |this| this.store_now(i, area, bits)),
            Kind::Atomic { area, op, ty } => self.under_guard(i, |this| this.atomic(i, area, op, ty)),
            Kind::Shuffle(op) => self.shuffle(i, op),
            Kind::Vote { op, negate } => self.vote(i, op, negate)?,
            Kind::Redux { op, signed } => self.reduce(i, op, signed)?,
            Kind::Activemask => self.active_lanes(i),
            Kind::Fence => {
                self.ops.b.ins().fence();
            }
            Kind::Nothing | Kind::WarpSync => {}
            _ => return None,
        }
        Some(())
    }

    /// Touches memory for the lanes in which the guard holds, if there are any: nothing is checked for nobody.
    fn under_guard(&mut self, i: &Code, touch: impl FnOnce(&mut Self)) {
        if i.guard == NONE {
            return touch(self);
        }
        let bits = self.guard_bits(i);
        let (work, done) = (self.ops.b.create_block(), self.ops.b.create_block());
        self.ops.b.ins().brif(bits, work, &[], done, &[]);
        self.ops.b.switch_to_block(work);
        let whole = self.pass.clone();
        self.only(bits);
        touch(self);
        self.pass = whole;
        self.ops.b.ins().jump(done, &[]);
        self.ops.b.switch_to_block(done);
    }

    /// Takes only these lanes of a pass for active.
    pub fn only(&mut self, bits: Value) {
        let active = Val::Many(self.lane_masks(bits));
        if let Some(pass) = &mut self.pass {
            (pass.bits, pass.active) = (bits, active);
        }
    }

    /// Whether any lane may take an exit: not zero.
    pub fn leaving(&mut self, i: &Code) -> Value {
        let Some(ends) = self.ends.get(&(self.kernel.slots + i.guard)).copied() else {
            return self.guard_bits(i);
        };
        let all = if i.negated {
            let all = self.ops.b.ins().band(ends.first, ends.last);
            self.ops.opposite(all)
        } else {
            self.ops.b.ins().bor(ends.first, ends.last)
        };
        self.ops.b.ins().bor(all, ends.wraps)
    }

    /// The active lanes in which an instruction's guard holds, as bits; nobody's are zero.
    pub fn guard_bits(&mut self, i: &Code) -> Value {
        let active = self.pass().bits;
        match self.read_pred(i.guard) {
            Val::One(held) => {
                let zero = self.ops.b.ins().iconst(I32, 0);
                let (yes, no) = if i.negated { (zero, active) } else { (active, zero) };
                self.ops.b.ins().select(held, yes, no)
            }
            Val::Many(masks) => {
                let held = self.ops.bits_of(masks);
                if i.negated {
                    self.ops.b.ins().band_not(active, held)
                } else {
                    self.ops.b.ins().band(active, held)
                }
            }
        }
    }

    /// Leaves the region undone if the condition, a word that is not zero, holds.
    pub fn bail_if(&mut self, cond: Value) {
        let on = self.ops.b.create_block();
        let bail = self.bail;
        self.ops.b.ins().brif(cond, bail, &[], on, &[]);
        self.ops.b.switch_to_block(on);
    }
}
