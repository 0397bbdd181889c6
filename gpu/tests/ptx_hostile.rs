//! Texts that nobody wrote in good faith: the reader refuses them, at once, in words, and without a panic. Random ones
//! are in `gpu/tests/ptx_fuzz`.

use ion_gpu::ptx::{self, Refusal, What, limits};

const HEAD: &str = ".version 6.5\n.target sm_75\n.address_size 64\n";

fn body(text: &str) -> String {
    format!("{HEAD}.visible .entry k(.param .u64 x)\n{{\n{text}\n}}\n")
}

fn refusal(text: &str) -> Refusal {
    ptx::parse(text)
        .err()
        .unwrap_or_else(|| panic!("this should be refused:\n{}", &text[..text.len().min(800)]))
}

fn limit(text: &str) -> &'static str {
    match refusal(text).what {
        What::Limit { what, .. } => what,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_too_much_is_named() {
    assert_eq!(limit(&" ".repeat(limits::MODULE_BYTES_MAX as usize + 1)), "bytes in a module");
    assert_eq!(limit(&body(&"ret;\n".repeat(400_001))), "instructions in a module");
    assert_eq!(limit(&body(&"{".repeat(33))), "nested blocks");
    assert_eq!(limit(&body(".reg .b32 %r<1048577>;")), "declared registers in a function");
    assert_eq!(limit(&body(".reg .b32 %a<1048576>;\n.reg .b32 %b<2>;")), "declared registers in a function");
    assert_eq!(limit(&body(".shared .b8 s[49153];")), "bytes of static shared memory");
    assert_eq!(limit(&body(".shared .b8 s[40000]; .shared .b8 t[40000];")), "bytes of static shared memory");
    assert_eq!(limit(&body(".local .b8 s[65537];")), "bytes of local memory a thread");
    assert_eq!(limit(&format!("{HEAD}.global .b8 g[67108865];")), "elements in an array");
    assert_eq!(limit(&format!("{HEAD}.global .b64 g[60000000];")), "bytes of global variables");
    assert_eq!(limit(&format!("{HEAD}.const .b64 g[8193];")), "bytes of constant variables");
    assert_eq!(limit(&format!("{HEAD}.global .b8 g[8192][8192][8192];")), "elements in an array");
    assert_eq!(limit(&format!("{HEAD}.entry k(.param .b8 x[32765]) {{}}")), "bytes of parameters");
    assert_eq!(limit(&body(&format!("mov.u32 {}, 0;", "r".repeat(2000)))), "bytes in a name");
    assert_eq!(limit(&body(&format!("add{} ;", ".rn".repeat(13)))), "modifiers on an instruction");
    let used: String = (0..=limits::REGISTERS_MAX).map(|n| format!("mov.u32 %r{n}, 0;\n")).collect();
    assert_eq!(limit(&body(&format!(".reg .b32 %r<300000>;\n{used}"))), "registers in a function");
    let labels: String = (0..200_001).map(|n| format!("L{n}:\n")).collect();
    assert_eq!(limit(&body(&labels)), "labels in a module");
    // As many unclosed comments, strings and brackets as fit.
    for text in ["/*", "\"", "(", "[", "{", "@", "!", "-", ".", "0x", "0f", "%", "call (", "mov.b64 {"] {
        let text = body(&text.repeat(100_000));
        refusal(&text);
    }
}

#[test]
fn what_is_not_covered_is_named_with_its_place() {
    let cases = [
        ("wgmma.fence.sync.aligned;", "`wgmma.fence.sync.aligned` is not run here"),
        ("tex.2d.v4.f32.s32 {a}, [t];", "`tex.2d.v4.f32.s32` is not run here"),
        (
            "cp.async.bulk.shared::cta.global [a], [b], 4;",
            "`cp.async.bulk.shared::cta.global` is not run here: bulk",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f32 a;",
            "`mma.sp.sync.aligned.m16n8k16.row.col.f32` is not run here",
        ),
        ("tcgen05.mma.cta_group::1.kind::f16 [a];", "`tcgen05.mma.cta_group::1.kind::f16` is not run here"),
        ("multimem.red.global.add.f32 [a], b;", "`multimem.red.global.add.f32` is not run here"),
        ("st.async.weak.shared::cluster.b32 [a], b;", "`st.async.weak.shared::cluster.b32` is not run here"),
        ("barrier.cluster.arrive;", "`barrier.cluster.arrive` is not run here: thread-block clusters"),
        (
            "fence.proxy.tensormap::generic.release.gpu;",
            "`fence.proxy.tensormap::generic.release.gpu` is not run",
        ),
        (".callprototype (.param .b32 _) _ (.param .b32 _);", "is not run here: only registers"),
        (
            "mbarrier.arrive.release.sys.b64 %d0, [%d0];",
            "`mbarrier.arrive.release.sys.b64` is not run here: barrier",
        ),
        ("mov.b32 %r0, 1.0;", "does not take a floating-point constant"),
        ("and.b64 %d0, %d0, 0f3F800000;", "does not take a floating-point constant"),
        (
            "st.shared.u32 [cell], %laneid;",
            "does not take `%laneid`; expected a register: `mov` reads a special one",
        ),
        ("add.u32 %r0, %r0, %tid.x;", "does not take `%tid`; expected a register"),
        ("ld.global.u32 %r0, [64];", "only .local has numbers for addresses"),
        ("frobnicate.u32 a;", "`frobnicate.u32` is not a PTX instruction known here"),
        ("bra NOWHERE;", "label `NOWHERE` is not declared"),
        ("mov.u32 %q, 0;", "register or variable `%q` is not declared"),
        ("add.f32 %f0, %f0, %g0;", "`add.f32` does not take a .f64 register; expected a .f32"),
        ("add.u32 %f0, %r0, %r0;", "`add.u32` does not take a .f32 register; expected a .u32"),
        ("add.rn.f17 %f0, %f0, %f0;", "does not take `.f17`"),
        ("add.u32.rn %r0, %r0, %r0;", "does not take `.rn`"),
        ("ld.shared.v4.f64 {%g0, %g0, %g0, %g0}, [%d0];", "at most 128 bits"),
        ("ld.global.u32 %r0, [%r0];", "a 64-bit address register"),
        ("ld.shared.u32 %r0, [x];", "expected a variable in .shared"),
        ("ld.u32 %r0, [cell];", "not a generic address"),
        ("setp.lo.s32 %p0, %r0, %r0;", "`setp.lo.s32` does not take `.s32`; expected .u16"),
        ("mov.u32 %r0, 1.5;", "a floating-point constant"),
        ("add.u32 %r0, %r0;", "2 operands; expected 3"),
        ("mov.u32 %r0, (1+2;", "found `;`, expected `)`"),
        (".tex .u64 t;", "is not run here"),
        (".reg .u128 %x;", "expected a register type"),
    ];
    let regs = ".reg .b32 %r<4>; .reg .f32 %f<4>; .reg .f64 %g<4>; .reg .b64 %d<4>; .reg .pred %p<4>;\n.shared .u32 cell;";
    for (instruction, expected) in cases {
        let text = body(&format!("{regs}\n    {instruction}"));
        let found = refusal(&text);
        let said = found.render(&text);
        assert!(said.contains(expected), "{instruction}\n{said}");
        assert_eq!(found.at.line, 8, "{said}");
        assert!(said.contains(instruction) && said.ends_with('^'), "{said}");
    }
    for (text, expected) in [
        (".extern .func foo();", "only __assertfail and vprintf are external"),
        (".extern .global .u32 g;", "a module brings all its variables along"),
        (".func f() { call f, (); }\n", "recursive calls are not covered"),
        (".func f();\n", "it is declared but has no body"),
        (".entry k() {}\n.entry k() {}", "`k` is declared twice"),
        (".entry $k() {}", "a kernel name that begins with a letter"),
        (
            ".extern .func (.param .b64 r) malloc(.param .b64 n);",
            "`malloc` is not run here: memory is not allocated",
        ),
        (".extern .func (.param .b32 r) vprintf(.param .b64 f);", "the parameters it has on every device"),
        (".global .u32 g = h;", "variable `h` is not declared"),
        (".func f() {}\n.global .u64 g = f+8;", "found a part of a function, expected its name alone"),
        (
            ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n.global .u64 g = vprintf;",
            "is called by its name",
        ),
        (".global .u32 h;\n.global .u32 g = h;", "found an address, expected a .u32 value"),
        (".global .u32 h;\n.global .u8 g[9] = {0xFF(h), 0xFF00(h)};", "all eight bytes of the address"),
    ] {
        let text = format!("{HEAD}{text}");
        let said = refusal(&text).render(&text);
        assert!(said.contains(expected), "{said}");
    }
    for head in [".version 5.0\n.target sm_75", ".version 9.1\n.target sm_75", ".version 7.0\n.target sm_90a"]
    {
        refusal(&format!("{head}\n.address_size 64\n"));
    }
}

/// Programs put together from every kind of operand and declaration.
#[test]
fn random_programs_print_as_the_same_module() {
    const SEED: u64 = 12;
    let templates = [
        "mov.u32 R, R;",
        "mov.u32 R, %tid.x;",
        "mov.b64 D, {R, R};",
        "mov.b64 {R, _}, D;",
        "mov.b32 R, {H, H};",
        "add.s32 R, R, N;",
        "add.f32 F, F, F;",
        "add.rn.ftz.sat.f32 F, F, 0f3F800000;",
        "mul.f64 G, G, 0d3FF0000000000000;",
        "mad.lo.s32 R, R, R, N;",
        "mul.wide.u32 D, R, R;",
        "fma.rn.f32 F, F, F, F;",
        "setp.lt.and.f32 P|P, F, F, !P;",
        "setp.ge.u32 P, R, N;",
        "selp.f32 F, F, F, P;",
        "cvt.rn.f32.s32 F, R;",
        "cvt.rzi.u64.f64 D, G;",
        "shl.b64 D, D, R;",
        "bfi.b32 R, R, R, 4, 8;",
        "ld.global.f32 F, [D+N];",
        "ld.global.v2.u32 {R, R}, [D];",
        "st.shared.u32 [R+N], R;",
        "st.global.v4.f32 [D], {F, F, F, F};",
        "ld.param.u64 D, [x];",
        "ld.shared.u32 R, [cell+4];",
        "mov.u32 R, cell;",
        "atom.global.add.u32 R, [D], R;",
        "atom.shared.cas.b32 _, [R], R, R;",
        "red.global.add.f32 [D], F;",
        "shfl.sync.bfly.b32 R|P, R, 1, 31, -1;",
        "vote.sync.ballot.b32 R, P, -1;",
        "lop3.b32 R, R, R, R, 150;",
        "bra L;",
        "@P bra L;",
        "@!P bra.uni L;",
        "bar.sync 0;",
        "@P ret;",
        "and.pred P, P, P;",
        "not.b16 H, H;",
        "cvta.to.global.u64 D, D;",
        "cvta.shared.u64 D, cell;",
        "prmt.b32 R, R, R, 25;",
        "div.full.f32 F, F, F;",
        "ex2.approx.ftz.f32 F, F;",
        "fma.rn.f16x2 R, R, R, R;",
        "{ .reg .b32 %r1; mov.u32 %r1, R; }",
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a], R; call (b), twice, (a); ld.param.b32 R, [b]; }",
    ];
    let mut rng = fastrand::Rng::with_seed(SEED);
    for round in 0..300 {
        let mut text = format!(
            "{HEAD}.global .align 8 .b8 table[16] = {{1, 2, 3}};\n.extern .shared .align 16 .b8 dynamic[];\n\
             .func (.param .b32 out) twice(.param .b32 in)\n{{\n.reg .b32 %r<2>;\nld.param.b32 %r0, [in];\n\
             add.s32 %r1, %r0, %r0;\nst.param.b32 [out], %r1;\nret;\n}}\n\
             .visible .entry k(.param .u64 .ptr .global .align 4 x, .param .align 4 .b8 s[12]) .maxntid 128, 1, 1\n{{\n\
             .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>; .reg .f64 %g<9>; .reg .pred %p<9>;\n\
             .shared .u32 cell[8];\n"
        );
        for n in 0..rng.usize(1..40) {
            if rng.u8(0..4) == 0 {
                text.push_str(&format!("LABEL{n}:\n"));
            }
            for c in templates[rng.usize(0..templates.len())].split_inclusive(' ') {
                let register = |prefix: &str, rng: &mut fastrand::Rng| format!("%{prefix}{}", rng.u8(0..9));
                let mut word = c.to_string();
                for (letter, prefix) in
                    [("R", "r"), ("D", "d"), ("F", "f"), ("G", "g"), ("P", "p"), ("H", "h")]
                {
                    // Upper-case letters stand for registers, except within constants.
                    while !word.starts_with("0f") && !word.starts_with("0d") && word.contains(letter) {
                        word = word.replacen(letter, &register(prefix, &mut rng), 1);
                    }
                }
                let number = rng.i64(-40..40) * 4;
                word = word.replace('N', &number.to_string()).replace('L', "END");
                text.push_str(&word);
            }
            text.push('\n');
        }
        text.push_str("END:\nret;\n}\n");
        let module =
            ptx::parse(&text).unwrap_or_else(|r| panic!("seed {SEED}, round {round}: {}", r.render(&text)));
        for printed in [ptx::print(&module), ptx::canonical(&module).text] {
            let again = ptx::parse(&printed)
                .unwrap_or_else(|r| panic!("seed {SEED}, round {round}: {}", r.render(&printed)));
            assert_eq!(ptx::print(&again), printed, "seed {SEED}, round {round}");
        }
        assert_eq!(ptx::parse(&ptx::print(&module)).as_ref(), Ok(&module), "seed {SEED}, round {round}");
    }
}

#[test]
fn spelling_and_order_do_not_change_what_a_module_is() {
    let one = body(
        ".reg .b32 %a, %unused; .reg .f32 %f<3>;\nmov.u32 %a, 0x10; // sixteen\nadd.f32 %f0, %f1, %f2;\nGO: bra GO;",
    );
    let other = body(
        ".reg .f32 p, q, r; .reg .u32 counter;\nmov.u32 counter, 16;\n{ add.rn.f32 p, q, r; }\nL: bra L;",
    );
    // A vector of one is what it holds.
    let [bare, braced] = ["%r", "{%r}"].map(|r| {
        let text = body(&format!(
            ".reg .b32 %r; .reg .b64 %d;\nld.global.cs.u32 {r}, [%d];\nst.global.u32 [%d], {r};"
        ));
        ptx::canonical(&ptx::parse(&text).unwrap())
    });
    assert_eq!(bare, braced);
    let [one, other] = [one, other].map(|t| ptx::canonical(&ptx::parse(&t).unwrap()));
    assert_eq!(one, other);
    assert!(one.text.contains("add.rn.f32"), "{}", one.text);
}

#[test]
fn profiles_say_why() {
    let profile = |text: &str| {
        let module = ptx::parse(text).unwrap();
        let kernel = module.kernels().next().unwrap();
        ptx::profile(&module, kernel).to_string()
    };
    assert_eq!(profile(include_str!("../kernels/saxpy.ptx")), "exact");
    assert_eq!(
        profile(include_str!("../kernels/histogram.ptx")),
        "exact; blocks meet in integer atomics (line 47)"
    );
    let regs = ".reg .f32 %f<2>; .reg .b64 %d; .reg .b32 %r;";
    assert!(profile(&body(&format!("{regs}\nex2.approx.f32 %f0, %f1;"))).starts_with("approximate: `ex2`"));
    let product = "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f0, %f0, %f0, %f0}, {%r, %r}, {%r}, {%f0, %f0, %f0, %f0};";
    assert!(profile(&body(&format!("{regs}\n{product}"))).starts_with("approximate: `mma` sums"));
    let product = "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r, %r}, {%r}, {%r}, {%r, %r};";
    assert_eq!(profile(&body(&format!("{regs}\n{product}"))), "exact");
    assert!(profile(&body(&format!("{regs}\nred.global.add.f32 [%d], %f1;"))).starts_with("not checkable"));
    assert!(
        profile(&body(&format!("{regs}\natom.global.add.u32 %r, [%d], 1;")))
            .contains("what an atomic returned")
    );
    assert!(profile(&body(&format!("{regs}\nmov.u32 %r, %clock;"))).contains("reads a clock"));
    for size in ["%total_smem_size", "%aggr_smem_size"] {
        let found = profile(&body(&format!("{regs}\nmov.u32 %r, {size};")));
        assert!(found.contains("rounds up"), "{size}: {found}");
    }
    assert_eq!(profile(&body(&format!("{regs}\nmov.u32 %r, %dynamic_smem_size;"))), "exact");
    for together in ["activemask.b32 %r;", "vote.ballot.b32 %r, 1;"] {
        let found = profile(&body(&format!("{regs}\n{together}")));
        assert!(found.contains("which threads run together"), "{together}: {found}");
    }
    assert_eq!(profile(&body(&format!("{regs}\nvote.sync.ballot.b32 %r, 1, -1;"))), "exact");
}
