//! The node's key file: `<data-dir>/key`, a header line and the ed25519 seed in hex, readable by its owner alone.
//!
//! Who holds the file is the node: it signs receipts and, later, spends. So a file that others can read is refused
//! rather than used, a damaged one is never replaced, and a new one appears under its name only whole and durable.
//! Tests: below.

use crate::files;
use ion_protocol::key::SecretKey;
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "key";
const HEADER: &str = "ion secret key 1";
/// Header, 64 digits, two line ends; anything longer is no key file.
const KEY_FILE_BYTES_MAX: u64 = 256;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum IdentityError {
    #[error("the key file {path} can be read or written by others (mode {mode:04o}); run `chmod 600 {path}`")]
    Loose { path: PathBuf, mode: u32 },
    #[error("others can write into the data directory {path} (mode {mode:04o}); run `chmod 700 {path}`")]
    LooseDir { path: PathBuf, mode: u32 },
    #[error(
        "the key file {path} is damaged: {found}; restore it from a copy, or move it away to start as a new node"
    )]
    Damaged { path: PathBuf, found: &'static str },
    #[error("there is a key in {path} already; move it away first, it is never overwritten")]
    Exists { path: PathBuf },
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The key of the node whose data is in `dir`; drawn and written down if there is none yet. Makes `dir`, mode 0700.
pub fn load_or_create(dir: &Path) -> Result<SecretKey, IdentityError> {
    files::create_private_dir(dir).map_err(io_error("create the data directory", dir))?;
    if files::others_may_write(dir).map_err(io_error("look at the data directory", dir))? {
        let mode = files::mode(dir).map_err(io_error("look at the data directory", dir))?;
        return Err(IdentityError::LooseDir { path: dir.to_owned(), mode });
    }
    let path = dir.join(KEY_FILE);
    match load(&path) {
        Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    match create_new(&path) {
        // Another process of the same owner was faster; its key is the key.
        Err(IdentityError::Exists { .. }) => load(&path),
        created => created,
    }
}

/// The key in the file `path`.
pub fn load(path: &Path) -> Result<SecretKey, IdentityError> {
    let file = files::open_file(path).map_err(io_error("read the key file", path))?;
    let metadata = file.metadata().map_err(io_error("read the key file", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Loose { path: path.to_owned(), mode });
    }
    let mut text = Vec::new();
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(io_error("read the key file", path))?;
    let seed = parse(&text).map_err(|found| IdentityError::Damaged { path: path.to_owned(), found })?;
    Ok(SecretKey::from_seed(&seed))
}

/// Draws a key and writes it to `path`, which must not exist.
pub fn create_new(path: &Path) -> Result<SecretKey, IdentityError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(IdentityError::Random)?;
    let mut draft_name = [0; 8];
    getrandom::fill(&mut draft_name).map_err(IdentityError::Random)?;
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let draft = dir.join(format!(".key-{}", hex::encode(draft_name)));
    // A link, unlike a rename, never replaces a key that is there.
    let written = write_draft(&draft, &seed).map_err(io_error("write the key file", &draft)).and_then(|()| {
        fs::hard_link(&draft, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
            _ => io_error("create the key file", path)(source),
        })
    });
    let removed = fs::remove_file(&draft);
    written?;
    removed.map_err(io_error("remove the draft", &draft))?;
    files::sync_dir(dir).map_err(io_error("sync the directory", dir))?;
    Ok(SecretKey::from_seed(&seed))
}

fn write_draft(draft: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(files::FILE_MODE).open(draft)?;
    file.write_all(format!("{HEADER}\n{}\n", hex::encode(seed)).as_bytes())?;
    file.sync_all()
}

fn parse(text: &[u8]) -> Result<[u8; 32], &'static str> {
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err("it is far too long");
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err("it does not begin with the line `ion secret key 1`");
    }
    let digits = lines.next().ok_or("the line with the key is missing")?;
    let mut seed = [0; 32];
    hex::decode_to_slice(digits.trim(), &mut seed)
        .map_err(|_| "the second line is not 64 hexadecimal digits")?;
    match lines.find(|line| !line.trim().is_empty()) {
        Some(_) => Err("something follows the key"),
        None => Ok(seed),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let first = load_or_create(&dir).unwrap();
        assert_eq!(load_or_create(&dir).unwrap().seed(), first.seed());
        assert_eq!(files::mode(&dir).unwrap(), 0o700);
        assert_eq!(files::mode(&dir.join(KEY_FILE)).unwrap(), 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no draft is left behind");
        assert!(matches!(create_new(&dir.join(KEY_FILE)), Err(IdentityError::Exists { .. })));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn loose_permissions_are_refused_with_the_command_that_helps() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Loose { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains(&format!("`chmod 600 {}`", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        load_or_create(dir.path()).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::LooseDir { .. }), "{error}");
    }

    #[test]
    fn a_damaged_file_is_told_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        let good = fs::read_to_string(&path).unwrap();
        let long = good.clone() + &"x".repeat(300);
        let more = good.clone() + "more\n";
        let digit = good.replace("\n", "\ng");
        let bad: [&[u8]; 9] = [
            b"",
            b"\n",
            b"\xff\xfe",
            &good.as_bytes()[..20],
            &good.as_bytes()[..60],
            b"ion secret key 2\n00\n",
            long.as_bytes(),
            more.as_bytes(),
            digit.as_bytes(),
        ];
        for bytes in bad {
            fs::write(&path, bytes).unwrap();
            let error = load_or_create(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{bytes:?}: {error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        // What is no file is not waited for.
        fs::remove_file(&path).unwrap();
        let (dir, mode) = (rustix::fs::CWD, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(dir, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(load(&path), Err(IdentityError::Io { .. })));
    }

    #[test]
    fn of_many_starters_one_key_wins() {
        let dir = tempfile::tempdir().unwrap();
        let seeds: Vec<_> = std::thread::scope(|scope| {
            let starters: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create(dir.path()).unwrap().seed())).collect();
            starters.into_iter().map(|s| s.join().unwrap()).collect()
        });
        assert!(seeds.iter().all(|seed| *seed == seeds[0]));
    }
}
