//! What nodes' processors do: programs, some of whose results are false, and checks of others' results.

use super::{Later, World, jobs};
use ion_protocol::{
    BlobHash,
    check::{Difference, Finding},
    fault::{Fault, Place},
    job::JobSpec,
    receipt::Output,
};
use ion_scheduler::{
    Input,
    input::{CheckId, WorkId, WorkReport},
    view::JobView,
};
use std::collections::VecDeque;

/// A program in a worker: how long it will run, and what comes of it, if anything does.
#[derive(Clone, Debug)]
pub struct Working {
    work: WorkId,
    time: u64,
    result: Option<Result<WorkReport, Fault>>,
    /// It is being stopped, and gone in a moment.
    stopped: bool,
}

/// The node that lies.
const LIAR: usize = 2;

impl World {
    pub(super) fn work(&mut self, node: usize, work: WorkId, device: u16, spec: &JobSpec) {
        for (blob, _) in spec.program.blobs() {
            assert!(self.nodes[node].blobs.contains(&blob), "a program runs only when its blobs are here");
        }
        let ahead = usize::from(jobs::devices(node)[usize::from(device)].engine.is_gpu());
        let working = self.nodes[node].working.entry(device).or_default();
        let wanted = working.iter().filter(|working| !working.stopped).count();
        assert!(wanted <= ahead, "one program a device at a time, and one ahead where it is a GPU");
        let time = self.rng.u64(1..3_000);
        let result = if !self.chance(self.faults.work) {
            let lies = node == LIAR && self.chance(self.faults.lie);
            Some(Ok(jobs::report(spec, time, lies)))
        } else if self.rng.bool() {
            Some(Err(Fault::WorkerCrashed { how: "signal 9".to_owned() }))
        } else if self.rng.u64(0..8) == 0 {
            Some(Err(Fault::Trap { place: Place::default() }))
        } else {
            // It hangs until it is stopped.
            None
        };
        let working = self.nodes[node].working.entry(device).or_default();
        working.push_back(Working { work, time, result, stopped: false });
        if working.len() == 1 {
            self.begin(node, device);
        }
    }

    pub(super) fn stop_work(&mut self, node: usize, work: WorkId) {
        let mut held = self.nodes[node].working.values_mut().flatten();
        if let Some(working) = held.find(|working| working.work == work) {
            working.stopped = true;
        }
        let (life, delay) = (self.nodes[node].life, self.rng.u64(1..50));
        self.after(delay, Later::Worked { node, life, work, result: Err(Fault::Cancelled) });
    }

    /// The first program of a device runs.
    fn begin(&mut self, node: usize, device: u16) {
        let life = self.nodes[node].life;
        let first = self.nodes[node].working.get(&device).and_then(VecDeque::front).cloned();
        if let Some(Working { work, time, result: Some(result), .. }) = first {
            self.watch.begun(device, self.time);
            self.after(time, Later::Worked { node, life, work, result });
        }
    }

    pub(super) fn worked(&mut self, node: usize, life: u32, work: WorkId, result: Result<WorkReport, Fault>) {
        if !self.alive(node, life) {
            return;
        }
        // The first end counts: a stopped program may have finished before.
        let held = |(device, working): (&u16, &VecDeque<Working>)| {
            let at = working.iter().position(|working| working.work == work)?;
            Some((*device, at))
        };
        let Some((device, at)) = self.nodes[node].working.iter().find_map(held) else { return };
        let ended = self.nodes[node].working.entry(device).or_default().remove(at);
        if let Some(Working { time, stopped: false, .. }) = ended {
            self.watch.ended(device, time, self.time);
        }
        if at == 0 {
            self.begin(node, device);
        }
        if let Ok(report) = &result {
            let hashes: Vec<BlobHash> = report.outputs.iter().map(|output| output.hash).collect();
            self.nodes[node].blobs.extend(hashes);
        }
        self.feed(node, Input::WorkDone { work, result });
    }

    pub(super) fn check(
        &mut self,
        node: usize,
        check: CheckId,
        spec: &JobSpec,
        outputs: &[Output],
        blocks: &[u64],
    ) {
        let held = |hash| self.nodes[node].blobs.contains(hash);
        assert!(outputs.iter().all(|o| held(&o.hash)), "a check begins only when the outputs are here");
        // A job that was refused because its record failed, yet is on the disk, comes back without its inputs.
        let inputs = spec.program.blobs().iter().all(|(hash, _)| held(hash));
        assert_eq!(blocks, [0], "the one block that there is");
        self.nodes[node].checks.insert(check);
        let result = if !inputs {
            Err(Fault::Inputs { message: "not held".to_owned() })
        } else if self.chance(self.faults.work) {
            Err(Fault::WorkerCrashed { how: "signal 9".to_owned() })
        } else if is_true(spec, outputs) {
            Ok(Finding::Equal { bytes: outputs[0].bytes })
        } else {
            let (kernel, block, buffer) = ("k".to_owned(), Some([0; 3]), "y".to_owned());
            Ok(Finding::Differs(Difference {
                launch: 0,
                kernel,
                block,
                buffer,
                offset: 0,
                expected: 0,
                found: 1,
            }))
        };
        let (life, time) = (self.nodes[node].life, self.rng.u64(1..4_000));
        // Now and then nothing comes back at all.
        if !self.chance(self.faults.disk) {
            self.after(time, Later::Checked { node, life, check, result });
        }
    }

    pub(super) fn checked(&mut self, node: usize, life: u32, check: CheckId, result: Result<Finding, Fault>) {
        if self.alive(node, life) && self.nodes[node].checks.remove(&check) {
            self.feed(node, Input::Checked { check, result });
        }
    }

    /// What was run again and found equal is the truth.
    pub(super) fn check_true(&self, view: &JobView) {
        let check = view.check.as_ref().expect("a done job says what was checked");
        if check.is_equal() {
            let right = jobs::result(&self.specs[&view.job]).hash();
            assert!(view.outputs.iter().all(|output| output.hash == right), "a lie passed: {view:?}");
        }
    }
}

fn is_true(spec: &JobSpec, outputs: &[Output]) -> bool {
    outputs.iter().all(|output| output.hash == jobs::result(spec).hash())
}
