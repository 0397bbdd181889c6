//! What a launch gives to its kernel.
//!
//! Owns: [`Arg`], which arguments belong to one parameter ([`groups`]), and where the fields of a struct are
//! ([`layout`]). Never: knows a kernel; whether an argument is what a parameter takes is for the engine to say.
//! Limits: [`crate::limits::ARGS_MAX`]. Tests: `protocol/tests/programs.rs`, `protocol/tests/golden.rs`.

use super::Element;
use crate::codec::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A kernel argument. A struct is written flat, a head and then its fields, so that nothing on the wire recurses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arg {
    /// The address of a buffer, by position.
    Buffer(u16),
    /// A value of `element` type in the low bits of `bits`.
    Scalar {
        /// Its type.
        element: Element,
        /// Its two's complement or IEEE 754 bits.
        bits: u64,
    },
    /// The next `fields` arguments are one struct that is passed by value. They are buffers and scalars: a struct or
    /// an array inside it is written as its members, with scalars for padding that [`layout`] does not make itself.
    Struct {
        /// How many, 1 or more.
        fields: u16,
    },
}

impl Arg {
    /// The bytes it takes, which are its alignment too; `None` for the head of a struct, which has none of its own.
    pub fn size(self) -> Option<u64> {
        match self {
            Arg::Buffer(_) => Some(Element::U64.size()),
            Arg::Scalar { element, .. } => Some(element.size()),
            Arg::Struct { .. } => None,
        }
    }
}

/// The arguments of each parameter in turn: a value, or the head of a struct with as many of its fields as there are.
pub fn groups(args: &[Arg]) -> impl Iterator<Item = &[Arg]> {
    let mut rest = args;
    std::iter::from_fn(move || {
        let fields = match rest.first()? {
            Arg::Struct { fields } => usize::from(*fields),
            Arg::Buffer(_) | Arg::Scalar { .. } => 0,
        };
        let (group, behind) = rest.split_at(rest.len().min(1 + fields));
        rest = behind;
        Some(group)
    })
}

/// Where each value of a group is, in bytes, and how long the whole is. As in C: every field at the next multiple of
/// its size, the end at the next multiple of the largest.
pub fn layout(group: &[Arg]) -> (Vec<(u64, Arg)>, u64) {
    let (mut placed, mut end, mut align) = (Vec::new(), 0u64, 1);
    for (size, arg) in group.iter().filter_map(|arg| Some((arg.size()?, *arg))) {
        let at = end.next_multiple_of(size);
        placed.push((at, arg));
        (end, align) = (at + size, align.max(size));
    }
    (placed, end.next_multiple_of(align))
}

/// Whether every struct has its fields, and nothing but values in them; `Err` holds what was found and what is
/// expected.
pub fn check_structs(args: &[Arg]) -> Result<(), (String, String)> {
    for (n, group) in groups(args).enumerate() {
        let [Arg::Struct { fields }, given @ ..] = group else { continue };
        if let Some(inner) = given.iter().position(|arg| arg.size().is_none()) {
            let found = format!("a struct as field {inner} of argument {n}");
            return Err((found, "buffers and scalars; structs do not nest, write its fields".to_owned()));
        }
        if given.is_empty() || given.len() != usize::from(*fields) {
            let found = format!("{} of the {fields} fields of argument {n}", given.len());
            return Err((found, "at least one field, and all of them behind their struct".to_owned()));
        }
    }
    Ok(())
}
