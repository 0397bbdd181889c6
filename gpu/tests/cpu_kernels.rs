//! Whole kernels on the CPU engine, held against independent Rust.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_f32, bytes_of_u32, f32_arg, f32s, u32_arg, u32s};

const SAXPY: &str = include_str!("../kernels/saxpy.ptx");
const MATMUL: &str = include_str!("../kernels/matmul.ptx");
const MANDELBROT: &str = include_str!("../kernels/mandelbrot.ptx");
const REDUCTION: &str = include_str!("../kernels/reduction.ptx");
const HISTOGRAM: &str = include_str!("../kernels/histogram.ptx");

fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| rng.f32() * 2.0 - 1.0).collect()
}

#[test]
fn saxpy_fuses_as_it_says() {
    let n = 100_003u32;
    let (x, y) = (floats(1, n as usize), floats(2, n as usize));
    let bench = Bench::new(SAXPY, "saxpy").grid([n.div_ceil(256), 1, 1], [256, 1, 1]);
    let bench = bench.arg(u32_arg(n)).arg(f32_arg(2.5)).buffer(bytes_of_f32(&x)).buffer(bytes_of_f32(&y));
    let out = f32s(&bench.outputs()[1]);
    for n in 0..x.len() {
        assert_eq!(out[n].to_bits(), 2.5f32.mul_add(x[n], y[n]).to_bits(), "element {n}");
    }
}

#[test]
fn matmul_sums_in_order() {
    let n = 64u32;
    let size = n as usize;
    let (a, b) = (floats(3, size * size), floats(4, size * size));
    let bench = Bench::new(MATMUL, "matmul").grid([n / 16, n / 16, 1], [16, 16, 1]);
    let bench = bench.arg(u32_arg(n)).buffer(bytes_of_f32(&a)).buffer(bytes_of_f32(&b));
    let bench = bench.buffer(vec![0; size * size * 4]);
    let out = f32s(&bench.outputs()[2]);
    for row in 0..size {
        for column in 0..size {
            let sum = (0..size).fold(0.0f32, |s, k| a[row * size + k].mul_add(b[k * size + column], s));
            assert_eq!(out[row * size + column].to_bits(), sum.to_bits(), "row {row}, column {column}");
        }
    }
}

fn mandelbrot(x: f32, y: f32, limit: u32) -> u32 {
    let (mut re, mut im) = (0.0f32, 0.0f32);
    for n in 0..limit {
        let (r, i) = (re * re, im * im);
        if r + i > 4.0 {
            return n;
        }
        let both = re * im;
        re = r - i + x;
        im = both.mul_add(2.0, y);
    }
    limit
}

#[test]
fn mandelbrot_counts_lane_by_lane() {
    let (width, height, limit) = (97u32, 61u32, 200u32);
    let (x0, y0, step) = (-2.0f32, -1.0f32, 0.03f32);
    let bench =
        Bench::new(MANDELBROT, "mandelbrot").grid([width.div_ceil(16), height.div_ceil(8), 1], [16, 8, 1]);
    let bench = bench.arg(u32_arg(width)).arg(u32_arg(height));
    let bench = bench.arg(f32_arg(x0)).arg(f32_arg(y0)).arg(f32_arg(step)).arg(u32_arg(limit));
    let bench = bench.buffer(vec![0; (width * height * 4) as usize]);
    let out = u32s(&bench.outputs()[0]);
    for y in 0..height {
        for x in 0..width {
            let (cx, cy) = ((x as f32).mul_add(step, x0), (y as f32).mul_add(step, y0));
            assert_eq!(out[(y * width + x) as usize], mandelbrot(cx, cy, limit), "at {x}, {y}");
        }
    }
}

#[test]
fn reduction_sums_each_block() {
    let n = 5000u32;
    let mut rng = fastrand::Rng::with_seed(5);
    let x: Vec<u32> = (0..n).map(|_| rng.u32(..)).collect();
    let blocks = n.div_ceil(256);
    let bench = Bench::new(REDUCTION, "reduction").grid([blocks, 1, 1], [256, 1, 1]);
    let bench = bench.arg(u32_arg(n)).buffer(bytes_of_u32(&x)).buffer(vec![0; blocks as usize * 4]);
    let expected: Vec<u32> = x.chunks(256).map(|c| c.iter().fold(0u32, |s, v| s.wrapping_add(*v))).collect();
    assert_eq!(u32s(&bench.outputs()[1]), expected);
}

#[test]
fn histogram_counts_every_byte() {
    let mut rng = fastrand::Rng::with_seed(6);
    let x: Vec<u8> = (0..70_001).map(|_| rng.u8(..) & rng.u8(..)).collect();
    let mut expected = vec![0u32; 256];
    x.iter().for_each(|v| expected[usize::from(*v)] += 1);
    let bench = Bench::new(HISTOGRAM, "histogram").grid([20, 1, 1], [256, 1, 1]);
    let bench = bench.arg(u32_arg(x.len() as u32)).buffer(x).buffer(vec![0; 1024]);
    assert_eq!(u32s(&bench.outputs()[1]), expected);
}

/// As compilers unroll loops: every value has a name of its own.
#[test]
fn a_kernel_has_a_hundred_thousand_registers() {
    const REGISTERS: usize = 100_000;
    let steps: String = (1..REGISTERS).map(|n| format!("add.u32 r{n}, r{}, {n};\n", n - 1)).collect();
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .b64 d; .reg .b32 r<{REGISTERS}>;\nld.param.u64 d, [out]; mov.u32 r0, %tid.x; mad.wide.u32 d, r0, 4, d;\n\
         {steps}st.global.u32 [d], r{};\nret;\n}}\n",
        REGISTERS - 1
    );
    let found = u32s(&Bench::new(&text, "k").buffer(vec![0; 128]).outputs()[0]);
    let sum = (1..REGISTERS as u32).fold(0u32, u32::wrapping_add);
    assert_eq!(found, (0..32).map(|n| sum.wrapping_add(n)).collect::<Vec<u32>>());
}
