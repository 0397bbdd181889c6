//! Memory in large pages.
//!
//! Owns: asking the system for them, before memory is touched: they are found and made faster, and a kernel that strides
//! through a large buffer finds them sooner. It is well without them too.
//! Never: touches memory. Tests: of the memory that is made of them, in `cpu/memory.rs`.

/// What large pages of most processors have; they can only be where as many bytes are aligned to as many.
pub const LARGE_PAGE: usize = 2 << 20;

/// An empty vector with room for so many bytes; `None` if there is none.
pub fn with_room(len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    ask(bytes.spare_capacity_mut());
    Some(bytes)
}

/// Asks for large pages for memory that is not touched yet.
pub fn ask<T>(memory: &[T]) {
    let start = memory.as_ptr().cast::<u8>();
    let skip = start.align_offset(LARGE_PAGE);
    let len = size_of_val(memory).saturating_sub(skip) / LARGE_PAGE * LARGE_PAGE;
    #[cfg(target_os = "linux")]
    if len > 0 {
        let start = start.wrapping_add(skip).cast_mut().cast();
        // SAFETY: the pages lie within the memory given, and what they hold stays as it is.
        let _ = unsafe { rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxHugepage) };
    }
}
