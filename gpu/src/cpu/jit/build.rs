//! The function of a region: the loop over passes around its instructions.
//!
//! Owns: what happens before, between and after them.
//!
//! ```text
//! for each warp:
//!     for each pass with active lanes: load live registers, run, write back what is live at the exit
//!     then once: what had to wait (shadow, uniform registers, predicates), stores
//! ```
//!
//! All passes must leave by the same exit after the same number of instructions, or the region begins again
//! (`build/again`), or bails. Results that overwrite what the region began with wait in the shadow as long as it may bail. A
//! wide region has one pass, so nothing waits in it: it writes back where it ends and where it settles. After a warp that has
//! come to the end of its turn the next one follows; one that has not goes on elsewhere before any other may run.
//! Never: translates an instruction; that is `emit/`.
//! Tests: `gpu/tests/cpu_engines.rs`.

mod again;
mod ahead;
mod back;
mod detour;
mod exits;
mod finish;
mod results;
mod settle;
mod turns;

use self::{again::Again, ahead::Noted, back::WayBack};
use super::{
    class::Classes,
    context::Field,
    effects::{Effects, Reg},
    emit::{Emitter, NARROW, Ops, Val, WIDE, may_be_large, may_wrap, own, scalar},
    flow::Flow,
    region::{BAILED, Exit, Plan, Region, diverges, ends_apart, is_varying},
};
use crate::cpu::{
    code::{Code, Kernel, Kind, NONE},
    lanes::LANES,
};
use cranelift_codegen::{
    ir::{
        Block, FuncRef, InstBuilder, Type, Value,
        condcodes::IntCC,
        types::{I8, I32, I64},
    },
    isa::TargetFrontendConfig,
};
use cranelift_frontend::{FunctionBuilder, Variable};
use std::collections::{BTreeSet, HashMap};

/// Variables that a whole region shares.
struct Shared {
    pass: Variable,
    /// Instructions executed in this pass.
    count: Variable,
    /// Exit and count of the first pass; no exit at first.
    exit: Variable,
    executed: Variable,
    /// Where undoing leads back to, and what was executed until there: of wide regions only.
    settled: [Variable; 2],
}

struct Builder<'a, 'f> {
    e: Emitter<'a, 'f>,
    plan: &'a Plan,
    shared: Shared,
    /// Cranelift's block for each of ours, for the way to each exit, and for what comes after all passes.
    bodies: HashMap<usize, Block>,
    exits: Vec<(Exit, Block, Block)>,
    /// Where other lanes of the warp may wait: behind loops that lanes leave one before the other.
    joins: BTreeSet<u32>,
    again: Option<Again>,
    /// Ways back on which the turn may be over, and ways on to a block before or at which other lanes may wait.
    checks: Vec<WayBack>,
    gates: Vec<(Block, usize)>,
    /// What instructions of loops began with, where rounds may be looked at ahead.
    noted: HashMap<u32, Noted>,
    /// Registers that the region writes, and those of all it touches that it finds live.
    written: BTreeSet<Reg>,
    found: BTreeSet<Reg>,
    /// Uniform registers as they are at the start.
    entered: HashMap<Reg, Value>,
    /// Uniform registers and predicates as the last pass left them.
    left: HashMap<Reg, Variable>,
    /// Where results wait in the shadow.
    shadows: HashMap<Reg, u32>,
    /// Slots of it that the region needs.
    shadow: u32,
    loads: bool,
    next: Block,
    /// Where the seat after it gets its own.
    follow: Block,
}

/// What a region has of its unit.
pub struct OfUnit<'a> {
    pub config: TargetFrontendConfig,
    /// See `context::reach`.
    pub reach: FuncRef,
    /// Accesses so far that remember where they found their bytes.
    pub sites: &'a mut u32,
}

/// Translates a region; `None` if an instruction has no translation after all.
pub fn build(
    b: FunctionBuilder<'_>,
    unit: OfUnit<'_>,
    kernel: &Kernel,
    flow: &Flow,
    classes: &Classes,
    plan: &Plan,
) -> Option<Region> {
    let mut ops = Ops { b, units: if plan.wide { WIDE } else { NARROW } };
    let entry = ops.b.create_block();
    ops.b.append_block_params_for_function_params(entry);
    ops.b.switch_to_block(entry);
    let context = ops.b.block_params(entry)[0];
    let (turn, bail, next, follow) =
        (ops.b.create_block(), ops.b.create_block(), ops.b.create_block(), ops.b.create_block());
    let seat = ops.b.append_block_param(turn, I64);
    let shared = Shared {
        pass: ops.b.declare_var(I32),
        count: ops.b.declare_var(I32),
        exit: ops.b.declare_var(I32),
        executed: ops.b.declare_var(I32),
        settled: [ops.b.declare_var(I32), ops.b.declare_var(I32)],
    };
    let e = Emitter {
        ops,
        kernel,
        flow,
        classes,
        context,
        seat,
        vars: HashMap::new(),
        ends: HashMap::new(),
        bases: HashMap::new(),
        pass: None,
        bail,
        reach: unit.reach,
        scratch: None,
        skip: None,
        unwrapped: false,
        sites: unit.sites,
    };
    let live = flow.live_at(plan.entry, flow.blocks[plan.entry].start);
    let codes = || plan.codes(flow).map(|n| n as usize);
    let bails = |i: &Code| match i.kind {
        Kind::Load { .. } | Kind::Exit => true,
        _ => may_be_large(i) || may_wrap(i) && classes.stride(i.d).is_some(),
    };
    let follows = codes().any(|n| is_followed(kernel, classes, n as u32));
    let loads = !plan.wide && (follows || codes().any(|n| bails(&kernel.codes[n])));
    let regs = |pick: fn(&Effects) -> &Vec<(Reg, u8)>| -> BTreeSet<Reg> {
        codes().flat_map(|n| pick(&flow.effects[n])).map(|(reg, _)| *reg).collect()
    };
    let written = regs(|e| &e.writes);
    // What is carried from pass to pass or kept through a branch is as good as read.
    let found = regs(|e| &e.reads).union(&written).copied().filter(|reg| live.has(*reg)).collect();
    let mut builder = Builder {
        e,
        plan,
        shared,
        bodies: HashMap::new(),
        exits: Vec::new(),
        joins: joins(kernel, flow, classes, plan),
        again: None,
        checks: Vec::new(),
        gates: Vec::new(),
        noted: HashMap::new(),
        written,
        found,
        entered: HashMap::new(),
        left: HashMap::new(),
        shadows: HashMap::new(),
        shadow: 0,
        loads,
        next,
        follow,
    };
    let region = builder.region(turn);
    let mut b = builder.e.ops.b;
    b.seal_all_blocks();
    b.finalize(unit.config);
    region
}

/// Whether what an instruction does lasts beyond the warp's registers.
fn acts(i: &Code) -> bool {
    matches!(i.kind, Kind::Store { .. } | Kind::Atomic { .. })
}

/// Whether passes follow a branch or an exit on which lanes may differ, since they nearly always agree.
fn is_followed(kernel: &Kernel, classes: &Classes, n: u32) -> bool {
    is_varying(kernel, classes, n) && !diverges(kernel, classes, n)
}

/// Where lanes wait that have left a loop of the region before others: behind the branches that close such loops.
fn joins(kernel: &Kernel, flow: &Flow, classes: &Classes, plan: &Plan) -> BTreeSet<u32> {
    let ends = plan.blocks.iter().map(|b| &flow.blocks[*b]);
    ends.filter(|block| {
        let Kind::Branch(target) = kernel.codes[block.end as usize - 1].kind else { return false };
        is_followed(kernel, classes, block.end - 1)
            && target <= block.start
            && flow.at(target).is_some_and(|to| plan.has(to))
    })
    .map(|block| block.end)
    .collect()
}

impl Builder<'_, '_> {
    fn varying(&self, reg: Reg) -> bool {
        self.e.classes.varying(reg)
    }

    fn is_pred(&self, reg: Reg) -> bool {
        reg >= self.e.kernel.slots
    }

    fn wide(&self, reg: Reg) -> bool {
        self.e.flow.widths[reg as usize] == 2
    }

    fn region(&mut self, turn: Block) -> Option<Region> {
        let seats = self.e.field(Field::Seats);
        self.e.ops.b.ins().jump(turn, &[seats.into()]);
        self.e.ops.b.switch_to_block(turn);
        self.enter();
        self.begin();
        self.clear_left();
        let head = self.e.ops.b.create_block();
        let (zero, none) = (self.e.ops.b.ins().iconst(I32, 0), self.e.ops.b.ins().iconst(I32, -1));
        self.e.ops.b.def_var(self.shared.pass, zero);
        self.e.ops.b.def_var(self.shared.exit, none);
        self.e.ops.b.def_var(self.shared.executed, zero);
        let undone = self.e.ops.b.ins().iconst(I32, i64::from(BAILED as i32));
        self.settle_at(undone, zero);
        self.e.ops.b.ins().jump(head, &[]);
        self.pass(head);
        for b in self.plan.blocks.clone() {
            self.block(b)?;
        }
        for way in std::mem::take(&mut self.checks) {
            self.check_turn(&way);
        }
        for (gate, to) in std::mem::take(&mut self.gates) {
            self.check_join(gate, to);
        }
        for n in 0..self.exits.len() {
            self.leave(n);
        }
        self.advance(head);
        for n in 0..self.exits.len() {
            self.finish(n)?;
        }
        self.e.ops.b.switch_to_block(self.e.bail);
        self.bailed();
        self.turns(turn);
        let even = self.found.iter().filter(|reg| !self.e.classes.fixed(**reg));
        let even_slots =
            even.filter_map(|reg| Some((*reg, self.wide(*reg), self.e.classes.stride(*reg)?))).collect();
        let uniform: Vec<Reg> = self.entered.keys().copied().collect();
        let (preds, slots): (Vec<Reg>, Vec<Reg>) = uniform.into_iter().partition(|reg| self.is_pred(*reg));
        Some(Region {
            total: self.plan.total,
            last: self.plan.last,
            pass: self.e.ops.lanes(),
            uniform_slots: slots.into_iter().map(|reg| (reg, self.wide(reg))).collect(),
            uniform_preds: preds.into_iter().map(|reg| reg - self.e.kernel.slots).collect(),
            even_slots,
            shadow: self.shadow,
            exits: self.exits.iter().flat_map(|(exit, ..)| self.resumes(exit)).collect(),
        })
    }

    /// Where other regions may begin after an exit.
    fn resumes(&self, exit: &Exit) -> Vec<u32> {
        let block = &self.e.flow.blocks[exit.block];
        if !exit.stores && exit.pc == block.start { vec![exit.pc] } else { block.next.clone() }
    }

    /// Before all passes: uniform registers, and room for results.
    fn enter(&mut self) {
        let mask = self.e.field(Field::Mask);
        let lane = self.e.ops.b.ins().ctz(mask);
        for reg in self.found.clone() {
            if !self.varying(reg) && !self.e.classes.fixed(reg) {
                let value = self.uniform(reg, lane);
                self.entered.insert(reg, value);
            }
        }
        for reg in self.written.clone() {
            if self.is_pred(reg) || !self.varying(reg) {
                let var = self.e.ops.b.declare_var(self.left_type(reg));
                self.left.insert(reg, var);
            } else if self.loads && self.found.contains(&reg) {
                self.shadows.insert(reg, self.shadow);
                self.shadow += 1 + u32::from(self.wide(reg));
            }
        }
    }

    fn left_type(&self, reg: Reg) -> Type {
        match (self.varying(reg), self.is_pred(reg)) {
            (true, _) => I32,
            (false, true) => I8,
            (false, false) => scalar(self.wide(reg)),
        }
    }

    /// No pass has left anything yet.
    fn clear_left(&mut self) {
        for (reg, var) in self.left.clone() {
            let ty = self.left_type(reg);
            let zero = self.e.ops.b.ins().iconst(ty, 0);
            self.e.ops.b.def_var(var, zero);
        }
    }

    /// A uniform register, read from the first active lane.
    fn uniform(&mut self, reg: Reg, lane: Value) -> Value {
        let slots = self.e.kernel.slots;
        if reg >= slots {
            let preds = self.e.field(Field::Preds);
            let bits = self.e.ops.b.ins().load(I32, own(), preds, (reg - slots) as i32 * 4);
            let bits = self.e.ops.b.ins().ushr(bits, lane);
            let bit = self.e.ops.b.ins().band_imm_u(bits, 1);
            return self.e.ops.b.ins().ireduce(I8, bit);
        }
        let wide = self.wide(reg);
        let frame = self.e.field(Field::Slots);
        let lane = self.e.ops.b.ins().uextend(I64, lane);
        let skip = self.e.ops.b.ins().imul_imm_u(lane, if wide { 8 } else { 4 });
        let at = self.e.ops.b.ins().iadd(frame, skip);
        self.e.ops.b.ins().load(scalar(wide), own(), at, reg as i32 * 128)
    }

    /// The head of the loop over passes, and the start of one.
    fn pass(&mut self, head: Block) {
        let work = self.e.ops.b.create_block();
        self.e.ops.b.switch_to_block(head);
        let number = if self.plan.wide {
            self.e.ops.b.ins().iconst(I32, 0)
        } else {
            self.e.ops.b.use_var(self.shared.pass)
        };
        self.e.begin_pass(number);
        if self.plan.wide {
            self.e.ops.b.ins().jump(work, &[]);
        } else {
            let bits = self.e.pass().bits;
            self.e.ops.b.ins().brif(bits, work, &[], self.next, &[]);
        }
        self.e.ops.b.switch_to_block(work);
        for reg in self.found.clone() {
            if let Some(value) = self.entered.get(&reg) {
                let value = Val::One(*value);
                self.e.put(reg, &value);
            } else if self.is_pred(reg) {
                let preds = self.e.field(Field::Preds);
                let at = (reg - self.e.kernel.slots) as i32 * 4;
                let bits = self.e.ops.b.ins().load(I32, own(), preds, at);
                let lanes = self.e.ops.lanes() as i64;
                let lanes = self.e.ops.b.ins().imul_imm_u(number, lanes);
                let bits = self.e.ops.b.ins().ushr(bits, lanes);
                let masks = Val::Many(self.e.lane_masks(bits));
                self.e.put(reg, &masks);
            } else if !self.e.classes.fixed(reg) {
                let wide = self.wide(reg);
                if let Some(stride) = self.e.classes.stride(reg) {
                    let base = self.e.frame_base(reg, wide, stride);
                    let var = self.e.base_variable(reg);
                    self.e.ops.b.def_var(var, base);
                } else {
                    let value = Val::Many(self.e.frame(reg, wide));
                    self.e.put(reg, &value);
                }
            }
        }
        let zero = self.e.ops.b.ins().iconst(I32, 0);
        self.e.ops.b.def_var(self.shared.count, zero);
        self.begin_counts();
        let body = self.body(self.plan.entry);
        self.e.ops.b.ins().jump(body, &[]);
    }

    fn body(&mut self, b: usize) -> Block {
        let ops = &mut self.e.ops;
        *self.bodies.entry(b).or_insert_with(|| ops.b.create_block())
    }

    fn exit(&mut self, exit: Exit) -> Block {
        if let Some((_, stub, _)) = self.exits.iter().find(|(other, ..)| *other == exit) {
            return *stub;
        }
        let (stub, after) = (self.e.ops.b.create_block(), self.e.ops.b.create_block());
        self.exits.push((exit, stub, after));
        stub
    }

    fn block(&mut self, b: usize) -> Option<()> {
        let (flow, kernel) = (self.e.flow, self.e.kernel);
        let block = &flow.blocks[b];
        let body = self.body(b);
        self.e.ops.b.switch_to_block(body);
        self.e.ends.clear();
        let last = &kernel.codes[block.end as usize - 1];
        let diverges = ends_apart(kernel, flow, self.e.classes, self.plan.wide, b);
        let stores = if self.plan.wide { block.end } else { block.stores };
        let len = stores - block.start - u32::from(diverges);
        let count = self.e.ops.b.use_var(self.shared.count);
        let count = self.e.ops.b.ins().iadd_imm_u(count, i64::from(len));
        self.e.ops.b.def_var(self.shared.count, count);
        let is_way = matches!(last.kind, Kind::Branch(_) | Kind::Exit);
        let body_end = if is_way { block.end - 1 } else { stores };
        let (mut acted, repeats) = (false, self.repeats(b));
        for n in block.start..body_end {
            let i = &kernel.codes[n as usize];
            if acted && self.bails(i) {
                self.settle(b, n, len);
                acted = false;
            }
            if repeats {
                self.note(n, i);
            }
            self.e.instruction(i)?;
            acted |= acts(i);
        }
        if acted && (is_way || self.goes_on(b)) {
            self.settle(b, body_end, len);
        }
        if stores < block.end {
            let stub = self.exit(Exit { stores: true, ..Exit::to(block.stores, b) });
            self.e.ops.b.ins().jump(stub, &[]);
            return Some(());
        }
        if diverges {
            let stub = self.exit(Exit::to(block.end - 1, b));
            self.e.ops.b.ins().jump(stub, &[]);
            return Some(());
        }
        match last.kind {
            Kind::Branch(target) if last.guard != NONE => {
                self.count_branch(b);
                self.back_at_once(b, last, target);
                self.stop_at_branch(b);
                let taken = self.taken(b, last)?;
                let (to, on) = (self.edge(b, target, last.strides())?, self.edge(b, block.end, false)?);
                let (yes, no) = if last.negated { (on, to) } else { (to, on) };
                self.e.ops.b.ins().brif(taken, yes, &[], no, &[]);
            }
            Kind::Branch(target) => {
                let to = self.edge(b, target, last.strides())?;
                self.e.ops.b.ins().jump(to, &[]);
            }
            Kind::Exit => {
                self.pass_exit(b, last);
                let on = self.edge(b, block.end, false)?;
                self.e.ops.b.ins().jump(on, &[]);
            }
            _ => {
                let on = self.edge(b, block.end, false)?;
                self.e.ops.b.ins().jump(on, &[]);
            }
        }
        Some(())
    }

    /// Whether a branch's guard holds: the same for all active lanes, once those are parted on which they do not agree.
    fn taken(&mut self, b: usize, branch: &Code) -> Option<Value> {
        let guard = branch.guard;
        let masks = match self.e.read_pred(guard) {
            Val::One(taken) => return Some(taken),
            Val::Many(masks) => masks,
        };
        let on = self.e.ops.b.create_block();
        let taken = self.e.ops.b.append_block_param(on, I8);
        if let Some(ends) = self.e.ends.get(&(self.e.kernel.slots + guard)).copied() {
            // Lanes that are not active may be those that make it look mixed.
            let mixed = self.e.ops.b.ins().bxor(ends.first, ends.last);
            let mixed = self.e.ops.b.ins().bor(mixed, ends.wraps);
            let look = self.e.ops.b.create_block();
            self.e.ops.b.ins().brif(mixed, look, &[], on, &[ends.first.into()]);
            self.e.ops.b.switch_to_block(look);
            self.e.ops.b.set_cold_block(look);
        }
        let held = self.e.ops.bits_of(masks);
        let active = self.e.pass().bits;
        let held = self.e.ops.b.ins().band(held, active);
        let all = self.e.ops.b.ins().icmp(IntCC::Equal, held, active);
        let none = self.e.ops.b.ins().icmp_imm_u(IntCC::Equal, held, 0);
        let agreed = self.e.ops.b.ins().bor(all, none);
        let apart = self.e.ops.b.create_block();
        self.e.ops.b.ins().brif(agreed, on, &[all.into()], apart, &[]);
        self.e.ops.b.switch_to_block(apart);
        self.e.ops.b.set_cold_block(apart);
        self.part(b, branch)?;
        self.e.ops.b.switch_to_block(on);
        Some(taken)
    }

    /// What is written here and live at an exit.
    fn due(&self, n: usize) -> Vec<Reg> {
        let (exit, ..) = self.exits[n];
        let live = self.e.flow.live_at(exit.block, exit.pc);
        self.written.iter().copied().filter(|reg| live.has(*reg)).collect()
    }

    /// The end of a pass at an exit: writes back, and sees that all passes agree.
    fn leave(&mut self, n: usize) {
        let (_, stub, after) = self.exits[n];
        self.e.ops.b.switch_to_block(stub);
        let number = self.e.ops.b.ins().iconst(I32, n as i64);
        let count = self.e.ops.b.use_var(self.shared.count);
        if self.loads && (self.exits.len() > 1 || self.plan.blocks.len() > 1) {
            let before = self.e.ops.b.use_var(self.shared.exit);
            let executed = self.e.ops.b.use_var(self.shared.executed);
            let first = self.e.ops.b.ins().icmp_imm_s(IntCC::Equal, before, -1);
            let same_exit = self.e.ops.b.ins().icmp(IntCC::Equal, before, number);
            let same_count = self.e.ops.b.ins().icmp(IntCC::Equal, executed, count);
            let same = self.e.ops.b.ins().band(same_exit, same_count);
            let good = self.e.ops.b.ins().bor(first, same);
            let bad = self.e.ops.b.ins().bxor_imm_u(good, 1);
            self.e.bail_if(bad);
            self.end_counts();
        }
        self.e.ops.b.def_var(self.shared.exit, number);
        self.e.ops.b.def_var(self.shared.executed, count);
        if self.plan.wide {
            let due = self.due(n);
            self.write_now(&due);
            self.e.ops.b.ins().jump(after, &[]);
        } else {
            self.write_back(n);
            self.e.ops.b.ins().jump(self.next, &[]);
        }
    }

    /// On to the next pass, or, after the last, to where the passes left.
    fn advance(&mut self, head: Block) {
        if self.plan.wide {
            return;
        }
        self.e.ops.b.switch_to_block(self.next);
        let done = self.e.ops.b.create_block();
        let number = self.e.ops.b.use_var(self.shared.pass);
        let after = self.e.ops.b.ins().iadd_imm_u(number, 1);
        self.e.ops.b.def_var(self.shared.pass, after);
        let passes = LANES / self.e.ops.lanes();
        let more = self.e.ops.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, after, passes as i64);
        self.e.ops.b.ins().brif(more, head, &[], done, &[]);
        self.e.ops.b.switch_to_block(done);
        for (n, (_, _, after)) in self.exits.clone().into_iter().enumerate() {
            if n + 1 == self.exits.len() {
                self.e.ops.b.ins().jump(after, &[]);
                break;
            }
            let exit = self.e.ops.b.use_var(self.shared.exit);
            let here = self.e.ops.b.ins().icmp_imm_u(IntCC::Equal, exit, n as i64);
            let on = self.e.ops.b.create_block();
            self.e.ops.b.ins().brif(here, after, &[], on, &[]);
            self.e.ops.b.switch_to_block(on);
        }
        if self.exits.is_empty() {
            // A loop without a way out still ends by its budget, so there is always an exit.
            self.e.ops.b.ins().jump(self.e.bail, &[]);
        }
    }
}
