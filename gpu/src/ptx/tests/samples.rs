//! Instructions of every form of the table, with every modifier that stands in it.

use crate::ptx::{
    ir::Mods,
    table::{FORMS, SETS},
    tensor::{self, Role},
    words::{Kind, Mod, Op},
};

/// What every sample may name: registers of each class, variables, a label.
pub const DECLARATIONS: &str = ".reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<40>; .reg .b64 %d<16>; .reg .b128 %q<16>; .reg .f32 %f<40>; \
                                .reg .f64 %g<40>;\n.shared .align 16 .b8 cell[64];\n.local .align 16 .b8 own[64];\nCHOICES: .branchtargets END;\n";

/// One instruction as text, and whether an assembler can be asked about it alone.
pub struct Sample {
    pub op: Op,
    pub mods: Vec<Mod>,
    pub text: String,
}

fn alternatives(word: &str) -> Vec<Mod> {
    let names = word.trim_matches(['[', ']']).split('|');
    let all =
        names.flat_map(|name| SETS.iter().find(|(n, _)| *n == name).map_or(name, |(_, set)| set).split('|'));
    all.map(|m| Mod::named(m.trim_start_matches('.')).unwrap()).collect()
}

/// Every form: first without what may be left out, then with all of it, then each alternative of each place once with
/// chance choices elsewhere.
pub fn all(rng: &mut fastrand::Rng) -> Vec<Sample> {
    let mut samples = Vec::new();
    for line in FORMS.lines().filter(|l| !l.is_empty()) {
        let (head, operands) = line.split_once(" :").unwrap();
        let mut words = head.split_whitespace();
        let op = Op::named(words.next().unwrap()).unwrap();
        let slots: Vec<(bool, Vec<Mod>)> = words.map(|w| (w.starts_with('['), alternatives(w))).collect();
        let operands: Vec<&str> = operands.split_whitespace().collect();
        let mut choices: Vec<Vec<Option<Mod>>> = vec![
            slots.iter().map(|(optional, m)| (!optional).then_some(m[0])).collect(),
            slots.iter().map(|(_, m)| Some(m[0])).collect(),
        ];
        for (n, (_, mods)) in slots.iter().enumerate() {
            for m in mods {
                let mut choice: Vec<Option<Mod>> = slots
                    .iter()
                    .map(|(optional, m)| (!optional || rng.bool()).then(|| m[rng.usize(0..m.len())]))
                    .collect();
                choice[n] = Some(*m);
                choices.push(choice);
            }
        }
        for (n, choice) in choices.into_iter().enumerate() {
            let mods: Vec<Mod> = choice.into_iter().flatten().collect();
            let optional = n % 2 == 1;
            samples.extend(sample(op, mods, &operands, optional));
        }
    }
    samples
}

fn register(ty: Mod, n: usize) -> String {
    match (ty.kind().map(|(kind, _)| kind), ty.bits()) {
        (Some(Kind::Predicate), _) => format!("%p{}", n % 8),
        (Some(Kind::Element), _) => format!("%r{n}"),
        (Some(Kind::Float), 32) => format!("%f{n}"),
        (Some(Kind::Float), 64) => format!("%g{n}"),
        (_, 128) => format!("%q{}", n % 16),
        (_, 64) => format!("%d{}", n % 16),
        (_, 32) => format!("%r{n}"),
        _ => format!("%h{}", n % 16),
    }
}

fn sample(op: Op, mods: Vec<Mod>, operands: &[&str], optional: bool) -> Option<Sample> {
    let mut list = Mods::default();
    mods.iter().for_each(|m| assert!(list.push(*m)));
    let mut out = Vec::new();
    for (n, name) in operands.iter().enumerate() {
        if name.ends_with('?') && !optional {
            continue;
        }
        if *name == "h" && !list.has(Mod::L2CacheHint) {
            continue;
        }
        out.push(operand(op, &list, name.trim_end_matches('?'), n)?);
    }
    let head = mods.iter().fold(op.text().to_string(), |s, m| s + "." + m.text());
    Some(Sample { op, mods, text: format!("{head} {};", out.join(", ")) })
}

fn vector(count: usize, ty: Mod, from: usize) -> String {
    let parts: Vec<String> = (0..count).map(|n| register(ty, from + n)).collect();
    format!("{{{}}}", parts.join(", "))
}

/// An operand's text; `None` where the modifiers chosen do not go together.
fn operand(op: Op, mods: &Mods, name: &str, n: usize) -> Option<String> {
    let first = mods.ty(0).unwrap_or(Mod::B32);
    let second = mods.ty(1).unwrap_or(first);
    let wide = match first {
        Mod::U16 => Mod::U32,
        Mod::S16 => Mod::S32,
        Mod::U32 => Mod::U64,
        _ => Mod::S64,
    };
    let ty = |rest: &str| match rest {
        "" => first,
        "1" => second,
        "w" => wide,
        fixed => Mod::named(fixed).unwrap(),
    };
    let lanes = match mods.one_of(&[Mod::V2, Mod::V4, Mod::V8]) {
        Some(Mod::V2) => 2,
        Some(Mod::V4) => 4,
        Some(_) => 8,
        None => 1,
    };
    let doubled = matches!(op, Op::Ld | Op::St)
        && matches!(first.bits(), 32 | 64)
        && mods
            .one_of(&[Mod::Shared, Mod::SharedCta, Mod::SharedCluster, Mod::Local, Mod::Param, Mod::Const])
            .is_none()
        && mods.one_of(&[Mod::ParamEntry, Mod::ParamFunc, Mod::Volatile]).is_none();
    let most = if doubled { 256 } else { 128 };
    let role = |c: &str| {
        if mods.one_of(&[Mod::Load, Mod::Store]).is_some() {
            return tensor::moved(mods);
        }
        match c {
            "fa" => Role::A,
            "fb" => Role::B,
            "fc" => Role::C,
            _ => Role::D,
        }
    };
    Some(match name {
        "P" => format!("%p{n}"),
        "PP" => format!("%p{n}|%p{}", n + 1),
        "p" => "!%p5".into(),
        "m" | "M" => register(first, n + 1),
        "V" | "W" if lanes == 1 => register(first, n + 1),
        "V" | "W" if op == Op::Mov && first.bits() * lanes as u32 > 128 => return None,
        "V" | "W" if op != Op::Mov && lanes as u32 * first.bits() > most => return None,
        "V" | "W" => vector(lanes, first, 4 * n),
        "a" => match mods.one_of(&[
            Mod::Shared,
            Mod::SharedCta,
            Mod::SharedCluster,
            Mod::Local,
            Mod::Param,
            Mod::ParamEntry,
            Mod::ParamFunc,
        ]) {
            Some(Mod::Shared | Mod::SharedCta | Mod::SharedCluster) => "[cell+16]".into(),
            Some(Mod::Local) => "[own+16]".into(),
            Some(Mod::ParamFunc) if op == Op::Ld => return None,
            Some(_) if op == Op::St => "[given+16]".into(),
            Some(_) => "[x+16]".into(),
            None => "[%d1+16]".into(),
        },
        "as" => "[cell+16]".into(),
        "ag" => "[%d1+-16]".into(),
        "fa" | "fb" | "fc" | "fd" => {
            let fragment = tensor::fragment(op, mods, role(name))?;
            vector(fragment.registers, fragment.register(), 8 * n)
        }
        "x" => {
            let count = match mods.one_of(&[Mod::X1, Mod::X2, Mod::X4]) {
                Some(Mod::X1) => 1,
                Some(Mod::X2) => 2,
                _ => 4,
            };
            vector(count, Mod::B32, 4)
        }
        "_" => "_".into(),
        "vr" => "%r9".into(),
        "vs" => format!("%r{n}{}", [".b3", "", ".h1"][mods.as_slice().len() % 3]),
        "vn" => format!("%r{n}{}", [".b3", "", ".h1"][mods.as_slice().len() % 3]),
        "vt" if mods.has(Mod::Po) => "%r9".into(),
        "vt" => "-%r9".into(),
        "r" => register(first, n),
        "al" => "64".into(),
        "vd" => "%r5.h1".into(),
        "vq" | "vm" if mods.as_slice().len().is_multiple_of(2) => format!("%r{n}"),
        "vq" => format!("%r{n}.{}", if op.video_lanes() == Some(2) { "h30" } else { "b7025" }),
        "vm" => format!("%r{n}.{}", if op.video_lanes() == Some(2) { "h1" } else { "b320" }),
        "l" => "END".into(),
        "t" => "CHOICES".into(),
        "y" => "%d2".into(),
        "i" if op == Op::Cp => "16".into(),
        "i" if matches!(op, Op::Discard | Op::Applypriority) => "128".into(),
        "h" if op != Op::Cp && mods.one_of(&[Mod::Shared, Mod::SharedCta, Mod::SharedCluster]).is_some() => {
            return None;
        }
        "h" => "%d7".into(),
        "c" if mods.as_slice().len().is_multiple_of(2) => "!%p3".into(),
        "c" => "%r9".into(),
        "i" => "150".into(),
        "d_" => register(first, n),
        "D" => register(first, n),
        "S1" => register(second, n + 2),
        _ if name.starts_with("DP") => format!("{}|%p6", register(ty(&name[2..]), n)),
        _ => register(ty(&name[1..]), n + 1),
    })
}
