//! How far a kernel's result can be checked by running some of its blocks again, and what it needs.
//!
//! Owns: [`Profile`] and [`Resources`], found by reading the kernel and the functions it calls.
//! Never: runs anything. The judgement is on the safe side: a kernel is called exact only if its instructions are,
//! and if blocks cannot have told each other anything while running.
//! Tests: `ptx/tests.rs`.

use super::{
    calls::Callee,
    ir::{Base, Class, Function, Instruction, Module, Operand, Space, Symbol},
    limits,
    words::{Mod, Op, Special},
};
use std::{collections::HashSet, fmt};

/// What may be expected of two runs of the same block. Ordered from best to worst.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Every device computes the same bits.
    Exact,
    /// The same bits: blocks meet only in integer atomics whose order does not matter.
    IntegerAtomics { line: u32 },
    /// Devices may differ in the last bits.
    Approximate { line: u32, instruction: &'static str },
    /// What a block computes may depend on other blocks, on order or on the clock.
    NotCheckable { line: u32, why: &'static str },
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Profile::Exact => write!(f, "exact"),
            Profile::IntegerAtomics { line } => {
                write!(f, "exact; blocks meet in integer atomics (line {line})")
            }
            Profile::Approximate { line, instruction } => {
                let why = match *instruction {
                    "mma" | "wmma" => "sums floating-point products as the device likes",
                    _ => "with `.approx` or `.full`",
                };
                write!(f, "approximate: `{instruction}` {why} (line {line})")
            }
            Profile::NotCheckable { line, why } => {
                write!(f, "not checkable block by block: {why} (line {line})")
            }
        }
    }
}

/// What a kernel takes of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// Instructions in the text, called functions included once.
    pub instructions: u64,
    /// Registers by class, as [`Class::ALL`] lists them; a driver's assembler needs fewer.
    pub registers: [u32; Class::ALL.len()],
    /// Static shared memory of a block.
    pub shared_bytes: u64,
    /// Whether it also uses the shared memory that a launch adds.
    pub dynamic_shared: bool,
    /// Local memory of a thread.
    pub local_bytes: u64,
    pub param_bytes: u32,
    pub profile: Option<Profile>,
}

/// The kernel and every function it may call, each once.
pub fn reachable<'a>(module: &'a Module, kernel: &'a Function) -> Vec<&'a Function> {
    let root = module.functions.iter().position(|f| std::ptr::eq(f, kernel));
    let mut seen = vec![false; module.functions.len()];
    let mut groups = vec![false; module.calls.groups()];
    let mut found: Vec<usize> = root.into_iter().collect();
    let mut next = 0;
    while let Some(n) = found.get(next).copied() {
        next += 1;
        let function = &module.functions[n];
        for callee in function.instructions.iter().filter_map(|i| module.calls.callee(n, function, i)) {
            let callees = match &callee {
                Callee::Function(f) => std::slice::from_ref(f),
                Callee::Group(g) if std::mem::replace(&mut groups[*g as usize], true) => &[],
                Callee::Group(g) => module.calls.members(*g),
            };
            found.extend(
                callees.iter().map(|f| *f as usize).filter(|f| !std::mem::replace(&mut seen[*f], true)),
            );
        }
    }
    found.into_iter().map(|n| &module.functions[n]).collect()
}

/// Variables of the module that some function of `functions` names.
pub fn used_variables(module: &Module, functions: &[&Function]) -> Vec<bool> {
    let mut used = vec![false; module.variables.len()];
    for operand in functions.iter().flat_map(|f| &f.operands) {
        if let Operand::Address(Base::Symbol(Symbol::Module(n)), _) | Operand::Symbol(Symbol::Module(n), _) =
            operand
            && let Some(place) = used.get_mut(*n as usize)
        {
            *place = true;
        }
    }
    used
}

/// Whether a function asks for memory while it runs, or says where what it is given begins.
pub fn takes_stack(function: &Function) -> bool {
    let stack = [Op::Alloca, Op::Stacksave, Op::Stackrestore];
    function.instructions.iter().any(|i| stack.contains(&i.op))
}

pub fn resources(module: &Module, kernel: &Function) -> Resources {
    let functions = reachable(module, kernel);
    let mut r = Resources { param_bytes: kernel.param_bytes(), ..Resources::default() };
    for function in &functions {
        r.instructions += function.instructions.len() as u64;
        for class in &function.registers {
            r.registers[*class as usize] += 1;
        }
        r.shared_bytes = limits::aligned(r.shared_bytes, 16) + limits::layout_bytes(function, Space::Shared);
        r.local_bytes = limits::aligned(r.local_bytes, 16) + limits::layout_bytes(function, Space::Local);
    }
    if functions.iter().any(|f| takes_stack(f)) {
        r.local_bytes = limits::aligned(r.local_bytes, 16) + limits::STACK_BYTES;
    }
    let used = used_variables(module, &functions);
    for (variable, _) in
        module.variables.iter().zip(used).filter(|(v, used)| *used && v.space == Space::Shared)
    {
        r.dynamic_shared |= variable.is_dynamic();
        r.shared_bytes = limits::aligned(r.shared_bytes, variable.align) + variable.bytes();
    }
    r.profile = Some(profile(module, kernel));
    r
}

pub fn profile(module: &Module, kernel: &Function) -> Profile {
    let functions = reachable(module, kernel);
    let each = functions.iter().flat_map(|f| f.instructions.iter().map(move |i| judge(f, i)));
    each.chain(functions.iter().filter_map(|f| shown_state(f))).max().unwrap_or(Profile::Exact)
}

/// Whether a kernel computes with f64, of which every device has NaNs of its own: those of narrower numbers are all one.
pub fn has_doubles(module: &Module, kernel: &Function) -> bool {
    let moves = [Op::Ld, Op::Ldu, Op::St, Op::Mov];
    let computes = |i: &Instruction| i.mods.has(Mod::F64) && !moves.contains(&i.op);
    reachable(module, kernel).iter().any(|f| f.instructions.iter().any(computes))
}

/// The state of a barrier object, which every device keeps in its own way, where more than a test of the object sees it.
fn shown_state(f: &Function) -> Option<Profile> {
    let is = |i: &Instruction, mods: &[Mod]| i.op == Op::Mbarrier && i.mods.one_of(mods).is_some();
    let states: HashSet<u32> = f
        .instructions
        .iter()
        .filter(|i| is(i, &[Mod::Arrive, Mod::ArriveDrop]))
        .filter_map(|i| match f.operands_of(i).first() {
            Some(Operand::Register(r)) => Some(*r),
            _ => None,
        })
        .collect();
    let names = |o: &Operand| matches!(o, Operand::Register(r) if states.contains(r));
    let others = f.instructions.iter().filter(|i| i.op != Op::Mbarrier || is(i, &[Mod::PendingCount]));
    let mut seen = others.filter(|i| f.operands_of(i).iter().flat_map(|o| f.parts(o)).any(names));
    let why = "it looks into a barrier object, whose state depends on the order of warps";
    seen.next().map(|i| Profile::NotCheckable { line: i.line.0, why })
}

const TOGETHER: &str = "it asks which threads run together, which is left to the device";

fn judge(f: &Function, i: &Instruction) -> Profile {
    let line = i.line.0;
    let not = |why| Profile::NotCheckable { line, why };
    let shared = i.mods.one_of(&[Mod::Shared, Mod::SharedCta, Mod::SharedCluster]).is_some();
    let clock = f.operands_of(i).iter().find_map(|o| match o {
        Operand::Special(s, _) => match s {
            Special::Clock
            | Special::Clock64
            | Special::ClockHi
            | Special::Globaltimer
            | Special::GlobaltimerLo
            | Special::GlobaltimerHi => Some("it reads a clock"),
            Special::Smid
            | Special::Nsmid
            | Special::Warpid
            | Special::Nwarpid
            | Special::Gridid
            | Special::GraphExec
            | Special::Envreg
            | Special::ReservedSmemBegin
            | Special::ReservedSmemEnd
            | Special::ReservedSmemCap
            | Special::ReservedSmem0
            | Special::ReservedSmem1 => Some("it asks where on the device it runs"),
            Special::TotalSmemSize | Special::AggrSmemSize => {
                Some("it asks for a size of shared memory that each device rounds up its own way")
            }
            _ => None,
        },
        _ => None,
    });
    if let Some(why) = clock {
        return not(why);
    }
    match i.op {
        Op::Atom | Op::Red => {
            if i.mods.ty(0).is_some_and(Mod::is_float) {
                return not("floating-point atomics round in the order in which they arrive");
            }
            if i.mods.one_of(&[Mod::Exch, Mod::Cas]).is_some() {
                return not("atomic exchange depends on the order of arrival");
            }
            let used = i.op == Op::Atom && !matches!(f.operands_of(i).first(), Some(Operand::Sink));
            if used && !shared {
                return not("it uses what an atomic returned, which depends on the order of arrival");
            }
            if used {
                return not("it uses what an atomic returned, which depends on the order of warps");
            }
            if i.mods.one_of(&[Mod::Inc, Mod::Dec]).is_some() {
                return not("atomic inc and dec wrap, so their order matters");
            }
            if shared { Profile::Exact } else { Profile::IntegerAtomics { line } }
        }
        Op::Ld | Op::Ldu if !shared => {
            let talk = [Mod::Volatile, Mod::Acquire, Mod::Relaxed];
            if i.mods.one_of(&talk).is_some() {
                not("it waits for what other blocks write")
            } else {
                Profile::Exact
            }
        }
        // Integer products are exact; in which order and how widely tensor cores sum others is not told.
        Op::Mma | Op::Wmma
            if i.mods.ty(0) != Some(Mod::S32) && i.mods.one_of(&[Mod::Load, Mod::Store]).is_none() =>
        {
            Profile::Approximate { line, instruction: i.op.text() }
        }
        Op::Discard => not("what `discard` leaves in memory is left to the device"),
        Op::Elect => not("which thread is elected is left to the device"),
        // After a branch devices bring threads together again when they like.
        Op::Activemask => not(TOGETHER),
        Op::Vote if !i.mods.has(Mod::Sync) => not(TOGETHER),
        _ if i.mods.one_of(&[Mod::Approx, Mod::Full]).is_some() => {
            Profile::Approximate { line, instruction: i.op.text() }
        }
        _ => Profile::Exact,
    }
}
