//! What is passed in registers, called by address, chosen from lists of labels, declared as vectors or within bodies.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_u32, hold, samples, u32s};
use ion_gpu::ptx;

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// Functions, and a body that finds its thread's word in `r0` and `r1`, and stores what is then in `r2`.
fn bench(functions: &str, body: &str) -> Bench {
    let text = format!(
        "{HEAD}{functions}\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .b64 at, to; .reg .b32 r<9>; .reg .f32 f<4>; .reg .pred p<3>;\n\
         ld.param.u64 at, [in]; ld.param.u64 to, [out]; mov.u32 r1, %tid.x; mul.wide.u32 at, r1, 4, at;\n"
    )
    .replace("mul.wide.u32 at, r1, 4, at;", "mad.wide.u32 to, r1, 4, to; mad.wide.u32 at, r1, 4, at;");
    let text = format!("{text}ld.global.u32 r0, [at];\n{body}\nst.global.u32 [to], r2;\nret;\n}}\n");
    let input: Vec<u32> = (0..64u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
    let printed = ptx::print(&ptx::parse(&text).unwrap_or_else(|r| panic!("{}", r.render(&text))));
    assert!(ptx::parse(&printed).unwrap() == ptx::parse(&text).unwrap(), "{text}\n{printed}");
    Bench::new(&text, "k").grid([1; 3], [64, 1, 1]).buffer(bytes_of_u32(&input)).buffer(vec![0; 256])
}

fn check(functions: &str, body: &str, expected: impl Fn(u32, u32) -> u32) {
    let bench = bench(functions, body);
    let (input, found) = (u32s(&bench.buffers[0]), u32s(&bench.outputs()[1]));
    for (n, (input, found)) in input.into_iter().zip(found).enumerate() {
        assert_eq!(found, expected(input, n as u32), "thread {n} of\n{body}");
    }
}

const REGISTERS: &str = ".func (.reg .u32 sum, .reg .u32 product) both (.reg .u32 a, .reg .u32 b)\n{\n.reg .pred q;\n\
    mul.lo.u32 product, a, b; add.u32 sum, a, b; setp.gt.u32 q, b, 40; @q bra LARGE; ret;\nLARGE: add.u32 sum, sum, 1000;\n}\n\
    .func (.param .f32 r) scaled (.param .f32 x, .param .u16 by)\n{\n.reg .f32 y, z; .reg .u16 n; ld.param.f32 y, [x];\n\
    ld.param.u16 n, [by]; cvt.rn.f32.u16 z, n; mul.rn.f32 y, y, z; st.param.f32 [r], y; ret;\n}\n";

#[test]
fn registers_and_numbers_are_passed_to_functions() {
    let sum = |a: u32, b: u32| a.wrapping_add(b).wrapping_add(if b > 40 { 1000 } else { 0 });
    check(REGISTERS, "call (r2, r3), both, (r0, r1);", sum);
    check(REGISTERS, "call.uni (_, r2), both, (r0, r1);", |a, b| a.wrapping_mul(b));
    check(REGISTERS, "call (r2, _), both, (7, (2+1)*20);", |_, _| 1067);
    check(REGISTERS, "call (r1, r0), both, (r0, r1); sub.u32 r2, r1, r0;", |a, b| {
        sum(a, b).wrapping_sub(a.wrapping_mul(b))
    });
    // Those that do not call keep what they had.
    let guarded = "mov.u32 r2, 5; setp.lt.u32 p0, r1, 20; @!p0 call (r2, r3), both, (r1, r1);";
    check(REGISTERS, guarded, |_, n| if n < 20 { 5 } else { sum(n, n) });
    let param = "{ .param .b32 x; st.param.b32 [x], r1; call (r2, r3), both, (x, 2); }";
    check(REGISTERS, param, |_, n| n + 2);
    let scaled = "{ .reg .u16 h; mov.u16 h, 3; cvt.rn.f32.u32 f0, r1; call (f1), scaled, (f0, h); cvt.rzi.u32.f32 r2, f1; }";
    check(REGISTERS, scaled, |_, n| 3 * n);
    check(REGISTERS, "call (f1), scaled, (2.5, 4); cvt.rzi.u32.f32 r2, f1;", |_, _| 10);
    let declared = ".func (.reg .u32 r) next (.reg .u32 a);\n.func (.reg .u32 r) next (.reg .u32 a) { add.u32 r, a, 1; }\n\
        .func (.reg .u32 r) twice (.reg .u32 a) { call (r), next, (a); call (r), next, (r); ret; }\n";
    check(declared, "call (r2), twice, (r1);", |_, n| n + 2);
}

const TAKEN: &str = ".func (.param .b32 r) one (.param .b32 a)\n{ .reg .b32 x; ld.param.b32 x, [a]; add.u32 x, x, 1; st.param.b32 [r], x; ret; }\n\
    .func (.param .b32 r) two (.param .b32 a)\n{ .reg .b32 x; ld.param.b32 x, [a]; mul.lo.u32 x, x, 2; st.param.b32 [r], x; ret; }\n\
    .func (.param .b32 r) three (.param .b32 a)\n{ .reg .b32 x; .reg .pred q; ld.param.b32 x, [a]; setp.lt.u32 q, x, 9; @q bra S; xor.b32 x, x, 3; S: st.param.b32 [r], x; ret; }\n\
    .func nothing ()\n{ ret; }\n.global .align 8 .u64 table[4] = {one, two, three, nothing};\n";

/// Each thread calls what its place in a table holds, which kernels before and after the functions may do.
#[test]
fn functions_are_called_by_address() {
    let each = |n: u32| [n + 1, 2 * n, if n < 9 { n } else { n ^ 3 }][n as usize % 3];
    let index =
        "rem.u32 r3, r1, 3; { .reg .b64 d; mov.u64 d, table; mad.wide.u32 d, r3, 8, d; ld.global.u64 d, [d];";
    let passed = ".param .b32 a; .param .b32 b; st.param.b32 [a], r1;";
    check(
        TAKEN,
        &format!(
            "P: .callprototype (.param .b32 _) _ (.param .b32 _);\n{index} {passed} call (b), d, (a), P; ld.param.b32 r2, [b]; }}"
        ),
        |_, n| each(n),
    );
    check(TAKEN, &format!("P: .calltargets one, two, three;\n{index} call (r2), d, (r1), P; }}"), |_, n| {
        each(n)
    });
    // Those that do not call keep what they had.
    let guarded = format!(
        "P: .calltargets three, two, one;\n{index} mov.u32 r2, 5; setp.lt.u32 p0, r1, 20; @p0 call (r2), d, (r1), P; }}"
    );
    check(TAKEN, &guarded, |_, n| if n < 20 { each(n) } else { 5 });
    let chosen = "P: .callprototype (.reg .u32 _) _ (.reg .u32 _);\n{ .reg .b64 d, e; mov.u64 d, one; mov.b64 e, two; setp.gt.u32 p0, r1, 40;\n\
        selp.b64 d, d, e, p0; call (r2), d, (r1), P; call (r2), e, (r2), P; }";
    check(TAKEN, chosen, |_, n| 2 * if n > 40 { n + 1 } else { 2 * n });
    let nothing = "P: .callprototype _ ();\n{ .reg .b64 d; mov.u64 d, nothing; mov.u32 r2, 8; call d, P; }";
    check(TAKEN, nothing, |_, _| 8);
    // A kernel before the functions, and a function that calls by address.
    let before = format!(
        ".visible .entry other()\n{{ ret; }}\n{TAKEN}.func (.reg .u32 r) apply (.reg .b64 f, .reg .u32 a)\n\
         {{ P: .calltargets one, three;\ncall (r), f, (a), P; call (r), f, (r), P; ret; }}\n"
    );
    check(&before, "{ .reg .b64 d; mov.u64 d, one; call (r2), apply, (d, r1); }", |_, n| n + 2);
}

/// Addresses at which no function of the called kind is end in a fault that tells the address and the line.
#[test]
fn calls_of_wild_addresses_are_faults() {
    let proto = "P: .callprototype (.param .b32 _) _ (.param .b32 _);\n";
    for address in ["0", "1", "-1", "0x7f00000000000000", "0x7f00000000000011"] {
        let body = format!("{proto}{{ .reg .b64 d; mov.u64 d, {address}; call (r2), d, (r1), P; }}");
        let fault = bench(TAKEN, &body).run().expect_err(address).to_string();
        assert!(fault.contains("generic") && fault.contains("line"), "{address}: {fault}");
    }
    for (take, call) in [
        // Of another kind; not among those named; data.
        ("mov.u64 d, nothing;", proto),
        ("mov.u64 d, three;", "P: .calltargets one, two;\n"),
        ("mov.u64 d, table;", proto),
        ("mov.u64 d, one; add.u64 d, d, 1;", proto),
    ] {
        let body = format!("{call}{{ .reg .b64 d; {take} call (r2), d, (r1), P; }}");
        let fault = bench(TAKEN, &body).run().expect_err(take).to_string();
        assert!(fault.contains("generic"), "{take}: {fault}");
    }
    // A function is no memory.
    for access in ["ld.u32 r2, [d];", "st.global.u32 [d], r1;"] {
        let body = format!("{{ .reg .b64 d; mov.u64 d, one; {access} }}");
        bench(TAKEN, &body).run().expect_err(access);
    }
}

#[test]
fn a_branch_chooses_from_a_list_of_labels() {
    let body = "TS: .branchtargets A, B, C, B;\nand.b32 r3, r1, 3; mov.u32 r2, 0; brx.idx r3, TS;\n\
        A: mov.u32 r2, 10; bra.uni END;\nB: add.u32 r2, r2, 20; bra.uni END;\nC: mov.u32 r2, 30;\nEND:";
    check("", body, |_, n| [10, 20, 30, 20][n as usize % 4]);
    let guarded = "TS: .branchtargets A, B;\nmov.u32 r2, 1; setp.ge.u32 p0, r1, 2; @!p0 brx.idx r1, TS;\nbra END;\n\
        A: mov.u32 r2, 10; bra END;\nB: mov.u32 r2, 20;\nEND:";
    check("", guarded, |_, n| [10, 20].get(n as usize).copied().unwrap_or(1));
    let looped = "TS: .branchtargets AGAIN, END;\nmov.u32 r2, 0;\nAGAIN: add.u32 r2, r2, 1; setp.gt.u32 p0, r2, r1;\n\
        selp.u32 r3, 1, 0, p0; brx.idx r3, TS;\nEND:";
    check("", looped, |_, n| n + 1);
    let beyond = bench("", "TS: .branchtargets A, END;\nbrx.idx r1, TS;\nA: mov.u32 r2, 10;\nEND:");
    let fault = beyond.run().expect_err("thread 2 has no label").to_string();
    assert!(fault.contains("trap"), "{fault}");
}

#[test]
fn vectors_are_registers_side_by_side() {
    let whole = "{ .reg .v4 .u32 v; .reg .v2 .u32 w<3>; .reg .v2 .b16 h; .shared .align 16 .b8 cell[16];\n\
        mov.v4.u32 v, {r0, r1, 3, 4}; mov.v2.u32 w1, {v.w, v.x}; mov.u32 v.g, 9; add.u32 v.z, v.b, w1.x;\n\
        setp.eq.u32 p0, r1, 0; @p0 st.shared.v4.u32 [cell], v; bar.sync 0; ld.shared.v4.u32 v, [cell];\n\
        mov.b32 h, r1; mov.b32 r4, {h.y, h.x}; shr.u32 r4, r4, 16; add.u32 r2, v.y, v.z; add.u32 r2, r2, r4; }";
    check("", whole, |_, n| 9 + 3 + 4 + n);
    let rows = samples(71, &[0, 1, 0xffff_ffff], 40);
    let swap = "{ .reg .v2 .b64 v; mov.v2.b64 v, {a, b}; mov.v2.b64 v, {v.y, v.x}; sub.u64 d, v.x, v.y; }";
    hold(swap, ["b64"; 3], "b64", &rows, |[a, b, _]| b.wrapping_sub(a));
}

#[test]
fn variables_of_a_body_outlive_it_where_their_space_does() {
    let body = "{ .const .u32 table[4] = {5, 6, 7, 8}; .global .u32 sum; .reg .b64 d; and.b32 r3, r1, 3; mov.u64 d, table;\n\
        mad.wide.u32 d, r3, 4, d; ld.const.u32 r2, [d]; red.global.add.u32 [sum], 1; bar.sync 0; ld.global.u32 r4, [sum];\n\
        mad.lo.u32 r2, r4, 100, r2; }\n{ .const .u32 table = 1; ld.const.u32 r4, [table]; add.u32 r2, r2, r4; }";
    check("", body, |_, n| 6400 + 5 + n % 4 + 1);
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    for (functions, body, expected) in [
        (REGISTERS, "call (r2), both, (r0, r1);", "1 results; expected 2"),
        (REGISTERS, "call (r2, r3), both, (r0);", "1 parameters; expected 2"),
        (
            REGISTERS,
            "call (r2, at), both, (r0, r1);",
            "another kind of results; expected registers of the declared sizes",
        ),
        (REGISTERS, "call (r2, 5), both, (r0, r1);", "another kind of results"),
        (REGISTERS, "call (f1), scaled, (p0, 1);", "another kind of parameters"),
        (".func g (.param .b8 a[8]) { ret; }", "call g, (r0);", "another kind of parameters"),
        (".func g (.reg .pred a) { ret; }", "", "expected a register type"),
        (".func g (.reg .v2 .u32 a) { ret; }", "", "expected a register type"),
        (TAKEN, "P: .calltargets one, two;\n call (r2), r1, (r1), P;", "a .b64 register and a prototype"),
        (TAKEN, "call (r2), at, (r1);", "a .b64 register and a prototype"),
        (TAKEN, "P: .calltargets one, two;\n call (r2), at, P;", "0 parameters; expected 1"),
        (TAKEN, "P: .calltargets one, two;\n call (r2), one, (r1), P;", "a .b64 register and a prototype"),
        (TAKEN, "P: .calltargets one, nothing;", "found `nothing`, expected a function with the results"),
        (TAKEN, "P: .calltargets k;", "`k` is not run here: a kernel starts no other kernels"),
        (TAKEN, "P: .calltargets two;\nP: .calltargets one;", "`P` is declared twice"),
        (TAKEN, "P: .callprototype (.param .b32 _) one (.param .b32 _);", "`_` in place of a name"),
        (TAKEN, "P: .callprototype (.reg .b32 _, .reg .b32 _) _ ();", "one at most"),
        (TAKEN, "mov.u32 r2, one;", "does not take a function"),
        (TAKEN, "add.u64 at, at, one;", "does not take a function"),
        (TAKEN, "mov.u64 at, k;", "`k` is not run here"),
        (".func g (.param .b32 _) { ret; }", "", "found `_`, expected a parameter's name"),
        (
            ".func h (.reg .u64 f, .reg .u32 a) { P: .callprototype _ (.reg .u64 _, .reg .u32 _);\ncall f, (f, a), P; ret; }",
            "{ .reg .b64 d; mov.u64 d, h; call h, (d, r1); }",
            "name what it is of by .calltargets",
        ),
        ("", "brx.idx r1, NONE;", "register or variable `NONE` is not declared"),
        ("", "TS: .branchtargets A;\nbrx.idx r1, TS;", "label `A` is not declared"),
        ("", "brx.idx r1, TS;\nTS: .branchtargets A;\nA:", "`TS` is not declared"),
        ("", "brx.idx r1, r2;", "expected the label of a `.branchtargets`"),
        ("", "A:\nTS: .branchtargets A;\nTS: .branchtargets A;", "`TS` is declared twice"),
        ("", "{ .reg .v2 .u32 v; mov.u32 r2, v.z; }", "a part of the vector"),
        ("", "{ .reg .v2 .u32 v; mov.u32 r2, v; }", "does not take a vector"),
        ("", "{ .reg .v2 .u32 v; mov.v2.u32 {v, r1}, {r1, r2}; }", "a part that is no value"),
        ("", "{ .reg .v2 .pred v; }", "expected a register type"),
    ] {
        let text = format!(
            "{HEAD}{functions}\n.visible .entry k(.param .u64 in)\n{{\n.reg .b64 at; .reg .b32 r<9>; .reg .f32 f<4>; .reg .pred p<3>;\n\
             {body}\nret;\n}}\n"
        );
        let said = ptx::parse(&text).expect_err(&text).render(&text);
        assert!(said.contains(expected) && said.ends_with('^'), "{body}\n{said}");
    }
}
