//! Rounds of a loop before which it is known that nothing stands in their way.
//!
//! Owns: looking ahead. In a loop of one block that stores nothing, what a round looks at often grows by the same every
//! round: the addresses of its loads, the numbers they are made of, the number that is compared with a bound. What holds
//! now and would hold a number of rounds from now ([`ROUNDS_LOG2`]) holds in between. So many rounds run in a copy of the block without these
//! checks; the round after them looks at all again, and makes way, leaves or goes on as any other.
//! Never: changes what is counted, or where a turn ends. A check that is not known to be good stays in the copy.
//! Tests: `gpu/tests/cpu_ahead.rs`.

use super::{
    super::{
        context::{Field, KNOWN, Known},
        effects::{Reg, pred, wide_int},
        emit::{is_global, own},
        stride::is_plain,
    },
    Builder, acts,
};
use crate::cpu::{
    code::{BitOp, Cmp, CmpTy, Code, IntOp, IntTy, Kind, NONE, Number},
    memory::Area,
};
use cranelift_codegen::ir::{Block, InstBuilder, Value, condcodes::IntCC, types::I64};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds that are looked ahead, as a power of two: most of a turn of a loop that strides (`cpu/block.rs`), and few enough
/// for most loops to have as many left.
const ROUNDS_LOG2: i64 = 4;
/// The most that an address may grow by in a round: far from where it could wrap around in these.
const GROWTH_MAX: i64 = 1 << 40;
/// Instructions of a block of which there may be a copy: with more, what is looked at takes little of the time.
const COPIED_MAX: u32 = 128;

/// What an instruction had in this round, where it may be wanted ahead: the bases of its first two sources, and the
/// first place to remember that it may take.
pub struct Noted {
    sources: [Option<Value>; 2],
    site: u32,
}

/// By how much a number grows each round; not at all if there is no value.
type Growth = Option<Value>;

/// What is found about a block, and what has to hold for it.
struct Ahead {
    start: u32,
    end: u32,
    /// Conditions.
    good: Vec<Value>,
    /// Instructions of which no lane will wrap around.
    unwrapped: BTreeSet<u32>,
}

impl Builder<'_, '_> {
    /// Whether rounds of this block may be looked at ahead: it is a loop by itself, and does nothing that lasts.
    pub(super) fn repeats(&self, b: usize) -> bool {
        let block = &self.e.flow.blocks[b];
        let codes = &self.e.kernel.codes[block.start as usize..block.end as usize];
        let itself = codes.last().is_some_and(|i| i.kind == Kind::Branch(block.start));
        itself && block.end - block.start <= COPIED_MAX && !codes.iter().any(acts)
    }

    /// Notes what an instruction begins with, if it may be wanted.
    pub(super) fn note(&mut self, n: u32, i: &Code) {
        let (x, y) = match i.kind {
            Kind::Load { area, .. } if is_global(area) && i.guard == NONE && i.c != 1 => (Some(true), None),
            Kind::Bits(BitOp::MulWide { .. } | BitOp::MadWide { .. }) => (Some(false), Some(false)),
            Kind::Convert(_) if is_extension(i) => (Some(false), None),
            Kind::Setp { ty: CmpTy::Int(IntTy::U32 | IntTy::S32), .. } => (Some(false), Some(false)),
            _ => return,
        };
        let sources = [(i.a, x), (i.b, y)].map(|(slot, wide)| Some(self.e.base(slot, wide?)?.0));
        self.noted.insert(n, Noted { sources, site: *self.e.sites });
    }

    /// After a round of a block, if another may follow (`free`): runs those that need not be looked at, as far as it is
    /// known of some, and goes on with one that is. `until` is the count of instructions from which on there may be no
    /// other round. Ends where it is not known.
    pub(super) fn look_ahead(&mut self, b: usize, branch: &Code, free: Value, until: Value) {
        let (start, end) = (self.e.flow.blocks[b].start, self.e.flow.blocks[b].end);
        let mut ahead = Ahead { start, end, good: vec![free], unwrapped: BTreeSet::new() };
        let rows = self.rows(&mut ahead);
        if rows.is_empty() || self.goes_on_ahead(&mut ahead, branch).is_none() {
            return;
        }
        let skips: BTreeMap<u32, Value> =
            rows.iter().map(|row| (row.n, self.reaches(&mut ahead, row))).collect();
        let len = i64::from(end - start);
        let count = self.e.ops.b.use_var(self.shared.count);
        let until = self.e.ops.b.ins().iadd_imm_s(until, -len);
        let most = self.e.ops.b.ins().iadd_imm_s(count, len << ROUNDS_LOG2);
        let good = self.e.ops.b.ins().icmp(IntCC::SignedLessThan, count, until);
        let good = ahead.good.iter().fold(good, |x, y| self.e.ops.b.ins().band(x, *y));
        let until = self.e.ops.b.ins().smin(until, most);
        let (steady, rest) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
        self.e.ops.b.ins().brif(good, steady, &[], rest, &[]);
        let ends = self.e.ends.clone();
        self.steady(b, &ahead, &skips, steady, until);
        self.e.ends = ends;
        self.e.ops.b.switch_to_block(rest);
    }

    /// The copy of the block.
    fn steady(&mut self, b: usize, ahead: &Ahead, skips: &BTreeMap<u32, Value>, head: Block, until: Value) {
        let back = self.body(b);
        self.e.ops.b.switch_to_block(head);
        for n in ahead.start..ahead.end - 1 {
            self.e.skip = skips.get(&n).copied();
            self.e.unwrapped = ahead.unwrapped.contains(&n);
            // It was translated before.
            let _ = self.e.instruction(&self.e.kernel.codes[n as usize]);
        }
        (self.e.skip, self.e.unwrapped) = (None, false);
        let count = self.e.ops.b.use_var(self.shared.count);
        let count = self.e.ops.b.ins().iadd_imm_u(count, i64::from(ahead.end - ahead.start));
        self.e.ops.b.def_var(self.shared.count, count);
        let more = self.e.ops.b.ins().icmp(IntCC::SignedLessThan, count, until);
        self.e.ops.b.ins().brif(more, head, &[], back, &[]);
    }

    /// By how much a register grows each round, as instruction `at` finds it; `None` if it may be anything.
    fn growth(&mut self, ahead: &mut Ahead, reg: Reg, at: u32) -> Option<Growth> {
        if reg == NONE || self.e.classes.varying(reg) && self.e.classes.stride(reg).is_none() {
            return None;
        }
        let Some(n) = self.written_by(ahead, reg)? else { return Some(None) };
        let i = self.e.kernel.codes[n as usize];
        if let Some(growth) = self.counts(ahead, &i, reg) {
            return Some(Some(growth));
        }
        // Of one that is computed later what is found here is of the round before, which may not be of this loop.
        if i.guard != NONE || n >= at {
            return None;
        }
        match i.kind {
            Kind::Int(op, ty) if is_plain(ty) => self.computed(ahead, &i, n, op, wide_int(ty)),
            Kind::Bits(BitOp::MulWide { from: 32, signed }) => self.wide_product(ahead, &i, n, signed),
            Kind::Bits(BitOp::MadWide { from: 32, signed }) => {
                let (product, c) = (self.wide_product(ahead, &i, n, signed)?, self.growth(ahead, i.c, n)?);
                Some(self.both(product, c))
            }
            Kind::Convert(how) if is_extension(&i) => {
                let Number::Int { signed, .. } = how.from else { return None };
                self.widened(ahead, n, 0, i.a, signed)
            }
            Kind::Move { .. }
            | Kind::Tag(Area::Global | Area::Const)
            | Kind::Untag(Area::Global | Area::Const) => self.growth(ahead, i.a, n),
            _ => None,
        }
    }

    /// The only instruction of the block that writes a register, if one does; `None` if there are several.
    fn written_by(&self, ahead: &Ahead, reg: Reg) -> Option<Option<u32>> {
        let writes =
            |n: &u32| self.e.flow.effects[*n as usize].writes.iter().any(|(written, _)| *written == reg);
        let mut writers = (ahead.start..ahead.end).filter(writes);
        let first = writers.next();
        writers.next().is_none().then_some(first)
    }

    /// What an instruction adds to a register every round.
    fn counts(&mut self, ahead: &Ahead, i: &Code, reg: Reg) -> Option<Value> {
        let Kind::Int(op @ (IntOp::Add | IntOp::Sub), ty) = i.kind else { return None };
        let by = if i.a == reg { i.b } else { i.a };
        let is_step = i.a == reg || op == IntOp::Add && i.b == reg;
        if !is_step || !is_plain(ty) || i.guard != NONE || by == reg {
            return None;
        }
        let same = self.written_by(ahead, by)?.is_none() && !self.e.classes.varying(by);
        let by = same.then(|| self.e.base(by, wide_int(ty)))??.0;
        Some(if op == IntOp::Sub { self.e.ops.b.ins().ineg(by) } else { by })
    }

    fn computed(&mut self, ahead: &mut Ahead, i: &Code, n: u32, op: IntOp, wide: bool) -> Option<Growth> {
        let (x, y) = (self.growth(ahead, i.a, n)?, self.growth(ahead, i.b, n)?);
        Some(match op {
            IntOp::Add => self.both(x, y),
            IntOp::Sub => {
                let y = y.map(|y| self.e.ops.b.ins().ineg(y));
                self.both(x, y)
            }
            IntOp::MulLo => self.product(i, x, y, wide)?,
            IntOp::MadLo => {
                let (product, z) = (self.product(i, x, y, wide)?, self.growth(ahead, i.c, n)?);
                self.both(product, z)
            }
            IntOp::Shl => {
                let bits = self.e.classes.constant(i.b).filter(|bits| *bits < 32)?;
                x.map(|x| self.e.ops.b.ins().ishl_imm_u(x, bits as i64))
            }
            _ => return None,
        })
    }

    fn both(&mut self, x: Growth, y: Growth) -> Growth {
        match (x, y) {
            (Some(x), Some(y)) => Some(self.e.ops.b.ins().iadd(x, y)),
            (x, y) => x.or(y),
        }
    }

    /// Of a number that grows and one that stays as it is.
    fn product(&mut self, i: &Code, x: Growth, y: Growth, wide: bool) -> Option<Growth> {
        let Some((by, factor)) = factors(i, x, y)? else { return Some(None) };
        let factor = self.steady_factor(factor, wide)?;
        Some(Some(self.e.ops.b.ins().imul(by, factor)))
    }

    /// What is the same in all lanes.
    fn steady_factor(&mut self, slot: u32, wide: bool) -> Option<Value> {
        let same = !self.e.classes.varying(slot);
        Some(same.then(|| self.e.base(slot, wide))??.0)
    }

    fn wide_product(&mut self, ahead: &mut Ahead, i: &Code, n: u32, signed: bool) -> Option<Growth> {
        let x = self.widened(ahead, n, 0, i.a, signed)?;
        let y = self.widened(ahead, n, 1, i.b, signed)?;
        let Some((by, factor)) = factors(i, x, y)? else { return Some(None) };
        let factor = self.steady_factor(factor, false)?;
        let factor = self.extend(factor, signed);
        Some(Some(self.e.ops.b.ins().imul(by, factor)))
    }

    fn extend(&mut self, x: Value, signed: bool) -> Value {
        if signed { self.e.ops.b.ins().sextend(I64, x) } else { self.e.ops.b.ins().uextend(I64, x) }
    }

    /// By how much a source of 32 bits grows once it is extended to 64, which takes that it does not wrap around.
    fn widened(
        &mut self,
        ahead: &mut Ahead,
        n: u32,
        which: usize,
        slot: u32,
        signed: bool,
    ) -> Option<Growth> {
        let growth = self.growth(ahead, slot, n)?;
        let now = self.noted.get(&n)?.sources[which]?;
        ahead.unwrapped.insert(n);
        let Some(by) = growth else { return Some(None) };
        let by = self.e.ops.b.ins().sextend(I64, by);
        let then = self.then(now, Some(by), signed);
        let good = self.fits(then, slot, signed);
        ahead.good.push(good);
        Some(Some(by))
    }

    /// A number of 32 bits after the rounds, as if nothing wrapped around.
    fn then(&mut self, now: Value, by: Growth, signed: bool) -> Value {
        let now = self.extend(now, signed);
        let Some(by) = by else { return now };
        let grown = self.e.ops.b.ins().ishl_imm_u(by, ROUNDS_LOG2);
        self.e.ops.b.ins().iadd(now, grown)
    }

    /// From the pass's first lane to its last, in a register.
    fn span(&self, slot: u32) -> i64 {
        self.e.classes.stride(slot).unwrap_or(0) * (self.e.ops.lanes() as i64 - 1)
    }

    /// Whether 32 bits have this number and those of all lanes.
    fn fits(&mut self, number: Value, slot: u32, signed: bool) -> Value {
        let (least, greatest) =
            if signed { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (0, i64::from(u32::MAX)) };
        let span = self.span(slot);
        let (least, greatest) = (least - span.min(0), greatest - span.max(0));
        let above = self.e.ops.b.ins().iadd_imm_s(number, -least);
        let room = self.e.ops.konst(I64, (greatest - least) as u64);
        self.e.ops.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, above, room)
    }

    /// Whether the branch would be taken after the rounds, and so after each of them, as it is now: what it compares
    /// comes nearer to a bound, or goes away from it.
    fn goes_on_ahead(&mut self, ahead: &mut Ahead, branch: &Code) -> Option<()> {
        let n = self.written_by(ahead, pred(self.e.kernel, branch.guard))??;
        let i = self.e.kernel.codes[n as usize];
        let Kind::Setp { cmp, ty: CmpTy::Int(ty @ (IntTy::U32 | IntTy::S32)), join: None, .. } = i.kind
        else {
            return None;
        };
        if i.guard != NONE || i.d != branch.guard || i.e != NONE {
            return None;
        }
        let signed = ty == IntTy::S32;
        let mut ends = [(None, None); 2];
        for (which, slot) in [i.a, i.b].into_iter().enumerate() {
            let now = self.noted.get(&n)?.sources[which]?;
            let by = self.growth(ahead, slot, n)?.map(|by| self.e.ops.b.ins().sextend(I64, by));
            let then = self.then(now, by, signed);
            if by.is_some() {
                let fits = self.fits(then, slot, signed);
                ahead.good.push(fits);
            }
            ends[which] = (Some(now), Some(then));
        }
        let [(Some(x_now), Some(x)), (Some(y_now), Some(y))] = ends else { return None };
        let [x_span, y_span] = [i.a, i.b].map(|slot| self.span(slot));
        let held = match (cmp, branch.negated) {
            (Cmp::Ne, false) | (Cmp::Eq, true) if x_span == 0 && y_span == 0 => {
                // On the same side of the bound as now.
                let [x_now, y_now] = [x_now, y_now].map(|v| self.extend(v, signed));
                let [now, then] = [(x_now, y_now), (x, y)].map(|(x, y)| self.e.ops.b.ins().isub(x, y));
                let [now, then] =
                    [now, then].map(|v| self.e.ops.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, v, 0));
                let other = self.e.ops.b.ins().icmp(IntCC::NotEqual, x, y);
                let same = self.e.ops.b.ins().icmp(IntCC::Equal, now, then);
                self.e.ops.b.ins().band(same, other)
            }
            _ => {
                let order = match (cmp, branch.negated) {
                    (Cmp::Lt, false) | (Cmp::Ge, true) => IntCC::SignedLessThan,
                    (Cmp::Le, false) | (Cmp::Gt, true) => IntCC::SignedLessThanOrEqual,
                    (Cmp::Gt, false) | (Cmp::Le, true) => IntCC::SignedGreaterThan,
                    (Cmp::Ge, false) | (Cmp::Lt, true) => IntCC::SignedGreaterThanOrEqual,
                    _ => return None,
                };
                let first = self.e.ops.b.ins().icmp(order, x, y);
                let x = self.e.ops.b.ins().iadd_imm_s(x, x_span);
                let y = self.e.ops.b.ins().iadd_imm_s(y, y_span);
                let last = self.e.ops.b.ins().icmp(order, x, y);
                self.e.ops.b.ins().band(first, last)
            }
        };
        ahead.good.push(held);
        Some(())
    }

    /// The loads whose addresses grow, or stay as they are.
    fn rows(&mut self, ahead: &mut Ahead) -> Vec<Row> {
        let mut rows = Vec::new();
        for n in ahead.start..ahead.end - 1 {
            let i = self.e.kernel.codes[n as usize];
            let Kind::Load { area, bits, .. } = i.kind else { continue };
            let Some(Noted { sources: [Some(now), _], site }) = self.noted.get(&n) else { continue };
            let (now, site, size) = (*now, *site, i64::from(bits / 8) * i64::from(i.e));
            let even = !self.e.classes.varying(i.a) || self.e.even_stride(&i, area, size).is_some();
            let conditions = (ahead.good.len(), ahead.unwrapped.clone());
            match self.growth(ahead, i.a, n) {
                Some(by) if even => {
                    let now = self.e.with_offset(now, &i, false);
                    rows.push(Row { n, site, now, by, size });
                }
                // What it would have taken is not needed.
                Some(_) | None => {
                    ahead.good.truncate(conditions.0);
                    ahead.unwrapped = conditions.1;
                }
            }
        }
        rows
    }

    /// Whether a row stays in the piece that its instruction found last, and what leads from its addresses to the bytes.
    fn reaches(&mut self, ahead: &mut Ahead, row: &Row) -> Value {
        let all = self.e.field(Field::Known);
        let site = row.site as i32 * size_of::<Known>() as i32;
        let [base, count, skip] = [KNOWN.base, KNOWN.count, KNOWN.skip]
            .map(|at| self.e.ops.b.ins().load(I64, own(), all, site + at));
        let mut then = row.now;
        if let Some(by) = row.by {
            let grown = self.e.ops.b.ins().ishl_imm_u(by, ROUNDS_LOG2);
            then = self.e.ops.b.ins().iadd(then, grown);
            let shifted = self.e.ops.b.ins().iadd_imm_s(by, GROWTH_MAX);
            let small = self.e.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, shifted, 2 * GROWTH_MAX);
            let crooked = self.e.ops.b.ins().band_imm_u(by, row.size - 1);
            let aligned = self.e.ops.b.ins().icmp_imm_u(IntCC::Equal, crooked, 0);
            ahead.good.extend([small, aligned]);
        }
        let offset = self.e.ops.b.ins().isub(then, base);
        let number = self.e.ops.b.ins().rotr_imm_u(offset, i64::from(row.size.trailing_zeros()));
        ahead.good.push(self.e.ops.b.ins().icmp(IntCC::UnsignedLessThan, number, count));
        skip
    }
}

/// A load whose addresses are known ahead.
struct Row {
    n: u32,
    site: u32,
    /// The first lane's address in this round, and by how much it grows.
    now: Value,
    by: Growth,
    size: i64,
}

/// By how much the one of two factors grows that does, if one does, and the other; `None` if both grow.
fn factors(i: &Code, x: Growth, y: Growth) -> Option<Option<(Value, u32)>> {
    match (x, y) {
        (None, None) => Some(None),
        (Some(by), None) => Some(Some((by, i.b))),
        (None, Some(by)) => Some(Some((by, i.a))),
        (Some(_), Some(_)) => None,
    }
}

/// Whether an instruction extends a number of 32 bits to 64.
fn is_extension(i: &Code) -> bool {
    let Kind::Convert(how) = i.kind else { return false };
    let whole = matches!((how.from, how.to), (Number::Int { bits: 32, .. }, Number::Int { bits: 64, .. }));
    i.e == 0 && !how.sat && how.register == 64 && whole
}
