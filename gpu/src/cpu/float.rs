//! Floating-point instructions, 32 lanes at a time.
//!
//! Owns: their meaning. Every arithmetic NaN is the canonical one (`soft::Format::nan`): devices do not keep
//! payloads. `.ftz` flushes subnormal inputs and results to zeros of their sign, `.sat` clamps to 0..=1 with NaN to
//! +0. `.approx` of a division, a root or a reciprocal is the correctly rounded one; the other `.approx` instructions
//! are defined in `approx.rs`. Numbers of 16 bits are in `half.rs`.
//! Tests: `gpu/tests/cpu_float.rs`.

use super::{
    approx,
    code::{Code, Finish, FloatOp, FloatTy},
    half::{NAN, half, halves},
    lanes::{Frame, Lane, map1, map2, map3, store, versions},
    soft::{self, F32, F64, Format, Mode},
};

/// What f32 and f64 have in common.
pub trait Float: Lane + PartialOrd {
    const FORMAT: Format;
    fn to_bits64(self) -> u64;
    fn from_bits64(bits: u64) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn fma(self, b: Self, c: Self) -> Self;
    fn sqrt(self) -> Self;
    fn is_nan(self) -> bool;
    fn canonical(self) -> Self;
    fn flush(self) -> Self;
    fn saturate(self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn copysign(self, sign: Self) -> Self;
    fn negative(self) -> bool;
    fn wide(self) -> f64;
    fn narrow(v: f64) -> Self;
    const ONE: Self;
}

macro_rules! float {
    ($($ty:ty, $bits:ty, $format:expr);*) => {$(
        impl Float for $ty {
            const FORMAT: Format = $format;
            const ONE: Self = 1.0;
            #[inline(always)]
            fn to_bits64(self) -> u64 { self.to_bits().into() }
            #[inline(always)]
            fn from_bits64(bits: u64) -> Self { <$ty>::from_bits(bits as $bits) }
            #[inline(always)]
            fn add(self, b: Self) -> Self { self + b }
            #[inline(always)]
            fn sub(self, b: Self) -> Self { self - b }
            #[inline(always)]
            fn mul(self, b: Self) -> Self { self * b }
            #[inline(always)]
            fn div(self, b: Self) -> Self { self / b }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self { self.mul_add(b, c) }
            #[inline(always)]
            fn sqrt(self) -> Self { <$ty>::sqrt(self) }
            #[inline(always)]
            fn is_nan(self) -> bool { <$ty>::is_nan(self) }
            #[inline(always)]
            fn canonical(self) -> Self {
                let bits = self.to_bits();
                let infinity = <$ty>::INFINITY.to_bits();
                <$ty>::from_bits(if bits & (<$bits>::MAX >> 1) > infinity { $format.nan as $bits } else { bits })
            }
            #[inline(always)]
            fn flush(self) -> Self {
                if <$ty>::abs(self) < <$ty>::MIN_POSITIVE { (0.0 as $ty).copysign(self) } else { self }
            }
            #[inline(always)]
            fn saturate(self) -> Self {
                // Also takes -0 and NaN to +0.
                if self > 0.0 { if self < 1.0 { self } else { 1.0 } } else { 0.0 }
            }
            #[inline(always)]
            fn neg(self) -> Self { -self }
            #[inline(always)]
            fn abs(self) -> Self { <$ty>::abs(self) }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self { <$ty>::copysign(self, sign) }
            #[inline(always)]
            fn negative(self) -> bool { self.is_sign_negative() }
            #[inline(always)]
            fn wide(self) -> f64 { self as f64 }
            #[inline(always)]
            fn narrow(v: f64) -> Self { v as $ty }
        }
    )*};
}

float! { f32, u32, F32; f64, u64, F64 }

/// One NaN for all. Chosen among bits, not among numbers: to a compiler one NaN is as good as another, and it may
/// take the choice away.
#[inline(always)]
fn canonical<T: Float>(v: T) -> T {
    v.canonical()
}

/// The smaller of two: the number if only one is NaN, and -0 below +0.
#[inline(always)]
pub fn minimum<T: Float>(x: T, y: T) -> T {
    if x.is_nan() {
        y
    } else if y.is_nan() || x < y {
        x
    } else if y < x {
        y
    } else if x.negative() {
        x
    } else {
        y
    }
}

#[inline(always)]
pub fn maximum<T: Float>(x: T, y: T) -> T {
    minimum(x.neg(), y.neg()).neg()
}

/// Arithmetic with rounding to nearest and nothing else: the common case, which vectorises.
#[inline(always)]
fn plain<T: Float>(f: &mut Frame, i: &Code, op: FloatOp) {
    let (d, a, b, c) = (i.d, i.a, i.b, i.c);
    match op {
        FloatOp::Add => map2(f, d, a, b, |x: T, y: T| canonical(x.add(y))),
        FloatOp::Sub => map2(f, d, a, b, |x: T, y: T| canonical(x.sub(y))),
        FloatOp::Mul => map2(f, d, a, b, |x: T, y: T| canonical(x.mul(y))),
        FloatOp::Fma => map3(f, d, [a, b, c], |x: T, y: T, z: T| canonical(x.fma(y, z))),
        FloatOp::Div => map2(f, d, a, b, |x: T, y: T| canonical(x.div(y))),
        FloatOp::Sqrt => map1(f, d, a, |x: T| canonical(x.sqrt())),
        FloatOp::Rcp => map1(f, d, a, |x: T| canonical(T::ONE.div(x))),
        FloatOp::Min => map2(f, d, a, b, |x: T, y: T| canonical(minimum(x, y))),
        FloatOp::Max => map2(f, d, a, b, |x: T, y: T| canonical(maximum(x, y))),
        // Sign operations on NaN keep it a NaN; which one is open, so it is the canonical one.
        FloatOp::Abs => map1(f, d, a, |x: T| canonical(x.abs())),
        FloatOp::Neg => map1(f, d, a, |x: T| canonical(x.neg())),
        // PTX: copy the sign of a into the value of b.
        FloatOp::Copysign => map2(f, d, a, b, |x: T, y: T| y.copysign(x)),
        FloatOp::Rsqrt | FloatOp::Sin | FloatOp::Cos | FloatOp::Ex2 | FloatOp::Lg2 | FloatOp::Tanh => {
            map1(f, d, a, |x: T| canonical(T::narrow(approximate(op, x.wide()))));
        }
    }
}

#[inline(always)]
pub fn approximate(op: FloatOp, x: f64) -> f64 {
    match op {
        FloatOp::Rsqrt => approx::rsqrt(x),
        FloatOp::Sin => approx::sin(x),
        FloatOp::Cos => approx::cos(x),
        FloatOp::Ex2 => approx::exp2(x),
        FloatOp::Lg2 => approx::log2(x),
        FloatOp::Tanh => approx::tanh(x),
        _ => x,
    }
}

/// The same with all of rounding, flushing, saturation and NaN rules, one lane at a time.
#[inline(always)]
fn careful<T: Float>(op: FloatOp, how: Finish, [x, y, z]: [T; 3]) -> T {
    let take = |v: T| if how.ftz { v.flush() } else { v };
    let (x, y, z) = (take(x), take(y), take(z));
    let (i, j, k) = (x.to_bits64(), y.to_bits64(), z.to_bits64());
    let format = T::FORMAT;
    let nearest = how.mode == Mode::Rn;
    let result = match op {
        FloatOp::Add if nearest => x.add(y),
        FloatOp::Sub if nearest => x.sub(y),
        FloatOp::Mul if nearest => x.mul(y),
        FloatOp::Fma if nearest => x.fma(y, z),
        FloatOp::Div if nearest => x.div(y),
        FloatOp::Sqrt if nearest => x.sqrt(),
        FloatOp::Rcp if nearest => T::ONE.div(x),
        FloatOp::Add => T::from_bits64(soft::add(format, i, j, how.mode)),
        FloatOp::Sub => T::from_bits64(soft::add(format, i, y.neg().to_bits64(), how.mode)),
        FloatOp::Mul => T::from_bits64(soft::mul(format, i, j, how.mode)),
        FloatOp::Fma => T::from_bits64(soft::fma(format, i, j, k, how.mode)),
        FloatOp::Div => T::from_bits64(soft::div(format, i, j, how.mode)),
        FloatOp::Sqrt => T::from_bits64(soft::sqrt(format, i, how.mode)),
        FloatOp::Rcp => T::from_bits64(soft::div(format, T::ONE.to_bits64(), i, how.mode)),
        FloatOp::Min | FloatOp::Max if how.nan && (x.is_nan() || y.is_nan()) => T::from_bits64(format.nan),
        FloatOp::Min => minimum(x, y),
        FloatOp::Max => maximum(x, y),
        FloatOp::Abs => x.abs(),
        FloatOp::Neg => x.neg(),
        FloatOp::Copysign => return y.copysign(x),
        FloatOp::Rsqrt | FloatOp::Sin | FloatOp::Cos | FloatOp::Ex2 | FloatOp::Lg2 | FloatOp::Tanh => {
            T::narrow(approximate(op, x.wide()))
        }
    };
    let result = canonical(result);
    let result = if how.ftz { result.flush() } else { result };
    if how.sat { result.saturate() } else { result }
}

/// Operands of unary and binary instructions that are not there read as the first one, and are not looked at.
pub fn operands(i: &Code) -> [u32; 3] {
    let or_first = |slot| if slot == super::code::NONE { i.a } else { slot };
    [i.a, or_first(i.b), or_first(i.c)]
}

/// As most instructions are finished.
const NEAREST: Finish = Finish { mode: Mode::Rn, ftz: false, sat: false, nan: false, relu: false };

#[inline(always)]
fn any<T: Float>(f: &mut Frame, i: &Code, op: FloatOp, how: Finish) {
    if how == NEAREST {
        plain::<T>(f, i, op);
    } else {
        map3(f, i.d, operands(i), |x: T, y: T, z: T| careful(op, how, [x, y, z]));
    }
}

versions! {
    fn single(f: &mut Frame, i: &Code, op: FloatOp, how: Finish) { any::<f32>(f, i, op, how) }
}
versions! {
    fn double(f: &mut Frame, i: &Code, op: FloatOp, how: Finish) { any::<f64>(f, i, op, how) }
}

pub fn float(f: &mut Frame, i: &Code, op: FloatOp, ty: FloatTy, how: Finish) {
    match ty {
        FloatTy::F32 => single(f, i, op, how),
        FloatTy::F64 => double(f, i, op, how),
        FloatTy::Half { pair, brain } => halves(f, i, op, pair, brain, how),
    }
}

/// The lesser or greater magnitude, with the sign that a product of the two would have.
pub fn xor_sign(f: &mut Frame, i: &Code, max: bool, ty: FloatTy, how: Finish) {
    let op = if max { FloatOp::Max } else { FloatOp::Min };
    let (a, b) = (*f.words(i.a), *f.words(i.b));
    let sign = |x: u32, y: u32, bit: u32| (x ^ y) & bit;
    let out = std::array::from_fn(|n| {
        let (x, y) = (a[n], b[n]);
        match ty {
            FloatTy::Half { pair, brain } => {
                let part = |shift: u32| {
                    let [x, y] = [x, y].map(|v| v >> shift & 0xffff);
                    let found = half(op, brain, how, [x & 0x7fff, y & 0x7fff, 0]);
                    (found | if found == NAN { 0 } else { sign(x, y, 0x8000) }) << shift
                };
                part(0) | if pair { part(16) } else { 0 }
            }
            FloatTy::F32 | FloatTy::F64 => {
                let [p, q] = [x, y].map(|v| f32::from_bits(v & 0x7fff_ffff));
                let found = careful(op, how, [p, q, p]);
                found.to_bits() | if found.is_nan() { 0 } else { sign(x, y, 1 << 31) }
            }
        }
    });
    store::<u32>(f, i.d, &out);
}
