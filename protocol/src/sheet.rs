//! What makers say of well-known devices, to hold a measurement beside it. A model that is not here is as welcome as any.
//!
//! Owns the figures and the comparison: nothing is ever believed because it stands here, but a claim far above it is either
//! false or of another device. Peak rates at boost clock, without tensor cores. Source: NVIDIA's data sheets and its white
//! papers of the Pascal, Volta, Turing, Ampere, Ada, Hopper and Blackwell architectures, by the name that the driver tells.
//! Tests: `tests/sheet.rs`, against a data set where there is one.

use crate::{
    hardware::{Device, MeasuredPower},
    units::Bytes,
};
use std::fmt;

/// From how much of the sheet, in percent, a claim is doubtful: cards of other makers run a tenth or so above it.
const DOUBTFUL_PERCENT: u64 = 150;
/// What the driver puts before the names of newer models.
const MAKER: &str = "NVIDIA ";

/// One model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// As the driver tells it, without the maker.
    pub model: &'static str,
    /// f32, in 10^9 operations a second.
    pub f32_gflops: u64,
    /// f16, in pairs; zero where it is not stated.
    pub f16_gflops: u64,
    /// Memory, in 10^9 bytes a second.
    pub memory_gbps: u64,
    /// Memory, in GiB.
    pub memory_gib: u64,
}

const fn sheet(
    model: &'static str,
    f32_gflops: u64,
    f16_gflops: u64,
    memory_gbps: u64,
    memory_gib: u64,
) -> Sheet {
    Sheet { model, f32_gflops, f16_gflops, memory_gbps, memory_gib }
}

/// By architecture, oldest first; in the data centre, then elsewhere.
pub const SHEETS: [Sheet; 56] = [
    sheet("Tesla P4", 5_700, 89, 192, 8),
    sheet("Tesla P40", 11_760, 184, 346, 24),
    sheet("Tesla P100-PCIE-16GB", 9_526, 19_050, 732, 16),
    sheet("Tesla P100-SXM2-16GB", 10_600, 21_200, 732, 16),
    sheet("GeForce GTX 1060 6GB", 4_375, 68, 192, 6),
    sheet("GeForce GTX 1070", 6_463, 101, 256, 8),
    sheet("GeForce GTX 1080", 8_873, 139, 320, 8),
    sheet("GeForce GTX 1080 Ti", 11_340, 177, 484, 11),
    sheet("TITAN Xp", 12_150, 190, 548, 12),
    sheet("Tesla V100-PCIE-16GB", 14_130, 28_260, 900, 16),
    sheet("Tesla V100-PCIE-32GB", 14_130, 28_260, 900, 32),
    sheet("Tesla V100-SXM2-16GB", 15_670, 31_330, 900, 16),
    sheet("Tesla V100-SXM2-32GB", 15_670, 31_330, 900, 32),
    sheet("TITAN V", 14_900, 29_800, 653, 12),
    sheet("Tesla T4", 8_141, 16_280, 320, 16),
    sheet("Quadro RTX 6000", 16_310, 32_620, 672, 24),
    sheet("Quadro RTX 8000", 16_310, 32_620, 672, 48),
    sheet("GeForce GTX 1660 Ti", 5_437, 10_870, 288, 6),
    sheet("GeForce RTX 2060", 6_451, 12_900, 336, 6),
    sheet("GeForce RTX 2070", 7_465, 14_930, 448, 8),
    sheet("GeForce RTX 2080", 10_070, 20_140, 448, 8),
    sheet("GeForce RTX 2080 Ti", 13_450, 26_900, 616, 11),
    sheet("TITAN RTX", 16_310, 32_620, 672, 24),
    sheet("A100-PCIE-40GB", 19_490, 77_970, 1_555, 40),
    sheet("A100-SXM4-40GB", 19_490, 77_970, 1_555, 40),
    sheet("A100 80GB PCIe", 19_490, 77_970, 1_935, 80),
    sheet("A100-SXM4-80GB", 19_490, 77_970, 2_039, 80),
    sheet("A30", 10_320, 0, 933, 24),
    sheet("A40", 37_420, 37_420, 696, 48),
    sheet("A10", 31_240, 31_240, 600, 24),
    sheet("A10G", 31_520, 31_520, 600, 24),
    sheet("RTX A4000", 19_170, 19_170, 448, 16),
    sheet("RTX A5000", 27_770, 27_770, 768, 24),
    sheet("RTX A6000", 38_710, 38_710, 768, 48),
    sheet("GeForce RTX 3060", 12_740, 12_740, 360, 12),
    sheet("GeForce RTX 3070", 20_310, 20_310, 448, 8),
    sheet("GeForce RTX 3080", 29_770, 29_770, 760, 10),
    sheet("GeForce RTX 3080 Ti", 34_100, 34_100, 912, 12),
    sheet("GeForce RTX 3090", 35_580, 35_580, 936, 24),
    sheet("GeForce RTX 3090 Ti", 40_000, 40_000, 1_008, 24),
    sheet("L4", 30_290, 30_290, 300, 24),
    sheet("L40", 90_520, 90_520, 864, 48),
    sheet("L40S", 91_610, 91_610, 864, 48),
    sheet("RTX 6000 Ada Generation", 91_060, 91_060, 960, 48),
    sheet("GeForce RTX 4060 Ti", 22_060, 22_060, 288, 16),
    sheet("GeForce RTX 4070", 29_150, 29_150, 504, 12),
    sheet("GeForce RTX 4080", 48_740, 48_740, 717, 16),
    sheet("GeForce RTX 4090", 82_580, 82_580, 1_008, 24),
    sheet("H100 PCIe", 51_200, 102_400, 2_039, 80),
    sheet("H100 80GB HBM3", 66_900, 133_800, 3_350, 80),
    sheet("H100 NVL", 60_300, 120_600, 3_938, 94),
    sheet("H200", 66_900, 133_800, 4_800, 141),
    sheet("H200 NVL", 60_300, 120_600, 4_800, 141),
    sheet("GeForce RTX 5080", 56_280, 56_280, 960, 16),
    sheet("GeForce RTX 5090", 104_800, 104_800, 1_792, 32),
    sheet("RTX PRO 6000 Blackwell Server Edition", 126_000, 126_000, 1_792, 96),
];

/// What was measured, in percent of the sheet; `None` where one of the two is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratios {
    /// f32 arithmetic.
    pub f32_percent: Option<u64>,
    /// f16 arithmetic.
    pub f16_percent: Option<u64>,
    /// Memory bandwidth.
    pub memory_percent: Option<u64>,
}

/// A claim that the model cannot bear out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it claims {what} at {percent} % of what the maker says of such a device")]
pub struct Beaten {
    what: &'static str,
    percent: u64,
}

impl Sheet {
    /// Of a driver's model name.
    pub fn of(model: &str) -> Option<&'static Self> {
        let name = model.strip_prefix(MAKER).unwrap_or(model);
        SHEETS.iter().find(|sheet| sheet.model == name)
    }

    /// What was measured, beside this.
    pub fn ratios(&self, power: &MeasuredPower) -> Ratios {
        Ratios {
            f32_percent: percent(power.f32_mflops, self.f32_gflops * 1_000),
            f16_percent: percent(power.f16_mflops, self.f16_gflops * 1_000),
            memory_percent: percent(power.memory_mbps, self.memory_gbps * 1_000),
        }
    }

    fn beaten(&self, device: &Device) -> Option<Beaten> {
        let Ratios { f32_percent, f16_percent, memory_percent } = self.ratios(&device.power);
        // No card multiplies words faster than f32 numbers.
        let product = percent(device.power.product_mops, self.f32_gflops * 1_000);
        let room = percent(device.memory.0, Bytes(self.memory_gib << 30).0);
        let claims = [
            ("f32 arithmetic", f32_percent),
            ("f16 arithmetic", f16_percent),
            ("word arithmetic", product),
            ("memory bandwidth", memory_percent),
            ("memory", room),
        ];
        let found = claims.into_iter().find_map(|(what, percent)| {
            percent.filter(|percent| *percent > DOUBTFUL_PERCENT).map(|percent| Beaten { what, percent })
        });
        found.filter(|_| device.engine.is_gpu())
    }
}

/// What a device claims beyond what its maker says of it; `None` for a model that is not known here.
pub fn beaten(device: &Device) -> Option<Beaten> {
    Sheet::of(&device.model)?.beaten(device)
}

fn percent(found: u64, of: u64) -> Option<u64> {
    let whole = found > 0 && of > 0;
    whole.then(|| u64::try_from(u128::from(found) * 100 / u128::from(of)).unwrap_or(u64::MAX))
}

/// `f32 91 %, f16 90 %, memory 92 %`; empty where nothing is known.
impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("f32", self.f32_percent), ("f16", self.f16_percent), ("memory", self.memory_percent)];
        let known = parts.iter().filter_map(|(what, percent)| Some(format!("{what} {} %", (*percent)?)));
        f.write_str(&known.collect::<Vec<_>>().join(", "))
    }
}
