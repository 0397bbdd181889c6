//! A buffer of bytes as a PNG.

use super::ShowError;
use ion_protocol::job::Element;
use png::{BitDepth, ColorType, Encoder};
use std::io::Write;

/// How the bytes are pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    color: ColorType,
}

/// PNG holds 31 bits of width and height.
const EXTENT_MAX: u64 = i32::MAX as u64;

impl Picture {
    /// The picture a buffer is, if it is one.
    pub fn of(element: Element, shape: &[u64]) -> Option<Self> {
        let (height, width, color) = match (element, shape) {
            (Element::U8, [h, w]) => (*h, *w, ColorType::Grayscale),
            (Element::U8, [h, w, 3]) => (*h, *w, ColorType::Rgb),
            (Element::U8, [h, w, 4]) => (*h, *w, ColorType::Rgba),
            _ => return None,
        };
        let extent = |n: u64| u32::try_from(n).ok().filter(|_| (1..=EXTENT_MAX).contains(&n));
        Some(Self { width: extent(width)?, height: extent(height)?, color })
    }

    /// Writes `pixels`, row by row from the top.
    pub fn write(self, pixels: &[u8], out: impl Write) -> Result<(), ShowError> {
        let mut encoder = Encoder::new(out, self.width, self.height);
        encoder.set_color(self.color);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(pixels)?;
        Ok(writer.finish()?)
    }
}
