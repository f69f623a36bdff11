//! The two things that pure code needs of cryptography, as traits: `identity` implements them, tests may too.

use crate::{DeviceId, Signature};

/// Signs with the key of the local device.
pub trait Signer {
    /// The public key whose signatures [`Signer::sign`] makes.
    fn device(&self) -> DeviceId;
    /// Signs `message` under a domain, so that a signature for one purpose is worthless for every other.
    fn sign(&self, domain: &str, message: &[u8]) -> Signature;
}

/// Checks signatures of others. Strict Ed25519 only: a lax or batched check may disagree between replicas.
pub trait Verifier {
    /// Whether `signature` was made by `device` over `message` under `domain`.
    fn verify(&self, device: &DeviceId, domain: &str, message: &[u8], signature: &Signature) -> bool;
}

/// Domain of the signature of an op; the message is its id.
pub const DOMAIN_OP: &str = "tombolo 1 op";
/// Domain of a device certificate; the message is its canonical fields.
pub const DOMAIN_CERTIFICATE: &str = "tombolo 1 certificate";
/// Domain of the proof in a join; the message is conversation, account and device.
pub const DOMAIN_JOIN: &str = "tombolo 1 join";
/// Domain of the proof that authenticates a connection; the message is the hash of its opening.
pub const DOMAIN_SESSION: &str = "tombolo 1 session";
/// Domain of an acknowledgement of durable ops.
pub const DOMAIN_ACK: &str = "tombolo 1 ack";
/// Domain of a relay's statement that it has moved to another address.
pub const DOMAIN_MOVED: &str = "tombolo 1 moved";
/// Domain of a register; the message is its name, version and payload.
pub const DOMAIN_REGISTER: &str = "tombolo 1 register";
/// Domain of a request about a blob; the message is [`crate::blob::Request::signed_bytes`].
pub const DOMAIN_BLOB: &str = "tombolo 1 blob";
