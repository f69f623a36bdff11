//! Checking single Ed25519 signatures, strictly.
//!
//! Strict means: the key and the signature's point have one encoding, are not of small order, and the scalar is reduced.
//! A lax or a batched check can accept what a strict one refuses, and then replicas would hold different sets for ever.

use crate::key::in_domain;
use ed25519_dalek::VerifyingKey;
use tombolo_model::crypto::Verifier;
use tombolo_model::{DeviceId, Signature};

/// The strict check, for everything that takes a [`Verifier`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Strict;

impl Verifier for Strict {
    fn verify(&self, device: &DeviceId, domain: &str, message: &[u8], signature: &Signature) -> bool {
        verify(&device.0, domain, message, &signature.0)
    }
}

/// Whether `signature` was made with `key` over `message` under `domain`.
pub(crate) fn verify(key: &[u8; 32], domain: &str, message: &[u8], signature: &[u8; 64]) -> bool {
    public(key).is_some_and(|key| verify_with(&key, domain, message, signature))
}

/// The same with a key that was already unpacked: worth it where one author signed many ops.
pub(crate) fn verify_with(key: &VerifyingKey, domain: &str, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(&in_domain(domain, message), &signature).is_ok()
}

/// Unpacks a public key; `None` when the bytes are no point, or not its canonical encoding. (`verify_strict` refuses
/// points of small order, and with them every encoding of x = 0; it does not look at how the key's y is encoded.)
pub(crate) fn public(key: &[u8; 32]) -> Option<VerifyingKey> {
    if is_reduced(key) { VerifyingKey::from_bytes(key).ok() } else { None }
}

/// Whether the y coordinate (little-endian, the top bit is the sign of x) is below p = 2^255 - 19.
fn is_reduced(key: &[u8; 32]) -> bool {
    key[31] & 0x7f != 0x7f || key[1..31].iter().any(|byte| *byte != 0xff) || key[0] < 0xed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_below_p_is_reduced() {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        assert!(!is_reduced(&p));
        let mut below = p;
        below[0] = 0xec;
        assert!(is_reduced(&below));
        // y = p + 3 is another encoding of 3, which is on the curve.
        let (mut three, mut also_three) = ([0; 32], p);
        three[0] = 3;
        also_three[0] = 0xf0;
        assert!(VerifyingKey::from_bytes(&also_three).is_ok(), "the library alone accepts it");
        assert!(public(&three).is_some() && public(&also_three).is_none());
    }
}
