//! The register of a device in a conversation: one signed value that is replaced in place and never grows the log.
//!
//! It carries what the device holds and what was read on it (`reading.rs`), sealed, so that relays pass it on without
//! reading it. It is no op: never a parent, in no digest of the log, and an older version is dropped. The greater
//! version wins, then the greater bytes, so any order of arrival leaves the same one.
//! Not here: sealing (`client`), storing (`oplog`), how it travels (`proto`).

use crate::{ConversationId, DeviceId, Signature};
use alloc::vec::Vec;

/// One register.
#[derive(Clone, PartialEq, Eq)]
pub struct Register {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose it is: its key signs.
    pub device: DeviceId,
    /// Counts up with every change; below 2^63.
    pub version: u64,
    /// Sealed, at most [`crate::limit::REGISTER_BYTES_MAX`] **bytes**.
    pub payload: Vec<u8>,
    /// By the device, over [`Register::signed_bytes`].
    pub signature: Signature,
}

impl core::fmt::Debug for Register {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes = self.payload.len();
        write!(f, "Register({} {} v{} {bytes} bytes)", self.conversation.short(), self.device.short(), self.version)
    }
}

impl Register {
    /// What the device signs: the name of the register, its version, its payload.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(56 + self.payload.len());
        out.extend_from_slice(&self.conversation.0);
        out.extend_from_slice(&self.device.0);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }

    /// A number for this very version: sums of them say whether two replicas hold the same registers. Signatures do not
    /// count, since one value may be signed in several ways.
    #[must_use]
    pub fn tag(&self) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 tag of a register");
        hasher.update(&self.signed_bytes());
        let mut tag = [0; 8];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_be_bytes(tag)
    }

    /// Whether this one takes the place of `other`, which has the same name.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        (self.version, &self.payload) > (other.version, &other.payload)
    }
}

/// Digest over the registers of several conversations, each as the sum of its tags modulo 2^64, sorted by conversation. A
/// search, not a proof: it says when to compare, and nobody relies on it for more.
#[must_use]
pub fn digest_of(sums: impl IntoIterator<Item = (ConversationId, u64)>) -> [u8; 6] {
    let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 digest of registers");
    for (conversation, sum) in sums {
        if sum != 0 {
            hasher.update(&conversation.0);
            hasher.update(&sum.to_be_bytes());
        }
    }
    let mut digest = [0; 6];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..6]);
    digest
}
