//! Video instructions held against the manual's own words for them, written out in Rust: parts taken and extended, the
//! operation, saturation, and what is done with the third operand.

mod cpu_bench;

use cpu_bench::{hold, samples};
use ion_gpu::ptx;

const B32: [&str; 3] = ["b32"; 3];

fn edges() -> Vec<u64> {
    vec![0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x0080_7fff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
}

fn is_signed(ty: &str) -> bool {
    ty == "s32"
}

/// Bits `from` to `from + bits` of a word, extended as the type says.
fn taken(word: u64, from: u32, bits: u32, signed: bool) -> i64 {
    let low = (word >> from & ((1u64 << bits) - 1)) as i64;
    if signed && low >> (bits - 1) & 1 == 1 { low - (1 << bits) } else { low }
}

fn saturated(value: i64, bits: u32, signed: bool) -> i64 {
    let (least, most) =
        if signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
    value.max(least).min(most)
}

fn primary(op: &str, a: i64, b: i64) -> i64 {
    match op {
        "vadd" => a + b,
        "vsub" => a - b,
        "vabsdiff" => {
            if a > b {
                a - b
            } else {
                b - a
            }
        }
        "vmin" => {
            if a < b {
                a
            } else {
                b
            }
        }
        "vmax" => {
            if a > b {
                a
            } else {
                b
            }
        }
        "vavrg" => {
            let sum = a + b;
            if sum >= 0 { (sum + 1) / 2 } else { sum.div_euclid(2) }
        }
        _ => panic!("{op}"),
    }
}

/// Where a selection of one part begins, and how many bits it has.
fn part(name: &str) -> (u32, u32) {
    match name.split_at_checked(2) {
        Some((".b", n)) => (8 * n.parse::<u32>().unwrap(), 8),
        Some((".h", n)) => (16 * n.parse::<u32>().unwrap(), 16),
        _ => (0, 32),
    }
}

fn merged(c: u64, value: i64, (from, bits): (u32, u32)) -> u64 {
    let mask = ((1u64 << bits) - 1) << from;
    (c & !mask | (value as u64) << from & mask) & 0xffff_ffff
}

#[test]
fn one_part_of_a_word_at_a_time() {
    let rows = samples(91, &edges(), 60);
    let types = ["u32", "s32"];
    let parts = ["", ".b0", ".b3", ".h1", ".b2", ".h0"];
    let mut turn = 0;
    let mut next = |from: &[&'static str]| {
        turn += 1;
        from[turn * 7 / 3 % from.len()]
    };
    for op in ["vadd", "vsub", "vabsdiff", "vmin", "vmax"] {
        for sat in ["", ".sat"] {
            for dty in types {
                let (aty, bty, asel, bsel) = (next(&types), next(&types), next(&parts), next(&parts));
                let value = |a: u64, b: u64, bits: u32| {
                    let (a_at, b_at) = (part(asel), part(bsel));
                    let a = taken(a, a_at.0, a_at.1, is_signed(aty));
                    let value = primary(op, a, taken(b, b_at.0, b_at.1, is_signed(bty)));
                    if sat.is_empty() { value } else { saturated(value, bits, is_signed(dty)) }
                };
                let head = format!("{op}.{dty}.{aty}.{bty}{sat}");
                hold(&format!("{head} d, a{asel}, b{bsel};"), B32, "b32", &rows, |[a, b, _]| {
                    value(a, b, 32) as u64 & 0xffff_ffff
                });
                hold(&format!("{head}.add d, a{asel}, b{bsel}, c;"), B32, "b32", &rows, |[a, b, c]| {
                    (value(a, b, 32) as u64).wrapping_add(c) & 0xffff_ffff
                });
                let joined = next(&["min", "max"]);
                hold(&format!("{head}.{joined} d, a{asel}, b{bsel}, c;"), B32, "b32", &rows, |[a, b, c]| {
                    let extend = |v: u64| taken(v, 0, 32, is_signed(dty));
                    let both = [extend(value(a, b, 32) as u64), extend(c)];
                    let chosen = if joined == "min" { both.iter().min() } else { both.iter().max() };
                    *chosen.unwrap() as u64 & 0xffff_ffff
                });
                let dsel = next(&parts[1..]);
                // What is not set comes from the third operand, not from what was there.
                let text = format!("mov.b32 d, 77; {head} d{dsel}, a{asel}, b{bsel}, c;");
                hold(&text, B32, "b32", &rows, |[a, b, c]| merged(c, value(a, b, part(dsel).1), part(dsel)));
            }
        }
    }
    hold("vadd.u32.u32.s32.sat d, a.h1, -3;", B32, "b32", &rows, |[a, ..]| {
        saturated(taken(a, 16, 16, false) - 3, 32, false) as u64
    });
}

#[test]
fn shifts_and_comparisons_of_parts() {
    let rows = samples(92, &edges(), 60);
    for (op, mode, aty, dty) in [
        ("vshl", "clamp", "u32", "u32"),
        ("vshl", "wrap", "s32", "s32"),
        ("vshr", "clamp", "s32", "s32"),
        ("vshr", "wrap", "u32", "u32"),
        ("vshr", "clamp", "s32", "u32"),
    ] {
        let value = |a: u64, b: u64| {
            let (a, by) = (i128::from(taken(a, 0, 16, is_signed(aty))), taken(b, 0, 8, false));
            let by = if mode == "clamp" { by.min(32) } else { by % 32 };
            if op == "vshl" { a << by } else { a >> by }
        };
        hold(&format!("{op}.{dty}.{aty}.u32.{mode} d, a.h0, b.b0;"), B32, "b32", &rows, |[a, b, _]| {
            value(a, b) as u64 & 0xffff_ffff
        });
        hold(
            &format!("{op}.{dty}.{aty}.u32.sat.{mode}.add d, a.h0, b.b0, c;"),
            B32,
            "b32",
            &rows,
            |[a, b, c]| {
                let (least, most) = if is_signed(dty) {
                    (i32::MIN.into(), i32::MAX.into())
                } else {
                    (0i128, i128::from(u32::MAX))
                };
                (value(a, b).clamp(least, most) as u64).wrapping_add(c) & 0xffff_ffff
            },
        );
    }
    type Holds = fn(&i64, &i64) -> bool;
    let tests: [(&str, Holds); 6] = [
        ("eq", i64::eq),
        ("ne", i64::ne),
        ("lt", PartialOrd::lt),
        ("le", PartialOrd::le),
        ("gt", PartialOrd::gt),
        ("ge", PartialOrd::ge),
    ];
    for (cmp, test) in tests {
        hold(&format!("vset.s32.u32.{cmp} d, a, b;"), B32, "b32", &rows, |[a, b, _]| {
            test(&taken(a, 0, 32, true), &taken(b, 0, 32, false)).into()
        });
        hold(&format!("vset.u32.s32.{cmp}.add d, a.b1, b.b2, c;"), B32, "b32", &rows, |[a, b, c]| {
            (u64::from(test(&taken(a, 8, 8, false), &taken(b, 16, 8, true))) + c) & 0xffff_ffff
        });
        hold(&format!("vset.u32.u32.{cmp} d.h1, a.b1, b.b2, c;"), B32, "b32", &rows, |[a, b, c]| {
            merged(c, test(&taken(a, 8, 8, false), &taken(b, 16, 8, false)).into(), (16, 16))
        });
        for lanes in [2u32, 4] {
            let bits = 32 / lanes;
            let each = |a: u64, b: u64, n: u32| {
                i64::from(test(&taken(a, n * bits, bits, true), &taken(b, n * bits, bits, false)))
            };
            hold(&format!("vset{lanes}.s32.u32.{cmp} d, a, b, c;"), B32, "b32", &rows, |[a, b, _]| {
                (0..lanes).fold(0, |word, n| merged(word, each(a, b, n), (n * bits, bits)))
            });
            hold(&format!("vset{lanes}.s32.u32.{cmp}.add d, a, b, c;"), B32, "b32", &rows, |[a, b, c]| {
                (0..lanes).fold(c, |word, n| (word + each(a, b, n) as u64) & 0xffff_ffff)
            });
        }
    }
}

#[test]
fn all_lanes_of_a_word_at_once() {
    let rows = samples(93, &edges(), 60);
    let types = ["u32", "s32"];
    // Selections by lane from the lowest: as written, and which part of `a`, or after these of `b`, each lane takes.
    let two = [("", [0, 1]), (".h31", [1, 3]), (".h00", [0, 0])];
    let four = [("", [0, 1, 2, 3]), (".b7025", [5, 2, 0, 7]), (".b4444", [4, 4, 4, 4])];
    let masks =
        [[("", 0b11u32), (".h1", 0b10), (".h10", 0b11)], [("", 0b1111), (".b320", 0b1101), (".b1", 0b10)]];
    let mut turn = 0usize;
    for op in ["vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"] {
        for lanes in [2u32, 4] {
            for (dty, sat) in [("u32", ""), ("s32", ".sat"), ("u32", ".sat"), ("s32", "")] {
                turn += 1;
                let (aty, bty) = (types[turn % 2], types[turn / 2 % 2]);
                let (a_by, b_by) = (turn % 3, turn / 3 % 3);
                let select = |by: usize, n: u32, first: u32| match (by, lanes) {
                    (0, _) => n + first,
                    (_, 2) => two[by].1[n as usize],
                    _ => four[by].1[n as usize],
                };
                let name = |by: usize| if lanes == 2 { two[by].0 } else { four[by].0 };
                let (mask_name, mask) = masks[usize::from(lanes == 4)][turn / 5 % 3];
                let bits = 32 / lanes;
                let pick = |a: u64, b: u64, n: u32, signed: bool| {
                    let word = if n < lanes { a } else { b };
                    taken(word, n % lanes * bits, bits, signed)
                };
                let value = |a: u64, b: u64, n: u32| {
                    let x = pick(a, b, select(a_by, n, 0), is_signed(aty));
                    primary(op, x, pick(a, b, select(b_by, n, lanes), is_signed(bty)))
                };
                let operands = format!("d{mask_name}, a{}, b{}, c;", name(a_by), name(b_by));
                let set = |n: &u32| mask >> n & 1 == 1;
                hold(
                    &format!("{op}{lanes}.{dty}.{aty}.{bty}{sat} {operands}"),
                    B32,
                    "b32",
                    &rows,
                    |[a, b, c]| {
                        let kept = c & 0xffff_ffff;
                        (0..lanes).filter(set).fold(kept, |word, n| {
                            let v = value(a, b, n);
                            let v = if sat.is_empty() { v } else { saturated(v, bits, is_signed(dty)) };
                            merged(word, v, (n * bits, bits))
                        })
                    },
                );
                hold(
                    &format!("{op}{lanes}.{dty}.{aty}.{bty}.add {operands}"),
                    B32,
                    "b32",
                    &rows,
                    |[a, b, c]| {
                        (0..lanes)
                            .filter(set)
                            .fold(c, |word, n| word.wrapping_add(value(a, b, n) as u64) & 0xffff_ffff)
                    },
                );
            }
        }
    }
}

#[test]
fn parts_that_are_none_are_refused_with_their_place() {
    for (instruction, expected) in [
        (
            "vadd.u32.u32.u32 r0, r1.b4, r2;",
            "does not take the parts `.b4` of a register; expected parts that",
        ),
        ("vadd.u32.u32.u32 r0, r1.h2, r2;", "the parts `.h2`"),
        ("vadd.u32.u32.u32 r0, r1.b10, r2;", "the parts `.b10`"),
        ("vadd.u32.u32.u32 r0.b0, r1, r2;", "does not take the parts `.b0` of a register"),
        ("vadd.u32.u32.u32 r0, r1.q1, r2;", "parts of a register, such as"),
        ("vadd.u32.u32.u32 r0, d0, r2;", "expected a .b32 register"),
        ("vadd.u32.u32.u32 r0, r1, %tid.x;", "expected a 32-bit register"),
        ("vadd2.u32.u32.u32 r0, r1.b10, r2, r3;", "the parts `.b10`"),
        ("vadd2.u32.u32.u32 r0, r1.h4, r2, r3;", "the parts `.h4`"),
        ("vadd2.u32.u32.u32 r0.h01, r1, r2, r3;", "the parts `.h01`"),
        ("vadd4.u32.u32.u32 r0.b33, r1, r2, r3;", "the parts `.b33`"),
        ("vadd4.u32.u32.u32 r0, r1.b321, r2, r3;", "the parts `.b321`"),
        ("vadd4.u32.u32.u32 r0, r1.b8765, r2, r3;", "parts of a register"),
        ("vadd4.u32.u32.u32 r0, r1, r2, 0;", "expected a 32-bit register"),
        ("vadd4.u32.u32.u32.sat.add r0, r1, r2, r3;", "does not take `.add`"),
        ("add.u32 r0, r1.b0, r2;", "expected `,`"),
        ("vmad.u32.u32.u32 r0, r1, r2, r3;", "`vmad.u32.u32.u32` is not run here: products"),
    ] {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{ .reg .b32 r<4>; .reg .b64 d<2>;\n{instruction}\n}}\n"
        );
        let said = ptx::parse(&text).expect_err(instruction).render(&text);
        assert!(said.contains(expected) && said.ends_with('^'), "{instruction}\n{said}");
    }
}
