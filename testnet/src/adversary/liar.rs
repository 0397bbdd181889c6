//! A provider whose worker falsifies every result, or what happens on the way to it.
//!
//! A node's worker is its own program started again, so a liar is started from a copy of `ion` that is replaced, as soon
//! as it runs, by a program that stands between the node and a real worker and changes what comes out. What the node then
//! signs is false, and it does not know. The other lie is in what goes in: the worker is given a program of which one
//! launch in the middle is another, so that all that comes after follows from it, and only that launch is false. Two more lie
//! about the device: how quick it is, and whose.

use crate::cluster::{Cluster, log::Mark, script};
use anyhow::{Context, Result, bail};
use ion_protocol::{
    codec,
    hardware::{Device, Engine},
    job::{Arg, JobSpec, Phase, Step},
    limits,
};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

/// The verb of `ion-testnet` under which it is the program in between.
pub const VERB: &str = "lying-worker";
/// Length and kind: the header of a worker's frame.
const HEADER_BYTES: usize = 5;
/// The kinds of frames: messages, and what holds outputs.
const MESSAGE: u8 = 0;
const BYTES: u8 = 1;
/// What a message that gives a worker its job begins with.
const JOB: [u8; 4] = [0; 4];
/// A worker's largest frame is far smaller.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// How much too much is claimed: five seconds by the claim are hours in truth.
const OVERCLAIM: u64 = 5_000;
/// What a shared device claims: [`SHARED_TAKES`] for a challenge, which takes a processor no time worth speaking of.
const SHARED_MOPS: u64 = 10;
/// See [`SHARED_MOPS`].
const SHARED_TAKES: Duration = Duration::from_millis(4_900);
/// How often a shared device says that it lives.
const BEAT_EVERY: Duration = Duration::from_millis(250);
/// How a worker's word begins that announces the first output of a challenge: `FromWorker::Output`, buffer 4.
const FIRST_ROOTS: [u8; 6] = [3, 0, 0, 0, 4, 0];

/// What is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Every byte that comes out.
    Outputs,
    /// What a launch in the middle does.
    Middle,
    /// How quick its device is: [`OVERCLAIM`] times as quick as it was measured.
    Overclaim,
    /// Whose its device is: all that lie so have one between them, which does one challenge after the other, each in the
    /// time that its claim gives.
    Shared,
}

impl Lie {
    fn word(self) -> &'static str {
        match self {
            Lie::Outputs => "outputs",
            Lie::Middle => "middle",
            Lie::Overclaim => "overclaim",
            Lie::Shared => "shared",
        }
    }
}

impl FromStr for Lie {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        let lies = [Lie::Outputs, Lie::Middle, Lie::Overclaim, Lie::Shared];
        let found = lies.into_iter().find(|lie| lie.word() == word);
        found.ok_or_else(|| format!("{word} is no lie; there are {}", lies.map(Lie::word).join(", ")))
    }
}

/// Starts a provider that was added to the cluster, as a liar.
pub fn start(cluster: &mut Cluster, node: usize, testnet: &Path, lie: Lie) -> Result<Mark> {
    let ion = cluster.ion.path().to_owned();
    let dir = cluster.subdir(&format!("liar-{node}"))?;
    let copy = dir.join("ion");
    script::copy(&ion, &copy)?;
    let text = format!(
        "#!/bin/sh\ncd '{}'\nexec '{}' {VERB} {} '{}' \"$@\"\n",
        cluster.dir().display(),
        testnet.display(),
        lie.word(),
        ion.display()
    );
    // The system calls a running program whose file was replaced by another name, so both must be the liar's.
    let names = [copy.clone(), dir.join("ion (deleted)")];
    let drafts = names.each_ref().map(|name| name.with_extension("script"));
    for draft in &drafts {
        script::write(draft, &text)?;
    }
    fs::rename(&drafts[1], &names[1])?;
    let mark = cluster[node].start(&copy)?;
    fs::rename(&drafts[0], &names[0])?;
    Ok(mark)
}

/// This program, where it is `ion-testnet` itself.
pub fn own_program() -> Result<PathBuf> {
    env::current_exe().context("this program's own path")
}

/// The program in between: `ion worker ..` with what it is told or says changed. Answers of probes are not.
pub fn run(lie: Lie, ion: &Path, args: &[OsString]) -> Result<ExitCode> {
    let mut command = Command::new(ion);
    command.args(args);
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let (serves, probes) = (has("--engine"), has("--probe"));
    let concerned = match lie {
        Lie::Outputs | Lie::Middle => serves,
        Lie::Overclaim => probes,
        Lie::Shared => serves || probes,
    };
    if !concerned {
        return Err(command.exec()).context("starting ion");
    }
    let mut worker = match lie {
        Lie::Outputs | Lie::Overclaim | Lie::Shared => command.stdout(Stdio::piped()).spawn(),
        Lie::Middle => command.stdin(Stdio::piped()).spawn(),
    }
    .context("starting ion")?;
    if let Some(mut from) = worker.stdout.take() {
        // Not locked, since a shared device speaks between two frames.
        let mut to = io::stdout();
        while pass_on(&mut from, &mut to, |kind, payload| match lie {
            Lie::Outputs | Lie::Middle => falsify_output(kind, payload),
            Lie::Overclaim | Lie::Shared if probes => falsify_claim(lie, payload),
            Lie::Overclaim | Lie::Shared => wait_for_device(kind, payload),
        })? {}
    }
    if let Some(mut to) = worker.stdin.take() {
        let mut from = io::stdin().lock();
        while pass_on(&mut from, &mut to, falsify_job)? {}
    }
    let code = worker.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Passes one frame on as `change` makes it; whether there was one.
fn pass_on(
    from: &mut impl Read,
    to: &mut impl Write,
    change: impl Fn(u8, &mut Vec<u8>) -> Result<()>,
) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    if let Err(error) = from.read_exact(&mut header) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error.into()) };
    }
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    if length == 0 || length > FRAME_BYTES_MAX {
        bail!("a frame of {length} bytes");
    }
    let mut payload = vec![0; length as usize - 1];
    from.read_exact(&mut payload)?;
    change(header[4], &mut payload)?;
    header[..4].copy_from_slice(&(payload.len() as u32 + 1).to_le_bytes());
    to.write_all(&header)?;
    to.write_all(&payload)?;
    to.flush()?;
    Ok(true)
}

fn falsify_output(kind: u8, payload: &mut [u8]) -> Result<()> {
    if kind == BYTES {
        payload.iter_mut().for_each(|byte| *byte ^= 1);
    }
    Ok(())
}

/// A message with a job: what it begins with, the specification, and one byte more.
fn falsify_job(kind: u8, payload: &mut Vec<u8>) -> Result<()> {
    if kind != MESSAGE || !payload.starts_with(&JOB) {
        return Ok(());
    }
    let end = payload.len() - 1;
    let mut spec: JobSpec = codec::decode(&payload[JOB.len()..end], limits::SPEC_BYTES_MAX)?;
    if falsify_middle(&mut spec) {
        *payload = [&JOB, codec::encode(&spec).as_slice(), &payload[end..]].concat();
    }
    Ok(())
}

/// Makes another of the launch in the middle of a program that repeats one; whether it is such a program.
fn falsify_middle(spec: &mut JobSpec) -> bool {
    let [phase] = spec.program.phases.as_slice() else { return false };
    let (phase, middle) = (phase.clone(), phase.times / 2);
    let mut changed = phase.steps.clone();
    let numbers = changed.iter_mut().flat_map(|step| match step {
        Step::Launch(launch) => launch.args.as_mut_slice(),
        Step::Swap { .. } => &mut [],
    });
    let number = numbers.into_iter().find_map(|arg| match arg {
        Arg::Scalar { bits, .. } => Some(bits),
        Arg::Buffer(_) | Arg::Struct { .. } => None,
    });
    let Some(bits) = number.filter(|_| middle > 0) else { return false };
    *bits ^= 1;
    let part = |times, steps: &[Step]| Phase { times, steps: steps.to_vec() };
    let after = phase.times - middle - 1;
    spec.program.phases = vec![part(middle, &phase.steps), part(1, &changed), part(after, &phase.steps)];
    true
}

/// Replaces the rates in the answer of a probe, wherever its list of devices ends.
fn falsify_claim(lie: Lie, payload: &mut Vec<u8>) -> Result<()> {
    type Start = (u32, bool, Vec<(u32, Device)>);
    let start = (0..=payload.len())
        .find_map(|end| Some((end, codec::decode::<Start>(&payload[..end], payload.len()).ok()?)));
    let (end, (state, nvrtc, mut devices)) = start.context("no devices in the answer of a probe")?;
    for (_, device) in &mut devices {
        let power = &mut device.power;
        match lie {
            Lie::Overclaim => {
                power.product_mops = power.product_mops.saturating_mul(OVERCLAIM);
                power.f32_mflops = power.f32_mflops.saturating_mul(OVERCLAIM);
            }
            Lie::Shared => {
                // Processors of one host are known to be one; whoever sells twice sells a card.
                (power.product_mops, device.engine) = (SHARED_MOPS, Engine::Cuda);
            }
            Lie::Outputs | Lie::Middle => {}
        }
    }
    let rest = payload.split_off(end);
    *payload = [codec::encode(&(state, nvrtc, devices)), rest].concat();
    Ok(())
}

/// Before the first output of a challenge: the one device there is takes its time, and nobody else has it meanwhile. The
/// node hears that its worker lives.
fn wait_for_device(kind: u8, payload: &[u8]) -> Result<()> {
    if kind != MESSAGE || !payload.starts_with(&FIRST_ROOTS) {
        return Ok(());
    }
    let device = fs::File::create("device.lock").context("the lock of the device")?;
    while let Err(fs::TryLockError::WouldBlock) = device.try_lock() {
        beat()?;
    }
    let since = Instant::now();
    while since.elapsed() < SHARED_TAKES {
        beat()?;
    }
    Ok(())
}

/// A word of life, and a pause.
fn beat() -> Result<()> {
    let progress = [1u32.to_le_bytes().as_slice(), &[0; 16]].concat();
    let header = [(progress.len() as u32 + 1).to_le_bytes().as_slice(), &[MESSAGE]].concat();
    let mut to = io::stdout().lock();
    to.write_all(&[header, progress].concat())?;
    to.flush()?;
    thread::sleep(BEAT_EVERY);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::{
        Bytes, Millis, NanoIo,
        job::{Element, JobLimits, Launch, Needs, Program},
    };

    #[test]
    fn outputs_are_changed_and_messages_are_not() {
        let message = [3, 0, 0, 0, 0, 7, 9];
        let output = [4, 0, 0, 0, BYTES, 0, 1, 255];
        let mut told = Vec::new();
        let mut from = &[message.as_slice(), &output].concat()[..];
        while pass_on(&mut from, &mut told, |kind, payload| falsify_output(kind, payload)).unwrap() {}
        assert_eq!(told, [message.as_slice(), &[4, 0, 0, 0, BYTES, 1, 0, 254]].concat());
        assert!(pass_on(&mut &[0xff; 9][..], &mut told, |_, _| Ok(())).is_err());
    }

    #[test]
    fn one_launch_in_the_middle_is_another() {
        let launch = Launch {
            module: 0,
            kernel: "k".into(),
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            args: vec![Arg::Buffer(0), Arg::Scalar { element: Element::U32, bits: 6 }],
        };
        let phases = vec![Phase { times: 9, steps: vec![Step::Launch(launch)] }];
        let program = Program { modules: Vec::new(), buffers: Vec::new(), phases };
        let limits = JobLimits { run: Millis(1), memory: Bytes(0), price: NanoIo(0) };
        let spec = JobSpec { name: "n".into(), needs: Needs::default(), limits, program };
        let mut payload = [&JOB, codec::encode(&spec).as_slice(), &[1]].concat();
        falsify_job(MESSAGE, &mut payload).unwrap();
        let end = payload.len() - 1;
        let given: JobSpec = codec::decode(&payload[4..end], limits::SPEC_BYTES_MAX).unwrap();
        assert_eq!((given.program.launches(), payload[end]), (9, 1));
        let (mine, theirs) = (spec.program.launched(), given.program.launched());
        let other: Vec<usize> =
            mine.zip(theirs).enumerate().filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
        assert_eq!(other, [4]);
        let (before, mut other) = (payload.clone(), payload.clone());
        falsify_job(BYTES, &mut other).unwrap();
        assert_eq!(other, before, "bytes are no message");
    }
}
