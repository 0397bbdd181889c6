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
        Abs = "abs", Activemask = "activemask", Add = "add", Addc = "addc", And = "and", Atom = "atom",
        Bar = "bar", Barrier = "barrier", Bfe = "bfe", Bfi = "bfi", Bfind = "bfind", Bra = "bra", Brev = "brev",
        Call = "call", Clz = "clz", Cnot = "cnot", Copysign = "copysign", Cos = "cos",
        Cvt = "cvt", Cvta = "cvta", Div = "div", Dp2a = "dp2a", Dp4a = "dp4a", Ex2 = "ex2", Exit = "exit",
        Fence = "fence", Fma = "fma", Isspacep = "isspacep", Ld = "ld", Ldu = "ldu", Lg2 = "lg2",
        Lop3 = "lop3", Mad = "mad", Mad24 = "mad24", Madc = "madc", Match = "match", Max = "max",
        Membar = "membar", Min = "min", Mov = "mov", Mul = "mul", Mul24 = "mul24", Nanosleep = "nanosleep",
        Neg = "neg", Not = "not", Or = "or", Popc = "popc", Prefetch = "prefetch", Prmt = "prmt", Rcp = "rcp",
        Red = "red", Redux = "redux", Rem = "rem", Ret = "ret", Rsqrt = "rsqrt", Sad = "sad", Selp = "selp",
        Set = "set", Setp = "setp", Shf = "shf", Shfl = "shfl", Shl = "shl", Shr = "shr", Sin = "sin",
        Slct = "slct", Sqrt = "sqrt", St = "st", Sub = "sub", Subc = "subc", Tanh = "tanh",
        Testp = "testp", Trap = "trap", Vote = "vote", Xor = "xor",
    }
}

words! {
    /// Modifiers: the dotted words after an opcode, types included.
    Mod {
        // types
        B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64", F16 = "f16", F16x2 = "f16x2", Bf16 = "bf16",
        Bf16x2 = "bf16x2", F32 = "f32", F64 = "f64", Pred = "pred",
        // rounding and range
        Rn = "rn", Rz = "rz", Rm = "rm", Rp = "rp", Rna = "rna", Rni = "rni", Rzi = "rzi", Rmi = "rmi",
        Rpi = "rpi", Ftz = "ftz", Sat = "sat", Approx = "approx", Full = "full", Nan = "NaN",
        XorSign = "xorsign", AbsMod = "abs", Relu = "relu",
        // integer forms
        Lo = "lo", Hi = "hi", Wide = "wide", Cc = "cc", Shiftamt = "shiftamt", L = "l", R = "r", Clamp = "clamp",
        Wrap = "wrap", F4e = "f4e", B4e = "b4e", Rc8 = "rc8", Ecl = "ecl", Ecr = "ecr", Rc16 = "rc16",
        // comparisons and logic
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge", Ls = "ls", Hs = "hs", Equ = "equ",
        Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu", Num = "num", NanCmp = "nan",
        And = "and", Or = "or", Xor = "xor", Finite = "finite", Infinite = "infinite", Number = "number",
        Notanumber = "notanumber", Normal = "normal", Subnormal = "subnormal",
        // spaces
        Global = "global", Shared = "shared", SharedCta = "shared::cta", Local = "local", Const = "const",
        Param = "param", ParamEntry = "param::entry", ParamFunc = "param::func", To = "to",
        // caching and ordering
        Weak = "weak", Volatile = "volatile", Relaxed = "relaxed", Acquire = "acquire", Release = "release",
        AcqRel = "acq_rel", Sc = "sc", Cta = "cta", Gpu = "gpu", Gl = "gl", Sys = "sys", Nc = "nc", Ca = "ca", Cg = "cg",
        Cs = "cs", Lu = "lu", Cv = "cv", Wb = "wb", Wt = "wt", L1 = "L1", L2 = "L2",
        L1EvictNormal = "L1::evict_normal", L1EvictUnchanged = "L1::evict_unchanged",
        L1EvictFirst = "L1::evict_first", L1EvictLast = "L1::evict_last", L1NoAllocate = "L1::no_allocate",
        L2P64 = "L2::64B", L2P128 = "L2::128B", L2P256 = "L2::256B",
        V2 = "v2", V4 = "v4",
        // control and collectives
        Uni = "uni", Sync = "sync", Arrive = "arrive", Red = "red", Popc = "popc", Aligned = "aligned",
        Up = "up", Down = "down", Bfly = "bfly", Idx = "idx", All = "all", Any = "any", Ballot = "ballot",
        // atomics
        AddOp = "add", Inc = "inc", Dec = "dec", Min = "min", Max = "max", Exch = "exch", Cas = "cas",
        Noftz = "noftz",
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
        TotalSmemSize = "%total_smem_size", WarpSize = "WARP_SZ",
    }
}

impl Special {
    /// Whether the register has the parts `.x`, `.y`, `.z`.
    pub fn has_parts(self) -> bool {
        matches!(self, Special::Tid | Special::Ntid | Special::Ctaid | Special::Nctaid)
    }

    /// Bits of the register.
    pub fn bits(self) -> u32 {
        match self {
            Special::Clock64 | Special::Globaltimer => 64,
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
    /// Two 16-bit floats in 32 bits.
    Pair,
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
            Mod::Pred => (Kind::Predicate, 1),
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
        matches!(self.kind(), Some((Kind::Signed, _)))
    }

    pub fn is_float(self) -> bool {
        matches!(self.kind(), Some((Kind::Float | Kind::Bfloat | Kind::Pair, _)))
    }
}

/// Opcodes that exist in PTX and are refused on purpose, with the reason.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    const TEXTURES: &str = "textures and surfaces are bound by host code, which a program does not have";
    const TENSOR: &str = "tensor-core instructions have no defined result on the CPU; use fma";
    const ASYNC: &str = "asynchronous copies and their barriers are not covered; use ld and st with bar.sync";
    const CLUSTER: &str = "thread-block clusters are not covered; use one block";
    Some(match name {
        "tex" | "tld4" | "txq" | "istypep" | "suld" | "sust" | "sured" | "suq" => TEXTURES,
        "wgmma" | "mma" | "wmma" | "ldmatrix" | "stmatrix" | "movmatrix" | "tcgen05" => TENSOR,
        "cp" | "mbarrier" | "tensormap" | "cvt.pack" | "multimem" | "st.async" | "red.async" => ASYNC,
        "mapa" | "getctarank" | "clusterlaunchcontrol" | "griddepcontrol" | "setmaxnreg" | "elect" => CLUSTER,
        "brx" => "indirect branches are not covered; use bra",
        "alloca" | "stacksave" | "stackrestore" => "dynamic stack memory is not covered; use .local",
        "createpolicy" | "applypriority" | "discard" | "prefetchu" => {
            "cache control is not covered; leave it out"
        }
        "pmevent" => "performance counters belong to the provider",
        "vadd" | "vsub" | "vabsdiff" | "vmin" | "vmax" | "vshl" | "vshr" | "vmad" | "vset" | "vadd2"
        | "vsub2" | "vavrg2" | "vabsdiff2" | "vmin2" | "vmax2" | "vset2" | "vadd4" | "vsub4" | "vavrg4"
        | "vabsdiff4" | "vmin4" | "vmax4" | "vset4" => {
            "video instructions are not covered; use bfe, dp4a and prmt"
        }
        "szext" | "bmsk" => "bit-field helpers newer than the covered set; use bfe and shl",
        _ => return None,
    })
}
