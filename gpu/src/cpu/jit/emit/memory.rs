//! Loads, and the check of addresses.
//!
//! Owns: where lanes' bytes are. The check is that of `cpu/memory.rs`: aligned, and within the piece of memory that the
//! address falls into. Lanes that fall into several pieces, or out of all, are left to the interpreter, which serves
//! them one by one or names the fault.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Emitter, Ops, Val, scalar, vector};
use crate::cpu::{
    code::{Code, NONE, Part},
    jit::context::{Field, VIEW},
    memory::{Area, WINDOW_BITS},
};
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type, Value,
    condcodes::IntCC,
    types::{I8, I16X8, I32, I32X4, I64, I64X2},
};

/// A piece of memory.
pub struct Piece {
    pub start: Value,
    /// The address of its first byte, as kernels see it.
    pub base: Value,
    pub len: Value,
    /// Bytes from one thread's piece to the next one's.
    stride: i64,
}

/// Where checked bytes are: at `start` plus the offset of each lane.
pub struct Places {
    pub start: Value,
    offsets: Val,
    /// Bytes from each lane to the next, if always the same; then there are no offsets.
    pub stride: Option<i64>,
    /// Whether offsets have 32 bits.
    narrow: bool,
}

impl Places {
    pub fn even(start: Value, stride: i64) -> Places {
        Places { start, offsets: Val::One(start), stride: Some(stride), narrow: false }
    }

    /// Vectors of the lanes' offsets, and the type of one, if they do not grow evenly.
    pub fn offsets(&self) -> Option<(&[Value], Type)> {
        match &self.offsets {
            Val::Many(all) => Some((all, scalar(!self.narrow))),
            Val::One(_) => None,
        }
    }

    /// The address of one lane of a pass.
    pub fn of(&self, ops: &mut Ops<'_>, lane: usize) -> Value {
        if let Some(stride) = self.stride {
            return ops.b.ins().iadd_imm_s(self.start, stride * lane as i64);
        }
        let offset = match &self.offsets {
            Val::One(one) => *one,
            Val::Many(all) if self.narrow => {
                let word = ops.b.ins().extractlane(all[lane / 4], (lane % 4) as u8);
                ops.b.ins().uextend(I64, word)
            }
            Val::Many(all) => ops.b.ins().extractlane(all[lane / 2], (lane % 2) as u8),
        };
        ops.b.ins().iadd(self.start, offset)
    }
}

pub fn is_global(area: Area) -> bool {
    matches!(area, Area::Global | Area::Const | Area::Generic)
}

/// Guest memory: checked before, and shared with other threads.
fn guest() -> MemFlagsData {
    MemFlagsData::trusted()
}

impl Emitter<'_, '_> {
    /// The addresses of an access in 64 bits: base register and offset.
    fn addresses(&mut self, i: &Code) -> Val {
        if i.a == NONE {
            return Val::One(self.ops.konst(I64, i.imm as u64));
        }
        let narrow = i.c == 1;
        let base = self.read(i.a, !narrow);
        let offset = i.imm as u64;
        let sum = self.ops.zip(!narrow, &[&base], &mut |ops, v| {
            if offset == 0 {
                return v[0];
            }
            let ty = ops.ty(v[0]);
            let offset = ops.konst(ty, offset);
            ops.b.ins().iadd(v[0], offset)
        });
        if narrow { self.ops.widen(&sum, false) } else { sum }
    }

    /// Loads one part of a pass whose lanes are `stride` bytes apart.
    fn load_even(&mut self, at: Value, stride: i64, part: &Part, bits: u8, signed: bool, skip: i32) -> Val {
        let wide = part.bits == 64;
        if stride == 0 {
            return Val::One(self.load_one(at, skip, part.bits, bits, signed));
        }
        let lanes = if wide { 2 } else { 4 };
        let packed = i64::from(bits / 8) == stride && u32::from(bits) == vector(wide).lane_bits();
        if stride == i64::from(bits / 8) && part.bits != 64 && bits < 32 {
            return self.load_small(at, part, bits, signed, skip);
        }
        let out = (0..self.ops.lanes()).step_by(lanes).map(|first| {
            let offset = |lane: usize| skip + (stride * lane as i64) as i32;
            if packed {
                return self.ops.b.ins().load(
                    vector(wide),
                    MemFlagsData::new().with_notrap(),
                    at,
                    offset(first),
                );
            }
            let one = self.load_one(at, offset(first), part.bits, bits, signed);
            let mut joined = self.ops.b.ins().scalar_to_vector(vector(wide), one);
            for lane in 1..lanes {
                let one = self.load_one(at, offset(first + lane), part.bits, bits, signed);
                joined = self.ops.b.ins().insertlane(joined, one, lane as u8);
            }
            joined
        });
        Val::Many(out.collect())
    }

    /// The same of bytes or halves side by side.
    fn load_small(&mut self, at: Value, part: &Part, bits: u8, signed: bool, skip: i32) -> Val {
        let flags = MemFlagsData::new().with_notrap();
        let mut out = Vec::new();
        for first in (0..self.ops.lanes() as i32).step_by(8) {
            let at_lane = skip + first * i32::from(bits / 8);
            let ins = self.ops.b.ins();
            let halves = match (bits, signed) {
                (8, true) => ins.sload8x8(flags, at, at_lane),
                (8, false) => ins.uload8x8(flags, at, at_lane),
                _ => ins.load(I16X8, flags, at, at_lane),
            };
            out.extend(self.ops.widen_all(&[halves], signed));
        }
        if part.bits != 16 || !signed {
            return Val::Many(out);
        }
        let mask = self.ops.konst(I32X4, 0xffff);
        Val::Many(out.into_iter().map(|v| self.ops.b.ins().band(v, mask)).collect())
    }

    /// The piece that the addresses of active lanes point into, if it is one.
    pub fn piece(&mut self, area: Area, addresses: &Val, write: bool) -> Piece {
        let zero = self.ops.konst(I64, 0);
        let whole = |start, len| Piece { start, base: zero, len, stride: 0 };
        match area {
            Area::Shared => whole(self.field(Field::Shared), self.field(Field::SharedLen)),
            Area::Param => whole(self.field(Field::Params), self.field(Field::ParamsLen)),
            Area::Local => {
                let stride = self.kernel.local_bytes.div_ceil(16) * 16;
                let len = self.ops.konst(I64, stride);
                let start = self.field(Field::Local);
                Piece { start, base: zero, len, stride: stride as i64 }
            }
            Area::Global | Area::Const | Area::Generic => self.view(addresses, write),
        }
    }

    fn view(&mut self, addresses: &Val, write: bool) -> Piece {
        let any = match addresses {
            Val::One(one) => *one,
            // Joined, the addresses of one window give its number; what is not of it shows in the check.
            Val::Many(all) => self.joined(all),
        };
        let by = self.ops.b.ins().iconst(I32, i64::from(WINDOW_BITS));
        let index = self.ops.b.ins().ushr(any, by);
        let count = self.field_here(Field::ViewCount);
        let beyond = self.ops.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, count);
        self.bail_if(beyond);
        let size = self.ops.b.ins().iconst(I64, VIEW.size);
        let at = self.ops.b.ins().imul(index, size);
        let views = self.field_here(Field::Views);
        let view = self.ops.b.ins().iadd(views, at);
        if write {
            let writable = self.ops.b.ins().load(I8, fixed_within(), view, VIEW.writable);
            let zero = self.ops.b.ins().iconst(I8, 0);
            let locked = self.ops.b.ins().icmp(IntCC::Equal, writable, zero);
            self.bail_if(locked);
        }
        let start = self.ops.b.ins().load(I64, fixed_within(), view, VIEW.start);
        let len = self.ops.b.ins().load(I64, fixed_within(), view, VIEW.len);
        let base = self.ops.b.ins().load(I64, fixed_within(), view, VIEW.base);
        Piece { start, base, len, stride: 0 }
    }

    /// All lanes' words joined into one.
    fn joined(&mut self, all: &[Value]) -> Value {
        let mut sum = all[0];
        for v in &all[1..] {
            sum = self.ops.b.ins().bor(sum, *v);
        }
        let (low, high) = (self.ops.b.ins().extractlane(sum, 0), self.ops.b.ins().extractlane(sum, 1));
        self.ops.b.ins().bor(low, high)
    }

    /// Checks an access of `size` bytes at the given addresses; goes to the interpreter if a lane fails.
    pub fn check(&mut self, area: Area, addresses: Val, size: i64, write: bool, active: &Val) -> Places {
        if let Val::One(one) = addresses
            && is_global(area)
        {
            return Places::even(self.check_even(area, one, 0, size, write), 0);
        }
        let masks = match (&addresses, active) {
            (Val::Many(_), Val::Many(masks)) => Some(self.ops.widen_all(masks, true)),
            _ => None,
        };
        // Lanes that take no part count as address 0 while the piece is found, and as its start after that.
        let masked = |ops: &mut Ops<'_>, v: &Val| match (v, &masks) {
            (Val::Many(all), Some(masks)) => {
                Val::Many(all.iter().zip(masks).map(|(v, m)| ops.b.ins().band(*v, *m)).collect())
            }
            _ => v.clone(),
        };
        let addresses = masked(&mut self.ops, &addresses);
        let piece = self.piece(area, &addresses, write);
        let size_value = self.ops.konst(I64, size as u64);
        let room = self.ops.b.ins().isub(piece.len, size_value);
        let offsets = self
            .ops
            .zip(true, &[&addresses, &Val::One(piece.base)], &mut |ops, v| ops.b.ins().isub(v[0], v[1]));
        let offsets = masked(&mut self.ops, &offsets);
        // The top bit tells an offset beyond the room, or below zero, and a piece smaller than the access.
        let over = self.ops.zip(true, &[&offsets, &Val::One(room)], &mut |ops, v| {
            let left = ops.b.ins().isub(v[1], v[0]);
            ops.b.ins().bor(left, v[0])
        });
        match over {
            Val::One(over) => {
                let zero = self.ops.konst(I64, 0);
                let out = self.ops.b.ins().icmp(IntCC::SignedLessThan, over, zero);
                self.bail_if(out);
            }
            Val::Many(all) => {
                let mut sum = all[0];
                for v in &all[1..] {
                    sum = self.ops.b.ins().bor(sum, *v);
                }
                let out = self.ops.b.ins().vhigh_bits(I32, sum);
                self.bail_if(out);
            }
        }
        if size > 1 {
            let low = match &offsets {
                Val::One(one) => *one,
                Val::Many(all) => self.joined(all),
            };
            let within = self.ops.konst(I64, size as u64 - 1);
            let crooked = self.ops.b.ins().band(low, within);
            self.bail_if(crooked);
        }
        self.apart(piece, offsets)
    }

    /// Each thread's local memory is a piece of its own.
    fn apart(&mut self, piece: Piece, offsets: Val) -> Places {
        if piece.stride == 0 {
            return Places { start: piece.start, offsets, stride: None, narrow: false };
        }
        let all = self.ops.many(&offsets, true);
        let number = self.pass().number;
        let pass = self.ops.konst(I64, piece.stride as u64 * self.ops.lanes() as u64);
        let number = self.ops.b.ins().uextend(I64, number);
        let skip = self.ops.b.ins().imul(number, pass);
        let start = self.ops.b.ins().iadd(piece.start, skip);
        let stride = self.ops.konst(I64, piece.stride as u64);
        let mut out = Vec::new();
        for (n, v) in all.into_iter().enumerate() {
            let first = self.ops.konst(I64, piece.stride as u64 * 2 * n as u64);
            let second = self.ops.b.ins().iadd(first, stride);
            let pair = self.ops.b.ins().scalar_to_vector(I64X2, first);
            let pair = self.ops.b.ins().insertlane(pair, second, 1u8);
            out.push(self.ops.b.ins().iadd(v, pair));
        }
        Places { start, offsets: Val::Many(out), stride: None, narrow: false }
    }

    /// Where the lanes of an access are, checked.
    pub fn places(&mut self, i: &Code, area: Area, size: i64, write: bool) -> Places {
        if let Some((first, stride)) = self.even_address(i, area, size) {
            let at = self.check_even(area, first, stride, size, write);
            return Places::even(at, stride);
        }
        if let Some(at) = self.parameter(i, area, size) {
            return Places::even(at, 0);
        }
        let active = self.pass().active.clone();
        if area == Area::Shared && i.c == 1 && i.a != NONE && self.classes.varying(i.a) {
            return self.check_shared(i, size, &active);
        }
        let addresses = self.addresses(i);
        self.check(area, addresses, size, write, &active)
    }

    /// Where a parameter is that every launch has, aligned.
    fn parameter(&mut self, i: &Code, area: Area, size: i64) -> Option<Value> {
        let inside = i.imm >= 0 && i.imm + size <= i64::from(self.kernel.param_bytes) && i.imm % size == 0;
        let known = area == Area::Param && i.a == NONE && inside;
        let start = known.then(|| self.field(Field::Params))?;
        Some(self.ops.b.ins().iadd_imm_s(start, i.imm))
    }

    /// The check of addresses of 32 bits in shared memory, which is never larger than these can tell.
    fn check_shared(&mut self, i: &Code, size: i64, active: &Val) -> Places {
        let (base, masks) = (self.read(i.a, false), self.ops.masks(active));
        let base = self.ops.many(&base, false);
        let by = self.ops.konst(I32X4, i.imm as u64);
        let offsets: Vec<Value> = base
            .iter()
            .zip(masks)
            .map(|(v, mask)| {
                let sum = self.ops.b.ins().iadd(*v, by);
                self.ops.b.ins().band(sum, mask)
            })
            .collect();
        let (mut most, mut any) = (offsets[0], offsets[0]);
        for v in &offsets[1..] {
            most = self.ops.b.ins().umax(most, *v);
            any = self.ops.b.ins().bor(any, *v);
        }
        let (start, len) = (self.field(Field::Shared), self.field(Field::SharedLen));
        let size_value = self.ops.konst(I64, size as u64);
        let none = self.ops.b.ins().icmp(IntCC::UnsignedLessThan, len, size_value);
        self.bail_if(none);
        let room = self.ops.b.ins().isub(len, size_value);
        let room = self.ops.b.ins().ireduce(I32, room);
        let room = self.ops.b.ins().splat(I32X4, room);
        let over = self.ops.b.ins().icmp(IntCC::UnsignedGreaterThan, most, room);
        let (within, zero) = (self.ops.konst(I32X4, size as u64 - 1), self.ops.konst(I32X4, 0));
        let crooked = self.ops.b.ins().band(any, within);
        let crooked = self.ops.b.ins().icmp(IntCC::NotEqual, crooked, zero);
        let wrong = self.ops.b.ins().bor(over, crooked);
        let wrong = self.ops.b.ins().vhigh_bits(I32, wrong);
        self.bail_if(wrong);
        Places { start, offsets: Val::Many(offsets), stride: None, narrow: true }
    }

    pub fn load(&mut self, i: &Code, area: Area, bits: u8, signed: bool) {
        let parts = self.kernel.parts[i.d as usize..(i.d + i.e) as usize].to_vec();
        let step = i32::from(bits / 8);
        let size = i64::from(step) * i64::from(i.e);
        if let Some((first, stride)) = self.even_address(i, area, size) {
            let at = self.check_even(area, first, stride, size, false);
            let mut loaded = Vec::new();
            for (n, part) in parts.iter().enumerate().filter(|(_, part)| part.slot != NONE) {
                loaded.push((part.slot, self.load_even(at, stride, part, bits, signed, n as i32 * step)));
            }
            return self.put_loaded(i, loaded, &parts);
        }
        let places = self.places(i, area, size, false);
        let mut loaded = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            if part.slot != NONE {
                loaded.push((part.slot, self.load_part(&places, part, bits, signed, n as i32 * step)));
            }
        }
        self.put_loaded(i, loaded, &parts);
    }

    /// Puts what was loaded into registers, whose other lanes keep what they have.
    fn put_loaded(&mut self, i: &Code, loaded: Vec<(u32, Val)>, parts: &[Part]) {
        for (slot, val) in loaded {
            let wide = parts.iter().any(|part| part.slot == slot && part.bits == 64);
            let val = if i.guard == NONE {
                val
            } else {
                let old = self.get(slot);
                self.guarded(i, val, old, wide)
            };
            self.put(slot, &val);
        }
    }

    fn load_part(&mut self, places: &Places, part: &Part, bits: u8, signed: bool, skip: i32) -> Val {
        let wide = part.bits == 64;
        if let Val::One(_) = places.offsets {
            let at = places.of(&mut self.ops, 0);
            return Val::One(self.load_one(at, skip, part.bits, bits, signed));
        }
        let lanes = if wide { 2 } else { 4 };
        let mut out = Vec::new();
        for first in (0..self.ops.lanes()).step_by(lanes) {
            let mut joined = None;
            for lane in 0..lanes {
                let at = places.of(&mut self.ops, first + lane);
                let one = self.load_one(at, skip, part.bits, bits, signed);
                joined = Some(match joined {
                    None => self.ops.b.ins().scalar_to_vector(vector(wide), one),
                    Some(before) => self.ops.b.ins().insertlane(before, one, lane as u8),
                });
            }
            out.extend(joined);
        }
        Val::Many(out)
    }

    /// One value of `bits` bits, extended as its type says to the register; those of 16 bits keep zeros above.
    fn load_one(&mut self, at: Value, skip: i32, register: u8, bits: u8, signed: bool) -> Value {
        let ty = scalar(register == 64);
        let ins = self.ops.b.ins();
        let out = match (bits, signed) {
            (8, false) => ins.uload8(ty, guest(), at, skip),
            (8, true) => ins.sload8(ty, guest(), at, skip),
            (16, false) => ins.uload16(ty, guest(), at, skip),
            (16, true) => ins.sload16(ty, guest(), at, skip),
            (32, _) if ty == I32 => ins.load(I32, guest(), at, skip),
            (32, false) => ins.uload32(guest(), at, skip),
            (32, true) => ins.sload32(guest(), at, skip),
            _ if ty == I64 => ins.load(I64, guest(), at, skip),
            _ => {
                let whole = ins.load(I64, guest(), at, skip);
                self.ops.b.ins().ireduce(I32, whole)
            }
        };
        if register != 16 {
            return out;
        }
        let mask = self.ops.konst(I32, 0xffff);
        self.ops.b.ins().band(out, mask)
    }
}

/// Views stay as they are while a launch runs; those of sparse memory change to other pages, but what they showed holds.
/// The check before the load may not be moved after it.
fn fixed_within() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly()
}
