//! What one device tells of a conversation: what it holds, what was read on it, and from where on it is marked unread.
//!
//! Two parts, sealed apart: [`Told`] is for everybody in the conversation, [`Kept`] for the devices of the same account.
//! Both are states that merge: sets by union, the mark by its stamp. So it does not matter which versions came, in which
//! order, or how often. Not here: the signed register that carries them (`register.rs`), unread counts (`store`).

use crate::codec::{Malformed, Reader, put_varint};
use crate::content::MessageRef;
use crate::limit::{SEEN_INTERVALS_MAX, SEEN_LOGS_MAX};
use crate::seen::{Seen, Seqs, take_hlc, take_log};
use crate::{LogId, OpId};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// First byte of both parts, so that a later form can be told apart.
const FORM: u8 = 1;

/// What everybody in the conversation may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What the device holds: delivered to it.
    pub held: Seen,
    /// What the person has read, as far as this device knows; empty where that is not told.
    pub read: Seen,
}

/// "Unread from here on", as a person marks a conversation: the greatest stamp wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// **Milliseconds** since 1970 at which it was set, and above every mark that was known then; 0 = never.
    pub stamp_ms: u64,
    /// The message; none = the mark was taken away.
    pub from: Option<MessageRef>,
}

impl Mark {
    /// The greater of both counts. Commutative, associative, idempotent.
    pub fn merge(&mut self, other: &Self) {
        *self = (*self).max(*other);
    }
}

/// What only the devices of the same account may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What the person has read, where [`Told`] does not say it.
    pub read: Seen,
    /// The mark.
    pub mark: Mark,
}

impl Told {
    /// The bytes: per log its name, what is held and what is read of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let logs: BTreeSet<&LogId> = self.held.iter().chain(self.read.iter()).map(|(log, _)| log).collect();
        let mut out = Vec::with_capacity(8 + 14 * logs.len());
        out.push(FORM);
        put_varint(&mut out, logs.len() as u64);
        let none = Seqs::default();
        for log in logs {
            out.extend_from_slice(&log.0);
            self.held.of(log).unwrap_or(&none).put(&mut out);
            self.read.of(log).unwrap_or(&none).put(&mut out);
        }
        out
    }

    /// Reads what [`Told::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`]. Costs at most a small multiple of the bytes' own length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        form(&mut reader)?;
        let count = reader.count(SEEN_LOGS_MAX, "logs of a set")?;
        let (mut told, mut before, mut left) = (Self::default(), None, SEEN_INTERVALS_MAX);
        for _ in 0..count {
            let log = take_log(&mut reader, &mut before)?;
            let (held, read) = (Seqs::take(&mut reader, &mut left)?, Seqs::take(&mut reader, &mut left)?);
            if held.is_empty() && read.is_empty() {
                return Err(Malformed::NotCanonical("logs of a set"));
            }
            told.held.put_in(log, held);
            told.read.put_in(log, read);
        }
        reader.finish()?;
        Ok(told)
    }
}

impl Kept {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::from([FORM]);
        put_varint(&mut out, self.mark.stamp_ms);
        match self.mark.from {
            None => out.push(0),
            Some(message) => {
                out.push(1);
                out.extend_from_slice(&message.hlc.0.to_be_bytes());
                out.extend_from_slice(&message.id.0);
            }
        }
        self.read.put(&mut out);
        out
    }

    /// Reads what [`Kept::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`]. Costs at most a small multiple of the bytes' own length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        form(&mut reader)?;
        let stamp_ms = reader.varint()?;
        if stamp_ms > i64::MAX as u64 {
            return Err(Malformed::TooLarge("stamp"));
        }
        let from = match reader.u8()? {
            0 => None,
            1 => Some(MessageRef { hlc: take_hlc(&mut reader)?, id: OpId(reader.array()?) }),
            _ => return Err(Malformed::Unknown("mark")),
        };
        let read = Seen::take(&mut reader)?;
        reader.finish()?;
        Ok(Self { read, mark: Mark { stamp_ms, from } })
    }
}

fn form(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.u8()? == FORM { Ok(()) } else { Err(Malformed::Unknown("form of a register")) }
}
