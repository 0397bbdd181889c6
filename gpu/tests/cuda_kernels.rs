//! Kernels in CUDA C as a compiler turns them into PTX, held against independent Rust: exactly where the arithmetic is
//! exact, within a stated bound elsewhere. `scripts/kernels` compiles them again.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_f32, bytes_of_u32, bytes_of_u64, f32_arg, f32s, u32_arg, u32s, u64s};
use ion_protocol::job::{Arg, Phase, Step};

macro_rules! ptx {
    ($name:literal) => {
        include_str!(concat!("kernels/", $name, ".ptx"))
    };
}

fn floats(seed: u64, count: usize, range: std::ops::Range<f32>) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| range.start + rng.f32() * (range.end - range.start)).collect()
}

fn close(found: f32, expected: f64, bound: f64, what: &str) {
    let apart = (f64::from(found) - expected).abs();
    assert!(apart <= bound, "{what}: found {found}, expected {expected}, {apart:.1e} apart");
}

#[test]
fn nbody_pulls_as_newton_says() {
    const N: usize = 300;
    let bodies = floats(1, 4 * N, 0.1..2.0);
    let bench = Bench::new(ptx!("nbody"), "nbody").grid([3, 1, 1], [128, 1, 1]).arg(u32_arg(N as u32));
    let bench = bench.buffer(bytes_of_f32(&bodies)).buffer(vec![0; 16 * N]).arg(f32_arg(0.01));
    let found = f32s(&bench.outputs()[1]);
    for i in 0..N {
        let body = |n: usize| -> [f64; 4] { std::array::from_fn(|k| f64::from(bodies[4 * n + k])) };
        let mut sum = [0.0f64; 3];
        for j in 0..N {
            let apart: [f64; 3] = std::array::from_fn(|k| body(j)[k] - body(i)[k]);
            let square = apart.iter().map(|d| d * d).sum::<f64>() + f64::from(0.01f32);
            (0..3).for_each(|k| sum[k] += body(j)[3] * apart[k] / (square * square.sqrt()));
        }
        (0..3).for_each(|k| close(found[4 * i + k], sum[k], 1e-2, &format!("body {i}, axis {k}")));
    }
}

#[test]
fn softmax_rows_are_shares_of_one() {
    const COLUMNS: usize = 700;
    let x = floats(2, 5 * COLUMNS, -20.0..20.0);
    let bench = Bench::new(ptx!("softmax"), "softmax").grid([5, 1, 1], [256, 1, 1]).arg(u32_arg(700));
    let found = f32s(&bench.buffer(bytes_of_f32(&x)).buffer(vec![0; 4 * x.len()]).outputs()[1]);
    for (row, out) in x.chunks(COLUMNS).zip(found.chunks(COLUMNS)) {
        let highest = row.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = row.iter().map(|v| f64::from(v - highest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        (0..COLUMNS).for_each(|c| close(out[c], powers[c] / sum, 1e-6, &format!("column {c}")));
    }
}

/// Machine code executes nearly all of these, whatever parts the threads of a warp: what is left to the interpreter is a few
/// branches, and the rounds of loops that only some threads have.
#[test]
fn hardly_anything_is_interpreted() {
    let hardly = |bench: Bench, share: u64, what: &str| {
        let report =
            Bench { cores: Some(1), ..bench }.run().unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let (all, interpreted) = (report.instructions.unwrap(), report.interpreted.unwrap());
        assert!(interpreted * 100 < all * share, "{what}: {interpreted} of {all} are interpreted");
    };
    // Where a row ends within a round, some threads leave that loop a round before others, in any of a warp's passes.
    for (threads, columns) in [7, 31, 32, 33, 100, 256].into_iter().flat_map(|t| [(t, 700), (t, 1000)]) {
        let x = bytes_of_f32(&floats(5, 3 * columns as usize, -20.0..20.0));
        let bench = Bench::new(ptx!("softmax"), "softmax").grid([3, 1, 1], [threads, 1, 1]);
        let bench = bench.arg(u32_arg(columns)).buffer(x.clone()).buffer(x);
        hardly(bench, 5, &format!("{columns} columns by {threads} threads"));
    }
    // Every thread leaves its loop when it will.
    let bench =
        Bench::new(include_str!("../kernels/mandelbrot.ptx"), "mandelbrot").grid([5, 8, 1], [16, 16, 1]);
    let bench = bench.arg(u32_arg(80)).arg(u32_arg(128)).arg(f32_arg(-2.2)).arg(f32_arg(-1.5));
    hardly(bench.arg(f32_arg(0.025)).arg(u32_arg(300)).buffer(vec![0; 80 * 128 * 4]), 3, "mandelbrot");
    // Threads that have something to swap, and those at a rim.
    let keys = bytes_of_f32(&floats(6, 4096, 0.0..1.0));
    hardly(Bench::new(ptx!("bitonic"), "bitonic").grid([4, 1, 1], [512, 1, 1]).buffer(keys), 1, "bitonic");
    let plate = vec![0; 8 * 200 * 200];
    let bench = Bench::new(ptx!("jacobi"), "jacobi").grid([13, 25, 1], [16, 8, 1]).arg(u32_arg(200));
    hardly(bench.arg(u32_arg(200)).buffer(plate.clone()).buffer(plate), 8, "jacobi");
    // An if and an else in a loop that ends when each thread's number is one.
    let collatz = ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{\n\
         .reg .pred %p; .reg .b32 %t, %b, %c, %v, %n; .reg .b64 %a;\n\
         mov.u32 %b, %ctaid.x; mov.u32 %c, %ntid.x; mov.u32 %t, %tid.x; mad.lo.u32 %t, %b, %c, %t;\n\
         ld.param.u64 %a, [out]; mad.wide.u32 %a, %t, 4, %a; mov.u32 %n, 0; add.u32 %v, %t, 1;\n\
         LOOP: and.b32 %c, %v, 1; setp.eq.u32 %p, %c, 0; @%p bra EVEN;\n\
         mad.lo.u32 %v, %v, 3, 1; bra NEXT;\nEVEN: shr.u32 %v, %v, 1;\n\
         NEXT: add.u32 %n, %n, 1; setp.gt.u32 %p, %v, 1; @%p bra LOOP;\nst.global.u32 [%a], %n; ret;\n}\n";
    hardly(Bench::new(collatz, "k").grid([8, 1, 1], [128, 1, 1]).buffer(vec![0; 4096]), 3, "collatz");
}

#[test]
fn scan_gives_running_sums() {
    const N: usize = 5_003;
    let mut rng = fastrand::Rng::with_seed(3);
    let x: Vec<u32> = (0..N).map(|_| rng.u32(..)).collect();
    let blocks = N.div_ceil(256);
    let bench = Bench::new(ptx!("scan"), "scan_blocks").grid([blocks as u32, 1, 1], [256, 1, 1]);
    let bench = bench.arg(u32_arg(N as u32)).buffer(bytes_of_u32(&x)).buffer(vec![0; 4 * N]);
    let bench = bench.buffer(vec![0; 4 * blocks]);
    let mut program = bench.program();
    let Step::Launch(mut add) = program.phases[0].steps[0].clone() else { panic!("a launch") };
    add.kernel = "scan_add".into();
    add.args = vec![u32_arg(N as u32), Arg::Buffer(1), Arg::Buffer(2)];
    program.phases[0].steps.push(Step::Launch(add));
    let report = bench.run_program(program).unwrap();
    let sums = x.iter().scan(0u32, |sum, v| {
        *sum = sum.wrapping_add(*v);
        Some(*sum)
    });
    assert_eq!(u32s(&report.outputs[1].bytes), sums.collect::<Vec<u32>>());
}

#[test]
fn spmv_skips_what_is_zero() {
    const ROWS: usize = 200;
    let mut rng = fastrand::Rng::with_seed(4);
    let x = floats(5, ROWS, -1.0..1.0);
    let (mut starts, mut columns, mut values, mut expected) = (vec![0u32], vec![], vec![], vec![]);
    for _ in 0..ROWS {
        let mut sum = 0.0f64;
        for _ in 0..rng.usize(0..90) {
            let (column, value) = (rng.usize(0..ROWS), rng.f32() - 0.5);
            columns.push(column as u32);
            values.push(value);
            sum += f64::from(value) * f64::from(x[column]);
        }
        starts.push(columns.len() as u32);
        expected.push(sum);
    }
    let bench = Bench::new(ptx!("spmv"), "spmv").grid([50, 1, 1], [128, 1, 1]).arg(u32_arg(ROWS as u32));
    let bench =
        bench.buffer(bytes_of_u32(&starts)).buffer(bytes_of_u32(&columns)).buffer(bytes_of_f32(&values));
    let found = f32s(&bench.buffer(bytes_of_f32(&x)).buffer(vec![0; 4 * ROWS]).outputs()[4]);
    (0..ROWS).for_each(|row| close(found[row], expected[row], 1e-5, &format!("row {row}")));
}

#[test]
fn jacobi_is_exact_to_the_last_bit() {
    const WIDTH: usize = 45;
    const HEIGHT: usize = 37;
    const SWEEPS: u32 = 60;
    let mut plate: Vec<f64> =
        floats(6, WIDTH * HEIGHT, 0.0..100.0).into_iter().map(|v| f64::from(v) / 3.0).collect();
    let bits: Vec<u64> = plate.iter().map(|v| v.to_bits()).collect();
    let bench = Bench::new(ptx!("jacobi"), "jacobi").grid([3, 5, 1], [16, 8, 1]);
    let bench = bench.arg(u32_arg(WIDTH as u32)).arg(u32_arg(HEIGHT as u32));
    let bench = bench.buffer(bytes_of_u64(&bits)).buffer(vec![0; 8 * plate.len()]);
    let mut program = bench.program();
    let launch = program.phases[0].steps[0].clone();
    program.phases = vec![Phase { times: SWEEPS, steps: vec![launch, Step::Swap { a: 0, b: 1 }] }];
    let report = bench.run_program(program).unwrap();
    for _ in 0..SWEEPS {
        let before = plate.clone();
        for y in 1..HEIGHT - 1 {
            for i in y * WIDTH + 1..(y + 1) * WIDTH - 1 {
                plate[i] = 0.25 * (before[i - 1] + before[i + 1] + before[i - WIDTH] + before[i + WIDTH]);
            }
        }
    }
    let expected: Vec<u64> = plate.iter().map(|v| v.to_bits()).collect();
    assert_eq!(u64s(&report.outputs[0].bytes), expected);
}

/// The normal distribution by Simpson's rule, which shares nothing with the kernel.
fn normal(x: f64) -> f64 {
    const STEPS: usize = 400;
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let width = x / STEPS as f64;
    let weight = |n: usize| match n {
        0 | STEPS => 1.0,
        n if n % 2 == 1 => 4.0,
        _ => 2.0,
    };
    0.5 + (0..=STEPS).map(|n| weight(n) * density(n as f64 * width)).sum::<f64>() * width / 3.0
}

#[test]
fn options_are_priced_and_in_parity() {
    const N: usize = 500;
    let (rate, volatility) = (0.02f32, 0.30f32);
    let inputs = [floats(7, N, 5.0..30.0), floats(8, N, 5.0..60.0), floats(9, N, 0.25..5.0)];
    let mut bench = Bench::new(ptx!("black_scholes"), "black_scholes").grid([4, 1, 1], [128, 1, 1]);
    bench = bench.arg(u32_arg(N as u32)).arg(f32_arg(rate)).arg(f32_arg(volatility));
    for input in &inputs {
        bench = bench.buffer(bytes_of_f32(input));
    }
    let outputs = bench.buffer(vec![0; 4 * N]).buffer(vec![0; 4 * N]).outputs();
    let (call, put) = (f32s(&outputs[3]), f32s(&outputs[4]));
    for i in 0..N {
        let [s, k, t] = [0, 1, 2].map(|n: usize| f64::from(inputs[n][i]));
        let (r, v) = (f64::from(rate), f64::from(volatility));
        let d1 = ((s / k).ln() + (r + v * v / 2.0) * t) / (v * t.sqrt());
        let worth = k * (-r * t).exp();
        let expected = s * normal(d1) - worth * normal(d1 - v * t.sqrt());
        close(call[i], expected, 5e-5, &format!("call {i}"));
        close(put[i], expected - s + worth, 5e-5, &format!("put {i}"));
    }
}

#[test]
fn bitonic_sorts_every_block() {
    let mut rng = fastrand::Rng::with_seed(10);
    let mut keys: Vec<i32> = (0..4096).map(|_| rng.i32(..) >> rng.u8(0..31)).collect();
    let bytes = |keys: &[i32]| keys.iter().flat_map(|k| k.to_le_bytes()).collect::<Vec<u8>>();
    let bench = Bench::new(ptx!("bitonic"), "bitonic").grid([4, 1, 1], [512, 1, 1]).buffer(bytes(&keys));
    keys.chunks_mut(1024).for_each(<[i32]>::sort_unstable);
    assert_eq!(bench.outputs()[0], bytes(&keys));
}

#[test]
fn reduce_finds_sum_least_and_greatest() {
    let mut rng = fastrand::Rng::with_seed(11);
    let x: Vec<i32> = (0..70_001).map(|_| rng.i32(..) / 2).collect();
    let full = [i32::MAX, i32::MIN].map(|v| v.to_le_bytes().to_vec());
    let [least, greatest] = full;
    let bench =
        Bench::new(ptx!("reduce"), "reduce").grid([12, 1, 1], [192, 1, 1]).arg(u32_arg(x.len() as u32));
    let bench = bench.buffer(x.iter().flat_map(|v| v.to_le_bytes()).collect()).buffer(vec![0; 8]);
    let found = bench.buffer(least).buffer(greatest).outputs();
    let sum: i64 = x.iter().map(|v| i64::from(*v)).sum();
    assert_eq!(found[1], sum.to_le_bytes());
    assert_eq!(found[2], x.iter().min().unwrap().to_le_bytes());
    assert_eq!(found[3], x.iter().max().unwrap().to_le_bytes());
}

#[test]
fn histogram_counts_four_bytes_at_a_time() {
    let mut rng = fastrand::Rng::with_seed(12);
    let x: Vec<u8> = (0..80_000).map(|_| rng.u8(..) & rng.u8(..)).collect();
    let mut expected = vec![0u32; 256];
    x.iter().for_each(|v| expected[usize::from(*v)] += 1);
    let bench = Bench::new(ptx!("histogram"), "histogram").grid([9, 1, 1], [192, 1, 1]).arg(u32_arg(20_000));
    assert_eq!(u32s(&bench.buffer(x).buffer(vec![0; 1024]).outputs()[1]), expected);
}
