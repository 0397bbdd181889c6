//! What `alloca`, `stacksave` and `stackrestore` become.
//!
//! Owns: where the stack is: behind the kernel's own local memory. It grows down from the end, and a function's memory is
//! given back where the function returns.
//! Limits: [`limits::STACK_BYTES`](crate::ptx::limits::STACK_BYTES).

use super::{Decoder, Kind, Mod, Operand, instruction::Site};
use crate::ptx::{self, Function, limits, limits::aligned, words::Op};

/// Alignment of what `alloca` gives where none is asked for.
const ALIGN_MIN: i64 = 8;

impl Decoder<'_> {
    /// Makes room for a stack if any function has a use for it. It begins at its end.
    pub(super) fn begin_stack(&mut self, functions: &[&Function]) {
        if !functions.iter().any(|f| ptx::takes_stack(f)) {
            return;
        }
        self.kernel.local_bytes = aligned(self.kernel.local_bytes, 16) + limits::STACK_BYTES;
        let (stack, end) = (self.fresh(1), self.constant(self.kernel.local_bytes, false));
        let code = self.push(Kind::Move { wide: false });
        (code.d, code.a) = (stack, end);
        self.stack = Some(stack);
    }

    /// Keeps where the stack is, for a function that changes it.
    pub(super) fn keep_stack(&mut self, function: &Function) -> Option<(u32, u32)> {
        let stack = self.stack.filter(|_| !function.kernel && ptx::takes_stack(function))?;
        let kept = self.fresh(1);
        let code = self.push(Kind::Move { wide: false });
        (code.d, code.a) = (kept, stack);
        Some((stack, kept))
    }

    /// Gives back what the function was given.
    pub(super) fn restore_stack(&mut self, kept: Option<(u32, u32)>) {
        if let Some((stack, kept)) = kept {
            let code = self.push(Kind::Move { wide: false });
            (code.d, code.a) = (stack, kept);
        }
    }
}

impl Site<'_, '_, '_> {
    pub(super) fn stack(&mut self) {
        let Some(stack) = self.decoder.stack else { return };
        let wide = self.ty(0) == Mod::U64;
        match self.instruction.op {
            Op::Stacksave => {
                let d = self.dst(0);
                self.address_to(d, stack, wide);
            }
            Op::Stackrestore => {
                let a = self.src(0, self.ty(0));
                let code = self.push(if wide { Kind::TakeWord } else { Kind::Move { wide } });
                (code.d, code.a, code.e, code.imm) = (stack, a, 0, u32::MAX.into());
            }
            _ => {
                let size = self.src(1, self.ty(0));
                let align = match self.operand(2) {
                    Operand::Int(align) => (*align).max(ALIGN_MIN),
                    _ => ALIGN_MIN,
                };
                let lowest = self.decoder.kernel.local_bytes - limits::STACK_BYTES;
                let code = self.push(Kind::Alloca { wide, lowest: lowest as u32 });
                (code.d, code.a, code.b, code.imm) = (stack, size, stack, align);
                let d = self.dst(0);
                self.address_to(d, stack, wide);
            }
        }
    }

    /// An address of 32 bits, as a register of that or of twice the width.
    fn address_to(&mut self, d: u32, a: u32, wide: bool) {
        if wide {
            return self.widen(d, a);
        }
        let code = self.push(Kind::Move { wide });
        (code.d, code.a) = (d, a);
    }
}
