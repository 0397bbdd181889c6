//! Memory that begins where accesses to it are fast.
//!
//! Owns: [`AlignedBytes`], of which buffers are made from where they come in to where they go out, so that nothing has to
//! be copied in between. They begin at a cache line: a row of a warp's accesses takes no line more than it must. Large ones
//! are mapped in large pages, which are found and made faster, where the system has such; it is well without them too.
//! Never: touches large memory before whoever first uses it. Tests are at the end.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

/// A cache line of most processors, and more than the largest access needs.
pub const ALIGNMENT: usize = 64;
/// What large pages of most processors have; they can only be where as many bytes are aligned to as many.
pub const LARGE_PAGE: usize = 2 << 20;

/// Bytes that begin at a multiple of [`ALIGNMENT`].
pub struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes are owned as those of a vector are.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` zero bytes; `None` if the machine does not have them.
    pub fn zeros(len: usize) -> Option<Self> {
        let start = match len {
            0 => NonNull::dangling(),
            1..LARGE_PAGE => allocated(len)?,
            _ => mapped(len)?,
        };
        Some(AlignedBytes { start, len })
    }

    /// A copy of these bytes; `None` if the machine has no memory for it.
    pub fn of(content: &[u8]) -> Option<Self> {
        let mut bytes = Self::zeros(content.len())?;
        bytes.copy_from_slice(content);
        Some(bytes)
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        match self.len {
            0 => {}
            // SAFETY: `allocated` had it of this layout.
            1..LARGE_PAGE => unsafe { dealloc(self.start.as_ptr(), layout(self.len)) },
            // SAFETY: `mapped` had these pages, and nobody refers to them any more.
            _ => unsafe {
                let _ = rustix::mm::munmap(self.start.as_ptr().cast(), self.len.next_multiple_of(LARGE_PAGE));
            },
        }
    }
}

fn layout(len: usize) -> Layout {
    // It is below `LARGE_PAGE`.
    Layout::from_size_align(len, ALIGNMENT).expect("a small size and a power of two make a layout")
}

fn allocated(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: the length is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout(len)) })
}

fn mapped(len: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // Linux aligns whole numbers of large pages to these. What is behind the bytes is never touched, so never there.
    let room = len.checked_next_multiple_of(LARGE_PAGE)?;
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: the system chooses a place where nothing is.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), room, prot, flags) }.ok()?;
    let start = NonNull::new(start.cast())?;
    ask(start, len);
    Some(start)
}

/// Asks for large pages for memory that is not touched yet, as far as whole ones lie within it.
fn ask(start: NonNull<u8>, len: usize) {
    #[cfg(target_os = "linux")]
    {
        let len = len / LARGE_PAGE * LARGE_PAGE;
        // SAFETY: the pages were just mapped, and what they hold stays as it is.
        let _ = unsafe { rustix::mm::madvise(start.as_ptr().cast(), len, rustix::mm::Advice::LinuxHugepage) };
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are there, all of them written, if only by the system.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Default for AlignedBytes {
    fn default() -> Self {
        AlignedBytes { start: NonNull::dangling(), len: 0 }
    }
}

impl Clone for AlignedBytes {
    /// Ends the process where there is no memory, as cloning a vector does.
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl From<&[u8]> for AlignedBytes {
    /// Ends the process where there is no memory.
    fn from(content: &[u8]) -> Self {
        Self::of(content).unwrap_or_else(|| handle_alloc_error(Layout::for_value(content)))
    }
}

impl PartialEq for AlignedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for AlignedBytes {}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 9] =
        [0, 1, 63, 100, 4097, LARGE_PAGE - 1, LARGE_PAGE, LARGE_PAGE + 1, 3 * LARGE_PAGE + 5];

    #[test]
    fn bytes_of_any_length_begin_at_a_line_and_are_zero() {
        for len in LENGTHS {
            let bytes = AlignedBytes::zeros(len).unwrap();
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().all(|byte| *byte == 0), "{len}");
            assert!(len == 0 || bytes.as_ptr().addr().is_multiple_of(ALIGNMENT), "{len}");
        }
    }

    #[test]
    fn copies_hold_the_same_and_are_apart() {
        for len in LENGTHS {
            let content: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
            let bytes = AlignedBytes::from(&*content);
            let mut copy = bytes.clone();
            assert_eq!(copy, bytes);
            assert!(
                *copy == *content && (len == 0 || copy.as_ptr().addr().is_multiple_of(ALIGNMENT)),
                "{len}"
            );
            if let Some(last) = copy.last_mut() {
                *last ^= 1;
                assert!(copy != bytes && *bytes == *content, "{len}");
            }
        }
    }

    #[test]
    fn what_no_machine_has_is_none() {
        for len in [usize::MAX, usize::MAX - LARGE_PAGE, isize::MAX as usize, 1 << 50] {
            assert!(AlignedBytes::zeros(len).is_none(), "{len}");
        }
    }
}
