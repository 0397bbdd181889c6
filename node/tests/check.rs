//! Checks for real: blocks of delivered results run again in children of the real binary, and by programs that misbehave.

mod workers {
    pub mod programs;
    pub mod rig;
}

use ion_gpu::{
    backend::{Backend, RunLimits},
    cpu::CpuBackend,
    program::{LoadedProgram, Sources, no_compiler},
    states::Recorded,
    worker::frame::{Ask, Between},
};
use ion_node::{
    blobs::BoxFuture,
    workers::{CheckerHandle, Shown, start_checker},
};
use ion_protocol::{
    BlobHash, Bytes, Millis,
    check::{BlockAt, Finding},
    fault::Fault,
    job::{JobSpec, Source},
    receipt::Output,
    states::Kept,
};
use ion_scheduler::input::{CheckId, Input};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use workers::{
    programs::{self, scale},
    rig::{ION, TestBlobs, fake},
};

const LIMIT: Millis = Millis(30_000);

struct Rig {
    blobs: Arc<TestBlobs>,
    handle: CheckerHandle,
    inputs: mpsc::Receiver<Input>,
    next: u64,
    /// For the next check.
    between: Option<(Between, Box<dyn Shown>)>,
}

impl Rig {
    fn start(exe: &str) -> Self {
        let blobs = Arc::new(TestBlobs::new());
        let (to, inputs) = mpsc::channel(16);
        let handle = start_checker(exe.into(), Bytes(64 << 20), blobs.clone(), to);
        Self { blobs, handle, inputs, next: 0, between: None }
    }

    fn begin(&mut self, spec: &JobSpec, delivered: &[u8], blocks: &[u64], limit: Millis) -> CheckId {
        self.next += 1;
        let outputs = spec.program.outputs().map(|buffer| Output {
            buffer,
            bytes: Bytes(delivered.len() as u64),
            hash: self.blobs.put(delivered),
        });
        let (outputs, blocks) = (outputs.collect(), blocks.to_vec());
        let (between, shown) = match self.between.take() {
            Some((between, shown)) => (Some(between), Some(shown)),
            None => (None, None),
        };
        let ask = Ask { spec: spec.clone(), outputs, blocks, between, limit };
        self.handle.check(CheckId(self.next), Box::new(ask), shown).expect("room for one more");
        CheckId(self.next)
    }

    async fn end(&mut self) -> (CheckId, Result<Finding, Fault>) {
        match timeout(Duration::from_secs(60), self.inputs.recv()).await {
            Ok(Some(Input::Checked { check, result })) => (check, result),
            other => panic!("no finding: {other:?}"),
        }
    }

    async fn check(&mut self, spec: &JobSpec, delivered: &[u8], blocks: &[u64]) -> Result<Finding, Fault> {
        self.begin(spec, delivered, blocks, LIMIT);
        self.end().await.1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truth_is_equal_a_lie_is_named_and_the_child_is_kept() {
    let mut rig = Rig::start(ION);
    // Two pages of input and output: 128 blocks of 256 threads, of which the last is not full.
    let (spec, mut delivered) = scale(&rig.blobs, 32_700);
    let equal = Ok(Finding::Equal { bytes: Bytes(3 * 1024 + 188 * 4) });
    assert_eq!(rig.check(&spec, &delivered, &[0, 77, 100, 127]).await, equal);
    delivered[77 * 1024 + 5] ^= 0x80;
    match rig.check(&spec, &delivered, &[77]).await {
        Ok(Finding::Differs(d)) => {
            assert_eq!((d.block, d.buffer.as_str(), d.offset), (Some([77, 0, 0]), "to", 77 * 1024 + 5));
            assert_eq!((d.found, d.expected), (delivered[77 * 1024 + 5], delivered[77 * 1024 + 5] ^ 0x80));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(rig.check(&spec, &delivered, &[76, 78]).await, Ok(Finding::Equal { .. })));
    // CUDA C means something else on every machine.
    let mut compiled = spec.clone();
    compiled.program.modules[0].source = Source::CudaC;
    let found = rig.check(&compiled, &delivered, &[77]).await;
    assert!(matches!(&found, Ok(Finding::NotCheckable { why }) if why.contains("CUDA C")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_here_ends_in_its_fault_and_the_next_check_is_made() {
    let mut rig = Rig::start(ION);
    let (good, delivered) = scale(&rig.blobs, 1_000);
    let endless = programs::endless(&rig.blobs);
    // Far less than the instructions that a check may run take.
    let limit = Millis(20);
    rig.begin(&endless, &[0; 4], &[0], limit);
    assert_eq!(rig.end().await.1, Err(Fault::RunTime { limit }));
    assert!(matches!(rig.check(&good, &delivered, &[2]).await, Ok(Finding::Equal { .. })));
    let wild = programs::out_of_bounds(&rig.blobs);
    let found = rig.check(&wild, &[0; 1024], &[0]).await;
    assert!(
        matches!(&found, Ok(Finding::NotCheckable { why }) if why.contains("out-of-bounds")),
        "{found:?}"
    );
    // An input that is gone, and one that is told of with another size than it has.
    let (gone, delivered_gone) = scale(&rig.blobs, 2_000);
    let input = gone.program.blobs()[1].0;
    rig.blobs.damage(&input, None);
    assert!(matches!(rig.check(&gone, &delivered_gone, &[1]).await, Err(Fault::Inputs { .. })));
    rig.blobs.damage(&input, Some(b"short"));
    assert!(matches!(rig.check(&gone, &delivered_gone, &[1]).await, Err(Fault::Inputs { .. })));
    assert!(matches!(rig.check(&good, &delivered, &[0]).await, Ok(Finding::Equal { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_check_says_nothing_and_makes_room_for_the_next() {
    let mut rig = Rig::start(ION);
    let endless = programs::endless(&rig.blobs);
    let stopped = rig.begin(&endless, &[0; 4], &[0], LIMIT);
    let (good, delivered) = scale(&rig.blobs, 1_000);
    let next = rig.begin(&good, &delivered, &[0], LIMIT);
    rig.handle.stop(stopped);
    let (check, result) = rig.end().await;
    assert_eq!(check, next);
    assert!(matches!(result, Ok(Finding::Equal { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_misbehave_are_told_apart_and_told_nothing() {
    // Ready; then: nothing more, bytes nobody asked for, an end, and a need of what is no part of the job.
    let ready = r"printf '\005\000\000\000\000\000\000\000\000'";
    let need = r"printf '\065\000\000\000\000\006\000\000\000\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000'";
    for (script, expected) in [
        (format!("{ready}; cat > /dev/null"), "ran longer"),
        (format!("{ready}; printf '\\002\\000\\000\\000\\001x'; cat > /dev/null"), "bytes where none"),
        (format!("{ready}; exit 7"), "exit code 7"),
        (format!("{ready}; {need}; cat > /dev/null"), "no part of the job"),
        ("printf 'hello'".to_owned(), "frame"),
    ] {
        let fake = fake(&script);
        let mut rig = Rig::start(fake.path());
        let (spec, delivered) = scale(&rig.blobs, 1_000);
        rig.begin(&spec, &delivered, &[0], Millis(500));
        let fault = rig.end().await.1.expect_err("it misbehaves");
        assert!(fault.to_string().contains(expected), "{script}: {fault}");
    }
}

/// A provider that shows what it has: these bytes, or nothing for this reason, or nothing ever.
enum Provider {
    Shows(Vec<u8>),
    Refuses(&'static str),
    IsSilent,
}

impl Shown for Provider {
    fn read(&mut self, from: u64, bytes: u64) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            match self {
                Provider::Shows(blob) => Ok(blob[from as usize..(from + bytes) as usize].to_vec()),
                Provider::Refuses(why) => Err((*why).to_owned()),
                Provider::IsSilent => std::future::pending().await,
            }
        })
    }
}

/// An honest run: what is delivered, and the memory between launches.
fn run(rig: &Rig, spec: &JobSpec) -> (Vec<u8>, u64, Vec<u8>) {
    let limits = RunLimits { run: LIMIT, memory: Bytes(1 << 20), fuel: None };
    let mut blob = |hash, _| Ok(rig.blobs.read(&hash).as_slice().into());
    let mut sources = Sources { blob: &mut blob, compile: &mut no_compiler };
    let mut loaded = LoadedProgram::load(spec.program.clone(), &limits, &mut sources).unwrap();
    loaded.keep_states();
    let report = CpuBackend::default().run(loaded, &limits, &AtomicBool::new(false), &mut |_| {}).unwrap();
    match report.states {
        Recorded::Kept { every, parts } => {
            let blob = parts.iter().flat_map(|part| part.iter().copied()).collect();
            (report.outputs[0].bytes.to_vec(), every, blob)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_in_the_middle_is_checked_from_what_its_provider_shows() {
    let mut rig = Rig::start(ION);
    let spec = programs::long_walk(&rig.blobs);
    let (delivered, every, blob) = run(&rig, &spec);
    let picks = vec![
        BlockAt { launch: 0, block: 3 },
        BlockAt { launch: 4, block: 1 },
        BlockAt { launch: 8, block: 2 },
    ];
    let between = |blob: &[u8]| Between {
        kept: Kept { every, blob: BlobHash::of(blob), bytes: Bytes(blob.len() as u64) },
        blocks: picks.clone(),
    };
    // Nothing can be told without it.
    let found = rig.check(&spec, &delivered, &[1]).await;
    assert!(matches!(&found, Ok(Finding::NotCheckable { why }) if why.contains("instructions")), "{found:?}");
    rig.between = Some((between(&blob), Box::new(Provider::Shows(blob.clone()))));
    let equal = Finding::EqualBetween { blocks: picks.clone(), bytes: Bytes(3 * 1024) };
    assert_eq!(rig.check(&spec, &delivered, &[1]).await, Ok(equal));
    // The row after launch 4: 8 rows of one place, four contents of 4 KiB, one block.
    let mut lie = blob.clone();
    lie[64 + 4 * 4096 + 1024 + 9] ^= 2;
    rig.between = Some((between(&lie), Box::new(Provider::Shows(lie.clone()))));
    match rig.check(&spec, &delivered, &[1]).await {
        Ok(Finding::Differs(d)) => {
            assert_eq!((d.launch, d.block, d.offset), (4, Some([1, 0, 0]), 1033));
            assert_eq!(d.expected ^ d.found, 2);
        }
        other => panic!("{other:?}"),
    }
    // What is not shown is told, and the next check is made.
    for (provider, expected) in [
        (Provider::Refuses("it does not hold it"), "it does not hold it"),
        (Provider::IsSilent, "not in time"),
    ] {
        rig.between = Some((between(&blob), Box::new(provider)));
        rig.begin(&spec, &delivered, &[1], Millis(6_000));
        assert_eq!(rig.end().await.1, Ok(Finding::Withheld { why: expected.to_owned() }));
    }
    // Named in its place, a blob of the job itself made the check end in trouble of this node's, which proves nothing.
    let module = spec.program.modules[0].blob;
    for bytes in [Bytes(64), Bytes(1 << 20)] {
        let kept = Kept { every, blob: module, bytes };
        let between = Between { kept, blocks: picks.clone() };
        rig.between = Some((between, Box::new(Provider::Refuses("it does not hold it"))));
        let found = rig.check(&spec, &delivered, &[1]).await;
        assert!(
            matches!(&found, Ok(Finding::Withheld { why }) if why.contains("the blob that it names")),
            "{found:?}"
        );
    }
    let (good, delivered) = scale(&rig.blobs, 1_000);
    assert!(matches!(rig.check(&good, &delivered, &[0]).await, Ok(Finding::Equal { .. })));
}
