//! SAXPY: y := a x + y, one fused multiply-add an element.

use super::numbers;
use anyhow::Result;
use std::path::Path;

/// The kernel.
pub const KERNEL: &str = include_str!("../../../gpu/kernels/saxpy.ptx");
const A: f32 = 2.5;
const BLOCK: u32 = 256;

/// The job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saxpy {
    /// Length of x and y.
    pub elements: u32,
}

impl Saxpy {
    fn inputs(&self) -> (Vec<f32>, Vec<f32>) {
        let stream = |s| (0..self.elements).map(|i| numbers::noise(s, i)).collect();
        (stream(1), stream(2))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<String> {
        let (x, y) = self.inputs();
        numbers::write(&dir.join("x.f32"), &x)?;
        numbers::write(&dir.join("y.f32"), &y)?;
        let (n, grid) = (self.elements, self.elements.div_ceil(BLOCK));
        Ok(format!(
            r#"# y := a x + y over {n} elements, one thread an element.
name = "saxpy"

[limits]
run = "120 s"
memory = "1 GiB"
price = "1 IO"

[[module]]
file = "saxpy.ptx"

[[buffer]]
name = "x"
element = "f32"
shape = [{n}]
from = "x.f32"

[[buffer]]
name = "y"
element = "f32"
shape = [{n}]
from = "y.f32"
output = "y.bin"

[[step]]
kernel = "saxpy"
grid = {grid}
block = {BLOCK}
args = [{{ u32 = {n} }}, {{ f32 = {A:?} }}, {{ buffer = "x" }}, {{ buffer = "y" }}]
"#
        ))
    }

    fn expected(&self) -> Vec<f32> {
        let (x, y) = self.inputs();
        x.iter().zip(&y).map(|(x, y)| A.mul_add(*x, *y)).collect()
    }

    pub(super) fn check(&self, out: &Path) -> Result<String> {
        let found = numbers::read(&out.join("y.bin"), self.elements as usize)?;
        numbers::same("y", &found, &self.expected())?;
        Ok(format!("{} values right", numbers::grouped(self.elements.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_caught() {
        let job = Saxpy { elements: 1000 };
        let dir = tempfile::tempdir().unwrap();
        let mut y = job.expected();
        numbers::write(&dir.path().join("y.bin"), &y).unwrap();
        assert!(job.check(dir.path()).is_ok());
        y[999] = f32::from_bits(y[999].to_bits() ^ 1);
        numbers::write(&dir.path().join("y.bin"), &y).unwrap();
        assert!(job.check(dir.path()).unwrap_err().to_string().starts_with("y[999] is "));
        numbers::write(&dir.path().join("y.bin"), &y[..500]).unwrap();
        assert!(job.check(dir.path()).is_err(), "half a result is no result");
    }
}
