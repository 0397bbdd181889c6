//! The covered instruction forms, one a line, as the PTX manual writes them.
//!
//! Owns: what may follow an opcode. `[.x|.y]` is optional, `.x|.y` is required, and a name in capitals stands for
//! one of [`SETS`]. After the colon stand the operands:
//!
//! ```text
//! d s     destination, source of the first type      dw sw      twice as wide
//! d1 s1   of the second type                          du32 su32  of a fixed type
//! D S1    the register may be wider than the type     d_         destination or `_`
//! P PP    predicate, or a pair of them, to set        p q        predicate to read: with, without `!`
//! DP      destination, with a predicate if wanted     m M        anything `mov` takes, and gives
//! V W     register or `{...}` to load, to store       a          address
//! l       label                                       y          register or variable
//! i       integer constant                            ?          may be left out
//! ```
//!
//! Never: says what a form does (that is the engines' business).
//! Tests: `ptx/tests.rs`; most lines are run against Rust arithmetic in `gpu/tests`, not yet the float atomics, `dp2a`,
//! `mul24.hi`, `mad24`, `tanh` of halves and most of bf16.

pub(super) const SETS: &[(&str, &str)] = &[
    ("INT", ".u16|.u32|.u64|.s16|.s32|.s64"),
    ("INT8", ".u8|.s8|.u16|.u32|.u64|.s16|.s32|.s64"),
    ("WORD", ".u32|.u64|.s32|.s64"),
    ("SIGNED", ".s16|.s32|.s64"),
    ("UNSIGNED", ".u16|.u32|.u64"),
    ("BITS", ".b16|.b32|.b64"),
    ("BITS32", ".b32|.b64"),
    ("ANY", ".b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64|.f32|.f64"),
    ("DATA", ".b8|.b16|.b32|.b64|.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64|.f32|.f64"),
    ("HALF", ".f16|.f16x2"),
    ("BHALF", ".bf16|.bf16x2"),
    ("RND", ".rn|.rz|.rm|.rp"),
    ("RNDI", ".rni|.rzi|.rmi|.rpi"),
    ("SCMP", ".eq|.ne|.lt|.le|.gt|.ge"),
    ("UCMP", ".eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs"),
    ("FCMP", ".eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan"),
    ("BOOL", ".and|.or|.xor"),
    ("LDSPACE", ".const|.global|.local|.param|.param::entry|.param::func|.shared|.shared::cta"),
    ("STSPACE", ".global|.local|.param|.param::func|.shared|.shared::cta"),
    ("GSPACE", ".global|.shared|.shared::cta"),
    ("SCOPE", ".cta|.gpu|.sys"),
    ("SEM", ".relaxed|.acquire|.release|.acq_rel"),
    ("EVICT", ".L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate"),
    ("AHEAD", ".L2::64B|.L2::128B|.L2::256B"),
    ("VEC", ".v2|.v4"),
];

pub(super) const FORMS: &str = "
mov .pred : P pm
mov ANY : M m
cvta [.to] .global|.shared|.shared::cta|.local|.const|.param .u64 : d y
isspacep .global|.shared|.shared::cta|.local|.const|.param : P sb64

cvt [.sat] INT8 INT8 : D S1
cvt RNDI [.ftz] [.sat] INT8 .f16|.f32|.f64 : D S1
cvt RND [.sat] .f16|.f32|.f64 INT8 : D S1
cvt [RND|.rni|.rzi|.rmi|.rpi] [.ftz] [.sat] .f16|.f32|.f64 .f16|.f32|.f64 : D S1
cvt .rn|.rz [.relu] .bf16 .f32 : D S1
cvt .f32 .bf16 : D S1
cvt .rn|.rz [.relu] .f16x2|.bf16x2 .f32 : D S1 S1

add INT : d s s
add .sat .s32 : d s s
add .cc WORD : d s s
add [RND] [.ftz] [.sat] .f32 : d s s
add [RND] .f64 : d s s
add [.rn] [.ftz] [.sat] HALF : d s s
add [.rn] BHALF : d s s
sub INT : d s s
sub .sat .s32 : d s s
sub .cc WORD : d s s
sub [RND] [.ftz] [.sat] .f32 : d s s
sub [RND] .f64 : d s s
sub [.rn] [.ftz] [.sat] HALF : d s s
sub [.rn] BHALF : d s s
addc [.cc] WORD : d s s
subc [.cc] WORD : d s s
mul .lo|.hi INT : d s s
mul .wide .u16|.u32|.s16|.s32 : dw s s
mul [RND] [.ftz] [.sat] .f32 : d s s
mul [RND] .f64 : d s s
mul [.rn] [.ftz] [.sat] HALF : d s s
mul [.rn] BHALF : d s s
mad .lo|.hi INT : d s s s
mad .hi .sat .s32 : d s s s
mad .lo|.hi .cc WORD : d s s s
mad .wide .u16|.u32|.s16|.s32 : dw s s sw
mad RND [.ftz] [.sat] .f32 : d s s s
mad RND .f64 : d s s s
madc .lo|.hi [.cc] WORD : d s s s
fma RND [.ftz] [.sat] .f32 : d s s s
fma RND .f64 : d s s s
fma .rn [.ftz] [.sat] HALF : d s s s
fma .rn .relu HALF : d s s s
fma .rn [.relu] BHALF : d s s s
mul24 .lo|.hi .u32|.s32 : d s s
mad24 .lo|.hi .u32|.s32 : d s s s
sad INT : d s s s
div INT : d s s
div .approx|.full [.ftz] .f32 : d s s
div RND [.ftz] .f32 : d s s
div RND .f64 : d s s
rem INT : d s s
abs SIGNED : d s
abs [.ftz] .f32 : d s
abs .f64 : d s
abs [.ftz] HALF : d s
abs BHALF : d s
neg SIGNED : d s
neg [.ftz] .f32 : d s
neg .f64 : d s
neg [.ftz] HALF : d s
neg BHALF : d s
min INT : d s s
min [.ftz] [.NaN] .f32 : d s s
min .f64 : d s s
min [.ftz] [.NaN] HALF : d s s
min [.NaN] BHALF : d s s
max INT : d s s
max [.ftz] [.NaN] .f32 : d s s
max .f64 : d s s
max [.ftz] [.NaN] HALF : d s s
max [.NaN] BHALF : d s s
rcp .approx [.ftz] .f32 : d s
rcp RND [.ftz] .f32 : d s
rcp RND .f64 : d s
rcp .approx .ftz .f64 : d s
sqrt .approx [.ftz] .f32 : d s
sqrt RND [.ftz] .f32 : d s
sqrt RND .f64 : d s
rsqrt .approx [.ftz] .f32 : d s
rsqrt .approx [.ftz] .f64 : d s
sin .approx [.ftz] .f32 : d s
cos .approx [.ftz] .f32 : d s
lg2 .approx [.ftz] .f32 : d s
ex2 .approx [.ftz] .f32 : d s
ex2 .approx HALF : d s
tanh .approx .f32 : d s
tanh .approx HALF : d s
copysign .f32|.f64 : d s s
testp .finite|.infinite|.number|.notanumber|.normal|.subnormal .f32|.f64 : P s

and .pred : P q q
and BITS : d s s
or .pred : P q q
or BITS : d s s
xor .pred : P q q
xor BITS : d s s
not .pred : P q
not BITS : d s
cnot BITS : d s
shl BITS : d s su32
shr BITS|.u16|.u32|.u64|.s16|.s32|.s64 : d s su32
shf .l|.r .clamp|.wrap .b32 : d s s su32
bfe WORD : d s su32 su32
bfi BITS32 : d s s su32 su32
bfind [.shiftamt] WORD : du32 s
brev BITS32 : d s
popc BITS32 : du32 s
clz BITS32 : du32 s
prmt .b32 [.f4e|.b4e|.rc8|.ecl|.ecr|.rc16] : d s s su32
lop3 .b32 : d s s s i
dp4a .u32|.s32 .u32|.s32 : du32 su32 su32 su32
dp2a .lo|.hi .u32|.s32 .u32|.s32 : du32 su32 su32 su32

setp .eq|.ne BITS : PP s s
setp UCMP UNSIGNED : PP s s
setp SCMP SIGNED : PP s s
setp FCMP [.ftz] .f32 : PP s s
setp FCMP .f64 : PP s s
setp FCMP [.ftz] HALF : PP s s
setp FCMP BHALF : PP s s
setp .eq|.ne BOOL BITS : PP s s p
setp UCMP BOOL UNSIGNED : PP s s p
setp SCMP BOOL SIGNED : PP s s p
setp FCMP BOOL [.ftz] .f32 : PP s s p
setp FCMP BOOL .f64 : PP s s p
set .eq|.ne .u32|.s32|.f32 BITS : d s1 s1
set UCMP .u32|.s32|.f32 UNSIGNED : d s1 s1
set SCMP .u32|.s32|.f32 SIGNED : d s1 s1
set FCMP [.ftz] .u32|.s32|.f32 .f32 : d s1 s1
set FCMP .u32|.s32|.f32 .f64 : d s1 s1
set .eq|.ne BOOL .u32|.s32|.f32 BITS : d s1 s1 p
set UCMP BOOL .u32|.s32|.f32 UNSIGNED : d s1 s1 p
set SCMP BOOL .u32|.s32|.f32 SIGNED : d s1 s1 p
set FCMP BOOL [.ftz] .u32|.s32|.f32 .f32 : d s1 s1 p
set FCMP BOOL .u32|.s32|.f32 .f64 : d s1 s1 p
selp ANY : d s s p
slct ANY .s32 : d s s s1
slct [.ftz] ANY .f32 : d s s s1

ld [.weak] [LDSPACE] [.ca|.cg|.cs|.lu|.cv] [.nc] [EVICT] [AHEAD] [VEC] DATA : V a
ld .volatile [LDSPACE] [VEC] DATA : V a
ld .relaxed|.acquire SCOPE [.global|.shared|.shared::cta] [EVICT] [AHEAD] [VEC] DATA : V a
ldu [.global] [VEC] DATA : V a
st [.weak] [STSPACE] [.wb|.cg|.cs|.wt] [EVICT] [VEC] DATA : a W
st .volatile [STSPACE] [VEC] DATA : a W
st .relaxed|.release SCOPE [.global|.shared|.shared::cta] [EVICT] [VEC] DATA : a W
prefetch [.global|.local] .L1|.L2 : a

atom [SEM] [SCOPE] [GSPACE] .and|.or|.xor|.exch .b32|.b64 : d_ a s
atom [SEM] [SCOPE] [GSPACE] .cas .b16|.b32|.b64 : d_ a s s
atom [SEM] [SCOPE] [GSPACE] .add .u32|.s32|.u64|.f32|.f64 : d_ a s
atom [SEM] [SCOPE] [GSPACE] .add .noftz HALF|.bf16|.bf16x2 : d_ a s
atom [SEM] [SCOPE] [GSPACE] .inc|.dec .u32 : d_ a s
atom [SEM] [SCOPE] [GSPACE] .min|.max .u32|.s32|.u64|.s64 : d_ a s
red [.relaxed|.release] [SCOPE] [GSPACE] .and|.or|.xor .b32|.b64 : a s
red [.relaxed|.release] [SCOPE] [GSPACE] .add .u32|.s32|.u64|.f32|.f64 : a s
red [.relaxed|.release] [SCOPE] [GSPACE] .add .noftz HALF|.bf16|.bf16x2 : a s
red [.relaxed|.release] [SCOPE] [GSPACE] .inc|.dec .u32 : a s
red [.relaxed|.release] [SCOPE] [GSPACE] .min|.max .u32|.s32|.u64|.s64 : a s

bra [.uni] : l
ret [.uni] :
exit :
trap :
nanosleep .u32 : s
membar .cta|.gl|.sys :
fence [.sc|.acq_rel] SCOPE :
bar .sync : su32 su32?
bar .arrive : su32 su32
bar .red .popc .u32 : d su32 p
bar .red .popc .u32 : d su32 su32 p
bar .red .and|.or .pred : P su32 p
bar .red .and|.or .pred : P su32 su32 p
bar .cta .sync : su32 su32?
barrier [.cta] .sync [.aligned] : su32 su32?
barrier [.cta] .arrive [.aligned] : su32 su32
shfl .sync .up|.down|.bfly|.idx .b32 : DP s su32 su32 su32
vote .sync .all|.any|.uni .pred : P p su32
vote .sync .ballot .b32 : d p su32
match .any .sync BITS32 : du32 s su32
match .all .sync BITS32 : DPu32 s su32
redux .sync .add|.min|.max .u32|.s32 : d s su32
redux .sync .and|.or|.xor .b32 : d s su32
activemask .b32 : d
";
