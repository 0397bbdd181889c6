//! What the imitation is like and what goes wrong with it, from the environment variable `CUDA_IMITATION`.
//!
//! `devices=2 memory=67108864 at=lost:214` for instance: words of `name=value`, with spaces between. Each is described at
//! its field. Tests set it for their children alone.

use super::Code;

/// The variable's name.
pub const VARIABLE: &str = "CUDA_IMITATION";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many devices there are.
    pub devices: usize,
    /// Bytes of each.
    pub memory: usize,
    /// What the driver says of its age: 13000 is CUDA 13.0.
    pub driver: u32,
    /// Compute capability of all devices: 90 is 9.0.
    pub capability: u32,
    /// Highest clock of its processors, in kHz.
    pub clock: u32,
    /// What `cuInit` answers.
    pub init: Code,
    /// `at=KERNEL:CODE`: a launch of this kernel ends in this code, and with 0 never.
    pub at: Option<(String, Code)>,
    /// A launch of this kernel ends only once a copy has ended that was queued after it: where copies wait for kernels, never.
    pub meet: Option<String>,
    /// Allocations of more bytes than this fail, whatever is free.
    pub alloc: usize,
    /// The device of this number computes wrongly: a bit is wrong after every launch.
    pub wrong: Option<usize>,
    /// With 0 the driver has no graphs.
    pub graphs: u32,
    /// The last byte of the first device's UUID; those of the others follow.
    pub first: u8,
    /// With 1 each device is a part of a partitioned card, and named so; a process sees the one that its
    /// `CUDA_VISIBLE_DEVICES` names, or else the first.
    pub mig: u32,
}

impl Settings {
    /// What the environment says; a word that is none is our bug, and ends the process.
    pub fn read() -> Self {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let mut settings = Self {
            devices: 1,
            memory: 2 << 30,
            driver: 13_000,
            capability: 90,
            clock: 1_000_000,
            init: 0,
            at: None,
            meet: None,
            alloc: usize::MAX,
            wrong: None,
            graphs: 1,
            first: 1,
            mig: 0,
        };
        for word in text.split_whitespace() {
            settings.set(word).unwrap_or_else(|| panic!("{VARIABLE}: `{word}` is no setting"));
        }
        if let (1, Ok(visible)) = (settings.mig, std::env::var("CUDA_VISIBLE_DEVICES")) {
            let number = visible.get(visible.len().saturating_sub(2)..);
            settings.first = number.and_then(|number| u8::from_str_radix(number, 16).ok()).unwrap_or(0);
        }
        settings
    }

    fn set(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "devices" => self.devices = value.parse().ok()?,
            "memory" => self.memory = value.parse().ok()?,
            "driver" => self.driver = value.parse().ok()?,
            "capability" => self.capability = value.parse().ok()?,
            "clock" => self.clock = value.parse().ok()?,
            "init" => self.init = value.parse().ok()?,
            "at" => {
                let (kernel, code) = value.split_once(':')?;
                self.at = Some((kernel.to_owned(), code.parse().ok()?));
            }
            "meet" => self.meet = Some(value.to_owned()),
            "alloc" => self.alloc = value.parse().ok()?,
            "wrong" => self.wrong = Some(value.parse().ok()?),
            "graphs" => self.graphs = value.parse().ok()?,
            "first" => self.first = value.parse().ok()?,
            "mig" => self.mig = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}
