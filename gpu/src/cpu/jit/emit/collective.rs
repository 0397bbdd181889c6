//! Instructions by which the lanes of a warp see each other: `shfl`, `vote`, `redux`, `activemask`.
//!
//! Owns: those whose members are constants, as they nearly always are. Where a shuffle's distance and limits are constants
//! too, it is known here which lane's value goes where. The meaning is that of `cpu/collective.rs`, bit for bit: a lane
//! that takes no part has no vote, and shows others what it holds in the frame.
//! Never: is part of a pass over less than a warp, but for `activemask`.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val};
use crate::cpu::{
    code::{AtomOp, Code, Fill, Kernel, Kind, NONE, ShuffleOp, VoteOp},
    collective::source,
    jit::context::Field,
    lanes::{ALL, LANES},
};
use cranelift_codegen::ir::{
    BlockArg, InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I32X4, I64},
};

/// Whether a slot holds the same word from the start.
pub fn is_constant(kernel: &Kernel, slot: u32) -> bool {
    let at = kernel.fills.binary_search_by_key(&slot, |(slot, _)| *slot);
    at.is_ok_and(|at| matches!(kernel.fills[at].1, Fill::Word(_)))
}

pub fn translates_collective(kernel: &Kernel, i: &Code) -> bool {
    i.guard == NONE && (matches!(i.kind, Kind::Shuffle(_) | Kind::Activemask) || is_constant(kernel, i.b))
}

impl Ops<'_> {
    /// A vector of four lanes from anywhere in a warp.
    fn picked(&mut self, from: &[Value], lanes: [usize; 4]) -> Value {
        let (first, other) = (lanes[0] / 4, lanes.iter().map(|n| n / 4).find(|n| *n != lanes[0] / 4));
        let other = other.unwrap_or(first);
        if lanes.iter().all(|n| n / 4 == first || n / 4 == other) {
            let mut mask = [0u8; 16];
            for (at, byte) in mask.iter_mut().enumerate() {
                let lane = lanes[at / 4];
                let beyond = if lane / 4 == first { 0 } else { 16 };
                *byte = (beyond + lane % 4 * 4 + at % 4) as u8;
            }
            return self.shuffle(from[first], from[other], mask, I32X4);
        }
        let mut out = from[first];
        for (at, lane) in lanes.into_iter().enumerate() {
            let one = self.b.ins().extractlane(from[lane / 4], (lane % 4) as u8);
            out = self.b.ins().insertlane(out, one, at as u8);
        }
        out
    }
}

impl Emitter<'_, '_> {
    /// What all lanes of the warp hold in a register, those that take no part as well.
    fn of_all_lanes(&mut self, slot: u32) -> Vec<Value> {
        let own = self.read(slot, false);
        let own = self.ops.many(&own, false);
        let (bits, every) = (self.pass().bits, self.ops.all_lanes());
        let full = self.ops.b.ins().icmp(IntCC::Equal, bits, every);
        let (some, done) = (self.ops.b.create_block(), self.ops.b.create_block());
        let all: Vec<Value> = own.iter().map(|_| self.ops.b.append_block_param(done, I32X4)).collect();
        let args = |values: &[Value]| values.iter().map(|v| BlockArg::from(*v)).collect::<Vec<_>>();
        self.ops.b.ins().brif(full, done, &args(&own), some, &[]);
        self.ops.b.switch_to_block(some);
        self.ops.b.set_cold_block(some);
        let masks = self.pass().active.clone();
        let (masks, kept) = (self.ops.masks(&masks), self.frame(slot, false));
        let each = own.iter().zip(kept).zip(masks);
        let joined: Vec<Value> =
            each.map(|((own, kept), mask)| self.ops.b.ins().bitselect(mask, *own, kept)).collect();
        self.ops.b.ins().jump(done, &args(&joined));
        self.ops.b.switch_to_block(done);
        all
    }

    pub fn shuffle(&mut self, i: &Code, op: ShuffleOp) {
        let from = self.of_all_lanes(i.a);
        let constant = |slot| self.classes.constant(slot).map(|bits| bits as u32);
        let (out, inside) = match (constant(i.b), constant(i.c)) {
            (Some(by), Some(limits)) => {
                let sources: Vec<(usize, bool)> =
                    (0..LANES).map(|lane| source(op, lane, by, limits)).collect();
                let four = |four: &[(usize, bool)]| std::array::from_fn(|n| four[n].0);
                let out = sources.chunks(4).map(|lanes| self.ops.picked(&from, four(lanes))).collect();
                let inside = sources.iter().rev().fold(0u32, |bits, (_, ok)| bits << 1 | u32::from(*ok));
                let inside = self.ops.konst(I32, inside.into());
                (out, self.lane_masks(inside))
            }
            _ => self.fetched(i, op, from),
        };
        if i.d != NONE {
            self.write(i, Val::Many(out), false);
        }
        if i.e != NONE {
            self.write_pred(i, i.e, Val::Many(inside));
        }
    }

    /// What each lane takes of all lanes' words, by a distance or limits that only it knows; and which lie within limits.
    fn fetched(&mut self, i: &Code, op: ShuffleOp, from: Vec<Value>) -> (Vec<Value>, Vec<Value>) {
        let (by, limits) = (self.read(i.b, false), self.read(i.c, false));
        let (by, limits) = (self.ops.many(&by, false), self.ops.many(&limits, false));
        let row = self.items(0, &Val::Many(from), false);
        let (mut out, mut inside) = (Vec::new(), Vec::new());
        for (n, (by, limits)) in by.into_iter().zip(limits).enumerate() {
            let (sources, ok) = self.ops.sources(op, 4 * n as u32, by, limits);
            let mut four = sources;
            for lane in 0..4 {
                let source = self.ops.b.ins().extractlane(sources, lane);
                let source = self.ops.b.ins().uextend(I64, source);
                let word = self.item(row, source);
                four = self.ops.b.ins().insertlane(four, word, lane);
            }
            out.push(four);
            inside.push(ok);
        }
        (out, inside)
    }

    pub fn vote(&mut self, i: &Code, op: VoteOp, negate: bool) -> Option<()> {
        let members = self.members(i)?;
        let votes = self.read_pred(i.a);
        let votes = self.ops.masks(&votes);
        let votes = self.ops.bits_of(votes);
        let flip = self.ops.konst(I32, if negate { ALL.into() } else { 0 });
        let votes = self.ops.b.ins().bxor(votes, flip);
        let yes = self.ops.b.ins().band(votes, members);
        let none = self.ops.b.ins().icmp_imm_u(IntCC::Equal, yes, 0);
        let every = self.ops.b.ins().icmp(IntCC::Equal, yes, members);
        let holds = match op {
            VoteOp::Ballot => {
                self.write(i, Val::One(yes), false);
                return Some(());
            }
            VoteOp::All => every,
            VoteOp::Any => self.ops.opposite(none),
            VoteOp::Uni => self.ops.b.ins().bor(every, none),
        };
        self.write_pred(i, i.d, Val::One(holds));
        Some(())
    }

    /// The members of a warp that take part, as bits.
    fn members(&mut self, i: &Code) -> Option<Value> {
        let (members, active) = (self.classes.constant(i.b)?, self.pass().bits);
        let members = self.ops.konst(I32, members);
        Some(self.ops.b.ins().band(members, active))
    }

    pub fn reduce(&mut self, i: &Code, op: AtomOp, signed: bool) -> Option<()> {
        let members = self.members(i)?;
        // Each lane would keep what it has.
        let none = self.ops.b.ins().icmp_imm_u(IntCC::Equal, members, 0);
        self.bail_if(none);
        let neutral = match (op, signed) {
            (AtomOp::And, _) | (AtomOp::Min, false) => u32::MAX,
            (AtomOp::Min, true) => i32::MAX as u32,
            (AtomOp::Max, true) => i32::MIN as u32,
            _ => 0,
        };
        let (values, masks) = (self.read(i.a, false), self.lane_masks(members));
        let values = self.ops.many(&values, false);
        let neutral = self.ops.konst(I32X4, neutral.into());
        let each = values.iter().zip(masks);
        let each: Vec<Value> =
            each.map(|(value, mask)| self.ops.b.ins().bitselect(mask, *value, neutral)).collect();
        let mut four = each[0];
        for other in &each[1..] {
            four = self.ops.combined(op, signed, four, *other);
        }
        let mut one = self.ops.b.ins().extractlane(four, 0);
        for lane in 1..4 {
            let other = self.ops.b.ins().extractlane(four, lane);
            one = self.ops.combined(op, signed, one, other);
        }
        self.write(i, Val::One(one), false);
        Some(())
    }

    pub fn active_lanes(&mut self, i: &Code) {
        let whole = self.ops.lanes() == LANES;
        let lanes = if whole { self.pass().bits } else { self.field(Field::Mask) };
        self.write(i, Val::One(lanes), false);
    }
}

impl Ops<'_> {
    /// The lanes that four lanes from `first` on take a word from, and masks of those within limits: what [`source`] says.
    fn sources(&mut self, op: ShuffleOp, first: u32, by: Value, limits: Value) -> (Value, Value) {
        let lanes = (first..first + 4).flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
        let lanes = self.b.func.dfg.constants.insert(lanes.into());
        let at = self.b.ins().vconst(I32X4, lanes);
        let all = self.konst(I32X4, LANES as u64 - 1);
        let byte = self.b.ins().iconst(I32, 8);
        let segment = self.b.ins().ushr(limits, byte);
        let [by, clamp, segment] = [by, limits, segment].map(|v| self.b.ins().band(v, all));
        let base = self.b.ins().band(at, segment);
        let highest = self.b.ins().band_not(clamp, segment);
        let highest = self.b.ins().bor(base, highest);
        let source = match op {
            ShuffleOp::Up => self.b.ins().isub(at, by),
            ShuffleOp::Down => self.b.ins().iadd(at, by),
            ShuffleOp::Bfly => self.b.ins().bxor(at, by),
            ShuffleOp::Idx => {
                let within = self.b.ins().band_not(by, segment);
                self.b.ins().bor(base, within)
            }
        };
        let cc = match op {
            ShuffleOp::Up => IntCC::SignedGreaterThanOrEqual,
            ShuffleOp::Down | ShuffleOp::Bfly | ShuffleOp::Idx => IntCC::SignedLessThanOrEqual,
        };
        let ok = self.b.ins().icmp(cc, source, highest);
        let source = self.b.ins().bitselect(ok, source, at);
        // Whatever a register holds, what it leads to is a lane.
        (self.b.ins().band(source, all), ok)
    }
}
