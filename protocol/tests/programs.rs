//! Programs that are refused by their description alone.

use ion_protocol::{
    BlobHash, Bytes, Millis, NanoIo,
    job::{
        Arg, Buffer, Element, Init, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step,
        groups, layout,
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

fn launch_of(spec: &mut JobSpec) -> &mut Launch {
    match &mut spec.program.phases[0].steps[0] {
        Step::Launch(launch) => launch,
        Step::Swap { .. } => unreachable!("the first step is a launch"),
    }
}

fn head(fields: u16) -> Arg {
    Arg::Struct { fields }
}

fn scalar(element: Element) -> Arg {
    Arg::Scalar { element, bits: 1 }
}

#[test]
fn a_struct_is_laid_out_as_c_does() {
    use Element::{F32, F64, U8, U16};
    let args = [scalar(U8), head(4), scalar(U8), scalar(U16), Arg::Buffer(0), scalar(F32), scalar(F64)];
    let each: Vec<&[Arg]> = groups(&args).collect();
    assert_eq!(each, [&args[..1], &args[1..6], &args[6..]]);
    let placed = |group| {
        let (fields, bytes) = layout(group);
        (fields.into_iter().map(|(at, _)| at).collect::<Vec<_>>(), bytes)
    };
    assert_eq!(placed(each[0]), (vec![0], 1));
    assert_eq!(placed(each[1]), (vec![0, 2, 8, 16], 24));
    assert_eq!(placed(each[2]), (vec![0], 8));
}

#[test]
fn a_struct_has_its_fields_and_they_are_values() {
    let mut good = spec();
    launch_of(&mut good).args = vec![head(2), Arg::Buffer(1), scalar(Element::F32), Arg::Buffer(0)];
    good.check().expect("a struct and a buffer");
    let args = |args: &[Arg]| refusal(|spec| launch_of(spec).args = args.to_vec());
    let all = "expected at least one field, and all of them behind their struct";
    let place = "step 0 of phase 0";
    assert_eq!(args(&[head(0), Arg::Buffer(0)]), format!("{place}: 0 of the 0 fields of argument 0; {all}"));
    let few = args(&[Arg::Buffer(0), head(2), Arg::Buffer(0)]);
    assert_eq!(few, format!("{place}: 1 of the 2 fields of argument 1; {all}"));
    let none = args(&[head(u16::MAX)]);
    assert_eq!(none, format!("{place}: 0 of the 65535 fields of argument 0; {all}"));
    let nested = args(&[head(2), Arg::Buffer(0), head(1), Arg::Buffer(0)]);
    assert!(nested.contains("a struct as field 1 of argument 0; expected buffers and scalars"), "{nested}");
    let buffer = args(&[head(1), Arg::Buffer(2)]);
    assert_eq!(buffer, format!("{place}: buffer 2; expected one of the 2 buffers"));
}

#[test]
fn what_a_launch_may_have_is_bounded() {
    let launch = |change: &dyn Fn(&mut Launch)| refusal(|spec| change(launch_of(spec)));
    let blocks = "expected 1 to 2147483647 x 65535 x 65535 blocks";
    for grid in [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1 << 31, 1, 1], [1, 65_536, 1], [1, 1, 65_536]] {
        let found = launch(&|launch| launch.grid = grid);
        assert!(found.contains(blocks), "{grid:?}: {found}");
    }
    for block in [[0, 1, 1], [1025, 1, 1], [32, 32, 2], [u32::MAX, u32::MAX, u32::MAX], [1, 1, 65]] {
        let found = launch(&|launch| launch.block = block);
        assert!(found.contains("1024"), "{block:?}: {found}");
    }
    let shared = launch(&|launch| launch.shared_bytes = limits::SHARED_BYTES_MAX + 1);
    assert!(shared.contains("bytes of shared memory; expected at most 232448"), "{shared}");
    let args = launch(&|launch| launch.args = vec![Arg::Buffer(0); limits::ARGS_MAX + 1]);
    assert!(args.contains("257 arguments; expected at most 256"), "{args}");
}

#[test]
fn code_and_buffers_are_bounded() {
    let code = refusal(|spec| spec.program.modules[0].bytes = Bytes(limits::MODULE_BYTES_MAX as u64 + 1));
    assert!(code.contains("bytes of text; expected at most 8388608"), "{code}");
    let modules = refusal(|spec| {
        spec.program.modules = vec![spec.program.modules[0].clone(); limits::MODULES_MAX + 1];
    });
    assert!(modules.contains("17 modules; expected at most 16"), "{modules}");
    let buffer = refusal(|spec| {
        let bytes = limits::BUFFER_BYTES_MAX + 4;
        (spec.program.buffers[1].bytes, spec.program.buffers[1].shape) = (Bytes(bytes), vec![bytes / 4]);
    });
    assert!(buffer.contains("bytes; expected at most 17179869184"), "{buffer}");
    let buffers = refusal(|spec| {
        spec.program.buffers = vec![spec.program.buffers[1].clone(); limits::BUFFERS_MAX + 1];
    });
    assert!(buffers.contains("65 buffers; expected at most 64"), "{buffers}");
    let memory = refusal(|spec| spec.limits.memory = Bytes(63));
    assert!(memory.contains("a memory limit of at least 64"), "{memory}");
}

/// Each of its parts is within its bounds, and the whole is more than a worker's frame holds.
#[test]
fn the_whole_is_bounded() {
    let found = refusal(|spec| {
        let phase = &mut spec.program.phases[0];
        phase.steps = vec![phase.steps[0].clone(); limits::STEPS_MAX];
        spec.program.phases = vec![phase.clone(); 64];
    });
    assert!(found.contains("bytes of specification; expected at most 98304"), "{found}");
}
