//! What an owner may have wrong: each thing looked at, told as good, worth a note or a problem, with what to do about it.
//!
//! Owns the facts ([`facts`]: read, asked, measured; nothing is changed) and the verdicts ([`checks`]: pure, so that every
//! one of them is tested without a broken machine). Never starts a node, and never touches a device itself: children do.
//! Tests: in [`checks`], and `node/tests/cli/doctor.rs` with the real binary.

mod checks;
mod facts;

use crate::workers::ProbeReport;
pub use facts::{Asked, Facts};
use serde::Serialize;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Note,
    /// It keeps this machine from providing.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: one word, stable.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub hint: String,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// Whether a node started so would offer a device.
    pub can_provide: bool,
    /// One a check, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// What follows from the facts and from what the probing children said.
    pub fn of(facts: &Facts, probed: &ProbeReport) -> Self {
        let findings = checks::all(facts, probed);
        let can_provide = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
        Self { can_provide, findings }
    }

    /// How many keep this machine from providing.
    pub fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count()
    }
}
