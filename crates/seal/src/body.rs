//! Sealing of bodies: AES-256-GCM-SIV (RFC 8452), 16 bytes more than the plain ones.
//!
//! Key and nonce are derived from the conversation's secret and the op's place, so nothing but the tag travels. A place is
//! used once (a device that cannot show its tail begins a new log); should one ever be used twice, this mode reveals only
//! whether the two plain texts are equal. The header up to the body's hash is associated data, so that a body cannot be
//! moved under another header.
//!
//! The trait is the seam where group keys by epoch (MLS) will take the place of the one shared secret.

use crate::SealError;
use aes_gcm_siv::aead::{AeadInPlace, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Key, Nonce, Tag};
use blake3::hazmat::HasherExt as _;
use core::fmt;
use tombolo_model::limit::BODY_BYTES_MAX;
use tombolo_model::{DeviceId, Header, LogId};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// **Bytes** by which a sealed body is longer than the plain one.
pub const OVERHEAD_BYTES: usize = 16;

/// What BLAKE3's "derive key" mode makes of "tombolo 1 body key and nonce": hashed once, here, and not for every body.
const PLACE_KEY: [u8; 32] = [
    0x2e, 0xb2, 0x80, 0x2d, 0x1c, 0xdd, 0xc3, 0x2e, 0xe9, 0x5d, 0xc5, 0xb9, 0x06, 0xd4, 0x33, 0xbd, 0xda, 0xf1, 0xef,
    0xb3, 0x25, 0xcf, 0xe6, 0xd7, 0x39, 0xc7, 0x94, 0xd5, 0xaf, 0x0b, 0x2b, 0x86,
];

/// Where an op stands: what its key and nonce are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The author.
    pub author: DeviceId,
    /// The log.
    pub log: LogId,
    /// Place in the log.
    pub seq: u64,
    /// Key epoch.
    pub epoch: u32,
}

impl Place {
    /// The place that a header states.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Self { author: header.author, log: header.log, seq: header.seq, epoch: header.epoch }
    }
}

/// Seals and opens bodies of one conversation.
pub trait Sealer: Send + Sync {
    /// Seals `plain` for the members; the result is [`OVERHEAD_BYTES`] longer.
    ///
    /// # Errors
    /// [`SealError::TooLarge`].
    fn seal(&self, header_ad: &[u8], at: &Place, plain: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Opens what [`Sealer::seal`] sealed for the same place under the same associated data.
    ///
    /// # Errors
    /// [`SealError::NotOpened`].
    fn open(&self, header_ad: &[u8], at: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>;
}

/// Seals the body of a header that is otherwise complete: sets its `body_len`, which is part of what is bound. The body's
/// hash is set when the op is signed.
///
/// # Errors
/// As [`Sealer::seal`]; the header is as before then.
pub fn seal_body(sealer: &dyn Sealer, header: &mut Header, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    check_len(plain)?;
    let before = header.body_len;
    header.body_len = (plain.len() + OVERHEAD_BYTES) as u32;
    let sealed = sealer.seal(&header.associated_data(), &Place::of(header), plain);
    if sealed.is_err() {
        header.body_len = before;
    }
    sealed
}

/// Opens the body that came with a header.
///
/// # Errors
/// As [`Sealer::open`].
pub fn open_body(sealer: &dyn Sealer, header: &Header, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    sealer.open(&header.associated_data(), &Place::of(header), sealed)
}

/// The secret that all members of a conversation share; it travels in the invitation. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ConversationSecret([u8; 32]);

impl ConversationSecret {
    /// Takes 32 bytes that must be uniformly random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(*bytes)
    }

    /// The bytes, to be wrapped or put into an invitation.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ConversationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConversationSecret(hidden)")
    }
}

/// Seals with the one secret that all members share.
#[derive(Clone, Debug)]
pub struct SecretSealer {
    secret: ConversationSecret,
}

impl SecretSealer {
    /// Seals and opens with `secret`.
    #[must_use]
    pub fn new(secret: ConversationSecret) -> Self {
        Self { secret }
    }

    /// Key (32 bytes) and nonce (12) of a place.
    fn key_and_nonce(&self, at: &Place) -> Zeroizing<[u8; 44]> {
        let mut hasher = Zeroizing::new(blake3::Hasher::new_from_context_key(&PLACE_KEY));
        hasher.update(&self.secret.0);
        hasher.update(&at.author.0);
        hasher.update(&at.log.0);
        hasher.update(&at.seq.to_be_bytes());
        hasher.update(&at.epoch.to_be_bytes());
        let mut out = Zeroizing::new([0; 44]);
        Zeroizing::new(hasher.finalize_xof()).fill(&mut *out);
        out
    }
}

impl Sealer for SecretSealer {
    fn seal(&self, header_ad: &[u8], at: &Place, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        check_len(plain)?;
        let derived = self.key_and_nonce(at);
        let (key, nonce) = derived.split_at(32);
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        seal_into(&mut out, key, nonce, header_ad, plain);
        Ok(out)
    }

    fn open(&self, header_ad: &[u8], at: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let derived = self.key_and_nonce(at);
        let (key, nonce) = derived.split_at(32);
        open_from(key, nonce, header_ad, sealed)
    }
}

fn check_len(plain: &[u8]) -> Result<(), SealError> {
    let max = BODY_BYTES_MAX - OVERHEAD_BYTES;
    if plain.len() > max { Err(SealError::TooLarge { bytes: plain.len(), max }) } else { Ok(()) }
}

/// Appends cipher text and tag. `key` has 32 bytes, `nonce` 12, `plain` at most [`BODY_BYTES_MAX`].
pub(crate) fn seal_into(out: &mut Vec<u8>, key: &[u8], nonce: &[u8], ad: &[u8], plain: &[u8]) {
    let at = out.len();
    out.extend_from_slice(plain);
    let cipher = Aes256GcmSiv::new(Key::<Aes256GcmSiv>::from_slice(key));
    let tag = cipher
        .encrypt_in_place_detached(Nonce::from_slice(nonce), ad, &mut out[at..])
        .expect("fails only above 64 GiB, and callers keep to a body's length");
    out.extend_from_slice(&tag);
}

/// Opens what [`seal_into`] appended.
pub(crate) fn open_from(key: &[u8], nonce: &[u8], ad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let len = sealed.len().checked_sub(OVERHEAD_BYTES).ok_or(SealError::NotOpened)?;
    let (text, tag) = sealed.split_at(len);
    let mut plain = Zeroizing::new(text.to_vec());
    let cipher = Aes256GcmSiv::new(Key::<Aes256GcmSiv>::from_slice(key));
    cipher
        .decrypt_in_place_detached(Nonce::from_slice(nonce), ad, &mut plain, Tag::from_slice(tag))
        .map_err(|_| SealError::NotOpened)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_its_domain() {
        assert_eq!(PLACE_KEY, blake3::hazmat::hash_derive_key_context("tombolo 1 body key and nonce"));
    }
}
