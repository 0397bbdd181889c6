//! Random programs on the interpreter and as machine code, for as long as wanted:
//! `cargo run -p ion-gpu --example engines_fuzz -- --seconds 600 --seed 7`.
//!
//! Programs are those of `gpu/tests/random_kernels`. Each has a seed of its own, counted up from the one given. One on which
//! the engines do not agree is written to `engines-fuzz-SEED.ptx`, and the search goes on.

#[path = "../tests/cpu_bench/mod.rs"]
mod cpu_bench;
#[path = "../tests/random_kernels/mod.rs"]
mod random_kernels;

use random_kernels::{case, same};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let (mut seconds, mut seed) = (60, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<u64>().ok());
        match word.as_str() {
            "--seconds" => seconds = number().unwrap_or(seconds),
            "--seed" => seed = number().unwrap_or(seed),
            other => eprintln!("{other}: no such option; there are --seconds and --seed"),
        }
    }
    if search(seed, Duration::from_secs(seconds)) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives on how many programs the engines differ.
fn search(first: u64, time: Duration) -> u64 {
    let began = Instant::now();
    let (mut well, mut differ, mut seed) = (0u64, 0, first);
    while began.elapsed() < time {
        let bench = case(seed);
        match same(&bench) {
            Ok(ended) => well += u64::from(ended.is_ok()),
            Err(what) => {
                differ += 1;
                let file = format!("engines-fuzz-{seed}.ptx");
                println!("seed {seed}: {what}");
                if let Err(error) = std::fs::write(&file, &bench.text) {
                    println!("{file}: {error}");
                }
            }
        }
        seed += 1;
    }
    let programs = seed - first;
    println!("seeds {first} to {seed}: {programs} programs, {well} ended well, {differ} differ");
    differ
}
