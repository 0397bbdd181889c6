//! Reading a text takes memory in proportion to it, whatever the text: counted by the allocator.

use ion_gpu::ptx::{self, limits::MEMORY_PER_TEXT_BYTE_MAX};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

struct Counting;

static NOW: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size() as u64, Relaxed) + layout.size() as u64;
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What every module costs: the table of forms, and first allocations.
const FIXED_BYTES: u64 = 1 << 20;

#[test]
fn memory_grows_with_the_text_and_no_faster() {
    let head = ".version 6.5\n.target sm_75\n.address_size 64\n";
    let body = |text: String| format!("{head}.entry k() {{\n{text}\n}}\n");
    let many = |n: usize, each: &dyn Fn(usize) -> String| (0..n).map(each).collect::<String>();
    let texts = [
        ("instructions", body("ret;".repeat(300_000))),
        ("operands", body(format!(".reg .b32 a;{}", "add.u32 a,a,a;".repeat(200_000)))),
        ("vectors", body(format!(".reg .b32 a; .reg .b64 d;{}", "mov.b64 d,{a,a};".repeat(200_000)))),
        ("labels", body(many(190_000, &|n| format!("L{n:x}:")))),
        ("branches", body(format!("L:{}", "bra L;".repeat(300_000)))),
        ("registers", body(format!(".reg .b32 a{};", many(400_000, &|n| format!(",r{n:x}"))))),
        ("scopes", body("{}".repeat(1_000_000))),
        ("variables", format!("{head}.global .u8 v{};", many(16_000, &|n| format!(",g{n:x}")))),
        ("values", format!("{head}.global .b64 v[] = {{1{}}};", ",2".repeat(1_000_000))),
        ("functions", format!("{head}{}", many(4_000, &|n| format!(".entry k{n}(){{}}\n")))),
        ("refused", body(format!(".reg .b32 a;{}bra NOWHERE;", "add.u32 a,a,a;".repeat(200_000)))),
    ];
    ptx::parse(&texts[0].1[..200]).ok();
    for (name, text) in &texts {
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let read = ptx::parse(text);
        let took = PEAK.load(Relaxed) - before;
        assert_eq!(read.is_err(), *name == "refused", "{name}: {:?}", read.err());
        let allowed = FIXED_BYTES + MEMORY_PER_TEXT_BYTE_MAX * text.len() as u64;
        assert!(took <= allowed, "{name}: {took} bytes for a text of {}, {allowed} allowed", text.len());
    }
}
