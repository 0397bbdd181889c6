//! Copies between a program's bytes and device memory, in pieces through pinned memory, beside the kernels.
//!
//! The device copies from and to pinned memory by itself: the host goes on, looks at the deadline, and fills or empties one
//! piece while the device moves the other. From and to plain memory the driver would do as much inside of its call, and wait
//! there for a kernel that may never end.

use super::driver::{Cut, Event, Memory, Pinned, Stream, Trouble};
use crate::backend::Stop;
use std::collections::VecDeque;

/// One piece: long enough that starting a copy does not count, short enough that a job's first is soon on its way.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces on their way at once.
const PIECES: usize = 3;

/// Pinned memory of one device, for one copy at a time.
pub struct Staging {
    pieces: Vec<Piece>,
    next: usize,
}

struct Piece {
    memory: Pinned,
    /// Passed once the device is done with the memory.
    done: Event,
    busy: bool,
}

/// What a copy needs beside its ends.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub stream: &'a Stream,
    pub stop: &'a Stop<'a>,
}

impl Staging {
    pub fn alloc() -> Result<Self, Trouble> {
        let piece =
            |_| Ok(Piece { memory: Pinned::alloc(PIECE_BYTES)?, done: Event::create()?, busy: false });
        Ok(Self { pieces: (0..PIECES).map(piece).collect::<Result<_, Trouble>>()?, next: 0 })
    }

    /// The piece that was used longest ago, free again.
    fn turn(&mut self, stop: &Stop<'_>) -> Result<usize, Cut> {
        let at = self.next;
        self.next = (at + 1) % self.pieces.len();
        let piece = &mut self.pieces[at];
        if piece.busy {
            piece.done.wait(stop)?;
            piece.busy = false;
        }
        Ok(at)
    }

    /// Queues the copy of all of `content` to the beginning of `memory`. Returns when `content` was read, which is before the
    /// device has it.
    pub fn upload(&mut self, content: &[u8], memory: &Memory, way: Way<'_>) -> Result<(), Cut> {
        for (n, part) in content.chunks(PIECE_BYTES).enumerate() {
            let at = self.turn(way.stop)?;
            let piece = &mut self.pieces[at];
            piece.memory.as_mut_slice()[..part.len()].copy_from_slice(part);
            memory.fill(n * PIECE_BYTES, &piece.memory, part.len(), way.stream)?;
            piece.done.record(way.stream)?;
            piece.busy = true;
        }
        Ok(())
    }

    /// Copies out as much of `memory` as `into` has room for.
    pub fn download(&mut self, memory: &Memory, into: &mut [u8], way: Way<'_>) -> Result<(), Cut> {
        // Which piece comes, and where it goes.
        let mut coming: VecDeque<(usize, &mut [u8])> = VecDeque::new();
        for (n, part) in into.chunks_mut(PIECE_BYTES).enumerate() {
            if coming.len() == PIECES {
                self.arrive(&mut coming, way.stop)?;
            }
            let at = self.turn(way.stop)?;
            let piece = &mut self.pieces[at];
            memory.read(n * PIECE_BYTES, &mut piece.memory, part.len(), way.stream)?;
            piece.done.record(way.stream)?;
            piece.busy = true;
            coming.push_back((at, part));
        }
        while !coming.is_empty() {
            self.arrive(&mut coming, way.stop)?;
        }
        Ok(())
    }

    /// Waits for the first piece of those that come, and takes it out.
    fn arrive(&mut self, coming: &mut VecDeque<(usize, &mut [u8])>, stop: &Stop<'_>) -> Result<(), Cut> {
        let Some((at, into)) = coming.pop_front() else { return Ok(()) };
        let piece = &mut self.pieces[at];
        piece.done.wait(stop)?;
        piece.busy = false;
        into.copy_from_slice(&piece.memory.as_slice()[..into.len()]);
        Ok(())
    }
}
