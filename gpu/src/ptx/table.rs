//! The covered instruction forms, one a line, as the PTX manual writes them.
//!
//! Owns: what may follow an opcode. `[.x|.y]` is optional, `.x|.y` is required, and a name in capitals stands for
//! one of [`SETS`]. After the colon stand the operands:
//!
//! ```text
//! d s     destination, source of the first type      dw sw      twice as wide
//! d1 s1   of the second type                          du32 su32  of a fixed type
//! D S1    the register may be wider than the type     d_ _       destination or `_`, only `_`
//! P PP    predicate, or a pair of them, to set        p q        predicate to read: with, without `!`
//! DP      destination, with a predicate if wanted     m M        anything `mov` takes, and gives
//! V W     register or `{...}` to load, to store       a          address
//! l t     label, list of labels                       y          register or variable
//! i       integer constant                            ?          may be left out
//! as ag   address in shared, in global memory         fa fb fc fd  the registers of a matrix
//! c       bytes to copy, or a predicate not to
//! vs vq   word or a part of one, parts of two words     vd vm      part, parts of a result     vr r    32-bit register, any
//! vn vt   word or a part of one, word, negated or not   al         alignment
//! x       registers of 8 x 8 matrices                 h           cache policy, last, if `.L2::cache_hint` is there
//! ```
//!
//! Modifiers may also stand in another order, which is then made this one; types keep theirs.
//!
//! Never: says what a form does (that is the engines' business).
//! Tests: `ptx/tests.rs` prints and reads every line; `gpu/tests` runs them.

pub const SETS: &[(&str, &str)] = &[
    ("INT", ".u16|.u32|.u64|.s16|.s32|.s64"),
    ("INT8", ".u8|.s8|.u16|.u32|.u64|.s16|.s32|.s64"),
    ("WORD", ".u32|.u64|.s32|.s64"),
    ("SIGNED", ".s16|.s32|.s64"),
    ("UNSIGNED", ".u16|.u32|.u64"),
    ("BITS", ".b16|.b32|.b64"),
    ("BITS32", ".b32|.b64"),
    ("ANY", ".b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64|.f32|.f64"),
    ("DATA", ".b8|.b16|.b32|.b64|.b128|.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64|.f32|.f64"),
    ("HALF", ".f16|.f16x2"),
    ("BHALF", ".bf16|.bf16x2"),
    ("RND", ".rn|.rz|.rm|.rp"),
    ("RNDI", ".rni|.rzi|.rmi|.rpi"),
    ("SCMP", ".eq|.ne|.lt|.le|.gt|.ge"),
    ("UCMP", ".eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs"),
    ("FCMP", ".eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan"),
    ("BOOL", ".and|.or|.xor"),
    (
        "LDSPACE",
        ".const|.global|.local|.param|.param::entry|.param::func|.shared|.shared::cta|.shared::cluster",
    ),
    ("STSPACE", ".global|.local|.param|.param::func|.shared|.shared::cta|.shared::cluster"),
    ("GSPACE", ".global|.shared|.shared::cta|.shared::cluster"),
    ("SHARED", ".shared|.shared::cta|.shared::cluster"),
    ("SCOPE", ".cta|.cluster|.gpu|.sys"),
    ("SEM", ".relaxed|.acquire|.release|.acq_rel"),
    ("EVICT", ".L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate"),
    ("L2EVICT", ".L2::evict_normal|.L2::evict_first|.L2::evict_last"),
    ("POLICY", ".L2::evict_last|.L2::evict_normal|.L2::evict_first|.L2::evict_unchanged"),
    ("HINT", ".L2::cache_hint"),
    ("AHEAD", ".L2::64B|.L2::128B|.L2::256B"),
    ("VEC", ".v2|.v4"),
    ("WIDE", ".b32|.u32|.s32|.f32"),
    ("WIDER", ".b64|.u64|.s64|.f64"),
    ("PAIR", ".u16x2|.s16x2"),
    ("BYTES", ".u8|.s8"),
    ("NIBBLES", ".u4|.s4"),
    ("MMA", ".m16n16k16|.m32n8k16|.m8n32k16"),
    ("MSPACE", ".global|.shared|.shared::cta"),
    ("LAYOUT", ".row|.col"),
    ("W32", ".u32|.s32"),
    ("OWN", ".shared|.shared::cta"),
    ("NEAR", ".cta|.cluster"),
];

pub const FORMS: &str = "
mov .pred : P p
mov ANY|.b128 : M m
mov VEC ANY : V W
cvta [.to] .global|SHARED|.local|.const|.param|.param::entry .u64 : d y
isspacep .global|SHARED|.local|.const|.param|.param::entry : P sb64
isspacep .global|SHARED|.local|.const|.param|.param::entry : P sb32

cvt INT8 INT8 : D S1
cvt .sat .u8 .s8|.u16|.u32|.u64|.s16|.s32|.s64 : D S1
cvt .sat .s8 .u8|.u16|.u32|.u64|.s16|.s32|.s64 : D S1
cvt .sat .u16 .s8|.s16|.u32|.u64|.s32|.s64 : D S1
cvt .sat .s16 .u16|.u32|.u64|.s32|.s64 : D S1
cvt .sat .u32 .s8|.s16|.s32|.u64|.s64 : D S1
cvt .sat .s32 .u32|.u64|.s64 : D S1
cvt .sat .u64 .s8|.s16|.s32|.s64 : D S1
cvt .sat .s64 .u64 : D S1
cvt RNDI [.ftz] [.sat] INT8 .f32 : D S1
cvt RNDI [.sat] INT8 .f16|.f64 : D S1
cvt RNDI INT .bf16 : D S1
cvt RND [.sat] .f16|.f32|.f64 INT8 : D S1
cvt RND .bf16 INT : D S1
cvt [RNDI] [.ftz] [.sat] .f32 .f32 : D S1
cvt [RNDI] [.sat] .f16 .f16 : D S1
cvt [RNDI] [.sat] .f64 .f64 : D S1
cvt [RNDI] .bf16 .bf16 : D S1
cvt RND [.ftz] [.sat] .f16 .f32 : D S1
cvt RND [.sat] .f16 .f64 : D S1
cvt RND .f16 .bf16 : D S1
cvt RND [.ftz] [.sat] .f32 .f64 : D S1
cvt RND .bf16 .f16|.f32|.f64 : D S1
cvt [.ftz] [.sat] .f32 .f16 : D S1
cvt [.ftz] [.sat] .f64 .f32 : D S1
cvt [.sat] .f64 .f16 : D S1
cvt .f32|.f64 .bf16 : D S1
cvt .rn|.rz [.relu] [.satfinite] .f16|.bf16 .f32 : D S1
cvt .rn|.rz [.relu] [.satfinite] .f16x2|.bf16x2 .f32 : D S1 S1
cvt .rn|.rz [.satfinite] [.relu] .tf32 .f32 : D S1
cvt .rna [.satfinite] .tf32 .f32 : D S1
cvt .rn .satfinite [.relu] .e4m3x2|.e5m2x2 .f32 : d s1 s1
cvt .rn .satfinite [.relu] .e4m3x2|.e5m2x2 .f16x2 : d s1
cvt .rn [.relu] .f16x2 .e4m3x2|.e5m2x2 : d s1
cvt .pack .sat .u16|.s16 .s32 : du32 su32 su32
cvt .pack .sat .u2|.s2|.u4|.s4|.u8|.s8 .s32 .b32 : du32 su32 su32 su32

add INT : d s s
add .sat .s32 : d s s
add PAIR : d s s
add .cc WORD : d s s
add [RND] [.ftz] [.sat] .f32 : d s s
add [RND] .f64 : d s s
add [RND] [.ftz] .f32x2 : d s s
add [RND] [.sat] .f32 .f16|.bf16 : d s1 s
add [.rn] [.ftz] [.sat] HALF : d s s
add [.rn] BHALF : d s s
sub INT : d s s
sub .sat .s32 : d s s
sub .cc WORD : d s s
sub [RND] [.ftz] [.sat] .f32 : d s s
sub [RND] .f64 : d s s
sub [RND] [.ftz] .f32x2 : d s s
sub [RND] [.sat] .f32 .f16|.bf16 : d s1 s
sub [.rn] [.ftz] [.sat] HALF : d s s
sub [.rn] BHALF : d s s
addc [.cc] WORD : d s s
subc [.cc] WORD : d s s
mul .lo|.hi INT : d s s
mul .wide .u16|.u32|.s16|.s32 : dw s s
mul [RND] [.ftz] [.sat] .f32 : d s s
mul [RND] .f64 : d s s
mul [RND] [.ftz] .f32x2 : d s s
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
fma RND [.ftz] .f32x2 : d s s s
fma RND [.sat] .f32 .f16|.bf16 : d s1 s1 s
fma .rn [.ftz] [.sat] HALF : d s s s
fma .rn [.ftz] .relu HALF : d s s s
fma .rn [.relu] BHALF : d s s s
mul24 .lo|.hi .u32|.s32 : d s s
mad24 .lo|.hi .u32|.s32 : d s s s
mad24 .hi .sat .s32 : d s s s
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
min .u16x2 : d s s
min [.relu] .s16x2|.s32 : d s s
min [.ftz] [.NaN] .f32 : d s s
min [.ftz] [.NaN] .xorsign .abs .f32 : d s s
min [.ftz] [.NaN] [.abs] .f32 : d s s s
min .f64 : d s s
min [.ftz] [.NaN] HALF : d s s
min [.ftz] [.NaN] .xorsign .abs HALF : d s s
min [.NaN] BHALF : d s s
min [.NaN] .xorsign .abs BHALF : d s s
max INT : d s s
max .u16x2 : d s s
max [.relu] .s16x2|.s32 : d s s
max [.ftz] [.NaN] .f32 : d s s
max [.ftz] [.NaN] .xorsign .abs .f32 : d s s
max [.ftz] [.NaN] [.abs] .f32 : d s s s
max .f64 : d s s
max [.ftz] [.NaN] HALF : d s s
max [.ftz] [.NaN] .xorsign .abs HALF : d s s
max [.NaN] BHALF : d s s
max [.NaN] .xorsign .abs BHALF : d s s
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
ex2 .approx .ftz BHALF : d s
tanh .approx .f32 : d s
tanh .approx HALF|.bf16|.bf16x2 : d s
copysign .f32|.f64 : d s s
testp .finite|.infinite|.number|.notanumber|.normal|.subnormal .f32|.f64 : P s

and .pred : P p p
and BITS : d s s
or .pred : P p p
or BITS : d s s
xor .pred : P p p
xor BITS : d s s
not .pred : P p
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
bmsk .clamp|.wrap .b32 : d su32 su32
szext .clamp|.wrap .u32|.s32 : d s su32
fns .b32 : d su32 su32 su32
prmt .b32 [.f4e|.b4e|.rc8|.ecl|.ecr|.rc16] : d s s su32
lop3 .b32 : d s s s i
lop3 .or|.and .b32 : DP s s s i p
dp4a .u32|.s32 .u32|.s32 : du32 su32 su32 su32
dp2a .lo|.hi .u32|.s32 .u32|.s32 : du32 su32 su32 su32

vadd W32 W32 W32 [.sat] : d vs vs
vadd W32 W32 W32 [.sat] .add|.min|.max : d vs vs vr
vadd W32 W32 W32 [.sat] : vd vs vs vr
vsub W32 W32 W32 [.sat] : d vs vs
vsub W32 W32 W32 [.sat] .add|.min|.max : d vs vs vr
vsub W32 W32 W32 [.sat] : vd vs vs vr
vabsdiff W32 W32 W32 [.sat] : d vs vs
vabsdiff W32 W32 W32 [.sat] .add|.min|.max : d vs vs vr
vabsdiff W32 W32 W32 [.sat] : vd vs vs vr
vmin W32 W32 W32 [.sat] : d vs vs
vmin W32 W32 W32 [.sat] .add|.min|.max : d vs vs vr
vmin W32 W32 W32 [.sat] : vd vs vs vr
vmax W32 W32 W32 [.sat] : d vs vs
vmax W32 W32 W32 [.sat] .add|.min|.max : d vs vs vr
vmax W32 W32 W32 [.sat] : vd vs vs vr
vshl W32 W32 .u32 [.sat] .clamp|.wrap : d vs vs
vshl W32 W32 .u32 [.sat] .clamp|.wrap .add|.min|.max : d vs vs vr
vshl W32 W32 .u32 [.sat] .clamp|.wrap : vd vs vs vr
vshr W32 W32 .u32 [.sat] .clamp|.wrap : d vs vs
vshr W32 W32 .u32 [.sat] .clamp|.wrap .add|.min|.max : d vs vs vr
vshr W32 W32 .u32 [.sat] .clamp|.wrap : vd vs vs vr
vmad W32 W32 W32 [.po] [.sat] [.shr7|.shr15] : d vn vn vt
vset W32 W32 SCMP : du32 vs vs
vset W32 W32 SCMP .add|.min|.max : du32 vs vs vr
vset W32 W32 SCMP : vd vs vs vr
vadd2 W32 W32 W32 [.sat] : vm vq vq vr
vadd2 W32 W32 W32 .add : vm vq vq vr
vsub2 W32 W32 W32 [.sat] : vm vq vq vr
vsub2 W32 W32 W32 .add : vm vq vq vr
vavrg2 W32 W32 W32 [.sat] : vm vq vq vr
vavrg2 W32 W32 W32 .add : vm vq vq vr
vabsdiff2 W32 W32 W32 [.sat] : vm vq vq vr
vabsdiff2 W32 W32 W32 .add : vm vq vq vr
vmin2 W32 W32 W32 [.sat] : vm vq vq vr
vmin2 W32 W32 W32 .add : vm vq vq vr
vmax2 W32 W32 W32 [.sat] : vm vq vq vr
vmax2 W32 W32 W32 .add : vm vq vq vr
vset2 W32 W32 SCMP [.add] : vm vq vq vr
vadd4 W32 W32 W32 [.sat] : vm vq vq vr
vadd4 W32 W32 W32 .add : vm vq vq vr
vsub4 W32 W32 W32 [.sat] : vm vq vq vr
vsub4 W32 W32 W32 .add : vm vq vq vr
vavrg4 W32 W32 W32 [.sat] : vm vq vq vr
vavrg4 W32 W32 W32 .add : vm vq vq vr
vabsdiff4 W32 W32 W32 [.sat] : vm vq vq vr
vabsdiff4 W32 W32 W32 .add : vm vq vq vr
vmin4 W32 W32 W32 [.sat] : vm vq vq vr
vmin4 W32 W32 W32 .add : vm vq vq vr
vmax4 W32 W32 W32 [.sat] : vm vq vq vr
vmax4 W32 W32 W32 .add : vm vq vq vr
vset4 W32 W32 SCMP [.add] : vm vq vq vr

setp .eq|.ne BITS : PP s s
setp UCMP UNSIGNED : PP s s
setp SCMP SIGNED : PP s s
setp FCMP [.ftz] .f32 : PP s s
setp FCMP .f64 : PP s s
setp FCMP [.ftz] .f16 : P s s
setp FCMP [.ftz] .f16x2 : PP s s
setp FCMP .bf16 : P s s
setp FCMP .bf16x2 : PP s s
setp .eq|.ne BOOL BITS : PP s s p
setp UCMP BOOL UNSIGNED : PP s s p
setp SCMP BOOL SIGNED : PP s s p
setp FCMP BOOL [.ftz] .f32 : PP s s p
setp FCMP BOOL .f64 : PP s s p
setp FCMP BOOL [.ftz] .f16 : P s s p
setp FCMP BOOL [.ftz] .f16x2 : PP s s p
setp FCMP BOOL .bf16 : P s s p
setp FCMP BOOL .bf16x2 : PP s s p
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
set FCMP [.ftz] .f16|.u16|.s16|.u32|.s32 .f16 : d s1 s1
set FCMP [.ftz] .f16x2|.u32|.s32 .f16x2 : d s1 s1
set FCMP .bf16|.u16|.s16|.u32|.s32 .bf16 : d s1 s1
set FCMP .bf16x2|.u32|.s32 .bf16x2 : d s1 s1
set FCMP BOOL [.ftz] .f16|.u16|.s16|.u32|.s32 .f16 : d s1 s1 p
set FCMP BOOL [.ftz] .f16x2|.u32|.s32 .f16x2 : d s1 s1 p
set FCMP BOOL .bf16|.u16|.s16|.u32|.s32 .bf16 : d s1 s1 p
set FCMP BOOL .bf16x2|.u32|.s32 .bf16x2 : d s1 s1 p
set .eq|.ne .f16|.bf16 BITS : d s1 s1
set UCMP .f16|.bf16 UNSIGNED : d s1 s1
set SCMP .f16|.bf16 SIGNED : d s1 s1
set FCMP [.ftz] .f16 .f32 : d s1 s1
set FCMP .bf16 .f32 : d s1 s1
set FCMP .f16|.bf16 .f64 : d s1 s1
set .eq|.ne BOOL .f16|.bf16 BITS : d s1 s1 p
set UCMP BOOL .f16|.bf16 UNSIGNED : d s1 s1 p
set SCMP BOOL .f16|.bf16 SIGNED : d s1 s1 p
set FCMP BOOL [.ftz] .f16 .f32 : d s1 s1 p
set FCMP BOOL .bf16 .f32 : d s1 s1 p
set FCMP BOOL .f16|.bf16 .f64 : d s1 s1 p
selp ANY : d s s p
slct ANY .s32 : d s s s1
slct [.ftz] ANY .f32 : d s s s1

ld [.weak] [LDSPACE] [.ca|.cg|.cs|.lu|.cv] [VEC] DATA : V a
ld [.weak] [.global] [.ca|.cg|.cs|.lu|.cv] [HINT] [AHEAD] [VEC] DATA : V a h
ld [.weak] [.global] [EVICT] [HINT] [AHEAD] [VEC] DATA : V a h
ld [.weak] [.global] [EVICT] [L2EVICT] [HINT] [AHEAD] .v8 WIDE : V a h
ld [.weak] [.global] [EVICT] [L2EVICT] [HINT] [AHEAD] .v4 WIDER : V a h
ld .global [.ca|.cg|.cs] .nc [HINT] [AHEAD] [VEC] DATA : V a h
ld .global .nc [EVICT] [HINT] [AHEAD] [VEC] DATA : V a h
ld .global .nc [EVICT] [L2EVICT] [HINT] [AHEAD] .v8 WIDE : V a h
ld .global .nc [EVICT] [L2EVICT] [HINT] [AHEAD] .v4 WIDER : V a h
ld .volatile [.global] [AHEAD] [VEC] DATA : V a
ld .volatile SHARED [VEC] DATA : V a
ld .relaxed|.acquire SCOPE [.global] [EVICT] [HINT] [AHEAD] [VEC] DATA : V a h
ld .relaxed|.acquire SCOPE SHARED [VEC] DATA : V a
ld .mmio .relaxed .sys [.global] DATA : V a
ldu [.global] [VEC] DATA : V a
st [.weak] [STSPACE] [.wb|.cg|.cs|.wt] [VEC] DATA : a W
st [.weak] [.global] [.wb|.cg|.cs|.wt] [HINT] [VEC] DATA : a W h
st [.weak] [.global] [EVICT] [HINT] [VEC] DATA : a W h
st [.weak] [.global] [EVICT] [L2EVICT] [HINT] .v8 WIDE : a W h
st [.weak] [.global] [EVICT] [L2EVICT] [HINT] .v4 WIDER : a W h
st .volatile [GSPACE] [VEC] DATA : a W
st .relaxed|.release SCOPE [.global] [EVICT] [HINT] [VEC] DATA : a W h
st .relaxed|.release SCOPE SHARED [VEC] DATA : a W
st .mmio .relaxed .sys [.global] DATA : a W
alloca .u32|.u64 : d s al?
stacksave .u32|.u64 : d
stackrestore .u32|.u64 : r
prefetch [.global|.local] .L1|.L2 : a
prefetch .global .L2::evict_last|.L2::evict_normal : a
prefetchu .L1 : a
applypriority [.global] .L2::evict_normal : a i
discard [.global] .L2 : a i
createpolicy .fractional POLICY [.L2::evict_first|.L2::evict_unchanged] .b64 : d sf32?
createpolicy .range [.global] POLICY [.L2::evict_first|.L2::evict_unchanged] .b64 : d a su32 su32
createpolicy .cvt .L2 .b64 : d s

atom [SEM] [SCOPE] [GSPACE] .and|.or|.xor|.exch [HINT] .b32|.b64 : d_ a s h
atom [SEM] [SCOPE] [GSPACE] .exch [HINT] .b128 : d_ a s h
atom [SEM] [SCOPE] [GSPACE] .cas .b16|.b32|.b64|.b128 : d_ a s s
atom [SEM] [SCOPE] [GSPACE] .add [HINT] .u32|.s32|.u64|.f32|.f64 : d_ a s h
atom [SEM] [SCOPE] [GSPACE] .add .noftz [HINT] HALF|.bf16|.bf16x2 : d_ a s h
atom [SEM] [SCOPE] [GSPACE] .inc|.dec [HINT] .u32 : d_ a s h
atom [SEM] [SCOPE] [GSPACE] .min|.max [HINT] .u32|.s32|.u64|.s64 : d_ a s h
atom [SEM] [SCOPE] [.global] .add [HINT] VEC .f32 : V a W h
atom [SEM] [SCOPE] [.global] .add|.min|.max .noftz [HINT] .v2|.v4|.v8 .f16|.bf16 : V a W h
atom [SEM] [SCOPE] [.global] .add|.min|.max .noftz [HINT] VEC .f16x2|.bf16x2 : V a W h
red [.relaxed|.release] [SCOPE] [GSPACE] .and|.or|.xor [HINT] .b32|.b64 : a s h
red [.relaxed|.release] [SCOPE] [GSPACE] .add [HINT] .u32|.s32|.u64|.f32|.f64 : a s h
red [.relaxed|.release] [SCOPE] [GSPACE] .add .noftz [HINT] HALF|.bf16|.bf16x2 : a s h
red [.relaxed|.release] [SCOPE] [GSPACE] .inc|.dec [HINT] .u32 : a s h
red [.relaxed|.release] [SCOPE] [GSPACE] .min|.max [HINT] .u32|.s32|.u64|.s64 : a s h
red [.relaxed|.release] [SCOPE] [.global] .add [HINT] VEC .f32 : a W h
red [.relaxed|.release] [SCOPE] [.global] .add|.min|.max .noftz [HINT] .v2|.v4|.v8 .f16|.bf16 : a W h
red [.relaxed|.release] [SCOPE] [.global] .add|.min|.max .noftz [HINT] VEC .f16x2|.bf16x2 : a W h

bra [.uni] : l
brx .idx [.uni] : su32 t
ret [.uni] :
exit :
trap :
nanosleep .u32 : s
griddepcontrol .launch_dependents|.wait :
membar .cta|.gl|.sys :
membar .proxy .alias :
fence [.sc|.acq_rel|.acquire|.release] SCOPE :
fence .mbarrier_init .release .cluster :
fence .proxy .alias :
fence .proxy .async [.global|.shared::cta|.shared::cluster] :
bar [.cta] .sync : su32 su32?
bar [.cta] .arrive : su32 su32
bar [.cta] .red .popc .u32 : d su32 p
bar [.cta] .red .popc .u32 : d su32 su32 p
bar [.cta] .red .and|.or .pred : P su32 p
bar [.cta] .red .and|.or .pred : P su32 su32 p
bar .warp .sync : su32
barrier [.cta] .sync [.aligned] : su32 su32?
barrier [.cta] .arrive [.aligned] : su32 su32
barrier [.cta] .red .popc [.aligned] .u32 : d su32 p
barrier [.cta] .red .popc [.aligned] .u32 : d su32 su32 p
barrier [.cta] .red .and|.or [.aligned] .pred : P su32 p
barrier [.cta] .red .and|.or [.aligned] .pred : P su32 su32 p
shfl .sync .up|.down|.bfly|.idx .b32 : DP s su32 su32 su32
shfl .up|.down|.bfly|.idx .b32 : DP s su32 su32
vote .sync .all|.any|.uni .pred : P p su32
vote .sync .ballot .b32 : d p su32
vote .all|.any|.uni .pred : P p
vote .ballot .b32 : d p
match .any .sync BITS32 : du32 s su32
match .all .sync BITS32 : DPu32 s su32
redux .sync .add|.min|.max .u32|.s32 : d s su32
redux .sync .and|.or|.xor .b32 : d s su32
activemask .b32 : d
elect .sync : DPu32 su32

cp .async .ca|.cg .shared|.shared::cta .global [HINT] [AHEAD] : as ag i c? h
cp .async .commit_group :
cp .async .wait_group : i
cp .async .wait_all :
cp .async .mbarrier .arrive [.noinc] [OWN] .b64 : a

mbarrier .init [OWN] .b64 : a su32
mbarrier .inval [OWN] .b64 : a
mbarrier .expect_tx|.complete_tx [SHARED] .b64 : a su32
mbarrier .expect_tx|.complete_tx .relaxed NEAR [SHARED] .b64 : a su32
mbarrier .arrive|.arrive_drop [OWN] .b64 : d a su32?
mbarrier .arrive|.arrive_drop .release|.relaxed NEAR [OWN] .b64 : d a su32?
mbarrier .arrive|.arrive_drop .expect_tx [OWN] .b64 : d a su32
mbarrier .arrive|.arrive_drop .expect_tx .release|.relaxed NEAR [OWN] .b64 : d a su32
mbarrier .arrive|.arrive_drop .noComplete [OWN] .b64 : d a su32
mbarrier .arrive|.arrive_drop .noComplete .release .cta [OWN] .b64 : d a su32
mbarrier .arrive|.arrive_drop .shared::cluster .b64 : _ a su32?
mbarrier .arrive|.arrive_drop .expect_tx .shared::cluster .b64 : _ a su32
mbarrier .test_wait [OWN] .b64 : P a s
mbarrier .test_wait .acquire|.relaxed NEAR [OWN] .b64 : P a s
mbarrier .test_wait .parity [OWN] .b64 : P a su32
mbarrier .test_wait .parity .acquire|.relaxed NEAR [OWN] .b64 : P a su32
mbarrier .try_wait [OWN] .b64 : P a s su32?
mbarrier .try_wait .acquire|.relaxed NEAR [OWN] .b64 : P a s su32?
mbarrier .try_wait .parity [OWN] .b64 : P a su32 su32?
mbarrier .try_wait .parity .acquire|.relaxed NEAR [OWN] .b64 : P a su32 su32?
mbarrier .pending_count .b64 : du32 s

ldmatrix .sync .aligned .m8n8 .x1|.x2|.x4 [.trans] [.shared|.shared::cta] .b16 : x a
stmatrix .sync .aligned .m8n8 .x1|.x2|.x4 [.trans] [.shared|.shared::cta] .b16 : a x
movmatrix .sync .aligned .m8n8 .trans .b16 : du32 su32
mma .sync .aligned .m8n8k4 LAYOUT LAYOUT .f16 .f16 .f16 .f16 : fd fa fb fc
mma .sync .aligned .m8n8k4 LAYOUT LAYOUT .f32 .f16 .f16 .f16|.f32 : fd fa fb fc
mma .sync .aligned .m8n8k4|.m16n8k4|.m16n8k8|.m16n8k16 .row .col [RND] .f64 .f64 .f64 .f64 : fd fa fb fc
mma .sync .aligned .m16n8k8|.m16n8k16 .row .col .f16 .f16 .f16 .f16 : fd fa fb fc
mma .sync .aligned .m16n8k8|.m16n8k16 .row .col .f32 .f16 .f16 .f32 : fd fa fb fc
mma .sync .aligned .m16n8k8|.m16n8k16 .row .col .f32 .bf16 .bf16 .f32 : fd fa fb fc
mma .sync .aligned .m16n8k4|.m16n8k8 .row .col .f32 .tf32 .tf32 .f32 : fd fa fb fc
mma .sync .aligned .m8n8k16|.m16n8k16|.m16n8k32 .row .col [.satfinite] .s32 BYTES BYTES .s32 : fd fa fb fc
mma .sync .aligned .m8n8k32|.m16n8k32|.m16n8k64 .row .col [.satfinite] .s32 NIBBLES NIBBLES .s32 : fd fa fb fc
mma .sync .aligned .m8n8k128|.m16n8k128|.m16n8k256 .row .col .s32 .b1 .b1 .s32 .xor|.and .popc : fd fa fb fc
wmma .load .a|.b .sync .aligned LAYOUT MMA [MSPACE] .f16|.bf16|.u8|.s8 : fd a su32?
wmma .load .a|.b .sync .aligned LAYOUT .m16n16k8 [MSPACE] .tf32 : fd a su32?
wmma .load .a|.b .sync .aligned LAYOUT .m8n8k4 [MSPACE] .f64 : fd a su32?
wmma .load .a .sync .aligned .row .m8n8k32 [MSPACE] NIBBLES : fd a su32?
wmma .load .b .sync .aligned .col .m8n8k32 [MSPACE] NIBBLES : fd a su32?
wmma .load .a .sync .aligned .row .m8n8k128 [MSPACE] .b1 : fd a su32?
wmma .load .b .sync .aligned .col .m8n8k128 [MSPACE] .b1 : fd a su32?
wmma .load .c .sync .aligned LAYOUT MMA [MSPACE] .f16|.f32|.s32 : fd a su32?
wmma .load .c .sync .aligned LAYOUT .m16n16k8 [MSPACE] .f32 : fd a su32?
wmma .load .c .sync .aligned LAYOUT .m8n8k4 [MSPACE] .f64 : fd a su32?
wmma .load .c .sync .aligned LAYOUT .m8n8k32|.m8n8k128 [MSPACE] .s32 : fd a su32?
wmma .store .d .sync .aligned LAYOUT MMA [MSPACE] .f16|.f32|.s32 : a fd su32?
wmma .store .d .sync .aligned LAYOUT .m16n16k8 [MSPACE] .f32 : a fd su32?
wmma .store .d .sync .aligned LAYOUT .m8n8k4 [MSPACE] .f64 : a fd su32?
wmma .store .d .sync .aligned LAYOUT .m8n8k32|.m8n8k128 [MSPACE] .s32 : a fd su32?
wmma .mma .sync .aligned LAYOUT LAYOUT MMA .f16|.f32 .f16|.f32 : fd fa fb fc
wmma .mma .sync .aligned LAYOUT LAYOUT MMA .f32 .bf16 .bf16 .f32 : fd fa fb fc
wmma .mma .sync .aligned LAYOUT LAYOUT MMA .s32 .u8 .u8 .s32 [.satfinite] : fd fa fb fc
wmma .mma .sync .aligned LAYOUT LAYOUT MMA .s32 .s8 .s8 .s32 [.satfinite] : fd fa fb fc
wmma .mma .sync .aligned LAYOUT LAYOUT .m16n16k8 .f32 .tf32 .tf32 .f32 : fd fa fb fc
wmma .mma .sync .aligned LAYOUT LAYOUT .m8n8k4 [RND] .f64 .f64 .f64 .f64 : fd fa fb fc
wmma .mma .sync .aligned .row .col .m8n8k32 .s32 .u4 .u4 .s32 [.satfinite] : fd fa fb fc
wmma .mma .sync .aligned .row .col .m8n8k32 .s32 .s4 .s4 .s32 [.satfinite] : fd fa fb fc
wmma .mma .xor|.and .popc .sync .aligned .row .col .m8n8k128 .s32 .b1 .b1 .s32 : fd fa fb fc
";
