//! Global memory of which only what is touched exists, and which remembers who touched what.
//!
//! Owns: pages, brought from a source on first touch; for each byte of a piece that the launch can write, whether the
//! running block wrote it, read it before writing it itself, or whether a block before did. After a block its writes are
//! undone ([`Sparse::undo`]), so that every watched block begins with the same bytes, or kept ([`Sparse::keep`]), where a
//! launch is run whole.
//!
//! Both engines come here by `cpu/memory.rs`. Of a piece that the launch cannot write nobody needs to know which bytes
//! were read: its page that was touched last lies open to them, so that machine code runs as it does on whole memory.
//! Accesses to other pieces come here one by one and are marked, from machine code too (`cpu/jit/context.rs`), which
//! costs a call, and nothing where memory is whole. Bytes compared before and after would not tell what was read,
//! nor a byte that was written as it was; and machine code of its own for this would take longer to make than most checks
//! take as they are.
//! Never: knows what the bytes are for; `crate::replay` does.
//! Limits: bytes of pages, given at birth; [`PAGE_BYTES`].
//! Tests: `gpu/tests/replay.rs`.

use super::{
    lanes::{LANES, lanes_of},
    memory::{Access, Found, Places, WINDOW_BITS},
};
use crate::pages::AlignedBytes;
use ion_protocol::fault::Fault;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is brought at once: what is proven at once of a blob that another node shows, so that little is asked of it that
/// no block touches.
pub const PAGE_BYTES: usize = ion_protocol::limits::BLOB_SLICE_BYTES as usize;
const PAGE_BITS: u32 = PAGE_BYTES.trailing_zeros();
/// A page with what is remembered of its bytes.
const PAGE_COST: u64 = 2 * PAGE_BYTES as u64 + 4 * (PAGE_BYTES / 8) as u64;

/// One piece of memory: its length, and whether kernels may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub len: u64,
    pub writable: bool,
}

/// A page by piece and number.
pub type PageId = (u16, u64);

/// Brings the bytes of a piece from an offset on.
pub type Source<'a> = &'a mut (dyn FnMut(u16, u64, &mut [u8]) -> Result<(), Fault> + Send);

/// One bit a byte of a page.
type Bits = Box<[u64; PAGE_BYTES / 64]>;

/// Marks of a page's bytes; none for as long as there is none of them.
#[derive(Default)]
struct Marks(Option<Bits>);

impl Marks {
    #[inline]
    fn word(&self, n: usize) -> u64 {
        self.0.as_ref().map_or(0, |bits| bits[n])
    }

    #[inline]
    fn add(&mut self, n: usize, bits: u64) {
        self.0.get_or_insert_with(|| Box::new([0; PAGE_BYTES / 64]))[n] |= bits;
    }

    fn slice(&self) -> &[u64] {
        self.0.as_ref().map_or(&[], |bits| bits.as_slice())
    }

    /// Takes the marks of `other` in, which has none then.
    fn take_in(&mut self, other: &mut Marks) {
        match (&mut self.0, other.0.take()) {
            (_, None) => {}
            (own @ None, taken) => *own = taken,
            (Some(own), Some(taken)) => own.iter_mut().zip(taken.iter()).for_each(|(own, bits)| *own |= bits),
        }
    }
}

/// Bits by position.
fn ones(bits: &[u64]) -> impl Iterator<Item = usize> + '_ {
    bits.iter().enumerate().flat_map(|(word, &bits)| {
        let mut left = bits;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                word * 64 + bit
            })
        })
    })
}

struct Page {
    bytes: AlignedBytes,
    /// What the page held before the running block first wrote to it.
    before: Option<Vec<u8>>,
    touched: bool,
    read: Marks,
    written: Marks,
    read_before: Marks,
    written_before: Marks,
}

struct Inner<'a> {
    pieces: Vec<Piece>,
    source: Source<'a>,
    /// Where in `pages` a page is.
    places: HashMap<PageId, usize>,
    pages: Vec<Page>,
    /// The page that was used last, which mostly is the next as well.
    last: Option<(PageId, usize)>,
    /// Pages of the running block, in order of first touch.
    touched: Vec<(PageId, usize)>,
    held: u64,
    held_max: u64,
    trouble: Option<Fault>,
}

/// See the module.
pub struct Sparse<'a>(Mutex<Inner<'a>>);

/// A page that the block which ran last touched.
pub struct Touched<'p> {
    pub piece: u16,
    /// Offset of the page in its piece.
    pub start: u64,
    /// The page as the block left it.
    pub bytes: &'p [u8],
    written: &'p [u64],
    read: &'p [u64],
}

impl Touched<'_> {
    /// Positions that the block wrote.
    pub fn written(&self) -> impl Iterator<Item = usize> + '_ {
        ones(self.written)
    }

    /// Positions that it read and never wrote: whatever stands there came from elsewhere and stays.
    pub fn only_read(&self) -> impl Iterator<Item = usize> + '_ {
        let written = |at: &usize| self.written.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        ones(self.read).filter(move |at| !written(at))
    }

    /// Positions that it read before it wrote there itself, if it did.
    pub fn read(&self) -> impl Iterator<Item = usize> + '_ {
        ones(self.read)
    }
}

impl<'a> Sparse<'a> {
    pub fn new(pieces: Vec<Piece>, held_max: u64, source: Source<'a>) -> Self {
        let (places, pages, touched) = (HashMap::new(), Vec::new(), Vec::new());
        let (last, held, trouble) = (None, 0, None);
        Sparse(Mutex::new(Inner { pieces, source, places, pages, last, touched, held, held_max, trouble }))
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.inner().pieces.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a piece begins in the address space of kernels.
    pub fn address(piece: u16) -> u64 {
        (u64::from(piece) + 1) << WINDOW_BITS
    }

    /// The lanes of an access that fall into the page of the lowest; see [`super::memory::Lookup`].
    pub fn places(&self, access: &Access<'_>) -> Option<Found> {
        self.inner().places(access)
    }

    /// Why an access failed that was no fault of the kernel's: the source's, or that there is no more room.
    pub fn trouble(&self) -> Option<Fault> {
        self.inner().trouble.take()
    }

    /// Shows what the block that ran last touched, page by page, until one is not as it should be.
    pub fn each_touched<E>(&self, mut look: impl FnMut(&Touched<'_>) -> Result<(), E>) -> Result<(), E> {
        let inner = self.inner();
        for (id, at) in &inner.touched {
            let page = &inner.pages[*at];
            look(&Touched {
                piece: id.0,
                start: id.1 << PAGE_BITS,
                bytes: &page.bytes,
                written: page.written.slice(),
                read: page.read.slice(),
            })?;
        }
        Ok(())
    }

    /// Shows all pages that exist: piece, offset and bytes.
    pub fn each_page<E>(&self, mut look: impl FnMut(u16, u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let inner = self.inner();
        let mut places: Vec<(&PageId, &usize)> = inner.places.iter().collect();
        places.sort_unstable();
        places.into_iter().try_for_each(|(id, at)| look(id.0, id.1 << PAGE_BITS, &inner.pages[*at].bytes))
    }

    /// Forgets who touched what and keeps what was written.
    pub fn keep(&self) {
        let mut inner = self.inner();
        for (_, at) in std::mem::take(&mut inner.touched) {
            let page = &mut inner.pages[at];
            (page.before, page.touched) = (None, false);
            (page.read, page.written) = (Marks::default(), Marks::default());
        }
    }

    /// Undoes what the block wrote, and remembers its marks. Gives a byte, by piece and offset, that it shares with a
    /// block before: one of them wrote it.
    pub fn undo(&self) -> Option<(u16, u64)> {
        let mut inner = self.inner();
        let mut shared = None;
        for (id, at) in std::mem::take(&mut inner.touched) {
            let page = &mut inner.pages[at];
            if let Some(before) = page.before.take() {
                page.bytes.copy_from_slice(&before);
            }
            page.touched = false;
            if shared.is_none() {
                shared = page.clash().map(|byte| (id.0, (id.1 << PAGE_BITS) + byte));
            }
            page.read_before.take_in(&mut page.read);
            page.written_before.take_in(&mut page.written);
        }
        shared
    }
}

impl Inner<'_> {
    fn places(&mut self, a: &Access<'_>) -> Option<Found> {
        let first = a.addresses[a.mask.trailing_zeros() as usize];
        let piece = u16::try_from((first >> WINDOW_BITS).checked_sub(1)?).ok()?;
        let Piece { len, writable } = *self.pieces.get(usize::from(piece))?;
        if a.write && !writable {
            return None;
        }
        let (base, room) = (Sparse::address(piece), len.checked_sub(a.size)?);
        let number = (first - base) >> PAGE_BITS;
        if first - base > room {
            return None;
        }
        let page = self.page((piece, number), len)?;
        let (mut offsets, mut mask) = ([0; LANES], 0);
        let from = number << PAGE_BITS;
        let mut marks = Run::default();
        for lane in lanes_of(a.mask) {
            let offset = a.addresses[lane].wrapping_sub(base);
            // Sizes are powers of two, so an aligned access lies in one page; any other lane has its turn later.
            if offset <= room && offset >> PAGE_BITS == number && offset.is_multiple_of(a.size) {
                offsets[lane] = offset - from;
                mask |= 1 << lane;
                if let Some((word, bits)) = marks.add(offsets[lane] as usize, a.size) {
                    page.mark(word, bits, a.write);
                }
            }
        }
        page.mark(marks.word, marks.bits, a.write);
        let places = Places { start: page.bytes.as_mut_ptr(), offsets };
        Some(Found { places, mask, base: base + from, len: page.bytes.len() as u64 })
    }

    /// The page, brought here if need be, and noted as touched.
    fn page(&mut self, id: PageId, len: u64) -> Option<&mut Page> {
        let at = match self.last {
            Some((last, at)) if last == id => at,
            Some(_) | None => self.place(id, len)?,
        };
        self.last = Some((id, at));
        let page = &mut self.pages[at];
        if !page.touched {
            page.touched = true;
            self.touched.push((id, at));
        }
        Some(page)
    }

    fn place(&mut self, id: PageId, len: u64) -> Option<usize> {
        if let Some(at) = self.places.get(&id) {
            return Some(*at);
        }
        match self.bring(id, len) {
            Ok(page) => {
                self.places.insert(id, self.pages.len());
                self.pages.push(page);
                Some(self.pages.len() - 1)
            }
            Err(fault) => {
                self.trouble = Some(fault);
                None
            }
        }
    }

    fn bring(&mut self, (piece, number): PageId, len: u64) -> Result<Page, Fault> {
        let start = number << PAGE_BITS;
        let size = (len - start).min(PAGE_BYTES as u64);
        self.held += PAGE_COST;
        let limit = ion_protocol::Bytes(self.held_max);
        if self.held > self.held_max {
            return Err(Fault::Memory { needed: ion_protocol::Bytes(self.held), limit });
        }
        let mut bytes = AlignedBytes::zeros(size as usize).ok_or_else(|| Fault::Room {
            message: format!("no memory for a page of {}", ion_protocol::Bytes(size)),
        })?;
        (self.source)(piece, start, &mut bytes)?;
        let [read, written, read_before, written_before] = std::array::from_fn(|_| Marks::default());
        Ok(Page { bytes, before: None, touched: false, read, written, read_before, written_before })
    }
}

/// Bits that fall into one word, from lane to lane: neighbours mostly meet in one.
#[derive(Default)]
struct Run {
    word: usize,
    bits: u64,
}

impl Run {
    /// Adds an access; gives the word before and its bits where this is in another.
    #[inline]
    fn add(&mut self, offset: usize, size: u64) -> Option<(usize, u64)> {
        let (word, bits) = (offset / 64, ((1u64 << size) - 1) << (offset % 64));
        if word == self.word {
            self.bits |= bits;
            return None;
        }
        let before = std::mem::replace(self, Run { word, bits });
        (before.bits != 0).then_some((before.word, before.bits))
    }
}

impl Page {
    #[inline]
    fn mark(&mut self, word: usize, bits: u64, write: bool) {
        if write {
            if self.before.is_none() {
                self.before = Some(self.bytes.to_vec());
            }
            self.written.add(word, bits);
        } else {
            let foreign = bits & !self.written.word(word);
            if foreign != 0 {
                self.read.add(word, foreign);
            }
        }
    }

    /// A byte that the block shares with one before, where one of them wrote it.
    fn clash(&self) -> Option<u64> {
        let (read, written) = (self.read_before.slice(), self.written_before.slice());
        let words = read.len().max(written.len());
        (0..words).find_map(|n| {
            let (before, wrote_before) = (self.read_before.word(n), self.written_before.word(n));
            let clash = self.written.word(n) & (wrote_before | before) | self.read.word(n) & wrote_before;
            (clash != 0).then(|| n as u64 * 64 + u64::from(clash.trailing_zeros()))
        })
    }
}
