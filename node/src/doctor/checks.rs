//! The verdicts: one function a thing, from facts to a finding.

use super::{
    Finding, Verdict,
    facts::{DirUser, Facts},
};
use crate::{config::Backend, workers::ProbeReport};
use ion_gpu::{nvml::Card, probe::CudaState};
use ion_protocol::{Bytes, limits};

/// Less than this on the data directory's disk and the first job of some size fails.
const DISK_MIN: Bytes = Bytes(1 << 30);
/// Less than this and inputs of the largest jobs do not fit.
const DISK_GOOD: Bytes = Bytes(32 << 30);
/// Open files a node can't do without: peers, blobs, workers.
const OPEN_FILES_MIN: u64 = 256;
/// Open files with which it never has to turn somebody away.
const OPEN_FILES_GOOD: u64 = 4096;
/// Degrees below where a card slows itself down, at which it counts as hot.
const HOT_WITHIN: u16 = 5;
/// No clock is before this release was made: the first of January 2026.
const WALL_MIN_MS: u64 = 1_767_225_600_000;

/// Every check, in an order that puts first what others follow from.
pub(super) fn all(facts: &Facts, probed: &ProbeReport) -> Vec<Finding> {
    vec![
        devices(probed),
        driver(facts, probed),
        cards(probed),
        device_nodes(facts),
        container(facts, probed),
        persistence(facts, probed),
        nvrtc(probed),
        isolation(probed),
        data_dir(facts),
        disk(facts),
        key(facts),
        ports(facts),
        clock(facts),
        open_files(facts),
    ]
}

fn finding(
    check: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    Finding { check, verdict, found: found.into(), hint: hint.into() }
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    finding(check, Verdict::Ok, found, "")
}

fn devices(probed: &ProbeReport) -> Finding {
    let labels: Vec<String> = probed.devices.iter().map(|device| device.label()).collect();
    if labels.is_empty() {
        let why = probed.cpu_trouble.clone().unwrap_or_else(|| probed.cuda.to_string());
        let hint = "without `--backend cuda` the processor is offered where there is no GPU";
        return finding("devices", Verdict::Problem, format!("none can be offered: {why}"), hint);
    }
    let unmeasured = probed.devices.iter().any(|device| device.power.f32_mflops == 0);
    if unmeasured {
        let hint = "they are chosen last; see whether the machine is overloaded, and look again";
        let found = format!("{}, not all measured", labels.join(", "));
        return finding("devices", Verdict::Note, found, hint);
    }
    ok("devices", labels.join(", "))
}

fn driver(facts: &Facts, probed: &ProbeReport) -> Finding {
    let hint = probed.cuda.hint().unwrap_or_default();
    let found = probed.cuda.to_string();
    let otherwise = match facts.backend {
        Backend::Cuda => Verdict::Problem,
        Backend::Auto | Backend::Cpu => Verdict::Note,
    };
    match &probed.cuda {
        CudaState::NotAsked => ok("driver", found),
        CudaState::Works { left_out, .. } if left_out.is_empty() => ok("driver", found),
        CudaState::Works { .. } => finding(
            "driver",
            Verdict::Note,
            found,
            "`nvidia-smi -q` says more of the devices that were left out",
        ),
        CudaState::NoLibrary
        | CudaState::StubLibrary { .. }
        | CudaState::InitFailed { .. }
        | CudaState::OldDriver { .. }
        | CudaState::NoDevice
        | CudaState::KernelFailed { .. }
        | CudaState::ProbeCrashed { .. }
        | CudaState::ProbeHung { .. }
        | CudaState::ProbeBabbled { .. } => finding("driver", otherwise, found, hint),
    }
}

/// What NVIDIA's management library says of the cards that an owner can do something about.
fn cards(probed: &ProbeReport) -> Finding {
    const CHECK: &str = "cards";
    if !matches!(probed.cuda, CudaState::Works { .. } | CudaState::NoDevice) {
        return ok(CHECK, "none to look at");
    }
    let Some(cards) = &probed.cards else {
        let hint = "libnvidia-ml.so.1 comes with the driver; a container has it with \
                    NVIDIA_DRIVER_CAPABILITIES=compute,utility";
        let found = "NVIDIA's management library is not found: rules about temperature, draw and other programs have \
                     no effect";
        return finding(CHECK, Verdict::Note, found, hint);
    };
    let troubles: Vec<(String, &str)> = cards.iter().filter_map(|card| trouble(card, cards)).collect();
    match troubles.first() {
        None => ok(CHECK, format!("{}, none in trouble", cards.len())),
        Some((_, hint)) => {
            let all: Vec<&str> = troubles.iter().map(|(found, _)| found.as_str()).collect();
            finding(CHECK, Verdict::Note, all.join("; "), *hint)
        }
    }
}

/// What is wrong with a card, and what to do; the worst of it.
fn trouble(card: &Card, all: &[Card]) -> Option<(String, &'static str)> {
    let (name, readings) = (format!("{} ({})", card.model, card.uuid), &card.readings);
    let has_parts = all.iter().any(|other| other.part_of.as_ref() == Some(&card.uuid));
    if card.partitioned && !has_parts {
        let found = format!("{name} is partitioned (MIG) and has no parts, so nothing of it can be lent");
        return Some((
            found,
            "make parts (`nvidia-smi mig -cgi 19 -C`, say), or end it with `nvidia-smi -mig 0`",
        ));
    }
    if card.part_of.is_some() {
        // Its card was told of already.
        return None;
    }
    if let Some(errors @ 1..) = readings.ecc_errors {
        let found = format!("{name} has had {errors} memory errors that could not be corrected");
        let hint = "what was computed meanwhile may be wrong: restart the machine, so that the card takes those rows out \
                    of use, and replace it if they come again (`nvidia-smi -q -d ECC,ROW_REMAPPER`)";
        return Some((found, hint));
    }
    match (readings.celsius, readings.celsius_max) {
        (Some(now), Some(limit)) if now + HOT_WITHIN >= limit => {
            let found = format!("{name} has {now} degrees, and slows itself down at {limit}");
            Some((
                found,
                "see to its fans and the air around it; `--celsius-max` stops lending it before that",
            ))
        }
        (Some(_) | None, Some(_) | None) => None,
    }
}

fn device_nodes(facts: &Facts) -> Finding {
    const CHECK: &str = "device-nodes";
    let closed: Vec<String> = facts
        .device_nodes
        .iter()
        .filter(|(_, usable)| !usable)
        .map(|(path, _)| path.display().to_string())
        .collect();
    match (&closed[..], facts.device_nodes.len(), facts.backend) {
        ([], 0, _) => ok(CHECK, "no NVIDIA device nodes"),
        ([], count, _) => ok(CHECK, format!("{count}, all usable")),
        (closed, ..) => {
            let verdict = match facts.backend {
                Backend::Cuda => Verdict::Problem,
                Backend::Auto | Backend::Cpu => Verdict::Note,
            };
            let hint = "let this user read and write them: `ls -l /dev/nvidia*` shows their group (often `video` or \
                        `render`), `usermod -aG GROUP USER` joins it";
            finding(CHECK, verdict, format!("this user may not use {}", closed.join(", ")), hint)
        }
    }
}

fn container(facts: &Facts, probed: &ProbeReport) -> Finding {
    const CHECK: &str = "container";
    if !facts.container {
        return ok(CHECK, "not in a container");
    }
    let works = matches!(probed.cuda, CudaState::Works { .. });
    if works || facts.backend == Backend::Cpu {
        return ok(CHECK, "in a container");
    }
    let found = match facts.kernel_driver {
        true => "this container has no GPU, and its host has NVIDIA's driver",
        false => "this container has no GPU",
    };
    finding(
        CHECK,
        Verdict::Note,
        found,
        "start it with `--gpus all` (NVIDIA's container toolkit on the host)",
    )
}

fn persistence(facts: &Facts, probed: &ProbeReport) -> Finding {
    const CHECK: &str = "persistence";
    if !matches!(probed.cuda, CudaState::Works { .. }) {
        return ok(CHECK, "no GPU to keep ready");
    }
    if facts.persistence {
        return ok(CHECK, "the persistence daemon runs");
    }
    let hint = "`systemctl enable --now nvidia-persistenced` keeps the driver loaded between jobs; Ion changes no \
                setting of a card by itself";
    finding(
        CHECK,
        Verdict::Note,
        "the persistence daemon does not run: an idle GPU takes seconds to start",
        hint,
    )
}

fn nvrtc(probed: &ProbeReport) -> Finding {
    if probed.nvrtc {
        return ok("nvrtc", "CUDA C++ can be compiled here");
    }
    let hint = "install CUDA's NVRTC and put the folder of libnvrtc.so, with libnvrtc-builtins.so beside it, into LD_LIBRARY_PATH; \
         PTX runs without it";
    finding("nvrtc", Verdict::Note, "no NVRTC that works: jobs in CUDA C++ can't run here", hint)
}

fn isolation(probed: &ProbeReport) -> Finding {
    match &probed.isolation {
        None => finding("isolation", Verdict::Note, "not measured: no probing child came back", ""),
        Some(found) if found.is_whole() => ok("isolation", found.to_string()),
        Some(found) => {
            finding("isolation", Verdict::Note, found.to_string(), found.hint().unwrap_or_default())
        }
    }
}

fn data_dir(facts: &Facts) -> Finding {
    const CHECK: &str = "data-dir";
    let dir = facts.data_dir.display();
    match facts.user {
        DirUser::Nobody => ok(CHECK, format!("{dir} is free")),
        DirUser::Node => {
            finding(CHECK, Verdict::Note, format!("a node runs on {dir}"), "`ion status` says how it is")
        }
        DirUser::Silent => finding(
            CHECK,
            Verdict::Problem,
            format!("a process that does not answer holds {dir}"),
            format!("its number is in {dir}/lock; end it, or choose another directory with `--data-dir`"),
        ),
    }
}

fn disk(facts: &Facts) -> Finding {
    const HINT: &str = "free some, or choose a directory on another disk with `--data-dir`";
    match &facts.disk_free {
        Err(why) => finding("disk", Verdict::Problem, format!("the disk can't be looked at: {why}"), HINT),
        Ok(free) if *free < DISK_MIN => finding("disk", Verdict::Problem, format!("{free} free"), HINT),
        Ok(free) if *free < DISK_GOOD => {
            let hint = "large jobs will not fit; `--blob-quota` bounds what is kept";
            finding("disk", Verdict::Note, format!("{free} free"), hint)
        }
        Ok(free) => ok("disk", format!("{free} free")),
    }
}

fn key(facts: &Facts) -> Finding {
    match &facts.key {
        Ok(true) => ok("key", "there, and only its owner can read it"),
        Ok(false) => ok("key", "none yet; one is drawn at the first start"),
        Err(why) => finding("key", Verdict::Problem, why, "who can read the key file is this node"),
    }
}

fn ports(facts: &Facts) -> Finding {
    match (&facts.listen_troubles[..], facts.user) {
        ([], DirUser::Node) => ok("ports", "those of the running node"),
        ([], DirUser::Nobody | DirUser::Silent) if facts.listens == 0 => ok("ports", "any free ones"),
        ([], DirUser::Nobody | DirUser::Silent) => ok("ports", "free"),
        (troubles, _) => {
            let hint = "choose others with `--listen`, or end what holds them (`ss -ltnup` says what)";
            finding("ports", Verdict::Problem, troubles.join("; "), hint)
        }
    }
}

fn clock(facts: &Facts) -> Finding {
    const HINT: &str = "set it by the network (`timedatectl set-ntp true`): offers and orders expire by it";
    if facts.wall.0 < WALL_MIN_MS {
        return finding("clock", Verdict::Problem, "the clock is before the year 2026", HINT);
    }
    match facts.files_ahead {
        Some(ahead) if ahead.0 > limits::CLOCK_SKEW_MS_MAX => {
            let found =
                format!("a file of the data directory was written {ahead} from now: the clock was set back");
            finding("clock", Verdict::Problem, found, HINT)
        }
        Some(_) | None => ok("clock", "plausible"),
    }
}

fn open_files(facts: &Facts) -> Finding {
    const CHECK: &str = "open-files";
    const HINT: &str = "raise it with `ulimit -n 65536`, or LimitNOFILE= of the service";
    match facts.open_files_max {
        Some(max) if max < OPEN_FILES_MIN => finding(CHECK, Verdict::Problem, format!("at most {max}"), HINT),
        Some(max) if max < OPEN_FILES_GOOD => finding(CHECK, Verdict::Note, format!("at most {max}"), HINT),
        Some(max) => ok(CHECK, format!("at most {max}")),
        None => ok(CHECK, "without a bound"),
    }
}

#[cfg(test)]
mod tests;
