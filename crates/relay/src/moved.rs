//! A relay's signed word that it has moved: clients follow it, since they know the relay by its key.
//!
//! `tombolo-relay moved` writes it into the database; a running relay sees it within two seconds and tells everybody
//! who is connected, and from then on everybody who connects. It stays until another one is written.

use crate::config::check_url;
use crate::{Place, RelayError};
use tombolo_model::Signature;
use tombolo_model::crypto::{DOMAIN_MOVED, Signer as _};
use tombolo_oplog::{LogError, Reader};
use tombolo_proto::session::moved_bytes;

const META: &str = "relay.moved";

/// Where a relay has moved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The new address.
    pub url: String,
    /// When that was said, **milliseconds** since 1970. The latest word counts.
    pub at_ms: u64,
    /// By the relay's key, over both.
    pub signature: Signature,
}

impl Moved {
    /// Signs a move and stores it, whether or not a relay is running on the folder.
    ///
    /// # Errors
    /// [`RelayError::Config`] for an address that nobody can dial; others as they say.
    pub fn declare(place: &Place, url: &str, now_ms: u64) -> Result<Self, RelayError> {
        check_url(url)?;
        let key = place.key()?;
        let mut log = place.open()?;
        // A clock that was set back must not make an older word win.
        let at_ms = Self::load(&log)?.map_or(now_ms, |last| now_ms.max(last.at_ms + 1));
        let moved = Self { url: url.into(), at_ms, signature: key.sign(DOMAIN_MOVED, &moved_bytes(url, at_ms)) };
        let mut batch = log.batch()?;
        batch.put_meta(META, &moved.to_bytes())?;
        batch.commit()?;
        log.close()?;
        Ok(moved)
    }

    /// The last word, if there is one.
    pub(crate) fn load(log: &Reader) -> Result<Option<Self>, LogError> {
        let Some(bytes) = log.meta(META)? else { return Ok(None) };
        Self::from_bytes(&bytes).map(Some).ok_or_else(|| LogError::Damaged("the relay's word that it has moved".into()))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.at_ms.to_be_bytes().to_vec();
        out.extend_from_slice(&self.signature.0);
        out.extend_from_slice(self.url.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at_ms, rest) = bytes.split_first_chunk::<8>()?;
        let (signature, url) = rest.split_first_chunk::<64>()?;
        let url = std::str::from_utf8(url).ok()?.to_owned();
        Some(Self { url, at_ms: u64::from_be_bytes(*at_ms), signature: Signature(*signature) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tombolo_identity::Strict;
    use tombolo_model::crypto::Verifier as _;

    #[test]
    fn the_latest_word_counts_and_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let relay = place.key_or_new().unwrap().id();
        assert!(Moved::declare(&place, "https://elsewhere", 5).is_err());
        Moved::declare(&place, "wss://one", 1_000).unwrap();
        let second = Moved::declare(&place, "wss://two", 7).unwrap();
        assert_eq!(second.at_ms, 1_001);
        assert_eq!(Moved::load(&place.open().unwrap()).unwrap(), Some(second.clone()));
        let said = moved_bytes(&second.url, second.at_ms);
        assert!(Strict.verify(&relay, DOMAIN_MOVED, &said, &second.signature));
        assert!(!Strict.verify(&relay, DOMAIN_MOVED, &moved_bytes("wss://three", 1_001), &second.signature));
    }

    #[test]
    fn other_bytes_are_no_move() {
        assert_eq!(Moved::from_bytes(&[0; 71]), None);
        assert_eq!(Moved::from_bytes(&[0xff; 73]), None);
        assert!(Moved::from_bytes(&[0; 72]).is_some());
    }
}
