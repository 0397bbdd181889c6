//! What holds a worker back on this machine, as the probing child found it by trying.
//!
//! Owns the typed answer and its words. Never guesses from a kernel's version: a child puts the walls up as a worker does
//! ([`super::sandbox::close_in`]) and then tries to get through. Tests: `gpu/tests/sandbox.rs`, and below.

use ion_protocol::{
    codec::{Decode, Encode, bincode_crate},
    limits,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How well a worker is shut in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[bincode(crate = "bincode_crate")]
pub struct Isolation {
    /// Files, by Landlock.
    pub files: Wall,
    /// System calls, by seccomp.
    pub calls: Wall,
    /// What a child that had put both up could still do.
    pub holes: Vec<Hole>,
}

/// One of the kernel's means.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[bincode(crate = "bincode_crate")]
#[serde(rename_all = "kebab-case", tag = "wall")]
pub enum Wall {
    /// It is up.
    Stands {
        /// The version of the kernel's interface; 0 where it has none.
        version: u32,
    },
    /// It is not.
    Absent {
        /// Why.
        why: String,
    },
}

impl Wall {
    /// Not up, for this reason.
    pub(super) fn absent(why: &str) -> Self {
        Wall::Absent { why: why.chars().take(limits::TEXT_BYTES_MAX / 8).collect() }
    }
}

/// What a worker that was taken over could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[bincode(crate = "bincode_crate")]
#[serde(rename_all = "kebab-case")]
pub enum Hole {
    /// Open files that this user may open.
    Files,
    /// Open sockets.
    Sockets,
    /// Start processes.
    Processes,
}

impl Hole {
    fn text(self) -> &'static str {
        match self {
            Hole::Files => "open this user's files",
            Hole::Sockets => "open sockets",
            Hole::Processes => "start processes",
        }
    }
}

impl Isolation {
    /// Whether a worker taken over gets nowhere.
    pub fn is_whole(&self) -> bool {
        self.holes.is_empty()
    }

    /// What the owner can do where it is not.
    pub fn hint(&self) -> Option<&'static str> {
        (!self.is_whole()).then_some(
            "run the node as a user of its own that owns nothing else; Linux 5.13 or newer with Landlock enabled \
             (`lsm=landlock,..` at boot) and seccomp shuts workers in",
        )
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holes[..] {
            [] => f.write_str("a worker can open no file, no socket and start no process")?,
            holes => {
                let holes: Vec<&str> = holes.iter().map(|hole| hole.text()).collect();
                write!(f, "a worker that is taken over could {}", holes.join(" and "))?;
            }
        }
        match &self.files {
            Wall::Stands { version } => write!(f, " (Landlock {version}")?,
            Wall::Absent { why } => write!(f, " ({why}")?,
        }
        match &self.calls {
            Wall::Stands { .. } => f.write_str(", seccomp)"),
            Wall::Absent { why } => write!(f, ", no seccomp: {why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_a_way_out() {
        let whole = Isolation {
            files: Wall::Stands { version: 7 },
            calls: Wall::Stands { version: 0 },
            holes: vec![],
        };
        assert_eq!(
            whole.to_string(),
            "a worker can open no file, no socket and start no process (Landlock 7, seccomp)"
        );
        assert_eq!(whole.hint(), None);
        let bare = Isolation {
            files: Wall::absent("this kernel has no Landlock"),
            calls: Wall::absent("x"),
            holes: vec![Hole::Files, Hole::Processes],
        };
        assert_eq!(
            bare.to_string(),
            "a worker that is taken over could open this user's files and start processes \
             (this kernel has no Landlock, no seccomp: x)"
        );
        assert!(bare.hint().is_some_and(|hint| hint.contains("Landlock")));
    }
}
