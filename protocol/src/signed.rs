//! Signed documents. The only way to a [`Verified`] value is [`Signed::verify`].
//!
//! Preimage: `"ION1" || tag[12] || network[32] || body`, so that a signature means one kind of document on one network.
//! The exact body bytes are kept and forwarded, never encoded again. A document's hash is SHA-256 of its preimage:
//! a chain can check it.

use crate::{
    codec::{self, CodecError, Decode, Encode},
    ids::{DocHash, NetworkId, NodeId},
    key::{self, KeyError, SecretKey},
};
use sha2::{Digest, Sha256};
use std::{fmt, marker::PhantomData, ops::Deref};

const MAGIC: &[u8; 4] = b"ION1";

/// A body that nodes sign.
pub trait Document: Encode + Decode<()> {
    /// Separates this kind of document from all others: ASCII, zero-padded.
    const TAG: [u8; 12];
    /// Largest encoding of the body.
    const BYTES_MAX: usize;
    /// The node whose signature makes it valid, as named in the body.
    fn signer(&self) -> NodeId;
    /// The document's wire version; anything but [`crate::limits::VERSION`] is refused.
    fn version(&self) -> u16;
}

/// Pads an ASCII tag with zeros.
pub const fn tag(name: &str) -> [u8; 12] {
    let (bytes, mut out, mut i) = (name.as_bytes(), [0; 12], 0);
    while i < bytes.len() {
        out[i] = bytes[i];
        i += 1;
    }
    out
}

/// Why a signed document is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The body does not decode.
    #[error("the document's body is unreadable: {0}")]
    Codec(#[from] CodecError),
    /// Made for another protocol version.
    #[error("the document has version {found}, this node speaks {expected}; one of the two needs an update")]
    Version {
        /// Version in the document.
        found: u16,
        /// Version of this node.
        expected: u16,
    },
    /// The signature fails.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A body with a signature nobody has checked yet.
#[derive(Encode, Decode)]
pub struct Signed<T> {
    body: Vec<u8>,
    signature: [u8; 64],
    kind: PhantomData<T>,
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { body: self.body.clone(), signature: self.signature, kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body && self.signature == other.signature
    }
}
impl<T> Eq for Signed<T> {}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes, {}..)", self.body.len(), hex::encode(&self.signature[..4]))
    }
}

impl<T: Document> Signed<T> {
    /// Signs `body`. The key must be the one the body names.
    pub fn sign(body: T, network: &NetworkId, key: &SecretKey) -> Verified<T> {
        debug_assert_eq!(body.signer(), key.node_id(), "a document is signed by the node it names");
        let bytes = codec::encode(&body);
        let preimage = preimage::<T>(network, &bytes);
        let signature = key.sign(&preimage);
        let hash = DocHash(Sha256::digest(&preimage).into());
        Verified { body, hash, signed: Signed { body: bytes, signature, kind: PhantomData } }
    }

    /// From parts kept in a file.
    pub fn from_parts(body: Vec<u8>, signature: [u8; 64]) -> Self {
        Self { body, signature, kind: PhantomData }
    }

    /// The exact body bytes.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// The signature bytes.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The document's name on `network`, whether or not its signature holds: for documents this node has checked before.
    pub fn hash(&self, network: &NetworkId) -> DocHash {
        DocHash(Sha256::digest(preimage::<T>(network, &self.body)).into())
    }

    /// Decodes the body and checks version, key and signature.
    pub fn verify(self, network: &NetworkId) -> Result<Verified<T>, SignedError> {
        let body: T = codec::decode(&self.body, T::BYTES_MAX)?;
        if body.version() != crate::limits::VERSION {
            return Err(SignedError::Version { found: body.version(), expected: crate::limits::VERSION });
        }
        let preimage = preimage::<T>(network, &self.body);
        key::verify(&body.signer(), &preimage, &self.signature)?;
        Ok(Verified { body, hash: DocHash(Sha256::digest(&preimage).into()), signed: self })
    }
}

fn preimage<T: Document>(network: &NetworkId, body: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &T::TAG, &network.0, body].concat()
}

/// A document whose signature holds. Dereferences to the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified<T> {
    body: T,
    hash: DocHash,
    signed: Signed<T>,
}

impl<T> Verified<T> {
    /// The document's name: SHA-256 of what was signed.
    pub fn hash(&self) -> DocHash {
        self.hash
    }

    /// The bytes to keep and forward.
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }

    /// The body.
    pub fn body(&self) -> &T {
        &self.body
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({:?})", self.body)
    }
}
