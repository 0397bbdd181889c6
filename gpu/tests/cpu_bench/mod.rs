//! What the CPU engine's tests share: a program of one launch, put together and run.

#![allow(dead_code, reason = "each test file uses its part")]

use ion_gpu::{
    backend::{Backend, Report, RunLimits},
    cpu::CpuBackend,
    program::{LoadedProgram, Sources, no_compiler},
};
use ion_protocol::{
    BlobHash, Bytes, Millis,
    fault::Fault,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
};
use std::sync::atomic::AtomicBool;

pub const LIMITS: RunLimits = RunLimits { run: Millis(60_000), memory: Bytes(1 << 30), fuel: None };

/// One launch with its buffers; every buffer is delivered.
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
            Ok(found.to_vec())
        };
        LoadedProgram::load(
            program,
            &self.limits,
            &mut Sources { blob: &mut blob, compile: &mut no_compiler },
        )
    }

    pub fn run_program(&self, program: Program) -> Result<Report, Fault> {
        let loaded = self.load(program)?;
        let mut backend = self.cores.map_or_else(CpuBackend::default, CpuBackend::with_cores);
        backend.run(loaded, &self.limits, &AtomicBool::new(false), &mut |_| {})
    }

    pub fn run(&self) -> Result<Report, Fault> {
        self.run_program(self.program())
    }

    /// The outputs of a run that must end well.
    pub fn outputs(&self) -> Vec<Vec<u8>> {
        let report = self.run().unwrap_or_else(|fault| panic!("{fault}\n{}", self.text));
        report.outputs.into_iter().map(|o| o.bytes).collect()
    }
}
