//! Constants that compilers put into registers first.
//!
//! Owns: [`fold`]: where an instruction's distance, limits, members, place or length is a register that was given a
//! constant on the way there, it becomes the constant, so that it is known what the instruction does.
//! Never: looks beyond the straight code that a register was written in, or at anything but moves of constants.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::effects::{Reg, effects};
use crate::cpu::code::{BitOp, Code, Fill, IntOp, Kernel, Kind, NONE};
use std::collections::{HashMap, HashSet};

pub fn fold(kernel: &mut Kernel) {
    let mut leads = vec![false; kernel.codes.len() + 1];
    for i in &kernel.codes {
        if let Kind::Branch(target) = i.kind {
            leads[target as usize] = true;
        }
    }
    let words = kernel.fills.iter().filter(|(_, fill)| matches!(fill, Fill::Word(_)));
    let words: HashSet<Reg> = words.map(|(slot, _)| *slot).collect();
    // The constant's slot, by the register that holds it.
    let mut held: HashMap<Reg, u32> = HashMap::new();
    for (n, leads) in leads.into_iter().enumerate().take(kernel.codes.len()) {
        if leads {
            held.clear();
        }
        let mut i = kernel.codes[n];
        for source in sources(&mut i) {
            *source = held.get(source).copied().unwrap_or(*source);
        }
        for (reg, slots) in effects(kernel, &i).writes {
            // A wide register is written over two narrow ones.
            for reg in reg..reg + u32::from(slots) {
                held.remove(&reg);
            }
        }
        if matches!(i.kind, Kind::Move { wide: false }) && i.guard == NONE && words.contains(&i.a) {
            held.insert(i.d, i.a);
        }
        kernel.codes[n] = i;
    }
}

/// The sources of 32 bits that are worth knowing.
fn sources(i: &mut Code) -> Vec<&mut u32> {
    match i.kind {
        Kind::Shuffle(_) => vec![&mut i.b, &mut i.c],
        Kind::Bits(BitOp::Bfe { .. }) => vec![&mut i.b, &mut i.c],
        Kind::Bits(BitOp::Bfi { .. }) => vec![&mut i.c, &mut i.e],
        Kind::Bits(BitOp::Prmt(_) | BitOp::Shf { .. }) => vec![&mut i.c],
        Kind::Vote { .. } | Kind::Int(IntOp::Shl | IntOp::Shr, _) => vec![&mut i.b],
        _ => Vec::new(),
    }
}
