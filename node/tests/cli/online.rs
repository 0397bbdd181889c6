//! What the command line makes of a node's answers: tables, JSON, jobs from order to files on the disk, and ends of every
//! kind.

use super::{example, ion, node_stub::NodeStub, signed_receipt};
use ion_gpu::{
    nvml::Readings,
    probe::CudaState,
    worker::isolation::{Hole, Isolation, Wall},
};
use ion_node::control::api::{
    ClaimCounts, ClaimView, ControlRequest, ControlResponse, DeviceView, DevicesView, Explanation, JobView,
    NotOffered, OfferView, OutputView, ReceiptView, Side, Standing, StatusView,
};
use ion_node::{events::EventLine, owner::Facts, show::ReceiptFile};
use ion_protocol::{
    Attempt, BlobHash, Bytes, DocHash, JobId, Millis, NanoIo, Nanos, NetworkId, NodeId, UnixMillis,
    check::Check,
    fault::Fault,
    hardware::{ComputeCapability, Device, Engine, MeasuredPower, Withheld},
    job::Unmet,
    limits,
    message::LeaseState,
    receipt::Countersignature,
    record::JobEnd,
};
use ion_scheduler::event::{Event, RejectReason, Rejection};
use serde_json::{Value, json};
use std::{fs, path::Path};

pub fn line(event: Event) -> EventLine {
    EventLine { at: UnixMillis(1), event }
}

const PROVIDER: NodeId = NodeId([0xcd; 32]);

fn device() -> Device {
    Device {
        index: 0,
        model: "NVIDIA H100\u{1b}[31m".to_owned(),
        engine: Engine::Cuda,
        capability: ComputeCapability { major: 9, minor: 0 },
        memory: Bytes(80 << 30),
        nvrtc: true,
        power: MeasuredPower {
            f32_mflops: 51_000_000,
            memory_mbps: 3_000_000,
            product_mops: 20_000_000,
            ..MeasuredPower::default()
        },
    }
}

/// One whose maker's figures are known.
fn known() -> Device {
    Device { index: 1, model: "NVIDIA H100 80GB HBM3".to_owned(), nvrtc: false, ..device() }
}

fn claim(device: u16, doubt: &str) -> ClaimView {
    let (standing, checked, doubt) = (Standing::Held, Some(UnixMillis(1)), doubt.to_owned());
    ClaimView { device, standing, checked, declined: 0, doubt }
}

fn offer() -> OfferView {
    OfferView {
        provider: PROVIDER,
        addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
        region: "eu".to_owned(),
        devices: vec![device(), known()],
        price_per_second: NanoIo(500_000),
        free: 1,
        queued: 0,
        run_max: Millis(1000),
        blob_bytes_max: Bytes(1 << 30),
        connected: true,
        round_trip: Some(Millis(3)),
        age: Millis(10),
        expires_in: Millis(1000),
        reliability_ppm: 900_000,
        done: 4,
        failed: 1,
        lost: 0,
        falsified: 0,
        claim_held: Some(true),
        claims: vec![claim(0, "it claims too\u{1b}much"), claim(1, "")],
    }
}

pub fn job(id: JobId, end: Option<JobEnd>) -> JobView {
    let state = match &end {
        None => "leased",
        Some(JobEnd::Done { .. }) => "done",
        Some(JobEnd::Failed { .. }) => "failed",
        Some(JobEnd::Cancelled) => "cancelled",
    };
    JobView {
        job: id,
        name: "saxpy".to_owned(),
        state: state.to_owned(),
        submitted: UnixMillis(1),
        attempt: Some(Attempt(1)),
        provider: Some(PROVIDER),
        model: Some("NVIDIA H100".to_owned()),
        engine: Some(Engine::Cuda),
        lease: None,
        end,
        receipt: Some(DocHash([7; 32])),
        price: NanoIo(1_500),
        device_time: Nanos(2_000_000),
        waited: Millis(5),
        moved: Millis(6),
        ran: Millis(7),
        check: Some(Check::Equal { blocks: vec![1, 5], of: 16, bytes: Bytes(2_048) }),
        outputs: Vec::new(),
        attempts: Vec::new(),
    }
}

fn status(dir: &Path) -> StatusView {
    StatusView {
        node: NodeId([1; 32]),
        release: "0.1.0".to_owned(),
        role: ion_node::config::Role::Light,
        network: "ion".to_owned(),
        network_id: NetworkId::named("ion"),
        data_dir: dir.to_owned(),
        uptime: Millis(1500),
        addresses: vec!["/ip4/127.0.0.1/tcp/4001/p2p/x".to_owned()],
        peers: 3,
        offers: 2,
        claims: ClaimCounts { held: 1, failed: 1, ..ClaimCounts::default() },
        challenge_every: Some(Millis(120_000)),
        devices: Vec::new(),
        isolation: Some(Isolation {
            files: Wall::Absent { why: "this kernel has no Landlock".to_owned() },
            calls: Wall::Stands { version: 0 },
            holes: Vec::new(),
        }),
        price_per_second: NanoIo(0),
        jobs_open: 1,
        leases_open: 0,
        blob_bytes: Bytes(0),
        draining: false,
    }
}

/// One device that is paused while something runs on it, and a driver that sees no other.
fn devices() -> DevicesView {
    let view = DeviceView {
        device: device(),
        uuid: "MIG-of-the-test".to_owned(),
        job: Some(JobId([7; 16])),
        withheld: Some(Withheld::Paused),
        facts: Facts {
            readings: Readings { celsius: Some(61), ecc_errors: Some(2), ..Readings::default() },
            others: None,
        },
    };
    let (uuid, facts) = (String::new(), Facts::default());
    let other = DeviceView { device: known(), uuid, job: None, withheld: None, facts };
    let state = CudaState::NoDevice;
    DevicesView {
        probed: true,
        devices: vec![view, other],
        not_offered: vec![NotOffered {
            what: "CUDA devices".to_owned(),
            why: state.to_string(),
            hint: state.hint().unwrap_or_default().to_owned(),
        }],
        isolation: Some(Isolation {
            files: Wall::Stands { version: 7 },
            calls: Wall::Absent { why: "this kernel takes no filter".to_owned() },
            holes: vec![Hole::Sockets],
        }),
    }
}

#[test]
fn questions_are_answered_in_tables_and_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let view = status(dir.path());
    let _node = NodeStub::start(dir.path(), move |request| {
        vec![match request {
            ControlRequest::Status => ControlResponse::Status(Box::new(view.clone())),
            ControlRequest::Offers => ControlResponse::Offers(vec![offer()]),
            ControlRequest::Devices => ControlResponse::Devices(Box::new(devices())),
            ControlRequest::Pause { device: 0, now: true } | ControlRequest::Resume { device: 0 } => {
                ControlResponse::Noted
            }
            ControlRequest::Pause { device: 7, .. } | ControlRequest::Resume { device: 7 } => {
                ControlResponse::NoDevice { known: vec![device(), known()] }
            }
            ControlRequest::Pause { .. } => ControlResponse::NoDevice { known: Vec::new() },
            ControlRequest::Jobs => ControlResponse::Jobs(vec![
                job(JobId([0xab; 16]), None),
                job(JobId([0xac; 16]), Some(JobEnd::Cancelled)),
            ]),
            ControlRequest::Job { job: id } | ControlRequest::Cancel { job: id } => {
                let over = id == JobId([0xac; 16]);
                ControlResponse::Job(Box::new(job(id, over.then_some(JobEnd::Cancelled))))
            }
            ControlRequest::Drain => ControlResponse::Noted,
            ControlRequest::Why { job } => ControlResponse::Explanation(Box::new(Explanation {
                job: Some(job),
                state: "seeking".to_owned(),
                candidates: Vec::new(),
                rejections: vec![Rejection {
                    provider: PROVIDER,
                    reason: RejectReason::Unmet { unmet: Unmet::Nvrtc },
                }],
                attempts: Vec::new(),
                would_change: vec!["a higher price limit".to_owned()],
            })),
            other => {
                ControlResponse::Error { message: format!("no {other:?}"), hint: "ask another".to_owned() }
            }
        }]
    });
    let ask = |args: &[&str]| ion(dir.path(), args);
    let json = |args: &[&str]| -> Value {
        let said = ion(dir.path(), &[args, &["--json"]].concat());
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        said.json().remove(0)
    };
    let status = ask(&["status"]).out;
    assert!(status.contains("3 connected, 2 offers known"), "{status}");
    assert!(status.contains("1 held, 1 failed, 0 unchecked, 0 shy of challenges"), "{status}");
    assert_eq!(json(&["status"])["claims"]["failed"], 1);
    assert!(ask(&["status"]).out.contains("start no process (this kernel has no Landlock, seccomp)"));
    assert_eq!(json(&["status"])["role"], "light");
    assert_eq!(json(&["status"])["isolation"]["calls"]["wall"], "stands");
    let offers = ask(&["offers"]).out;
    assert!(offers.contains("CUDA: NVIDIA H100") && offers.contains("0.0005 IO"), "{offers}");
    assert!(offers.contains("doubtful: device 0 of ") && offers.contains("held ") && offers.contains(" ago"));
    assert!(offers.contains("51000 (76 %)"), "{offers}");
    assert_eq!(json(&["offers"])[0]["claims"][0]["standing"], "held");
    assert!(!offers.contains('\u{1b}'), "a peer's text does not reach the terminal raw");
    assert_eq!(json(&["offers"])[0]["devices"][0]["engine"], "cuda");
    let yes_no = [json!(true), json!(false)];
    let rows = |table: &str, words: &str| table.lines().filter(|row| row.contains(words)).count();
    assert_eq!((rows(&offers, "CUDA C"), rows(&offers, " NVRTC ")), (1, 1), "{offers}");
    let nvrtc = |of: &Value| [of["devices"][0]["nvrtc"].clone(), of["devices"][1]["nvrtc"].clone()];
    assert_eq!((nvrtc(&json(&["offers"])[0]), nvrtc(&json(&["devices"]))), (yes_no.clone(), yes_no));
    let devices = ask(&["devices"]).out;
    assert_eq!((rows(&devices, "CUDA C"), rows(&devices, " NVRTC ")), (1, 1), "{devices}");
    let why = ask(&["why", "ab"]).out;
    assert!(why.contains("none of its devices has the NVRTC for CUDA C that is asked for"), "{why}");
    assert_eq!(json(&["why", "ab"])["rejections"][0]["reason"], json!({ "kind": "unmet", "unmet": "nvrtc" }));
    for words in [
        "job 07070707, then not lent: its owner paused it",
        "not offered: CUDA devices: the NVIDIA driver works and sees no GPU",
        "hint: check `nvidia-smi -L`",
        "device 0 (MIG-of-the-test): 61 degrees, 2 uncorrected errors",
        "isolation: a worker that is taken over could open sockets",
        "hint: run the node as a user of its own",
    ] {
        assert!(devices.contains(words), "{words} in {devices}");
    }
    assert!(devices.contains("device 1: of the data sheet f32 76 %, memory 89 %"), "{devices}");
    assert_eq!(json(&["devices"])["devices"][0]["withheld"]["why"], "paused");
    assert!(
        ask(&["devices", "pause", "0", "--now"])
            .out
            .contains("device 0 is paused; what ran on it is stopped")
    );
    assert!(ask(&["devices", "resume", "0"]).out.contains("device 0 is lent again"));
    assert_eq!(json(&["devices", "pause", "0", "--now"]), json!({ "device": 0, "paused": true }));
    ask(&["devices", "pause", "1"]).failed(2, "this node has no device 1; it has none");
    ask(&["devices", "pause"]).failed(2, "DEVICE");
    for verb in ["pause", "resume"] {
        let said = ask(&["devices", verb, "7"]);
        said.failed(2, "this node has no device 7; it has 0 (CUDA: NVIDIA H100");
        said.failed(2, ", 1 (CUDA: NVIDIA H100 80GB HBM3)");
    }
    let jobs = ask(&["jobs"]).out;
    assert!(jobs.contains("abababab  saxpy  leased") && jobs.contains("cancelled"), "{jobs}");
    assert_eq!(json(&["jobs"]).as_array().unwrap().len(), 2);
    assert_eq!(json(&["jobs", "ac"])["job"], "ac".repeat(16));
    assert!(ask(&["why", "AB"]).out.contains("would change it: a higher price limit"));
    assert!(ask(&["why", "ab"]).out.contains("nobody known fits"));
    assert!(!ask(&["why", "ac"]).out.contains("nobody known fits"), "nobody is looked for any more");
    assert_eq!(json(&["cancel", "ab"])["asked"], true);
    ask(&["cancel", "ac"]).failed(1, "job acacacac is over: cancelled");
    assert_eq!(json(&["stop"])["stopping"], true);
    // A job is named by enough of its digits.
    ask(&["why", "a"]).failed(2, "2 jobs begin with `a`");
    ask(&["why", "ff"]).failed(2, "no job begins with `ff`");
    ask(&["why", "xyz"]).failed(2, "`xyz` is no job");
    // What the node refuses comes with its own hint.
    let refused = ask(&["receipts", "list"]);
    refused.failed(3, "no Receipts");
    assert!(refused.err.contains("hint: ask another"));
}

/// A node that takes any job and ends it so; its one output lies in `output`.
fn runs(dir: &Path, end: JobEnd, output: std::path::PathBuf) -> NodeStub {
    NodeStub::start(dir, move |request| match request {
        ControlRequest::Submit { job, spec, files, verify, .. } => {
            assert_eq!(verify, 4, "unless told otherwise");
            assert_eq!(spec.check(), Ok(()));
            assert!(files.iter().all(|f| f.path.is_absolute() && f.path.exists()));
            vec![ControlResponse::Submitted { job }]
        }
        ControlRequest::Watch { job } => {
            let (attempt, provider) = (Attempt(1), PROVIDER);
            let state = LeaseState::Running { done: 1, total: 2 };
            vec![
                ControlResponse::Event(line(Event::JobAccepted { job })),
                ControlResponse::Event(line(Event::OrderAccepted { job, attempt, provider })),
                ControlResponse::Event(line(Event::Progress { job, attempt, provider, state })),
                ControlResponse::End,
            ]
        }
        ControlRequest::Job { job: id } => vec![ControlResponse::Job(Box::new(job(id, Some(end.clone()))))],
        ControlRequest::Outputs { .. } => {
            let (hash, bytes) = (BlobHash([8; 32]), Bytes(4096 * 4));
            vec![ControlResponse::Outputs(vec![OutputView {
                buffer: "y".to_owned(),
                hash,
                bytes,
                path: output.clone(),
            }])]
        }
        other => panic!("`ion run` does not ask {other:?}"),
    })
}

#[test]
fn a_job_runs_from_manifest_to_file() {
    let dir = tempfile::tempdir().unwrap();
    let blob = dir.path().join("blob");
    fs::write(&blob, vec![3u8; 4096 * 4]).unwrap();
    let data = dir.path().join("data");
    let _node = runs(&data, JobEnd::Done { attempt: Attempt(1) }, blob);
    let out = dir.path().join("out");
    let said = ion(&data, &["run", &example("saxpy"), "--out", out.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    for words in [
        "CUDA: NVIDIA H100",
        "waited 5 ms, moved data 6 ms, ran 7 ms",
        "0.0000015 IO",
        "receipt   0707",
        "y.npy",
    ] {
        assert!(said.out.contains(words), "{words} in {}", said.out);
    }
    // A pipe gets plain lines on stderr.
    assert!(said.err.contains("running: 1 of 2 launches") && !said.err.contains('\r'), "{}", said.err);
    let file = fs::read(out.join("y.npy")).unwrap();
    assert!(file.starts_with(b"\x93NUMPY\x01\x00") && file.ends_with(&[3; 4096 * 4]));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing but the result is left");

    let lines = ion(&data, &["run", &example("saxpy"), "--out", out.to_str().unwrap(), "--json"]).json();
    assert_eq!(lines[0]["event"], "submitted");
    assert_eq!(lines[1]["event"], "job-accepted");
    let result = lines.last().unwrap();
    assert_eq!(
        (&result["event"], &result["state"], &result["job"]),
        (&"result".into(), &"done".into(), &lines[0]["job"])
    );
    assert_eq!(result["device"], "CUDA: NVIDIA H100");
    assert_eq!(result["files"][0]["buffer"], "y");
}

#[test]
fn a_job_that_does_not_succeed_costs_1_and_leaves_older_results_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("y.npy"), "older").unwrap();
    let fault = Fault::Program { message: "no such kernel".to_owned() };
    let ends = [(JobEnd::Failed { fault }, "no such kernel"), (JobEnd::Cancelled, "was cancelled")];
    for (n, (end, words)) in ends.into_iter().enumerate() {
        let data = dir.path().join(n.to_string());
        let _node = runs(&data, end, dir.path().join("absent"));
        ion(&data, &["run", &example("saxpy"), "--out", out.to_str().unwrap()]).failed(1, words);
        let json = ion(&data, &["run", &example("saxpy"), "--json"]);
        assert_eq!((json.code, json.json_error()["exit"].as_u64()), (1, Some(1)));
        assert_eq!(json.json().last().unwrap()["files"], json!([]));
    }
    assert_eq!(fs::read(out.join("y.npy")).unwrap(), b"older");
}

#[test]
fn a_result_of_the_wrong_size_or_nowhere_to_put_it_is_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let blob = dir.path().join("blob");
    fs::write(&blob, vec![3u8; 5]).unwrap();
    let data = dir.path().join("data");
    let _node = runs(&data, JobEnd::Done { attempt: Attempt(1) }, blob.clone());
    let out = dir.path().join("out");
    ion(&data, &["run", &example("saxpy"), "--out", out.to_str().unwrap()])
        .failed(3, "5 bytes for a buffer of 16384");
    ion(&data, &["run", &example("saxpy"), "--out", blob.to_str().unwrap()]).failed(3, "could not");
    fs::create_dir_all(out.join("y.npy")).unwrap();
    ion(&data, &["run", &example("saxpy"), "--out", out.to_str().unwrap()]).failed(3, "could not write");
    std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("link")).unwrap();
    let link = dir.path().join("link");
    ion(&data, &["run", &example("saxpy"), "--out", link.to_str().unwrap()]).failed(3, "could not");
}

#[test]
fn a_job_is_left_to_the_node_and_fetched_later() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    let blob = dir.path().join("blob");
    fs::write(&blob, vec![3u8; 4096 * 4]).unwrap();
    let end = JobEnd::Done { attempt: Attempt(1) };
    let output = ion_scheduler::view::OutputView {
        buffer: 1,
        name: "y".to_owned(),
        bytes: Bytes(4096 * 4),
        hash: BlobHash([8; 32]),
        element: ion_protocol::job::Element::F32,
        shape: vec![4096],
    };
    let found = OutputView { buffer: "y".to_owned(), hash: output.hash, bytes: output.bytes, path: blob };
    let _node = NodeStub::start(&data, move |request| {
        vec![match request {
            ControlRequest::Submit { job, .. } => ControlResponse::Submitted { job },
            ControlRequest::Job { job: id } if id == JobId([0xac; 16]) => {
                ControlResponse::Job(Box::new(job(id, Some(JobEnd::Cancelled))))
            }
            ControlRequest::Job { job: id } => ControlResponse::Job(Box::new(JobView {
                outputs: vec![output.clone()],
                ..job(id, Some(end.clone()))
            })),
            ControlRequest::Outputs { .. } => ControlResponse::Outputs(vec![found.clone()]),
            other => panic!("nobody asks {other:?}"),
        }]
    });
    let said = ion(&data, &["run", &example("saxpy"), "--detach"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("job ") && said.out.contains("`ion fetch "), "{}", said.out);
    let json = ion(&data, &["run", &example("saxpy"), "--detach", "--json"]).json();
    assert_eq!((json.len(), &json[0]["event"]), (1, &"submitted".into()));

    let (id, to) = ("ab".repeat(16), out.to_str().unwrap());
    assert!(ion(&data, &["fetch", &id, "--out", to]).out.contains("y.npy (16.0 KiB)"));
    assert!(fs::read(out.join("y.npy")).unwrap().ends_with(&[3; 4096 * 4]));
    let json = ion(&data, &["fetch", &id, "--out", to, "--json"]).json();
    assert_eq!((&json[0]["job"], &json[0]["files"][0]["buffer"]), (&id.clone().into(), &"y".into()));
    ion(&data, &["fetch", &"ac".repeat(16)]).failed(1, "has no results: it is cancelled");
    let nobody = dir.path().join("nobody");
    ion(&nobody, &["run", &example("saxpy"), "--detach"]).failed(3, "no node is running");
}

#[test]
fn an_answer_to_another_question_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let _node = NodeStub::start(dir.path(), |_| vec![ControlResponse::Noted]);
    ion(dir.path(), &["status"]).failed(3, "the node answered Noted where the status was expected");
}

#[test]
fn receipts_go_from_the_node_to_a_file_that_proves_itself() {
    let dir = tempfile::tempdir().unwrap();
    let _node = NodeStub::start(dir.path(), |request| {
        let view = signed_receipt();
        vec![match request {
            ControlRequest::Receipts { filter } => {
                assert_eq!((filter.side, filter.limit), (Some(Side::Provider), 7));
                let file = ReceiptFile::of(view.clone()).unwrap();
                let (receipt, body) = (file.verify().unwrap().hash(), file.shown);
                let side = Side::Provider;
                let countersignature = Some(Countersignature {
                    version: limits::VERSION,
                    requester: body.requester,
                    provider: body.provider,
                    receipt,
                    price: body.price,
                    check: Check::NotAsked,
                    signed: UnixMillis(5),
                });
                let half = ReceiptView { receipt, side, body: body.clone(), countersignature: None };
                ControlResponse::Receipts(vec![ReceiptView { receipt, side, body, countersignature }, half])
            }
            ControlRequest::Receipt { prefix } if prefix == "bad" => {
                let mut view = view;
                view.receipt.signature = "00".repeat(64);
                ControlResponse::Receipt(Box::new(view))
            }
            ControlRequest::Receipt { .. } => ControlResponse::Receipt(Box::new(view)),
            other => panic!("`ion receipts` does not ask {other:?}"),
        }]
    });
    let list = ["receipts", "list", "--side", "provider", "--limit", "7"];
    let listed = ion(dir.path(), &list).out;
    assert!(
        listed.contains("CUDA: NVIDIA H100") && listed.contains("earned 0.0005 IO, owed 0 IO"),
        "{listed}"
    );
    // Half of it is signed by the provider only, and says so.
    assert!(listed.contains("done, not countersigned"), "{listed}");
    let json = ion(dir.path(), &[&list[..], &["--json"]].concat()).json();
    assert_eq!(json[0][0]["side"], "provider");
    // The id is called the same wherever it is, and so is what is in the receipt.
    let shown = ion(dir.path(), &["receipts", "show", "ab", "--json"]).json();
    for name in ["receipt", "job", "provider", "device"] {
        assert!(shown[0][name].is_string(), "{name}: {shown:?}");
        assert_eq!(shown[0][name], json[0][0][name], "{name}");
    }
    assert!(ion(dir.path(), &["receipts", "show", "ab"]).out.contains("both signatures hold"));
    // A node's word is not taken for it.
    ion(dir.path(), &["receipts", "show", "bad"]).failed(1, "the receipt proves nothing");
    let file = dir.path().join("r.json");
    for _ in 0..2 {
        let said = ion(dir.path(), &["receipts", "export", "ab", "--out", file.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(ion(&dir.path().join("nobody"), &["receipts", "verify", file.to_str().unwrap()]).code, 0);
    }
    let wrote = ["receipts", "export", "ab", "--out", file.to_str().unwrap(), "--json"];
    assert_eq!(ion(dir.path(), &wrote).json()[0]["receipt"], shown[0]["receipt"]);
    let printed = ion(dir.path(), &["receipts", "export", "ab"]).out;
    assert_eq!(printed, fs::read_to_string(&file).unwrap());
    ion(dir.path(), &["receipts", "export", "ab", "--out", "/nowhere/r.json"]).failed(2, "could not write");
}
