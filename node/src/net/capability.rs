//! Where in the DHT a provider is found: pure arithmetic, no network.
//!
//! One key would list about twenty providers however large the network is, so providers spread over
//! [`SHARDS`] keys for each kind of engine and memory class. A provider stands under its own class and all lower ones,
//! so a searcher needs one class: the highest that everybody who qualifies is in. What a key lists is only a hint;
//! each candidate is asked for its signed advert.

use ion_protocol::{
    Bytes, NodeId,
    hardware::Device,
    job::{EngineNeed, Needs},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

/// Keys a class is spread over, by four bits of the provider's id.
pub(super) const SHARDS: u8 = 16;

/// Memory classes in GiB: what cards are sold with. The first holds everybody.
const CLASSES_GIB: [u64; 8] = [0, 4, 8, 12, 16, 24, 48, 80];

/// What runs the kernels, as far as the DHT tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Gpu,
    Cpu,
}

const KINDS: [Kind; 2] = [Kind::Gpu, Kind::Cpu];

/// One kind of engine and one class of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bucket {
    pub kind: Kind,
    class: usize,
}

/// Least memory of a class: a card of 24 GiB leaves a little less to a job.
fn floor_bytes(class: usize) -> u64 {
    (CLASSES_GIB[class] << 30) / 16 * 15
}

/// The highest class whose floor is within `memory`.
fn class_of(memory: Bytes) -> usize {
    (0..CLASSES_GIB.len()).rev().find(|&class| floor_bytes(class) <= memory.0).unwrap_or(0)
}

impl Bucket {
    /// The DHT key of one shard: `blake3-derive-key("ion/cap/1", kind || class in GiB || shard)`.
    pub fn key(&self, shard: u8) -> [u8; 32] {
        let kind = match self.kind {
            Kind::Gpu => 0,
            Kind::Cpu => 1,
        };
        blake3::derive_key("ion/cap/1", &[kind, CLASSES_GIB[self.class] as u8, shard])
    }
}

/// The shard a provider stands under.
pub(super) fn shard_of(node: &NodeId) -> u8 {
    node.0[0] % SHARDS
}

/// Whether `node` may stand under `key`: there is one of every kind, class and shard, 256 in all, and those of its own
/// shard are 16. So nobody fills them all under a few names.
pub(super) fn may_stand_under(node: &NodeId, key: &[u8]) -> bool {
    static KEYS: OnceLock<BTreeMap<[u8; 32], u8>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let classes = 0..CLASSES_GIB.len();
        let buckets =
            KINDS.into_iter().flat_map(|kind| classes.clone().map(move |class| Bucket { kind, class }));
        buckets.flat_map(|bucket| (0..SHARDS).map(move |shard| (bucket.key(shard), shard))).collect()
    });
    <&[u8; 32]>::try_from(key).is_ok_and(|key| keys.get(key) == Some(&shard_of(node)))
}

/// The keys a provider of these devices stands under; at most one a kind and class.
pub(super) fn offered(node: &NodeId, devices: &[Device]) -> BTreeSet<[u8; 32]> {
    let shard = shard_of(node);
    devices
        .iter()
        .flat_map(|device| {
            let kind = if device.engine.is_gpu() { Kind::Gpu } else { Kind::Cpu };
            (0..=class_of(device.memory)).map(move |class| Bucket { kind, class }.key(shard))
        })
        .collect()
}

/// Where everybody who meets `needs` is found; GPUs first.
pub(super) fn wanted(needs: &Needs) -> Vec<Bucket> {
    let class = class_of(needs.memory_min);
    let kinds = match needs.engine {
        Some(EngineNeed::Cuda) => &[Kind::Gpu][..],
        Some(EngineNeed::Cpu) => &[Kind::Cpu],
        None => &[Kind::Gpu, Kind::Cpu],
    };
    kinds.iter().map(|&kind| Bucket { kind, class }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::hardware::{ComputeCapability, Engine, MeasuredPower};

    fn device(engine: Engine, memory: u64) -> Device {
        Device {
            index: 0,
            model: "m".into(),
            engine,
            capability: ComputeCapability::default(),
            memory: Bytes(memory),
            nvrtc: false,
            power: MeasuredPower::default(),
        }
    }

    #[test]
    fn who_qualifies_is_found() {
        let node = NodeId([0x2b; 32]);
        for engine in [Engine::Cuda, Engine::CpuInterpreter, Engine::CpuJit] {
            for memory in [0, 1 << 20, 3 << 30, 4 << 30, 23_600 << 20, 24 << 30, 79 << 30, 192 << 30] {
                let keys = offered(&node, &[device(engine, memory)]);
                for least in [0, 1, 4 << 30, (4 << 30) - 1, 8 << 30, 23 << 30, 24 << 30, 78 << 30, memory] {
                    let needs = Needs { memory_min: Bytes(least), ..Needs::default() };
                    let found =
                        wanted(&needs).iter().any(|bucket| keys.contains(&bucket.key(shard_of(&node))));
                    assert!(found || memory < least, "{engine} {memory} not found under {least}");
                }
            }
        }
    }

    #[test]
    fn keys_are_few_and_all_different() {
        let node = NodeId([0xff; 32]);
        let everything = [device(Engine::Cuda, 1 << 40), device(Engine::CpuInterpreter, 1 << 40)];
        assert_eq!(offered(&node, &everything).len(), 2 * CLASSES_GIB.len());
        assert_eq!(offered(&node, &[device(Engine::Cuda, 8 << 30)]).len(), 3);
        let mut all = BTreeSet::new();
        for kind in [Kind::Gpu, Kind::Cpu] {
            for class in 0..CLASSES_GIB.len() {
                (0..SHARDS).for_each(|shard| assert!(all.insert(Bucket { kind, class }.key(shard))));
            }
        }
        assert_eq!(all.len(), 256);
        assert!(offered(&node, &everything).iter().all(|key| may_stand_under(&node, key)));
        assert_eq!(all.iter().filter(|key| may_stand_under(&node, &key[..])).count(), 16, "of its own shard");
        for other in [&[][..], &[0; 32], &all.first().unwrap()[..31], &[7; 33]] {
            assert!(!may_stand_under(&node, other), "{other:?}");
        }
        assert_eq!(shard_of(&node), 15);
    }

    #[test]
    fn the_engine_asked_for_decides_where() {
        let needs = |engine| Needs { engine, ..Needs::default() };
        let kinds = |engine| wanted(&needs(engine)).iter().map(|bucket| bucket.kind).collect::<Vec<_>>();
        assert_eq!(kinds(None), [Kind::Gpu, Kind::Cpu]);
        assert_eq!(kinds(Some(EngineNeed::Cuda)), [Kind::Gpu]);
        assert_eq!(kinds(Some(EngineNeed::Cpu)), [Kind::Cpu]);
    }

    #[test]
    fn a_key_is_what_it_was() {
        let bucket = Bucket { kind: Kind::Gpu, class: 5 };
        assert_eq!(bucket.key(3), blake3::derive_key("ion/cap/1", &[0, 24, 3]));
    }
}
