//! Challenges on every engine of this machine: the product is right, its roots are those of plain Rust, and each way to
//! cheat is caught by the check that is there for it.

use ion_gpu::{
    backend::{Backend, RunLimits},
    challenge::{KERNELS, Nodes, check, mix, open_rows, program},
    cpu::CpuBackend,
    cuda::{CudaBackend, survey},
    program::{LoadedProgram, Sources, no_compiler},
};
use ion_protocol::{
    Bytes, Millis,
    challenge::{Flaw, OpenedRow, Roots, Shape, opened_rows, tree},
};
use std::sync::atomic::AtomicBool;

const SEED: [u8; 32] = [0x5a; 32];
/// Not a power of two of rows, so that some places of the trees are empty.
const SHAPE: Shape = Shape { rows: 72, inner: 96 };

fn engines() -> Vec<Box<dyn Backend>> {
    let mut engines: Vec<Box<dyn Backend>> = vec![
        Box::new(CpuBackend::default().translating_at_once()),
        Box::new(CpuBackend::default().interpreting()),
    ];
    let found = survey(&[]);
    match found.devices.first() {
        Some((ordinal, _)) => engines.push(Box::new(CudaBackend::open(*ordinal).unwrap())),
        None => eprintln!("skipped: CUDA ({})", found.state),
    }
    engines
}

fn commit(engine: &mut dyn Backend, seed: &[u8; 32], shape: &Shape) -> Nodes {
    let limits = RunLimits { run: Millis(60_000), memory: Bytes(1 << 30), fuel: None };
    let mut blob = |_, _| Ok(KERNELS.as_bytes().into());
    let mut sources = Sources { blob: &mut blob, compile: &mut no_compiler };
    let program = program(seed, shape);
    assert!(program.memory() <= shape.memory(), "{:?}", shape.memory());
    let loaded = LoadedProgram::load(program, &limits, &mut sources).unwrap();
    let report = engine.run(loaded, &limits, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let [first, second] = &report.outputs[..] else { panic!("two outputs") };
    Nodes::of(shape, &first.bytes, &second.bytes).unwrap()
}

/// The product by its definition, a word at a time.
fn product(seed: &[u8; 32], shape: &Shape) -> Vec<Vec<u8>> {
    let words: Vec<u32> = seed.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect();
    let word = |keys: &[u32], row: u32, column: u32| {
        mix(mix(keys[0], keys[1], row), mix(keys[2], keys[3], row), column)
    };
    let cell = |row, column| {
        (0..shape.inner).fold(0u32, |sum, k| {
            sum.wrapping_add(word(&words[..4], row, k).wrapping_mul(word(&words[4..], k, column)))
        })
    };
    (0..shape.rows).map(|row| (0..256).flat_map(|column| cell(row, column).to_le_bytes()).collect()).collect()
}

/// What an honest provider commits to that has these rows.
fn roots_of(rows: &[Vec<u8>], shape: &Shape) -> (Roots, [Vec<Vec<tree::Hash>>; 2]) {
    let tree_of = |leaf: &dyn Fn(&[u8]) -> tree::Hash| {
        let mut leaves: Vec<_> = rows.iter().map(|row| leaf(row)).collect();
        leaves.resize(shape.leaves() as usize, [0; 32]);
        tree::levels(leaves)
    };
    let first = tree_of(&tree::leaf);
    let key = first.last().unwrap()[0];
    let second = tree_of(&|row| tree::keyed_leaf(&key, row));
    (Roots { first: key, second: second.last().unwrap()[0] }, [first, second])
}

fn shown(rows: &[Vec<u8>], trees: &[Vec<Vec<tree::Hash>>; 2], wanted: &[u32]) -> Vec<OpenedRow> {
    let open = |row: &u32| {
        let at = *row as usize;
        let [first, second] = [0, 1].map(|n| tree::path(&trees[n], at));
        OpenedRow { words: rows[at].clone(), first, second }
    };
    wanted.iter().map(open).collect()
}

#[test]
fn every_engine_commits_to_the_product_and_opens_it() {
    let rows = product(&SEED, &SHAPE);
    let (roots, trees) = roots_of(&rows, &SHAPE);
    for mut engine in engines() {
        let nodes = commit(&mut *engine, &SEED, &SHAPE);
        assert_eq!(nodes.roots(), roots, "{}", engine.label());
        let opening = [9; 32];
        let answer = open_rows(&SEED, &SHAPE, &nodes, &opening);
        assert_eq!(answer, shown(&rows, &trees, &opened_rows(&opening, &SHAPE)), "{}", engine.label());
        assert_eq!(check(&SEED, &SHAPE, &roots, &opening, &answer), Ok(()));
        assert!(matches!(check(&[1; 32], &SHAPE, &roots, &opening, &answer), Err(Flaw::Product { .. })));
        assert!(check(&SEED, &SHAPE, &roots, &[8; 32], &answer).is_err(), "other rows are asked for");
    }
}

#[test]
fn what_stays_on_the_device_is_made_again_where_it_is_asked_for() {
    let shape = Shape { rows: (1 << 18) + 8, inner: 32 };
    assert_eq!((shape.folded(), shape.nodes()), (1, 1 << 18));
    let nodes = commit(&mut CpuBackend::default(), &SEED, &shape);
    let opening = [2; 32];
    let answer = open_rows(&SEED, &shape, &nodes, &opening);
    assert_eq!(check(&SEED, &shape, &nodes.roots(), &opening, &answer), Ok(()));
}

#[test]
fn false_rows_are_caught_as_often_as_they_are_opened() {
    const TIMES: u64 = 400;
    let mut rows = product(&SEED, &SHAPE);
    // One row of 72: each opening shows 32.
    let left_out = 40;
    rows[left_out][1023] ^= 0x80;
    let (roots, trees) = roots_of(&rows, &SHAPE);
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut caught = 0;
    for _ in 0..TIMES {
        let mut opening = [0; 32];
        rng.fill(&mut opening);
        let wanted = opened_rows(&opening, &SHAPE);
        let found = check(&SEED, &SHAPE, &roots, &opening, &shown(&rows, &trees, &wanted));
        let opened = wanted.contains(&(left_out as u32));
        caught += u64::from(opened);
        // The top bit of one word is the error that Freivalds' test misses most often: by 2^-16.
        let expected = if opened { Err(Flaw::Product { row: left_out as u32 }) } else { Ok(()) };
        assert_eq!(found, expected, "seed {seed}");
    }
    let (expected, sigma) = (TIMES as f64 * 32.0 / 72.0, (TIMES as f64 * 32.0 / 72.0 * 40.0 / 72.0).sqrt());
    assert!((caught as f64 - expected).abs() < 5.0 * sigma, "{caught} of {TIMES}; seed {seed}");
}

#[test]
fn each_lie_is_named() {
    let rows = product(&SEED, &SHAPE);
    let (roots, trees) = roots_of(&rows, &SHAPE);
    let opening = [1; 32];
    let wanted = opened_rows(&opening, &SHAPE);
    let honest = shown(&rows, &trees, &wanted);
    let (at, row) = (5, wanted[5]);
    let judge = |roots: &Roots, rows: &[OpenedRow]| check(&SEED, &SHAPE, roots, &opening, rows);
    assert_eq!(judge(&roots, &honest), Ok(()));
    assert_eq!(judge(&roots, &honest[1..]), Err(Flaw::Count { found: 31, expected: 32 }));

    let lied = |lie: &dyn Fn(&mut OpenedRow)| {
        let mut rows = honest.clone();
        lie(&mut rows[at]);
        judge(&roots, &rows)
    };
    assert_eq!(lied(&|row| row.words.truncate(1020)), Err(Flaw::Length { row, found: 1020 }));
    assert_eq!(lied(&|row| row.words[3] ^= 1), Err(Flaw::FirstRoot { row }), "other than committed to");
    assert_eq!(lied(&|row| row.first[2][0] ^= 1), Err(Flaw::FirstRoot { row }));
    assert_eq!(lied(&|row| row.first.push([0; 32])), Err(Flaw::FirstRoot { row }));
    assert_eq!(lied(&|row| row.first.clear()), Err(Flaw::FirstRoot { row }));
    assert_eq!(lied(&|row| row.second[0][31] ^= 1), Err(Flaw::SecondRoot { row }));
    let swapped = [&honest[..at], &[honest[at + 1].clone(), honest[at].clone()], &honest[at + 2..]].concat();
    assert_eq!(judge(&roots, &swapped), Err(Flaw::FirstRoot { row }), "a row at another's place");

    // Who chooses the key before C is whole need not keep C.
    let guessed = Roots { first: [7; 32], ..roots };
    assert_eq!(judge(&guessed, &honest), Err(Flaw::FirstRoot { row: wanted[0] }));
    let unkeyed = Roots { second: roots.first, ..roots };
    assert_eq!(judge(&unkeyed, &honest), Err(Flaw::SecondRoot { row: wanted[0] }));
}
