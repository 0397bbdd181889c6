//! What this machine is like, as far as it can be seen without touching a driver.

use crate::{
    clock,
    config::Backend,
    control::{ControlClient, ControlError},
    identity::{self, IdentityError, KEY_FILE},
    ledger::LOCK_FILE,
    net,
};
use ion_protocol::{Bytes, Millis, UnixMillis};
use rustix::{
    fs::{Access, access, statvfs},
    process::{Resource, getrlimit},
};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// For what the machine is looked at.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where the node's data would be.
    pub data_dir: PathBuf,
    /// Where it would listen.
    pub listen: Vec<String>,
    /// Which devices it would offer.
    pub backend: Backend,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which devices are wanted.
    pub backend: Backend,
    /// NVIDIA's device nodes, and whether this user may use each.
    pub device_nodes: Vec<(PathBuf, bool)>,
    /// Whether the kernel's driver is loaded, whatever is visible here.
    pub kernel_driver: bool,
    /// Whether this is the inside of a container.
    pub container: bool,
    /// Whether NVIDIA's persistence daemon runs.
    pub persistence: bool,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Bytes left on its disk, or why that can't be told.
    pub disk_free: Result<Bytes, String>,
    /// The key: there and good, not there yet, or why it can't be used.
    pub key: Result<bool, String>,
    /// Who uses the directory.
    pub user: DirUser,
    /// Listen addresses that can't be had, with the reason.
    pub listen_troubles: Vec<String>,
    /// How many were asked for.
    pub listens: usize,
    /// The wall clock.
    pub wall: UnixMillis,
    /// How far in the future the newest file of the directory lies.
    pub files_ahead: Option<Millis>,
    /// Open files this user may have; `None` where there is no bound.
    pub open_files_max: Option<u64>,
}

/// Who holds a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirUser {
    /// Nobody.
    Nobody,
    /// A node that answers.
    Node,
    /// A process that has the lock and does not answer.
    Silent,
}

impl Facts {
    /// Looks at everything; changes nothing.
    pub async fn gather(asked: &Asked) -> Self {
        let user = dir_user(&asked.data_dir).await;
        let listen_troubles = match user {
            // Its ports are that node's.
            DirUser::Node => Vec::new(),
            DirUser::Nobody | DirUser::Silent => asked
                .listen
                .iter()
                .filter_map(|address| Some(net::can_bind(address).err()?.to_string()))
                .collect(),
        };
        let wall = clock::wall();
        Self {
            backend: asked.backend,
            device_nodes: device_nodes(Path::new("/dev")),
            kernel_driver: Path::new("/proc/driver/nvidia/version").exists(),
            container: ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists()),
            persistence: Path::new("/run/nvidia-persistenced/socket").exists(),
            disk_free: disk_free(&asked.data_dir),
            key: key(&asked.data_dir),
            user,
            listen_troubles,
            listens: asked.listen.len(),
            wall,
            files_ahead: files_ahead(&asked.data_dir, wall),
            open_files_max: getrlimit(Resource::Nofile).current,
            data_dir: asked.data_dir.clone(),
        }
    }
}

fn device_nodes(folder: &Path) -> Vec<(PathBuf, bool)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut nodes: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix("nvidia"));
            // The controls and the GPUs; others are for displays and partitions.
            rest.is_some_and(|rest| rest == "ctl" || rest == "-uvm" || rest.parse::<u16>().is_ok())
        })
        .map(|entry| {
            let path = entry.path();
            let usable = access(&path, Access::READ_OK | Access::WRITE_OK).is_ok();
            (path, usable)
        })
        .collect();
    nodes.sort();
    nodes
}

/// Of the disk where the directory is or would be.
fn disk_free(dir: &Path) -> Result<Bytes, String> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let found = statvfs(there).map_err(|error| format!("{}: {error}", there.display()))?;
    Ok(Bytes(found.f_bavail.saturating_mul(found.f_frsize)))
}

fn key(dir: &Path) -> Result<bool, String> {
    if dir.is_dir() && crate::files::others_may_write(dir).map_err(|error| error.to_string())? {
        return Err(format!("{0} can be written by others; `chmod 700 {0}`", dir.display()));
    }
    match identity::load(&dir.join(KEY_FILE)) {
        Ok(_) => Ok(true),
        Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

async fn dir_user(dir: &Path) -> DirUser {
    match ControlClient::connect(dir).await {
        Ok(_) | Err(ControlError::Version { .. }) => return DirUser::Node,
        Err(_) => {}
    }
    let lock = File::open(dir.join(LOCK_FILE));
    match lock.map(|file| file.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => DirUser::Silent,
        Ok(Ok(()) | Err(TryLockError::Error(_))) | Err(_) => DirUser::Nobody,
    }
}

fn files_ahead(dir: &Path, wall: UnixMillis) -> Option<Millis> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let written = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    let newest = written.filter_map(|time| time.duration_since(UNIX_EPOCH).ok()).max()?;
    let newest = u64::try_from(newest.as_millis()).unwrap_or(u64::MAX);
    Some(Millis(newest.saturating_sub(wall.0)))
}
