//! One warp: 32 threads that execute one instruction at a time.
//!
//! Owns: divergence. Lanes at the same instruction form a group; the group at the lowest address runs, and groups
//! that come to stand at the same instruction become one again (min-PC reconvergence). A loop in which one lane waits
//! for another of its own warp therefore may never end, as on devices before compute capability 7.0: the instruction
//! budget or the time ends it.
//! Never: runs longer than the turn it was given.
//! Tests: `gpu/tests/cpu_integer.rs`.

use super::{
    code::{Barrier, BoolOp, Code, Kernel, Kind, NONE},
    collective, compare, convert, float, int,
    jit::{BAILED, Context, Native, Region, Seat, Unit},
    lanes::{ALL, BIT, Frame, LANES, Lane, lanes_of, map1, store, test2},
    matrix,
    memory::{Area, BadAccess, Global, LOCAL_TAG, PARAM_TAG, Private, SHARED_TAG},
    object, print, tensor, tiny,
    transfer::{self, Memory},
    video,
};

/// Instructions that one product of matrices counts for in a warp's turn, so that a loop of them is stopped in time.
const MATRIX_TURNS: u32 = 256;

/// What ends a block before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Access(BadAccess),
    Trap { lane: usize },
    Assert { lane: usize },
    Divergent { lane: usize },
}

/// Why a warp gave up its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ready,
    Waiting(Wait),
    Done,
}

/// At which barrier a warp waits, and for how many threads (0: all of the block).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub barrier: u32,
    pub threads: u32,
    pub what: Barrier,
    /// Lanes whose predicate holds, for reductions, and lanes that take part.
    pub votes: u32,
    pub mask: u32,
    /// Where the result goes.
    pub into: u32,
}

pub struct Warp {
    pub frame: Frame,
    pub pc: u32,
    /// Lanes of the running group.
    pub mask: u32,
    /// Lanes that have not left.
    pub live: u32,
    /// The other groups, the one at the lowest address last.
    others: Vec<(u32, u32)>,
    /// The address of that group: reaching it means joining it, passing it means making way.
    next: u32,
    pub first_thread: usize,
    pub state: State,
    /// Whether lanes have gone different ways since the block began: then registers that should be uniform are looked at.
    split: bool,
    /// Instructions to be interpreted before machine code is tried again, and how often it gave up in a row.
    patience: u32,
    bails: u32,
    /// Whether its frame knows which block it is in.
    pub placed: bool,
}

/// What a warp sees of its block.
pub struct Surroundings<'a, 'g> {
    pub kernel: &'a Kernel,
    pub global: &'a Global<'g>,
    pub private: &'a mut Private,
    /// Instructions that the block has executed, and those of them that were not machine code.
    pub executed: &'a mut u64,
    pub interpreted: &'a mut u64,
    /// What a turn has left when it may end at the head of a loop that strides through memory.
    pub makes_way: u32,
    pub native: Option<Machine<'a>>,
}

/// Machine code for the kernel, and what it sees of the block.
pub struct Machine<'a> {
    pub unit: &'a Unit,
    pub context: &'a mut Context,
}

impl Warp {
    pub fn new(kernel: &Kernel, first_thread: usize) -> Self {
        Warp {
            frame: Frame::new(kernel.slots as usize, kernel.preds as usize),
            pc: 0,
            mask: 0,
            live: 0,
            others: Vec::new(),
            next: u32::MAX,
            first_thread,
            state: State::Done,
            split: false,
            patience: 0,
            bails: 0,
            placed: false,
        }
    }

    /// Puts the warp to an instruction with these lanes; its registers stay as they are.
    pub fn start(&mut self, pc: u32, lanes: u32) {
        (self.split, self.patience, self.bails, self.placed) = (false, 0, 0, false);
        self.pc = pc;
        self.mask = lanes;
        self.live = lanes;
        self.others.clear();
        self.next = u32::MAX;
        self.state = State::Ready;
    }

    /// Runs up to `turn` instructions, to a barrier or to the end.
    pub fn run(&mut self, s: &mut Surroundings<'_, '_>, turn: u32) -> Result<(), Broken> {
        let codes = &s.kernel.codes;
        let mut left = turn;
        while left > 0 {
            if self.pc >= self.next {
                self.regroup();
            }
            if let Some(machine) = &mut s.native
                && let Some(native) = machine.unit.at(self.pc)
                && let Some(seat) = self.native(native, machine, left, s.makes_way)
            {
                *s.executed += u64::from(seat.executed);
                left -= seat.executed;
                if seat.made_way() {
                    return Ok(());
                }
                continue;
            }
            left -= 1;
            self.patience = self.patience.saturating_sub(1);
            let i = &codes[self.pc as usize];
            *s.executed += 1;
            *s.interpreted += 1;
            let mut mask = self.mask;
            if i.guard != NONE {
                let guard = self.frame.preds[i.guard as usize];
                mask &= if i.negated { !guard } else { guard };
            }
            self.frame.mask = mask;
            match i.kind {
                Kind::Branch(target) => {
                    self.branch(target, mask);
                    if mask != 0 && left <= s.makes_way && i.strides() {
                        return Ok(());
                    }
                }
                _ if mask == 0 => self.pc += 1,
                Kind::Exit => {
                    self.exit(mask);
                    if self.live == 0 {
                        self.state = State::Done;
                        return Ok(());
                    }
                }
                Kind::Barrier { what, negate } => {
                    if mask != self.live {
                        return Err(Broken::Divergent { lane: mask.trailing_zeros() as usize });
                    }
                    self.state = State::Waiting(self.wait(i, what, negate));
                    self.pc += 1;
                    return Ok(());
                }
                // Whoever waits for others in a loop lets them have their turns.
                Kind::Object { op, .. } if op.is_test() => {
                    self.execute(i, s)?;
                    self.pc += 1;
                    if self.frame.preds[i.d as usize] & mask != mask {
                        left = 0;
                    }
                }
                Kind::Mma(_) => {
                    self.execute(i, s)?;
                    self.pc += 1;
                    left = left.saturating_sub(MATRIX_TURNS);
                }
                _ => {
                    self.execute(i, s)?;
                    self.pc += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether this warp stands at an instruction with all its lanes, and may run machine code there.
    pub fn is_together_at(&self, pc: u32) -> bool {
        self.state == State::Ready && self.pc == pc && !self.split && self.patience == 0
    }

    /// Takes over what machine code has done with the warp. Gives the instructions it executed.
    pub fn came_to(&mut self, seat: &Seat, region: &Region) -> u32 {
        if seat.pc == BAILED || seat.executed == 0 {
            // What was undone once will often be again: the next tries come later and later.
            self.patience = region.total << self.bails.min(8);
            self.bails += 1;
            return 0;
        }
        self.pc = seat.pc;
        self.bails = 0;
        seat.executed
    }

    /// Executes the instruction that ends the turn of a warp whose lanes are together, and all take part in it.
    pub fn end_turn(&mut self, i: &Code) {
        match i.kind {
            Kind::Barrier { what, negate } => {
                self.frame.mask = self.mask;
                self.state = State::Waiting(self.wait(i, what, negate));
                self.pc += 1;
            }
            _ => {
                self.exit(self.mask);
                self.state = State::Done;
            }
        }
    }

    /// Runs a region of machine code, if it may run now. Gives what it left in the seat; `None`: it did nothing.
    fn native(
        &mut self,
        native: &Native,
        machine: &mut Machine<'_>,
        left: u32,
        makes_way: u32,
    ) -> Option<Seat> {
        let region = &native.region;
        // A group that waits within the region has to be joined there, and a turn ends where it ends.
        let joins = self.next > region.last || machine.unit.is_left_at(self.next);
        if region.total > left || !joins || self.patience > 0 {
            return None;
        }
        if self.split && !self.is_uniform(region) {
            return None;
        }
        let context = &mut *machine.context;
        context.turn(left, makes_way, self.next);
        let mut seat = context.seat(&mut self.frame, self.mask, self.first_thread);
        // SAFETY: the context was made for this block and kernel and the seat for this warp's frame, which like the
        // block is borrowed mutably; the unit is borrowed, so alive.
        unsafe { native.call(context, std::slice::from_mut(&mut seat)) };
        (self.came_to(&seat, region) > 0).then_some(seat)
    }

    /// Whether the registers that a region keeps once for all lanes are the same in all active ones.
    fn is_uniform(&self, region: &Region) -> bool {
        let first = self.mask.trailing_zeros() as usize;
        let preds = region.uniform_preds.iter().map(|p| self.frame.preds[*p as usize] & self.mask);
        preds.into_iter().all(|held| held == 0 || held == self.mask)
            && region
                .even_slots
                .iter()
                .all(|(slot, wide, stride)| self.is_even(*slot, *wide, *stride, region.pass))
            && region.uniform_slots.iter().all(|(slot, wide)| match wide {
                true => is_one(self.frame.wides(*slot), self.mask, first),
                false => is_one(self.frame.words(*slot), self.mask, first),
            })
    }

    /// Whether a register grows by `stride` from one active lane to the next within each pass of so many.
    fn is_even(&self, slot: u32, wide: bool, stride: i64, pass: usize) -> bool {
        let base = |lane: usize| {
            let grown = (lane as u64).wrapping_mul(stride as u64);
            if wide {
                self.frame.wides(slot)[lane].wrapping_sub(grown)
            } else {
                u64::from(self.frame.words(slot)[lane].wrapping_sub(grown as u32))
            }
        };
        (0..LANES).step_by(pass).all(|first| {
            let mut lanes = lanes_of(self.mask & ALL >> (LANES - pass) << first);
            lanes.next().is_none_or(|first| lanes.all(|lane| base(lane) == base(first)))
        })
    }

    /// Another group stands at or before the running one: joins it, or lets it run first.
    #[cold]
    fn regroup(&mut self) {
        while let Some((pc, mask)) = self.others.pop() {
            if pc == self.pc {
                self.mask |= mask;
            } else if pc < self.pc {
                let (mine, lanes) = (self.pc, self.mask);
                (self.pc, self.mask) = (pc, mask);
                self.park(mine, lanes);
            } else {
                self.others.push((pc, mask));
                break;
            }
        }
        self.next = self.others.last().map_or(u32::MAX, |(pc, _)| *pc);
    }

    /// Puts a group among the others, in order; one at the same address takes it in.
    fn park(&mut self, pc: u32, mask: u32) {
        let at = self.others.partition_point(|(other, _)| *other > pc);
        match self.others.get_mut(at) {
            Some((other, lanes)) if *other == pc => *lanes |= mask,
            _ => self.others.insert(at, (pc, mask)),
        }
        self.next = self.others.last().map_or(u32::MAX, |(pc, _)| *pc);
    }

    fn branch(&mut self, target: u32, taken: u32) {
        let stay = self.mask & !taken;
        match (taken, stay) {
            (0, _) => self.pc += 1,
            (_, 0) => self.pc = target,
            _ => {
                self.split = true;
                let on = self.pc + 1;
                let (low, high) =
                    if target < on { ((target, taken), (on, stay)) } else { ((on, stay), (target, taken)) };
                (self.pc, self.mask) = low;
                self.park(high.0, high.1);
            }
        }
    }

    fn exit(&mut self, leaving: u32) {
        self.live &= !leaving;
        self.mask &= !leaving;
        self.pc += 1;
        if self.mask == 0
            && let Some((pc, mask)) = self.others.pop()
        {
            (self.pc, self.mask) = (pc, mask);
            self.next = self.others.last().map_or(u32::MAX, |(pc, _)| *pc);
        }
    }

    fn wait(&self, i: &Code, what: Barrier, negate: bool) -> Wait {
        let lane = self.frame.mask.trailing_zeros() as usize;
        let value = |slot: u32| if slot == NONE { 0 } else { self.frame.words(slot)[lane] };
        let votes = if i.c == NONE { 0 } else { self.frame.preds[i.c as usize] };
        let votes = (if negate { !votes } else { votes }) & self.frame.mask;
        let threads = value(i.b);
        Wait { barrier: value(i.a) & 15, threads, what, votes, mask: self.frame.mask, into: i.d }
    }

    /// Executes an instruction that neither branches nor ends a turn. The frequent ones are chosen here, in the loop over
    /// instructions itself, the others in a function of their own, whose call and room on the stack those need not pay.
    #[inline(always)]
    fn execute(&mut self, i: &Code, s: &mut Surroundings<'_, '_>) -> Result<(), Broken> {
        let f = &mut self.frame;
        match i.kind {
            Kind::Int(op, ty) => int::int(f, i, op, ty),
            Kind::Float(op, ty, how) => float::float(f, i, op, ty, how),
            Kind::Bits(op) => int::bits(f, i, op),
            Kind::Load { area, bits, signed } => {
                transfer::load(&mut memory(s, self.first_thread), f, i, area, bits, signed)
                    .map_err(Broken::Access)?;
            }
            Kind::Store { area, bits } => {
                transfer::save(&mut memory(s, self.first_thread), f, i, area, bits)
                    .map_err(Broken::Access)?;
            }
            Kind::Setp { .. } | Kind::Set { .. } | Kind::SetHalf { .. } => compare::set(f, i),
            Kind::Move { wide: false } => map1(f, i.d, i.a, |v: u32| v),
            Kind::Move { wide: true } => map1(f, i.d, i.a, |v: u64| v),
            _ => self.execute_other(i, s)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn execute_other(&mut self, i: &Code, s: &mut Surroundings<'_, '_>) -> Result<(), Broken> {
        let f = &mut self.frame;
        match i.kind {
            Kind::Convert(how) => convert::convert(f, i, how),
            Kind::Selp { .. } | Kind::Slct { .. } => compare::choose(f, i),
            Kind::Carry(op, ty) => int::carry(f, i, op, ty),
            Kind::Testp { what, wide } => compare::test(f, i, what, wide),
            Kind::TakeHalf => {
                let shift = i.e * 16;
                map1(f, i.d, i.a, |v: u32| v >> shift & 0xffff);
            }
            Kind::PutHalf => put::<u32>(f, i, |old, v| {
                let shift = i.e * 16;
                (old & !(0xffff << shift)) | (v & 0xffff) << shift
            }),
            Kind::TakeWord => {
                let shift = i.e * 16;
                let wide = i.imm as u64;
                map1(f, i.d, i.a, |v: u64| (v >> shift & wide) as u32);
            }
            Kind::PutWord => {
                let (shift, wide) = (i.e * 16, i.imm as u64);
                let (old, part) = (*f.wides(i.d), *f.words(i.a));
                let out = std::array::from_fn(|n| {
                    (old[n] & !(wide << shift)) | (u64::from(part[n]) & wide) << shift
                });
                store::<u64>(f, i.d, &out);
            }
            Kind::ConvertPair { mode, brain, relu } => convert::convert_pair(f, i, mode, brain, relu),
            Kind::PredMove => f.set_pred(i.d, f.preds[i.a as usize]),
            Kind::PredConst(value) => f.set_pred(i.d, if value { u32::MAX } else { 0 }),
            Kind::PredNot => f.set_pred(i.d, !f.preds[i.a as usize]),
            Kind::PredLogic(op) => {
                let (a, b) = (f.preds[i.a as usize], f.preds[i.b as usize]);
                f.set_pred(
                    i.d,
                    match op {
                        BoolOp::And => a & b,
                        BoolOp::Or => a | b,
                        BoolOp::Xor => a ^ b,
                    },
                );
            }
            Kind::Clock { wide: true } => store::<u64>(f, i.d, &[*s.executed; LANES]),
            Kind::Clock { wide: false } => store::<u32>(f, i.d, &[*s.executed as u32; LANES]),
            Kind::Tag(area) => {
                let tag = tag(area);
                map1(f, i.d, i.a, |v: u64| v | tag);
            }
            Kind::Untag(area) => {
                let tag = tag(area);
                map1(f, i.d, i.a, |v: u64| v & !tag);
            }
            Kind::InSpace(area) => {
                let found = test2(f, i.a, i.a, |v: u64, _| in_space(area, v));
                f.set_pred(i.d, found);
            }
            Kind::Atomic { area, op, ty } => {
                memory(s, self.first_thread).atomic(f, i, area, op, ty).map_err(Broken::Access)?;
            }
            Kind::Shuffle(_)
            | Kind::Vote { .. }
            | Kind::Match { .. }
            | Kind::Redux { .. }
            | Kind::Elect
            | Kind::Activemask => {
                collective::collective(f, i);
            }
            Kind::Word(op) => int::word_op(f, i, op),
            Kind::Narrow(how) => convert::narrow(f, i, how),
            Kind::Tiny(how) => tiny::convert(f, i, how),
            Kind::Video(how) => video::video(f, i, how),
            Kind::VideoMad(how) => video::mad(f, i, how),
            Kind::Alloca { wide, lowest } => {
                let end = s.kernel.local_bytes;
                transfer::alloca(f, i, wide, lowest.into()..end).map_err(Broken::Access)?;
            }
            Kind::XorSign { max, ty, how } => float::xor_sign(f, i, max, ty, how),
            Kind::Mma(_)
            | Kind::TileTranspose
            | Kind::TilesLoad { .. }
            | Kind::TilesStore { .. }
            | Kind::MatrixLoad { .. }
            | Kind::MatrixStore { .. }
                if f.mask != ALL =>
            {
                // PTX demands all lanes, and the registers of those that are missing mean nothing.
                return Err(Broken::Divergent { lane: f.mask.trailing_zeros() as usize });
            }
            Kind::Mma(what) => tensor::mma(s.kernel, f, i, what),
            Kind::TileTranspose => matrix::transpose(f, i),
            Kind::MatrixLoad { .. }
            | Kind::MatrixStore { .. }
            | Kind::TilesLoad { .. }
            | Kind::TilesStore { .. }
            | Kind::Copy { .. } => {
                matrix::transfer(&mut memory(s, self.first_thread), f, i).map_err(Broken::Access)?;
            }
            Kind::Trap => return Err(Broken::Trap { lane: f.mask.trailing_zeros() as usize }),
            Kind::Astray => {
                let lane = f.mask.trailing_zeros() as usize;
                let address = f.wides(i.a)[lane];
                return Err(Broken::Access(BadAccess {
                    lane,
                    area: Area::Generic,
                    address,
                    misaligned: false,
                }));
            }
            Kind::Assert => {
                let words = print::assertion(&mut memory(s, self.first_thread), f, i);
                s.private.assertion = words;
                return Err(Broken::Assert { lane: f.mask.trailing_zeros() as usize });
            }
            Kind::Fence => std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst),
            Kind::Object { area, op } => {
                object::object(&mut memory(s, self.first_thread), f, i, area, op).map_err(Broken::Access)?;
            }
            Kind::Print => {
                print::print(&mut memory(s, self.first_thread), f, i).map_err(Broken::Access)?;
            }
            Kind::WarpSync | Kind::Nothing => {}
            // These are executed before.
            Kind::Branch(_)
            | Kind::Exit
            | Kind::Barrier { .. }
            | Kind::Int(..)
            | Kind::Float(..)
            | Kind::Bits(_)
            | Kind::Load { .. }
            | Kind::Store { .. }
            | Kind::Setp { .. }
            | Kind::Set { .. }
            | Kind::SetHalf { .. }
            | Kind::Move { .. } => {}
        }
        Ok(())
    }
}

fn memory<'a, 'g>(s: &'a mut Surroundings<'_, 'g>, first_thread: usize) -> Memory<'a, 'g> {
    Memory { kernel: s.kernel, global: s.global, private: s.private, first_thread }
}

/// Joins `a` into `d`.
fn put<T: Lane<Raw = u32>>(f: &mut Frame, i: &Code, join: impl Fn(u32, u32) -> u32) {
    let (old, part) = (*f.words(i.d), *f.words(i.a));
    let out = std::array::from_fn(|n| join(old[n], part[n]));
    store::<T>(f, i.d, &out);
}

/// Generic addresses of global and constant memory are the addresses themselves.
pub fn tag(area: Area) -> u64 {
    match area {
        Area::Shared => SHARED_TAG,
        Area::Local => LOCAL_TAG,
        Area::Param => PARAM_TAG,
        Area::Global | Area::Const | Area::Generic => 0,
    }
}

fn in_space(area: Area, address: u64) -> bool {
    let found = address >> 56 << 56;
    match area {
        Area::Shared | Area::Local | Area::Param => found == tag(area),
        Area::Global | Area::Const | Area::Generic => found == 0,
    }
}

/// Whether all lanes of a mask hold what `first` does. All are looked at, some at once, rather than one after the other until
/// one differs.
fn is_one<T: PartialEq>(all: &[T; LANES], mask: u32, first: usize) -> bool {
    let differs = |n: usize| mask & BIT[n] != 0 && all[n] != all[first];
    !(0..LANES).fold(false, |any, n| any | differs(n))
}
