//! Small secrets at rest: keys of conversations in the database's meta table, seeds of open invitations.
//!
//! One random key per home, kept in the key store, wraps them all; each under its name, so that two of them cannot be
//! swapped. Format: version 1, nonce 12, cipher text, tag 16.

use crate::SealError;
use crate::body::{OVERHEAD_BYTES, open_from, seal_into};
use core::fmt;
use tombolo_model::limit::BODY_BYTES_MAX;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const STORAGE_KEY_DOMAIN: &str = "tombolo 1 storage key";

/// The key under which a home keeps small secrets. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// Takes 32 bytes that must be uniformly random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(*bytes)
    }

    /// The bytes, to be put into the key store.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Wraps `plain` under `name`. `nonce` must be random and fresh.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] above 64 KiB: this is for secrets, not for content.
    pub fn wrap(&self, name: &str, nonce: [u8; NONCE_BYTES], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        if plain.len() > BODY_BYTES_MAX {
            return Err(SealError::TooLarge { bytes: plain.len(), max: BODY_BYTES_MAX });
        }
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + plain.len() + OVERHEAD_BYTES);
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        seal_into(&mut out, &*self.key(), &nonce, name.as_bytes(), plain);
        Ok(out)
    }

    /// Opens what [`StorageKey::wrap`] wrapped under the same name.
    ///
    /// # Errors
    /// [`SealError::NotOpened`] for another key, another name or damaged bytes, [`SealError::Newer`].
    pub fn unwrap_(&self, name: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match wrapped.split_first() {
            None => Err(SealError::NotOpened),
            Some((&VERSION, rest)) => {
                let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::NotOpened)?;
                open_from(&*self.key(), nonce, name.as_bytes(), sealed)
            }
            Some((version, _)) => Err(SealError::Newer(*version)),
        }
    }

    fn key(&self) -> Zeroizing<[u8; 32]> {
        let mut hasher = Zeroizing::new(blake3::Hasher::new_derive_key(STORAGE_KEY_DOMAIN));
        hasher.update(&self.0);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey(hidden)")
    }
}
