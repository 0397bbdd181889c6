//! The registers of one warp: for each register, one value a lane.
//!
//! Owns: the layout (a 32-bit register is one slot of 32 words, a 64-bit register two slots), predicates as lane
//! masks, and the loops over lanes, written so that the compiler turns them into vector instructions.
//! Never: knows what an instruction means. An inactive lane keeps its value, whatever is computed for it.
//! Tests: `gpu/tests/cpu_*.rs`.

/// Threads of a warp.
pub const LANES: usize = 32;
pub const ALL: u32 = u32::MAX;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Slot(pub [u32; LANES]);

/// `1 << lane` for every lane, so that a mask is tested by vector comparison.
pub const BIT: [u32; LANES] = {
    let mut bits = [0; LANES];
    let mut n = 0;
    while n < LANES {
        bits[n] = 1 << n;
        n += 1;
    }
    bits
};

pub struct Frame {
    slots: Box<[Slot]>,
    /// Predicate registers, one bit a lane.
    pub preds: Box<[u32]>,
    /// Lanes that take part in the current instruction.
    pub mask: u32,
    /// Whether this processor has the vector instructions of the fast versions.
    pub fast: bool,
}

/// A value as a lane holds it: the low bits of a 32-bit word, or a 64-bit word.
pub trait Lane: Copy {
    type Raw: Copy;
    const ZERO: Self::Raw;
    fn from_raw(raw: Self::Raw) -> Self;
    fn to_raw(self) -> Self::Raw;
    fn read(frame: &Frame, slot: u32) -> &[Self::Raw; LANES];
    fn write(frame: &mut Frame, slot: u32) -> &mut [Self::Raw; LANES];
}

macro_rules! lane {
    ($raw:ty, $read:ident, $write:ident; $($ty:ty: $from:expr, $to:expr);* $(;)?) => {$(
        impl Lane for $ty {
            type Raw = $raw;
            const ZERO: $raw = 0;
            #[inline(always)]
            fn from_raw(raw: $raw) -> $ty { let f: fn($raw) -> $ty = $from; f(raw) }
            #[inline(always)]
            fn to_raw(self) -> $raw { let f: fn($ty) -> $raw = $to; f(self) }
            #[inline(always)]
            fn read(frame: &Frame, slot: u32) -> &[$raw; LANES] { frame.$read(slot) }
            #[inline(always)]
            fn write(frame: &mut Frame, slot: u32) -> &mut [$raw; LANES] { frame.$write(slot) }
        }
    )*};
}

lane! { u32, words, words_mut;
    u32: |v| v, |v| v;
    i32: |v| v as i32, |v| v as u32;
    // 16-bit registers keep the upper half of their word at zero.
    u16: |v| v as u16, |v| u32::from(v);
    i16: |v| v as i16, |v| u32::from(v as u16);
    f32: f32::from_bits, f32::to_bits;
}

lane! { u64, wides, wides_mut;
    u64: |v| v, |v| v;
    i64: |v| v as i64, |v| v as u64;
    f64: f64::from_bits, f64::to_bits;
}

impl Frame {
    pub fn new(slots: usize, preds: usize) -> Self {
        Frame {
            slots: vec![Slot([0; LANES]); slots].into_boxed_slice(),
            preds: vec![0; preds].into_boxed_slice(),
            mask: 0,
            fast: fast(),
        }
    }

    /// Clears the first `slots` slots and the predicates: what a thread starts with is defined here, though PTX leaves it
    /// open, so that a run can be repeated.
    pub fn clear(&mut self, slots: usize) {
        self.slots[..slots].fill(Slot([0; LANES]));
        self.preds.fill(0);
    }

    /// The same for some slots only, and the predicates or not, where nothing reads the others before they are written.
    pub fn clear_some(&mut self, slots: &[u32], preds: bool) {
        for slot in slots {
            self.slots[*slot as usize] = Slot([0; LANES]);
        }
        if preds {
            self.preds.fill(0);
        }
    }

    /// The slots and the predicates, for machine code.
    pub fn pointers(&mut self) -> (*mut u8, *mut u32) {
        (self.slots.as_mut_ptr().cast(), self.preds.as_mut_ptr())
    }

    #[inline(always)]
    pub fn words(&self, slot: u32) -> &[u32; LANES] {
        &self.slots[slot as usize].0
    }

    #[inline(always)]
    pub fn words_mut(&mut self, slot: u32) -> &mut [u32; LANES] {
        &mut self.slots[slot as usize].0
    }

    #[inline(always)]
    pub fn wides(&self, slot: u32) -> &[u64; LANES] {
        let pair = &self.slots[slot as usize..slot as usize + 2];
        // SAFETY: two slots are 64 words of 32 bits without padding between them (the size of a slot is twice its
        // alignment), which is the size of 32 words of 64 bits; the alignment of a slot is larger, and every bit
        // pattern is a number.
        unsafe { &*pair.as_ptr().cast() }
    }

    #[inline(always)]
    pub fn wides_mut(&mut self, slot: u32) -> &mut [u64; LANES] {
        let pair = &mut self.slots[slot as usize..slot as usize + 2];
        // SAFETY: as above; the slice is borrowed mutably, so nothing else refers to these slots.
        unsafe { &mut *pair.as_mut_ptr().cast() }
    }

    /// Sets a predicate in the active lanes.
    #[inline(always)]
    pub fn set_pred(&mut self, pred: u32, value: u32) {
        let mask = self.mask;
        let place = &mut self.preds[pred as usize];
        *place = (*place & !mask) | (value & mask);
    }

    /// The same value in all lanes, active or not.
    pub fn fill(&mut self, slot: u32, value: u64, wide: bool) {
        if wide { self.wides_mut(slot).fill(value) } else { self.words_mut(slot).fill(value as u32) }
    }
}

/// Lanes that are computed at once: what is read of them stays in vector registers until their results are written, so
/// that an instruction may write a register that it reads. Registers of different widths share no slots.
const ROW: usize = 8;
pub const ROWS: usize = LANES / ROW;

/// The lanes of a register from `first` on.
#[inline(always)]
fn row<A: Lane>(f: &Frame, slot: u32, first: usize) -> [A::Raw; ROW] {
    let mut row = [A::ZERO; ROW];
    row.copy_from_slice(&A::read(f, slot)[first..first + ROW]);
    row
}

#[inline(always)]
fn put_row<D: Lane>(f: &mut Frame, slot: u32, first: usize, row: [D::Raw; ROW]) {
    D::write(f, slot)[first..first + ROW].copy_from_slice(&row);
}

/// What a register holds, if some of its lanes are to keep it while all are computed.
#[inline(always)]
fn kept<D: Lane>(f: &Frame, slot: u32) -> Option<[D::Raw; LANES]> {
    if f.mask == ALL { None } else { Some(*D::read(f, slot)) }
}

/// Gives those lanes back what they had.
#[inline(always)]
fn restore<D: Lane>(f: &mut Frame, slot: u32, kept: Option<[D::Raw; LANES]>) {
    let Some(kept) = kept else { return };
    let mask = f.mask;
    f.mask = !mask;
    store::<D>(f, slot, &kept);
    f.mask = mask;
}

/// Writes the active lanes of `out`.
#[inline(always)]
pub fn store<D: Lane>(f: &mut Frame, slot: u32, out: &[D::Raw; LANES]) {
    let mask = f.mask;
    let place = D::write(f, slot);
    if mask == ALL {
        *place = *out;
    } else {
        for n in 0..LANES {
            place[n] = if mask & BIT[n] != 0 { out[n] } else { place[n] };
        }
    }
}

#[inline(always)]
pub fn map1<A: Lane, D: Lane>(f: &mut Frame, d: u32, a: u32, op: impl Fn(A) -> D) {
    let kept = kept::<D>(f, d);
    for first in (0..LANES).step_by(ROW) {
        let x = row::<A>(f, a, first);
        let mut out = [D::ZERO; ROW];
        for n in 0..ROW {
            out[n] = op(A::from_raw(x[n])).to_raw();
        }
        put_row::<D>(f, d, first, out);
    }
    restore::<D>(f, d, kept);
}

#[inline(always)]
pub fn map2<A: Lane, B: Lane, D: Lane>(f: &mut Frame, d: u32, a: u32, b: u32, op: impl Fn(A, B) -> D) {
    let kept = kept::<D>(f, d);
    for first in (0..LANES).step_by(ROW) {
        let (x, y) = (row::<A>(f, a, first), row::<B>(f, b, first));
        let mut out = [D::ZERO; ROW];
        for n in 0..ROW {
            out[n] = op(A::from_raw(x[n]), B::from_raw(y[n])).to_raw();
        }
        put_row::<D>(f, d, first, out);
    }
    restore::<D>(f, d, kept);
}

#[inline(always)]
pub fn map3<A: Lane, B: Lane, C: Lane, D: Lane>(
    f: &mut Frame,
    d: u32,
    [a, b, c]: [u32; 3],
    op: impl Fn(A, B, C) -> D,
) {
    let kept = kept::<D>(f, d);
    for first in (0..LANES).step_by(ROW) {
        let (x, y, z) = (row::<A>(f, a, first), row::<B>(f, b, first), row::<C>(f, c, first));
        let mut out = [D::ZERO; ROW];
        for n in 0..ROW {
            out[n] = op(A::from_raw(x[n]), B::from_raw(y[n]), C::from_raw(z[n])).to_raw();
        }
        put_row::<D>(f, d, first, out);
    }
    restore::<D>(f, d, kept);
}

/// The lanes for which `op` holds, as a mask.
#[inline(always)]
pub fn test2<A: Lane>(f: &Frame, a: u32, b: u32, op: impl Fn(A, A) -> bool) -> u32 {
    let mut found = [0; ROW];
    for first in (0..LANES).step_by(ROW) {
        let (x, y) = (row::<A>(f, a, first), row::<A>(f, b, first));
        for n in 0..ROW {
            found[n] |= if op(A::from_raw(x[n]), A::from_raw(y[n])) { BIT[first + n] } else { 0 };
        }
    }
    found.iter().fold(0, |all, bits| all | bits)
}

/// What the active lanes of each row hold, if these hold the same; for a row without any, what the lowest one holds.
#[inline(always)]
pub fn leaders<A: Lane<Raw: PartialEq>>(f: &Frame, a: u32) -> Option<[A::Raw; ROWS]> {
    let all = A::read(f, a);
    let lowest = f.mask.trailing_zeros() as usize % LANES;
    // Most registers that differ do so from one lane to the next: these are told at once.
    let next = (lowest + 1) % LANES;
    if !next.is_multiple_of(ROW) && f.mask & BIT[next] != 0 && all[next] != all[lowest] {
        return None;
    }
    let mut leaders = [all[lowest]; ROWS];
    let mut others = [0; ROW];
    for (leader, first) in leaders.iter_mut().zip((0..LANES).step_by(ROW)) {
        let active = f.mask >> first & ALL >> (LANES - ROW);
        if active != 0 {
            *leader = all[first + active.trailing_zeros() as usize % ROW];
        }
        let x = row::<A>(f, a, first);
        for n in 0..ROW {
            others[n] |= if x[n] != *leader { BIT[first + n] } else { 0 };
        }
    }
    let others = others.iter().fold(0, |all, bits| all | bits);
    (others & f.mask == 0).then_some(leaders)
}

/// The same value in the active lanes of each row.
#[inline(always)]
pub fn spread<D: Lane>(f: &mut Frame, d: u32, values: [D::Raw; ROWS]) {
    let kept = kept::<D>(f, d);
    for (n, value) in values.into_iter().enumerate() {
        put_row::<D>(f, d, n * ROW, [value; ROW]);
    }
    restore::<D>(f, d, kept);
}

/// `a` where the mask has a bit, `b` elsewhere.
#[inline(always)]
pub fn select<A: Lane>(f: &mut Frame, d: u32, a: u32, b: u32, chosen: u32) {
    let mut out = [A::ZERO; LANES];
    let (x, y) = (A::read(f, a), A::read(f, b));
    for n in 0..LANES {
        out[n] = if chosen & BIT[n] != 0 { x[n] } else { y[n] };
    }
    store::<A>(f, d, &out);
}

/// The lanes of a mask, lowest first.
pub fn lanes_of(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            lane
        })
    })
}

/// Whether the fast versions may be called.
fn fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Compiles a body twice, for any processor and for one with 256-bit vectors and fused multiply-add, and calls the
/// one that fits. Both give the same bits: the operations are the same, only more lanes go at once.
macro_rules! versions {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*; fast $fast:expr) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
                if $fast {
                    // SAFETY: `fast` says that this processor has these features.
                    return unsafe { wide($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($f:ident: &mut Frame $(, $arg:ident: $ty:ty)*) $body:block) => {
        $crate::cpu::lanes::versions! {
            $(#[$doc])*
            $vis fn $name($f: &mut Frame $(, $arg: $ty)*; fast $f.fast) $body
        }
    };
}
pub(crate) use versions;
