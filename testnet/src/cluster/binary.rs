//! Which `ion` is started.
//!
//! Beside our own executable lies the one of the same build. Under `cargo run` it may be missing or old, so Cargo is
//! asked to build it first, with our own profile and target directory and its progress shown.

use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Name of the node's program.
const NAME: &str = "ion";

/// Where Cargo put our own executable.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    /// `.../target/release`.
    dir: PathBuf,
    /// `.../target`.
    target: PathBuf,
    /// As `--profile` takes it.
    profile: String,
}

fn build_of(executable: &Path) -> Option<Build> {
    let mut dir = executable.parent()?;
    // Tests lie one level deeper than programs.
    if dir.file_name()? == "deps" {
        dir = dir.parent()?;
    }
    let profile = match dir.file_name()?.to_str()? {
        "debug" => "dev",
        other => other,
    };
    let build = Build { dir: dir.into(), target: dir.parent()?.into(), profile: profile.to_owned() };
    Some(build)
}

/// The `ion` to start: `given`; under `cargo run` a fresh build; otherwise the one beside us.
pub fn find(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given {
        let path = std::path::absolute(&path)?;
        if !path.is_file() {
            bail!("{} is not a file; `--ion` takes the path of the `ion` program", path.display());
        }
        return Ok(path);
    }
    let build = own_build()?;
    match env::var_os("CARGO") {
        Some(cargo) => make(Path::new(&cargo), &build),
        None => beside(&build).with_context(|| {
            format!("no `{NAME}` in {}; name one with `--ion`, or use `cargo run`", build.dir.display())
        }),
    }
}

/// The `ion` for tests: Cargo has built it beside the test, unless this package alone was built.
pub fn for_tests() -> Result<PathBuf> {
    let build = own_build()?;
    match (beside(&build), env::var_os("CARGO")) {
        (Some(path), _) => Ok(path),
        (None, Some(cargo)) => make(Path::new(&cargo), &build),
        (None, None) => bail!("no `{NAME}` in {}; build it with `cargo build`", build.dir.display()),
    }
}

fn own_build() -> Result<Build> {
    let executable = env::current_exe().context("this program's own path")?;
    build_of(&executable).with_context(|| format!("{} lies in no build directory", executable.display()))
}

fn beside(build: &Build) -> Option<PathBuf> {
    let path = build.dir.join(format!("{NAME}{}", env::consts::EXE_SUFFIX));
    path.is_file().then_some(path)
}

fn make(cargo: &Path, build: &Build) -> Result<PathBuf> {
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "ion-node", "--bin", NAME, "--profile", &build.profile]);
    forget_the_package(&mut command);
    command.arg("--target-dir").arg(&build.target);
    // `cargo run` and `cargo test` say where the package lies; its workspace is found from there.
    if let Some(package) = env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(package);
    }
    let status = command.status().with_context(|| format!("starting {}", cargo.display()))?;
    if !status.success() {
        bail!("`ion` could not be built ({status}); see the compiler's messages above");
    }
    beside(build).with_context(|| format!("Cargo built no `{NAME}` in {}", build.dir.display()))
}

/// Takes out what `cargo run` says of this package: build scripts that look at the same names would find them changed, and half of
/// the dependencies would be built anew, now and at the next build by hand.
fn forget_the_package(cargo: &mut Command) {
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        cargo.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_follows_from_where_we_lie() {
        let build = build_of(Path::new("/w/target/release/ion-testnet")).unwrap();
        assert_eq!(build.profile, "release");
        assert_eq!(build.target, Path::new("/w/target"));
        let test = build_of(Path::new("/w/target/debug/deps/demo-0123")).unwrap();
        assert_eq!(test.profile, "dev");
        assert_eq!(test.dir, Path::new("/w/target/debug"));
    }
}
