//! Video instructions: arithmetic on bytes and halves of words, one at a time or all lanes of a word at once.
//!
//! Owns: which parts are taken, how results are saturated, and how they are joined with a third operand. Where PTX leaves
//! open what a minimum or maximum makes of a result that is out of range, the result wraps first.
//! Tests: `gpu/tests/cpu_video.rs`.

use super::{
    code::{Cmp, Code, NONE},
    lanes::{Frame, LANES, store},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoOp {
    Add,
    Sub,
    Difference,
    Average,
    Min,
    Max,
    Shl { wrap: bool },
    Shr { wrap: bool },
    Set(Cmp),
}

/// What is done with the result and the third operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Add,
    Min,
    Max,
}

/// Bits of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub shift: u8,
    pub bits: u8,
}

impl Part {
    pub const WORD: Part = Part { shift: 0, bits: 32 };

    fn mask(self) -> u32 {
        u32::MAX >> (32 - u32::from(self.bits)) << self.shift
    }

    fn of(self, word: u32, signed: bool) -> i128 {
        let low = word >> self.shift & u32::MAX >> (32 - u32::from(self.bits));
        let unused = 32 - u32::from(self.bits);
        if signed { i128::from((low << unused) as i32 >> unused) } else { low.into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    One {
        d: Part,
        a: Part,
        b: Part,
    },
    /// For each lane, the lowest first, which part of `a`, or beyond these of `b`; and the lanes that are set.
    Many {
        bits: u8,
        a: [u8; 4],
        b: [u8; 4],
        mask: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Video {
    pub op: VideoOp,
    /// Whether the result, `a` and `b` are signed.
    pub signed: [bool; 3],
    pub saturate: bool,
    pub then: Option<Then>,
    pub lanes: Lanes,
}

/// `a * b + c` of parts of words: `vmad`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoMad {
    pub a: Part,
    pub b: Part,
    /// Whether `a` and `b` are signed.
    pub signed: [bool; 2],
    pub minus_product: bool,
    pub minus_term: bool,
    pub plus_one: bool,
    pub saturate: bool,
    /// Bits by which the sum is shifted right.
    pub shift: u8,
}

impl VideoMad {
    fn word(&self, a: u32, b: u32, c: u32) -> u32 {
        let signed = self.signed[0] || self.signed[1] || self.minus_product || self.minus_term;
        let product = self.a.of(a, self.signed[0]) * self.b.of(b, self.signed[1]);
        let product = if self.minus_product { -product } else { product };
        // The manual turns the bits of `c` round before they become a wider number, so `-c` of the least is the least.
        let (bits, one) = if self.minus_term { (!c, true) } else { (c, self.plus_one) };
        let term = if signed { i128::from(bits as i32) } else { bits.into() };
        let sum = (product + term + i128::from(one)) >> self.shift;
        (if self.saturate { clamped(sum, 32, signed) } else { sum }) as u32
    }
}

impl VideoOp {
    fn of(self, a: i128, b: i128) -> i128 {
        // Beyond the width nothing is left but the sign.
        let by = |wrap: bool| if wrap { b & 31 } else { b.clamp(0, 32) };
        match self {
            VideoOp::Add => a + b,
            VideoOp::Sub => a - b,
            VideoOp::Difference => (a - b).abs(),
            VideoOp::Average => (a + b + i128::from(a + b >= 0)) >> 1,
            VideoOp::Min => a.min(b),
            VideoOp::Max => a.max(b),
            VideoOp::Shl { wrap } => a << by(wrap),
            VideoOp::Shr { wrap } => a >> by(wrap),
            VideoOp::Set(cmp) => i128::from(match cmp {
                Cmp::Ne => a != b,
                Cmp::Lt => a < b,
                Cmp::Le => a <= b,
                Cmp::Gt => a > b,
                Cmp::Ge => a >= b,
                _ => a == b,
            }),
        }
    }
}

/// The nearest number that so many bits have.
fn clamped(value: i128, bits: u8, signed: bool) -> i128 {
    if signed {
        value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        value.clamp(0, (1 << bits) - 1)
    }
}

impl Video {
    fn result(&self, a: i128, b: i128, bits: u8) -> i128 {
        let value = self.op.of(a, b);
        if self.saturate { clamped(value, bits, self.signed[0]) } else { value }
    }

    fn word(&self, a: u32, b: u32, c: u32) -> u32 {
        match self.lanes {
            Lanes::One { d, a: from, b: by } => {
                let value = self.result(from.of(a, self.signed[1]), by.of(b, self.signed[2]), d.bits) as u32;
                match self.then {
                    Some(Then::Add) => value.wrapping_add(c),
                    Some(Then::Min) if self.signed[0] => (value as i32).min(c as i32) as u32,
                    Some(Then::Min) => value.min(c),
                    Some(Then::Max) if self.signed[0] => (value as i32).max(c as i32) as u32,
                    Some(Then::Max) => value.max(c),
                    None => c & !d.mask() | value << d.shift & d.mask(),
                }
            }
            Lanes::Many { bits, a: from, b: by, mask } => {
                let lanes = 32 / bits;
                let pick = |n: u8, signed: bool| {
                    let part = Part { shift: n % lanes * bits, bits };
                    part.of(if n < lanes { a } else { b }, signed)
                };
                let set = (0..lanes).filter(|lane| mask >> lane & 1 == 1);
                set.fold(c, |word, lane| {
                    let n = usize::from(lane);
                    let value =
                        self.result(pick(from[n], self.signed[1]), pick(by[n], self.signed[2]), bits) as u32;
                    let part = Part { shift: lane * bits, bits };
                    match self.then {
                        Some(_) => word.wrapping_add(value),
                        None => word & !part.mask() | value << part.shift & part.mask(),
                    }
                })
            }
        }
    }
}

pub fn mad(f: &mut Frame, i: &Code, how: VideoMad) {
    let (a, b, c) = (*f.words(i.a), *f.words(i.b), *f.words(i.c));
    store::<u32>(f, i.d, &std::array::from_fn(|n| how.word(a[n], b[n], c[n])));
}

pub fn video(f: &mut Frame, i: &Code, how: Video) {
    let (a, b) = (*f.words(i.a), *f.words(i.b));
    let c = if i.c == NONE { [0; LANES] } else { *f.words(i.c) };
    let out = std::array::from_fn(|n| how.word(a[n], b[n], c[n]));
    store::<u32>(f, i.d, &out);
}
