//! The programs that nobody wrote in good faith, and how each ends: one file a kind. Who includes this has `cpu_bench` beside it.

#![allow(dead_code, reason = "each who includes this uses its part")]

pub mod addresses;
pub mod bombs;
pub mod endless;
pub mod floods;

use crate::cpu_bench::{Bench, LIMITS};
use ion_gpu::backend::RunLimits;
use ion_protocol::{Millis, job::Program};

/// What a program that never ends is given.
const SHORT: Millis = Millis(60);
/// How a program ends.
#[derive(Debug, Clone, Copy)]
pub enum Ends {
    /// With the outputs as they were given, but for what the text says is written.
    Well,
    /// The module is refused with these words.
    Refused(&'static str),
    /// The launch is refused with these words.
    Program(&'static str),
    /// In this space, or in any for an empty name.
    OutOfBounds(&'static str),
    Misaligned(&'static str),
    Trap,
    Assert,
    Divergent,
    RunTime,
    Fuel,
    Memory,
}

/// One program.
pub struct Case {
    pub name: String,
    pub bench: Bench,
    /// Another program than the one launch of the bench.
    pub program: Option<Program>,
    pub ends: Ends,
}

impl Case {
    pub fn new(name: impl Into<String>, bench: Bench, ends: Ends) -> Case {
        Case { name: name.into(), bench, program: None, ends }
    }

    /// A program that never ends by itself: stopped by time, and by budget.
    pub fn endless(name: &str, text: &str, grid: [u32; 3], block: [u32; 3]) -> [Case; 2] {
        let case = |limits, word: &str, ends| {
            let mut bench = Bench::new(text, "k").buffer(vec![0; 4096]).grid(grid, block);
            bench.limits = limits;
            Case::new(format!("{name}, {word}"), bench, ends)
        };
        let fuel = RunLimits { fuel: Some(20_000), ..LIMITS };
        [
            case(RunLimits { run: SHORT, ..LIMITS }, "by time", Ends::RunTime),
            case(fuel, "by budget", Ends::Fuel),
        ]
    }
}

/// A kernel `k(x)` of this body, with registers of every class.
pub fn kernel(body: &str) -> String {
    module("", body)
}

/// The same after other declarations.
pub fn module(before: &str, body: &str) -> String {
    format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n{before}\n.visible .entry k(.param .u64 x)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %d<16>; .reg .f32 %f<8>; .reg .f64 %g<8>;\n\
         ld.param.u64 %d0, [x];\nmov.u32 %r0, %tid.x;\n{body}\nret;\n}}\n"
    )
}

/// Many pieces of text.
fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect()
}

/// All of them.
pub fn all() -> Vec<Case> {
    let kinds = [
        endless::cases(),
        endless::barriers(),
        addresses::cases(),
        bombs::cases(),
        bombs::programs(),
        floods::cases(),
    ];
    kinds.into_iter().flatten().collect()
}
