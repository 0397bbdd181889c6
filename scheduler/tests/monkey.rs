//! Random inputs on real engines: many seeds, faults on, then healed; then every accepted job must have ended.
//!
//! A failing test prints its seed; `ION_MONKEY_SEED=<seed>` runs that one alone, `ION_MONKEY_SEEDS=<count>` runs more.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Faults, NONE, World};

/// Virtual time under faults, and healed: a worker that hangs may begin last of all, and has three minutes for its start.
const FAULTY_MS: u64 = 60_000;
const HEALED_MS: u64 = 480_000;
const SEEDS: u64 = 25;

const MILD: Faults = Faults {
    loss: 20,
    double: 50,
    disk: 5,
    work: 50,
    lie: 300,
    crash_every_ms: 15_000,
    cut_every_ms: 8_000,
    delay_ms_max: 60,
};
const WILD: Faults = Faults {
    loss: 150,
    double: 150,
    disk: 60,
    work: 250,
    lie: 300,
    crash_every_ms: 3_000,
    cut_every_ms: 2_000,
    delay_ms_max: 400,
};

/// What one run came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    done: usize,
    other: usize,
    log: u64,
    steps: u64,
}

fn run(seed: u64, faults: Faults) -> Outcome {
    let mut world = World::new(seed, faults, 24);
    world.run_until(FAULTY_MS);
    world.heal();
    world.run_until(FAULTY_MS + HEALED_MS);
    let (done, other, stuck) = world.results();
    assert!(stuck.is_empty(), "{} jobs never end: {}", stuck.len(), stuck[0]);
    assert_eq!(world.unanswered(), 0, "questions without an answer");
    Outcome { done, other, log: world.rules.log_hash(), steps: world.steps }
}

fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let one = env("ION_MONKEY_SEED");
    let count = env("ION_MONKEY_SEEDS").unwrap_or(SEEDS);
    let range = one.map_or(first..first + count, |seed| seed..seed + 1);
    range.into_iter()
}

fn all(name: &str, first: u64, faults: Faults) {
    let (mut done, mut other, mut steps) = (0, 0, 0);
    for seed in seeds(first) {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, faults)));
        let outcome = outcome.unwrap_or_else(|_| panic!("{name}: failed with ION_MONKEY_SEED={seed}"));
        (done, other, steps) = (done + outcome.done, other + outcome.other, steps + outcome.steps);
    }
    println!("{name}: {done} jobs done, {other} ended otherwise, {steps} inputs");
    assert!(done > 0, "some jobs are done even so");
}

#[test]
fn without_faults_every_job_that_is_not_cancelled_is_done() {
    for seed in seeds(1_000).take(8) {
        let outcome = run(seed, NONE);
        assert!(outcome.done >= 17, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn a_burst_beyond_all_queues_is_worked_off_and_nothing_fails() {
    let mut world = World::new(5_000, NONE, 200);
    world.run_until(FAULTY_MS + HEALED_MS);
    let (done, cancelled, stuck) = world.results();
    assert_eq!((done + cancelled, stuck.len(), world.rules.failed), (200, 0, 0));
}

/// What a provider has room for is its own word; that it has none is asked once for all jobs that wait, not once for each.
#[test]
fn a_burst_at_one_provider_keeps_its_devices_busy_and_orders_little_more_than_it_takes() {
    for provider in [2, 3, 4] {
        for seed in seeds(7_000).take(4) {
            let burst = World::burst(seed, provider, 60);
            println!("provider {provider}, seed {seed}: {burst:?}");
            assert!(burst.orders <= 80 && burst.busy >= 990, "provider {provider}, seed {seed}: {burst:?}");
        }
    }
}

#[test]
fn a_provider_that_always_lies_is_found_out_and_its_jobs_are_done_elsewhere() {
    let mut lies = 0;
    for seed in seeds(6_000).take(8) {
        let mut world = World::new(seed, Faults { lie: 1_000, ..NONE }, 40);
        world.run_until(FAULTY_MS + HEALED_MS);
        let (done, _, stuck) = world.results();
        assert_eq!((stuck.len(), world.rules.failed), (0, 0), "seed {seed}");
        assert!(done >= 25, "seed {seed}: {done} jobs done");
        lies += world.rules.lies;
    }
    println!("{lies} lies were found");
    assert!(lies > 0, "it was chosen, and found out");
}

#[test]
fn every_accepted_job_ends_after_mild_faults() {
    all("mild", 2_000, MILD);
}

#[test]
fn every_accepted_job_ends_after_wild_faults() {
    all("wild", 3_000, WILD);
}

#[test]
fn the_same_seed_gives_the_same_effects() {
    for seed in [4_000, 4_001, 4_002] {
        assert_eq!(run(seed, WILD), run(seed, WILD), "seed {seed}");
    }
}
