//! The one door to ed25519: sign, and verify strictly.
//!
//! Plain and batch verification accept forgeries under small-order keys; only `verify_strict` refuses them, so it is
//! the only one used, and weak keys are refused outright.

use crate::ids::NodeId;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;

/// A node's secret: who holds it is the node. Cleared from memory on drop; never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of these 32 secret bytes (RFC 8032 seed).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be written to the key file and handed to the transport; nowhere else.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs raw bytes. Documents go through [`crate::signed::Signed`], which adds tag and network.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.node_id().short())
    }
}

/// Why a signature proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no point of the curve.
    #[error("the signer's key is not a valid ed25519 public key")]
    NotAKey,
    /// A small-order point: anybody can sign for it.
    #[error("the signer's key is weak: anybody could sign for it")]
    WeakKey,
    /// The signature is of other bytes or by another key.
    #[error("the signature does not match")]
    Mismatch,
}

/// Whether `signature` over `bytes` is by `node`.
pub fn verify(node: &NodeId, bytes: &[u8], signature: &[u8; 64]) -> Result<(), KeyError> {
    let key = VerifyingKey::from_bytes(&node.0).map_err(|_| KeyError::NotAKey)?;
    if key.is_weak() {
        return Err(KeyError::WeakKey);
    }
    key.verify_strict(bytes, &Signature::from_bytes(signature)).map_err(|_| KeyError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8032_test_1() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = SecretKey::from_seed(&seed.try_into().unwrap());
        assert_eq!(
            key.node_id().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let signature = key.sign(b"");
        assert!(hex::encode(signature).starts_with("e5564300c360ac729086e2cc806e828a"));
        assert_eq!(verify(&key.node_id(), b"", &signature), Ok(()));
        assert_eq!(verify(&key.node_id(), b"x", &signature), Err(KeyError::Mismatch));
    }

    #[test]
    fn weak_keys_are_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        assert_eq!(verify(&NodeId(identity_point), b"anything", &forged), Err(KeyError::WeakKey));
    }
}
