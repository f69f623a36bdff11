//! What is remembered of peers between transactions: how far they were read, what they acknowledged, what was proven.
//!
//! Losing a mark in a crash is harmless (something is sent again or compared again), so marks wait in memory and go to
//! disk with the next transaction or after a second, instead of costing a sync each.

use std::collections::BTreeMap;
use tombolo_model::{ConversationId, DeviceId};
use tombolo_oplog::{Batch, Cursor, LogError};

/// Marks that are not on disk yet.
#[derive(Debug, Default)]
pub struct Marks {
    peers: BTreeMap<DeviceId, PeerMarks>,
    proven: BTreeMap<(ConversationId, DeviceId), (u64, u64, u64)>,
}

/// What is known of a peer beside what is on disk.
pub(crate) struct Held {
    /// It holds everything up to here.
    pub(crate) through: u64,
    /// What the disk says does not count any more.
    pub(crate) alone: bool,
}

#[derive(Debug, Default)]
struct PeerMarks {
    cursor: Option<Cursor>,
    acked: Option<u64>,
    streamed: Option<u64>,
    registers: Option<u64>,
    lost: bool,
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.proven.is_empty()
    }

    pub(crate) fn read(&mut self, peer: DeviceId, cursor: Cursor) {
        self.peers.entry(peer).or_default().cursor = Some(cursor);
    }

    /// How far a peer has been read, if that is not on disk yet.
    pub(crate) fn cursor(&self, peer: &DeviceId) -> Option<Cursor> {
        self.peers.get(peer)?.cursor
    }

    pub(crate) fn acked(&mut self, peer: DeviceId, position: u64) {
        let acked = &mut self.peers.entry(peer).or_default().acked;
        *acked = Some(acked.unwrap_or(0).max(position));
    }

    /// What a peer acknowledged, as far as that is not on disk yet.
    pub(crate) fn held(&self, peer: &DeviceId) -> Held {
        let marks = self.peers.get(peer);
        Held { through: marks.and_then(|marks| marks.acked).unwrap_or(0), alone: marks.is_some_and(|marks| marks.lost) }
    }

    /// As [`Marks::acked`], by an acknowledgement of a batch that carried our cursor.
    pub(crate) fn streamed(&mut self, peer: DeviceId, position: u64) {
        let streamed = &mut self.peers.entry(peer).or_default().streamed;
        *streamed = Some(streamed.unwrap_or(0).max(position));
    }

    /// How far the peer's registers were read.
    pub(crate) fn registers(&mut self, peer: DeviceId, position: u64) {
        self.peers.entry(peer).or_default().registers = Some(position);
    }

    /// The same, if that is not on disk yet.
    pub(crate) fn registers_read(&self, peer: &DeviceId) -> Option<u64> {
        self.peers.get(peer)?.registers
    }

    pub(crate) fn lost(&mut self, peer: DeviceId) {
        let marks = self.peers.entry(peer).or_default();
        marks.lost = true;
        (marks.acked, marks.streamed) = (None, None);
    }

    pub(crate) fn proven(&mut self, peer: DeviceId, conversation: ConversationId, at: (u64, u64, u64)) {
        self.proven.insert((conversation, peer), at);
    }

    /// Writes everything into the transaction.
    pub(crate) fn store(&mut self, batch: &mut Batch<'_>) -> Result<(), LogError> {
        for (peer, marks) in std::mem::take(&mut self.peers) {
            if let Some(cursor) = marks.cursor {
                batch.set_peer_cursor(&peer, cursor)?;
            }
            if marks.lost {
                batch.reset_acked(&peer)?;
            }
            if let Some(position) = marks.acked {
                batch.set_acked(&peer, position)?;
            }
            if let Some(position) = marks.streamed {
                batch.set_streamed(&peer, position)?;
            }
            if let Some(position) = marks.registers {
                batch.set_registers_read(&peer, position)?;
            }
        }
        for ((conversation, peer), (at_ms, position, ops)) in std::mem::take(&mut self.proven) {
            batch.set_proven(&conversation, &peer, at_ms, position, ops)?;
        }
        Ok(())
    }
}
