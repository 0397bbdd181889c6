//! An exported receipt: one JSON file that proves itself to anybody, with no node and no network.
//!
//! Holds the exact signed bytes of both halves in hex. What a person reads beside them (`shown`) is checked to be what
//! was signed, so that a file can't show one thing and prove another.

use crate::{
    control::api::{SignedParts, SignedReceiptView},
    files,
};
use ion_protocol::{
    DocHash, NetworkId, Signed,
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
    /// The provider's half alone fails.
    #[error("the provider's half: {0}")]
    Receipt(SignedError),
    /// Both halves, or how they belong together, fail.
    #[error(transparent)]
    Settled(#[from] ReceiptError),
    /// The words are not what was signed.
    #[error("`shown` is not what the provider signed: the file was edited")]
    Shown,
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
        let receipt = signed.verify(&NetworkId::named(&view.network)).map_err(ReceiptFileError::Receipt)?;
        let file = Self {
            ion_receipt: RECEIPT_FILE_VERSION,
            network: view.network,
            receipt: view.receipt,
            countersignature: view.countersignature,
            shown: receipt.body().clone(),
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
        let proof = match &self.countersignature {
            Some(half) => {
                let half: Signed<Countersignature> = parts(half, REQUESTER)?;
                Proof::Settled(Box::new(SettledReceipt::verify(&network, receipt, half)?))
            }
            None => {
                let receipt = receipt.verify(&network).map_err(ReceiptFileError::Receipt)?;
                receipt.check_price()?;
                Proof::ProviderOnly(Box::new(receipt))
            }
        };
        if *proof.receipt().body() != self.shown {
            return Err(ReceiptFileError::Shown);
        }
        Ok(proof)
    }
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
