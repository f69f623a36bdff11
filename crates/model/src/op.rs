//! The op: the unit of the log. Immutable, content-addressed, signed; its body travels beside it, sealed.
//!
//! Canonical header bytes (big-endian; DESIGN section 3). The body's length and hash come last, so that everything
//! before the hash can be the associated data of the seal:
//!
//! ```text
//! version 1 | class 1 | conversation 16 | author 32 | log 8 | seq 8 | prev 32 | hlc 8 | epoch 4 | expires 8
//! | parents: count 1, 32 each | erases: count 1, 32 each | extension: length 2, bytes | body length 4 | body hash 32
//! ```
//!
//! `id = BLAKE3 keyed by the domain ("derive key" mode) over the header`. The author signs the id.
//! Not here: signing and checking (`identity`), sealing (`seal`), storing (`oplog`).

use crate::codec::{Malformed, Reader};
use crate::limit::{BODY_BYTES_MAX, ERASES_MAX, EXTENSION_BYTES_MAX, PARENTS_MAX};
use crate::{ConversationId, DeviceId, Hlc, Key, LogId, OpId};
use alloc::vec::Vec;
use blake3::hazmat::HasherExt as _;
use core::fmt;

/// The format version that this code writes.
pub const VERSION: u8 = 1;

/// What BLAKE3's "derive key" mode makes of "tombolo 1 op id": hashed once, here, and not for every op.
const ID_KEY: [u8; 32] = [
    0x49, 0xa0, 0x10, 0xea, 0x42, 0x05, 0x35, 0x0d, 0xc4, 0xd3, 0xba, 0x3c, 0x1d, 0xa1, 0x68, 0xf1, 0x6d, 0x0d, 0x28,
    0x3a, 0x16, 0xf1, 0x33, 0x28, 0xed, 0x50, 0x2d, 0x9b, 0xcf, 0xdf, 0xc8, 0x71,
];
/// The same of "tombolo 1 body hash".
const BODY_KEY: [u8; 32] = [
    0x8e, 0x84, 0x1d, 0x9b, 0xd4, 0xc3, 0x3c, 0xb9, 0xdf, 0x00, 0x47, 0x09, 0xeb, 0x19, 0x67, 0xbb, 0x2a, 0x77, 0x00,
    0x3f, 0x34, 0x06, 0x20, 0x9a, 0x9a, 0xa5, 0x2d, 0x52, 0x36, 0x09, 0xe0, 0xf0,
];

/// What an op is for, and therefore who may read its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Sealed for the members: texts, names, titles.
    Content = 0,
    /// Readable by relays, which must act on it: membership, invitations, addresses of relays.
    Control = 1,
    /// Joins heads; has no body.
    Merge = 2,
}

impl TryFrom<u8> for Class {
    type Error = Malformed;
    fn try_from(byte: u8) -> Result<Self, Malformed> {
        match byte {
            0 => Ok(Self::Content),
            1 => Ok(Self::Control),
            2 => Ok(Self::Merge),
            _ => Err(Malformed::Unknown("class")),
        }
    }
}

/// BLAKE3 over a sealed body, with its own domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    /// That of an empty body.
    pub const EMPTY: Self = Self([
        0xc3, 0x22, 0x4b, 0x5c, 0x00, 0xeb, 0xf1, 0xf6, 0x7e, 0x01, 0x7c, 0x3b, 0x50, 0x66, 0x8c, 0x18, 0xa0, 0x50,
        0xe9, 0xc4, 0x82, 0x1b, 0x08, 0x8c, 0x79, 0x26, 0x51, 0xd3, 0x28, 0x9c, 0xc9, 0x68,
    ]);

    /// Hashes a sealed body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_from_context_key(&BODY_KEY);
        hasher.update(body);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyHash({})", crate::id::hex(&self.0[..4]))
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", crate::id::hex(&self.0[..4]))
    }
}

/// The signed part of an op. What stands here can never change without changing the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version. Replicas store and forward versions that they do not know, unchanged.
    pub version: u8,
    /// Who may read the body.
    pub class: Class,
    /// The conversation; zero in its genesis op.
    pub conversation: ConversationId,
    /// The device that wrote and signed it.
    pub author: DeviceId,
    /// Which of the author's logs.
    pub log: LogId,
    /// Place in that log: 1, 2, 3 ...
    pub seq: u64,
    /// Id of the same log's op `seq - 1`; zero for the first.
    pub prev: OpId,
    /// Clock reading, above that of `prev` and of every parent.
    pub hlc: Hlc,
    /// Key epoch of the body.
    pub epoch: u32,
    /// Milliseconds since 1970 at which the body must be erased; 0 = never.
    pub expires_ms: u64,
    /// Causal heads that the author had seen, other than `prev`: sorted, unique, at most [`PARENTS_MAX`].
    pub parents: Vec<OpId>,
    /// Ops whose bodies go, where the author has the right: sorted, unique, at most [`ERASES_MAX`].
    pub erases: Vec<OpId>,
    /// Hashed, ignored when unknown; at most [`EXTENSION_BYTES_MAX`] bytes.
    pub extension: Vec<u8>,
    /// Length of the sealed body in **bytes**.
    pub body_len: u32,
    /// Hash of the sealed body.
    pub body_hash: BodyHash,
}

impl Header {
    /// The conversation that this op belongs to, which for a genesis op is the one that it founds.
    #[must_use]
    pub fn belongs_to(&self, id: &OpId) -> ConversationId {
        if self.is_genesis() { id.founds() } else { self.conversation }
    }

    /// Whether this op founds its conversation.
    #[must_use]
    pub fn is_genesis(&self) -> bool {
        self.conversation == ConversationId::ZERO
    }

    /// Everything before the body hash: the associated data under which the body is sealed.
    #[must_use]
    pub fn associated_data(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + 32 * (self.parents.len() + self.erases.len()) + self.extension.len());
        out.push(self.version);
        out.push(self.class as u8);
        out.extend_from_slice(&self.conversation.0);
        out.extend_from_slice(&self.author.0);
        out.extend_from_slice(&self.log.0);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.prev.0);
        out.extend_from_slice(&self.hlc.0.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.expires_ms.to_be_bytes());
        out.push(self.parents.len() as u8);
        for parent in &self.parents {
            out.extend_from_slice(&parent.0);
        }
        out.push(self.erases.len() as u8);
        for erased in &self.erases {
            out.extend_from_slice(&erased.0);
        }
        out.extend_from_slice(&(self.extension.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.extension);
        out.extend_from_slice(&self.body_len.to_be_bytes());
        out
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.associated_data();
        out.extend_from_slice(&self.body_hash.0);
        out
    }

    /// The id: BLAKE3 over the canonical bytes.
    #[must_use]
    pub fn id(&self) -> OpId {
        let mut hasher = blake3::Hasher::new_from_context_key(&ID_KEY);
        hasher.update(&self.to_bytes());
        OpId(*hasher.finalize().as_bytes())
    }

    /// The place in display order: clock reading, then id.
    #[must_use]
    pub fn key(&self, id: &OpId) -> Key {
        Key::new(self.hlc, id)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are not the canonical form of a header within its limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        let class = Class::try_from(reader.u8()?)?;
        let conversation = ConversationId(reader.array()?);
        let author = DeviceId(reader.array()?);
        let log = LogId(reader.array()?);
        let seq = reader.u64()?;
        let prev = OpId(reader.array()?);
        let hlc = Hlc(reader.u64()?);
        let epoch = reader.u32()?;
        let expires_ms = reader.u64()?;
        let parents = ids(&mut reader, PARENTS_MAX, "parents")?;
        let erases = ids(&mut reader, ERASES_MAX, "erases")?;
        let extension_len = usize::from(reader.u16()?);
        if extension_len > EXTENSION_BYTES_MAX {
            return Err(Malformed::TooLarge("extension"));
        }
        let extension = reader.take(extension_len)?.to_vec();
        let body_len = reader.u32()?;
        let body_hash = BodyHash(reader.array()?);
        reader.finish()?;
        let header = Self {
            version,
            class,
            conversation,
            author,
            log,
            seq,
            prev,
            hlc,
            epoch,
            expires_ms,
            parents,
            erases,
            extension,
            body_len,
            body_hash,
        };
        header.check()?;
        Ok(header)
    }

    /// Checks what a header must obey whoever wrote it: bounds, sorting, the form of first and genesis ops.
    ///
    /// # Errors
    /// [`Malformed`] naming the field.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.parents.len() > PARENTS_MAX {
            return Err(Malformed::TooLarge("parents"));
        }
        if self.erases.len() > ERASES_MAX {
            return Err(Malformed::TooLarge("erases"));
        }
        if self.extension.len() > EXTENSION_BYTES_MAX {
            return Err(Malformed::TooLarge("extension"));
        }
        if self.body_len as usize > BODY_BYTES_MAX {
            return Err(Malformed::TooLarge("body"));
        }
        if !self.parents.is_sorted_by(|a, b| a < b) {
            return Err(Malformed::NotCanonical("parents"));
        }
        if !self.erases.is_sorted_by(|a, b| a < b) {
            return Err(Malformed::NotCanonical("erases"));
        }
        if self.seq == 0 || self.seq > i64::MAX as u64 {
            return Err(Malformed::TooLarge("seq"));
        }
        if (self.seq == 1) != (self.prev == OpId::ZERO) {
            return Err(Malformed::NotCanonical("prev"));
        }
        if self.hlc.0 > i64::MAX as u64 {
            return Err(Malformed::TooLarge("hlc"));
        }
        if self.is_genesis() && (self.class != Class::Control || self.seq != 1 || !self.parents.is_empty()) {
            return Err(Malformed::NotCanonical("genesis"));
        }
        if self.class == Class::Merge && self.body_len != 0 {
            return Err(Malformed::NotCanonical("merge"));
        }
        Ok(())
    }

    /// Everything that must be known before this op is delivered: `prev` (if any) and the parents.
    pub fn depends_on(&self) -> impl Iterator<Item = &OpId> {
        core::iter::once(&self.prev).filter(|prev| **prev != OpId::ZERO).chain(self.parents.iter())
    }
}

fn ids(reader: &mut Reader<'_>, max: usize, what: &'static str) -> Result<Vec<OpId>, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > max {
        return Err(Malformed::TooLarge(what));
    }
    (0..count).map(|_| reader.array().map(OpId)).collect()
}

/// An op as it is stored and passed on: header, id, and what is held beside them.
#[derive(Clone, PartialEq, Eq)]
pub struct Op {
    /// The id: always that of `header`.
    pub id: OpId,
    /// The signed part.
    pub header: Header,
    /// The author's signature over the id, where this replica has it: a later op of the same log vouches as well.
    pub signature: Option<Signature>,
    /// The sealed body, where it is held.
    pub body: Option<Vec<u8>>,
}

impl Op {
    /// Joins the parts; computes the id.
    #[must_use]
    pub fn new(header: Header, signature: Option<Signature>, body: Option<Vec<u8>>) -> Self {
        Self { id: header.id(), header, signature, body }
    }

    /// The conversation of this op.
    #[must_use]
    pub fn conversation(&self) -> ConversationId {
        self.header.belongs_to(&self.id)
    }

    /// The place in display order.
    #[must_use]
    pub fn key(&self) -> Key {
        self.header.key(&self.id)
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies never appear in logs, only their size.
        f.debug_struct("Op")
            .field("id", &self.id)
            .field("author", &self.header.author)
            .field("seq", &self.header.seq)
            .field("hlc", &self.header.hlc)
            .field("class", &self.header.class)
            .field("signed", &self.signature.is_some())
            .field("body_bytes", &self.body.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blake3::hazmat::hash_derive_key_context;

    #[test]
    fn keys_are_those_of_their_domains() {
        assert_eq!(ID_KEY, hash_derive_key_context("tombolo 1 op id"));
        assert_eq!(BODY_KEY, hash_derive_key_context("tombolo 1 body hash"));
        assert_eq!(BodyHash::EMPTY, BodyHash::of(&[]));
    }
}
