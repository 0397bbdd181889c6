//! `ion ptx`

use super::{
    CliError,
    args::{Common, PtxArgs, PtxVerb},
    output,
};
use ion_gpu::ptx::{self, Module};
use ion_protocol::limits::MODULE_BYTES_MAX;
use serde::Serialize;
use std::{fs::File, io::Read, path::Path};

#[derive(Serialize)]
struct CheckJson {
    file: String,
    version: String,
    target: String,
    kernels: Vec<KernelJson>,
}

#[derive(Serialize)]
struct KernelJson {
    kernel: String,
    params: Vec<String>,
    instructions: u64,
    shared_bytes: u64,
    dynamic_shared: bool,
    local_bytes: u64,
    profile: Option<String>,
}

/// Checks or prints a PTX file.
pub fn ptx(common: &Common, args: PtxArgs) -> Result<(), CliError> {
    match args.verb {
        PtxVerb::Check { file } => {
            let seen = look(&file, &read(&file)?);
            if common.json { output::json(&seen) } else { text(&seen) }
        }
        PtxVerb::Print { file } => {
            let ptx = ptx::print(&read(&file)?);
            if common.json {
                return output::json(&serde_json::json!({ "file": file, "ptx": ptx }));
            }
            output::raw(ptx.as_bytes())
        }
    }
}

fn read(path: &Path) -> Result<Module, CliError> {
    let unreadable = |why: String| {
        CliError::usage(
            format!("could not read {}: {why}", path.display()),
            "give the path of a PTX text file",
        )
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    file.take(MODULE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|e| unreadable(e.to_string()))?;
    if text.len() > MODULE_BYTES_MAX {
        return Err(unreadable(format!("it has more than {MODULE_BYTES_MAX} bytes")));
    }
    ptx::parse(&text).map_err(|refusal| {
        let message = format!("{}: {}", path.display(), refusal.render(&text));
        CliError::usage(message, "compile for a plain target, as with `nvcc -ptx -arch=compute_75`")
    })
}

fn look(path: &Path, module: &Module) -> CheckJson {
    let kernels = module.kernels().map(|kernel| {
        let needs = ptx::resources(module, kernel);
        let params = kernel.params.iter().map(|p| {
            let count = p.count.map_or(String::new(), |n| format!("[{n}]"));
            format!(".{}{count}", p.element.text())
        });
        KernelJson {
            kernel: kernel.name.clone(),
            params: params.collect(),
            instructions: needs.instructions,
            shared_bytes: needs.shared_bytes,
            dynamic_shared: needs.dynamic_shared,
            local_bytes: needs.local_bytes,
            profile: needs.profile.map(|p| p.to_string()),
        }
    });
    CheckJson {
        file: path.display().to_string(),
        version: format!("{}.{}", module.version.0, module.version.1),
        target: format!("sm_{}", module.target),
        kernels: kernels.collect(),
    }
}

fn text(seen: &CheckJson) -> Result<(), CliError> {
    output::line(&format!(
        "{}: PTX {} for {}, {} kernel(s)",
        seen.file,
        seen.version,
        seen.target,
        seen.kernels.len()
    ))?;
    for k in &seen.kernels {
        let shared = if k.dynamic_shared { " and what the launch adds" } else { "" };
        output::line(&format!("  {}({})", k.kernel, k.params.join(", ")))?;
        output::line(&format!(
            "    {} instructions, {} bytes of shared memory{shared}, {} bytes of local memory",
            k.instructions, k.shared_bytes, k.local_bytes
        ))?;
        if let Some(profile) = &k.profile {
            output::line(&format!("    results: {profile}"))?;
        }
    }
    Ok(())
}
