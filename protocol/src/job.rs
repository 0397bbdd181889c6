//! A job: what it needs, what it may cost, and the GPU program it runs. Data only: no host code travels.

mod arg;

pub use arg::{Arg, check_structs, groups, layout};

use crate::{
    codec::{Decode, Encode},
    hardware::{ComputeCapability, Device, Engine},
    ids::BlobHash,
    limits,
    units::{Bytes, Millis, NanoIo},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Everything a provider must know to run a job; its inputs travel as blobs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct JobSpec {
    /// For people.
    pub name: String,
    /// Which devices qualify.
    pub needs: Needs,
    /// What it may use and cost.
    pub limits: JobLimits,
    /// What runs.
    pub program: Program,
}

/// Which devices qualify. Zero, empty or `None` means "any".
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Needs {
    /// The engine, where it matters.
    pub engine: Option<EngineNeed>,
    /// Any of these, case-insensitive parts of the model name (`H100`).
    pub models: Vec<String>,
    /// Memory a job may use on the device.
    #[serde(rename = "memory_bytes_min")]
    pub memory_min: Bytes,
    /// Lowest compute capability.
    pub capability_min: ComputeCapability,
    /// Lowest measured f32 rate, in 10^6 operations a second.
    pub f32_mflops_min: u64,
    /// The advert's region must start with this (`eu`, `eu-west`).
    pub region: String,
    /// Highest measured round trip to the provider.
    #[serde(rename = "latency_ms_max")]
    pub latency_max: Millis,
}

/// An engine asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineNeed {
    /// Real GPU hardware.
    Cuda,
    /// The CPU engine.
    Cpu,
}

impl EngineNeed {
    /// Whether `engine` is one of the kind asked for.
    pub fn admits(self, engine: Engine) -> bool {
        match self {
            EngineNeed::Cuda => engine.is_gpu(),
            EngineNeed::Cpu => !engine.is_gpu(),
        }
    }
}

/// What a job may use and cost; exceeding one ends it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct JobLimits {
    /// Wall time from the first launch to the last byte of output, on one provider.
    #[serde(rename = "run_ms")]
    pub run: Millis,
    /// Device memory: all buffers together.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// Price of one successful run.
    #[serde(rename = "price_nano_io")]
    pub price: NanoIo,
}

/// Modules, buffers, and the order in which kernels are launched on them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Program {
    /// Kernel code.
    pub modules: Vec<Module>,
    /// Device memory, addressed by position.
    pub buffers: Vec<Buffer>,
    /// Run in order.
    pub phases: Vec<Phase>,
}

/// One file of kernels.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Module {
    /// For people and errors: the file name.
    pub name: String,
    /// PTX, or CUDA C to be compiled where an NVRTC is found.
    pub source: Source,
    /// The text.
    pub blob: BlobHash,
    /// The text's length.
    pub bytes: Bytes,
}

/// What a module's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// PTX text, 6.0 to 9.0.
    Ptx,
    /// CUDA C++ text for NVRTC.
    CudaC,
    /// PTX text whose approximate instructions are written out before it runs, so that every device computes the same
    /// bits.
    ExactPtx,
}

/// A named piece of device memory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Buffer {
    /// For people and errors.
    pub name: String,
    /// Size; equals element size times shape.
    pub bytes: Bytes,
    /// What it holds before the first launch.
    pub init: Init,
    /// What it is made of, so that it can be shown.
    pub element: Element,
    /// Extents, slowest first (row-major, as in C and numpy).
    pub shape: Vec<u64>,
    /// Whether it is delivered at the end.
    pub output: bool,
}

/// A buffer's content before the first launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Zero bytes.
    Zero,
    /// A blob of exactly the buffer's size.
    Blob(BlobHash),
}

/// Type of a buffer's elements and of scalar arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Element {
    U8,
    I8,
    U16,
    I16,
    F16,
    Bf16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl Element {
    /// All of them, with the names manifests use.
    pub const ALL: [(&'static str, Element); 12] = [
        ("u8", Element::U8),
        ("i8", Element::I8),
        ("u16", Element::U16),
        ("i16", Element::I16),
        ("f16", Element::F16),
        ("bf16", Element::Bf16),
        ("u32", Element::U32),
        ("i32", Element::I32),
        ("f32", Element::F32),
        ("u64", Element::U64),
        ("i64", Element::I64),
        ("f64", Element::F64),
    ];

    /// Size of one element in bytes.
    pub fn size(self) -> u64 {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 | Element::F16 | Element::Bf16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::U64 | Element::I64 | Element::F64 => 8,
        }
    }

    /// The element type a manifest calls `name`.
    pub fn named(name: &str) -> Option<Element> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, e)| *e)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Self::ALL.iter().find(|(_, e)| e == self).expect("ALL holds every element");
        f.write_str(name)
    }
}

/// Steps run `times` times over: iterative work stays on the provider.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Phase {
    /// How often; 1 for a plain sequence.
    pub times: u32,
    /// In order.
    pub steps: Vec<Step>,
}

/// One thing a program does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Run a kernel over a grid.
    Launch(Launch),
    /// Exchange what two buffers of equal size hold (their names keep their place).
    Swap {
        /// Position of one buffer.
        a: u16,
        /// Position of the other.
        b: u16,
    },
}

/// A kernel over a grid of thread blocks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Launch {
    /// Position of the module.
    pub module: u16,
    /// Entry name in that module.
    pub kernel: String,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// In the order of the kernel's parameters; a struct is one with all of its fields.
    pub args: Vec<Arg>,
}

/// What is wrong with a specification, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {found}; expected {expected}")]
pub struct SpecError {
    /// The part: `buffer "x"`, `launch 3 of phase 1`.
    pub place: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

fn wrong(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> SpecError {
    SpecError { place: place.into(), found: found.into(), expected: expected.into() }
}

fn bounded(place: &str, what: &str, found: u64, max: u64) -> Result<(), SpecError> {
    if found > max {
        return Err(wrong(place, format!("{found} {what}"), format!("at most {max}")));
    }
    Ok(())
}

impl JobSpec {
    /// Checks everything that can be checked without the modules' text. Both sides call it: the requester before
    /// anything is sent, the provider before anything is fetched.
    pub fn check(&self) -> Result<(), SpecError> {
        bounded("the job", "bytes of name", self.name.len() as u64, limits::NAME_BYTES_MAX as u64)?;
        bounded("needs", "models", self.needs.models.len() as u64, 16)?;
        bounded("needs", "bytes of region", self.needs.region.len() as u64, limits::NAME_BYTES_MAX as u64)?;
        if self.needs.models.iter().any(|m| m.is_empty() || m.len() > limits::NAME_BYTES_MAX) {
            return Err(wrong("needs", "an empty or overlong model name", "1 to 128 bytes"));
        }
        if self.limits.run.0 == 0 || self.limits.run.0 > limits::RUN_MS_MAX {
            return Err(wrong("limits", format!("a run time of {}", self.limits.run), "1 ms to 7 days"));
        }
        self.program.check()?;
        let memory = self.program.memory();
        if memory > self.limits.memory {
            return Err(wrong(
                "limits",
                format!("buffers of {memory} under a memory limit of {}", self.limits.memory),
                format!("a memory limit of at least {memory}"),
            ));
        }
        // Last, since only what has passed the rest is surely small enough to be written out for this.
        let bytes = crate::codec::encode(self).len();
        bounded("the job", "bytes of specification", bytes as u64, limits::SPEC_BYTES_MAX as u64)
    }

    /// What a receipt says was computed: a hash over the program, which names every module and input by hash.
    pub fn input_root(&self) -> [u8; 32] {
        blake3::derive_key("ion job input root 1", &crate::codec::encode(&self.program))
    }

    /// Whether a device has what the job needs, apart from region and latency.
    pub fn first_unmet(&self, device: &Device) -> Option<Unmet> {
        let needs = &self.needs;
        let memory = self.program.memory().max(needs.memory_min);
        let model = device.model.to_lowercase();
        if needs.engine.is_some_and(|engine| !engine.admits(device.engine)) {
            Some(Unmet::Engine)
        } else if !needs.models.is_empty() && !needs.models.iter().any(|m| model.contains(&m.to_lowercase()))
        {
            Some(Unmet::Model)
        } else if memory > device.memory {
            Some(Unmet::Memory)
        } else if needs.capability_min > device.capability {
            Some(Unmet::Capability)
        } else if needs.f32_mflops_min > device.power.f32_believed() {
            Some(Unmet::Power)
        } else if !device.nvrtc && self.program.cuda_c().is_some() {
            Some(Unmet::Nvrtc)
        } else {
            None
        }
    }
}

/// The first thing a device lacks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Unmet {
    /// Another engine was asked for.
    Engine,
    /// Another model was asked for.
    Model,
    /// Too little memory.
    Memory,
    /// Compute capability too low.
    Capability,
    /// Measured rate too low.
    Power,
    /// A module is CUDA C, and there is no NVRTC to compile it.
    Nvrtc,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unmet::Engine => "engine",
            Unmet::Model => "model",
            Unmet::Memory => "memory",
            Unmet::Capability => "compute capability",
            Unmet::Power => "measured rate",
            Unmet::Nvrtc => "NVRTC for CUDA C",
        })
    }
}

impl Program {
    /// All buffers together.
    pub fn memory(&self) -> Bytes {
        self.buffers.iter().fold(Bytes::ZERO, |sum, buffer| sum.saturating_add(buffer.bytes))
    }

    /// The first module that NVRTC has to compile.
    pub fn cuda_c(&self) -> Option<&Module> {
        self.modules.iter().find(|module| module.source == Source::CudaC)
    }

    /// Launches with repeats counted out.
    pub fn launches(&self) -> u64 {
        let per = |phase: &Phase| phase.steps.iter().filter(|s| matches!(s, Step::Launch(_))).count() as u64;
        self.phases.iter().fold(0, |sum: u64, p| sum.saturating_add(per(p).saturating_mul(p.times.into())))
    }

    /// Blocks of the last launch; zero where there is none.
    pub fn last_blocks(&self) -> u64 {
        let steps =
            self.phases.iter().filter(|phase| phase.times > 0).rev().flat_map(|p| p.steps.iter().rev());
        let last = steps.into_iter().find_map(|step| match step {
            Step::Launch(launch) => Some(launch),
            Step::Swap { .. } => None,
        });
        last.map_or(0, Launch::blocks)
    }

    /// Steps with repeats counted out.
    fn steps(&self) -> u64 {
        let per = |phase: &Phase| u64::from(phase.times).saturating_mul(phase.steps.len() as u64);
        self.phases.iter().fold(0, |sum: u64, phase| sum.saturating_add(per(phase)))
    }

    /// Everything a provider must hold before it can run: hash and length, each once, in order of first use.
    pub fn blobs(&self) -> Vec<(BlobHash, Bytes)> {
        let mut seen = BTreeSet::new();
        self.named_blobs().filter(|(hash, _)| seen.insert(*hash)).collect()
    }

    fn named_blobs(&self) -> impl Iterator<Item = (BlobHash, Bytes)> + '_ {
        let modules = self.modules.iter().map(|m| (m.blob, m.bytes));
        let inputs = self.buffers.iter().filter_map(|b| match b.init {
            Init::Blob(hash) => Some((hash, b.bytes)),
            Init::Zero => None,
        });
        modules.chain(inputs)
    }

    /// Positions of the buffers that are delivered.
    pub fn outputs(&self) -> impl Iterator<Item = u16> + '_ {
        self.buffers.iter().enumerate().filter(|(_, b)| b.output).map(|(i, _)| i as u16)
    }

    fn check(&self) -> Result<(), SpecError> {
        bounded("the program", "modules", self.modules.len() as u64, limits::MODULES_MAX as u64)?;
        bounded("the program", "buffers", self.buffers.len() as u64, limits::BUFFERS_MAX as u64)?;
        bounded("the program", "phases", self.phases.len() as u64, limits::PHASES_MAX as u64)?;
        bounded("the program", "launches", self.launches(), limits::LAUNCHES_MAX)?;
        bounded("the program", "steps with repeats", self.steps(), limits::STEPS_RUN_MAX)?;
        if self.launches() == 0 {
            return Err(wrong("the program", "no launch", "at least one"));
        }
        for module in &self.modules {
            let place = format!("module \"{}\"", module.name);
            bounded(&place, "bytes of name", module.name.len() as u64, limits::NAME_BYTES_MAX as u64)?;
            bounded(&place, "bytes of text", module.bytes.0, limits::MODULE_BYTES_MAX as u64)?;
        }
        self.buffers.iter().try_for_each(Buffer::check)?;
        self.check_blobs()?;
        for (p, phase) in self.phases.iter().enumerate() {
            bounded(&format!("phase {p}"), "steps", phase.steps.len() as u64, limits::STEPS_MAX as u64)?;
            if phase.steps.is_empty() {
                return Err(wrong(format!("phase {p}"), "no steps", "at least one"));
            }
            for (s, step) in phase.steps.iter().enumerate() {
                let place = format!("step {s} of phase {p}");
                match step {
                    Step::Launch(launch) => self.check_launch(launch, &place)?,
                    Step::Swap { a, b } => self.check_swap(*a, *b, &place)?,
                }
            }
        }
        Ok(())
    }

    /// A hash is of one content, which has one size.
    fn check_blobs(&self) -> Result<(), SpecError> {
        let mut sizes = BTreeMap::new();
        for (hash, bytes) in self.named_blobs() {
            let before = *sizes.entry(hash).or_insert(bytes);
            if before != bytes {
                let found = format!("blob {hash} with {} and with {} bytes", before.0, bytes.0);
                return Err(wrong("the program", found, "one size for one hash"));
            }
        }
        Ok(())
    }

    fn buffer(&self, index: u16, place: &str) -> Result<&Buffer, SpecError> {
        self.buffers.get(usize::from(index)).ok_or_else(|| {
            wrong(place, format!("buffer {index}"), format!("one of the {} buffers", self.buffers.len()))
        })
    }

    fn check_swap(&self, a: u16, b: u16, place: &str) -> Result<(), SpecError> {
        let (a, b) = (self.buffer(a, place)?, self.buffer(b, place)?);
        if a.bytes != b.bytes {
            let found = format!("a swap of \"{}\" ({}) with \"{}\" ({})", a.name, a.bytes, b.name, b.bytes);
            return Err(wrong(place, found, "buffers of equal size"));
        }
        Ok(())
    }

    fn check_launch(&self, launch: &Launch, place: &str) -> Result<(), SpecError> {
        if usize::from(launch.module) >= self.modules.len() {
            let expected = format!("one of the {} modules", self.modules.len());
            return Err(wrong(place, format!("module {}", launch.module), expected));
        }
        bounded(place, "bytes of kernel name", launch.kernel.len() as u64, limits::NAME_BYTES_MAX as u64)?;
        bounded(place, "arguments", launch.args.len() as u64, limits::ARGS_MAX as u64)?;
        bounded(
            place,
            "bytes of shared memory",
            launch.shared_bytes.into(),
            limits::SHARED_BYTES_MAX.into(),
        )?;
        check_extents(launch.grid, launch.block)
            .and_then(|()| check_structs(&launch.args))
            .map_err(|(found, expected)| wrong(place, found, expected))?;
        for arg in &launch.args {
            if let Arg::Buffer(index) = arg {
                self.buffer(*index, place)?;
            }
        }
        Ok(())
    }
}

/// Whether a device can launch this grid of these blocks; `Err` holds what was found and what is expected.
pub fn check_extents(grid: [u32; 3], block: [u32; 3]) -> Result<(), (String, String)> {
    let [gx, gy, gz] = grid;
    if gx == 0 || gy == 0 || gz == 0 || gx > limits::GRID_X_MAX || gy.max(gz) > limits::GRID_YZ_MAX {
        return Err((
            format!("grid {gx} x {gy} x {gz}"),
            "1 to 2147483647 x 65535 x 65535 blocks".to_owned(),
        ));
    }
    let threads = block.iter().map(|&n| u64::from(n)).try_fold(1u64, u64::checked_mul);
    if threads.is_none_or(|n| n == 0 || n > limits::BLOCK_THREADS_MAX) || block[2] > limits::BLOCK_Z_MAX {
        let found = format!("block {} x {} x {}", block[0], block[1], block[2]);
        return Err((found, "1 to 1024 threads, at most 64 in z".to_owned()));
    }
    Ok(())
}

impl Buffer {
    fn check(&self) -> Result<(), SpecError> {
        let place = format!("buffer \"{}\"", self.name);
        bounded(&place, "bytes of name", self.name.len() as u64, limits::NAME_BYTES_MAX as u64)?;
        bounded(&place, "dimensions", self.shape.len() as u64, limits::SHAPE_DIMS_MAX as u64)?;
        bounded(&place, "bytes", self.bytes.0, limits::BUFFER_BYTES_MAX)?;
        let bytes = self.shape.iter().try_fold(self.element.size(), |n, extent| n.checked_mul(*extent));
        if bytes != Some(self.bytes.0) || self.bytes.0 == 0 {
            let found = format!("{} bytes for {} of shape {:?}", self.bytes.0, self.element, self.shape);
            return Err(wrong(place, found, "element size times shape, and not zero"));
        }
        Ok(())
    }
}
