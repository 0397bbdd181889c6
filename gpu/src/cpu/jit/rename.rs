//! One name for each value of a kernel's beginning.
//!
//! Owns: [`rename`]: where the straight code that a kernel begins with writes a register several times, each value but
//! the last gets a register of its own. What is known of a register holds for all of its values, so that one which is a
//! constant first, and a thread's address after, would count as neither.
//! Limits: [`RENAMED_MAX`].
//! Never: renames what an instruction other than plain arithmetic touches, or what other lanes may read.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    effects::{Reg, effects},
    flow::CODES_MAX,
};
use crate::cpu::code::{Code, IntTy, Kernel, Kind, NONE};
use std::collections::{HashMap, HashSet};

/// Registers that are added to a warp: 8 KiB. Kernels as compilers write them need none.
const RENAMED_MAX: u32 = 64;

pub fn rename(kernel: &mut Kernel) {
    if kernel.codes.len() > CODES_MAX {
        return;
    }
    let end = straight(&kernel.codes);
    let mut held: HashSet<Reg> = HashSet::new();
    held.extend(kernel.codes.iter().filter(|i| matches!(i.kind, Kind::Shuffle(_))).map(|i| i.a));
    let mut writes: HashMap<Reg, u32> = HashMap::new();
    for i in &kernel.codes[..end] {
        if is_plain(i) {
            *writes.entry(i.d).or_default() += 1;
        } else {
            let touched = effects(kernel, i);
            let touched = touched.reads.into_iter().chain(touched.writes);
            held.extend(touched.flat_map(|(reg, slots)| reg..reg + u32::from(slots)));
        }
    }
    writes.retain(|reg, _| !held.contains(reg));
    let mut names: HashMap<Reg, Reg> = HashMap::new();
    for i in kernel.codes[..end].iter_mut().filter(|i| is_plain(i)) {
        for source in [&mut i.a, &mut i.b, &mut i.c] {
            *source = names.get(source).copied().unwrap_or(*source);
        }
        let Some(left) = writes.get_mut(&i.d) else { continue };
        *left -= 1;
        if *left == 0 {
            names.remove(&i.d);
        } else if kernel.renamed < RENAMED_MAX {
            names.insert(i.d, kernel.slots);
            i.d = kernel.slots;
            kernel.slots += 1;
            kernel.renamed += 1;
        } else {
            names.remove(&i.d);
        }
    }
}

/// Instructions before the first branch and before the first that one leads to.
fn straight(codes: &[Code]) -> usize {
    let ends = codes.iter().enumerate().filter_map(|(n, i)| match i.kind {
        Kind::Branch(target) => Some(n.min(target as usize)),
        _ => None,
    });
    ends.min().unwrap_or(codes.len())
}

/// Whether an instruction only makes one register of 32 bits of others.
fn is_plain(i: &Code) -> bool {
    let narrow = matches!(i.kind, Kind::Int(_, IntTy::U32 | IntTy::S32) | Kind::Move { wide: false });
    narrow && i.guard == NONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::decode::{Addresses, decode},
        ptx,
    };

    /// How many values of a kernel with this body get a name of their own.
    fn renamed(body: &str) -> u32 {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u32 n)\n{{\n\
             .reg .b32 %r<4>; .reg .pred %p;\n{body}\nret;\n}}\n"
        );
        let module = ptx::parse(&text).unwrap_or_else(|refusal| panic!("{refusal:?}\n{text}"));
        let addresses = Addresses { global: 0, constant: 0 };
        let mut kernel = decode(&module, module.kernel("k").unwrap(), addresses).unwrap();
        rename(&mut kernel);
        kernel.renamed
    }

    #[test]
    fn every_value_but_the_last_of_straight_arithmetic_is_renamed() {
        assert_eq!(renamed("mov.u32 %r0, 5; add.u32 %r0, %r0, %r1; mul.lo.u32 %r0, %r0, %r0;"), 2);
        assert_eq!(renamed("mov.u32 %r0, 5; mov.u32 %r1, 6;"), 0);
        let many = "add.u32 %r0, %r0, 1;\n".repeat(2 * RENAMED_MAX as usize);
        assert_eq!(renamed(&many), RENAMED_MAX);
    }

    #[test]
    fn what_loops_loads_guards_and_shuffles_touch_keeps_its_name() {
        assert_eq!(renamed("L: add.u32 %r0, %r0, 1; add.u32 %r0, %r0, 1; @%p bra L;"), 0);
        assert_eq!(renamed("ld.param.u32 %r0, [n]; add.u32 %r0, %r0, 1; add.u32 %r0, %r0, 1;"), 0);
        assert_eq!(renamed("mov.u32 %r0, 5; @%p add.u32 %r0, %r0, 1; add.u32 %r0, %r0, 1;"), 0);
        let shuffle = "shfl.sync.idx.b32 %r1, %r0, 0, 31, -1;";
        assert_eq!(renamed(&format!("mov.u32 %r0, 5; add.u32 %r0, %r0, 1; {shuffle}")), 0);
    }
}
