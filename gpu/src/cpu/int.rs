//! Integer instructions, 32 lanes at a time.
//!
//! Owns: their meaning. Where PTX leaves a result open it is fixed here: division by zero gives all ones (and the
//! dividend as remainder), the most negative number divided by -1 gives itself (remainder 0).
//! Tests: `gpu/tests/cpu_integer.rs`.

use super::{
    code::{BitOp, CarryOp, Code, IntOp, IntTy, PairOp, WordOp},
    lanes::{Frame, LANES, Lane, map1, map2, map3, store, versions},
};
use crate::ptx::words::Mod;

/// What the integer types have in common.
trait Int: Lane + Ord {
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn mul_high(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn rem(self, b: Self) -> Self;
    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    fn not(self) -> Self;
    fn shl(self, by: u32) -> Self;
    fn shr(self, by: u32) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn add_sat(self, b: Self) -> Self;
    fn sub_sat(self, b: Self) -> Self;
    fn is_zero(self) -> Self;
}

macro_rules! int {
    ($($ty:ty, $signed:ty, $wide:ty, $abs:expr);* $(;)?) => {$(
        impl Int for $ty {
            #[inline(always)]
            fn add(self, b: Self) -> Self { self.wrapping_add(b) }
            #[inline(always)]
            fn sub(self, b: Self) -> Self { self.wrapping_sub(b) }
            #[inline(always)]
            fn mul(self, b: Self) -> Self { self.wrapping_mul(b) }
            #[inline(always)]
            fn mul_high(self, b: Self) -> Self {
                ((self as $wide).wrapping_mul(b as $wide) >> <$ty>::BITS) as $ty
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self { if b == 0 { !0 } else { self.wrapping_div(b) } }
            #[inline(always)]
            fn rem(self, b: Self) -> Self { if b == 0 { self } else { self.wrapping_rem(b) } }
            #[inline(always)]
            fn and(self, b: Self) -> Self { self & b }
            #[inline(always)]
            fn or(self, b: Self) -> Self { self | b }
            #[inline(always)]
            fn xor(self, b: Self) -> Self { self ^ b }
            #[inline(always)]
            fn not(self) -> Self { !self }
            // Amounts of the width or more shift everything out.
            #[inline(always)]
            fn shl(self, by: u32) -> Self {
                if by >= <$ty>::BITS { 0 } else { self << (by & (<$ty>::BITS - 1)) }
            }
            #[inline(always)]
            fn shr(self, by: u32) -> Self {
                let by = by.min(<$ty>::BITS);
                let most = self >> by.min(<$ty>::BITS - 1);
                if by == <$ty>::BITS { most >> 1 } else { most }
            }
            #[inline(always)]
            fn neg(self) -> Self { (0 as $ty).wrapping_sub(self) }
            #[inline(always)]
            fn abs(self) -> Self { let f: fn($ty) -> $ty = $abs; f(self) }
            #[inline(always)]
            fn add_sat(self, b: Self) -> Self { self.saturating_add(b) }
            #[inline(always)]
            fn sub_sat(self, b: Self) -> Self { self.saturating_sub(b) }
            #[inline(always)]
            fn is_zero(self) -> Self { (self == 0) as $ty }
        }
    )*};
}

int! {
    u16, i16, u32, |v| v;
    u32, i32, u64, |v| v;
    u64, i64, u128, |v| v;
    i16, i16, i32, |v| v.wrapping_abs();
    i32, i32, i64, |v| v.wrapping_abs();
    i64, i64, i128, |v| v.wrapping_abs();
}

#[inline(always)]
fn all<T: Int>(f: &mut Frame, i: &Code, op: IntOp) {
    let (d, a, b, c) = (i.d, i.a, i.b, i.c);
    match op {
        IntOp::Add => map2(f, d, a, b, T::add),
        IntOp::Sub => map2(f, d, a, b, T::sub),
        IntOp::MulLo => map2(f, d, a, b, T::mul),
        IntOp::MulHi => map2(f, d, a, b, T::mul_high),
        IntOp::MadLo => map3(f, d, [a, b, c], |x: T, y: T, z: T| x.mul(y).add(z)),
        IntOp::MadHi => map3(f, d, [a, b, c], |x: T, y: T, z: T| x.mul_high(y).add(z)),
        IntOp::Div => map2(f, d, a, b, T::div),
        IntOp::Rem => map2(f, d, a, b, T::rem),
        IntOp::Min => map2(f, d, a, b, |x: T, y: T| if y < x { y } else { x }),
        IntOp::Max => map2(f, d, a, b, |x: T, y: T| if y > x { y } else { x }),
        IntOp::Abs => map1(f, d, a, T::abs),
        IntOp::Neg => map1(f, d, a, T::neg),
        IntOp::Sad => {
            map3(f, d, [a, b, c], |x: T, y: T, z: T| z.add(if x < y { y.sub(x) } else { x.sub(y) }))
        }
        IntOp::And => map2(f, d, a, b, T::and),
        IntOp::Or => map2(f, d, a, b, T::or),
        IntOp::Xor => map2(f, d, a, b, T::xor),
        IntOp::Not => map1(f, d, a, T::not),
        IntOp::Cnot => map1(f, d, a, T::is_zero),
        IntOp::Shl => map2(f, d, a, b, |x: T, by: u32| x.shl(by)),
        IntOp::Shr => map2(f, d, a, b, |x: T, by: u32| x.shr(by)),
        IntOp::AddSat => map2(f, d, a, b, T::add_sat),
        IntOp::SubSat => map2(f, d, a, b, T::sub_sat),
        IntOp::MadHiSat => map3(f, d, [a, b, c], |x: T, y: T, z: T| x.mul_high(y).add_sat(z)),
    }
}

versions! {
    fn half(f: &mut Frame, i: &Code, op: IntOp, signed: bool) {
        if signed { all::<i16>(f, i, op) } else { all::<u16>(f, i, op) }
    }
}
versions! {
    fn word(f: &mut Frame, i: &Code, op: IntOp, signed: bool) {
        if signed { all::<i32>(f, i, op) } else { all::<u32>(f, i, op) }
    }
}
versions! {
    fn wide(f: &mut Frame, i: &Code, op: IntOp, signed: bool) {
        if signed { all::<i64>(f, i, op) } else { all::<u64>(f, i, op) }
    }
}

pub fn int(f: &mut Frame, i: &Code, op: IntOp, ty: IntTy) {
    match ty {
        IntTy::U16 => half(f, i, op, false),
        IntTy::S16 => half(f, i, op, true),
        IntTy::U32 => word(f, i, op, false),
        IntTy::S32 => word(f, i, op, true),
        IntTy::U64 => wide(f, i, op, false),
        IntTy::S64 => wide(f, i, op, true),
    }
}

/// The byte-permute modes of `prmt`: which byte of the eight each result byte takes, and whether only its sign.
fn permute(a: u32, b: u32, selector: u32, mode: Option<Mod>) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let s = (selector & 3) as usize;
    let picks: [usize; 4] = match mode {
        Some(Mod::F4e) => [s, s + 1, s + 2, s + 3],
        Some(Mod::B4e) => [s, (s + 7) & 7, (s + 6) & 7, (s + 5) & 7],
        Some(Mod::Rc8) => [s; 4],
        Some(Mod::Ecl) => [s, s.max(1), s.max(2), 3],
        Some(Mod::Ecr) => [0, s.min(1), s.min(2), s],
        Some(Mod::Rc16) => {
            if s & 1 == 0 {
                [0, 1, 0, 1]
            } else {
                [2, 3, 2, 3]
            }
        }
        _ => {
            let mut out = [0u8; 4];
            for (n, byte) in out.iter_mut().enumerate() {
                let pick = selector >> (4 * n) & 15;
                let value = bytes[(pick & 7) as usize];
                *byte = if pick & 8 != 0 { ((value as i8) >> 7) as u8 } else { value };
            }
            return u32::from_le_bytes(out);
        }
    };
    u32::from_le_bytes(picks.map(|p| bytes[p]))
}

/// The result's bit for each of the eight combinations is in `table`.
#[inline(always)]
fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut out = 0;
    for n in 0..8 {
        if table >> n & 1 != 0 {
            let x = if n & 4 != 0 { a } else { !a };
            let y = if n & 2 != 0 { b } else { !b };
            let z = if n & 1 != 0 { c } else { !c };
            out |= x & y & z;
        }
    }
    out
}

fn extract(a: u64, position: u32, length: u32, signed: bool, bits: u32) -> u64 {
    let (position, length) = (position & 255, length & 255);
    // The sign bit is the field's top bit, but never beyond the operand's.
    let top = (position + length).saturating_sub(1).min(bits - 1);
    let sign = signed && length > 0 && a >> top & 1 != 0;
    let kept = if position >= bits { 0 } else { a >> position };
    let within = length.min(bits.saturating_sub(position));
    let mask = if within >= 64 { u64::MAX } else { (1 << within) - 1 };
    (kept & mask) | if sign { !mask } else { 0 }
}

fn insert(a: u64, b: u64, position: u32, length: u32, bits: u32) -> u64 {
    let (position, length) = (position & 255, length & 255);
    if position >= bits || length == 0 {
        return b;
    }
    let length = length.min(bits - position);
    let mask = (if length >= 64 { u64::MAX } else { (1 << length) - 1 }) << position;
    (b & !mask) | (a << position & mask)
}

/// The position of the highest bit that differs from the sign, all ones if there is none.
fn find(a: u64, signed: bool, bits: u32, amount: bool) -> u32 {
    let value = if signed && a >> (bits - 1) & 1 != 0 { !a } else { a };
    let value = if bits == 32 { value & u64::from(u32::MAX) } else { value };
    if value == 0 {
        return u32::MAX;
    }
    let position = 63 - value.leading_zeros();
    if amount { bits - 1 - position } else { position }
}

fn bytes_dot(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let part = |v: u8, signed: bool| if signed { i32::from(v as i8) } else { i32::from(v) };
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    pairs.fold(c, |sum, (x, y)| sum.wrapping_add((part(x, a_signed) * part(y, b_signed)) as u32))
}

fn halves_dot(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool, high: bool) -> u32 {
    let b = b.to_le_bytes();
    let from = if high { 2 } else { 0 };
    (0..2).fold(c, |sum, n| {
        let x = (a >> (16 * n)) as u16;
        let x = if a_signed { i32::from(x as i16) } else { i32::from(x) };
        let y = b[from + n];
        let y = if b_signed { i32::from(y as i8) } else { i32::from(y) };
        sum.wrapping_add(x.wrapping_mul(y) as u32)
    })
}

fn mul24(a: u32, b: u32, signed: bool, high: bool) -> u32 {
    let part = |v: u32| if signed { i64::from((v << 8) as i32 >> 8) } else { i64::from(v & 0xff_ffff) };
    let product = part(a) * part(b);
    if high { (product >> 16) as u32 } else { product as u32 }
}

versions! {
    pub fn bits(f: &mut Frame, i: &Code, op: BitOp) {
        let (d, a, b, c) = (i.d, i.a, i.b, i.c);
        match op {
            BitOp::MulWide { signed: true, from: 32 } => map2(f, d, a, b, |x: i32, y: i32| i64::from(x) * i64::from(y)),
            BitOp::MulWide { signed: false, from: 32 } => map2(f, d, a, b, |x: u32, y: u32| u64::from(x) * u64::from(y)),
            BitOp::MulWide { signed: true, .. } => map2(f, d, a, b, |x: i16, y: i16| i32::from(x) * i32::from(y)),
            BitOp::MulWide { signed: false, .. } => map2(f, d, a, b, |x: u16, y: u16| u32::from(x) * u32::from(y)),
            BitOp::MadWide { signed: true, from: 32 } => {
                map3(f, d, [a, b, c], |x: i32, y: i32, z: i64| (i64::from(x) * i64::from(y)).wrapping_add(z));
            }
            BitOp::MadWide { signed: false, from: 32 } => {
                map3(f, d, [a, b, c], |x: u32, y: u32, z: u64| (u64::from(x) * u64::from(y)).wrapping_add(z));
            }
            BitOp::MadWide { signed: true, .. } => {
                map3(f, d, [a, b, c], |x: i16, y: i16, z: i32| (i32::from(x) * i32::from(y)).wrapping_add(z));
            }
            BitOp::MadWide { signed: false, .. } => {
                map3(f, d, [a, b, c], |x: u16, y: u16, z: u32| (u32::from(x) * u32::from(y)).wrapping_add(z));
            }
            BitOp::Mul24 { signed, high } => map2(f, d, a, b, |x: u32, y: u32| mul24(x, y, signed, high)),
            BitOp::Mad24 { signed, high } => {
                map3(f, d, [a, b, c], |x: u32, y: u32, z: u32| mul24(x, y, signed, high).wrapping_add(z));
            }
            BitOp::Bfe { signed, wide: false } => {
                let sign = |x: u32| if signed { i64::from(x as i32) as u64 } else { u64::from(x) };
                map3(f, d, [a, b, c], |x: u32, p: u32, n: u32| extract(sign(x), p, n, signed, 32) as u32);
            }
            BitOp::Bfe { signed, wide: true } => {
                map3(f, d, [a, b, c], |x: u64, p: u32, n: u32| extract(x, p, n, signed, 64));
            }
            BitOp::Bfi { wide } => insert_field(f, i, wide),
            BitOp::Popc { wide: false } => map1(f, d, a, u32::count_ones),
            BitOp::Popc { wide: true } => map1(f, d, a, u64::count_ones),
            BitOp::Clz { wide: false } => map1(f, d, a, u32::leading_zeros),
            BitOp::Clz { wide: true } => map1(f, d, a, u64::leading_zeros),
            BitOp::Brev { wide: false } => map1(f, d, a, u32::reverse_bits),
            BitOp::Brev { wide: true } => map1(f, d, a, u64::reverse_bits),
            BitOp::Bfind { signed, wide: false, amount } => {
                map1(f, d, a, |x: u32| find(x.into(), signed, 32, amount));
            }
            BitOp::Bfind { signed, wide: true, amount } => map1(f, d, a, |x: u64| find(x, signed, 64, amount)),
            BitOp::Prmt(mode) => map3(f, d, [a, b, c], |x: u32, y: u32, s: u32| permute(x, y, s, mode)),
            BitOp::Lop3(table) => map3(f, d, [a, b, c], |x: u32, y: u32, z: u32| lop3(x, y, z, table)),
            BitOp::Shf { left, wrap } => map3(f, d, [a, b, c], |low: u32, high: u32, by: u32| {
                let by = if wrap { by & 31 } else { by.min(32) };
                let both = u64::from(high) << 32 | u64::from(low);
                if left { (both << by >> 32) as u32 } else { (both >> by) as u32 }
            }),
            BitOp::Dp4a { a_signed, b_signed } => {
                map3(f, d, [a, b, c], |x: u32, y: u32, z: u32| bytes_dot(x, y, z, a_signed, b_signed));
            }
            BitOp::Dp2a { a_signed, b_signed, high } => {
                map3(f, d, [a, b, c], |x: u32, y: u32, z: u32| halves_dot(x, y, z, a_signed, b_signed, high));
            }
        }
    }
}

fn bit_mask(start: u32, width: u32, wrap: bool) -> u32 {
    let (from, length) = (start & 31, width & 31);
    let below = u32::MAX << from;
    let beyond = !wrap && (start >= 32 || width >= 32);
    let above = match from + length {
        _ if beyond => 0,
        end if end >= 32 => 0,
        _ if length == 0 => u32::MAX,
        end => u32::MAX << end,
    };
    (if !wrap && start >= 32 { 0 } else { below }) & !above
}

fn extend(a: u32, width: u32, signed: bool, wrap: bool) -> u32 {
    let bits = width & 31;
    if !wrap && width >= 32 {
        return a;
    }
    let upper = u32::MAX << bits;
    let sign = signed && bits > 0 && a >> (bits - 1) & 1 != 0;
    (a & !upper) | if sign { upper } else { 0 }
}

/// The position of the `offset`th set bit of `mask` from `base` on, upwards or downwards.
fn nth_set(mask: u32, base: u32, offset: i32) -> u32 {
    let set = |at: i64| (0..32).contains(&at) && mask >> at & 1 != 0;
    let base = i64::from(base);
    if offset == 0 {
        return if set(base) { base as u32 } else { u32::MAX };
    }
    let step = i64::from(offset.signum());
    let mut left = offset.unsigned_abs();
    let mut at = base;
    while (0..32).contains(&at) {
        left -= u32::from(set(at));
        if left == 0 {
            return at as u32;
        }
        at += step;
    }
    u32::MAX
}

fn pair(op: PairOp, signed: bool, relu: bool, x: u32, y: u32) -> u32 {
    let part = |shift: u32| {
        let [x, y] = [x, y].map(|v| (v >> shift) as u16);
        let [i, j] = [x, y].map(|v| v as i16);
        let out = match (op, signed) {
            (PairOp::Add, _) => x.wrapping_add(y),
            (PairOp::Min, true) => i.min(j) as u16,
            (PairOp::Max, true) => i.max(j) as u16,
            (PairOp::Min, false) => x.min(y),
            (PairOp::Max, false) => x.max(y),
        };
        u32::from(if relu { (out as i16).max(0) as u16 } else { out }) << shift
    };
    part(0) | part(16)
}

/// The first of the two goes above the second, and both above what is joined.
fn pack(x: u32, y: u32, z: u32, bits: u8, signed: bool) -> u32 {
    let (low, high) =
        if signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
    let one = |v: u32| i64::from(v as i32).clamp(low, high) as u32 & ((1 << bits) - 1);
    // Two times 16 bits fill the word, and nothing is joined.
    let above = u64::from(z) << (2 * bits);
    one(x) << bits | one(y) | above as u32
}

pub fn word_op(f: &mut Frame, i: &Code, op: WordOp) {
    let (d, a, b, c) = (i.d, i.a, i.b, i.c);
    match op {
        WordOp::Bmsk { wrap } => map2(f, d, a, b, |x: u32, y: u32| bit_mask(x, y, wrap)),
        WordOp::Szext { signed, wrap } => map2(f, d, a, b, |x: u32, y: u32| extend(x, y, signed, wrap)),
        WordOp::Fns => map3(f, d, [a, b, c], |x: u32, y: u32, z: i32| nth_set(x, y, z)),
        WordOp::Mad24HiSat => {
            map3(f, d, [a, b, c], |x: u32, y: u32, z: i32| (mul24(x, y, true, true) as i32).saturating_add(z))
        }
        WordOp::Pair { op, signed, relu } => map2(f, d, a, b, |x: u32, y: u32| pair(op, signed, relu, x, y)),
        WordOp::Pack { bits, signed, join: false } => {
            map2(f, d, a, b, |x: u32, y: u32| pack(x, y, 0, bits, signed));
        }
        WordOp::Pack { bits, signed, join: true } => {
            map3(f, d, [a, b, c], |x: u32, y: u32, z: u32| pack(x, y, z, bits, signed));
        }
    }
}

/// `bfi` has four sources: the length is in slot `e`.
fn insert_field(f: &mut Frame, i: &Code, wide: bool) {
    let (position, length) = (*f.words(i.c), *f.words(i.e));
    if wide {
        let (a, b) = (*f.wides(i.a), *f.wides(i.b));
        let out = std::array::from_fn(|n| insert(a[n], b[n], position[n], length[n], 64));
        store::<u64>(f, i.d, &out);
    } else {
        let (a, b) = (*f.words(i.a), *f.words(i.b));
        let out =
            std::array::from_fn(|n| insert(a[n].into(), b[n].into(), position[n], length[n], 32) as u32);
        store::<u32>(f, i.d, &out);
    }
}

/// Instructions that read or set the carry flag. For subtraction the flag is the borrow.
pub fn carry(f: &mut Frame, i: &Code, op: CarryOp, ty: IntTy) {
    let held = f.preds[i.imm as usize];
    let wide = matches!(ty, IntTy::U64 | IntTy::S64);
    let signed = matches!(ty, IntTy::S32 | IntTy::S64);
    let bits = if wide { 64 } else { 32 };
    let get = |f: &Frame, slot: u32, n: usize| match (slot, wide) {
        (super::code::NONE, _) => 0,
        (_, true) => u128::from(f.wides(slot)[n]),
        (_, false) => u128::from(f.words(slot)[n]),
    };
    let mut out = [0u64; LANES];
    let mut flags = 0u32;
    for (n, out) in out.iter_mut().enumerate() {
        let (a, b, c) = (get(f, i.a, n), get(f, i.b, n), get(f, i.c, n));
        let flag = u128::from(held >> n & 1);
        let total = match op {
            CarryOp::Add { with } => a + b + if with { flag } else { 0 },
            CarryOp::Sub { with } => a.wrapping_sub(b).wrapping_sub(if with { flag } else { 0 }),
            CarryOp::Mad { with, high } => {
                let product = if signed && high {
                    let sign = |v: u128| ((v << (128 - bits)) as i128) >> (128 - bits);
                    sign(a).wrapping_mul(sign(b)) as u128
                } else {
                    a.wrapping_mul(b)
                };
                let half = if high { product >> bits } else { product };
                (half & ((1 << bits) - 1)) + c + if with { flag } else { 0 }
            }
        };
        *out = total as u64;
        flags |= u32::from(total >> bits & 1 != 0) << n;
    }
    if wide {
        store::<u64>(f, i.d, &out);
    } else {
        store::<u32>(f, i.d, &out.map(|v| v as u32));
    }
    if i.e == 1 {
        f.set_pred(i.imm as u32, flags);
    }
}
