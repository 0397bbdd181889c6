//! The address space that kernels see.
//!
//! Owns: where buffers and module variables live, and the check of every access. Each piece of global memory has a
//! window of its own, 64 GiB from the next, so an index that runs out of one buffer meets a gap, never another buffer;
//! address 0 lies in no window. Generic addresses of shared, local and parameter memory carry a tag.
//! Never: lets an access through that was not checked against the piece it falls into.
//! Tests: `gpu/tests/cpu_faults.rs`.

use super::lanes::{BIT, LANES};
use crate::pages::AlignedBytes;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed,
};

/// Each window spans 2^36 bytes; a buffer may have 16 GiB, so at least 48 GiB after it are a gap.
pub const WINDOW_BITS: u32 = 36;
/// Windows that fit below the tags.
const WINDOWS_MAX: u64 = 1 << 12;
/// Tags of generic addresses, far above all windows.
pub const SHARED_TAG: u64 = 1 << 56;
pub const LOCAL_TAG: u64 = 2 << 56;
pub const PARAM_TAG: u64 = 3 << 56;
const TAG_MASK: u64 = 0xff << 56;

/// State spaces of accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Global,
    Shared,
    Local,
    Const,
    Param,
    Generic,
}

impl Area {
    pub fn text(self) -> &'static str {
        match self {
            Area::Global => "global",
            Area::Shared => "shared",
            Area::Local => "local",
            Area::Const => "const",
            Area::Param => "param",
            Area::Generic => "generic",
        }
    }
}

/// What is wrong with an access, before it is known where in the program it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAccess {
    pub lane: usize,
    pub area: Area,
    pub address: u64,
    pub misaligned: bool,
}

/// One piece of global memory, as somebody else keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub start: *mut u8,
    pub len: u64,
    pub writable: bool,
}

/// What accesses find of a piece: all of it; in sparse memory the page that was touched last, or nothing. Generated code
/// reads it.
#[repr(C)]
pub struct View {
    pub start: AtomicPtr<u8>,
    /// The address of the first byte, as kernels see it.
    pub base: AtomicU64,
    pub len: AtomicU64,
    pub writable: AtomicBool,
}

impl View {
    fn of(window: Window, base: u64) -> View {
        View {
            start: AtomicPtr::new(window.start),
            base: AtomicU64::new(base),
            len: AtomicU64::new(window.len),
            writable: AtomicBool::new(window.writable),
        }
    }

    /// Nothing of a piece. One that can be written never shows anything, so that every access comes by.
    fn closed(writable: bool) -> View {
        View::of(Window { start: std::ptr::null_mut(), len: 0, writable }, 0)
    }
}

/// Lanes of an access in one page of sparse memory.
pub struct Found {
    pub places: Places,
    pub mask: u32,
    /// Where the page is in the address space of kernels, and its length.
    pub base: u64,
    pub len: u64,
}

/// Where the lanes of an access are that fall into the page of the lowest; `None` if that lane's bytes lie in no piece.
pub type Lookup<'a> = dyn Fn(&Access<'_>) -> Option<Found> + Sync + 'a;

/// An access of lanes whose addresses grow evenly.
#[derive(Debug, Clone, Copy)]
pub struct Even {
    pub first: u64,
    pub stride: u64,
    /// Bytes from the first lane's first to the last one's last, of lanes that take no part too.
    pub span: u64,
    pub size: u64,
    pub write: bool,
    pub mask: u32,
}

/// Global memory of one launch: borrowed pieces, shared by all threads that run blocks.
pub struct Global<'a> {
    views: Vec<View>,
    /// What stands behind the views where blocks run one by one and are watched.
    sparse: Option<&'a Lookup<'a>>,
    borrowed: std::marker::PhantomData<&'a mut [u8]>,
}

// SAFETY: the pieces are borrowed mutably for 'a, so only the running blocks touch them, and these do so by atomic
// operations only (`read`, `write`, `atomic`).
unsafe impl Sync for Global<'_> {}

impl<'a> Global<'a> {
    pub fn new() -> Self {
        // Window 0 is never used, so that small numbers are never addresses.
        Global { views: vec![View::closed(false)], sparse: None, borrowed: std::marker::PhantomData }
    }

    /// Over pieces that somebody else keeps.
    ///
    /// # Safety
    /// All must stay valid for as long as this lives, and be touched meanwhile by atomic operations only.
    pub unsafe fn of(pieces: &[Window]) -> Self {
        let mut global = Self::new();
        pieces.iter().for_each(|piece| global.show(*piece));
        global
    }

    /// Memory of which only what is touched exists. Of pieces that are not `watched`, accesses after the first to a page
    /// need not come by. For one thread.
    pub fn sparse(lookup: &'a Lookup<'a>, watched: impl Iterator<Item = bool>) -> Self {
        let mut global = Global { sparse: Some(lookup), ..Self::new() };
        global.views.extend(watched.map(View::closed));
        global
    }

    /// Opens a window on `bytes` and gives its address; `None` if there are too many.
    pub fn open(&mut self, bytes: &'a mut AlignedBytes, writable: bool) -> Option<u64> {
        let index = self.views.len() as u64;
        let len = bytes.len() as u64;
        if index >= WINDOWS_MAX || len > 1 << (WINDOW_BITS - 1) {
            return None;
        }
        self.show(Window { start: bytes.as_mut_ptr(), len, writable });
        Some(index << WINDOW_BITS)
    }

    fn show(&mut self, window: Window) {
        let base = (self.views.len() as u64) << WINDOW_BITS;
        self.views.push(View::of(window, base));
    }

    pub fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }

    pub fn views(&self) -> &[View] {
        &self.views
    }

    fn view(&self, address: u64) -> Option<&View> {
        self.views.get((address >> WINDOW_BITS) as usize)
    }

    /// An access to sparse memory, whose page is shown from now on if its piece is not watched. One that is written all
    /// the same is watched from then on.
    fn brought(&self, access: &Access<'_>) -> Option<Found> {
        let found = self.sparse?(access)?;
        let view = self.view(found.base)?;
        if access.write {
            view.writable.store(true, Relaxed);
            view.len.store(0, Relaxed);
        } else if !view.writable.load(Relaxed) {
            view.start.store(found.places.start, Relaxed);
            view.base.store(found.base, Relaxed);
            view.len.store(found.len, Relaxed);
        }
        Some(found)
    }

    /// Where the first lane's bytes are, if all lanes' and those between lie in one page of sparse memory.
    pub fn even(&self, even: &Even) -> Option<*mut u8> {
        let lane = |n: usize| even.first.wrapping_add(even.stride.wrapping_mul(n as u64));
        let (addresses, mask) = (std::array::from_fn(lane), even.mask);
        let Even { first, size, write, .. } = *even;
        let found = self.brought(&Access {
            area: Area::Global,
            addresses: &addresses,
            mask,
            size,
            write,
            first_thread: 0,
        })?;
        let skip = first.checked_sub(found.base)?;
        let inside = found.mask == mask && skip.checked_add(even.span)? <= found.len;
        inside.then(|| found.places.start.wrapping_add(skip as usize))
    }
}

/// Memory that one block has to itself, and the launch's parameters.
#[derive(Debug, Default)]
pub struct Private {
    pub shared: AlignedBytes,
    /// Local memory of all threads of the block, one after the other.
    pub local: AlignedBytes,
    /// Bytes of local memory of one thread; a multiple of 16.
    pub local_stride: usize,
    pub params: AlignedBytes,
    /// What the block has printed, and the words of an assertion that did not hold.
    pub printed: Vec<u8>,
    /// Bytes that printing has read and written.
    pub print_work: usize,
    pub assertion: String,
}

/// One access of a warp.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    pub area: Area,
    pub addresses: &'a [u64; LANES],
    /// Lanes that take part; never empty.
    pub mask: u32,
    /// Bytes of the whole access: a power of two, which addresses must be multiples of.
    pub size: u64,
    pub write: bool,
    /// Index in the block of the warp's first thread.
    pub first_thread: usize,
}

/// Where the lanes' bytes are: checked, so that each active lane may touch the access's size at its place.
pub struct Places {
    pub(super) start: *mut u8,
    /// Zero for lanes that take no part.
    pub(super) offsets: [u64; LANES],
}

impl Places {
    /// The bytes of one active lane.
    #[inline(always)]
    pub fn of(&self, lane: usize) -> *mut u8 {
        // SAFETY: `check` has found the lane's bytes to lie within the piece.
        unsafe { self.start.add(self.offsets[lane] as usize) }
    }
}

/// An access's lanes in groups that lie in one piece each: nearly always a single group; the lanes of an access that
/// falls into several pieces, or out of all, come one by one, in order. A loop over groups rather than a function that
/// is handed a closure, so that what is done with them is compiled into the loop over lanes.
pub struct Groups<'a> {
    access: Access<'a>,
    all: Option<Places>,
    left: u32,
}

impl<'a> Groups<'a> {
    #[inline(always)]
    pub fn new(global: &Global<'_>, private: &mut Private, access: Access<'a>) -> Self {
        Groups { all: check(global, private, &access), left: access.mask, access }
    }

    /// The next group's places and lanes, checked.
    #[inline(always)]
    pub fn next(
        &mut self,
        global: &Global<'_>,
        private: &mut Private,
    ) -> Result<Option<(Places, u32)>, BadAccess> {
        if self.left == 0 {
            return Ok(None);
        }
        let (places, mask) = match self.all.take() {
            Some(places) => (places, self.left),
            None => some_lanes(global, private, &Access { mask: self.left, ..self.access })?,
        };
        self.left &= !mask;
        Ok(Some((places, mask)))
    }
}

/// The lowest lane; in sparse memory, with those that fall into the same page.
#[cold]
#[inline(never)]
fn some_lanes(
    global: &Global<'_>,
    private: &mut Private,
    all: &Access<'_>,
) -> Result<(Places, u32), BadAccess> {
    let a = &Access { mask: all.mask & all.mask.wrapping_neg(), ..*all };
    let lane = a.mask.trailing_zeros() as usize;
    let address = a.addresses[lane];
    let bad = |area, misaligned| Err(BadAccess { lane, area, address, misaligned });
    if !address.is_multiple_of(a.size) {
        return bad(a.area, true);
    }
    if a.area == Area::Generic && address & TAG_MASK != 0 {
        let area = match address & TAG_MASK {
            SHARED_TAG => Area::Shared,
            LOCAL_TAG => Area::Local,
            PARAM_TAG => Area::Param,
            _ => return bad(Area::Generic, false),
        };
        let addresses = [address & !TAG_MASK; LANES];
        let there = Access { area, addresses: &addresses, ..*a };
        return check(global, private, &there).map_or(bad(area, false), |places| Ok((places, a.mask)));
    }
    let area = if a.area == Area::Generic { Area::Global } else { a.area };
    if global.sparse.is_some() && matches!(area, Area::Global | Area::Const) {
        return global.brought(all).map_or(bad(area, false), |found| Ok((found.places, found.mask)));
    }
    check(global, private, a).map_or(bad(area, false), |places| Ok((places, a.mask)))
}

/// Memory that an access may touch.
struct Piece {
    start: *mut u8,
    /// The address of the first byte.
    base: u64,
    len: u64,
}

/// The piece of global, shared or parameter memory at an address; generic ones with a tag are in none.
#[inline(always)]
fn piece(global: &Global<'_>, private: &mut Private, area: Area, address: u64, write: bool) -> Option<Piece> {
    let whole =
        |bytes: &mut AlignedBytes| Piece { start: bytes.as_mut_ptr(), base: 0, len: bytes.len() as u64 };
    match area {
        Area::Global | Area::Const | Area::Generic => {
            let view = global.view(address)?;
            let (start, base, len) =
                (view.start.load(Relaxed), view.base.load(Relaxed), view.len.load(Relaxed));
            (!write || view.writable.load(Relaxed)).then_some(Piece { start, base, len })
        }
        Area::Shared => Some(whole(&mut private.shared)),
        Area::Param => (!write).then(|| whole(&mut private.params)),
        Area::Local => None,
    }
}

/// Where the bytes are that all lanes read together, if these are aligned and in memory that lanes share and that is there.
#[inline(always)]
pub fn shared_place(
    global: &Global<'_>,
    private: &mut Private,
    area: Area,
    address: u64,
    size: u64,
) -> Option<*mut u8> {
    let piece = piece(global, private, area, address, false)?;
    let offset = address.wrapping_sub(piece.base);
    let inside = offset <= piece.len.checked_sub(size)? && offset & (size - 1) == 0;
    // SAFETY: the offset is below the length of the piece.
    inside.then(|| unsafe { piece.start.add(offset as usize) })
}

/// The places of all lanes, if they lie in one piece, aligned and within its bounds.
#[inline(always)]
fn check(global: &Global<'_>, private: &mut Private, a: &Access<'_>) -> Option<Places> {
    let mut stride = 0;
    let piece = if a.area == Area::Local {
        stride = private.local_stride as u64;
        let from = a.first_thread * private.local_stride;
        let last = from + (32 - a.mask.leading_zeros() as usize) * private.local_stride;
        if last > private.local.len() {
            return None;
        }
        // SAFETY: `from` is at most `last`, which is within the memory.
        Piece { start: unsafe { private.local.as_mut_ptr().add(from) }, base: 0, len: stride }
    } else {
        piece(global, private, a.area, a.addresses[a.mask.trailing_zeros() as usize], a.write)?
    };
    let Piece { start, base, len } = piece;
    let room = len.checked_sub(a.size)?;
    let mut offsets = [0; LANES];
    // Every offset joined into one word, which none exceeds: a misaligned one shows in it, and one beyond the piece too.
    let mut joined = 0u64;
    for n in 0..LANES {
        let active = a.mask & BIT[n] != 0;
        let offset = if active { a.addresses[n].wrapping_sub(base) } else { 0 };
        joined |= offset;
        offsets[n] = offset;
    }
    if stride > 0 {
        for n in 0..LANES {
            offsets[n] = if a.mask & BIT[n] != 0 { offsets[n].wrapping_add(n as u64 * stride) } else { 0 };
        }
    }
    let inside = joined <= room || beyond_none(a, base, room);
    (inside && joined & (a.size - 1) == 0).then_some(Places { start, offsets })
}

/// Whether no lane is beyond the piece, though all of their offsets joined are.
#[inline(never)]
fn beyond_none(a: &Access<'_>, base: u64, room: u64) -> bool {
    let offset = |n: usize| if a.mask & BIT[n] != 0 { a.addresses[n].wrapping_sub(base) } else { 0 };
    (0..LANES).map(offset).fold(0, u64::max) <= room
}

/// Values that memory holds.
pub trait Cell: Copy {
    const ZERO: Self;
    /// # Safety
    /// `place` must be valid for this type, aligned to it, and touched by atomic operations only meanwhile.
    unsafe fn read(place: *mut u8) -> Self;
    /// # Safety
    /// As for `read`.
    unsafe fn write(place: *mut u8, value: Self);
}

macro_rules! cell {
    ($($ty:ty, $atomic:ty);*) => {$(
        impl Cell for $ty {
            const ZERO: $ty = 0;
            #[inline(always)]
            unsafe fn read(place: *mut u8) -> $ty {
                // SAFETY: the caller's promise. Blocks race as GPU blocks do: relaxed operations, compiled to plain
                // moves, give each access some value that was written, never undefined behaviour of our own.
                unsafe { <$atomic>::from_ptr(place.cast()).load(Relaxed) }
            }
            #[inline(always)]
            unsafe fn write(place: *mut u8, value: $ty) {
                // SAFETY: the caller's promise.
                unsafe { <$atomic>::from_ptr(place.cast()).store(value, Relaxed) }
            }
        }
    )*};
}

cell! { u8, AtomicU8; u16, AtomicU16; u32, AtomicU32; u64, AtomicU64 }
