//! Op to row and back. What is left out of a row (a `prev` that a neighbour knows, the hash of a held body) is computed
//! again on the way out, so that the header is the one that came in, byte for byte.
//!
//! Not here: deciding what is stored (`append.rs`), the tables (`schema.rs`).

use crate::LogError;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use tombolo_model::codec::{self, put_bytes, put_varint};
use tombolo_model::limit::{ERASES_MAX, EXTENSION_BYTES_MAX, PARENTS_MAX};
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, Malformed, Op, OpId, Signature};

/// Where an op stands in the fold. A state of the fold, not of the set: digests do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everything that it depends on is settled; it has been given to the fold.
    Delivered = 0,
    /// Something that it depends on is missing, or waits itself.
    Pending = 1,
    /// Its clock is too far ahead of ours; released when its time comes.
    Early = 2,
    /// Its clock is not above that of what it depends on: kept, never shown, nobody's parent.
    Void = 3,
}

impl State {
    /// Reads the number in a row.
    pub(crate) fn from_sql(number: i64) -> Result<Self, LogError> {
        match number {
            0 => Ok(Self::Delivered),
            1 => Ok(Self::Pending),
            2 => Ok(Self::Early),
            3 => Ok(Self::Void),
            _ => Err(LogError::damaged("unknown state of an op")),
        }
    }

    /// Whether ops that depend on it need not wait any more.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Delivered | Self::Void)
    }
}

/// `SELECT` of everything [`read`] needs, ending in the given clauses. The table is `o`.
macro_rules! select_op {
    ($tail:literal) => {
        concat!(
            "SELECT o.arrival, c.id, l.author, l.log, o.seq, o.hlc, o.id, o.rest, \
             CASE typeof(o.prev) WHEN 'integer' THEN (SELECT p.id FROM op p WHERE p.arrival = o.prev) ELSE o.prev END, \
             o.body_len, o.body_hash, o.signature, o.body \
             FROM op o CROSS JOIN log l ON l.n = o.log CROSS JOIN conversation c ON c.n = o.conversation ",
            $tail
        )
    };
}
pub(crate) use select_op;

/// A blob column as a slice.
pub(crate) fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], LogError> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(LogError::damaged("a column has another type than was written")),
    }
}

/// A blob column that may be NULL.
pub(crate) fn blob_or_none<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a [u8]>, LogError> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        _ => Err(LogError::damaged("a column has another type than was written")),
    }
}

/// A blob column of fixed length.
pub(crate) fn array<const N: usize>(row: &Row<'_>, column: usize) -> Result<[u8; N], LogError> {
    fixed(blob(row, column)?)
}

/// Bytes of fixed length.
pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], LogError> {
    bytes.try_into().map_err(|_| LogError::damaged("a column has another length than was written"))
}

/// An integer column that is kept bit for bit or is never negative.
pub(crate) fn number(row: &Row<'_>, column: usize) -> Result<u64, LogError> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// The fields of a header that nothing is searched by: version, class, epoch, expiry, parents, erases, extension.
pub(crate) fn encode_rest(header: &Header) -> Vec<u8> {
    let ids = header.parents.len() + header.erases.len();
    let mut out = Vec::with_capacity(16 + 32 * ids + header.extension.len());
    out.push(header.version);
    out.push(header.class as u8);
    put_varint(&mut out, header.epoch.into());
    put_varint(&mut out, header.expires_ms);
    for list in [&header.parents, &header.erases] {
        put_varint(&mut out, list.len() as u64);
        for id in list {
            out.extend_from_slice(&id.0);
        }
    }
    put_bytes(&mut out, &header.extension);
    out
}

/// Fills in what [`encode_rest`] wrote.
fn decode_rest(bytes: &[u8], header: &mut Header) -> Result<(), Malformed> {
    let mut reader = codec::Reader::new(bytes);
    header.version = reader.u8()?;
    header.class = Class::try_from(reader.u8()?)?;
    header.epoch = u32::try_from(reader.varint()?).map_err(|_| Malformed::TooLarge("epoch"))?;
    header.expires_ms = reader.varint()?;
    let mut ids = |max, what| -> Result<Vec<OpId>, Malformed> {
        let count = reader.count(max, what)?;
        (0..count).map(|_| reader.array().map(OpId)).collect()
    };
    header.parents = ids(PARENTS_MAX, "parents")?;
    header.erases = ids(ERASES_MAX, "erases")?;
    header.extension = reader.bytes(EXTENSION_BYTES_MAX, "extension")?.to_vec();
    reader.finish()
}

/// Only the extension of what [`encode_rest`] wrote.
pub(crate) fn extension(rest: &[u8]) -> Result<Vec<u8>, LogError> {
    let read = || -> Result<Vec<u8>, Malformed> {
        let mut reader = codec::Reader::new(rest);
        reader.take(2)?;
        reader.varint()?;
        reader.varint()?;
        for (max, what) in [(PARENTS_MAX, "parents"), (ERASES_MAX, "erases")] {
            let count = reader.count(max, what)?;
            reader.take(count * OpId::LEN)?;
        }
        Ok(reader.bytes(EXTENSION_BYTES_MAX, "extension")?.to_vec())
    };
    read().map_err(|_| LogError::damaged("the header of an op"))
}

/// What a header says about bodies and class, from the column of rare fields alone.
pub(crate) struct Rest {
    pub(crate) class: Class,
    pub(crate) expires_ms: u64,
    pub(crate) erases: Vec<OpId>,
}

/// Reads what [`encode_rest`] wrote, without the rest of the row.
pub(crate) fn rest_of(bytes: &[u8]) -> Result<Rest, Malformed> {
    let mut header = empty();
    decode_rest(bytes, &mut header)?;
    Ok(Rest { class: header.class, expires_ms: header.expires_ms, erases: header.erases })
}

/// A header to be filled in.
fn empty() -> Header {
    Header {
        version: 0,
        class: Class::Content,
        conversation: ConversationId::ZERO,
        author: DeviceId::default(),
        log: LogId::default(),
        seq: 0,
        prev: OpId::ZERO,
        hlc: Hlc::ZERO,
        epoch: 0,
        expires_ms: 0,
        parents: Vec::new(),
        erases: Vec::new(),
        extension: Vec::new(),
        body_len: 0,
        body_hash: BodyHash::default(),
    }
}

/// **Bytes** of a head in the row of its conversation: id, then clock reading.
const HEAD_BYTES: usize = OpId::LEN + 8;

/// Heads as a conversation's row has them, by id.
pub(crate) fn encode_heads(heads: &BTreeMap<OpId, Hlc>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(heads.len() * HEAD_BYTES);
    for (id, hlc) in heads {
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&hlc.0.to_be_bytes());
    }
    bytes
}

pub(crate) fn decode_heads(bytes: &[u8]) -> Result<BTreeMap<OpId, Hlc>, LogError> {
    if !bytes.len().is_multiple_of(HEAD_BYTES) {
        return Err(LogError::damaged("the heads of a conversation have another length than was written"));
    }
    let head = |bytes: &[u8]| -> Result<(OpId, Hlc), LogError> {
        let (id, hlc) = bytes.split_at(OpId::LEN);
        Ok((OpId(fixed(id)?), Hlc(u64::from_be_bytes(fixed(hlc)?))))
    };
    bytes.chunks_exact(HEAD_BYTES).map(head).collect()
}

/// Reads a row of [`select_op!`]: the arrival and the op. The id is the stored one; `doctor` compares it with the
/// header's.
pub(crate) fn read(row: &Row<'_>) -> Result<(u64, Op), LogError> {
    let id = OpId(array(row, 6)?);
    let conversation = ConversationId(array(row, 1)?);
    let body = blob_or_none(row, 12)?.map(<[u8]>::to_vec);
    let body_hash = match blob_or_none(row, 10)? {
        Some(hash) => BodyHash(fixed(hash)?),
        None => BodyHash::of(body.as_deref().unwrap_or_default()),
    };
    let mut header = Header {
        // A genesis op names no conversation: it is known by having founded the one that it is kept in.
        conversation: if id.founds() == conversation { ConversationId::ZERO } else { conversation },
        author: DeviceId(array(row, 2)?),
        log: LogId(array(row, 3)?),
        seq: number(row, 4)?,
        prev: match blob_or_none(row, 8)? {
            Some(prev) => OpId(fixed(prev)?),
            None => OpId::ZERO,
        },
        hlc: Hlc(number(row, 5)?),
        body_len: u32::try_from(number(row, 9)?).map_err(|_| LogError::damaged("body length of an op"))?,
        body_hash,
        ..empty()
    };
    decode_rest(blob(row, 7)?, &mut header).map_err(|_| LogError::damaged("the header of an op"))?;
    let signature = blob_or_none(row, 11)?.map(fixed).transpose()?.map(Signature);
    Ok((number(row, 0)?, Op { id, header, signature, body }))
}
