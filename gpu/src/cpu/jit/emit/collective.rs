//! Shuffles and votes of a whole warp.
//!
//! Owns: those whose distance, limits and members are constants, as they nearly always are: then it is known here which
//! lane's value goes where. The meaning is that of `cpu/collective.rs`, bit for bit.
//! Never: is part of a pass over less than a warp. A warp with lanes missing is left to the interpreter.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val};
use crate::cpu::{
    code::{Code, Fill, Kernel, Kind, NONE, ShuffleOp, VoteOp},
    collective::source,
    lanes::{ALL, LANES},
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I32X4},
};

/// Whether a slot holds the same word from the start.
pub fn is_constant(kernel: &Kernel, slot: u32) -> bool {
    let at = kernel.fills.binary_search_by_key(&slot, |(slot, _)| *slot);
    at.is_ok_and(|at| matches!(kernel.fills[at].1, Fill::Word(_)))
}

pub fn translates_collective(kernel: &Kernel, i: &Code) -> bool {
    let constant = |slot: u32| is_constant(kernel, slot);
    match i.kind {
        Kind::Shuffle(_) => constant(i.b) && constant(i.c),
        _ => constant(i.b),
    }
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
    /// Leaves it to the interpreter if a lane is missing.
    fn all_or_bail(&mut self) {
        let (bits, every) = (self.pass().bits, self.ops.all_lanes());
        let missing = self.ops.b.ins().icmp(IntCC::NotEqual, bits, every);
        self.bail_if(missing);
    }

    pub fn shuffle(&mut self, i: &Code, op: ShuffleOp) -> Option<()> {
        let (by, limits) = (self.classes.constant(i.b)? as u32, self.classes.constant(i.c)? as u32);
        self.all_or_bail();
        let sources: Vec<(usize, bool)> = (0..LANES).map(|lane| source(op, lane, by, limits)).collect();
        let from = self.read(i.a, false);
        let from = self.ops.many(&from, false);
        let out = sources.chunks(4).map(|four| self.ops.picked(&from, std::array::from_fn(|n| four[n].0)));
        let out = Val::Many(out.collect());
        if i.d != NONE {
            self.write(i, out, false);
        }
        if i.e != NONE {
            let inside = (0..LANES).filter(|lane| sources[*lane].1).fold(0u32, |bits, lane| bits | 1 << lane);
            let inside = self.ops.konst(I32, inside.into());
            let inside = Val::Many(self.lane_masks(inside));
            self.write_pred(i, i.e, inside);
        }
        Some(())
    }

    pub fn vote(&mut self, i: &Code, op: VoteOp, negate: bool) -> Option<()> {
        let members = self.classes.constant(i.b)? as u32;
        self.all_or_bail();
        let votes = self.read_pred(i.a);
        let votes = self.ops.masks(&votes);
        let votes = self.ops.bits_of(votes);
        let flip = self.ops.konst(I32, if negate { ALL.into() } else { 0 });
        let votes = self.ops.b.ins().bxor(votes, flip);
        let members = self.ops.konst(I32, members.into());
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
}
