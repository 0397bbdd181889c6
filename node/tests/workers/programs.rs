//! Small programs for workers.

#![allow(dead_code, reason = "each test file uses its part")]

use super::rig::TestBlobs;
use ion_protocol::{
    Bytes, Millis, NanoIo,
    job::{
        Arg, Buffer, Element, Init, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step,
    },
};

pub const EMPTY: &str = ".version 6.0\n.target sm_52\n.address_size 64\n.visible .entry empty() { ret; }\n";

const ENDLESS: &str = "
.version 6.0
.target sm_52
.address_size 64
.visible .entry endless() {
LOOP:
    bra LOOP;
}
";

const OUT_OF_BOUNDS: &str = "
.version 6.0
.target sm_52
.address_size 64
.visible .entry write(.param .u64 out) {
    .reg .b64 %rd<3>;
    .reg .b32 %r<2>;
    ld.param.u64 %rd1, [out];
    add.u64 %rd2, %rd1, 1073741824;
    mov.u32 %r1, 1;
    st.global.u32 [%rd2], %r1;
    ret;
}
";

const SCALE: &str = "
.version 6.0
.target sm_52
.address_size 64
.visible .entry scale(.param .u64 from, .param .u64 to, .param .f32 factor, .param .u32 n) {
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .f32 %f<4>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [from];
    ld.param.u64 %rd2, [to];
    ld.param.f32 %f1, [factor];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE;
    mul.wide.u32 %rd3, %r5, 4;
    add.u64 %rd4, %rd1, %rd3;
    add.u64 %rd5, %rd2, %rd3;
    ld.global.f32 %f2, [%rd4];
    mul.rn.f32 %f3, %f2, %f1;
    st.global.f32 [%rd5], %f3;
DONE:
    ret;
}
";

fn spec(blobs: &TestBlobs, text: &str, buffers: Vec<Buffer>, launch: Launch) -> JobSpec {
    let (blob, bytes) = (blobs.put(text.as_bytes()), Bytes(text.len() as u64));
    let module = Module { name: "test.ptx".into(), source: Source::Ptx, blob, bytes };
    let steps = vec![Step::Launch(launch)];
    let program = Program { modules: vec![module], buffers, phases: vec![Phase { times: 1, steps }] };
    JobSpec {
        name: "test".into(),
        needs: Needs::default(),
        limits: JobLimits { run: Millis(60_000), memory: Bytes(1 << 30), price: NanoIo(0) },
        program,
    }
}

fn launch(kernel: &str, blocks: u32, args: Vec<Arg>) -> Launch {
    Launch {
        module: 0,
        kernel: kernel.into(),
        grid: [blocks, 1, 1],
        block: [256, 1, 1],
        shared_bytes: 0,
        args,
    }
}

fn buffer(name: &str, bytes: u64, init: Init, output: bool) -> Buffer {
    Buffer { name: name.into(), bytes: Bytes(bytes), init, element: Element::U8, shape: vec![bytes], output }
}

/// One launch of `kernel` in a module of this text, with an output buffer it does not use.
pub fn text(blobs: &TestBlobs, text: &str, kernel: &str) -> JobSpec {
    spec(blobs, text, vec![buffer("out", 4, Init::Zero, true)], launch(kernel, 1, Vec::new()))
}

pub fn empty(blobs: &TestBlobs) -> JobSpec {
    text(blobs, EMPTY, "empty")
}

/// One thread says "hi 7".
const SAYS: &str = ".version 8.0\n.target sm_75\n.address_size 64\n\
.extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n\
.global .align 1 .b8 format[7] = {104, 105, 32, 37, 100, 10, 0};\n\
.visible .entry says()\n{\n.local .align 8 .b8 given[8]; .reg .b64 %d<2>; .reg .b32 %t; .reg .pred %p;\n\
mov.u32 %t, %tid.x; setp.ne.u32 %p, %t, 0; @%p exit;\n\
mov.u64 %d0, format; cvta.global.u64 %d0, %d0; mov.u64 %d1, given; cvta.local.u64 %d1, %d1; mov.u32 %t, 7; st.u32 [%d1], %t;\n\
{ .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], %d0; st.param.b64 [a], %d1; call.uni (r), vprintf, (f, a); }\n\
ret;\n}\n";

pub fn says(blobs: &TestBlobs) -> JobSpec {
    text(blobs, SAYS, "says")
}

/// All threads of many blocks say so, again and again: above 2 MiB in all.
pub fn shouts(blobs: &TestBlobs) -> JobSpec {
    let mut spec = text(blobs, &SAYS.replace("@%p exit;", ""), "says");
    let [phase] = &mut spec.program.phases[..] else { panic!("one phase") };
    let [Step::Launch(launch)] = &mut phase.steps[..] else { panic!("one launch") };
    (phase.times, launch.grid) = (40, [64, 1, 1]);
    spec
}

pub fn endless(blobs: &TestBlobs) -> JobSpec {
    text(blobs, ENDLESS, "endless")
}

/// An empty kernel beside a large buffer.
pub fn zeros(blobs: &TestBlobs, bytes: u64) -> JobSpec {
    spec(blobs, EMPTY, vec![buffer("large", bytes, Init::Zero, false)], launch("empty", 1, Vec::new()))
}

pub fn out_of_bounds(blobs: &TestBlobs) -> JobSpec {
    let buffers = vec![buffer("out", 1024, Init::Zero, true)];
    spec(blobs, OUT_OF_BOUNDS, buffers, launch("write", 1, vec![Arg::Buffer(0)]))
}

/// `to = 3 * from` over f32, and what must come out.
pub fn scale(blobs: &TestBlobs, elements: u64) -> (JobSpec, Vec<u8>) {
    let values: Vec<f32> = (0..elements).map(|n| n as f32 * 0.37 - 5.0).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let tripled: Vec<f32> = values.iter().map(|v| v * 3.0).collect();
    let from = blobs.put(&bytes(&values));
    let buffers = vec![
        buffer("from", elements * 4, Init::Blob(from), false),
        buffer("to", elements * 4, Init::Zero, true),
    ];
    let scalar = |element, bits| Arg::Scalar { element, bits };
    let args = vec![
        Arg::Buffer(0),
        Arg::Buffer(1),
        scalar(Element::F32, u64::from(3.0f32.to_bits())),
        scalar(Element::U32, elements),
    ];
    (spec(blobs, SCALE, buffers, launch("scale", elements.div_ceil(256) as u32, args)), bytes(&tripled))
}

/// Each thread takes so many steps of x := 3 x + 1 on its own word.
const WALK: &str = ".version 6.5\n.target sm_75\n.address_size 64\n\
.visible .entry walk(.param .u64 x, .param .u32 steps)\n{\n.reg .pred %p; .reg .b32 %a, %b, %c, %v, %n; .reg .b64 %d, %e;\n\
mov.u32 %a, %ctaid.x; mov.u32 %b, %ntid.x; mov.u32 %c, %tid.x; mad.lo.u32 %a, %a, %b, %c;\n\
ld.param.u64 %d, [x]; mul.wide.u32 %e, %a, 4; add.u64 %d, %d, %e; ld.global.u32 %v, [%d]; ld.param.u32 %n, [steps];\n\
L: mad.lo.u32 %v, %v, 3, 1; sub.u32 %n, %n, 1; setp.ne.u32 %p, %n, 0; @%p bra L;\n\
st.global.u32 [%d], %v; ret;\n}\n";

/// Nine launches: more work than is repeated for a check.
pub fn long_walk(blobs: &TestBlobs) -> JobSpec {
    walk(blobs, 30_000, 9)
}

/// Launches of four blocks, each of which goes on from the one before.
pub fn walk(blobs: &TestBlobs, steps: u32, times: u32) -> JobSpec {
    let x: Vec<u8> = (0..1024u32).flat_map(|n| (n * 77).to_le_bytes()).collect();
    let steps = Arg::Scalar { element: Element::U32, bits: steps.into() };
    let x = buffer("x", 4096, Init::Blob(blobs.put(&x)), true);
    let mut spec = spec(blobs, WALK, vec![x], launch("walk", 4, vec![Arg::Buffer(0), steps]));
    spec.program.phases[0].times = times;
    spec
}
