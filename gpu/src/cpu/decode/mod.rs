//! Checked PTX to [`Code`]: once for each kernel and program.
//!
//! Owns: where registers, constants and variables go (this file) and what each instruction becomes (`instruction.rs`, `transfer.rs`).
//! A call becomes the callee's instructions at the place of the call: the parser has refused recursion, and what all
//! calls together may grow to is bounded.
//! Never: executes.
//! Limits: [`EXPANDED_MAX`], [`CALL_DEPTH_MAX`].
//! Tests: through the engine, `gpu/tests/cpu_*.rs`.

mod further;
mod instruction;
mod moves;
mod object;
mod stack;
mod strides;
mod tensor;
mod transfer;
mod video;

use super::code::{Code, Fill, Kernel, Kind, NONE, Part};
use crate::ptx::{
    self, Function, Module,
    ir::{Base, Class, Operand, Pointed, Space, Symbol, Variable},
    limits::aligned,
    words::{Mod, Special},
};
use ion_protocol::fault::Fault;
use std::{collections::HashMap, rc::Rc};

/// Instructions of a kernel with all calls written out, counted both as they are read and as they are made: a call of
/// an empty function makes none.
pub const EXPANDED_MAX: usize = 1 << 20;
/// Functions that may be open at once.
pub const CALL_DEPTH_MAX: usize = 32;

/// Where a module's variables begin.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub global: u64,
    pub constant: u64,
}

/// Why a kernel cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub line: u32,
    pub message: String,
}

impl Refused {
    pub fn fault(self, module: &str) -> Fault {
        Fault::Ptx { module: module.to_string(), line: self.line, column: 1, message: self.message }.bounded()
    }
}

/// Offsets of a module's variables of one space, laid out in order, and their total size.
pub fn layout(module: &Module, space: Space) -> (Vec<Option<u64>>, u64) {
    let mut end = 0;
    let place = |v: &Variable| {
        (v.space == space).then(|| {
            let start = aligned(end, v.align);
            end = start + v.bytes();
            start
        })
    };
    let offsets = module.variables.iter().map(place).collect();
    (offsets, end)
}

/// The addresses among the first values of a module's variables of one space: where in it, and their bytes.
pub fn pointers(module: &Module, space: Space, addresses: Addresses) -> Vec<(u64, [u8; 8])> {
    let [globals, constants] = [Space::Global, Space::Const].map(|space| layout(module, space).0);
    let offset = |n: usize| globals[n].or(constants[n]).unwrap_or(0);
    let of_space = module.variables.iter().enumerate().filter(|(_, v)| v.space == space);
    of_space
        .flat_map(|(n, variable)| variable.pointers.iter().map(move |pointer| (n, pointer)))
        .map(|(n, pointer)| {
            let address = match pointer.to {
                Pointed::Function(f) => function_address(f),
                Pointed::Variable(to) => {
                    let to = to as usize;
                    let base = if globals[to].is_some() { addresses.global } else { addresses.constant };
                    base.wrapping_add(offset(to)).wrapping_add(pointer.offset as u64)
                }
            };
            (offset(n) + pointer.at, address.to_le_bytes())
        })
        .collect()
}

/// Addresses of functions are far from all memory, so that nothing can be read or written there.
const FUNCTIONS: u64 = 0x7f << 56;
/// Bytes from one function's address to the next.
const FUNCTION_STEP: u64 = 16;

/// The address that calls know a function of the module by.
fn function_address(n: u32) -> u64 {
    FUNCTIONS + FUNCTION_STEP * (u64::from(n) + 1)
}

/// Where one function keeps its things. Lanes that are in different calls of it at once are different threads, and
/// each thread has its own registers and memory, so one place for all calls is enough.
#[derive(Debug, Clone)]
struct Unit {
    /// Slot, or number of the predicate.
    registers: Vec<u32>,
    /// Offset of each variable in its space.
    variables: Vec<u64>,
    /// Where parameters and results are in local memory; kernels have theirs in parameter memory.
    params: u64,
    returns: u64,
}

struct Decoder<'a> {
    module: &'a Module,
    addresses: Addresses,
    globals: Vec<Option<u64>>,
    constants: Vec<Option<u64>>,
    shared: Vec<Option<u64>>,
    units: HashMap<usize, Rc<Unit>>,
    fills: HashMap<Fill, u32>,
    kernel: Kernel,
    /// Slots for values that live within one instruction.
    scratch: u32,
    depth: usize,
    /// Instructions read so far, those of called functions once for each call.
    read: usize,
    /// The slot that tells where in local memory the next `alloca` ends, if the kernel has one.
    stack: Option<u32>,
    /// The predicate that is the carry flag, if any instruction has to do with it.
    carry: Option<u32>,
    /// The guard and line of the instruction that is being decoded.
    guard: u32,
    negated: bool,
    line: u32,
    /// Branches of the function that is being decoded, to be aimed when all places are known: code and label, or code
    /// and the function's end.
    aims: Vec<(usize, Option<u32>)>,
}

/// Makes a kernel of `module` ready.
pub fn decode(module: &Module, function: &Function, addresses: Addresses) -> Result<Kernel, Refused> {
    let functions = ptx::reachable(module, function);
    let kernel = Kernel {
        name: function.name.clone(),
        codes: Vec::new(),
        parts: Vec::new(),
        registers: 0,
        slots: 0,
        renamed: 0,
        preds: 0,
        fills: Vec::new(),
        param_bytes: function.param_bytes(),
        shared_bytes: 0,
        local_bytes: 0,
        dynamic_start: 0,
    };
    let mut decoder = Decoder {
        module,
        addresses,
        globals: layout(module, Space::Global).0,
        constants: layout(module, Space::Const).0,
        shared: Vec::new(),
        units: HashMap::new(),
        fills: HashMap::new(),
        kernel,
        scratch: 0,
        depth: 0,
        read: 0,
        stack: None,
        carry: None,
        guard: NONE,
        negated: false,
        line: function.line.0,
        aims: Vec::new(),
    };
    decoder.place(&functions);
    decoder.begin_stack(&functions);
    let root = module.functions.iter().position(|f| std::ptr::eq(f, function)).unwrap_or(0);
    decoder.body(root)?;
    let fills = std::mem::take(&mut decoder.fills);
    let mut kernel = decoder.kernel;
    kernel.fills = fills.into_iter().map(|(fill, slot)| (slot, fill)).collect();
    kernel.fills.sort_unstable_by_key(|(slot, _)| *slot);
    strides::mark(&mut kernel);
    Ok(kernel)
}

/// Slots of a register. One of 128 bits is two of 64, the lower first.
fn width(class: Class) -> u32 {
    class.bits().div_ceil(32)
}

/// Bits that a register is held in; a byte is in half a word, whose upper half is zero.
fn held_bits(class: Class) -> u8 {
    class.bits().max(16) as u8
}

impl<'a> Decoder<'a> {
    /// Gives every register and variable of the kernel and its callees a place.
    fn place(&mut self, functions: &[&'a Function]) {
        let (mut shared, mut local) = (0, 0);
        for function in functions {
            let mut registers = Vec::with_capacity(function.registers.len());
            for class in &function.registers {
                if *class == Class::Pred {
                    registers.push(self.kernel.preds);
                    self.kernel.preds += 1;
                } else {
                    registers.push(self.kernel.slots);
                    self.kernel.slots += width(*class);
                }
            }
            (shared, local) = (aligned(shared, 16), aligned(local, 16));
            let mut variables = Vec::with_capacity(function.variables.len());
            for v in &function.variables {
                let end = if v.space == Space::Shared { &mut shared } else { &mut local };
                let start = aligned(*end, v.align);
                *end = start + v.bytes();
                variables.push(start);
            }
            let params = aligned(local, 16);
            let returns = aligned(params + u64::from(function.param_bytes()), 16);
            if !function.kernel {
                local = returns + function.returns.last().map_or(0, |p| u64::from(p.offset + p.bytes()));
            }
            let index = self.module.functions.iter().position(|f| std::ptr::eq(f, *function)).unwrap_or(0);
            self.units.insert(index, Rc::new(Unit { registers, variables, params, returns }));
        }
        let used = ptx::used_variables(self.module, functions);
        for (v, used) in self.module.variables.iter().zip(used) {
            let placed = used && v.space == Space::Shared && !v.is_dynamic();
            self.shared.push(placed.then(|| {
                let start = aligned(shared, v.align);
                shared = start + v.bytes();
                start
            }));
        }
        self.kernel.dynamic_start = aligned(shared, ptx::limits::ALIGN_MAX as u32);
        let dynamic = self.module.variables.iter().any(Variable::is_dynamic);
        self.kernel.shared_bytes = if dynamic { self.kernel.dynamic_start } else { shared };
        self.kernel.local_bytes = local;
        self.kernel.registers = self.kernel.slots;
        self.scratch = self.kernel.slots;
        self.kernel.slots += 2;
    }

    fn refuse<T>(&self, message: &str) -> Result<T, Refused> {
        Err(Refused { line: self.line, message: message.to_string() })
    }

    fn push(&mut self, kind: Kind) -> &mut Code {
        let mut code = Code::new(kind, self.line);
        (code.guard, code.negated) = (self.guard, self.negated);
        self.kernel.codes.push(code);
        let last = self.kernel.codes.len() - 1;
        &mut self.kernel.codes[last]
    }

    /// The instructions of a function, up to where it returns to.
    fn body(&mut self, index: usize) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > CALL_DEPTH_MAX {
            return self.refuse("calls are nested more than 32 deep; flatten them");
        }
        let module = self.module;
        let function = &module.functions[index];
        let unit = Rc::clone(&self.units[&index]);
        let mut starts = Vec::with_capacity(function.instructions.len() + 1);
        let outer = std::mem::take(&mut self.aims);
        for i in &function.instructions {
            starts.push(self.kernel.codes.len() as u32);
            self.line = i.line.0;
            (self.guard, self.negated) = match i.guard {
                Some(g) => (unit.registers[g.register as usize], g.negated),
                None => (NONE, false),
            };
            let mut site = instruction::Site { decoder: self, index, function, unit: &unit, instruction: i };
            site.decode()?;
            self.read += 1;
            if self.kernel.codes.len().max(self.read) > EXPANDED_MAX {
                return self.refuse("a kernel with its calls written out exceeds 1048576 instructions");
            }
        }
        (self.guard, self.negated) = (NONE, false);
        starts.push(self.kernel.codes.len() as u32);
        if function.kernel {
            // Falling off the end is the same as returning.
            self.push(Kind::Exit);
        }
        for (code, label) in std::mem::replace(&mut self.aims, outer) {
            let place = match label {
                Some(label) => function.labels[label as usize] as usize,
                None => function.instructions.len(),
            };
            self.kernel.codes[code].kind = Kind::Branch(starts[place]);
        }
        self.depth -= 1;
        Ok(())
    }

    /// A slot that holds the same in every thread from the start.
    fn fill(&mut self, fill: Fill) -> u32 {
        if let Some(slot) = self.fills.get(&fill) {
            return *slot;
        }
        let slot = self.kernel.slots;
        self.kernel.slots += if matches!(fill, Fill::Wide(_)) { 2 } else { 1 };
        self.fills.insert(fill, slot);
        slot
    }

    /// Slots for values that live between the codes of one instruction.
    fn fresh(&mut self, slots: u32) -> u32 {
        let first = self.kernel.slots;
        self.kernel.slots += slots;
        first
    }

    fn constant(&mut self, bits: u64, wide: bool) -> u32 {
        self.fill(if wide { Fill::Wide(bits) } else { Fill::Word(bits as u32) })
    }

    fn special(&mut self, special: Special, part: u8) -> u32 {
        match special {
            // A clock moves on, so it is read by an instruction: one tick for each instruction of the block.
            Special::Clock | Special::Clock64 | Special::Globaltimer | Special::GlobaltimerLo => {
                let slot = self.scratch;
                self.push(Kind::Clock { wide: special.bits() == 64 }).d = slot;
                slot
            }
            Special::ClockHi | Special::GlobaltimerHi => {
                let (slot, high) = (self.scratch, self.fresh(1));
                self.push(Kind::Clock { wide: true }).d = slot;
                let code = self.push(Kind::TakeWord);
                (code.d, code.a, code.e, code.imm) = (high, slot, 2, u32::MAX.into());
                high
            }
            _ if part >= 3 => self.constant(0, false),
            // Each block is a cluster of its own.
            Special::Clusterid => self.fill(Fill::Special(Special::Ctaid, part)),
            Special::Nclusterid => self.fill(Fill::Special(Special::Nctaid, part)),
            Special::ClusterNctaid | Special::ClusterNctarank => self.constant(1, false),
            Special::AggrSmemSize => self.fill(Fill::Special(Special::TotalSmemSize, part)),
            // What a driver would fill in is zero.
            Special::Gridid | Special::GraphExec => self.constant(0, true),
            Special::ClusterCtaid
            | Special::ClusterCtarank
            | Special::ExplicitCluster
            | Special::Envreg
            | Special::ReservedSmemBegin
            | Special::ReservedSmemEnd
            | Special::ReservedSmemCap
            | Special::ReservedSmem0
            | Special::ReservedSmem1 => self.constant(0, false),
            _ => self.fill(Fill::Special(special, part)),
        }
    }

    fn carry(&mut self) -> u32 {
        match self.carry {
            Some(flag) => flag,
            None => {
                let flag = self.fresh_predicate();
                self.carry = Some(flag);
                flag
            }
        }
    }

    /// A predicate that holds what `code` says when it is executed.
    fn fresh_predicate(&mut self) -> u32 {
        self.kernel.preds += 1;
        self.kernel.preds - 1
    }

    /// A variable's address in its own space.
    fn symbol(&self, function: &Function, unit: &Unit, symbol: Symbol) -> u64 {
        match symbol {
            Symbol::Module(n) => {
                let n = n as usize;
                let v = &self.module.variables[n];
                match v.space {
                    Space::Global => self.addresses.global + self.globals[n].unwrap_or(0),
                    Space::Const => self.addresses.constant + self.constants[n].unwrap_or(0),
                    _ if v.is_dynamic() => self.kernel.dynamic_start,
                    _ => self.shared[n].unwrap_or(0),
                }
            }
            Symbol::Local(n) => unit.variables[n as usize],
            Symbol::Param(n) => {
                let offset = u64::from(function.params[n as usize].offset);
                if function.kernel { offset } else { unit.params + offset }
            }
            Symbol::Return(n) => unit.returns + u64::from(function.returns[n as usize].offset),
        }
    }
}

/// An immediate as the bits of a value of type `ty`.
fn immediate(operand: &Operand, ty: Mod) -> u64 {
    let double = ty == Mod::F64;
    match *operand {
        Operand::Int(v) if ty.bits() == 16 => v as u64 & 0xffff,
        Operand::Int(v) => v as u64,
        Operand::F32(v) if double => f64::from(f32::from_bits(v)).to_bits(),
        Operand::F32(v) => v.into(),
        Operand::F64(v) if ty.bits() == 64 => v,
        Operand::F64(v) => u64::from((f64::from_bits(v) as f32).to_bits()),
        _ => 0,
    }
}
