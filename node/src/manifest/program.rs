//! Modules and buffers of a manifest, each with the files it names.

use super::{
    mistake::nearest,
    page::{Page, Section, quote, shown},
    steps::Names,
};
use ion_protocol::{
    BlobHash, Bytes,
    job::{Buffer, Element, Init, Module, Source},
    limits,
};
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

/// A module and its text.
#[derive(Debug)]
pub struct ModuleDraft {
    /// As the specification has it.
    pub module: Module,
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A buffer, as far as it is right.
#[derive(Debug)]
pub struct BufferDraft {
    /// As written.
    pub name: String,
    /// As the specification has it, input not hashed yet; `None` where a part of it is wrong.
    pub buffer: Option<Buffer>,
    /// Its input file, and where the manifest names it.
    pub from: Option<(PathBuf, usize)>,
    /// The file its result goes to.
    pub output: Option<String>,
}

const EXACT: &str = "true or false, for a `.ptx` file";
const MODULE_FILE: &str = "the path of a `.ptx` or `.cu` file, relative to the manifest";

/// All `[[module]]`; one that is wrong is left out, but its name stays known.
pub fn modules(
    page: &mut Page<'_>,
    root: &mut Section<'_, '_>,
    dir: &Path,
) -> (Names, Vec<Option<ModuleDraft>>) {
    let mut names = Names::new("module");
    let mut drafts = Vec::new();
    for mut section in root.tables(page, "module") {
        let file = section.need(page, "file", MODULE_FILE);
        let file = file.and_then(|v| Some((page.text(v, MODULE_FILE)?, v.span().start)));
        let given = section.text(page, "name", "a name");
        let base = file.map(|(f, _)| f.rsplit('/').next().unwrap_or(f).to_owned());
        let name = given.map(|(n, _)| n.to_owned()).or(base).unwrap_or_default();
        // Where neither is given, that is told, and a name of nothing is no further mistake.
        if file.is_some() || given.is_some() {
            check_name(page, &name, section.at(), "module");
        }
        names.add(page, &name, section.at());
        let exact = section.get("exact").map(|v| (page.flag(v, EXACT).unwrap_or(false), v.span().start));
        let mut draft = file.and_then(|(file, at)| module(page, file, at, name, dir));
        if let (Some((true, at)), Some(draft)) = (exact, &mut draft) {
            match draft.module.source {
                Source::Ptx | Source::ExactPtx => draft.module.source = Source::ExactPtx,
                Source::CudaC => page.wrong(at, "exact for CUDA C", EXACT),
            }
        }
        drafts.push(draft);
        section.finish(page);
    }
    if drafts.is_empty() && !root.has("module") {
        page.wrong(0, "no module", "at least one `[[module]]` with `file = \"kernels.ptx\"`");
    }
    at_most(page, "modules", drafts.len(), limits::MODULES_MAX);
    (names, drafts)
}

fn module(page: &mut Page<'_>, file: &str, at: usize, name: String, dir: &Path) -> Option<ModuleDraft> {
    let path = dir.join(file);
    let source = match path.extension().and_then(|e| e.to_str()) {
        Some("ptx") => Source::Ptx,
        Some("cu") => Source::CudaC,
        _ => {
            page.wrong(at, format!("a module file \"{}\"", quote(file)), MODULE_FILE);
            return None;
        }
    };
    let bytes = file_bytes(page, &path, file, at)?;
    if bytes > limits::MODULE_BYTES_MAX as u64 {
        let expected = format!("at most {}", Bytes(limits::MODULE_BYTES_MAX as u64));
        page.wrong(at, format!("{} in \"{}\"", Bytes(bytes), quote(file)), expected);
        return None;
    }
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            page.wrong(
                at,
                format!("\"{}\", which can't be read: {error}", quote(file)),
                "a readable text file",
            );
            return None;
        }
    };
    let (blob, bytes) = (BlobHash::of(text.as_bytes()), Bytes(text.len() as u64));
    Some(ModuleDraft { module: Module { name, source, blob, bytes }, path, text })
}

/// The size of a file the manifest names at `at`.
fn file_bytes(page: &mut Page<'_>, path: &Path, file: &str, at: usize) -> Option<u64> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Some(meta.len()),
        Ok(_) => {
            page.wrong(at, format!("\"{}\", which is not a file", quote(file)), "a file");
            None
        }
        Err(error) => {
            let found = format!("\"{}\", which can't be opened: {error}", quote(file));
            page.wrong(at, found, "a file, named relative to the manifest");
            None
        }
    }
}

const ELEMENT: &str = "u8, i8, u16, i16, f16, bf16, u32, i32, f32, u64, i64 or f64";
const SHAPE: &str = "extents, slowest first, like [1024, 1024]";
const FROM: &str = "the path of a file, relative to the manifest, or \"zero\"";
const OUTPUT: &str = "a file name without directories that ends in .png, .npy or .bin";

/// All `[[buffer]]`.
pub fn buffers(page: &mut Page<'_>, root: &mut Section<'_, '_>, dir: &Path) -> (Names, Vec<BufferDraft>) {
    let mut names = Names::new("buffer");
    let mut outputs = BTreeSet::new();
    let mut drafts = Vec::new();
    for mut section in root.tables(page, "buffer") {
        let name = section.need(page, "name", "a name");
        let name = name.and_then(|v| page.text(v, "a name")).unwrap_or_default().to_owned();
        if section.has("name") {
            check_name(page, &name, section.at(), "buffer");
            section.rename(format!("buffer \"{}\"", quote(&name)));
            names.add(page, &name, section.at());
        } else {
            names.skip();
        }
        let element = element(page, &mut section);
        let (shape, shape_at) = shape(page, &mut section).unzip();
        let bytes = match (element, &shape, shape_at) {
            (Some(element), Some(shape), Some(at)) => size(page, &section, at, element, shape),
            _ => None,
        };
        let from = from(page, &mut section, bytes, dir);
        let output = output(page, &mut section, element, shape.as_deref());
        if let Some((file, at)) = &output
            && !outputs.insert(file.to_lowercase())
        {
            page.wrong(*at, format!("a second buffer whose output is \"{file}\""), "another file name");
        }
        let output = output.map(|(file, _)| file);
        let buffer = element.zip(shape).zip(bytes).map(|((element, shape), bytes)| {
            let (init, output) = (Init::Zero, output.is_some());
            Buffer { name: name.clone(), bytes, init, element, shape, output }
        });
        drafts.push(BufferDraft { name, buffer, from, output });
        section.finish(page);
    }
    at_most(page, "buffers", drafts.len(), limits::BUFFERS_MAX);
    (names, drafts)
}

fn element(page: &mut Page<'_>, section: &mut Section<'_, '_>) -> Option<Element> {
    let value = section.need(page, "element", ELEMENT)?;
    let text = page.text(value, ELEMENT)?;
    let element = Element::named(text);
    if element.is_none() {
        let expected = match nearest(text, Element::ALL.map(|(name, _)| name)) {
            Some(meant) => format!("`{meant}`, or another of {ELEMENT}"),
            None => ELEMENT.to_owned(),
        };
        page.wrong(value.span().start, format!("element type `{}`", quote(text)), expected);
    }
    element
}

fn shape(page: &mut Page<'_>, section: &mut Section<'_, '_>) -> Option<(Vec<u64>, usize)> {
    let value = section.need(page, "shape", SHAPE)?;
    if value.get_ref().is_integer() {
        return page.whole(value, 1, u64::MAX, SHAPE).map(|n| (vec![n], value.span().start));
    }
    let list = page.list(value, SHAPE)?;
    if list.is_empty() || list.len() > limits::SHAPE_DIMS_MAX {
        let expected = format!("1 to {} extents", limits::SHAPE_DIMS_MAX);
        page.wrong(value.span().start, format!("{} extents", list.len()), expected);
        return None;
    }
    let extents: Vec<_> = list.iter().map(|v| page.whole(v, 1, u64::MAX, "an extent of 1 or more")).collect();
    let extents = extents.into_iter().collect::<Option<_>>()?;
    Some((extents, value.span().start))
}

fn size(
    page: &mut Page<'_>,
    section: &Section<'_, '_>,
    at: usize,
    element: Element,
    shape: &[u64],
) -> Option<Bytes> {
    let bytes = shape.iter().try_fold(element.size(), |n, extent| n.checked_mul(*extent));
    match bytes.filter(|n| *n <= limits::BUFFER_BYTES_MAX) {
        Some(bytes) => Some(Bytes(bytes)),
        None => {
            let size = bytes.map_or("more than 2^64 bytes".to_owned(), |n| Bytes(n).to_string());
            let expected = format!("at most {}", Bytes(limits::BUFFER_BYTES_MAX));
            page.wrong(at, format!("{size} in {}", section.what()), expected);
            None
        }
    }
}

fn from(
    page: &mut Page<'_>,
    section: &mut Section<'_, '_>,
    bytes: Option<Bytes>,
    dir: &Path,
) -> Option<(PathBuf, usize)> {
    let (file, at) = section.text(page, "from", FROM)?;
    if file == "zero" {
        return None;
    }
    let path = dir.join(file);
    let found = file_bytes(page, &path, file, at)?;
    match bytes {
        Some(expected) if expected.0 != found => {
            let expected = format!("{} bytes: element size times shape", expected.0);
            page.wrong(at, format!("{found} bytes in \"{}\"", quote(file)), expected);
            None
        }
        _ => Some((path, at)),
    }
}

fn output(
    page: &mut Page<'_>,
    section: &mut Section<'_, '_>,
    element: Option<Element>,
    shape: Option<&[u64]>,
) -> Option<(String, usize)> {
    let (file, at) = section.text(page, "output", OUTPUT)?;
    if !is_plain_file_name(file) {
        page.wrong(at, format!("output \"{}\"", quote(file)), OUTPUT);
        return None;
    }
    let format = crate::show::Format::of(file);
    let Some(format) = format else {
        page.wrong(at, format!("output \"{}\"", quote(file)), OUTPUT);
        return None;
    };
    if let (Some(element), Some(shape)) = (element, shape)
        && let Err(error) = format.check(element, shape)
    {
        page.wrong(at, format!("output \"{}\" of {element} {shape:?}", quote(file)), error.to_string());
        return None;
    }
    Some((file.to_owned(), at))
}

/// Whether `name` is one file in whatever directory it is put, on any system, and not a hidden one.
pub fn is_plain_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    let fits = name.len() <= limits::NAME_BYTES_MAX && !name.starts_with('.');
    one && fits && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | ':'))
}

fn check_name(page: &mut Page<'_>, name: &str, at: usize, kind: &str) {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let expected = format!("1 to {} bytes without control characters", limits::NAME_BYTES_MAX);
        page.wrong(at, format!("a {kind} name of {} bytes: \"{}\"", name.len(), quote(name)), expected);
    }
}

fn at_most(page: &mut Page<'_>, what: &str, found: usize, max: usize) {
    if found > max {
        page.wrong(0, format!("{found} {what}"), format!("at most {max}"));
    }
}

/// A quantity that is not a text.
pub fn number(
    page: &mut Page<'_>,
    section: &mut Section<'_, '_>,
    key: &'static str,
    expected: &str,
) -> Option<f64> {
    let value = section.get(key)?;
    let text = match (value.get_ref().as_float(), value.get_ref().as_integer()) {
        (Some(float), _) => Some(float.as_str().to_owned()),
        (None, Some(n)) if n.radix() == 10 => Some(n.as_str().to_owned()),
        _ => None,
    };
    let number = text.and_then(|t| t.parse::<f64>().ok()).filter(|n| n.is_finite() && *n >= 0.0);
    if number.is_none() {
        page.wrong(value.span().start, shown(value.get_ref()), expected);
    }
    number
}
