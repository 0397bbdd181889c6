//! Holds one instruction against the covered forms.
//!
//! Owns: the reading of `table.rs` into [`Form`]s (once, at first use) and the check of modifiers and operands:
//! types, register classes, state spaces, counts.
//! Never: changes an instruction.
//! Tests: `ptx/tests.rs`.

mod operand;

use super::{
    error::{At, Refusal, What, quote},
    ir::{Base, Class, Function, Mods, Operand, Space, Symbol, Variable},
    table::{FORMS, SETS},
    tensor::Role,
    words::{self, Mod, Op},
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
    Predicate,
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
    Nothing,
    Label,
    Table,
    Constant,
    RegisterOrVariable,
    /// A word or a part of one, and a part of one as destination.
    VideoSource,
    VideoPart,
    /// Parts of two words, and those of a result that are set.
    VideoSources,
    VideoMask,
    Register(Ty),
    /// A word or a part of one, and a word, either of which may be negated.
    VideoFactor,
    VideoTerm,
    /// How the memory that is given is aligned.
    Alignment,
    /// How many bytes are copied, or a predicate that says that none are.
    Copied,
    /// The last operand, there if and only if the instruction says that it hints at a cache policy.
    Policy,
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
        let required = names.iter().filter(|n| !n.ends_with('?') && **n != "h").count();
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
        "p" => Kindof::Predicate,
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
        "_" => Kindof::Nothing,
        "l" => Kindof::Label,
        "t" => Kindof::Table,
        "i" => Kindof::Constant,
        "y" => Kindof::RegisterOrVariable,
        "vs" => Kindof::VideoSource,
        "vd" => Kindof::VideoPart,
        "vq" => Kindof::VideoSources,
        "vm" => Kindof::VideoMask,
        "vr" => Kindof::Register(Ty::Fixed(Mod::U32)),
        "r" => Kindof::Register(Ty::Nth(0)),
        "vn" => Kindof::VideoFactor,
        "vt" => Kindof::VideoTerm,
        "al" => Kindof::Alignment,
        "h" => Kindof::Policy,
        "c" => Kindof::Copied,
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

/// Checks one instruction, and puts its modifiers into the order of the form that it has. `places` holds where each
/// modifier stands, `operand_places` where each operand does.
pub(super) fn check(
    op: Op,
    mods: &mut Mods,
    operands: &[Operand],
    scope: &Scope<'_>,
    at: At,
    places: &[At],
    operand_places: &[At],
) -> Result<(), Refusal> {
    let forms = TABLE.get(&op).map_or(&[][..], Vec::as_slice);
    let mut failed = None;
    for form in forms {
        if match_mods(form, mods.as_slice()).is_err() {
            continue;
        }
        match match_operands(form, op, mods, operands, scope) {
            Ok(()) => return Ok(()),
            // Of several forms with these modifiers, the one with as many operands whose first wrong one comes last is meant.
            Err(e) if failed.as_ref().is_none_or(|f: &Mismatch| e.rank > f.rank) => failed = Some(e),
            Err(_) => {}
        }
    }
    // An assembler takes modifiers in any order.
    let others = if failed.is_none() { forms } else { &[] };
    for (form, sorted) in others.iter().filter_map(|form| Some((form, sorted_mods(form, mods.as_slice())?))) {
        match match_operands(form, op, &sorted, operands, scope) {
            Ok(()) => {
                *mods = sorted;
                return Ok(());
            }
            Err(e) => failed = Some(e),
        }
    }
    if let Some(Mismatch { rank: (_, n), found, expected }) = failed {
        let place = operand_places.get(n).copied().unwrap_or(at);
        return Err(wrong(place, op, mods, found, expected));
    }
    Err(unknown_modifiers(op, mods, at, places))
}

/// The refusal of modifiers that no form of the instruction has, in whatever order; `None` if one has them.
pub(super) fn modifiers(op: Op, mods: &Mods, at: At, places: &[At]) -> Option<Refusal> {
    let forms = TABLE.get(&op).map_or(&[][..], Vec::as_slice);
    let known = forms.iter().any(|form| sorted_mods(form, mods.as_slice()).is_some());
    (!known).then(|| unknown_modifiers(op, mods, at, places))
}

fn unknown_modifiers(op: Op, mods: &Mods, at: At, places: &[At]) -> Refusal {
    let mut furthest = (0, Vec::new());
    for form in TABLE.get(&op).map_or(&[][..], Vec::as_slice) {
        let Err((taken, expected)) = match_mods(form, mods.as_slice()) else { continue };
        if taken > furthest.0 {
            furthest = (taken, Vec::new());
        }
        if taken == furthest.0 {
            furthest.1.extend(expected);
        }
    }
    if let Some(why) = words::refused(&spell(op, mods)) {
        return Refusal::unsupported(at, &spell(op, mods), why);
    }
    let (taken, mut expected) = furthest;
    let found =
        mods.as_slice().get(taken).map_or("the end of the modifiers".into(), |m| format!("`.{}`", m.text()));
    expected.sort();
    expected.dedup();
    let names: Vec<String> = expected.iter().map(|m| format!(".{}", m.text())).collect();
    let expected = if names.is_empty() { "nothing more there".to_string() } else { names.join(" ") };
    wrong(places.get(taken).copied().unwrap_or(at), op, mods, found, expected)
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

/// The modifiers in the form's order, if they are those of the form. Types stand for operands by their order, so each
/// goes to the next place for a type.
fn sorted_mods(form: &Form, mods: &[Mod]) -> Option<Mods> {
    let mut left = mods.to_vec();
    let mut sorted = Mods::default();
    for slot in &form.slots {
        let next_type = left.iter().position(|m| m.is_type());
        let found = left.iter().position(|m| slot.any_of.contains(m));
        match found.filter(|n| !left[*n].is_type() || next_type == found) {
            Some(n) => sorted.push(left.remove(n)).then_some(())?,
            None if slot.optional => {}
            None => return None,
        }
    }
    left.is_empty().then_some(sorted)
}

/// Why operands are not those of a form.
struct Mismatch {
    /// Whether there are as many as it has, and the first that is wrong.
    rank: (bool, usize),
    found: String,
    expected: String,
}

fn match_operands(
    form: &Form,
    op: Op,
    mods: &Mods,
    operands: &[Operand],
    scope: &Scope<'_>,
) -> Result<(), Mismatch> {
    let hinted = mods.has(Mod::L2CacheHint);
    let policy = usize::from(form.operands.last() == Some(&Kindof::Policy));
    let most = form.operands.len() - policy;
    let (least, most) = if hinted { (form.required + policy, most + policy) } else { (form.required, most) };
    if operands.len() < least || operands.len() > most {
        let expected = if least == most { format!("{most}") } else { format!("{least} to {most}") };
        let (rank, found) = ((false, operands.len().min(most)), format!("{} operands", operands.len()));
        return Err(Mismatch { rank, found, expected });
    }
    let checker = operand::Checker { op, mods, scope };
    for (n, operand) in operands.iter().enumerate() {
        // What may be left out before a policy is left out from the back.
        let last = hinted && n + 1 == operands.len();
        let kind = if last { Kindof::Policy } else { form.operands[n] };
        let found = || scope.describe(operand);
        let wrong = |expected| Mismatch { rank: (true, n), found: found(), expected };
        checker.operand(kind, operand).map_err(wrong)?;
    }
    checker.together(operands).map_err(|(n, expected)| Mismatch {
        rank: (true, n),
        found: scope.describe(&operands[n]),
        expected,
    })
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
            Operand::Part(_, select) => format!("the parts `.{}` of a register", select.text()),
            Operand::Minus(..) => "a negated register".into(),
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
            Operand::Table(_) => "a list of labels".into(),
            Operand::Function(_) => "a function".into(),
            Operand::Prototype(_) => "a prototype".into(),
            Operand::Vector(_, n) => format!("a vector of {n}"),
            Operand::List(..) => "a list".into(),
            Operand::Sink => "`_`".into(),
        }
    }
}
