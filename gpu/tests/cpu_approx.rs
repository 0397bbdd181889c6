//! `.approx` instructions against the system's functions in f64, over every 4999th f32 and the edges, bit patterns
//! spread over all exponents; `cargo run --release -p ion-gpu --example approx_error` takes all of them.

mod cpu_bench;

use cpu_bench::{hold, rows};
use ion_gpu::cpu::approx;

/// A prime, so that the samples share no low bits.
const STRIDE: usize = 4999;

struct Function {
    name: &'static str,
    ours: fn(f64) -> f64,
    truth: fn(f64) -> f64,
    /// Whether the error is counted against one rather than against the value.
    absolute: bool,
}

const FUNCTIONS: [Function; 6] = [
    Function { name: "ex2", ours: approx::exp2, truth: f64::exp2, absolute: false },
    Function { name: "lg2", ours: approx::log2, truth: f64::log2, absolute: false },
    Function { name: "sin", ours: approx::sin, truth: f64::sin, absolute: true },
    Function { name: "cos", ours: approx::cos, truth: f64::cos, absolute: true },
    Function { name: "tanh", ours: approx::tanh, truth: f64::tanh, absolute: false },
    Function { name: "rsqrt", ours: approx::rsqrt, truth: |v| 1.0 / v.sqrt(), absolute: false },
];

/// The error of a result rounded to f32, in units of the bound 2^-23; subnormal results are as far apart as they are.
fn error(f: &Function, x: f32) -> f64 {
    let (found, truth) = ((f.ours)(x.into()) as f32, (f.truth)(x.into()));
    if found.is_nan() || truth.is_nan() {
        return if found.is_nan() && truth.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if f64::from(found) == truth || found == truth as f32 {
        return 0.0;
    }
    let unit = if f.absolute { 1.0 } else { truth.abs() };
    let allowed = (unit * 2f64.powi(-23)).max(2f64.powi(-149));
    (f64::from(found) - truth).abs() / allowed
}

#[test]
fn approximations_keep_the_bounds_of_the_manual() {
    for f in &FUNCTIONS {
        let edges = [0, 1, 0x7f_ffff, 0x80_0000, 0x3f80_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000u32];
        let both = edges.into_iter().flat_map(|bits| [bits, bits | 1 << 31]);
        for bits in (0..=u32::MAX).step_by(STRIDE).chain(both) {
            let x = f32::from_bits(bits);
            let error = error(f, x);
            assert!(error < 1.0, "{}({x:e}), {bits:#x}: {error} of the bound", f.name);
        }
    }
}

/// The definitions give the same bits for ever: these were computed once, from the definitions.
#[test]
fn the_bits_are_those_of_the_definition() {
    let points = [0.1f32, 0.7, 1.3, 2.9, 17.5, 1e-3, 3e6, 1e30];
    let digest = |f: &Function| {
        points.iter().fold(0u64, |sum, x| {
            let bits = (f.ours)(f64::from(*x)).to_bits();
            (sum ^ bits).rotate_left(9).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    };
    let known = [
        0x07b4_cadc_d93c_d553,
        0x013c_3ff5_5244_fb82,
        0x012a_1d48_656f_aaa1,
        0xd194_8200_26dc_7d9a,
        0xc8f8_dd60_93cc_d7e8,
        0x50e1_badf_86be_21da,
    ];
    for (f, known) in FUNCTIONS.iter().zip(known) {
        assert_eq!(digest(f), known, "{}", f.name);
    }
}

/// The instructions are these functions, rounded, with flushing where they say so.
#[test]
fn instructions_round_the_definitions() {
    let values: Vec<[u64; 3]> = (0..=u32::MAX).step_by(STRIDE * 97).map(|bits| [bits.into(), 0, 0]).collect();
    let f32_of = |bits: u64| f32::from_bits(bits as u32);
    let out = |v: f64| if v.is_nan() { 0x7fff_ffff } else { u64::from((v as f32).to_bits()) };
    let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
    for f in &FUNCTIONS {
        hold(&format!("{}.approx.f32 d, a;", f.name), ["f32"; 3], "f32", &values, |[a, ..]| {
            out((f.ours)(f32_of(a).into()))
        });
        if f.name == "tanh" {
            continue;
        }
        hold(&format!("{}.approx.ftz.f32 d, a;", f.name), ["f32"; 3], "f32", &values, |[a, ..]| {
            let found = (f.ours)(flush(f32_of(a)).into()) as f32;
            out(flush(found).into())
        });
    }
    // Halves go the same way, and their results are rounded once.
    let halves: Vec<[u64; 3]> = (0..0x1_0000).step_by(7).map(|bits| [bits, 0, 0]).collect();
    for (op, ty, relative) in
        [("ex2.approx", "f16", 10), ("tanh.approx", "f16", 10), ("tanh.approx", "bf16", 7)]
    {
        let widen = rows(&format!("cvt.f32.{ty} d, a;"), ["b16"; 3], "f32", &halves);
        let found = rows(
            &format!("{{ .reg .b16 h; {op}.{ty} h, a; cvt.f32.{ty} d, h; }}"),
            ["b16"; 3],
            "f32",
            &halves,
        );
        for (x, found) in widen.into_iter().zip(found) {
            let (x, found) = (f64::from(f32_of(x)), f64::from(f32_of(found)));
            let truth = if op.starts_with("ex2") { x.exp2() } else { x.tanh() };
            let near = (found - truth).abs() <= truth.abs() * 2f64.powi(-relative) + 2f64.powi(-24);
            let beyond = truth >= 65520.0 && found.is_infinite();
            assert!(near || beyond || (x.is_nan() && found.is_nan()), "{op}.{ty} {x}: {found}, {truth}");
        }
    }
}
