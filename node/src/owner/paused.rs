//! The devices that the owner paused, on disk: a pause holds until it is taken back, whatever happens to the node.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Name of the file inside the data directory: a JSON list of device numbers.
const FILE: &str = "paused.json";

/// Shared between the driver, which changes it, and the thread that writes it.
#[derive(Clone, Debug)]
pub struct Paused {
    path: PathBuf,
    devices: Arc<Mutex<BTreeSet<u16>>>,
    /// Held while the file is written, so that of two writes the later one stays.
    writing: Arc<Mutex<()>>,
}

impl Paused {
    /// Reads what an earlier run left. A file that can't be read is an error: a device that its owner paused must not be
    /// lent because a list was damaged.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let devices = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let what = format!(
                    "{} is no list of devices ({error}); delete it and pause them again with `ion devices pause`",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, devices: Arc::new(Mutex::new(devices)), writing: Arc::default() })
    }

    /// Whether a device is paused.
    pub fn holds(&self, device: u16) -> bool {
        self.lock().contains(&device)
    }

    /// Pauses or resumes in memory; [`Paused::save`] makes it last.
    pub fn set(&self, device: u16, paused: bool) {
        let mut devices = self.lock();
        if paused {
            devices.insert(device);
        } else {
            devices.remove(&device);
        }
    }

    /// Writes the newest list durably. Blocks.
    pub fn save(&self) -> io::Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(&*self.lock())?;
        crate::files::write_private(&self.path, &text)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        // Nothing that can panic happens under the lock.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_outlives_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let paused = Paused::open(dir.path()).unwrap();
        assert!(!paused.holds(0));
        paused.set(0, true);
        paused.set(3, true);
        paused.set(3, false);
        paused.save().unwrap();
        let again = Paused::open(dir.path()).unwrap();
        assert!(again.holds(0) && !again.holds(3));
        assert_eq!(crate::files::mode(&dir.path().join(FILE)).unwrap(), crate::files::FILE_MODE);
    }

    #[test]
    fn a_damaged_list_lends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "[-1]", "[70000]", "[0"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = Paused::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("paused.json is no list of devices"), "{text}: {error}");
        }
    }
}
