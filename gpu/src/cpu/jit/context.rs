//! What a region sees of its warp.
//!
//! Owns: [`Context`] and [`Seat`], whose layout generated code knows, field by field.
//! Never: outlives the call.
//! Tests: `gpu/tests/cpu_engines.rs`.

use crate::cpu::{
    lanes::{Frame, LANES, Slot},
    memory::{Even, Global, Private, View},
};
use std::mem::offset_of;

/// Where an access to global memory, whose addresses grow evenly, found the bytes last: the first byte's address as kernels
/// see it, how many first lanes have room behind it for the whole pass, and what leads from their addresses to the bytes.
/// Zeros hold nothing. What it says holds as long as the launch's memory does ([`View`]), which is why nothing is remembered of
/// sparse memory. Generated code writes and
/// reads it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    base: u64,
    count: u64,
    skip: u64,
}

/// Pointers and numbers for one run of a region over some warps of a block. Generated code reads all of it.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// Room for results while it is not known whether they hold.
    pub shadow: *mut u8,
    known: *mut Known,
    /// All bits where accesses remember, none in sparse memory: there each comes by, to be marked.
    remembers: u64,
    pub views: *const View,
    pub view_count: u64,
    /// All of global memory, for [`reach`], and what that found.
    global: *const Global<'static>,
    reached: *mut u8,
    pub shared: *mut u8,
    pub shared_len: u64,
    pub params: *mut u8,
    pub params_len: u64,
    /// The warps, and where they end.
    seats: *mut Seat,
    seats_end: *mut Seat,
    /// Instructions that each may still execute.
    budget: u32,
    /// Instructions after which a warp makes way at the head of a loop that strides through memory.
    stretch: u32,
    /// The first instruction at which other lanes of the warp wait.
    join: u32,
    /// Where in the grid the block is.
    pub block: [u32; 3],
    /// Local memory of the block, and of a thread of it.
    all_local: *mut u8,
    local_stride: usize,
}

/// What machine code needs besides a block's own memory.
#[derive(Default)]
pub struct Room {
    shadow: Vec<Slot>,
    known: Vec<Known>,
}

impl Room {
    /// Makes room for slots of shadow, and for accesses that remember something.
    pub fn fit(&mut self, shadow: u32, sites: u32) {
        self.shadow.resize(shadow as usize, Slot([0; LANES]));
        self.known.resize(sites as usize, Known::default());
    }
}

/// One warp's place in a run of a region. Generated code writes `executed`, `pc` and `turn`, and reads the rest.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    slots: *mut u8,
    preds: *mut u32,
    /// Local memory of the warp's first thread.
    local: *mut u8,
    /// Active lanes; never none.
    mask: u32,
    /// Instructions executed, and the one to go on with, or [`super::region::BAILED`].
    pub executed: u32,
    pub pc: u32,
    /// A [`Turn`].
    turn: u32,
}

/// What has become of a warp's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Turn {
    /// It goes on, elsewhere.
    On,
    /// All lanes have come to an instruction that ends it: a barrier, or an exit that all of them take.
    Ends,
    /// The warp makes way for the next.
    MadeWay,
}

impl Seat {
    pub fn made_way(&self) -> bool {
        self.turn == Turn::MadeWay as u32
    }

    pub fn ended(&self) -> bool {
        self.turn == Turn::Ends as u32
    }
}

impl Context {
    /// What stays the same for all warps of a block.
    pub fn of(global: &Global<'_>, private: &mut Private, room: &mut Room, block: [u32; 3]) -> Context {
        Context {
            shadow: room.shadow.as_mut_ptr().cast(),
            known: room.known.as_mut_ptr(),
            remembers: if global.is_sparse() { 0 } else { u64::MAX },
            views: global.views().as_ptr(),
            view_count: global.views().len() as u64,
            global: std::ptr::from_ref(global).cast(),
            reached: std::ptr::null_mut(),
            shared: private.shared.as_mut_ptr(),
            shared_len: private.shared.len() as u64,
            params: private.params.as_mut_ptr(),
            params_len: private.params.len() as u64,
            seats: std::ptr::null_mut(),
            seats_end: std::ptr::null_mut(),
            budget: 0,
            stretch: 0,
            join: u32::MAX,
            block,
            all_local: private.local.as_mut_ptr(),
            local_stride: private.local_stride,
        }
    }

    /// The place of the warp whose first thread this is.
    pub fn seat(&self, frame: &mut Frame, mask: u32, first_thread: usize) -> Seat {
        let (slots, preds) = frame.pointers();
        let local = self.all_local.wrapping_add(first_thread * self.local_stride);
        Seat { slots, preds, local, mask, executed: 0, pc: 0, turn: Turn::On as u32 }
    }

    /// How much of a turn each warp has left, and how much when it may end at the head of a loop that strides; and where the
    /// first other lanes of it wait.
    pub fn turn(&mut self, left: u32, makes_way: u32, join: u32) {
        (self.budget, self.stretch, self.join) = (left, left.saturating_sub(makes_way), join);
    }

    pub(super) fn place(&mut self, seats: &mut [Seat]) {
        let all = seats.as_mut_ptr_range();
        (self.seats, self.seats_end) = (all.start, all.end);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Shadow,
    Known,
    Remembers,
    Views,
    ViewCount,
    Reached,
    Shared,
    SharedLen,
    Params,
    ParamsLen,
    Seats,
    SeatsEnd,
    Budget,
    Stretch,
    Join,
    /// Of three numbers, the first.
    Block,
    // Of the warp's seat.
    Slots,
    Preds,
    Local,
    Mask,
    Executed,
    Pc,
    Turn,
}

/// Bytes from one seat to the next.
pub const SEAT_SIZE: i64 = size_of::<Seat>() as i64;

impl Field {
    pub fn is_wide(self) -> bool {
        match self {
            Field::Budget | Field::Stretch | Field::Join | Field::Block => false,
            Field::Mask | Field::Executed | Field::Pc | Field::Turn => false,
            Field::Shadow
            | Field::Known
            | Field::Remembers
            | Field::Views
            | Field::ViewCount
            | Field::Reached
            | Field::Shared => true,
            Field::SharedLen | Field::Params | Field::ParamsLen | Field::Seats | Field::SeatsEnd => true,
            Field::Slots | Field::Preds | Field::Local => true,
        }
    }

    pub fn is_of_seat(self) -> bool {
        matches!(
            self,
            Field::Slots
                | Field::Preds
                | Field::Local
                | Field::Mask
                | Field::Executed
                | Field::Pc
                | Field::Turn
        )
    }

    pub fn offset(self) -> i32 {
        let offset = match self {
            Field::Shadow => offset_of!(Context, shadow),
            Field::Known => offset_of!(Context, known),
            Field::Remembers => offset_of!(Context, remembers),
            Field::Views => offset_of!(Context, views),
            Field::ViewCount => offset_of!(Context, view_count),
            Field::Reached => offset_of!(Context, reached),
            Field::Shared => offset_of!(Context, shared),
            Field::SharedLen => offset_of!(Context, shared_len),
            Field::Params => offset_of!(Context, params),
            Field::ParamsLen => offset_of!(Context, params_len),
            Field::Seats => offset_of!(Context, seats),
            Field::SeatsEnd => offset_of!(Context, seats_end),
            Field::Budget => offset_of!(Context, budget),
            Field::Stretch => offset_of!(Context, stretch),
            Field::Join => offset_of!(Context, join),
            Field::Block => offset_of!(Context, block),
            Field::Slots => offset_of!(Seat, slots),
            Field::Preds => offset_of!(Seat, preds),
            Field::Local => offset_of!(Seat, local),
            Field::Mask => offset_of!(Seat, mask),
            Field::Executed => offset_of!(Seat, executed),
            Field::Pc => offset_of!(Seat, pc),
            Field::Turn => offset_of!(Seat, turn),
        };
        offset as i32
    }
}

/// The layout of a [`View`].
pub struct ViewLayout {
    pub size: i64,
    pub start: i32,
    pub base: i32,
    pub len: i32,
    pub writable: i32,
}

pub const VIEW: ViewLayout = ViewLayout {
    size: size_of::<View>() as i64,
    start: offset_of!(View, start) as i32,
    base: offset_of!(View, base) as i32,
    len: offset_of!(View, len) as i32,
    writable: offset_of!(View, writable) as i32,
};

/// The layout of a [`Known`].
pub struct KnownLayout {
    pub base: i32,
    pub count: i32,
    pub skip: i32,
}

pub const KNOWN: KnownLayout = KnownLayout {
    base: offset_of!(Known, base) as i32,
    count: offset_of!(Known, count) as i32,
    skip: offset_of!(Known, skip) as i32,
};

/// Called by generated code where even addresses of global memory failed its check: whether sparse memory has them. `how`
/// is the size of a lane's access, twice, and one more if it writes. Leaves where the first lane's bytes are, or null.
///
/// # Safety
/// The context must be that of a region that is running.
pub unsafe extern "C" fn reach(
    context: *mut Context,
    first: u64,
    stride: u64,
    span: u64,
    how: u32,
    mask: u32,
) {
    // SAFETY: the caller's promise; the context is not used elsewhere until this returns.
    let context = unsafe { &mut *context };
    // SAFETY: whoever made the context borrows the memory for as long as the region runs.
    let global = unsafe { &*context.global };
    let even = Even { first, stride, span, size: u64::from(how / 2), write: how % 2 == 1, mask };
    context.reached = global.even(&even).unwrap_or(std::ptr::null_mut());
}
