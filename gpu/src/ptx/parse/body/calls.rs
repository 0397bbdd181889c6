//! Calls, and what is passed in registers.
//!
//! Owns: the one shape that calls have: arguments and results in `.param` variables. A register or constant among them is
//! copied to or from a variable of its own, and a function whose formal parameters are registers loads them first and
//! stores its results where it returns.
//! Tests: `gpu/tests/cpu_calls.rs`.

use super::*;
use crate::ptx::ir::{Prototype, Variable};

/// The type that copies a parameter: what `ld` and `st` know of its size.
fn copied_as(element: Mod) -> Mod {
    match (element, element.bits()) {
        (Mod::F32 | Mod::F64, _) => element,
        (_, 8) => Mod::B8,
        (_, 16) => Mod::B16,
        (_, 32) => Mod::B32,
        (_, 128) => Mod::B128,
        _ => Mod::B64,
    }
}

/// Whether a register is as wide as a parameter.
fn holds(function: &Function, register: u32, param: &Param) -> bool {
    function.registers[register as usize].bits() == param.element.bits()
}

fn refuse<T>(at: At, found: &str, expected: &str) -> Parsed<T> {
    let what = What::Form {
        instruction: "call".to_string(),
        found: found.to_string(),
        expected: expected.to_string(),
    };
    Err(Refusal { at, what })
}

const CALLEE: &str =
    "a function declared before, by its name, or a .b64 register and a prototype, with their lists";
const RESULTS: &str = "results";
const PARAMETERS: &str = "parameters";
/// Beyond the places in a list: where several results are handed over at once, by their bytes.
const JOINED: usize = limits::PARAMS_MAX as usize;

/// What is between a caller's registers and the call: the variable and where in it, and the register or value.
type Copies = Vec<(Base, i64, Operand, Mod)>;

impl<'a> Parser<'a> {
    /// `call (ret), name, (a, b)`: a function declared before; or `call (ret), %rd1, (a, b), prototype`. The lists are
    /// `function.operands[start..]`.
    pub(super) fn call(
        &mut self,
        mods: Mods,
        guard: Option<Guard>,
        start: usize,
        function: &mut Function,
        body: &mut Body<'a>,
        at: At,
    ) -> Parsed<()> {
        if mods.as_slice().iter().any(|m| *m != Mod::Uni) || mods.as_slice().len() > 1 {
            return refuse(at, "these modifiers", "`.uni` or nothing");
        }
        let empty = Operand::List(0, 0);
        let (operands, prototype) = match body.operands.as_slice() {
            [operands @ .., p @ Operand::Prototype(_)] => (operands, Some(*p)),
            operands => (operands, None),
        };
        let (returned, callee, given) = match operands {
            [r @ Operand::List(..), callee, a @ Operand::List(..)] => (*r, *callee, *a),
            [r @ Operand::List(..), callee] => (*r, *callee, empty),
            [callee, a @ Operand::List(..)] => (empty, *callee, *a),
            [callee] => (empty, *callee, empty),
            _ => return refuse(at, "these operands", CALLEE),
        };
        let (results, params, layout) = match (callee, prototype) {
            (Operand::Function(f), None) => {
                let target = &self.module.functions[f as usize];
                if target.kernel {
                    return refuse(at, "a kernel", "a .func");
                }
                (target.returns.clone(), target.params.clone(), self.results.get(&f).cloned())
            }
            (Operand::Register(r), Some(Operand::Prototype(p)))
                if function.registers[r as usize] == Class::B64 =>
            {
                let (results, params) = self.called(&function.prototypes[p as usize]);
                (results, params, None)
            }
            _ => return refuse(at, "these operands", CALLEE),
        };
        let [mut returned, mut given] = [returned, given].map(|list| function.parts(&list).to_vec());
        self.operands -= (function.operands.len() - start) as u64;
        function.operands.truncate(start);
        let after = match layout {
            Some(layout) => self.joined_results(&mut returned, &layout, &results, function, body, at)?,
            None => self.variables_of(RESULTS, &mut returned, &results, function, body, at)?,
        };
        let before = self.variables_of(PARAMETERS, &mut given, &params, function, body, at)?;
        body.disordered |= !before.is_empty() || !after.is_empty();
        // What passes arguments may not be guarded: one that does not call goes round it.
        let round = guard.filter(|_| !before.is_empty() || !after.is_empty());
        let branch = function.operands.len();
        if let Some(Guard { register, negated }) = round {
            let not = Some(Guard { register, negated: !negated });
            self.emit(Op::Bra, Mods::default(), not, &[Operand::Label(0)], function, at)?;
        }
        for (base, offset, value, element) in before {
            self.copy(Op::St, element, [Operand::Address(base, offset), value], function, at)?;
        }
        let lists = [returned, given].map(|parts| {
            let first = function.operands.len() as u32;
            function.operands.extend_from_slice(&parts);
            self.operands += parts.len() as u64;
            if parts.is_empty() { empty } else { Operand::List(first, parts.len() as u8) }
        });
        let guard = if round.is_some() { None } else { guard };
        let operands = [lists[0], callee, lists[1], prototype.unwrap_or(empty)];
        let operands = &operands[..3 + usize::from(prototype.is_some())];
        self.emit(Op::Call, mods, guard, operands, function, at)?;
        for (base, offset, register, element) in after {
            self.copy(Op::Ld, element, [register, Operand::Address(base, offset)], function, at)?;
        }
        if round.is_some() {
            function.operands[branch] = Operand::Label(function.labels.len() as u32);
            function.labels.push(function.instructions.len() as u32);
        }
        Ok(())
    }

    /// Results and parameters of what a call by address may lead to.
    fn called(&self, prototype: &Prototype) -> (Vec<Param>, Vec<Param>) {
        match prototype {
            Prototype::Shape { returns, params } => (returns.clone(), params.clone()),
            Prototype::Targets(list) => {
                let first = list.first().map(|f| &self.module.functions[*f as usize]);
                first.map_or_else(Default::default, |f| (f.returns.clone(), f.params.clone()))
            }
        }
    }

    /// Makes every part of a list a `.param` variable, and gives what is to be copied.
    fn variables_of(
        &mut self,
        which: &'static str,
        parts: &mut [Operand],
        formal: &[Param],
        function: &mut Function,
        body: &mut Body<'a>,
        at: At,
    ) -> Parsed<Copies> {
        if parts.len() != formal.len() {
            return refuse(at, &format!("{} {which}", parts.len()), &formal.len().to_string());
        }
        let mut copies = Copies::new();
        for (n, (part, param)) in parts.iter_mut().zip(formal).enumerate() {
            let variable = match part {
                Operand::Symbol(Symbol::Local(n), 0) => function.variables.get(*n as usize),
                _ => None,
            };
            if variable.is_some_and(|v| v.space == Space::Param && v.bytes() == u64::from(param.bytes())) {
                continue;
            }
            let value = match part {
                Operand::Register(r) => holds(function, *r, param),
                Operand::Int(_) | Operand::F32(_) | Operand::F64(_) => which == PARAMETERS,
                Operand::Sink => which == RESULTS,
                _ => false,
            };
            if !value || param.count.is_some() {
                let expected = ".param variables of the declared sizes, registers or numbers";
                return refuse(at, &format!("another kind of {which}"), expected);
            }
            let variable = self.call_variable(which, n, param, function, body, at)?;
            if *part != Operand::Sink {
                copies.push((Base::Symbol(variable), 0, *part, copied_as(param.element)));
            }
            *part = Operand::Symbol(variable, 0);
        }
        Ok(copies)
    }

    /// Several results, which one variable hands over.
    fn joined_results(
        &mut self,
        parts: &mut Vec<Operand>,
        layout: &[Param],
        formal: &[Param],
        function: &mut Function,
        body: &mut Body<'a>,
        at: At,
    ) -> Parsed<Copies> {
        if parts.len() != layout.len() {
            return refuse(at, &format!("{} {RESULTS}", parts.len()), &layout.len().to_string());
        }
        let Some(whole) = formal.first() else { return Ok(Copies::new()) };
        let variable =
            self.call_variable(RESULTS, JOINED + whole.bytes() as usize, whole, function, body, at)?;
        let mut copies = Copies::new();
        for (part, param) in parts.iter().zip(layout) {
            match part {
                Operand::Sink => {}
                Operand::Register(r) if holds(function, *r, param) => {
                    let element = copied_as(param.element);
                    copies.push((Base::Symbol(variable), param.offset.into(), *part, element));
                }
                _ => return refuse(at, "another kind of results", "registers of the declared sizes"),
            }
        }
        *parts = vec![Operand::Symbol(variable, 0)];
        Ok(copies)
    }

    /// The variable that passes something at this place. Calls follow each other, so those of one body may share it.
    fn call_variable(
        &mut self,
        which: &'static str,
        place: usize,
        param: &Param,
        function: &mut Function,
        body: &mut Body<'a>,
        at: At,
    ) -> Parsed<Symbol> {
        let passed = (which, place, param.element, param.align);
        if let Some(variable) = body.passed.get(&passed) {
            return Ok(Symbol::Local(*variable));
        }
        self.variables += 1;
        if self.variables > limits::VARIABLES_MAX {
            return Err(Refusal::limit(at, "variables in a module", limits::VARIABLES_MAX));
        }
        function.variables.push(Variable {
            space: Space::Param,
            align: param.align,
            element: param.element,
            count: param.count.unwrap_or(1).into(),
            scalar: param.count.is_none(),
            init: Vec::new(),
            pointers: Vec::new(),
        });
        let variable = function.variables.len() as u32 - 1;
        body.passed.insert(passed, variable);
        Ok(Symbol::Local(variable))
    }

    /// `ld.param` or `st.param`, checked like one that was written.
    fn copy(
        &mut self,
        op: Op,
        element: Mod,
        operands: [Operand; 2],
        function: &mut Function,
        at: At,
    ) -> Parsed<()> {
        let mut mods = Mods::default();
        mods.push(Mod::Param);
        mods.push(element);
        let scope = forms::Scope { function, variables: &self.module.variables };
        forms::check(op, &mut mods, &operands, &scope, at, &[], &[])?;
        self.emit(op, mods, None, &operands, function, at)
    }

    fn emit(
        &mut self,
        op: Op,
        mods: Mods,
        guard: Option<Guard>,
        operands: &[Operand],
        function: &mut Function,
        at: At,
    ) -> Parsed<()> {
        let instruction = Instruction { op, mods, guard, first: 0, count: 0, line: Line(at.line) };
        self.push(instruction, operands, function, at)
    }

    /// A formal parameter that is a register: loaded if it is given, remembered if it is a result.
    pub(super) fn enter_register(
        &mut self,
        name: &'a str,
        at: At,
        symbol: Symbol,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        let register = self.register(name, at, function, body)?;
        match symbol {
            Symbol::Return(n) => {
                body.disordered = true;
                body.results.push((n, register));
            }
            Symbol::Param(n) => {
                let element = copied_as(function.params[n as usize].element);
                let from = Operand::Address(Base::Symbol(symbol), 0);
                self.copy(Op::Ld, element, [Operand::Register(register), from], function, at)?;
            }
            Symbol::Module(_) | Symbol::Local(_) => {}
        }
        Ok(())
    }

    /// A return of a function whose results are in registers: they are stored at its end.
    pub(super) fn go_to_end(
        &mut self,
        guard: Option<Guard>,
        function: &mut Function,
        body: &mut Body<'a>,
        at: At,
    ) -> Parsed<()> {
        body.returns.push(function.operands.len());
        self.emit(Op::Bra, Mods::default(), guard, &[Operand::Label(0)], function, at)
    }

    /// Stores the registers that hold results, where the body ends and all returns lead.
    pub(super) fn hand_back(&mut self, function: &mut Function, body: &Body<'a>, at: At) -> Parsed<()> {
        if !body.returns.is_empty() {
            let end = function.labels.len() as u32;
            body.returns.iter().for_each(|branch| function.operands[*branch] = Operand::Label(end));
            function.labels.push(function.instructions.len() as u32);
        }
        for (n, register) in &body.results {
            let (place, param) = match body.layout.get(*n as usize) {
                Some(part) => (0, part),
                None => (*n, &function.returns[*n as usize]),
            };
            let element = copied_as(param.element);
            let offset = if body.layout.is_empty() { 0 } else { param.offset.into() };
            let to = Operand::Address(Base::Symbol(Symbol::Return(place)), offset);
            self.copy(Op::St, element, [to, Operand::Register(*register)], function, at)?;
        }
        Ok(())
    }
}
