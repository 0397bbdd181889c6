//! A module back to text, and its canonical form.
//!
//! Owns: the only text that a driver may see. [`print()`] writes what was read: parsing it again gives an equal
//! module. [`canonical`] also writes `.rn` where an addition, subtraction or multiplication of floating-point numbers
//! names no rounding: without it a driver's assembler may fuse `mul` and `add` into one `fma`, and two devices would
//! then compute different bits.
//! Never: repeats foreign text other than kernel names, which are plain identifiers.
//! Tests: `ptx/tests.rs`.

use super::{
    exact,
    ir::{
        Base, Class, Function, Instruction, Module, Operand, Param, Pointed, Pointer, Prototype, SINK, Space,
        Symbol, Variable,
    },
    words::{Mod, Op, Special},
};
use ion_protocol::BlobHash;
use std::fmt::Write;

/// The text that identifies a module, and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    pub text: String,
    pub hash: BlobHash,
}

pub fn print(module: &Module) -> String {
    Printer { module, form: Form::AsRead, out: String::new() }.module()
}

/// Variables that outlive a launch, and their names in a module's canonical text.
pub fn lasting_variables(module: &Module) -> impl Iterator<Item = (String, &Variable)> {
    let named = |(n, variable)| (symbol(Symbol::Module(n as u32)), variable);
    let lasting = |(_, variable): &(_, &Variable)| matches!(variable.space, Space::Global | Space::Const);
    module.variables.iter().enumerate().filter(lasting).map(named)
}

pub fn canonical(module: &Module) -> Canonical {
    let text = canonical_text(module);
    let hash = BlobHash::of(text.as_bytes());
    Canonical { text, hash }
}

pub(super) fn canonical_text(module: &Module) -> String {
    Printer { module, form: Form::Canonical, out: String::new() }.module()
}

/// With the routines of `exact.rs`, and calls of them in place of approximate instructions.
pub(super) fn exact_text(module: &Module) -> String {
    Printer { module, form: Form::Exact, out: String::new() }.module()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    AsRead,
    Canonical,
    Exact,
}

struct Printer<'a> {
    module: &'a Module,
    form: Form,
    out: String,
}

/// Writing to a string cannot fail, so the result of `write!` says nothing.
macro_rules! put {
    ($printer:expr, $($arg:tt)*) => {{ let _ = write!($printer.out, $($arg)*); }};
}

impl Printer<'_> {
    fn module(mut self) -> String {
        let module = self.module;
        put!(self, ".version {}.{}\n.target sm_{}\n", module.version.0, module.version.1, module.target);
        put!(self, ".address_size 64\n");
        // A variable that holds a function's address comes after the function.
        let mut pointers = module.variables.iter().flat_map(|v| &v.pointers);
        let early = pointers.any(|p| matches!(p.to, Pointed::Function(_)));
        self.heads(|f| early && !f.kernel);
        for (n, variable) in module.variables.iter().enumerate() {
            self.variable(variable, &symbol(Symbol::Module(n as u32)));
        }
        if self.form == Form::Exact {
            put!(self, "{}", exact::ROUTINES);
        }
        // Functions are declared at their place and defined at the end, so that any may call any other.
        self.heads(|f| !early || f.kernel);
        for (n, function) in module.functions.iter().enumerate() {
            if !function.kernel && !function.external {
                self.head(n, function);
                self.body(function);
            }
        }
        self.out
    }

    /// Functions' heads, and kernels.
    fn heads(&mut self, which: impl Fn(&Function) -> bool) {
        let module = self.module;
        for (n, function) in module.functions.iter().enumerate().filter(|(_, f)| which(f)) {
            self.head(n, function);
            if function.kernel {
                self.body(function);
            } else {
                put!(self, ";\n");
            }
        }
    }

    fn variable(&mut self, v: &Variable, name: &str) {
        if v.scalar {
            put!(self, ".param .align {} .{} {name};\n", v.align, v.element.text());
            return;
        }
        let linkage = match v.space {
            // Of others a driver does not say where they are.
            Space::Global | Space::Const => ".visible ",
            Space::Shared if v.is_dynamic() => ".extern ",
            Space::Shared | Space::Local | Space::Param => "",
        };
        put!(self, "{linkage}.{} .align {} .{} {name}", v.space.text(), v.align, v.element.text());
        if v.is_dynamic() {
            put!(self, "[]");
        } else {
            put!(self, "[{}]", v.count);
        }
        let size = (v.element.bits() / 8).max(1) as usize;
        let end = v.pointers.last().map_or(0, |p| p.at as usize + 8).max(v.init.len());
        let mut pointers = v.pointers.iter().peekable();
        for start in (0..end).step_by(size) {
            put!(self, "{}", if start == 0 { " = {" } else { ", " });
            while pointers.next_if(|p| p.at as usize + 8 <= start).is_some() {}
            match pointers.peek().filter(|p| p.at as usize <= start) {
                Some(pointer) => self.pointer(pointer, start - pointer.at as usize, size),
                None => self.value(v, start, size),
            }
        }
        put!(self, "{};\n", if end == 0 { "" } else { "}" });
    }

    fn value(&mut self, v: &Variable, start: usize, size: usize) {
        let mut bytes = [0u8; 8];
        // What is above the lower 64 bits of a wider element is zero.
        for (n, byte) in bytes.iter_mut().take(size).enumerate() {
            *byte = v.init.get(start + n).copied().unwrap_or(0);
        }
        let bits = u64::from_le_bytes(bytes);
        match v.element {
            Mod::F32 => put!(self, "0f{bits:08X}"),
            Mod::F64 => put!(self, "0d{bits:016X}"),
            _ => put!(self, "{bits}"),
        }
    }

    /// An address, or its byte `part` in an array of bytes.
    fn pointer(&mut self, p: &Pointer, part: usize, size: usize) {
        if size == 1 {
            put!(self, "0x{:X}(", 0xffu64 << (8 * part));
        }
        let name = match p.to {
            Pointed::Variable(n) => symbol(Symbol::Module(n)),
            Pointed::Function(n) => self.function_name(n as usize),
        };
        if p.generic {
            put!(self, "generic({name})");
        } else {
            put!(self, "{name}");
        }
        self.offset(p.offset);
        put!(self, "{}", if size == 1 { ")" } else { "" });
    }

    fn params(&mut self, params: &[Param], prefix: &str) {
        put!(self, "(");
        for (n, p) in params.iter().enumerate() {
            put!(self, "{}.param", if n == 0 { "" } else { ", " });
            if p.count.is_some() || p.align != p.element.bits() / 8 {
                put!(self, " .align {}", p.align);
            }
            put!(self, " .{}", p.element.text());
            if let Some((space, align)) = p.pointer {
                let space = space.map_or(String::new(), |s| format!(" .{}", s.text()));
                put!(self, " .ptr{space} .align {align}");
            }
            put!(self, " {prefix}");
            if prefix != "_" {
                put!(self, "{n}");
            }
            if let Some(count) = p.count {
                put!(self, "[{count}]");
            }
        }
        put!(self, ")");
    }

    fn function_name(&self, n: usize) -> String {
        match self.module.functions.get(n) {
            Some(f) if f.kernel || f.external => f.name.clone(),
            _ => format!("$f{n}"),
        }
    }

    fn head(&mut self, n: usize, f: &Function) {
        let name = self.function_name(n);
        if f.kernel {
            put!(self, ".visible .entry {name}");
        } else {
            put!(self, "{}.func ", if f.external { ".extern " } else { "" });
            if !f.returns.is_empty() {
                self.params(&f.returns, "$r");
                put!(self, " ");
            }
            put!(self, "{name}");
        }
        self.params(&f.params, "$p");
        for (word, extents) in [("maxntid", f.maxntid), ("reqntid", f.reqntid)] {
            if let Some([x, y, z]) = extents {
                put!(self, " .{word} {x}, {y}, {z}");
            }
        }
    }

    fn body(&mut self, f: &Function) {
        put!(self, "\n{{\n");
        let numbers = register_numbers(f);
        for class in Class::ALL {
            let count = f.registers.iter().filter(|c| **c == class).count();
            if count > 0 {
                put!(self, ".reg .{} {}<{count}>;\n", class.type_text(), class.prefix());
            }
        }
        for (n, variable) in f.variables.iter().enumerate() {
            self.variable(variable, &format!("$v{n}"));
        }
        for (n, table) in f.tables.iter().enumerate() {
            put!(self, "$T{n}: .branchtargets");
            for (n, label) in table.iter().enumerate() {
                put!(self, "{} $L{label}", if n == 0 { "" } else { "," });
            }
            put!(self, ";\n");
        }
        for (n, prototype) in f.prototypes.iter().enumerate() {
            self.prototype(n, prototype);
        }
        let mut label = 0;
        for n in 0..=f.instructions.len() {
            while f.labels.get(label).is_some_and(|at| *at as usize == n) {
                put!(self, "$L{label}:\n");
                label += 1;
            }
            if let Some(instruction) = f.instructions.get(n) {
                self.instruction(f, &numbers, instruction);
            }
        }
        put!(self, "}}\n");
    }

    fn prototype(&mut self, n: usize, prototype: &Prototype) {
        match prototype {
            Prototype::Shape { returns, params } => {
                put!(self, "$C{n}: .callprototype ");
                if !returns.is_empty() {
                    self.params(returns, "_");
                    put!(self, " ");
                }
                put!(self, "_ ");
                self.params(params, "_");
            }
            Prototype::Targets(list) => {
                put!(self, "$C{n}: .calltargets");
                for (n, target) in list.iter().enumerate() {
                    let name = self.function_name(*target as usize);
                    put!(self, "{} {name}", if n == 0 { "" } else { "," });
                }
            }
        }
        put!(self, ";\n");
    }

    fn instruction(&mut self, f: &Function, numbers: &[String], i: &Instruction) {
        if self.form == Form::Exact && exact::is_approximate(i) {
            return self.exactly(f, numbers, i);
        }
        put!(self, "\t");
        if let Some(guard) = i.guard {
            put!(self, "@{}{} ", if guard.negated { "!" } else { "" }, numbers[guard.register as usize]);
        }
        put!(self, "{}", i.op.text());
        if self.form == Form::Canonical && lacks_rounding(i) {
            put!(self, ".rn");
        }
        for m in i.mods.as_slice() {
            put!(self, ".{}", m.text());
        }
        let mut first = true;
        for operand in f.operands_of(i) {
            if matches!(operand, Operand::List(_, 0)) {
                continue;
            }
            put!(self, "{}", if first { " " } else { ", " });
            first = false;
            self.operand(f, numbers, operand);
        }
        put!(self, ";\n");
    }

    fn exactly(&mut self, f: &Function, numbers: &[String], i: &Instruction) {
        let operands: Vec<String> = f.operands_of(i).iter().map(|o| self.apart(f, numbers, o)).collect();
        let unless = i.guard.map_or(String::new(), |g| {
            format!("@{}{}", if g.negated { "" } else { "!" }, numbers[g.register as usize])
        });
        put!(self, "\t{}\n", exact::lines(i, &unless, &operands));
    }

    /// An operand's text, apart from the module's.
    fn apart(&mut self, f: &Function, numbers: &[String], operand: &Operand) -> String {
        let start = self.out.len();
        self.operand(f, numbers, operand);
        self.out.split_off(start)
    }

    fn operand(&mut self, f: &Function, numbers: &[String], operand: &Operand) {
        let (open, parts, close) = match operand {
            Operand::Vector(..) => ("{", f.parts(operand), "}"),
            Operand::List(..) => ("(", f.parts(operand), ")"),
            other => return self.simple(numbers, other),
        };
        put!(self, "{open}");
        for (n, part) in parts.iter().enumerate() {
            put!(self, "{}", if n == 0 { "" } else { ", " });
            self.simple(numbers, part);
        }
        put!(self, "{close}");
    }

    fn simple(&mut self, numbers: &[String], operand: &Operand) {
        let register = |r: u32| if r == SINK { "_" } else { numbers[r as usize].as_str() };
        match *operand {
            Operand::Register(r) => put!(self, "{}", register(r)),
            Operand::Part(r, select) => put!(self, "{}.{}", register(r), select.text()),
            Operand::Minus(r, None) => put!(self, "-{}", register(r)),
            Operand::Minus(r, Some(select)) => put!(self, "-{}.{}", register(r), select.text()),
            Operand::Not(r) => put!(self, "!{}", register(r)),
            Operand::Pair(a, b) => put!(self, "{}|{}", register(a), register(b)),
            Operand::Int(v) => put!(self, "{v}"),
            Operand::F32(bits) => put!(self, "0f{bits:08X}"),
            Operand::F64(bits) => put!(self, "0d{bits:016X}"),
            Operand::Special(s, part) => {
                put!(self, "{}", s.text());
                if s == Special::Envreg {
                    put!(self, "{part}");
                } else if s.has_parts() {
                    put!(self, "{}", [".x", ".y", ".z", ".w"][usize::from(part.min(3))]);
                }
            }
            Operand::Address(base, offset) => {
                put!(self, "[");
                match base {
                    Base::Absolute => {
                        put!(self, "{}]", offset as u64);
                        return;
                    }
                    Base::Register(r) => put!(self, "{}", register(r)),
                    Base::Symbol(s) => put!(self, "{}", symbol(s)),
                }
                self.offset(offset);
                put!(self, "]");
            }
            Operand::Symbol(s, offset) => {
                put!(self, "{}", symbol(s));
                self.offset(offset);
            }
            Operand::Label(n) => put!(self, "$L{n}"),
            Operand::Table(n) => put!(self, "$T{n}"),
            Operand::Function(n) => put!(self, "{}", self.function_name(n as usize)),
            Operand::Prototype(n) => put!(self, "$C{n}"),
            // Lists do not nest: the parser makes them of simple operands only.
            Operand::Vector(..) | Operand::List(..) | Operand::Sink => put!(self, "_"),
        }
    }

    fn offset(&mut self, offset: i64) {
        if offset != 0 {
            put!(self, "+{offset}");
        }
    }
}

fn symbol(s: Symbol) -> String {
    match s {
        Symbol::Module(n) => format!("$m{n}"),
        Symbol::Local(n) => format!("$v{n}"),
        Symbol::Param(n) => format!("$p{n}"),
        Symbol::Return(n) => format!("$r{n}"),
    }
}

/// Each register's canonical name: its class and its place among that class.
fn register_numbers(f: &Function) -> Vec<String> {
    let mut counts = [0u32; Class::ALL.len()];
    f.registers
        .iter()
        .map(|class| {
            let count = &mut counts[*class as usize];
            *count += 1;
            format!("{}{}", class.prefix(), *count - 1)
        })
        .collect()
}

/// Whether an assembler would be free to fuse this instruction with another.
fn lacks_rounding(i: &Instruction) -> bool {
    let float = i.mods.ty(0).is_some_and(Mod::is_float);
    let rounding = [Mod::Rn, Mod::Rz, Mod::Rm, Mod::Rp];
    matches!(i.op, Op::Add | Op::Sub | Op::Mul) && float && i.mods.one_of(&rounding).is_none()
}
