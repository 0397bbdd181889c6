//! Programs of several steps on the CPU engine: repeats, swaps, what is delivered, and what the report says.

mod cpu_bench;

use cpu_bench::{Bench, by_value, bytes_of_u32, u32_arg, u32s};
use ion_protocol::{
    fault::Fault,
    hardware::Engine,
    job::{Arg, Phase, Step},
};

/// `to[i] = from[i] * 2 + add`.
const STEP: &str = ".version 6.5\n.target sm_75\n.address_size 64\n\
    .visible .entry step(.param .u64 from, .param .u64 to, .param .u32 add)\n{\n\
    .reg .b32 %t, %v, %a; .reg .b64 %f, %o;\n\
    mov.u32 %t, %tid.x; ld.param.u64 %f, [from]; ld.param.u64 %o, [to]; ld.param.u32 %a, [add];\n\
    mad.wide.u32 %f, %t, 4, %f; mad.wide.u32 %o, %t, 4, %o; ld.global.u32 %v, [%f];\n\
    mad.lo.u32 %v, %v, 2, %a; st.global.u32 [%o], %v; ret;\n}\n";

fn bench() -> Bench {
    let start: Vec<u32> = (0..32).collect();
    Bench::new(STEP, "step").buffer(bytes_of_u32(&start)).buffer(vec![0; 128]).arg(u32_arg(1))
}

#[test]
fn repeats_and_swaps_carry_on_from_step_to_step() {
    let bench = bench();
    let mut program = bench.program();
    let launch = program.phases[0].steps[0].clone();
    program.phases = vec![Phase { times: 10, steps: vec![launch, Step::Swap { a: 0, b: 1 }] }];
    program.buffers[1].output = false;
    let report = bench.run_program(program).unwrap();
    // Ten times doubled and one added, then swapped into the first buffer.
    let expected: Vec<u32> = (0..32).map(|n| n * 1024 + 1023).collect();
    assert_eq!(report.outputs.len(), 1);
    assert_eq!(u32s(&report.outputs[0].bytes), expected);
    assert_eq!((report.launches.len(), report.engine), (10, Engine::CpuJit));
    assert_eq!(report.launches.iter().map(|n| n.0).sum::<u64>(), report.device_time.0);
    // One warp, ten instructions, ten times.
    assert_eq!(report.instructions, Some(100));
    assert_eq!(report.label, "CPU: ptx jit");
}

#[test]
fn the_budget_holds_for_all_launches_together() {
    let mut bench = bench();
    let mut program = bench.program();
    program.phases[0].times = 10;
    for (fuel, enough) in [(100, true), (99, false)] {
        bench.limits.fuel = Some(fuel);
        let found = bench.run_program(program.clone());
        assert_eq!(found.is_ok(), enough, "{fuel}");
        assert!(enough || found == Err(Fault::Fuel { limit: fuel }));
    }
}

#[test]
fn steps_that_fit_nothing_are_refused() {
    let bench = bench();
    let mut program = bench.program();
    program.phases[0].steps.push(Step::Swap { a: 0, b: 7 });
    assert!(
        matches!(bench.run_program(program), Err(Fault::Program { message }) if message.contains("0 and 7"))
    );
    let mut program = bench.program();
    if let Step::Launch(launch) = &mut program.phases[0].steps[0] {
        launch.args[1] = Arg::Buffer(9);
    }
    assert!(
        matches!(bench.run_program(program), Err(Fault::Program { message }) if message.contains("names buffer 9"))
    );
}

#[test]
fn a_struct_that_fits_no_parameter_is_refused() {
    let bench = by_value(&[1.0; 64], 0);
    bench.run().expect("the struct fits");
    let refusal = |change: &dyn Fn(&mut Vec<Arg>)| {
        let mut program = bench.program();
        let Step::Launch(launch) = &mut program.phases[0].steps[0] else { panic!("a launch") };
        change(&mut launch.args);
        match bench.run_program(program) {
            Err(Fault::Program { message }) => message,
            other => panic!("expected a refusal, found {other:?}"),
        }
    };
    let head = Arg::Struct { fields: 5 };
    // Without its last field, which is one byte in eight of padding.
    let short = refusal(&|args| {
        args[1] = head;
        args.pop();
    });
    let fields = "buffer at 0, u32 at 8, f32 at 12, f64 at 16, buffer at 24";
    assert_eq!(
        short,
        format!(
            "step 0 of phase 0: kernel `by_value`: argument 1 is a struct of 32 bytes ({fields}); \
                 expected a struct of 40 bytes (.b8[40])"
        )
    );
    let few = refusal(&|args| _ = args.pop());
    assert!(few.contains("5 of the 6 fields of argument 1; expected at least one field"), "{few}");
    let none = refusal(&|args| args.splice(1.., [Arg::Struct { fields: 0 }]).for_each(drop));
    assert!(none.contains("0 of the 0 fields of argument 1"), "{none}");
    let nested = refusal(&|args| args[3] = head);
    assert!(nested.contains("a struct as field 1 of argument 1; expected buffers and scalars"), "{nested}");
    let behind = refusal(&|args| args[1] = head);
    assert!(behind.contains("3 arguments; expected 2"), "{behind}");
    let absent = refusal(&|args| args[6] = Arg::Buffer(9));
    assert!(absent.contains("argument 1 names buffer 9; expected one of the 2 buffers"), "{absent}");
    let plain = refusal(&|args| args.splice(0..1, [Arg::Struct { fields: 1 }, u32_arg(0)]).for_each(drop));
    assert!(
        plain.contains("argument 0 is a struct of 4 bytes (u32 at 0); expected a number (.u32)"),
        "{plain}"
    );
    let number = refusal(&|args| args.splice(1.., [u32_arg(0)]).for_each(drop));
    assert!(number.contains("argument 1 is a number of type u32; expected a struct of 40 bytes"), "{number}");
}

/// What the kernel declares and what the launch asks for count together.
#[test]
fn shared_memory_is_bounded_in_all() {
    let text = ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry k() { .reg .b32 %r; .shared .b8 s[40000];\n\
                mov.u32 %r, s; ret; }";
    let mut bench = Bench::new(text, "k");
    bench.shared = 190_000;
    bench.run().expect("230000 bytes are within the limit");
    bench.shared = 200_000;
    let found = bench.run();
    assert!(
        matches!(&found, Err(Fault::Program { message }) if message.contains("expected at most 232448")),
        "{found:?}"
    );
}

#[test]
fn a_refused_module_is_told_with_its_place() {
    let found = Bench::new(&STEP.replace("mad.lo.u32", "mad.low.u32"), "step").run();
    let expected = Fault::Ptx {
        module: "test.ptx".into(),
        line: 9,
        column: 4,
        message: "`mad` does not take `.low`; expected a modifier of the covered set".into(),
    };
    assert_eq!(found, Err(expected));
}
