//! PTX text: reading, checking, judging and printing.
//!
//! [`parse`] is the only door: it reads text of PTX 6.0 to 9.0 and refuses, with line, column and reason, whatever is
//! outside the covered set (`table.rs`, `words.rs`). A [`Module`] is therefore a checked one. [`canonical`] gives the
//! text that identifies a module and that drivers see; [`profile()`] says how far results can be checked.
//!
//! Never: runs anything (`cpu/`, `cuda/`), reads files, or keeps foreign text.
//! Limits: `limits.rs`; the parser takes time and memory in proportion to the text.
//! Tests: `ptx/tests.rs`; hostile texts in `gpu/tests/ptx_hostile.rs`, random ones in
//! `gpu/tests/ptx_fuzz`; meaning in `gpu/tests/cpu_*.rs`.

pub mod calls;
pub mod error;
mod exact;
mod forms;
mod inspect;
pub mod ir;
mod lex;
pub mod limits;
mod parse;
mod print;
mod profile;
pub mod table;
pub mod tensor;
#[cfg(test)]
mod tests;
pub mod words;

pub use error::{At, Refusal, What};
pub use exact::exact;
pub use inspect::{Inspection, KernelSummary, inspect};
pub use ir::{Function, Module};
pub use parse::parse;
pub use print::{Canonical, canonical, lasting_variables, print};
pub use profile::{
    Profile, Resources, has_doubles, profile, reachable, resources, takes_stack, used_variables,
};
