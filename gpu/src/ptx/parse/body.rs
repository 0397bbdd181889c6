//! Bodies: declarations, labels and instructions, with names resolved scope by scope.

mod calls;
mod operand;
mod tables;

use super::{Global, Parsed, Parser};
use crate::ptx::{
    error::{At, Refusal, What, quote},
    forms,
    ir::{Base, Class, Function, Guard, Instruction, Line, Mods, Operand, Param, SINK, Space, Symbol},
    lex::Tok,
    limits,
    words::{self, Kind, Mod, Op, Special},
};
use std::collections::HashMap;

/// What a name inside a body stands for.
#[derive(Debug, Clone, Copy)]
enum Local {
    /// Declared, with so many lanes; gets its numbers at first use.
    Unused(Class, u8),
    Register(u32),
    /// A vector of so many registers, from this one on.
    Vector(u32, u8),
    /// `%r<100>` declares `%r0` to `%r99`; kept under `%r`.
    Range(Class, u32, u8),
    Symbol(Symbol),
    Label(u32),
}

/// Where in which list of a call, and as what.
type Passed = (&'static str, usize, Mod, u32);

/// Registers and variables live in one table keyed by scope; ranges and labels have tables of their own, because
/// `%r<4>` and `%r` do not clash.
struct Body<'a> {
    names: HashMap<(u32, &'a str), Local>,
    ranges: HashMap<(u32, &'a str), Local>,
    labels: HashMap<(u32, &'a str), Local>,
    /// Lists of branch targets, by their labels.
    tables: HashMap<(u32, &'a str), u32>,
    /// What calls by address may be of, by their labels.
    prototypes: HashMap<(u32, &'a str), u32>,
    /// Where a table's labels come to stand: table, place, scope, name and place in the text.
    targets: Vec<(u32, u32, u32, &'a str, At)>,
    /// Registers that hold results: the result's number and the register.
    results: Vec<(u32, u32)>,
    /// Where each result is, if one parameter hands over several.
    layout: Vec<Param>,
    /// Branches to the end, where results are stored: the operands that name it.
    returns: Vec<usize>,
    /// The variables through which calls of this body pass registers and numbers.
    passed: HashMap<Passed, u32>,
    /// Whether registers may have got their numbers in another order than that of their use.
    disordered: bool,
    /// The enclosing scope of each scope; the outermost is its own.
    parents: Vec<u32>,
    scope: u32,
    depth: u64,
    declared: u64,
    /// Branches to labels: operand, scope, name and place; resolved at the end of the body.
    pending: Vec<(u32, u32, &'a str, At)>,
    /// Kept between instructions to spare allocations.
    operands: Vec<Operand>,
    places: Vec<At>,
    mod_places: Vec<At>,
}

impl<'a> Parser<'a> {
    /// Everything after the `{` of a function, up to and with its `}`.
    pub(super) fn body(&mut self, function: &mut Function, index: u32) -> Parsed<()> {
        let mut body = Body {
            names: HashMap::new(),
            ranges: HashMap::new(),
            labels: HashMap::new(),
            tables: HashMap::new(),
            prototypes: HashMap::new(),
            targets: Vec::new(),
            results: Vec::new(),
            layout: self.results.get(&index).cloned().unwrap_or_default(),
            returns: Vec::new(),
            passed: HashMap::new(),
            disordered: false,
            parents: vec![0],
            scope: 0,
            depth: 0,
            declared: 0,
            pending: Vec::new(),
            operands: Vec::new(),
            places: Vec::new(),
            mod_places: Vec::new(),
        };
        self.enter_params(function, &mut body)?;
        loop {
            match self.tok.tok {
                Tok::Punct(b'{') => self.open_scope(&mut body)?,
                Tok::Punct(b'}') => {
                    let at = self.bump()?.at;
                    if body.depth == 0 {
                        self.hand_back(function, &body, at)?;
                        break;
                    }
                    body.depth -= 1;
                    body.scope = body.parents[body.scope as usize];
                }
                Tok::Punct(b';') => {
                    self.bump()?;
                }
                Tok::Dot(word) => self.body_directive(word, function, &mut body)?,
                Tok::Punct(b'@') => {
                    let guard = self.guard(function, &mut body)?;
                    let (name, at) = self.word("an instruction")?;
                    self.instruction(name, at, Some(guard), function, &mut body)?;
                }
                Tok::Word(_) => {
                    let (name, at) = self.word("an instruction or a label")?;
                    if !self.eat(b':')? {
                        self.instruction(name, at, None, function, &mut body)?;
                        continue;
                    }
                    match self.tok.tok {
                        Tok::Dot("branchtargets") => self.branch_targets(name, at, function, &mut body)?,
                        Tok::Dot("callprototype") => self.call_prototype(name, at, function, &mut body)?,
                        Tok::Dot("calltargets") => self.call_targets(name, at, function, &mut body)?,
                        _ => self.label(name, at, function, &mut body)?,
                    }
                }
                _ => return self.unexpected("an instruction, a label, a directive or `}`"),
            }
        }
        self.resolve_labels(function, &body)?;
        if body.disordered {
            renumber(function);
        }
        function.registers.shrink_to_fit();
        function.instructions.shrink_to_fit();
        function.operands.shrink_to_fit();
        let at = At { line: function.line.0, column: 1, length: 1 };
        for (space, what, max) in [
            (Space::Shared, "bytes of static shared memory", limits::SHARED_BYTES_MAX),
            (Space::Local, "bytes of local memory a thread", limits::LOCAL_BYTES_MAX),
            (Space::Param, "bytes of call parameters", limits::LOCAL_BYTES_MAX),
        ] {
            if limits::layout_bytes(function, space) > max {
                return Err(Refusal::limit(at, what, max));
            }
        }
        Ok(())
    }

    fn enter_params(&mut self, function: &mut Function, body: &mut Body<'a>) -> Parsed<()> {
        let names = std::mem::take(&mut self.param_names);
        let returns = std::mem::take(&mut self.return_names);
        let params = names.iter().enumerate().map(|(n, p)| (p, Symbol::Param(n as u32)));
        let returns = returns.iter().enumerate().map(|(n, p)| (p, Symbol::Return(n as u32)));
        for ((name, at, register), symbol) in params.chain(returns) {
            let local = register.map_or(Local::Symbol(symbol), |class| Local::Unused(class, 1));
            if *name == "_" {
                return Err(Refusal::unexpected(*at, "`_`", "a parameter's name"));
            }
            body.declare(name, local, *at)?;
            if register.is_some() {
                self.enter_register(name, *at, symbol, function, body)?;
            }
        }
        Ok(())
    }

    fn open_scope(&mut self, body: &mut Body<'a>) -> Parsed<()> {
        let at = self.bump()?.at;
        if body.depth >= limits::NESTING_MAX {
            return Err(Refusal::limit(at, "nested blocks", limits::NESTING_MAX));
        }
        body.depth += 1;
        body.parents.push(body.scope);
        body.scope = (body.parents.len() - 1) as u32;
        Ok(())
    }

    fn body_directive(&mut self, word: &'a str, function: &mut Function, body: &mut Body<'a>) -> Parsed<()> {
        let at = self.tok.at;
        match word {
            "reg" => self.registers(body),
            "shared" | "local" | "param" | "global" | "const" => {
                self.bump()?;
                let space = match word {
                    "shared" => Space::Shared,
                    "local" => Space::Local,
                    "param" => Space::Param,
                    "const" => Space::Const,
                    _ => Space::Global,
                };
                let head = self.variable_head(space)?;
                loop {
                    let (name, at) = self.word("a variable's name")?;
                    // What outlives a call is the module's, under a name that only this body knows.
                    let symbol = if matches!(space, Space::Global | Space::Const) {
                        Symbol::Module(self.module_variable(space, head, false, at)?)
                    } else {
                        let variable = self.variable_tail(space, head, false)?;
                        function.variables.push(variable);
                        Symbol::Local(function.variables.len() as u32 - 1)
                    };
                    body.declare(name, Local::Symbol(symbol), at)?;
                    if !self.eat(b',')? {
                        return self.expect(b';');
                    }
                }
            }
            "loc" | "file" => self.skip_line(),
            "pragma" => self.skip_pragma(),
            _ => {
                let why = "only registers and variables are declared in a body";
                Err(Refusal::unsupported(at, self.tok.text, why))
            }
        }
    }

    fn registers(&mut self, body: &mut Body<'a>) -> Parsed<()> {
        self.bump()?;
        let lanes = match self.tok.tok {
            Tok::Dot("v2") => 2,
            Tok::Dot("v4") => 4,
            _ => 1,
        };
        if lanes > 1 {
            self.bump()?;
        }
        let class = self.register_class(lanes == 1, lanes)?;
        loop {
            let (name, at) = self.word("a register's name")?;
            if Special::spelled(name).is_some() {
                return Err(Refusal::twice(at, name));
            }
            let mut count = 1;
            if self.eat(b'<')? {
                count = self.int(limits::DECLARED_REGISTERS_MAX, "declared registers in a function")?;
                self.expect(b'>')?;
                if body.ranges.insert((body.scope, name), Local::Range(class, count as u32, lanes)).is_some()
                {
                    return Err(Refusal::twice(at, name));
                }
            } else {
                body.declare(name, Local::Unused(class, lanes), at)?;
            }
            body.declared += count * u64::from(lanes);
            if body.declared > limits::DECLARED_REGISTERS_MAX {
                let what = "declared registers in a function";
                return Err(Refusal::limit(at, what, limits::DECLARED_REGISTERS_MAX));
            }
            if !self.eat(b',')? {
                return self.expect(b';');
            }
        }
    }

    /// The type of a register, or of each of a vector of so many; predicates only where they may be.
    pub(in crate::ptx::parse) fn register_class(&mut self, predicates: bool, lanes: u8) -> Parsed<Class> {
        let expected = "a register type such as `.b32`";
        let Tok::Dot(word) = self.tok.tok else { return self.unexpected(expected) };
        let class = Mod::named(word).and_then(|m| match m.kind()? {
            (Kind::Predicate, _) => predicates.then_some(Class::Pred),
            (Kind::IntPair | Kind::BytePair | Kind::Element, _) => None,
            (Kind::Float, 32) => Some(Class::F32),
            (Kind::Float, 64) => Some(Class::F64),
            (_, 8) => Some(Class::B8),
            (_, 16) => Some(Class::B16),
            (_, 32) => Some(Class::B32),
            (_, 64) => Some(Class::B64),
            // A vector has 128 bits at most.
            (_, 128) if lanes == 1 => Some(Class::B128),
            _ => None,
        });
        let Some(class) = class else { return self.unexpected(expected) };
        self.bump()?;
        Ok(class)
    }

    fn label(&mut self, name: &'a str, at: At, function: &mut Function, body: &mut Body<'a>) -> Parsed<()> {
        self.labels += 1;
        if self.labels > limits::LABELS_MAX {
            return Err(Refusal::limit(at, "labels in a module", limits::LABELS_MAX));
        }
        let index = function.labels.len() as u32;
        function.labels.push(function.instructions.len() as u32);
        match body.labels.insert((body.scope, name), Local::Label(index)) {
            None => Ok(()),
            Some(_) => Err(Refusal::twice(at, name)),
        }
    }

    fn resolve_labels(&self, function: &mut Function, body: &Body<'a>) -> Parsed<()> {
        for (operand, scope, name, at) in &body.pending {
            let found = body.walk(*scope, |scope| match body.labels.get(&(scope, *name)) {
                Some(Local::Label(n)) => Some(*n),
                _ => None,
            });
            match (found, function.operands.get_mut(*operand as usize)) {
                (Some(label), Some(place)) => *place = Operand::Label(label),
                _ => return Err(Refusal::undeclared(*at, "label", name)),
            }
        }
        self.resolve_targets(function, body)
    }

    fn guard(&mut self, function: &mut Function, body: &mut Body<'a>) -> Parsed<Guard> {
        self.bump()?;
        let negated = self.eat(b'!')?;
        let (name, at) = self.word("a predicate")?;
        let register = self.register(name, at, function, body)?;
        if function.registers[register as usize] != Class::Pred {
            return Err(Refusal::unexpected(at, &format!("`{name}`"), "a .pred register"));
        }
        Ok(Guard { register, negated })
    }

    fn instruction(
        &mut self,
        name: &'a str,
        at: At,
        guard: Option<Guard>,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        let Some(op) = Op::named(name) else { return self.refuse_instruction(name, at) };
        let mut mods = Mods::default();
        body.mod_places.clear();
        while let Tok::Dot(word) = self.tok.tok {
            let place = self.tok.at;
            let Some(m) = Mod::named(word) else {
                let full = self.full_name(name, &mods)?;
                if let Some(why) = words::refused(&full) {
                    return Err(Refusal::unsupported(at, &full, why));
                }
                let what = What::Form {
                    instruction: name.to_string(),
                    found: format!("`.{}`", quote(word)),
                    expected: "a modifier of the covered set".to_string(),
                };
                return Err(Refusal { at: place, what });
            };
            if !mods.push(m) {
                return Err(Refusal::limit(
                    place,
                    "modifiers on an instruction",
                    crate::ptx::ir::MODS_MAX as u64,
                ));
            }
            body.mod_places.push(place);
            self.bump()?;
        }
        body.operands.clear();
        body.places.clear();
        // Where its vectors and lists begin.
        let start = function.operands.len();
        while !self.is(b';') {
            if !body.operands.is_empty() {
                self.expect(b',')?;
            }
            body.places.push(self.tok.at);
            // Of an instruction that is not covered its operands need not be understood.
            let operand = self.operand(op, function, body).map_err(|refusal| match op {
                Op::Call => refusal,
                _ => forms::modifiers(op, &mods, at, &body.mod_places).unwrap_or(refusal),
            })?;
            body.operands.push(operand);
            if body.operands.len() > 8 {
                return Err(Refusal::limit(self.tok.at, "operands of an instruction", 8));
            }
        }
        if op == Op::Call {
            self.expect(b';')?;
            return self.call(mods, guard, start, function, body, at);
        }
        let scope = forms::Scope { function, variables: &self.module.variables };
        forms::check(op, &mut mods, &body.operands, &scope, at, &body.mod_places, &body.places)?;
        if let [_, Operand::Function(n)] = body.operands[..] {
            self.addressable(n, body.places[1])?;
        }
        self.expect(b';')?;
        if op == Op::Ret && !body.results.is_empty() {
            return self.go_to_end(guard, function, body, at);
        }
        let first = function.operands.len() as u32;
        for (n, operand) in body.operands.iter().enumerate() {
            if let Operand::Label(pending) = operand
                && let Some(entry) = body.pending.get_mut(*pending as usize)
            {
                entry.0 = first + n as u32;
            }
        }
        let instruction = Instruction { op, mods, guard, first, count: 0, line: Line(at.line) };
        self.push(instruction, &body.operands, function, at)
    }

    /// Adds an instruction with its operands.
    fn push(
        &mut self,
        instruction: Instruction,
        operands: &[Operand],
        function: &mut Function,
        at: At,
    ) -> Parsed<()> {
        let first = function.operands.len() as u32;
        function.operands.extend_from_slice(operands);
        let count = operands.len() as u8;
        function.instructions.push(Instruction { first, count, ..instruction });
        self.instructions += 1;
        self.operands += u64::from(count);
        if self.instructions > limits::INSTRUCTIONS_MAX {
            return Err(Refusal::limit(at, "instructions in a module", limits::INSTRUCTIONS_MAX));
        }
        if self.operands > limits::OPERANDS_MAX {
            return Err(Refusal::limit(at, "operands in a module", limits::OPERANDS_MAX));
        }
        Ok(())
    }

    /// An opcode with the modifiers read so far and those that follow.
    fn full_name(&mut self, name: &str, mods: &Mods) -> Parsed<String> {
        let mut full = mods.as_slice().iter().fold(name.to_string(), |s, m| s + "." + m.text());
        while let Tok::Dot(word) = self.tok.tok
            && full.len() < 200
        {
            full = full + "." + word;
            self.bump()?;
        }
        Ok(full)
    }

    /// Names a refused instruction in full, modifiers included.
    fn refuse_instruction(&mut self, name: &str, at: At) -> Parsed<()> {
        let full = self.full_name(name, &Mods::default())?;
        match words::refused(&full) {
            Some(why) => Err(Refusal::unsupported(at, &full, why)),
            None => Err(Refusal { at, what: What::UnknownInstruction { name: quote(&full) } }),
        }
    }
}

/// Gives registers the numbers that they get where the body is read as it prints: in order of their use.
fn renumber(function: &mut Function) {
    let mut numbers = vec![SINK; function.registers.len()];
    let mut used = Vec::new();
    let mut meet = |r: u32| {
        if let Some(number) = numbers.get_mut(r as usize).filter(|n| **n == SINK) {
            *number = used.len() as u32;
            used.push(function.registers[r as usize]);
        }
    };
    for i in &function.instructions {
        i.guard.iter().for_each(|guard| meet(guard.register));
        for operand in function.operands_of(i).iter().flat_map(|o| function.parts(o)) {
            match operand {
                Operand::Register(r)
                | Operand::Part(r, _)
                | Operand::Minus(r, _)
                | Operand::Not(r)
                | Operand::Address(Base::Register(r), _) => meet(*r),
                Operand::Pair(a, b) => [*a, *b].into_iter().for_each(&mut meet),
                _ => {}
            }
        }
    }
    let number = |r: &mut u32| *r = numbers.get(*r as usize).copied().unwrap_or(SINK);
    for operand in &mut function.operands {
        match operand {
            Operand::Register(r)
            | Operand::Part(r, _)
            | Operand::Minus(r, _)
            | Operand::Not(r)
            | Operand::Address(Base::Register(r), _) => number(r),
            Operand::Pair(a, b) => [a, b].into_iter().for_each(number),
            _ => {}
        }
    }
    for guard in function.instructions.iter_mut().filter_map(|i| i.guard.as_mut()) {
        number(&mut guard.register);
    }
    function.registers = used;
}

impl<'a> Body<'a> {
    /// Asks `find` for each scope from `scope` outwards. Depth is bounded, so this is a short loop.
    fn walk<T>(&self, mut scope: u32, find: impl Fn(u32) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = find(scope) {
                return Some(found);
            }
            let parent = self.parents[scope as usize];
            if parent == scope {
                return None;
            }
            scope = parent;
        }
    }

    fn declare(&mut self, name: &'a str, local: Local, at: At) -> Parsed<()> {
        match self.names.insert((self.scope, name), local) {
            None => Ok(()),
            Some(_) => Err(Refusal::twice(at, name)),
        }
    }

    /// Whether a `name<count>` of this scope declares the register: tries every way to part the final digits.
    fn range(&self, scope: u32, name: &str) -> Option<(Class, u8)> {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count().min(7);
        for n in 1..=digits {
            let (prefix, number) = name.split_at(name.len() - n);
            if n > 1 && number.starts_with('0') {
                continue;
            }
            if let Some(Local::Range(class, count, lanes)) = self.ranges.get(&(scope, prefix))
                && number.parse::<u32>().is_ok_and(|i| i < *count)
            {
                return Some((*class, *lanes));
            }
        }
        None
    }
}
