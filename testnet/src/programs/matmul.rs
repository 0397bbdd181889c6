//! c = a b for square matrices, tiles in shared memory, one fused multiply-add a term in the order of k.

use super::numbers;
use anyhow::Result;
use std::path::Path;

/// The kernel.
pub const KERNEL: &str = include_str!("../../../gpu/kernels/matmul.ptx");
/// The kernel's tile.
const TILE: u32 = 16;

/// The job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matmul {
    /// Rows and columns; a multiple of 16.
    pub n: u32,
}

impl Matmul {
    fn inputs(&self) -> (Vec<f32>, Vec<f32>) {
        let stream = |s| (0..self.n * self.n).map(|i| numbers::noise(s, i)).collect();
        (stream(3), stream(4))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<String> {
        let (a, b) = self.inputs();
        numbers::write(&dir.join("a.f32"), &a)?;
        numbers::write(&dir.join("b.f32"), &b)?;
        let (n, grid) = (self.n, self.n / TILE);
        Ok(format!(
            r#"# c = a b for {n} x {n} matrices: blocks of 16 x 16 threads share tiles of a and b.
name = "matmul"

[limits]
run = "120 s"
memory = "1 GiB"
price = "1 IO"

[[module]]
file = "matmul.ptx"

[[buffer]]
name = "a"
element = "f32"
shape = [{n}, {n}]
from = "a.f32"

[[buffer]]
name = "b"
element = "f32"
shape = [{n}, {n}]
from = "b.f32"

[[buffer]]
name = "c"
element = "f32"
shape = [{n}, {n}]
output = "c.bin"

[[step]]
kernel = "matmul"
grid = [{grid}, {grid}]
block = [{TILE}, {TILE}]
args = [{{ u32 = {n} }}, {{ buffer = "a" }}, {{ buffer = "b" }}, {{ buffer = "c" }}]
"#
        ))
    }

    fn expected(&self) -> Vec<f32> {
        let (a, b) = self.inputs();
        product(&a, &b, self.n as usize)
    }

    pub(super) fn check(&self, out: &Path) -> Result<String> {
        let found = numbers::read(&out.join("c.bin"), (self.n * self.n) as usize)?;
        numbers::same("c", &found, &self.expected())?;
        Ok(format!("{} values right", numbers::grouped(u64::from(self.n).pow(2))))
    }
}

/// The product, each value summed up in the order of k as the kernel does, a row at a time.
fn product(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features the function is compiled for.
        return unsafe { product_fma(a, b, n) };
    }
    product_plain(a, b, n)
}

/// The same code, compiled for processors that have the instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn product_fma(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    product_plain(a, b, n)
}

#[inline(always)]
fn product_plain(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    let mut c = vec![0.0f32; n * n];
    for (c_row, a_row) in c.chunks_exact_mut(n).zip(a.chunks_exact(n)) {
        for (a, b_row) in a_row.iter().zip(b.chunks_exact(n)) {
            for (c, b) in c_row.iter_mut().zip(b_row) {
                *c = a.mul_add(*b, *c);
            }
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_caught() {
        let job = Matmul { n: 32 };
        let dir = tempfile::tempdir().unwrap();
        let mut c = job.expected();
        numbers::write(&dir.path().join("c.bin"), &c).unwrap();
        assert!(job.check(dir.path()).is_ok());
        c.swap(3, 4);
        numbers::write(&dir.path().join("c.bin"), &c).unwrap();
        assert!(job.check(dir.path()).unwrap_err().to_string().starts_with("c[3] is "));
    }

    #[test]
    fn the_expected_product_is_a_product() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(product(&a, &b, 2), [19.0, 22.0, 43.0, 50.0]);
        let job = Matmul { n: 48 };
        let (a, b) = job.inputs();
        let exact = |i: usize, j: usize| -> f64 {
            (0..48).map(|k| f64::from(a[i * 48 + k]) * f64::from(b[k * 48 + j])).sum()
        };
        let c = job.expected();
        // 48 roundings of values below 48: far below this bound.
        assert!((0..48 * 48).all(|x| (f64::from(c[x]) - exact(x / 48, x % 48)).abs() < 1e-4));
        assert_eq!(c, product_plain(&a, &b, 48), "the same with and without the instruction");
    }
}
