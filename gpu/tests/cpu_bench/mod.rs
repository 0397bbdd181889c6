//! What the CPU engine's tests share: a program of one launch, put together and run.

#![allow(dead_code, reason = "each test file uses its part")]

use ion_gpu::{
    backend::{Backend, Report, RunLimits},
    cpu::CpuBackend,
    cuda::CudaBackend,
    program::{LoadedProgram, Sources, no_compiler},
    ptx::{Profile, profile},
};
use ion_protocol::{
    BlobHash, Bytes, Millis,
    fault::Fault,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
};
use std::{cell::RefCell, sync::atomic::AtomicBool};

/// Set where all that ends well here is to run on a card as well: `scripts/gpu-check` does.
const ON_CUDA: &str = "ION_ON_CUDA";

pub const LIMITS: RunLimits = RunLimits { run: Millis(60_000), memory: Bytes(1 << 30), fuel: None };

/// One launch with its buffers; every buffer is delivered.
#[derive(Clone)]
pub struct Bench {
    pub text: String,
    pub kernel: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub buffers: Vec<Vec<u8>>,
    pub args: Vec<Arg>,
    pub limits: RunLimits,
    pub cores: Option<usize>,
    /// Blocks meet in memory, so that the outputs depend on their order; they run on one core then.
    pub racy: bool,
}

pub fn u32_arg(v: u32) -> Arg {
    Arg::Scalar { element: Element::U32, bits: v.into() }
}

pub fn u64_arg(v: u64) -> Arg {
    Arg::Scalar { element: Element::U64, bits: v }
}

pub fn f32_arg(v: f32) -> Arg {
    Arg::Scalar { element: Element::F32, bits: v.to_bits().into() }
}

pub fn bytes_of_u32(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn bytes_of_f32(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn bytes_of_u64(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

pub fn f32s(bytes: &[u8]) -> Vec<f32> {
    u32s(bytes).into_iter().map(f32::from_bits).collect()
}

pub fn u64s(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
}

/// `y = 2.5 * x + 0.125 + 7` from element `first` on, with all else in a struct; the buffers are `x` and `y`.
pub fn by_value(x: &[f32], first: u32) -> Bench {
    let (n, bits) = (x.len() as u32, 0.125f64.to_bits());
    let mut bench = Bench::new(include_str!("../../kernels/by_value.ptx"), "by_value");
    bench.buffers = vec![bytes_of_f32(x), vec![0; x.len() * 4]];
    bench.grid([n.div_ceil(64), 1, 1], [64, 1, 1]).arg(u32_arg(first)).fields(&[
        Arg::Buffer(0),
        u32_arg(n),
        f32_arg(2.5),
        Arg::Scalar { element: Element::F64, bits },
        Arg::Buffer(1),
        Arg::Scalar { element: Element::U8, bits: 7 },
    ])
}

impl Bench {
    pub fn new(text: &str, kernel: &str) -> Self {
        Bench {
            text: text.to_string(),
            kernel: kernel.to_string(),
            grid: [1; 3],
            block: [32, 1, 1],
            shared: 0,
            buffers: Vec::new(),
            args: Vec::new(),
            limits: LIMITS,
            cores: None,
            racy: false,
        }
    }

    pub fn grid(mut self, grid: [u32; 3], block: [u32; 3]) -> Self {
        (self.grid, self.block) = (grid, block);
        self
    }

    /// Adds a buffer and an argument that names it.
    pub fn buffer(mut self, content: Vec<u8>) -> Self {
        self.args.push(Arg::Buffer(self.buffers.len() as u16));
        self.buffers.push(content);
        self
    }

    pub fn arg(mut self, arg: Arg) -> Self {
        self.args.push(arg);
        self
    }

    /// Adds an argument that is a struct.
    pub fn fields(mut self, fields: &[Arg]) -> Self {
        self.args.push(Arg::Struct { fields: fields.len() as u16 });
        self.args.extend(fields);
        self
    }

    pub fn program(&self) -> Program {
        let launch = Launch {
            module: 0,
            kernel: self.kernel.clone(),
            grid: self.grid,
            block: self.block,
            shared_bytes: self.shared,
            args: self.args.clone(),
        };
        let buffers = self.buffers.iter().enumerate().map(|(n, content)| Buffer {
            name: format!("b{n}"),
            bytes: Bytes(content.len() as u64),
            init: Init::Blob(BlobHash::of(content)),
            element: Element::U8,
            shape: vec![content.len() as u64],
            output: true,
        });
        Program {
            modules: vec![Module {
                name: "test.ptx".into(),
                source: Source::Ptx,
                blob: BlobHash::of(self.text.as_bytes()),
                bytes: Bytes(self.text.len() as u64),
            }],
            buffers: buffers.collect(),
            phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
        }
    }

    pub fn load(&self, program: Program) -> Result<LoadedProgram, Fault> {
        let mut blob = |hash: BlobHash, _| {
            let mut all = self.buffers.iter().map(Vec::as_slice).chain([self.text.as_bytes()]);
            let found = all.find(|b| BlobHash::of(b) == hash).expect("the program names its own blobs");
            Ok(found.into())
        };
        LoadedProgram::load(
            program,
            &self.limits,
            &mut Sources { blob: &mut blob, compile: &mut no_compiler },
        )
    }

    /// Runs a program on both engines, which must not be told apart, and gives what the default one says.
    pub fn run_program(&self, program: Program) -> Result<Report, Fault> {
        let cores = if self.racy { Some(1) } else { self.cores };
        let backend = || cores.map_or_else(CpuBackend::default, CpuBackend::with_cores).translating_at_once();
        let run = |mut backend: CpuBackend| {
            let loaded = self.load(program.clone())?;
            backend.run(loaded, &self.limits, &AtomicBool::new(false), &mut |_| {})
        };
        let (native, reference) = (run(backend()), run(backend().interpreting()));
        match (&native, &reference) {
            (Ok(native), Ok(reference)) => {
                assert!(native.outputs == reference.outputs, "the engines' outputs differ\n{}", self.text);
                // Blocks side by side may have to try an atomic operation again.
                let counted = cores == Some(1);
                assert!(!counted || native.instructions == reference.instructions, "\n{}", self.text);
            }
            _ => assert_eq!(native.as_ref().err(), reference.as_ref().err(), "\n{}", self.text),
        }
        if let (Ok(report), Some(_)) = (&native, std::env::var_os(ON_CUDA)) {
            self.hold_against_card(program, report);
        }
        native
    }

    /// The same bits come from a card, where the program has any that are the same everywhere.
    fn hold_against_card(&self, program: Program, expected: &Report) {
        thread_local! {
            static CARD: RefCell<Option<CudaBackend>> = const { RefCell::new(None) };
        }
        let loaded = self.load(program).expect("it was loaded before");
        let module = &loaded.modules()[0].module;
        let exact = module.kernels().all(|kernel| profile(module, kernel) == Profile::Exact);
        if self.racy || !exact || !expected.printed.is_empty() {
            return;
        }
        CARD.with_borrow_mut(|card| {
            let card = card.get_or_insert_with(|| CudaBackend::open(0).expect("a card"));
            let ran = card.run(loaded, &self.limits, &AtomicBool::new(false), &mut |_| {});
            let found = match ran {
                // What this card is too old for, it can't be held to.
                Err(Fault::NoDevice { message }) => return eprintln!("not on this card: {message}"),
                ran => ran.unwrap_or_else(|fault| panic!("{}: {fault}\n{}", card.label(), self.text)),
            };
            assert!(found.outputs == expected.outputs, "{} differs\n{}", card.label(), self.text);
        });
    }

    pub fn run(&self) -> Result<Report, Fault> {
        self.run_program(self.program())
    }

    /// The outputs of a run that must end well.
    pub fn outputs(&self) -> Vec<Vec<u8>> {
        let report = self.run().unwrap_or_else(|fault| panic!("{fault}\n{}", self.text));
        report.outputs.into_iter().map(|o| o.bytes.to_vec()).collect()
    }
}

/// Moves the low bits of `%x` into the register `name` of `class`, or that register into `%x`; `%y` is spoilt.
pub fn register(class: &str, name: &str, load: bool) -> String {
    match (class, load) {
        ("pred", true) => format!("setp.ne.u64 {name}, %x, 0;\n"),
        ("pred", false) => format!("selp.u64 %x, 1, 0, {name};\n"),
        ("b16", true) => format!("cvt.u16.u64 {name}, %x;\n"),
        ("b16", false) => format!("cvt.u64.u16 %x, {name};\n"),
        ("b32", true) => format!("cvt.u32.u64 {name}, %x;\n"),
        ("b32", false) => format!("cvt.u64.u32 %x, {name};\n"),
        ("f32", true) => format!("cvt.u32.u64 %y, %x; mov.b32 {name}, %y;\n"),
        ("f32", false) => format!("mov.b32 %y, {name}; cvt.u64.u32 %x, %y;\n"),
        (_, true) => format!("mov.b64 {name}, %x;\n"),
        (_, false) => format!("mov.b64 %x, {name};\n"),
    }
}

/// Runs `instruction` on `a`, `b`, `c` of the given classes, one thread a row, and gives what is then in `d`.
pub fn rows(instruction: &str, classes: [&str; 3], out: &str, rows: &[[u64; 3]]) -> Vec<u64> {
    let mut text = String::from(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u32 n, .param .u64 in, .param .u64 out)\n{\n\
         .reg .b64 %x, %i, %o, %at; .reg .b32 %y, %t, %u, %v, %n; .reg .pred %q;\n",
    );
    for (name, class) in ["a", "b", "c"].into_iter().zip(classes).chain([("d", out)]) {
        text.push_str(&format!(".reg .{class} {name};\n"));
    }
    text.push_str(
        "mov.u32 %t, %tid.x; mov.u32 %u, %ctaid.x; mov.u32 %v, %ntid.x; mad.lo.u32 %t, %u, %v, %t;\n\
         ld.param.u32 %n, [n]; setp.ge.u32 %q, %t, %n; @%q exit;\n\
         ld.param.u64 %i, [in]; ld.param.u64 %o, [out]; mad.wide.u32 %at, %t, 24, %i;\n",
    );
    for (n, (name, class)) in ["a", "b", "c"].into_iter().zip(classes).enumerate() {
        text.push_str(&format!("ld.global.u64 %x, [%at+{}];\n{}", n * 8, register(class, name, true)));
    }
    text.push_str(&format!("{instruction}\n{}", register(out, "d", false)));
    text.push_str("mad.wide.u32 %at, %t, 8, %o; st.global.u64 [%at], %x; ret;\n}\n");
    let input: Vec<u64> = rows.iter().flatten().copied().collect();
    let blocks = (rows.len() as u32).div_ceil(128);
    let bench = Bench::new(&text, "k").grid([blocks, 1, 1], [128, 1, 1]);
    let bench =
        bench.arg(u32_arg(rows.len() as u32)).buffer(bytes_of_u64(&input)).buffer(vec![0; rows.len() * 8]);
    u64s(&bench.outputs()[1])
}

/// Rows of edge cases and of random bits, from a seed.
pub fn samples(seed: u64, edges: &[u64], count: usize) -> Vec<[u64; 3]> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rows = Vec::new();
    for a in edges {
        for b in edges {
            rows.push([*a, *b, edges[rng.usize(0..edges.len())]]);
        }
    }
    for _ in 0..count {
        rows.push([(); 3].map(|()| rng.u64(..) >> rng.u8(0..64)));
        rows.push([(); 3].map(|()| rng.u64(..)));
    }
    rows
}

/// Holds an instruction against a function of Rust, bit by bit.
pub fn hold(
    instruction: &str,
    classes: [&str; 3],
    out: &str,
    inputs: &[[u64; 3]],
    expected: impl Fn([u64; 3]) -> u64,
) {
    let found = rows(instruction, classes, out, inputs);
    for (row, found) in inputs.iter().zip(found) {
        let expected = expected(*row);
        assert_eq!(found, expected, "`{instruction}` of {row:#x?}: found {found:#x}, expected {expected:#x}");
    }
}
