//! A job as its owner writes it: a TOML manifest beside the files it names.
//!
//! Owns the language (its keys, units and defaults) and [`load`], which reads a manifest to the end and tells every
//! mistake with file, line, what was found and what is expected, before anything is sent anywhere. Never talks to a
//! node. Limits: [`MANIFEST_BYTES_MAX`], those of [`ion_protocol::limits`]. Tests: `tests.rs` beside this file; the
//! examples in `node/jobs` are part of them.
//!
//! ```toml
//! name = "saxpy"
//!
//! [needs]                    # all optional: which devices qualify
//! engine = "cuda"            # or "cpu"
//! models = ["H100", "A100"]  # parts of the model's name
//! memory = "16 GiB"
//! capability = "8.0"
//! f32_gflops = 10000         # measured
//! region = "eu"
//! latency = "50 ms"
//!
//! [limits]                   # all optional: exceeding one ends the job
//! run = "60 s"
//! memory = "1 GiB"           # unless given, what the buffers take
//! price = "1 IO"
//!
//! [[module]]
//! file = "saxpy.ptx"         # or .cu
//! exact = true               # .ptx only: `.approx` written out, the same bits on every device; false unless given
//!
//! [[buffer]]
//! name = "x"
//! element = "f32"
//! shape = [1048576]          # slowest first
//! from = "x.bin"             # zeroed unless given
//!
//! [[buffer]]
//! name = "y"
//! element = "f32"
//! shape = [1048576]
//! output = "y.npy"           # delivered; .png, .npy or .bin
//!
//! [[step]]
//! kernel = "saxpy"
//! module = "saxpy.ptx"       # not needed where there is one only
//! grid = 4096                # or [x, y, z]
//! block = 256
//! shared = "4 KiB"           # dynamic shared memory
//! args = [{ f32 = 2.0 }, { buffer = "x" }, { buffer = "y" }, { u32 = 1048576 }]
//!                            # a struct by value: { struct = [{ buffer = "x" }, { u32 = 16 }] }, laid out as in C
//!
//! [[step]]                   # run in order; a repeat counts
//! repeat = 50
//! steps = [
//!   { kernel = "jacobi", grid = 64, block = 256, args = [{ buffer = "a" }, { buffer = "b" }] },
//!   { swap = ["a", "b"] },
//! ]
//! ```

mod kernels;
mod mistake;
mod page;
mod program;
mod scalar;
mod steps;
#[cfg(test)]
mod tests;

pub use mistake::{ManifestError, Mistake, nearest};
pub use program::is_plain_file_name;

use crate::{config::quantity, control::api::FileRef};
use ion_protocol::{
    BlobHash, Bytes, Millis, NanoIo,
    job::{EngineNeed, Init, JobLimits, JobSpec, Needs, Program},
    limits,
};
use page::{Page, Section, quote};
use program::{BufferDraft, ModuleDraft, number};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use steps::Known;
use toml::de::DeTable;

/// A manifest is written by hand.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Syntax errors told at once: what is no TOML at all is not told line by line.
const SYNTAX_ERRORS_MAX: usize = 10;
/// Run time unless the manifest says otherwise.
pub const RUN_DEFAULT: Millis = Millis(60_000);
/// Price limit unless the manifest says otherwise: 1 IO.
pub const PRICE_DEFAULT: NanoIo = NanoIo(1_000_000_000);

/// A manifest and its files, checked: ready to be submitted.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is asked of a provider.
    pub spec: JobSpec,
    /// Every blob the specification names, each once, where it lies on this machine.
    pub files: Vec<FileRef>,
    /// Where results go.
    pub outputs: Vec<OutputFile>,
}

/// The file a delivered buffer becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Position of the buffer.
    pub buffer: u16,
    /// A plain file name; its ending decides the format.
    pub file: String,
}

/// Reads the manifest at `path` and everything it names.
pub fn load(path: &Path) -> Result<Job, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let not_text =
        |found: String, expected: String| ManifestError::NotText { path: path.to_owned(), found, expected };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        let expected = format!("a TOML text of at most {}", Bytes(MANIFEST_BYTES_MAX));
        return Err(not_text(format!("more than {}", Bytes(MANIFEST_BYTES_MAX)), expected));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let found = format!("no UTF-8 text at byte {}", error.utf8_error().valid_up_to());
        not_text(found, "a TOML text".to_owned())
    })?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let page = Page::new(path.display().to_string(), &text);
    read(page, &text, dir).map_err(|page| ManifestError::Mistakes(page.into_mistakes()))
}

/// The job, or the page with its mistakes.
fn read<'a>(mut page: Page<'a>, text: &'a str, dir: &Path) -> Result<Job, Page<'a>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        page.wrong(error.span().map_or(0, |s| s.start), format!("no TOML: {}", error.message()), "");
    }
    if !errors.is_empty() {
        // What follows a syntax error was guessed by the parser; it is not worth judging.
        return Err(page);
    }
    page.know(root.get_ref());
    let mut root = Section::new(root.get_ref(), 0, "the manifest");
    let name = job_name(&mut page, &mut root);
    let needs = root.get("needs").and_then(|v| page.section(v, "[needs]")).map(|s| needs(&mut page, s));
    let asked = root.get("limits").and_then(|v| page.section(v, "[limits]")).map(|s| asked(&mut page, s));
    let (module_names, modules) = program::modules(&mut page, &mut root, dir);
    let (buffer_names, buffers) = program::buffers(&mut page, &mut root, dir);
    let known = Known { modules: &module_names, buffers: &buffer_names, drafts: &buffers };
    let (phases, placed) = steps::steps(&mut page, &mut root, &known);
    root.finish(&mut page);
    kernels::check(&mut page, &modules, &placed);
    if !page.is_clean() {
        return Err(page);
    }
    let modules: Vec<ModuleDraft> = modules.into_iter().flatten().collect();
    let Some((buffers, mut files, outputs)) = hash_inputs(&mut page, buffers) else { return Err(page) };
    let mut sources =
        modules.iter().map(|m| FileRef { hash: m.module.blob, path: m.path.clone(), bytes: m.module.bytes });
    files.extend(&mut sources);
    dedup(&mut files);
    let program = Program { modules: modules.into_iter().map(|m| m.module).collect(), buffers, phases };
    let asked = asked.unwrap_or_default();
    let needed = program.memory();
    if let Some((memory, at)) = asked.memory.filter(|(memory, _)| *memory < needed) {
        let expected = format!("a memory limit of at least {needed}");
        page.wrong(at, format!("buffers of {needed} under a memory limit of {memory}"), expected);
        return Err(page);
    }
    let limits = JobLimits {
        run: asked.run.unwrap_or(RUN_DEFAULT),
        memory: asked.memory.map_or(needed, |(memory, _)| memory),
        price: asked.price.unwrap_or(PRICE_DEFAULT),
    };
    let spec = JobSpec { name, needs: needs.unwrap_or_default(), limits, program };
    if let Err(error) = spec.check() {
        whole(&mut page, format!("{}: {}", error.place, error.found), error.expected);
    }
    if page.is_clean() { Ok(Job { spec, files, outputs }) } else { Err(page) }
}

fn whole(page: &mut Page<'_>, found: String, expected: String) {
    let file = page.name().to_owned();
    page.push(Mistake { file, line: 0, column: 0, key: String::new(), found, expected });
}

fn job_name(page: &mut Page<'_>, root: &mut Section<'_, '_>) -> String {
    const NAME: &str = "a name for people, 1 to 128 bytes";
    let Some(value) = root.need(page, "name", NAME) else { return String::new() };
    let Some(name) = page.text(value, NAME) else { return String::new() };
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control) {
        page.wrong(value.span().start, format!("a name of {} bytes: \"{}\"", name.len(), quote(name)), NAME);
    }
    name.to_owned()
}

fn needs(page: &mut Page<'_>, mut section: Section<'_, '_>) -> Needs {
    let mut needs = Needs::default();
    const ENGINE: &str = "\"cuda\" or \"cpu\"";
    if let Some((text, at)) = section.text(page, "engine", ENGINE) {
        match text {
            "cuda" => needs.engine = Some(EngineNeed::Cuda),
            "cpu" => needs.engine = Some(EngineNeed::Cpu),
            other => page.wrong(at, format!("engine \"{}\"", quote(other)), ENGINE),
        }
    }
    const MODELS: &str = "parts of model names, like [\"H100\", \"A100\"]";
    const MODELS_MAX: usize = 16;
    if let Some(value) = section.get("models")
        && let Some(list) = page.list(value, MODELS)
    {
        for entry in list {
            let Some(model) = page.text(entry, MODELS) else { continue };
            if model.is_empty() || model.len() > limits::NAME_BYTES_MAX {
                page.wrong(
                    entry.span().start,
                    format!("a model name of {} bytes", model.len()),
                    "1 to 128 bytes",
                );
            }
            needs.models.push(model.to_owned());
        }
        if list.len() > MODELS_MAX {
            page.wrong(value.span().start, format!("{} models", list.len()), format!("at most {MODELS_MAX}"));
        }
    }
    if let Some(bytes) = section.quantity(page, "memory", quantity::BYTES_EXPECTED, quantity::bytes) {
        needs.memory_min = bytes;
    }
    if let Some(found) =
        section.quantity(page, "capability", quantity::CAPABILITY_EXPECTED, quantity::capability)
    {
        needs.capability_min = found;
    }
    const GFLOPS: &str = "measured 10^9 f32 operations a second, like 10000";
    if let Some(gflops) = number(page, &mut section, "f32_gflops", GFLOPS) {
        needs.f32_mflops_min = (gflops * 1e3) as u64;
    }
    const REGION: &str = "how the provider's region begins, like \"eu\"";
    if let Some((text, at)) = section.text(page, "region", REGION) {
        if text.len() > limits::NAME_BYTES_MAX {
            page.wrong(at, format!("a region of {} bytes", text.len()), "at most 128 bytes");
        }
        needs.region = text.to_owned();
    }
    if let Some(latency) = section.quantity(page, "latency", quantity::MILLIS_EXPECTED, quantity::millis) {
        needs.latency_max = latency;
    }
    section.finish(page);
    needs
}

/// The limits a manifest gives.
#[derive(Debug, Default)]
struct Asked {
    run: Option<Millis>,
    /// And where it stands.
    memory: Option<(Bytes, usize)>,
    price: Option<NanoIo>,
}

fn asked(page: &mut Page<'_>, mut section: Section<'_, '_>) -> Asked {
    let run = section.get("run").and_then(|value| {
        let text = page.text(value, quantity::MILLIS_EXPECTED)?;
        let run = page.quantity(value.span().start, quantity::millis(text))?;
        if run == Millis::ZERO || run.0 > limits::RUN_MS_MAX {
            page.wrong(value.span().start, format!("a run time of {run}"), "1 ms to 7 d");
        }
        Some(run)
    });
    let at = section.get("memory").map(|value| value.span().start);
    let memory = section.quantity(page, "memory", quantity::BYTES_EXPECTED, quantity::bytes).zip(at);
    let price = section.quantity(page, "price", quantity::PRICE_EXPECTED, quantity::price);
    section.finish(page);
    Asked { run, memory, price }
}

type Hashed = (Vec<ion_protocol::job::Buffer>, Vec<FileRef>, Vec<OutputFile>);

/// Gives buffers the hashes of their input files; called only when nothing else is wrong, for it reads all of them.
fn hash_inputs(page: &mut Page<'_>, drafts: Vec<BufferDraft>) -> Option<Hashed> {
    let (mut buffers, mut files, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for (position, draft) in drafts.into_iter().enumerate() {
        let mut buffer = draft.buffer?;
        if let Some((path, at)) = draft.from {
            match hash(&path) {
                Ok((hash, bytes)) if bytes == buffer.bytes => {
                    buffer.init = Init::Blob(hash);
                    files.push(FileRef { hash, path: std::path::absolute(&path).unwrap_or(path), bytes });
                }
                Ok((_, bytes)) => {
                    let expected = format!("{}: the file changed while it was read", buffer.bytes);
                    page.wrong(at, format!("{bytes} in \"{}\"", path.display()), expected);
                }
                Err(error) => {
                    let found = format!("\"{}\", which can't be read: {error}", path.display());
                    page.wrong(at, found, "a readable file");
                }
            }
        }
        outputs.extend(draft.output.map(|file| OutputFile { buffer: position as u16, file }));
        buffers.push(buffer);
    }
    page.is_clean().then_some((buffers, files, outputs))
}

fn hash(path: &Path) -> io::Result<(BlobHash, Bytes)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((BlobHash(*hasher.finalize().as_bytes()), Bytes(hasher.count())))
}

fn dedup(files: &mut Vec<FileRef>) {
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|f| seen.insert(f.hash));
    for file in files.iter_mut() {
        file.path = std::path::absolute(&file.path).unwrap_or_else(|_| PathBuf::from(&file.path));
    }
}
