//! A module whose `.approx` instructions are written out, so that every device computes the same bits.
//!
//! Owns: [`exact`]. `rcp`, `sqrt` and `div` become the correctly rounded ones; `ex2`, `lg2`, `sin`, `cos` and `tanh` call
//! our own routines (`exact.ptx`), `rsqrt` is a root and a reciprocal of f64. The results are those that the CPU engine
//! gives for the instructions themselves (`cpu/approx.rs`), so a requester's check and a provider's card agree. Never:
//! changes anything else: tensor cores and floating-point atomics stay what they are.
//! Limits: the text grows by at most a few lines an instruction, and `limits.rs` holds for it as for any other.
//! Tests: `gpu/tests/cpu_exact.rs`, and `ptx/tests.rs` for an assembler's opinion.

use super::{
    error::Refusal,
    ir::{Instruction, Module},
    parse, print,
    words::{Mod, Op},
};

/// The functions of f64 that are called. They are part of every module that is rewritten, used or not.
pub(super) const ROUTINES: &str = include_str!("exact.ptx");

/// The same module with every `.approx` and `.full` instruction replaced. Its lines are those of the new text.
pub fn exact(module: &Module) -> Result<Module, Refusal> {
    let approximate = module.functions.iter().flat_map(|f| &f.instructions).any(is_approximate);
    if approximate { parse(&print::exact_text(module)) } else { Ok(module.clone()) }
}

pub(super) fn is_approximate(i: &Instruction) -> bool {
    i.mods.one_of(&[Mod::Approx, Mod::Full]).is_some()
}

/// What stands for an approximate instruction: a block of instructions. One that is guarded is gone round, by a branch
/// under `unless`, the opposite of the guard: what passes arguments may not be guarded.
pub(super) fn lines(i: &Instruction, unless: &str, operands: &[String]) -> String {
    let operand = |n: usize| operands.get(n).map_or("", String::as_str);
    let (d, a) = (operand(0), operand(1));
    let ty = i.mods.ty(0).unwrap_or(Mod::F32);
    let ftz = i.mods.has(Mod::Ftz);
    let lines = match (i.op, ty) {
        (Op::Rcp | Op::Sqrt, Mod::F32) => vec![format!("{}.rn{}.f32 {d}, {a};", i.op.text(), flush(ftz))],
        (Op::Div, _) => vec![format!("div.rn{}.f32 {d}, {a}, {};", flush(ftz), operand(2))],
        (_, Mod::F64) => wide(i.op, ftz, d, a),
        (_, Mod::F32) => single(i.op, ftz, d, a),
        (_, Mod::F16 | Mod::Bf16) => half(i.op, ty, d, a),
        _ => pair(i.op, ty, d, a),
    };
    let lines = lines.join(" ");
    match unless {
        "" => format!("{{ {lines} }}"),
        unless => format!("{{ {unless} bra ROUND; {lines} ROUND: }}"),
    }
}

fn flush(ftz: bool) -> &'static str {
    if ftz { ".ftz" } else { "" }
}

/// The function of the f64 in `%value`, into it.
fn value(op: Op) -> Vec<String> {
    let routine = match op {
        Op::Ex2 => "exp2",
        Op::Lg2 => "log2",
        Op::Sin => "sin",
        Op::Cos => "cos",
        Op::Tanh => "tanh",
        // The only other one.
        _ => return vec!["sqrt.rn.f64 %value, %value;".into(), "rcp.rn.f64 %value, %value;".into()],
    };
    vec![
        ".param .f64 given;".into(),
        ".param .f64 got;".into(),
        "st.param.f64 [given], %value;".into(),
        format!("call (got), $exact_{routine}, (given);"),
        "ld.param.f64 %value, [got];".into(),
    ]
}

/// Multiplying by one changes nothing but subnormals, of which `.ftz` makes zeros.
fn flushed(register: &str) -> String {
    format!("mul.rn.ftz.f32 {register}, {register}, 0f3F800000;")
}

fn single(op: Op, ftz: bool, d: &str, a: &str) -> Vec<String> {
    let mut lines =
        vec![".reg .f64 %value;".into(), ".reg .f32 %single;".into(), format!("mov.f32 %single, {a};")];
    lines.extend(ftz.then(|| flushed("%single")));
    lines.push("cvt.f64.f32 %value, %single;".into());
    lines.extend(value(op));
    lines.push("cvt.rn.f32.f64 %single, %value;".into());
    lines.extend(ftz.then(|| flushed("%single")));
    lines.push(format!("mov.f32 {d}, %single;"));
    lines
}

/// Reciprocals of f64, and of its root. With `.ftz` subnormals are zeros of their sign.
fn wide(op: Op, ftz: bool, d: &str, a: &str) -> Vec<String> {
    let flush = |lines: &mut Vec<String>| {
        if ftz {
            lines.extend([
                "abs.f64 %size, %value;".into(),
                "setp.lt.f64 %tiny, %size, 0d0010000000000000;".into(),
                "copysign.f64 %size, %value, 0d0000000000000000;".into(),
                "selp.f64 %value, %size, %value, %tiny;".into(),
            ]);
        }
    };
    let mut lines =
        vec![".reg .f64 %value, %size;".into(), ".reg .pred %tiny;".into(), format!("mov.f64 %value, {a};")];
    flush(&mut lines);
    match op {
        Op::Rcp => lines.push("rcp.rn.f64 %value, %value;".into()),
        _ => lines.extend(value(op)),
    }
    flush(&mut lines);
    lines.push(format!("mov.f64 {d}, %value;"));
    lines
}

/// One half, from and to 16-bit registers. `ex2` of bf16 always flushes.
fn half(op: Op, ty: Mod, d: &str, a: &str) -> Vec<String> {
    let mut lines = vec![".reg .f64 %value;".into(), ".reg .f32 %single;".into()];
    if ty == Mod::F16 {
        lines.push(format!("cvt.f32.f16 %single, {a};"));
    } else {
        // A bf16 is the upper half of an f32.
        lines.extend([
            ".reg .b16 %zero;".into(),
            ".reg .b32 %word;".into(),
            "mov.b16 %zero, 0;".into(),
            format!("mov.b32 %word, {{%zero, {a}}};"),
            "mov.b32 %single, %word;".into(),
        ]);
    }
    let flushes = ty == Mod::Bf16 && op == Op::Ex2;
    lines.extend(flushes.then(|| flushed("%single")));
    lines.push("cvt.f64.f32 %value, %single;".into());
    lines.extend(value(op));
    lines.push(format!("cvt.rn.{}.f64 {d}, %value;", ty.text()));
    if flushes {
        // Results are positive: what has no exponent is a subnormal.
        lines.extend([
            ".reg .pred %tiny;".into(),
            format!("setp.lt.u16 %tiny, {d}, 128;"),
            format!("selp.b16 {d}, 0, {d}, %tiny;"),
        ]);
    }
    lines
}

fn pair(op: Op, ty: Mod, d: &str, a: &str) -> Vec<String> {
    let each = if matches!(ty, Mod::F16x2) { Mod::F16 } else { Mod::Bf16 };
    let mut lines = vec![".reg .b16 %low, %high;".into(), format!("mov.b32 {{%low, %high}}, {a};")];
    for part in ["%low", "%high"] {
        lines.push("{".into());
        lines.extend(half(op, each, part, part));
        lines.push("}".into());
    }
    lines.push(format!("mov.b32 {d}, {{%low, %high}};"));
    lines
}
