//! What holds for every text, whoever wrote it.

use super::{
    counting::counted,
    cpu_bench::{Bench, LIMITS},
};
use ion_gpu::{
    backend::{Report, RunLimits},
    program::accepts,
    ptx::{self, Function, Module, limits::MEMORY_PER_TEXT_BYTE_MAX},
};
use ion_protocol::{
    fault::Fault,
    job::{Arg, Element},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// What every module costs: the table of forms, and first allocations.
pub const FIXED_BYTES: u64 = 1 << 20;
/// Time for one byte of text, and for any text: far more than it takes, far less than a square of its size would.
const TIME_PER_BYTE: Duration = Duration::from_micros(5);
const FIXED_TIME: Duration = Duration::from_secs(2);
/// Warp instructions that an accepted kernel is run for.
const FUEL: u64 = 5_000;
/// And for its exact form, in which one instruction becomes a hundred or two.
const EXACT_FUEL: u64 = 1000 * FUEL;

/// What became of a text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub accepted: bool,
    /// Kernels run.
    pub ran: u64,
}

/// Holds a text against everything that must be so; says what is not.
pub fn check(text: &str) -> Result<Seen, String> {
    let work = AssertUnwindSafe(|| check_unguarded(text));
    catch_unwind(work).unwrap_or_else(|_| Err("it panicked".into()))
}

fn check_unguarded(text: &str) -> Result<Seen, String> {
    let began = Instant::now();
    let (read, memory) = counted(|| ptx::parse(text));
    let (took, length) = (began.elapsed(), text.len());
    if took > FIXED_TIME + TIME_PER_BYTE * length as u32 {
        return Err(format!("reading {length} bytes took {took:?}"));
    }
    if memory > FIXED_BYTES + MEMORY_PER_TEXT_BYTE_MAX * length as u64 {
        return Err(format!("reading {length} bytes took {memory} bytes"));
    }
    let module = match read {
        Ok(module) => module,
        Err(refusal) => {
            refusal.render(text);
            return Ok(Seen::default());
        }
    };
    printed(&module)?;
    for kernel in module.kernels() {
        ptx::profile(&module, kernel);
    }
    let ran =
        module.kernels().take(2).map(|kernel| ran(text, &module, kernel)).sum::<Result<u64, String>>()?;
    Ok(Seen { accepted: true, ran })
}

/// The print reads as the same module, and the canonical form is its own.
fn printed(module: &Module) -> Result<(), String> {
    let print = ptx::print(module);
    let again = ptx::parse(&print).map_err(|r| format!("its print is refused: {}", r.render(&print)))?;
    if again != *module {
        return Err(format!("its print reads as another module:\n{print}"));
    }
    let canonical = ptx::canonical(module);
    let again = ptx::parse(&canonical.text)
        .map_err(|r| format!("its canonical text is refused: {}", r.render(&canonical.text)))?;
    if ptx::canonical(&again) != canonical {
        return Err(format!("its canonical text has another:\n{}", canonical.text));
    }
    Ok(())
}

/// The engine takes what the reader accepts, and runs it to some end. Gives 1, or 0 for what no launch can name.
fn ran(text: &str, module: &Module, kernel: &Function) -> Result<u64, String> {
    let Some(bench) = bench(text, kernel, FUEL) else { return Ok(0) };
    let Ok(loaded) = bench.load(bench.program()) else { return Ok(0) };
    debug_assert_eq!(loaded.modules()[0].module, *module, "the same text is read");
    match bench.run() {
        Err(Fault::Ptx { message, line, .. })
            if !message.contains("written out") && !message.contains("nested") =>
        {
            Err(format!("the reader accepts what the engine refuses: line {line}: {message}"))
        }
        Err(_) => Ok(1),
        Ok(report) => exact(module, kernel, &report).map(|()| 1),
    }
}

/// The exact form computes what the engine computes for the instructions that it stands for.
fn exact(module: &Module, kernel: &Function, report: &Report) -> Result<(), String> {
    let Ok(exact) = ptx::exact(module) else { return Ok(()) };
    if exact == *module {
        return Ok(());
    }
    let text = ptx::print(&exact);
    let Some(bench) = bench(&text, kernel, EXACT_FUEL) else { return Ok(()) };
    match bench.run() {
        Ok(found) if found.outputs == report.outputs => Ok(()),
        Ok(_) => Err(format!("its exact form computes something else:\n{text}")),
        Err(fault) => Err(format!("its exact form ends otherwise: {fault}\n{text}")),
    }
}

/// A launch of the kernel with arguments of some kind; `None` where no launch can give them.
fn bench(text: &str, kernel: &Function, fuel: u64) -> Option<Bench> {
    let mut bench = Bench::new(text, &kernel.name).grid([2, 1, 1], kernel.reqntid.unwrap_or([40, 1, 1]));
    bench.cores = Some(1);
    bench.limits = RunLimits { fuel: Some(fuel), ..LIMITS };
    bench.buffers = vec![(0..=255).cycle().take(4096).collect()];
    for (n, param) in kernel.params.iter().enumerate() {
        bench.args.extend(args(n as u64, param.bytes()).find(|given| accepts(param, given))?);
    }
    Some(bench)
}

/// Arguments of every kind: a buffer, numbers, and structs of so many bytes.
fn args(n: u64, bytes: u32) -> impl Iterator<Item = Vec<Arg>> {
    use Element::*;
    let scalar = move |element: Element| {
        let mask = u64::MAX >> (64 - 8 * element.size());
        Arg::Scalar { element, bits: ((n + 1) * 0x1f) & mask }
    };
    let scalars =
        [U8, U16, U32, U64, I8, I16, I32, I64, F16, Bf16, F32, F64].map(|element| vec![scalar(element)]);
    let of = move |first: Arg, rest: Arg, fields: u32| {
        let fields = u16::try_from(fields).expect("parameters have 32764 bytes at most");
        let rest = std::iter::repeat_n(rest, usize::from(fields.saturating_sub(1)));
        [Arg::Struct { fields }, first].into_iter().chain(rest).collect()
    };
    let structs = [of(Arg::Buffer(0), scalar(U64), bytes / 8), of(scalar(U8), scalar(I8), bytes)];
    std::iter::once(vec![Arg::Buffer(0)]).chain(scalars).chain(structs)
}
