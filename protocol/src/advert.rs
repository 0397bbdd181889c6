//! An advert: a provider's signed, priced, expiring offer. Nobody needs to ask for a price first.

use crate::{
    codec::{Decode, Encode},
    hardware::Device,
    ids::NodeId,
    limits,
    signed::{Document, tag},
    units::{Bytes, Millis, NanoIo, UnixMillis},
};
use serde::{Deserialize, Serialize};

/// What a provider offers, until when, at what price.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Advert {
    /// [`limits::VERSION`].
    pub version: u16,
    /// Who offers and signs.
    pub node: NodeId,
    /// Grows with every advert of the node; the highest wins, an older one is a replay.
    pub seq: u64,
    /// When it was signed.
    #[serde(rename = "issued_unix_ms")]
    pub issued: UnixMillis,
    /// When it ends; at most [`limits::ADVERT_LIFE_MS_MAX`] after `issued`.
    #[serde(rename = "expires_unix_ms")]
    pub expires: UnixMillis,
    /// Multiaddresses where the node can be reached.
    pub addresses: Vec<String>,
    /// Where the operator says it is (`eu-west`); empty if unsaid.
    pub region: String,
    /// What it offers.
    pub devices: Vec<Device>,
    /// Devices idle when signed.
    pub free: u16,
    /// Jobs waiting when signed.
    pub queued: u16,
    /// Price of one second of device time.
    #[serde(rename = "price_nano_io_per_second")]
    pub price_per_second: NanoIo,
    /// Longest run time it takes on.
    #[serde(rename = "run_ms_max")]
    pub run_max: Millis,
    /// Most bytes of inputs and outputs together it takes on for one job.
    pub blob_bytes_max: Bytes,
}

impl Document for Advert {
    const TAG: [u8; 12] = tag("ADVERT");
    const BYTES_MAX: usize = limits::ADVERT_BYTES_MAX;
    fn signer(&self) -> NodeId {
        self.node
    }
    fn version(&self) -> u16 {
        self.version
    }
}

/// Why an advert is not taken into the directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertError {
    /// Its time is over.
    #[error("expired {0} ago")]
    Expired(Millis),
    /// Signed later than now and the allowed clock skew.
    #[error("issued {0} in the future; a clock is wrong")]
    FromTheFuture(Millis),
    /// Lives longer than allowed, or ends before it starts.
    #[error("lives {found}; expected at most {expected}")]
    Life {
        /// Life claimed.
        found: Millis,
        /// Life allowed.
        expected: Millis,
    },
    /// A list or text is over its cap.
    #[error("{what}: {found}; expected at most {expected}")]
    TooMuch {
        /// Which.
        what: &'static str,
        /// Size found.
        found: usize,
        /// Cap.
        expected: usize,
    },
}

impl Advert {
    /// Everything that can be wrong apart from the signature.
    pub fn check(&self, wall: UnixMillis) -> Result<(), AdvertError> {
        if self.expires <= wall {
            return Err(AdvertError::Expired(Millis(wall.0 - self.expires.0)));
        }
        if self.issued.0 > wall.0.saturating_add(limits::CLOCK_SKEW_MS_MAX) {
            return Err(AdvertError::FromTheFuture(Millis(self.issued.0 - wall.0)));
        }
        let life = Millis(self.expires.0.saturating_sub(self.issued.0));
        let life_max = Millis(limits::ADVERT_LIFE_MS_MAX);
        if life > life_max || life == Millis::ZERO {
            return Err(AdvertError::Life { found: life, expected: life_max });
        }
        let longest_address = self.addresses.iter().map(String::len).max().unwrap_or(0);
        let longest_model = self.devices.iter().map(|d| d.model.len()).max().unwrap_or(0);
        let caps = [
            ("devices", self.devices.len(), limits::DEVICES_MAX),
            ("addresses", self.addresses.len(), limits::ADDRESSES_MAX),
            ("bytes of an address", longest_address, limits::ADDRESS_BYTES_MAX),
            ("bytes of a model name", longest_model, limits::NAME_BYTES_MAX),
            ("bytes of region", self.region.len(), limits::NAME_BYTES_MAX),
        ];
        match caps.into_iter().find(|(_, found, max)| found > max) {
            Some((what, found, expected)) => Err(AdvertError::TooMuch { what, found, expected }),
            None => Ok(()),
        }
    }
}
