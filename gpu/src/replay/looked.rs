//! How far blocks were run again, before anybody is judged by it. Never: judges. Tests: `gpu/tests/replay.rs`.

use super::{BLOCKS_INSTRUCTIONS_MAX, not_checkable};
use ion_protocol::{check::Finding, fault::Fault};

/// How far a span was run.
pub enum Looked {
    Found(Finding),
    /// Not to its end.
    Broke(Broke),
}

/// A block, of the chosen ones or of launches before them, did not come to its end.
pub struct Broke {
    /// What it did wrong; `None` where its instructions ran out.
    pub fault: Option<Fault>,
    pub why: String,
}

impl Broke {
    pub fn faulted(fault: Fault) -> Self {
        Broke { why: format!("run here it faults: {fault}"), fault: Some(fault) }
    }

    pub fn spent(why: String) -> Self {
        Broke { fault: None, why }
    }
}

impl Looked {
    /// What it says where the span begins with the inputs, for which no provider can be to blame.
    pub fn blameless(self) -> Finding {
        match self {
            Looked::Found(finding) => finding,
            Looked::Broke(broke) => not_checkable(broke.why),
        }
    }
}

/// Warp instructions that may be run again.
#[derive(Clone, Copy)]
pub struct Most {
    /// Of launches before the last.
    pub earlier: u64,
    /// Of the chosen blocks.
    pub blocks: u64,
}

impl Most {
    pub fn with(earlier: u64) -> Self {
        Most { earlier, blocks: BLOCKS_INSTRUCTIONS_MAX }
    }
}
