//! Matrices between registers and memory: `wmma.load`, `wmma.store`, `ldmatrix`, `stmatrix`, `movmatrix`, `cp.async`.
//!
//! Owns: which element of a `wmma` matrix each thread holds ([`held`]), which PTX leaves open, so only these
//! instructions and `mma` (`tensor.rs`) know it; and the layout of 8 x 8 matrices, which the PTX manual gives.
//! `cp.async` copies at once: a program that waits as it must sees no difference.
//! Never: touches a byte that `memory::Groups` has not passed.
//! Tests: `gpu/tests/cpu_matrix.rs`, and `gpu/tests/cpu_tensor.rs` for `wmma`.

use super::{
    code::{Code, Kind, Matrix, NONE, Part},
    lanes::{Frame, LANES, lanes_of, store},
    memory::{Access, Area, BadAccess, Cell, Groups},
    transfer::{Memory, gather, scatter},
};

/// The row and column that part `part` of register `register` of `lane` holds, of a `wmma` matrix.
pub fn held(matrix: &Matrix, register: usize, packed: usize, part: usize, lane: usize) -> (usize, usize) {
    let (rows, columns) = (usize::from(matrix.rows), usize::from(matrix.columns));
    // Registers beyond the last element begin again at the first.
    let place = ((register * LANES + lane) * packed + part) % (rows * columns);
    if matrix.by_columns { (place % rows, place / rows) } else { (place / columns, place % columns) }
}

fn access<'a>(
    m: &Memory<'_, '_>,
    f: &Frame,
    area: Area,
    at: &'a [u64; LANES],
    size: u64,
    write: bool,
) -> Access<'a> {
    Access { area, addresses: at, mask: f.mask, size, write, first_thread: m.first_thread }
}

fn read<T: Cell>(
    m: &mut Memory<'_, '_>,
    f: &Frame,
    area: Area,
    at: &[u64; LANES],
    mut take: impl FnMut(usize, T),
) -> Result<(), BadAccess> {
    let all = access(m, f, area, at, std::mem::size_of::<T>() as u64, false);
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        let values = gather::<T>(&places, mask, 0);
        lanes_of(mask).for_each(|lane| take(lane, values[lane]));
    }
    Ok(())
}

fn write<T: Cell>(
    m: &mut Memory<'_, '_>,
    f: &Frame,
    area: Area,
    at: &[u64; LANES],
    values: &[T; LANES],
) -> Result<(), BadAccess> {
    let all = access(m, f, area, at, std::mem::size_of::<T>() as u64, true);
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        scatter(&places, mask, 0, values);
    }
    Ok(())
}

/// Bits that are moved at once: elements of less than a byte come eight or more at a time, a word's worth.
fn unit(matrix: &Matrix) -> u32 {
    if matrix.bits < 8 { 32 } else { matrix.bits.into() }
}

/// The addresses of all lanes' units: part `part` of register `register`.
fn units(f: &Frame, i: &Code, matrix: &Matrix, bits: u8, register: usize, part: usize) -> [u64; LANES] {
    let (bases, strides) = (f.wides(i.a), f.words(i.b));
    let packed = usize::from(bits) / usize::from(matrix.bits);
    std::array::from_fn(|lane| {
        let (row, column) = held(matrix, register, packed, part, lane);
        let (outer, inner) = if matrix.row_major { (row, column) } else { (column, row) };
        let element = (outer as u64).wrapping_mul(strides[lane].into()).wrapping_add(inner as u64);
        bases[lane].wrapping_add(element.wrapping_mul(matrix.bits.into()) / 8)
    })
}

fn parts_of<'a>(m: &Memory<'a, '_>, i: &Code) -> &'a [Part] {
    &m.kernel.parts[i.d as usize..(i.d + i.e) as usize]
}

/// Bits of a register of the matrix: 64 for f64, 32 for all others.
fn register_bits(matrix: &Matrix) -> u8 {
    matrix.bits.max(32)
}

pub fn load(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    matrix: Matrix,
) -> Result<(), BadAccess> {
    let bits = register_bits(&matrix);
    let unit = unit(&matrix);
    let step = (unit / u32::from(matrix.bits)) as usize;
    // All registers are read before one is written: the address may be in one of them.
    let mut loaded = Vec::new();
    for register in 0..parts_of(m, i).len() {
        let mut words = [0u64; LANES];
        for n in 0..usize::from(bits) / unit as usize {
            let at = units(f, i, &matrix, bits, register, n * step);
            let shift = n as u32 * unit;
            match unit {
                8 => read(m, f, area, &at, |lane, v: u8| words[lane] |= u64::from(v) << shift)?,
                16 => read(m, f, area, &at, |lane, v: u16| words[lane] |= u64::from(v) << shift)?,
                32 => read(m, f, area, &at, |lane, v: u32| words[lane] |= u64::from(v) << shift)?,
                _ => read(m, f, area, &at, |lane, v: u64| words[lane] |= v)?,
            }
        }
        loaded.push(words);
    }
    for (part, words) in parts_of(m, i).iter().zip(&loaded) {
        put(f, part, words);
    }
    Ok(())
}

fn put(f: &mut Frame, part: &Part, words: &[u64; LANES]) {
    match part.bits {
        64 => store::<u64>(f, part.slot, words),
        _ => store::<u32>(f, part.slot, &words.map(|v| v as u32)),
    }
}

pub fn save(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    matrix: Matrix,
) -> Result<(), BadAccess> {
    let bits = register_bits(&matrix);
    for (register, part) in parts_of(m, i).iter().enumerate() {
        let words = if part.bits == 64 { *f.wides(part.slot) } else { f.words(part.slot).map(u64::from) };
        for n in 0..usize::from(bits) / usize::from(matrix.bits) {
            let at = units(f, i, &matrix, bits, register, n);
            let value = words.map(|w| w >> (n * usize::from(matrix.bits)));
            match matrix.bits {
                16 => write(m, f, area, &at, &value.map(|v| v as u16))?,
                32 => write(m, f, area, &at, &value.map(|v| v as u32))?,
                _ => write(m, f, area, &at, &value)?,
            }
        }
    }
    Ok(())
}

/// Bytes of a row of eight halves, which rows of 8 x 8 matrices must be aligned to.
const ROW_BYTES: u64 = 16;

/// Where each lane's two halves of matrix `tile` lie. Lane `n` holds row `n / 4`, columns `n % 4 * 2` and the next; of a
/// transposed matrix, those of the transpose.
fn tile_halves(rows: &[u64; LANES], tile: usize, transpose: bool) -> [[u64; LANES]; 2] {
    [0, 1].map(|half| {
        std::array::from_fn(|lane| {
            let (row, column) = (lane / 4, lane % 4 * 2 + half);
            let (row, column) = if transpose { (column, row) } else { (row, column) };
            rows[tile * 8 + row].wrapping_add(column as u64 * 2)
        })
    })
}

fn tile_rows(f: &Frame, i: &Code, area: Area) -> Result<[u64; LANES], BadAccess> {
    let rows = *f.wides(i.a);
    match (0..i.e as usize * 8).find(|lane| !rows[*lane].is_multiple_of(ROW_BYTES)) {
        Some(lane) => Err(BadAccess { lane, area, address: rows[lane], misaligned: true }),
        None => Ok(rows),
    }
}

pub fn load_tiles(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    transpose: bool,
) -> Result<(), BadAccess> {
    let rows = tile_rows(f, i, area)?;
    for (tile, part) in parts_of(m, i).iter().enumerate() {
        let mut words = [0u64; LANES];
        for (half, at) in tile_halves(&rows, tile, transpose).iter().enumerate() {
            read(m, f, area, at, |lane, v: u16| words[lane] |= u64::from(v) << (16 * half))?;
        }
        put(f, part, &words);
    }
    Ok(())
}

pub fn save_tiles(
    m: &mut Memory<'_, '_>,
    f: &mut Frame,
    i: &Code,
    area: Area,
    transpose: bool,
) -> Result<(), BadAccess> {
    let rows = tile_rows(f, i, area)?;
    for (tile, part) in parts_of(m, i).iter().enumerate() {
        let words = *f.words(part.slot);
        for (half, at) in tile_halves(&rows, tile, transpose).iter().enumerate() {
            write(m, f, area, at, &words.map(|w| (w >> (16 * half)) as u16))?;
        }
    }
    Ok(())
}

pub fn transpose(f: &mut Frame, i: &Code) {
    let words = *f.words(i.a);
    let half = |row: usize, column: usize| words[row * 4 + column / 2] >> (16 * (column % 2)) & 0xffff;
    let out = std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        half(column, row) | half(column + 1, row) << 16
    });
    store::<u32>(f, i.d, &out);
}

/// Bytes that `cp.async` moves at most.
const COPY_BYTES_MAX: usize = 16;

pub fn copy(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code, bytes: u8) -> Result<(), BadAccess> {
    let bytes = usize::from(bytes).min(COPY_BYTES_MAX);
    let (to, from) = (*f.wides(i.a), *f.wides(i.b));
    let wanted = |lane: usize| if i.c == NONE { bytes } else { (f.words(i.c)[lane] as usize).min(bytes) };
    let mut content = [[0u8; COPY_BYTES_MAX]; LANES];
    for lane in lanes_of(f.mask) {
        // A whole piece is checked as one access; of a part every byte is.
        let whole = wanted(lane) == bytes;
        let size = if whole { bytes } else { 1 };
        let mut at = from;
        for byte in (0..wanted(lane)).step_by(size) {
            at[lane] = from[lane].wrapping_add(byte as u64);
            let one = Access {
                area: Area::Global,
                addresses: &at,
                mask: 1 << lane,
                size: size as u64,
                write: false,
                first_thread: m.first_thread,
            };
            let mut groups = Groups::new(m.global, m.private, one);
            while let Some((places, mask)) = groups.next(m.global, m.private)? {
                for n in 0..size {
                    content[lane][byte + n] = gather::<u8>(&places, mask, n)[lane];
                }
            }
        }
    }
    let all = access(m, f, Area::Shared, &to, bytes as u64, true);
    let mut groups = Groups::new(m.global, m.private, all);
    while let Some((places, mask)) = groups.next(m.global, m.private)? {
        for n in 0..bytes {
            scatter(&places, mask, n, &content.map(|c| c[n]));
        }
    }
    Ok(())
}

/// All transfers of this file.
pub fn transfer(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code) -> Result<(), BadAccess> {
    match i.kind {
        Kind::MatrixLoad { area, matrix } => load(m, f, i, area, matrix),
        Kind::MatrixStore { area, matrix } => save(m, f, i, area, matrix),
        Kind::TilesLoad { area, transpose } => load_tiles(m, f, i, area, transpose),
        Kind::TilesStore { area, transpose } => save_tiles(m, f, i, area, transpose),
        Kind::Copy { bytes } => copy(m, f, i, bytes),
        _ => Ok(()),
    }
}
