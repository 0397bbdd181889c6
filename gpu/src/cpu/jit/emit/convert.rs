//! Conversions between numbers.
//!
//! Owns: which of them have a translation ([`how_converted`]), and those by way of whole numbers; the meaning is that of
//! `cpu/convert.rs`, bit for bit.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val};
use crate::cpu::{
    code::{Code, Convert, Number},
    soft::Mode,
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::FloatCC,
    types::{F32 as F32T, F32X4, F64 as F64T, I32, I32X4, I64},
};

/// The ways to convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Ints,
    /// A whole number of at most 32 bits to f32, one of any width to f64, and one of at most 32 to a half.
    IntToSingle,
    IntToDouble,
    IntToHalf,
    /// To 32 bits, after rounding to a whole number.
    SingleToInt,
    DoubleToInt,
    HalfToSingle,
    SingleToHalf,
    DoubleToHalf,
    Promote,
    Demote,
    /// Within a format: to whole numbers, to 0..=1, or as it is but for NaN.
    Single,
    Double,
}

pub fn how_converted(how: Convert) -> Option<Way> {
    let plain = !how.sat && !how.ftz && !how.relu && !how.whole;
    let nearest = plain && how.mode == Mode::Rn;
    Some(match (how.from, how.to) {
        (Number::Int { .. }, Number::Int { .. }) if !how.sat => Way::Ints,
        (Number::Int { bits: ..=32, .. }, Number::F32) if nearest => Way::IntToSingle,
        (Number::Int { .. }, Number::F64) if nearest => Way::IntToDouble,
        (Number::Int { bits: ..=32, .. }, Number::F16 | Number::Bf16) if nearest => Way::IntToHalf,
        (Number::F32, Number::Int { bits: 32, .. }) if how.register == 32 => Way::SingleToInt,
        (Number::F64, Number::Int { bits: 32 | 64, .. }) if how.mode == Mode::Rz => Way::DoubleToInt,
        (Number::F16 | Number::Bf16, Number::F32) if plain => Way::HalfToSingle,
        (Number::F32, Number::F16 | Number::Bf16) if nearest => Way::SingleToHalf,
        (Number::F64, Number::F16 | Number::Bf16) if nearest => Way::DoubleToHalf,
        (Number::F32, Number::F64) if nearest => Way::Promote,
        (Number::F64, Number::F32) if nearest => Way::Demote,
        (Number::F32, Number::F32) => Way::Single,
        (Number::F64, Number::F64) => Way::Double,
        _ => return None,
    })
}

impl Ops<'_> {
    /// The nearest whole number in a direction, of the bits of a number.
    fn whole(&mut self, v: Value, mode: Mode) -> Value {
        let v = self.float(v);
        let out = match mode {
            Mode::Rn => self.b.ins().nearest(v),
            Mode::Rz => self.b.ins().trunc(v),
            Mode::Rm => self.b.ins().floor(v),
            Mode::Rp => self.b.ins().ceil(v),
        };
        self.bits(out)
    }
}

impl Emitter<'_, '_> {
    pub fn convert(&mut self, i: &Code, how: Convert) -> Option<Val> {
        Some(match how_converted(how)? {
            Way::Ints => self.convert_int(i, how),
            Way::IntToSingle => {
                let v = self.small_int(i, how.from)?;
                self.int_to_single(&v, how.from)
            }
            Way::IntToDouble => {
                let v = self.wide_int(i, how.from)?;
                self.int_to_double(&v, how.from)
            }
            Way::IntToHalf => {
                let v = self.wide_int(i, how.from)?;
                let wide = self.int_to_double(&v, how.from);
                self.double_to_half(&wide, how.to == Number::Bf16)
            }
            Way::SingleToInt => {
                let v = self.raw(i.a, false);
                self.single_to_int(&v, how)
            }
            Way::DoubleToInt => {
                let v = self.raw(i.a, true);
                self.double_to_int(&v, how)
            }
            Way::HalfToSingle => self.half_to_single(i, how.from == Number::Bf16),
            Way::SingleToHalf => self.single_to_half(i, how.to == Number::Bf16),
            Way::DoubleToHalf => {
                let v = self.raw(i.a, true);
                self.double_to_half(&v, how.to == Number::Bf16)
            }
            Way::Promote => {
                let v = self.raw(i.a, false);
                let out = self.promote(&v);
                self.ops.zip(true, &[&out], &mut |ops, v| ops.canonical(v[0]))
            }
            Way::Demote => {
                let v = self.raw(i.a, true);
                let out = self.demote(&v);
                self.ops.zip(false, &[&out], &mut |ops, v| ops.canonical(v[0]))
            }
            Way::Single | Way::Double => self.reshaped(i, how),
        })
    }

    /// Within a format. `.ftz` speaks of f32.
    fn reshaped(&mut self, i: &Code, how: Convert) -> Val {
        let wide = how.from == Number::F64;
        let ftz = how.ftz && !wide;
        let v = self.raw(i.a, wide);
        self.ops.zip(wide, &[&v], &mut |ops, v| {
            let mut out = if ftz { ops.flush(v[0]) } else { v[0] };
            if how.whole {
                out = ops.whole(out, how.mode);
            }
            if how.sat {
                return ops.saturate(out);
            }
            let out = ops.canonical(out);
            if !how.relu {
                return out;
            }
            let ty = ops.ty(out);
            let zero = ops.konst(ty, 0);
            let below = ops.fcmp(FloatCC::LessThanOrEqual, out, zero);
            ops.select(below, zero, out)
        })
    }

    /// A whole number of at most 32 bits, in 32.
    fn small_int(&mut self, i: &Code, from: Number) -> Option<Val> {
        let Number::Int { bits, signed } = from else { return None };
        let v = self.narrow_source(i);
        Some(self.extend(&v, false, (bits, signed)))
    }

    /// A whole number in 64 bits.
    fn wide_int(&mut self, i: &Code, from: Number) -> Option<Val> {
        let Number::Int { bits, signed } = from else { return None };
        if bits == 64 {
            return Some(self.read(i.a, true));
        }
        let v = self.small_int(i, from)?;
        Some(self.ops.widen(&v, signed))
    }

    fn int_to_single(&mut self, v: &Val, from: Number) -> Val {
        let unsigned = from == Number::Int { bits: 32, signed: false };
        self.ops.zip(false, &[v], &mut |ops, v| {
            let to = if ops.ty(v[0]) == I32 { F32T } else { F32X4 };
            let ins = ops.b.ins();
            let out = if unsigned { ins.fcvt_from_uint(to, v[0]) } else { ins.fcvt_from_sint(to, v[0]) };
            ops.bits(out)
        })
    }

    /// Numbers of 32 bits and less fit a signed one of 64, which a scalar converts exactly.
    fn int_to_double(&mut self, v: &Val, from: Number) -> Val {
        let unsigned = from == Number::Int { bits: 64, signed: false };
        self.ops.zip(true, &[v], &mut |ops, v| {
            ops.lanewise(v, &mut |ops, v| {
                let ins = ops.b.ins();
                let out =
                    if unsigned { ins.fcvt_from_uint(F64T, v[0]) } else { ins.fcvt_from_sint(F64T, v[0]) };
                ops.bits(out)
            })
        })
    }

    fn single_to_int(&mut self, v: &Val, how: Convert) -> Val {
        let signed = matches!(how.to, Number::Int { signed: true, .. });
        self.ops.zip(false, &[v], &mut |ops, v| {
            let mut v = if how.ftz { ops.flush(v[0]) } else { v[0] };
            if how.mode != Mode::Rz {
                v = ops.whole(v, how.mode);
            }
            let to = if ops.ty(v) == I32 { I32 } else { I32X4 };
            let float = ops.float(v);
            let ins = ops.b.ins();
            if signed { ins.fcvt_to_sint_sat(to, float) } else { ins.fcvt_to_uint_sat(to, float) }
        })
    }

    /// NaN gives the number whose only set bit is the highest.
    fn double_to_int(&mut self, v: &Val, how: Convert) -> Val {
        let Number::Int { bits, signed } = how.to else { return v.clone() };
        let small = bits == 32;
        let out = self.ops.zip(true, &[v], &mut |ops, v| {
            ops.lanewise(v, &mut |ops, v| {
                let ty = if small { I32 } else { I64 };
                let float = ops.float(v[0]);
                let ins = ops.b.ins();
                let out =
                    if signed { ins.fcvt_to_sint_sat(ty, float) } else { ins.fcvt_to_uint_sat(ty, float) };
                let none = ops.b.ins().fcmp(FloatCC::Unordered, float, float);
                let top = ops.konst(ty, 1 << (bits - 1));
                let out = ops.b.ins().select(none, top, out);
                match (small, signed) {
                    (false, _) => out,
                    (true, true) => ops.b.ins().sextend(I64, out),
                    (true, false) => ops.b.ins().uextend(I64, out),
                }
            })
        });
        if how.register == 64 { out } else { self.ops.narrow(&out) }
    }

    fn double_to_half(&mut self, v: &Val, brain: bool) -> Val {
        let single = self.demote_to_odd(v);
        self.ops.zip(false, &[&single], &mut |ops, v| ops.half_narrow(v[0], brain))
    }

    fn narrow_source(&mut self, i: &Code) -> Val {
        let v = self.read(i.a, i.e == 1);
        if i.e == 1 { self.ops.narrow(&v) } else { v }
    }

    /// Takes the low bits of the source, cuts to the result's type, and extends that to the register.
    fn convert_int(&mut self, i: &Code, how: Convert) -> Val {
        let parts = |number| match number {
            Number::Int { bits, signed } => (bits, signed),
            _ => (32, false),
        };
        let (register, from, to) = (how.register, parts(how.from), parts(how.to));
        let mut wide = i.e == 1;
        let mut v = self.read(i.a, wide);
        v = self.extend(&v, wide, from);
        if register == 64 && !wide {
            v = self.ops.widen(&v, from.1);
            wide = true;
        } else if register != 64 && wide {
            v = self.ops.narrow(&v);
            wide = false;
        }
        let v = self.extend(&v, wide, to);
        if register == 16 {
            return self.ops.zip(false, &[&v], &mut |ops, v| {
                let ty = ops.ty(v[0]);
                let mask = ops.konst(ty, 0xffff);
                ops.b.ins().band(v[0], mask)
            });
        }
        v
    }

    /// Extends the low bits of a word to all of it.
    fn extend(&mut self, v: &Val, wide: bool, (bits, signed): (u8, bool)) -> Val {
        let width = if wide { 64 } else { 32 };
        if bits >= width {
            return v.clone();
        }
        self.ops.zip(wide, &[v], &mut |ops, v| {
            let ty = ops.ty(v[0]);
            if !signed {
                let mask = ops.konst(ty, (1 << bits) - 1);
                return ops.b.ins().band(v[0], mask);
            }
            let by = ops.b.ins().iconst(I32, i64::from(width - bits));
            let up = ops.b.ins().ishl(v[0], by);
            debug_assert!(ty.lane_type() == I32 || ty.lane_type() == I64);
            ops.b.ins().sshr(up, by)
        })
    }
}
