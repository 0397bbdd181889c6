//! Work of a chosen length whose result can be told at once: steps of a linear congruential generator, jumped ahead.

use super::numbers;
use anyhow::Result;
use std::path::Path;

/// The kernel.
pub const KERNEL: &str = include_str!("../../kernels/walk.ptx");
const BLOCK: u32 = 256;
/// The kernel's step: x := FACTOR x + ADD.
const FACTOR: u32 = 1_664_525;
const ADD: u32 = 1_013_904_223;

/// The job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Walkers; a multiple of 256.
    pub threads: u32,
    /// Steps of each in one launch, at least 1.
    pub steps: u32,
    /// How often.
    pub launches: u32,
    /// Where the walkers start, so that two walks differ.
    pub seed: u32,
}

impl Walk {
    /// Some seconds on a processor, in many launches: for whoever wants to be there while it runs.
    pub fn long(seed: u32) -> Walk {
        Walk { threads: 256, steps: 800_000, launches: 300, seed }
    }

    fn starts(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.threads).map(|i| i.wrapping_mul(0x9e37_79b9) ^ self.seed)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<String> {
        numbers::write(&dir.join("x.u32"), &self.starts().collect::<Vec<_>>())?;
        let (threads, steps, launches, grid) =
            (self.threads, self.steps, self.launches, self.threads / BLOCK);
        Ok(format!(
            r#"# {threads} walkers take {steps} steps in each of {launches} launches.
name = "walk"

[limits]
run = "120 s"
memory = "1 GiB"
price = "1 IO"

[[module]]
file = "walk.ptx"

[[buffer]]
name = "x"
element = "u32"
shape = [{threads}]
from = "x.u32"
output = "x.bin"

[[step]]
repeat = {launches}
steps = [
    {{ kernel = "walk", grid = {grid}, block = {BLOCK}, args = [{{ u32 = {steps} }}, {{ buffer = "x" }}] }},
]
"#
        ))
    }

    fn expected(&self) -> Vec<u32> {
        let (factor, add) = jump(u64::from(self.steps) * u64::from(self.launches));
        self.starts().map(|x| x.wrapping_mul(factor).wrapping_add(add)).collect()
    }

    pub(super) fn check(&self, out: &Path) -> Result<String> {
        let found = numbers::read(&out.join("x.bin"), self.threads as usize)?;
        numbers::same("x", &found, &self.expected())?;
        Ok(format!("{} walkers right", numbers::grouped(self.threads.into())))
    }
}

/// Factor and addend of `steps` steps taken at once (by repeated squaring).
fn jump(mut steps: u64) -> (u32, u32) {
    let (mut factor, mut add) = (1u32, 0u32);
    let (mut square, mut square_add) = (FACTOR, ADD);
    while steps > 0 {
        if steps % 2 == 1 {
            factor = factor.wrapping_mul(square);
            add = add.wrapping_mul(square).wrapping_add(square_add);
        }
        square_add = square_add.wrapping_mul(square).wrapping_add(square_add);
        square = square.wrapping_mul(square);
        steps /= 2;
    }
    (factor, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_many_steps() {
        for steps in [0, 1, 2, 3, 1000] {
            let walked = (0..steps).fold(42u32, |x, _| x.wrapping_mul(FACTOR).wrapping_add(ADD));
            let (factor, add) = jump(steps);
            assert_eq!(42u32.wrapping_mul(factor).wrapping_add(add), walked, "{steps} steps");
        }
    }

    #[test]
    fn a_wrong_walker_is_caught() {
        let job = Walk { threads: 256, steps: 10, launches: 3, seed: 5 };
        let dir = tempfile::tempdir().unwrap();
        let mut x = job.expected();
        numbers::write(&dir.path().join("x.bin"), &x).unwrap();
        assert!(job.check(dir.path()).is_ok());
        x[17] ^= 1 << 31;
        numbers::write(&dir.path().join("x.bin"), &x).unwrap();
        assert!(job.check(dir.path()).unwrap_err().to_string().starts_with("x[17] is "));
    }
}
