//! A worker taken over: children of this program put up a worker's walls around themselves, then try to get out.
//!
//! Every attempt is made twice, with the walls and without: one that would fail anyway proves nothing. Where the kernel
//! lacks a wall, that is said and nothing else is claimed.

mod cpu_bench;
mod sandbox_inside;

use ion_gpu::worker::isolation::{Isolation, Wall};
use sandbox_inside::{OPEN, inside};
use std::{
    env,
    io::Write,
    net::TcpListener,
    os::unix::{net::UnixListener, process::ExitStatusExt},
    process::{Command, ExitCode, Output},
};

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It said so.
    Said(String),
    /// It was killed.
    Signal(i32),
}

const SIGSYS: i32 = 31;

fn child(walls: &str, what: &str, arg: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["inside", walls, what, arg]);
    command
}

fn attempt(walls: &str, what: &str, arg: &str) -> End {
    let Output { status, stdout, stderr } = child(walls, what, arg).output().expect("a child");
    match status.signal() {
        Some(signal) => End::Signal(signal),
        None => {
            assert!(status.success(), "{what}: {status}: {}", String::from_utf8_lossy(&stderr));
            End::Said(String::from_utf8(stdout).expect("text"))
        }
    }
}

fn said(text: &str) -> End {
    End::Said(text.to_owned())
}

/// What this kernel has, found by a child.
fn isolation(walls: &str) -> Isolation {
    let End::Said(text) = attempt(walls, "measure", "") else { panic!("it measures") };
    serde_json::from_str(&text).expect("an answer")
}

/// On the processor nothing is left, and what only a thief would try ends the process.
fn a_worker_on_the_processor_gets_nowhere() {
    let found = isolation("cpu");
    let Wall::Stands { .. } = found.calls else { return skipped(&found) };
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::File::create(&key).and_then(|mut file| file.write_all(b"secret")).expect("a key");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tcp_address = tcp.local_addr().expect("its address").to_string();
    let unix_path = dir.path().join("control.sock");
    let _unix = UnixListener::bind(&unix_path).expect("a socket");
    let own = std::process::id().to_string();
    let [key, new, unix_path] =
        [key, dir.path().join("new"), unix_path].map(|path| path.to_str().expect("text").to_owned());
    let refused: [(&str, &str); 16] = [
        ("read", &key),
        ("write", &key),
        ("create", &new),
        ("list", "/"),
        ("look", &key),
        ("remove", &key),
        ("tcp", &tcp_address),
        ("unix", &unix_path),
        ("udp", ""),
        ("run", "/bin/true"),
        ("fork", ""),
        ("signal", &own),
        ("writable-code", ""),
        ("unlimit", ""),
        ("memory-file", ""),
        ("namespace", ""),
    ];
    for (what, arg) in refused {
        std::fs::write(&key, "secret").expect("it is there again");
        let _ = std::fs::remove_file(&new);
        assert_eq!(attempt(OPEN, what, arg), said("done"), "{what} works without walls");
        std::fs::write(&key, "secret").expect("it is there again");
        let _ = std::fs::remove_file(&new);
        assert_eq!(attempt("cpu", what, arg), said("refused"), "{what}");
    }
    for what in ["execute", "trace", "read-memory"] {
        assert_eq!(attempt(OPEN, what, &own), said("done"), "{what} works without walls");
        assert_eq!(attempt("cpu", what, &own), End::Signal(SIGSYS), "{what}");
    }
    assert!(found.is_whole(), "{found}");
}

/// On CUDA the driver keeps its libraries and device nodes; nothing of the owner's is left.
fn a_worker_on_cuda_reads_libraries_only() {
    let found = isolation("cuda");
    let (Wall::Stands { .. }, Wall::Stands { .. }) = (&found.files, &found.calls) else {
        return skipped(&found);
    };
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, "secret").expect("a key");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tcp_address = tcp.local_addr().expect("its address").to_string();
    let new = dir.path().join("new");
    let [key, new] = [key, new].map(|path| path.to_str().expect("text").to_owned());
    let own = std::process::id().to_string();
    let environment = format!("/proc/{own}/environ");
    let refused: [(&str, &str); 13] = [
        ("read", &key),
        ("write", &key),
        ("create", &new),
        ("list", "/"),
        ("read", &environment),
        ("unlimit-other", &own),
        ("tcp", &tcp_address),
        ("udp", ""),
        ("run", "/bin/true"),
        ("fork", ""),
        ("execute", ""),
        ("trace", &own),
        ("read-memory", &own),
    ];
    for (what, arg) in refused {
        let _ = std::fs::remove_file(&new);
        assert_eq!(attempt(OPEN, what, arg), said("done"), "{what} {arg} works without walls");
        let _ = std::fs::remove_file(&new);
        assert_eq!(attempt("cuda", what, arg), said("refused"), "{what} {arg}");
    }
    for (what, arg) in [("list", "/usr/lib"), ("read", "/proc/self/maps"), ("thread", ""), ("unlimit", "")] {
        assert_eq!(attempt("cuda", what, arg), said("done"), "a driver needs to {what} {arg}");
    }
    // Landlock holds signals back from its version 6 on only, so here the calls alone do.
    for (what, arg) in [("signal", &own[..]), ("signal", "0"), ("signal", "-1"), ("signal-thread", &own)] {
        assert_eq!(attempt("enter", what, arg), said("done"), "{what} {arg} works without walls");
        assert_eq!(attempt("cuda-calls", what, arg), said("refused"), "{what} {arg}");
    }
    assert_eq!(attempt("cuda-calls", "signal-itself", ""), said("done"), "a panic ends it by a signal");
    assert!(found.is_whole(), "{found}");
}

/// What the kernel says of a worker.
fn a_worker_is_marked_as_shut_in() {
    assert_eq!(attempt(OPEN, "marks", ""), said("privileges 0, dumpable 1"));
    // Looking is among what is not permitted on the processor; both engines are marked by the same lines.
    assert_eq!(attempt("cuda", "marks", ""), said("privileges 1, dumpable 0"));
    let End::Said(status) = attempt("cpu-late", "status", "") else { panic!("it lives") };
    assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
    let core = status.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
}

/// Jobs run inside, on several threads, and end as they do outside.
fn jobs_run_inside_with_threads() {
    assert_eq!(attempt("cpu", "thread", ""), said("done"));
    let outside = attempt(OPEN, "job", "");
    assert!(matches!(&outside, End::Said(text) if text.starts_with("64 blocks: ")), "{outside:?}");
    assert_eq!(attempt("cpu", "job", ""), outside);
    assert_eq!(
        attempt("cpu", "executable-code", ""),
        said("done"),
        "a compiler's pages can be made executable"
    );
    assert_eq!(attempt("cpu", "panic", ""), said("done"), "a panic is caught as ever");
}

/// A CUDA C++ module is compiled with no file left to open, if this machine has the compiler.
fn cuda_source_is_compiled_inside() {
    if !ion_gpu::cuda::nvrtc_present() {
        return println!("  skipped: no NVRTC is installed here");
    }
    for walls in ["cpu", "cuda"] {
        let found = attempt(walls, "compile", "");
        assert!(
            matches!(&found, End::Said(text) if text.contains(".visible .entry k")),
            "{walls}: {found:?}"
        );
    }
}

/// What the node's own parent left open is closed.
fn inherited_descriptors_are_closed() {
    let file = tempfile::tempfile().expect("a file");
    // SAFETY: a plain call; the copy is left open on purpose, without the flag that closes it in children.
    let copy = unsafe { libc::dup(std::os::fd::AsRawFd::as_raw_fd(&file)) };
    assert!(copy > 2);
    let open = |walls| match attempt(walls, "descriptors", "") {
        End::Said(text) => text.split(' ').filter_map(|n| n.parse().ok()).collect::<Vec<i32>>(),
        End::Signal(signal) => panic!("signal {signal}"),
    };
    assert!(open(OPEN).contains(&copy), "it is inherited without walls");
    let left = open("enter");
    // The pipes, the copy of one that frames go to, and the directory that is being read.
    assert_eq!(left, [0, 1, 2, 3, 4]);
    // SAFETY: it is ours.
    unsafe { libc::close(copy) };
}

fn skipped(found: &Isolation) {
    println!("  skipped: {found}");
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [inside_word, walls, what, arg] = &args[..]
        && inside_word == "inside"
    {
        return inside(walls, what, arg);
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let tests: [(&str, fn()); 6] = [
        ("a_worker_on_the_processor_gets_nowhere", a_worker_on_the_processor_gets_nowhere),
        ("a_worker_on_cuda_reads_libraries_only", a_worker_on_cuda_reads_libraries_only),
        ("a_worker_is_marked_as_shut_in", a_worker_is_marked_as_shut_in),
        ("jobs_run_inside_with_threads", jobs_run_inside_with_threads),
        ("cuda_source_is_compiled_inside", cuda_source_is_compiled_inside),
        ("inherited_descriptors_are_closed", inherited_descriptors_are_closed),
    ];
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            // A panic ends the program with its message and its own exit code.
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}
