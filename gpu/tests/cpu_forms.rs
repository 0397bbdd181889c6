//! Ways in which an instruction may be written, held against what they must mean: constant expressions, modifiers in
//! another order, negated and constant predicates, vectors, hints that have no effect, special registers.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_f32, bytes_of_u32, f32s, hold, rows, samples, u32s};
use ion_gpu::ptx;

const B64: [&str; 3] = ["b64"; 3];
const F32: [&str; 3] = ["f32"; 3];

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

/// Bits of f32: zeros, ones, subnormals, the greatest, infinities, NaN, of either sign.
fn singles() -> Vec<u64> {
    let bits =
        [0u64, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x4049_0fdb, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0001];
    bits.iter().flat_map(|v| [*v, v | 1 << 31]).collect()
}

/// The bits of a result, whose NaN is the canonical one.
fn canonical(v: f32) -> u64 {
    if v.is_nan() { 0x7fff_ffff } else { v.to_bits().into() }
}

#[test]
fn constant_expressions_have_the_values_that_an_assembler_gives_them() {
    let cases: [(&str, i64); 47] = [
        ("3+4*2", 11),
        ("(3+4)*2", 14),
        ("10-4-3", 3),
        ("2*3-4/2", 4),
        ("7 % 4", 3),
        ("-7 % 4", 1),
        ("(7 % 4)-4<0", 0),
        ("-7/2", -3),
        ("-7U/2", ((7u64.wrapping_neg()) / 2) as i64),
        ("(.u64)-1/2", i64::MAX),
        ("(.s64)0xFFFFFFFFFFFFFFFF/2", 0),
        ("0xFFFFFFFFFFFFFFFF/2", i64::MAX),
        ("-1>>1", -1),
        ("0xFFFFFFFFFFFFFFFF>>1", i64::MAX),
        ("1<<4|3", 19),
        ("1<<64", 1),
        ("(1<<3U)-9<0", 1),
        ("(1U<<3)-9<0", 0),
        ("(6&3)-4<0", 1),
        ("(6|1)-9<0", 1),
        ("~0<0", 0),
        ("(1?-1:1U)<0", 1),
        ("-9223372036854775808<0", 0),
        ("-8>>70", -1),
        ("6&3^1", 3),
        ("6^3|8", 13),
        ("~0", -1),
        ("~5&0xf", 10),
        ("!0+!5", 1),
        ("-(3)", -3),
        ("+5", 5),
        ("- - 5", 5),
        ("1<2", 1),
        ("-1<1", 1),
        ("-1<1U", 0),
        ("3>=3&&2>1", 1),
        ("0||0", 0),
        ("1&&2||0", 1),
        ("5==5?7:9", 7),
        ("5!=5?7:9", 9),
        ("0?1:0?2:3", 3),
        ("1?0?4:5:6", 5),
        ("(1<2)&&(3<=3)", 1),
        ("1.5<2.0", 1),
        ("1.0==1.0", 1),
        ("WARP_SZ*2", 64),
        ("2147483648*2", 1 << 32),
    ];
    for (text, expected) in cases {
        let found = rows(&format!("mov.s64 d, {text};"), B64, "b64", &[[0; 3]]);
        assert_eq!(found[0] as i64, expected, "{text}");
    }
    for (text, expected) in
        [("1.0/3.0", 1.0 / 3.0f64), ("-(2.5)", -2.5), ("1.5*2.0-0.25", 2.75), ("1?1.5:2.5", 1.5)]
    {
        let found = rows(&format!("mov.f64 d, {text};"), B64, "f64", &[[0; 3]]);
        assert_eq!(f64::from_bits(found[0]), expected, "{text}");
    }
    // In addresses, counts of bits, first values and elements of arrays too.
    let text = ".version 7.8\n.target sm_80\n.address_size 64\n.global .u32 table[6] = {1<<3, ~0, (5>2)?1:0, -7/2, 'X', 0};\n";
    let text = text.replace("'X'", "WARP_SZ-1")
        + ".visible .entry k(.param .u64 out)\n{\n.reg .b64 d<3>; .reg .b32 r<4>;\nld.param.u64 d0, [out+(4-4)];\n\
           ld.global.u32 r0, [table+4*4]; st.global.u32 [d0], r0; mov.u64 d1, table[3]; ld.global.u32 r1, [d1+-4+4];\n\
           st.global.u32 [d0+(1+1)*2], r1; ld.global.u32 r2, [table+8]; shl.b32 r2, r2, (1+2); st.global.u32 [d0+8], r2;\n\
           ld.global.u32 r3, [table]; st.global.u32 [d0+3*4], r3; ret;\n}\n";
    let bench = Bench::new(&text, "k").grid([1; 3], [1; 3]).buffer(vec![0; 16]);
    assert_eq!(u32s(&bench.outputs()[0]), [31, -3i32 as u32, 8, 8]);
}

fn refused(instruction: &str) -> String {
    let text = format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 x)\n{{\n.reg .b64 d<4>; .reg .b32 r<4>;\n\
         .shared .align 16 .b8 cell[64];\n{instruction}\nret;\n}}\n"
    );
    ptx::parse(&text).expect_err(instruction).render(&text)
}

#[test]
fn expressions_without_a_value_are_refused_with_their_place() {
    for (instruction, expected) in [
        ("mov.u64 d1, 1/0;", "no division by zero"),
        ("mov.u64 d1, 1 % 0;", "no division by zero"),
        ("mov.f64 d1, 1.0+2;", "operands of one type"),
        ("mov.u64 d1, 1+;", "found `;`, expected a number"),
        ("mov.u64 d1, (1+2;", "expected `)`"),
        ("mov.u64 d1, 1:2;", "found `:`"),
        ("mov.u64 d1, 1?2;", "the rest of a constant expression"),
        ("mov.u64 d1, 0f3F800000+1;", "found `+`"),
        ("mov.u64 d1, ~1.5;", "operands of one type"),
        ("ld.global.u32 r1, [d1+1.5];", "found a floating-point number, expected an integer"),
        (
            "mov.u64 d1, ((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))));",
            "more than 32 open",
        ),
    ] {
        let said = refused(instruction);
        assert!(said.contains(expected) && said.contains("line 8"), "{instruction}\n{said}");
    }
}

#[test]
fn the_order_of_modifiers_makes_no_difference() {
    let module = |instruction: &str| {
        let text = format!(
            ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 x)\n{{\n.reg .b64 d<4>; .reg .b32 r<8>;\n\
             .reg .f32 f<8>; .reg .f64 g<2>; .reg .pred p<3>;\n{instruction}\nret;\n}}\n"
        );
        ptx::parse(&text).unwrap_or_else(|refusal| panic!("{}", refusal.render(&text)))
    };
    for (usual, other) in [
        ("add.rn.ftz.f32 f1, f2, f3;", "add.f32.ftz.rn f1, f2, f3;"),
        ("cvt.rn.f32.f64 f1, g1;", "cvt.f32.rn.f64 f1, g1;"),
        ("cvt.f64.f32 g1, f1;", "cvt.f64.f32 g1, f1;"),
        ("ld.global.nc.v2.f32 {f1, f2}, [d1];", "ld.nc.v2.f32.global {f1, f2}, [d1];"),
        ("setp.lt.and.s32 p1, r1, r2, p2;", "setp.s32.and.lt p1, r1, r2, p2;"),
        ("atom.acq_rel.gpu.global.add.u32 r1, [d1], r2;", "atom.global.acq_rel.gpu.add.u32 r1, [d1], r2;"),
        ("red.global.add.v2.f32 [d1], {f1, f2};", "red.global.v2.f32.add [d1], {f1, f2};"),
        ("vote.sync.all.pred p1, p2, -1;", "vote.all.sync.pred p1, p2, -1;"),
    ] {
        assert_eq!(module(usual), module(other), "{other}");
        assert_eq!(ptx::canonical(&module(usual)), ptx::canonical(&module(other)), "{other}");
    }
    // Types stand for operands: their order is no matter of taste.
    assert_ne!(module("cvt.u16.u32 r1, r2;"), module("cvt.u32.u16 r1, r2;"));
    assert!(refused("cvt.f64.f32.rn d1, r1;").contains("does not take"));
}

#[test]
fn pairs_of_singles_are_computed_each_on_its_own() {
    let rows: Vec<[u64; 3]> = samples(61, &singles(), 300);
    let pairs: Vec<[u64; 3]> = (0..rows.len())
        .map(|n| [0, 1, 2].map(|i| rows[n][i] << 32 >> 32 | rows[(n + 7) % rows.len()][i] << 32))
        .collect();
    let each = |v: [u64; 3], op: &dyn Fn(f32, f32, f32) -> f32| {
        let one = |shift: u32| canonical(op(f(v[0] >> shift), f(v[1] >> shift), f(v[2] >> shift))) << shift;
        one(0) | one(32)
    };
    let flushed = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
    hold("add.f32x2 d, a, b;", B64, "b64", &pairs, |v| each(v, &|x, y, _| x + y));
    hold("sub.rn.f32x2 d, a, b;", B64, "b64", &pairs, |v| each(v, &|x, y, _| x - y));
    hold("mul.rn.ftz.f32x2 d, a, b;", B64, "b64", &pairs, |v| {
        each(v, &|x, y, _| flushed(flushed(x) * flushed(y)))
    });
    hold("fma.rn.f32x2 d, a, b, c;", B64, "b64", &pairs, |v| each(v, &f32::mul_add));
    // Where the result is one of the operands, and where it rounds otherwise.
    hold("mov.b64 d, b; add.rn.f32x2 d, a, d;", B64, "b64", &pairs, |v| each(v, &|x, y, _| x + y));
    let halves = |shift: u32| pairs.iter().map(|v| v.map(|v| v >> shift & 0xffff_ffff)).collect::<Vec<_>>();
    let [low, high] =
        [0, 32].map(|shift| cpu_bench::rows("fma.rz.f32 d, a, b, c;", F32, "f32", &halves(shift)));
    let found = cpu_bench::rows("fma.rz.f32x2 d, a, b, c;", B64, "b64", &pairs);
    for n in 0..found.len() {
        assert_eq!(found[n], low[n] | high[n] << 32, "{:x?}", pairs[n]);
    }
}

#[test]
fn halves_are_added_to_singles_exactly() {
    let rows = samples(62, &[0, 1, 0x3c00, 0x7bff, 0x7c00, 0x8001, 0xfe01, 0x3f80], 200);
    for ty in ["f16", "bf16"] {
        let classes = ["b16", "b16", "f32"];
        let widened = cpu_bench::rows(&format!("cvt.f32.{ty} d, a;"), classes, "f32", &rows);
        let second = cpu_bench::rows(&format!("cvt.f32.{ty} d, b;"), classes, "f32", &rows);
        for (instruction, op) in [
            (format!("add.f32.{ty} d, a, c;"), (|x, _, z| x + z) as fn(f32, f32, f32) -> f32),
            (format!("sub.rn.f32.{ty} d, a, c;"), |x, _, z| x - z),
            (format!("fma.rn.f32.{ty} d, a, b, c;"), f32::mul_add),
            (format!("add.rn.sat.f32.{ty} d, a, c;"), |x, _, z| {
                if (x + z).is_nan() { 0.0 } else { (x + z).clamp(0.0, 1.0) }
            }),
        ] {
            let found = cpu_bench::rows(&instruction, classes, "f32", &rows);
            for n in 0..rows.len() {
                let expected = canonical(op(f(widened[n]), f(second[n]), f(rows[n][2])));
                assert_eq!(found[n], expected, "`{instruction}` of {:x?}", rows[n]);
            }
        }
    }
}

#[test]
fn the_least_and_greatest_of_three() {
    let rows = samples(63, &singles(), 300);
    let numbers = |v: [u64; 3]| v.map(f).into_iter().filter(|x| !x.is_nan()).collect::<Vec<_>>();
    // Zeros of both signs are ordered: -0 is less.
    let order = |x: &f32, y: &f32| x.total_cmp(y);
    let or_nan = |v: Option<f32>| canonical(v.unwrap_or(f32::NAN));
    hold("min.f32 d, a, b, c;", F32, "f32", &rows, |v| or_nan(numbers(v).into_iter().min_by(order)));
    hold("max.f32 d, a, b, c;", F32, "f32", &rows, |v| or_nan(numbers(v).into_iter().max_by(order)));
    hold("max.NaN.f32 d, a, b, c;", F32, "f32", &rows, |v| {
        or_nan(numbers(v).into_iter().max_by(order).filter(|_| numbers(v).len() == 3))
    });
    hold("min.abs.f32 d, a, b, c;", F32, "f32", &rows, |v| {
        or_nan(numbers(v).into_iter().map(f32::abs).min_by(order))
    });
    hold(
        "{ .reg .f32 t; mov.f32 d, a; max.f32 d, d, b, c; mov.f32 t, d; mov.f32 d, t; }",
        F32,
        "f32",
        &rows,
        |v| or_nan(numbers(v).into_iter().max_by(order)),
    );
}

#[test]
fn predicates_may_be_negated_and_constant_wherever_they_are_read() {
    let rows = [[0u64, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]];
    let classes = ["pred", "pred", "b32"];
    let check = |instruction: &str, expected: fn(bool, bool) -> bool| {
        hold(instruction, classes, "pred", &rows, |[a, b, _]| expected(a != 0, b != 0).into());
    };
    check("and.pred d, a, !b;", |a, b| a & !b);
    check("or.pred d, !a, !b;", |a, b| !a | !b);
    check("xor.pred d, a, 1;", |a, _| !a);
    check("and.pred d, 0, b;", |_, _| false);
    check("not.pred d, !a;", |a, _| a);
    check("mov.pred d, !a;", |a, _| !a);
    check("mov.pred d, %is_explicit_cluster;", |_, _| false);
    check("{ .reg .b32 t; selp.b32 t, 1, 0, 1; setp.eq.and.u32 d, t, 1, !a; }", |a, _| !a);
    check("{ .reg .b32 t; selp.b32 t, 1, 0, !b; setp.eq.or.u32 d, t, 1, 0; }", |_, b| !b);
}

#[test]
fn vectors_are_moved_as_a_whole() {
    let rows = samples(64, &[0, 1, 0xffff_ffff], 20);
    let b32 = ["b32"; 3];
    hold("{ .reg .b32 t; mov.v2.b32 {a, t}, {b, a}; mov.b32 d, t; }", b32, "b32", &rows, |[a, _, _]| {
        a & 0xffff_ffff
    });
    hold("mov.v4.b32 {a, b, c, d}, {b, c, 5, a};", b32, "b32", &rows, |[a, _, _]| a & 0xffff_ffff);
    hold("{ mov.v2.u64 {a, b}, {b, a}; sub.u64 d, a, b; }", B64, "b64", &rows, |[a, b, _]| b.wrapping_sub(a));
}

#[test]
fn special_registers_beyond_the_usual_ones() {
    let rows = [[0u64; 3]];
    let b32 = ["b32"; 3];
    for (register, expected) in [
        ("%tid.w", 0),
        ("%nctaid.w", 0),
        ("%envreg0", 0),
        ("%envreg31", 0),
        ("%cluster_nctaid.x", 1),
        ("%cluster_ctarank", 0),
        ("%cluster_nctarank", 1),
        ("%cluster_ctaid.y", 0),
        ("%nclusterid.x", 1),
        ("%clusterid.x", 0),
        ("%clock_hi", 0),
        ("%globaltimer_hi", 0),
    ] {
        hold(&format!("mov.u32 d, {register};"), b32, "b32", &rows, |_| expected);
    }
    hold("mov.u64 d, %gridid;", B64, "b64", &rows, |_| 0);
    hold("{ .reg .u16 h; mov.u16 h, %ntid.x; cvt.u32.u16 d, h; }", b32, "b32", &rows, |_| 128);
    for name in ["%envreg32", "%envreg05", "%envreg", "%envreg+1"] {
        assert!(refused(&format!("mov.u32 r1, {name};")).contains("line 8"), "{name}");
    }
}

/// Policies, priorities and prefetches change nothing, and twice as wide vectors are loaded and stored like others.
#[test]
fn hints_have_no_effect() {
    let text = ".version 8.8\n.target sm_100\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{\n\
        .reg .b64 i, o, p, q, w<4>; .reg .f32 f<8>; .reg .b32 r<4>; .reg .pred z; .shared .align 16 .b8 cell[32];\n\
        ld.param.u64 i, [in]; ld.param.u64 o, [out];\n\
        createpolicy.fractional.L2::evict_last.b64 p, 0.5;\n\
        createpolicy.range.global.L2::evict_last.L2::evict_first.b64 q, [i], 128, 256;\n\
        createpolicy.cvt.L2.b64 q, q;\n\
        applypriority.global.L2::evict_normal [i], 128; prefetch.global.L2::evict_last [i];\n\
        ld.global.L1::evict_last.L2::evict_first.L2::cache_hint.v8.f32 {f0, f1, f2, f3, f4, f5, f6, f7}, [i], p;\n\
        st.global.L2::cache_hint.v8.f32 [o], {f7, f6, f5, f4, f3, f2, f1, f0}, q;\n\
        ld.global.nc.L2::256B.v4.b64 {w0, _, w2, w3}, [i]; st.global.v4.b64 [o+32], {w3, w2, w0, 0};\n\
        atom.global.add.L2::cache_hint.u32 r0, [o+64], 5, p; red.global.max.L2::cache_hint.u32 [o+64], 9, p;\n\
        setp.eq.b64 z, p, p;\n\
        cp.async.cg.shared.global.L2::cache_hint.L2::128B [cell], [i], 16, p;\n\
        cp.async.ca.shared.global [cell+16], [i], 8, z; cp.async.ca.shared.global [cell+24], [i+8], 8, !z;\n\
        cp.async.wait_all; fence.proxy.async.shared::cta; fence.acquire.gpu;\n\
        ld.shared.v4.b32 {r0, r1, r2, r3}, [cell]; st.global.v4.b32 [o+68+12], {r0, r1, r2, r3};\n\
        ld.shared.v4.b32 {r0, r1, r2, r3}, [cell+16]; st.global.v4.b32 [o+96], {r0, r1, r2, r3};\n\
        ret;\n}\n";
    let input: Vec<f32> = (1..=8).map(|n| n as f32 * 1.5).collect();
    let bench = Bench::new(text, "k").grid([1; 3], [1; 3]).buffer(bytes_of_f32(&input));
    let found = &bench.buffer(bytes_of_u32(&[7; 28])).outputs()[1];
    let reversed: Vec<f32> = input.iter().rev().copied().collect();
    assert_eq!(f32s(&found[..32]), reversed);
    let moved: Vec<f32> = [6, 7, 4, 5, 0, 1].iter().map(|n| input[*n as usize]).chain([0.0; 2]).collect();
    assert_eq!(f32s(&found[32..64]), moved);
    assert_eq!(u32s(&found[64..68]), [12]);
    assert_eq!(f32s(&found[80..96]), input[..4]);
    assert_eq!(f32s(&found[96..112]), [0.0, 0.0, input[2], input[3]]);
    assert!(
        refused("atom.shared.add.L2::cache_hint.u32 r1, [cell], r1, d1;")
            .contains("only global memory has one")
    );
    assert!(refused("ld.global.L2::cache_hint.u32 r1, [d1];").contains("2 operands"));
    assert!(refused("ld.global.u32 r1, [d1], d2;").contains("3 operands"));
    let said = refused("ld.shared.v8.b32 {r1,r1,r1,r1,r1,r1,r1,r1}, [cell];");
    assert!(said.contains("does not take"), "{said}");
    let said = refused("cp.async.cg.shared.global [cell], [d1], 8;");
    assert!(said.contains("expected 16"), "{said}");
}
