//! The rules of the house that a machine can check: who may name whom, what may stand in a file, how long it may be.
//!
//! It lives in `protocol` because that crate compiles in seconds; it reads the sources of all crates.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A line budget a reader can hold; most files should be far below.
const FILE_LINES_MAX: usize = 600;

/// Package, where its name may stand in Rust code, and what gives a use of it away.
const DOORS: [(&str, &[&str], &[&str]); 11] = [
    ("bincode", &["protocol/src/codec.rs"], &["bincode::", "use bincode"]),
    ("ed25519-dalek", &["protocol/src/key.rs"], &["ed25519_dalek"]),
    ("libp2p", &["node/src/net/"], &["libp2p::", "use libp2p"]),
    ("sled", &["node/src/ledger/store.rs"], &["sled::", "use sled"]),
    ("cudarc", &["gpu/src/cuda/"], &["cudarc::", "use cudarc"]),
    ("cranelift", &["gpu/src/cpu/"], &["cranelift_", "use cranelift"]),
    ("rayon", &["gpu/src/cpu/crew.rs"], &["rayon_core::", "use rayon_core"]),
    ("clap", &["node/src/cli/", "testnet/src/main.rs"], &["clap::", "use clap"]),
    ("landlock", &["gpu/src/worker/files.rs"], &["landlock::", "use landlock"]),
    ("seccompiler", &["gpu/src/worker/calls.rs"], &["seccompiler::", "use seccompiler"]),
    ("libc", &["gpu/src/worker/", "gpu/tests/sandbox"], &["libc::", "use libc"]),
];

/// Text that must not stand below a folder, and why.
const BANS: [(&[&str], &[&str], &str); 4] = [
    (
        &["protocol/src/", "scheduler/src/"],
        &[
            "std::fs",
            "std::net",
            "std::time",
            "std::thread",
            "SystemTime",
            "Instant::now",
            "tokio",
            "getrandom",
            "println!",
        ],
        "protocol and scheduler do no I/O, read no clock and draw no random number",
    ),
    (&["scheduler/src/"], &["HashMap", "HashSet"], "the order of a hash map leaks into decisions"),
    (
        &["gpu/src/"],
        &["std::net", "TcpStream", "UdpSocket", "SecretKey"],
        "gpu opens no socket and holds no key",
    ),
    (
        &["protocol/", "scheduler/", "gpu/", "node/", "testnet/"],
        &["#[ignore", "todo!(", "unimplemented!(", "unbounded_channel", "mpsc::unbounded", "dbg!("],
        "no unfinished work, no unbounded queue",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Every file below the workspace's crates with this ending: path relative to the root, and text.
fn sources(ending: &str) -> Vec<(String, String)> {
    let root = root();
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["protocol", "scheduler", "gpu", "node", "testnet", "scripts"].iter().map(|c| root.join(c)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let name =
                    path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push((name, fs::read_to_string(&path).expect("a text file")));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no {ending} files below {}", root.display());
    files
}

/// Lines that are code: neither comments nor this test's own tables.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn each_package_has_one_door() {
    let mut problems = Vec::new();
    for (file, text) in sources(".rs") {
        if file == "protocol/tests/tidy.rs" {
            continue;
        }
        for (package, doors, signs) in DOORS {
            if doors.iter().any(|door| file.starts_with(door)) {
                continue;
            }
            for (line, code) in code_lines(&text) {
                let code = code.replace("ion_protocol::codec::bincode_crate", "");
                if signs.iter().any(|sign| uses(&code, sign)) {
                    problems.push(format!("{file}:{line}: names {package}; only {doors:?} may"));
                }
            }
        }
    }
    report(problems);
}

/// Whether `sign` stands in `code` as a word of its own.
fn uses(code: &str, sign: &str) -> bool {
    code.match_indices(sign).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
    })
}

#[test]
fn nothing_banned_stands_anywhere() {
    let mut problems = Vec::new();
    for (file, text) in sources(".rs") {
        if file == "protocol/tests/tidy.rs" {
            continue;
        }
        for (folders, words, why) in BANS {
            if !folders.iter().any(|folder| file.starts_with(folder)) {
                continue;
            }
            for (line, code) in code_lines(&text) {
                for word in words.iter().filter(|word| code.contains(**word)) {
                    problems.push(format!("{file}:{line}: `{word}`: {why}"));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn tests_wait_for_facts() {
    let mut problems = Vec::new();
    let is_test = |file: &str| file.contains("/tests/") || file.ends_with("tests.rs");
    for (file, text) in
        sources(".rs").into_iter().filter(|(file, _)| is_test(file) && !file.ends_with("tidy.rs"))
    {
        for (line, _) in code_lines(&text).filter(|(_, code)| code.contains("sleep(")) {
            problems.push(format!("{file}:{line}: sleeps; wait for a typed event under a deadline"));
        }
    }
    report(problems);
}

#[test]
fn files_are_short_enough_to_read() {
    let long = |(file, text): (String, String)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{file}: {lines} lines; split it below {FILE_LINES_MAX}"))
    };
    report(sources(".rs").into_iter().filter_map(long).collect());
}

#[test]
fn every_module_says_what_it_is() {
    let silent = |(file, text): (String, String)| {
        let documented = text.lines().any(|line| line.starts_with("//!"));
        (!documented).then(|| format!("{file}: no `//!` module docs"))
    };
    report(sources(".rs").into_iter().filter_map(silent).collect());
}

#[test]
fn no_path_of_a_machine_is_kept() {
    let mut problems = Vec::new();
    for (file, text) in
        [".rs", ".toml", ".sh", ".ptx", ".cu"].iter().flat_map(|ending| sources_or_none(ending))
    {
        for (line, code) in text.lines().enumerate() {
            if ["/root/", "/home/", "/Users/", "C:\\\\"].iter().any(|path| code.contains(path))
                && !file.ends_with("tidy.rs")
            {
                problems.push(format!("{file}:{}: a path of a machine", line + 1));
            }
        }
    }
    report(problems);
}

fn sources_or_none(ending: &str) -> Vec<(String, String)> {
    std::panic::catch_unwind(|| sources(ending)).unwrap_or_default()
}

/// A type of [`ion_protocol::units`], and what the name of such a field has in JSON, where a number has no type.
const UNITS: [(&str, &str); 5] =
    [("UnixMillis", "unix_ms"), ("Millis", "ms"), ("Nanos", "ns"), ("Bytes", "bytes"), ("NanoIo", "nano_io")];

#[test]
fn quantities_say_their_unit_in_json() {
    let mut problems = Vec::new();
    for (file, text) in sources(".rs") {
        let (mut serialized, mut inside, mut renamed) = (false, false, None);
        for (line, code) in code_lines(&text) {
            let item =
                ["struct ", "enum "].iter().any(|word| code.trim_start_matches("pub ").starts_with(word));
            if item {
                inside = serialized;
            } else if !code.starts_with(['#', ' ', ')']) || code.starts_with("}") {
                (serialized, inside) = (false, false);
            }
            serialized |= !code.starts_with("use ") && !inside && code.contains("erialize");
            let name = code.split("rename = \"").nth(1).and_then(|rest| rest.split('"').next());
            renamed = name.or(renamed);
            for (field, unit) in inside.then(|| quantities(code)).into_iter().flatten() {
                let name = renamed.take().unwrap_or(field);
                if !format!("_{name}_").contains(&format!("_{unit}_")) {
                    problems.push(format!(
                        "{file}:{line}: `{name}` is a number of {unit} in JSON and does not say so"
                    ));
                }
            }
            if code.trim_end().ends_with(',') {
                renamed = None;
            }
        }
    }
    report(problems);
}

/// The fields of such a type in a line, each with its unit.
fn quantities(code: &str) -> Vec<(&str, &'static str)> {
    let fields = code.match_indices(": ").filter_map(|(at, _)| {
        let kind = code[at + 2..].trim_start_matches("Option<");
        let word = kind.split([',', '>', ' ']).next()?.rsplit("::").next()?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == word)?;
        let name = code[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        Some((name, *unit))
    });
    fields.collect()
}

/// Crate, what of our own it may depend on, and packages it must not.
const DEPENDENCIES: [(&str, &[&str], &[&str]); 5] = [
    ("protocol", &[], &["libp2p", "tokio", "sled", "cudarc", "cranelift-codegen", "getrandom", "clap"]),
    (
        "scheduler",
        &["ion-protocol"],
        &["libp2p", "tokio", "sled", "cudarc", "cranelift-codegen", "getrandom", "clap"],
    ),
    ("gpu", &["ion-protocol"], &["libp2p", "tokio", "sled", "ed25519-dalek", "clap"]),
    (
        "node",
        &["ion-protocol", "ion-scheduler", "ion-gpu"],
        &["cudarc", "cranelift-codegen", "bincode", "ed25519-dalek"],
    ),
    (
        "testnet",
        &["ion-protocol", "ion-scheduler"],
        &["libp2p", "sled", "cudarc", "cranelift-codegen", "bincode"],
    ),
];

#[test]
fn crates_know_only_whom_they_may() {
    let mut problems = Vec::new();
    for (name, own, banned) in DEPENDENCIES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!("{name}/Cargo.toml: does not take the workspace's lints"));
        }
        for (line, text) in manifest.lines().enumerate() {
            let package = text.split(['.', ' ', '=']).next().unwrap_or_default();
            let foreign =
                package.starts_with("ion-") && text.contains("workspace") && !own.contains(&package);
            if foreign || banned.contains(&package) {
                problems.push(format!("{name}/Cargo.toml:{}: {name} must not know {package}", line + 1));
            }
        }
    }
    report(problems);
}
