//! Launches held against the kernels they name: that the module is one this network's devices run, that the kernel is in
//! it, and that arguments, block and shared memory are what it takes. CUDA C is for its compiler to judge, but for what
//! surely fails everywhere: files it includes, and kernels that are not in it.

use super::{
    Mistake,
    mistake::nearest,
    page::{Page, quote},
    program::ModuleDraft,
    steps::Placed,
};
use ion_gpu::{
    cuda::source,
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
        let index = usize::from(launch.launch.module);
        if let Some(Some(module)) = parsed.get(index) {
            check_launch(page, module, launch);
        } else if let Some(Some(draft)) = modules.get(index)
            && draft.module.source == Source::CudaC
        {
            check_cuda_c(page, draft, launch);
        }
    }
}

/// Holds a launch against a source: whether its kernel can be there.
fn check_cuda_c(page: &mut Page<'_>, draft: &ModuleDraft, placed: &Placed) {
    let name = &placed.launch.kernel;
    let file = quote(&draft.path.display().to_string());
    let (found, expected) = match source::kernel(&draft.text, name) {
        source::Kernel::Perhaps => return,
        source::Kernel::Absent { kernels } => {
            let names = || kernels.iter().map(String::as_str);
            let meant = nearest(name, names()).map(|meant| format!("`{}`", quote(meant)));
            let one = match kernels.is_empty() {
                true => format!("an `extern \"C\" __global__` function of {file}"),
                false => format!("one of `{}`", quote(&names().collect::<Vec<_>>().join("`, `"))),
            };
            (format!("unknown kernel \"{}\"", quote(name)), meant.unwrap_or(one))
        }
        source::Kernel::Renamed { line } => (
            format!("kernel \"{}\" without `extern \"C\"`", quote(name)),
            format!(
                "`extern \"C\" __global__` in {file}:{line} and no template, or C++ gives it a longer name"
            ),
        ),
    };
    page.wrong(placed.kernel_at, found, expected);
}

fn parse(page: &mut Page<'_>, draft: &ModuleDraft) -> Option<Module> {
    match draft.module.source {
        Source::CudaC => {
            if let Some(line) = source::could_include(&draft.text) {
                page.push(Mistake {
                    file: draft.path.display().to_string(),
                    line,
                    column: u32::from(line > 0),
                    key: String::new(),
                    found: "`#include`, `#embed` or `import` (or the words, beside a `#`)".to_owned(),
                    expected: "a text that stands alone, since it is compiled without access to files; or PTX of it \
                               (`nvcc -ptx -arch=compute_75`)"
                        .to_owned(),
                });
            }
            None
        }
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

#[cfg(test)]
mod tests {
    use super::super::load;

    const MANIFEST: &str = r#"name = "cu"
[[module]]
file = "k.cu"
[[buffer]]
name = "x"
element = "f32"
shape = 4
output = "x.npy"
[[step]]
kernel = "scale"
grid = 1
block = 4
args = [{ buffer = "x" }]
"#;

    /// What is said of a launch of `scale` in this source.
    fn said(source: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("k.cu"), source).unwrap();
        std::fs::write(dir.path().join("job.toml"), MANIFEST).unwrap();
        let said = load(&dir.path().join("job.toml")).err().map(|error| error.to_string());
        said.unwrap_or_default().replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn a_kernel_that_cuda_c_surely_lacks_is_told_before_anything_is_sent() {
        assert_eq!(said("extern \"C\" __global__ void scale(float* x) { x[threadIdx.x] *= 2; }"), "");
        let unknown = "job.toml:10:10: found unknown kernel \"scale\" for `step[1].kernel`; expected ";
        let near = said("// scale\nextern \"C\" __global__ void scales(float* x) {}");
        assert_eq!(near, format!("{unknown}`scales`"));
        let others = "extern \"C\" { __global__ void fill(float* x) {} __global__ void sum(float* x) {} }";
        assert_eq!(said(others), format!("{unknown}one of `fill`, `sum`"));
        let none = said("__device__ void scale(float* x) {}");
        assert_eq!(none, format!("{unknown}an `extern \"C\" __global__` function of k.cu"));
    }

    #[test]
    fn a_kernel_that_cpp_renames_is_told_with_its_line() {
        assert_eq!(
            said("\n__global__ void scale(float* x) {}"),
            "job.toml:10:10: found kernel \"scale\" without `extern \"C\"` for `step[1].kernel`; \
             expected `extern \"C\" __global__` in k.cu:2 and no template, or C++ gives it a longer name"
        );
    }

    #[test]
    fn cuda_c_that_reads_files_is_told_with_its_line() {
        let said =
            said("#define N 4\n#include <cuda_fp16.h>\nextern \"C\" __global__ void scale(float* x) {}");
        assert!(said.starts_with("k.cu:2:1: found `#include`"), "{said}");
        assert!(said.ends_with("or PTX of it (`nvcc -ptx -arch=compute_75`)"), "{said}");
    }
}
