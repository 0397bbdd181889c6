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
        ("vadd.u32.u32.u32 r0, d0, r2;", "expected a .u32 register"),
        ("vadd.u32.u32.u32 r0, f0, r2;", "expected a .u32 register"),
        ("vadd.u32.u32.u32 r0, r1, %tid.x;", "expected a 32-bit register"),
        ("vadd2.u32.u32.u32 r0, r1.b10, r2, r3;", "the parts `.b10`"),
        ("vadd2.u32.u32.u32 r0, r1.h4, r2, r3;", "the parts `.h4`"),
        ("vadd2.u32.u32.u32 r0.h01, r1, r2, r3;", "the parts `.h01`"),
        ("vadd4.u32.u32.u32 r0.b33, r1, r2, r3;", "the parts `.b33`"),
        ("vadd4.u32.u32.u32 r0, r1.b321, r2, r3;", "the parts `.b321`"),
        ("vadd4.u32.u32.u32 r0, r1.b8765, r2, r3;", "parts of a register"),
        ("vadd4.u32.u32.u32 r0, r1, r2, 0;", "expected a .u32 register"),
        ("vadd4.u32.u32.u32.sat.add r0, r1, r2, r3;", "does not take `.add`"),
        ("add.u32 r0, r1.b0, r2;", "expected `,`"),
        ("vmad.s32.s32.s32 r0, -r1, r2, -r3;", "a negated register; expected no more than one negation"),
        (
            "vmad.s32.s32.s32.po r0, -r1, r2, r3;",
            "a negated register; expected no negated register beside `.po`",
        ),
        ("vmad.s32.s32.s32.po r0, r1, r2, -r3;", "none beside `.po`"),
        ("vmad.s32.s32.s32 r0, r1, r2, r3.h0;", "the parts `.h0`"),
        ("vmad.s32.s32.s32 r0.h0, r1, r2, r3;", "the parts `.h0`"),
        ("vmad.s32.s32.s32 r0, r1, r2;", "3 operands; expected 4"),
        ("vmad.s32.s32.s32 r0, f0, r2, r3;", "expected a .u32 register"),
        ("vmad.s32.s32.s32 r0, r1, r2, f0;", "expected a .u32 register"),
        ("vmad.s32.s32.s32.add r0, r1, r2, r3;", "does not take `.add`"),
        ("vmad.s32.s32.s32.shr8 r0, r1, r2, r3;", "does not take `.shr8`"),
        ("vmad.s32.s32.s32 r0, --r1, r2, r3;", "expected"),
        ("vadd.s32.s32.s32 r0, -r1, r2;", "expected"),
    ] {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{ .reg .b32 r<4>; .reg .b64 d<2>; .reg .f32 f<2>;\n{instruction}\n}}\n"
        );
        let said = ptx::parse(&text).expect_err(instruction).render(&text);
        assert!(said.contains(expected) && said.ends_with('^'), "{instruction}\n{said}");
    }
}

/// By values written down here.
#[test]
fn products_of_parts() {
    let gives = |instruction: &str, [a, b, c]: [u64; 3], expected: u64| {
        hold(&format!("vmad.{instruction};"), B32, "b32", &[[a, b, c]], |_| expected);
    };
    gives("u32.u32.u32 d, a, b, c", [3, 4, 5], 17);
    gives("u32.u32.u32 d, a.h0, b.h1, c", [0xffff_0003, 0x0004_ffff, 5], 17);
    gives("u32.u32.u32.po d, a, b, c", [3, 4, 5], 18);
    gives("s32.s32.s32 d, -a, b, c", [3, 4, 5], 0xffff_fff9);
    gives("s32.s32.s32 d, -a.b1, -b, c", [0x0000_fe00, 4, 5], 0xffff_fffd);
    gives("s32.u32.u32 d, a, b, -c", [3, 4, 20], 0xffff_fff8);
    gives("s32.s32.s32 d, a, 3, 7", [0xffff_fffe, 0, 0], 1);
    gives("u32.u32.u32.shr15 d, a, b, c", [0xffff_ffff, 0xffff_ffff, 0xffff_ffff], 0xfffe_0000);
    gives("u32.u32.u32.sat.shr7 d, a, b, c", [0xffff_ffff, 0xffff_ffff, 0], 0xffff_ffff);
    gives("u32.u32.u32.sat d, a, b, c", [0x1_0000, 0xffff, 0xffff], 0xffff_ffff);
    gives("u32.u32.u32.sat d, a, b, c", [0x1_0000, 0x1_0000, 0], 0xffff_ffff);
    gives("s32.s32.s32.sat d, a, b, c", [0x8000_0000, 2, 0], 0x8000_0000);
    gives("s32.s32.s32.sat d, a, b, c", [0x8000_0000, 0x8000_0000, 0], 0x7fff_ffff);
    // The result is signed where a factor is, where one factor is negated, or the term.
    gives("u32.u32.u32.sat d, -a, b, c", [3, 4, 5], 0xffff_fff9);
    gives("u32.u32.u32.sat d, a, b, -c", [0xffff_ffff, 1, 0], 0x7fff_ffff);
    gives("u32.u32.s32.shr7 d, a.b0, b.b0, c", [0xff, 0x80, 0], 0xffff_ff01);
    // `-c` as the manual has it: `~c` as a signed word, and one.
    gives("s32.u32.u32.shr7 d, a, b, -c", [0, 0, 0x8000_0001], 0x00ff_ffff);
}

/// The manual's own lines for it, on 128 bits.
fn manual_mad(a: i128, b: i128, c: u32, signed: bool, signs: [bool; 2], one: bool, shift: u32) -> i128 {
    let mut product = a.wrapping_mul(b);
    let (mut term, mut low) = (c, i128::from(one));
    if signs[0] {
        (product, low) = (!product, 1);
    } else if signs[1] {
        (term, low) = (!term, 1);
    }
    let term: i128 = if signed { (term as i32).into() } else { term.into() };
    (product + term + low) >> shift
}

#[test]
fn vmad_is_what_the_manual_says() {
    let rows = samples(93, &edges(), 40);
    let types = ["u32", "s32"].into_iter().flat_map(|a| [(a, "u32"), (a, "s32")]);
    let signs = [["", "", ""], ["-", "", ""], ["", "-", ""], ["-", "-", ""], ["", "", "-"], ["-", "-", "-"]];
    let signs = signs.into_iter().map(|signs| (signs, "")).chain([(["", "", ""], ".po")]);
    let ends = [("", "", 0), ("", ".sat", 0), (".shr7", ".sat", 7), (".shr15", "", 15)];
    let parts = [("", 0, 32), (".b2", 16, 8), (".h1", 16, 16)];
    let all = types.flat_map(|types| signs.clone().map(move |signs| (types, signs)));
    let all = all.flat_map(|(types, signs)| ends.map(|end| (types, signs, end)));
    for (n, ((aty, bty), (minus, po), (scale, sat, shift))) in all.enumerate() {
        let (part, from, bits) = parts[n % parts.len()];
        let negated = [minus[0] != minus[1], minus[2] == "-"];
        let signed = is_signed(aty) || is_signed(bty) || negated[0] || negated[1];
        let [x, y, z] = minus;
        let instruction = format!("vmad.u32.{aty}.{bty}{po}{sat}{scale} d, {x}a{part}, {y}b, {z}c;");
        hold(&instruction, B32, "b32", &rows, |[a, b, c]| {
            let a = taken(a & 0xffff_ffff, from, bits, is_signed(aty));
            let b = taken(b & 0xffff_ffff, 0, 32, is_signed(bty));
            let value = manual_mad(a.into(), b.into(), c as u32, signed, negated, !po.is_empty(), shift);
            let value = match (sat.is_empty(), signed) {
                (true, _) => value,
                (false, true) => value.clamp(i32::MIN.into(), i32::MAX.into()),
                (false, false) => value.clamp(0, u32::MAX.into()),
            };
            u64::from(value as u32)
        });
    }
}
