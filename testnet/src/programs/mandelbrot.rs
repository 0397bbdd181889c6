//! The Mandelbrot set: steps until each point escapes, and a picture of them.

use super::numbers;
use anyhow::{Context, Result};
use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

/// The kernel.
pub const KERNEL: &str = include_str!("../../../gpu/kernels/mandelbrot.ptx");
/// Threads of a block, in x and y.
const BLOCK: [u32; 2] = [32, 8];
/// Where the picture's left and upper edges lie, and how wide it is: the whole set.
const LEFT: f32 = -2.4;
const TOP: f32 = -1.2;
const WIDE: f32 = 3.6;

/// The job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mandelbrot {
    /// Points in x.
    pub width: u32,
    /// Points in y; two thirds of the width show the whole set.
    pub height: u32,
    /// Steps after which a point counts as never escaping.
    pub limit: u32,
}

impl Mandelbrot {
    fn step(&self) -> f32 {
        WIDE / self.width as f32
    }

    pub(super) fn manifest(&self) -> String {
        let grid = [self.width.div_ceil(BLOCK[0]), self.height.div_ceil(BLOCK[1])];
        let (width, height, limit, step) = (self.width, self.height, self.limit, self.step());
        format!(
            r#"# Steps until each of {width} x {height} points escapes from the Mandelbrot set's neighbourhood, at most {limit}.
name = "mandelbrot"

[limits]
run = "120 s"
memory = "1 GiB"
price = "1 IO"

[[module]]
file = "mandelbrot.ptx"

[[buffer]]
name = "counts"
element = "u32"
shape = [{height}, {width}]
output = "counts.bin"

[[step]]
kernel = "mandelbrot"
grid = {grid:?}
block = {BLOCK:?}
args = [
    {{ u32 = {width} }}, {{ u32 = {height} }}, {{ f32 = {LEFT:?} }}, {{ f32 = {TOP:?} }}, {{ f32 = {step:?} }},
    {{ u32 = {limit} }}, {{ buffer = "counts" }},
]
"#
        )
    }

    /// The kernel's operations, in its order.
    fn escape(&self, column: u32, row: u32) -> u32 {
        let cx = (column as f32).mul_add(self.step(), LEFT);
        let cy = (row as f32).mul_add(self.step(), TOP);
        let (mut x, mut y, mut count) = (0.0f32, 0.0f32, 0);
        while count < self.limit {
            let (xx, yy) = (x * x, y * y);
            if xx + yy > 4.0 {
                break;
            }
            let xy = x * y;
            x = (xx - yy) + cx;
            y = xy.mul_add(2.0, cy);
            count += 1;
        }
        count
    }

    fn expected(&self) -> Vec<u32> {
        (0..self.height).flat_map(|row| (0..self.width).map(move |column| self.escape(column, row))).collect()
    }

    fn counts(&self, out: &Path) -> Result<Vec<u32>> {
        numbers::read(&out.join("counts.bin"), self.width as usize * self.height as usize)
    }

    pub(super) fn check(&self, out: &Path) -> Result<String> {
        let found = self.counts(out)?;
        numbers::same("counts", &found, &self.expected())?;
        Ok(format!("{} points right", numbers::grouped(found.len() as u64)))
    }

    /// Writes what the job left in `out` as a picture a person can open, to `path`.
    pub fn picture(&self, out: &Path, path: &Path) -> Result<PathBuf> {
        let pixels: Vec<u8> = self.counts(out)?.iter().flat_map(|count| self.colour(*count)).collect();
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        writer.finish()?;
        Ok(path.to_owned())
    }

    /// Black inside; outside from deep blue over white to amber, and round again the closer the point is.
    fn colour(&self, count: u32) -> [u8; 3] {
        if count >= self.limit {
            return [0, 0, 0];
        }
        // Counts grow like a logarithm of closeness; a root of them spreads the colours evenly over the picture.
        let phase = (f64::from(count).sqrt() * 0.9 + 3.4).rem_euclid(std::f64::consts::TAU);
        [2.2, 2.9, 3.9].map(|shift| ((phase + shift).cos() * 127.5 + 127.5) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Mandelbrot = Mandelbrot { width: 90, height: 60, limit: 100 };

    #[test]
    fn a_wrong_point_is_caught() {
        let dir = tempfile::tempdir().unwrap();
        let mut counts = JOB.expected();
        numbers::write(&dir.path().join("counts.bin"), &counts).unwrap();
        assert!(JOB.check(dir.path()).is_ok());
        counts[60] += 1;
        numbers::write(&dir.path().join("counts.bin"), &counts).unwrap();
        assert!(JOB.check(dir.path()).unwrap_err().to_string().starts_with("counts[60] is "));
    }

    #[test]
    fn the_expected_points_are_of_the_set() {
        let counts = JOB.expected();
        let (middle, corner) = (30 * 90 + 60, 0);
        assert_eq!(counts[middle], 100, "the cardioid never escapes");
        assert!(counts[corner] < 5, "the corner escapes at once");
    }

    #[test]
    fn the_picture_can_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        numbers::write(&dir.path().join("counts.bin"), &JOB.expected()).unwrap();
        let path = JOB.picture(dir.path(), &dir.path().join("p.png")).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (90, 60));
        let middle = (30 * 90 + 60) * 3;
        assert_eq!(pixels[middle..middle + 3], [0, 0, 0]);
    }
}
