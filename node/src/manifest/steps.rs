//! The `[[step]]` of a manifest: launches, swaps, and counted repeats of them.

use super::{
    mistake::nearest,
    page::{Key, Page, Section, Value, quote, shown},
    program::BufferDraft,
    scalar,
};
use crate::config::quantity;
use ion_protocol::{
    Bytes,
    job::{Arg, Element, Launch, Phase, Step, check_extents},
    limits,
};

/// Names of one kind, in order, and whether each can be found.
#[derive(Debug)]
pub struct Names {
    kind: &'static str,
    names: Vec<String>,
}

impl Names {
    /// None yet, of `kind`.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, names: Vec::new() }
    }

    /// The next name; two things of one name are a mistake at `at`.
    pub fn add(&mut self, page: &mut Page<'_>, name: &str, at: usize) {
        if !name.is_empty() && self.names.iter().any(|n| n == name) {
            let expected = format!("another name for each {}", self.kind);
            page.wrong(at, format!("a second {} \"{}\"", self.kind, quote(name)), expected);
        }
        self.names.push(name.to_owned());
    }

    /// The next one has no name.
    pub fn skip(&mut self) {
        self.names.push(String::new());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The position of `name`, or a mistake at `at`.
    fn find(&self, page: &mut Page<'_>, name: &str, at: usize) -> Option<u16> {
        let position = self.names.iter().position(|n| n == name && !name.is_empty());
        if position.is_none() {
            let named: Vec<&str> = self.names.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
            let expected = match nearest(name, named.iter().copied()) {
                Some(meant) => format!("`{meant}`"),
                None if named.is_empty() => format!("a `[[{}]]` of this name", self.kind),
                None => format!("one of `{}`", named.join("`, `")),
            };
            page.wrong(at, format!("unknown {} \"{}\"", self.kind, quote(name)), expected);
        }
        position.and_then(|p| u16::try_from(p).ok())
    }
}

/// What steps speak of.
#[derive(Debug)]
pub struct Known<'a> {
    /// The modules' names.
    pub modules: &'a Names,
    /// The buffers' names.
    pub buffers: &'a Names,
    /// The buffers, as far as they are right.
    pub drafts: &'a [BufferDraft],
}

/// A launch with the place the manifest gives it, to be checked against its module.
#[derive(Debug)]
pub struct Placed {
    /// The launch.
    pub launch: Launch,
    /// Where its step begins.
    pub at: usize,
    /// Where the kernel's name stands.
    pub kernel_at: usize,
    /// Where the block stands.
    pub block_at: usize,
    /// Where the arguments stand.
    pub args_at: usize,
    /// Where each of them stands.
    pub each_at: Vec<usize>,
}

/// All `[[step]]`, as phases; and every launch that is right by itself.
pub fn steps(
    page: &mut Page<'_>,
    root: &mut Section<'_, '_>,
    known: &Known<'_>,
) -> (Vec<Phase>, Vec<Placed>) {
    let (mut phases, mut placed): (Vec<Phase>, Vec<Placed>) = (Vec::new(), Vec::new());
    let mut open = false;
    for mut section in root.tables(page, "step") {
        if section.has("repeat") || section.has("steps") {
            phases.extend(repeat(page, section, known, &mut placed));
            open = false;
            continue;
        }
        section.rename("[[step]]".to_owned());
        let Some(step) = step(page, section, known, &mut placed) else { continue };
        match phases.last_mut().filter(|p| open && p.steps.len() < limits::STEPS_MAX) {
            Some(phase) => phase.steps.push(step),
            None => phases.push(Phase { times: 1, steps: vec![step] }),
        }
        open = true;
    }
    if !root.has("step") {
        page.wrong(0, "no step", "at least one `[[step]]` that names a kernel");
    }
    (phases, placed)
}

fn repeat(
    page: &mut Page<'_>,
    mut section: Section<'_, '_>,
    known: &Known<'_>,
    placed: &mut Vec<Placed>,
) -> Option<Phase> {
    section.rename("a repeated [[step]]".to_owned());
    const TIMES: &str = "how often, from 1 to 1000000";
    const _: () = assert!(limits::LAUNCHES_MAX == 1_000_000);
    let times = section.need(page, "repeat", TIMES);
    let times = times.and_then(|v| page.whole(v, 1, limits::LAUNCHES_MAX, TIMES));
    const STEPS: &str = "the steps to repeat, like [{ kernel = \"k\", .. }, { swap = [\"a\", \"b\"] }]";
    let list = section.need(page, "steps", STEPS).and_then(|v| page.list(v, STEPS).map(|l| (v, l)));
    let (at, what) = (section.at(), section.what().to_owned());
    section.finish(page);
    let (value, list) = list?;
    if list.is_empty() || list.len() > limits::STEPS_MAX {
        let expected = format!("1 to {} steps", limits::STEPS_MAX);
        page.wrong(value.span().start, format!("{} steps in {what}", list.len()), expected);
    }
    let mut steps = Vec::new();
    for entry in list {
        let Some(inner) = page.section(entry, "a launch or a swap") else { continue };
        if inner.has("repeat") || inner.has("steps") {
            page.wrong(inner.at(), "a repeat inside a repeat", "launches and swaps; repeats do not nest");
            continue;
        }
        steps.extend(step(page, inner, known, placed));
    }
    if !steps.is_empty() && steps.iter().all(|s| matches!(s, Step::Swap { .. })) && steps.len() == list.len()
    {
        page.wrong(at, format!("no launch in {what}"), "at least one kernel to repeat");
    }
    Some(Phase { times: u32::try_from(times?).ok()?, steps })
}

fn step(
    page: &mut Page<'_>,
    mut section: Section<'_, '_>,
    known: &Known<'_>,
    placed: &mut Vec<Placed>,
) -> Option<Step> {
    match (section.has("kernel"), section.has("swap")) {
        (_, false) => launch(page, section, known, placed).map(Step::Launch),
        (false, true) => swap(page, section, known),
        (true, true) => {
            page.wrong(section.at(), "both `kernel` and `swap` in one step", "one of the two");
            for key in ["kernel", "swap", "module", "grid", "block", "shared", "args"] {
                section.get(key);
            }
            section.finish(page);
            None
        }
    }
}

fn swap(page: &mut Page<'_>, mut section: Section<'_, '_>, known: &Known<'_>) -> Option<Step> {
    const SWAP: &str = "two buffers of equal size, like [\"a\", \"b\"]";
    let value = section.get("swap")?;
    section.finish(page);
    let [a, b] = page.list(value, SWAP)? else {
        page.wrong(value.span().start, shown(value.get_ref()), SWAP);
        return None;
    };
    let position = |page: &mut Page<'_>, v: Value<'_, '_>| {
        let name = page.text(v, "a buffer's name")?;
        known.buffers.find(page, name, v.span().start)
    };
    let (a, b) = (position(page, a), position(page, b));
    let (a, b) = (a?, b?);
    if a == b {
        page.wrong(value.span().start, "a swap of a buffer with itself", SWAP);
    }
    let size = |i: u16| known.drafts.get(usize::from(i)).and_then(|d| d.buffer.as_ref()).map(|b| b.bytes);
    if let (Some(left), Some(right)) = (size(a), size(b))
        && left != right
    {
        let name = |i: u16| quote(&known.drafts[usize::from(i)].name);
        let found = format!("a swap of \"{}\" ({} B) with \"{}\" ({} B)", name(a), left.0, name(b), right.0);
        page.wrong(value.span().start, found, "buffers of equal size");
    }
    Some(Step::Swap { a, b })
}

const KERNEL: &str = "the name of a kernel in the module";
const GRID: &str = "blocks in x, or in [x, y, z]";
const BLOCK: &str = "threads of a block in x, or in [x, y, z]";

fn launch(
    page: &mut Page<'_>,
    mut section: Section<'_, '_>,
    known: &Known<'_>,
    placed: &mut Vec<Placed>,
) -> Option<Launch> {
    let at = section.at();
    let kernel = section.need(page, "kernel", KERNEL);
    let kernel_at = place(kernel, at);
    let kernel = kernel.and_then(|v| page.text(v, KERNEL));
    if let Some(name) = kernel {
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
            page.wrong(at, format!("a kernel name of {} bytes", name.len()), "1 to 128 bytes");
        }
        section.rename(format!("the launch of `{}`", quote(name)));
    }
    let module = module_of(page, &mut section, known);
    let grid = section
        .need(page, "grid", GRID)
        .and_then(|v| extents(page, v, GRID, |grid| check_extents(grid, [1; 3])));
    let block = section.need(page, "block", BLOCK);
    let block_at = place(block, at);
    let block = block.and_then(|v| extents(page, v, BLOCK, |block| check_extents([1; 3], block)));
    let shared = match section.get("shared") {
        Some(value) => shared_bytes(page, value),
        None => Some(0),
    };
    let list = section.get("args");
    let args_at = place(list, at);
    let args = list.map(|v| args(page, v, known));
    section.finish(page);
    let (args, each_at) = args.unwrap_or(Some((Vec::new(), Vec::new())))?;
    let (module, kernel, shared_bytes) = (module?, kernel?.to_owned(), shared?);
    let launch = Launch { module, kernel, grid: grid?, block: block?, shared_bytes, args };
    placed.push(Placed { launch: launch.clone(), at, kernel_at, block_at, args_at, each_at });
    Some(launch)
}

/// Where a value stands, or else what it is missing from.
fn place(value: Option<Value<'_, '_>>, section: usize) -> usize {
    value.map_or(section, |v| v.span().start)
}

fn module_of(page: &mut Page<'_>, section: &mut Section<'_, '_>, known: &Known<'_>) -> Option<u16> {
    const MODULE: &str = "a module's file name or name";
    match section.text(page, "module", MODULE) {
        Some((name, at)) => known.modules.find(page, name, at),
        None if section.has("module") => None,
        None if known.modules.len() > 1 => {
            let expected = format!("`module =`, one of `{}`", known.modules.names.join("`, `"));
            page.wrong(section.at(), format!("no `module` in {}", section.what()), expected);
            None
        }
        // With no module at all, that is the mistake, and it is told already.
        None => (known.modules.len() == 1).then_some(0),
    }
}

fn extents(
    page: &mut Page<'_>,
    value: Value<'_, '_>,
    expected: &str,
    check: impl Fn([u32; 3]) -> Result<(), (String, String)>,
) -> Option<[u32; 3]> {
    let max = u64::from(u32::MAX);
    let mut extents = [1; 3];
    if value.get_ref().is_integer() {
        extents[0] = page.whole(value, 0, max, expected)? as u32;
    } else {
        let list = page.list(value, expected)?;
        if !(1..=3).contains(&list.len()) {
            page.wrong(value.span().start, shown(value.get_ref()), expected);
            return None;
        }
        let numbers: Vec<_> = list.iter().map(|v| page.whole(v, 0, max, "a whole number")).collect();
        for (extent, number) in extents.iter_mut().zip(numbers) {
            *extent = number? as u32;
        }
    }
    if let Err((found, expected)) = check(extents) {
        page.wrong(value.span().start, found, expected);
        return None;
    }
    Some(extents)
}

fn shared_bytes(page: &mut Page<'_>, value: Value<'_, '_>) -> Option<u32> {
    let max = u64::from(limits::SHARED_BYTES_MAX);
    let expected =
        format!("dynamic shared memory of a block, at most {}, like 4096 or \"4 KiB\"", Bytes(max));
    let bytes = match value.get_ref().as_str() {
        Some(text) => page.quantity(value.span().start, quantity::bytes(text))?.0,
        None => return page.whole(value, 0, max, &expected).map(|n| n as u32),
    };
    if bytes > max {
        page.wrong(value.span().start, shown(value.get_ref()), expected);
        return None;
    }
    u32::try_from(bytes).ok()
}

const ARGS: &str = "a list like [{ buffer = \"x\" }, { f32 = 2.0 }]";
const ARG: &str =
    "{ buffer = \"name\" }, a typed number like { f32 = 2.0 }, or { struct = [..] } with fields like these";

/// All arguments with the fields of structs among them, and where each parameter's begins.
fn args(page: &mut Page<'_>, value: Value<'_, '_>, known: &Known<'_>) -> Option<(Vec<Arg>, Vec<usize>)> {
    let list = page.list(value, ARGS)?;
    let args: Vec<Option<Vec<Arg>>> = list.iter().map(|entry| arg(page, entry, known)).collect();
    let count: usize = args.iter().map(|arg| arg.as_ref().map_or(1, Vec::len)).sum();
    if count > limits::ARGS_MAX {
        let found = format!("{count} arguments, structs and each of their fields counted");
        page.wrong(value.span().start, found, format!("at most {}", limits::ARGS_MAX));
    }
    let places = list.iter().map(|entry| entry.span().start).collect();
    Some((args.into_iter().collect::<Option<Vec<_>>>()?.concat(), places))
}

/// The arguments of one parameter.
fn arg(page: &mut Page<'_>, entry: Value<'_, '_>, known: &Known<'_>) -> Option<Vec<Arg>> {
    let (key, value) = typed(page, entry)?;
    if key.get_ref() != "struct" {
        return number_or_buffer(page, key, value, known).map(|arg| vec![arg]);
    }
    const FIELDS: &str = "its fields in order, like [{ buffer = \"x\" }, { u32 = 4096 }]";
    let list = page.list(value, FIELDS)?;
    if list.is_empty() || list.len() >= limits::ARGS_MAX {
        let expected = format!("1 to {}", limits::ARGS_MAX - 1);
        page.wrong(value.span().start, format!("a struct of {} fields", list.len()), expected);
        return None;
    }
    let fields: Vec<Option<Arg>> = list.iter().map(|entry| field(page, entry, known)).collect();
    let head = Arg::Struct { fields: u16::try_from(list.len()).ok()? };
    std::iter::once(Some(head)).chain(fields).collect()
}

fn field(page: &mut Page<'_>, entry: Value<'_, '_>, known: &Known<'_>) -> Option<Arg> {
    let (key, value) = typed(page, entry)?;
    if key.get_ref() == "struct" {
        page.wrong(key.span().start, "a struct inside a struct", "its fields in its place, and its padding");
        return None;
    }
    number_or_buffer(page, key, value, known)
}

/// The one key of an argument, which says what it is, and its value.
fn typed<'t, 'i>(page: &mut Page<'_>, entry: Value<'t, 'i>) -> Option<(Key<'t, 'i>, Value<'t, 'i>)> {
    let Some(table) = entry.get_ref().as_table() else {
        page.wrong(entry.span().start, shown(entry.get_ref()), ARG);
        return None;
    };
    let mut pairs = table.iter();
    let (Some(pair), None) = (pairs.next(), pairs.next()) else {
        page.wrong(entry.span().start, format!("an argument of {} keys", table.len()), ARG);
        return None;
    };
    Some(pair)
}

fn number_or_buffer(
    page: &mut Page<'_>,
    key: Key<'_, '_>,
    value: Value<'_, '_>,
    known: &Known<'_>,
) -> Option<Arg> {
    if key.get_ref() == "buffer" {
        let name = page.text(value, "a buffer's name")?;
        return known.buffers.find(page, name, value.span().start).map(Arg::Buffer);
    }
    let Some(element) = Element::named(key.get_ref()) else {
        let words = Element::ALL.iter().map(|(name, _)| *name).chain(["buffer", "struct"]);
        let expected = nearest(key.get_ref(), words).map_or(ARG.to_owned(), |meant| format!("`{meant}`"));
        page.wrong(key.span().start, format!("unknown argument type `{}`", quote(key.get_ref())), expected);
        return None;
    };
    let bits = scalar::bits(element, value.get_ref());
    if bits.is_none() {
        page.wrong(value.span().start, shown(value.get_ref()), scalar::range(element));
    }
    bits.map(|bits| Arg::Scalar { element, bits })
}
