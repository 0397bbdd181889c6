//! `mma.sync` and `wmma.mma`: products of matrices by a whole warp.
//!
//! Owns: the layouts of `mma` as the PTX manual gives them, and the sum. Products are exact. Halves, bf16 and tf32 are
//! summed in f64, from `c` on in the order of `k`, and the sum is rounded once, to nearest, to the type of `d`; f64 is a
//! chain of fused multiply-adds in the same order; integers are exact. Tensor cores sum floating-point products in an
//! order and with a width of their own, so their last bits differ: a kernel with such an instruction is approximate.
//! Never: touches memory.
//! Tests: `gpu/tests/cpu_tensor.rs`.

use super::{
    code::{Code, Entry, Kernel, Matrix, Mma, Part, Spread},
    lanes::{Frame, LANES, store},
    matrix::held,
    soft::{self, BF16, F16, F32, F64, Format, Mode},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    A,
    B,
    Sum,
}

/// Bits of an element and how many are in one register.
fn size(entry: Entry) -> (u32, usize) {
    match entry {
        Entry::F16 | Entry::Bf16 => (16, 2),
        Entry::Tf32 | Entry::F32 => (32, 1),
        Entry::F64 => (64, 1),
        Entry::Int { bits, .. } => (bits.into(), 32 / usize::from(bits)),
    }
}

/// The product of four (for [`Spread::Quads`]), the row and the column that part `part` of a register holds.
fn place(
    what: &Mma,
    side: Side,
    register: usize,
    packed: usize,
    part: usize,
    lane: usize,
) -> (usize, usize, usize) {
    let [m, n, k] = what.shape.map(usize::from);
    let (group, member) = (lane / 4, lane % 4);
    match what.spread {
        Spread::Wmma => {
            let (rows, columns) = match side {
                Side::A => (m, k),
                Side::B => (k, n),
                Side::Sum => (m, n),
            };
            let by_columns = side == Side::B;
            let matrix =
                Matrix { rows: rows as u16, columns: columns as u16, bits: 0, row_major: true, by_columns };
            let (row, column) = held(&matrix, register, packed, part, lane);
            (0, row, column)
        }
        // Two columns of registers where there are sixteen rows: the upper and the lower half.
        Spread::Mma => {
            let halves = if m == 16 { 2 } else { 1 };
            match side {
                Side::A => {
                    let column = member * packed + part + register / halves * 4 * packed;
                    (0, group + 8 * (register % halves), column)
                }
                Side::B => (0, member * packed + part + register * 4 * packed, group),
                Side::Sum => {
                    let at = register * packed + part;
                    (0, group + 8 * (at / 2), member * 2 + at % 2)
                }
            }
        }
        Spread::Quads { a_rows, b_rows } => {
            let at = register * packed + part;
            let upper = if lane < 16 { 0 } else { 4 };
            let product = lane % 16 / 4;
            let (row, column) = match side {
                Side::A if a_rows => (member + upper, at),
                Side::A => (at + upper, member),
                Side::B if b_rows => (member, at + upper),
                Side::B => (at, member + upper),
                Side::Sum if packed == 2 => (member + upper, at),
                Side::Sum => ((lane & 1) + (at & 2) + upper, (at & 4) + (lane & 2) + (at & 1)),
            };
            (product, row, column)
        }
    }
}

fn format(entry: Entry) -> Format {
    match entry {
        Entry::F16 => F16,
        Entry::Bf16 => BF16,
        Entry::Tf32 | Entry::F32 | Entry::Int { .. } => F32,
        Entry::F64 => F64,
    }
}

/// Elements as this file computes with them.
trait Element: Copy + Default {
    fn decode(entry: Entry, bits: u64) -> Self;
    fn encode(self, what: &Mma) -> u64;
}

impl Element for f64 {
    fn decode(entry: Entry, bits: u64) -> f64 {
        match entry {
            Entry::F64 => f64::from_bits(bits),
            Entry::F32 => f32::from_bits(bits as u32).into(),
            // What is below a tf32's fraction is not looked at.
            Entry::Tf32 => f32::from_bits(bits as u32 & !0x1fff).into(),
            Entry::Bf16 => f32::from_bits((bits as u32) << 16).into(),
            Entry::F16 | Entry::Int { .. } => soft::half_to_f32(bits as u16).into(),
        }
    }

    fn encode(self, what: &Mma) -> u64 {
        let to = format(what.d);
        let bits = match what.d {
            Entry::F32 if !self.is_nan() => u64::from((self as f32).to_bits()),
            _ => soft::convert(F64, to, self.to_bits(), Mode::Rn),
        };
        let infinity = ((1u64 << to.exponent) - 1) << to.fraction;
        let sign = 1u64 << (to.fraction + to.exponent);
        if what.saturate && bits & !sign == infinity { bits - 1 } else { bits }
    }
}

impl Element for i64 {
    fn decode(entry: Entry, bits: u64) -> i64 {
        let Entry::Int { bits: width, signed } = entry else { return 0 };
        let shift = 64 - u32::from(width);
        if signed { (bits << shift) as i64 >> shift } else { (bits << shift >> shift) as i64 }
    }

    fn encode(self, what: &Mma) -> u64 {
        let kept =
            if what.saturate { self.clamp(i32::MIN.into(), i32::MAX.into()) as i32 } else { self as i32 };
        u64::from(kept as u32)
    }
}

/// The matrices of one side, one after the other, by rows.
fn collect<T: Element>(f: &Frame, what: &Mma, side: Side, entry: Entry, parts: &[Part]) -> Vec<T> {
    let [m, n, k] = what.shape.map(usize::from);
    let (rows, columns) = match side {
        Side::A => (m, k),
        Side::B => (k, n),
        Side::Sum => (m, n),
    };
    let products = if matches!(what.spread, Spread::Quads { .. }) { 4 } else { 1 };
    let mut out = vec![T::default(); products * rows * columns];
    let (bits, packed) = size(entry);
    for (register, held) in parts.iter().enumerate() {
        for lane in 0..LANES {
            let word =
                if held.bits == 64 { f.wides(held.slot)[lane] } else { f.words(held.slot)[lane].into() };
            for part in 0..packed {
                let (product, row, column) = place(what, side, register, packed, part, lane);
                let value = word >> (part as u32 * bits) & (u64::MAX >> (64 - bits));
                out[(product * rows + row) * columns + column] = T::decode(entry, value);
            }
        }
    }
    out
}

fn distribute<T: Element>(f: &mut Frame, what: &Mma, sums: &[T], parts: &[Part]) {
    let [m, n, _] = what.shape.map(usize::from);
    let (bits, packed) = size(what.d);
    for (register, held) in parts.iter().enumerate() {
        let words: [u64; LANES] = std::array::from_fn(|lane| {
            (0..packed).fold(0, |word, part| {
                let (product, row, column) = place(what, Side::Sum, register, packed, part, lane);
                word | sums[(product * m + row) * n + column].encode(what) << (part as u32 * bits)
            })
        });
        if held.bits == 64 {
            store::<u64>(f, held.slot, &words);
        } else {
            store::<u32>(f, held.slot, &words.map(|w| w as u32));
        }
    }
}

/// Every sum of every product matrix, from `c` on in the order of `k`.
fn multiply<T: Element>(what: &Mma, a: &[T], b: &[T], c: &mut [T], step: impl Fn(T, T, T) -> T) {
    let [m, n, k] = what.shape.map(usize::from);
    for (row, sums) in c.chunks_exact_mut(n).enumerate() {
        // Product matrices follow each other, so a row's number tells which it belongs to.
        let b = &b[row / m * k * n..];
        for (j, x) in a[row * k..(row + 1) * k].iter().enumerate() {
            for (sum, y) in sums.iter_mut().zip(&b[j * n..]) {
                *sum = step(*x, *y, *sum);
            }
        }
    }
}

pub fn mma(kernel: &Kernel, f: &mut Frame, i: &Code, what: Mma) {
    let registers = |start: u32, side: Side, entry: Entry| {
        let [m, n, k] = what.shape.map(usize::from);
        let elements = match side {
            Side::A => m * k,
            Side::B => k * n,
            Side::Sum => m * n,
        };
        let copies = match (what.spread, side, entry) {
            (Spread::Quads { .. }, ..) => 4,
            // These halves are held more than once; see `ptx::tensor::fragment`.
            (Spread::Wmma, Side::A | Side::B, Entry::F16) => 8 * 2 * LANES / elements,
            _ => 1,
        };
        let count = copies * elements / LANES / size(entry).1;
        &kernel.parts[start as usize..start as usize + count]
    };
    let (a, b) = (registers(i.a, Side::A, what.a), registers(i.b, Side::B, what.b));
    let (c, d) = (registers(i.c, Side::Sum, what.c), registers(i.d, Side::Sum, what.d));
    if let Entry::Int { bits, .. } = what.a {
        let (x, y) = (collect::<i64>(f, &what, Side::A, what.a, a), collect(f, &what, Side::B, what.b, b));
        let mut sums: Vec<i64> = collect(f, &what, Side::Sum, what.c, c);
        match (bits, what.both) {
            (1, false) => multiply(&what, &x, &y, &mut sums, |x, y, s| s + (x ^ y)),
            (1, true) => multiply(&what, &x, &y, &mut sums, |x, y, s| s + (x & y)),
            _ => multiply(&what, &x, &y, &mut sums, |x, y, s| s + x * y),
        }
        return distribute(f, &what, &sums, d);
    }
    let (x, y) = (collect::<f64>(f, &what, Side::A, what.a, a), collect(f, &what, Side::B, what.b, b));
    let mut sums: Vec<f64> = collect(f, &what, Side::Sum, what.c, c);
    match (what.a, what.mode) {
        (Entry::F64, Mode::Rn) => multiply(&what, &x, &y, &mut sums, f64::mul_add),
        (Entry::F64, mode) => multiply(&what, &x, &y, &mut sums, |x, y, s| {
            f64::from_bits(soft::fma(F64, x.to_bits(), y.to_bits(), s.to_bits(), mode))
        }),
        _ => multiply(&what, &x, &y, &mut sums, |x, y, s| s + x * y),
    }
    distribute(f, &what, &sums, d);
}
