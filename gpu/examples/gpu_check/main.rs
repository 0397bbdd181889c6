//! What only a card can show of the CUDA engine by itself, a line a thing: `scripts/gpu-check` runs it.
//!
//! Every exact instruction on many random operands, bit for bit against the CPU engine; what a program costs beside a bare
//! loop of the driver's calls; what our copies move of what bare ones do. On an imitation of the driver it runs small, says
//! so, and judges no figure. Ends with 1 where bits differ, or a card misses a figure.

#[path = "../../tests/cpu_bench/mod.rs"]
mod cpu_bench;
mod exact;
mod figures;

use ion_gpu::{
    backend::{Backend, RunLimits},
    cuda::{CudaBackend, survey},
};
use ion_protocol::{Bytes, Millis, units::measured_rate};
use std::process::ExitCode;

/// What the imitation names its devices.
const IMITATION: &str = "imitation";

/// How much is done.
pub struct Size {
    /// Operand tuples an instruction.
    pub tuples: u32,
    /// Launches of a loop, and how long each is to be.
    pub launches: u32,
    pub launch_ms: f64,
    /// Bytes of a copy.
    pub copy: usize,
}

const CARD: Size = Size { tuples: 10_000_000, launches: 100, launch_ms: 5.0, copy: 1 << 30 };
const SMALL: Size = Size { tuples: 4_000, launches: 10, launch_ms: 1.0, copy: 32 << 20 };

pub const LIMITS: RunLimits = RunLimits { run: Millis(120_000), memory: Bytes(8 << 30), fuel: None };

fn main() -> ExitCode {
    let found = survey(&[]);
    let Some((ordinal, device)) = found.devices.first() else {
        eprintln!("no card: {}", found.state);
        return ExitCode::FAILURE;
    };
    let mut card = match CudaBackend::open(*ordinal) {
        Ok(card) => card,
        Err(fault) => {
            eprintln!("the card does not open: {fault}");
            return ExitCode::FAILURE;
        }
    };
    let real = !card.model().starts_with(IMITATION);
    let size = if real { CARD } else { SMALL };
    println!("device: {} (capability {}), {}", card.label(), card.capability(), found.state);
    if !real {
        println!("this is an imitation of a driver and no card: nothing below says anything of one");
    }
    let power = device.power;
    println!(
        "measured: f32 {} and f16 {} GFLOPS, words {} GOPS, memory {} GB/s, to the device {} and from it {} GB/s",
        measured_rate(power.f32_mflops),
        measured_rate(power.f16_mflops),
        measured_rate(power.product_mops),
        measured_rate(power.memory_mbps),
        measured_rate(power.to_device_mbps),
        measured_rate(power.from_device_mbps)
    );
    let same = exact::all(&mut card, size.tuples);
    let reached = figures::all(&mut card, *ordinal, &size, real);
    if same && (reached || !real) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
