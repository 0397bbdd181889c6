//! The greatest error of each `.approx` function over all f32, on all cores: some minutes.
//! `cargo run --release -p ion-gpu --example approx_error`

use ion_gpu::cpu::approx;
use std::time::Instant;

type Function = fn(f64) -> f64;

/// Name, definition, the system's function, and whether the error is absolute.
const FUNCTIONS: [(&str, Function, Function, bool); 6] = [
    ("ex2", approx::exp2, f64::exp2, false),
    ("lg2", approx::log2, f64::log2, false),
    ("sin", approx::sin, f64::sin, true),
    ("cos", approx::cos, f64::cos, true),
    ("tanh", approx::tanh, f64::tanh, false),
    ("rsqrt", approx::rsqrt, |v| 1.0 / v.sqrt(), false),
];

/// The greatest error among these bit patterns and where it is: of the value, or of one.
fn greatest(ours: Function, truth: Function, absolute: bool, bits: impl Iterator<Item = u32>) -> (f64, f32) {
    bits.fold((0.0, 0.0), |worst, bits| {
        let x = f32::from_bits(bits);
        let (found, truth) = (ours(x.into()) as f32, truth(x.into()));
        let error = match (found.is_nan(), truth.is_nan()) {
            (true, true) => 0.0,
            (false, false) if found == truth as f32 => 0.0,
            // Between subnormal results there is nothing nearer.
            (false, false) if !absolute && truth.abs() < f64::from(f32::MIN_POSITIVE) => {
                (f64::from(found) - truth).abs() / f64::from(f32::MIN_POSITIVE)
            }
            (false, false) => (f64::from(found) - truth).abs() / if absolute { 1.0 } else { truth.abs() },
            _ => f64::INFINITY,
        };
        if error > worst.0 { (error, x) } else { worst }
    })
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, ours, truth, absolute) in FUNCTIONS {
        let started = Instant::now();
        let parts: Vec<(f64, f32)> = std::thread::scope(|scope| {
            let work =
                |core| move || greatest(ours, truth, absolute, (core as u32..=u32::MAX).step_by(cores));
            let threads: Vec<_> = (0..cores).map(|core| scope.spawn(work(core))).collect();
            threads.into_iter().map(|t| t.join().expect("the functions never panic")).collect()
        });
        let (error, x) = parts.into_iter().fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
        let kind = if absolute { "absolute" } else { "relative" };
        println!("{name:6} {kind} error at most 2^{:.2}, at {x:e} ({:.0?})", error.log2(), started.elapsed());
    }
}
