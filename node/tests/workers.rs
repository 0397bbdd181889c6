//! Workers for real: children of the real binary, killed, stopped, fed with wrong programs, and replaced by programs
//! that misbehave. After each fault the next job on the device must run.

mod workers {
    pub mod programs;
    pub mod rig;
}

use ion_gpu::{nvml::Readings, worker::isolation::Wall};
use ion_node::owner::Facts;
use ion_node::workers::{BackendChoice, CudaState, Here, Patience};
use ion_protocol::{BlobHash, Bytes, Millis, NodeId, fault::Fault, hardware::Engine, limits, states::States};
use ion_scheduler::input::WorkId;
use rustix::process::{Pid, Signal};
use std::time::Duration;
use tokio::sync::mpsc;
use workers::{
    programs::{self, empty, endless, out_of_bounds, says, scale},
    rig::{CARD, Cards, ION, PATIENCE, Rig, fake, stub_driver, unhurried},
};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_program_gives_its_outputs_and_figures() {
    let mut rig = Rig::start(ION).await;
    assert_eq!(rig.report.cuda, CudaState::NotAsked);
    let device = &rig.report.devices[0];
    assert_eq!((device.index, device.engine), (0, Engine::CpuJit));
    assert!(device.power.f32_mflops > 0 && device.power.memory_mbps > 0 && !device.model.is_empty());

    // 512 Ki elements are 2 MiB: more than one piece, and too large to travel inline.
    for elements in [1000, 512 * 1024] {
        let (spec, expected) = scale(&rig.blobs, elements);
        let report = rig.run(spec).await.unwrap();
        assert_eq!(report.engine, Engine::CpuJit);
        assert_eq!(report.outputs.len(), 1);
        assert_eq!(report.outputs[0].bytes, Bytes(elements * 4));
        assert_eq!(rig.blobs.read(&report.outputs[0].hash), expected);
        assert!(report.device_time.0 > 0);
        let inline: Vec<&[u8]> = report.inline.iter().map(|blob| &blob.bytes[..]).collect();
        let small = elements * 4 <= limits::INLINE_BYTES_MAX as u64;
        assert_eq!(inline, if small { vec![&expected[..]] } else { vec![] });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_serves_one_tenant_and_is_gone_before_the_next() {
    let mut rig = Rig::start(ION).await;
    rig.expect_good().await;
    let before = rig.both_children().await;
    rig.expect_good().await;
    assert_eq!(rig.children(), before, "the same tenant goes on in the same process");
    rig.tenant = NodeId([2; 32]);
    rig.expect_good().await;
    let stayed = rig.children().iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(stayed, 1, "the spare took over, and the other tenant's process is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_at_rest_holds_no_children_and_works_again_when_asked() {
    let mut rig = Rig::start(ION).await;
    rig.expect_good().await;
    let before = rig.both_children().await;
    rig.handle.rest(0);
    rig.children_when("none at rest", <[Pid]>::is_empty).await;
    rig.expect_good().await;
    let after = rig.both_children().await;
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} and then {after:?}");
    rig.handle.wake(0);
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_shut_in_as_the_probe_says() {
    let mut rig = Rig::start(ION).await;
    rig.expect_good().await;
    let found = rig.report.isolation.clone().expect("the probe tried");
    let status = |pid: Pid| std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    let children: Vec<String> = rig.children().into_iter().filter_map(|pid| status(pid).ok()).collect();
    // One at least has run a job; the spare may still be starting.
    let with = |line: &str| children.iter().any(|status| status.lines().any(|found| found == line));
    assert!(with("NoNewPrivs:\t1"), "{children:?}");
    match &found.calls {
        Wall::Stands { .. } => assert!(with("Seccomp:\t2") && found.is_whole(), "{found}: {children:?}"),
        Wall::Absent { .. } => assert!(!found.is_whole() && found.hint().is_some(), "{found}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_program_is_told_and_the_next_job_runs() {
    let mut rig = Rig::start(ION).await;

    let fault = rig.run(programs::text(&rig.blobs, "this is not PTX", "k")).await.unwrap_err();
    assert!(matches!(fault, Fault::Ptx { line: 1, .. }), "{fault:?}");
    rig.expect_good().await;

    let fault = rig.run(programs::text(&rig.blobs, programs::EMPTY, "absent")).await.unwrap_err();
    assert!(matches!(&fault, Fault::Program { message } if message.contains("absent")), "{fault:?}");
    rig.expect_good().await;

    let fault = rig.run(out_of_bounds(&rig.blobs)).await.unwrap_err();
    assert!(matches!(&fault, Fault::OutOfBounds { space, .. } if space == "global"), "{fault:?}");
    rig.expect_good().await;

    let mut spec = endless(&rig.blobs);
    spec.limits.run = Millis(300);
    assert_eq!(rig.run(spec).await.unwrap_err(), Fault::RunTime { limit: Millis(300) });
    rig.expect_good().await;

    let offered = rig.report.devices[0].memory;
    let mut spec = programs::zeros(&rig.blobs, offered.0 + MIB);
    spec.limits.memory = Bytes(1 << 40);
    let needed = Bytes(offered.0 + MIB);
    assert_eq!(rig.run(spec).await.unwrap_err(), Fault::Memory { needed, limit: offered });
    rig.expect_good().await;
}

/// Registers of called functions have their place all the time, so a modest text asks for much of them.
fn registers(functions: usize, each: usize) -> String {
    let head = ".version 7.0\n.target sm_52\n.address_size 64\n".to_owned();
    let body =
        (0..each).fold(format!(".reg .b64 %x<{each}>;\n"), |body, n| body + &format!("mov.u64 %x{n}, 0;\n"));
    let functions = 0..functions;
    let text = functions.clone().fold(head, |text, f| text + &format!(".func f{f}()\n{{\n{body}}}\n"));
    functions.fold(text + ".visible .entry k()\n{\n", |text, f| text + &format!("call f{f};\n")) + "}\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_grow_are_told_by_name_and_the_largest_state_fits_a_child() {
    let mut rig = Rig::start(ION).await;
    // Whatever a job's own memory is, its registers fit beside it, or are refused before any is taken.
    for (functions, fits) in [(2, true), (3, false)] {
        let mut spec = programs::text(&rig.blobs, &registers(functions, 60_000), "k");
        spec.limits.memory = Bytes(MIB);
        match rig.run(spec).await {
            Ok(_) => assert!(fits, "{functions} functions"),
            Err(fault) => assert!(!fits && matches!(fault, Fault::Memory { .. }), "{functions}: {fault:?}"),
        }
        rig.expect_good().await;
    }
    // Each function calls the one before twice, and the first does nothing.
    let twice = |f: usize| format!(".func f{f}()\n{{\ncall f{0};\ncall f{0};\n}}\n", f - 1);
    let calls: String = (1..31).map(twice).collect();
    let text = format!(
        "{}\n.func f0()\n{{\n}}\n{calls}.visible .entry k()\n{{\ncall f30;\n}}\n",
        ".version 7.0\n.target sm_52\n.address_size 64"
    );
    let fault = rig.run(programs::text(&rig.blobs, &text, "k")).await.unwrap_err();
    assert!(matches!(&fault, Fault::Ptx { message, .. } if message.contains("written out")), "{fault:?}");
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_that_are_absent_or_wrong_never_run() {
    let mut rig = Rig::start(ION).await;
    let (spec, _) = scale(&rig.blobs, 256 * 1024);
    let input = spec.program.blobs()[1].0;
    let good = rig.blobs.read(&input);

    let mut wrong = good.clone();
    wrong[777_777] ^= 1;
    rig.blobs.damage(&input, Some(&wrong));
    let fault = rig.run(spec.clone()).await.unwrap_err();
    assert!(
        matches!(&fault, Fault::Inputs { message } if message.contains("other bytes than its name")),
        "{fault:?}"
    );

    rig.blobs.damage(&input, Some(&good[..1000]));
    assert!(matches!(rig.run(spec.clone()).await.unwrap_err(), Fault::Inputs { .. }));
    rig.blobs.damage(&input, Some(&[&good[..], &[0]].concat()));
    assert!(matches!(rig.run(spec.clone()).await.unwrap_err(), Fault::Inputs { .. }));
    rig.blobs.damage(&input, None);
    assert!(matches!(rig.run(spec.clone()).await.unwrap_err(), Fault::Inputs { .. }));

    rig.blobs.damage(&input, Some(&good));
    rig.run(spec).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_job_and_not_the_node() {
    let mut rig = Rig::start(ION).await;
    rig.blobs.room(1000);
    let (spec, _) = scale(&rig.blobs, 64 * 1024);
    let fault = rig.run(spec.clone()).await.unwrap_err();
    assert!(matches!(&fault, Fault::Room { message } if message.contains("storage")), "{fault:?}");
    rig.blobs.room(u64::MAX);
    rig.run(spec).await.unwrap();
}

/// A run is over when its outputs begin to come: how long a disk takes for them is held against neither the child, which
/// nobody listens to meanwhile, nor the job's limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_is_no_silence_and_no_time_of_the_run() {
    let patience = Patience { silence: Duration::from_secs(5), ..unhurried() };
    let mut rig = Rig::start_with(ION, BackendChoice::Cpu, patience).await;
    // More than is held between the pipe and the disk.
    let (mut spec, expected) = scale(&rig.blobs, 512 * 1024);
    spec.limits.run = Millis(6_000);
    let taken = rig.blobs.disk.clone().lock_owned().await;
    let work = rig.begin(spec);
    let early = tokio::time::timeout(Duration::from_secs(8), rig.end(work)).await;
    assert!(early.is_err(), "the disk takes nothing: {early:?}");
    drop(taken);
    let report = rig.end(work).await.unwrap();
    assert_eq!(rig.blobs.read(&report.outputs[0].hash), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_killed_crashes_or_hangs_is_told_as_such() {
    let mut rig = Rig::start(ION).await;
    for (signal, words) in [(Signal::KILL, "SIGKILL"), (Signal::ABORT, "SIGABRT"), (Signal::SEGV, "SIGSEGV")]
    {
        let work = rig.begin(endless(&rig.blobs));
        rig.progress(work).await;
        rig.signal_until_end(work, signal).await;
        let fault = rig.end(work).await.unwrap_err();
        assert!(matches!(&fault, Fault::WorkerCrashed { how } if how.contains(words)), "{fault:?}");
        rig.expect_good().await;
    }
    let patience = Patience { silence: Duration::from_secs(5), ..unhurried() };
    let mut rig = Rig::start_with(ION, BackendChoice::Cpu, patience).await;
    let work = rig.begin(endless(&rig.blobs));
    rig.progress(work).await;
    rig.signal_busy_child(work, Signal::STOP).await;
    let fault = rig.end(work).await.unwrap_err();
    assert!(matches!(fault, Fault::WorkerHung { silent } if silent >= Millis(5_000)), "{fault:?}");
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_that_dies_while_it_waits_costs_nothing() {
    let mut rig = Rig::start(ION).await;
    rig.expect_good().await;
    rig.kill_both_children().await;
    rig.expect_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_stopped_while_they_run_and_while_they_wait() {
    let mut rig = Rig::start(ION).await;
    let first = rig.begin(endless(&rig.blobs));
    let second = rig.begin(endless(&rig.blobs));
    rig.progress(first).await;
    rig.handle.stop(second);
    rig.handle.stop(first);
    rig.handle.stop(WorkId(999));
    assert_eq!(rig.end(first).await.unwrap_err(), Fault::Cancelled);
    assert_eq!(rig.end(second).await.unwrap_err(), Fault::Cancelled);
    rig.expect_good().await;
    let absent = rig.handle.run(WorkId(1000), rig.tenant, 7, Box::new(empty(&rig.blobs)), false);
    assert!(matches!(absent, Err(Fault::NoDevice { .. })));
}

/// What the library says of its first card.
fn readings(celsius: u16) -> Readings {
    Readings {
        celsius: Some(celsius),
        celsius_max: Some(90),
        watts: Some(123),
        watts_max: Some(700),
        sm_mhz: Some(1001),
        sm_mhz_max: Some(2001),
        memory_mhz: Some(1002),
        memory_mhz_max: Some(2002),
        memory: Some(Bytes(1 << 30)),
        memory_used: Some(Bytes(1 << 20)),
        busy_percent: Some(97),
        memory_busy_percent: Some(41),
        ecc: Some(true),
        ecc_errors: Some(3),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_are_watched_and_own_children_are_told_from_others() {
    let Some(cards) = Cards::new() else { return eprintln!("skipped: no C compiler") };
    let mut rig = Rig::start(cards.program.path()).await;
    rig.expect_good().await;
    let (to, mut sights) = mpsc::channel(1);
    let uuids = ["GPU-of-nobody", CARD].map(str::to_owned).to_vec();
    cards.say(55, &[1]);
    rig.handle.watch(uuids, to);
    let mut until = async |what: &str, wanted: Facts| {
        let seen = async {
            loop {
                let sight = sights.recv().await.expect("it is watched");
                assert_eq!(sight[0], (0, Facts::default()), "a card that is not there");
                if sight[1] == (1, wanted) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{what}"));
    };
    let card = |celsius, others| Facts { readings: readings(celsius), others };
    until("as long as none of ours was seen, the numbers may be others", card(55, None)).await;
    let ours: Vec<i32> = rig.children().iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    cards.say(56, &ours);
    until("our own children are nobody else", card(56, Some(0))).await;
    cards.say(56, &[ours[0], 1]);
    until("somebody else is seen", card(56, Some(1))).await;
    cards.say(57, &[]);
    until("everybody left", card(57, Some(0))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_library_nothing_is_known_and_nobody_goes_on_asking() {
    let rig = Rig::start(ION).await;
    let (to, mut sights) = mpsc::channel(1);
    rig.handle.watch(vec![CARD.to_owned()], to);
    let seen = async { (sights.recv().await, sights.recv().await) };
    let seen = tokio::time::timeout(PATIENCE, seen).await.expect("an answer in time");
    if seen.1.is_some() {
        return eprintln!("skipped: NVIDIA's management library is installed here");
    }
    assert_eq!(seen, (Some(vec![(0, Facts::default())]), None));
}

/// Starts a node on a fake that passes probes on to the real program and otherwise does `behaviour` as long as the file
/// `bad` is beside it; gives the fault of one job and then expects a good one.
async fn fault_of(behaviour: &str) -> Fault {
    fault_within(unhurried(), behaviour).await
}

/// The same, with a patience that is to end.
async fn fault_within(patience: Patience, behaviour: &str) -> Fault {
    let fake = fake(&format!(
        "case $2 in --probe) exec {ION} \"$@\";; esac\necho $$ >> $0.pids\n[ -e $0.bad ] || exec {ION} \"$@\"\n{behaviour}"
    ));
    let bad = format!("{}.bad", fake.path());
    std::fs::write(&bad, "").unwrap();
    let mut rig = Rig::start_with(fake.path(), BackendChoice::Cpu, patience).await;
    let mut spec = empty(&rig.blobs);
    spec.limits.run = Millis(1000);
    let fault = rig.run(spec).await.unwrap_err();
    std::fs::remove_file(&bad).unwrap();
    // A spare may have been made while the program was bad, and would take the next job: whoever looked for the file
    // before it went has said so.
    kill_all(&format!("{}.pids", fake.path()));
    rig.expect_good().await;
    fault
}

/// Kills the processes named in a file, one a line.
fn kill_all(file: &str) {
    let pids = std::fs::read_to_string(file).unwrap();
    pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).for_each(|pid| {
        // Those that misbehaved are gone already.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    });
}

/// The octal escapes of a frame, for `printf`.
fn escaped(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

fn said(message: &ion_gpu::worker::frame::FromWorker) -> String {
    format!("printf '{}'\n", escaped(&ion_gpu::worker::frame::message_frame(message)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_no_workers_are_told_as_what_they_are() {
    use ion_gpu::worker::frame::FromWorker;
    let ready = said(&FromWorker::Ready);
    let progress = said(&FromWorker::Progress { done: 0, total: 1 });
    let started = said(&FromWorker::Started);

    let fault = fault_of("echo the driver is on fire >&2; exit 7").await;
    assert!(
        matches!(&fault, Fault::WorkerCrashed { how } if how.contains("exit code 7") && how.contains("the driver is on fire")),
        "{fault:?}"
    );
    let fault = fault_of("echo hello there, this is no frame; exec sleep 60").await;
    assert!(matches!(&fault, Fault::WorkerProtocol { .. }), "{fault:?}");
    let fault = fault_of(&format!("{ready}exec cat /dev/urandom")).await;
    assert!(matches!(&fault, Fault::WorkerProtocol { .. }), "{fault:?}");
    let fault = fault_of(&format!("{ready}while :; do {progress}done")).await;
    assert!(matches!(&fault, Fault::WorkerProtocol { message } if message.contains("flood")), "{fault:?}");
    let fault = fault_of(&format!("{ready}{progress}cat /dev/zero >&2")).await;
    assert!(matches!(&fault, Fault::Output { .. }), "{fault:?}");
    let late = Patience { start: Duration::from_secs(6), ..unhurried() };
    let fault = fault_within(late, "exec sleep 600").await;
    assert!(matches!(&fault, Fault::WorkerHung { .. }), "{fault:?}");
    let silent = Patience { silence: Duration::from_secs(5), ..unhurried() };
    let fault = fault_within(silent, &format!("{ready}{progress}exec sleep 600")).await;
    assert!(matches!(&fault, Fault::WorkerHung { .. }), "{fault:?}");
    // Alive, and never done.
    let alive = format!("{ready}{progress}{started}while :; do {progress}sleep 0.2; done");
    assert_eq!(fault_of(&alive).await, Fault::RunTime { limit: Millis(1000) });
    // Done without its output, and an output nobody asked for.
    let done = said(&FromWorker::Done(ion_gpu::worker::frame::Summary::default()));
    let fault = fault_of(&format!("{ready}{progress}{started}{done}exec sleep 60")).await;
    assert!(matches!(&fault, Fault::WorkerProtocol { .. }), "{fault:?}");
    let output = said(&FromWorker::Output { buffer: 0, bytes: Bytes(1 << 40) });
    let fault = fault_of(&format!("{ready}{progress}{started}{output}exec cat /dev/zero")).await;
    assert!(matches!(&fault, Fault::WorkerProtocol { .. }), "{fault:?}");
}

/// A deadline that nothing has to keep, and that is waited for.
fn of_a_driver_that_hangs() -> Patience {
    Patience { driver: Duration::from_secs(1), ..unhurried() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_end_in_a_typed_answer_whatever_the_driver_does() {
    let ask = async |script: String, patience: Patience| {
        let fake = fake(&script);
        Rig::start_with(fake.path(), BackendChoice::Auto, patience).await.report
    };
    // The processor's probe goes to the real program in all of them.
    let cuda_only = |behaviour: &str| format!("case $3 in cuda) {behaviour};; *) exec {ION} \"$@\";; esac");

    let report = ask(cuda_only("exec sleep 600"), of_a_driver_that_hangs()).await;
    assert_eq!(report.cuda, CudaState::ProbeHung { after: Millis(1000) });
    assert_eq!(report.devices.len(), 1, "the processor is offered all the same");
    let report = ask(cuda_only("kill -SEGV $$"), unhurried()).await;
    assert!(matches!(&report.cuda, CudaState::ProbeCrashed { how } if how.contains("SIGSEGV")), "{report:?}");
    let report = ask(cuda_only("echo the GPU is fine, thanks for asking"), unhurried()).await;
    assert!(matches!(report.cuda, CudaState::ProbeBabbled { .. }), "{report:?}");
    let report = ask(cuda_only("exec cat /dev/zero"), unhurried()).await;
    assert!(matches!(report.cuda, CudaState::ProbeBabbled { .. }), "{report:?}");

    let report = ask("kill -SEGV $$".to_owned(), unhurried()).await;
    assert!(report.devices.is_empty() && report.cpu_trouble.is_some(), "{report:?}");
    let report = Rig::start_with("/nowhere/ion", BackendChoice::Auto, unhurried()).await.report;
    assert!(matches!(report.cuda, CudaState::ProbeCrashed { .. }), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stub_drivers_are_told_from_real_ones() {
    let ask = async |dir: &tempfile::TempDir, patience: Patience| {
        let fake = fake(&format!("LD_LIBRARY_PATH={} exec {ION} \"$@\"", dir.path().display()));
        Rig::start_with(fake.path(), BackendChoice::Auto, patience).await.report
    };
    let bogus = tempfile::tempdir().unwrap();
    std::fs::write(bogus.path().join("libcuda.so"), "not a library").unwrap();
    std::fs::write(bogus.path().join("libcuda.so.1"), "not a library").unwrap();
    let report = ask(&bogus, unhurried()).await;
    assert!(matches!(report.cuda, CudaState::StubLibrary { .. }) || is_real(&report.cuda), "{report:?}");

    let all = "return 0";
    for (init, expected) in [
        ("return 34", "StubLibrary"),
        ("return 100", "NoDevice"),
        ("return 999", "InitFailed"),
        ("return -77", "InitFailed"),
        ("*(volatile int *)0 = 1; return 0", "ProbeCrashed"),
        ("for (;;) pause(); return 0", "ProbeHung"),
        (all, "NoDevice"),
    ] {
        let Some(stub) = stub_driver(init, true) else {
            eprintln!("skipped: stub drivers (no C compiler `cc` here)");
            return;
        };
        // Only what hangs is held to a time.
        let patience = if expected == "ProbeHung" { of_a_driver_that_hangs() } else { unhurried() };
        let report = ask(&stub, patience).await;
        assert!(format!("{:?}", report.cuda).starts_with(expected), "{init}: {report:?}");
        assert!(report.cuda.hint().is_some());
        assert_eq!(report.devices.len(), 1, "the processor is offered all the same");
    }
    let stub = stub_driver("return 0", false).unwrap();
    let report = ask(&stub, unhurried()).await;
    assert!(matches!(&report.cuda, CudaState::StubLibrary { why } if why.contains("lacks")), "{report:?}");
}

fn is_real(state: &CudaState) -> bool {
    matches!(state, CudaState::Works { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_tells_every_figure() {
    let rig = Rig::start(ION).await;
    let (spec, expected) = scale(&rig.blobs, 100_000);
    let mut heard = Vec::new();
    let stop = tokio_util::sync::CancellationToken::new();
    let here = Here::find(&rig.config, rig.blobs.clone()).await.unwrap();
    let report = here.run(spec, stop, &mut |done, total| heard.push((done, total))).await.unwrap();
    assert_eq!(rig.blobs.read(&report.outputs[0].hash), expected);
    assert_eq!(report.bytes_out, Bytes(400_000));
    assert!(report.bytes_in > Bytes(400_000));
    let summary = &report.summary;
    assert!(summary.interpreted <= summary.instructions && summary.instructions > Some(0), "{summary:?}");
    let [kernel] = &report.summary.kernels[..] else { panic!("{report:?}") };
    assert_eq!(
        (kernel.kernel.as_str(), kernel.launches, kernel.total),
        ("scale", 1, report.summary.device_time)
    );
    assert!(!heard.is_empty() && heard.iter().all(|&(done, total)| done <= total && total == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kernel_prints_comes_with_its_report() {
    let mut rig = Rig::start(ION).await;
    assert_eq!(rig.run(says(&rig.blobs)).await.unwrap().printed, "hi 7\n");
    // The child that said it serves the next job of its tenant, which says nothing.
    assert_eq!(rig.run(empty(&rig.blobs)).await.unwrap().printed, "");
}

/// What is committed to is the memory after every launch but the last, and a run is as good where it can't be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_between_launches_is_kept_where_it_is_wanted() {
    let mut rig = Rig::start(ION).await;
    let spec = programs::long_walk(&rig.blobs);
    let plain = rig.run(spec.clone()).await.unwrap();
    assert_eq!(plain.states, States::NotAsked);
    rig.keep_states = true;
    let report = rig.run(spec.clone()).await.unwrap();
    assert_eq!(report.outputs, plain.outputs);
    let States::Kept(kept) = report.states else { panic!("{:?}", report.states) };
    // Eight rows of one place, and 4 KiB each.
    assert_eq!((kept.every, kept.bytes), (1, Bytes(8 * (8 + 4096))));
    let blob = rig.blobs.read(&kept.blob);
    assert_eq!((blob.len() as u64, BlobHash::of(&blob)), (kept.bytes.0, kept.blob));
    let first = u32::from_le_bytes(blob[68..72].try_into().unwrap());
    assert_eq!(
        first,
        (0..30_000).fold(77u32, |x, _| x.wrapping_mul(3).wrapping_add(1)),
        "thread 1 after launch 0"
    );
    // Enough for the output, not for that.
    rig.blobs.room(8_192);
    let report = rig.run(spec).await.unwrap();
    assert_eq!(report.outputs, plain.outputs);
    assert!(matches!(&report.states, States::EndsOnly { why } if why.contains("could not be stored")));
    // One launch has nothing between.
    rig.blobs.room(u64::MAX);
    let (short, _) = scale(&rig.blobs, 300);
    assert!(matches!(rig.run(short).await.unwrap().states, States::EndsOnly { why } if !why.is_empty()));
}
