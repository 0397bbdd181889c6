//! Every exact instruction that works on registers alone, on the card and on the CPU engine.
//!
//! The forms are those of the table; of each, every word in every place is tried, and what stands beside it is drawn. Operands
//! are made on the device from a counter, a quarter of them edges of their type (subnormals, infinities, NaN, powers of two),
//! a quarter small. Each thread folds the results of its tuples into one number, so that a wrong bit in any shows.

use crate::{LIMITS, cpu_bench::register};
use ion_gpu::{
    backend::Backend,
    cpu::CpuBackend,
    cuda::CudaBackend,
    program::{LoadedProgram, Sources, no_compiler},
    ptx::{
        self, Profile,
        table::{FORMS, SETS},
        words::{Kind, Mod},
    },
};
use ion_protocol::{
    BlobHash, Bytes,
    fault::Fault,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
};
use std::{collections::BTreeSet, sync::atomic::AtomicBool};

/// Tuples of one thread.
const TURNS: u32 = 16;
const BLOCK: u32 = 128;
/// Choices drawn for each word of a form.
const DRAWS: usize = 3;
/// What works on more than registers, or on what the whole warp has.
const OTHERS: [&str; 20] = [
    "activemask",
    "alloca",
    "bar",
    "barrier",
    "bra",
    "cvta",
    "elect",
    "exit",
    "fence",
    "griddepcontrol",
    "isspacep",
    "match",
    "membar",
    "nanosleep",
    "redux",
    "ret",
    "shfl",
    "stackrestore",
    "stacksave",
    "trap",
];

/// Compares all of them, says how it went, and whether no bit was wrong.
pub fn all(card: &mut CudaBackend, tuples: u32) -> bool {
    let instructions = instructions();
    let (mut same, mut wrong, mut absent) = (0, 0, 0);
    for instruction in &instructions {
        match compare(card, instruction, tuples) {
            Ok(None) => same += 1,
            Ok(Some(thread)) => {
                wrong += 1;
                println!("differs: `{instruction}`, first in thread {thread}");
            }
            Err(Fault::NoDevice { message }) => {
                absent += 1;
                println!("not on this card: `{instruction}`: {message}");
            }
            Err(fault) => {
                // After a fault the device is of no more use to this process.
                println!("`{instruction}`: {fault}");
                return false;
            }
        }
    }
    println!(
        "exact instructions: {same} of {} give the bits of the CPU engine on {tuples} tuples each; {wrong} differ, \
         {absent} are not on this card",
        instructions.len()
    );
    wrong == 0 && same > 0
}

/// An instruction in registers `d`, and `a`, `b`, `c` by their place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Instruction {
    text: String,
    /// Type of the destination, and of each operand read.
    to: Mod,
    from: Vec<Mod>,
}

impl std::fmt::Display for Instruction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// All that our parser takes and our profile calls exact.
fn instructions() -> Vec<Instruction> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut found = BTreeSet::new();
    for line in FORMS.lines().filter(|line| !line.is_empty()) {
        let Some((head, operands)) = line.split_once(" :") else { continue };
        let mut words = head.split_whitespace();
        let op = words.next().unwrap_or_default();
        if OTHERS.contains(&op) {
            continue;
        }
        let places: Vec<(bool, Vec<&str>)> =
            words.map(|word| (word.starts_with('['), choices(word))).collect();
        for (n, (_, all)) in places.iter().enumerate() {
            for word in all.iter().flat_map(|word| [word; DRAWS]) {
                let drawn = places.iter().enumerate().filter_map(|(m, (optional, all))| match m == n {
                    true => Some(*word),
                    false => (!optional || rng.bool()).then(|| all[rng.usize(0..all.len())]),
                });
                let mods: Vec<Mod> = drawn.filter_map(Mod::named).collect();
                found.extend(instruction(op, &mods, operands));
            }
        }
    }
    found.into_iter().filter(is_exact).collect()
}

fn choices(word: &str) -> Vec<&str> {
    let names = word.trim_matches(['[', ']']).split('|');
    let all = names
        .flat_map(|name| SETS.iter().find(|(set, _)| *set == name).map_or(name, |(_, all)| all).split('|'));
    all.map(|word| word.trim_start_matches('.')).collect()
}

/// The instruction of these words; `None` where it works on more than registers.
fn instruction(op: &str, mods: &[Mod], operands: &str) -> Option<Instruction> {
    let types: Vec<Mod> = mods.iter().copied().filter(|word| word.kind().is_some()).collect();
    let first = *types.first()?;
    let second = types.get(1).copied().unwrap_or(first);
    let wide = |ty| match ty {
        Mod::U16 => Some(Mod::U32),
        Mod::S16 => Some(Mod::S32),
        Mod::U32 => Some(Mod::U64),
        Mod::S32 => Some(Mod::S64),
        _ => None,
    };
    let ty = |rest: &str| match rest {
        "" => Some(first),
        "1" => Some(second),
        "w" => wide(first),
        fixed => Mod::named(fixed),
    };
    let (mut to, mut from, mut list) = (None, Vec::new(), Vec::new());
    for operand in operands.split_whitespace() {
        if operand.ends_with('?') {
            break;
        }
        match operand {
            "P" => (to, list) = (Some(Mod::Pred), vec!["d".to_owned()]),
            "PP" => (to, list) = (Some(Mod::Pred), vec!["d|%q2".to_owned()]),
            "p" | "pm" => list.push("!%q1".to_owned()),
            "q" => list.push("%q1".to_owned()),
            "m" => list.push("a".to_owned()),
            "i" => list.push("150".to_owned()),
            "D" | "M" => (to, list) = (Some(first), vec!["d".to_owned()]),
            _ if operand.starts_with("DP") => {
                (to, list) = (Some(ty(&operand[2..])?), vec!["d|%q2".to_owned()])
            }
            _ if operand.starts_with('d') => (to, list) = (Some(ty(&operand[1..])?), vec!["d".to_owned()]),
            _ if operand.starts_with('s') || operand.starts_with('S') => {
                list.push(["a", "b", "c"].get(from.len())?.to_string());
                from.push(ty(&operand[1..])?);
            }
            _ => return None,
        }
        if operand == "m" {
            from.push(first);
        }
    }
    let head = mods.iter().fold(op.to_owned(), |text, word| text + "." + word.text());
    let mut text = format!("{head} {};", list.join(", "));
    if matches!(op, "div" | "rem") && first.kind().is_some_and(|(kind, _)| kind != Kind::Float) {
        // What a division by zero gives is nobody's promise.
        text = format!("max.u{0} b, b, 1; {text}", first.bits());
    }
    if matches!(op, "addc" | "subc" | "madc") {
        text = format!("add.cc.u32 %y, %y, %n; {text}");
    }
    Some(Instruction { text, to: to?, from })
}

fn is_exact(instruction: &Instruction) -> bool {
    let Ok(module) = ptx::parse(&text(instruction)) else { return false };
    module.kernel("k").is_some_and(|kernel| ptx::profile(&module, kernel) == Profile::Exact)
}

/// The register class of a type.
fn class(ty: Mod) -> &'static str {
    match (ty.kind().map(|(kind, _)| kind), ty.bits()) {
        (Some(Kind::Predicate), _) => "pred",
        (Some(Kind::Float), 32) => "f32",
        (Some(Kind::Float), 64) => "f64",
        (_, 64) => "b64",
        (_, 32) => "b32",
        _ => "b16",
    }
}

/// 64 values at the edges of a type, as 64 bits of which a register takes the low ones.
fn edges(ty: Mod) -> Vec<u64> {
    let bits = ty.bits().min(64);
    let layout: Option<(u32, u32)> = match ty {
        Mod::F16 | Mod::F16x2 => Some((16, 10)),
        Mod::Bf16 | Mod::Bf16x2 => Some((16, 7)),
        Mod::F32 | Mod::Tf32 => Some((32, 23)),
        Mod::F64 => Some((64, 52)),
        _ => None,
    };
    let mut all = Vec::new();
    match layout {
        Some((width, fraction)) => {
            let (sign, top) = (1u64 << (width - 1), (1u64 << (width - 1 - fraction)) - 1);
            let bias = top / 2;
            // Zero, subnormals, the smallest normal, near one, near where integers end, the largest, infinity, NaN.
            for exponent in [0, 1, bias - 1, bias, bias + 1, bias + u64::from(fraction), top - 1, top] {
                for low in [0, 1, 1 << (fraction - 1), (1 << fraction) - 1] {
                    let value = exponent << fraction | low;
                    all.extend([value, value | sign]);
                }
            }
            if bits > width {
                all.iter_mut().for_each(|value| *value |= value.rotate_left(7) << width);
            }
        }
        None => {
            for power in (0..bits).step_by((bits / 16).max(1) as usize) {
                let value = 1u64 << power;
                all.extend([value, value.wrapping_neg(), value - 1, value + 1]);
            }
        }
    }
    all.resize(64, u64::MAX);
    all
}

/// One tuple a turn: operands from the counter `%n`, the instruction, its result folded into `%h`.
fn text(instruction: &Instruction) -> String {
    let mut text = String::from(".version 8.6\n.target sm_90\n.address_size 64\n");
    for (n, ty) in instruction.from.iter().enumerate() {
        let values: Vec<String> = edges(*ty).iter().map(u64::to_string).collect();
        text += &format!(".const .align 8 .b64 edge{n}[64] = {{{}}};\n", values.join(", "));
    }
    text += ".visible .entry k(.param .u64 out)\n{\n\
        .reg .b64 %x, %z, %h, %o, %m, %e; .reg .b32 %y, %t, %u, %v, %n, %i, %s; .reg .pred %p, %q1, %q2, %r;\n";
    for (name, ty) in ["a", "b", "c"].iter().zip(&instruction.from).chain([(&"d", &instruction.to)]) {
        text += &format!(".reg .{} {name};\n", class(*ty));
    }
    text += &format!(
        "mov.u32 %t, %tid.x; mov.u32 %u, %ctaid.x; mov.u32 %v, %ntid.x; mad.lo.u32 %t, %u, %v, %t;\n\
         ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 8, %o; mov.u64 %h, 0; mov.u32 %i, 0; mov.u32 %y, 0;\n\
         L:\nmad.lo.u32 %n, %t, {TURNS}, %i; and.b32 %v, %n, 1; setp.ne.u32 %q1, %v, 0; setp.ne.u32 %q2, %v, 1;\n"
    );
    for (n, (name, ty)) in ["a", "b", "c"].iter().zip(&instruction.from).enumerate() {
        text += &format!(
            "cvt.u64.u32 %z, %n; mad.lo.u64 %z, %z, 8, {seed}; mul.lo.u64 %z, %z, 0x9E3779B97F4A7C15;\n\
             shr.u64 %m, %z, 30; xor.b64 %z, %z, %m; mul.lo.u64 %z, %z, 0xBF58476D1CE4E5B9;\n\
             shr.u64 %m, %z, 27; xor.b64 %z, %z, %m; mul.lo.u64 %z, %z, 0x94D049BB133111EB;\n\
             shr.u64 %m, %z, 31; xor.b64 %x, %z, %m;\n\
             shr.u64 %m, %z, 50; cvt.u32.u64 %u, %m; and.b32 %s, %u, 63; shr.u32 %u, %u, 6; and.b32 %u, %u, 3;\n\
             mov.u64 %e, edge{n}; mad.wide.u32 %e, %s, 8, %e; ld.const.u64 %e, [%e];\n\
             setp.eq.u32 %p, %u, 0; selp.b64 %e, %e, %x, %p; shr.u64 %x, %x, %s; setp.eq.u32 %r, %u, 1;\n\
             selp.b64 %x, %x, %e, %r;\n{}",
            register(class(*ty), name, true),
            seed = n + 1,
        );
    }
    text += &format!("{}\n{}", instruction.text, register(class(instruction.to), "d", false));
    text += "mul.lo.u64 %h, %h, 0x9E3779B97F4A7C15; add.u64 %h, %h, %x; selp.u64 %x, 1, 0, %q2; add.u64 %h, %h, %x;\n";
    text += &format!(
        "add.u32 %i, %i, 1; setp.lt.u32 %p, %i, {TURNS}; @%p bra L;\nst.global.u64 [%o], %h; ret;\n}}\n"
    );
    text
}

/// The first thread whose number differs.
fn compare(card: &mut CudaBackend, instruction: &Instruction, tuples: u32) -> Result<Option<usize>, Fault> {
    let text = text(instruction);
    let blocks = tuples.div_ceil(TURNS * BLOCK);
    let found = run(card, &text, blocks)?;
    let expected = run(&mut CpuBackend::default(), &text, blocks)?;
    Ok(found.chunks(8).zip(expected.chunks(8)).position(|(found, expected)| found != expected))
}

fn run(backend: &mut dyn Backend, text: &str, blocks: u32) -> Result<Vec<u8>, Fault> {
    let (blob, bytes) = (BlobHash::of(text.as_bytes()), u64::from(blocks * BLOCK) * 8);
    let launch = Launch {
        module: 0,
        kernel: "k".into(),
        grid: [blocks, 1, 1],
        block: [BLOCK, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(0)],
    };
    let out = Buffer {
        name: "out".into(),
        bytes: Bytes(bytes),
        init: Init::Zero,
        element: Element::U64,
        shape: vec![bytes / 8],
        output: true,
    };
    let module =
        Module { name: "exact.ptx".into(), source: Source::Ptx, blob, bytes: Bytes(text.len() as u64) };
    let phases = vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }];
    let program = Program { modules: vec![module], buffers: vec![out], phases };
    let mut blob = |_, _| Ok(text.as_bytes().into());
    let mut sources = Sources { blob: &mut blob, compile: &mut no_compiler };
    let loaded = LoadedProgram::load(program, &LIMITS, &mut sources)?;
    let mut report = backend.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {})?;
    Ok(report.outputs.pop().map(|output| output.bytes.to_vec()).unwrap_or_default())
}
