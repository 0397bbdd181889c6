//! Which system calls a worker may still make once its device is open: the door to seccomp.
//!
//! On the processor a list of what is allowed: memory, threads, waiting, the pipes. Anything else fails as not permitted,
//! and what only a worker taken over would try (to run a program, to look into another process) ends it with `SIGSYS`.
//! No memory is ever writable and executable at once. On CUDA the driver's needs differ from release to release, so there
//! it is a list of what is refused, and nothing is killed. All threads are held, older ones too.
//! Never decides what to do where the kernel has no filters: it says so. Tests: `gpu/tests/sandbox.rs`.

use super::{
    EngineChoice,
    isolation::{Hole, Wall},
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction,
    SeccompCmpArgLen::{self, Dword, Qword},
    SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::env::consts::ARCH;

/// Calls that the CPU engine needs, whatever their arguments.
const NEEDED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    // Its arguments can't be seen: see `THREADS`.
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(not(target_arch = "x86_64"))]
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Calls that start a program, look into a process or signal one, change the kernel or reach other machines: on CUDA refused.
const REFUSED: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_connect,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_listen,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setns,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What nothing innocent in a worker calls: on the processor it ends the process.
const MISCHIEF: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// x86-64 kernels may take every call by a second number as well: its own with this bit.
const X32_BIT: i64 = 0x4000_0000;
/// Calls whose second number (x32's table) is another one: execve, ptrace, rt_sigqueueinfo, rt_tgsigqueueinfo,
/// process_vm_readv, process_vm_writev, execveat.
const X32_NUMBERS: [i64; 7] = [520, 521, 524, 536, 539, 540, 545];
/// Calls that a process may make of itself and of no other, not the node: it is another of the same user.
const OF_ITSELF: [i64; 3] = [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_prlimit64];
/// Flags of `clone` that make a new name space; a thread needs none.
const CLONE_NEW: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// What a filter is made of: calls, each with the conditions of which one must hold; none means always.
type Rules = Vec<(i64, Vec<SeccompRule>)>;

/// Closes all but the needed calls to every thread of this process.
pub fn close(engine: EngineChoice) -> Wall {
    match try_close(engine) {
        Ok(()) => Wall::Stands { version: 0 },
        Err(why) => Wall::absent(&why),
    }
}

fn try_close(engine: EngineChoice) -> Result<(), String> {
    let arch = TargetArch::try_from(ARCH).map_err(|_| format!("there are no filters for {ARCH} yet"))?;
    for filter in filters(engine, arch).map_err(|error| error.to_string())? {
        apply_filter_all_threads(&filter).map_err(|error| format!("this kernel takes no filter: {error}"))?;
    }
    Ok(())
}

/// The filters in the order they are put up: the last may refuse to put up more.
fn filters(engine: EngineChoice, arch: TargetArch) -> Result<Vec<BpfProgram>, BackendError> {
    use SeccompAction::{Allow, Errno, KillProcess};
    let refuse = Errno(libc::EPERM as u32);
    let filter = |rules: Rules, matched, otherwise| {
        SeccompFilter::new(rules.into_iter().collect(), otherwise, matched, arch)?.try_into()
    };
    // Where it does not exist, the C library starts threads by the older call, whose arguments can be seen.
    let threads = filter(always(&[libc::SYS_clone3]), Errno(libc::ENOSYS as u32), Allow)?;
    match engine {
        EngineChoice::Cpu => Ok(vec![
            threads,
            filter(always(MISCHIEF), KillProcess, Allow)?,
            filter(needed()?, Allow, refuse)?,
        ]),
        EngineChoice::Cuda { .. } => Ok(vec![threads, filter(refused()?, refuse, Allow)?]),
    }
}

fn always(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn needed() -> Result<Rules, BackendError> {
    let own_pid = u64::from(std::process::id());
    let mut rules = always(NEEDED);
    rules.extend([
        (libc::SYS_clone, vec![rule(0, masked(libc::CLONE_THREAD | CLONE_NEW), libc::CLONE_THREAD as u64)?]),
        // A panic ends the process by a signal to itself, and so does `sandbox::die`.
        (libc::SYS_kill, vec![rule(0, SeccompCmpOp::Eq, own_pid)?]),
        (libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Eq, own_pid)?]),
        (libc::SYS_prctl, vec![rule(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?]),
        // To look at a limit, not to set one.
        (libc::SYS_prlimit64, vec![sized_rule(2, Qword, SeccompCmpOp::Eq, 0)?]),
        (libc::SYS_mmap, never_writable_and_executable()?),
        (libc::SYS_mprotect, never_writable_and_executable()?),
    ]);
    Ok(rules)
}

/// The third argument of `mmap` and `mprotect`: all but both at once.
fn never_writable_and_executable() -> Result<Vec<SeccompRule>, BackendError> {
    let both = masked(libc::PROT_WRITE | libc::PROT_EXEC);
    [0, libc::PROT_WRITE, libc::PROT_EXEC].into_iter().map(|one| rule(2, both.clone(), one as u64)).collect()
}

fn refused() -> Result<Rules, BackendError> {
    let mut calls: Vec<i64> = REFUSED.iter().chain(MISCHIEF).copied().collect();
    if cfg!(target_arch = "x86_64") {
        let all = calls.iter().chain(&OF_ITSELF).chain(&X32_NUMBERS);
        let seconds: Vec<i64> = all.map(|call| call | X32_BIT).collect();
        calls.extend(seconds);
    }
    let mut rules = always(&calls);
    // A new process rather than a thread.
    let clones = if cfg!(target_arch = "x86_64") {
        vec![libc::SYS_clone, libc::SYS_clone | X32_BIT]
    } else {
        vec![libc::SYS_clone]
    };
    for clone in clones {
        rules.push((clone, vec![rule(0, masked(libc::CLONE_THREAD), 0)?]));
    }
    let is_not = |pid| SeccompCondition::new(0, Dword, SeccompCmpOp::Ne, pid);
    let own = u64::from(std::process::id());
    for call in OF_ITSELF {
        let mut others = vec![is_not(own)?];
        // Where it asks for limits, 0 is itself; to signals it is the group, which the node may be of.
        if call == libc::SYS_prlimit64 {
            others.push(is_not(0)?);
        }
        rules.push((call, vec![SeccompRule::new(others)?]));
    }
    Ok(rules)
}

fn masked(bits: i32) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(bits as u32 as u64)
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    sized_rule(argument, Dword, compare, value)
}

fn sized_rule(
    argument: u8,
    size: SeccompCmpArgLen,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, size, compare, value)?])
}

/// What this process can still do, found by doing it. Whatever of it succeeds is undone at once.
pub fn try_out() -> Vec<Hole> {
    let (opened, socket, child);
    // SAFETY: plain calls with a constant path; a descriptor that comes back is closed. The new process, if there is
    // one, shares no memory with this one and ends at its first instruction.
    unsafe {
        opened = close_if_open(libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC));
        socket = close_if_open(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0));
        child = start_and_reap();
    }
    let tried = [(opened, Hole::Files), (socket, Hole::Sockets), (child, Hole::Processes)];
    tried.into_iter().filter(|(succeeded, _)| *succeeded).map(|(_, hole)| hole).collect()
}

/// # Safety
/// `descriptor` must be nobody else's.
unsafe fn close_if_open(descriptor: i32) -> bool {
    // SAFETY: the caller's promise.
    descriptor >= 0 && unsafe { libc::close(descriptor) } == 0
}

/// # Safety
/// Other threads may hold locks, so the new process must do nothing that takes one: it ends.
unsafe fn start_and_reap() -> bool {
    // SAFETY: `clone` without a stack and without shared memory is a fork, and the new process makes one plain call.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if pid == 0 {
            libc::_exit(0);
        }
        pid > 0 && {
            libc::waitpid(pid as libc::pid_t, std::ptr::null_mut(), 0);
            true
        }
    }
}
