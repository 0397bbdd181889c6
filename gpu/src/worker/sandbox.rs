//! What a worker takes from itself before it touches foreign code.
//!
//! Owns the order: [`enter`] first of all, [`close_in`] once the device is open, then jobs. After both, a process that a
//! kernel took over holds three pipes and memory, and can reach nothing else; what the machine's kernel lacks for that is
//! told ([`super::isolation`]), and the worker works all the same. Files are closed by [`super::files`], system calls by
//! [`super::calls`]. Deliberately absent: a limit on processes (`RLIMIT_NPROC` counts all threads of the user, the node's
//! too, so a small one would refuse the engine its threads; new processes are refused by their system calls).
//! Tests: `gpu/tests/sandbox.rs`.

use super::{EngineChoice, calls, files, isolation::Isolation};
use ion_protocol::{Bytes, limits::STATES_BYTES_MAX};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, kill_process, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use std::{fs::File, io};

/// Open files of a worker on the CPU: three pipes, `/proc` while looking at the machine, some spare.
const FILES_MAX_CPU: u64 = 32;
/// Open files of a worker on CUDA: the driver opens its device nodes several times over.
const FILES_MAX_CUDA: u64 = 1024;
/// Where what is written is gone.
const NOWHERE: &str = "/dev/null";
/// How gladly the system takes this process when memory is out: before all others.
const OOM_SCORE: &str = "1000";
/// Writable memory beside the job's: stacks of the engine's threads, a parsed program, the frames.
const MEMORY_OVERHEAD: u64 = 512 << 20;

fn at_most(limit: u64) -> Rlimit {
    Rlimit { current: Some(limit), maximum: Some(limit) }
}

/// Ends this process at once, whatever its threads do.
pub fn die() -> ! {
    let _ = kill_process(rustix::process::getpid(), Signal::KILL);
    // The signal above cannot be caught; this line satisfies the type.
    std::process::abort()
}

/// First thing in the child. Takes standard output for the frames and lets whatever else prints there print to nowhere, so
/// that it can't be mistaken for a frame: a driver does, and what it prints is what kernels say, without bound.
pub fn enter() -> io::Result<File> {
    // A parent that died before the next line would leave us with a new one, so it is looked at before and after.
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != parent {
        die();
    }
    close_inherited();
    // A machine out of memory is to take the worker, not the node: a job is lost, not everybody's. Where this can't be
    // written the node is merely as likely a choice, so that is no reason not to work.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    setrlimit(Resource::Core, at_most(0))?;
    let frames = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    match File::options().write(true).open(NOWHERE) {
        Ok(nowhere) => rustix::stdio::dup2_stdout(nowhere)?,
        Err(_) => rustix::stdio::dup2_stdout(rustix::stdio::stderr())?,
    }
    Ok(frames.into())
}

/// Closes every descriptor but the three pipes: what the node's own parent left open for it is no business of a worker.
fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor yet; the runtime uses none but the three.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } == 0 {
        return;
    }
    // Kernels before 5.9 have no such call. The list is read whole before any of it is closed, its own descriptor too.
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: as above; a number that is closed already is told so, and nothing happens.
        unsafe { libc::close(number) };
    }
}

/// After the device is open, before the first job: drivers may need what this takes away while they start.
pub fn close_in(engine: EngineChoice, memory: Bytes) -> io::Result<()> {
    limit(engine, memory)?;
    files::close(engine);
    calls::close(engine);
    Ok(())
}

/// For a probing child: puts up the walls of a worker, and tries to get through.
pub fn measure(engine: EngineChoice) -> io::Result<Isolation> {
    limit(engine, Bytes::ZERO)?;
    let (files, calls) = (files::close(engine), calls::close(engine));
    Ok(Isolation { files, calls, holes: calls::try_out() })
}

fn limit(engine: EngineChoice, memory: Bytes) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    match engine {
        EngineChoice::Cpu => {
            setrlimit(Resource::Nofile, at_most(FILES_MAX_CPU))?;
            setrlimit(Resource::Fsize, at_most(0))?;
            // Buffers are held twice while they are read back, beside what is kept of them between launches; what is more is an allocation failure, not a slow machine.
            let data = memory.0.saturating_mul(2).saturating_add(MEMORY_OVERHEAD + STATES_BYTES_MAX);
            setrlimit(Resource::Data, at_most(data))
        }
        // A driver maps far more than it uses, so memory is limited by what the worker asks the device for.
        EngineChoice::Cuda { .. } => setrlimit(Resource::Nofile, at_most(FILES_MAX_CUDA)),
    }
    .map_err(io::Error::from)
}
