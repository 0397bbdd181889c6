//! Holds one instruction against the covered forms.
//!
//! Owns: the reading of `table.rs` into [`Form`]s (once, at first use) and the check of modifiers and operands:
//! types, register classes, state spaces, counts.
//! Never: changes an instruction.
//! Tests: `ptx/tests.rs`.

use super::{
    error::{At, Refusal, What, quote},
    ir::{Base, Class, Function, Mods, Operand, SINK, Space, Symbol, Variable},
    table::{FORMS, SETS},
    tensor::{self, Role},
    words::{self, Kind, Mod, Op},
};
use std::{collections::HashMap, sync::LazyLock};

/// One modifier place of a form.
#[derive(Debug)]
struct Slot {
    any_of: Vec<Mod>,
    optional: bool,
}

/// Which type an operand has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ty {
    /// The `n`th type modifier.
    Nth(usize),
    /// The first, twice as wide.
    Wide,
    Fixed(Mod),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kindof {
    Dst {
        ty: Ty,
        wider: bool,
        sink: bool,
    },
    Src {
        ty: Ty,
        wider: bool,
    },
    DstWithPredicate(Ty),
    SetPredicate,
    SetPredicates,
    Predicate {
        negation: bool,
        constant: bool,
    },
    MovFrom,
    MovTo,
    Load,
    Store,
    Address,
    /// In the shared or the global memory, whatever the instruction names beside it.
    AddressIn(Space),
    /// The registers of a matrix of `mma` or `wmma`.
    Matrix(Role),
    /// The registers of 8 x 8 matrices.
    Tiles,
    Label,
    Constant,
    RegisterOrVariable,
}

#[derive(Debug)]
struct Form {
    slots: Vec<Slot>,
    operands: Vec<Kindof>,
    required: usize,
}

/// What operands are held against: the function read so far and the module's variables.
pub(super) struct Scope<'a> {
    pub function: &'a Function,
    pub variables: &'a [Variable],
}

static TABLE: LazyLock<HashMap<Op, Vec<Form>>> = LazyLock::new(|| {
    let mut table: HashMap<Op, Vec<Form>> = HashMap::new();
    for line in FORMS.lines().filter(|l| !l.is_empty()) {
        // Modifiers have `::` of their own, so the parting colon is the one after a blank.
        let (head, operands) = line.split_once(" :").expect("every form has a colon");
        let mut words = head.split_whitespace();
        let op = words.next().and_then(Op::named).expect("the table names known opcodes");
        let slots = words.map(read_slot).collect();
        let names: Vec<&str> = operands.split_whitespace().collect();
        let required = names.iter().filter(|n| !n.ends_with('?')).count();
        let operands = names.iter().map(|n| read_operand(n.trim_end_matches('?'))).collect();
        table.entry(op).or_default().push(Form { slots, operands, required });
    }
    table
});

fn read_slot(word: &str) -> Slot {
    let optional = word.starts_with('[');
    let mut any_of = Vec::new();
    for name in word.trim_matches(['[', ']']).split('|') {
        let set = SETS.iter().find(|(n, _)| *n == name).map_or(name, |(_, set)| set);
        any_of.extend(set.split('|').map(|m| Mod::named(m.trim_start_matches('.')).expect("known modifier")));
    }
    Slot { any_of, optional }
}

fn read_operand(name: &str) -> Kindof {
    let ty = |rest: &str| match rest {
        "" => Ty::Nth(0),
        "1" => Ty::Nth(1),
        "w" => Ty::Wide,
        fixed => Ty::Fixed(Mod::named(fixed).expect("known type")),
    };
    match name {
        "d_" => Kindof::Dst { ty: Ty::Nth(0), wider: false, sink: true },
        "D" => Kindof::Dst { ty: Ty::Nth(0), wider: true, sink: false },
        "S1" => Kindof::Src { ty: Ty::Nth(1), wider: true },
        "P" => Kindof::SetPredicate,
        "PP" => Kindof::SetPredicates,
        "p" => Kindof::Predicate { negation: true, constant: false },
        "q" => Kindof::Predicate { negation: false, constant: false },
        "pm" => Kindof::Predicate { negation: false, constant: true },
        "m" => Kindof::MovFrom,
        "M" => Kindof::MovTo,
        "V" => Kindof::Load,
        "W" => Kindof::Store,
        "a" => Kindof::Address,
        "as" => Kindof::AddressIn(Space::Shared),
        "ag" => Kindof::AddressIn(Space::Global),
        "fa" => Kindof::Matrix(Role::A),
        "fb" => Kindof::Matrix(Role::B),
        "fc" => Kindof::Matrix(Role::C),
        "fd" => Kindof::Matrix(Role::D),
        "x" => Kindof::Tiles,
        "l" => Kindof::Label,
        "i" => Kindof::Constant,
        "y" => Kindof::RegisterOrVariable,
        _ if name.starts_with("DP") => Kindof::DstWithPredicate(ty(&name[2..])),
        _ if name.starts_with('d') => Kindof::Dst { ty: ty(&name[1..]), wider: false, sink: false },
        _ => Kindof::Src { ty: ty(&name[1..]), wider: false },
    }
}

fn spell(op: Op, mods: &Mods) -> String {
    mods.as_slice().iter().fold(op.text().to_string(), |s, m| s + "." + m.text())
}

fn wrong(at: At, op: Op, mods: &Mods, found: String, expected: String) -> Refusal {
    Refusal { at, what: What::Form { instruction: spell(op, mods), found, expected } }
}

/// Checks one instruction. `places` holds where each modifier stands, `operand_places` where each operand does.
pub(super) fn check(
    op: Op,
    mods: &Mods,
    operands: &[Operand],
    scope: &Scope<'_>,
    at: At,
    places: &[At],
    operand_places: &[At],
) -> Result<(), Refusal> {
    let forms = TABLE.get(&op).map_or(&[][..], Vec::as_slice);
    let mut furthest = (0, Vec::new());
    let mut failed = None;
    for form in forms {
        match match_mods(form, mods.as_slice()) {
            Ok(()) => match match_operands(form, mods, operands, scope) {
                Ok(()) => return Ok(()),
                // Of several forms with these modifiers, the one whose first wrong operand comes last is meant.
                Err(e) if failed.as_ref().is_none_or(|(n, _, _)| e.0 > *n) => failed = Some(e),
                Err(_) => {}
            },
            Err((taken, expected)) => {
                if taken > furthest.0 {
                    furthest = (taken, Vec::new());
                }
                if taken == furthest.0 {
                    furthest.1.extend(expected);
                }
            }
        }
    }
    if let Some((n, found, expected)) = failed {
        let place = operand_places.get(n).copied().unwrap_or(at);
        return Err(wrong(place, op, mods, found, expected));
    }
    if let Some(why) = words::refused(&spell(op, mods)) {
        return Err(Refusal::unsupported(at, &spell(op, mods), why));
    }
    let (taken, mut expected) = furthest;
    let found =
        mods.as_slice().get(taken).map_or("the end of the modifiers".into(), |m| format!("`.{}`", m.text()));
    expected.sort();
    expected.dedup();
    let names: Vec<String> = expected.iter().map(|m| format!(".{}", m.text())).collect();
    let expected = if names.is_empty() { "nothing more there".to_string() } else { names.join(" ") };
    Err(wrong(places.get(taken).copied().unwrap_or(at), op, mods, found, expected))
}

/// Takes the modifiers slot by slot. The slots of a form are disjoint in order, so the first that fits is right.
fn match_mods(form: &Form, mods: &[Mod]) -> Result<(), (usize, Vec<Mod>)> {
    let mut taken = 0;
    let mut expected = Vec::new();
    for slot in &form.slots {
        match mods.get(taken) {
            Some(m) if slot.any_of.contains(m) => {
                taken += 1;
                expected.clear();
            }
            _ => {
                expected.extend(&slot.any_of);
                if !slot.optional {
                    return Err((taken, expected));
                }
            }
        }
    }
    if taken == mods.len() { Ok(()) } else { Err((taken, expected)) }
}

type Mismatch = (usize, String, String);

fn match_operands(form: &Form, mods: &Mods, operands: &[Operand], scope: &Scope<'_>) -> Result<(), Mismatch> {
    let (least, most) = (form.required, form.operands.len());
    if operands.len() < least || operands.len() > most {
        let expected = if least == most { format!("{most}") } else { format!("{least} to {most}") };
        return Err((operands.len().min(most), format!("{} operands", operands.len()), expected));
    }
    let checker = Checker { mods, scope };
    for (n, (kind, operand)) in form.operands.iter().zip(operands).enumerate() {
        checker.operand(*kind, operand).map_err(|expected| (n, scope.describe(operand), expected))?;
    }
    Ok(())
}

impl Scope<'_> {
    fn class(&self, register: u32) -> Option<Class> {
        self.function.registers.get(register as usize).copied()
    }

    fn space(&self, symbol: Symbol) -> Option<Space> {
        match symbol {
            Symbol::Module(n) => self.variables.get(n as usize).map(|v| v.space),
            Symbol::Local(n) => self.function.variables.get(n as usize).map(|v| v.space),
            Symbol::Param(_) | Symbol::Return(_) => Some(Space::Param),
        }
    }

    fn describe(&self, operand: &Operand) -> String {
        match operand {
            Operand::Register(r) => match self.class(*r) {
                Some(class) => format!("a .{} register", class.type_text()),
                None => "an unknown register".into(),
            },
            Operand::Not(_) => "a negated predicate".into(),
            Operand::Pair(..) => "a pair of registers".into(),
            Operand::Int(v) => format!("the integer {v}"),
            Operand::F32(_) | Operand::F64(_) => "a floating-point constant".into(),
            Operand::Special(s, _) => format!("`{}`", quote(s.text())),
            Operand::Address(Base::Symbol(s), _) => {
                format!("an address in .{}", self.space(*s).map_or("?", Space::text))
            }
            Operand::Address(..) => "an address".into(),
            Operand::Symbol(..) => "a variable's address".into(),
            Operand::Label(_) => "a label".into(),
            Operand::Function(_) => "a function".into(),
            Operand::Vector(_, n) => format!("a vector of {n}"),
            Operand::List(..) => "a list".into(),
            Operand::Sink => "`_`".into(),
        }
    }
}

/// Whether a register of `class` can hold a value of type `ty`.
fn fits(class: Class, ty: Mod, wider: bool) -> bool {
    let Some((kind, bits)) = ty.kind() else { return false };
    let float = matches!(class, Class::F32 | Class::F64);
    match kind {
        Kind::Predicate => class == Class::Pred,
        _ if class == Class::Pred => false,
        Kind::Element => class.bits() == 32,
        Kind::Bits | Kind::Pair | Kind::IntPair => {
            class.bits() == bits || (wider && !float && class.bits() > bits)
        }
        Kind::Unsigned | Kind::Signed => !float && (class.bits() == bits || (wider && class.bits() > bits)),
        Kind::Float | Kind::Bfloat => class.bits() == bits,
    }
}

struct Checker<'a> {
    mods: &'a Mods,
    scope: &'a Scope<'a>,
}

/// The result of a check: what was expected instead.
type Expected = Result<(), String>;

fn holds(ok: bool, expected: impl FnOnce() -> String) -> Expected {
    if ok { Ok(()) } else { Err(expected()) }
}

impl Checker<'_> {
    fn ty(&self, ty: Ty) -> Mod {
        let first = self.mods.ty(0).unwrap_or(Mod::B32);
        match ty {
            Ty::Nth(n) => self.mods.ty(n).unwrap_or(first),
            Ty::Fixed(m) => m,
            Ty::Wide => match first {
                Mod::U16 => Mod::U32,
                Mod::S16 => Mod::S32,
                Mod::U32 => Mod::U64,
                Mod::S32 => Mod::S64,
                other => other,
            },
        }
    }

    fn register(&self, register: u32, ty: Mod, wider: bool) -> Expected {
        let ok = self.scope.class(register).is_some_and(|class| fits(class, ty, wider));
        holds(ok, || format!("a .{} register", ty.text()))
    }

    fn predicate(&self, register: u32) -> Expected {
        let ok = register == SINK || self.scope.class(register) == Some(Class::Pred);
        holds(ok, || "a .pred register".into())
    }

    fn source(&self, operand: &Operand, ty: Mod, wider: bool) -> Expected {
        let (kind, bits) = ty.kind().unwrap_or((Kind::Bits, 32));
        let expected = || format!("a .{} value", ty.text());
        match operand {
            Operand::Register(r) => self.register(*r, ty, wider).map_err(|_| expected()),
            Operand::Int(_) => holds(matches!(kind, Kind::Bits | Kind::Unsigned | Kind::Signed), expected),
            Operand::F32(_) | Operand::F64(_) => {
                holds(matches!(kind, Kind::Float | Kind::Bits) && bits >= 32, expected)
            }
            Operand::Special(s, _) => {
                let whole = matches!(kind, Kind::Bits | Kind::Unsigned | Kind::Signed);
                // A special register is as wide as it is; only its low bytes may be stored.
                let part = wider && bits < 32 && s.bits() == 32;
                holds(whole && (s.bits() == bits || part), expected)
            }
            _ => Err(expected()),
        }
    }

    fn operand(&self, kind: Kindof, operand: &Operand) -> Expected {
        match kind {
            Kindof::Dst { ty, wider, sink } => match operand {
                Operand::Register(r) => self.register(*r, self.ty(ty), wider),
                Operand::Sink if sink => Ok(()),
                _ => Err(format!("a .{} register", self.ty(ty).text())),
            },
            Kindof::Src { ty, wider } => self.source(operand, self.ty(ty), wider),
            Kindof::DstWithPredicate(ty) => match operand {
                Operand::Register(r) => self.register(*r, self.ty(ty), false),
                Operand::Pair(r, p) if *r == SINK => self.predicate(*p),
                Operand::Pair(r, p) => {
                    self.register(*r, self.ty(ty), false).and_then(|()| self.predicate(*p))
                }
                _ => Err("a register, or a register and a predicate".into()),
            },
            Kindof::SetPredicate => match operand {
                Operand::Register(r) => self.predicate(*r),
                _ => Err("a .pred register".into()),
            },
            Kindof::SetPredicates => match operand {
                Operand::Register(r) => self.predicate(*r),
                Operand::Pair(p, q) => self.predicate(*p).and_then(|()| self.predicate(*q)),
                _ => Err("a .pred register or two of them".into()),
            },
            Kindof::Predicate { negation, constant } => match operand {
                Operand::Register(r) => self.predicate(*r),
                Operand::Not(r) if negation => self.predicate(*r),
                Operand::Int(_) if constant => Ok(()),
                _ => Err("a .pred register".into()),
            },
            Kindof::MovTo => self.mov_to(operand),
            Kindof::MovFrom => self.mov_from(operand),
            Kindof::Load => self.transfer(operand, true),
            Kindof::Store => self.transfer(operand, false),
            Kindof::Address => self.address(operand, self.named_space()),
            Kindof::AddressIn(space) => self.address(operand, Some(space)),
            Kindof::Matrix(role) => self.matrix(operand, role),
            Kindof::Tiles => {
                let count = match self.mods.one_of(&[Mod::X1, Mod::X2, Mod::X4]) {
                    Some(Mod::X4) => 4,
                    Some(Mod::X2) => 2,
                    _ => 1,
                };
                self.registers(operand, count, Mod::B32)
            }
            Kindof::Label => holds(matches!(operand, Operand::Label(_)), || "a label".into()),
            Kindof::Constant => {
                holds(matches!(operand, Operand::Int(0..=255)), || "an integer from 0 to 255".into())
            }
            Kindof::RegisterOrVariable => match operand {
                Operand::Symbol(s, _) => self.same_space(*s, self.named_space()),
                _ => self.source(operand, Mod::U64, false),
            },
        }
    }

    fn mov_to(&self, operand: &Operand) -> Expected {
        let ty = self.ty(Ty::Nth(0));
        match operand {
            Operand::Register(r) => self.register(*r, ty, false),
            Operand::Vector(..) => self.packed(operand, ty),
            _ => Err(format!("a .{} register", ty.text())),
        }
    }

    fn mov_from(&self, operand: &Operand) -> Expected {
        let ty = self.ty(Ty::Nth(0));
        match operand {
            Operand::Vector(..) => self.packed(operand, ty),
            Operand::Symbol(..) => {
                let ok = ty.bits() >= 32 && !ty.is_float();
                holds(ok, || "a .u32 or .u64 `mov` for an address".into())
            }
            Operand::Special(s, _) => {
                // A 64-bit counter may be read in full only; the others are 32 bits wide.
                holds(s.bits() == ty.bits() && !ty.is_float(), || format!("a .{} value", ty.text()))
            }
            _ => self.source(operand, ty, false),
        }
    }

    /// `mov.b32 %r, {%h0, %h1}` and its kin: the parts together are as wide as the type.
    fn packed(&self, operand: &Operand, ty: Mod) -> Expected {
        let parts = self.scope.function.parts(operand);
        let expected = || format!("2 or 4 parts of together {} bits", ty.bits());
        let bits = ty.bits() / (parts.len() as u32).max(1);
        holds(matches!(ty, Mod::B32 | Mod::B64) && matches!(parts.len(), 2 | 4), expected)?;
        for part in parts {
            let ok = match part {
                Operand::Register(r) => {
                    self.scope.class(*r).is_some_and(|c| c != Class::Pred && c.bits() == bits)
                }
                Operand::Sink | Operand::Int(_) => true,
                _ => false,
            };
            holds(ok && bits >= 16, expected)?;
        }
        Ok(())
    }

    /// What `ld` loads into or `st` stores from.
    fn transfer(&self, operand: &Operand, load: bool) -> Expected {
        let ty = self.ty(Ty::Nth(0));
        let lanes = if self.mods.has(Mod::V2) {
            2
        } else if self.mods.has(Mod::V4) {
            4
        } else if self.mods.has(Mod::V8) {
            8
        } else {
            1
        };
        let parts = self.scope.function.parts(operand);
        let vector = matches!(operand, Operand::Vector(..));
        holds(
            vector == (lanes > 1) && parts.len() == lanes && lanes as u32 * ty.bits() <= 128,
            || match lanes {
                1 => "one register".into(),
                n => format!("a vector of {n}, at most 128 bits"),
            },
        )?;
        for part in parts {
            match part {
                Operand::Sink if load && vector => {}
                Operand::Register(r) => self.register(*r, ty, true)?,
                _ if !load => self.source(part, ty, true)?,
                _ => return Err(format!("a .{} register", ty.text())),
            }
        }
        Ok(())
    }

    /// A vector of exactly `count` registers.
    fn registers(&self, operand: &Operand, count: usize, ty: Mod) -> Expected {
        let parts = self.scope.function.parts(operand);
        let expected = || format!("a vector of {count} .{} registers", ty.text());
        holds(matches!(operand, Operand::Vector(..)) && parts.len() == count, expected)?;
        parts.iter().try_for_each(|part| match part {
            Operand::Register(r) => self.register(*r, ty, false).map_err(|_| expected()),
            _ => Err(expected()),
        })
    }

    fn matrix(&self, operand: &Operand, role: Role) -> Expected {
        let op = if self.mods.as_slice().first() == Some(&Mod::Sync) { Op::Mma } else { Op::Wmma };
        // A load or a store names its matrix by a modifier.
        let moved = self.mods.one_of(&[Mod::Load, Mod::Store]).is_some();
        let role = if moved { tensor::moved(self.mods) } else { role };
        let Some(fragment) = tensor::fragment(op, self.mods, role) else {
            return Err("another shape".into());
        };
        self.registers(operand, fragment.registers, fragment.register())
    }

    fn named_space(&self) -> Option<Space> {
        self.mods.as_slice().iter().find_map(|m| match m {
            Mod::Global => Some(Space::Global),
            Mod::Shared | Mod::SharedCta => Some(Space::Shared),
            Mod::Local => Some(Space::Local),
            Mod::Const => Some(Space::Const),
            Mod::Param | Mod::ParamEntry | Mod::ParamFunc => Some(Space::Param),
            _ => None,
        })
    }

    fn same_space(&self, symbol: Symbol, named: Option<Space>) -> Expected {
        let Some(space) = named else {
            return Err("a register: a variable's address is not a generic address, see `cvta`".into());
        };
        holds(self.scope.space(symbol) == Some(space), || format!("a variable in .{}", space.text()))
    }

    fn address(&self, operand: &Operand, space: Option<Space>) -> Expected {
        let Operand::Address(base, _) = operand else { return Err("an address in `[]`".into()) };
        match base {
            Base::Absolute => Ok(()),
            Base::Symbol(s) => self.same_space(*s, space),
            Base::Register(r) => {
                let class = self.scope.class(*r);
                // Shared, local and parameter addresses fit 32 bits and may be held in such registers.
                let narrow = !matches!(space, None | Some(Space::Global));
                let ok = class == Some(Class::B64) || (narrow && class == Some(Class::B32));
                holds(ok, || "a 64-bit address register".into())
            }
        }
    }
}
