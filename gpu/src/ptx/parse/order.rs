//! What is seen once a module has been read: the order of its functions, and circles of calls.

use super::Parsed;
use crate::ptx::{
    calls::Callee,
    error::{At, Refusal},
    ir::{Module, Operand, Pointed, Prototype},
};

/// Puts functions before kernels where a variable holds a function's address: so they print, for the address is of
/// something declared before.
pub(super) fn functions_first(module: &mut Module) {
    let points =
        module.variables.iter().flat_map(|v| &v.pointers).any(|p| matches!(p.to, Pointed::Function(_)));
    if !points {
        return;
    }
    let mut order: Vec<usize> = (0..module.functions.len()).collect();
    order.sort_by_key(|n| module.functions[*n].kernel);
    let mut places = vec![0; order.len()];
    for (place, n) in order.iter().enumerate() {
        places[*n] = place as u32;
    }
    let aim = |n: &mut u32| *n = places[*n as usize];
    let mut functions = std::mem::take(&mut module.functions);
    for f in &mut functions {
        for operand in &mut f.operands {
            if let Operand::Function(n) = operand {
                aim(n);
            }
        }
        for prototype in &mut f.prototypes {
            if let Prototype::Targets(list) = prototype {
                list.iter_mut().for_each(aim);
            }
        }
    }
    for pointer in module.variables.iter_mut().flat_map(|v| &mut v.pointers) {
        if let Pointed::Function(n) = &mut pointer.to {
            aim(n);
        }
    }
    let mut numbered: Vec<_> = functions.into_iter().zip(places).collect();
    numbered.sort_by_key(|(_, place)| *place);
    for (mut f, place) in numbered {
        if !f.kernel && !f.external {
            f.name = format!("$f{place}");
        }
        module.functions.push(f);
    }
}

/// Calls are carried out by copying bodies, so they may not form a circle. Walks with its own stack, over functions and,
/// after them, the groups that calls by address lead to.
pub(super) fn refuse_recursion(module: &Module) -> Parsed<()> {
    const NEW: u8 = 0;
    const OPEN: u8 = 1;
    const DONE: u8 = 2;
    let functions = &module.functions;
    let count = functions.len();
    let mut state = vec![NEW; count + module.calls.groups()];
    for root in 0..count {
        let mut stack = vec![(root, 0usize)];
        while let Some((n, next)) = stack.pop() {
            if next == 0 && state[n] != NEW {
                continue;
            }
            state[n] = OPEN;
            let Some((to, at)) = step(module, n, next) else {
                state[n] = DONE;
                continue;
            };
            stack.push((n, at + 1));
            if state[to] == OPEN {
                // A circle has an instruction at least: of the group's caller, if this is a group.
                let line = |n: usize, at: usize| functions.get(n)?.instructions.get(at).map(|i| i.line.0);
                let here = line(n, at);
                let caller = || stack.iter().rev().find_map(|(n, next)| line(*n, next.wrapping_sub(1)));
                let line = here.or_else(caller).unwrap_or(1);
                let from = stack.iter().rposition(|(n, _)| *n == to).unwrap_or(0);
                let why = if stack[from..].iter().any(|(n, _)| *n >= count) {
                    "a call by address may lead back here, and recursive calls are not covered; name what it is of by .calltargets"
                } else {
                    "recursive calls are not covered; use a loop"
                };
                return Err(Refusal::unsupported(At { line, column: 1, length: 1 }, "call", why));
            }
            if state[to] == NEW {
                stack.push((to, 0));
            }
        }
    }
    Ok(())
}

/// From `next` on, the first that a function calls or that is of a group, and where.
fn step(module: &Module, n: usize, next: usize) -> Option<(usize, usize)> {
    let count = module.functions.len();
    let Some(function) = module.functions.get(n) else {
        let member = module.calls.members((n - count) as u32).get(next)?;
        return Some((*member as usize, next));
    };
    let rest = function.instructions.get(next..).unwrap_or(&[]).iter().enumerate();
    rest.filter_map(|(at, i)| Some((module.calls.callee(n, function, i)?, next + at)))
        .map(|(callee, at)| match callee {
            Callee::Function(f) => (f as usize, at),
            Callee::Group(g) => (count + g as usize, at),
        })
        .next()
}
