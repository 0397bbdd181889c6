//! Metering: how long the device was in each kernel, in room that does not grow with the launches.
//!
//! Never measures: the backends do (events on CUDA, the clock on the CPU).
//! Tests are at the end.

use ion_protocol::{
    Nanos,
    codec::{Decode, Encode, bincode_crate},
    job::{Program, Step},
};

/// Kernels told apart in a report; the device time holds those of any further ones. A report stays below 64 KiB.
pub const KERNELS_MAX: usize = 256;

/// What the launches of one kernel took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
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

/// The time of each launch, in order of execution, as one row a kernel, in order of first launch.
pub fn per_kernel(program: &Program, launches: &[Nanos]) -> Vec<KernelTime> {
    let steps = program.phases.iter().flat_map(|phase| (0..phase.times).flat_map(|_| &phase.steps));
    let names = steps.filter_map(|step| match step {
        Step::Launch(launch) => Some(launch.kernel.as_str()),
        Step::Swap { .. } => None,
    });
    let mut rows: Vec<KernelTime> = Vec::new();
    for (kernel, &time) in names.zip(launches) {
        let room = rows.len() < KERNELS_MAX;
        match rows.iter_mut().find(|row| row.kernel == kernel) {
            Some(row) => row.add(time),
            None if room => rows.push(KernelTime::first(kernel, time)),
            None => {}
        }
    }
    rows
}

impl KernelTime {
    fn first(kernel: &str, time: Nanos) -> Self {
        Self { kernel: kernel.to_owned(), launches: 1, total: time, shortest: time, longest: time }
    }

    fn add(&mut self, time: Nanos) {
        self.launches += 1;
        self.total = self.total.saturating_add(time);
        self.shortest = self.shortest.min(time);
        self.longest = self.longest.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::job::{Launch, Phase};

    fn program(times: u32, kernels: &[String]) -> Program {
        let launch = |kernel: &String| {
            let (kernel, grid, block) = (kernel.clone(), [1; 3], [1; 3]);
            Step::Launch(Launch { module: 0, kernel, grid, block, shared_bytes: 0, args: Vec::new() })
        };
        let mut steps: Vec<Step> = kernels.iter().map(launch).collect();
        steps.push(Step::Swap { a: 0, b: 1 });
        Program { modules: Vec::new(), buffers: Vec::new(), phases: vec![Phase { times, steps }] }
    }

    #[test]
    fn launches_add_up_kernel_by_kernel() {
        let program = program(2, &["a".into(), "b".into()]);
        let rows = per_kernel(&program, &[Nanos(5), Nanos(7), Nanos(3), Nanos(9)]);
        assert_eq!(rows.len(), 2);
        let a = &rows[0];
        assert_eq!((a.launches, a.total, a.shortest, a.longest), (2, Nanos(8), Nanos(3), Nanos(5)));
        assert_eq!((rows[1].kernel.as_str(), rows[1].total), ("b", Nanos(16)));
    }

    #[test]
    fn rows_are_bounded() {
        let kernels: Vec<String> = (0..KERNELS_MAX + 10).map(|n| format!("k{n}")).collect();
        assert_eq!(per_kernel(&program(1, &kernels), &[Nanos(1); 300]).len(), KERNELS_MAX);
    }
}
