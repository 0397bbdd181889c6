//! Machine code for several warps of a block at once.
//!
//! Owns: which warps run a region in one call, what has become of them, and *step*: as long as all warps of a block, from
//! its first instruction on, come to the same barrier, the end, or where they make way for each other, nothing is kept of
//! each one but what its registers hold. Warps have their turns in the same order as if they ran one by one, and each turn is as long.
//! Never: executes an instruction but those that end a turn.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{Block, Halt, TURN, lanes};
use crate::cpu::{
    code::{Barrier, Code, Fill, Kernel, Kind, NONE},
    jit::{Context, Native, Seat, Unit},
};

impl Block<'_, '_> {
    /// Runs machine code for warp `n` and for those after it that stand there too, one after the other. Gives the first
    /// one that had no turn, and what the one before it has left of its own.
    pub(super) fn together(&mut self, n: usize, native: &Native, context: &mut Context) -> (usize, u32) {
        let pc = self.warps[n].pc;
        self.seats.clear();
        self.all_seated = false;
        for warp in self.warps[n..].iter_mut().take_while(|warp| warp.is_together_at(pc)) {
            self.seats.push(context.seat(&mut warp.frame, warp.mask, warp.first_thread));
        }
        if self.seats.is_empty() {
            return (n + 1, TURN);
        }
        let ran = self.call(native, context);
        self.took(n, ran, native)
    }

    /// Runs a region for the warps in the seats. Gives how many had a turn.
    fn call(&mut self, native: &Native, context: &mut Context) -> usize {
        context.turn(TURN, self.makes_way, u32::MAX);
        // SAFETY: the context was made for this block and kernel, which has all its parameters, and the seats for the
        // frames of its warps, which stay where they are; all of them are borrowed mutably, and the unit is, so it lives.
        unsafe { native.call(context, &mut self.seats) }
    }

    /// Takes over what became of the first warps in the seats, which are those from `n` on.
    fn took(&mut self, n: usize, ran: usize, native: &Native) -> (usize, u32) {
        let mut left = TURN;
        for at in 0..ran {
            let warp = &mut self.warps[n + at];
            let executed = warp.came_to(&self.seats[at], &native.region);
            left = TURN - executed;
            self.executed += u64::from(executed);
            let seat = &self.seats[at];
            if seat.made_way() {
                left = 0;
            } else if left > 0 && executed > 0 && seat.ended() {
                warp.end_turn(&self.kernel.codes[warp.pc as usize]);
                self.executed += 1;
                left = 0;
                self.stopped(n + at);
            }
        }
        (n + ran, left)
    }

    /// Runs the block as long as its warps keep step. Gives the first warp that has not had the turn in which they came
    /// apart; `None` if they never did and the block has ended.
    pub(super) fn in_step(
        &mut self,
        unit: &Unit,
        context: &mut Context,
        on: &mut impl FnMut(u64) -> bool,
    ) -> Result<Option<usize>, Halt> {
        self.seat_all(context);
        let mut pc = 0;
        loop {
            let Some(native) = unit.at(pc) else {
                self.set_up(pc);
                return Ok(Some(0));
            };
            let ran = self.call(native, context);
            let Some((next, executed)) = self.kept_step(ran) else {
                self.set_up(pc);
                let (next, left) = self.took(0, ran, native);
                let turned = self.rest(next, left, Some(unit), context);
                return self.after(turned, on).map(Some);
            };
            self.executed += executed;
            self.after(Ok(()), on)?;
            match next {
                Some(next) => pc = next,
                None => return Ok(None),
            }
        }
    }

    /// Seats all warps with all their lanes, unless they have kept their seats from the block before.
    fn seat_all(&mut self, context: &Context) {
        if std::mem::replace(&mut self.all_seated, true) {
            return;
        }
        let threads = self.extents.threads();
        self.seats.clear();
        for warp in &mut self.warps {
            let mask = lanes(threads, warp.first_thread);
            self.seats.push(context.seat(&mut warp.frame, mask, warp.first_thread));
        }
    }

    /// Where all warps go on after their turns, if all had one and it ended at the same place, and what they have executed.
    /// They go on nowhere if that was an exit.
    fn kept_step(&self, ran: usize) -> Option<(Option<u32>, u64)> {
        let first = &self.seats[0];
        let is_over = |seat: &Seat| seat.made_way() && first.made_way() || seat.ended() && first.ended();
        let alike = |seat: &Seat| seat.pc == first.pc && (1..TURN).contains(&seat.executed);
        if ran < self.seats.len() || !self.seats.iter().all(|seat| is_over(seat) && alike(seat)) {
            return None;
        }
        let executed = self.seats.iter().map(|seat| u64::from(seat.executed)).sum::<u64>();
        if first.made_way() {
            return Some((Some(first.pc), executed));
        }
        let i = self.kernel.codes.get(first.pc as usize)?;
        let next = (!matches!(i.kind, Kind::Exit)).then_some(first.pc + 1);
        is_for_all(self.kernel, i).then(|| (next, executed + self.seats.len() as u64))
    }
}

/// Whether all warps may go on once their turns have ended with an instruction.
fn is_for_all(kernel: &Kernel, i: &Code) -> bool {
    let constant = |slot: u32| {
        let at = kernel.fills.binary_search_by_key(&slot, |(slot, _)| *slot);
        at.is_ok_and(|at| matches!(kernel.fills[at].1, Fill::Word(_)))
    };
    match i.kind {
        Kind::Exit => true,
        Kind::Barrier { what: Barrier::Sync, .. } => i.b == NONE && (i.a == NONE || constant(i.a)),
        _ => false,
    }
}
