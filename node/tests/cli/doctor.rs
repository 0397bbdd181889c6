//! `ion doctor` on machines that are broken on purpose.

use super::{Said, ion, ion_in};
use serde_json::Value;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

fn finding<'a>(seen: &'a Value, check: &str) -> &'a Value {
    let findings = seen["findings"].as_array().expect("a list");
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no {check} in {seen}"))
}

fn seen(said: &Said) -> Value {
    said.json().remove(0)
}

#[test]
fn a_machine_that_can_provide_is_told_so() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("none yet");
    let said = ion(&dir, &["doctor", "--backend", "cpu", "--json"]);
    assert_eq!(said.code, 0, "{} {}", said.out, said.err);
    let seen = seen(&said);
    assert_eq!(seen["can_provide"], true);
    for check in ["devices", "driver", "data-dir", "key", "ports", "clock"] {
        assert_eq!(finding(&seen, check)["verdict"], "ok", "{seen}");
    }
    assert!(!dir.exists(), "looking leaves nothing behind");
    let text = ion(&dir, &["doctor", "--backend", "cpu"]);
    assert!(text.code == 0 && text.out.contains("ok       key           none yet"), "{}", text.out);
}

#[test]
fn what_is_broken_is_a_problem_and_costs_3() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    assert_eq!(ion(&dir, &["key", "new"]).code, 0);
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let said = ion(&dir, &["doctor", "--backend", "cpu", "--listen", &address, "--listen", "here", "--json"]);
    assert_eq!((said.code, said.json_error()["exit"].as_u64()), (3, Some(3)), "{}", said.err);
    let seen = seen(&said);
    assert_eq!(seen["can_provide"], false);
    let problem = |check: &str, words: &str| {
        let found = finding(&seen, check);
        assert!(found["verdict"] == "problem", "{found}");
        assert!(found["found"].as_str().unwrap().contains(words), "{words}: {found}");
        assert!(!found["hint"].as_str().unwrap().is_empty());
    };
    problem("key", "chmod 600");
    problem("ports", "is in use");
    problem("ports", "here");
    ion(&dir, &["doctor", "--backend", "cpu", "--listen", &address])
        .failed(3, "2 problems keep this machine");
}

#[test]
fn a_held_directory_is_told_from_a_free_one() {
    let root = tempfile::tempdir().unwrap();
    let lock = fs::File::create(root.path().join("lock")).unwrap();
    lock.try_lock().unwrap();
    let said = ion(root.path(), &["doctor", "--backend", "cpu", "--json"]);
    assert_eq!(said.code, 3);
    assert_eq!(finding(&seen(&said), "data-dir")["verdict"], "problem");
    lock.unlock().unwrap();
    let said = ion(root.path(), &["doctor", "--backend", "cpu", "--json"]);
    assert_eq!(finding(&seen(&said), "data-dir")["verdict"], "ok");
}

#[test]
fn a_library_that_is_no_driver_is_told_as_that() {
    let root = tempfile::tempdir().unwrap();
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::write(root.path().join(name), "no library").unwrap();
    }
    let ask = |backend: &str, libraries: &Path| {
        let mut command = ion_in(&root.path().join("data"), &["doctor", "--json", "--backend", backend]);
        Said::of(command.env("LD_LIBRARY_PATH", libraries).output().unwrap())
    };
    let said = ask("cuda", root.path());
    let seen = seen(&said);
    let driver = finding(&seen, "driver");
    assert!(said.code == 3 && driver["found"].as_str().unwrap().contains("is not a driver"), "{driver}");
    assert!(driver["hint"].as_str().unwrap().contains("LD_LIBRARY_PATH"), "{driver}");
    let said = ask("auto", root.path());
    assert_eq!(said.code, 0, "the processor is offered instead: {}", said.out);
}
