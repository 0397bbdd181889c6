//! Constants that compilers put into registers first.
//!
//! Owns: [`fold`]: where an instruction's distance, limits, members, place or length is a register that was given a
//! constant on the way there, it becomes the constant, so that it is known what the instruction does.
//! Never: looks beyond the straight code that a register was written in, but for one that is written once, before all that
//! reads it; or at anything but moves of constants. Limits: [`CANDIDATES_MAX`].
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    effects::{Effects, Reg, effects},
    flow::CODES_MAX,
};
use crate::cpu::code::{BitOp, Code, Fill, IntOp, Kernel, Kind, NONE};
use std::collections::{HashMap, HashSet};

/// Registers that are looked for everywhere: shuffles of a kernel have a handful of distances and limits.
const CANDIDATES_MAX: usize = 32;

pub fn fold(kernel: &mut Kernel) {
    if kernel.codes.len() > CODES_MAX {
        return;
    }
    let mut leads = vec![false; kernel.codes.len() + 1];
    for i in &kernel.codes {
        if let Kind::Branch(target) = i.kind {
            leads[target as usize] = true;
        }
    }
    let words = kernel.fills.iter().filter(|(_, fill)| matches!(fill, Fill::Word(_)));
    let words: HashSet<Reg> = words.map(|(slot, _)| *slot).collect();
    let touched: Vec<Effects> = kernel.codes.iter().map(|i| effects(kernel, i)).collect();
    let always = always(kernel, &touched, &words);
    // The constant's slot, by the register that holds it from here on.
    let mut held: HashMap<Reg, u32> = HashMap::new();
    for (n, leads) in leads.into_iter().enumerate().take(kernel.codes.len()) {
        if leads {
            held.clear();
        }
        let mut i = kernel.codes[n];
        for source in sources(&mut i) {
            *source = held.get(source).or(always.get(source)).copied().unwrap_or(*source);
        }
        for (reg, slots) in &touched[n].writes {
            // A wide register is written over two narrow ones.
            for reg in *reg..*reg + u32::from(*slots) {
                held.remove(&reg);
            }
        }
        if gives_constant(&i, &words) {
            held.insert(i.d, i.a);
        }
        kernel.codes[n] = i;
    }
}

fn gives_constant(i: &Code, words: &HashSet<Reg>) -> bool {
    matches!(i.kind, Kind::Move { wide: false }) && i.guard == NONE && words.contains(&i.a)
}

/// The registers worth knowing that are written once, with a constant, before anything can read them.
fn always(kernel: &Kernel, touched: &[Effects], words: &HashSet<Reg>) -> HashMap<Reg, u32> {
    let mut writers: HashMap<Reg, Vec<usize>> = HashMap::new();
    for i in &kernel.codes {
        writers.extend(sources(&mut i.clone()).into_iter().map(|source| (*source, Vec::new())));
    }
    for (n, touched) in touched.iter().enumerate() {
        for (reg, slots) in &touched.writes {
            for reg in *reg..*reg + u32::from(*slots) {
                if let Some(writers) = writers.get_mut(&reg) {
                    writers.push(n);
                }
            }
        }
    }
    let once = writers.into_iter().filter_map(|(reg, writers)| match writers.as_slice() {
        [n] if gives_constant(&kernel.codes[*n], words) => Some((reg, *n)),
        _ => None,
    });
    let mut once: Vec<(Reg, usize)> = once.collect();
    once.sort_unstable();
    once.truncate(CANDIDATES_MAX);
    let known = once.into_iter().filter(|(reg, writer)| comes_first(&kernel.codes, touched, *writer, *reg));
    known.map(|(reg, writer)| (reg, kernel.codes[writer].a)).collect()
}

/// Whether no way leads from the first instruction to one that reads the register but by the writer.
fn comes_first(codes: &[Code], touched: &[Effects], writer: usize, reg: Reg) -> bool {
    let mut seen = vec![false; codes.len()];
    let mut open = vec![0];
    while let Some(n) = open.pop() {
        if n == writer || n >= codes.len() || std::mem::replace(&mut seen[n], true) {
            continue;
        }
        if touched[n].reads.iter().any(|(read, _)| *read == reg) {
            return false;
        }
        match codes[n].kind {
            Kind::Branch(target) => {
                open.push(target as usize);
                if codes[n].guard != NONE {
                    open.push(n + 1);
                }
            }
            Kind::Exit if codes[n].guard == NONE => {}
            _ => open.push(n + 1),
        }
    }
    true
}

/// The sources of 32 bits that are worth knowing.
fn sources(i: &mut Code) -> Vec<&mut u32> {
    match i.kind {
        Kind::Shuffle(_) => vec![&mut i.b, &mut i.c],
        Kind::Bits(BitOp::Bfe { .. }) => vec![&mut i.b, &mut i.c],
        Kind::Bits(BitOp::Bfi { .. }) => vec![&mut i.c, &mut i.e],
        Kind::Bits(BitOp::Prmt(_) | BitOp::Shf { .. }) => vec![&mut i.c],
        Kind::Vote { .. } | Kind::Redux { .. } | Kind::Int(IntOp::Shl | IntOp::Shr, _) => vec![&mut i.b],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::decode::{Addresses, decode},
        ptx,
    };

    /// Whether the distance of the shuffle in a kernel with this body becomes a constant.
    fn is_folded(body: &str) -> bool {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u32 n)\n{{\n\
             .reg .b32 %r<4>; .reg .b64 %d; .reg .pred %p;\n{body}\nret;\n}}\n"
        );
        let text = text.replace("SHUFFLE", "shfl.sync.bfly.b32 %r0, %r0, %r1, 31, -1;");
        let module = ptx::parse(&text).unwrap_or_else(|refusal| panic!("{refusal:?}\n{text}"));
        let addresses = Addresses { global: 0, constant: 0 };
        let mut kernel = decode(&module, module.kernel("k").unwrap(), addresses).unwrap();
        fold(&mut kernel);
        let shuffle = kernel.codes.iter().find(|i| matches!(i.kind, Kind::Shuffle(_))).unwrap();
        kernel.fills.iter().any(|(slot, fill)| *slot == shuffle.b && *fill == Fill::Word(16))
    }

    #[test]
    fn what_is_constant_on_the_way_is_known() {
        assert!(is_folded("mov.u32 %r1, 16; SHUFFLE"));
        assert!(is_folded(
            "ld.param.u32 %r1, [n]; L: mov.u32 %r1, 16; add.u32 %r0, %r0, 1; SHUFFLE @%p bra L;"
        ));
        assert!(is_folded("mov.u32 %r1, 16; @%p bra L; add.u32 %r0, %r0, 1; L: SHUFFLE"));
        assert!(is_folded("@%p bra E; mov.u32 %r1, 16; L: SHUFFLE @%p bra L; E: exit;"));
    }

    #[test]
    fn what_may_be_something_else_is_not() {
        assert!(!is_folded("L: SHUFFLE mov.u32 %r1, 16; @%p bra L;"));
        assert!(!is_folded("@%p mov.u32 %r1, 16; SHUFFLE"));
        assert!(!is_folded("mov.u32 %r1, 16; add.u32 %r1, %r1, 1; SHUFFLE"));
        assert!(!is_folded("mov.u32 %r1, 16; L: SHUFFLE mov.u32 %r1, 8; @%p bra L;"));
        assert!(!is_folded("@%p bra L; mov.u32 %r1, 16; L: SHUFFLE"));
        assert!(!is_folded("mov.u32 %r1, 16; @%p bra L; mov.u32 %r1, 8; L: SHUFFLE"));
    }
}
