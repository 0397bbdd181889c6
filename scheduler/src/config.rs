//! What an operator decides, and the engine's own times.

use ion_protocol::{Bytes, Millis, NanoIo, NetworkId, job::Program, limits};

/// What may pass between the order to run and a program's first launch: two starts of a worker and one load of a
/// minute each.
const START_MAX: Millis = Millis(180_000);
/// Slowest pace at which a worker loads inputs: 20 MB a second.
const LOAD_BYTES_PER_MS: u64 = 20_000;

/// The time that `program` may take before its own run time begins.
pub(crate) fn start_margin(program: &Program) -> Millis {
    let bytes = program.blobs().iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(bytes.0));
    START_MAX.saturating_add(Millis(bytes / LOAD_BYTES_PER_MS))
}

/// How this node behaves. Every field has a default that serves a stranger well.
#[derive(Clone, Debug)]
pub struct Config {
    /// Part of every signature.
    pub network: NetworkId,
    /// Whether devices are offered to others.
    pub provide: bool,
    /// Price of one second of device time.
    pub price_per_second: NanoIo,
    /// Where the operator says the node is; empty if unsaid.
    pub region: String,
    /// Longest run time taken on.
    pub run_max: Millis,
    /// Most bytes of inputs and outputs of one job taken on.
    pub blob_bytes_max: Bytes,
    /// Accepted orders that may wait for a device.
    pub queue_max: usize,
    /// Tries of one job before it is given up.
    pub attempts_max: u32,
    /// Silence after which a provider that holds an attempt counts as lost.
    pub silence: Millis,
    /// How often a provider tells its requesters that it is alive.
    pub progress_every: Millis,
    /// How often an unchanged advert is repeated.
    pub advert_every: Millis,
    /// How long an advert lives.
    pub advert_life: Millis,
    /// How long a requester looks for a provider before it says that there is none.
    pub seek_max: Millis,
    /// How long a job may stay without a running attempt where fitting providers exist but are busy.
    pub wait_max: Millis,
    /// What a second of waiting is worth to this node's jobs; equal to a price, a second of waiting weighs as much as
    /// a second of device time.
    pub value_of_time_per_second: NanoIo,
    /// How long an answer to a question may take, dialling included.
    pub call_timeout: Millis,
    /// How long an undelivered result is offered to its requester before its outputs are let go.
    pub deliver_max: Millis,
    /// How long running blocks again may take before a delivery is accepted without it.
    pub check_max: Millis,
    /// How often, on average, this node looks for a claim of others to check by a challenge; `None` for never.
    pub patrol_every: Option<Millis>,
    /// Finished jobs, and as many finished leases, kept in memory for views.
    pub finished_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: NetworkId::named("ion"),
            provide: false,
            price_per_second: NanoIo(500_000),
            region: String::new(),
            run_max: Millis(3_600_000),
            blob_bytes_max: Bytes(8 << 30),
            queue_max: 16,
            attempts_max: 5,
            silence: Millis(5_000),
            progress_every: Millis(1_000),
            advert_every: Millis(60_000),
            advert_life: Millis(limits::ADVERT_LIFE_MS_MAX),
            seek_max: Millis(60_000),
            wait_max: Millis(3_600_000),
            value_of_time_per_second: NanoIo(500_000),
            call_timeout: Millis(3_000),
            deliver_max: Millis(600_000),
            check_max: Millis(20_000),
            patrol_every: None,
            finished_max: 1_000,
        }
    }
}
