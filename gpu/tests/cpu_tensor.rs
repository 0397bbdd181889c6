//! Instructions on matrices held against plain products of the same numbers.
//!
//! Integers, f64 of small whole numbers and halves whose sums are exact must agree bit for bit; for sums that round, the
//! documented order (in f64, one rounding) is computed here a second time.

mod cpu_bench;

use cpu_bench::Bench;

/// Elements of the types that matrices have, as the tests fill them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
    S32,
    Int(u32, bool),
}

impl Of {
    fn bits(self) -> u32 {
        match self {
            Of::F16 | Of::Bf16 => 16,
            Of::Tf32 | Of::F32 | Of::S32 => 32,
            Of::F64 => 64,
            Of::Int(bits, _) => bits,
        }
    }

    fn value(self, bits: u64) -> f64 {
        match self {
            Of::F16 => half(bits as u16),
            Of::Bf16 => f32::from_bits((bits as u32) << 16).into(),
            Of::Tf32 => f32::from_bits(bits as u32 & !0x1fff).into(),
            Of::F32 => f32::from_bits(bits as u32).into(),
            Of::F64 => f64::from_bits(bits),
            Of::S32 => f64::from(bits as i32),
            Of::Int(width, true) => ((bits << (64 - width)) as i64 >> (64 - width)) as f64,
            Of::Int(width, false) => (bits & ((1 << width) - 1)) as f64,
        }
    }

    /// Bits of a small number, whole unless `fractions`.
    fn random(self, rng: &mut fastrand::Rng, fractions: bool) -> u64 {
        let whole = f64::from(rng.i32(-8..=8));
        let value = if fractions { f64::from(rng.f32()) * 4.0 - 2.0 } else { whole };
        match self {
            Of::F16 => to_half(value).into(),
            Of::Bf16 => u64::from((value as f32).to_bits() >> 16),
            Of::Tf32 | Of::F32 => (value as f32).to_bits().into(),
            Of::F64 => value.to_bits(),
            Of::S32 => u64::from(rng.i32(-1000..1000) as u32),
            Of::Int(width, _) => rng.u64(..) & ((1 << width) - 1),
        }
    }

    fn bits_of(self, value: f64) -> u64 {
        match self {
            Of::F16 => to_half(value).into(),
            Of::F32 => (value as f32).to_bits().into(),
            Of::F64 => value.to_bits(),
            _ => u64::from(value as i64 as u32),
        }
    }
}

/// An f16 by its definition.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 => panic!("the tests use no infinities"),
        e => (1024.0 + fraction) * 2f64.powi(e - 25),
    };
    if bits >> 15 != 0 { -size } else { size }
}

/// The f16 nearest to a number, by search.
fn to_half(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    let (mut low, mut high) = (0u16, 0x7bffu16);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if half(middle) <= size { low = middle } else { high = middle }
    }
    let (down, up) = (size - half(low), half(high) - size);
    let even = if low & 1 == 0 { low } else { high };
    sign | if down < up {
        low
    } else if up < down {
        high
    } else {
        even
    }
}

/// Matrices by rows.
struct Product {
    shape: [usize; 3],
    a: Vec<u64>,
    b: Vec<u64>,
    c: Vec<u64>,
    types: [Of; 4],
}

impl Product {
    fn random(seed: u64, shape: [usize; 3], types: [Of; 4], fractions: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let [m, n, k] = shape;
        let mut fill = |count: usize, of: Of| (0..count).map(|_| of.random(&mut rng, fractions)).collect();
        Product { shape, a: fill(m * k, types[1]), b: fill(k * n, types[2]), c: fill(m * n, types[3]), types }
    }

    /// The sums in f64, in the order of `k`, each rounded once; `step` joins a product's factors and a sum.
    fn expected(&self, step: impl Fn(f64, f64, f64) -> f64) -> Vec<u64> {
        let [m, n, k] = self.shape;
        let [d, a, b, c] = self.types;
        let cells = (0..m).flat_map(|row| (0..n).map(move |column| (row, column)));
        cells
            .map(|(row, column)| {
                let start = c.value(self.c[row * n + column]);
                let sum = (0..k).fold(start, |sum, j| {
                    step(a.value(self.a[row * k + j]), b.value(self.b[j * n + column]), sum)
                });
                d.bits_of(sum)
            })
            .collect()
    }
}

fn plain(x: f64, y: f64, sum: f64) -> f64 {
    x * y + sum
}

/// A matrix packed for memory: by rows or by columns.
fn packed(values: &[u64], columns: usize, bits: u32, by_rows: bool) -> Vec<u8> {
    let rows = values.len() / columns;
    let mut bytes = vec![0u8; (values.len() * bits as usize).div_ceil(8)];
    for row in 0..rows {
        for column in 0..columns {
            let at = if by_rows { row * columns + column } else { column * rows + row } * bits as usize;
            for bit in 0..bits as usize {
                let set = values[row * columns + column] >> bit & 1 != 0;
                bytes[(at + bit) / 8] |= u8::from(set) << ((at + bit) % 8);
            }
        }
    }
    bytes
}

fn unpacked(bytes: &[u8], bits: u32) -> Vec<u64> {
    let size = bits as usize / 8;
    bytes.chunks_exact(size).map(|c| c.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))).collect()
}

/// Registers `name0..` in a vector.
fn list(name: &str, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|n| format!("{name}{n}")).collect();
    format!("{{{}}}", names.join(", "))
}

fn class(of: Of) -> &'static str {
    match of {
        Of::F32 => "f32",
        Of::F64 => "f64",
        _ => "b32",
    }
}

/// What thread `lane` holds, as the PTX manual has it for `mma` (but not for `m8n8k4` on halves): for each element of
/// its registers, the row and column.
fn manual(side: char, [m, _, k]: [usize; 3], of: Of, lane: usize) -> Vec<(usize, usize)> {
    let (group, member) = (lane / 4, lane % 4);
    let per = 32 / of.bits().min(32) as usize;
    let count = match side {
        'a' => m * k / 32,
        'b' => 8 * k / 32,
        _ => m * 8 / 32,
    };
    (0..count)
        .map(|i| match side {
            'a' if m == 16 => {
                // The manual lists the elements of each pair of registers: upper half of the rows, then the lower.
                let row = if (i / per).is_multiple_of(2) { group } else { group + 8 };
                (row, member * per + i % per + i / (2 * per) * 4 * per)
            }
            'a' => (group, member * per + i % per + i / per * 4 * per),
            'b' => (member * per + i % per + i / per * 4 * per, group),
            _ => (if i < 2 { group } else { group + 8 }, member * 2 + i % 2),
        })
        .collect()
}

/// Registers' worth of a thread's elements.
fn registers(values: &[u64], columns: usize, of: Of, held: &[(usize, usize)]) -> Vec<u64> {
    let per = 32 / of.bits().min(32) as usize;
    let element = |(row, column): &(usize, usize)| values[row * columns + column];
    held.chunks(per)
        .map(|part| part.iter().enumerate().fold(0, |w, (n, at)| w | element(at) << (n as u32 * of.bits())))
        .collect()
}

/// Runs one `mma` whose registers each thread loads from its own row of a buffer; gives `d` by rows.
fn run_mma(
    instruction: &str,
    product: &Product,
    held: impl Fn(char, Of, usize) -> Vec<(usize, usize)>,
) -> Vec<u64> {
    let [_, n, k] = product.shape;
    let [d, a, b, c] = product.types;
    let rows: Vec<[Vec<u64>; 3]> = (0..32)
        .map(|lane| {
            [
                registers(&product.a, k, a, &held('a', a, lane)),
                registers(&product.b, n, b, &held('b', b, lane)),
                registers(&product.c, n, c, &held('c', c, lane)),
            ]
        })
        .collect();
    let counts: Vec<usize> = rows[0].iter().map(Vec::len).collect();
    let per = 32 / d.bits().min(32) as usize;
    let results = held('d', d, 0).len() / per;
    let mut text = String::from(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out) {\n\
         .reg .b32 %t; .reg .b64 %i, %o, %w;\n",
    );
    for (name, of, count) in
        [("a", a, counts[0]), ("b", b, counts[1]), ("c", c, counts[2]), ("d", d, results)]
    {
        text += &format!(".reg .{} {name}<{count}>;\n", class(of));
    }
    let stride = (counts.iter().sum::<usize>() * 8) as u32;
    text += &format!(
        "mov.u32 %t, %tid.x; ld.param.u64 %i, [in]; ld.param.u64 %o, [out];\nmad.wide.u32 %i, %t, {stride}, %i;\n"
    );
    let mut at = 0;
    for (name, of, count) in [("a", a, counts[0]), ("b", b, counts[1]), ("c", c, counts[2])] {
        for n in 0..count {
            text += &format!("ld.global.{} {name}{n}, [%i+{at}];\n", class(of));
            at += 8;
        }
    }
    let [ds, x, y, z] =
        [list("d", results), list("a", counts[0]), list("b", counts[1]), list("c", counts[2])];
    text += &format!("{instruction} {ds}, {x}, {y}, {z};\nmad.wide.u32 %o, %t, {}, %o;\n", results * 8);
    for n in 0..results {
        text += &format!("st.global.{} [%o+{}], d{n};\n", class(d), n * 8);
    }
    text += "ret; }\n";
    let input: Vec<u64> = rows.into_iter().flatten().flatten().collect();
    let bench =
        Bench::new(&text, "k").buffer(cpu_bench::bytes_of_u64(&input)).buffer(vec![0; 32 * results * 8]);
    let out = cpu_bench::u64s(&bench.outputs()[1]);
    let mut found = vec![0; product.c.len()];
    for lane in 0..32 {
        for (n, (row, column)) in held('d', d, lane).into_iter().enumerate() {
            let word = out[lane * results + n / per];
            let mask = if d.bits() == 64 { u64::MAX } else { (1 << d.bits()) - 1 };
            found[row * product.shape[1] + column] = word >> (n % per * d.bits() as usize) & mask;
        }
    }
    found
}

#[test]
fn mma_is_the_product_of_its_matrices() {
    use Of::{Bf16, F16, F32, F64, Int, S32, Tf32};
    let (s8, u8, s4, u4) = (Int(8, true), Int(8, false), Int(4, true), Int(4, false));
    let cases: [([usize; 3], [Of; 4], &str); 20] = [
        ([16, 8, 8], [F32, F16, F16, F32], "f32.f16.f16.f32"),
        ([16, 8, 16], [F32, F16, F16, F32], "f32.f16.f16.f32"),
        ([16, 8, 16], [F16, F16, F16, F16], "f16.f16.f16.f16"),
        ([16, 8, 8], [F32, Bf16, Bf16, F32], "f32.bf16.bf16.f32"),
        ([16, 8, 16], [F32, Bf16, Bf16, F32], "f32.bf16.bf16.f32"),
        ([16, 8, 4], [F32, Tf32, Tf32, F32], "f32.tf32.tf32.f32"),
        ([16, 8, 8], [F32, Tf32, Tf32, F32], "f32.tf32.tf32.f32"),
        ([8, 8, 4], [F64, F64, F64, F64], "f64.f64.f64.f64"),
        ([16, 8, 8], [F64, F64, F64, F64], "f64.f64.f64.f64"),
        ([16, 8, 16], [F64, F64, F64, F64], "f64.f64.f64.f64"),
        ([8, 8, 16], [S32, s8, s8, S32], "s32.s8.s8.s32"),
        ([16, 8, 16], [S32, u8, s8, S32], "s32.u8.s8.s32"),
        ([16, 8, 32], [S32, s8, u8, S32], "s32.s8.u8.s32"),
        ([16, 8, 32], [S32, u8, u8, S32], "s32.u8.u8.s32"),
        ([8, 8, 32], [S32, s4, s4, S32], "s32.s4.s4.s32"),
        ([16, 8, 32], [S32, u4, s4, S32], "s32.u4.s4.s32"),
        ([16, 8, 64], [S32, s4, u4, S32], "s32.s4.u4.s32"),
        ([8, 8, 128], [S32, Int(1, false), Int(1, false), S32], "s32.b1.b1.s32.and.popc"),
        ([16, 8, 128], [S32, Int(1, false), Int(1, false), S32], "s32.b1.b1.s32.and.popc"),
        ([16, 8, 256], [S32, Int(1, false), Int(1, false), S32], "s32.b1.b1.s32.xor.popc"),
    ];
    for (seed, (shape, types, spelled)) in cases.into_iter().enumerate() {
        let [m, n, k] = shape;
        for fractions in [false, true] {
            let product = Product::random(seed as u64, shape, types, fractions);
            let instruction = format!("mma.sync.aligned.m{m}n{n}k{k}.row.col.{spelled}");
            let found = run_mma(&instruction, &product, |side, of, lane| manual(side, shape, of, lane));
            let expected = match types[0] {
                F64 => product.expected(f64::mul_add),
                _ if spelled.contains("xor") => product.expected(|x, y, s| s + f64::from(x != y)),
                _ => product.expected(plain),
            };
            assert_eq!(found, expected, "{instruction}, fractions: {fractions}");
        }
    }
}

/// Sums that leave 32 bits wrap, or stay at the end of the range if they are told to.
#[test]
fn integer_sums_wrap_or_saturate() {
    let (shape, types) = ([16, 8, 32], [Of::S32, Of::Int(8, false), Of::Int(8, false), Of::S32]);
    let mut product = Product::random(3, shape, types, false);
    product.c.fill(u64::from(i32::MAX as u32));
    let held = |side, of, lane| manual(side, shape, of, lane);
    let wrapped = run_mma("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", &product, held);
    assert_eq!(wrapped, product.expected(plain));
    let clamped = run_mma("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.u8.u8.s32", &product, held);
    assert_eq!(clamped, vec![i32::MAX as u32 as u64; 128]);
}

/// What thread `lane` holds of its group's matrices for `mma.m8n8k4` on halves, as the manual has it.
fn quads(side: char, of: Of, lane: usize, a_rows: bool, b_rows: bool) -> Vec<(usize, usize)> {
    let upper = if lane < 16 { 0 } else { 4 };
    let member = lane % 4;
    match side {
        'a' if a_rows => (0..4).map(|i| (member + upper, i)).collect(),
        'a' => (0..4).map(|i| (i + upper, member)).collect(),
        'b' if b_rows => (0..4).map(|i| (member, i + upper)).collect(),
        'b' => (0..4).map(|i| (i, member + upper)).collect(),
        _ if of == Of::F16 => (0..8).map(|i| (member + upper, i)).collect(),
        _ => (0..8).map(|i| ((lane & 1) + (i & 2) + upper, (i & 4) + (lane & 2) + (i & 1))).collect(),
    }
}

#[test]
fn the_four_products_of_m8n8k4() {
    for (a_rows, b_rows) in [(true, false), (true, true), (false, false), (false, true)] {
        for (d, c, spelled) in [
            (Of::F32, Of::F32, "f32.f16.f16.f32"),
            (Of::F16, Of::F16, "f16.f16.f16.f16"),
            (Of::F32, Of::F16, "f32.f16.f16.f16"),
        ] {
            // The same matrices in all four groups: each result is written four times over.
            let product = Product::random(5, [8, 8, 4], [d, Of::F16, Of::F16, c], true);
            let layout = |rows: bool| if rows { "row" } else { "col" };
            let instruction =
                format!("mma.sync.aligned.m8n8k4.{}.{}.{spelled}", layout(a_rows), layout(b_rows));
            let found =
                run_mma(&instruction, &product, |side, of, lane| quads(side, of, lane, a_rows, b_rows));
            assert_eq!(found, product.expected(plain), "{instruction}");
        }
    }
}

/// Shape, types of `d`, `a`, `b` and `c`, their spelling, the types that are moved, and the registers of each.
type WmmaCase = ([usize; 3], [Of; 4], &'static str, [&'static str; 3], [usize; 3]);

/// `wmma`: two matrices and a sum from memory, and the product back, in every layout.
#[test]
fn wmma_loads_multiplies_and_stores() {
    use Of::{Bf16, F16, F32, F64, Int, S32, Tf32};
    let cases: [WmmaCase; 18] = [
        ([16, 16, 16], [F32, F16, F16, F32], "f32.f32", ["f16", "f16", "f32"], [8, 8, 8]),
        ([32, 8, 16], [F32, F16, F16, F32], "f32.f32", ["f16", "f16", "f32"], [8, 8, 8]),
        ([8, 32, 16], [F32, F16, F16, F32], "f32.f32", ["f16", "f16", "f32"], [8, 8, 8]),
        ([16, 16, 16], [F16, F16, F16, F16], "f16.f16", ["f16", "f16", "f16"], [8, 8, 4]),
        ([32, 8, 16], [F16, F16, F16, F16], "f16.f16", ["f16", "f16", "f16"], [8, 8, 4]),
        ([16, 16, 16], [F32, Bf16, Bf16, F32], "f32.bf16.bf16.f32", ["bf16", "bf16", "f32"], [4, 4, 8]),
        ([32, 8, 16], [F32, Bf16, Bf16, F32], "f32.bf16.bf16.f32", ["bf16", "bf16", "f32"], [8, 2, 8]),
        ([8, 32, 16], [F32, Bf16, Bf16, F32], "f32.bf16.bf16.f32", ["bf16", "bf16", "f32"], [2, 8, 8]),
        ([16, 16, 8], [F32, Tf32, Tf32, F32], "f32.tf32.tf32.f32", ["tf32", "tf32", "f32"], [4, 4, 8]),
        ([8, 8, 4], [F64, F64, F64, F64], "f64.f64.f64.f64.rn", ["f64", "f64", "f64"], [1, 1, 2]),
        (
            [16, 16, 16],
            [S32, Int(8, true), Int(8, true), S32],
            "s32.s8.s8.s32",
            ["s8", "s8", "s32"],
            [2, 2, 8],
        ),
        (
            [16, 16, 16],
            [S32, Int(8, false), Int(8, false), S32],
            "s32.u8.u8.s32",
            ["u8", "u8", "s32"],
            [2, 2, 8],
        ),
        (
            [32, 8, 16],
            [S32, Int(8, false), Int(8, false), S32],
            "s32.u8.u8.s32",
            ["u8", "u8", "s32"],
            [4, 1, 8],
        ),
        (
            [8, 32, 16],
            [S32, Int(8, true), Int(8, true), S32],
            "s32.s8.s8.s32",
            ["s8", "s8", "s32"],
            [1, 4, 8],
        ),
        ([8, 8, 32], [S32, Int(4, true), Int(4, true), S32], "s32.s4.s4.s32", ["s4", "s4", "s32"], [1, 1, 2]),
        (
            [8, 8, 32],
            [S32, Int(4, false), Int(4, false), S32],
            "s32.u4.u4.s32",
            ["u4", "u4", "s32"],
            [1, 1, 2],
        ),
        (
            [8, 8, 128],
            [S32, Int(1, false), Int(1, false), S32],
            "xor.popc s32.b1.b1.s32",
            ["b1", "b1", "s32"],
            [1, 1, 2],
        ),
        (
            [8, 8, 128],
            [S32, Int(1, false), Int(1, false), S32],
            "and.popc s32.b1.b1.s32",
            ["b1", "b1", "s32"],
            [1, 1, 2],
        ),
    ];
    for (seed, (shape, types, spelled, names, counts)) in cases.into_iter().enumerate() {
        let [m, n, k] = shape;
        let layouts: &[[bool; 3]] = if types[1].bits() < 8 {
            &[[true, false, true], [true, false, false]]
        } else {
            &[[true, false, true], [false, true, false], [true, true, true], [false, false, false]]
        };
        for [a_rows, b_rows, c_rows] in layouts.iter().copied() {
            let product = Product::random(100 + seed as u64, shape, types, true);
            let [d, a, b, c] = types;
            let layout = |rows: bool| if rows { "row" } else { "col" };
            let dims = format!("m{m}n{n}k{k}");
            let (op, spelled) = spelled
                .split_once(' ')
                .map_or((String::new(), spelled), |(op, rest)| (format!(".{op}"), rest));
            let head = |what: &str, rows: bool, name: &str| {
                format!("wmma.{what}.sync.aligned.{}.{dims}.global.{name}", layout(rows))
            };
            let text = format!(
                ".version 7.8\n.target sm_80\n.address_size 64\n\
                 .visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc) {{\n\
                 .reg .{} a<{}>; .reg .{} b<{}>; .reg .{} c<{}>; .reg .{} d<{}>; .reg .b64 %a, %b, %c;\n\
                 ld.param.u64 %a, [pa]; ld.param.u64 %b, [pb]; ld.param.u64 %c, [pc];\n\
                 {} {}, [%a], {};\n{} {}, [%b], {};\n{} {}, [%c], {};\n\
                 wmma.mma{op}.sync.aligned.{}.{}.{dims}.{spelled} {}, {}, {}, {};\n{} [%c], {}, {};\nret; }}\n",
                class(a),
                counts[0],
                class(b),
                counts[1],
                class(c),
                counts[2],
                class(d),
                counts[2],
                head("load.a", a_rows, names[0]),
                list("a", counts[0]),
                if a_rows { k } else { m },
                head("load.b", b_rows, names[1]),
                list("b", counts[1]),
                if b_rows { n } else { k },
                head("load.c", c_rows, names[2]),
                list("c", counts[2]),
                if c_rows { n } else { m },
                layout(a_rows),
                layout(b_rows),
                list("d", counts[2]),
                list("a", counts[0]),
                list("b", counts[1]),
                list("c", counts[2]),
                head("store.d", c_rows, names[2]),
                list("d", counts[2]),
                if c_rows { n } else { m },
            );
            let bench = Bench::new(&text, "k")
                .buffer(packed(&product.a, k, a.bits(), a_rows))
                .buffer(packed(&product.b, n, b.bits(), b_rows))
                .buffer(packed(&product.c, n, c.bits(), c_rows));
            let found = unpacked(&bench.outputs()[2], d.bits());
            let expected = match d {
                F64 => product.expected(f64::mul_add),
                _ if op.contains("xor") => product.expected(|x, y, s| s + f64::from(x != y)),
                _ => product.expected(plain),
            };
            let expected = unpacked(&packed(&expected, n, d.bits(), c_rows), d.bits());
            assert_eq!(found, expected, "{dims} {spelled}, rows: {a_rows} {b_rows} {c_rows}");
        }
    }
}
