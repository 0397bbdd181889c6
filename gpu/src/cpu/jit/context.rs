//! What a region sees of its warp.
//!
//! Owns: [`Context`], whose layout generated code knows, field by field.
//! Never: outlives the call.
//! Tests: `gpu/tests/cpu_engines.rs`.

use crate::cpu::{
    lanes::Slot,
    memory::{Global, Private, Window},
};
use std::mem::offset_of;

/// Pointers and numbers for one run of a region. Generated code reads all of it, and writes `executed` only.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    pub slots: *mut u8,
    pub preds: *mut u32,
    /// Room for results while it is not known whether they hold.
    pub shadow: *mut u8,
    pub windows: *const Window,
    pub window_count: u64,
    pub shared: *mut u8,
    pub shared_len: u64,
    /// Local memory of the warp's first thread.
    pub local: *mut u8,
    pub params: *mut u8,
    pub params_len: u64,
    /// Active lanes; never none.
    pub mask: u32,
    /// Instructions that may still be executed.
    pub budget: u32,
    pub executed: u32,
    /// Local memory of the block, and of a thread of it.
    all_local: *mut u8,
    local_stride: usize,
}

impl Context {
    /// What stays the same for all warps of a block.
    pub fn of(global: &Global<'_>, private: &mut Private, shadow: &mut [Slot]) -> Context {
        Context {
            slots: std::ptr::null_mut(),
            preds: std::ptr::null_mut(),
            shadow: shadow.as_mut_ptr().cast(),
            windows: global.windows().as_ptr(),
            window_count: global.windows().len() as u64,
            shared: private.shared.as_mut_ptr(),
            shared_len: private.shared.len() as u64,
            local: private.local.as_mut_ptr(),
            params: private.params.as_mut_ptr(),
            params_len: private.params.len() as u64,
            mask: 0,
            budget: 0,
            executed: 0,
            all_local: private.local.as_mut_ptr(),
            local_stride: private.local_stride,
        }
    }

    /// Turns to the local memory of the warp whose first thread this is.
    pub fn first_thread(&mut self, thread: usize) {
        self.local = self.all_local.wrapping_add(thread * self.local_stride);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Slots,
    Preds,
    Shadow,
    Windows,
    WindowCount,
    Shared,
    SharedLen,
    Local,
    Params,
    ParamsLen,
    Mask,
    Budget,
    Executed,
}

impl Field {
    pub fn is_wide(self) -> bool {
        !matches!(self, Field::Mask | Field::Budget | Field::Executed)
    }

    pub fn offset(self) -> i32 {
        let offset = match self {
            Field::Slots => offset_of!(Context, slots),
            Field::Preds => offset_of!(Context, preds),
            Field::Shadow => offset_of!(Context, shadow),
            Field::Windows => offset_of!(Context, windows),
            Field::WindowCount => offset_of!(Context, window_count),
            Field::Shared => offset_of!(Context, shared),
            Field::SharedLen => offset_of!(Context, shared_len),
            Field::Local => offset_of!(Context, local),
            Field::Params => offset_of!(Context, params),
            Field::ParamsLen => offset_of!(Context, params_len),
            Field::Mask => offset_of!(Context, mask),
            Field::Budget => offset_of!(Context, budget),
            Field::Executed => offset_of!(Context, executed),
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
