//! The demo, as a person starts it, at reduced sizes.

use serde_json::Value;
use std::process::Command;

#[test]
fn the_demo_ends_well_and_tells_everything() {
    let ion = ion_testnet::cluster::binary::for_tests().unwrap();
    let out = tempfile::tempdir().unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_ion-testnet"))
        .args(["demo", "--small", "--json", "--backend", "cpu", "--ion"])
        .arg(ion)
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    let progress = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{progress}");
    let outcome: Value = serde_json::from_slice(&demo.stdout).unwrap();
    let jobs = outcome["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 5, "four jobs, and one that survives its provider");
    for job in jobs {
        assert_eq!(job["engine"], "CPU: ptx jit");
        assert!(job["provider"].as_str().unwrap().starts_with("provider-"), "{job}");
        assert!(job["price_nano_io"].as_u64().unwrap() > 0, "{job}");
    }
    let death = &outcome["death"];
    assert_ne!(death["provider"], death["rerun_on"]);
    assert!(jobs[4]["attempt"].as_u64().unwrap() > 1);
    assert!(death["noticed_ms"].as_u64().unwrap() < 7_000, "noticed late: {death}");
    let picture = outcome["picture"].as_str().unwrap();
    let png = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(picture).unwrap()));
    assert_eq!(png.read_info().unwrap().info().size(), (240, 160));
}
