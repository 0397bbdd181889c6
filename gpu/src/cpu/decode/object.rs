//! What `mbarrier` becomes.

use super::{Kind, Mod, NONE, instruction::Site};
use crate::{
    cpu::{
        code::{IntOp, IntTy},
        object::{ObjectOp, PENDING_MAX},
    },
    ptx::words::Op,
};

impl Site<'_, '_, '_> {
    /// `mbarrier`, and `cp.async.mbarrier.arrive`: copies are made at once, so whoever began some arrives at once.
    ///
    /// The threads of a block have their turns on one core, so what an object orders needs no fence.
    pub(super) fn object(&mut self) {
        if self.has(Mod::PendingCount) {
            return self.pending_count();
        }
        let drop = self.has(Mod::ArriveDrop);
        let (parity, expect) = (self.has(Mod::Parity), self.has(Mod::ExpectTx));
        let arrives = self.has(Mod::Arrive) || drop;
        let op = match () {
            () if self.instruction.op == Op::Cp => ObjectOp::ArriveCopied { counted: self.has(Mod::Noinc) },
            () if self.has(Mod::Init) => ObjectOp::Init,
            () if self.has(Mod::Inval) => ObjectOp::Invalidate,
            () if self.has(Mod::CompleteTx) => ObjectOp::Complete,
            () if arrives => ObjectOp::Arrive { drop, expect },
            () if expect => ObjectOp::Expect,
            () => ObjectOp::Test { parity },
        };
        let place = usize::from(matches!(op, ObjectOp::Arrive { .. } | ObjectOp::Test { .. }));
        let given = if op == (ObjectOp::Test { parity: false }) { Mod::B64 } else { Mod::U32 };
        let b = if place + 1 < self.count() {
            self.src(place + 1, given)
        } else {
            self.decoder.constant(1, false)
        };
        let (area, a, imm, narrow) = self.address(place);
        let d = if place == 1 { self.dst(0) } else { NONE };
        let code = self.push(Kind::Object { area, op });
        (code.d, code.a, code.b, code.c, code.imm) = (d, a, b, u32::from(narrow), imm);
    }

    /// Threads that the state's phase was still waiting for: its lowest bits.
    fn pending_count(&mut self) {
        let (d, a) = (self.dst(0), self.src(1, Mod::B64));
        let code = self.push(Kind::TakeWord);
        (code.d, code.a, code.e, code.imm) = (d, a, 0, u32::MAX.into());
        let mask = self.decoder.constant(PENDING_MAX.into(), false);
        let code = self.push(Kind::Int(IntOp::And, IntTy::U32));
        (code.d, code.a, code.b) = (d, d, mask);
    }
}
