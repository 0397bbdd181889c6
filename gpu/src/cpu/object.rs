//! `mbarrier`: barrier objects in shared memory.
//!
//! Owns: how an object lies in its 64 bits, which PTX leaves open, and what arrivals, bytes on their way and tests do
//! with it. Lanes act in their order. A test never waits: whoever tests again lets other warps go first (`warp.rs`).
//! Never: faults for counts that PTX leaves undefined; they wrap.
//! Tests: `gpu/tests/cpu_object.rs`.

use super::{
    code::{Code, NONE},
    lanes::{Frame, LANES, lanes_of, store},
    memory::{Access, Area, BadAccess, Cell, Groups, SHARED_TAG},
    transfer::{Memory, addresses},
};

/// What is done with a barrier object in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectOp {
    Init,
    Invalidate,
    /// So many bytes more, or fewer, are on their way.
    Expect,
    Complete,
    /// So many threads arrive, or with `expect` one, after as many bytes were said to be on their way; with `drop`, they
    /// are not expected in later phases.
    Arrive {
        drop: bool,
        expect: bool,
    },
    /// One arrives for the copies that it has begun; unless `counted` already, it is one more that is waited for.
    ArriveCopied {
        counted: bool,
    },
    /// Whether a phase is over: the one that a state is of, or the last one of this parity.
    Test {
        parity: bool,
    },
}

impl ObjectOp {
    pub fn is_test(self) -> bool {
        matches!(self, ObjectOp::Test { .. })
    }
}

/// Bits of each count of threads.
const COUNT_BITS: u32 = 20;
/// Threads that an object can wait for, at most.
pub const PENDING_MAX: u32 = (1 << COUNT_BITS) - 1;
/// Bits of the count of bytes, which may be below zero.
const BYTES_BITS: u32 = COUNT_BITS + 1;
const BYTES_MASK: u32 = (1 << BYTES_BITS) - 1;
const OBJECT_BYTES: u64 = 8;

/// From the lowest bit: `pending`, `expected`, `bytes`, and the parity of the phase as the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object {
    /// Threads that this phase waits for, and that later ones will.
    pending: u32,
    expected: u32,
    /// Bytes on their way.
    bytes: u32,
    odd: bool,
}

impl Object {
    fn read(word: u64) -> Object {
        Object {
            pending: word as u32 & PENDING_MAX,
            expected: (word >> COUNT_BITS) as u32 & PENDING_MAX,
            bytes: (word >> (2 * COUNT_BITS)) as u32 & BYTES_MASK,
            odd: is_odd(word),
        }
    }

    fn word(self) -> u64 {
        let Object { pending, expected, bytes, odd } = self;
        let counts = u64::from(pending & PENDING_MAX) | u64::from(expected & PENDING_MAX) << COUNT_BITS;
        counts | u64::from(bytes & BYTES_MASK) << (2 * COUNT_BITS) | u64::from(odd) << 63
    }

    fn after(mut self, op: ObjectOp, given: u32) -> Object {
        match op {
            ObjectOp::Init => return Object { pending: given, expected: given, bytes: 0, odd: false },
            ObjectOp::Invalidate => return Object::read(0),
            ObjectOp::Test { .. } => return self,
            ObjectOp::Expect => {
                self.bytes = self.bytes.wrapping_add(given);
                return self;
            }
            ObjectOp::Complete => self.bytes = self.bytes.wrapping_sub(given),
            ObjectOp::Arrive { drop, expect } => {
                self.bytes = self.bytes.wrapping_add(if expect { given } else { 0 });
                let threads = if expect { 1 } else { given };
                self.expected = self.expected.wrapping_sub(if drop { threads } else { 0 });
                self.pending = self.pending.wrapping_sub(threads);
            }
            // One more to wait for, who is here already.
            ObjectOp::ArriveCopied { counted: false } => {}
            ObjectOp::ArriveCopied { counted: true } => self.pending = self.pending.wrapping_sub(1),
        }
        if self.pending & PENDING_MAX == 0 && self.bytes & BYTES_MASK == 0 {
            self.odd = !self.odd;
            self.pending = self.expected;
        }
        self
    }
}

fn is_odd(word: u64) -> bool {
    word >> 63 == 1
}

/// What `op` does with the object at each lane's address. Where one is asked for, the state before it goes to `d`.
pub fn object(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    op: ObjectOp,
) -> Result<(), BadAccess> {
    let to = in_shared(f, i, area)?;
    let given = match op {
        ObjectOp::Test { parity: false } => *f.wides(i.b),
        _ => f.words(i.b).map(u64::from),
    };
    let all = Access {
        area: Area::Shared,
        addresses: &to,
        mask: f.mask,
        size: OBJECT_BYTES,
        write: !op.is_test(),
        first_thread: m.first_thread,
    };
    let mut before = [0u64; LANES];
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        for lane in lanes_of(mask) {
            let place = places.of(lane);
            // SAFETY: the access was checked for eight bytes, their alignment and, but for tests, writing.
            before[lane] = unsafe { u64::read(place) };
            if !op.is_test() {
                let after = Object::read(before[lane]).after(op, given[lane] as u32).word();
                // SAFETY: as above.
                unsafe { u64::write(place, after) };
            }
        }
    }
    match op {
        ObjectOp::Test { parity } => {
            let of = |lane: usize| if parity { given[lane] & 1 == 1 } else { is_odd(given[lane]) };
            let over = lanes_of(f.mask).filter(|lane| is_odd(before[*lane]) != of(*lane));
            let over = over.fold(0, |mask, lane| mask | 1 << lane);
            f.set_pred(i.d, over);
        }
        _ if i.d != NONE => store::<u64>(f, i.d, &before),
        _ => {}
    }
    Ok(())
}

/// The lanes' addresses in shared memory: a generic one must be of there.
fn in_shared(f: &Frame, i: &Code, area: Area) -> Result<[u64; LANES], BadAccess> {
    let to = addresses(f, i, i.c == 1);
    if area != Area::Generic {
        return Ok(to);
    }
    let astray = lanes_of(f.mask).find(|lane| to[*lane] >> 56 << 56 != SHARED_TAG);
    match astray {
        Some(lane) => Err(BadAccess { lane, area, address: to[lane], misaligned: false }),
        None => Ok(to.map(|address| address & !SHARED_TAG)),
    }
}
