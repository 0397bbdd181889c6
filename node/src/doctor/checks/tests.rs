//! Every finding, without a broken machine.

use super::*;
use ion_gpu::{
    nvml::Card,
    worker::isolation::{Hole, Isolation, Wall},
};
use ion_protocol::{
    Millis, UnixMillis,
    hardware::{ComputeCapability, Device, Engine, MeasuredPower},
};
use std::path::PathBuf;

fn facts() -> Facts {
    Facts {
        backend: Backend::Auto,
        device_nodes: vec![(PathBuf::from("/dev/nvidia0"), true), (PathBuf::from("/dev/nvidiactl"), true)],
        kernel_driver: true,
        container: false,
        persistence: true,
        data_dir: PathBuf::from("/srv/ion"),
        disk_free: Ok(Bytes(100 << 30)),
        key: Ok(true),
        user: DirUser::Nobody,
        listen_troubles: Vec::new(),
        listens: 1,
        wall: UnixMillis(WALL_MIN_MS),
        files_ahead: Some(Millis(0)),
        open_files_max: Some(OPEN_FILES_GOOD),
    }
}

fn probed() -> ProbeReport {
    let power = MeasuredPower { f32_mflops: 1, ..MeasuredPower::default() };
    let device = Device {
        index: 0,
        model: "NVIDIA H100".to_owned(),
        engine: Engine::Cuda,
        capability: ComputeCapability { major: 9, minor: 0 },
        memory: Bytes(1 << 30),
        nvrtc: true,
        power,
    };
    ProbeReport {
        cuda: CudaState::Works { driver: 13_000, left_out: Vec::new() },
        cpu_trouble: None,
        nvrtc: true,
        devices: vec![device],
        uuids: vec![String::new()],
        cards: Some(vec![Card { model: "NVIDIA H100".to_owned(), ..Card::default() }]),
        isolation: Some(Isolation {
            files: Wall::Stands { version: 7 },
            calls: Wall::Stands { version: 0 },
            holes: Vec::new(),
        }),
    }
}

fn card(probed: &mut ProbeReport) -> &mut Card {
    &mut probed.cards.as_mut().expect("there is one")[0]
}

#[test]
fn a_card_in_parts_is_in_order() {
    let mut probed = probed();
    card(&mut probed).partitioned = true;
    let of = card(&mut probed).uuid.clone();
    let part = Card { uuid: "MIG-1".to_owned(), part_of: Some(of), ..Card::default() };
    probed.cards.as_mut().expect("there is one").push(part);
    assert_eq!(cards(&probed).verdict, Verdict::Ok);
}

#[test]
fn a_machine_in_order_has_nothing_to_do() {
    for finding in all(&facts(), &probed()) {
        assert_eq!((finding.verdict, finding.hint.as_str()), (Verdict::Ok, ""), "{finding:?}");
    }
}

#[test]
fn each_fact_out_of_order_is_told_by_its_check_with_a_way_out() {
    type Change = fn(&mut Facts, &mut ProbeReport);
    let cases: [(&str, Verdict, &str, Change); 26] = [
        ("devices", Verdict::Problem, "none can be offered", |_, p| p.devices.clear()),
        ("devices", Verdict::Note, "not all measured", |_, p| p.devices[0].power.f32_mflops = 0),
        ("driver", Verdict::Note, "no NVIDIA driver", |_, p| p.cuda = CudaState::NoLibrary),
        ("driver", Verdict::Problem, "no NVIDIA driver", |f, p| {
            (f.backend, p.cuda) = (Backend::Cuda, CudaState::NoLibrary);
        }),
        ("driver", Verdict::Note, "not a driver", |_, p| {
            p.cuda = CudaState::StubLibrary { why: "it lacks `cuInit`".to_owned() };
        }),
        ("driver", Verdict::Note, "did not answer", |_, p| {
            p.cuda = CudaState::ProbeHung { after: Millis(1) }
        }),
        ("driver", Verdict::Note, "left out: device 1", |_, p| {
            p.cuda = CudaState::Works { driver: 13_000, left_out: vec!["device 1: it is lost".to_owned()] };
        }),
        ("driver", Verdict::Note, "too old: for CUDA 10.2", |_, p| {
            p.cuda = CudaState::OldDriver { driver: 10_020 };
        }),
        ("cards", Verdict::Note, "library is not found", |_, p| p.cards = None),
        ("cards", Verdict::Note, "3 memory errors", |_, p| card(p).readings.ecc_errors = Some(3)),
        ("cards", Verdict::Note, "has 85 degrees", |_, p| {
            (card(p).readings.celsius, card(p).readings.celsius_max) = (Some(85), Some(90));
        }),
        ("cards", Verdict::Note, "has no parts", |_, p| card(p).partitioned = true),
        ("device-nodes", Verdict::Note, "may not use /dev/nvidia0", |f, _| f.device_nodes[0].1 = false),
        ("device-nodes", Verdict::Problem, "may not use /dev/nvidia0", |f, _| {
            (f.backend, f.device_nodes[0].1) = (Backend::Cuda, false);
        }),
        ("container", Verdict::Note, "has no GPU, and its host has NVIDIA's driver", |f, p| {
            (f.container, p.cuda) = (true, CudaState::NoDevice);
        }),
        ("persistence", Verdict::Note, "does not run", |f, _| f.persistence = false),
        ("nvrtc", Verdict::Note, "CUDA C++ can't run", |_, p| p.nvrtc = false),
        ("isolation", Verdict::Note, "could open sockets", |_, p| {
            p.isolation.as_mut().expect("it was measured").holes = vec![Hole::Sockets];
        }),
        ("data-dir", Verdict::Note, "a node runs on /srv/ion", |f, _| f.user = DirUser::Node),
        ("data-dir", Verdict::Problem, "does not answer", |f, _| f.user = DirUser::Silent),
        ("disk", Verdict::Problem, "1023", |f, _| f.disk_free = Ok(Bytes(1023 << 20))),
        ("disk", Verdict::Note, "2", |f, _| f.disk_free = Ok(Bytes(2 << 30))),
        ("key", Verdict::Problem, "chmod 600", |f, _| f.key = Err("`chmod 600 key`".to_owned())),
        ("ports", Verdict::Problem, "port 4001", |f, _| {
            f.listen_troubles = vec!["port 4001 is in use".to_owned()]
        }),
        ("clock", Verdict::Problem, "set back", |f, _| {
            f.files_ahead = Some(Millis(limits::CLOCK_SKEW_MS_MAX + 1));
        }),
        ("open-files", Verdict::Note, "1024", |f, _| f.open_files_max = Some(1024)),
    ];
    for (check, verdict, words, change) in cases {
        let (mut facts, mut probed) = (facts(), probed());
        change(&mut facts, &mut probed);
        let findings = all(&facts, &probed);
        let found = findings.iter().find(|finding| finding.check == check).expect("it is looked at");
        assert!(found.verdict == verdict && found.found.contains(words), "{words}: {found:?}");
        assert!(found.hint.len() > 10, "{found:?}");
        let others = findings.iter().filter(|finding| finding.check != check);
        assert!(others.clone().all(|finding| finding.verdict != Verdict::Problem), "{words}: {findings:?}");
    }
}

#[test]
fn what_is_not_there_yet_is_no_trouble() {
    let mut facts = facts();
    (facts.key, facts.device_nodes, facts.open_files_max) = (Ok(false), Vec::new(), None);
    (facts.listens, facts.files_ahead) = (0, None);
    let mut probed = probed();
    probed.cuda = CudaState::NotAsked;
    probed.devices[0].engine = Engine::CpuInterpreter;
    assert!(all(&facts, &probed).iter().all(|finding| finding.verdict == Verdict::Ok));
}

#[test]
fn the_bounds_are_where_they_are_said_to_be() {
    let verdict = |change: &dyn Fn(&mut Facts), check: fn(&Facts) -> Finding| {
        let mut facts = facts();
        change(&mut facts);
        check(&facts).verdict
    };
    assert_eq!(verdict(&|f| f.disk_free = Ok(DISK_MIN), disk), Verdict::Note);
    assert_eq!(verdict(&|f| f.disk_free = Ok(DISK_GOOD), disk), Verdict::Ok);
    assert_eq!(verdict(&|f| f.disk_free = Err("gone".to_owned()), disk), Verdict::Problem);
    assert_eq!(verdict(&|f| f.open_files_max = Some(OPEN_FILES_MIN), open_files), Verdict::Note);
    assert_eq!(verdict(&|f| f.open_files_max = Some(OPEN_FILES_MIN - 1), open_files), Verdict::Problem);
    assert_eq!(verdict(&|f| f.wall = UnixMillis(WALL_MIN_MS - 1), clock), Verdict::Problem);
    let skew = limits::CLOCK_SKEW_MS_MAX;
    assert_eq!(verdict(&|f| f.files_ahead = Some(Millis(skew)), clock), Verdict::Ok);
}
