//! 200 kills at random moments. The seed is printed; `ion-testnet chaos --seed` draws the same kills again.

use ion_testnet::{
    chaos::{self, Options},
    cluster::{binary, ion::Ion},
    report::unix_ms,
};

/// Enough to hit every step of a job in every role.
const KILLS: u32 = 200;

#[test]
fn two_hundred_kills_lose_nothing_acknowledged() {
    let ion = Ion::new(binary::for_tests().unwrap());
    let outcome = chaos::run(ion, &Options { kills: KILLS, seed: unix_ms(), keep: false });
    let outcome = outcome.unwrap_or_else(|error| panic!("{error:#}"));
    outcome.lines().iter().for_each(|line| println!("{line}"));
    // Five nodes, three of them providers, die in turn.
    let by_role = [outcome.network_kills, outcome.provider_kills, outcome.light_kills];
    assert_eq!(by_role, [KILLS / 5, KILLS / 5 * 3, KILLS / 5]);
    assert!(outcome.accepted > 0 && outcome.done > 0, "nothing was at stake");
}
