//! What a region sees of its warp.
//!
//! Owns: [`Context`] and [`Seat`], whose layout generated code knows, field by field.
//! Never: outlives the call.
//! Tests: `gpu/tests/cpu_engines.rs`.

use crate::cpu::{
    lanes::{Frame, Slot},
    memory::{Global, Private, Window},
};
use std::mem::offset_of;

/// Pointers and numbers for one run of a region over some warps of a block. Generated code reads all of it.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// Room for results while it is not known whether they hold.
    pub shadow: *mut u8,
    pub windows: *const Window,
    pub window_count: u64,
    pub shared: *mut u8,
    pub shared_len: u64,
    pub params: *mut u8,
    pub params_len: u64,
    /// The warps, and how many of them there are.
    seats: *mut Seat,
    count: u32,
    /// Instructions that each may still execute.
    pub budget: u32,
    /// Where in the grid the block is.
    pub block: [u32; 3],
    /// Local memory of the block, and of a thread of it.
    all_local: *mut u8,
    local_stride: usize,
}

/// One warp's place in a run of a region. Generated code writes `executed` and `pc`, and reads the rest.
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
}

impl Context {
    /// What stays the same for all warps of a block.
    pub fn of(global: &Global<'_>, private: &mut Private, shadow: &mut [Slot], block: [u32; 3]) -> Context {
        Context {
            shadow: shadow.as_mut_ptr().cast(),
            windows: global.windows().as_ptr(),
            window_count: global.windows().len() as u64,
            shared: private.shared.as_mut_ptr(),
            shared_len: private.shared.len() as u64,
            params: private.params.as_mut_ptr(),
            params_len: private.params.len() as u64,
            seats: std::ptr::null_mut(),
            count: 0,
            budget: 0,
            block,
            all_local: private.local.as_mut_ptr(),
            local_stride: private.local_stride,
        }
    }

    /// The place of the warp whose first thread this is.
    pub fn seat(&self, frame: &mut Frame, mask: u32, first_thread: usize) -> Seat {
        let (slots, preds) = frame.pointers();
        let local = self.all_local.wrapping_add(first_thread * self.local_stride);
        Seat { slots, preds, local, mask, executed: 0, pc: 0 }
    }

    pub(super) fn place(&mut self, seats: &mut [Seat]) {
        (self.seats, self.count) = (seats.as_mut_ptr(), seats.len() as u32);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Shadow,
    Windows,
    WindowCount,
    Shared,
    SharedLen,
    Params,
    ParamsLen,
    Seats,
    Count,
    Budget,
    /// Of three numbers, the first.
    Block,
    // Of the warp's seat.
    Slots,
    Preds,
    Local,
    Mask,
    Executed,
    Pc,
}

/// Bytes from one seat to the next.
pub const SEAT_SIZE: i64 = size_of::<Seat>() as i64;

impl Field {
    pub fn is_wide(self) -> bool {
        !matches!(
            self,
            Field::Count | Field::Budget | Field::Block | Field::Mask | Field::Executed | Field::Pc
        )
    }

    pub fn is_of_seat(self) -> bool {
        matches!(self, Field::Slots | Field::Preds | Field::Local | Field::Mask | Field::Executed | Field::Pc)
    }

    pub fn offset(self) -> i32 {
        let offset = match self {
            Field::Shadow => offset_of!(Context, shadow),
            Field::Windows => offset_of!(Context, windows),
            Field::WindowCount => offset_of!(Context, window_count),
            Field::Shared => offset_of!(Context, shared),
            Field::SharedLen => offset_of!(Context, shared_len),
            Field::Params => offset_of!(Context, params),
            Field::ParamsLen => offset_of!(Context, params_len),
            Field::Seats => offset_of!(Context, seats),
            Field::Count => offset_of!(Context, count),
            Field::Budget => offset_of!(Context, budget),
            Field::Block => offset_of!(Context, block),
            Field::Slots => offset_of!(Seat, slots),
            Field::Preds => offset_of!(Seat, preds),
            Field::Local => offset_of!(Seat, local),
            Field::Mask => offset_of!(Seat, mask),
            Field::Executed => offset_of!(Seat, executed),
            Field::Pc => offset_of!(Seat, pc),
        };
        offset as i32
    }
}

/// The layout of a [`Window`].
pub struct WindowLayout {
    pub size: i64,
    pub start: i32,
    pub len: i32,
    pub writable: i32,
}

pub const WINDOW: WindowLayout = WindowLayout {
    size: size_of::<Window>() as i64,
    start: offset_of!(Window, start) as i32,
    len: offset_of!(Window, len) as i32,
    writable: offset_of!(Window, writable) as i32,
};
