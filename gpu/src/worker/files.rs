//! Which files a worker may still open once its device is: the door to Landlock.
//!
//! On the processor: none, of any kind. On CUDA: NVIDIA's device nodes, and for reading the places where drivers and their
//! libraries live. Landlock holds the calling thread and those it starts; the driver's own threads are older, and are
//! held too from version 8 of its interface on. Sockets are refused where the kernel's version knows them, and signals to
//! other processes. Never decides what to do where the kernel has no Landlock: it says so. Tests: `gpu/tests/sandbox.rs`.

use super::{EngineChoice, isolation::Wall};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictSelfAttr,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use std::{env, fs, path::PathBuf};

/// The newest version whose rights are asked for; what an older kernel lacks of it is left out, and told by its number.
const NEWEST: ABI = ABI::V8;
/// Where a driver's device nodes are, and what their names begin with.
const DEVICES: (&str, &str) = ("/dev", "nvidia");
/// What a driver reads after its start: libraries, the loader's cache, and what the kernel tells of itself, of this process
/// and of the buses; not of other processes.
const READABLE: [&str; 17] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/cuda",
    "/usr/local/nvidia",
    "/usr/share/nvidia",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/devices",
    "/proc/driver",
    "/proc/meminfo",
    "/proc/modules",
    "/proc/self",
    "/proc/sys",
    "/sys",
    "/dev/urandom",
];

/// Closes the file system to this thread and those it will start.
pub fn close(engine: EngineChoice) -> Wall {
    match try_close(engine) {
        Ok(LandlockStatus::Available { effective_abi, kernel_abi }) => {
            let version = kernel_abi.unwrap_or(effective_abi as i32);
            Wall::Stands { version: u32::try_from(version).unwrap_or(0) }
        }
        Ok(LandlockStatus::NotEnabled) => {
            Wall::absent("this kernel has Landlock, and it is not enabled at boot")
        }
        Ok(LandlockStatus::NotImplemented) => Wall::absent("this kernel has no Landlock"),
        Err(error) => Wall::absent(&format!("Landlock refused: {error}")),
    }
}

fn try_close(engine: EngineChoice) -> Result<LandlockStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, access) in open_places(engine) {
        // A place that does not exist needs no rule.
        if let Ok(place) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(place, access))?;
        }
    }
    Ok(rules.all_threads(true)?.restrict_self()?.landlock)
}

fn open_places(engine: EngineChoice) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    match engine {
        EngineChoice::Cpu => Vec::new(),
        EngineChoice::Cuda { .. } => {
            let reading = AccessFs::ReadFile | AccessFs::ReadDir;
            let of_device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
            let libraries = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            let libraries = env::split_paths(&libraries).filter(|path| path.is_absolute());
            let readable = READABLE.iter().map(PathBuf::from).chain(libraries);
            let device_nodes = device_nodes().into_iter().map(|path| (path, of_device));
            readable.map(|path| (path, reading)).chain(device_nodes).collect()
        }
    }
}

fn device_nodes() -> Vec<PathBuf> {
    let (folder, prefix) = DEVICES;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}
