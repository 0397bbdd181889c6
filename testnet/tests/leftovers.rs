//! Nothing is left behind, however this program ends. The node is played by a script that runs for ever and holds a
//! pipe open: the pipe ends when the last of its processes is gone.

use ion_testnet::cluster::script;
use rustix::{
    fs::{CWD, Mode},
    process::{Pid, Signal, kill_process},
};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Lines, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};
use tempfile::TempDir;

/// An `ion` that listens and then does nothing.
const LISTEN: &str = r#"#!/bin/sh
exec 9> "$(dirname "$0")/alive"
echo '{"event":"listening","node":"0000000000000000000000000000000000000000000000000000000000000000","addresses":["/ip4/127.0.0.1/tcp/1/p2p/x"],"at_unix_ms":1}'
"#;
/// One process.
const ALONE: &str = "exec tail -f /dev/null\n";
/// A process with a child, as a node with a worker.
const WITH_CHILD: &str = "tail -f /dev/null &\nwait\n";

struct Up {
    process: Child,
    files: TempDir,
    dir: PathBuf,
    /// Kept open: who prints into a closed pipe fails.
    _output: Lines<BufReader<ChildStdout>>,
}

/// Starts `ion-testnet up` with one node and waits until it is up.
fn up(then: &str) -> (Up, File) {
    let files = tempfile::tempdir().unwrap();
    let script = files.path().join("ion");
    script::write(&script, &(LISTEN.to_owned() + then)).unwrap();
    let pipe = files.path().join("alive");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RWXU).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_ion-testnet"))
        .args(["up", "--providers", "0", "--light", "0", "--ion"])
        .arg(&script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Opens once the node has opened its end.
    let alive = File::open(&pipe).unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    let named = output.by_ref().map(Result::unwrap).find_map(|line| {
        let dir = line.strip_prefix("network")?.trim().to_owned();
        Path::new(&dir).parent().map(Path::to_owned)
    });
    let up = Up { process, files, dir: named.expect("the node's data directory"), _output: output };
    assert!(up.dir.is_dir());
    (up, alive)
}

fn signal(up: &Up, signal: Signal) {
    kill_process(Pid::from_child(&up.process), signal).unwrap();
}

/// Returns when all processes that held the pipe are gone.
fn wait_until_gone(mut alive: File) {
    assert_eq!(alive.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_signal_ends_the_nodes_and_removes_their_files() {
    for ending in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (mut up, alive) = up(WITH_CHILD);
        signal(&up, ending);
        wait_until_gone(alive);
        assert_eq!(up.process.wait().unwrap().code(), Some(0), "it is meant to end so: {ending:?}");
        assert!(!up.dir.exists(), "{} is left", up.dir.display());
        drop(up.files);
    }
}

#[test]
fn the_nodes_die_with_us_when_we_are_killed() {
    let (mut up, alive) = up(ALONE);
    signal(&up, Signal::KILL);
    up.process.wait().unwrap();
    wait_until_gone(alive);
    fs::remove_dir_all(&up.dir).unwrap();
    drop(up.files);
}
