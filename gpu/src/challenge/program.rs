//! A challenge's product as a program.

use super::seed_words;
use ion_protocol::{
    BlobHash, Bytes,
    challenge::{MATRIX_WIDTH, ROW_BYTES, Shape},
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
};
use std::sync::LazyLock;

/// The program's only blob.
pub const KERNELS: &str = include_str!("challenge.ptx");

/// Its name.
pub fn blob() -> BlobHash {
    static BLOB: LazyLock<BlobHash> = LazyLock::new(|| BlobHash::of(KERNELS.as_bytes()));
    *BLOB
}

/// Threads of a block: one for each column.
const BLOCK: u32 = MATRIX_WIDTH;
/// Rows of C that a block computes.
const BLOCK_ROWS: u32 = 8;
/// Rows of C in one buffer and one launch: 4 GiB, well below what a buffer may have, and a fraction of a second.
const PIECE_ROWS: u32 = 1 << 22;
/// Bytes hashed at once: a block of BLAKE3.
const HASH_BLOCK: u32 = 64;

/// Positions of the buffers that come before the pieces of C.
const B: u16 = 0;
/// Hashes on their way up: odd and even levels.
const LEVELS: [u16; 2] = [1, 2];
/// The first tree's root.
const KEY: u16 = 3;
/// What leaves the device: a level of each tree.
const NODES: [u16; 2] = [4, 5];
const PIECES: u16 = 6;

/// The product of this seed and shape. Its outputs are the levels of both trees with [`Shape::nodes`] nodes.
pub fn program(seed: &[u8; 32], shape: &Shape) -> Program {
    let (kernels, bytes) = (blob(), Bytes(KERNELS.len() as u64));
    let module = Module { name: "challenge.ptx".to_owned(), source: Source::Ptx, blob: kernels, bytes };
    let [.., k0, k1, k2, k3] = seed_words(seed);
    let mut steps = vec![launch("fill", shape.inner, [k0, k1, k2, k3].map(word).into(), &[Arg::Buffer(B)])];
    steps.extend(pieces(shape).map(|(first, rows, buffer)| product(seed, shape, first, rows, buffer)));
    steps.extend(tree(shape, Key::None));
    steps.extend(tree(shape, Key::Root));
    let phases = vec![Phase { times: 1, steps }];
    Program { modules: vec![module], buffers: buffers(shape), phases }
}

fn buffers(shape: &Shape) -> Vec<Buffer> {
    let hashes = |name: &str, count: u32, output| buffer(name, u64::from(count) * 32, output);
    let below = if shape.folded() == 0 { 1 } else { shape.leaves() };
    let mut buffers = vec![
        buffer("b", u64::from(shape.inner) * ROW_BYTES as u64, false),
        hashes("odd levels", shape.leaves().div_ceil(2), false),
        hashes("even levels", below.max(shape.leaves().div_ceil(4)), false),
        hashes("key", 1, false),
        hashes("first", shape.nodes(), true),
        hashes("second", shape.nodes(), true),
    ];
    buffers.extend(pieces(shape).map(|(first, rows, _)| {
        buffer(&format!("c from row {first}"), u64::from(rows) * ROW_BYTES as u64, false)
    }));
    buffers
}

fn buffer(name: &str, bytes: u64, output: bool) -> Buffer {
    let (name, element, shape) = (name.to_owned(), Element::U8, vec![bytes]);
    Buffer { name, bytes: Bytes(bytes), init: Init::Zero, element, shape, output }
}

/// First row, rows and buffer of each piece of C.
fn pieces(shape: &Shape) -> impl Iterator<Item = (u32, u32, u16)> + use<> {
    let rows = shape.rows;
    let firsts = (0..rows.div_ceil(PIECE_ROWS)).map(|n| n * PIECE_ROWS);
    firsts.zip(PIECES..).map(move |(first, buffer)| (first, PIECE_ROWS.min(rows - first), buffer))
}

fn word(value: u32) -> Arg {
    Arg::Scalar { element: Element::U32, bits: value.into() }
}

fn launch(kernel: &str, blocks: u32, mut args: Vec<Arg>, more: &[Arg]) -> Step {
    args.extend_from_slice(more);
    let (grid, block) = ([blocks, 1, 1], [BLOCK, 1, 1]);
    Step::Launch(Launch { module: 0, kernel: kernel.to_owned(), grid, block, shared_bytes: 0, args })
}

fn product(seed: &[u8; 32], shape: &Shape, first: u32, rows: u32, buffer: u16) -> Step {
    let [k0, k1, k2, k3, ..] = seed_words(seed);
    let args = [k0, k1, k2, k3, first, shape.inner].map(word).into();
    launch("product", rows / BLOCK_ROWS, args, &[Arg::Buffer(B), Arg::Buffer(buffer)])
}

/// Under which key rows are hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    None,
    Root,
}

/// Hashes the rows, then level by level. The first tree goes up to its root, which is the second's key; the second ends
/// where it leaves the device.
fn tree(shape: &Shape, key: Key) -> Vec<Step> {
    let (folded, top) = (shape.folded(), shape.leaves().trailing_zeros());
    let out = NODES[usize::from(key == Key::Root)];
    let at = |level: u32| match level {
        level if level == folded => out,
        level if level == top => KEY,
        level => LEVELS[usize::from(level % 2 == 0)],
    };
    let mut steps: Vec<Step> =
        pieces(shape).map(|(first, rows, buffer)| hash_rows(key, first, rows, buffer, at(0))).collect();
    let last = if key == Key::Root { folded } else { top };
    steps.extend((1..=last).map(|level| hash_nodes(at(level - 1), at(level), shape.leaves() >> level)));
    steps
}

fn hash_rows(key: Key, first: u32, rows: u32, from: u16, to: u16) -> Step {
    let blocks = ROW_BYTES as u32 / HASH_BLOCK;
    let key = match key {
        Key::None => Arg::Scalar { element: Element::U64, bits: 0 },
        Key::Root => Arg::Buffer(KEY),
    };
    hash(key, from, to, [blocks, rows, first])
}

fn hash_nodes(from: u16, to: u16, count: u32) -> Step {
    hash(Arg::Scalar { element: Element::U64, bits: 0 }, from, to, [1, count, 0])
}

/// Numbers: blocks of a piece, how many pieces, and the place of the first hash.
fn hash(key: Arg, from: u16, to: u16, numbers: [u32; 3]) -> Step {
    let [_, count, _] = numbers;
    let args = vec![key, Arg::Buffer(from), Arg::Buffer(to)];
    launch("hash", count.div_ceil(BLOCK), args, &numbers.map(word))
}
