//! Launches held against the kernels they name: that the module is one this network's devices run, that the kernel is in
//! it, and that arguments, block and shared memory are what it takes. CUDA C is for its compiler to judge.

use super::{
    Mistake,
    mistake::nearest,
    page::{Page, quote},
    program::ModuleDraft,
    steps::Placed,
};
use ion_gpu::{
    program::{accepts, shared_bytes, what_fits, what_is},
    ptx::{self, Function, Module},
};
use ion_protocol::{
    job::{Source, groups},
    limits,
};

/// Notes what does not fit. `modules` are in the order of the manifest; one that is wrong already is `None`.
pub fn check(page: &mut Page<'_>, modules: &[Option<ModuleDraft>], placed: &[Placed]) {
    let parsed: Vec<Option<Module>> =
        modules.iter().map(|m| m.as_ref().and_then(|draft| parse(page, draft))).collect();
    for launch in placed {
        if let Some(Some(module)) = parsed.get(usize::from(launch.launch.module)) {
            check_launch(page, module, launch);
        }
    }
}

fn parse(page: &mut Page<'_>, draft: &ModuleDraft) -> Option<Module> {
    match draft.module.source {
        Source::CudaC => None,
        Source::Ptx | Source::ExactPtx => match ptx::parse(&draft.text) {
            Ok(module) => Some(module),
            Err(refusal) => {
                let (line, column) = (refusal.at.line, refusal.at.column);
                let (found, expected) = match refusal.what {
                    ptx::What::Unexpected { found, expected } => (found, expected),
                    what => (format!("what is not run here: {what}"), String::new()),
                };
                page.push(Mistake {
                    file: draft.path.display().to_string(),
                    line,
                    column,
                    key: String::new(),
                    found,
                    expected,
                });
                None
            }
        },
    }
}

/// The first of many.
fn few(types: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let more = types.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", types[..types.len().min(SHOWN_MAX)].join(", "))
}

fn check_launch(page: &mut Page<'_>, module: &Module, placed: &Placed) {
    let (launch, at) = (&placed.launch, placed.at);
    let Some(kernel) = module.kernel(&launch.kernel) else {
        let names: Vec<&str> = module.kernels().map(|k| k.name.as_str()).collect();
        let mangled = format!("_Z{}{}", launch.kernel.len(), launch.kernel);
        let longer = names.iter().find(|name| name.starts_with(&mangled));
        let expected = match (nearest(&launch.kernel, names.iter().copied()), longer) {
            (_, Some(meant)) => {
                format!(
                    "`{}`, as C++ calls it; `extern \"C\"` in front of it keeps the short name",
                    quote(meant)
                )
            }
            (Some(meant), None) => format!("`{}`", quote(meant)),
            (None, None) if names.is_empty() => "a module with a kernel (`.entry`)".to_owned(),
            (None, None) => format!("one of `{}`", quote(&names.join("`, `"))),
        };
        return page.wrong(
            placed.kernel_at,
            format!("unknown kernel \"{}\"", quote(&launch.kernel)),
            expected,
        );
    };
    check_block(page, kernel, placed);
    let functions = ptx::reachable(module, kernel);
    let shared = shared_bytes(module, &functions) + u64::from(launch.shared_bytes);
    if shared > u64::from(limits::SHARED_BYTES_MAX) {
        let found = format!("{shared} bytes of shared memory, those the kernel declares included");
        page.wrong(at, found, format!("at most {}", limits::SHARED_BYTES_MAX));
    }
    let given = groups(&launch.args).count();
    if given != kernel.params.len() {
        let types: Vec<String> = kernel.params.iter().map(what_fits).collect();
        let found = format!("{given} arguments for `{}`", quote(&launch.kernel));
        let expected = format!("{}: {}", kernel.params.len(), few(&types));
        return page.wrong(placed.args_at, found, expected);
    }
    let pairs = groups(&launch.args).zip(&kernel.params);
    for ((n, (given, param)), at) in pairs.enumerate().zip(&placed.each_at) {
        if !accepts(param, given) {
            let found = format!("{} as argument {} of `{}`", what_is(given), n + 1, quote(&launch.kernel));
            page.wrong(*at, found, what_fits(param));
        }
    }
}

fn check_block(page: &mut Page<'_>, kernel: &Function, placed: &Placed) {
    let block = placed.launch.block;
    let threads = |extents: [u32; 3]| extents.iter().map(|n| u64::from(*n)).product::<u64>();
    if let Some(required) = kernel.reqntid.filter(|required| *required != block) {
        let found = format!("block {block:?} for `{}`", quote(&kernel.name));
        page.wrong(placed.block_at, found, format!("{required:?}, as the kernel requires"));
    } else if let Some(max) = kernel.maxntid.filter(|max| threads(block) > threads(*max)) {
        let found = format!("blocks of {} threads for `{}`", threads(block), quote(&kernel.name));
        page.wrong(placed.block_at, found, format!("at most {}, as the kernel says", threads(max)));
    }
}
