//! CUDA C++ to PTX with NVRTC, where one is installed.
//!
//! The text is foreign and the compiler can read files: `#include "/some/key"` would print a line of it in an error that
//! goes back to the stranger. So text that could include a file is refused before the compiler sees it, and what comes
//! out goes through our own parser like any PTX.

use super::source;
use cudarc::nvrtc::{
    safe::{CompileError, CompileOptions, compile_ptx_with_opts},
    sys,
};
use ion_protocol::{fault::Fault, hardware::ComputeCapability};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// The oldest architecture that every NVRTC since CUDA 11 compiles for: PTX for it runs on all newer devices.
const ARCHITECTURE: &str = "compute_75";
/// The same as a number.
const CAPABILITY_MIN: ComputeCapability = ComputeCapability { major: 7, minor: 5 };
/// What NVRTC loads from its own folder when it first compiles.
const BUILTINS: &str = "libnvrtc-builtins.so";

/// Whether an NVRTC can be loaded.
pub fn nvrtc_present() -> bool {
    // SAFETY: looking for a library loads it, which runs the initialisers of NVIDIA's compiler at most.
    catch_unwind(|| unsafe { sys::is_culib_present() }).unwrap_or(false)
}

/// Whether what NVRTC makes of the least kernel is PTX that runs here: without its other library it compiles nothing, and
/// a newer one writes PTX that we do not know.
pub fn nvrtc_works() -> bool {
    let compiled = compile("probe.cu", "extern \"C\" __global__ void k() {}");
    compiled.is_ok_and(|ptx| crate::ptx::parse(&ptx).is_ok())
}

/// Whether a device takes what is compiled here.
pub fn compiled_for(capability: ComputeCapability) -> bool {
    capability >= CAPABILITY_MIN
}

/// Loads NVRTC, where there is one, with the library it would look for at its first compilation: for a process that will
/// open no files afterwards.
pub fn load_compiler() {
    let mut names = cudarc::get_lib_name_candidates("nvrtc").into_iter();
    // SAFETY: loading runs the initialisers of NVIDIA's compiler at most.
    let Some(library) = names.find_map(|name| unsafe { libloading::Library::new(name) }.ok()) else { return };
    // It stays until the process ends; whoever asks for it by name is given this one.
    std::mem::forget(library);
    let Some(folder) = folder_of_loaded("libnvrtc.so") else { return };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(BUILTINS)) {
        // SAFETY: loading runs the initialisers of NVIDIA's library, which loading its neighbour has run as well.
        if let Ok(library) = unsafe { libloading::Library::new(entry.path()) } {
            // It stays until the process ends.
            std::mem::forget(library);
        }
    }
}

/// The folder from which this process has loaded the library of that name, in the words of the kernel.
fn folder_of_loaded(name: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let is_it = |path: &&Path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
    paths.into_iter().find(is_it).and_then(Path::parent).map(Path::to_owned)
}

/// Compiles the CUDA C++ text of a module.
pub fn compile(name: &str, text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::Program { message: format!("module `{name}` holds a NUL character") });
    }
    if source::could_include(text).is_some() {
        let message = format!(
            "module `{name}` uses `#include`, `#embed` or `import` (or the words, beside a `#`); a provider compiles \
             without access to files: compile it to PTX first (`nvcc -ptx -arch=compute_75`)"
        );
        return Err(Fault::Program { message });
    }
    if !nvrtc_present() {
        let message = format!(
            "module `{name}` is CUDA C++, and no NVRTC is installed here; compile it to PTX first (`nvcc -ptx \
             -arch=compute_75`), or install CUDA's NVRTC and put the folder of libnvrtc.so into LD_LIBRARY_PATH"
        );
        return Err(Fault::NoDevice { message });
    }
    let options = CompileOptions {
        arch: Some(ARCHITECTURE),
        name: Some("module.cu".to_owned()),
        ..CompileOptions::default()
    };
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        compile_ptx_with_opts(text, options).map(|ptx| {
            let bytes = ptx.as_bytes().unwrap_or(&[]);
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        })
    }));
    match compiled {
        Ok(Ok(ptx)) => Ok(ptx),
        Ok(Err(CompileError::CompileError { log, .. })) => {
            let message =
                format!("CUDA C++ module `{name}` does not compile: {}", log.to_string_lossy().trim());
            Err(Fault::Program { message }.bounded())
        }
        Ok(Err(error)) => Err(Fault::Driver { message: format!("NVRTC: {error:?}") }.bounded()),
        Err(panic) => {
            let message = format!("NVRTC: {}", crate::worker::panic_text(&*panic));
            Err(Fault::Driver { message }.bounded())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_read_a_file_is_refused() {
        for text in [
            "#include \"/etc/passwd\"",
            "  #  include </etc/passwd>",
            "#inc\\\nlude \"/etc/passwd\"",
            "#inc??/\nlude \"/etc/passwd\"",
            "%:include \"/etc/passwd\"",
            "??=include \"/etc/passwd\"",
            "# /* \n */ include \"/etc/passwd\"",
            "#if __has_include(\"/etc/passwd\")\n#endif",
            "#embed \"/etc/passwd\"",
            "import \"/etc/passwd\";",
        ] {
            assert!(source::could_include(text).is_some(), "{text}");
            assert!(matches!(compile("m.cu", text), Err(Fault::Program { .. })));
        }
        assert!(
            source::could_include("#define N 4\nextern \"C\" __global__ void k(float* x) { x[0] = N; }")
                .is_none()
        );
    }

    #[test]
    fn what_is_compiled_is_for_cards_of_turing_on() {
        let named = format!("compute_{}{}", CAPABILITY_MIN.major, CAPABILITY_MIN.minor);
        assert_eq!(named, ARCHITECTURE);
        let takes = |major, minor| compiled_for(ComputeCapability { major, minor });
        assert_eq!([takes(7, 0), takes(7, 5), takes(9, 0)], [false, true, true]);
        assert!(compiled_for(crate::probe::CPU_CAPABILITY));
    }

    #[test]
    fn without_a_compiler_the_way_out_is_named() {
        assert!(nvrtc_present() || !nvrtc_works());
        if nvrtc_present() {
            eprintln!("skipped: an NVRTC is installed here");
            return;
        }
        let fault = compile("k.cu", "__global__ void k() {}").unwrap_err();
        assert!(fault.to_string().contains("no NVRTC is installed here; compile it to PTX first"), "{fault}");
    }
}
