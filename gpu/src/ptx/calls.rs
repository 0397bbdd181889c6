//! Which functions calls lead to.
//!
//! Owns: [`Calls`], made once when a module has been read. A call by name leads to one function. A call by address leads to
//! any of a *group*: the functions that its list names, or all those of its shape whose address is taken in the module.
//! Never: knows where in memory a function is (that is `cpu/decode`'s business).
//! Limits: groups are shared by all calls of one shape, so that a module's calls and groups together are no larger than its text.
//! Tests: `gpu/tests/cpu_calls.rs`.

use super::{
    ir::{Function, Instruction, Module, Operand, Param, Pointed, Prototype},
    words::Op,
};
use std::collections::HashMap;

/// Where a call leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    Function(u32),
    Group(u32),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calls {
    /// The group of each function's prototypes.
    of: Vec<Vec<u32>>,
    groups: Vec<Vec<u32>>,
}

/// Bytes and alignment of results and of parameters.
type Shape = [Vec<(u32, u32)>; 2];

fn shape(returns: &[Param], params: &[Param]) -> Shape {
    [returns, params].map(|list| list.iter().map(|p| (p.bytes(), p.align)).collect())
}

/// Whether calls of one fit the other.
pub(super) fn alike(a: &Function, b: &Function) -> bool {
    shape(&a.returns, &a.params) == shape(&b.returns, &b.params)
}

impl Calls {
    pub(super) fn of(module: &Module) -> Calls {
        let mut calls = Calls::default();
        if module.functions.iter().all(|f| f.prototypes.is_empty()) {
            return calls;
        }
        let mut shapes: HashMap<Shape, u32> = HashMap::new();
        for n in taken(module) {
            let f = &module.functions[n as usize];
            let next = calls.groups.len() as u32;
            let group = *shapes.entry(shape(&f.returns, &f.params)).or_insert(next);
            if group == next {
                calls.groups.push(Vec::new());
            }
            calls.groups[group as usize].push(n);
        }
        for f in &module.functions {
            let mut of = Vec::with_capacity(f.prototypes.len());
            for prototype in &f.prototypes {
                let found = match prototype {
                    Prototype::Shape { returns, params } => shapes.get(&shape(returns, params)).copied(),
                    Prototype::Targets(_) => None,
                };
                of.push(found.unwrap_or(calls.groups.len() as u32));
                match prototype {
                    Prototype::Targets(list) => calls.groups.push(list.clone()),
                    Prototype::Shape { .. } if found.is_none() => calls.groups.push(Vec::new()),
                    Prototype::Shape { .. } => {}
                }
            }
            calls.of.push(of);
        }
        calls
    }

    /// Where a call of function `n` leads to; `None` for other instructions.
    pub fn callee(&self, n: usize, f: &Function, i: &Instruction) -> Option<Callee> {
        let mut operands = f.operands_of(i).iter().filter(|_| i.op == Op::Call);
        operands.find_map(|operand| match operand {
            Operand::Function(callee) => Some(Callee::Function(*callee)),
            Operand::Prototype(p) => Some(Callee::Group(*self.of.get(n)?.get(*p as usize)?)),
            _ => None,
        })
    }

    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    pub fn members(&self, group: u32) -> &[u32] {
        self.groups.get(group as usize).map_or(&[], Vec::as_slice)
    }
}

/// The functions whose addresses are values somewhere, in their order.
fn taken(module: &Module) -> Vec<u32> {
    let moved = module.functions.iter().flat_map(|f| {
        let moves = f.instructions.iter().filter(|i| i.op == Op::Mov);
        moves.flat_map(|i| f.operands_of(i)).filter_map(|operand| match operand {
            Operand::Function(n) => Some(*n),
            _ => None,
        })
    });
    let stored = module.variables.iter().flat_map(|v| &v.pointers).filter_map(|pointer| match pointer.to {
        Pointed::Function(n) => Some(n),
        Pointed::Variable(_) => None,
    });
    let mut found: Vec<u32> = moved.chain(stored).collect();
    found.sort_unstable();
    found.dedup();
    found
}
