//! A network that stays: for trying the command line by hand.

use crate::{
    cluster::{
        cleanup,
        ion::Ion,
        log::{Deadline, Mark, Said},
        network::Network,
    },
    programs::{Program, mandelbrot, saxpy::Saxpy},
};
use anyhow::{Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longer than anybody watches: ten years.
const FOR_EVER_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// Starts the network, says how to use it, and waits for Ctrl-C. A node that ends by itself is told.
pub fn run(ion: Ion, providers: usize, lights: usize, backend: &str) -> Result<()> {
    let network = Network::start(ion, "ion-up-", providers, lights, backend)?;
    for light in &network.lights {
        network.wait_for_offers(*light, Mark::default())?;
    }
    lines(&network)?.iter().for_each(|line| println!("{line}"));
    let mut ended = Vec::new();
    let nodes = network.cluster.nodes();
    network.cluster.log.wait(Mark::default(), Deadline::seconds(FOR_EVER_SECONDS), "Ctrl-C", |line| {
        if line.said == Said::Ended && !cleanup::is_stopping() {
            let node = &nodes[line.node];
            eprintln!("{} ended; its log is {}", node.name(), node.log_file().display());
            ended.push(line.node);
        }
        if ended.len() == nodes.len() {
            bail!("all nodes ended");
        }
        Ok(None::<()>)
    })?;
    Ok(())
}

/// Writes the example that ends as a picture; answers its manifest.
fn picture(dir: &Path) -> Result<PathBuf> {
    // The example names its kernel from its own place in the source tree.
    let manifest = include_str!("../../node/jobs/mandelbrot/job.toml")
        .replace("../../../gpu/kernels/mandelbrot.ptx", "mandelbrot.ptx");
    fs::create_dir_all(dir)?;
    fs::write(dir.join("mandelbrot.ptx"), mandelbrot::KERNEL)?;
    fs::write(dir.join("shade.ptx"), include_str!("../../node/jobs/mandelbrot/shade.ptx"))?;
    let path = dir.join("job.toml");
    fs::write(&path, manifest)?;
    Ok(path)
}

fn lines(network: &Network) -> Result<Vec<String>> {
    let cluster = &network.cluster;
    let jobs = cluster.subdir("jobs")?;
    let saxpy = Program::Saxpy(Saxpy { elements: 1 << 20 }).write(&jobs.join("saxpy"))?;
    let picture = picture(&jobs.join("mandelbrot"))?;
    let mut lines = vec![
        format!("{} nodes run; Ctrl-C ends them and removes their files.", cluster.nodes().len()),
        String::new(),
    ];
    for node in cluster.nodes() {
        lines.push(format!("{:<12} {}", node.name(), node.spec.data_dir.display()));
    }
    let ion = cluster.ion.path().display();
    let asker = network.lights.first().unwrap_or(&network.hub);
    let dir = cluster[*asker].spec.data_dir.display();
    lines.extend([
        String::new(),
        "Who offers what, and two jobs to run:".to_owned(),
        String::new(),
        format!("  {ion} offers --data-dir {dir}"),
        format!("  {ion} run {} --data-dir {dir} --out saxpy-out", saxpy.display()),
        format!("  {ion} run {} --data-dir {dir} --out mandelbrot-out", picture.display()),
    ]);
    Ok(lines)
}
