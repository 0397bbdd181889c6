//! The warps of one call, one after the other.
//!
//! Owns: the loop over seats, and what a warp leaves in its own.
//! Never: lets a warp run before the turn of the one before it is over.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    super::{
        context::{Field, SEAT_SIZE},
        emit::own,
    },
    Builder,
};
use crate::cpu::code::Code;
use cranelift_codegen::ir::{Block, InstBuilder, Value, condcodes::IntCC, types::I32};

/// What has become of a warp's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes on, elsewhere.
    On,
    /// The warp has come to an instruction that ends it.
    Ends,
    /// The warp makes way for the next.
    MadeWay,
}

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
        let made_way = self.e.ops.b.ins().iconst(I32, i64::from(turn == Turn::MadeWay));
        self.e.ops.b.ins().store(own(), made_way, self.e.seat, Field::MadeWay.offset());
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
        let ends = self.e.kernel.codes.get(pc as usize).is_some_and(Code::ends_turn);
        let turn = if ends { Turn::Ends } else { Turn::On };
        let resume = self.e.ops.b.ins().iconst(I32, i64::from(pc));
        self.give(executed, resume, turn);
    }

    /// The warp will go on at an instruction when the others have had their turns.
    pub(super) fn make_way(&mut self, executed: Value, pc: u32) {
        let resume = self.e.ops.b.ins().iconst(I32, i64::from(pc));
        self.give(executed, resume, Turn::MadeWay);
    }
}
