//! The closed vocabulary: opcodes, modifiers, types and special registers.
//!
//! Owns: every word of PTX that may reach a driver. A word that is not here is refused by name.
//! Never: says which words go together (that is `forms.rs`).
//! Tests: `ptx/tests.rs`.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($variant),* }

        impl $name {
            /// The word as PTX spells it.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// The value for a spelling, if the vocabulary has it.
            pub fn named(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// Opcodes: the part of an instruction before its first dot.
    Op {
        Abs = "abs", Activemask = "activemask", Add = "add", Addc = "addc", Alloca = "alloca", And = "and",
        Applypriority = "applypriority", Atom = "atom",
        Bar = "bar", Barrier = "barrier", Bfe = "bfe", Bfi = "bfi", Bfind = "bfind", Bmsk = "bmsk", Bra = "bra",
        Brev = "brev", Brx = "brx", Call = "call", Clz = "clz", Cnot = "cnot", Copysign = "copysign", Cos = "cos", Cp = "cp",
        Createpolicy = "createpolicy", Cvt = "cvt", Cvta = "cvta", Discard = "discard", Div = "div", Dp2a = "dp2a", Dp4a = "dp4a", Elect = "elect", Ex2 = "ex2",
        Exit = "exit", Fence = "fence", Fma = "fma", Fns = "fns", Griddepcontrol = "griddepcontrol",
        Isspacep = "isspacep", Ld = "ld", Ldmatrix = "ldmatrix", Ldu = "ldu", Lg2 = "lg2",
        Lop3 = "lop3", Mad = "mad", Mad24 = "mad24", Madc = "madc", Match = "match", Max = "max",
        Mbarrier = "mbarrier", Membar = "membar", Min = "min", Mma = "mma", Mov = "mov", Movmatrix = "movmatrix", Mul = "mul",
        Mul24 = "mul24", Nanosleep = "nanosleep", Neg = "neg", Not = "not", Or = "or", Popc = "popc",
        Prefetch = "prefetch", Prefetchu = "prefetchu", Prmt = "prmt", Rcp = "rcp",
        Red = "red", Redux = "redux", Rem = "rem", Ret = "ret", Rsqrt = "rsqrt", Sad = "sad", Selp = "selp",
        Set = "set", Setp = "setp", Shf = "shf", Shfl = "shfl", Shl = "shl", Shr = "shr", Sin = "sin",
        Slct = "slct", Sqrt = "sqrt", St = "st", Stackrestore = "stackrestore", Stacksave = "stacksave", Stmatrix = "stmatrix", Sub = "sub", Subc = "subc",
        Szext = "szext", Tanh = "tanh", Testp = "testp", Trap = "trap", Vabsdiff = "vabsdiff", Vabsdiff2 = "vabsdiff2",
        Vabsdiff4 = "vabsdiff4", Vadd = "vadd", Vadd2 = "vadd2", Vadd4 = "vadd4", Vavrg2 = "vavrg2", Vavrg4 = "vavrg4",
        Vmad = "vmad", Vmax = "vmax", Vmax2 = "vmax2", Vmax4 = "vmax4", Vmin = "vmin", Vmin2 = "vmin2", Vmin4 = "vmin4", Vote = "vote",
        Vset = "vset", Vset2 = "vset2", Vset4 = "vset4", Vshl = "vshl", Vshr = "vshr", Vsub = "vsub", Vsub2 = "vsub2",
        Vsub4 = "vsub4", Wmma = "wmma", Xor = "xor",
    }
}

impl Op {
    /// Lanes of a video instruction, whose operands may name parts of registers.
    pub fn video_lanes(self) -> Option<u8> {
        Some(match self {
            Op::Vadd
            | Op::Vsub
            | Op::Vabsdiff
            | Op::Vmin
            | Op::Vmax
            | Op::Vshl
            | Op::Vshr
            | Op::Vset
            | Op::Vmad => 1,
            Op::Vadd2 | Op::Vsub2 | Op::Vavrg2 | Op::Vabsdiff2 | Op::Vmin2 | Op::Vmax2 | Op::Vset2 => 2,
            Op::Vadd4 | Op::Vsub4 | Op::Vavrg4 | Op::Vabsdiff4 | Op::Vmin4 | Op::Vmax4 | Op::Vset4 => 4,
            _ => return None,
        })
    }
}

words! {
    /// Modifiers: the dotted words after an opcode, types included.
    Mod {
        // types
        B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", B128 = "b128", U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64", F16 = "f16", F16x2 = "f16x2", Bf16 = "bf16",
        Bf16x2 = "bf16x2", F32 = "f32", F64 = "f64", Pred = "pred", U16x2 = "u16x2", S16x2 = "s16x2",
        F32x2 = "f32x2", Tf32 = "tf32", U2 = "u2", S2 = "s2", U4 = "u4", S4 = "s4", B1 = "b1",
        E4m3x2 = "e4m3x2", E5m2x2 = "e5m2x2",
        // rounding and range
        Rn = "rn", Rz = "rz", Rm = "rm", Rp = "rp", Rna = "rna", Rni = "rni", Rzi = "rzi", Rmi = "rmi",
        Rpi = "rpi", Ftz = "ftz", Sat = "sat", Approx = "approx", Full = "full", Nan = "NaN",
        XorSign = "xorsign", AbsMod = "abs", Relu = "relu", Satfinite = "satfinite", Pack = "pack",
        // integer forms
        Lo = "lo", Hi = "hi", Wide = "wide", Cc = "cc", Shiftamt = "shiftamt", L = "l", R = "r", Clamp = "clamp",
        Wrap = "wrap", F4e = "f4e", B4e = "b4e", Rc8 = "rc8", Ecl = "ecl", Ecr = "ecr", Rc16 = "rc16", Po = "po", Shr7 = "shr7", Shr15 = "shr15",
        // comparisons and logic
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge", Ls = "ls", Hs = "hs", Equ = "equ",
        Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu", Num = "num", NanCmp = "nan",
        And = "and", Or = "or", Xor = "xor", Finite = "finite", Infinite = "infinite", Number = "number",
        Notanumber = "notanumber", Normal = "normal", Subnormal = "subnormal",
        // spaces
        Global = "global", Shared = "shared", SharedCta = "shared::cta",
        SharedCluster = "shared::cluster", Local = "local", Const = "const",
        Param = "param", ParamEntry = "param::entry", ParamFunc = "param::func", To = "to",
        // caching and ordering
        Weak = "weak", Volatile = "volatile", Relaxed = "relaxed", Acquire = "acquire", Release = "release",
        AcqRel = "acq_rel", Sc = "sc", Cta = "cta", Cluster = "cluster", Gpu = "gpu", Gl = "gl", Sys = "sys", Nc = "nc", Ca = "ca", Cg = "cg",
        Cs = "cs", Lu = "lu", Cv = "cv", Wb = "wb", Wt = "wt", L1 = "L1", L2 = "L2",
        L1EvictNormal = "L1::evict_normal", L1EvictUnchanged = "L1::evict_unchanged",
        L1EvictFirst = "L1::evict_first", L1EvictLast = "L1::evict_last", L1NoAllocate = "L1::no_allocate",
        L2P64 = "L2::64B", L2P128 = "L2::128B", L2P256 = "L2::256B",
        L2EvictNormal = "L2::evict_normal", L2EvictUnchanged = "L2::evict_unchanged",
        L2EvictFirst = "L2::evict_first", L2EvictLast = "L2::evict_last", L2CacheHint = "L2::cache_hint",
        Mmio = "mmio", Fractional = "fractional", Range = "range", CvtOp = "cvt", Proxy = "proxy", Alias = "alias",
        V2 = "v2", V4 = "v4",
        // control and collectives
        Uni = "uni", Sync = "sync", Arrive = "arrive", Red = "red", Popc = "popc", Aligned = "aligned",
        Warp = "warp", Wait = "wait", LaunchDependents = "launch_dependents", Up = "up", Down = "down", Bfly = "bfly", Idx = "idx", All = "all", Any = "any", Ballot = "ballot",
        // atomics
        AddOp = "add", Inc = "inc", Dec = "dec", Min = "min", Max = "max", Exch = "exch", Cas = "cas",
        Noftz = "noftz", V8 = "v8",
        // asynchronous copies
        Async = "async", CommitGroup = "commit_group", WaitGroup = "wait_group", WaitAll = "wait_all",
        // barrier objects
        Init = "init", Inval = "inval", ArriveDrop = "arrive_drop", NoComplete = "noComplete", ExpectTx = "expect_tx",
        CompleteTx = "complete_tx", TestWait = "test_wait", TryWait = "try_wait", Parity = "parity",
        PendingCount = "pending_count", MbarrierMod = "mbarrier", Noinc = "noinc", MbarrierInit = "mbarrier_init",
        // matrices
        Row = "row", Col = "col", Load = "load", Store = "store", MmaOp = "mma", A = "a", B = "b", C = "c", D = "d",
        Trans = "trans", X1 = "x1", X2 = "x2", X4 = "x4", M8n8 = "m8n8", M8n8k4 = "m8n8k4", M8n8k16 = "m8n8k16",
        M8n8k32 = "m8n8k32", M8n8k128 = "m8n8k128", M16n8k4 = "m16n8k4", M16n8k8 = "m16n8k8",
        M16n8k16 = "m16n8k16", M16n8k32 = "m16n8k32", M16n8k64 = "m16n8k64", M16n8k128 = "m16n8k128",
        M16n8k256 = "m16n8k256", M16n16k16 = "m16n16k16", M32n8k16 = "m32n8k16", M8n32k16 = "m8n32k16",
        M16n16k8 = "m16n16k8",
    }
}

words! {
    /// Special registers, without the component of the three-part ones.
    Special {
        Tid = "%tid", Ntid = "%ntid", Ctaid = "%ctaid", Nctaid = "%nctaid", Laneid = "%laneid",
        Warpid = "%warpid", Nwarpid = "%nwarpid", LanemaskEq = "%lanemask_eq", LanemaskLe = "%lanemask_le",
        LanemaskLt = "%lanemask_lt", LanemaskGe = "%lanemask_ge", LanemaskGt = "%lanemask_gt",
        Clock = "%clock", Clock64 = "%clock64", Smid = "%smid", Nsmid = "%nsmid", Gridid = "%gridid",
        Globaltimer = "%globaltimer", GlobaltimerLo = "%globaltimer_lo", DynamicSmemSize = "%dynamic_smem_size",
        TotalSmemSize = "%total_smem_size", AggrSmemSize = "%aggr_smem_size", WarpSize = "WARP_SZ",
        ClockHi = "%clock_hi", GlobaltimerHi = "%globaltimer_hi", Envreg = "%envreg",
        ReservedSmemBegin = "%reserved_smem_offset_begin", ReservedSmemEnd = "%reserved_smem_offset_end",
        ReservedSmemCap = "%reserved_smem_offset_cap", ReservedSmem0 = "%reserved_smem_offset_0",
        ReservedSmem1 = "%reserved_smem_offset_1", GraphExec = "%current_graph_exec",
        Clusterid = "%clusterid", Nclusterid = "%nclusterid", ClusterCtaid = "%cluster_ctaid",
        ClusterNctaid = "%cluster_nctaid", ClusterCtarank = "%cluster_ctarank",
        ClusterNctarank = "%cluster_nctarank", ExplicitCluster = "%is_explicit_cluster",
    }
}

/// Threads of a warp on every device: `WARP_SZ`.
pub const WARP_THREADS: i64 = 32;
/// Registers `%envreg0` to `%envreg31`, which a driver fills in.
pub const ENVREGS: u8 = 32;

impl Special {
    /// Whether the register has the parts `.x`, `.y`, `.z` and `.w`, which is always zero.
    pub fn has_parts(self) -> bool {
        matches!(
            self,
            Special::Tid
                | Special::Ntid
                | Special::Ctaid
                | Special::Nctaid
                | Special::Clusterid
                | Special::Nclusterid
                | Special::ClusterCtaid
                | Special::ClusterNctaid
        )
    }

    /// The register a word names, and its part where the name tells it: `%envreg5`.
    pub fn spelled(text: &str) -> Option<(Special, u8)> {
        let numbered = || {
            let number = text.strip_prefix(Special::Envreg.text())?;
            let plain = number == "0" || !number.starts_with(['0', '+']);
            Some((Special::Envreg, number.parse().ok().filter(|n| plain && *n < ENVREGS)?))
        };
        let whole = Special::named(text).filter(|s| *s != Special::Envreg);
        whole.map_or_else(numbered, |special| Some((special, 0)))
    }

    /// Whether values of this type may be read from the register. Those that older devices had in 16 bits may still be
    /// read as such, and the grid's number in 32.
    pub fn reads_as(self, ty: Mod) -> bool {
        let whole = matches!(ty.kind(), Some((Kind::Bits | Kind::Unsigned | Kind::Signed, _)));
        let narrow = match self {
            Special::Tid | Special::Ntid | Special::Ctaid | Special::Nctaid => Some(16),
            Special::Gridid => Some(32),
            _ => None,
        };
        whole && (ty.bits() == self.bits() || narrow == Some(ty.bits()))
    }

    /// Bits of the register.
    pub fn bits(self) -> u32 {
        match self {
            Special::Clock64 | Special::Globaltimer | Special::Gridid | Special::GraphExec => 64,
            Special::ExplicitCluster => 1,
            _ => 32,
        }
    }
}

/// What a type modifier means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bits,
    Unsigned,
    Signed,
    Float,
    Bfloat,
    /// Two 16-bit floats in 32 bits, or two 32-bit ones in 64.
    Pair,
    /// Two 16-bit integers in 32 bits.
    IntPair,
    /// Two 8-bit floats in 16 bits, which no register or variable is declared with.
    BytePair,
    /// Elements of matrices, which no register or variable is declared with: they come packed in 32 bits.
    Element,
    Predicate,
}

impl Mod {
    /// Kind and width of a type modifier; `None` for all others.
    pub fn kind(self) -> Option<(Kind, u32)> {
        Some(match self {
            Mod::B8 => (Kind::Bits, 8),
            Mod::B16 => (Kind::Bits, 16),
            Mod::B32 => (Kind::Bits, 32),
            Mod::B64 => (Kind::Bits, 64),
            Mod::B128 => (Kind::Bits, 128),
            Mod::U8 => (Kind::Unsigned, 8),
            Mod::U16 => (Kind::Unsigned, 16),
            Mod::U32 => (Kind::Unsigned, 32),
            Mod::U64 => (Kind::Unsigned, 64),
            Mod::S8 => (Kind::Signed, 8),
            Mod::S16 => (Kind::Signed, 16),
            Mod::S32 => (Kind::Signed, 32),
            Mod::S64 => (Kind::Signed, 64),
            Mod::F16 => (Kind::Float, 16),
            Mod::Bf16 => (Kind::Bfloat, 16),
            Mod::F16x2 | Mod::Bf16x2 => (Kind::Pair, 32),
            Mod::F32 => (Kind::Float, 32),
            Mod::F64 => (Kind::Float, 64),
            Mod::F32x2 => (Kind::Pair, 64),
            Mod::Pred => (Kind::Predicate, 1),
            Mod::U16x2 | Mod::S16x2 => (Kind::IntPair, 32),
            Mod::E4m3x2 | Mod::E5m2x2 => (Kind::BytePair, 16),
            Mod::Tf32 => (Kind::Element, 32),
            Mod::U4 | Mod::S4 => (Kind::Element, 4),
            Mod::U2 | Mod::S2 => (Kind::Element, 2),
            Mod::B1 => (Kind::Element, 1),
            _ => return None,
        })
    }

    pub fn is_type(self) -> bool {
        self.kind().is_some()
    }

    pub fn bits(self) -> u32 {
        self.kind().map_or(0, |(_, bits)| bits)
    }

    pub fn is_signed(self) -> bool {
        matches!(self.kind(), Some((Kind::Signed, _))) || matches!(self, Mod::S16x2 | Mod::S4 | Mod::S2)
    }

    pub fn is_float(self) -> bool {
        matches!(self.kind(), Some((Kind::Float | Kind::Bfloat | Kind::Pair, _)))
    }
}

/// Instructions that exist in PTX and are refused on purpose, with the reason. `name` is the opcode with its modifiers,
/// so that a family may be covered in part.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    const TEXTURES: &str = "textures and surfaces are bound by host code, which a program does not have";
    const TENSOR: &str = "only the tensor-core instructions up to sm_80 are covered; use mma.sync or wmma";
    const BULK: &str = "bulk copies are not covered; use cp.async, or ld and st";
    const BARRIER: &str =
        "barrier objects of other blocks are not covered; use one of this block's shared memory";
    const CLUSTER: &str = "thread-block clusters are not covered; use one block";
    const VECTOR: &str = "asynchronous and multicast memory operations are not covered; use st, red and atom";
    let mut words = name.split('.');
    let op = words.next().unwrap_or(name);
    let second = words.next().unwrap_or("");
    Some(match op {
        "tex" | "tld4" | "txq" | "istypep" | "suld" | "sust" | "sured" | "suq" => TEXTURES,
        "wgmma" | "tcgen05" | "mma" | "wmma" | "ldmatrix" | "stmatrix" => TENSOR,
        "tensormap" | "cp" => BULK,
        "mbarrier" => BARRIER,
        "multimem" => VECTOR,
        "st" | "red" if second == "async" || second == "bulk" => VECTOR,
        "mapa" | "getctarank" | "clusterlaunchcontrol" | "setmaxnreg" => CLUSTER,
        "barrier" if second == "cluster" => CLUSTER,
        "fence" | "membar" if name.contains(".proxy") => BULK,
        "prefetch" if name.contains(".tensormap") => BULK,
        "pmevent" => "performance counters belong to the provider",
        "brkpt" => "there is no debugger; use trap",
        _ => return None,
    })
}
