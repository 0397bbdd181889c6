//! Receipts as this node holds them. The file in which one travels is [`crate::show::ReceiptFile`]'s.
//!
//! Tests: `tests/index.rs`.

pub use crate::control::api::{ReceiptFilter, Side};
use ion_protocol::{
    DocHash, NetworkId, Signed, Verified,
    receipt::{Countersignature, Output, Receipt, ReceiptError},
};

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
