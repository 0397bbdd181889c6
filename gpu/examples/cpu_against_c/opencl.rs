//! The same kernels in OpenCL C, run by the first OpenCL platform that has a CPU: PoCL, where it is installed.
//!
//! `opencl.c` is compiled by gcc and times `kernels.cl`; PoCL is told by its environment how many cores it may use.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Stdio},
};

/// Milliseconds of each kernel, wall time of the device's events: on all cores and on one.
pub struct Times {
    pub all: HashMap<String, f64>,
    pub one: HashMap<String, f64>,
}

/// `None` where there is no gcc, no OpenCL or no CPU device, or where a result is wrong.
pub fn times() -> Option<Times> {
    let folder = std::env::temp_dir().join(format!("cpu_against_c-opencl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    let times = built(&folder)
        .and_then(|()| Some(Times { all: ran(&folder, None).ok()?, one: ran(&folder, Some("1")).ok()? }));
    let _ = std::fs::remove_dir_all(&folder);
    times
}

fn built(folder: &Path) -> Option<()> {
    for (name, text) in [("opencl.c", include_str!("opencl.c")), ("kernels.cl", include_str!("kernels.cl"))] {
        std::fs::write(folder.join(name), text).ok()?;
    }
    // What the host program computes for comparison is rounded as the kernels are.
    let status = Command::new("gcc")
        .args(["-O2", "-march=native", "-ffp-contract=off", "opencl.c", "-o", "opencl", "-lOpenCL", "-lm"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    status.ok()?.success().then_some(())
}

fn ran(folder: &Path, cores: Option<&str>) -> Result<HashMap<String, f64>, std::io::Error> {
    let mut command = Command::new(folder.join("opencl"));
    command.arg("kernels.cl").current_dir(folder).env("POCL_CACHE_DIR", folder);
    if let Some(cores) = cores {
        // The name before PoCL 5, and the one since.
        command.env("POCL_MAX_PTHREAD_COUNT", cores).env("POCL_CPU_MAX_CU_COUNT", cores);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(std::io::Error::other("the kernels did not run"));
    }
    super::rows(&output.stdout).ok_or_else(|| std::io::Error::other("the times cannot be read"))
}
