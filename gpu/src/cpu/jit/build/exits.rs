//! Exits and branches on the way.
//!
//! Owns: what a region does at an exit that lanes may take: it goes past where none does. Where some do it ends there, and
//! they leave once it has; but in passes of a few lanes, of which others may have gone past, it bails. So it is with
//! branches that only some take (`detour`).
//! Never: takes a lane out of a warp, or one way and another the other.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{super::region::Exit, Builder};
use crate::cpu::code::Code;
use cranelift_codegen::ir::{InstBuilder, Value};

impl Builder<'_, '_> {
    /// Goes past the exit that ends a block if no lane takes it.
    pub(super) fn pass_exit(&mut self, b: usize, exit: &Code) {
        let leaving = self.e.leaving(exit);
        if !self.plan.wide && self.varying(self.e.kernel.slots + exit.guard) {
            return self.e.bail_if(leaving);
        }
        self.leave_at_end_if(b, leaving);
    }

    /// Leaves the region at what ends a block where `leaving` is not zero, and goes on where it is.
    pub(super) fn leave_at_end_if(&mut self, b: usize, leaving: Value) {
        let (ends, on) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
        self.e.ops.b.ins().brif(leaving, ends, &[], on, &[]);
        self.e.ops.b.switch_to_block(ends);
        self.e.ops.b.set_cold_block(ends);
        self.leave_at_end(b);
        self.e.ops.b.switch_to_block(on);
    }

    /// Leaves the region at the branch or the exit that ends a block. Whoever executes that counts it.
    pub(super) fn leave_at_end(&mut self, b: usize) {
        let count = self.e.ops.b.use_var(self.shared.count);
        let count = self.e.ops.b.ins().iadd_imm_s(count, -1);
        self.e.ops.b.def_var(self.shared.count, count);
        let stub = self.exit(Exit::to(self.e.flow.blocks[b].end - 1, b));
        self.e.ops.b.ins().jump(stub, &[]);
    }
}
