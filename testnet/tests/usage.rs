//! What `ion-testnet` says to those who ask for what is not there.

use ion_testnet::cluster::{binary, ion::Ion};
use std::process::{Command, Output};

fn testnet(args: &[&str]) -> (Option<i32>, String) {
    let ion = binary::for_tests().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ion-testnet"));
    let Output { status, stderr, .. } = command.args(args).arg("--ion").arg(ion).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn an_unknown_backend_is_a_usage_error() {
    for verb in ["demo", "up"] {
        let (code, said) = testnet(&[verb, "--backend", "gpu"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("[possible values: auto, cuda, cpu]"), "{said}");
    }
}

#[test]
fn without_a_gpu_those_who_want_one_are_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let ion = Ion::new(binary::for_tests().unwrap());
    if ion.finish(dir.path(), ["doctor", "--backend", "cuda"]).unwrap().code == Some(0) {
        return eprintln!("skipped: without_a_gpu_those_who_want_one_are_told_what_to_do, here is one");
    }
    for verb in ["demo", "up"] {
        let (code, said) = testnet(&[verb, "--backend", "cuda"]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("failed: no provider here could offer a GPU: "), "{said}");
        assert!(said.contains("\nhint: ") && said.contains("leave out `--backend cuda`"), "{said}");
    }
}
