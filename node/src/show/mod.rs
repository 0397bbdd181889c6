//! Results as files a person can open: the ending of the manifest's output name decides the format.
//!
//! Owns the formats and the way onto the disk: written beside its place and renamed, so that a file of that name is
//! always whole; never outside the directory asked for. Called only for jobs that are done, so an older result is
//! replaced by a newer one and by nothing else. Tests: `tests.rs` beside this file.

mod npy;
mod picture;
mod receipt_file;
#[cfg(test)]
mod tests;
mod transcript_file;

pub use receipt_file::{Proof, ReceiptFile, ReceiptFileError};
pub use transcript_file::{TranscriptFile, TranscriptFileError};

use crate::manifest::is_plain_file_name;
use ion_protocol::job::Element;
use std::{
    fs::{self, File, Permissions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture: u8 of shape [h, w], [h, w, 3] or [h, w, 4].
    Png,
    /// A numpy array, format 1.0: everything but bf16.
    Npy,
    /// The bytes as they are.
    Bin,
}

/// Why a result is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// It is no picture.
    #[error("u8 of shape [h, w], [h, w, 3] or [h, w, 4] for a .png; .npy and .bin take anything")]
    NoPicture,
    /// numpy has no such type.
    #[error("an element type that numpy knows for a .npy (not bf16); .bin takes anything")]
    NoNumpyType,
    /// The name is no file name.
    #[error("\"{0}\" is not a plain file name ending in .png, .npy or .bin")]
    Name(String),
    /// The bytes are not those of the buffer.
    #[error("{found} bytes for a buffer of {expected}")]
    Length {
        /// Bytes that came.
        found: u64,
        /// Bytes of the buffer.
        expected: u64,
    },
    /// The disk refused.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// How it was refused.
        source: io::Error,
    },
    /// The picture could not be compressed.
    #[error("could not encode the picture: {0}")]
    Encode(#[from] png::EncodingError),
}

impl Format {
    /// The format a file name asks for by its ending.
    pub fn of(name: &str) -> Option<Format> {
        match name.rsplit_once('.') {
            Some(("", _)) => None,
            Some((_, "png")) => Some(Format::Png),
            Some((_, "npy")) => Some(Format::Npy),
            Some((_, "bin")) => Some(Format::Bin),
            _ => None,
        }
    }

    /// Whether a buffer can be written so; the error says what could.
    pub fn check(self, element: Element, shape: &[u64]) -> Result<(), ShowError> {
        match self {
            Format::Png => picture::Picture::of(element, shape).map(|_| ()).ok_or(ShowError::NoPicture),
            Format::Npy => npy::type_name(element).map(|_| ()).ok_or(ShowError::NoNumpyType),
            Format::Bin => Ok(()),
        }
    }
}

/// Whether results can be written to `dir` under these names. One that is not there is looked at where it would be created,
/// and left alone.
pub fn ready<'a>(dir: &Path, names: impl Iterator<Item = &'a str>) -> Result<(), ShowError> {
    if let Some(path) = names.map(|name| dir.join(name)).find(|path| path.is_dir()) {
        return Err(io_error("write", &path, io::ErrorKind::IsADirectory.into()));
    }
    let is_there = |dir: &&Path| dir.symlink_metadata().is_ok();
    beside(dir.ancestors().find(is_there).unwrap_or(Path::new("."))).map(drop)
}

/// Writes the buffer of `element` and `shape` that `source` holds to `dir/name`, creating `dir` where it is not there.
pub fn write(
    dir: &Path,
    name: &str,
    element: Element,
    shape: &[u64],
    source: &Path,
) -> Result<PathBuf, ShowError> {
    let file = File::open(source).map_err(|e| io_error("read", source, e))?;
    write_from(dir, name, element, shape, BufReader::new(file))
}

/// The same, from a reader.
pub fn write_from(
    dir: &Path,
    name: &str,
    element: Element,
    shape: &[u64],
    mut bytes: impl Read,
) -> Result<PathBuf, ShowError> {
    let format = Format::of(name).filter(|_| is_plain_file_name(name));
    let format = format.ok_or_else(|| ShowError::Name(name.chars().take(80).collect()))?;
    format.check(element, shape)?;
    let expected = shape.iter().fold(element.size(), |n, extent| n.saturating_mul(*extent));
    place(dir, name, |out, path| match format {
        Format::Png => {
            let picture = picture::Picture::of(element, shape).ok_or(ShowError::NoPicture)?;
            let mut pixels = Vec::new();
            (&mut bytes)
                .take(expected + 1)
                .read_to_end(&mut pixels)
                .map_err(|e| io_error("read", path, e))?;
            exact(pixels.len() as u64, expected)?;
            picture.write(&pixels, out)
        }
        Format::Npy => {
            let header = npy::header(element, shape).ok_or(ShowError::NoNumpyType)?;
            out.write_all(&header).map_err(|e| io_error("write", path, e))?;
            copy(&mut bytes, out, expected, path)
        }
        Format::Bin => copy(&mut bytes, out, expected, path),
    })
}

fn copy(bytes: &mut impl Read, out: &mut impl Write, expected: u64, path: &Path) -> Result<(), ShowError> {
    let found =
        io::copy(&mut bytes.take(expected.saturating_add(1)), out).map_err(|e| io_error("write", path, e))?;
    exact(found, expected)
}

fn exact(found: u64, expected: u64) -> Result<(), ShowError> {
    if found == expected { Ok(()) } else { Err(ShowError::Length { found, expected }) }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> ShowError {
    ShowError::Io { doing, path: path.to_owned(), source }
}

/// Fills a temporary file in `dir`, then gives it its name.
pub(crate) fn place(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&mut BufWriter<&File>, &Path) -> Result<(), ShowError>,
) -> Result<PathBuf, ShowError> {
    let (path, temp) = (dir.join(name), beside(dir)?);
    let mut out = BufWriter::new(temp.as_file());
    fill(&mut out, &path)?;
    out.flush().map_err(|e| io_error("write", &path, e))?;
    drop(out);
    temp.as_file().sync_all().map_err(|e| io_error("write", &path, e))?;
    temp.persist(&path).map_err(|e| io_error("write", &path, e.error))?;
    Ok(path)
}

/// A temporary file in `dir`, which is created where it is not there.
fn beside(dir: &Path) -> Result<NamedTempFile, ShowError> {
    fs::create_dir_all(dir).map_err(|e| io_error("create", dir, e))?;
    // As any new file of the user's: the umask takes away from this.
    let mode = Permissions::from_mode(0o666);
    let temp = tempfile::Builder::new().prefix(".ion-").permissions(mode).tempfile_in(dir);
    temp.map_err(|e| io_error("write in", dir, e))
}
