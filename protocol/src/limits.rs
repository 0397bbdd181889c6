//! Every cap of the protocol, named with its unit. A peer that exceeds one is refused, never truncated.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: u64 = 1024 * MIB as u64;

/// Wire version of adverts, orders and receipts. A node refuses any other.
pub const VERSION: u16 = 5;

/// One request or response on a negotiation stream: an order with its small inputs fits, a flood does not.
pub const MESSAGE_BYTES_MAX: usize = 256 * KIB;
/// One gossip message; below gossipsub's IDONTWANT threshold adverts stay cheap, so they should be far smaller.
pub const GOSSIP_BYTES_MAX: usize = 8 * KIB;
/// A signed advert's body.
pub const ADVERT_BYTES_MAX: usize = 6 * KIB;
/// A signed order's body: the whole job specification and its inline inputs.
pub const ORDER_BYTES_MAX: usize = 192 * KIB;
/// A signed acceptance, receipt or countersignature body.
pub const DEAL_BYTES_MAX: usize = 16 * KIB;
/// A signed answer to a challenge: 32 rows of 1 KiB with two paths of 26 hashes each.
pub const CHALLENGE_ANSWER_BYTES_MAX: usize = 96 * KIB;
/// A job specification's encoding.
pub const SPEC_BYTES_MAX: usize = 96 * KIB;

/// Devices in one advert: the largest common server has 8 GPUs; 16 leaves room.
pub const DEVICES_MAX: usize = 16;
/// Listen addresses in one advert.
pub const ADDRESSES_MAX: usize = 8;
/// Text of one multiaddress, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 128;
/// Any name (kernel, buffer, module, device, region), in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Free text in a refusal or fault, in bytes.
pub const TEXT_BYTES_MAX: usize = 2 * KIB;
/// Adverts in one answer to "whom do you know?".
pub const ADVERTS_PER_ANSWER_MAX: usize = 32;

/// How far a peer's wall clock may be ahead of ours.
pub const CLOCK_SKEW_MS_MAX: u64 = 30_000;
/// How long an advert may claim to live: five minutes, so that a dead provider is soon forgotten.
pub const ADVERT_LIFE_MS_MAX: u64 = 300_000;
/// How long an order may wait for its answer.
pub const ORDER_LIFE_MS_MAX: u64 = 60_000;
/// How long ago a challenge may have been signed: it is sent at once, so what is older is a replay.
pub const CHALLENGE_LIFE_MS_MAX: u64 = 60_000;

/// Modules of one program.
pub const MODULES_MAX: usize = 16;
/// Text of one PTX or CUDA C module.
pub const MODULE_BYTES_MAX: usize = 8 * MIB;
/// Buffers of one program.
pub const BUFFERS_MAX: usize = 64;
/// Bytes of one buffer.
pub const BUFFER_BYTES_MAX: u64 = 16 * GIB;
/// Dimensions of a buffer's shape.
pub const SHAPE_DIMS_MAX: usize = 8;
/// Phases of one program (launches, or repeats of launches).
pub const PHASES_MAX: usize = 256;
/// Steps in one phase.
pub const STEPS_MAX: usize = 256;
/// Arguments of one launch, the head and each field of a struct counted: as many as a kernel may have parameters.
pub const ARGS_MAX: usize = 256;
/// Launches a program may run, repeats counted out.
pub const LAUNCHES_MAX: u64 = 1_000_000;
/// Steps a program may run, repeats counted out: every launch with a swap.
pub const STEPS_RUN_MAX: u64 = 2 * LAUNCHES_MAX;
/// Threads of a block (CUDA C++ Programming Guide, table of compute capabilities).
pub const BLOCK_THREADS_MAX: u64 = 1024;
/// Block extent in z (same table); x and y are bounded by the thread count.
pub const BLOCK_Z_MAX: u32 = 64;
/// Grid extent in x (same table).
pub const GRID_X_MAX: u32 = i32::MAX as u32;
/// Grid extent in y and z (same table).
pub const GRID_YZ_MAX: u32 = 65_535;
/// Dynamic shared memory of a block: what compute capability 9.0 offers, 227 KiB.
pub const SHARED_BYTES_MAX: u32 = 227 * KIB as u32;
/// Longest run time a requester can ask for: a week.
pub const RUN_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// Blocks of one job that are run again to check it: four times what catches half the blocks falsified in all but one
/// of 65 536 deliveries.
pub const CHECK_BLOCKS_MAX: usize = 64;

/// The memory between launches that a provider keeps of one job, and serves until it is countersigned: what a disk
/// writes in a fraction of a second, and enough for hundreds of launches of work that is dear for its size.
pub const STATES_BYTES_MAX: u64 = 64 * MIB as u64;

/// Inputs carried inside the order instead of fetched: saves a round trip for small jobs.
pub const INLINE_BYTES_MAX: usize = 32 * KIB;
/// A group of a blob: what is verified at once and refetched if wrong. A power of two of BLAKE3 chunks.
pub const BLOB_GROUP_BYTES: u64 = 256 * KIB as u64;
/// A slice of a blob's group: what is verified of a blob that stays where it is. A power of two of BLAKE3 chunks, small
/// beside what a check reads and large beside its proof.
pub const BLOB_SLICE_BYTES: u64 = 16 * KIB as u64;
/// A blob's size.
pub const BLOB_BYTES_MAX: u64 = BUFFER_BYTES_MAX;
