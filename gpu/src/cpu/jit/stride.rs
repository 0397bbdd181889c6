//! Registers that grow evenly from lane to lane.
//!
//! Owns: [`Strides`]: for each register that differs between lanes, by how much it grows from one lane of a pass to the
//! next, if that is always the same. It follows from thread numbers through additions, multiplications by constants and
//! the like. Loads and stores at such addresses need one check for the whole pass, and no gathering.
//! Never: lets 32 bits wrap around unseen: where such a value is extended to 64 bits, generated code checks that it did
//! not wrap between the lanes of the pass (`emit/stride.rs`).
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    class::Classes,
    effects::{Reg, wide_int},
    emit::NARROW,
    flow::{self, Flow},
};
use crate::{
    cpu::{
        code::{BitOp, Code, Fill, IntOp, IntTy, Kernel, Kind, NONE, Number},
        lanes::LANES,
        memory::Area,
    },
    ptx::words::Special,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stride {
    /// Nothing is known yet.
    Open,
    Even(i64),
    Uneven,
}

/// How many threads that follow each other, from a multiple of that number on, always lie in one row of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rows {
    Ragged,
    /// Those of a narrow pass.
    Passes,
    /// Those of a warp, or all there are.
    Warps,
}

impl Rows {
    pub fn of(block: [u32; 3]) -> Rows {
        let [x, y, z] = block.map(|n| n as usize);
        if x.is_multiple_of(LANES) || y * z == 1 {
            Rows::Warps
        } else if x.is_multiple_of(4 * NARROW) {
            Rows::Passes
        } else {
            Rows::Ragged
        }
    }
}

#[derive(Debug, Default)]
pub struct Strides(Vec<Stride>);

impl Strides {
    pub fn of(kernel: &Kernel, flow: &Flow, classes: &Classes, rows: bool) -> Option<Strides> {
        let mut strides = Strides(vec![Stride::Open; flow.widths.len()]);
        for (slot, fill) in &kernel.fills {
            let Fill::Special(special, part) = fill else { continue };
            strides.0[*slot as usize] = match (special, part) {
                (Special::Laneid, _) => Stride::Even(1),
                (Special::Tid, 0) if rows => Stride::Even(1),
                (Special::Tid, _) if rows => Stride::Even(0),
                _ => Stride::Uneven,
            };
        }
        for slot in 0..kernel.slots {
            // Threads begin with zeros.
            if flow.live_at_start().has(slot) && !classes.fixed(slot) {
                strides.0[slot as usize] = Stride::Even(0);
            }
        }
        flow::settle(|| strides.spread(kernel, flow, classes))?;
        for (reg, stride) in strides.0.iter_mut().enumerate() {
            let useful =
                (reg as u32) < kernel.slots && classes.varying(reg as u32) && !classes.lazy(reg as u32);
            if !useful || *stride == Stride::Open {
                *stride = Stride::Uneven;
            }
        }
        Some(strides)
    }

    pub fn get(&self, reg: Reg) -> Option<i64> {
        match self.0[reg as usize] {
            Stride::Even(by) => Some(by),
            Stride::Open | Stride::Uneven => None,
        }
    }

    fn spread(&mut self, kernel: &Kernel, flow: &Flow, classes: &Classes) -> bool {
        let mut changed = false;
        for block in &flow.blocks {
            for n in block.start..block.end {
                let i = &kernel.codes[n as usize];
                let new = if block.stop || block.joint { Stride::Uneven } else { self.result(i, classes) };
                for (reg, _) in &flow.effects[n as usize].writes {
                    let old = self.0[*reg as usize];
                    let joined = match (old, new) {
                        (old, Stride::Open) => old,
                        (Stride::Open, new) => new,
                        (old, new) if old == new => old,
                        _ => Stride::Uneven,
                    };
                    changed |= joined != old;
                    self.0[*reg as usize] = joined;
                }
            }
        }
        changed
    }

    fn operand(&self, slot: u32, classes: &Classes) -> Stride {
        if slot == NONE || classes.varying(slot) && classes.lazy(slot) {
            Stride::Uneven
        } else if !classes.varying(slot) {
            Stride::Even(0)
        } else {
            self.0[slot as usize]
        }
    }

    fn result(&self, i: &Code, classes: &Classes) -> Stride {
        if i.guard != NONE {
            return Stride::Uneven;
        }
        let get = |slot| self.operand(slot, classes);
        let words = |ty| matches!(ty, IntTy::U32 | IntTy::S32);
        let out = match i.kind {
            Kind::Int(IntOp::Add, ty) if is_plain(ty) => join(get(i.a), get(i.b), i64::checked_add),
            Kind::Int(IntOp::Sub, ty) if is_plain(ty) => join(get(i.a), get(i.b), i64::checked_sub),
            Kind::Int(IntOp::MulLo, ty) if is_plain(ty) => self.product(i, classes, wide_int(ty)),
            Kind::Int(IntOp::MadLo, ty) if is_plain(ty) => {
                join(self.product(i, classes, wide_int(ty)), get(i.c), i64::checked_add)
            }
            Kind::Int(IntOp::Shl, ty) if is_plain(ty) => match (get(i.a), classes.constant(i.b)) {
                (Stride::Even(by), Some(bits @ 0..32)) => even(by.checked_mul(1 << bits)),
                (Stride::Even(0), _) if get(i.b) == Stride::Even(0) => Stride::Even(0),
                (Stride::Open, _) => Stride::Open,
                _ => Stride::Uneven,
            },
            Kind::Bits(BitOp::MulWide { from: 32, .. }) => self.product(i, classes, false),
            Kind::Bits(BitOp::MadWide { from: 32, .. }) => {
                join(self.product(i, classes, false), get(i.c), i64::checked_add)
            }
            Kind::Convert(how) if i.e == 0 && !how.sat && how.register == 64 => match (how.from, how.to) {
                (Number::Int { bits: 32, .. }, Number::Int { bits: 64, .. }) => get(i.a),
                _ => Stride::Uneven,
            },
            Kind::Move { .. } => get(i.a),
            Kind::Tag(Area::Global | Area::Const) | Kind::Untag(Area::Global | Area::Const) => get(i.a),
            _ => Stride::Uneven,
        };
        // Numbers of 32 bits grow modulo 2^32.
        match (i.kind, out) {
            (Kind::Int(_, ty), Stride::Even(by)) if words(ty) => Stride::Even(i64::from(by as i32)),
            _ => out,
        }
    }

    /// Of an even register and a constant, or of two that are the same in all lanes of a pass; of 32 bits or of 64.
    fn product(&self, i: &Code, classes: &Classes, wide: bool) -> Stride {
        let number = |bits: u64| if wide { bits as i64 } else { i64::from(bits as u32 as i32) };
        let factor = |slot: u32| classes.constant(slot).map(number);
        match (self.operand(i.a, classes), self.operand(i.b, classes)) {
            (Stride::Open, _) | (_, Stride::Open) => Stride::Open,
            (Stride::Even(0), Stride::Even(0)) => Stride::Even(0),
            (Stride::Even(by), _) if factor(i.b).is_some_and(|f| f >= 0) => {
                even(factor(i.b).and_then(|f| by.checked_mul(f)))
            }
            (_, Stride::Even(by)) if factor(i.a).is_some_and(|f| f >= 0) => {
                even(factor(i.a).and_then(|f| by.checked_mul(f)))
            }
            _ => Stride::Uneven,
        }
    }
}

/// Numbers of 32 bits or 64, not of 16 in a register of more.
pub fn is_plain(ty: IntTy) -> bool {
    !matches!(ty, IntTy::U16 | IntTy::S16)
}

/// Larger strides are of no use and could overflow what is computed with them.
fn even(by: Option<i64>) -> Stride {
    by.filter(|by| by.unsigned_abs() < 1 << 24).map_or(Stride::Uneven, Stride::Even)
}

fn join(x: Stride, y: Stride, op: fn(i64, i64) -> Option<i64>) -> Stride {
    match (x, y) {
        (Stride::Uneven, _) | (_, Stride::Uneven) => Stride::Uneven,
        (Stride::Open, _) | (_, Stride::Open) => Stride::Open,
        (Stride::Even(x), Stride::Even(y)) => even(op(x, y)),
    }
}
