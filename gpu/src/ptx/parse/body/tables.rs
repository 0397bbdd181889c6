//! What jumps and calls choose from: `name: .branchtargets L1, L2;`, `name: .calltargets f, g;` and
//! `name: .callprototype (.param .b32 _) _ (.param .b64 _);`.

use super::*;
use crate::ptx::{calls, ir::Prototype};

impl<'a> Parser<'a> {
    /// The list after its own label; the labels in it are looked up when the body has been read.
    pub(super) fn branch_targets(
        &mut self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        let table = function.tables.len() as u32;
        let mut labels = Vec::new();
        self.choices(|parser| {
            let (label, at) = parser.word("a label")?;
            body.targets.push((table, labels.len() as u32, body.scope, label, at));
            labels.push(0);
            Ok(at)
        })?;
        function.tables.push(labels);
        match body.tables.insert((body.scope, name), table) {
            None => Ok(()),
            Some(_) => Err(Refusal::twice(at, name)),
        }
    }

    /// Functions of one shape.
    pub(super) fn call_targets(
        &mut self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        let mut list = Vec::new();
        self.choices(|parser| {
            let (target, at) = parser.word("a function's name")?;
            let Some(Global::Function(n)) = parser.names.get(target).copied() else {
                return Err(Refusal::undeclared(at, "function", target));
            };
            parser.addressable(n, at)?;
            let first = list.first().map_or(n, |first: &u32| *first);
            let functions = &parser.module.functions;
            if !calls::alike(&functions[first as usize], &functions[n as usize]) {
                let expected = "a function with the results and parameters of the first";
                return Err(Refusal::unexpected(at, &format!("`{target}`"), expected));
            }
            list.push(n);
            Ok(at)
        })?;
        self.prototype(name, at, Prototype::Targets(list), function, body)
    }

    /// Results and parameters, as of a function without a name.
    pub(super) fn call_prototype(
        &mut self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        self.bump()?;
        let returns = if self.is(b'(') { self.params(false)? } else { Vec::new() };
        if returns.len() > 1 {
            return Err(Refusal::unexpected(
                at,
                "several results",
                "one at most, where a call is by address",
            ));
        }
        if self.tok.tok != Tok::Word("_") {
            return self.unexpected("`_` in place of a name");
        }
        self.bump()?;
        let params = if self.is(b'(') { self.params(false)? } else { Vec::new() };
        if self.tok.tok == Tok::Dot("noreturn") {
            self.bump()?;
        }
        self.expect(b';')?;
        self.choice(at)?;
        self.prototype(name, at, Prototype::Shape { returns, params }, function, body)
    }

    fn prototype(
        &mut self,
        name: &'a str,
        at: At,
        prototype: Prototype,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        let number = function.prototypes.len() as u32;
        function.prototypes.push(prototype);
        match body.prototypes.insert((body.scope, name), number) {
            None => Ok(()),
            Some(_) => Err(Refusal::twice(at, name)),
        }
    }

    /// Refuses addresses of what is not called by address.
    pub(in crate::ptx::parse) fn addressable(&self, n: u32, at: At) -> Parsed<()> {
        let target = &self.module.functions[n as usize];
        let why = match (target.kernel, target.external) {
            (true, _) => "a kernel starts no other kernels; make it a launch of the program",
            (_, true) => "what every device brings along is called by its name",
            (false, false) => return Ok(()),
        };
        Err(Refusal::unsupported(at, &target.name, why))
    }

    /// The list after a directive's name, item by item; each says where it stands.
    fn choices(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<At>) -> Parsed<()> {
        self.bump()?;
        loop {
            let at = item(self)?;
            self.choice(at)?;
            if !self.eat(b',')? {
                return self.expect(b';');
            }
        }
    }

    /// Counts something that is chosen from: it costs as much as a label.
    fn choice(&mut self, at: At) -> Parsed<()> {
        self.labels += 1;
        if self.labels > limits::LABELS_MAX {
            return Err(Refusal::limit(at, "labels in a module", limits::LABELS_MAX));
        }
        Ok(())
    }

    pub(super) fn resolve_targets(&self, function: &mut Function, body: &Body<'a>) -> Parsed<()> {
        for (table, place, scope, name, at) in &body.targets {
            let found = body.walk(*scope, |scope| match body.labels.get(&(scope, *name)) {
                Some(Local::Label(n)) => Some(*n),
                _ => None,
            });
            let Some(label) = found else { return Err(Refusal::undeclared(*at, "label", name)) };
            function.tables[*table as usize][*place as usize] = label;
        }
        Ok(())
    }
}
