//! The warps of one call, one after the other.
//!
//! Owns: the loop over seats, and what a warp leaves in its own.
//! Never: lets a warp run before the turn of the one before it is over.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        context::{Field, SEAT_SIZE, Turn},
        emit::own,
    },
    Builder,
};
use crate::cpu::code::{Code, Kind};
use cranelift_codegen::ir::{Block, InstBuilder, Value, condcodes::IntCC, types::I32};

impl Builder<'_, '_> {
    /// The next seat's turn, if there is one.
    pub(super) fn turns(&mut self, turn: Block) {
        self.e.ops.b.switch_to_block(self.follow);
        let done = self.e.ops.b.create_block();
        let after = self.after();
        let end = self.e.field(Field::SeatsEnd);
        let more = self.e.ops.b.ins().icmp(IntCC::UnsignedLessThan, after, end);
        self.e.ops.b.ins().brif(more, turn, &[after.into()], done, &[]);
        self.e.ops.b.switch_to_block(done);
        self.e.ops.b.ins().return_(&[after]);
    }

    /// The seat after this one.
    fn after(&mut self) -> Value {
        self.e.ops.b.ins().iadd_imm_u(self.e.seat, SEAT_SIZE)
    }

    /// Tells what the warp has come to; then the next one follows, if this one's turn is over.
    pub(super) fn give(&mut self, executed: Value, resume: Value, turn: Turn) {
        let what = self.e.ops.b.ins().iconst(I32, turn as i64);
        self.e.ops.b.ins().store(own(), what, self.e.seat, Field::Turn.offset());
        self.e.ops.b.ins().store(own(), executed, self.e.seat, Field::Executed.offset());
        self.e.ops.b.ins().store(own(), resume, self.e.seat, Field::Pc.offset());
        if turn != Turn::On {
            self.e.ops.b.ins().jump(self.follow, &[]);
            return;
        }
        let after = self.after();
        self.e.ops.b.ins().return_(&[after]);
    }

    /// The warp goes on at an instruction, which may be one that ends its turn.
    pub(super) fn come_to(&mut self, executed: Value, pc: u32) {
        let resume = self.e.ops.b.ins().iconst(I32, i64::from(pc));
        match self.e.kernel.codes.get(pc as usize) {
            Some(i) if i.ends_turn() => self.give(executed, resume, Turn::Ends),
            Some(i) if i.kind == Kind::Exit => {
                let (ends, goes_on) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
                let all = self.all_leave(i);
                self.e.ops.b.ins().brif(all, ends, &[], goes_on, &[]);
                self.e.ops.b.switch_to_block(ends);
                self.give(executed, resume, Turn::Ends);
                self.e.ops.b.switch_to_block(goes_on);
                self.give(executed, resume, Turn::On);
            }
            _ => self.give(executed, resume, Turn::On),
        }
    }

    /// Whether all lanes of the warp take an exit, whose guard stands in the frame.
    fn all_leave(&mut self, exit: &Code) -> Value {
        let (mask, preds) = (self.e.field(Field::Mask), self.e.field(Field::Preds));
        let held = self.e.ops.b.ins().load(I32, own(), preds, exit.guard as i32 * 4);
        let held = if exit.negated { self.e.ops.b.ins().bnot(held) } else { held };
        let staying = self.e.ops.b.ins().band_not(mask, held);
        self.e.ops.b.ins().icmp_imm_u(IntCC::Equal, staying, 0)
    }

    /// The warp will go on at an instruction when the others have had their turns.
    pub(super) fn make_way(&mut self, executed: Value, pc: u32) {
        let resume = self.e.ops.b.ins().iconst(I32, i64::from(pc));
        self.give(executed, resume, Turn::MadeWay);
    }
}
