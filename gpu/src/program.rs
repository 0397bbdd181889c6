//! A program ready to run: its modules read, its buffers filled, every launch held against its kernel.
//!
//! Owns: [`LoadedProgram`] and everything that can be wrong with a program before a device is touched.
//! Never: runs anything, fetches anything: texts and first contents come through [`Sources`].
//! Limits: those of `ptx::limits`, `ion_protocol::limits` and [`RunLimits`].
//! Tests: `gpu/tests/cpu_programs.rs`.

use crate::{
    backend::RunLimits,
    pages::AlignedBytes,
    ptx::{self, Function, Module, ir::Param, ir::Space, words::Kind},
};
use ion_protocol::{
    BlobHash, Bytes,
    fault::Fault,
    job::{Arg, Element, Init, Launch, Program, Source, Step, check_extents, check_structs, groups, layout},
    limits,
};
use std::{borrow::Cow, collections::HashMap};

/// Where texts and first contents come from.
pub struct Sources<'a> {
    /// The bytes of a blob; their number is checked here, their hash by whoever fetched them.
    pub blob: &'a mut dyn FnMut(BlobHash, Bytes) -> Result<AlignedBytes, Fault>,
    /// CUDA C to PTX; takes the module's name and text. [`no_compiler`] where there is none.
    pub compile: &'a mut dyn FnMut(&str, &str) -> Result<String, Fault>,
}

/// The compiler of a machine that has none.
pub fn no_compiler(name: &str, _: &str) -> Result<String, Fault> {
    let message = format!("module `{name}` is CUDA C and no NVRTC is found here; compile it to PTX first");
    Err(Fault::NoDevice { message })
}

/// One module, read and checked.
#[derive(Debug, Clone)]
pub struct LoadedModule {
    pub name: String,
    pub module: Module,
}

/// A program of which everything that can be checked beforehand has been.
#[derive(Debug, Clone)]
pub struct LoadedProgram {
    program: Program,
    modules: Vec<LoadedModule>,
    /// First content of each buffer; `None` for zeros.
    contents: Vec<Option<AlignedBytes>>,
    keeps_states: bool,
}

fn wrong(message: String) -> Fault {
    Fault::Program { message }.bounded()
}

impl LoadedProgram {
    /// Fetches, reads and checks all of `program`.
    pub fn load(program: Program, limits: &RunLimits, sources: &mut Sources<'_>) -> Result<Self, Fault> {
        let mut loaded = Self::load_code(program, limits, sources)?;
        for (buffer, content) in loaded.program.buffers.iter().zip(&mut loaded.contents) {
            *content = match buffer.init {
                Init::Zero => None,
                Init::Blob(hash) => Some(fetch(&buffer.name, hash, buffer.bytes, sources)?),
            };
        }
        Ok(loaded)
    }

    /// As [`Self::load`], without the first contents: for whoever reads of them only what is touched.
    pub fn load_code(program: Program, limits: &RunLimits, sources: &mut Sources<'_>) -> Result<Self, Fault> {
        count("modules", program.modules.len(), limits::MODULES_MAX)?;
        count("buffers", program.buffers.len(), limits::BUFFERS_MAX)?;
        count("phases", program.phases.len(), limits::PHASES_MAX)?;
        if program.launches() > limits::LAUNCHES_MAX {
            let (found, max) = (program.launches(), limits::LAUNCHES_MAX);
            return Err(wrong(format!("{found} launches; expected at most {max}")));
        }
        // Sizes come before contents: nothing is fetched for a program that cannot fit.
        if program.memory() > limits.memory {
            return Err(Fault::Memory { needed: program.memory(), limit: limits.memory });
        }
        let modules: Vec<LoadedModule> =
            program.modules.iter().map(|m| load_module(m, sources)).collect::<Result<_, _>>()?;
        let variables: u64 = modules.iter().flat_map(|m| &m.module.variables).map(|v| v.bytes()).sum();
        let needed = program.memory().saturating_add(Bytes(variables));
        if needed > limits.memory {
            return Err(Fault::Memory { needed, limit: limits.memory });
        }
        check_steps(&program, &modules)?;
        let contents = vec![None; program.buffers.len()];
        Ok(LoadedProgram { program, modules, contents, keeps_states: false })
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    pub fn modules(&self) -> &[LoadedModule] {
        &self.modules
    }

    /// Takes the first content of a buffer away, so that a large one need not be held twice. `None` for zeros.
    pub fn take_content(&mut self, buffer: u16) -> Option<AlignedBytes> {
        self.contents.get_mut(usize::from(buffer)).and_then(Option::take)
    }

    /// Has the memory between launches taken down when it runs; see [`crate::states`].
    pub fn keep_states(&mut self) {
        self.keeps_states = true;
    }

    /// Whether that was asked for.
    pub fn keeps_states(&self) -> bool {
        self.keeps_states
    }

    /// All steps in order, repeats counted out.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.program.phases.iter().flat_map(|p| (0..p.times).flat_map(|_| &p.steps))
    }

    /// The kernel of a launch of this program.
    pub fn kernel(&self, launch: &Launch) -> Result<&Function, Fault> {
        kernel(&self.modules, launch)
    }
}

fn count(what: &str, found: usize, max: usize) -> Result<(), Fault> {
    if found > max {
        return Err(wrong(format!("{found} {what}; expected at most {max}")));
    }
    Ok(())
}

fn fetch(name: &str, hash: BlobHash, bytes: Bytes, sources: &mut Sources<'_>) -> Result<AlignedBytes, Fault> {
    let content = (sources.blob)(hash, bytes)?;
    if content.len() as u64 != bytes.0 {
        let found = Bytes(content.len() as u64);
        return Err(Fault::Inputs { message: format!("`{name}` came with {found}; expected {bytes}") });
    }
    Ok(content)
}

fn load_module(module: &ion_protocol::job::Module, sources: &mut Sources<'_>) -> Result<LoadedModule, Fault> {
    let name = module.name.clone();
    if module.bytes.0 > limits::MODULE_BYTES_MAX as u64 {
        let max = Bytes(limits::MODULE_BYTES_MAX as u64);
        return Err(wrong(format!("module `{name}` has {}; expected at most {max}", module.bytes)));
    }
    let text = fetch(&name, module.blob, module.bytes, sources)?;
    let text = std::str::from_utf8(&text)
        .map_err(|_| wrong(format!("module `{name}` is not UTF-8 text; give PTX or CUDA C, not a binary")))?;
    let text = match module.source {
        Source::Ptx | Source::ExactPtx => Cow::from(text),
        Source::CudaC => (sources.compile)(&name, text)?.into(),
    };
    let refused = |refusal: ptx::Refusal| {
        let (line, column) = (refusal.at.line, refusal.at.column);
        Fault::Ptx { module: name.clone(), line, column, message: refusal.what.to_string() }.bounded()
    };
    let mut parsed = ptx::parse(&text).map_err(refused)?;
    if module.source == Source::ExactPtx {
        parsed = ptx::exact(&parsed).map_err(refused)?;
    }
    Ok(LoadedModule { name, module: parsed })
}

fn kernel<'a>(modules: &'a [LoadedModule], launch: &Launch) -> Result<&'a Function, Fault> {
    let Some(module) = modules.get(usize::from(launch.module)) else {
        let count = modules.len();
        return Err(wrong(format!("a launch names module {}; expected one of {count}", launch.module)));
    };
    module.module.kernel(&launch.kernel).ok_or_else(|| {
        let mut names: Vec<&str> = module.module.kernels().map(|k| k.name.as_str()).collect();
        names.sort_unstable();
        names.truncate(8);
        let (name, found) = (&module.name, &launch.kernel);
        wrong(format!("module `{name}` has no kernel `{found}`; it has {}", names.join(", ")))
    })
}

fn check_steps(program: &Program, modules: &[LoadedModule]) -> Result<(), Fault> {
    let mut shared = HashMap::new();
    for (p, phase) in program.phases.iter().enumerate() {
        count("steps in a phase", phase.steps.len(), limits::STEPS_MAX)?;
        for (s, step) in phase.steps.iter().enumerate() {
            let place = format!("step {s} of phase {p}");
            match step {
                Step::Launch(launch) => {
                    // Found once a kernel: it takes a walk through all of its instructions.
                    let key = (launch.module, launch.kernel.as_str());
                    let fixed = match shared.get(&key) {
                        Some(fixed) => *fixed,
                        None => {
                            let function = kernel(modules, launch)?;
                            let module = &modules[usize::from(launch.module)].module;
                            let fixed = shared_bytes(module, &ptx::reachable(module, function));
                            shared.insert(key, fixed);
                            fixed
                        }
                    };
                    check_launch(program, modules, launch, fixed, &place)?;
                }
                Step::Swap { a, b } => check_swap(program, *a, *b, &place)?,
            }
        }
    }
    Ok(())
}

fn check_swap(program: &Program, a: u16, b: u16, place: &str) -> Result<(), Fault> {
    let get = |n: u16| program.buffers.get(usize::from(n));
    match (get(a), get(b)) {
        (Some(x), Some(y)) if x.bytes == y.bytes => Ok(()),
        (Some(x), Some(y)) => {
            let message = format!(
                "{place}: swaps `{}` ({}) with `{}` ({}); expected equal sizes",
                x.name, x.bytes, y.name, y.bytes
            );
            Err(wrong(message))
        }
        _ => {
            let count = program.buffers.len();
            Err(wrong(format!("{place}: swaps buffers {a} and {b}; expected two of the {count}")))
        }
    }
}

fn check_launch(
    program: &Program,
    modules: &[LoadedModule],
    launch: &Launch,
    fixed_shared: u64,
    place: &str,
) -> Result<(), Fault> {
    let function = kernel(modules, launch)?;
    let name = &launch.kernel;
    let refuse = |found: String, expected: String| {
        Err(wrong(format!("{place}: kernel `{name}`: {found}; expected {expected}")))
    };
    if let Err((found, expected)) = check_extents(launch.grid, launch.block) {
        return refuse(found, expected);
    }
    let threads = |extents: [u32; 3]| extents.iter().map(|n| u64::from(*n)).product::<u64>();
    if let Some(max) = function.maxntid.filter(|max| threads(launch.block) > threads(*max)) {
        return refuse(
            format!("blocks of {}", threads(launch.block)),
            format!("at most {} threads", threads(max)),
        );
    }
    if let Some(required) = function.reqntid.filter(|r| *r != launch.block) {
        return refuse(format!("block {:?}", launch.block), format!("{required:?}, as the kernel requires"));
    }
    let shared = fixed_shared + u64::from(launch.shared_bytes);
    if shared > u64::from(limits::SHARED_BYTES_MAX) {
        let max = limits::SHARED_BYTES_MAX;
        return refuse(format!("{shared} bytes of shared memory"), format!("at most {max}"));
    }
    check_args(program, function, &launch.args).or_else(|(found, expected)| refuse(found, expected))
}

/// `Err` holds what was found and what is expected.
fn check_args(program: &Program, function: &Function, args: &[Arg]) -> Result<(), (String, String)> {
    check_structs(args)?;
    let (found, expected) = (groups(args).count(), function.params.len());
    if found != expected {
        return Err((format!("{found} arguments"), expected.to_string()));
    }
    let count = program.buffers.len();
    for (n, (given, param)) in groups(args).zip(&function.params).enumerate() {
        let absent = |arg: &Arg| match arg {
            Arg::Buffer(index) => (usize::from(*index) >= count).then_some(*index),
            Arg::Scalar { .. } | Arg::Struct { .. } => None,
        };
        if let Some(index) = given.iter().find_map(absent) {
            return Err((
                format!("argument {n} names buffer {index}"),
                format!("one of the {count} buffers"),
            ));
        }
        if !accepts(param, given) {
            return Err((format!("argument {n} is {}", what_is(given)), what_fits(param)));
        }
    }
    Ok(())
}

/// Static shared memory of a kernel with what it calls, laid out as the CPU engine does.
pub fn shared_bytes(module: &Module, functions: &[&Function]) -> u64 {
    let own = functions
        .iter()
        .fold(0, |end, f| ptx::limits::aligned(end, 16) + ptx::limits::layout_bytes(f, Space::Shared));
    let used = ptx::used_variables(module, functions);
    module
        .variables
        .iter()
        .zip(used)
        .filter(|(v, used)| *used && v.space == Space::Shared)
        .fold(own, |end, (v, _)| ptx::limits::aligned(end, v.align) + v.bytes())
}

/// Whether the arguments of one parameter (see [`groups`]) have its size and kind.
pub fn accepts(param: &Param, given: &[Arg]) -> bool {
    let Some((kind, bits)) = param.element.kind() else { return false };
    let bytes = u64::from(param.bytes());
    match given {
        [Arg::Struct { .. }, ..] => (param.count.is_some() || bits == 128) && layout(given).1 == bytes,
        [Arg::Buffer(_)] => param.count.is_none() && bits == 64 && kind != Kind::Float,
        // A small struct, such as a half-precision number, arrives as an array of bytes.
        [Arg::Scalar { element, .. }] if param.count.is_some() => bytes == element.size(),
        [Arg::Scalar { element, .. }] => {
            let float = matches!(element, Element::F16 | Element::Bf16 | Element::F32 | Element::F64);
            let kinds = match kind {
                Kind::Bits => true,
                Kind::Unsigned | Kind::Signed => !float || bits == 16,
                Kind::Float => matches!(element, Element::F16 | Element::F32 | Element::F64),
                Kind::Bfloat => *element == Element::Bf16,
                Kind::Pair | Kind::IntPair | Kind::BytePair | Kind::Element | Kind::Predicate => false,
            };
            kinds && u64::from(bits) == element.size() * 8
        }
        _ => false,
    }
}

/// What is given to one parameter, for messages; of a struct also where its fields are.
pub fn what_is(given: &[Arg]) -> String {
    let name = |arg: &Arg| match arg {
        Arg::Buffer(_) => "buffer".to_owned(),
        Arg::Scalar { element, .. } => element.to_string(),
        Arg::Struct { .. } => "struct".to_owned(),
    };
    match given {
        [Arg::Scalar { element, .. }] => format!("a number of type {element}"),
        [Arg::Struct { .. }, ..] => {
            let (fields, bytes) = layout(given);
            let fields: Vec<String> =
                fields.iter().map(|(at, arg)| format!("{} at {at}", name(arg))).collect();
            format!("a struct of {bytes} bytes ({})", fields.join(", "))
        }
        _ => "a buffer".to_owned(),
    }
}

/// What a parameter takes, for messages.
pub fn what_fits(param: &Param) -> String {
    let (text, bytes) = (param.element.text(), param.bytes());
    match (text, param.count) {
        (_, Some(count)) if matches!(bytes, 1 | 2 | 4 | 8) => {
            format!("a struct or a number of {bytes} bytes (.{text}[{count}])")
        }
        (_, Some(count)) => format!("a struct of {bytes} bytes (.{text}[{count}])"),
        ("u64" | "s64" | "b64", None) => format!("a buffer or a number (.{text})"),
        ("b128", None) => "a struct of 16 bytes (.b128)".into(),
        (_, None) => format!("a number (.{text})"),
    }
}

/// Every value of a launch, and where it is in the parameter block.
pub fn values(function: &Function, launch: &Launch) -> impl Iterator<Item = (u64, Arg)> {
    function.params.iter().zip(groups(&launch.args)).flat_map(|(param, given)| {
        layout(given).0.into_iter().map(|(at, arg)| (u64::from(param.offset) + at, arg))
    })
}

/// The parameter block of a launch; `address` gives where a buffer lives.
pub fn param_block(function: &Function, launch: &Launch, address: impl Fn(u16) -> u64) -> Vec<u8> {
    let mut block = vec![0u8; function.param_bytes() as usize];
    for (at, arg) in values(function, launch) {
        let bits = match arg {
            Arg::Buffer(index) => address(index),
            Arg::Scalar { bits, .. } => bits,
            Arg::Struct { .. } => continue,
        };
        let (start, size) = (at as usize, arg.size().unwrap_or(0) as usize);
        if let Some(place) = block.get_mut(start..start + size) {
            place.copy_from_slice(&bits.to_le_bytes()[..size]);
        }
    }
    block
}
