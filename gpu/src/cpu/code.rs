//! Instructions as the interpreter executes them: names and types resolved, operands turned into slots.
//!
//! Owns: [`Code`] and [`Kernel`]. Never: executes (see `step.rs`) or makes them (see `decode/`).
//! Tests: through the engine, `gpu/tests/cpu_*.rs`.

use super::{memory::Area, object::ObjectOp, soft::Mode, tiny::Tiny, video};
use crate::ptx::words::{Mod, Special};

/// An operand that is not there.
pub const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntTy {
    U16,
    U32,
    U64,
    S16,
    S32,
    S64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOp {
    Add,
    Sub,
    MulLo,
    MulHi,
    MadLo,
    MadHi,
    Div,
    Rem,
    Min,
    Max,
    Abs,
    Neg,
    Sad,
    And,
    Or,
    Xor,
    Not,
    Cnot,
    Shl,
    Shr,
    AddSat,
    SubSat,
    MadHiSat,
}

/// Operations on words of bits, of 32 or (where it makes sense) 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitOp {
    MulWide { signed: bool, from: u8 },
    MadWide { signed: bool, from: u8 },
    Mul24 { signed: bool, high: bool },
    Mad24 { signed: bool, high: bool },
    Bfe { signed: bool, wide: bool },
    Bfi { wide: bool },
    Popc { wide: bool },
    Clz { wide: bool },
    Brev { wide: bool },
    Bfind { signed: bool, wide: bool, amount: bool },
    Prmt(Option<Mod>),
    Lop3(u8),
    Shf { left: bool, wrap: bool },
    Dp4a { a_signed: bool, b_signed: bool },
    Dp2a { a_signed: bool, b_signed: bool, high: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarryOp {
    Add { with: bool },
    Sub { with: bool },
    Mad { with: bool, high: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatTy {
    F32,
    F64,
    /// One or two 16-bit numbers in a word.
    Half {
        pair: bool,
        brain: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatOp {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Sqrt,
    Rcp,
    Rsqrt,
    Sin,
    Cos,
    Ex2,
    Lg2,
    Tanh,
    Min,
    Max,
    Abs,
    Neg,
    Copysign,
}

/// How a floating-point result is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    pub mode: Mode,
    pub ftz: bool,
    pub sat: bool,
    /// `min` and `max` give NaN if an operand is NaN.
    pub nan: bool,
    pub relu: bool,
}

/// Comparisons, with the unsigned and unordered variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// The same, true if an operand is NaN.
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmpTy {
    Int(IntTy),
    Float(FloatTy),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoolOp {
    And,
    Or,
    Xor,
}

/// One side of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Int { bits: u8, signed: bool },
    F16,
    Bf16,
    F32,
    F64,
}

/// To a whole number within a floating-point format, or in the usual way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convert {
    pub from: Number,
    pub to: Number,
    pub mode: Mode,
    pub whole: bool,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    /// Bits of the destination register, which may be wider than the type.
    pub register: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomOp {
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Add,
    Inc,
    Dec,
    Min,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomTy {
    U32,
    S32,
    U64,
    S64,
    B16,
    /// Two registers of 64 bits, the lower first.
    B128,
    F32,
    F64,
    Half {
        pair: bool,
        brain: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShuffleOp {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoteOp {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceOp {
    Popc,
    And,
    Or,
}

/// Operations on words of integers, beyond those of [`BitOp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordOp {
    Bmsk {
        wrap: bool,
    },
    Szext {
        signed: bool,
        wrap: bool,
    },
    Fns,
    Mad24HiSat,
    /// Two 16-bit integers in a word.
    Pair {
        op: PairOp,
        signed: bool,
        relu: bool,
    },
    /// `a` and `b` clamped to so many bits; above them, if `join`, what `c` has below.
    Pack {
        bits: u8,
        signed: bool,
        join: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairOp {
    Add,
    Min,
    Max,
}

/// `cvt` from f32 to a narrow format in the ways that [`Convert`] has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Narrow {
    pub to: NarrowTo,
    pub mode: Mode,
    /// To nearest, ties away from zero.
    pub away: bool,
    pub relu: bool,
    /// The greatest number in place of infinity.
    pub finite: bool,
    /// `a` to the upper, `b` to the lower half of a word.
    pub pair: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NarrowTo {
    F16,
    Bf16,
    /// An f32 of which only the upper ten bits of the fraction are used.
    Tf32,
}

/// What elements of a matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
    /// So many bits, 1 to 32.
    Int {
        bits: u8,
        signed: bool,
    },
}

/// Which thread holds which elements of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// As the PTX manual lays them out for `mma`.
    Mma,
    /// The same for `mma.m8n8k4` on halves: four products at once; whether `a` and `b` are row-major.
    Quads { a_rows: bool, b_rows: bool },
    /// `wmma`, whose layout PTX leaves open.
    Wmma,
}

/// `d = a * b + c` of matrices by a whole warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mma {
    /// Rows of `a`, columns of `b`, columns of `a`.
    pub shape: [u16; 3],
    pub a: Entry,
    pub b: Entry,
    pub c: Entry,
    pub d: Entry,
    pub spread: Spread,
    pub mode: Mode,
    /// Clamp an integer sum rather than wrap it; the greatest half in place of infinity.
    pub saturate: bool,
    /// For single bits: count where both are set, rather than where one is.
    pub both: bool,
}

/// A matrix of `wmma` on its way from or to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    pub rows: u16,
    pub columns: u16,
    pub bits: u8,
    /// Whether the matrix's own rows lie together in memory.
    pub row_major: bool,
    /// Whether it is held by columns, as `b` is.
    pub by_columns: bool,
}

/// What a barrier does with its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    Sync,
    Arrive,
    Reduce(ReduceOp),
}

/// What an instruction does. Fields of [`Code`] hold its operands: `d` the destination, `a`, `b`, `c` the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int(IntOp, IntTy),
    Bits(BitOp),
    /// The carry flag is the predicate `imm`; it is set if `e` is 1.
    Carry(CarryOp, IntTy),
    Float(FloatOp, FloatTy, Finish),
    /// Compares `a` with `b`, joins with the predicate `c`, sets the predicates `d` and `e`.
    Setp {
        cmp: Cmp,
        ty: CmpTy,
        join: Option<BoolOp>,
        negate: bool,
        ftz: bool,
    },
    Set {
        cmp: Cmp,
        ty: CmpTy,
        join: Option<BoolOp>,
        negate: bool,
        ftz: bool,
        float: bool,
    },
    Testp {
        what: Mod,
        wide: bool,
    },
    /// `a` where the predicate `c` holds, else `b`.
    Selp {
        wide: bool,
        negate: bool,
    },
    /// `a` where `c` is at least zero, else `b`.
    Slct {
        wide: bool,
        float: bool,
        ftz: bool,
    },
    Move {
        wide: bool,
    },
    /// 16-bit parts: `d` from the half `e` of `a`; into the half `e` of `d`.
    TakeHalf,
    PutHalf,
    /// 32-bit halves of a 64-bit register.
    TakeWord,
    PutWord,
    Convert(Convert),
    /// `a` and `b` to two 16-bit numbers in one word.
    ConvertPair {
        mode: Mode,
        brain: bool,
        relu: bool,
    },
    PredMove,
    PredConst(bool),
    PredLogic(BoolOp),
    PredNot,
    /// Instructions that this block has executed.
    Clock {
        wide: bool,
    },
    /// `d = a + imm` in 64 bits, unless `a` has the tag already: generic addresses of a state space.
    Tag(Area),
    Untag(Area),
    InSpace(Area),
    /// `e` parts of `bits` bits at `[a + imm]` (of 128: one in two registers); registers from `d` on in the parts table.
    Load {
        area: Area,
        bits: u8,
        signed: bool,
    },
    Store {
        area: Area,
        bits: u8,
    },
    /// `[a + imm]` joined with `b` (and `c`); the old value to `d`, if any.
    Atomic {
        area: Area,
        op: AtomOp,
        ty: AtomTy,
    },
    /// `a` bytes more, aligned to `imm`, end where the stack `b` did; `d` is where they begin. None are below `lowest`.
    Alloca {
        wide: bool,
        lowest: u32,
    },
    Shuffle(ShuffleOp),
    Vote {
        op: VoteOp,
        negate: bool,
    },
    Match {
        wide: bool,
        all: bool,
    },
    Redux {
        op: AtomOp,
        signed: bool,
    },
    Activemask,
    Branch(u32),
    Exit,
    /// Barrier `a`, of `b` threads if given; `c` is the predicate to join, `d` the result.
    Barrier {
        what: Barrier,
        negate: bool,
    },
    Trap,
    /// A call of the address `a`, where no function of its kind is.
    Astray,
    /// The generic addresses of message, file and function in `a`, `b`, `d`, the line in `c`, if given.
    Assert,
    /// Further integer operations.
    Word(WordOp),
    /// f32 to a narrow format.
    Narrow(Narrow),
    /// Two floats of eight bits.
    Tiny(Tiny),
    /// Parts of `a` and `b`, joined with those of `c` or with its word.
    Video(video::Video),
    /// A product of parts of `a` and `b`, and `c`.
    VideoMad(video::VideoMad),
    /// Smallest or greatest by magnitude, with the sign of the product.
    XorSign {
        max: bool,
        ty: FloatTy,
        how: Finish,
    },
    /// Compares and gives 1.0 or 0 in halves, or 16-bit masks; pairs compare each half on its own.
    SetHalf {
        cmp: Cmp,
        ty: CmpTy,
        join: Option<BoolOp>,
        negate: bool,
        ftz: bool,
        /// What stands for true in each half; 0xffff for masks.
        yes: u16,
        /// Whether both halves are set, each by its own comparison.
        pair: bool,
    },
    /// `d` is the lowest member that executes this; the predicate `e` holds in that lane.
    Elect,
    /// The members in `b` wait for each other.
    WarpSync,
    /// Registers `parts[a..]`, `parts[b..]`, `parts[c..]`, to `parts[d..]`.
    Mma(Mma),
    /// `parts[d..d + e]` from or to the address `a`, rows (or columns) `b` elements apart.
    MatrixLoad {
        area: Area,
        matrix: Matrix,
    },
    MatrixStore {
        area: Area,
        matrix: Matrix,
    },
    /// `e` matrices of 8 x 8 halves, `parts[d..d + e]`; eight lanes each give the addresses of one's rows, in `a`.
    TilesLoad {
        area: Area,
        transpose: bool,
    },
    TilesStore {
        area: Area,
        transpose: bool,
    },
    /// An 8 x 8 matrix of halves, transposed from `a` to `d`.
    TileTranspose,
    /// `cp.async`: so many bytes from the global address `b` to the shared address `a`; of them only `c` are read, if
    /// given, the rest is zero.
    Copy {
        bytes: u8,
    },
    /// A barrier object at `[a + imm]`, with `b`; the state before that, or whether a phase is over, to `d`.
    Object {
        area: Area,
        op: ObjectOp,
    },
    /// Prints the format at the generic address `a` with the arguments at `b`; the result to `d`.
    Print,
    /// All memory operations before become visible before those after.
    Fence,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub kind: Kind,
    /// Predicate that must hold for a lane to take part, and whether it is negated.
    pub guard: u32,
    pub negated: bool,
    pub d: u32,
    pub e: u32,
    pub a: u32,
    pub b: u32,
    pub c: u32,
    pub imm: i64,
    pub line: u32,
}

impl Code {
    pub fn new(kind: Kind, line: u32) -> Code {
        Code { kind, guard: NONE, negated: false, d: NONE, e: NONE, a: NONE, b: NONE, c: NONE, imm: 0, line }
    }

    /// Whether it leads back to the head of a loop that strides, where warps make way for others (`decode/strides.rs`).
    pub fn strides(&self) -> bool {
        matches!(self.kind, Kind::Branch(_)) && self.imm != 0
    }

    /// Whether a warp whose lanes are all here gives up its turn after this instruction: it leaves, or waits.
    pub fn ends_turn(&self) -> bool {
        matches!(self.kind, Kind::Exit | Kind::Barrier { .. }) && self.guard == NONE
    }
}

/// What a slot holds before the first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fill {
    Word(u32),
    Wide(u64),
    Special(Special, u8),
}

/// A register that a load fills or a store empties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Slot, or [`NONE`] for the sink.
    pub slot: u32,
    /// Bits of the register.
    pub bits: u8,
}

/// A kernel ready to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub name: String,
    pub codes: Vec<Code>,
    pub parts: Vec<Part>,
    /// Slots of registers; those above are filled before the first instruction.
    pub registers: u32,
    pub slots: u32,
    /// Those that were added to what the kernel asks for, to be faster: the last ones.
    pub renamed: u32,
    pub preds: u32,
    pub fills: Vec<(u32, Fill)>,
    pub param_bytes: u32,
    pub shared_bytes: u64,
    pub local_bytes: u64,
    /// Where dynamic shared memory begins.
    pub dynamic_start: u64,
}
