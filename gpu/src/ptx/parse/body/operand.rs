//! Operands: registers, numbers, vectors, addresses and names.

use super::*;
use crate::ptx::ir::Select;

impl<'a> Parser<'a> {
    pub(super) fn operand(
        &mut self,
        op: Op,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<Operand> {
        match self.tok.tok {
            Tok::Punct(b'[') => self.address(function, body),
            Tok::Punct(b'{') => {
                self.bump()?;
                let (first, count) = self.parts(b'}', op, function, body)?;
                // A vector of one, as some inline assembly writes it, is what it holds.
                if count == 1
                    && matches!(op, Op::Ld | Op::St)
                    && let Some(only) = function.operands.pop()
                {
                    self.operands -= 1;
                    return Ok(only);
                }
                Ok(Operand::Vector(first, count))
            }
            Tok::Punct(b'(') if op == Op::Call => {
                self.bump()?;
                let (first, count) = self.parts(b')', op, function, body)?;
                Ok(Operand::List(first, count))
            }
            Tok::Punct(b'!') if !self.negates_number()? => {
                self.bump()?;
                let (name, at) = self.word("a predicate")?;
                Ok(Operand::Not(self.register(name, at, function, body)?))
            }
            Tok::Word(name) if op == Op::Bra => {
                let at = self.bump()?.at;
                // The number of the pending branch stands in for the label until the body has been read.
                body.pending.push((u32::MAX, body.scope, name, at));
                Ok(Operand::Label((body.pending.len() - 1) as u32))
            }
            Tok::Word(name) if op == Op::Brx => {
                match body.walk(body.scope, |s| body.tables.get(&(s, name)).copied()) {
                    Some(table) => self.bump().map(|_| Operand::Table(table)),
                    None => self.simple(function, body),
                }
            }
            Tok::Word(name) if op == Op::Call => {
                match body.walk(body.scope, |s| body.prototypes.get(&(s, name)).copied()) {
                    Some(prototype) => self.bump().map(|_| Operand::Prototype(prototype)),
                    None => self.simple(function, body),
                }
            }
            Tok::Punct(b'-') if op == Op::Vmad && !self.negates_number()? => {
                let at = self.bump()?.at;
                match self.selected(function, body)? {
                    Operand::Register(r) => Ok(Operand::Minus(r, None)),
                    Operand::Part(r, select) => Ok(Operand::Minus(r, Some(select))),
                    _ => Err(Refusal::unexpected(at, "`-`", "a register after it")),
                }
            }
            _ if op.video_lanes().is_some() => self.selected(function, body),
            _ => self.simple(function, body),
        }
    }

    /// A register with the parts of it that are meant, or anything simple.
    fn selected(&mut self, function: &mut Function, body: &mut Body<'a>) -> Parsed<Operand> {
        let operand = self.simple(function, body)?;
        match (operand, self.tok.tok) {
            (Operand::Register(r), Tok::Dot(word)) => match Select::named(word) {
                Some(select) => self.bump().map(|_| Operand::Part(r, select)),
                None => self.unexpected("parts of a register, such as `.b0` or `.h10`"),
            },
            _ => Ok(operand),
        }
    }

    /// The parts of `{...}` or `(...)`. They go before the instruction's own operands.
    pub(super) fn parts(
        &mut self,
        end: u8,
        op: Op,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<(u32, u8)> {
        let first = function.operands.len();
        while !self.eat(end)? {
            if function.operands.len() > first {
                self.expect(b',')?;
            }
            let at = self.tok.at;
            let part = self.simple(function, body)?;
            if matches!(part, Operand::Pair(..) | Operand::Vector(..))
                || (op != Op::Call && matches!(part, Operand::Symbol(..)))
            {
                return Err(Refusal::unexpected(at, "a part that is no value", "a register or a constant"));
            }
            function.operands.push(part);
            self.operands += 1;
            if (function.operands.len() - first) as u64 > limits::PARTS_MAX {
                return Err(Refusal::limit(at, "parts of an operand", limits::PARTS_MAX));
            }
        }
        Ok((first as u32, (function.operands.len() - first) as u8))
    }

    /// A register, constant, special register, variable or pair.
    pub(super) fn simple(&mut self, function: &mut Function, body: &mut Body<'a>) -> Parsed<Operand> {
        let at = self.tok.at;
        match self.tok.tok {
            _ if self.is_constant() => self.constant(),
            Tok::Word(name) => {
                self.bump()?;
                if self.eat(b'|')? {
                    let left = if name == "_" { SINK } else { self.register(name, at, function, body)? };
                    let Tok::Word(name) = self.tok.tok else { return self.unexpected("a register") };
                    let at = self.bump()?.at;
                    let right = if name == "_" { SINK } else { self.register(name, at, function, body)? };
                    if left == SINK && right == SINK {
                        return Err(Refusal::unexpected(at, "`_|_`", "at least one register"));
                    }
                    return Ok(Operand::Pair(left, right));
                }
                self.named(name, at, function, body)
            }
            _ => self.unexpected("an operand"),
        }
    }

    pub(super) fn named(
        &mut self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<Operand> {
        if name == "_" {
            return Ok(Operand::Sink);
        }
        if let Some((special, mut part)) = Special::spelled(name) {
            if special.has_parts() {
                part = match self.tok.tok {
                    Tok::Dot("x") => 0,
                    Tok::Dot("y") => 1,
                    Tok::Dot("z") => 2,
                    Tok::Dot("w") => 3,
                    _ => return self.unexpected("`.x`, `.y`, `.z` or `.w`"),
                };
                self.bump()?;
            }
            return Ok(Operand::Special(special, part));
        }
        // What is declared nearer hides what is not.
        let found = self.local(name, at, function, body)?;
        if let Some(symbol) = self.symbol(found, name) {
            let mut offset = 0;
            if self.is(b'+') {
                offset = self.offset()?;
            }
            if self.eat(b'[')? {
                offset = self.integer()?.wrapping_mul(self.element_bytes(symbol, function));
                self.expect(b']')?;
            }
            return Ok(Operand::Symbol(symbol, offset));
        }
        match (found, self.names.get(name)) {
            (Some(Local::Vector(first, lanes)), _) if !matches!(self.tok.tok, Tok::Dot(_)) => {
                let parts = function.operands.len() as u32;
                function.operands.extend((first..first + u32::from(lanes)).map(Operand::Register));
                self.operands += u64::from(lanes);
                Ok(Operand::Vector(parts, lanes))
            }
            (None, Some(Global::Function(n))) => Ok(Operand::Function(*n)),
            _ => self.number(found, name, at).map(Operand::Register),
        }
    }

    pub(super) fn address(&mut self, function: &mut Function, body: &mut Body<'a>) -> Parsed<Operand> {
        self.bump()?;
        let (base, offset) = match self.tok.tok {
            Tok::Int(v) => {
                self.bump()?;
                (Base::Absolute, v as i64)
            }
            Tok::Word(name) => {
                let at = self.bump()?.at;
                let found = self.local(name, at, function, body)?;
                let base = match self.symbol(found, name) {
                    Some(symbol) => Base::Symbol(symbol),
                    None => Base::Register(self.number(found, name, at)?),
                };
                let offset = if self.is(b'+') || self.is(b'-') { self.offset()? } else { 0 };
                (base, offset)
            }
            _ => return self.unexpected("a register, a variable or an address"),
        };
        self.expect(b']')?;
        Ok(Operand::Address(base, offset))
    }

    /// Whether the `!` or `-` here stands before a number rather than a register.
    fn negates_number(&self) -> Parsed<bool> {
        let next = self.lexer.clone().next()?.tok;
        Ok(!matches!(next, Tok::Word(name) if name != "WARP_SZ"))
    }

    /// `+8`, `+-8`, `-8` or `+(2*4)`.
    pub(in crate::ptx::parse) fn offset(&mut self) -> Parsed<i64> {
        self.eat(b'+')?;
        self.integer()
    }

    /// Bytes of an element of a variable or parameter.
    fn element_bytes(&self, symbol: Symbol, function: &Function) -> i64 {
        let element = match symbol {
            Symbol::Module(n) => self.module.variables[n as usize].element,
            Symbol::Local(n) => function.variables[n as usize].element,
            Symbol::Param(n) => function.params[n as usize].element,
            Symbol::Return(n) => function.returns[n as usize].element,
        };
        i64::from(element.bits() / 8)
    }

    /// The variable or parameter that a name stands for.
    fn symbol(&self, found: Option<Local>, name: &str) -> Option<Symbol> {
        match (found, self.names.get(name)) {
            (Some(Local::Symbol(symbol)), _) => Some(symbol),
            (None, Some(Global::Variable(n))) => Some(Symbol::Module(*n)),
            _ => None,
        }
    }

    /// The number of a register, given at its first use; of a vector, that of the part that is named.
    pub(super) fn register(
        &mut self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<u32> {
        let found = self.local(name, at, function, body)?;
        self.number(found, name, at)
    }

    fn number(&mut self, found: Option<Local>, name: &str, at: At) -> Parsed<u32> {
        let (first, lanes) = match found {
            Some(Local::Register(n)) => return Ok(n),
            Some(Local::Vector(first, lanes)) => (first, lanes),
            _ => return Err(Refusal::undeclared(at, "register or variable", name)),
        };
        let part = match self.tok.tok {
            Tok::Dot("x" | "r") => 0,
            Tok::Dot("y" | "g") => 1,
            Tok::Dot("z" | "b") if lanes > 2 => 2,
            Tok::Dot("w" | "a") if lanes > 2 => 3,
            _ => return self.unexpected("a part of the vector, such as `.x`"),
        };
        self.bump()?;
        Ok(first + part)
    }

    /// What a name stands for; a register that was only declared gets its number.
    fn local(
        &self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<Option<Local>> {
        let found = body.walk(body.scope, |scope| {
            if let Some(local) = body.names.get(&(scope, name)) {
                return Some((scope, *local));
            }
            body.range(scope, name).map(|(class, lanes)| (scope, Local::Unused(class, lanes)))
        });
        let Some((scope, Local::Unused(class, lanes))) = found else {
            return Ok(found.map(|(_, local)| local));
        };
        let number = function.registers.len() as u32;
        if u64::from(number) + u64::from(lanes) > limits::REGISTERS_MAX {
            return Err(Refusal::limit(at, "registers in a function", limits::REGISTERS_MAX));
        }
        function.registers.extend((0..lanes).map(|_| class));
        let local = if lanes == 1 { Local::Register(number) } else { Local::Vector(number, lanes) };
        body.disordered |= lanes > 1;
        body.names.insert((scope, name), local);
        Ok(Some(local))
    }
}
