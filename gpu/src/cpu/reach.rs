//! Which pieces of memory a launch can write at all, and whether it shows an address, found by reading the kernel.
//!
//! Owns: [`writes`] and [`shows_addresses`]: follows every buffer's address from the parameters (and every variable's from its name) through
//! the registers, whatever the order of execution, to the stores. The answer errs on the side of "can be written": a
//! store through an address that came from memory may go anywhere, and so may one whose register held such an address at
//! some other time.
//! Limits: [`PIECES_MAX`], [`TURNS_MAX`]. Never: runs anything. An address that a kernel makes up from plain numbers is not followed: that it hits a buffer
//! is no use of that buffer that anybody meant.
//! Tests: `gpu/tests/replay.rs`.

use super::{
    code::{Code, Fill, Kernel, Kind, NONE},
    memory::{Area, WINDOW_BITS},
};

/// A set of pieces, by bit; at most [`PIECES_MAX`].
pub type Pieces = u128;
/// Buffers, and two pieces for each module, fit with room to spare.
pub const PIECES_MAX: usize = 127;
/// Not a piece: memory that a block has to itself.
const PRIVATE: Pieces = 1 << PIECES_MAX;
/// What a kernel can write that stores through addresses from memory.
pub const ANYWHERE: Pieces = !PRIVATE;

/// Size of an address.
const POINTER_BYTES: u64 = 8;
/// Times that a kernel is read through: compilers' code settles after three or four.
const TURNS_MAX: usize = 32;

/// An argument, or a field of one, that is a buffer's address: where it is among the parameters, and which piece it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pointer {
    pub offset: u64,
    pub piece: u16,
}

/// What each register, and private memory as a whole, may be an address into.
struct Roots<'a> {
    kernel: &'a Kernel,
    pointers: &'a [Pointer],
    slots: Vec<Pieces>,
    /// What was stored in shared and local memory.
    stored: Pieces,
    /// Registers, and private memory as a whole, that may hold an address which came from memory: no roots tell where to.
    foreign: Vec<bool>,
    stored_foreign: bool,
    changed: bool,
}

/// The pieces that `kernel` can write.
pub fn writes(kernel: &Kernel, pointers: &[Pointer]) -> Pieces {
    let Some(roots) = Roots::settled(kernel, pointers) else { return ANYWHERE };
    kernel.codes.iter().fold(0, |all, code| all | roots.written(code)) & !PRIVATE
}

/// Whether `kernel` may store an address where others see it: every device has its own.
pub fn shows_addresses(kernel: &Kernel, pointers: &[Pointer]) -> bool {
    let settled = Roots::settled(kernel, pointers);
    settled.is_none_or(|roots| kernel.codes.iter().any(|code| roots.shown(code) != 0))
}

fn bit(piece: u16) -> Pieces {
    if usize::from(piece) < PIECES_MAX { 1 << piece } else { 0 }
}

/// The piece that an absolute address lies in.
fn window(address: u64) -> Pieces {
    let piece = (address >> WINDOW_BITS).checked_sub(1).and_then(|n| u16::try_from(n).ok());
    piece.map_or(0, bit)
}

impl<'a> Roots<'a> {
    /// `None` for a kernel made to take long over it.
    fn settled(kernel: &'a Kernel, pointers: &'a [Pointer]) -> Option<Self> {
        let (slots, foreign) = (vec![0; kernel.slots as usize], vec![false; kernel.slots as usize]);
        let (stored, stored_foreign, changed) = (0, false, true);
        let mut roots = Roots { kernel, pointers, slots, stored, foreign, stored_foreign, changed };
        for (slot, fill) in &kernel.fills {
            if let Fill::Wide(value) = fill {
                roots.add(*slot, window(*value));
            }
        }
        // The second needs all that the first finds.
        (roots.settle(Self::flow) && roots.settle(Self::flow_foreign)).then_some(roots)
    }

    /// Reads the kernel again and again; sets only grow, so they settle, if nobody has made them take long.
    fn settle(&mut self, flow: impl Fn(&mut Self, &Code)) -> bool {
        for _ in 0..TURNS_MAX {
            self.changed = false;
            self.kernel.codes.iter().for_each(|code| flow(self, code));
            if !self.changed {
                return true;
            }
        }
        false
    }

    fn get(&self, slot: u32) -> Pieces {
        self.slots.get(slot as usize).copied().unwrap_or(0)
    }

    fn add(&mut self, slot: u32, roots: Pieces) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            self.changed |= roots & !*place != 0;
            *place |= roots;
        }
    }

    /// The address register's roots, or those of the address that stands in the instruction.
    fn address(&self, code: &Code) -> Pieces {
        if code.a == NONE { window(code.imm as u64) } else { self.get(code.a) }
    }

    /// The parameters that a load of parts of `bits` bits may read, in whole or in part: those that it overlaps, or
    /// with a computed address any.
    fn parameters(&self, code: &Code, bits: u8) -> Pieces {
        let from = code.imm as u64;
        let to = from.saturating_add(u64::from(code.e) * u64::from(bits / 8));
        let read = |p: &&Pointer| code.a != NONE || (p.offset < to && from < p.offset + POINTER_BYTES);
        self.pointers.iter().filter(read).fold(0, |all, p| all | bit(p.piece))
    }

    fn flow(&mut self, code: &Code) {
        let parts = code.d as usize..(code.d as usize).saturating_add(code.e as usize);
        match code.kind {
            Kind::Load { area, bits, .. } => {
                let roots = match area {
                    Area::Param => self.parameters(code, bits),
                    Area::Shared | Area::Local => self.stored,
                    Area::Generic => self.stored | if code.a == NONE { 0 } else { self.generic(code, bits) },
                    Area::Global | Area::Const => 0,
                };
                let kernel = self.kernel;
                for part in kernel.parts.get(parts).unwrap_or(&[]) {
                    self.add(part.slot, roots);
                }
            }
            Kind::Store { area: Area::Shared | Area::Local | Area::Generic, .. } => {
                let given = self.kernel.parts.get(parts).unwrap_or(&[]);
                let roots = given.iter().fold(0, |all, part| all | self.get(part.slot));
                self.changed |= roots & !self.stored != 0;
                self.stored |= roots;
            }
            Kind::Tag(Area::Shared | Area::Local | Area::Param) => {
                let roots = self.get(code.a) | PRIVATE;
                self.add(code.d, roots);
            }
            Kind::TilesLoad { .. } | Kind::MatrixLoad { .. } => {
                let roots = self.stored;
                let kernel = self.kernel;
                for part in kernel.parts.get(parts).unwrap_or(&[]) {
                    self.add(part.slot, roots);
                }
            }
            Kind::TilesStore { .. } | Kind::MatrixStore { .. } => {
                let given = self.kernel.parts.get(parts).unwrap_or(&[]);
                let roots = given.iter().fold(0, |all, part| all | self.get(part.slot));
                self.changed |= roots & !self.stored != 0;
                self.stored |= roots;
            }
            Kind::Selp { .. } => self.join(code, &[code.a, code.b]),
            Kind::Int(..)
            | Kind::Bits(_)
            | Kind::Carry(..)
            | Kind::Slct { .. }
            | Kind::Move { .. }
            | Kind::TakeHalf
            | Kind::PutHalf
            | Kind::TakeWord
            | Kind::PutWord
            | Kind::Convert(_)
            | Kind::Tag(_)
            | Kind::Untag(_)
            | Kind::Word(_)
            | Kind::Video(_)
            | Kind::VideoMad(_)
            | Kind::TileTranspose
            | Kind::Shuffle(_)
            | Kind::Redux { .. } => self.join(code, &[code.a, code.b, code.c]),
            // What these give is no address: a comparison, a vote, a number.
            Kind::Store { .. }
            | Kind::Float(..)
            | Kind::Setp { .. }
            | Kind::Set { .. }
            | Kind::Testp { .. }
            | Kind::ConvertPair { .. }
            | Kind::PredMove
            | Kind::PredConst(_)
            | Kind::PredLogic(_)
            | Kind::PredNot
            | Kind::Clock { .. }
            | Kind::InSpace(_)
            | Kind::Atomic { .. }
            | Kind::Vote { .. }
            | Kind::Match { .. }
            | Kind::Alloca { .. }
            | Kind::Activemask
            | Kind::Branch(_)
            | Kind::Exit
            | Kind::Barrier { .. }
            | Kind::Trap
            | Kind::Astray
            | Kind::Assert
            | Kind::Narrow(_)
            | Kind::Tiny(_)
            | Kind::XorSign { .. }
            | Kind::SetHalf { .. }
            | Kind::Elect
            | Kind::WarpSync
            | Kind::Mma(_)
            // What is copied from global to shared memory has no root there either: it may point anywhere.
            | Kind::Copy { .. }
            | Kind::Object { .. }
            | Kind::Print
            | Kind::Fence
            | Kind::Nothing => {}
        }
    }

    /// What came from memory, and what is made of it without an address whose roots are known: an index from memory is none.
    fn flow_foreign(&mut self, code: &Code) {
        let kernel = self.kernel;
        let parts = code.d as usize..(code.d as usize).saturating_add(code.e as usize);
        let parts = kernel.parts.get(parts).unwrap_or(&[]);
        let is = |roots: &Self, slot: u32| roots.foreign.get(slot as usize) == Some(&true);
        let wide = |bits| u64::from(bits) / 8 >= POINTER_BYTES;
        match code.kind {
            Kind::Load { area, bits, .. } if wide(bits) => {
                let private = code.a != NONE && self.get(code.a) == PRIVATE;
                let foreign = match area {
                    Area::Global | Area::Const => true,
                    Area::Generic => !private || self.stored_foreign,
                    Area::Shared | Area::Local => self.stored_foreign,
                    // Those are given, and have roots.
                    Area::Param => false,
                };
                // One of 128 bits is two of 64.
                let upper = if bits > 64 { 2 } else { 0 };
                for part in parts {
                    self.add_foreign(part.slot, foreign);
                    self.add_foreign(part.slot.saturating_add(upper), foreign);
                }
            }
            Kind::Store { area: Area::Shared | Area::Local | Area::Generic, .. } => {
                let stored = parts.iter().any(|part| is(self, part.slot));
                self.changed |= stored && !self.stored_foreign;
                self.stored_foreign |= stored;
            }
            Kind::Copy { .. } => {
                self.changed |= !self.stored_foreign;
                self.stored_foreign = true;
            }
            Kind::Atomic { .. } => self.add_foreign(code.d, true),
            // Copies of one or the other.
            Kind::Move { .. }
            | Kind::Selp { .. }
            | Kind::Slct { .. }
            | Kind::Shuffle(_)
            | Kind::TakeWord
            | Kind::PutWord => {
                self.add_foreign(code.d, is(self, code.a) || is(self, code.b));
            }
            Kind::Int(..)
            | Kind::Bits(_)
            | Kind::Carry(..)
            | Kind::Convert(_)
            | Kind::Tag(_)
            | Kind::Untag(_) => {
                let given = [code.a, code.b, code.c];
                let rooted = |other: usize| self.get(given[other]) != 0;
                let alone =
                    |n: &usize| is(self, given[*n]) && !(0..3).any(|other| other != *n && rooted(other));
                let foreign = (0..3).any(|n| alone(&n));
                self.add_foreign(code.d, foreign);
            }
            // Nothing else that `flow` follows makes an address of one.
            _ => {}
        }
    }

    fn add_foreign(&mut self, slot: u32, foreign: bool) {
        if let Some(place) = self.foreign.get_mut(slot as usize).filter(|_| foreign) {
            self.changed |= !*place;
            *place = true;
        }
    }

    /// A generic load may read parameters too, where its address is one of theirs.
    fn generic(&self, code: &Code, bits: u8) -> Pieces {
        if self.get(code.a) & PRIVATE != 0 { self.parameters(code, bits) } else { 0 }
    }

    fn join(&mut self, code: &Code, from: &[u32]) {
        let roots = from.iter().fold(0, |all, slot| all | self.get(*slot));
        self.add(code.d, roots);
    }

    fn written(&self, code: &Code) -> Pieces {
        let (Kind::Store { area, .. }
        | Kind::Atomic { area, .. }
        | Kind::MatrixStore { area, .. }
        | Kind::TilesStore { area, .. }) = code.kind
        else {
            return 0;
        };
        if !matches!(area, Area::Global | Area::Generic) {
            return 0;
        }
        match self.address(code) {
            // From memory, or made up: anywhere.
            0 => Pieces::MAX,
            _ if self.foreign.get(code.a as usize) == Some(&true) => Pieces::MAX,
            roots => roots,
        }
    }

    /// Where what is stored in memory that others see may be an address into: what is narrower than one is none.
    fn shown(&self, code: &Code) -> Pieces {
        let Kind::Store { area: Area::Global | Area::Generic, .. } = code.kind else { return 0 };
        let parts = code.d as usize..(code.d as usize).saturating_add(code.e as usize);
        let given = self.kernel.parts.get(parts).unwrap_or(&[]);
        let wide = given.iter().filter(|part| u64::from(part.bits) / 8 == POINTER_BYTES);
        wide.fold(0, |all, part| all | self.get(part.slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::decode::{Addresses, decode},
        ptx,
    };

    /// The pieces that a kernel of two pointers, `p` and `q`, and a number can write.
    fn written(body: &str) -> Pieces {
        let body = format!("ld.param.u64 %a, [p]; ld.param.u64 %b, [q]; ld.param.u32 %u, [n];\n{body}");
        written_by(".param .u64 p, .param .u64 q, .param .u32 n", &body, 8)
    }

    /// The pieces that a kernel can write whose parameters have one pointer at 0 and one at `second`.
    fn written_by(params: &str, body: &str, second: u64) -> Pieces {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.global .align 8 .b8 g[64];\n\
             .visible .entry k({params})\n{{\n\
             .reg .b64 %a, %b, %c, %d; .reg .b32 %t, %u; .reg .pred %s;\n.local .align 8 .b8 spill[16];\n\
             {body}\nret;\n}}\n"
        );
        let module = ptx::parse(&text).unwrap_or_else(|refusal| panic!("{refusal:?}\n{text}"));
        let function = module.kernel("k").unwrap();
        let at = |piece: u64| (piece + 1) << WINDOW_BITS;
        let kernel = decode(&module, function, Addresses { global: at(2), constant: at(3) }).unwrap();
        writes(&kernel, &[Pointer { offset: 0, piece: 0 }, Pointer { offset: second, piece: 1 }])
    }

    #[test]
    fn a_store_reaches_what_its_address_comes_from() {
        assert_eq!(written("ld.global.u32 %t, [%a]; st.global.u32 [%b], %t;"), 0b010);
        assert_eq!(written("mad.wide.u32 %c, %u, 4, %a; st.global.u32 [%c], %u;"), 0b001);
        assert_eq!(written("cvta.to.global.u64 %c, %b; add.s64 %c, %c, 8; st.u32 [%c], %u;"), 0b010);
        assert_eq!(written("setp.eq.u32 %s, %u, 0; selp.b64 %c, %a, %b, %s; st.global.u32 [%c], %u;"), 0b011);
        assert_eq!(written("st.global.u32 [g], %u;"), 0b100);
        assert_eq!(written("mov.u64 %c, g; st.global.u32 [%c+4], %u;"), 0b100);
        assert_eq!(written("red.global.add.u32 [%a], %u;"), 0b001);
        assert_eq!(written("ld.global.u32 %t, [%b];"), 0);
    }

    #[test]
    fn addresses_are_followed_through_private_memory_and_not_out_of_it() {
        assert_eq!(
            written("st.local.u64 [spill], %b; ld.local.u64 %c, [spill]; st.global.u32 [%c], %u;"),
            0b010
        );
        assert_eq!(written("cvta.local.u64 %c, %d; st.u32 [%c], %u;"), 0);
    }

    #[test]
    fn a_field_is_an_address_however_it_is_read() {
        let written = |body: &str| written_by(".param .align 16 .b8 s[32]", body, 24);
        assert_eq!(written("ld.param.u64 %a, [s+24]; st.global.u32 [%a], 1;"), 0b010);
        assert_eq!(written("ld.param.v2.u64 {%c, %a}, [s+16]; st.global.u32 [%a], 1;"), 0b010);
        assert_eq!(
            written("ld.param.v2.u32 {%t, %u}, [s+24]; mov.b64 %a, {%t, %u}; st.global.u32 [%a], 1;"),
            0b010
        );
        let high =
            "ld.param.u32 %t, [s]; ld.param.u32 %u, [s+4]; mov.b64 %a, {%t, %u}; st.global.u32 [%a], 1;";
        assert_eq!(written(high), 0b001);
        assert_eq!(written("ld.param.u64 %a, [s]; ld.param.u64 %b, [s+8]; st.global.u64 [%a], %b;"), 0b001);
    }

    #[test]
    fn an_address_out_of_memory_may_point_anywhere() {
        assert_eq!(written("ld.global.u64 %c, [%a]; st.global.u32 [%c], %u;"), !PRIVATE);
    }

    /// As in a list that begins in one buffer and goes on in others.
    #[test]
    fn nor_does_a_register_that_held_a_known_one_before() {
        assert_eq!(written("ld.global.u64 %a, [%a]; st.global.u32 [%a], %u;"), ANYWHERE);
        let list = "mov.u64 %c, %a;\nNEXT: st.global.u32 [%c+8], %u; ld.global.u64 %d, [%c]; mov.u64 %c, %d;\n\
                    setp.ne.u64 %s, %c, 0; @%s bra NEXT;";
        assert_eq!(written(list), ANYWHERE);
        assert_eq!(written("ld.u64 %c, [%a]; add.s64 %a, %c, 8; st.u32 [%a], %u;"), ANYWHERE);
        assert_eq!(written("atom.global.exch.b64 %b, [%a], 0; st.global.u32 [%b], %u;"), ANYWHERE);
        let spilled = "st.local.u64 [spill], %b; ld.global.u64 %c, [%a]; st.local.u64 [spill+8], %c;\n\
                       ld.local.u64 %d, [spill]; st.global.u32 [%d], %u;";
        assert_eq!(written(spilled), ANYWHERE);
    }

    #[test]
    fn an_index_out_of_memory_does_not() {
        let wide = "ld.global.u64 %c, [%a]; shl.b64 %c, %c, 2; add.s64 %d, %c, %b; st.global.u32 [%d], %u;";
        assert_eq!(written(wide), 0b010);
        let body =
            "ld.global.u32 %t, [%a]; mul.wide.u32 %c, %t, 4; add.s64 %c, %c, %b; st.global.u32 [%c], %u;";
        assert_eq!(written(body), 0b010);
    }
}
