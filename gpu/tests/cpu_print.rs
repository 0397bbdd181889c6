//! What kernels say, by `vprintf` and by failed assertions, and variables that begin with addresses.

mod cpu_bench;

use cpu_bench::Bench;
use ion_gpu::cpu::PRINTED_BYTES_MAX;
use ion_protocol::fault::Fault;

const HEAD: &str = ".version 8.0\n.target sm_75\n.address_size 64\n\
    .extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n\
    .extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 c);\n";

/// A string as bytes with a NUL.
fn bytes(text: &str) -> String {
    text.bytes().chain([0]).map(|b| b.to_string()).collect::<Vec<_>>().join(", ")
}

/// A kernel that prints `format` with arguments whose bytes are in a constant.
fn printing(format: &str, arguments: &[u8]) -> Bench {
    let list = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let text = format!(
        "{HEAD}.global .align 1 .b8 format[] = {{{}}};\n.const .align 8 .b8 given[] = {{{}}};\n\
         .global .align 1 .b8 word[] = {{{}}};\n.visible .entry k(.param .u64 out) {{\n\
         .local .align 8 .b8 place[64]; .reg .b64 %d<8>; .reg .b32 %r<4>;\n\
         mov.u64 %d0, format; cvta.global.u64 %d0, %d0; mov.u64 %d1, place; cvta.local.u64 %d1, %d1; mov.u32 %r0, 0;\n\
         L: mov.u64 %d2, given; cvt.u64.u32 %d3, %r0; add.u64 %d2, %d2, %d3; ld.const.u8 %r1, [%d2];\n\
         add.u64 %d4, %d1, %d3; st.u8 [%d4], %r1; add.u32 %r0, %r0, 1; {{ .reg .pred p; setp.lt.u32 p, %r0, {}; @p bra L; }}\n\
         mov.u64 %d5, word; cvta.global.u64 %d5, %d5; st.u64 [%d1+56], %d5;\n\
         {{ .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], %d0; st.param.b64 [a], %d1;\n\
         call.uni (r), vprintf, (f, a); ld.param.b32 %r2, [r]; }}\n\
         ld.param.u64 %d6, [out]; st.global.u32 [%d6], %r2; ret; }}\n",
        bytes(format),
        list(arguments),
        bytes("word"),
        arguments.len(),
    );
    Bench::new(&text, "k").grid([1; 3], [1, 1, 1]).buffer(vec![0; 4])
}

fn said(format: &str, arguments: &[u8]) -> (String, u32) {
    let report = printing(format, arguments).run().unwrap();
    (report.printed, cpu_bench::u32s(&report.outputs[0].bytes)[0])
}

#[test]
fn formats_are_those_of_c() {
    let ints = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let doubles = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let cases: [(&str, Vec<u8>, &str, u32); 16] = [
        ("plain 100%%\n", vec![0], "plain 100%\n", 0),
        ("%d %i %u", ints(&[-5, 7, -1]), "-5 7 4294967295", 3),
        ("[%5d|%-5d|%05d|%+d|% d]", ints(&[42, 42, 42, 42, 42]), "[   42|42   |00042|+42| 42]", 5),
        ("%x %X %#x %o %#o", ints(&[255, 255, 255, 8, 8]), "ff FF 0xff 10 010", 5),
        ("%.3d|%6.3d|%.0d|", ints(&[5, 5, 0]), "005|   005||", 3),
        ("%hd %hhu", ints(&[70_000, 300]), "4464 44", 2),
        ("%*d|%-*d|%.*d", ints(&[4, 1, 3, 2, 2, 3]), "   1|2  |03", 6),
        ("%c%c%3c", ints(&[72, 105, 33]), "Hi  !", 3),
        ("%d %lld", [ints(&[1, 0]), (-1i64 << 40).to_le_bytes().to_vec()].concat(), "1 -1099511627776", 2),
        (
            "%f %.2f %8.3f|%-8.1f|",
            doubles(&[1.5, 2.005, -3.14259, 2.25]),
            "1.500000 2.00   -3.143|2.2     |",
            4,
        ),
        ("%e %.1E %.0e", doubles(&[12345.678, 0.00025, 5e100]), "1.234568e+04 2.5E-04 5e+100", 3),
        (
            "%g %g %g %g %G",
            doubles(&[100000.0, 1e6, 0.0001, 0.00001, 1e-10]),
            "100000 1e+06 0.0001 1e-05 1E-10",
            5,
        ),
        ("%g %#g %.3g", doubles(&[0.5, 0.5, 1234.5]), "0.5 0.500000 1.23e+03", 3),
        (
            "%f %F %5.1f|%05.1f",
            doubles(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -2.0]),
            "nan INF  -inf|-02.0",
            4,
        ),
        ("%a %a", doubles(&[1.0, -0.15625]), "0x1p+0 -0x1.4p-3", 2),
        ("%d %q %", ints(&[9]), "9 %q ", 1),
    ];
    for (format, arguments, expected, count) in cases {
        assert_eq!(said(format, &arguments), (expected.to_string(), count), "{format:?}");
    }
    // The kernel puts the address of "word" behind seven arguments of eight bytes.
    let (text, count) = said("%p%p%p%p%p%p%p%6s|", &[0]);
    assert_eq!((text.as_str(), count), ("0x00x00x00x00x00x00x0  word|", 8));
}

/// Blocks run on several cores; what they said comes in their order.
#[test]
fn text_comes_in_the_order_of_blocks_and_lanes() {
    let text = format!(
        "{HEAD}.global .align 1 .b8 format[] = {{{}}};\n.visible .entry k() {{\n.local .align 8 .b8 place[8]; .reg .b64 %d<4>; \
         .reg .b32 %r<4>;\nmov.u64 %d0, format; cvta.global.u64 %d0, %d0; mov.u64 %d1, place; cvta.local.u64 %d1, %d1;\n\
         mov.u32 %r0, %ctaid.x; mov.u32 %r1, %tid.x; st.v2.u32 [%d1], {{%r0, %r1}};\n\
         {{ .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], %d0; st.param.b64 [a], %d1;\n\
         call.uni (r), vprintf, (f, a); }}\nret; }}\n",
        bytes("%d.%d\n")
    );
    let mut bench = Bench::new(&text, "k").grid([50, 1, 1], [3, 1, 1]);
    let expected: String = (0..50).flat_map(|b| (0..3).map(move |t| format!("{b}.{t}\n"))).collect();
    for cores in [1, 2, 7] {
        bench.cores = Some(cores);
        assert_eq!(bench.run().unwrap().printed, expected, "{cores} cores");
    }
    // More than there is room for: the beginning is kept, and the end says so, on any number of cores.
    let mut bench = Bench::new(&text, "k").grid([40_000, 1, 1], [1, 1, 1]);
    let whole: String = (0..40_000).map(|b| format!("{b}.0\n")).collect();
    for cores in [1, 3] {
        bench.cores = Some(cores);
        let printed = bench.run().unwrap().printed;
        assert_eq!(printed[..PRINTED_BYTES_MAX], whole[..PRINTED_BYTES_MAX], "{cores} cores");
        assert!(printed.ends_with("the rest is dropped]\n") && printed.len() < PRINTED_BYTES_MAX + 100);
    }
}

#[test]
fn a_failed_assertion_says_what_and_where() {
    let text = format!(
        "{HEAD}.global .align 1 .b8 what[] = {{{}}};\n.global .align 1 .b8 file[] = {{{}}};\n.global .align 1 .b8 name[] = {{{}}};\n\
         .visible .entry k() {{\n.reg .b64 %d<4>; .reg .b32 %r<2>; .reg .pred %p;\nmov.u32 %r0, %tid.x; setp.lt.u32 %p, %r0, 9; @%p bra OK;\n\
         mov.u64 %d0, what; mov.u64 %d1, file; mov.u64 %d2, name; mov.u64 %d3, 1;\n\
         {{ .param .b64 m; .param .b64 f; .param .b32 l; .param .b64 n; .param .b64 c;\n\
         st.param.b64 [m], %d0; st.param.b64 [f], %d1; st.param.b32 [l], 77; st.param.b64 [n], %d2; st.param.b64 [c], %d3;\n\
         call.uni __assertfail, (m, f, l, n, c); }}\nOK: ret; }}\n",
        bytes("i < \u{1b}[31mn"),
        bytes("kernel.cu"),
        bytes("void k(int)")
    );
    match Bench::new(&text, "k").run() {
        Err(Fault::Assert { message, place }) => {
            assert_eq!(message, "`i < [31mn` at kernel.cu:77 in `void k(int)`");
            assert_eq!(place.thread, [9, 0, 0]);
        }
        other => panic!("{other:?}"),
    }
}

/// Wild addresses in a format are faults like any other.
#[test]
fn a_wild_format_is_out_of_bounds() {
    let text = format!(
        "{HEAD}.visible .entry k() {{ .reg .b64 %d<2>; mov.u64 %d0, 12345; {{ .param .b64 f; .param .b64 a; .param .b32 r;\n\
         st.param.b64 [f], %d0; st.param.b64 [a], %d0; call.uni (r), vprintf, (f, a); }} ret; }}\n"
    );
    assert!(matches!(Bench::new(&text, "k").run(), Err(Fault::OutOfBounds { address: 12345, .. })));
}

/// Variables whose first values are addresses of others, whole or byte by byte.
#[test]
fn variables_begin_with_addresses() {
    let part = |n: u32| format!("{:#X}(generic(b)+4)", 0xffu64 << (8 * n));
    let parts: Vec<String> = (0..8).map(part).collect();
    let text = format!(
        ".version 8.0\n.target sm_75\n.address_size 64\n.global .align 4 .u32 a = 41;\n\
         .const .align 4 .u32 b[2] = {{7, 42}};\n.global .align 8 .u64 whole[3] = {{0, generic(a), generic(b)+4}};\n\
         .const .align 8 .u8 packed[24] = {{1, 0, 0, 0, 0, 0, 0, 0, {}, 9}};\n\
         .visible .entry k(.param .u64 out) {{\n.reg .b64 %d<3>; .reg .b32 %r<4>;\nld.param.u64 %d0, [out];\n\
         ld.global.u64 %d1, [whole+8]; ld.u32 %r0, [%d1]; ld.global.u64 %d1, [whole+16]; ld.u32 %r1, [%d1];\n\
         ld.const.u64 %d1, [packed+8]; ld.u32 %r2, [%d1]; ld.const.u8 %r3, [packed+16];\n\
         st.global.v4.u32 [%d0], {{%r0, %r1, %r2, %r3}}; ret; }}\n",
        parts.join(", ")
    );
    let bench = Bench::new(&text, "k").grid([1; 3], [1, 1, 1]).buffer(vec![0; 16]);
    assert_eq!(cpu_bench::u32s(&bench.outputs()[0]), [41, 42, 42, 9]);
    let module = ion_gpu::ptx::parse(&text).unwrap();
    let printed = ion_gpu::ptx::print(&module);
    assert_eq!(ion_gpu::ptx::parse(&printed).as_ref(), Ok(&module), "{printed}");
}
