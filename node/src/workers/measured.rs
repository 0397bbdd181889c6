//! What was measured of the cards, on disk, so that a node that starts again offers them at once.
//!
//! A figure holds for one device with one driver, clocks and kernels ([`Measured::of`] names them), and [`KEPT_FOR`]. A file
//! that is damaged or can't be written costs a second measurement and nothing else. Tests: below, and `node/tests/cuda.rs`.

use crate::files;
use ion_gpu::power::Measured;
use ion_protocol::{Millis, UnixMillis};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the file inside the data directory.
pub const FILE: &str = "measured.json";
/// A card may have been busy when it was measured: not for ever.
const KEPT_FOR: Millis = Millis(7 * 24 * 3_600_000);
/// Figures kept: those of a few drivers for each of the most devices that a node lends.
const KEPT_MAX: usize = 64;
/// A file of these at most.
const FILE_BYTES_MAX: u64 = 256 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    measured: Measured,
    #[serde(rename = "at_unix_ms")]
    at: UnixMillis,
}

/// What still holds.
pub fn read(file: &Path, wall: UnixMillis) -> Vec<Measured> {
    kept(file, wall).into_iter().map(|kept| kept.measured).collect()
}

fn kept(file: &Path, wall: UnixMillis) -> Vec<Kept> {
    let bytes = files::read_at_most(file, FILE_BYTES_MAX).ok().flatten().unwrap_or_default();
    let kept: Vec<Kept> = serde_json::from_slice(&bytes).unwrap_or_default();
    let holds = |kept: &Kept| kept.at <= wall && kept.at.0.saturating_add(KEPT_FOR.0) > wall.0;
    kept.into_iter().filter(holds).take(KEPT_MAX).collect()
}

/// Keeps what is new; where nothing is, the file is let be.
pub fn note(file: &Path, found: Vec<Measured>, wall: UnixMillis) {
    let mut all = kept(file, wall);
    let news: Vec<Kept> = found
        .into_iter()
        .filter(Measured::is_whole)
        .filter(|found| all.iter().all(|known| known.measured != *found))
        .map(|measured| Kept { measured, at: wall })
        .collect();
    if news.is_empty() {
        return;
    }
    all.retain(|known| news.iter().all(|new| new.measured.of != known.measured.of));
    all.splice(0..0, news);
    all.truncate(KEPT_MAX);
    let written = serde_json::to_vec_pretty(&all).map_err(Into::into);
    if let Err(error) = written.and_then(|text| files::write_private(file, &text)) {
        tracing::debug!(%error, file = %file.display(), "what was measured could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::hardware::MeasuredPower;

    const WALL: UnixMillis = UnixMillis(1_800_000_000_000);

    fn measured(of: &str, f32_mflops: u64) -> Measured {
        let power = MeasuredPower {
            f32_mflops,
            f16_mflops: 0,
            memory_mbps: 1,
            product_mops: 1,
            to_device_mbps: 1,
            from_device_mbps: 1,
        };
        Measured { of: of.to_owned(), power }
    }

    #[test]
    fn figures_are_kept_for_a_while_and_replaced_by_newer_ones() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        assert_eq!(read(&file, WALL), []);
        note(&file, vec![measured("a", 1), measured("b", 2), measured("unmeasured", 0)], WALL);
        assert_eq!(read(&file, WALL), [measured("a", 1), measured("b", 2)]);
        assert_eq!(files::mode(&file).unwrap(), files::FILE_MODE);
        let later = |days: u64| UnixMillis(WALL.0 + days * 24 * 3_600_000);
        // Known figures are no news: they do not live longer for it.
        note(&file, vec![measured("a", 1)], later(6));
        note(&file, vec![measured("b", 3)], later(6));
        assert_eq!(read(&file, later(6)), [measured("b", 3), measured("a", 1)]);
        assert_eq!(read(&file, later(7)), [measured("b", 3)]);
        assert_eq!(read(&file, UnixMillis(0)), [], "of the future: a clock is wrong");
    }

    #[test]
    fn the_file_stays_small_and_a_damaged_one_is_no_figure() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        for n in 0..2 * KEPT_MAX as u64 {
            note(&file, vec![measured(&format!("card {n}"), n + 1)], WALL);
        }
        let kept = read(&file, WALL);
        assert_eq!((kept.len(), &kept[0]), (KEPT_MAX, &measured("card 127", 128)));
        let large = " ".repeat(FILE_BYTES_MAX as usize + 1);
        for text in ["", "{}", "[1]", "[{\"of\":\"a\"}]", large.as_str()] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&file, WALL), []);
        }
        note(&file, vec![measured("a", 1)], WALL);
        assert_eq!(read(&file, WALL), [measured("a", 1)]);
    }
}
