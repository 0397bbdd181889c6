//! Small texts that stand for much: each is refused by name before it costs what it stands for, or does what it says
//! within its limits.

use super::{Case, Ends, SHORT, kernel, many, module};
use crate::cpu_bench::{Bench, LIMITS};
use ion_gpu::{backend::RunLimits, ptx::limits};
use ion_protocol::{
    Bytes, Millis,
    job::{Buffer, Init, Phase, Step},
};

/// For what takes milliseconds, on a machine that does other things as well.
const QUICK: Millis = Millis(8_000);

/// Functions `f0` to `f{depth - 1}`, each of which calls the one before `width` times; `f0` has this body.
fn calls(depth: usize, width: usize, last: &str) -> String {
    let caller = |n: usize| match n {
        0 => format!(".func f0()\n{{\n{last}\n}}\n"),
        n => format!(".func f{n}()\n{{\n{}}}\n", format!("call f{};\n", n - 1).repeat(width)),
    };
    many(depth, caller)
}

fn case(name: &str, text: String, ends: Ends) -> Case {
    Case::new(name, Bench::new(&text, "k").buffer(vec![0; 64]).grid([2, 1, 1], [1024, 1, 1]), ends)
}

pub fn cases() -> Vec<Case> {
    [recursion(), registers(), declarations(), sizes(), translations()].into_iter().flatten().collect()
}

fn recursion() -> Vec<Case> {
    let recursive = Ends::Refused("recursive");
    let mutual = ".func g();\n.func f()\n{\ncall g;\n}\n.func g()\n{\ncall f;\n}\n";
    let ring = many(64, |n| format!(".func f{n}();\n"))
        + &many(64, |n| format!(".func f{n}()\n{{\ncall f{};\n}}\n", (n + 1) % 64));
    vec![
        case("a function that calls itself", module(".func f()\n{\ncall f;\n}\n", "call f;"), recursive),
        case("two that call each other", module(mutual, "call f;"), recursive),
        case("a ring of functions", module(&ring, "call f0;"), recursive),
        case("calls that double", module(&calls(28, 2, "ret;"), "call f27;"), Ends::Refused("written out")),
        case(
            "calls of nothing that double",
            module(&calls(31, 2, ""), "call f30;"),
            Ends::Refused("written out"),
        ),
        case(
            "calls of nothing by the hundred",
            module(&calls(8, 250, ""), "call f7;"),
            Ends::Refused("written out"),
        ),
        // Each call finds what belongs to the function, but does not copy it.
        case(
            "calls of a function with a thousand variables",
            module(&calls(16, 2, &many(1000, |n| format!(".local .b8 l{n};\n"))), "call f15;"),
            Ends::Well,
        ),
        case(
            "a long chain of calls",
            module(&calls(4000, 1, "ret;"), "call f3999;"),
            Ends::Refused("nested"),
        ),
    ]
}

fn registers() -> Vec<Case> {
    let used =
        |count: usize| format!(".reg .b64 %x<{count}>;\n") + &many(count, |n| format!("mov.u64 %x{n}, 0;\n"));
    let functions = many(6, |n| format!(".func f{n}()\n{{\n{}}}\n", used(60_000)));
    let calls = many(6, |n| format!("call f{n};\n"));
    let constants = many(150_000, |n| format!("add.u64 %d1, %d1, {};\n", (n as u64) << 33));
    let locals = many(40, |n| format!(".func f{n}()\n{{\n.local .b8 l[60000];\nret;\n}}\n"));
    vec![
        case(
            "a million registers, declared",
            kernel(".reg .b64 %x<1000000>; .reg .b64 %y<1000000>;"),
            Ends::Refused("declared registers"),
        ),
        case(
            "three hundred thousand registers, used",
            kernel(&used(300_000)),
            Ends::Refused("registers in a function"),
        ),
        case("as many as a function may have", kernel(&used(262_000)), Ends::Memory),
        case("registers of many functions", module(&functions, &calls), Ends::Memory),
        case("constants without number", kernel(&constants), Ends::Memory),
        case(
            "local memory of many functions",
            module(&locals, &many(40, |n| format!("call f{n};\n"))),
            Ends::Memory,
        ),
    ]
}

fn declarations() -> Vec<Case> {
    let refused = |name: &str, declared: &str, words| case(name, module(declared, ""), Ends::Refused(words));
    let rows = many(60, |_| "{1},".into()) + "{1}";
    vec![
        refused("a global array of gigabytes", ".global .b8 g[4294967296];", "elements in an array"),
        refused(
            "global arrays that add up",
            ".global .b64 g[4000000], h[4000000], i[4000000];",
            "global variables",
        ),
        refused(
            "dimensions that multiply",
            ".global .b8 g[65536][65536][65536][65536];",
            "elements in an array",
        ),
        refused("dimensions without end", &format!(".global .b8 g{};", "[1]".repeat(100)), "dimensions"),
        refused("rows of zeros", &format!(".global .b8 g[][1000000] = {{{rows}}};"), "short rows"),
        refused("braces without end", &format!(".global .b8 g[] = {};", "{".repeat(100_000)), "a value"),
        refused(
            "more values than room",
            &format!(".global .b8 g[4] = {{{}1}};", "1,".repeat(1_000_000)),
            "first values",
        ),
        refused("a constant bank too many", ".const .b8 c[65537];", "constant variables"),
        refused(
            "variables without number",
            &many(20_000, |n| format!(".global .b8 g{n};\n")),
            "variables in a module",
        ),
        refused(
            "functions without number",
            &many(5_000, |n| format!(".func f{n}() {{ }}\n")),
            "functions in a module",
        ),
        refused(
            "parameters without number",
            &format!(".func f({}.param .b8 z) {{ }}", many(300, |n| format!(".param .b8 p{n},"))),
            "parameters",
        ),
        refused("a huge parameter", ".func f(.param .b8 p[32768]) { }", "bytes of parameters"),
        case(
            "shared memory beyond a block",
            kernel(".shared .b8 s[49153];"),
            Ends::Refused("static shared memory"),
        ),
        case("local memory beyond a thread", kernel(".local .b8 l[65537];"), Ends::Refused("local memory")),
        case(
            "scopes in scopes",
            kernel(&("{".repeat(1000) + &"}".repeat(1000))),
            Ends::Refused("nested blocks"),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let long = "n".repeat(1 << 20);
    let half = "x".repeat(4 << 20);
    let wide = format!(".global .b64 g[] = {{{}-1}};", "-1,".repeat(1_000_000));
    let straight = "add.u32 %r1, %r1, %r0;\n".repeat(60_000);
    vec![
        case(
            "a register with a name of a megabyte",
            kernel(&format!("mov.u32 {long}, 0;")),
            Ends::Refused("bytes in a name"),
        ),
        case(
            "a label of a megabyte",
            kernel(&format!("{long}: bra {long};")),
            Ends::Refused("bytes in a name"),
        ),
        case(
            "a variable of a megabyte",
            module(&format!(".global .b8 {long};"), ""),
            Ends::Refused("bytes in a name"),
        ),
        case(
            "an instruction of a megabyte",
            kernel(&format!("{long}.u32 %r1;")),
            Ends::Refused("bytes in a name"),
        ),
        case(
            "a number of a megabyte",
            kernel(&format!("mov.u32 %r1, {};", "1".repeat(1 << 20))),
            Ends::Refused("an integer"),
        ),
        case(
            "modifiers without end",
            kernel(&format!("add{} %r1;", ".rn".repeat(1 << 18))),
            Ends::Refused("modifiers"),
        ),
        case(
            "operands without end",
            kernel(&format!("add.u32 %r1{};", ", %r1".repeat(1 << 18))),
            Ends::Refused("operands of an instruction"),
        ),
        case(
            "a vector without end",
            kernel(&format!("ld.global.v4.u32 {{%r1{}}}, [%d0];", ", %r1".repeat(1 << 18))),
            Ends::Refused("parts of an operand"),
        ),
        case(
            "a million lines of code",
            kernel(&"ret;\n".repeat(1_000_000)),
            Ends::Refused("instructions in a module"),
        ),
        case("a million empty lines", kernel(&"\n".repeat(1_000_000)), Ends::Well),
        case("a million lines of comments", kernel(&"// x\n".repeat(1_000_000)), Ends::Well),
        case("a comment without end", kernel(&format!("/*{half}")), Ends::Refused("comment")),
        case(
            "a text too long",
            kernel(&"\n".repeat(limits::MODULE_BYTES_MAX as usize)),
            Ends::Program("expected at most"),
        ),
        case("a text whose print is too long", module(&wide, ""), Ends::Refused("canonical text")),
        case(
            "labels without number",
            kernel(&many(200_001, |n| format!("L{n}:\n"))),
            Ends::Refused("labels in a module"),
        ),
        case("sixty thousand instructions in a row", kernel(&straight), Ends::Well),
    ]
}

/// Kernels that run for milliseconds, and of which machine code would take a minute to make: whether there is any is for
/// nobody to notice.
fn translations() -> Vec<Case> {
    let numbers = 9000;
    let sums = many(numbers, |n| format!("add.u32 %x{n}, %x{}, 1;\n", (n + 1) % numbers));
    let backwards = many(6000, |n| format!("L{}: @%p1 bra L{n};\nbra L{n};\n", n + 1));
    let moves = many(29_000, |n| format!("mov.u32 %x{n}, %x{};\n", n + 1));
    let quick = |name: &str, body: &str| {
        let mut bench = Bench::new(&kernel(body), "k").buffer(vec![0; 64]);
        bench.limits = RunLimits { run: QUICK, ..LIMITS };
        Case::new(name, bench, Ends::Well)
    };
    vec![
        quick("atomic operations by the thousand", &"atom.global.add.f64 %g1, [%d0], %g0;\n".repeat(20_000)),
        quick(
            "jumps from each block to the one before",
            &format!(".reg .b32 %x<{numbers}>;\nbra L6000;\nEND: {sums}ret;\nL0: bra END;\n{backwards}"),
        ),
        quick(
            "values that move against the order",
            &format!(".reg .b32 %x<29001>;\n{moves}mov.u32 %x29000, %r0;"),
        ),
    ]
}

/// Modest texts whose programs ask for much.
pub fn programs() -> Vec<Case> {
    let giants = calls(11, 3, &"add.u32 %a, %a, 1;\n".repeat(16).replacen("add", ".reg .b32 %a;\nadd", 1));
    let kernels = many(4, |n| format!(".visible .entry k{n}()\n{{\ncall f10;\n}}\n"));
    let text = module(&(giants + &kernels), "");
    let bench = || Bench::new(&text, "k").buffer(vec![0; 64]);
    let mut large = bench().program();
    let launch = large.phases[0].steps[0].clone();
    let named = |n: usize| {
        let mut step = launch.clone();
        if let Step::Launch(launch) = &mut step {
            launch.kernel = format!("k{n}");
            launch.args.clear();
        }
        step
    };
    large.phases = vec![Phase { times: 1, steps: (0..4).map(named).collect() }];
    let mut cases = vec![Case {
        program: Some(large),
        ..Case::new("many kernels of a million instructions", bench(), Ends::Well)
    }];

    // Each launch is held against its kernel, which is long; that may not cost its length each time.
    let long = || {
        let text = kernel(&"add.u32 %r1, %r1, %r0;\n".repeat(250_000));
        let mut bench = Bench::new(&text, "k").buffer(vec![0; 64]);
        bench.limits = RunLimits { run: SHORT, ..LIMITS };
        bench
    };
    let mut steps = long().program();
    let step = steps.phases[0].steps[0].clone();
    steps.phases = vec![Phase { times: 1, steps: vec![step; 256] }; 256];
    cases.push(Case {
        program: Some(steps),
        ..Case::new("many launches of a long kernel", long(), Ends::RunTime)
    });

    let small = || Bench::new(&kernel(""), "k").buffer(vec![0; 64]);
    for (name, dynamic) in
        [("all the shared memory there is", u32::MAX), ("a little more than a block may have", 232_449)]
    {
        let mut bench = small();
        bench.shared = dynamic;
        cases.push(Case::new(name, bench, Ends::Program("bytes of shared memory")));
    }
    let mut full = small();
    full.shared = 232_448;
    cases.push(Case::new(
        "as much shared memory as a block may have",
        full.grid([1000, 1, 1], [1, 1, 1]),
        Ends::Well,
    ));

    let storm = |bytes: u64, count: usize| {
        let mut program = small().program();
        let buffer = Buffer {
            bytes: Bytes(bytes),
            init: Init::Zero,
            shape: vec![bytes],
            ..program.buffers[0].clone()
        };
        program.buffers = vec![buffer; count];
        program
    };
    for (name, bytes, count) in [
        ("a buffer of all addresses", u64::MAX, 1),
        ("buffers that add up", 16 << 30, 64),
        ("buffers that overflow", u64::MAX / 2, 3),
    ] {
        cases.push(Case { program: Some(storm(bytes, count)), ..Case::new(name, small(), Ends::Memory) });
    }
    let crowd = Case::new("buffers without number", small(), Ends::Program("buffers"));
    cases.push(Case { program: Some(storm(1, 5000)), ..crowd });
    let variables = Bench::new(&module(".global .b8 g[67108864];", ""), "k").buffer(vec![0; 64]);
    let mut tight = Case::new("variables beyond the memory", variables, Ends::Memory);
    tight.bench.limits.memory = Bytes(64 << 20);
    cases.push(tight);
    cases
}
