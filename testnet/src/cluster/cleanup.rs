//! Nothing outlives us: every child is killed when this process ends, however it ends.
//!
//! Three nets, each for what the one before can't catch: `Drop` of a child's owner; a thread that waits for Ctrl-C,
//! SIGTERM and SIGHUP, kills what is registered, removes the temporary directories and exits; and the kernel's parent-death
//! signal, for when we are killed outright. Children run in process groups of their own, so that Ctrl-C reaches them
//! through us and nobody else.

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};
use tokio::signal::unix::{SignalKind, signal};

/// What must go when we go.
#[derive(Default)]
struct Registry {
    groups: BTreeSet<i32>,
    dirs: BTreeSet<PathBuf>,
}

/// Set for good by Ctrl-C.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Whether everything is being ended: then nobody wonders that nodes end.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { groups: BTreeSet::new(), dirs: BTreeSet::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A start order for the thread that starts all children.
type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts `command` in a process group of its own, to be killed by the kernel if we die first.
///
/// The parent-death signal comes when the *thread* ends that started the child, so one thread that never ends starts
/// them all.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(0);
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The asker waits for the answer; it is gone only if the whole process is on its way out.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let parent = rustix::process::getpid();
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec and makes two system calls only: no allocation, no locks.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        });
    }
    let (answer, outcome) = sync_channel(1);
    starter.send((command, answer)).map_err(|_| io::ErrorKind::BrokenPipe)?;
    let child = outcome.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
    registry().groups.insert(child.id().cast_signed());
    Ok(child)
}

/// Kills a child with everything in its group, and waits for it.
pub fn end(child: &mut Child) {
    kill_group(child.id().cast_signed());
    reap(child);
}

/// Waits for a child that was killed or ended by itself; its number may be somebody else's from now on.
pub fn reap(child: &mut Child) {
    // `wait` fails only for a child that was waited for already.
    let _ = child.wait();
    registry().groups.remove(&child.id().cast_signed());
}

fn kill_group(group: i32) {
    if let Some(pid) = Pid::from_raw(group) {
        // Gone already is as good as killed.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Has `dir` removed on Ctrl-C.
pub fn register_dir(dir: &Path) {
    registry().dirs.insert(dir.to_owned());
}

/// Leaves `dir` alone on Ctrl-C.
pub fn forget_dir(dir: &Path) {
    registry().dirs.remove(dir);
}

/// From now on Ctrl-C, SIGTERM and the end of the terminal clean up and end this process: with code 0 if that is how it
/// is `meant` to end, else with 128 and the signal's number, as shells have it.
pub fn on_interrupt(meant: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let on = |kind| {
        let _inside = runtime.enter();
        signal(kind)
    };
    let (int, term, hup) = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
    let (mut interrupt, mut terminate, mut hangup) = (on(int)?, on(term)?, on(hup)?);
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let caught = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => int,
                _ = terminate.recv() => term,
                _ = hangup.recv() => hup,
            }
        });
        STOPPING.store(true, Ordering::Relaxed);
        // A terminal that is gone takes no words.
        let _ = writeln!(io::stderr(), "\nstopped: ending all processes");
        let registry = registry();
        registry.groups.iter().for_each(|group| kill_group(*group));
        for dir in &registry.dirs {
            if let Err(error) = std::fs::remove_dir_all(dir) {
                let _ = writeln!(io::stderr(), "could not remove {}: {error}", dir.display());
            }
        }
        std::process::exit(if meant { 0 } else { 128 + caught.as_raw_value() });
    })?;
    Ok(())
}
