//! The reader against whole kernels, random changes of good text, and its own print.

mod samples;

use super::{words::Mod, *};

const KERNELS: [(&str, &str); 6] = [
    ("saxpy", include_str!("../../kernels/saxpy.ptx")),
    ("matmul", include_str!("../../kernels/matmul.ptx")),
    ("mandelbrot", include_str!("../../kernels/mandelbrot.ptx")),
    ("reduction", include_str!("../../kernels/reduction.ptx")),
    ("histogram", include_str!("../../kernels/histogram.ptx")),
    ("hostile", include_str!("../../kernels/hostile.ptx")),
];

fn read(text: &str) -> Module {
    parse(text).unwrap_or_else(|refusal| panic!("{}", refusal.render(text)))
}

#[test]
fn printed_kernels_read_as_the_same_module() {
    for (name, text) in KERNELS {
        let module = read(text);
        let again = read(&print(&module));
        assert_eq!(module, again, "{name}");
        assert_eq!(print(&module), print(&again), "{name}");
        let canonical_text = canonical(&module).text;
        assert_eq!(canonical(&read(&canonical_text)).text, canonical_text, "{name}");
    }
}

/// A register hides a variable of the module and a function of the same name, even at its first use.
#[test]
fn what_is_declared_nearer_hides_what_is_not() {
    let text = |declared: &str| {
        format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n.global .b32 v1;\n.func f1()\n{{\nret;\n}}\n\
             .visible .entry k()\n{{\n{declared}\nmov.b64 %d, v1;\nmov.b64 %d, f1;\nret;\n}}\n"
        )
    };
    let given = |declared| {
        let module = read(&text(declared));
        let function = &module.functions[module.functions.len() - 1];
        let taken = function.instructions.iter().take(2).map(|i| function.operands_of(i)[1]);
        taken.collect::<Vec<_>>()
    };
    let far = given(".reg .b64 %d;");
    assert!(matches!(far[..], [ir::Operand::Symbol(..), ir::Operand::Function(_)]), "{far:?}");
    let near = given(".reg .b64 %d, v<2>, f1;");
    assert!(matches!(near[..], [ir::Operand::Register(_), ir::Operand::Register(_)]), "{near:?}");
}

/// Everything that a sample stands in, with `body` between.
fn around(version: &str, target: u32, body: &str) -> String {
    format!(
        ".version {version}\n.target sm_{target}\n.address_size 64\n.visible .entry k(.param .align 16 .b8 x[64])\n{{\n{}\
         {body}END:\nret;\n}}\n",
        samples::DECLARATIONS
    )
}

/// Every form of the table, in every spelling that it has, is read, and prints as what was read.
#[test]
fn every_form_prints_as_it_was_read() {
    const SEED: u64 = 21;
    let samples = samples::all(&mut fastrand::Rng::with_seed(SEED));
    assert!(samples.len() > 2000, "{}", samples.len());
    for sample in &samples {
        let text = &sample.text;
        let module =
            read(&around("9.0", 90, &format!("{{ .param .align 16 .b8 given[64];\n@!%p7 {text}\n}}\n")));
        let instruction = &module.functions[0].instructions[0];
        assert_eq!((instruction.op, instruction.mods.as_slice()), (sample.op, &sample.mods[..]), "{text}");
        for printed in [print(&module), canonical(&module).text] {
            let again =
                parse(&printed).unwrap_or_else(|r| panic!("seed {SEED}, {text}: {}", r.render(&printed)));
            assert_eq!(print(&again).contains(".rn"), printed.contains(".rn"), "{text}");
            assert_eq!(again.functions[0].operands, module.functions[0].operands, "{text}");
        }
        assert_eq!(read(&print(&module)), module, "{text}");
    }
}

/// NVIDIA's own assembler takes what the table calls PTX, in our print of it. It is no part of this project: the test
/// runs where `$PTXAS` names one.
#[test]
fn every_form_is_taken_by_an_assembler() {
    let Some(ptxas) = std::env::var_os("PTXAS") else {
        eprintln!("skipped: $PTXAS names no assembler");
        return;
    };
    let samples = samples::all(&mut fastrand::Rng::with_seed(22));
    let mut left: Vec<&samples::Sample> = samples.iter().collect();
    // Some forms are for old devices only, some for new ones.
    for (version, target) in [("9.0", 90), ("9.0", 100), ("6.2", 61)] {
        left = refused(&ptxas, version, target, &left);
    }
    for sample in &left {
        eprintln!("refused: {}", sample.text);
    }
    assert!(left.is_empty(), "{} of {} samples are refused", left.len(), samples.len());
}

/// Calls with every kind of argument, what devices bring along, and variables that begin with addresses.
const CALLS: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
    .extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n\
    .extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 c);\n\
    .global .align 1 .b8 text[3] = {104, 105, 0};\n.const .align 8 .u64 at[2] = {generic(text), generic(text)+1};\n\
    .global .align 8 .u8 parts[9] = {1, 0xFF(text), 0xFF00(text), 0xFF0000(text), 0xFF000000(text), 0xFF00000000(text),\n\
    0xFF0000000000(text), 0xFF000000000000(text), 0xFF00000000000000(text)};\n\
    .func (.param .align 8 .b8 r[24]) many(.param .align 8 .b8 a[24], .param .f32 b, .param .b64 c)\n{\n\
    .reg .b64 x; .reg .f32 y; ld.param.b64 x, [a+8]; ld.param.f32 y, [b]; st.param.b64 [r+16], x; st.param.f32 [r], y; ret;\n}\n\
    .visible .entry k(.param .u64 out)\n{\n.reg .b64 d<4>; .reg .f32 f; .reg .b32 n; mov.f32 f, 0f3F800000;\n\
    mov.u64 d0, text; cvta.global.u64 d0, d0; ld.const.u64 d1, [at+8]; mov.u32 n, 1;\n\
    { .param .align 8 .b8 a[24]; .param .f32 b; .param .b64 c; .param .align 8 .b8 r[24]; st.param.b64 [a+8], d0;\n\
    st.param.f32 [b], f; st.param.b64 [c], d1; call.uni (r), many, (a, b, c); ld.param.b64 d2, [r+16]; }\n\
    { .param .b64 a; .param .b64 b; .param .b32 r; st.param.b64 [a], d0; st.param.b64 [b], d1;\n\
    call.uni (r), vprintf, (a, b); ld.param.b32 n, [r]; }\n\
    { .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e; st.param.b64 [a], d0; st.param.b64 [b], d0;\n\
    st.param.b32 [c], n; st.param.b64 [d], d0; st.param.b64 [e], d1; call.uni __assertfail, (a, b, c, d, e); }\n\
    ret;\n}\n";

/// Registers passed to functions, vectors of them, a list of labels, variables of a body.
const REGISTERS: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
    .func (.reg .u32 s, .reg .f32 t) f(.reg .u32 a, .reg .f64 b, .reg .u16 c)\n{\n.reg .pred p; .reg .u32 d;\n\
    cvt.rn.f32.f64 t, b; cvt.u32.u16 d, c; add.u32 s, a, d; setp.gt.u32 p, s, 7; @p ret; add.u32 s, s, 1; }\n\
    .visible .entry k(.param .u64 out)\n{\n.reg .b64 d; .reg .v4 .u32 v; .reg .v2 .f32 w<2>; .reg .b32 r<3>; .reg .f32 x; .reg .pred p;\n\
    .global .u32 kept[2] = {1+1, 3}; ld.param.u64 d, [out]; mov.u32 r0, %tid.x; mov.v4.u32 v, {r0, 1, 2, r0};\n\
    T: .branchtargets A, B, A;\n@p brx.idx v.x, T; setp.eq.u32 p, v.w, 3; @!p call (r1, x), f, (v.y, 2.5, 3);\n\
    A: call (_, x), f, (r0, 0d3FF0000000000000, 4); mov.v2.f32 w1, {x, x};\nB: ld.global.u32 r2, [kept+4]; add.u32 r1, r1, r2;\n\
    st.global.u32 [d], r1; st.global.v2.f32 [d+8], w1; ret;\n}\n";

/// Functions called by address: out of a table, by a list, and one that does so itself.
const ADDRESSES: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry first()\n{ ret; }\n\
    .func (.param .b32 r) f(.param .b32 a)\n{ .reg .b32 x; ld.param.b32 x, [a]; st.param.b32 [r], x; ret; }\n.func g()\n{ ret; }\n\
    .global .align 8 .u64 table[3] = {0, f, g};\n.global .align 8 .u8 bytes[16] = {0xFF(f), 0xFF00(f), 0xFF0000(f), 0xFF000000(f),\n\
    0xFF00000000(f), 0xFF0000000000(f), 0xFF000000000000(f), 0xFF00000000000000(f)};\n\
    .func (.reg .u32 s) apply(.reg .b64 h, .reg .u32 a)\n{ T: .calltargets f;\ncall (s), h, (a), T; ret; }\n\
    .visible .entry k(.param .u64 out)\n{\n.reg .b64 d, e; .reg .b32 n; .reg .pred p; P: .callprototype (.param .b32 _) _ (.param .b32 _);\n\
    Q: .callprototype _ ();\nmov.u64 d, table; ld.global.u64 e, [d+8]; mov.u32 n, 3; setp.eq.u64 p, e, 0;\n\
    { .param .b32 a; .param .b32 b; st.param.b32 [a], n; call (b), e, (a), P; ld.param.b32 n, [b]; }\n\
    @p call (n), e, (n), P; mov.u64 d, g; call d, Q; call (n), apply, (e, n); ret;\n}\n";

/// Whole modules too: calls, and the routines of the exact form at each of their places.
#[test]
fn whole_modules_are_taken_by_an_assembler() {
    let modules = [read(CALLS), read(REGISTERS), read(ADDRESSES)];
    for module in &modules {
        assert_eq!(read(&print(module)), *module);
    }
    let samples = samples::all(&mut fastrand::Rng::with_seed(23));
    let approximate = samples.iter().filter(|s| s.mods.iter().any(|m| matches!(m, Mod::Approx | Mod::Full)));
    let exact_forms: Vec<String> = approximate
        .map(|s| canonical(&exact(&read(&around("9.0", 90, &format!("@%p1 {}\n", s.text)))).unwrap()).text)
        .collect();
    assert!(
        exact_forms.len() > 30 && exact_forms.iter().all(|t| !t.contains(".approx") && !t.contains(".full"))
    );
    let Some(ptxas) = std::env::var_os("PTXAS") else {
        eprintln!("skipped: $PTXAS names no assembler");
        return;
    };
    let kernels = KERNELS.iter().map(|(_, text)| canonical(&read(text)).text);
    for text in kernels.chain(modules.map(|module| canonical(&module).text)).chain(exact_forms) {
        assert!(assembled(&ptxas, 90, &text), "{text}");
    }
}

fn assembled(ptxas: &std::ffi::OsStr, target: u32, text: &str) -> bool {
    let file = std::env::temp_dir().join(format!(
        "ion-{}-{:?}.ptx",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&file, text).unwrap();
    // Assemblers of today know no device older than this, but take texts for older ones.
    let arch = target.max(75);
    let mut command = std::process::Command::new(ptxas);
    command.arg(format!("-arch=sm_{arch}")).arg("-o").arg("/dev/null").arg(&file);
    let taken = command.output().unwrap().status.success();
    std::fs::remove_file(&file).unwrap();
    taken
}

/// The samples that the assembler does not take for this target.
fn refused<'a>(
    ptxas: &std::ffi::OsStr,
    version: &str,
    target: u32,
    samples: &[&'a samples::Sample],
) -> Vec<&'a samples::Sample> {
    let refuses = |sample: &&&samples::Sample| {
        let body = format!("{{ .param .align 16 .b8 given[64];\n{}\n}}\n", sample.text);
        !assembled(ptxas, target, &canonical(&read(&around(version, target, &body))).text)
    };
    samples.iter().filter(refuses).copied().collect()
}
