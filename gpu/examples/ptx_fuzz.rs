//! The reader and the engine on random texts, for as long as wanted:
//! `cargo run -p ion-gpu --example ptx_fuzz -- --seconds 600 --seed 7 [PTX FILE]...`.
//!
//! Texts are changes of the files named (or of this crate's own kernels) and new ones from the table of forms. Each has
//! a seed of its own, counted up from the one given; what a text must hold is in `gpu/tests/ptx_fuzz/checks.rs`. A text
//! that breaks something is written to `ptx-fuzz-SEED.ptx`, and the search goes on.

#[path = "../tests/ptx_fuzz/checks.rs"]
mod checks;
#[path = "../tests/ptx_fuzz/counting.rs"]
mod counting;
#[path = "../tests/cpu_bench/mod.rs"]
mod cpu_bench;
#[path = "../tests/ptx_fuzz/inputs.rs"]
mod inputs;

use inputs::Inputs;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

const GOOD: [&str; 3] = [
    include_str!("../kernels/matmul.ptx"),
    include_str!("../kernels/reduction.ptx"),
    include_str!("../kernels/histogram.ptx"),
];

/// Files longer than this are left out: a text should be changed in a place that matters.
const FILE_BYTES_MAX: usize = 200_000;

fn main() -> ExitCode {
    let (mut seconds, mut seed, mut good) = (60, 1, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<u64>().ok());
        match word.as_str() {
            "--seconds" => seconds = number().unwrap_or(seconds),
            "--seed" => seed = number().unwrap_or(seed),
            file => match std::fs::read_to_string(file) {
                Ok(text) if text.len() <= FILE_BYTES_MAX => good.push(text),
                Ok(_) => eprintln!("{file}: left out, it is longer than {FILE_BYTES_MAX} bytes"),
                Err(error) => eprintln!("{file}: {error}"),
            },
        }
    }
    if good.is_empty() {
        good = GOOD.map(str::to_string).to_vec();
    }
    let broken = search(&Inputs::new(good), seed, Duration::from_secs(seconds));
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives how many texts broke something.
fn search(inputs: &Inputs, first: u64, time: Duration) -> u64 {
    let began = Instant::now();
    let (mut accepted, mut ran, mut broken, mut seed) = (0u64, 0, 0, first);
    while began.elapsed() < time {
        let text = inputs.text(seed);
        match checks::check(&text) {
            Ok(seen) => {
                accepted += u64::from(seen.accepted);
                ran += seen.ran;
            }
            Err(wrong) => {
                broken += 1;
                let file = format!("ptx-fuzz-{seed}.ptx");
                println!("seed {seed}: {wrong}");
                if let Err(error) = std::fs::write(&file, &text) {
                    println!("{file}: {error}");
                }
            }
        }
        seed += 1;
    }
    let texts = seed - first;
    println!(
        "seeds {first} to {seed}: {texts} texts, {accepted} accepted, {ran} kernels run, {broken} broken"
    );
    broken
}
