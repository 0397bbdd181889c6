//! A challenge as a file: everything that was said, in its exact signed bytes, for anybody to check with no node and no
//! network. What a person reads beside them (`shown`) is checked to be what the challenger signed.

use crate::{control::api::SignedParts, files};
use ion_gpu::challenge;
use ion_protocol::{
    NetworkId, Signed,
    challenge::{Judgement, Transcript, TranscriptError, Verdict, VerifiedTranscript},
    codec,
    signed::Document,
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Version of this file format. In the first, times had no unit in their names; a proof of then is one still.
pub const TRANSCRIPT_FILE_VERSION: u32 = 2;
const OLDEST_VERSION: u32 = 1;
/// An answer in hex and its neighbours fit several times.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptFile {
    /// [`TRANSCRIPT_FILE_VERSION`].
    pub ion_challenge: u32,
    /// Name of the network it was signed for; part of all signatures.
    pub network: String,
    /// What the provider claims.
    pub advert: SignedParts,
    /// What it was asked.
    pub challenge: SignedParts,
    /// What it committed to, if it did.
    pub commitment: Option<SignedParts>,
    /// Which rows it was to show.
    pub opening: Option<SignedParts>,
    /// What it showed.
    pub answer: Option<SignedParts>,
    /// What the challenger made of it.
    pub verdict: SignedParts,
    /// What the verdict says.
    pub shown: Verdict,
}

/// What is read first, for files of other formats.
#[derive(Deserialize)]
struct Version {
    ion_challenge: u32,
}

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptFileError {
    /// It can't be read.
    #[error("could not read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too large to be one.
    #[error("{} is larger than any transcript", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("this is no transcript of a challenge: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format.
    #[error(
        "the file has format {found}, this binary reads {TRANSCRIPT_FILE_VERSION}; one of the two needs an update"
    )]
    Version {
        /// Format of the file.
        found: u32,
    },
    /// Not hex, or of the wrong length.
    #[error("the {0} is no signed document in hexadecimal")]
    Hex(&'static str),
    /// The parts do not hold together.
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    /// The words are not what was signed.
    #[error("`shown` is not what the challenger signed: the file was edited")]
    Shown,
    /// The challenger said something else than what follows from what was said.
    #[error("the verdict is \"{found}\"; what was said gives \"{expected}\"")]
    Verdict {
        /// In the file.
        found: Judgement,
        /// By the rules.
        expected: Judgement,
    },
}

impl TranscriptFile {
    /// The file of a challenge this node made; `None` where its own verdict does not decode, which would be a bug.
    pub fn of(network: &str, transcript: &Transcript) -> Option<Self> {
        let verdict = transcript.verdict.body_bytes();
        Some(Self {
            ion_challenge: TRANSCRIPT_FILE_VERSION,
            network: network.to_owned(),
            advert: SignedParts::of(&transcript.advert),
            challenge: SignedParts::of(&transcript.challenge),
            commitment: transcript.commitment.as_ref().map(SignedParts::of),
            opening: transcript.opening.as_ref().map(SignedParts::of),
            answer: transcript.answer.as_ref().map(SignedParts::of),
            verdict: SignedParts::of(&transcript.verdict),
            shown: codec::decode(verdict, Verdict::BYTES_MAX).ok()?,
        })
    }

    /// Reads one; proves nothing yet.
    pub fn read(path: &Path) -> Result<Self, TranscriptFileError> {
        let unreadable = |source| TranscriptFileError::Unreadable { path: path.to_owned(), source };
        let bytes = files::read_at_most(path, FILE_BYTES_MAX).map_err(unreadable)?;
        let bytes = bytes.ok_or_else(|| TranscriptFileError::TooLarge { path: path.to_owned() })?;
        let Version { ion_challenge: found } = serde_json::from_slice(&bytes)?;
        if !(OLDEST_VERSION..=TRANSCRIPT_FILE_VERSION).contains(&found) {
            return Err(TranscriptFileError::Version { found });
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Checks every signature, that the parts belong together, the rows that were shown, and that the verdict is what
    /// follows from all that. Times, and that nothing came, are the challenger's word.
    pub fn verify(&self) -> Result<VerifiedTranscript, TranscriptFileError> {
        let transcript = Transcript {
            advert: parts("advert", &self.advert)?,
            challenge: parts("challenge", &self.challenge)?,
            commitment: self.commitment.as_ref().map(|p| parts("commitment", p)).transpose()?,
            opening: self.opening.as_ref().map(|p| parts("opening", p)).transpose()?,
            answer: self.answer.as_ref().map(|p| parts("answer", p)).transpose()?,
            verdict: parts("verdict", &self.verdict)?,
        };
        let verified = transcript.verify(&NetworkId::named(&self.network))?;
        if *verified.verdict.body() != self.shown {
            return Err(TranscriptFileError::Shown);
        }
        match judgement(&verified) {
            Some(expected) if expected != self.shown.judgement => {
                Err(TranscriptFileError::Verdict { found: self.shown.judgement.clone(), expected })
            }
            Some(_) | None => Ok(verified),
        }
    }
}

/// What follows from what was said; `None` where it is for the challenger to say why no more came.
fn judgement(said: &VerifiedTranscript) -> Option<Judgement> {
    let (challenge, verdict) = (&said.challenge, &said.verdict);
    let Some(commitment) = &said.commitment else {
        return (verdict.judgement == Judgement::Passed).then_some(Judgement::Late);
    };
    if verdict.took > challenge.bound {
        return Some(Judgement::Late);
    }
    let Some((opening, answer)) = said.opening.as_ref().zip(said.answer.as_ref()) else {
        let why = "there are no rows".to_owned();
        let shown = matches!(verdict.judgement, Judgement::NotShown { .. });
        return (!shown).then_some(Judgement::NotShown { why });
    };
    let (seed, shape, rows) = (&challenge.seed, &challenge.shape, &answer.rows);
    Some(match challenge::check(seed, shape, &commitment.roots, &opening.seed, rows) {
        Ok(()) => Judgement::Passed,
        Err(flaw) => Judgement::False(flaw),
    })
}

fn parts<T: Document>(part: &'static str, parts: &SignedParts) -> Result<Signed<T>, TranscriptFileError> {
    parts.signed().map_err(|_| TranscriptFileError::Hex(part))
}
