//! Loops that stride through memory.
//!
//! Owns: which they are. Each thread of such a loop goes on by what is no constant, as a rule the number of all threads of
//! the grid: what a warp reads in one round lies far from what it reads in the next, often so far that all of it has
//! to share a few places of the processor's caches, but right beside what the block's next warp reads. A block is
//! therefore through sooner if its warps keep abreast. Both engines have to know, since it changes the order in which
//! warps have their turns.
//! Never: is wrong in a way that matters: for loops that are taken for such ones, or are not, only the time differs.
//! Limits: [`ROUND_MAX`]. Tests: `gpu/tests/cpu_engines.rs`.

use crate::cpu::{
    code::{Code, Fill, IntOp, Kernel, Kind, NONE},
    memory::Area,
};

/// Instructions of a round: with more, it is no longer memory that takes the time.
const ROUND_MAX: usize = 64;

/// Marks the branches that lead back to the heads of such loops.
pub fn mark(kernel: &mut Kernel) {
    for n in 0..kernel.codes.len() {
        let Kind::Branch(head) = kernel.codes[n].kind else { continue };
        let head = head as usize;
        if head <= n && n - head < ROUND_MAX && strides(&kernel.codes[head..n], &kernel.fills) {
            kernel.codes[n].imm = 1;
        }
    }
}

fn strides(round: &[Code], fills: &[(u32, Fill)]) -> bool {
    let loads = |i: &Code| matches!(i.kind, Kind::Load { area: Area::Global | Area::Generic, .. });
    round.iter().any(loads) && round.iter().any(|i| grows(i, round, fills))
}

/// Whether an instruction adds the same number, which is no constant, to a register every round.
fn grows(i: &Code, round: &[Code], fills: &[(u32, Fill)]) -> bool {
    let by = match i.kind {
        Kind::Int(IntOp::Add, _) if i.a == i.d => i.b,
        Kind::Int(IntOp::Add, _) if i.b == i.d => i.a,
        _ => return false,
    };
    let at = fills.binary_search_by_key(&by, |(slot, _)| *slot);
    let constant = at.is_ok_and(|at| matches!(fills[at].1, Fill::Word(_) | Fill::Wide(_)));
    let computed = |i: &Code| match i.kind {
        Kind::Load { .. } => false,
        _ => i.d == by,
    };
    i.guard == NONE && !constant && by != i.d && !round.iter().any(computed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::decode::{Addresses, decode},
        ptx,
    };

    /// How many branches of a kernel with this body are marked.
    fn marked(body: &str) -> usize {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 x, .param .u32 n)\n{{\n\
             .reg .b64 %x, %s; .reg .b32 %i, %n, %v, %w; .reg .pred %p;\n\
             ld.param.u64 %x, [x]; ld.param.u32 %n, [n]; mul.wide.u32 %s, %n, 4;\nL:\n{body}\n\
             setp.lt.u32 %p, %i, 1000; @%p bra L;\nret;\n}}\n"
        );
        let module = ptx::parse(&text).unwrap_or_else(|refusal| panic!("{refusal:?}\n{text}"));
        let kernel =
            decode(&module, module.kernel("k").unwrap(), Addresses { global: 0, constant: 0 }).unwrap();
        kernel.codes.iter().filter(|i| i.strides()).count()
    }

    #[test]
    fn loops_that_go_on_by_what_is_no_constant_and_load_stride() {
        assert_eq!(marked("ld.global.u32 %v, [%x]; add.u64 %x, %x, %s; add.u32 %i, %i, 1;"), 1);
        assert_eq!(marked("ld.global.u32 %v, [%x]; st.global.u32 [%x], %v; add.u32 %i, %n, %i;"), 1);
    }

    #[test]
    fn loops_that_walk_on_or_only_compute_do_not() {
        assert_eq!(marked("ld.global.u32 %v, [%x]; add.u64 %x, %x, 4; add.u32 %i, %i, 1;"), 0);
        assert_eq!(marked("ld.shared.u32 %v, [%i]; add.u32 %i, %i, %n;"), 0);
        assert_eq!(marked("ld.global.u32 %v, [%x]; add.u32 %w, %v, 1; add.u32 %i, %i, %w;"), 0);
        let long = "add.u32 %v, %v, 1;\n".repeat(ROUND_MAX);
        assert_eq!(marked(&format!("ld.global.u32 %v, [%x]; add.u32 %i, %i, %n; {long}")), 0);
    }
}
