//! Receipts: what a provider did for whom at what price, signed by it and countersigned by the requester.

use crate::{
    check::Check,
    codec::{Decode, Encode},
    fault::Fault,
    hardware::Engine,
    ids::{Attempt, BlobHash, DocHash, JobId, NetworkId, NodeId},
    limits,
    signed::{Document, Signed, SignedError, Verified, tag},
    states::States,
    units::{Bytes, Millis, NanoIo, Nanos, UnixMillis},
};
use serde::{Deserialize, Serialize};

/// A provider's account of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Receipt {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who ran it and signs.
    pub provider: NodeId,
    /// Who ordered it.
    pub requester: NodeId,
    /// The job.
    pub job: JobId,
    /// Which try of it.
    pub attempt: Attempt,
    /// The order it fulfils, by hash.
    pub order: DocHash,
    /// What was computed: [`crate::job::JobSpec::input_root`].
    #[serde(with = "crate::ids::hex_root")]
    pub input_root: [u8; 32],
    /// What came out: [`output_root`].
    #[serde(with = "crate::ids::hex_root")]
    pub output_root: [u8; 32],
    /// What is committed to between the two.
    pub states: States,
    /// Device model.
    pub device: String,
    /// What executed the kernels.
    pub engine: Engine,
    /// Time the device spent in kernels, metered.
    #[serde(rename = "device_time_ns", alias = "device_time")]
    pub device_time: Nanos,
    /// Agreed price of one second.
    #[serde(rename = "price_nano_io_per_second", alias = "price_per_second")]
    pub price_per_second: NanoIo,
    /// What is owed; zero unless `status` is done.
    #[serde(rename = "price_nano_io", alias = "price")]
    pub price: NanoIo,
    /// From acceptance to the start of fetching or running.
    #[serde(rename = "waited_ms", alias = "waited")]
    pub waited: Millis,
    /// Fetching inputs.
    #[serde(rename = "moved_ms", alias = "moved")]
    pub moved: Millis,
    /// Wall time in the worker.
    #[serde(rename = "ran_ms", alias = "ran")]
    pub ran: Millis,
    /// When it was signed.
    #[serde(rename = "finished_unix_ms", alias = "finished")]
    pub finished: UnixMillis,
    /// How it ended.
    pub status: Status,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All launches finished; outputs are committed to.
    Done,
    /// It did not; nothing is owed.
    Failed(Fault),
}

/// One delivered buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Output {
    /// Position of the buffer in the program.
    pub buffer: u16,
    /// Its size.
    pub bytes: Bytes,
    /// Its content.
    pub hash: BlobHash,
}

/// The commitment to a list of outputs: `blake3-derive-key("ion job output root 1", encoding of the list)`.
pub fn output_root(outputs: &[Output]) -> [u8; 32] {
    blake3::derive_key("ion job output root 1", &crate::codec::encode(&outputs.to_vec()))
}

impl Document for Receipt {
    const TAG: [u8; 12] = tag("RECEIPT");
    const BYTES_MAX: usize = limits::DEAL_BYTES_MAX;
    fn signer(&self) -> NodeId {
        self.provider
    }
    fn version(&self) -> u16 {
        self.version
    }
}

/// What the requester makes of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Countersignature {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who countersigns.
    pub requester: NodeId,
    /// Whose receipt.
    pub provider: NodeId,
    /// The receipt, by hash.
    pub receipt: DocHash,
    /// What the requester owes by it; equals the receipt's price.
    #[serde(rename = "price_nano_io")]
    pub price: NanoIo,
    /// What it made sure of before it signed.
    pub check: Check,
    /// When it was signed.
    #[serde(rename = "signed_unix_ms")]
    pub signed: UnixMillis,
}

impl Document for Countersignature {
    const TAG: [u8; 12] = tag("COUNTERSIGN");
    const BYTES_MAX: usize = limits::DEAL_BYTES_MAX;
    fn signer(&self) -> NodeId {
        self.requester
    }
    fn version(&self) -> u16 {
        self.version
    }
}

/// A receipt with both signatures, each verified and of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledReceipt {
    /// The provider's half.
    pub receipt: Verified<Receipt>,
    /// The requester's half.
    pub countersignature: Verified<Countersignature>,
}

/// Why two halves do not prove a debt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The provider's half fails by itself.
    #[error("the provider's half: {0}")]
    Receipt(SignedError),
    /// The requester's half fails by itself.
    #[error("the requester's half: {0}")]
    Countersignature(SignedError),
    /// The halves name different things.
    #[error("the halves disagree about the {0}")]
    Disagree(&'static str),
    /// Price does not follow from time and rate, or is owed for a failure.
    #[error("a price of {found} does not follow from {device_time} of device time at {rate} a second")]
    Price {
        /// Price on the receipt.
        found: NanoIo,
        /// Metered time.
        device_time: Nanos,
        /// Agreed rate.
        rate: NanoIo,
    },
}

impl Receipt {
    /// Whether the price follows from what the receipt itself says. A cap from the order may lower it, never raise it.
    pub fn check_price(&self) -> Result<(), ReceiptError> {
        let ceiling = match self.status {
            Status::Done => self.price_per_second.price_of(self.device_time),
            Status::Failed(_) => NanoIo::ZERO,
        };
        if self.price > ceiling {
            let (found, device_time, rate) = (self.price, self.device_time, self.price_per_second);
            return Err(ReceiptError::Price { found, device_time, rate });
        }
        Ok(())
    }
}

impl SettledReceipt {
    /// Verifies both halves and that they belong together. Needs no node, no network access and no clock.
    pub fn verify(
        network: &NetworkId,
        receipt: Signed<Receipt>,
        countersignature: Signed<Countersignature>,
    ) -> Result<Self, ReceiptError> {
        let receipt = receipt.verify(network).map_err(ReceiptError::Receipt)?;
        Self::join(network, receipt, countersignature)
    }

    /// The same, of a first half that is verified already.
    pub fn join(
        network: &NetworkId,
        receipt: Verified<Receipt>,
        countersignature: Signed<Countersignature>,
    ) -> Result<Self, ReceiptError> {
        let countersignature = countersignature.verify(network).map_err(ReceiptError::Countersignature)?;
        receipt.check_price()?;
        let disagreement = [
            ("requester", receipt.requester == countersignature.requester),
            ("provider", receipt.provider == countersignature.provider),
            ("receipt", receipt.hash() == countersignature.receipt),
            ("price", receipt.price == countersignature.price),
        ]
        .into_iter()
        .find(|(_, same)| !same);
        match disagreement {
            Some((what, _)) => Err(ReceiptError::Disagree(what)),
            None => Ok(Self { receipt, countersignature }),
        }
    }
}
