//! Metering: how long the device was in kernels, launch by launch, in room that does not grow with the launches.
//!
//! Owns the sums a receipt is priced by. Never measures: the backends do (events on CUDA, the clock on the CPU).
//! Tests are at the end.

use ion_protocol::{
    Nanos,
    codec::{Decode, Encode, bincode_crate},
};
use serde::Serialize;

/// Kernels told apart in a report; the times of any further ones are in the sum only. A report stays below 64 KiB.
pub const KERNELS_MAX: usize = 256;

/// What the launches of one kernel took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
#[bincode(crate = "bincode_crate")]
pub struct KernelTime {
    /// Entry name.
    pub kernel: String,
    /// How often it was launched.
    pub launches: u64,
    /// All launches together.
    pub total: Nanos,
    /// The quickest launch.
    pub shortest: Nanos,
    /// The slowest launch.
    pub longest: Nanos,
}

/// Adds up launches.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    total: Nanos,
    launches: u64,
    kernels: Vec<KernelTime>,
}

impl Meter {
    /// A launch of `kernel` kept the device busy for `time`.
    pub fn launch(&mut self, kernel: &str, time: Nanos) {
        self.total = self.total.saturating_add(time);
        self.launches += 1;
        let room = self.kernels.len() < KERNELS_MAX;
        match self.kernels.iter_mut().find(|k| k.kernel == kernel) {
            Some(row) => {
                row.launches += 1;
                row.total = row.total.saturating_add(time);
                row.shortest = row.shortest.min(time);
                row.longest = row.longest.max(time);
            }
            None if room => self.kernels.push(KernelTime {
                kernel: kernel.to_owned(),
                launches: 1,
                total: time,
                shortest: time,
                longest: time,
            }),
            None => {}
        }
    }

    /// Time in kernels.
    pub fn total(&self) -> Nanos {
        self.total
    }

    /// Launches that finished.
    pub fn launches(&self) -> u64 {
        self.launches
    }

    /// One row a kernel, in order of first launch.
    pub fn kernels(&self) -> &[KernelTime] {
        &self.kernels
    }

    /// The rows, to keep.
    pub fn into_kernels(self) -> Vec<KernelTime> {
        self.kernels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_add_up_kernel_by_kernel() {
        let mut meter = Meter::default();
        for (kernel, time) in [("a", 5), ("b", 7), ("a", 3)] {
            meter.launch(kernel, Nanos(time));
        }
        assert_eq!((meter.total(), meter.launches()), (Nanos(15), 3));
        let a = &meter.kernels()[0];
        assert_eq!((a.launches, a.total, a.shortest, a.longest), (2, Nanos(8), Nanos(3), Nanos(5)));
    }

    #[test]
    fn rows_are_bounded_and_the_sum_is_not() {
        let mut meter = Meter::default();
        (0..KERNELS_MAX + 10).for_each(|n| meter.launch(&format!("k{n}"), Nanos(1)));
        assert_eq!(meter.kernels().len(), KERNELS_MAX);
        assert_eq!(meter.total(), Nanos(KERNELS_MAX as u64 + 10));
    }
}
