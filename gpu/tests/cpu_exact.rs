//! The exact form: its routines, executed instruction by instruction, give the very bits that the CPU engine gives for
//! the `.approx` instructions, so whoever runs the exact form computes what the CPU computes.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_u64, u64s};
use ion_gpu::ptx;
use ion_protocol::job::Source;

/// Shares no low bits with itself.
const STRIDE: usize = 700_001;

/// A kernel that applies `instruction` to `a` (and `b`) of the given class, one thread a row, under a guard.
fn kernel(instruction: &str, class: &str, rows: usize) -> String {
    let (load, store) = match class {
        "f32" => ("ld.global.f32", "st.global.f32"),
        "f64" => ("ld.global.f64", "st.global.f64"),
        "b16" => ("ld.global.b16", "st.global.b16"),
        _ => ("ld.global.b32", "st.global.b32"),
    };
    format!(
        ".version 8.6\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .{class} a, b, d; .reg .b32 %t, %u, %v; .reg .b64 %i, %o; .reg .pred %p, %q;\n\
         mov.u32 %t, %tid.x; mov.u32 %u, %ctaid.x; mov.u32 %v, %ntid.x; mad.lo.u32 %t, %u, %v, %t;\n\
         setp.ge.u32 %p, %t, {rows}; @%p exit;\n\
         ld.param.u64 %i, [in]; ld.param.u64 %o, [out]; mad.wide.u32 %i, %t, 16, %i; mad.wide.u32 %o, %t, 8, %o;\n\
         {load} a, [%i]; {load} b, [%i+8];\nand.b32 %u, %t, 7; setp.ne.u32 %q, %u, 3;\n@%q {instruction}\n\
         {store} [%o], d; ret;\n}}\n"
    )
}

fn run(text: &str, rows: &[[u64; 2]]) -> Vec<u64> {
    let input: Vec<u64> = rows.iter().flatten().copied().collect();
    let blocks = (rows.len() as u32).div_ceil(128);
    let bench = Bench::new(text, "k").grid([blocks, 1, 1], [128, 1, 1]);
    u64s(&bench.buffer(bytes_of_u64(&input)).buffer(vec![0; rows.len() * 8]).outputs()[1])
}

fn same(instruction: &str, class: &str, rows: &[[u64; 2]]) {
    let text = kernel(instruction, class, rows.len());
    let module = ptx::parse(&text).unwrap();
    let exact = ptx::exact(&module).unwrap();
    let kernel = exact.kernel("k").unwrap();
    assert_eq!(ptx::profile(&exact, kernel), ptx::Profile::Exact, "{instruction}");
    let (expected, found) = (run(&text, rows), run(&ptx::print(&exact), rows));
    for ((row, expected), found) in rows.iter().zip(expected).zip(found) {
        assert_eq!(found, expected, "`{instruction}` of {row:#x?}: {found:#x}, not {expected:#x}");
    }
}

#[test]
fn the_exact_form_has_the_bits_of_the_instruction() {
    let edges = [
        0u32,
        1,
        0x7f_ffff,
        0x80_0000,
        0x3f80_0000,
        0x497f_ffff,
        0x4980_0000,
        0x7f7f_ffff,
        0x7f80_0000,
        0x7fc0_0001,
    ];
    let singles: Vec<u32> =
        (0..=u32::MAX).step_by(STRIDE).chain(edges.into_iter().flat_map(|v| [v, v | 1 << 31])).collect();
    let rows: Vec<[u64; 2]> = singles
        .iter()
        .enumerate()
        .map(|(n, v)| [(*v).into(), singles[n * 7 % singles.len()].into()])
        .collect();
    for op in ["ex2", "lg2", "sin", "cos", "rsqrt", "rcp", "sqrt"] {
        for ftz in ["", ".ftz"] {
            same(&format!("{op}.approx{ftz}.f32 d, a;"), "f32", &rows);
        }
    }
    same("tanh.approx.f32 d, a;", "f32", &rows);
    for op in ["div.approx.f32", "div.approx.ftz.f32", "div.full.f32", "div.full.ftz.f32"] {
        same(&format!("{op} d, a, b;"), "f32", &rows);
    }
    // The result may be where the argument was.
    same("ex2.approx.f32 d, 0f3F000000;", "f32", &rows[..9]);
    same("mov.f32 d, a; @%q sin.approx.f32 d, d;", "f32", &rows);
}

#[test]
fn halves_and_doubles_too() {
    let halves: Vec<[u64; 2]> = (0..=0xffff).step_by(3).map(|v| [v, 0]).collect();
    for op in ["ex2.approx.f16", "tanh.approx.f16", "tanh.approx.bf16", "ex2.approx.ftz.bf16"] {
        same(&format!("{op} d, a;"), "b16", &halves);
    }
    let pairs: Vec<[u64; 2]> =
        (0..=0xffff).step_by(13).map(|v| [(v << 16) | ((v * 7) & 0xffff), 0]).collect();
    for op in ["ex2.approx.f16x2", "tanh.approx.f16x2", "tanh.approx.bf16x2", "ex2.approx.ftz.bf16x2"] {
        same(&format!("{op} d, a;"), "b32", &pairs);
    }
    let mut rng = fastrand::Rng::with_seed(61);
    let edges = [0u64, 1, (1 << 52) - 1, 1 << 52, 0x3ff0 << 48, 0x7fe0 << 48, 0x7ff0 << 48, 0x7ff8 << 48];
    let doubles: Vec<[u64; 2]> = edges
        .into_iter()
        .flat_map(|v| [v, v | 1 << 63])
        .chain((0..2000).map(|_| rng.u64(..)))
        .map(|v| [v, 0])
        .collect();
    for op in ["rcp.approx.ftz.f64", "rsqrt.approx.f64", "rsqrt.approx.ftz.f64"] {
        same(&format!("{op} d, a;"), "f64", &doubles);
    }
}

/// What has nothing approximate stays as it is, and what is written out twice is written out once.
#[test]
fn only_the_approximate_is_rewritten() {
    let plain = ptx::parse(include_str!("../kernels/saxpy.ptx")).unwrap();
    assert_eq!(ptx::exact(&plain).as_ref(), Ok(&plain));
    let module = ptx::parse(&kernel("sin.approx.f32 d, a;", "f32", 1)).unwrap();
    let once = ptx::exact(&module).unwrap();
    assert_eq!(ptx::exact(&once).as_ref(), Ok(&once));
}

/// A program that asks for it runs the exact form: its canonical text has nothing approximate, and the bits are equal.
#[test]
fn a_program_asks_for_the_exact_form_of_a_module() {
    let rows: Vec<[u64; 2]> = (0..64u64).map(|n| [(n as f32 * 0.37 - 9.0).to_bits().into(), 0]).collect();
    let text = kernel("ex2.approx.ftz.f32 d, a;", "f32", rows.len());
    let input: Vec<u64> = rows.iter().flatten().copied().collect();
    let bench = Bench::new(&text, "k").buffer(bytes_of_u64(&input)).buffer(vec![0; rows.len() * 8]);
    let mut program = bench.program();
    let plain = bench.run_program(program.clone()).unwrap();
    program.modules[0].source = Source::ExactPtx;
    let loaded = bench.load(program.clone()).unwrap();
    assert!(!ion_gpu::ptx::canonical(&loaded.modules()[0].module).text.contains(".approx"));
    let exact = bench.run_program(program).unwrap();
    assert_eq!(exact.outputs, plain.outputs);
    assert!(exact.instructions > plain.instructions);
}
