//! Receipts as this node holds them, and the file in which one travels to whoever doubts it.
//!
//! The file proves itself: signatures, prices and the bond between the halves are checked with nothing but the file.
//! ```json
//! {"format":"ion-receipt/1","network":"<64 hex>","receipt":{"body":"<hex>","signature":"<128 hex>"},
//!  "countersignature":{"body":"<hex>","signature":"<128 hex>"}}
//! ```
//! `countersignature` is `null` while only the provider has signed. Bodies are the exact bytes that were signed.
//! Tests: `tests/receipts.rs`.

pub use crate::control::api::{ReceiptFilter, Side};
use ion_protocol::{
    DocHash, NetworkId, Signed, Verified,
    receipt::{Countersignature, Output, Receipt, ReceiptError, SettledReceipt},
    signed::Document,
};
use serde::{Deserialize, Serialize};

/// What the file says it is.
pub const FORMAT: &str = "ion-receipt/1";
/// Two documents of the largest kind in hex, and room for spaces.
pub const FILE_BYTES_MAX: usize = 160 * 1024;

/// A receipt in this node's ledger; its signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// This node's part in it.
    pub side: Side,
    /// The provider's half.
    pub receipt: Verified<Receipt>,
    /// The requester's half, once it is held.
    pub countersignature: Option<Verified<Countersignature>>,
    /// What was delivered.
    pub outputs: Vec<Output>,
}

impl StoredReceipt {
    /// Its name.
    pub fn hash(&self) -> DocHash {
        self.receipt.hash()
    }

    /// The file that proves it, of the network it was signed for.
    pub fn export(&self, network: &NetworkId) -> String {
        export(network, self.receipt.signed(), self.countersignature.as_ref().map(Verified::signed))
    }
}

/// The file that proves a receipt.
pub fn export(
    network: &NetworkId,
    receipt: &Signed<Receipt>,
    countersignature: Option<&Signed<Countersignature>>,
) -> String {
    let file = ReceiptFile {
        format: FORMAT.to_owned(),
        network: network.to_string(),
        receipt: Half::of(receipt),
        countersignature: countersignature.map(Half::of),
    };
    let mut text = serde_json::to_string_pretty(&file).expect("strings always serialize");
    text.push('\n');
    text
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptFile {
    format: String,
    network: String,
    receipt: Half,
    countersignature: Option<Half>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Half {
    body: String,
    signature: String,
}

impl Half {
    fn of<T: Document>(signed: &Signed<T>) -> Self {
        Self { body: hex::encode(signed.body_bytes()), signature: hex::encode(signed.signature()) }
    }

    fn signed<T: Document>(&self, half: &'static str) -> Result<Signed<T>, FileError> {
        let body = hex::decode(&self.body).map_err(|_| FileError::NotHex { half, field: "body" })?;
        let mut signature = [0; 64];
        hex::decode_to_slice(&self.signature, &mut signature)
            .map_err(|_| FileError::NotHex { half, field: "signature" })?;
        Ok(Signed::from_parts(body, signature))
    }
}

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error("a file of {found} bytes is no receipt: one has at most {FILE_BYTES_MAX}")]
    TooLarge { found: usize },
    #[error("it is not text in UTF-8, so it is no receipt; export one with `ion receipts export`")]
    NotText,
    #[error("it is no receipt: {0}; export one with `ion receipts export`")]
    NotJson(serde_json::Error),
    #[error("its format is `{found}`, this program knows `{FORMAT}`; use the program that wrote it")]
    Format { found: String },
    #[error("its network `{found}` is not 64 hexadecimal digits")]
    Network { found: String },
    #[error("the {field} of the {half}'s half is not hexadecimal, or not of the right length")]
    NotHex { half: &'static str, field: &'static str },
    #[error("it is not proven: {0}")]
    NotProven(#[from] ReceiptError),
}

/// What a file proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptReport {
    /// The network it holds on; a reader must know that this is the one meant.
    pub network: NetworkId,
    /// The receipt's name.
    pub hash: DocHash,
    /// What the provider signed.
    pub receipt: Receipt,
    /// What the requester signed; without it the receipt is the provider's word alone.
    pub countersignature: Option<Countersignature>,
}

impl ReceiptReport {
    /// Whether both sides signed.
    pub fn is_settled(&self) -> bool {
        self.countersignature.is_some()
    }
}

/// Proves a receipt with nothing but its file.
pub fn verify_file(bytes: &[u8]) -> Result<ReceiptReport, FileError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { found: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotText)?;
    let file: ReceiptFile = serde_json::from_str(text).map_err(FileError::NotJson)?;
    if file.format != FORMAT {
        return Err(FileError::Format { found: file.format.chars().take(40).collect() });
    }
    let network: NetworkId = file
        .network
        .parse()
        .map_err(|_| FileError::Network { found: file.network.chars().take(80).collect() })?;
    let receipt = file.receipt.signed("provider")?;
    let Some(countersignature) = &file.countersignature else {
        let receipt = verify_alone(&network, receipt)?;
        let (hash, receipt) = (receipt.hash(), receipt.body().clone());
        return Ok(ReceiptReport { network, hash, receipt, countersignature: None });
    };
    let settled = SettledReceipt::verify(&network, receipt, countersignature.signed("requester")?)?;
    Ok(ReceiptReport {
        network,
        hash: settled.receipt.hash(),
        receipt: settled.receipt.body().clone(),
        countersignature: Some(settled.countersignature.body().clone()),
    })
}

/// Verifies the provider's half where there is no other yet.
pub fn verify_alone(
    network: &NetworkId,
    receipt: Signed<Receipt>,
) -> Result<Verified<Receipt>, ReceiptError> {
    let receipt = receipt.verify(network).map_err(ReceiptError::Receipt)?;
    receipt.check_price()?;
    Ok(receipt)
}
