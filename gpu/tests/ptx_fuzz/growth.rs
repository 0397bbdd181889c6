//! Reading a text takes memory and time in proportion to it, whatever the text: counted by the allocator, and timed
//! against a quarter of the same text.

use super::{checks::FIXED_BYTES, counting::counted};
use ion_gpu::ptx::{self, limits::MEMORY_PER_TEXT_BYTE_MAX};
use std::time::{Duration, Instant};

fn many(n: usize, each: impl Fn(usize) -> String) -> String {
    (0..n).map(each).collect()
}

/// What may be written often: its name, how often, the text for a number of them, and whether it is refused.
type Family = (&'static str, usize, fn(usize) -> String, bool);

const HEAD: &str = ".version 6.5\n.target sm_75\n.address_size 64\n";

fn body(text: String) -> String {
    format!("{HEAD}.entry k() {{\n{text}\n}}\n")
}

const FAMILIES: &[Family] = &[
    ("instructions", 100_000, |n| body("ret;".repeat(n)), false),
    ("operands", 80_000, |n| body(format!(".reg .b32 a;{}", "add.u32 a,a,a;".repeat(n))), false),
    (
        "vectors",
        80_000,
        |n| body(format!(".reg .b32 a; .reg .b64 d;{}", "mov.b64 d,{a,a};".repeat(n))),
        false,
    ),
    ("labels", 80_000, |n| body(many(n, |i| format!("L{i:x}:"))), false),
    ("branches", 100_000, |n| body(format!("L:{}", "bra L;".repeat(n))), false),
    ("registers", 150_000, |n| body(format!(".reg .b32 a{};", many(n, |i| format!(",r{i:x}")))), false),
    (
        "names",
        60_000,
        |n| body(format!(".reg .b32 %r<{n}>;{}", many(n, |i| format!("mov.u32 %r{i},0;")))),
        false,
    ),
    ("scopes", 400_000, |n| body("{}".repeat(n)), false),
    (
        "deep names",
        100_000,
        |n| body(format!(".reg .b32 a;{}{}{}", "{".repeat(32), "mov.u32 a,a;".repeat(n), "}".repeat(32))),
        false,
    ),
    ("variables", 16_000, |n| format!("{HEAD}.global .u8 v{};", many(n, |i| format!(",g{i:x}"))), false),
    ("values", 150_000, |n| format!("{HEAD}.global .b64 v[] = {{1{}}};", ",2".repeat(n)), false),
    ("rows", 60_000, |n| format!("{HEAD}.global .b8 v[][2] = {{{{1}}{}}};", ",{1}".repeat(n)), false),
    ("functions", 4_000, |n| format!("{HEAD}{}", many(n, |i| format!(".entry k{i}(){{}}\n"))), false),
    ("calls", 100_000, |n| format!("{HEAD}.func f() {{ }}\n.entry k() {{ {} }}", "call f;".repeat(n)), false),
    (
        "register arguments",
        1_000,
        |n| {
            let formal: String = many(200, |i| format!("{}.reg .u32 a{i}", if i == 0 { "" } else { "," }));
            let call = format!("call f,(1{});", ",1".repeat(199));
            format!("{HEAD}.func f({formal}) {{ }}\n.entry k() {{ {} }}", call.repeat(n))
        },
        false,
    ),
    (
        "returned registers",
        100_000,
        |n| {
            let formal: String = many(200, |i| format!("{}.reg .u32 a{i}", if i == 0 { "" } else { "," }));
            format!("{HEAD}.func ({formal}) f() {{ {} }}\n", "ret;".repeat(n))
        },
        false,
    ),
    (
        "branch targets",
        190_000,
        |n| body(format!(".reg .b32 a; A: T: .branchtargets A{}; brx.idx a,T;", ",A".repeat(n))),
        false,
    ),
    ("expressions", 100_000, |n| format!("{HEAD}.global .b64 v[] = {{1{}}};", ",-~1".repeat(n)), false),
    ("comments", 400_000, |n| body("/**/".repeat(n)), false),
    ("strings", 200_000, |n| body(format!(".pragma \"{}\";", "x\\\"".repeat(n))), false),
    ("padding", 64, |n| format!("{HEAD}.global .b8 v[][1000] = {{{{1}}{}}};", ",{1}".repeat(n)), false),
    (
        "refused late",
        80_000,
        |n| body(format!(".reg .b32 a;{}bra NOWHERE;", "add.u32 a,a,a;".repeat(n))),
        true,
    ),
];

/// Processor time of this thread, which other programs of the machine do not add to; the clock's where it is not told.
fn thread_time(began: Instant) -> Duration {
    // The system brings the account up to date when it picks who runs next.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    told.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

fn timed(text: &str) -> Duration {
    let began = Instant::now();
    let before = thread_time(began);
    let read = ptx::parse(text);
    let after = thread_time(began);
    drop(read);
    after.saturating_sub(before)
}

#[test]
fn memory_and_time_grow_with_the_text_and_no_faster() {
    ptx::parse(&FAMILIES[0].2(1)).unwrap();
    for (name, count, text, refused) in FAMILIES {
        let (quarter, whole) = (text(count / 4), text(*count));
        let (read, took) = counted(|| ptx::parse(&whole));
        assert_eq!(read.is_err(), *refused, "{name}: {:?}", read.err());
        let allowed = FIXED_BYTES + MEMORY_PER_TEXT_BYTE_MAX * whole.len() as u64;
        assert!(took <= allowed, "{name}: {took} bytes for a text of {}, {allowed} allowed", whole.len());
        // Four times the text takes four times as long; sixteen times would be its square.
        let (part, all) = (timed(&quarter), timed(&whole));
        assert!(
            all < part * 10 + Duration::from_millis(20),
            "{name}: {part:?} for a quarter of it, {all:?} for all"
        );
    }
}
