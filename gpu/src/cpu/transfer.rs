//! `ld`, `st`, `atom`, `red`: registers to and from memory.
//!
//! Owns: widths, extension and the meaning of atomic operations. Lanes act in their order, so that of several lanes
//! that store to one place the highest wins, every time.
//! Never: touches a byte that `memory::Groups` has not passed.
//! Tests: `gpu/tests/cpu_integer.rs`, `gpu/tests/cpu_faults.rs`.

use super::{
    code::{AtomOp, AtomTy, Code, Finish, FloatOp, Kernel, Kind, NONE},
    half::half,
    lanes::{Frame, LANES, ROWS, lanes_of, leaders, spread, store, versions},
    memory::{Access, Area, BadAccess, Cell, Global, Groups, Places, Private, shared_place},
    soft::Mode,
};
use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// What a transfer needs beside the registers.
pub struct Memory<'a, 'g> {
    pub kernel: &'a Kernel,
    pub global: &'a Global<'g>,
    pub private: &'a mut Private,
    /// Index in the block of the warp's first thread.
    pub first_thread: usize,
}

/// The addresses of all lanes: the base register, which may have 32 bits, and the offset.
#[inline(always)]
pub(super) fn addresses(f: &Frame, i: &Code, narrow: bool) -> [u64; LANES] {
    let offset = i.imm as u64;
    if i.a == NONE {
        return [offset; LANES];
    }
    let mut out = [0u64; LANES];
    if narrow {
        let base = f.words(i.a);
        for n in 0..LANES {
            // Addresses of 32 bits wrap as such, so that an offset of -4 is what it says.
            out[n] = u64::from(base[n].wrapping_add(offset as u32));
        }
    } else {
        let base = f.wides(i.a);
        for n in 0..LANES {
            out[n] = base[n].wrapping_add(offset);
        }
    }
    out
}

/// Reads one part of each lane into a register; lanes that take no part keep theirs.
#[inline(always)]
fn read_into<T: Cell, D>(
    places: &Places,
    mask: u32,
    part: usize,
    into: &mut [D; LANES],
    as_register: impl Fn(T) -> D,
) {
    let skip = part * std::mem::size_of::<T>();
    if mask == u32::MAX {
        for (lane, into) in into.iter_mut().enumerate() {
            // SAFETY: the access was checked for all parts and their alignment.
            *into = as_register(unsafe { T::read(places.of(lane).add(skip)) });
        }
    } else {
        for lane in lanes_of(mask) {
            // SAFETY: as above.
            into[lane] = as_register(unsafe { T::read(places.of(lane).add(skip)) });
        }
    }
}

/// Reads one part of each lane.
#[inline(always)]
pub(super) fn gather<T: Cell>(places: &Places, mask: u32, part: usize) -> [T; LANES] {
    let mut out = [T::ZERO; LANES];
    read_into(places, mask, part, &mut out, |value| value);
    out
}

/// Writes one part of each lane from a register, in the order of the lanes.
#[inline(always)]
fn write_from<T: Cell, D: Copy>(
    places: &Places,
    mask: u32,
    part: usize,
    from: &[D; LANES],
    as_stored: impl Fn(D) -> T,
) {
    let skip = part * std::mem::size_of::<T>();
    if mask == u32::MAX {
        for (lane, value) in from.iter().enumerate() {
            // SAFETY: the access was checked for all parts, their alignment and writing.
            unsafe { T::write(places.of(lane).add(skip), as_stored(*value)) };
        }
    } else {
        for lane in lanes_of(mask) {
            // SAFETY: as above.
            unsafe { T::write(places.of(lane).add(skip), as_stored(from[lane])) };
        }
    }
}

/// Writes one part of each lane, in the order of the lanes.
#[inline(always)]
pub(super) fn scatter<T: Cell>(places: &Places, mask: u32, part: usize, values: &[T; LANES]) {
    write_from(places, mask, part, values, |value| value);
}

/// The access of a load or store: `e` parts; whether the address register has 32 bits is in `c`.
#[inline(always)]
fn whole<'a>(
    m: &Memory<'_, '_>,
    f: &Frame,
    i: &Code,
    area: Area,
    size: usize,
    to: &'a [u64; LANES],
) -> Access<'a> {
    let write = matches!(i.kind, Kind::Store { .. });
    let size = size as u64 * u64::from(i.e);
    Access { area, addresses: to, mask: f.mask, size, write, first_thread: m.first_thread }
}

versions! {
    /// Where the parts are that the lanes of each row load together, if all lanes of a row have one address and nothing
    /// is wrong with it.
    fn row_places(m: &mut Memory<'_, '_>, f: &Frame, i: &Code, area: Area, size: u64; fast f.fast)
    -> Option<[*mut u8; ROWS]> {
        let offset = i.imm as u64;
        let addresses = match (i.a, i.c) {
            (NONE, _) => [offset; ROWS],
            (_, 1) => leaders::<u32>(f, i.a)?.map(|base| u64::from(base.wrapping_add(offset as u32))),
            _ => leaders::<u64>(f, i.a)?.map(|base| base.wrapping_add(offset)),
        };
        let mut places = [std::ptr::null_mut(); ROWS];
        for (place, address) in places.iter_mut().zip(addresses) {
            *place = shared_place(m.global, m.private, area, address, size)?;
        }
        Some(places)
    }
}

#[inline(always)]
fn load_as<T: Cell>(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    extend: impl Fn(T) -> u64,
) -> Result<(), BadAccess> {
    let parts = &m.kernel.parts[i.d as usize..(i.d + i.e) as usize];
    let size = std::mem::size_of::<T>();
    if let Some(places) = row_places(m, f, i, area, size as u64 * u64::from(i.e)) {
        for (n, part) in parts.iter().enumerate().filter(|(_, part)| part.slot != NONE) {
            // SAFETY: the access was checked for all parts and their alignment.
            let values = places.map(|place| extend(unsafe { T::read(place.add(n * size)) }));
            match part.bits {
                64 => spread::<u64>(f, part.slot, values),
                16 => spread::<u32>(f, part.slot, values.map(|v| v as u32 & 0xffff)),
                _ => spread::<u32>(f, part.slot, values.map(|v| v as u32)),
            }
        }
        return Ok(());
    }
    let to = addresses(f, i, i.c == 1);
    let all = whole(m, f, i, area, std::mem::size_of::<T>(), &to);
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        for (n, part) in parts.iter().enumerate() {
            // Straight into the register: an array in between costs more than the reads. A value narrower than its
            // register is extended as its type says; 16-bit registers keep their upper half at zero.
            match (part.slot, part.bits) {
                (NONE, _) => {}
                (slot, 64) => read_into(&places, mask, n, f.wides_mut(slot), &extend),
                (slot, 16) => read_into(&places, mask, n, f.words_mut(slot), |v| extend(v) as u32 & 0xffff),
                (slot, _) => read_into(&places, mask, n, f.words_mut(slot), |v| extend(v) as u32),
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn store_as<T: Cell>(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    cut: impl Fn(u64) -> T,
) -> Result<(), BadAccess> {
    let parts = &m.kernel.parts[i.d as usize..(i.d + i.e) as usize];
    let to = addresses(f, i, i.c == 1);
    let all = whole(m, f, i, area, std::mem::size_of::<T>(), &to);
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        for (n, part) in parts.iter().enumerate() {
            if part.bits == 64 {
                write_from(&places, mask, n, f.wides(part.slot), &cut);
            } else {
                write_from(&places, mask, n, f.words(part.slot), |v| cut(u64::from(v)));
            }
        }
    }
    Ok(())
}

versions! {
    pub fn load(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code, area: Area, bits: u8, signed: bool; fast f.fast)
    -> Result<(), BadAccess> {
        match (bits, signed) {
            (8, false) => load_as(m, f, i, area, |v: u8| v.into()),
            (8, true) => load_as(m, f, i, area, |v: u8| v as i8 as i64 as u64),
            (16, false) => load_as(m, f, i, area, |v: u16| v.into()),
            (16, true) => load_as(m, f, i, area, |v: u16| v as i16 as i64 as u64),
            (32, false) => load_as(m, f, i, area, |v: u32| v.into()),
            (32, true) => load_as(m, f, i, area, |v: u32| v as i32 as i64 as u64),
            (128, _) => load_whole(m, f, i, area),
            _ => load_as(m, f, i, area, |v: u64| v),
        }
    }
}

versions! {
    pub fn save(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code, area: Area, bits: u8; fast f.fast)
    -> Result<(), BadAccess> {
        match bits {
            8 => store_as(m, f, i, area, |v| v as u8),
            16 => store_as(m, f, i, area, |v| v as u16),
            32 => store_as(m, f, i, area, |v| v as u32),
            128 => store_whole(m, f, i, area),
            _ => store_as(m, f, i, area, |v| v),
        }
    }
}

/// Held while 16 bytes are read or written that others may meet by accesses of 16 bytes, too: no plain operation of a
/// processor takes them at once. To narrower ones they are two halves.
static WHOLE: Mutex<()> = Mutex::new(());

/// Does something with each lane's 16 bytes as a whole.
fn each_whole(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    write: bool,
    act: impl Fn(&mut Frame, usize, &mut [u64; 2]),
) -> Result<(), BadAccess> {
    let to = addresses(f, i, i.c == 1);
    let (mask, first_thread) = (f.mask, m.first_thread);
    let all = Access { area, addresses: &to, mask, size: 16, write, first_thread };
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        for lane in lanes_of(mask) {
            let _alone = WHOLE.lock().unwrap_or_else(PoisonError::into_inner);
            let low = places.of(lane);
            // SAFETY: the access was checked for 16 bytes and their alignment.
            let (low, high) = unsafe { (low, low.add(8)) };
            // SAFETY: as above.
            let mut held = unsafe { [u64::read(low), u64::read(high)] };
            act(f, lane, &mut held);
            if write {
                // SAFETY: as above, and checked for writing.
                unsafe {
                    u64::write(low, held[0]);
                    u64::write(high, held[1]);
                }
            }
        }
    }
    Ok(())
}

/// The two halves of a register of 128 bits in one lane.
fn halves(f: &Frame, slot: u32, lane: usize) -> [u64; 2] {
    [slot, slot + 2].map(|slot| f.wides(slot)[lane])
}

fn set_halves(f: &mut Frame, slot: u32, lane: usize, value: [u64; 2]) {
    for (slot, value) in [slot, slot + 2].into_iter().zip(value) {
        f.wides_mut(slot)[lane] = value;
    }
}

fn load_whole(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code, area: Area) -> Result<(), BadAccess> {
    let slot = m.kernel.parts[i.d as usize].slot;
    each_whole(m, f, i, area, false, |f, lane, held| set_halves(f, slot, lane, *held))
}

fn store_whole(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code, area: Area) -> Result<(), BadAccess> {
    let slot = m.kernel.parts[i.d as usize].slot;
    each_whole(m, f, i, area, true, |f, lane, held| *held = halves(f, slot, lane))
}

/// `exch` and `cas` of 128 bits.
fn atomic_whole(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    op: AtomOp,
) -> Result<(), BadAccess> {
    each_whole(m, f, i, area, true, |f, lane, held| {
        let (old, given) = (*held, halves(f, i.b, lane));
        if op != AtomOp::Cas {
            *held = given;
        } else if old == given {
            *held = halves(f, i.e, lane);
        }
        if i.d != NONE {
            set_halves(f, i.d, lane, old);
        }
    })
}

/// Takes the size in `a` off the stack in `b`, as far as it goes. What does not fit is an access beyond it.
pub fn alloca(f: &mut Frame, i: &Code, wide: bool, stack: Range<u64>) -> Result<(), BadAccess> {
    let size = if wide { *f.wides(i.a) } else { f.words(i.a).map(u64::from) };
    let mut begins = *f.words(i.b);
    for lane in lanes_of(f.mask) {
        let below = u64::from(begins[lane]).wrapping_sub(size[lane]);
        let address = below & (i.imm as u64).wrapping_neg();
        // Where the stack was set to another place, it may be anywhere.
        if size[lane] > u64::from(begins[lane]) || address < stack.start || address > stack.end {
            return Err(BadAccess { lane, area: Area::Local, address, misaligned: false });
        }
        begins[lane] = address as u32;
    }
    store::<u32>(f, i.d, &begins);
    Ok(())
}

impl Memory<'_, '_> {
    /// The old value goes to `d`; `b` is joined in, and for `cas` stored where the old value equals it, `parts[e]`
    /// being what is stored. The address register has 32 bits if `c` is 1.
    pub fn atomic(
        &mut self,
        f: &mut Frame,
        i: &Code,
        area: Area,
        op: AtomOp,
        ty: AtomTy,
    ) -> Result<(), BadAccess> {
        if ty == AtomTy::B128 {
            return atomic_whole(self, f, i, area, op);
        }
        let wide = matches!(ty, AtomTy::U64 | AtomTy::S64 | AtomTy::F64);
        let half = matches!(ty, AtomTy::B16 | AtomTy::Half { pair: false, .. });
        let size = if wide {
            8
        } else if half {
            2
        } else {
            4
        };
        let addresses = addresses(f, i, i.c == 1);
        let read = |slot: u32| if wide { *f.wides(slot) } else { f.words(slot).map(u64::from) };
        let given = read(i.b);
        let stored = if op == AtomOp::Cas { read(i.e) } else { given };
        let whole = Access {
            area,
            addresses: &addresses,
            mask: f.mask,
            size,
            write: true,
            first_thread: self.first_thread,
        };
        let mut old = [0u64; LANES];
        let mut groups = Groups::new(self.global, self.private, whole);
        while let Some((places, mask)) = groups.next(self.global, self.private)? {
            for lane in lanes_of(mask) {
                let change = |current: u64| {
                    if op == AtomOp::Cas {
                        if current == given[lane] { stored[lane] } else { current }
                    } else {
                        joined(op, ty, current, given[lane])
                    }
                };
                // SAFETY: the access was checked for this size, its alignment and writing, and meanwhile memory is
                // touched by atomic operations only.
                old[lane] = unsafe { update(places.of(lane), size, change) };
            }
        }
        if i.d != NONE {
            if wide { store::<u64>(f, i.d, &old) } else { store::<u32>(f, i.d, &old.map(|v| v as u32)) }
        }
        Ok(())
    }
}

/// Replaces a value by what `change` makes of it, at once for all threads, and gives the old one.
///
/// # Safety
/// `place` must be valid for `size` bytes, aligned to it, and touched by atomic operations only meanwhile.
unsafe fn update(place: *mut u8, size: u64, change: impl Fn(u64) -> u64) -> u64 {
    macro_rules! by {
        ($atomic:ty, $ty:ty) => {{
            // SAFETY: the caller's promise.
            let cell = unsafe { <$atomic>::from_ptr(place.cast()) };
            let mut current = cell.load(Relaxed);
            loop {
                let next = change(current.into()) as $ty;
                match cell.compare_exchange_weak(current, next, Relaxed, Relaxed) {
                    Ok(old) => return old.into(),
                    Err(now) => current = now,
                }
            }
        }};
    }
    match size {
        2 => by!(AtomicU16, u16),
        4 => by!(AtomicU32, u32),
        _ => by!(AtomicU64, u64),
    }
}

fn joined(op: AtomOp, ty: AtomTy, old: u64, given: u64) -> u64 {
    let (x, y) = (old as u32, given as u32);
    match (op, ty) {
        (AtomOp::And, _) => old & given,
        (AtomOp::Or, _) => old | given,
        (AtomOp::Xor, _) => old ^ given,
        (AtomOp::Exch | AtomOp::Cas, _) => given,
        (AtomOp::Add, AtomTy::F32) => float_sum(f32::from_bits(x), f32::from_bits(y)),
        (AtomOp::Add, AtomTy::F64) => {
            let sum = f64::from_bits(old) + f64::from_bits(given);
            if sum.is_nan() { super::soft::F64.nan } else { sum.to_bits() }
        }
        (AtomOp::Add | AtomOp::Min | AtomOp::Max, AtomTy::Half { pair, brain }) => {
            let how = Finish { mode: Mode::Rn, ftz: false, sat: false, nan: false, relu: false };
            let float_op = match op {
                AtomOp::Min => FloatOp::Min,
                AtomOp::Max => FloatOp::Max,
                _ => FloatOp::Add,
            };
            let part = |shift: u32| {
                let [x, y] = [x, y].map(|v| v >> shift & 0xffff);
                u64::from(half(float_op, brain, how, [x, y, 0])) << shift
            };
            part(0) | if pair { part(16) } else { 0 }
        }
        (AtomOp::Add, _) => old.wrapping_add(given),
        (AtomOp::Inc, _) => {
            if x >= y {
                0
            } else {
                u64::from(x) + 1
            }
        }
        (AtomOp::Dec, _) => {
            if x == 0 || x > y {
                given
            } else {
                u64::from(x) - 1
            }
        }
        (AtomOp::Min, AtomTy::S32) => u64::from((x as i32).min(y as i32) as u32),
        (AtomOp::Max, AtomTy::S32) => u64::from((x as i32).max(y as i32) as u32),
        (AtomOp::Min, AtomTy::S64) => (old as i64).min(given as i64) as u64,
        (AtomOp::Max, AtomTy::S64) => (old as i64).max(given as i64) as u64,
        (AtomOp::Min, _) => old.min(given),
        (AtomOp::Max, _) => old.max(given),
    }
}

/// `atom.add.f32` on global memory flushes no subnormals on today's devices; NaN is the canonical one.
fn float_sum(x: f32, y: f32) -> u64 {
    let sum = x + y;
    if sum.is_nan() { super::soft::F32.nan } else { sum.to_bits().into() }
}
