//! Programs that are refused by their description alone.

use ion_protocol::{
    BlobHash, Bytes, Millis, NanoIo,
    job::{
        Arg, Buffer, Element, Init, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step,
    },
    limits,
};

fn spec() -> JobSpec {
    let module = Module {
        name: "k.ptx".to_owned(),
        source: Source::Ptx,
        blob: BlobHash::of(b"text"),
        bytes: Bytes(4),
    };
    let buffer = |name: &str, init| Buffer {
        name: name.to_owned(),
        bytes: Bytes(32),
        init,
        element: Element::F32,
        shape: vec![8],
        output: true,
    };
    let launch = Launch {
        module: 0,
        kernel: "k".to_owned(),
        grid: [1, 1, 1],
        block: [8, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(0)],
    };
    let steps = vec![Step::Launch(launch), Step::Swap { a: 0, b: 1 }];
    JobSpec {
        name: "program".to_owned(),
        needs: Needs::default(),
        limits: JobLimits { run: Millis(1_000), memory: Bytes(64), price: NanoIo(1) },
        program: Program {
            modules: vec![module],
            buffers: vec![buffer("x", Init::Blob(BlobHash::of(b"input"))), buffer("y", Init::Zero)],
            phases: vec![Phase { times: 1, steps }],
        },
    }
}

fn refusal(change: impl FnOnce(&mut JobSpec)) -> String {
    let mut spec = spec();
    change(&mut spec);
    spec.check().expect_err("it is refused").to_string()
}

#[test]
fn one_hash_has_one_size() {
    spec().check().expect("a good program");
    let twice = refusal(|spec| spec.program.buffers[1].init = Init::Blob(BlobHash::of(b"text")));
    assert!(twice.contains("with 4 and with 32 bytes; expected one size for one hash"), "{twice}");
    let mut same = spec();
    same.program.buffers[1].init = Init::Blob(BlobHash::of(b"input"));
    same.check().expect("two buffers may begin alike");
}

#[test]
fn a_phase_has_steps() {
    let empty = refusal(|spec| spec.program.phases.push(Phase { times: 9, steps: Vec::new() }));
    assert_eq!(empty, "phase 1: no steps; expected at least one");
}

#[test]
fn steps_are_bounded_with_their_repeats_counted_out() {
    let swaps = refusal(|spec| {
        spec.program.phases.push(Phase { times: u32::MAX, steps: vec![Step::Swap { a: 0, b: 1 }] });
    });
    assert!(swaps.contains(&format!("expected at most {}", limits::STEPS_RUN_MAX)), "{swaps}");
    let mut most = spec();
    most.program.phases[0].times = limits::LAUNCHES_MAX as u32;
    most.check().expect("every launch with a swap");
}
