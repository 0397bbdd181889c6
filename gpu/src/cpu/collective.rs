//! Instructions by which the lanes of a warp see each other: `shfl`, `vote`, `match`, `redux`, `elect`, `activemask`.
//!
//! Owns: their meaning. They join the lanes that execute them together; a lane that the member mask names but that is
//! elsewhere takes no part. What PTX leaves open is fixed: a lane reads the register of an inactive source lane.
//! Tests: `gpu/tests/cpu_integer.rs`.

use super::{
    code::{AtomOp, Code, Kind, NONE, ShuffleOp, VoteOp},
    lanes::{Frame, LANES, lanes_of, store},
};

/// The lane whose value a lane takes, and whether it lies within limits.
pub fn source(op: ShuffleOp, lane: usize, by: u32, limits: u32) -> (usize, bool) {
    let (at, by) = (lane as i32, (by & 31) as i32);
    let (clamp, segment) = ((limits & 31) as i32, (limits >> 8 & 31) as i32);
    let highest = (at & segment) | (clamp & !segment);
    let (source, ok) = match op {
        ShuffleOp::Up => (at - by, at - by >= highest),
        ShuffleOp::Down => (at + by, at + by <= highest),
        ShuffleOp::Bfly => (at ^ by, (at ^ by) <= highest),
        ShuffleOp::Idx => {
            let source = (at & segment) | (by & !segment);
            (source, source <= highest)
        }
    };
    (if ok { source & 31 } else { at } as usize, ok)
}

/// `a` the value, `b` the lane or distance, `c` the clamp and segment mask; `d` and the predicate `e` the results.
pub fn shuffle(f: &mut Frame, i: &Code, op: ShuffleOp) {
    let (values, by, limits) = (*f.words(i.a), *f.words(i.b), *f.words(i.c));
    let mut out = [0; LANES];
    let mut inside = 0u32;
    for lane in 0..LANES {
        let (source, ok) = source(op, lane, by[lane], limits[lane]);
        out[lane] = values[source];
        inside |= u32::from(ok) << lane;
    }
    if i.d != NONE {
        store::<u32>(f, i.d, &out);
    }
    if i.e != NONE {
        f.set_pred(i.e, inside);
    }
}

pub fn vote(f: &mut Frame, i: &Code, op: VoteOp, negate: bool) {
    let votes = f.preds[i.a as usize];
    let votes = (if negate { !votes } else { votes }) & f.mask;
    let members = *f.words(i.b);
    match op {
        VoteOp::Ballot => {
            let out = members.map(|m| votes & m);
            store::<u32>(f, i.d, &out);
        }
        VoteOp::All | VoteOp::Any | VoteOp::Uni => {
            let mut found = 0;
            for lane in lanes_of(f.mask) {
                let members = members[lane] & f.mask;
                let yes = votes & members;
                let holds = match op {
                    VoteOp::All => yes == members,
                    VoteOp::Any => yes != 0,
                    VoteOp::Uni | VoteOp::Ballot => yes == members || yes == 0,
                };
                found |= u32::from(holds) << lane;
            }
            f.set_pred(i.d, found);
        }
    }
}

/// Lanes whose values are equal: as a mask for each lane, or, for `all`, the members if all of theirs are.
pub fn matching(f: &mut Frame, i: &Code, wide: bool, all: bool) {
    let values = if wide { *f.wides(i.a) } else { f.words(i.a).map(u64::from) };
    let members = *f.words(i.b);
    let mut out = [0u32; LANES];
    let mut equal = 0u32;
    for lane in lanes_of(f.mask) {
        let members = members[lane] & f.mask;
        let same = lanes_of(members).filter(|n| values[*n] == values[lane]).fold(0, |m, n| m | 1 << n);
        let every = same == members;
        equal |= u32::from(every) << lane;
        out[lane] = match (all, every) {
            (false, _) => same,
            (true, true) => members,
            (true, false) => 0,
        };
    }
    if i.d != NONE {
        store::<u32>(f, i.d, &out);
    }
    if i.e != NONE {
        f.set_pred(i.e, equal);
    }
}

pub fn reduce(f: &mut Frame, i: &Code, op: AtomOp, signed: bool) {
    let (values, members) = (*f.words(i.a), *f.words(i.b));
    let mut out = [0u32; LANES];
    for lane in lanes_of(f.mask) {
        let each = lanes_of(members[lane] & f.mask).map(|n| values[n]);
        let joined = each.reduce(|x, y| match (op, signed) {
            (AtomOp::Add, _) => x.wrapping_add(y),
            (AtomOp::And, _) => x & y,
            (AtomOp::Or, _) => x | y,
            (AtomOp::Min, false) => x.min(y),
            (AtomOp::Max, false) => x.max(y),
            (AtomOp::Min, true) => (x as i32).min(y as i32) as u32,
            (AtomOp::Max, true) => (x as i32).max(y as i32) as u32,
            _ => x ^ y,
        });
        out[lane] = joined.unwrap_or(values[lane]);
    }
    store::<u32>(f, i.d, &out);
}

/// All collectives; anything else does nothing.
pub fn collective(f: &mut Frame, i: &Code) {
    match i.kind {
        Kind::Shuffle(op) => shuffle(f, i, op),
        Kind::Vote { op, negate } => vote(f, i, op, negate),
        Kind::Match { wide, all } => matching(f, i, wide, all),
        Kind::Redux { op, signed } => reduce(f, i, op, signed),
        Kind::Elect => {
            let members = *f.words(i.b);
            let active = f.mask;
            let leaders = members.map(|m| (m & active).trailing_zeros());
            let chosen = lanes_of(active).filter(|n| leaders[*n] == *n as u32).fold(0, |m, n| m | 1 << n);
            if i.d != NONE {
                store::<u32>(f, i.d, &leaders);
            }
            if i.e != NONE {
                f.set_pred(i.e, chosen);
            }
        }
        Kind::Activemask => {
            let mask = f.mask;
            store::<u32>(f, i.d, &[mask; LANES]);
        }
        _ => {}
    }
}
