//! An exported receipt: one JSON file that proves itself to anybody, with no node and no network.
//!
//! Holds the exact signed bytes of both halves in hex. What a person reads beside them (`shown`) is checked to be what
//! was signed, so that a file can't show one thing and prove another.

use crate::{
    control::api::{SignedParts, SignedReceiptView},
    files,
};
use ion_protocol::{
    DocHash, NetworkId, Signed, codec,
    receipt::{Countersignature, Receipt, ReceiptError, SettledReceipt},
    signed::{Document, SignedError, Verified},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Version of this file format. In the first, roots were lists of numbers, and before the third quantities had no unit in
/// their names; a proof of then is one still.
pub const RECEIPT_FILE_VERSION: u32 = 3;
const OLDEST_VERSION: u32 = 1;
/// Two documents in hex and once in words fit many times.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    /// [`RECEIPT_FILE_VERSION`].
    pub ion_receipt: u32,
    /// Name of the network it was signed for; part of both signatures.
    pub network: String,
    /// The provider's half.
    pub receipt: SignedParts,
    /// The requester's half; without it nobody agreed to owe anything.
    pub countersignature: Option<SignedParts>,
    /// What the provider's half says.
    pub shown: Receipt,
}

/// What is read first, for files of other formats.
#[derive(Deserialize)]
struct Version {
    ion_receipt: u32,
}

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFileError {
    /// It can't be read.
    #[error("could not read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too large to be one.
    #[error("{} is larger than any receipt", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("this is no exported receipt: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format.
    #[error(
        "the file has format {found}, this binary reads {RECEIPT_FILE_VERSION}; one of the two needs an update"
    )]
    Version {
        /// Format of the file.
        found: u32,
    },
    /// Not hex, or of the wrong length.
    #[error("the {what} of the {half}'s half is not {expected}")]
    Hex {
        /// Whose.
        half: &'static str,
        /// Which part.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A half, or how the two belong together, fails.
    #[error("{why}; what does not fit: {part}")]
    Unproven {
        /// How.
        why: ReceiptError,
        /// Which part of the file the others speak against.
        part: String,
    },
    /// The words are not what was signed.
    #[error("{fields} not what the provider signed: the file was edited")]
    Shown {
        /// Which of them, with the verb.
        fields: String,
    },
}

/// What a file proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Both signed: the requester owes the price.
    Settled(Box<SettledReceipt>),
    /// The provider says so alone.
    ProviderOnly(Box<Verified<Receipt>>),
}

impl Proof {
    /// The provider's half.
    pub fn receipt(&self) -> &Verified<Receipt> {
        match self {
            Proof::Settled(settled) => &settled.receipt,
            Proof::ProviderOnly(receipt) => receipt,
        }
    }

    /// The receipt's hash.
    pub fn hash(&self) -> DocHash {
        self.receipt().hash()
    }
}

impl ReceiptFile {
    /// The file of a receipt the node holds; verified before it is given away.
    pub fn of(view: SignedReceiptView) -> Result<Self, ReceiptFileError> {
        let signed: Signed<Receipt> = parts(&view.receipt, PROVIDER)?;
        let shown = decode(&signed).ok_or(ReceiptFileError::Hex {
            half: PROVIDER,
            what: "body",
            expected: "a receipt",
        })?;
        let file = Self {
            ion_receipt: RECEIPT_FILE_VERSION,
            network: view.network,
            receipt: view.receipt,
            countersignature: view.countersignature,
            shown,
        };
        file.verify()?;
        Ok(file)
    }

    /// Reads one; proves nothing yet.
    pub fn read(path: &Path) -> Result<Self, ReceiptFileError> {
        let unreadable = |source| ReceiptFileError::Unreadable { path: path.to_owned(), source };
        let bytes = files::read_at_most(path, FILE_BYTES_MAX).map_err(unreadable)?;
        let bytes = bytes.ok_or_else(|| ReceiptFileError::TooLarge { path: path.to_owned() })?;
        let Version { ion_receipt: found } = serde_json::from_slice(&bytes)?;
        if !(OLDEST_VERSION..=RECEIPT_FILE_VERSION).contains(&found) {
            return Err(ReceiptFileError::Version { found });
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Checks every signature, the price, and that the words are what was signed.
    pub fn verify(&self) -> Result<Proof, ReceiptFileError> {
        let network = NetworkId::named(&self.network);
        let receipt: Signed<Receipt> = parts(&self.receipt, PROVIDER)?;
        let half = self.countersignature.as_ref().map(|half| parts(half, REQUESTER)).transpose()?;
        let halves = Halves { network, receipt, half };
        let proof = halves
            .prove()
            .map_err(|why| ReceiptFileError::Unproven { part: halves.misfit(&why, &self.shown), why })?;
        match differing(proof.receipt().body(), &self.shown) {
            None => Ok(proof),
            Some(fields) => Err(ReceiptFileError::Shown { fields }),
        }
    }
}

/// What is signed in a file.
struct Halves {
    network: NetworkId,
    receipt: Signed<Receipt>,
    half: Option<Signed<Countersignature>>,
}

impl Halves {
    fn prove(&self) -> Result<Proof, ReceiptError> {
        let receipt = self.receipt.clone();
        match &self.half {
            Some(half) => {
                let settled = SettledReceipt::verify(&self.network, receipt, half.clone())?;
                Ok(Proof::Settled(Box::new(settled)))
            }
            None => {
                let receipt = receipt.verify(&self.network).map_err(ReceiptError::Receipt)?;
                receipt.check_price()?;
                Ok(Proof::ProviderOnly(Box::new(receipt)))
            }
        }
    }

    /// Which part the others speak against. A signature tells only that something it covers was changed, but the file
    /// says most of it twice: in words, and by the hash in the requester's half, which is of one network.
    fn misfit(&self, why: &ReceiptError, shown: &Receipt) -> String {
        let named = self.half.as_ref().and_then(decode).map(|half| half.receipt);
        let named_here = named.map(|hash| hash == self.receipt.hash(&self.network));
        match why {
            ReceiptError::Receipt(SignedError::Key(_)) => match decode(&self.receipt) {
                Some(said) if said != *shown => "`receipt.body`, or `shown` with it: they differ",
                Some(_) | None => match (named_here, &self.half) {
                    (Some(true), _) => "`receipt.signature`; the requester's half names this receipt",
                    (Some(false), Some(half)) if half.clone().verify(&self.network).is_ok() => {
                        "`receipt`; the requester's half is of another one"
                    }
                    (Some(false), _) => "`network`; neither half was signed for the one it names",
                    (None, _) => "`network` or `receipt.signature`",
                },
            },
            ReceiptError::Receipt(_) => "`receipt.body`",
            ReceiptError::Countersignature(SignedError::Key(_)) if named_here == Some(true) => {
                "`countersignature.signature` or what its body says of the check; the provider's half holds"
            }
            ReceiptError::Countersignature(_) => "`countersignature.body`; the provider's half holds",
            ReceiptError::Disagree(_) => "`countersignature`: it was signed, for another receipt",
            ReceiptError::Price { .. } => "`receipt`: it was signed so, and owes nothing",
        }
        .to_owned()
    }
}

/// The fields in which `shown` differs from what was signed, with the verb; `None` where it does not.
fn differing(signed: &Receipt, shown: &Receipt) -> Option<String> {
    if signed == shown {
        return None;
    }
    let fields = |receipt| match serde_json::to_value(receipt) {
        Ok(serde_json::Value::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (signed, shown) = (fields(signed), fields(shown));
    let names = signed.iter().filter(|(name, value)| shown.get(*name) != Some(value));
    let names: Vec<String> = names.map(|(name, _)| format!("`shown.{name}`")).collect();
    Some(match &names[..] {
        [] => "`shown` is".to_owned(),
        [one] => format!("{one} is"),
        _ => format!("{} are", names.join(", ")),
    })
}

/// What a document says, whoever signed it.
fn decode<T: Document>(signed: &Signed<T>) -> Option<T> {
    codec::decode(signed.body_bytes(), T::BYTES_MAX).ok()
}

const PROVIDER: &str = "provider";
const REQUESTER: &str = "requester";

fn parts<T: Document>(parts: &SignedParts, half: &'static str) -> Result<Signed<T>, ReceiptFileError> {
    parts.signed().map_err(|NotHex { what, expected }| ReceiptFileError::Hex { half, what, expected })
}

/// What of a document's parts is no hexadecimal, and what it should be.
pub(super) struct NotHex {
    what: &'static str,
    expected: &'static str,
}

impl SignedParts {
    /// The parts of a signed document.
    pub fn of<T: Document>(signed: &Signed<T>) -> Self {
        Self { body: hex::encode(signed.body_bytes()), signature: hex::encode(signed.signature()) }
    }

    /// The document, whose signature nobody has checked.
    pub(super) fn signed<T: Document>(&self) -> Result<Signed<T>, NotHex> {
        let wrong = |what, expected| move |_| NotHex { what, expected };
        let body = hex::decode(&self.body).map_err(wrong("body", "bytes in hexadecimal"))?;
        let mut signature = [0; 64];
        hex::decode_to_slice(&self.signature, &mut signature)
            .map_err(wrong("signature", "64 bytes in hexadecimal"))?;
        Ok(Signed::from_parts(body, signature))
    }
}
