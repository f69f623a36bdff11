//! What the tests of this crate share: a device that writes logs. Not here: checks.
#![allow(dead_code, clippy::unwrap_used)]

use tombolo_identity::{DeviceKey, sign_op};
use tombolo_model::op::VERSION;
use tombolo_model::{BodyHash, Class, ConversationId, Header, Hlc, LogId, Op, OpId};

pub(crate) const HERE: ConversationId = ConversationId([9; 16]);

/// A header at a place of a log; the rest is plain.
pub(crate) fn header(key: &DeviceKey, log: u8, seq: u64, prev: OpId) -> Header {
    Header {
        version: VERSION,
        class: Class::Content,
        conversation: HERE,
        author: key.id(),
        log: LogId([log; 8]),
        seq,
        prev,
        hlc: Hlc::new(1_000u64.saturating_add(seq), 0),
        epoch: 0,
        expires_ms: 0,
        parents: vec![],
        erases: vec![],
        extension: vec![],
        body_len: 0,
        body_hash: BodyHash::default(),
    }
}

/// `count` signed ops of one log from seq 1.
pub(crate) fn log(key: &DeviceKey, log: u8, count: u64) -> Vec<Op> {
    let mut ops: Vec<Op> = vec![];
    for seq in 1..=count {
        let prev = ops.last().map_or(OpId::ZERO, |op| op.id);
        ops.push(sign_op(header(key, log, seq, prev), key, format!("body {log} {seq}").into_bytes()));
    }
    ops
}

/// Takes the signatures away, except those of every `keep`-th seq and of the last op.
pub(crate) fn thin(ops: &mut [Op], keep: u64) {
    let last = ops.len().saturating_sub(1);
    for (at, op) in ops.iter_mut().enumerate() {
        if at != last && op.header.seq % keep != 0 {
            op.signature = None;
        }
    }
}
