//! The children's side: walls up, one attempt, one word of how it went.

use super::cpu_bench::{Bench, u32s};
use ion_gpu::{
    cuda,
    worker::{EngineChoice, calls, sandbox},
};
use ion_protocol::Bytes;
use std::{
    fs::{self, File},
    io::{self, Write},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, ExitCode},
};

/// No walls at all.
pub const OPEN: &str = "open";
/// Memory of a job of the child, which is none.
const MEMORY: Bytes = Bytes(64 << 20);

/// Walls first, then the attempt; how it went is the child's output.
pub fn inside(walls: &str, what: &str, arg: &str) -> ExitCode {
    let cuda = EngineChoice::Cuda { ordinal: 0 };
    if what == "measure" {
        let engine = if walls == "cuda" { cuda } else { EngineChoice::Cpu };
        let mut frames = sandbox::enter().expect("the walls");
        let found = sandbox::measure(engine).expect("a measurement");
        let text = serde_json::to_string(&found).expect("JSON");
        return write(&mut frames, &text);
    }
    if what == "compile" {
        cuda::load_compiler();
    }
    if walls == OPEN {
        let text = outcome(what, arg);
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    let mut frames = sandbox::enter().expect("the walls");
    let close_in = |engine| sandbox::close_in(engine, MEMORY).expect("the walls");
    match walls {
        "cpu" => close_in(EngineChoice::Cpu),
        "cuda" => close_in(cuda),
        "enter" => {}
        "cuda-calls" => drop(calls::close(cuda)),
        "cpu-late" => {
            // Nothing can be looked at from behind the walls, so the files are opened before.
            let files =
                ["/proc/thread-self/status", "/proc/self/limits"].map(|path| File::open(path).expect(path));
            close_in(EngineChoice::Cpu);
            let mut text = String::new();
            for mut file in files {
                io::Read::read_to_string(&mut file, &mut text).expect("a text");
            }
            return write(&mut frames, &text);
        }
        other => panic!("{other} are no walls"),
    }
    let text = outcome(what, arg);
    write(&mut frames, &text)
}

fn write(frames: &mut File, text: &str) -> ExitCode {
    frames.write_all(text.as_bytes()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn outcome(what: &str, arg: &str) -> String {
    match what {
        "job" => job(),
        "descriptors" => descriptors(),
        // SAFETY: plain calls without pointers.
        "marks" => unsafe {
            let privileges = libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
            format!("privileges {privileges}, dumpable {}", libc::prctl(libc::PR_GET_DUMPABLE))
        },
        "compile" => cuda::compile("k.cu", "extern \"C\" __global__ void k(float* x) { x[0] = 1; }")
            .unwrap_or_else(|fault| fault.to_string()),
        _ => match tried(what, arg) {
            Ok(()) => "done".to_owned(),
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => "refused".to_owned(),
                _ => format!("{error}"),
            },
        },
    }
}

fn tried(what: &str, arg: &str) -> io::Result<()> {
    match what {
        "read" => fs::read(arg).map(drop),
        "write" => fs::OpenOptions::new().append(true).open(arg).map(drop),
        "create" => File::create(arg).map(drop),
        "list" => fs::read_dir(arg).map(drop),
        "look" => fs::metadata(arg).map(drop),
        "remove" => fs::remove_file(arg),
        "tcp" => TcpStream::connect(arg).map(drop),
        "unix" => UnixStream::connect(arg).map(drop),
        "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "run" => Command::new(arg).status().map(drop),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().expect("it ends")),
        "panic" => std::panic::catch_unwind(|| panic!("on purpose"))
            .map_or(Ok(()), |()| Err(io::ErrorKind::Other.into())),
        _ => raw(what, arg.parse().unwrap_or(0)),
    }
}

/// What the standard library has no word for.
fn raw(what: &str, pid: i32) -> io::Result<()> {
    let page = 4096;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let (readable, executable) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    let mut byte = 0u8;
    let word = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let own_word = libc::iovec { iov_base: (&raw const word).cast_mut().cast(), iov_len: 1 };
    let lower = libc::rlimit { rlim_cur: 8, rlim_max: 8 };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let null = std::ptr::null_mut();
    // SAFETY: plain calls with pointers to the variables above; a child that is forked ends at once.
    let result = unsafe {
        match what {
            "fork" => match libc::fork() {
                0 => libc::_exit(0),
                pid => pid,
            },
            "execute" => {
                let program = c"/bin/true".as_ptr();
                let args = [program, std::ptr::null()];
                print!("done");
                io::stdout().flush()?;
                libc::execve(program, args.as_ptr(), args[1..].as_ptr())
            }
            "trace" => libc::ptrace(libc::PTRACE_TRACEME, 0, null, null) as i32,
            "read-memory" => {
                // Of itself: whose memory it is does not matter to a wall that forbids the call.
                libc::process_vm_readv(libc::getpid(), &local, 1, &own_word, 1, 0) as i32
            }
            "signal" => libc::kill(pid, 0),
            "signal-thread" => libc::syscall(libc::SYS_tkill, pid, 0) as i32,
            "signal-itself" => libc::kill(libc::getpid(), 0),
            "unlimit-other" => libc::prlimit(pid, libc::RLIMIT_MSGQUEUE, &none, std::ptr::null_mut()),
            "unlimit" => libc::setrlimit(libc::RLIMIT_NOFILE, &lower),
            "memory-file" => libc::memfd_create(c"x".as_ptr(), 0),
            "namespace" => libc::unshare(libc::CLONE_FS),
            "writable-code" => {
                let page = libc::mmap(null, page, readable | libc::PROT_EXEC, anonymous, -1, 0);
                if page == libc::MAP_FAILED { -1 } else { 0 }
            }
            "executable-code" => {
                let start = libc::mmap(null, page, readable, anonymous, -1, 0);
                libc::mprotect(start, page, executable)
            }
            other => panic!("{other} is nothing to try"),
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Open descriptors, in order.
fn descriptors() -> String {
    let entries = fs::read_dir("/proc/self/fd").expect("it can be read").flatten();
    let mut numbers: Vec<i32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(" ")
}

/// A launch of 64 blocks on four cores, each block's threads summing through shared memory.
fn job() -> String {
    const TEXT: &str = ".version 6.5\n.target sm_75\n.address_size 64\n\
        .visible .entry k(.param .u64 out)\n{\n\
        .reg .b64 %o; .reg .b32 %t, %b, %a, %v, %w; .shared .align 4 .b8 s[256];\n\
        mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; shl.b32 %a, %t, 2; mov.u32 %w, s; add.u32 %a, %a, %w;\n\
        st.shared.u32 [%a], %t; bar.sync 0; mad.lo.u32 %v, %b, 1000, %t; xor.b32 %w, %t, 63;\n\
        shl.b32 %w, %w, 2; mov.u32 %a, s; add.u32 %w, %w, %a; ld.shared.u32 %w, [%w]; mad.lo.u32 %v, %w, 7, %v;\n\
        ld.param.u64 %o, [out]; mad.lo.u32 %t, %b, 64, %t; mad.wide.u32 %o, %t, 4, %o;\n\
        st.global.u32 [%o], %v; ret;\n}\n";
    let mut bench = Bench::new(TEXT, "k").grid([64, 1, 1], [64, 1, 1]).buffer(vec![0; 64 * 64 * 4]);
    bench.cores = Some(4);
    let found = u32s(&bench.outputs()[0]);
    let expected: Vec<u32> = (0..64)
        .flat_map(|block| (0..64).map(move |thread| block * 1000 + thread + 7 * (thread ^ 63)))
        .collect();
    assert_eq!(found, expected);
    format!("64 blocks: {}", found.iter().sum::<u32>())
}
