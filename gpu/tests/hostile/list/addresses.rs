//! Accesses that go astray: every state space, every kind of access, from one byte too far to right round the world.

use super::{Case, Ends, module};
use crate::cpu_bench::Bench;

/// Bytes of each piece that is aimed at: a multiple of 4 and of nothing larger, so that wide accesses can straddle it.
const BYTES: u64 = 44;

const DECLARED: &str = ".global .align 16 .b8 g[44]; .const .align 16 .b8 c[44];\n";

/// A space: its name in accesses and in faults, how the address of its piece gets into `%d1`, whether it can be
/// written, and whether atomics know it.
struct Space {
    access: &'static str,
    fault: &'static str,
    base: &'static str,
    written: bool,
    atomics: bool,
}

impl Space {
    /// What a fault calls it: a generic address that has left its space may be said to be in any.
    fn told(&self) -> &'static str {
        if self.access.is_empty() { "" } else { self.fault }
    }

    /// Bytes that may be touched: a thread's local memory is whole units of the largest access.
    fn bytes(&self) -> u64 {
        if self.fault == "local" { BYTES.next_multiple_of(16) } else { BYTES }
    }
}

const SPACES: &[Space] = &[
    Space { access: ".global", fault: "global", base: "mov.u64 %d1, %d0;", written: true, atomics: true },
    Space { access: ".global", fault: "global", base: "mov.u64 %d1, g;", written: true, atomics: true },
    Space { access: ".shared", fault: "shared", base: "mov.u64 %d1, s;", written: true, atomics: true },
    Space { access: ".local", fault: "local", base: "mov.u64 %d1, l;", written: true, atomics: false },
    Space { access: ".const", fault: "const", base: "mov.u64 %d1, c;", written: false, atomics: false },
    Space { access: "", fault: "global", base: "cvta.global.u64 %d1, g;", written: true, atomics: true },
    Space { access: "", fault: "shared", base: "cvta.shared.u64 %d1, s;", written: true, atomics: true },
    Space { access: "", fault: "local", base: "cvta.local.u64 %d1, l;", written: true, atomics: false },
];

/// An instruction with the space for `S` and the address for `A`; its size.
const LOADS: &[(&str, u64)] = &[
    ("ldS.u8 %h0, [A];", 1),
    ("ldS.u16 %h0, [A];", 2),
    ("ldS.u32 %r1, [A];", 4),
    ("ldS.f64 %g0, [A];", 8),
    ("ldS.v2.u8 {%h0, %h1}, [A];", 2),
    ("ldS.v2.f32 {%f0, %f1}, [A];", 8),
    ("ldS.v4.u32 {%r1, %r2, %r3, %r4}, [A];", 16),
    ("ldS.v2.u64 {%d2, %d3}, [A];", 16),
];

const STORES: &[(&str, u64)] = &[
    ("stS.u8 [A], %h0;", 1),
    ("stS.u16 [A], %h0;", 2),
    ("stS.f32 [A], %f0;", 4),
    ("stS.u64 [A], %d2;", 8),
    ("stS.v4.u8 [A], {%h0, %h1, %h2, %h3};", 4),
    ("stS.v4.f32 [A], {%f0, %f1, %f2, %f3};", 16),
];

const ATOMICS: &[(&str, u64)] = &[
    ("atomS.add.u32 %r1, [A], 1;", 4),
    ("atomS.cas.b64 %d2, [A], %d3, %d4;", 8),
    ("redS.add.f32 [A], %f0;", 4),
    ("atomS.exch.b32 %r1, [A], %r2;", 4),
];

fn bench(space: &Space, instruction: &str, address: &str) -> Bench {
    let text = module(
        DECLARED,
        &format!(
            ".shared .align 16 .b8 s[{BYTES}]; .local .align 16 .b8 l[{BYTES}];\n{}\n{}",
            space.base,
            instruction.replace('S', space.access).replace('A', address)
        ),
    );
    Bench::new(&text, "k").buffer(vec![0; BYTES as usize]).grid([2, 1, 1], [33, 1, 1])
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for space in SPACES {
        let stores = STORES.iter().filter(|_| space.written);
        let atomics = ATOMICS.iter().filter(|_| space.atomics);
        for (instruction, size) in LOADS.iter().chain(stores).chain(atomics) {
            let mut case = |address: String, ends| {
                let name = format!("{} {instruction} at {address}", space.base);
                cases.push(Case::new(name, bench(space, instruction, &address), ends));
            };
            let (size, bytes, astray) = (*size, space.bytes(), Ends::OutOfBounds(space.told()));
            // The last that fits, the first that does not, and one that begins inside and ends outside.
            let beyond = bytes.next_multiple_of(size);
            case(format!("%d1+{}", (bytes - size) / size * size), Ends::Well);
            case(format!("%d1+{beyond}"), astray);
            if beyond != bytes {
                case(format!("%d1+{}", beyond - size), astray);
            }
            case(format!("%d1+-{size}"), astray);
            case(format!("%d1+{}", 1u64 << 35), astray);
            case(format!("%d1+{}", 1u64 << 50), astray);
            if size > 1 {
                // Which space a generic address is of is asked once it is a fit address.
                let told = if space.access.is_empty() { "generic" } else { space.fault };
                case(format!("%d1+{}", size / 2), Ends::Misaligned(told));
            }
        }
    }
    cases.extend(wrapped());
    cases.extend(disguised());
    cases.extend(matrices());
    cases
}

/// Round the end of the address space and back: wrong unless it arrives where it began.
fn wrapped() -> Vec<Case> {
    let mut cases = Vec::new();
    for space in SPACES {
        for (name, change, address, ends) in [
            ("there and back", "sub.u64 %d1, %d1, 64;", "%d1+64", Ends::Well),
            (
                "far there and back",
                "add.u64 %d1, %d1, 0x4000000000000000;",
                "%d1+-4611686018427387904",
                Ends::Well,
            ),
            ("the top of all addresses", "mov.u64 %d1, -16;", "%d1", Ends::OutOfBounds(space.fault)),
        ] {
            let space = Space { base: "", ..*space };
            let base = SPACES.iter().find(|s| (s.access, s.fault) == (space.access, space.fault));
            let text = format!("{} {change} ldS.u32 %r1, [A];", base.map_or("", |s| s.base));
            // The very top of the generic space belongs to no other.
            let ends = match ends {
                Ends::OutOfBounds(_) if space.access.is_empty() => Ends::OutOfBounds("generic"),
                other => other,
            };
            let name = format!("{}{}: {name}", space.access, space.fault);
            cases.push(Case::new(name, bench(&space, &text, address), ends));
        }
    }
    // 32-bit addresses wrap at 2^32.
    for (address, ends) in [("%r1+-4", Ends::OutOfBounds("shared")), ("%r1+-4294967292", Ends::Well)] {
        let text = module(
            "",
            &format!(".shared .align 4 .b8 s[8]; mov.u32 %r1, s; ld.shared.u32 %r2, [{address}];"),
        );
        cases.push(Case::new(format!("narrow {address}"), Bench::new(&text, "k").buffer(vec![0; 8]), ends));
    }
    cases
}

/// Instructions that move whole matrices, or copy from one space to another.
const MATRICES: &[(&str, &str, Ends)] = &[
    (
        "a matrix beyond shared memory",
        "mov.u32 %r5, s; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5+1024];",
        Ends::OutOfBounds("shared"),
    ),
    (
        "a matrix between two addresses",
        "mov.u32 %r5, s; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r5+2];",
        Ends::Misaligned("shared"),
    ),
    (
        "rows half a world apart",
        "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%d0], 2147483640;",
        Ends::OutOfBounds("global"),
    ),
    (
        "a matrix stored over the end",
        "wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%d0], {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}, 16;",
        Ends::OutOfBounds("global"),
    ),
    (
        "a copy from nowhere",
        "mov.u32 %r5, s; mov.u64 %d1, 64; cp.async.ca.shared.global [%r5], [%d1], 4;",
        Ends::OutOfBounds("global"),
    ),
    (
        "a copy to nowhere",
        "mov.u32 %r5, -16; cp.async.cg.shared.global [%r5], [%d0], 16;",
        Ends::OutOfBounds("shared"),
    ),
    (
        "a copy across the end",
        "mov.u32 %r5, s; cp.async.ca.shared.global [%r5+40], [%d0], 8;",
        Ends::OutOfBounds("shared"),
    ),
    ("a barrier object at an odd place", "mbarrier.init.shared.b64 [s+4], 1;", Ends::Misaligned("shared")),
    ("a barrier object over the end", "mbarrier.arrive.shared.b64 %d2, [s+40];", Ends::OutOfBounds("shared")),
    (
        "a barrier object before all",
        "mov.u32 %r5, -8; mbarrier.inval.shared.b64 [%r5];",
        Ends::OutOfBounds("shared"),
    ),
    ("a barrier object in global memory", "mbarrier.arrive.b64 %d2, [%d0];", Ends::OutOfBounds("generic")),
    (
        "a barrier object in local memory",
        "cvta.local.u64 %d1, l; mbarrier.test_wait.parity.b64 %p1, [%d1], 0;",
        Ends::OutOfBounds("generic"),
    ),
    ("copies that arrive nowhere", "cp.async.mbarrier.arrive.noinc.b64 [%d0];", Ends::OutOfBounds("generic")),
    (
        "a barrier object whose counts wrap",
        "mbarrier.arrive.shared.b64 %d2, [s], -1; mbarrier.arrive_drop.shared.b64 %d2, [s], 0x7fffffff;\n\
         mbarrier.init.shared.b64 [s], -1; mbarrier.expect_tx.shared.b64 [s], -1; mbarrier.complete_tx.shared.b64 [s], 5;",
        Ends::Well,
    ),
    (
        "a copy of odd places",
        "mov.u32 %r5, s; cp.async.ca.shared.global [%r5+2], [%d0], 4;",
        Ends::Misaligned("shared"),
    ),
];

fn matrices() -> Vec<Case> {
    let space = Space { access: "", fault: "", base: "", written: true, atomics: true };
    MATRICES.iter().map(|(name, text, ends)| Case::new(*name, bench(&space, text, ""), *ends)).collect()
}

/// Addresses of one space used as those of another, and writes to what is only read.
fn disguised() -> Vec<Case> {
    let space = |base| Space { access: "", fault: "", base, written: true, atomics: true };
    let table = [
        ("a write to a constant", "cvta.const.u64 %d1, c;", "st.u32 [%d1], 1;", Ends::OutOfBounds("global")),
        (
            "an atomic on a constant",
            "cvta.const.u64 %d1, c;",
            "red.add.u32 [%d1], 1;",
            Ends::OutOfBounds("global"),
        ),
        (
            "a write to a constant as global",
            "mov.u64 %d1, c;",
            "st.global.u32 [%d1], 1;",
            Ends::OutOfBounds("global"),
        ),
        ("a write to a parameter", "cvta.param.u64 %d1, x;", "st.u64 [%d1], 1;", Ends::OutOfBounds("param")),
        ("a parameter beyond the last", "", "ld.param.u64 %d1, [x+8];", Ends::OutOfBounds("param")),
        ("a parameter before the first", "", "ld.param.u64 %d1, [x+-8];", Ends::OutOfBounds("param")),
        ("a parameter across the last", "", "ld.param.u32 %r1, [x+6];", Ends::Misaligned("param")),
        (
            "shared memory as global",
            "cvta.shared.u64 %d1, s;",
            "ld.global.u32 %r1, [%d1];",
            Ends::OutOfBounds("global"),
        ),
        (
            "global memory as shared",
            "mov.u64 %d1, g;",
            "ld.shared.u32 %r1, [%d1];",
            Ends::OutOfBounds("shared"),
        ),
        (
            "local memory of the next thread",
            "cvta.local.u64 %d1, l;",
            "ld.u32 %r1, [%d1+48];",
            Ends::OutOfBounds("local"),
        ),
        (
            "a window that nobody has",
            "mov.u64 %d1, 0x7f00000000000000;",
            "ld.u32 %r1, [%d1];",
            Ends::OutOfBounds("generic"),
        ),
        ("null", "mov.u64 %d1, 0;", "ld.u32 %r1, [%d1];", Ends::OutOfBounds("global")),
        ("null and a little", "mov.u64 %d1, 4096;", "st.global.u32 [%d1], 1;", Ends::OutOfBounds("global")),
        ("an absolute address", "", "ld.local.u32 %r1, [64];", Ends::OutOfBounds("local")),
        (
            "one lane astray",
            "setp.eq.u32 %p0, %r0, 32; selp.b64 %d1, 1024, 0, %p0; add.u64 %d1, %d1, %d0;",
            "ld.global.u32 %r1, [%d1];",
            Ends::OutOfBounds("global"),
        ),
        (
            "the number of the thread as address",
            "cvt.u64.u32 %d1, %r0;",
            "st.global.u8 [%d1], 1;",
            Ends::OutOfBounds("global"),
        ),
    ];
    table.map(|(name, base, access, ends)| Case::new(name, bench(&space(base), access, ""), ends)).into()
}
