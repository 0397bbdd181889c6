//! The checked form of a PTX module.
//!
//! Owns: [`Module`] and its parts. Names are resolved: registers, labels and variables are numbers, so two texts
//! that differ in spelling, order of declarations or comments have equal modules. Only [`super::parse`] makes one,
//! so whoever holds a `Module` holds a checked one.
//! Never: keeps the source text; only the line of each instruction, for faults.
//! Limits: those of `limits.rs`, checked while reading.
//! Tests: `ptx/tests.rs`.

use super::{
    calls::Calls,
    words::{Mod, Op, Special},
};

/// A line of the source text. Where something stood is not part of what it is: all lines are equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line(pub u32);

impl PartialEq for Line {
    fn eq(&self, _: &Line) -> bool {
        true
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// PTX version, major and minor.
    pub version: (u32, u32),
    /// Target architecture: 75 for `sm_75`.
    pub target: u32,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
    pub calls: Calls,
}

/// State spaces of variables and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

impl Space {
    pub fn text(self) -> &'static str {
        match self {
            Space::Global => "global",
            Space::Const => "const",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Param => "param",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    pub space: Space,
    pub align: u32,
    pub element: Mod,
    /// Elements; 0 stands for dynamic shared memory, whose size the launch gives.
    pub count: u64,
    /// An argument or result of a call that is no array: an assembler tells the two apart.
    pub scalar: bool,
    /// First bytes; the rest is zero.
    pub init: Vec<u8>,
    /// Addresses among the first values, whose bytes are zero in `init`; in order.
    pub pointers: Vec<Pointer>,
}

/// What an address among first values is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointed {
    /// A variable of the module, in .global or .const.
    Variable(u32),
    Function(u32),
}

/// The address of another variable, or of a function, as a first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// Byte of the variable at which its eight bytes begin.
    pub at: u64,
    pub to: Pointed,
    pub generic: bool,
    pub offset: i64,
}

impl Variable {
    pub fn bytes(&self) -> u64 {
        self.count * u64::from(self.element.bits() / 8)
    }

    pub fn is_dynamic(&self) -> bool {
        self.space == Space::Shared && self.count == 0
    }
}

/// A parameter of a kernel or function.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub element: Mod,
    pub align: u32,
    /// Elements of an array; `None` for a scalar.
    pub count: Option<u32>,
    /// The `.ptr` attribute of pointers: space and alignment.
    pub pointer: Option<(Option<Space>, u32)>,
    /// Byte offset in the parameter block.
    pub offset: u32,
}

impl Param {
    pub fn bytes(&self) -> u32 {
        self.element.bits() / 8 * self.count.unwrap_or(1)
    }
}

/// Register classes. PTX lets `.u32`, `.s32` and `.b32` registers stand for each other, so they are one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    F32,
    F64,
}

impl Class {
    pub const ALL: [Class; 8] =
        [Class::Pred, Class::B8, Class::B16, Class::B32, Class::B64, Class::B128, Class::F32, Class::F64];

    pub fn bits(self) -> u32 {
        match self {
            Class::Pred => 1,
            Class::B8 => 8,
            Class::B16 => 16,
            Class::B32 | Class::F32 => 32,
            Class::B64 | Class::F64 => 64,
            Class::B128 => 128,
        }
    }

    /// The register prefix of the canonical form.
    pub fn prefix(self) -> &'static str {
        match self {
            Class::Pred => "%p",
            Class::B8 => "%y",
            Class::B16 => "%h",
            Class::B32 => "%r",
            Class::B64 => "%d",
            Class::B128 => "%q",
            Class::F32 => "%f",
            Class::F64 => "%g",
        }
    }

    pub fn type_text(self) -> &'static str {
        match self {
            Class::Pred => "pred",
            Class::B8 => "b8",
            Class::B16 => "b16",
            Class::B32 => "b32",
            Class::B64 => "b64",
            Class::B128 => "b128",
            Class::F32 => "f32",
            Class::F64 => "f64",
        }
    }
}

/// A kernel (`.entry`) or a device function (`.func`).
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// As written for kernels, which launches name; functions print as `$f` and their number.
    pub name: String,
    pub kernel: bool,
    /// `__assertfail`, which every device brings along.
    pub external: bool,
    pub params: Vec<Param>,
    pub returns: Vec<Param>,
    /// `.maxntid`, `.reqntid`: bounds on a block's extents.
    pub maxntid: Option<[u32; 3]>,
    pub reqntid: Option<[u32; 3]>,
    /// Labels that `brx.idx` chooses from.
    pub tables: Vec<Vec<u32>>,
    /// What calls by address may be of.
    pub prototypes: Vec<Prototype>,
    /// Registers in order of first use.
    pub registers: Vec<Class>,
    pub variables: Vec<Variable>,
    /// Instruction before which each label stands, in order of their definition.
    pub labels: Vec<u32>,
    pub instructions: Vec<Instruction>,
    pub operands: Vec<Operand>,
    pub line: Line,
}

/// Which functions a call by address may lead to: those of a shape whose address is taken somewhere, or some by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Prototype {
    Shape { returns: Vec<Param>, params: Vec<Param> },
    Targets(Vec<u32>),
}

/// Modifiers that one instruction may carry: the longest covered form, `wmma.mma.xor.popc...`, has twelve.
pub const MODS_MAX: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mods {
    list: [Mod; MODS_MAX],
    len: u8,
}

impl Default for Mods {
    fn default() -> Self {
        Mods { list: [Mod::B8; MODS_MAX], len: 0 }
    }
}

impl Mods {
    /// Adds one at the end; false if there is no room.
    pub fn push(&mut self, m: Mod) -> bool {
        let room = (self.len as usize) < MODS_MAX;
        if room {
            self.list[self.len as usize] = m;
            self.len += 1;
        }
        room
    }

    pub fn as_slice(&self) -> &[Mod] {
        &self.list[..self.len as usize]
    }

    pub fn has(&self, m: Mod) -> bool {
        self.as_slice().contains(&m)
    }

    /// The `n`th type modifier.
    pub fn ty(&self, n: usize) -> Option<Mod> {
        self.as_slice().iter().copied().filter(|m| m.is_type()).nth(n)
    }

    /// The first modifier that is one of `set`.
    pub fn one_of(&self, set: &[Mod]) -> Option<Mod> {
        self.as_slice().iter().copied().find(|m| set.contains(m))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    pub register: u32,
    pub negated: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    pub op: Op,
    pub mods: Mods,
    pub guard: Option<Guard>,
    /// The operands are `operands[first..first + count]` of the function.
    pub first: u32,
    pub count: u8,
    pub line: Line,
}

/// A declared thing with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    /// A variable of the module.
    Module(u32),
    /// A variable of the function.
    Local(u32),
    /// A parameter of the function.
    Param(u32),
    /// A return parameter of the function.
    Return(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Absolute,
    Register(u32),
    Symbol(Symbol),
}

/// A missing register in a pair such as `_|%p1`.
pub const SINK: u32 = u32::MAX;

/// Parts of a register: `.b3210` or `.h1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    pub halves: bool,
    digits: [u8; 4],
    len: u8,
}

impl Select {
    pub fn named(text: &str) -> Option<Select> {
        let (kind, digits) = text.split_at_checked(1)?;
        let halves = match kind {
            "b" => false,
            "h" => true,
            _ => return None,
        };
        let mut select = Select { halves, digits: [0; 4], len: digits.len() as u8 };
        if digits.is_empty() || digits.len() > select.digits.len() {
            return None;
        }
        for (place, digit) in select.digits.iter_mut().zip(digits.bytes()) {
            *place = matches!(digit, b'0'..=b'7').then(|| digit - b'0')?;
        }
        Some(select)
    }

    /// The numbers of the parts, the highest place first.
    pub fn digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }

    pub fn text(&self) -> String {
        let kind = if self.halves { "h" } else { "b" };
        self.digits().iter().fold(kind.to_string(), |text, digit| text + &digit.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand {
    Register(u32),
    /// `%r1.b0`.
    Part(u32, Select),
    /// `-%r1`, `-%r1.b0`.
    Minus(u32, Option<Select>),
    /// `!%p1`.
    Not(u32),
    /// `%p1|%p2`; either may be [`SINK`].
    Pair(u32, u32),
    Int(i64),
    F32(u32),
    F64(u64),
    /// A special register and its part (0 to 2).
    Special(Special, u8),
    /// `[base + offset]`.
    Address(Base, i64),
    /// A variable's address as a value.
    Symbol(Symbol, i64),
    Label(u32),
    /// A list of labels.
    Table(u32),
    Function(u32),
    /// What a call by address may be of.
    Prototype(u32),
    /// `{a, b}`: `operands[first..first + count]`.
    Vector(u32, u8),
    /// `(a, b)` of a call.
    List(u32, u8),
    /// `_`.
    Sink,
}

impl Module {
    pub fn kernels(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|f| f.kernel)
    }

    pub fn kernel(&self, name: &str) -> Option<&Function> {
        self.kernels().find(|f| f.name == name)
    }
}

impl Function {
    pub fn operands_of(&self, instruction: &Instruction) -> &[Operand] {
        let first = instruction.first as usize;
        self.operands.get(first..first + instruction.count as usize).unwrap_or(&[])
    }

    /// The parts of a vector or list operand; any other operand is its only part.
    pub fn parts<'a>(&'a self, operand: &'a Operand) -> &'a [Operand] {
        match operand {
            Operand::Vector(first, count) | Operand::List(first, count) => {
                self.operands.get(*first as usize..*first as usize + *count as usize).unwrap_or(&[])
            }
            other => std::slice::from_ref(other),
        }
    }

    /// Size of the parameter block.
    pub fn param_bytes(&self) -> u32 {
        self.params.last().map_or(0, |p| p.offset + p.bytes())
    }
}
