//! Rounds of a phase that are repeated: launches that are over sooner than they are queued go to the device as one graph.
//!
//! The first rounds are queued launch by launch and timed. If all of their launches are short, and enough rounds are left, as
//! many as come back to the same order of buffers are taken down once and then queued by one call each time. Of a graph only
//! the whole is timed; its launches get their shares of that as the timed rounds had it. Where the driver has no graphs, or
//! will not make this one, launches are queued one by one.
//! Never: changes what is computed or in which order.

use super::{driver::Graph, flight::What, kernels::Prepared, run::Run};
use crate::program::LoadedProgram;
use ion_protocol::{
    Nanos,
    fault::Fault,
    job::{Launch, Phase, Step},
};
use std::rc::Rc;

/// Launches of one graph: enough that queueing it is cheap, few enough that progress is seen.
const LAUNCHES_MAX: usize = 64;
/// Graphs queued at once: one runs, the next waits.
const IN_FLIGHT_MAX: usize = 3;
/// Making a graph takes as long as queueing its launches a few times over.
const RUNS_MIN: u32 = 4;
/// Launches that are longer than this wait for nobody.
const SHORT: Nanos = Nanos(200_000);
/// Launches that are timed one by one at least: the first are slow for reasons of their own.
const TIMED_MIN: usize = 8;

/// The launches of a graph: `times` times the launches of a period.
pub(super) struct Round {
    kernels: Vec<String>,
    /// What each launch of a period took, as measured.
    measured: Vec<u64>,
    times: usize,
}

impl Round {
    pub fn launches(&self) -> u64 {
        (self.kernels.len() * self.times) as u64
    }

    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(String::as_str)
    }

    /// Gives each launch its share of the time of all.
    pub fn share(&self, time: Nanos, to: &mut Vec<Nanos>) {
        let whole: u128 = self.measured.iter().map(|time| u128::from((*time).max(1))).sum();
        let whole = whole * self.times as u128;
        let (mut passed, mut given) = (0u128, 0u64);
        for measured in (0..self.times).flat_map(|_| &self.measured) {
            passed += u128::from((*measured).max(1));
            // Shares end where they would on a line, so that they add up to the whole.
            let until = u64::try_from(u128::from(time.0) * passed / whole).unwrap_or(u64::MAX);
            to.push(Nanos(until - given));
            given = until;
        }
    }
}

/// How a phase's rounds go together.
pub(super) struct Plan<'a> {
    launches: Vec<&'a Launch>,
    /// Rounds after which all buffers are where they were.
    period: u32,
    /// Periods of one graph.
    times: u32,
    /// How often it is run.
    runs: u32,
}

impl<'a> Plan<'a> {
    /// `None` where a phase has too few rounds for a graph, or too many launches in one.
    pub fn of(phase: &'a Phase, job: &LoadedProgram) -> Option<Self> {
        Self::with(phase, job.program().buffers.len())
    }

    fn with(phase: &'a Phase, buffers: usize) -> Option<Self> {
        let launches: Vec<&Launch> = phase.steps.iter().filter_map(launch).collect();
        let period = period(phase, buffers)?;
        let each =
            launches.len().checked_mul(period as usize).filter(|each| (1..=LAUNCHES_MAX).contains(each))?;
        let times = (LAUNCHES_MAX / each) as u32;
        let mut plan = Plan { launches, period, times, runs: 0 };
        plan.runs = phase.times.saturating_sub(plan.timed()) / (period * times);
        (plan.runs >= RUNS_MIN).then_some(plan)
    }

    /// Rounds that are timed before.
    pub fn timed(&self) -> u32 {
        let period = self.launches.len() as u32 * self.period;
        (TIMED_MIN as u32).div_ceil(period) * self.period
    }
}

fn launch(step: &Step) -> Option<&Launch> {
    match step {
        Step::Launch(launch) => Some(launch),
        Step::Swap { .. } => None,
    }
}

/// Rounds of a phase after which its swaps have brought every buffer back; `None` if that takes long.
fn period(phase: &Phase, buffers: usize) -> Option<u32> {
    let first: Vec<usize> = (0..buffers).collect();
    let mut now = first.clone();
    for round in 1..=LAUNCHES_MAX as u32 {
        for step in &phase.steps {
            if let Step::Swap { a, b } = step {
                now.swap(usize::from(*a), usize::from(*b));
            }
        }
        if now == first {
            return Some(round);
        }
    }
    None
}

impl Run<'_> {
    /// Queues the rounds after the timed ones as graphs, where that is worth it, and says how many it queued.
    pub fn repeat(&mut self, job: &LoadedProgram, phase: &Phase, plan: &Plan<'_>) -> Result<u32, Fault> {
        let Some(round) = self.measure(plan)? else { return Ok(0) };
        let Some(graph) = self.graph(job, phase, plan)? else { return Ok(0) };
        for _ in 0..plan.runs {
            self.use_all(round.launches());
            self.queue(IN_FLIGHT_MAX, What::Graph(round.clone()), |stream| graph.launch(stream))?;
        }
        Ok(plan.runs * plan.period * plan.times)
    }

    /// What the launches of a period took at best; `None` if one of them is long.
    fn measure(&mut self, plan: &Plan<'_>) -> Result<Option<Rc<Round>>, Fault> {
        while !self.is_idle() {
            self.finish_one()?;
        }
        let period = plan.launches.len() * plan.period as usize;
        let timed = self.last_times(plan.launches.len() * plan.timed() as usize);
        let best = |n: usize| timed.iter().skip(n).step_by(period).map(|time| time.0).min().unwrap_or(0);
        let measured: Vec<u64> = (0..period).map(best).collect();
        if measured.iter().any(|time| *time > SHORT.0) {
            return Ok(None);
        }
        let names = || plan.launches.iter().map(|launch| launch.kernel.clone());
        let kernels = (0..plan.period).flat_map(|_| names()).collect();
        Ok(Some(Rc::new(Round { kernels, measured, times: plan.times as usize })))
    }

    /// The rounds of a plan as one graph; `None` where the driver makes none.
    fn graph(&mut self, job: &LoadedProgram, phase: &Phase, plan: &Plan<'_>) -> Result<Option<Graph>, Fault> {
        let mut prepared: Vec<Prepared> = Vec::new();
        for _ in 0..plan.period {
            for step in &phase.steps {
                match step {
                    Step::Launch(launch) => prepared.push(self.prepare(job, launch)?),
                    Step::Swap { a, b } => self.swap(*a, *b),
                }
            }
        }
        let stream = self.kernels();
        let all = (0..plan.times).flat_map(|_| &prepared);
        let graph = stream.capture(|| all.into_iter().try_for_each(|launch| launch.launch(stream)));
        // Whatever it is that keeps it from one, the launches themselves will show it again, if they have it too.
        Ok(graph.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(times: u32, kernels: usize, swaps: &[(u16, u16)]) -> Phase {
        let launch = Launch {
            module: 0,
            kernel: "k".into(),
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            args: Vec::new(),
        };
        let launches = (0..kernels).map(|_| Step::Launch(launch.clone()));
        let swaps = swaps.iter().map(|(a, b)| Step::Swap { a: *a, b: *b });
        Phase { times, steps: launches.chain(swaps).collect() }
    }

    #[test]
    fn rounds_go_together_until_all_buffers_are_back() {
        assert_eq!(period(&phase(1, 1, &[]), 3), Some(1));
        assert_eq!(period(&phase(1, 1, &[(0, 1)]), 3), Some(2));
        assert_eq!(period(&phase(1, 1, &[(0, 1), (1, 2)]), 3), Some(3));
        // Cycles of 5, 7 and 9 buffers are back together after 315 rounds.
        let cycles: Vec<(u16, u16)> = [0..5u16, 5..12, 12..21]
            .into_iter()
            .flat_map(|cycle| (cycle.start + 1..cycle.end).map(|n| (n - 1, n)).collect::<Vec<_>>())
            .collect();
        assert_eq!(period(&phase(1, 1, &cycles), 21), None);
    }

    #[test]
    fn few_or_many_launches_are_no_graph() {
        let plan = |phase: &Phase| Plan::with(phase, 2).map(|plan| (plan.period, plan.times, plan.runs));
        assert_eq!(plan(&phase(1000, 1, &[(0, 1)])), Some((2, 32, 15)));
        assert_eq!(plan(&phase(263, 1, &[])), None);
        assert_eq!(plan(&phase(264, 1, &[])), Some((1, 64, 4)));
        assert_eq!(plan(&phase(1000, 40, &[(0, 1)])), None);
        assert_eq!(plan(&phase(1000, 0, &[(0, 1)])), None);
    }

    #[test]
    fn shares_add_up_to_what_was_measured() {
        let round = Round { kernels: vec!["a".into(), "b".into()], measured: vec![100, 300], times: 3 };
        for time in [0, 1, 7, 1201, u64::MAX] {
            let mut shares = Vec::new();
            round.share(Nanos(time), &mut shares);
            assert_eq!((shares.len(), shares.iter().map(|n| n.0).sum::<u64>()), (6, time));
        }
        let mut shares = Vec::new();
        round.share(Nanos(1200), &mut shares);
        assert_eq!(shares, [100, 300, 100, 300, 100, 300].map(Nanos));
        let unknown = Round { kernels: vec!["a".into()], measured: vec![0], times: 2 };
        unknown.share(Nanos(10), &mut shares);
        assert_eq!(shares[6..], [Nanos(5), Nanos(5)]);
    }
}
