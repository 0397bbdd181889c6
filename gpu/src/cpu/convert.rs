//! `cvt`: between numbers of all kinds.
//!
//! Owns: its rules. Integers out of range are clamped; NaN becomes zero, except that from f64 or to 64 bits it becomes
//! the number whose only set bit is the highest, as PTX has it.
//! Tests: `gpu/tests/cpu_float.rs`.

use super::{
    code::{Code, Convert, Narrow, NarrowTo, Number},
    float::Float,
    half,
    lanes::{Frame, LANES, map1, map2, store, versions},
    soft::{self, BF16, F16, F32, F64, Format, Mode},
};

/// Rounds to a whole number in the given direction.
fn whole(v: f64, mode: Mode) -> f64 {
    match mode {
        Mode::Rn => v.round_ties_even(),
        Mode::Rz => v.trunc(),
        Mode::Rm => v.floor(),
        Mode::Rp => v.ceil(),
    }
}

fn format(number: Number) -> Format {
    match number {
        Number::F16 => F16,
        Number::Bf16 => BF16,
        Number::F32 => F32,
        Number::F64 | Number::Int { .. } => F64,
    }
}

/// The bounds of an integer type.
fn bounds(bits: u8, signed: bool) -> (i128, i128) {
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn sign_extend(value: u64, bits: u8, signed: bool) -> i128 {
    let value = i128::from(value) & ((1 << bits) - 1);
    if signed && value >> (bits - 1) & 1 != 0 { value - (1 << bits) } else { value }
}

fn float_to_int(value: f64, how: Convert, bits: u8, signed: bool) -> u64 {
    if value.is_nan() {
        let zero = how.from != Number::F64 && bits < 64;
        return if zero { 0 } else { 1 << (bits - 1) };
    }
    let (low, high) = bounds(bits, signed);
    (whole(value, how.mode) as i128).clamp(low, high) as u64
}

fn float_to_float(bits: u64, how: Convert) -> u64 {
    let (from, to) = (format(how.from), format(how.to));
    let flush = |bits: u64, f: Format, yes: bool| {
        let sign = bits & 1 << (f.fraction + f.exponent);
        if yes && (bits ^ sign) >> f.fraction == 0 { sign } else { bits }
    };
    // `.ftz` speaks of f32 operands and results.
    let bits = flush(bits, from, how.ftz && how.from == Number::F32);
    let mut out = if how.whole {
        // Every format's whole numbers are whole in f64, and rounding there is exact.
        let value = f64::from_bits(soft::convert(from, F64, bits, Mode::Rn));
        soft::convert(F64, to, whole(value, how.mode).to_bits(), Mode::Rn)
    } else {
        soft::convert(from, to, bits, how.mode)
    };
    out = flush(out, to, how.ftz && how.to == Number::F32);
    let value = f64::from_bits(soft::convert(to, F64, out, Mode::Rn));
    if how.sat {
        out = soft::convert(F64, to, value.saturate().to_bits(), Mode::Rn);
    }
    if how.relu && value <= 0.0 { 0 } else { out }
}

/// One value, from the bits of the source to the bits of the destination register.
pub fn convert_one(raw: u64, how: Convert) -> u64 {
    match (how.from, how.to) {
        (Number::Int { bits, signed }, Number::Int { bits: to, signed: to_signed }) => {
            let value = sign_extend(raw, bits, signed);
            let (low, high) = bounds(to, to_signed);
            let value = if how.sat { value.clamp(low, high) } else { value };
            // The destination register may be wider than its type: the value is extended as its type says.
            fit(sign_extend(value as u64, to, to_signed) as u64, how.register)
        }
        (from, Number::Int { bits, signed }) => {
            let input = f64::from_bits(soft::convert(format(from), F64, raw, Mode::Rn));
            let input =
                if how.ftz && from == Number::F32 { f64::from((input as f32).flush()) } else { input };
            let value = float_to_int(input, how, bits, signed);
            fit(sign_extend(value, bits, signed) as u64, how.register)
        }
        (Number::Int { bits, signed }, to) => {
            let value = sign_extend(raw, bits, signed);
            let out = soft::from_integer(format(to), value.unsigned_abs() as u64, value < 0, how.mode);
            let value = f64::from_bits(soft::convert(format(to), F64, out, Mode::Rn));
            if how.sat { soft::convert(F64, format(to), value.saturate().to_bits(), Mode::Rn) } else { out }
        }
        _ => float_to_float(raw, how),
    }
}

fn fit(value: u64, bits: u8) -> u64 {
    if bits >= 64 { value } else { value & ((1 << bits) - 1) }
}

versions! {
    pub fn convert(f: &mut Frame, i: &Code, how: Convert) {
        let plain = !how.sat && !how.ftz && !how.relu && !how.whole && how.mode == Mode::Rn;
        const fn int(bits: u8, signed: bool) -> Number { Number::Int { bits, signed } }
        const U32: Number = int(32, false);
        const S32: Number = int(32, true);
        // The frequent ones first, as plain casts that vectorise.
        let narrow = i.e == 0;
        match (how.from, how.to, how.register) {
            (U32 | S32, _, _) if !narrow => each(f, i, how),
            (U32, Number::Int { bits: 64, .. }, 64) if !how.sat => map1(f, i.d, i.a, |v: u32| u64::from(v)),
            (S32, Number::Int { bits: 64, .. }, 64) if !how.sat => map1(f, i.d, i.a, |v: i32| i64::from(v)),
            (Number::Int { bits: 64, .. }, Number::Int { bits: 32, .. }, 32) if !how.sat => {
                map1(f, i.d, i.a, |v: u64| v as u32);
            }
            (S32, Number::F32, _) if plain => map1(f, i.d, i.a, |v: i32| v as f32),
            (U32, Number::F32, _) if plain => map1(f, i.d, i.a, |v: u32| v as f32),
            (Number::F32, S32, 32) if how.mode == Mode::Rz && !how.ftz => map1(f, i.d, i.a, |v: f32| v as i32),
            (Number::F32, Number::F64, _) if plain => map1(f, i.d, i.a, |v: f32| {
                if v.is_nan() { f64::from_bits(F64.nan) } else { f64::from(v) }
            }),
            (Number::F64, Number::F32, _) if plain => map1(f, i.d, i.a, |v: f64| {
                if v.is_nan() { f32::from_bits(F32.nan as u32) } else { v as f32 }
            }),
            (Number::F16, Number::F32, _) if plain => map1(f, i.d, i.a, |v: u32| widened(v, false)),
            (Number::Bf16, Number::F32, _) if plain => map1(f, i.d, i.a, |v: u32| widened(v, true)),
            (Number::F32, Number::F16, _) if plain => map1(f, i.d, i.a, |v: f32| half::narrow(v, false)),
            (Number::F32, Number::Bf16, _) if plain => map1(f, i.d, i.a, |v: f32| half::narrow(v, true)),
            _ => each(f, i, how),
        }
    }
}

#[inline(always)]
fn widened(half: u32, brain: bool) -> f32 {
    half::wide(half & 0xffff, brain).canonical()
}

/// Bits of the register that holds a number.
fn register_bits(number: Number) -> u8 {
    match number {
        Number::Int { bits, .. } => bits,
        Number::F16 | Number::Bf16 => 16,
        Number::F32 => 32,
        Number::F64 => 64,
    }
}

/// Lane by lane. `e` tells whether the source register has 64 bits.
fn each(f: &mut Frame, i: &Code, how: Convert) {
    let mut raw = [0u64; LANES];
    if i.e == 1 {
        raw = *f.wides(i.a);
    } else {
        let words = f.words(i.a);
        for n in 0..LANES {
            raw[n] = words[n].into();
        }
    }
    let keep = register_bits(how.from);
    let out = raw.map(|v| convert_one(fit(v, keep), how));
    if how.register == 64 {
        store::<u64>(f, i.d, &out);
    } else {
        store::<u32>(f, i.d, &out.map(|v| v as u32));
    }
}

/// Two f32 to two 16-bit numbers in one word; the first goes to the upper half.
pub fn convert_pair(f: &mut Frame, i: &Code, mode: Mode, brain: bool, relu: bool) {
    if mode == Mode::Rn && !relu {
        return nearest_pair(f, i, brain);
    }
    let (a, b) = (*f.words(i.a), *f.words(i.b));
    let to = half::format(brain);
    let one = |v: u32| {
        let out = soft::convert(F32, to, v.into(), mode) as u32;
        if relu && f32::from_bits(v) <= 0.0 { 0 } else { out }
    };
    let out = std::array::from_fn(|n| one(a[n]) << 16 | one(b[n]));
    store::<u32>(f, i.d, &out);
}

versions! {
    fn nearest_pair(f: &mut Frame, i: &Code, brain: bool) {
        if brain {
            map2(f, i.d, i.a, i.b, |x: f32, y: f32| half::narrow(x, true) << 16 | half::narrow(y, true));
        } else {
            map2(f, i.d, i.a, i.b, |x: f32, y: f32| half::narrow(x, false) << 16 | half::narrow(y, false));
        }
    }
}

/// The part of f32 that tensor cores take: 10 bits of fraction, in the place where f32 has its upper ones.
const TF32: Format = Format { fraction: 10, exponent: 8, nan: 0x3ffff };
/// Bits of an f32 below those.
const TF32_SHIFT: u32 = 13;

/// One f32 to a narrow format.
pub fn narrow_one(bits: u32, how: Narrow) -> u32 {
    let value = f32::from_bits(bits);
    let (format, shift) = match how.to {
        NarrowTo::F16 => (F16, 0),
        NarrowTo::Bf16 => (BF16, 0),
        NarrowTo::Tf32 => (TF32, TF32_SHIFT),
    };
    if value.is_nan() {
        // A tf32 is kept in an f32, so its NaN is that of f32.
        return if how.to == NarrowTo::Tf32 { F32.nan as u32 } else { format.nan as u32 };
    }
    let infinity = ((1u32 << format.exponent) - 1) << format.fraction;
    let sign = 1u32 << (format.fraction + format.exponent);
    let mut out = if how.away {
        (bits + (1 << (TF32_SHIFT - 1))) >> TF32_SHIFT
    } else {
        soft::convert(F32, format, bits.into(), how.mode) as u32
    };
    if how.finite && out & !sign == infinity {
        out -= 1;
    }
    if how.relu && value <= 0.0 { 0 } else { out << shift }
}

pub fn narrow(f: &mut Frame, i: &Code, how: Narrow) {
    if !how.pair {
        return map1(f, i.d, i.a, |v: u32| narrow_one(v, how));
    }
    let (a, b) = (*f.words(i.a), *f.words(i.b));
    let out = std::array::from_fn(|n| narrow_one(a[n], how) << 16 | narrow_one(b[n], how));
    store::<u32>(f, i.d, &out);
}
