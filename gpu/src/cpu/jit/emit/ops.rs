//! Operations on scalars and vectors alike, on top of Cranelift's builder.
//!
//! Owns: [`Ops`], whose functions take integers of 32 or 64 bits, or vectors of them (four or two lanes), and the
//! [`Val`] of a register: one scalar, or vectors for all lanes of a pass.
//! Never: knows instructions or memory.
//! Tests: `gpu/tests/cpu_engines.rs`.

use crate::cpu::{
    lanes::LANES,
    soft::{F32, F64},
};
use cranelift_codegen::ir::{
    ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32 as F32T, F32X4, F64 as F64T, F64X2, I8, I8X16, I32, I32X4, I64, I64X2},
};
use cranelift_frontend::FunctionBuilder;

/// Vectors of four lanes that a narrow pass works on side by side, to hide latency.
pub const NARROW: usize = 2;
/// Vectors of a pass over a whole warp.
pub const WIDE: usize = LANES / 4;

/// A register's value: the same for all lanes, or vectors that hold the lanes in order. Predicates are 0 or 1, or
/// masks of 32 bits a lane.
#[derive(Debug, Clone)]
pub enum Val {
    One(Value),
    Many(Vec<Value>),
}

impl Val {
    pub fn is_one(&self) -> bool {
        matches!(self, Val::One(_))
    }
}

pub fn vector(wide: bool) -> Type {
    if wide { I64X2 } else { I32X4 }
}

pub fn scalar(wide: bool) -> Type {
    if wide { I64 } else { I32 }
}

/// For bit casts between vectors of different lanes.
pub fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// The type of the same shape whose lanes are numbers of the other kind.
fn other(ty: Type) -> Type {
    match ty {
        I32 => F32T,
        I64 => F64T,
        I32X4 => F32X4,
        I64X2 => F64X2,
        F32T => I32,
        F64T => I64,
        F32X4 => I32X4,
        _ => I64X2,
    }
}

pub struct Ops<'f> {
    pub b: FunctionBuilder<'f>,
    /// Vectors of four lanes in a pass.
    pub units: usize,
}

impl Ops<'_> {
    /// Lanes of a pass.
    pub fn lanes(&self) -> usize {
        4 * self.units
    }

    /// Vectors of a register.
    pub fn parts(&self, wide: bool) -> usize {
        if wide { 2 * self.units } else { self.units }
    }

    /// The bits of all lanes of a pass.
    pub fn all_lanes(&mut self) -> Value {
        let bits = u32::MAX >> (32 - self.lanes());
        self.konst(I32, bits.into())
    }

    pub fn ty(&self, v: Value) -> Type {
        self.b.func.dfg.value_type(v)
    }

    /// A constant of this integer type, in all lanes.
    pub fn konst(&mut self, ty: Type, bits: u64) -> Value {
        let lane = ty.lane_type();
        let width = lane.bits();
        // Constants are given sign-extended.
        let shift = 64 - width;
        let signed = ((bits << shift) as i64) >> shift;
        let one = self.b.ins().iconst(lane, if width == 64 { bits as i64 } else { signed });
        if ty.is_vector() { self.b.ins().splat(ty, one) } else { one }
    }

    pub fn float(&mut self, v: Value) -> Value {
        let ty = other(self.ty(v));
        self.b.ins().bitcast(ty, MemFlagsData::new(), v)
    }

    pub fn bits(&mut self, v: Value) -> Value {
        self.float(v)
    }

    /// `x` where the condition holds, else `y`: for a condition of one bit, or a mask of the same lanes.
    pub fn select(&mut self, cond: Value, x: Value, y: Value) -> Value {
        if self.ty(cond).is_vector() {
            self.b.ins().bitselect(cond, x, y)
        } else {
            self.b.ins().select(cond, x, y)
        }
    }

    /// The opposite of a condition.
    pub fn opposite(&mut self, cond: Value) -> Value {
        if self.ty(cond).is_vector() {
            self.b.ins().bnot(cond)
        } else {
            let one = self.b.ins().iconst(I8, 1);
            self.b.ins().bxor(cond, one)
        }
    }

    /// Compares integers; there is no unsigned comparison of 64-bit lanes.
    pub fn icmp(&mut self, cc: IntCC, x: Value, y: Value) -> Value {
        let ty = self.ty(x);
        if ty == I64X2 && cc.unsigned() == cc && !matches!(cc, IntCC::Equal | IntCC::NotEqual) {
            let top = self.konst(ty, 1 << 63);
            let (x, y) = (self.b.ins().bxor(x, top), self.b.ins().bxor(y, top));
            let signed = match cc {
                IntCC::UnsignedLessThan => IntCC::SignedLessThan,
                IntCC::UnsignedLessThanOrEqual => IntCC::SignedLessThanOrEqual,
                IntCC::UnsignedGreaterThan => IntCC::SignedGreaterThan,
                _ => IntCC::SignedGreaterThanOrEqual,
            };
            return self.b.ins().icmp(signed, x, y);
        }
        self.b.ins().icmp(cc, x, y)
    }

    /// Compares the numbers that these bits are.
    pub fn fcmp(&mut self, cc: FloatCC, x: Value, y: Value) -> Value {
        let (x, y) = (self.float(x), self.float(y));
        match cc {
            // Neither is an instruction for vectors.
            FloatCC::OrderedNotEqual => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                let more = self.b.ins().fcmp(FloatCC::LessThan, y, x);
                self.b.ins().bor(less, more)
            }
            FloatCC::UnorderedOrEqual => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                let more = self.b.ins().fcmp(FloatCC::LessThan, y, x);
                let different = self.b.ins().bor(less, more);
                self.opposite(different)
            }
            _ => self.b.ins().fcmp(cc, x, y),
        }
    }

    /// Every NaN becomes the one NaN.
    pub fn canonical(&mut self, v: Value) -> Value {
        let ty = self.ty(v);
        let nan = self.konst(ty, if ty.lane_bits() == 64 { F64.nan } else { F32.nan });
        let is_nan = self.fcmp(FloatCC::Unordered, v, v);
        self.select(is_nan, nan, v)
    }

    /// Subnormal numbers become zeros of their sign.
    pub fn flush(&mut self, v: Value) -> Value {
        let ty = self.ty(v);
        let (exponent, sign) =
            if ty.lane_bits() == 64 { (0x7ff << 52, 1 << 63) } else { (0x7f80_0000, 1 << 31) };
        let exponent = self.konst(ty, exponent);
        let sign = self.konst(ty, sign);
        let zero = self.konst(ty, 0);
        let kept = self.b.ins().band(v, exponent);
        let tiny = self.b.ins().icmp(IntCC::Equal, kept, zero);
        let signed = self.b.ins().band(v, sign);
        self.select(tiny, signed, v)
    }

    /// Clamps to 0..=1; NaN and -0 become +0.
    pub fn saturate(&mut self, v: Value) -> Value {
        let ty = self.ty(v);
        let one = self.konst(ty, if ty.lane_bits() == 64 { 1f64.to_bits() } else { 1f32.to_bits().into() });
        let zero = self.konst(ty, 0);
        let below = self.fcmp(FloatCC::LessThan, v, one);
        let capped = self.select(below, v, one);
        let above = self.fcmp(FloatCC::GreaterThan, v, zero);
        self.select(above, capped, zero)
    }

    /// A value for each vector of a pass.
    pub fn many(&mut self, v: &Val, wide: bool) -> Vec<Value> {
        match v {
            Val::Many(all) => all.clone(),
            Val::One(one) => {
                let all = self.b.ins().splat(vector(wide), *one);
                vec![all; self.parts(wide)]
            }
        }
    }

    /// A condition as a mask for each vector of a pass.
    pub fn masks(&mut self, v: &Val) -> Vec<Value> {
        match v {
            Val::Many(all) => all.clone(),
            Val::One(one) => {
                let mask = self.b.ins().bmask(I32, *one);
                vec![self.b.ins().splat(I32X4, mask); self.units]
            }
        }
    }

    /// Masks of the pass's lanes as bits.
    pub fn bits_of(&mut self, masks: Vec<Value>) -> Value {
        let mut bits = self.b.ins().iconst(I32, 0);
        for (n, mask) in masks.into_iter().enumerate() {
            let four = self.b.ins().vhigh_bits(I32, mask);
            let four = self.b.ins().ishl_imm_u(four, 4 * n as i64);
            bits = self.b.ins().bor(bits, four);
        }
        bits
    }

    /// Applies `op` to scalars if all values are, else to the vectors; all values have the same width.
    pub fn zip(
        &mut self,
        wide: bool,
        vals: &[&Val],
        op: &mut dyn FnMut(&mut Self, &[Value]) -> Value,
    ) -> Val {
        if vals.iter().all(|v| v.is_one()) {
            let ones: Vec<Value> =
                vals.iter().map(|v| if let Val::One(one) = v { *one } else { unreachable!() }).collect();
            return Val::One(op(self, &ones));
        }
        let all: Vec<Vec<Value>> = vals.iter().map(|v| self.many(v, wide)).collect();
        Val::Many(
            (0..self.parts(wide))
                .map(|n| {
                    let row: Vec<Value> = all.iter().map(|v| v[n]).collect();
                    op(self, &row)
                })
                .collect(),
        )
    }

    /// Applies an operation that only scalars have to each lane of vectors, giving lanes of type `to`.
    pub fn lanewise(&mut self, args: &[Value], op: &mut dyn FnMut(&mut Self, &[Value]) -> Value) -> Value {
        let ty = self.ty(args[0]);
        if !ty.is_vector() {
            return op(self, args);
        }
        let mut out = None;
        for lane in 0..ty.lane_count() as u8 {
            let row: Vec<Value> = args.iter().map(|v| self.b.ins().extractlane(*v, lane)).collect();
            let one = op(self, &row);
            out = Some(match out {
                None => self.b.ins().scalar_to_vector(ty, one),
                Some(before) => self.b.ins().insertlane(before, one, lane),
            });
        }
        out.unwrap_or(args[0])
    }

    pub fn shuffle(&mut self, x: Value, y: Value, mask: [u8; 16], ty: Type) -> Value {
        let x = self.b.ins().bitcast(I8X16, little(), x);
        let y = self.b.ins().bitcast(I8X16, little(), y);
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(&mask[..]));
        let out = self.b.ins().shuffle(x, y, mask);
        self.b.ins().bitcast(ty, little(), out)
    }

    /// The low halves of two vectors of 64-bit lanes, in order.
    pub fn low_words(&mut self, x: Value, y: Value) -> Value {
        self.shuffle(x, y, [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27], I32X4)
    }

    /// The low two lanes of two vectors of four, in order.
    pub fn low_pairs(&mut self, x: Value, y: Value) -> Value {
        let ty = self.ty(x);
        self.shuffle(x, y, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23], ty)
    }

    /// The upper two lanes of a vector of four, as the lower two.
    pub fn upper(&mut self, x: Value) -> Value {
        let ty = self.ty(x);
        self.shuffle(x, x, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15], ty)
    }

    /// 32 to 64 bits.
    pub fn widen(&mut self, v: &Val, signed: bool) -> Val {
        match v {
            Val::One(v) if signed => Val::One(self.b.ins().sextend(I64, *v)),
            Val::One(v) => Val::One(self.b.ins().uextend(I64, *v)),
            Val::Many(all) => Val::Many(self.widen_all(all, signed)),
        }
    }

    pub fn widen_all(&mut self, all: &[Value], signed: bool) -> Vec<Value> {
        let mut out = Vec::new();
        for v in all {
            let (low, high) = if signed {
                (self.b.ins().swiden_low(*v), self.b.ins().swiden_high(*v))
            } else {
                (self.b.ins().uwiden_low(*v), self.b.ins().uwiden_high(*v))
            };
            out.extend([low, high]);
        }
        out
    }

    /// The low 32 of 64 bits.
    pub fn narrow(&mut self, v: &Val) -> Val {
        match v {
            Val::One(v) => Val::One(self.b.ins().ireduce(I32, *v)),
            Val::Many(all) => Val::Many(self.narrow_all(all)),
        }
    }

    pub fn narrow_all(&mut self, all: &[Value]) -> Vec<Value> {
        all.chunks(2).map(|pair| self.low_words(pair[0], pair[1])).collect()
    }
}
