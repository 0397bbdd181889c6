//! Challenges that nobody typed: in networks of engines in virtual time, liars are found, the honest are not harmed, and
//! nobody gives or asks for more than its share. A failing test prints its seed.

#[path = "../desk/mod.rs"]
mod desk;
mod world;

use desk::{Desk, id};
use ion_protocol::{
    Millis,
    challenge::{BUDGET, BUDGET_WINDOW},
    hardware::Engine,
    message::Request,
};
use ion_scheduler::{Config, Effect, Input, event::Event, input::OwnerInput, view::Standing};
use std::collections::BTreeSet;
use world::{Kind, World};

const EVERY: Millis = Millis(120_000);
const HOUR: u64 = 3_600_000;
const SEEDS: [u64; 3] = [11, 12, 13];

/// So many of each.
fn kinds(counts: &[(Kind, usize)]) -> Vec<Kind> {
    counts.iter().flat_map(|(kind, count)| vec![*kind; *count]).collect()
}

fn run(seed: u64, hours: u64, counts: &[(Kind, usize)]) -> World {
    let mut world = World::new(seed, EVERY, &kinds(counts));
    world.run_until(hours * HOUR);
    world
}

/// How many different nodes judged one, and whether it always passed, or never.
fn judges(world: &World, whom: usize, passed: bool) -> usize {
    let verdicts: Vec<_> = world.verdicts.iter().filter(|(_, judged, _)| *judged == whom).collect();
    assert!(verdicts.iter().all(|(.., found)| *found == passed), "node {whom}: {verdicts:?}");
    verdicts.iter().map(|(judge, ..)| *judge).collect::<BTreeSet<_>>().len()
}

#[test]
fn liars_are_found_and_the_honest_keep_their_name() {
    for seed in SEEDS {
        let world = run(seed, 4, &[(Kind::Light, 4), (Kind::Honest, 8), (Kind::Liar, 2)]);
        for (node, kind) in world.kinds.iter().enumerate() {
            // A device has time for two challenges an hour; one that takes as long as it may has time for one, and the
            // same node may come back for a second look.
            match kind {
                Kind::Honest => assert!(judges(&world, node, true) >= 7, "seed {seed}: node {node}"),
                Kind::Liar => assert!(judges(&world, node, false) >= 2, "seed {seed}: node {node}"),
                _ => {}
            }
        }
        for wrong in [Standing::Failed, Standing::Shy] {
            assert_eq!(world.seen(Kind::Honest, wrong), 0, "seed {seed}: {wrong:?}");
        }
        assert!(world.seen(Kind::Honest, Standing::Held) >= 7 * 8, "seed {seed}");
        assert_eq!(world.seen(Kind::Liar, Standing::Held), 0, "seed {seed}");
    }
}

#[test]
fn one_device_under_three_names_is_found_out() {
    for seed in SEEDS {
        let world = run(seed, 3, &[(Kind::Light, 3), (Kind::Honest, 4), (Kind::Twin, 3)]);
        let failed: Vec<Kind> = world
            .verdicts
            .iter()
            .filter(|(.., passed)| !passed)
            .map(|(_, whom, _)| world.kinds[*whom])
            .collect();
        assert!(failed.contains(&Kind::Twin), "seed {seed}: nobody challenged them at the same moment");
        assert!(!failed.contains(&Kind::Honest), "seed {seed}");
    }
}

#[test]
fn who_takes_no_challenge_is_never_believed_like_one_that_was_checked() {
    let dodgers = [Kind::Dodger, Kind::Quitter, Kind::Spent];
    for seed in SEEDS {
        let counts = [(Kind::Light, 3), (Kind::Honest, 3)].into_iter().chain(dodgers.map(|kind| (kind, 1)));
        let mut world = World::new(seed, EVERY, &kinds(&counts.collect::<Vec<_>>()));
        world.run_until(8 * HOUR);
        for kind in dodgers {
            assert_eq!(world.seen(kind, Standing::Held), 0, "seed {seed}: {kind:?}");
        }
        // All that know it have asked three times by now.
        assert_eq!(world.seen(Kind::Dodger, Standing::Shy), world.kinds.len() - 1, "seed {seed}");
        assert!(world.seen(Kind::Quitter, Standing::Shy) > 0, "seed {seed}");
        assert_eq!(world.seen(Kind::Spent, Standing::Shy), 0, "seed {seed}: it may well be true");
        assert_eq!(world.seen(Kind::Honest, Standing::Shy), 0, "seed {seed}");
        world.run_until(40 * HOUR);
        assert!(world.seen(Kind::Spent, Standing::Shy) > 0, "seed {seed}: but not for days");
    }
}

#[test]
fn one_bad_moment_is_forgiven_after_a_second_look() {
    for seed in SEEDS {
        let mut world = World::new(seed, EVERY, &kinds(&[(Kind::Light, 1), (Kind::Hiccup, 1)]));
        let light = 0;
        let mut saw = BTreeSet::new();
        for minute in 1..3 * 60 {
            world.run_until(minute * 60_000);
            saw.extend(world.standings(light).into_iter().map(|(_, standing)| standing));
        }
        assert!(saw.contains(&Standing::Failed), "seed {seed}: it was slow once: {saw:?}");
        assert_eq!(world.standings(light), [(Kind::Hiccup, Standing::Held)], "seed {seed}");
    }
}

#[test]
fn nobody_gives_or_asks_for_more_than_its_share() {
    for seed in SEEDS {
        let world = run(seed, 3, &[(Kind::Light, 12), (Kind::Honest, 6), (Kind::Twin, 2), (Kind::Liar, 2)]);
        for (node, given) in world.given.iter().enumerate() {
            for (from, _) in given {
                let window =
                    given.iter().filter(|(began, _)| (*from..from + BUDGET_WINDOW.0).contains(began));
                let time: u64 = window.map(|(began, ended)| ended - began).sum();
                // What was late by its own fault may have begun within the budget and ended a little beyond it.
                assert!(time <= BUDGET.0 + 6_000, "seed {seed}: node {node} gave {time} ms in an hour");
                let honest = world.kinds[node] == Kind::Honest;
                assert!(!honest || time <= BUDGET.0, "seed {seed}: node {node} gave {time} ms in an hour");
            }
        }
        for (node, asked) in world.asked.iter().enumerate() {
            let rounds: BTreeSet<u64> = asked.iter().map(|(at, _)| *at).collect();
            let sparse = rounds.iter().zip(rounds.iter().skip(1)).all(|(one, next)| next - one > 100);
            assert!(sparse, "seed {seed}: node {node} began two rounds at once");
            for (from, _) in asked {
                let hour = asked.iter().filter(|(at, _)| (*from..from + HOUR).contains(at)).count();
                assert!(hour <= 60, "seed {seed}: node {node} challenged {hour} devices in an hour");
            }
        }
        let rounds = world.asked.iter().filter(|asked| !asked.is_empty()).count();
        assert_eq!(rounds, world.kinds.len(), "seed {seed}: everybody looks");
    }
}

#[test]
fn the_same_seed_gives_the_same_challenges() {
    let counts = [(Kind::Light, 2), (Kind::Honest, 2), (Kind::Liar, 1)];
    let log = |seed| run(seed, 2, &counts).log_hash();
    assert_eq!(log(11), log(11));
    assert_ne!(log(11), log(12));
}

/// A requester that looks at claims, and knows one offer.
fn patrolling(every: Option<Millis>) -> Desk {
    let mut desk = Desk::new(1, Config { patrol_every: every, ..Config::default() });
    desk.offer(2, |_| {});
    desk
}

/// Lives for two hours in which the offer is kept fresh; whether anybody is greeted.
fn greets(desk: &mut Desk) -> bool {
    let mut any = false;
    for _ in 0..120 {
        desk.offer(2, |_| {}).live_through(60_000);
        any |= desk.calls().iter().any(|(_, _, request)| matches!(request, Request::Adverts { max: 1 }));
    }
    any
}

#[test]
fn a_node_with_own_work_or_with_the_patrol_off_challenges_nobody() {
    assert!(greets(&mut patrolling(Some(EVERY))));
    assert!(!greets(&mut patrolling(None)), "off");
    let config = Config { patrol_every: Some(EVERY), seek_max: Millis(HOUR), ..Config::default() };
    let mut desk = Desk::new(1, config);
    desk.offer(2, |_| {});
    // Nobody fits, and the job waits.
    let mut spec = desk::spec();
    spec.needs.f32_mflops_min = u64::MAX;
    desk.submit(spec, Vec::new()).disk_works();
    desk.live_through(10 * 60_000);
    assert_eq!(desk.engine.status().jobs_live, 1);
    assert!(!desk.has(|effect| matches!(effect, Effect::Event(Event::Challenging { .. }))));
}

/// Nobody answers, so that one round is all there is.
#[test]
fn cards_of_one_host_are_challenged_together_and_processors_one_by_one() {
    for (engine, together) in [(Engine::Cuda, 2), (Engine::CpuJit, 1)] {
        let mut desk = Desk::new(1, Config { patrol_every: Some(EVERY), ..Config::default() });
        let mut greeted = BTreeSet::new();
        for _ in 0..120 {
            for provider in [2, 3] {
                desk.offer(provider, |advert| {
                    advert.devices[0].engine = engine;
                    advert.addresses = vec!["/ip4/10.0.0.9/tcp/4001".to_owned()];
                });
            }
            desk.live_through(60_000);
            greeted.extend(desk.calls().into_iter().map(|(_, to, _)| to));
        }
        assert_eq!(greeted.len(), together, "{engine}");
    }
}

#[test]
fn seeds_of_a_round_are_drawn_with_the_key_and_never_twice() {
    let mut drawn = BTreeSet::new();
    for seed in 0..2 {
        let mut desk = Desk::new(1 + seed, Config { patrol_every: Some(EVERY), ..Config::default() });
        for _ in 0..5 * 60 {
            desk.offer(3, |_| {}).live_through(60_000);
            for _ in 0..2 {
                for (call, to, request) in desk.calls() {
                    if matches!(request, Request::Adverts { max: 1 }) && to == id(3) {
                        desk.answer(call, 3, Ok(ion_scheduler::input::Answer::Adverts(Vec::new())));
                    }
                }
            }
            for (call, _, request) in desk.calls() {
                if let Request::Challenge(challenge) = request {
                    let challenge = challenge.verify(&Config::default().network).expect("signed");
                    assert!(drawn.insert(challenge.seed), "a seed was used before");
                    desk.answer(call, 3, Err(ion_scheduler::input::CallError::TimedOut));
                }
            }
        }
    }
    assert!(drawn.len() >= 4, "{} rounds", drawn.len());
    let mut desk = patrolling(Some(EVERY));
    desk.feed(Input::Owner(OwnerInput::Drain));
    assert!(!greets(&mut desk), "nor does one that drains");
}
