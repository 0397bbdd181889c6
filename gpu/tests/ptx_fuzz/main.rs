//! The reader and the engine on texts that nobody has seen: a bounded number from a seed that is printed. For a night of
//! them there is `cargo run -p ion-gpu --example ptx_fuzz -- --seconds 30000 --seed 7`.

mod checks;
mod counting;
#[path = "../cpu_bench/mod.rs"]
mod cpu_bench;
mod growth;
mod inputs;

use inputs::Inputs;

const SEED: u64 = 0x10_4e_1d;
const TEXTS: u64 = 5_000;

pub const GOOD: [&str; 6] = [
    include_str!("../../kernels/saxpy.ptx"),
    include_str!("../../kernels/matmul.ptx"),
    include_str!("../../kernels/mandelbrot.ptx"),
    include_str!("../../kernels/reduction.ptx"),
    include_str!("../../kernels/histogram.ptx"),
    include_str!("../../kernels/hostile.ptx"),
];

#[test]
fn no_text_breaks_the_reader_or_the_engine() {
    let inputs = Inputs::new(GOOD.map(str::to_string).to_vec());
    let (mut accepted, mut ran) = (0, 0);
    for seed in SEED..SEED + TEXTS {
        let text = inputs.text(seed);
        let seen = checks::check(&text).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{text}"));
        accepted += u64::from(seen.accepted);
        ran += seen.ran;
    }
    println!("seeds from {SEED}: {accepted} of {TEXTS} accepted, {ran} kernels run");
    assert!(accepted > TEXTS / 8 && ran > TEXTS / 8, "too few texts say anything: {accepted}, {ran}");
}
