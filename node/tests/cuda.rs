//! The CUDA engine in real worker children, on an imitation of the driver: what a card's owner sees when all goes well, and
//! whatever goes wrong. What is computed is compared bit for bit with the CPU engine; what only a card can show, such as
//! time, is not looked at (`node/tests/card.rs` does, where there is one).

mod workers {
    pub mod programs;
    pub mod rig;
}

use ion_gpu::worker::isolation::Wall;
use ion_node::workers::{BackendChoice, CudaState, KeepFree, ProbeReport, WorkersConfig};
use ion_protocol::{
    Bytes, Millis, NodeId,
    fault::{Blame, Fault},
    hardware::{ComputeCapability, Engine},
    states::States,
};
use std::path::Path;
use tokio::sync::mpsc;
use workers::{
    programs::{self, endless, out_of_bounds, scale, text},
    rig::{CARD, Cards, ION, Imitation, PARTITIONED, PARTS, PATIENCE, Rig, unhurried},
};

/// What a node finds that keeps its figures in `file`: the rate of the only card.
async fn rate(settings: &str, file: &Path) -> u64 {
    let imitation = Imitation::new(settings);
    let config = WorkersConfig {
        exe: imitation.program.path().into(),
        backend: BackendChoice::Cuda,
        memory_max: Bytes::ZERO,
        keep_free: KeepFree::NOTHING,
        measured: Some(file.to_owned()),
    };
    ion_node::workers::look(config).await.devices[0].power.f32_mflops
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_measured_once_for_each_driver_and_clock() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("measured.json");
    let first = rate("", &file).await;
    assert!(first > 0);
    // A figure that no measurement gives shows which one is used.
    const MARK: u64 = 123_456_789_012;
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("imitation, GPU-") && kept.contains("CUDA 13000") && kept.contains("1000000 kHz"));
    std::fs::write(&file, kept.replace(&first.to_string(), &MARK.to_string())).unwrap();
    assert_eq!(rate("", &file).await, MARK);
    for other in ["driver=13010", "clock=1200000", "first=7"] {
        assert_ne!(rate(other, &file).await, MARK, "{other}");
    }
    assert_eq!(rate("", &file).await, MARK, "what was known is not forgotten for that");
}

const HEAD: &str = ".version 6.0\n.target sm_52\n.address_size 64\n";

async fn rig(settings: &str) -> (Rig, Imitation) {
    let imitation = Imitation::new(settings);
    let rig = Rig::start_with(imitation.program.path(), BackendChoice::Cuda, unhurried()).await;
    (rig, imitation)
}

async fn report(settings: &str) -> ProbeReport {
    rig(settings).await.0.report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_program_gives_the_bits_of_the_processor() {
    let (mut card, _imitation) = rig("").await;
    let mut processor = Rig::start(ION).await;
    let device = &card.report.devices[0];
    assert_eq!((device.model.as_str(), device.engine), ("imitation", Engine::Cuda), "and no card");
    assert_eq!(device.capability, ComputeCapability { major: 9, minor: 0 });
    assert!((Bytes(1 << 30)..Bytes(2 << 30)).contains(&device.memory), "{}", device.memory);
    assert!(device.power.f32_mflops > 0 && device.power.memory_mbps > 0);
    for elements in [1, 1000, 512 * 1024] {
        let (spec, expected) = scale(&card.blobs, elements);
        let report = card.run(spec).await.unwrap();
        assert_eq!((report.engine, report.device.as_str()), (Engine::Cuda, "imitation"));
        assert_eq!(card.blobs.read(&report.outputs[0].hash), expected);
        let (spec, _) = scale(&processor.blobs, elements);
        assert_eq!(processor.run(spec).await.unwrap().outputs, report.outputs);
    }
}

/// What is committed to between launches is the same as the CPU engine's, or an honest card would be called a liar.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_between_launches_is_that_of_the_processor() {
    let (mut card, _imitation) = rig("").await;
    let mut processor = Rig::start(ION).await;
    (card.keep_states, processor.keep_states) = (true, true);
    let spec = programs::long_walk(&card.blobs);
    let on_card = card.run(spec).await.unwrap();
    let spec = programs::long_walk(&processor.blobs);
    let on_processor = processor.run(spec).await.unwrap();
    assert!(matches!(on_card.states, States::Kept(_)), "{:?}", on_card.states);
    assert_eq!((on_card.outputs, on_card.states), (on_processor.outputs, on_processor.states));
}

/// The faults that a stranger's kernel can cause: told as the job's, and the device goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_kernel_is_the_jobs_and_the_next_job_runs() {
    let (mut rig, _imitation) = rig("").await;
    let kernel = |body: &str| format!("{HEAD}.visible .entry k()\n{{\n{body}\n}}\n");
    let misaligned = kernel(".shared .align 4 .b8 s[8]; .reg .b32 %a; ld.shared.u32 %a, [s+1]; ret;");
    let assertion = format!(
        "{HEAD}.extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n\
         .global .align 1 .b8 word[2] = {{104, 0}};\n.visible .entry k()\n{{\n.reg .b64 %a; .reg .b32 %b;\n\
         mov.u64 %a, word; cvta.global.u64 %a, %a; mov.u32 %b, 1;\n{{ .param .b64 p; .param .b64 q; .param .b32 r; \
         .param .b64 s; .param .b64 t; st.param.b64 [p], %a; st.param.b64 [q], %a; st.param.b32 [r], %b; \
         st.param.b64 [s], %a; st.param.b64 [t], %a; call.uni __assertfail, (p, q, r, s, t); }}\nret;\n}}\n"
    );
    let cases = [
        ("ILLEGAL_ADDRESS", out_of_bounds(&rig.blobs)),
        ("LAUNCH_FAILED", text(&rig.blobs, &kernel("trap;"), "k")),
        ("MISALIGNED_ADDRESS", text(&rig.blobs, &misaligned, "k")),
        ("ASSERT", text(&rig.blobs, &assertion, "k")),
    ];
    for (code, spec) in cases {
        let fault = rig.run(spec).await.unwrap_err();
        assert!(
            matches!(&fault, Fault::Device { code: found, .. } if found.ends_with(code)),
            "{code}: {fault:?}"
        );
        assert_eq!(fault.blame(), Blame::Job);
        rig.expect_good().await;
    }
    let fault = rig.run(text(&rig.blobs, "this is not PTX", "k")).await.unwrap_err();
    assert!(matches!(fault, Fault::Ptx { line: 1, .. }), "{fault:?}");
    rig.expect_good().await;
    let newer = programs::EMPTY.replace("sm_52", "sm_100");
    let fault = rig.run(text(&rig.blobs, &newer, "empty")).await.unwrap_err();
    assert!(matches!(fault, Fault::NoDevice { .. }), "another's device may be newer: {fault:?}");
    rig.expect_good().await;
}

/// A driver prints by itself what kernels say; that nobody hears it there is no fault of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kernels_that_say_much_run_on_a_card_too() {
    let (mut rig, _imitation) = rig("").await;
    rig.run(programs::shouts(&rig.blobs)).await.unwrap();
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_end_what_never_would_and_the_next_job_runs() {
    let (mut rig, _imitation) = rig("at=lost:0").await;
    // The second hangs on the device where no instruction can be counted.
    for spec in [endless(&rig.blobs), text(&rig.blobs, &programs::EMPTY.replace("empty", "lost"), "lost")] {
        let mut spec = spec;
        spec.limits.run = Millis(300);
        assert_eq!(rig.run(spec).await.unwrap_err(), Fault::RunTime { limit: Millis(300) });
        rig.expect_good().await;
    }
    let offered = rig.report.devices[0].memory;
    let mut spec = programs::zeros(&rig.blobs, offered.0 + 1);
    spec.limits.memory = Bytes(1 << 40);
    let needed = Bytes(offered.0 + 1);
    assert_eq!(rig.run(spec).await.unwrap_err(), Fault::Memory { needed, limit: offered });
    rig.expect_good().await;
    let work = rig.begin(endless(&rig.blobs));
    rig.progress(work).await;
    rig.handle.stop(work);
    assert_eq!(rig.end(work).await.unwrap_err(), Fault::Cancelled);
    rig.expect_good().await;
}

/// What is no doing of the job is the host's, so that it is tried elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_fails_is_the_hosts_fault() {
    for (code, name) in [(214, "ECC_UNCORRECTABLE"), (46, "DEVICE_UNAVAILABLE"), (999, "UNKNOWN")] {
        let (mut rig, _imitation) = rig(&format!("at=lost:{code}")).await;
        let lost = text(&rig.blobs, &programs::EMPTY.replace("empty", "lost"), "lost");
        let fault = rig.run(lost).await.unwrap_err();
        assert!(matches!(&fault, Fault::Driver { message } if message.contains(name)), "{fault:?}");
        assert_eq!(fault.blame(), Blame::Host);
        rig.expect_good().await;
    }
    // Others took the memory that the driver said was free.
    let (mut rig, _imitation) = rig("alloc=300000000").await;
    let fault = rig.run(programs::zeros(&rig.blobs, 300_000_001)).await.unwrap_err();
    assert!(matches!(&fault, Fault::Room { message } if message.contains("no memory left")), "{fault:?}");
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_having_no_card_has_its_own_answer() {
    for (settings, expected) in [
        ("driver=10020", "OldDriver"),
        ("memory=1000000000", "KernelFailed"),
        ("init=999", "InitFailed"),
        ("init=803", "InitFailed"),
        ("init=100", "NoDevice"),
        ("devices=0", "NoDevice"),
        ("wrong=0", "KernelFailed"),
        ("alloc=100", "KernelFailed"),
    ] {
        let report = report(settings).await;
        assert!(format!("{:?}", report.cuda).starts_with(expected), "{settings}: {report:?}");
        assert!(report.devices.is_empty() && report.cuda.hint().is_some(), "{settings}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_computes_wrongly_is_left_out_by_name_and_the_others_lent() {
    let (mut rig, _imitation) = rig("devices=3 wrong=1").await;
    let CudaState::Works { left_out, .. } = &rig.report.cuda else { panic!("{:?}", rig.report.cuda) };
    assert!(matches!(&left_out[..], [one] if one.starts_with("device 1: ")), "{left_out:?}");
    let indices: Vec<u16> = rig.report.devices.iter().map(|device| device.index).collect();
    assert_eq!(indices, [0, 1]);
    assert_ne!(rig.report.uuids[0], rig.report.uuids[1]);
    // The second that is lent is the driver's third, and computes rightly.
    let (spec, expected) = scale(&rig.blobs, 300);
    let work = rig.begin_on(1, spec);
    assert_eq!(rig.end(work).await.unwrap().inline[0].bytes, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_devices_work_side_by_side_and_fail_each_for_itself() {
    let (mut rig, _imitation) = rig("devices=2").await;
    assert_eq!(rig.report.devices.len(), 2);
    let stuck = rig.begin_on(0, endless(&rig.blobs));
    rig.progress(stuck).await;
    let bad = rig.begin_on(1, out_of_bounds(&rig.blobs));
    assert_eq!(rig.end(bad).await.unwrap_err().blame(), Blame::Job);
    let (spec, expected) = scale(&rig.blobs, 300);
    let good = rig.begin_on(1, spec);
    assert_eq!(rig.end(good).await.unwrap().inline[0].bytes, expected, "while the other is busy");
    rig.handle.stop(stuck);
    assert_eq!(rig.end(stuck).await.unwrap_err(), Fault::Cancelled);
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_shut_in_once_their_device_is_open_and_serve_one_tenant() {
    let (mut rig, _imitation) = rig("").await;
    rig.expect_good().await;
    let found = rig.report.isolation.clone().expect("the probe tried");
    let children = rig.both_children().await;
    let status = |pid: &rustix::process::Pid| {
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default()
    };
    let shut_in = children.iter().any(|pid| status(pid).lines().any(|line| line == "Seccomp:\t2"));
    assert_eq!(shut_in, matches!(found.calls, Wall::Stands { .. }), "{found}");
    rig.tenant = NodeId([2; 32]);
    rig.expect_good().await;
    let stayed = rig.children().iter().filter(|pid| children.contains(pid)).count();
    assert_eq!(stayed, 1, "the spare took over, and the other tenant's process is gone");
}

/// Parts of a card have their own names and memory, and their card's model; the driver shows one to a process, and all are
/// lent. A card in parts is none itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_card_are_seen_as_what_they_are() {
    let Some(cards) = Cards::new() else { return eprintln!("skipped: no C compiler") };
    let cards = cards.with_imitation("mig=1");
    cards.say(50, &[]);
    let mut rig = Rig::start_with(cards.program.path(), BackendChoice::Cuda, unhurried()).await;
    let models: Vec<String> = rig.report.devices.iter().map(|device| device.model.clone()).collect();
    assert_eq!(models, ["imitation MIG 1g.10gb", "imitation MIG 3g.30gb"]);
    assert_eq!(rig.report.uuids, PARTS);
    let CudaState::Works { left_out, .. } = &rig.report.cuda else { panic!("{:?}", rig.report.cuda) };
    assert!(left_out.is_empty(), "{left_out:?}");
    // Each is at work in children that see it and no other.
    let newer = text(&rig.blobs, &programs::EMPTY.replace("sm_52", "sm_100"), "empty");
    for (device, model) in models.iter().enumerate() {
        let work = rig.begin_on(device as u16, newer.clone());
        let fault = rig.end(work).await.unwrap_err();
        assert!(matches!(&fault, Fault::NoDevice { message } if message.contains(model)), "{fault:?}");
        let (spec, expected) = scale(&rig.blobs, 300);
        let work = rig.begin_on(device as u16, spec);
        assert_eq!(rig.end(work).await.unwrap().inline[0].bytes, expected);
    }
    let seen = rig.report.cards.as_deref().expect("there is a library");
    let told: Vec<(&str, Option<&str>, Option<Bytes>)> =
        seen.iter().map(|card| (&card.uuid[..], card.part_of.as_deref(), card.readings.memory)).collect();
    let gib = |n: u64| Some(Bytes(n << 30));
    let (first, second) = ((CARD, None, gib(1)), (PARTITIONED, None, gib(2)));
    let parts = [(PARTS[0], Some(PARTITIONED), gib(3)), (PARTS[1], Some(PARTITIONED), gib(4))];
    assert_eq!(told, [first, second, parts[0], parts[1]]);
    assert!(seen.iter().map(|card| card.partitioned).eq([false, true, false, false]));
    assert_eq!(seen[2].readings.celsius, Some(50), "a part is as warm as its card");
    assert_eq!(seen[2].readings.busy_percent, None, "and not as busy");
    // What is watched of it is its own.
    let (to, mut sights) = mpsc::channel(1);
    rig.handle.watch(rig.report.uuids.clone(), to);
    let sight = tokio::time::timeout(PATIENCE, sights.recv()).await.expect("in time");
    assert_eq!(sight.expect("it is watched")[0].1.readings.memory, gib(3));
}

/// A part that can't be had is told by name, and costs the others nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_the_driver_does_not_show_is_left_out_by_name() {
    let Some(cards) = Cards::new() else { return eprintln!("skipped: no C compiler") };
    // It shows another card, whatever it is asked to show.
    let cards = cards.with_imitation("first=9");
    let report = Rig::start_with(cards.program.path(), BackendChoice::Cuda, unhurried()).await.report;
    let CudaState::Works { left_out, .. } = &report.cuda else { panic!("{:?}", report.cuda) };
    assert_eq!(report.uuids, ["GPU-00000000-0000-0000-0000-000000000009"]);
    assert!(left_out.iter().zip(PARTS).all(|(told, part)| told.starts_with(part)), "{left_out:?}");
    assert_eq!(left_out.len(), 2);
}

/// Where the driver shows the whole of a card in parts all the same, it is not lent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_in_parts_is_not_lent_itself() {
    let Some(cards) = Cards::new() else { return eprintln!("skipped: no C compiler") };
    let cards = cards.with_imitation("devices=2 first=2");
    let report = Rig::start_with(cards.program.path(), BackendChoice::Cuda, unhurried()).await.report;
    let CudaState::Works { left_out, .. } = &report.cuda else { panic!("{:?}", report.cuda) };
    assert!(left_out[0].contains("only its parts are lent"), "{left_out:?}");
    assert_eq!(report.devices.len(), 1);
}
