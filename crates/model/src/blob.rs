//! What a device says to a relay about a blob, as it signs it. A blob is the sealed bytes of a file; its id is the BLAKE3
//! hash of them, so a relay can check what it stores without reading it.
//!
//! ```text
//! relay 32 | time 8 | verb 1 | blob 32 | from 8 | length 8 | total 8 | hash of the piece 32      big-endian
//! ```
//!
//! The signature names the relay, so it is worth nothing elsewhere, and the time, so it is worth nothing later. A piece
//! that is sent is named by its hash: what was changed on the way is noticed before it is stored, and only it is sent
//! again. Not here: signing (`identity`), HTTP (`relay`, `client`), how files are sealed (`seal`).

use crate::id::BlobId;
use crate::{DeviceId, Malformed};
use alloc::vec::Vec;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// How much of it is there.
    Look = 1,
    /// Take a piece.
    Put = 2,
    /// Give a stretch.
    Get = 3,
}

impl Verb {
    /// The HTTP method that carries it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Look => "HEAD",
            Self::Put => "PATCH",
            Self::Get => "GET",
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom it is for.
    pub relay: DeviceId,
    /// When it was made: **milliseconds** since 1970 by the relay's clock.
    pub at_ms: u64,
    /// What is asked.
    pub verb: Verb,
    /// About which blob.
    pub blob: BlobId,
    /// Where the piece or stretch begins, in **bytes**.
    pub from: u64,
    /// Its length in **bytes**.
    pub len: u64,
    /// **Bytes** of the whole blob, when a piece is sent; else 0.
    pub total: u64,
    /// BLAKE3 of the piece that is sent; else zero.
    pub piece: [u8; 32],
}

impl Request {
    /// The bytes that the device signs under [`crate::crypto::DOMAIN_BLOB`].
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(129);
        out.extend_from_slice(&self.relay.0);
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.push(self.verb as u8);
        out.extend_from_slice(&self.blob.0);
        out.extend_from_slice(&self.from.to_be_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.piece);
        out
    }

    /// Whether the numbers fit each other.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`] where a piece ends behind the whole, or numbers overflow.
    pub fn check(&self) -> Result<(), Malformed> {
        let end = self.from.checked_add(self.len).ok_or(Malformed::TooLarge("piece"))?;
        if self.verb == Verb::Put && (self.len == 0 || end > self.total) {
            return Err(Malformed::TooLarge("piece"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::hex;

    fn request() -> Request {
        Request {
            relay: DeviceId([1; 32]),
            at_ms: 2,
            verb: Verb::Put,
            blob: BlobId([3; 32]),
            from: 4,
            len: 5,
            total: 9,
            piece: [6; 32],
        }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let expected = [
            "01".repeat(32),
            "0000000000000002".into(),
            "02".into(),
            "03".repeat(32),
            "0000000000000004".into(),
            "0000000000000005".into(),
            "0000000000000009".into(),
            "06".repeat(32),
        ];
        assert_eq!(hex(&request().signed_bytes()), expected.concat());
    }

    #[test]
    fn pieces_lie_within_the_whole() {
        request().check().unwrap();
        for wrong in [
            Request { from: 5, ..request() },
            Request { len: 0, ..request() },
            Request { from: u64::MAX, ..request() },
            Request { verb: Verb::Get, from: u64::MAX, ..request() },
        ] {
            assert_eq!(wrong.check(), Err(Malformed::TooLarge("piece")));
        }
    }
}
