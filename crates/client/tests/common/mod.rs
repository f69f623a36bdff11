//! What the tests of transports share: a wire that counts and spoils bytes, and certificates. Not here: checks.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod certificate;
pub(crate) mod wire;

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}
