//! Every kind of mistake, each with the line it is told at; good manifests and what they become; the shipped examples.

use super::*;
use ion_protocol::job::{Arg, Element, Phase, Source, Step};
use std::fs;

const PTX: &str = ".version 6.5\n.target sm_75\n.address_size 64\n\
.visible .entry saxpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)\n{\n\tret;\n}\n\
.visible .entry step(.param .u64 a, .param .u64 b)\n{\n\tret;\n}\n\
.visible .entry narrow()\n.reqntid 32, 1, 1\n{\n\tret;\n}\n\
.visible .entry thrifty()\n.maxntid 64, 1, 1\n{\n\tret;\n}\n\
.visible .entry _Z3sumPKf()\n{\n\tret;\n}\n\
.visible .entry greedy()\n{\n\t.shared .align 4 .b8 tile[40000];\n\tret;\n}\n\
.visible .entry whole(.param .align 8 .b8 s[24], .param .u32 n)\n{\n\tret;\n}\n";

/// A directory with everything the manifests here name.
fn dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("k.ptx", PTX.as_bytes());
    write(
        "bad.ptx",
        b".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry k()\n{\n\tfrob.u32 %r0;\n}\n",
    );
    write("latin.ptx", b".version 6.5 // \xff\n");
    write("k.cu", b"extern \"C\" __global__ void anything() {}\n");
    write("x.bin", &[1; 64]);
    write("short.bin", &[1; 63]);
    fs::create_dir(dir.path().join("folder.ptx")).unwrap();
    dir
}

fn load_text(text: &str) -> Result<Job, ManifestError> {
    let dir = dir();
    fs::write(dir.path().join("job.toml"), text).unwrap();
    load(&dir.path().join("job.toml"))
}

const GOOD: &str = r#"name = "good"
[needs]
[limits]
[[module]]
file = "k.ptx"
[[buffer]]
name = "x"
element = "f32"
shape = [16]
from = "x.bin"
[[buffer]]
name = "y"
element = "f32"
shape = [4, 4]
output = "y.npy"
[[step]]
kernel = "saxpy"
grid = 1
block = [16, 1]
args = [{ u32 = 16 }, { f32 = 2.0 }, { buffer = "x" }, { buffer = "y" }]
"#;

/// The mistakes of `GOOD` with its line `line` (from 1) replaced: line, found and expected of each.
fn mistakes_of(text: &str) -> Vec<Mistake> {
    match load_text(text) {
        Err(ManifestError::Mistakes(mistakes)) => mistakes,
        other => panic!("expected mistakes in\n{text}\nfound {other:?}"),
    }
}

fn with_line(line: usize, new: &str) -> String {
    let mut lines: Vec<&str> = GOOD.lines().collect();
    lines[line - 1] = new;
    lines.join("\n")
}

#[test]
fn a_mistake_in_a_value_says_whose_value_it_is() {
    for (line, new, told) in [
        (
            3,
            "[limits]\nrun = \"0 s\"",
            ":4:7: found a run time of 0 ms for `limits.run`; expected 1 ms to 7 d",
        ),
        (3, "[limits]\nmemory = \"127 B\"", "under a memory limit of 127 B for `limits.memory`; expected"),
        (3, "[limits]\nprice = 1", "found the number 1 for `limits.price`; expected"),
        (9, "shape = [16, 0]", " for `buffer[1].shape[2]`; expected"),
        (18, "grid = 0", "found grid 0 x 1 x 1 for `step[1].grid`; expected"),
        (20, "args = [{ u33 = 16 }]", "found unknown argument type `u33` for `step[1].args[1]`; expected"),
        (2, "needs = 5", "found the number 5 for `needs`; expected a table: [needs]"),
        (3, "[limits]\nrnu = \"1 s\"", "found unknown key `rnu` in [limits]; expected `run`"),
    ] {
        let shown =
            mistakes_of(&with_line(line, new)).iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.contains(told), "no `{told}` in\n{shown}");
    }
}

/// Line replaced, by what; then the one mistake: its line, and parts of what was found and what is expected.
type Case = (usize, &'static str, u32, &'static str, &'static str);

const CASES: &[Case] = &[
    // Syntax.
    (1, "name = ", 1, "no TOML", ""),
    (1, "name = \"a\"\nname = \"b\"", 2, "no TOML: duplicate key", ""),
    (6, "[[buffer]", 6, "no TOML", ""),
    // Keys and kinds.
    (1, "name = \"a\"\ncolour = 1", 2, "unknown key `colour` in the manifest", "one of `name`, `needs`"),
    (1, "nam = \"a\"", 1, "no `name` in the manifest", "`name =`"),
    (1, "name = 7", 1, "the number 7", "a name"),
    (1, "name = \"\"", 1, "a name of 0 bytes", "1 to 128"),
    (2, "needs = 1", 2, "the number 1", "a table: [needs]"),
    (2, "[needs]\nmodel = \"H100\"", 3, "unknown key `model`", "`models`"),
    (2, "[needs]\nengine = \"metal\"", 3, "engine \"metal\"", "\"cuda\" or \"cpu\""),
    (2, "[needs]\nmodels = \"H100\"", 3, "the text \"H100\"", "[\"H100\", \"A100\"]"),
    (2, "[needs]\nmodels = [\"\"]", 3, "a model name of 0 bytes", "1 to 128"),
    (2, "[needs]\nmemory = 16", 3, "the number 16", "a size with its unit"),
    (2, "[needs]\nmemory = \"16 gigs\"", 3, "`16 gigs`", "a size with its unit"),
    (2, "[needs]\ncapability = \"sm_80\"", 3, "`sm_80`", "compute capability"),
    (2, "[needs]\nf32_gflops = -1", 3, "the number -1", "f32 operations"),
    (2, "[needs]\nf32_gflops = nan", 3, "the number nan", "f32 operations"),
    (2, "[needs]\nlatency = \"fast\"", 3, "`fast`", "a duration with its unit"),
    (2, "[needs]\nregion = 2020-01-01", 3, "the date 2020-01-01", "region"),
    (3, "[limits]\nrun = 60", 4, "the number 60", "a duration with its unit"),
    (3, "[limits]\nrun = \"0 s\"", 4, "a run time of 0 ms", "1 ms to 7 d"),
    (3, "[limits]\nrun = \"8 d\"", 4, "a run time of", "1 ms to 7 d"),
    (3, "[limits]\nprice = \"1 BTC\"", 4, "`1 BTC`", "like \"0.01 IO\""),
    (
        3,
        "[limits]\nmemory = \"127 B\"",
        4,
        "buffers of 128 B under a memory limit of 127 B",
        "at least 128 B",
    ),
    // Modules.
    (5, "file = \"absent.ptx\"", 5, "\"absent.ptx\", which can't be opened", "relative to the manifest"),
    (5, "file = \"folder.ptx\"", 5, "which is not a file", "a file"),
    (5, "file = \"x.bin\"", 5, "a module file \"x.bin\"", "`.ptx` or `.cu`"),
    (5, "file = \"latin.ptx\"", 5, "which can't be read", "a readable text"),
    (5, "files = \"k.ptx\"\nfile = \"k.ptx\"", 5, "unknown key `files`", "`file`"),
    (5, "name = \"m\"", 4, "no `file` in [[module]]", "`file =`"),
    (
        5,
        "file = \"k.ptx\"\n[[module]]\nfile = \"k.ptx\"\nname = \"other\"",
        18 + 1,
        "no `module` in the launch",
        "`k.ptx`, `other`",
    ),
    // Buffers.
    (7, "name = \"y\"", 11, "a second buffer \"y\"", "another name"),
    (8, "element = \"float32\"", 8, "element type `float32`", "f32"),
    (8, "element = \"F32\"", 8, "element type `F32`", "`f32`"),
    (8, "elment = \"f32\"\nelement = \"f32\"", 8, "unknown key `elment`", "`element`"),
    (9, "shape = []", 9, "0 extents", "1 to 8"),
    (9, "shape = [16, 0]", 9, "the number 0", "an extent of 1 or more"),
    (9, "shape = \"16\"", 9, "the text \"16\"", "extents, slowest first"),
    (9, "shape = [4294967296, 4294967296, 4294967296]", 9, "more than 2^64 bytes", "at most 16.0 GiB"),
    (9, "shape = [8589934592]", 9, "32.0 GiB in buffer \"x\"", "at most 16.0 GiB"),
    (9, "shape = [17]", 10, "64 bytes in \"x.bin\"", "68 bytes: element size times shape"),
    (10, "from = \"short.bin\"", 10, "63 bytes in \"short.bin\"", "64 bytes"),
    (10, "from = \"absent.bin\"", 10, "which can't be opened", "a file"),
    (15, "output = \"../y.npy\"", 15, "output \"../y.npy\"", "without directories"),
    (15, "output = \"/etc/passwd.bin\"", 15, "output \"/etc/passwd.bin\"", "without directories"),
    (15, "output = \".y.npy\"", 15, "output \".y.npy\"", "without directories"),
    (15, "output = \"y.jpg\"", 15, "output \"y.jpg\"", ".png, .npy or .bin"),
    (15, "output = \"y.png\"", 15, "output \"y.png\" of f32 [4, 4]", "u8 of shape"),
    (10, "output = \"Y.NPY\"\nfrom = \"x.bin\"", 10, "output \"Y.NPY\"", ".png, .npy or .bin"),
    (
        10,
        "output = \"y.npy\"\nfrom = \"x.bin\"",
        16,
        "a second buffer whose output is \"y.npy\"",
        "another file name",
    ),
    // Steps.
    (17, "kernel = \"saxby\"", 17, "unknown kernel \"saxby\"", "`saxpy`"),
    (17, "kernel = \"sum\"", 17, "unknown kernel \"sum\"", "`_Z3sumPKf`, as C++ calls it; `extern \"C\"`"),
    (3, "[limits]\ncost = \"1 IO\"", 4, "unknown key `cost`", "one of `run`, `memory`, `price`"),
    (5, "fiel = \"k.ptx\"", 4, "no `file` in [[module]]", "`.ptx`"),
    (20, "args = []", 20, "0 arguments for `saxpy`", "(.f32), a buffer or a number (.u64), a buffer or"),
    (17, "kernel = 1", 17, "the number 1", "the name of a kernel"),
    (17, "module = \"k.ptx\"", 16, "no `kernel` in [[step]]", "`kernel =`"),
    (17, "kernel = \"saxpy\"\nmodule = \"l.ptx\"", 18, "unknown module \"l.ptx\"", "`k.ptx`"),
    (17, "kernel = \"saxpy\"\nswap = [\"x\", \"y\"]", 16, "both `kernel` and `swap`", "one of the two"),
    (18, "grid = 0", 18, "grid 0 x 1 x 1", "1 to 2147483647"),
    (18, "grid = [1, 65536]", 18, "grid 1 x 65536 x 1", "65535"),
    (18, "grid = [1, 2, 3, 4]", 18, "a list of 4", "[x, y, z]"),
    (18, "grid = \"1\"", 18, "the text \"1\"", "blocks in x"),
    (18, "gird = 1\ngrid = 1", 18, "unknown key `gird`", "`grid`"),
    (19, "block = 1025", 19, "block 1025 x 1 x 1", "1 to 1024 threads"),
    (19, "block = [1, 1, 65]", 19, "block 1 x 1 x 65", "64 in z"),
    (19, "block = 1.5", 19, "the number 1.5", "threads of a block"),
    (19, "block = 16\nshared = 300000", 20, "the number 300000", "at most 227.0 KiB"),
    (19, "block = 16\nshared = \"1 MiB\"", 20, "the text \"1 MiB\"", "at most 227.0 KiB"),
    (20, "args = 1", 20, "the number 1", "a list like"),
    (
        20,
        "args = [{ u32 = 16 }]",
        20,
        "1 arguments for `saxpy`",
        "4: a number (.u32), a number (.f32), a buffer",
    ),
    (
        20,
        "args = [{ u32 = -1 }, { f32 = 2.0 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "the number -1",
        "0 to 4294967295 (u32)",
    ),
    (
        20,
        "args = [{ u32 = 16 }, { f32 = 1e99 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "the number 1e99",
        "within 3.4e38",
    ),
    (
        20,
        "args = [{ u32 = 16 }, { f32 = 2.0 }, { buffer = \"z\" }, { buffer = \"y\" }]",
        20,
        "unknown buffer \"z\"",
        "`",
    ),
    (
        20,
        "args = [{ i32 = 16 }, { u64 = 2 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "a number of type u64 as argument 2",
        "a number (.f32)",
    ),
    (
        20,
        "args = [{ buffer = \"x\" }, { f32 = 2.0 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "a buffer as argument 1",
        "a number (.u32)",
    ),
    (
        20,
        "args = [{ uint = 16 }, { f32 = 2.0 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "unknown argument type `uint`",
        "",
    ),
    (
        20,
        "args = [16, { f32 = 2.0 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "the number 16",
        "a typed number",
    ),
    (
        20,
        "args = [{ u32 = 16, f32 = 2.0 }, { buffer = \"x\" }, { buffer = \"y\" }]",
        20,
        "an argument of 2 keys",
        "a typed number",
    ),
    (
        20,
        "args = [{ u32 = 16 }, { f32 = 2.0 }, { struct = [{ buffer = \"x\" }] }, { buffer = \"y\" }]",
        20,
        "a struct of 8 bytes (buffer at 0) as argument 3",
        "a buffer or a number (.u64)",
    ),
];

/// A launch of `whole`, which takes a struct of 24 bytes and a number, with other arguments in line 20; and its mistake.
const STRUCTS: &[(&str, &str, &str)] = &[
    (
        "[{ struct = [{ buffer = \"x\" }, { u32 = 1 }] }, { u32 = 1 }]",
        "a struct of 16 bytes (buffer at 0, u32 at 8) as argument 1 of `whole`",
        "a struct of 24 bytes (.b8[24])",
    ),
    ("[{ buffer = \"x\" }, { u32 = 1 }]", "a buffer as argument 1", "a struct of 24 bytes"),
    (
        "[{ struct = [{ f64 = 1 }, { f64 = 2 }, { f64 = 3 }] }]",
        "1 arguments for `whole`",
        "2: a struct of 24",
    ),
    ("[{ struct = [] }, { u32 = 1 }]", "a struct of 0 fields", "1 to 255"),
    ("[{ struct = 7 }, { u32 = 1 }]", "the number 7", "its fields in order"),
    ("[{ struct = [7] }, { u32 = 1 }]", "the number 7", "a typed number"),
    (
        "[{ struct = [{ struct = [{ u32 = 1 }] }] }, { u32 = 1 }]",
        "a struct inside a struct",
        "its fields in its place",
    ),
    ("[{ struct = [{ buffer = \"z\" }] }, { u32 = 1 }]", "unknown buffer \"z\"", "`"),
    ("[{ struct = [{ u8 = 256 }] }, { u32 = 1 }]", "the number 256", "0 to 255 (u8)"),
    ("[{ struct = [{ u32 = 1, u8 = 2 }] }, { u32 = 1 }]", "an argument of 2 keys", "a typed number"),
    ("[{ strukt = [{ u32 = 1 }] }, { u32 = 1 }]", "unknown argument type `strukt`", "`struct`"),
];

fn whole(args: &str) -> String {
    with_line(20, &format!("args = {args}")).replace("kernel = \"saxpy\"", "kernel = \"whole\"")
}

#[test]
fn a_struct_that_does_not_fit_is_told_where_it_is() {
    for (args, found, expected) in STRUCTS {
        let mistakes = mistakes_of(&whole(args));
        let [mistake] = &mistakes[..] else { panic!("expected one mistake of {args}, found {mistakes:#?}") };
        assert_eq!(mistake.line, 20, "{args}");
        assert!(mistake.found.contains(found) && mistake.expected.contains(expected), "{args}: {mistake:#?}");
    }
    for (fields, found) in [(255, "257 arguments, structs and each"), (256, "a struct of 256 fields")] {
        let fields = vec!["{ u8 = 1 }"; fields].join(", ");
        let mistakes = mistakes_of(&whole(&format!("[{{ struct = [{fields}] }}, {{ u32 = 1 }}]")));
        assert!(mistakes.iter().any(|m| m.line == 20 && m.found.contains(found)), "{found}: {mistakes:#?}");
    }
}

#[test]
fn a_struct_is_its_head_and_its_fields() {
    let job =
        load_text(&whole("[{ struct = [{ buffer = \"y\" }, { u32 = 7 }, { f64 = 0.5 }] }, { u32 = 9 }]"));
    let program = job.unwrap_or_else(|e| panic!("{e}")).spec.program;
    let Step::Launch(launch) = &program.phases[0].steps[0] else { panic!("a launch") };
    let expected = [
        Arg::Struct { fields: 3 },
        Arg::Buffer(1),
        Arg::Scalar { element: Element::U32, bits: 7 },
        Arg::Scalar { element: Element::F64, bits: 0.5f64.to_bits() },
        Arg::Scalar { element: Element::U32, bits: 9 },
    ];
    assert_eq!(launch.args, expected);
}

#[test]
fn every_kind_of_mistake_is_told_where_it_is() {
    assert!(load_text(GOOD).is_ok(), "{:?}", load_text(GOOD));
    let mut untold = Vec::new();
    for (replaced, new, line, found, expected) in CASES {
        let mistakes = mistakes_of(&with_line(*replaced, new));
        let told = mistakes.iter().any(|m| {
            m.line == *line
                && m.found.contains(found)
                && m.expected.contains(expected)
                && m.file.ends_with("job.toml")
        });
        if !told {
            untold.push(format!(
                "line {replaced} as `{new}`: expected {line}: {found}; {expected}\nfound {mistakes:#?}"
            ));
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n"));
}

/// Whole manifests, and what must be told at which line.
#[test]
fn mistakes_of_the_whole_are_told() {
    let step = |text: &str| GOOD.replace("[[step]]\n", &format!("{text}\n[[step]]\n"));
    let cases = [
        ("name = \"x\"\n".to_owned(), 1, "no module"),
        (GOOD[..GOOD.find("[[step]]").unwrap()].to_owned(), 1, "no step"),
        (step("[[step]]\nswap = [\"x\"]"), 17, "a list of 1"),
        (step("[[step]]\nswap = [\"x\", \"x\"]"), 17, "a swap of a buffer with itself"),
        (step("[[step]]\nrepeat = 0\nsteps = [{ swap = [\"x\", \"y\"] }]"), 17, "the number 0"),
        (step("[[step]]\nrepeat = 2\nsteps = []"), 18, "0 steps"),
        (step("[[step]]\nrepeat = 2\nsteps = [{ swap = [\"x\", \"y\"] }]"), 16, "no launch in a repeated"),
        (step("[[step]]\nrepeat = 2\nsteps = [{ repeat = 2, steps = [] }]"), 18, "a repeat inside a repeat"),
        (step("[[step]]\nrepeat = 2\nstep = []"), 16, "no `steps` in a repeated"),
        (step("[[step]]\nkernel = \"narrow\"\ngrid = 1\nblock = 64"), 19, "block [64, 1, 1] for `narrow`"),
        (step("[[step]]\nkernel = \"thrifty\"\ngrid = 1\nblock = 65"), 19, "blocks of 65 threads"),
        (
            step("[[step]]\nkernel = \"greedy\"\ngrid = 1\nblock = 1\nshared = \"200 KiB\""),
            16,
            "bytes of shared memory",
        ),
        (step("[[step]]\nkernel = \"step\"\ngrid = 1\nblock = 1"), 16, "0 arguments for `step`"),
        (
            step("[[buffer]]\nname = \"z\"\nelement = \"f32\"\nshape = 8\n[[step]]\nswap = [\"x\", \"z\"]"),
            21,
            "a swap of \"x\" (64 B) with \"z\" (32 B)",
        ),
        (
            GOOD.replace("element = \"f32\"\nshape = [4, 4]", "element = \"bf16\"\nshape = [4, 4]"),
            15,
            "of bf16 [4, 4]",
        ),
        (
            step(
                "[[step]]\nrepeat = 1000000\nsteps = [{ kernel = \"step\", grid = 1, block = 1, args = [{ buffer = \"x\" }, { buffer = \"y\" }] }]",
            ),
            0,
            "1000001 launches",
        ),
    ];
    for (text, line, found) in cases {
        let mistakes = mistakes_of(&text);
        let told = mistakes.iter().any(|m| m.line == line && m.found.contains(found));
        assert!(told, "expected {line}: {found} in\n{text}\nfound {mistakes:#?}");
    }
}

#[test]
fn a_mistake_in_ptx_names_the_ptx_file_and_line() {
    let mistakes = mistakes_of(&with_line(5, "file = \"bad.ptx\""));
    assert!(mistakes[0].file.ends_with("bad.ptx"), "{mistakes:#?}");
    assert_eq!((mistakes[0].line, mistakes.len()), (6, 1));
    assert!(mistakes[0].found.contains("frob"), "{mistakes:#?}");
}

#[test]
fn all_mistakes_are_told_at_once_in_order() {
    let text = "nmae = \"x\"\n[limits]\nrun = \"long\"\n[[module]]\nfile = \"absent.ptx\"\n[[buffer]]\nname = \"b\"\n\
                element = \"f33\"\nshape = [0]\n[[step]]\nkernel = \"k\"\ngrid = 0\nblock = 2000\nargs = [{ buffer = \"c\" }]\n";
    let lines: Vec<u32> = mistakes_of(text).iter().map(|m| m.line).collect();
    assert_eq!(lines, [1, 1, 3, 5, 8, 9, 12, 13, 14]);
    let shown = ManifestError::Mistakes(mistakes_of(text)).to_string();
    assert_eq!(shown.lines().count(), 9);
    assert!(
        shown.lines().all(|l| l.contains("job.toml:") && l.contains(": found ") && l.contains("; expected ")),
        "{shown}"
    );
}

#[test]
fn what_is_no_text_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job.toml");
    assert!(matches!(load(&path), Err(ManifestError::Unreadable { .. })));
    assert!(matches!(load(dir.path()), Err(ManifestError::Unreadable { .. })));
    fs::write(&path, b"name = \"\xff\"").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("no UTF-8 text at byte 8"));
    fs::write(&path, vec![b'#'; MANIFEST_BYTES_MAX as usize + 1]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("at most 1.0 MiB"));
    fs::write(&path, "[".repeat(1000)).unwrap();
    assert!(matches!(load(&path), Err(ManifestError::Mistakes(m)) if m.len() <= SYNTAX_ERRORS_MAX));
}

#[test]
fn a_good_manifest_becomes_its_specification() {
    let job = load_text(GOOD).unwrap();
    let p = &job.spec.program;
    assert_eq!(job.spec.name, "good");
    assert_eq!(job.spec.needs, Needs::default());
    assert_eq!(job.spec.limits, JobLimits { run: RUN_DEFAULT, memory: Bytes(128), price: PRICE_DEFAULT });
    assert_eq!((p.modules[0].name.as_str(), p.modules[0].source), ("k.ptx", Source::Ptx));
    assert_eq!(p.modules[0].blob, BlobHash::of(PTX.as_bytes()));
    assert_eq!(p.buffers[0].init, Init::Blob(BlobHash::of(&[1; 64])));
    assert_eq!((p.buffers[1].init, p.buffers[1].output, p.buffers[0].output), (Init::Zero, true, false));
    let [Phase { times: 1, steps }] = &p.phases[..] else { panic!("{:?}", p.phases) };
    let [Step::Launch(launch)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((launch.grid, launch.block, launch.shared_bytes), ([1, 1, 1], [16, 1, 1], 0));
    let expected = [
        Arg::Scalar { element: Element::U32, bits: 16 },
        Arg::Scalar { element: Element::F32, bits: 2f32.to_bits().into() },
        Arg::Buffer(0),
        Arg::Buffer(1),
    ];
    assert_eq!(launch.args, expected);
    assert_eq!(job.outputs, [OutputFile { buffer: 1, file: "y.npy".to_owned() }]);
    let files: Vec<(BlobHash, Bytes)> = job.files.iter().map(|f| (f.hash, f.bytes)).collect();
    for blob in p.blobs() {
        assert!(files.contains(&blob), "{blob:?}");
    }
    assert!(job.files.iter().all(|f| f.path.is_absolute()));
}

#[test]
fn everything_a_manifest_can_say_is_understood() {
    let text = r#"
name = "all"
needs = { engine = "cpu", models = ["H100", "A100"], memory = "16 GiB", capability = "8.0", f32_gflops = 1.5, region = "eu", latency = "50 ms" }
limits = { run = "2 min", memory = "1 GiB", price = "0.25 IO" }
[[module]]
file = "k.ptx"
name = "kernels"
[[module]]
file = "k.cu"
[[buffer]]
name = "a"
element = "u64"
shape = 3
from = "zero"
[[buffer]]
name = "b"
element = "u8"
shape = [2, 4, 3]
output = "b.png"
[[step]]
module = "kernels"
kernel = "narrow"
grid = [2, 3, 4]
block = 32
shared = "4 KiB"
[[step]]
swap = ["a", "b"]
[[step]]
repeat = 50
[[step.steps]]
module = "k.cu"
kernel = "anything"
grid = 1
block = [8, 8, 2]
args = [{ i8 = -1 }, { f16 = 1.0 }, { bf16 = 1 }, { f64 = 0.5 }]
[[step.steps]]
swap = ["b", "a"]
[[step]]
module = "kernels"
kernel = "narrow"
grid = 1
block = 32
"#;
    let job = load_text(text).unwrap_or_else(|e| panic!("{e}"));
    let needs = &job.spec.needs;
    assert_eq!(needs.engine, Some(EngineNeed::Cpu));
    assert_eq!(
        (needs.memory_min, needs.f32_mflops_min, needs.latency_max),
        (Bytes(16 << 30), 1500, Millis(50))
    );
    assert_eq!((needs.capability_min.major, needs.region.as_str(), needs.models.len()), (8, "eu", 2));
    let limits = &job.spec.limits;
    assert_eq!(
        (limits.run, limits.memory, limits.price),
        (Millis(120_000), Bytes(1 << 30), NanoIo(250_000_000))
    );
    let phases = &job.spec.program.phases;
    let shape: Vec<(u32, usize)> = phases.iter().map(|p| (p.times, p.steps.len())).collect();
    assert_eq!(shape, [(1, 2), (50, 2), (1, 1)]);
    let Step::Launch(inner) = &phases[1].steps[0] else { panic!() };
    let bits: Vec<u64> = inner
        .args
        .iter()
        .map(|a| match a {
            Arg::Scalar { bits, .. } => *bits,
            Arg::Buffer(_) | Arg::Struct { .. } => panic!("numbers only"),
        })
        .collect();
    assert_eq!(bits, [0xff, 0x3c00, 0x3f80, 0.5f64.to_bits()]);
    assert_eq!(inner.module, 1);
    assert_eq!(job.spec.program.modules[1].source, Source::CudaC);
    assert_eq!(job.spec.program.launches(), 1 + 50 + 1);
}

#[test]
fn a_module_can_be_asked_to_be_exact() {
    let with =
        |line: &str| load_text(&GOOD.replacen("file = \"k.ptx\"", &format!("file = \"k.ptx\"\n{line}"), 1));
    let source = |line: &str| with(line).unwrap().spec.program.modules[0].source;
    assert_eq!((source("exact = true"), source("exact = false")), (Source::ExactPtx, Source::Ptx));
    let said = with("exact = \"yes\"").unwrap_err().to_string();
    assert!(said.contains("the text \"yes\"") && said.contains("true or false, for a `.ptx` file"), "{said}");
}

/// Texts close to a good one neither panic nor hang, whatever they say.
#[test]
fn broken_manifests_are_survived() {
    let dir = dir();
    let path = dir.path().join("job.toml");
    let seed = 0x5eed;
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..600 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..rng.usize(1..6) {
            if bytes.len() < 2 {
                break;
            }
            let at = rng.usize(..bytes.len());
            match rng.u8(..4) {
                0 => bytes[at] = rng.u8(..),
                1 => _ = bytes.remove(at),
                2 => bytes.insert(at, *rng.choice(b"[]{}=\"'\n,.#0").unwrap()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        fs::write(&path, &bytes).unwrap();
        if let Err(ManifestError::Mistakes(mistakes)) = load(&path) {
            assert!(!mistakes.is_empty(), "seed {seed}, round {round}");
        }
    }
}

#[test]
fn plain_file_names_stay_in_their_directory() {
    for name in ["y.npy", "a b.bin", "ü.png", "y..npy"] {
        assert!(is_plain_file_name(name), "{name}");
    }
    for name in [
        "", ".", "..", "../y.npy", "a/y.npy", "/y.npy", "y.npy/", ".y.npy", "a\\y.npy", "c:y.npy", "a\ny.npy",
    ] {
        assert!(!is_plain_file_name(name), "{name:?}");
    }
    assert!(!is_plain_file_name(&"x".repeat(200)));
}

#[test]
fn the_shipped_examples_are_right() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let mut seen = Vec::new();
    for entry in fs::read_dir(jobs).unwrap() {
        let path = entry.unwrap().path();
        let job = load(&path.join("job.toml")).unwrap_or_else(|error| panic!("{error}"));
        assert!(!job.outputs.is_empty(), "{} shows something", path.display());
        seen.push(job.spec.name);
    }
    seen.sort();
    assert_eq!(seen, ["heat", "mandelbrot", "matmul", "saxpy"]);
}
